//! Finds out from the files before the newest what that does not tell any more.

use headland_event::{ByteCount, CommitNumber, Incarnation};

use super::{Newest, open_found};
use crate::allowance::Allowance;
use crate::chain::{self, Chain, Member};
use crate::fault::OpenError;
use crate::frame::{FIRST_FRAME_AT, FRAME_HEADER_LEN, FileHeader, FrameKind, Link};
use crate::group::byte_count;
use crate::index::FileKind;
use crate::medium::{Medium, MediumError, MediumFile};
use crate::salvage::{Piece, Salvage};

/// The chain that the newest file was opened with, when none of its own can be read any more.
///
/// A chain is written with every file, and where cleaning changes what the journal is made of. So
/// the one wanted is the last one in the file before, and that file; `None` when that does not
/// tell either.
pub(super) fn chain<M: Medium>(
    medium: &M,
    names: &[(FileKind, u64, String)],
    newest: &Newest<M::File>,
) -> Result<Option<Chain>, OpenError> {
    if newest.is_header_lost {
        return Ok(None);
    }
    let (mut wanted, mut next) = (newest.previous, newest.base);
    let mut behind = Vec::new();
    for (kind, number, name) in names.iter().rev() {
        if wanted == Link::NONE {
            break;
        }
        if *kind == FileKind::Cold || *number >= newest.number {
            continue;
        }
        let found = open_found(medium, *number, name)?;
        let Ok(header) = found.header else { continue };
        if header.nonce != wanted.nonce {
            continue;
        }
        let Link { nonce, end } = wanted;
        let (number, kind, base) = (*number, FileKind::Journal, header.base);
        if base < next {
            let last = CommitNumber::new(next.get() - 1);
            behind.push(Member { number, nonce, kind, base, last, end });
        }
        if let Some(mut chain) = last_chain(&found.file, nonce, end.min(found.size))? {
            chain.files.extend(behind.into_iter().rev());
            return Ok(Some(chain));
        }
        (wanted, next) = (header.previous, base);
    }
    behind.reverse();
    Ok((wanted == Link::NONE).then_some(Chain { files: behind, holes: Vec::new() }))
}

/// The last valid chain in a file.
fn last_chain<F: MediumFile>(file: &F, nonce: u64, end: u64) -> Result<Option<Chain>, MediumError> {
    let mut walk = Salvage::new(file.clone(), nonce, FIRST_FRAME_AT.min(end), end);
    let mut last = None;
    while let Some(piece) = walk.step()? {
        let header = match piece {
            Piece::Frame(header) if header.kind == FrameKind::Chain => header,
            Piece::Frame(_) | Piece::Part(_) | Piece::Lost(_) => continue,
        };
        if header.end() <= end {
            let mut body = vec![0; header.length];
            let at = header.position + byte_count(FRAME_HEADER_LEN).get();
            file.read_at(ByteCount::new(at), &mut body)?;
            last = Chain::decode(body.into()).ok().or(last);
        }
    }
    Ok(last)
}

/// How many offsets a closed file gave at most; a cold one does not say, nor one whose header is
/// damaged.
pub(super) fn allowance_of<M: Medium>(medium: &M, member: &Member) -> Result<Allowance, OpenError> {
    let name = chain::file_name(member.kind, member.number);
    let header = open_found(medium, member.number, &name)?.header;
    let is_of_it = |header: &FileHeader| header.nonce == member.nonce;
    Ok(header.ok().filter(is_of_it).map_or(Allowance::UNKNOWN, |header| header.allowance))
}

/// The life that wrote what a closed file holds, or a later one: the header of the file says it,
/// or else that of a file behind it. `None` when none of them can be read.
pub(super) fn life_of<M: Medium>(
    medium: &M,
    files: &[Member],
    member: &Member,
    newest: Option<Incarnation>,
) -> Result<Option<Incarnation>, OpenError> {
    for file in files.iter().filter(|file| member.base <= file.base) {
        // A cold file was written by a later life than what it holds.
        if file.kind == FileKind::Journal {
            let name = chain::file_name(file.kind, file.number);
            if let Ok(header) = open_found(medium, file.number, &name)?.header {
                return Ok(Some(header.incarnation));
            }
        }
    }
    Ok(newest)
}
