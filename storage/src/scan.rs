//! Reads a file of the journal whole: where its commits and entries are.

use headland_event::{ByteCount, CommitNumber};

use crate::body::{self, Wanted};
use crate::chain::Chain;
use crate::commit::Commit;
use crate::cursor::{Cursor, Frame, NextCommit, Step};
use crate::fault::{Corruption, Fault};
use crate::frame::{FIRST_FRAME_AT, FrameKind};
use crate::index::{FileKind, Index, Segment, Source, Span};
use crate::medium::{MediumError, MediumFile};
use crate::offsets::spans_of;
use crate::points::EntryPlace;

/// Takes in what is left of damaged bytes.
pub(crate) mod damaged;

use damaged::Loss;

/// A file that could not be read whole.
#[derive(Debug)]
pub(crate) enum ScanError {
    Medium(MediumError),
    Damaged(Corruption),
}

impl From<MediumError> for ScanError {
    fn from(error: MediumError) -> Self {
        Self::Medium(error)
    }
}

/// What a frame holds, every part of it checked.
#[derive(Debug)]
pub(crate) enum Content {
    Commit(PlacedCommit),
    Seal,
    Chain(Chain),
}

/// A commit, and where its entries are.
#[derive(Debug)]
pub(crate) struct PlacedCommit {
    pub(crate) number: CommitNumber,
    /// Position of its frame.
    pub(crate) frame: u64,
    /// Position after its frame.
    pub(crate) end: u64,
    pub(crate) commit: Commit,
    pub(crate) places: Vec<EntryPlace>,
}

/// Reads what a frame holds.
pub(crate) fn read_content(frame: &Frame) -> Result<Content, Fault> {
    let Frame { header, body, buffer_len: _ } = frame;
    Ok(match header.kind {
        FrameKind::Commit => Content::Commit(PlacedCommit {
            number: header.commit,
            frame: header.position,
            end: header.end(),
            commit: body::read(header, body.clone(), Wanted::Every)?,
            places: body::places(header.position, header.entries, body).collect(),
        }),
        FrameKind::Seal => Content::Seal,
        FrameKind::Chain => Content::Chain(Chain::decode(body.clone())?),
    })
}

/// Reads a closed file up to its end, as far as it is valid, and what is left behind damage.
///
/// `last` is the number of its last commit, which may be lost. Also says what was lost.
pub(crate) fn closed<F: MediumFile>(
    index: &mut Index<F>,
    source: Source<F>,
    number: u64,
    (base, last): (CommitNumber, CommitNumber),
) -> Result<(Segment<F>, Loss), ScanError> {
    let Source { file, name, nonce, kind, end } = source.clone();
    let size = file.size()?.get();
    let mut segment = Segment::new(Source { end: FIRST_FRAME_AT, ..source }, number, base);
    let mut cursor =
        Cursor::new(file, nonce, NextCommit::of(kind, base), FIRST_FRAME_AT, end.min(size));
    let stop = loop {
        let at = cursor.position();
        let content = match cursor.step()? {
            Step::Frame(frame) => read_content(&frame),
            Step::End => break None,
            Step::Invalid(fault) => Err(fault),
        };
        let taken = content.and_then(|content| match content {
            Content::Commit(commit) => accept(index, &mut segment, &commit),
            Content::Seal | Content::Chain(_) => Ok(()),
        });
        if let Err(fault) = taken {
            break Some((at, fault));
        }
    };
    let mut loss = Loss::default();
    let stop = match stop {
        None if size < end => Some((cursor.position(), Fault::Short { needed: end, left: size })),
        stop => stop,
    };
    if let Some((position, source)) = stop {
        if source.is_version() {
            let (file, position) = (name.to_string(), ByteCount::new(position));
            return Err(ScanError::Damaged(Corruption { file, position, source }));
        }
        segment.is_damaged = true;
        loss = damaged::take_in_up_to(index, &mut segment, position..end, size)?;
    }
    segment.is_damaged |= segment.last != last;
    segment.last = segment.last.max(last);
    segment.extend(segment.source.end.max(end.min(size)));
    segment.closed_at = end;
    Ok((segment, loss))
}

/// Reads a closed file for itself, with an index of its own that knows its partitions.
pub(crate) fn alone<F: MediumFile>(
    source: Source<F>,
    commits: (CommitNumber, CommitNumber),
) -> Result<(Index<F>, Segment<F>), ScanError> {
    let mut index = Index::new();
    let (segment, _) = closed(&mut index, source, 0, commits)?;
    Ok((index, segment))
}

/// Adds a commit to its file, once its offsets are known to follow those before them there.
pub(crate) fn accept<F: Clone>(
    index: &mut Index<F>,
    segment: &mut Segment<F>,
    placed: &PlacedCommit,
) -> Result<(), Fault> {
    let PlacedCommit { number, frame, end, commit, places } = placed;
    let spans = spans_of(index, commit, places);
    check_spans(segment, &spans)?;
    segment.commit(*number, (*frame, *end), spans);
    Ok(())
}

fn check_spans<F: Clone>(segment: &Segment<F>, spans: &[Span]) -> Result<(), Fault> {
    for (at, Span { partition, base, .. }) in spans.iter().enumerate() {
        let before = spans.iter().take(at).rev().find(|span| span.partition == *partition);
        let held = || segment.shares.get(partition).map(|share| share.end);
        let Some(expected) = before.map(|span| span.end).or_else(held) else { continue };
        let fits = match segment.source.kind {
            FileKind::Journal if !segment.is_damaged => *base == expected,
            FileKind::Journal | FileKind::Cold => *base >= expected,
        };
        if !fits {
            let (found, expected) = (base.get(), expected.get());
            return Err(Fault::Mismatch { field: "base offset", found, expected });
        }
    }
    Ok(())
}
