//! One end of a link: its journal, and its state machine on one connection after another.

use std::collections::{BTreeMap, VecDeque};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use headland_event::{
    Batch, ByteCount, ChannelId, Dot, Entry, Lane, Monotonic, Offset, SeededRandom, TopicPartition,
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

/// Whether there is a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    /// It is on its connection.
    Up,
    /// It gave its connection up, or has none yet.
    Down,
}

/// A journal, and the link that reads from it and writes to it.
pub(crate) struct End {
    pub(crate) log: Log,
    side: Side,
    clock: Clock,
    linked: Option<Linked>,
    offered: Vec<(TopicPartition, Lane)>,
    /// Up to where the peer has what was offered.
    acked: BTreeMap<TopicPartition, Offset>,
}

/// A link on its connection.
struct Linked {
    link: Link,
    lanes: LaneSender,
    offers: BTreeMap<ChannelId, TopicPartition>,
    subscriptions: BTreeMap<ChannelId, TopicPartition>,
}

impl End {
    /// An end of which these partitions are offered to the peer, all born in its region.
    pub(crate) fn new(
        side: Side,
        log: Log,
        clock: Clock,
        offered: Vec<(TopicPartition, Lane)>,
    ) -> Self {
        Self { log, side, clock, linked: None, offered, acked: BTreeMap::new() }
    }

    /// Begins a link on a connection, in place of the one before. What that one delivered has to be
    /// durable: from there the new one goes on.
    pub(crate) fn connect(&mut self, lanes: LaneSender) -> Result<()> {
        debug_assert!(self.side == Side::Source || self.log.is_settled(), "what came is durable");
        let region = self.side.identity()?.region().clone();
        let config =
            LinkConfig::new(self.side.identity()?, self.log.life, self.side.peer().identity()?);
        let mut link = Link::new(config, 1, self.clock.monotonic());
        let mut offers = BTreeMap::new();
        for (source, lane) in &self.offered {
            let offer = Offer {
                origin: region.clone(),
                origin_topic: source.topic.clone(),
                path: vec![region.clone()],
                lane: *lane,
                start: Offset::new(0),
                head: self.log.reader.end(source),
                source: source.clone(),
            };
            offers.insert(link.announce(offer)?, source.clone());
        }
        self.linked = Some(Linked { link, lanes, offers, subscriptions: BTreeMap::new() });
        Ok(())
    }

    /// The connection is gone.
    pub(crate) fn disconnect(&mut self) {
        self.linked = None;
    }

    /// Whether the peer has on disk what this end has.
    pub(crate) fn is_acknowledged(&self) -> bool {
        self.offered.iter().all(|(partition, _)| {
            let acked = self.acked.get(partition).copied().unwrap_or_default();
            acked == self.log.reader.end(partition)
        })
    }

    /// Whether the peer has taken what is offered.
    pub(crate) fn is_flowing(&self) -> bool {
        let linked = self.linked.as_ref();
        linked.is_some_and(|linked| linked.link.offers().all(|offer| offer.acked.is_some()))
    }

    pub(crate) fn on_event(&mut self, event: LaneEvent) {
        let Some(Linked { link, .. }) = &mut self.linked else { return };
        match event {
            LaneEvent::Received { lane, frame } => {
                link.on_frame(self.clock.monotonic(), lane, frame);
            }
            LaneEvent::Written { lane, bytes } => link.on_written(lane, bytes),
        }
    }

    /// A commit became durable: the peer hears of it, one way or the other.
    pub(crate) fn on_durable(&mut self, written: &[Written]) {
        let Some(Linked { link, offers, .. }) = &mut self.linked else { return };
        for Written { partition, end, batch: _, arrived } in written {
            if let Some((channel, next)) = arrived {
                link.on_stored(*channel, *next);
            } else {
                let offer = offers.iter().find(|(_, offered)| *offered == partition);
                if let Some((channel, _)) = offer {
                    link.on_head(*channel, *end);
                }
            }
        }
    }

    pub(crate) fn on_timeout(&mut self) {
        if let Some(Linked { link, .. }) = &mut self.linked {
            link.on_timeout(self.clock.monotonic());
        }
    }

    /// How long until [`Self::on_timeout`] is due; a second at most.
    pub(crate) fn poll_timeout(&self) -> Duration {
        let at = self.linked.as_ref().and_then(|linked| linked.link.poll_timeout());
        let wait = at.map(|at: Monotonic| self.clock.until(at));
        wait.unwrap_or(Duration::MAX).min(Duration::from_secs(1))
    }

    /// Does what the link asks for; what arrived goes to the disk as one commit.
    pub(crate) fn drain(&mut self) -> Result<Standing> {
        let Some(linked) = &mut self.linked else { return Ok(Standing::Down) };
        while let Some(output) = linked.link.poll_output() {
            match output {
                LinkOutput::Send { lane, frame } => linked.lanes.send(lane, frame)?,
                LinkOutput::Read { channel, from, limit } => {
                    linked.read(&self.log.reader, channel, from, limit)?;
                }
                LinkOutput::Announced(announce) => {
                    let partition = announce.offer.source.clone();
                    linked.link.subscribe(announce.channel, self.log.reader.end(&partition));
                    linked.subscriptions.insert(announce.channel, partition);
                }
                LinkOutput::Deliver { channel, entry } => {
                    let partition = linked.subscriptions.get(&channel);
                    let partition = partition.context("a channel is subscribed to first")?.clone();
                    self.log.copy(&partition, channel, entry);
                }
                LinkOutput::Acked { channel, next } => {
                    let partition = linked.offers.get(&channel);
                    let partition = partition.context("only what was offered is acknowledged")?;
                    self.acked.insert(partition.clone(), next);
                }
                LinkOutput::PeerReady(_)
                | LinkOutput::Promised(_)
                | LinkOutput::Leased(_)
                | LinkOutput::RefillAsked(_)
                | LinkOutput::Refilled(_) => {}
                LinkOutput::OfferRefused { refusal, .. } | LinkOutput::Ended { refusal, .. } => {
                    bail!("a channel ended: {refusal}")
                }
                // A path that is cut: the next connection goes on.
                LinkOutput::Close(_) => {
                    self.linked = None;
                    self.log.commit();
                    return Ok(Standing::Down);
                }
            }
        }
        self.log.commit();
        Ok(Standing::Up)
    }

    /// Closes the journal; the connection goes with the process.
    pub(crate) fn close(self) -> Result<()> {
        self.log.close()
    }
}

impl Linked {
    fn read(
        &mut self,
        reader: &Reader,
        channel: ChannelId,
        from: Offset,
        limit: ByteCount,
    ) -> Result<()> {
        let partition = self.offers.get(&channel).context("only what was offered is read")?;
        let entries = reader.read(partition, from, limit)?;
        self.link.on_entries(channel, entries);
        Ok(())
    }
}
