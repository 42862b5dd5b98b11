//! The network between the hubs: one relay for each pair, which can be cut and healed.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};

use headland_event::RegionId;
use headland_platform::clock::Clock;
use headland_platform::task::{self, Token};
use headland_wan::{Cut, Profile, Relay, RelayHandle};

use super::error::QuickstartError;

const ANY_PORT: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// The relay of a pair of hubs: the one with the lower id dials the other through it.
#[derive(Debug)]
struct PairRelay {
    dials: RegionId,
    listens: RegionId,
    address: SocketAddr,
    handle: RelayHandle,
}

/// Addresses of the hubs and the relays between them.
#[derive(Debug)]
pub(super) struct Network {
    hubs: BTreeMap<RegionId, SocketAddr>,
    relays: Vec<PairRelay>,
}

impl Network {
    /// Finds a free port for each hub and starts the relays, which stop with `token`.
    ///
    /// # Errors
    /// [`QuickstartError`] when the machine gives no port.
    pub(super) fn start(
        regions: &[RegionId],
        seed: u64,
        clock: Clock,
        token: &Token,
    ) -> Result<Self, QuickstartError> {
        let hubs = free_addresses(regions)
            .map_err(|source| QuickstartError::Machine { what: "a free port", source })?;
        let mut relays = Vec::new();
        for dials in hubs.keys() {
            for (listens, target) in hubs.iter().filter(|(region, _)| *region > dials) {
                let relay = Relay::bind(ANY_PORT, *target, Profile::default(), seed)?;
                let (address, handle) = (relay.address(), relay.handle());
                let (dials, listens) = (dials.clone(), listens.clone());
                let origin = clock.monotonic();
                let pair = format!("{dials} to {listens}");
                relays.push(PairRelay { dials, listens, address, handle });
                // The relay ends with the token, together with all that would await it.
                drop(task::spawn("relay between two hubs", token, async move {
                    if let Err(error) = relay.run(|| clock.monotonic().since(origin)).await {
                        tracing::error!(pair, %error, "the relay between two hubs failed");
                    }
                }));
            }
        }
        Ok(Self { hubs, relays })
    }

    /// Where a region's hub listens.
    pub(super) fn hub(&self, region: &RegionId) -> Option<SocketAddr> {
        self.hubs.get(region).copied()
    }

    /// The peers of a region's hub, each with the address to dial or none to wait for it.
    pub(super) fn peers(&self, region: &RegionId) -> Vec<(&RegionId, Option<SocketAddr>)> {
        let peers = self.relays.iter().filter_map(|relay| {
            if relay.dials == *region {
                Some((&relay.listens, Some(relay.address)))
            } else {
                (relay.listens == *region).then_some((&relay.dials, None))
            }
        });
        peers.collect()
    }

    /// Cuts a region's hub off from all others; its agents still reach it.
    pub(super) fn cut_off(&self, region: &RegionId) {
        self.set(region, Cut::Both);
    }

    /// Heals what [`Self::cut_off`] did.
    pub(super) fn heal(&self, region: &RegionId) {
        self.set(region, Cut::None);
    }

    fn set(&self, region: &RegionId, cut: Cut) {
        let touches = |relay: &&PairRelay| relay.dials == *region || relay.listens == *region;
        for relay in self.relays.iter().filter(touches) {
            relay.handle.set_cut(cut);
        }
    }
}

/// All ports are held until each is known, so that no two are the same.
fn free_addresses(regions: &[RegionId]) -> std::io::Result<BTreeMap<RegionId, SocketAddr>> {
    let held = regions.iter().map(|region| Ok((region.clone(), UdpSocket::bind(ANY_PORT)?)));
    let held = held.collect::<std::io::Result<Vec<_>>>()?;
    held.iter().map(|(region, socket)| Ok((region.clone(), socket.local_addr()?))).collect()
}
