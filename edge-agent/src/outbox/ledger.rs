//! What the outbox holds, block by block, and what of it goes when there is too much.
//!
//! ```text
//!   start ≤ marked to go ≤ acknowledged │ marked to be shed ≤ newest block
//! ```
//! Blocks only go from the front of their partition. The newest one stays whatever happens: what
//! stands behind a hole says which records are gone. Age is counted in the time the agent has run,
//! over restarts, and not by the wall clock: a device that starts in 1970 and learns the date an
//! hour later has not become fifty years older.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use headland_event::codec::{CodecError, Reader, Writer};
use headland_event::{ByteCount, Lane, Offset, PartitionIndex, TopicName, TopicPartition};
use headland_storage::{CleanPolicy, Retention, Shed, ShedBy};

/// Largest block; with fewer bytes per block more is remembered, with more too much goes at once.
const BLOCK_BYTES_MAX: u64 = 64 << 10;

/// Blocks that a full outbox is made of, at least.
const BLOCKS_MIN: u64 = 64;

/// The share of the limit that shedding frees beyond it: an eighth, so that it is done in strides.
const STRIDE: u64 = 8;

/// How much an outbox keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of what the hub has not acknowledged.
    pub bytes: ByteCount,
    /// Age of what the hub has not acknowledged.
    pub age: Duration,
    /// Bytes of what the hub has acknowledged, to refill one that lost its disk.
    pub kept_bytes: ByteCount,
    /// Age of what the hub has acknowledged.
    pub kept_age: Duration,
}

/// Batches that follow each other and go together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Block {
    end: Offset,
    bytes: u64,
    /// How long the agent had run when the newest batch was written.
    at: Duration,
}

/// What is held of one partition.
#[derive(Debug, PartialEq, Eq)]
struct Held {
    lane: Lane,
    start: Offset,
    acked: Offset,
    blocks: VecDeque<Block>,
    /// Blocks from the front that are to go.
    marked: usize,
    /// Why the last of them goes when nobody has it.
    shed: Option<ShedBy>,
}

/// What the outbox holds.
#[derive(Debug)]
pub struct Ledger {
    limits: Limits,
    block_bytes: u64,
    partitions: BTreeMap<TopicPartition, Held>,
}

impl Held {
    const fn new(lane: Lane, start: Offset) -> Self {
        let blocks = VecDeque::new();
        Self { lane, start, acked: Offset::new(0), blocks, marked: 0, shed: None }
    }

    fn end(&self) -> Offset {
        self.blocks.back().map_or(self.start, |block| block.end)
    }

    /// Bytes that stay so far and are acknowledged, or are not.
    fn bytes(&self, is_acked: impl Fn(bool) -> bool) -> u64 {
        let staying = self.blocks.iter().skip(self.marked);
        staying.filter(|block| is_acked(block.end <= self.acked)).map(|block| block.bytes).sum()
    }

    /// The block that would go next; never the newest.
    fn next(&self) -> Option<Block> {
        let next = self.blocks.get(self.marked).copied();
        next.filter(|_| self.marked + 1 < self.blocks.len())
    }

    fn mark(&mut self, by: ShedBy) {
        let is_acked = self.blocks.get(self.marked).is_none_or(|block| block.end <= self.acked);
        self.marked += 1;
        self.shed = if is_acked { self.shed } else { Some(by) };
        debug_assert!(self.marked < self.blocks.len(), "the newest block stays");
    }

    fn marked_end(&self) -> Option<Offset> {
        self.blocks.get(self.marked.checked_sub(1)?).map(|block| block.end)
    }
}

impl Ledger {
    /// An outbox that holds nothing.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        let block_bytes = (limits.bytes.get() / BLOCKS_MIN).clamp(1, BLOCK_BYTES_MAX);
        Self { limits, block_bytes, partitions: BTreeMap::new() }
    }

    /// A batch was written, or is found in the log; one that is known already changes nothing.
    pub fn on_batch(
        &mut self,
        (partition, lane): (&TopicPartition, Lane),
        end: Offset,
        bytes: ByteCount,
        at: Duration,
    ) {
        let held = self.held(partition, lane);
        held.lane = lane;
        if end <= held.end() {
            return;
        }
        let bytes = bytes.get();
        let block_bytes = self.block_bytes;
        let held = self.held(partition, lane);
        match held.blocks.back_mut() {
            Some(last) if last.bytes.saturating_add(bytes) <= block_bytes => {
                *last = Block { end, bytes: last.bytes + bytes, at: last.at.max(at) };
            }
            Some(_) | None => held.blocks.push_back(Block { end, bytes, at }),
        }
    }

    /// The hub has everything of a partition before `next` on disk.
    pub fn on_acked(&mut self, partition: &TopicPartition, next: Offset) {
        if let Some(held) = self.partitions.get_mut(partition) {
            held.acked = next;
        }
    }

    /// A partition starts at `start` now.
    pub fn on_start(&mut self, (partition, lane): (&TopicPartition, Lane), start: Offset) {
        let held = self.held(partition, lane);
        held.start = held.start.max(start);
        while held.blocks.pop_front_if(|block| block.end <= start).is_some() {
            held.marked = held.marked.saturating_sub(1);
        }
        if held.marked == 0 {
            held.shed = None;
        }
    }

    fn held(&mut self, partition: &TopicPartition, lane: Lane) -> &mut Held {
        self.partitions.entry(partition.clone()).or_insert_with(|| Held::new(lane, Offset::new(0)))
    }

    /// Where a partition starts.
    #[must_use]
    pub fn start(&self, partition: &TopicPartition) -> Offset {
        self.partitions.get(partition).map_or(Offset::new(0), |held| held.start)
    }

    /// How far the hub has a partition: everything before it is durable there, or gone.
    #[must_use]
    pub fn acked(&self, partition: &TopicPartition) -> Offset {
        let held = self.partitions.get(partition);
        held.map_or(Offset::new(0), |held| held.acked.max(held.start))
    }

    /// How far each partition is acknowledged.
    pub fn all_acked(&self) -> impl Iterator<Item = (TopicPartition, Offset)> {
        self.partitions.iter().map(|(partition, held)| (partition.clone(), held.acked))
    }

    /// Bytes that the hub has not acknowledged and that are not to be shed.
    #[must_use]
    pub fn unacked_bytes(&self) -> ByteCount {
        let unacked = |held: &Held| held.bytes(|is_acked| !is_acked);
        ByteCount::new(self.partitions.values().map(unacked).sum())
    }

    /// Bytes that the hub has acknowledged and that are kept all the same.
    #[must_use]
    pub fn kept_bytes(&self) -> ByteCount {
        let acked = |held: &Held| held.bytes(|is_acked| is_acked);
        ByteCount::new(self.partitions.values().map(acked).sum())
    }

    /// Whether it holds all that it may; then nothing more is taken before something has gone.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.unacked_bytes() >= self.limits.bytes
    }

    /// Whether nothing is held that could ever go.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.partitions.values().all(|held| held.blocks.len() <= 1)
    }

    /// Decides what goes at `now`; returns whether anything more does.
    pub fn plan(&mut self, now: Duration) -> bool {
        let marked = |ledger: &Self| ledger.partitions.values().map(|held| held.marked).sum();
        let before: usize = marked(self);
        self.plan_age(now);
        self.plan_shedding();
        self.plan_kept(now);
        marked(self) > before
    }

    /// What nobody has, and is older than is kept.
    fn plan_age(&mut self, now: Duration) {
        let age = self.limits.age;
        for held in self.partitions.values_mut().filter(|held| held.lane != Lane::Alerts) {
            while held.next().is_some_and(|block| now.saturating_sub(block.at) > age) {
                held.mark(ShedBy::Time);
            }
        }
    }

    /// What nobody has, beyond the bytes that are kept: oldest telemetry first, then oldest state.
    fn plan_shedding(&mut self) {
        let limit = self.limits.bytes.get();
        let mut unacked = self.unacked_bytes().get();
        if unacked < limit {
            return;
        }
        let goal = limit - limit / STRIDE;
        for lane in [Lane::Telemetry, Lane::State] {
            while unacked > goal {
                let Some(held) = self.oldest(|held| held.lane == lane) else { break };
                let block = held.next().filter(|block| block.end > held.acked);
                held.mark(ShedBy::Bytes);
                unacked -= block.map_or(0, |block| block.bytes);
            }
        }
    }

    /// What the hub has, beyond what is kept to refill it.
    fn plan_kept(&mut self, now: Duration) {
        let left = self.limits.bytes.get().saturating_sub(self.unacked_bytes().get());
        let limit = self.limits.kept_bytes.get().min(left);
        let (age, mut kept) = (self.limits.kept_age, self.kept_bytes().get());
        let is_acked = |held: &Held| held.next().is_some_and(|block| block.end <= held.acked);
        while let Some(held) = self.oldest(is_acked) {
            let Some(block) = held.next() else { return };
            if kept <= limit && now.saturating_sub(block.at) <= age {
                return;
            }
            held.mark(ShedBy::Bytes);
            kept -= block.bytes;
        }
    }

    /// The partition with the oldest block that may go next, of those that fit.
    fn oldest(&mut self, fits: impl Fn(&Held) -> bool) -> Option<&mut Held> {
        let held = self.partitions.values_mut().filter(|held| fits(held));
        let next = held.filter_map(|held| Some((held.next()?.at, held)));
        next.min_by_key(|(at, _)| *at).map(|(_, held)| held)
    }

    /// What the log may let go.
    #[must_use]
    pub fn policy(&self) -> CleanPolicy {
        let mut policy = CleanPolicy::default();
        for (partition, held) in &self.partitions {
            policy.hold(partition.clone(), held.acked);
            let Some(end) = held.marked_end() else { continue };
            policy.trim(partition.clone(), end.min(held.acked), Retention::NOTHING);
            if let Some(by) = held.shed {
                policy.shed(partition.clone(), Shed { to: end, by });
            }
        }
        policy
    }

    /// `uptime u64 ms │ partitions u32, for each { topic name │ start u64 │ acked u64 │ blocks u32,
    /// for each { end u64 │ bytes u64 │ at u64 ms } }`.
    #[must_use]
    pub fn encode(&self, uptime: Duration) -> Bytes {
        let mut writer = Writer::new();
        writer.u64(millis(uptime));
        writer.length(self.partitions.len());
        for (partition, held) in &self.partitions {
            // What is to go is decided again, and by what lane: the configuration may have changed.
            let Held { lane: _, start, acked, blocks, marked: _, shed: _ } = held;
            writer.name(partition.topic.as_str());
            writer.u64(start.get());
            writer.u64(acked.get());
            writer.length(blocks.len());
            for Block { end, bytes, at } in blocks {
                writer.u64(end.get());
                writer.u64(*bytes);
                writer.u64(millis(*at));
            }
        }
        writer.finish()
    }

    /// Takes up what an earlier run held; returns how long the agent had run by then.
    ///
    /// # Errors
    /// [`CodecError`] when the bytes are not of the layout; nothing changes.
    pub fn restore(
        &mut self,
        bytes: Bytes,
        lane: impl Fn(&TopicName) -> Lane,
    ) -> Result<Duration, CodecError> {
        let mut reader = Reader::new(bytes);
        let uptime = Duration::from_millis(reader.u64("uptime")?);
        let mut partitions = BTreeMap::new();
        for _ in 0..reader.length("partitions", reader.remaining())? {
            let topic: TopicName = reader.name("topic")?;
            let mut held = Held::new(lane(&topic), Offset::new(reader.u64("start")?));
            held.acked = Offset::new(reader.u64("acknowledged")?);
            for _ in 0..reader.length("blocks", reader.remaining())? {
                let end = Offset::new(reader.u64("end")?);
                let (bytes, at) = (reader.u64("bytes")?, reader.u64("at")?);
                held.blocks.push_back(Block { end, bytes, at: Duration::from_millis(at) });
            }
            partitions.insert(TopicPartition::new(topic, PartitionIndex::new(0)), held);
        }
        reader.end()?;
        // The log knows better where partitions start by now.
        for (partition, known) in std::mem::replace(&mut self.partitions, partitions) {
            self.on_start((&partition, known.lane), known.start);
        }
        Ok(uptime)
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
