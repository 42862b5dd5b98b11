//! What a receiver has looked at and does not keep.

use super::*;
use crate::frame::Passed;

fn ack(next: u64) -> Frame {
    Frame::Ack(Ack { channel: FIRST, next: Offset::new(next) })
}

fn passed(next: u64) -> Frame {
    Frame::Passed(Passed { channel: FIRST, next: Offset::new(next) })
}

/// A hub's link to which three entries came.
fn hub_with_three() -> Host {
    let mut host = subscribed_hub(Lane::State);
    for base in 0..3 {
        feed_on(&mut host, Lane::State, &data(1, base, 10));
    }
    host
}

/// Sends what the window lets.
fn send_all(host: &mut Host) {
    for _ in 0..9 {
        host.answer_read();
        host.link.on_written(Lane::State, host.link.unsent(Lane::State));
        host.drain();
    }
}

#[test]
fn what_is_not_kept_is_said_to_be_passed_and_acknowledged_only_once_it_is_stored() {
    let mut host = hub_with_three();
    host.link.on_stored(FIRST, Offset::new(1));
    host.link.on_passed(FIRST, Offset::new(3));
    host.drain();
    let at_first = host.outgoing();
    let status = host.link.subscriptions().next().unwrap();
    host.driver.clear();

    host.link.on_stored(FIRST, Offset::new(3));
    host.drain();

    assert_eq!(at_first, [ack(1), passed(3)]);
    assert_eq!((status.stored, status.passed), (Offset::new(1), Offset::new(3)));
    assert_eq!(host.outgoing(), [ack(3)]);
}

#[test]
fn what_is_stored_is_not_said_to_be_passed_as_well() {
    let mut host = hub_with_three();

    host.link.on_passed(FIRST, Offset::new(2));
    host.link.on_stored(FIRST, Offset::new(3));
    host.drain();

    assert_eq!(host.outgoing(), [ack(3)]);
}

#[test]
#[should_panic(expected = "passed 4, but delivered 3")]
fn passing_more_than_was_delivered_stops_the_node() {
    hub_with_three().link.on_passed(FIRST, Offset::new(4));
}

#[test]
fn what_the_peer_does_not_keep_makes_room_and_counts_as_lacking() {
    let mut host = flowing_agent(Log::new("t", Lane::State, 9, 1_000), 0);
    send_all(&mut host);
    let sent = host.link.offers().next().unwrap().sent;

    feed(&mut host, &passed(sent.get()));
    send_all(&mut host);

    let status = host.link.offers().next().unwrap();
    let acked = |of: &LinkOutput| matches!(of, LinkOutput::Acked { next, .. } if next.get() > 0);
    assert!(sent < Offset::new(9) && status.sent > sent, "{sent} and {} of 9", status.sent);
    assert_eq!((status.acked, status.lag_records()), (Some(Offset::new(0)), 9));
    assert!(!host.seen.iter().any(acked), "it is not on the peer's disk");
    feed(&mut host, &ack(sent.get()));
    assert_eq!(host.link.offers().next().unwrap().acked, Some(sent));
}

#[test]
fn passing_what_was_never_sent_or_has_no_position_is_refused() {
    let mut flowing = flowing_agent(Log::new("t", Lane::State, 9, 10), 0);
    let mut early = Host::new(Link::new(config(agent(), hub("eu")), 1, start()));
    feed(&mut early, &Frame::Hello(config(hub("eu"), agent()).hello));
    early.offer(Log::new("t", Lane::State, 9, 10));

    for host in [&mut flowing, &mut early] {
        feed(host, &passed(1));

        assert_eq!(refused_with(host), Some(RefusalCode::BadFrame));
    }
}
