//! What compaction left out of a log whose sender is lost before what holds instead is here.

use std::collections::BTreeMap;

use headland_event::{
    ChannelId, DropPolicy, Entry, Offset, RegionId, Stamp, TopicName, VectorClock,
};
use headland_reconcile::escrow::Closing;
use headland_reconcile::{Holder, MemberRecord, MemberReport, OtherLogs, RequestId, Sku, Units};
use headland_storage::MemoryDisk;

use super::handing::{Net, at_start, config};
use super::hub::Hub;
use super::remote::{LIFE, Remote, record};
use crate::escrow::{CloseRequest, ReserveRequest, UnitsRequest};

const ESCROW: &str = "inventory.escrow";
const APART: &str = "handed-on.us.inventory.escrow";

/// A hub that holds rights.
fn text(region: &str, peers: &[&str]) -> String {
    config(region, peers, "*") + "[escrow]\nfloor = 1\n"
}

/// The same, after it has waited for who takes part.
fn hub(nonce: u64, region: &str, peers: &[&str]) -> Hub {
    let disk = MemoryDisk::new(nonce);
    let mut hub = Hub::start_as(nonce, &disk, &text(region, peers), at_start()).unwrap();
    hub.settle();
    hub.advance(11_000);
    hub.settle();
    hub
}

fn sku() -> Sku {
    Sku::new("85123A").unwrap()
}

fn request(name: &str) -> RequestId {
    RequestId::new(name).unwrap()
}

/// What a life of `us` wrote of its rights that is lost: ten units for sale, two promises, and the
/// end of the first of these, a batch each.
fn log() -> Vec<Entry> {
    let mut us = hub(9, "us", &["ap"]);
    let units = |units| Units::new(units).unwrap();
    let offered = UnitsRequest { request: request("o"), sku: sku(), units: units(10) };
    let _at = us.node.on_offered(us.now, &offered).unwrap();
    us.settle();
    for (name, wanted) in [("b", 2), ("a", 3)] {
        let asked = ReserveRequest { request: request(name), sku: sku(), units: units(wanted) };
        let _reserved = us.node.on_reserve(us.now, &asked).unwrap();
        us.settle();
    }
    let closed = CloseRequest { request: request("b"), sku: sku(), outcome: Closing::Sold };
    let _at = us.node.on_reservation_closed(us.now, &closed).unwrap();
    us.settle();
    us.entries(ESCROW)
}

fn stamp(entry: &Entry) -> Stamp {
    entry.stamp.clone().unwrap()
}

/// Sends some of the log over the first channel of a peer.
fn send(peer: &mut Remote, entries: &[Entry]) {
    for entry in entries {
        let records = entry.batch.records().unwrap();
        peer.write(ChannelId::new(0), &records, Some(stamp(entry)));
    }
}

/// A peer has the log without the promise that ended, and sends all but that end.
fn cut(hub: &mut Hub, link_id: u64, name: &str, withheld: usize) -> Remote {
    let (mut peer, log, channel) = (Remote::hub(hub, link_id, name), log(), ChannelId::new(0));
    send(&mut peer, &log[..1]);
    peer.write_hole(channel, (1, DropPolicy::Compacted), Some(stamp(&log[1])));
    send(&mut peer, &log[2..]);
    let us: RegionId = "us".parse().unwrap();
    let path = if name == "us" { vec![us.clone()] } else { vec![us.clone(), peer_region(name)] };
    assert_eq!(peer.announce(ESCROW, (us, path)), channel);
    (0..withheld).for_each(|_| peer.withhold_last(channel));
    hub.talk(&mut peer);
    peer
}

fn peer_region(name: &str) -> RegionId {
    name.parse().unwrap()
}

/// The next life of `us` says that there was one before it, and is gone.
fn is_over(hub: &mut Hub, of_us: &mut Remote) {
    let life = Holder::of(&stamp(&log()[0]).actor);
    say(hub, of_us, life, OtherLogs::new());
    look(hub, &mut [of_us], 3);
    hub.node.on_disconnected(hub.now, of_us.link_id);
}

/// A peer says how far a life has other logs.
fn say(hub: &mut Hub, peer: &mut Remote, life: Holder, others: OtherLogs) {
    let channel = peer.offer(hub, "_members");
    report(hub, peer, channel, life, others);
}

fn report(hub: &mut Hub, peer: &mut Remote, at: ChannelId, life: Holder, others: OtherLogs) {
    let others = Some(others);
    let report = MemberReport { others, ..MemberReport::new(life, VectorClock::new()) };
    let said = String::from_utf8(MemberRecord::Report(report).to_json()).unwrap();
    peer.mirror(hub, at, &[record("said", &said)]);
}

/// A peer says where the log ends there, and up to where it is whole.
fn says(hub: &mut Hub, peer: &mut Remote, name: &str, (end, whole): (u64, u64)) {
    let life = Holder { region: peer_region(name), incarnation: LIFE };
    let (topic, actor) = (TopicName::new(ESCROW).unwrap(), stamp(&log()[0]).actor);
    let mut others = OtherLogs::new();
    others.raise((&topic, &actor), Offset::new(end), Offset::new(whole));
    say(hub, peer, life, others);
}

/// Where the log ends at a hub, and up to where it is whole.
fn ends(hub: &Hub) -> (u64, u64) {
    let (topic, actor) = (TopicName::new(ESCROW).unwrap(), stamp(&log()[0]).actor);
    let others = hub.node.others_here();
    (others.end(&topic, &actor).get(), others.whole(&topic, &actor).get())
}

fn offsets(hub: &Hub, topic: &str) -> Vec<u64> {
    hub.entries(topic).iter().map(|entry| stamp(entry).offset.get()).collect()
}

fn rights(hub: &Hub) -> BTreeMap<String, i64> {
    hub.node.rights_of(&sku()).unwrap().holders
}

/// What the lost life has of rights, when so much of it was read.
fn left(units: i64) -> BTreeMap<String, i64> {
    [(Holder::of(&stamp(&log()[0]).actor).to_string(), units)].into()
}

fn look(hub: &mut Hub, peers: &mut [&mut Remote], seconds: u32) {
    for _ in 0..seconds {
        hub.advance(1_000);
        for peer in peers.iter_mut() {
            hub.talk(peer);
            peer.link.on_timeout(hub.now.monotonic);
            hub.talk(peer);
        }
    }
}

#[test]
fn what_compaction_left_out_is_taken_from_others_when_its_sender_is_lost_before_what_holds() {
    let mut eu = hub(6, "eu", &["ap", "sa", "us"]);
    let mut ap = cut(&mut eu, 1, "ap", 1);
    look(&mut eu, &mut [&mut ap], 15);
    let before = (ends(&eu), rights(&eu));
    eu.node.on_disconnected(eu.now, ap.link_id);
    let mut sa = Remote::hub(&mut eu, 2, "sa");
    send(&mut sa, &log()[..3]);
    let us = peer_region("us");
    let path = headland_replication::route::handed_on_path(&us, &peer_region("sa"));

    assert_eq!(sa.announce(ESCROW, (us, path)), ChannelId::new(0));
    eu.talk(&mut sa);

    assert_eq!(before, ((3, 1), left(7)));
    assert_eq!(offsets(&eu, APART), [1], "what is here is not stored again");
    assert_eq!((ends(&eu), rights(&eu)), ((3, 3), left(5)));
    eu.restart(&text("eu", &["ap", "sa", "us"]));
    assert_eq!((ends(&eu), rights(&eu)), ((3, 3), left(5)), "a start reads the same");
    let mut ap = cut(&mut eu, 3, "ap", 0);
    look(&mut eu, &mut [&mut ap], 1);
    assert_eq!((ends(&eu), rights(&eu)), ((5, 5), left(5)), "sold is as gone as promised");
}

#[test]
fn a_promise_that_comes_behind_its_end_is_over() {
    let mut eu = hub(6, "eu", &["ap", "sa", "us"]);
    // There is more, so that it is not known whether all is here that holds instead.
    let (mut ap, log) = (Remote::hub(&mut eu, 1, "ap"), log());
    let (channel, us) = (ChannelId::new(0), peer_region("us"));
    send(&mut ap, &log[..1]);
    ap.write_hole(channel, (1, DropPolicy::Compacted), Some(stamp(&log[1])));
    send(&mut ap, &log[2..]);
    let behind = Stamp { offset: Offset::new(5), ..stamp(&log[3]) };
    ap.write(channel, &log[2].batch.records().unwrap(), Some(behind));
    let path = vec![us.clone(), peer_region("ap")];
    assert_eq!(ap.announce(ESCROW, (us.clone(), path)), channel);
    ap.withhold_last(channel);
    eu.talk(&mut ap);
    let before = (ends(&eu), rights(&eu));
    eu.node.on_disconnected(eu.now, ap.link_id);
    let mut sa = Remote::hub(&mut eu, 2, "sa");
    send(&mut sa, &log);
    let path = headland_replication::route::handed_on_path(&us, &peer_region("sa"));
    assert_eq!(sa.announce(ESCROW, (us, path)), channel);

    eu.talk(&mut sa);

    assert_eq!(before, ((5, 1), left(5)));
    assert_eq!((offsets(&eu, APART), ends(&eu), rights(&eu)), (vec![1], (5, 5), left(5)));
    eu.restart(&text("eu", &["ap", "sa", "us"]));
    assert_eq!((ends(&eu), rights(&eu)), ((5, 5), left(5)));
}

#[test]
fn what_was_left_out_is_asked_for_no_more_once_all_is_here_that_its_sender_had() {
    let mut eu = hub(6, "eu", &["ap", "sa", "us"]);
    let mut ap = cut(&mut eu, 1, "ap", 0);
    says(&mut eu, &mut ap, "ap", (5, 5));
    let at_once = ends(&eu);

    look(&mut eu, &mut [&mut ap], 3);
    let soon = ends(&eu);
    look(&mut eu, &mut [&mut ap], 10);

    // What it has may be in a copy that it offers a little later.
    assert_eq!((at_once, soon, ends(&eu)), ((5, 1), (5, 1), (5, 5)));
    let mut sa = Remote::hub(&mut eu, 2, "sa");
    send(&mut sa, &log());
    let us = peer_region("us");
    let path = headland_replication::route::handed_on_path(&us, &peer_region("sa"));
    assert_eq!(sa.announce(ESCROW, (us, path)), ChannelId::new(0));
    eu.talk(&mut sa);
    assert_eq!((eu.entries(APART).len(), rights(&eu)), (0, left(5)));
}

#[test]
fn a_hub_says_that_it_lacks_what_was_left_out_and_is_handed_it_of_a_life_that_is_over() {
    let [mut eu, mut ap] =
        [(6, "eu", ["ap", "us"]), (5, "ap", ["eu", "us"])].map(|(n, at, of)| hub(n, at, &of));
    let mut of_us = cut(&mut eu, 1, "us", 1);
    is_over(&mut eu, &mut of_us);
    let mut of_us = Remote::hub(&mut ap, 1, "us");
    send(&mut of_us, &log()[..2]);
    let us = peer_region("us");
    assert_eq!(of_us.announce(ESCROW, (us.clone(), vec![us])), ChannelId::new(0));
    ap.talk(&mut of_us);
    is_over(&mut ap, &mut of_us);
    let before = [&eu, &ap].map(|hub| (ends(hub), rights(hub)));
    let mut net = Net::new([eu, ap]);

    net.meet(0, 1);
    net.talk(40);

    assert_eq!(before, [((3, 1), left(7)), ((2, 2), left(8))]);
    for hub in &net.hubs {
        assert_eq!((ends(hub), rights(hub)), ((3, 3), left(5)));
        assert_eq!(hub.node.regions().lacking, []);
    }
    assert_eq!(offsets(&net.hubs[0], APART), [1]);
}

/// Announces what was handed on of the log, over the first channel of a peer.
fn hand_on(hub: &mut Hub, link_id: u64, name: &str, entries: &[Entry]) -> Remote {
    let mut peer = Remote::hub(hub, link_id, name);
    send(&mut peer, entries);
    let us = peer_region("us");
    let path = headland_replication::route::handed_on_path(&us, &peer_region(name));
    assert_eq!(peer.announce(ESCROW, (us, path)), ChannelId::new(0));
    hub.talk(&mut peer);
    peer
}

#[test]
fn what_was_passed_over_since_nobody_brought_it_is_taken_when_it_comes_after_all() {
    let mut eu = hub(6, "eu", &["ap", "sa", "us"]);
    let log = log();
    let _sa = hand_on(&mut eu, 1, "sa", &log[3..]);
    let before = (offsets(&eu, APART), ends(&eu), rights(&eu));
    eu.restart(&text("eu", &["ap", "sa", "us"]));

    let _ap = hand_on(&mut eu, 2, "ap", &log[..3]);

    assert_eq!(before, (vec![3], (5, 0), left(8)));
    assert_eq!((offsets(&eu, APART), ends(&eu)), (vec![3, 0, 1, 2], (5, 5)));
    assert_eq!(rights(&eu), left(5));
    eu.restart(&text("eu", &["ap", "sa", "us"]));
    assert_eq!((ends(&eu), rights(&eu)), ((5, 5), left(5)));
}

#[test]
fn nobody_waits_for_a_hub_that_has_said_that_it_lacks_the_same() {
    let mut eu = hub(6, "eu", &["ap", "sa", "us"]);
    let (log, life) = (log(), Holder { region: peer_region("ap"), incarnation: LIFE });
    let mut others = OtherLogs::new();
    let (topic, actor) = (TopicName::new(ESCROW).unwrap(), stamp(&log[0]).actor);
    others.raise((&topic, &actor), Offset::new(9), Offset::new(0));
    let mut ap = Remote::hub(&mut eu, 1, "ap");
    say(&mut eu, &mut ap, life, others);

    let mut sa = hand_on(&mut eu, 2, "sa", &log[3..]);
    look(&mut eu, &mut [&mut ap, &mut sa], 5);

    assert_eq!((offsets(&eu, APART), ends(&eu)), (vec![3], (5, 0)));
}

#[test]
fn what_a_sender_has_only_since_the_hole_came_is_not_waited_for() {
    let mut eu = hub(6, "eu", &["ap", "sa", "us"]);
    let (mut ap, log) = (cut(&mut eu, 1, "ap", 0), log());
    let behind = Stamp { offset: Offset::new(5), ..stamp(&log[3]) };
    ap.write(ChannelId::new(0), &log[2].batch.records().unwrap(), Some(behind));
    ap.link.on_head(ChannelId::new(0), ap.end(ChannelId::new(0)));
    ap.withhold_last(ChannelId::new(0));
    says(&mut eu, &mut ap, "ap", (6, 6));

    look(&mut eu, &mut [&mut ap], 15);

    assert_eq!(ends(&eu), (5, 5));
}

#[test]
fn a_hole_at_the_end_of_a_log_is_no_end_for_who_gets_it_from_a_hub_that_lacks_what_was_there() {
    let mut eu = hub(6, "eu", &["ap", "sa", "us"]);
    let (mut ap, log, channel) = (Remote::hub(&mut eu, 1, "ap"), log(), ChannelId::new(0));
    let mut others = OtherLogs::new();
    let (topic, actor) = (TopicName::new(ESCROW).unwrap(), stamp(&log[0]).actor);
    others.raise((&topic, &actor), Offset::new(2), Offset::new(1));
    let _members = ap.announce("_members", (peer_region("ap"), vec![peer_region("ap")]));
    let life = Holder { region: peer_region("ap"), incarnation: LIFE };
    report(&mut eu, &mut ap, channel, life, others);
    let copied =
        ap.announce(ESCROW, (peer_region("us"), vec![peer_region("us"), peer_region("ap")]));
    let records = log[0].batch.records().unwrap();
    ap.publish_stamped(&mut eu, copied, &records, Some(stamp(&log[0])));

    ap.leave(&mut eu, copied, (1, DropPolicy::Compacted), Some(stamp(&log[1])));
    look(&mut eu, &mut [&mut ap], 15);

    assert_eq!(ends(&eu), (2, 1));
}

#[test]
fn a_hub_that_has_said_nothing_is_not_taken_to_have_all() {
    let mut eu = hub(6, "eu", &["ap", "sa", "us"]);
    let mut ap = cut(&mut eu, 1, "ap", 0);

    look(&mut eu, &mut [&mut ap], 300);

    assert_eq!(ends(&eu), (5, 1));
}

#[test]
fn what_a_sender_has_in_what_it_hands_on_is_taken_although_its_copy_ends_in_a_hole() {
    let mut eu = hub(6, "eu", &["ap", "sa", "us"]);
    let (log, us) = (log(), peer_region("us"));
    let (apart, copied) = (ChannelId::new(1), ChannelId::new(2));
    let mut ap = Remote::hub(&mut eu, 1, "ap");
    says(&mut eu, &mut ap, "ap", (2, 2));
    ap.write(apart, &log[1].batch.records().unwrap(), Some(stamp(&log[1])));
    let path = headland_replication::route::handed_on_path(&us, &peer_region("ap"));
    assert_eq!(ap.announce(ESCROW, (us.clone(), path)), apart);
    ap.write(copied, &log[0].batch.records().unwrap(), Some(stamp(&log[0])));
    ap.write_hole(copied, (1, DropPolicy::Compacted), Some(stamp(&log[1])));

    assert_eq!(ap.announce(ESCROW, (us.clone(), vec![us, peer_region("ap")])), copied);
    eu.talk(&mut ap);
    look(&mut eu, &mut [&mut ap], 3);

    assert_eq!((offsets(&eu, APART), ends(&eu)), (vec![1], (2, 2)));
    assert_eq!(rights(&eu), left(8));
}

#[test]
fn a_hole_in_a_second_copy_brings_nothing_of_what_was_left_out_of_the_first() {
    let mut eu = hub(6, "eu", &["ap", "sa", "us"]);
    let _ap = cut(&mut eu, 1, "ap", 1);
    let (mut sa, log, us) = (Remote::hub(&mut eu, 2, "sa"), log(), peer_region("us"));
    send(&mut sa, &log[..1]);
    sa.write_hole(ChannelId::new(0), (1, DropPolicy::Compacted), Some(stamp(&log[1])));
    assert_eq!(sa.announce(ESCROW, (us.clone(), vec![us, peer_region("sa")])), ChannelId::new(0));

    eu.talk(&mut sa);

    assert_eq!(ends(&eu), (3, 1));
}

#[test]
fn what_came_late_counts_although_it_is_durable_a_while_after_it_came() {
    let mut eu = hub(6, "eu", &["ap", "sa", "us"]);
    let ap = cut(&mut eu, 1, "ap", 1);
    eu.node.on_disconnected(eu.now, ap.link_id);
    eu.hold_commits();
    let mut sa = hand_on(&mut eu, 2, "sa", &log()[..3]);
    look(&mut eu, &mut [&mut sa], 4);

    eu.release_commits();

    assert_eq!((ends(&eu), rights(&eu)), ((3, 3), left(5)));
}
