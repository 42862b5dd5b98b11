//! Follows files as they grow.
//!
//! A line is read once it is complete. A file that is shorter than what was read of it was
//! replaced, which is said and not read again: its lines would be doubled.

use std::io::{ErrorKind, SeekFrom};
use std::path::{Path, PathBuf};

use bytes::{Bytes, BytesMut};
use tokio::fs::File;
use tokio::io::{AsyncReadExt, AsyncSeekExt};

use crate::decode::Line;
use crate::outbox::FilePosition;

/// Most lines handed on at once: a commit of them stays well below its limit.
const LINES_LIMIT: usize = 1_000;

/// Bytes read at once.
const CHUNK_BYTES: usize = 256 << 10;

/// Longest line: a longer one is cut here and becomes dead letters.
const LINE_BYTES_LIMIT: usize = 4 << 20;

/// Lines of a file, and where the next one starts.
#[derive(Debug)]
pub struct Chunk {
    /// The lines.
    pub lines: Vec<Line>,
    /// The position after them.
    pub position: FilePosition,
}

/// A file that cannot be followed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FollowError {
    /// The machine refused to open or read it.
    #[error("cannot read {path}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the machine said.
        source: std::io::Error,
    },
    /// The file is shorter than what was read of it.
    #[error(
        "{path} has {found} bytes, {read} were read: it was replaced; move the old lines back \
             or give the source another path"
    )]
    Shrunk {
        /// The file.
        path: PathBuf,
        /// Its bytes now.
        found: u64,
        /// Bytes read of it.
        read: u64,
    },
}

/// One file that is followed.
#[derive(Debug)]
pub struct Follower {
    path: PathBuf,
    file: Option<File>,
    position: FilePosition,
    buffer: BytesMut,
}

impl Follower {
    /// Goes on at `position`; the file may not exist yet.
    #[must_use]
    pub fn new(path: &Path, position: FilePosition) -> Self {
        Self { path: path.to_owned(), file: None, position, buffer: BytesMut::new() }
    }

    /// The first line of the file, `None` while it is not complete.
    ///
    /// # Errors
    /// [`FollowError::Io`].
    ///
    /// # Cancel safety
    /// Nothing is taken.
    pub async fn first_line(&self) -> Result<Option<Line>, FollowError> {
        let mut file = match File::open(&self.path).await {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(self.failed(source)),
        };
        let mut beginning = vec![0_u8; CHUNK_BYTES];
        let count = file.read(&mut beginning).await.map_err(|source| self.failed(source))?;
        let line =
            beginning.get(..count).and_then(|bytes| bytes.split_inclusive(|b| *b == b'\n').next());
        Ok(line
            .filter(|line| line.ends_with(b"\n"))
            .map(|line| Line { bytes: Bytes::copy_from_slice(trimmed(line)), number: 1 }))
    }

    /// The next complete lines, `None` when there is none yet.
    ///
    /// # Errors
    /// [`FollowError`].
    ///
    /// # Cancel safety
    /// Bytes read stay in the buffer; lines are only taken when they are returned.
    pub async fn next(&mut self) -> Result<Option<Chunk>, FollowError> {
        if !self.buffer.contains(&b'\n') {
            self.fill().await?;
        }
        Ok(self.take_lines())
    }

    async fn fill(&mut self) -> Result<(), FollowError> {
        if self.file.is_none() {
            self.open().await?;
        }
        let Some(file) = &mut self.file else { return Ok(()) };
        self.buffer.reserve(CHUNK_BYTES);
        let read = file.read_buf(&mut self.buffer).await;
        read.map(drop).map_err(|source| self.failed(source))
    }

    async fn open(&mut self) -> Result<(), FollowError> {
        let mut file = match File::open(&self.path).await {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            Err(source) => return Err(self.failed(source)),
        };
        let found = file.metadata().await.map_err(|source| self.failed(source))?.len();
        let read = self.position.bytes;
        if found < read {
            return Err(FollowError::Shrunk { path: self.path.clone(), found, read });
        }
        file.seek(SeekFrom::Start(read)).await.map_err(|source| self.failed(source))?;
        self.file = Some(file);
        Ok(())
    }

    fn take_lines(&mut self) -> Option<Chunk> {
        let mut lines = Vec::new();
        while lines.len() < LINES_LIMIT {
            let end = match self.buffer.iter().position(|byte| *byte == b'\n') {
                Some(end) => end + 1,
                None if self.buffer.len() >= LINE_BYTES_LIMIT => self.buffer.len(),
                None => break,
            };
            let bytes = self.buffer.split_to(end).freeze();
            self.position.bytes += u64::try_from(end).unwrap_or(0);
            self.position.lines += 1;
            let kept = trimmed(&bytes).len();
            lines.push(Line { bytes: bytes.slice(..kept), number: self.position.lines });
        }
        (!lines.is_empty()).then_some(Chunk { lines, position: self.position })
    }

    fn failed(&self, source: std::io::Error) -> FollowError {
        FollowError::Io { path: self.path.clone(), source }
    }
}

fn trimmed(line: &[u8]) -> &[u8] {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    line.strip_suffix(b"\r").unwrap_or(line)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn texts(chunk: Option<Chunk>) -> Vec<String> {
        let lines = chunk.map(|chunk| chunk.lines).unwrap_or_default();
        lines.iter().map(|line| String::from_utf8_lossy(&line.bytes).into_owned()).collect()
    }

    #[tokio::test]
    async fn a_line_is_read_once_it_is_complete_and_reading_goes_on_where_it_stopped() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("in.jsonl");
        let mut follower = Follower::new(&path, FilePosition::default());
        assert!(follower.next().await.unwrap().is_none());

        let mut file = std::fs::File::create(&path).unwrap();
        file.write_all(b"one\r\ntw").unwrap();
        let first = follower.next().await.unwrap().unwrap();
        let position = first.position;
        assert!(follower.next().await.unwrap().is_none());
        file.write_all(b"o\nthree\n").unwrap();
        let rest = follower.next().await.unwrap();
        let again = Follower::new(&path, position).next().await.unwrap();

        assert_eq!(texts(Some(first)), ["one"]);
        assert_eq!(texts(rest), ["two", "three"]);
        assert_eq!(texts(again), ["two", "three"]);
    }

    #[tokio::test]
    async fn a_file_that_was_replaced_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("in.jsonl");
        std::fs::write(&path, b"one\n").unwrap();

        let position = FilePosition { bytes: 5, lines: 2 };
        let error = Follower::new(&path, position).next().await.unwrap_err();

        assert!(matches!(error, FollowError::Shrunk { found: 4, read: 5, .. }));
    }
}
