//! What a sender offers: one partition, where it came from and how far it reaches.

use headland_event::codec::{CodecError, Reader, Writer};
use headland_event::{
    ChannelId, Lane, Offset, PartitionIndex, RegionId, TopicName, TopicPartition,
};

use super::unknown_code;

/// Most regions on a topic's path: the diameter of the largest mesh one operates by hand.
///
/// A longer path is not offered, and refused when it is: a loop of renames would end there.
pub const HOPS_LIMIT: usize = 8;

/// One partition that a sender offers, with the truth about where it came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offer {
    /// The partition, under the sender's name for its topic.
    pub source: TopicPartition,
    /// The region whose hub wrote it first; an agent's own region for an agent's topic.
    pub origin: RegionId,
    /// The topic's name there.
    pub origin_topic: TopicName,
    /// Regions whose hubs hold it on the way, origin first and the sender's last; empty from an
    /// agent. At most [`HOPS_LIMIT`].
    pub path: Vec<RegionId>,
    /// The lane of its data, for life; never [`Lane::Control`].
    pub lane: Lane,
    /// The first offset the sender still holds.
    pub start: Offset,
    /// The offset after the last record the sender holds.
    pub head: Offset,
}

/// An offer under the number by which both sides speak of it on this connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Announce {
    /// The channel; the sender numbers its channels from 0 without gaps.
    pub channel: ChannelId,
    /// What is offered.
    pub offer: Offer,
}

impl Announce {
    pub(super) fn write(&self, writer: &mut Writer) {
        let Self { channel, offer } = self;
        let Offer { source, origin, origin_topic, path, lane, start, head } = offer;
        debug_assert!(path.len() <= HOPS_LIMIT, "a path is bounded when it is extended");
        writer.u32(channel.get());
        writer.name(source.topic.as_str());
        writer.u32(source.partition.get());
        writer.name(origin.as_str());
        writer.name(origin_topic.as_str());
        writer.u8(u8::try_from(path.len()).unwrap_or(u8::MAX));
        for region in path {
            writer.name(region.as_str());
        }
        writer.u8(lane.code());
        writer.u64(start.get());
        writer.u64(head.get());
    }

    pub(super) fn read(reader: &mut Reader) -> Result<Self, CodecError> {
        let channel = ChannelId::new(reader.u32("channel")?);
        let topic = reader.name("topic")?;
        let source = TopicPartition::new(topic, PartitionIndex::new(reader.u32("partition")?));
        let origin = reader.name("origin")?;
        let origin_topic = reader.name("origin topic")?;
        let path = read_path(reader)?;
        let lane = read_lane(reader)?;
        let start = Offset::new(reader.u64("start")?);
        let head = Offset::new(reader.u64("head")?);
        let offer = Offer { source, origin, origin_topic, path, lane, start, head };
        Ok(Self { channel, offer })
    }
}

fn read_path(reader: &mut Reader) -> Result<Vec<RegionId>, CodecError> {
    let at = reader.position();
    let hops = reader.u8("hops")?;
    if usize::from(hops) > HOPS_LIMIT {
        return Err(unknown_code("hops", at, hops, "at most 8"));
    }
    (0..hops).map(|_| reader.name("hop")).collect()
}

fn read_lane(reader: &mut Reader) -> Result<Lane, CodecError> {
    let at = reader.position();
    let code = reader.u8("lane")?;
    Lane::from_code(code)
        .filter(|lane| *lane != Lane::Control)
        .ok_or_else(|| unknown_code("lane", at, code, "1 (alerts) to 3 (telemetry)"))
}
