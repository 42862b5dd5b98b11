//! What a node tells its operators of damage, as alerts of the rule `damaged_log`.

use headland_event::{Alert, EventTime, NodeRule};

use super::{Missing, MissingCommits, MissingOffsets};
use crate::log::LostParts;

impl Missing {
    /// An alert for each damaged place, of the log of `node`; `at` is the node's wall clock.
    ///
    /// An alert's id follows from node and place alone, so one that is raised again by the next
    /// start is the same alert.
    #[must_use]
    pub fn alerts(&self, node: &str, at: EventTime) -> Vec<Alert> {
        let commits = self.commits.iter().map(|lost| lost.alert(node, at));
        commits.chain(self.offsets.iter().map(|lost| lost.alert(node, at))).collect()
    }
}

impl MissingCommits {
    /// The alert that these commits of a log of `node` are damaged.
    #[must_use]
    pub fn alert(&self, node: &str, at: EventTime) -> Alert {
        let Self { file, from, until, lost } = self;
        let lost = match lost {
            LostParts::Counted { entries, changes } => {
                format!("{entries} entries, {changes} changes of state")
            }
            LostParts::Unknown => "unknown".to_owned(),
        };
        let last = until.get().saturating_sub(1).to_string();
        let facts = [("file", file.clone()), ("commits_to", last), ("lost", lost)];
        Alert::of_node(
            NodeRule::DamagedLog,
            (format!("{node}|{file}"), from.to_string()),
            at,
            facts,
        )
    }
}

impl MissingOffsets {
    /// The alert that these offsets of a log of `node` are damaged.
    #[must_use]
    pub fn alert(&self, node: &str, at: EventTime) -> Alert {
        let Self { partition, from, until } = self;
        let last = until.get().saturating_sub(1).to_string();
        let records = until.since(*from).to_string();
        let facts =
            [("partition", partition.to_string()), ("offsets_to", last), ("records", records)];
        let place = (format!("{node}|{partition}"), from.to_string());
        Alert { evidence: *from, ..Alert::of_node(NodeRule::DamagedLog, place, at, facts) }
    }
}

#[cfg(test)]
mod tests {
    use headland_event::{CommitNumber, Offset, PartitionIndex, TopicName, TopicPartition};

    use super::*;

    #[test]
    fn an_alert_says_node_place_and_how_much_and_is_the_same_at_the_next_start() {
        let partition = TopicPartition::new(TopicName::new("air").unwrap(), PartitionIndex::new(2));
        let (from, until) = (Offset::new(5), Offset::new(8));
        let mut missing = Missing::default();
        missing.add(MissingOffsets { partition, from, until });
        let (from, until) = (CommitNumber::new(3), CommitNumber::new(4));
        let lost = LostParts::Counted { entries: 1, changes: 0 };
        let file = "0000000001.journal".to_owned();
        missing.commits.push(MissingCommits { file, from, until, lost });

        let alerts = missing.alerts("hub eu/hub-1", EventTime::from_millis(7));
        let again = missing.alerts("hub eu/hub-1", EventTime::from_millis(9));

        let said: Vec<(&str, &str)> = alerts.iter().map(|it| (&*it.key, &*it.window)).collect();
        assert_eq!(said, [("hub eu/hub-1|0000000001.journal", "3"), ("hub eu/hub-1|air/2", "5")]);
        assert_eq!(alerts[0].values["lost"], "1 entries, 0 changes of state");
        assert_eq!((&*alerts[1].values["offsets_to"], &*alerts[1].values["records"]), ("7", "3"));
        assert!(alerts.iter().zip(&again).all(|(one, other)| one.id == other.id));
    }
}
