//! The node and what it works on: does what the node asks for, tells it what happened.

use headland_event::Now;
use headland_platform::clock::Clock;
use headland_platform::task;
use headland_platform::telemetry::{TraceSink, with_causes};
use headland_replication::CloseReason;
use headland_replication::frame::Goodbye;
use headland_replication::quic::{CloseCode, Farewell, LaneEvent, LaneSender};
use headland_storage::{
    CommitWriter, DiskFile, DiskMedium, DiskStore, JournalReader, LogReader, MissingOffsets,
    ReadError, Report, ScrubRead, Scrubbed, Snapshot, SnapshotStore,
};
use tokio::sync::mpsc;

use super::start::RunError;
use crate::connection::{self, Attempt, Ending, LinkInput};
use crate::hubs::HubIndex;
use crate::node::{Node, Output, SourceIndex};
use crate::source::{Chunk, FollowError};
use crate::uplink::{self, SUPERSEDED};

/// The node and what it works on.
pub(super) struct Stages {
    pub(super) node: Node,
    pub(super) clock: Clock,
    pub(super) reader: JournalReader<DiskFile>,
    pub(super) writer: CommitWriter<DiskStore>,
    pub(super) uplink: UplinkInUse,
    pub(super) snapshots: SnapshotStore<DiskMedium>,
    pub(super) traces: Option<TraceSink>,
    /// Where to send what scrubs find.
    pub(super) scrubs: mpsc::UnboundedSender<Scrubbed>,
}

/// Which of the connections that were dialled is used: the last that was made.
#[derive(Debug, Default)]
pub(super) struct UplinkInUse {
    /// What is sent goes out by this.
    pub(super) sender: Option<LaneSender>,
    /// Why the link is being closed, until it is.
    closing: Option<String>,
    used: Option<Attempt>,
    last: Attempt,
    /// The hub of the last attempt.
    hub: HubIndex,
}

impl UplinkInUse {
    /// A hub is being dialled: what becomes of earlier attempts is of no interest any more.
    pub(super) fn begin(&mut self, hub: HubIndex) -> Attempt {
        (self.last, self.hub) = (self.last.next(), hub);
        self.last
    }

    /// An attempt has made a connection; returns the hub when it is used from now on.
    fn on_connected(&mut self, attempt: Attempt, sender: LaneSender) -> Option<HubIndex> {
        let unused = if attempt == self.last {
            self.used = Some(attempt);
            self.sender.replace(sender)
        } else {
            Some(sender)
        };
        if let Some(unused) = unused {
            unused.close(Farewell::from(&CloseReason::Here(Goodbye::Reconfigured)));
        }
        (self.used == Some(attempt)).then_some(self.hub)
    }

    /// The connection in use is over.
    fn on_lost(&mut self) {
        (self.sender, self.used) = (None, None);
    }
}

impl Stages {
    pub(super) fn now(&self) -> Now {
        Now { monotonic: self.clock.monotonic(), wall: self.clock.wall() }
    }

    /// Has the node keep what it would forget; nothing else that it asks for is done any more.
    pub(super) fn stop(&mut self) {
        self.node.on_stopping(self.now());
        while let Some(output) = self.node.poll_output() {
            if matches!(output, Output::Commit(_)) {
                self.perform(output);
            }
        }
    }

    /// Does what the node asks for; dialling is the caller's.
    pub(super) fn perform(&mut self, output: Output) {
        match output {
            Output::Commit(composed) => self.writer.commit(composed),
            Output::Send { lane, frame } => {
                connection::send(self.uplink.sender.as_ref(), lane, frame)
            }
            Output::Read { channel, partition, from, limit } => {
                match self.reader.read(&partition, from, limit) {
                    Ok(entries) => self.node.on_entries(self.now(), channel, entries),
                    Err(ReadError::Quarantined { partition, from, until }) => {
                        let lost = MissingOffsets { partition, from, until };
                        self.node.on_damaged(self.now(), channel, lost);
                    }
                    Err(error) => {
                        let error = with_causes(&error);
                        tracing::error!(%partition, %from, error, "cannot read the log");
                        // Nothing would ask again; the next connection does.
                        self.uplink.sender = None;
                    }
                }
            }
            Output::Close(reason) => {
                self.uplink.closing = Some(uplink::why(&reason));
                // The driver writes what is queued, tells the hub's transport why, and ends.
                if let Some(sender) = self.uplink.sender.take() {
                    sender.close(Farewell::from(&reason));
                }
            }
            Output::Trace(span) => {
                if let Some(traces) = &self.traces {
                    traces.export(span);
                }
            }
            Output::Snapshot(snapshot) => self.save(snapshot),
            Output::Scrub(read) => self.scrub(read),
            Output::Clean(policy) => self.writer.clean(policy, self.clock.wall()),
            Output::Dial(_) => {}
        }
    }

    /// Saves a snapshot on a thread of its own: it may take as long as the disk likes.
    fn save(&self, Snapshot { at, state }: Snapshot) {
        let snapshots = self.snapshots.clone();
        let saving = task::spawn_blocking("snapshot", move || {
            if let Err(error) = snapshots.save(&Node::snapshot_owner(), at, &state) {
                // The ones before it are still there; a restart replays more.
                tracing::warn!(%at, error = with_causes(&error), "a snapshot was not saved");
            }
        });
        drop(saving);
    }

    /// Reads a piece of the log on a thread of its own: no commit and no link waits for it.
    fn scrub(&self, read: ScrubRead) {
        let (scrubs, reader) = (self.scrubs.clone(), self.reader.clone());
        drop(task::spawn_blocking("scrub", move || drop(scrubs.send(read.read(&reader)))));
    }

    pub(super) fn on_scrubbed(&mut self, scrubbed: Scrubbed) {
        self.node.on_scrubbed(self.now(), scrubbed);
    }

    pub(super) fn on_report(&mut self, report: Report) -> Result<(), RunError> {
        match report {
            Report::Durable { ticket, number } => {
                self.node.on_committed(self.now(), ticket, number);
            }
            Report::Stalled(error) => tracing::error!(%error, "commits wait for the disk"),
            Report::Resumed => tracing::info!("the disk takes commits again"),
            Report::Neglected(error) => {
                tracing::warn!(
                    error = with_causes(&error),
                    "the log was not tidied up; tried again"
                );
            }
            Report::Cleaned(report) => {
                let (removed, written) = (report.files_removed, report.files_written);
                tracing::debug!(removed, written, "the log was cleaned");
                let reader = &self.reader;
                let starts = report.moved.into_iter().map(|partition| {
                    let start = reader.start(&partition);
                    (partition, start)
                });
                self.node.on_cleaned(starts, report.dropped);
            }
            Report::Failed(error) => return Err(RunError::Journal(Box::new(error))),
        }
        Ok(())
    }

    pub(super) fn on_link(&mut self, attempt: Attempt, input: LinkInput) {
        let now = self.now();
        let is_used = self.uplink.used == Some(attempt);
        match input {
            LinkInput::Connected(sender) => {
                if let Some(hub) = self.uplink.on_connected(attempt, sender) {
                    self.uplink.closing = None;
                    self.node.on_connected(now, hub);
                }
            }
            LinkInput::Event(LaneEvent::Received { lane, frame }) if is_used => {
                self.node.on_frame(now, lane, frame);
            }
            LinkInput::Event(LaneEvent::Written { lane, bytes }) if is_used => {
                self.node.on_written(now, lane, bytes);
            }
            LinkInput::Event(_) => {}
            LinkInput::Lost(ending) if is_used => self.on_lost(now, ending),
            LinkInput::Lost(Ending { why, .. }) if attempt == self.uplink.last => {
                tracing::warn!(%why, "no link to the hub; what is detected is kept");
                self.node.on_dial_failed(now);
            }
            LinkInput::Lost(Ending { why, .. }) => tracing::debug!(%why, "not used any more"),
        }
    }

    fn on_lost(&mut self, now: Now, Ending { why, code }: Ending) {
        if code == Some(CloseCode::Superseded) {
            self.node.on_superseded();
        }
        // What the hub's link said says more than how the transport ended.
        let why = match (self.uplink.closing.take(), code) {
            (Some(said), _) => format!("{said} ({why})"),
            (None, Some(CloseCode::Superseded)) => format!("{SUPERSEDED} ({why})"),
            (None, _) => why,
        };
        tracing::warn!(%why, "no link to the hub; what is detected is kept");
        self.uplink.on_lost();
        self.node.on_disconnected(now);
    }

    pub(super) fn on_lines(&mut self, index: SourceIndex, lines: Result<Chunk, FollowError>) {
        let now = self.now();
        match lines {
            Ok(Chunk { lines, cut, position }) => {
                if let Some(line) = cut {
                    self.node.on_cut_line(now, index, &line);
                }
                self.node.on_lines(now, index, &lines, position);
            }
            Err(error) => {
                tracing::error!(error = with_causes(&error), "a source cannot be read");
            }
        }
    }
}
