//! The relay between real sockets on loopback.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

use std::future::Future;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use headland_wan::{
    AddressChange, Change, Controlled, Cut, PathProfile, Profile, Relay, RelayHandle,
};
use tokio::net::UdpSocket;

const ANY: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

#[expect(clippy::disallowed_types, clippy::disallowed_methods, reason = "the test is the shell")]
fn clock() -> impl Fn() -> Duration {
    let start = std::time::Instant::now();
    move || start.elapsed()
}

fn delayed(millis: u64) -> Profile {
    let path = PathProfile { delay: Duration::from_millis(millis), ..PathProfile::default() };
    Profile { to_target: path, from_target: path }
}

/// Runs `scenario` beside a relay in front of a server that answers each datagram with itself.
async fn beside_echo<F: Future<Output = ()>>(
    profile: Profile,
    scenario: impl FnOnce(UdpSocket, RelayHandle) -> F,
) {
    let server = UdpSocket::bind(ANY).await.unwrap();
    let relay = Relay::bind(ANY, server.local_addr().unwrap(), profile, 7).unwrap();
    let client = UdpSocket::bind(ANY).await.unwrap();
    client.connect(relay.address()).await.unwrap();
    let handle = relay.handle();
    let echo = async {
        let mut buffer = [0; 1_500];
        loop {
            let (length, peer) = server.recv_from(&mut buffer).await.unwrap();
            server.send_to(&buffer[..length], peer).await.unwrap();
        }
    };

    tokio::select! {
        () = scenario(client, handle) => {}
        () = echo => {}
        ended = relay.run(clock()) => panic!("the relay ended with {ended:?}"),
    }
}

async fn receive(client: &UdpSocket) -> String {
    let mut buffer = [0; 1_500];
    let length = client.recv(&mut buffer).await.unwrap();
    String::from_utf8(buffer[..length].to_vec()).unwrap()
}

#[tokio::test]
async fn datagrams_pass_both_ways_in_order_and_are_counted() {
    beside_echo(delayed(5), async |client, handle| {
        for number in 0..20 {
            client.send(format!("{number}").as_bytes()).await.unwrap();
        }

        for number in 0..20 {
            assert_eq!(receive(&client).await, format!("{number}"));
        }
        assert_eq!(handle.counters().to_target.forwarded, 20);
        assert_eq!(handle.counters().from_target.forwarded, 20);
    })
    .await;
}

#[tokio::test]
async fn a_cut_loses_what_is_sent_until_it_heals() {
    beside_echo(delayed(1), async |client, handle| {
        handle.set_cut(Cut::Both);
        client.send(b"during").await.unwrap();
        while handle.counters().to_target.cut == 0 {
            tokio::task::yield_now().await;
        }
        handle.set_cut(Cut::None);
        client.send(b"after").await.unwrap();

        assert_eq!(receive(&client).await, "after");
        assert_eq!(handle.counters().to_target.cut, 1);
    })
    .await;
}

#[tokio::test]
async fn a_one_way_cut_lets_the_other_direction_through() {
    beside_echo(delayed(1), async |client, handle| {
        handle.set_cut(Cut::FromTarget);
        client.send(b"ping").await.unwrap();
        while handle.counters().from_target.cut == 0 {
            tokio::task::yield_now().await;
        }

        assert_eq!(handle.counters().to_target.forwarded, 1);
        assert_eq!(handle.counters().from_target.forwarded, 0);
    })
    .await;
}

#[tokio::test]
async fn after_a_change_of_address_the_target_answers_a_new_port() {
    let server = UdpSocket::bind(ANY).await.unwrap();
    let relay = Relay::bind(ANY, server.local_addr().unwrap(), Profile::default(), 7).unwrap();
    let client = UdpSocket::bind(ANY).await.unwrap();
    client.connect(relay.address()).await.unwrap();
    let handle = relay.handle();
    let scenario = async {
        let mut buffer = [0; 16];
        client.send(b"first").await.unwrap();
        let (_, before) = server.recv_from(&mut buffer).await.unwrap();

        handle.apply(&Change { address: Some(AddressChange::New), ..Change::default() });
        // The relay moves its clients before it reads what is sent after the change.
        client.send(b"second").await.unwrap();
        let (length, after) = server.recv_from(&mut buffer).await.unwrap();
        server.send_to(b"answer", after).await.unwrap();

        assert_eq!(&buffer[..length], b"second");
        assert_ne!(after, before);
        assert_eq!(receive(&client).await, "answer");
    };

    tokio::select! {
        () = scenario => {}
        ended = relay.run(clock()) => panic!("the relay ended with {ended:?}"),
    }
}

#[tokio::test]
async fn a_relay_outlives_its_target() {
    let absent = UdpSocket::bind(ANY).await.unwrap().local_addr().unwrap();
    let relay = Relay::bind(ANY, absent, Profile::default(), 7).unwrap();
    let (address, handle) = (relay.address(), relay.handle());
    let client = UdpSocket::bind(ANY).await.unwrap();
    client.connect(address).await.unwrap();
    let scenario = async {
        for number in 1..=3 {
            client.send(b"anybody?").await.unwrap();
            while handle.counters().to_target.forwarded < number {
                tokio::task::yield_now().await;
            }
        }
        handle.stop();
    };

    let (ended, ()) = tokio::join!(relay.run(clock()), scenario);

    assert_eq!(ended.unwrap().to_target.forwarded, 3);
}

#[tokio::test]
async fn an_address_in_use_is_named() {
    let taken = UdpSocket::bind(ANY).await.unwrap();
    let address = taken.local_addr().unwrap();

    let error = Relay::bind(address, ANY, Profile::default(), 7).unwrap_err();

    assert_eq!(error.to_string(), format!("cannot listen on {address}"));
}
