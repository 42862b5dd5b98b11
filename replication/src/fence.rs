//! Regions that were left: who published and consumed there goes on in another one.
//!
//! A fence is a region, a number that grows with each change, and where it was left for; without
//! the last it has been returned to. The higher number holds, so that regions agree whatever they
//! hear first.

use std::collections::BTreeMap;

use headland_event::RegionId;
use serde::{Deserialize, Serialize};

/// Most regions whose fences are remembered: many times those that a hub links to.
pub const FENCES_LIMIT: usize = 1_024;

/// Beyond this no number can come of use; a peer's word of more is left out, because nothing could
/// ever pass it.
const NUMBER_LIMIT: u64 = 1 << 53;

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
#[derive(Debug, Clone, Default)]
pub struct Fences(BTreeMap<RegionId, Fence>);

impl Fences {
    /// What leaving a region for another, or returning to it, comes to: to be written down and
    /// then taken with [`Self::take`].
    #[must_use]
    pub fn change(&self, region: &RegionId, to: Option<RegionId>) -> Fence {
        let number = self.0.get(region).map_or(0, |known| known.number).saturating_add(1);
        Fence { fenced: region.clone(), number, to }
    }

    /// Takes over a fence, of this hub or another; says whether it is news.
    #[must_use]
    pub fn take(&mut self, fence: &Fence) -> bool {
        let known = self.0.get(&fence.fenced);
        let is_full = known.is_none() && self.0.len() >= FENCES_LIMIT;
        if is_full || fence.number >= NUMBER_LIMIT || known.is_some_and(|known| known >= fence) {
            return false;
        }
        self.0.insert(fence.fenced.clone(), fence.clone());
        true
    }

    /// The region that another one was left for; `None` while it is in use.
    #[must_use]
    pub fn left_for(&self, region: &RegionId) -> Option<&RegionId> {
        self.0.get(region)?.to.as_ref()
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

    proptest! {
        #[test]
        fn regions_that_hear_fences_in_any_order_agree(
            heard in proptest::collection::vec((0_u64..4, 0_usize..3), 1..12), by in 0_usize..12,
        ) {
            let tell = |order: &[(u64, usize)]| {
                let mut fences = Fences::default();
                let regions = [None, Some("us"), Some("ap")];
                for (number, to) in order {
                    let _is_news = fences.take(&fence(*number, regions[*to]));
                }
                fences.0
            };
            let mut turned = heard.clone();
            turned.rotate_left(by % heard.len());
            turned.extend(heard.clone());

            prop_assert_eq!(tell(&turned), tell(&heard));
        }
    }
}
