//! Bytes of a file on their way to lines.

use bytes::{Bytes, BytesMut};

use super::generation::{FINGERPRINT_BYTES, FileId, Generation};

/// Longest line: a longer one is cut here and becomes dead letters.
const LINE_BYTES_LIMIT: usize = 4 << 20;

/// What was read of a file and is no line yet, between the ends of what is.
#[derive(Debug, Default)]
pub(super) struct Text {
    /// The first bytes of the lines that were taken.
    head: Vec<u8>,
    /// The last bytes of the lines that were taken.
    tail: Vec<u8>,
    /// Bytes behind them.
    pending: BytesMut,
}

impl Text {
    /// Goes on behind lines that begin and end so.
    pub(super) fn behind(head: &[u8], tail: &[u8]) -> Self {
        debug_assert_eq!(head.len(), tail.len(), "both ends are of the same bytes");
        Self { head: head.to_vec(), tail: tail.to_vec(), pending: BytesMut::new() }
    }

    /// Which generation of a path these bytes are, read from `file`.
    pub(super) fn generation(&self, file: FileId) -> Generation {
        Generation::new(file, &self.head, &self.tail)
    }

    /// Bytes that are no line yet.
    pub(super) fn pending_bytes(&self) -> u64 {
        u64::try_from(self.pending.len()).unwrap_or(u64::MAX)
    }

    /// The last bytes that were read: the file still has them, or is another one by now.
    pub(super) fn last_read(&self) -> Vec<u8> {
        let kept = self.pending.len().min(FINGERPRINT_BYTES);
        let before = self.tail.len().min(FINGERPRINT_BYTES - kept);
        let tail = self.tail.iter().skip(self.tail.len() - before);
        tail.chain(self.pending.iter().skip(self.pending.len() - kept)).copied().collect()
    }

    /// Adds bytes that were read.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.pending.extend_from_slice(bytes);
    }

    /// The next line with its line break.
    pub(super) fn take_line(&mut self) -> Option<Bytes> {
        let end = match self.pending.iter().position(|byte| *byte == b'\n') {
            Some(end) => end + 1,
            None if self.pending.len() >= LINE_BYTES_LIMIT => self.pending.len(),
            None => return None,
        };
        Some(self.take(end))
    }

    /// What is left without a line break, `None` when nothing is.
    pub(super) fn take_rest(&mut self) -> Option<Bytes> {
        (!self.pending.is_empty()).then(|| self.take(self.pending.len()))
    }

    fn take(&mut self, end: usize) -> Bytes {
        let taken = self.pending.split_to(end).freeze();
        let missing = FINGERPRINT_BYTES.saturating_sub(self.head.len());
        self.head.extend(taken.iter().take(missing));
        let before = FINGERPRINT_BYTES.saturating_sub(taken.len());
        self.tail.drain(..self.tail.len().saturating_sub(before));
        self.tail.extend(taken.iter().skip(taken.len().saturating_sub(FINGERPRINT_BYTES)));
        debug_assert_eq!(self.head.len(), self.tail.len(), "both ends are of the same bytes");
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ends_are_kept_whatever_the_lines_are() {
        let text: Vec<u8> = (0..120_u32).flat_map(|n| format!("line {n}\n").into_bytes()).collect();
        let mut read = Text::default();

        for piece in text.chunks(7) {
            read.push(piece);
            while read.take_line().is_some() {}
        }

        let file = FileId::new(1, 2);
        let end = text.len() - FINGERPRINT_BYTES;
        let expected = Generation::new(file, &text[..FINGERPRINT_BYTES], &text[end..]);
        assert_eq!(read.generation(file), expected);
        assert_eq!(read.last_read(), text[end..]);
    }

    #[test]
    fn bytes_without_a_line_break_count_as_read_and_not_as_taken() {
        let mut read = Text::behind(b"one\n", b"one\n");

        read.push(b"tw");

        assert_eq!(read.take_line(), None);
        assert_eq!(read.last_read(), b"one\ntw");
        assert_eq!(read.pending_bytes(), 2);
        assert_eq!(read.take_rest().as_deref(), Some(&b"tw"[..]));
        assert_eq!(read.take_rest(), None);
    }

    #[test]
    fn a_line_beyond_the_limit_is_cut_there() {
        let mut read = Text::default();
        read.push(&vec![b'x'; LINE_BYTES_LIMIT - 1]);
        assert_eq!(read.take_line(), None);

        read.push(b"x");

        assert_eq!(read.take_line().map(|line| line.len()), Some(LINE_BYTES_LIMIT));
    }
}
