//! What is in the logs at the end.

use std::cell::OnceCell;
use std::collections::BTreeMap;

use bytes::Bytes;
use headland_event::{DropPolicy, Entry, Hole, Record, TopicPartition, mirrored_name};
use headland_storage::StoredCommit;
use region_hub::topics::Topics;

use super::check::is_copy_of;
use super::input::InputFile;
use super::machine::{Machine, Told, commits_of};
use super::topology::{Homes, Settings, agent_config, hubs_of, identity};
use super::witness::SentPromise;
use super::world::World;

/// Entries by partition, in order.
pub(super) type Log = BTreeMap<TopicPartition, Vec<Entry>>;

/// What a hub leaves.
#[derive(Debug)]
pub(super) struct HubEvidence {
    pub(super) commits: Vec<StoredCommit>,
    /// Copies as `<region>.<name>`, whatever the hub called that region when it took them up.
    pub(super) log: Log,
    /// What cleaning has left of it.
    pub(super) left: Log,
    pub(super) topics: Topics,
    pub(super) fingerprint: [u8; 32],
    pub(super) canonical: Vec<u8>,
}

/// What all nodes leave.
#[derive(Debug)]
pub(super) struct Evidence {
    pub(super) hubs: Vec<HubEvidence>,
    /// Logs of agents.
    pub(super) agents: Vec<Log>,
    /// The log on the copy of an agent's data directory.
    pub(super) copy: Log,
    /// What whoever used that copy heard that hubs have of it.
    pub(super) copys_told: Told,
    /// Agents whose clocks were behind: of what is ahead of them they raise no alerts.
    pub(super) slow: Vec<bool>,
    pub(super) inputs: Vec<[InputFile; 2]>,
    pub(super) promises: Vec<SentPromise>,
    pub(super) settings: Settings,
    /// What [`Self::uninterrupted_alerts`] found, by agent: several checks ask for each hub.
    alerts: Vec<OnceCell<Vec<Record>>>,
}

impl Evidence {
    /// Reads every log. Nodes that are down then have none.
    pub(super) fn collect(world: &mut World) -> Self {
        let hubs = world.hubs.iter().filter_map(|machine| {
            let running = machine.running.as_ref()?;
            let commits = machine.commits();
            let reconciler = running.node.inventory();
            let topics = running.node.topics();
            Some(HubEvidence {
                log: by_origin(log_of(&commits), topics),
                left: by_origin(log_of(&commits_of(&running.store)), topics),
                commits,
                topics: topics.clone(),
                fingerprint: reconciler.fingerprint(),
                canonical: reconciler.canonical_state(),
            })
        });
        let log = |machine: &Machine<edge_agent::Node>| {
            if machine.running.is_some() { log_of(&machine.commits()) } else { Log::new() }
        };
        Self {
            hubs: hubs.collect(),
            agents: world.agents.iter().map(log).collect(),
            copy: log_of(
                &world.agents.iter().flat_map(Machine::commits_of_copy).collect::<Vec<_>>(),
            ),
            copys_told: world
                .agents
                .iter()
                .find_map(Machine::told_of_copy)
                .cloned()
                .unwrap_or_default(),
            slow: world.agents.iter().map(|machine| machine.was_slow).collect(),
            inputs: std::mem::take(&mut world.inputs),
            promises: std::mem::take(&mut world.witness.promises),
            settings: world.settings,
            alerts: vec![OnceCell::new(); world.agents.len()],
        }
    }

    /// Records that compaction took out of the logs of all hubs.
    pub(super) fn compacted(&self) -> u64 {
        let entries = self.hubs.iter().flat_map(|hub| hub.left.values()).flatten();
        let gone = entries.map(|entry| match Hole::of(&entry.batch) {
            Some(Hole { count, policy: DropPolicy::Compacted }) => count,
            Some(_) => 0,
            None => entry.batch.span() - u64::try_from(entry.batch.len()).unwrap(),
        });
        gone.sum()
    }

    /// How often regions said at others that they were left.
    pub(super) fn fences(&self) -> u64 {
        let logs = self.hubs.iter().flat_map(|hub| &hub.log);
        let groups = logs.filter(|(partition, _)| partition.topic.as_str() == "_groups");
        let records = groups.flat_map(|(_, entries)| records_of(entries));
        let is_left = |record: &Record| text(record.value.as_ref()).contains("\"to\":\"");
        u64::try_from(records.filter(is_left).count()).unwrap()
    }

    /// Records in the logs of all hubs.
    pub(super) fn records(&self) -> usize {
        let entries = self.hubs.iter().flat_map(|hub| hub.log.values()).flatten();
        entries.map(|entry| entry.batch.len()).sum()
    }

    /// The alerts that an agent raises which reads its files without a break.
    pub(super) fn uninterrupted_alerts(&self, agent: usize) -> &[Record] {
        self.alerts[agent].get_or_init(|| self.alerts_without_a_break(agent))
    }

    fn alerts_without_a_break(&self, agent: usize) -> Vec<Record> {
        use edge_agent::Output;
        use headland_event::{EventTime, Incarnation, Now};
        use headland_storage::{LogStore, MemoryDisk, MemoryStore, OpenOptions};

        let store = MemoryStore::open(&MemoryDisk::new(1), OpenOptions::new(1)).unwrap();
        let settings = Settings { homes: Homes::Own, ..self.settings };
        let hubs = hubs_of(agent, Homes::Own).into_iter().map(identity).collect();
        let (config, program) = (agent_config(agent, settings), super::topology::program());
        let (log, life) = ((&store.reader(), &store), Incarnation::new(1, 1));
        let mut node = edge_agent::Node::new(&config, hubs, program, life, log, 1).unwrap();
        for (index, file) in self.inputs[agent].iter().enumerate() {
            let (lines, position) = file.chunk(<_>::default(), file.lines.len());
            // No event is ahead of this clock.
            let now = Now { wall: EventTime::from_millis(i64::MAX), ..Now::default() };
            node.on_lines(now, index, &lines, position);
        }
        let mut alerts = Vec::new();
        while let Some(output) = node.poll_output() {
            let Output::Commit(composed) = output else { continue };
            for (partition, entry) in composed.commit.entries {
                if partition.topic.as_str() == "alerts" {
                    alerts.extend(entry.batch.records().unwrap());
                }
            }
        }
        alerts
    }
}

fn log_of(commits: &[StoredCommit]) -> Log {
    let mut log = Log::new();
    for (partition, entry) in commits.iter().flat_map(|commit| &commit.entries) {
        log.entry(partition.clone()).or_default().push(entry.clone());
    }
    log
}

/// A log with copies called by what they are.
fn by_origin(log: Log, topics: &Topics) -> Log {
    let mut named = Log::new();
    for (mut partition, entries) in log {
        let copy = topics.get(&partition.topic);
        if let Some(copy) = copy.filter(|topic| is_copy_of(topic, topic.origin.as_str())) {
            partition.topic = mirrored_name(&copy.origin, &copy.origin_name).unwrap();
        }
        named.entry(partition).or_default().extend(entries);
    }
    named
}

/// Records of entries, in order, without what stands for records that another hub has.
pub(super) fn records_of<'a>(entries: impl IntoIterator<Item = &'a Entry>) -> Vec<Record> {
    let is_elsewhere =
        |entry: &Entry| Hole::of(&entry.batch).is_some_and(|h| h.policy == DropPolicy::Elsewhere);
    let entries = entries.into_iter().filter(|entry| !is_elsewhere(entry));
    entries.flat_map(|entry| entry.batch.records().unwrap()).collect()
}

/// Text of a value.
pub(super) fn text(value: Option<&Bytes>) -> String {
    value.map_or_else(String::new, |value| String::from_utf8_lossy(value).into_owned())
}
