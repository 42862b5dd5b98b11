//! Two endpoints with a network between them that a test cuts and changes.
#![cfg(feature = "quic")]
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test's helpers are a test")]

/// Certificates.
mod fleet;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use fleet::Fleet;
use headland_event::Lane;
use headland_replication::quic::{
    Connection, Endpoint, LaneEvent, LaneEvents, LaneSender, Lanes, TlsConfigs, Windows,
};
use tokio::net::UdpSocket;
use tokio::sync::watch;
use tokio::task::JoinSet;

/// Far above what loopback needs, and below what a transport's own doubling waits would take.
const PATIENCE: Duration = Duration::from_secs(20);

const ANY: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

async fn patiently<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(PATIENCE, future).await.unwrap()
}

/// A network between one client and one server.
struct Network {
    address: SocketAddr,
    is_cut: Arc<AtomicBool>,
    /// Whether the client is heard and hears nothing.
    is_deaf: Arc<AtomicBool>,
    /// Bytes of the largest datagram that passes, in either direction.
    largest: Arc<AtomicUsize>,
    /// Bytes of the largest datagram of the client that has passed.
    seen: watch::Receiver<usize>,
    /// Datagrams of the client that a cut has swallowed.
    swallowed: watch::Receiver<u32>,
    /// Each value is another address of the client, as the server sees it.
    moves: watch::Sender<u32>,
    _tasks: JoinSet<()>,
}

impl Network {
    async fn to(server: SocketAddr) -> Self {
        let front = UdpSocket::bind(ANY).await.unwrap();
        let address = front.local_addr().unwrap();
        let is_cut = Arc::new(AtomicBool::new(false));
        let (swallowed_in, swallowed) = watch::channel(0);
        let (moves, mut moved) = watch::channel(0);
        let (seen_in, seen) = watch::channel(0);
        let largest = Arc::new(AtomicUsize::new(usize::MAX));
        let passes = {
            let largest = Arc::clone(&largest);
            move |length: usize| length <= largest.load(Ordering::Relaxed)
        };
        let mut tasks = JoinSet::new();
        let is_deaf = Arc::new(AtomicBool::new(false));
        let (cut, deaf) = (Arc::clone(&is_cut), Arc::clone(&is_deaf));
        tasks.spawn(async move {
            let mut back = UdpSocket::bind(ANY).await.unwrap();
            let (mut up, mut down) = (vec![0; 65_536], vec![0; 65_536]);
            let mut client = ANY;
            loop {
                tokio::select! {
                    Ok((length, from)) = front.recv_from(&mut up) => {
                        client = from;
                        if cut.load(Ordering::Relaxed) {
                            swallowed_in.send_modify(|count| *count += 1);
                        } else if passes(length) {
                            seen_in.send_modify(|seen| *seen = length.max(*seen));
                            back.send_to(&up[..length], server).await.unwrap();
                        }
                    }
                    Ok((length, _)) = back.recv_from(&mut down) => {
                        let is_lost = cut.load(Ordering::Relaxed) || deaf.load(Ordering::Relaxed);
                        if !is_lost && passes(length) {
                            front.send_to(&down[..length], client).await.unwrap();
                        }
                    }
                    Ok(()) = moved.changed() => back = UdpSocket::bind(ANY).await.unwrap(),
                }
            }
        });
        Self { address, is_cut, is_deaf, largest, seen, swallowed, moves, _tasks: tasks }
    }

    fn cut(&self) {
        self.is_cut.store(true, Ordering::Relaxed);
    }

    fn heal(&self) {
        self.is_cut.store(false, Ordering::Relaxed);
    }

    /// Waits until so many datagrams of the client were swallowed.
    async fn swallow(&mut self, count: u32) {
        patiently(self.swallowed.wait_for(|swallowed| *swallowed >= count)).await.unwrap();
    }
}

fn server(fleet: &Fleet) -> Endpoint {
    let tls = TlsConfigs { server: Some(fleet.server()), client: None };
    Endpoint::bind(ANY, tls, Windows::hub()).unwrap()
}

fn client(fleet: &Fleet) -> Endpoint {
    let tls = TlsConfigs { server: None, client: Some(fleet.client()) };
    Endpoint::bind(ANY, tls, Windows::hub()).unwrap()
}

async fn join(
    client: &Endpoint,
    address: SocketAddr,
    server: &Endpoint,
) -> (Connection, Connection) {
    let (dialled, accepted) = tokio::join!(client.connect(address, "hub-1"), accept(server));
    (dialled.unwrap(), accepted)
}

/// The next peer whose handshake succeeds: of its attempts a client keeps the first that does.
async fn accept(server: &Endpoint) -> Connection {
    loop {
        if let Ok(connection) = server.accept().await.unwrap().establish().await {
            return connection;
        }
    }
}

/// A frame of data on channel `channel`, as far as a driver looks.
fn data(channel: u8, number: u32) -> Bytes {
    let mut frame = vec![1, 5, 0, 0, 0, channel];
    frame.extend_from_slice(&number.to_be_bytes());
    frame.resize(20_000, 7);
    Bytes::from(frame)
}

/// Takes events until `count` frames have arrived.
async fn receive(events: &mut LaneEvents, count: usize) -> Vec<Bytes> {
    let mut received = Vec::new();
    while received.len() < count {
        if let LaneEvent::Received { frame, .. } = patiently(events.recv()).await.unwrap() {
            received.push(frame);
        }
    }
    received
}

/// Lets the driver of a sending side go on.
async fn ignore(mut events: LaneEvents) {
    while events.recv().await.is_some() {}
}

#[tokio::test]
async fn channels_travel_side_by_side_and_each_in_order() {
    let fleet = Fleet::new();
    let (server, client) = (server(&fleet), client(&fleet));
    let (dialled, accepted) = join(&client, server.local_address(), &server).await;
    let (mut tasks, up, mut down) = (JoinSet::new(), dialled.lanes(), accepted.lanes());
    tasks.spawn(async move { drop(up.driver.run().await) });
    tasks.spawn(ignore(up.events));
    tasks.spawn(async move { drop(down.driver.run().await) });

    for number in 0..20 {
        for channel in 0..12 {
            up.sender.send(Lane::Telemetry, data(channel, number)).unwrap();
        }
    }
    let received = receive(&mut down.events, 240).await;

    for channel in 0..12 {
        let of_channel: Vec<_> = received.iter().filter(|frame| frame[5] == channel).collect();
        let expected: Vec<_> = (0..20).map(|number| data(channel, number)).collect();
        assert_eq!(of_channel, expected.iter().collect::<Vec<_>>(), "channel {channel}");
    }
}

#[tokio::test]
async fn a_path_is_probed_through_a_cut_and_what_was_lost_follows_the_heal() {
    let fleet = Fleet::new();
    let (server, client) = (server(&fleet), client(&fleet));
    let mut network = Network::to(server.local_address()).await;
    let (dialled, accepted) = join(&client, network.address, &server).await;
    let (mut tasks, up, mut down) = (JoinSet::new(), dialled.lanes(), accepted.lanes());
    tasks.spawn(async move { drop(up.driver.run().await) });
    tasks.spawn(ignore(up.events));
    tasks.spawn(async move { drop(down.driver.run().await) });
    up.sender.send(Lane::Telemetry, data(0, 0)).unwrap();
    receive(&mut down.events, 1).await;

    network.cut();
    up.sender.send(Lane::Alerts, data(1, 1)).unwrap();
    // By waits that double from 25 ms, two datagrams at a time, it would take minutes.
    network.swallow(30).await;
    network.heal();

    assert_eq!(receive(&mut down.events, 1).await, [data(1, 1)]);
}

/// Sends frames one after the other, each when the one before has arrived, until the network has
/// passed on a datagram of `bytes`.
async fn send_until(network: &Network, bytes: usize, sender: &LaneSender, to: &mut LaneEvents) {
    for number in 0.. {
        sender.send(Lane::State, data(0, number)).unwrap();
        assert_eq!(receive(to, 1).await, [data(0, number)]);
        if *network.seen.borrow() >= bytes {
            break;
        }
    }
}

#[tokio::test]
async fn datagrams_grow_with_the_path_and_a_path_that_takes_less_goes_on() {
    let fleet = Fleet::new();
    let (server, client) = (server(&fleet), client(&fleet));
    let network = Network::to(server.local_address()).await;
    let (dialled, accepted) = join(&client, network.address, &server).await;
    let (mut tasks, up, mut down) = (JoinSet::new(), dialled.lanes(), accepted.lanes());
    tasks.spawn(async move { drop(up.driver.run().await) });
    tasks.spawn(ignore(up.events));
    tasks.spawn(async move { drop(down.driver.run().await) });

    patiently(send_until(&network, 3_000, &up.sender, &mut down.events)).await;
    // Nobody is told, as where a router drops what is too large and its answers are dropped too.
    network.largest.store(1_300, Ordering::Relaxed);
    for number in 0..50 {
        up.sender.send(Lane::Telemetry, data(0, number)).unwrap();
    }
    let received = receive(&mut down.events, 50).await;

    let expected: Vec<_> = (0..50).map(|number| data(0, number)).collect();
    assert_eq!(received, expected);
}

#[tokio::test]
async fn a_path_of_which_only_small_datagrams_pass_is_used_with_what_passes() {
    let fleet = Fleet::new();
    let (server, client) = (server(&fleet), client(&fleet));
    let network = Network::to(server.local_address()).await;
    network.largest.store(1_472, Ordering::Relaxed);
    let (dialled, accepted) = join(&client, network.address, &server).await;
    let (mut tasks, up, mut down) = (JoinSet::new(), dialled.lanes(), accepted.lanes());
    tasks.spawn(async move { drop(up.driver.run().await) });
    tasks.spawn(ignore(up.events));
    tasks.spawn(async move { drop(down.driver.run().await) });

    patiently(send_until(&network, 1_301, &up.sender, &mut down.events)).await;
}

#[tokio::test]
async fn an_agent_keeps_to_datagrams_of_ethernet() {
    let fleet = Fleet::new();
    let tls = TlsConfigs { server: None, client: Some(fleet.client()) };
    let agent = Endpoint::bind(ANY, tls, Windows::agent()).unwrap();
    let server = server(&fleet);
    let network = Network::to(server.local_address()).await;
    let (dialled, accepted) = join(&agent, network.address, &server).await;
    let (mut tasks, up, mut down) = (JoinSet::new(), dialled.lanes(), accepted.lanes());
    tasks.spawn(async move { drop(up.driver.run().await) });
    tasks.spawn(ignore(up.events));
    tasks.spawn(async move { drop(down.driver.run().await) });

    patiently(send_until(&network, 1_301, &up.sender, &mut down.events)).await;
    for number in 0..50 {
        up.sender.send(Lane::Telemetry, data(1, number)).unwrap();
    }
    receive(&mut down.events, 50).await;

    assert!(*network.seen.borrow() <= 1_472, "{}", *network.seen.borrow());
}

#[tokio::test]
async fn a_peer_that_moves_under_load_loses_nothing() {
    let fleet = Fleet::new();
    let (server, client) = (server(&fleet), client(&fleet));
    let network = Network::to(server.local_address()).await;
    let (dialled, accepted) = join(&client, network.address, &server).await;
    let before = accepted.remote_address();
    let Lanes { sender, events, driver } = dialled.lanes();
    let (mut tasks, mut down) = (JoinSet::new(), accepted.lanes());
    tasks.spawn(async move { drop(driver.run().await) });
    tasks.spawn(ignore(events));
    tasks.spawn(async move { drop(down.driver.run().await) });

    for number in 0..200 {
        sender.send(Lane::State, data(0, number)).unwrap();
    }
    let mut received = receive(&mut down.events, 50).await;
    network.moves.send_modify(|count| *count += 1);
    received.extend(receive(&mut down.events, 150).await);

    let expected: Vec<_> = (0..200).map(|number| data(0, number)).collect();
    assert_eq!(received, expected);
    assert_ne!(accepted.remote_address(), before);
}

#[tokio::test]
async fn a_dial_that_began_long_before_the_heal_succeeds_soon_after_it() {
    let fleet = Fleet::new();
    let (server, client) = (server(&fleet), client(&fleet));
    let mut network = Network::to(server.local_address()).await;
    let address = network.address;
    network.cut();

    let healing = async {
        network.swallow(20).await;
        network.heal();
    };
    let joined = join(&client, address, &server);
    let (joined, ()) = patiently(async { tokio::join!(joined, healing) }).await;

    assert_eq!(joined.0.peer_certificates().len(), 1);
}

#[tokio::test]
async fn new_certificates_are_used_for_new_connections_and_old_connections_go_on() {
    let (old, new) = (Fleet::new(), Fleet::new());
    let (server, client) = (server(&old), client(&old));
    let (dialled, accepted) = join(&client, server.local_address(), &server).await;
    let (mut tasks, up, mut down) = (JoinSet::new(), dialled.lanes(), accepted.lanes());
    tasks.spawn(async move { drop(up.driver.run().await) });
    tasks.spawn(ignore(up.events));
    tasks.spawn(async move { drop(down.driver.run().await) });

    server.renew(TlsConfigs { server: Some(new.server()), client: None }).unwrap();
    let refused = async {
        tokio::select! {
            refused = client.connect(server.local_address(), "hub-1") => refused.err(),
            _ = accept(&server) => None,
        }
    };
    let refused = patiently(refused).await;
    client.renew(TlsConfigs { server: None, client: Some(new.client()) }).unwrap();
    let (_dialled, again) = join(&client, server.local_address(), &server).await;
    up.sender.send(Lane::State, data(0, 1)).unwrap();

    assert!(refused.is_some());
    assert_eq!(again.peer_certificates(), [new.agent.certificate]);
    assert_eq!(receive(&mut down.events, 1).await, [data(0, 1)]);
}

#[tokio::test]
async fn handshakes_that_nobody_finishes_leave_room_for_those_that_somebody_does() {
    let fleet = Fleet::new();
    let (server, client) = (server(&fleet), client(&fleet));
    let network = Network::to(server.local_address()).await;
    network.is_deaf.store(true, Ordering::Relaxed);
    let mut tasks = JoinSet::new();
    let (established_in, mut established) = tokio::sync::mpsc::channel(64);
    let accepting = server.clone();
    tasks.spawn(async move {
        let mut handshakes = JoinSet::new();
        while let Some(incoming) = accepting.accept().await {
            let established = established_in.clone();
            handshakes.spawn(async move {
                if let Ok(connection) = incoming.establish().await {
                    drop(established.send(connection).await);
                }
            });
        }
    });

    for _ in 0..40 {
        let (client, address) = (client.clone(), network.address);
        tasks.spawn(async move { drop(client.connect(address, "hub-1").await) });
    }
    let crowded = async {
        while server.handshakes() < 16 {
            tokio::task::yield_now().await;
        }
    };
    patiently(crowded).await;
    let served = patiently(client.connect(server.local_address(), "hub-1")).await;

    assert!(served.is_ok());
    assert!(patiently(established.recv()).await.is_some());
    assert!(server.handshakes() <= 17, "{}", server.handshakes());
}
