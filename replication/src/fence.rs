//! Regions that were left: who published and consumed there goes on in another one.
//!
//! A fence is a region, a number that grows with each change, and where it was left for; without
//! the last it has been returned to. The higher number holds, so that regions agree whatever they
//! hear first. Of regions that were left for each other in a circle the one with the smallest name
//! is in use, so that never all of them have stopped.
//!
//! The region's own hub answers with the fence that it holds to, in a record like those that it
//! hears. That answer stands behind all that it took before, and gives a number back to a hub that
//! lost it with its disk.

use std::collections::BTreeMap;

use headland_event::RegionId;
use serde::{Deserialize, Serialize};

/// Most regions whose fences are remembered: many times those that a hub links to.
pub const FENCES_LIMIT: usize = 1_024;

/// Beyond this no number can come of use; a peer's word of more is left out, because nothing could
/// ever pass it.
pub(crate) const NUMBER_LIMIT: u64 = 1 << 53;

/// Whether a region was left, as it is written down and travels: JSON, under [`Fence::key`].
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fence {
    /// The region.
    pub fenced: RegionId,
    /// How often it was left or returned to.
    pub number: u64,
    /// The region it was left for; `None` once it has been returned to.
    pub to: Option<RegionId>,
}

impl Fence {
    /// What the record is about; no group's position has such a key.
    #[must_use]
    pub fn key(&self) -> String {
        format!("fence/{}", self.fenced)
    }
}

/// Every fence that is known.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Fences {
    held: BTreeMap<RegionId, Fence>,
    /// What the hub of each region last said that it holds to.
    answered: BTreeMap<RegionId, Fence>,
}

impl Fences {
    /// What leaving a region for another, or returning to it, comes to: to be written down and
    /// then taken with [`Self::take`].
    #[must_use]
    pub fn change(&self, region: &RegionId, to: Option<RegionId>) -> Fence {
        let number = self.held(region).map_or(0, |known| known.number).saturating_add(1);
        Fence { fenced: region.clone(), number, to }
    }

    /// Takes over a fence, of this hub or another; says whether it is news.
    #[must_use]
    pub fn take(&mut self, fence: &Fence) -> bool {
        let known = self.held(&fence.fenced);
        let is_full = known.is_none() && self.held.len() >= FENCES_LIMIT;
        if is_full || fence.number >= NUMBER_LIMIT || known.is_some_and(|known| known >= fence) {
            return false;
        }
        self.held.insert(fence.fenced.clone(), fence.clone());
        true
    }

    /// Takes note of what a region's own hub holds to.
    pub fn on_answer(&mut self, fence: &Fence) {
        if self.held.contains_key(&fence.fenced) {
            self.answered.insert(fence.fenced.clone(), fence.clone());
        }
    }

    /// Whether a region's own hub holds to the fence that is known here.
    #[must_use]
    pub fn is_answered(&self, region: &RegionId) -> bool {
        self.held(region).is_some_and(|held| self.answered.get(region) == Some(held))
    }

    /// The fence of a region that holds; `None` of one that was never left.
    #[must_use]
    pub fn held(&self, region: &RegionId) -> Option<&Fence> {
        self.held.get(region)
    }

    /// The region that another one was left for; `None` while it is in use. Cost: O(fences).
    #[must_use]
    pub fn left_for(&self, region: &RegionId) -> Option<&RegionId> {
        let next = |at: &RegionId| self.held(at)?.to.as_ref();
        let to = next(region)?;
        let (mut at, mut smallest) = (to, region);
        for _ in 0..self.held.len() {
            if at == region {
                return (smallest != region).then_some(to);
            }
            smallest = smallest.min(at);
            let Some(further) = next(at) else { break };
            at = further;
        }
        Some(to)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn region(name: &str) -> RegionId {
        RegionId::new(name).unwrap()
    }

    fn fence(number: u64, to: Option<&str>) -> Fence {
        Fence { fenced: region("eu"), number, to: to.map(region) }
    }

    #[test]
    fn a_region_is_left_until_it_is_returned_to() {
        let mut fences = Fences::default();

        let left = fences.change(&region("eu"), Some(region("us")));
        assert!(fences.take(&left));
        assert_eq!(fences.left_for(&region("eu")), Some(&region("us")));
        let back = fences.change(&region("eu"), None);
        assert!(fences.take(&back));

        assert_eq!((left, back), (fence(1, Some("us")), fence(2, None)));
        assert_eq!(fences.left_for(&region("eu")), None);
        assert!(!fences.take(&fence(1, Some("us"))), "old news changes nothing");
        assert!(!fences.take(&fence(NUMBER_LIMIT, Some("us"))), "nothing could pass it");
    }

    #[test]
    fn of_regions_left_for_each_other_the_one_with_the_smallest_name_is_in_use() {
        let mut fences = Fences::default();
        let left = |fences: &Fences, name| fences.left_for(&region(name)).cloned();

        let of_us = fences.change(&region("us"), Some(region("eu")));
        let of_eu = fences.change(&region("eu"), Some(region("us")));
        assert!(fences.take(&of_us) && fences.take(&of_eu));
        let both = (left(&fences, "eu"), left(&fences, "us"));
        let further = fences.change(&region("eu"), Some(region("ap")));
        assert!(fences.take(&further));

        assert_eq!(both, (None, Some(region("eu"))));
        let chain = ["eu", "us", "ap"].map(|name| left(&fences, name));
        assert_eq!(chain, [Some(region("ap")), Some(region("eu")), None]);
    }

    #[test]
    fn a_fence_is_answered_once_the_regions_own_hub_holds_to_the_same_one() {
        let mut fences = Fences::default();
        fences.on_answer(&fence(1, Some("us")));
        assert!(!fences.is_answered(&region("eu")), "nothing is known of it here");

        assert!(fences.take(&fence(2, Some("us"))));
        fences.on_answer(&fence(1, None));
        let other = fences.is_answered(&region("eu"));
        fences.on_answer(&fence(2, Some("us")));
        let same = fences.is_answered(&region("eu"));
        assert!(fences.take(&fence(3, None)));

        assert_eq!((other, same), (false, true));
        assert!(!fences.is_answered(&region("eu")), "the answer was to the former one");
    }

    proptest! {
        #[test]
        fn regions_that_hear_fences_in_any_order_agree_and_one_of_them_is_in_use(
            heard in proptest::collection::vec((0_usize..3, 0_u64..4, 0_usize..4), 1..12),
            by in 0_usize..12,
        ) {
            let regions = ["ap", "eu", "us"].map(region);
            let tell = |order: &[(usize, u64, usize)]| {
                let mut fences = Fences::default();
                for (of, number, to) in order {
                    let (fenced, to) = (regions[*of].clone(), regions.get(*to).cloned());
                    let _is_news = fences.take(&Fence { fenced, number: *number, to });
                }
                fences
            };
            let mut turned = heard.clone();
            turned.rotate_left(by % heard.len());
            turned.extend(heard.clone());
            let known = tell(&heard);

            prop_assert_eq!(&tell(&turned), &known);
            prop_assert!(regions.iter().any(|region| known.left_for(region).is_none()));
        }
    }
}
