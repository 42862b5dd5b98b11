//! Reads a data directory whole, says what is damaged, and changes nothing.
//!
//! Opening a store reads as little as it can and repairs what it may. This reads everything:
//! headers, frames, every part and every record in it, directories with their points, snapshots,
//! the identity and the state mark. The state cache itself is left out: it is made again from the
//! journal whenever it is in doubt.

use std::collections::BTreeMap;

use headland_event::{ByteCount, Entry, Offset, TopicPartition};

use crate::body::Part;
use crate::chain::{self, Chain, HoleCause, Member};
use crate::cleaning;
use crate::fault::Fault;
use crate::frame::{FIRST_FRAME_AT, FrameKind, check_crc};
use crate::identity::IDENTITY_NAME;
use crate::index::FileKind;
use crate::medium::{Medium, MediumError, MediumFile};
use crate::place::PLACE_NAME;
use crate::salvage::{Gap, Piece, Salvage};
use crate::witness::WITNESS_NAME;

/// Finds out which files the journal is made of.
mod files;
/// Compares a directory with the file it stands in.
mod directory;

use directory::Held;
use files::{Found, Newest};

/// Whether a file ends in a CRC over all before it.
fn is_small(name: &str) -> bool {
    [IDENTITY_NAME, PLACE_NAME, WITNESS_NAME, "state.mark"].contains(&name)
        || name.ends_with(".snapshot")
}

/// What was read, and what of it is not what was written.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct VerifyReport {
    /// The journal's files, in the order of their commits.
    pub files: Vec<VerifiedFile>,
    /// Everything that is damaged, in the order it was found.
    pub damage: Vec<Damage>,
    /// Files that are no part of the journal: given up, replaced, or kept aside.
    pub leftovers: Vec<String>,
    /// What follows the newest file's last valid frame and may have been a write that the last
    /// run did not finish. Opening cuts it off.
    pub unfinished: Option<Unfinished>,
}

impl VerifyReport {
    /// Whether nothing is damaged.
    #[must_use]
    pub const fn is_sound(&self) -> bool {
        self.damage.is_empty()
    }
}

/// A file of the journal, and what valid content it has.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct VerifiedFile {
    /// Its name.
    pub name: String,
    /// Bytes of it that belong to the journal, its header included.
    pub bytes: ByteCount,
    /// Commits whose frame has a valid header.
    pub commits: u64,
    /// Valid entries.
    pub entries: u64,
    /// Records in them.
    pub records: u64,
    /// Valid changes of state.
    pub changes: u64,
}

/// Bytes at the end of the newest file that hold no valid frame.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Unfinished {
    /// Name of the file.
    pub file: String,
    /// Where they begin.
    pub position: ByteCount,
}

/// Something that is not what was written.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Damage {
    /// Name of the file.
    pub file: String,
    /// Position of the first byte that is not known to be right.
    pub position: ByteCount,
    /// What it is, or what it takes with it.
    pub what: Damaged,
}

/// What is damaged.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Damaged {
    /// The file itself is missing, or ends before the journal does in it.
    File,
    /// The file's header. What the chain says stands in for it.
    FileHeader(Fault),
    /// A list of the journal's files, of which there are two copies.
    Chain(Fault),
    /// A directory, which is made again from its file.
    Directory(Fault),
    /// Frames or parts, up to a position at which something valid stands.
    Parts {
        /// That position.
        until: ByteCount,
    },
    /// Entries: these offsets of a partition are missing before the position.
    Offsets {
        /// The partition.
        partition: TopicPartition,
        /// First offset that is lost.
        from: Offset,
        /// Offset after the last one lost.
        until: Offset,
    },
    /// A batch whose checksum is right and whose records are not.
    Records {
        /// The partition.
        partition: TopicPartition,
        /// The batch's first offset.
        base: Offset,
    },
    /// A small file: the node's identity, the state mark or a snapshot.
    Small(Fault),
}

/// Reads every byte that counts.
///
/// The directory must not be open for writing: what a writer is about to write looks like damage.
/// Cost: reads and checks the whole journal once, the newest file twice. Memory: the largest part,
/// and an offset for each partition.
///
/// # Errors
/// [`MediumError`] when something cannot be read; damage is in the report, not an error.
pub fn verify<M: Medium>(medium: &M) -> Result<VerifyReport, MediumError> {
    let mut names = medium.list()?;
    names.sort();
    let mut verifier = Verifier::default();
    for name in names.iter().filter(|name| is_small(name)) {
        if let Some(content) = medium.load(name)?
            && let Err(fault) = check_crc("small file", &content)
        {
            verifier.damaged(name, 0, Damaged::Small(fault));
        }
    }
    let mut headers = Vec::new();
    let newest = files::newest(medium, &names, &mut headers)?;
    for (name, fault) in headers {
        verifier.damaged(&name, 0, Damaged::FileHeader(fault));
    }
    let Some(newest) = newest else {
        verifier.report.leftovers = journal_files(&names, &[]);
        return Ok(verifier.report);
    };
    let chain = files::chain(medium, &names, &newest)?;
    for member in &chain.files {
        verifier.closed(medium, member)?;
    }
    verifier.newest(&newest)?;
    verifier.expect_holes(&chain, &newest.name);
    verifier.forgive_cleaned();
    let mut members: Vec<String> =
        chain.files.iter().map(|member| chain::file_name(member.kind, member.number)).collect();
    members.push(newest.name.clone());
    verifier.report.leftovers = journal_files(&names, &members);
    Ok(verifier.report)
}

/// Names of files with the journal's suffixes that are not among the members.
fn journal_files(names: &[String], members: &[String]) -> Vec<String> {
    let is_left = |name: &&String| name.ends_with(".tail") || chain::parse_name(name).is_some();
    names.iter().filter(is_left).filter(|name| !members.contains(name)).cloned().collect()
}

#[derive(Debug, Default)]
struct Verifier {
    report: VerifyReport,
    /// End of each partition behind what was read.
    ends: BTreeMap<TopicPartition, Offset>,
    /// Start of each partition that cleaning has moved.
    starts: BTreeMap<TopicPartition, Offset>,
}

impl Verifier {
    fn damaged(&mut self, file: &str, position: u64, what: Damaged) {
        let position = ByteCount::new(position);
        self.report.damage.push(Damage { file: file.to_owned(), position, what });
    }

    /// Reads a file up to the end that the chain names, then its directory.
    fn closed<M: Medium>(&mut self, medium: &M, member: &Member) -> Result<(), MediumError> {
        let Member { number, nonce, kind, end, .. } = *member;
        let name = chain::file_name(kind, number);
        let found = match Found::open(medium, &name) {
            Ok(found) => found,
            Err(error) if error.is_missing() => {
                self.damaged(&name, 0, Damaged::File);
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        if let Err(fault) = &found.header {
            self.damaged(&name, 0, Damaged::FileHeader(fault.clone()));
        }
        if found.size < end {
            self.damaged(&name, found.size, Damaged::File);
        }
        let readable = end.min(found.size);
        let held = self.walk(&found.file, (&name, kind), nonce, readable)?;
        // A file without a directory is one of version 1, or was closed by a crash, which may
        // leave its room and whatever was not acknowledged in it.
        if found.size > end && directory::is_there(&found.file, (end, found.size))? {
            match directory::check(&found.file, nonce, (end, found.size), &held)? {
                Ok(ends) => self.expect_ends(&name, readable, &ends),
                Err(fault) => self.damaged(&name, end, Damaged::Directory(fault)),
            }
        }
        Ok(())
    }

    fn newest<F: MediumFile>(&mut self, newest: &Newest<F>) -> Result<(), MediumError> {
        let Newest { name, file, nonce, end, size, vouched, .. } = newest;
        if size < vouched {
            self.damaged(name, *size, Damaged::File);
        }
        self.walk(file, (name, FileKind::Journal), *nonce, *end)?;
        if crate::tail::examine(file, Some(*nonce), *end, *size)?.end > *end {
            let position = ByteCount::new(*end);
            self.report.unfinished = Some(Unfinished { file: name.clone(), position });
        }
        Ok(())
    }

    /// Reads everything up to `end`, and says what the file holds.
    fn walk<F: MediumFile>(
        &mut self,
        file: &F,
        (name, kind): (&str, FileKind),
        nonce: u64,
        end: u64,
    ) -> Result<Held, MediumError> {
        let mut verified = VerifiedFile {
            name: name.to_owned(),
            bytes: ByteCount::new(end),
            commits: 0,
            entries: 0,
            records: 0,
            changes: 0,
        };
        let mut held = Held::default();
        let mut walk = Salvage::new(file.clone(), nonce, FIRST_FRAME_AT.min(end), end);
        while let Some(piece) = walk.step()? {
            match piece {
                Piece::Frame(header) => match header.kind {
                    FrameKind::Commit => {
                        verified.commits += 1;
                        held.commit(header.commit);
                    }
                    FrameKind::Chain => {
                        if let Err(fault) = files::chain_in(file, &header)? {
                            self.damaged(name, header.position, Damaged::Chain(fault));
                        }
                    }
                    FrameKind::Seal => {}
                },
                Piece::Lost(Gap { from, until }) => {
                    let until = ByteCount::new(until);
                    held.is_damaged = true;
                    self.damaged(name, from, Damaged::Parts { until });
                }
                Piece::Part(found) => match found.part {
                    Part::Change(change) => {
                        verified.changes += 1;
                        self.starts.extend(cleaning::start_of(change));
                    }
                    Part::Entry(partition, entry) => {
                        verified.entries += 1;
                        verified.records += entry.batch.span();
                        self.entry((name, kind), found.position, &partition, &entry, &held);
                        held.entry(partition, &entry);
                    }
                },
            }
        }
        self.report.files.push(verified);
        Ok(held)
    }

    /// Checks an entry's records, and that its offsets follow those before it.
    fn entry(
        &mut self,
        (name, kind): (&str, FileKind),
        position: u64,
        partition: &TopicPartition,
        entry: &Entry,
        held: &Held,
    ) {
        if entry.batch.records().is_err() {
            let what = Damaged::Records { partition: partition.clone(), base: entry.base };
            self.damaged(name, position, what);
        }
        let end = self.ends.insert(partition.clone(), entry.end());
        let is_cleaned = match kind {
            FileKind::Journal => false,
            FileKind::Cold => !held.is_damaged,
        };
        if let Some(from) = end.filter(|end| *end < entry.base && !is_cleaned) {
            let (partition, until) = (partition.clone(), entry.base);
            self.damaged(name, position, Damaged::Offsets { partition, from, until });
        }
    }

    /// Names what a closed file's directory knows of and the file has lost at its end.
    fn expect_ends(&mut self, name: &str, position: u64, ends: &[(TopicPartition, Offset)]) {
        for (partition, until) in ends {
            let from = self.ends.get(partition).copied().unwrap_or_default();
            if from < *until {
                let (partition, until) = (partition.clone(), *until);
                self.ends.insert(partition.clone(), until);
                self.damaged(name, position, Damaged::Offsets { partition, from, until });
            }
        }
    }

    /// Names what the chain says is lost, whatever the files show.
    fn expect_holes(&mut self, chain: &Chain, newest: &str) {
        for hole in &chain.holes {
            match hole.cause {
                HoleCause::Cleaned => {}
                HoleCause::Lost | HoleCause::GivenUp(_) => {
                    let (partition, from, until) = (hole.partition.clone(), hole.from, hole.until);
                    let what = Damaged::Offsets { partition, from, until };
                    if !self.report.damage.iter().any(|damage| damage.what == what) {
                        self.damaged(newest, FIRST_FRAME_AT, what);
                    }
                }
            }
        }
    }

    /// Forgets offsets that are missing before their partition's start: they were cleaned away,
    /// files between others and all.
    fn forgive_cleaned(&mut self) {
        let starts = &self.starts;
        self.report.damage.retain_mut(|damage| match &mut damage.what {
            Damaged::Offsets { partition, from, until } => {
                let start = starts.get(partition).copied().unwrap_or_default();
                *from = start.max(*from);
                *from < *until
            }
            Damaged::File
            | Damaged::FileHeader(_)
            | Damaged::Chain(_)
            | Damaged::Directory(_)
            | Damaged::Parts { .. }
            | Damaged::Records { .. }
            | Damaged::Small(_) => true,
        });
    }
}
