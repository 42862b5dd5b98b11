//! One stream, as far as this node has it.

use std::collections::VecDeque;
use std::fmt;

use headland_event::codec::{CodecError, Reader, Writer};
use headland_event::{Dot, Entry, Hole, Incarnation, Sequence, StreamId, TopicPartition};

use super::digest::Digest;
use super::repeats::{Repeat, read_partition, write_partition};
use super::statement::Statement;

/// Of so many records the end of one batch is remembered for long: the first that passes a
/// multiple. All nodes find the same, so what is stated of a fast stream is found however late the
/// statement comes.
const BLOCK_RECORDS: u64 = 1_024;

/// Most blocks that are remembered of a stream whose writer states it: four million records.
const BLOCKS_LIMIT: usize = 4_096;

/// The same before its writer was ever heard.
const BLOCKS_UNHEARD: usize = 64;

/// Ends of the last batches, for what is stated of a slow stream.
const RECENT_LIMIT: usize = 32;

/// Most statements that wait for the records they are about: eight minutes of lag. What comes after
/// them is not compared.
const WAITING_LIMIT: usize = 16;

/// Two logs differ over a range of one stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Where the stream lies here.
    pub partition: TopicPartition,
    /// The stream.
    pub stream: StreamId,
    /// The life of its writer.
    pub incarnation: Incarnation,
    /// The range's first sequence.
    pub from: Sequence,
    /// The sequence after its last one.
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
    /// Both agree over the range that was stated.
    Agreed,
    /// They do not.
    Differs(Fault),
    /// One end of the range is not remembered, or not all between them was here.
    Unchecked,
}

/// Whether the node wrote a stream or holds what another one wrote.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    /// It states what the stream comes to.
    Writer,
    /// It compares.
    Holder,
}

/// The end of a batch, and what the stream came to there since this node began to count.
type End = (Sequence, Digest);

/// A stream's sums in one partition.
#[derive(Debug)]
pub(super) struct Tally {
    partition: TopicPartition,
    side: Side,
    end: End,
    /// Nothing before it is compared: the log began here, or lacks records by its own word.
    whole_from: Sequence,
    /// Records are gone, and the next entry says where the log goes on.
    is_doubted: bool,
    /// The end of the last entry that was named as being there twice: of what is sent again as a
    /// whole the first is enough.
    named_to: Option<Sequence>,
    /// Where the last range that was stated ends; the next one begins there.
    anchor: Option<End>,
    /// Whether the writer was ever heard.
    is_heard: bool,
    blocks: VecDeque<End>,
    recent: VecDeque<End>,
    waiting: VecDeque<Statement>,
    /// Counts entries of all streams: when this one last had one.
    pub(super) touched: u64,
}

impl Tally {
    /// Nothing of a stream, whose first batch here will be at `first`.
    pub(super) fn new(partition: TopicPartition, side: Side, first: Sequence) -> Self {
        let start = (first, Digest::default());
        Self {
            partition,
            side,
            end: start,
            whole_from: first,
            is_doubted: false,
            named_to: None,
            anchor: Some(start),
            is_heard: false,
            blocks: VecDeque::new(),
            recent: VecDeque::new(),
            waiting: VecDeque::new(),
            touched: 0,
        }
    }

    pub(super) const fn partition(&self) -> &TopicPartition {
        &self.partition
    }

    /// This log lacks records, nobody says which; the next entry is behind them.
    pub(super) const fn doubt(&mut self) {
        self.is_doubted = true;
    }

    /// Whether an entry that another node wrote lies below where the stream was: whether it is
    /// there twice, its log has to say.
    pub(super) fn is_repeated(&self, entry: &Entry) -> bool {
        self.side == Side::Holder && entry.dot.sequence < self.end.0
    }

    /// Whether entries from `first` to before `to` only go on with what was named as being there
    /// twice.
    pub(super) fn is_named(&mut self, first: Sequence, to: Sequence) -> bool {
        let is_named = self.named_to == Some(first);
        if is_named {
            self.named_to = Some(to);
        }
        is_named
    }

    /// An entry is there twice; `None` when it goes on with one that was named.
    pub(super) fn on_twice(&mut self, repeat: &Repeat) -> Option<Outcome> {
        let Dot { stream, incarnation, sequence: from } = repeat.dot;
        let to = repeat.end();
        if self.is_named(from, to) {
            return None;
        }
        self.named_to = Some(to);
        let (stated, found) = (repeat.digest, repeat.digest.plus(repeat.digest));
        let partition = self.partition.clone();
        Some(Outcome::Differs(Fault { partition, stream, incarnation, from, to, stated, found }))
    }

    /// Counts an entry; what its writer stated before is compared as soon as it is here.
    pub(super) fn on_entry(&mut self, entry: &Entry) -> Vec<Outcome> {
        let first = entry.dot.sequence;
        let (reached, total) = self.end;
        let is_jump = first > reached;
        // A stream has no gaps: where it goes on at its end, nothing of it is gone.
        let is_gone = std::mem::take(&mut self.is_doubted) || self.side == Side::Writer;
        if is_jump && is_gone {
            self.begin_anew((first, total));
        }
        self.end = (reached.max(first.after(entry.batch.span())), total.plus(Digest::of(entry)));
        if self.end.0.get() / BLOCK_RECORDS > reached.get() / BLOCK_RECORDS {
            let limit = if self.is_heard { BLOCKS_LIMIT } else { BLOCKS_UNHEARD };
            keep(&mut self.blocks, self.end, limit);
        }
        keep(&mut self.recent, self.end, RECENT_LIMIT);
        let is_whole = u64::try_from(entry.batch.len()) == Ok(entry.batch.span());
        if !is_whole || Hole::of(&entry.batch).is_some() {
            self.begin_anew(self.end);
        }
        let mut outcomes = Vec::new();
        while let Some(due) = self.waiting.pop_front_if(|waiting| waiting.to <= self.end.0) {
            outcomes.extend(self.compare(due));
        }
        outcomes
    }

    /// From here on all is whole again.
    fn begin_anew(&mut self, at: End) {
        self.whole_from = at.0;
        self.anchor = Some(at);
    }

    pub(super) fn on_statement(&mut self, statement: Statement) -> Option<Outcome> {
        self.is_heard = true;
        if statement.to <= self.end.0 && self.waiting.is_empty() {
            return self.compare(statement);
        }
        if self.waiting.len() < WAITING_LIMIT {
            self.waiting.push_back(statement);
            return None;
        }
        Some(Outcome::Unchecked)
    }

    /// Compares a range; `None` for one that was compared before.
    fn compare(&mut self, statement: Statement) -> Option<Outcome> {
        let Statement { from, to, digest: stated, stream, incarnation } = statement;
        if self.anchor.is_some_and(|(anchor, _)| to <= anchor) {
            return None;
        }
        let exact = self.total_at(to);
        let total = exact.or_else(|| self.total_before(to));
        let before = self.anchor.filter(|(anchor, _)| *anchor == from && from >= self.whole_from);
        self.anchor = exact.filter(|_| to >= self.whole_from).map(|total| (to, total));
        self.forget_before(to);
        let (Some(total), Some((_, before)), false) = (total, before, self.is_doubted) else {
            return Some(Outcome::Unchecked);
        };
        let found = total.minus(before);
        if found == stated {
            return Some(Outcome::Agreed);
        }
        let partition = self.partition.clone();
        let range = Fault { partition, stream, incarnation, from, to, stated, found };
        Some(Outcome::Differs(range))
    }

    /// What was counted up to a sequence at which a batch ends; `None` when none is remembered.
    fn total_at(&self, to: Sequence) -> Option<Digest> {
        let mut ends = self.recent.iter().rev().chain(&self.blocks);
        ends.find(|(end, _)| *end == to).map(|(_, total)| *total)
    }

    /// What was counted up to the last batch that ends before a sequence, when the batches around
    /// it are remembered: at the writer one ends right there.
    fn total_before(&self, to: Sequence) -> Option<Digest> {
        self.recent.iter().rev().find(|(end, _)| *end < to).map(|(_, total)| *total)
    }

    fn forget_before(&mut self, to: Sequence) {
        for ends in [&mut self.blocks, &mut self.recent] {
            while ends.pop_front_if(|(end, _)| *end < to).is_some() {}
        }
    }

    /// Whether anything is left to state.
    pub(super) fn is_ahead(&self) -> bool {
        self.side == Side::Writer && self.anchor.is_none_or(|(stated, _)| stated < self.end.0)
    }

    /// The range that is to be stated, when there is one: up to the end of the last block, which
    /// everybody remembers, else up to the end.
    pub(super) fn state(&mut self) -> Option<(Sequence, Sequence, Digest)> {
        if !self.is_ahead() {
            return None;
        }
        let Some((from, before)) = self.anchor else {
            self.anchor = Some(self.end);
            return None;
        };
        let block = self.blocks.back().filter(|(end, _)| *end > from);
        let (to, total) = *block.unwrap_or(&self.end);
        self.anchor = Some((to, total));
        self.forget_before(to);
        Some((from, to, total.minus(before)))
    }

    /// This node has stated so much in an earlier run.
    pub(super) fn on_stated(&mut self, to: Sequence) {
        if self.anchor.is_some_and(|(stated, _)| to <= stated) {
            return;
        }
        // Where that end is forgotten the next range begins at the last one.
        let total = self.total_at(to);
        self.anchor = Some(total.map_or(self.end, |total| (to, total)));
    }

    /// Appends: partition, side u8, end, whole from u64, doubted u8, 0 u8, anchor, the end of the
    /// last block. An end is its sequence and both sums, u64 each; none is zeros.
    pub(super) fn write(&self, writer: &mut Writer) {
        let Self { partition, side, end, whole_from, is_doubted, anchor, .. } = self;
        write_partition(writer, partition);
        writer.u8(u8::from(*side == Side::Writer));
        write_end(writer, *end);
        writer.u64(whole_from.get());
        writer.u8(u8::from(*is_doubted));
        writer.u8(0);
        write_end(writer, anchor.unwrap_or_default());
        write_end(writer, self.blocks.back().copied().unwrap_or_default());
    }

    /// Reads what [`Self::write`] wrote.
    pub(super) fn read(reader: &mut Reader) -> Result<Self, CodecError> {
        let partition = read_partition(reader)?;
        let is_writer = read_flag(reader, "whether the node is the writer")?;
        let end = read_end(reader)?;
        let whole_from = Sequence::new(reader.u64("whole from")?);
        let is_doubted = read_flag(reader, "whether records are gone")?;
        // Version 1 had here whether entries came a second time.
        let _is_repeating = read_flag(reader, "whether entries come again")?;
        let [anchor, block] = [read_end(reader)?, read_end(reader)?];
        let known = |end: End| (end != End::default()).then_some(end);
        Ok(Self {
            end,
            is_doubted,
            anchor: known(anchor),
            blocks: known(block).into_iter().collect(),
            recent: VecDeque::from([end]),
            ..Self::new(partition, if is_writer { Side::Writer } else { Side::Holder }, whole_from)
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

fn read_flag(reader: &mut Reader, field: &'static str) -> Result<bool, CodecError> {
    let at = reader.position();
    match reader.u8(field)? {
        0 => Ok(false),
        1 => Ok(true),
        other => {
            let found = i64::from(other);
            Err(CodecError::Value { field, at, found, expected: "0 or 1" })
        }
    }
}
