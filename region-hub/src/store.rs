//! `headland store`: what operators do with a node's data directory, a hub's or an agent's.

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use bytes::Bytes;
use clap::Subcommand;
use headland_platform::clock::{EntropyError, entropy};
use headland_storage::{
    AppendError, BackupError, BackupReport, CloseError, Commit, Damage, Damaged, DiskMedium,
    DiskStore, LogStore, LostState, MediumError, OpenError, OpenOptions, StateChange, StateOwner,
    VerifyReport,
};

use crate::node::LEASES_MEMORY;

/// Where copies stand, told again by what is here of them.
mod rebuilt;

pub use rebuilt::RebuildError;
pub(crate) use rebuilt::rebuild_checkpoints;

/// Exit code of a verification that found damage; 1 is a failure, 2 a wrong usage.
const DAMAGED: u8 = 3;

/// Owners of state in the data directories of hubs and agents: all whose loss can be accepted.
pub(crate) const OWNERS: [&str; 21] = [
    "node",
    "topics",
    "assigned",
    "positions",
    "checkpoints",
    "ends",
    "cuts",
    "groups",
    "fences",
    "leases",
    "gaps",
    "lost",
    "links",
    "watermarks",
    "inventory",
    "escrow",
    "hubs",
    "sources",
    "columns",
    "results",
    "rules",
];

/// What to do with which data directory.
#[derive(Debug, Clone, Subcommand)]
pub enum StoreCommand {
    /// Read all of a stopped node's data and say what is damaged; changes nothing.
    ///
    /// Exits with 0 when nothing is, with 3 when something is.
    Verify {
        /// The data directory.
        directory: PathBuf,
    },
    /// Save a node's data, running or stopped, to a new directory, and read it back.
    ///
    /// Of a running node everything acknowledged until about a second ago is in it.
    Backup {
        /// The data directory.
        directory: PathBuf,
        /// Where to: a directory that is empty or does not exist.
        target: PathBuf,
    },
    /// Make a data directory from a backup; the node then starts a new incarnation.
    Restore {
        /// The backup.
        backup: PathBuf,
        /// The data directory to make: empty or not there.
        directory: PathBuf,
    },
    /// Let a stopped node go on although damage took changes of its state.
    ///
    /// It starts from the values that are left, which may be older than what it last had: a hub
    /// then takes records again that it has, which count once all the same, and an agent reads
    /// lines of its files again. What its log itself tells, as where copies of other regions'
    /// topics stand, is set anew from that, for which it is read. Restore a backup instead when
    /// that is worse than what is missing from it. What is lost stays on record.
    AcceptLoss {
        /// The data directory.
        directory: PathBuf,
        /// Whose state, as the refused start named it; may be repeated. All, when none is named.
        #[arg(long = "owner")]
        owners: Vec<StateOwner>,
    },
}

/// Why nothing could be done.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreCommandError {
    /// There is no such directory.
    #[error("there is no directory {0}")]
    NoDirectory(PathBuf),
    /// It cannot be opened, or a node has it open.
    #[error("cannot open the data directory; a running node has to be stopped for that")]
    Open(#[source] OpenError),
    /// It cannot be read.
    #[error("cannot read the data directory")]
    Read(#[source] MediumError),
    /// What the log itself says of the lost state could not be told again; nothing is accepted.
    #[error("cannot set anew what the log itself says; nothing is accepted")]
    Rebuild(#[from] RebuildError),
    /// The decision could not be made durable; nothing has changed.
    #[error("cannot record that the loss is accepted")]
    Accept(#[from] AppendError),
    /// The directory could not be closed; the decision is in it.
    #[error("cannot close the data directory; what was decided is in it")]
    Close(#[from] CloseError),
    /// No backup was made, or none restored.
    #[error(transparent)]
    Backup(#[from] BackupError),
    /// The machine gives no random numbers.
    #[error(transparent)]
    Entropy(#[from] EntropyError),
}

/// What was done.
#[derive(Debug)]
pub enum Outcome {
    /// A directory was read whole.
    Verified(VerifyReport),
    /// A backup was made.
    Saved(BackupReport),
    /// A data directory was made.
    Restored(BackupReport),
    /// What is lost, and accepted now.
    Accepted(Vec<LostState>),
}

impl Outcome {
    /// What the process says at its end: 0, or 3 when damage was found.
    #[must_use]
    pub fn exit_code(&self) -> ExitCode {
        match self {
            Self::Verified(report) if !report.is_sound() => ExitCode::from(DAMAGED),
            Self::Verified(_) | Self::Saved(_) | Self::Restored(_) | Self::Accepted(_) => {
                ExitCode::SUCCESS
            }
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Verified(report) => write_verified(f, report),
            Self::Saved(BackupReport { last_commit, files, bytes, damaged, .. }) => {
                write!(f, "saved {files} files, {bytes}, up to commit {last_commit}; read back")?;
                match damaged {
                    0 => Ok(()),
                    places => write!(f, "\n{places} places are damaged, here as there: verify it"),
                }
            }
            Self::Restored(BackupReport { last_commit, files, bytes, incarnation, .. }) => write!(
                f,
                "restored {files} files, {bytes}, up to commit {last_commit}\n\
                 the node starts as incarnation {incarnation}: what it did after the backup is \
                 not known to it",
            ),
            Self::Accepted(losses) => write_accepted(f, losses),
        }
    }
}

fn write_accepted(f: &mut fmt::Formatter<'_>, losses: &[LostState]) -> fmt::Result {
    if losses.is_empty() {
        return f.write_str("no changes of state are lost; nothing was accepted");
    }
    for LostState { from, until, accepted, .. } in losses {
        let last = until.get().saturating_sub(1);
        let owners: Vec<&str> = accepted.iter().map(StateOwner::as_str).collect();
        writeln!(f, "lost: changes of state in commits {from} to {last}")?;
        writeln!(f, "  accepted for: {}", owners.join(", "))?;
    }
    f.write_str("the node goes on with what is left")
}

fn write_verified(f: &mut fmt::Formatter<'_>, report: &VerifyReport) -> fmt::Result {
    let commits: u64 = report.files.iter().map(|file| file.commits).sum();
    let records: u64 = report.files.iter().map(|file| file.records).sum();
    write!(f, "read {} files, {commits} commits, {records} records", report.files.len())?;
    for name in &report.leftovers {
        write!(f, "\n  {name}: no part of the journal")?;
    }
    if let Some(unfinished) = &report.unfinished {
        let at = unfinished.position.get();
        write!(f, "\n  {} from byte {at}: a write that was not finished", unfinished.file)?;
    }
    for Damage { file, position, what, .. } in &report.damage {
        write!(f, "\n  {file} at byte {}: {}", position.get(), Shown(what))?;
    }
    f.write_str(if report.is_sound() { "\nnothing is damaged" } else { "\nthere is damage" })
}

/// Damage in words.
struct Shown<'a>(&'a Damaged);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Damaged::File => f.write_str("the file is missing or too short"),
            Damaged::FileHeader(fault) => write!(f, "the header is damaged: {fault}"),
            Damaged::Chain(fault) => write!(f, "a list of files is damaged: {fault}"),
            Damaged::Directory(fault) => {
                write!(f, "the directory is damaged and will be made again: {fault}")
            }
            Damaged::Parts { until } => write!(f, "damaged up to byte {}", until.get()),
            Damaged::Offsets { partition, from, until } => {
                write!(f, "offsets {from} up to {until} of {partition} are lost")
            }
            Damaged::Records { partition, base } => {
                write!(f, "the batch of {partition} at offset {base} does not decode")
            }
            Damaged::Small(fault) => write!(f, "the file is damaged: {fault}"),
            other => write!(f, "{other:?}"),
        }
    }
}

/// Does what was asked for.
///
/// # Errors
/// [`StoreCommandError`]; damage that a verification finds is an outcome.
pub fn run(command: &StoreCommand) -> Result<Outcome, StoreCommandError> {
    match command {
        StoreCommand::Verify { directory } => {
            // Opening a medium would make the directory.
            if !directory.is_dir() {
                return Err(StoreCommandError::NoDirectory(directory.clone()));
            }
            let medium = DiskMedium::open(directory).map_err(StoreCommandError::Open)?;
            let report = headland_storage::verify(&medium).map_err(StoreCommandError::Read)?;
            Ok(Outcome::Verified(report))
        }
        StoreCommand::Backup { directory, target } => {
            if !directory.is_dir() {
                return Err(StoreCommandError::NoDirectory(directory.clone()));
            }
            Ok(Outcome::Saved(headland_storage::backup(directory, target)?))
        }
        StoreCommand::Restore { backup, directory } => {
            let nonce = entropy()?;
            Ok(Outcome::Restored(headland_storage::restore(backup, directory, nonce)?))
        }
        StoreCommand::AcceptLoss { directory, owners } => {
            if !directory.is_dir() {
                return Err(StoreCommandError::NoDirectory(directory.clone()));
            }
            let all = OWNERS.map(crate::node::owner);
            let owners = if owners.is_empty() { &all } else { owners.as_slice() };
            accept_loss(directory, owners).map(Outcome::Accepted)
        }
    }
}

/// Accepts what is lost for each of the owners, and hands back all that is.
fn accept_loss(
    directory: &Path,
    owners: &[StateOwner],
) -> Result<Vec<LostState>, StoreCommandError> {
    let options = OpenOptions::new(entropy()?);
    let mut store = DiskStore::open(directory, options).map_err(StoreCommandError::Open)?;
    for owner in owners {
        forget_memory(&mut store, owner)?;
        if owner.as_str() == "checkpoints" {
            rebuild_checkpoints(&mut store)?;
        }
        store.accept_loss(owner)?;
    }
    let lost = store.lost_state();
    store.close()?;
    Ok(lost)
}

/// What a hub has said of leases may be lost: it is to vote only once the others have told it.
/// That is durable before the loss is accepted, and nothing starts in between.
fn forget_memory(store: &mut DiskStore, owner: &StateOwner) -> Result<(), StoreCommandError> {
    let leases = crate::node::owner("leases");
    let is_lost = store.lost_state().iter().any(|lost| !lost.accepted.contains(&leases));
    if *owner != leases || !is_lost {
        return Ok(());
    }
    let key = Bytes::from_static(LEASES_MEMORY);
    let change = StateChange { owner: leases, key, value: None };
    store.append(&[Commit { entries: Vec::new(), state: vec![change] }])?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use headland_storage::StateStore;

    use super::*;

    /// A data directory with one commit, in a folder of its own.
    fn data() -> (tempfile::TempDir, PathBuf) {
        let root = tempfile::tempdir().unwrap();
        let directory = root.path().join("data");
        let mut store = DiskStore::open(&directory, OpenOptions::new(1)).unwrap();
        let owner = crate::node::owner("positions");
        let change = StateChange { owner, key: Bytes::from("a"), value: Some(Bytes::from("1")) };
        store.append(&[Commit { entries: Vec::new(), state: vec![change] }]).unwrap();
        store.close().unwrap();
        (root, directory)
    }

    #[test]
    fn a_sound_directory_says_so_and_a_damaged_one_says_where() {
        let (_root, directory) = data();
        let verify = StoreCommand::Verify { directory: directory.clone() };

        let sound = run(&verify).unwrap();
        let file = directory.join("0000000001.journal");
        let mut content = std::fs::read(&file).unwrap();
        content[78] ^= 1;
        std::fs::write(&file, content).unwrap();
        let damaged = run(&verify).unwrap();

        assert_eq!(sound.to_string(), "read 1 files, 1 commits, 0 records\nnothing is damaged");
        assert_eq!(sound.exit_code(), ExitCode::SUCCESS);
        let said = damaged.to_string();
        assert!(said.contains("0000000001.journal at byte 76"), "{said}");
        assert!(said.ends_with("there is damage"), "{said}");
        assert_eq!(damaged.exit_code(), ExitCode::from(3));
    }

    #[test]
    fn what_was_saved_is_restored_as_another_incarnation() {
        let (root, directory) = data();
        let (target, restored) = (root.path().join("saved"), root.path().join("restored"));

        let saved = run(&StoreCommand::Backup { directory, target: target.clone() }).unwrap();
        let again = StoreCommand::Restore { backup: target, directory: restored.clone() };
        let said = run(&again).unwrap().to_string();

        let store = DiskStore::open(&restored, OpenOptions::new(2)).unwrap();
        assert!(saved.to_string().ends_with("up to commit 1; read back"), "{saved}");
        assert!(said.contains(&format!("starts as incarnation {}", store.incarnation())), "{said}");
        assert_eq!(store.incarnation().counter(), 2);
        assert!(run(&again).unwrap_err().to_string().ends_with("is not empty"));
    }

    #[test]
    fn state_that_damage_took_is_accepted_and_then_read_again() {
        let (_root, directory) = data();
        let file = directory.join("0000000001.journal");
        let mut content = std::fs::read(&file).unwrap();
        let at = content.windows(9).position(|found| found == b"positions").unwrap();
        content[at] ^= 1;
        std::fs::write(&file, content).unwrap();
        // The cache has the value still; one that has to be rebuilt finds it gone.
        std::fs::remove_dir_all(directory.join("state")).unwrap();
        let positions = crate::node::owner("positions");
        let read =
            || DiskStore::open(&directory, OpenOptions::new(2)).unwrap().get(&positions, b"a");

        let refused = read().unwrap_err();
        let command = || StoreCommand::AcceptLoss { directory: directory.clone(), owners: vec![] };
        let said = run(&command()).unwrap().to_string();
        let left = read().unwrap();

        assert_eq!(
            refused.to_string(),
            "changes of state in commits 1 to 1 are lost, maybe of positions"
        );
        assert_eq!(left, None);
        assert!(said.starts_with("lost: changes of state in commits 1 to 1\n"), "{said}");
        assert!(said.contains("positions") && said.contains("sources"), "{said}");
    }

    #[test]
    fn a_hub_that_may_have_lost_a_vote_asks_the_others_before_it_votes_again() {
        let root = tempfile::tempdir().unwrap();
        let directory = root.path().join("data");
        let mut store = DiskStore::open(&directory, OpenOptions::new(1)).unwrap();
        let (owner, life) = (crate::node::owner("leases"), Bytes::from_static(LEASES_MEMORY));
        for (key, value) in [(Bytes::from("us"), "agreed to ap"), (life.clone(), "1-1")] {
            let value = Some(Bytes::from(value));
            let change = StateChange { owner: owner.clone(), key, value };
            store.append(&[Commit { entries: Vec::new(), state: vec![change] }]).unwrap();
        }
        store.close().unwrap();
        let accept = |of: &str| StoreCommand::AcceptLoss {
            directory: directory.clone(),
            owners: vec![StateOwner::new(of).unwrap()],
        };
        let read = || DiskStore::open(&directory, OpenOptions::new(2)).unwrap().get(&owner, &life);

        run(&accept("leases")).unwrap();
        let whole = read().unwrap();
        let file = directory.join("0000000001.journal");
        let mut content = std::fs::read(&file).unwrap();
        let at = content.windows(12).position(|found| found == b"agreed to ap").unwrap();
        content[at] ^= 1;
        std::fs::write(&file, content).unwrap();
        std::fs::remove_dir_all(directory.join("state")).unwrap();
        run(&accept("leases")).unwrap();
        let left = read().unwrap();

        assert_eq!(whole.as_deref(), Some(&b"1-1"[..]), "nothing was lost");
        assert_eq!(left, None);
    }

    #[test]
    fn where_nothing_is_lost_nothing_is_accepted() {
        let (_root, directory) = data();

        let said = run(&StoreCommand::AcceptLoss { directory, owners: Vec::new() }).unwrap();

        assert_eq!(said.to_string(), "no changes of state are lost; nothing was accepted");
    }

    #[test]
    fn a_directory_that_is_not_there_is_not_made() {
        let root = tempfile::tempdir().unwrap();
        let directory = root.path().join("data");

        let refused = run(&StoreCommand::Verify { directory: directory.clone() }).unwrap_err();

        assert_eq!(refused.to_string(), format!("there is no directory {}", directory.display()));
        assert!(!directory.exists());
    }
}
