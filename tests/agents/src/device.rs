//! One agent: it makes an event a second and keeps it until the hub has it on disk.

use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use headland_event::{
    AgentName, Batch, ByteCount, Dot, Entry, EventTime, HubName, Incarnation, Lane, Monotonic,
    Offset, PartitionIndex, Record, RegionId, Sequence, StreamId, TopicName, TopicPartition,
};
use headland_platform::clock::Clock;
use headland_platform::task;
use headland_platform::tls;
use headland_replication::quic::{
    Connection, Endpoint, LaneEvent, LaneSender, Lanes, TlsConfigs, Windows,
};
use headland_replication::{
    Dialer, DialerConfig, DialerOutput, Identity, Link, LinkConfig, LinkOutput, Offer,
};

use crate::crowd::Seen;

/// The topic that every agent publishes.
pub(crate) const TOPIC: &str = "air.readings";

/// Time between two events of an agent.
const EVENT_INTERVAL: Duration = Duration::from_secs(1);

/// Longest wait of an agent that has nothing to do.
const IDLE: Duration = Duration::from_secs(1);

/// Where the hub is and what its certificate says.
#[derive(Debug, Clone)]
pub(crate) struct Hub {
    pub(crate) address: SocketAddr,
    pub(crate) server_name: String,
    pub(crate) region: RegionId,
}

/// An agent with what it has not handed over yet.
pub(crate) struct Device {
    name: AgentName,
    hub: Hub,
    clock: Clock,
    seed: u64,
    seen: Arc<Seen>,
    partition: TopicPartition,
    dot: Dot,
    entries: VecDeque<Entry>,
    head: Offset,
    next_at: Monotonic,
}

impl Device {
    /// An agent that makes its first event a part of a second after `now`, each another.
    pub(crate) fn new(
        number: u64,
        name: AgentName,
        hub: Hub,
        clock: Clock,
        seen: Arc<Seen>,
    ) -> Result<Self> {
        let partition =
            TopicPartition { topic: TopicName::new(TOPIC)?, partition: PartitionIndex::new(0) };
        let mut stream = [0; 16];
        stream.iter_mut().zip(number.to_be_bytes()).for_each(|(byte, of)| *byte = of);
        let dot = Dot {
            stream: StreamId::new(stream),
            incarnation: Incarnation::new(1, number),
            sequence: Sequence::new(0),
        };
        // A prime step spreads them over the second without a pattern.
        let phase = Duration::from_millis(number * 617 % 1_000);
        let (entries, head) = (VecDeque::new(), Offset::new(0));
        let next_at = clock.monotonic().after(phase);
        let seed = number;
        Ok(Self { name, hub, clock, seed, seen, partition, dot, entries, head, next_at })
    }

    /// Dials and sends until it is dropped; ends by itself only when something is wrong.
    pub(crate) async fn live(mut self, identity: tls::Identity) -> Result<()> {
        let client = Some(identity.client().as_ref().clone());
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let endpoint = Endpoint::bind(any, TlsConfigs { server: None, client }, Windows::agent())?;
        let mut dialer = Dialer::new(DialerConfig::default(), self.seed);
        loop {
            while let Some(DialerOutput::Dial) = dialer.poll_output() {
                self.seen.on_dial();
                let dialled = endpoint.connect(self.hub.address, &self.hub.server_name).await;
                if let Ok(connection) = dialled {
                    self.serve(&connection, &mut dialer).await?;
                }
                dialer.on_lost(self.clock.monotonic());
            }
            let until = dialer.poll_timeout().map(|at| self.clock.until(at));
            tokio::time::sleep(until.unwrap_or(IDLE)).await;
            dialer.on_timeout(self.clock.monotonic());
        }
    }

    async fn serve(&mut self, connection: &Connection, dialer: &mut Dialer) -> Result<()> {
        let Lanes { sender, mut events, driver } = connection.lanes();
        let driver = task::spawn_until_done("lanes", driver.run());
        let (mut link, mut is_ready) = (self.link()?, false);
        while self.drain(&mut link, &sender, dialer, &mut is_ready)? {
            let timeout = link.poll_timeout().map(|at| self.clock.until(at));
            let wait = timeout.unwrap_or(IDLE).min(self.clock.until(self.next_at));
            tokio::select! {
                event = events.recv() => match event {
                    Some(LaneEvent::Received { lane, frame }) => {
                        link.on_frame(self.clock.monotonic(), lane, frame);
                    }
                    Some(LaneEvent::Written { lane, bytes }) => link.on_written(lane, bytes),
                    None => break,
                },
                () = tokio::time::sleep(wait) => link.on_timeout(self.clock.monotonic()),
            }
            if self.make_events()? {
                link.on_head(headland_event::ChannelId::new(0), self.head);
            }
        }
        if is_ready {
            self.seen.on_gone();
        }
        drop(driver);
        Ok(())
    }

    fn link(&self) -> Result<Link> {
        let region = self.hub.region.clone();
        let local = Identity::Agent { region: region.clone(), name: self.name.clone() };
        let hub = Identity::Hub { region: region.clone(), name: HubName::new("hub-1")? };
        let now = self.clock.monotonic();
        let mut link = Link::new(LinkConfig::new(local, self.dot.incarnation, hub), self.seed, now);
        link.announce(Offer {
            source: self.partition.clone(),
            origin: region,
            origin_topic: self.partition.topic.clone(),
            path: Vec::new(),
            lane: Lane::Telemetry,
            start: Offset::new(0),
            head: self.head,
        })?;
        Ok(link)
    }

    /// Makes the events that are due, each a batch of its own; whether there were any.
    fn make_events(&mut self) -> Result<bool> {
        let (before, now) = (self.head, self.clock.monotonic());
        while self.next_at <= now {
            self.next_at = self.next_at.after(EVENT_INTERVAL);
            let time = self.clock.wall();
            let value = format!(
                r#"{{"station":"{}","number":{},"pm25":12.5,"time":{}}}"#,
                self.name,
                self.head,
                time.millis()
            );
            let record =
                Record::new(EventTime::from_millis(time.millis()), self.name.to_string(), value);
            let batch = Batch::encode(&[record])?;
            let dot = self.dot.after(self.head.get());
            self.entries.push_back(Entry { base: self.head, dot, stamp: None, batch });
            self.head = self.head.after(1);
            self.seen.on_made();
        }
        Ok(self.head > before)
    }

    /// Does what the link asks for; whether the connection goes on.
    fn drain(
        &mut self,
        link: &mut Link,
        lanes: &LaneSender,
        dialer: &mut Dialer,
        is_ready: &mut bool,
    ) -> Result<bool> {
        while let Some(output) = link.poll_output() {
            match output {
                LinkOutput::Send { lane, frame } => {
                    if lanes.send(lane, frame).is_err() {
                        return Ok(false);
                    }
                }
                LinkOutput::PeerReady(_) => {
                    dialer.on_ready(self.clock.monotonic());
                    *is_ready = true;
                    self.seen.on_ready();
                }
                LinkOutput::Read { channel, from, limit } => {
                    link.on_entries(channel, self.read(from, limit));
                }
                LinkOutput::Acked { channel: _, next } => {
                    while self.entries.pop_front_if(|entry| entry.end() <= next).is_some() {
                        self.seen.on_acknowledged();
                    }
                }
                LinkOutput::OfferRefused { refusal, .. } | LinkOutput::Ended { refusal, .. } => {
                    bail!("{}: {refusal}", self.name)
                }
                LinkOutput::Announced(announce) => bail!("a hub offered {:?}", announce.offer),
                LinkOutput::Deliver { .. }
                | LinkOutput::Promised(_)
                | LinkOutput::Leased(_)
                | LinkOutput::RefillAsked(_)
                | LinkOutput::Refilled(_) => {}
                LinkOutput::Close(_) => return Ok(false),
            }
        }
        Ok(true)
    }

    fn read(&self, from: Offset, limit: ByteCount) -> Vec<Entry> {
        let mut bytes = 0;
        let wanted = self.entries.iter().filter(|entry| entry.base >= from);
        wanted
            .take_while(|entry| {
                let is_first = bytes == 0;
                bytes += u64::try_from(entry.batch.as_bytes().len()).unwrap_or(u64::MAX);
                is_first || bytes <= limit.get()
            })
            .cloned()
            .collect()
    }
}

/// The certificate of an agent, in the fleet's folder.
pub(crate) fn identity(folder: &std::path::Path, name: &str) -> Result<tls::Identity> {
    let [ca, certificate, key] =
        ["ca.pem".to_owned(), format!("{name}.pem"), format!("{name}.key")]
            .map(|file| folder.join(file));
    tls::Identity::load(&ca, &certificate, &key).with_context(|| format!("identity of {name}"))
}
