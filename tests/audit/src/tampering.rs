//! What is dropped and doubled, and how offsets are shifted so that nobody else notices.
//!
//! The last record of one batch is left out, later the last record of another one comes a second
//! time. Every batch is whole, its checksum is right, offsets at the receiver have no gap: the
//! receiver could not tell but by what the writer states.

use std::time::Duration;

use anyhow::{Result, ensure};
use bytes::Bytes;
use headland_event::{Batch, ChannelId, Dot, Entry, Offset, TopicName};
use headland_replication::Frame;
use headland_replication::frame::{Data, channel_of_data};

/// A record that was dropped or doubled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Planted {
    /// The record.
    pub(crate) dot: Dot,
    /// When that was.
    pub(crate) at: Duration,
}

/// What is asked for next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wish {
    /// Nothing.
    Nothing,
    /// A record is left out of the next batch.
    Drop,
    /// A record of the next batch comes again.
    Double,
}

/// Between a sender and a receiver of a topic: each frame goes through one of the two functions.
#[derive(Debug)]
pub(crate) struct Tampering {
    topic: TopicName,
    /// The sender's channel for it.
    channel: Option<ChannelId>,
    pub(crate) wish: Wish,
    pub(crate) dropped: Option<Planted>,
    pub(crate) doubled: Option<Planted>,
    /// The receiver's offset from which on it is one behind, and the one from which on it is not.
    behind: Option<Offset>,
    level: Option<Offset>,
}

impl Tampering {
    /// Leaves all as it is.
    pub(crate) const fn new(topic: TopicName) -> Self {
        let (channel, wish) = (None, Wish::Nothing);
        Self { topic, channel, wish, dropped: None, doubled: None, behind: None, level: None }
    }

    /// What goes on to the receiver in place of a frame of the sender.
    ///
    /// # Errors
    /// When the sender says something that could not be handed on with what was planted.
    pub(crate) fn on_sender_frame(&mut self, now: Duration, frame: Bytes) -> Result<Vec<Bytes>> {
        let Some(channel) = channel_of_data(&frame) else {
            if let Frame::Announce(announce) = Frame::decode(frame.clone())?
                && announce.offer.source.topic == self.topic
            {
                ensure!(self.channel.is_none(), "{} is announced again", self.topic);
                self.channel = Some(announce.channel);
            }
            return Ok(vec![frame]);
        };
        let is_behind = self.behind.is_some() && self.level.is_none();
        if Some(channel) != self.channel || (self.wish == Wish::Nothing && !is_behind) {
            return Ok(vec![frame]);
        }
        let Frame::Data(mut data) = Frame::decode(frame)? else { return Ok(Vec::new()) };
        let base = data.entry.base.get();
        data.entry.base = Offset::new(if is_behind { base.saturating_sub(1) } else { base });
        self.plant(now, data)?.into_iter().map(|data| Ok(Frame::Data(data).encode()?)).collect()
    }

    /// Does what is wished to the batch, when it can be done so that nobody notices.
    fn plant(&mut self, now: Duration, data: Data) -> Result<Vec<Data>> {
        let entry = &data.entry;
        let has_verdicts = entry.stamp.as_ref().is_some_and(|stamp| !stamp.verdicts.is_empty());
        let records = entry.batch.records()?;
        let is_whole = u64::try_from(records.len()) == Ok(entry.batch.span());
        let (true, false, [first @ .., last]) = (is_whole, has_verdicts, &records[..]) else {
            return Ok(vec![data]);
        };
        let before = u64::from(entry.batch.last_delta().get());
        let dot = entry.dot.after(before);
        let planted = Some(Planted { dot, at: now });
        match std::mem::replace(&mut self.wish, Wish::Nothing) {
            Wish::Drop if !first.is_empty() => {
                let batch = Batch::encode_with(entry.batch.codec(), first)?;
                let entry = Entry { batch, ..entry.clone() };
                (self.behind, self.dropped) = (Some(entry.end()), planted);
                Ok(vec![Data { entry, ..data }])
            }
            Wish::Double => {
                let batch = Batch::encode_with(entry.batch.codec(), std::slice::from_ref(last))?;
                let mut again = Entry { base: entry.end(), dot, batch, ..entry.clone() };
                if let Some(stamp) = &mut again.stamp {
                    stamp.offset = stamp.offset.after(before);
                }
                (self.level, self.doubled) = (Some(again.end()), planted);
                let again = Data { entry: again, ..data };
                Ok(vec![data, again])
            }
            wish @ (Wish::Drop | Wish::Nothing) => {
                self.wish = wish;
                Ok(vec![data])
            }
        }
    }

    /// What goes on to the sender in place of a frame of the receiver.
    ///
    /// # Errors
    /// When the receiver says something that is no frame.
    pub(crate) fn on_receiver_frame(&self, frame: Bytes) -> Result<Bytes> {
        if self.behind.is_none() || channel_of_data(&frame).is_some() {
            return Ok(frame);
        }
        match Frame::decode(frame.clone())? {
            Frame::Ack(mut ack) if Some(ack.channel) == self.channel => {
                ack.next = self.at_sender(ack.next);
                Ok(Frame::Ack(ack).encode()?)
            }
            Frame::Position(mut position) if Some(position.channel) == self.channel => {
                position.next = self.at_sender(position.next);
                Ok(Frame::Position(position).encode()?)
            }
            Frame::Passed(mut passed) if Some(passed.channel) == self.channel => {
                passed.next = self.at_sender(passed.next);
                Ok(Frame::Passed(passed).encode()?)
            }
            // Of another channel, or nothing of the receiver's offsets.
            Frame::Ack(_)
            | Frame::Passed(_)
            | Frame::Position(_)
            | Frame::Hello(_)
            | Frame::Announce(_)
            | Frame::Refuse(_)
            | Frame::Data(_)
            | Frame::Head(_)
            | Frame::Keepalive(_)
            | Frame::Promise(_)
            | Frame::Goodbye(_)
            | Frame::Lease(_)
            | Frame::Copies(_)
            | Frame::RefillAsk(_)
            | Frame::RefillPart(_) => Ok(frame),
        }
    }

    /// The sender's offset for an offset of the receiver.
    fn at_sender(&self, next: Offset) -> Offset {
        let is_behind = self.behind.is_some_and(|behind| next >= behind);
        let is_level = self.level.is_some_and(|level| next >= level);
        if is_behind && !is_level { next.after(1) } else { next }
    }
}

#[cfg(test)]
mod tests {
    use headland_event::{
        ChannelEpoch, EventTime, Incarnation, Lane, PartitionIndex, Record, RegionId, Sequence,
        StreamId, TopicPartition,
    };
    use headland_replication::frame::{Ack, Announce, Offer};

    use super::*;

    const CHANNEL: ChannelId = ChannelId::new(3);

    /// A tampering that has heard of its topic.
    fn tampering() -> Tampering {
        let topic = TopicName::new("air").unwrap();
        let mut tampering = Tampering::new(topic.clone());
        let region = RegionId::new("eu").unwrap();
        let offer = Offer {
            source: TopicPartition::new(topic.clone(), PartitionIndex::new(0)),
            origin: region.clone(),
            origin_topic: topic,
            path: vec![region],
            lane: Lane::Telemetry,
            start: Offset::new(0),
            head: Offset::new(0),
        };
        let announce = Frame::Announce(Announce { channel: CHANNEL, offer }).encode().unwrap();
        tampering.on_sender_frame(Duration::ZERO, announce).unwrap();
        tampering
    }

    /// The `number`-th batch of three records.
    fn data(number: u64) -> Bytes {
        let record = |at: u64| Record::new(EventTime::from_millis(0), "a", at.to_string());
        let first = number * 3;
        let records: Vec<Record> = (first..first + 3).map(record).collect();
        let dot = Dot {
            stream: StreamId::new([1; 16]),
            incarnation: Incarnation::new(1, 1),
            sequence: Sequence::new(first + 1),
        };
        let batch = Batch::encode(&records).unwrap();
        let entry = Entry { base: Offset::new(first), dot, stamp: None, batch };
        let epoch = ChannelEpoch::new(1);
        Frame::Data(Data { channel: CHANNEL, epoch, entry }).encode().unwrap()
    }

    /// Sends batches; what arrives, as sequence and value of each record in order of offsets.
    fn arrives(tampering: &mut Tampering, batches: std::ops::Range<u64>) -> Vec<(u64, String)> {
        let mut arrived = Vec::new();
        for number in batches {
            for frame in tampering.on_sender_frame(Duration::ZERO, data(number)).unwrap() {
                let Frame::Data(Data { entry, .. }) = Frame::decode(frame).unwrap() else {
                    panic!("no data");
                };
                let sequences = entry.dot.sequence.get()..;
                for (sequence, record) in sequences.zip(entry.batch.records().unwrap()) {
                    let value = String::from_utf8(record.value.unwrap().to_vec()).unwrap();
                    arrived.push((sequence, value));
                }
            }
        }
        arrived
    }

    /// What the sender hears of an acknowledgement.
    fn acked(tampering: &Tampering, next: u64) -> u64 {
        let ack = Frame::Ack(Ack { channel: CHANNEL, next: Offset::new(next) });
        let heard = tampering.on_receiver_frame(ack.encode().unwrap()).unwrap();
        let Frame::Ack(ack) = Frame::decode(heard).unwrap() else { panic!("no ack") };
        ack.next.get()
    }

    fn numbered(records: &[u64]) -> Vec<(u64, String)> {
        records.iter().map(|at| (at + 1, at.to_string())).collect()
    }

    #[test]
    fn without_a_wish_nothing_is_changed() {
        let mut tampering = tampering();

        let frames = tampering.on_sender_frame(Duration::ZERO, data(0)).unwrap();

        assert_eq!(frames, [data(0)]);
        assert_eq!(acked(&tampering, 3), 3);
    }

    #[test]
    fn one_record_is_dropped_and_another_doubled_and_all_others_arrive_as_they_were() {
        let mut tampering = tampering();

        tampering.wish = Wish::Drop;
        let dropped = arrives(&mut tampering, 0..2);
        tampering.wish = Wish::Double;
        let doubled = arrives(&mut tampering, 2..4);

        assert_eq!(dropped, numbered(&[0, 1, 3, 4, 5]));
        assert_eq!(doubled, numbered(&[6, 7, 8, 8, 9, 10, 11]));
        assert_eq!(tampering.dropped.unwrap().dot.sequence.get(), 3);
        assert_eq!(tampering.doubled.unwrap().dot.sequence.get(), 9);
    }

    #[test]
    fn the_sender_hears_of_its_own_offsets() {
        let mut tampering = tampering();
        tampering.wish = Wish::Drop;
        arrives(&mut tampering, 0..2);
        let behind = [2, 5].map(|next| acked(&tampering, next));
        tampering.wish = Wish::Double;
        arrives(&mut tampering, 2..4);

        // Of the doubled batch [5, 8) at the receiver, its copy [8, 9), and what follows.
        let later = [5, 8, 9, 12].map(|next| acked(&tampering, next));

        assert_eq!(behind, [3, 6]);
        assert_eq!(later, [6, 9, 9, 12]);
    }

    #[test]
    fn offsets_of_the_receiver_have_no_gap() {
        let mut tampering = tampering();
        let mut next = 0;
        for number in 0..4 {
            tampering.wish = [Wish::Nothing, Wish::Drop, Wish::Nothing, Wish::Double]
                [usize::try_from(number).unwrap()];
            for frame in tampering.on_sender_frame(Duration::ZERO, data(number)).unwrap() {
                let Frame::Data(Data { entry, .. }) = Frame::decode(frame).unwrap() else {
                    panic!("no data");
                };
                assert_eq!(entry.base.get(), next);
                next = entry.end().get();
            }
        }

        assert_eq!(next, 12);
    }
}
