//! The window of a connection, between quinn, which asks for it, and [`Congestion`], which decides.
#![expect(clippy::disallowed_types, reason = "quinn's traits name std's Instant")]

use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use headland_event::{ByteCount, Lane, Monotonic};
use quinn_proto::RttEstimator;
use quinn_proto::congestion::{Controller, ControllerFactory};
use tokio::sync::Notify;

use crate::congestion::{Congestion, Limit, Loss};

/// Bytes handed to QUIC beyond what may be in flight, at least: less starves a fast path between
/// two wake-ups of the writer, more would stand before the next alert.
const UNSENT_BYTES: u64 = 64 << 10;

/// Bytes that control and alerts may hold beyond bulk: what bulk fills does not hold them up.
const URGENT_BYTES: u64 = 1 << 20;

/// Windows that quinn may hold more while datagrams are lost. It counts what arrived behind a gap
/// as held until the gap is filled, which takes a round trip, or two when the same bytes are lost
/// again; without room for that, a path with loss of 3 % delivered a third of what it could.
const WINDOWS_BEHIND_GAPS: u64 = 2;

/// Round trips without a loss after which no gaps are left.
const GAP_ROUND_TRIPS: u32 = 4;

/// Datagrams that quinn builds before it says that it sent them.
const BATCH_DATAGRAMS: u64 = 10;

/// What a connection's controller and those who write to it tell each other.
///
/// The numbers are read alone, never together, so their order among themselves does not matter.
#[derive(Debug, Default)]
pub(super) struct Gauge {
    window: AtomicU64,
    behind_gaps: AtomicU64,
    in_flight: AtomicU64,
    acknowledgements: AtomicU64,
    heard: AtomicBool,
    allowance: AtomicU64,
    sent: Notify,
    /// How often a part of a frame was written that trails are watched for.
    written: AtomicU64,
    wrote: Notify,
}

impl Gauge {
    /// Bytes that QUIC may hold, sent or not, before it takes more of a lane: what may be in
    /// flight, what may have arrived behind gaps, and 64 KiB or a quarter.
    pub(super) fn held_bytes_limit(&self, lane: Lane) -> u64 {
        let window = self.window.load(Ordering::Relaxed);
        let bulk = window
            .saturating_add(UNSENT_BYTES.max(window / 4))
            .saturating_add(self.behind_gaps.load(Ordering::Relaxed));
        match lane {
            Lane::Control | Lane::Alerts => bulk.saturating_add(URGENT_BYTES),
            Lane::State | Lane::Telemetry => bulk,
        }
    }

    /// Bytes in flight when something was last sent or acknowledged.
    pub(super) fn in_flight(&self) -> ByteCount {
        ByteCount::new(self.in_flight.load(Ordering::Relaxed))
    }

    /// How many acknowledgements have arrived.
    pub(super) fn acknowledgements(&self) -> u64 {
        self.acknowledgements.load(Ordering::Relaxed)
    }

    /// Whether anything was acknowledged. The first packet of a handshake also counts as that when
    /// the peer asks to come again (Retry), of which quinn says nothing else.
    pub(super) fn is_heard(&self) -> bool {
        self.heard.load(Ordering::Relaxed)
    }

    /// Notes that the peer has answered.
    pub(super) fn on_heard(&self) {
        self.heard.store(true, Ordering::Relaxed);
    }

    /// Waits until something is sent.
    ///
    /// # Cancel safety
    /// Nothing is lost.
    pub(super) async fn wait_for_more(&self) {
        self.sent.notified().await;
    }

    /// Notes that a part of a frame is written to the stream of a lane. Alerts have their copies,
    /// and what control says can wait.
    pub(super) fn on_written(&self, lane: Lane) {
        match lane {
            Lane::Control | Lane::Alerts => {}
            Lane::State | Lane::Telemetry => {
                self.written.fetch_add(1, Ordering::Relaxed);
                self.wrote.notify_one();
            }
        }
    }

    /// How often that was.
    pub(super) fn written(&self) -> u64 {
        self.written.load(Ordering::Relaxed)
    }

    /// Waits until something more is written; for one caller.
    ///
    /// # Cancel safety
    /// Nothing is lost.
    pub(super) async fn wait_for_writing(&self) {
        self.wrote.notified().await;
    }

    /// Lets `bytes` more leave than the window allows, until the next acknowledgement.
    pub(super) fn allow(&self, bytes: ByteCount) {
        self.allowance.fetch_add(bytes.get(), Ordering::Relaxed);
    }
}

/// Makes the controllers of one connection, one per path.
#[derive(Debug)]
pub(super) struct Pacing {
    gauge: Arc<Gauge>,
}

impl Pacing {
    pub(super) const fn new(gauge: Arc<Gauge>) -> Self {
        Self { gauge }
    }
}

impl ControllerFactory for Pacing {
    fn build(self: Arc<Self>, now: Instant, current_mtu: u16) -> Box<dyn Controller> {
        let datagram = ByteCount::new(u64::from(current_mtu));
        let congestion = Congestion::new(Monotonic::from_millis(0), datagram);
        let gauge = Arc::clone(&self.gauge);
        gauge.window.store(congestion.window().get(), Ordering::Relaxed);
        Box::new(PathController { started: now, datagram, congestion, lost_at: None, gauge })
    }
}

/// quinn's view of [`Congestion`].
#[derive(Debug, Clone)]
struct PathController {
    started: Instant,
    datagram: ByteCount,
    congestion: Congestion,
    lost_at: Option<Monotonic>,
    gauge: Arc<Gauge>,
}

impl PathController {
    fn at(&self, instant: Instant) -> Monotonic {
        Monotonic::from_millis(0).after(instant.saturating_duration_since(self.started))
    }

    fn publish(&self, now: Monotonic) {
        let window = self.congestion.window().get();
        let memory = self.congestion.round_trip().unwrap_or_default() * GAP_ROUND_TRIPS;
        let has_gaps = self.lost_at.is_some_and(|lost_at| now.since(lost_at) < memory);
        let behind_gaps = if has_gaps { WINDOWS_BEHIND_GAPS.saturating_mul(window) } else { 0 };
        self.gauge.window.store(window, Ordering::Relaxed);
        self.gauge.behind_gaps.store(behind_gaps, Ordering::Relaxed);
    }
}

impl Controller for PathController {
    fn on_sent(&mut self, _now: Instant, bytes: u64, _last_packet_number: u64) {
        if self.gauge.in_flight.fetch_add(bytes, Ordering::Relaxed) == 0 {
            self.gauge.sent.notify_one();
        }
    }

    fn on_ack(
        &mut self,
        now: Instant,
        sent: Instant,
        bytes: u64,
        _app_limited: bool,
        _rtt: &RttEstimator,
    ) {
        self.gauge.on_heard();
        let (now, sent) = (self.at(now), self.at(sent));
        self.congestion.on_acked(now, sent, ByteCount::new(bytes));
    }

    fn on_end_acks(
        &mut self,
        now: Instant,
        in_flight: u64,
        app_limited: bool,
        _largest_packet_num_acked: Option<u64>,
    ) {
        let limit = if app_limited { Limit::Application } else { Limit::Window };
        let now = self.at(now);
        self.congestion.on_acks_end(now, ByteCount::new(in_flight), limit);
        self.gauge.in_flight.store(in_flight, Ordering::Relaxed);
        self.gauge.acknowledgements.fetch_add(1, Ordering::Relaxed);
        self.gauge.allowance.store(0, Ordering::Relaxed);
        self.publish(now);
    }

    fn on_congestion_event(
        &mut self,
        now: Instant,
        _sent: Instant,
        is_persistent_congestion: bool,
        lost_bytes: u64,
    ) {
        let loss = if is_persistent_congestion { Loss::Persistent } else { Loss::Single };
        let now = self.at(now);
        self.congestion.on_lost(now, ByteCount::new(lost_bytes), loss);
        self.lost_at = Some(now);
        self.publish(now);
    }

    fn on_mtu_update(&mut self, new_mtu: u16) {
        self.datagram = ByteCount::new(u64::from(new_mtu));
        self.congestion.on_datagram_size(self.datagram);
    }

    /// quinn compares what is in flight with this, and paces by this over the round trip. It lets
    /// nobody set the two apart, so as long as there is room for a whole batch the answer is for
    /// the pacing.
    fn window(&self) -> u64 {
        let allowance = self.gauge.allowance.load(Ordering::Relaxed);
        let window = self.congestion.window().get().saturating_add(allowance);
        let batch = (BATCH_DATAGRAMS + 1) * self.datagram.get();
        if self.gauge.in_flight().get().saturating_add(batch) < window {
            return window.saturating_mul(self.congestion.pacing_gain());
        }
        window
    }

    fn clone_box(&self) -> Box<dyn Controller> {
        Box::new(self.clone())
    }

    fn initial_window(&self) -> u64 {
        self.congestion.initial_window().get()
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any> {
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bulk_holds_little_more_than_the_window_and_alerts_have_room_beyond_it() {
        let gauge = Gauge::default();

        gauge.window.store(100_000, Ordering::Relaxed);
        assert_eq!(gauge.held_bytes_limit(Lane::State), 100_000 + UNSENT_BYTES);
        gauge.window.store(4 << 20, Ordering::Relaxed);

        assert_eq!(gauge.held_bytes_limit(Lane::Telemetry), 5 << 20);
        assert_eq!(gauge.held_bytes_limit(Lane::Alerts), 6 << 20);
    }

    fn controller(gauge: &Arc<Gauge>) -> PathController {
        let datagram = ByteCount::new(1_200);
        PathController {
            #[expect(clippy::disallowed_methods, reason = "quinn's traits take nothing else")]
            started: Instant::now(),
            datagram,
            congestion: Congestion::new(moment(0), datagram),
            lost_at: None,
            gauge: Arc::clone(gauge),
        }
    }

    fn moment(ms: u64) -> Monotonic {
        Monotonic::from_millis(ms)
    }

    #[test]
    fn what_comes_in_turns_may_leave_in_turns_until_the_window_is_nearly_full() {
        let gauge = Arc::new(Gauge::default());
        let mut controller = controller(&gauge);
        for now in (100..5_000).step_by(20) {
            for _ in 0..20 {
                controller.congestion.on_acked(moment(now), moment(now - 80), controller.datagram);
            }
            let in_flight = controller.congestion.window();
            controller.congestion.on_acks_end(moment(now), in_flight, Limit::Window);
        }
        let window = controller.congestion.window().get();

        let with_room = controller.window();
        gauge.in_flight.store(window - 10 * 1_200, Ordering::Relaxed);

        assert!((2 * window..=8 * window).contains(&with_room), "{with_room} of {window}");
        assert_eq!(controller.window(), window);
    }

    #[test]
    fn while_datagrams_are_lost_there_is_room_for_what_arrives_behind_the_gaps() {
        let gauge = Arc::new(Gauge::default());
        let mut controller = controller(&gauge);
        let after = |ms| controller.started + std::time::Duration::from_millis(ms);
        let (lost_at, soon, late) = (after(1_000), after(1_100), after(1_400));
        controller.congestion.on_acked(moment(980), moment(900), ByteCount::new(1_200));

        controller.on_congestion_event(lost_at, lost_at, false, 1_200);
        controller.on_end_acks(soon, 0, false, None);
        let with_gaps = gauge.held_bytes_limit(Lane::State);
        controller.on_end_acks(late, 0, false, None);

        let window = controller.congestion.window().get();
        assert_eq!(gauge.held_bytes_limit(Lane::State), window + UNSENT_BYTES);
        assert_eq!(with_gaps, 3 * window + UNSENT_BYTES);
    }
}
