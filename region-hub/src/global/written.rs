//! How far the results of each rule are written, and which windows a rule leaves as they are.
//!
//! ```text
//! v1:  1 version u8 │ commit u64, output u64: everything before this result is written
//!      │ begun u64, of 16, settled i64 ms │ final until i64 ms
//! ```
//! Results are counted by rule, since a rule that is new beside others is at another place than
//! they. A rule that begins where the log ends, or behind a snapshot that does not know it, has not
//! seen what windows before were made of: of those that were final, or that every region was past,
//! it says nothing, so that no part of one replaces the whole.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use headland_detection::Program;
use headland_event::codec::{CodecError, Reader, Writer};
use headland_event::{AlertId, CommitNumber, EventTime, Finality, RegionId};

const VERSION: u8 = 1;

/// Everything before it is written: results are counted in each commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(super) struct Place {
    commit: CommitNumber,
    output: u64,
}

/// Where a rule began to read, and what was said before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Begun {
    /// It has read what is behind this commit.
    at: CommitNumber,
    /// Names what it computes, over which regions.
    of: AlertId,
    /// Windows that end up to here stay as they are.
    settled: EventTime,
}

/// How far a rule is, with a result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Mark {
    written: Place,
    begun: Begun,
    /// The latest end of a window that was said to be final.
    final_until: EventTime,
}

/// How far all rules are.
#[derive(Debug, Default)]
pub(super) struct Written {
    rules: BTreeMap<Arc<str>, RuleMarks>,
    commit: CommitNumber,
    /// Results that were left unsaid, because their windows stay as they are.
    settled: u64,
}

#[derive(Debug)]
struct RuleMarks {
    /// As of the last restart.
    durable: Option<Mark>,
    /// The result that comes next.
    next: Place,
    begun: Begun,
    final_until: EventTime,
}

impl Mark {
    pub(super) const fn new(of: AlertId) -> Self {
        let written = Place { commit: CommitNumber::new(0), output: 0 };
        let begun = Begun { at: CommitNumber::new(0), of, settled: EventTime::MIN };
        Self { written, begun, final_until: EventTime::MIN }
    }

    /// The value in the state.
    pub(super) fn encode(&self) -> Bytes {
        let Self { written: Place { commit, output }, begun, final_until } = self;
        let mut writer = Writer::new();
        writer.u8(VERSION);
        writer.u64(commit.get());
        writer.u64(*output);
        begun.write(&mut writer);
        writer.i64(final_until.millis());
        writer.finish()
    }

    /// Reads what [`Self::encode`] wrote.
    pub(super) fn decode(value: Bytes) -> Result<Self, CodecError> {
        let mut reader = Reader::new(value);
        let version = reader.u8("mark version")?;
        if version != VERSION {
            let (field, found) = ("mark version", i64::from(version));
            return Err(CodecError::Value { field, at: 0, found, expected: "1" });
        }
        let commit = CommitNumber::new(reader.u64("commit")?);
        let written = Place { commit, output: reader.u64("output")? };
        let begun = Begun::read(&mut reader)?;
        let final_until = EventTime::from_millis(reader.i64("final until")?);
        reader.end()?;
        Ok(Self { written, begun, final_until })
    }
}

impl Begun {
    pub(super) fn write(&self, writer: &mut Writer) {
        let Self { at, of, settled } = self;
        writer.u64(at.get());
        writer.raw(of.bytes());
        writer.i64(settled.millis());
    }

    pub(super) fn read(reader: &mut Reader) -> Result<Self, CodecError> {
        let (at, mut of) = (CommitNumber::new(reader.u64("begun")?), [0; 16]);
        of.copy_from_slice(&reader.take("what has begun", 16)?);
        let settled = EventTime::from_millis(reader.i64("settled")?);
        Ok(Self { at, of: AlertId::new(of), settled })
    }
}

impl Written {
    /// The rules of a program over the rows of `regions`, with what is durable of each.
    pub(super) fn of<E>(
        program: &Program,
        regions: &[RegionId],
        durable: impl Fn(&str) -> Result<Option<Mark>, E>,
    ) -> Result<Self, E> {
        let mut written = Self::default();
        let regions = regions.iter().map(RegionId::as_str).collect::<Vec<_>>().join(",");
        for rule in program.rules() {
            let plan = program.explain(rule.name()).unwrap_or_default();
            let of = AlertId::derive(rule.name(), &plan, &regions);
            written.add(rule.name().clone(), of, durable(rule.name())?);
        }
        Ok(written)
    }

    /// A rule that computes what `of` names, and what is durable of it.
    fn add(&mut self, rule: Arc<str>, of: AlertId, durable: Option<Mark>) {
        let fresh = Mark::new(of);
        let Mark { final_until, .. } = durable.unwrap_or(fresh);
        let (next, begun) = (fresh.written, fresh.begun);
        self.rules.insert(rule.clone(), RuleMarks { durable, next, begun, final_until });
        // Unless it is told to go on or to begin elsewhere, it reads all of the log.
        self.begin(&rule, CommitNumber::new(0), EventTime::MIN);
    }

    /// A rule begins behind a commit, where all regions are past `least`.
    pub(super) fn begin(&mut self, rule: &str, at: CommitNumber, least: EventTime) {
        let Some(marks) = self.rules.get_mut(rule) else { return };
        let of = marks.begun.of;
        let before = marks.durable.map(|mark| (mark.begun, mark.final_until));
        marks.begun = match before {
            // It is replayed as it was: what it has said since then is its own.
            Some((begun, _)) if (begun.at, begun.of) == (at, of) => begun,
            Some((_, until)) => Begun { at, of, settled: until.max(least) },
            None => Begun { at, of, settled: least },
        };
    }

    /// A rule goes on from a snapshot.
    pub(super) fn go_on(&mut self, rule: &str, begun: Begun) {
        if let Some(marks) = self.rules.get_mut(rule) {
            marks.begun = begun;
        }
    }

    /// Where each rule began.
    pub(super) fn begun(&self) -> impl ExactSizeIterator<Item = (&Arc<str>, &Begun)> {
        self.rules.iter().map(|(rule, marks)| (rule, &marks.begun))
    }

    /// What is derived next is of this commit.
    pub(super) const fn on_commit(&mut self, number: CommitNumber) {
        self.commit = number;
    }

    /// The commit that is derived.
    pub(super) const fn commit(&self) -> CommitNumber {
        self.commit
    }

    /// Whether a rule says nothing of windows that end at `time`.
    pub(super) fn is_settled(&mut self, rule: &str, time: EventTime) -> bool {
        let is_settled = self.rules.get(rule).is_some_and(|marks| time <= marks.begun.settled);
        self.settled = self.settled.saturating_add(u64::from(is_settled));
        is_settled
    }

    /// Results that were left unsaid in this run.
    pub(super) const fn settled(&self) -> u64 {
        self.settled
    }

    /// Counts a result of the window that ends at `time`; how far its rule is with it, unless it is
    /// written already.
    pub(super) fn count(
        &mut self,
        rule: &str,
        finality: Finality,
        time: EventTime,
    ) -> Option<Mark> {
        let RuleMarks { durable, next, begun, final_until } = self.rules.get_mut(rule)?;
        if next.commit != self.commit {
            *next = Place { commit: self.commit, output: 0 };
        }
        let at = *next;
        next.output += 1;
        if finality == Finality::Final {
            *final_until = time.max(*final_until);
        }
        let is_written = durable.is_some_and(|mark| at < mark.written);
        let mark = Mark { written: *next, begun: *begun, final_until: *final_until };
        (!is_written).then_some(mark)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULE: &str = "r";

    fn time(millis: i64) -> EventTime {
        EventTime::from_millis(millis)
    }

    fn of(what: &str) -> AlertId {
        AlertId::derive(RULE, what, "")
    }

    fn rules(what: &str, durable: Option<Mark>) -> Written {
        let mut written = Written::default();
        written.add(RULE.into(), of(what), durable);
        written
    }

    /// Says finals of windows that end at these times, all of one commit.
    fn say(written: &mut Written, commit: u64, times: &[i64]) -> Vec<Option<Mark>> {
        written.on_commit(CommitNumber::new(commit));
        times.iter().map(|it| written.count(RULE, Finality::Final, time(*it))).collect()
    }

    #[test]
    fn what_is_written_is_not_said_again_and_what_comes_next_is() {
        let mut first = rules("a", None);
        let marks = say(&mut first, 7, &[10, 20]);
        let mark = Mark::decode(marks[0].unwrap().encode()).unwrap();

        let mut second = rules("a", Some(mark));
        let again = [say(&mut second, 6, &[5]), say(&mut second, 7, &[10, 20])];

        assert_eq!(again, [vec![None], vec![None, marks[1]]]);
    }

    #[test]
    fn a_rule_that_begins_elsewhere_or_computes_otherwise_leaves_what_was_final() {
        let mark = *say(&mut rules("a", None), 7, &[10]).last().unwrap();
        let settled = |what: &str, at: u64| {
            let mut written = rules(what, mark);
            written.begin(RULE, CommitNumber::new(at), time(4));
            [4, 10, 11].map(|it| written.is_settled(RULE, time(it)))
        };

        assert_eq!(settled("a", 0), [false, false, false]);
        assert_eq!(settled("a", 3), [true, true, false]);
        assert_eq!(settled("b", 0), [true, true, false]);
    }

    #[test]
    fn a_rule_without_a_mark_leaves_what_every_region_is_past() {
        let mut written = rules("a", None);
        written.begin(RULE, CommitNumber::new(3), time(4));

        assert_eq!([4, 5].map(|it| written.is_settled(RULE, time(it))), [true, false]);
        assert_eq!(written.settled(), 1);
    }
}
