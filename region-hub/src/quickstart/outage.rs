//! What is broken half-way: one region is cut off, and while that lasts a hub is killed.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use headland_event::{AgentName, EventTime, Monotonic, RegionId};
use headland_platform::clock::Clock;

use super::children::{Children, NodeName};
use super::directory::RunDirectory;
use super::error::QuickstartError;
use super::fleet::Fleet;
use super::inputs::Inputs;
use super::network::Network;
use super::nodes::Nodes;
use super::plan::Plan;
use super::play::play_rounds;

/// How long the region stays cut off.
const CUT_TIME: Duration = Duration::from_secs(10);

/// How long after the cut nothing is planted: what was on its way has arrived or never will.
const SETTLE_TIME: Duration = Duration::from_millis(200);

/// How long a stopped hub's agents may take to have something unacknowledged.
const IN_FLIGHT_LIMIT: Duration = Duration::from_secs(5);

/// How long after the network has healed all links must be up again.
const RELINK_LIMIT: Duration = Duration::from_secs(30);

/// Processes and network of a run, and the clock that times what is done to them.
#[derive(Debug)]
pub(super) struct Stage<'a> {
    /// Where configuration and logs lie.
    pub(super) directory: &'a RunDirectory,
    /// The relays between the hubs.
    pub(super) network: &'a Network,
    /// The processes; locked for moments only.
    pub(super) children: &'a Mutex<Children>,
    /// Their APIs.
    pub(super) nodes: &'a Nodes,
    /// What they read.
    pub(super) inputs: &'a Inputs,
    /// The driver's clock.
    pub(super) clock: Clock,
}

/// When what was broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Outage {
    /// When the region was cut off, by the wall clock.
    pub(super) from: EventTime,
    /// When all links were up again, by the wall clock.
    pub(super) until: EventTime,
    /// Records of the killed hub's agents that were sent to it and not acknowledged.
    pub(super) in_flight: u64,
    /// How long the links took to come up after the network had healed.
    pub(super) relink: Duration,
}

impl Stage<'_> {
    /// Cuts the plan's region off, plants what neither side may know of the other, kills the
    /// plan's victim, starts it again, heals, and waits until all are linked.
    ///
    /// # Errors
    /// [`QuickstartError`] when a step of that does not happen in time.
    pub(super) async fn break_and_heal(
        &self,
        plan: &Plan,
        say: impl Fn(String),
    ) -> Result<Outage, QuickstartError> {
        let Some(cut_region) = plan.fleet.cut_region() else {
            return Err(QuickstartError::NoRegion);
        };
        let (from, cut_at) = (self.clock.wall(), self.clock.monotonic());
        self.network.cut_off(cut_region);
        say(format!("region {cut_region} is cut off for {} s", CUT_TIME.as_secs()));
        tokio::time::sleep(SETTLE_TIME).await;
        play_rounds(&plan.planted.during, self.inputs, self.nodes).await?;
        let in_flight = self.kill(&plan.fleet, &plan.victim).await?;
        say(format!(
            "hub {} is killed with {in_flight} unacknowledged records of its agents",
            plan.victim
        ));
        self.lock().start(NodeName::Hub(plan.victim.clone()), self.directory)?;
        self.sleep_until(cut_at.after(CUT_TIME)).await;
        self.network.heal(cut_region);
        let healed_at = self.clock.monotonic();
        say(format!("region {cut_region} is connected again"));
        self.nodes.await_linked(RELINK_LIMIT).await?;
        let relink = self.clock.monotonic().since(healed_at);
        Ok(Outage { from, until: self.clock.wall(), in_flight, relink })
    }

    /// Waits for a moment of the driver's clock.
    pub(super) async fn sleep_until(&self, at: Monotonic) {
        tokio::time::sleep(self.clock.until(at)).await;
    }

    /// Freezes a hub, waits until one of its agents has something in flight to it, and kills it.
    async fn kill(&self, fleet: &Fleet, region: &RegionId) -> Result<u64, QuickstartError> {
        let hub = NodeName::Hub(region.clone());
        self.lock().freeze(&hub)?;
        // Frozen, the hub can acknowledge nothing: what is in flight now still is when it dies.
        let in_flight = self.await_in_flight(fleet, region).await?;
        let child = self.lock().take(&hub);
        if let Some(mut child) = child {
            let killed = child.kill().await;
            let what = "to kill a hub";
            killed.map_err(|source| QuickstartError::Machine { what, source })?;
        }
        Ok(in_flight)
    }

    async fn await_in_flight(
        &self,
        fleet: &Fleet,
        region: &RegionId,
    ) -> Result<u64, QuickstartError> {
        let agents: Vec<&AgentName> =
            fleet.sites_of(region).into_iter().map(|site| &site.name).collect();
        let deadline = self.clock.monotonic().after(IN_FLIGHT_LIMIT);
        while self.clock.monotonic() < deadline {
            let mut in_flight = 0;
            for agent in &agents {
                in_flight += self.nodes.agent(agent).await?.in_flight_records;
            }
            if in_flight > 0 {
                return Ok(in_flight);
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Err(QuickstartError::NothingInFlight { region: region.clone() })
    }

    /// A panic while the lock is held leaves the table of children whole.
    pub(super) fn lock(&self) -> std::sync::MutexGuard<'_, Children> {
        self.children.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
