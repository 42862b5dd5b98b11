//! Both directions of an emulated network.

use std::fmt;
use std::time::Duration;

use serde::Deserialize;

use crate::path::{Admission, LATE, Packet, Path, PathCounters};
use crate::profile::Profile;
use crate::quantity::Mtu;

/// Which way a datagram goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Direction {
    /// From a client to the target, or from namespace `a` to `b`.
    ToTarget,
    /// From the target back to a client, or from namespace `b` to `a`.
    FromTarget,
}

/// Which directions are cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cut {
    /// None: everything is shaped by the profile.
    #[default]
    None,
    /// Both: the two sides are apart.
    Both,
    /// The target hears nothing, but is heard.
    ToTarget,
    /// The clients hear nothing, but are heard.
    FromTarget,
}

/// What became of the packets of both directions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counters {
    /// From the clients to the target.
    pub to_target: PathCounters,
    /// From the target back to the clients.
    pub from_target: PathCounters,
}

/// Whether what was measured over an emulated network means anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Validity {
    /// The emulator did what its profile says.
    Valid,
    /// The emulator lost packets that its profile would have carried.
    OwnDrops {
        /// How many.
        count: u64,
    },
    /// Too many packets left later than they were due: the machine was overloaded.
    Late {
        /// Packets more than [`LATE`] late.
        count: u64,
        /// Packets in all.
        of: u64,
    },
    /// One packet left so late that whatever timed it measured the emulator.
    Stalled {
        /// The longest delay beyond what was due.
        longest: Duration,
    },
}

/// One packet in so many may be late before a run is invalid: up to there the emulator's own delay
/// has a 99th percentile within [`LATE`].
const LATE_SHARE: u64 = 100;

/// A single packet this late makes a run invalid: as long as the shortest cut that is measured.
const STALL: Duration = Duration::from_millis(100);

impl Counters {
    /// Whether the emulator kept up, as its own drops and timer lag show.
    pub fn validity(&self) -> Validity {
        let both = [self.to_target, self.from_target];
        let own_drops: u64 = both.iter().map(|path| path.own_drops).sum();
        let late: u64 = both.iter().map(|path| path.late).sum();
        let forwarded: u64 = both.iter().map(|path| path.forwarded).sum();
        let longest = both.iter().map(|path| path.timer_lag_max).max().unwrap_or_default();
        debug_assert!(late <= forwarded, "only what was handed out can be late");
        debug_assert!(late == 0 || longest > LATE, "the longest delay is at least a late one");
        if own_drops > 0 {
            Validity::OwnDrops { count: own_drops }
        } else if longest > STALL {
            Validity::Stalled { longest }
        } else if late.saturating_mul(LATE_SHARE) > forwarded {
            Validity::Late { count: late, of: forwarded }
        } else {
            Validity::Valid
        }
    }
}

impl fmt::Display for Validity {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Valid => formatter.write_str("valid"),
            Self::OwnDrops { count } => {
                write!(formatter, "invalid: the emulator lost {count} packets itself")
            }
            Self::Late { count, of } => {
                write!(formatter, "invalid: {count} of {of} packets left over {LATE:?} late")
            }
            Self::Stalled { longest } => {
                write!(formatter, "invalid: a packet left {longest:?} late")
            }
        }
    }
}

/// Two [`Path`]s over which all clients and the target talk.
#[derive(Debug)]
pub struct Shaper<P> {
    to_target: Path<P>,
    from_target: Path<P>,
}

impl<P: Packet> Shaper<P> {
    /// An open network that repeats itself for the same seed and inputs.
    #[must_use]
    pub fn new(profile: Profile, seed: u64) -> Self {
        let Profile { to_target, from_target } = profile;
        // The directions must not draw the same fates, or losses would come in pairs.
        Self { to_target: Path::new(to_target, seed), from_target: Path::new(from_target, !seed) }
    }

    /// Takes a packet that was sent at `now`, time since the start.
    pub fn on_packet(&mut self, now: Duration, direction: Direction, packet: P) -> Admission {
        self.path_mut(direction).on_packet(now, packet)
    }

    /// The largest packet that a direction carries now, when its profile says one.
    #[must_use]
    pub const fn mtu(&self, direction: Direction) -> Option<Mtu> {
        match direction {
            Direction::ToTarget => self.to_target.profile().mtu,
            Direction::FromTarget => self.from_target.profile().mtu,
        }
    }

    /// Counts a packet that came out but had no receiver any more, its address being changed.
    pub fn on_forgotten(&mut self, direction: Direction) {
        self.path_mut(direction).on_forgotten();
    }

    /// Counts packets that the driver lost before they reached a path.
    pub fn on_own_drops(&mut self, direction: Direction, count: u64) {
        self.path_mut(direction).on_own_drops(count);
    }

    /// The next packet that is due at `now`, the earliest of both directions first.
    pub fn poll_output(&mut self, now: Duration) -> Option<(Direction, P)> {
        let direction = match (self.to_target.poll_timeout(), self.from_target.poll_timeout()) {
            (Some(to), Some(from)) if from < to => Direction::FromTarget,
            (None, Some(_)) => Direction::FromTarget,
            (Some(_) | None, None) | (Some(_), Some(_)) => Direction::ToTarget,
        };
        self.path_mut(direction).poll_output(now).map(|packet| (direction, packet))
    }

    /// When the next packet is due, `None` when nothing travels.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Duration> {
        let timeouts = [self.to_target.poll_timeout(), self.from_target.poll_timeout()];
        timeouts.into_iter().flatten().min()
    }

    /// Cuts the named directions, losing what travels there, and heals the others.
    pub fn set_cut(&mut self, cut: Cut) {
        let (to_target, from_target) = (&mut self.to_target, &mut self.from_target);
        match cut {
            Cut::None | Cut::FromTarget => to_target.heal(),
            Cut::Both | Cut::ToTarget => to_target.cut(),
        }
        match cut {
            Cut::None | Cut::ToTarget => from_target.heal(),
            Cut::Both | Cut::FromTarget => from_target.cut(),
        }
    }

    /// Shapes what arrives from now on by another profile; what travels keeps its due time.
    pub fn set_profile(&mut self, profile: Profile) {
        let Profile { to_target, from_target } = profile;
        self.to_target.set_profile(to_target);
        self.from_target.set_profile(from_target);
    }

    /// What shapes the packets that arrive now.
    #[must_use]
    pub const fn profile(&self) -> Profile {
        Profile { to_target: self.to_target.profile(), from_target: self.from_target.profile() }
    }

    /// What became of the packets so far.
    #[must_use]
    pub const fn counters(&self) -> Counters {
        Counters { to_target: self.to_target.counters(), from_target: self.from_target.counters() }
    }

    const fn path_mut(&mut self, direction: Direction) -> &mut Path<P> {
        match direction {
            Direction::ToTarget => &mut self.to_target,
            Direction::FromTarget => &mut self.from_target,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::path::Datagram;
    use crate::profile::PathProfile;
    use crate::quantity::Chance;

    const NOW: Duration = Duration::from_secs(1);

    fn datagram(text: &str) -> Datagram {
        Datagram { client: ([127, 0, 0, 1], 9).into(), bytes: text.into() }
    }

    fn delayed(millis: u64) -> PathProfile {
        PathProfile { delay: Duration::from_millis(millis), ..PathProfile::default() }
    }

    /// Sends one datagram each way under a cut and says which come out.
    fn arrivals(cut: Cut) -> Vec<Direction> {
        let mut shaper = Shaper::new(Profile::default(), 1);
        shaper.set_cut(cut);
        shaper.on_packet(NOW, Direction::ToTarget, datagram("ping"));
        shaper.on_packet(NOW, Direction::FromTarget, datagram("pong"));
        std::iter::from_fn(|| shaper.poll_output(NOW)).map(|(direction, _)| direction).collect()
    }

    #[test]
    fn a_cut_stops_the_directions_it_names() {
        assert_eq!(arrivals(Cut::None), [Direction::ToTarget, Direction::FromTarget]);
        assert_eq!(arrivals(Cut::Both), []);
        assert_eq!(arrivals(Cut::ToTarget), [Direction::FromTarget]);
        assert_eq!(arrivals(Cut::FromTarget), [Direction::ToTarget]);
    }

    #[test]
    fn a_healed_cut_lets_datagrams_through_again() {
        let mut shaper = Shaper::new(Profile::default(), 1);

        shaper.set_cut(Cut::Both);
        shaper.on_packet(NOW, Direction::ToTarget, datagram("during"));
        shaper.set_cut(Cut::None);
        shaper.on_packet(NOW, Direction::ToTarget, datagram("after"));

        assert_eq!(shaper.poll_output(NOW), Some((Direction::ToTarget, datagram("after"))));
        assert_eq!(shaper.poll_output(NOW), None);
        assert_eq!(shaper.counters().to_target.cut, 1);
    }

    #[test]
    fn the_earlier_of_both_directions_comes_out_first() {
        let profile = Profile { to_target: delayed(20), from_target: delayed(10) };
        let mut shaper = Shaper::new(profile, 1);

        shaper.on_packet(Duration::ZERO, Direction::ToTarget, datagram("slow"));
        shaper.on_packet(Duration::ZERO, Direction::FromTarget, datagram("fast"));

        assert_eq!(shaper.poll_timeout(), Some(Duration::from_millis(10)));
        assert_eq!(shaper.poll_output(NOW), Some((Direction::FromTarget, datagram("fast"))));
        assert_eq!(shaper.poll_output(NOW), Some((Direction::ToTarget, datagram("slow"))));
    }

    #[test]
    fn the_directions_do_not_lose_in_pairs() {
        let half =
            PathProfile { loss: Chance::parts_per_million(500_000), ..PathProfile::default() };
        let mut shaper = Shaper::new(Profile { to_target: half, from_target: half }, 1);

        let pairs: Vec<(bool, bool)> = (0..100)
            .map(|_| {
                let before = shaper.counters();
                shaper.on_packet(NOW, Direction::ToTarget, datagram("ping"));
                shaper.on_packet(NOW, Direction::FromTarget, datagram("pong"));
                let after = shaper.counters();
                (
                    after.to_target.lost > before.to_target.lost,
                    after.from_target.lost > before.from_target.lost,
                )
            })
            .collect();

        assert!(pairs.iter().any(|(to, from)| to != from));
    }

    #[test]
    fn a_new_profile_shapes_what_comes_next() {
        let mut shaper = Shaper::new(Profile::default(), 1);

        shaper.set_profile(Profile { to_target: delayed(5), from_target: delayed(7) });
        shaper.on_packet(NOW, Direction::FromTarget, datagram("pong"));

        assert_eq!(shaper.poll_timeout(), Some(NOW + Duration::from_millis(7)));
    }

    #[test]
    fn a_run_is_invalid_when_the_emulator_lost_stalled_or_was_late_too_often() {
        let path = PathCounters { forwarded: 2_000, ..PathCounters::default() };
        let validity =
            |to_target| Counters { to_target, from_target: PathCounters::default() }.validity();
        let lag = LATE + Duration::from_nanos(1);

        let late = |late| PathCounters { late, timer_lag_max: lag, ..path };
        assert_eq!(validity(late(20)), Validity::Valid);
        assert_eq!(validity(late(21)), Validity::Late { count: 21, of: 2_000 });
        let stalled = PathCounters { late: 1, timer_lag_max: STALL + lag, ..path };
        assert_eq!(validity(stalled), Validity::Stalled { longest: STALL + lag });
        let drops = PathCounters { own_drops: 1, ..path };
        assert_eq!(validity(drops), Validity::OwnDrops { count: 1 });
    }
}
