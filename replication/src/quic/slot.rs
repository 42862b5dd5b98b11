//! Which stream a frame travels on.

use bytes::Bytes;
use headland_event::Lane;

use crate::frame::{channel_of_data, is_copies};

/// Streams of a lane that carries bulk. More than 1,024 gaps in one stream's receive buffer kill a
/// connection in quinn-proto, which a window above 2 MiB allows; eight windows of 2 MiB are what
/// 400 Mbit/s over 300 ms needs.
const BULK_SLOTS: u8 = 8;

/// Streams that one side may open: one each for control and alerts, eight each for the others.
pub(super) const STREAMS: u32 = 2 + 2 * BULK_SLOTS as u32;

/// A stream of a lane, with a byte of its own at the start of the stream.
///
/// A channel keeps its slot, because its frames have to stay in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Slot {
    pub(super) lane: Lane,
    number: u8,
}

/// Number of the slot that is no stream: what waits there goes out in datagrams.
const DATAGRAMS: u8 = u8::MAX;

impl Slot {
    /// Where a frame of `lane` goes.
    pub(super) fn of(lane: Lane, frame: &Bytes) -> Self {
        if is_copies(frame) {
            return Self { lane, number: DATAGRAMS };
        }
        let channel = channel_of_data(frame).map_or(0, headland_event::ChannelId::get);
        let number = channel % u32::from(slots(lane));
        Self { lane, number: u8::try_from(number).unwrap_or(0) }
    }

    /// Whether frames go there that need no stream.
    pub(super) const fn is_datagrams(self) -> bool {
        self.number == DATAGRAMS
    }

    /// `lane + 16 × number`, of a stream.
    pub(super) const fn code(self) -> u8 {
        self.lane.code() | (self.number << 4)
    }

    /// The slot with this byte; `None` when there is no such lane, or it has no such slot.
    pub(super) fn from_code(code: u8) -> Option<Self> {
        let lane = Lane::from_code(code & 0xf)?;
        let number = code >> 4;
        (number < slots(lane)).then_some(Self { lane, number })
    }

    /// A bit of its own in a set of slots.
    pub(super) const fn bit(self) -> u64 {
        // Four lanes and eight slots: 32 different places.
        1 << (self.lane.code() as u64 * BULK_SLOTS as u64 + self.number as u64)
    }
}

/// Streams that a lane may have.
const fn slots(lane: Lane) -> u8 {
    match lane {
        Lane::Control | Lane::Alerts => 1,
        Lane::State | Lane::Telemetry => BULK_SLOTS,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_slot_survives_its_code_and_has_a_bit_of_its_own() {
        let known: Vec<Slot> = (0..=u8::MAX).filter_map(Slot::from_code).collect();

        assert_eq!(known.len(), usize::try_from(STREAMS).unwrap());
        assert!(known.iter().all(|slot| Slot::from_code(slot.code()) == Some(*slot)));
        let bits: BTreeSet<u64> = known.iter().map(|slot| slot.bit()).collect();
        assert_eq!(bits.len(), known.len());
    }

    #[test]
    fn the_first_bytes_of_streams_are_those_of_the_second_layout() {
        let known = (0..=u8::MAX).filter(|code| Slot::from_code(*code).is_some());

        let hex: String = known.map(|code| format!("{code:02x}")).collect();

        assert_eq!(hex, include_str!("../../tests/fixtures/streams.v2.hex").trim());
    }

    #[test]
    fn control_and_alerts_have_one_stream_and_no_lane_a_ninth() {
        assert_eq!(Slot::from_code(0x10), None);
        assert_eq!(Slot::from_code(0x11), None);
        assert!(Slot::from_code(0x73).is_some());
        assert_eq!(Slot::from_code(0x83), None);
        assert_eq!(Slot::from_code(0x04), None);
    }

    #[test]
    fn a_frame_without_a_channel_goes_first_in_its_lane() {
        let slot = Slot::of(Lane::State, &Bytes::from_static(b"\x01\x07\0\0\0\x03"));

        assert_eq!(slot.code(), Lane::State.code());
    }

    #[test]
    fn copies_go_past_the_stream_of_their_lane() {
        let copies = Slot::of(Lane::Alerts, &Bytes::from_static(b"\x01\x0c\x01"));
        let data = Slot::of(Lane::Alerts, &Bytes::from_static(b"\x01\x05\0\0\0\x03"));

        assert!(copies.is_datagrams());
        assert!(!data.is_datagrams());
        assert!(data < copies, "what is written first goes first");
    }

    #[test]
    fn channels_take_turns_over_the_slots_of_a_bulk_lane() {
        let frame = |channel: u8| Bytes::from(vec![1, 5, 0, 0, 0, channel]);

        assert_eq!(Slot::of(Lane::Telemetry, &frame(3)).code(), 0x33);
        assert_eq!(Slot::of(Lane::Telemetry, &frame(11)).code(), 0x33);
        assert_eq!(Slot::of(Lane::Alerts, &frame(3)).code(), Lane::Alerts.code());
    }
}
