//! How much is acknowledged at once beyond what the path delivers meanwhile.

use headland_event::Monotonic;

/// Rounds for which a turn is remembered, at least; twice as many at most: Linux' bbr has these.
const ROUNDS: u32 = 5;

/// The most bytes that came together lately although the path could not have delivered them so
/// fast: they had waited for their turn on a radio, or on a busy machine.
///
/// # Source
/// The estimator of aggregated acknowledgements that Linux' `tcp_bbr.c` has since 5.1.
#[derive(Debug, Clone, Default)]
pub(super) struct Turns {
    since: Option<Monotonic>,
    acked: u64,
    current: u64,
    former: u64,
    rounds: u32,
}

impl Turns {
    /// `acked` bytes came at `now` over a path that delivers `rate` bytes per second.
    pub(super) fn on_acked(&mut self, now: Monotonic, acked: u64, rate: u64) {
        let since = *self.since.get_or_insert(now);
        let mut expected = super::times(rate, now.since(since));
        if self.acked <= expected {
            (self.since, self.acked, expected) = (Some(now), 0, 0);
        }
        self.acked = self.acked.saturating_add(acked);
        self.current = self.current.max(self.acked.saturating_sub(expected));
    }

    /// A round is over.
    pub(super) const fn on_round(&mut self) {
        self.rounds += 1;
        if self.rounds == ROUNDS {
            self.former = std::mem::replace(&mut self.current, 0);
            self.rounds = 0;
        }
    }

    /// Bytes; 0 where acknowledgements come as the path delivers.
    pub(super) fn bytes(&self) -> u64 {
        self.current.max(self.former)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Acknowledges what a path of 1,000,000 bytes per second delivers, every `turn` milliseconds.
    fn after(turn: u64) -> Turns {
        let mut turns = Turns::default();
        for now in (0..1_000).step_by(usize::try_from(turn).unwrap()) {
            turns.on_acked(Monotonic::from_millis(now), turn * 1_000, 1_000_000);
        }
        turns
    }

    #[test]
    fn what_comes_in_one_turn_is_what_counts() {
        assert_eq!(after(1).bytes(), 1_000);
        assert_eq!(after(20).bytes(), 20_000);
    }

    #[test]
    fn a_turn_is_forgotten_after_ten_rounds() {
        let mut turns = after(20);

        (0..9).for_each(|_| turns.on_round());
        assert_eq!(turns.bytes(), 20_000);
        turns.on_round();

        assert_eq!(turns.bytes(), 0);
    }
}
