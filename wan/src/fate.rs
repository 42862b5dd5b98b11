//! What chance does to a packet.
//!
//! Fates are drawn in the order of arrival, always with the same number of draws, so the n-th
//! packet meets the same fate whatever happened to those before it.

use std::time::Duration;

use rand_chacha::ChaCha8Rng;
use rand_core::{RngCore, SeedableRng};

use crate::profile::PathProfile;
use crate::quantity::below;

/// What chance does to one packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Fate {
    pub(crate) is_lost: bool,
    pub(crate) is_doubled: bool,
    pub(crate) is_held_back: bool,
}

/// The state of a Gilbert–Elliott channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Channel {
    Good,
    Bad,
}

/// The fates of a path's packets, one after the other.
#[derive(Debug)]
pub(crate) struct Fates {
    random: ChaCha8Rng,
    channel: Channel,
}

impl Fates {
    pub(crate) fn new(seed: u64) -> Self {
        Self { random: ChaCha8Rng::seed_from_u64(seed), channel: Channel::Good }
    }

    /// The fate of the next packet. It always takes five draws, whatever the profile says, so that
    /// a changed profile or a cut does not shift the fates of those after it.
    pub(crate) fn draw(&mut self, profile: &PathProfile) -> Fate {
        let [step, burst, loss, double, hold] = std::array::from_fn(|_| self.random.next_u64());
        self.channel = match self.channel {
            Channel::Good if profile.bursts.start.happens(step) => Channel::Bad,
            Channel::Bad if profile.bursts.end.happens(step) => Channel::Good,
            unchanged @ (Channel::Good | Channel::Bad) => unchanged,
        };
        let is_lost_in_burst = match self.channel {
            Channel::Good => false,
            Channel::Bad => profile.bursts.loss.happens(burst),
        };
        Fate {
            is_lost: is_lost_in_burst || profile.loss.happens(loss),
            is_doubled: profile.duplication.happens(double),
            is_held_back: profile.reordering.happens(hold),
        }
    }
}

/// How much longer than its delay a path takes at `sent_at`: 0 to `jitter`.
///
/// The extra delay is drawn anew every `jitter` of time and changes evenly in between. It falls by
/// at most a second in a second, so a packet never arrives before one that was sent earlier.
///
/// # Source
/// Steele et al., "Fast Splittable Pseudorandom Number Generators", 2014, for the mixing.
pub(crate) fn wander(seed: u64, jitter: Duration, sent_at: Duration) -> Duration {
    let span = jitter.as_nanos();
    let at = sent_at.as_nanos();
    let (Some(slot), Some(within)) = (at.checked_div(span), at.checked_rem(span)) else {
        return Duration::ZERO;
    };
    let slot = u64::try_from(slot).unwrap_or(u64::MAX);
    let limit = u64::try_from(span).unwrap_or(u64::MAX - 1).saturating_add(1);
    let height = |slot: u64| u128::from(below(mixed(seed, slot), limit));
    let (from, to) = (height(slot), height(slot.wrapping_add(1)));
    let nanos = if to >= from {
        from + (to - from) * within / span
    } else {
        // Rounded up here, so that it never falls by more than the time that passed.
        from - (from - to) * within / span
    };
    debug_assert!(nanos <= span, "between two heights lies nothing outside them");
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

/// 64 bits that look random, of a seed and a counter.
const fn mixed(seed: u64, counter: u64) -> u64 {
    let mut bits = seed.wrapping_add(counter.wrapping_mul(0x9E37_79B9_7F4A_7C15));
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    bits ^ (bits >> 31)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::profile::Bursts;
    use crate::quantity::Chance;

    const COUNT: usize = 100_000;

    fn losses(profile: PathProfile, seed: u64) -> Vec<bool> {
        let mut fates = Fates::new(seed);
        (0..COUNT).map(|_| fates.draw(&profile).is_lost).collect()
    }

    fn bursty() -> PathProfile {
        let bursts = Bursts {
            start: Chance::parts_per_million(5_000),
            end: Chance::parts_per_million(200_000),
            loss: Chance::ALWAYS,
        };
        PathProfile { bursts, ..PathProfile::default() }
    }

    #[test]
    fn losses_of_a_hundred_thousand_stay_within_a_fifth_of_a_point() {
        let percent = |parts| Chance::parts_per_million(parts);
        for parts in [1_000, 10_000, 30_000] {
            let profile = PathProfile { loss: percent(parts), ..PathProfile::default() };

            let lost = losses(profile, 5).into_iter().filter(|is_lost| *is_lost).count();

            let found = u32::try_from(lost * 1_000_000 / COUNT).unwrap();
            assert!(found.abs_diff(parts) <= 2_000, "{found} instead of {parts}");
        }
    }

    #[test]
    fn bursts_have_the_share_and_the_length_of_their_chain() {
        let lost = losses(bursty(), 5);

        let count = lost.iter().filter(|is_lost| **is_lost).count();
        let starts = lost.windows(2).filter(|pair| !pair[0] && pair[1]).count();
        // The share is 0.5 / 20.5 = 2.4 %, the mean length 5.
        assert!((2_100..=2_800).contains(&count), "{count}");
        let length_in_tenths = count * 10 / starts;
        assert!((45..=55).contains(&length_in_tenths), "{length_in_tenths}");
    }

    #[test]
    fn a_changed_chance_does_not_shift_later_fates() {
        let lossy =
            PathProfile { loss: Chance::parts_per_million(300_000), ..PathProfile::default() };
        let whole = losses(lossy, 9);
        let mut fates = Fates::new(9);

        for _ in 0..50 {
            fates.draw(&PathProfile::default());
        }
        let later: Vec<bool> = (50..COUNT).map(|_| fates.draw(&lossy).is_lost).collect();

        assert_eq!(later, whole[50..]);
    }

    #[test]
    fn without_jitter_nothing_wanders() {
        assert_eq!(wander(7, Duration::ZERO, Duration::from_secs(3)), Duration::ZERO);
    }

    #[test]
    fn the_wander_uses_its_whole_range() {
        let jitter = Duration::from_millis(20);
        let extra: Vec<Duration> =
            (0..10_000).map(|number| wander(7, jitter, Duration::from_millis(number))).collect();

        assert!(extra.iter().min().unwrap() < &Duration::from_millis(1));
        assert!(extra.iter().max().unwrap() > &Duration::from_millis(19));
    }

    proptest! {
        #[test]
        fn a_packet_never_overtakes_by_wandering(
            seed: u64, jitter in 0..50_000_u64, sent in 0..1_000_000_u64, gap in 0..100_000_u64,
        ) {
            let jitter = Duration::from_nanos(jitter);
            let (first, second) = (Duration::from_nanos(sent), Duration::from_nanos(sent + gap));

            let due = |sent_at| sent_at + wander(seed, jitter, sent_at);

            prop_assert!(due(first) <= due(second));
            prop_assert!(wander(seed, jitter, first) <= jitter);
        }
    }
}
