//! Which limits a rule runs by, commit by commit, so that a replay derives what was derived.
//!
//! ```text
//! limits   u8 (4 at most) × { behind commit u64 │ keys u64 │ memory u64 bytes │ work u64
//!          │ on-limit u8: 0 refuse-row, 1 stop-rule }
//! ```
//! A limit that is edited holds behind the last commit that the log had when the hub started. That
//! is remembered with the rule's beginning, in snapshots and beside each result: one who says
//! nothing behind an edit does not remember it, and then nothing depends on it.

use headland_detection::{OnLimit, RuleLimits};
use headland_event::codec::{CodecError, Reader, Writer};
use headland_event::{ByteCount, CommitNumber};

/// Edits that are told apart: those since the older of two snapshots count, which few restarts lie
/// between. Of more the oldest is forgotten, and a replay that goes back further than that says
/// what the next one lets it.
const EDITS_MAX: usize = 4;

/// Limits that hold behind a commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Since {
    behind: CommitNumber,
    limits: RuleLimits,
}

/// The limits of one rule since it began; none are known of one that an earlier version began.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct LimitsLog {
    /// By the commits behind which they hold, ascending; those that are there stand in front.
    edits: [Option<Since>; EDITS_MAX],
}

impl LimitsLog {
    /// Limits of a rule that begins behind a commit.
    pub(super) fn new(behind: CommitNumber, limits: RuleLimits) -> Self {
        let mut log = Self::default();
        log.push(Since { behind, limits });
        log
    }

    fn edits(&self) -> impl DoubleEndedIterator<Item = Since> + '_ {
        self.edits.iter().copied().flatten()
    }

    /// The last ones.
    pub(super) fn last(&self) -> Option<RuleLimits> {
        self.edits().next_back().map(|since| since.limits)
    }

    /// Those that hold for a commit.
    pub(super) fn at(&self, commit: CommitNumber) -> Option<RuleLimits> {
        let since = self.edits().rfind(|since| since.behind < commit);
        since.or_else(|| self.edits().next()).map(|since| since.limits)
    }

    /// Behind a commit these limits hold.
    pub(super) fn edit(&mut self, behind: CommitNumber, limits: RuleLimits) {
        if self.last() != Some(limits) {
            self.push(Since { behind, limits });
        }
    }

    /// These, and behind them those of another that it does not know yet.
    pub(super) fn followed_by(mut self, other: &Self) -> Self {
        other.edits().for_each(|since| self.push(since));
        self
    }

    /// Takes in what is behind what it has, or at the same place: nothing was derived in between.
    fn push(&mut self, since: Since) {
        if self.edits().any(|known| known.behind > since.behind) {
            return;
        }
        let same = self.edits.iter_mut().flatten().find(|known| known.behind == since.behind);
        if let Some(known) = same {
            *known = since;
            return;
        }
        if self.edits().count() == EDITS_MAX {
            self.edits.rotate_left(1);
            self.edits.iter_mut().last().into_iter().for_each(|last| *last = None);
        }
        if let Some(free) = self.edits.iter_mut().find(|free| free.is_none()) {
            *free = Some(since);
        }
        debug_assert!(self.edits().is_sorted_by_key(|since| since.behind), "in order");
    }

    pub(super) fn write(&self, writer: &mut Writer) {
        writer.u8(u8::try_from(self.edits().count()).unwrap_or(0));
        for Since { behind, limits } in self.edits() {
            let RuleLimits { keys, memory, work, on_limit } = limits;
            writer.u64(behind.get());
            // No machine this runs on counts further than 64 bits.
            writer.u64(u64::try_from(keys).unwrap_or(u64::MAX));
            writer.u64(memory.get());
            writer.u64(u64::try_from(work).unwrap_or(u64::MAX));
            writer.u8(match on_limit {
                OnLimit::RefuseRow => 0,
                OnLimit::StopRule => 1,
            });
        }
    }

    pub(super) fn read(reader: &mut Reader) -> Result<Self, CodecError> {
        let mut log = Self::default();
        for _ in 0..reader.u8("edits of limits")? {
            let behind = CommitNumber::new(reader.u64("edit of limits")?);
            let keys = usize::try_from(reader.u64("keys limit")?).unwrap_or(usize::MAX);
            let memory = ByteCount::new(reader.u64("memory limit")?);
            let work = usize::try_from(reader.u64("work limit")?).unwrap_or(usize::MAX);
            let (at, code) = (reader.position(), reader.u8("on-limit")?);
            let on_limit = match code {
                0 => OnLimit::RefuseRow,
                1 => OnLimit::StopRule,
                code => {
                    let (field, found) = ("on-limit", i64::from(code));
                    return Err(CodecError::Value { field, at, found, expected: "0 or 1" });
                }
            };
            log.push(Since { behind, limits: RuleLimits { keys, memory, work, on_limit } });
        }
        Ok(log)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(keys: usize) -> RuleLimits {
        RuleLimits { keys, ..headland_detection::RuleSettings::default().limits() }
    }

    fn at(commit: u64) -> CommitNumber {
        CommitNumber::new(commit)
    }

    fn keys(log: &LimitsLog, commits: &[u64]) -> Vec<usize> {
        commits.iter().map(|commit| log.at(at(*commit)).unwrap().keys).collect()
    }

    #[test]
    fn an_edit_holds_behind_its_commit_also_when_it_was_read_again() {
        let mut log = LimitsLog::new(at(3), limits(9));
        log.edit(at(5), limits(1));
        log.edit(at(7), limits(1));
        let mut writer = Writer::new();
        log.write(&mut writer);

        let read = LimitsLog::read(&mut Reader::new(writer.finish())).unwrap();

        assert_eq!(read, log);
        assert_eq!(keys(&read, &[1, 4, 5, 6, 9]), [9, 9, 9, 1, 1]);
        assert_eq!(read.last(), Some(limits(1)));
    }

    #[test]
    fn what_another_knows_beyond_is_taken_and_what_it_lacks_stays() {
        let mut older = LimitsLog::new(at(0), limits(9));
        let mut newer = older;
        newer.edit(at(5), limits(1));

        assert_eq!(older.followed_by(&newer), newer);
        assert_eq!(newer.followed_by(&older), newer);
        older.edit(at(8), limits(2));
        assert_eq!(keys(&newer.followed_by(&older), &[5, 6, 8, 9]), [9, 1, 1, 2]);
    }

    #[test]
    fn of_many_edits_the_oldest_are_forgotten() {
        let mut log = LimitsLog::default();
        (0..9).for_each(|edit| log.edit(at(edit), limits(usize::try_from(edit + 1).unwrap())));

        assert_eq!(keys(&log, &[1, 6, 7, 8, 9]), [6, 6, 7, 8, 9]);
    }
}
