//! Which of its hubs an agent uses: the first in its list that takes its records.
//!
//! - It starts with the first. A hub that is not ready for `move_after` of the configuration, or
//!   that takes none of its topics, is left for the next in the list; after the last comes the
//!   first.
//! - With a later one in use, the ones before it are tried one by one, one each time `return_after`
//!   has passed; the hub in use is kept until the tried one has answered. A try that fails, also
//!   because the tried one answers and takes nothing, or a stay that was shorter than that time,
//!   doubles the time, up to 16 times.
//! - Half of every wait is drawn at random, so that the agents of a hub do not move together.

use std::time::Duration;

use headland_event::{Monotonic, Random, SeededRandom};
use headland_replication::{Dialer, DialerConfig, DialerOutput};

use crate::config::RoamingConfig;

/// Number of a hub in the configuration, the preferred one first.
pub type HubIndex = usize;

/// How often the time until a return is doubled at most: 16 times as long.
const RETURN_FACTOR_MAX: u32 = 16;

/// The shortest time after which a hub is left: below it the list is run through without a pause.
const MOVE_AFTER_MIN: Duration = Duration::from_millis(100);

/// The shortest time that a hub which has said hello has to take something.
const GREETED_MIN: Duration = Duration::from_secs(10);

/// The shortest time after which an earlier hub is tried.
const RETURN_AFTER_MIN: Duration = Duration::from_secs(1);

/// Which hub is used.
#[derive(Debug)]
pub struct Hubs {
    count: usize,
    config: RoamingConfig,
    current: HubIndex,
    dialer: Dialer,
    state: State,
    /// A hub before the one in use that is being tried.
    tried: Option<HubIndex>,
    /// Whether the hub in use was tried, and has not yet taken anything.
    is_on_trial: bool,
    /// Which is tried next.
    next_try: HubIndex,
    return_at: Option<Monotonic>,
    /// By how much the time until a return is longer than configured.
    factor: u32,
    outputs: Option<HubIndex>,
    random: SeededRandom,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// The hub is not ready since then, `None` before the first look at the clock.
    Away { since: Option<Monotonic> },
    /// It has said hello since then, and not yet whether it takes anything.
    Greeted { since: Monotonic },
    /// It takes records since then.
    Up { since: Monotonic },
}

impl Hubs {
    /// An agent of `count` hubs that wants to dial the first one.
    #[must_use]
    pub fn new(count: usize, config: RoamingConfig, seed: u64) -> Self {
        let mut random = SeededRandom::new(seed);
        Self {
            count: count.max(1),
            config,
            current: 0,
            dialer: Dialer::new(DialerConfig::default(), random.next_u64()),
            state: State::Away { since: None },
            tried: None,
            is_on_trial: false,
            next_try: 0,
            return_at: None,
            factor: 1,
            outputs: None,
            random,
        }
    }

    /// The hub that is used or being dialled.
    #[must_use]
    pub const fn current(&self) -> HubIndex {
        self.current
    }

    /// Whether there are several.
    #[must_use]
    pub const fn are_several(&self) -> bool {
        self.count > 1
    }

    /// A connection to a hub was made: the one in use from now on.
    pub fn on_connected(&mut self, now: Monotonic, hub: HubIndex) {
        if self.tried.take() == Some(hub) || hub != self.current {
            tracing::info!(hub, "goes back to a hub that is preferred");
            self.use_hub(now, hub);
            self.is_on_trial = true;
        }
    }

    /// The hub in use has said hello.
    pub fn on_hello(&mut self, now: Monotonic) {
        self.state = State::Greeted { since: now };
        if !self.are_several() {
            self.on_taken(now);
        }
    }

    /// The hub in use takes records: once it has for a while, the next wait is short again.
    pub fn on_taken(&mut self, now: Monotonic) {
        if matches!(self.state, State::Up { .. }) {
            return;
        }
        self.dialer.on_ready(now);
        self.is_on_trial = false;
        self.state = State::Up { since: now };
        self.return_at = (self.current > 0).then(|| self.next_return(now));
    }

    /// The connection to the hub in use was lost, or could not be made.
    pub fn on_lost(&mut self, now: Monotonic) {
        self.dialer.on_lost(now);
        self.on_away(now);
        self.move_on(now);
    }

    /// Another connection of the same identity took the place of the one to the hub in use.
    pub fn on_superseded(&mut self, now: Monotonic) {
        self.dialer.on_superseded(now);
        self.on_away(now);
    }

    /// The hub in use takes nothing of what this agent has.
    pub fn on_useless(&mut self, now: Monotonic) {
        self.dialer.on_lost(now);
        self.on_away(now);
        self.go_next(now);
    }

    /// A hub that was tried did not answer.
    pub fn on_try_failed(&mut self, now: Monotonic) {
        if self.tried.take().is_some() {
            self.return_later();
            self.return_at = Some(self.next_return(now));
        }
    }

    fn return_later(&mut self) {
        self.factor = self.factor.saturating_mul(2).min(RETURN_FACTOR_MAX);
    }

    /// Advances to `now`; call it no later than [`Self::poll_timeout`].
    pub fn on_timeout(&mut self, now: Monotonic) {
        if let State::Away { since: since @ None } = &mut self.state {
            *since = Some(now);
        }
        self.dialer.on_timeout(now);
        self.move_on(now);
        if self.return_at.is_some_and(|at| at <= now) {
            self.return_at = None;
            let hub = self.next_try % self.current.max(1);
            self.next_try = hub + 1;
            self.tried = Some(hub);
            self.outputs = Some(hub);
        }
    }

    /// When to call [`Self::on_timeout`].
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Monotonic> {
        self.dialer.poll_timeout().into_iter().chain(self.leave_at()).chain(self.return_at).min()
    }

    /// The hub to dial now.
    #[must_use]
    pub fn poll_output(&mut self) -> Option<HubIndex> {
        if let Some(hub) = self.outputs.take() {
            return Some(hub);
        }
        self.dialer.poll_output().map(|DialerOutput::Dial| self.current)
    }

    fn on_away(&mut self, now: Monotonic) {
        if let State::Up { since } = self.state {
            let is_short = now.since(since) < self.return_after();
            if is_short && self.are_several() {
                self.return_later();
            } else {
                self.factor = 1;
            }
        }
        if std::mem::take(&mut self.is_on_trial) {
            self.return_later();
        }
        if !matches!(self.state, State::Away { .. }) {
            self.state = State::Away { since: Some(now) };
        }
        (self.return_at, self.tried) = (None, None);
    }

    /// When the hub in use is left, if nothing changes.
    fn leave_at(&self) -> Option<Monotonic> {
        let at = match self.state {
            State::Away { since } => since?.after(self.move_after()),
            State::Greeted { since } => since.after(self.move_after().max(GREETED_MIN)),
            State::Up { .. } => return None,
        };
        self.are_several().then_some(at)
    }

    fn move_after(&self) -> Duration {
        self.config.move_after.get().max(MOVE_AFTER_MIN)
    }

    fn return_after(&self) -> Duration {
        self.config.return_after.get().max(RETURN_AFTER_MIN)
    }

    /// Goes to the next hub when this one was away for long enough.
    fn move_on(&mut self, now: Monotonic) {
        if self.leave_at().is_some_and(|at| at <= now) {
            self.on_away(now);
            self.go_next(now);
            self.dialer.dial_now(now);
        }
    }

    fn go_next(&mut self, now: Monotonic) {
        if self.are_several() {
            let next = (self.current + 1) % self.count;
            tracing::warn!(hub = next, "goes to another hub");
            self.use_hub(now, next);
        }
    }

    fn use_hub(&mut self, now: Monotonic, hub: HubIndex) {
        debug_assert!(hub < self.count, "a hub of the list");
        self.current = hub;
        self.state = State::Away { since: Some(now) };
        (self.return_at, self.next_try) = (None, 0);
    }

    fn next_return(&mut self, now: Monotonic) -> Monotonic {
        let wait = self.return_after().saturating_mul(self.factor);
        let half = u64::try_from((wait / 2).as_nanos()).unwrap_or(u64::MAX);
        now.after(wait / 2 + Duration::from_nanos(self.random.below(half.saturating_add(1))))
    }
}

#[cfg(test)]
mod tests {
    use headland_platform::config::DurationText;

    use super::*;

    fn at(millis: u64) -> Monotonic {
        Monotonic::from_millis(millis)
    }

    fn hubs(count: usize, seed: u64) -> Hubs {
        let config = RoamingConfig {
            move_after: DurationText::new(Duration::from_secs(3)),
            return_after: DurationText::new(Duration::from_mins(10)),
        };
        let mut hubs = Hubs::new(count, config, seed);
        hubs.on_timeout(at(0));
        hubs
    }

    /// Connects to the hub that is to be dialled, which takes records.
    fn up(hubs: &mut Hubs, now: Monotonic) -> HubIndex {
        let hub = hubs.poll_output().unwrap();
        hubs.on_connected(now, hub);
        hubs.on_hello(now);
        hubs.on_taken(now);
        hub
    }

    /// Fails every attempt until a time; lists which hubs were dialled, without repetition.
    fn fail_until(hubs: &mut Hubs, mut now: Monotonic, until: Monotonic) -> Vec<HubIndex> {
        let mut dialled = Vec::new();
        while now < until {
            while let Some(hub) = hubs.poll_output() {
                if dialled.last() != Some(&hub) {
                    dialled.push(hub);
                }
                hubs.on_lost(now);
            }
            let due = hubs.poll_timeout().unwrap();
            assert!(due > now || hubs.poll_output().is_some(), "time goes on");
            now = due;
            hubs.on_timeout(now);
        }
        dialled
    }

    #[test]
    fn a_hub_that_does_not_answer_is_left_for_the_next_and_after_the_last_comes_the_first() {
        for seed in 0..20 {
            let dialled = fail_until(&mut hubs(3, seed), at(0), at(10_000));

            assert_eq!(dialled, [0, 1, 2, 0], "seed {seed}");
        }
    }

    #[test]
    fn an_attempt_that_hangs_is_given_up_when_the_hub_was_away_for_long_enough() {
        let mut hubs = hubs(2, 1);
        assert_eq!(hubs.poll_output(), Some(0));

        assert_eq!(hubs.poll_timeout(), Some(at(3_000)));
        hubs.on_timeout(at(2_999));
        assert_eq!(hubs.poll_output(), None);
        hubs.on_timeout(at(3_000));

        assert_eq!(hubs.poll_output(), Some(1));
    }

    #[test]
    fn a_hub_that_takes_nothing_is_left_at_once_and_none_is_hammered_when_none_takes_anything() {
        let mut hubs = hubs(2, 1);
        let (mut now, mut waits, mut dialled) = (at(0), Vec::new(), Vec::new());
        for _ in 0..7 {
            let hub = hubs.poll_output().unwrap();
            dialled.push(hub);
            hubs.on_connected(now, hub);
            hubs.on_hello(now);
            hubs.on_useless(now);
            let due = hubs.poll_timeout().unwrap();
            waits.push(due.since(now));
            now = due;
            hubs.on_timeout(now);
        }

        assert_eq!(dialled, [0, 1, 0, 1, 0, 1, 0]);
        assert!(waits.last() >= Some(&Duration::from_secs(1)), "{waits:?}");
    }

    #[test]
    fn an_earlier_hub_is_tried_after_a_while_and_used_once_it_answers() {
        let mut hubs = hubs(2, 1);
        fail_until(&mut hubs, at(0), at(3_001));
        let began = at(4_000);
        hubs.on_timeout(began);
        assert_eq!(up(&mut hubs, began), 1);

        let due = hubs.poll_timeout().unwrap();
        let waited = due.since(began);
        assert!(waited >= Duration::from_mins(5) && waited <= Duration::from_mins(10));
        hubs.on_timeout(due);

        assert_eq!((hubs.poll_output(), hubs.current()), (Some(0), 1));
        hubs.on_connected(due, 0);
        assert_eq!(hubs.current(), 0);
    }

    #[test]
    fn tries_that_fail_come_less_and_less_often_and_the_hub_in_use_stays() {
        let mut hubs = hubs(2, 1);
        fail_until(&mut hubs, at(0), at(3_001));
        let mut now = at(4_000);
        hubs.on_timeout(now);
        assert_eq!(up(&mut hubs, now), 1);

        let mut waits = Vec::new();
        for _ in 0..7 {
            let due = hubs.poll_timeout().unwrap();
            waits.push(due.since(now));
            now = due;
            hubs.on_timeout(now);
            assert_eq!(hubs.poll_output(), Some(0));
            hubs.on_try_failed(now);
            assert_eq!(hubs.current(), 1);
        }

        assert_double(&waits);
    }

    /// What becomes of tries that connect and are of no use: times until the next one.
    fn waits_of_useless_tries(leave: impl Fn(&mut Hubs, Monotonic) -> Monotonic) -> Vec<Duration> {
        let mut hubs = hubs(2, 1);
        fail_until(&mut hubs, at(0), at(3_001));
        let mut now = at(4_000);
        hubs.on_timeout(now);
        assert_eq!(up(&mut hubs, now), 1);
        let mut waits = Vec::new();
        for _ in 0..6 {
            let due = hubs.poll_timeout().unwrap();
            waits.push(due.since(now));
            hubs.on_timeout(due);
            assert_eq!(hubs.poll_output(), Some(0));
            hubs.on_connected(due, 0);
            now = leave(&mut hubs, due);
            assert_eq!(hubs.current(), 1);
            assert_eq!(up(&mut hubs, now), 1);
        }
        waits
    }

    fn assert_double(waits: &[Duration]) {
        for (wait, minutes) in waits.iter().zip([10, 20, 40, 80, 160, 160, 160]) {
            let full = Duration::from_mins(minutes);
            assert!(*wait >= full / 2 && *wait <= full, "{wait:?} of {full:?}");
        }
    }

    #[test]
    fn tries_of_a_hub_that_answers_and_takes_nothing_come_less_and_less_often() {
        let waits = waits_of_useless_tries(|hubs, now| {
            hubs.on_hello(now);
            hubs.on_useless(now);
            let due = hubs.poll_timeout().unwrap();
            hubs.on_timeout(due);
            due
        });

        assert_double(&waits);
    }

    #[test]
    fn a_hub_that_says_hello_and_nothing_else_is_left_and_tried_less_and_less_often() {
        let waits = waits_of_useless_tries(|hubs, now| {
            hubs.on_hello(now);
            let due = hubs.poll_timeout().unwrap();
            assert_eq!(due.since(now), GREETED_MIN);
            hubs.on_timeout(due);
            due
        });

        assert_double(&waits);
    }

    #[test]
    fn the_only_hub_is_never_left() {
        let dialled = fail_until(&mut hubs(1, 1), at(0), at(60_000));

        assert_eq!(dialled, [0]);
    }
}
