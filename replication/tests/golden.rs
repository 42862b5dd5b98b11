//! Every frame against the bytes that version 1 has for it; fixtures are added, never edited.
#![expect(clippy::unwrap_used, reason = "a test's helpers are a test")]

use std::time::Duration;

use bytes::Bytes;
use headland_event::clock::Actor;
use headland_event::{
    AgentName, Batch, ByteCount, ChannelEpoch, ChannelId, Dot, Entry, EventTime, Hlc, HubName,
    Incarnation, Lane, Monotonic, Offset, OffsetDelta, PartitionIndex, Record, RegionId, Sequence,
    Stamp, StreamId, Taken, TopicName, TopicPartition, VectorClock, Verdict, VerdictAt,
};
use headland_replication::frame::{
    Ack, Announce, ChannelEnd, ChannelPromise, Copies, Data, Echo, Frame, Goodbye, Head, Hello,
    Identity, Keepalive, Offer, Passed, Position, RefillAsk, RefillPart, Refusal, RefusalCode,
    Refuse, Scope,
};
use headland_replication::lease::{Ballot, LeaseMessage, Vote, Voted};

const CHANNEL: ChannelId = ChannelId::new(3);

fn region(name: &str) -> RegionId {
    RegionId::new(name).unwrap()
}

fn topic(name: &str) -> TopicName {
    TopicName::new(name).unwrap()
}

fn hello_of_an_agent() -> Frame {
    let identity = Identity::Agent { region: region("eu"), name: AgentName::new("eu-1").unwrap() };
    let incarnation = Incarnation::new(2, 0x0102_0304_0506_0708);
    Frame::Hello(Hello { identity, incarnation, window: ByteCount::mebibytes(1) })
}

fn hello_of_a_hub() -> Frame {
    let identity = Identity::Hub { region: region("us"), name: HubName::new("hub-1").unwrap() };
    let incarnation = Incarnation::new(1, 9);
    Frame::Hello(Hello { identity, incarnation, window: ByteCount::mebibytes(4) })
}

fn announce() -> Frame {
    let offer = Offer {
        source: TopicPartition::new(topic("eu.inventory.events"), PartitionIndex::new(7)),
        origin: region("eu"),
        origin_topic: topic("inventory.events"),
        path: vec![region("eu"), region("us")],
        lane: Lane::State,
        start: Offset::new(10),
        head: Offset::new(42),
    };
    Frame::Announce(Announce { channel: CHANNEL, offer })
}

fn position() -> Frame {
    let epoch = ChannelEpoch::new(2);
    Frame::Position(Position { channel: CHANNEL, epoch, next: Offset::new(41) })
}

fn refuse(scope: Scope, code: RefusalCode, text: &str) -> Frame {
    Frame::Refuse(Refuse { scope, refusal: Refusal::new(code, text) })
}

fn entry(stamp: Option<Stamp>) -> Entry {
    let time = EventTime::from_millis(1_291_190_760_000);
    let dot = Dot {
        stream: StreamId::new([0xa5; 16]),
        incarnation: Incarnation::new(2, 3),
        sequence: Sequence::new(77),
    };
    let batch = Batch::encode(&[Record::new(time, "till-3", "{\"quantity\":6}")]).unwrap();
    Entry { base: Offset::new(41), dot, stamp, batch }
}

fn stamp() -> Stamp {
    let partition = PartitionIndex::new(1);
    let actor = Actor { region: region("eu"), incarnation: Incarnation::new(1, 8), partition };
    let mut context = VectorClock::new();
    context.advance(&actor, Offset::new(500));
    Stamp {
        actor,
        offset: Offset::new(500),
        hlc: Hlc::new(EventTime::from_millis(1_291_190_761_000), 4),
        context: context.into(),
        verdicts: vec![VerdictAt { delta: OffsetDelta::new(0), verdict: Verdict::Late }],
    }
}

/// A stamp of version 2.
fn stamp_with_gaps() -> Stamp {
    let us = Actor { region: region("us"), ..stamp().actor };
    let mut context = stamp().context;
    for (from, until) in [(0, 3), (7, 9)] {
        let taken = context.take(&us, Offset::new(from), Offset::new(until));
        assert_eq!(taken, Taken::New);
    }
    Stamp { context, ..stamp() }
}

fn data(stamp: Option<Stamp>) -> Frame {
    let epoch = ChannelEpoch::new(2);
    Frame::Data(Data { channel: CHANNEL, epoch, entry: entry(stamp) })
}

fn copies() -> Frame {
    let epoch = ChannelEpoch::new(2);
    let of = |stamp| Data { channel: CHANNEL, epoch, entry: entry(stamp) };
    Frame::Copies(Copies { entries: vec![of(None), of(Some(stamp()))] })
}

fn keepalive(echo: Option<Echo>) -> Frame {
    Frame::Keepalive(Keepalive { sent_at: Monotonic::from_millis(5_000), echo })
}

fn echo() -> Echo {
    Echo { sent_at: Monotonic::from_millis(4_500), held: Duration::from_millis(250) }
}

fn promise() -> Frame {
    let ends = vec![
        ChannelEnd { channel: CHANNEL, end: Offset::new(42) },
        ChannelEnd { channel: ChannelId::new(4), end: Offset::new(0) },
    ];
    let watermark = EventTime::from_millis(1_291_190_700_000);
    Frame::Promise(ChannelPromise { topic: topic("inventory.events"), watermark, ends })
}

fn ballot(round: u64, by: &str) -> Ballot {
    Ballot { round, by: region(by) }
}

fn vote() -> Vote {
    Vote { ballot: ballot(3, "us"), to: region("ap") }
}

fn known() -> LeaseMessage {
    let voted = Voted {
        region: region("eu"),
        number: 5,
        promised: Some(ballot(4, "us")),
        accepted: Some(vote()),
        leased: Some(4),
    };
    let regions = ["eu", "us", "ap"].map(region).to_vec();
    LeaseMessage::Known { regions, voted: vec![voted, Voted::nothing(region("us"))] }
}

fn refill_ask() -> Frame {
    Frame::RefillAsk(RefillAsk {
        number: 6,
        origin: region("eu"),
        topic: topic("air"),
        partition: PartitionIndex::new(2),
        life: Incarnation::new(1, 9),
        from: Offset::new(41),
        until: Offset::new(43),
    })
}

const fn refill(entry: Option<Entry>) -> Frame {
    Frame::RefillPart(RefillPart { number: 6, entry })
}

fn from_hex(text: &str) -> Bytes {
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    let pairs = digits.chunks(2).map(|pair| std::str::from_utf8(pair).unwrap());
    pairs.map(|pair| u8::from_str_radix(pair, 16).unwrap()).collect()
}

fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

macro_rules! golden {
    ($($name:ident: $frame:expr, $file:literal;)*) => {$(
        #[test]
        fn $name() {
            let golden = from_hex(include_str!(concat!("fixtures/", $file)));
            let frame = $frame;

            assert_eq!(to_hex(&frame.encode().unwrap()), to_hex(&golden), "{}", $file);
            assert_eq!(Frame::decode(golden), Ok(frame));
        }
    )*};
}

golden! {
    an_agents_hello_keeps_its_bytes: hello_of_an_agent(), "hello_agent.v1.hex";
    a_hubs_hello_keeps_its_bytes: hello_of_a_hub(), "hello_hub.v1.hex";
    an_announcement_keeps_its_bytes: announce(), "announce.v1.hex";
    a_position_keeps_its_bytes: position(), "position.v1.hex";
    a_refusal_of_the_link_keeps_its_bytes:
        refuse(Scope::Link, RefusalCode::IdentityMismatch, "eu-1"), "refuse_link.v1.hex";
    a_refusal_of_your_channel_keeps_its_bytes:
        refuse(Scope::Yours(CHANNEL), RefusalCode::UnknownTopic, "add it"), "refuse_yours.v1.hex";
    a_refusal_of_my_channel_keeps_its_bytes:
        refuse(Scope::Mine(CHANNEL), RefusalCode::PositionUnavailable, ""), "refuse_mine.v1.hex";
    data_without_a_stamp_keeps_its_bytes: data(None), "data.v1.hex";
    data_with_a_stamp_keeps_its_bytes: data(Some(stamp())), "data_stamped.v1.hex";
    data_whose_hub_missed_something_keeps_its_bytes:
        data(Some(stamp_with_gaps())), "data_stamped_gaps.v2.hex";
    copies_keep_their_bytes: copies(), "copies.v1.hex";
    an_acknowledgement_keeps_its_bytes:
        Frame::Ack(Ack { channel: CHANNEL, next: Offset::new(42) }), "ack.v1.hex";
    what_was_passed_keeps_its_bytes:
        Frame::Passed(Passed { channel: CHANNEL, next: Offset::new(42) }), "passed.v1.hex";
    a_head_keeps_its_bytes:
        Frame::Head(Head { channel: CHANNEL, head: Offset::new(99) }), "head.v1.hex";
    a_first_keepalive_keeps_its_bytes: keepalive(None), "keepalive.v1.hex";
    a_keepalive_with_an_echo_keeps_its_bytes: keepalive(Some(echo())), "keepalive_echo.v1.hex";
    a_promise_keeps_its_bytes: promise(), "promise.v1.hex";
    a_goodbye_keeps_its_bytes: Frame::Goodbye(Goodbye::Superseded), "goodbye.v1.hex";
    a_question_for_what_was_lost_keeps_its_bytes: refill_ask(), "refill_ask.v1.hex";
    an_entry_that_comes_back_keeps_its_bytes:
        refill(Some(entry(Some(stamp())))), "refill_entry.v1.hex";
    the_end_of_what_comes_back_keeps_its_bytes: refill(None), "refill_end.v1.hex";
    what_was_said_of_leases_keeps_its_bytes: Frame::Lease(known()), "lease_known.v1.hex";
    a_question_for_a_lease_keeps_its_bytes:
        Frame::Lease(LeaseMessage::Ask {
            number: 4,
            sent_at: Monotonic::from_millis(5_000),
            lasts: Duration::from_secs(3),
        }), "lease_ask.v1.hex";
    a_granted_lease_keeps_its_bytes:
        Frame::Lease(LeaseMessage::Grant { number: 4, sent_at: Monotonic::from_millis(5_000) }),
        "lease_grant.v1.hex";
    an_attempt_keeps_its_bytes:
        Frame::Lease(LeaseMessage::Prepare {
            region: region("eu"), number: 5, ballot: ballot(4, "us"),
        }), "lease_prepare.v1.hex";
    an_attempt_that_may_go_on_keeps_its_bytes:
        Frame::Lease(LeaseMessage::Promise {
            region: region("eu"), number: 5, ballot: ballot(4, "us"), accepted: Some(vote()),
        }), "lease_promise.v1.hex";
    a_vote_keeps_its_bytes:
        Frame::Lease(LeaseMessage::Accept { region: region("eu"), number: 5, vote: vote() }),
        "lease_accept.v1.hex";
    an_agreed_vote_keeps_its_bytes:
        Frame::Lease(LeaseMessage::Accepted {
            region: region("eu"), number: 5, ballot: ballot(4, "us"),
        }), "lease_accepted.v1.hex";
    an_attempt_that_was_passed_by_keeps_its_bytes:
        Frame::Lease(LeaseMessage::Refused {
            region: region("eu"), number: 5, promised: ballot(9, "ap"),
        }), "lease_refused.v1.hex";
}
