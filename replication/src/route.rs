//! Which topics travel to whom, and what they are called there.
//!
//! Origin and path are the truth; names are a view of it and are never taken apart.

use headland_event::{Alias, NameError, RegionId, TopicName, aliased_name};
use serde::Deserialize;

use crate::frame::{HOPS_LIMIT, Identity, Offer, Refusal, RefusalCode};

/// Whether a hub offers a topic to a peer in `peer_region`.
///
/// Never back to its origin, never to a region it has passed, never beyond [`HOPS_LIMIT`].
#[must_use]
pub fn should_offer(peer_region: &RegionId, origin: &RegionId, path: &[RegionId]) -> bool {
    // Our own region becomes one more hop: see `extended_path`.
    peer_region != origin && !path.contains(peer_region) && path.len() < HOPS_LIMIT
}

/// The path under which a hub in `local` offers a topic that came to it over `path`.
///
/// The result is longer than [`HOPS_LIMIT`] when the topic may not travel on.
#[must_use]
pub fn extended_path(path: &[RegionId], local: &RegionId) -> Vec<RegionId> {
    path.iter().chain([local]).cloned().collect()
}

/// How a hub makes names for the topics of a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NamePolicy {
    /// What the peer is called stands before the peer's name for it.
    #[default]
    Prefix,
    /// The peer's name for it, where that is not another topic's.
    ///
    /// # Source
    /// MirrorMaker 2's `IdentityReplicationPolicy`, KIP-690.
    Identity,
}

/// What a hub calls the topics of a peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Naming {
    alias: Alias,
    policy: NamePolicy,
}

impl Naming {
    /// Names after what the peer is called.
    #[must_use]
    pub const fn new(alias: Alias, policy: NamePolicy) -> Self {
        Self { alias, policy }
    }

    /// The name with the peer's before it.
    ///
    /// # Errors
    /// [`NameError`] when it is too long for a topic.
    pub fn prefixed(&self, source: &TopicName) -> Result<TopicName, NameError> {
        aliased_name(&self.alias, source)
    }

    /// The peer's own name for it, where the policy is to keep that. What hubs write for each other
    /// each has of its own: copies of it always have a prefix.
    #[must_use]
    pub fn plain(&self, source: &TopicName, origin_topic: &TopicName) -> Option<TopicName> {
        let is_internal = origin_topic.as_str().starts_with('_');
        (self.policy == NamePolicy::Identity && !is_internal).then(|| source.clone())
    }
}

/// The path under which a hub in `local` hands on what a peer lacks of a region's logs, whatever
/// way that came: where it was born, and this hub twice, which no other path has.
///
/// What is handed on travels in no circle, because it is taken only by whoever lacks it.
#[must_use]
pub fn handed_on_path(origin: &RegionId, local: &RegionId) -> Vec<RegionId> {
    vec![origin.clone(), local.clone(), local.clone()]
}

/// Whether a path is a [handed-on one](handed_on_path).
#[must_use]
pub fn is_handed_on(path: &[RegionId]) -> bool {
    matches!(path, [_, hub, again] if hub == again)
}

/// Checks what an offer says about its way against who offers it, before anybody is asked.
///
/// What a peer [hands on](handed_on_path) is let through, of this region too: only the hub knows
/// whether it may have lost any of it.
///
/// # Errors
/// The [`Refusal`] to answer with: [`RefusalCode::Loop`] when the topic has been in `local`,
/// [`RefusalCode::NotAuthorised`] when the sender speaks for somebody else.
pub fn check_offer(local: &RegionId, sender: &Identity, offer: &Offer) -> Result<(), Refusal> {
    let Offer { source, origin, path, .. } = offer;
    match sender {
        Identity::Agent { region, .. } => {
            if origin != region || !path.is_empty() {
                let text = format!("{sender} offers {source} of region {origin}");
                return Err(Refusal::new(RefusalCode::NotAuthorised, text));
            }
        }
        Identity::Hub { region, .. } => {
            if path.first() != Some(origin) || path.last() != Some(region) {
                let text = format!("{sender} offers {source} of {origin} over a path without both");
                return Err(Refusal::new(RefusalCode::NotAuthorised, text));
            }
            let has_been_here = origin == local || path.contains(local);
            if has_been_here && (region == local || !is_handed_on(path)) {
                let text = format!("{source} of region {origin} has been in region {local}");
                return Err(Refusal::new(RefusalCode::Loop, text));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use headland_event::{AgentName, HubName, Lane, Offset, PartitionIndex, TopicPartition};

    use super::*;

    fn region(name: &str) -> RegionId {
        RegionId::new(name).unwrap()
    }

    fn hub(name: &str) -> Identity {
        Identity::Hub { region: region(name), name: HubName::new("hub-1").unwrap() }
    }

    fn agent(name: &str) -> Identity {
        Identity::Agent { region: region(name), name: AgentName::new("a-1").unwrap() }
    }

    fn offer(topic: &str, path: &[&str], origin: &str) -> Offer {
        let topic = TopicName::new(topic).unwrap();
        Offer {
            source: TopicPartition::new(topic.clone(), PartitionIndex::new(0)),
            origin: region(origin),
            origin_topic: topic,
            path: path.iter().map(|name| region(name)).collect(),
            lane: Lane::State,
            start: Offset::new(0),
            head: Offset::new(0),
        }
    }

    #[test]
    fn a_topic_is_never_offered_to_its_origin_nor_to_a_region_on_its_path() {
        let path = [region("eu"), region("us")];

        assert!(!should_offer(&region("eu"), &region("eu"), &path));
        assert!(!should_offer(&region("us"), &region("eu"), &path));
        assert!(should_offer(&region("ap"), &region("eu"), &path));
    }

    #[test]
    fn a_peers_topic_gets_the_prefix_and_keeps_its_name_where_the_policy_says_so() {
        let topic = |name: &str| TopicName::new(name).unwrap();
        let named = |policy, name: &str| {
            let naming = Naming::new(Alias::new("eu.west").unwrap(), policy);
            (naming.prefixed(&topic(name)).unwrap(), naming.plain(&topic(name), &topic(name)))
        };

        let orders = named(NamePolicy::Prefix, "orders");
        let kept = named(NamePolicy::Identity, "orders");
        let internal = named(NamePolicy::Identity, "_groups");

        assert_eq!(orders, (topic("eu.west.orders"), None));
        assert_eq!(kept, (topic("eu.west.orders"), Some(topic("orders"))));
        assert_eq!(internal, (topic("eu.west._groups"), None));
    }

    #[test]
    fn an_offer_that_has_been_here_is_refused_as_a_loop_whatever_its_name() {
        let renamed = offer("harmless", &["us", "ap", "eu"], "us");

        for origin_or_hop in ["us", "ap"] {
            let refusal = check_offer(&region(origin_or_hop), &hub("eu"), &renamed).unwrap_err();
            assert_eq!(refusal.code(), RefusalCode::Loop);
        }
        assert_eq!(check_offer(&region("sa"), &hub("eu"), &renamed), Ok(()));
    }

    #[test]
    fn only_what_is_handed_on_may_come_back_to_where_it_has_been() {
        let ways =
            [&["us", "eu", "eu"][..], &["us", "eu"], &["us", "ap", "eu"], &["ap", "us", "eu"]];
        let checked = ways.map(|path| {
            let offered = offer("inventory.events", path, path[0]);
            check_offer(&region("us"), &hub("eu"), &offered).map_err(|refusal| refusal.code())
        });

        let looped = Err(RefusalCode::Loop);
        assert_eq!(checked, [Ok(()), looped, looped, looped]);
        let path = handed_on_path(&region("us"), &region("us"));
        let own = offer("inventory.events", &["us", "us", "us"], "us");
        assert!(is_handed_on(&path));
        assert_eq!(check_offer(&region("ap"), &hub("us"), &own), Ok(()), "a former life's");
    }

    #[test]
    fn nobody_speaks_for_another_region() {
        let foreign = check_offer(&region("eu"), &agent("eu"), &offer("t", &[], "us"));
        let travelled = check_offer(&region("eu"), &agent("eu"), &offer("t", &["eu"], "eu"));
        let pathless = check_offer(&region("us"), &hub("eu"), &offer("t", &[], "eu"));

        for refused in [foreign, travelled, pathless] {
            assert_eq!(refused.unwrap_err().code(), RefusalCode::NotAuthorised);
        }
        assert_eq!(check_offer(&region("eu"), &agent("eu"), &offer("t", &[], "eu")), Ok(()));
    }

    #[test]
    fn a_topic_is_offered_only_while_its_path_has_room_for_our_own_region() {
        let path: Vec<RegionId> = (1..=HOPS_LIMIT).map(|hop| region(&format!("r{hop}"))).collect();
        let (full, last) = (&path[..], &path[..HOPS_LIMIT - 1]);

        assert!(should_offer(&region("us"), &region("r1"), last));
        assert_eq!(extended_path(last, &region("eu")).len(), HOPS_LIMIT);
        assert!(!should_offer(&region("us"), &region("r1"), full));
    }

    #[test]
    fn a_name_that_its_prefix_makes_too_long_is_refused() {
        let long = offer(&"t".repeat(247), &["eu"], "eu").source.topic;
        let naming = |alias: &str| Naming::new(Alias::new(alias).unwrap(), NamePolicy::Prefix);

        assert!(naming("eu").prefixed(&long).is_err());
        assert!(naming("e").prefixed(&long).is_ok());
    }
}
