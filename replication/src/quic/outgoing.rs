//! Frames that wait to be written, of all lanes of one connection.
//!
//! One queue for all of them, which keeps nothing while nothing waits: a hub has thousands of
//! connections on which little is said, and a channel for each lane would keep room for 32 frames
//! each.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::Notify;

use super::by_slot::BySlot;
use super::close::Farewell;
use super::lanes::SendError;
use super::slot::Slot;

/// Most frames that wait on a lane: every channel's announcement and more answers than the link
/// leaves unwritten. A link within its own bounds never gets there.
pub(super) const LANE_FRAMES_LIMIT: usize = 32_768;

/// What both ends see.
#[derive(Debug, Default)]
struct Shared {
    waiting: Mutex<Waiting>,
    /// A frame was added, or the last word was said.
    changed: Notify,
    /// The last word was said.
    closed: Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    /// Only slots with a frame.
    slots: BySlot<VecDeque<Bytes>>,
    /// What is said at the end, once no more frames follow.
    farewell: Option<Farewell>,
    /// Nobody takes frames any more.
    is_over: bool,
}

impl Shared {
    /// What waits; whole after a panic too, as each change is one step.
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An empty queue.
pub(super) fn queue() -> (Incoming, Outgoing) {
    let shared = Arc::<Shared>::default();
    (Incoming(Arc::clone(&shared)), Outgoing(shared))
}

/// Where frames are added. Dropping it says the default farewell.
#[derive(Debug)]
pub(super) struct Incoming(Arc<Shared>);

impl Incoming {
    /// Adds a frame behind those of its slot. Cost: O(slots of the connection).
    ///
    /// # Errors
    /// [`SendError`] when the lane is full or nobody takes frames any more.
    pub(super) fn push(&self, slot: Slot, frame: Bytes) -> Result<(), SendError> {
        let lane = slot.lane;
        let mut waiting = self.0.waiting();
        if waiting.is_over {
            return Err(SendError::Closed { lane });
        }
        let of_lane = waiting.slots.iter().filter(|(slot, _)| slot.lane == lane);
        if of_lane.map(|(_, frames)| frames.len()).sum::<usize>() >= LANE_FRAMES_LIMIT {
            return Err(SendError::Full { lane, limit: LANE_FRAMES_LIMIT });
        }
        match waiting.slots.get_mut(slot) {
            Some(frames) => frames.push_back(frame),
            None => waiting.slots.insert(slot, VecDeque::from([frame])),
        }
        drop(waiting);
        self.0.changed.notify_one();
        Ok(())
    }

    /// Says the last word.
    pub(super) fn close(&self, farewell: Farewell) {
        self.0.waiting().farewell.get_or_insert(farewell);
        self.0.changed.notify_one();
        self.0.closed.notify_one();
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        self.close(Farewell::default());
    }
}

/// Where frames are taken. Dropping it lets those go that wait.
#[derive(Debug)]
pub(super) struct Outgoing(Arc<Shared>);

impl Outgoing {
    /// The frame of a slot that has waited longest.
    pub(super) fn take(&self, slot: Slot) -> Option<Bytes> {
        let mut waiting = self.0.waiting();
        let frames = waiting.slots.get_mut(slot)?;
        let frame = frames.pop_front();
        if frames.is_empty() {
            waiting.slots.remove(slot);
        }
        frame
    }

    /// The first slot with a frame, by lane, of those that are not left out.
    pub(super) fn first(&self, is_left_out: impl Fn(Slot) -> bool) -> Option<Slot> {
        let waiting = self.0.waiting();
        let mut slots = waiting.slots.iter().map(|(slot, _)| slot);
        slots.find(|slot| !is_left_out(*slot))
    }

    /// Waits for a frame or the last word; for one caller, which looks before it waits.
    ///
    /// # Cancel safety
    /// Nothing is lost.
    pub(super) async fn changed(&self) {
        self.0.changed.notified().await;
    }

    /// What is said at the end, once no frame follows those that wait.
    pub(super) fn farewell(&self) -> Option<Farewell> {
        self.0.waiting().farewell.clone()
    }

    /// Waits for the last word; for one caller.
    ///
    /// # Cancel safety
    /// Nothing is lost.
    pub(super) async fn closed(&self) -> Farewell {
        loop {
            if let Some(farewell) = self.farewell() {
                return farewell;
            }
            self.0.closed.notified().await;
        }
    }
}

impl Drop for Outgoing {
    fn drop(&mut self) {
        let mut waiting = self.0.waiting();
        waiting.is_over = true;
        waiting.slots.clear();
    }
}

#[cfg(test)]
mod tests {
    use headland_event::Lane;

    use super::*;
    use crate::quic::CloseCode;

    fn slot(lane: Lane, channel: u8) -> (Slot, Bytes) {
        let frame = Bytes::from(vec![1, 5, 0, 0, 0, channel]);
        (Slot::of(lane, &frame), frame)
    }

    #[test]
    fn frames_of_a_slot_keep_their_order_and_an_earlier_lane_goes_first() {
        let (incoming, outgoing) = queue();
        for (lane, channel) in [(Lane::State, 1), (Lane::State, 9), (Lane::Alerts, 1)] {
            let (slot, frame) = slot(lane, channel);
            incoming.push(slot, frame).unwrap();
        }

        let (alerts, _) = slot(Lane::Alerts, 1);
        let (state, first) = slot(Lane::State, 1);
        assert_eq!(outgoing.first(|_| false), Some(alerts));
        assert_eq!(outgoing.first(|slot| slot == alerts), Some(state));
        assert_eq!(outgoing.take(state), Some(first));
        assert_eq!(outgoing.take(state), Some(slot(Lane::State, 9).1));
        assert_eq!(outgoing.take(state), None);
        assert_eq!(outgoing.first(|slot| slot == alerts), None);
    }

    #[test]
    fn a_lane_is_bounded_over_all_its_slots_and_others_go_on() {
        let (incoming, outgoing) = queue();
        for at in 0..LANE_FRAMES_LIMIT {
            let (slot, frame) = slot(Lane::State, u8::try_from(at % 8).unwrap());
            incoming.push(slot, frame).unwrap();
        }

        let (state, frame) = slot(Lane::State, 1);
        let full = SendError::Full { lane: Lane::State, limit: LANE_FRAMES_LIMIT };
        assert_eq!(incoming.push(state, frame.clone()), Err(full));
        let (alerts, _) = slot(Lane::Alerts, 1);
        assert_eq!(incoming.push(alerts, frame.clone()), Ok(()));
        outgoing.take(state);
        assert_eq!(incoming.push(state, frame), Ok(()));
    }

    #[tokio::test]
    async fn the_first_farewell_holds_and_a_dropped_sender_says_the_default() {
        let (incoming, outgoing) = queue();
        assert_eq!(outgoing.farewell(), None);
        let stopping = Farewell { code: CloseCode::ShuttingDown, ..Farewell::default() };
        incoming.close(stopping.clone());
        drop(incoming);
        assert_eq!(outgoing.closed().await, stopping);

        let (incoming, outgoing) = queue();
        drop(incoming);
        assert_eq!(outgoing.closed().await, Farewell::default());
    }

    #[test]
    fn nothing_is_taken_in_once_nobody_writes() {
        let (incoming, outgoing) = queue();
        let (slot, frame) = slot(Lane::Control, 1);
        incoming.push(slot, frame.clone()).unwrap();

        drop(outgoing);

        assert_eq!(incoming.push(slot, frame), Err(SendError::Closed { lane: Lane::Control }));
        assert!(incoming.0.waiting().slots.is_empty());
    }
}
