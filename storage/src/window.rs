//! Bytes of one file, read in chunks and shared by those who look at them.

use bytes::Bytes;
use headland_event::ByteCount;

use crate::group::byte_count;
use crate::medium::{MediumError, MediumFile};

/// Bytes read at once: enough for a few hundred small frames, little enough to throw away.
pub(crate) const CHUNK_LEN: u64 = 64 << 10;

/// The bytes of a file below an end; those that are not there any more are zeros. Memory: one
/// chunk, or what the largest view needed.
#[derive(Debug)]
pub(crate) struct Window<F> {
    file: F,
    end: u64,
    horizon: u64,
    chunk: Bytes,
    chunk_at: u64,
}

impl<F: MediumFile> Window<F> {
    pub(crate) const fn new(file: F, end: u64) -> Self {
        Self { file, end, horizon: end, chunk: Bytes::new(), chunk_at: 0 }
    }

    /// The same window; bytes from `horizon` on are not read ahead, only when they are asked for.
    pub(crate) fn with_horizon(self, horizon: u64) -> Self {
        Self { horizon, ..self }
    }

    /// Position after the last byte to be seen.
    pub(crate) const fn end(&self) -> u64 {
        self.end
    }

    /// Length of the buffer that the last view shares.
    pub(crate) const fn buffer_len(&self) -> usize {
        self.chunk.len()
    }

    /// The `length` bytes from `at` on, `None` when the window ends before.
    ///
    /// Views of one chunk share its memory. Cost: a read when the chunk at hand does not hold it.
    pub(crate) fn view(&mut self, at: u64, length: usize) -> Result<Option<Bytes>, MediumError> {
        let needed = byte_count(length).get();
        if self.end.checked_sub(at).is_none_or(|left| left < needed) {
            return Ok(None);
        }
        let until = self.chunk_at + byte_count(self.chunk.len()).get();
        if at < self.chunk_at || at + needed > until {
            let ahead = CHUNK_LEN.min(self.horizon.saturating_sub(at));
            self.chunk = self.read(at, needed.max(ahead).min(self.end - at))?;
            self.chunk_at = at;
        }
        let start = ByteCount::new(at - self.chunk_at).as_len();
        debug_assert!(start + length <= self.chunk.len(), "a view lies in the chunk");
        Ok(Some(self.chunk.slice(start..start + length)))
    }

    /// As [`Self::view`], and keeps the chunk at hand: for a few bytes far from all others.
    pub(crate) fn peek(&self, at: u64, length: usize) -> Result<Option<Bytes>, MediumError> {
        let needed = byte_count(length).get();
        if self.end.checked_sub(at).is_none_or(|left| left < needed) {
            return Ok(None);
        }
        self.read(at, needed).map(Some)
    }

    fn read(&self, at: u64, length: u64) -> Result<Bytes, MediumError> {
        let mut buffer = vec![0; ByteCount::new(length).as_len()];
        match self.file.read_at(ByteCount::new(at), &mut buffer) {
            // The file was cut short since it was opened. That is damage like any other: zeros
            // are no valid part of anything.
            Err(error) if error.is_short() => {
                let there = self.file.size()?.get().saturating_sub(at).min(length);
                buffer.fill(0);
                let (head, _) = buffer.split_at_mut(ByteCount::new(there).as_len());
                if !head.is_empty() {
                    self.file.read_at(ByteCount::new(at), head)?;
                }
            }
            read => read?,
        }
        Ok(buffer.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::MemoryDisk;

    fn window(length: usize, end: u64) -> Window<crate::memory::MemoryFile> {
        use crate::medium::Medium;

        let disk = MemoryDisk::new(1);
        let content: Vec<u8> = (0..length).map(|n| u8::try_from(n % 251).unwrap()).collect();
        disk.set_content("a", &content);
        Window::new(disk.attach().open("a").unwrap(), end)
    }

    #[test]
    fn a_view_shows_the_bytes_at_its_position_whatever_was_viewed_before() {
        let mut window = window(300_000, 300_000);

        for (at, length) in [(0, 10), (100_000, 5), (99_990, 20), (10, 200_000), (299_999, 1)] {
            let view = window.view(at, length).unwrap().unwrap();
            let expected = (at..).take(length).map(|n| u8::try_from(n % 251).unwrap());
            assert!(view.iter().copied().eq(expected), "{at} {length}");
        }
    }

    #[test]
    fn a_view_past_the_end_is_none_and_one_up_to_it_is_not() {
        let mut window = window(100, 90);

        assert_eq!(window.view(80, 10).unwrap().map(|view| view.len()), Some(10));
        assert_eq!(window.view(80, 11).unwrap(), None);
        assert_eq!(window.peek(80, 10).unwrap().map(|view| view.len()), Some(10));
        assert_eq!(window.peek(80, 11).unwrap(), None);
        assert_eq!(window.view(91, 0).unwrap(), None);
    }

    #[test]
    fn bytes_that_the_file_has_no_more_are_zeros() {
        let mut window = window(100, 300);

        let view = window.view(90, 20).unwrap().unwrap();

        let there = (90..100).chain(std::iter::repeat_n(0, 10));
        assert!(view.iter().copied().eq(there));
        assert_eq!(window.peek(250, 4).unwrap().as_deref(), Some(&[0; 4][..]));
    }

    #[test]
    fn nothing_behind_the_horizon_is_read_ahead() {
        let mut window = window(100_000, 100_000).with_horizon(1_000);

        window.view(900, 10).unwrap();
        assert_eq!(window.buffer_len(), 100);
        window.view(990, 20).unwrap();
        assert_eq!(window.buffer_len(), 20);
    }
}
