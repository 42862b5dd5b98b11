//! Takes up a journal that was found: first what it is, then what is settled about it.
//!
//! In between nothing of the journal has been changed but unfinished writes that were cut off. So
//! whoever keeps something beside the journal can compare the two, under the life that wrote both,
//! before a new life begins and before commits in doubt are written again.

use headland_event::{CommitNumber, Incarnation, SeededRandom};

use crate::commit::{Commit, Priority};
use crate::fault::OpenError;
use crate::group::Group;
use crate::identity::{self, IDENTITY_NAME};
use crate::journal::{Journal, JournalOptions};
use crate::log::AppendError;
use crate::lookup::Shared;
use crate::medium::{Medium, MediumFile};
use crate::offsets::{DraftOffsets, spans_of};
use crate::recovery::{ChainFound, OpenReport, Recovery, recover};
use crate::reserve::Reserve;
use crate::scan::PlacedCommit;

/// A journal that was found and is not settled yet.
pub(crate) struct Opening<M: Medium> {
    journal: Journal<M>,
    in_doubt: Vec<PlacedCommit>,
    chain: ChainFound,
    is_cut: bool,
    witnessed: CommitNumber,
    pub(crate) report: OpenReport,
}

impl<M: Medium> Opening<M> {
    /// Finds out what is there.
    pub(crate) fn find(mut medium: M, options: JournalOptions) -> Result<Self, OpenError> {
        let JournalOptions { nonce, file_bytes, reserve_bytes } = options;
        let recovery = recover(&mut medium)?;
        let Recovery { index, in_doubt, chain, next_file, incarnation, .. } = recovery;
        let Recovery { is_journal_cut, lossy_life, witnessed, .. } = recovery;
        let mut report = recovery.report;
        report.in_doubt = in_doubt.len();
        let (incarnation, found) = identity::open(&mut medium, nonce, incarnation)?;
        match found {
            identity::Found::Sound => {}
            identity::Found::Damaged => report.damaged_files.push(IDENTITY_NAME.to_owned()),
        }
        let reserve = Reserve::open(&mut medium, reserve_bytes)?;
        let journal = Journal {
            medium,
            file_bytes,
            incarnation,
            random: SeededRandom::new(nonce),
            shared: Shared::new(index),
            group: Group::default(),
            offsets: DraftOffsets::default(),
            current: None,
            next_file,
            reserve,
            vouched: (0, 0),
        };
        // What is lost of an earlier life can be given no dots again.
        let is_cut = is_journal_cut || lossy_life.is_some_and(|life| life >= incarnation);
        Ok(Self { journal, in_doubt, chain, is_cut, witnessed, report })
    }

    /// The life that the journal is in.
    pub(crate) const fn incarnation(&self) -> Incarnation {
        self.journal.incarnation()
    }

    /// Whether some of its end is lost, so that a new life has to begin.
    pub(crate) const fn is_cut(&self) -> bool {
        self.is_cut
    }

    /// Number of the last commit, those in doubt included: all of them are kept.
    pub(crate) fn last(&self) -> CommitNumber {
        let durable = self.journal.last();
        self.in_doubt.last().map_or(durable, |held| held.number.max(durable))
    }

    /// The last commit known to have been durable, by what stands beside the journal.
    pub(crate) const fn witnessed(&self) -> CommitNumber {
        self.witnessed
    }

    /// The life after this one: nothing is written yet.
    pub(crate) fn next_life(&mut self) -> Incarnation {
        self.journal.next_life()
    }

    /// Goes on in another life, which is durable when this returns.
    pub(crate) fn begin_life(&mut self, life: Incarnation) -> Result<(), OpenError> {
        // The witness stays until [`Self::settle`] replaces it: an opening that fails in between
        // would find what it proves no more, and take what is damaged for an unfinished write.
        Ok(self.journal.begin_life(life)?)
    }

    /// Makes durable what is in doubt, and removes what is no part of the journal.
    pub(crate) fn settle(self) -> Result<(Journal<M>, OpenReport), OpenError> {
        let Self { mut journal, in_doubt, chain, is_cut, witnessed: _, mut report } = self;
        let chain = if is_cut { chain.unsettled() } else { chain };
        let leftovers = journal.settle(in_doubt, chain)?;
        drop(journal.vouch());
        for name in leftovers {
            // Tried again by the next open; until then it costs room on the disk and nothing else.
            drop(journal.medium.remove(&name));
            report.void_files.push(name);
        }
        journal.write_directories();
        (report.last_commit, report.is_cut) = (journal.last(), is_cut);
        Ok((journal, report))
    }
}

impl<M: Medium> Journal<M> {
    /// Writes what recovery found in doubt to a new file, so that it is durable whatever happened.
    ///
    /// Returns the files that may be removed: those that a durable chain does not name.
    fn settle(
        &mut self,
        in_doubt: Vec<PlacedCommit>,
        chain: ChainFound,
    ) -> Result<Vec<String>, OpenError> {
        let (leftovers, is_chain_durable) = match chain {
            ChainFound::Links => (Vec::new(), true),
            ChainFound::InDoubt { leftovers } => (leftovers, false),
            ChainFound::Durable { leftovers } => (leftovers, true),
        };
        let is_settled = is_chain_durable && in_doubt.is_empty();
        let is_rewritten = !is_settled && self.rewrite(&in_doubt)?;
        Ok(if is_chain_durable || is_rewritten { leftovers } else { Vec::new() })
    }

    /// Writes commits to a new file; `false` when there is no room for a second copy.
    fn rewrite(&mut self, in_doubt: &[PlacedCommit]) -> Result<bool, OpenError> {
        let commits: Vec<Commit> = in_doubt.iter().map(|held| held.commit.clone()).collect();
        let written = if commits.is_empty() {
            self.clear_group();
            let chain = self.shared.read().chain();
            self.make_durable_in_new_file(Priority::Alerts, chain, &[])
        } else {
            self.append(Priority::Alerts, &commits).map(|_| ())
        };
        match written {
            Ok(()) => Ok(true),
            Err(AppendError::Medium(error)) => Err(OpenError::Medium(error)),
            Err(AppendError::Full { .. }) => self.keep_in_place(in_doubt).map(|()| false),
            Err(
                error @ (AppendError::Empty
                | AppendError::OffsetGap { .. }
                | AppendError::CommitTooLarge { .. }
                | AppendError::GroupTooLarge { .. }),
            ) => Err(OpenError::InDoubt(error)),
        }
    }

    /// Keeps what is in doubt where it was found, behind another barrier.
    fn keep_in_place(&mut self, in_doubt: &[PlacedCommit]) -> Result<(), OpenError> {
        let mut index = self.shared.write();
        if let Some(file) = index.last_file() {
            file.sync()?;
        }
        for PlacedCommit { frame, end, commit, places, .. } in in_doubt {
            let spans = spans_of(&mut index, commit, places);
            index.commit((*frame, *end), spans);
        }
        Ok(())
    }
}
