//! Whether what one node wrote is what another holds.
//!
//! Offsets and dots show that something is missing from a log, and checksums that a batch was
//! damaged. Neither shows that a node counted a batch twice, left a record out when it wrote it
//! again, or wrote another one in its place. So the node at which a stream is born states, every
//! 30 s, what a range of the stream comes to: how many records, and a sum over its batches.
//! Statements are records of the topic `_audit` and travel like all others; every node on
//! the way sums up what its own log holds and compares as soon as it has come as far.
//!
//! A difference is a `Fault`: it names the range. Each range begins where the one before ended, so
//! a fault is named once. Where a log says itself that records are gone, by a hole, by offsets that
//! are missing or by compaction, where it begins in the middle of a life, or where its writer has
//! begun to count anew, the range is not compared; the one after it is.
//!
//! What damage took may come back: at its offsets, which changes nothing here, or behind all else.
//! So what comes below where its stream was is looked up in the log, and is a fault only when it is
//! there twice (`audit/repeats.rs`).
//!
//! Cost: a few dozen instructions for a batch, about 300 bytes for a stream and 24 for each 1,024
//! records that were not compared yet.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use headland_event::codec::{CodecError, Reader, Writer};
use headland_event::{
    Dot, Entry, Incarnation, Monotonic, Offset, Sequence, StreamId, TopicPartition,
};

/// What batches come to.
mod digest;
/// What comes below where its stream was.
mod repeats;
/// What a node states, and its bytes.
mod statement;
/// One stream, as far as this node has it.
mod tally;
#[cfg(test)]
mod tests;

pub use digest::Digest;
pub use statement::Statement;
pub use tally::{Fault, FaultKind};

use repeats::{Repeats, read_partition, write_partition};
use tally::{Outcome, Side, Tally};

/// How long a stream grows before what it comes to is stated. Short enough that a fault is named
/// within a minute, long enough that a quiet fleet states far less than it writes.
pub const INTERVAL: Duration = Duration::from_secs(30);

/// Most streams that are audited, each in each partition; beyond it those go that were idle
/// longest. Each agent has a few.
pub const STREAMS_LIMIT: usize = 65_536;

/// Most faults that wait to be taken; more are only counted.
const FAULTS_LIMIT: usize = 1_024;

/// Partitions that may hold the same stream: more routes than that from one writer are left out.
const ROUTES_LIMIT: usize = 4;

/// Most partitions in a snapshot.
const PARTITIONS_LIMIT: usize = 1 << 20;

/// The bounds of all lives.
const FIRST_LIFE: Incarnation = Incarnation::new(0, 0);
const LAST_LIFE: Incarnation = Incarnation::new(u32::MAX, u64::MAX);

/// One life of a stream.
type Life = (StreamId, Incarnation);

/// Sums up what a log holds, states what was born here, and compares what others state.
#[derive(Debug)]
pub struct Audit {
    born: Incarnation,
    /// Of each life a tally for each partition that holds it.
    streams: BTreeMap<Life, Vec<Tally>>,
    /// Where partitions end: offsets that are missing behind it are of records that are gone.
    ends: BTreeMap<TopicPartition, Offset>,
    repeats: Repeats,
    tallies: usize,
    entries: u64,
    faults: VecDeque<Fault>,
    counts: Counts,
    /// When what was born here was last stated, or this run began.
    stated_at: Monotonic,
    /// Whether anything was born here since.
    is_ahead: bool,
}

/// What an audit has done in this run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Statements that agreed with this log.
    pub agreed: u64,
    /// Statements that did not.
    pub faults: u64,
    /// Statements that this log was too far past, or could not be compared with.
    pub unchecked: u64,
    /// Streams that were let go, and batches of more routes than are audited.
    pub left_out: u64,
}

impl Audit {
    /// An audit of an empty log, whose node writes as `born` from `now` on.
    #[must_use]
    pub const fn new(born: Incarnation, now: Monotonic) -> Self {
        Self {
            born,
            streams: BTreeMap::new(),
            ends: BTreeMap::new(),
            repeats: Repeats::new(),
            tallies: 0,
            entries: 0,
            faults: VecDeque::new(),
            counts: Counts { agreed: 0, faults: 0, unchecked: 0, left_out: 0 },
            stated_at: now,
            is_ahead: false,
        }
    }

    /// An entry is durable in `partition`; call it for each, in the order of the log.
    pub fn on_entry(&mut self, partition: &TopicPartition, entry: &Entry) {
        let Dot { stream, incarnation, sequence } = entry.dot;
        let life = (stream, incarnation);
        if self.is_behind_gap(partition, entry) || sequence.get() == 0 {
            self.doubt(partition);
        }
        if sequence.get() == 0 {
            return;
        }
        self.entries += 1;
        let entries = self.entries;
        let known = |tally: &&mut Tally| tally.partition() == partition;
        if !self.streams.get_mut(&life).is_some_and(|of| of.iter_mut().any(|t| known(&t))) {
            self.begin(life, partition, sequence);
        }
        let tallies = self.streams.get_mut(&life);
        let Some(tally) = tallies.and_then(|of| of.iter_mut().find(known)) else {
            self.counts.left_out = self.counts.left_out.saturating_add(1);
            return;
        };
        tally.touched = entries;
        if tally.is_repeated(entry) {
            let is_named = tally.is_named(sequence, sequence.after(entry.batch.span()));
            if !is_named && !self.repeats.add(partition, entry) {
                self.settle(Outcome::Unchecked);
            }
            return;
        }
        let outcomes = tally.on_entry(entry);
        self.is_ahead |= incarnation == self.born;
        outcomes.into_iter().for_each(|outcome| self.settle(outcome));
    }

    /// Whether offsets are missing before an entry, which is the last one of its partition now.
    fn is_behind_gap(&mut self, partition: &TopicPartition, entry: &Entry) -> bool {
        let Some(end) = self.ends.get_mut(partition) else {
            self.ends.insert(partition.clone(), entry.end());
            return false;
        };
        std::mem::replace(end, entry.end()) < entry.base
    }

    /// Where the log is to be read for what came again; answer with [`Self::on_read`],
    /// [`Self::pass_over`] or [`Self::give_up`] before it is called again.
    pub fn poll_read(&mut self) -> Option<(TopicPartition, Offset)> {
        self.repeats.place()
    }

    /// The log was read where it was to be, which begins at `start`; it has no more when there are
    /// no entries.
    pub fn on_read(&mut self, entries: &[Entry], start: Offset) {
        let Some((partition, twice)) = self.repeats.on_read(entries, start) else { return };
        for repeat in twice {
            let tallies = self.streams.get_mut(&(repeat.dot.stream, repeat.dot.incarnation));
            let mut tallies = tallies.into_iter().flatten();
            let tally = tallies.find(|tally| *tally.partition() == partition);
            let outcome = tally.and_then(|tally| tally.on_twice(&repeat));
            outcome.into_iter().for_each(|outcome| self.settle(outcome));
        }
    }

    /// The log is damaged where it was to be read, up to `next`; whether it is to be read on there.
    pub fn pass_over(&mut self, next: Offset) -> bool {
        self.repeats.pass_over(next)
    }

    /// The log cannot be read: what was looked up is not compared.
    pub fn give_up(&mut self) {
        let count = u64::try_from(self.repeats.give_up()).unwrap_or(u64::MAX);
        self.counts.unchecked = self.counts.unchecked.saturating_add(count);
    }

    /// Begins to sum up a life of a stream in a partition, unless others hold it already.
    fn begin(&mut self, life: Life, partition: &TopicPartition, first: Sequence) {
        // A writer has one life at a time: nothing more comes of those before.
        let lives = (life.0, FIRST_LIFE)..=(life.0, LAST_LIFE);
        let former: Vec<Life> = self.streams.range(lives).map(|(former, _)| *former).collect();
        for former in former.into_iter().filter(|former| *former != life) {
            self.tallies -= self.streams.remove(&former).map_or(0, |of| of.len());
        }
        if self.tallies >= STREAMS_LIMIT {
            self.let_go();
        }
        let side = if life.1 == self.born { Side::Writer } else { Side::Holder };
        let of = self.streams.entry(life).or_default();
        if of.len() < ROUTES_LIMIT {
            // Most streams come over one route, and a vector begins with room for four.
            of.reserve_exact(1);
            of.push(Tally::new(partition.clone(), side, first));
            self.tallies += 1;
        }
    }

    /// Lets the sixteenth go that was idle longest: devices that are no more.
    fn let_go(&mut self) {
        let mut touched: Vec<u64> =
            self.streams.values().flatten().map(|tally| tally.touched).collect();
        let (_, oldest, _) = touched.select_nth_unstable(STREAMS_LIMIT / 16);
        let oldest = *oldest;
        self.streams.retain(|_, of| {
            of.retain(|tally| tally.touched > oldest);
            !of.is_empty()
        });
        let left = self.streams.values().map(Vec::len).sum();
        let gone = u64::try_from(self.tallies.saturating_sub(left)).unwrap_or(u64::MAX);
        self.counts.left_out = self.counts.left_out.saturating_add(gone);
        self.tallies = left;
    }

    /// Records of unknown streams are gone from a partition.
    fn doubt(&mut self, partition: &TopicPartition) {
        let tallies = self.streams.values_mut().flatten();
        tallies.filter(|tally| tally.partition() == partition).for_each(Tally::doubt);
    }

    /// The log holds a statement; `author` is the life in which it was written itself: nobody
    /// states anything about what somebody else writes.
    pub fn on_statement(&mut self, author: Incarnation, statement: Statement) {
        let life = (statement.stream, statement.incarnation);
        if statement.incarnation != author {
            return;
        }
        let Some(tallies) = self.streams.get_mut(&life) else {
            self.counts.unchecked = self.counts.unchecked.saturating_add(1);
            return;
        };
        if author == self.born {
            // Found in this node's own log: it need not be stated again.
            return tallies.iter_mut().for_each(|tally| tally.on_stated(statement.to));
        }
        let outcomes = tallies.iter_mut().filter_map(|tally| tally.on_statement(statement));
        let outcomes: Vec<Outcome> = outcomes.collect();
        outcomes.into_iter().for_each(|outcome| self.settle(outcome));
    }

    fn settle(&mut self, outcome: Outcome) {
        let Counts { agreed, faults, unchecked, left_out: _ } = &mut self.counts;
        match outcome {
            Outcome::Agreed => *agreed = agreed.saturating_add(1),
            Outcome::Unchecked => *unchecked = unchecked.saturating_add(1),
            Outcome::Differs(fault) => {
                *faults = faults.saturating_add(1);
                if self.faults.len() < FAULTS_LIMIT {
                    self.faults.push_back(fault);
                }
            }
        }
    }

    /// Whether faults wait to be taken: they are in no snapshot.
    #[must_use]
    pub fn has_faults(&self) -> bool {
        !self.faults.is_empty()
    }

    /// What is to be stated now; empty before [`Self::poll_timeout`].
    pub fn on_timeout(&mut self, now: Monotonic) -> Vec<(TopicPartition, Statement)> {
        if self.poll_timeout().is_none_or(|due| now < due) {
            return Vec::new();
        }
        let (born, mut stated) = (self.born, Vec::new());
        (self.stated_at, self.is_ahead) = (now, false);
        for ((stream, incarnation), tallies) in &mut self.streams {
            for tally in tallies.iter_mut().filter(|_| *incarnation == born) {
                if let Some((from, to, digest)) = tally.state() {
                    let (stream, incarnation) = (*stream, born);
                    let statement = Statement { stream, incarnation, from, to, digest };
                    stated.push((tally.partition().clone(), statement));
                }
                self.is_ahead |= tally.is_ahead();
            }
        }
        stated
    }

    /// When [`Self::on_timeout`] has something to state.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Monotonic> {
        self.is_ahead.then(|| self.stated_at.after(INTERVAL))
    }

    /// The next fault that was found.
    pub fn poll_fault(&mut self) -> Option<Fault> {
        self.faults.pop_front()
    }

    /// What was done in this run.
    #[must_use]
    pub const fn counts(&self) -> Counts {
        self.counts
    }

    /// How many streams are audited.
    #[must_use]
    pub const fn streams(&self) -> usize {
        self.tallies
    }

    /// Appends what a snapshot needs: all sums as of the last entry. Statements that wait and ends
    /// between are left out; the next statement is compared again.
    ///
    /// ```text
    /// v2:  2 version u8 │ streams u32 × { stream 16 │ incarnation 12 │ tally }
    ///      │ ends u32 × { topic │ partition u32 │ offset u64 } │ what is to be looked up
    /// v1:  as v2 with version 1, without ends and what is to be looked up
    /// ```
    pub fn write(&self, writer: &mut Writer) {
        writer.u8(VERSION);
        writer.length(self.tallies);
        for ((stream, incarnation), tallies) in &self.streams {
            for tally in tallies {
                writer.stream_id(*stream);
                writer.incarnation(*incarnation);
                tally.write(writer);
            }
        }
        writer.length(self.ends.len());
        for (partition, end) in &self.ends {
            write_partition(writer, partition);
            writer.u64(end.get());
        }
        self.repeats.write(writer);
    }

    /// Reads what [`Self::write`] wrote, for the same node in a run that began at `now`.
    ///
    /// # Errors
    /// [`CodecError`] when bytes are missing or a field is outside its range.
    pub fn read(
        born: Incarnation,
        now: Monotonic,
        reader: &mut Reader,
    ) -> Result<Self, CodecError> {
        let at = reader.position();
        let found = reader.u8("audit version")?;
        if !(VERSION_1..=VERSION).contains(&found) {
            let (field, found, expected) = ("audit version", i64::from(found), "1 or 2");
            return Err(CodecError::Value { field, at, found, expected });
        }
        let mut audit = Self { is_ahead: true, ..Self::new(born, now) };
        audit.tallies = reader.length("audited streams", STREAMS_LIMIT)?;
        for _ in 0..audit.tallies {
            let life = (reader.stream_id("stream")?, reader.incarnation("incarnation")?);
            audit.streams.entry(life).or_default().push(Tally::read(reader)?);
        }
        if found == VERSION_1 {
            return Ok(audit);
        }
        for _ in 0..reader.length("ends", PARTITIONS_LIMIT)? {
            let partition = read_partition(reader)?;
            audit.ends.insert(partition, Offset::new(reader.u64("end")?));
        }
        audit.repeats = Repeats::read(reader)?;
        Ok(audit)
    }
}

const VERSION: u8 = 2;
/// The layout before what comes again was looked up.
const VERSION_1: u8 = 1;
