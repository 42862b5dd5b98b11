//! How long alerts take from capture to a hub, and which of them count.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use headland_event::{Alert, EventTime, RegionId};
use headland_platform::task::{self, Token};
use serde_json::{Map, Value};

use super::api::{Api, Page};
use super::configuration::PARTITIONS;
use super::nodes::Nodes;
use super::outage::Outage;
use headland_platform::clock::Clock;

/// How long a hub holds an answer open for the next alert.
const POLL_WAIT_MS: u32 = 1_000;

/// How long to wait before asking again a hub that has no such topic yet, or is dead.
const RETRY_INTERVAL: Duration = Duration::from_millis(20);

/// An alert as it came in at a hub, by the wall clock of this machine, which all nodes share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Sighting {
    /// Whether the hub is another region's.
    pub(super) across: bool,
    /// When the agent or hub captured the last input of the alert.
    pub(super) captured_at: EventTime,
    /// When this process saw the alert in the hub's log.
    pub(super) arrived_at: EventTime,
}

/// Where all tails write.
#[derive(Debug, Clone, Default)]
pub(super) struct Sightings(Arc<Mutex<Vec<Sighting>>>);

impl Sightings {
    /// What was seen so far.
    pub(super) fn all(&self) -> Vec<Sighting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn add(&self, sighting: Sighting) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(sighting);
    }
}

/// Follows the alerts of every region at every hub, until `token` is cancelled.
pub(super) fn follow(nodes: &Nodes, clock: Clock, token: &Token) -> Sightings {
    let sightings = Sightings::default();
    for (region, api) in nodes.hubs() {
        for origin in nodes.hubs().keys() {
            for partition in 0..PARTITIONS {
                let tail = Tail {
                    path: format!(
                        "/v1/topics/{}/{partition}/records",
                        alerts_topic(region, origin)
                    ),
                    api: api.clone(),
                    across: region != origin,
                    clock,
                    sightings: sightings.clone(),
                };
                // The tail ends with the token, and what it has found is kept apart from it.
                drop(task::spawn("tail of alerts", token, tail.run()));
            }
        }
    }
    sightings
}

/// What the topic of a region's alerts is called at a hub.
fn alerts_topic(region: &RegionId, origin: &RegionId) -> String {
    if region == origin { "alerts".to_owned() } else { format!("{origin}.alerts") }
}

#[derive(Debug)]
struct Tail {
    api: Api,
    path: String,
    across: bool,
    clock: Clock,
    sightings: Sightings,
}

impl Tail {
    async fn run(self) {
        let mut next = 0;
        loop {
            let path = format!("{}?from={next}&max=1000&wait_ms={POLL_WAIT_MS}", self.path);
            let Ok(page) = self.api.get::<Page>(&path).await else {
                tokio::time::sleep(RETRY_INTERVAL).await;
                continue;
            };
            let arrived_at = self.clock.wall();
            next = page.next;
            for captured_at in page.records.iter().filter_map(captured_at) {
                let across = self.across;
                self.sightings.add(Sighting { across, captured_at, arrived_at });
            }
        }
    }
}

fn captured_at(record: &Map<String, Value>) -> Option<EventTime> {
    let alert: Alert = serde_json::from_str(record.get("value")?.as_str()?).ok()?;
    Some(alert.captured_at)
}

/// Latencies of one kind of sighting, in rising order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Latencies(Vec<Duration>);

impl Latencies {
    /// How many there are.
    pub(super) const fn len(&self) -> usize {
        self.0.len()
    }

    /// The smallest latency that `percent` of 100 do not exceed; `None` without any.
    ///
    /// # Source
    /// The nearest-rank percentile.
    pub(super) fn percentile(&self, percent: usize) -> Option<Duration> {
        debug_assert!(percent <= 100 && self.0.is_sorted());
        let rank = (self.0.len() * percent).div_ceil(100);
        self.0.get(rank.saturating_sub(1)).copied()
    }

    fn of(sightings: impl Iterator<Item = Sighting>) -> Self {
        let mut all: Vec<Duration> = sightings
            .map(|seen| seen.arrived_at.millis_since(seen.captured_at))
            .map(|millis| Duration::from_millis(u64::try_from(millis).unwrap_or_default()))
            .collect();
        all.sort_unstable();
        Self(all)
    }
}

/// Latencies within a region, across regions, and of what the outage touched.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct LatencyReport {
    /// At the region's own hub, outside the outage.
    pub(super) local: Latencies,
    /// At the other hubs, outside the outage.
    pub(super) across: Latencies,
    /// Captured or arrived while the outage lasted, anywhere.
    pub(super) outage: Latencies,
}

impl LatencyReport {
    /// Sorts sightings into the three kinds.
    pub(super) fn new(sightings: &[Sighting], outage: &Outage) -> Self {
        debug_assert!(outage.from <= outage.until);
        let touched =
            |seen: &&Sighting| seen.captured_at <= outage.until && seen.arrived_at >= outage.from;
        let clear = |across: bool| {
            let kept = sightings.iter().filter(move |seen| seen.across == across);
            Latencies::of(kept.filter(|seen| !touched(seen)).copied())
        };
        let outage = Latencies::of(sightings.iter().filter(touched).copied());
        Self { local: clear(false), across: clear(true), outage }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(across: bool, captured: i64, arrived: i64) -> Sighting {
        let (captured_at, arrived_at) =
            (EventTime::from_millis(captured), EventTime::from_millis(arrived));
        Sighting { across, captured_at, arrived_at }
    }

    fn outage() -> Outage {
        Outage {
            from: EventTime::from_millis(1_000),
            until: EventTime::from_millis(2_000),
            in_flight: 1,
            relink: Duration::ZERO,
        }
    }

    #[test]
    fn percentiles_are_nearest_ranks() {
        let latencies = Latencies::of((1..=100).rev().map(|millis| seen(false, 0, millis)));

        assert_eq!(latencies.percentile(50), Some(Duration::from_millis(50)));
        assert_eq!(latencies.percentile(99), Some(Duration::from_millis(99)));
        assert_eq!(Latencies::default().percentile(99), None);
    }

    #[test]
    fn what_was_captured_or_arrived_during_the_outage_is_counted_apart() {
        let sightings = [
            seen(false, 0, 999),
            seen(false, 990, 1_000),
            seen(true, 1_500, 9_000),
            seen(true, 2_001, 2_031),
        ];

        let report = LatencyReport::new(&sightings, &outage());

        assert_eq!(report.local.percentile(99), Some(Duration::from_millis(999)));
        assert_eq!(report.across.percentile(99), Some(Duration::from_millis(30)));
        assert_eq!((report.local.len(), report.across.len(), report.outage.len()), (1, 1, 2));
    }
}
