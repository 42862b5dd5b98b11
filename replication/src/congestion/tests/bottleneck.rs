//! Senders that share one drop-tail queue. Each paces a quarter faster than its window over its
//! smoothed round trip, as quinn does, and catches up on bursts of 2 ms.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::time::Duration;

use headland_event::{ByteCount, Monotonic, Random, SeededRandom};

use super::kernel::{Bbr, Cubic};
use crate::congestion::{Congestion, Limit, Loss};

const DATAGRAM: u64 = 1_200;

/// A path in one direction; acknowledgements are never lost.
#[derive(Debug, Clone, Copy)]
pub(super) struct Way {
    /// Bytes per second.
    pub(super) rate: u64,
    pub(super) round_trip: Duration,
    pub(super) queue: Duration,
    pub(super) loss_percent: u64,
    /// Acknowledgements come together, once in so long: a radio's turns, or a busy machine's.
    pub(super) turn: Duration,
    /// Timers are looked at once in so long: a busy machine's.
    pub(super) wake: Duration,
}

/// What a pacer that was late makes up for: the time in which 2 ms are sent a quarter faster.
const CATCH_UP: Duration = Duration::from_micros(1_600);

/// What became of a sender's bytes.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Report {
    pub(super) delivered: u64,
    pub(super) lost: u64,
    pub(super) longest_queue: Duration,
}

/// Who decides about a sender's window.
pub(super) enum Controller {
    Ours(Box<Congestion>),
    Cubic(Cubic),
    Bbr(Bbr),
}

impl Controller {
    fn window(&self) -> u64 {
        match self {
            Self::Ours(ours) => ours.window().get(),
            Self::Cubic(cubic) => cubic.window,
            Self::Bbr(bbr) => bbr.window(),
        }
    }

    /// Time between two datagrams.
    fn pace(&self, smoothed: Duration) -> Duration {
        match self {
            Self::Ours(ours) => {
                let window = self.window() * ours.pacing_gain();
                smoothed.mul_f64(DATAGRAM as f64 / (window as f64 * 1.25))
            }
            Self::Cubic(_) => smoothed.mul_f64(DATAGRAM as f64 / (self.window() as f64 * 1.25)),
            Self::Bbr(bbr) => bbr.pace(smoothed),
        }
    }
}

struct Sender {
    controller: Controller,
    in_flight: VecDeque<(u64, Monotonic)>,
    next: u64,
    smoothed: Duration,
    send_at: Monotonic,
    is_paced: bool,
    report: Report,
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Ack { sender: usize, number: u64 },
    Pace { sender: usize },
}

/// The shared path.
pub(super) struct Bottleneck {
    way: Way,
    now: Monotonic,
    free_at: Monotonic,
    random: SeededRandom,
    senders: Vec<Sender>,
    events: BinaryHeap<Reverse<(Monotonic, u64, Event)>>,
    events_made: u64,
}

impl Bottleneck {
    pub(super) fn new(way: Way, seed: u64) -> Self {
        let now = Monotonic::from_millis(0);
        Self {
            way,
            now,
            free_at: now,
            random: SeededRandom::new(seed),
            senders: Vec::new(),
            events: BinaryHeap::new(),
            events_made: 0,
        }
    }

    pub(super) fn join(&mut self, controller: Controller) {
        self.senders.push(Sender {
            controller,
            in_flight: VecDeque::new(),
            next: 0,
            smoothed: Duration::from_millis(100),
            send_at: self.now,
            is_paced: false,
            report: Report::default(),
        });
        self.fill(self.senders.len() - 1);
    }

    pub(super) fn set_rate(&mut self, rate: u64) {
        self.way.rate = rate;
    }

    pub(super) fn reset_counts(&mut self) {
        for sender in &mut self.senders {
            sender.report = Report::default();
        }
    }

    pub(super) fn report(&self, sender: usize) -> Report {
        self.senders[sender].report
    }

    pub(super) fn ours(&self, sender: usize) -> &Congestion {
        match &self.senders[sender].controller {
            Controller::Ours(ours) => ours,
            Controller::Cubic(_) | Controller::Bbr(_) => panic!("sender {sender} is not ours"),
        }
    }

    /// Runs until `end` after the start.
    pub(super) fn run(&mut self, end: Duration) {
        let end = Monotonic::from_millis(0).after(end);
        while let Some(Reverse((at, _, _))) = self.events.peek() {
            if *at > end {
                break;
            }
            let Reverse((at, _, event)) = self.events.pop().unwrap();
            self.now = at;
            match event {
                Event::Ack { sender, number } => self.on_ack(sender, number),
                Event::Pace { sender } => {
                    self.senders[sender].is_paced = false;
                    self.fill(sender);
                }
            }
        }
        self.now = end;
    }

    fn schedule(&mut self, at: Monotonic, event: Event) {
        self.events_made += 1;
        self.events.push(Reverse((at, self.events_made, event)));
    }

    fn fill(&mut self, index: usize) {
        loop {
            let sender = &mut self.senders[index];
            let window = sender.controller.window();
            let in_flight = sender.in_flight.len() as u64 * DATAGRAM;
            if in_flight + DATAGRAM > window || sender.is_paced {
                return;
            }
            if sender.send_at > self.now {
                sender.is_paced = true;
                let at = next_multiple(sender.send_at, self.way.wake);
                self.schedule(at, Event::Pace { sender: index });
                return;
            }
            let pace = sender.controller.pace(sender.smoothed);
            sender.send_at = sender.send_at.after(CATCH_UP).max(self.now).after(pace);
            sender.send_at = Monotonic::from_millis(0)
                .after(sender.send_at.since(Monotonic::from_millis(0)).saturating_sub(CATCH_UP));
            let number = sender.next;
            sender.next += 1;
            sender.in_flight.push_back((number, self.now));
            self.transmit(index, number);
        }
    }

    fn transmit(&mut self, sender: usize, number: u64) {
        let start = self.free_at.max(self.now);
        let waits = start.since(self.now);
        let report = &mut self.senders[sender].report;
        report.longest_queue = report.longest_queue.max(waits.min(self.way.queue));
        if waits > self.way.queue || self.random.below(100) < self.way.loss_percent {
            return;
        }
        self.free_at = start.after(Duration::from_nanos(DATAGRAM * 1_000_000_000 / self.way.rate));
        let at = next_multiple(self.free_at.after(self.way.round_trip), self.way.turn);
        self.schedule(at, Event::Ack { sender, number });
    }

    fn on_ack(&mut self, index: usize, number: u64) {
        let now = self.now;
        let sender = &mut self.senders[index];
        let bytes = ByteCount::new(DATAGRAM);
        while let Some((lost, sent_at)) =
            sender.in_flight.pop_front_if(|(first, _)| *first < number)
        {
            debug_assert!(lost < number, "a path does not reorder");
            sender.report.lost += DATAGRAM;
            match &mut sender.controller {
                Controller::Ours(ours) => ours.on_lost(now, bytes, Loss::Single),
                Controller::Cubic(cubic) => cubic.on_lost(now, sent_at),
                Controller::Bbr(_) => {}
            }
        }
        let Some((_, sent_at)) = sender.in_flight.pop_front() else { return };
        sender.report.delivered += DATAGRAM;
        sender.smoothed = sender.smoothed * 7 / 8 + now.since(sent_at) / 8;
        let in_flight = ByteCount::new(sender.in_flight.len() as u64 * DATAGRAM);
        match &mut sender.controller {
            Controller::Ours(ours) => {
                ours.on_acked(now, sent_at, bytes);
                ours.on_acks_end(now, in_flight, Limit::Window);
            }
            Controller::Cubic(cubic) => cubic.on_acked(now, DATAGRAM),
            Controller::Bbr(bbr) => bbr.on_acked(now, sent_at, in_flight.get()),
        }
        self.fill(index);
    }
}

/// The first multiple of `interval` from `at` on.
fn next_multiple(at: Monotonic, interval: Duration) -> Monotonic {
    let since = at.since(Monotonic::from_millis(0)).as_nanos();
    let next = u64::try_from(since.next_multiple_of(interval.as_nanos().max(1))).unwrap();
    Monotonic::from_millis(0).after(Duration::from_nanos(next))
}
