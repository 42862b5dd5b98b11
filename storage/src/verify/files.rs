//! Finds out which files the journal is made of, and changes none of them.

use bytes::Bytes;
use headland_event::{ByteCount, CommitNumber};

use crate::allowance::Allowance;
use crate::chain::{self, Chain, Member};
use crate::fault::Fault;
use crate::frame::{
    FILE_HEADER_LEN, FIRST_FRAME_AT, FRAME_HEADER_LEN, FileHeader, FileVersion, FrameHeader,
    FrameKind, Link,
};
use crate::group::byte_count;
use crate::index::FileKind;
use crate::medium::{Medium, MediumError, MediumFile};
use crate::salvage::{Piece, Salvage};
use crate::tail;
use crate::witness::Witness;

/// A file of the journal.
pub(super) struct Found<F> {
    pub(super) file: F,
    pub(super) size: u64,
    pub(super) header: Result<FileHeader, Fault>,
}

impl<F: MediumFile> Found<F> {
    pub(super) fn open<M: Medium<File = F>>(medium: &M, name: &str) -> Result<Self, MediumError> {
        let file = medium.open(name)?;
        let size = file.size()?.get();
        let header = if size < FIRST_FRAME_AT {
            Err(Fault::Short { needed: FIRST_FRAME_AT, left: size })
        } else {
            FileHeader::decode(bytes_at(&file, 0, FILE_HEADER_LEN)?)
        };
        Ok(Self { file, size, header })
    }
}

fn bytes_at<F: MediumFile>(file: &F, at: u64, length: usize) -> Result<Bytes, MediumError> {
    let mut bytes = vec![0; length];
    file.read_at(ByteCount::new(at), &mut bytes)?;
    Ok(bytes.into())
}

/// The file that was written last.
pub(super) struct Newest<F> {
    pub(super) name: String,
    pub(super) file: F,
    pub(super) nonce: u64,
    pub(super) size: u64,
    /// Position after the last frame that counts: damage before it is damage, bytes behind it may
    /// be an unfinished write.
    pub(super) end: u64,
    /// Position up to which the witness says that it was durable.
    pub(super) vouched: u64,
    header: FileHeader,
    chain: Option<Chain>,
}

/// The newest file whose header is valid. Files above it were never finished, unless a frame in
/// them says that they were: those are `damaged`, and opening refuses them.
pub(super) fn newest<M: Medium>(
    medium: &M,
    names: &[String],
    damaged: &mut Vec<(String, Fault)>,
) -> Result<Option<Newest<M::File>>, MediumError> {
    let witness = Witness::load(medium)?;
    for name in names.iter().rev() {
        let Some((FileKind::Journal, number)) = chain::parse_name(name) else { continue };
        let Found { file, size, header } = Found::open(medium, name)?;
        let witness = witness.as_ref().filter(|witness| witness.number == number);
        let header = match (header, witness) {
            (Ok(header), _) => header,
            (Err(fault), Some(witness)) => {
                damaged.push((name.clone(), fault));
                header_of(witness)
            }
            (Err(fault), None) => {
                if fault.is_version() || tail::is_damage(0, &tail::examine(&file, None, 0, size)?) {
                    damaged.push((name.clone(), fault));
                }
                continue;
            }
        };
        let mut newest = Newest {
            name: name.clone(),
            file,
            nonce: header.nonce,
            size,
            end: size,
            vouched: FIRST_FRAME_AT,
            header,
            chain: None,
        };
        let vouched = witness.filter(|witness| witness.nonce == newest.nonce);
        newest.vouched = vouched.map_or(FIRST_FRAME_AT, |witness| witness.end);
        newest.read_frames()?;
        if vouched.is_some() || newest.end >= newest.header.opening_end {
            return Ok(Some(newest));
        }
    }
    Ok(None)
}

/// What the witness says in the place of a header.
const fn header_of(witness: &Witness) -> FileHeader {
    FileHeader {
        version: FileVersion::Two,
        allowance: Allowance::UNKNOWN,
        number: witness.number,
        nonce: witness.nonce,
        base: witness.base,
        incarnation: witness.incarnation,
        previous: Link::NONE,
        opening_end: FIRST_FRAME_AT,
    }
}

impl<F: MediumFile> Newest<F> {
    /// Finds the end and the newest chain that stands before it.
    fn read_frames(&mut self) -> Result<(), MediumError> {
        let from = FIRST_FRAME_AT.min(self.size);
        let mut walk = Salvage::new(self.file.clone(), self.nonce, from, self.size);
        let (mut durable, mut gaps, mut chains) = (self.vouched, Vec::new(), Vec::new());
        while let Some(piece) = walk.step()? {
            match piece {
                Piece::Part(_) => {}
                Piece::Lost(gap) => gaps.push(gap.from),
                Piece::Frame(header) => {
                    durable = durable.max(header.durable);
                    match header.kind {
                        FrameKind::Chain => chains.push(header),
                        FrameKind::Commit | FrameKind::Seal => {}
                    }
                }
            }
        }
        self.end = gaps.into_iter().find(|from| *from >= durable).unwrap_or(self.size);
        chains.retain(|header| header.end() <= self.end);
        for header in chains {
            if let Ok(chain) = chain_in(&self.file, &header)? {
                self.chain = Some(chain);
            }
        }
        Ok(())
    }
}

/// What a chain frame says.
pub(super) fn chain_in<F: MediumFile>(
    file: &F,
    header: &FrameHeader,
) -> Result<Result<Chain, Fault>, MediumError> {
    let (size, needed) = (file.size()?.get(), header.end());
    if size < needed {
        return Ok(Err(Fault::Short { needed, left: size }));
    }
    let body = header.position + byte_count(FRAME_HEADER_LEN).get();
    Ok(Chain::decode(bytes_at(file, body, header.length)?))
}

/// What the journal is made of, the newest file left out.
pub(super) fn chain<M: Medium>(
    medium: &M,
    names: &[String],
    newest: &Newest<M::File>,
) -> Result<Chain, MediumError> {
    if let Some(chain) = &newest.chain {
        return Ok(chain.clone());
    }
    if let Some(witness) = Witness::load(medium)?.filter(|witness| witness.nonce == newest.nonce) {
        return Ok(witness.chain);
    }
    match newest.header.version {
        FileVersion::One => links(medium, names, &newest.header),
        FileVersion::Two => Ok(Chain::default()),
    }
}

/// The files before one of version 1, of which each names its predecessor.
fn links<M: Medium>(
    medium: &M,
    names: &[String],
    newest: &FileHeader,
) -> Result<Chain, MediumError> {
    let mut chain = Chain::default();
    let (mut wanted, mut next) = (newest.previous, newest.base);
    for name in names.iter().rev() {
        let Some((kind, number)) = chain::parse_name(name) else { continue };
        if number >= newest.number {
            continue;
        }
        let Ok(header) = Found::open(medium, name)?.header else { continue };
        if header.nonce == wanted.nonce {
            let (nonce, base, end) = (header.nonce, header.base, wanted.end);
            let last = CommitNumber::new(next.get().saturating_sub(1));
            if base < next {
                chain.files.push(Member { number, nonce, kind, base, last, end });
            }
            (wanted, next) = (header.previous, base);
        }
    }
    chain.files.reverse();
    Ok(chain)
}
