//! Regions that sell the same stock while they cannot hear each other.
//!
//! Every run is a random schedule of customers, cuts, crashes, restores and clones. Three ways to
//! answer the same customers run side by side: escrow as the crate has it, one central lock in the
//! first region, and no coordination, where each hub sells what it believes is there. Escrow may
//! not sell a unit twice; what it costs is the share of customers refused although stock existed
//! elsewhere.

use anyhow::Result;
use headland_event::{Random, SeededRandom};
use serde_json::{Value, json};

use crate::arguments::Arguments;
use crate::report::Report;
use headland_gauge::float;

/// The regions, their logs and the network between them.
mod world;
/// One hub: an escrow over a log that survives crashes.
mod node;
/// The same customers, answered without escrow.
mod rivals;

use world::World;

/// Steps of one run.
const STEPS: u64 = 600;

/// What the customers of one or many runs were told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Tally {
    /// Reservations asked for.
    pub(crate) asked: u64,
    /// Reservations granted.
    pub(crate) granted: u64,
    /// Reservations refused although so many units existed, somewhere.
    pub(crate) refused_in_vain: u64,
    /// Units promised beyond what there was.
    pub(crate) oversold: u64,
}

impl Tally {
    fn add(&mut self, other: Self) {
        let Self { asked, granted, refused_in_vain, oversold } = other;
        self.asked += asked;
        self.granted += granted;
        self.refused_in_vain += refused_in_vain;
        self.oversold += oversold;
    }

    fn to_json(self) -> Value {
        let Self { asked, granted, refused_in_vain, oversold } = self;
        let share = float(refused_in_vain) / float(asked.max(1));
        json!({
            "asked": asked,
            "granted": granted,
            "refused_although_stock_existed": refused_in_vain,
            "share_refused_although_stock_existed": share,
            "units_oversold": oversold,
        })
    }
}

/// The three ways, side by side.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Outcome {
    pub(crate) escrow: Tally,
    pub(crate) central: Tally,
    pub(crate) nothing: Tally,
    /// Faults that happened: cuts, crashes, restores, clones.
    pub(crate) faults: [u64; 4],
}

/// What goes wrong in a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Faults {
    /// Everything: also hubs that come up from a backup, and copies of hubs.
    All,
    /// Hubs that cannot hear each other, and hubs that restart. Here no rights are out of reach.
    CutsAndCrashes,
}

/// Runs as many schedules as asked for, with all faults, and again without lost disks.
pub(crate) fn run(mut arguments: Arguments) -> Result<Report> {
    let (runs, seed) = (arguments.take("runs", 10_000_u64)?, arguments.take("seed", 1_u64)?);
    arguments.finish()?;
    let (all_sold_once, all) = many(runs, seed, Faults::All);
    let (cuts_sold_once, cuts) = many(runs, seed, Faults::CutsAndCrashes);
    let result = json!({
        "runs_of_each": runs,
        "seed": seed,
        "steps_each": STEPS,
        "all_faults": all,
        "cuts_and_crashes": cuts,
    });
    Ok(Report { is_green: all_sold_once && cuts_sold_once, result })
}

/// Whether no run of many oversold, and what all of them add up to.
fn many(runs: u64, seed: u64, faults: Faults) -> (bool, Value) {
    let mut total = Outcome::default();
    let (mut runs_oversold, mut rival_oversold) = (0_u64, 0_u64);
    for run in 0..runs {
        let outcome = schedule(seed.wrapping_add(run), faults);
        runs_oversold += u64::from(outcome.escrow.oversold > 0);
        rival_oversold += u64::from(outcome.nothing.oversold > 0);
        total.escrow.add(outcome.escrow);
        total.central.add(outcome.central);
        total.nothing.add(outcome.nothing);
        for (sum, faults) in total.faults.iter_mut().zip(outcome.faults) {
            *sum += faults;
        }
    }
    let [cuts, crashes, restores, clones] = total.faults;
    let result = json!({
        "faults": {"cuts": cuts, "crashes": crashes, "restores": restores, "clones": clones},
        "runs_oversold_with_escrow": runs_oversold,
        "runs_oversold_without_coordination": rival_oversold,
        "escrow": total.escrow.to_json(),
        "central_lock": total.central.to_json(),
        "no_coordination": total.nothing.to_json(),
    });
    (runs_oversold == 0, result)
}

/// One run; the same seed is the same run.
pub(crate) fn schedule(seed: u64, faults: Faults) -> Outcome {
    let mut random = SeededRandom::new(seed);
    let mut world = World::new(seed);
    let kinds = match faults {
        Faults::All => 1_000,
        Faults::CutsAndCrashes => 985,
    };
    for _ in 0..STEPS {
        match random.below(kinds) {
            0..400 => world.customer(&mut random),
            400..450 => world.customer_again(&mut random),
            450..850 => world.exchange(&mut random),
            850..900 => world.close(&mut random),
            900..928 => world.restock(&mut random),
            928..930 => world.shortfall(&mut random),
            930..970 => world.cut_or_heal(&mut random),
            970..985 => world.crash(&mut random),
            985..990 => world.back_up(&mut random),
            990..995 => world.restore(&mut random),
            _ => world.clone_one(&mut random),
        }
        world.check();
    }
    world.settle();
    world.check();
    world.outcome()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_unit_is_sold_twice_under_cuts_crashes_restores_and_clones() {
        let mut faults = [0; 4];
        for seed in 0..300 {
            let outcome = schedule(seed, Faults::All);

            assert_eq!(outcome.escrow.oversold, 0, "seed {seed}");
            for (sum, count) in faults.iter_mut().zip(outcome.faults) {
                *sum += count;
            }
        }
        assert!(faults.iter().all(|count| *count > 100), "{faults:?}");
    }

    #[test]
    fn without_coordination_the_same_customers_are_oversold() {
        let oversold =
            (0..50).filter(|seed| schedule(*seed, Faults::All).nothing.oversold > 0).count();

        assert!(oversold > 25, "{oversold} of 50 runs");
    }

    #[test]
    fn the_same_seed_is_the_same_run() {
        assert_eq!(schedule(7, Faults::All), schedule(7, Faults::All));
    }
}
