//! Alerts that travel twice: on their stream, and in datagrams.

use super::pair::Fate;
use super::*;
use crate::frame::{COPIES_BYTES_LIMIT, Copies};

const LONG: Duration = Duration::from_millis(40);

fn alerts(count: u64, bytes: usize) -> Log {
    Log::new("alerts", Lane::Alerts, count, bytes)
}

/// A pair in which the agent's alerts are on their way, on the stream that carries nothing yet.
fn on_their_way(count: u64, bytes: usize) -> Pair {
    let mut pair = Pair::new();
    pair.agent.offer(alerts(count, bytes));
    pair.shake_hands();
    pair.agent.answer_read();
    pair
}

fn wait(pair: &mut Pair, wait: Duration) {
    pair.now = pair.now.after(wait);
    pair.agent.link.on_timeout(pair.now);
    pair.agent.drain();
}

/// Waits as a node does, which asks when to wake up; returns what was sent in datagrams meanwhile.
fn wait_until_woken(pair: &mut Pair) -> usize {
    let before = pair.agent.datagrams.len();
    pair.now = pair.now.max(pair.agent.link.poll_timeout().unwrap());
    wait(pair, Duration::ZERO);
    pair.agent.datagrams.len() - before
}

fn copies(entries: Vec<(u64, u64)>) -> Frame {
    let data = |(epoch, base)| Data {
        channel: FIRST,
        epoch: ChannelEpoch::new(epoch),
        entry: entry(base, 10),
    };
    Frame::Copies(Copies { entries: entries.into_iter().map(data).collect() })
}

fn entries_of(frame: &Bytes) -> Vec<u64> {
    match Frame::decode(frame.clone()).unwrap() {
        Frame::Copies(copies) => copies.entries.iter().map(|data| data.entry.base.get()).collect(),
        other => panic!("expected copies, found {other:?}"),
    }
}

fn delivered(host: &Host) -> Vec<u64> {
    host.delivered.iter().map(|(_, entry)| entry.base.get()).collect()
}

#[test]
fn an_alert_goes_again_twice_a_moment_after_its_stream() {
    let mut pair = on_their_way(1, 100);

    let mut sent = Vec::new();
    let start = pair.now;
    while pair.now.since(start) < Duration::from_millis(500) {
        if wait_until_woken(&mut pair) > 0 {
            sent.push(pair.now.since(start).as_millis());
        }
    }

    assert_eq!(sent, [5, 40]);
}

#[test]
fn an_acknowledged_alert_is_not_sent_again() {
    let mut pair = on_their_way(1, 100);

    pair.run();
    wait(&mut pair, LONG);
    wait(&mut pair, LONG);

    assert_eq!(pair.agent.datagrams.len(), 0);
    assert_eq!(pair.hub.mirrored("alerts").len(), 1);
}

#[test]
fn bulk_is_not_sent_again() {
    let mut pair = Pair::new();
    pair.agent.offer(Log::new("air", Lane::Telemetry, 3, 100));
    pair.shake_hands();
    pair.agent.answer_read();

    wait(&mut pair, LONG);
    wait(&mut pair, LONG);

    assert_eq!(pair.agent.datagrams.len(), 0);
}

#[test]
fn a_datagram_brings_alerts_before_their_stream_which_passes_them_over() {
    let mut pair = on_their_way(2, 100);
    wait(&mut pair, LONG);
    wait(&mut pair, LONG);

    pair.carry_datagram(0, Fate::ArrivesAndComesAgain);
    pair.carry_datagram(0, Fate::Arrives);
    assert_eq!(delivered(&pair.hub), [0, 1]);
    assert_eq!(pair.hub.link.copies(), CopyCounts { sent: 0, taken: 2, passed: 2 });
    pair.run();
    pair.agent.append(0, 100);
    pair.run();

    assert_eq!(pair.hub.mirrored("alerts"), pair.agent.logs[0].entries);
    assert_eq!(refused_with(&pair.hub), None);
}

#[test]
fn what_the_stream_brought_is_not_taken_from_a_datagram() {
    let mut hub = subscribed_hub(Lane::Alerts);
    feed_on(&mut hub, Lane::Alerts, &data(1, 0, 10));

    feed_on(&mut hub, Lane::Alerts, &copies(vec![(1, 0)]));

    assert_eq!(delivered(&hub), [0]);
    assert_eq!(hub.outgoing(), []);
    assert_eq!(hub.link.copies(), CopyCounts { sent: 0, taken: 0, passed: 1 });
}

#[test]
fn a_copy_after_a_gap_is_left_to_the_stream() {
    let mut hub = subscribed_hub(Lane::Alerts);

    feed_on(&mut hub, Lane::Alerts, &copies(vec![(1, 1)]));
    feed_on(&mut hub, Lane::Alerts, &copies(vec![(1, u64::MAX / 4)]));
    assert_eq!(delivered(&hub), [0_u64; 0]);
    feed_on(&mut hub, Lane::Alerts, &data(1, 0, 10));
    feed_on(&mut hub, Lane::Alerts, &data(1, 1, 10));

    assert_eq!(delivered(&hub), [0, 1]);
    assert_eq!(hub.outgoing(), [], "nothing was misplaced");
}

#[test]
fn the_stream_goes_on_behind_what_a_datagram_brought() {
    let mut hub = subscribed_hub(Lane::Alerts);
    feed_on(&mut hub, Lane::Alerts, &copies(vec![(1, 0), (1, 1), (1, 2)]));

    for base in 0..4 {
        feed_on(&mut hub, Lane::Alerts, &data(1, base, 10));
    }

    assert_eq!(delivered(&hub), [0, 1, 2, 3]);
    assert_eq!(hub.outgoing(), []);
}

#[test]
fn a_gap_of_the_stream_is_found_behind_what_a_datagram_brought() {
    let mut hub = subscribed_hub(Lane::Alerts);
    feed_on(&mut hub, Lane::Alerts, &copies(vec![(1, 0), (1, 1)]));

    feed_on(&mut hub, Lane::Alerts, &data(1, 1, 10));

    assert_eq!(delivered(&hub), [0, 1]);
    assert_eq!(hub.outgoing(), [position(2, 2)]);
    feed_on(&mut hub, Lane::Alerts, &data(2, 2, 10));
    assert_eq!(delivered(&hub), [0, 1, 2]);
}

#[test]
fn copies_from_before_a_new_position_are_ignored() {
    let mut hub = subscribed_hub(Lane::Alerts);
    feed_on(&mut hub, Lane::Alerts, &data(1, 5, 10));
    assert_eq!(hub.outgoing(), [position(2, 0)]);

    feed_on(&mut hub, Lane::Alerts, &copies(vec![(1, 0)]));
    assert_eq!(delivered(&hub), [0_u64; 0]);
    feed_on(&mut hub, Lane::Alerts, &copies(vec![(2, 0)]));

    assert_eq!(delivered(&hub), [0]);
}

#[test]
fn a_sender_that_starts_over_forgets_what_it_would_have_sent_again() {
    let mut agent = flowing_agent(alerts(2, 100), 0);
    agent.answer_read();
    feed(&mut agent, &position(2, 1));

    let at = start().after(LONG);
    agent.link.on_timeout(at);
    agent.link.on_timeout(at.after(LONG));
    agent.drain();

    assert_eq!(agent.datagrams.len(), 0);
}

#[test]
fn a_datagram_says_again_what_went_before_as_far_as_there_is_room() {
    let mut pair = on_their_way(1, 300);
    for _ in 0..2 {
        // The hub has the alert, and what it answers is late.
        Pair::carry(pair.now, &mut pair.agent, &mut pair.hub, Lane::Alerts);
        wait(&mut pair, Duration::from_millis(1));
        wait(&mut pair, Duration::from_millis(6));
        pair.agent.append(0, 300);
        pair.agent.drain();
        pair.agent.answer_read();
    }
    Pair::carry(pair.now, &mut pair.agent, &mut pair.hub, Lane::Alerts);
    wait(&mut pair, Duration::from_millis(1));
    wait(&mut pair, Duration::from_millis(6));

    let sent: Vec<_> = pair.agent.datagrams.iter().map(entries_of).collect();
    assert_eq!(sent, [vec![0], vec![0, 1], vec![1, 2]]);
    assert!(pair.agent.datagrams.iter().all(|frame| frame.len() <= COPIES_BYTES_LIMIT));
}

#[test]
fn an_alert_that_fits_no_datagram_goes_on_its_stream_only() {
    let mut pair = on_their_way(1, 1_000);

    wait(&mut pair, LONG);
    wait(&mut pair, LONG);

    assert_eq!(pair.agent.datagrams.len(), 0);
}

#[test]
fn copies_of_what_nobody_announced_or_of_bulk_or_on_another_lane_are_refused() {
    let mut unknown = ready_hub();
    let mut bulk = subscribed_hub(Lane::State);
    let mut elsewhere = subscribed_hub(Lane::Alerts);

    feed_on(&mut unknown, Lane::Alerts, &copies(vec![(1, 0)]));
    feed_on(&mut bulk, Lane::Alerts, &copies(vec![(1, 0)]));
    feed_on(&mut elsewhere, Lane::Control, &copies(vec![(1, 0)]));

    assert_eq!(refused_with(&unknown), Some(RefusalCode::BadFrame));
    assert_eq!(refused_with(&bulk), Some(RefusalCode::BadFrame));
    assert_eq!(refused_with(&elsewhere), Some(RefusalCode::BadFrame));
}

#[test]
fn copies_of_a_channel_that_was_refused_or_not_taken_yet_are_ignored() {
    let mut hub = ready_hub();
    feed(&mut hub, &announce(0, &alerts(1, 10)));
    hub.link.refuse(FIRST, Refusal::new(RefusalCode::NotAuthorised, ""));
    hub.drain();
    hub.driver.clear();

    feed_on(&mut hub, Lane::Alerts, &copies(vec![(1, 0)]));

    assert_eq!(delivered(&hub), [0_u64; 0]);
    assert_eq!(refused_with(&hub), None);
}

#[test]
fn copies_never_exceed_the_window_and_what_has_no_room_comes_on_the_stream() {
    let mut hub = subscribed_hub(Lane::Alerts);
    // Half of a window of 4,096 bytes is for alerts.
    for base in 0..40 {
        feed_on(&mut hub, Lane::Alerts, &copies(vec![(1, base)]));
    }

    let held = hub.delivered.len();
    let frame_bytes = data(1, 0, 10).encode().unwrap().len();
    assert_eq!(held, 2_048 / frame_bytes);
    assert_eq!(refused_with(&hub), None);
}

#[test]
fn copies_take_a_share_of_what_is_sent_and_a_little_over_time() {
    let mut copies = super::super::copies::Copies::new(start());
    let (mut bytes, mut now) = (0, start());
    for at in 0..10_000_u64 {
        now = now.after(Duration::from_millis(1));
        let Frame::Data(data) = data(1, at, 300) else { return };
        let end = data.entry.end();
        let frame = Frame::Data(data).encode().unwrap();
        copies.on_sent(1_000);
        copies.keep(FIRST, end, &frame);
        copies.on_time(now);
        while let Some(frame) = copies.next_due(now) {
            bytes += frame.len();
        }
    }

    // Ten seconds, ten million bytes and a burst; no more than a datagram is left.
    let most = 10_000_000 / 64 + 10 * 8_193 + 16_384;
    assert!((most - 1_100..=most).contains(&bytes), "{bytes} of {most}");
}
