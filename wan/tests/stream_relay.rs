//! The TCP relay between real sockets on loopback.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use headland_wan::{Change, Controlled, Cut, PathProfile, Profile, StreamRelay};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const ANY: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

#[expect(clippy::disallowed_types, clippy::disallowed_methods, reason = "the test is the shell")]
fn clock() -> impl Fn() -> Duration + Clone {
    let start = std::time::Instant::now();
    move || start.elapsed()
}

fn both(path: PathProfile) -> Profile {
    Profile { to_target: path, from_target: path }
}

/// A relay with a client and the server's end of the client's connection.
async fn joined(profile: Profile) -> (StreamRelay, TcpListener, TcpStream) {
    let server = TcpListener::bind(ANY).await.unwrap();
    let target = server.local_addr().unwrap();
    let relay = StreamRelay::bind(ANY, target, profile, 7).await.unwrap();
    let client = TcpStream::connect(relay.address()).await.unwrap();
    (relay, server, client)
}

#[tokio::test]
async fn all_bytes_arrive_in_order_and_so_does_the_end_of_the_stream() {
    let delayed = PathProfile { delay: Duration::from_millis(5), ..PathProfile::default() };
    let (relay, server, mut client) = joined(both(delayed)).await;
    let sent: Vec<u8> = (0..200_000_u32).flat_map(u32::to_be_bytes).collect();
    let expected = sent.clone();
    let scenario = async {
        let (mut peer, _) = server.accept().await.unwrap();
        let sending = async {
            client.write_all(&sent).await.unwrap();
            client.shutdown().await.unwrap();
        };
        let mut received = Vec::new();

        let ((), read) = tokio::join!(sending, peer.read_to_end(&mut received));

        assert_eq!(read.unwrap(), expected.len());
        assert_eq!(received, expected);
    };

    tokio::select! {
        () = scenario => {}
        ended = relay.run(clock()) => panic!("the relay ended with {ended:?}"),
    }
}

#[tokio::test]
async fn bytes_wait_for_the_end_of_a_cut_and_take_at_least_the_delay() {
    let delay = Duration::from_millis(20);
    let (relay, server, mut client) =
        joined(both(PathProfile { delay, ..PathProfile::default() })).await;
    let handle = relay.handle();
    let now = clock();
    let scenario = async {
        let (mut peer, _) = server.accept().await.unwrap();
        let mut buffer = [0; 4];

        handle.apply(&Change { cut: Some(Cut::ToTarget), ..Change::default() });
        let sent_at = now();
        client.write_all(b"ping").await.unwrap();
        peer.write_all(b"pong").await.unwrap();
        client.read_exact(&mut buffer).await.unwrap();
        handle.apply(&Change { cut: Some(Cut::None), ..Change::default() });

        assert_eq!(&buffer, b"pong");
        assert_eq!(handle.report()["bytes"], 4);
        peer.read_exact(&mut buffer).await.unwrap();
        assert_eq!(&buffer, b"ping");
        assert!(now() - sent_at >= delay);
    };

    tokio::select! {
        () = scenario => {}
        ended = relay.run(clock()) => panic!("the relay ended with {ended:?}"),
    }
}

#[tokio::test]
async fn a_relay_that_is_told_to_stop_ends() {
    let (relay, _server, _client) = joined(Profile::default()).await;

    relay.handle().stop();

    assert!(relay.run(clock()).await.is_ok());
}
