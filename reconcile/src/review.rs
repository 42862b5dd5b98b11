//! Late events under review, and what was decided about them.
//!
//! A decision is an event like any other: it stands in the log of the hub where it was made, with
//! the causal context of that hub, and is replicated with it. Of the decisions about one late
//! event those that nobody overruled (that no other decision happened after) speak. When they
//! agree, the event counts as they say; when they do not, it is disputed and does not count until
//! somebody who has seen both decides again. So the outcome is a function of the set of
//! decisions, in whatever order they arrive, before or after the event itself.
//!
//! What is injected into stock is named by the late event, never by a decision: deciding the same
//! again, anywhere, injects nothing again.
//!
//! A posting that overlaps with a stocktake is reviewed alike, under a name of its own for each
//! stocktake. It counts as after the count already; a decision says how many of its units do.

use headland_event::{KeyMap, keymap};
use serde::{Deserialize, Serialize};

use crate::actor::{Actors, Spot};
use crate::catalogue::ShelfIndex;
use crate::delivery::Shift;
use crate::event::{Decision, Effective, Ruling};
use crate::name::ReviewId;
use crate::output::{Disputed, ReviewRecord};
use crate::register::{Register, Write};
use crate::shelf::Overlap;

/// Where a review is. Nothing is ever removed, so it stays true.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ReviewIndex(u32);

/// A late event or an overlap, when it has come, and the decisions about it, when there are some.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct Review {
    pub(crate) decisions: Register<Decision>,
    pub(crate) late: Option<LateEvent>,
    /// What the event does to stock now.
    pub(crate) applied: Option<Applied>,
    /// Found again whenever a snapshot is read.
    #[serde(skip)]
    pub(crate) overlap: Option<Overlapping>,
}

/// A posting that overlaps with the current stocktake of its shelf.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Overlapping {
    pub(crate) shelf: ShelfIndex,
    pub(crate) overlap: Overlap,
    /// Units that the count has already, by what was decided.
    pub(crate) aside: i64,
}

/// A late event that counts as its delivery's copy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LateEvent {
    pub(crate) at: Spot,
    pub(crate) shift: Shift,
    /// The event, byte for byte as received.
    pub(crate) value: Box<str>,
}

/// What an approved event does to stock, and from which place on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Applied {
    pub(crate) at: Spot,
    pub(crate) shift: Shift,
}

/// What the decisions about one late event come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome<'a> {
    /// Nobody has decided.
    Open,
    /// Decisions of which neither had seen the other differ.
    Disputed,
    /// This one, or those that agree with it, holds.
    Settled(&'a Write<Decision>),
}

impl Review {
    /// What the decisions come to. O(decisions).
    pub(crate) fn outcome(&self) -> Outcome<'_> {
        let Some(winner) = self.decisions.winner() else { return Outcome::Open };
        let agrees = |other: &Write<Decision>| other.value.ruling == winner.value.ruling;
        if self.decisions.maximal().all(agrees) {
            Outcome::Settled(winner)
        } else {
            Outcome::Disputed
        }
    }

    /// How many decisions are known, and 1.
    pub(crate) fn revision(&self) -> u64 {
        let decisions = u64::try_from(self.decisions.writes().count()).unwrap_or(u64::MAX);
        decisions.saturating_add(1)
    }

    /// What the decisions come to, as a record; `None` when there are none.
    pub(crate) fn record(&self) -> Option<ReviewRecord> {
        match self.outcome() {
            Outcome::Open => None,
            Outcome::Disputed => Some(ReviewRecord::Disputed { status: Disputed::Disputed }),
            Outcome::Settled(write) => Some(ReviewRecord::Decided((&write.value).into())),
        }
    }

    /// Units of a posting that the count has already, given the decisions: none until one holds.
    /// No more come after the count than were posted, whatever an amendment says.
    pub(crate) fn aside(&self, delta: i64) -> i64 {
        let Outcome::Settled(decision) = self.outcome() else { return 0 };
        match decision.value.ruling {
            Ruling::Approve(_) => 0,
            Ruling::Reject => delta,
            Ruling::Amend { units, .. } => delta - units.min(delta.abs()) * delta.signum(),
        }
    }

    /// What the event should do to stock, given the decisions.
    pub(crate) fn due(&self, actors: &mut Actors) -> Option<Applied> {
        let late = self.late.as_ref()?;
        let Outcome::Settled(decision) = self.outcome() else { return None };
        let (shift, effective) = match decision.value.ruling {
            Ruling::Reject => return None,
            Ruling::Approve(effective) => (late.shift, effective),
            Ruling::Amend { units, effective } => (late.shift.amended(units), effective),
        };
        let at = match effective {
            Effective::Restate => late.at,
            // Of several decisions that agree, the one that a stocktake is least likely to have
            // seen is not known; the winner is the same everywhere.
            Effective::Carry => {
                let position = &decision.position;
                Spot { actor: actors.index_of(&position.actor), offset: position.offset }
            }
        };
        Some(Applied { at, shift })
    }
}

/// Every late event, overlap and decision, by the review's name.
#[derive(Debug, Clone)]
pub(crate) struct Reviews {
    by_late: KeyMap<ReviewId, Review>,
}

impl Reviews {
    pub(crate) fn new(seed: u64) -> Self {
        Self { by_late: keymap::key_map(seed) }
    }

    /// The review of a name, made when it is new, before or after what is reviewed comes. O(1).
    ///
    /// # Panics
    /// Beyond 2^32 reviews, which do not fit in memory.
    pub(crate) fn index_of(&mut self, late: &ReviewId) -> ReviewIndex {
        let index = match self.by_late.get_index_of(late) {
            Some(index) => index,
            None => self.by_late.insert_full(late.clone(), Review::default()).0,
        };
        #[expect(clippy::expect_used, reason = "four thousand million reviews exceed memory")]
        ReviewIndex(u32::try_from(index).expect("fewer than 2^32 late events are kept"))
    }

    /// The review at an index, with its name.
    ///
    /// # Panics
    /// When another [`Reviews`] made the index; [`Self::has`] tells.
    pub(crate) fn at(&mut self, index: ReviewIndex) -> (&ReviewId, &mut Review) {
        let found = usize::try_from(index.0).ok().and_then(|at| self.by_late.get_index_mut(at));
        #[expect(clippy::expect_used, reason = "an index stays true: nothing is ever removed")]
        found.expect("an index of these reviews leads to one")
    }

    pub(crate) fn has(&self, index: ReviewIndex) -> bool {
        usize::try_from(index.0).is_ok_and(|at| at < self.by_late.len())
    }

    pub(crate) fn get(&self, late: &str) -> Option<&Review> {
        self.by_late.get(late)
    }

    pub(crate) fn iter(&self) -> impl ExactSizeIterator<Item = (&ReviewId, &Review)> {
        self.by_late.iter()
    }

    /// Every review, in the order of [`Self::iter`].
    pub(crate) fn values_mut(&mut self) -> impl Iterator<Item = &mut Review> {
        self.by_late.values_mut()
    }

    pub(crate) fn fill(&mut self, reviews: Vec<(ReviewId, Review)>) {
        self.by_late.extend(reviews);
    }
}
