//! What the agent's streams come to, stated for the hubs that hold them.

use headland_event::{Entry, Now, Record, TopicName, TopicPartition};
use headland_replication::audit::Statement;
use headland_storage::Composed;

use super::{InFlight, Node, Output};

/// The topic of what writers state about their streams.
///
/// # Panics
/// Never: the name is a literal that fits.
pub(super) fn audit_topic() -> TopicName {
    #[expect(clippy::expect_used, reason = "a literal that fits the rule for topics")]
    TopicName::new("_audit").expect("a literal topic name fits")
}

impl Node {
    /// Whether all that was written here so far is stated.
    #[must_use]
    pub fn is_stated(&self) -> bool {
        self.audit.poll_timeout().is_none()
    }

    /// Sums up a commit that was just composed; what is stated of it goes into a later one.
    pub(super) fn sum_up(&mut self, composed: &Composed) {
        for (partition, entry) in &composed.commit.entries {
            if partition.topic != audit_topic() {
                self.audit.on_entry(partition, entry);
            }
        }
    }

    /// Sums up an entry of an earlier run, or takes note of what it states.
    pub(super) fn sum_up_replayed(&mut self, partition: &TopicPartition, entry: &Entry) {
        if partition.topic != audit_topic() {
            return self.audit.on_entry(partition, entry);
        }
        for record in entry.batch.records().unwrap_or_default() {
            if let Ok(statement) = Statement::decode(record.value.unwrap_or_default()) {
                self.audit.on_statement(entry.dot.incarnation, statement);
            }
        }
    }

    /// Whether a commit of its own may be composed now: lines left half-way go with their own.
    pub(super) fn can_state(&self) -> bool {
        self.wants_lines() && self.outbox.waiting_bytes() == 0
    }

    /// States what the streams come to, when that is due.
    pub(super) fn state(&mut self, now: Now) {
        if !self.can_state() {
            return;
        }
        let stated = self.audit.on_timeout(now.monotonic);
        for (partition, statement) in &stated {
            let record = Record::new(now.wall, partition.to_string(), statement.encode());
            self.outbox.push(&audit_topic(), record);
        }
        if stated.is_empty() {
            return;
        }
        self.commit_apart(now);
    }

    /// Closes a commit that is of no lines.
    pub(super) fn commit_apart(&mut self, now: Now) {
        let (lanes, uptime) = (&self.lanes, self.uptime.at(now.monotonic));
        let composed = self.outbox.finish(|topic| lanes.of(topic), uptime, &mut self.random);
        let Some(composed) = composed else { return };
        let ends = composed.commit.entries.iter();
        let ends = ends.map(|(at, entry)| (at.clone(), entry.end())).collect();
        let (ticket, spans) = (composed.ticket, Vec::new());
        self.in_flight.push_back(InFlight { ticket, ends, reached: None, spans });
        self.outputs.push_back(Output::Commit(composed));
    }
}
