//! What writers had not seen, once for all writes that missed the same.
//!
//! A part of a log may be missing at a hub for long, and each count, attribute and decision that is
//! written there meanwhile says so: up to 256 gaps with the names of their logs. Next to all of
//! these say the same as the one before from that hub, and share it. A write that missed nothing
//! takes eight bytes for it.

use std::collections::VecDeque;
use std::sync::Arc;

use headland_event::{Actor, Gap, Gaps};

/// Sets of gaps that are remembered to be shared: as many as regions may write side by side. One
/// more is kept twice when it comes again.
const REMEMBERED: usize = 64;

/// What a writer had not seen below the ends of its context.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Unseen(Option<Arc<Gaps>>);

impl Unseen {
    /// The gaps of one log.
    pub(crate) fn of(&self, actor: &Actor) -> &[Gap] {
        self.gaps().map_or(&[], |gaps| gaps.of(actor))
    }

    /// All gaps; `None` of a writer that missed nothing.
    pub(crate) fn gaps(&self) -> Option<&Gaps> {
        self.0.as_deref()
    }
}

/// What was not seen by writers of late.
#[derive(Debug, Clone, Default)]
pub(crate) struct UnseenSets {
    /// The one met last comes first.
    latest: VecDeque<Arc<Gaps>>,
}

impl UnseenSets {
    /// Gaps as a write keeps them. O(1) without any, O(gaps) where they are those of the write
    /// before, else O(gaps × sets remembered).
    pub(crate) fn share(&mut self, gaps: &Gaps) -> Unseen {
        if gaps.is_empty() {
            return Unseen::default();
        }
        let known = self.latest.iter().position(|of| **of == *gaps);
        let shared = known.and_then(|at| self.latest.remove(at));
        let shared = shared.unwrap_or_else(|| Arc::new(gaps.clone()));
        self.latest.push_front(Arc::clone(&shared));
        self.latest.truncate(REMEMBERED);
        Unseen(Some(shared))
    }
}

#[cfg(test)]
mod tests {
    use headland_event::Offset;

    use super::*;
    use crate::position::tests::actor;

    fn missing(from: u64) -> Gaps {
        let mut gaps = Gaps::new();
        let gap = Gap { from: Offset::new(from), until: Offset::new(from + 1) };
        assert_eq!(gaps.note(&actor("us", 0), gap), None);
        gaps
    }

    #[test]
    fn writes_that_missed_the_same_share_it_and_one_that_missed_nothing_takes_eight_bytes() {
        let mut sets = UnseenSets::default();
        let first = sets.share(&missing(0));
        let others: Vec<Unseen> = (1..64).map(|from| sets.share(&missing(from))).collect();

        let again = sets.share(&missing(0));

        let at = |of: &Unseen| of.gaps().map(std::ptr::from_ref);
        assert_eq!(at(&first), at(&again));
        assert!(others.iter().all(|other| at(other) != at(&first) && *other != first));
        assert_eq!(sets.share(&Gaps::new()), Unseen::default());
        assert_eq!(size_of::<Unseen>(), 8);
        let _beyond = sets.share(&missing(99));
        let forgotten = sets.share(&missing(1));
        assert_eq!(forgotten, others[0]);
        assert_ne!(at(&forgotten), at(&others[0]), "only so many are remembered");
    }
}
