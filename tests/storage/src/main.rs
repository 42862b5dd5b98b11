//! `storage-proof COMMAND --directory D …`: kills, power cuts, full disks and stopwatches for the
//! storage engine, each with one JSON object as its result.
//!
//! `cargo xtask soak` builds it for release and runs it at full size; the tests of this package run
//! the same code at a size that fits a build. What it writes goes below the directory it is given.

/// The command line.
mod arguments;
/// What a proof ends with.
mod report;
/// Commits that are known from their number alone.
mod load;
/// What a load lets go of.
mod cleaned;
/// Whether what compaction left is right.
mod compacted;
/// The process that is killed.
mod writer;
/// What a store has to show after it was killed.
mod check;
/// One data directory through many violent ends.
mod trial;
/// `kill -9` at random moments under load.
mod kill;
/// Power cuts on an image in memory.
mod powercut;
/// Disks that are full.
mod full;
/// Everything a crash can leave, in memory.
mod schedules;
/// Rates side by side with a bare file.
mod speed;
/// The store beside Kafka's broker.
mod beside;

use std::process::ExitCode;

use anyhow::{Result, bail};

use arguments::Arguments;

const COMMANDS: &str = "\
Usage: storage-proof COMMAND --directory D [--name value …]

  append     appends side by side with a bare file     --rounds 5 --millis 1000
  read       one partition among eight                 --rounds 7 --mebibytes 1024
  open       opening after a kill and a clean stop     --mebibytes 10240 --keys 1000000
  idle       what an idle store writes                 --settle-seconds 35 --watch-seconds 10
  wear       bytes on the disk for each byte, half cleaned --mebibytes 256 --memory /dev/shm
  kill       kill -9 at random moments under load      --kills 200 --seed 1
  powercut   power cuts on an image in memory (root)   --cuts 100 --seed 1 --memory /dev/shm
  schedules  all that a crash leaves, in memory        --schedules 10000 --step 4 --subsets 4096
  full       a disk without room, a limit on files (root)

  kafka      beside a broker that runs                 --broker A --broker-process N

  write, fill, open-once, full-limited, serve          processes that those start
";

fn main() -> Result<ExitCode> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let Some((command, rest)) = arguments.split_first() else { bail!("{COMMANDS}") };
    let arguments = Arguments::parse(rest)?;
    let report = match command.as_str() {
        "append" => speed::append(arguments)?,
        "read" => speed::read(arguments)?,
        "open" => speed::open(arguments)?,
        "open-once" => speed::open_once(arguments)?,
        "idle" => speed::idle(arguments)?,
        "wear" => speed::wear(arguments)?,
        "kill" => kill::run(arguments)?,
        "powercut" => powercut::run(arguments)?,
        "full" => full::run(arguments)?,
        "schedules" => schedules::run(arguments)?,
        "kafka" => beside::run(arguments)?,
        "write" => return writer::write(arguments).map(|()| ExitCode::SUCCESS),
        "full-limited" => return full::limited(arguments),
        "serve" => return beside::serve(arguments).map(|()| ExitCode::SUCCESS),
        "fill" => return speed::fill(arguments).map(|()| ExitCode::SUCCESS),
        unknown => bail!("no command `{unknown}`\n\n{COMMANDS}"),
    };
    report.print()
}
