//! How often a handshake that nobody answers is begun anew.
//!
//! A handshake repeats its first packet after waits that double, so one that began long before a
//! cut healed sleeps through the heal. Beginning another one every 300 ms costs a few kilobytes a
//! second and finds the path within that time. The first one stays, for a path so long that no
//! later one would ever live to see its answer, and so does one that was answered: a hub with much
//! to do may have taken up that one and leave the others alone.

use std::time::Duration;

use headland_event::Monotonic;

/// Time between two looks and, while nothing is heard, between two attempts: with it the first
/// record follows a heal within two round trips and 500 ms.
const INTERVAL: Duration = Duration::from_millis(300);

/// Time between attempts once the peer has answered one: that one is most likely to succeed, and
/// a hub that is busy with all its agents at once must not be asked for more.
const INTERVAL_ANSWERED: Duration = Duration::from_secs(2);

/// Attempts that go on at once: the first, those that were answered, and the latest.
const AT_ONCE: usize = 4;

/// Whether the peer has said anything to an attempt, if only that it should come again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heard {
    /// Nothing yet.
    Nothing,
    /// It has answered.
    Something,
}

/// What to do now, before looking again after [`Attempts::pause`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AttemptOutput {
    /// Begin another attempt.
    Begin,
    /// Begin another attempt and give up the one with this index among those that go on.
    BeginInPlaceOf(usize),
    /// Leave those alone that go on.
    Wait,
}

/// Decides when to begin another attempt to connect, until one succeeds or fails.
#[derive(Debug, Clone, Default)]
pub struct Attempts {
    begun_at: Option<Monotonic>,
}

impl Attempts {
    /// Time until the next look.
    #[must_use]
    pub const fn pause() -> Duration {
        INTERVAL
    }

    /// Looks at how it goes with those that go on, the oldest first.
    pub fn on_look(&mut self, now: Monotonic, running: &[Heard]) -> AttemptOutput {
        debug_assert!(running.len() <= AT_ONCE, "attempts are bounded");
        let is_answered = running.contains(&Heard::Something);
        let interval = if is_answered { INTERVAL_ANSWERED } else { INTERVAL };
        if self.begun_at.is_some_and(|begun_at| now.since(begun_at) < interval) {
            return AttemptOutput::Wait;
        }
        let output = if running.len() < AT_ONCE {
            AttemptOutput::Begin
        } else {
            let later = running.iter().enumerate().skip(1);
            let mut unanswered = later.filter(|(_, heard)| **heard == Heard::Nothing);
            let given_up = unanswered.next().map(|(index, _)| index);
            given_up.map_or(AttemptOutput::Wait, AttemptOutput::BeginInPlaceOf)
        };
        if output != AttemptOutput::Wait {
            self.begun_at = Some(now);
        }
        output
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::net::SocketAddr;

    use super::*;
    use crate::handshakes::{
        Arrival, HANDSHAKES_CROWDED, HandshakeEnd, HandshakeId, Handshakes, Shown,
    };

    fn at(looks: u32) -> Monotonic {
        Monotonic::from_millis(0).after(Attempts::pause() * looks)
    }

    #[test]
    fn while_nothing_is_heard_an_attempt_begins_at_every_look_and_four_go_on() {
        let mut attempts = Attempts::default();

        let running = [Heard::Nothing; AT_ONCE];
        let begun: Vec<_> = (0..)
            .zip([0, 1, 2, 3, 4, 4])
            .map(|(look, count)| attempts.on_look(at(look), &running[..count]))
            .collect();

        assert_eq!(begun[..4], [AttemptOutput::Begin; 4]);
        assert_eq!(begun[4..], [AttemptOutput::BeginInPlaceOf(1); 2]);
    }

    #[test]
    fn a_peer_that_answers_is_given_two_seconds() {
        let mut attempts = Attempts::default();
        attempts.on_look(at(0), &[]);

        let waits = (1..).take_while(|look| {
            attempts.on_look(at(*look), &[Heard::Something]) == AttemptOutput::Wait
        });

        assert_eq!(waits.count(), 6, "1.8 s of looks");
    }

    #[test]
    fn an_attempt_that_was_answered_is_never_given_up() {
        use Heard::{Nothing, Something};
        let look = |running: &[Heard]| Attempts::default().on_look(at(0), running);

        let second = look(&[Nothing, Something, Nothing, Nothing]);
        let all = look(&[Nothing, Something, Something, Something]);

        assert_eq!(second, AttemptOutput::BeginInPlaceOf(2));
        assert_eq!(all, AttemptOutput::Wait);
    }

    /// Milliseconds from the dialler to the hub and back the same.
    const WAY: u64 = 300;

    /// First wait of QUIC before it sends a packet again; each next one is twice as long.
    const RESENT: u64 = 300;

    /// What happens to the attempt with a number.
    #[derive(Debug, Clone, Copy)]
    enum Event {
        Look,
        /// Its first packet leaves, the next one after so many milliseconds.
        Send(usize, Shown, u64),
        AtHub(usize, Shown),
        ClosedAtHub(usize),
        Retried(usize),
        Answered(usize),
    }

    /// A dialler and a hub that has to do with many others, on a path that is cut at first.
    struct Path {
        cut_until: u64,
        events: BTreeMap<(u64, u32), Event>,
        serial: u32,
        attempts: Attempts,
        begun: usize,
        running: Vec<(usize, Shown)>,
        handshakes: Handshakes,
        taken: BTreeMap<usize, HandshakeId>,
    }

    impl Path {
        fn cut_until(cut_until: u64) -> Self {
            let mut handshakes = Handshakes::default();
            for port in (1..).take(HANDSHAKES_CROWDED) {
                let other = SocketAddr::from(([192, 0, 2, 9], port));
                handshakes.on_arrival(Monotonic::from_millis(0), other, Shown::Receives);
            }
            let (attempts, events) = (Attempts::default(), BTreeMap::new());
            let (running, taken) = (Vec::new(), BTreeMap::new());
            let (begun, serial) = (0, 0);
            Self { cut_until, events, serial, attempts, begun, running, handshakes, taken }
        }

        fn add(&mut self, at: u64, event: Event) {
            self.serial += 1;
            self.events.insert((at, self.serial), event);
        }

        /// When the dialler is connected, within a minute.
        fn connected_at(&mut self) -> Option<u64> {
            self.add(0, Event::Look);
            while let Some(((now, _), event)) = self.events.pop_first() {
                match event {
                    _ if now > 60_000 => return None,
                    Event::Answered(attempt) if self.is_running(attempt) => return Some(now),
                    event => self.on_event(now, event),
                }
            }
            None
        }

        fn on_event(&mut self, now: u64, event: Event) {
            match event {
                Event::Look => self.on_look(now),
                Event::Send(attempt, shown, wait) => {
                    if self.running.contains(&(attempt, shown)) {
                        self.send(now, Event::AtHub(attempt, shown));
                        self.add(now + wait, Event::Send(attempt, shown, 2 * wait));
                    }
                }
                Event::AtHub(attempt, shown) => self.on_packet(now, attempt, shown),
                Event::ClosedAtHub(attempt) => {
                    if let Some(id) = self.taken.get(&attempt) {
                        self.handshakes.on_end(
                            Monotonic::from_millis(now),
                            *id,
                            HandshakeEnd::Failed,
                        );
                    }
                }
                Event::Retried(attempt) => {
                    let asked = (attempt, Shown::Nothing);
                    if let Some(known) = self.running.iter_mut().find(|known| **known == asked) {
                        known.1 = Shown::Receives;
                        self.add(now, Event::Send(attempt, Shown::Receives, RESENT));
                    }
                }
                Event::Answered(_) => {}
            }
        }

        fn is_running(&self, attempt: usize) -> bool {
            self.running.iter().any(|(other, _)| *other == attempt)
        }

        fn send(&mut self, now: u64, event: Event) {
            if now >= self.cut_until {
                self.add(now + WAY, event);
            }
        }

        fn on_look(&mut self, now: u64) {
            let heard = |(_, shown): &(usize, Shown)| match shown {
                Shown::Nothing => Heard::Nothing,
                Shown::Receives => Heard::Something,
            };
            let running: Vec<_> = self.running.iter().map(heard).collect();
            let output = self.attempts.on_look(Monotonic::from_millis(now), &running);
            if let AttemptOutput::BeginInPlaceOf(index) = output {
                let (given_up, _) = self.running.remove(index);
                self.send(now, Event::ClosedAtHub(given_up));
            }
            if output != AttemptOutput::Wait {
                self.running.push((self.begun, Shown::Nothing));
                self.add(now, Event::Send(self.begun, Shown::Nothing, RESENT));
                self.begun += 1;
            }
            self.add(now + 300, Event::Look);
        }

        fn on_packet(&mut self, now: u64, attempt: usize, shown: Shown) {
            let (at, from) = (Monotonic::from_millis(now), SocketAddr::from(([192, 0, 2, 1], 1)));
            if self.taken.contains_key(&attempt) || self.handshakes.is_repeated(at, from) {
                return;
            }
            if shown == Shown::Nothing {
                self.add(now + WAY, Event::Retried(attempt));
                return;
            }
            if let Arrival::Admit(id) = self.handshakes.on_arrival(at, from, shown) {
                self.taken.insert(attempt, id);
                self.add(now + WAY, Event::Answered(attempt));
            }
        }
    }

    #[test]
    fn far_from_a_crowded_hub_an_agent_is_in_two_round_trips_and_a_look_after_a_heal() {
        for healed_at in (0..8_000).step_by(50) {
            let connected_at = Path::cut_until(healed_at).connected_at();

            let latest = healed_at + 4 * WAY + 300;
            assert!(
                connected_at.is_some_and(|at| at <= latest),
                "healed at {healed_at} ms, connected at {connected_at:?}"
            );
        }
    }
}
