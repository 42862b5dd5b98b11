use std::time::Duration;

use headland_event::clock::Actor;
use headland_event::{
    AgentName, Batch, ByteCount, ChannelEpoch, ChannelId, Dot, Entry, EventTime, Extent, Hlc,
    HubName, Incarnation, Lane, Monotonic, Offset, OffsetDelta, PartitionIndex, Record, RegionId,
    Sequence, Stamp, StreamId, TopicName, TopicPartition, VectorClock, Verdict, VerdictAt,
};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use super::*;
use crate::lease::{Ballot, VOTERS_LIMIT, Vote, Voted};

fn regions() -> impl Strategy<Value = RegionId> {
    "[a-z][a-z0-9._-]{0,20}".prop_map(|name| RegionId::new(&name).unwrap())
}

fn topics() -> impl Strategy<Value = TopicName> {
    "[a-z][a-z0-9._-]{0,40}".prop_map(|name| TopicName::new(&name).unwrap())
}

fn channels() -> impl Strategy<Value = ChannelId> {
    any::<u32>().prop_map(ChannelId::new)
}

fn offsets() -> impl Strategy<Value = Offset> {
    any::<u64>().prop_map(Offset::new)
}

fn incarnations() -> impl Strategy<Value = Incarnation> {
    (any::<u32>(), any::<u64>()).prop_map(|(counter, nonce)| Incarnation::new(counter, nonce))
}

fn hellos() -> impl Strategy<Value = Hello> {
    let agent = (regions(), "[a-z0-9-]{1,20}").prop_map(|(region, name)| Identity::Agent {
        region,
        name: AgentName::new(&name).unwrap(),
    });
    let hub = (regions(), "[a-z0-9-]{1,20}")
        .prop_map(|(region, name)| Identity::Hub { region, name: HubName::new(&name).unwrap() });
    (prop_oneof![agent, hub], incarnations(), any::<u64>()).prop_map(
        |(identity, incarnation, window)| Hello {
            identity,
            incarnation,
            window: ByteCount::new(window),
        },
    )
}

fn announces() -> impl Strategy<Value = Announce> {
    let lane = prop_oneof![Just(Lane::Alerts), Just(Lane::State), Just(Lane::Telemetry)];
    let names = (topics(), regions(), topics(), vec(regions(), 0..=HOPS_LIMIT));
    (channels(), names, any::<u32>(), lane, offsets(), offsets()).prop_map(
        |(channel, (topic, origin, origin_topic, path), partition, lane, start, head)| {
            let source = TopicPartition::new(topic, PartitionIndex::new(partition));
            let offer = Offer { source, origin, origin_topic, path, lane, start, head };
            Announce { channel, offer }
        },
    )
}

fn stamps() -> impl Strategy<Value = Stamp> {
    (regions(), incarnations(), any::<u32>(), 1..u64::MAX / 2, any::<i64>(), any::<u32>()).prop_map(
        |(region, incarnation, partition, offset, wall, index)| {
            let partition = PartitionIndex::new(partition);
            let actor = Actor { region, incarnation, partition };
            let offset = Offset::new(offset);
            let mut context = VectorClock::new();
            context.advance(&actor, offset);
            let hlc = Hlc::new(EventTime::from_millis(wall), index);
            let verdicts =
                vec![VerdictAt { delta: OffsetDelta::new(index), verdict: Verdict::Late }];
            Stamp { actor, offset, hlc, context: context.into(), verdicts }
        },
    )
}

fn data() -> impl Strategy<Value = Data> {
    let records = vec((any::<i32>(), vec(any::<u8>(), 0..50)), 1..20);
    let place = (channels(), any::<u64>(), 0..u64::MAX / 2);
    let dot = (any::<[u8; 16]>(), incarnations(), 0..u64::MAX / 2);
    (place, dot, option::of(stamps()), records).prop_map(
        |((channel, epoch, base), (stream, incarnation, sequence), stamp, records)| {
            let records: Vec<Record> = records
                .into_iter()
                .map(|(time, value)| {
                    Record::new(EventTime::from_millis(i64::from(time)), "k", value)
                })
                .collect();
            let stream = StreamId::new(stream);
            let dot = Dot { stream, incarnation, sequence: Sequence::new(sequence) };
            let batch = Batch::encode(&records).unwrap();
            let entry = Entry { base: Offset::new(base), dot, stamp, batch };
            Data { channel, epoch: ChannelEpoch::new(epoch), entry }
        },
    )
}

/// As many as fit a datagram, or the first as it is.
fn copies(mut entries: Vec<Data>) -> Frame {
    loop {
        let frame = Frame::Copies(Copies { entries: entries.clone() });
        match entries.pop() {
            Some(_) if frame.encode().is_ok() => return frame,
            Some(last) if entries.is_empty() => return Frame::Data(last),
            Some(_) | None => {}
        }
    }
}

fn refusals() -> impl Strategy<Value = Refuse> {
    let scope = prop_oneof![
        Just(Scope::Link),
        channels().prop_map(Scope::Yours),
        channels().prop_map(Scope::Mine)
    ];
    (scope, prop::sample::select(&RefusalCode::ALL[..]), ".{0,60}")
        .prop_map(|(scope, code, text)| Refuse { scope, refusal: Refusal::new(code, text) })
}

fn keepalives() -> impl Strategy<Value = Keepalive> {
    let echo = (any::<u64>(), any::<u64>()).prop_map(|(sent_at, held)| Echo {
        sent_at: Monotonic::from_nanos(sent_at),
        held: Duration::from_nanos(held),
    });
    (any::<u64>(), option::of(echo))
        .prop_map(|(nanos, echo)| Keepalive { sent_at: Monotonic::from_nanos(nanos), echo })
}

fn promises() -> impl Strategy<Value = ChannelPromise> {
    let end = (channels(), offsets()).prop_map(|(channel, end)| ChannelEnd { channel, end });
    (topics(), any::<i64>(), vec(end, 0..10)).prop_map(|(topic, watermark, ends)| ChannelPromise {
        topic,
        watermark: EventTime::from_millis(watermark),
        ends,
    })
}

fn leases() -> impl Strategy<Value = LeaseMessage> {
    let ballots = || (any::<u64>(), regions()).prop_map(|(round, by)| Ballot { round, by });
    let vote = move || (ballots(), regions()).prop_map(|(ballot, to)| Vote { ballot, to });
    let votes = move || option::of(vote());
    let about = || (regions(), any::<u64>());
    let voted = (about(), option::of(ballots()), votes(), option::of(any::<u64>()));
    let voted = voted.prop_map(|((region, number), promised, accepted, leased)| Voted {
        region,
        number,
        promised,
        accepted,
        leased,
    });
    let known = (vec(regions(), 0..VOTERS_LIMIT), vec(voted, 0..VOTERS_LIMIT))
        .prop_map(|(regions, voted)| LeaseMessage::Known { regions, voted });
    let nanos = || any::<u64>().prop_map(Monotonic::from_nanos);
    let ask = (any::<u64>(), nanos(), any::<u64>()).prop_map(|(number, sent_at, lasts)| {
        LeaseMessage::Ask { number, sent_at, lasts: Duration::from_nanos(lasts) }
    });
    let grant = (any::<u64>(), nanos())
        .prop_map(|(number, sent_at)| LeaseMessage::Grant { number, sent_at });
    let attempt = (about(), ballots(), votes()).prop_map(|((region, number), ballot, accepted)| {
        [
            LeaseMessage::Prepare { region: region.clone(), number, ballot: ballot.clone() },
            LeaseMessage::Accepted { region: region.clone(), number, ballot: ballot.clone() },
            LeaseMessage::Refused { region: region.clone(), number, promised: ballot.clone() },
            LeaseMessage::Accept {
                region: region.clone(),
                number,
                vote: Vote { ballot: ballot.clone(), to: region.clone() },
            },
            LeaseMessage::Promise { region, number, ballot, accepted },
        ]
    });
    let attempt = (attempt, 0..5_usize).prop_map(|(words, of)| words[of].clone());
    prop_oneof![known, ask, grant, attempt]
}

fn refill_asks() -> impl Strategy<Value = RefillAsk> {
    let lives = (any::<u32>(), any::<u64>()).prop_map(|(n, nonce)| Incarnation::new(n, nonce));
    let ranges = (any::<u32>(), 1_u64..1 << 40);
    (any::<u64>(), regions(), topics(), any::<u32>(), lives, ranges).prop_map(
        |(number, origin, topic, partition, life, (from, length))| RefillAsk {
            number,
            origin,
            topic,
            partition: PartitionIndex::new(partition),
            life,
            from: Offset::new(from.into()),
            until: Offset::new(u64::from(from) + length),
        },
    )
}

fn frames() -> impl Strategy<Value = Frame> {
    let position = (channels(), any::<u64>(), offsets()).prop_map(|(channel, epoch, next)| {
        Frame::Position(Position { channel, epoch: ChannelEpoch::new(epoch), next })
    });
    let goodbyes = prop::sample::select(vec![
        Goodbye::ShuttingDown,
        Goodbye::Superseded,
        Goodbye::Reconfigured,
    ]);
    prop_oneof![
        hellos().prop_map(Frame::Hello),
        announces().prop_map(Frame::Announce),
        position,
        refusals().prop_map(Frame::Refuse),
        data().prop_map(Frame::Data),
        (channels(), offsets()).prop_map(|(channel, next)| Frame::Ack(Ack { channel, next })),
        (channels(), offsets()).prop_map(|(channel, next)| Frame::Passed(Passed { channel, next })),
        (channels(), offsets()).prop_map(|(channel, head)| Frame::Head(Head { channel, head })),
        keepalives().prop_map(Frame::Keepalive),
        promises().prop_map(Frame::Promise),
        goodbyes.prop_map(Frame::Goodbye),
        leases().prop_map(Frame::Lease),
        refill_asks().prop_map(Frame::RefillAsk),
        (any::<u64>(), option::of(data())).prop_map(|(number, data)| {
            Frame::RefillPart(RefillPart { number, entry: data.map(|data| data.entry) })
        }),
        vec(data(), 1..=COPIES_LIMIT).prop_map(copies),
    ]
}

fn value_error(error: FrameError) -> (&'static str, i64) {
    match error {
        FrameError::Layout(CodecError::Value { field, found, .. }) => (field, found),
        other => panic!("expected a value out of range, found {other:?}"),
    }
}

/// The sample with one byte replaced.
fn patched(frame: &Frame, at: usize, byte: u8) -> Bytes {
    let mut bytes = frame.encode().unwrap().to_vec();
    bytes[at] = byte;
    Bytes::from(bytes)
}

#[test]
fn another_version_is_named_and_refused() {
    let bytes = patched(&Frame::Goodbye(Goodbye::ShuttingDown), 0, 2);

    assert_eq!(Frame::decode(bytes), Err(FrameError::Version { found: 2, expected: 1 }));
}

#[test]
fn copies_longer_than_a_datagram_are_neither_written_nor_read() {
    let frame_of = |bytes: usize| {
        let record = Record::new(EventTime::from_millis(0), "k", vec![7; bytes]);
        let dot = Dot {
            stream: StreamId::new([1; 16]),
            incarnation: Incarnation::new(1, 1),
            sequence: Sequence::new(1),
        };
        let batch = Batch::encode(&[record]).unwrap();
        let entry = Entry { base: Offset::new(0), dot, stamp: None, batch };
        Data { channel: ChannelId::new(0), epoch: ChannelEpoch::new(1), entry }
    };
    let of = |bytes| Frame::Copies(Copies { entries: vec![frame_of(bytes)] });
    let small = of(10).encode().unwrap().len() - 10;
    // Lengths above 63 bytes take one more place each, of which a record has two.
    let largest = COPIES_BYTES_LIMIT - small - 2;
    let mut long = vec![1, 12, 1];
    long.extend_from_slice(&Frame::Data(frame_of(largest + 1)).encode().unwrap()[2..]);

    assert_eq!(of(largest).encode().unwrap().len(), COPIES_BYTES_LIMIT);
    let refused = FrameError::TooLarge { found: 1_101, limit: 1_100 };
    assert_eq!(of(largest + 1).encode(), Err(refused.clone()));
    assert_eq!(Frame::decode(Bytes::from(long)), Err(refused));
}

#[test]
fn no_copies_and_more_than_fit_a_datagram_are_refused() {
    for count in [0, 9, 255] {
        let bytes = Bytes::from(vec![1, 12, count]);

        let refused = value_error(Frame::decode(bytes).unwrap_err());

        assert_eq!(refused, ("copies", i64::from(count)));
    }
}

#[test]
fn an_unknown_kind_is_refused() {
    for kind in [0, 16, 255] {
        let bytes = patched(&Frame::Goodbye(Goodbye::ShuttingDown), 1, kind);

        let refused = value_error(Frame::decode(bytes).unwrap_err());

        assert_eq!(refused, ("frame kind", i64::from(kind)));
    }
}

#[test]
fn unknown_codes_are_refused() {
    let refuse = Refuse { scope: Scope::Link, refusal: Refusal::new(RefusalCode::Loop, "") };
    let refuse = Frame::Refuse(refuse);
    let cases = [
        (patched(&Frame::Goodbye(Goodbye::ShuttingDown), 2, 4), ("goodbye reason", 4)),
        (patched(&refuse, 2, 3), ("scope", 3)),
        (patched(&refuse, 3, 13), ("refusal code", 13)),
    ];

    for (bytes, expected) in cases {
        assert_eq!(value_error(Frame::decode(bytes).unwrap_err()), expected);
    }
}

#[test]
fn bytes_after_the_last_field_are_refused() {
    let mut bytes = Frame::Goodbye(Goodbye::Superseded).encode().unwrap().to_vec();
    bytes.push(0);

    let refused = Frame::decode(Bytes::from(bytes)).unwrap_err();

    assert_eq!(refused, FrameError::Layout(CodecError::Trailing { at: 3, left: 1 }));
}

#[test]
fn a_frame_at_the_limit_is_looked_at_and_one_byte_more_is_not() {
    let limit = FRAME_BYTES_LIMIT.as_len();
    let version = FrameError::Version { found: 0, expected: 1 };

    assert_eq!(Frame::decode(Bytes::from(vec![0; limit])), Err(version));
    assert_eq!(
        Frame::decode(Bytes::from(vec![0; limit + 1])),
        Err(FrameError::TooLarge { found: limit + 1, limit })
    );
}

#[test]
fn the_control_lane_carries_no_topic() {
    let source = TopicPartition::new(TopicName::new("t").unwrap(), PartitionIndex::new(0));
    let offer = Offer {
        origin: RegionId::new("eu").unwrap(),
        origin_topic: source.topic.clone(),
        source,
        path: Vec::new(),
        lane: Lane::Alerts,
        start: Offset::new(0),
        head: Offset::new(0),
    };
    let announce = Frame::Announce(Announce { channel: ChannelId::new(0), offer });
    let lane_at = announce.encode().unwrap().len() - 17;

    let refused = Frame::decode(patched(&announce, lane_at, 0)).unwrap_err();

    assert_eq!(value_error(refused), ("lane", 0));
}

#[test]
fn eight_hops_fit_and_a_ninth_is_refused() {
    let named = |count: usize| {
        let source = TopicPartition::new(TopicName::new("t").unwrap(), PartitionIndex::new(0));
        let offer = Offer {
            origin: RegionId::new("r").unwrap(),
            origin_topic: source.topic.clone(),
            source,
            path: vec![RegionId::new("r").unwrap(); count],
            lane: Lane::State,
            start: Offset::new(0),
            head: Offset::new(0),
        };
        Frame::Announce(Announce { channel: ChannelId::new(0), offer })
    };
    // The count follows channel, topic, partition, origin and its topic: 4 + 2 + 4 + 2 + 2.
    let hops_at = 2 + 14;

    assert_eq!(Frame::decode(named(8).encode().unwrap()), Ok(named(8)));
    let refused = Frame::decode(patched(&named(8), hops_at, 9)).unwrap_err();
    assert_eq!(value_error(refused), ("hops", 9));
}

#[test]
fn an_entry_that_would_end_beyond_64_bits_is_refused() {
    let record = Record::new(EventTime::from_millis(0), "k", "v");
    let dot = Dot {
        stream: StreamId::new([0; 16]),
        incarnation: Incarnation::new(0, 0),
        sequence: Sequence::new(1),
    };
    let batch = Batch::encode(&[record]).unwrap();
    let entry = Entry { base: Offset::new(u64::MAX), dot, stamp: None, batch };
    let data = Data { channel: ChannelId::new(0), epoch: ChannelEpoch::new(1), entry };

    let refused = Frame::decode(Frame::Data(data).encode().unwrap()).unwrap_err();

    assert_eq!(value_error(refused), ("base offset or sequence", i64::MAX));
}

#[test]
fn a_stamp_that_would_end_beyond_64_bits_is_refused_and_one_at_the_end_is_not() {
    let stamped = |offset| {
        let partition = PartitionIndex::new(0);
        let incarnation = Incarnation::new(1, 1);
        let actor = Actor { region: RegionId::new("us").unwrap(), incarnation, partition };
        let (hlc, context) = (Hlc::new(EventTime::from_millis(0), 0), Extent::default());
        let offset = Offset::new(offset);
        let stamp = Some(Stamp { actor, offset, hlc, context, verdicts: Vec::new() });
        let dot = Dot { stream: StreamId::new([0; 16]), incarnation, sequence: Sequence::new(1) };
        let batch = Batch::encode(&[Record::new(EventTime::from_millis(0), "k", "v")]).unwrap();
        let entry = Entry { base: Offset::new(0), dot, stamp, batch };
        Frame::Data(Data { channel: ChannelId::new(0), epoch: ChannelEpoch::new(1), entry })
    };
    let last = stamped(u64::MAX - 1);

    assert_eq!(Frame::decode(last.encode().unwrap()), Ok(last));
    let refused = Frame::decode(stamped(u64::MAX).encode().unwrap()).unwrap_err();
    assert_eq!(value_error(refused), ("stamp offset", i64::MAX));
}

#[test]
fn a_promise_over_more_ends_than_its_limit_is_refused_before_they_are_read() {
    let ends = vec![ChannelEnd { channel: ChannelId::new(0), end: Offset::new(0) }; 1_024];
    let topic = TopicName::new("t").unwrap();
    let full = ChannelPromise { topic, watermark: EventTime::from_millis(0), ends };
    let full = Frame::Promise(full);
    let count_at = 2 + 2 + 8;

    assert_eq!(Frame::decode(full.encode().unwrap()), Ok(full.clone()));
    let refused = Frame::decode(patched(&full, count_at + 3, 1)).unwrap_err();
    assert_eq!(value_error(refused), ("ends", 1_025));
}

#[test]
fn a_refusals_text_is_cut_at_a_character() {
    let text = format!("{}é", "x".repeat(REFUSAL_TEXT_LIMIT - 1));

    let refusal = Refusal::new(RefusalCode::BadFrame, text);

    assert_eq!(refusal.text(), "x".repeat(REFUSAL_TEXT_LIMIT - 1));
}

proptest! {
    #[test]
    fn decode_of_encode_is_the_same_frame(frame in frames()) {
        prop_assert_eq!(Frame::decode(frame.encode().unwrap()), Ok(frame));
    }

    #[test]
    fn a_frame_that_is_cut_short_is_refused(
        frame in frames(), at in any::<prop::sample::Index>(),
    ) {
        let bytes = frame.encode().unwrap();

        let cut = bytes.slice(..at.index(bytes.len()));

        prop_assert!(Frame::decode(cut).is_err());
    }

    #[test]
    fn arbitrary_bytes_never_panic(kind in 0..13_u8, bytes in vec(any::<u8>(), 0..300)) {
        let frame = [&[FRAME_VERSION, kind], &bytes[..]].concat();

        if let Ok(frame) = Frame::decode(Bytes::from(frame)) {
            prop_assert!(frame.encode().is_ok());
        }
    }

    #[test]
    fn a_changed_byte_never_panics(
        frame in frames(), at in any::<prop::sample::Index>(), byte in any::<u8>(),
    ) {
        let mut bytes = frame.encode().unwrap().to_vec();
        let at = at.index(bytes.len());
        bytes[at] = byte;

        if let Ok(frame) = Frame::decode(Bytes::from(bytes)) {
            prop_assert!(frame.encode().is_ok());
        }
    }
}
