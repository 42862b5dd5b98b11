//! Events in the order of virtual time.

use std::collections::BTreeMap;
use std::time::Duration;

use headland_event::{Lane, Monotonic};
use region_hub::peer_link::LinkId;

use super::names::{Called, PEERS};
use super::schedule::Cut;
use super::topology::{CopyOf, NodeId};

/// Which start of a node; what a former one asked for no longer concerns it.
pub(super) type Life = u64;

/// Something that happens at a moment.
#[derive(Debug, Clone, Copy)]
pub(super) enum Event {
    /// The first frame of a lane arrives.
    Deliver { link_id: LinkId, from: usize, lane: Lane },
    /// A datagram arrives.
    Datagram { link_id: LinkId, from: usize, number: u64 },
    /// The disk has finished a group of commits.
    Disk(NodeId, Life),
    /// A node wants to be told the time.
    Timer(NodeId, Life, Monotonic),
    /// An attempt to connect has an answer.
    Dialled { from: NodeId, to: usize, index: usize, life: Life, attempt: u64 },
    /// One end of a connection learns that it is over.
    Lost { link_id: LinkId, end: usize },
    /// One end of a connection closes it, once what was sent is written.
    HangUp { link_id: LinkId, end: usize },
    /// An agent's files have grown.
    Grown(usize),
    /// A node loses its power.
    Crash(NodeId),
    /// A node's disk is copied.
    Backup(NodeId),
    /// A node's disk is lost.
    DiskLost(NodeId),
    /// A node's disk is as it was when it was copied, without its identity.
    Restored(NodeId),
    /// A hub is asked to exclude what another one was before it went back to a backup.
    Exclude { by: usize, former: usize },
    /// A node's data directory is copied, its identity included.
    Copy(NodeId, CopyOf),
    /// What runs on a node's data directory ends, and the same on its copy begins.
    Swap(NodeId),
    /// A hub is asked to have a region take in nothing new.
    Drain { by: usize, region: usize },
    /// The hub of a drained region is asked to say where its logs end.
    Seal(usize),
    /// The hub of a sealed region is started from a copy of its disk, as another life.
    Renew(usize),
    /// A hub is stopped, and calls other regions something else from its next start on.
    Rename(usize, [Called; PEERS]),
    /// A group reads on at a hub.
    Read(usize),
    /// A node starts.
    Start(NodeId),
    /// A region is cut off.
    Cut(usize, Cut),
    /// A region is reachable again.
    Heal(usize),
    /// A node loses one of its connections.
    Loss(NodeId),
}

/// Events by time, then by the order in which they were put down.
#[derive(Debug, Default)]
pub(super) struct Agenda {
    now: Monotonic,
    events: BTreeMap<(Monotonic, u64), Event>,
    next: u64,
}

impl Agenda {
    pub(super) const fn now(&self) -> Monotonic {
        self.now
    }

    pub(super) fn after(&mut self, delay: Duration, event: Event) {
        self.at(self.now.after(delay), event);
    }

    /// Puts an event down; one of the past happens now.
    pub(super) fn at(&mut self, at: Monotonic, event: Event) {
        self.events.insert((at.max(self.now), self.next), event);
        self.next += 1;
    }

    /// The next event; time advances to it.
    pub(super) fn next(&mut self) -> Option<Event> {
        let ((at, _), event) = self.events.pop_first()?;
        debug_assert!(at >= self.now, "time only advances");
        self.now = at;
        Some(event)
    }
}
