//! The file `backup`, which says what belongs to a backup. Its layout is drawn in `backup`.

use std::path::Path;

use bytes::Bytes;
use headland_event::codec::{CodecError, Reader, Writer};
use headland_event::{ByteCount, CommitNumber, Incarnation};

use super::backup::BackupReport;
use super::directory::DiskMedium;
use crate::fault::Fault;
use crate::frame::check_crc;
use crate::medium::{Medium, MediumError};

const MANIFEST_NAME: &str = "backup";
const MAGIC: [u8; 8] = *b"HLDBKUP\n";
const MANIFEST_VERSION: u16 = 1;

/// A file of a backup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) name: String,
    pub(super) length: u64,
    pub(super) crc: u32,
}

/// What belongs to a backup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Manifest {
    pub(super) incarnation: Incarnation,
    pub(super) last_commit: CommitNumber,
    pub(super) parts: Vec<Part>,
}

impl Manifest {
    pub(super) fn report(&self) -> BackupReport {
        let Self { incarnation, last_commit, parts } = self;
        BackupReport {
            last_commit: *last_commit,
            files: parts.len(),
            bytes: ByteCount::new(parts.iter().map(|part| part.length).sum()),
            incarnation: *incarnation,
            damaged: 0,
        }
    }

    pub(super) fn write(&self, medium: &mut DiskMedium) -> Result<(), MediumError> {
        medium.sync_names()?;
        medium.replace(MANIFEST_NAME, &self.encode())
    }

    fn encode(&self) -> Bytes {
        let Self { incarnation, last_commit, parts } = self;
        let mut writer = Writer::new();
        writer.raw(&MAGIC);
        writer.u16(MANIFEST_VERSION);
        writer.u16(0);
        writer.incarnation(*incarnation);
        writer.u64(last_commit.get());
        writer.length(parts.len());
        for Part { name, length, crc } in parts {
            writer.name(name);
            writer.u64(*length);
            writer.u32(*crc);
        }
        writer.u32(crc32c::crc32c(writer.as_slice()));
        writer.finish()
    }

    fn decode(content: Bytes) -> Result<Self, Fault> {
        check_crc("backup", &content)?;
        let mut reader = Reader::new(content);
        if *reader.take("backup magic", MAGIC.len())? != MAGIC {
            return Err(Fault::Magic);
        }
        let found = reader.u16("backup version")?;
        if found != MANIFEST_VERSION {
            let (field, expected) = ("backup version", MANIFEST_VERSION);
            return Err(Fault::Version { field, found, expected });
        }
        reader.u16("reserved")?;
        let incarnation = reader.incarnation("incarnation")?;
        let last_commit = CommitNumber::new(reader.u64("last commit")?);
        let count = reader.length("files", reader.remaining())?;
        let parts = (0..count).map(|_| read_part(&mut reader)).collect::<Result<_, _>>()?;
        Ok(Self { incarnation, last_commit, parts })
    }
}

fn read_part(reader: &mut Reader) -> Result<Part, CodecError> {
    Ok(Part {
        name: reader.name::<FileName>("file name")?.0,
        length: reader.u64("file length")?,
        crc: reader.u32("file crc")?,
    })
}

/// A name that stays inside its directory.
struct FileName(String);

/// A name that would not.
#[derive(Debug, thiserror::Error)]
#[error("a file name of a backup is a path")]
struct FileNameError;

impl std::str::FromStr for FileName {
    type Err = FileNameError;

    fn from_str(name: &str) -> Result<Self, FileNameError> {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        if !name.is_empty() && !name.starts_with('.') && name.bytes().all(is_plain) {
            Ok(Self(name.to_owned()))
        } else {
            Err(FileNameError)
        }
    }
}

/// The manifest of a backup; the error is `None` when there is none.
pub(super) fn read_manifest(saved: &Path) -> Result<Manifest, Option<Fault>> {
    let content = std::fs::read(saved.join(MANIFEST_NAME)).map_err(|_| None)?;
    Manifest::decode(content.into()).map_err(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest(name: &str) -> Manifest {
        let part = Part { name: name.to_owned(), length: 3, crc: 4 };
        let (incarnation, last_commit) = (Incarnation::new(1, 2), CommitNumber::new(9));
        Manifest { incarnation, last_commit, parts: vec![part] }
    }

    #[test]
    fn every_flipped_bit_of_a_manifest_is_found() {
        let content = manifest("0000000001.journal").encode();

        assert_eq!(Manifest::decode(content.clone()), Ok(manifest("0000000001.journal")));
        for bit in 0..content.len() * 8 {
            let mut flipped = content.to_vec();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(Manifest::decode(flipped.into()).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn a_name_that_leads_out_of_the_directory_is_refused() {
        for name in ["../a", "/etc/passwd", "..", "", ".hidden"] {
            let refused = Manifest::decode(manifest(name).encode());

            assert!(matches!(refused, Err(Fault::Layout(_))), "{name}: {refused:?}");
        }
    }
}
