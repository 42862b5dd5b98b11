//! One stream, as far as this node has it.

use std::collections::VecDeque;
use std::fmt;

use headland_event::codec::{CodecError, Reader, Writer};
use headland_event::{
    Entry, Hole, Incarnation, PartitionIndex, Sequence, StreamId, TopicPartition,
};

use super::digest::Digest;
use super::statement::Statement;

/// Of so many records the end of one batch is remembered for long: the first that passes a
/// multiple. All nodes find the same, so what is stated of a fast stream is found however late the
/// statement comes.
const BLOCK_RECORDS: u64 = 1_024;

/// Most blocks that are remembered: four million records that nobody has stated.
const BLOCKS_LIMIT: usize = 4_096;

/// Ends of the last batches, for what is stated of a slow stream.
const RECENT_LIMIT: usize = 32;

/// Two logs differ over a range of one stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Where the stream lies here.
    pub partition: TopicPartition,
    /// The stream.
    pub stream: StreamId,
    /// The life of its writer.
    pub incarnation: Incarnation,
    /// Up to here both agreed.
    pub from: Sequence,
    /// Up to here was compared.
    pub to: Sequence,
    /// What the writer has in the range.
    pub stated: Digest,
    /// What this log has of it.
    pub found: Digest,
}

/// How two logs differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FaultKind {
    /// So many records fewer than were written.
    Missing(u64),
    /// So many records more than were written.
    Doubled(u64),
    /// As many records, but others.
    Different,
}

impl Fault {
    /// How the logs differ.
    #[must_use]
    pub const fn kind(&self) -> FaultKind {
        let (stated, found) = (self.stated.records, self.found.records);
        if found < stated {
            FaultKind::Missing(stated - found)
        } else if found > stated {
            FaultKind::Doubled(found - stated)
        } else {
            FaultKind::Different
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { partition, stream, incarnation, from, to, stated: _, found: _ } = self;
        match self.kind() {
            FaultKind::Missing(records) => write!(f, "{records} records are missing")?,
            FaultKind::Doubled(records) => write!(f, "{records} records are there twice")?,
            FaultKind::Different => write!(f, "records are not those that were written")?,
        }
        write!(f, " in {partition}: of {stream}/{incarnation} from {from} to before {to}")
    }
}

/// What an entry or a statement led to.
#[derive(Debug)]
pub(super) enum Outcome {
    /// Nothing was compared.
    Nothing,
    /// Both agree up to what was stated.
    Agreed,
    /// They do not; the stream's name is for the caller to fill in.
    Differs(Fault),
    /// The statement is about an end that is not remembered.
    Unchecked,
}

/// The end of a batch, and what the stream came to there.
type End = (Sequence, Digest);

/// A stream's sums.
#[derive(Debug)]
pub(super) struct Tally {
    partition: TopicPartition,
    /// The end of the last batch and all of them, since this node began to count.
    end: End,
    /// What the writer counts more than this node; unknown until a statement says so.
    ahead: Option<Digest>,
    /// Where both last agreed, and what the writer counts up to there.
    agreed: End,
    /// Up to where this node, if it is the writer, has stated it.
    stated: Sequence,
    blocks: VecDeque<End>,
    recent: VecDeque<End>,
    waiting: Option<Statement>,
}

impl Tally {
    /// Nothing of a stream, whose first batch here will be at `first`.
    pub(super) fn new(partition: TopicPartition, first: Sequence) -> Self {
        let start = (first, Digest::default());
        Self {
            partition,
            end: start,
            // From a life's first record on both count the same.
            ahead: (first == Sequence::new(1)).then(Digest::default),
            agreed: start,
            stated: first,
            blocks: VecDeque::new(),
            recent: VecDeque::new(),
            waiting: None,
        }
    }

    pub(super) const fn partition(&self) -> &TopicPartition {
        &self.partition
    }

    /// Up to where both were last compared.
    #[cfg(test)]
    pub(super) const fn agreed_to(&self) -> Sequence {
        self.agreed.0
    }

    /// This log lacks records by its own word.
    pub(super) fn doubt(&mut self) {
        self.ahead = None;
        self.waiting = None;
    }

    pub(super) fn on_entry(&mut self, entry: &Entry) -> Outcome {
        let (first, span) = (entry.dot.sequence, entry.batch.span());
        let (reached, total) = self.end;
        let end = (reached.max(first.after(span)), total.plus(Digest::of(entry)));
        self.end = end;
        if end.0.get() / BLOCK_RECORDS > reached.get() / BLOCK_RECORDS {
            keep(&mut self.blocks, end, BLOCKS_LIMIT);
        }
        keep(&mut self.recent, end, RECENT_LIMIT);
        let is_whole = u64::try_from(entry.batch.len()) == Ok(span);
        if !is_whole || Hole::of(&entry.batch).is_some() {
            self.doubt();
        }
        match self.waiting.take_if(|statement| statement.to <= end.0) {
            Some(statement) => self.compare(statement),
            None => Outcome::Nothing,
        }
    }

    pub(super) fn on_statement(&mut self, statement: Statement) -> Outcome {
        if statement.to > self.end.0 {
            // The first that waits is reached first; what comes after it is stated again.
            self.waiting.get_or_insert(statement);
            return Outcome::Nothing;
        }
        self.compare(statement)
    }

    /// This node has stated so much, in this run or before.
    pub(super) fn on_stated(&mut self, to: Sequence) {
        self.stated = self.stated.max(to);
    }

    fn compare(&mut self, statement: Statement) -> Outcome {
        let Statement { to, digest: stated, stream, incarnation } = statement;
        if to <= self.agreed.0 && self.ahead.is_some() {
            return Outcome::Nothing;
        }
        let Some(own) = self.total_at(to) else { return Outcome::Unchecked };
        let (from, before) = std::mem::replace(&mut self.agreed, (to, stated));
        self.forget_before(to);
        let Some(ahead) = self.ahead.replace(stated.minus(own)) else { return Outcome::Unchecked };
        let found = own.plus(ahead);
        if found == stated {
            return Outcome::Agreed;
        }
        let (stated, found) = (stated.minus(before), found.minus(before));
        let partition = self.partition.clone();
        Outcome::Differs(Fault { partition, stream, incarnation, from, to, stated, found })
    }

    /// What this node counted up to a sequence; where no batch ends there although one should, what
    /// it counted up to the end before. `None` when that is not remembered.
    fn total_at(&self, to: Sequence) -> Option<Digest> {
        let ends = || self.recent.iter().rev().chain(&self.blocks);
        let exact = ends().find(|(end, _)| *end == to);
        let before = || self.recent.iter().rev().find(|(end, _)| *end < to);
        exact.or_else(before).map(|(_, total)| *total)
    }

    fn forget_before(&mut self, to: Sequence) {
        for ends in [&mut self.blocks, &mut self.recent] {
            while ends.pop_front_if(|(end, _)| *end < to).is_some() {}
        }
    }

    /// How far and what is to be stated, when it has not been.
    pub(super) fn state(&mut self) -> Option<End> {
        let block = self.blocks.back().filter(|(end, _)| *end > self.stated);
        let (to, total) = *block.unwrap_or(&self.end);
        if to <= self.stated {
            return None;
        }
        self.stated = to;
        self.forget_before(to);
        Some((to, total))
    }

    /// The partition; the end; whether the writer's lead is known, and it; where both agreed; what
    /// was stated; the end of the last block, or zeros. Names as everywhere, numbers u64.
    pub(super) fn write(&self, writer: &mut Writer) {
        let Self { partition, end, ahead, agreed, stated, blocks, recent: _, waiting: _ } = self;
        writer.name(partition.topic.as_str());
        writer.u32(partition.partition.get());
        write_end(writer, *end);
        writer.u8(u8::from(ahead.is_some()));
        let Digest { records, sum } = ahead.unwrap_or_default();
        writer.u64(records);
        writer.u64(sum);
        write_end(writer, *agreed);
        writer.u64(stated.get());
        write_end(writer, blocks.back().copied().unwrap_or_default());
    }

    /// Reads what [`Self::write`] wrote.
    pub(super) fn read(reader: &mut Reader) -> Result<Self, CodecError> {
        let topic = reader.name("audited topic")?;
        let partition = TopicPartition::new(topic, PartitionIndex::new(reader.u32("partition")?));
        let end = read_end(reader)?;
        let at = reader.position();
        let knows = match reader.u8("whether the writer's sums are known")? {
            0 => false,
            1 => true,
            other => {
                let (field, found) = ("whether the writer's sums are known", i64::from(other));
                return Err(CodecError::Value { field, at, found, expected: "0 or 1" });
            }
        };
        let ahead = Digest { records: reader.u64("records")?, sum: reader.u64("sum")? };
        let agreed = read_end(reader)?;
        let stated = Sequence::new(reader.u64("stated up to")?);
        let block = read_end(reader)?;
        Ok(Self {
            partition,
            end,
            ahead: knows.then_some(ahead),
            agreed,
            stated,
            blocks: (block != End::default()).then_some(block).into_iter().collect(),
            recent: VecDeque::from([end]),
            waiting: None,
        })
    }
}

fn keep(ends: &mut VecDeque<End>, end: End, limit: usize) {
    if ends.len() >= limit {
        ends.pop_front();
    }
    ends.push_back(end);
}

fn write_end(writer: &mut Writer, (at, Digest { records, sum }): End) {
    writer.u64(at.get());
    writer.u64(records);
    writer.u64(sum);
}

fn read_end(reader: &mut Reader) -> Result<End, CodecError> {
    let at = Sequence::new(reader.u64("sequence")?);
    Ok((at, Digest { records: reader.u64("records")?, sum: reader.u64("sum")? }))
}
