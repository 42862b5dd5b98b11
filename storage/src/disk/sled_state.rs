//! sled as the cache of state.
//!
//! sled 0.34's `flush` orders writes but does not make them durable (`sync_file_range` only, and
//! nothing at all for values large enough to get a file in `blobs`). So a *state mark* is a flush,
//! then `fdatasync` on sled's files, and only then a marker file that names the commit. After any
//! stop the cache counts as of its marker, whatever else reached the disk: replaying absolute
//! values over later ones ends at the same state.
//!
//! What of that can be wrong is found by [`super::table`], or a panic is an error like any other. A
//! cache without a valid marker, that does not open, or that does not add up, is deleted, to be
//! rebuilt from the journal; damage that is found later takes the marker away at once, so that
//! whatever comes next does that too.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use headland_event::{ByteCount, CommitNumber, Incarnation};

use super::block::{Row, split_key, stored_key};
use super::contained::DATABASE_NAME;
use super::directory::replace;
use super::marker::{self, Lives, MARKER_NAME};
use super::table::Table;
use super::waiting::Waiting;
use crate::commit::{StateChange, StateOwner};
use crate::group::byte_count;
use crate::state::{Changes, StateCache, StateError, StateStore};

const DIRECTORY_NAME: &str = "state";
const BLOBS_NAME: &str = "blobs";

/// The cache of state in a directory of its own inside the data directory.
#[derive(Debug)]
pub struct SledState {
    data: PathBuf,
    incarnation: Incarnation,
    cache_bytes: ByteCount,
    /// `None` only while the directory is being replaced.
    table: Option<Table>,
    mark: CommitNumber,
    waiting: Waiting,
    /// Whether damage was found, so that it has to be rebuilt.
    is_damaged: AtomicBool,
}

impl SledState {
    /// Opens the cache as of its marker, or starts an empty one.
    ///
    /// Cost: reads a part of it that does not grow with the rows, beside sled's own table of its
    /// pages: 16 blocks of half a kibibyte to a page.
    pub(crate) fn open(
        data: &Path,
        incarnation: Incarnation,
        cache_bytes: ByteCount,
    ) -> Result<Self, StateError> {
        let mark = marker::read(data, incarnation);
        let mut state = Self {
            data: data.to_owned(),
            incarnation,
            cache_bytes,
            table: None,
            mark: mark.unwrap_or_default(),
            waiting: Waiting::default(),
            is_damaged: AtomicBool::new(false),
        };
        if mark.is_some() {
            let opened = Table::open(&state.directory(), cache_bytes).ok().flatten();
            // A directory that was emptied or put back is of no commit or an older one.
            state.table = opened.filter(|table| table.reached() >= state.mark);
        }
        if state.table.is_none() {
            state.clear()?;
        }
        Ok(state)
    }

    fn directory(&self) -> PathBuf {
        self.data.join(DIRECTORY_NAME)
    }

    fn table(&self) -> Result<&Table, StateError> {
        self.table.as_ref().ok_or_else(is_not_open)
    }

    fn table_mut(&mut self) -> Result<&mut Table, StateError> {
        self.table.as_mut().ok_or_else(is_not_open)
    }

    /// Vouches for what was made durable. Before the first mark nothing was, and nothing vouches.
    fn write_marker(&self, lives: Lives, commit: CommitNumber) -> Result<(), StateError> {
        if commit == CommitNumber::default() {
            return Ok(());
        }
        if self.is_damaged() {
            return Err(StateError::Cache { reason: "it is damaged".to_owned() });
        }
        replace(&self.data, MARKER_NAME, &marker::encode(lives, commit)).map_err(failed)
    }

    fn row(&self, owner: &StateOwner, key: &[u8]) -> Result<Option<Row>, StateError> {
        let key = stored_key(owner, key);
        match self.waiting.get(&key) {
            Some(row) => Ok(Some(row.clone())),
            None => self.watched(self.table()?.row(&key)),
        }
    }

    /// What was read or done, and notes when that found damage: nothing vouches for the cache any
    /// more.
    fn watched<T>(&self, done: Result<T, StateError>) -> Result<T, StateError> {
        done.inspect_err(|error| {
            if !error.is_damage() {
                return;
            }
            self.is_damaged.store(true, Ordering::Relaxed);
            // Should this fail the next opening finds the same damage when it comes here.
            drop(std::fs::remove_file(self.data.join(MARKER_NAME)));
        })
    }

    /// Gives sled what waits, all at once.
    fn write_waiting(&mut self) -> Result<(), StateError> {
        let Some(reached) = self.waiting.reached() else { return Ok(()) };
        let Self { table, waiting, .. } = self;
        let table = table.as_mut().ok_or_else(is_not_open)?;
        let edited = table.edit(reached, waiting.range(b"").map(|(key, row)| (key, Some(row))));
        self.watched(edited)?;
        self.waiting.clear();
        Ok(())
    }
}

fn is_not_open() -> StateError {
    StateError::Cache { reason: "it is not open".to_owned() }
}

fn failed(error: impl std::fmt::Display) -> StateError {
    StateError::Cache { reason: error.to_string() }
}

impl StateStore for SledState {
    fn get(&self, owner: &StateOwner, key: &[u8]) -> Result<Option<Bytes>, StateError> {
        Ok(self.row(owner, key)?.and_then(|row| row.value))
    }

    fn scan_from(
        &self,
        owner: &StateOwner,
        from: &[u8],
        limit: ByteCount,
    ) -> Result<Vec<(Bytes, Bytes)>, StateError> {
        let from = stored_key(owner, from);
        let (prefix, _) = split_key(&from);
        let mut stored = self.table()?.walk(&from).peekable();
        let waiting = self.waiting.range(&from).take_while(|(key, _)| key.starts_with(prefix));
        let mut waiting = waiting.peekable();
        let mut rows = Vec::new();
        let mut bytes = 0;
        loop {
            // What waits must not fill the page in the place of rows that cannot be read.
            if let Some(damaged @ Err(_)) = stored.next_if(Result::is_err) {
                self.watched(damaged)?;
            }
            let next = stored.peek().and_then(|found| found.as_ref().ok()).map(|(key, _)| key);
            // Of a key that is in both, what waits is the newer one.
            let newer = waiting.next_if(|(key, _)| next.is_none_or(|next| *key <= &**next));
            let (key, row) = match newer {
                Some((key, row)) => {
                    let is_older = |found: &Result<(Vec<u8>, Row), _>| {
                        found.as_ref().is_ok_and(|(older, _)| **older == *key)
                    };
                    let _older = stored.next_if(is_older);
                    (key.to_vec(), row.clone())
                }
                None => match stored.next() {
                    Some(found) => self.watched(found)?,
                    None => break,
                },
            };
            let (Row { value: Some(value), .. }, (_, own_key)) = (row, split_key(&key)) else {
                continue;
            };
            bytes += byte_count(own_key.len() + value.len()).get();
            if bytes > limit.get() && !rows.is_empty() {
                break;
            }
            rows.push((Bytes::copy_from_slice(own_key), value));
        }
        Ok(rows)
    }
}

impl StateCache for SledState {
    fn mark(&self) -> CommitNumber {
        self.mark
    }

    fn reached(&self) -> CommitNumber {
        let stored = self.table.as_ref().map_or_else(CommitNumber::default, Table::reached);
        self.waiting.reached().unwrap_or(stored)
    }

    fn newest(&self, owner: &StateOwner, key: &[u8]) -> Result<Option<CommitNumber>, StateError> {
        Ok(self.row(owner, key)?.map(|row| row.commit))
    }

    fn changes_of(
        &mut self,
        commits: Range<CommitNumber>,
        limit: ByteCount,
    ) -> Result<Option<Vec<StateChange>>, StateError> {
        self.write_waiting()?;
        let table = self.table()?;
        let mut changes = Changes::new(limit);
        for prefix in table.owners() {
            let name = prefix.get(1..).map(String::from_utf8_lossy).unwrap_or_default();
            let owner = StateOwner::new(&name).map_err(failed)?;
            for found in table.walk(&prefix) {
                let (key, Row { commit, value }) = self.watched(found)?;
                let (_, own_key) = split_key(&key);
                if commits.contains(&commit) {
                    changes.push(&owner, &Bytes::copy_from_slice(own_key), value);
                }
            }
        }
        Ok(changes.finish())
    }

    fn apply(&mut self, commit: CommitNumber, changes: &[StateChange]) -> Result<(), StateError> {
        // The last change of a key in a commit is the one that counts.
        for StateChange { owner, key, value } in changes {
            let key = stored_key(owner, key);
            self.waiting.set(commit, key, value.as_ref());
        }
        if self.waiting.is_full() { self.write_waiting() } else { Ok(()) }
    }

    fn forget(
        &mut self,
        owner: &StateOwner,
        key: &[u8],
        commit: CommitNumber,
    ) -> Result<(), StateError> {
        let key = stored_key(owner, key);
        if self.waiting.get(&key).is_some() {
            self.write_waiting()?;
        }
        let row = self.watched(self.table()?.row(&key))?;
        if row.is_some_and(|row| row.value.is_none() && row.commit <= commit) {
            let table = self.table_mut()?;
            let edited = table.edit(table.reached(), std::iter::once((key.as_slice(), None)));
            self.watched(edited)?;
        }
        Ok(())
    }

    fn set_mark(&mut self, commit: CommitNumber) -> Result<(), StateError> {
        self.write_waiting()?;
        let flushed = self.table_mut()?.flush(commit);
        self.watched(flushed)?;
        sync_files(&self.directory()).map_err(failed)?;
        self.write_marker(Lives::only(self.incarnation), commit)?;
        self.mark = commit;
        Ok(())
    }

    fn is_damaged(&self) -> bool {
        self.is_damaged.load(Ordering::Relaxed)
    }

    fn announce_life(&mut self, life: Incarnation) -> Result<(), StateError> {
        self.write_marker(Lives { now: self.incarnation, next: life }, self.mark)
    }

    fn begin_life(&mut self, life: Incarnation) -> Result<(), StateError> {
        self.incarnation = life;
        self.write_marker(Lives::only(life), self.mark)
    }

    fn clear(&mut self) -> Result<(), StateError> {
        self.table = None;
        self.mark = CommitNumber::default();
        self.waiting.clear();
        // The marker goes first and durably: a crash in between must not leave one that vouches
        // for an empty cache.
        remove_if_present(std::fs::remove_file(self.data.join(MARKER_NAME)))?;
        File::open(&self.data).and_then(|names| names.sync_all()).map_err(failed)?;
        remove_if_present(std::fs::remove_dir_all(self.directory()))?;
        self.table = Some(Table::create(&self.directory(), self.cache_bytes)?);
        self.is_damaged.store(false, Ordering::Relaxed);
        Ok(())
    }
}

/// What sled leaves out: its log, its large values, and the names of both.
fn sync_files(directory: &Path) -> io::Result<()> {
    let blobs = directory.join(BLOBS_NAME);
    for blob in std::fs::read_dir(&blobs)? {
        match File::open(blob?.path()) {
            Ok(file) => file.sync_data()?,
            // sled removes the files of values that were replaced.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    File::open(blobs)?.sync_all()?;
    File::open(directory.join(DATABASE_NAME))?.sync_data()?;
    File::open(directory)?.sync_all()
}

fn remove_if_present(removed: io::Result<()>) -> Result<(), StateError> {
    match removed {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed(error)),
        Ok(()) | Err(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests;
