//! Turns of Kafka's broker and of the store, and records for each second and each CPU-second.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use super::connection::Connection;
use super::producer::Producer;
use crate::arguments::Arguments;
use crate::report::Report;
use crate::speed::batches::{Shape, Spread};
use crate::speed::rounded;
use headland_gauge::{self as gauge, float, median};

/// Topic that Kafka flushes after each batch, and one that it leaves to the system.
const FLUSHED: &str = "proof.flushed";
const DEFAULT: &str = "proof.default";
/// Requests before the watch runs: a virtual machine compiles what it runs often.
const WARM_UP: Duration = Duration::from_secs(4);
/// Partitions of each topic, as many as batches of the largest shape.
const PARTITIONS: u32 = 8;
const SHAPES: [Shape; 3] = [
    Shape { records: 1, spread: Spread::Turns },
    Shape { records: 100, spread: Spread::Eight },
    Shape { records: 1_000, spread: Spread::Eight },
];

/// Who answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    KafkaFlushed,
    KafkaDefault,
    Store,
}

impl Side {
    const ALL: [Self; 3] = [Self::KafkaFlushed, Self::KafkaDefault, Self::Store];

    const fn name(self) -> &'static str {
        match self {
            Self::KafkaFlushed => "kafka_flush_messages_1",
            Self::KafkaDefault => "kafka_default",
            Self::Store => "store_behind_a_socket",
        }
    }

    const fn topic(self) -> &'static str {
        match self {
            Self::KafkaFlushed => FLUSHED,
            Self::KafkaDefault | Self::Store => DEFAULT,
        }
    }
}

/// A process that answers producers.
#[derive(Debug, Clone, Copy)]
struct Peer {
    address: SocketAddr,
    process: u32,
}

/// What the turns of one side and shape gave.
#[derive(Debug, Default)]
struct Samples {
    records_per_second: Vec<f64>,
    server_cpu_micros: Vec<f64>,
    producer_cpu_micros: Vec<f64>,
}

/// The store's process; it is killed when this is dropped.
struct Server {
    child: Child,
    directory: PathBuf,
}

impl Drop for Server {
    fn drop(&mut self) {
        let ended = self.child.kill().and_then(|()| self.child.wait());
        if let Err(error) = ended.and_then(|_| std::fs::remove_dir_all(&self.directory)) {
            eprintln!("what the store's process left could not be cleared: {error}");
        }
    }
}

/// Measures every shape and compares.
pub(crate) fn run(mut arguments: Arguments) -> Result<Report> {
    let directory = arguments.take_path("directory")?;
    let broker: SocketAddr = arguments.take("broker", ([127, 0, 0, 1], 9092).into())?;
    let process: u32 = arguments.take("broker-process", 0)?;
    let connections: usize = arguments.take("connections", 8)?;
    let rounds: usize = arguments.take("rounds", 5)?;
    let turn = Duration::from_millis(arguments.take("millis", 1_000)?);
    arguments.finish()?;
    let (_server, store) = start(&directory.join("beside"))?;
    let kafka = Peer { address: broker, process };
    let mut topics = Connection::open(kafka.address)?;
    topics.create(FLUSHED, PARTITIONS, Some(("flush.messages", "1")))?;
    topics.create(DEFAULT, PARTITIONS, None)?;
    let (mut is_green, mut rows) = (true, Vec::new());
    for shape in SHAPES {
        let peer = |side| if side == Side::Store { store } else { kafka };
        let mut all = Vec::new();
        for side in Side::ALL {
            all.push((side, producers(peer(side), side, shape, connections)?, Samples::default()));
        }
        for _ in 0..rounds {
            for (side, producers, samples) in &mut all {
                samples.add(peer(*side), producers, shape, turn)?;
            }
        }
        let samples: Vec<(Side, Samples)> = all.into_iter().map(|(s, _, all)| (s, all)).collect();
        let (row, is_met) = row(shape, &samples);
        eprintln!("{row}");
        is_green &= is_met;
        rows.push(row);
    }
    let result = json!({
        "record_bytes": 200,
        "partitions": 8,
        "connections_with_one_request_each": connections,
        "rounds": rounds,
        "millis_a_turn": turn.as_millis(),
        "produced": rows,
    });
    Ok(Report { is_green, result })
}

/// Starts the store's process on an empty directory.
fn start(directory: &Path) -> Result<(Server, Peer)> {
    if directory.exists() {
        std::fs::remove_dir_all(directory).context("cannot remove an earlier run")?;
    }
    let program = std::env::current_exe().context("cannot find this program")?;
    let mut serve = Command::new(program);
    serve.arg("serve").arg("--directory").arg(directory).stdout(Stdio::piped());
    let mut child = serve.spawn().context("cannot start a server")?;
    let said = child.stdout.take().context("the server's output is piped")?;
    let process = child.id();
    let server = Server { child, directory: directory.to_owned() };
    let mut port = String::new();
    BufReader::new(said).read_line(&mut port).context("the server says no port")?;
    let port: u16 = port.trim().parse().with_context(|| format!("the server said {port:?}"))?;
    Ok((server, Peer { address: ([127, 0, 0, 1], port).into(), process }))
}

/// Producers of one side that were answered before and have run for a while.
fn producers(peer: Peer, side: Side, shape: Shape, connections: usize) -> Result<Vec<Producer>> {
    let new = |number| Producer::new(peer.address, side.topic(), shape, number);
    let mut producers = (0..connections).map(new).collect::<Result<Vec<_>>>()?;
    for producer in &mut producers {
        producer.wait_until_taken()?;
    }
    send(&mut producers, WARM_UP)?;
    Ok(producers)
}

/// Lets all of them send at the same time; returns how many requests were acknowledged.
fn send(producers: &mut [Producer], turn: Duration) -> Result<u64> {
    std::thread::scope(|scope| {
        let senders: Vec<_> =
            producers.iter_mut().map(|producer| scope.spawn(|| producer.send_for(turn))).collect();
        let mut sent = 0;
        for sender in senders {
            let Ok(count) = sender.join() else { bail!("a producer panicked") };
            sent += count?;
        }
        Ok(sent)
    })
}

impl Samples {
    fn add(
        &mut self,
        peer: Peer,
        producers: &mut [Producer],
        shape: Shape,
        turn: Duration,
    ) -> Result<()> {
        // Nobody pays for what another one left to the system to write.
        rustix::fs::sync();
        let (server, own, start) = (gauge::cpu_of(peer.process)?, gauge::cpu(), gauge::now());
        let sent = send(producers, turn)?;
        let (took, own) = (gauge::now() - start, gauge::cpu() - own);
        let server = gauge::cpu_of(peer.process)?.saturating_sub(server);
        let records = float(sent * u64::try_from(shape.records)?);
        self.records_per_second.push(records / took.as_secs_f64());
        self.server_cpu_micros.push(server.as_secs_f64() * 1e6 / records);
        self.producer_cpu_micros.push(own.as_secs_f64() * 1e6 / records);
        Ok(())
    }

    /// CPU-seconds for a million records are CPU-microseconds for one.
    fn report(&self) -> Value {
        json!({
            "records_per_second": median(&self.records_per_second).round(),
            "server_cpu_seconds_per_million_records": rounded(median(&self.server_cpu_micros)),
            "producer_cpu_seconds_per_million_records": rounded(median(&self.producer_cpu_micros)),
        })
    }
}

/// One shape's figures; whether the store takes less of the processor than either broker.
fn row(shape: Shape, samples: &[(Side, Samples)]) -> (Value, bool) {
    let cost = |wanted: Side| {
        let found = samples.iter().find(|(side, _)| *side == wanted);
        found.map_or(0.0, |(_, samples)| median(&samples.server_cpu_micros))
    };
    let ahead = |side| cost(side) / cost(Side::Store);
    let (flushed, default) = (ahead(Side::KafkaFlushed), ahead(Side::KafkaDefault));
    let is_met = flushed > 1.0 && default > 1.0;
    let mut row = json!({
        "records_a_request": shape.records,
        "records_per_cpu_second_beside_flush_messages_1": rounded(flushed),
        "records_per_cpu_second_beside_default": rounded(default),
        "is_met": is_met,
    });
    for (side, samples) in samples {
        if let Some(object) = row.as_object_mut() {
            object.insert(side.name().to_owned(), samples.report());
        }
    }
    (row, is_met)
}
