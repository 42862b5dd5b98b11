//! A connection to a broker, with one request on its way or several.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bytes::Bytes;

use headland_gauge as gauge;

use super::protocol;

/// Longest answer that is read: a megabyte of each partition, and one batch more.
const RESPONSE_LIMIT: usize = 64 << 20;
/// Between two attempts to connect.
const PAUSE: Duration = Duration::from_millis(200);
/// How long an answer may take, and a broker's start.
const PATIENCE: Duration = Duration::from_secs(60);
/// Kafka's code for a topic that is there already.
const TOPIC_EXISTS: i16 = 36;

/// A connection.
#[derive(Debug)]
pub(super) struct Connection(TcpStream);

impl Connection {
    /// Connects to a broker, which may be about to start.
    pub(super) fn open(address: SocketAddr) -> Result<Self> {
        let until = gauge::now() + PATIENCE;
        let stream = loop {
            match TcpStream::connect(address) {
                Ok(stream) => break stream,
                Err(_) if gauge::now() < until => std::thread::sleep(PAUSE),
                Err(error) => return Err(error).context("cannot connect"),
            }
        };
        stream.set_nodelay(true).context("cannot set up a connection")?;
        stream.set_read_timeout(Some(PATIENCE)).context("cannot set up a connection")?;
        Ok(Self(stream))
    }

    /// The same connection, for another thread.
    pub(super) fn share(&self) -> Result<Self> {
        self.0.try_clone().map(Self).context("cannot share a connection")
    }

    pub(super) fn send(&mut self, request: &[u8]) -> Result<()> {
        self.0.write_all(request).context("cannot send a request")
    }

    /// The next answer, without its length.
    pub(super) fn answer(&mut self) -> Result<Bytes> {
        let mut length = [0; 4];
        self.0.read_exact(&mut length).context("cannot read an answer")?;
        let length = usize::try_from(u32::from_be_bytes(length))?;
        ensure!(length <= RESPONSE_LIMIT, "an answer of {length} bytes");
        let mut answer = vec![0; length];
        self.0.read_exact(&mut answer).context("cannot read an answer")?;
        Ok(answer.into())
    }

    /// Sends a request and returns its answer.
    pub(super) fn ask(&mut self, request: &[u8]) -> Result<Bytes> {
        self.send(request)?;
        self.answer()
    }

    /// Creates a topic with one setting or none, unless it is there.
    pub(super) fn create(
        &mut self,
        topic: &str,
        partitions: u32,
        setting: Option<(&str, &str)>,
    ) -> Result<()> {
        let request = protocol::create_topic(topic, i32::try_from(partitions)?, setting)?;
        let code = protocol::read_created(self.ask(&request)?)?;
        ensure!(code == 0 || code == TOPIC_EXISTS, "cannot create {topic}: code {code}");
        Ok(())
    }
}
