//! Groups that go to another region and come back, at any lag.
//!
//! A group reads the union over regions in `eu`. By one command it goes on in `us`, where its agent
//! goes on too, and by one command back. Each time it is somewhere in the log: behind its end, or
//! ahead of what `us` has of it. Whatever it reads twice, and whatever it never reads, is counted.

use anyhow::{Context, Result, ensure};
use headland_event::{Random, SeededRandom};
use headland_wan::Counters;
use serde_json::{Value, json};

use super::consumer::Consumer;
use super::regions::{Writer, command, grant, mirrored};
use crate::cable::Cable;
use crate::fleet::{Fleet, Node};

/// Most bytes that a link may carry on the way back, in percent of what either region lacked.
const SHIPPED_PERCENT_MAX: u64 = 120;

/// Lines that a group reads before it lags, while it is away, and once it is back.
const BEFORE: u64 = 40;
const AWAY: u64 = 60;
const BACK: u64 = 20;

/// How wide lines are whose bytes are counted: what comes on top of each is small beside them.
const WIDE: usize = 1_000;

/// What a group lags behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Lag {
    /// The end of the log: it has not read so many records that are in both regions.
    OfTheGroup,
    /// The group: it has read so many records that the other region does not have.
    OfTheCopy,
}

/// What one way there and back came to.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Round {
    lag: Lag,
    records: u64,
    again: u64,
    skipped: u64,
}

/// What a link carried once a region that was lost came back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Failback {
    /// Bytes of batches that either region lacked, by their hubs.
    delta_bytes: u64,
    /// Bytes of the lines in them.
    line_bytes: u64,
    /// Bytes of all packets to the region that was lost, and from it, handshakes among them.
    shipped_bytes: [u64; 2],
}

/// What groups and a link did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Groups {
    rounds: Vec<Round>,
    failback: Failback,
    /// Lines that were written.
    lines: u64,
    /// Records that groups read twice, at either hub, as copies of a line under other dots.
    doubled: u64,
    /// Lines that are missing at either hub for who reads all of its logs.
    lost: u64,
}

impl Failback {
    fn percent(self) -> u64 {
        (self.shipped_bytes.iter().sum::<u64>() * 100).div_ceil(self.delta_bytes.max(1))
    }
}

impl Groups {
    /// Whether nothing was read again, passed over, lost or doubled.
    #[must_use]
    pub fn is_exact(&self) -> bool {
        let is_exact = |round: &Round| (round.again, round.skipped) == (0, 0);
        self.rounds.iter().all(is_exact) && (self.lost, self.doubled) == (0, 0)
    }

    /// Whether the way back carried no more than it may.
    #[must_use]
    pub fn is_lean(&self) -> bool {
        self.failback.percent() <= SHIPPED_PERCENT_MAX
    }

    /// What was found, as JSON.
    #[must_use]
    pub fn json(&self) -> Value {
        let rounds = self.rounds.iter().map(|round| {
            let lag = match round.lag {
                Lag::OfTheGroup => "group-behind-log",
                Lag::OfTheCopy => "copy-behind-group",
            };
            json!({ "lag": lag, "lag_records": round.records, "read_again": round.again,
                "passed_over": round.skipped })
        });
        let Failback { delta_bytes, line_bytes, shipped_bytes: [to, from] } = self.failback;
        json!({
            "rounds": rounds.collect::<Vec<_>>(),
            "failback": { "delta_bytes": delta_bytes,
                "line_bytes": line_bytes,
                "shipped_bytes_there": to,
                "shipped_bytes_from_there": from,
                "shipped_percent_of_delta": self.failback.percent(),
                "shipped_percent_max": SHIPPED_PERCENT_MAX },
            "lines": self.lines, "lost": self.lost, "doubled": self.doubled,
            "nothing_read_again_or_lost": self.is_exact(),
            "failback_ships_the_delta": self.is_lean(),
        })
    }
}

/// Two regions with a path between them whose packets are counted, and an agent of either.
struct Regions {
    fleet: Fleet,
    eu: Node,
    us: Node,
    cable: Cable,
    agent: Writer,
    group: Consumer,
}

impl Regions {
    async fn start() -> Result<Self> {
        let fleet = Fleet::new()?;
        let (mut eu, mut us) = (fleet.hub("eu")?, fleet.hub("us")?);
        let cable = Cable::lay(eu.address)?;
        let names = ["eu-1".to_owned()];
        grant(&eu, &names, None)?;
        grant(&us, &names, Some("eu"))?;
        eu.expect(&us)?;
        us.dial_through(&eu, cable.address)?;
        let mut agent = Writer::new(&fleet, "eu-1", &[(&eu, "eu"), (&us, "us")])?;
        let of = "[roaming]\nmove_after = \"300ms\"\nreturn_after = \"1s\"\n[tls]\nca_file";
        agent.node.reconfigure("[tls]\nca_file", of)?;
        eu.start().await?;
        us.start().await?;
        agent.node.start().await?;
        Ok(Self { fleet, eu, us, cable, agent, group: Consumer::new("billing") })
    }

    async fn write(&mut self, count: u64, at: Option<&str>) -> Result<()> {
        self.agent.write(&self.fleet, count, 0)?;
        self.agent.settle(at).await
    }

    /// Holds back what the agent writes in `eu`, or does so no more.
    async fn pause(&self, lanes: &[&str]) -> Result<()> {
        let change = match lanes {
            [] => json!({ "resume": [] }),
            lanes => json!({ "pause": lanes }),
        };
        let answer = self.eu.api.post("/v1/links/us", &change).await?;
        ensure!(answer.code == 200, "{}", answer.body);
        Ok(())
    }

    /// There and back with so much lag.
    async fn round(&mut self, lag: Lag, records: u64) -> Result<Round> {
        let (again, read) = (self.group.again(), self.group.distinct());
        self.write(BEFORE, Some("eu")).await?;
        mirrored((&self.eu, "eu"), &self.us).await?;
        match lag {
            Lag::OfTheGroup => {
                self.write(records, Some("eu")).await?;
                mirrored((&self.eu, "eu"), &self.us).await?;
                self.group.read_until(&self.eu, read + BEFORE).await?;
            }
            Lag::OfTheCopy => {
                self.pause(&["telemetry"]).await?;
                self.write(records, Some("eu")).await?;
                self.group.read_until(&self.eu, read + BEFORE + records).await?;
            }
        }
        command((&self.fleet, "us"), ("failover", "eu"), true).await?;
        self.pause(&[]).await?;
        self.write(AWAY, Some("us")).await?;
        self.group.read_until(&self.us, read + BEFORE + records + AWAY).await?;
        mirrored((&self.eu, "eu"), &self.us).await?;
        self.group.drain(&self.us).await?;
        command((&self.fleet, "us"), ("failback", "eu"), true).await?;
        // It begins with the hub that it prefers, and does not wait until it tries that again.
        self.agent.node.stop().await?;
        self.agent.node.start().await?;
        self.write(BACK, Some("eu")).await?;
        mirrored((&self.us, "us"), &self.eu).await?;
        let all = read + BEFORE + records + AWAY + BACK;
        self.group.read_until(&self.eu, all).await?;
        self.group.drain(&self.eu).await?;
        let (again, skipped) = (self.group.again() - again, all - self.group.distinct());
        Ok(Round { lag, records, again, skipped })
    }

    fn carried(&self) -> [u64; 2] {
        let Counters { to_target, from_target } = self.cable.counters();
        [to_target.forwarded_bytes, from_target.forwarded_bytes]
    }

    /// `eu` is lost with so many lines that `us` lacks, and comes back when that has more.
    async fn failback(&mut self, tail: u64, meanwhile: u64) -> Result<Failback> {
        mirrored((&self.eu, "eu"), &self.us).await?;
        self.pause(&["telemetry"]).await?;
        self.agent.write(&self.fleet, tail, WIDE)?;
        self.agent.settle(Some("eu")).await?;
        let tail_bytes = lacking(&self.eu, "us").await?;
        self.eu.kill().await?;
        command((&self.fleet, "us"), ("failover", "eu"), false).await?;
        self.agent.write(&self.fleet, meanwhile, WIDE)?;
        self.agent.settle(Some("us")).await?;
        let delta_bytes = tail_bytes + lacking(&self.us, "eu").await?;
        let before = self.carried();
        self.eu.start().await?;
        self.pause(&[]).await?;
        command((&self.fleet, "us"), ("failback", "eu"), true).await?;
        mirrored((&self.eu, "eu"), &self.us).await?;
        mirrored((&self.us, "us"), &self.eu).await?;
        let after = self.carried();
        let shipped_bytes = [after[0] - before[0], after[1] - before[1]];
        let width = u64::try_from(WIDE)?;
        let line_bytes = (tail + meanwhile) * width;
        // Hubs read bytes off between marks, and say too few where narrow lines stand before wide.
        Ok(Failback { delta_bytes: delta_bytes.max(line_bytes), line_bytes, shipped_bytes })
    }
}

/// Bytes of batches at a hub that another region lacks.
async fn lacking(hub: &Node, region: &str) -> Result<u64> {
    let link = hub.api.json(&format!("/v1/links/{region}")).await?;
    link.get("bytes").and_then(Value::as_u64).with_context(|| format!("no bytes in {link}"))
}

/// Goes there and back with each of these lags and some drawn from a seed, and loses a region whose
/// link then carries so many lines.
///
/// # Errors
/// When a node does not do what it is asked.
pub async fn run(lags: &[u64], (drawn, seed): (usize, u64), lines: u64) -> Result<Groups> {
    let mut regions = Regions::start().await?;
    let (mut random, mut rounds) = (SeededRandom::new(seed), Vec::new());
    let drawn = (0..drawn).map(|_| random.below(10_001)).collect::<Vec<_>>();
    for records in lags.iter().copied().chain(drawn) {
        for lag in [Lag::OfTheGroup, Lag::OfTheCopy] {
            rounds.push(regions.round(lag, records).await?);
        }
    }
    let failback = regions.failback(lines / 4, lines - lines / 4).await?;
    let (mut lost, mut doubled) = (0, 0);
    for (hub, group) in [(&regions.eu, "all-at-eu"), (&regions.us, "all-at-us")] {
        let mut all = Consumer::new(group);
        all.drain(hub).await?;
        lost += regions.agent.written.saturating_sub(all.distinct());
        doubled += all.doubled();
    }
    Ok(Groups { rounds, failback, lines: regions.agent.written, doubled, lost })
}
