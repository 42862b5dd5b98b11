//! Histories of three hubs that take events in and exchange them with random delays.
//!
//! Each partition of each mirror falls behind by itself, so contexts are what real hubs stamp: they
//! may include an event without all of that event's context. Clocks are off by up to a day and
//! never corrected. Mirrors pass over parts of logs, and damage takes parts of journals, which come
//! again later; some lives say of what they write meanwhile that they have not seen them, others
//! claim that they have. Few skus, locations and ids make conflicts and duplicates frequent.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::json;

use crate::oracle::{Actor, Record};

pub(crate) const REGIONS: [&str; 3] = ["ap", "eu", "us"];
const KINDS: [&str; 14] = [
    "sale",
    "return",
    "restock",
    "adjustment",
    "transfer-out",
    "transfer-in",
    "reserve",
    "commit",
    "release",
    "stocktake",
    "attribute",
    "approve",
    "reject",
    "amend",
];
const PARTITIONS: u32 = 2;
const DAY_MS: i64 = 86_400_000;

/// One thing that happens at a hub.
#[derive(Debug, Clone)]
pub(crate) enum Step {
    /// It takes a batch in: events that share a context and a clock.
    Ingest { hub: usize, partition: u32, batch: Vec<(&'static str, Draft)> },
    /// It receives up to `count` more records of a partition of another hub.
    Receive { hub: usize, from: usize, partition: u32, count: u64 },
    /// It receives the same after it has passed over `passed` records, which come later.
    Pass { hub: usize, from: usize, partition: u32, passed: u64, count: u64 },
    /// Damage takes `count` records of its journal from one on, which others still hold.
    Lose { hub: usize, at: usize, count: usize },
    /// It gets some of what it is missing, the last of it first.
    Heal { hub: usize, count: usize },
    /// It goes back to a backup, the first `kept` records of its journal, as a new incarnation;
    /// with none of them it has lost its disk.
    Restore { hub: usize, kept: usize },
    /// A copy of it starts beside it as another incarnation; from then on this step is where the
    /// other one of the two goes on.
    Clone { hub: usize },
}

/// An event before it has its place.
#[derive(Debug, Clone)]
pub(crate) struct Draft {
    kind: &'static str,
    /// An id shared by several devices' deliveries, else the event gets its own.
    shared: Option<u8>,
    sku: u8,
    location: u8,
    amount: i64,
}

/// Every record ever written, and in which order each hub came to hold them.
#[derive(Debug, Clone)]
pub(crate) struct History {
    pub(crate) records: Vec<Record>,
    /// Indices into `records`, for each hub's last life, followed by what was under way.
    pub(crate) journals: [Vec<usize>; 3],
}

fn drafts() -> impl Strategy<Value = Draft> {
    let kind = proptest::sample::select(&KINDS[..]);
    let shared = prop_oneof![3 => Just(None), 1 => (0..12_u8).prop_map(Some)];
    (kind, shared, 0..2_u8, 0..2_u8, 1..40_i64).prop_map(|(kind, shared, sku, location, amount)| {
        Draft { kind, shared, sku, location, amount }
    })
}

fn steps() -> impl Strategy<Value = Step> {
    let verdict = prop_oneof![
        10 => Just("on-time"), 4 => Just("late"), 1 => Just("future"), 1 => Just("forbidden"),
    ];
    prop_oneof![
        20 => (0..3_usize, 0..PARTITIONS, vec((verdict, drafts()), 1..4))
            .prop_map(|(hub, partition, batch)| Step::Ingest { hub, partition, batch }),
        20 => (0..3_usize, 1..3_usize, 0..PARTITIONS, 1..6_u64).prop_map(
            |(hub, by, partition, count)| {
                let from = (hub + by) % 3;
                Step::Receive { hub, from, partition, count }
            }
        ),
        3 => (0..3_usize, 1..3_usize, 0..PARTITIONS, 1..4_u64, 1..4_u64).prop_map(
            |(hub, by, partition, passed, count)| {
                let from = (hub + by) % 3;
                Step::Pass { hub, from, partition, passed, count }
            }
        ),
        1 => (0..3_usize, 0..40_usize, 1..6_usize)
            .prop_map(|(hub, at, count)| Step::Lose { hub, at, count }),
        2 => (0..3_usize, 1..4_usize).prop_map(|(hub, count)| Step::Heal { hub, count }),
        1 => (0..3_usize, prop_oneof![Just(0), 0..40_usize])
            .prop_map(|(hub, kept)| Step::Restore { hub, kept }),
        1 => (0..3_usize).prop_map(|hub| Step::Clone { hub }),
    ]
}

/// Histories of up to `length` steps.
pub(crate) fn histories(length: usize) -> impl Strategy<Value = History> {
    (vec(steps(), 1..length), skews(), any::<u8>())
        .prop_map(|(steps, skews, naming)| run(&steps, skews, naming))
}

/// Histories in which nothing is delivered twice.
pub(crate) fn histories_without_copies(length: usize) -> impl Strategy<Value = History> {
    (vec(steps(), 1..length), skews(), any::<u8>()).prop_map(|(mut steps, skews, naming)| {
        for step in &mut steps {
            if let Step::Ingest { batch, .. } = step {
                batch.iter_mut().for_each(|(_, event)| event.shared = None);
            }
        }
        run(&steps, skews, naming)
    })
}

fn skews() -> [Range<i64>; 3] {
    [-DAY_MS..DAY_MS, -DAY_MS..DAY_MS, -DAY_MS..DAY_MS]
}

#[derive(Clone, Default)]
struct Hub {
    life: u32,
    /// Lives of this region so far, less one.
    lives: u32,
    /// The other one of a hub and its clone.
    twin: Option<Box<Self>>,
    /// Ends of every actor's log as this hub's journal holds them: its vector clock.
    ends: BTreeMap<Actor, u64>,
    /// What is missing below them.
    missing: BTreeSet<(Actor, u64)>,
    journal: Vec<usize>,
}

/// The bits of `naming` say which lives of which hub name what they have not seen.
fn run(steps: &[Step], skews: [i64; 3], naming: u8) -> History {
    let mut hubs = [Hub::default(), Hub::default(), Hub::default()];
    let mut logs: BTreeMap<Actor, Vec<usize>> = BTreeMap::new();
    let mut records = Vec::new();
    for (now, step) in (1_300_000_000_000_i64..).step_by(1_000).zip(steps) {
        match step {
            Step::Ingest { hub, partition, batch } => {
                let at = &mut hubs[*hub];
                let actor = actor(*hub, at.life, *partition);
                let log = logs.entry(actor.clone()).or_default();
                let names = naming.rotate_right(at.life + 3 * *hub as u32) & 1 == 1;
                let claimed = BTreeSet::new();
                let missing = if names { &at.missing } else { &claimed };
                let context = at.seen_by(&actor, missing);
                for (verdict, event) in batch {
                    let index = records.len();
                    let value = event.to_json(&records);
                    records.push(Record {
                        actor: actor.clone(),
                        offset: log.len() as u64,
                        hlc: (now + skews[*hub], 0),
                        context: context.clone(),
                        verdict,
                        value,
                    });
                    log.push(index);
                    at.journal.push(index);
                }
                at.ends.insert(actor, log.len() as u64);
            }
            Step::Receive { hub, from, partition, count } => {
                let life = hubs[*from].life;
                receive(&mut hubs[*hub], &logs, &actor(*from, life, *partition), *count);
            }
            Step::Pass { hub, from, partition, passed, count } => {
                let life = hubs[*from].life;
                let from = actor(*from, life, *partition);
                hubs[*hub].pass(&logs, &from, *passed, *count);
            }
            Step::Lose { hub, at, count } => hubs[*hub].lose((*at, *count), &records),
            Step::Heal { hub, count } => hubs[*hub].heal(&logs, *count),
            Step::Restore { hub, kept } => hubs[*hub].restore(*kept, &records),
            Step::Clone { hub } => hubs[*hub].turn_to_clone(),
        }
    }
    let journals = hubs.map(|mut hub| {
        hub.heal(&logs, usize::MAX);
        for actor in logs.keys() {
            receive(&mut hub, &logs, actor, u64::MAX);
        }
        hub.journal
    });
    History { records, journals }
}

impl Hub {
    /// What a writer of log `own` says that it has seen, of which that is all before, when it names
    /// what is missing.
    fn seen_by(
        &self,
        own: &Actor,
        missing: &BTreeSet<(Actor, u64)>,
    ) -> BTreeMap<Actor, Vec<Range<u64>>> {
        let seen = |(actor, end): (&Actor, &u64)| {
            let (mut ranges, mut from) = (Vec::new(), 0);
            let missing = missing.iter().filter(|(of, _)| of == actor && of != own);
            for gap in missing.map(|(_, offset)| *offset).chain([*end]) {
                if from < gap {
                    ranges.push(from..gap);
                }
                from = gap + 1;
            }
            (actor.clone(), ranges)
        };
        self.ends.iter().map(seen).collect()
    }

    fn restore(&mut self, kept: usize, records: &[Record]) {
        self.lives += 1;
        self.life = self.lives;
        self.journal.truncate(kept);
        self.ends.clear();
        let held: BTreeSet<(Actor, u64)> = self
            .journal
            .iter()
            .map(|at| (records[*at].actor.clone(), records[*at].offset))
            .collect();
        for (actor, offset) in &held {
            self.ends.insert(actor.clone(), offset + 1);
        }
        let below = self.ends.iter().flat_map(|(of, end)| (0..*end).map(|at| (of.clone(), at)));
        self.missing = below.filter(|at| !held.contains(at)).collect();
    }

    fn pass(&mut self, logs: &BTreeMap<Actor, Vec<usize>>, from: &Actor, passed: u64, count: u64) {
        let end = self.ends.get(from).copied().unwrap_or_default();
        let length = logs.get(from).map_or(0, |log| log.len() as u64);
        // Nobody knows of what is missing before something behind it comes.
        if end + passed < length {
            self.missing.extend((end..end + passed).map(|at| (from.clone(), at)));
            self.ends.insert(from.clone(), end + passed);
            receive(self, logs, from, count);
        }
    }

    fn lose(&mut self, (at, count): (usize, usize), records: &[Record]) {
        let at = at.min(self.journal.len());
        let until = (at + count).min(self.journal.len());
        let lost = self.journal.drain(at..until).map(|index| &records[index]);
        self.missing.extend(lost.map(|record| (record.actor.clone(), record.offset)));
    }

    fn heal(&mut self, logs: &BTreeMap<Actor, Vec<usize>>, count: usize) {
        for _ in 0..count {
            let Some((actor, offset)) = self.missing.pop_last() else { break };
            self.journal.push(logs[&actor][offset as usize]);
        }
    }

    fn turn_to_clone(&mut self) {
        let lives = self.lives;
        let mut other = match self.twin.take() {
            Some(other) => *other,
            None => Self { life: lives + 1, lives: lives + 1, ..self.clone() },
        };
        other.lives = other.lives.max(lives);
        std::mem::swap(self, &mut other);
        self.twin = Some(Box::new(other));
    }
}

fn actor(hub: usize, life: u32, partition: u32) -> Actor {
    (REGIONS[hub].to_owned(), (life + 1, u64::from(life) * 7 + 1), partition)
}

fn receive(hub: &mut Hub, logs: &BTreeMap<Actor, Vec<usize>>, from: &Actor, count: u64) {
    let Some(log) = logs.get(from) else { return };
    let end = hub.ends.entry(from.clone()).or_default();
    let until = end.saturating_add(count).min(log.len() as u64);
    hub.journal.extend(&log[*end as usize..until as usize]);
    *end = until;
    // A clock names no actor it knows nothing of, as the crate's clocks do.
    if until == 0 {
        hub.ends.remove(from);
    }
}

impl Draft {
    /// The event that comes after these records.
    fn to_json(&self, before: &[Record]) -> serde_json::Value {
        let index = before.len();
        let id = self.shared.map_or_else(|| format!("e{index}"), |shared| format!("s{shared}"));
        let (sku, location) = (format!("sku-{}", self.sku), format!("at-{}", self.location));
        // Few seconds, so that counts and what is posted beside them overlap, or do not.
        let time = format!("2010-12-01T08:26:0{}Z", self.amount % 3);
        let mut event = json!({
            "id": id, "kind": self.kind, "device": "d", "sku": sku, "time": time,
        });
        match self.kind {
            "attribute" => {
                event["attribute"] = location.into();
                event["value"] = (self.amount % 4).to_string().into();
            }
            "approve" | "reject" | "amend" => {
                let late = match (self.location, self.amount % 2) {
                    (0, 0) => format!("s{}", self.amount % 12),
                    (0, _) => format!("e{}", self.amount),
                    (_, _) => self.overlap(before).unwrap_or_else(|| "e1".to_owned()),
                };
                event["late"] = late.into();
                event["reviewer"] = format!("reviewer-{}", self.amount % 3).into();
                event["reason"] = "counted again".into();
                event["quantity"] = (1 + self.amount % 2).into();
                event["effective"] = ["restate", "carry"][usize::from(self.sku)].into();
            }
            "stocktake" => {
                event["location"] = location.into();
                event["count"] = self.amount.into();
            }
            _ => {
                event["location"] = location.into();
                event["quantity"] = self.amount.into();
            }
        }
        event
    }
}

impl Draft {
    /// One of the pairs of a count and a posting of the sku: perhaps they overlap.
    fn overlap(&self, before: &[Record]) -> Option<String> {
        let sku = format!("sku-{}", self.sku);
        let of_sku: Vec<(&Record, &serde_json::Value)> = before
            .iter()
            .map(|record| (record, &record.value))
            .filter(|(_, event)| event["sku"] == sku)
            .collect();
        let is_count = |event: &serde_json::Value| event["kind"] == "stocktake";
        let counts = of_sku.iter().filter(|(_, event)| is_count(event));
        // Reviewers meet: they look at the last pairs.
        let (_, count) = counts.rev().nth(self.amount.unsigned_abs() as usize % 2)?;
        let is_there = |event: &&(&Record, &serde_json::Value)| {
            event.1["location"] == count["location"] && event.1["quantity"].is_number()
        };
        let postings = of_sku.iter().filter(is_there);
        let (posting, _) = postings.rev().nth(self.amount.unsigned_abs() as usize % 3)?;
        let (region, (life, nonce), partition) = &posting.actor;
        let place = format!("{region}@{life}-{nonce:016x}/{partition}/{}", posting.offset);
        Some(format!("{}~{place}", count["id"].as_str()?))
    }
}

impl History {
    /// The records in an order drawn by `turns` in which each actor's come by rising offset.
    pub(crate) fn interleaved(&self, turns: &[usize]) -> Vec<usize> {
        let mut waiting: BTreeMap<&Actor, Vec<usize>> = BTreeMap::new();
        for (index, record) in self.records.iter().enumerate().rev() {
            waiting.entry(&record.actor).or_default().push(index);
        }
        let mut order = Vec::new();
        let mut turns = turns.iter().cycle();
        while !waiting.is_empty() {
            let turn = turns.next().copied().unwrap_or(0) % waiting.len();
            let actor = *waiting.keys().nth(turn).unwrap();
            let log = waiting.get_mut(actor).unwrap();
            order.extend(log.pop());
            if log.is_empty() {
                waiting.remove(actor);
            }
        }
        order
    }
}
