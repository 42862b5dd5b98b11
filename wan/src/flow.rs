//! The clients of a relay: which upstream socket speaks for which client, bounded in number.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

/// Clients at once. A relay stands between a handful of hubs and agents; the bound keeps a scan of
/// its port from using up the process's file descriptors.
pub(crate) const FLOWS_LIMIT: usize = 64;

/// A client silent for this long loses its upstream socket; twice QUIC's usual idle timeout, so
/// that no living connection changes its address under the target.
pub(crate) const FLOW_IDLE: Duration = Duration::from_secs(60);

/// What stands for each client at the target, `S` being its socket.
#[derive(Debug)]
pub(crate) struct FlowTable<S> {
    flows: BTreeMap<SocketAddr, Flow<S>>,
}

#[derive(Debug)]
struct Flow<S> {
    upstream: S,
    used_at: Duration,
}

impl<S> FlowTable<S> {
    pub(crate) const fn new() -> Self {
        Self { flows: BTreeMap::new() }
    }

    /// The upstream of a client, marked as used at `now`.
    pub(crate) fn touch(&mut self, client: SocketAddr, now: Duration) -> Option<&S> {
        let flow = self.flows.get_mut(&client)?;
        flow.used_at = flow.used_at.max(now);
        Some(&flow.upstream)
    }

    /// Adds a client, dropping idle ones and, when the table is full, the one silent for longest.
    pub(crate) fn insert(&mut self, client: SocketAddr, now: Duration, upstream: S) {
        self.expire(now);
        if self.flows.len() >= FLOWS_LIMIT {
            let oldest = self.flows.iter().min_by_key(|(_, flow)| flow.used_at);
            if let Some(oldest) = oldest.map(|(client, _)| *client) {
                self.flows.remove(&oldest);
            }
        }
        self.flows.insert(client, Flow { upstream, used_at: now });
        debug_assert!(self.flows.len() <= FLOWS_LIMIT, "the table is bounded");
    }

    /// Drops the clients silent for [`FLOW_IDLE`].
    pub(crate) fn expire(&mut self, now: Duration) {
        self.flows.retain(|_, flow| now.saturating_sub(flow.used_at) < FLOW_IDLE);
    }

    /// All clients and their upstreams, ordered by client.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (SocketAddr, &S)> {
        self.flows.iter().map(|(client, flow)| (*client, &flow.upstream))
    }

    /// The same, to be replaced.
    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = (SocketAddr, &mut S)> {
        self.flows.iter_mut().map(|(client, flow)| (*client, &mut flow.upstream))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(port: usize) -> SocketAddr {
        ([127, 0, 0, 1], u16::try_from(port).unwrap()).into()
    }

    fn clients(table: &FlowTable<()>) -> Vec<SocketAddr> {
        table.iter().map(|(client, ())| client).collect()
    }

    #[test]
    fn a_client_keeps_its_upstream_until_it_was_silent_for_the_idle_time() {
        let mut table = FlowTable::new();
        table.insert(client(1), Duration::ZERO, ());

        table.touch(client(1), Duration::from_secs(5));
        table.expire(FLOW_IDLE + Duration::from_secs(4));
        let before = clients(&table);
        table.expire(FLOW_IDLE + Duration::from_secs(5));

        assert_eq!(before, [client(1)]);
        assert_eq!(clients(&table), []);
    }

    #[test]
    fn a_full_table_drops_the_client_silent_for_longest() {
        let mut table = FlowTable::new();
        for port in 0..FLOWS_LIMIT {
            table.insert(client(port), Duration::from_secs(1), ());
        }
        for port in (0..FLOWS_LIMIT).filter(|port| *port != 5) {
            table.touch(client(port), Duration::from_secs(2));
        }

        table.insert(client(1_000), Duration::from_secs(3), ());

        assert_eq!(table.iter().count(), FLOWS_LIMIT);
        assert_eq!(table.touch(client(5), Duration::from_secs(3)), None);
        assert_eq!(table.touch(client(1_000), Duration::from_secs(3)), Some(&()));
    }
}
