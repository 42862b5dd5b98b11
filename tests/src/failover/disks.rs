//! A hub that loses its disk under load, and what was acknowledged by then.
//!
//! With `ack = "regions(2)"` all of it is in the other region. With `ack = "local"` some of it may
//! have been on that disk only: agents keep what was acknowledged for an hour and bring it again.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use headland_event::{Random, SeededRandom};
use serde_json::{Value, json};

use super::consumer::Consumer;
use super::regions::{TOPIC, Writer, grant};
use crate::cable::Cable;
use crate::fleet::{Fleet, Node};

/// How often each agent's file grows, and by how many lines.
const TICK: Duration = Duration::from_millis(10);
const LINES: u64 = 5;

/// For how long there is load before a kill, at least and beyond it at most.
const BEFORE_MS: u64 = 1_500;
const DRAWN_MS: u64 = 1_500;

/// How long the way between the regions takes.
const ONE_WAY: Duration = Duration::from_millis(40);

/// When a record is acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ack {
    /// Once the hub has it on its disk.
    Local,
    /// Once two regions have.
    TwoRegions,
}

/// What one lost disk came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Try {
    /// Lines that agents knew to be safe when the hub was killed, at least.
    acknowledged: u64,
    /// Those of them that the other region did not have.
    only_there: u64,
    /// Lines that neither region has once the hub has come back without its disk.
    lost: u64,
}

/// What lost disks came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Disks {
    ack: Ack,
    tries: Vec<Try>,
}

impl Disks {
    /// Whether no line that was acknowledged is gone: with two regions from the moment of the kill,
    /// else once agents have brought it again.
    #[must_use]
    pub fn is_exact(&self) -> bool {
        let is_safe = |of: &Try| of.only_there == 0 || self.ack == Ack::Local;
        let is_some = |of: &Try| of.acknowledged > 0;
        self.tries.iter().all(|of| of.lost == 0 && is_safe(of) && is_some(of))
    }

    /// What was found, as JSON.
    #[must_use]
    pub fn json(&self) -> Value {
        let tries = self.tries.iter().map(|of| {
            json!({ "acknowledged": of.acknowledged, "acknowledged_only_there": of.only_there,
                "lost_after_refill": of.lost })
        });
        let ack = match self.ack {
            Ack::Local => "local",
            Ack::TwoRegions => "regions(2)",
        };
        let worst = self.tries.iter().map(|of| of.only_there).max();
        json!({
            "ack": ack,
            "round_trip_ms": (2 * ONE_WAY).as_secs_f64() * 1_000.0,
            "tries": tries.collect::<Vec<_>>(),
            "rpo_records_worst": worst,
            "nothing_acknowledged_lost": self.is_exact(),
        })
    }
}

/// Loses the disk of a hub with so many agents once, in a fleet of its own.
async fn lose(ack: Ack, agents: usize, lasts: Duration) -> Result<Try> {
    let fleet = Fleet::new()?;
    let (mut eu, mut us) = (fleet.hub("eu")?, fleet.hub("us")?);
    if ack == Ack::TwoRegions {
        let of = format!("name = {TOPIC:?}\nack = \"regions(2)\"");
        eu.reconfigure(&format!("name = {TOPIC:?}"), &of)?;
    }
    let names: Vec<String> = (0..agents).map(|agent| format!("eu-{agent}")).collect();
    grant(&eu, &names, None)?;
    eu.expect(&us)?;
    let cable = Cable::lay(eu.address)?;
    cable.delay(ONE_WAY);
    us.dial_through(&eu, cable.address)?;
    let of = |name: &String| Writer::new(&fleet, name, &[(&eu, "eu")]);
    let mut writers = names.iter().map(of).collect::<Result<Vec<Writer>>>()?;
    eu.start().await?;
    us.start().await?;
    for writer in &mut writers {
        writer.write(&fleet, 1, 0)?;
        writer.node.start().await?;
        // Both regions are linked, and the agent is known.
        writer.settle(None).await?;
    }
    let mut interval = tokio::time::interval(TICK);
    for _ in 0..lasts.as_millis() / TICK.as_millis() {
        interval.tick().await;
        writers.iter_mut().try_for_each(|writer| writer.write(&fleet, LINES, 0))?;
    }
    // What was on its way is lost with it.
    cable.cut();
    eu.kill().await?;
    std::fs::remove_dir_all(fleet.path("eu.data")).context("no data directory")?;
    let mut safe = BTreeMap::new();
    for writer in &writers {
        safe.insert(writer.name().to_owned(), writer.acknowledged().await?);
    }
    let there = all_at(&us, "all-at-us").await?;
    let is_there = |agent: &str, number: u64| there.contains(&format!("{agent},{number}"));
    let missing = |(agent, safe): (&String, &u64)| {
        (0..*safe).filter(|number| !is_there(agent, *number)).count()
    };
    let only_there = u64::try_from(safe.iter().map(missing).sum::<usize>())?;

    cable.heal();
    eu.start().await?;
    for writer in &mut writers {
        writer.write(&fleet, LINES, 0)?;
        writer.settle(None).await?;
    }
    let all: BTreeSet<String> = &all_at(&eu, "all-at-eu").await? | &there;
    let written: u64 = writers.iter().map(|writer| writer.written).sum();
    let found = u64::try_from(all.len())?;
    ensure!(found <= written, "{found} of {written} lines");
    Ok(Try { acknowledged: safe.values().sum(), only_there, lost: written - found })
}

async fn all_at(hub: &Node, group: &str) -> Result<BTreeSet<String>> {
    let mut all = Consumer::new(group);
    all.drain(hub).await?;
    Ok(all.into_seen())
}

/// Loses a disk so often, each time in a fleet of its own; moments are drawn from a seed.
///
/// # Errors
/// When a node does not do what it is asked.
pub async fn run(ack: Ack, agents: usize, tries: usize, seed: u64) -> Result<Disks> {
    let (mut random, mut found) = (SeededRandom::new(seed), Vec::with_capacity(tries));
    for _ in 0..tries {
        let lasts = Duration::from_millis(BEFORE_MS + random.below(DRAWN_MS));
        found.push(lose(ack, agents, lasts).await?);
    }
    Ok(Disks { ack, tries: found })
}
