//! Bytes of a file on their way to lines.

use bytes::{Bytes, BytesMut};

use super::generation::{FINGERPRINT_BYTES, FileId, Generation};

/// Bytes of a line that are kept: of a longer one the rest is passed over, up to its line break,
/// and what is kept becomes its dead letter.
const LINE_BYTES_LIMIT: usize = 4 << 20;

/// A line that was taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Taken {
    /// Its bytes with its line break; of one that is too long the first ones, without.
    pub(super) bytes: Bytes,
    /// How many bytes of the file it is.
    pub(super) length: u64,
}

/// What was read of a file and is no line yet, between the ends of what is.
#[derive(Debug, Default)]
pub(super) struct Text {
    /// The first bytes of the lines that were taken.
    head: Vec<u8>,
    /// The last bytes of the lines that were taken.
    tail: Vec<u8>,
    /// Bytes behind them: of a line that is too long its beginning and the last bytes read.
    pending: BytesMut,
    /// Bytes between these two.
    skipped: u64,
}

impl Text {
    /// Goes on behind lines that begin and end so.
    pub(super) fn behind(head: &[u8], tail: &[u8]) -> Self {
        debug_assert_eq!(head.len(), tail.len(), "both ends are of the same bytes");
        let (head, tail) = (head.to_vec(), tail.to_vec());
        Self { head, tail, pending: BytesMut::new(), skipped: 0 }
    }

    /// Which generation of a path these bytes are, read from `file`.
    pub(super) fn generation(&self, file: FileId) -> Generation {
        Generation::new(file, &self.head, &self.tail)
    }

    /// Bytes that are no line yet.
    pub(super) fn pending_bytes(&self) -> u64 {
        length_of(&self.pending).saturating_add(self.skipped)
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
    pub(super) fn take_line(&mut self) -> Option<Taken> {
        let known = if self.skipped > 0 { LINE_BYTES_LIMIT } else { 0 };
        let unseen = self.pending.iter().skip(known);
        match unseen.into_iter().position(|byte| *byte == b'\n') {
            Some(end) => Some(self.take(known + end + 1)),
            None => {
                self.skip();
                None
            }
        }
    }

    /// What is left without a line break, `None` when nothing is.
    pub(super) fn take_rest(&mut self) -> Option<Taken> {
        (!self.pending.is_empty()).then(|| self.take(self.pending.len()))
    }

    /// Passes over the middle of a line that is too long, but not over the last bytes read.
    fn skip(&mut self) {
        let beyond = self.pending.len().saturating_sub(LINE_BYTES_LIMIT + FINGERPRINT_BYTES);
        if beyond == 0 {
            return;
        }
        let last = self.pending.split_off(LINE_BYTES_LIMIT + beyond);
        self.pending.truncate(LINE_BYTES_LIMIT);
        self.pending.extend_from_slice(&last);
        self.skipped = self.skipped.saturating_add(u64::try_from(beyond).unwrap_or(u64::MAX));
        debug_assert_eq!(last.len(), FINGERPRINT_BYTES, "the last bytes read are kept");
    }

    fn take(&mut self, end: usize) -> Taken {
        let taken = self.pending.split_to(end).freeze();
        let length = length_of(&taken).saturating_add(std::mem::take(&mut self.skipped));
        let missing = FINGERPRINT_BYTES.saturating_sub(self.head.len());
        self.head.extend(taken.iter().take(missing));
        let before = FINGERPRINT_BYTES.saturating_sub(taken.len());
        self.tail.drain(..self.tail.len().saturating_sub(before));
        self.tail.extend(taken.iter().skip(taken.len().saturating_sub(FINGERPRINT_BYTES)));
        debug_assert_eq!(self.head.len(), self.tail.len(), "both ends are of the same bytes");
        Taken { bytes: taken.slice(..taken.len().min(LINE_BYTES_LIMIT)), length }
    }
}

fn length_of(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
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
        assert_eq!(read.take_rest().map(|taken| taken.bytes), Some(Bytes::from_static(b"tw")));
        assert_eq!(read.take_rest(), None);
    }

    #[test]
    fn a_line_beyond_the_limit_is_one_line_whose_tail_is_passed_over() {
        let mut read = Text::default();
        let piece = vec![b'x'; 1 << 20];
        for _ in 0..6 {
            read.push(&piece);
            assert_eq!(read.take_line(), None);
            assert!(read.pending.len() <= LINE_BYTES_LIMIT + FINGERPRINT_BYTES);
        }
        let waiting = read.pending_bytes();

        read.push(b"tail\nnext\n");
        let long = read.take_line().unwrap();
        let next = read.take_line().unwrap();

        assert_eq!(waiting, 6 << 20);
        assert_eq!((long.bytes.len(), long.length), (LINE_BYTES_LIMIT, (6 << 20) + 5));
        assert_eq!(next, Taken { bytes: Bytes::from_static(b"next\n"), length: 5 });
        assert_eq!(read.last_read()[FINGERPRINT_BYTES - 10..], *b"tail\nnext\n");
    }

    #[test]
    fn a_line_at_the_limit_is_whole() {
        let mut read = Text::default();
        read.push(&vec![b'x'; LINE_BYTES_LIMIT - 1]);
        assert_eq!(read.take_line(), None);

        read.push(b"\n");

        let taken = read.take_line().unwrap();
        assert_eq!((taken.bytes.len(), taken.length), (LINE_BYTES_LIMIT, 4 << 20));
    }
}
