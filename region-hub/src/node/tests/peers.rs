//! Who may connect, and what becomes of connections.

use std::time::Duration;

use headland_replication::frame::Goodbye;
use headland_replication::{CloseReason, Refusal, RefusalCode};

use super::hub::{CONFIG, Hub};
use super::remote::{Remote, record};
use crate::node::LinkState;
use crate::node::reach::Notice;
use crate::peer_link::LinkId;

#[test]
fn a_hub_that_is_not_configured_is_turned_away_with_the_line_to_add() {
    let mut hub = Hub::new();

    Remote::hub(&mut hub, 1, "ap");

    let [(link_id, CloseReason::RefusedHere(refusal))] = &hub.closed[..] else {
        panic!("{:?}", hub.closed)
    };
    assert_eq!((*link_id, refusal.code()), (LinkId::new(1), RefusalCode::NotAuthorised));
    let text = refusal.to_string();
    assert!(text.contains("add [[peer]] region = \"ap\" name = \"hub-1\""), "{text}");
}

#[test]
fn a_second_connection_of_a_peer_supersedes_the_first() {
    let mut hub = Hub::new();
    Remote::hub(&mut hub, 1, "us");

    Remote::hub(&mut hub, 2, "us");

    let reasons: Vec<_> = hub.closed.iter().map(|(link_id, why)| (*link_id, why)).collect();
    assert_eq!(reasons, [(LinkId::new(1), &CloseReason::Here(Goodbye::Superseded))]);
    assert_eq!(hub.node.status().links[0].state, LinkState::Up);
}

#[test]
fn a_log_that_cannot_be_read_closes_its_link() {
    let mut hub = Hub::new();
    let mut us = Remote::hub(&mut hub, 1, "us");
    let mut agent = Remote::agent(&mut hub, 2);
    let channel = agent.offer(&mut hub, "inventory.events");
    hub.fail_reads();

    agent.publish(&mut hub, channel, &[record("eu-1-till", "{}")]);
    hub.talk(&mut us);
    us.subscribe_all();
    hub.talk(&mut us);

    let closed: Vec<LinkId> = hub.closed.iter().map(|(link_id, _)| *link_id).collect();
    assert_eq!(closed, [us.link_id]);
    assert_eq!(hub.node.status().links[0].state, LinkState::Down);
}

#[test]
fn a_peer_with_an_address_is_dialled_again_after_each_failure_and_one_without_never() {
    let mut waits = Hub::configured(&CONFIG.replace("address = \"none:1\"", ""));
    let mut dials = Hub::new();

    for hub in [&mut waits, &mut dials] {
        for _ in 0..3 {
            hub.settle();
            for _ in 0..20 {
                hub.advance(1_000);
            }
            if !hub.dialled.is_empty() {
                hub.node.on_dial_failed(hub.now, 0, "timed out");
            }
        }
        hub.settle();
    }

    assert_eq!(waits.dialled, [0; 0]);
    assert!(dials.dialled.len() >= 2, "{:?}", dials.dialled);
}

#[test]
fn a_silent_peer_is_closed_after_five_seconds() {
    let mut hub = Hub::new();
    Remote::hub(&mut hub, 1, "us");

    hub.advance(4_999);
    hub.settle();
    let before = hub.closed.len();
    hub.advance(1);
    hub.settle();

    assert_eq!(before, 0);
    assert!(matches!(hub.closed[0].1, CloseReason::Silent { .. }), "{:?}", hub.closed);
}

#[test]
fn the_lag_of_a_link_that_is_down_grows_with_the_log() {
    let mut hub = Hub::new();
    let mut us = Remote::hub(&mut hub, 1, "us");
    let mut agent = Remote::agent(&mut hub, 2);
    let channel = agent.offer(&mut hub, "inventory.events");
    agent.publish(&mut hub, channel, &[record("eu-1-till", "{}")]);
    hub.talk(&mut us);
    us.subscribe_all();
    hub.talk(&mut us);
    let delivered = us.delivered();
    us.store_all();
    hub.talk(&mut us);
    let up = hub.node.status().links[0].lag_records;

    hub.node.on_disconnected(hub.now, us.link_id);
    let down = hub.node.status().links[0].lag_records;
    agent.publish(&mut hub, channel, &[record("eu-1-till", "{}"), record("eu-1-till", "{}")]);

    assert_eq!((delivered, up, down), (1, 0, 0));
    assert_eq!(hub.node.status().links[0].lag_records, 2);
}

#[test]
fn the_age_of_what_is_missing_is_zero_while_nothing_is_and_rises_while_the_link_is_down() {
    let mut hub = Hub::new();
    let us = Remote::hub(&mut hub, 1, "us");
    let lag = |hub: &Hub| hub.node.link_lags(hub.now.monotonic).next().unwrap().1.as_secs();
    let up = lag(&hub);

    hub.node.on_disconnected(hub.now, us.link_id);
    hub.advance(7_000);

    assert_eq!((up, lag(&hub)), (0, 7));
}

#[test]
fn what_is_missing_goes_on_ageing_on_a_link_that_was_just_made_again() {
    let mut hub = Hub::new();
    let mut us = Remote::hub(&mut hub, 1, "us");
    let channel = us.offer(&mut hub, "inventory.events");
    hub.cut_power_after(0);
    us.mirror(&mut hub, channel, &[record("us-1-till", "{}")]);
    hub.advance(2_000);
    hub.node.on_disconnected(hub.now, us.link_id);
    hub.advance(1_000);

    let again = Remote::hub(&mut hub, 2, "us");

    let lag = hub.node.link_lags(hub.now.monotonic).next().unwrap().1.as_secs();
    assert!(hub.node.is_connected(again.link_id));
    assert_eq!(lag, 3);
}

#[test]
fn the_word_of_a_peer_that_refuses_is_what_an_operator_hears() {
    let mut hub = Hub::new();
    let mut us = Remote::hub(&mut hub, 1, "us");

    let text = "add [[peer]] region = \"eu\"";
    us.link.refuse_peer(Refusal::new(RefusalCode::NotAuthorised, text));
    hub.talk(&mut us);

    let later = hub.now.monotonic.after(Duration::from_secs(10));
    let notice = hub.node.peers[0].reach.on_timeout(later).unwrap();
    let Notice::Away { why, .. } = notice else { panic!("{notice:?}") };
    assert!(why.contains(text), "{why}");
}
