//! Regions in pairs, chains, rings and meshes, with names that look like each other's: every
//! record counts once at every union reader, over as few regions as lie between.
//!
//! `HEADLAND_LAYOUTS=<count>` draws another number of layouts.

use headland_tests::layout::{Layout, World};

/// Records of each topic.
const RECORDS: u64 = 40;

/// Layouts drawn without a wish: a few seconds in the dev profile.
const LAYOUTS: u64 = 60;

/// Layouts whose regions are renamed twice: each hub starts anew each time.
const RENAMES: u64 = 4;

fn every_record_counts_once(layout: &Layout, seed: u64) {
    let faults = World::run(layout.clone(), RECORDS, seed).faults();

    assert_eq!(faults, Vec::<String>::new(), "seed {seed}, {layout:?}");
}

#[test]
fn a_pair_and_a_chain_of_six_hold_everything_once() {
    for count in [2, 6] {
        let chain = Layout::of(count, (1..count).map(|region| (region - 1, region)));

        (1..=3).for_each(|seed| every_record_counts_once(&chain, seed));
    }
}

#[test]
fn a_ring_of_up_to_six_holds_everything_once_over_the_shorter_way() {
    for count in 3..=6 {
        let ring = Layout::of(count, (0..count).map(|region| (region, (region + 1) % count)));

        (1..=3).for_each(|seed| every_record_counts_once(&ring, seed));
    }
}

#[test]
fn in_a_ring_with_a_cut_everything_still_comes_over_the_other_way() {
    for count in 4..=6 {
        for seed in 1..=3 {
            let ring = Layout::of(count, (0..count).map(|region| (region, (region + 1) % count)));
            let mut world = World::run(ring, RECORDS, seed);

            world.cut(0);
            world.write_on(RECORDS);

            assert_eq!(world.lacking(), Vec::<String>::new(), "{count} regions, seed {seed}");
        }
    }
}

#[test]
fn a_mesh_of_up_to_six_that_passes_everything_on_holds_everything_once() {
    for count in 3..=6 {
        let pairs = (0..count).flat_map(|one| (0..one).map(move |other| (one, other)));

        every_record_counts_once(&Layout::of(count, pairs), 1);
    }
}

#[test]
fn regions_and_topics_that_look_alike_are_told_apart_in_any_layout() {
    #[expect(clippy::disallowed_methods, reason = "a soak asks for more")]
    let wished = std::env::var("HEADLAND_LAYOUTS").ok().and_then(|text| text.parse().ok());

    for seed in 1..=wished.unwrap_or(LAYOUTS) {
        every_record_counts_once(&Layout::draw(seed), seed);
    }
}

#[test]
fn hubs_that_call_each_other_something_else_amid_production_begin_no_second_copy() {
    for seed in 1..=RENAMES {
        let layout = Layout::draw(seed);
        let mut world = World::run(layout.clone(), RECORDS, seed);

        for time in 1..=2 {
            world.rename(seed * 100 + time, RECORDS);
        }

        assert_eq!(world.faults(), Vec::<String>::new(), "seed {seed}, {layout:?}");
    }
}
