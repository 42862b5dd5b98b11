//! How far the results of each rule are written, and which windows a rule leaves as they are.
//!
//! ```text
//! v3:  3 version u8 │ commit u64, output u64: everything before this result is written
//!      │ begun u64, of 16, settled i64 ms, said i64 ms, limits in their own layout
//!      │ final until i64 ms, said until i64 ms
//! v2:  as v3 with version 2 and without limits
//! v1:  as v2 with version 1 and without both `said`: until a day behind what was final, at most
//! ```
//! Results are counted by rule, since a rule that is new beside others is at another place than
//! they. A rule that begins where the log ends, or behind a snapshot that does not know it, has not
//! seen what windows before were made of: of those that were final, or that every region was past,
//! it says nothing, so that no part of one replaces the whole. Of others it may have said something
//! as well, which is named with their first result.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use headland_detection::{Program, RuleLimits};
use headland_event::codec::{CodecError, Reader, Writer};
use headland_event::{AlertId, CommitNumber, EventTime, Finality, RegionId};

use super::limits::LimitsLog;

const VERSION: u8 = 3;
/// The layout before it was known by what limits a rule ran.
const VERSION_2: u8 = 2;
/// The layout before it was known what had been said.
const VERSION_1: u8 = 1;

/// How far behind what was final a hub of [`VERSION_1`] may have said something of windows: more
/// names results that are new as said before, fewer name too few.
const SAID_AHEAD: Duration = Duration::from_secs(86_400);

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
    /// Of windows that end up to here the rule may have said something before it began.
    said: EventTime,
    /// By what limits it runs since.
    limits: LimitsLog,
}

/// What a layout holds of a beginning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Knows {
    All,
    /// All but by what limits the rule runs.
    Said,
    /// Nor what was said before.
    Neither,
}

/// How a rule goes on from a snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum GoesOn {
    AsItWas,
    /// It has said something in between that the snapshot does not know of.
    BehindAnother,
    /// Not at all: it computes something else.
    Anew,
}

/// How far a rule is, with a result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Mark {
    written: Place,
    begun: Begun,
    /// The latest end of a window that was said to be final.
    final_until: EventTime,
    /// The latest end of a window of which anything was said.
    said_until: EventTime,
}

/// How far all rules are.
#[derive(Debug, Default)]
pub(super) struct Written {
    rules: BTreeMap<Arc<str>, RuleMarks>,
    commit: CommitNumber,
    /// Results that were left unsaid, because their windows stay as they are.
    settled: u64,
    before_marks: Option<BeforeMarks>,
}

/// What is durable of a hub that has counted the results of all rules together.
#[derive(Debug, Clone, Copy)]
struct BeforeMarks {
    /// Everything before it is written.
    written: Place,
    /// The result that comes next.
    next: Place,
    /// Whether rules may have no mark of their own yet.
    lacks_marks: bool,
}

#[derive(Debug)]
struct RuleMarks {
    /// As of the last restart.
    durable: Option<Mark>,
    /// Everything before it is written by a rule that began where this one did, and computes the
    /// same: only then do places say the same.
    written: Place,
    /// The result that comes next.
    next: Place,
    begun: Begun,
    final_until: EventTime,
    said_until: EventTime,
    /// The limits in the rules file.
    configured: RuleLimits,
    /// Those that it runs by.
    running: RuleLimits,
}

impl Place {
    /// Before the first result of a commit.
    const fn at_start_of(commit: CommitNumber) -> Self {
        Self { commit, output: 0 }
    }

    /// Counts a result of a commit; the place that it has.
    fn take(&mut self, commit: CommitNumber) -> Self {
        if self.commit != commit {
            *self = Self::at_start_of(commit);
        }
        let at = *self;
        self.output += 1;
        at
    }
}

impl Mark {
    pub(super) fn new(of: AlertId) -> Self {
        let written = Place::at_start_of(CommitNumber::new(0));
        let (settled, never) = (EventTime::MIN, EventTime::MIN);
        let (at, limits) = (CommitNumber::new(0), LimitsLog::default());
        let begun = Begun { at, of, settled, said: never, limits };
        Self { written, begun, final_until: never, said_until: never }
    }

    /// The commit of the result that it comes with.
    pub(super) const fn commit(&self) -> CommitNumber {
        self.written.commit
    }

    /// The value in the state.
    pub(super) fn encode(&self) -> Bytes {
        let Self { written: Place { commit, output }, begun, final_until, said_until } = self;
        let mut writer = Writer::new();
        writer.u8(VERSION);
        writer.u64(commit.get());
        writer.u64(*output);
        begun.write(&mut writer);
        writer.i64(final_until.millis());
        writer.i64(said_until.millis());
        writer.finish()
    }

    /// Reads what [`Self::encode`] wrote.
    pub(super) fn decode(value: Bytes) -> Result<Self, CodecError> {
        let mut reader = Reader::new(value);
        let version = reader.u8("mark version")?;
        let knows = match version {
            VERSION => Knows::All,
            VERSION_2 => Knows::Said,
            VERSION_1 => Knows::Neither,
            found => {
                let (field, found) = ("mark version", i64::from(found));
                return Err(CodecError::Value { field, at: 0, found, expected: "1 to 3" });
            }
        };
        let commit = CommitNumber::new(reader.u64("commit")?);
        let written = Place { commit, output: reader.u64("output")? };
        let begun = Begun::read(knows, &mut reader)?;
        let final_until = EventTime::from_millis(reader.i64("final until")?);
        let said_until = match knows {
            Knows::All | Knows::Said => EventTime::from_millis(reader.i64("said until")?),
            // One that never said a final result may have said anything.
            Knows::Neither if final_until == EventTime::MIN => EventTime::from_millis(i64::MAX),
            Knows::Neither => final_until.plus(SAID_AHEAD),
        };
        reader.end()?;
        Ok(Self { written, begun, final_until, said_until })
    }
}

impl Begun {
    pub(super) fn write(&self, writer: &mut Writer) {
        let Self { at, of, settled, said, limits } = self;
        writer.u64(at.get());
        writer.raw(of.bytes());
        writer.i64(settled.millis());
        writer.i64(said.millis());
        limits.write(writer);
    }

    /// The last limits that it knows of.
    pub(super) fn last_limits(&self) -> Option<RuleLimits> {
        self.limits.last()
    }

    /// Whether it is the same beginning of the same rule.
    fn is_of(&self, at: CommitNumber, of: AlertId) -> bool {
        (self.at, self.of) == (at, of)
    }

    pub(super) fn read(knows: Knows, reader: &mut Reader) -> Result<Self, CodecError> {
        let (at, mut of) = (CommitNumber::new(reader.u64("begun")?), [0; 16]);
        of.copy_from_slice(&reader.take("what has begun", 16)?);
        let settled = EventTime::from_millis(reader.i64("settled")?);
        let said = match knows {
            Knows::All | Knows::Said => EventTime::from_millis(reader.i64("said")?),
            Knows::Neither => EventTime::MIN,
        };
        let limits = match knows {
            Knows::All => LimitsLog::read(reader)?,
            Knows::Said | Knows::Neither => LimitsLog::default(),
        };
        Ok(Self { at, of: AlertId::new(of), settled, said, limits })
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
            let definition = program.definition(rule.name()).unwrap_or_default();
            let of = AlertId::derive(rule.name(), &definition, &regions);
            let limits = rule.settings().limits();
            written.add(rule.name().clone(), (of, limits), durable(rule.name())?);
        }
        Ok(written)
    }

    /// A rule that computes what `of` names, by the limits of the rules file; with what is durable.
    fn add(&mut self, rule: Arc<str>, (of, limits): (AlertId, RuleLimits), durable: Option<Mark>) {
        let fresh = Mark::new(of);
        let Mark { final_until, said_until, .. } = durable.unwrap_or(fresh);
        let (next, begun) = (fresh.written, fresh.begun);
        let begun = Begun { limits: LimitsLog::new(begun.at, limits), ..begun };
        let (written, configured, running) = (next, limits, limits);
        let marks = RuleMarks {
            durable,
            written,
            next,
            begun,
            final_until,
            said_until,
            configured,
            running,
        };
        self.rules.insert(rule.clone(), marks);
        // Unless it is told to go on or to begin elsewhere, it reads all of the log.
        self.begin(&rule, CommitNumber::new(0), EventTime::MIN);
    }

    /// A rule begins behind a commit, where all regions are past `least`.
    pub(super) fn begin(&mut self, rule: &str, at: CommitNumber, least: EventTime) {
        let Some(marks) = self.rules.get_mut(rule) else { return };
        let Begun { of, limits: running, .. } = marks.begun;
        let nothing = Place::default();
        let first = running.at(at.after(1)).unwrap_or(marks.configured);
        let limits = LimitsLog::new(at, first).followed_by(&running);
        (marks.begun, marks.written) = match marks.durable {
            // It is replayed as it was: what it has said since then is its own.
            Some(Mark { written, begun, .. }) if begun.is_of(at, of) => {
                let limits = limits.followed_by(&begun.limits);
                (Begun { limits, ..begun }, written)
            }
            Some(Mark { final_until, said_until, .. }) => {
                let settled = final_until.max(least);
                (Begun { at, of, settled, said: said_until, limits }, nothing)
            }
            None => (Begun { at, of, settled: least, said: EventTime::MIN, limits }, nothing),
        };
    }

    /// A rule goes on from a snapshot, unless that is of a rule that computed otherwise.
    pub(super) fn go_on(&mut self, rule: &str, begun: Begun) -> GoesOn {
        let Some(marks) = self.rules.get_mut(rule) else { return GoesOn::Anew };
        marks.running = begun.limits.last().unwrap_or(marks.configured);
        if marks.begun.of != begun.of {
            return GoesOn::Anew;
        }
        let Begun { at, of, settled, said, limits } = begun;
        let limits =
            if limits.last().is_some() { limits } else { LimitsLog::new(at, marks.configured) };
        let later = marks.durable.filter(|last| last.begun.of == of && last.begun.at >= at);
        let limits = later.map_or(limits, |last| limits.followed_by(&last.begun.limits));
        let begun = Begun { limits, ..begun };
        (marks.begun, marks.written) = match marks.durable {
            Some(Mark { written, begun: last, .. }) if last.is_of(begun.at, begun.of) => {
                let (settled, said) = (settled.max(last.settled), said.max(last.said));
                (Begun { settled, said, ..begun }, written)
            }
            // It computed otherwise in between.
            Some(Mark { final_until, said_until, .. }) => {
                // Later than the snapshot's in any case, so that it is seen although both said as
                // much; a millisecond too much names what need not be named.
                let said = said.plus(Duration::from_millis(1)).max(said_until);
                let settled = settled.max(final_until);
                (Begun { settled, said, ..begun }, Place::default())
            }
            None => (begun, Place::default()),
        };
        if marks.begun.said > said { GoesOn::BehindAnother } else { GoesOn::AsItWas }
    }

    /// Where each rule began.
    pub(super) fn begun(&self) -> impl ExactSizeIterator<Item = (&Arc<str>, &Begun)> {
        self.rules.iter().map(|(rule, marks)| (rule, &marks.begun))
    }

    /// The log ends here, by what limits rules ran: behind it those of the rules file hold.
    pub(super) fn edit_limits(&mut self) {
        for marks in self.rules.values_mut() {
            marks.begun.limits.edit(self.commit, marks.configured);
        }
    }

    /// Rules that other limits hold for from this commit on, which is derived next.
    pub(super) fn take_edits(&mut self, commit: CommitNumber) -> Vec<(Arc<str>, RuleLimits)> {
        let mut edits = Vec::new();
        for (rule, marks) in &mut self.rules {
            let limits = marks.begun.limits.at(commit).unwrap_or(marks.configured);
            if std::mem::replace(&mut marks.running, limits) != limits {
                edits.push((rule.clone(), limits));
            }
        }
        edits
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

    /// Up to which end of windows a rule may have said something before it began.
    pub(super) fn said_before(&self, rule: &str) -> EventTime {
        self.rules.get(rule).map_or(EventTime::MIN, |marks| marks.begun.said)
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
        let of_all = self.before_marks.as_mut();
        let is_old = of_all.is_some_and(|it| it.next.take(self.commit) < it.written);
        let RuleMarks { durable, written, next, begun, final_until, said_until, .. } =
            self.rules.get_mut(rule)?;
        let at = next.take(self.commit);
        if is_old && durable.is_none() && begun.at == CommitNumber::new(0) {
            *written = *next;
        }
        if finality == Finality::Final {
            *final_until = time.max(*final_until);
        }
        *said_until = time.max(*said_until);
        let (final_until, said_until) = (*final_until, *said_until);
        let mark = Mark { written: *next, begun: *begun, final_until, said_until };
        (at >= *written).then_some(mark)
    }

    /// What is durable of a hub of before there were marks by rule, when no rule has one: `commit`
    /// and how many results of it, of all rules together, are before what is not written.
    pub(super) fn read_before_marks(&mut self, commit: CommitNumber, output: u64) {
        if self.rules.values().all(|marks| marks.durable.is_none()) {
            let (written, next) = (Place { commit, output }, Place::default());
            self.before_marks = Some(BeforeMarks { written, next, lacks_marks: true });
        }
    }

    /// Once behind a hub of before there were marks: how far those rules are that have none, with a
    /// result of `commit` which is the first that is written. So a rule that is added later does
    /// not take what others wrote for its own.
    pub(super) fn missing_marks(&mut self, commit: CommitNumber) -> Vec<(Arc<str>, Mark)> {
        let lacks = self.before_marks.as_mut().map(|it| std::mem::take(&mut it.lacks_marks));
        if !lacks.unwrap_or_default() {
            return Vec::new();
        }
        let rules = self.rules.iter().filter(|(_, marks)| marks.durable.is_none());
        let marks = rules.map(|(rule, marks)| {
            let RuleMarks { written, begun, final_until, said_until, .. } = *marks;
            let written = Place::at_start_of(commit).max(written);
            (rule.clone(), Mark { written, begun, final_until, said_until })
        });
        marks.collect()
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

    fn limits() -> RuleLimits {
        headland_detection::RuleSettings::default().limits()
    }

    fn rules(what: &str, durable: Option<Mark>) -> Written {
        let mut written = Written::default();
        written.add(RULE.into(), (of(what), limits()), durable);
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

    #[test]
    fn places_of_another_definition_or_beginning_are_not_written() {
        let mark = *say(&mut rules("a", None), 7, &[10, 11, 12]).last().unwrap();
        let begun = mark.unwrap().begun;

        let mut other = rules("b", mark);
        other.begin(RULE, CommitNumber::new(5), EventTime::MIN);
        let said = say(&mut other, 7, &[20]);
        let mut back = rules("a", said[0]);
        let goes_on = back.go_on(RULE, begun);

        assert!(said[0].is_some() && goes_on == GoesOn::BehindAnother);
        assert_eq!([20, 21].map(|it| back.is_settled(RULE, time(it))), [true, false]);
        assert!(say(&mut back, 7, &[21])[0].is_some());
    }

    #[test]
    fn a_rule_that_was_another_in_between_is_seen_although_both_said_as_much() {
        let mark = *say(&mut rules("a", None), 7, &[10]).last().unwrap();
        let snapshot = Begun { said: time(10), ..mark.unwrap().begun };
        let other = say(&mut rules("b", mark), 8, &[10]);

        let mut back = rules("a", other[0]);
        let goes_on = back.go_on(RULE, snapshot);
        let mark = say(&mut back, 9, &[20])[0];
        let mut restarted = rules("a", mark);

        assert!(mark.is_some() && goes_on == GoesOn::BehindAnother);
        assert!(restarted.go_on(RULE, snapshot) == GoesOn::BehindAnother);
    }

    #[test]
    fn what_a_rule_said_before_it_began_is_known_from_its_mark_also_the_next_time() {
        let mut first = rules("a", None);
        let mark = say(&mut first, 7, &[30, 10])[1].map(|mark| Mark::decode(mark.encode()));

        let mut other = rules("b", mark.map(Result::unwrap));
        other.begin(RULE, CommitNumber::new(8), EventTime::MIN);
        let again = say(&mut other, 9, &[40])[0];
        let mut back = rules("b", again);
        back.begin(RULE, CommitNumber::new(8), EventTime::MIN);
        let mut third = rules("c", again);
        third.begin(RULE, CommitNumber::new(9), EventTime::MIN);

        let found = [&first, &other, &back, &third].map(|written| written.said_before(RULE));
        assert_eq!(found, [EventTime::MIN, time(30), time(30), time(40)]);
    }

    #[test]
    fn a_mark_of_before_it_was_known_what_was_said_may_have_said_a_day() {
        let mut writer = Writer::new();
        writer.u8(VERSION_1);
        [7, 1, 3].into_iter().for_each(|number| writer.u64(number));
        writer.raw(of("a").bytes());
        [5, 10].into_iter().for_each(|time| writer.i64(time));

        let mark = Mark::decode(writer.finish()).unwrap();

        assert_eq!((mark.begun.settled, mark.final_until), (time(5), time(10)));
        assert_eq!((mark.begun.said, mark.said_until), (EventTime::MIN, time(86_400_010)));
        assert_eq!(Mark::decode(mark.encode()), Ok(mark));
    }

    #[test]
    fn a_rule_does_not_go_on_from_what_another_definition_kept() {
        let begun = rules("a", None).rules[RULE].begun;

        let goes_on = ["a", "b"].map(|what| rules(what, None).go_on(RULE, begun));

        assert_eq!(goes_on, [GoesOn::AsItWas, GoesOn::Anew]);
    }

    #[test]
    fn what_was_written_before_there_were_marks_is_not_said_again_by_any_rule() {
        let (mut written, both) = (Written::default(), ["r", "s"]);
        for rule in both {
            written.add(rule.into(), (of(rule), limits()), None);
        }
        written.read_before_marks(CommitNumber::new(7), 3);
        let say = |written: &mut Written, rule| written.count(rule, Finality::Final, time(1));

        written.on_commit(CommitNumber::new(6));
        let before = both.map(|rule| say(&mut written, rule));
        written.on_commit(CommitNumber::new(7));
        let said = ["r", "s", "s", "s", "r"].map(|rule| say(&mut written, rule).is_some());
        let marks = written.missing_marks(CommitNumber::new(7));

        assert_eq!(before, [None, None]);
        assert_eq!(said, [false, false, false, true, true]);
        let places = marks.iter().map(|(rule, mark)| (&**rule, mark.written.output));
        assert_eq!(places.collect::<Vec<_>>(), [("r", 1), ("s", 2)]);
        assert_eq!(written.missing_marks(CommitNumber::new(7)), []);
    }

    #[test]
    fn a_rule_that_has_a_mark_goes_by_it() {
        let mark = *say(&mut rules("a", None), 7, &[10]).last().unwrap();
        let mut written = rules("a", mark);

        written.read_before_marks(CommitNumber::new(9), 0);

        assert!(say(&mut written, 8, &[20])[0].is_some());
    }
}
