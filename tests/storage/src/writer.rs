//! The process that is killed: writes the load and says what was acknowledged.

use std::io::{Read, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::Sender;

use anyhow::{Context, Result};
use headland_event::{ByteCount, CommitNumber, Random, SeededRandom};
use headland_storage::{DiskStore, LogReader, LogStore, OpenOptions, StateMarks};

use crate::arguments::Arguments;
use crate::load::{Load, Volume};

/// Most commits that the writer hands to one append.
pub(crate) const GROUP_LIMIT: u64 = 4;
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
/// number of the last commit to its standard output, eight bytes in big endian.
pub(crate) fn write(mut arguments: Arguments) -> Result<()> {
    let directory = arguments.take_path("directory")?;
    let (seed, life) = (arguments.take("seed", 1)?, arguments.take("life", 1)?);
    arguments.finish()?;
    let load = Load::new(seed, Volume::Mixed)?;
    let mut random = SeededRandom::new(life);
    loop {
        let store = DiskStore::open(&directory, options(random.next_u64() | 1))?;
        acknowledge(store.reader().last_commit())?;
        write_some(store, &load, &mut random)?;
    }
}

/// Writes some thousand groups, seals and marks now and then, and closes the store.
fn write_some(mut store: DiskStore, load: &Load, random: &mut SeededRandom) -> Result<()> {
    let reader = store.reader();
    let mut ends = load.ends(&reader);
    let mut next = reader.last_commit().after(1);
    for _ in 0..random.below(4_000) {
        let count = 1 + random.below(GROUP_LIMIT);
        let group = (0..count)
            .map(|index| load.commit(next.after(index).get(), &mut ends))
            .collect::<Result<Vec<_>>>()?;
        let appended = store.append(&group)?;
        acknowledge(appended.last)?;
        next = appended.last.after(1);
        if random.below(50) == 0 {
            store.seal()?;
        }
        if random.below(200) == 0 {
            store.mark_state()?;
        }
    }
    store.close()?;
    Ok(())
}

fn acknowledge(last: CommitNumber) -> Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(&last.get().to_be_bytes()).context("nobody listens")?;
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
