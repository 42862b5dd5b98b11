use std::time::Duration;

use headland_event::clock::Actor;
use headland_event::{
    ChannelEpoch, EventTime, Hlc, Incarnation, PartitionIndex, Stamp, TopicName, VectorClock,
};

use super::*;
use crate::frame::{Ack, Announce, ChannelEnd, HOPS_LIMIT, Head, Keepalive, Position};
use crate::peering::Ended;

/// Two links, two hosts and a network.
mod pair;
/// Alerts that travel twice.
mod copies;
/// What is looked at and not kept.
mod passed;
/// What a log lost.
mod refills;
/// Any schedule ends with exact copies.
mod simulation;
/// A thousand schedules by seed.
mod schedules;

use pair::{Host, Log, Pair, agent, config, entry, hub, region, source};

const FIRST: ChannelId = ChannelId::new(0);

fn start() -> Monotonic {
    Monotonic::from_millis(0)
}

/// A hub's link that knows its agent, with nothing left to do.
fn ready_hub() -> Host {
    let mut host = Host::new(Link::new(config(hub("eu"), agent()), 1, start()));
    let hello = config(agent(), hub("eu")).hello;
    feed(&mut host, &Frame::Hello(hello));
    host.driver.clear();
    host.seen.clear();
    host
}

fn feed(host: &mut Host, frame: &Frame) {
    feed_on(host, Lane::Control, frame);
}

fn feed_on(host: &mut Host, lane: Lane, frame: &Frame) {
    host.link.on_frame(start(), lane, frame.encode().unwrap());
    host.drain();
}

fn announce(channel: u32, log: &Log) -> Frame {
    Frame::Announce(Announce { channel: ChannelId::new(channel), offer: log.offer() })
}

fn data(epoch: u64, base: u64, bytes: usize) -> Frame {
    let epoch = ChannelEpoch::new(epoch);
    Frame::Data(Data { channel: FIRST, epoch, entry: entry(base, bytes) })
}

fn position(epoch: u64, next: u64) -> Frame {
    let epoch = ChannelEpoch::new(epoch);
    Frame::Position(Position { channel: FIRST, epoch, next: Offset::new(next) })
}

/// The code with which the link refused its peer, or closed for another reason.
fn refused_with(host: &Host) -> Option<RefusalCode> {
    match host.seen.last() {
        Some(LinkOutput::Close(CloseReason::RefusedHere(refusal))) => Some(refusal.code()),
        _ => None,
    }
}

fn subscribed_hub(lane: Lane) -> Host {
    let mut host = ready_hub();
    feed(&mut host, &announce(0, &Log::new("t", lane, 100, 10)));
    host.driver.clear();
    host
}

/// An agent's link with one offered log whose peer stands at `next`.
fn flowing_agent(log: Log, next: u64) -> Host {
    let mut host = Host::new(Link::new(config(agent(), hub("eu")), 1, start()));
    feed(&mut host, &Frame::Hello(config(hub("eu"), agent()).hello));
    host.offer(log);
    feed(&mut host, &position(1, next));
    host.driver.clear();
    host
}

#[test]
fn both_sides_say_hello_and_learn_who_the_other_is() {
    let mut pair = Pair::new();

    pair.run();

    let hello = |local, peer| LinkOutput::PeerReady(config(local, peer).hello);
    assert_eq!(pair.hub.seen, [hello(agent(), hub("eu"))]);
    assert_eq!(pair.agent.seen, [hello(hub("eu"), agent())]);
}

#[test]
fn a_hello_that_contradicts_the_certificate_is_refused() {
    let mut host = Host::new(Link::new(config(hub("eu"), agent()), 1, start()));

    feed(&mut host, &Frame::Hello(config(hub("us"), hub("eu")).hello));

    assert_eq!(refused_with(&host), Some(RefusalCode::IdentityMismatch));
    assert_eq!(host.link.poll_timeout(), None);
}

#[test]
fn a_frame_before_the_hello_or_a_second_hello_is_refused() {
    let mut early = Host::new(Link::new(config(hub("eu"), agent()), 1, start()));
    let mut twice = ready_hub();

    feed(&mut early, &Frame::Ack(Ack { channel: FIRST, next: Offset::new(1) }));
    feed(&mut twice, &Frame::Hello(config(agent(), hub("eu")).hello));

    assert_eq!(refused_with(&early), Some(RefusalCode::BadFrame));
    assert_eq!(refused_with(&twice), Some(RefusalCode::BadFrame));
}

#[test]
fn bytes_that_are_no_frame_close_the_link_and_name_the_cause() {
    let mut garbled = ready_hub();
    let mut newer = ready_hub();

    garbled.link.on_frame(start(), Lane::Control, Bytes::from_static(&[1, 99]));
    newer.link.on_frame(start(), Lane::Control, Bytes::from_static(&[2, 1]));
    garbled.drain();
    newer.drain();

    assert_eq!(refused_with(&garbled), Some(RefusalCode::BadFrame));
    assert_eq!(refused_with(&newer), Some(RefusalCode::UnsupportedVersion));
    let Some(Frame::Refuse(refuse)) = garbled.outgoing().pop() else { panic!("no refusal") };
    assert_eq!(
        refuse.refusal.text(),
        "the frame's layout is broken: frame kind at 1 holds 99, expected 1 to 15"
    );
}

#[test]
fn a_log_is_copied_in_order_and_acknowledged_to_its_end() {
    let mut pair = Pair::new();
    let log = Log::new("inventory.events", Lane::State, 50, 300);
    pair.agent.offer(log.clone());

    pair.run();

    assert_eq!(pair.hub.mirrored("inventory.events"), log.entries);
    let acked = LinkOutput::Acked { channel: FIRST, next: Offset::new(50) };
    assert_eq!(pair.agent.seen.last(), Some(&acked));
}

#[test]
fn a_new_connection_goes_on_from_what_is_stored() {
    let mut pair = Pair::new();
    pair.agent.offer(Log::new("t", Lane::State, 10, 50));
    pair.run();
    pair.cut();
    pair.agent.append(0, 50);

    pair.run();

    let first = pair.agent.seen.iter().find(|output| matches!(output, LinkOutput::Acked { .. }));
    assert_eq!(first, Some(&LinkOutput::Acked { channel: FIRST, next: Offset::new(10) }));
    assert_eq!(pair.hub.mirrored("t").len(), 11);
}

#[test]
fn data_with_a_gap_is_refused_with_a_position_of_the_next_epoch() {
    let mut host = subscribed_hub(Lane::State);

    feed_on(&mut host, Lane::State, &data(1, 5, 10));

    assert!(host.delivered.is_empty());
    assert_eq!(host.outgoing(), [position(2, 0)]);
}

#[test]
fn data_of_an_epoch_never_given_is_refused_alike() {
    let mut host = subscribed_hub(Lane::State);

    feed_on(&mut host, Lane::State, &data(9, 0, 10));

    assert!(host.delivered.is_empty());
    assert_eq!(host.outgoing(), [position(2, 0)]);
}

#[test]
fn data_of_an_older_epoch_is_ignored_even_where_it_would_fit() {
    let mut host = subscribed_hub(Lane::State);
    feed_on(&mut host, Lane::State, &data(1, 5, 10));
    host.driver.clear();

    feed_on(&mut host, Lane::State, &data(1, 0, 10));

    assert!(host.delivered.is_empty());
    assert!(host.driver.is_empty());
}

#[test]
fn a_repeated_entry_is_not_delivered_twice() {
    let mut host = subscribed_hub(Lane::State);
    feed_on(&mut host, Lane::State, &data(1, 0, 10));

    feed_on(&mut host, Lane::State, &data(1, 0, 10));

    assert_eq!(host.delivered.len(), 1);
    assert_eq!(host.outgoing(), [position(2, 1)]);
}

#[test]
fn several_stored_entries_are_acknowledged_at_once() {
    let mut host = subscribed_hub(Lane::State);
    for base in 0..3 {
        feed_on(&mut host, Lane::State, &data(1, base, 10));
    }

    host.link.on_stored(FIRST, Offset::new(1));
    host.link.on_stored(FIRST, Offset::new(3));
    host.drain();

    assert_eq!(host.outgoing(), [Frame::Ack(Ack { channel: FIRST, next: Offset::new(3) })]);
}

#[test]
#[should_panic(expected = "stored 2, but delivered 1")]
fn storing_more_than_was_delivered_stops_the_node() {
    let mut host = subscribed_hub(Lane::State);
    feed_on(&mut host, Lane::State, &data(1, 0, 10));

    host.link.on_stored(FIRST, Offset::new(2));
}

#[test]
fn data_on_another_lane_than_its_channels_is_refused() {
    let mut host = subscribed_hub(Lane::State);

    feed_on(&mut host, Lane::Alerts, &data(1, 0, 10));

    assert_eq!(refused_with(&host), Some(RefusalCode::BadFrame));
}

#[test]
fn data_before_a_position_is_refused() {
    let mut host = ready_hub();
    host.link.on_frame(
        start(),
        Lane::Control,
        announce(0, &Log::new("t", Lane::State, 9, 10)).encode().unwrap(),
    );

    host.link.on_frame(start(), Lane::State, data(1, 0, 10).encode().unwrap());
    host.drain();

    assert_eq!(refused_with(&host), Some(RefusalCode::BadFrame));
}

#[test]
fn a_receiver_refuses_a_peer_that_exceeds_its_window() {
    let mut host = subscribed_hub(Lane::State);
    let bytes = data(1, 0, 1_000).encode().unwrap().len();
    let fitting = 4_096 / u64::try_from(bytes).unwrap();
    for base in 0..fitting {
        feed_on(&mut host, Lane::State, &data(1, base, 1_000));
    }
    assert_eq!(refused_with(&host), None);

    feed_on(&mut host, Lane::State, &data(1, fitting, 1_000));

    assert_eq!(refused_with(&host), Some(RefusalCode::WindowExceeded));
}

#[test]
fn a_sender_stops_at_the_window_until_something_is_stored() {
    let mut pair = Pair::new();
    pair.agent.offer(Log::new("air", Lane::Telemetry, 100, 500));
    pair.shake_hands();
    for _ in 0..50 {
        pair.agent.answer_read();
        Pair::carry(pair.now, &mut pair.agent, &mut pair.hub, Lane::Telemetry);
    }

    let in_flight = pair.agent.link.in_flight(Lane::Telemetry).get();

    let frame = u64::try_from(data(1, 0, 500).encode().unwrap().len()).unwrap();
    assert_eq!(in_flight, 4_096 / frame * frame);
    assert!(pair.agent.driver.is_empty());
    let status = pair.agent.link.offers().next().unwrap();
    assert_eq!(status.in_flight_bytes.get(), in_flight);
    assert_eq!(status.in_flight_records, 4_096 / frame);
    assert_eq!(status.lag_records(), 100);
}

#[test]
fn the_smaller_window_of_both_sides_counts() {
    let mut host = Host::new(Link::new(config(agent(), hub("eu")), 1, start()));
    let mut hello = config(hub("eu"), agent()).hello;
    hello.window = ByteCount::new(1);
    feed(&mut host, &Frame::Hello(hello));
    host.offer(Log::new("t", Lane::State, 10, 10));
    feed(&mut host, &position(1, 0));
    host.driver.clear();

    host.answer_read();

    assert_eq!(host.outgoing(), [data(1, 0, 10)]);
}

#[test]
fn an_alert_overtakes_bulk_that_fills_window_and_driver() {
    let mut pair = Pair::new();
    pair.agent.offer(Log::new("air", Lane::Telemetry, 100, 500));
    pair.agent.offer(Log::new("alerts", Lane::Alerts, 0, 0));
    pair.shake_hands();
    for _ in 0..50 {
        pair.agent.answer_read();
        Pair::carry(pair.now, &mut pair.agent, &mut pair.hub, Lane::Telemetry);
    }

    pair.agent.append(1, 40);
    pair.agent.drain();
    pair.agent.answer_read();
    Pair::carry(pair.now, &mut pair.agent, &mut pair.hub, Lane::Alerts);

    let (channel, entry) = pair.hub.delivered.back().unwrap();
    assert_eq!((channel.get(), entry.base), (1, Offset::new(0)));
}

#[test]
fn a_driver_never_holds_more_than_its_budget_of_a_lane() {
    let mut host = flowing_agent(Log::new("t", Lane::State, 20, 300), 0);
    let frame = u64::try_from(data(1, 0, 300).encode().unwrap().len()).unwrap();

    for _ in 0..20 {
        host.answer_read();
    }
    let held = host.link.unsent(Lane::State).get();
    host.link.on_written(Lane::State, ByteCount::new(frame));
    host.drain();

    assert_eq!(held, 1_024 / frame * frame);
    assert_eq!(host.link.unsent(Lane::State).get(), held);
}

#[test]
fn an_entry_above_every_bound_still_goes_alone() {
    let mut pair = Pair::new();
    pair.agent.offer(Log::new("t", Lane::State, 3, 9_000));

    pair.run();

    assert_eq!(pair.hub.mirrored("t").len(), 3);
}

#[test]
fn an_empty_answer_waits_for_the_log_to_grow() {
    let mut host = flowing_agent(Log::new("t", Lane::State, 1, 10), 0);
    host.reads.clear();

    host.link.on_entries(FIRST, Vec::new());
    host.drain();
    assert!(host.reads.is_empty());
    host.append(0, 10);
    host.drain();

    assert_eq!(host.reads, [(FIRST, Offset::new(0), ByteCount::new(1_024))]);
}

#[test]
fn a_log_that_grew_while_it_was_read_is_read_again() {
    let mut host = flowing_agent(Log::new("t", Lane::State, 1, 10), 0);
    host.reads.clear();

    host.append(0, 10);
    host.link.on_entries(FIRST, Vec::new());
    host.drain();

    assert_eq!(host.reads, [(FIRST, Offset::new(0), ByteCount::new(1_024))]);
}

#[test]
fn the_answer_to_a_read_from_before_a_new_position_is_thrown_away() {
    let mut host = flowing_agent(Log::new("t", Lane::State, 2, 10), 0);
    feed(&mut host, &position(2, 0));

    host.answer_read();
    assert!(host.driver.is_empty());
    host.answer_read();

    assert_eq!(host.outgoing(), [data(2, 0, 10), data(2, 1, 10)]);
}

#[test]
fn a_position_our_log_does_not_have_ends_the_channel_on_both_sides() {
    let mut pair = Pair::new();
    pair.hub.mirror.insert(source("t"), vec![entry(6, 10)]);
    pair.agent.offer(Log::new("t", Lane::State, 3, 10));

    pair.run();

    let ended = |output: &LinkOutput| match output {
        LinkOutput::OfferRefused { refusal, .. } | LinkOutput::Ended { refusal, .. } => {
            Some((refusal.code(), refusal.text().to_owned()))
        }
        _ => None,
    };
    let text = "t/0 holds 0 to 3, the peer stands at 7".to_owned();
    let expected = Some((RefusalCode::PositionUnavailable, text));
    assert_eq!(ended(pair.agent.seen.last().unwrap()), expected);
    assert_eq!(ended(pair.hub.seen.last().unwrap()), expected);
    let Some(LinkOutput::OfferRefused { asked, .. }) = pair.agent.seen.last() else {
        panic!("not refused: {:?}", pair.agent.seen)
    };
    assert_eq!(*asked, Some(Offset::new(7)), "the one that refused says what it was asked for");
}

#[test]
fn a_hole_in_our_log_is_named_and_never_skipped() {
    let mut host = flowing_agent(Log::new("t", Lane::State, 9, 10), 0);

    host.link.on_entries(FIRST, vec![entry(0, 10), entry(5, 10)]);
    host.drain();

    let Some(LinkOutput::OfferRefused { refusal, .. }) = host.seen.last() else {
        panic!("not refused: {:?}", host.seen)
    };
    assert_eq!(refusal.code(), RefusalCode::PositionUnavailable);
    assert_eq!(refusal.text(), "t/0 has no entry at 1, the next is 5");
    assert_eq!(host.link.in_flight(Lane::State), ByteCount::new(0));
}

#[test]
fn an_entry_whose_stamp_leaves_no_room_in_a_frame_ends_its_channel() {
    let mut host = flowing_agent(Log::new("t", Lane::State, 1, 10), 0);
    let actor = |raw| Actor {
        region: region(&"r".repeat(64)),
        incarnation: Incarnation::new(1, 1),
        partition: PartitionIndex::new(raw),
    };
    let mut context = VectorClock::new();
    (0..2_000).for_each(|raw| context.advance(&actor(raw), Offset::new(1)));
    let mut large = entry(0, (1 << 20) - 64);
    let hlc = Hlc::new(EventTime::from_millis(0), 0);
    let (offset, verdicts) = (Offset::new(0), Vec::new());
    large.stamp = Some(Stamp { actor: actor(0), offset, hlc, context: context.into(), verdicts });

    host.link.on_entries(FIRST, vec![large]);
    host.drain();

    let Some(LinkOutput::OfferRefused { refusal, .. }) = host.seen.last() else {
        panic!("not refused: {:?}", host.seen)
    };
    assert_eq!(refusal.code(), RefusalCode::EntryTooLarge);
}

#[test]
fn an_acknowledgement_of_what_was_never_sent_is_refused() {
    let mut host = flowing_agent(Log::new("t", Lane::State, 9, 10), 0);

    feed(&mut host, &Frame::Ack(Ack { channel: FIRST, next: Offset::new(1) }));

    assert_eq!(refused_with(&host), Some(RefusalCode::BadFrame));
}

#[test]
fn a_position_of_an_epoch_that_is_over_or_outside_what_is_in_flight_is_refused() {
    for frame in [position(1, 3), position(2, 2), position(2, 4)] {
        let mut host = flowing_agent(Log::new("t", Lane::State, 9, 10), 3);

        feed(&mut host, &frame);

        assert_eq!(refused_with(&host), Some(RefusalCode::BadFrame), "{frame:?}");
    }
}

#[test]
fn an_offer_the_caller_refuses_does_not_flow() {
    let mut pair = Pair::new();
    let mut hub_link = Link::new(config(hub("eu"), agent()), 2, pair.now);
    pair.agent.offer(Log::new("secret", Lane::State, 3, 10));
    pair.agent.drain();
    for (lane, frame) in pair.agent.driver.drain(..) {
        hub_link.on_frame(pair.now, lane, frame);
    }
    let refusal = Refusal::new(RefusalCode::NotAuthorised, "eu-1 may not publish secret");

    hub_link.refuse(FIRST, refusal.clone());
    while let Some(output) = hub_link.poll_output() {
        if let LinkOutput::Send { lane, frame } = output {
            pair.agent.link.on_frame(pair.now, lane, frame);
        }
    }
    pair.agent.drain();

    let refused = LinkOutput::OfferRefused { channel: FIRST, refusal, asked: None };
    assert_eq!(pair.agent.seen.last(), Some(&refused));
    assert!(pair.agent.reads.is_empty());
}

/// An agent with three channels of a lane, of which two are read, and which these are.
fn three_channels() -> (Host, Vec<u32>) {
    let mut host = Host::new(Link::new(config(agent(), hub("eu")), 1, start()));
    feed(&mut host, &Frame::Hello(config(hub("eu"), agent()).hello));
    for (raw, name) in [(0, "a"), (1, "b"), (2, "c")] {
        let channel = host.offer(Log::new(name, Lane::State, 3, 10));
        assert_eq!(channel, ChannelId::new(raw));
        let (epoch, next) = (ChannelEpoch::new(1), Offset::new(0));
        feed(&mut host, &Frame::Position(Position { channel, epoch, next }));
    }
    let asked = host.reads.drain(..).map(|(channel, ..)| channel.get()).collect();
    (host, asked)
}

#[test]
fn a_read_that_is_put_off_gives_its_room_to_others_and_is_made_again_when_told() {
    let (mut host, asked) = three_channels();
    assert_eq!(asked, [0, 1], "two reads of a lane at a time");

    host.link.put_off(FIRST);
    host.link.put_off(ChannelId::new(1));
    host.drain();
    host.append(0, 10);
    host.drain();
    let others: Vec<u32> = host.reads.iter().map(|(channel, ..)| channel.get()).collect();
    host.answer_read();
    host.link.go_on(FIRST);
    host.link.go_on(FIRST);
    host.drain();

    assert_eq!(others, [2]);
    assert_eq!(host.reads, [(FIRST, Offset::new(0), ByteCount::new(1_024))]);
    host.answer_read();
    let sent = host.outgoing().into_iter().filter(|frame| matches!(frame, Frame::Data(_)));
    assert!(sent.count() > 3, "what was put off is sent");
}

#[test]
fn what_was_put_off_is_read_at_once_where_the_peer_takes_another_position() {
    for is_read_open in [true, false] {
        let mut host = flowing_agent(Log::new("t", Lane::State, 2, 10), 0);
        host.reads.clear();
        if !is_read_open {
            host.link.put_off(FIRST);
        }

        feed(&mut host, &position(2, 0));
        if is_read_open {
            host.link.put_off(FIRST);
        }
        host.drain();

        assert_eq!(host.reads, [(FIRST, Offset::new(0), ByteCount::new(1_024))]);
    }
}

#[test]
fn a_channel_refused_while_it_is_read_gives_its_room_to_others() {
    let (mut host, asked) = three_channels();
    assert_eq!(asked, [0, 1], "two reads of a lane at a time");

    for raw in [0, 1] {
        let refusal = Refusal::new(RefusalCode::NotAuthorised, "");
        feed(
            &mut host,
            &Frame::Refuse(Refuse { scope: Scope::Yours(ChannelId::new(raw)), refusal }),
        );
    }
    host.link.on_entries(FIRST, vec![entry(0, 10)]);
    host.drain();

    assert_eq!(host.reads, [(ChannelId::new(2), Offset::new(0), ByteCount::new(1_024))]);
    assert!(host.outgoing().iter().all(|frame| !matches!(frame, Frame::Data(_))));
}

#[test]
fn a_promise_leaves_out_channels_that_were_refused_here() {
    let mut host = ready_hub();
    for channel in [0, 1] {
        feed(&mut host, &announce(channel, &Log::new("t", Lane::State, 3, 10)));
    }
    host.link.refuse(FIRST, Refusal::new(RefusalCode::UnknownTopic, "t"));
    let end = |raw| ChannelEnd { channel: ChannelId::new(raw), end: Offset::new(3) };
    let topic = TopicName::new("t").unwrap();
    let watermark = EventTime::from_millis(900);

    let ends = vec![end(0), end(1)];
    feed(&mut host, &Frame::Promise(ChannelPromise { topic: topic.clone(), watermark, ends }));

    let kept = ChannelPromise { topic, watermark, ends: vec![end(1)] };
    assert_eq!(host.seen.last(), Some(&LinkOutput::Promised(kept)));
}

#[test]
fn an_offer_that_speaks_for_another_region_is_refused_before_the_caller_sees_it() {
    let mut host = ready_hub();
    let mut offer = Log::new("t", Lane::State, 3, 10).offer();
    offer.origin = region("us");

    feed(&mut host, &Frame::Announce(Announce { channel: FIRST, offer }));

    assert!(host.seen.is_empty());
    let Some(Frame::Refuse(refuse)) = host.outgoing().pop() else { panic!("no refusal") };
    assert_eq!(refuse.scope, Scope::Yours(FIRST));
    assert_eq!(refuse.refusal.code(), RefusalCode::NotAuthorised);
}

#[test]
fn channels_up_to_the_limit_are_announced_and_one_more_is_not() {
    let mut host = Host::new(Link::new(config(agent(), hub("eu")), 1, start()));
    for _ in 0..4 {
        host.offer(Log::new("t", Lane::State, 0, 0));
    }

    let refused = host.link.announce(Log::new("t", Lane::State, 0, 0).offer()).unwrap_err();

    let source_partition = source("t");
    assert_eq!(refused, AnnounceError::TooManyChannels { source_partition, limit: 4 });
}

#[test]
fn a_peer_that_announces_more_channels_than_the_limit_is_refused() {
    let mut host = ready_hub();
    let log = Log::new("t", Lane::State, 0, 0);
    for channel in 0..4 {
        feed(&mut host, &announce(channel, &log));
    }
    assert_eq!(refused_with(&host), None);

    feed(&mut host, &announce(4, &log));

    assert_eq!(refused_with(&host), Some(RefusalCode::TooManyChannels));
}

#[test]
fn channels_are_numbered_without_gaps() {
    let mut host = ready_hub();

    feed(&mut host, &announce(1, &Log::new("t", Lane::State, 0, 0)));

    assert_eq!(refused_with(&host), Some(RefusalCode::BadFrame));
}

#[test]
fn an_offer_with_too_many_hops_or_on_the_control_lane_is_not_announced() {
    let mut link = Link::new(config(agent(), hub("eu")), 1, start());
    let mut far = Log::new("t", Lane::State, 0, 0).offer();
    far.path = vec![region("r"); HOPS_LIMIT + 1];
    let misplaced = Log::new("t", Lane::Control, 0, 0).offer();

    let source_partition = source("t");
    let (found, limit) = (9, 8);
    let expected = AnnounceError::PathTooLong { source_partition, found, limit };
    assert_eq!(link.announce(far), Err(expected));
    let source_partition = source("t");
    assert_eq!(link.announce(misplaced), Err(AnnounceError::ControlLane { source_partition }));
}

#[test]
fn a_promise_arrives_in_terms_of_the_peers_channels() {
    let mut pair = Pair::new();
    pair.agent.offer(Log::new("t", Lane::State, 3, 10));
    pair.run();
    let promise = ChannelPromise {
        topic: TopicName::new("t").unwrap(),
        watermark: EventTime::from_millis(900),
        ends: vec![ChannelEnd { channel: FIRST, end: Offset::new(3) }],
    };

    pair.agent.link.promise(promise.clone()).unwrap();
    pair.run();

    assert_eq!(pair.hub.seen.last(), Some(&LinkOutput::Promised(promise)));
}

#[test]
fn a_promise_over_a_channel_never_announced_is_not_sent_and_refused_when_received() {
    let mut host = ready_hub();
    let promise = ChannelPromise {
        topic: TopicName::new("t").unwrap(),
        watermark: EventTime::from_millis(900),
        ends: vec![ChannelEnd { channel: FIRST, end: Offset::new(3) }],
    };

    let unknown = PromiseError::UnknownChannel { channel: FIRST };
    assert_eq!(host.link.promise(promise.clone()), Err(unknown));
    feed(&mut host, &Frame::Promise(promise));

    assert_eq!(refused_with(&host), Some(RefusalCode::BadFrame));
}

#[test]
fn a_promise_over_more_ends_than_its_limit_is_not_sent() {
    let mut host = ready_hub();
    let ends = vec![ChannelEnd { channel: FIRST, end: Offset::new(0) }; PROMISE_ENDS_LIMIT + 1];
    let topic = TopicName::new("t").unwrap();

    let promise = ChannelPromise { topic, watermark: EventTime::from_millis(0), ends };

    let expected = PromiseError::TooManyEnds { found: 1_025, limit: 1_024 };
    assert_eq!(host.link.promise(promise), Err(expected));
}

#[test]
fn silence_closes_the_link_at_the_timeout_and_not_before() {
    let mut host = ready_hub();

    host.link.on_timeout(Monotonic::from_millis(4_999));
    host.drain();
    assert!(host.seen.is_empty());
    host.link.on_timeout(Monotonic::from_millis(5_000));
    host.drain();

    let five = Duration::from_secs(5);
    let silent = CloseReason::Silent { silence: five, limit: five };
    assert_eq!(host.seen, [LinkOutput::Close(silent)]);
}

#[test]
fn a_refusal_that_the_peer_repeats_is_news_once() {
    let mut pair = Pair::new();
    pair.agent.offer(Log::new("t", Lane::State, 0, 0));
    pair.run();
    pair.agent.seen.clear();
    let refusal = Refusal::new(RefusalCode::UnknownTopic, "add [[topic]]");
    let refuse = Frame::Refuse(Refuse { scope: Scope::Yours(FIRST), refusal: refusal.clone() });

    feed(&mut pair.agent, &refuse);
    feed(&mut pair.agent, &refuse);

    assert_eq!(
        pair.agent.seen,
        [LinkOutput::OfferRefused { channel: FIRST, refusal, asked: None }]
    );
}

#[test]
fn a_probe_sends_a_sign_of_life_at_once_and_the_next_an_interval_later() {
    let mut host = ready_hub();
    let sent_at = Monotonic::from_millis(1);

    host.link.probe(sent_at);
    host.drain();

    let keepalive = Frame::Keepalive(Keepalive { sent_at, echo: None }).encode().unwrap();
    assert_eq!(host.driver, [(Lane::Control, keepalive)]);
    assert_eq!(host.link.poll_timeout(), Some(Monotonic::from_millis(1_001)));
}

#[test]
fn only_the_peers_word_that_another_connection_is_kept_makes_a_dialler_wait_longer() {
    let superseded = Goodbye::Superseded;

    assert_eq!(CloseReason::Peer(superseded).ended(), Ended::Superseded);
    assert_eq!(CloseReason::Here(superseded).ended(), Ended::Lost);
    assert_eq!(CloseReason::Peer(Goodbye::ShuttingDown).ended(), Ended::Lost);
}

#[test]
fn a_peer_that_never_says_hello_counts_as_silent() {
    let mut link = Link::new(config(hub("eu"), agent()), 1, start());

    link.on_timeout(Monotonic::from_millis(5_000));

    let last = std::iter::from_fn(|| link.poll_output()).last();
    assert!(matches!(last, Some(LinkOutput::Close(CloseReason::Silent { .. }))));
}

#[test]
fn keepalives_measure_the_round_trip_and_tell_how_far_the_log_reaches() {
    let mut pair = Pair::new();
    pair.agent.offer(Log::new("t", Lane::State, 0, 0));
    pair.run();
    // The log grows, but nobody reads it: only the head can tell the hub.
    pair.agent.append(0, 10);
    for _ in 0..4 {
        pair.now = pair.now.after(Duration::from_millis(1_000));
        pair.agent.link.on_timeout(pair.now);
        pair.hub.link.on_timeout(pair.now);
        pair.shake_hands();
    }

    assert_eq!(pair.agent.link.rtt(), Some(Duration::ZERO));
    assert_eq!(pair.agent.link.heard_at(), pair.now);
    let status = pair.hub.link.subscriptions().next().unwrap();
    assert_eq!((status.head, status.lag_records()), (Offset::new(1), 1));
}

#[test]
fn a_stalled_control_lane_gathers_neither_keepalives_nor_acknowledgements() {
    let mut host = subscribed_hub(Lane::State);
    let mut held = host.link.unsent(Lane::Control).get();
    let mut now = start();
    for base in 0..200 {
        now = now.after(Duration::from_millis(1_000));
        let frame = data(1, base, 10).encode().unwrap();
        host.link.on_frame(now, Lane::State, frame);
        host.link.on_timeout(now);
        host.drain();
        host.store_one();
        held = host.link.unsent(Lane::Control).get();
    }

    assert!(held <= 1_024 + 32, "{held}");
    host.driver.clear();
    host.link.on_written(Lane::Control, ByteCount::new(held));
    host.drain();

    assert_eq!(host.outgoing(), [Frame::Ack(Ack { channel: FIRST, next: Offset::new(200) })]);
}

#[test]
fn a_goodbye_closes_both_sides_and_later_inputs_change_nothing() {
    let mut pair = Pair::new();
    pair.agent.offer(Log::new("t", Lane::State, 3, 10));
    pair.run();

    pair.hub.link.close(Goodbye::ShuttingDown);
    pair.run();

    let here = CloseReason::Here(Goodbye::ShuttingDown);
    let peer = CloseReason::Peer(Goodbye::ShuttingDown);
    assert_eq!(pair.hub.seen.last(), Some(&LinkOutput::Close(here)));
    assert_eq!(pair.agent.seen.last(), Some(&LinkOutput::Close(peer)));
    pair.agent.append(0, 10);
    pair.agent.link.on_timeout(pair.now.after(Duration::from_secs(60)));
    pair.hub.link.on_stored(FIRST, Offset::new(3));
    assert_eq!(pair.agent.link.poll_output(), None);
    assert_eq!(pair.hub.link.poll_output(), None);
    let source_partition = source("t");
    let closed = AnnounceError::Closed { source_partition };
    assert_eq!(pair.agent.link.announce(Log::new("t", Lane::State, 0, 0).offer()), Err(closed));
}

#[test]
fn control_frames_about_channels_never_announced_are_refused() {
    let keepalive = Keepalive { sent_at: start(), echo: None };
    let refusal = Refusal::new(RefusalCode::Loop, "");
    let strays = [
        position(1, 0),
        Frame::Ack(Ack { channel: FIRST, next: Offset::new(0) }),
        Frame::Head(Head { channel: FIRST, head: Offset::new(0) }),
        Frame::Refuse(Refuse { scope: Scope::Mine(FIRST), refusal: refusal.clone() }),
        Frame::Refuse(Refuse { scope: Scope::Yours(FIRST), refusal }),
    ];

    for stray in strays {
        let mut host = ready_hub();
        feed(&mut host, &Frame::Keepalive(keepalive));
        assert_eq!(refused_with(&host), None);

        feed(&mut host, &stray);

        assert_eq!(refused_with(&host), Some(RefusalCode::BadFrame), "{stray:?}");
    }
}

#[test]
fn a_refused_peer_learns_why() {
    let mut pair = Pair::new();
    let refusal = Refusal::new(RefusalCode::NotAuthorised, "region eu is not configured");

    pair.hub.link.refuse_peer(refusal.clone());
    pair.run();

    let reason = CloseReason::RefusedByPeer(refusal);
    assert!(!reason.is_retryable());
    assert_eq!(pair.agent.seen.last(), Some(&LinkOutput::Close(reason)));
}
