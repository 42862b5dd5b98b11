//! The table for people at the end of a run.

use std::time::Duration;

use headland_event::RegionId;

use super::console::millis;
use super::convergence::{View, Views};
use super::dump::Counts;
use super::latency::LatencyReport;
use super::outage::Outage;

/// Width of the first column.
const LABEL: usize = 32;

/// Width of each region's column.
const COLUMN: usize = 14;

/// What a run has shown.
#[derive(Debug)]
pub(super) struct Summary {
    /// Lines written to the agents' inputs.
    pub(super) events_in: u64,
    /// Records of each topic at each hub.
    pub(super) counts: Counts,
    /// What the hubs agreed on.
    pub(super) views: Views,
    /// How long alerts took.
    pub(super) latency: LatencyReport,
    /// What was broken.
    pub(super) outage: Outage,
    /// From the last input until all hubs agreed.
    pub(super) converged_in: Duration,
}

impl Summary {
    /// The table, one line per row.
    pub(super) fn table(&self) -> String {
        let mut table = String::new();
        self.row(&mut table, "at the hub of", |region| region.to_string());
        self.row(&mut table, "events in, all regions", |_| self.events_in.to_string());
        self.row(&mut table, "  in stock and attributes", |region| {
            self.applied(region).to_string()
        });
        self.row(&mut table, "  air readings", |region| self.count(region, "air.readings"));
        for (label, topic) in [
            ("  late", "inventory.late"),
            ("  duplicates", "inventory.duplicates"),
            ("  rejected", "inventory.rejected"),
            ("conflicts", "inventory.conflicts"),
            ("alerts", "alerts"),
        ] {
            self.row(&mut table, label, |region| self.count(region, topic));
        }
        self.row(&mut table, "stock fingerprint", |region| {
            let fingerprint = self.views.get(region).map_or("–", View::fingerprint);
            fingerprint.chars().take(COLUMN - 2).collect()
        });
        let LatencyReport { local, across, outage } = &self.latency;
        let latencies = [
            ("local alerts", local),
            ("alerts across regions", across),
            ("… in the outage", outage),
        ];
        for (label, latencies) in latencies {
            let [half, most] = [50, 99].map(|percent| millis(latencies.percentile(percent)));
            let count = latencies.len();
            table += &format!("{label:LABEL$}p50 {half}, p99 {most} of {count}\n");
        }
        let relink = millis(Some(self.outage.relink));
        table += &format!("{:LABEL$}{relink}\n", "links up after the cut");
        let converged = millis(Some(self.converged_in));
        table += &format!("{:LABEL$}{converged}", "converged after the last event");
        table
    }

    fn row(&self, table: &mut String, label: &str, cell: impl Fn(&RegionId) -> String) {
        let cells: String =
            self.counts.keys().map(|region| format!("{:<COLUMN$}", cell(region))).collect();
        *table += &format!("{label:LABEL$}{}\n", cells.trim_end());
    }

    /// Records of a topic at a hub, its own and all mirrored ones together.
    fn total(&self, region: &RegionId, topic: &str) -> u64 {
        let topics = self.counts.get(region).into_iter().flatten();
        let fits = |name: &str| {
            let prefix = name.strip_suffix(topic).map(|prefix| prefix.trim_end_matches('.'));
            prefix.is_some_and(|prefix| {
                prefix.is_empty() || self.counts.keys().any(|region| region.as_str() == prefix)
            })
        };
        topics.filter(|(name, _)| fits(name)).map(|(_, count)| count).sum()
    }

    fn count(&self, region: &RegionId, topic: &str) -> String {
        self.total(region, topic).to_string()
    }

    /// Inventory events that ended in no side output.
    fn applied(&self, region: &RegionId) -> u64 {
        let aside = ["inventory.late", "inventory.duplicates", "inventory.rejected"];
        let aside: u64 = aside.iter().map(|topic| self.total(region, topic)).sum();
        self.total(region, "inventory.events").saturating_sub(aside)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use headland_event::EventTime;

    use super::*;

    fn summary() -> Summary {
        let topics = [
            ("inventory.events", 10),
            ("us.inventory.events", 20),
            ("inventory.late", 3),
            ("inventory.duplicates", 2),
            ("air.readings", 5),
        ];
        let counts = topics.map(|(topic, count)| (topic.to_owned(), count)).into();
        let region = |name| RegionId::new(name).unwrap();
        Summary {
            events_in: 35,
            counts: BTreeMap::from([(region("eu"), counts), (region("us"), BTreeMap::new())]),
            views: BTreeMap::new(),
            latency: LatencyReport::default(),
            outage: Outage {
                from: EventTime::default(),
                until: EventTime::default(),
                in_flight: 4,
                relink: Duration::from_millis(120),
            },
            converged_in: Duration::from_millis(350),
        }
    }

    #[test]
    fn every_event_is_shown_where_it_ended() {
        let table = summary().table();

        let row = |label: &str| {
            let line = table.lines().find(|line| line.trim_start().starts_with(label)).unwrap();
            line.split_whitespace().rev().take(2).map(str::to_owned).collect::<Vec<_>>()
        };
        assert_eq!(row("in stock and attributes"), ["0", "25"]);
        assert_eq!(row("late"), ["0", "3"]);
        assert_eq!(row("air readings"), ["0", "5"]);
    }

    #[test]
    fn without_alerts_latencies_are_dashes() {
        assert!(summary().table().contains("local alerts                    p50 –, p99 – of 0"));
    }
}
