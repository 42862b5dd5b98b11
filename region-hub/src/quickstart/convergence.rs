//! When all hubs hold and have reconciled the same.

use std::collections::BTreeMap;
use std::time::Duration;

use headland_event::RegionId;

use super::api::{Api, HubStatus, TopicListing};
use super::error::QuickstartError;
use super::nodes::Nodes;

/// How long the hubs may take to agree after the last input.
const LIMIT: Duration = Duration::from_secs(30);

/// For how long the hubs must have agreed without a change: derived alerts follow their inputs.
const QUIET_TIME: Duration = Duration::from_millis(400);

/// Topics written in one region and mirrored by all others. Promises are left out: they go on.
const MIRRORED: [&str; 3] = ["inventory.events", "air.readings", "alerts"];

/// A hub's state as far as all must agree on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct View {
    fingerprint: String,
    applied: BTreeMap<String, u64>,
    /// Ends of the partitions by origin region, topic and partition.
    ends: BTreeMap<(String, &'static str, u32), u64>,
}

impl View {
    /// The digest of the hub's reconciled state.
    pub(super) fn fingerprint(&self) -> &str {
        &self.fingerprint
    }
}

/// The views of all hubs.
pub(super) type Views = BTreeMap<RegionId, View>;

/// Waits until all hubs show the same, twice in a row.
///
/// # Errors
/// [`QuickstartError::Overdue`] with what differs.
pub(super) async fn await_agreement(nodes: &Nodes) -> Result<Views, QuickstartError> {
    let what = "the hubs do not agree";
    nodes
        .wait(what, LIMIT, || async {
            match (look(nodes).await, tokio::time::sleep(QUIET_TIME).await, look(nodes).await) {
                (Ok(before), (), Ok(after)) if before == after => differences(&after),
                (Ok(_), (), Ok(_)) => vec!["hubs still change".to_owned()],
                (Err(error), (), _) | (_, (), Err(error)) => vec![error.to_string()],
            }
        })
        .await?;
    look(nodes).await
}

async fn look(nodes: &Nodes) -> Result<Views, QuickstartError> {
    let mut views = BTreeMap::new();
    for (region, api) in nodes.hubs() {
        views.insert(region.clone(), view(region, api).await?);
    }
    Ok(views)
}

async fn view(region: &RegionId, api: &Api) -> Result<View, QuickstartError> {
    let HubStatus { fingerprint, applied, .. } = api.get("/v1/status").await?;
    let topics: Vec<TopicListing> = api.get("/v1/topics").await?;
    let mut ends = BTreeMap::new();
    for listing in &topics {
        for topic in MIRRORED {
            let origin = match listing.topic.strip_suffix(topic) {
                Some("") => region.to_string(),
                Some(prefix) => prefix.trim_end_matches('.').to_owned(),
                None => continue,
            };
            let filled = listing.partitions.iter().filter(|partition| partition.end > 0);
            ends.extend(filled.map(|found| ((origin.clone(), topic, found.partition), found.end)));
        }
    }
    Ok(View { fingerprint, applied, ends })
}

/// What each hub shows differently from the first.
fn differences(views: &Views) -> Vec<String> {
    let mut found = Vec::new();
    let Some((first, wanted)) = views.iter().next() else {
        return found;
    };
    for (region, view) in views.iter().skip(1) {
        let between = format!("{first} and {region}");
        if view.fingerprint != wanted.fingerprint {
            found.push(format!("{between}: fingerprints differ"));
        }
        found.extend(differing(&between, "applied", &wanted.applied, &view.applied));
        found.extend(differing(&between, "end of", &wanted.ends, &view.ends));
    }
    found
}

fn differing<K: Ord + std::fmt::Debug>(
    between: &str,
    what: &str,
    left: &BTreeMap<K, u64>,
    right: &BTreeMap<K, u64>,
) -> Vec<String> {
    let of = |map: &BTreeMap<K, u64>, key| map.get(key).copied().unwrap_or_default();
    let keys = left.keys().chain(right.keys().filter(|key| !left.contains_key(key)));
    keys.filter(|key| of(left, key) != of(right, key))
        .map(|key| format!("{between}: {what} {key:?} {} ≠ {}", of(left, key), of(right, key)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(fingerprint: &str, applied: u64, end: u64) -> View {
        View {
            fingerprint: fingerprint.to_owned(),
            applied: BTreeMap::from([("eu@1/0".to_owned(), applied)]),
            ends: BTreeMap::from([(("eu".to_owned(), "alerts", 0), end)]),
        }
    }

    fn views(of: [View; 2]) -> Views {
        ["ap", "eu"].map(|name| RegionId::new(name).unwrap()).into_iter().zip(of).collect()
    }

    #[test]
    fn hubs_with_the_same_view_do_not_differ() {
        assert_eq!(differences(&views([view("f", 3, 2), view("f", 3, 2)])), Vec::<String>::new());
    }

    #[test]
    fn a_difference_is_named_with_both_sides() {
        assert_eq!(
            differences(&views([view("f", 3, 2), view("g", 4, 1)])),
            [
                "ap and eu: fingerprints differ",
                "ap and eu: applied \"eu@1/0\" 3 ≠ 4",
                "ap and eu: end of (\"eu\", \"alerts\", 0) 2 ≠ 1"
            ]
        );
    }
}
