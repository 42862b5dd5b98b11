//! Decisions about late events: written once, counted once, refused with what would fit.

use headland_replication::frame::{ChannelEnd, ChannelPromise};

use super::hub::{CONFIG, Hub, START};
use super::remote::{Remote, record};
use crate::node::{ReviewError, ReviewKind, ReviewRequest};

const EVENTS: &str = "inventory.events";

/// A sale of four units.
fn sale(id: u32) -> String {
    format!(
        r#"{{"id":"eu-1/{id}","kind":"sale","device":"eu-1-till","sku":"85123A","location":"eu-1","#
    ) + r#""quantity":4,"time":"2010-12-01T08:06:00Z"}"#
}

fn request(kind: ReviewKind, late: &str) -> ReviewRequest {
    let (reviewer, reason) = ("ann".to_owned(), "the till was offline".to_owned());
    ReviewRequest { kind, late: late.to_owned(), reviewer, reason, effective: None, quantity: None }
}

/// A hub that holds the late sale `eu-1/2`, of which nothing counts yet.
fn hub_with_a_late_sale() -> Hub {
    let mut hub = Hub::new();
    let mut agent = Remote::agent(&mut hub, 1);
    let channel = agent.offer(&mut hub, EVENTS);
    agent.publish(&mut hub, channel, &[record("eu-1-till", &sale(1))]);
    let topic = headland_event::TopicName::new(EVENTS).unwrap();
    let ends = vec![ChannelEnd { channel, end: agent.end(channel) }];
    agent.link.promise(ChannelPromise { topic, watermark: START, ends }).unwrap();
    hub.talk(&mut agent);
    hub.advance(1_000);
    hub.talk(&mut agent);
    agent.publish(&mut hub, channel, &[record("eu-1-till", &sale(2))]);
    assert_eq!(hub.keys("inventory.late"), ["eu-1/2"]);
    assert_eq!(hub.keys("inventory.postings"), ["eu-1/1"]);
    hub
}

fn last(hub: &Hub, topic: &str) -> String {
    hub.texts(topic).pop().unwrap()
}

#[test]
fn an_approved_late_sale_counts_once_however_often_it_is_approved() {
    let mut hub = hub_with_a_late_sale();
    let approve = request(ReviewKind::Approve, "eu-1/2");

    let first = hub.node.on_review(hub.now, &approve).unwrap();
    let repeated = hub.node.on_review(hub.now, &approve).unwrap();
    hub.settle();
    let again = hub.node.on_review(hub.now, &approve).unwrap();
    hub.settle();

    assert_eq!(first.id, repeated.id, "the same request has the same name");
    assert_ne!(first.id, again.id, "a decision after it is another one");
    assert!(last(&hub, "inventory.stock").contains("\"units\":-8"));
    assert!(last(&hub, "inventory.late").contains("\"status\":\"approved\""));
    assert_eq!(hub.texts("inventory.duplicates").len(), 1);
    assert!(hub.keys("inventory.conflicts").is_empty());
}

#[test]
fn a_decision_survives_a_crash_once_it_is_durable() {
    let mut hub = hub_with_a_late_sale();
    let mut amend = request(ReviewKind::Amend, "eu-1/2");
    amend.quantity = Some(1);
    let _reviewed = hub.node.on_review(hub.now, &amend).unwrap();
    hub.settle();

    hub.restart(CONFIG);

    assert!(last(&hub, "inventory.stock").contains("\"units\":-5"));
    let event = hub.node.inventory().late_events().next().unwrap();
    assert!(!event.is_pending());
}

#[test]
fn what_overlaps_with_a_stocktake_is_listed_and_decided_here() {
    let mut hub = Hub::new();
    let mut agent = Remote::agent(&mut hub, 1);
    let channel = agent.offer(&mut hub, EVENTS);
    let counted = sale(1).replace("sale", "stocktake").replace("quantity", "count");
    agent.publish(&mut hub, channel, &[record("eu-1-till", &counted)]);
    agent.publish(&mut hub, channel, &[record("eu-1-till", &sale(2))]);
    let listed: Vec<String> =
        hub.node.inventory().under_review().map(|entry| entry.id().to_owned()).collect();
    assert_eq!(hub.keys("inventory.overlaps"), *listed);
    assert!(listed[0].starts_with("eu-1/1~eu@"), "{listed:?}");
    assert!(last(&hub, "inventory.stock").contains("\"units\":0"));

    let reject = request(ReviewKind::Reject, &listed[0]);
    let _reviewed = hub.node.on_review(hub.now, &reject).unwrap();
    hub.settle();

    assert!(last(&hub, "inventory.stock").contains("\"units\":4"));
    assert!(last(&hub, "inventory.overlaps").contains("\"status\":\"rejected\""));
    hub.restart(CONFIG);
    let entry = hub.node.inventory().under_review().next().unwrap();
    assert!(!entry.is_pending());
}

#[test]
fn of_an_overlap_only_fewer_units_than_it_has_are_an_amendment_and_nothing_is_carried() {
    let mut hub = Hub::new();
    let mut agent = Remote::agent(&mut hub, 1);
    let channel = agent.offer(&mut hub, EVENTS);
    let counted = sale(1).replace("sale", "stocktake").replace("quantity", "count");
    agent.publish(&mut hub, channel, &[record("eu-1-till", &counted)]);
    agent.publish(&mut hub, channel, &[record("eu-1-till", &sale(2))]);
    let id = hub.keys("inventory.overlaps").remove(0);
    let amended = |quantity| {
        let quantity = Some(quantity);
        ReviewRequest { quantity, ..request(ReviewKind::Amend, &id) }
    };
    let effective = Some("carry".to_owned());
    let carried = ReviewRequest { effective, ..request(ReviewKind::Approve, &id) };

    for quantity in [4, 5] {
        let error = hub.node.on_review(hub.now, &amended(quantity)).unwrap_err();
        assert_eq!(error, ReviewError::NotFewer { posted: 4 });
    }
    assert_eq!(hub.node.on_review(hub.now, &carried).unwrap_err(), ReviewError::Carried);
    let _reviewed = hub.node.on_review(hub.now, &amended(3)).unwrap();
    hub.settle();

    assert!(last(&hub, "inventory.stock").contains("\"units\":1"));
}

#[test]
fn what_is_not_late_cannot_be_decided() {
    let mut hub = hub_with_a_late_sale();

    for late in ["eu-1/1", "eu-1/3", "", "a~b"] {
        let error = hub.node.on_review(hub.now, &request(ReviewKind::Reject, late)).unwrap_err();

        assert_eq!(error, ReviewError::NotLate { late: late.to_owned() });
    }
}

#[test]
fn a_decision_without_what_it_needs_is_refused_with_the_field() {
    let mut hub = hub_with_a_late_sale();
    let before = hub.texts(EVENTS).len();
    let mut silent = request(ReviewKind::Approve, "eu-1/2");
    silent.reviewer = String::new();
    let mut unclear = request(ReviewKind::Approve, "eu-1/2");
    unclear.effective = Some("soon".to_owned());

    let refused = [&request(ReviewKind::Amend, "eu-1/2"), &silent, &unclear]
        .map(|request| hub.node.on_review(hub.now, request).unwrap_err().to_string());
    hub.settle();

    assert_eq!(
        refused,
        [
            "the decision cannot be written: quantity is missing",
            "the decision cannot be written: reviewer has 0 bytes, expected 1 to 256",
            "the decision cannot be written: effective is \"soon\", expected restate or carry",
        ]
    );
    assert_eq!(hub.texts(EVENTS).len(), before);
}
