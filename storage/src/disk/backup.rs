//! Backups: a consistent copy of a data directory, of one that is in use too, and back.
//!
//! A journal's files are only ever appended to, and its newest says below which position it is
//! durable, so a copy needs no lock and does not hold the node up: of the newest file everything
//! that is known durable, of the others everything. The closed files go first, which takes long;
//! then the snapshots, and then what the journal has become meanwhile. What cleaning takes away in
//! that moment makes the copy incomplete, which reading it back finds; then it is made again.
//!
//! A backup has no `identity`: what is restored from it, or opened in its place, is another life,
//! because the old one may have gone on. The file `backup` is written last, and says what belongs
//! to the backup and what its bytes add up to.
//!
//! ```text
//! backup v1:  magic "HLDBKUP\n" │ version u16 1 │ reserved u16 0
//!             │ incarnation { counter u32, nonce u64 } │ last commit u64
//!             │ files u32, then for each { name u8 length + text, length u64, crc u32 }
//!             │ crc u32 of all before
//! ```

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use headland_event::{ByteCount, CommitNumber, Incarnation};

use super::directory::{DiskFile, DiskMedium, sync_directory};
use super::manifest::{Manifest, Part, read_manifest};
use crate::chain::{self};
use crate::cursor::{Cursor, Frame, NextCommit, Step};
use crate::fault::{Fault, OpenError};
use crate::frame::{FILE_HEADER_LEN, FIRST_FRAME_AT, FileHeader, FrameHeader, FrameKind};
use crate::identity;
use crate::index::FileKind;
use crate::log::{LogReader, ReadError};
use crate::lookup::Shared;
use crate::medium::{Medium, MediumError, MediumFile, Operation};
use crate::reader::JournalReader;
use crate::recovery::recover;
use crate::snapshot::{SnapshotStore, is_snapshot};
use crate::tail;
use crate::witness::{WITNESS_NAME, Witness};

/// Times a copy is made before what keeps it from being whole is reported.
const ATTEMPTS: u32 = 5;

/// Time between them: longer than a node takes to seal its journal.
const RETRY_AFTER: Duration = Duration::from_millis(1_300);

/// Bytes copied at once.
const COPY_BYTES: usize = 1 << 20;

/// Bytes of commits read back at once.
const CHECK_BYTES: ByteCount = ByteCount::mebibytes(4);

/// What a backup holds, or what was restored from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BackupReport {
    /// The last commit in it.
    pub last_commit: CommitNumber,
    /// Files in it.
    pub files: usize,
    /// Their bytes.
    pub bytes: ByteCount,
    /// The life that was saved, or the new one that was restored.
    pub incarnation: Incarnation,
    /// Places at which commits are damaged, in the original as in the backup; of a restored one
    /// 0, because nobody looked.
    pub damaged: usize,
}

/// A backup that could not be made or restored.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BackupError {
    /// There is no journal to save.
    #[error("{directory} holds no journal")]
    NoJournal {
        /// The directory.
        directory: String,
    },
    /// It does not say which life it is of.
    #[error("{directory} holds no identity")]
    NoIdentity {
        /// The directory.
        directory: String,
    },
    /// There is something already; nothing is overwritten.
    #[error("{directory} is not empty")]
    NotEmpty {
        /// The directory.
        directory: String,
    },
    /// No finished backup.
    #[error("{directory} holds no finished backup")]
    NotABackup {
        /// The directory.
        directory: String,
        /// What is wrong with the file `backup`, when there is one.
        source: Option<Fault>,
    },
    /// A file of a backup is not what was saved.
    #[error("{file} in the backup is damaged")]
    Damaged {
        /// Name of the file.
        file: String,
    },
    /// The copy does not open: the original is damaged.
    #[error("the copy cannot be opened")]
    Open(#[source] OpenError),
    /// The copy cannot be read back.
    #[error("the copy cannot be read back")]
    Read(#[source] ReadError),
    /// A file system failed.
    #[error("a file could not be copied")]
    Medium(#[from] MediumError),
}

/// Saves a data directory, in use or not, to one that is empty or missing, and reads it back.
///
/// What was acknowledged up to about a second ago is in it: all of a journal that is closed or
/// idle, and of a busy one everything but the group that is written at the moment. Cost: reads the
/// journal twice.
///
/// # Errors
/// [`BackupError`]; the target then holds no finished backup.
pub fn backup(data: &Path, target: &Path) -> Result<BackupReport, BackupError> {
    backup_patiently(data, target, || thread::sleep(RETRY_AFTER))
}

/// As [`backup`], with a way to wait between attempts.
pub(super) fn backup_patiently(
    data: &Path,
    target: &Path,
    wait: impl Fn(),
) -> Result<BackupReport, BackupError> {
    check_empty(target)?;
    let mut attempt = 1;
    loop {
        let is_last = attempt == ATTEMPTS;
        match copy_once(data, target, is_last) {
            Ok(report) => return Ok(report),
            Err(error) if is_last || !is_transient(&error) => return Err(error),
            Err(_) => {
                attempt += 1;
                wait();
                for name in list(target)? {
                    let path = target.join(name);
                    std::fs::remove_file(&path).map_err(failed(Operation::Name, &path))?;
                }
            }
        }
    }
}

/// Makes a data directory from a backup, with a new incarnation.
///
/// `nonce` is 64 random bits that tell the new life from any other. Nothing is there under the
/// name of the directory before all of it is.
///
/// # Errors
/// [`BackupError`]; the directory is then missing or empty as before.
pub fn restore(saved: &Path, data: &Path, nonce: u64) -> Result<BackupReport, BackupError> {
    let manifest = manifest_of(saved)?;
    check_empty(data)?;
    let name = data.file_name().unwrap_or_default().to_string_lossy();
    let unfinished = data.with_file_name(format!("{name}.restoring"));
    if unfinished.exists() {
        std::fs::remove_dir_all(&unfinished).map_err(failed(Operation::Name, &unfinished))?;
    }
    let mut medium = DiskMedium::open(&unfinished).map_err(BackupError::Open)?;
    for part in &manifest.parts {
        let copied = copy(&saved.join(&part.name), &unfinished.join(&part.name), u64::MAX)?;
        if copied != *part {
            return Err(BackupError::Damaged { file: part.name.clone() });
        }
    }
    let incarnation = identity::renew(&mut medium, nonce, manifest.incarnation)?;
    medium.sync_names()?;
    drop(medium);
    std::fs::rename(&unfinished, data).map_err(failed(Operation::Name, data))?;
    sync_directory(data.parent().filter(|parent| !parent.as_os_str().is_empty()))
        .map_err(failed(Operation::Name, data))?;
    Ok(BackupReport { incarnation, ..manifest.report() })
}

/// What can be over a moment later: the node went on, or has not sealed yet.
const fn is_transient(error: &BackupError) -> bool {
    match error {
        BackupError::Open(_) | BackupError::Read(_) | BackupError::Medium(_) => true,
        BackupError::NoJournal { .. }
        | BackupError::NoIdentity { .. }
        | BackupError::NotEmpty { .. }
        | BackupError::NotABackup { .. }
        | BackupError::Damaged { .. } => false,
    }
}

fn copy_once(data: &Path, target: &Path, is_last: bool) -> Result<BackupReport, BackupError> {
    let incarnation = identity_of(data)?;
    let (closed, _) = journal_files(data)?;
    let mut medium = DiskMedium::open(target).map_err(BackupError::Open)?;
    let mut parts = Vec::new();
    for name in &closed {
        parts.push(copy(&data.join(name), &target.join(name), u64::MAX)?);
    }
    // The bulk took its time. What follows takes little, so the snapshots go with this end of the
    // journal: they are of commits that are durable already, and cleaning keeps what is behind
    // them.
    let had_snapshots = copy_snapshots(data, target, &mut parts)?;
    let (closed, newest) = journal_files(data)?;
    for name in &closed {
        if !parts.iter().any(|part| part.name == *name) {
            parts.push(copy(&data.join(name), &target.join(name), u64::MAX)?);
        }
    }
    for part in parts.extract_if(.., |part| is_stale(&part.name, &closed)) {
        let path = target.join(part.name);
        std::fs::remove_file(&path).map_err(failed(Operation::Name, &path))?;
    }
    let seal = acknowledged_end(&data.join(&newest), witness_of(data)?.as_ref(), is_last)?;
    parts.push(copy(&data.join(&newest), &target.join(&newest), seal.position)?);
    let sealed = medium.open(&newest)?;
    sealed.write_at(ByteCount::new(seal.position), &seal.encode())?;
    sealed.sync()?;
    let (last_commit, damaged) = read_back(&mut medium, incarnation, is_last)?;
    let kept = list(target)?;
    parts.retain(|part| kept.contains(&part.name));
    if had_snapshots && !is_last && !parts.iter().any(|part| is_snapshot(&part.name)) {
        return Err(without_snapshots(data).into());
    }
    for part in &mut parts {
        *part = examine(&target.join(&part.name))?;
    }
    let manifest = Manifest { incarnation, last_commit, parts };
    manifest.write(&mut medium)?;
    Ok(BackupReport { damaged, ..manifest.report() })
}

/// The journal's files but the newest, and that one.
fn journal_files(data: &Path) -> Result<(Vec<String>, String), BackupError> {
    let mut names = list(data)?;
    names.retain(|name| chain::parse_name(name).is_some());
    let newest = names.iter().filter(|name| is_journal(name)).max().cloned();
    let newest = newest.ok_or_else(|| BackupError::NoJournal { directory: shown(data) })?;
    names.retain(|name| *name != newest);
    Ok((names, newest))
}

/// Whether a file of the journal that was copied was cleaned away since.
fn is_stale(name: &str, closed: &[String]) -> bool {
    chain::parse_name(name).is_some() && !closed.iter().any(|closed| closed == name)
}

/// Copies the snapshots; says whether there are any.
fn copy_snapshots(data: &Path, target: &Path, parts: &mut Vec<Part>) -> Result<bool, MediumError> {
    let mut names = list(data)?;
    names.retain(|name| is_snapshot(name));
    for name in &names {
        parts.push(copy(&data.join(name), &target.join(name), u64::MAX)?);
    }
    Ok(!names.is_empty())
}

/// The newest group, of which all snapshots were, was not known durable yet.
fn without_snapshots(data: &Path) -> MediumError {
    let source = io::Error::other("every snapshot is newer than what was known durable");
    MediumError::Io { operation: Operation::Read, name: shown(data), source }
}

/// Opens a copy and reads every commit of it; takes away what is no part of it.
///
/// Returns the last commit, and at how many places commits are damaged, of which `is_last` allows
/// any number: then the original is damaged there too.
fn read_back(
    medium: &mut DiskMedium,
    incarnation: Incarnation,
    is_last: bool,
) -> Result<(CommitNumber, usize), BackupError> {
    let recovery = recover(medium).map_err(BackupError::Open)?;
    debug_assert!(recovery.in_doubt.is_empty(), "the copy ends with a seal");
    let reader = JournalReader::new(Shared::new(recovery.index));
    let (mut next, mut damaged) = (CommitNumber::new(1), 0);
    while next <= reader.last_commit() {
        next = match reader.replay(next, CHECK_BYTES) {
            Ok(replayed) => replayed.next,
            Err(ReadError::QuarantinedCommits(left)) if is_last => {
                damaged += 1;
                left.until
            }
            Err(error) => return Err(BackupError::Read(error)),
        };
    }
    let last = reader.last_commit();
    let (_, ahead) = SnapshotStore::open(medium.clone(), incarnation, last)?;
    ahead.remove(medium)?;
    Ok((last, damaged))
}

/// The seal that ends the copy of a journal's newest file: behind all that is known durable.
///
/// It stands in for what says so in the original and is not copied: without it damage to the end
/// of the copy would pass for an unfinished write. When nothing is known durable yet, the first
/// group was just written and is in doubt; `is_last` then takes what is valid, as opening the
/// directory would.
fn acknowledged_end(
    path: &Path,
    witness: Option<&Witness>,
    is_last: bool,
) -> Result<FrameHeader, BackupError> {
    let unfinished = || MediumError::Io {
        operation: Operation::Read,
        name: shown(path),
        source: io::Error::from(io::ErrorKind::UnexpectedEof),
    };
    let file = DiskFile::read_only(path)?;
    let size = file.size()?.get();
    let mut bytes = vec![0; FILE_HEADER_LEN];
    file.read_at(ByteCount::new(0), &mut bytes)?;
    let header = FileHeader::decode(bytes.into()).map_err(|_| unfinished())?;
    let witness = witness.filter(|witness| witness.nonce == header.nonce);
    let mut walk = DurableWalk::new(&header, witness);
    walk.run(&file, size)?;
    let end = if walk.durable >= header.opening_end {
        walk.durable
    } else if is_last && walk.at >= header.opening_end {
        walk.at
    } else {
        return Err(unfinished().into());
    };
    let commit = walk.next_at.get(&end).copied().ok_or_else(unfinished)?;
    Ok(FrameHeader::seal(header.nonce, end, commit))
}

/// A walk over the frames of a file that its writer may be appending to.
struct DurableWalk {
    nonce: u64,
    /// Where it is.
    at: u64,
    /// What it expects there.
    next: NextCommit,
    /// Highest position known durable.
    durable: u64,
    /// Number of the first commit behind a position, for each where a frame begins or ends.
    next_at: BTreeMap<u64, CommitNumber>,
}

impl DurableWalk {
    fn new(header: &FileHeader, witness: Option<&Witness>) -> Self {
        let (at, next) = (FIRST_FRAME_AT, NextCommit::Exactly(header.base));
        let mut next_at = BTreeMap::from([(at, header.base)]);
        next_at.extend(witness.map(|witness| (witness.end, witness.next)));
        let durable = witness.map_or(0, |witness| witness.end);
        Self { nonce: header.nonce, at, next, durable, next_at }
    }

    /// Goes on to the first frame that was not finished, past damage.
    fn run(&mut self, file: &DiskFile, size: u64) -> Result<(), MediumError> {
        loop {
            self.walk(Cursor::new(file.clone(), self.nonce, self.next, self.at, size))?;
            // Without proof that more was durable this is the end, of which the writer may be
            // writing more at the moment.
            let proof = tail::examine(file, Some(self.nonce), self.at, size)?.proof;
            self.durable = self.durable.max(proof.map_or(0, |proof| proof.durable));
            if self.durable <= self.at {
                return Ok(());
            }
            (self.at, self.next) = (self.durable, NextCommit::Any);
        }
    }

    /// Reads valid frames that follow each other.
    fn walk(&mut self, mut cursor: Cursor<DiskFile>) -> Result<(), MediumError> {
        while let Step::Frame(Frame { header, .. }) = cursor.step()? {
            let behind = match header.kind {
                FrameKind::Commit => header.commit.after(1),
                FrameKind::Seal | FrameKind::Chain => header.commit,
            };
            self.durable = self.durable.max(header.durable);
            self.next_at.extend([(header.position, header.commit), (header.end(), behind)]);
            // A file of tiny commits has millions of frames; those below are not asked for.
            self.next_at = self.next_at.split_off(&self.durable.min(header.position));
        }
        self.at = cursor.position();
        Ok(())
    }
}

/// What the witness beside a journal says, when there is one that is whole.
fn witness_of(data: &Path) -> Result<Option<Witness>, MediumError> {
    let path = data.join(WITNESS_NAME);
    match std::fs::read(&path) {
        Ok(content) => Ok(Witness::decode(content.into()).ok()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failed(Operation::Read, &path)(error)),
    }
}

/// Copies the first `limit` bytes of a file and makes them durable.
fn copy(from: &Path, to: &Path, limit: u64) -> Result<Part, MediumError> {
    let mut source = File::open(from).map_err(failed(Operation::Open, from))?.take(limit);
    let mut target = File::create_new(to).map_err(failed(Operation::Create, to))?;
    let part = digest(from, &mut source, |bytes| {
        target.write_all(bytes).map_err(failed(Operation::Write, to))
    })?;
    target.sync_all().map_err(failed(Operation::Sync, to))?;
    Ok(part)
}

/// Length and CRC of a file.
fn examine(path: &Path) -> Result<Part, BackupError> {
    let mut source = File::open(path).map_err(failed(Operation::Open, path))?;
    Ok(digest(path, &mut source, |_| Ok(()))?)
}

fn digest(
    path: &Path,
    source: &mut impl Read,
    mut sink: impl FnMut(&[u8]) -> Result<(), MediumError>,
) -> Result<Part, MediumError> {
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let mut part = Part { name, length: 0, crc: 0 };
    let mut buffer = vec![0; COPY_BYTES];
    loop {
        let count = source.read(&mut buffer).map_err(failed(Operation::Read, path))?;
        let bytes = buffer.get(..count).unwrap_or_default();
        if bytes.is_empty() {
            return Ok(part);
        }
        sink(bytes)?;
        part.length += crate::group::byte_count(bytes.len()).get();
        part.crc = crc32c::crc32c_append(part.crc, bytes);
    }
}

fn identity_of(data: &Path) -> Result<Incarnation, BackupError> {
    let content = std::fs::read(data.join(identity::IDENTITY_NAME));
    let decoded = content.ok().and_then(|content| identity::decode(content.into()).ok());
    decoded.ok_or_else(|| BackupError::NoIdentity { directory: shown(data) })
}

fn manifest_of(saved: &Path) -> Result<Manifest, BackupError> {
    read_manifest(saved)
        .map_err(|source| BackupError::NotABackup { directory: shown(saved), source })
}

fn check_empty(directory: &Path) -> Result<(), BackupError> {
    match std::fs::read_dir(directory) {
        Ok(mut found) => match found.next() {
            Some(_) => Err(BackupError::NotEmpty { directory: shown(directory) }),
            None => Ok(()),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(failed(Operation::List, directory)(error).into()),
    }
}

fn list(directory: &Path) -> Result<Vec<String>, MediumError> {
    let found = std::fs::read_dir(directory).map_err(failed(Operation::List, directory))?;
    let names = found.map(|found| found.map(|found| found.file_name().into_string().ok()));
    let names = names.collect::<io::Result<Vec<_>>>();
    Ok(names.map_err(failed(Operation::List, directory))?.into_iter().flatten().collect())
}

fn is_journal(name: &str) -> bool {
    chain::parse_name(name).is_some_and(|(kind, _)| kind == FileKind::Journal)
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}

fn failed(operation: Operation, path: &Path) -> impl Fn(io::Error) -> MediumError {
    let name: PathBuf = path.to_owned();
    move |error| MediumError::new(operation, shown(&name), error)
}

#[cfg(test)]
mod tests;
