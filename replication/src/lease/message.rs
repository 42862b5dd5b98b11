//! What hubs say to each other about leases, and what each keeps on disk of it.

use std::time::Duration;

use headland_event::{Monotonic, RegionId};
use serde::{Deserialize, Serialize};

/// An attempt to have a region taken over; the higher one goes on.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ballot {
    /// Grows with each attempt.
    pub round: u64,
    /// Whose it is.
    pub by: RegionId,
}

/// Where a region is to be left for, and in which attempt that was said.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Vote {
    /// The attempt.
    pub ballot: Ballot,
    /// The region to go on in.
    pub to: RegionId,
}

/// What a hub has said about a region; on its disk before anybody hears it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Voted {
    /// The region.
    pub region: RegionId,
    /// The fence that is voted about.
    pub number: u64,
    /// No lower attempt gets an answer.
    pub promised: Option<Ballot>,
    /// What was agreed to, the last time.
    pub accepted: Option<Vote>,
    /// The fence under which the region was granted a lease last: it is taken over only then.
    pub leased: Option<u64>,
}

impl Voted {
    /// Nothing was said about a region.
    #[must_use]
    pub const fn nothing(region: RegionId) -> Self {
        Self { region, number: 0, promised: None, accepted: None, leased: None }
    }
}

/// One hub's word to another. Who says it is known by the link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LeaseMessage {
    /// All that the speaker has said, and who votes; the first one on every link, and said again
    /// when it is asked for, by one with no regions.
    Known {
        /// The regions of its configuration, in the order of preference.
        regions: Vec<RegionId>,
        /// At most one for each of them.
        voted: Vec<Voted>,
    },
    /// The speaker asks for a lease of its own region.
    Ask {
        /// The fence of the region.
        number: u64,
        /// When, by its own clock: the lease counts from here.
        sent_at: Monotonic,
        /// For how long; zero when it asks no more, and is in use without a lease.
        lasts: Duration,
    },
    /// The answer to an [`Self::Ask`]; there is none when the lease is not granted.
    Grant {
        /// As asked.
        number: u64,
        /// As asked.
        sent_at: Monotonic,
    },
    /// May a region be taken over, and what was agreed to before?
    Prepare {
        /// The region.
        region: RegionId,
        /// The fence to be.
        number: u64,
        /// The attempt.
        ballot: Ballot,
    },
    /// The answer: no lower attempt gets one from now on.
    Promise {
        /// As asked.
        region: RegionId,
        /// As asked.
        number: u64,
        /// As asked.
        ballot: Ballot,
        /// What the speaker agreed to before.
        accepted: Option<Vote>,
    },
    /// A region is to be left for another one.
    Accept {
        /// The region.
        region: RegionId,
        /// The fence to be.
        number: u64,
        /// The attempt and where to.
        vote: Vote,
    },
    /// The answer: agreed.
    Accepted {
        /// As asked.
        region: RegionId,
        /// As asked.
        number: u64,
        /// As asked.
        ballot: Ballot,
    },
    /// A higher attempt is going on.
    Refused {
        /// As asked.
        region: RegionId,
        /// As asked.
        number: u64,
        /// The higher one.
        promised: Ballot,
    },
}

impl LeaseMessage {
    /// Asks for what the other knows: it has no region in its list.
    pub(super) const WHAT_IS_KNOWN: Self = Self::Known { regions: Vec::new(), voted: Vec::new() };

    /// Whether it is [`Self::WHAT_IS_KNOWN`].
    pub(super) fn asks_what_is_known(&self) -> bool {
        matches!(self, Self::Known { regions, .. } if regions.is_empty())
    }
}
