//! Groups that read at hubs while these start again and call other regions something else.

use std::collections::BTreeMap;

use headland_event::{
    GroupName, Monotonic, Offset, PartitionIndex, Random, RegionId, SeededRandom, TopicName,
};
use headland_replication::groups::Change;
use headland_storage::{LogReader, LogStore, Ticket};
use region_hub::Node;
use region_hub::groups::{OffsetsRequest, Place, Reading};
use region_hub::node::GroupError;
use region_hub::topics::Topic;

use super::agenda::{Event, Life};
use super::check::{Check, ensure, is_copy_of};
use super::input::index;
use super::machine::Running;
use super::names::{Called, PEERS};
use super::schedule::FAULTS_UNTIL;
use super::topology::{NodeId, REGIONS, peer_of};
use super::world::World;

/// What groups read.
const READ: [&str; 2] = ["inventory.events", "air.readings"];

/// Most records of a partition that are read before they are committed.
const RECORDS_AT_ONCE: u64 = 12;

/// Where a partition was born: what groups hold offsets of.
type Source = (RegionId, TopicName, PartitionIndex);

/// How far a group has read, in offsets of the logs where partitions were born.
type Positions = BTreeMap<Source, Offset>;

/// Who reads at a hub, and commits how far it has read.
#[derive(Debug)]
pub(super) struct Consumer {
    group: GroupName,
    /// What the hub has said that it keeps.
    committed: Positions,
    /// What was asked for and not answered, and of which start of the hub.
    asked: Option<(Life, Ticket, Positions)>,
}

impl Consumer {
    /// The one of a hub, which has read nothing.
    pub(super) fn new(hub: usize) -> Self {
        let group = GroupName::new(&format!("at-{}", REGIONS[hub])).unwrap();
        Self { group, committed: Positions::new(), asked: None }
    }

    /// What is held of the group once what it asked for is.
    fn wanted(&self) -> Positions {
        let asked = self.asked.iter().flat_map(|(_, _, positions)| positions.clone());
        self.committed.clone().into_iter().chain(asked).collect()
    }

    /// Hears what became of what was asked for; says what the hub holds of the group instead.
    fn hear(&mut self, node: &Node, life: Life) -> Result<(), String> {
        let (held, wanted) = (held(node, &self.group), self.wanted());
        let Some((of, ticket, _)) = &self.asked else { return self.agrees(&held) };
        if *of == life && !node.is_durable(*ticket) {
            return Ok(());
        }
        // What was asked of a start that ended is on its disk, or is not.
        let is_lost = *of != life && held == self.committed;
        if !is_lost {
            self.committed = wanted;
        }
        self.asked = None;
        self.agrees(&held)
    }

    fn agrees(&self, held: &Positions) -> Result<(), String> {
        let Self { group, committed, asked: _ } = self;
        if held == committed {
            return Ok(());
        }
        let differs = committed.iter().find(|(source, offset)| held.get(source) != Some(offset));
        Err(format!("{group} holds other offsets than it committed, first {differs:?}"))
    }
}

impl World {
    /// A group reads on at a hub by some name, and commits how far it has read by another one.
    pub(super) fn read(&mut self, hub: usize) {
        if self.agenda.now() < Monotonic::from_millis(FAULTS_UNTIL) {
            let delay = self.delay(50, 900);
            self.agenda.after(delay, Event::Read(hub));
        }
        let Some(running) = &self.hubs[hub].running else { return };
        let (consumer, life) = (&mut self.consumers[hub], self.hubs[hub].life);
        let heard = consumer.hear(&running.node, life);
        if heard.is_ok() && consumer.asked.is_some() {
            return;
        }
        let group = match self.tampering.forgets(hub) {
            true => &GroupName::new("anew").unwrap(),
            false => &consumer.group,
        };
        let random = &mut self.random;
        let read = heard.and_then(|()| read_on(running, group, &consumer.committed, random));
        match read {
            Ok(asked) if asked.is_empty() => {}
            Ok(asked) => self.commit_read(hub, asked),
            Err(why) => self.witness.fail(Check::GroupsGoOn, format!("at hub {hub} {why}")),
        }
    }

    fn commit_read(&mut self, hub: usize, asked: Vec<(Source, Place)>) {
        let (sources, positions): (Vec<Source>, Vec<Place>) = asked.into_iter().unzip();
        let offsets = positions.iter().map(|place| place.offset);
        let read: Positions = sources.into_iter().zip(offsets).collect();
        let request = OffsetsRequest { change: Change::Commit, positions };
        let group = self.consumers[hub].group.clone();
        let mut answer = None;
        self.feed_hub(hub, |node, now| answer = Some(node.on_group(now, &group, &request)));
        match answer {
            Some(Ok(ticket)) => {
                self.meet("commits_of_groups");
                self.consumers[hub].asked = Some((self.hubs[hub].life, ticket, read));
            }
            Some(Err(why)) => {
                let text = format!("hub {hub} refuses {request:?}: {why}");
                self.witness.fail(Check::GroupsGoOn, text);
            }
            None => {}
        }
    }

    /// A hub starts again and calls other regions something else from then on.
    pub(super) fn rename(&mut self, hub: usize, called: [Called; PEERS]) {
        let before = std::mem::replace(&mut self.called[hub], called);
        for (before, called) in before.into_iter().zip(called) {
            match called.alias {
                _ if before == called => {}
                alias if alias == before.alias => self.meet("policies_of_names_changed"),
                Some(_) => self.meet("regions_renamed"),
                None => self.meet("regions_called_as_before"),
            }
        }
        self.tampering.on_renamed(hub);
        self.crash(NodeId::Hub(hub));
    }

    /// When nobody has work left: every hub holds of each group what it committed where it read,
    /// and copies are found by what their regions are called now.
    pub(super) fn judge_names(&mut self) {
        let mut faults = Vec::new();
        for (consumer, machine) in self.consumers.iter_mut().zip(&self.hubs) {
            let Some(Running { node, .. }) = &machine.running else { continue };
            faults.extend(consumer.hear(node, machine.life).err());
        }
        for (hub, machine) in self.hubs.iter().enumerate() {
            let Some(Running { node, .. }) = &machine.running else { continue };
            let held = self.consumers.iter().map(|of| of.agrees(&held(node, &of.group)));
            let found = (0..PEERS).map(|peer| {
                let region = REGIONS[peer_of(hub, peer)];
                is_found(node, region, self.called[hub][peer].alias.unwrap_or(region))
            });
            let wrong = held.chain(found).filter_map(Result::err);
            faults.extend(wrong.map(|why| format!("at hub {hub} {why}")));
        }
        faults.into_iter().for_each(|why| self.witness.fail(Check::GroupsGoOn, why));
    }
}

/// Reads on where a group is; what to commit is as far as it has come.
fn read_on(
    Running { node, store, .. }: &Running<Node>,
    group: &GroupName,
    committed: &Positions,
    random: &mut SeededRandom,
) -> Result<Vec<(Source, Place)>, String> {
    let name = any_name(node, random);
    let places = match node.reading(group, &name) {
        // Its hub has not heard yet how far groups had read before its life.
        Err(GroupError::NotBack { .. }) => return Ok(Vec::new()),
        places => places.map_err(|error| format!("{name}: {error}"))?,
    };
    let mut read = Vec::new();
    for Reading { at, from: offset, until } in places {
        let topic = node.topics().get(&at.topic).expect("what is read has a topic");
        let source = (topic.origin.clone(), topic.origin_name.clone(), at.partition);
        let expected = committed.get(&source).copied().unwrap_or_default();
        ensure(offset == expected, || {
            format!("{group} goes on in {name} at {offset} of {at}, not at {expected}")
        })?;
        let next = Offset::new(offset.get() + random.below(RECORDS_AT_ONCE));
        let next = next.min(store.reader().end(&at)).min(until);
        if next > offset {
            let names = topic.names();
            let topic = TopicName::new(names[index(random, names.len())]).unwrap();
            read.push((source, Place { topic, partition: at.partition, offset: next }));
        }
    }
    Ok(read)
}

/// Any name by which something that groups read is found at a hub: of a topic of its own, of a
/// copy, or of all of them together.
fn any_name(node: &Node, random: &mut SeededRandom) -> String {
    let is_read = |topic: &&Topic| READ.contains(&topic.origin_name.as_str());
    let topics = node.topics().iter().filter(is_read).flat_map(Topic::names);
    let unions = READ.map(|topic| format!("{topic}@*"));
    let mut names: Vec<String> = topics.map(str::to_owned).chain(unions).collect();
    names.swap_remove(index(random, names.len()))
}

/// What a hub holds of a group.
fn held(node: &Node, group: &GroupName) -> Positions {
    let positions = node.group(group).positions.into_iter();
    let held = positions.map(|of| ((of.origin, of.origin_topic, of.partition), of.origin_offset));
    held.collect()
}

/// Whether a hub finds the copies of a region's topics by what it calls that one: where another
/// topic has the name, by that and a number.
fn is_found(node: &Node, region: &str, called: &str) -> Result<(), String> {
    let copies = node.topics().iter().filter(|topic| is_copy_of(topic, region));
    for copy in copies.filter(|topic| READ.contains(&topic.origin_name.as_str())) {
        let (wanted, names) = (format!("{called}.{}", copy.origin_name), copy.names());
        let is_it = |name: &&str| {
            let rest = name.strip_prefix(&*wanted);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
        };
        let is_found = names.iter().any(is_it);
        ensure(is_found, || format!("{wanted} is not found, the copy is called {names:?}"))?;
    }
    Ok(())
}
