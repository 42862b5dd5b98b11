//! Handing on what hubs lack and cannot get any more from whoever wrote it.
//!
//! A life that ended, or that another of its region goes on after, cannot be asked for what a hub
//! lacks of it: its own hub may be gone, or have been restored from a backup that is older than
//! what others got. Nor can a region that was restored get again what came through it. So each hub
//! hands on to each of its peers what that has not said it applied:
//!
//! - copies of regions' own logs, of lives that are over, the region's next life among the takers;
//! - copies that went through the peer's region, which lost them if it lacks them now;
//! - whatever was handed on to this hub itself.
//!
//! It goes under a path of its own ([`route::handed_on_path`]) and into one topic for each topic of
//! each region ([`crate::topics::Topic::is_apart`]), where a hub stores what it has nowhere else.
//! Why all end with the same: take a record of these topics at some hub and a peer of that hub that
//! lacks it. Either the copy is offered to the peer as any other, or it is one of the three above,
//! since over links that forward a path without the peer is offered to it, and one with it was the
//! peer's. The peer takes it, unless its region's own hub sends it that log; and then
//! that hub writes it still, or the life is over, which the peer knows as it sees another one. So
//! what is held somewhere comes one link further as long as somebody next to it lacks it. What came
//! later of its log may have come first: of inventory that leaves a gap, which is lacking like all
//! else, and whatever life it is of, since whoever sent what lies behind a gap had lost what lies
//! in it. Of who takes part the earlier part is taken behind it ([`super::cuts`]). Of other topics
//! nothing later may come first, see [`super::early`]. And it ends: each hub stores a record apart
//! once, by the ends of what it has, and offers nothing to a peer that has said it has it.
//!
//! What is offered beside the logs of inventory is what hubs have to hold alike to end alike. Of
//! rights to sell and of committed offsets hubs say as well how far they have them
//! ([`headland_reconcile::membership::OtherLogs`]), so that they are handed on although all have
//! the same inventory, whatever way they came here over. What was handed on of them goes further
//! whether this hub knows that the life is over or not: only who is linked to the next one does.
//!
//! Who lacks what is a matter of reports, which come later than what they are about: a hub may be
//! offered what it has, and then stores nothing. The other way round it may have told off one that
//! offered before it knew why; that connection is made anew.

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;
use headland_event::{
    Actor, Batch, Extent, Monotonic, Now, RegionId, Stamp, TopicName, TopicPartition, VectorClock,
};
use headland_reconcile::{Holder, Lacking, MemberStanding, OtherLogs};
use headland_replication::frame::Goodbye;
use headland_replication::route;
use headland_replication::{Identity, Offer};

use super::Node;
use super::members::Speaking;
use super::recovery::owner;
use crate::members::{is_of_members, reported_topics};
use crate::peer_link::{HandedOn, LinkId, PeerLink, Receiving};
use crate::records::groups_topic;
use crate::topics::Topic;

/// For how many of its own reports a hub waits for one of a peer.
pub(super) const REPORTS_WAITED: u32 = 2;

/// What others hand on to this hub.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Awaited {
    /// Regions of whose logs of lives that are over somebody has more than this hub.
    lacked: BTreeSet<RegionId>,
    /// Regions of whose logs somebody has what this hub passed over.
    gapped: BTreeSet<RegionId>,
    /// Regions of which a life is over.
    over: BTreeSet<RegionId>,
    /// Topics beside inventory of which somebody has more than this hub of a life that is over.
    others: BTreeSet<(RegionId, TopicName)>,
}

/// What this hub held a while ago. A peer through which it came has said by now that it applied it,
/// or lost it.
#[derive(Debug, Default)]
pub(super) struct Aged {
    /// At least one age old.
    old: Heads,
    /// What becomes old next, and when; nothing was looked at before there is a time.
    young: Heads,
    due: Option<Monotonic>,
}

/// How far a hub holds logs.
#[derive(Debug, Clone, Default)]
struct Heads {
    /// Of inventory.
    inventory: VectorClock,
    /// Of other topics what was handed on to it.
    apart: OtherLogs,
}

impl Aged {
    fn on_heads(&mut self, now: Monotonic, heads: impl FnOnce() -> Heads, age: Duration) {
        match self.due {
            // What was here when the hub started is as old as that.
            None => {
                self.old = heads();
                self.young = self.old.clone();
            }
            Some(due) if due <= now => self.old = std::mem::replace(&mut self.young, heads()),
            Some(_) => return,
        }
        self.due = Some(now.after(age));
    }
}

impl Node {
    /// Hands on to every hub what it lacks and cannot get otherwise.
    pub(super) fn hand_on(&mut self, now: Now) {
        self.note_former();
        self.find_lost_ends();
        self.close_cuts();
        if let Some(mut aged) = self.speaking.as_mut().map(|of| std::mem::take(&mut of.aged)) {
            let age = self.speaking.as_ref().map_or(Duration::ZERO, |of| of.every * REPORTS_WAITED);
            aged.on_heads(now.monotonic, || self.heads(), age);
            self.speaking.iter_mut().for_each(|of| of.aged = std::mem::take(&mut aged));
        }
        for link_id in self.peer_links.hubs() {
            let handed_on = self.handed_on(link_id);
            let former = self.peer_links.get(&link_id).map(PeerLink::handed_on);
            if former.is_none_or(|former| *former == handed_on) {
                continue;
            }
            let Some(known) = self.peer_links.get_mut(&link_id) else { continue };
            let of = handed_on.regions();
            if of != known.handed_on().regions() && !of.is_empty() {
                tracing::info!(peer = %known.identity, ?of, "hands on logs that the peer lacks");
            }
            known.hand_on(handed_on);
            for (partition, end) in &self.durable {
                if let Some(topic) = self.topics.get(&partition.topic) {
                    known.on_head(topic, partition, *end);
                }
            }
            self.drain(now, link_id);
        }
        self.await_handed_on(now);
        self.look_for_what_groups_read(now);
        self.ask_for_what_was_put_off(now);
    }

    fn heads(&self) -> Heads {
        Heads { inventory: self.ingest.heads().clone(), apart: self.others_apart() }
    }

    /// What is handed on to a peer, by what it has reported.
    pub(super) fn handed_on(&self, link_id: LinkId) -> HandedOn {
        let peer = self.peer_links.get(&link_id).and_then(life_of);
        let (Some(peer), Some(speaking)) = (peer, &self.speaking) else {
            return HandedOn::default();
        };
        let members = self.inventory.members();
        let reported = members.reported(&peer);
        let is_over = |life: &Holder| self.is_over(life);
        let is_other = |life: &Holder| *life != peer;
        let here = &self.readable();
        let with_gaps = |ends: &VectorClock| Extent::new(ends.clone(), here.gaps().clone());
        let Lacking { over: mut lacked, gaps: gapped } = members.lacking(&reported, here, is_over);
        let old = members.lacking(&reported, &with_gaps(&speaking.aged.old.inventory), is_other);
        let (mut lost, aged) = (old.over.clone(), &old.over | &old.gaps);
        let mut over = self.regions_over();
        if !self.has_former(&peer) {
            lost.clear();
            lacked.remove(&peer.region);
            over.remove(&peer.region);
        }
        let inventory = self.inventory.configuration().0;
        let apart = self.topics.iter().filter(|topic| topic.is_apart());
        let apart = apart.filter(|topic| topic.origin_name == *inventory);
        let apart = apart.filter_map(|topic| speaking.ends.of(&topic.name));
        let apart = apart.map(|kept| members.lacking(&reported, &with_gaps(kept), is_other));
        let apart = apart.flat_map(|lacking| &lacking.over | &lacking.gaps);
        // Not before the region's own log, which may have what lies before: whoever takes the later
        // part of a log of other topics first passes over the earlier one.
        let apart = apart.filter(|region| aged.contains(region)).collect();
        // What retention let go here does not come of sending a log once more.
        let is_gapped = !gapped.is_empty();
        let again = is_gapped.then(|| members.lacking(&reported, &self.retained(), is_over).gaps);
        let again = self.nearest(&again.unwrap_or_default());
        let needed = speaking.ends.needed().clone();
        let mut others = members.lacking_others(&peer, &self.others_here(), is_over);
        // Nor is what was handed on here offered before what came another way, which may have what
        // lies before it. With it goes what is here of the same logs in copies.
        let mut others_apart = members.lacking_others(&peer, &speaking.aged.old.apart, is_other);
        // Of lives that are over all is offered at once, as all is reported at once.
        others_apart.extend(members.lacking_others(&peer, &self.others_apart(), is_over));
        for of in [&mut others, &mut others_apart] {
            of.remove(&(peer.region.clone(), groups_topic()));
        }
        others.extend(others_apart.iter().cloned());
        let told = members.says_of_others(&peer).then(reported_topics);
        let told = told.into_iter().flatten().collect();
        HandedOn { lacked, gapped, again, lost, apart, others, others_apart, told, over, needed }
    }

    /// What others can send that this hub lacks of lives that are over, beside inventory. How far
    /// groups had read a former life of its own region it never takes ([`Self::keeps_apart`]).
    pub(super) fn lacked_others(&self) -> OtherLogs {
        let (members, here) = (self.inventory.members(), self.others_here());
        let said = members.lacked_others(&here, |of| self.is_over(of), |of| self.is_linked(of));
        said.of(|topic, actor| {
            let is_own = actor.region == *self.identity.region();
            (!is_own || *topic != groups_topic()) && !self.is_here(&Holder::of(actor))
        })
    }

    /// Whether a life is this hub's own or linked to it: what it writes comes from itself, also
    /// when it is sealed, which ends its inventory only.
    pub(super) fn is_here(&self, life: &Holder) -> bool {
        let kept = self.peers.iter().filter_map(|peer| self.kept(&peer.identity));
        *life == self.life() || kept.filter_map(life_of).any(|of| of == *life)
    }

    /// The copies of some regions' inventory that came here over the fewest regions, the log of
    /// this hub's own included: a peer that is offered one anyway and passed over some of it gets
    /// it once more. Others have nothing that these lack, or it was handed on to this hub itself.
    fn nearest(&self, regions: &BTreeSet<RegionId>) -> BTreeSet<TopicName> {
        let copies = |region: &RegionId| -> Vec<&Topic> {
            let copies = self.topics.iter().filter(|topic| topic.origin == *region);
            let copies = copies.filter(|topic| self.is_of_inventory(&topic.origin_name));
            copies.filter(|topic| !topic.is_apart()).collect()
        };
        let nearest = |region| {
            let copies = copies(region);
            let least = copies.iter().map(|topic| topic.path.len()).min();
            copies.into_iter().filter(move |topic| Some(topic.path.len()) == least)
        };
        regions.iter().flat_map(nearest).map(|topic| topic.name.clone()).collect()
    }

    /// The log has lost records: what is handed on comes from the beginning again, since what was
    /// passed over there as known may be what is lost.
    pub(super) fn ask_from_the_beginning(&mut self) {
        let _asked = self.ask_again_for(|_| true);
    }

    /// The same of one region's logs, in a run; positions are returned that are none any more. What
    /// is not taken at present does not say of which region it is.
    pub(super) fn ask_from_the_beginning_of(&mut self, origin: &RegionId) -> BTreeSet<Bytes> {
        let is_of_another = |of: &&Receiving| {
            self.topics.get(&of.local.topic).is_some_and(|topic| topic.origin != *origin)
        };
        let taken = self.peer_links.iter().flat_map(|(_, known)| known.all_receiving());
        let others: BTreeSet<Bytes> =
            taken.filter(is_of_another).map(|of| of.position_key.clone()).collect();
        self.ask_again_for(|key| !others.contains(key))
    }

    fn ask_again_for(&mut self, is_meant: impl Fn(&Bytes) -> bool) -> BTreeSet<Bytes> {
        let keys = self.positions.keys().filter(|key| is_of_handed_on(key) && is_meant(key));
        let keys: BTreeSet<Bytes> = keys.cloned().collect();
        for key in &keys {
            self.positions.remove(key);
            self.composer.set(owner("positions"), key.clone(), None);
        }
        keys
    }

    /// Keeps which lives were seen to be over. A link that is down for a moment brings none of them
    /// back, and what is taken over which way must not change with each of its cuts: all
    /// connections that were told off would be made anew.
    fn note_former(&mut self) {
        let named = self.inventory.members().named();
        let (over, present): (Vec<_>, Vec<_>) = {
            let over = named.iter().filter(|life| self.is_succeeded(life)).cloned().collect();
            let present = self.peer_links.iter().filter_map(|(_, known)| life_of(known)).collect();
            (over, present)
        };
        let Some(speaking) = &mut self.speaking else { return };
        speaking.former.retain(|life| !present.contains(life));
        speaking.former.extend(over);
    }

    /// Whether a life writes no more although nobody has said so.
    pub(super) fn is_over(&self, life: &Holder) -> bool {
        let was_seen = |speaking: &Speaking| speaking.former.contains(life);
        self.speaking.as_ref().is_some_and(was_seen) || self.is_succeeded(life)
    }

    /// Whether a life is linked here now.
    fn is_linked(&self, life: &Holder) -> bool {
        self.peer_links.iter().any(|(_, known)| life_of(known).as_ref() == Some(life))
    }

    /// Whether another life of a region is here.
    fn is_succeeded(&self, life: &Holder) -> bool {
        if life.region == *self.identity.region() {
            return life.incarnation != self.incarnation;
        }
        let kept = self.peers.iter().filter_map(|peer| self.kept(&peer.identity));
        let mut lives = kept.filter_map(life_of);
        lives.any(|of| of.region == life.region && of.incarnation != life.incarnation)
    }

    /// Regions of which a life is over.
    fn regions_over(&self) -> BTreeSet<RegionId> {
        let members = self.inventory.members();
        let has_ended = |life: &Holder| {
            members.standing(life).is_some_and(|standing| standing >= MemberStanding::Sealed)
        };
        let named = members.named().into_iter();
        named.filter(|life| has_ended(life) || self.is_over(life)).map(|life| life.region).collect()
    }

    /// Whether another life of a peer's region is known than the one that it is in.
    fn has_former(&self, peer: &Holder) -> bool {
        let named = self.inventory.members().named();
        named.iter().any(|life| life.region == peer.region && life != peer)
    }

    /// Takes note of what others have that this hub lacks. Whoever was told off before, since the
    /// region itself was linked, is asked again.
    fn await_handed_on(&mut self, now: Now) {
        let (here, members) = (self.readable(), self.inventory.members());
        let Lacking { over: lacked, gaps: gapped } =
            members.lacked(&here, |of| self.is_over(of), |of| self.is_linked(of));
        let others = self.lacked_others();
        let others = others.iter().map(|(topic, of, _)| (of.region.clone(), topic.clone()));
        let (over, others) = (self.regions_over(), others.collect());
        let found = Awaited { lacked, gapped, over, others };
        let leaves = self.speaking.as_ref().is_some_and(|speaking| speaking.leaves);
        let is_through = leaves && self.leave_beside(now);
        let Some(speaking) = &mut self.speaking else { return };
        speaking.leaves &= !is_through;
        if speaking.awaited == found {
            return;
        }
        let before = std::mem::replace(&mut speaking.awaited, found.clone());
        let is_left = |of: &BTreeSet<RegionId>, now: &BTreeSet<RegionId>| !of.is_subset(now);
        speaking.leaves |= is_left(&before.lacked, &found.lacked)
            || is_left(&before.gapped, &found.gapped)
            || is_left(&before.over, &found.over)
            || !before.others.is_subset(&found.others);
        let is_new = |region: &RegionId| {
            let is_new = |of: &BTreeSet<RegionId>, former: &BTreeSet<RegionId>| {
                of.contains(region) && !former.contains(region)
            };
            is_new(&found.lacked, &before.lacked)
                || is_new(&found.gapped, &before.gapped)
                || is_new(&found.over, &before.over)
                || found.others.difference(&before.others).any(|(of, _)| of == region)
        };
        let told_off = |known: &PeerLink| known.declined.iter().any(is_new);
        let asked: Vec<LinkId> = self
            .peer_links
            .iter()
            .filter_map(|(link_id, known)| told_off(known).then_some(*link_id))
            .collect();
        for link_id in asked {
            if let Some(known) = self.peer_links.get_mut(&link_id) {
                tracing::info!(peer = %known.identity, "asked again for what is lacking here");
                known.link.close(Goodbye::Reconfigured);
            }
            self.drain(now, link_id);
        }
    }

    /// Whether what is offered is taken beside what its region itself sends: that one may lack it.
    pub(super) fn is_awaited(&self, offer: &Offer) -> bool {
        let is_near = offer.path.len() == 2 || route::is_handed_on(&offer.path);
        self.is_awaited_of((&offer.origin, &offer.origin_topic), is_near)
    }

    /// The same of a topic that is taken.
    pub(super) fn is_awaited_topic(&self, topic: &Topic) -> bool {
        let is_near = topic.path.len() == 2;
        self.is_awaited_of((&topic.origin, &topic.origin_name), is_near)
    }

    fn is_awaited_of(&self, (origin, topic): (&RegionId, &TopicName), is_near: bool) -> bool {
        let Some(speaking) = &self.speaking else { return false };
        let Awaited { lacked, gapped, over, others } = &speaking.awaited;
        let is_said = is_of_members(topic) && is_near;
        let is_passed = speaking.ends.needed().contains(topic);
        lacked.contains(origin)
            || (is_passed && gapped.contains(origin))
            || (is_said && over.contains(origin))
            || others.contains(&(origin.clone(), topic.clone()))
    }

    /// Whether what is offered has to be the same at all hubs, so that what this one lacks of it is
    /// kept apart. Of what came from here it may lack what a former life wrote.
    pub(super) fn keeps_apart(&self, offer: &Offer) -> bool {
        // How far groups had read the former life's logs says nothing of those of this one.
        let is_own = offer.origin == *self.identity.region();
        let is_of_use = !is_own || offer.origin_topic != groups_topic();
        is_of_use && self.is_needed(&offer.origin_topic)
    }

    /// Whether a batch says that this life of this hub wrote it, and it did not: somebody else has
    /// the same life.
    pub(super) fn is_of_another_self(
        &self,
        origin_topic: &TopicName,
        stamp: &Stamp,
        batch: &Batch,
    ) -> bool {
        let Actor { region, incarnation, partition } = &stamp.actor;
        let own = TopicPartition::new(origin_topic.clone(), *partition);
        let end = stamp.offset.after(batch.span());
        (region, *incarnation) == (self.identity.region(), self.incarnation)
            && end > self.composer.end(&own)
    }
}

/// What keys of positions end with that belong to what is handed on.
const HANDED_ON: &[u8] = b"/handed-on";

/// The key of the position in a log that is handed on, by that of the log's copy: one that is taken
/// later over the same way begins where it begins.
pub(super) fn key_of_handed_on(of_copy: &[u8]) -> Bytes {
    [of_copy, HANDED_ON].concat().into()
}

fn is_of_handed_on(key: &[u8]) -> bool {
    key.ends_with(HANDED_ON)
}

/// The life of a hub at the other end of a connection; none of an agent, or before its hello.
pub(super) fn life_of(known: &PeerLink) -> Option<Holder> {
    let Identity::Hub { region, .. } = &known.identity else { return None };
    Some(Holder { region: region.clone(), incarnation: known.life()? })
}

#[cfg(test)]
mod tests {
    use headland_event::{Incarnation, Offset, PartitionIndex};

    use super::*;

    #[test]
    fn what_was_here_at_the_start_is_old_and_what_comes_is_after_an_age() {
        let actor = Actor {
            region: RegionId::new("us").unwrap(),
            incarnation: Incarnation::new(1, 2),
            partition: PartitionIndex::new(0),
        };
        let (mut aged, mut heads) = (Aged::default(), VectorClock::new());
        let mut look = |at: u64, end: u64| {
            heads.advance(&actor, Offset::new(end));
            let age = Duration::from_millis(10);
            let heads = || Heads { inventory: heads.clone(), apart: OtherLogs::new() };
            aged.on_heads(Monotonic::from_millis(at), heads, age);
            aged.old.inventory.end(&actor).get()
        };

        let seen = [look(0, 3), look(1, 5), look(10, 7), look(20, 9)];

        assert_eq!(seen, [3, 3, 3, 7]);
    }
}
