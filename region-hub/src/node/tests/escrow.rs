//! Reservations: durable before they are granted, and never more than there are, cut or not.

use headland_event::TopicName;
use headland_reconcile::escrow::{Answer, Closing};
use headland_reconcile::{RequestId, Sku, Units};

use super::damage::damage;
use super::hub::{CONFIG, Hub};
use crate::escrow::{CloseRequest, ReserveRequest, Reserved, UnitsRequest};
use crate::node::EscrowError;
use crate::peer_link::LinkId;

const LINK: LinkId = LinkId::new(9);

/// The configuration of the hub of `eu`.
fn with_escrow() -> String {
    format!("{CONFIG}\n[escrow]\nfloor = 1\n")
}

/// The configuration of the hub of `us`, whose peer is `eu`.
fn of_us() -> String {
    let turned = with_escrow().replace("region = \"us\"", "region = \"-\"");
    turned
        .replace("region = \"eu\"", "region = \"us\"")
        .replace("region = \"-\"", "region = \"eu\"")
}

fn hubs() -> (Hub, Hub) {
    (Hub::configured(&with_escrow()), Hub::configured(&of_us()))
}

fn sku() -> Sku {
    Sku::new("85123A").unwrap()
}

fn units(units: i64) -> Units {
    Units::new(units).unwrap()
}

fn of(name: &str, wanted: i64) -> UnitsRequest {
    UnitsRequest { request: RequestId::new(name).unwrap(), sku: sku(), units: units(wanted) }
}

fn asked(name: &str, wanted: i64) -> ReserveRequest {
    ReserveRequest { request: RequestId::new(name).unwrap(), sku: sku(), units: units(wanted) }
}

/// Asks, and lets the hub make durable what it wants to.
fn reserve(hub: &mut Hub, name: &str, wanted: i64) -> Reserved {
    let reserved = hub.node.on_reserve(hub.now, &asked(name, wanted)).unwrap();
    hub.settle();
    reserved
}

fn here(hub: &Hub) -> i64 {
    hub.node.rights_of(&sku()).unwrap().here
}

/// Lets time pass and two hubs hear each other.
fn hear(one: &mut Hub, other: &mut Hub) {
    for _ in 0..4 {
        one.advance(1_000);
        other.advance(1_000);
        one.talk_to(other, LINK);
    }
}

/// How many customers a hub grants one unit each, of those named.
fn sell(hub: &mut Hub, prefix: &str, customers: usize) -> usize {
    let names = (0..customers).map(|number| format!("{prefix}{number}"));
    names.filter(|name| matches!(reserve(hub, name, 1), Reserved::UnderWay(_))).count()
}

#[test]
fn a_hub_without_rights_takes_no_reservation_and_names_the_section_to_add() {
    let mut hub = Hub::new();

    let error = hub.node.on_reserve(hub.now, &asked("a", 1)).unwrap_err();

    assert_eq!(error, EscrowError::NotConfigured);
    assert!(error.to_string().contains("[escrow]"), "{error}");
}

#[test]
fn a_reservation_takes_one_commit_and_survives_a_crash() {
    let mut hub = Hub::configured(&with_escrow());
    hub.node.on_offered(hub.now, &of("offer", 5)).unwrap();
    hub.settle();
    let before = hub.commits();

    let first = hub.node.on_reserve(hub.now, &asked("a", 2)).unwrap();
    let repeated = hub.node.on_reserve(hub.now, &asked("a", 2)).unwrap();
    hub.settle();

    assert_eq!((hub.commits() - before, &first), (1, &repeated));
    let Reserved::UnderWay(at) = first else { panic!("{first:?}") };
    assert_eq!(hub.texts("inventory.escrow").len() as u64, at.get() + 1);
    hub.restart(&with_escrow());
    assert_eq!(here(&hub), 3);
    assert_eq!(reserve(&mut hub, "a", 2), Reserved::Answered(Answer::Granted));
    assert_eq!(here(&hub), 3);
}

#[test]
fn an_offer_asked_for_again_counts_once_even_after_a_crash() {
    let mut hub = Hub::configured(&with_escrow());
    let first = hub.node.on_offered(hub.now, &of("offer", 5)).unwrap();
    let repeated = hub.node.on_offered(hub.now, &of("offer", 5)).unwrap();
    hub.settle();
    hub.restart(&with_escrow());

    let again = hub.node.on_offered(hub.now, &of("offer", 5)).unwrap();
    let taken = hub.node.on_missing(hub.now, &of("offer", 5)).unwrap_err();
    hub.settle();

    assert_eq!((first, again), (repeated, repeated));
    assert_eq!(here(&hub), 5);
    let text = "the request is an offer of 5 units already; use another name";
    assert_eq!(taken.to_string(), text);
}

#[test]
fn a_reservation_under_way_is_granted_with_no_other_number_of_units() {
    let mut hub = Hub::configured(&with_escrow());
    hub.node.on_offered(hub.now, &of("offer", 9)).unwrap();
    hub.settle();
    let _under_way = hub.node.on_reserve(hub.now, &asked("a", 2)).unwrap();

    let other = hub.node.on_reserve(hub.now, &asked("a", 5)).unwrap();
    hub.settle();

    assert_eq!(other, Reserved::Answered(Answer::OtherUnits { promised: units(2) }));
    assert_eq!(here(&hub), 7);
}

#[test]
fn a_reservation_that_is_being_released_is_not_sold() {
    let mut hub = Hub::configured(&with_escrow());
    hub.node.on_offered(hub.now, &of("offer", 5)).unwrap();
    hub.settle();
    let _granted = reserve(&mut hub, "a", 2);
    let close =
        |outcome| CloseRequest { request: RequestId::new("a").unwrap(), sku: sku(), outcome };
    hub.node.on_reservation_closed(hub.now, &close(Closing::Released)).unwrap();

    let error = hub.node.on_reservation_closed(hub.now, &close(Closing::Sold)).unwrap_err();

    let text = "reservation a of sku 85123A is being released already";
    assert_eq!(error.to_string(), text);
}

#[test]
fn a_reservation_that_was_not_durable_in_a_crash_was_not_made() {
    let mut hub = Hub::configured(&with_escrow());
    hub.node.on_offered(hub.now, &of("offer", 5)).unwrap();
    hub.settle();

    let _under_way = hub.node.on_reserve(hub.now, &asked("a", 2)).unwrap();
    hub.restart(&with_escrow());

    assert_eq!(here(&hub), 5);
}

#[test]
fn what_is_released_is_free_again_and_what_is_not_open_is_refused() {
    let mut hub = Hub::configured(&with_escrow());
    hub.node.on_offered(hub.now, &of("offer", 5)).unwrap();
    hub.settle();
    let _granted = reserve(&mut hub, "a", 2);
    let (request, outcome) = (RequestId::new("a").unwrap(), Closing::Released);
    let close = CloseRequest { request, sku: sku(), outcome };

    hub.node.on_reservation_closed(hub.now, &close).unwrap();
    hub.settle();

    assert_eq!(here(&hub), 5);
    hub.node.on_reservation_closed(hub.now, &close).unwrap();
    hub.settle();
    assert_eq!(here(&hub), 5, "it ended once");
    let otherwise = CloseRequest { outcome: Closing::Sold, ..close.clone() };
    let error = hub.node.on_reservation_closed(hub.now, &otherwise).unwrap_err();
    assert_eq!(error.to_string(), "reservation a of sku 85123A was released already");
    let again = hub.node.on_reserve(hub.now, &asked("a", 2)).unwrap();
    assert_eq!(again, Reserved::Answered(Answer::Closed { outcome: Closing::Released }));
    let close = CloseRequest { request: RequestId::new("b").unwrap(), ..close };
    let error = hub.node.on_reservation_closed(hub.now, &close).unwrap_err();
    assert_eq!(error.to_string(), "no reservation b of sku 85123A is open here");
}

#[test]
fn rights_follow_customers_to_another_region_and_a_cut_sells_no_unit_twice() {
    let (mut eu, mut us) = hubs();
    eu.node.on_offered(eu.now, &of("offer", 10)).unwrap();
    eu.meet(&mut us, LINK);
    hear(&mut eu, &mut us);
    let refused = reserve(&mut us, "first", 4);
    assert_eq!(refused, Reserved::Answered(Answer::NotHere { here: 0, elsewhere: 10 }));
    hear(&mut eu, &mut us);
    assert_eq!((here(&eu), here(&us)), (6, 4));

    eu.node.on_disconnected(eu.now, LINK);
    us.node.on_disconnected(us.now, LINK);
    let (sold_in_eu, sold_in_us) = (sell(&mut eu, "eu", 20), sell(&mut us, "us", 20));

    assert_eq!((sold_in_eu, sold_in_us), (6, 4));
    us.restart(&of_us());
    assert_eq!(sell(&mut us, "again", 5), 0);
}

#[test]
fn a_recall_reaches_another_region_and_names_what_was_promised_already() {
    let (mut eu, mut us) = hubs();
    us.node.on_offered(us.now, &of("offer", 4)).unwrap();
    eu.meet(&mut us, LINK);
    hear(&mut eu, &mut us);
    assert_eq!(sell(&mut us, "us", 3), 3);

    eu.node.on_missing(eu.now, &of("missing", 3)).unwrap();
    hear(&mut eu, &mut us);

    assert_eq!(here(&us), 0);
    let alerts = TopicName::new("alerts").unwrap();
    assert_eq!(us.node.records().get(&alerts), Some(&1), "two of three were promised already");
}

#[test]
fn a_hub_whose_own_log_of_rights_is_damaged_starts_and_promises_nothing() {
    let mut hub = Hub::configured(&with_escrow());
    hub.node.on_offered(hub.now, &of("offer", 5)).unwrap();
    hub.settle();
    let _granted = reserve(&mut hub, "lost-1", 3);
    let _granted = reserve(&mut hub, "next", 1);
    damage(&hub, "lost-1");

    hub.restart(&with_escrow());
    hub.settle();

    assert_eq!(reserve(&mut hub, "b", 1), Reserved::Answered(Answer::UnknownYet));
    assert_eq!(here(&hub), 0, "what is left is of a life that is over");
}

#[test]
fn a_hub_goes_on_behind_damage_to_what_it_has_of_another_hubs_rights() {
    let (mut eu, mut us) = hubs();
    us.node.on_offered(us.now, &of("offer", 4)).unwrap();
    eu.node.on_offered(eu.now, &of("offer", 3)).unwrap();
    eu.meet(&mut us, LINK);
    hear(&mut eu, &mut us);
    let _granted = reserve(&mut us, "lost-1", 2);
    hear(&mut eu, &mut us);
    damage(&eu, "lost-1");

    eu.restart(&with_escrow());

    assert_eq!(here(&eu), 3);
    assert_eq!(sell(&mut eu, "eu", 5), 3);
}

#[test]
fn while_the_disk_is_full_nothing_is_reserved_and_the_answer_says_so() {
    let mut hub = Hub::configured(&with_escrow());
    hub.node.on_offered(hub.now, &of("offer", 5)).unwrap();
    hub.settle();
    let before = hub.commits();

    hub.node.on_full();
    let refused = hub.node.on_reserve(hub.now, &asked("a", 2)).unwrap_err();
    let offer = hub.node.on_offered(hub.now, &of("offer", 5)).unwrap_err();
    hub.settle();
    let written = hub.commits() - before;
    hub.node.on_resumed(hub.now);

    assert_eq!((&refused, &offer, written), (&EscrowError::Full, &EscrowError::Full, 0));
    assert_eq!(here(&hub), 5);
    assert!(matches!(reserve(&mut hub, "a", 2), Reserved::UnderWay(_)));
}

#[test]
fn a_log_of_rights_is_cut_and_says_the_same_after_a_restart() {
    let small = "api = { socket = \"none\" }\nstorage = { file_bytes = \"64KiB\" }";
    // Nobody has to get it first.
    let (before, after) = with_escrow()
        .split_once("[[peer]]")
        .map(|(one, other)| (one.to_owned(), other.to_owned()))
        .unwrap();
    let alone = before + "[[agent]]" + after.split_once("[[agent]]").unwrap().1;
    let config = alone.replace("api = { socket = \"none\" }", small);
    let mut hub = Hub::configured(&config);
    hub.node.on_offered(hub.now, &of("o", 4_000)).unwrap();
    hub.settle();
    // Of the first ones even the names are forgotten.
    for number in 0..2_000 {
        let name = format!("r{number}");
        assert!(matches!(reserve(&mut hub, &name, 1), Reserved::UnderWay(_)));
        if number % 500 != 0 {
            let (request, outcome) = (RequestId::new(&name).unwrap(), Closing::Sold);
            let asked = CloseRequest { request, sku: sku(), outcome };
            hub.node.on_reservation_closed(hub.now, &asked).unwrap();
            hub.settle();
        }
        hub.advance(1_000);
        hub.settle();
    }

    let values = hub.values("inventory.escrow");
    let left = values.iter().filter(|value| value.contains("\"spend\"")).count();
    hub.restart(&config);
    hub.settle();

    assert!(left < 1_400, "{left} of 2,000 promises are left");
    assert_eq!(here(&hub), 2_000);
    let again = hub.node.on_reserve(hub.now, &asked("r500", 1)).unwrap();
    assert_eq!(again, Reserved::Answered(Answer::Granted), "it is open");
    assert_eq!(here(&hub), 2_000);
}
