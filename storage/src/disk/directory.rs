//! A data directory and its files.
//!
//! The lock is an advisory one on the file `lock`, which the kernel releases with the process, so
//! a crash never leaves a directory locked. A name is durable after `fsync` of the directory.

use std::fs::{File, OpenOptions as FileOptions};
use std::io;
use std::num::NonZeroU64;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use bytes::Bytes;
use headland_event::ByteCount;
use rustix::fs::{Advice, FallocateFlags, FlockOperation, fadvise, fallocate, flock};
use rustix::io::Errno;

use super::sled_state::SledState;
use crate::fault::OpenError;
use crate::medium::{Medium, MediumError, MediumFile, Operation};
use crate::place::Place;
use crate::store::{OpenOptions, Store};

const LOCK_NAME: &str = "lock";
/// 32 hexadecimal digits that a machine gets when it is installed, not when its disk is copied.
const MACHINE_ID: &str = "/etc/machine-id";
/// Suffix of a file that is not yet in place; left over ones are overwritten.
const UNFINISHED_SUFFIX: &str = ".new";

/// A store in a directory.
pub type DiskStore = Store<DiskMedium, SledState>;

impl DiskStore {
    /// Opens the store in a directory and creates what is missing; blocks on the disk.
    ///
    /// Cost: reads the whole journal once, and once more from the state mark on.
    ///
    /// # Errors
    /// [`OpenError::Locked`] when another process has it open; others as they say.
    pub fn open(directory: impl AsRef<Path>, options: OpenOptions) -> Result<Self, OpenError> {
        let directory = directory.as_ref();
        let medium = DiskMedium::open(directory)?;
        Self::start(medium, options, |incarnation| {
            SledState::open(directory, incarnation, options.cache_bytes)
        })
    }
}

/// A directory that this process has locked, until the last clone is dropped.
#[derive(Debug, Clone)]
pub struct DiskMedium {
    directory: PathBuf,
    handle: Arc<File>,
    lock: Arc<File>,
}

impl DiskMedium {
    /// Creates the directory if it is missing, and locks it.
    ///
    /// # Errors
    /// [`OpenError::Locked`] when another process has it; [`OpenError::Medium`] when I/O fails.
    pub fn open(directory: &Path) -> Result<Self, OpenError> {
        let shown = directory.display().to_string();
        let failed = |error| MediumError::new(Operation::Open, shown.clone(), error);
        std::fs::create_dir_all(directory).map_err(failed)?;
        sync_directory(directory.parent().filter(|parent| !parent.as_os_str().is_empty()))
            .map_err(failed)?;
        let lock = FileOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(directory.join(LOCK_NAME))
            .map_err(failed)?;
        match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => return Err(OpenError::Locked { directory: shown }),
            Err(error) => return Err(failed(error.into()).into()),
        }
        let handle = Arc::new(File::open(directory).map_err(failed)?);
        Ok(Self { directory: directory.to_owned(), handle, lock: Arc::new(lock) })
    }
}

impl Medium for DiskMedium {
    type File = DiskFile;

    fn list(&self) -> Result<Vec<String>, MediumError> {
        let failed = |error| MediumError::new(Operation::List, "", error);
        let mut names = Vec::new();
        for found in std::fs::read_dir(&self.directory).map_err(failed)? {
            // A name that is not UTF-8 is none of ours.
            names.extend(found.map_err(failed)?.file_name().into_string().ok());
        }
        Ok(names)
    }

    fn open(&self, name: &str) -> Result<DiskFile, MediumError> {
        let file = FileOptions::new().read(true).write(true).open(self.directory.join(name));
        file.map(|file| DiskFile::new(file, name))
            .map_err(|error| MediumError::new(Operation::Open, name, error))
    }

    fn create(&mut self, name: &str, size: ByteCount) -> Result<DiskFile, MediumError> {
        let path = self.directory.join(name);
        let failed = |error| MediumError::new(Operation::Create, name, error);
        let options = FileOptions::new().read(true).write(true).create_new(true).clone();
        let file = options.open(&path).map_err(failed)?;
        if let Err(error) = allocate(&file, size) {
            // The name was created above, so it is ours to take away; if that fails too, the next
            // open finds an empty file and takes it away.
            drop(std::fs::remove_file(&path));
            return Err(failed(error));
        }
        Ok(DiskFile::new(file, name))
    }

    fn remove(&mut self, name: &str) -> Result<(), MediumError> {
        std::fs::remove_file(self.directory.join(name))
            .map_err(|error| MediumError::new(Operation::Name, name, error))
    }

    fn sync_names(&mut self) -> Result<(), MediumError> {
        let synced = self.handle.sync_all();
        synced.map_err(|error| MediumError::new(Operation::Name, "", error))
    }

    fn load(&self, name: &str) -> Result<Option<Bytes>, MediumError> {
        match std::fs::read(self.directory.join(name)) {
            Ok(content) => Ok(Some(content.into())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(MediumError::new(Operation::Read, name, error)),
        }
    }

    fn replace(&mut self, name: &str, content: &[u8]) -> Result<(), MediumError> {
        replace(&self.directory, name, content)
            .map_err(|error| MediumError::new(Operation::Name, name, error))
    }

    /// The lock's file is created once and stays: its number in the file system, when it was made,
    /// since numbers of files that are removed are given anew, and the machine's.
    fn place(&self) -> Result<Place, MediumError> {
        let lock = self.lock.metadata();
        let lock = lock.map_err(|error| MediumError::new(Operation::Read, LOCK_NAME, error))?;
        let made = lock.created().ok().and_then(|made| made.duration_since(UNIX_EPOCH).ok());
        let made = made.and_then(|made| u64::try_from(made.as_nanos()).ok());
        let machine = machine(std::fs::read_to_string(MACHINE_ID));
        let machine = machine.map_err(|error| MediumError::new(Operation::Read, MACHINE_ID, error));
        Ok(Place { file: Some(lock.ino()), made, machine: machine? })
    }
}

/// A number of this machine, by the text that it is known by; `None` of one that has none, as in
/// many containers. What cannot be read may be there, and is an error.
fn machine(text: io::Result<String>) -> io::Result<Option<u64>> {
    match text {
        Ok(id) => {
            let first = id.trim().get(..16).map(|first| u64::from_str_radix(first, 16));
            Ok(first.and_then(Result::ok))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Makes the names in a directory durable.
pub(super) fn sync_directory(directory: Option<&Path>) -> io::Result<()> {
    File::open(directory.unwrap_or_else(|| Path::new(".")))?.sync_all()
}

/// Puts a file in place of the old one: write, `fsync`, rename, `fsync` of the directory.
pub(super) fn replace(directory: &Path, name: &str, content: &[u8]) -> io::Result<()> {
    let unfinished = directory.join(format!("{name}{UNFINISHED_SUFFIX}"));
    let written =
        std::fs::write(&unfinished, content).and_then(|()| File::open(&unfinished)?.sync_all());
    if let Err(error) = written {
        // On a full disk what was written of it would take up room that somebody waits for.
        drop(std::fs::remove_file(&unfinished));
        return Err(error);
    }
    std::fs::rename(&unfinished, directory.join(name))?;
    File::open(directory)?.sync_all()
}

/// Allocates room, so that a full disk is met here and not in the middle of a write.
fn allocate(file: &File, size: ByteCount) -> io::Result<()> {
    match fallocate(file, FallocateFlags::empty(), 0, size.get()) {
        Ok(()) => Ok(()),
        // A file system that cannot allocate ahead says no in the middle of a write, which is safe
        // and costs a new file.
        Err(Errno::OPNOTSUPP) => file.set_len(size.get()),
        Err(error) => Err(error.into()),
    }
}

/// An open file of a [`DiskMedium`].
#[derive(Debug, Clone)]
pub struct DiskFile {
    file: Arc<File>,
    name: Arc<str>,
}

impl DiskFile {
    fn new(file: File, name: &str) -> Self {
        Self { file: Arc::new(file), name: Arc::from(name) }
    }

    /// A file of a directory that another process may have open.
    pub(super) fn read_only(path: &Path) -> Result<Self, MediumError> {
        let name = path.display().to_string();
        let file = File::open(path);
        file.map(|file| Self::new(file, &name))
            .map_err(|error| MediumError::new(Operation::Open, name.clone(), error))
    }

    fn failed(&self, operation: Operation) -> impl Fn(io::Error) -> MediumError + '_ {
        move |error| MediumError::new(operation, &*self.name, error)
    }
}

impl MediumFile for DiskFile {
    fn size(&self) -> Result<ByteCount, MediumError> {
        let metadata = self.file.metadata().map_err(self.failed(Operation::Resize))?;
        Ok(ByteCount::new(metadata.len()))
    }

    fn read_at(&self, position: ByteCount, buffer: &mut [u8]) -> Result<(), MediumError> {
        let read = self.file.read_exact_at(buffer, position.get());
        read.map_err(self.failed(Operation::Read))
    }

    fn let_go(&self, position: ByteCount, length: ByteCount) {
        // A length of 0 would mean all that follows. Where it cannot be done memory stays in use.
        if let Some(length) = NonZeroU64::new(length.get()) {
            let _unused = fadvise(&*self.file, position.get(), Some(length), Advice::DontNeed);
        }
    }

    fn write_at(&self, position: ByteCount, bytes: &[u8]) -> Result<(), MediumError> {
        let written = self.file.write_all_at(bytes, position.get());
        written.map_err(self.failed(Operation::Write))
    }

    fn sync(&self) -> Result<(), MediumError> {
        // `fdatasync` flushes the size and the mapping of blocks too, as far as they are needed to
        // read the bytes back.
        self.file.sync_data().map_err(self.failed(Operation::Sync))
    }

    fn truncate(&self, size: ByteCount) -> Result<(), MediumError> {
        self.file.set_len(size.get()).map_err(self.failed(Operation::Resize))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_without_a_name_is_unknown_and_one_whose_name_cannot_be_read_is_an_error() {
        let text = |text: &str| machine(Ok(text.to_owned())).unwrap();
        let failing = |kind: io::ErrorKind| machine(Err(kind.into()));

        assert_eq!(text("00000000000000ff0123456789abcdef\n"), Some(255));
        assert_eq!([text(""), text("uninitialized\n")], [None, None]);
        assert_eq!(failing(io::ErrorKind::NotFound).unwrap(), None);
        assert!(failing(io::ErrorKind::PermissionDenied).is_err());
    }
}
