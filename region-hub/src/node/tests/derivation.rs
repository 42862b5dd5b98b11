//! What is derived from a commit is written once, in commits of bounded size.

use std::collections::BTreeSet;

use headland_event::Record;

use super::hub::{CONFIG, Hub};
use super::remote::{Remote, record};

/// Bytes of each written value: two of them make a conflict of some 6 KiB.
const VALUE_BYTES: usize = 3 << 10;

/// Well below the 16 MiB at which the log refuses a commit.
const COMMIT_BYTES_MOST: usize = 4 << 20;

/// Writes of one attribute of one sku, each under its own delivery id.
fn writes(region: &str, count: usize) -> Vec<Record> {
    let value = "x".repeat(VALUE_BYTES);
    let write = |at: usize| {
        let device = format!("{region}-1-till");
        let text =
            format!(
                r#"{{"id":"{region}/{at}","kind":"attribute","device":"{device}","sku":"85123A","#
            ) + &format!(r#""attribute":"note","value":"{value}","time":"2010-12-01T08:06:00Z"}}"#);
        record(&device, &text)
    };
    (0..count).map(write).collect()
}

/// Both regions write the same attribute `count` times without having seen each other.
pub(super) fn write_concurrently(hub: &mut Hub, count: usize) {
    let mut agent = Remote::agent(hub, 1);
    let mut us = Remote::hub(hub, 2, "us");
    let ours = agent.offer(hub, "inventory.events");
    let theirs = us.offer(hub, "inventory.events");
    agent.publish(hub, ours, &writes("eu", count));
    us.mirror(hub, theirs, &writes("us", count));
}

pub(super) fn assert_each_pair_once(hub: &Hub, count: usize) {
    let keys = hub.keys("inventory.conflicts");
    let distinct: BTreeSet<&String> = keys.iter().collect();
    assert_eq!((keys.len(), distinct.len()), (count * count, count * count));
}

#[test]
fn a_local_alert_waits_for_no_other_region() {
    let movement = |id: u32, kind: &str, units: u32| {
        let (sku, time) = ("85123A", "2010-12-01T08:06:00Z");
        let text =
            format!(r#"{{"id":"eu/{id}","kind":"{kind}","device":"eu-1-till","sku":"{sku}","#)
                + &format!(r#""location":"eu-1","quantity":{units},"time":"{time}"}}"#);
        record("eu-1-till", &text)
    };
    // Its configured peer is never met, and no time passes after the sale.
    let mut hub = Hub::new();
    let mut agent = Remote::agent(&mut hub, 1);
    let channel = agent.offer(&mut hub, "inventory.events");

    agent.publish(&mut hub, channel, &[movement(1, "restock", 21)]);
    let before = hub.alerts();
    agent.publish(&mut hub, channel, &[movement(2, "sale", 2)]);

    let raised: Vec<_> = hub.alerts().into_iter().map(|of| (of.rule, of.key)).collect();
    assert_eq!(before, []);
    assert_eq!(raised, [("restock".to_owned(), "85123A|eu-1".to_owned())]);
}

#[test]
fn conflicts_of_one_commit_above_the_limit_of_a_commit_are_written_in_several() {
    let mut hub = Hub::new();

    write_concurrently(&mut hub, 54);

    assert_each_pair_once(&hub, 54);
    let sizes = hub.commit_sizes();
    assert!(sizes.iter().sum::<usize>() > 16 << 20, "{sizes:?}");
    assert!(sizes.iter().all(|size| *size <= COMMIT_BYTES_MOST), "{sizes:?}");
}

#[test]
fn a_crash_between_any_two_derived_commits_leaves_each_conflict_once() {
    const COUNT: usize = 24;

    let mut whole = Hub::new();
    write_concurrently(&mut whole, COUNT);
    let commits = usize::try_from(whole.commits()).unwrap();
    let derived = whole.commit_sizes().iter().filter(|size| **size >= 1 << 20).count();
    assert!(derived >= 3, "one commit after another holds a part of the conflicts");

    for crash in 1..=commits {
        let mut hub = Hub::new();
        hub.cut_power_after(crash);
        write_concurrently(&mut hub, COUNT);
        let before = hub.keys("inventory.conflicts");
        hub.restart(CONFIG);
        hub.settle();
        if hub.records("us.inventory.events").is_empty() {
            continue;
        }

        assert_each_pair_once(&hub, COUNT);
        let after = hub.keys("inventory.conflicts");
        assert_eq!(after.get(..before.len()), Some(&*before), "crash after commit {crash}");
    }
}
