//! Properties of the plan, over several seeds.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use clap::Parser;
use headland_event::AgentName;
use serde_json::Value;

use super::opening::RESTOCK_BELOW;
use super::options::Options;
use super::plan::{Plan, Stream};

#[derive(Debug, Parser)]
struct Cli {
    #[command(flatten)]
    options: Options,
}

fn plan(arguments: &[&str]) -> Plan {
    let all = std::iter::once("quickstart").chain(arguments.iter().copied());
    Plan::new(&Cli::try_parse_from(all).unwrap().options).unwrap()
}

fn plans() -> impl Iterator<Item = Plan> {
    ["1", "2", "3", "77"].into_iter().map(|seed| plan(&["--seed", seed]))
}

fn region_of(site: &AgentName) -> String {
    site.as_str().chars().take(2).collect()
}

/// Folds the inventory lines of every site in their order: restock alerts per region.
fn restock_alerts(plan: &Plan) -> BTreeMap<String, usize> {
    let mut units: BTreeMap<(String, String), i64> = BTreeMap::new();
    let mut seen = BTreeSet::new();
    let mut alerts = BTreeMap::new();
    for feed in plan.opening.iter().chain(&plan.paced) {
        if feed.stream == Stream::Air || !seen.insert(feed.line.clone()) {
            continue;
        }
        let event: Value = serde_json::from_str(&feed.line).unwrap();
        let quantity = event["quantity"].as_i64().unwrap();
        let delta = if event["kind"] == "sale" { -quantity } else { quantity };
        let text = |name: &str| event[name].as_str().unwrap().to_owned();
        let units = units.entry((text("sku"), text("location"))).or_default();
        let before = *units;
        *units += delta;
        if before >= RESTOCK_BELOW && *units < RESTOCK_BELOW && delta < 0 {
            *alerts.entry(region_of(&feed.site)).or_default() += 1;
        }
    }
    alerts
}

#[test]
fn every_region_gets_more_than_thirty_restock_alerts_for_any_seed_and_split() {
    let others = [plan(&["--by", "country"]), plan(&["--regions", "6"])];
    for plan in plans().chain(others) {
        let alerts = restock_alerts(&plan);

        assert_eq!(alerts.len(), plan.fleet.regions().len());
        assert!(alerts.values().all(|count| *count >= 45), "{alerts:?}");
    }
}

#[test]
fn the_same_seed_gives_the_same_plan_and_another_seed_another_one() {
    let (one, same, other) = (plan(&["--seed", "5"]), plan(&["--seed", "5"]), plan(&[]));

    assert_eq!(one.paced, same.paced);
    assert_eq!((one.cut_at, &one.victim), (same.cut_at, &same.victim));
    assert_ne!(one.paced, other.paced);
}

#[test]
fn every_delivery_id_is_unique_but_for_redeliveries_of_the_same_agent() {
    for plan in plans() {
        let mut copies: BTreeMap<(String, String), usize> = BTreeMap::new();
        for feed in plan.opening.iter().chain(&plan.paced) {
            if feed.stream == Stream::Inventory {
                let event: Value = serde_json::from_str(&feed.line).unwrap();
                let id = event["id"].as_str().unwrap().to_owned();
                *copies.entry((id, feed.site.to_string())).or_default() += 1;
            }
        }

        assert_eq!(copies.values().filter(|count| **count == 2).count(), 60);
        assert!(copies.values().all(|count| *count <= 2));
        assert!(copies.keys().all(|(id, site)| id.starts_with(&format!("{site}/"))));
    }
}

#[test]
fn nothing_but_what_is_held_could_be_late_with_two_hours_of_delay() {
    for plan in plans() {
        let mut highest = BTreeMap::new();
        for feed in plan.paced.iter().filter(|feed| feed.stream == Stream::Inventory) {
            let event: Value = serde_json::from_str(&feed.line).unwrap();
            let time: jiff::Timestamp = event["time"].as_str().unwrap().parse().unwrap();
            let time = time.as_millisecond();
            let highest = highest.entry(feed.site.clone()).or_insert(time);
            // An attribute that is an hour fast may have been written just before.
            assert!(time + 3_600_000 > *highest, "{feed:?}");
            *highest = time.max(*highest);
        }
    }
}

#[test]
fn every_site_plays_two_hours_past_what_its_region_holds_back() {
    for plan in plans().chain([plan(&["--by", "country"]), plan(&["--regions", "6"])]) {
        let mut last = BTreeMap::new();
        for feed in plan.paced.iter().filter(|feed| feed.stream == Stream::Inventory) {
            last.insert(&feed.site, feed.at.millis());
        }

        assert_eq!(plan.held.len(), 120);
        for held in &plan.held {
            for site in plan.fleet.sites_of(&held.region) {
                assert!(held.time.millis() + 2 * 3_600_000 <= last[&site.name], "{held:?}");
            }
        }
    }
}

#[test]
fn the_play_spans_the_duration_and_the_cut_heals_before_its_end() {
    for duration in ["25s", "40s", "120s"] {
        let plan = plan(&["--duration", duration]);

        let last = plan.paced.last().unwrap().due;
        assert!(last > plan.play.mul_f32(0.98) && last <= plan.play, "{last:?}");
        assert!(plan.cut_at + Duration::from_secs(10) < plan.play);
        assert!(plan.paced.is_sorted_by_key(|feed| feed.due));
    }
}

#[test]
fn every_product_is_in_stock_in_every_region() {
    let plan = plan(&[]);

    let mut skus: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for feed in &plan.opening {
        let event: Value = serde_json::from_str(&feed.line).unwrap();
        let sku = event["sku"].as_str().unwrap().to_owned();
        skus.entry(region_of(&feed.site)).or_default().insert(sku);
    }
    assert_eq!(skus["eu"].len(), 2_152);
    assert!(skus["eu"] == skus["us"] && skus["us"] == skus["ap"]);
}

#[test]
fn over_all_seeds_every_hub_is_killed_by_some() {
    let victims: BTreeSet<String> =
        (1..=12).map(|seed: u32| plan(&["--seed", &seed.to_string()]).victim.to_string()).collect();

    assert_eq!(victims.len(), 3);
}
