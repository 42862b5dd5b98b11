//! Entries whose sequences lie below where their stream was.
//!
//! Such an entry is there a second time, or it is not: damage took the first one, and its writer
//! sent it again. Sums cannot tell, since they are of what was written and not of what is left. So
//! it is not counted, and looked up: the log is read up to it, and only where an entry before it
//! has some of its sequences it is there twice. Where a log does not begin at offset 0 what it held
//! may have been let go; there it has to hold something that was written before it.
//!
//! Cost: the log is read once for all that wait, about 100 bytes for each of them.

use std::collections::BTreeMap;

use headland_event::codec::{CodecError, Reader, Writer};
use headland_event::{
    Dot, Entry, Hole, Incarnation, Offset, PartitionIndex, Sequence, StreamId, TopicPartition,
};

use super::Life;
use super::digest::Digest;

/// Most entries that wait to be looked up; more are not compared.
const REPEATS_LIMIT: usize = 4_096;

/// An entry that came again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Repeat {
    pub(super) dot: Dot,
    /// What it comes to.
    pub(super) digest: Digest,
    /// Where it lies.
    base: Offset,
    /// Whether some of it lies in the log before it.
    is_twice: bool,
}

impl Repeat {
    fn of(entry: &Entry) -> Self {
        Self { dot: entry.dot, digest: Digest::of(entry), base: entry.base, is_twice: false }
    }

    /// The sequence after its last one.
    pub(super) fn end(&self) -> Sequence {
        self.dot.sequence.after(self.digest.records)
    }
}

/// Entries of one life that are looked up.
#[derive(Debug)]
struct Sought {
    repeats: Vec<Repeat>,
    /// All of them lie between.
    from: Sequence,
    to: Sequence,
    /// The lowest sequence that the log holds.
    lowest: Option<Sequence>,
}

/// The partition that is read, and how far that has come.
#[derive(Debug)]
struct Reading {
    partition: TopicPartition,
    next: Offset,
    until: Offset,
    sought: BTreeMap<Life, Sought>,
}

/// Entries that wait to be looked up, and those that are.
#[derive(Debug, Default)]
pub(super) struct Repeats {
    waiting: BTreeMap<TopicPartition, Vec<Repeat>>,
    reading: Option<Reading>,
    count: usize,
}

impl Repeats {
    pub(super) const fn new() -> Self {
        Self { waiting: BTreeMap::new(), reading: None, count: 0 }
    }

    /// An entry is to be looked up; whether there is room for it.
    pub(super) fn add(&mut self, partition: &TopicPartition, entry: &Entry) -> bool {
        let has_room = self.count < REPEATS_LIMIT;
        if has_room {
            self.waiting.entry(partition.clone()).or_default().push(Repeat::of(entry));
            self.count += 1;
        }
        has_room
    }

    /// Where the log is to be read next.
    pub(super) fn place(&mut self) -> Option<(TopicPartition, Offset)> {
        if self.reading.is_none() {
            let (partition, repeats) = self.waiting.pop_first()?;
            self.reading = Some(Reading::new(partition, repeats));
        }
        let Reading { partition, next, .. } = self.reading.as_ref()?;
        Some((partition.clone(), *next))
    }

    /// What was read; returns the partition and those that are there twice once that was all.
    /// `start` is where the log begins.
    pub(super) fn on_read(
        &mut self,
        entries: &[Entry],
        start: Offset,
    ) -> Option<(TopicPartition, Vec<Repeat>)> {
        let reading = self.reading.as_mut()?;
        entries.iter().for_each(|entry| reading.look_at(entry));
        let last = entries.last().map(Entry::end);
        reading.next = last.map_or(reading.until, |last| reading.next.max(last));
        if reading.next < reading.until {
            return None;
        }
        let Reading { partition, sought, .. } = self.reading.take()?;
        let all = sought.into_values().map(|of| (of.repeats.len(), of.twice(start)));
        let mut found = Vec::new();
        for (count, twice) in all {
            self.count -= count;
            found.extend(twice);
        }
        Some((partition, found))
    }

    /// What lies before `next` cannot be read; whether it goes on there.
    pub(super) fn pass_over(&mut self, next: Offset) -> bool {
        let reading = self.reading.as_mut().filter(|reading| reading.next < next);
        reading.map(|reading| reading.next = next).is_some()
    }

    /// What is looked up is given up; returns how many entries.
    pub(super) fn give_up(&mut self) -> usize {
        let sought = self.reading.take().map(|reading| reading.sought).unwrap_or_default();
        let count = sought.values().map(|of| of.repeats.len()).sum();
        self.count -= count;
        count
    }

    /// Appends: `u32 × { topic, partition u32, stream 16, incarnation 12, sequence u64, records
    /// u64, sum u64, base u64 }`.
    pub(super) fn write(&self, writer: &mut Writer) {
        writer.length(self.count);
        let waiting = self.waiting.iter().flat_map(|(at, of)| of.iter().map(move |it| (at, it)));
        let read = self.reading.iter().flat_map(|reading| {
            let all = reading.sought.values().flat_map(|of| &of.repeats);
            all.map(|it| (&reading.partition, it))
        });
        for (partition, Repeat { dot, digest, base, is_twice: _ }) in waiting.chain(read) {
            write_partition(writer, partition);
            writer.stream_id(dot.stream);
            writer.incarnation(dot.incarnation);
            let numbers = [dot.sequence.get(), digest.records, digest.sum, base.get()];
            numbers.into_iter().for_each(|number| writer.u64(number));
        }
    }

    /// Reads what [`Self::write`] wrote.
    pub(super) fn read(reader: &mut Reader) -> Result<Self, CodecError> {
        let mut repeats = Self::new();
        repeats.count = reader.length("repeated entries", REPEATS_LIMIT)?;
        for _ in 0..repeats.count {
            let partition = read_partition(reader)?;
            let (stream, incarnation): (StreamId, Incarnation) =
                (reader.stream_id("stream")?, reader.incarnation("incarnation")?);
            let sequence = Sequence::new(reader.u64("sequence")?);
            let digest = Digest { records: reader.u64("records")?, sum: reader.u64("sum")? };
            let base = Offset::new(reader.u64("base")?);
            let dot = Dot { stream, incarnation, sequence };
            let repeat = Repeat { dot, digest, base, is_twice: false };
            repeats.waiting.entry(partition).or_default().push(repeat);
        }
        Ok(repeats)
    }
}

impl Reading {
    fn new(partition: TopicPartition, repeats: Vec<Repeat>) -> Self {
        let until = repeats.iter().map(|repeat| repeat.base).max().unwrap_or_default();
        let mut sought: BTreeMap<Life, Sought> = BTreeMap::new();
        for repeat in repeats {
            let (from, to) = (repeat.dot.sequence, repeat.end());
            let of = sought.entry((repeat.dot.stream, repeat.dot.incarnation)).or_insert(Sought {
                repeats: Vec::new(),
                from,
                to,
                lowest: None,
            });
            (of.from, of.to) = (of.from.min(from), of.to.max(to));
            of.repeats.push(repeat);
        }
        Self { partition, next: Offset::new(0), until, sought }
    }

    fn look_at(&mut self, entry: &Entry) {
        let Dot { stream, incarnation, sequence: from } = entry.dot;
        let Some(of) = self.sought.get_mut(&(stream, incarnation)) else { return };
        of.lowest = Some(of.lowest.map_or(from, |lowest| lowest.min(from)));
        let to = from.after(entry.batch.span());
        if to <= of.from || of.to <= from || Hole::of(&entry.batch).is_some() {
            return;
        }
        for repeat in of.repeats.iter_mut().filter(|repeat| entry.base < repeat.base) {
            repeat.is_twice |= from < repeat.end() && repeat.dot.sequence < to;
        }
    }
}

impl Sought {
    /// Those that are there twice, in a log that begins at `start`.
    fn twice(self, start: Offset) -> impl Iterator<Item = Repeat> {
        let Self { repeats, lowest, .. } = self;
        let is_short = start > Offset::new(0);
        let may_be_let_go =
            move |repeat: &Repeat| is_short && lowest.is_none_or(|at| repeat.dot.sequence <= at);
        repeats.into_iter().filter(move |repeat| repeat.is_twice || may_be_let_go(repeat))
    }
}

/// Appends a partition.
pub(super) fn write_partition(writer: &mut Writer, partition: &TopicPartition) {
    writer.name(partition.topic.as_str());
    writer.u32(partition.partition.get());
}

/// Reads what [`write_partition`] wrote.
pub(super) fn read_partition(reader: &mut Reader) -> Result<TopicPartition, CodecError> {
    let topic = reader.name("audited topic")?;
    Ok(TopicPartition::new(topic, PartitionIndex::new(reader.u32("partition")?)))
}
