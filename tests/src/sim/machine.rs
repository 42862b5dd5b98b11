//! One node's disk, clock and commits on their way.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use headland_event::{
    ByteCount, CommitNumber, Dot, DropPolicy, Entry, EventTime, Hole, Incarnation, Monotonic,
    Offset, Random, SeededRandom, TopicPartition,
};
use headland_storage::{
    CleanPolicy, CleanReport, Cleaning, Commit, Composed, LogReader, LogStore, MemoryDisk,
    MemoryStore, OnCopy, OpenOptions, StateMarks, StoredCommit, Survival,
};

use super::agenda::Life;
use super::topology::CopyOf;

/// Where a copy of a data directory lies; others lie at 1.
const COPYS_PLACE: u64 = 2;

/// Small files, so that schedules get to the second one.
const FILE_BYTES: ByteCount = ByteCount::new(24 << 10);

/// Bytes that one call cleans at most: less than there may be, so that passes are in steps.
const CLEAN_BYTES: ByteCount = ByteCount::new(64 << 10);

/// Files of which a little less counts are cleaned: a schedule has no time for half of one.
const LIVE_PERCENT: u8 = 98;

/// Bytes of a journal read at once.
const REPLAY_BYTES: ByteCount = ByteCount::new(16 << 10);

/// A computer with its disk; the node on it comes and goes.
#[derive(Debug)]
pub(super) struct Machine<N> {
    disk: MemoryDisk,
    pub(super) life: Life,
    /// Milliseconds by which its wall clock is wrong.
    pub(super) skew: i64,
    /// Whether that clock ever was behind.
    pub(super) was_slow: bool,
    pub(super) running: Option<Running<N>>,
    pub(super) ledger: Ledger,
    /// Every commit that was durable, as it was written: cleaning takes away what checks need.
    archive: BTreeMap<CommitNumber, StoredCommit>,
    backup: Option<Backup>,
    /// The data directory that this one was copied to, or from; either goes on with it.
    copy: Option<Copied>,
    /// The life that runs on it, and the one before.
    pub(super) lives: [Option<Incarnation>; 2],
    /// What whoever runs on this data directory heard that hubs have of it.
    pub(super) told: Told,
}

/// Until where hubs said that they have partitions of a node.
pub(super) type Told = BTreeMap<TopicPartition, Offset>;

/// A copy of a disk.
#[derive(Debug)]
struct Backup {
    disk: MemoryDisk,
    archive: BTreeMap<CommitNumber, StoredCommit>,
}

/// A data directory that is not in use now.
#[derive(Debug)]
struct Copied {
    disk: MemoryDisk,
    ledger: Ledger,
    archive: BTreeMap<CommitNumber, StoredCommit>,
    told: Told,
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
    /// What compaction took out whole: first offset and the one after the last.
    compacted: BTreeMap<TopicPartition, Vec<(Offset, Offset)>>,
}

impl Ledger {
    pub(super) fn note(&mut self, entries: &[(TopicPartition, Entry)]) {
        for (partition, entry) in entries {
            let hole = Hole::of(&entry.batch);
            if hole.is_some_and(|hole| hole.policy == DropPolicy::Compacted) {
                let holes = self.compacted.entry(partition.clone()).or_default();
                holes.push((entry.base, entry.end()));
                continue;
            }
            self.ends.entry(partition.clone()).or_default().push((entry.end(), entry.dot));
            self.dots.insert(entry.dot);
        }
    }

    /// The first dot of a partition's last entry.
    pub(super) fn last(&self, partition: &TopicPartition) -> Option<Dot> {
        self.ends.get(partition)?.last().map(|(_, dot)| *dot)
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

    /// What stood here at or after the starts of partitions and is not there, in their order.
    fn lost(
        &self,
        now: &Self,
        start: impl Fn(&TopicPartition) -> Offset,
    ) -> Option<(TopicPartition, Offset)> {
        self.ends.iter().find_map(|(partition, entries)| {
            let start = start(partition);
            let holes = now.compacted.get(partition).map_or(&[][..], Vec::as_slice);
            let is_in_hole =
                |end: Offset| holes.iter().any(|(from, until)| *from < end && end <= *until);
            let is_kept = |(end, _): &&(Offset, Dot)| *end > start && !is_in_hole(*end);
            let found = now.ends.get(partition).into_iter().flatten();
            let mut found = found.filter(is_kept);
            let lost = entries.iter().filter(is_kept).find(|entry| found.next() != Some(*entry))?;
            Some((partition.clone(), lost.0))
        })
    }
}

impl<N> Machine<N> {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            disk: MemoryDisk::new(seed),
            life: 0,
            skew: 0,
            was_slow: false,
            running: None,
            ledger: Ledger::default(),
            archive: BTreeMap::new(),
            backup: None,
            copy: None,
            lives: [None, None],
            told: Told::new(),
        }
    }

    /// Copies what is durable.
    pub(super) fn back_up(&mut self) {
        let disk = self.disk.fork();
        disk.crash(Survival::Nothing);
        self.backup = Some(Backup { disk, archive: self.archive.clone() });
    }

    /// The disk is taken for a copy of itself, which has no identity.
    pub(super) fn forget_identity(&mut self) {
        self.disk.remove("identity");
    }

    /// Copies what is durable, and who it is.
    pub(super) fn copy(&mut self, how: CopyOf) {
        let disk = self.disk.fork();
        disk.crash(Survival::Nothing);
        match how {
            CopyOf::Files => disk.move_to(COPYS_PLACE),
            CopyOf::Image => {}
        }
        let (ledger, archive) = (self.ledger.clone(), self.archive.clone());
        // What was said before is about what both have.
        self.copy = Some(Copied { disk, ledger, archive, told: Told::new() });
    }

    /// The copy is used from now on, by who is started next. Returns whether there is one.
    pub(super) fn swap(&mut self) -> bool {
        let Some(Copied { disk, ledger, archive, told }) = &mut self.copy else { return false };
        self.running = None;
        std::mem::swap(&mut self.disk, disk);
        std::mem::swap(&mut self.ledger, ledger);
        std::mem::swap(&mut self.archive, archive);
        std::mem::swap(&mut self.told, told);
        true
    }

    /// Every commit that was durable on the data directory that is not in use.
    pub(super) fn commits_of_copy(&self) -> Vec<StoredCommit> {
        self.copy.iter().flat_map(|copy| copy.archive.values()).cloned().collect()
    }

    /// What whoever used the data directory that is not in use heard that hubs have of it.
    pub(super) fn told_of_copy(&self) -> Option<&Told> {
        self.copy.as_ref().map(|copy| &copy.told)
    }

    /// An empty disk comes in the place of this one.
    pub(super) fn lose_disk(&mut self, seed: u64) {
        (self.running, self.disk) = (None, MemoryDisk::new(seed));
        (self.ledger, self.archive) = Default::default();
    }

    /// The disk is as the copy of it says, which has no identity, as a backup has none. Returns
    /// whether there was a copy.
    pub(super) fn restore(&mut self) -> bool {
        let Some(backup) = &self.backup else { return false };
        (self.running, self.disk) = (None, backup.disk.fork());
        self.disk.remove("identity");
        (self.ledger, self.archive) = (Ledger::default(), backup.archive.clone());
        true
    }

    /// Every commit that was durable, in order.
    pub(super) fn commits(&self) -> Vec<StoredCommit> {
        self.archive.values().cloned().collect()
    }

    /// Opens the disk; returns what it holds, and what was durable and is not there.
    pub(super) fn open(
        &mut self,
        nonce: u64,
    ) -> (MemoryStore, Vec<StoredCommit>, Option<(TopicPartition, Offset)>) {
        let options = OpenOptions {
            file_bytes: FILE_BYTES,
            reserve_bytes: ByteCount::new(0),
            // As agents and hubs do.
            on_copy: OnCopy::NewLife,
            ..OpenOptions::new(nonce)
        };
        let store = MemoryStore::open(&self.disk, options).expect("a disk opens after a crash");
        let commits = commits_of(&store);
        let mut found = Ledger::default();
        commits.iter().for_each(|commit| found.note(&commit.entries));
        let reader = store.reader();
        let lost = self.ledger.lost(&found, |partition| reader.start(partition));
        self.archive.retain(|number, _| *number <= reader.last_commit());
        for commit in &commits {
            self.archive.entry(commit.number).or_insert_with(|| commit.clone());
        }
        self.ledger = Ledger::default();
        self.archive.values().for_each(|commit| self.ledger.note(&commit.entries));
        self.life += 1;
        let [current, _] = self.lives;
        if current != Some(store.incarnation()) {
            self.lives = [Some(store.incarnation()), current];
        }
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
        for (Commit { entries, state }, number) in commits.into_iter().zip(first.get()..) {
            let number = CommitNumber::new(number);
            self.archive.insert(number, StoredCommit { number, entries, state });
        }
        group.into_iter().zip(first.get()..).collect()
    }

    /// Cleans the journal as the writer would. `None` when the power fails after so many bytes as
    /// `cut` says, which the caller has to go on with.
    pub(super) fn clean(
        &mut self,
        policy: &CleanPolicy,
        wall: EventTime,
        cut: Option<ByteCount>,
    ) -> Option<CleanReport> {
        let running = self.running.as_mut()?;
        if let Some(after) = cut {
            self.disk.cut_power_after(after);
        }
        let marked = running.store.mark_state();
        let policy = CleanPolicy { live_percent: LIVE_PERCENT, ..policy.clone() };
        let cleaned = running.store.clean(&policy, wall, CLEAN_BYTES);
        if cut.is_some() {
            return None;
        }
        marked.expect("a disk with power takes a mark");
        Some(cleaned.expect("a disk with power is cleaned"))
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

/// Every commit that a store still has, in order.
pub(super) fn commits_of(store: &MemoryStore) -> Vec<StoredCommit> {
    let reader = store.reader();
    let mut commits: Vec<StoredCommit> = Vec::new();
    let mut next = CommitNumber::new(1);
    while next <= reader.last_commit() {
        let more = reader.replay(next, REPLAY_BYTES).expect("a journal in memory can be read");
        commits.extend(more.commits);
        next = more.next;
    }
    commits
}
