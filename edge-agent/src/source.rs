//! Follows files as they grow.
//!
//! A line is read once it is complete, or its file has a successor. Truncated and rotated files are
//! recognised by their inode and by the bytes around the position (`Generation`), also over a
//! restart. Two things nobody can see: a file that was truncated and has grown since the last
//! look, unless other bytes stand where it was read last, and then what it held in between; and a
//! file that came and went between two looks.

use std::fs::File;
use std::io::ErrorKind;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use headland_event::ByteCount;
use headland_platform::clock::Clock;
use headland_platform::task;

/// Which file a position belongs to.
mod generation;
/// Bytes on their way to lines.
mod text;
/// What to read next.
mod follow;

use crate::decode::Line;
use crate::outbox::FilePosition;
use follow::{AtPath, Change, Follow, Opened, Place, Read, Step};
use generation::FINGERPRINT_BYTES;
pub use generation::{FileId, Generation};

/// Bytes read at once.
const CHUNK_BYTES: usize = 256 << 10;

/// Lines of a file, and where the next one starts.
#[derive(Debug)]
pub struct Chunk {
    /// The lines.
    pub lines: Vec<Line>,
    /// The beginning of a line whose rest was truncated before it could be read.
    pub cut: Option<Line>,
    /// The position after them.
    pub position: FilePosition,
}

/// A file that cannot be followed for now.
#[derive(Debug, thiserror::Error)]
#[error("cannot read {path}")]
pub struct FollowError {
    /// The file.
    pub path: PathBuf,
    /// What the machine said.
    pub source: std::io::Error,
}

/// One file that is followed.
#[derive(Debug)]
pub struct Follower {
    follow: Follow,
    path: PathBuf,
    file: OpenFile,
}

impl Follower {
    /// Goes on at `position`; the file may not exist yet.
    #[must_use]
    pub fn new(path: &Path, position: FilePosition) -> Self {
        let file = OpenFile { path: path.to_owned(), file: None };
        Self { follow: Follow::new(position), path: path.to_owned(), file }
    }

    /// The next lines, as soon as there are some.
    ///
    /// # Errors
    /// [`FollowError`]; called again it waits and tries again.
    ///
    /// # Cancel safety
    /// None: a step under way is lost. Drop the follower with the future.
    pub async fn next(&mut self, clock: &Clock) -> Result<Chunk, FollowError> {
        loop {
            match self.follow.poll_step() {
                Some(Step::Take(chunk)) => return Ok(chunk),
                Some(Step::Report(change)) => self.report(change),
                Some(Step::Open(place)) => {
                    let position = self.follow.position();
                    let opened = self.file.run(move |file| file.open(place, position)).await;
                    let opened = opened.map_err(|source| self.failed(clock, source))?;
                    self.follow.on_opened(clock.monotonic(), opened);
                }
                Some(Step::Read(from)) => {
                    let read = self.file.run(move |file| file.read(from)).await;
                    let read = read.map_err(|source| self.failed(clock, source))?;
                    self.follow.on_read(clock.monotonic(), read);
                }
                None => {
                    if let Some(due) = self.follow.poll_timeout() {
                        tokio::time::sleep(clock.until(due)).await;
                    }
                    self.follow.on_timeout(clock.monotonic());
                }
            }
        }
    }

    fn report(&self, change: Change) {
        let path = self.path.display();
        match change {
            Change::Rotated => {
                tracing::info!(%path, "a followed file was rotated; its successor is begun");
            }
            Change::Truncated => {
                tracing::info!(%path, "a followed file was truncated; read again from its start");
            }
            Change::Overwritten => tracing::warn!(
                %path,
                "a followed file was truncated and has grown since; read again from its start, \
                 lines it held in between may be missing"
            ),
            Change::Exchanged => tracing::warn!(
                %path,
                "a followed file was exchanged while the agent was down; read from its start, \
                 the last lines of the one before may be missing"
            ),
        }
    }

    fn failed(&mut self, clock: &Clock, source: std::io::Error) -> FollowError {
        self.follow.on_failed(clock.monotonic());
        FollowError { path: self.path.clone(), source }
    }
}

/// The first line of a file, `None` while it is not complete.
///
/// # Errors
/// [`FollowError`].
pub fn first_line(path: &Path) -> Result<Option<Line>, FollowError> {
    let failed = |source| FollowError { path: path.to_owned(), source };
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(failed(source)),
    };
    let beginning = read_at(&file, ByteCount::default(), CHUNK_BYTES).map_err(failed)?;
    let line = beginning.split_inclusive(|byte| *byte == b'\n').next();
    Ok(line
        .filter(|line| line.ends_with(b"\n"))
        .map(|line| Line { bytes: Bytes::copy_from_slice(trimmed(line)), number: 1 }))
}

/// The file that is open, and the path it was found at.
#[derive(Debug, Default)]
struct OpenFile {
    path: PathBuf,
    file: Option<File>,
}

impl OpenFile {
    /// Works on the file on a thread that may block.
    async fn run<T: Send + 'static>(
        &mut self,
        work: impl FnOnce(&mut Self) -> std::io::Result<T> + Send + 'static,
    ) -> std::io::Result<T> {
        let mut file = std::mem::take(self);
        let working = task::spawn_blocking("source", move || {
            let result = work(&mut file);
            (file, result)
        });
        match working.join().await {
            Some((file, result)) => {
                *self = file;
                result
            }
            None => Err(std::io::Error::other("the agent is stopping")),
        }
    }

    fn open(&mut self, place: Place, position: FilePosition) -> std::io::Result<Option<Opened>> {
        self.file = None;
        let path = match place {
            Place::Path => Some(self.path.clone()),
            Place::Renamed(generation) => renamed(&self.path, generation),
        };
        let file = match path.map(File::open).transpose() {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        let Some(file) = file else { return Ok(None) };
        let found = file.metadata()?;
        let known = ByteCount::new(position.bytes).as_len().min(FINGERPRINT_BYTES);
        let before = position.bytes.saturating_sub(u64::try_from(known).unwrap_or(u64::MAX));
        let head = read_at(&file, ByteCount::default(), known)?;
        let tail = read_at(&file, ByteCount::new(before), known)?;
        let id = FileId::new(found.dev(), found.ino());
        self.file = Some(file);
        Ok(Some(Opened { file: id, length: ByteCount::new(found.len()), head, tail }))
    }

    /// Reads, and looks at what stands at the path only afterwards: what is read before a
    /// successor is seen may not be all.
    fn read(&mut self, from: ByteCount) -> std::io::Result<Read> {
        let Some(file) = &self.file else {
            return Err(std::io::Error::new(ErrorKind::NotFound, "no file is open"));
        };
        let known = ByteCount::new(file.metadata()?.len().saturating_sub(from.get()));
        let limit = known.as_len().min(FINGERPRINT_BYTES + CHUNK_BYTES);
        let bytes = read_at(file, from, limit)?;
        let length = ByteCount::new(file.metadata()?.len());
        let at_path = std::fs::metadata(&self.path).ok().map(|found| AtPath {
            file: FileId::new(found.dev(), found.ino()),
            length: ByteCount::new(found.len()),
        });
        Ok(Read { bytes, length, at_path })
    }
}

/// The file of a generation under another name in the folder of `path`; none when the folder
/// cannot be listed.
fn renamed(path: &Path, generation: Generation) -> Option<PathBuf> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let entries = std::fs::read_dir(folder.unwrap_or_else(|| Path::new("."))).ok()?;
    entries.filter_map(Result::ok).find_map(|entry| {
        let found = entry.metadata().ok()?;
        let file = FileId::new(found.dev(), found.ino());
        (found.is_file() && file.has_inode_of(generation)).then(|| entry.path())
    })
}

/// Up to `limit` bytes, fewer only at the end of the file.
fn read_at(file: &File, from: ByteCount, limit: usize) -> std::io::Result<Vec<u8>> {
    let mut bytes = vec![0_u8; limit];
    let mut filled = 0;
    while let Some(rest) = bytes.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        let at = from.get().saturating_add(u64::try_from(filled).unwrap_or(u64::MAX));
        match file.read_at(rest, at) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    bytes.truncate(filled);
    Ok(bytes)
}

fn trimmed(line: &[u8]) -> &[u8] {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    line.strip_suffix(b"\r").unwrap_or(line)
}

#[cfg(test)]
mod tests;
