//! What happens on a connection, on its way to the caller.
//!
//! A bounded queue that keeps room for what waits and no more: a channel of tokio's keeps blocks of
//! 32 places, and a hub has thousands of connections.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::lanes::LaneEvent;

/// Most events that wait for the caller. Each may be a frame of 1.1 MiB, so this bounds memory;
/// when it is reached, reading stops and QUIC's windows hold the peer back.
const EVENTS_LIMIT: usize = 8;

/// What both ends see.
#[derive(Debug, Default)]
struct Shared {
    waiting: Mutex<Waiting>,
    /// An event was added, or none follows.
    added: Notify,
    /// There is room, or nobody takes events any more.
    taken: Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    events: VecDeque<LaneEvent>,
    /// No event follows.
    is_complete: bool,
    /// Nobody takes events any more.
    is_over: bool,
}

impl Shared {
    /// What waits; whole after a panic too, as each change is one step.
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds an event if there is room, or drops it if nobody wants it; else gives it back.
    fn add(&self, event: LaneEvent) -> Option<LaneEvent> {
        let mut waiting = self.waiting();
        if waiting.is_over {
            return None;
        }
        if waiting.events.len() >= EVENTS_LIMIT {
            return Some(event);
        }
        waiting.events.push_back(event);
        drop(waiting);
        self.added.notify_one();
        None
    }
}

/// An empty queue.
pub(super) fn queue() -> (EventsIn, EventsOut) {
    let shared = Arc::<Shared>::default();
    (EventsIn(Arc::clone(&shared)), EventsOut(shared))
}

/// Where events are added. Dropping it says that none follows.
#[derive(Debug)]
pub(super) struct EventsIn(Arc<Shared>);

impl EventsIn {
    /// Adds an event when there is room; it is dropped when nobody takes events any more.
    ///
    /// # Cancel safety
    /// An event that had no room yet is lost.
    pub(super) async fn send(&self, event: LaneEvent) {
        let mut rest = self.0.add(event);
        while let Some(event) = rest {
            // Each event that is taken wakes one who waits here; whoever is woken adds an event,
            // which is taken in turn, so that all are woken sooner or later.
            self.0.taken.notified().await;
            rest = self.0.add(event);
            if self.0.waiting().is_over {
                self.0.taken.notify_one();
            }
        }
    }
}

impl Drop for EventsIn {
    fn drop(&mut self) {
        self.0.waiting().is_complete = true;
        self.0.added.notify_one();
    }
}

/// Where events are taken. Dropping it lets those go that wait.
#[derive(Debug)]
pub(super) struct EventsOut(Arc<Shared>);

impl EventsOut {
    /// The next event; `None` when none follows.
    ///
    /// # Cancel safety
    /// Nothing is lost.
    pub(super) async fn recv(&mut self) -> Option<LaneEvent> {
        loop {
            let (event, is_complete) = {
                let mut waiting = self.0.waiting();
                (waiting.events.pop_front(), waiting.is_complete)
            };
            if event.is_some() {
                self.0.taken.notify_one();
                return event;
            }
            if is_complete {
                return None;
            }
            self.0.added.notified().await;
        }
    }
}

impl Drop for EventsOut {
    fn drop(&mut self) {
        let mut waiting = self.0.waiting();
        waiting.is_over = true;
        waiting.events = VecDeque::new();
        drop(waiting);
        self.0.taken.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use headland_event::{ByteCount, Lane};

    use super::*;

    fn event(number: u64) -> LaneEvent {
        LaneEvent::Written { lane: Lane::State, bytes: ByteCount::new(number) }
    }

    #[tokio::test]
    async fn events_come_in_order_and_then_the_end() {
        let (sender, mut receiver) = queue();
        sender.send(event(1)).await;
        sender.send(event(2)).await;
        drop(sender);

        assert_eq!(receiver.recv().await, Some(event(1)));
        assert_eq!(receiver.recv().await, Some(event(2)));
        assert_eq!(receiver.recv().await, None);
        assert_eq!(receiver.recv().await, None);
    }

    #[tokio::test]
    async fn all_who_wait_for_room_get_it() {
        let (sender, mut receiver) = queue();
        let limit = u64::try_from(EVENTS_LIMIT).unwrap();
        for number in 0..limit {
            sender.send(event(number)).await;
        }
        assert_eq!(sender.0.add(event(limit)), Some(event(limit)));

        let waiting = async {
            tokio::join!(
                sender.send(event(limit)),
                sender.send(event(limit + 1)),
                sender.send(event(limit + 2)),
            );
            drop(sender);
        };
        let taking = async {
            let mut taken = Vec::new();
            while let Some(event) = receiver.recv().await {
                taken.push(event);
            }
            taken
        };
        let ((), taken) = tokio::join!(waiting, taking);

        // Those who wait take turns: each of them has a lane of its own.
        for number in 0..limit + 3 {
            assert!(taken.contains(&event(number)), "{number} is missing in {taken:?}");
        }
        assert_eq!(taken.len(), EVENTS_LIMIT + 3);
    }

    #[tokio::test]
    async fn nobody_waits_for_room_once_nobody_takes_events() {
        let (sender, receiver) = queue();
        for number in 0..8 {
            sender.send(event(number)).await;
        }

        let waiting = async {
            tokio::join!(sender.send(event(8)), sender.send(event(9)), sender.send(event(10)));
        };
        tokio::join!(waiting, async { drop(receiver) });

        sender.send(event(11)).await;
        assert!(sender.0.waiting().events.is_empty());
    }
}
