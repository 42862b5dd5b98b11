//! Which records of a compacted partition a later one of the same key took the place of.
//!
//! A *round* reads the compacted partitions from start to end, in steps of the cleaner's budget,
//! and notes the newest record of each key. A record before that is dead; so is a tombstone that
//! was kept for its time, once nothing older of its key is left in files before the ones copied.
//! The round counts the dead bytes of each file, which makes the cleaner copy those with few live
//! ones, and knows the dead records while it does. It holds a bounded number of keys: of those that
//! did not fit, every record counts as live. The next round begins with the partition behind the
//! one that was too large, of which only the keys of its beginning are ever compacted.
//!
//! A round begins when the journal has grown by half of what the last one read, so all rounds
//! together read at most two bytes for each byte appended, and again when the tombstones of the
//! last one have had their time. The first of a run begins with its first cleaning.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use headland_event::{ByteCount, Entry, EventTime, Offset, RecordRef, TopicPartition};

use crate::cleaning::CleanError;
use crate::cleaning::pass::ENTRY_OVERHEAD;
use crate::cleaning::policy::CleanPolicy;
use crate::cleaning::runs;
use crate::group::byte_count;
use crate::journal::install::{ClosedFile, HeldShare};
use crate::log::{LogReader, ReadError};

/// Memory for keys, which are held only while cleaning works: 100,000 of 20 bytes fit.
const KEYS_BYTES_MAX: usize = 12 << 20;
/// What a key costs besides its own bytes.
const KEY_OVERHEAD: usize = 100;
/// Bytes of a partition read at once.
const READ_BYTES: ByteCount = ByteCount::mebibytes(1);

/// The newest record of a key.
#[derive(Debug, Clone, Copy)]
struct Newest {
    offset: Offset,
    /// Offset of the oldest record of the key, which may still stand in its file.
    oldest: Offset,
    /// Its share of its entry.
    size: u64,
    /// Of a tombstone: when it may go.
    expires: Option<EventTime>,
}

/// Finds the records that are dead by their keys.
#[derive(Debug, Default)]
pub(super) struct Compactor {
    keys: BTreeMap<TopicPartition, BTreeMap<Bytes, Newest>>,
    keys_bytes: usize,
    /// Where the files that may be cleaned hold what: first offset, the one after the last, nonce.
    shares: BTreeMap<TopicPartition, BTreeMap<Offset, (Offset, u64)>>,
    /// Dead bytes of files, by their nonces.
    dead: BTreeMap<u64, u64>,
    reading: Option<Reading>,
    /// The partition that did not fit the round before; the next one begins behind it, so that one
    /// with more keys than fit holds up no other.
    full: Option<TopicPartition>,
    next_round: NextRound,
    /// Whether a record that is dead could not be taken out since the last round.
    is_stuck: AtomicBool,
}

/// When another round is due.
#[derive(Debug, Clone, Copy, Default)]
struct NextRound {
    /// Once so many bytes were appended in this run.
    appended: u64,
    /// Or once every tombstone that the last round found has had its time.
    expires: Option<EventTime>,
}

/// Where a round is.
#[derive(Debug)]
struct Reading {
    left: VecDeque<TopicPartition>,
    next: Offset,
    read: u64,
}

/// What a round goes by.
pub(super) struct Ground<'a, F> {
    pub(super) policy: &'a CleanPolicy,
    pub(super) now: EventTime,
    /// Files that may be cleaned.
    pub(super) files: &'a [ClosedFile<F>],
    /// Bytes appended in this run.
    pub(super) appended: u64,
}

impl Compactor {
    /// Goes on with a round, or begins one that is due; says how many bytes were read, `None` when
    /// there is nothing to do.
    pub(super) fn step<F>(
        &mut self,
        reader: &impl LogReader,
        ground: &Ground<'_, F>,
    ) -> Result<Option<u64>, CleanError> {
        let Some(reading) = &mut self.reading else {
            return Ok(self.begin(reader, ground).then_some(0));
        };
        let Some(partition) = reading.left.front().cloned() else {
            self.end(ground);
            return Ok(Some(0));
        };
        let entries = match reader.read(&partition, reading.next, READ_BYTES) {
            Ok(entries) => entries,
            // What is damaged can neither be superseded nor supersede anything.
            Err(ReadError::Quarantined { until, .. }) => {
                reading.next = until;
                return Ok(Some(0));
            }
            Err(error) => return Err(CleanError::Read(error)),
        };
        let Some(last) = entries.last() else {
            reading.left.pop_front();
            reading.next = Offset::new(0);
            return Ok(Some(0));
        };
        reading.next = last.end();
        let read = entries.iter().map(|entry| byte_count(entry.batch.as_bytes().len()).get()).sum();
        reading.read += read;
        for entry in &entries {
            self.note(&partition, entry, ground);
        }
        if self.keys_bytes > KEYS_BYTES_MAX {
            self.full = Some(partition);
            self.end(ground);
        }
        Ok(Some(read))
    }

    fn begin<F>(&mut self, reader: &impl LogReader, ground: &Ground<'_, F>) -> bool {
        let NextRound { appended, expires } = self.next_round;
        let is_expired = expires.is_some_and(|at| at <= ground.now);
        if ground.appended < appended && !is_expired {
            return false;
        }
        let is_compacted =
            |partition: &TopicPartition| ground.policy.compaction(&partition.topic).is_some();
        let mut left: VecDeque<_> = reader.partitions().into_iter().filter(is_compacted).collect();
        if left.is_empty() {
            return false;
        }
        if let Some(full) = self.full.take() {
            left.rotate_left(left.partition_point(|partition| *partition <= full) % left.len());
        }
        self.forget();
        for file in ground.files {
            for HeldShare { partition, base, end, .. } in &file.shares {
                let places = self.shares.entry(partition.clone()).or_default();
                places.insert(*base, (*end, file.source.nonce));
            }
        }
        self.next_round = NextRound::default();
        self.reading = Some(Reading { left, next: Offset::new(0), read: 0 });
        true
    }

    fn end<F>(&mut self, ground: &Ground<'_, F>) {
        let Some(Reading { read, .. }) = self.reading.take() else { return };
        let appended = ground.appended.saturating_add((read / 2).max(1));
        let mut pending = None;
        let mut expired = Vec::new();
        for (partition, keys) in &self.keys {
            for newest in keys.values() {
                match newest.expires {
                    Some(at) if at <= ground.now => expired.push((partition.clone(), *newest)),
                    at => pending = pending.max(at),
                }
            }
        }
        for (partition, newest) in expired {
            self.count_dead(&partition, newest, ground.policy);
        }
        self.next_round = NextRound { appended, expires: pending };
    }

    /// Takes in the records of an entry, the next one of its partition.
    fn note<F>(&mut self, partition: &TopicPartition, entry: &Entry, ground: &Ground<'_, F>) {
        let Some(compaction) = ground.policy.compaction(&partition.topic) else { return };
        let Ok(contents) = entry.batch.contents() else { return };
        let size = entry.batch.as_bytes().len() + ENTRY_OVERHEAD;
        let size = byte_count(size / entry.batch.len().max(1)).get();
        let mut dead = Vec::new();
        let keys = self.keys.entry(partition.clone()).or_default();
        for record in contents.iter().map_while(Result::ok) {
            let Some(key) = record.key() else { continue };
            let offset = entry.base.at(record.delta());
            let expires =
                record.value().is_none().then(|| record.time().plus(compaction.tombstones));
            let newest = Newest { offset, oldest: offset, size, expires };
            if let Some(known) = keys.get_mut(key) {
                debug_assert!(known.offset < offset, "a round reads in order");
                let oldest = known.oldest;
                dead.push(std::mem::replace(known, Newest { oldest, ..newest }));
            } else {
                self.keys_bytes += key.len() + KEY_OVERHEAD;
                keys.insert(Bytes::copy_from_slice(key), newest);
            }
        }
        for newest in dead {
            self.count_dead(partition, newest, ground.policy);
        }
    }

    fn count_dead(&mut self, partition: &TopicPartition, dead: Newest, policy: &CleanPolicy) {
        if !is_received(policy, partition, dead.offset) {
            return;
        }
        let places = self.shares.get(partition);
        let place = places.and_then(|places| places.range(..=dead.offset).next_back());
        if let Some((_, (end, nonce))) = place
            && dead.offset < *end
        {
            *self.dead.entry(*nonce).or_default() += dead.size;
        }
    }

    /// Bytes of a file that are dead by their keys, as far as the last round found out.
    pub(super) fn dead_bytes(&self, nonce: u64) -> u64 {
        self.dead.get(&nonce).copied().unwrap_or_default()
    }

    /// Lets go of what the last round found.
    pub(super) fn forget(&mut self) {
        self.keys.clear();
        self.keys_bytes = 0;
        self.shares.clear();
        self.dead.clear();
        self.is_stuck.store(false, Ordering::Relaxed);
    }

    /// What is left of an entry in a copy of files that hold its partition from `base` on.
    pub(super) fn left(
        &self,
        (partition, entry): (&TopicPartition, Entry),
        (policy, now): (&CleanPolicy, EventTime),
        base: Offset,
    ) -> Entry {
        let Some(keys) = self.keys.get(partition) else { return entry };
        if policy.compaction(&partition.topic).is_none() {
            return entry;
        }
        let is_dead = |record: &RecordRef<'_>| {
            let offset = entry.base.at(record.delta());
            let newest = record.key().and_then(|key| keys.get(key));
            newest.is_some_and(|newest| {
                offset < newest.offset || offset == newest.offset && self.may_go(newest, now, base)
            }) && is_received(policy, partition, offset)
        };
        match entry.batch.retain(|record| !is_dead(record)) {
            Ok(Some(batch)) => Entry { batch, ..entry },
            Ok(None) => runs::hole(&entry).unwrap_or(entry),
            // It reads badly, or would be larger than it was.
            Err(_) => {
                self.is_stuck.store(true, Ordering::Relaxed);
                entry
            }
        }
    }

    /// Whether the newest record of a key may go: it is a tombstone that has had its time, and all
    /// that it deletes goes with it. In a file before the copy an older value would come back.
    fn may_go(&self, newest: &Newest, now: EventTime, base: Offset) -> bool {
        let is_expired = newest.expires.is_some_and(|at| at <= now);
        is_expired && base <= newest.oldest && !self.is_stuck.load(Ordering::Relaxed)
    }
}

/// Whether every linked receiver of a partition has an offset.
fn is_received(policy: &CleanPolicy, partition: &TopicPartition, offset: Offset) -> bool {
    let hold = policy.receivers.get(partition).and_then(|receivers| receivers.hold);
    hold.is_none_or(|hold| offset < hold)
}
