//! Two endpoints over loopback: frames on every lane, identities, and what breaks a stream.
#![cfg(feature = "quic")]
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test's helpers are a test")]

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use headland_event::limits::FRAME_BYTES_LIMIT;
use headland_event::{ByteCount, Lane};
use headland_replication::RefusalCode;
use headland_replication::handshakes::HANDSHAKES_BUSY;
use headland_replication::quic::{
    BindError, CloseCode, ConnectError, Connection, DriverError, Endpoint, Farewell,
    HandshakeFault, Judge, LaneDriver, LaneEvent, LaneEvents, LaneSender, Lanes, Lost, ResetKey,
    SendError, Silence, TlsConfigs, Windows,
};
use quinn::TransportConfig;
use rustls::client::ResolvesClientCert;
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, ServerConfig, SignatureScheme};
use tokio::task::JoinSet;

/// Certificates.
mod fleet;

use fleet::Fleet;

/// Far above what loopback needs: it only keeps a broken build from hanging.
const PATIENCE: Duration = Duration::from_secs(20);

fn loopback() -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, 0))
}

fn listen(fleet: &Fleet) -> Endpoint {
    let tls = TlsConfigs { server: Some(fleet.server()), client: None };
    Endpoint::bind(loopback(), tls, Windows::hub()).unwrap()
}

/// Listens where a process with the same key may have listened before.
fn listen_at(fleet: &Fleet, address: SocketAddr, key: u8) -> Endpoint {
    let tls = TlsConfigs { server: Some(fleet.server()), client: None };
    Endpoint::listen(address, tls, Windows::hub(), &ResetKey::new([key; 32])).unwrap()
}

fn dial(fleet: &Fleet) -> Endpoint {
    let tls = TlsConfigs { server: None, client: Some(fleet.client()) };
    Endpoint::bind(loopback(), tls, Windows::agent()).unwrap()
}

/// Both ends of one connection, with the endpoints that keep it alive.
struct Joined {
    dialled: Connection,
    accepted: Connection,
    endpoints: [Endpoint; 2],
}

async fn join(fleet: &Fleet) -> Joined {
    let (server, client) = (listen(fleet), dial(fleet));
    let accept = async { server.accept().await.unwrap().establish().await.unwrap() };
    let (dialled, accepted) = tokio::join!(client.connect(server.local_address(), "hub-1"), accept);
    Joined { dialled: dialled.unwrap(), accepted, endpoints: [server, client] }
}

/// A driver in a task of its own, which ends with it.
struct Running(JoinSet<Result<(), DriverError>>);

impl Running {
    fn start(driver: LaneDriver) -> Self {
        let mut tasks = JoinSet::new();
        tasks.spawn(driver.run());
        Self(tasks)
    }

    async fn end(mut self) -> Result<(), DriverError> {
        patiently(self.0.join_next()).await.unwrap().unwrap()
    }
}

async fn patiently<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(PATIENCE, future).await.unwrap()
}

fn frame(lane: Lane, index: u8, bytes: usize) -> Bytes {
    let mut frame = vec![index; bytes];
    frame.push(lane.code());
    Bytes::from(frame)
}

/// Takes events until the driver stops; frames received and bytes written per lane, in order.
async fn gather(mut events: LaneEvents) -> (Vec<(Lane, Bytes)>, Vec<(Lane, ByteCount)>) {
    let (mut received, mut written) = (Vec::new(), Vec::new());
    while let Some(event) = events.recv().await {
        match event {
            LaneEvent::Received { lane, frame } => received.push((lane, frame)),
            LaneEvent::Written { lane, bytes } => written.push((lane, bytes)),
        }
    }
    (received, written)
}

fn of_lane<T: Clone>(lane: Lane, items: &[(Lane, T)]) -> Vec<T> {
    items.iter().filter(|(on, _)| *on == lane).map(|(_, item)| item.clone()).collect()
}

fn send_all(sender: &LaneSender) {
    for index in 0..5 {
        for lane in Lane::ALL {
            sender.send(lane, frame(lane, index, 100_000)).unwrap();
        }
    }
}

#[tokio::test]
async fn frames_of_every_lane_arrive_whole_and_in_order_in_both_directions() {
    let joined = join(&Fleet::new()).await;
    let Lanes { sender: up, events: at_agent, driver: agent } = joined.dialled.lanes();
    let Lanes { sender: down, events: at_hub, driver: hub } = joined.accepted.lanes();
    let (agent, hub) = (Running::start(agent), Running::start(hub));

    send_all(&up);
    send_all(&down);
    let gathered = async { tokio::join!(gather_five(at_agent), gather_five(at_hub)) };
    let (at_agent, at_hub) = patiently(gathered).await;

    for (received, written) in [at_agent, at_hub] {
        for lane in Lane::ALL {
            let expected: Vec<Bytes> = (0..5).map(|index| frame(lane, index, 100_000)).collect();
            assert_eq!(of_lane(lane, &received), expected);
            assert_eq!(of_lane(lane, &written), [ByteCount::new(100_001); 5]);
        }
    }
    drop((up, down, agent, hub));
}

/// Takes events until five frames of each lane came in and went out.
async fn gather_five(mut events: LaneEvents) -> (Vec<(Lane, Bytes)>, Vec<(Lane, ByteCount)>) {
    let (mut received, mut written) = (Vec::new(), Vec::new());
    while received.len() < 20 || written.len() < 20 {
        match events.recv().await.unwrap() {
            LaneEvent::Received { lane, frame } => received.push((lane, frame)),
            LaneEvent::Written { lane, bytes } => written.push((lane, bytes)),
        }
    }
    (received, written)
}

#[tokio::test]
async fn each_side_sees_the_others_certificate() {
    let fleet = Fleet::new();

    let joined = join(&fleet).await;

    assert_eq!(joined.accepted.peer_certificates(), std::slice::from_ref(&fleet.agent.certificate));
    assert_eq!(joined.dialled.peer_certificates(), std::slice::from_ref(&fleet.hub.certificate));
    assert_eq!(joined.dialled.remote_address(), joined.endpoints[0].local_address());
}

#[tokio::test]
async fn dropping_the_sender_flushes_what_was_queued_and_then_closes() {
    let joined = join(&Fleet::new()).await;
    let Lanes { sender: up, events: ignored, driver: agent } = joined.dialled.lanes();
    let Lanes { sender: _down, events, driver: hub } = joined.accepted.lanes();
    let (agent, hub) = (Running::start(agent), Running::start(hub));

    send_all(&up);
    drop((up, ignored));
    let (received, _) = patiently(gather(events)).await;

    assert_eq!(received.len(), 20);
    assert_eq!(agent.end().await, Ok(()));
    let closed = Lost::ClosedByPeer { code: CloseCode::Done, text: String::new() };
    assert_eq!(hub.end().await, Err(DriverError::Lost(closed)));
}

#[tokio::test]
async fn a_frame_at_the_limit_passes_and_a_larger_one_closes_the_connection() {
    let joined = join(&Fleet::new()).await;
    let Lanes { sender: up, events: ignored, driver: agent } = joined.dialled.lanes();
    let Lanes { sender: _down, events, driver: hub } = joined.accepted.lanes();
    let (agent, hub) = (Running::start(agent), Running::start(hub));
    let limit = FRAME_BYTES_LIMIT.as_len();

    up.send(Lane::State, Bytes::from(vec![1; limit])).unwrap();
    up.send(Lane::State, Bytes::from(vec![2; limit + 1])).unwrap();
    let gathered = async { tokio::join!(gather(events), gather(ignored)).0 };
    let (received, _) = patiently(gathered).await;

    assert_eq!(received.len(), 1);
    assert_eq!(received[0].1.len(), limit);
    let limit = u32::try_from(limit).unwrap();
    let broken = DriverError::FrameTooLarge { lane: Lane::State, found: limit + 1, limit };
    let text = broken.to_string();
    assert_eq!(hub.end().await, Err(broken));
    let closed = Lost::ClosedByPeer { code: CloseCode::Protocol, text };
    assert_eq!(agent.end().await, Err(DriverError::Lost(closed)));
    assert_eq!(up.send(Lane::State, Bytes::new()), Err(SendError::Closed { lane: Lane::State }));
}

#[tokio::test]
async fn a_lane_takes_frames_up_to_its_limit_without_waiting() {
    let joined = join(&Fleet::new()).await;
    let lanes = joined.dialled.lanes();
    for _ in 0..32_768 {
        lanes.sender.send(Lane::Control, Bytes::new()).unwrap();
    }

    let full = lanes.sender.send(Lane::Control, Bytes::new());

    assert_eq!(full, Err(SendError::Full { lane: Lane::Control, limit: 32_768 }));
    assert_eq!(lanes.sender.send(Lane::Alerts, Bytes::new()), Ok(()));
}

/// A hub's end of a connection whose other end is quinn's alone, with these settings.
async fn join_raw(transport: TransportConfig) -> (quinn::Connection, Connection, Endpoint) {
    let fleet = Fleet::new();
    let server = listen(&fleet);
    let crypto = quinn::crypto::rustls::QuicClientConfig::try_from(fleet.client()).unwrap();
    let mut config = quinn::ClientConfig::new(Arc::new(crypto));
    config.transport_config(Arc::new(transport));
    let mut raw = quinn::Endpoint::client(loopback()).unwrap();
    raw.set_default_client_config(config);
    let accept = async { server.accept().await.unwrap().establish().await.unwrap() };
    let connecting = raw.connect(server.local_address(), "hub-1").unwrap();
    let (dialled, accepted) = tokio::join!(connecting, accept);
    (dialled.unwrap(), accepted, server)
}

/// What a hub's driver says to a peer that opens streams with exactly these bytes.
async fn refusal_of(streams: &[&[u8]]) -> DriverError {
    let (dialled, accepted, _server) = join_raw(TransportConfig::default()).await;
    let Lanes { sender: _sender, events, driver } = accepted.lanes();
    let hub = Running::start(driver);

    for bytes in streams {
        let mut stream = dialled.open_uni().await.unwrap();
        stream.write_all(bytes).await.unwrap();
        stream.finish().unwrap();
    }
    patiently(gather(events)).await;
    hub.end().await.unwrap_err()
}

/// What a driver sends when nothing is answered, if that comes to pass.
const PROBE: &[u8] = &[0];

/// A frame of copies as far as a driver looks at it.
const COPIES: &[u8] = b"\x01\x0c\x01 and what follows";

#[tokio::test]
async fn copies_arrive_in_datagrams_and_what_else_a_datagram_brings_is_passed_over() {
    let (dialled, accepted, _server) = join_raw(TransportConfig::default()).await;
    let Lanes { sender: _sender, mut events, driver } = accepted.lanes();
    let hub = Running::start(driver);

    for datagram in [&[][..], &[0], b"\x01\x05\0\0\0\0", &[0xff; 1_000], COPIES] {
        dialled.send_datagram(Bytes::copy_from_slice(datagram)).unwrap();
    }
    let first = patiently(events.recv()).await.unwrap();

    let frame = Bytes::from_static(COPIES);
    assert_eq!(first, LaneEvent::Received { lane: Lane::Alerts, frame });
    drop(hub);
}

#[tokio::test]
async fn copies_leave_as_datagrams_and_count_as_written() {
    let (dialled, accepted, _server) = join_raw(TransportConfig::default()).await;
    let Lanes { sender, mut events, driver } = accepted.lanes();
    let hub = Running::start(driver);

    sender.send(Lane::Alerts, Bytes::from_static(COPIES)).unwrap();
    let mut arrived = Bytes::new();
    // A machine that stands still for a while gets a probe as well.
    while arrived.len() <= PROBE.len() {
        arrived = patiently(dialled.read_datagram()).await.unwrap();
    }
    let written = patiently(events.recv()).await.unwrap();

    assert_eq!(arrived, COPIES);
    let bytes = ByteCount::new(u64::try_from(COPIES.len()).unwrap());
    assert_eq!(written, LaneEvent::Written { lane: Lane::Alerts, bytes });
    drop(hub);
}

#[tokio::test]
async fn a_peer_that_takes_probes_only_gets_no_copies_and_everything_else() {
    let mut transport = TransportConfig::default();
    transport.datagram_receive_buffer_size(Some(64));
    let (dialled, accepted, _server) = join_raw(transport).await;
    let Lanes { sender, mut events, driver } = accepted.lanes();
    let hub = Running::start(driver);
    let copies = Bytes::from([COPIES, &[0; 100]].concat());

    sender.send(Lane::Alerts, copies.clone()).unwrap();
    let written = patiently(events.recv()).await.unwrap();
    sender.send(Lane::Alerts, frame(Lane::Alerts, 1, 10)).unwrap();
    let mut stream = patiently(dialled.accept_uni()).await.unwrap();
    let mut arrived = [0; 16];
    patiently(stream.read_exact(&mut arrived)).await.unwrap();

    let bytes = ByteCount::new(u64::try_from(copies.len()).unwrap());
    assert_eq!(written, LaneEvent::Written { lane: Lane::Alerts, bytes });
    assert_eq!(arrived[5..], frame(Lane::Alerts, 1, 10));
    tokio::select! {
        biased;
        datagram = dialled.read_datagram() => assert_eq!(datagram.unwrap(), PROBE),
        () = std::future::ready(()) => {}
    }
    drop(hub);
}

#[tokio::test]
async fn a_second_stream_for_a_lane_is_refused() {
    assert_eq!(refusal_of(&[&[2], &[2]]).await, DriverError::LaneTwice { lane: Lane::State });
}

#[tokio::test]
async fn a_stream_for_no_lane_is_refused() {
    assert_eq!(refusal_of(&[&[4]]).await, DriverError::UnknownLane { code: 4 });
}

#[tokio::test]
async fn a_length_above_the_limit_is_refused_before_its_frame_arrives() {
    let found = u32::MAX;
    let limit = u32::try_from(FRAME_BYTES_LIMIT.get()).unwrap();

    let refusal = refusal_of(&[&[1, 0xff, 0xff, 0xff, 0xff]]).await;

    assert_eq!(refusal, DriverError::FrameTooLarge { lane: Lane::Alerts, found, limit });
}

#[tokio::test]
async fn a_stream_that_ends_inside_a_frame_is_refused() {
    for cut in [&[1, 0, 0][..], &[1, 0, 0, 0, 5, 7], &[]] {
        let refusal = refusal_of(&[cut]).await;

        assert!(matches!(refusal, DriverError::Broken { .. }), "{cut:?}: {refusal:?}");
    }
}

/// A hub and an agent that may differ in authority, dates and protocol; why each has no
/// connection. The agent learns of a refusal only after its own half of the handshake.
async fn refusals(server: ServerConfig, client: ClientConfig) -> [Lost; 2] {
    let server = TlsConfigs { server: Some(server), client: None };
    let server = Endpoint::bind(loopback(), server, Windows::hub()).unwrap();
    let client = TlsConfigs { server: None, client: Some(client) };
    let client = Endpoint::bind(loopback(), client, Windows::agent()).unwrap();
    let accept = async { server.accept().await.unwrap().establish().await };
    let dial = async {
        match client.connect(server.local_address(), "hub-1").await {
            Ok(connection) => connection.closed().await,
            Err(ConnectError::Handshake { source, .. }) => source,
            Err(other) => panic!("{other}"),
        }
    };
    let (dialled, accepted) = patiently(async { tokio::join!(dial, accept) }).await;
    let ConnectError::Handshake { source: accepted, .. } = accepted.unwrap_err() else {
        panic!("the hub's side fails in the handshake")
    };
    [dialled, accepted]
}

/// The fault that both sides name, each from its own point of view.
fn fault_of([dialled, accepted]: &[Lost; 2]) -> HandshakeFault {
    match (dialled, accepted) {
        (
            Lost::Handshake { fault, by: Judge::Peer, .. },
            Lost::Handshake { fault: same, by: Judge::Here, .. },
        )
        | (
            Lost::Handshake { fault, by: Judge::Here, .. },
            Lost::Handshake { fault: same, by: Judge::Peer, .. },
        ) if fault == same => *fault,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_certificate_of_another_authority_is_called_so_on_both_sides() {
    let (fleet, other) = (Fleet::new(), Fleet::new());
    // The stranger trusts the hub, so that the hub is the one who refuses.
    let mut client = fleet.client();
    client.client_auth_cert_resolver = other.client().client_auth_cert_resolver;

    let lost = refusals(fleet.server(), client).await;

    assert_eq!(fault_of(&lost), HandshakeFault::UnknownAuthority);
    assert!(
        lost[0].to_string().contains("this node's certificate is not signed by"),
        "{}",
        lost[0]
    );
    assert!(lost[1].to_string().contains("the peer's certificate is not signed by"), "{}", lost[1]);
    assert!(!lost[0].is_retryable());
}

#[tokio::test]
async fn a_hub_of_another_authority_is_called_so_on_both_sides() {
    let lost = refusals(Fleet::new().server(), Fleet::new().client()).await;

    assert_eq!(fault_of(&lost), HandshakeFault::UnknownAuthority);
}

#[tokio::test]
async fn an_expired_certificate_and_one_that_is_not_valid_yet_are_told_apart() {
    for (from, to, fault) in
        [(2_000, 2_010, HandshakeFault::Expired), (3_000, 3_010, HandshakeFault::NotYetValid)]
    {
        let fleet = Fleet::valid(from, to);

        let lost = refusals(fleet.server(), fleet.client()).await;

        assert_eq!(fault_of(&lost), fault);
        assert_eq!(lost[0].is_retryable(), fault == HandshakeFault::NotYetValid);
    }
}

#[tokio::test]
async fn an_unknown_protocol_is_called_so_on_both_sides() {
    let fleet = Fleet::new();
    let mut client = fleet.client();
    client.alpn_protocols = vec![b"headland/9".to_vec()];

    let lost = refusals(fleet.server(), client).await;

    assert_eq!(fault_of(&lost), HandshakeFault::NoCommonProtocol);
}

/// Has no certificate to show.
#[derive(Debug)]
struct Anonymous;

impl ResolvesClientCert for Anonymous {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        None
    }

    fn has_certs(&self) -> bool {
        false
    }
}

#[tokio::test]
async fn a_missing_certificate_is_called_so_on_both_sides() {
    let fleet = Fleet::new();
    let mut client = fleet.client();
    client.client_auth_cert_resolver = Arc::new(Anonymous);

    let lost = refusals(fleet.server(), client).await;

    assert_eq!(fault_of(&lost), HandshakeFault::Missing);
}

#[tokio::test]
async fn a_farewell_reaches_the_peer_with_its_code_and_text() {
    let joined = join(&Fleet::new()).await;
    let Lanes { sender, events: _own, driver } = joined.dialled.lanes();
    let Lanes { sender: _down, events, driver: hub } = joined.accepted.lanes();
    let (agent, hub) = (Running::start(driver), Running::start(hub));
    let code = CloseCode::Refused(RefusalCode::NotAuthorised);

    sender.send(Lane::Control, frame(Lane::Control, 1, 10)).unwrap();
    sender.close(Farewell { code, text: "add [[agent]]".to_owned() });
    let (received, _) = patiently(gather(events)).await;

    assert_eq!(received.len(), 1);
    assert_eq!(agent.end().await, Ok(()));
    let lost = Lost::ClosedByPeer { code, text: "add [[agent]]".to_owned() };
    assert!(!lost.is_retryable());
    assert_eq!(hub.end().await, Err(DriverError::Lost(lost)));
}

#[tokio::test]
async fn a_peer_that_takes_nothing_does_not_keep_a_closed_connection() {
    let joined = join(&Fleet::new()).await;
    let Lanes { sender, events: _own, driver } = joined.accepted.lanes();
    let hub = Running::start(driver);
    // More than the windows of an agent that never reads.
    for index in 0..20 {
        sender.send(Lane::Telemetry, frame(Lane::Telemetry, index, 200_000)).unwrap();
    }

    drop(sender);
    tokio::time::pause();
    let ended = hub.end().await;

    assert_eq!(ended, Ok(()));
}

#[tokio::test]
async fn a_name_the_certificate_does_not_have_is_refused() {
    let fleet = Fleet::new();
    let (server, client) = (listen(&fleet), dial(&fleet));
    let address = server.local_address();

    let accept = async { server.accept().await.unwrap().establish().await };
    let (dialled, accepted) = tokio::join!(client.connect(address, "hub-2"), accept);

    let error = dialled.unwrap_err();
    let ConnectError::Handshake { address: found, source } = &error else { panic!("{error}") };
    assert_eq!(*found, address);
    let (fault, by) = (HandshakeFault::Unfit, Judge::Here);
    assert!(matches!(source, Lost::Handshake { fault: f, by: b, .. } if *f == fault && *b == by));
    assert!(!error.is_retryable());
    assert!(accepted.is_err());
}

#[test]
fn a_peer_of_a_killed_process_learns_it_from_the_next_one_within_a_second() {
    let fleet = Fleet::new();
    let runtime = || tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let (process, peer) = (runtime(), runtime());
    let server = process.block_on(async { listen_at(&fleet, loopback(), 7) });
    let address = server.local_address();
    let accepted = process.spawn(async move {
        let connection = server.accept().await.unwrap().establish().await.unwrap();
        (server, connection)
    });
    let client = peer.block_on(async { dial(&fleet) });
    let dialled = peer.block_on(client.connect(address, "hub-1")).unwrap();
    let left = peer.block_on(accepted).unwrap();

    // What drives the connection ends first, so that nothing says goodbye.
    process.shutdown_timeout(PATIENCE);
    drop(left);
    let next = peer.block_on(async { listen_at(&fleet, address, 7) });
    let lost = peer.block_on(async {
        let mut stream = dialled.lanes();
        stream.sender.send(Lane::Control, frame(Lane::Control, 1, 40)).unwrap();
        let driver = Running::start(stream.driver);
        let lost = tokio::time::timeout(Duration::from_secs(1), dialled.closed()).await;
        drop((driver, stream.events.recv().await));
        lost
    });

    assert_eq!(lost, Ok(Lost::Reset));
    drop(next);
}

#[tokio::test]
async fn an_endpoint_without_client_settings_cannot_connect() {
    let server = listen(&Fleet::new());

    let error = server.connect(server.local_address(), "hub-1").await.unwrap_err();

    assert!(matches!(error, ConnectError::Unusable { ref name, .. } if name == "hub-1"));
    assert!(!error.is_retryable());
}

#[tokio::test]
async fn an_address_in_use_is_named() {
    let first = listen(&Fleet::new());
    let taken = first.local_address();

    let error = Endpoint::bind(taken, TlsConfigs::default(), Windows::hub()).unwrap_err();

    assert!(matches!(error, BindError::Address { address, .. } if address == taken));
    assert_eq!(error.to_string(), format!("cannot listen on {taken}"));
}

#[tokio::test]
async fn a_closed_endpoint_tells_its_peers() {
    let joined = join(&Fleet::new()).await;
    let [server, _client] = &joined.endpoints;

    server.close(CloseCode::Done, "stopping");
    let lost = patiently(joined.dialled.closed()).await;

    let text = "stopping".to_owned();
    assert_eq!(lost, Lost::ClosedByPeer { code: CloseCode::Done, text });
    assert!(server.accept().await.is_none());
}

#[tokio::test]
async fn new_connections_show_the_renewed_certificate_and_the_old_one_stays_open() {
    let (old, new) = (Fleet::new(), Fleet::new());
    let joined = join(&old).await;
    let [server, _client] = &joined.endpoints;
    let before = dial(&old);

    server.renew(TlsConfigs { server: Some(new.server()), client: None }).unwrap();
    let accept = async { server.accept().await.unwrap().establish().await };
    let address = server.local_address();
    let refused = patiently(async { tokio::join!(before.connect(address, "hub-1"), accept).0 });
    let refused = refused.await;
    let after = dial(&new);
    let accept = async { server.accept().await.unwrap().establish().await.unwrap() };
    let (renewed, _accepted) =
        patiently(async { tokio::join!(after.connect(address, "hub-1"), accept) }).await;

    assert!(refused.is_err());
    let shown = renewed.unwrap().peer_certificates();
    assert_eq!(shown, std::slice::from_ref(&new.hub.certificate));
    let still = tokio::time::timeout(Duration::ZERO, joined.accepted.closed()).await;
    assert!(still.is_err(), "{still:?}");
}

#[tokio::test]
async fn a_port_where_nobody_listens_is_told_from_one_that_swallows_everything() {
    let nobody = std::net::UdpSocket::bind(loopback()).unwrap().local_addr().unwrap();
    let swallowing = std::net::UdpSocket::bind(loopback()).unwrap();
    let fleet = Fleet::new();
    let client = dial(&fleet);

    let connecting = async {
        tokio::join!(
            client.connect(nobody, "hub-1"),
            client.connect(swallowing.local_addr().unwrap(), "hub-1")
        )
    };
    let (nobody, swallowed) = patiently(connecting).await;

    let found = [nobody, swallowed].map(|result| match result.unwrap_err() {
        ConnectError::NoAnswer { tried, silence, .. } => {
            assert!(tried > 4, "{tried} handshakes");
            silence
        }
        other => panic!("{other}"),
    });
    assert_eq!(found, [Silence::NobodyListens, Silence::Swallowed]);
}

#[tokio::test]
async fn a_hub_that_asked_to_come_again_and_said_no_more_counts_as_heard() {
    let fleet = Fleet::new();
    let (hub, others, client) = (listen(&fleet), dial(&fleet), dial(&fleet));
    let address = hub.local_address();

    // Nobody whom it takes up hears of it, and from the 17th on all are asked to come again.
    let mut dialling = JoinSet::new();
    for _ in 0..HANDSHAKES_BUSY {
        let others = others.clone();
        dialling.spawn(async move { others.connect(address, "hub-1").await.map(drop) });
    }
    let mut held = Vec::new();
    while hub.handshakes() < HANDSHAKES_BUSY {
        held.push(patiently(hub.accept()).await.unwrap());
    }
    let holding = async {
        while let Some(incoming) = hub.accept().await {
            held.push(incoming);
        }
    };
    let ended = tokio::select! {
        () = holding => panic!("the hub is open"),
        ended = patiently(client.connect(address, "hub-1")) => ended,
    };

    let error = ended.map(drop).unwrap_err();
    assert_eq!(error, ConnectError::Handshake { address, source: Lost::TimedOut });
}
