//! The README's commands on a bare Debian 12: what a newcomer's machine needs, measured.
//!
//! A minimal root gets the packages the README names, the Rust toolchain and the registry's files
//! are mounted into it, and its commands run there with nothing else of the host but `/dev`,
//! `/proc` and the loopback network. Needs root and `debootstrap`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};

use super::{Measured, option};
use crate::step;
use crate::workspace::Workspace;

/// The release that the README speaks of.
const RELEASE: &str = "bookworm";

/// What the README tells to install, and nothing else.
const PACKAGES: &str = "build-essential";

/// The README's commands, the quickstart in the mode that checks itself.
const COMMANDS: [(&str, &str); 2] =
    [("quickstart", "cargo quickstart --check --seed 1"), ("test", "cargo test --workspace")];

/// Bootstraps a root, runs the commands in it and measures each.
pub(super) fn run(workspace: &Workspace, arguments: &[String]) -> Result<Measured> {
    let mirror = option(arguments, "--mirror")?;
    let user = step::capture(Command::new("id").arg("-u"))?;
    ensure!(user.trim() == "0", "fresh-machine mounts and changes root, which only root may");
    let folder = workspace.target_directory()?.join("fresh-machine");
    let root = Root::bootstrap(&folder, mirror)?;
    root.mount_toolchain(workspace)?;
    root.copy_sources(workspace)?;
    let mut result = serde_json::Map::new();
    let mut is_green = true;
    for (name, command) in COMMANDS {
        let outcome = step::run(command, &mut root.shell(command))?;
        is_green &= outcome.is_success;
        result.insert(format!("{name}_succeeded"), json!(outcome.is_success));
        result.insert(format!("{name}_seconds"), json!(outcome.took.as_secs()));
        result.insert(format!("{name}_target_mebibytes"), json!(root.target_mebibytes()?));
    }
    Ok(Measured { is_green, conditions: Value::Null, result: result.into() })
}

/// A root folder with mounts in it; dropping it undoes both.
struct Root {
    folder: PathBuf,
}

impl Root {
    fn bootstrap(folder: &Path, mirror: Option<&str>) -> Result<Self> {
        // A root left over by a killed run may hold mounts: removing it would remove what they
        // show, so it is unmounted first, as at the end of a good run.
        drop(Self { folder: folder.to_owned() });
        let parent = folder.parent().unwrap_or(folder);
        fs::create_dir_all(parent)
            .with_context(|| format!("cannot create {}", parent.display()))?;
        let root = Self { folder: folder.to_owned() };
        let mut debootstrap = Command::new("debootstrap");
        debootstrap.args(["--variant=minbase", &format!("--include={PACKAGES}"), RELEASE]);
        debootstrap.arg(folder).args(mirror).stdout(Stdio::null());
        let outcome = step::run("debootstrap", &mut debootstrap)
            .context("is debootstrap installed? (apt install debootstrap)")?;
        ensure!(outcome.is_success, "debootstrap failed");
        for (from, to) in [("/proc", "proc"), ("/dev", "dev")] {
            root.mount(Path::new(from), to)?;
        }
        Ok(root)
    }

    /// Shows the running toolchain and the files that cargo has fetched inside the root.
    fn mount_toolchain(&self, workspace: &Workspace) -> Result<()> {
        let sysroot = step::capture(Command::new("rustc").args(["--print", "sysroot"]))?;
        self.mount(Path::new(sysroot.trim()), "opt/rust")?;
        step::capture(workspace.cargo().args(["fetch", "--locked"]))?;
        let home = std::env::var_os("CARGO_HOME")
            .map(PathBuf::from)
            .or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cargo")));
        let Some(home) = home else { bail!("neither CARGO_HOME nor HOME is set") };
        self.mount(&home.join("registry"), "opt/cargo/registry")
    }

    /// Puts the committed sources into the root, as a clone would.
    fn copy_sources(&self, workspace: &Workspace) -> Result<()> {
        let sources = self.folder.join("srv/headland");
        fs::create_dir_all(&sources).context("cannot create the folder of the sources")?;
        let mut archive = Command::new("git")
            .args(["archive", "HEAD"])
            .current_dir(workspace.root())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot run git archive")?;
        let Some(stream) = archive.stdout.take() else { bail!("git archive has no output") };
        step::capture(Command::new("tar").arg("-x").current_dir(&sources).stdin(stream))?;
        ensure!(archive.wait().context("cannot wait for git")?.success(), "git archive failed");
        Ok(())
    }

    /// A command inside the root with an environment of its own.
    fn shell(&self, command: &str) -> Command {
        let mut chroot = Command::new("chroot");
        chroot.arg(&self.folder).args(["/usr/bin/env", "-i"]).args([
            "PATH=/opt/rust/bin:/usr/bin:/bin",
            "HOME=/root",
            "CARGO_HOME=/opt/cargo",
            "CARGO_NET_OFFLINE=true",
            "sh",
            "-c",
            &format!("cd /srv/headland && {command}"),
        ]);
        chroot
    }

    /// What the build holds on disk so far.
    fn target_mebibytes(&self) -> Result<u64> {
        let target = self.folder.join("srv/headland/target");
        let size = step::capture(Command::new("du").args(["-sm"]).arg(target))?;
        let mebibytes = size.split_whitespace().next().unwrap_or_default();
        mebibytes.parse().with_context(|| format!("cannot read the size {size:?}"))
    }

    fn mount(&self, from: &Path, to: &str) -> Result<()> {
        let to = self.folder.join(to);
        fs::create_dir_all(&to).with_context(|| format!("cannot create {}", to.display()))?;
        step::capture(Command::new("mount").arg("--bind").arg(from).arg(to)).map(drop)
    }

    /// What is mounted below the root, the innermost first.
    fn mounts(&self) -> Vec<String> {
        let table = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
        let mut mounts = mounts_below(&table, &self.folder.to_string_lossy());
        mounts.reverse();
        mounts
    }
}

fn mounts_below(table: &str, folder: &str) -> Vec<String> {
    let inside = format!("{folder}/");
    table
        .lines()
        .filter_map(|line| line.split(' ').nth(1))
        .filter(|mount| mount.starts_with(&inside))
        .map(str::to_owned)
        .collect()
}

impl Drop for Root {
    /// Unmounts and removes the root. It is removed only when nothing is mounted in it any more:
    /// removing through a mount would delete the host's toolchain.
    fn drop(&mut self) {
        for mount in self.mounts() {
            if let Err(error) = step::capture(Command::new("umount").arg(&mount)) {
                eprintln!("{error:#}");
            }
        }
        if !self.mounts().is_empty() {
            eprintln!("{} still holds mounts and is left in place", self.folder.display());
        } else if self.folder.exists()
            && let Err(error) = fs::remove_dir_all(&self.folder)
        {
            eprintln!("cannot remove {}: {error}", self.folder.display());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mounts_below_a_folder_are_found_and_its_neighbours_are_not() {
        let table = "\
proc /t/fresh/proc proc rw 0 0
dev /t/fresh-old/dev dev rw 0 0
disk /t/fresh/opt/rust ext4 rw 0 0
";

        assert_eq!(mounts_below(table, "/t/fresh"), ["/t/fresh/proc", "/t/fresh/opt/rust"]);
    }
}
