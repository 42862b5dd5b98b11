//! What groups had read before a hub began its life, and how they wait for it.

use headland_event::{GroupName, Lane, RegionId};
use headland_replication::groups::Change;
use headland_storage::MemoryDisk;

use super::giving_back::{config, hub, hub_on};
use super::groups::place;
use super::handing::{Net, restock};
use super::hub::Hub;
use super::lives::{commit, named, only, publish};
use crate::groups::OffsetsRequest;
use crate::links::LinkChange;
use crate::node::GroupError;

const READINGS: &str = "readings";
const ALL: &str = "readings@*";

fn group() -> GroupName {
    GroupName::new("billing").unwrap()
}

/// Reads on in all regions' logs, and commits, until there is nothing more: what was read. The
/// hub's word when it lets nobody read yet.
fn read_all(hub: &mut Hub) -> Result<Vec<String>, GroupError> {
    let mut read = Vec::new();
    for _ in 0..100 {
        let places = hub.node.reading(&group(), ALL)?;
        let before = read.len();
        for place in places {
            let topic = place.at.topic.as_str();
            let texts = hub.texts(topic);
            let until = place.until.get().min(texts.len() as u64);
            let range = place.from.get()..until.max(place.from.get());
            read.extend(range.clone().map(|at| texts[usize::try_from(at).unwrap()].clone()));
            if !range.is_empty() {
                commit(hub, topic, until);
            }
        }
        if read.len() == before {
            return Ok(read);
        }
    }
    panic!("it reads again and again: {read:?}");
}

fn sorted(parts: &[Vec<String>]) -> Vec<String> {
    let mut all = parts.concat();
    all.sort();
    all
}

/// Whether groups wait at a hub, and its word on whom for.
fn waits(hub: &Hub) -> Option<Vec<RegionId>> {
    let refused = hub.node.group_to_go_on(&group()).is_err();
    let regions = hub.node.groups_wait_for();
    assert_eq!(refused, !regions.is_empty(), "{regions:?}");
    refused.then_some(regions)
}

fn pass(hub: &mut Hub, seconds: u64) {
    for _ in 0..seconds {
        hub.advance(1_000);
        hub.settle();
    }
}

fn change(hub: &mut Hub, change: Change, offset: u64) -> Result<(), GroupError> {
    let request = OffsetsRequest { change, positions: vec![place(READINGS, offset)] };
    hub.node.on_group(hub.now, &group(), &request).map(drop)
}

/// What a hub sends `us` changes.
fn hold(hub: &mut Hub, change: &LinkChange) {
    let _ticket = hub.node.on_link_change(hub.now, &"us".parse().unwrap(), change).unwrap();
}

/// `eu` and `us` have twenty records each, and a group has read some of both in `us`.
fn read_in_us(us: Hub) -> Net {
    let mut net = Net::new([hub(7, "eu", &["us"]), us]);
    net.meet(0, 1);
    publish(&mut net.hubs[0], "e", 0..20);
    publish(&mut net.hubs[1], "a", 0..20);
    net.talk(5);
    commit(&mut net.hubs[1], READINGS, 12);
    commit(&mut net.hubs[1], "eu.readings", 15);
    net.talk(5);
    net
}

/// Another hub of `us` goes on, and the group asks it all the time: what it reads.
fn go_on(net: &mut Net, us: Hub) -> Vec<String> {
    net.replace(1, us);
    publish(&mut net.hubs[1], "b", 0..3);
    let alone = read_all(&mut net.hubs[1]);
    assert!(matches!(alone, Err(GroupError::NotBack { .. })), "{alone:?}");
    let mut read = Vec::new();
    net.meet(0, 1);
    for _ in 0..10 {
        read.extend(read_all(&mut net.hubs[1]).unwrap_or_default());
        net.talk(1);
    }
    read.sort();
    read
}

#[test]
fn a_group_at_a_hub_that_lost_its_disk_reads_nothing_again_of_any_region_and_passes_over_nothing() {
    let mut net = read_in_us(hub(7, "us", &["eu"]));

    let read = go_on(&mut net, hub(9, "us", &["eu"]));

    assert_eq!(read, sorted(&[named("a", 12..20), named("b", 0..3), named("e", 15..20)]));
    assert_eq!(waits(&net.hubs[1]), None);
}

#[test]
fn nor_at_one_that_goes_on_from_a_backup_which_knows_less() {
    let disk = MemoryDisk::new(1);
    let us = hub_on(&disk, 11, "us", &["eu"]);
    let mut net = read_in_us(us);
    let backup = disk.fork();
    commit(&mut net.hubs[1], READINGS, 18);
    commit(&mut net.hubs[1], "eu.readings", 19);
    net.talk(5);

    backup.move_to(2);
    let read = go_on(&mut net, hub_on(&backup, 22, "us", &["eu"]));

    assert_eq!(read, sorted(&[named("a", 18..20), named("b", 0..3), named("e", 19..20)]));
}

#[test]
fn what_a_former_life_committed_is_said_again_so_that_who_hears_the_next_one_only_has_it() {
    let mut net = read_in_us(hub(7, "us", &["eu"]));
    for (at, next) in [(1, hub(9, "us", &["eu"])), (0, hub(13, "eu", &["us"]))] {
        net.replace(at, next);
        net.meet(0, 1);
        net.talk(10);
    }

    let read = read_all(&mut net.hubs[0]).unwrap();

    assert_eq!(read, named("e", 15..20), "of what it wrote itself, and lost");
}

#[test]
fn a_group_that_was_deleted_by_a_former_life_stays_so() {
    let mut net = read_in_us(hub(7, "us", &["eu"]));
    let us = &mut net.hubs[1];
    let _ticket = us.node.on_group_end(us.now, &group()).unwrap();
    us.settle();
    net.talk(5);

    net.replace(1, hub(9, "us", &["eu"]));
    net.meet(0, 1);
    net.talk(10);

    assert_eq!(net.hubs[1].node.groups(), []);
    commit(&mut net.hubs[1], "eu.readings", 3);
    assert_eq!(only(&net.hubs[1]).epoch.get(), 1 + (1 << 16));
}

#[test]
fn what_comes_back_is_taken_whoever_else_may_bring_an_earlier_part_of_it() {
    let of = [("ap", ["eu", "us"]), ("eu", ["ap", "us"]), ("us", ["ap", "eu"])];
    let mut net = Net::new(of.map(|(region, peers)| hub(7, region, &peers)));
    [(0, 2), (1, 2)].into_iter().for_each(|(one, other)| net.meet(one, other));
    publish(&mut net.hubs[2], "a", 0..20);
    net.talk(5);
    for offset in [4, 8, 12] {
        commit(&mut net.hubs[2], READINGS, offset);
        net.talk(2);
    }
    hold(&mut net.hubs[0], &LinkChange::Pause([Lane::State].into()));

    net.replace(2, hub(9, "us", &["ap", "eu"]));
    net.meet(0, 2);
    net.talk(3);
    net.part(0, 2);
    net.meet(1, 2);
    net.talk(15);

    assert_eq!(read_all(&mut net.hubs[2]), Ok(named("a", 12..20)));
}

#[test]
fn what_the_present_life_commits_goes_back_to_it_from_nobody() {
    let mut net = read_in_us(hub(7, "us", &["eu"]));
    restock(&mut net.hubs[1], 2, &["us/1"]);
    net.talk(5);
    let end = net.hubs[1].texts("_groups").len() as u64;
    go_on(&mut net, hub(9, "us", &["eu"]));
    net.talk(5);

    let links = net.hubs[0].node.peer_links.iter();
    let offers = links.flat_map(|(_, known)| known.link.offers());
    let given = offers.filter(|of| of.source.topic.as_str() == "us._groups");
    let given: Vec<u64> = given.map(|of| of.head.get()).collect();

    assert_eq!(given, [end], "of the former life, and over one channel");
    assert!(net.hubs[0].texts("us._groups").len() as u64 > end);
}

#[test]
fn where_no_peer_can_be_reached_groups_go_on_after_ten_seconds_and_not_before() {
    let mut us = hub(9, "us", &["ap", "eu"]);
    publish(&mut us, "b", 0..3);
    pass(&mut us, 9);
    let before = (waits(&us), read_all(&mut us));
    pass(&mut us, 3);

    let both: Vec<RegionId> = ["ap", "eu"].map(|name| name.parse().unwrap()).to_vec();
    let from = "ap, eu".to_owned();
    assert_eq!(before, (Some(both), Err(GroupError::NotBack { from })));
    assert_eq!((waits(&us), read_all(&mut us)), (None, Ok(named("b", 0..3))));
}

#[test]
fn one_that_is_away_is_waited_for_and_named_while_the_other_has_brought_all() {
    let mut net = Net::new([hub(7, "eu", &["us"]), hub(9, "us", &["ap", "eu"])]);
    net.meet(0, 1);
    let before = waits(&net.hubs[1]);
    net.talk(7);

    assert_eq!((before, waits(&net.hubs[1])), (Some(vec!["ap".parse().unwrap()]), None));
}

#[test]
fn a_linked_peer_that_brings_more_is_waited_for_longer_for_a_minute_at_most() {
    for comes in [false, true] {
        let mut net = read_in_us(hub(7, "us", &["eu"]));
        hold(&mut net.hubs[0], &LinkChange::Pause([Lane::State].into()));
        net.replace(1, hub(9, "us", &["eu"]));
        net.meet(0, 1);
        net.talk(40);
        let before = waits(&net.hubs[1]);

        if comes {
            hold(&mut net.hubs[0], &LinkChange::Resume([].into()));
        }
        net.talk(5);
        let after = waits(&net.hubs[1]);
        net.talk(20);

        assert_eq!(before, Some(vec!["eu".parse().unwrap()]), "comes: {comes}");
        assert_eq!(after.is_none(), comes);
        assert_eq!(waits(&net.hubs[1]), None, "comes: {comes}");
    }
}

#[test]
fn a_hub_without_peers_and_one_that_goes_on_in_its_life_let_groups_read_at_once() {
    let mut lone = hub(9, "us", &[]);
    publish(&mut lone, "b", 0..2);
    let mut us = hub(9, "us", &["eu"]);
    pass(&mut us, 12);
    us.restart(&config("us", &["eu"]));
    publish(&mut us, "b", 0..2);

    assert_eq!([read_all(&mut lone), read_all(&mut us)], [(); 2].map(|()| Ok(named("b", 0..2))));
}

#[test]
fn a_restart_amid_the_wait_waits_too() {
    let mut us = hub(9, "us", &["eu"]);
    pass(&mut us, 3);

    us.restart(&config("us", &["eu"]));

    assert!(waits(&us).is_some());
    pass(&mut us, 12);
    assert_eq!(waits(&us), None);
}

#[test]
fn who_commits_where_it_is_goes_on_at_once_and_who_is_reset_or_deleted_waits() {
    let mut us = hub(9, "us", &["eu"]);
    publish(&mut us, "b", 0..5);

    let refused =
        [change(&mut us, Change::Reset, 1), us.node.on_group_end(us.now, &group()).map(drop)];
    change(&mut us, Change::Commit, 3).unwrap();

    let not_back = || Err(GroupError::NotBack { from: "eu".to_owned() });
    assert_eq!(refused, [not_back(), not_back()]);
    assert_eq!(read_all(&mut us), Ok(named("b", 3..5)));
    assert!(us.node.group_to_go_on(&group()).is_ok());
    assert_eq!(change(&mut us, Change::Reset, 1), not_back());
}
