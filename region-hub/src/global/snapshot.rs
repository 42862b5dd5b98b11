//! The state of rules as bytes, at the end of a commit.
//!
//! ```text
//! v7:  7 version u8 │ topics u32 × { name } │ regions u32 × { name, watermarks, lives }
//!      │ rules u32 × { name u32 length + bytes, begun u64, of 16, settled i64 ms, said i64 ms,
//!                limits in their own layout }
//!      │ said, counted and engine, each in its own layout
//!   watermarks  u32 × { topic, i64 ms }
//!   lives       u32 × { incarnation │ 0 empty | 1 behind u8 │ topics u32 × { topic,
//!                 promises u32 × { i64 ms │ ends }
//!                 ends    u32 × { partition u32, offset u64 }
//!                 rows    u32 × { partition u32, offset u64, times 3 × i64 ms, verdict u8,
//!                   value } } }
//! v6:  as v7 with version 6, `counted` without what was passed and forgotten
//! v5:  as v6 with version 5 and without limits
//! v4:  as v5 with version 4, without `counted`
//! v3:  as v4 with version 3, without `said i64`, and what was said without rules
//! ```
//! Of another version, of other topics or other regions, and of rules that no longer fit, it is not
//! taken up: the rules begin new, and whatever else the hub derives goes on from its own part.
//! A rule that computes something else than its `of` says begins new beside the others.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use headland_detection::{Engine, RestoreError};
use headland_event::codec::{CodecError, Reader, Writer};
use headland_event::limits::RECORD_BYTES_LIMIT;
use headland_event::{
    CommitNumber, EventTime, Hlc, Offset, PartitionIndex, RegionId, TopicName, Verdict,
};

use headland_replication::{Counted, CountedLayout};

use super::Rules;
use super::logs::{Begins, Held, LifeLogs, Logs, RegionLogs, TopicLogs, Waiting};
use super::said::{Layout, Said};
use super::written::{Begun, GoesOn, Knows};

const VERSION: u8 = 7;
/// The layout before it was known which rows were passed.
const VERSION_6: u8 = 6;
/// The layout before it was known by what limits a rule ran.
const VERSION_5: u8 = 5;
/// The layout before rows were counted by their dots.
const VERSION_4: u8 = 4;
/// The layout before it was known which rule has said what.
const VERSION_3: u8 = 3;

/// Entries of keyed state in a part of a snapshot: about a millisecond of writing them.
const ENTRIES_PER_PART: usize = 4_096;

/// Why rules do not go on from a snapshot.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RulesSnapshotError {
    /// Not of a known layout.
    #[error("the state of rules is not of a known layout")]
    Layout(#[from] CodecError),
    /// Of other regions: windows would lack the rows of some.
    #[error("the state of rules is of regions {found}, configured are {expected}")]
    Regions {
        /// The regions it is of.
        found: String,
        /// Those that are configured.
        expected: String,
    },
    /// Of other topics: partial results would merge in another order.
    #[error("the state of rules is of topics {found}, read are {expected}")]
    Topics {
        /// The topics it is of.
        found: String,
        /// Those that are read.
        expected: String,
    },
    /// The engine does not know itself in it.
    #[error("the rules cannot be restored")]
    Engine(#[from] RestoreError),
}

impl Rules {
    /// The state at the end of the last commit.
    #[cfg(test)]
    pub(crate) fn snapshot(&mut self) -> Bytes {
        let mut writer = Writer::new();
        writer.raw(&self.begin_snapshot());
        while let Some(part) = self.poll_snapshot() {
            writer.raw(&part);
        }
        writer.finish()
    }

    /// Begins a snapshot of the state at the end of the last commit, with what stands before its
    /// parts; those come from [`Self::poll_snapshot`], and commits may come in between.
    ///
    /// Results that wait are not in it: it is used only once those before [`Self::derived_end`] are
    /// durable.
    ///
    /// Cost: as of the [engine](Engine::begin_snapshot), and a copy of the rows that wait.
    ///
    /// # Panics
    /// While another is under way.
    #[must_use]
    pub fn begin_snapshot(&mut self) -> Bytes {
        let mut writer = Writer::new();
        writer.u8(VERSION);
        writer.length(self.topics.len());
        self.topics.iter().for_each(|topic| writer.name(topic.as_str()));
        writer.length(self.regions.len());
        for (region, logs) in self.regions.iter().zip(&self.logs.regions) {
            writer.name(region.as_str());
            write_logs(logs, &mut writer);
        }
        let begun = self.written.begun();
        writer.length(begun.len());
        let mut rules = Vec::with_capacity(begun.len());
        for (rule, begun) in begun {
            writer.bytes(rule.as_bytes());
            begun.write(&mut writer);
            rules.push(rule.clone());
        }
        self.results.said.write(&rules, &mut writer);
        self.counted.write(&mut writer);
        self.engine.begin_snapshot();
        writer.finish()
    }

    /// The next part of the snapshot under way, a few milliseconds of work; none when it is whole.
    #[must_use]
    pub fn poll_snapshot(&mut self) -> Option<Bytes> {
        self.engine.poll_snapshot(ENTRIES_PER_PART)
    }

    /// Reads a state of these rules.
    ///
    /// # Errors
    /// [`RulesSnapshotError`] when it is none.
    pub fn decode(&self, state: Bytes) -> Result<RulesState, RulesSnapshotError> {
        let mut reader = Reader::new(state);
        let found = reader.u8("rules version")?;
        let (knows, layout) = match found {
            VERSION | VERSION_6 => (Knows::All, Layout::WithRules),
            VERSION_5 | VERSION_4 => (Knows::Said, Layout::WithRules),
            VERSION_3 => (Knows::Neither, Layout::WithoutRules),
            found => {
                let (field, found) = ("rules version", i64::from(found));
                return Err(CodecError::Value { field, at: 0, found, expected: "3 to 7" }.into());
            }
        };
        let mut topics: Vec<TopicName> = Vec::new();
        for _ in 0..reader.length("topics", reader.remaining())? {
            topics.push(reader.name("topic")?);
        }
        if topics != self.topics {
            let listed = |topics: &[TopicName]| {
                topics.iter().map(TopicName::as_str).collect::<Vec<_>>().join(", ")
            };
            let (found, expected) = (listed(&topics), listed(&self.topics));
            return Err(RulesSnapshotError::Topics { found, expected });
        }
        let mut logs = Logs { regions: Vec::new() };
        let mut regions: Vec<RegionId> = Vec::new();
        for _ in 0..reader.length("regions", reader.remaining())? {
            regions.push(reader.name("region")?);
            logs.regions.push(read_logs(&mut reader)?);
        }
        if regions != self.regions {
            let listed = |regions: &[RegionId]| {
                regions.iter().map(RegionId::as_str).collect::<Vec<_>>().join(", ")
            };
            let (found, expected) = (listed(&regions), listed(&self.regions));
            return Err(RulesSnapshotError::Regions { found, expected });
        }
        let (mut begun, mut rules) = (BTreeMap::new(), Vec::new());
        for _ in 0..reader.length("rules", reader.remaining())? {
            let rule = reader.text("rule", RECORD_BYTES_LIMIT.as_len())?;
            rules.push(Arc::from(&*rule));
            begun.insert(rule, Begun::read(knows, &mut reader)?);
        }
        let said = Said::read((layout, &rules), &mut reader)?;
        let counted = match found {
            VERSION => Counted::read(CountedLayout::WithPassed, &mut reader)?,
            VERSION_5 | VERSION_6 => Counted::read(CountedLayout::Ranges, &mut reader)?,
            _ => Counted::default(),
        };
        let engine = reader.take("engine", reader.remaining())?;
        // By the limits it ran by: those of the rules file hold behind the end of the log.
        let limits = |rule: &str| begun.get(rule).and_then(Begun::last_limits);
        let program = self.engine.program().clone();
        let engine = Engine::restore_under(program, self.seed, engine, limits)?;
        Ok(RulesState { logs, begun, said, counted, engine })
    }

    /// Goes on from a state at the end of commit `at`, before anything is read. Rules that it has
    /// not, or of another definition, begin with nothing: they lack all rows up to there; `hlc` is
    /// at or behind the stamp of each of them.
    pub fn take_up(&mut self, state: RulesState, at: CommitNumber, hlc: Hlc) {
        let RulesState { logs, begun, mut said, counted, mut engine } = state;
        debug_assert_eq!(logs.regions.len(), self.regions.len(), "it was decoded by these rules");
        self.written.on_commit(at);
        for rule in self.engine.program().rules().iter().map(headland_detection::Rule::name) {
            let begun = begun.get(&**rule);
            match begun.map_or(GoesOn::Anew, |begun| self.written.go_on(rule, *begun)) {
                GoesOn::AsItWas => {}
                GoesOn::BehindAnother => said.forget(rule),
                GoesOn::Anew => engine.begin_anew(rule),
            }
        }
        (self.engine, self.logs, self.results.said) = (engine, logs, said);
        self.counted = counted;
        self.begin_new_rules(at, hlc);
    }
}

/// A state of rules that was read.
#[derive(Debug)]
pub struct RulesState {
    logs: Logs,
    begun: BTreeMap<String, Begun>,
    said: Said,
    counted: Counted,
    engine: Engine,
}

fn write_logs(logs: &RegionLogs, writer: &mut Writer) {
    let RegionLogs { lives, watermarks } = logs;
    writer.length(watermarks.len());
    for (topic, watermark) in watermarks {
        writer.name(topic.as_str());
        writer.i64(watermark.millis());
    }
    writer.length(lives.len());
    for (life, LifeLogs { begins, topics }) in lives {
        writer.incarnation(*life);
        writer.u8(match begins {
            Begins::Empty => 0,
            Begins::Behind => 1,
        });
        writer.length(topics.len());
        for (topic, logs) in topics {
            writer.name(topic.as_str());
            write_topic(logs, writer);
        }
    }
}

fn write_topic(logs: &TopicLogs, writer: &mut Writer) {
    let TopicLogs { promises, ends, held, held_bytes: _ } = logs;
    writer.length(promises.len());
    for Waiting { watermark, ends } in promises {
        writer.i64(watermark.millis());
        write_ends(ends, writer);
    }
    write_ends(ends, writer);
    writer.length(held.values().map(VecDeque::len).sum());
    for held in held.values().flatten() {
        let Held { partition, offset, time, verdict, horizon, behind, value } = held;
        writer.u32(partition.get());
        writer.u64(offset.get());
        [time, horizon, behind].into_iter().for_each(|time| writer.i64(time.millis()));
        writer.u8(verdict.code());
        writer.bytes(value);
    }
}

fn write_ends(ends: &BTreeMap<PartitionIndex, Offset>, writer: &mut Writer) {
    writer.length(ends.len());
    for (partition, end) in ends {
        writer.u32(partition.get());
        writer.u64(end.get());
    }
}

// Whatever is counted takes at least a byte, so that what is left bounds it.

fn read_logs(reader: &mut Reader) -> Result<RegionLogs, CodecError> {
    let mut logs = RegionLogs::default();
    for _ in 0..reader.length("watermarks", reader.remaining())? {
        let topic = reader.name("topic")?;
        logs.watermarks.insert(topic, EventTime::from_millis(reader.i64("watermark")?));
    }
    for _ in 0..reader.length("lives", reader.remaining())? {
        let life = reader.incarnation("life")?;
        let at = reader.position();
        let begins = match reader.u8("beginning")? {
            0 => Begins::Empty,
            1 => Begins::Behind,
            found => return Err(outside("beginning", at, found, "0 or 1")),
        };
        let mut topics = BTreeMap::new();
        for _ in 0..reader.length("topics", reader.remaining())? {
            topics.insert(reader.name("topic")?, read_topic(reader)?);
        }
        logs.lives.insert(life, LifeLogs { begins, topics });
    }
    Ok(logs)
}

fn read_topic(reader: &mut Reader) -> Result<TopicLogs, CodecError> {
    let mut logs = TopicLogs::default();
    for _ in 0..reader.length("promises", reader.remaining())? {
        let watermark = EventTime::from_millis(reader.i64("promise")?);
        logs.promises.push_back(Waiting { watermark, ends: read_ends(reader)? });
    }
    logs.ends = read_ends(reader)?;
    for _ in 0..reader.length("rows", reader.remaining())? {
        // Earlier versions wrote them in the order in which they came, also of several partitions.
        let (at, held) = (reader.position(), read_held(reader)?);
        let rows = logs.held.get(&held.partition);
        if rows.and_then(VecDeque::back).is_some_and(|last| last.offset >= held.offset) {
            let found = i64::try_from(held.offset.get()).unwrap_or(i64::MAX);
            let (field, expected) = ("row", "rows of a partition in their order");
            return Err(CodecError::Value { field, at, found, expected });
        }
        logs.hold(held);
    }
    Ok(logs)
}

fn read_held(reader: &mut Reader) -> Result<Held, CodecError> {
    let partition = PartitionIndex::new(reader.u32("partition")?);
    let offset = Offset::new(reader.u64("offset")?);
    let time = EventTime::from_millis(reader.i64("time")?);
    let horizon = EventTime::from_millis(reader.i64("horizon")?);
    let behind = EventTime::from_millis(reader.i64("behind")?);
    let (at, code) = (reader.position(), reader.u8("verdict")?);
    let verdict = Verdict::from_code(code).ok_or_else(|| outside("verdict", at, code, "0 to 4"))?;
    let value = reader.bytes("row", RECORD_BYTES_LIMIT.as_len())?;
    // A part of the snapshot would keep all of that in memory.
    let value = Bytes::copy_from_slice(&value);
    Ok(Held { partition, offset, time, verdict, horizon, behind, value })
}

fn read_ends(reader: &mut Reader) -> Result<BTreeMap<PartitionIndex, Offset>, CodecError> {
    let mut ends = BTreeMap::new();
    for _ in 0..reader.length("ends", reader.remaining())? {
        let partition = PartitionIndex::new(reader.u32("partition")?);
        ends.insert(partition, Offset::new(reader.u64("end")?));
    }
    Ok(ends)
}

fn outside(field: &'static str, at: usize, found: u8, expected: &'static str) -> CodecError {
    CodecError::Value { field, at, found: i64::from(found), expected }
}
