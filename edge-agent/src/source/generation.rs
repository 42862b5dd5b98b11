//! Which file a position belongs to.
//!
//! A path names one file after the other: it is truncated, or renamed and made anew. What a
//! position means is told by the bytes around it, because inode numbers are used again and a copied
//! file has another one; the inode only helps to find the file under another name.

use headland_event::codec::{CodecError, Reader, Writer};

/// Most bytes at each end of what was read that a generation is told by.
pub(crate) const FINGERPRINT_BYTES: usize = 256;

/// A file of this machine, as long as it exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileId {
    device: u64,
    inode: u64,
}

impl FileId {
    /// The file with an inode of a device.
    #[must_use]
    pub const fn new(device: u64, inode: u64) -> Self {
        Self { device, inode }
    }

    /// Whether it has the inode of a generation; devices are numbered anew when a machine starts.
    #[must_use]
    pub const fn has_inode_of(self, generation: Generation) -> bool {
        self.inode == generation.inode
    }
}

/// The file that a position belongs to: its inode, and CRC-32C of the first and of the last bytes
/// before the position, at most 256 each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Generation {
    inode: u64,
    head: u32,
    tail: u32,
}

impl Generation {
    /// The generation of a file whose bytes before the position begin and end so.
    #[must_use]
    pub fn new(file: FileId, head: &[u8], tail: &[u8]) -> Self {
        debug_assert!(head.len() <= FINGERPRINT_BYTES, "only the first bytes are told by");
        debug_assert_eq!(head.len(), tail.len(), "both ends are of the same bytes");
        Self { inode: file.inode, head: crc32c::crc32c(head), tail: crc32c::crc32c(tail) }
    }

    /// Whether bytes before the position that begin and end so are of this generation.
    #[must_use]
    pub fn holds(self, head: &[u8], tail: &[u8]) -> bool {
        self.head == crc32c::crc32c(head) && self.tail == crc32c::crc32c(tail)
    }

    pub(crate) fn write(self, writer: &mut Writer) {
        let Self { inode, head, tail } = self;
        writer.u64(inode);
        writer.u32(head);
        writer.u32(tail);
    }

    pub(crate) fn read(reader: &mut Reader) -> Result<Self, CodecError> {
        let inode = reader.u64("inode")?;
        let (head, tail) = (reader.u32("first bytes")?, reader.u32("last bytes")?);
        Ok(Self { inode, head, tail })
    }
}
