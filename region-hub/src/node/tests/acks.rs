//! Acknowledged once other regions hold it: what an agent is told, and when.

use headland_event::{ChannelId, Lane, Offset, Random, SeededRandom};
use headland_replication::frame::Goodbye;
use headland_replication::{CloseReason, LinkOutput, RefusalCode};

use super::hub::{CONFIG, Hub};
use super::remote::{Remote, record};
use crate::links::LinkChange;
use crate::node::AckVerdict;
use crate::peer_link::LinkId;

const READINGS: &str = "readings";
const EVENTS: &str = "inventory.events";

/// A hub of one region, whose bulk topic is acknowledged once the other one holds it too.
pub(super) fn config(region: &str, other: &str) -> String {
    let topic = "[[topic]]\nname = \"readings\"\npartitions = 1\nack = \"regions(2)\"\n\
                 ack_wait = \"10s\"\n[[peer]]";
    let peer = format!("[[peer]]\nregion = \"{other}\"");
    let text = CONFIG.replace("[[peer]]\nregion = \"us\"", &peer);
    let text = text.replacen("region = \"eu\"", &format!("region = \"{region}\""), 1);
    text.replace("[[peer]]", topic).replace("topics = [", "topics = [\"readings\", ")
}

/// Up to where an agent was told that its records are safe.
pub(super) fn acked(agent: &Remote, channel: ChannelId) -> u64 {
    let acked = agent.said.iter().filter_map(|said| match said {
        LinkOutput::Acked { channel: of, next } if *of == channel => Some(next.get()),
        _ => None,
    });
    acked.max().unwrap_or(0)
}

/// Two regions, and an agent of the first one.
pub(super) struct Regions {
    pub(super) eu: Hub,
    pub(super) us: Hub,
    pub(super) agent: Remote,
    pub(super) channel: ChannelId,
    /// The next connection.
    link_id: u64,
    /// The one between the hubs.
    link: Option<LinkId>,
}

impl Regions {
    pub(super) fn new() -> Self {
        Self::configured(&config("eu", "us"))
    }

    /// With another configuration of the first one.
    pub(super) fn configured(eu: &str) -> Self {
        let mut eu = Hub::configured(eu);
        let us = Hub::configured(&config("us", "eu"));
        let mut agent = Remote::agent(&mut eu, 1);
        let channel = agent.offer(&mut eu, READINGS);
        Self { eu, us, agent, channel, link_id: 2, link: None }
    }

    pub(super) fn meet(&mut self) {
        let link_id = self.next_link_id();
        self.eu.meet(&mut self.us, link_id);
        self.link = Some(link_id);
        self.talk();
    }

    pub(super) fn cut(&mut self) {
        if let Some(link_id) = self.link.take() {
            self.eu.node.on_disconnected(self.eu.now, link_id);
            self.us.node.on_disconnected(self.us.now, link_id);
        }
    }

    pub(super) fn publish(&mut self, records: usize) {
        let batch: Vec<_> = (0..records).map(|_| record("eu-1-a", "{}")).collect();
        self.agent.publish(&mut self.eu, self.channel, &batch);
    }

    /// Lets all speak with each other until nobody has anything to say.
    pub(super) fn talk(&mut self) {
        for _ in 0..3 {
            if let Some(link) = self.link {
                self.eu.talk_to(&mut self.us, link);
            }
            self.agent.link.on_timeout(self.eu.now.monotonic);
            self.eu.talk(&mut self.agent);
        }
    }

    fn change_link(&mut self, change: &LinkChange) {
        let us = "us".parse().unwrap();
        let _ticket = self.eu.node.on_link_change(self.eu.now, &us, change).unwrap();
        self.talk();
    }

    pub(super) fn acked(&self) -> u64 {
        acked(&self.agent, self.channel)
    }

    pub(super) fn there(&self) -> u64 {
        self.us.entries("eu.readings").last().map_or(0, |last| last.end().get())
    }

    /// The agent connects anew and offers what it has.
    pub(super) fn reconnect(&mut self) {
        let link_id = self.next_link_id();
        let former = self.agent.link_id;
        self.eu.node.on_disconnected(self.eu.now, former);
        let Ok(number) = link_id.to_string().parse() else { return };
        let mut agent = Remote::agent(&mut self.eu, number);
        std::mem::swap(&mut agent, &mut self.agent);
        self.agent.take_log_of(agent);
        self.channel = self.agent.offer(&mut self.eu, READINGS);
        self.talk();
    }

    pub(super) fn next_link_id(&mut self) -> LinkId {
        self.link_id += 1;
        LinkId::new(self.link_id)
    }
}

#[test]
fn a_record_is_acknowledged_once_another_region_holds_it_and_not_before() {
    let mut regions = Regions::new();
    regions.meet();
    regions.publish(10);
    regions.talk();
    let together = regions.acked();

    regions.change_link(&LinkChange::Pause([Lane::Telemetry, Lane::State].into()));
    regions.publish(5);
    regions.talk();
    let apart = (regions.acked(), regions.there(), regions.eu.entries(READINGS).len());
    regions.change_link(&LinkChange::Resume([].into()));

    assert_eq!(together, 10);
    assert_eq!(apart, (10, 10, 2), "it is here, and that is not enough");
    assert_eq!((regions.acked(), regions.there()), (15, 15));
}

#[test]
fn without_another_region_nothing_is_acknowledged_and_its_status_says_so() {
    let mut regions = Regions::new();
    let before = regions.eu.node.acks(regions.eu.now.monotonic).next().unwrap();
    regions.publish(10);
    regions.eu.now.monotonic = regions.eu.now.monotonic.after(std::time::Duration::from_secs(2));

    let alone = regions.eu.node.acks(regions.eu.now.monotonic).next().unwrap();
    let told = regions.acked();
    regions.meet();
    let met = regions.eu.node.acks(regions.eu.now.monotonic).next().unwrap();

    assert_eq!((before.verdict, before.waiting_records), (AckVerdict::TooFewRegions, 0));
    assert_eq!(told, 0);
    assert_eq!((alone.verdict, alone.regions, alone.reached), (AckVerdict::TooFewRegions, 2, 1));
    assert_eq!((alone.waiting_records, alone.waiting_ms), (10, 2_000));
    assert_eq!((met.verdict, met.reached, met.waiting_records), (AckVerdict::Ok, 2, 0));
    assert_eq!(regions.acked(), 10);
}

#[test]
fn an_agent_that_connects_anew_is_told_no_position_before_another_region_is_there_too() {
    let mut regions = Regions::new();
    regions.publish(10);

    regions.reconnect();
    regions.publish(1);
    let apart = (regions.acked(), regions.eu.entries(READINGS).len());
    regions.meet();

    assert_eq!(apart, (0, 1), "a position would say that all before it is safe");
    assert_eq!((regions.acked(), regions.there()), (11, 11));
}

#[test]
fn what_waits_too_long_is_refused_so_that_other_topics_flow_and_asked_for_again_once_it_is_held() {
    let mut regions = Regions::new();
    let events = regions.agent.offer(&mut regions.eu, EVENTS);
    regions.publish(10);
    for _ in 0..9 {
        regions.eu.advance(1_000);
        regions.talk();
    }
    let early =
        regions.agent.said.iter().any(|said| matches!(said, LinkOutput::OfferRefused { .. }));
    for _ in 0..3 {
        regions.eu.advance(1_000);
        regions.talk();
    }
    let refused = regions.agent.said.iter().find_map(|said| match said {
        LinkOutput::OfferRefused { channel, refusal, .. } => Some((*channel, refusal.clone())),
        _ => None,
    });
    regions.agent.publish(&mut regions.eu, events, &[record("eu-1-a", "{}")]);
    let other = acked(&regions.agent, events);

    let agent = regions.agent.link_id;
    regions.meet();

    assert!(!early);
    let (channel, refusal) = refused.unwrap();
    assert_eq!((channel, refusal.code()), (regions.channel, RefusalCode::PositionUnavailable));
    let text = refusal.text();
    assert!(
        text.starts_with("readings is acknowledged once 2 regions hold it: us is not reached;"),
        "{text}"
    );
    assert_eq!(other, 1);
    assert!(
        regions.eu.closed.contains(&(agent, CloseReason::Here(Goodbye::Reconfigured))),
        "{:?}",
        regions.eu.closed
    );
    regions.reconnect();
    assert_eq!((regions.acked(), regions.there()), (10, 10));
}

#[test]
fn of_a_channel_that_was_refused_one_mark_is_kept_however_long_the_other_region_is_away() {
    let mut regions = Regions::new();
    for _ in 0..50 {
        regions.publish(1);
        regions.eu.settle();
    }
    let before = regions.eu.node.acks.waiting();
    for _ in 0..11 {
        regions.eu.advance(1_000);
        regions.talk();
    }
    let refused = regions.eu.node.acks.waiting();
    regions.meet();
    regions.reconnect();

    assert_eq!((before, refused), (50, 1));
    assert_eq!((regions.acked(), regions.there()), (50, 50));
    assert_eq!(regions.eu.node.acks.waiting(), 0);
}

#[test]
fn a_topics_dead_letters_wait_only_for_regions_that_are_offered_them() {
    let narrow = config("eu", "us")
        .replace("name = \"hub-1\"\naddress", "name = \"hub-1\"\nexclude = [\"*.dead\"]\naddress");
    let mut hub = Hub::configured(&narrow);
    let mut agent = Remote::agent(&mut hub, 1);
    let (dead, late) =
        (agent.offer(&mut hub, "readings.dead"), agent.offer(&mut hub, "readings.late"));

    agent.publish(&mut hub, dead, &[record("eu-1-a", "{}")]);
    agent.publish(&mut hub, late, &[record("eu-1-a", "{}")]);

    assert_eq!((acked(&agent, dead), acked(&agent, late)), (1, 0));
}

/// Whatever happens in whatever order, nothing is acknowledged that the other region lacks.
#[test]
fn what_is_acknowledged_is_in_two_regions_whatever_is_cut_and_crashes() {
    for seed in 0..60 {
        let mut random = SeededRandom::new(seed);
        let mut regions = Regions::new();
        for _ in 0..40 {
            match random.below(7) {
                0 | 1 => {
                    let records = 1 + usize::try_from(random.below(5)).unwrap();
                    regions.publish(records);
                }
                2 => regions.cut(),
                3 if regions.link.is_none() => regions.meet(),
                4 => regions.reconnect(),
                5 => {
                    regions.link = None;
                    regions.eu.restart(&config("eu", "us"));
                    regions.us.restart(&config("us", "eu"));
                    regions.reconnect();
                }
                _ => {
                    regions.eu.advance(1_000 * random.below(8));
                    regions.us.now = regions.eu.now;
                    regions.us.advance(0);
                    regions.talk();
                }
            }
            let (acked, there) = (regions.acked(), regions.there());
            assert!(acked <= there, "seed {seed}: acknowledged to {acked}, there {there}");
        }
        regions.cut();
        regions.meet();
        regions.reconnect();
        let all = regions.agent.end(regions.channel);
        assert_eq!(Offset::new(regions.acked()), all, "seed {seed}");
    }
}
