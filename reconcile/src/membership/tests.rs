use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::position::tests::actor;

fn life(region: &str) -> Holder {
    let Actor { region, incarnation, .. } = actor(region, 0);
    Holder { region, incarnation }
}

fn clock(ends: &[(&str, u64)]) -> VectorClock {
    let mut clock = VectorClock::new();
    for (region, end) in ends {
        clock.advance(&actor(region, 0), Offset::new(*end));
    }
    clock
}

fn change(region: &str, standing: MemberStanding, ends: &[(&str, u64)]) -> MemberChange {
    MemberChange { life: life(region), standing, ends: clock(ends) }
}

fn members(regions: &[&str]) -> Membership {
    let mut membership = Membership::new();
    for region in regions {
        membership.on_change(&change(region, MemberStanding::Active, &[]));
    }
    membership
}

/// Gaps in the log of `us`.
fn gaps(ranges: &[(u64, u64)]) -> Gaps {
    let mut gaps = Gaps::new();
    for (from, until) in ranges {
        let gap = Gap { from: Offset::new(*from), until: Offset::new(*until) };
        assert_eq!(gaps.note(&actor("us", 0), gap), None);
    }
    gaps
}

fn report(region: &str, ends: &[(&str, u64)]) -> MemberReport {
    MemberReport::new(life(region), clock(ends))
}

/// What is stable where nothing is missing.
fn stable(of: &Membership, applied: &VectorClock) -> VectorClock {
    let stable = of.stable(&applied.clone().into());
    assert!(stable.gaps().is_empty());
    stable.ends().clone()
}

/// Which of the first offsets of `us` are stable where all of its log is here.
fn stable_of_us(of: &Membership) -> Vec<u64> {
    let applied = clock(&[("ap", 9), ("eu", 9), ("us", 9)]);
    let stable = of.stable(&applied.into());
    (0..9).filter(|at| stable.includes(&actor("us", 0), Offset::new(*at))).collect()
}

#[test]
fn what_a_member_says_is_missing_is_not_stable_until_its_report_without_it_is_in_effect() {
    let mut membership = members(&["ap", "eu", "us"]);
    let all = clock(&[("ap", 4), ("eu", 9), ("us", 9)]);
    membership.on_report(report("us", &[("ap", 4), ("eu", 9), ("us", 9)]), &all);
    membership.on_report(report("eu", &[("ap", 4), ("eu", 9), ("us", 8)]), &all);
    let missed = MemberReport { missing: gaps(&[(2, 4)]), ..report("ap", &[("ap", 4), ("us", 9)]) };
    membership.on_report(missed, &all);
    assert_eq!(stable_of_us(&membership), [0, 1, 4, 5, 6, 7]);

    // It has heard of the rest, and counts of before that are still on their way.
    membership.on_report(report("ap", &[("ap", 6), ("us", 9)]), &all);
    assert_eq!(stable_of_us(&membership), [0, 1, 4, 5, 6, 7]);
    assert_eq!(membership.members[&life("ap")].missing, Gaps::new());
    let restored = Membership::from_bytes(&membership.to_bytes()).unwrap();
    assert_eq!(restored, membership);

    for mut of in [membership, restored] {
        of.on_applied(&clock(&[("ap", 6), ("eu", 9), ("us", 9)]));
        assert_eq!(stable_of_us(&of), [0, 1, 2, 3, 4, 5, 6, 7]);
    }
}

#[test]
fn what_somebody_misses_for_good_holds_back_nothing_behind_it() {
    let mut membership = members(&["ap", "eu"]);
    let all = clock(&[("ap", 4), ("eu", 9), ("us", 9)]);
    let of_us = |standing| change("us", standing, &[("us", 9)]);
    membership.on_change(&of_us(MemberStanding::Sealed));
    membership.on_report(report("eu", &[("ap", 4), ("eu", 9), ("us", 9)]), &all);
    for own_end in [1, 2, 3] {
        let missing = gaps(&[(2, 4)]);
        let said = report("ap", &[("ap", own_end), ("us", 4 + own_end)]);
        membership.on_report(MemberReport { missing, ..said }, &all);
    }

    assert_eq!(stable_of_us(&membership), [0, 1, 4, 5, 6]);
    membership.on_change(&change("ap", MemberStanding::Excluded, &[("ap", 4)]));
    assert_eq!(stable_of_us(&membership), [0, 1, 2, 3, 4, 5, 6, 7, 8]);
}

#[test]
fn a_report_that_is_cut_takes_the_place_of_one_that_said_more() {
    let all = clock(&[("ap", 9), ("eu", 9), ("us", 9)]);
    let first = MemberReport { missing: gaps(&[(2, 4)]), ..report("ap", &[("ap", 3), ("us", 9)]) };
    let mut of_eu = Gaps::new();
    let gap = Gap { from: Offset::new(5), until: Offset::new(6) };
    assert_eq!(of_eu.note(&actor("eu", 0), gap), None);
    // The gap in the log of us did not fit any more, so that one ends before it.
    let cut = |own_end| MemberReport {
        missing: of_eu.clone(),
        ..report("ap", &[("ap", own_end), ("eu", 8), ("us", 2)])
    };
    let stable = |said: &[&MemberReport]| {
        let mut membership = members(&["ap"]);
        membership.on_change(&change("us", MemberStanding::Sealed, &[("us", 9)]));
        membership.on_change(&change("eu", MemberStanding::Sealed, &[("eu", 9)]));
        said.iter().for_each(|said| membership.on_report((*said).clone(), &all));
        let stable = membership.stable(&all.clone().into());
        ["eu", "us"].map(|of| {
            let at = |at: &u64| stable.includes(&actor(of, 0), Offset::new(*at));
            (0..9).filter(at).collect::<Vec<u64>>()
        })
    };

    let (later, as_late) = (cut(4), cut(3));

    assert_eq!(stable(&[&first]), [vec![], vec![0, 1, 4, 5, 6, 7, 8]]);
    let of_later = [vec![0, 1, 2, 3, 4, 6, 7], vec![0, 1]];
    assert_eq!(stable(&[&first, &later]), of_later);
    assert_eq!(stable(&[&first, &later, &first]), of_later, "over another way");
    let again = cut(5);
    assert_eq!(stable(&[&first, &later, &again]), of_later);
    assert_eq!(stable(&[&first, &as_late]), of_later, "also of a life that writes nothing");
    let before = report("ap", &[("ap", 2), ("us", 9)]);
    assert_eq!(stable(&[&before, &later, &before]), of_later, "it says more of us than is so");
}

#[test]
fn before_the_beginning_of_a_log_of_which_nobody_has_anything_all_is_stable() {
    let mut membership = members(&["ap", "eu"]);
    let change = change("us", MemberStanding::Sealed, &[("us", 9)]);
    membership.on_change(&change);
    let missed = |region| {
        let missing = gaps(&[(0, 5)]);
        MemberReport { missing, ..report(region, &[(region, 2), ("us", 9)]) }
    };
    let all = clock(&[("ap", 9), ("eu", 9), ("us", 9)]);
    membership.on_report(missed("ap"), &all);
    let mut other = membership.clone();
    membership.on_report(missed("eu"), &all);
    other.on_report(report("eu", &[("eu", 2), ("us", 9)]), &all);

    let here = Extent::new(all.clone(), gaps(&[(0, 5)]));

    assert!(membership.stable(&here).gaps().is_empty());
    assert_eq!(other.stable(&here).gaps(), here.gaps(), "somebody has it");
    assert_eq!(membership.stable(&all.into()).gaps(), here.gaps(), "it is here");
}

/// Of two reports of a life that say different things, with another one behind them: what is said
/// to be missing of `us`, and which of its first offsets are stable.
fn as_reported(said: &[(&MemberReport, u64)]) -> (Gaps, Vec<u64>) {
    let mut membership = members(&["ap"]);
    membership.on_change(&change("us", MemberStanding::Sealed, &[("us", 9)]));
    membership.on_change(&change("eu", MemberStanding::Sealed, &[("eu", 9)]));
    let all = clock(&[("ap", 9), ("eu", 9), ("us", 9)]);
    for (said, at) in said {
        membership.on_report_at((*said).clone(), Offset::new(*at), &all);
        let bytes = membership.to_bytes();
        assert_eq!(Membership::from_bytes(&bytes).as_ref(), Ok(&membership), "of a snapshot");
        membership = Membership::from_bytes(&bytes).unwrap();
    }
    (membership.members[&life("ap")].missing.clone(), stable_of_us(&membership))
}

#[test]
fn the_report_that_stands_later_in_its_lifes_log_holds_whatever_comes_last_and_says_less() {
    // It wrote nothing meanwhile, and its report was cut.
    let whole = MemberReport { missing: gaps(&[(2, 4)]), ..report("ap", &[("ap", 3), ("us", 9)]) };
    let cut = report("ap", &[("ap", 3), ("eu", 8), ("us", 2)]);
    let of_cut = (Gaps::new(), vec![0, 1]);
    assert_eq!(as_reported(&[(&whole, 5), (&cut, 6)]), of_cut);
    assert_eq!(as_reported(&[(&whole, 5), (&cut, 6), (&whole, 5)]), of_cut);
    assert_eq!(as_reported(&[(&cut, 6), (&whole, 5), (&cut, 6)]), of_cut);

    // Damage took the end of its own log, and some of another one.
    let before = report("ap", &[("ap", 4), ("us", 9)]);
    let after = MemberReport { missing: gaps(&[(5, 7)]), ..report("ap", &[("ap", 2), ("us", 9)]) };
    let of_after = (gaps(&[(5, 7)]), vec![0, 1, 2, 3, 4, 7, 8]);
    assert_eq!(as_reported(&[(&before, 5), (&after, 6)]), of_after);
    assert_eq!(as_reported(&[(&after, 6), (&before, 5)]), of_after);
}

/// So many logs of lives that ended, each with nothing before its third offset.
fn restored(lives: u32) -> (Vec<Actor>, Extent) {
    let log =
        |of: u32| Actor { incarnation: headland_event::Incarnation::new(of, 3), ..actor("us", 0) };
    let (mut ends, mut missing) = (VectorClock::new(), Gaps::new());
    for of in 0..lives {
        ends.advance(&log(of), Offset::new(5));
        let gap = Gap { from: Offset::new(0), until: Offset::new(2) };
        assert_eq!(missing.note(&log(of), gap), None);
    }
    ((0..lives).map(log).collect(), Extent::new(ends, missing))
}

#[test]
fn what_lies_before_the_beginning_of_a_log_takes_none_of_the_gaps_that_are_kept() {
    let lives = u32::try_from(headland_event::extent::GAPS_LIMIT / 2).unwrap() + 1;
    let (logs, here) = restored(lives);
    let mut membership = members(&["ap"]);
    for log in &logs {
        let (standing, mut ends) = (MemberStanding::Sealed, VectorClock::new());
        ends.advance(log, Offset::new(5));
        membership.on_change(&MemberChange { life: Holder::of(log), standing, ends });
    }
    // Each log lacks another part behind its beginning, as many as are kept in all.
    let part = |log: &Actor| (log.clone(), Gap { from: Offset::new(3), until: Offset::new(4) });
    let mut missing = here.gaps().clone();
    for (log, gap) in logs.iter().map(part).take(logs.len() - 2) {
        assert_eq!(missing.note(&log, gap), None);
    }
    let mut said = MemberReport { missing, ..MemberReport::new(life("ap"), here.ends().clone()) };
    said.applied.advance(&actor("ap", 0), Offset::new(1));
    let mut applied = here.ends().clone();
    applied.advance(&actor("ap", 0), Offset::new(1));
    membership.on_report(said, &applied);

    let stable = membership.stable(&Extent::new(applied, here.gaps().clone()));

    let last = logs.last().unwrap();
    assert_eq!(stable.ends().end(last), Offset::new(5), "no log ends before a gap");
    assert_eq!(stable.gaps().len(), logs.len() - 2);
    assert!(logs.iter().all(|log| stable.includes(log, Offset::new(0))));
}

#[test]
fn what_a_life_says_that_it_never_wrote_is_stable_whatever_an_excluded_or_an_old_member_says() {
    let missed = |region| {
        let missing = gaps(&[(0, 5)]);
        MemberReport { missing, ..report(region, &[(region, 2), ("us", 9)]) }
    };
    let all = clock(&[("ap", 9), ("eu", 9), ("us", 9)]);
    let here = Extent::new(all.clone(), gaps(&[(0, 5)]));
    let mut membership = members(&["ap", "eu"]);
    membership.on_report(missed("ap"), &all);
    // It knows of no gaps.
    membership.on_report(report("eu", &[("eu", 2), ("us", 9)]), &all);
    membership.on_change(&change("us", MemberStanding::Sealed, &[("us", 9)]));
    assert_eq!(membership.stable(&here).gaps(), here.gaps());

    let mut decided = membership.clone();
    decided.on_change(&change("eu", MemberStanding::Excluded, &[("eu", 2)]));
    assert_eq!(decided.stable(&here).gaps(), &Gaps::new(), "it was decided to go on without");

    let begins = clock(&[("us", 5)]);
    let foreign = MemberReport { begins: begins.clone(), ..missed("ap") };
    membership.on_report(foreign, &all);
    assert_eq!(membership.begins(), VectorClock::new(), "nobody says it of another one");
    membership.on_report(MemberReport { begins, ..report("us", &[("us", 7)]) }, &all);

    assert_eq!(membership.begin(&actor("us", 0)), Offset::new(5));
    assert_eq!(membership.stable(&here).gaps(), &Gaps::new());
    let restored = Membership::from_bytes(&membership.to_bytes()).unwrap();
    assert_eq!(restored.stable(&here).gaps(), &Gaps::new(), "of a snapshot");
}

#[test]
fn stamps_are_read_by_all_once_each_life_that_goes_on_has_said_so_last() {
    let said = |region, stamps| MemberReport { stamps, ..report(region, &[(region, 1)]) };
    let mut membership = members(&["ap", "eu", "us"]);
    let say = |of: &mut Membership, region, stamps, at| {
        of.on_report_at(said(region, stamps), Offset::new(at), &VectorClock::new());
    };
    let unable = |of: &Membership| -> Vec<String> {
        let of = Membership::from_bytes(&of.to_bytes()).unwrap();
        of.unable_to_read(2).into_iter().map(|life| life.region.to_string()).collect()
    };
    assert_eq!(unable(&membership), ["ap", "eu", "us"], "nobody has said anything");
    say(&mut membership, "ap", 2, 4);
    say(&mut membership, "eu", 2, 4);
    say(&mut membership, "us", 1, 4);
    assert_eq!(unable(&membership), ["us"]);
    let mut decided = membership.clone();
    decided.on_change(&change("us", MemberStanding::Excluded, &[]));
    assert_eq!(unable(&decided), [""; 0], "nobody waits for it");

    say(&mut membership, "us", 2, 5);
    assert_eq!(unable(&membership), [""; 0]);
    say(&mut membership, "us", 1, 4);
    assert_eq!(unable(&membership), [""; 0], "it said that before");
    say(&mut membership, "us", 1, 6);
    assert_eq!(unable(&membership), ["us"], "it went back to an earlier version");
    decided.on_change(&change("sa", MemberStanding::Active, &[]));
    assert_eq!(unable(&decided), ["sa"], "it joined and has said nothing");
    let mut heard_of = members(&["ap"]);
    let of_za = MemberReport { stamps: 2, ..report("ap", &[("ap", 1), ("za", 3)]) };
    heard_of.on_report_at(of_za, Offset::new(1), &VectorClock::new());
    assert_eq!(unable(&heard_of), ["za"], "it is not listed");
}

#[test]
fn of_its_own_log_a_life_has_seen_all_that_it_wrote_before() {
    let mut membership = members(&["us"]);
    let damaged = MemberReport { missing: gaps(&[(2, 4)]), ..report("us", &[("us", 9)]) };

    membership.on_report(damaged, &clock(&[("us", 9)]));

    let applied = Extent::from(clock(&[("us", 9)]));
    assert_eq!(membership.stable(&applied), applied);
    let here = Extent::new(clock(&[("us", 9)]), gaps(&[(5, 6)]));
    let stable = membership.stable(&here);
    assert_eq!(stable, here, "what is missing here is not stable here");
}

#[test]
fn stable_is_what_every_member_has_seen() {
    let mut membership = members(&["eu", "us"]);
    let applied = clock(&[("eu", 9), ("us", 9)]);
    membership.on_report(report("eu", &[("eu", 8), ("us", 3)]), &applied);
    assert_eq!(stable(&membership, &applied), VectorClock::new(), "us has reported nothing");

    membership.on_report(report("us", &[("eu", 5), ("us", 7)]), &applied);

    assert_eq!(stable(&membership, &applied), clock(&[("eu", 5), ("us", 3)]));
}

#[test]
fn a_report_takes_effect_when_the_reporters_records_have_come() {
    let mut membership = members(&["eu", "us"]);
    let early = clock(&[("eu", 9), ("us", 6)]);
    membership.on_report(report("eu", &[("eu", 9), ("us", 6)]), &early);
    membership.on_report(report("us", &[("eu", 9), ("us", 7)]), &early);
    assert_eq!(stable(&membership, &early), VectorClock::new());

    let applied = clock(&[("eu", 9), ("us", 7)]);
    membership.on_applied(&applied);

    assert_eq!(stable(&membership, &applied), clock(&[("eu", 9), ("us", 6)]));
}

#[test]
fn a_silent_member_holds_stability_back_until_it_is_excluded() {
    let mut membership = members(&["eu", "us"]);
    let applied = clock(&[("eu", 9), ("us", 4)]);
    membership.on_report(report("eu", &[("eu", 9), ("us", 4)]), &applied);
    assert_eq!(stable(&membership, &applied), VectorClock::new());

    membership.on_change(&change("us", MemberStanding::Excluded, &[("us", 4)]));

    assert_eq!(stable(&membership, &applied), clock(&[("eu", 9), ("us", 4)]));
}

#[test]
fn nothing_is_stable_while_records_of_a_life_that_ended_are_missing() {
    let mut membership = members(&["eu", "us"]);
    membership.on_change(&change("us", MemberStanding::Sealed, &[("us", 5)]));
    let applied = clock(&[("eu", 9), ("us", 4)]);
    membership.on_report(report("eu", &[("eu", 9), ("us", 4)]), &applied);

    assert_eq!(stable(&membership, &applied), VectorClock::new());
}

#[test]
fn what_an_excluded_life_wrote_beyond_its_end_does_not_count() {
    let mut membership = members(&["eu", "us"]);
    let at = |offset| (actor("us", 0), Offset::new(offset));
    let acceptance =
        |of: &Membership, (actor, offset): (Actor, Offset)| of.acceptance(&actor, offset);
    assert_eq!(acceptance(&membership, at(9)), Acceptance::Counts);

    membership.on_change(&change("us", MemberStanding::Excluded, &[("us", 5)]));

    assert_eq!(acceptance(&membership, at(4)), Acceptance::Counts);
    assert_eq!(acceptance(&membership, at(5)), Acceptance::BeyondEnd);
    let mut next = at(0);
    next.0.incarnation = headland_event::Incarnation::new(2, 1);
    assert_eq!(acceptance(&membership, next), Acceptance::Counts, "the next life counts");
}

#[test]
fn everybody_but_a_life_itself_moves_its_end_to_what_it_has_applied() {
    let mut membership = members(&["eu", "us"]);
    membership.on_change(&change("us", MemberStanding::Excluded, &[("us", 5)]));
    let applied = clock(&[("us", 9)]);
    let next = Holder { incarnation: headland_event::Incarnation::new(2, 7), ..life("us") };

    assert_eq!(membership.amendments(&life("us"), &applied), []);
    let expected = change("us", MemberStanding::Excluded, &[("us", 9)]);
    assert_eq!(membership.amendments(&life("eu"), &applied), std::slice::from_ref(&expected));
    assert_eq!(membership.amendments(&next, &applied), std::slice::from_ref(&expected));
    let us = life("us").region;
    assert_eq!(membership.handed_in((&life("us"), &us), &applied), []);
    assert_eq!(membership.handed_in((&life("eu"), &us), &applied), [expected]);
    assert_eq!(membership.handed_in((&next, &life("ap").region), &applied), []);
}

#[test]
fn a_log_that_ended_is_lacking_to_whoever_has_not_said_that_it_applied_it_up_to_its_end() {
    let mut membership = members(&["ap", "eu", "us"]);
    let held = clock(&[("eu", 9), ("us", 7)]);
    let lacks = |of: &Membership, region: &str, held: &VectorClock| {
        let held = Extent::new(held.clone(), Gaps::new());
        let lacking = of.lacking(&of.reported(&life(region)), &held, |_| false);
        assert_eq!(lacking.gaps, BTreeSet::new());
        lacking.over
    };
    assert_eq!(lacks(&membership, "ap", &held), BTreeSet::new());
    membership.on_change(&change("us", MemberStanding::Excluded, &[("us", 5)]));
    let us = BTreeSet::from([life("us").region]);
    let nothing = VectorClock::new();

    membership.on_report(report("eu", &[("eu", 2), ("us", 5)]), &nothing);
    membership.on_report(report("ap", &[("us", 4)]), &nothing);

    assert_eq!(lacks(&membership, "ap", &held), us, "ap lacks one");
    assert_eq!(lacks(&membership, "ap", &clock(&[("us", 4)])), BTreeSet::new(), "as we do");
    assert_eq!(lacks(&membership, "eu", &held), BTreeSet::new(), "beyond the end is no lack");
    membership.on_report(report("ap", &[("us", 5)]), &nothing);
    assert_eq!(lacks(&membership, "ap", &held), BTreeSet::new());
}

#[test]
fn of_a_life_that_is_over_all_that_anybody_has_is_lacking_to_others() {
    let mut membership = members(&["ap", "us"]);
    let nothing = VectorClock::new();
    membership.on_report(report("ap", &[("us", 4)]), &nothing);
    let have = Extent::new(clock(&[("us", 3)]), Gaps::new());

    let over = |lives: &[&str]| {
        let is_over = |of: &Holder| lives.contains(&of.region.as_str());
        membership.lacked(&have, is_over, |_| false)
    };
    let lacked = |lives: &[&str]| over(lives).over.len();

    assert_eq!([lacked(&[]), lacked(&["us"])], [0, 1]);
    assert_eq!(lacked(&["ap", "us"]), 0, "nobody has it any more");
    let mut decided = membership.clone();
    decided.on_change(&change("ap", MemberStanding::Excluded, &[]));
    let us = |of: &Holder| of.region.as_str() == "us";
    let of = |is_linked: bool| decided.lacked(&have, us, |_| is_linked).over.len();
    assert_eq!([of(false), of(true)], [0, 1], "an excluded hub that is linked may still send");
    assert_eq!(membership.lacked_ends(&have, |_| false), VectorClock::new());
    assert_eq!(membership.lacked_ends(&have, |_| true), clock(&[("us", 4)]));
    let begins = clock(&[("us", 4)]);
    membership
        .on_report(MemberReport { begins, ..report("us", &[("us", 4)]) }, &VectorClock::new());
    let nothing = membership.lacked_ends(&have, |_| true);
    assert_eq!(nothing, VectorClock::new(), "a life wrote nothing before its logs begin");
}

#[test]
fn what_lies_in_a_gap_is_lacking_of_every_life_as_far_as_somebody_has_it() {
    let mut membership = members(&["ap", "eu", "us"]);
    let ends = clock(&[("us", 9)]);
    let said = MemberReport { missing: gaps(&[(2, 4)]), ..report("ap", &[("us", 9)]) };
    membership.on_report(said, &ends);

    let is_over = |of: &Holder| of.region.as_str() == "us";
    let lacked = |ranges| {
        let have = Extent::new(ends.clone(), gaps(ranges));
        membership.lacked(&have, is_over, |_| false)
    };

    let us = BTreeSet::from([life("us").region]);
    assert_eq!(lacked(&[]), Lacking::default());
    assert_eq!(lacked(&[(2, 4)]), Lacking::default(), "nobody has it");
    let two = Extent::new(ends.clone(), gaps(&[(2, 4), (7, 8)]));
    let held = |by: &Membership| -> Vec<usize> {
        by.gaps_held(&life("eu"), &two).into_iter().map(|of| of.holders.len()).collect()
    };
    assert_eq!(held(&membership), [0, 1]);
    let mut decided = membership.clone();
    decided.on_change(&change("ap", MemberStanding::Excluded, &[]));
    assert_eq!(held(&decided), [0, 0], "it was decided to go on without");
    let that_lost = MemberReport { lost: gaps(&[(6, 9)]), ..report("ap", &[("us", 9)]) };
    let mut after_damage = membership.clone();
    after_damage.on_report(that_lost, &ends);
    assert_eq!(held(&after_damage), [1, 0], "it applied it and has it to send no more");
    assert_eq!(Membership::from_bytes(&after_damage.to_bytes()).unwrap(), after_damage);
    assert_eq!(lacked(&[(2, 5)]), Lacking { gaps: us.clone(), ..Lacking::default() });
    assert_eq!(lacked(&[(2, 4), (7, 8)]), Lacking { gaps: us, ..Lacking::default() });
}

#[test]
fn a_sealed_life_may_send_what_lies_in_a_gap_and_an_excluded_one_does_not() {
    let mut membership = members(&["eu", "us"]);
    membership.on_report(report("us", &[("us", 4)]), &clock(&[]));
    let here = Extent::new(clock(&[("us", 9)]), gaps(&[(3, 5), (7, 8)]));
    let held = |by: &Membership| -> Vec<(usize, usize)> {
        let held = by.gaps_held(&life("eu"), &here);
        held.iter().map(|of| (of.holders.len(), of.unsaid.len())).collect()
    };

    let active = held(&membership);
    membership.on_change(&change("us", MemberStanding::Sealed, &[("us", 9)]));
    let sealed = held(&membership);
    let mut that_lost = membership.clone();
    let lost = MemberReport { lost: gaps(&[(7, 8)]), ..report("us", &[("us", 9)]) };
    that_lost.on_report(lost, &clock(&[]));
    membership.on_change(&change("us", MemberStanding::Excluded, &[]));

    assert_eq!(active, [(1, 0), (0, 1)]);
    assert_eq!(sealed, [(1, 0), (1, 0)], "its end says that it has its own log");
    assert_eq!(held(&that_lost), [(1, 0), (0, 0)]);
    assert_eq!(held(&membership), [(0, 0), (0, 0)]);
}

#[test]
fn whoever_has_not_said_as_far_as_a_gap_may_have_what_lies_in_it() {
    let mut membership = members(&["ap", "eu"]);
    let here = Extent::new(clock(&[("us", 9)]), gaps(&[(3, 5)]));
    let unsaid = |by: &Membership| {
        let held = by.gaps_held(&life("eu"), &here);
        assert!(held[0].holders.is_empty());
        (held[0].unsaid.len(), held[0].may_come())
    };
    assert_eq!(unsaid(&membership), (1, true), "it has said nothing");

    membership.on_report(report("ap", &[("us", 3)]), &clock(&[]));
    assert_eq!(unsaid(&membership), (1, true));
    let said = MemberReport { missing: gaps(&[(3, 4)]), ..report("ap", &[("us", 4)]) };
    membership.on_report(said, &clock(&[]));
    assert_eq!(unsaid(&membership), (1, true), "of one it has said nothing");
    let said = MemberReport { missing: gaps(&[(3, 5)]), ..report("ap", &[("us", 5)]) };
    let mut after = membership.clone();
    after.on_report(said, &clock(&[]));
    assert_eq!(unsaid(&after), (0, false));
    membership.on_change(&change("ap", MemberStanding::Excluded, &[]));
    assert_eq!(unsaid(&membership), (0, false));
}

#[test]
fn a_report_that_comes_late_over_another_way_does_not_say_what_is_missing() {
    let mut membership = members(&["ap"]);
    let said = MemberReport { missing: gaps(&[(2, 4)]), ..report("ap", &[("us", 9)]) };
    membership.on_report(said, &VectorClock::new());

    membership.on_report(report("ap", &[("us", 1)]), &VectorClock::new());

    assert_eq!(membership.members[&life("ap")].missing, gaps(&[(2, 4)]));
}

#[test]
fn members_read_back_with_what_each_said_is_missing_and_those_of_before_without() {
    let mut membership = members(&["ap", "us"]);
    let before = postcard::to_stdvec(&membership).unwrap();
    assert_eq!(Membership::from_bytes(&before), Ok(membership.clone()));
    let mut missing = Gaps::new();
    let gap = Gap { from: Offset::new(2), until: Offset::new(4) };
    assert_eq!(missing.note(&actor("us", 0), gap), None);

    let said = MemberReport { missing, ..report("ap", &[("us", 9)]) };
    membership.on_report(said, &VectorClock::new());

    assert_eq!(Membership::from_bytes(&membership.to_bytes()), Ok(membership));
}

#[test]
fn who_holds_stability_back_is_named() {
    let mut membership = members(&["ap", "eu"]);
    membership.on_change(&change("us", MemberStanding::Sealed, &[("us", 5)]));
    membership.on_report(report("eu", &[]), &VectorClock::new());

    let (few, all) = (clock(&[("us", 4)]), clock(&[("us", 5)]));

    assert_eq!(membership.unheard(&few), [life("ap"), life("us")].into());
    assert_eq!(membership.unheard(&all), [life("ap")].into());
    membership.on_report(report("ap", &[]), &all);
    assert_eq!(membership.unheard(&all), BTreeSet::new());
}

#[test]
fn whoever_reports_takes_part() {
    let mut membership = Membership::new();

    membership.on_report(report("eu", &[]), &VectorClock::new());

    assert_eq!(membership.standing(&life("eu")), Some(MemberStanding::Active));
}

#[test]
fn a_change_joined_with_what_is_known_stands_for_all_before_it() {
    use MemberStanding::{Active, Draining, Excluded};
    let said = [
        change("us", Draining, &[]),
        change("us", Excluded, &[("us", 5)]),
        change("us", Active, &[]),
    ];
    let mut all = Membership::new();
    let mut last = None;
    for change in said {
        let joined = all.joined(change);
        all.on_change(&joined);
        last = Some(joined);
    }

    let mut alone = Membership::new();
    alone.on_change(&last.unwrap());

    assert_eq!(alone, all);
}

#[test]
fn a_life_that_ended_does_not_become_active_again() {
    let mut membership = members(&["us"]);
    membership.on_change(&change("us", MemberStanding::Excluded, &[("us", 5)]));

    membership.on_change(&change("us", MemberStanding::Active, &[]));

    assert_eq!(membership.standing(&life("us")), Some(MemberStanding::Excluded));
}

proptest! {
    #[test]
    fn hubs_that_applied_different_parts_of_an_excluded_log_agree_on_what_counts(
        drawn in vec((0..12_u64, proptest::option::of(0..12_u64)), 1..5), turn in 0..10_usize,
    ) {
        // Some operators exclude the same life, each with an end of its own.
        let names = ["ap", "eu", "sa", "za"];
        let mut said: Vec<MemberChange> = drawn.iter().filter_map(|(_, end)| *end)
            .map(|end| change("us", MemberStanding::Excluded, &[("us", end)])).collect();
        said.push(change("us", MemberStanding::Excluded, &[("us", 6)]));
        let mut hubs = vec![Membership::new(); drawn.len()];
        for (at, (hub, (applied, _))) in hubs.iter_mut().zip(&drawn).enumerate() {
            let turned = turn + at;
            let (late, early) = said.split_at(turned % said.len());
            early.iter().chain(late).for_each(|change| hub.on_change(change));
            said.extend(hub.amendments(&life(names[at]), &clock(&[("us", *applied)])));
        }

        for hub in &mut hubs {
            said.iter().rev().for_each(|change| hub.on_change(change));
        }

        for ((hub, (applied, _)), name) in hubs.iter().zip(&drawn).zip(names) {
            prop_assert_eq!(hub, &hubs[0]);
            prop_assert_eq!(hub.amendments(&life(name), &clock(&[("us", *applied)])), []);
            let counts = |offset| hub.acceptance(&actor("us", 0), Offset::new(offset));
            prop_assert!((0..*applied).all(|offset| counts(offset) == Acceptance::Counts));
        }
    }

    #[test]
    fn any_order_of_changes_ends_the_same(
        drawn in vec((0..2_usize, 0..4_usize, 0..9_u64), 1..10), turn in 0..10_usize,
    ) {
        use MemberStanding::{Active, Draining, Excluded, Sealed};
        let changes: Vec<_> = drawn.iter().map(|(region, standing, end)| {
            let region = ["eu", "us"][*region];
            change(region, [Active, Draining, Sealed, Excluded][*standing], &[(region, *end)])
        }).collect();
        let (mut forth, mut turned) = (Membership::new(), Membership::new());

        changes.iter().for_each(|change| forth.on_change(change));
        let (early, late) = changes.split_at(turn % changes.len());
        late.iter().chain(early).chain(late).for_each(|change| turned.on_change(change));

        prop_assert_eq!(forth, turned);
    }
}
