//! Producers, each on a connection of its own with one request on its way.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use headland_event::SeededRandom;

use super::protocol;
use crate::speed::batches::{Shape, encoded};
use headland_gauge as gauge;

/// Different requests of a producer, so that no side lives in a processor's cache alone.
const REQUESTS: usize = 16;
/// Longest answer that is read: one to a request of a few partitions.
const RESPONSE_LIMIT: usize = 1 << 16;
/// How long a broker may take until a topic that it created can be written to.
const PATIENCE: Duration = Duration::from_secs(20);
/// Kafka's code for a topic that is there already.
const TOPIC_EXISTS: i16 = 36;

/// A connection to a broker, or to what speaks as one.
#[derive(Debug)]
pub(super) struct Connection(TcpStream);

impl Connection {
    pub(super) fn open(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(address).context("cannot connect")?;
        stream.set_nodelay(true).context("cannot set up a connection")?;
        Ok(Self(stream))
    }

    /// Sends a request and returns its answer, without the length.
    pub(super) fn ask(&mut self, request: &[u8]) -> Result<Bytes> {
        self.0.write_all(request).context("cannot send a request")?;
        let mut length = [0; 4];
        self.0.read_exact(&mut length).context("cannot read an answer")?;
        let length = usize::try_from(u32::from_be_bytes(length))?;
        ensure!(length <= RESPONSE_LIMIT, "an answer of {length} bytes");
        let mut answer = vec![0; length];
        self.0.read_exact(&mut answer).context("cannot read an answer")?;
        Ok(answer.into())
    }

    /// Creates a topic of eight partitions, unless it is there.
    pub(super) fn create(&mut self, topic: &str, setting: Option<(&str, &str)>) -> Result<()> {
        let code = protocol::read_created(self.ask(&protocol::create_topic(topic, 8, setting)?)?)?;
        ensure!(code == 0 || code == TOPIC_EXISTS, "cannot create {topic}: code {code}");
        Ok(())
    }
}

/// A producer, and the requests it sends in turn.
#[derive(Debug)]
pub(super) struct Producer {
    connection: Connection,
    requests: Vec<Vec<u8>>,
    next: usize,
}

impl Producer {
    /// A producer of batches that are encoded now; `number` decides what is in them.
    pub(super) fn new(
        address: SocketAddr,
        topic: &str,
        shape: Shape,
        number: usize,
    ) -> Result<Self> {
        let mut random = SeededRandom::new(u64::try_from(number)? + 1);
        let request = |append: usize| {
            let batches = encoded(shape, &mut random)?.into_iter().enumerate();
            let partition = |index| u32::try_from(shape.partition(append + number, index));
            let batches: Result<Vec<_>> =
                batches.map(|(index, batch)| Ok((partition(index)?, batch))).collect();
            protocol::produce(topic, &batches?)
        };
        let requests = (0..REQUESTS).map(request).collect::<Result<_>>()?;
        Ok(Self { connection: Connection::open(address)?, requests, next: 0 })
    }

    /// Sends requests until every partition has taken one of them.
    pub(super) fn wait_until_taken(&mut self) -> Result<()> {
        let start = gauge::now();
        for _ in 0..REQUESTS {
            // Each attempt takes a round trip, so a broker is not asked more often than it answers.
            while let Err(error) = self.send() {
                if gauge::now() - start > PATIENCE {
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    /// Sends requests, one after the other, for a while; returns how many were acknowledged.
    pub(super) fn send_for(&mut self, turn: Duration) -> Result<u64> {
        let (start, mut count) = (gauge::now(), 0);
        while gauge::now() - start < turn {
            self.send()?;
            count += 1;
        }
        Ok(count)
    }

    fn send(&mut self) -> Result<()> {
        let request = self.requests.get(self.next % REQUESTS).context("one of sixteen")?;
        let codes = protocol::read_produced(self.connection.ask(request)?)?;
        if codes.is_empty() || codes.iter().any(|code| *code != 0) {
            bail!("a request was refused: codes {codes:?}");
        }
        self.next += 1;
        Ok(())
    }
}
