//! How often an alert has changed.

use std::collections::{BTreeMap, VecDeque};

use headland_detection::Change;
use headland_event::codec::{CodecError, Reader, Writer};
use headland_event::{AlertId, AlertState};

/// Most alerts whose changes are remembered: 1.3 MiB. Whose turn is longest ago begins at 1 again.
const ALERTS_LIMIT: usize = 65_536;

/// Revisions of the alerts that changed after they were raised.
#[derive(Debug, Default)]
pub(super) struct Revisions {
    of: BTreeMap<AlertId, u32>,
    /// Oldest first.
    order: VecDeque<AlertId>,
}

impl Revisions {
    /// What a result makes of its alert. A result without a window that is taken back is over; one
    /// of a window was wrong.
    ///
    /// The old row of an update takes it back like a deletion, as in Flink's upsert sinks: when the
    /// rule lets the new row pass, that follows, and the old one need not be said.
    pub(super) fn on_change(
        &mut self,
        id: AlertId,
        change: Change,
        window: &str,
    ) -> (AlertState, u32) {
        let taken_back =
            if window.is_empty() { AlertState::Resolved } else { AlertState::Retracted };
        match change {
            Change::Insert if !self.of.contains_key(&id) => (AlertState::Firing, 1),
            Change::Insert | Change::UpdateAfter => (AlertState::Firing, self.advance(id)),
            Change::UpdateBefore | Change::Delete => (taken_back, self.advance(id)),
        }
    }

    fn advance(&mut self, id: AlertId) -> u32 {
        if !self.of.contains_key(&id) {
            if self.order.len() >= ALERTS_LIMIT
                && let Some(oldest) = self.order.pop_front()
            {
                self.of.remove(&oldest);
            }
            self.order.push_back(id);
        }
        let revision = self.of.entry(id).or_insert(1);
        *revision = revision.saturating_add(1);
        *revision
    }

    /// Appends u32 × { alert id 16, revision u32 }, oldest first.
    pub(super) fn write(&self, writer: &mut Writer) {
        writer.length(self.order.len());
        for id in &self.order {
            writer.raw(id.bytes());
            writer.u32(self.of.get(id).copied().unwrap_or(1));
        }
    }

    /// Reads what [`Self::write`] wrote.
    pub(super) fn read(reader: &mut Reader) -> Result<Self, CodecError> {
        let count = reader.length("changed alerts", ALERTS_LIMIT)?;
        let mut revisions = Self::default();
        for _ in 0..count {
            let mut id = [0; 16];
            id.copy_from_slice(&reader.take("alert id", 16)?);
            let id = AlertId::new(id);
            let revision = reader.u32("revision")?;
            if revisions.of.insert(id, revision).is_none() {
                revisions.order.push_back(id);
            }
        }
        Ok(revisions)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(key: usize) -> AlertId {
        AlertId::derive("r", &key.to_string(), "")
    }

    #[test]
    fn changes_count_up_whatever_they_are() {
        let mut revisions = Revisions::default();
        let mut of = |change| revisions.on_change(id(1), change, "");

        assert_eq!(of(Change::Insert), (AlertState::Firing, 1));
        assert_eq!(of(Change::UpdateAfter), (AlertState::Firing, 2));
        assert_eq!(of(Change::UpdateBefore), (AlertState::Resolved, 3));
        assert_eq!(of(Change::Insert), (AlertState::Firing, 4));
        assert_eq!(of(Change::Delete), (AlertState::Resolved, 5));
    }

    #[test]
    fn the_result_of_a_window_that_is_taken_back_is_retracted() {
        let mut revisions = Revisions::default();

        let found = revisions.on_change(id(1), Change::Delete, "3600000");

        assert_eq!(found, (AlertState::Retracted, 2));
    }

    #[test]
    fn no_more_alerts_are_remembered_than_the_limit_and_all_of_them_survive_their_bytes() {
        let mut revisions = Revisions::default();
        for key in 0..=ALERTS_LIMIT {
            revisions.on_change(id(key), Change::UpdateAfter, "");
        }
        let mut writer = Writer::new();
        revisions.write(&mut writer);

        let mut read = Revisions::read(&mut Reader::new(writer.finish())).unwrap();

        assert_eq!(read.of.len(), ALERTS_LIMIT);
        assert_eq!(read.on_change(id(0), Change::Insert, ""), (AlertState::Firing, 1));
        assert_eq!(read.on_change(id(1), Change::Insert, ""), (AlertState::Firing, 3));
    }
}
