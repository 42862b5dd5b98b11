use std::collections::BTreeMap;
use std::num::NonZeroU16;

use headland_event::{Gap, Gaps, Incarnation};
use sha2::{Digest, Sha256};

use super::*;
use crate::output::DerivedTopic;
use crate::position::tests::actor;
use crate::snapshot::RestoreError;

/// A hub of `eu` with a threshold of 20, and what its derived topics show.
pub(super) struct Hub {
    pub(super) reconciler: Reconciler,
    pub(super) tables: BTreeMap<(DerivedTopic, String), String>,
    /// Topics and keys in the order written; a retraction has a `-` before its key.
    pub(super) written: Vec<(DerivedTopic, String)>,
}

/// One record as a test writes it; `..at("eu", 0, 0)` fills in the usual rest.
#[derive(Clone)]
pub(super) struct Case<'a> {
    pub(super) region: &'a str,
    pub(super) offset: u64,
    pub(super) wall: i64,
    pub(super) seen: &'a [(&'a str, u64)],
    /// Gaps below what was seen.
    pub(super) unseen: &'a [(&'a str, u64, u64)],
    pub(super) verdict: Verdict,
}

pub(super) fn at(region: &str, offset: u64) -> Case<'_> {
    Case { region, offset, wall: 1_000, seen: &[], unseen: &[], verdict: Verdict::OnTime }
}

pub(super) fn config() -> Config {
    Config::new(RegionId::new("eu").unwrap(), 20)
}

pub(super) fn event(id: &str, kind: &str, rest: &str) -> String {
    let time = "2010-12-01T08:26:00Z";
    format!(r#"{{"id":"{id}","kind":"{kind}","device":"d","sku":"s",{rest},"time":"{time}"}}"#)
}

pub(super) fn moved(id: &str, kind: &str, quantity: i64) -> String {
    event(id, kind, &format!(r#""location":"l","quantity":{quantity}"#))
}

pub(super) fn counted(id: &str, count: i64) -> String {
    event(id, "stocktake", &format!(r#""location":"l","count":{count}"#))
}

pub(super) fn set(id: &str, value: &str) -> String {
    event(id, "attribute", &format!(r#""attribute":"price","value":"{value}""#))
}

impl Hub {
    pub(super) fn new() -> Self {
        Self {
            reconciler: Reconciler::new(config(), 5),
            tables: BTreeMap::new(),
            written: Vec::new(),
        }
    }

    pub(super) fn feed(&mut self, case: Case<'_>, value: &str) {
        self.feed_unaudited(case, value);
        assert_eq!(self.reconciler.audit(), Ok(()));
    }

    /// Feeds a record without checking the whole state after it, which takes long of a large one.
    pub(super) fn feed_unaudited(&mut self, case: Case<'_>, value: &str) {
        let mut context = VectorClock::new();
        for (region, end) in case.seen {
            context.advance(&actor(region, 0), Offset::new(*end));
        }
        let mut unseen = Gaps::new();
        for (region, from, until) in case.unseen {
            let gap = Gap { from: Offset::new(*from), until: Offset::new(*until) };
            assert_eq!(unseen.note(&actor(region, 0), gap), None);
        }
        let locality = if case.region == "eu" { Locality::Local } else { Locality::Remote };
        self.reconciler.on_event(Input {
            actor: &actor(case.region, 0),
            offset: Offset::new(case.offset),
            hlc: Hlc::new(EventTime::from_millis(case.wall), 0),
            context: &Extent::new(context, unseen),
            verdict: case.verdict,
            locality,
            captured_at: EventTime::from_millis(2_000),
            detected_at: EventTime::from_millis(2_001),
            value: &Bytes::copy_from_slice(value.as_bytes()),
        });
        self.drain();
    }

    pub(super) fn drain(&mut self) {
        while let Some(output) = self.reconciler.poll_output() {
            let (topic, key) = (output.topic(), output.key());
            match output.value() {
                Some(value) => {
                    self.written.push((topic, key.clone()));
                    self.tables.insert((topic, key), String::from_utf8(value).unwrap());
                }
                None => {
                    self.written.push((topic, format!("-{key}")));
                    self.tables.remove(&(topic, key));
                }
            }
        }
    }

    pub(super) fn stock(&self) -> Option<i64> {
        self.reconciler.stock(&Sku::new("s").unwrap(), &Location::new("l").unwrap())
    }

    fn price(&self) -> Option<&str> {
        let (sku, name) = (Sku::new("s").unwrap(), AttributeName::new("price").unwrap());
        self.reconciler.attribute(&sku, &name).map(AttributeValue::as_str)
    }

    /// Every table that is a function of the events alone, which alerts are not.
    pub(super) fn derived(&self) -> Vec<(&(DerivedTopic, String), &String)> {
        self.tables.iter().filter(|((topic, _), _)| *topic != DerivedTopic::Alerts).collect()
    }

    fn alerts(&self) -> Vec<&String> {
        let alerts = self.tables.iter().filter(|((topic, _), _)| *topic == DerivedTopic::Alerts);
        alerts.map(|(_, value)| value).collect()
    }

    pub(super) fn keys(&self, topic: DerivedTopic) -> Vec<&str> {
        let of_topic = self.tables.keys().filter(|(of, _)| *of == topic);
        of_topic.map(|(_, key)| key.as_str()).collect()
    }
}

/// Feeds the same records in two orders, and expects the same of both hubs.
pub(super) fn in_both_orders(cases: &[(Case<'_>, String)]) -> (Hub, Hub) {
    let (mut forth, mut back) = (Hub::new(), Hub::new());
    for (case, value) in cases {
        forth.feed(case.clone(), value);
    }
    for (case, value) in cases.iter().rev() {
        back.feed(case.clone(), value);
    }
    assert_eq!(forth.derived(), back.derived());
    assert_eq!(forth.reconciler.canonical_state(), back.reconciler.canonical_state());
    assert_eq!(forth.reconciler.fingerprint(), back.reconciler.fingerprint());
    (forth, back)
}

#[test]
fn a_late_sale_goes_to_the_side_output_and_a_late_stocktake_counts() {
    let mut hub = Hub::new();
    let late = Verdict::Late;

    hub.feed(Case { verdict: late, ..at("eu", 0) }, &moved("a", "sale", 6));
    hub.feed(Case { verdict: late, ..at("eu", 1) }, &counted("b", 40));

    assert_eq!(hub.stock(), Some(40));
    assert_eq!(hub.keys(DerivedTopic::Late), ["a"]);
    let expected = format!(
        concat!(
            r#"{{"id":"a","event":{},"region":"eu","#,
            r#""window":{{"start":1291161600000,"end":1291248000000}},"revision":1,"#,
            r#""if_applied":[{{"account":{{"location":"l"}},"units":-6}},"#,
            r#"{{"account":"customer","units":6}}]}}"#,
        ),
        moved("a", "sale", 6)
    );
    assert_eq!(hub.tables[&(DerivedTopic::Late, "a".to_owned())], expected);
}

#[test]
fn a_future_event_is_rejected_and_claims_no_delivery_id() {
    let mut hub = Hub::new();

    hub.feed(Case { verdict: Verdict::Future, ..at("eu", 0) }, &moved("a", "restock", 6));
    hub.feed(at("eu", 1), &moved("a", "restock", 6));

    assert_eq!(hub.stock(), Some(6));
    assert_eq!(hub.keys(DerivedTopic::Rejected), ["eu@1-0000000000000009/0/0"]);
    assert!(hub.keys(DerivedTopic::Duplicates).is_empty());
}

#[test]
fn a_forbidden_record_leaves_no_trace_but_its_position() {
    let mut hub = Hub::new();

    hub.feed(Case { verdict: Verdict::Forbidden, ..at("eu", 0) }, &moved("a", "restock", 6));

    assert_eq!(hub.tables, BTreeMap::new());
    assert_eq!(hub.reconciler.fingerprint(), Reconciler::new(config(), 1).fingerprint());
    assert_eq!(hub.reconciler.applied().end(&actor("eu", 0)), Offset::new(1));
}

#[test]
fn a_record_that_is_no_event_is_rejected_with_the_reason() {
    let mut hub = Hub::new();

    hub.feed(at("eu", 0), &moved("a", "sale", -1));

    let json = &hub.tables[&(DerivedTopic::Rejected, "eu@1-0000000000000009/0/0".to_owned())];
    assert!(json.starts_with(r#"{"reason":"quantity is -1, expected 1 to 1000000000","value":"#));
}

#[test]
fn a_replayed_record_changes_nothing() {
    let mut hub = Hub::new();
    hub.feed(at("eu", 0), &moved("a", "restock", 6));
    let before = (hub.written.clone(), hub.reconciler.fingerprint());

    hub.feed(at("eu", 0), &moved("a", "restock", 6));

    assert_eq!((hub.written, hub.reconciler.fingerprint()), before);
}

#[test]
fn the_smaller_of_two_copies_counts_whichever_came_first() {
    let copies = [(at("eu", 3), moved("a", "restock", 6)), (at("us", 1), moved("a", "restock", 8))];

    let (forth, _) = in_both_orders(&copies);

    assert_eq!(forth.stock(), Some(6));
    assert_eq!(forth.keys(DerivedTopic::Duplicates), ["a@us@1-0000000000000009/0/1"]);
}

#[test]
fn the_same_content_under_another_id_counts_again() {
    let mut hub = Hub::new();

    hub.feed(at("eu", 0), &moved("a", "restock", 6));
    hub.feed(at("eu", 1), &moved("b", "restock", 6));

    assert_eq!(hub.stock(), Some(12));
}

#[test]
fn of_three_copies_both_losers_name_the_smallest_in_the_end() {
    let copies = [
        (at("us", 0), moved("a", "sale", 1)),
        (at("eu", 0), moved("a", "sale", 1)),
        (at("ap", 0), moved("a", "sale", 1)),
    ];

    let (forth, _) = in_both_orders(&copies);

    assert_eq!(forth.stock(), Some(-1));
    let of = |key: &str| &forth.tables[&(DerivedTopic::Duplicates, key.to_owned())];
    assert_eq!(
        of("a@us@1-0000000000000009/0/0"),
        r#"{"id":"a","kept":"ap@1-0000000000000009/0/0","dropped":"us@1-0000000000000009/0/0"}"#
    );
    assert_eq!(
        of("a@eu@1-0000000000000009/0/0"),
        r#"{"id":"a","kept":"ap@1-0000000000000009/0/0","dropped":"eu@1-0000000000000009/0/0"}"#
    );
}

#[test]
fn a_late_event_is_retracted_when_a_smaller_copy_was_on_time() {
    let copies = [
        (Case { verdict: Verdict::Late, ..at("us", 0) }, moved("a", "restock", 6)),
        (at("eu", 0), moved("a", "restock", 6)),
    ];

    let (forth, back) = in_both_orders(&copies);

    assert_eq!(forth.stock(), Some(6));
    assert!(forth.written.contains(&(DerivedTopic::Late, "-a".to_owned())));
    assert!(!back.written.iter().any(|(topic, _)| *topic == DerivedTopic::Late));
}

#[test]
fn stock_is_retracted_when_the_smaller_copy_was_late() {
    let copies = [
        (at("us", 0), moved("a", "restock", 6)),
        (Case { verdict: Verdict::Late, ..at("eu", 0) }, moved("a", "restock", 6)),
    ];

    let (forth, _) = in_both_orders(&copies);

    assert_eq!(forth.stock(), None);
    assert_eq!(forth.keys(DerivedTopic::Stock), [] as [&str; 0]);
    assert_eq!(forth.reconciler.product(&Sku::new("s").unwrap()), None);
}

#[test]
fn a_conflict_is_retracted_when_a_smaller_copy_was_causally_after() {
    let records = [
        (at("us", 0), set("x", "1")),
        (at("us", 1), set("a", "2")),
        (at("ap", 0), set("b", "3")),
        (Case { seen: &[("ap", 1), ("us", 1)], ..at("eu", 0) }, set("a", "2")),
    ];
    let mut hub = Hub::new();

    for (case, value) in &records[..3] {
        hub.feed(case.clone(), value);
    }
    assert_eq!(hub.keys(DerivedTopic::Conflicts), ["a~b", "x~b"]);
    hub.feed(records[3].0.clone(), &records[3].1);

    assert_eq!(hub.keys(DerivedTopic::Conflicts), ["x~b"]);
    assert_eq!(hub.price(), Some("2"));
}

#[test]
fn an_id_reused_for_another_kind_says_only_what_its_smallest_copy_said() {
    let copies = [(at("us", 0), set("a", "2")), (at("eu", 0), counted("a", 7))];

    let (forth, _) = in_both_orders(&copies);

    assert_eq!((forth.stock(), forth.price()), (Some(7), None));
}

#[test]
fn a_causal_successor_wins_against_a_clock_a_day_ahead() {
    let day = 86_400_000;
    let writes = [
        (Case { wall: day, ..at("us", 0) }, set("a", "old")),
        (Case { wall: -day, seen: &[("us", 1)], ..at("eu", 0) }, set("b", "new")),
    ];

    let (forth, _) = in_both_orders(&writes);

    assert_eq!(forth.price(), Some("new"));
    assert!(forth.keys(DerivedTopic::Conflicts).is_empty());
}

#[test]
fn concurrent_stocktakes_are_one_conflict_and_the_later_clock_counts() {
    let writes = [
        (Case { wall: 5, ..at("us", 0) }, counted("a", 10)),
        (Case { wall: 6, ..at("eu", 0) }, counted("b", 30)),
    ];

    let (forth, _) = in_both_orders(&writes);

    assert_eq!(forth.stock(), Some(30));
    assert_eq!(forth.keys(DerivedTopic::Conflicts), ["b~a"]);
}

#[test]
fn one_episode_of_shortage_is_one_alert_until_the_threshold_is_reached_again() {
    let mut hub = Hub::new();
    let feed = |hub: &mut Hub, offset, kind, quantity| {
        hub.feed(at("eu", offset), &moved(&offset.to_string(), kind, quantity));
        hub.keys(DerivedTopic::Alerts).len()
    };

    assert_eq!(feed(&mut hub, 0, "restock", 21), 0);
    assert_eq!(feed(&mut hub, 1, "sale", 1), 0, "20 units are not below 20");
    assert_eq!(feed(&mut hub, 2, "sale", 1), 1);
    assert_eq!(feed(&mut hub, 3, "sale", 1), 1, "the episode goes on");
    assert_eq!(feed(&mut hub, 4, "restock", 1), 1, "19 units do not end it");
    assert_eq!(feed(&mut hub, 5, "sale", 1), 1);
    assert_eq!(feed(&mut hub, 6, "restock", 2), 1);
    assert_eq!(feed(&mut hub, 7, "sale", 1), 2, "a second episode");
}

#[test]
fn a_restock_alert_says_what_is_low_and_why() {
    let mut hub = Hub::new();

    hub.feed(at("eu", 0), &moved("a", "sale", 3));

    let id = headland_event::AlertId::derive("restock", "s|l", "1").to_string();
    let json = &hub.tables[&(DerivedTopic::Alerts, id)];
    let alert: headland_event::Alert = serde_json::from_str(json).unwrap();
    assert_eq!(
        (alert.rule.as_str(), alert.key.as_str(), alert.window.as_str()),
        ("restock", "s|l", "1")
    );
    assert_eq!(alert.event_time, EventTime::from_millis(1_291_191_960_000));
    assert_eq!(alert.captured_at, EventTime::from_millis(2_000));
    assert_eq!(alert.detected_at, EventTime::from_millis(2_001));
    assert_eq!(alert.evidence, Offset::new(0));
    assert_eq!(alert.values["units"], "-3");
}

#[test]
fn a_remote_sale_never_warns_and_the_next_local_one_does() {
    let mut hub = Hub::new();
    hub.feed(at("eu", 0), &moved("a", "restock", 25));

    hub.feed(at("us", 0), &moved("b", "sale", 6));
    assert!(hub.keys(DerivedTopic::Alerts).is_empty());

    hub.feed(at("eu", 1), &moved("c", "sale", 1));
    assert_eq!(hub.keys(DerivedTopic::Alerts).len(), 1);
}

#[test]
fn a_stocktake_below_the_threshold_does_not_warn() {
    let mut hub = Hub::new();
    hub.feed(at("eu", 0), &moved("a", "restock", 25));

    hub.feed(at("eu", 1), &counted("b", 3));

    assert!(hub.keys(DerivedTopic::Alerts).is_empty());
}

#[test]
fn two_lives_of_one_hub_are_two_actors() {
    let mut hub = Hub::new();
    hub.feed(at("eu", 0), &moved("a", "restock", 6));
    let mut later_life = actor("eu", 0);
    later_life.incarnation = Incarnation::new(2, 1);

    hub.reconciler.on_event(Input {
        actor: &later_life,
        offset: Offset::new(0),
        hlc: Hlc::default(),
        context: &Extent::default(),
        verdict: Verdict::OnTime,
        locality: Locality::Local,
        captured_at: EventTime::default(),
        detected_at: EventTime::default(),
        value: &Bytes::from(moved("b", "restock", 1)),
    });
    hub.drain();

    assert_eq!(hub.stock(), Some(7));
}

#[test]
fn a_restored_reconciler_goes_on_where_the_other_stopped() {
    let mut hub = Hub::new();
    hub.feed(at("eu", 0), &moved("a", "sale", 3));
    hub.feed(at("us", 0), &set("b", "1"));

    let bytes = hub.reconciler.snapshot();
    let restored = Reconciler::restore(config(), 77, &bytes).unwrap();

    assert_eq!(restored.fingerprint(), hub.reconciler.fingerprint());
    assert_eq!(restored.snapshot(), bytes);
    hub.reconciler = restored;
    hub.feed(at("eu", 1), &moved("c", "sale", 3));
    assert_eq!(hub.stock(), Some(-6));
    assert_eq!(hub.keys(DerivedTopic::Alerts).len(), 1, "the episode was already reported");
}

#[test]
fn a_snapshot_of_before_demand_or_seconds_were_kept_is_refused_so_that_its_events_are_read() {
    let mut hub = Hub::new();
    hub.feed(at("eu", 0), &moved("a", "sale", 3));
    let bytes = hub.reconciler.snapshot();
    // The last bytes are that there are no gaps and nothing is compacted, one second and their
    // number, and before them that there is no demand.
    for (version, gone) in [(3, 9), (2, 10)] {
        let body = &bytes[33..bytes.len() - gone];
        let checksum: [u8; 32] = Sha256::digest(body).into();
        let before = [&[version][..], &checksum, body].concat();

        let refused = Reconciler::restore(config(), 77, &before).err();

        assert_eq!(refused, Some(RestoreError::Version { found: Some(version) }));
    }
}

#[test]
fn a_snapshot_of_before_gaps_or_compaction_were_known_is_gone_on_from() {
    let mut hub = Hub::new();
    hub.feed(at("eu", 0), &moved("a", "sale", 3));
    let bytes = hub.reconciler.snapshot();
    // The last byte is that there are no gaps, the two before it that nothing is compacted.
    for (version, gone) in [(5, 1), (4, 3)] {
        let body = &bytes[33..bytes.len() - gone];
        let checksum: [u8; 32] = Sha256::digest(body).into();
        let before = [&[version][..], &checksum, body].concat();

        let restored = Reconciler::restore(config(), 77, &before).unwrap();

        assert_eq!(restored.snapshot(), bytes);
    }
}

#[test]
fn what_is_missing_stands_in_a_snapshot_and_counts_when_it_comes() {
    let mut hub = Hub::new();
    assert_eq!(hub.reconciler.begin(&actor("us", 0), Offset::new(5)), None);
    hub.feed(at("us", 5), &moved("a", "sale", 3));

    let bytes = hub.reconciler.snapshot();
    hub.reconciler = Reconciler::restore(config(), 77, &bytes).unwrap();
    for offset in [4, 4, 5] {
        hub.feed(at("us", offset), &moved(&format!("b{offset}"), "sale", 1));
    }

    assert_eq!(hub.stock(), Some(-4));
    let missing: Vec<_> = hub.reconciler.extent().gaps().iter().map(|(_, gap)| gap).collect();
    assert_eq!(missing, [Gap { from: Offset::new(0), until: Offset::new(4) }]);
}

fn covering() -> Hub {
    let days = |count| NonZeroU16::new(count).unwrap();
    let cover = Some(Cover { days: days(5), window_days: days(10) });
    let config = Config { restock_below: 0, cover, ..config() };
    Hub { reconciler: Reconciler::new(config, 5), ..Hub::new() }
}

#[test]
fn a_shelf_warns_when_it_lasts_fewer_days_than_it_should() {
    let mut hub = covering();
    hub.feed(at("eu", 0), &moved("a", "restock", 100));
    hub.feed(at("us", 0), &moved("b", "sale", 30));
    hub.feed(at("eu", 1), &moved("c", "sale", 20));
    assert!(hub.alerts().is_empty(), "50 units last 25 days at 2 a day");

    hub.feed(at("eu", 2), &moved("d", "sale", 14));

    assert!(hub.alerts().is_empty(), "36 units last 10.6 days at 3.4 a day");
    hub.feed(at("eu", 3), &moved("e", "reserve", 13));
    let alerts = hub.alerts();
    let values = concat!(
        r#""values":{"cover_days":"5","demand":"47","location":"l","sku":"s","units":"23","#,
        r#""window_days":"10"}"#
    );
    assert_eq!(alerts.len(), 1);
    assert!(alerts[0].contains(r#""rule":"restock-cover""#), "{}", alerts[0]);
    assert!(alerts[0].contains(values), "23 units last 4.9 days at 4.7 a day: {}", alerts[0]);
}

#[test]
fn a_shelf_warns_of_its_cover_once_until_it_is_filled_up_even_after_a_restart() {
    let mut hub = covering();
    hub.feed(at("eu", 0), &moved("a", "restock", 30));
    hub.feed(at("eu", 1), &moved("b", "sale", 20));
    assert!(hub.alerts().is_empty(), "10 units last 5 days at 2 a day");
    hub.feed(at("eu", 2), &moved("c", "sale", 1));
    let config = hub.reconciler.config.clone();
    hub.reconciler = Reconciler::restore(config, 9, &hub.reconciler.snapshot()).unwrap();
    hub.feed(at("eu", 3), &moved("d", "sale", 1));
    assert_eq!(hub.alerts().len(), 1, "one episode");

    hub.feed(at("us", 0), &moved("e", "restock", 9));
    hub.feed(at("eu", 4), &moved("f", "sale", 9));

    assert_eq!(hub.alerts().len(), 2);
}

#[test]
fn a_damaged_or_foreign_snapshot_is_refused() {
    let bytes = {
        let mut hub = Hub::new();
        hub.feed(at("eu", 0), &moved("a", "sale", 3));
        hub.reconciler.snapshot()
    };
    let refused = |bytes: &[u8]| Reconciler::restore(config(), 1, bytes).unwrap_err();

    assert_eq!(refused(&[]), RestoreError::Version { found: None });
    assert_eq!(refused(&[1, 0]), RestoreError::Version { found: Some(1) });
    let length = bytes.len();
    for at in 1..length {
        let mut damaged = bytes.clone();
        damaged[at] ^= 1;
        assert_eq!(refused(&damaged), RestoreError::Damaged { length });
    }
    let length = length - 1;
    assert_eq!(refused(&bytes[..length]), RestoreError::Damaged { length });
}

#[test]
#[should_panic(expected = "1 outputs would be lost")]
fn a_snapshot_before_outputs_are_drained_is_refused() {
    let mut hub = Hub::new();
    let position = Position { actor: actor("eu", 0), offset: Offset::new(0) };
    let record = RejectedRecord::new(RejectReason::Future, b"", position);
    hub.reconciler.outputs.push_back(Output::Rejected(record));

    let _bytes = hub.reconciler.snapshot();
}

#[test]
fn a_transfer_is_in_transit_between_two_locations() {
    let mut hub = Hub::new();
    let there = |id: &str| event(id, "transfer-in", r#""location":"m","quantity":6"#);

    hub.feed(at("eu", 0), &moved("a", "restock", 10));
    hub.feed(at("eu", 1), &moved("b", "transfer-out", 6));
    let stock = |hub: &Hub, key: &str| {
        let json = hub.tables.get(&(DerivedTopic::Stock, key.to_owned()))?;
        serde_json::from_str::<serde_json::Value>(json).unwrap()["units"].as_i64()
    };
    assert_eq!((hub.stock(), stock(&hub, "s~in-transit")), (Some(4), Some(6)));
    hub.feed(at("eu", 2), &there("c"));

    assert_eq!((stock(&hub, "s~in-transit"), stock(&hub, "s|m")), (Some(0), Some(6)));
}

#[test]
fn what_is_reserved_leaves_its_shelf_and_is_released_or_committed() {
    let mut hub = Hub::new();
    hub.feed(at("eu", 0), &moved("a", "restock", 10));
    hub.feed(at("eu", 1), &moved("b", "reserve", 6));

    hub.feed(at("eu", 2), &moved("c", "release", 2));
    hub.feed(at("eu", 3), &event("d", "commit", r#""quantity":4"#));

    let view = hub.reconciler.product(&Sku::new("s").unwrap()).unwrap();
    assert_eq!((hub.stock(), view.reserved, view.in_transit), (Some(6), Some(0), None));
    let json = &hub.tables[&(DerivedTopic::Stock, "s~reserved".to_owned())];
    assert_eq!(json, r#"{"sku":"s","account":"reserved","units":0}"#);
}

#[test]
fn a_shelf_below_zero_is_oversold_until_it_is_not() {
    let mut hub = Hub::new();
    hub.feed(at("eu", 0), &moved("a", "sale", 3));
    let json = &hub.tables[&(DerivedTopic::Oversold, "s|l".to_owned())];
    assert_eq!(json, r#"{"sku":"s","location":"l","units":-3}"#);

    hub.feed(at("eu", 1), &moved("b", "restock", 3));

    assert!(hub.keys(DerivedTopic::Oversold).is_empty());
}

#[test]
fn an_attribute_may_keep_all_concurrent_values() {
    let name = AttributeName::new("price").unwrap();
    let config = Config { multi_value: BTreeSet::from([name]), ..config() };
    let mut hub = Hub { reconciler: Reconciler::new(config, 5), ..Hub::new() };

    hub.feed(at("us", 0), &set("a", "2"));
    hub.feed(at("ap", 0), &set("b", "1"));
    let key = (DerivedTopic::Stock, "s#price".to_owned());
    assert_eq!(hub.tables[&key], r#"{"sku":"s","attribute":"price","value":["1","2"]}"#);
    hub.feed(Case { seen: &[("ap", 1), ("us", 1)], ..at("eu", 0) }, &set("c", "3"));

    assert_eq!(hub.tables[&key], r#"{"sku":"s","attribute":"price","value":"3"}"#);
}

#[test]
fn an_unknown_sku_and_another_unit_are_rejected_with_what_is_known() {
    let (sku, unit) = (Sku::new("s").unwrap(), UnitName::new("each").unwrap());
    let skus = KnownSkus::Listed(BTreeMap::from([(sku, unit)]));
    let mut hub = Hub { reconciler: Reconciler::new(Config { skus, ..config() }, 5), ..Hub::new() };
    let in_cases = r#""location":"l","quantity":6,"unit":"case""#;

    hub.feed(at("eu", 0), &moved("a", "restock", 6));
    hub.feed(at("eu", 1), &event("b", "restock", in_cases));
    hub.feed(at("eu", 2), &moved("c", "restock", 6).replace(r#""sku":"s""#, r#""sku":"t""#));

    let reason = |offset: u64| {
        let key = format!("eu@1-0000000000000009/0/{offset}");
        let json = &hub.tables[&(DerivedTopic::Rejected, key)];
        let record: serde_json::Value = serde_json::from_str(json).unwrap();
        record["reason"].as_str().unwrap().to_owned()
    };
    assert_eq!(reason(1), "unit is case, but sku s is counted in each");
    assert_eq!(reason(2), "sku t is not in the list of known skus");
    assert_eq!(hub.stock(), Some(6));
}

#[test]
fn an_event_of_ten_megabytes_is_rejected_with_its_beginning() {
    let mut hub = Hub::new();

    hub.feed(at("eu", 0), &format!("{{\"id\":\"{}\"}}", "x".repeat(10_000_000)));

    let json = &hub.tables[&(DerivedTopic::Rejected, "eu@1-0000000000000009/0/0".to_owned())];
    assert!(json.starts_with(r#"{"reason":"10000009 bytes, expected at most 1048576","value":"#));
    assert!(json.len() < 5_000);
}

#[test]
fn compacting_at_a_stable_cut_changes_nothing_that_can_be_seen() {
    let mut hub = Hub::new();
    for offset in 0..50 {
        hub.feed(at("us", offset), &moved(&format!("u{offset}"), "restock", 1));
    }
    let earlier = counted("c", 7).replace("08:26", "08:25");
    hub.feed(Case { seen: &[("us", 20)], ..at("eu", 0) }, &earlier);
    let before = hub.reconciler.canonical_state();
    let mut stable = VectorClock::new();
    stable.advance(&actor("us", 0), Offset::new(40));

    hub.reconciler.compact(&stable.into());

    assert_eq!(hub.reconciler.marks(), 12, "the cut of the count, the stable one, ten after it");
    assert_eq!(hub.reconciler.canonical_state(), before);
    hub.feed(Case { seen: &[("us", 45), ("eu", 1)], ..at("ap", 0) }, &counted("d", 9));
    assert_eq!(hub.stock(), Some(9 + 5));
}
