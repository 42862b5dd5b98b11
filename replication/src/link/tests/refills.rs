use headland_event::RegionId;

use super::*;
use crate::frame::{RefillAsk, RefillPart};

fn ask() -> RefillAsk {
    RefillAsk {
        number: 7,
        origin: RegionId::new("eu").unwrap(),
        topic: TopicName::new("air").unwrap(),
        partition: PartitionIndex::new(0),
        life: Incarnation::new(1, 1),
        from: Offset::new(3),
        until: Offset::new(5),
    }
}

fn part(bytes: usize) -> RefillPart {
    RefillPart { number: 7, entry: Some(entry(3, bytes)) }
}

/// What a link sends of answers, as long as the driver writes nothing.
fn sent(link: &mut Link) -> Vec<Lane> {
    let outputs = std::iter::from_fn(|| link.poll_output());
    let lane = |output| match output {
        LinkOutput::Send { lane, frame } => {
            matches!(Frame::decode(frame), Ok(Frame::RefillPart(_))).then_some(lane)
        }
        _ => None,
    };
    outputs.filter_map(lane).collect()
}

fn ready() -> Link {
    let mut link = Link::new(config(hub("eu"), hub("us")), 1, start());
    let hello = Frame::Hello(config(hub("us"), hub("eu")).hello);
    link.on_frame(start(), Lane::Control, hello.encode().unwrap());
    assert_eq!(sent(&mut link), []);
    link
}

#[test]
fn a_question_and_its_answer_reach_who_asked() {
    let (mut here, mut there) = (ready(), ready());

    here.ask_refill(ask());
    there.answer_refill(part(10));

    let asked = std::iter::from_fn(|| here.poll_output()).find_map(|output| match output {
        LinkOutput::Send { lane: Lane::Control, frame } => Some(frame),
        _ => None,
    });
    there.on_frame(start(), Lane::Control, asked.unwrap());
    let outputs: Vec<LinkOutput> = std::iter::from_fn(|| there.poll_output()).collect();
    assert!(outputs.contains(&LinkOutput::RefillAsked(ask())), "{outputs:?}");
    let answer = outputs.into_iter().find_map(|output| match output {
        LinkOutput::Send { lane: Lane::Telemetry, frame } => Some(frame),
        _ => None,
    });
    here.on_frame(start(), Lane::Telemetry, answer.unwrap());
    assert_eq!(here.poll_output(), Some(LinkOutput::Refilled(part(10))));
}

#[test]
fn answers_wait_while_the_driver_holds_what_it_may_of_their_lane() {
    let mut link = ready();
    let limit = link.config.unsent_bytes_limit;
    while link.refill_bytes() <= ByteCount::new(2 * limit.get()) {
        link.answer_refill(part(limit.as_len() / 4));
    }

    let lanes = sent(&mut link);

    assert!(lanes.iter().all(|lane| *lane == Lane::Telemetry), "{lanes:?}");
    let unsent = link.unsent(Lane::Telemetry);
    assert!(ByteCount::new(0) < unsent && unsent <= limit, "{unsent}");
    assert!(link.refill_bytes() > limit);
    link.on_written(Lane::Telemetry, unsent);
    assert!(!sent(&mut link).is_empty());
}

#[test]
fn of_ends_that_wait_one_behind_the_other_the_last_is_sent() {
    let mut link = ready();
    let end = |number| RefillPart { number, entry: None };
    let fill = link.config.unsent_bytes_limit.as_len();
    link.answer_refill(part(fill));
    let waiting = link.refill_bytes();

    for number in 8..1_000 {
        link.answer_refill(end(number));
    }

    let one = Frame::RefillPart(end(999)).encode().unwrap().len();
    assert_eq!(link.refill_bytes().as_len(), waiting.as_len() + one);
    link.answer_refill(part(1));
    link.answer_refill(end(1_000));
    let mut parts = Vec::new();
    while let Some(output) = link.poll_output() {
        if let LinkOutput::Send { lane, frame } = output {
            link.on_written(lane, ByteCount::new(frame.len() as u64));
            parts.extend(match Frame::decode(frame) {
                Ok(Frame::RefillPart(part)) => Some((part.number, part.entry.is_some())),
                _ => None,
            });
        }
    }
    assert_eq!(parts, [(7, true), (999, false), (7, true), (1_000, false)]);
}

#[test]
fn an_answer_on_another_lane_is_refused() {
    let mut host = ready_hub();

    feed(&mut host, &Frame::RefillPart(part(10)));

    assert_eq!(refused_with(&host), Some(RefusalCode::BadFrame));
}
