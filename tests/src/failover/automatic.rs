//! A region whose hub is killed and that is left without an operator.
//!
//! Three regions look after each other; agents and a group of `eu` go on in `us` once the hub of
//! `eu` is killed under load, with the settings that nodes have by themselves. Measured is the time
//! from the kill to the first record written after it that each agent knows to be safe, and that
//! the group reads. Then the hub comes back: until the region is returned to it has to acknowledge
//! nothing and let no group read.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use headland_event::{Monotonic, Random, SeededRandom};
use headland_platform::clock::Clock;
use serde_json::{Value, json};

use super::consumer::Consumer;
use super::regions::{TOPIC, Writer, command, grant, mirrored};
use crate::fleet::{Fleet, Node};

/// Within which agents and groups have to go on.
const GO_ON_MAX: Duration = Duration::from_secs(10);

/// How often each agent's file grows by a line, and it is looked who goes on.
const TICK: Duration = Duration::from_millis(50);

/// How long there is load before a kill, at least; the rest is drawn.
const BEFORE: Duration = Duration::from_secs(2);

/// Ticks after its hub was asked again in which a region that was left has to acknowledge nothing.
const FENCED_TICKS: u32 = 40;

/// After which nobody is waited for any more.
const GIVE_UP: Duration = Duration::from_secs(60);

/// An agent that has no other hub: what it knows to be safe, that hub has said.
const LONER: &str = "eu-alone";

const FAILOVER: &str = "[failover]\nregions = [\"eu\", \"us\", \"ap\"]\n";

/// One kill, in milliseconds from it; `None` where it took too long to wait for.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Try {
    /// Until `us` had decided that the region is left.
    left: Option<u64>,
    /// Until each agent knew a record to be safe that it had read after the kill, in rising order.
    agents: Vec<Option<u64>>,
    /// Until the group had read a record that was written after the kill.
    group: Option<u64>,
    /// Records acknowledged by the hub that came back before the region was returned to.
    acknowledged_while_left: u64,
    /// Whether it let a group read.
    served_while_left: bool,
}

/// What kills of a region's hub came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Automatic {
    tries: Vec<Try>,
    agents: usize,
    lines: u64,
    lost: u64,
    doubled: u64,
    /// Lines that the group never read.
    group_passed_over: u64,
    /// Lines that it read again: their commit had not reached the other region.
    group_read_again: u64,
}

impl Automatic {
    /// Whether nothing was lost, doubled or passed over, and the region that was left held still.
    #[must_use]
    pub fn is_exact(&self) -> bool {
        let is_fenced = |of: &Try| of.acknowledged_while_left == 0 && !of.served_while_left;
        (self.lost, self.doubled, self.group_passed_over) == (0, 0, 0)
            && self.tries.iter().all(is_fenced)
    }

    /// Whether all agents and the group went on in time.
    #[must_use]
    pub fn is_soon(&self) -> bool {
        let limit = millis(GO_ON_MAX);
        let is_soon = |took: &Option<u64>| took.is_some_and(|took| took <= limit);
        self.tries.iter().all(|of| of.agents.iter().all(is_soon) && is_soon(&of.group))
    }

    /// What was found, as JSON.
    #[must_use]
    pub fn json(&self) -> Value {
        let tries = self.tries.iter().map(|of| {
            json!({ "left_ms": of.left, "first_agent_ms": of.agents.first(),
                "last_agent_ms": of.agents.last(), "group_ms": of.group,
                "acknowledged_while_left": of.acknowledged_while_left,
                "served_while_left": of.served_while_left })
        });
        let agents = spread(self.tries.iter().flat_map(|of| of.agents.iter().copied()).collect());
        let groups = spread(self.tries.iter().map(|of| of.group).collect());
        json!({
            "agents": self.agents, "tries": tries.collect::<Vec<_>>(), "lines": self.lines,
            "agent_goes_on": agents, "group_goes_on": groups, "go_on_max_ms": millis(GO_ON_MAX),
            "lost": self.lost, "doubled": self.doubled,
            "group_passed_over": self.group_passed_over, "group_read_again": self.group_read_again,
            "nothing_lost_or_doubled_and_fenced": self.is_exact(),
            "all_go_on_in_time": self.is_soon(),
        })
    }
}

/// Median and worst of times, `None` where one is missing.
fn spread(mut times: Vec<Option<u64>>) -> Value {
    // What never came is worse than all that did.
    times.sort_unstable_by_key(|time| time.unwrap_or(u64::MAX));
    let median = times.get(times.len() / 2).copied().flatten();
    json!({ "median_ms": median, "worst_ms": times.last().copied().flatten() })
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// Three regions and the agents of one.
struct Regions {
    fleet: Fleet,
    eu: Node,
    us: Node,
    _ap: Node,
    agents: Vec<Writer>,
    /// An agent that has no other hub than that of `eu`.
    loner: Writer,
    group: Consumer,
    clock: Clock,
}

impl Regions {
    async fn start(agents: usize) -> Result<Self> {
        let fleet = Fleet::new()?;
        let (mut eu, mut us, mut ap) = (fleet.hub("eu")?, fleet.hub("us")?, fleet.hub("ap")?);
        let names: Vec<String> = (0..agents).map(|agent| format!("eu-{agent}")).collect();
        eu.configure(&format!("{FAILOVER}automatic = true"))?;
        us.configure(FAILOVER)?;
        ap.configure(FAILOVER)?;
        grant(&eu, &names, None)?;
        grant(&eu, &[LONER.to_owned()], None)?;
        grant(&us, &names, Some("eu"))?;
        eu.expect(&us)?;
        us.dial(&eu)?;
        for hub in [&eu, &us] {
            hub.expect(&ap)?;
            ap.dial(hub)?;
        }
        let of = |name: &String| {
            let writer = Writer::new(&fleet, name, &[(&eu, "eu"), (&us, "us")])?;
            // How soon it comes back is not what is measured.
            let roaming = "[roaming]\nreturn_after = \"1s\"\n[tls]\nca_file";
            writer.node.reconfigure("[tls]\nca_file", roaming)?;
            anyhow::Ok(writer)
        };
        let mut writers = names.iter().map(of).collect::<Result<Vec<Writer>>>()?;
        let mut loner = Writer::new(&fleet, LONER, &[(&eu, "eu")])?;
        for hub in [&mut eu, &mut us, &mut ap] {
            hub.start().await?;
        }
        let is_in_use = |status: &Value| {
            let is = |field: &str| status.pointer(field) == Some(&Value::Bool(true));
            is("/lease/in_use") && is("/lease/votes")
        };
        for hub in [&eu, &us, &ap] {
            hub.json_when("/v1/status", is_in_use).await?;
        }
        for writer in writers.iter_mut().chain([&mut loner]) {
            writer.node.start().await?;
        }
        let (group, clock) = (Consumer::new("billing"), Clock::start());
        Ok(Self { fleet, eu, us, _ap: ap, agents: writers, loner, group, clock })
    }

    /// Each agent's file grows by a line.
    fn write(&mut self) -> Result<()> {
        self.agents.iter_mut().try_for_each(|agent| agent.write(&self.fleet, 1, 0))
    }

    /// Load, with the group reading in `eu`, for so long.
    async fn load(&mut self, lasts: Duration) -> Result<()> {
        let began = self.clock.monotonic();
        let mut interval = tokio::time::interval(TICK);
        while self.clock.monotonic().since(began) < lasts {
            interval.tick().await;
            self.write()?;
            if let Some(page) = self.group.page(&self.eu, 1_000).await {
                page?;
            }
        }
        Ok(())
    }

    /// Kills the hub under load; who goes on when.
    async fn kill(&mut self) -> Result<Try> {
        self.loner.settle(Some("eu")).await?;
        let first: BTreeMap<usize, u64> =
            self.agents.iter().enumerate().map(|(at, agent)| (at, agent.written)).collect();
        self.eu.kill().await?;
        let began = self.clock.monotonic();
        self.loner.write(&self.fleet, 20, 0)?;
        let mut waiting = first.clone();
        let (mut left, mut group, mut agents) = (None, None, Vec::new());
        let mut interval = tokio::time::interval(TICK);
        while (group.is_none() || !waiting.is_empty()) && self.passed(began) < GIVE_UP {
            interval.tick().await;
            self.write()?;
            let mut gone_on = Vec::new();
            for (at, first) in &waiting {
                let agent = self.agents.get(*at).context("an agent")?;
                if agent.acknowledged().await? > *first {
                    gone_on.push(*at);
                    agents.push(Some(millis(self.passed(began))));
                }
            }
            waiting.retain(|at, _| !gone_on.contains(at));
            if left.is_none() {
                let link = self.us.api.json("/v1/links/eu").await?;
                left = (link.get("left_for").is_some_and(|of| of == "us"))
                    .then(|| millis(self.passed(began)));
            }
            // A reader goes on where its region was left for.
            if left.is_some()
                && let Some(page) = self.group.page(&self.us, 1_000).await
            {
                let is_new = page?.iter().any(|read| {
                    let of = |agent: &Writer| agent.name() == read.agent;
                    let at = self.agents.iter().position(of);
                    at.and_then(|at| first.get(&at)).is_some_and(|first| read.number >= *first)
                });
                let passed = millis(self.passed(began));
                group = group.or_else(|| is_new.then_some(passed));
            }
        }
        agents.extend(waiting.iter().map(|_| None));
        let (acknowledged_while_left, served_while_left) = (0, false);
        Ok(Try { left, agents, group, acknowledged_while_left, served_while_left })
    }

    /// How often an agent that has one hub was told that its records are not taken.
    fn refusals(&self) -> usize {
        let said = self.loner.node.lines();
        said.iter().filter(|line| line.contains("the hub refused a topic")).count()
    }

    fn passed(&self, began: Monotonic) -> Duration {
        self.clock.monotonic().since(began)
    }

    /// The hub comes back to a region that was left, which is then returned to.
    async fn come_back(&mut self, of: &mut Try) -> Result<()> {
        let (before, refused) = (self.loner.acknowledged().await?, self.refusals());
        self.eu.start().await?;
        let is_left = |status: &Value| status["left_for"] == "us";
        self.eu.json_when("/v1/status", is_left).await?;
        let mut interval = tokio::time::interval(TICK);
        let (mut asked, mut ticks, began) = (false, 0, self.clock.monotonic());
        while ticks < FENCED_TICKS {
            interval.tick().await;
            self.write()?;
            // From when the agent was told, which dials a hub that was away ever more rarely.
            asked = asked || self.refusals() > refused;
            ticks += u32::from(asked);
            ensure!(self.passed(began) < GIVE_UP, "{LONER} is not refused");
            let path = format!("/v1/groups/billing/records?topic={TOPIC}@*&max=1");
            of.served_while_left |= self.eu.api.get(&path).await?.code == 200;
        }
        of.acknowledged_while_left = self.loner.acknowledged().await?.saturating_sub(before);
        command((&self.fleet, "us"), ("failback", "eu"), true).await?;
        for agent in self.agents.iter().chain([&self.loner]) {
            agent.settle(Some("eu")).await?;
        }
        Ok(())
    }

    fn lines(&self) -> u64 {
        self.agents.iter().chain([&self.loner]).map(|agent| agent.written).sum()
    }
}

/// Kills the hub of a region with so many agents so often; moments are drawn from a seed.
///
/// # Errors
/// When a node does not do what it is asked.
pub async fn run(agents: usize, tries: usize, seed: u64) -> Result<Automatic> {
    let (mut regions, mut random) = (Regions::start(agents).await?, SeededRandom::new(seed));
    let mut found = Vec::with_capacity(tries);
    for _ in 0..tries {
        regions.load(BEFORE + Duration::from_millis(random.below(1_000))).await?;
        let mut of = regions.kill().await?;
        of.agents.sort_unstable_by_key(|took| took.unwrap_or(u64::MAX));
        regions.come_back(&mut of).await?;
        found.push(of);
    }
    mirrored((&regions.eu, "eu"), &regions.us).await?;
    mirrored((&regions.us, "us"), &regions.eu).await?;
    let lines = regions.lines();
    regions.group.read_until(&regions.eu, lines).await?;
    regions.group.drain(&regions.eu).await?;
    let (mut lost, mut doubled) = (0, 0);
    for (hub, group) in [(&regions.eu, "all-at-eu"), (&regions.us, "all-at-us")] {
        let mut all = Consumer::new(group);
        all.drain(hub).await?;
        ensure!(all.distinct() <= lines, "{} of {lines} lines", all.distinct());
        lost += lines - all.distinct();
        doubled += all.doubled();
    }
    Ok(Automatic {
        tries: found,
        agents,
        lines,
        lost,
        doubled,
        group_passed_over: lines.saturating_sub(regions.group.distinct()),
        group_read_again: regions.group.again(),
    })
}
