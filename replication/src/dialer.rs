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
}

impl Default for DialerConfig {
    fn default() -> Self {
        Self { wait_min: Duration::from_millis(100), wait_max: Duration::from_secs(2) }
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
    Connected,
    Waiting { until: Monotonic },
}

/// Decides when to dial one peer: at once, then after waits that double and never synchronise.
#[derive(Debug, Clone)]
pub struct Dialer {
    config: DialerConfig,
    random: SeededRandom,
    state: State,
    wait: Duration,
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
            outputs: VecDeque::from([DialerOutput::Dial]),
        }
    }

    /// The link became ready: the peer is who it should be, so the next wait starts small again.
    pub fn on_ready(&mut self) {
        self.state = State::Connected;
        self.wait = self.config.wait_min;
    }

    /// The attempt failed or the connection was lost; tells when to try again.
    ///
    /// Half of each wait is drawn at random, so that the agents of a restarted hub spread out.
    pub fn on_lost(&mut self, now: Monotonic) {
        let half = self.wait / 2;
        let spread = u64::try_from(half.as_nanos()).unwrap_or(u64::MAX);
        let drawn = Duration::from_nanos(self.random.below(spread.saturating_add(1)));
        self.state = State::Waiting { until: now.after(half + drawn) };
        self.wait = self.wait.saturating_mul(2).min(self.config.wait_max);
        self.outputs.clear();
        debug_assert!(self.wait <= self.config.wait_max.max(self.config.wait_min));
    }

    /// Advances to `now`; call it no later than [`Self::poll_timeout`].
    pub fn on_timeout(&mut self, now: Monotonic) {
        if matches!(self.state, State::Waiting { until } if until <= now) {
            self.state = State::Dialling;
            self.outputs.push_back(DialerOutput::Dial);
        }
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
            State::Dialling | State::Connected => None,
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
    fn it_does_not_dial_before_the_wait_is_over() {
        let mut dialer = Dialer::new(DialerConfig::default(), 3);
        let now = Monotonic::from_millis(5);
        dialer.on_lost(now);

        dialer.on_timeout(now.after(Duration::from_millis(49)));

        assert_eq!(dialer.poll_output(), None);
    }

    #[test]
    fn a_connection_that_became_ready_makes_the_next_wait_short_again() {
        let mut dialer = Dialer::new(DialerConfig::default(), 4);
        waits(&mut dialer, 6);

        dialer.on_ready();
        dialer.on_lost(Monotonic::from_millis(9_000));

        let until = dialer.poll_timeout().unwrap();
        assert!(until.since(Monotonic::from_millis(9_000)) <= Duration::from_millis(100));
    }

    #[test]
    fn the_same_seed_waits_the_same_and_another_does_not() {
        let of = |seed| waits(&mut Dialer::new(DialerConfig::default(), seed), 6);

        assert_eq!(of(7), of(7));
        assert_ne!(of(7), of(8));
    }
}
