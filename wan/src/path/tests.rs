use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::quantity::{Chance, QueueSize, Rate};

const SECOND: Duration = Duration::from_secs(1);

fn millis(count: u64) -> Duration {
    Duration::from_millis(count)
}

fn datagram(tag: u32, length: usize) -> Vec<u8> {
    let mut bytes = tag.to_be_bytes().to_vec();
    bytes.resize(length.max(4), 0);
    bytes
}

fn tag(packet: &[u8]) -> u32 {
    u32::from_be_bytes(packet[..4].try_into().unwrap())
}

/// Takes out all that is due at `now`.
fn drain(path: &mut Path<Vec<u8>>, now: Duration) -> Vec<u32> {
    std::iter::from_fn(|| path.poll_output(now)).map(|packet| tag(&packet)).collect()
}

/// Sends `count` datagrams of 100 bytes one millisecond apart and takes all out at the end.
fn survivors(profile: PathProfile, seed: u64, count: u32) -> Vec<u32> {
    let mut path = Path::new(profile, seed);
    for number in 0..count {
        path.on_packet(millis(u64::from(number)), datagram(number, 100));
    }
    drain(&mut path, millis(u64::from(count)) + 10 * SECOND)
}

fn lossy(parts: u32) -> PathProfile {
    PathProfile { loss: Chance::parts_per_million(parts), ..PathProfile::default() }
}

#[test]
fn a_datagram_comes_out_when_its_delay_is_over() {
    let mut path = Path::new(PathProfile { delay: millis(40), ..PathProfile::default() }, 1);

    path.on_packet(millis(5), datagram(7, 10));

    assert_eq!(path.poll_timeout(), Some(millis(45)));
    assert_eq!(path.poll_output(millis(44)), None);
    assert_eq!(path.poll_output(millis(45)), Some(datagram(7, 10)));
    assert_eq!(path.poll_timeout(), None);
}

#[test]
fn the_same_seed_loses_the_same_datagrams() {
    let profile = lossy(300_000);

    let first = survivors(profile, 42, 500);

    assert_eq!(survivors(profile, 42, 500), first);
    assert_ne!(survivors(profile, 43, 500), first);
}

#[test]
fn a_cut_does_not_shift_the_fates_of_later_datagrams() {
    let whole = survivors(lossy(300_000), 42, 200);
    let mut path = Path::new(lossy(300_000), 42);

    path.cut();
    for number in 0..100 {
        path.on_packet(SECOND, datagram(number, 100));
    }
    path.heal();
    for number in 100..200 {
        path.on_packet(SECOND, datagram(number, 100));
    }

    let later: Vec<u32> = whole.into_iter().filter(|number| *number >= 100).collect();
    assert_eq!(drain(&mut path, SECOND), later);
}

#[test]
fn loss_stays_near_its_chance() {
    let kept = survivors(lossy(100_000), 7, 10_000).len();

    // Five standard deviations of a binomial with n = 10,000 and p = 0.9 are 150.
    assert!((8_850..=9_150).contains(&kept), "{kept}");
}

#[test]
fn a_doubled_datagram_arrives_twice_and_is_counted() {
    let mut path =
        Path::new(PathProfile { duplication: Chance::ALWAYS, ..PathProfile::default() }, 1);

    path.on_packet(Duration::ZERO, datagram(3, 10));

    assert_eq!(drain(&mut path, Duration::ZERO), [3, 3]);
    assert_eq!((path.counters().duplicated, path.counters().forwarded), (1, 2));
}

#[test]
fn datagrams_leave_at_the_rate() {
    let rate = Rate::bits_per_second(8_000_000);
    let mut path = Path::new(PathProfile { rate, ..PathProfile::default() }, 1);

    for number in 0..3 {
        path.on_packet(Duration::ZERO, datagram(number, 1_000));
    }

    assert_eq!(drain(&mut path, millis(1)), [0]);
    assert_eq!(drain(&mut path, millis(2)), [1]);
    assert_eq!(drain(&mut path, millis(3)), [2]);
}

#[test]
fn a_full_queue_drops_what_comes_next() {
    let rate = Rate::bits_per_second(8_000_000);
    let queue = QueueSize::bytes(3_000);
    let mut path = Path::new(PathProfile { rate, queue, ..PathProfile::default() }, 1);

    for number in 0..5 {
        path.on_packet(Duration::ZERO, datagram(number, 1_000));
    }

    assert_eq!(drain(&mut path, SECOND), [0, 1, 2]);
    assert_eq!(path.counters().queue_drops, 2);
}

#[test]
fn a_queue_with_room_again_takes_datagrams_again() {
    let rate = Rate::bits_per_second(8_000_000);
    let queue = QueueSize::bytes(1_000);
    let mut path = Path::new(PathProfile { rate, queue, ..PathProfile::default() }, 1);

    path.on_packet(Duration::ZERO, datagram(0, 1_000));
    path.on_packet(Duration::ZERO, datagram(1, 1_000));
    path.on_packet(millis(1), datagram(2, 1_000));

    assert_eq!(drain(&mut path, SECOND), [0, 2]);
}

#[test]
fn bytes_in_flight_are_bounded_without_a_rate() {
    let mut path = Path::new(PathProfile { delay: SECOND, ..PathProfile::default() }, 1);
    let half = IN_FLIGHT_BYTES_LIMIT / 2;

    for number in 0..3 {
        path.on_packet(Duration::ZERO, datagram(number, half));
    }

    assert_eq!(path.counters().own_drops, 1);
    assert_eq!(drain(&mut path, SECOND), [0, 1]);
}

#[test]
fn a_queue_in_time_drops_what_would_wait_longer() {
    let rate = Rate::bits_per_second(8_000_000);
    let queue = QueueSize::Time(millis(2));
    let mut path = Path::new(PathProfile { rate, queue, ..PathProfile::default() }, 1);

    for number in 0..5 {
        path.on_packet(Duration::ZERO, datagram(number, 1_000));
    }

    assert_eq!(drain(&mut path, SECOND), [0, 1]);
    assert_eq!(path.counters().queue_drops, 3);
}

#[test]
fn a_packet_of_the_mtu_passes_and_a_larger_one_is_told() {
    let mtu = Mtu::new(1_400).unwrap();
    let mut path = Path::new(PathProfile { mtu: Some(mtu), ..PathProfile::default() }, 1);

    assert_eq!(path.on_packet(SECOND, datagram(0, 1_400)), Admission::Taken);
    assert_eq!(path.on_packet(SECOND, datagram(1, 1_401)), Admission::TooBig { mtu });
    assert_eq!(drain(&mut path, SECOND), [0]);
    assert_eq!(path.counters().too_big, 1);
}

#[test]
fn a_packet_held_back_is_overtaken() {
    let slow = PathProfile { reordering: Chance::ALWAYS, ..PathProfile::default() };
    let mut path = Path::new(slow, 1);

    path.on_packet(millis(0), datagram(0, 100));
    path.set_profile(PathProfile::default());
    path.on_packet(millis(1), datagram(1, 100));

    assert_eq!(drain(&mut path, SECOND), [1, 0]);
    assert_eq!(path.counters().reordered, 1);
}

#[test]
fn a_late_packet_counts_as_late_and_a_punctual_one_does_not() {
    let mut path = Path::new(PathProfile::default(), 1);

    path.on_packet(Duration::ZERO, datagram(0, 100));
    drain(&mut path, LATE);
    path.on_packet(Duration::ZERO, datagram(1, 100));
    drain(&mut path, LATE + Duration::from_nanos(1));

    assert_eq!(path.counters().late, 1);
}

#[test]
fn what_the_driver_lost_is_counted_apart() {
    let mut path = Path::<Vec<u8>>::new(PathProfile::default(), 1);

    path.on_own_drops(3);

    assert_eq!(path.counters().own_drops, 3);
    assert_eq!(path.counters().queue_drops, 0);
}

#[test]
fn a_cut_loses_what_travels_and_what_is_sent_until_it_heals() {
    let mut path = Path::new(PathProfile { delay: millis(40), ..PathProfile::default() }, 1);

    path.on_packet(millis(0), datagram(0, 10));
    path.cut();
    path.on_packet(millis(1), datagram(1, 10));
    path.heal();
    path.on_packet(millis(2), datagram(2, 10));

    assert_eq!(drain(&mut path, SECOND), [2]);
    assert_eq!(path.counters().cut, 2);
}

#[test]
fn a_datagram_taken_out_late_shows_as_timer_lag() {
    let mut path = Path::new(PathProfile { delay: millis(10), ..PathProfile::default() }, 1);

    path.on_packet(Duration::ZERO, datagram(0, 10));
    drain(&mut path, millis(13));

    assert_eq!(path.counters().timer_lag_max, millis(3));
}

#[test]
fn another_profile_leaves_what_travels_alone() {
    let mut path = Path::new(PathProfile { delay: millis(40), ..PathProfile::default() }, 1);

    path.on_packet(Duration::ZERO, datagram(0, 10));
    path.set_profile(PathProfile::default());
    path.on_packet(Duration::ZERO, datagram(1, 10));

    assert_eq!(drain(&mut path, Duration::ZERO), [1]);
    assert_eq!(drain(&mut path, millis(40)), [0]);
}

fn profiles() -> impl Strategy<Value = PathProfile> {
    let rates = prop_oneof![Just(None), (10_000..10_000_000_u64).prop_map(Rate::bits_per_second)];
    let chance = || (0..300_000_u32).prop_map(Chance::parts_per_million);
    (0..100_u64, 0..100_u64, chance(), chance(), chance(), rates, 0..20_000_u64).prop_map(
        |(delay, jitter, loss, duplication, reordering, rate, queue)| PathProfile {
            delay: millis(delay),
            jitter: millis(jitter),
            loss,
            duplication,
            reordering,
            rate,
            queue: QueueSize::bytes(queue),
            mtu: Mtu::new(600),
            ..PathProfile::default()
        },
    )
}

proptest! {
    #[test]
    fn order_is_kept_under_jitter(
        profile in profiles(), gaps in vec(0..20_u64, 1..100), seed: u64,
    ) {
        let mut path = Path::new(PathProfile { reordering: Chance::default(), ..profile }, seed);
        let mut now = Duration::ZERO;
        for (number, gap) in (0..).zip(&gaps) {
            now += millis(*gap);
            path.on_packet(now, datagram(number, 500));
        }

        let arrived = drain(&mut path, now + 1_000 * SECOND);

        prop_assert!(arrived.is_sorted(), "{:?}", arrived);
    }

    #[test]
    fn every_datagram_is_counted_exactly_once(
        profile in profiles(), gaps in vec(0..20_u64, 1..100), cut_at in 0..100_u32, seed: u64,
    ) {
        let mut path = Path::new(profile, seed);
        let mut now = Duration::ZERO;
        for (number, gap) in (0..).zip(&gaps) {
            now += millis(*gap);
            if number == cut_at {
                path.cut();
            }
            path.on_packet(now, datagram(number, 500));
            drain(&mut path, now);
        }
        drain(&mut path, now + 1_000 * SECOND);

        let PathCounters { forwarded, lost, cut, queue_drops, too_big, duplicated, .. } =
            path.counters();
        let sent = u64::try_from(gaps.len()).unwrap();
        prop_assert_eq!(forwarded + lost + cut + queue_drops + too_big, sent + duplicated);
        prop_assert_eq!(path.poll_timeout(), None);
        prop_assert_eq!(path.in_flight_bytes, 0);
    }
}
