//! The measurement from start to report.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use headland_event::{Incarnation, PartitionIndex, TopicName, TopicPartition};
use headland_gauge::{cpu_of, float};
use headland_tests::fleet::{Fleet, Node};
use serde_json::{Value, json};

use crate::cost::{Cost, Held};
use crate::named::{self, Range, Said};
use crate::relay::{Relay, Wishes};
use crate::tampering::{Planted, Wish};

const TOPIC: &str = "air.readings";
const MIRROR: &str = "eu.air.readings";

/// Within which a fault has to be named.
const NAMED_LIMIT: Duration = Duration::from_secs(60);

/// Most of its processor time that a node may audit with, in percent.
const AUDIT_PERCENT_MAX: f64 = 2.0;

/// Lines written at once, and lines that may be on their way.
const LINES_AT_ONCE: u64 = 5_000;
const LINES_AHEAD: u64 = 100_000;

/// How often it is looked how far the mirror is, and what the audit names.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);
const ASK_INTERVAL: Duration = Duration::from_millis(500);

/// Time without progress after which a run is given up.
const STUCK: Duration = Duration::from_secs(120);

/// Rules without a rule: each line becomes a record at the time it was read.
const RULES: &str = "CREATE TABLE inventory_events (id STRING, device STRING)
WITH ('topic' = 'inventory.events', 'format' = 'json', 'key' = 'device');
CREATE TABLE air_readings (station STRING, pm25 DOUBLE)
WITH ('topic' = 'air.readings', 'format' = 'csv', 'key' = 'station');
";

/// A fault as it was planted and named.
#[derive(Debug, Clone)]
struct Found {
    planted: Planted,
    range: Range,
    after: Duration,
}

/// The nodes and their load.
struct Regions {
    fleet: Fleet,
    eu: Node,
    us: Node,
    agent: Node,
    written: u64,
}

impl Regions {
    async fn start(&mut self) -> Result<()> {
        self.fleet.write("rules.sql", RULES)?;
        self.fleet.append("eu-1.csv", &["station,pm25"])?;
        self.fleet.append("eu-1.jsonl", &[""; 0])?;
        self.eu.start().await?;
        self.us.start().await?;
        self.agent.start().await
    }

    fn write(&mut self, until: u64) -> Result<()> {
        let line = |at: u64| format!("eu-1-{},{}.5", at % 20, at % 100);
        let lines: Vec<String> = (self.written..until).map(line).collect();
        self.written = until;
        self.fleet.append("eu-1.csv", &lines)
    }

    /// Records that the mirror has.
    async fn mirrored(&self) -> Result<u64> {
        let answer = self.us.api.get(&format!("/v1/topics/{MIRROR}")).await?;
        if answer.code == 404 {
            return Ok(0);
        }
        let topic: Value = serde_json::from_str(&answer.body).context("a topic is not JSON")?;
        Ok(topic.pointer("/partitions/0/end").and_then(Value::as_u64).unwrap_or(0))
    }

    /// Processor time of the agent, of the hub it uses and of the one with the mirror.
    fn cpu(&mut self) -> Result<[Duration; 3]> {
        let [agent, eu, us] = [&mut self.agent, &mut self.eu, &mut self.us];
        Ok([
            cpu_of(agent.process()?.id()?)?,
            cpu_of(eu.process()?.id()?)?,
            cpu_of(us.process()?.id()?)?,
        ])
    }

    /// Writes so many records, has one dropped and one doubled on their way, and waits until all
    /// are there and both are named.
    async fn load(&mut self, records: u64, wishes: &Wishes) -> Result<[Found; 2]> {
        let socket = self.fleet.path("us.sock");
        let mut found: [Option<Found>; 2] = [None, None];
        let mut wished = [false, false];
        let (mut mirrored, mut moved_at) = (0, headland_gauge::now());
        let mut asked_at = moved_at;
        loop {
            let now = headland_gauge::now();
            let end = self.mirrored().await?;
            if end > mirrored {
                (mirrored, moved_at) = (end, now);
            }
            // Each in a range of its own: both in one would be as many records as were written.
            if !wished[0] && mirrored >= records / 4 {
                wished[0] = true;
                wishes.plant(Wish::Drop);
            } else if !wished[1] && found[0].is_some() && mirrored >= records / 2 {
                wished[1] = true;
                wishes.plant(Wish::Double);
            }
            let planted = wishes.planted();
            // A part is left over for the second one.
            let until = if wished[1] { records } else { records / 4 * 3 };
            let room = (mirrored + LINES_AHEAD).min(until);
            if self.written < room {
                self.write((self.written + LINES_AT_ONCE).min(room))?;
            }
            if now.saturating_sub(asked_at) >= ASK_INTERVAL {
                asked_at = now;
                if look(&socket, planted, &mut found).await? {
                    moved_at = headland_gauge::now();
                }
            }
            if let [Some(dropped), Some(doubled)] = &found
                && mirrored >= records
            {
                return Ok([dropped.clone(), doubled.clone()]);
            }
            if now.saturating_sub(moved_at) > STUCK {
                bail!("{mirrored} of {records} records, planted {planted:?}, found {found:?}");
            }
            if self.written >= room {
                tokio::time::sleep(LOOK_INTERVAL).await;
            }
        }
    }
}

/// Asks the audit for what was planted and not found yet; whether it has named one more.
async fn look(
    socket: &std::path::Path,
    planted: [Option<Planted>; 2],
    found: &mut [Option<Found>; 2],
) -> Result<bool> {
    let is_open = planted.iter().zip(&*found).any(|(of, known)| of.is_some() && known.is_none());
    if !is_open {
        return Ok(false);
    }
    let said = named::audit(socket).await?;
    let now = headland_gauge::now();
    let mut is_more = false;
    let words = ["1 records are missing", "1 records are there twice"];
    for ((planted, found), what) in planted.into_iter().zip(found).zip(words) {
        if let (Some(planted), None) = (planted, &found)
            && let Some(range) = said.names(what, planted.dot)
        {
            ensure!(!said.is_well, "the command ended well: {:?}", said.lines);
            let after = now.saturating_sub(planted.at);
            *found = Some(Found { planted, range, after });
            is_more = true;
        }
    }
    Ok(is_more)
}

fn prepare() -> Result<(Regions, Relay)> {
    let fleet = Fleet::new()?;
    let (eu, us) = (fleet.hub("eu")?, fleet.hub("us")?);
    for hub in [&eu, &us] {
        // What hubs have unless they are told otherwise.
        hub.reconfigure("[storage]\nfile_bytes = \"4MiB\"\n", "")?;
    }
    eu.grant("eu-1", &[TOPIC, "alerts"], &["eu-1-"])?;
    eu.expect(&us)?;
    let relay = Relay::start(&fleet, ("eu", "us"), &eu, TopicName::new(TOPIC)?)?;
    us.dial_through(&eu, relay.address)?;
    let agent = fleet.agent("eu-1", &eu)?;
    Ok((Regions { fleet, eu, us, agent, written: 0 }, relay))
}

/// What a run with both faults came to.
struct Run {
    records: u64,
    regions: Regions,
    found: [Found; 2],
    took: Duration,
    cpu: [Duration; 3],
    /// What the audit says at the hub, and at the one with the mirror.
    said: [Said; 2],
}

/// One record of many dropped and one doubled between two hubs.
///
/// # Errors
/// When a process does not start or end as it should, or a fault is not named at all.
pub(crate) async fn measure(records: u64) -> Result<(bool, Value)> {
    let (regions, relay) = prepare()?;
    let wishes = relay.wishes();
    let mut run = tokio::select! {
        biased;
        run = run(records, regions, &wishes) => run?,
        ended = relay.ended() => match ended? {},
    };
    let Regions { agent, us, eu, .. } = &mut run.regions;
    for node in [agent, us, eu] {
        node.stop().await?;
    }
    run.report()
}

async fn run(records: u64, mut regions: Regions, wishes: &Wishes) -> Result<Run> {
    regions.start().await?;
    let (began, before) = (headland_gauge::now(), regions.cpu()?);
    let found = regions.load(records, wishes).await?;
    let (took, mut cpu) = (headland_gauge::now().saturating_sub(began), regions.cpu()?);
    cpu.iter_mut().zip(before).for_each(|(cpu, before)| *cpu = cpu.saturating_sub(before));
    let [near, far] = ["eu.sock", "us.sock"].map(|name| regions.fleet.path(name));
    let said = [named::audit(&near).await?, named::audit(&far).await?];
    Ok(Run { records, regions, found, took, cpu, said })
}

impl Run {
    /// Reads the journals of the stopped nodes; what was found, and whether it is within the bars.
    fn report(&self) -> Result<(bool, Value)> {
        let Self { records, regions, found, took, cpu, said } = self;
        let folders = ["eu.data", "us.data"].map(|name| regions.fleet.path(name));
        let held = [
            Held::of(&folders[0], &partition(TOPIC)?)?,
            Held::of(&folders[1], &partition(MIRROR)?)?,
        ];
        let nobody = Incarnation::new(0, 0);
        // The agent keeps nothing for long: its calls are made on what lies at its hub.
        let writer = found[0].planted.dot.incarnation;
        let nodes = [
            NodeCost { cpu: cpu[0], audit: Cost::of(&folders[0], writer)? },
            NodeCost { cpu: cpu[1], audit: Cost::of(&folders[0], nobody)? },
            NodeCost { cpu: cpu[2], audit: Cost::of(&folders[1], nobody)? },
        ];
        let whole = Held { records: *records, missing: 0, again: 0 };
        let is_planted = held == [whole, Held { missing: 1, again: 1, ..whole }];
        let [near, far] = said.each_ref().map(Said::faults);
        let is_exact = near.is_empty() && far.len() == 2;
        let is_soon = found.iter().all(|found| found.after <= NAMED_LIMIT);
        let is_cheap = nodes.iter().all(|node| node.percent() < AUDIT_PERCENT_MAX);
        let result = json!({
            "records": records,
            "records_per_second": float(*records) / took.as_secs_f64(),
            "took_seconds": took.as_secs_f64(),
            "dropped": found[0].json(),
            "doubled": found[1].json(),
            "named_after_seconds_at_most": NAMED_LIMIT.as_secs(),
            "held_by_the_hub": held[0].json(),
            "held_by_the_mirror": held[1].json(),
            "ranges_named_at_the_hub": near,
            "ranges_named_at_the_mirror": far,
            "agent": nodes[0].json(),
            "hub": nodes[1].json(),
            "mirror": nodes[2].json(),
            "audit_percent_below": AUDIT_PERCENT_MAX,
        });
        Ok((is_planted && is_exact && is_soon && is_cheap, result))
    }
}

fn partition(topic: &str) -> Result<TopicPartition> {
    Ok(TopicPartition::new(TopicName::new(topic)?, PartitionIndex::new(0)))
}

/// What a node's process took for everything, and what auditing takes of it.
struct NodeCost {
    cpu: Duration,
    audit: Cost,
}

impl NodeCost {
    fn percent(&self) -> f64 {
        100.0 * self.audit.cpu.as_secs_f64() / self.cpu.as_secs_f64()
    }

    fn json(&self) -> Value {
        let Cost { batches, records, statements, cpu } = self.audit;
        json!({
            "cpu_seconds": self.cpu.as_secs_f64(),
            "audit_cpu_seconds": cpu.as_secs_f64(),
            "audit_percent": self.percent(),
            "batches": batches,
            "records_of_all_topics": records,
            "statements": statements,
            "audit_ns_a_batch": cpu.as_secs_f64() * 1e9 / float(batches),
        })
    }
}

impl Found {
    fn json(&self) -> Value {
        let Self { planted, range, after } = self;
        json!({
            "sequence": planted.dot.sequence.get(),
            "named_after_seconds": after.as_secs_f64(),
            "from": range.sequences.start,
            "to_before": range.sequences.end,
            "line": range.line,
        })
    }
}
