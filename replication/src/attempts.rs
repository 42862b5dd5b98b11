//! How often a handshake that nobody answers is begun anew.
//!
//! A handshake repeats its first packet after waits that double, so one that began long before a
//! cut healed sleeps through the heal. Beginning another one every 300 ms costs a few kilobytes a
//! second and finds the path within that time. The first one stays, for a path so long that no
//! later one would ever live to see its answer.

use std::time::Duration;

use headland_event::Monotonic;

/// Time between two looks and, while nothing is heard, between two attempts: with it the first
/// record follows a heal within two round trips and 500 ms.
const INTERVAL: Duration = Duration::from_millis(300);

/// Time between attempts once the peer has answered one: that one is most likely to succeed, and
/// a hub that is busy with all its agents at once must not be asked for more.
const INTERVAL_ANSWERED: Duration = Duration::from_secs(2);

/// Attempts that go on at once: the first, and the latest three.
const AT_ONCE: usize = 4;

/// Whether the peer has said anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heard {
    /// Nothing yet.
    Nothing,
    /// It has answered at least one attempt.
    Something,
}

/// What to do now, before looking again after [`Attempts::pause`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AttemptOutput {
    /// Begin another attempt.
    Begin,
    /// Begin another attempt and give up the second oldest.
    BeginInPlaceOfSecond,
    /// Leave those alone that go on.
    Wait,
}

/// Decides when to begin another attempt to connect, until one succeeds or fails.
#[derive(Debug, Clone, Default)]
pub struct Attempts {
    running: usize,
    begun_at: Option<Monotonic>,
}

impl Attempts {
    /// Time until the next look.
    #[must_use]
    pub const fn pause() -> Duration {
        INTERVAL
    }

    /// Looks at how it goes.
    pub fn on_look(&mut self, now: Monotonic, heard: Heard) -> AttemptOutput {
        let interval = match heard {
            Heard::Nothing => INTERVAL,
            Heard::Something => INTERVAL_ANSWERED,
        };
        if self.begun_at.is_some_and(|begun_at| now.since(begun_at) < interval) {
            return AttemptOutput::Wait;
        }
        self.begun_at = Some(now);
        if self.running == AT_ONCE {
            return AttemptOutput::BeginInPlaceOfSecond;
        }
        self.running += 1;
        debug_assert!(self.running <= AT_ONCE);
        AttemptOutput::Begin
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(looks: u32) -> Monotonic {
        Monotonic::from_millis(0).after(Attempts::pause() * looks)
    }

    #[test]
    fn while_nothing_is_heard_an_attempt_begins_at_every_look_and_four_go_on() {
        let mut attempts = Attempts::default();

        let begun: Vec<_> = (0..6).map(|look| attempts.on_look(at(look), Heard::Nothing)).collect();

        assert_eq!(begun[..4], [AttemptOutput::Begin; 4]);
        assert_eq!(begun[4..], [AttemptOutput::BeginInPlaceOfSecond; 2]);
    }

    #[test]
    fn a_peer_that_answers_is_given_two_seconds() {
        let mut attempts = Attempts::default();
        attempts.on_look(at(0), Heard::Nothing);

        let waits = (1..).take_while(|look| {
            attempts.on_look(at(*look), Heard::Something) == AttemptOutput::Wait
        });

        assert_eq!(waits.count(), 6, "1.8 s of looks");
    }
}
