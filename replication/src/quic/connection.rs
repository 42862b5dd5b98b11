//! One connection, before it is split into lanes.

use std::net::SocketAddr;

use std::sync::Arc;

use bytes::Bytes;
use headland_event::{ByteCount, Lane, Monotonic};
use rustls::pki_types::CertificateDer;

use super::close::CloseCode;
use super::lanes::Lanes;
use super::lost::Lost;
use super::pace::Gauge;
use super::places::Lasting;
use super::transport::Trails;
use crate::probing::{ProbeOutput, Probing};
use crate::trailing::{Trail, TrailOutput};

/// What a probe may take of the network beyond a datagram: quinn wants room to be left over.
const PROBE_SPARE: u64 = 1;

/// One established connection; clones are the same one.
#[derive(Debug, Clone)]
pub struct Connection {
    inner: quinn::Connection,
    gauge: Arc<Gauge>,
    trails: Trails,
    /// Says that it is over, once every clone is gone; absent where this side dialled.
    lasting: Option<Arc<Lasting>>,
}

impl Connection {
    pub(super) const fn new(inner: quinn::Connection, gauge: Arc<Gauge>, trails: Trails) -> Self {
        Self { inner, gauge, trails, lasting: None }
    }

    /// Keeps this until every clone is gone.
    pub(super) fn keep(mut self, lasting: Arc<Lasting>) -> Self {
        self.lasting = Some(lasting);
        self
    }

    pub(super) const fn quic(&self) -> &quinn::Connection {
        &self.inner
    }

    /// Before a part of a frame is written: lets QUIC take of a lane what the path can carry now,
    /// and little more, as what it holds of a lane stands before everything that is written later.
    pub(super) fn bound_unsent(&self, lane: Lane) {
        self.inner.set_send_window(self.gauge.held_bytes_limit(lane));
        self.gauge.on_written(lane);
    }

    /// Sends a datagram before what streams have to send; the oldest that wait make room. One that
    /// the peer does not take, as its build is from before they carried anything, is left out:
    /// what it holds travels on its stream too.
    pub(super) fn send_datagram(&self, datagram: Bytes) {
        self.inner.send_datagram(datagram).ok();
    }

    /// Runs as long as the connection: probes the path when what was sent stays unanswered.
    pub(super) async fn probe_when_silent(&self) {
        // Time here is what was slept, so that no clock has to be read.
        let mut now = Monotonic::from_millis(0);
        let mut probing = Probing::new(now);
        loop {
            let (in_flight, acks) = (self.gauge.in_flight(), self.gauge.acknowledgements());
            let pause = match probing.on_look(now, in_flight, acks, self.inner.rtt()) {
                ProbeOutput::Rest => {
                    self.gauge.wait_for_more().await;
                    probing.on_written(now);
                    continue;
                }
                ProbeOutput::Wait(pause) => pause,
                ProbeOutput::Probe(pause) => {
                    self.gauge.allow(self.probe_bytes());
                    // A peer that takes no datagrams is left to the transport's own probes.
                    self.send_datagram(Bytes::from_static(&[0]));
                    pause
                }
            };
            tokio::time::sleep(pause).await;
            now = now.after(pause);
        }
    }

    /// Runs as long as the connection: sends a probe after what nothing follows.
    pub(super) async fn probe_trails(&self) {
        if self.trails == Trails::Left {
            return std::future::pending().await;
        }
        let mut trail = Trail::default();
        loop {
            match trail.on_look(self.gauge.written(), self.inner.rtt()) {
                TrailOutput::Rest => self.gauge.wait_for_writing().await,
                TrailOutput::Wait(pause) => tokio::time::sleep(pause).await,
                TrailOutput::Probe => self.send_datagram(Bytes::from_static(&[0])),
            }
        }
    }

    /// What a probe may take of the network beyond the window: one datagram, for which quinn wants
    /// room of the largest.
    fn probe_bytes(&self) -> ByteCount {
        ByteCount::new(u64::from(self.inner.stats().path.current_mtu) + PROBE_SPARE)
    }

    /// The peer's certificate chain, its own first; empty when TLS asked for none.
    #[must_use]
    pub fn peer_certificates(&self) -> Vec<CertificateDer<'static>> {
        let chain = self.inner.peer_identity();
        let chain = chain.and_then(|any| any.downcast::<Vec<CertificateDer<'static>>>().ok());
        chain.map_or_else(Vec::new, |chain| *chain)
    }

    /// Where the peer is now; a roaming peer moves.
    #[must_use]
    pub fn remote_address(&self) -> SocketAddr {
        self.inner.remote_address()
    }

    /// Splits the connection into frames out, frames in, and what moves them. Call it once: a
    /// second set of lanes is refused by the peer.
    #[must_use]
    pub fn lanes(&self) -> Lanes {
        Lanes::new(self.clone())
    }

    /// Closes at once: what was not written is lost. In good order, drop the [`super::LaneSender`]
    /// and wait for the driver instead.
    pub fn close(&self, code: CloseCode, text: &str) {
        self.inner.close(code.varint(), text.as_bytes());
    }

    /// Waits until the connection is over; says why.
    ///
    /// # Cancel safety
    /// Nothing is lost.
    pub async fn closed(&self) -> Lost {
        self.inner.closed().await.into()
    }
}
