//! Channels that wait for their turn.

use std::collections::BTreeSet;
use std::ops::Bound;

use headland_event::ChannelId;

/// Channels that wait for their turn, served round robin by number. Every step is O(log n).
#[derive(Debug, Clone, Default)]
pub(super) struct Ring {
    waiting: BTreeSet<ChannelId>,
    served: Option<ChannelId>,
}

/// Whether a channel waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Waiting {
    Yes,
    No,
}

impl Ring {
    /// Puts a channel in, or takes it out; doing so twice changes nothing.
    pub(super) fn set(&mut self, channel: ChannelId, waiting: Waiting) {
        match waiting {
            Waiting::Yes => self.waiting.insert(channel),
            Waiting::No => self.waiting.remove(&channel),
        };
    }

    /// The channel whose turn it is.
    pub(super) fn peek(&self) -> Option<ChannelId> {
        let after = self.served.map_or(Bound::Unbounded, Bound::Excluded);
        let next = self.waiting.range((after, Bound::Unbounded)).next();
        next.or_else(|| self.waiting.first()).copied()
    }

    /// Notes that a channel had its turn; the next in number is next.
    pub(super) const fn on_served(&mut self, channel: ChannelId) {
        self.served = Some(channel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waiting_channels_take_turns_and_a_removed_one_is_passed_over() {
        let mut ring = Ring::default();
        for channel in [4, 1, 9] {
            ring.set(ChannelId::new(channel), Waiting::Yes);
        }

        let mut turns = Vec::new();
        for _ in 0..5 {
            let channel = ring.peek().unwrap();
            ring.on_served(channel);
            turns.push(channel.get());
            ring.set(ChannelId::new(9), Waiting::No);
        }

        assert_eq!(turns, [1, 4, 1, 4, 1]);
    }
}
