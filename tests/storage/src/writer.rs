//! The process that is killed: writes the load and says what was acknowledged.

use std::io::{Read, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::Sender;

use anyhow::{Context, Result};
use headland_event::{ByteCount, Random, SeededRandom};
use headland_storage::{Cleaning, DiskStore, LogReader, LogStore, OpenOptions, StateMarks};

use crate::arguments::Arguments;
use crate::cleaned;
use crate::load::{Load, Volume, time_of};

/// Most commits that the writer hands to one append.
pub(crate) const GROUP_LIMIT: u64 = 4;
/// Set in an acknowledgement of a commit by which cleaning moved starts.
pub(crate) const OF_CLEANING: u64 = 1 << 63;
/// Bytes that a step of cleaning reads and writes: less than a file, so that steps end within one.
const CLEAN_BYTES: ByteCount = ByteCount::new(300 << 10);
/// Size of a journal file: the writer starts several a second.
const FILE_BYTES: ByteCount = ByteCount::new(512 << 10);

/// How the writer and its checker open the store.
pub(crate) const fn options(nonce: u64) -> OpenOptions {
    OpenOptions {
        file_bytes: FILE_BYTES,
        reserve_bytes: ByteCount::new(64 << 10),
        ..OpenOptions::new(nonce)
    }
}

/// Writes until it is killed. After each append that returned, and after opening, it writes the
/// number of the last commit to its standard output, eight bytes in big endian; the highest bit
/// says that the commit is cleaning's own.
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
        if random.below(200) == 0 {
            store.mark_state()?;
        }
        if random.below(30) == 0 {
            clean(&mut store, load)?;
        }
    }
    store.close()?;
    Ok(())
}

/// Cleans for a step, and acknowledges the commit of cleaning's own if there was one.
fn clean(store: &mut DiskStore, load: &Load) -> Result<()> {
    let reader = store.reader();
    let before = reader.last_commit();
    let policy = cleaned::policy(load, &reader)?;
    store.clean(&policy, time_of(before.get() + 1), CLEAN_BYTES)?;
    let last = reader.last_commit();
    if last > before { acknowledge(last.get() | OF_CLEANING) } else { Ok(()) }
}

fn acknowledge(last: u64) -> Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(&last.to_be_bytes()).context("nobody listens")?;
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
pub(crate) fn listen(mut said: impl Read, acknowledged: &Sender<u64>) -> u64 {
    let mut number = [0; 8];
    let mut count = 0;
    // A writer is killed in the middle of anything, so what ends early is no acknowledgement.
    while said.read_exact(&mut number).is_ok()
        && acknowledged.send(u64::from_be_bytes(number)).is_ok()
    {
        count += 1;
    }
    count
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn half_a_number_is_no_acknowledgement() {
        let said = [&5_u64.to_be_bytes()[..], &6_u64.to_be_bytes()[..7]].concat();
        let (sender, heard) = mpsc::channel();

        let count = listen(said.as_slice(), &sender);
        drop(sender);

        assert_eq!((count, heard.iter().collect::<Vec<_>>()), (1, vec![5]));
    }
}
