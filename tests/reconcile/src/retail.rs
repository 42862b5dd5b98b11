//! The recorded retail stream at several hubs: net units against the exact truth file.
//!
//! Rows arrive as they were recorded to: late, redelivered, held back by outages of regions. Hubs
//! hear of each other once a minute. Rows are cut into hubs by country, as they were sold, and by
//! the hash of their product, which is even. Dirty, one in twenty comes twice more, perhaps at
//! another hub, one in twenty comes up to a minute late, one in a hundred a day late, and hubs are
//! cut off from each other for hours; what was called late is then reviewed by two hubs.

use std::collections::BTreeMap;
#[cfg(test)]
use std::path::Path;

use anyhow::Result;
use serde_json::{Value, json};

use crate::arguments::Arguments;
use crate::report::Report;
use headland_gauge as gauge;

/// The recorded files.
mod source;
/// When which row arrives at which hub.
mod plan;
/// Hubs that take rows in and mirror each other's logs.
mod fleet;

use fleet::Fleet;
use plan::Plan;
use source::Source;

/// How rows are cut into hubs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Split {
    /// By the region that the customer's country lies in; nine rows of ten are in one.
    Country,
    /// By the hash of the product.
    Hash,
}

/// What is done to the arrivals.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dirt {
    /// Nothing but what was recorded.
    Recorded,
    /// Copies, disorder, lateness and cuts on top.
    Added,
}

impl Split {
    const fn name(self) -> &'static str {
        match self {
            Self::Country => "by_country",
            Self::Hash => "by_hash",
        }
    }
}

impl Dirt {
    const fn name(self) -> &'static str {
        match self {
            Self::Recorded => "recorded",
            Self::Added => "dirt_added",
        }
    }
}

/// Net units by region, day and product; the region is empty where rows are cut by hash.
pub(crate) type Net = BTreeMap<(String, String, String), i64>;

/// Runs the four combinations over a folder of recorded files.
pub(crate) fn run(mut arguments: Arguments) -> Result<Report> {
    let (folder, seed) = (arguments.take_path("data")?, arguments.take("seed", 1_u64)?);
    arguments.finish()?;
    let source = Source::read(&folder)?;
    let mut results = serde_json::Map::new();
    let mut is_green = true;
    for split in [Split::Country, Split::Hash] {
        for dirt in [Dirt::Recorded, Dirt::Added] {
            let (fits, result) = check(&source, split, dirt, seed)?;
            is_green &= fits;
            results.insert(format!("{}_{}", split.name(), dirt.name()), result);
        }
    }
    let result = json!({"rows": source.rows.len(), "seed": seed, "runs": results});
    Ok(Report { is_green, result })
}

/// One combination: whether all hubs agree with each other and with the truth.
fn check(source: &Source, split: Split, dirt: Dirt, seed: u64) -> Result<(bool, Value)> {
    let start = gauge::now();
    let fleet = play(source, split, dirt, seed)?;
    let truth = source.truth(split);
    let first = fleet.hubs.first().map(|hub| hub.reconciler.canonical_state());
    let equal =
        fleet.hubs.iter().filter(|hub| Some(hub.reconciler.canonical_state()) == first).count();
    let exact = fleet.hubs.iter().filter(|hub| hub.net(split) == truth).count();
    let hubs = fleet.hubs.len();
    let result = json!({
        "hubs": hubs,
        "hubs_equal_byte_for_byte": equal,
        "hubs_equal_to_the_truth": exact,
        "truth_cells": truth.len(),
        "events": fleet.events(),
        "late_and_reviewed": fleet.reviewed,
        "copies_dropped": fleet.hubs.first().map_or(0, |hub| hub.duplicates),
        "seconds": (gauge::now() - start).as_secs_f64(),
    });
    Ok((equal == hubs && exact == hubs, result))
}

/// Plays the arrivals through a fleet until every hub holds everything.
fn play(source: &Source, split: Split, dirt: Dirt, seed: u64) -> Result<Fleet> {
    let plan = Plan::new(source, split, dirt, seed)?;
    let mut fleet = Fleet::new(source.regions.len())?;
    fleet.play(plan);
    fleet.review();
    fleet.meet();
    Ok(fleet)
}

/// The committed excerpt: four days with an outage.
#[cfg(test)]
fn excerpt() -> Source {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/online_retail");
    Source::read(&folder).unwrap()
}

#[cfg(test)]
mod tests;
