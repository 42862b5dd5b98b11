//! Alerts that travel twice: on their stream, and in datagrams.

use super::pair::Fate;
use super::*;
use crate::frame::Copies;

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

/// What a link keeps for datagrams, of which no acknowledgement comes.
struct Sending {
    copies: super::super::copies::Copies,
    now: Monotonic,
    next: u64,
}

impl Sending {
    /// After so many bytes of bulk.
    fn new(bulk: u64) -> Self {
        let mut copies = super::super::copies::Copies::new(start());
        copies.on_sent(bulk);
        Self { copies, now: start(), next: 0 }
    }

    /// An alert sets out on its stream; returns the bytes of its frame.
    fn alert(&mut self, bytes: usize) -> usize {
        let frame = data(1, self.next, bytes).encode().unwrap();
        self.next += 1;
        self.copies.on_sent(frame.len() as u64);
        self.copies.keep(FIRST, Offset::new(self.next), &frame);
        frame.len()
    }

    /// Lets a millisecond pass; returns the datagrams.
    fn step(&mut self) -> Vec<Bytes> {
        self.copies.on_time(self.now);
        self.now = self.now.after(Duration::from_millis(1));
        self.copies.on_time(self.now);
        std::iter::from_fn(|| self.copies.next_due(self.now)).collect()
    }

    /// Lets time pass; returns what each datagram brings.
    fn wait(&mut self, ms: u64) -> Vec<Vec<u64>> {
        (0..ms).flat_map(|_| self.step()).map(|frame| entries_of(&frame)).collect()
    }
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
fn a_datagram_with_room_brings_what_has_still_to_come_again() {
    let mut sending = Sending::new(1_000_000);
    sending.alert(300);
    assert_eq!(sending.wait(10), [[0]]);
    sending.alert(300);

    assert_eq!(sending.wait(10), [[0, 1]]);
    assert_eq!(sending.wait(25), [[0, 1]]);
    assert_eq!(sending.wait(100), [[1]]);
}

#[test]
fn alerts_of_a_burst_are_all_in_datagrams_and_in_their_order() {
    let mut sending = Sending::new(1_000_000);
    for _ in 0..40 {
        sending.alert(10);
    }

    let first: Vec<u64> = sending.wait(6).into_iter().flatten().collect();

    assert_eq!(first, (0..40).collect::<Vec<u64>>());
}

#[test]
fn alerts_beyond_those_that_are_kept_are_left_to_their_stream() {
    let mut sending = Sending::new(1_000_000);
    for _ in 0..100 {
        sending.alert(10);
    }

    let first: Vec<u64> = sending.wait(6).into_iter().flatten().collect();

    assert_eq!(first.first(), Some(&0));
    assert!(first.len() <= 64, "{}", first.len());
    assert!(first.is_sorted());
}

#[test]
fn nothing_is_kept_after_the_last_copy_whenever_the_acknowledgement_comes() {
    let mut sending = Sending::new(1_000_000);
    sending.alert(10);
    assert_eq!(sending.wait(100).len(), 2);

    assert_eq!(sending.copies.poll_timeout(), None);
    sending.alert(10);
    assert_eq!(sending.wait(100), [[1], [1]]);
}

/// Alerts of a path of 64 kbit/s on which datagrams go first, every 100 ms one of so many bytes;
/// the most bytes that wait for the stream.
fn longest_queue_at_64_kbit(bytes: usize) -> usize {
    let mut sending = Sending::new(0);
    let (mut streams, mut datagrams, mut longest) = (0_usize, 0_usize, 0_usize);
    for ms in 0..120_000 {
        if ms % 100 == 0 {
            streams += sending.alert(bytes);
        }
        datagrams += sending.step().iter().map(Bytes::len).sum::<usize>();
        let room = 8;
        let first = datagrams.min(room);
        datagrams -= first;
        streams -= streams.min(room - first);
        longest = longest.max(streams);
    }
    longest
}

#[test]
fn copies_leave_a_thin_path_to_the_stream_that_they_repeat() {
    // 3.4 and 6.4 KB/s of 8, with what a rest saved up.
    assert!(longest_queue_at_64_kbit(200) < 2 * 340 + 2_048);
    assert!(longest_queue_at_64_kbit(500) < 2 * 640 + 2_048);
}

#[test]
fn copies_of_a_lane_that_is_paused_are_not_sent() {
    let mut pair = on_their_way(1, 100);
    let paused = Flow { paused: [Lane::Alerts].into(), bytes_per_second: None };
    pair.agent.link.set_flow(pair.now, paused);

    wait(&mut pair, Duration::from_millis(1));
    wait(&mut pair, LONG);
    wait(&mut pair, LONG);

    assert_eq!(pair.agent.datagrams.len(), 0);
}

#[test]
fn what_is_taken_of_a_datagram_holds_nothing_else_of_it() {
    let mut hub = subscribed_hub(Lane::Alerts);
    let frame = copies(vec![(1, 0), (1, 7)]).encode().unwrap();

    hub.link.on_frame(start(), Lane::Alerts, frame.clone());
    hub.drain();

    let (_, entry) = hub.delivered.pop_front().unwrap();
    assert_eq!(entry, super::entry(0, 10));
    assert!(!frame.as_ptr_range().contains(&entry.batch.as_bytes().as_ptr()));
}

#[test]
fn copies_longer_than_a_datagram_are_refused() {
    let mut hub = subscribed_hub(Lane::Alerts);
    let mut frame = copies(vec![(1, 0); 7]).encode().unwrap().to_vec();
    let Frame::Data(long) = data(1, 0, 2_000) else { return };
    frame[2] = 8;
    frame.extend_from_slice(&Frame::Data(long).encode().unwrap()[2..]);

    hub.link.on_frame(start(), Lane::Alerts, Bytes::from(frame));
    hub.drain();

    assert_eq!(refused_with(&hub), Some(RefusalCode::BadFrame));
    assert_eq!(delivered(&hub), [0_u64; 0]);
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

    let mut early = ready_hub();
    early.link.on_frame(start(), Lane::Control, announce(0, &alerts(1, 10)).encode().unwrap());

    feed_on(&mut hub, Lane::Alerts, &copies(vec![(1, 0)]));
    feed_on(&mut early, Lane::Alerts, &copies(vec![(1, 0)]));

    assert_eq!([delivered(&hub), delivered(&early)], [[0_u64; 0], [0; 0]]);
    assert_eq!([refused_with(&hub), refused_with(&early)], [None, None]);
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
fn copies_take_a_share_of_what_is_sent_of_what_alerts_take_and_a_little_over_time() {
    let mut sending = Sending::new(0);
    let (mut bytes, mut of_alerts) = (0, 0);
    for _ in 0..10_000 {
        sending.copies.on_sent(1_000);
        of_alerts += sending.alert(300);
        bytes += sending.step().iter().map(Bytes::len).sum::<usize>();
    }

    // Ten seconds, bulk and alerts, and a burst; no more than two datagrams are left.
    let most = (10_000_000 + of_alerts) / 64 + of_alerts / 8 + 10 * 257 + 2_048;
    assert!((most - 2_200..=most).contains(&bytes), "{bytes} of {most}");
}
