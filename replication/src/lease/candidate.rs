//! How one hub has another region taken over: one attempt.

use std::collections::{BTreeMap, BTreeSet};

use headland_event::{Monotonic, RegionId};

use super::message::{Ballot, LeaseMessage, Vote};

/// An attempt of this hub.
#[derive(Debug, Clone)]
pub(super) struct Attempt {
    pub(super) region: RegionId,
    pub(super) number: u64,
    pub(super) ballot: Ballot,
    stage: Stage,
    /// When all is said again, or given up for a higher attempt.
    pub(super) again_at: Monotonic,
    /// A higher attempt that was heard of.
    pub(super) passed_by: Option<Ballot>,
    /// How many attempts before it were passed by.
    pub(super) passed: u32,
}

#[derive(Debug, Clone)]
enum Stage {
    Preparing(BTreeMap<RegionId, Option<Vote>>),
    Accepting(Vote, BTreeSet<RegionId>),
}

impl Attempt {
    pub(super) const fn new(
        region: RegionId,
        number: u64,
        ballot: Ballot,
        again_at: Monotonic,
    ) -> Self {
        let stage = Stage::Preparing(BTreeMap::new());
        Self { region, number, ballot, stage, again_at, passed_by: None, passed: 0 }
    }

    /// What to say to every voter now.
    pub(super) fn word(&self) -> LeaseMessage {
        let (region, number) = (self.region.clone(), self.number);
        match &self.stage {
            Stage::Preparing(_) => {
                LeaseMessage::Prepare { region, number, ballot: self.ballot.clone() }
            }
            Stage::Accepting(vote, _) => {
                LeaseMessage::Accept { region, number, vote: vote.clone() }
            }
        }
    }

    /// A voter has promised. Once a majority has, what any of them agreed to last is asked for, so
    /// that what may be decided already stays so; whether it has just come to that.
    pub(super) fn on_promise(
        &mut self,
        from: &RegionId,
        accepted: Option<Vote>,
        majority: usize,
    ) -> bool {
        let Stage::Preparing(promises) = &mut self.stage else { return false };
        promises.insert(from.clone(), accepted);
        if promises.len() < majority {
            return false;
        }
        let last = promises.values().flatten().max().map(|vote| vote.to.clone());
        let to = last.unwrap_or_else(|| self.ballot.by.clone());
        let vote = Vote { ballot: self.ballot.clone(), to };
        self.stage = Stage::Accepting(vote, BTreeSet::new());
        true
    }

    /// A voter has agreed; where the region is left for, once a majority has.
    pub(super) fn on_accepted(&mut self, from: &RegionId, majority: usize) -> Option<RegionId> {
        let Stage::Accepting(vote, accepted) = &mut self.stage else { return None };
        accepted.insert(from.clone());
        (accepted.len() >= majority).then(|| vote.to.clone())
    }
}
