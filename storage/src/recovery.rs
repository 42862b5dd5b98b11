//! Finds out, from the files alone, what was acknowledged.
//!
//! Files form a chain: each names its predecessor's nonce and end. Below a named end everything
//! was durable, so damage there is an error and never cut; at and above it everything is void. In
//! the last file each frame names the position known durable when it was written; that is the same
//! promise. What is valid above the highest such position is *in doubt*: it may have been
//! acknowledged, or not, or come from a write whose barrier failed. It is kept, but the caller
//! writes it anew, because a page cache may show bytes that the disk never got.

use std::collections::BTreeMap;
use std::sync::Arc;

use headland_event::{ByteCount, CommitNumber, Incarnation};

use crate::body::{self, Wanted};
use crate::commit::Commit;
use crate::cursor::{Cursor, Frame, NextCommit, Step};
use crate::fault::{Corruption, Fault, OpenError};
use crate::frame::{FILE_HEADER_LEN, FIRST_FRAME_AT, FileHeader, FrameKind, Link};
use crate::index::{FileKind, Index, Segment, Source, Span};
use crate::medium::{Medium, MediumError, MediumFile};
use crate::offsets::spans_of;
use crate::points::EntryPlace;
use crate::tail::{self, Tail, TailKept};

/// What journal files' names end in.
pub(crate) const FILE_SUFFIX: &str = ".journal";

/// The name of a journal file: its number in ten digits, so that names sort like numbers.
pub(crate) fn file_name(number: u64) -> String {
    format!("{number:010}{FILE_SUFFIX}")
}

fn file_number(name: &str) -> Option<u64> {
    name.strip_suffix(FILE_SUFFIX).and_then(|digits| digits.parse().ok())
}

/// What opening a data directory found and did.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct OpenReport {
    /// Files of the journal.
    pub files: usize,
    /// Number of the last commit.
    pub last_commit: CommitNumber,
    /// A commit that was durable once, by what stands beside the journal, which ends before it: the
    /// journal went backwards, and a new life began. `None` when nothing says so.
    pub lost: Option<CommitNumber>,
    /// Commits at the end that may or may not have been acknowledged; they were kept.
    pub in_doubt: usize,
    /// Unfinished writes that were cut off. None of them was acknowledged, except by a last group
    /// that was damaged before anything recorded that it was durable.
    pub tails: Vec<Tail>,
    /// Files that hold only writes which were given up.
    pub void_files: Vec<String>,
    /// Commits replayed to bring the state cache up to date.
    pub replayed: usize,
}

/// A commit above the highest position known durable.
#[derive(Debug)]
pub(crate) struct InDoubt {
    pub(crate) position: u64,
    pub(crate) end: u64,
    pub(crate) commit: Commit,
    pub(crate) places: Vec<EntryPlace>,
}

/// The journal as found.
#[derive(Debug)]
pub(crate) struct Recovery<F> {
    /// Everything that is known durable.
    pub(crate) index: Index<F>,
    /// What follows, in order.
    pub(crate) in_doubt: Vec<InDoubt>,
    /// What the next file names as its predecessor: the last file and its known durable end.
    pub(crate) previous: Link,
    /// Number of the next file.
    pub(crate) next_file: u64,
    /// The life that wrote the last file.
    pub(crate) incarnation: Option<Incarnation>,
    pub(crate) report: OpenReport,
}

/// A journal file whose header was read.
#[derive(Debug)]
struct Found<F> {
    number: u64,
    name: String,
    file: F,
    size: u64,
    header: Result<FileHeader, Fault>,
}

/// A file of the chain, with the end that its successor names.
struct Member<F> {
    name: String,
    file: F,
    size: u64,
    header: FileHeader,
    end: Option<u64>,
}

/// Reads every journal file and cuts off what was not finished.
///
/// # Errors
/// [`OpenError`] when the medium fails, or acknowledged data is damaged; none of it was changed.
pub(crate) fn recover<M: Medium>(medium: &mut M) -> Result<Recovery<M::File>, OpenError> {
    let mut files = find_files(medium)?;
    let newest = files.last().map_or(0, |found| found.number);
    let mut recovery = Recovery {
        index: Index::new(),
        in_doubt: Vec::new(),
        previous: Link::NONE,
        next_file: newest.saturating_add(1),
        incarnation: None,
        report: OpenReport::default(),
    };
    set_aside_unfinished(medium, &mut files, &mut recovery.report)?;
    let chain = chain_of(files, &mut recovery.report)?;
    recovery.report.files = chain.len();
    for member in chain {
        recovery.incarnation = Some(member.header.incarnation);
        match member.end {
            Some(end) => recovery.scan_closed(member, end)?,
            None => recovery.scan_last(medium, member)?,
        }
    }
    Ok(recovery)
}

/// Every journal file, in the order of their numbers.
fn find_files<M: Medium>(medium: &M) -> Result<Vec<Found<M::File>>, MediumError> {
    let mut names: Vec<(u64, String)> = medium
        .list()?
        .into_iter()
        .filter_map(|name| file_number(&name).map(|number| (number, name)))
        .collect();
    names.sort();
    names
        .into_iter()
        .map(|(number, name)| {
            let file = medium.open(&name)?;
            let size = file.size()?.get();
            let header = read_header(&file, size, number)?;
            Ok(Found { number, name, file, size, header })
        })
        .collect()
}

fn read_header<F: MediumFile>(
    file: &F,
    size: u64,
    number: u64,
) -> Result<Result<FileHeader, Fault>, MediumError> {
    if size < FIRST_FRAME_AT {
        return Ok(Err(Fault::Short { needed: FIRST_FRAME_AT, left: size }));
    }
    let mut bytes = vec![0; FILE_HEADER_LEN];
    file.read_at(ByteCount::new(0), &mut bytes)?;
    Ok(FileHeader::decode(bytes.into()).and_then(|header| {
        if header.number == number {
            Ok(header)
        } else {
            let (found, expected) = (header.number, number);
            Err(Fault::Mismatch { field: "file number", found, expected })
        }
    }))
}

/// Takes away the newest files as long as header and first group are not whole: they are written
/// and acknowledged as one, so nothing in such a file was, unless a frame proves it.
fn set_aside_unfinished<M: Medium>(
    medium: &mut M,
    files: &mut Vec<Found<M::File>>,
    report: &mut OpenReport,
) -> Result<(), OpenError> {
    while let Some(found) = files.last() {
        let Some((at, fault)) = unfinished_opening(found)? else { break };
        let Found { name, file, size, .. } = found;
        let remains = tail::examine(file, None, at, *size)?;
        if tail::is_damage(&fault, at, remains) {
            return Err(damaged(name, at, fault));
        }
        let is_gone = if remains.end > 0 {
            let tail = tail::keep_aside(medium, name, file, (0, remains.end))?;
            let is_aside = matches!(tail.kept, TailKept::Aside(_));
            report.tails.push(tail);
            is_aside
        } else {
            true
        };
        if is_gone {
            medium.remove(name)?;
            medium.sync_names()?;
        }
        files.pop();
    }
    Ok(())
}

/// The first position at which a file's header or first group is not valid.
fn unfinished_opening<F: MediumFile>(
    found: &Found<F>,
) -> Result<Option<(u64, Fault)>, MediumError> {
    let Found { file, size, header, .. } = found;
    let header = match header {
        Ok(header) => header,
        Err(fault) => return Ok(Some((0, fault.clone()))),
    };
    let mut cursor = Cursor::new(
        file.clone(),
        header.nonce,
        NextCommit::Exactly(header.base),
        FIRST_FRAME_AT,
        *size,
    );
    while cursor.position() < header.opening_end {
        let at = cursor.position();
        let fault = match cursor.step()? {
            Step::Frame(frame) => read_commit(&frame).err(),
            Step::End => Some(Fault::Short { needed: header.opening_end, left: *size }),
            Step::Invalid(fault) => Some(fault),
        };
        if let Some(fault) = fault {
            return Ok(Some((at, fault)));
        }
    }
    Ok(None)
}

/// Follows the predecessors from the newest file down; what is not on the way was given up.
fn chain_of<F>(files: Vec<Found<F>>, report: &mut OpenReport) -> Result<Vec<Member<F>>, OpenError> {
    let mut chain: Vec<Member<F>> = Vec::new();
    let mut wanted: Option<Link> = None;
    for Found { name, file, size, header, .. } in files.into_iter().rev() {
        let is_next = |header: &FileHeader| wanted.is_none_or(|link| link.nonce == header.nonce);
        match header {
            Ok(header) if is_next(&header) => {
                let end = wanted.map(|link| link.end);
                wanted = Some(header.previous);
                chain.push(Member { name, file, size, header, end });
            }
            Ok(_) | Err(_) => report.void_files.push(name),
        }
    }
    if let (Some(link), Some(first)) = (wanted, chain.last())
        && link != Link::NONE
    {
        return Err(OpenError::Missing { file: first.name.clone() });
    }
    chain.reverse();
    report.void_files.reverse();
    Ok(chain)
}

impl<F: MediumFile> Recovery<F> {
    /// Reads a file up to the end that its successor names: all of it must be valid.
    fn scan_closed(&mut self, member: Member<F>, end: u64) -> Result<(), OpenError> {
        let Member { name, file, size, header, .. } = member;
        self.begin(&name, &file, &header)?;
        if size < end {
            let fault = Fault::Short { needed: end, left: size };
            return Err(damaged(&name, size, fault));
        }
        let mut cursor =
            Cursor::new(file, header.nonce, NextCommit::Exactly(header.base), FIRST_FRAME_AT, end);
        loop {
            let at = cursor.position();
            match cursor.step()? {
                Step::Frame(frame) => {
                    let commit = read_commit(&frame).map_err(|fault| damaged(&name, at, fault))?;
                    self.accept(&name, (at, cursor.position()), commit)?;
                }
                Step::End => return Ok(()),
                Step::Invalid(fault) => return Err(damaged(&name, at, fault)),
            }
        }
    }

    /// Reads the last file as far as it is valid, and tells damage from an unfinished write.
    fn scan_last<M: Medium<File = F>>(
        &mut self,
        medium: &mut M,
        member: Member<F>,
    ) -> Result<(), OpenError> {
        let Member { name, file, size, header, .. } = member;
        self.begin(&name, &file, &header)?;
        let mut durable = FIRST_FRAME_AT;
        let mut cursor = Cursor::new(
            file.clone(),
            header.nonce,
            NextCommit::Exactly(header.base),
            FIRST_FRAME_AT,
            size,
        );
        let stop = loop {
            let at = cursor.position();
            let fault = match cursor.step()? {
                Step::End => break None,
                Step::Invalid(fault) => fault,
                Step::Frame(frame) => {
                    durable = durable.max(frame.header.durable);
                    self.confirm(&name, durable)?;
                    match read_commit(&frame) {
                        Ok(commit) => {
                            self.hold((at, cursor.position()), commit);
                            continue;
                        }
                        Err(fault) => fault,
                    }
                }
            };
            break Some((at, fault));
        };
        self.previous = Link { nonce: header.nonce, end: durable };
        let Some((at, fault)) = stop else { return Ok(()) };
        let remains = tail::examine(&file, Some(header.nonce), at, size)?;
        if tail::is_damage(&fault, at, remains) {
            return Err(damaged(&name, at, fault));
        }
        if remains.end > at {
            let tail = tail::keep_aside(medium, &name, &file, (at, remains.end))?;
            let is_aside = matches!(tail.kept, TailKept::Aside(_));
            self.report.tails.push(tail);
            if !is_aside {
                return Ok(());
            }
        }
        file.truncate(ByteCount::new(at))?;
        file.sync()?;
        Ok(())
    }

    fn begin(&mut self, name: &str, file: &F, header: &FileHeader) -> Result<(), OpenError> {
        let expected = self.index.last().after(1).get();
        if header.base.get() != expected {
            let found = header.base.get();
            let fault = Fault::Mismatch { field: "base commit", found, expected };
            return Err(damaged(name, 0, fault));
        }
        let (file, name, nonce) = (file.clone(), Arc::from(name), header.nonce);
        let source = Source { file, name, nonce, kind: FileKind::Journal, end: FIRST_FRAME_AT };
        self.index.push(Segment::new(source, header.base));
        Ok(())
    }

    fn hold(&mut self, (position, end): (u64, u64), commit: Option<Placed>) {
        if let Some((commit, places)) = commit {
            self.in_doubt.push(InDoubt { position, end, commit, places });
        }
    }

    /// Accepts what stands below a position that a later frame names durable.
    fn confirm(&mut self, name: &str, durable: u64) -> Result<(), OpenError> {
        let known = self.in_doubt.iter().take_while(|held| held.position < durable).count();
        let confirmed: Vec<InDoubt> = self.in_doubt.drain(..known).collect();
        for InDoubt { position, end, commit, places } in confirmed {
            self.accept(name, (position, end), Some((commit, places)))?;
        }
        Ok(())
    }

    fn accept(
        &mut self,
        name: &str,
        (position, end): (u64, u64),
        commit: Option<Placed>,
    ) -> Result<(), OpenError> {
        let Some((commit, places)) = commit else {
            self.index.extend(end);
            return Ok(());
        };
        let spans = spans_of(&mut self.index, &commit, &places);
        if let Err(fault) = check_spans(&self.index, &spans) {
            return Err(damaged(name, position, fault));
        }
        self.index.commit((position, end), spans);
        Ok(())
    }
}

/// A commit, and where its entries are.
type Placed = (Commit, Vec<EntryPlace>);

/// A commit whose every part was checked; `None` for a seal.
fn read_commit(frame: &Frame) -> Result<Option<Placed>, Fault> {
    let Frame { header, body, buffer_len: _ } = frame;
    match header.kind {
        FrameKind::Commit => {
            let commit = body::read(header, body.clone(), Wanted::Every)?;
            let places = body::places(header.position, header.entries, body).collect();
            Ok(Some((commit, places)))
        }
        FrameKind::Seal => Ok(None),
    }
}

fn check_spans<F: Clone>(index: &Index<F>, spans: &[Span]) -> Result<(), Fault> {
    let mut ends = BTreeMap::new();
    for Span { partition, base, end, .. } in spans {
        let expected = ends.get(partition).copied().unwrap_or_else(|| index.end_of(*partition));
        if *base != expected {
            let (found, expected) = (base.get(), expected.get());
            return Err(Fault::Mismatch { field: "base offset", found, expected });
        }
        ends.insert(*partition, *end);
    }
    Ok(())
}

fn damaged(file: &str, position: u64, source: Fault) -> OpenError {
    let is_version = source.is_version();
    let corruption =
        Corruption { file: file.to_owned(), position: ByteCount::new(position), source };
    if is_version { OpenError::Unsupported(corruption) } else { OpenError::Corrupt(corruption) }
}
