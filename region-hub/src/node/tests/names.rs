//! What copies are called, and that a region is called something else while records flow.

use headland_event::{GroupName, Offset, PartitionIndex, TopicName};
use headland_replication::groups::Change;

use super::hub::{CONFIG, Hub};
use super::remote::{Remote, record};
use crate::groups::{OffsetsRequest, Place};
use crate::node::StartError;
use crate::peer_link::LinkId;

/// The configuration of region `eu` whose peer `us` has these settings besides.
fn config(more: &str) -> String {
    CONFIG.replace("address = \"none:1\"", &format!("address = \"none:1\"\n{more}"))
}

fn called(alias: &str) -> String {
    config(&format!("alias = \"{alias}\""))
}

fn topic(name: &str) -> TopicName {
    TopicName::new(name).unwrap()
}

/// Region `us` offers `orders` with so many records, whatever it has offered before.
fn offer(hub: &mut Hub, link_id: u64, records: usize) -> Remote {
    let mut us = Remote::hub(hub, link_id, "us");
    let channel = us.offer(hub, "orders");
    for _ in 0..records {
        us.mirror(hub, channel, &[record("us-1-a", "{}")]);
    }
    us
}

/// The log that a name finds, with its other names and its records.
fn found(hub: &Hub, name: &str) -> Option<(String, Vec<String>, usize)> {
    let known = hub.node.topics().resolve(&topic(name))?;
    let also = known.also.iter().map(ToString::to_string).collect();
    Some((known.name.to_string(), also, hub.entries(known.name.as_str()).len()))
}

/// The name of the log of a copy of `us`.
fn topic_of(name: &str) -> TopicName {
    topic(&format!("america.{name}"))
}

fn copies(hub: &Hub) -> Vec<String> {
    let copies = hub.node.topics().iter().filter(|topic| !topic.is_local());
    copies.map(|topic| topic.name.to_string()).collect()
}

#[test]
fn a_renamed_region_goes_on_in_the_log_that_it_has_and_every_name_finds_that() {
    let mut hub = Hub::configured(&called("america"));
    let former = offer(&mut hub, 1, 2);
    let before = found(&hub, "america.orders");

    hub.restart(&called("amer.ica"));
    // The new name answers before the region is met.
    let unmet = found(&hub, "amer.ica.orders");
    let mut us = Remote::hub(&mut hub, 2, "us");
    us.take_log_of(former);
    let channel = us.offer(&mut hub, "orders");
    us.mirror(&mut hub, channel, &[record("us-1-a", "{}")]);
    let payments = us.offer(&mut hub, "payments");
    us.mirror(&mut hub, payments, &[record("us-1-a", "{}")]);
    hub.restart(&called("america"));

    let log = "america.orders".to_owned();
    assert_eq!(before, Some((log.clone(), Vec::new(), 2)));
    assert_eq!(unmet, Some((log.clone(), vec!["amer.ica.orders".to_owned()], 2)));
    let after = Some((log.clone(), vec!["amer.ica.orders".to_owned()], 3));
    assert_eq!(found(&hub, "amer.ica.orders"), after);
    assert_eq!(found(&hub, "america.orders"), after, "as before, called so again");
    assert_eq!(copies(&hub), ["amer.ica.payments".to_owned(), log]);
}

#[test]
fn a_group_goes_on_at_its_offset_by_any_name_of_a_renamed_region() {
    let mut hub = Hub::configured(CONFIG);
    let former = offer(&mut hub, 1, 3);
    let group = GroupName::new("billing").unwrap();
    let commit = |hub: &mut Hub, name: &str, offset: u64| {
        let partition = PartitionIndex::new(0);
        let place = Place { topic: topic(name), partition, offset: Offset::new(offset) };
        let request = OffsetsRequest { change: Change::Commit, positions: vec![place] };
        hub.node.on_group(hub.now, &group, &request).unwrap();
        hub.settle();
    };
    commit(&mut hub, "us.orders", 1);

    hub.restart(&called("america"));
    let mut us = Remote::hub(&mut hub, 2, "us");
    us.take_log_of(former);
    us.offer(&mut hub, "orders");
    let reading = |hub: &Hub, name: &str| {
        let places = hub.node.reading(&group, name).unwrap().into_iter();
        places.map(|place| format!("{} from {}", place.at, place.from)).collect::<Vec<_>>()
    };
    let first = ["us.orders", "america.orders", "orders@*"].map(|name| reading(&hub, name));
    commit(&mut hub, "america.orders", 2);
    let second = reading(&hub, "us.orders");

    assert_eq!(first, [["us.orders/0 from 1"]; 3].map(|one| one.map(String::from).to_vec()));
    assert_eq!(second, ["us.orders/0 from 2"]);
}

#[test]
fn a_topic_of_this_hub_keeps_the_name_that_a_copy_would_be_found_by() {
    let own = "[[topic]]\nname = \"america.orders\"\n";
    let mut hub = Hub::configured(CONFIG);
    offer(&mut hub, 1, 1);

    hub.restart(&(called("america") + own));

    assert!(hub.node.topics().resolve(&topic("america.orders")).unwrap().is_local());
    let log = ("us.orders".to_owned(), vec!["america.orders-2".to_owned()], 1);
    assert_eq!(found(&hub, "america.orders-2"), Some(log));
}

#[test]
fn a_topic_that_is_declared_later_takes_its_name_from_a_copy_that_was_found_by_it() {
    let mut hub = Hub::configured(CONFIG);
    offer(&mut hub, 1, 1);
    hub.restart(&called("america"));
    let before = found(&hub, "america.orders").unwrap().0;

    hub.restart(&(called("america") + "[[topic]]\nname = \"america.orders\"\n"));

    assert_eq!(before, "us.orders");
    assert!(hub.node.topics().resolve(&topic("america.orders")).unwrap().is_local());
    let also = vec!["america.orders-2".to_owned()];
    assert_eq!(found(&hub, "us.orders"), Some(("us.orders".to_owned(), also, 1)));
}

#[test]
fn under_the_identity_policy_a_topic_is_found_by_its_name_unless_that_is_of_this_hub() {
    let mut hub = Hub::configured(&config("names = \"identity\"\nalias = \"america\""));
    let mut us = offer(&mut hub, 1, 1);
    for name in ["alerts", "_groups", "inventory.events", "inventory.events.late"] {
        us.offer(&mut hub, name);
    }

    let prefixed = ["_groups", "alerts", "inventory.events", "inventory.events.late"];
    let mut names: Vec<String> = prefixed.map(|name| format!("america.{name}")).to_vec();
    names.push("america.orders".to_owned());
    assert_eq!(copies(&hub), names);
    let orders = ("america.orders".to_owned(), vec!["orders".to_owned()], 1);
    assert_eq!(found(&hub, "orders"), Some(orders));
    let of_hubs = hub.node.topics().iter().filter(|topic| topic.name != topic_of("orders"));
    assert!(of_hubs.filter(|topic| !topic.is_local()).all(|topic| topic.also.is_empty()));
}

#[test]
fn a_copy_that_is_called_as_at_its_origin_later_is_found_by_both_names() {
    let mut hub = Hub::configured(CONFIG);
    offer(&mut hub, 1, 2);

    hub.restart(&config("names = \"identity\""));

    let log = Some(("us.orders".to_owned(), vec!["orders".to_owned()], 2));
    assert_eq!([found(&hub, "orders"), found(&hub, "us.orders")], [log.clone(), log]);
}

#[test]
fn a_topic_is_declared_for_agents_that_come_over_though_a_copy_was_found_by_its_name() {
    let mut hub = Hub::configured(&config("names = \"identity\""));
    offer(&mut hub, 1, 1);
    let before = found(&hub, "orders").unwrap().0;

    hub.restart(&(config("names = \"identity\"") + "[[topic]]\nname = \"orders\"\n"));
    offer(&mut hub, 2, 1);

    assert_eq!(before, "us.orders");
    assert!(hub.node.topics().resolve(&topic("orders")).unwrap().is_local());
    assert_eq!(found(&hub, "us.orders"), Some(("us.orders".to_owned(), Vec::new(), 1)));
    assert_eq!(copies(&hub), ["us.orders"]);
}

#[test]
fn a_topic_is_not_declared_by_the_name_of_a_copys_log() {
    let mut hub = Hub::configured(CONFIG);
    offer(&mut hub, 1, 1);

    let declared = CONFIG.to_owned() + "[[topic]]\nname = \"us.orders\"\n";
    let refused = Hub::start(&hub.disk().clone(), &declared, hub.now).err().unwrap();

    assert!(matches!(refused, StartError::Recovery(_)), "{refused:?}");
}

#[test]
fn a_filter_takes_a_copy_by_any_of_its_names() {
    let chain = |alias: &str, filter: &str| {
        let ap = "[[peer]]\nregion = \"ap\"\nname = \"hub-1\"\nforward = true\n";
        called(alias) + ap + filter + "\n"
    };
    let mut hub = Hub::configured(&chain("us-1", "topics = [\"us-1.*\"]"));
    offer(&mut hub, 1, 1);
    let offers = |hub: &mut Hub, link_id: u64, filter: &str| {
        hub.restart(&chain("america", filter));
        let ap = Remote::hub(hub, link_id, "ap");
        let named = ap.said.iter().filter_map(|said| match said {
            headland_replication::LinkOutput::Announced(known) => {
                Some(known.offer.source.topic.to_string())
            }
            _ => None,
        });
        named.filter(|name| name.ends_with("orders")).collect::<Vec<_>>()
    };

    let by_old = offers(&mut hub, 2, "topics = [\"us-1.*\"]");
    let by_new = offers(&mut hub, 3, "topics = [\"america.*\"]");
    let excluded = offers(&mut hub, 4, "exclude = [\"america.*\"]");

    assert_eq!([by_old, by_new], [["us-1.orders"]; 2].map(|one| one.map(String::from).to_vec()));
    assert_eq!(excluded, Vec::<String>::new());
}

#[test]
fn a_chain_over_a_hub_that_renames_goes_on_in_the_same_logs() {
    let names = |region: &str, peer: &str, more: &str| {
        let text = CONFIG.replacen("region = \"eu\"", &format!("region = \"{region}\""), 1);
        let peer = format!("[[peer]]\nregion = \"{peer}\"");
        text.replace("[[peer]]\nregion = \"us\"", &peer) + more
    };
    let downstream = "[[peer]]\nregion = \"ap\"\nname = \"hub-1\"\nforward = true\n";
    let mut eu = Hub::configured(&(CONFIG.to_owned() + downstream));
    let mut ap = Hub::configured(&names("ap", "eu", ""));
    let former = offer(&mut eu, 1, 1);
    let meet = |eu: &mut Hub, ap: &mut Hub, link_id| {
        eu.meet(ap, LinkId::new(link_id));
        eu.talk_to(ap, LinkId::new(link_id));
    };
    meet(&mut eu, &mut ap, 2);
    let before = found(&ap, "eu.us.orders");

    eu.restart(&(called("america") + downstream));
    let name = "address = \"none:1\"";
    ap.restart(&names("ap", "eu", "").replace(name, "alias = \"europe\""));
    let mut us = Remote::hub(&mut eu, 3, "us");
    us.take_log_of(former);
    let channel = us.offer(&mut eu, "orders");
    us.mirror(&mut eu, channel, &[record("us-1-a", "{}")]);
    meet(&mut eu, &mut ap, 4);

    assert_eq!(before, Some(("eu.us.orders".to_owned(), Vec::new(), 1)));
    let also = vec!["europe.us.orders".to_owned()];
    assert_eq!(found(&ap, "eu.us.orders"), Some(("eu.us.orders".to_owned(), also, 2)));
    let orders = copies(&ap).into_iter().filter(|name| name.ends_with("orders"));
    assert_eq!(orders.collect::<Vec<_>>(), ["eu.us.orders"]);
}
