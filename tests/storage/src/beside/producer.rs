//! Producers, each on a connection of its own with one request on its way.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use headland_event::SeededRandom;

use super::connection::Connection;
use super::protocol;
use crate::speed::batches::{Shape, encoded};
use headland_gauge as gauge;

/// Different requests of a producer, so that no side lives in a processor's cache alone.
const REQUESTS: usize = 16;
/// How long a broker may take until a topic that it created can be written to.
const PATIENCE: Duration = Duration::from_secs(20);

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
