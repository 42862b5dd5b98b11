//! The APIs of all nodes of a run, and waiting until they show something.

use std::collections::BTreeMap;
use std::future::Future;
use std::time::Duration;

use headland_event::{AgentName, RegionId};
use headland_platform::clock::Clock;

use super::api::{AgentStatus, Api, HubStatus, StockView};
use super::causal_case::{CENTRAL, Step, Visible};
use super::children::NodeName;
use super::directory::RunDirectory;
use super::error::QuickstartError;
use super::fleet::Fleet;
use super::inputs::Inputs;
use super::plan::Stream;

/// How often a state that is waited for is looked at.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);

/// The APIs of all hubs and agents.
#[derive(Debug, Clone)]
pub(super) struct Nodes {
    hubs: BTreeMap<RegionId, Api>,
    agents: BTreeMap<AgentName, Api>,
    clock: Clock,
}

impl Nodes {
    /// The nodes of a fleet whose sockets lie in the run's directory.
    pub(super) fn new(fleet: &Fleet, directory: &RunDirectory, clock: Clock) -> Self {
        let hub = |region: &RegionId| {
            let name = NodeName::Hub(region.clone()).to_string();
            (region.clone(), Api::new(name, directory.hub_socket(region)))
        };
        let agent = |agent: &AgentName| {
            let name = NodeName::Agent(agent.clone()).to_string();
            (agent.clone(), Api::new(name, directory.agent_socket(agent)))
        };
        Self {
            hubs: fleet.regions().iter().map(hub).collect(),
            agents: fleet.sites().iter().map(|site| agent(&site.name)).collect(),
            clock,
        }
    }

    /// All hubs by region.
    pub(super) const fn hubs(&self) -> &BTreeMap<RegionId, Api> {
        &self.hubs
    }

    /// The status of an agent.
    ///
    /// # Errors
    /// [`QuickstartError::Answer`] when it does not answer.
    pub(super) async fn agent(&self, name: &AgentName) -> Result<AgentStatus, QuickstartError> {
        let api = self.agents.get(name);
        let api = api.ok_or_else(|| QuickstartError::UnknownAgent { agent: name.clone() })?;
        api.get("/v1/status").await
    }

    /// Waits until every hub serves and is linked to every other, and every agent to its hub.
    ///
    /// # Errors
    /// [`QuickstartError::Overdue`] naming what is missing.
    pub(super) async fn await_linked(&self, limit: Duration) -> Result<(), QuickstartError> {
        self.wait("not all nodes were linked", limit, || async {
            let mut missing = Vec::new();
            for (region, api) in &self.hubs {
                match api.get::<HubStatus>("/v1/status").await {
                    Ok(status) => missing.extend(unlinked(region, &status, self.hubs.len())),
                    Err(error) => missing.push(error.to_string()),
                }
            }
            for name in self.agents.keys() {
                match self.agent(name).await {
                    Ok(status) if status.connected => {}
                    Ok(_) => missing.push(format!("agent {name} is not connected")),
                    Err(error) => missing.push(error.to_string()),
                }
            }
            missing
        })
        .await
    }

    /// Waits until the agents have read all that was written and their hubs acknowledged it.
    ///
    /// # Errors
    /// [`QuickstartError::Overdue`] naming the agents that lag.
    pub(super) async fn await_delivered(
        &self,
        inputs: &Inputs,
        limit: Duration,
    ) -> Result<(), QuickstartError> {
        self.wait("not all input was delivered", limit, || async {
            let mut missing = Vec::new();
            for name in self.agents.keys() {
                match self.agent(name).await {
                    Ok(status) => missing.extend(undelivered(name, &status, inputs)),
                    Err(error) => missing.push(error.to_string()),
                }
            }
            missing
        })
        .await
    }

    /// Waits until a planted write is visible where it must be.
    ///
    /// # Errors
    /// [`QuickstartError::Overdue`] with what the hub shows instead.
    pub(super) async fn await_visible(
        &self,
        step: &Step,
        limit: Duration,
    ) -> Result<(), QuickstartError> {
        self.wait("a planted write was not visible", limit, || async {
            let mut missing = Vec::new();
            for region in &step.visible_at {
                let Some(api) = self.hubs.get(region) else {
                    continue;
                };
                let path = format!("/v1/stock?sku={}", step.event.sku);
                match api.get::<StockView>(&path).await {
                    Ok(view) if shows(&view, &step.visible) => {}
                    Ok(view) => missing.push(format!("hub {region}, {}: {view:?}", step.event.id)),
                    Err(error) => missing.push(error.to_string()),
                }
            }
            missing
        })
        .await
    }

    /// Looks again and again until nothing is missing.
    ///
    /// # Errors
    /// [`QuickstartError::Overdue`] with what was missing last.
    pub(super) async fn wait<F: Future<Output = Vec<String>>>(
        &self,
        what: &'static str,
        limit: Duration,
        look: impl Fn() -> F,
    ) -> Result<(), QuickstartError> {
        let deadline = self.clock.monotonic().after(limit);
        loop {
            let found = look().await;
            if found.is_empty() {
                return Ok(());
            }
            if self.clock.monotonic() >= deadline {
                return Err(QuickstartError::Overdue { what, waited: limit, found });
            }
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
    }
}

/// What a hub lacks to be part of a whole of `hubs` hubs.
fn unlinked(region: &RegionId, status: &HubStatus, hubs: usize) -> Vec<String> {
    let mut missing = Vec::new();
    if !status.ready {
        missing.push(format!("hub {region} is not ready"));
    }
    let up = status.links.iter().filter(|link| link.state == "up").count();
    if up + 1 != hubs {
        missing.push(format!("hub {region} has {up} of {} links up", hubs - 1));
    }
    for agent in status.agents.iter().filter(|agent| !agent.connected) {
        missing.push(format!("hub {region} does not see agent {}", agent.name));
    }
    missing
}

/// What an agent has not read or not got acknowledged.
fn undelivered(name: &AgentName, status: &AgentStatus, inputs: &Inputs) -> Vec<String> {
    let mut missing = Vec::new();
    if status.unacknowledged_records > 0 {
        let count = status.unacknowledged_records;
        missing.push(format!("agent {name} has {count} records unacknowledged"));
    }
    for stream in [Stream::Inventory, Stream::Air] {
        let (written, file) = (inputs.bytes(name, stream), RunDirectory::input_name(name, stream));
        let source = status.sources.iter().find(|source| source.path.ends_with(&file));
        let read = source.map_or(0, |source| source.position);
        if read != written {
            missing.push(format!("agent {name} has read {read} of {written} bytes of {file}"));
        }
    }
    missing
}

fn shows(view: &StockView, visible: &Visible) -> bool {
    match visible {
        Visible::Units(units) => view.units.get(CENTRAL) == Some(units),
        Visible::Attribute { name, value } => view.attributes.get(*name) == Some(value),
    }
}

#[cfg(test)]
mod tests {
    use super::super::api::{AgentLink, LinkStatus};
    use super::*;

    fn status(up: usize, connected: bool) -> HubStatus {
        let link = |index| LinkStatus {
            peer: format!("hub {index}"),
            state: if index < up { "up" } else { "down" }.to_owned(),
        };
        HubStatus {
            ready: true,
            fingerprint: String::new(),
            applied: BTreeMap::new(),
            links: (0..2).map(link).collect(),
            agents: vec![AgentLink { name: "eu-1".to_owned(), connected }],
        }
    }

    #[test]
    fn a_hub_is_linked_when_it_reaches_all_other_hubs_and_its_agents() {
        let region = RegionId::new("eu").unwrap();

        assert_eq!(unlinked(&region, &status(2, true), 3), Vec::<String>::new());
        assert_eq!(unlinked(&region, &status(1, true), 3), ["hub eu has 1 of 2 links up"]);
        assert_eq!(unlinked(&region, &status(2, false), 3), ["hub eu does not see agent eu-1"]);
    }

    #[test]
    fn units_are_visible_at_the_central_location_only() {
        let mut view = StockView::default();
        view.units.insert("eu-1".to_owned(), 5);
        assert!(!shows(&view, &Visible::Units(5)));

        view.units.insert(CENTRAL.to_owned(), 5);

        assert!(shows(&view, &Visible::Units(5)));
        assert!(!shows(&view, &Visible::Units(6)));
    }
}
