//! The node and what it works on: does what the node asks for, tells it what happened.

use std::collections::BTreeMap;
use std::time::Duration;

use headland_event::{Entry, Now};
use headland_platform::clock::Clock;
use headland_platform::task;
use headland_platform::telemetry::{TraceSink, with_causes};
use headland_replication::quic::{Farewell, LaneEvent, LaneSender};
use headland_storage::{
    AppendError, CommitWriter, DiskFile, DiskMedium, DiskStore, JournalReader, LogReader,
    MissingOffsets, ReadError, Report, Scrubbed, Snapshot, SnapshotStore,
};
use tokio::sync::{mpsc, watch};

use super::start::{Life, RunError};
use crate::api::Question;
use crate::config::HubConfig;
use crate::connections::{Connections, LinkInput, PeerAddress};
use crate::node::{Node, Output, TakenBack};
use crate::peer_link::LinkId;

/// The node and what it works on.
pub(super) struct Stages {
    node: Node,
    clock: Clock,
    reader: JournalReader<DiskFile>,
    writer: CommitWriter<DiskStore>,
    connections: Connections,
    peers: Vec<Option<PeerAddress>>,
    senders: BTreeMap<LinkId, LaneSender>,
    traces: Option<TraceSink>,
    commits: Option<watch::Sender<u64>>,
    snapshots: Option<SnapshotStore<DiskMedium>>,
    read: Option<mpsc::UnboundedSender<LogRead>>,
}

/// What was read of the log for the node itself, on a thread of its own: no commit and no link
/// waits for it.
pub(super) enum LogRead {
    /// A piece of a scrub.
    Scrubbed(Scrubbed),
    /// A piece of a partition.
    Looked(Result<Vec<Entry>, ReadError>),
    /// The same, of what was lost here or elsewhere.
    Recalled(Result<Vec<Entry>, ReadError>),
}

impl Stages {
    pub(super) fn new(
        node: Node,
        clock: Clock,
        reader: JournalReader<DiskFile>,
        writer: CommitWriter<DiskStore>,
        connections: Connections,
        peers: Vec<Option<PeerAddress>>,
    ) -> Self {
        let (senders, traces, commits, snapshots) = (BTreeMap::new(), None, None, None);
        let read = None;
        Self {
            node,
            clock,
            reader,
            writer,
            connections,
            peers,
            senders,
            traces,
            commits,
            snapshots,
            read,
        }
    }

    /// Where to send what the node reads for itself; without it nothing is read.
    pub(super) fn with_log_reads(mut self, read: mpsc::UnboundedSender<LogRead>) -> Self {
        self.read = Some(read);
        self
    }

    pub(super) fn with_snapshots(mut self, snapshots: SnapshotStore<DiskMedium>) -> Self {
        self.snapshots = Some(snapshots);
        self
    }

    pub(super) fn with_traces(mut self, traces: Option<TraceSink>) -> Self {
        self.traces = traces;
        self
    }

    pub(super) fn with_commits(mut self, commits: watch::Sender<u64>) -> Self {
        self.commits = Some(commits);
        self
    }

    fn now(&self) -> Now {
        Now { monotonic: self.clock.monotonic(), wall: self.clock.wall() }
    }

    /// How long until the node wants to be told the time.
    pub(super) fn until_timeout(&self) -> Option<Duration> {
        self.node.poll_timeout().map(|at| self.clock.until(at))
    }

    /// Does all that the node asks for.
    pub(super) fn perform_all(&mut self) {
        while let Some(output) = self.node.poll_output() {
            self.perform(output);
        }
    }

    fn perform(&mut self, output: Output) {
        match output {
            Output::Commit(composed) => self.writer.commit(composed),
            Output::Send { link_id, lane, frame } => {
                if let Some(Err(error)) =
                    self.senders.get(&link_id).map(|sender| sender.send(lane, frame))
                {
                    // What is lost with a connection is sent again on the next one.
                    tracing::debug!(%link_id, %lane, %error, "a frame was not sent");
                }
            }
            Output::Read { link_id, channel, partition, from, limit } => {
                match self.reader.read(&partition, from, limit) {
                    Ok(entries) => self.node.on_entries(self.now(), link_id, channel, entries),
                    Err(ReadError::Quarantined { partition, from, until }) => {
                        let lost = MissingOffsets { partition, from, until };
                        self.node.on_damaged(self.now(), (link_id, channel), lost);
                    }
                    Err(error) => {
                        let error = with_causes(&error);
                        tracing::error!(%partition, %from, error, "cannot read the log");
                        self.node.on_read_failed(self.now(), link_id);
                    }
                }
            }
            Output::Dial(index) => {
                if let Some(Some(peer)) = self.peers.get(index) {
                    self.connections.dial(index, peer.clone());
                }
            }
            Output::Close { link_id, reason } => {
                if let Some(sender) = self.senders.remove(&link_id) {
                    sender.close(Farewell::from(&reason));
                }
            }
            Output::Snapshot(snapshot) => self.save(snapshot),
            Output::Look { partition, from, limit } => {
                self.read("look", move |reader| {
                    LogRead::Looked(reader.read(&partition, from, limit))
                });
            }
            Output::Recall { partition, from, limit } => {
                self.read("recall", move |reader| {
                    LogRead::Recalled(reader.read(&partition, from, limit))
                });
            }
            Output::Refill(refill) => self.writer.refill(refill),
            Output::Scrub(of) => {
                self.read("scrub", move |reader| LogRead::Scrubbed(of.read(reader)));
            }
            Output::Clean(policy) => self.writer.clean(policy, self.clock.wall()),
            Output::Trace(span) => {
                if let Some(traces) = &self.traces {
                    traces.export(span);
                }
            }
        }
    }

    /// Saves a snapshot on a thread of its own: it may take as long as the disk likes.
    fn save(&self, Snapshot { at, state }: Snapshot) {
        let Some(snapshots) = self.snapshots.clone() else { return };
        let saving = task::spawn_blocking("snapshot", move || {
            if let Err(error) = snapshots.save(&Node::snapshot_owner(), at, &state) {
                // The ones before it are still there; a restart replays more.
                tracing::warn!(%at, error = with_causes(&error), "a snapshot was not saved");
            }
        });
        drop(saving);
    }

    /// Reads a piece of the log; the node asks for one at a time of each kind.
    fn read(
        &self,
        name: &'static str,
        read: impl FnOnce(&JournalReader<DiskFile>) -> LogRead + Send + 'static,
    ) {
        let Some(found) = self.read.clone() else { return };
        let reader = self.reader.clone();
        drop(task::spawn_blocking(name, move || drop(found.send(read(&reader)))));
    }

    pub(super) fn on_log_read(&mut self, read: LogRead) {
        match read {
            LogRead::Scrubbed(scrubbed) => self.node.on_scrubbed(self.now(), scrubbed),
            LogRead::Looked(found) => self.node.on_looked(self.now(), found),
            LogRead::Recalled(found) => self.node.on_recalled(self.now(), found),
        }
    }

    pub(super) fn on_report(&mut self, report: Report) -> Result<(), RunError> {
        match report {
            Report::Durable { ticket, number } => {
                self.node.on_committed(self.now(), ticket, number);
                if let Some(commits) = &self.commits {
                    commits.send_replace(number.get());
                }
            }
            Report::Stalled(error) => {
                tracing::error!(error = with_causes(&error), "commits wait for the disk");
                if let AppendError::Full { .. } = error {
                    self.node.on_full();
                }
            }
            Report::Resumed => {
                tracing::info!("the disk takes commits again");
                self.node.on_resumed(self.now());
            }
            Report::Neglected(error) => {
                tracing::warn!(
                    error = with_causes(&error),
                    "the log was not tidied up; tried again"
                );
            }
            Report::Cleaned(report) => {
                let reader = &self.reader;
                let starts = report.moved.into_iter().map(|partition| {
                    let start = reader.start(&partition);
                    (partition, start)
                });
                self.node.on_cleaned(starts, report.dropped);
                self.node.on_refilled(self.now(), report.refilled);
                let (removed, written) = (report.files_removed, report.files_written);
                tracing::debug!(removed, written, "the log was cleaned");
            }
            Report::Failed(error) => return Err(RunError::Journal(Box::new(error))),
        }
        Ok(())
    }

    pub(super) fn on_link(&mut self, input: LinkInput) {
        let now = self.now();
        match input {
            LinkInput::Connected(link_id, id, dialled, sender) => {
                self.senders.insert(link_id, sender);
                self.node.on_connected(now, link_id, &id, dialled);
            }
            LinkInput::Event(link_id, LaneEvent::Received { lane, frame }) => {
                self.node.on_frame(now, link_id, lane, frame);
            }
            LinkInput::Event(link_id, LaneEvent::Written { lane, bytes }) => {
                self.node.on_written(now, link_id, lane, bytes);
            }
            LinkInput::Lost(link_id, why, ended) => {
                if self.node.is_connected(link_id) {
                    tracing::info!(%link_id, why, "a connection is over");
                } else {
                    // It was closed by this hub, which has said why.
                    tracing::debug!(%link_id, why, "a connection is over");
                }
                self.senders.remove(&link_id);
                self.node.on_lost(now, link_id, ended, &why);
            }
            LinkInput::DialFailed(index, why) => {
                let peer = self.node.peer(index).map(ToString::to_string);
                tracing::debug!(peer, why, "cannot dial");
                self.node.on_dial_failed(now, index, &why);
            }
        }
    }

    pub(super) fn on_question(&mut self, question: Question) {
        let now = self.now();
        question(&mut self.node, now);
    }

    pub(super) fn on_configured(&mut self, config: &HubConfig) {
        self.node.on_configured(self.now(), config);
    }

    pub(super) fn on_timeout(&mut self) {
        self.node.on_timeout(self.now());
    }

    /// Why the hub has to stop, when its life is over.
    pub(super) fn taken_back(&self) -> Option<TakenBack> {
        self.node.taken_back().cloned()
    }

    /// What is to become of the life of the store when it is closed.
    pub(super) fn life(&self) -> Life {
        if self.node.taken_back().is_some() { Life::Ends } else { Life::GoesOn }
    }

    pub(super) fn into_writer(self) -> CommitWriter<DiskStore> {
        self.writer
    }
}
