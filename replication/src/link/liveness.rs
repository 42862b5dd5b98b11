//! Whether the peer is alive, and how far away it is.

use std::time::Duration;

use headland_event::Monotonic;

use crate::frame::{Echo, Keepalive};

/// Signs of life in both directions.
#[derive(Debug, Clone)]
pub(super) struct Liveness {
    interval: Duration,
    timeout: Duration,
    send_at: Monotonic,
    heard_at: Monotonic,
    /// The peer's last keepalive and when it arrived.
    last: Option<(Monotonic, Monotonic)>,
    rtt: Option<Duration>,
}

impl Liveness {
    /// Starts with the peer counted as heard and the first keepalive due after `first`.
    pub(super) fn new(
        interval: Duration,
        timeout: Duration,
        first: Duration,
        now: Monotonic,
    ) -> Self {
        let send_at = now.after(first);
        Self { interval, timeout, send_at, heard_at: now, last: None, rtt: None }
    }

    /// Any frame is a sign of life.
    pub(super) fn on_heard(&mut self, now: Monotonic) {
        self.heard_at = self.heard_at.max(now);
    }

    /// Takes the round trip from the echo; an echo of the future is ignored.
    pub(super) fn on_keepalive(&mut self, now: Monotonic, keepalive: Keepalive) {
        let Keepalive { sent_at, echo } = keepalive;
        self.last = Some((sent_at, now));
        if let Some(Echo { sent_at, held }) = echo.filter(|echo| echo.sent_at <= now) {
            self.rtt = Some(now.since(sent_at).saturating_sub(held));
        }
    }

    /// Makes the next keepalive due at once.
    pub(super) fn hasten(&mut self, now: Monotonic) {
        self.send_at = self.send_at.min(now);
    }

    /// The keepalive to send, when one is due.
    pub(super) fn take_due(&mut self, now: Monotonic) -> Option<Keepalive> {
        if now < self.send_at {
            return None;
        }
        self.send_at = now.after(self.interval);
        let echo = self.last.map(|(sent_at, at)| Echo { sent_at, held: now.since(at) });
        Some(Keepalive { sent_at: now, echo })
    }

    /// How long the peer has been silent, when that is too long.
    pub(super) fn silence(&self, now: Monotonic) -> Option<Duration> {
        let silence = now.since(self.heard_at);
        (silence >= self.timeout).then_some(silence)
    }

    pub(super) fn poll_timeout(&self) -> Monotonic {
        self.send_at.min(self.heard_at.after(self.timeout))
    }

    pub(super) const fn heard_at(&self) -> Monotonic {
        self.heard_at
    }

    pub(super) const fn rtt(&self) -> Option<Duration> {
        self.rtt
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: Duration = Duration::from_secs(1);
    const TIMEOUT: Duration = Duration::from_secs(5);

    fn liveness() -> Liveness {
        Liveness::new(INTERVAL, TIMEOUT, INTERVAL, Monotonic::from_millis(0))
    }

    #[test]
    fn the_round_trip_leaves_out_how_long_the_peer_held_the_echo() {
        let mut near = liveness();
        let mut far = liveness();

        let sent = near.take_due(Monotonic::from_millis(1_000)).unwrap();
        far.on_keepalive(Monotonic::from_millis(1_040), sent);
        let answer = far.take_due(Monotonic::from_millis(1_900)).unwrap();
        near.on_keepalive(Monotonic::from_millis(1_940), answer);

        assert_eq!(near.rtt(), Some(Duration::from_millis(80)));
    }

    #[test]
    fn an_echo_of_something_never_sent_yet_is_ignored() {
        let mut liveness = liveness();
        let echo = Echo { sent_at: Monotonic::from_millis(9_000), held: Duration::ZERO };

        let keepalive = Keepalive { sent_at: Monotonic::from_millis(1), echo: Some(echo) };
        liveness.on_keepalive(Monotonic::from_millis(5), keepalive);

        assert_eq!(liveness.rtt(), None);
    }

    #[test]
    fn silence_counts_from_the_last_frame_and_the_timeout_itself_is_too_long() {
        let mut liveness = liveness();
        liveness.on_heard(Monotonic::from_millis(300));

        assert_eq!(liveness.silence(Monotonic::from_millis(5_299)), None);
        assert_eq!(liveness.silence(Monotonic::from_millis(5_300)), Some(TIMEOUT));
    }

    #[test]
    fn one_keepalive_is_due_per_interval() {
        let mut liveness = liveness();

        assert_eq!(liveness.take_due(Monotonic::from_millis(999)), None);
        assert!(liveness.take_due(Monotonic::from_millis(1_000)).is_some());
        assert_eq!(liveness.take_due(Monotonic::from_millis(1_999)), None);
        assert_eq!(liveness.poll_timeout(), Monotonic::from_millis(2_000));
    }
}
