//! Leases between hubs that are cut, restarted and slow, against what an onlooker sees.

use proptest::prelude::*;

use super::*;

mod direct;
mod model;

use model::{Fate, World};

/// A second of the onlooker's clock, in milliseconds.
const SECOND: u64 = 1_000;

fn held_by(world: &World, of: usize) -> bool {
    world.is_held(of)
}

#[test]
fn three_regions_that_are_linked_are_all_in_use_within_a_second() {
    let mut world = World::new(3, 1);

    world.run(SECOND);

    assert_eq!([0, 1, 2].map(|of| held_by(&world, of)), [true; 3]);
}

#[test]
fn a_region_that_is_cut_off_stops_before_another_takes_over_within_ten_seconds() {
    for seed in 0..10 {
        let mut world = World::new(3, seed);
        world.run(5 * SECOND);

        world.isolate(0);
        world.run(10 * SECOND);

        assert!(!held_by(&world, 0));
        assert_eq!(world.left_for(1, 0), Some(1), "the first of those that are left, seed {seed}");
        assert_eq!(world.left_for(2, 0), Some(1), "and all know");
        assert_eq!([1, 2].map(|of| held_by(&world, of)), [true; 2]);
        assert!(world.took_over_after(0).is_some_and(|took| took < 9 * SECOND));
    }
}

#[test]
fn of_five_regions_two_are_lost_and_the_first_that_is_left_goes_on_for_both() {
    let mut world = World::new(5, 3);
    world.run(5 * SECOND);

    world.isolate(0);
    world.isolate(1);
    world.run(10 * SECOND);

    assert_eq!([0, 1].map(|of| world.left_for(4, of)), [Some(2), Some(2)]);
    assert_eq!([0, 1, 2, 3, 4].map(|of| held_by(&world, of)), [false, false, true, true, true]);
}

#[test]
fn a_region_without_a_majority_stops_and_takes_nobody_over() {
    let mut world = World::new(3, 4);
    world.run(5 * SECOND);

    (0..3).for_each(|of| world.isolate(of));
    world.run(60 * SECOND);
    let cut = [0, 1, 2].map(|of| held_by(&world, of));
    world.heal();
    world.run(SECOND);

    assert_eq!(cut, [false; 3]);
    assert_eq!([0, 1, 2].map(|of| held_by(&world, of)), [true; 3], "and goes on where it was");
}

#[test]
fn a_region_that_is_back_stays_left_until_it_is_returned_to() {
    let mut world = World::new(3, 5);
    world.run(5 * SECOND);
    world.isolate(0);
    world.run(10 * SECOND);
    world.heal();
    world.run(20 * SECOND);
    let back = (held_by(&world, 0), world.left_for(0, 0));

    world.return_to(0);
    world.run(SECOND);

    assert_eq!(back, (false, Some(1)));
    assert!(held_by(&world, 0));
    assert_eq!(world.left_for(2, 0), None);
}

#[test]
fn a_short_outage_takes_nobody_over() {
    let mut world = World::new(3, 6);
    world.run(5 * SECOND);

    world.isolate(0);
    world.run(3 * SECOND);
    world.heal();
    world.run(10 * SECOND);

    assert_eq!(world.left_for(1, 0), None);
    assert!(held_by(&world, 0));
}

#[test]
fn a_region_that_never_had_a_lease_is_not_taken_over() {
    let mut world = World::without(3, 7, 0);

    world.run(120 * SECOND);

    assert_eq!([1, 2].map(|of| held_by(&world, of)), [false; 2], "they have not met everybody");
    assert_eq!(world.left_for(1, 0), None);
}

#[test]
fn a_region_that_asks_for_no_lease_any_more_is_in_use_and_not_missed() {
    let mut world = World::new(3, 10);
    world.run(5 * SECOND);

    world.ask_no_more(0);
    world.run(2 * SECOND);
    let told = held_by(&world, 0);
    world.isolate(0);
    world.run(60 * SECOND);

    assert!(told && held_by(&world, 0));
    assert_eq!(world.left_for(1, 0), None);
}

#[test]
fn a_region_that_is_to_ask_no_more_while_it_is_cut_off_is_not_in_use_before_others_know() {
    let mut world = World::new(3, 11);
    world.run(5 * SECOND);
    world.isolate(0);

    world.ask_no_more(0);
    world.run(20 * SECOND);
    let cut = (held_by(&world, 0), world.left_for(1, 0));
    world.heal();
    world.return_to(0);
    world.run(10 * SECOND);

    assert_eq!(cut, (false, Some(1)));
    assert!(held_by(&world, 0), "once they know");
    world.isolate(0);
    world.run(60 * SECOND);
    assert_eq!((held_by(&world, 0), world.left_for(1, 0)), (true, None));
}

#[test]
fn a_hub_that_lost_its_disk_grants_nothing_before_all_others_have_told_it_what_was_said() {
    let mut world = World::new(3, 8);
    world.run(5 * SECOND);
    world.isolate(0);
    world.run(10 * SECOND);

    world.fate(2, Fate::LosesDisk);
    world.run(10 * SECOND);
    let alone = [1, 2].map(|of| held_by(&world, of));
    world.heal();
    world.run(2 * SECOND);

    assert_eq!(alone, [false; 2], "one of three has no majority with a hub that does not grant");
    assert_eq!([0, 1, 2].map(|of| held_by(&world, of)), [false, true, true]);
    assert_eq!(world.left_for(2, 0), Some(1));
}

#[test]
fn a_region_with_another_list_counts_for_nothing() {
    let mut world = World::with_list_of(3, 9, 2, &[0, 2]);

    world.run(20 * SECOND);

    assert!(world.disagreed(0, 2) && world.disagreed(2, 0));
    assert_eq!([0, 1].map(|of| held_by(&world, of)), [false; 2], "not all have been met");
}

#[test]
fn a_hub_counts_a_lease_from_when_it_asked_and_only_under_the_fence_that_holds() {
    let region = |name: &str| RegionId::new(name).unwrap();
    let mut holder = Holder::default();
    let at = Monotonic::from_millis;
    holder.begin(2);

    holder.on_grant(at(5_000), &region("us"), (2, at(4_000)));
    holder.on_grant(at(5_000), &region("us"), (2, at(3_000)));
    holder.on_grant(at(5_000), &region("ap"), (2, at(2_000)));
    holder.on_grant(at(5_000), &region("sa"), (1, at(4_900)));
    holder.on_grant(at(5_000), &region("sa"), (2, at(5_001)));

    assert_eq!(holder.until(1), Some(at(7_000)));
    assert_eq!(holder.until(2), Some(at(5_000)), "a late grant of an earlier request adds nothing");
    assert_eq!(holder.until(3), None, "of another fence, and of a moment that is to come");
    holder.begin(3);
    assert_eq!(holder.until(1), None);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// The onlooker in [`World`] ends the test when two are in use at once or a fence is decided
    /// twice.
    #[test]
    fn never_is_a_region_in_use_once_it_was_left_whatever_is_cut_slow_lost_and_restarted(
        seed in 0_u64..u64::MAX,
        regions in prop_oneof![Just(3_usize), Just(4), Just(5)],
        fates in proptest::collection::vec((0_u64..6_000, 0_usize..5, Fate::any()), 1..40),
    ) {
        let mut world = World::new(regions, seed);
        world.run(2 * SECOND);
        for (wait, of, fate) in fates {
            world.run(wait);
            world.fate(of % regions, fate);
        }
        world.heal();
        world.run(30 * SECOND);

        // All are linked: whoever is not left is in use again, and somebody is.
        let in_use = (0..regions).filter(|of| world.left_for(*of, *of).is_none());
        let in_use: Vec<usize> = in_use.collect();
        prop_assert!(!in_use.is_empty());
        for of in in_use {
            prop_assert!(world.is_held(of), "region {of} is not left and holds no lease");
        }
    }
}
