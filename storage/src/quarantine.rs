//! Reads past damage: checks everything, gives up what is damaged, and names exactly that.
//!
//! An entry that is damaged cannot say which offsets it held. They are those that are missing: from
//! the end of the valid entry before it to the base of the valid entry behind it, or to the end of
//! the partition, which the index knows from elsewhere.

use std::ops::Range;

use headland_event::{Entry, Offset};

use crate::body::Part;
use crate::gather::{Gathering, Offered};
use crate::index::{FileKind, Stretch};
use crate::log::ReadError;
use crate::medium::MediumFile;
use crate::salvage::{FoundPart, Piece, Salvage};
use crate::stretch::Target;

/// Whether damage was met since the last valid entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sight {
    Healthy,
    Damaged,
}

/// What is known of the partition from elsewhere.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Known<'a> {
    /// An offset at which the partition goes on behind the stretches: that after its last entry,
    /// or the base of the last stretch when there are more.
    pub(crate) until: Offset,
    /// Offsets that are lost, whatever the files still show.
    pub(crate) lost: &'a [Range<Offset>],
}

/// Gathers what is valid in stretches that follow each other, up to the first loss.
///
/// # Errors
/// [`ReadError::Quarantined`] when the loss comes first.
pub(crate) fn gather<F: MediumFile>(
    stretches: &[Stretch<F>],
    target: &Target<'_>,
    mut gathering: Gathering,
    known: Known<'_>,
) -> Result<Vec<Entry>, ReadError> {
    let mut sight = Sight::Healthy;
    for stretch in stretches {
        gathering.cross(stretch.before, stretch.base);
        gathering.begin(stretch.base);
        let Stretch { source, place, .. } = stretch;
        if stretch.is_behind_loss {
            sight = Sight::Damaged;
        }
        let mut walk = Salvage::new(source.file.clone(), source.nonce, place.frame, source.end);
        while let Some(piece) = walk.step().map_err(ReadError::Medium)? {
            if piece.position() >= stretch.until {
                break;
            }
            let part = match piece {
                Piece::Part(FoundPart { part, .. }) => part,
                Piece::Frame(_) => continue,
                Piece::Lost(_) => {
                    sight = Sight::Damaged;
                    continue;
                }
            };
            let Some(entry) = entry_of(target, part, &gathering, known.until) else { continue };
            let base = entry.base;
            let mut offered = gathering.offer(entry.clone());
            if let Offered::Behind(missing) = offered {
                let is_lost = known.lost.iter().any(|lost| overlap(lost, &missing));
                if is_lost || !is_cleaned(source.kind, sight) {
                    return lost(target, gathering, missing);
                }
                gathering.skip_to(base);
                offered = gathering.offer(entry);
            }
            match offered {
                Offered::On => sight = Sight::Healthy,
                Offered::Full => return Ok(gathering.finish()),
                Offered::Behind(missing) => return lost(target, gathering, missing),
            }
        }
    }
    let missing = gathering.missing_before(known.until);
    if gathering.next() < known.until {
        lost(target, gathering, missing)
    } else {
        Ok(gathering.finish())
    }
}

fn overlap(one: &Range<Offset>, other: &Range<Offset>) -> bool {
    one.start < other.end && other.start < one.end
}

/// Whether offsets that are missing before an entry were cleaned away, and not damaged.
const fn is_cleaned(kind: FileKind, sight: Sight) -> bool {
    match (kind, sight) {
        (FileKind::Cold, Sight::Healthy) => true,
        (FileKind::Cold, Sight::Damaged) | (FileKind::Journal, _) => false,
    }
}

/// The entry of a valid part, if it is the target's and fits between its neighbours.
fn entry_of(
    target: &Target<'_>,
    part: Part,
    gathering: &Gathering,
    until: Offset,
) -> Option<Entry> {
    match part {
        Part::Entry(partition, entry) => {
            let follows = gathering.met().is_none_or(|met| met <= entry.base);
            let is_ours = partition == *target.partition() && follows && entry.base < until;
            is_ours.then_some(entry)
        }
        Part::Change(_) => None,
    }
}

fn lost(
    target: &Target<'_>,
    gathering: Gathering,
    missing: Range<Offset>,
) -> Result<Vec<Entry>, ReadError> {
    debug_assert!(missing.start < missing.end, "something is lost");
    if !gathering.is_empty() {
        return Ok(gathering.finish());
    }
    let (partition, from, until) = (target.partition().clone(), missing.start, missing.end);
    Err(ReadError::Quarantined { partition, from, until })
}
