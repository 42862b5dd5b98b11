//! Finds out, from the files alone, what was acknowledged.
//!
//! The newest file says what the journal is made of: in a chain frame, or, in version 1, by naming
//! its predecessor, which names its own. Below the end that is named for a closed file everything
//! was durable, so damage there is never cut; from there on everything is void but the file's
//! directory, which spares reading the rest. In the newest file each frame names the
//! position known durable when it was written; that is the same promise. What is valid above the
//! highest such position is *in doubt*: it may have been acknowledged, or not, or come from a
//! write whose barrier failed. It is kept, but the caller writes it anew, because a page cache may
//! show bytes that the disk never got.

use std::sync::Arc;

use headland_event::{ByteCount, CommitNumber, Incarnation};

use crate::allowance::Allowance;
use crate::chain::{self, Chain, Member};
use crate::cursor::{Cursor, NextCommit, Step};
use crate::fault::{Corruption, Fault, OpenError};
use crate::frame::{FILE_HEADER_LEN, FIRST_FRAME_AT, FileHeader, FileVersion, FrameHeader, Link};
use crate::index::{FileKind, Index, Source};
use crate::loss::LostState;
use crate::medium::{Medium, MediumError, MediumFile};
use crate::place::Standing;
use crate::salvage::{Piece, Salvage};
use crate::scan::damaged::Loss;
use crate::scan::{self, PlacedCommit, ScanError};
use crate::summary::Summary;
use crate::tail::{self, Tail, TailKept};
use crate::witness::Witness;

/// Finds out from the files before the newest what that does not tell.
mod before;
/// Reads the newest file.
mod newest;
/// Keeps what lost entries had from being given again.
mod lost;

use lost::{LostOfClosed, Named};
use newest::NewestScan;

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
    /// Whether the directory is a copy, or lies elsewhere: a new life began, for who asked for it.
    pub copied: bool,
    /// Whether the life that was found was over ([`crate::Store::end_life`]), so that a new one
    /// began, for who asked to be told of copies.
    pub renewed: bool,
    /// Whether entries at the end of the journal are lost, so that a new life began: of a partition
    /// of which nothing else is there nobody can say that it lost any.
    pub is_cut: bool,
    /// How the life stands that the directory is in.
    pub standing: Standing,
    /// Commits at the end that may or may not have been acknowledged; they were kept.
    pub in_doubt: usize,
    /// Unfinished writes that were cut off. None of them was acknowledged, except by a last group
    /// that was damaged before anything recorded that it was durable.
    pub tails: Vec<Tail>,
    /// Files that are no part of the journal: writes that were given up, or what cleaning left
    /// behind. Those that the journal's chain does not name were removed.
    pub void_files: Vec<String>,
    /// Closed files that were read whole, because their directory was missing or damaged.
    pub scanned_files: Vec<String>,
    /// Files of which some could not be read. What is lost of them is quarantined: reads name it.
    /// A damaged identity is among them; the node is in a new life then.
    pub damaged_files: Vec<String>,
    /// Commits replayed to bring the state cache up to date.
    pub replayed: usize,
    /// Changes of state that were lost for good, found now or earlier. Reads of the state of
    /// owners that may be meant fail until these accept the loss.
    pub lost_state: Vec<LostState>,
}

/// The journal as found.
#[derive(Debug)]
pub(crate) struct Recovery<F> {
    /// Everything that is known durable.
    pub(crate) index: Index<F>,
    /// What follows, in order.
    pub(crate) in_doubt: Vec<PlacedCommit>,
    /// Whether the files that the index is made of are known durably to be those.
    pub(crate) chain: ChainFound,
    /// Number of the next file.
    pub(crate) next_file: u64,
    /// The life that wrote the last file.
    pub(crate) incarnation: Option<Incarnation>,
    /// Whether the end of a partition is lost, so that a new life has to begin.
    pub(crate) is_journal_cut: bool,
    /// The last life of which entries can be lost altogether: if it goes on, another has to begin.
    pub(crate) lossy_life: Option<Incarnation>,
    /// The last commit that was durable when somebody last looked; 0 when nobody did.
    pub(crate) witnessed: CommitNumber,
    pub(crate) report: OpenReport,
}

/// How the newest file says what the journal is made of.
#[derive(Debug)]
pub(crate) enum ChainFound {
    /// By the headers alone: nothing may be removed for not being named.
    Links,
    /// In a chain frame that may or may not have been acknowledged.
    InDoubt { leftovers: Vec<String> },
    /// In a chain frame that is durable.
    Durable { leftovers: Vec<String> },
}

impl ChainFound {
    /// As if the chain were in doubt: another one has to be written before anything else.
    pub(crate) fn unsettled(self) -> Self {
        match self {
            Self::Links => Self::InDoubt { leftovers: Vec::new() },
            Self::InDoubt { leftovers } | Self::Durable { leftovers } => {
                Self::InDoubt { leftovers }
            }
        }
    }
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

/// The newest file whose header and first group are whole, or were and are damaged.
struct Newest<F> {
    number: u64,
    name: Arc<str>,
    file: F,
    size: u64,
    version: FileVersion,
    allowance: Allowance,
    nonce: u64,
    base: CommitNumber,
    /// The predecessor, in version 1.
    previous: Link,
    /// The life that wrote it, unless the header is damaged.
    incarnation: Option<Incarnation>,
    /// Whether the header is damaged, so that `previous` tells nothing.
    is_header_lost: bool,
}

impl<F> Newest<F> {
    fn new(found: Found<F>, header: &FileHeader) -> Self {
        let FileHeader { version, allowance, nonce, base, incarnation, previous, .. } = *header;
        let (incarnation, is_header_lost) = (Some(incarnation), false);
        let unknown = Self::without_header(found, nonce, base);
        Self { version, allowance, previous, incarnation, is_header_lost, ..unknown }
    }

    /// What the witness tells of a file whose header is damaged.
    fn of_witness(found: Found<F>, witness: &Witness) -> Self {
        let Witness { nonce, base, incarnation, .. } = *witness;
        Self { incarnation: Some(incarnation), ..Self::without_header(found, nonce, base) }
    }

    /// What the frames of a file tell whose header is damaged.
    fn without_header(found: Found<F>, nonce: u64, base: CommitNumber) -> Self {
        let Found { number, name, file, size, header: _ } = found;
        let (name, version, previous) = (Arc::from(name), FileVersion::Two, Link::NONE);
        let (incarnation, is_header_lost) = (None, true);
        Self {
            number,
            name,
            file,
            size,
            version,
            allowance: Allowance::UNKNOWN,
            nonce,
            base,
            previous,
            incarnation,
            is_header_lost,
        }
    }
}

/// Finds the files of the journal, reads the newest, and cuts off what was not finished.
///
/// Cost: reads the newest file, and the summaries of the others; whole files only where a summary
/// is missing.
///
/// # Errors
/// [`OpenError`] when the medium fails, or acknowledged data is damaged; none of it was changed.
pub(crate) fn recover<M: Medium>(medium: &mut M) -> Result<Recovery<M::File>, OpenError> {
    let mut names: Vec<(FileKind, u64, String)> = medium
        .list()?
        .into_iter()
        .filter_map(|name| chain::parse_name(&name).map(|(kind, number)| (kind, number, name)))
        .collect();
    names.sort_by_key(|(_, number, _)| *number);
    let highest = names.last().map_or(0, |(_, number, _)| *number);
    let mut recovery = Recovery {
        index: Index::new(),
        in_doubt: Vec::new(),
        chain: ChainFound::Links,
        next_file: highest.saturating_add(1),
        incarnation: None,
        is_journal_cut: false,
        lossy_life: None,
        witnessed: CommitNumber::default(),
        report: OpenReport::default(),
    };
    let witness = Witness::load(medium)?;
    // A file that it speaks of may be gone: another one must not pass for that.
    let spoken_of = witness.as_ref().map_or(0, |witness| witness.number);
    recovery.next_file = recovery.next_file.max(spoken_of.saturating_add(1));
    recovery.witnessed = witness.as_ref().map(Witness::last).unwrap_or_default();
    let newest = find_newest(medium, &names, witness.as_ref(), &mut recovery.report)?;
    let Some(newest) = newest else {
        return Ok(recovery);
    };
    let witness = witness.filter(|witness| witness.nonce == newest.nonce);
    recovery.incarnation = newest.incarnation;
    let scan = recovery.scan_newest(medium, &newest, witness.as_ref())?;
    let NewestScan { segment, in_doubt, chain, chain_at, is_chain_durable, loss } = scan;
    let is_of_newest = witness.is_some() || chain.is_some();
    let found = match witness {
        // A chain that stood before the witness is the one in it, or an older one.
        Some(witness) if chain_at < witness.end => Some(witness.chain),
        Some(_) => chain,
        None if chain.is_none() => before::chain(medium, &names, &newest)?,
        None => chain,
    };
    let chain = recovery.take_chain(medium, &names, &newest, (found, is_chain_durable))?;
    let Chain { files, holes } = chain;
    let named = Named { holes, is_of_newest };
    let mut losses = Vec::new();
    for member in &files {
        recovery.next_file = recovery.next_file.max(member.number.saturating_add(1));
        let loss = recovery.adopt(medium, &newest.name, *member)?;
        losses.extend(loss.map(|loss| (*member, loss)));
    }
    for hole in &named.holes {
        recovery.index.keep_hole(hole.clone());
    }
    if segment.is_damaged {
        recovery.report.damaged_files.push(newest.name.to_string());
    }
    let pushed = recovery.index.push(segment);
    pushed.map_err(|fault| damaged(&newest.name, FIRST_FRAME_AT, fault))?;
    recovery.in_doubt = in_doubt;
    recovery.skip_lost(loss.map(|loss| loss.within(newest.allowance)));
    for (member, loss) in losses {
        let life = before::life_of(medium, &files, &member, newest.incarnation)?;
        let loss = loss.within(before::allowance_of(medium, &member)?);
        recovery.skip_lost_of_closed(LostOfClosed { member, loss, life }, &named);
    }
    recovery.report.files = recovery.index.closed().count() + 1;
    Ok(recovery)
}

fn open_found<M: Medium>(
    medium: &M,
    number: u64,
    name: &str,
) -> Result<Found<M::File>, MediumError> {
    let file = medium.open(name)?;
    let size = file.size()?.get();
    let header = read_header(&file, size, number)?;
    Ok(Found { number, name: name.to_owned(), file, size, header })
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

/// The newest file whose header and first group are whole; takes away those that are not.
///
/// Header and first group are written and acknowledged as one, so nothing in a file without them
/// was, unless a frame proves it.
fn find_newest<M: Medium>(
    medium: &mut M,
    names: &[(FileKind, u64, String)],
    witness: Option<&Witness>,
    report: &mut OpenReport,
) -> Result<Option<Newest<M::File>>, OpenError> {
    for (kind, number, name) in names.iter().rev() {
        match kind {
            FileKind::Cold => continue,
            FileKind::Journal => {}
        }
        let found = open_found(medium, *number, name)?;
        let Some((at, fault)) = unfinished_opening(&found)? else {
            let header = found.header.clone().map_err(|fault| damaged(name, 0, fault))?;
            return Ok(Some(Newest::new(found, &header)));
        };
        if fault.is_version() {
            return Err(damaged(name, at, fault));
        }
        let header = found.header.as_ref().ok();
        let is_ours = |witness: &&Witness| {
            witness.number == *number && header.is_none_or(|header| header.nonce == witness.nonce)
        };
        if let Some(witness) = witness.filter(is_ours) {
            return Ok(Some(match found.header.clone() {
                Ok(header) => Newest::new(found, &header),
                Err(_) => Newest::of_witness(found, witness),
            }));
        }
        let remains = tail::examine(&found.file, None, at, found.size)?;
        if !tail::is_damage(at, &remains) {
            set_aside(medium, &found, remains.end, report)?;
            continue;
        }
        let proof = remains.proof.map_or(0, |header| header.nonce);
        return match found.header.clone() {
            Ok(header) => Ok(Some(Newest::new(found, &header))),
            Err(fault) => match first_frame(&found, proof)? {
                Some(FrameHeader { nonce, commit, .. }) => {
                    Ok(Some(Newest::without_header(found, nonce, commit)))
                }
                None => Err(damaged(name, at, fault)),
            },
        };
    }
    Ok(None)
}

/// The first valid frame of a file.
fn first_frame<F: MediumFile>(
    found: &Found<F>,
    nonce: u64,
) -> Result<Option<FrameHeader>, MediumError> {
    let mut walk = Salvage::new(found.file.clone(), nonce, FIRST_FRAME_AT, found.size);
    while let Some(piece) = walk.step()? {
        match piece {
            Piece::Frame(header) => return Ok(Some(header)),
            Piece::Part(_) | Piece::Lost(_) => {}
        }
    }
    Ok(None)
}

/// Takes away a file whose header or first group was never finished.
fn set_aside<M: Medium>(
    medium: &mut M,
    found: &Found<M::File>,
    end: u64,
    report: &mut OpenReport,
) -> Result<(), OpenError> {
    let Found { name, file, .. } = found;
    let is_gone = if end > 0 {
        let tail = tail::keep_aside(medium, name, file, (0, end))?;
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
            Step::Frame(frame) => scan::read_content(&frame).err(),
            Step::End => Some(Fault::Short { needed: header.opening_end, left: *size }),
            Step::Invalid(fault) => Some(fault),
        };
        if let Some(fault) = fault {
            return Ok(Some((at, fault)));
        }
    }
    Ok(None)
}

/// The files before one of version 1: each names its predecessor; what is not on the way was given
/// up.
fn follow_links<M: Medium>(
    medium: &M,
    names: &[(FileKind, u64, String)],
    newest: &Newest<M::File>,
    report: &mut OpenReport,
) -> Result<Chain, OpenError> {
    let mut wanted = newest.previous;
    let mut named_by = newest.name.to_string();
    let mut next_base = newest.base;
    let mut chain = Chain::default();
    for (kind, number, name) in names.iter().rev().filter(|(_, number, _)| *number < newest.number)
    {
        let header = open_found(medium, *number, name)?.header;
        match header {
            Ok(header) if header.nonce == wanted.nonce => {
                let (base, nonce, end) = (header.base, header.nonce, wanted.end);
                if base < next_base {
                    let last = CommitNumber::new(next_base.get() - 1);
                    let (number, kind) = (*number, *kind);
                    chain.files.push(Member { number, nonce, kind, base, last, end });
                }
                (wanted, next_base) = (header.previous, base);
                named_by.clone_from(name);
            }
            Ok(_) | Err(_) => report.void_files.push(name.clone()),
        }
    }
    if wanted != Link::NONE {
        return Err(OpenError::Unlinked { file: named_by });
    }
    chain.files.reverse();
    report.void_files.reverse();
    Ok(chain)
}

/// What a chain frame in the newest file does not name, and could have been named by one before.
fn leftovers(names: &[(FileKind, u64, String)], newest: u64, chain: &[Member]) -> Vec<String> {
    let is_left = |kind: FileKind, number: u64| {
        let could_be_named = match kind {
            FileKind::Journal => number < newest,
            FileKind::Cold => true,
        };
        could_be_named && !chain.iter().any(|file| (file.kind, file.number) == (kind, number))
    };
    let left = names.iter().filter(|(kind, number, _)| is_left(*kind, *number));
    left.map(|(_, _, name)| name.clone()).collect()
}

impl<F: MediumFile> Recovery<F> {
    /// Takes in a closed file: its directory, or else all of it; says what is lost of it.
    fn adopt<M: Medium<File = F>>(
        &mut self,
        medium: &M,
        named_by: &str,
        member: Member,
    ) -> Result<Option<Loss>, OpenError> {
        let Member { number, nonce, kind, base, last, end } = member;
        let name = chain::file_name(kind, number);
        let file = match medium.open(&name) {
            Ok(file) => file,
            Err(error) if error.is_missing() => {
                return Err(OpenError::Missing { name, file: named_by.to_owned() });
            }
            Err(error) => return Err(error.into()),
        };
        let size = file.size()?.get();
        let source = Source { file, name: Arc::from(&*name), nonce, kind, end };
        let found = Summary::load(&source.file, nonce, (end, size))?;
        let found = found.ok().filter(|summary| (summary.base, summary.last) == (base, last));
        let (segment, loss) = if let Some(summary) = found {
            (self.index.segment_of(source, number, summary), Loss::default())
        } else {
            self.report.scanned_files.push(name.clone());
            scan::closed(&mut self.index, source, number, (base, last))?
        };
        if segment.is_damaged {
            self.report.damaged_files.push(name.clone());
        }
        self.index.adopt(segment).map_err(|fault| damaged(&name, FIRST_FRAME_AT, fault))?;
        Ok(Some(loss).filter(|loss| loss.records_max > 0))
    }

    /// What the journal is made of, by the chain that was found or by headers that name others.
    fn take_chain<M: Medium<File = F>>(
        &mut self,
        medium: &M,
        names: &[(FileKind, u64, String)],
        newest: &Newest<F>,
        (chain, is_durable): (Option<Chain>, bool),
    ) -> Result<Chain, OpenError> {
        match (newest.version, chain) {
            (FileVersion::One, _) => follow_links(medium, names, newest, &mut self.report),
            (FileVersion::Two, Some(chain)) => {
                let leftovers = leftovers(names, newest.number, &chain.files);
                self.chain = if is_durable {
                    ChainFound::Durable { leftovers }
                } else {
                    ChainFound::InDoubt { leftovers }
                };
                Ok(chain)
            }
            (FileVersion::Two, None) => {
                let fault = Fault::Mismatch { field: "chain frames", found: 0, expected: 1 };
                Err(damaged(&newest.name, FIRST_FRAME_AT, fault))
            }
        }
    }
}

fn damaged(file: &str, position: u64, source: Fault) -> OpenError {
    Corruption { file: file.to_owned(), position: ByteCount::new(position), source }.into()
}

impl From<ScanError> for OpenError {
    fn from(error: ScanError) -> Self {
        match error {
            ScanError::Medium(error) => Self::Medium(error),
            ScanError::Damaged(corruption) => corruption.into(),
        }
    }
}
