//! Three regions in one thread, under every fault that a seed draws.
//!
//! Each test looks at one thing that has to hold; all of them share the schedules, each of which
//! runs once. `HEADLAND_SIM_SEED=<seed>` runs that one alone, `HEADLAND_SIM_SCHEDULES=<count>`
//! another number of them, `HEADLAND_SIM_FIRST=<seed>` those from another seed on than 1.

#![expect(clippy::panic, clippy::indexing_slicing, reason = "a test may panic")]

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{LazyLock, OnceLock};

use headland_tests::sim::{Check, Outcome, Planted, Schedule, run};

/// Schedules in a run without a wish: what 50 seconds of two cores allow in the dev profile. A
/// thousand of each kind are the soak's, `cargo xtask soak simulation`.
const SCHEDULES: u64 = 128;

/// Tests that share the schedules.
const TESTS: usize = 9;

/// Schedules, each of them run by the test that wants it first.
static OUTCOMES: LazyLock<Vec<(u64, OnceLock<Outcome>)>> =
    LazyLock::new(|| seeds(SCHEDULES).map(|seed| (seed, OnceLock::new())).collect());

/// Seeds of the schedules to run, so many of them when nothing is wished.
fn seeds(count: u64) -> Range<u64> {
    if let Some(seed) = wish("HEADLAND_SIM_SEED") {
        return seed..seed + 1;
    }
    let first = wish("HEADLAND_SIM_FIRST").unwrap_or(1);
    first..first + wish("HEADLAND_SIM_SCHEDULES").unwrap_or(count)
}

fn wish(name: &str) -> Option<u64> {
    #[expect(clippy::disallowed_methods, reason = "a failing seed is run again by its number")]
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|error| panic!("{name}={text:?}: {error}")))
}

/// Tells how to repeat a schedule in which a node panicked.
struct Running<'a> {
    seed: u64,
    test: &'a str,
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", replay(self.seed, self.test));
        }
    }
}

/// What many schedules came to.
#[derive(Default)]
struct Met {
    schedules: usize,
    records: usize,
    finals: usize,
    cleaned: usize,
    compacted: u64,
    roamed: usize,
    doubled: usize,
    faults: BTreeMap<&'static str, u64>,
}

impl Met {
    fn note(&mut self, outcome: &Outcome) {
        self.schedules += 1;
        self.records += outcome.records;
        self.finals += outcome.finals;
        self.cleaned += outcome.cleaned;
        self.compacted += outcome.compacted;
        self.roamed += outcome.roamed;
        self.doubled += outcome.doubled;
        for (kind, times) in &outcome.faults {
            *self.faults.entry(kind).or_default() += times;
        }
    }

    /// Says it in one line, which `cargo xtask soak simulation` reads.
    fn say(&self, test: &str) {
        let said = serde_json::json!({
            "test": test,
            "schedules": self.schedules,
            "records_in_logs_of_hubs": self.records,
            "final_windows": self.finals,
            "files_and_beginnings_cleaned_away": self.cleaned,
            "records_compacted": self.compacted,
            "records_at_other_hubs": self.roamed,
            "records_at_two_hubs": self.doubled,
            "faults": self.faults,
        });
        let line = format!("simulation: {said}\n");
        // In one piece, as other tests write meanwhile.
        eprint!("{line}");
    }
}

fn replay(seed: u64, test: &str) -> String {
    format!("HEADLAND_SIM_SEED={seed} cargo test -p headland-tests --test simulation {test}")
}

/// Checks one thing in all schedules, beginning at the `index`-th share of them so that tests
/// running side by side run different ones; says how many windows were final.
fn all_schedules_pass(check: Check, test: &str, index: usize) -> usize {
    let count = OUTCOMES.len();
    let mut met = Met::default();
    for at in 0..count {
        let (seed, outcome) = &OUTCOMES[(at + index * count / TESTS) % count];
        let outcome = outcome.get_or_init(|| {
            let _running = Running { seed: *seed, test };
            run(Schedule::draw(*seed), Planted::Nothing)
        });
        if let Some(found) = outcome.failures.get(&check) {
            let first = found.first().map_or("", String::as_str);
            panic!(
                "seed {seed}: {check} does not hold ({} times): {first}\nreplay: {}",
                found.len(),
                replay(*seed, test)
            );
        }
        met.note(outcome);
    }
    met.say(test);
    assert!(met.records > 0, "schedules without a record prove nothing");
    // One schedule alone may be too short.
    assert!(met.cleaned > 0 && met.compacted > 0 || count < 20, "nothing was cleaned");
    met.finals
}

#[test]
fn every_record_counts_once_at_every_hub() {
    all_schedules_pass(Check::EveryRecordCountsOnce, "every_record_counts_once_at_every_hub", 0);
}

#[test]
fn all_hubs_end_with_the_same_state() {
    all_schedules_pass(Check::SameState, "all_hubs_end_with_the_same_state", 1);
}

#[test]
fn derived_records_and_alerts_are_written_exactly_once() {
    all_schedules_pass(
        Check::DerivedOnce,
        "derived_records_and_alerts_are_written_exactly_once",
        2,
    );
}

#[test]
fn lateness_is_decided_once() {
    all_schedules_pass(Check::LatenessOnce, "lateness_is_decided_once", 3);
}

#[test]
fn an_acknowledged_record_survives_any_crash() {
    all_schedules_pass(Check::AcknowledgedSurvives, "an_acknowledged_record_survives_any_crash", 4);
}

#[test]
fn when_everything_is_healed_all_work_gets_done() {
    all_schedules_pass(Check::Settles, "when_everything_is_healed_all_work_gets_done", 5);
}

#[test]
fn no_audit_finds_a_fault_where_none_is() {
    all_schedules_pass(Check::AuditAgrees, "no_audit_finds_a_fault_where_none_is", 6);
}

#[test]
fn what_cleaning_leaves_is_what_was_written_and_tables_are_whole() {
    let test = "what_cleaning_leaves_is_what_was_written_and_tables_are_whole";
    all_schedules_pass(Check::CleaningKeeps, test, 7);
}

#[test]
fn windows_over_all_regions_have_the_same_final_bytes_at_every_hub() {
    let test = "windows_over_all_regions_have_the_same_final_bytes_at_every_hub";
    let finals = all_schedules_pass(Check::EqualFinals, test, 8);

    // One schedule alone may be too short.
    let count = OUTCOMES.len();
    assert!(finals > count || count < 20, "{finals} windows prove nothing");
}

/// Runs a kind of schedule so many times, or as often as is wished, and checks everything. One in
/// which something does not hold is said at once, and those after it are run as well.
fn all_hold(test: &str, count: u64, kind: impl Fn(u64) -> Schedule) -> Met {
    let (mut met, mut failed) = (Met::default(), Vec::new());
    for seed in seeds(count) {
        let _running = Running { seed, test };
        let outcome = run(kind(seed), Planted::Nothing);
        if !outcome.failures.is_empty() {
            eprintln!("{:#?}\nreplay: {}", outcome.failures, replay(seed, test));
            failed.push(seed);
        }
        met.note(&outcome);
    }
    met.say(test);
    assert!(failed.is_empty(), "something does not hold with seeds {failed:?}");
    met
}

/// Schedules in which agents go from hub to hub, in a run without a wish.
const ROAMING_SCHEDULES: u64 = 12;

#[test]
fn of_agents_that_go_from_hub_to_hub_every_dot_counts_once_and_nothing_is_lost() {
    let test = "of_agents_that_go_from_hub_to_hub_every_dot_counts_once_and_nothing_is_lost";
    let met = all_hold(test, ROAMING_SCHEDULES, |seed| {
        let schedule = Schedule::draw(seed).roaming();
        // In one of two the regions are in use by leases.
        if seed.is_multiple_of(2) { schedule.with_leases() } else { schedule }
    });

    // One schedule alone may be too short.
    let is_left = met.faults.get("fences_written").is_some_and(|written| *written > 0);
    let went = met.roamed > 0 && met.doubled > 0 && met.finals > 0 && is_left;
    assert!(went || met.schedules < 10, "nobody went anywhere");
}

/// Schedules in which nodes lose their disks, in a run without a wish.
const DISK_SCHEDULES: u64 = 12;

#[test]
fn of_nodes_that_lose_their_disks_or_are_restored_all_that_was_acknowledged_counts_once() {
    let test =
        "of_nodes_that_lose_their_disks_or_are_restored_all_that_was_acknowledged_counts_once";
    let met = all_hold(test, DISK_SCHEDULES, |seed| Schedule::draw(seed).with_lost_disks());

    let kinds = [
        "agents_imaged_anew",
        "agents_restored_from_a_backup",
        "disks_of_hubs_lost",
        "hubs_restored_from_a_backup",
        "regions_excluded",
        "regions_handed_in",
    ];
    let is_met = |kind: &&str| met.faults.contains_key(*kind);
    // One schedule alone may be too short.
    assert!(kinds.iter().all(is_met) || met.schedules < 12, "{:?}", met.faults);
}

/// Schedules in which two of three hubs lose their disks, in a run without a wish.
const TWO_DISKS_SCHEDULES: u64 = 10;

#[test]
fn what_agents_keep_counts_once_when_two_of_three_hubs_lose_their_disks() {
    let test = "what_agents_keep_counts_once_when_two_of_three_hubs_lose_their_disks";
    let met = all_hold(test, TWO_DISKS_SCHEDULES, |seed| Schedule::draw(seed).with_two_lost_hubs());

    let kinds = [
        "disks_of_hubs_lost",
        "disks_taken_while_two_hubs_are_down",
        "regions_excluded",
        "regions_handed_in",
    ];
    let is_met = |kind: &&str| met.faults.contains_key(*kind);
    assert!(kinds.iter().all(is_met) || met.schedules < 6, "{:?}", met.faults);
}

/// Schedules in which regions leave and join, in a run without a wish.
const MEMBERS_SCHEDULES: u64 = 10;

#[test]
fn what_is_written_while_regions_drain_end_and_join_counts_once() {
    let test = "what_is_written_while_regions_drain_end_and_join_counts_once";
    let met =
        all_hold(test, MEMBERS_SCHEDULES, |seed| Schedule::draw(seed).with_members_that_change());

    let kinds = ["regions_sealed", "regions_that_go_on_as_another_life", "regions_that_join_later"];
    let is_met = |kind: &&str| met.faults.contains_key(*kind);
    assert!(kinds.iter().all(is_met) || met.schedules < 6, "{:?}", met.faults);
}

/// Schedules in which two write as one agent, in a run without a wish.
const COPY_SCHEDULES: u64 = 10;

#[test]
fn of_two_that_write_as_one_agent_nothing_is_lost_in_silence() {
    let test = "of_two_that_write_as_one_agent_nothing_is_lost_in_silence";
    let met = all_hold(test, COPY_SCHEDULES, |seed| Schedule::draw(seed).with_a_copied_agent());

    assert!(met.faults.contains_key("turns_of_two_that_write_as_one_agent"), "{:?}", met.faults);
}

/// Schedules in which two write as one hub, in a run without a wish.
const CLONE_SCHEDULES: u64 = 10;

#[test]
fn of_two_that_write_as_one_hub_nothing_is_lost_in_silence() {
    let test = "of_two_that_write_as_one_hub_nothing_is_lost_in_silence";
    let met = all_hold(test, CLONE_SCHEDULES, |seed| Schedule::draw(seed).with_cloned_hubs());

    let kinds = [
        "hubs_copied_file_by_file",
        "hubs_copied_with_their_file_system",
        "turns_of_two_that_write_as_one_hub",
        "copies_of_hubs_that_were_named",
    ];
    let is_met = |kind: &&str| met.faults.contains_key(*kind);
    assert!(kinds.iter().all(is_met) || met.schedules < 6, "{:?}", met.faults);
}

/// Schedules in which regions are renamed, in a run without a wish.
const RENAME_SCHEDULES: u64 = 10;

#[test]
fn of_regions_that_are_renamed_every_dot_counts_once_and_groups_go_on_where_they_were() {
    let test = "of_regions_that_are_renamed_every_dot_counts_once_and_groups_go_on_where_they_were";
    let met = all_hold(test, RENAME_SCHEDULES, |seed| {
        let schedule = Schedule::draw(seed).with_regions_that_are_renamed();
        if seed.is_multiple_of(2) { schedule.roaming() } else { schedule }
    });

    let kinds = [
        "regions_renamed",
        "regions_called_as_before",
        "policies_of_names_changed",
        "commits_of_groups",
    ];
    let is_met = |kind: &&str| met.faults.contains_key(*kind);
    assert!(kinds.iter().all(is_met) || met.schedules < 6, "{:?}", met.faults);
}

/// Schedules in which clocks of agents are wrong too, in a run without a wish.
const CLOCK_SCHEDULES: u64 = 10;

#[test]
fn clocks_of_agents_that_are_wrong_by_a_day_lose_and_double_nothing() {
    let test = "clocks_of_agents_that_are_wrong_by_a_day_lose_and_double_nothing";
    let met = all_hold(test, CLOCK_SCHEDULES, |seed| {
        let schedule = Schedule::draw(seed).with_wrong_clocks_of_agents();
        if seed.is_multiple_of(2) { schedule.roaming() } else { schedule }
    });

    let is_met = met.faults.contains_key("starts_of_agents_with_a_wrong_clock");
    let is_proof = is_met && met.finals > 0 && met.records > 0;
    assert!(is_proof || met.schedules < 6, "{} windows, {:?}", met.finals, met.faults);
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    let [first, second, other] =
        [7, 7, 8].map(|seed| run(Schedule::draw(seed), Planted::Nothing).trace);

    assert_eq!(first, second);
    assert_ne!(first, other);
}

/// Runs undisturbed schedules with a planted fault, and returns what their checks found.
fn planted(planted: Planted) -> Vec<Outcome> {
    let outcomes = (1..=2).map(|seed| run(Schedule::draw(seed).without_faults(), planted));
    outcomes.collect()
}

#[test]
fn a_schedule_without_faults_fails_no_check() {
    for outcome in planted(Planted::Nothing) {
        assert_eq!(outcome.failures, [].into(), "seed {}", outcome.seed);
    }
}

#[test]
fn a_commit_reported_before_it_is_durable_is_found() {
    for outcome in planted(Planted::EarlyReport) {
        assert!(outcome.is_planted, "seed {}", outcome.seed);
        assert!(
            outcome.failures.contains_key(&Check::AcknowledgedSurvives),
            "seed {}: {:?}",
            outcome.seed,
            outcome.failures
        );
    }
}

#[test]
fn an_entry_forwarded_twice_is_found() {
    for outcome in planted(Planted::ForwardTwice) {
        assert!(outcome.is_planted, "seed {}", outcome.seed);
        for check in [Check::EveryRecordCountsOnce, Check::AuditAgrees] {
            let found = outcome.failures.contains_key(&check);
            assert!(found, "seed {}, {check}: {:?}", outcome.seed, outcome.failures);
        }
    }
}

#[test]
fn an_entry_acknowledged_and_dropped_is_found() {
    for outcome in planted(Planted::Swallow) {
        assert!(outcome.is_planted, "seed {}", outcome.seed);
        for check in [Check::EveryRecordCountsOnce, Check::AuditAgrees] {
            let found = outcome.failures.contains_key(&check);
            assert!(found, "seed {}, {check}: {:?}", outcome.seed, outcome.failures);
        }
    }
}

#[test]
fn lateness_decided_on_arrival_is_found() {
    // A cut lets promises and what they are about arrive far apart, which not every schedule has.
    let is_found = (1..=40).any(|seed| {
        let outcome = run(Schedule::draw(seed), Planted::LatenessOnArrival);
        // Hubs that each decide for themselves do not even agree about the stock.
        let checks = [Check::LatenessOnce, Check::SameState];
        outcome.is_planted && checks.iter().all(|check| outcome.failures.contains_key(check))
    });

    assert!(is_found, "hubs decide lateness on arrival, and nobody finds it");
}

#[test]
fn a_region_that_goes_on_from_a_copy_of_before_it_drained_is_found() {
    let is_found = (1..=10).any(|seed| {
        let schedule = Schedule::draw(seed).with_members_that_change();
        let outcome = run(schedule, Planted::OldCopy);
        outcome.is_planted && outcome.failures.contains_key(&Check::AcknowledgedSurvives)
    });

    assert!(is_found, "a hub loses what it acknowledged, and nobody finds it");
}

#[test]
fn a_copy_that_begins_anew_when_its_region_is_renamed_is_found() {
    for seed in 1..=3 {
        let schedule = Schedule::draw(seed).without_faults().with_regions_that_are_renamed();
        let outcome = run(schedule, Planted::CopyAnew);

        assert!(outcome.is_planted, "seed {seed}");
        let is_found = outcome.failures.contains_key(&Check::EveryRecordCountsOnce);
        assert!(is_found, "seed {seed}: {:?}", outcome.failures);
    }
}

#[test]
fn a_group_that_is_forgotten_when_a_region_is_renamed_is_found() {
    for seed in 1..=3 {
        let schedule = Schedule::draw(seed).without_faults().with_regions_that_are_renamed();
        let outcome = run(schedule, Planted::GroupForgotten);

        assert!(outcome.is_planted, "seed {seed}");
        let is_found = outcome.failures.contains_key(&Check::GroupsGoOn);
        assert!(is_found, "seed {seed}: {:?}", outcome.failures);
    }
}

#[test]
fn a_hub_that_goes_on_after_its_lease_is_found() {
    // It takes agents that write while others go on for their region.
    let is_found = (1..=40).any(|seed| {
        let schedule = Schedule::draw(seed).roaming().with_leases();
        let outcome = run(schedule, Planted::StoppedClock);
        outcome.is_planted && outcome.failures.contains_key(&Check::OneHolder)
    });

    assert!(is_found, "two regions acknowledge for one, and nobody finds it");
}
