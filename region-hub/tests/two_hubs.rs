//! Two hubs that dial each other, over any round trip.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test's helpers are a test"
)]

use std::collections::VecDeque;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use headland_event::{Incarnation, Lane, Monotonic, Now};
use headland_platform::config;
use headland_platform::tls::SpiffeId;
use headland_replication::Dialled;
use headland_storage::{LogStore, MemoryDisk, MemoryStore, OpenOptions};
use region_hub::config::HubConfig;
use region_hub::node::LinkState;
use region_hub::peer_link::LinkId;
use region_hub::{Node, Output};

const REGIONS: [&str; 2] = ["eu", "us"];

fn hub(side: usize, seed: u64) -> (Node, MemoryStore) {
    let (region, peer) = (REGIONS[side], REGIONS[1 - side]);
    let text = format!(
        r#"
region = "{region}"
name = "hub-1"
data_dir = "none"
listen = {{ address = "127.0.0.1:1" }}
tls = {{ ca_file = "none", certificate_file = "none", key_file = "none" }}
api = {{ socket = "none" }}
[[peer]]
region = "{peer}"
name = "hub-1"
address = "none:1"
"#
    );
    let config = config::parse::<HubConfig>(Path::new("hub.toml"), text).unwrap().value;
    let store = MemoryStore::open(&MemoryDisk::new(seed), OpenOptions::new(seed)).unwrap();
    let life = Incarnation::new(1, seed);
    let log = (&store.reader(), &store);
    let node = Node::new(&config, &id_of(side), life, log, seed, Now::default()).unwrap();
    (node, store)
}

fn id_of(side: usize) -> SpiffeId {
    format!("spiffe://shop/region/{}/hub/hub-1", REGIONS[side]).parse().unwrap()
}

#[derive(Debug)]
enum Event {
    Connected { link_id: LinkId, dialler: usize },
    Frame { link_id: LinkId, lane: Lane, frame: Bytes },
    Lost { link_id: LinkId },
}

/// Both hubs and a network that takes the same time for everything.
struct World {
    now: Monotonic,
    one_way: Duration,
    hubs: [(Node, MemoryStore); 2],
    /// What reaches a side at a time, the earliest first.
    events: VecDeque<(Monotonic, usize, Event)>,
    dials: u64,
}

impl World {
    fn new(one_way: Duration) -> Self {
        let hubs = [hub(0, 11), hub(1, 12)];
        let (now, events) = (Monotonic::default(), VecDeque::new());
        let mut world = Self { now, one_way, hubs, events, dials: 0 };
        world.perform();
        world
    }

    fn after(&mut self, trips: u32, side: usize, event: Event) {
        let at = self.now.after(self.one_way * trips);
        let behind = self.events.iter().position(|(other, _, _)| *other > at);
        self.events.insert(behind.unwrap_or(self.events.len()), (at, side, event));
    }

    fn perform(&mut self) {
        for side in [0, 1] {
            while let Some(output) = self.hubs[side].0.poll_output() {
                self.do_one(side, output);
            }
        }
    }

    fn do_one(&mut self, side: usize, output: Output) {
        let now = Now { monotonic: self.now, ..Now::default() };
        match output {
            Output::Commit(composed) => {
                let (node, store) = &mut self.hubs[side];
                let number = store.append(&[composed.commit]).unwrap().first;
                node.on_committed(now, composed.ticket, number);
            }
            Output::Send { link_id, lane, frame } => {
                self.after(1, 1 - side, Event::Frame { link_id, lane, frame });
            }
            Output::Dial(_) => {
                self.dials += 1;
                let link_id = LinkId::new(self.dials);
                self.after(2, side, Event::Connected { link_id, dialler: side });
                self.after(3, 1 - side, Event::Connected { link_id, dialler: side });
            }
            Output::Close { link_id, .. } => self.after(1, 1 - side, Event::Lost { link_id }),
            Output::Read { .. } | Output::Trace(_) => panic!("there is nothing to read or trace"),
            Output::Snapshot(_)
            | Output::Clean(_)
            | Output::Look { .. }
            | Output::Scrub(_)
            | Output::Recall { .. }
            | Output::Refill(_) => {}
        }
    }

    /// Lets time pass until `until`.
    fn run(&mut self, until: Monotonic) {
        loop {
            let timers = self.hubs.iter().filter_map(|(node, _)| node.poll_timeout()).min();
            let event = self.events.front().map(|(at, _, _)| *at);
            let next = timers.into_iter().chain(event).min().unwrap_or(until);
            if next >= until {
                return;
            }
            self.now = self.now.max(next);
            let now = Now { monotonic: self.now, ..Now::default() };
            if event == Some(next)
                && let Some((_, side, event)) = self.events.pop_front()
            {
                self.feed(now, side, event);
            }
            for (node, _) in &mut self.hubs {
                node.on_timeout(now);
            }
            self.perform();
        }
    }

    fn feed(&mut self, now: Now, side: usize, event: Event) {
        let node = &mut self.hubs[side].0;
        match event {
            Event::Connected { link_id, dialler } => {
                let dialled = if dialler == side { Dialled::Here } else { Dialled::There };
                node.on_connected(now, link_id, &id_of(1 - side), dialled);
            }
            Event::Frame { link_id, lane, frame } => node.on_frame(now, link_id, lane, frame),
            Event::Lost { link_id } => node.on_disconnected(now, link_id),
        }
    }
}

#[test]
fn two_hubs_that_dial_each_other_keep_one_connection_at_any_round_trip() {
    for one_way_ms in [1, 18, 60, 150, 600] {
        let mut world = World::new(Duration::from_millis(one_way_ms));

        world.run(Monotonic::from_millis(30_000));

        let of = |side: usize| world.hubs[side].0.status().links[0].state;
        assert_eq!([of(0), of(1)], [LinkState::Up, LinkState::Up], "{one_way_ms} ms one way");
        assert_eq!(world.dials, 2, "{one_way_ms} ms one way");
    }
}
