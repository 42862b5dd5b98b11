//! Works through closed files, a budget at a time.

use std::collections::BTreeMap;
use std::ops::{Range, RangeInclusive};

use headland_event::{ByteCount, CommitNumber, EventTime, TopicPartition};

use crate::cleaning::compaction::{Compactor, Ground};
use crate::cleaning::liveness::{Deletions, Forgotten, Judge, Live};
use crate::cleaning::pass::{Pass, Purpose, Stepped};
use crate::cleaning::plan::{self, Candidate, LiveState, Thresholds, Work};
use crate::cleaning::policy::CleanPolicy;
use crate::cleaning::{CleanError, CleanReport};
use crate::cold::{ColdFile, ColdWriter};
use crate::frame::FIRST_FRAME_AT;
use crate::journal::Journal;
use crate::journal::install::{ClosedFile, HeldShare, Replacement};
use crate::loss::Losses;
use crate::medium::{Medium, MediumFile};
use crate::refill::{Refill, Refilled, Refills};
use crate::state::StateCache;

/// What is remembered of a file, as long as the process lives.
#[derive(Debug)]
enum Survey {
    Done(Found),
    Damaged,
}

/// What a survey or a copy found out.
#[derive(Debug)]
struct Found {
    /// Bytes of entries that were live.
    entries: u64,
    /// What [`estimate`] said of them.
    estimate: u64,
    /// Bytes of state that were live.
    state: u64,
    /// Bytes that had been appended by then.
    appended: u64,
    /// The deletions that may go once nothing in the file is live.
    forgotten: Vec<Forgotten>,
}

impl Found {
    /// Bytes of entries that are live now, if the estimate is `now`.
    ///
    /// An entry is live as long as any of it is, so the estimate alone would call a file of few
    /// large entries worth a copy that takes nothing away, again and again.
    fn entries(&self, now: u64) -> u64 {
        let gone = self.estimate.saturating_sub(now);
        if now == 0 { 0 } else { self.entries.saturating_sub(gone).max(1) }
    }
}

/// Cleans closed files; remembers what it found out about them.
#[derive(Debug)]
pub(crate) struct Cleaner<F> {
    surveys: BTreeMap<u64, Survey>,
    pass: Option<Pass<F>>,
    /// What came back of damaged files; while one is written anew no pass begins.
    refills: Refills<F>,
    compactor: Compactor,
    /// Bytes appended since the store was opened.
    appended: u64,
}

impl<F> Default for Cleaner<F> {
    fn default() -> Self {
        let (surveys, compactor) = (BTreeMap::new(), Compactor::default());
        Self { surveys, pass: None, refills: Refills::default(), compactor, appended: 0 }
    }
}

/// What a cleaner works on.
pub(crate) struct Workplace<'a, M: Medium, C> {
    pub(crate) journal: &'a mut Journal<M>,
    pub(crate) cache: &'a mut C,
    /// Changes of state that are known to be lost.
    pub(crate) losses: &'a Losses,
    /// Files with a later commit are left alone.
    pub(crate) until: CommitNumber,
    pub(crate) policy: &'a CleanPolicy,
    /// On the clock of event times.
    pub(crate) now: EventTime,
}

impl<M: Medium, C> Workplace<'_, M, C> {
    /// The closed files that may be cleaned, and what the oldest of all is called.
    pub(crate) fn files(&self) -> (Vec<ClosedFile<M::File>>, Option<CommitNumber>) {
        let mut files = self.journal.closed_files();
        let oldest = files.first().map(|file| file.base);
        files.truncate(files.partition_point(|file| file.last <= self.until));
        (files, oldest)
    }
}

impl<F: MediumFile> Cleaner<F> {
    /// Notes that the journal grew.
    pub(crate) const fn on_appended(&mut self, size: ByteCount) {
        self.appended = self.appended.saturating_add(size.get());
    }

    /// Takes in an entry that came back in the place of a lost one.
    pub(crate) fn refill(&mut self, refill: Refill) {
        self.refills.push(refill);
    }

    /// Whether such entries wait and the mark is before the end of one of these files: a node that
    /// has nothing to write would not move it.
    pub(crate) fn waits_for_mark(&self, files: &[ClosedFile<F>], marked: CommitNumber) -> bool {
        self.refills.has_waiting() && files.iter().any(|file| marked < file.last)
    }

    /// Commits whose changes of state have to be set anew for such entries.
    pub(crate) fn restating(&self) -> Option<Range<CommitNumber>> {
        self.refills.restating()
    }

    /// They were, or cannot be.
    pub(crate) fn on_restated(&mut self, is_done: bool, losses: &Losses) {
        self.refills.on_restated(is_done, losses);
    }

    /// What became of such entries since this was asked last.
    pub(crate) fn take_refilled(&mut self) -> Vec<Refilled> {
        self.refills.take_results()
    }

    /// Works until nothing is due or the budget is used up, which the last commit read may pass.
    ///
    /// # Errors
    /// [`CleanError`]; a later call goes on.
    pub(crate) fn work<M: Medium<File = F>, C: StateCache>(
        &mut self,
        place: &mut Workplace<'_, M, C>,
        budget: u64,
        report: &mut CleanReport,
    ) -> Result<(), CleanError> {
        let shared = place.journal.shared().clone();
        let mut spent = 0;
        while spent < budget {
            if self.pass.is_none()
                && let Some(did) = self.refills.step(place, report)?
            {
                spent += did;
                continue;
            }
            let Some(pass) = &mut self.pass else {
                if let Some(read) = self.compact(place)? {
                    spent += read;
                    report.read = ByteCount::new(report.read.get() + read);
                } else if !self.begin(place, report)? {
                    self.compactor.forget();
                    report.is_done = true;
                    return Ok(());
                }
                continue;
            };
            let start = |partition: &TopicPartition| shared.read().start(partition);
            let (compactor, ground) = (&self.compactor, (place.policy, place.now));
            let compact = |partition: &TopicPartition, entry, base| {
                compactor.left((partition, entry), ground, base)
            };
            match pass.step(place.journal, &Judge { cache: &*place.cache, start, compact }) {
                Ok(Stepped::On { read, written }) => {
                    spent += read + written;
                    report.read = ByteCount::new(report.read.get() + read);
                    report.written = ByteCount::new(report.written.get() + written);
                }
                Ok(Stepped::Damaged { nonce }) => {
                    self.surveys.insert(nonce, Survey::Damaged);
                    self.give_up(place.journal);
                }
                Ok(Stepped::Done) => self.finish(place, report)?,
                Err(error) => {
                    self.give_up(place.journal);
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    /// Goes on finding out what compaction lets go; says how many bytes were read, `None` when it
    /// is known.
    fn compact<M: Medium<File = F>, C: StateCache>(
        &mut self,
        place: &Workplace<'_, M, C>,
    ) -> Result<Option<u64>, CleanError> {
        if place.policy.compactions.is_empty() {
            return Ok(None);
        }
        let (policy, now, appended) = (place.policy, place.now, self.appended);
        let files = &*place.files().0;
        self.compactor.step(&place.journal.reader(), &Ground { policy, now, files, appended })
    }

    /// Decides what comes next; `false` when nothing is due.
    fn begin<M: Medium<File = F>, C: StateCache>(
        &mut self,
        place: &mut Workplace<'_, M, C>,
        report: &mut CleanReport,
    ) -> Result<bool, CleanError> {
        let all = place.journal.closed_files();
        self.surveys.retain(|nonce, _| all.iter().any(|file| file.source.nonce == *nonce));
        let (mut files, oldest) = place.files();
        let total = files.iter().map(|file| file.source.end).sum();
        let candidates: Vec<Candidate> =
            files.iter().map(|file| self.candidate(file, total, place.journal)).collect();
        let thresholds = Thresholds {
            live_percent: place.policy.live_percent.min(100).into(),
            file_bytes: place.journal.file_bytes().get(),
        };
        let Some(work) = plan::next(&candidates, thresholds) else { return Ok(false) };
        let (keys, purpose) = match work {
            Work::Survey(base) => (base..=base, Purpose::Survey),
            Work::Remove(keys) => {
                let forgotten = self.forgotten(&files, &keys);
                let removed = Replacement { files: keys, cold: None, mend: None };
                self.install(place, removed, forgotten, report)?;
                return Ok(true);
            }
            Work::Copy(keys) => {
                let copied = candidates.iter().filter(|file| keys.contains(&file.base));
                let room = copied.map(Candidate::live_max).sum::<u64>() + FIRST_FRAME_AT;
                let room = ByteCount::new(room);
                (keys, Purpose::Copy { room, writer: None })
            }
        };
        files.retain(|file| keys.contains(&file.base));
        let is_oldest = oldest == Some(*keys.start());
        let deletions = if is_oldest { Deletions::Go } else { Deletions::Stay };
        self.pass = Pass::new(files, deletions, purpose);
        debug_assert!(self.pass.is_some(), "a plan names files");
        Ok(self.pass.is_some())
    }

    fn candidate<M: Medium<File = F>>(
        &self,
        file: &ClosedFile<F>,
        total: u64,
        journal: &Journal<M>,
    ) -> Candidate {
        let (base, size) = (file.base, file.source.end - FIRST_FRAME_AT);
        let estimate = self.estimate(file, journal);
        let (entries, state) = match self.surveys.get(&file.source.nonce) {
            // It is the evidence of what is missing, though all that is left may be superseded.
            _ if file.is_damaged => (estimate, LiveState::Damaged),
            None => (estimate, LiveState::Unknown),
            Some(Survey::Damaged) => (estimate, LiveState::Damaged),
            Some(Survey::Done(found)) => {
                let grown = self.appended.saturating_sub(found.appended);
                let is_outdated = grown >= (total / 2).max(size);
                let state = if is_outdated { LiveState::Outdated } else { LiveState::AtMost };
                (found.entries(estimate), state(found.state))
            }
        };
        Candidate { base, size, entries, state }
    }

    /// Bytes of entries in a file that are live, as far as that is known without reading it.
    fn estimate<M: Medium<File = F>>(&self, file: &ClosedFile<F>, journal: &Journal<M>) -> u64 {
        let kept = estimate(file, journal);
        let live = kept.saturating_sub(self.compactor.dead_bytes(file.source.nonce));
        // Where compaction leaves no record it leaves holes: such a file is not simply removed.
        if kept == 0 { 0 } else { live.max(1) }
    }

    /// Keeps what was found out about a file.
    fn remember<M: Medium<File = F>>(&mut self, journal: &Journal<M>, nonce: u64, live: Live) {
        let files = journal.closed_files();
        let Some(file) = files.iter().find(|file| file.source.nonce == nonce) else { return };
        let (estimate, appended) = (self.estimate(file, journal), self.appended);
        let Live { entries, state, forgotten, .. } = live;
        let found = Found { entries, estimate, state, appended, forgotten };
        self.surveys.insert(nonce, Survey::Done(found));
    }

    /// The deletions that go with files in which nothing is live.
    fn forgotten(
        &self,
        files: &[ClosedFile<F>],
        keys: &RangeInclusive<CommitNumber>,
    ) -> Vec<Forgotten> {
        let mut all = Vec::new();
        for file in files.iter().filter(|file| keys.contains(&file.base)) {
            match self.surveys.get(&file.source.nonce) {
                Some(Survey::Done(found)) => all.extend_from_slice(&found.forgotten),
                Some(Survey::Damaged) | None => {
                    debug_assert!(false, "a file is dead by a survey");
                }
            }
        }
        all
    }

    /// Takes over what a pass has found out or written.
    fn finish<M: Medium<File = F>, C: StateCache>(
        &mut self,
        place: &mut Workplace<'_, M, C>,
        report: &mut CleanReport,
    ) -> Result<(), CleanError> {
        let Some(pass) = self.pass.take() else { return Ok(()) };
        let (files, nonce) = (pass.keys(), pass.nonce());
        let Pass { mut live, purpose, .. } = pass;
        let writer = match purpose {
            Purpose::Survey => {
                self.remember(place.journal, nonce, live);
                return Ok(());
            }
            Purpose::Copy { writer, room: _ } => writer,
        };
        let cold = match writer {
            Some(writer) => write_out(place.journal, *writer, report)?,
            None => None,
        };
        let (nonce, written) = (cold.as_ref().map(|cold| cold.source.nonce), cold.iter().count());
        let forgotten = std::mem::take(&mut live.forgotten);
        self.install(place, Replacement { files, cold, mend: None }, forgotten, report)?;
        report.files_written += written;
        if let Some(nonce) = nonce {
            self.remember(place.journal, nonce, live);
        }
        Ok(())
    }

    /// Makes a replacement part of the journal, and then lets the cache forget what went for good.
    fn install<M: Medium<File = F>, C: StateCache>(
        &mut self,
        place: &mut Workplace<'_, M, C>,
        replacement: Replacement<F>,
        forgotten: Vec<Forgotten>,
        report: &mut CleanReport,
    ) -> Result<(), CleanError> {
        let files = place.journal.closed_files();
        let removed = files.iter().filter(|file| replacement.files.contains(&file.base)).count();
        debug_assert!(removed > 0, "a replacement takes the place of files");
        place.journal.install(vec![replacement]).map_err(CleanError::Install)?;
        report.files_removed += removed;
        for Forgotten { owner, key, commit } in forgotten {
            // A row that stays costs room in the cache and nothing else.
            drop(place.cache.forget(&owner, &key, commit));
        }
        Ok(())
    }

    fn give_up<M: Medium<File = F>>(&mut self, journal: &mut Journal<M>) {
        match self.pass.take().map(|pass| pass.purpose) {
            Some(Purpose::Copy { writer: Some(writer), room: _ }) => {
                journal.discard_cold(&writer.name());
            }
            Some(Purpose::Copy { writer: None, room: _ } | Purpose::Survey) | None => {}
        }
    }
}

/// Bytes of entries in a file that are at or after their partitions' starts, 0 only if none is.
///
/// Of a share across a start the same part of its bytes counts as of its offsets.
fn estimate<M: Medium>(file: &ClosedFile<M::File>, journal: &Journal<M>) -> u64 {
    let index = journal.shared().read();
    let live = |HeldShare { partition, base, end, bytes, time: _ }: &HeldShare| {
        let start = index.start(partition).max(*base);
        if start >= *end {
            return 0;
        }
        let (left, all) = (end.since(start), end.since(*base));
        let live = u128::from(bytes.get()) * u128::from(left) / u128::from(all);
        u64::try_from(live).unwrap_or(u64::MAX).max(1)
    };
    file.shares.iter().map(live).sum()
}

/// Makes a cold file durable.
fn write_out<M: Medium>(
    journal: &mut Journal<M>,
    writer: ColdWriter<M::File>,
    report: &mut CleanReport,
) -> Result<Option<ColdFile<M::File>>, CleanError> {
    let (name, pushed) = (writer.name(), writer.size().get());
    let finished = writer.finish().and_then(|cold| {
        let size = cold.as_ref().map(|cold| cold.source.file.size()).transpose()?;
        Ok((cold, size.map_or(pushed, ByteCount::get)))
    });
    match finished {
        Ok((cold, size)) => {
            // The header and the directory; commits were counted one by one.
            let around = size - pushed + FIRST_FRAME_AT;
            report.written = ByteCount::new(report.written.get() + around);
            Ok(cold)
        }
        Err(error) => {
            journal.discard_cold(&name);
            Err(CleanError::Medium(error))
        }
    }
}
