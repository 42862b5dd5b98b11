//! What results make of alerts: their state and their revision.

use std::collections::BTreeMap;

use headland_event::codec::{CodecError, Reader, Writer};
use headland_event::{AlertId, AlertState, Finality};

use crate::output::{Change, RuleResult};
use crate::plan::Rule;

/// Most alerts that are remembered: about 4 MiB. Of those that are not provisional the one whose
/// last change is longest ago goes first, then of the provisional ones, whose windows are open and
/// will speak again. One that went begins at 1 again when its rule raises it again.
const ALERTS_LIMIT: usize = 65_536;

/// Revisions of the alerts of rules whose results may change: what was said of an alert is numbered
/// from 1 on without gaps.
#[derive(Debug, Default)]
pub struct Revisions {
    of: BTreeMap<AlertId, Said>,
    /// In the order in which they are forgotten: by whether more is to come, then by the turn of
    /// their last change, which is each alert's own.
    order: BTreeMap<(Outlook, u64), AlertId>,
    turn: u64,
    /// How many alerts were forgotten in this run.
    evicted: u64,
}

/// What was last said of an alert.
#[derive(Debug, Clone, Copy)]
struct Said {
    revision: u32,
    state: AlertState,
    outlook: Outlook,
    turn: u64,
}

/// Whether more is to come of an alert.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Outlook {
    /// Its last result stands; only what came late changes it.
    Settled,
    /// Its last result was provisional: the window is open.
    Open,
}

impl Outlook {
    const fn of(finality: Finality) -> Self {
        match finality {
            Finality::Provisional => Self::Open,
            Finality::Final | Finality::Correction => Self::Settled,
        }
    }
}

impl Revisions {
    /// What a result of `rule` makes of the alert `id`: its state and its revision. None when an
    /// alert is taken back that was never said, or is forgotten: whoever reads alerts could not
    /// tell what it takes back.
    ///
    /// A provisional result raises a pending alert, which its final result confirms; one that no
    /// further row can refute fires at once. A result without a window that is taken back is over;
    /// one of a window was wrong. The old row of an update takes it back like a deletion, as in
    /// Flink's upsert sinks: when the rule lets the new row pass, that follows, and the old one
    /// need not be said.
    pub fn on_result(
        &mut self,
        id: AlertId,
        rule: &Rule,
        result: &RuleResult,
    ) -> Option<(AlertState, u32)> {
        if !rule.results_may_change() {
            debug_assert_eq!(result.change, Change::Insert, "a result that stands is only added");
            return Some((AlertState::Firing, 1));
        }
        let refutable = if rule.is_monotone() { AlertState::Firing } else { AlertState::Pending };
        self.on_change(id, result, refutable)
    }

    /// `provisional` is what a provisional result makes of its alert.
    fn on_change(
        &mut self,
        id: AlertId,
        result: &RuleResult,
        provisional: AlertState,
    ) -> Option<(AlertState, u32)> {
        let last = self.of.get(&id).map(|said| said.state);
        let state = match result.change {
            Change::Insert | Change::UpdateAfter => match (result.finality, last) {
                (Finality::Provisional, _) => provisional,
                (
                    Finality::Final | Finality::Correction,
                    Some(AlertState::Pending | AlertState::Confirmed),
                ) => AlertState::Confirmed,
                (
                    Finality::Final | Finality::Correction,
                    None | Some(AlertState::Firing | AlertState::Retracted | AlertState::Resolved),
                ) => AlertState::Firing,
            },
            Change::UpdateBefore | Change::Delete => {
                last?;
                if result.window.is_empty() { AlertState::Resolved } else { AlertState::Retracted }
            }
        };
        Some((state, self.advance(id, state, Outlook::of(result.finality))))
    }

    /// How many alerts were forgotten in this run because more change than are remembered.
    #[must_use]
    pub const fn forgotten(&self) -> u64 {
        self.evicted
    }

    /// The next revision of an alert, which becomes the last of its kind to be forgotten.
    fn advance(&mut self, id: AlertId, state: AlertState, outlook: Outlook) -> u32 {
        let before = self.of.get(&id).map_or(0, |said| {
            self.order.remove(&(said.outlook, said.turn));
            said.revision
        });
        if before == 0 && self.of.len() >= ALERTS_LIMIT {
            self.forget_oldest();
        }
        let revision = before.saturating_add(1);
        self.put(id, revision, state, outlook);
        revision
    }

    fn put(&mut self, id: AlertId, revision: u32, state: AlertState, outlook: Outlook) {
        self.turn += 1;
        self.of.insert(id, Said { revision, state, outlook, turn: self.turn });
        self.order.insert((outlook, self.turn), id);
        debug_assert_eq!(self.of.len(), self.order.len(), "an alert has one turn");
    }

    fn forget_oldest(&mut self) {
        let Some((_, oldest)) = self.order.pop_first() else { return };
        self.of.remove(&oldest);
        self.evicted = self.evicted.saturating_add(1);
    }

    /// Appends u32 × { alert id 16, revision u32, state u8 }, those that are forgotten first first.
    /// The state's highest bit says that more is to come.
    pub fn write(&self, writer: &mut Writer) {
        writer.length(self.order.len());
        for (id, said) in self.order.values().filter_map(|id| Some((id, self.of.get(id)?))) {
            let Said { revision, state, outlook, turn: _ } = said;
            writer.raw(id.bytes());
            writer.u32(*revision);
            writer.u8(code(*state) | mark(*outlook));
        }
    }

    /// Reads what [`Self::write`] wrote.
    ///
    /// # Errors
    /// [`CodecError`] when bytes are missing or a field is outside its range.
    pub fn read(reader: &mut Reader) -> Result<Self, CodecError> {
        let count = reader.length("changed alerts", ALERTS_LIMIT)?;
        let mut revisions = Self::default();
        for _ in 0..count {
            let mut id = [0; 16];
            id.copy_from_slice(&reader.take("alert id", 16)?);
            let id = AlertId::new(id);
            let revision = reader.u32("revision")?;
            let (at, found) = (reader.position(), reader.u8("alert state")?);
            let outlook = if found & OPEN == 0 { Outlook::Settled } else { Outlook::Open };
            let found = found & !OPEN;
            let state =
                STATES.into_iter().find(|state| code(*state) == found).ok_or_else(|| {
                    let (field, found) = ("alert state", i64::from(found));
                    CodecError::Value { field, at, found, expected: "0 to 4" }
                })?;
            if !revisions.of.contains_key(&id) {
                revisions.put(id, revision, state, outlook);
            }
        }
        Ok(revisions)
    }
}

/// Of the byte of a state: the last result was provisional.
const OPEN: u8 = 0x80;

const fn mark(outlook: Outlook) -> u8 {
    match outlook {
        Outlook::Settled => 0,
        Outlook::Open => OPEN,
    }
}

const STATES: [AlertState; 5] = [
    AlertState::Pending,
    AlertState::Firing,
    AlertState::Confirmed,
    AlertState::Retracted,
    AlertState::Resolved,
];

const fn code(state: AlertState) -> u8 {
    match state {
        AlertState::Pending => 0,
        AlertState::Firing => 1,
        AlertState::Confirmed => 2,
        AlertState::Retracted => 3,
        AlertState::Resolved => 4,
    }
}

#[cfg(test)]
mod tests {
    use headland_event::{EventTime, Offset, Severity, TopicName};

    use super::*;

    fn id(key: usize) -> AlertId {
        AlertId::derive("r", &key.to_string(), "")
    }

    /// What a change makes of an alert of a rule whose partial results may be refuted.
    fn on_change(
        revisions: &mut Revisions,
        id: AlertId,
        (change, finality): (Change, Finality),
        window: &str,
    ) -> Option<(AlertState, u32)> {
        let zero = EventTime::from_millis(0);
        let result = RuleResult {
            change,
            finality,
            rule: "r".into(),
            topic: TopicName::new("alerts").unwrap(),
            severity: Severity::Warning,
            key: String::new(),
            window: window.to_owned(),
            event_time: zero,
            captured_at: zero,
            evidence: Offset::new(0),
            columns: Vec::new(),
        };
        revisions.on_change(id, &result, AlertState::Pending)
    }

    fn restarted(revisions: &Revisions) -> Revisions {
        let mut writer = Writer::new();
        revisions.write(&mut writer);
        Revisions::read(&mut Reader::new(writer.finish())).unwrap()
    }

    #[test]
    fn changes_count_up_whatever_they_are() {
        let mut revisions = Revisions::default();
        let mut of = |change| on_change(&mut revisions, id(1), (change, Finality::Final), "");

        assert_eq!(of(Change::Insert), Some((AlertState::Firing, 1)));
        assert_eq!(of(Change::UpdateAfter), Some((AlertState::Firing, 2)));
        assert_eq!(of(Change::UpdateBefore), Some((AlertState::Resolved, 3)));
        assert_eq!(of(Change::Insert), Some((AlertState::Firing, 4)));
        assert_eq!(of(Change::Delete), Some((AlertState::Resolved, 5)));
    }

    #[test]
    fn an_update_whose_old_row_did_not_pass_begins_at_one() {
        let mut revisions = Revisions::default();

        let update = (Change::UpdateAfter, Finality::Final);
        let first = on_change(&mut revisions, id(1), update, "");
        let next = on_change(&mut restarted(&revisions), id(1), update, "");

        assert_eq!(first, Some((AlertState::Firing, 1)));
        assert_eq!(next, Some((AlertState::Firing, 2)));
    }

    #[test]
    fn what_was_never_said_is_not_taken_back() {
        let mut revisions = Revisions::default();

        let taken_back = [Change::UpdateBefore, Change::Delete]
            .map(|change| on_change(&mut revisions, id(1), (change, Finality::Final), ""));
        let first = on_change(&mut revisions, id(1), (Change::Insert, Finality::Final), "");

        assert_eq!(taken_back, [None, None]);
        assert_eq!(first, Some((AlertState::Firing, 1)));
    }

    #[test]
    fn the_result_of_a_window_that_is_taken_back_is_retracted() {
        let mut revisions = Revisions::default();
        on_change(&mut revisions, id(1), (Change::Insert, Finality::Final), "3600000");

        let found = on_change(&mut revisions, id(1), (Change::Delete, Finality::Final), "3600000");

        assert_eq!(found, Some((AlertState::Retracted, 2)));
    }

    #[test]
    fn the_alert_that_changed_longest_ago_is_forgotten_first_also_behind_a_restart() {
        let mut revisions = Revisions::default();
        for key in 0..ALERTS_LIMIT {
            on_change(&mut revisions, id(key), (Change::UpdateAfter, Finality::Final), "");
        }
        on_change(&mut revisions, id(0), (Change::UpdateAfter, Finality::Final), "");

        let mut read = restarted(&revisions);
        for revisions in [&mut revisions, &mut read] {
            on_change(revisions, id(ALERTS_LIMIT), (Change::Insert, Finality::Final), "");

            assert_eq!((revisions.of.len(), revisions.evicted), (ALERTS_LIMIT, 1));
            let mut of =
                |key| on_change(revisions, id(key), (Change::UpdateAfter, Finality::Final), "");
            assert_eq!(of(0), Some((AlertState::Firing, 3)));
            assert_eq!(of(2), Some((AlertState::Firing, 2)));
            assert_eq!(of(1), Some((AlertState::Firing, 1)));
        }
    }

    #[test]
    fn an_alert_of_an_open_window_is_forgotten_behind_all_that_have_closed() {
        let mut revisions = Revisions::default();
        let early = (Change::Insert, Finality::Provisional);
        on_change(&mut revisions, id(0), early, "9");
        for key in 1..=ALERTS_LIMIT {
            on_change(&mut revisions, id(key), (Change::Insert, Finality::Final), "9");
        }

        for revisions in [&mut restarted(&revisions), &mut revisions] {
            let closing = (Change::UpdateAfter, Finality::Final);
            let found = on_change(revisions, id(0), closing, "9");
            let forgotten = on_change(revisions, id(1), closing, "9");

            assert_eq!(found, Some((AlertState::Confirmed, 2)));
            assert_eq!(forgotten, Some((AlertState::Firing, 1)));
        }
    }

    #[test]
    fn a_pending_alert_is_confirmed_by_its_final_result_and_stays_so_when_corrected() {
        let mut revisions = Revisions::default();
        let mut of = |change, finality| on_change(&mut revisions, id(1), (change, finality), "9");

        let said = [
            of(Change::Insert, Finality::Provisional),
            of(Change::UpdateAfter, Finality::Provisional),
            of(Change::UpdateAfter, Finality::Final),
            of(Change::UpdateAfter, Finality::Correction),
        ];

        let state = [
            AlertState::Pending,
            AlertState::Pending,
            AlertState::Confirmed,
            AlertState::Confirmed,
        ];
        assert_eq!(said.map(|said| said.unwrap().0), state);
        assert_eq!(said.map(|said| said.unwrap().1), [1, 2, 3, 4]);
    }

    #[test]
    fn a_pending_alert_that_the_final_result_refutes_is_retracted() {
        let mut revisions = Revisions::default();
        on_change(&mut revisions, id(1), (Change::Insert, Finality::Provisional), "9");

        let refuted = (Change::UpdateBefore, Finality::Final);
        let found = on_change(&mut restarted(&revisions), id(1), refuted, "9");

        assert_eq!(found, Some((AlertState::Retracted, 2)));
    }
}
