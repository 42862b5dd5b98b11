use proptest::prelude::*;

use super::*;
use crate::ledger::MovementKind;
use crate::name::TextError;

const SALE: &str = r#"{"id":"eu-1/000123","kind":"sale","device":"eu-1-till","sku":"85123A",
    "location":"eu-1","quantity":6,"time":"2010-12-01T08:26:00Z"}"#;

fn parse(text: &str) -> Result<InventoryEvent, RejectReason> {
    InventoryEvent::parse(text.as_bytes())
}

fn with(field: &str, json: &str) -> Result<InventoryEvent, RejectReason> {
    let mut event: serde_json::Value = serde_json::from_str(SALE).unwrap();
    event[field] = serde_json::from_str(json).unwrap();
    parse(&event.to_string())
}

fn delta(event: InventoryEvent) -> i64 {
    match event.body {
        EventBody::Movement(movement) => movement.postings()[0].units,
        EventBody::Stocktake { .. } | EventBody::Attribute { .. } | EventBody::Decision { .. } => {
            panic!("not a movement")
        }
    }
}

#[test]
fn a_sale_lowers_stock_by_its_quantity() {
    let event = parse(SALE).unwrap();

    assert_eq!(event.id.as_str(), "eu-1/000123");
    assert_eq!(event.device.as_str(), "eu-1-till");
    assert_eq!(event.time, EventTime::from_millis(1_291_191_960_000));
    assert_eq!(event.clock, None);
    assert_eq!(
        event.body,
        EventBody::Movement(Movement::new(
            MovementKind::Sale,
            Some(Location::new("eu-1").unwrap()),
            6,
        ))
    );
}

#[test]
fn returns_restocks_and_adjustments_move_stock_by_their_sign() {
    assert_eq!(delta(with("kind", "\"return\"").unwrap()), 6);
    assert_eq!(delta(with("kind", "\"restock\"").unwrap()), 6);
    let text = SALE.replace("sale", "adjustment").replace(":6,", ":-6,");
    assert_eq!(delta(parse(&text).unwrap()), -6);
}

#[test]
fn an_attribute_needs_no_location_and_may_be_empty() {
    let event = parse(
        r#"{"id":"1","kind":"attribute","device":"d","sku":"s","attribute":"price","value":"",
            "time":"2010-12-01T09:26:00+01:00","clock":"1970-01-01T00:00:01Z"}"#,
    )
    .unwrap();

    assert_eq!(event.time, EventTime::from_millis(1_291_191_960_000));
    assert_eq!(event.clock, Some(EventTime::from_millis(1_000)));
    assert_eq!(
        event.body,
        EventBody::Attribute {
            name: AttributeName::new("price").unwrap(),
            value: AttributeValue::new("").unwrap(),
        }
    );
}

#[test]
fn quantities_are_accepted_up_to_the_limit_and_refused_outside() {
    let refused = |found, expected| RejectReason::Units { field: "quantity", found, expected };

    assert_eq!(delta(with("quantity", "1000000000").unwrap()), -1_000_000_000);
    for found in [0, -1, 1_000_000_001, i64::MIN] {
        assert_eq!(with("quantity", &found.to_string()), Err(refused(found, "1 to 1000000000")));
    }
    let zero = SALE.replace("sale", "adjustment").replace(":6,", ":0,");
    assert_eq!(parse(&zero), Err(refused(0, "-1000000000 to 1000000000 without 0")));
}

#[test]
fn a_stocktake_needs_a_count_of_at_least_zero() {
    let text = SALE.replace("sale", "stocktake");
    let counted = |count: &str| parse(&text.replace("\"quantity\":6", count));

    assert_eq!(parse(&text), Err(RejectReason::Missing { field: "count" }));
    assert!(matches!(counted("\"count\":0").unwrap().body, EventBody::Stocktake { count: 0, .. }));
    assert_eq!(
        counted("\"count\":-1"),
        Err(RejectReason::Units { field: "count", found: -1, expected: "0 to 1000000000" })
    );
}

#[test]
fn event_times_are_accepted_from_1971_to_the_end_of_2099() {
    let at = |text: &str| with("time", &format!("{text:?}")).map(|event| event.time);

    assert_eq!(at("1971-01-01T00:00:00Z"), Ok(TIME_FIRST));
    assert_eq!(at("2099-12-31T23:59:59.999Z"), Ok(EventTime::from_millis(4_102_444_799_999)));
    for (text, found) in
        [("1970-12-31T23:59:59.999Z", 31_535_999_999), ("2100-01-01T00:00:00Z", 4_102_444_800_000)]
    {
        let found = EventTime::from_millis(found);
        assert_eq!(at(text), Err(RejectReason::TimeRange { found }));
    }
    let found = "yesterday".to_owned();
    assert_eq!(at("yesterday"), Err(RejectReason::Time { field: "time", found }));
}

#[test]
fn each_missing_or_null_field_is_named() {
    for field in ["id", "kind", "device", "sku", "location", "quantity", "time"] {
        assert_eq!(with(field, "null"), Err(RejectReason::Missing { field }));
    }
}

#[test]
fn unknown_kinds_and_over_long_ids_are_refused_with_what_was_found() {
    let found = "theft".to_owned();
    assert_eq!(with("kind", "\"theft\""), Err(RejectReason::UnknownKind { found }));
    assert_eq!(
        with("id", &format!("{:?}", "x".repeat(257))),
        Err(RejectReason::Text(TextError::Length { field: "id", found: 257, min: 1, max: 256 }))
    );
}

#[test]
fn an_array_of_the_right_fields_is_not_an_event() {
    let array = r#"["1","sale","d","s","l",6,null,null,null,"2010-12-01T08:26:00Z",null]"#;

    assert_eq!(parse(array), Err(RejectReason::Json { detail: "no object".to_owned() }));
}

#[test]
fn bytes_that_are_no_text_are_refused_even_in_an_ignored_field() {
    let bytes = [&br#"{"note":""#[..], &[0xff], br#""}"#].concat();

    assert_eq!(InventoryEvent::parse(&bytes), Err(RejectReason::NotUtf8 { valid_up_to: 9 }));
}

#[test]
fn deep_nesting_in_an_ignored_field_is_refused_without_a_panic() {
    let text = SALE.replacen('{', &format!("{{\"note\":{},", "[".repeat(100_000)), 1);

    assert!(matches!(parse(&text), Err(RejectReason::Json { .. })));
}

proptest! {
    #[test]
    fn a_time_in_the_usual_shape_is_what_the_full_parser_reads(
        text in "(19[67]|20[0-9])[0-9]-[01][0-9]-[0-3][0-9]T[0-2][0-9]:[0-6][0-9]:[0-6][0-9]Z",
    ) {
        let full = text.parse::<jiff::Timestamp>().map(|time| time.as_millisecond());

        if let Some(time) = fields::plain_utc(&text) {
            prop_assert_eq!(full.unwrap(), time.millis());
        } else {
            // What only the full parser takes is a leap second.
            prop_assert!(full.is_err() || text.ends_with(":60Z"));
        }
    }

    #[test]
    fn no_bytes_make_the_parser_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(InventoryEvent::parse(&bytes).is_err());
    }

    #[test]
    fn no_change_of_a_valid_event_makes_the_parser_panic(at in 0..SALE.len(), byte: u8) {
        let mut bytes = SALE.as_bytes().to_vec();
        bytes[at] = byte;

        if let Ok(event) = InventoryEvent::parse(&bytes) {
            prop_assert!((-1_000_000_000..0).contains(&delta(event)));
        }
    }
}
