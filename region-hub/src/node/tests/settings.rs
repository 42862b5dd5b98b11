//! What copies take over of how topics are kept where they were born.

use std::path::Path;

use headland_event::TopicName;
use headland_storage::{Compaction, MemoryDisk};

use super::damage::damage;
use super::hub::{CONFIG, Hub};
use super::remote::{Remote, record};
use crate::config::HubConfig;
use crate::node::{Keeper, KeptStatus};
use crate::peer_link::LinkId;

const LINK: u64 = 100;
const HOUR: u64 = 3_600_000;
const EVENTS: &str = "inventory.events";

/// A hub of a region, linked to others, which declares `topics` beside inventory, and leaves to
/// other regions what is theirs.
fn config(region: &str, others: &[&str], topics: &str) -> String {
    let left = "[sync]\nretention = \"origin\"\ncompact = true\n";
    let sync = if topics.contains("[sync]") { "" } else { left };
    configured(region, others, &format!("{sync}{topics}"))
}

fn configured(region: &str, others: &[&str], topics: &str) -> String {
    let peers: String = others
        .iter()
        .map(|other| format!("[[peer]]\nregion = \"{other}\"\nname = \"hub-1\"\nforward = true\n"))
        .collect();
    let peer = "[[peer]]\nregion = \"us\"\nname = \"hub-1\"\naddress = \"none:1\"\n";
    let text = CONFIG.replace(peer, &format!("{topics}{peers}"));
    let text = text.replacen("region = \"eu\"", &format!("region = \"{region}\""), 1);
    text.replace("topics = [", "topics = [\"air\", ")
}

/// A declaration of `air`.
fn air(more: &str) -> String {
    format!("[[topic]]\nname = \"air\"\npartitions = 2\n{more}\n")
}

fn parsed(text: &str) -> HubConfig {
    let path = Path::new("hub.toml");
    headland_platform::config::parse(path, text.to_owned()).unwrap().value
}

fn meet(one: &mut Hub, other: &mut Hub, link_id: u64) {
    one.meet(other, LinkId::new(link_id));
    one.talk_to(other, LinkId::new(link_id));
}

/// Something of each of these topics, from the region's agent.
fn publish(hub: &mut Hub, topics: &[&str]) {
    let mut agent = Remote::agent(hub, 1);
    for topic in topics {
        let channel = agent.offer(hub, topic);
        agent.publish(hub, channel, &[record("eu-1-a", "{}")]);
    }
}

/// eu, which declares `there`, with something of it, and us, which declares `here`.
fn regions(there: &str, here: &str) -> (Hub, Hub) {
    let mut eu = Hub::configured(&config("eu", &["us"], there));
    let mut us = Hub::configured(&config("us", &["eu", "ap"], here));
    publish(&mut eu, &["air"]);
    meet(&mut eu, &mut us, LINK);
    (eu, us)
}

fn kept(hub: &Hub, topic: &str) -> KeptStatus {
    let topic = TopicName::new(topic).unwrap();
    hub.node.kept_of(hub.node.topics().get(&topic).unwrap())
}

/// How long a topic is kept, and who says so.
fn time(hub: &Hub, topic: &str) -> (Keeper, Option<u64>) {
    let KeptStatus { said_by, retention_ms, .. } = kept(hub, topic);
    (said_by, retention_ms)
}

fn partitions(hub: &Hub, topic: &str) -> u32 {
    hub.node.topics().get(&TopicName::new(topic).unwrap()).unwrap().partitions
}

/// The hub's configuration changes while it runs.
fn change(eu: &mut Hub, us: &mut Hub, topics: &str) {
    eu.node.on_configured(eu.now, &parsed(&config("eu", &["us"], topics)));
    eu.talk_to(us, LinkId::new(LINK));
}

#[test]
fn a_copy_is_kept_as_its_origin_says_also_when_that_changes_while_it_runs_and_back() {
    let limited = air("retention = { time = \"1h\", bytes = \"128MiB\" }\ncleanup = \"compact\"");
    let (mut eu, mut us) = regions(&limited, "");
    let at_first = kept(&us, "eu.air");

    change(&mut eu, &mut us, &air("retention = { time = \"2h\" }"));
    let changed = kept(&us, "eu.air");
    change(&mut eu, &mut us, &air(""));
    let without = kept(&us, "eu.air");
    change(&mut eu, &mut us, &limited);
    let back = kept(&us, "eu.air");

    let origin = |retention_ms, retention_bytes, compacted| KeptStatus {
        said_by: Keeper::Origin,
        retention_ms,
        retention_bytes,
        compacted,
    };
    assert_eq!(at_first, origin(Some(HOUR), Some(128 << 20), true));
    assert_eq!(changed, origin(Some(2 * HOUR), None, false));
    assert_eq!(without, origin(None, None, false));
    assert_eq!(back, at_first);
    assert_eq!(time(&eu, "air"), (Keeper::Here, Some(HOUR)));
}

#[test]
fn what_is_cleaned_of_a_copy_is_what_its_origin_says() {
    let (_eu, us) = regions(&air("retention = { time = \"1h\" }\ncleanup = \"compact\""), "");

    let policy = us.node.clean_policy();

    let topic = |name: &str| TopicName::new(name).unwrap();
    let hour = std::time::Duration::from_hours(1);
    assert_eq!(policy.retention(&topic("eu.air")).time, Some(hour));
    assert!(policy.compaction(&topic("eu.air")).is_some());
    assert_eq!(policy.retention(&topic("eu._settings")).time, None);
    assert!(us.node.clean_at().is_some(), "records of a copy grow too old");
}

#[test]
fn what_comes_with_a_topic_is_kept_as_long_and_is_not_compacted() {
    let mut eu = Hub::configured(&config(
        "eu",
        &["us"],
        &air("retention = { time = \"1h\" }\ncleanup = \"compact\""),
    ));
    let mut us = Hub::configured(&config("us", &["eu"], ""));
    let mut agent = Remote::agent(&mut eu, 1);
    let channel = agent.offer(&mut eu, "air");
    agent.publish(&mut eu, channel, &[record("somebody-else", "{}")]);

    meet(&mut eu, &mut us, LINK);

    assert_eq!(time(&us, "eu.air.dead"), (Keeper::Origin, Some(HOUR)));
    assert!(!kept(&us, "eu.air.dead").compacted);
}

#[test]
fn what_is_declared_here_decides_of_copies_unless_it_leaves_that_to_their_origins() {
    let there = air("retention = { time = \"1h\" }");
    let (_eu, here) = regions(&there, &air("retention = { time = \"5h\" }"));
    let (_eu, left) = regions(&there, &air("retention = { time = \"5h\" }\ncopies = \"origin\""));

    assert_eq!(time(&here, "eu.air"), (Keeper::Here, Some(5 * HOUR)));
    assert_eq!(time(&left, "eu.air"), (Keeper::Origin, Some(HOUR)));
    assert_eq!(time(&left, "air"), (Keeper::Here, Some(5 * HOUR)));
}

#[test]
fn copies_that_nobody_leaves_to_their_origins_keep_all_and_grow_with_them() {
    let limited = air("retention = { time = \"1h\" }\ncleanup = \"compact\"");
    let mut eu = Hub::configured(&config("eu", &["us"], &limited));
    let mut us = Hub::configured(&configured("us", &["eu"], ""));
    publish(&mut eu, &["air"]);

    meet(&mut eu, &mut us, LINK);

    assert_eq!(time(&us, "eu.air"), (Keeper::Here, None));
    assert!(!kept(&us, "eu.air").compacted);
    assert_eq!(partitions(&us, "eu.air"), 2);
}

#[test]
fn what_is_left_to_an_origin_that_has_said_nothing_is_kept() {
    let here = air("retention = { time = \"5h\" }\ncleanup = \"compact\"\ncopies = \"origin\"");
    let mut us = Hub::configured(&config("us", &["eu"], &here));
    let mut eu = Remote::hub(&mut us, 2, "eu");

    eu.offer(&mut us, "air");

    let KeptStatus { retention_ms, compacted, .. } = kept(&us, "eu.air");
    assert_eq!((retention_ms, compacted), (None, false));
}

#[test]
fn a_limit_mistyped_in_one_region_does_not_empty_the_copies_of_others() {
    let (_eu, us) = regions(&air("retention = { time = \"1s\", bytes = \"1KiB\" }"), "");
    let less = "[sync]\nretention = \"origin\"\ntime_least = \"1s\"\nbytes_least = \"2KiB\"\n";
    let (_eu, short) = regions(&air("retention = { time = \"1s\", bytes = \"1KiB\" }"), less);

    let limits =
        |hub: &Hub| (kept(hub, "eu.air").retention_ms, kept(hub, "eu.air").retention_bytes);
    assert_eq!(limits(&us), (Some(HOUR), Some(64 << 20)));
    assert_eq!(limits(&short), (Some(1_000), Some(2 << 10)));
}

#[test]
fn copies_are_compacted_only_where_that_is_asked_for_and_deleted_keys_have_a_floor() {
    let there = air("cleanup = \"compact\"\ntombstones = \"1s\"");
    let (_eu, us) = regions(&there, "");
    let (_eu, uncut) = regions(&there, "[sync]\nretention = \"origin\"\n");

    let compaction =
        |hub: &Hub| hub.node.clean_policy().compaction(&TopicName::new("eu.air").unwrap());
    let tombstones = std::time::Duration::from_hours(1);
    assert_eq!(compaction(&us), Some(Compaction { tombstones }));
    assert_eq!(compaction(&uncut), None);
    assert_eq!(time(&uncut, "eu.air"), (Keeper::Origin, None));
}

#[test]
fn an_agent_of_a_region_does_not_stand_for_its_hub() {
    let agent =
        "[[agent]]\nname = \"eu-9\"\nregion = \"eu\"\ntopics = [\"air\"]\ndevices = [\"*\"]\n";
    let (_eu, mut us) = regions(
        &air("retention = { time = \"1h\" }"),
        &format!("{}{agent}", air("copies = \"origin\"")),
    );

    Remote::agent_of(&mut us, 7, "eu", "eu-9");

    assert_eq!(time(&us, "eu.air"), (Keeper::Origin, Some(HOUR)));
}

#[test]
fn a_configuration_that_changes_decides_of_declared_topics_alone_and_never_of_inventory() {
    let (mut eu, _us) = regions(&air(""), "");
    let edited = "[[topic]]\nname = \"alerts.dead\"\nretention = { time = \"1s\" }\n\
                  [reconcile]\ntopic = \"goods\"\n";
    let before = time(&eu, "alerts.dead");

    let text = config("eu", &["us"], edited);
    let events = "name = \"inventory.events\"\n";
    let text = text.replace(events, &format!("{events}cleanup = \"compact\"\n"));
    eu.node.on_configured(eu.now, &parsed(&text));

    assert_eq!(time(&eu, "alerts.dead"), before);
    assert!(!kept(&eu, EVENTS).compacted);
}

#[test]
fn what_is_excluded_stays_as_it_is_here() {
    let there = air("retention = { time = \"1h\", bytes = \"128MiB\" }\ncleanup = \"compact\"");
    let mut us = Hub::configured(&config(
        "us",
        &["eu"],
        "[sync]\nretention = \"origin\"\ncompact = true\nexclude = [\"retention.time\"]\n",
    ));
    let all = "[sync]\nretention = \"origin\"\nexclude = [\"retention.time\", \
               \"retention.bytes\", \"partitions\"]\n";
    let mut archive = Hub::configured(&config("us", &["eu"], all));
    for hub in [&mut us, &mut archive] {
        let mut eu = Hub::configured(&config("eu", &["us"], &there));
        publish(&mut eu, &["air"]);
        meet(&mut eu, hub, LINK);
    }

    let KeptStatus { retention_ms, retention_bytes, compacted, .. } = kept(&us, "eu.air");
    assert_eq!((retention_ms, retention_bytes, compacted), (None, Some(128 << 20), true));
    let KeptStatus { retention_ms, retention_bytes, compacted, .. } = kept(&archive, "eu.air");
    assert_eq!((retention_ms, retention_bytes, compacted), (None, None, false));
    assert_eq!((partitions(&us, "eu.air"), partitions(&archive, "eu.air")), (2, 1));
}

#[test]
fn what_stock_is_made_of_is_kept_whatever_another_region_takes_it_for() {
    let there = "[[topic]]\nname = \"goods\"\ncleanup = \"compact\"\npartitions = 3\n\
                 retention = { time = \"1h\" }\n";
    let here = "[reconcile]\ntopic = \"goods\"\n";
    let mut eu = Hub::configured(
        &config("eu", &["us"], there).replace("topics = [", "topics = [\"goods\", "),
    );
    let mut us = Hub::configured(&config("us", &["eu"], here));
    publish(&mut eu, &["goods"]);

    meet(&mut eu, &mut us, LINK);

    assert!(kept(&eu, "goods").compacted);
    assert_eq!(time(&us, "eu.goods"), (Keeper::Here, None));
    assert!(!kept(&us, "eu.goods").compacted);
    assert_eq!(partitions(&us, "eu.goods"), 3);
}

#[test]
fn a_copy_has_as_many_partitions_as_its_origin_and_never_fewer_than_before() {
    let limited = air("retention = { time = \"1h\" }");
    let four = limited.replace("= 2", "= 4");
    let (mut eu, mut us) = regions(&four, "");
    let of_four = partitions(&us, "eu.air");

    eu.node.on_disconnected(eu.now, LinkId::new(LINK));
    us.node.on_disconnected(us.now, LinkId::new(LINK));
    eu.settle();
    eu.restart(&config("eu", &["us"], &limited));
    meet(&mut eu, &mut us, LINK + 1);

    assert_eq!((of_four, partitions(&us, "eu.air")), (4, 4));
    assert_eq!(partitions(&eu, "air"), 4, "fewer are configured");
}

#[test]
fn what_was_taken_over_holds_over_a_crash_and_nothing_is_said_twice() {
    let (mut eu, mut us) = regions(&air("retention = { time = \"1h\" }"), "");
    let (said, heard) = (eu.records("_settings").len(), us.records("eu._settings").len());

    us.restart(&config("us", &["eu", "ap"], ""));
    us.settle();
    eu.restart(&config("eu", &["us"], &air("retention = { time = \"1h\" }")));
    eu.settle();
    let alone = time(&us, "eu.air");
    meet(&mut eu, &mut us, LINK + 1);

    assert_eq!(alone, (Keeper::Here, None), "nothing goes by a word of who was not met");
    assert_eq!(time(&us, "eu.air"), (Keeper::Origin, Some(HOUR)));
    assert_eq!(partitions(&us, "eu.air"), 2);
    assert_eq!((said, heard, eu.records("_settings").len()), (1, 1, 1));
}

#[test]
fn a_change_that_a_restart_brings_is_said_and_taken_over() {
    let (mut eu, mut us) = regions(&air("retention = { time = \"1h\" }"), "");
    eu.node.on_disconnected(eu.now, LinkId::new(LINK));
    us.node.on_disconnected(us.now, LinkId::new(LINK));
    eu.settle();

    eu.restart(&config("eu", &["us"], &air("retention = { time = \"3h\" }")));
    meet(&mut eu, &mut us, LINK + 1);

    assert_eq!(time(&us, "eu.air"), (Keeper::Origin, Some(3 * HOUR)));
}

#[test]
fn a_hub_that_was_restored_says_again_what_it_declares_whatever_its_former_life_said_since() {
    let one = config("eu", &["us"], &air("retention = { time = \"1h\" }"));
    let mut eu = Hub::configured(&one);
    let mut us = Hub::configured(&config("us", &["eu"], ""));
    publish(&mut eu, &["air"]);
    meet(&mut eu, &mut us, LINK);
    let backup = eu.disk().fork();
    change(&mut eu, &mut us, &air("retention = { time = \"9h\" }"));
    let before = time(&us, "eu.air");
    us.node.on_disconnected(us.now, LinkId::new(LINK));

    backup.remove("identity");
    let mut restored = Hub::start_as(8, &backup, &one, eu.now).unwrap();
    meet(&mut restored, &mut us, LINK + 1);

    assert_eq!(before, (Keeper::Origin, Some(9 * HOUR)));
    assert_eq!(time(&us, "eu.air"), (Keeper::Origin, Some(HOUR)));
}

#[test]
fn what_a_life_said_that_was_lost_with_its_disk_does_not_hold_once_the_next_one_is_met() {
    let (_eu, mut us) = regions(&air("retention = { time = \"1h\" }"), "");
    us.node.on_disconnected(us.now, LinkId::new(LINK));
    let away = time(&us, "eu.air");

    let text = config("eu", &["us"], &air(""));
    let mut next = Hub::start_as(8, &MemoryDisk::new(8), &text, us.now).unwrap();
    meet(&mut next, &mut us, LINK + 1);

    let met = time(&us, "eu.air");
    us.restart(&config("us", &["eu", "ap"], ""));
    us.settle();
    let alone = time(&us, "eu.air");
    next.node.on_disconnected(next.now, LinkId::new(LINK + 1));
    meet(&mut next, &mut us, LINK + 2);

    assert_eq!(away, (Keeper::Here, None));
    assert_eq!([met, alone, time(&us, "eu.air")], [(Keeper::Here, None); 3], "all is kept");
    assert_eq!(next.records("_settings").len(), 0);
}

#[test]
fn a_word_holds_while_its_hub_is_linked_also_by_a_connection_that_follows_at_once() {
    let (mut eu, mut us) = regions(&air("retention = { time = \"1h\" }"), "");

    meet(&mut eu, &mut us, LINK + 1);
    let superseded = time(&us, "eu.air");
    eu.node.on_disconnected(eu.now, LinkId::new(LINK + 1));
    us.node.on_disconnected(us.now, LinkId::new(LINK + 1));
    let away = time(&us, "eu.air");
    meet(&mut eu, &mut us, LINK + 2);

    let linked = (Keeper::Origin, Some(HOUR));
    assert_eq!((superseded, away), (linked, (Keeper::Here, None)));
    assert_eq!(time(&us, "eu.air"), linked);
}

#[test]
fn a_hub_whose_last_word_is_damaged_says_it_again_once() {
    let limited = config("eu", &["us"], &air("retention = { time = \"1h\" }"));
    let mut eu = Hub::configured(&limited);
    publish(&mut eu, &["air"]);
    damage(&eu, "retention_ms");

    for _ in 0..2 {
        eu.restart(&limited);
        eu.settle();
    }

    assert_eq!(eu.records("_settings").len(), 1);
}

#[test]
fn over_a_chain_a_copy_has_its_origins_partitions_and_nothing_goes_by_hearsay() {
    let limited = air("retention = { time = \"1h\" }");
    let (mut eu, mut us) = regions(&limited.replace("= 2", "= 6"), "");
    let mut ap = Hub::configured(&config("ap", &["us"], ""));
    meet(&mut us, &mut ap, LINK + 1);

    change(&mut eu, &mut us, &air("retention = { time = \"2h\" }"));
    us.talk_to(&mut ap, LinkId::new(LINK + 1));

    assert_eq!(time(&us, "eu.air"), (Keeper::Origin, Some(2 * HOUR)));
    assert_eq!(time(&ap, "us.eu.air"), (Keeper::Here, None));
    assert_eq!(partitions(&ap, "us.eu.air"), 6);
}

#[test]
fn a_copy_from_a_hub_that_says_nothing_is_kept_as_before() {
    let mut us = Hub::configured(&config("us", &["eu"], &air("retention = { time = \"5h\" }")));
    let mut eu = Remote::hub(&mut us, 2, "eu");

    for topic in ["air", "gas"] {
        eu.offer(&mut us, topic);
    }

    assert_eq!(time(&us, "eu.air"), (Keeper::Here, Some(5 * HOUR)));
    assert_eq!(time(&us, "eu.gas"), (Keeper::Here, None));
}

#[test]
fn while_the_disk_is_full_a_change_waits_and_is_said_once_there_is_room() {
    let (mut eu, mut us) = regions(&air(""), "");
    eu.node.on_full();

    change(&mut eu, &mut us, &air("retention = { time = \"1h\" }"));
    let full = time(&us, "eu.air");
    eu.node.on_resumed(eu.now);
    eu.advance(1_000);
    eu.talk_to(&mut us, LinkId::new(LINK));

    assert_eq!(full, (Keeper::Here, None));
    assert_eq!(time(&us, "eu.air"), (Keeper::Origin, Some(HOUR)));
    assert_eq!(eu.records(EVENTS).len(), 0);
}
