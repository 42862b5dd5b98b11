//! Connections, lanes and cuts.
//!
//! A lane keeps its order, lanes of a connection overtake each other. A cut holds frames back
//! instead of losing them, as QUIC does until one side gives the connection up. Datagrams are lost,
//! also to a cut, come twice and overtake everything.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use headland_event::{Lane, Monotonic, TopicPartition};
use region_hub::peer_link::LinkId;

use super::schedule::Cut;
use super::topology::NodeId;

/// One lane in one direction.
#[derive(Debug, Default)]
pub(super) struct Queue {
    pub(super) frames: VecDeque<Bytes>,
    /// When the last frame put in arrives.
    pub(super) last: Monotonic,
    /// Frames that would have arrived but for a cut.
    held: usize,
}

/// A connection between two nodes; end 0 has dialled.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) ends: [NodeId; 2],
    /// Whether the end still believes in the connection.
    pub(super) is_up: [bool; 2],
    lanes: [[Queue; 4]; 2],
    /// Datagrams on their way, by number.
    datagrams: BTreeMap<u64, Bytes>,
    datagrams_sent: u64,
    /// What each end has announced, by channel.
    pub(super) offers: [Vec<TopicPartition>; 2],
}

impl Connection {
    /// A lane from an end to the other one.
    pub(super) fn lane(&mut self, from: usize, lane: Lane) -> &mut Queue {
        &mut self.lanes[from][usize::from(lane.code())]
    }

    /// Keeps a datagram until it arrives; returns its number.
    pub(super) fn hold_datagram(&mut self, frame: Bytes) -> u64 {
        self.datagrams_sent += 1;
        self.datagrams.insert(self.datagrams_sent, frame);
        self.datagrams_sent
    }

    /// Which end a node is.
    pub(super) fn end_of(&self, node: NodeId) -> usize {
        self.ends.iter().position(|end| *end == node).expect("a node uses its own connections")
    }
}

/// Every connection, and which regions are cut off.
#[derive(Debug, Default)]
pub(super) struct Network {
    pub(super) connections: BTreeMap<LinkId, Connection>,
    cuts: BTreeMap<usize, Cut>,
    last: u64,
}

impl Network {
    /// Connects two nodes.
    pub(super) fn connect(&mut self, from: NodeId, to: NodeId) -> LinkId {
        self.last += 1;
        let link_id = LinkId::new(self.last);
        let connection = Connection {
            ends: [from, to],
            is_up: [true, true],
            lanes: Default::default(),
            datagrams: BTreeMap::new(),
            datagrams_sent: 0,
            offers: Default::default(),
        };
        self.connections.insert(link_id, connection);
        link_id
    }

    /// Whether frames from one node reach another. Cuts are between regions.
    pub(super) fn reaches(&self, from: NodeId, to: NodeId) -> bool {
        let (NodeId::Hub(from), NodeId::Hub(to)) = (from, to) else { return true };
        let leaves = !matches!(self.cuts.get(&from), Some(Cut::Both | Cut::Outgoing));
        leaves && !matches!(self.cuts.get(&to), Some(Cut::Both | Cut::Incoming))
    }

    pub(super) fn cut(&mut self, region: usize, cut: Cut) {
        self.cuts.insert(region, cut);
    }

    /// Ends a region's cut; returns the deliveries that were held back.
    pub(super) fn heal(&mut self, region: usize) -> Vec<(LinkId, usize, Lane)> {
        self.cuts.remove(&region);
        let mut held = Vec::new();
        let connections: Vec<LinkId> = self.connections.keys().copied().collect();
        for link_id in connections {
            for from in [0, 1] {
                let ends = self.connections[&link_id].ends;
                if !self.reaches(ends[from], ends[1 - from]) {
                    continue;
                }
                for lane in Lane::ALL {
                    let connection = self.connections.get_mut(&link_id).unwrap();
                    let count = std::mem::take(&mut connection.lane(from, lane).held);
                    held.extend((0..count).map(|_| (link_id, from, lane)));
                }
            }
        }
        held
    }

    /// The frame that arrives now, `None` when it is held back or nobody is there any more.
    pub(super) fn arrive(&mut self, link_id: LinkId, from: usize, lane: Lane) -> Option<Bytes> {
        let ends = self.connections.get(&link_id)?.ends;
        let reaches = self.reaches(ends[from], ends[1 - from]);
        let queue = self.connections.get_mut(&link_id)?.lane(from, lane);
        if reaches {
            return queue.frames.pop_front();
        }
        queue.held += 1;
        None
    }

    /// The datagram that arrives now, `None` when it is lost to a cut or nobody is there any more.
    pub(super) fn arrive_datagram(
        &mut self,
        link_id: LinkId,
        from: usize,
        number: u64,
    ) -> Option<Bytes> {
        let connection = self.connections.get_mut(&link_id)?;
        let frame = connection.datagrams.remove(&number)?;
        let ends = connection.ends;
        self.reaches(ends[from], ends[1 - from]).then_some(frame)
    }

    /// Connections that a node believes in.
    pub(super) fn of(&self, node: NodeId) -> Vec<LinkId> {
        let believes = |of: &Connection| {
            of.ends.iter().zip(of.is_up).any(|(end, is_up)| *end == node && is_up)
        };
        let connections = self.connections.iter();
        connections.filter(|(_, of)| believes(of)).map(|(link_id, _)| *link_id).collect()
    }

    /// One end no longer believes in the connection; without both it is gone.
    pub(super) fn leave(&mut self, link_id: LinkId, end: usize) {
        let Some(connection) = self.connections.get_mut(&link_id) else { return };
        connection.is_up[end] = false;
        if connection.is_up == [false, false] {
            self.connections.remove(&link_id);
        }
    }
}
