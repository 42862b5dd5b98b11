//! Rows of derived topics are what their schemas describe.

use headland_event::schema::SchemaDefinition;
use headland_event::{Record, TopicName};
use headland_replication::frame::{ChannelEnd, ChannelPromise};
use serde_json::{Value, json};

use super::hub::{Hub, START};
use super::remote::{Remote, record};
use crate::node::{ReviewKind, ReviewRequest};

const EVENTS: &str = "inventory.events";

/// The newest schema of each topic.
const SCHEMAS: [(&str, &str); 9] = [
    (EVENTS, include_str!("../../../../infra/schemas/inventory.events/v1.avsc")),
    ("inventory.stock", include_str!("../../../../infra/schemas/inventory.stock/v1.avsc")),
    ("inventory.oversold", include_str!("../../../../infra/schemas/inventory.oversold/v1.avsc")),
    ("inventory.postings", include_str!("../../../../infra/schemas/inventory.postings/v1.avsc")),
    ("inventory.conflicts", include_str!("../../../../infra/schemas/inventory.conflicts/v2.avsc")),
    ("inventory.late", include_str!("../../../../infra/schemas/inventory.late/v1.avsc")),
    ("inventory.overlaps", include_str!("../../../../infra/schemas/inventory.overlaps/v1.avsc")),
    (
        "inventory.duplicates",
        include_str!("../../../../infra/schemas/inventory.duplicates/v1.avsc"),
    ),
    ("inventory.rejected", include_str!("../../../../infra/schemas/inventory.rejected/v1.avsc")),
];

/// An event with some fields more.
fn event(id: &str, kind: &str, more: &Value) -> Record {
    let mut event = json!({
        "id": id, "kind": kind, "device": "eu-1-till", "sku": "85123A",
        "time": "2010-12-01T08:06:00Z",
    });
    event.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    record("eu-1-till", &event.to_string())
}

fn moved(id: &str, kind: &str) -> Record {
    event(id, kind, &json!({"location": "eu-1", "quantity": 3, "unit": "each"}))
}

fn decided(id: &str, kind: &str, late: &str) -> Record {
    let more = json!({"late": late, "reviewer": "bob", "reason": "counted", "effective": "carry"});
    event(id, kind, &more)
}

/// One event of each kind and a copy, before anything is promised.
fn punctual() -> Vec<Record> {
    let kinds = ["sale", "return", "restock", "adjustment", "transfer-out", "transfer-in"];
    let kinds = kinds.into_iter().chain(["reserve", "release", "sale"]).enumerate();
    let mut events: Vec<Record> =
        kinds.map(|(number, kind)| moved(&format!("e{number}"), kind)).collect();
    events.push(event("committed", "commit", &json!({"quantity": 1})));
    events.push(event("counted", "stocktake", &json!({"location": "eu-2", "count": 7})));
    events.push(event("labelled", "attribute", &json!({"attribute": "price", "value": "2.55"})));
    events.push(moved("e0", "sale"));
    events
}

/// A hub that has derived a row of every kind.
fn busy_hub() -> Hub {
    let mut hub = Hub::new();
    let mut agent = Remote::agent(&mut hub, 1);
    let channel = agent.offer(&mut hub, EVENTS);
    agent.publish(&mut hub, channel, &punctual());
    agent.publish(&mut hub, channel, &[moved("broken", "theft")]);
    let topic = TopicName::new(EVENTS).unwrap();
    let ends = vec![ChannelEnd { channel, end: agent.end(channel) }];
    agent.link.promise(ChannelPromise { topic, watermark: START, ends }).unwrap();
    hub.talk(&mut agent);
    hub.advance(1_000);
    hub.talk(&mut agent);
    agent.publish(&mut hub, channel, &["l1", "l2", "l3"].map(|id| moved(id, "sale")));
    for (kind, late, quantity) in
        [(ReviewKind::Amend, "l2", Some(2)), (ReviewKind::Reject, "l3", None)]
    {
        let (reviewer, reason) = ("ann".to_owned(), "offline".to_owned());
        let late = late.to_owned();
        let request = ReviewRequest { kind, late, reviewer, reason, effective: None, quantity };
        let _reviewed = hub.node.on_review(hub.now, &request).unwrap();
        hub.settle();
    }
    // Another region's hub had seen nothing of all that.
    let mut us = Remote::hub(&mut hub, 2, "us");
    let channel = us.offer(&mut hub, EVENTS);
    let beside = event("beside", "sale", &json!({"location": "eu-2", "quantity": 2}));
    let counted = event("us-counted", "stocktake", &json!({"location": "eu-2", "count": 9}));
    let price = json!({"attribute": "price", "value": "2.95"});
    let labelled = event("us-labelled", "attribute", &price);
    let decided = decided("us-decided", "approve", "l3");
    us.mirror(&mut hub, channel, &[beside, counted, labelled, decided]);
    hub
}

/// The rows of a topic, without those that take a key away.
fn rows(hub: &Hub, topic: &str) -> Vec<Value> {
    let values = hub.records(topic).into_iter().filter_map(|record| record.value);
    values.map(|value| serde_json::from_slice(&value).unwrap()).collect()
}

#[test]
fn every_row_that_a_hub_derives_is_what_the_schema_of_its_topic_describes() {
    let hub = busy_hub();

    for (topic, text) in SCHEMAS {
        let schema = SchemaDefinition::parse(text).unwrap();
        let rows = rows(&hub, topic);
        assert!(!rows.is_empty(), "{topic}");
        for row in rows.iter().filter(|row| row["id"] != "broken") {
            assert_eq!(schema.check(row), Ok(()), "{topic}: {row}");
        }
    }
    let kinds = |topic, field: &str| {
        let rows = rows(&hub, topic);
        rows.iter().filter_map(|row| Some(row.pointer(field)?.as_str()?.to_owned())).collect()
    };
    let conflicts: std::collections::BTreeSet<String> = kinds("inventory.conflicts", "/kind");
    assert_eq!(Vec::from_iter(conflicts), ["attribute", "review", "stocktake"]);
    let reviews: std::collections::BTreeSet<String> = kinds("inventory.late", "/review/status");
    assert_eq!(Vec::from_iter(reviews), ["amended", "disputed", "rejected"]);
}

#[test]
fn an_event_that_is_rejected_is_not_what_the_schema_describes() {
    let schema = SchemaDefinition::parse(SCHEMAS[0].1).unwrap();
    let theft = serde_json::from_slice(&moved("x", "theft").value.unwrap()).unwrap();

    let misfit = schema.check(&theft).unwrap_err().to_string();

    assert!(misfit.contains("value.kind is \"theft\", expected one of \"sale\""), "{misfit}");
}
