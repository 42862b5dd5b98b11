//! What is written while a part of a log is missing is not after what lay in it.

use headland_event::{Gap, VectorClock};
use sha2::{Digest, Sha256};

use super::tests::{Case, Hub, at, config, counted, event, moved, set};
use super::*;
use crate::output::DerivedTopic;
use crate::position::tests::actor;
use crate::snapshot::RestoreError;

/// What `ap` writes when it has seen offsets 0 and 3 of `us`, and missed those between.
const fn by_ap(offset: u64) -> Case<'static> {
    let verdict = Verdict::OnTime;
    let (seen, unseen) = (&[("us", 4)], &[("us", 1, 3)]);
    Case { region: "ap", offset, wall: 9_000, seen, unseen, verdict }
}

/// Feeds records of which later ones of a log may come first.
fn feed(hub: &mut Hub, case: Case<'_>, value: &str) {
    let (of, offset) = (actor(case.region, 0), Offset::new(case.offset));
    assert_eq!(hub.reconciler.begin(&of, offset), None);
    hub.feed(case, value);
}

fn conflicts(hub: &Hub) -> Vec<&str> {
    let keys = hub.tables.keys().filter(|(topic, _)| *topic == DerivedTopic::Conflicts);
    keys.map(|(_, key)| &**key).collect()
}

/// Two hubs, of which the second one gets the records in the order of `ap`, then what was missing.
fn both(records: &[(Case<'_>, String)], missing: &[usize]) -> [Hub; 2] {
    let (mut first, mut second) = (Hub::new(), Hub::new());
    records.iter().for_each(|(case, value)| feed(&mut first, case.clone(), value));
    let came = |at: &usize| !missing.contains(at);
    for at in (0..records.len()).filter(came).chain(missing.iter().copied()) {
        let (case, value) = &records[at];
        feed(&mut second, case.clone(), value);
        let bytes = second.reconciler.snapshot();
        second.reconciler = Reconciler::restore(config(), 9, &bytes).unwrap();
    }
    assert_eq!(first.tables, second.tables);
    assert_eq!(first.reconciler.canonical_state(), second.reconciler.canonical_state());
    [first, second]
}

#[test]
fn an_attribute_written_while_another_lay_in_a_gap_conflicts_with_it_once_at_every_hub() {
    let records = [
        (at("us", 0), set("u0", "1")),
        (Case { wall: 99_000, ..at("us", 1) }, set("u1", "2")),
        (at("us", 3), moved("u3", "sale", 1)),
        (by_ap(0), set("a0", "3")),
    ];

    for hub in both(&records, &[1]) {
        assert_eq!(conflicts(&hub), ["u1~a0"], "and not with what was seen");
        let unseen = r#""unseen":{"us@1-0000000000000009/0":[[1,3]]}"#;
        let conflict = &hub.tables[&(DerivedTopic::Conflicts, "u1~a0".to_owned())];
        assert_eq!(conflict.matches(unseen).count(), 1, "{conflict}");
        let written = hub.written.iter().filter(|(topic, _)| *topic == DerivedTopic::Conflicts);
        assert_eq!(written.count(), 1);
    }
}

#[test]
fn a_stocktake_does_not_count_what_lay_in_a_gap_as_seen() {
    let records = [
        (at("us", 0), moved("u0", "sale", 1)),
        (at("us", 1), moved("u1", "sale", 10)),
        (at("us", 2), moved("u2", "sale", 100)),
        (at("us", 3), moved("u3", "sale", 1_000)),
        (by_ap(0), counted("a0", 500)),
    ];

    for mut hub in both(&records, &[2, 1]) {
        assert_eq!(hub.stock(), Some(500 - 10 - 100));
        hub.reconciler.compact(&hub.reconciler.extent());
        assert_eq!(hub.reconciler.unsaid().count(), 0);
        feed(&mut hub, at("us", 4), &moved("u4", "sale", 5));
        assert_eq!(hub.stock(), Some(500 - 10 - 100 - 5));
    }
}

#[test]
fn a_decision_does_not_overrule_one_that_lay_in_a_gap() {
    let decided = |id: &str, kind: &str| {
        event(id, kind, r#""late":"u0","reviewer":"ann","reason":"counted again""#)
    };
    let late = Case { verdict: Verdict::Late, ..at("us", 0) };
    let records = [
        (late, moved("u0", "sale", 7)),
        (at("us", 1), decided("u1", "reject")),
        (at("us", 3), moved("u3", "restock", 1)),
        (by_ap(0), decided("a0", "approve")),
    ];

    for mut hub in both(&records, &[1]) {
        assert_eq!(conflicts(&hub), ["a0~u1"]);
        assert_eq!(hub.stock(), Some(1), "disputed, it does not count");
        let seen = &[("us", 4), ("ap", 1)];
        let last = Case { seen, ..at("ap", 1) };
        feed(&mut hub, last, &decided("a1", "approve"));
        assert_eq!(hub.stock(), Some(1 - 7));
    }
}

#[test]
fn a_count_whose_counter_missed_what_was_forgotten_does_not_count_unless_it_is_missing_here_too() {
    let of_us = |offset| moved(&format!("u{offset}"), "sale", 1);
    let forgotten = |offsets: &[u64]| {
        let mut hub = Hub::new();
        offsets.iter().for_each(|offset| feed(&mut hub, at("us", *offset), &of_us(*offset)));
        hub.reconciler.compact(&hub.reconciler.extent());
        feed(&mut hub, by_ap(0), &counted("a0", 50));
        (hub.reconciler.unsaid().count(), hub.stock())
    };

    assert_eq!(forgotten(&[0, 1, 2, 3]), (1, Some(-4)), "what lay in the gap is forgotten");
    assert_eq!(forgotten(&[0, 2, 3]), (1, Some(-3)), "some of it is");
    assert_eq!(forgotten(&[0, 3]), (0, Some(50)), "nothing of it was here");
    let mut early = Hub::new();
    feed(&mut early, at("us", 0), &of_us(0));
    early.reconciler.compact(&early.reconciler.extent());
    (1..4).for_each(|offset| feed(&mut early, at("us", offset), &of_us(offset)));
    feed(&mut early, by_ap(0), &counted("a0", 50));
    assert_eq!(early.reconciler.unsaid().count(), 0, "only what is before the gap is forgotten");
    assert_eq!(early.stock(), Some(50 - 2));
}

#[test]
fn what_came_into_a_gap_behind_a_count_is_right_though_marks_were_forgotten_before() {
    let mut hub = Hub::new();
    feed(&mut hub, at("us", 0), &moved("u0", "sale", 1));
    feed(&mut hub, at("us", 3), &moved("u3", "sale", 1_000));
    hub.reconciler.compact(&hub.reconciler.extent());
    feed(&mut hub, by_ap(0), &counted("a0", 50));

    feed(&mut hub, at("us", 2), &moved("u2", "sale", 100));
    hub.reconciler.compact(&hub.reconciler.extent());
    feed(&mut hub, at("us", 1), &moved("u1", "sale", 10));

    assert_eq!(hub.stock(), Some(50 - 110));
}

#[test]
fn a_snapshot_without_gaps_in_contexts_is_of_the_version_before_and_one_with_them_is_checked() {
    let mut hub = Hub::new();
    feed(&mut hub, Case { unseen: &[], ..by_ap(0) }, &counted("a0", 5));
    feed(&mut hub, Case { unseen: &[], ..by_ap(1) }, &set("a1", "1"));
    let without = hub.reconciler.snapshot();

    feed(&mut hub, by_ap(2), &set("a2", "2"));
    let with = hub.reconciler.snapshot();

    assert_eq!((without[0], with[0]), (6, 8));
    let restored = Reconciler::restore(config(), 3, &with).unwrap();
    assert_eq!(restored.snapshot(), with);
    // At the end stand how many writes, the number of this one, its gaps with their log, and that
    // nothing is kept.
    let number = with.len() - 1 - 1 - (1 + 2 + 1 + 1 + 1) - 1 - 1 - 2 - 1;
    assert_eq!(with[number..number + 2], [1, 2]);
    let body = &with[33..with.len() - 1];
    let checksum: [u8; 32] = Sha256::digest(body).into();
    let of_version_7 = [&[7][..], &checksum, body].concat();
    let restored = Reconciler::restore(config(), 3, &of_version_7).unwrap();
    assert_eq!(restored.snapshot(), with, "nothing was kept");
    let mut foreign = with;
    foreign[number + 1] = 3;
    let checksum: [u8; 32] = Sha256::digest(&foreign[33..]).into();
    foreign[1..33].copy_from_slice(&checksum);
    let refused = Reconciler::restore(config(), 3, &foreign).err();
    let detail = "gaps are of a write that is not there";
    assert_eq!(refused, Some(RestoreError::Inconsistent { detail }));
}

#[test]
fn what_was_seen_but_for_a_gap_is_kept_as_it_was_said() {
    let mut hub = Hub::new();
    feed(&mut hub, by_ap(0), &counted("a0", 5));

    let known = hub.reconciler.applied();

    let mut expected = VectorClock::new();
    expected.advance(&actor("ap", 0), Offset::new(1));
    assert_eq!(known, expected, "what others had seen is not applied here");
    let gap = Gap { from: Offset::new(1), until: Offset::new(3) };
    assert!(!hub.reconciler.extent().gaps().spans(&actor("us", 0), gap.from, gap.until));
}

#[test]
fn writes_of_a_hub_that_missed_a_part_share_what_they_missed_also_in_a_restored_state() {
    let mut hub = Hub::new();
    (0..9).for_each(|at| feed(&mut hub, by_ap(at), &set(&format!("a{at}"), &format!("{at}"))));
    let restored = Reconciler::restore(config(), 3, &hub.reconciler.snapshot()).unwrap();

    for reconciler in [&hub.reconciler, &restored] {
        let attributes = reconciler.catalogue.attributes.values();
        let writes = attributes.flat_map(|stored| stored.held.writes.writes());
        let mut shared: Vec<_> =
            writes.map(|write| std::ptr::from_ref(write.unseen.gaps().unwrap())).collect();
        assert_eq!(shared.len(), 9);
        shared.dedup();
        assert_eq!(shared.len(), 1);
    }
}
