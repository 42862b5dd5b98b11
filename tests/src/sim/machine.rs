//! One node's disk, clock and commits on their way.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use headland_event::{
    ByteCount, Dot, Entry, Monotonic, Offset, Random, SeededRandom, TopicPartition,
};
use headland_storage::{
    Commit, Composed, LogReader, LogStore, MemoryDisk, MemoryStore, OpenOptions, StoredCommit,
    Survival,
};

use super::agenda::Life;

/// Small files, so that schedules get to the second one.
const FILE_BYTES: ByteCount = ByteCount::new(24 << 10);

/// Bytes of a journal read at once.
const REPLAY_BYTES: ByteCount = ByteCount::new(16 << 10);

/// A computer with its disk; the node on it comes and goes.
#[derive(Debug)]
pub(super) struct Machine<N> {
    disk: MemoryDisk,
    pub(super) life: Life,
    /// Milliseconds by which its wall clock is wrong.
    pub(super) skew: i64,
    pub(super) running: Option<Running<N>>,
    pub(super) ledger: Ledger,
}

/// A node at work.
#[derive(Debug)]
pub(super) struct Running<N> {
    pub(super) node: N,
    pub(super) store: MemoryStore,
    /// Commits that are not durable, in order.
    pub(super) queue: VecDeque<Composed>,
    pub(super) is_disk_busy: bool,
    pub(super) timer: Option<Monotonic>,
}

impl<N> Running<N> {
    pub(super) const fn new(node: N, store: MemoryStore) -> Self {
        Self { node, store, queue: VecDeque::new(), is_disk_busy: false, timer: None }
    }
}

/// What a node was told is durable.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Ledger {
    pub(super) ends: BTreeMap<TopicPartition, Vec<(Offset, Dot)>>,
    pub(super) dots: BTreeSet<Dot>,
}

impl Ledger {
    pub(super) fn note(&mut self, entries: &[(TopicPartition, Entry)]) {
        for (partition, entry) in entries {
            self.ends.entry(partition.clone()).or_default().push((entry.end(), entry.dot));
            self.dots.insert(entry.dot);
        }
    }

    /// Entries of a partition that lie after an offset and before or at another one.
    pub(super) fn between(
        &self,
        partition: &TopicPartition,
        after: Offset,
        until: Offset,
    ) -> impl Iterator<Item = (Offset, Dot)> {
        let entries = self.ends.get(partition).into_iter().flatten().copied();
        entries.filter(move |(end, _)| *end > after && *end <= until)
    }

    /// What stood here and is not there, in the order of partitions.
    fn lost(&self, now: &Self) -> Option<(TopicPartition, Offset)> {
        self.ends.iter().find_map(|(partition, entries)| {
            let kept = now.ends.get(partition).map_or(&[][..], Vec::as_slice);
            let differs = (0..entries.len()).find(|at| entries.get(*at) != kept.get(*at))?;
            Some((partition.clone(), entries[differs].0))
        })
    }
}

impl<N> Machine<N> {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            disk: MemoryDisk::new(seed),
            life: 0,
            skew: 0,
            running: None,
            ledger: Ledger::default(),
        }
    }

    /// Opens the disk; returns what it holds, and what was durable and is not there.
    pub(super) fn open(
        &mut self,
        nonce: u64,
    ) -> (MemoryStore, Vec<StoredCommit>, Option<(TopicPartition, Offset)>) {
        let options = OpenOptions {
            file_bytes: FILE_BYTES,
            reserve_bytes: ByteCount::new(0),
            ..OpenOptions::new(nonce)
        };
        let store = MemoryStore::open(&self.disk, options).expect("a disk opens after a crash");
        let commits = commits_of(&store);
        let mut found = Ledger::default();
        commits.iter().for_each(|commit| found.note(&commit.entries));
        let lost = self.ledger.lost(&found);
        self.ledger = found;
        self.life += 1;
        (store, commits, lost)
    }

    /// Makes the first commits of the queue durable; returns them with their first number.
    pub(super) fn append(&mut self, random: &mut SeededRandom) -> Vec<(Composed, u64)> {
        let Some(running) = &mut self.running else { return Vec::new() };
        let waiting = u64::try_from(running.queue.len()).unwrap();
        let count = usize::try_from(1 + random.below(waiting)).unwrap();
        let group: Vec<Composed> = running.queue.drain(..count).collect();
        let commits: Vec<Commit> = group.iter().map(|of| of.commit.clone()).collect();
        let first = running.store.append(&commits).expect("a disk with power takes commits").first;
        commits.iter().for_each(|commit| self.ledger.note(&commit.entries));
        group.into_iter().zip(first.get()..).collect()
    }

    /// Takes the power away, perhaps in the middle of a write.
    pub(super) fn crash(&mut self, random: &mut SeededRandom) {
        let Some(mut running) = self.running.take() else { return };
        let waiting: Vec<Commit> = running.queue.into_iter().map(|of| of.commit).collect();
        if !waiting.is_empty() && random.below(2) == 0 {
            self.disk.cut_power_after(ByteCount::new(random.below(4_000)));
            // Whether the group is there afterwards is what recovery has to find out.
            drop(running.store.append(&waiting));
        }
        let survival = match random.below(4) {
            0 => Survival::Nothing,
            1 => Survival::Everything,
            _ => Survival::Seeded,
        };
        self.disk.crash(survival);
    }

    /// Loses whatever is not durable.
    pub(super) fn crash_hard(&mut self) {
        self.running = None;
        self.disk.crash(Survival::Nothing);
    }
}

/// Every commit of a store, in order.
pub(super) fn commits_of(store: &MemoryStore) -> Vec<StoredCommit> {
    let reader = store.reader();
    let mut commits: Vec<StoredCommit> = Vec::new();
    let mut next = headland_event::CommitNumber::new(1);
    while next <= reader.last_commit() {
        let more = reader.replay(next, REPLAY_BYTES).expect("a journal in memory can be read");
        commits.extend(more.commits);
        next = more.next;
    }
    commits
}
