//! Parts of logs that come before an earlier part: what they wait for, and that nothing stands
//! still meanwhile.

use headland_event::{
    Actor, ChannelId, DropPolicy, Entry, Incarnation, Offset, PartitionIndex, Record, RegionId,
    Stamp, TopicName, VectorClock,
};
use headland_reconcile::{Holder, MemberRecord, MemberReport, MemberStanding, OtherLogs};
use headland_replication::frame::Goodbye;
use headland_replication::{CloseReason, route};
use headland_storage::MemoryDisk;

use super::handing::{at_start, config};
use super::hub::Hub;
use super::members::{excluded_at, request};
use super::remote::{LIFE, Remote, record, stamp_of};
use crate::members::RegionAction;
use crate::peer_link::LinkId;

const ESCROW: &str = "inventory.escrow";
const APART: &str = "handed-on.us.inventory.escrow";

/// A hub that has waited long enough for the others to tell it who takes part.
fn hub() -> Hub {
    hub_of(&["ap", "sa", "us"])
}

fn hub_of(peers: &[&str]) -> Hub {
    let text = config("eu", peers, "*");
    let mut eu = Hub::start_as(6, &MemoryDisk::new(6), &text, at_start()).unwrap();
    eu.settle();
    eu.advance(11_000);
    eu.settle();
    eu
}

fn region(name: &str) -> RegionId {
    RegionId::new(name).unwrap()
}

/// A stamp of a lost life of `us`.
fn stamp(offset: u64) -> Option<Stamp> {
    stamp_of_life(3, offset)
}

fn stamp_of_life(counter: u32, offset: u64) -> Option<Stamp> {
    Some(stamp_of(("us", Incarnation::new(counter, 4)), Offset::new(offset)))
}

fn offered(request: u64) -> [Record; 1] {
    let act = format!(r#""act":"create","request":"o{request}","units":10"#);
    [record("85123A", &format!(r#"{{"sku":"85123A",{act}}}"#))]
}

/// Announces the log of `us` as a copy that came over this peer.
fn copy(peer: &mut Remote, name: &str) -> ChannelId {
    peer.announce(ESCROW, (region("us"), vec![region("us"), region(name)]))
}

/// Announces what was handed on to this peer.
fn apart(peer: &mut Remote, name: &str) -> ChannelId {
    peer.announce(ESCROW, (region("us"), route::handed_on_path(&region("us"), &region(name))))
}

/// The copy of the log of `us` that came over `ap`.
fn copied(hub: &Hub) -> Vec<u64> {
    let mut copies = hub.node.topics().iter().filter(|of| of.origin == region("us"));
    let copy = copies.find(|of| of.origin_name.as_str() == ESCROW && !of.is_apart());
    offsets(hub, copy.unwrap().name.as_str())
}

/// Offsets in their log of what is in a topic.
fn offsets(hub: &Hub, topic: &str) -> Vec<u64> {
    let offset = |entry: &Entry| entry.stamp.as_ref().unwrap().offset.get();
    hub.entries(topic).iter().map(offset).collect()
}

/// A peer says that the log of the lost life goes on for it to an offset.
fn say(hub: &mut Hub, peer: &mut Remote, name: &str, end: u64) {
    let life = Holder { region: region(name), incarnation: LIFE };
    let mut others = OtherLogs::new();
    others.advance(&TopicName::new(ESCROW).unwrap(), &actor(), Offset::new(end));
    let others = Some(others);
    let report = MemberReport { others, ..MemberReport::new(life, VectorClock::new()) };
    let channel = peer.offer(hub, "_members");
    let said = String::from_utf8(MemberRecord::Report(report).to_json()).unwrap();
    peer.mirror(hub, channel, &[record("said", &said)]);
}

fn actor() -> Actor {
    let (region, partition) = (region("us"), PartitionIndex::new(0));
    Actor { region, incarnation: Incarnation::new(3, 4), partition }
}

fn end(hub: &Hub) -> u64 {
    hub.node.others_here().end(&TopicName::new(ESCROW).unwrap(), &actor()).get()
}

/// Lets time pass, and what flows flow.
fn pass(hub: &mut Hub, peers: &mut [&mut Remote]) {
    look(hub, peers, 6);
}

/// Lets so many seconds pass; peers give signs of life.
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

/// Connections that the hub has made anew.
fn closed(hub: &Hub) -> Vec<LinkId> {
    let anew = |reason: &CloseReason| *reason == CloseReason::Here(Goodbye::Reconfigured);
    hub.closed.iter().filter(|(_, reason)| anew(reason)).map(|(of, _)| *of).collect()
}

/// The hub of `sa` brings the third record of a log over a connection.
fn third(hub: &mut Hub, link_id: u64) -> Remote {
    third_of(hub, link_id, "sa")
}

fn third_of(hub: &mut Hub, link_id: u64, name: &str) -> Remote {
    let mut peer = Remote::hub(hub, link_id, name);
    peer.write(ChannelId::new(0), &offered(3), stamp(2));
    assert_eq!(apart(&mut peer, name), ChannelId::new(0));
    hub.talk(&mut peer);
    peer
}

/// The hub of `ap` has the first two records, and sends the first `sent` of them.
fn first_two(hub: &mut Hub, link_id: u64, sent: u64) -> Remote {
    let mut ap = Remote::hub(hub, link_id, "ap");
    let channel = ChannelId::new(0);
    (0..2).for_each(|offset| ap.write(channel, &offered(offset + 1), stamp(offset)));
    assert_eq!(copy(&mut ap, "ap"), channel);
    (sent..2).for_each(|_| ap.withhold_last(channel));
    hub.talk(&mut ap);
    ap
}

#[test]
fn a_cut_ends_no_wait_for_what_the_other_hub_was_bringing() {
    let mut eu = hub();
    let ap = first_two(&mut eu, 1, 1);
    let mut sa = third(&mut eu, 2);
    let at_once = end(&eu);
    eu.node.on_disconnected(eu.now, ap.link_id);
    pass(&mut eu, &mut [&mut sa]);
    let while_cut = (end(&eu), closed(&eu));

    let mut ap = first_two(&mut eu, 3, 2);
    pass(&mut eu, &mut [&mut ap, &mut sa]);
    let asked = closed(&eu);
    let mut again = third(&mut eu, 4);
    pass(&mut eu, &mut [&mut ap, &mut again]);

    assert_eq!((at_once, while_cut), (1, (1, vec![])));
    assert_eq!(asked, [LinkId::new(2)], "it was put off, and is asked for once");
    assert_eq!(copied(&eu), [0, 1]);
    assert_eq!(offsets(&eu, APART), [2]);
    assert_eq!((end(&eu), closed(&eu).len()), (3, 1));
}

#[test]
fn what_is_put_off_is_acknowledged_once_it_is_here_to_who_reads_that_and_takes_no_window() {
    let mut eu = hub();
    let ap = first_two(&mut eu, 1, 1);
    let mut sa = Remote::hub(&mut eu, 2, "sa");
    let region_sa = region("sa");
    let word = sa.announce("_passed", (region_sa.clone(), vec![region_sa]));
    let channel = ChannelId::new(word.get() + 1);
    sa.write(channel, &offered(3), stamp(2));
    assert_eq!(apart(&mut sa, "sa"), channel);
    let acked = |sa: &Remote| {
        let mut offers = sa.link.offers();
        let of = offers.find(|of| of.channel == channel).unwrap();
        (of.acked.unwrap().get(), of.in_flight_bytes.get())
    };
    eu.talk(&mut sa);
    eu.node.on_disconnected(eu.now, ap.link_id);
    pass(&mut eu, &mut [&mut sa]);
    let (put_off, here) = (acked(&sa), end(&eu));

    // Who was bringing the rest has that as well by now.
    let mut ap = first_two(&mut eu, 3, 2);
    let rest = apart(&mut ap, "ap");
    ap.publish_stamped(&mut eu, rest, &offered(3), stamp(2));
    pass(&mut eu, &mut [&mut ap, &mut sa]);

    assert_eq!((put_off, here), ((0, 0), 1));
    assert_eq!((end(&eu), closed(&eu)), (3, vec![]));
    assert_eq!(acked(&sa), (1, 0), "what came from another one is here");
}

#[test]
fn what_a_hub_that_is_away_has_said_that_it_has_is_waited_for_over_a_restart() {
    let mut eu = hub();
    let mut ap = Remote::hub(&mut eu, 1, "ap");
    say(&mut eu, &mut ap, "ap", 2);
    eu.node.on_disconnected(eu.now, ap.link_id);
    let mut sa = third(&mut eu, 2);
    pass(&mut eu, &mut [&mut sa]);
    let while_away = end(&eu);
    eu.restart(&config("eu", &["ap", "sa", "us"], "*"));
    let mut sa = third(&mut eu, 3);
    pass(&mut eu, &mut [&mut sa]);
    let after_restart = end(&eu);

    let mut ap = first_two(&mut eu, 4, 2);
    pass(&mut eu, &mut [&mut ap, &mut sa]);
    let asked = closed(&eu);
    let mut sa = third(&mut eu, 5);
    pass(&mut eu, &mut [&mut ap, &mut sa]);

    assert_eq!((while_away, after_restart), (0, 0));
    assert_eq!(asked, [LinkId::new(3)]);
    assert_eq!((offsets(&eu, APART), end(&eu)), (vec![2], 3));
}

#[test]
fn nobody_waits_for_a_region_that_was_excluded() {
    let mut eu = hub();
    let mut ap = Remote::hub(&mut eu, 1, "ap");
    say(&mut eu, &mut ap, "ap", 2);
    eu.node.on_disconnected(eu.now, ap.link_id);
    let mut sa = third(&mut eu, 2);
    pass(&mut eu, &mut [&mut sa]);
    let before = end(&eu);

    eu.node.on_region(eu.now, &request(RegionAction::Exclude, "ap")).unwrap();
    pass(&mut eu, &mut [&mut sa]);
    let asked = closed(&eu);
    let mut sa = third(&mut eu, 3);
    pass(&mut eu, &mut [&mut sa]);

    assert_eq!((before, asked), (0, vec![LinkId::new(2)]));
    assert_eq!((offsets(&eu, APART), end(&eu)), (vec![2], 3));
}

#[test]
fn nobody_waits_for_a_linked_hub_that_says_it_has_a_part_and_has_sent_all() {
    let mut eu = hub();
    let mut sa = Remote::hub(&mut eu, 1, "sa");
    say(&mut eu, &mut sa, "sa", 9);
    let channel = apart(&mut sa, "sa");
    eu.talk(&mut sa);

    sa.publish_stamped(&mut eu, channel, &offered(3), stamp(2));

    assert_eq!((offsets(&eu, APART), end(&eu)), (vec![2], 3));
}

#[test]
fn of_two_large_parts_that_one_link_brings_in_the_wrong_order_all_comes() {
    let mut eu = hub();
    // Twice what a link may have on its way, and as much again behind that.
    let large = |number: u64| [record("85123A", &format!("{number}{}", "0".repeat(900_000)))];
    let bring = |hub: &mut Hub, link_id| {
        let mut ap = Remote::hub(hub, link_id, "ap");
        for (channel, numbers) in [(0, 40..80), (1, 0..40)] {
            numbers.for_each(|at| ap.write(ChannelId::new(channel), &large(at), stamp(at)));
        }
        let _channels = (apart(&mut ap, "ap"), copy(&mut ap, "ap"));
        hub.talk(&mut ap);
        ap
    };

    let mut ap = bring(&mut eu, 1);
    let at_once = copied(&eu).len();
    pass(&mut eu, &mut [&mut ap]);
    let asked = closed(&eu);
    let mut ap = bring(&mut eu, 2);
    pass(&mut eu, &mut [&mut ap]);

    assert_eq!((at_once, asked), (40, vec![LinkId::new(1)]));
    assert!(offsets(&eu, APART).into_iter().eq(40..80));
    assert_eq!((end(&eu), closed(&eu).len()), (80, 1));
}

/// Writes records of lives of `us` to the only channel of a peer.
fn write(peer: &mut Remote, of: [(u32, u64); 2]) {
    for (life, offset) in of {
        peer.write(ChannelId::new(0), &offered(offset), stamp_of_life(life, offset));
    }
}

#[test]
fn channels_that_wait_for_each_other_go_on_and_all_comes_in_its_order() {
    let mut eu = hub();
    // Each has a later part of the one log before the earlier part of the other.
    let (of_ap, of_sa) = ([(3, 1), (5, 0)], [(5, 1), (3, 0)]);
    let [mut ap, mut sa] = [(1, "ap"), (2, "sa")].map(|(link_id, name)| {
        let mut peer = Remote::hub(&mut eu, link_id, name);
        write(&mut peer, of_ap);
        assert_eq!(apart(&mut peer, name), ChannelId::new(0));
        (0..2).for_each(|_| peer.withhold_last(ChannelId::new(0)));
        eu.talk(&mut peer);
        peer
    });
    for (peer, of) in [(&mut ap, of_ap), (&mut sa, of_sa)] {
        write(peer, of);
        peer.publish_stamped(&mut eu, ChannelId::new(0), &offered(0), stamp_of_life(7, 0));
    }
    pass(&mut eu, &mut [&mut ap, &mut sa]);
    let asked = closed(&eu);
    let mut sa = Remote::hub(&mut eu, 3, "sa");
    write(&mut sa, of_sa);
    assert_eq!(apart(&mut sa, "sa"), ChannelId::new(0));
    pass(&mut eu, &mut [&mut ap, &mut sa]);

    let of = |life| -> Vec<u64> {
        let stamps = eu.entries(APART).into_iter().filter_map(|entry| entry.stamp);
        let of_life = stamps.filter(|of| of.actor.incarnation == Incarnation::new(life, 4));
        of_life.map(|of| of.offset.get()).collect()
    };
    assert_eq!((of(3), of(5)), (vec![0, 1], vec![0, 1]));
    assert_eq!((asked.as_slice(), closed(&eu).len()), (&[LinkId::new(2)][..], 1));
}

#[test]
fn what_was_said_of_members_waits_for_nothing_and_holds_up_no_other_log() {
    let mut eu = hub();
    let mut ap = Remote::hub(&mut eu, 1, "ap");
    say(&mut eu, &mut ap, "ap", 2);
    eu.node.on_disconnected(eu.now, ap.link_id);
    let mut sa = Remote::hub(&mut eu, 2, "sa");
    let members = ChannelId::new(0);
    sa.write_hole(members, (4, DropPolicy::Compacted), stamp(0));
    sa.write(members, &[record("key", "{}")], stamp(4));
    sa.write(members, &[record("key", "{}")], stamp(9));
    sa.write(ChannelId::new(1), &offered(3), stamp_of_life(8, 2));
    let over = || route::handed_on_path(&region("us"), &region("sa"));
    assert_eq!(sa.announce("_members", (region("us"), over())), members);
    assert_eq!(apart(&mut sa, "sa"), ChannelId::new(1));
    eu.talk(&mut sa);

    assert_eq!(offsets(&eu, "handed-on.us._members"), [4, 9]);
    assert_eq!(offsets(&eu, APART), [2], "nobody says that he has more of it");
}

#[test]
fn what_was_passed_over_of_members_counts_when_it_comes_and_is_stored_once() {
    let mut eu = hub();
    let (excluded, report) = (excluded_at(4), "{}".to_owned());
    let mut bring = |link_id, name: &str, said: &[(u64, &String)]| {
        let mut peer = Remote::hub(&mut eu, link_id, name);
        for (offset, value) in said {
            peer.write(ChannelId::new(0), &[record("key", value)], stamp(*offset));
        }
        let path = route::handed_on_path(&region("us"), &region(name));
        assert_eq!(peer.announce("_members", (region("us"), path)), ChannelId::new(0));
        eu.talk(&mut peer);
        eu.node.on_disconnected(eu.now, peer.link_id);
    };
    bring(1, "ap", &[(2, &report)]);
    bring(2, "sa", &[(0, &excluded), (1, &report)]);
    bring(3, "sa", &[(0, &excluded), (1, &report)]);

    let life = Holder { region: region("us"), incarnation: LIFE };
    let standing = eu.node.inventory.members().standing(&life);
    assert_eq!(standing, Some(MemberStanding::Excluded));
    assert_eq!(offsets(&eu, "handed-on.us._members"), [2, 0, 1]);
}

#[test]
fn a_hole_of_compaction_in_an_ordinary_copy_is_stored_once() {
    let mut eu = hub();
    let bring = |hub: &mut Hub, link_id, withheld: usize| {
        let mut us = Remote::hub(hub, link_id, "us");
        let channel = ChannelId::new(0);
        us.write(channel, &[record("key", "{}")], stamp(0));
        us.write_hole(channel, (3, DropPolicy::Compacted), stamp(1));
        us.write(channel, &[record("key", "{}")], stamp(4));
        assert_eq!(us.announce("_groups", (region("us"), vec![region("us")])), channel);
        (0..withheld).for_each(|_| us.withhold_last(channel));
        hub.talk(&mut us);
        us
    };
    let us = bring(&mut eu, 1, 1);
    let before = offsets(&eu, "us._groups");
    eu.node.on_disconnected(eu.now, us.link_id);
    let _us = bring(&mut eu, 2, 0);

    assert_eq!(before, [0, 1], "the hole is there, and the log goes on");
    assert_eq!(offsets(&eu, "us._groups"), [0, 1, 4]);
}

#[test]
fn what_a_linked_hub_gets_and_says_before_it_sends_it_comes_first() {
    let mut eu = hub();
    let mut ap = Remote::hub(&mut eu, 1, "ap");
    let channel = ChannelId::new(0);
    ap.write(channel, &offered(9), stamp_of_life(7, 0));
    assert_eq!(apart(&mut ap, "ap"), channel);
    eu.talk(&mut ap);
    say(&mut eu, &mut ap, "ap", 2);
    // All that was heard of its log of this is here.
    let mut sa = third(&mut eu, 2);
    look(&mut eu, &mut [&mut ap, &mut sa], 20);
    let before = end(&eu);

    for offset in [0, 1] {
        ap.publish_stamped(&mut eu, channel, &offered(offset + 1), stamp(offset));
    }
    pass(&mut eu, &mut [&mut ap, &mut sa]);
    let mut sa = third(&mut eu, 3);
    pass(&mut eu, &mut [&mut ap, &mut sa]);

    assert_eq!((before, closed(&eu)), (0, vec![LinkId::new(2)]));
    assert_eq!(offsets(&eu, APART), [0, 0, 1, 2]);
}

#[test]
fn what_a_hub_was_bringing_is_waited_for_that_was_cut_off_before_the_later_part_came() {
    let mut eu = hub();
    let ap = first_two(&mut eu, 1, 1);
    eu.node.on_disconnected(eu.now, ap.link_id);
    let mut sa = third(&mut eu, 2);
    pass(&mut eu, &mut [&mut sa]);
    let while_cut = end(&eu);
    // It is back and has not said yet that it brings it.
    let mut ap = Remote::hub(&mut eu, 3, "ap");
    let _other = ap.offer(&mut eu, "_promises");
    look(&mut eu, &mut [&mut ap, &mut sa], 1);
    let while_silent = end(&eu);

    let channel = copy(&mut ap, "ap");
    (0..2).for_each(|offset| ap.write(channel, &offered(offset + 1), stamp(offset)));
    ap.link.on_head(channel, ap.end(channel));
    pass(&mut eu, &mut [&mut ap, &mut sa]);
    let mut sa = third(&mut eu, 4);
    pass(&mut eu, &mut [&mut ap, &mut sa]);

    assert_eq!((while_cut, while_silent), (1, 1));
    assert_eq!((copied(&eu), offsets(&eu, APART)), (vec![0, 1], vec![2]));
    assert_eq!((end(&eu), closed(&eu)), (3, vec![LinkId::new(2)]));
}

#[test]
fn a_hub_that_is_no_peer_is_waited_for_a_while_and_named() {
    let mut eu = hub();
    let mut sa = Remote::hub(&mut eu, 1, "sa");
    say(&mut eu, &mut sa, "za", 2);
    let mut later = third(&mut eu, 4);
    look(&mut eu, &mut [&mut later], 250);
    eu.node.on_disconnected(eu.now, later.link_id);
    // A cut does not begin the wait anew.
    let mut later = third(&mut eu, 2);
    look(&mut eu, &mut [&mut later], 250);
    let (waits, named) = (end(&eu), eu.node.regions().lacking);
    look(&mut eu, &mut [&mut later], 120);
    let asked = closed(&eu);
    let mut later = third(&mut eu, 3);
    pass(&mut eu, &mut [&mut later]);

    let named: Vec<_> = named.iter().map(|of| (of.from.get(), of.until.get())).collect();
    assert_eq!((waits, named), (0, vec![(0, 2)]));
    assert_eq!(asked, [LinkId::new(2)]);
    assert_eq!((offsets(&eu, APART), end(&eu)), (vec![2], 3));
}

#[test]
fn a_linked_hub_that_says_more_and_offers_nothing_is_waited_for_a_while() {
    let mut eu = hub();
    let mut ap = Remote::hub(&mut eu, 1, "ap");
    say(&mut eu, &mut ap, "ap", 2);
    let mut later = third(&mut eu, 2);
    look(&mut eu, &mut [&mut ap, &mut later], 500);
    let waits = end(&eu);

    look(&mut eu, &mut [&mut ap, &mut later], 120);
    let asked = closed(&eu);
    let mut later = third(&mut eu, 3);
    pass(&mut eu, &mut [&mut ap, &mut later]);

    assert_eq!((waits, asked), (0, vec![LinkId::new(2)]));
    assert_eq!((offsets(&eu, APART), end(&eu)), (vec![2], 3));
}

#[test]
fn a_second_that_is_waited_counts_once_however_many_channels_wait() {
    let mut eu = hub_of(&["ap", "sa", "us", "za"]);
    let mut ap = Remote::hub(&mut eu, 1, "ap");
    say(&mut eu, &mut ap, "ap", 2);
    let [mut sa, mut za] =
        [(2, "sa"), (3, "za")].map(|(link_id, name)| third_of(&mut eu, link_id, name));

    look(&mut eu, &mut [&mut ap, &mut sa, &mut za], 500);

    assert_eq!((end(&eu), closed(&eu)), (0, vec![]));
}

#[test]
fn what_a_hub_was_bringing_itself_when_it_was_cut_off_is_no_reason_to_wait() {
    let mut eu = hub();
    let mut sa = Remote::hub(&mut eu, 1, "sa");
    sa.write(ChannelId::new(0), &offered(3), stamp(2));
    assert_eq!(apart(&mut sa, "sa"), ChannelId::new(0));
    sa.withhold_last(ChannelId::new(0));
    eu.talk(&mut sa);
    eu.node.on_disconnected(eu.now, sa.link_id);

    let _sa = third(&mut eu, 2);

    assert_eq!((offsets(&eu, APART), end(&eu)), (vec![2], 3));
}

#[test]
fn a_part_that_waits_no_more_waits_again_when_some_of_what_lies_before_it_came() {
    let mut eu = hub();
    let mut ap = Remote::hub(&mut eu, 1, "ap");
    say(&mut eu, &mut ap, "ap", 2);
    let mut sa = third(&mut eu, 2);
    look(&mut eu, &mut [&mut ap, &mut sa], 620);
    let asked = closed(&eu);
    let channel = apart(&mut ap, "ap");
    ap.publish_stamped(&mut eu, channel, &offered(1), stamp(0));

    // Before the next look.
    let _sa = third(&mut eu, 3);

    assert_eq!((asked, end(&eu)), (vec![LinkId::new(2)], 1));
}

#[test]
fn a_channel_that_opens_once_its_position_is_durable_is_waited_for_in_memory() {
    let mut eu = hub();
    let bring = |hub: &mut Hub, link_id, until: u64| {
        let (mut ap, channel) = (Remote::hub(hub, link_id, "ap"), ChannelId::new(0));
        (0..until).for_each(|offset| ap.write(channel, &offered(offset + 1), stamp(offset)));
        assert_eq!(copy(&mut ap, "ap"), channel);
        hub.talk(&mut ap);
        ap
    };
    let mut ap = bring(&mut eu, 1, 0);
    eu.hold_commits();
    ap.publish_stamped(&mut eu, ChannelId::new(0), &offered(1), stamp(0));
    eu.node.on_disconnected(eu.now, ap.link_id);

    let mut ap = bring(&mut eu, 2, 2);
    let mut sa = third(&mut eu, 3);
    eu.release_commits();
    pass(&mut eu, &mut [&mut ap, &mut sa]);

    assert_eq!((copied(&eu), offsets(&eu, APART)), (vec![0, 1], vec![2]));
    assert_eq!((end(&eu), closed(&eu)), (3, vec![]), "nothing was put off");
}
