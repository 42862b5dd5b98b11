//! What a hub lost, and gets back, goes to those that had not read it yet as if nothing had been.

use headland_event::Hole;

use super::damage::damage;
use super::handing::Net;
use super::refills::{AIR, again, all_go_on, missing, started, text, write};

/// The hubs of `eu`, which lost its third record of five and goes on, of `us`, which has none of
/// them, and of `ap`, which has all; none is connected.
fn hurt() -> Net {
    let regions = [("eu", ["us", "ap"]), ("us", ["eu", "ap"]), ("ap", ["eu", "us"])];
    let mut net = Net::new(regions.map(|(region, peers)| started(region, &peers)));
    net.meet(0, 2);
    write(&mut net.hubs[0], 1, 0..5);
    net.talk(5);
    assert_eq!(net.hubs[2].entries("eu.air").len(), 5);
    damage(&net.hubs[0], &text(2));
    let mut eu = again(&net.hubs[0], "eu", &["us", "ap"]);
    eu.settle();
    write(&mut eu, 2, 5..6);
    assert_eq!(missing(&eu), ["air/0 2..3 []"]);
    net.part(0, 2);
    net.replace(0, eu);
    net
}

fn holes(net: &Net, at: usize, topic: &str) -> usize {
    let entries = net.hubs[at].entries(topic);
    entries.iter().filter(|entry| Hole::of(&entry.batch).is_some()).count()
}

#[test]
fn a_peer_waits_before_what_is_lost_until_it_is_back() {
    let mut net = hurt();

    net.meet(0, 1);
    net.talk(30);
    let before = net.hubs[1].entries("eu.air").len();
    net.meet(0, 2);
    all_go_on(&mut net, 3..9);

    assert_eq!((before, missing(&net.hubs[0])), (2, vec![]));
    let expected: Vec<String> = (0..6).chain(13..19).map(text).collect();
    for (at, topic) in [(0, AIR), (1, "eu.air"), (2, "eu.air")] {
        // The next life of the log came to the third behind what that had of the former one.
        assert!(net.hubs[at].texts(topic).ends_with(&expected), "{topic} at {at}");
        assert_eq!(holes(&net, at, topic), 0);
    }
}

#[test]
fn who_may_have_it_and_does_not_come_is_waited_for_ten_minutes() {
    let mut net = hurt();

    net.meet(0, 1);
    net.talk(590);
    let before = net.hubs[1].entries("eu.air").len();
    net.talk(20);

    assert_eq!(before, 2);
    assert_eq!((net.hubs[1].entries("eu.air").len(), holes(&net, 1, "eu.air")), (6, 1));
}

#[test]
fn a_connection_that_ends_while_it_waits_is_followed_by_one_that_waits() {
    let mut net = hurt();
    net.meet(0, 1);
    net.talk(5);

    net.part(0, 1);
    net.meet(0, 1);
    net.talk(5);
    let before = net.hubs[1].entries("eu.air").len();
    net.meet(0, 2);
    all_go_on(&mut net, 3..9);

    assert_eq!((before, holes(&net, 1, "eu.air")), (2, 0));
    assert!(net.hubs[1].texts("eu.air") == net.hubs[0].texts(AIR));
}
