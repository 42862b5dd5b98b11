//! When to dial again.

use std::collections::VecDeque;
use std::time::Duration;

use headland_event::{Monotonic, Random, SeededRandom};

/// How long to wait between attempts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DialerConfig {
    /// The first wait, default 100 ms: below it a restarting peer is only hammered.
    pub wait_min: Duration,
    /// The longest wait, default 2 s: above it a healed link stays down for no reason.
    pub wait_max: Duration,
    /// The first wait after another connection of the same identity took this one's place,
    /// default 1 s: below it two processes with one certificate push each other out all the time.
    pub superseded_wait_min: Duration,
    /// The longest such wait, default 60 s: above it the process that stays is noticed too late
    /// once the other has been stopped.
    pub superseded_wait_max: Duration,
}

impl Default for DialerConfig {
    fn default() -> Self {
        Self {
            wait_min: Duration::from_millis(100),
            wait_max: Duration::from_secs(2),
            superseded_wait_min: Duration::from_secs(1),
            superseded_wait_max: Duration::from_secs(60),
        }
    }
}

/// Work the caller does on behalf of a [`Dialer`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DialerOutput {
    /// Open a connection; answer with [`Dialer::on_ready`] or [`Dialer::on_lost`].
    Dial,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Dialling,
    Connected { since: Monotonic },
    Waiting { until: Monotonic },
}

/// The last time another connection took this one's place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Superseded {
    at: Monotonic,
    wait: Duration,
}

/// Decides when to dial one peer: at once, then after waits that double and never synchronise.
#[derive(Debug, Clone)]
pub struct Dialer {
    config: DialerConfig,
    random: SeededRandom,
    state: State,
    wait: Duration,
    /// When the attempt that goes on was due; `None` for the first.
    dialled_at: Option<Monotonic>,
    superseded: Option<Superseded>,
    outputs: VecDeque<DialerOutput>,
}

impl Dialer {
    /// A dialer that wants to dial at once.
    #[must_use]
    pub fn new(config: DialerConfig, seed: u64) -> Self {
        Self {
            config,
            random: SeededRandom::new(seed),
            state: State::Dialling,
            wait: config.wait_min,
            dialled_at: None,
            superseded: None,
            outputs: VecDeque::from([DialerOutput::Dial]),
        }
    }

    /// The link became ready: the peer is who it should be. The next wait starts small again once
    /// it has lasted for as long as the longest wait: a link that fails as soon as it is ready (a
    /// log that cannot be read, say) would otherwise be opened several times a second without end.
    pub fn on_ready(&mut self, now: Monotonic) {
        self.state = State::Connected { since: now };
        self.dialled_at = None;
        // An attempt that was due is not needed any more.
        self.outputs.clear();
    }

    /// The attempt failed or the connection was lost; tells when to try again.
    ///
    /// Half of each wait is drawn at random, so that the agents of a restarted hub spread out. An
    /// attempt that nobody answered for longer than the longest wait has waited already: the next
    /// follows at once, because while it waits a path that heals is not found.
    pub fn on_lost(&mut self, now: Monotonic) {
        let tried = self.dialled_at.take().map(|dialled_at| now.since(dialled_at));
        if self.state == State::Dialling && tried.is_some_and(|tried| tried > self.config.wait_max)
        {
            self.dial(now);
            return;
        }
        let longest = self.config.wait_max;
        if matches!(self.state, State::Connected { since } if longest <= now.since(since)) {
            self.wait = self.config.wait_min;
        }
        self.wait_about(now, self.wait);
        self.wait = self.wait.saturating_mul(2).min(self.config.wait_max);
        debug_assert!(self.wait <= self.config.wait_max.max(self.config.wait_min));
    }

    /// The peer closed the connection because another one of the same identity took its place.
    ///
    /// Becoming ready does not make this wait short again, because both of two processes that
    /// share a certificate become ready in turn; only a long time without it does.
    pub fn on_superseded(&mut self, now: Monotonic) {
        let DialerConfig { superseded_wait_min: min, superseded_wait_max: max, .. } = self.config;
        // Of two such processes each waits for at most `max`, so each is hit within twice that.
        let memory = max.saturating_mul(4);
        let last = self.superseded.filter(|last| now.since(last.at) <= memory);
        let wait = last.map_or(min, |last| last.wait.saturating_mul(2).min(max));
        self.superseded = Some(Superseded { at: now, wait });
        self.wait_about(now, wait);
    }

    fn wait_about(&mut self, now: Monotonic, wait: Duration) {
        let half = wait / 2;
        let spread = u64::try_from(half.as_nanos()).unwrap_or(u64::MAX);
        let drawn = Duration::from_nanos(self.random.below(spread.saturating_add(1)));
        self.state = State::Waiting { until: now.after(half + drawn) };
        self.outputs.clear();
    }

    /// Advances to `now`; call it no later than [`Self::poll_timeout`].
    pub fn on_timeout(&mut self, now: Monotonic) {
        if matches!(self.state, State::Waiting { until } if until <= now) {
            self.dial(now);
        }
    }

    /// Dials at once, whatever it waits for: another peer is to be dialled than before.
    pub fn dial_now(&mut self, now: Monotonic) {
        self.outputs.clear();
        self.dial(now);
    }

    fn dial(&mut self, now: Monotonic) {
        self.state = State::Dialling;
        self.dialled_at = Some(now);
        self.outputs.push_back(DialerOutput::Dial);
    }

    /// The next thing to do.
    #[must_use]
    pub fn poll_output(&mut self) -> Option<DialerOutput> {
        self.outputs.pop_front()
    }

    /// When to call [`Self::on_timeout`]; `None` while an attempt or a connection is alive.
    #[must_use]
    pub const fn poll_timeout(&self) -> Option<Monotonic> {
        match self.state {
            State::Waiting { until } => Some(until),
            State::Dialling | State::Connected { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Fails every attempt at the moment it is made and lists the waits in between.
    fn waits(dialer: &mut Dialer, attempts: usize) -> Vec<Duration> {
        let mut now = Monotonic::from_millis(1_000);
        let mut waits = Vec::new();
        for _ in 0..attempts {
            assert_eq!(dialer.poll_output(), Some(DialerOutput::Dial));
            dialer.on_lost(now);
            let until = dialer.poll_timeout().unwrap();
            waits.push(until.since(now));
            now = until;
            dialer.on_timeout(now);
        }
        waits
    }

    #[test]
    fn it_dials_at_once_and_then_waits_for_an_answer() {
        let mut dialer = Dialer::new(DialerConfig::default(), 1);

        assert_eq!(dialer.poll_output(), Some(DialerOutput::Dial));
        assert_eq!(dialer.poll_output(), None);
        assert_eq!(dialer.poll_timeout(), None);
    }

    #[test]
    fn waits_double_up_to_the_longest_and_are_at_least_half_of_it() {
        for seed in 0..50 {
            let waits = waits(&mut Dialer::new(DialerConfig::default(), seed), 8);

            for (wait, full) in waits.iter().zip([100, 200, 400, 800, 1_600, 2_000, 2_000, 2_000]) {
                let full = Duration::from_millis(full);
                assert!(*wait >= full / 2 && *wait <= full, "{wait:?} of {full:?}");
            }
        }
    }

    #[test]
    fn an_attempt_that_was_not_answered_for_long_is_followed_by_another_at_once() {
        let mut dialer = Dialer::new(DialerConfig::default(), 3);
        waits(&mut dialer, 2);
        let begun = Monotonic::from_millis(9_000);
        dialer.on_timeout(begun);
        while dialer.poll_output().is_some() {}

        dialer.on_lost(begun.after(Duration::from_secs(10)));

        assert_eq!(dialer.poll_output(), Some(DialerOutput::Dial));
        assert_eq!(dialer.poll_timeout(), None);
    }

    #[test]
    fn it_does_not_dial_before_the_wait_is_over() {
        let mut dialer = Dialer::new(DialerConfig::default(), 3);
        let now = Monotonic::from_millis(5);
        dialer.on_lost(now);

        dialer.on_timeout(now.after(Duration::from_millis(49)));

        assert_eq!(dialer.poll_output(), None);
    }

    #[test]
    fn a_connection_that_stayed_ready_makes_the_next_wait_short_again() {
        let mut dialer = Dialer::new(DialerConfig::default(), 4);
        waits(&mut dialer, 6);

        dialer.on_ready(Monotonic::from_millis(7_000));
        dialer.on_lost(Monotonic::from_millis(9_000));

        let until = dialer.poll_timeout().unwrap();
        assert!(until.since(Monotonic::from_millis(9_000)) <= Duration::from_millis(100));
    }

    #[test]
    fn a_connection_that_is_lost_soon_after_it_became_ready_does_not() {
        let mut dialer = Dialer::new(DialerConfig::default(), 4);
        waits(&mut dialer, 6);

        dialer.on_ready(Monotonic::from_millis(7_001));
        dialer.on_lost(Monotonic::from_millis(9_000));

        let until = dialer.poll_timeout().unwrap();
        assert!(until.since(Monotonic::from_millis(9_000)) >= Duration::from_secs(1));
    }

    #[test]
    fn a_dial_that_was_due_is_forgotten_once_the_link_is_ready() {
        let mut dialer = Dialer::new(DialerConfig::default(), 5);

        dialer.on_ready(Monotonic::from_millis(1));

        assert_eq!(dialer.poll_output(), None);
    }

    /// Is superseded as soon as it was ready, `times` over, and lists the waits in between.
    fn superseded_waits(dialer: &mut Dialer, mut now: Monotonic, times: usize) -> Vec<Duration> {
        let mut waits = Vec::new();
        for _ in 0..times {
            dialer.on_ready(now);
            dialer.on_superseded(now);
            let until = dialer.poll_timeout().unwrap();
            waits.push(until.since(now));
            now = until;
            dialer.on_timeout(now);
            assert_eq!(dialer.poll_output(), Some(DialerOutput::Dial));
        }
        waits
    }

    #[test]
    fn who_is_superseded_again_and_again_waits_longer_although_it_is_ready_in_between() {
        for seed in 0..50 {
            let mut dialer = Dialer::new(DialerConfig::default(), seed);
            let waits = superseded_waits(&mut dialer, Monotonic::from_millis(7), 9);

            for (wait, full) in waits.iter().zip([1, 2, 4, 8, 16, 32, 60, 60, 60]) {
                let full = Duration::from_secs(full);
                assert!(*wait >= full / 2 && *wait <= full, "{wait:?} of {full:?}");
            }
        }
    }

    #[test]
    fn four_longest_waits_after_it_was_superseded_that_is_forgotten() {
        let first = Monotonic::from_millis(0);
        let memory = Duration::from_secs(240);
        for (later, full) in [(memory, 2), (memory + Duration::from_nanos(1), 1)] {
            let mut dialer = Dialer::new(DialerConfig::default(), 6);
            dialer.on_superseded(first);

            let wait = superseded_waits(&mut dialer, first.after(later), 1);

            let full = Duration::from_secs(full);
            assert!(wait[0] >= full / 2 && wait[0] <= full, "{wait:?} of {full:?}");
        }
    }

    #[test]
    fn the_same_seed_waits_the_same_and_another_does_not() {
        let of = |seed| waits(&mut Dialer::new(DialerConfig::default(), seed), 6);

        assert_eq!(of(7), of(7));
        assert_ne!(of(7), of(8));
    }
}
