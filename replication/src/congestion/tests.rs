use super::*;

/// Senders that share one queue, datagram by datagram.
mod bottleneck;
/// What kernels decide by.
mod kernel;

use bottleneck::{Bottleneck, Report, Way};

const DATAGRAM: ByteCount = ByteCount::new(1_200);

fn at(ms: u64) -> Monotonic {
    Monotonic::from_millis(ms)
}

/// 40 Mbit/s, 80 ms, and a queue of 100 ms.
const WAY: Way = Way {
    rate: 5_000_000,
    round_trip: Duration::from_millis(80),
    queue: Duration::from_millis(100),
    loss_percent: 0,
    turn: Duration::ZERO,
    wake: Duration::ZERO,
};

fn ours() -> bottleneck::Controller {
    bottleneck::Controller::Ours(Box::new(Congestion::new(at(0), DATAGRAM)))
}

fn cubic() -> bottleneck::Controller {
    bottleneck::Controller::Cubic(kernel::Cubic::new(DATAGRAM.get()))
}

fn bbr() -> bottleneck::Controller {
    bottleneck::Controller::Bbr(kernel::Bbr::new(DATAGRAM.get()))
}

/// Runs one sender for `seconds` and says what arrived in the last half.
fn alone(way: Way, seconds: u64) -> Report {
    let mut bottleneck = Bottleneck::new(way, 7);
    bottleneck.join(ours());
    bottleneck.run(Duration::from_secs(seconds / 2));
    bottleneck.reset_counts();
    bottleneck.run(Duration::from_secs(seconds));
    bottleneck.report(0)
}

/// The share in percent of the first of two senders, the second of which joined after `joins`
/// milliseconds: of what arrived from the third second until the fortieth, as they found theirs.
fn share([first, second]: [bottleneck::Controller; 2], joins: u64) -> u64 {
    let way = Way { rate: 4 * WAY.rate, ..WAY };
    let mut bottleneck = Bottleneck::new(way, 3);
    bottleneck.join(first);
    bottleneck.run(Duration::from_millis(joins));
    bottleneck.join(second);
    bottleneck.run(Duration::from_secs(2));
    bottleneck.reset_counts();
    bottleneck.run(Duration::from_secs(40));
    let (first, second) = (bottleneck.report(0).delivered, bottleneck.report(1).delivered);
    first * 100 / (first + second)
}

/// Percent of what the path can deliver in `seconds / 2`.
fn percent(report: &Report, way: Way, seconds: u64) -> u64 {
    report.delivered * 100 / (way.rate * seconds.div_ceil(2))
}

#[test]
fn a_path_is_filled_with_a_short_queue() {
    let report = alone(WAY, 16);

    assert!(percent(&report, WAY, 16) >= 95, "{report:?}");
    assert!(report.longest_queue <= Duration::from_millis(45), "{report:?}");
    assert_eq!(report.lost, 0);
}

#[test]
fn the_start_overshoots_by_less_than_the_queue_holds() {
    let mut bottleneck = Bottleneck::new(WAY, 1);
    bottleneck.join(ours());

    bottleneck.run(Duration::from_secs(3));

    let report = bottleneck.report(0);
    assert_eq!(report.lost, 0, "{report:?}");
    assert!(report.delivered * 100 >= WAY.rate * 3 * 75, "{report:?}");
}

#[test]
fn acknowledgements_that_come_in_turns_cost_little() {
    for (turn, least) in [(20, 95), (40, 95), (80, 90)] {
        let way = Way { turn: Duration::from_millis(turn), rate: 4 * WAY.rate, ..WAY };

        let report = alone(way, 20);

        assert!(percent(&report, way, 20) >= least, "{turn} ms: {report:?}");
    }
}

#[test]
fn a_busy_machine_that_looks_at_its_timers_late_fills_the_path() {
    for late in [5, 10, 15] {
        let late = Duration::from_millis(late);
        let way = Way { turn: late, wake: late, rate: 10 * WAY.rate, ..WAY };

        let report = alone(way, 20);

        assert!(percent(&report, way, 20) >= 95, "{late:?}: {report:?}");
    }
}

#[test]
fn loss_of_three_percent_costs_what_is_lost_and_little_more() {
    for (loss_percent, least) in [(1, 93), (3, 90)] {
        let way = Way { loss_percent, ..WAY };

        let report = alone(way, 16);

        assert!(percent(&report, way, 16) >= least, "{loss_percent} %: {report:?}");
    }
}

#[test]
fn two_links_share_a_path_whoever_came_first() {
    for joins in [0, 2_000] {
        let share = share([ours(), ours()], joins);

        assert!((30..=70).contains(&share), "{share} % when the second came after {joins} ms");
    }
}

#[test]
fn a_link_and_a_kernel_flow_leave_each_other_a_quarter() {
    for (name, kernel) in [("cubic", cubic as fn() -> bottleneck::Controller), ("bbr", bbr)] {
        let first = [0, 2_000].map(|joins| share([ours(), kernel()], joins));
        let second = [600, 2_000].map(|joins| 100 - share([kernel(), ours()], joins));

        let all = [first, second].concat();
        eprintln!("{name} {all:?}");
        assert!(all.iter().all(|share| (25..=75).contains(share)), "{all:?} % beside {name}");
    }
}

#[test]
fn a_path_that_becomes_faster_is_found_and_a_slower_one_is_not_flooded() {
    let mut bottleneck = Bottleneck::new(WAY, 5);
    bottleneck.join(ours());
    bottleneck.run(Duration::from_secs(4));

    bottleneck.set_rate(WAY.rate * 4);
    bottleneck.run(Duration::from_secs(12));
    bottleneck.reset_counts();
    bottleneck.run(Duration::from_secs(16));
    let faster = bottleneck.report(0);
    bottleneck.set_rate(WAY.rate / 4);
    bottleneck.run(Duration::from_secs(24));
    bottleneck.reset_counts();
    bottleneck.run(Duration::from_secs(30));
    let slower = bottleneck.report(0);

    assert!(faster.delivered * 100 >= WAY.rate * 4 * 4 * 90, "{faster:?}");
    assert!(slower.delivered * 100 >= WAY.rate / 4 * 6 * 85, "{slower:?}");
    assert!(slower.lost * 10 <= slower.delivered, "{slower:?}");
}

#[test]
fn after_a_long_silence_it_starts_with_a_quarter_of_what_the_path_held() {
    let mut bottleneck = Bottleneck::new(WAY, 5);
    bottleneck.join(ours());
    bottleneck.run(Duration::from_secs(4));
    let mut congestion = bottleneck.ours(0).clone();
    let held = congestion.path_bytes();

    congestion.on_lost(at(9_000), ByteCount::new(100_000), Loss::Persistent);

    assert_eq!(congestion.window().get(), held.get() / 4);
    assert_eq!(congestion.path_bytes(), ByteCount::new(0));
}

#[test]
fn a_sender_with_little_to_send_does_not_widen_its_window() {
    let mut congestion = Congestion::new(at(0), DATAGRAM);
    let before = congestion.window();

    for now in (100..10_000).step_by(100) {
        congestion.on_acked(at(now), at(now - 80), DATAGRAM);
        congestion.on_acks_end(at(now), ByteCount::new(0), Limit::Application);
    }

    assert_eq!(congestion.window(), before);
}

#[test]
fn the_window_never_falls_below_four_datagrams() {
    let mut congestion = Congestion::new(at(0), DATAGRAM);

    for now in (100..10_000).step_by(100) {
        congestion.on_acked(at(now), at(now - 80), ByteCount::new(1));
        congestion.on_lost(at(now), ByteCount::new(100_000), Loss::Single);
        congestion.on_acks_end(at(now), ByteCount::new(0), Limit::Window);
    }

    assert_eq!(congestion.window().get(), 4 * DATAGRAM.get());
}
