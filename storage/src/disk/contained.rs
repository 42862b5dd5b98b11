//! sled behind a wall: its panics are errors here.
//!
//! sled asserts what it believes of its own files, so damage can panic instead of being reported.
//! Every call goes through [`contain`], which turns a panic into an error of the cache; after one
//! the database is not trusted again, not even to close itself, and is left behind.

use std::cell::Cell;
use std::fs::{File, TryLockError};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use headland_event::ByteCount;
use rustix::io::Errno;

use crate::state::StateError;

/// Name of the file that sled keeps everything but large values in.
pub(super) const DATABASE_NAME: &str = "db";

/// How often to look whether sled has closed its file, and how long to wait in between: a second
/// in all, and hardly ever more than once.
const CLOSE_ATTEMPTS: u32 = 1_000;
const CLOSE_PAUSE: Duration = Duration::from_millis(1);

thread_local! {
    static CONTAINED: Cell<bool> = const { Cell::new(false) };
}

/// Whether a panic of this thread, now, would be caught and answered by rebuilding a state cache.
///
/// For a panic hook that ends the process: a binary for which a broken invariant is the end leaves
/// these alone.
#[must_use]
pub fn is_panic_contained() -> bool {
    CONTAINED.get()
}

/// Runs a call of sled; a panic comes back as an error.
pub(super) fn contain<T>(work: impl FnOnce() -> sled::Result<T>) -> Result<T, Failure> {
    let outer = CONTAINED.replace(true);
    // What a panic leaves half done is inside sled, and no later call reaches it.
    let result = catch_unwind(AssertUnwindSafe(work));
    CONTAINED.set(outer);
    match result {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(sled::Error::Io(error))) if is_passing(&error) => {
            Err(Failure::Starved(error.to_string()))
        }
        Ok(Err(error)) => Err(Failure::Refused(error.to_string())),
        Err(panic) => {
            let text = panic
                .downcast_ref::<String>()
                .map(String::as_str)
                .or_else(|| panic.downcast_ref::<&str>().copied());
            Err(Failure::Panicked(text.unwrap_or("no message").to_owned()))
        }
    }
}

/// Whether a call failed for want of what other calls hold now, which says nothing about the files.
///
/// Any other error of the file system counts as damage: a file that is missing, short or cannot be
/// read stays so, and after a failed write sled is of no use until it is opened anew.
fn is_passing(error: &io::Error) -> bool {
    let wanted = [Errno::MFILE, Errno::NFILE, Errno::NOMEM, Errno::INTR, Errno::AGAIN];
    Errno::from_io_error(error).is_some_and(|errno| wanted.contains(&errno))
}

/// How a call of sled failed.
#[derive(Debug)]
pub(super) enum Failure {
    /// It lacked file descriptors or memory.
    Starved(String),
    /// It said so.
    Refused(String),
    /// It panicked.
    Panicked(String),
}

impl From<Failure> for StateError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Starved(reason) => Self::Unavailable { reason },
            Failure::Refused(reason) => Self::Cache { reason },
            Failure::Panicked(text) => Self::Cache { reason: format!("it panicked: {text}") },
        }
    }
}

/// A sled database whose panics stay inside.
#[derive(Debug)]
pub(super) struct Database {
    /// `None` only while it is dropped.
    sled: Option<sled::Db>,
    /// The file that it locks as long as it is open.
    file: PathBuf,
    has_panicked: AtomicBool,
}

impl Database {
    /// Opens or creates the database in a directory, with `cache_bytes` of memory for its pages.
    pub(super) fn open(directory: &Path, cache_bytes: ByteCount) -> Result<Self, StateError> {
        let config = sled::Config::new()
            .path(directory)
            .cache_capacity(cache_bytes.get())
            .flush_every_ms(None);
        let sled = Some(contain(|| config.open())?);
        let file = directory.join(DATABASE_NAME);
        Ok(Self { sled, file, has_panicked: AtomicBool::new(false) })
    }

    /// Runs calls on the database, unless it panicked before.
    pub(super) fn run<T>(
        &self,
        work: impl FnOnce(&sled::Db) -> sled::Result<T>,
    ) -> Result<T, StateError> {
        let Some(sled) = self.sled.as_ref().filter(|_| !self.has_panicked()) else {
            return Err(StateError::Cache { reason: "it panicked before".to_owned() });
        };
        let result = contain(|| work(sled));
        if let Err(Failure::Panicked(_)) = result {
            self.has_panicked.store(true, Ordering::Relaxed);
        }
        Ok(result?)
    }

    /// Waits until sled's own threads have let go of its file.
    ///
    /// They write in the background and keep it open a little longer than the database, which lets
    /// the next opening fail, and the file system be busy, when the machine is. Its lock on the
    /// file ends with the last of them.
    fn wait_until_closed(&self) {
        let Ok(file) = File::open(&self.file) else { return };
        for _ in 0..CLOSE_ATTEMPTS {
            match file.try_lock() {
                Err(TryLockError::WouldBlock) => thread::sleep(CLOSE_PAUSE),
                Ok(()) | Err(TryLockError::Error(_)) => return,
            }
        }
    }

    fn has_panicked(&self) -> bool {
        self.has_panicked.load(Ordering::Relaxed)
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        let sled = self.sled.take();
        if self.has_panicked() {
            // Closing would wait for what the panic left undone. What leaks is at most the cache's
            // memory, once for each panic.
            std::mem::forget(sled);
        } else {
            // A panic while closing changes nothing: what counts is what the marker vouches for.
            drop(contain(move || {
                drop(sled);
                Ok(())
            }));
            self.wait_until_closed();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_an_error_and_the_database_is_not_used_again() {
        let directory = tempfile::tempdir().unwrap();
        let database = Database::open(directory.path(), ByteCount::mebibytes(1)).unwrap();

        let panicked = database.run(|_| -> sled::Result<()> { panic!("page {} is gone", 7) });
        let after = database.run(|sled| sled.insert("a", "b").map(drop));

        assert_eq!(
            panicked.unwrap_err().to_string(),
            "the state cache failed: it panicked: page 7 is gone"
        );
        assert_eq!(after.unwrap_err().to_string(), "the state cache failed: it panicked before");
        assert!(!is_panic_contained());
    }

    #[test]
    fn no_file_is_open_any_more_once_the_database_is_dropped() {
        let directory = tempfile::tempdir().unwrap();
        for round in 0_u64..40 {
            let database = Database::open(directory.path(), ByteCount::mebibytes(1)).unwrap();
            for key in 0_u64..200 {
                let insert = |sled: &sled::Db| sled.insert(key.to_be_bytes(), vec![7; 3_000]);
                database.run(insert).unwrap();
            }

            drop(database);

            let open = std::fs::read_dir("/proc/self/fd").unwrap();
            let open = open.filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok());
            let left = open.filter(|path| path.starts_with(directory.path())).count();
            assert_eq!(left, 0, "in round {round}");
        }
    }

    #[test]
    fn a_panic_is_contained_only_inside_a_call() {
        let inside = contain(|| Ok(is_panic_contained())).unwrap();

        assert!(inside && !is_panic_contained());
    }
}
