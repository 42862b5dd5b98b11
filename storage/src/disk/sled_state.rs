//! sled as the cache of state.
//!
//! sled 0.34's `flush` orders writes but does not make them durable (`sync_file_range` only, and
//! nothing at all for values large enough to get a file in `blobs`). So a *state mark* is a flush,
//! then `fdatasync` on sled's files, and only then a marker file that names the commit. After any
//! stop the cache counts as of its marker, whatever else reached the disk: replaying absolute
//! values over later ones ends at the same state. A cache without a valid marker is deleted.
//!
//! ```text
//! marker v1, 36 bytes:  magic "HLDMARK\n" │ version u16 1 │ reserved u16 0
//!                       │ incarnation { counter u32, nonce u64 } │ commit u64 │ crc u32
//! key in sled           owner u8 length + name │ key
//! value in sled         crc u32 of key in sled + value │ value
//! last mark in sled     key u8 0 │ value commit u64
//! ```

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use headland_event::codec::{Reader, Writer};
use headland_event::{ByteCount, CommitNumber, Incarnation};

use super::directory::replace;
use crate::commit::{StateChange, StateOwner};
use crate::fault::Fault;
use crate::frame::{FORMAT_VERSION, check_crc, check_version};
use crate::state::{StateCache, StateError, StateStore};

const DIRECTORY_NAME: &str = "state";
const DATABASE_NAME: &str = "db";
const BLOBS_NAME: &str = "blobs";
const MARKER_NAME: &str = "state.mark";
const MAGIC: [u8; 8] = *b"HLDMARK\n";
const CRC_LEN: usize = 4;
/// Key in sled of the last mark; an owner's name is never empty, so no owner can reach it.
const MARK_KEY: [u8; 1] = [0];

/// The cache of state in a directory of its own inside the data directory.
#[derive(Debug)]
pub struct SledState {
    data: PathBuf,
    incarnation: Incarnation,
    cache_bytes: ByteCount,
    /// `None` only while the directory is being replaced.
    database: Option<sled::Db>,
    mark: CommitNumber,
}

impl SledState {
    /// Opens the cache as of its marker, or starts an empty one.
    pub(crate) fn open(
        data: &Path,
        incarnation: Incarnation,
        cache_bytes: ByteCount,
    ) -> Result<Self, StateError> {
        let mark = read_marker(data, incarnation);
        let mut state = Self {
            data: data.to_owned(),
            incarnation,
            cache_bytes,
            database: None,
            mark: mark.unwrap_or_default(),
        };
        if mark.is_none() || !state.reopens() {
            state.clear()?;
        }
        Ok(state)
    }

    /// Whether sled opens, and holds what the marker says or more.
    fn reopens(&mut self) -> bool {
        self.open_database().is_ok()
            && self.marked_in_sled().is_ok_and(|marked| marked >= Some(self.mark))
    }

    /// The mark that sled holds: a directory that was emptied or put back has none or an old one.
    fn marked_in_sled(&self) -> Result<Option<CommitNumber>, StateError> {
        let stored = self.database()?.get(MARK_KEY).map_err(failed)?;
        let raw = stored.and_then(|stored| <[u8; 8]>::try_from(&*stored).ok());
        Ok(raw.map(|raw| CommitNumber::new(u64::from_be_bytes(raw))))
    }

    fn directory(&self) -> PathBuf {
        self.data.join(DIRECTORY_NAME)
    }

    fn open_database(&mut self) -> Result<(), StateError> {
        let database = sled::Config::new()
            .path(self.directory())
            .cache_capacity(self.cache_bytes.get())
            .flush_every_ms(None)
            .open()
            .map_err(failed)?;
        self.database = Some(database);
        Ok(())
    }

    fn database(&self) -> Result<&sled::Db, StateError> {
        self.database
            .as_ref()
            .ok_or_else(|| StateError::Cache { reason: "it is not open".to_owned() })
    }
}

fn failed(error: impl std::fmt::Display) -> StateError {
    StateError::Cache { reason: error.to_string() }
}

impl StateStore for SledState {
    fn get(&self, owner: &StateOwner, key: &[u8]) -> Result<Option<Bytes>, StateError> {
        let key = stored_key(owner, key);
        let found = self.database()?.get(&key).map_err(failed)?;
        found.map(|stored| value_of(owner, &key, &stored)).transpose()
    }

    fn scan(&self, owner: &StateOwner, prefix: &[u8]) -> Result<Vec<(Bytes, Bytes)>, StateError> {
        let skip = stored_key(owner, &[]).len();
        let found = self.database()?.scan_prefix(stored_key(owner, prefix));
        found
            .map(|pair| {
                let (key, stored) = pair.map_err(failed)?;
                let value = value_of(owner, &key, &stored)?;
                Ok((Bytes::copy_from_slice(key.get(skip..).unwrap_or_default()), value))
            })
            .collect()
    }
}

impl StateCache for SledState {
    fn mark(&self) -> CommitNumber {
        self.mark
    }

    fn apply(&mut self, changes: &[StateChange]) -> Result<(), StateError> {
        let mut batch = sled::Batch::default();
        for StateChange { owner, key, value } in changes {
            let key = stored_key(owner, key);
            match value {
                Some(value) => {
                    let stored = stored_value(&key, value);
                    batch.insert(key, stored);
                }
                None => batch.remove(key),
            }
        }
        self.database()?.apply_batch(batch).map_err(failed)
    }

    fn set_mark(&mut self, commit: CommitNumber) -> Result<(), StateError> {
        let marked = commit.get().to_be_bytes();
        self.database()?.insert(MARK_KEY, &marked).map_err(failed)?;
        self.database()?.flush().map_err(failed)?;
        sync_files(&self.directory()).map_err(failed)?;
        replace(&self.data, MARKER_NAME, &encode_marker(self.incarnation, commit))
            .map_err(failed)?;
        self.mark = commit;
        Ok(())
    }

    fn clear(&mut self) -> Result<(), StateError> {
        self.database = None;
        self.mark = CommitNumber::default();
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

fn stored_key(owner: &StateOwner, key: &[u8]) -> Vec<u8> {
    let mut writer = Writer::new();
    writer.name(owner.as_str());
    writer.raw(key);
    writer.as_slice().to_vec()
}

fn crc_of(key: &[u8], value: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(key), value)
}

fn stored_value(key: &[u8], value: &[u8]) -> Vec<u8> {
    [&crc_of(key, value).to_be_bytes(), value].concat()
}

fn value_of(owner: &StateOwner, key: &[u8], stored: &[u8]) -> Result<Bytes, StateError> {
    stored
        .split_first_chunk::<CRC_LEN>()
        .filter(|(crc, value)| **crc == crc_of(key, value).to_be_bytes())
        .map(|(_, value)| Bytes::copy_from_slice(value))
        .ok_or_else(|| StateError::Corrupt { owner: owner.clone() })
}

fn encode_marker(incarnation: Incarnation, commit: CommitNumber) -> Bytes {
    let mut writer = Writer::new();
    writer.raw(&MAGIC);
    writer.u16(FORMAT_VERSION);
    writer.u16(0);
    writer.incarnation(incarnation);
    writer.u64(commit.get());
    writer.u32(crc32c::crc32c(writer.as_slice()));
    writer.finish()
}

/// The marker's commit, when there is a marker of this life that can be read.
fn read_marker(data: &Path, incarnation: Incarnation) -> Option<CommitNumber> {
    let content = std::fs::read(data.join(MARKER_NAME)).ok()?;
    let (written_by, commit) = decode_marker(content.into()).ok()?;
    (written_by == incarnation).then_some(commit)
}

fn decode_marker(content: Bytes) -> Result<(Incarnation, CommitNumber), Fault> {
    check_crc("marker", &content)?;
    let mut reader = Reader::new(content);
    if *reader.take("marker magic", MAGIC.len())? != MAGIC {
        return Err(Fault::Magic);
    }
    check_version("marker version", reader.u16("marker version")?)?;
    reader.u16("reserved")?;
    let incarnation = reader.incarnation("incarnation")?;
    Ok((incarnation, CommitNumber::new(reader.u64("commit")?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_flipped_bit_of_a_marker_is_found() {
        let (life, commit) = (Incarnation::new(1, 2), CommitNumber::new(3));
        let content = encode_marker(life, commit);

        assert_eq!(decode_marker(content.clone()), Ok((life, commit)));
        for bit in 0..content.len() * 8 {
            let mut flipped = content.to_vec();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(decode_marker(flipped.into()).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn a_value_under_another_key_is_damage() {
        let owner = StateOwner::new("positions").unwrap();
        let stored = stored_value(b"a", b"value");

        assert_eq!(value_of(&owner, b"a", &stored).unwrap(), "value");
        assert!(matches!(value_of(&owner, b"b", &stored), Err(StateError::Corrupt { .. })));
    }
}
