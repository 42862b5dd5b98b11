use headland_event::{HubName, RegionId};

use super::*;

/// Two nodes that dial each other over a network with any delay and any faults.
mod model;

const SMALL: &str = "eu";
const LARGE: &str = "us";

fn hub(region: &str) -> Identity {
    let region = RegionId::new(region).unwrap();
    Identity::Hub { region, name: HubName::new("hub-1").unwrap() }
}

/// The peering of `eu` and `us` as seen by the one whose dials win, or by the other.
fn peering(local: &str, peer: &str) -> Peering<u32> {
    let config = PeeringConfig::new(hub(local), hub(peer), Some(DialerConfig::default()));
    Peering::new(config, 1)
}

const fn life(nonce: u64) -> Incarnation {
    Incarnation::new(1, nonce)
}

fn at(ms: u64) -> Monotonic {
    Monotonic::from_millis(ms)
}

fn outputs(peering: &mut Peering<u32>) -> Vec<PeeringOutput<u32>> {
    std::iter::from_fn(|| peering.poll_output()).collect()
}

/// Makes connections and says hello on them in the order given.
fn meet(peering: &mut Peering<u32>, connections: &[(u32, Dialled)]) {
    for (connection, dialled) in connections {
        peering.on_connected(at(10), *connection, *dialled);
        peering.on_hello(at(10), *connection, life(7));
    }
}

#[test]
fn both_sides_keep_the_connection_dialled_by_the_smaller_identity_in_either_order() {
    let of_small = |side: &str| if side == SMALL { Dialled::Here } else { Dialled::There };
    let of_large = |side: &str| if side == SMALL { Dialled::There } else { Dialled::Here };
    for (local, peer) in [(SMALL, LARGE), (LARGE, SMALL)] {
        let both = [(1, of_small(local)), (2, of_large(local))];
        for order in [both, [both[1], both[0]]] {
            let mut peering = peering(local, peer);

            meet(&mut peering, &order);

            assert_eq!(peering.kept(), Some(1), "{local}, {order:?}");
            assert!(outputs(&mut peering).contains(&PeeringOutput::Close(2)));
        }
    }
}

#[test]
fn a_connection_without_a_hello_is_not_used_and_replaces_nothing() {
    let mut peering = peering(LARGE, SMALL);
    meet(&mut peering, &[(1, Dialled::Here)]);

    peering.on_connected(at(20), 2, Dialled::There);

    assert_eq!(peering.kept(), Some(1));
    assert_eq!(outputs(&mut peering), []);
}

#[test]
fn the_later_of_two_connections_by_the_same_node_is_kept_whichever_hello_comes_first() {
    for order in [[1, 2], [2, 1]] {
        let mut peering = peering(SMALL, LARGE);
        peering.on_connected(at(10), 1, Dialled::There);
        peering.on_connected(at(11), 2, Dialled::There);

        for connection in order {
            peering.on_hello(at(12), connection, life(7));
        }

        assert_eq!(peering.kept(), Some(2), "{order:?}");
    }
}

#[test]
fn a_new_life_of_the_peer_replaces_what_the_old_one_left() {
    let mut peering = peering(SMALL, LARGE);
    meet(&mut peering, &[(1, Dialled::Here)]);

    peering.on_connected(at(20), 2, Dialled::There);
    peering.on_hello(at(20), 2, life(8));

    assert_eq!(peering.kept(), Some(2));
    assert_eq!(peering.poll_output(), Some(PeeringOutput::Close(1)));
}

#[test]
fn a_connection_that_is_silent_for_two_seconds_yields_and_a_moment_earlier_is_probed() {
    for (silent_ms, kept, output) in [
        (1_999, 1, vec![PeeringOutput::Close(2), PeeringOutput::Probe(1)]),
        (2_000, 2, vec![PeeringOutput::Close(1)]),
    ] {
        let mut peering = peering(SMALL, LARGE);
        meet(&mut peering, &[(1, Dialled::Here)]);
        peering.on_heard(at(500), 1);

        peering.on_connected(at(600), 2, Dialled::There);
        peering.on_hello(at(500 + silent_ms), 2, life(7));

        assert_eq!(peering.kept(), Some(kept), "silent for {silent_ms} ms");
        assert_eq!(outputs(&mut peering), output);
    }
}

#[test]
fn a_failed_dial_is_not_repeated_while_the_peers_connection_is_kept() {
    let mut peering = peering(SMALL, LARGE);
    assert_eq!(outputs(&mut peering), [PeeringOutput::Dial]);
    meet(&mut peering, &[(1, Dialled::There)]);

    peering.on_dial_failed(at(20));

    assert_eq!(peering.poll_timeout(), None);
    peering.on_closed(at(30), 1, Ended::Lost);
    assert!(peering.poll_timeout().is_some());
}

#[test]
fn there_is_one_attempt_at_a_time() {
    let mut peering = peering(SMALL, LARGE);
    assert_eq!(outputs(&mut peering), [PeeringOutput::Dial]);
    meet(&mut peering, &[(1, Dialled::There)]);
    peering.on_closed(at(30), 1, Ended::Lost);

    peering.on_timeout(peering.poll_timeout().unwrap());
    assert_eq!(outputs(&mut peering), []);
    peering.on_connected(at(200), 2, Dialled::Here);
    assert_eq!(outputs(&mut peering), []);
    peering.on_closed(at(300), 2, Ended::Lost);
    peering.on_timeout(peering.poll_timeout().unwrap());

    assert_eq!(outputs(&mut peering), [PeeringOutput::Dial]);
}

#[test]
fn who_is_superseded_and_has_no_other_connection_waits_longer() {
    let mut peering = peering(LARGE, SMALL);
    assert_eq!(outputs(&mut peering), [PeeringOutput::Dial]);
    peering.on_connected(at(10), 1, Dialled::Here);

    peering.on_closed(at(20), 1, Ended::Superseded);

    let wait = peering.poll_timeout().unwrap().since(at(20));
    assert!(wait >= Duration::from_millis(500) && wait <= Duration::from_secs(1), "{wait:?}");
}

#[test]
fn a_peer_that_never_says_hello_loses_its_oldest_connection_at_the_limit() {
    let mut peering = peering(SMALL, LARGE);
    meet(&mut peering, &[(0, Dialled::There)]);
    let limit = u32::try_from(CONNECTIONS_LIMIT).unwrap();
    for connection in 1..limit {
        peering.on_connected(at(20), connection, Dialled::There);
        assert_eq!(outputs(&mut peering), []);
    }

    peering.on_connected(at(20), limit, Dialled::There);

    assert_eq!(outputs(&mut peering), [PeeringOutput::Close(1)]);
    assert_eq!(peering.kept(), Some(0));
}

#[test]
fn a_node_that_does_not_dial_never_asks_for_it() {
    let config = PeeringConfig::new(hub(SMALL), hub(LARGE), None);
    let mut peering = Peering::new(config, 1);

    meet(&mut peering, &[(1, Dialled::There)]);
    peering.on_closed(at(20), 1, Ended::Lost);

    assert_eq!(outputs(&mut peering), []);
    assert_eq!(peering.poll_timeout(), None);
}
