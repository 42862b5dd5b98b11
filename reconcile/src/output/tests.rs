use headland_event::{EventTime, Incarnation, Offset};

use super::*;
use crate::position::tests::{actor, position};
use crate::second::Second;
use crate::unseen::Unseen;

fn text(output: &Output) -> (&'static str, String, Option<String>) {
    let value = output.value().map(|value| String::from_utf8(value).unwrap());
    (output.topic().name(), output.key(), value)
}

fn written(topic: &'static str, key: &str, value: &str) -> (&'static str, String, Option<String>) {
    (topic, key.to_owned(), Some(value.to_owned()))
}

#[test]
fn stock_and_attributes_share_a_topic_under_keys_that_differ() {
    let (sku, location) = (Sku::new("85123A").unwrap(), Location::new("eu-1").unwrap());
    let stock = Output::Stock(StockRecord {
        sku: sku.clone(),
        account: Account::Location(location),
        units: -2,
    });
    let attribute = Output::Attribute(AttributeRecord {
        sku,
        attribute: AttributeName::new("price").unwrap(),
        value: AttributeView::One(AttributeValue::new("2.55").unwrap()),
    });

    let json = r#"{"sku":"85123A","location":"eu-1","units":-2}"#;
    assert_eq!(text(&stock), written("inventory.stock", "85123A|eu-1", json));
    let json = r#"{"sku":"85123A","attribute":"price","value":"2.55"}"#;
    assert_eq!(text(&attribute), written("inventory.stock", "85123A#price", json));
}

#[test]
fn a_conflict_names_both_writes_with_clock_and_context() {
    let subject = ConflictSubject::Stocktake {
        sku: Sku::new("s").unwrap(),
        location: Location::new("l").unwrap(),
    };
    let write = |id: &str, region: &str, wall| {
        let mut context = VectorClock::new();
        context.advance(&actor(region, 0), Offset::new(4));
        Write {
            id: DeliveryId::new(id).unwrap(),
            position: position(region, 0, 4),
            hlc: Hlc::new(EventTime::from_millis(wall), 2),
            context,
            unseen: Unseen::default(),
            value: Count { units: wall, second: Second::default() },
        }
    };

    let (eu, us) = (write("a", "eu", 5), write("b", "us", 6));
    let record = ConflictRecord::between(subject.clone(), &eu, &us);

    assert_eq!(record, ConflictRecord::between(subject, &us, &eu));
    let json = concat!(
        r#"{"id":"b~a","kind":"stocktake","sku":"s","location":"l","#,
        r#""winner":{"id":"b","value":6,"hlc":"6.2","context":{"us@1-0000000000000009/0":4}},"#,
        r#""loser":{"id":"a","value":5,"hlc":"5.2","context":{"eu@1-0000000000000009/0":4}}}"#
    );
    let output = Output::Conflict(Box::new(record));
    assert_eq!(text(&output), written("inventory.conflicts", "b~a", json));
}

#[test]
fn late_duplicate_and_rejected_records_have_the_agreed_json() {
    let id = DeliveryId::new("a/1").unwrap();
    let event = RawValue::from_string(r#"{"id" : "a/1"}"#.to_owned()).unwrap();
    let sold = |account, units| Posting { account, units };
    let shelf = Account::Location(Location::new("l").unwrap());
    let late = Output::Late(Box::new(LateRecord {
        sku: Sku::new("s").unwrap(),
        id: id.clone(),
        event,
        region: actor("eu", 0).region,
        window: AccountingWindow::of(EventTime::from_millis(7), Duration::from_millis(5)),
        revision: 1,
        if_applied: [sold(shelf, -6), sold(Account::Customer, 6)],
        review: None,
    }));
    let (kept, dropped) = (position("eu", 3, 7), position("us", 0, 9));
    let duplicate = Output::Duplicate(DuplicateRecord { id, kept, dropped });
    let at = position("eu", 1, 2);
    let rejected = Output::Rejected(RejectedRecord::new(RejectReason::Future, b"{\xff", at));

    let json = concat!(
        r#"{"id":"a/1","event":{"id" : "a/1"},"region":"eu","window":{"start":5,"end":10},"#,
        r#""revision":1,"if_applied":[{"account":{"location":"l"},"units":-6},"#,
        r#"{"account":"customer","units":6}]}"#
    );
    assert_eq!(text(&late), written("inventory.late", "a/1", json));
    let json =
        r#"{"id":"a/1","kept":"eu@1-0000000000000009/3/7","dropped":"us@1-0000000000000009/0/9"}"#;
    assert_eq!(
        text(&duplicate),
        written("inventory.duplicates", "a/1@us@1-0000000000000009/0/9", json)
    );
    let json = "{\"reason\":\"future\",\"value\":\"{\u{fffd}\"}";
    assert_eq!(text(&rejected), written("inventory.rejected", "eu@1-0000000000000009/1/2", json));
}

#[test]
fn two_lives_of_a_hub_reject_under_keys_that_differ() {
    let keys = [1, 2].map(|life| {
        let mut at = position("eu", 1, 2);
        at.actor.incarnation = Incarnation::new(life, 9);
        Output::Rejected(RejectedRecord::new(RejectReason::Future, b"{}", at)).key()
    });

    assert_eq!(keys, ["eu@1-0000000000000009/1/2", "eu@2-0000000000000009/1/2"]);
}

#[test]
fn a_rejected_record_repeats_at_most_its_limit() {
    let at = position("eu", 1, 2);

    let record = RejectedRecord::new(RejectReason::Future, &[b'x'; 5_000], at);

    assert_eq!(record.value.len(), REJECTED_BYTES_LIMIT);
}

#[test]
fn an_accounting_window_begins_with_its_first_millisecond_before_1970_too() {
    let of = |millis| {
        let window =
            AccountingWindow::of(EventTime::from_millis(millis), Duration::from_millis(10));
        (window.start.millis(), window.end.millis())
    };

    assert_eq!((of(19), of(20), of(-1)), ((10, 20), (20, 30), (-10, 0)));
}
