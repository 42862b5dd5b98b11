//! A hub on a disk in memory that loses power when a test says so.

use std::collections::{BTreeMap, VecDeque};
use std::path::Path;

use bytes::Bytes;
use headland_event::{
    Alert, ByteCount, CommitNumber, Entry, EventTime, Lane, Monotonic, Now, Offset, Record,
    RegionId, Verdict,
};
use headland_platform::telemetry::Span;
use headland_platform::tls::{Role, SpiffeId};
use headland_replication::{CloseReason, Dialled};
use headland_storage::{
    Cleaning, LogReader, LogStore, MemoryDisk, MemoryStore, MissingOffsets, OpenOptions, ReadError,
    Snapshot, StateMarks, Survival, replay_past_damage,
};

use super::remote::{Remote, partition};
use crate::config::HubConfig;
use crate::node::{Node, Output, PeerIndex, StartError};
use crate::peer_link::LinkId;

/// What every test's hub starts from; a test adds to it.
pub(super) const CONFIG: &str = r#"
region = "eu"
name = "hub-1"
data_dir = "hubs/eu"
listen = { address = "127.0.0.1:1" }
tls = { ca_file = "none", certificate_file = "none", key_file = "none" }
api = { socket = "none" }
telemetry = { otlp_endpoint = "http://127.0.0.1:1/v1/traces" }
[[topic]]
name = "inventory.events"
lane = "state"
partitions = 1
[[peer]]
region = "us"
name = "hub-1"
address = "none:1"
[[agent]]
name = "eu-1"
topics = ["inventory.events", "alerts"]
devices = ["eu-1-"]
"#;

/// The wall clock when a test begins.
pub(super) const START: EventTime = EventTime::from_millis(1_291_190_760_000);

/// Bytes of a journal read at once.
const READ_BYTES: ByteCount = ByteCount::mebibytes(1);

pub(super) struct Hub {
    config: HubConfig,
    disk: MemoryDisk,
    pub(super) store: MemoryStore,
    pub(super) node: Node,
    pub(super) now: Now,
    /// Commits that still become durable before the power fails; `None` means all.
    commits_left: Option<usize>,
    /// Commits that are not durable yet; `None` while each is at once.
    held: Option<Vec<Output>>,
    reads: Reads,
    /// Frames on their way, by connection.
    sent: BTreeMap<LinkId, VecDeque<(Lane, Bytes)>>,
    /// Bytes of frames that were sent, by connection.
    pub(super) shipped: BTreeMap<LinkId, u64>,
    pub(super) closed: Vec<(LinkId, CloseReason)>,
    pub(super) dialled: Vec<PeerIndex>,
    pub(super) spans: Vec<Span>,
    /// The last snapshot.
    pub(super) saved: Option<Snapshot>,
    /// Commits that were replayed at the start.
    pub(super) replayed: u64,
}

impl Hub {
    pub(super) fn new() -> Self {
        Self::configured(CONFIG)
    }

    pub(super) fn configured(text: &str) -> Self {
        let disk = MemoryDisk::new(1);
        let now = Now { monotonic: Monotonic::default(), wall: START };
        Self::start(&disk, text, now).unwrap().known_to_groups()
    }

    /// It waits no more for how far groups had read before its life.
    pub(super) fn known_to_groups(mut self) -> Self {
        self.node.end_wait();
        self
    }

    /// Starts a hub on what a disk holds.
    pub(super) fn start(disk: &MemoryDisk, text: &str, now: Now) -> Result<Self, StartError> {
        Self::start_as(7, disk, text, now)
    }

    /// The same; a new disk begins a life with this number.
    pub(super) fn start_as(
        nonce: u64,
        disk: &MemoryDisk,
        text: &str,
        now: Now,
    ) -> Result<Self, StartError> {
        Self::start_with(OpenOptions::new(nonce), disk, text, now)
    }

    /// The same, on a log that is opened so.
    pub(super) fn start_with(
        mut options: OpenOptions,
        disk: &MemoryDisk,
        text: &str,
        now: Now,
    ) -> Result<Self, StartError> {
        let path = Path::new("hub.toml");
        let loaded = headland_platform::config::parse(path, text.to_owned()).unwrap();
        let config: HubConfig = loaded.value;
        options.file_bytes = options.file_bytes.min(config.storage.file_bytes.get());
        let store = MemoryStore::open(disk, options).unwrap();
        let reader = store.reader();
        let role = Role::Hub(config.name.to_string());
        let id = SpiffeId { fleet: "test".to_owned(), region: config.region.clone(), role };
        let log = (&reader, &store);
        let mut node = Node::new(&config, &id, store.incarnation(), log, 7, now)?;
        let from = node.take_up(store.snapshots().newest_first(&Node::snapshot_owner()).unwrap());
        let mut replayed = 0;
        let missing = replay_past_damage(&reader, from, |commit| {
            node.on_replayed(commit);
            replayed += 1;
        });
        node.on_replay_ended(now, missing.unwrap())?;
        node.on_opened(now, store.report());
        let (closed, dialled, spans) = (Vec::new(), Vec::new(), Vec::new());
        let (disk, commits_left, held, reads) = (disk.clone(), None, None, Reads::Answer);
        let (sent, shipped) = (BTreeMap::new(), BTreeMap::new());
        Ok(Self {
            config,
            disk,
            store,
            node,
            now,
            commits_left,
            held,
            reads,
            sent,
            shipped,
            closed,
            dialled,
            spans,
            saved: None,
            replayed,
        })
    }

    /// From now on it reads its log through, at most so many bytes a second.
    pub(super) fn scrubbing(mut self, bytes_per_second: ByteCount) -> Self {
        self.node = self.node.with_scrub(bytes_per_second, &self.store).unwrap();
        self
    }

    pub(super) fn region(&self) -> &RegionId {
        &self.config.region
    }

    pub(super) const fn disk(&self) -> &MemoryDisk {
        &self.disk
    }

    /// From now on so many commits become durable, and no further one.
    pub(super) const fn cut_power_after(&mut self, commits: usize) {
        self.commits_left = Some(commits);
    }

    /// From now on no commit becomes durable, until they are released.
    pub(super) fn hold_commits(&mut self) {
        self.held = Some(Vec::new());
    }

    pub(super) fn release_commits(&mut self) {
        self.held.take().into_iter().flatten().for_each(|commit| self.perform(commit));
        self.settle();
    }

    /// Whether the power failed.
    pub(super) fn is_dead(&self) -> bool {
        self.commits_left == Some(0)
    }

    /// Takes the power away and starts again on what is durable.
    pub(super) fn restart(&mut self, text: &str) {
        self.disk.crash(Survival::Nothing);
        *self = Self::start(&self.disk.clone(), text, self.now).unwrap();
    }

    pub(super) fn advance(&mut self, millis: u64) {
        self.now.monotonic = Monotonic::from_nanos(self.now.monotonic.nanos() + millis * 1_000_000);
        self.now.wall = EventTime::from_millis(self.now.wall.millis() + millis.cast_signed());
        self.node.on_timeout(self.now);
    }

    /// Does what the hub asks for until it asks for nothing more.
    pub(super) fn settle(&mut self) {
        while let Some(output) = self.node.poll_output() {
            self.perform(output);
        }
    }

    /// Does what hub and peer ask for until neither asks for more.
    pub(super) fn talk(&mut self, remote: &mut Remote) {
        loop {
            if let Some(output) = self.node.poll_output() {
                self.perform(output);
            } else if let Some((lane, frame)) = self.sent_to(remote.link_id) {
                remote.link.on_frame(self.now.monotonic, lane, frame);
            } else if let Some((lane, frame)) = remote.poll_frame() {
                self.node.on_frame(self.now, remote.link_id, lane, frame);
            } else {
                return;
            }
        }
    }

    /// Connects this hub with another region's.
    pub(super) fn meet(&mut self, other: &mut Self, link_id: LinkId) {
        let id = |hub: &Self| SpiffeId {
            fleet: "test".to_owned(),
            region: hub.config.region.clone(),
            role: Role::Hub(hub.config.name.to_string()),
        };
        let (ours, theirs) = (id(self), id(other));
        self.node.on_connected(self.now, link_id, &theirs, Dialled::Here);
        other.node.on_connected(other.now, link_id, &ours, Dialled::There);
    }

    /// Does what two connected hubs ask for until neither asks for more.
    pub(super) fn talk_to(&mut self, other: &mut Self, link_id: LinkId) {
        loop {
            if let Some(output) = self.node.poll_output() {
                self.perform(output);
            } else if let Some(output) = other.node.poll_output() {
                other.perform(output);
            } else if let Some((lane, frame)) = self.sent_to(link_id) {
                other.node.on_frame(other.now, link_id, lane, frame);
            } else if let Some((lane, frame)) = other.sent_to(link_id) {
                self.node.on_frame(self.now, link_id, lane, frame);
            } else {
                return;
            }
        }
    }

    fn sent_to(&mut self, link_id: LinkId) -> Option<(Lane, Bytes)> {
        self.sent.get_mut(&link_id)?.pop_front()
    }

    pub(super) fn perform(&mut self, output: Output) {
        if let Some(held) = self.held.as_mut().filter(|_| matches!(output, Output::Commit(_))) {
            return held.push(output);
        }
        match output {
            Output::Commit(composed) => {
                if self.is_dead() {
                    return;
                }
                let appended = self.store.append(&[composed.commit]).unwrap();
                self.commits_left = self.commits_left.map(|left| left - 1);
                self.node.on_committed(self.now, composed.ticket, appended.last);
            }
            Output::Send { link_id, lane, frame } => {
                let length = ByteCount::new(frame.len() as u64);
                *self.shipped.entry(link_id).or_default() += length.get();
                self.sent.entry(link_id).or_default().push_back((lane, frame));
                self.node.on_written(self.now, link_id, lane, length);
            }
            Output::Read { link_id, channel, partition, from, limit } => {
                if self.reads == Reads::Fail {
                    return self.node.on_read_failed(self.now, link_id);
                }
                match self.store.reader().read(&partition, from, limit) {
                    Ok(entries) => self.node.on_entries(self.now, link_id, channel, entries),
                    Err(ReadError::Quarantined { partition, from, until }) => {
                        let lost = MissingOffsets { partition, from, until };
                        self.node.on_damaged(self.now, (link_id, channel), lost);
                    }
                    Err(error) => panic!("{error}"),
                }
            }
            Output::Dial(index) => self.dialled.push(index),
            Output::Close { link_id, reason } => {
                self.closed.push((link_id, reason));
                self.node.on_disconnected(self.now, link_id);
            }
            Output::Snapshot(Snapshot { at, state }) => {
                self.saved = Some(Snapshot { at, state: state.clone() });
                if !self.is_dead() {
                    self.store.snapshots().save(&Node::snapshot_owner(), at, &state).unwrap();
                }
            }
            Output::Clean(policy) => {
                let budget = ByteCount::mebibytes(64);
                // What is cleaned lies before the mark, which the writer moves now and then.
                self.store.mark_state().unwrap();
                let report = self.store.clean(&policy, self.now.wall, budget).unwrap();
                let reader = self.store.reader();
                let starts = report.moved.into_iter().map(|at| (at.clone(), reader.start(&at)));
                self.node.on_cleaned(starts, report.dropped);
                self.node.on_refilled(self.now, report.refilled);
            }
            Output::Trace(span) => self.spans.push(span),
            Output::Look { partition, from, limit } => {
                let found = self.store.reader().read(&partition, from, limit);
                self.node.on_looked(self.now, found);
            }
            Output::Recall { partition, from, limit } => {
                let found = self.store.reader().read(&partition, from, limit);
                self.node.on_recalled(self.now, found);
            }
            Output::Refill(refill) => self.store.refill(refill),
            Output::Scrub(read) => {
                let scrubbed = read.read(&self.store.reader());
                self.node.on_scrubbed(self.now, scrubbed);
            }
        }
    }

    /// The log as readers see it.
    pub(super) fn reader(&self) -> impl LogReader {
        self.store.reader()
    }

    /// Where partition 0 of a topic starts.
    pub(super) fn start_of(&self, topic: &str) -> Offset {
        self.store.reader().start(&partition(topic))
    }

    /// What the pipeline does when the hub's life is over.
    pub(super) fn end_life(&mut self) {
        self.store.end_life().unwrap();
    }

    /// How many commits are durable.
    pub(super) fn commits(&self) -> u64 {
        self.store.reader().last_commit().get()
    }

    /// Bytes of batches in each durable commit.
    pub(super) fn commit_sizes(&self) -> Vec<usize> {
        let reader = self.store.reader();
        (1..=self.commits())
            .map(|number| {
                let commits = reader.replay(CommitNumber::new(number), ByteCount::new(1));
                let commits = commits.unwrap().commits;
                commits[0].entries.iter().map(|(_, entry)| entry.batch.as_bytes().len()).sum()
            })
            .collect()
    }

    /// Every entry of a topic's partition 0 that can be read.
    pub(super) fn entries(&self, topic: &str) -> Vec<Entry> {
        let (reader, partition) = (self.store.reader(), partition(topic));
        let (mut entries, mut from) = (Vec::new(), Offset::new(0));
        while reader.end(&partition) > from {
            match reader.read(&partition, from, READ_BYTES) {
                Ok(read) => {
                    from = read.last().map_or(from, Entry::end);
                    entries.extend(read);
                }
                Err(ReadError::Quarantined { until, .. }) => from = until,
                Err(error) => panic!("{error}"),
            }
        }
        entries
    }

    /// Every record of a topic's partition 0.
    pub(super) fn records(&self, topic: &str) -> Vec<Record> {
        self.entries(topic).iter().flat_map(|entry| entry.batch.records().unwrap()).collect()
    }

    /// Alerts of the hub about itself, of every partition.
    pub(super) fn alerts(&self) -> Vec<Alert> {
        let reader = self.store.reader();
        let partitions = reader.partitions().into_iter();
        let partitions = partitions.filter(|at| at.topic.as_str() == "alerts");
        let entries =
            partitions.flat_map(|at| reader.read(&at, Offset::new(0), READ_BYTES).unwrap());
        let records = entries.flat_map(|entry| entry.batch.records().unwrap());
        records.map(|record| serde_json::from_slice(&record.value.unwrap()).unwrap()).collect()
    }

    /// Verdicts on the records of a topic's partition 0.
    pub(super) fn verdicts(&self, topic: &str) -> Vec<Verdict> {
        let of = |entry: &Entry| -> Vec<Verdict> {
            let stamp = entry.stamp.as_ref().unwrap();
            let records = entry.batch.numbered_records().unwrap();
            records.iter().map(|(delta, _)| stamp.verdict(*delta)).collect()
        };
        self.entries(topic).iter().flat_map(of).collect()
    }

    /// Values of a topic's partition 0, in order.
    pub(super) fn texts(&self, topic: &str) -> Vec<String> {
        let text = |record: Record| String::from_utf8(record.value.unwrap().to_vec()).unwrap();
        self.records(topic).into_iter().map(text).collect()
    }

    /// Values of a topic's partition 0 that compaction left, in order.
    pub(super) fn values(&self, topic: &str) -> Vec<String> {
        let text = |value: Bytes| String::from_utf8(value.to_vec()).unwrap();
        self.records(topic).into_iter().filter_map(|record| record.value.map(text)).collect()
    }

    /// Keys of a topic's partition 0, in order.
    pub(super) fn keys(&self, topic: &str) -> Vec<String> {
        let key = |record: Record| String::from_utf8(record.key.unwrap().to_vec()).unwrap();
        self.records(topic).into_iter().map(key).collect()
    }

    /// From now on the log answers no read.
    pub(super) const fn fail_reads(&mut self) {
        self.reads = Reads::Fail;
    }
}

/// Whether the log answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reads {
    Answer,
    Fail,
}
