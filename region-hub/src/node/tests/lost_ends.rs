//! The end of a copy that damage took comes back, though nothing stands behind it; that of a log
//! which nobody has is passed.

use headland_event::{ByteCount, Offset};
use headland_storage::{
    Commit, LogStore, MemoryDisk, MemoryStore, OpenOptions, StateChange, StateStore, Survival,
};

use super::damage::{damage, damage_in_file_of};
use super::handing::{Net, at_start};
use super::hub::Hub;
use super::lives::{commit, lag, only, read_on};
use super::refills::{again, all_go_on, config, missing, started, text, write};
use super::remote::partition;
use crate::store::{OWNERS, rebuild_checkpoints};

const COPY: &str = "eu.air";

/// The hubs of `eu` and of `us`, which has copied five records of the first.
fn two() -> Net {
    let mut net = Net::new([started("eu", &["us"]), started("us", &["eu"])]);
    net.meet(0, 1);
    write(&mut net.hubs[0], 1, 0..5);
    net.talk(5);
    assert_eq!(net.hubs[1].entries(COPY).len(), 5);
    net
}

/// The same, once damage took the last two records of the copy, which is not linked again yet.
fn hurt() -> Net {
    let mut net = two();
    net.part(0, 1);
    start_hurt(&mut net);
    net
}

fn start_hurt(net: &mut Net) {
    (3..5).for_each(|number| damage(&net.hubs[1], &text(number)));
    let us = again(&net.hubs[1], "us", &["eu"]);
    net.replace(1, us);
    let end = net.hubs[1].node.composer.end(&partition(COPY)).get();
    assert!(end > 10_000, "far more offsets stay taken: {end}");
    assert_eq!(missing(&net.hubs[1]), [format!("eu.air/0 3..{end} []")]);
}

/// Offsets of a copy, here and at its origin.
fn places(hub: &Hub) -> Vec<(u64, u64)> {
    let of = hub.entries(COPY).into_iter();
    of.map(|entry| (entry.base.get(), entry.stamp.unwrap().offset.get())).collect()
}

fn texts(numbers: impl IntoIterator<Item = u64>) -> Vec<String> {
    numbers.into_iter().map(text).collect()
}

#[test]
fn the_lost_end_of_a_copy_comes_back_from_its_origin_though_nothing_follows() {
    let mut net = hurt();

    net.meet(0, 1);
    net.talk(40);

    let us = &net.hubs[1];
    assert_eq!(missing(us), [""; 0]);
    assert_eq!(us.texts(COPY), texts(0..5));
    assert_eq!(places(us), (0..5).map(|at| (at, at)).collect::<Vec<_>>());
}

#[test]
fn what_follows_a_lost_end_before_it_is_asked_for_tells_how_much_was_lost() {
    let mut net = hurt();
    write(&mut net.hubs[0], 2, 5..8);

    net.meet(0, 1);
    let end = places(&net.hubs[1]).last().unwrap().0 - 2;
    net.talk(40);

    let us = &net.hubs[1];
    assert_eq!(missing(us), [""; 0]);
    assert_eq!(us.texts(COPY), texts(0..8));
    let behind = (0..3).map(|at| (end + at, 5 + at));
    assert_eq!(places(us), (0..5).map(|at| (at, at)).chain(behind).collect::<Vec<_>>());
}

#[test]
fn what_never_was_a_record_is_not_missing_after_a_restart_either() {
    for more in [0, 3] {
        let mut net = hurt();
        write(&mut net.hubs[0], 2, 5..5 + more);
        net.meet(0, 1);
        net.talk(40);
        let us = again(&net.hubs[1], "us", &["eu"]);
        net.replace(1, us);
        assert_eq!(missing(&net.hubs[1]), [""; 0]);

        net.meet(0, 1);
        all_go_on(&mut net, 3..8);

        assert_eq!(missing(&net.hubs[1]), [""; 0]);
        let expected = texts((0..5 + more).chain(13..18));
        assert!(net.hubs[1].texts(COPY) == expected, "{:?}", places(&net.hubs[1]));
    }
}

#[test]
fn a_group_waits_before_a_lost_end_and_reads_it_once_it_is_back() {
    let mut net = two();
    commit(&mut net.hubs[1], COPY, 2);
    net.part(0, 1);
    start_hurt(&mut net);
    let end = net.hubs[1].node.composer.end(&partition(COPY)).get();

    commit(&mut net.hubs[1], COPY, 3);
    commit(&mut net.hubs[1], COPY, end);
    let before = only(&net.hubs[1]);
    net.meet(0, 1);
    net.talk(40);

    assert_eq!((before.origin_offset, before.committed), (Offset::new(3), Offset::new(end)));
    assert_eq!((lag(&net.hubs[1]), only(&net.hubs[1]).committed), (2, Offset::new(3)));
    commit(&mut net.hubs[1], COPY, 5);
    assert_eq!(lag(&net.hubs[1]), 0);
    write(&mut net.hubs[0], 2, 5..7);
    net.talk(5);
    assert_eq!(lag(&net.hubs[1]), 2);
    assert_eq!(lag(&net.hubs[0]), 2, "nor is anything passed over at the origin");
}

#[test]
fn what_the_origin_lost_as_well_stays_named_and_groups_go_past_it() {
    let mut net = two();
    commit(&mut net.hubs[1], COPY, 3);
    net.part(0, 1);
    damage(&net.hubs[0], &text(4));
    start_hurt(&mut net);

    net.meet(0, 1);
    net.talk(40);

    assert_eq!(missing(&net.hubs[1]), ["eu.air/0 4..5 [\"eu\"]"]);
    assert_eq!(net.hubs[1].texts(COPY), texts(0..4));
    commit(&mut net.hubs[1], COPY, 5);
    write(&mut net.hubs[0], 2, 5..7);
    net.talk(5);
    assert_eq!(lag(&net.hubs[1]), 2);
}

#[test]
fn what_comes_again_since_the_position_was_lost_too_is_not_asked_for() {
    let mut net = hurt();
    let us = &mut net.hubs[1];
    let key = us.node.positions.keys().find(|key| key.ends_with(b"/air/0")).unwrap().clone();
    us.node.write_position(&key, Offset::new(3));
    us.settle();

    net.meet(0, 1);
    net.talk(40);

    let us = &net.hubs[1];
    assert_eq!(missing(us), [""; 0]);
    assert_eq!(us.texts(COPY), texts(0..5));
    assert!(places(us)[3].0 > 10_000, "behind what stays taken: {:?}", places(us));
    assert_eq!(us.node.audit.counts().faults, 0);
}

#[test]
fn a_copy_of_which_all_is_lost_is_sent_once_more() {
    let mut net = two();
    net.part(0, 1);
    (0..5).for_each(|number| damage(&net.hubs[1], &text(number)));
    let us = again(&net.hubs[1], "us", &["eu"]);
    net.replace(1, us);
    assert_eq!(net.hubs[1].texts(COPY), [""; 0]);

    net.meet(0, 1);
    write(&mut net.hubs[0], 2, 5..6);
    net.talk(40);

    assert_eq!(net.hubs[1].texts(COPY), texts(0..6));
    assert_eq!(missing(&net.hubs[1]), [""; 0]);
}

/// Damage takes where the copy of `us` stands, and its operator goes on without.
fn go_on_without_checkpoint(net: &mut Net) {
    net.part(0, 1);
    damage(&net.hubs[1], "\x0bcheckpoints");
    let (disk, now) = (net.hubs[1].disk().clone(), net.hubs[1].now);
    disk.crash(Survival::Everything);
    let mut store = MemoryStore::open(&disk, OpenOptions::new(7)).unwrap();
    assert!(!store.lost_state().is_empty());
    rebuild_checkpoints(&mut store).unwrap();
    for owner in OWNERS.map(crate::node::owner) {
        store.accept_loss(&owner).unwrap();
    }
    // The topic was taken up in the same commit, mostly.
    let owner = crate::node::owner("topics");
    let topics = store.scan(&owner, b"").unwrap().into_iter();
    let forgotten = topics.filter(|(key, _)| key.ends_with(b"eu.air"));
    let state = forgotten.map(|(key, _)| StateChange { owner: owner.clone(), key, value: None });
    let state: Vec<_> = state.collect();
    assert_eq!(state.len(), 1);
    store.append(&[Commit { entries: Vec::new(), state }]).unwrap();
    drop(store);
    disk.crash(Survival::Everything);
    let us = Hub::start_as(7, &disk, &config("us", &["eu"], "*"), now).unwrap();
    net.replace(1, us);
}

#[test]
fn a_copy_of_which_nobody_remembers_where_it_stood_says_so_itself() {
    let mut net = two();
    commit(&mut net.hubs[1], COPY, 2);
    net.talk(1);

    go_on_without_checkpoint(&mut net);
    write(&mut net.hubs[0], 2, 5..8);
    net.meet(0, 1);
    net.talk(40);

    assert_eq!((only(&net.hubs[1]).origin_offset, lag(&net.hubs[1])), (Offset::new(2), 6));
    assert_eq!(read_on(&mut net.hubs[1], COPY, 2), texts(2..8));
    net.talk(5);
    assert_eq!([lag(&net.hubs[1]), lag(&net.hubs[0])], [0, 0]);
}

#[test]
fn what_was_given_up_in_a_copy_is_told_again_as_well() {
    let mut net = hurt();
    commit(&mut net.hubs[1], COPY, 2);
    write(&mut net.hubs[0], 2, 5..8);
    net.meet(0, 1);
    net.talk(40);
    let known = net.hubs[1].node.consumers.of_mirror(&partition(COPY)).unwrap().clone();

    go_on_without_checkpoint(&mut net);

    let told = net.hubs[1].node.consumers.of_mirror(&partition(COPY)).unwrap().clone();
    let end = net.hubs[1].node.composer.end(&partition(COPY));
    for at in (0..5).map(Offset::new).chain([Offset::new(end.get() - 1), end]) {
        assert_eq!(told.place_at(at), known.place_at(at), "{at}");
    }
    assert_eq!(told.unused(end), known.unused(end));
}

/// Lets the hub of `us` write of its own now and then, and nothing else.
fn us_goes_on(net: &mut Net, lives: std::ops::Range<u64>) {
    for life in lives {
        write(&mut net.hubs[1], life, life + 10..life + 11);
        net.talk(11);
    }
}

#[test]
fn what_a_scrub_finds_at_the_end_of_a_copy_comes_back_and_no_life_begins() {
    let mut net = two();
    let us = again(&net.hubs[1], "us", &["eu"]);
    net.replace(1, us);
    net.meet(0, 1);
    us_goes_on(&mut net, 3..5);
    let life = net.hubs[1].node.incarnation;
    damage(&net.hubs[1], &text(4));
    let us = net.hubs.remove(1);
    net.hubs.push(us.scrubbing(ByteCount::mebibytes(64)));

    us_goes_on(&mut net, 5..20);

    let us = &net.hubs[1];
    assert_eq!((us.node.incarnation, missing(us)), (life, vec![]));
    assert_eq!(us.texts(COPY), texts(0..5));
    assert!(us.alerts().iter().any(|alert| alert.rule == "damaged_log"), "a scrub found it");
}

#[test]
fn the_lost_end_of_a_copy_is_named_by_a_start_that_does_not_replay_its_file() {
    let mut net = two();
    let us = again(&net.hubs[1], "us", &["eu"]);
    net.replace(1, us);
    us_goes_on(&mut net, 3..6);
    commit(&mut net.hubs[1], COPY, 2);
    damage_in_file_of(&net.hubs[1], &text(3), "HLDINDX");
    start_hurt(&mut net);
    write(&mut net.hubs[0], 2, 5..8);

    net.meet(0, 1);
    net.talk(1);
    commit(&mut net.hubs[1], COPY, 3);
    net.talk(40);

    assert_eq!(missing(&net.hubs[1]), [""; 0]);
    assert_eq!(net.hubs[1].texts(COPY), texts(0..8));
    assert_eq!([lag(&net.hubs[1]), lag(&net.hubs[0])], [5, 5], "nothing is passed over");
}

#[test]
fn a_life_that_is_over_gives_back_nothing_and_another_copy_of_it_does() {
    let regions = [("eu", ["us", "ap"]), ("us", ["eu", "ap"]), ("ap", ["eu", "us"])];
    let mut net = Net::new(regions.map(|(region, peers)| started(region, &peers)));
    net.meet(0, 1);
    net.meet(0, 2);
    net.meet(1, 2);
    write(&mut net.hubs[0], 1, 0..5);
    net.talk(5);
    (3..5).for_each(|number| damage(&net.hubs[1], &text(number)));
    let us = again(&net.hubs[1], "us", &["eu", "ap"]);
    net.replace(1, us);
    let disk = MemoryDisk::new(9);
    let eu = Hub::start_as(9, &disk, &config("eu", &["us", "ap"], "*"), net.hubs[0].now).unwrap();
    net.replace(0, eu);
    write(&mut net.hubs[0], 2, 5..7);

    net.meet(0, 1);
    net.meet(1, 2);
    net.talk(60);

    assert_eq!(net.hubs[1].texts(COPY), texts(0..7));
}

/// Three hubs in a line, each of which passes on what it gets.
fn line() -> Net {
    let hub = |region: &str, peers: &[&str]| {
        let text = line_config(region, peers);
        Hub::start_as(7, &MemoryDisk::new(7), &text, at_start()).unwrap()
    };
    let mut net = Net::new([hub("eu", &["us"]), hub("us", &["eu", "ap"]), hub("ap", &["us"])]);
    net.meet(0, 1);
    net.meet(1, 2);
    write(&mut net.hubs[0], 1, 0..5);
    net.talk(5);
    net
}

fn line_config(region: &str, peers: &[&str]) -> String {
    config(region, peers, "*").replace("topics = [\"*\"]", "forward = true")
}

#[test]
fn the_lost_end_of_a_copy_of_a_copy_comes_back_from_who_sends_it() {
    let mut net = line();
    let copy = "us.eu.air";
    assert_eq!(net.hubs[2].entries(copy).len(), 5, "{:?}", net.hubs[2].node.topics);
    net.part(1, 2);
    (3..5).for_each(|number| damage(&net.hubs[2], &text(number)));
    let disk = net.hubs[2].disk().clone();
    disk.crash(Survival::Everything);
    let ap = Hub::start_as(7, &disk, &line_config("ap", &["us"]), net.hubs[2].now).unwrap();
    net.replace(2, ap);

    net.meet(1, 2);
    net.talk(40);

    assert_eq!(net.hubs[2].texts(copy), texts(0..5), "{:?}", missing(&net.hubs[2]));
    assert_eq!(missing(&net.hubs[2]), [""; 0]);
    write(&mut net.hubs[0], 2, 5..7);
    net.talk(5);
    assert_eq!(net.hubs[2].texts(copy), texts(0..7));
}

/// The hubs of `eu` and of `us`, once damage took all of a file from `eu` that no hub had copied,
/// 800 kB in a log of five records before that, and it goes on.
fn without_a_file() -> Net {
    let mut net = two();
    commit(&mut net.hubs[1], COPY, 5);
    net.part(0, 1);
    net.hubs[0] = again(&net.hubs[0], "eu", &["us"]);
    write(&mut net.hubs[0], 2, 10..30);
    let eu = net.hubs.remove(0);
    let (disk, now) = (eu.disk().clone(), eu.now);
    eu.store.close().unwrap();
    let journals = disk.names().into_iter().filter(|name| name.ends_with(".journal"));
    let newest = journals.max().unwrap();
    let content = disk.content(&newest).unwrap();
    assert!(content.len() > 800_000, "the records are in it");
    disk.set_content(&newest, &content[..76]);
    let mut store = MemoryStore::open(&disk, OpenOptions::new(7)).unwrap();
    for owner in OWNERS.map(crate::node::owner) {
        store.accept_loss(&owner).unwrap();
    }
    store.close().unwrap();
    let eu = Hub::start_as(7, &disk, &config("eu", &["us"], "*"), now).unwrap();
    net.hubs.insert(0, eu);
    net
}

#[test]
fn what_a_hub_gave_up_of_a_whole_file_is_few_holes_at_its_peers_and_groups_read_on_behind_them() {
    let mut net = without_a_file();
    write(&mut net.hubs[0], 3, 5..8);
    let end = net.hubs[0].node.composer.end(&partition("air"));

    net.meet(0, 1);
    net.talk(40);

    // A hub in another life sends its log from the beginning.
    let (holes, copied) = (end.since(Offset::new(8)).div_ceil(10_000), end.after(5));
    assert!(end.get() > 100_000 && holes <= 105, "{holes} holes up to {end}");
    for _ in 0..2 {
        let us = &net.hubs[1];
        assert_eq!(us.node.composer.end(&partition(COPY)), copied);
        assert_eq!(us.entries(COPY).len() as u64, 5 + 8 + holes);
        assert_eq!(missing(us), [""; 0]);
        let us = again(us, "us", &["eu"]);
        net.replace(1, us);
        net.meet(0, 1);
        net.talk(5);
    }
    // What the group had read it has read where that stands again.
    let group = (only(&net.hubs[1]).committed, lag(&net.hubs[1]));
    assert_eq!(group, (Offset::new(10), end.get() - 5));
    commit(&mut net.hubs[1], COPY, copied.get());
    write(&mut net.hubs[0], 4, 8..10);
    net.talk(5);
    assert_eq!(lag(&net.hubs[1]), 2);
}
