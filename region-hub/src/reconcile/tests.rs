//! Hubs that hear of inventory and of who takes part in any order end alike.

use headland_event::{
    Dot, EventTime, Extent, Incarnation, Monotonic, PartitionIndex, RegionId, Sequence, StreamId,
    VectorClock,
};
use headland_reconcile::{
    Holder, MemberChange, MemberStanding, ReasonText, Reviewer, SignedChange,
};
use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::ingest::Ingest;
use crate::topics::{Replication, Topic};

const REGIONS: [&str; 3] = ["ap", "eu", "us"];
/// The region that is lost; it hears nothing.
const LOST: usize = 2;
const EVENTS: &str = "inventory.events";
const MEMBERS: &str = "_members";
const NOW: Now =
    Now { monotonic: Monotonic::from_nanos(0), wall: EventTime::from_millis(1_291_190_760_000) };

fn life(at: usize) -> Holder {
    let incarnation = Incarnation::new(1, u64::try_from(at).unwrap());
    Holder { region: REGIONS[at].parse().unwrap(), incarnation }
}

fn partition(of: usize, here: usize, topic: &str) -> TopicPartition {
    let name = if of == here { topic.to_owned() } else { format!("{}.{topic}", REGIONS[of]) };
    TopicPartition::new(TopicName::new(&name).unwrap(), PartitionIndex::new(0))
}

/// A hub with its logs of events and of members, and how much it has of others'.
struct Hub {
    at: usize,
    topics: Topics,
    ingest: Ingest,
    inventory: Inventory,
    commits: u64,
    events: Vec<Entry>,
    members: Vec<Entry>,
    heard: [(usize, usize); 3],
}

impl Hub {
    fn new(at: usize) -> Self {
        let text = format!("region = \"{}\"\n", REGIONS[at])
            + r#"
name = "hub-1"
data_dir = "none"
listen = { address = "127.0.0.1:1" }
tls = { ca_file = "none", certificate_file = "none", key_file = "none" }
api = { socket = "none" }
[[topic]]
name = "inventory.events"
lane = "state"
partitions = 1
"#;
        let path = std::path::Path::new("hub.toml");
        let config: HubConfig = headland_platform::config::parse(path, text).unwrap().value;
        let mut topics = Topics::new(&config.region, &config.topics).unwrap();
        topics.add_members().unwrap();
        for (other, region) in REGIONS.iter().enumerate().filter(|(other, _)| *other != at) {
            for topic in [EVENTS, MEMBERS] {
                let origin: RegionId = region.parse().unwrap();
                let added = topics.add(Topic {
                    name: partition(other, at, topic).topic,
                    also: Vec::new(),
                    lane: headland_event::Lane::State,
                    partitions: 1,
                    origin: origin.clone(),
                    origin_name: TopicName::new(topic).unwrap(),
                    path: vec![origin],
                    replication: Replication::Offered,
                });
                added.unwrap();
            }
        }
        let ingest = Ingest::new(&config, life(at).incarnation);
        let inventory = Inventory::new(&config, 7);
        let (events, members, heard) = (Vec::new(), Vec::new(), [(0, 0); 3]);
        Self { at, topics, ingest, inventory, commits: 0, events, members, heard }
    }

    /// Writes a record to a log of its own.
    fn write(&mut self, topic: &str, value: Vec<u8>) {
        let log = if topic == EVENTS { &self.events } else { &self.members };
        let base = Offset::new(u64::try_from(log.len()).unwrap());
        let at = partition(self.at, self.at, topic);
        let batch = Batch::encode(&[Record::new(NOW.wall, "key", value)]).unwrap();
        let stamp = self.ingest.stamp_born(&at, base, Vec::new(), NOW.wall);
        let applied = self.inventory.reconciler().applied();
        assert!(
            applied.covers(stamp.context.ends()),
            "{} has not seen {:?}",
            self.at,
            stamp.context
        );
        let dot = Dot {
            stream: StreamId::new([1; 16]),
            incarnation: life(self.at).incarnation,
            sequence: Sequence::new(base.get() + 1),
        };
        let entry = Entry { base, dot, stamp: Some(stamp), batch };
        if topic == EVENTS { &mut self.events } else { &mut self.members }.push(entry.clone());
        self.take(self.at, topic, entry);
    }

    /// A device here says something about the one shelf there is, or about its label.
    fn event(&mut self, kind: u32) {
        let id = format!("{}/{}", REGIONS[self.at], self.events.len());
        let what = match kind % 4 {
            0 => r#""kind":"stocktake","location":"l","count":50"#,
            1 => r#""kind":"sale","location":"l","quantity":3"#,
            2 => r#""kind":"attribute","attribute":"bin","value":"b""#,
            _ => r#""kind":"restock","location":"l","quantity":7"#,
        };
        let value = format!(
            r#"{{"id":"{id}",{what},"device":"d","sku":"A","time":"2010-12-01T08:06:00Z"}}"#
        );
        self.write(EVENTS, value.into_bytes());
    }

    fn say(&mut self, changes: Vec<MemberChange>) {
        let (by, reason) = (Reviewer::new("ann").unwrap(), ReasonText::new("lost").unwrap());
        for change in changes {
            let (by, reason) = (by.clone(), reason.clone());
            let record = MemberRecord::Change(SignedChange { change, by, reason });
            self.write(MEMBERS, record.to_json());
        }
    }

    /// The lost region's log ends where it is applied here.
    fn exclude(&mut self) {
        let mut ends = VectorClock::new();
        for (actor, end) in self.inventory.reconciler().applied().iter() {
            if actor.region.as_str() == REGIONS[LOST] {
                ends.advance(actor, end);
            }
        }
        let (life, standing) = (life(LOST), MemberStanding::Excluded);
        self.say(vec![MemberChange { life, standing, ends }]);
    }

    fn take(&mut self, from: usize, topic: &str, entry: Entry) {
        let at = partition(from, self.at, topic);
        let stamp = entry.stamp.clone().unwrap();
        self.ingest.observe(&TopicName::new(topic).unwrap(), &stamp, &entry.batch);
        self.commits += 1;
        let number = CommitNumber::new(self.commits);
        self.inventory.on_commit(&self.topics, number, &[(at, entry)]);
        while self.inventory.poll_step(&self.topics, NOW).is_some() {}
        let applied = self.inventory.reconciler().extent();
        assert_eq!(*self.ingest.counted(), applied, "what counts is what was applied");
    }

    /// Takes the next entry of another hub's log, if there is one.
    fn hear(&mut self, from: &Self, topic: &str) -> bool {
        let (events, members) = &mut self.heard[from.at];
        let (log, next) =
            if topic == EVENTS { (&from.events, events) } else { (&from.members, members) };
        let Some(entry) = log.get(*next) else { return false };
        *next += 1;
        let entry = entry.clone();
        self.take(from.at, topic, entry);
        true
    }

    fn state(&self) -> (Vec<u8>, VectorClock, &Membership) {
        let reconciler = self.inventory.reconciler();
        (reconciler.canonical_state(), reconciler.applied(), self.inventory.members())
    }
}

/// Two hubs, and the one that is lost.
struct World {
    hubs: [Hub; 3],
}

impl World {
    fn pair(&mut self, to: usize, from: usize) -> Option<(&mut Hub, &Hub)> {
        let [to, from] = self.hubs.get_disjoint_mut([to, from]).ok()?;
        Some((to, from))
    }

    fn hear(&mut self, to: usize, from: usize, topic: &str) -> bool {
        self.pair(to, from).is_some_and(|(to, from)| to.hear(from, topic))
    }

    fn step(&mut self, (what, at, other): (u32, usize, usize)) {
        let is_lost = at == LOST;
        match what {
            0..4 => self.hubs[at].event(what),
            4..7 if !is_lost => _ = self.hear(at, other, EVENTS),
            7..9 if !is_lost => _ = self.hear(at, other, MEMBERS),
            9 if !is_lost => self.hubs[at].exclude(),
            _ => {}
        }
    }

    /// The two exchange all that they have, and whatever either has of the lost one's log.
    fn heal(&mut self) {
        for (to, from) in [(0, 1), (1, 0)] {
            while self.hear(to, from, EVENTS) || self.hear(to, from, MEMBERS) {}
            let held = self.hubs[from].heard[LOST].0;
            while self.hubs[to].heard[LOST].0 < held && self.hear(to, LOST, EVENTS) {}
        }
    }

    /// Both say what they applied beyond the ends they know, and hear it, until neither has more.
    fn agree(&mut self) {
        self.heal();
        loop {
            let mut is_said = false;
            for at in [0, 1] {
                let applied = self.hubs[at].inventory.reconciler().applied();
                let more = self.hubs[at].inventory.members().amendments(&life(at), &applied);
                is_said |= !more.is_empty();
                self.hubs[at].say(more);
            }
            if !is_said {
                return;
            }
            self.heal();
        }
    }
}

/// What a hub writes that reads commits again from a value of how far it had written: the topics
/// of each step, and what the state holds after it.
fn read_again(
    entries: &[Entry],
    written: Progress,
    counted: Counted,
) -> Vec<(Vec<String>, (Progress, Counted))> {
    let Hub { topics, mut inventory, .. } = Hub::new(0);
    inventory.restore(written.encode(counted)).unwrap();
    let mut steps = Vec::new();
    for (number, entry) in (1..).zip(entries) {
        let commit = [(partition(0, 0, EVENTS), entry.clone())];
        inventory.on_commit(&topics, CommitNumber::new(number), &commit);
        while let Some(step) = inventory.poll_step(&topics, NOW) {
            let written = step.batches.iter().map(|(at, _)| at.topic.to_string()).collect();
            steps.push((written, Progress::decode(step.progress).unwrap()));
        }
    }
    steps
}

#[test]
fn overlaps_that_an_older_version_did_not_write_are_written_once_all_else_is_read_again() {
    let mut hub = Hub::new(0);
    // A stocktake, and two sales in its second behind it.
    [0, 1, 1].into_iter().for_each(|kind| hub.event(kind));
    let first = hub.events.get(..2).unwrap();
    let through = |commit| Progress::at_start_of(CommitNumber::new(commit));
    let named = |topics: &[&str]| -> Vec<String> {
        topics.iter().map(|of| format!("inventory.{of}")).collect()
    };
    let old = Counted::ButOverlaps;
    let caught_up = (named(&["overlaps"]), (through(3), Counted::All));

    assert_eq!(read_again(first, through(3), old), std::slice::from_ref(&caught_up));
    assert_eq!(read_again(first, through(3), Counted::All), []);

    // The older version ended in the middle of what the first sale derives: behind its posting.
    let within = Progress { output: 1, ..through(2) };
    let stock = (named(&["stock"]), (through(3), old));
    assert_eq!(read_again(first, within, old), [stock, caught_up.clone()]);

    // What comes then is written with all else.
    let next = (named(&["stock", "postings", "overlaps"]), (through(4), Counted::All));
    assert_eq!(read_again(&hub.events, through(3), old), [caught_up, next]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn hubs_end_alike_whenever_they_hear_that_a_region_is_excluded_and_count_all_once_it_returns(
        steps in vec((0..10_u32, 0..3_usize, 0..3_usize), 1..90),
    ) {
        let mut world = World { hubs: [Hub::new(0), Hub::new(1), Hub::new(2)] };
        steps.into_iter().for_each(|step| world.step(step));

        world.agree();
        let [ap, eu, _] = &world.hubs;
        prop_assert_eq!(ap.state(), eu.state());
        prop_assert_eq!(ap.inventory.held_records(), eu.inventory.held_records());
        let us = life(LOST).region;
        let all = eu.inventory.members().handed_in((&life(1), &us), eu.ingest.heads());
        world.hubs[1].say(all);
        world.heal();

        let [ap, eu, _] = &world.hubs;
        prop_assert_eq!(ap.state(), eu.state());
        prop_assert_eq!((ap.inventory.held_records(), eu.inventory.held_records()), (0, 0));
        let counted = eu.inventory.reconciler().deliveries();
        let written = ap.events.len() + eu.events.len() + eu.heard[LOST].0;
        prop_assert_eq!(counted, written, "every event counts");
    }
}

#[test]
fn what_a_later_version_says_of_more_topics_is_not_taken_for_lacking() {
    let mut eu = Hub::new(1);
    let Holder { region, incarnation } = life(0);
    let ap = Actor { region, incarnation, partition: PartitionIndex::new(0) };
    let mut others = headland_reconcile::OtherLogs::new();
    for topic in ["inventory.escrow", "inventory.later"] {
        others.advance(&TopicName::new(topic).unwrap(), &ap, Offset::new(9));
    }
    let others = Some(others);
    let report = MemberReport { others, ..MemberReport::new(life(1), VectorClock::new()) };

    eu.write(MEMBERS, MemberRecord::Report(report).to_json());

    let none = headland_reconcile::OtherLogs::new();
    let lacked = eu.inventory.members().lacked_others(&none, |of| *of == life(0), |_| false);
    let topics: Vec<&str> = lacked.topics().map(|(topic, _)| topic.as_str()).collect();
    assert_eq!(topics, ["inventory.escrow"]);
}

#[test]
fn of_two_reports_of_a_quiet_life_the_one_that_it_wrote_later_holds_though_it_comes_first() {
    let (mut ap, mut eu) = (Hub::new(0), Hub::new(1));
    let of_us = |end| {
        let Holder { region, incarnation } = life(LOST);
        let mut applied = VectorClock::new();
        let partition = PartitionIndex::new(0);
        applied.advance(&Actor { region, incarnation, partition }, Offset::new(end));
        let report = MemberReport::new(life(1), applied);
        MemberRecord::Report(report).to_json()
    };
    [9, 4].into_iter().for_each(|end| eu.write(MEMBERS, of_us(end)));

    for at in [1, 0, 1, 0] {
        let entry = eu.members[at].clone();
        ap.take(1, MEMBERS, entry);
    }

    for members in [ap.inventory.members(), eu.inventory.members()] {
        let said = members.reported(&life(1));
        let ends: Vec<u64> = said.ends().iter().map(|(_, end)| end.get()).collect();
        assert_eq!(ends, [4]);
    }
}

#[test]
fn nothing_is_forgotten_where_a_report_says_more_than_is_there_after_damage() {
    let mut eu = Hub::new(1);
    (0..3).for_each(|kind| eu.event(kind));
    let applied = eu.inventory.reconciler().applied();
    let Holder { region, incarnation } = life(0);
    let ap = Actor { region, incarnation, partition: PartitionIndex::new(0) };
    let mut lost = applied.clone();
    lost.advance(&ap, Offset::new(9));
    let report = |applied: &VectorClock, stable: &VectorClock| {
        let bare = MemberReport::new(life(1), applied.clone());
        MemberRecord::Report(MemberReport { stable: stable.clone(), ..bare }).to_json()
    };

    eu.write(MEMBERS, report(&lost, &applied));
    let after_damage = eu.inventory.reconciler().compacted();
    eu.write(MEMBERS, report(&applied, &applied));

    assert_eq!(after_damage, Extent::default());
    assert_eq!(eu.inventory.reconciler().compacted(), applied.into());
}
