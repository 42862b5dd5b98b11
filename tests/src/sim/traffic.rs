//! Frames on their way, and connections from the first attempt to their end.

use std::time::Duration;

use bytes::Bytes;
use headland_event::{ByteCount, Lane, Random};
use headland_replication::frame::is_copies;
use headland_replication::{Dialled, Frame};
use region_hub::peer_link::LinkId;
use sha2::Digest;

use super::agenda::{Event, Life};
use super::planted_fault::Planted;
use super::topology::{Disks, NodeId, spiffe_id};
use super::witness::Acknowledged;
use super::world::World;

impl World {
    /// Takes a frame that a node sends; those who listen hear it, and who tampers gets it.
    pub(super) fn send(&mut self, node: NodeId, link_id: LinkId, lane: Lane, frame: Bytes) {
        self.trace.update(&frame);
        let Some(connection) = self.network.connections.get_mut(&link_id) else { return };
        let from = connection.end_of(node);
        let is_there = connection.is_up[1 - from];
        let size = ByteCount::new(u64::try_from(frame.len()).unwrap());
        let mut frames = vec![frame.clone()];
        if lane == Lane::Control || self.tampering.is_on_the_way() {
            let decoded = Frame::decode(frame).expect("a node sends frames");
            let said = self.witness.hear(connection, from, &decoded);
            if self.tampering.is_on_the_way() {
                let tampered = self.tampering.frames(self.agenda.now(), connection, from, decoded);
                frames = tampered.iter().map(|frame| frame.encode().unwrap()).collect();
            }
            // Who is told of a former life's log, which is gone, is not there any more.
            let is_heard = is_there || self.settings.disks == Disks::Stay;
            if let Some(said) = said.filter(|_| is_heard) {
                self.on_acknowledged(said);
            }
        }
        for frame in frames {
            self.put(link_id, from, lane, frame);
        }
        if self.tampering.is_on_the_way() {
            // However many frames arrive, the sender has written one.
            self.written(node, link_id, lane, size);
        }
    }

    /// Puts a datagram on its way: one of four is lost, one of four comes twice.
    fn put_datagram(&mut self, link_id: LinkId, from: usize, frame: &Bytes) {
        let times = [0, 1, 1, 2][usize::try_from(self.random.below(4)).unwrap()];
        for _ in 0..times {
            let delay = self.delay(1, 300);
            let Some(connection) = self.network.connections.get_mut(&link_id) else { return };
            let number = connection.hold_datagram(frame.clone());
            self.agenda.after(delay, Event::Datagram { link_id, from, number });
        }
        if !self.tampering.is_on_the_way() {
            let node = self.network.connections[&link_id].ends[from];
            let size = ByteCount::new(u64::try_from(frame.len()).unwrap());
            self.written(node, link_id, Lane::Alerts, size);
        }
    }

    /// Puts a frame on its way, behind those before it on its lane.
    fn put(&mut self, link_id: LinkId, from: usize, lane: Lane, frame: Bytes) {
        if is_copies(&frame) {
            self.put_datagram(link_id, from, &frame);
            return;
        }
        let is_far = {
            let ends = self.network.connections[&link_id].ends;
            ends.iter().all(|end| matches!(end, NodeId::Hub(_)))
        };
        let delay = if is_far { self.delay(5, 120) } else { self.delay(1, 15) };
        let arrives = self.agenda.now().after(delay);
        let Some(connection) = self.network.connections.get_mut(&link_id) else { return };
        let queue = connection.lane(from, lane);
        queue.frames.push_back(frame);
        queue.last = queue.last.max(arrives);
        self.agenda.at(queue.last, Event::Deliver { link_id, from, lane });
    }

    pub(super) fn deliver(&mut self, link_id: LinkId, from: usize, lane: Lane) {
        let Some(mut frame) = self.network.arrive(link_id, from, lane) else { return };
        let connection = &self.network.connections[&link_id];
        let (ends, is_up) = (connection.ends, connection.is_up);
        let size = ByteCount::new(u64::try_from(frame.len()).unwrap());
        if self.tampering.planted == Planted::LatenessOnArrival {
            frame = self.tampering.judged_anew(connection, from, frame);
        }
        if is_up[from] && !self.tampering.is_on_the_way() {
            self.written(ends[from], link_id, lane, size);
        }
        if is_up[1 - from] {
            self.hear(link_id, from, lane, &frame);
            self.hand_over(ends[1 - from], link_id, lane, frame);
        }
    }

    /// Takes note of what an agent that was copied hears of what a hub has.
    fn hear(&mut self, link_id: LinkId, from: usize, lane: Lane, frame: &Bytes) {
        let connection = &self.network.connections[&link_id];
        let NodeId::Agent(agent) = connection.ends[1 - from] else { return };
        let is_copied = self.settings.copied.is_some_and(|(copied, _)| copied == agent);
        if !is_copied || lane != Lane::Control || self.uplinks[agent] != Some(link_id) {
            return;
        }
        let frame = Frame::decode(frame.clone()).expect("a hub sends frames");
        let Some(said) = Acknowledged::of(connection, from, &frame) else { return };
        let told = self.agents[agent].told.entry(said.partition).or_default();
        *told = said.next.max(*told);
    }

    pub(super) fn deliver_datagram(&mut self, link_id: LinkId, from: usize, number: u64) {
        let Some(frame) = self.network.arrive_datagram(link_id, from, number) else { return };
        let connection = &self.network.connections[&link_id];
        let (to, is_up) = (connection.ends[1 - from], connection.is_up[1 - from]);
        if is_up {
            self.hand_over(to, link_id, Lane::Alerts, frame);
        }
    }

    fn hand_over(&mut self, to: NodeId, link_id: LinkId, lane: Lane, frame: Bytes) {
        match to {
            NodeId::Hub(hub) => {
                self.feed_hub(hub, |node, now| node.on_frame(now, link_id, lane, frame));
            }
            NodeId::Agent(agent) if self.uplinks[agent] == Some(link_id) => {
                self.feed_agent(agent, |node, now| node.on_frame(now, lane, frame));
            }
            NodeId::Agent(_) => {}
        }
    }

    fn written(&mut self, node: NodeId, link_id: LinkId, lane: Lane, size: ByteCount) {
        match node {
            NodeId::Hub(hub) => {
                self.feed_hub(hub, |node, now| node.on_written(now, link_id, lane, size));
            }
            NodeId::Agent(agent) if self.uplinks[agent] == Some(link_id) => {
                self.feed_agent(agent, |node, now| node.on_written(now, lane, size));
            }
            NodeId::Agent(_) => {}
        }
    }

    pub(super) fn on_dialled(
        &mut self,
        (from, to): (NodeId, usize),
        index: usize,
        life: Life,
        attempt: u64,
    ) {
        let is_stale = match from {
            NodeId::Hub(hub) => self.hubs[hub].life != life || self.hubs[hub].running.is_none(),
            NodeId::Agent(agent) => {
                let is_other = self.agents[agent].life != life || self.attempts[agent] != attempt;
                is_other || self.agents[agent].running.is_none()
            }
        };
        if is_stale {
            return;
        }
        let target = NodeId::Hub(to);
        let reaches = self.network.reaches(from, target) && self.network.reaches(target, from);
        let connects = reaches && self.hubs[to].running.is_some();
        if !connects {
            match from {
                NodeId::Hub(hub) => {
                    self.feed_hub(hub, |node, now| node.on_dial_failed(now, index, "cut"));
                }
                NodeId::Agent(agent) => {
                    self.feed_agent(agent, edge_agent::Node::on_dial_failed);
                }
            }
            return;
        }
        let link_id = self.network.connect(from, target);
        match from {
            NodeId::Hub(hub) => {
                let id = spiffe_id(target);
                self.feed_hub(hub, |node, now| node.on_connected(now, link_id, &id, Dialled::Here));
            }
            NodeId::Agent(agent) => {
                if let Some(former) = self.uplinks[agent].replace(link_id) {
                    let end = self.network.connections[&former].end_of(from);
                    self.hang_up(former, end);
                }
                self.feed_agent(agent, |node, now| node.on_connected(now, index));
            }
        }
        let id = spiffe_id(from);
        self.feed_hub(to, |node, now| node.on_connected(now, link_id, &id, Dialled::There));
    }

    /// One end closes a connection; the other one hears of it unless a cut is in between.
    pub(super) fn hang_up(&mut self, link_id: LinkId, closing: usize) {
        let Some(connection) = self.network.connections.get(&link_id) else { return };
        let ends = connection.ends;
        for end in [0, 1] {
            if end == closing || self.network.reaches(ends[closing], ends[end]) {
                let delay = self.delay(1, 40);
                self.agenda.after(delay, Event::Lost { link_id, end });
            }
        }
    }

    /// An end learns that its connection is over.
    pub(super) fn lose(&mut self, link_id: LinkId, end: usize) {
        let Some(connection) = self.network.connections.get(&link_id) else { return };
        let (node, is_up) = (connection.ends[end], connection.is_up[end]);
        self.network.leave(link_id, end);
        if !is_up {
            return;
        }
        match node {
            NodeId::Hub(hub) => {
                self.feed_hub(hub, |node, now| node.on_disconnected(now, link_id));
            }
            NodeId::Agent(agent) if self.uplinks[agent] == Some(link_id) => {
                self.uplinks[agent] = None;
                self.feed_agent(agent, edge_agent::Node::on_disconnected);
            }
            NodeId::Agent(_) => {}
        }
    }

    /// A node wants to close a connection.
    pub(super) fn close(&mut self, node: NodeId, link_id: LinkId) {
        let Some(connection) = self.network.connections.get(&link_id) else { return };
        let end = connection.end_of(node);
        // Longer than any frame takes: what was sent is written before the connection ends.
        self.agenda.after(Duration::from_millis(200), Event::HangUp { link_id, end });
    }
}
