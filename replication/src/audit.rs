//! Whether what one node wrote is what another holds.
//!
//! Offsets and dots show that something is missing from a log, and checksums that a batch was
//! damaged. Neither shows that a node counted a batch twice, left a record out when it wrote it
//! again, or wrote another one in its place. So the node at which a stream is born states, each
//! [`INTERVAL`], what the stream comes to up to a sequence: how many records, and a sum over its
//! batches. Statements are records of the topic `_audit` and travel like all others; every node on
//! the way sums up what its own log holds and compares as soon as it has come as far.
//!
//! A difference is a [`Fault`]: it names the range since the two last agreed. It is named once;
//! from there on both are compared anew. Where a log says itself that records are gone, by a hole
//! or by compaction, or begins in the middle of a life, nothing can be compared until the next
//! statement.
//!
//! Cost: a few dozen instructions for a batch, about 200 bytes for a stream and 24 for each 1,024
//! records that were not compared yet.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use headland_event::codec::{CodecError, Reader, Writer};
use headland_event::{Dot, Entry, Incarnation, Monotonic, Sequence, StreamId, TopicPartition};

/// What batches come to.
mod digest;
/// What a node states, and its bytes.
mod statement;
/// One stream, as far as this node has it.
mod tally;
#[cfg(test)]
mod tests;

pub use digest::Digest;
pub use statement::Statement;
pub use tally::{Fault, FaultKind};

use tally::{Outcome, Tally};

/// How long a stream grows before what it comes to is stated. Short enough that a fault is named
/// within a minute, long enough that a quiet fleet states far less than it writes.
pub const INTERVAL: Duration = Duration::from_secs(30);

/// Most streams that are audited; more are counted as left out. Each agent has a few.
pub const STREAMS_LIMIT: usize = 65_536;

/// Most faults that wait to be taken; more are only counted.
const FAULTS_LIMIT: usize = 1_024;

/// The bounds of all lives.
const FIRST_LIFE: Incarnation = Incarnation::new(0, 0);
const LAST_LIFE: Incarnation = Incarnation::new(u32::MAX, u64::MAX);

/// One life of a stream.
type Life = (StreamId, Incarnation);

/// Sums up what a log holds, states what was born here, and compares what others state.
#[derive(Debug)]
pub struct Audit {
    born: Incarnation,
    streams: BTreeMap<Life, Tally>,
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
    /// Batches of streams beyond [`STREAMS_LIMIT`].
    pub left_out: u64,
}

impl Audit {
    /// An audit of an empty log, whose node writes as `born` from `now` on.
    #[must_use]
    pub const fn new(born: Incarnation, now: Monotonic) -> Self {
        Self {
            born,
            streams: BTreeMap::new(),
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
        if sequence.get() == 0 {
            // A hole of which the streams are not known; what they lack will differ.
            return self.doubt(partition);
        }
        if !self.streams.contains_key(&life) && !self.begin(life, partition, sequence) {
            self.counts.left_out = self.counts.left_out.saturating_add(1);
            return;
        }
        let Some(tally) = self.streams.get_mut(&life) else { return };
        let outcome = tally.on_entry(entry);
        self.is_ahead |= incarnation == self.born;
        self.settle(life, outcome);
    }

    /// Begins to sum up a life of a stream; `false` when there are too many.
    fn begin(&mut self, life: Life, partition: &TopicPartition, first: Sequence) -> bool {
        // A writer has one life at a time: nothing more comes of those before.
        let lives = (life.0, FIRST_LIFE)..=(life.0, LAST_LIFE);
        let former = self.streams.range(lives).map(|(former, _)| *former).next();
        former.and_then(|former| self.streams.remove(&former));
        if self.streams.len() >= STREAMS_LIMIT {
            return false;
        }
        self.streams.insert(life, Tally::new(partition.clone(), first));
        true
    }

    /// Records of unknown streams are gone from a partition.
    fn doubt(&mut self, partition: &TopicPartition) {
        for tally in self.streams.values_mut().filter(|tally| tally.partition() == partition) {
            tally.doubt();
        }
    }

    /// The log holds a statement; `author` is the life in which it was written itself: nobody
    /// states anything about what somebody else writes.
    pub fn on_statement(&mut self, author: Incarnation, statement: Statement) {
        let life = (statement.stream, statement.incarnation);
        if statement.incarnation != author {
            return;
        }
        let outcome = match self.streams.get_mut(&life) {
            // Found in this node's own log: it need not be stated again.
            Some(tally) if author == self.born => return tally.on_stated(statement.to),
            Some(tally) => tally.on_statement(statement),
            None => Outcome::Unchecked,
        };
        self.settle(life, outcome);
    }

    fn settle(&mut self, (stream, incarnation): Life, outcome: Outcome) {
        let Counts { agreed, faults, unchecked, left_out: _ } = &mut self.counts;
        match outcome {
            Outcome::Nothing => {}
            Outcome::Agreed => *agreed = agreed.saturating_add(1),
            Outcome::Unchecked => *unchecked = unchecked.saturating_add(1),
            Outcome::Differs(range) => {
                *faults = faults.saturating_add(1);
                if self.faults.len() < FAULTS_LIMIT {
                    self.faults.push_back(Fault { stream, incarnation, ..range });
                }
            }
        }
    }

    /// What is to be stated now; empty before [`Self::poll_timeout`].
    pub fn on_timeout(&mut self, now: Monotonic) -> Vec<(TopicPartition, Statement)> {
        if self.poll_timeout().is_none_or(|due| now < due) {
            return Vec::new();
        }
        (self.stated_at, self.is_ahead) = (now, false);
        let born = self.born;
        let own = self.streams.iter_mut().filter(|((_, life), _)| *life == born);
        own.filter_map(|((stream, _), tally)| {
            let (to, digest) = tally.state()?;
            let statement = Statement { stream: *stream, incarnation: born, to, digest };
            Some((tally.partition().clone(), statement))
        })
        .collect()
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
    pub fn streams(&self) -> usize {
        self.streams.len()
    }

    /// Appends what a snapshot needs: all sums as of the last entry. Statements that wait and ends
    /// between are left out; the next statement is compared again.
    ///
    /// ```text
    /// v1:  1 version u8 │ streams u32 × { stream 16 │ incarnation 12 │ tally }
    /// ```
    pub fn write(&self, writer: &mut Writer) {
        writer.u8(VERSION);
        writer.length(self.streams.len());
        for ((stream, incarnation), tally) in &self.streams {
            writer.stream_id(*stream);
            writer.incarnation(*incarnation);
            tally.write(writer);
        }
    }

    /// Takes up what [`Self::write`] wrote.
    ///
    /// # Errors
    /// [`CodecError`] when bytes are missing or a field is outside its range; nothing is changed.
    pub fn take_up(&mut self, reader: &mut Reader) -> Result<(), CodecError> {
        let at = reader.position();
        let found = reader.u8("audit version")?;
        if found != VERSION {
            let (field, found, expected) = ("audit version", i64::from(found), "1");
            return Err(CodecError::Value { field, at, found, expected });
        }
        let count = reader.length("audited streams", STREAMS_LIMIT)?;
        let streams = (0..count).map(|_| {
            let life = (reader.stream_id("stream")?, reader.incarnation("incarnation")?);
            Ok((life, Tally::read(reader)?))
        });
        self.streams = streams.collect::<Result<_, CodecError>>()?;
        self.is_ahead = true;
        Ok(())
    }
}

const VERSION: u8 = 1;
