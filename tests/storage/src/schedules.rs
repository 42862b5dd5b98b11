//! Everything that a crash can leave of a few writes, and many random schedules, in memory.

use anyhow::{Context, Result, ensure};
use headland_event::{ByteCount, Random, SeededRandom};
use headland_storage::{
    AppendError, Cleaning, LogStore, MemoryDisk, MemoryStore, OpenError, OpenOptions, StateMarks,
    Survival,
};
use serde_json::json;

use crate::arguments::Arguments;
use crate::check::{self, Cleanings, Failures, Known, Starts};
use crate::cleaned;
use crate::load::{Load, Volume, time_of};
use crate::report::Report;

/// Subsets tried at the end of each prefix: all of up to 12 changes, of more as many at random.
const SUBSETS: u64 = 1 << 12;
/// Events of a random schedule.
const EVENTS: u64 = 40;
/// Groups of commits that the trace appends, `SEAL` between some of them.
const GROUPS: [u64; 9] = [1, 3, 2, SEAL, 1, 12, SEAL, 3, 1];
const SEAL: u64 = 0;
/// More than cleaning ever reads or writes here.
const PLENTY: ByteCount = ByteCount::mebibytes(1);

/// Tries everything.
pub(crate) fn run(mut arguments: Arguments) -> Result<Report> {
    // Every command may be told a directory; this one writes to none.
    arguments.take("directory", String::new())?;
    let step: u64 = arguments.take("step", 4)?;
    let subsets: u64 = arguments.take("subsets", SUBSETS)?;
    let schedules: u64 = arguments.take("schedules", 10_000)?;
    let seed: u64 = arguments.take("seed", 1)?;
    arguments.finish()?;
    ensure!(step > 0, "--step is how many bytes further the next prefix goes, at least 1");
    let mut failures = Failures::default();
    let subsets = every_prefix(seed, (step, subsets), &mut failures)?;
    let barriers = every_failed_barrier(seed, &mut failures)?;
    let mut schedule = Schedule::default();
    for index in 0..schedules {
        schedule
            .play(seed + index, &mut failures)
            .with_context(|| format!("replay with --schedules 1 --seed {}", seed + index))?;
    }
    let result = json!({
        "seed": seed,
        "prefix_step_bytes": step,
        "prefixes_of_the_trace": subsets.prefixes,
        "unsynced_changes_most": subsets.changes_most,
        "subsets_opened": subsets.opened,
        "barriers_failed_one_by_one": barriers,
        "random_schedules": schedules,
        "crashes_in_random_schedules": schedule.crashes,
        "records_compacted_in_subsets": subsets.compacted,
        "records_compacted_in_random_schedules": schedule.compacted,
        "failures": failures.report(),
    });
    Ok(Report { is_green: failures.is_none(), result })
}

const fn options(nonce: u64) -> OpenOptions {
    let (file_bytes, reserve_bytes) = (ByteCount::new(2_500), ByteCount::new(600));
    OpenOptions { file_bytes, reserve_bytes, ..OpenOptions::new(nonce) }
}

/// What the writer of a load knows.
#[derive(Debug, Clone)]
struct Writer {
    load: Load,
    acknowledged: u64,
    /// Most commits of an append that failed since the last acknowledgement.
    in_flight: u64,
    cleanings: Cleanings,
    /// Records that compaction had taken out when the log was looked at last.
    compacted: u64,
}

impl Writer {
    fn new(seed: u64) -> Result<Self> {
        let load = Load::new(seed, Volume::Small)?;
        let cleanings = Cleanings::new();
        Ok(Self { load, acknowledged: 0, in_flight: 0, cleanings, compacted: 0 })
    }

    fn append(&mut self, store: &mut MemoryStore, count: u64) -> Result<(), AppendError> {
        let mut ends = self.load.ends(&store.reader());
        let group: Result<Vec<_>> = (1..=count)
            .map(|index| self.load.commit(self.acknowledged + index, &mut ends))
            .collect();
        let Ok(group) = group else { return Err(AppendError::Empty) };
        match store.append(&group) {
            Ok(_) => {
                self.acknowledged += count;
                self.in_flight = 0;
                Ok(())
            }
            Err(error) => {
                self.in_flight = self.in_flight.max(count);
                Err(error)
            }
        }
    }

    /// Cleans for a step of some bytes, and notes the commit of cleaning's own if there was one.
    fn clean(&mut self, store: &mut MemoryStore, budget: ByteCount) -> Option<()> {
        let policy = cleaned::policy(&self.load, &store.reader()).ok()?;
        let cleaned = store.clean(&policy, time_of(self.acknowledged + 1), budget);
        let last = store.last_commit().get();
        if last > self.acknowledged {
            (self.acknowledged, self.in_flight) = (last, 0);
            self.cleanings.insert(last);
        } else if cleaned.is_err() {
            self.in_flight = self.in_flight.max(1);
        }
        cleaned.ok().map(drop)
    }

    /// Opens what a crash left and counts what is wrong with it.
    fn check(&mut self, disk: &MemoryDisk, nonce: u64) -> Result<(Option<MemoryStore>, Failures)> {
        let Ok(store) = MemoryStore::open(disk, options(nonce)) else {
            return Ok((None, Failures { failures_to_open: 1, ..Failures::default() }));
        };
        let Self { acknowledged, in_flight, .. } = *self;
        let known = Known { acknowledged, in_flight, starts: &Starts::new() };
        let (found, failures) = check::check(&store, &self.load, known, &mut self.cleanings)?;
        (self.acknowledged, self.in_flight) = (found.last, 0);
        self.compacted = found.compacted;
        self.cleanings.retain(|number| *number <= found.last);
        Ok((Some(store), failures))
    }
}

/// The trace: two lives, several files, seals, state marks, cleaning and a clean end.
///
/// Whatever fails ends it, as a power cut does.
fn trace(disk: &MemoryDisk, writer: &mut Writer) -> Option<()> {
    let mut store = MemoryStore::open(disk, options(1)).ok()?;
    for count in GROUPS {
        match count {
            SEAL => store.seal().ok()?,
            count => writer.append(&mut store, count).ok()?,
        }
    }
    store.mark_state().ok()?;
    writer.clean(&mut store, PLENTY)?;
    drop(store);
    let mut store = MemoryStore::open(disk, options(3)).ok()?;
    for count in GROUPS {
        writer.append(&mut store, count.max(1)).ok()?;
    }
    store.mark_state().ok()?;
    writer.clean(&mut store, PLENTY)?;
    store.close().ok()
}

/// What was tried of the trace's prefixes.
#[derive(Debug, Default)]
struct Subsets {
    prefixes: u64,
    opened: u64,
    changes_most: usize,
    /// Records that compaction had taken out, of all subsets together.
    compacted: u64,
}

/// Ends the trace after every `step` bytes, and leaves every subset of what was not durable.
fn every_prefix(seed: u64, (step, limit): (u64, u64), failures: &mut Failures) -> Result<Subsets> {
    let mut random = SeededRandom::new(seed);
    let mut subsets = Subsets::default();
    let mut budget = 0;
    loop {
        let disk = MemoryDisk::new(seed);
        disk.cut_power_after(ByteCount::new(budget));
        let mut writer = Writer::new(seed)?;
        let finished = trace(&disk, &mut writer);
        let changes = disk.unsynced();
        subsets.prefixes += 1;
        subsets.changes_most = subsets.changes_most.max(changes);
        let all = u32::try_from(changes).ok().and_then(|changes| 1_u64.checked_shl(changes));
        let all = all.unwrap_or(u64::MAX);
        for subset in 0..all.min(limit) {
            let kept = if all > limit { random.next_u64() } else { subset };
            let fork = disk.fork();
            // Beyond 64 changes the pattern repeats, which is still one of the subsets.
            fork.crash_keeping(|number| kept >> (number % 64) & 1 == 1);
            let mut writer = writer.clone();
            let (_, found) = writer.check(&fork, 5)?;
            subsets.compacted += writer.compacted;
            if !found.is_none() {
                eprintln!("budget {budget}, kept {kept:b} of {changes}: {found:?}");
            }
            failures.add(found);
            subsets.opened += 1;
        }
        if finished.is_some() {
            return Ok(subsets);
        }
        budget += step;
    }
}

/// Fails every barrier of the trace once: that append is refused, the next one succeeds, and
/// nothing acknowledged depends on what the failed barrier lost.
fn every_failed_barrier(seed: u64, failures: &mut Failures) -> Result<u64> {
    for nth in 1.. {
        let disk = MemoryDisk::new(seed);
        disk.fail_sync(nth);
        let mut writer = Writer::new(seed)?;
        let mut store = reopen(&disk, 1)?;
        for count in GROUPS {
            if count == SEAL {
                // A seal that fails loses nothing, and the next append starts another file.
                drop(store.seal());
            } else if let Err(error) = writer.append(&mut store, count) {
                ensure!(error.is_retryable(), "a failed barrier is for good: {error}");
                writer.append(&mut store, count).context("the next append")?;
            }
        }
        let synced = disk.sync_count();
        let has_failed = synced >= nth;
        for survival in [Survival::Nothing, Survival::Everything, Survival::Seeded] {
            let fork = disk.fork();
            fork.crash(survival);
            failures.add(writer.clone().check(&fork, 5)?.1);
        }
        if !has_failed {
            return Ok(nth - 1);
        }
    }
    Ok(0)
}

/// Opens a store; one failed barrier may refuse it once.
fn reopen(disk: &MemoryDisk, nonce: u64) -> Result<MemoryStore> {
    match MemoryStore::open(disk, options(nonce)) {
        Ok(store) => Ok(store),
        Err(OpenError::Medium(_)) => {
            MemoryStore::open(disk, options(nonce)).context("the second attempt to open")
        }
        Err(error) => Err(error).context("the first attempt to open"),
    }
}

/// What random schedules came to.
#[derive(Debug, Default)]
struct Schedule {
    crashes: u64,
    /// Records that compaction had taken out, after all crashes together.
    compacted: u64,
}

impl Schedule {
    /// Appends, seals, marks, steps of cleaning, faults, crashes and clean ends in random order.
    fn play(&mut self, seed: u64, failures: &mut Failures) -> Result<()> {
        let mut random = SeededRandom::new(seed);
        let disk = MemoryDisk::new(seed);
        let mut writer = Writer::new(seed)?;
        let mut store = MemoryStore::open(&disk, options(1)).context("an empty disk opens")?;
        for event in 0..1 + random.below(EVENTS) {
            match random.below(20) {
                0..8 => drop(writer.append(&mut store, 1 + random.below(4))),
                8 | 9 => drop(store.seal()),
                10 => drop(store.mark_state()),
                11 => disk.fail_sync(1 + random.below(3)),
                12 | 13 => disk.cut_power_after(ByteCount::new(random.below(3_000))),
                14 => disk.set_capacity(Some(disk.used())),
                15 => disk.set_capacity(None),
                16 | 17 => {
                    // Only what lies before a mark is cleaned, and a step may end anywhere.
                    if random.below(2) == 0 {
                        drop(store.mark_state());
                    }
                    let budget = ByteCount::new(random.below(60_000));
                    // What a fault keeps from being cleaned is cleaned later.
                    let _is_cleaned = writer.clean(&mut store, budget);
                }
                ending => {
                    if ending == 18 {
                        drop(store.close());
                    }
                    let kept = random.next_u64();
                    disk.crash_keeping(|number| kept >> (number % 64) & 1 == 1);
                    self.crashes += 1;
                    let (opened, found) = writer.check(&disk, event + 3)?;
                    failures.add(found);
                    ensure!(found.is_none(), "{found:?}");
                    self.compacted += writer.compacted;
                    store = opened.context("it was opened")?;
                }
            }
        }
        Ok(())
    }
}
