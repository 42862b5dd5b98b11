//! Topics of which only the newest record of each key is kept, and who reads them.

use std::collections::BTreeMap;
use std::ops::Range;

use bytes::Bytes;
use headland_event::{ChannelId, Codec, DropPolicy, Entry, Hole, Offset, Record};
use headland_replication::LinkOutput;

use super::hub::{CONFIG, Hub};
use super::remote::{Remote, record};

const AIR: &str = "air";
const EVENTS: &str = "inventory.events";
const STOCK: &str = "inventory.stock";

/// A hub in small files; `topic` is what `air` is declared with.
fn configured(topic: &str) -> String {
    let air = format!("[[topic]]\nname = \"air\"\npartitions = 1\n{topic}\n[[peer]]");
    let small = "api = { socket = \"none\" }\nstorage = { file_bytes = \"64KiB\" }";
    let text = CONFIG.replace("[[peer]]", &air).replace("api = { socket = \"none\" }", small);
    text.replace("\"inventory.events\", \"alerts\"", "\"inventory.events\", \"alerts\", \"air\"")
}

const COMPACTED: &str = "cleanup = \"compact\"";

/// Four devices send values of 4 KiB in turn, a second apart.
fn publish(hub: &mut Hub, agent: &mut Remote, channel: ChannelId, numbers: Range<u32>) {
    for n in numbers {
        let value = format!("{n} {}", "x".repeat(4 << 10));
        agent.publish(hub, channel, &[record(&format!("eu-1-{}", n % 4), &value)]);
        hub.advance(1_000);
        hub.talk(agent);
    }
}

/// The records of a log and how many of its records are gone by compaction; offsets are dense.
fn read<'a>(entries: impl IntoIterator<Item = &'a Entry>) -> (Vec<Record>, u64) {
    let (mut records, mut gone, mut next) = (Vec::new(), 0, Offset::new(0));
    for entry in entries {
        assert_eq!(entry.base, next, "a log is dense");
        next = entry.end();
        match Hole::of(&entry.batch) {
            Some(hole) => {
                assert_eq!(hole.policy, DropPolicy::Compacted);
                gone += hole.count;
            }
            None => {
                gone += entry.batch.span() - u64::try_from(entry.batch.len()).unwrap();
                records.extend(entry.batch.records().unwrap());
            }
        }
    }
    (records, gone)
}

/// What each key stands for.
fn table(records: Vec<Record>) -> BTreeMap<Bytes, Bytes> {
    let mut table = BTreeMap::new();
    for Record { key, value, .. } in records {
        let key = key.unwrap();
        match value {
            Some(value) => drop(table.insert(key, value)),
            None => drop(table.remove(&key)),
        }
    }
    table
}

/// Links the hub of another region, which takes everything from its beginning; returns it with
/// what it was sent of `air`.
fn linked(hub: &mut Hub, link_id: u64) -> (Remote, Vec<Entry>) {
    let mut us = Remote::hub(hub, link_id, "us");
    us.subscribe_all();
    hub.talk(&mut us);
    let air = us.said.iter().find_map(|said| match said {
        LinkOutput::Announced(announce) if announce.offer.source.topic.as_str() == AIR => {
            Some(announce.channel)
        }
        _ => None,
    });
    let sent = us.said.iter().filter_map(|said| match said {
        LinkOutput::Deliver { channel, entry } if Some(*channel) == air => Some(entry.clone()),
        _ => None,
    });
    let sent = sent.collect();
    (us, sent)
}

#[test]
fn of_a_compacted_topic_every_reader_ends_with_the_same_table_and_offsets_stay() {
    let mut hub = Hub::configured(&configured(COMPACTED));
    let mut agent = Remote::agent(&mut hub, 1);
    let channel = agent.offer(&mut hub, AIR);
    agent.publish(&mut hub, channel, &[record("eu-1-quiet", "here")]);
    publish(&mut hub, &mut agent, channel, 0..100);
    let (mut us, early) = linked(&mut hub, 2);
    us.store_all();
    hub.talk(&mut us);

    publish(&mut hub, &mut agent, channel, 100..140);
    let (_us, late) = linked(&mut hub, 3);

    let (kept, gone) = read(&hub.entries(AIR));
    let (early, none) = read(&early);
    let (late, as_many) = read(&late);
    assert!(gone > 50, "{gone} records went");
    assert_eq!((early.len(), none), (101, 0), "what a linked hub lacked stayed");
    assert_eq!((&late, as_many), (&kept, gone), "a mirror is an exact copy");
    let table = table(late);
    assert_eq!(table.len(), 5);
    assert_eq!(table.get(&b"eu-1-quiet"[..]), Some(&Bytes::from("here")));
    assert!(table.get(&b"eu-1-3"[..]).unwrap().starts_with(b"139 "));
}

#[test]
fn nothing_is_compacted_that_a_linked_hub_lacks_nor_without_being_asked_to() {
    let gone = [COMPACTED, ""].map(|topic| {
        let mut hub = Hub::configured(&configured(topic));
        let mut agent = Remote::agent(&mut hub, 1);
        let channel = agent.offer(&mut hub, AIR);
        publish(&mut hub, &mut agent, channel, 0..100);
        if topic.is_empty() {
            let (mut us, _) = linked(&mut hub, 2);
            us.store_all();
            hub.talk(&mut us);
            publish(&mut hub, &mut agent, channel, 100..140);
        }
        read(&hub.entries(AIR)).1
    });

    assert_eq!(gone, [0, 0]);
}

/// Deliveries of one unit each, so that every one changes the same shelf.
fn receive(hub: &mut Hub, agent: &mut Remote, channel: ChannelId, numbers: Range<u32>) {
    for n in numbers {
        let note = "x".repeat(1 << 10);
        let value =
            format!(r#"{{"id":"eu-1/{n}","kind":"restock","device":"eu-1-till","note":"{note}","#)
                + r#""sku":"85123A","location":"eu-1","quantity":1,"time":"2010-12-01T08:06:00Z"}"#;
        agent.publish(hub, channel, &[record("eu-1-till", &value)]);
        hub.advance(1_000);
        hub.talk(agent);
    }
}

#[test]
fn stock_is_compacted_by_default_and_a_restart_derives_nothing_twice_and_nothing_else() {
    // Stock shares its files with the events it is made of, so these go too.
    let partitions = "lane = \"state\"\npartitions = 1\n";
    let kept = format!("{partitions}retention = {{ bytes = \"64KiB\" }}\n");
    let text = configured("").replace(partitions, &kept);
    let mut hub = Hub::configured(&text);
    let mut agent = Remote::agent(&mut hub, 1);
    let channel = agent.offer(&mut hub, EVENTS);

    receive(&mut hub, &mut agent, channel, 0..300);
    let (rows, gone) = read(&hub.entries(STOCK));
    let (before, end) = (hub.node.status(), hub.entries(STOCK).last().map(Entry::end));
    hub.restart(&text);
    let (after, left) = (hub.node.status(), read(&hub.entries(STOCK)));

    assert!(gone > 50, "{gone} rows went");
    assert_eq!((before.applied, before.fingerprint), (after.applied, after.fingerprint));
    assert_eq!(left, (rows.clone(), gone));
    assert_eq!(hub.entries(STOCK).last().map(Entry::end), end);
    let table = table(rows);
    let shelf = table.get(&b"85123A|eu-1"[..]).unwrap();
    assert!(String::from_utf8_lossy(shelf).contains("\"units\":300"), "{shelf:?}");
    assert_eq!(read(&hub.entries("inventory.postings")).1, 0);
}

#[test]
fn stock_keeps_every_level_where_that_is_asked_for() {
    let text = configured("") + "[reconcile]\ncleanup = \"delete\"\n";
    let mut hub = Hub::configured(&text);
    let mut agent = Remote::agent(&mut hub, 1);
    let channel = agent.offer(&mut hub, EVENTS);

    receive(&mut hub, &mut agent, channel, 0..200);

    assert_eq!(read(&hub.entries(STOCK)).1, 0);
}

#[test]
fn derived_tables_and_dead_letters_are_compressed_as_configured() {
    let text = configured("codec = \"lz4\"") + "[reconcile]\ncodec = \"zstd\"\n";
    let mut hub = Hub::configured(&text);
    let mut agent = Remote::agent(&mut hub, 1);
    let air = agent.offer(&mut hub, AIR);
    let events = agent.offer(&mut hub, EVENTS);

    agent.publish(&mut hub, air, &[record("of-nobody", &"x".repeat(2_000))]);
    receive(&mut hub, &mut agent, events, 0..1);

    let codecs = |topic: &str| -> Vec<Codec> {
        hub.entries(topic).iter().map(|entry| entry.batch.codec()).collect()
    };
    assert_eq!(codecs("air.dead"), [Codec::Lz4]);
    assert_eq!(codecs(AIR), [Codec::None], "it is stored as it came");
    assert_eq!(codecs("inventory.postings"), [Codec::Zstd]);
}
