//! What damage took from one place of the log, and another one here has, or nobody tells apart.

use headland_event::{ByteCount, Incarnation, Offset, RegionId};
use headland_replication::CloseReason;
use headland_replication::frame::Goodbye;
use headland_storage::MemoryDisk;

use super::damage::damage;
use super::handing::end_on;
use super::hub::Hub;
use super::lost::{again, id, lost, numbers, positions, restocked, waited, write};
use super::remote::{Remote, stamp_of};

const EVENTS: &str = "inventory.events";

/// A hub of `us` that reads its log through, after it has waited for who takes part.
fn us(peers: &[&str]) -> Hub {
    waited(end_on(&MemoryDisk::new(7), 7, "us", peers))
}

/// Reads the log through.
fn scrubbed(hub: Hub) -> Hub {
    later(hub.scrubbing(ByteCount::mebibytes(1)))
}

/// A hub after a while.
fn later(mut hub: Hub) -> Hub {
    for _ in 0..40 {
        hub.advance(1_000);
        hub.settle();
    }
    hub
}

/// The copies of a log of `eu` over two other regions, each with these numbers.
fn copied(us: &mut Hub, numbers: &[(&str, std::ops::Range<u64>)]) {
    let eu: RegionId = "eu".parse().unwrap();
    for (link_id, (region, numbers)) in (5..).zip(numbers) {
        let mut remote = Remote::hub(us, link_id, region);
        let path = vec![eu.clone(), region.parse().unwrap()];
        let channel = remote.offer_over(us, EVENTS, (eu.clone(), path));
        for number in numbers.clone() {
            let stamp = stamp_of(("eu", Incarnation::new(3, 4)), Offset::new(number));
            remote.publish_stamped(us, channel, &[restocked(&id(number))], Some(stamp));
        }
        us.node.on_disconnected(us.now, remote.link_id);
    }
}

#[test]
fn what_a_second_copy_has_is_lost_with_the_first_one_no_more() {
    let mut us = us(&["ap", "sa"]);
    copied(&mut us, &[("ap", 0..4), ("sa", 0..3)]);
    damage(&us, &id(1));
    damage(&us, &id(3));

    let us = scrubbed(us);

    assert_eq!(numbers(&us, "handed-on.eu.inventory.events", 0..4), [1]);
    assert_eq!(lost(&us), [(3, u64::MAX)], "that one nobody has");
}

#[test]
fn what_a_second_copy_has_is_looked_for_by_a_start_as_well() {
    let peers = ["ap", "sa"];
    let mut us = us(&peers);
    copied(&mut us, &[("ap", 0..4), ("sa", 0..4)]);
    damage(&us, &id(3));

    let us = again(&us, "us", &peers);
    let found = lost(&us);
    let us = later(us);

    assert_eq!(found, [(3, u64::MAX)]);
    assert_eq!(numbers(&us, "handed-on.eu.inventory.events", 0..4), [3]);
    assert_eq!(lost(&us), [(4, u64::MAX)]);
    let us = later(again(&us, "us", &peers));
    assert_eq!(numbers(&us, "handed-on.eu.inventory.events", 0..4), [3], "once");
}

#[test]
fn what_damage_took_from_what_was_handed_on_is_told_by_log_and_asked_for_again() {
    let mut us = us(&["ap"]);
    let stamp =
        |life, offset| Some(stamp_of(("eu", Incarnation::new(3, life)), Offset::new(offset)));
    let mut ap = Remote::hub(&mut us, 5, "ap");
    let channel = ap.hand_on(&mut us, EVENTS, "eu");
    for (number, life, offset) in [(0, 1, 0), (1, 2, 0), (2, 1, 1), (3, 2, 1), (4, 1, 2)] {
        let records = [restocked(&id(number))];
        ap.publish_stamped(&mut us, channel, &records, stamp(life, offset));
    }
    us.settle();
    let before = positions(&us);
    // Amid the log and at its end.
    damage(&us, &id(2));
    damage(&us, &id(4));
    us.node.on_disconnected(us.now, ap.link_id);

    let mut us = scrubbed(us);

    assert_eq!((before, lost(&us)), (vec![5], vec![(1, 3)]), "of the first life");
    assert_eq!(positions(&us), [0; 0]);
    let mut ap = Remote::hub(&mut us, 6, "ap");
    let channel = ap.hand_on(&mut us, EVENTS, "eu");
    for (number, life, offset) in [(0, 1, 0), (1, 2, 0), (2, 1, 1), (3, 2, 1), (4, 1, 2)] {
        let records = [restocked(&id(number))];
        ap.publish_stamped(&mut us, channel, &records, stamp(life, offset));
    }
    us.settle();
    assert_eq!(lost(&us), []);
    let all = "handed-on.eu.inventory.events";
    assert_eq!(numbers(&us, all, 0..5), [0, 1, 2, 3, 4], "each is there once");
    let us = scrubbed(us);
    assert_eq!(lost(&us), [], "what came back is found");
}

#[test]
fn what_was_handed_on_and_is_gone_whole_is_lost_by_log_and_asked_for_again() {
    let mut us = us(&["ap"]);
    let mut ap = Remote::hub(&mut us, 5, "ap");
    let channel = ap.hand_on(&mut us, EVENTS, "eu");
    let stamp = Some(stamp_of(("eu", Incarnation::new(3, 1)), Offset::new(0)));
    ap.publish_stamped(&mut us, channel, &[restocked(&id(0))], stamp);
    let mut us = later(us);
    // A snapshot has it.
    write(&mut us, 2, 5..7);
    let us = later(us);
    damage(&us, &id(0));

    let us = later(again(&us, "us", &["ap"]));

    assert_eq!(us.values("handed-on.eu.inventory.events").len(), 0);
    assert_eq!(lost(&us), [(0, 1)]);
    assert_eq!(positions(&us), [0; 0]);
}

#[test]
fn what_was_handed_on_and_is_damaged_and_lies_in_a_copy_too_makes_no_link_anew() {
    let mut us = us(&["ap", "sa"]);
    let mut ap = Remote::hub(&mut us, 3, "ap");
    let channel = ap.hand_on(&mut us, EVENTS, "eu");
    for number in 0..3 {
        let stamp = stamp_of(("eu", Incarnation::new(3, 4)), Offset::new(number));
        ap.publish_stamped(&mut us, channel, &[restocked(&id(number))], Some(stamp));
    }
    us.node.on_disconnected(us.now, ap.link_id);
    copied(&mut us, &[("sa", 0..4)]);
    // The first that is found, where it was handed on.
    damage(&us, &id(1));
    let _ap = Remote::hub(&mut us, 8, "ap").hand_on(&mut us, EVENTS, "eu");
    let before = positions(&us).len();
    us.closed.clear();

    let us = scrubbed(us);

    assert_eq!(numbers(&us, "handed-on.eu.inventory.events", 0..4), [0, 1, 2]);
    let anew = CloseReason::Here(Goodbye::Reconfigured);
    assert_eq!((lost(&us), us.closed.iter().filter(|(_, why)| *why == anew).count()), (vec![], 0));
    assert_eq!((before, positions(&us).len()), (1, 1), "nobody is asked again");
}
