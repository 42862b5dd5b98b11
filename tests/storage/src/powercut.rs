//! Power cuts: what a disk holds at one moment, and nothing of what only memory held.
//!
//! The store writes to an ext4 image on a loop device, and the image is a file in memory, so what
//! the file system handed to its disk is in that file at once and for good. The writer is frozen,
//! the file copied until two copies match, and the copy mounted as after a power cut: whatever the
//! page cache of the mounted file system held is missing in it. Only root may mount.

use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use headland_event::{Random, SeededRandom};
use rustix::process::{Pid, Signal, geteuid, kill_process};

use crate::arguments::Arguments;
use crate::report::Report;
use crate::trial::{Ending, Tally, Trial};
use headland_gauge as gauge;

/// Cuts that one file system goes through before a fresh one is made.
const CUTS_PER_IMAGE: u64 = 5;
const LIFE_MICROS: u64 = 1_500_000;
/// Room for five lives on a disk that is as fast as memory.
const IMAGE_BYTES: u64 = 384 << 20;
/// How long a mount may stay in use by others, and how long to wait between attempts.
const RELEASE_LIMIT: Duration = Duration::from_secs(20);
const RELEASE_PAUSE: Duration = Duration::from_millis(100);
/// A file system whose disk nobody writes to is quiet at the first try or the second.
const COPIES_LIMIT: u32 = 50;

/// Cuts the power and checks what is left.
pub(crate) fn run(mut arguments: Arguments) -> Result<Report> {
    let directory = arguments.take_path("directory")?;
    let memory: PathBuf = arguments.take("memory", PathBuf::from("/dev/shm"))?;
    let (cuts, seed) = (arguments.take("cuts", 100)?, arguments.take("seed", 1)?);
    arguments.finish()?;
    ensure!(
        geteuid().is_root(),
        "power cuts mount images, which only root may: run the same command with sudo"
    );
    let scratch = tempfile::tempdir_in(&memory).context("cannot use --memory")?;
    let mut random = SeededRandom::new(seed);
    let mut tally = Tally::default();
    let mut cut = 0;
    while cut < cuts {
        let image = scratch.path().join("image");
        make_file_system(&image, IMAGE_BYTES, Journaling::On)?;
        let mut trial = Trial::new(directory.join("powercut").join("data"), seed + cut)?;
        for _ in 0..CUTS_PER_IMAGE.min(cuts - cut) {
            let life = Duration::from_micros(random.below(LIFE_MICROS));
            let left = cut_power(&mut trial, &image, life, &mut tally)?;
            std::fs::write(&image, left).context("cannot put the image back")?;
            cut += 1;
            let mount = Mount::new(&image, &directory.join("powercut"))?;
            let ending = if random.below(2) == 0 { Ending::Close } else { Ending::Drop };
            let failures = trial.check(ending, &mut tally)?;
            mount.end()?;
            if !failures.is_none() {
                let kept = directory.join(format!("powercut-{cut}.image"));
                std::fs::copy(&image, &kept).context("cannot keep the image")?;
                eprintln!("{} is kept: {failures:?}", kept.display());
                break;
            }
        }
    }
    Ok(tally.report("power_cuts", seed))
}

/// Lets a writer live on the image, freezes it, and returns what the image holds at that moment.
fn cut_power(
    trial: &mut Trial,
    image: &Path,
    life: Duration,
    tally: &mut Tally,
) -> Result<Vec<u8>> {
    let point = trial.directory().parent().context("the data lie in the mount")?.to_owned();
    let mount = Mount::new(image, &point)?;
    let mut left = Vec::new();
    trial.live(life, tally, |writer| {
        freeze(writer)?;
        left = quiet_copy(image)?;
        Ok(())
    })?;
    mount.end()?;
    Ok(left)
}

/// Stops a process and waits until each of its threads stands still.
fn freeze(writer: &Child) -> Result<()> {
    let id = i32::try_from(writer.id())?;
    let process = Pid::from_raw(id).context("a process has a number")?;
    kill_process(process, Signal::STOP).context("cannot stop the writer")?;
    while !stands_still(id)? {
        std::thread::yield_now();
    }
    Ok(())
}

/// Whether every thread is stopped, or gone.
fn stands_still(id: i32) -> Result<bool> {
    for thread in std::fs::read_dir(format!("/proc/{id}/task")).context("the writer is gone")? {
        let Ok(status) = std::fs::read_to_string(thread?.path().join("stat")) else { continue };
        // The state follows the name, which stands in parentheses and may hold anything.
        let state = status.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next());
        if !matches!(state, Some('T' | 't' | 'Z' | 'X')) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The image, once it has stayed the same while it was read.
fn quiet_copy(image: &Path) -> Result<Vec<u8>> {
    let read = || std::fs::read(image).context("cannot read the image");
    let mut last = read()?;
    for _ in 0..COPIES_LIMIT {
        let again = read()?;
        if again == last {
            return Ok(again);
        }
        last = again;
    }
    bail!("the image does not come to rest")
}

/// Whether a file system writes a journal of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Journaling {
    On,
    Off,
}

/// Makes an empty ext4 in a file of so many bytes.
pub(crate) fn make_file_system(image: &Path, bytes: u64, journaling: Journaling) -> Result<()> {
    let file = std::fs::File::create(image).context("cannot create the image")?;
    file.set_len(bytes).context("cannot size the image")?;
    // What it would write later, in the background, is written here.
    let mut tool = Command::new("mkfs.ext4");
    tool.args(["-q", "-F", "-E", "lazy_itable_init=0,lazy_journal_init=0"]);
    if journaling == Journaling::Off {
        tool.args(["-O", "^has_journal"]);
    }
    run_tool(tool.arg(image))
}

fn run_tool(command: &mut Command) -> Result<()> {
    let output = command.output().with_context(|| format!("cannot run {command:?}"))?;
    let failure = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{command:?} failed: {failure}");
    Ok(())
}

/// A mounted file system; it is unmounted when this is dropped.
pub(crate) struct Mount {
    point: PathBuf,
    is_mounted: bool,
}

impl Mount {
    /// Mounts an image through a loop device.
    pub(crate) fn new(image: &Path, point: &Path) -> Result<Self> {
        Self::start(point, |mount| mount.args(["-o", "loop"]).arg(image))
    }

    /// Mounts an empty file system in memory.
    pub(crate) fn in_memory(mebibytes: u64, point: &Path) -> Result<Self> {
        let size = format!("size={mebibytes}m");
        Self::start(point, |mount| mount.args(["-t", "tmpfs", "-o", &size, "tmpfs"]))
    }

    fn start(point: &Path, what: impl FnOnce(&mut Command) -> &mut Command) -> Result<Self> {
        std::fs::create_dir_all(point).context("cannot create a mount point")?;
        run_tool(what(&mut Command::new("mount")).arg(point))?;
        Ok(Self { point: point.to_owned(), is_mounted: true })
    }

    /// Unmounts and removes the mount point, and says when that fails.
    pub(crate) fn end(mut self) -> Result<()> {
        let until = gauge::now() + RELEASE_LIMIT;
        loop {
            let Err(error) = run_tool(Command::new("umount").arg(&self.point)) else { break };
            let holders = holders(&self.point)?;
            // Nobody of ours: whoever looks around on this machine goes away again.
            ensure!(gauge::now() < until, "{error:#}; it is held by {holders:?}");
            eprintln!("{error:#}; it is held by {holders:?}");
            std::thread::sleep(RELEASE_PAUSE);
        }
        self.is_mounted = false;
        std::fs::remove_dir(&self.point).context("cannot remove a mount point")
    }
}

/// What keeps files below a directory open: processes by number and name, and which files.
fn holders(point: &Path) -> Result<Vec<String>> {
    let mut found = Vec::new();
    for process in std::fs::read_dir("/proc").context("cannot list processes")? {
        let process = process?.path();
        let links = std::fs::read_dir(process.join("fd")).into_iter().flatten();
        let links = links.filter_map(|link| Some(link.ok()?.path()));
        // A process that ends meanwhile holds nothing.
        let links = links.chain([process.join("cwd"), process.join("root")]);
        let held = links.filter_map(|link| std::fs::read_link(link).ok());
        for path in held.filter(|path| path.starts_with(point)) {
            let name = std::fs::read_to_string(process.join("comm")).unwrap_or_default();
            let process = process.file_name().unwrap_or_default().to_string_lossy();
            found.push(format!("{process} {}: {}", name.trim(), path.display()));
        }
    }
    Ok(found)
}

impl Drop for Mount {
    fn drop(&mut self) {
        if self.is_mounted
            && let Err(error) = run_tool(Command::new("umount").arg("--lazy").arg(&self.point))
        {
            eprintln!("{error:#}");
        }
    }
}
