//! Late events: what reviewers decide, in any order and in cut-off regions.

use headland_event::{Random, SeededRandom};

use super::tests::{Case, Hub, at, counted, event, in_both_orders, moved};
use super::*;
use crate::output::DerivedTopic;

fn late(region: &str, offset: u64) -> Case<'_> {
    Case { verdict: Verdict::Late, ..at(region, offset) }
}

fn decided(id: &str, kind: &str, late: &str, rest: &str) -> String {
    let fields = format!(r#""late":"{late}","reviewer":"ann","reason":"seen on the ramp"{rest}"#);
    event(id, kind, &fields)
}

#[test]
fn an_approved_late_sale_counts_once_whoever_approves_it_again() {
    let records = [
        (late("us", 0), moved("a", "sale", 6)),
        (at("eu", 0), decided("r1", "approve", "a", "")),
        (at("ap", 0), decided("r2", "approve", "a", "")),
    ];

    let (forth, _) = in_both_orders(&records);

    assert_eq!(forth.stock(), Some(-6));
    assert!(forth.keys(DerivedTopic::Conflicts).is_empty(), "reviewers who agree do not conflict");
    assert_eq!(forth.keys(DerivedTopic::Postings), ["a"]);
    let json = &forth.tables[&(DerivedTopic::Late, "a".to_owned())];
    let review = concat!(
        r#""review":{"status":"approved","effective":"restate","#,
        r#""reviewer":"ann","reason":"seen on the ramp"}}"#
    );
    assert!(json.ends_with(review), "{json}");
}

#[test]
fn a_rejected_late_sale_never_counts() {
    let records =
        [(late("us", 0), moved("a", "sale", 6)), (at("eu", 0), decided("r", "reject", "a", ""))];

    let (forth, _) = in_both_orders(&records);

    assert_eq!(forth.stock(), None);
    assert!(forth.keys(DerivedTopic::Postings).is_empty());
}

#[test]
fn an_amended_late_sale_counts_with_the_units_of_the_amendment() {
    let records = [
        (late("us", 0), moved("a", "sale", 6)),
        (at("eu", 0), decided("r", "amend", "a", r#","quantity":2"#)),
    ];

    let (forth, _) = in_both_orders(&records);

    assert_eq!(forth.stock(), Some(-2));
    let late = &forth.tables[&(DerivedTopic::Late, "a".to_owned())];
    let applied = r#""revision":2,"if_applied":[{"account":{"location":"l"},"units":-2}"#;
    assert!(late.contains(applied), "{late}");
    let json = &forth.tables[&(DerivedTopic::Postings, "a".to_owned())];
    let postings = concat!(
        r#""postings":[{"account":{"location":"l"},"units":-2},"#,
        r#"{"account":"customer","units":2}]}"#
    );
    assert!(json.ends_with(postings), "{json}");
}

#[test]
fn restated_a_late_sale_is_within_a_count_that_knew_of_it_and_carried_it_is_not() {
    for (effective, units) in [("restate", 40), ("carry", 34)] {
        let rest = format!(r#","effective":"{effective}""#);
        let records = [
            (late("us", 0), moved("a", "sale", 6)),
            (Case { seen: &[("us", 1)], ..at("eu", 0) }, counted("c", 40)),
            (at("ap", 0), decided("r", "approve", "a", &rest)),
        ];

        let (forth, _) = in_both_orders(&records);

        assert_eq!(forth.stock(), Some(units), "{effective}");
    }
}

#[test]
fn concurrent_rulings_that_differ_are_a_dispute_until_one_who_saw_both_decides() {
    let disputed = [
        (late("us", 0), moved("a", "sale", 6)),
        (at("eu", 0), decided("r1", "approve", "a", "")),
        (at("ap", 0), decided("r2", "reject", "a", "")),
    ];
    let (forth, _) = in_both_orders(&disputed);
    assert_eq!(forth.stock(), None);
    assert_eq!(forth.keys(DerivedTopic::Conflicts), ["r1~r2"]);
    let json = &forth.tables[&(DerivedTopic::Late, "a".to_owned())];
    assert!(json.ends_with(r#""review":{"status":"disputed"}}"#), "{json}");

    let mut settled = disputed.to_vec();
    let seen = &[("ap", 1), ("eu", 1)];
    settled.push((Case { seen, ..at("sa", 0) }, decided("r3", "approve", "a", "")));
    let (forth, _) = in_both_orders(&settled);

    assert_eq!(forth.stock(), Some(-6));
    assert_eq!(forth.keys(DerivedTopic::Conflicts), ["r1~r2"], "the dispute stays on record");
}

#[test]
fn a_decision_about_an_event_that_was_on_time_does_nothing() {
    let records =
        [(at("us", 0), moved("a", "sale", 6)), (at("eu", 0), decided("r", "reject", "a", ""))];

    let (forth, _) = in_both_orders(&records);

    assert_eq!(forth.stock(), Some(-6));
    assert!(forth.keys(DerivedTopic::Late).is_empty());
}

#[test]
fn an_approved_late_copy_gives_way_to_a_smaller_one_on_time() {
    let records = [
        (late("us", 0), moved("a", "sale", 6)),
        (at("ap", 0), decided("r", "approve", "a", "")),
        (at("eu", 0), moved("a", "sale", 5)),
    ];

    let (forth, _) = in_both_orders(&records);

    assert_eq!(forth.stock(), Some(-5));
    assert_eq!(forth.keys(DerivedTopic::Postings), ["a"]);
}

#[test]
fn a_decision_delivered_twice_changes_nothing() {
    let mut hub = Hub::new();
    hub.feed(late("us", 0), &moved("a", "sale", 6));
    hub.feed(at("eu", 0), &decided("r", "approve", "a", ""));
    let before = hub.stock();

    hub.feed(at("eu", 1), &decided("r", "approve", "a", ""));

    assert_eq!((hub.stock(), before), (Some(-6), Some(-6)));
    assert_eq!(hub.keys(DerivedTopic::Duplicates), ["r@eu@1-0000000000000009/0/1"]);
}

#[test]
fn a_decision_without_reviewer_or_reason_is_rejected_with_the_field() {
    for field in ["reviewer", "reason", "late"] {
        let mut hub = Hub::new();
        let text = decided("r", "approve", "a", "").replace(&format!("{field:?}:"), "\"x\":");

        hub.feed(at("eu", 0), &text);

        let json = &hub.tables[&(DerivedTopic::Rejected, "eu@1-0000000000000009/0/0".to_owned())];
        assert!(json.starts_with(&format!(r#"{{"reason":"{field} is missing""#)), "{json}");
    }
}

/// What decisions call the sale `us/0` beside the count `c`.
const OVERLAP: &str = "c~us@1-0000000000000009/0/0";

/// A sale of six that the counter's hub had not seen, made by the second of the count.
fn overlapping() -> Vec<(Case<'static>, String)> {
    vec![(at("us", 0), moved("a", "sale", 6)), (at("eu", 0), counted("c", 40))]
}

#[test]
fn a_sale_that_overlaps_with_a_count_counts_after_it_and_somebody_is_asked() {
    let (forth, _) = in_both_orders(&overlapping());

    assert_eq!(forth.stock(), Some(40 - 6));
    assert_eq!(forth.keys(DerivedTopic::Overlaps), [OVERLAP]);
    let json = &forth.tables[&(DerivedTopic::Overlaps, OVERLAP.to_owned())];
    let expected = concat!(
        r#"{"id":"c~us@1-0000000000000009/0/0","sku":"s","location":"l","#,
        r#""at":"us@1-0000000000000009/0/0","time":1291191960000,"units":-6,"added":-6,"#,
        r#""stocktake":{"id":"c","count":40,"time":1291191960000},"revision":1}"#
    );
    assert_eq!(json, expected);
    assert_eq!(forth.keys(DerivedTopic::Postings), ["a"], "the sale itself is beyond doubt");
    assert!(forth.reconciler.under_review().all(|entry| entry.is_pending()));
}

#[test]
fn what_is_decided_about_an_overlap_says_how_many_of_its_units_came_after_the_count() {
    let (carry, two) = (r#","effective":"carry""#, r#","quantity":2"#);
    for (kind, rest, units) in
        [("approve", "", 34), ("approve", carry, 34), ("reject", "", 40), ("amend", two, 38)]
    {
        let mut records = overlapping();
        records.push((at("ap", 0), decided("r", kind, OVERLAP, rest)));

        let (forth, _) = in_both_orders(&records);

        assert_eq!(forth.stock(), Some(units), "{kind}");
        let json = &forth.tables[&(DerivedTopic::Overlaps, OVERLAP.to_owned())];
        let added = format!("\"added\":{},", units - 40);
        assert!(json.contains(&added) && json.contains("\"reviewer\":\"ann\""), "{json}");
        assert_eq!(forth.keys(DerivedTopic::Postings), ["a"]);
    }
}

#[test]
fn an_amendment_of_an_overlap_lets_no_more_units_come_after_the_count_than_were_posted() {
    let mut records = overlapping();
    records.push((at("ap", 0), decided("r", "amend", OVERLAP, r#","quantity":9"#)));

    let (forth, _) = in_both_orders(&records);

    assert_eq!(forth.stock(), Some(40 - 6));
    let json = &forth.tables[&(DerivedTopic::Overlaps, OVERLAP.to_owned())];
    assert!(json.contains("\"added\":-6,"), "{json}");
}

#[test]
fn a_count_that_does_not_hold_asks_nobody_again() {
    let mut hub = Hub::new();
    for (case, value) in overlapping() {
        hub.feed(case, &value);
    }
    let before = hub.written.len();

    hub.feed(Case { wall: 999, ..at("ap", 0) }, &counted("b", 50));

    assert_eq!(hub.stock(), Some(34), "the earlier of two concurrent counts loses");
    assert_eq!(hub.written[before..], [(DerivedTopic::Conflicts, "c~b".to_owned())]);
    // A smaller copy of it takes its place, which changes nothing either.
    let before = hub.written.len();
    hub.feed(Case { wall: 998, ..at("aa", 0) }, &counted("b", 60));
    let is_asked = |(topic, _): &(DerivedTopic, String)| *topic == DerivedTopic::Overlaps;
    assert!(!hub.written[before..].iter().any(is_asked));
    assert_eq!(hub.stock(), Some(34));
}

#[test]
fn reviewers_who_differ_about_an_overlap_leave_it_counting_after_the_count_until_one_saw_both() {
    let mut records = overlapping();
    records.push((at("za", 0), decided("r1", "reject", OVERLAP, "")));
    records.push((at("ap", 0), decided("r2", "approve", OVERLAP, "")));
    let (forth, _) = in_both_orders(&records);
    assert_eq!(forth.stock(), Some(34));
    let conflicts = forth.keys(DerivedTopic::Conflicts).len();
    assert_eq!(conflicts, 1);

    let seen = &[("ap", 1), ("za", 1)];
    records.push((Case { seen, ..at("sa", 0) }, decided("r3", "reject", OVERLAP, "")));
    let (forth, _) = in_both_orders(&records);

    assert_eq!(forth.stock(), Some(40));
    assert_eq!(forth.keys(DerivedTopic::Conflicts).len(), 1, "the dispute stays on record");
}

#[test]
fn reviewers_who_say_as_many_units_agree_about_an_overlap() {
    let mut records = overlapping();
    records.push((at("za", 0), decided("r1", "approve", OVERLAP, r#","effective":"carry""#)));
    records.push((at("ap", 0), decided("r2", "approve", OVERLAP, "")));

    let (forth, _) = in_both_orders(&records);

    assert!(forth.keys(DerivedTopic::Conflicts).is_empty());
}

#[test]
fn a_count_that_saw_the_sale_takes_the_question_back_with_what_was_decided() {
    let mut records = overlapping();
    records.push((at("ap", 0), decided("r", "reject", OVERLAP, "")));
    let seen = &[("eu", 1), ("us", 1)];
    records.push((Case { seen, ..at("sa", 0) }, counted("d", 50)));

    let (forth, _) = in_both_orders(&records);

    assert_eq!(forth.stock(), Some(50));
    assert!(forth.keys(DerivedTopic::Overlaps).is_empty());
}

#[test]
fn each_count_asks_anew_about_what_its_counter_had_not_seen() {
    let mut records = overlapping();
    records.push((at("ap", 0), decided("r", "reject", OVERLAP, "")));
    records.push((Case { seen: &[("eu", 1)], ..at("sa", 0) }, counted("d", 50)));

    let (forth, _) = in_both_orders(&records);

    assert_eq!(forth.stock(), Some(44), "what was said about the count before is not about this");
    assert_eq!(forth.keys(DerivedTopic::Overlaps), ["d~us@1-0000000000000009/0/0"]);
}

#[test]
fn nobody_is_asked_about_a_sale_after_the_count_nor_about_one_that_was_reviewed_as_late() {
    let later = moved("a", "sale", 6).replace("08:26:00", "08:26:01");
    let (forth, _) = in_both_orders(&[(at("us", 0), later), (at("eu", 0), counted("c", 40))]);
    assert_eq!(forth.stock(), Some(34));
    assert!(forth.keys(DerivedTopic::Overlaps).is_empty());

    let records = [
        (late("us", 0), moved("a", "sale", 6)),
        (at("eu", 0), counted("c", 40)),
        (at("ap", 0), decided("r", "approve", "a", "")),
    ];
    let (forth, _) = in_both_orders(&records);

    assert_eq!(forth.stock(), Some(34));
    assert!(forth.keys(DerivedTopic::Overlaps).is_empty());
}

#[test]
fn of_copies_of_an_overlapping_sale_the_one_that_counts_is_asked_about() {
    let mut records = overlapping();
    records.push((at("sa", 0), moved("a", "sale", 6)));

    let (forth, _) = in_both_orders(&records);

    assert_eq!(forth.stock(), Some(34));
    assert_eq!(forth.keys(DerivedTopic::Overlaps), ["c~sa@1-0000000000000009/0/0"]);
}

/// Two reviewers, each in a region cut off from the other, go through the same thousand late
/// events; one in three of their rulings differs by chance.
#[test]
fn a_thousand_late_events_reviewed_in_two_cut_off_regions_end_the_same_everywhere() {
    const EVENTS: u64 = 1_000;
    let mut random = SeededRandom::new(8);
    let sales: Vec<_> =
        (0..EVENTS).map(|n| (late("us", n), moved(&format!("l{n}"), "sale", 1))).collect();
    let mut rule = |region: &'static str| -> Vec<(Case<'static>, String, u64)> {
        let seen: &[_] = &[("us", EVENTS)];
        let rulings = (0..EVENTS).map(|n| {
            let ruling = random.below(3);
            let (kind, rest) = [("approve", ""), ("reject", ""), ("amend", r#","quantity":3"#)]
                [usize::try_from(ruling).unwrap()];
            let text = decided(&format!("{region}{n}"), kind, &format!("l{n}"), rest);
            (Case { seen, ..at(region, n) }, text, ruling)
        });
        rulings.collect()
    };
    let (ours, theirs) = (rule("ap"), rule("eu"));
    let plain = |of: &[(Case<'static>, String, u64)]| -> Vec<(Case<'static>, String)> {
        of.iter().map(|(case, text, _)| (case.clone(), text.clone())).collect()
    };
    let after = |parts: &[Vec<(Case<'static>, String)>]| {
        let mut hub = Hub::new();
        for (case, value) in parts.iter().flatten() {
            hub.feed_unaudited(case.clone(), value);
        }
        assert_eq!(hub.reconciler.audit(), Ok(()));
        hub
    };

    let (ap, eu) = (plain(&ours), plain(&theirs));
    let hubs = [
        after(&[sales.clone(), ap.clone(), eu.clone()]),
        after(&[sales.clone(), eu.clone(), ap.clone()]),
        after(&[eu, ap, sales]),
    ];

    let differ: Vec<u64> = (0..EVENTS)
        .filter(|n| ours[usize::try_from(*n).unwrap()].2 != theirs[usize::try_from(*n).unwrap()].2)
        .collect();
    let units = |ruling: u64| [-1, 0, -3][usize::try_from(ruling).unwrap()];
    let agreed = ours.iter().zip(&theirs).filter(|(one, other)| one.2 == other.2);
    let expected: i64 = agreed.map(|(one, _)| units(one.2)).sum();
    for hub in &hubs {
        assert_eq!(hub.stock(), Some(expected));
        assert_eq!(hub.keys(DerivedTopic::Conflicts).len(), differ.len());
        assert_eq!(hub.keys(DerivedTopic::Late).len(), 1_000);
        let disputed = hub.reconciler.late_events().filter(|record| {
            matches!(record.review, Some(crate::output::ReviewRecord::Disputed { .. }))
        });
        assert_eq!(disputed.count(), differ.len());
        assert_eq!(hub.reconciler.canonical_state(), hubs[0].reconciler.canonical_state());
        assert_eq!(hub.derived(), hubs[0].derived());
    }
    assert!((500..800).contains(&differ.len()), "{} of 1,000 differ", differ.len());
}
