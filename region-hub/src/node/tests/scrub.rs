//! Damage that neither a start nor a link reads, found by reading the log through.

use std::ops::Range;

use bytes::Bytes;
use headland_event::{ByteCount, Offset};
use headland_storage::{FoundOffsets, LogReader, MemoryDisk, MissingOffsets, ReadError, Scrub};

use super::damage::damage;
use super::handing::{Net, end_on, state};
use super::hub::{CONFIG, Hub};
use super::lost::{again, id, lost, numbers, write};
use super::remote::partition;

const HANDED_ON: &str = "handed-on.us.inventory.events";

/// Two hubs that hold the same, and damage to the log of the second in a record of this number,
/// which nobody has to read again; it then reads so many bytes a second for the next minute.
fn damaged(number: u64, bytes_per_second: ByteCount) -> Net {
    damaged_in(0..5, number..number + 1, bytes_per_second)
}

/// The same of a log with these numbers, damaged in some of them.
fn damaged_in(all: Range<u64>, numbers: Range<u64>, bytes_per_second: ByteCount) -> Net {
    let hub = |region, peer| end_on(&MemoryDisk::new(7), 7, region, &[peer]);
    let mut net = Net::new([hub("eu", "us"), hub("us", "eu")]);
    net.meet(0, 1);
    write(&mut net.hubs[1], 2, all);
    net.talk(15);
    numbers.for_each(|number| damage(&net.hubs[1], &id(number)));
    net.talk(60);
    let before = (lost(&net.hubs[1]), net.hubs[1].node.missing().is_empty());
    assert_eq!(before, (vec![], true), "nobody reads it");
    let us = net.hubs.pop().unwrap();
    net.hubs.push(us.scrubbing(bytes_per_second));
    net.hubs.iter_mut().for_each(|hub| hub.closed.clear());
    net.talk(120);
    net
}

/// How often a hub made connections anew.
fn closed(hub: &Hub) -> usize {
    hub.closed.len()
}

#[test]
fn places_that_are_damaged_one_beside_the_other_and_apart_come_back_over_one_new_connection() {
    let mut net = damaged_in(0..12, 2..6, ByteCount::mebibytes(10));
    damage(&net.hubs[1], &id(8));
    damage(&net.hubs[1], &id(10));
    let us = &mut net.hubs[1];
    let first = (numbers(us, HANDED_ON, 0..12), closed(us));
    // As if a week had passed.
    us.node.scrub = Scrub::new(ByteCount::mebibytes(10), us.now.monotonic);
    us.closed.clear();
    net.talk(120);

    let us = &net.hubs[1];
    assert_eq!(first, (vec![2, 3, 4, 5], 1));
    let mut back = numbers(us, HANDED_ON, 0..12);
    back.sort_unstable();
    assert_eq!((back, lost(us)), (vec![2, 3, 4, 5, 8, 10], vec![]));
    assert_eq!(closed(us), 1, "for two places");
    assert_eq!(state(us), state(&net.hubs[0]));
}

#[test]
fn damage_that_nobody_reads_is_found_and_what_it_took_comes_back_from_a_peer() {
    let net = damaged(2, ByteCount::mebibytes(1));

    let us = &net.hubs[1];
    assert_eq!((numbers(us, HANDED_ON, 0..5), lost(us)), (vec![2], vec![]));
    let missing = us.node.missing();
    let offsets: Vec<_> = missing.offsets().map(|lost| (lost.from, lost.until)).collect();
    assert_eq!((missing.commits().len(), offsets), (1, vec![(Offset::new(2), Offset::new(3))]));
    let alerts = us.alerts().into_iter().filter(|alert| alert.rule == "damaged_log");
    assert_eq!(alerts.count(), 2, "of the commit and of the offsets");
    let status = us.node.scrub_status();
    assert_eq!((status.damaged, status.last_pass.is_some()), (2, true));
    assert_eq!(state(us), state(&net.hubs[0]));
}

#[test]
fn what_is_found_just_before_a_restart_comes_back_behind_it() {
    let mut net = damaged(2, ByteCount::mebibytes(10));
    damage(&net.hubs[1], &id(3));
    let us = &mut net.hubs[1];
    let before = numbers(us, HANDED_ON, 0..5);
    // How far the peer had handed on, when there was more to come from it.
    let key = us.node.positions.keys().find(|key| key.ends_with(b"_members/0")).unwrap();
    let key = String::from_utf8_lossy(key).replace("_members/0", "inventory.events/0/handed-on");
    let key = Bytes::from(key.into_bytes());
    us.node.write_position(&key, Offset::new(5));
    us.node.scrub = Scrub::new(ByteCount::mebibytes(1), us.now.monotonic);
    let mut looks = 0;
    while lost(us).is_empty() && looks < 600 {
        looks += 1;
        us.advance(1_000);
        us.settle();
    }
    let found = lost(us).len();

    let us = again(us, "us", &["eu"]);
    let is_asked = !us.node.positions.contains_key(&key);
    net.replace(1, us);
    net.meet(0, 1);
    net.talk(120);

    let us = &net.hubs[1];
    assert_eq!((before, found, is_asked), (vec![2], 1, true));
    let mut back = numbers(us, HANDED_ON, 0..5);
    back.sort_unstable();
    assert_eq!((back, lost(us)), (vec![2, 3], vec![]));
    assert_eq!(state(us), state(&net.hubs[0]));
}

#[test]
fn damage_at_the_end_of_a_log_that_nobody_reads_is_found_as_well() {
    let net = damaged(4, ByteCount::mebibytes(1));

    let us = &net.hubs[1];
    assert_eq!((numbers(us, HANDED_ON, 0..5), lost(us)), (vec![4], vec![]));
    assert_eq!(state(us), state(&net.hubs[0]));
}

#[test]
fn a_hub_that_is_to_read_nothing_again_finds_nothing() {
    let net = damaged(2, ByteCount::new(0));

    let us = &net.hubs[1];
    assert!(us.node.missing().is_empty());
    assert_eq!(us.node.scrub_status().read, ByteCount::new(0));
}

#[test]
fn what_a_consumer_finds_damaged_is_said_once_and_what_it_took_comes_back_from_a_peer() {
    let mut net = damaged(2, ByteCount::new(0));
    let us = &mut net.hubs[1];
    let (reader, at) = (us.reader(), partition("inventory.events"));
    let Err(ReadError::Quarantined { partition, from, until }) =
        reader.read(&at, Offset::new(2), ByteCount::new(1))
    else {
        panic!("it is not damaged")
    };
    let behind = reader.read(&at, until, ByteCount::new(1)).unwrap().into_iter().next();
    let found = FoundOffsets { lost: MissingOffsets { partition, from, until }, behind };
    drop(reader);

    us.node.on_found_damage(us.now, found.clone());
    us.node.on_found_damage(us.now, found);
    us.settle();
    let said = us.alerts().into_iter().filter(|alert| alert.rule == "damaged_log").count();
    net.talk(11 * 60);

    let us = &net.hubs[1];
    assert_eq!(said, 1);
    assert_eq!((numbers(us, HANDED_ON, 0..5), lost(us)), (vec![2], vec![]));
    assert_eq!(state(us), state(&net.hubs[0]));
}

#[test]
fn how_far_the_log_was_read_is_known_after_a_restart() {
    let scrubbed = |hub: Hub| {
        let mut hub = hub.scrubbing(ByteCount::mebibytes(1));
        for _ in 0..20 {
            hub.advance(1_000);
            hub.settle();
        }
        hub
    };
    let mut hub = scrubbed(Hub::new());
    let ended = hub.node.scrub_status().last_pass;

    hub.restart(CONFIG);
    let hub = scrubbed(hub);

    assert!(ended.is_some());
    let status = hub.node.scrub_status();
    assert_eq!((status.last_pass, status.read), (ended, ByteCount::new(0)));
}
