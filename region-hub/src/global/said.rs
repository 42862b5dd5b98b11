//! How often each result was made here, from 1 on; a gap is one that was left out unsaid.
//!
//! What is remembered is bounded. A result that was forgotten changes all the same, or is taken
//! back: whoever keeps the last record per key has what stands. Only its revision begins at 1
//! again, and that is named, so that nobody takes it for the first. So it is with results of a rule
//! that began anew: how often the rule said them before is forgotten.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use headland_event::codec::{CodecError, Reader, Writer};
use headland_event::{AlertId, EventTime};

/// Most results that are remembered: about 8 MiB. The one whose window ended longest ago goes
/// first, since it has the least time left to change. Fewer name more revisions that begin anew;
/// more cost memory, and time of each snapshot.
const RESULTS_LIMIT: usize = 65_536;

/// What was said of results.
#[derive(Debug)]
pub(super) struct Said {
    of: BTreeMap<AlertId, OfResult>,
    /// In the order in which they are forgotten.
    order: BTreeSet<(EventTime, AlertId)>,
    /// The latest event time of those that were forgotten.
    forgotten_until: EventTime,
    limit: usize,
    /// How many were forgotten in this run.
    forgotten: u64,
}

#[derive(Debug)]
struct OfResult {
    /// None in a state of before rules were in it, until the result is said again.
    rule: Option<Arc<str>>,
    time: EventTime,
    revision: u32,
}

/// Which layout a state has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Layout {
    /// Of before there were rules in it.
    WithoutRules,
    /// The one that is written.
    WithRules,
}

/// How often a result was said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Revision {
    /// Counted from its first on.
    Known(u32),
    /// It may have been said before, which is forgotten: it counts from 1 again.
    Anew,
}

impl Default for Said {
    fn default() -> Self {
        Self::of_at_most(RESULTS_LIMIT)
    }
}

impl Said {
    /// Remembers `limit` results at most.
    pub(super) fn of_at_most(limit: usize) -> Self {
        debug_assert!(limit > 0, "what is said now is remembered");
        let (of, order) = (BTreeMap::new(), BTreeSet::new());
        Self { of, order, forgotten_until: EventTime::MIN, limit, forgotten: 0 }
    }

    /// A result of the window that ends at `time` is said once more by a rule, which may have said
    /// those up to `before` when it began otherwise.
    pub(super) fn say(
        &mut self,
        rule: &Arc<str>,
        id: AlertId,
        time: EventTime,
        before: EventTime,
    ) -> Revision {
        if let Some(OfResult { rule: of, time: _, revision }) = self.of.get_mut(&id) {
            of.get_or_insert_with(|| rule.clone());
            *revision = revision.saturating_add(1);
            return Revision::Known(*revision);
        }
        let may_be_forgotten = time <= self.forgotten_until.max(before);
        if self.of.len() >= self.limit
            && let Some((oldest, id)) = self.order.pop_first()
        {
            self.of.remove(&id);
            self.forgotten_until = self.forgotten_until.max(oldest);
            self.forgotten = self.forgotten.saturating_add(1);
        }
        self.put(id, OfResult { rule: Some(rule.clone()), time, revision: 1 });
        if may_be_forgotten { Revision::Anew } else { Revision::Known(1) }
    }

    /// Forgets what a rule said: it begins otherwise, and names that it may have said it. O(results
    /// remembered).
    pub(super) fn forget(&mut self, of_rule: &str) {
        let Self { of, order, forgotten_until, .. } = self;
        of.retain(|id, OfResult { rule, time, revision: _ }| {
            let is_kept = rule.as_ref().is_some_and(|rule| **rule != *of_rule);
            if !is_kept {
                order.remove(&(*time, *id));
            }
            if rule.is_none() {
                // It may be another rule's.
                *forgotten_until = (*time).max(*forgotten_until);
            }
            is_kept
        });
    }

    /// How many were forgotten in this run.
    pub(super) const fn forgotten(&self) -> u64 {
        self.forgotten
    }

    fn put(&mut self, id: AlertId, of: OfResult) {
        self.order.insert((of.time, id));
        self.of.insert(id, of);
        debug_assert_eq!(self.of.len(), self.order.len(), "a result has one place");
    }

    /// Appends `i64 forgotten until │ u32 × { id 16, rule u32, i64 ms, revision u32 }`, in the
    /// order in which they are forgotten; a rule by its place in `rules`, the number of them when
    /// it is not known.
    pub(super) fn write(&self, rules: &[Arc<str>], writer: &mut Writer) {
        writer.i64(self.forgotten_until.millis());
        writer.length(self.of.len());
        for id in self.order.iter().map(|(_, id)| id) {
            let Some(OfResult { rule, time, revision }) = self.of.get(id) else {
                debug_assert!(false, "what has a place is remembered");
                continue;
            };
            let place = rules.iter().position(|known| Some(known) == rule.as_ref());
            writer.raw(id.bytes());
            writer.length(place.unwrap_or(rules.len()));
            writer.i64(time.millis());
            writer.u32(*revision);
        }
    }

    /// Reads what [`Self::write`] wrote, or wrote before.
    pub(super) fn read(
        (layout, rules): (Layout, &[Arc<str>]),
        reader: &mut Reader,
    ) -> Result<Self, CodecError> {
        let forgotten_until = EventTime::from_millis(reader.i64("forgotten until")?);
        let mut said = Self { forgotten_until, ..Self::default() };
        for _ in 0..reader.length("results", RESULTS_LIMIT)? {
            let mut id = [0; 16];
            id.copy_from_slice(&reader.take("result id", 16)?);
            let (id, at) = (AlertId::new(id), reader.position());
            let place = match layout {
                Layout::WithoutRules => rules.len(),
                Layout::WithRules => reader.length("rule of a result", rules.len())?,
            };
            let time = reader.i64("result time")?;
            if said.of.contains_key(&id) {
                let (field, expected) = ("result", "each result once");
                return Err(CodecError::Value { field, at, found: time, expected });
            }
            let (rule, time) = (rules.get(place).cloned(), EventTime::from_millis(time));
            said.put(id, OfResult { rule, time, revision: reader.u32("revision")? });
        }
        Ok(said)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_rule(said: &mut Said, rule: &str, (key, time): (&str, i64), before: i64) -> Revision {
        let [time, before] = [time, before].map(EventTime::from_millis);
        said.say(&rule.into(), AlertId::derive(rule, key, ""), time, before)
    }

    fn say(said: &mut Said, key: &str, time: i64) -> Revision {
        of_rule(said, "r", (key, time), i64::MIN)
    }

    fn restarted(said: &Said) -> Said {
        let (mut writer, rules) = (Writer::new(), ["q".into(), "r".into()]);
        said.write(&rules, &mut writer);
        let mut reader = Reader::new(writer.finish());
        Said { limit: said.limit, ..Said::read((Layout::WithRules, &rules), &mut reader).unwrap() }
    }

    #[test]
    fn results_count_up_also_behind_a_restart() {
        let mut said = Said::default();

        let before = [say(&mut said, "a", 1), say(&mut said, "a", 1), say(&mut said, "b", 1)];
        let after = say(&mut restarted(&said), "a", 1);

        assert_eq!(before, [Revision::Known(1), Revision::Known(2), Revision::Known(1)]);
        assert_eq!(after, Revision::Known(3));
    }

    #[test]
    fn what_a_rule_said_that_began_otherwise_is_forgotten_by_name_and_no_other() {
        let mut said = Said::default();
        for rule in ["q", "r"] {
            of_rule(&mut said, rule, ("a", 5), i64::MIN);
        }
        said.forget("r");

        let mut said = restarted(&said);
        let of_r = [("a", 5), ("b", 5), ("c", 6), ("a", 5)];
        let found = of_r.map(|result| of_rule(&mut said, "r", result, 5));

        let expected = [Revision::Anew, Revision::Anew, Revision::Known(1), Revision::Known(2)];
        assert_eq!(found, expected);
        assert_eq!(of_rule(&mut said, "q", ("a", 5), i64::MIN), Revision::Known(2));
    }

    #[test]
    fn of_a_state_without_rules_all_is_forgotten_by_name_when_one_begins_otherwise() {
        let mut writer = Writer::new();
        writer.i64(i64::MIN);
        writer.length(2);
        for (key, time) in [("a", 5), ("b", 7)] {
            writer.raw(AlertId::derive("q", key, "").bytes());
            writer.i64(time);
            writer.u32(3);
        }
        let rules = ["q".into(), "r".into()];
        let mut reader = Reader::new(writer.finish());
        let mut said = Said::read((Layout::WithoutRules, &rules), &mut reader).unwrap();

        let known = of_rule(&mut said, "q", ("a", 5), i64::MIN);
        said = restarted(&said);
        said.forget("r");

        assert_eq!(known, Revision::Known(4));
        let found = [("a", 5), ("b", 7)].map(|of| of_rule(&mut said, "q", of, i64::MIN));
        assert_eq!(found, [Revision::Known(5), Revision::Anew]);
    }

    #[test]
    fn the_window_that_ended_longest_ago_is_forgotten_and_counts_anew_by_name() {
        let mut said = Said::of_at_most(2);
        say(&mut said, "late", 5);
        say(&mut said, "early", 3);
        say(&mut said, "late", 5);
        say(&mut said, "new", 9);

        for said in [&mut restarted(&said), &mut said] {
            let found = [say(said, "late", 5), say(said, "early", 3), say(said, "newer", 10)];

            assert_eq!(found, [Revision::Known(3), Revision::Anew, Revision::Known(1)]);
        }
        assert_eq!(said.forgotten(), 3);
    }
}
