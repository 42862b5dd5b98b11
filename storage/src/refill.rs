//! Puts entries that came back in the place of lost ones, at their offsets.
//!
//! What damage took stays quarantined until somebody who has the same entries at the same offsets
//! gives them back. Then the file that lost them is written anew as a cold file: all of it that is
//! still valid, commit by commit with the same numbers, and each entry that came back before the
//! next one of its partition, in that one's commit, or in the last commit of the file. It is
//! installed as what cleaning writes is ([`crate::journal::install`]), so a crash at any moment
//! leaves one file or the other, and a start reads it like any cold file.
//!
//! # What holds
//! - Nothing valid is changed: an entry is put only where nothing valid stands, and only where the
//!   file lost something or the chain names it as lost.
//! - What does not come back stays lost. In a cold file a gap passes for cleaned, so the chain that
//!   names the file names what is lost of it as well.
//! - No change of state is forgotten silently. Of a file that lost some which no record under the
//!   owner `log` tells of only the cache has them, and a rebuild of it would have to find out: they
//!   are set anew first. Where there are too many of them the file is left alone.
//! - Nothing that has to be replayed moves: only files are written anew whose last commit is at or
//!   before the state mark and the older operator snapshot, as for all cleaning.
//! - It is done in steps of cleaning's budget, and while it is nothing else is cleaned.
//!
//! - Where the part that was lost still says its length and checksum, only an entry with these is
//!   taken. Of all else who hands it in answers for what is in it, and its place is checked.
//! - One step reads a mebibyte at most of what is damaged, since commits wait for its end.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;

use headland_event::{ByteCount, CommitNumber, Entry, Offset, TopicPartition};

use crate::cleaning::{CleanError, CleanReport, Workplace};
use crate::cold::ColdFile;
use crate::group::byte_count;
use crate::index::{LostPlace, Mend};
use crate::journal::install::{ClosedFile, Replacement};
use crate::loss::{Losses, LostState};
use crate::medium::{Medium, MediumFile};

/// Makes commits again of what is left of a damaged file.
mod assembly;
/// Writes a damaged file anew.
mod copy;
/// Finds the place of entries between others.
mod fitting;

use copy::{Copy, Stepped};

/// Bytes of entries that wait for their file to be written anew. What is beyond is refused, and may
/// be handed in again later; a file holds more, so all of a large loss takes several turns.
const WAITING_BYTES_MAX: u64 = 16 << 20;

/// An entry that is to take the place of one that was lost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refill {
    /// The partition that lost it.
    pub partition: TopicPartition,
    /// The entry, with the offset that it had.
    pub entry: Entry,
}

impl Refill {
    pub(crate) fn offsets(&self) -> Range<Offset> {
        self.entry.base..self.entry.end()
    }
}

/// What became of an entry that was handed in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refilled {
    /// Its partition.
    pub partition: TopicPartition,
    /// Its first offset.
    pub from: Offset,
    /// Offset after its last record.
    pub until: Offset,
    /// Whether readers get it now.
    pub result: Result<(), RefillRefused>,
}

/// Why an entry did not take the place of a lost one. The range stays as it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RefillRefused {
    /// Nothing is lost there: readers get all of its offsets.
    #[error("readers get all of its offsets")]
    Intact,
    /// There is no such place, or not all of what the entry spans is lost.
    #[error("not all of its offsets are lost")]
    NotLost,
    /// The file also lost what nothing can bring back and nothing tells of, so it has to stay.
    #[error("the damaged file holds the only trace of what else it lost")]
    Evidence,
    /// There is no room for it, in memory or in a commit. It may be handed in again.
    #[error("there is no room for it")]
    Full,
    /// The file could not be read or written. It may be handed in again.
    #[error("the file could not be written anew")]
    Failed,
    /// The file is still written to. It may be handed in again once that is closed.
    #[error("the file that lost it is still written to")]
    Open,
    /// An entry for some of its offsets waits already; this one was not looked at.
    #[error("another one for some of its offsets waits already")]
    Waiting,
    /// What is left of the part that stood there has another checksum.
    #[error("it is not what stood there: the checksum there is another")]
    Differs,
}

/// Entries that came back, and the file that is being written anew for some of them.
#[derive(Debug)]
pub(crate) struct Refills<F> {
    waiting: VecDeque<Refill>,
    bytes: u64,
    copy: Option<Box<Copy<F>>>,
    /// What it was begun for.
    copied: Vec<Refill>,
    /// Commits whose changes of state have to be set anew before anything else is begun: only the
    /// cache has them. With the nonce of their file.
    restating: Option<(u64, Range<CommitNumber>)>,
    /// Files that had to stay, by nonce, and what was known to be lost of state then: as long as
    /// that is so they are not read through again.
    evidence: BTreeMap<u64, Vec<LostState>>,
    /// Not reported yet.
    results: Vec<Refilled>,
}

impl<F> Default for Refills<F> {
    fn default() -> Self {
        let (waiting, evidence) = (VecDeque::new(), BTreeMap::new());
        let (copied, results) = (Vec::new(), Vec::new());
        Self { waiting, bytes: 0, copy: None, copied, restating: None, evidence, results }
    }
}

impl<F: MediumFile> Refills<F> {
    /// Takes an entry in, unless one for its offsets waits already or there is no room.
    pub(crate) fn push(&mut self, refill: Refill) {
        let (size, range) = (size(&refill.entry), refill.offsets());
        let is_same = |other: &Refill| {
            other.partition == refill.partition
                && other.entry.base < range.end
                && range.start < other.entry.end()
        };
        if self.waiting.iter().any(is_same) {
            return self.refuse(&refill, RefillRefused::Waiting);
        }
        if self.bytes + size > WAITING_BYTES_MAX {
            return self.refuse(&refill, RefillRefused::Full);
        }
        self.bytes += size;
        self.waiting.push_back(refill);
    }

    /// Whether entries wait for a file to be begun.
    pub(crate) fn has_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Goes on with a file, or begins one that is due; says how many bytes were read and written,
    /// `None` when there is nothing to do now.
    pub(crate) fn step<M: Medium<File = F>, C>(
        &mut self,
        place: &mut Workplace<'_, M, C>,
        report: &mut CleanReport,
    ) -> Result<Option<u64>, CleanError> {
        if self.restating.is_some() {
            return Ok(None);
        }
        let stepped = match &mut self.copy {
            Some(copy) => copy.step(place.losses).map(Some),
            None => Ok(self.begin(place).then_some(Stepped::On { read: 0, written: 0 })),
        };
        match stepped {
            Ok(Some(Stepped::On { read, written })) => {
                report.read = ByteCount::new(report.read.get() + read);
                report.written = ByteCount::new(report.written.get() + written);
                Ok(Some(read + written))
            }
            Ok(Some(Stepped::Done)) => self.finish(place, report).map(Some),
            Ok(None) => Ok(None),
            Err(refused) => {
                self.give_up(place, refused);
                Ok(Some(0))
            }
        }
    }

    /// Commits whose changes of state only the cache has, and that a file waits for to be set anew.
    pub(crate) fn restating(&self) -> Option<Range<CommitNumber>> {
        self.restating.as_ref().map(|(_, commits)| commits.clone())
    }

    /// They were set anew, or the file has to stay as it is.
    pub(crate) fn on_restated(&mut self, is_done: bool, losses: &Losses) {
        if let Some((nonce, _)) = self.restating.take().filter(|_| !is_done) {
            self.evidence.insert(nonce, losses.all());
        }
    }

    /// Has what a file was begun for wait until its changes of state are set anew.
    fn wait_for_state(
        &mut self,
        copied: Vec<Refill>,
        (nonce, commits): (u64, Range<CommitNumber>),
    ) {
        for refill in copied {
            self.bytes += size(&refill.entry);
            self.waiting.push_back(refill);
        }
        self.restating = Some((nonce, commits));
    }

    /// What became of entries since this was asked last.
    pub(crate) fn take_results(&mut self) -> Vec<Refilled> {
        std::mem::take(&mut self.results)
    }

    /// Begins to write the first file anew for which entries wait; `false` when there is none.
    fn begin<M: Medium<File = F>, C>(&mut self, place: &mut Workplace<'_, M, C>) -> bool {
        // All that waited for one file may be refused, and others wait for another.
        loop {
            let waited = self.waiting.len();
            if self.begin_next(place) {
                return true;
            }
            if self.waiting.is_empty() || self.waiting.len() == waited {
                return false;
            }
        }
    }

    /// Begins to write the file anew for which the first of what waits does; `false` when all of
    /// it was refused.
    fn begin_next<M: Medium<File = F>, C>(&mut self, place: &mut Workplace<'_, M, C>) -> bool {
        let (files, _) = place.files();
        let mut chosen: Option<ClosedFile<F>> = None;
        let mut taken = Vec::new();
        for refill in std::mem::take(&mut self.waiting) {
            let found =
                place.journal.shared().read().place_of_lost(&refill.partition, &refill.offsets());
            match found {
                LostPlace::Nowhere => self.let_go(&refill, RefillRefused::NotLost),
                LostPlace::Open => self.let_go(&refill, RefillRefused::Open),
                LostPlace::In(key) => {
                    if chosen.is_none() {
                        chosen = files.iter().find(|file| file.base == key).cloned();
                    }
                    let Some(file) = chosen.as_ref().filter(|file| file.base == key) else {
                        self.waiting.push_back(refill);
                        continue;
                    };
                    match why_not(place, file, &refill, &self.evidence) {
                        Some(refused) => self.let_go(&refill, refused),
                        None => {
                            self.bytes -= size(&refill.entry);
                            taken.push(refill);
                        }
                    }
                }
            }
        }
        let Some(file) = chosen.filter(|_| !taken.is_empty()) else { return false };
        let results: Vec<_> = taken.iter().map(|r| result(r, Err(RefillRefused::Failed))).collect();
        self.copied.clone_from(&taken);
        match Copy::begin(place.journal, file, taken) {
            Ok(copy) => self.copy = Some(Box::new(copy)),
            Err(_) => self.results.extend(results),
        }
        true
    }

    /// Makes the file that was written part of the journal; says how many bytes that wrote.
    fn finish<M: Medium<File = F>, C>(
        &mut self,
        place: &mut Workplace<'_, M, C>,
        report: &mut CleanReport,
    ) -> Result<u64, CleanError> {
        let Some(copy) = self.copy.take() else { return Ok(0) };
        let refills = std::mem::take(&mut self.copied);
        let (nonce, commits) = (copy.nonce(), copy.commits());
        let copied = copy.finish(place.losses);
        let (mut results, name) = (copied.results, copied.name);
        let has_some = results.iter().any(|refilled| refilled.result.is_ok());
        // What was lost when it was begun may have been cleaned away since.
        let index = place.journal.shared().clone();
        let may_replace = |cold: &ColdFile<F>| index.read().may_replace(copied.key, &cold.summary);
        let (cold, mend, key) = match copied.cold {
            Ok(Some((cold, mend))) if has_some && may_replace(&cold) => (cold, mend, copied.key),
            Ok(Some(_)) if has_some => {
                place.journal.discard_cold(&name);
                self.refuse_all(results, RefillRefused::NotLost);
                return Ok(0);
            }
            Ok(_) => {
                place.journal.discard_cold(&name);
                self.results.append(&mut results);
                return Ok(0);
            }
            Err(refused) => {
                place.journal.discard_cold(&name);
                if copied.is_state_unknown {
                    self.wait_for_state(refills, (nonce, commits));
                    return Ok(0);
                }
                self.note_evidence(place, nonce, refused);
                self.refuse_all(results, refused);
                return Ok(0);
            }
        };
        let written = cold.source.file.size().map_or(0, ByteCount::get);
        let mend: Option<Mend> = Some(mend);
        let replacement = Replacement { files: key..=key, cold: Some(cold), mend };
        if let Err(error) = place.journal.install(vec![replacement]) {
            // The file stays, because a crash may bring the chain back that names it.
            self.refuse_all(results, RefillRefused::Failed);
            return Err(CleanError::Install(error));
        }
        self.results.append(&mut results);
        report.files_removed += 1;
        report.files_written += 1;
        Ok(written)
    }

    fn give_up<M: Medium<File = F>, C>(
        &mut self,
        place: &mut Workplace<'_, M, C>,
        refused: RefillRefused,
    ) {
        if let Some(copy) = self.copy.take() {
            let refills = std::mem::take(&mut self.copied);
            if copy.is_state_unknown() {
                let (nonce, commits) = (copy.nonce(), copy.commits());
                place.journal.discard_cold(&copy.give_up(refused).0);
                return self.wait_for_state(refills, (nonce, commits));
            }
            self.note_evidence(place, copy.nonce(), refused);
            let (name, results) = copy.give_up(refused);
            place.journal.discard_cold(&name);
            self.refuse_all(results, refused);
        }
    }

    /// Notes that a file has to stay, when that is why, and forgets those that are gone.
    fn note_evidence<M: Medium<File = F>, C>(
        &mut self,
        place: &Workplace<'_, M, C>,
        nonce: u64,
        refused: RefillRefused,
    ) {
        let closed = place.journal.closed_files();
        self.evidence.retain(|nonce, _| closed.iter().any(|file| file.source.nonce == *nonce));
        if refused == RefillRefused::Evidence {
            self.evidence.insert(nonce, place.losses.all());
        }
    }

    /// Refuses an entry that waited.
    fn let_go(&mut self, refill: &Refill, refused: RefillRefused) {
        self.bytes -= size(&refill.entry);
        self.refuse(refill, refused);
    }

    fn refuse(&mut self, refill: &Refill, refused: RefillRefused) {
        self.results.push(result(refill, Err(refused)));
    }

    fn refuse_all(&mut self, results: Vec<Refilled>, refused: RefillRefused) {
        let refuse = |of: Refilled| Refilled { result: of.result.and(Err(refused)), ..of };
        self.results.extend(results.into_iter().map(refuse));
    }
}

/// Why an entry is refused before its file is read through: that would come to nothing.
fn why_not<M: Medium, C>(
    place: &Workplace<'_, M, C>,
    file: &ClosedFile<M::File>,
    refill: &Refill,
    evidence: &BTreeMap<u64, Vec<LostState>>,
) -> Option<RefillRefused> {
    let (partition, range) = (&refill.partition, refill.offsets());
    if evidence.get(&file.source.nonce).is_some_and(|known| *known == place.losses.all()) {
        return Some(RefillRefused::Evidence);
    }
    if file.is_damaged || place.journal.shared().read().is_lost(partition, &range) {
        return None;
    }
    match place.journal.reader().is_damaged_at(partition, range.start) {
        Ok(true) => None,
        Ok(false) => Some(RefillRefused::NotLost),
        Err(_) => Some(RefillRefused::Failed),
    }
}

/// Bytes of an entry, about.
fn size(entry: &Entry) -> u64 {
    byte_count(entry.batch.as_bytes().len() + 512).get()
}

fn result(refill: &Refill, result: Result<(), RefillRefused>) -> Refilled {
    let Range { start: from, end: until } = refill.offsets();
    Refilled { partition: refill.partition.clone(), from, until, result }
}
