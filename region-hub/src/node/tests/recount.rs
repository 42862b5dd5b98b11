//! Going on without what one hub counted and no log has any more.

use std::collections::BTreeMap;

use headland_event::{Incarnation, Record};
use headland_storage::{MemoryDisk, Survival};

use super::damage::damage;
use super::handing::{Net, end_on, state};
use super::hub::Hub;
use super::lost::{again, fill, id, short_of_room, taken_by, write};
use super::members::request;
use super::remote::{Remote, record};
use crate::members::{LackView, LifeName, RegionAction, RegionRequest};
use crate::node::RegionError;

/// What a hub says of each part of a log that it lacks, or lost, and what becomes of it.
fn lacking(hub: &Hub) -> Vec<(u64, u64, String)> {
    let shown = |LackView { from, until, way_out, .. }| (from.get(), until.get(), way_out);
    hub.node.regions().lacking.into_iter().map(shown).collect()
}

fn recount(hub: &mut Hub, region: &str) -> Result<(), RegionError> {
    let answer = hub.node.on_region(hub.now, &request(RegionAction::Recount, region));
    hub.settle();
    answer.map(|_| ())
}

/// The last values of stock that a hub wrote.
fn last_stock(hub: &Hub) -> String {
    let rows = hub.values("inventory.stock");
    rows.last().cloned().unwrap_or_default()
}

/// Hubs of `eu` and `us`, of which only `us` has counted its event 4, and lost it since.
fn one_counts_what_is_lost() -> Net {
    let new = |region, peers: &[&str]| end_on(&MemoryDisk::new(7), 7, region, peers);
    let mut net = Net::new([new("eu", &["us"]), new("us", &["eu"])]);
    net.meet(0, 1);
    write(&mut net.hubs[1], 2, 0..4);
    net.talk(15);
    net.part(0, 1);
    write(&mut net.hubs[1], 3, 4..6);
    net.talk(15);
    damage(&net.hubs[1], &id(4));
    net.meet(0, 1);
    net.talk(20);
    net
}

#[test]
fn what_one_hub_counts_and_no_log_has_is_named_and_counts_no_more_once_that_is_decided() {
    let mut net = one_counts_what_is_lost();
    let before = (state(&net.hubs[0]).0, state(&net.hubs[1]).0);
    let named = lacking(&net.hubs[1]);

    recount(&mut net.hubs[1], "us").unwrap();
    let decided = lacking(&net.hubs[1]);
    net.talk(5);
    let us = again(&net.hubs[1], "us", &["eu"]);
    let counted = state(&us).0;
    net.replace(1, us);
    net.meet(0, 1);
    net.talk(20);

    assert_eq!(before, (Some(20), Some(24)));
    let (from, until, way_out) = &named[0];
    assert_eq!((named.len(), *from, *until), (1, 4, 5));
    assert!(
        way_out.contains("`headland region recount us` at this hub and a restart"),
        "{way_out}"
    );
    let until_then = "they count here until this hub starts again, and then no more".to_owned();
    assert_eq!(decided, [(4, 5, until_then)]);
    assert_eq!(counted, Some(20));
    assert_eq!(state(&net.hubs[1]), state(&net.hubs[0]));
    assert!(last_stock(&net.hubs[1]).contains("20"), "{}", last_stock(&net.hubs[1]));
    let gap = lacking(&net.hubs[1]);
    assert!(
        gap[0].2.starts_with("no hub that takes part has said that it can send them"),
        "{gap:?}"
    );
    write(&mut net.hubs[1], 9, 6..8);
    net.talk(20);
    let us = again(&net.hubs[1], "us", &["eu"]);
    assert_eq!((state(&us), state(&us).0), (state(&net.hubs[0]), Some(28)));
}

#[test]
fn rows_that_only_a_lost_record_made_are_taken_away_when_it_is_given_up() {
    let new = |region, peers: &[&str]| end_on(&MemoryDisk::new(7), 7, region, peers);
    let mut net = Net::new([new("eu", &["us"]), new("us", &["eu"])]);
    net.meet(0, 1);
    net.talk(15);
    net.part(0, 1);
    let said = [
        r#""no/1.","kind":"attribute","sku":"A","attribute":"note","value":"red""#,
        r#""no/2.","kind":"restock","sku":"B","location":"eu-1","quantity":4"#,
    ];
    for (life, said) in (2_u64..).zip(said) {
        let us = &mut net.hubs[1];
        let mut agent = Remote::agent_in(us, 10_000 + life, Incarnation::new(1, life));
        let channel = agent.offer(us, "inventory.events");
        let text = format!(r#"{{"id":{said},"device":"eu-1-till","time":"2010-12-01T08:06:00Z"}}"#);
        agent.publish(us, channel, &[record("eu-1-till", &text)]);
        us.node.on_disconnected(us.now, agent.link_id);
    }
    write(&mut net.hubs[1], 9, 5..6);
    net.talk(15);
    for id in ["no/1.", "no/2."] {
        damage(&net.hubs[1], &format!(r#"{{"id":"{id}","kind""#));
    }
    net.meet(0, 1);
    net.talk(20);
    let rows = |hub: &Hub| -> BTreeMap<String, bool> {
        let records = hub.records("inventory.stock").into_iter();
        let row = |of: Record| (String::from_utf8(of.key.unwrap().to_vec()).unwrap(), of.value);
        records.map(row).map(|(key, value)| (key, value.is_some())).collect()
    };
    let before = rows(&net.hubs[1]);

    recount(&mut net.hubs[1], "us").unwrap();
    net.talk(5);
    let us = again(&net.hubs[1], "us", &["eu"]);
    net.replace(1, us);
    net.meet(0, 1);
    net.talk(20);

    let row = |key: &str, is_there| (key.to_owned(), is_there);
    let shelf =
        |is_there| [row("85123A|eu-1", true), row("A#note", is_there), row("B|eu-1", is_there)];
    assert_eq!(before, shelf(true).into());
    assert_eq!(rows(&net.hubs[1]), shelf(false).into());
    assert_eq!(state(&net.hubs[1]), state(&net.hubs[0]));
}

/// A hub of `us` on a disk that begins another life there.
fn us_on(disk: &MemoryDisk, nonce: u64, net: &Net) -> Hub {
    disk.remove("identity");
    let mut us = end_on(disk, nonce, "us", &["eu"]);
    us.now = net.hubs[1].now;
    us
}

#[test]
fn what_was_given_up_counts_again_everywhere_when_a_backup_brings_it() {
    let new = |region, peers: &[&str]| end_on(&MemoryDisk::new(7), 7, region, peers);
    let mut net = Net::new([new("eu", &["us"]), new("us", &["eu"])]);
    net.meet(0, 1);
    write(&mut net.hubs[1], 2, 0..5);
    net.talk(15);
    let (backup, life) = (net.hubs[1].disk().fork(), net.hubs[1].node.incarnation);
    damage(&net.hubs[0], &id(2));
    let us = us_on(&MemoryDisk::new(8), 8, &net);
    net.replace(1, us);
    net.meet(0, 1);
    net.talk(20);
    let counted = (state(&net.hubs[0]).0, state(&net.hubs[1]).0);

    let refused = recount(&mut net.hubs[0], "us");
    let life = Some(LifeName::of(life));
    let exclude = RegionRequest { life, ..request(RegionAction::Exclude, "us") };
    let now = net.hubs[0].now;
    net.hubs[0].node.on_region(now, &exclude).unwrap();
    net.talk(5);
    recount(&mut net.hubs[0], "us").unwrap();
    net.talk(5);
    let eu = again(&net.hubs[0], "eu", &["us"]);
    net.replace(0, eu);
    let without = state(&net.hubs[0]).0;
    let us = us_on(&backup, 9, &net);
    net.replace(1, us);
    net.meet(0, 1);
    net.talk(30);
    let eu = again(&net.hubs[0], "eu", &["us"]);

    assert_eq!(counted, (Some(20), Some(16)));
    assert!(matches!(refused, Err(RegionError::NothingLost { .. })), "its former life had it");
    assert_eq!(without, Some(16));
    assert_eq!(state(&net.hubs[0]).0, Some(20));
    assert_eq!(state(&net.hubs[1]), state(&net.hubs[0]));
    assert_eq!(state(&eu), state(&net.hubs[0]));
    assert_eq!(lacking(&net.hubs[0]), []);
}

#[test]
fn what_another_hub_has_is_not_given_up() {
    let new = |region, peers: &[&str]| end_on(&MemoryDisk::new(7), 7, region, peers);
    let mut net = Net::new([new("eu", &["us"]), new("us", &["ap", "eu"])]);
    net.meet(0, 1);
    write(&mut net.hubs[1], 2, 0..4);
    net.talk(15);
    net.part(0, 1);
    damage(&net.hubs[1], &id(2));
    taken_by(&mut net.hubs[1], 900, "ap");

    let named = lacking(&net.hubs[1]);
    let refused = recount(&mut net.hubs[1], "us");

    let expected = "they count here, and the log here lost them: a hub that has them hands them on";
    assert!(named[0].2.starts_with(expected), "{named:?}");
    assert!(matches!(refused, Err(RegionError::NothingLost { .. })), "{refused:?}");
    let other = recount(&mut net.hubs[0], "us");
    assert!(matches!(other, Err(RegionError::NothingLost { .. })), "{other:?}");
}

#[test]
fn a_hub_that_cannot_count_its_stock_again_says_so_and_keeps_what_it_has() {
    let disk = MemoryDisk::new(7);
    let eu = end_on(&MemoryDisk::new(7), 7, "eu", &["us"]);
    let mut net = Net::new([eu, short_of_room(&disk, "us", &["eu"])]);
    net.meet(0, 1);
    net.talk(15);
    net.part(0, 1);
    fill(&mut net.hubs[1], 2, 0..80);
    let start = net.hubs[1].start_of("inventory.events").get();
    damage(&net.hubs[1], &id(78));
    net.meet(0, 1);
    net.talk(15);
    let us = &mut net.hubs[1];
    let counted = us.node.inventory().fingerprint();

    let refused = recount(us, "us");

    assert!(start > 0);
    assert_eq!(lacking(us).len(), 1, "{:?}", lacking(us));
    assert!(matches!(refused, Err(RegionError::HistoryGone)), "{refused:?}");
    disk.crash(Survival::Nothing);
    let us = short_of_room(&disk, "us", &["eu"]);
    assert_eq!(us.node.inventory().fingerprint(), counted);
}
