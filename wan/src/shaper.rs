//! Both directions of an emulated network.

use std::time::Duration;

use crate::path::{Datagram, Path, PathCounters};
use crate::profile::Profile;

/// Which way a datagram goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Direction {
    /// From a client to the target.
    ToTarget,
    /// From the target back to a client.
    FromTarget,
}

/// Which directions are cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
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

/// What became of the datagrams of both directions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counters {
    /// From the clients to the target.
    pub to_target: PathCounters,
    /// From the target back to the clients.
    pub from_target: PathCounters,
}

/// Two [`Path`]s over which all clients and the target talk.
#[derive(Debug)]
pub struct Shaper {
    to_target: Path,
    from_target: Path,
}

impl Shaper {
    /// An open network that repeats itself for the same seed and inputs.
    #[must_use]
    pub fn new(profile: Profile, seed: u64) -> Self {
        let Profile { to_target, from_target } = profile;
        // The directions must not draw the same fates, or losses would come in pairs.
        Self { to_target: Path::new(to_target, seed), from_target: Path::new(from_target, !seed) }
    }

    /// Takes a datagram that was sent at `now`, time since the start.
    pub fn on_datagram(&mut self, now: Duration, direction: Direction, datagram: Datagram) {
        self.path_mut(direction).on_datagram(now, datagram);
    }

    /// The next datagram that is due at `now`, the earliest of both directions first.
    pub fn poll_output(&mut self, now: Duration) -> Option<(Direction, Datagram)> {
        let direction = match (self.to_target.poll_timeout(), self.from_target.poll_timeout()) {
            (Some(to), Some(from)) if from < to => Direction::FromTarget,
            (None, Some(_)) => Direction::FromTarget,
            (Some(_) | None, None) | (Some(_), Some(_)) => Direction::ToTarget,
        };
        self.path_mut(direction).poll_output(now).map(|datagram| (direction, datagram))
    }

    /// When the next datagram is due, `None` when nothing travels.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Duration> {
        [&self.to_target, &self.from_target].into_iter().filter_map(Path::poll_timeout).min()
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

    /// What became of the datagrams so far.
    #[must_use]
    pub const fn counters(&self) -> Counters {
        Counters { to_target: self.to_target.counters(), from_target: self.from_target.counters() }
    }

    const fn path_mut(&mut self, direction: Direction) -> &mut Path {
        match direction {
            Direction::ToTarget => &mut self.to_target,
            Direction::FromTarget => &mut self.from_target,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
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
        shaper.on_datagram(NOW, Direction::ToTarget, datagram("ping"));
        shaper.on_datagram(NOW, Direction::FromTarget, datagram("pong"));
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
        shaper.on_datagram(NOW, Direction::ToTarget, datagram("during"));
        shaper.set_cut(Cut::None);
        shaper.on_datagram(NOW, Direction::ToTarget, datagram("after"));

        assert_eq!(shaper.poll_output(NOW), Some((Direction::ToTarget, datagram("after"))));
        assert_eq!(shaper.poll_output(NOW), None);
        assert_eq!(shaper.counters().to_target.cut, 1);
    }

    #[test]
    fn the_earlier_of_both_directions_comes_out_first() {
        let profile = Profile { to_target: delayed(20), from_target: delayed(10) };
        let mut shaper = Shaper::new(profile, 1);

        shaper.on_datagram(Duration::ZERO, Direction::ToTarget, datagram("slow"));
        shaper.on_datagram(Duration::ZERO, Direction::FromTarget, datagram("fast"));

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
                shaper.on_datagram(NOW, Direction::ToTarget, datagram("ping"));
                shaper.on_datagram(NOW, Direction::FromTarget, datagram("pong"));
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
        shaper.on_datagram(NOW, Direction::FromTarget, datagram("pong"));

        assert_eq!(shaper.poll_timeout(), Some(NOW + Duration::from_millis(7)));
    }
}
