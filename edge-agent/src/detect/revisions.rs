//! How often an alert has changed.

use std::collections::BTreeMap;

use headland_detection::Change;
use headland_event::codec::{CodecError, Reader, Writer};
use headland_event::{AlertId, AlertState};

/// Most alerts that are remembered: about 4 MiB. The one whose last change is longest ago goes
/// first, and begins at 1 again when its rule raises it again.
const ALERTS_LIMIT: usize = 65_536;

/// Revisions of the alerts of rules whose results may change: what was said of an alert is numbered
/// from 1 on without gaps.
#[derive(Debug, Default)]
pub(super) struct Revisions {
    of: BTreeMap<AlertId, Said>,
    /// By the turn of their last change, which is each alert's own.
    order: BTreeMap<u64, AlertId>,
    turn: u64,
    /// How many alerts were forgotten in this run.
    evicted: u64,
}

/// What was last said of an alert.
#[derive(Debug, Clone, Copy)]
struct Said {
    revision: u32,
    turn: u64,
}

impl Revisions {
    /// What a result makes of its alert. A result without a window that is taken back is over; one
    /// of a window was wrong.
    ///
    /// The old row of an update takes it back like a deletion, as in Flink's upsert sinks: when the
    /// rule lets the new row pass, that follows, and the old one need not be said. None when an
    /// alert is taken back that was never said, or is forgotten: whoever reads alerts could not
    /// tell what it takes back.
    pub(super) fn on_change(
        &mut self,
        id: AlertId,
        change: Change,
        window: &str,
    ) -> Option<(AlertState, u32)> {
        let taken_back =
            if window.is_empty() { AlertState::Resolved } else { AlertState::Retracted };
        let state = match change {
            Change::Insert | Change::UpdateAfter => AlertState::Firing,
            Change::UpdateBefore | Change::Delete if self.of.contains_key(&id) => taken_back,
            Change::UpdateBefore | Change::Delete => return None,
        };
        Some((state, self.advance(id)))
    }

    /// The next revision of an alert, which becomes the last to be forgotten.
    fn advance(&mut self, id: AlertId) -> u32 {
        let before = self.of.get(&id).map_or(0, |said| {
            self.order.remove(&said.turn);
            said.revision
        });
        if before == 0 && self.of.len() >= ALERTS_LIMIT {
            self.forget_oldest();
        }
        let revision = before.saturating_add(1);
        self.put(id, revision);
        revision
    }

    fn put(&mut self, id: AlertId, revision: u32) {
        self.turn += 1;
        self.of.insert(id, Said { revision, turn: self.turn });
        self.order.insert(self.turn, id);
        debug_assert_eq!(self.of.len(), self.order.len(), "an alert has one turn");
    }

    fn forget_oldest(&mut self) {
        let Some((_, oldest)) = self.order.pop_first() else { return };
        self.of.remove(&oldest);
        self.evicted = self.evicted.saturating_add(1);
        if self.evicted == 1 {
            tracing::warn!(
                limit = ALERTS_LIMIT,
                "more alerts change than are remembered: those whose last change is longest ago \
                 are not taken back, and begin at revision 1 again; this is said once"
            );
        }
    }

    /// Appends u32 × { alert id 16, revision u32 }, the longest unchanged first.
    pub(super) fn write(&self, writer: &mut Writer) {
        writer.length(self.order.len());
        for id in self.order.values() {
            writer.raw(id.bytes());
            writer.u32(self.of.get(id).map_or(1, |said| said.revision));
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
            if !revisions.of.contains_key(&id) {
                revisions.put(id, revision);
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

    fn restarted(revisions: &Revisions) -> Revisions {
        let mut writer = Writer::new();
        revisions.write(&mut writer);
        Revisions::read(&mut Reader::new(writer.finish())).unwrap()
    }

    #[test]
    fn changes_count_up_whatever_they_are() {
        let mut revisions = Revisions::default();
        let mut of = |change| revisions.on_change(id(1), change, "");

        assert_eq!(of(Change::Insert), Some((AlertState::Firing, 1)));
        assert_eq!(of(Change::UpdateAfter), Some((AlertState::Firing, 2)));
        assert_eq!(of(Change::UpdateBefore), Some((AlertState::Resolved, 3)));
        assert_eq!(of(Change::Insert), Some((AlertState::Firing, 4)));
        assert_eq!(of(Change::Delete), Some((AlertState::Resolved, 5)));
    }

    #[test]
    fn an_update_whose_old_row_did_not_pass_begins_at_one() {
        let mut revisions = Revisions::default();

        let first = revisions.on_change(id(1), Change::UpdateAfter, "");
        let next = restarted(&revisions).on_change(id(1), Change::UpdateAfter, "");

        assert_eq!(first, Some((AlertState::Firing, 1)));
        assert_eq!(next, Some((AlertState::Firing, 2)));
    }

    #[test]
    fn what_was_never_said_is_not_taken_back() {
        let mut revisions = Revisions::default();

        let taken_back = [Change::UpdateBefore, Change::Delete]
            .map(|change| revisions.on_change(id(1), change, ""));
        let first = revisions.on_change(id(1), Change::Insert, "");

        assert_eq!(taken_back, [None, None]);
        assert_eq!(first, Some((AlertState::Firing, 1)));
    }

    #[test]
    fn the_result_of_a_window_that_is_taken_back_is_retracted() {
        let mut revisions = Revisions::default();
        revisions.on_change(id(1), Change::Insert, "3600000");

        let found = revisions.on_change(id(1), Change::Delete, "3600000");

        assert_eq!(found, Some((AlertState::Retracted, 2)));
    }

    #[test]
    fn the_alert_that_changed_longest_ago_is_forgotten_first_also_behind_a_restart() {
        let mut revisions = Revisions::default();
        for key in 0..ALERTS_LIMIT {
            revisions.on_change(id(key), Change::UpdateAfter, "");
        }
        revisions.on_change(id(0), Change::UpdateAfter, "");

        let mut read = restarted(&revisions);
        for revisions in [&mut revisions, &mut read] {
            revisions.on_change(id(ALERTS_LIMIT), Change::Insert, "");

            assert_eq!((revisions.of.len(), revisions.evicted), (ALERTS_LIMIT, 1));
            let mut of = |key| revisions.on_change(id(key), Change::UpdateAfter, "");
            assert_eq!(of(0), Some((AlertState::Firing, 3)));
            assert_eq!(of(2), Some((AlertState::Firing, 2)));
            assert_eq!(of(1), Some((AlertState::Firing, 1)));
        }
    }
}
