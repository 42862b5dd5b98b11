//! Models of what kernels decide by, without their refinements.

use std::collections::VecDeque;
use std::time::Duration;

use headland_event::Monotonic;

/// Cubic (RFC 9438, §4.1 and §4.6).
pub(super) struct Cubic {
    pub(super) window: u64,
    datagram: u64,
    most: u64,
    reduced: Monotonic,
    is_slow: bool,
}

impl Cubic {
    pub(super) fn new(datagram: u64) -> Self {
        let reduced = Monotonic::from_millis(0);
        Self { window: 10 * datagram, datagram, most: 0, reduced, is_slow: true }
    }

    pub(super) fn on_acked(&mut self, now: Monotonic, bytes: u64) {
        if self.is_slow {
            self.window += bytes;
            return;
        }
        let most = self.most as f64 / self.datagram as f64;
        let back = (most * 0.3 / 0.4).cbrt();
        let target = 0.4 * (now.since(self.reduced).as_secs_f64() - back).powi(3) + most;
        let target = Duration::from_secs_f64(target.clamp(2.0, 1e6)).as_millis();
        let target = u64::try_from(target).unwrap() * self.datagram / 1_000;
        let step = target.saturating_sub(self.window).min(self.window / 2);
        self.window += (step * bytes / self.window).max(bytes * self.datagram / 10 / self.window);
    }

    pub(super) fn on_lost(&mut self, now: Monotonic, sent_at: Monotonic) {
        if sent_at > self.reduced {
            (self.most, self.reduced, self.is_slow) = (self.window, now, false);
            self.window = (self.window * 7 / 10).max(2 * self.datagram);
        }
    }
}

/// BBR, version 1, as kernels have it (Cardwell et al., ACM Queue 14(5), 2016, and Linux'
/// `tcp_bbr.c`, without its long-term policer model).
pub(super) struct Bbr {
    datagram: u64,
    /// The rate of each of the last ten rounds that was largest, bytes per second.
    rates: VecDeque<f64>,
    /// Bytes delivered by when, for samples of the rate.
    delivered: VecDeque<(Monotonic, u64)>,
    round_started: Monotonic,
    shortest: (Duration, Monotonic),
    /// Percent of the rate at which it sends.
    gain: u64,
    cycle: usize,
    cycle_started: Monotonic,
    full: (f64, u32),
    is_starting: bool,
    is_draining: bool,
    probes_until: Option<Monotonic>,
}

/// Gains in percent, each for one shortest round trip.
const CYCLE: [u64; 8] = [125, 75, 100, 100, 100, 100, 100, 100];
const STARTING: u64 = 289;

impl Bbr {
    pub(super) fn new(datagram: u64) -> Self {
        let start = Monotonic::from_millis(0);
        Self {
            datagram,
            rates: VecDeque::from([0.0]),
            delivered: VecDeque::from([(start, 0)]),
            round_started: start,
            shortest: (Duration::MAX, start),
            gain: STARTING,
            cycle: 2,
            cycle_started: start,
            full: (0.0, 0),
            is_starting: true,
            is_draining: false,
            probes_until: None,
        }
    }

    fn rate(&self) -> f64 {
        self.rates.iter().copied().fold(0.0, f64::max)
    }

    fn held(&self) -> f64 {
        self.rate() * self.shortest.0.min(Duration::from_secs(10)).as_secs_f64()
    }

    pub(super) fn window(&self) -> u64 {
        if self.probes_until.is_some() {
            return 4 * self.datagram;
        }
        let gain = if self.is_starting { 2.89 } else { 2.0 };
        // Whole bytes, as a Duration's nanoseconds round them.
        let held = Duration::from_nanos(1).mul_f64(self.held() * gain).as_nanos();
        u64::try_from(held).unwrap().max(10 * self.datagram)
    }

    pub(super) fn pace(&self, smoothed: Duration) -> Duration {
        let rate = self.rate() * self.gain as f64 / 100.0;
        if rate < 1.0 {
            return smoothed.mul_f64(0.1 / 2.89);
        }
        Duration::from_secs_f64(self.datagram as f64 / rate)
    }

    pub(super) fn on_acked(&mut self, now: Monotonic, sent_at: Monotonic, in_flight: u64) {
        let round_trip = now.since(sent_at);
        let is_old = now.since(self.shortest.1) > Duration::from_secs(10);
        if round_trip <= self.shortest.0 || is_old {
            if is_old && round_trip > self.shortest.0 && self.probes_until.is_none() {
                self.probes_until = Some(now.after(Duration::from_millis(200) + round_trip));
            }
            self.shortest = (round_trip, now);
        }
        if self.probes_until.is_some_and(|until| until <= now) {
            self.probes_until = None;
        }
        self.sample(now, sent_at);
        if self.is_draining && in_flight as f64 <= self.held() {
            (self.is_draining, self.gain, self.cycle_started) = (false, 100, now);
        }
        if sent_at > self.round_started {
            self.round_started = now;
            self.on_round();
        }
        self.on_cycle(now, in_flight);
    }

    /// What was delivered from when this datagram left until it arrived.
    fn sample(&mut self, now: Monotonic, sent_at: Monotonic) {
        let total = self.delivered.back().map_or(0, |(_, total)| *total) + self.datagram;
        self.delivered.push_back((now, total));
        while self.delivered.get(1).is_some_and(|(at, _)| *at <= sent_at) {
            self.delivered.pop_front();
        }
        let (since, before) = self.delivered[0];
        let took = now.since(since).max(self.shortest.0);
        let rate = (total - before) as f64 / took.as_secs_f64();
        let best = self.rates.back_mut().unwrap();
        *best = best.max(rate);
    }

    fn on_round(&mut self) {
        if self.is_starting {
            let best = self.rate();
            self.full =
                if best >= self.full.0 * 1.25 { (best, 0) } else { (self.full.0, self.full.1 + 1) };
            if self.full.1 >= 3 {
                (self.is_starting, self.is_draining, self.gain) = (false, true, 35);
            }
        }
        if self.rates.len() == 10 {
            self.rates.pop_front();
        }
        self.rates.push_back(0.0);
    }

    fn on_cycle(&mut self, now: Monotonic, in_flight: u64) {
        if self.is_starting || self.is_draining {
            return;
        }
        let is_over = now.since(self.cycle_started) > self.shortest.0;
        let is_empty = self.gain < 100 && in_flight as f64 <= self.held();
        let is_full = self.gain <= 100 || in_flight as f64 >= self.held() * 1.25;
        if (is_over && is_full) || is_empty {
            self.cycle = (self.cycle + 1) % CYCLE.len();
            (self.gain, self.cycle_started) = (CYCLE[self.cycle], now);
        }
    }
}
