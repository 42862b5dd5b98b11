//! How often each result was said here, from 1 on without gaps.
//!
//! What is remembered is bounded. A result that was forgotten changes all the same, or is taken
//! back: whoever keeps the last record per key has what stands. Only its revision begins at 1
//! again, and that is named, so that nobody takes it for the first.

use std::collections::{BTreeMap, BTreeSet};

use headland_event::codec::{CodecError, Reader, Writer};
use headland_event::{AlertId, EventTime};

/// Most results that are remembered: about 8 MiB. The one whose window ended longest ago goes
/// first, since it has the least time left to change. Fewer name more revisions that begin anew;
/// more cost memory, and time of each snapshot.
const RESULTS_LIMIT: usize = 65_536;

/// What was said of results.
#[derive(Debug)]
pub(super) struct Said {
    of: BTreeMap<AlertId, (EventTime, u32)>,
    /// In the order in which they are forgotten.
    order: BTreeSet<(EventTime, AlertId)>,
    /// The latest event time of those that were forgotten.
    forgotten_until: EventTime,
    limit: usize,
    /// How many were forgotten in this run.
    forgotten: u64,
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

    /// A result of the window that ends at `time` is said once more.
    pub(super) fn say(&mut self, id: AlertId, time: EventTime) -> Revision {
        if let Some((_, revision)) = self.of.get_mut(&id) {
            *revision = revision.saturating_add(1);
            return Revision::Known(*revision);
        }
        let may_be_forgotten = time <= self.forgotten_until;
        if self.of.len() >= self.limit
            && let Some((oldest, id)) = self.order.pop_first()
        {
            self.of.remove(&id);
            self.forgotten_until = self.forgotten_until.max(oldest);
            self.forgotten = self.forgotten.saturating_add(1);
        }
        self.put(id, time, 1);
        if may_be_forgotten { Revision::Anew } else { Revision::Known(1) }
    }

    /// How many were forgotten in this run.
    pub(super) const fn forgotten(&self) -> u64 {
        self.forgotten
    }

    fn put(&mut self, id: AlertId, time: EventTime, revision: u32) {
        self.of.insert(id, (time, revision));
        self.order.insert((time, id));
        debug_assert_eq!(self.of.len(), self.order.len(), "a result has one place");
    }

    /// Appends `i64 forgotten until │ u32 × { id 16, i64 ms, revision u32 }`, in the order in which
    /// they are forgotten.
    pub(super) fn write(&self, writer: &mut Writer) {
        writer.i64(self.forgotten_until.millis());
        writer.length(self.order.len());
        for (time, id) in &self.order {
            let revision = self.of.get(id).map_or(1, |(_, revision)| *revision);
            writer.raw(id.bytes());
            writer.i64(time.millis());
            writer.u32(revision);
        }
    }

    /// Reads what [`Self::write`] wrote.
    pub(super) fn read(reader: &mut Reader) -> Result<Self, CodecError> {
        let forgotten_until = EventTime::from_millis(reader.i64("forgotten until")?);
        let mut said = Self { forgotten_until, ..Self::default() };
        for _ in 0..reader.length("results", RESULTS_LIMIT)? {
            let mut id = [0; 16];
            id.copy_from_slice(&reader.take("result id", 16)?);
            let (id, at) = (AlertId::new(id), reader.position());
            let time = reader.i64("result time")?;
            if said.of.contains_key(&id) {
                let (field, expected) = ("result", "each result once");
                return Err(CodecError::Value { field, at, found: time, expected });
            }
            said.put(id, EventTime::from_millis(time), reader.u32("revision")?);
        }
        Ok(said)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn say(said: &mut Said, key: &str, time: i64) -> Revision {
        said.say(AlertId::derive("r", key, ""), EventTime::from_millis(time))
    }

    fn restarted(said: &Said) -> Said {
        let mut writer = Writer::new();
        said.write(&mut writer);
        Said { limit: said.limit, ..Said::read(&mut Reader::new(writer.finish())).unwrap() }
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
