//! sled as the cache of state.
//!
//! sled 0.34's `flush` orders writes but does not make them durable (`sync_file_range` only, and
//! nothing at all for values large enough to get a file in `blobs`). So a *state mark* is a flush,
//! then `fdatasync` on sled's files, and only then a marker file that names the commit. After any
//! stop the cache counts as of its marker, whatever else reached the disk: replaying absolute
//! values over later ones ends at the same state.
//!
//! Nothing sled says is taken on trust. Opening reads every row and checks that all of them add up
//! to what the last commit left; a panic is an error like any other; and a cache without a valid
//! marker, that does not open, or that does not add up, is deleted, to be rebuilt from the journal.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use headland_event::{ByteCount, CommitNumber, Incarnation};

use super::contained::{DATABASE_NAME, Database};
use super::directory::replace;
use super::marker::{self, Lives, MARKER_NAME};
use super::row::{Row, TOTALS_KEY, Totals, stored_key};
use super::waiting::Waiting;
use crate::commit::{StateChange, StateOwner};
use crate::group::byte_count;
use crate::state::{StateCache, StateError, StateStore};

const DIRECTORY_NAME: &str = "state";
const BLOBS_NAME: &str = "blobs";

/// The cache of state in a directory of its own inside the data directory.
#[derive(Debug)]
pub struct SledState {
    data: PathBuf,
    incarnation: Incarnation,
    cache_bytes: ByteCount,
    /// `None` only while the directory is being replaced.
    database: Option<Database>,
    mark: CommitNumber,
    /// Of the rows that sled has.
    totals: Totals,
    waiting: Waiting,
}

impl SledState {
    /// Opens the cache as of its marker, or starts an empty one.
    ///
    /// Cost: reads every row once, so time and memory grow with the rows, memory beyond
    /// `cache_bytes` too: sled keeps a table of all its pages.
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
            database: None,
            mark: mark.unwrap_or_default(),
            totals: Totals::default(),
            waiting: Waiting::default(),
        };
        if mark.is_none() || !state.reopens() {
            state.clear()?;
        }
        Ok(state)
    }

    /// Whether sled opens, is whole, and holds what the marker says or more.
    fn reopens(&mut self) -> bool {
        let opened = self.open_database().and_then(|()| self.add_up());
        opened.is_ok_and(|totals| {
            self.totals = totals.unwrap_or_default();
            // A directory that was emptied or put back has none or older ones.
            totals.is_some_and(|totals| totals.commit >= self.mark)
        })
    }

    /// The totals that sled holds, `None` unless its rows are whole and add up to them.
    fn add_up(&self) -> Result<Option<Totals>, StateError> {
        self.database()?.run(|sled| {
            let mut found = Totals::default();
            let mut stored = None;
            for row in sled.iter() {
                let (key, row) = row?;
                if *key == TOTALS_KEY {
                    stored = Totals::decode(&row);
                } else if Row::is_whole(&key, &row) {
                    found.add(&row);
                } else {
                    return Ok(None);
                }
            }
            found.commit = stored.map_or(found.commit, |stored| stored.commit);
            Ok(stored.filter(|stored| *stored == found))
        })
    }

    fn directory(&self) -> PathBuf {
        self.data.join(DIRECTORY_NAME)
    }

    fn open_database(&mut self) -> Result<(), StateError> {
        self.database = Some(Database::open(&self.directory(), self.cache_bytes)?);
        Ok(())
    }

    fn database(&self) -> Result<&Database, StateError> {
        self.database
            .as_ref()
            .ok_or_else(|| StateError::Cache { reason: "it is not open".to_owned() })
    }

    /// Vouches for what was made durable. Before the first mark nothing was, and nothing vouches.
    fn write_marker(&self, lives: Lives, commit: CommitNumber) -> Result<(), StateError> {
        if commit == CommitNumber::default() {
            return Ok(());
        }
        replace(&self.data, MARKER_NAME, &marker::encode(lives, commit)).map_err(failed)
    }

    fn row(&self, owner: &StateOwner, key: &[u8]) -> Result<Option<Row>, StateError> {
        let key = stored_key(owner, key);
        let decoded = |stored: &[u8]| Row::decode(&key, stored).ok_or_else(|| damaged(owner));
        if let Some(stored) = self.waiting.get(&key) {
            return decoded(stored).map(Some);
        }
        let stored = self.database()?.run(|sled| sled.get(&key))?;
        stored.map(|stored| decoded(&stored)).transpose()
    }

    /// Gives sled what waits, all at once.
    fn write_waiting(&mut self) -> Result<(), StateError> {
        let Some(reached) = self.waiting.reached() else { return Ok(()) };
        let (waiting, before) = (&self.waiting, self.totals.as_of(reached));
        self.totals = self.database()?.run(|sled| {
            let mut totals = before;
            let mut batch = sled::Batch::default();
            for (key, row) in waiting.range(b"") {
                if let Some(old) = sled.get(key)? {
                    totals.remove(&old);
                }
                totals.add(row);
                batch.insert(key, row);
            }
            batch.insert(&TOTALS_KEY, totals.encode());
            sled.apply_batch(batch)?;
            Ok(totals)
        })?;
        self.waiting.clear();
        Ok(())
    }
}

fn failed(error: impl std::fmt::Display) -> StateError {
    StateError::Cache { reason: error.to_string() }
}

fn damaged(owner: &StateOwner) -> StateError {
    StateError::Corrupt { owner: owner.clone() }
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
        let (prefix, from) = (stored_key(owner, b""), stored_key(owner, from));
        let mut waiting = self.waiting.range(&from).peekable();
        let rows = self.database()?.run(|sled| {
            let mut stored = sled.range(from.clone()..).peekable();
            let mut rows = Vec::new();
            let mut bytes = 0;
            loop {
                let next = match stored.peek() {
                    Some(Ok((key, _))) => Some(key.clone()),
                    Some(Err(error)) => return Err(error.clone()),
                    None => None,
                };
                // Of a key that is in both, what waits is the newer one.
                let newer = waiting.next_if(|(key, _)| next.as_ref().is_none_or(|n| *key <= &**n));
                let (key, row) = match newer {
                    Some((key, row)) => {
                        let _older = stored.next_if(|found| {
                            found.as_ref().is_ok_and(|(older, _)| **older == *key)
                        });
                        (sled::IVec::from(key), sled::IVec::from(row))
                    }
                    None => match stored.next() {
                        Some(found) => found?,
                        None => break,
                    },
                };
                let Some(own_key) = key.strip_prefix(&*prefix) else { break };
                let Some(Row { value, .. }) = Row::decode(&key, &row) else { return Ok(None) };
                let Some(value) = value else { continue };
                bytes += byte_count(own_key.len() + value.len()).get();
                if bytes > limit.get() && !rows.is_empty() {
                    break;
                }
                rows.push((Bytes::copy_from_slice(own_key), value));
            }
            Ok(Some(rows))
        })?;
        rows.ok_or_else(|| damaged(owner))
    }
}

impl StateCache for SledState {
    fn mark(&self) -> CommitNumber {
        self.mark
    }

    fn reached(&self) -> CommitNumber {
        self.waiting.reached().unwrap_or(self.totals.commit)
    }

    fn newest(&self, owner: &StateOwner, key: &[u8]) -> Result<Option<CommitNumber>, StateError> {
        Ok(self.row(owner, key)?.map(|row| row.commit))
    }

    fn apply(&mut self, commit: CommitNumber, changes: &[StateChange]) -> Result<(), StateError> {
        // The last change of a key in a commit is the one that counts.
        for StateChange { owner, key, value } in changes {
            let key = stored_key(owner, key);
            let row = Row::encode(&key, commit, value.as_ref());
            self.waiting.set(commit, key, row);
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
        let before = self.totals;
        self.totals = self.database()?.run(|sled| {
            let mut totals = before;
            let Some(stored) = sled.get(&key)? else { return Ok(totals) };
            let row = Row::decode(&key, &stored);
            if row.is_some_and(|row| row.value.is_none() && row.commit <= commit) {
                totals.remove(&stored);
                let mut batch = sled::Batch::default();
                batch.remove(key);
                batch.insert(&TOTALS_KEY, totals.encode());
                sled.apply_batch(batch)?;
            }
            Ok(totals)
        })?;
        Ok(())
    }

    fn set_mark(&mut self, commit: CommitNumber) -> Result<(), StateError> {
        self.write_waiting()?;
        let totals = self.totals.as_of(commit);
        self.database()?.run(|sled| {
            sled.insert(TOTALS_KEY, totals.encode())?;
            sled.flush()
        })?;
        self.totals = totals;
        sync_files(&self.directory()).map_err(failed)?;
        self.write_marker(Lives::only(self.incarnation), commit)?;
        self.mark = commit;
        Ok(())
    }

    fn announce_life(&mut self, life: Incarnation) -> Result<(), StateError> {
        self.write_marker(Lives { now: self.incarnation, next: life }, self.mark)
    }

    fn begin_life(&mut self, life: Incarnation) -> Result<(), StateError> {
        self.incarnation = life;
        self.write_marker(Lives::only(life), self.mark)
    }

    fn clear(&mut self) -> Result<(), StateError> {
        self.database = None;
        self.mark = CommitNumber::default();
        self.totals = Totals::default();
        self.waiting.clear();
        // The marker goes first and durably: a crash in between must not leave one that vouches
        // for an empty cache.
        remove_if_present(std::fs::remove_file(self.data.join(MARKER_NAME)))?;
        File::open(&self.data).and_then(|names| names.sync_all()).map_err(failed)?;
        remove_if_present(std::fs::remove_dir_all(self.directory()))?;
        self.open_database()
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
