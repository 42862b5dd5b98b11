//! The process that is killed: writes the load and says what was acknowledged.

use std::io::{Read, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::Sender;

use anyhow::{Context, Result};
use headland_event::{ByteCount, Offset, Random, SeededRandom};
use headland_storage::{Cleaning, DiskStore, LogReader, LogStore, OpenOptions, StateMarks};

use crate::arguments::Arguments;
use crate::cleaned;
use crate::load::{Load, PARTITIONS, Volume, time_of};

/// Most commits that the writer hands to one append.
pub(crate) const GROUP_LIMIT: u64 = 4;
/// Set in an acknowledgement of a commit by which cleaning moved starts; behind it these follow.
const OF_CLEANING: u64 = 1 << 63;
/// Most bytes that a step of cleaning reads and writes: two files, so that steps end anywhere in
/// one and the few of a short life still find out what compaction lets go.
const CLEAN_BYTES_MAX: u64 = 1 << 20;
/// Size of a journal file: the writer starts several a second.
const FILE_BYTES: ByteCount = ByteCount::new(512 << 10);

/// What a writer says is durable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Said {
    /// Everything up to the commit with this number.
    Commit(u64),
    /// As that, and this commit is cleaning's own: partitions start there at the least.
    Cleaning {
        /// Number of the commit.
        commit: u64,
        /// One for each partition of the load, in order.
        starts: Vec<Offset>,
    },
}

/// How the writer and its checker open the store.
pub(crate) const fn options(nonce: u64) -> OpenOptions {
    OpenOptions {
        file_bytes: FILE_BYTES,
        reserve_bytes: ByteCount::new(64 << 10),
        ..OpenOptions::new(nonce)
    }
}

/// Writes until it is killed. After each append that returned, and after opening, it writes the
/// number of the last commit to its standard output, eight bytes in big endian. The highest bit
/// says that the commit is cleaning's own; then the start of each partition follows likewise.
pub(crate) fn write(mut arguments: Arguments) -> Result<()> {
    let directory = arguments.take_path("directory")?;
    let (seed, life) = (arguments.take("seed", 1)?, arguments.take("life", 1)?);
    arguments.finish()?;
    let load = Load::new(seed, Volume::Mixed)?;
    let mut random = SeededRandom::new(life);
    loop {
        let store = DiskStore::open(&directory, options(random.next_u64() | 1))?;
        acknowledge(store.reader().last_commit().get())?;
        write_some(store, &load, &mut random)?;
    }
}

/// Writes some thousand groups, seals, marks and cleans now and then, and closes the store.
fn write_some(mut store: DiskStore, load: &Load, random: &mut SeededRandom) -> Result<()> {
    let reader = store.reader();
    let mut ends = load.ends(&reader);
    for _ in 0..random.below(4_000) {
        let count = 1 + random.below(GROUP_LIMIT);
        let next = reader.last_commit().after(1);
        let group = (0..count)
            .map(|index| load.commit(next.after(index).get(), &mut ends))
            .collect::<Result<Vec<_>>>()?;
        let appended = store.append(&group)?;
        acknowledge(appended.last.get())?;
        if random.below(50) == 0 {
            store.seal()?;
        }
        // On a busy disk a life is thirty groups long, and only what lies before a mark is cleaned.
        if random.below(10) == 0 {
            store.mark_state()?;
        }
        if random.below(4) == 0 {
            clean(&mut store, load, ByteCount::new(random.below(CLEAN_BYTES_MAX)))?;
        }
    }
    store.close()?;
    Ok(())
}

/// Cleans for a step, and acknowledges the commit of cleaning's own if there was one.
fn clean(store: &mut DiskStore, load: &Load, budget: ByteCount) -> Result<()> {
    let reader = store.reader();
    let before = reader.last_commit();
    let policy = cleaned::policy(load, &reader)?;
    store.clean(&policy, time_of(before.get() + 1), budget)?;
    let last = reader.last_commit();
    if last == before {
        return Ok(());
    }
    let starts = load.partitions().map(|partition| reader.start(&partition).get());
    say(std::iter::once(last.get() | OF_CLEANING).chain(starts))
}

fn acknowledge(last: u64) -> Result<()> {
    say([last])
}

fn say(numbers: impl IntoIterator<Item = u64>) -> Result<()> {
    let bytes: Vec<u8> = numbers.into_iter().flat_map(u64::to_be_bytes).collect();
    let mut out = std::io::stdout().lock();
    out.write_all(&bytes).context("nobody listens")?;
    out.flush().context("nobody listens")
}

/// Starts a writer as a process of its own.
pub(crate) fn start(directory: &Path, seed: u64, life: u64) -> Result<Child> {
    let program = std::env::current_exe().context("cannot find this program")?;
    Command::new(program)
        .arg("write")
        .args(["--seed", &seed.to_string(), "--life", &life.to_string(), "--directory"])
        .arg(directory)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot start a writer")
}

/// Passes on each acknowledgement until the writer is gone; returns how many there were.
pub(crate) fn listen(mut said: impl Read, acknowledged: &Sender<Said>) -> u64 {
    let mut count = 0;
    while let Some(said) = hear(&mut said)
        && acknowledged.send(said).is_ok()
    {
        count += 1;
    }
    count
}

/// A writer is killed in the middle of anything, so what ends early is no acknowledgement.
fn hear(said: &mut impl Read) -> Option<Said> {
    let mut number = || -> Option<u64> {
        let mut bytes = [0; 8];
        said.read_exact(&mut bytes).ok()?;
        Some(u64::from_be_bytes(bytes))
    };
    let commit = number()?;
    if commit & OF_CLEANING == 0 {
        return Some(Said::Commit(commit));
    }
    let starts = (0..PARTITIONS).map(|_| number().map(Offset::new)).collect::<Option<Vec<_>>>()?;
    Some(Said::Cleaning { commit: commit ^ OF_CLEANING, starts })
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    fn heard(said: &[u8]) -> Vec<Said> {
        let (sender, heard) = mpsc::channel();
        let count = listen(said, &sender);
        drop(sender);
        let heard: Vec<_> = heard.iter().collect();
        assert_eq!(u64::try_from(heard.len()).unwrap(), count);
        heard
    }

    #[test]
    fn half_a_number_is_no_acknowledgement() {
        let said = [&5_u64.to_be_bytes()[..], &6_u64.to_be_bytes()[..7]].concat();

        assert_eq!(heard(&said), [Said::Commit(5)]);
    }

    #[test]
    fn a_cleaning_is_acknowledged_with_all_of_its_starts_or_not_at_all() {
        let numbers = std::iter::once(7 | OF_CLEANING).chain(0..PARTITIONS);
        let said: Vec<u8> = numbers.flat_map(u64::to_be_bytes).collect();

        let whole = heard(&said);
        let cut = heard(said.split_last().unwrap().1);

        let starts = (0..PARTITIONS).map(Offset::new).collect();
        assert_eq!(whole, [Said::Cleaning { commit: 7, starts }]);
        assert_eq!(cut, []);
    }
}
