//! One end of a link: its journal, its connection, its state machine.

use std::collections::{BTreeMap, VecDeque};
use std::path::Path;

use anyhow::{Context, Result, bail};
use headland_event::{
    Batch, ByteCount, ChannelId, Dot, Entry, Monotonic, Offset, SeededRandom, TopicPartition,
};
use headland_platform::clock::{Clock, entropy};
use headland_replication::quic::{LaneEvent, LaneSender};
use headland_replication::{Link, LinkConfig, LinkOutput, Offer};
use headland_storage::{
    CommitWriter, Composer, DiskStore, LogReader, LogStore, OpenOptions, Report, Ticket,
};
use tokio::sync::mpsc;

use crate::fleet::Side;

/// Bytes of batches in a commit, most: a group of the journal.
const COMMIT_BYTES: usize = 4 << 20;

type Reader = <DiskStore as LogStore>::Reader;

/// A journal and its writer's thread.
pub(crate) struct Log {
    pub(crate) reader: Reader,
    composer: Composer,
    writer: CommitWriter<DiskStore>,
    reports: mpsc::UnboundedReceiver<Report>,
    /// Commits that are not durable yet, with the batches of each.
    waiting: VecDeque<(Ticket, Vec<Written>)>,
    composing: Vec<Written>,
    random: SeededRandom,
    pub(crate) life: headland_event::Incarnation,
}

/// A batch that was composed into a commit.
#[derive(Debug, Clone)]
pub(crate) struct Written {
    pub(crate) partition: TopicPartition,
    /// The offset after it.
    pub(crate) end: Offset,
    pub(crate) batch: Batch,
    /// The channel and the peer's offset after it, when it came over the link.
    pub(crate) arrived: Option<(ChannelId, Offset)>,
}

impl Log {
    pub(crate) fn open(directory: &Path, clock: Clock) -> Result<Self> {
        let store = DiskStore::open(directory, OpenOptions::new(entropy()? | 1))?;
        let (reader, life) = (store.reader(), store.incarnation());
        let composer = Composer::new(life, &reader, &store)?;
        let (reports_in, reports) = mpsc::unbounded_channel();
        let report = move |report| drop(reports_in.send(report));
        let writer = CommitWriter::start(store, move || clock.monotonic(), report)?;
        let (waiting, composing) = (VecDeque::new(), Vec::new());
        let random = SeededRandom::new(7);
        Ok(Self { reader, composer, writer, reports, waiting, composing, random, life })
    }

    /// Adds a batch that is born here to the commit being composed.
    pub(crate) fn write(&mut self, partition: &TopicPartition, batch: Batch) {
        self.composer.born(partition, None, batch.clone(), &mut self.random);
        self.composed(partition, batch, None);
    }

    fn copy(&mut self, partition: &TopicPartition, channel: ChannelId, entry: Entry) {
        let arrived = Some((channel, entry.end()));
        let Entry { dot, stamp, batch, base: _ } = entry;
        let dot: Dot = dot;
        self.composer.copied(partition, dot, stamp, batch.clone());
        self.composed(partition, batch, arrived);
    }

    fn composed(
        &mut self,
        partition: &TopicPartition,
        batch: Batch,
        arrived: Option<(ChannelId, Offset)>,
    ) {
        let end = self.composer.end(partition);
        self.composing.push(Written { partition: partition.clone(), end, batch, arrived });
        if self.composer.pending_bytes() >= COMMIT_BYTES {
            self.commit();
        }
    }

    /// Hands what is composed to the disk.
    pub(crate) fn commit(&mut self) {
        if let Some(composed) = self.composer.take() {
            self.waiting.push_back((composed.ticket, std::mem::take(&mut self.composing)));
            self.writer.commit(composed);
        }
    }

    /// Whether everything composed is durable.
    pub(crate) fn is_settled(&self) -> bool {
        self.waiting.is_empty() && self.composing.is_empty()
    }

    /// The batches of the next commit that becomes durable.
    ///
    /// # Cancel safety
    /// Nothing is lost.
    pub(crate) async fn durable(&mut self) -> Result<Vec<Written>> {
        loop {
            match self.reports.recv().await.context("the journal's thread is gone")? {
                Report::Durable { ticket, number: _ } => {
                    let (first, batches) =
                        self.waiting.pop_front().context("commits become durable in order")?;
                    debug_assert!(first == ticket, "commits become durable in order");
                    return Ok(batches);
                }
                Report::Failed(error) | Report::Stalled(error) => return Err(error.into()),
                Report::Resumed | Report::Neglected(_) | Report::Cleaned(_) => {}
            }
        }
    }

    pub(crate) fn close(self) -> Result<()> {
        let (store, outcome) = self.writer.close();
        outcome?;
        store.close()?;
        Ok(())
    }
}

/// A link on its connection, with the journal it reads from and writes to.
pub(crate) struct End {
    pub(crate) log: Log,
    clock: Clock,
    link: Link,
    lanes: LaneSender,
    offers: BTreeMap<ChannelId, TopicPartition>,
    subscriptions: BTreeMap<ChannelId, TopicPartition>,
    /// Whether the peer has everything that was offered.
    acked: BTreeMap<ChannelId, Offset>,
}

impl End {
    pub(crate) fn new(side: Side, log: Log, clock: Clock, lanes: LaneSender) -> Result<Self> {
        let config = LinkConfig::new(side.identity()?, log.life, side.peer().identity()?);
        let link = Link::new(config, 1, clock.monotonic());
        let (offers, subscriptions, acked) = <_>::default();
        Ok(Self { log, clock, link, lanes, offers, subscriptions, acked })
    }

    /// Offers a partition of a topic that was born in this end's region.
    pub(crate) fn offer(&mut self, side: Side, source: TopicPartition) -> Result<()> {
        let region = side.identity()?.region().clone();
        let offer = Offer {
            origin: region.clone(),
            origin_topic: source.topic.clone(),
            path: vec![region],
            lane: headland_event::Lane::Telemetry,
            start: Offset::new(0),
            head: self.log.reader.end(&source),
            source: source.clone(),
        };
        let channel = self.link.announce(offer)?;
        self.offers.insert(channel, source);
        Ok(())
    }

    /// Whether the peer has on disk what this end has.
    pub(crate) fn is_acknowledged(&self) -> bool {
        self.offers.iter().all(|(channel, partition)| {
            let acked = self.acked.get(channel).copied().unwrap_or_default();
            acked == self.log.reader.end(partition)
        })
    }

    pub(crate) fn on_event(&mut self, event: LaneEvent) {
        match event {
            LaneEvent::Received { lane, frame } => {
                self.link.on_frame(self.clock.monotonic(), lane, frame);
            }
            LaneEvent::Written { lane, bytes } => self.link.on_written(lane, bytes),
        }
    }

    /// A commit became durable: the peer hears of it, one way or the other.
    pub(crate) fn on_durable(&mut self, written: &[Written]) {
        for Written { partition, end, batch: _, arrived } in written {
            if let Some((channel, next)) = arrived {
                self.link.on_stored(*channel, *next);
            } else {
                let offer = self.offers.iter().find(|(_, offered)| *offered == partition);
                if let Some((channel, _)) = offer {
                    self.link.on_head(*channel, *end);
                }
            }
        }
    }

    pub(crate) fn on_timeout(&mut self) {
        self.link.on_timeout(self.clock.monotonic());
    }

    pub(crate) fn poll_timeout(&self) -> Option<std::time::Duration> {
        self.link.poll_timeout().map(|at: Monotonic| self.clock.until(at))
    }

    /// Does what the link asks for; what arrived goes to the disk as one commit.
    pub(crate) fn drain(&mut self) -> Result<()> {
        while let Some(output) = self.link.poll_output() {
            match output {
                LinkOutput::Send { lane, frame } => self.lanes.send(lane, frame)?,
                LinkOutput::Read { channel, from, limit } => self.read(channel, from, limit)?,
                LinkOutput::Announced(announce) => {
                    let partition = announce.offer.source.clone();
                    self.link.subscribe(announce.channel, self.log.reader.end(&partition));
                    self.subscriptions.insert(announce.channel, partition);
                }
                LinkOutput::Deliver { channel, entry } => {
                    let partition = self.subscriptions.get(&channel);
                    let partition = partition.context("a channel is subscribed to first")?.clone();
                    self.log.copy(&partition, channel, entry);
                }
                LinkOutput::Acked { channel, next } => {
                    self.acked.insert(channel, next);
                }
                LinkOutput::PeerReady(_) | LinkOutput::Promised(_) => {}
                LinkOutput::OfferRefused { refusal, .. } | LinkOutput::Ended { refusal, .. } => {
                    bail!("a channel ended: {refusal}")
                }
                LinkOutput::Close(reason) => return Err(reason.into()),
            }
        }
        self.log.commit();
        Ok(())
    }

    fn read(&mut self, channel: ChannelId, from: Offset, limit: ByteCount) -> Result<()> {
        let partition = self.offers.get(&channel).context("only what was offered is read")?;
        let entries = self.log.reader.read(partition, from, limit)?;
        self.link.on_entries(channel, entries);
        Ok(())
    }

    /// Closes the journal; the connection goes with the process.
    pub(crate) fn close(self) -> Result<()> {
        self.log.close()
    }
}
