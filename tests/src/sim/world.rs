//! Everything together, step by step.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use headland_event::{EventTime, Monotonic, Now, Offset, Random, SeededRandom};
use headland_storage::{LogReader, LogStore};
use sha2::{Digest, Sha256};

use super::agenda::{Agenda, Event};
use super::check::{self, Check};
use super::consumer::Consumer;
use super::evidence::Evidence;
use super::input::{InputFile, mirror_prefix};
use super::machine::Machine;
use super::names::{Called, PEERS};
use super::network::Network;
use super::planted_fault::{Planted, Tampering};
use super::schedule::{Cut, FAULTS_UNTIL, Fault, PlannedFault, Schedule};
use super::topology::{CopyOf, Disks, Homes, Leases, Names, NodeId, REGIONS, Settings, regions};
use super::witness::Witness;

/// 2010-12-02T03:00:00Z in milliseconds, the true time at which a world begins.
pub(super) const WALL_START: i64 = 1_291_258_800_000;

/// How often the world is asked whether anybody has work left.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Time without a commit after which nobody has work left: longer than every interval of nodes.
const QUIET: Duration = Duration::from_secs(2);

/// A world that has work left by then will never finish it.
const LAST_MOMENT: Monotonic = Monotonic::from_millis(120_000);

/// What became of a schedule.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// The schedule's seed.
    pub seed: u64,
    /// SHA-256 over every event and every frame, hexadecimal.
    pub trace: String,
    /// What did not hold, by check.
    pub failures: BTreeMap<Check, Vec<String>>,
    /// Records in the logs of all hubs.
    pub records: usize,
    /// Windows over all regions that are final at the first hub.
    pub finals: usize,
    /// How often each kind of fault was met.
    pub faults: BTreeMap<&'static str, u64>,
    /// Files that cleaning removed, and partitions that it made start later.
    pub cleaned: usize,
    /// Records that compaction took out of hubs' logs.
    pub compacted: u64,
    /// Records of agents that the logs of two hubs have.
    pub doubled: usize,
    /// Records of agents that are in the log of another hub than that of their region.
    pub roamed: usize,
    /// Whether the planted fault came to pass.
    pub is_planted: bool,
}

/// Three regions in one thread.
#[derive(Debug)]
pub(super) struct World {
    pub(super) agenda: Agenda,
    pub(super) network: Network,
    pub(super) hubs: Vec<Machine<region_hub::Node>>,
    pub(super) agents: Vec<Machine<edge_agent::Node>>,
    /// The connection each agent uses.
    pub(super) uplinks: Vec<Option<region_hub::peer_link::LinkId>>,
    /// How often each agent has dialled: what came of earlier attempts concerns nobody.
    pub(super) attempts: Vec<u64>,
    pub(super) settings: Settings,
    pub(super) inputs: Vec<[InputFile; 2]>,
    /// What is read by whoever uses the data directory that is not in use.
    pub(super) copys_inputs: Option<[InputFile; 2]>,
    is_audited: bool,
    /// What each hub calls others from its next start on.
    pub(super) called: [[Called; PEERS]; REGIONS.len()],
    /// Who reads at each hub; nobody where names stay.
    pub(super) consumers: Vec<Consumer>,
    pub(super) witness: Witness,
    pub(super) tampering: Tampering,
    pub(super) random: SeededRandom,
    pub(super) trace: Sha256,
    pub(super) committed_at: Monotonic,
    faults: BTreeMap<&'static str, u64>,
    /// Regions of which a former life was excluded and has not been handed in.
    pub(super) excluded: BTreeSet<usize>,
    /// Regions that were asked to drain, and have not gone on as another life.
    pub(super) draining: BTreeSet<usize>,
    /// Lives that an operator still wants to exclude.
    pub(super) to_exclude: usize,
    /// The region whose hub was never there.
    pub(super) joins: Option<usize>,
    pub(super) cleaned: usize,
    /// Whether anything is planned to go wrong.
    pub(super) has_faults: bool,
}

/// Runs a schedule to its end and judges what is in the logs.
///
/// Cost: about a third of a second in the dev profile.
#[must_use]
pub fn run(schedule: Schedule, planted: Planted) -> Outcome {
    let seed = schedule.seed;
    let mut world = World::new(schedule, planted);
    let settled = world.run();
    if !settled && planted == Planted::Nothing {
        let text = world.unsettled();
        world.witness.fail(Check::Settles, text);
    }
    if settled {
        world.judge_names();
    }
    let evidence = Evidence::collect(&mut world);
    let mut failures = std::mem::take(&mut world.witness.failures);
    for (check, text) in check::judge(&evidence) {
        failures.entry(check).or_default().push(text);
    }
    if world.settings.leases == Leases::On {
        world.faults.insert("fences_written", evidence.fences());
    }
    if world.settings.cloned.is_some() && check::clones::is_named(&evidence) {
        world.meet("copies_of_hubs_that_were_named");
    }
    let digest = world.trace.finalize();
    Outcome {
        seed,
        trace: digest.iter().map(|byte| format!("{byte:02x}")).collect(),
        failures,
        records: evidence.records(),
        finals: check::finality::finals(&evidence),
        faults: world.faults,
        cleaned: world.cleaned,
        compacted: evidence.compacted(),
        doubled: check::counting::doubled(&evidence),
        roamed: check::counting::roamed(&evidence),
        is_planted: world.tampering.is_done,
    }
}

impl World {
    fn new(schedule: Schedule, planted: Planted) -> Self {
        let Schedule { seed, inputs, faults, settings, joins, is_audited, mut random, .. } =
            schedule;
        let Schedule { copied_at, copys_inputs, called, .. } = schedule;
        let homes = settings.homes;
        let mut agenda = Agenda::default();
        let has_faults = !faults.is_empty();
        let is_exclusion = |of: &&PlannedFault| matches!(of.fault, Fault::Excluded { .. });
        let to_exclude = faults.iter().filter(is_exclusion).count();
        let hubs: Vec<_> = REGIONS.iter().map(|_| Machine::new(random.next_u64())).collect();
        let agents: Vec<_> = (0..homes.agents()).map(|_| Machine::new(random.next_u64())).collect();
        for node in nodes(homes) {
            let early = Duration::from_millis(random.below(200));
            let joins = joins.filter(|(hub, _)| NodeId::Hub(*hub) == node);
            agenda.after(joins.map_or(early, |(_, at)| at), Event::Start(node));
        }
        faults.into_iter().for_each(|planned| plan(&mut agenda, &mut random, planned));
        if let Some((node, how, at)) = copied_at {
            agenda.after(at, Event::Copy(node, how));
        }
        for region in 0..REGIONS.len() {
            agenda.at(Monotonic::from_millis(FAULTS_UNTIL), Event::Heal(region));
        }
        let readers = if settings.names == Names::Change { 0..REGIONS.len() } else { 0..0 };
        readers.clone().for_each(|hub| agenda.after(Duration::from_secs(1), Event::Read(hub)));
        let mut trace = Sha256::new();
        trace.update(seed.to_be_bytes());
        Self {
            agenda,
            network: Network::default(),
            hubs,
            agents,
            uplinks: vec![None; homes.agents()],
            attempts: vec![0; homes.agents()],
            settings,
            inputs,
            copys_inputs,
            is_audited,
            called,
            consumers: readers.map(Consumer::new).collect(),
            witness: Witness::default(),
            tampering: Tampering::new(planted),
            random,
            trace,
            committed_at: Monotonic::default(),
            faults: BTreeMap::new(),
            excluded: BTreeSet::new(),
            draining: BTreeSet::new(),
            to_exclude,
            joins: joins.map(|(hub, _)| hub),
            cleaned: 0,
            has_faults,
        }
    }

    /// Steps until nobody has work left; `false` when that never happens.
    fn run(&mut self) -> bool {
        let mut look_at = Monotonic::from_millis(FAULTS_UNTIL).after(LOOK_EVERY);
        while let Some(event) = self.agenda.next() {
            let now = self.agenda.now();
            if now >= look_at {
                look_at = now.after(LOOK_EVERY);
                if self.is_settled() {
                    if self.excluded.is_empty() {
                        return true;
                    }
                    self.hand_in();
                }
                if now >= LAST_MOMENT {
                    return false;
                }
            }
            self.trace.update(now.nanos().to_be_bytes());
            self.trace.update(format!("{event:?}"));
            self.step(event);
        }
        false
    }

    fn step(&mut self, event: Event) {
        match event {
            Event::Deliver { link_id, from, lane } => self.deliver(link_id, from, lane),
            Event::Datagram { link_id, from, number } => {
                self.deliver_datagram(link_id, from, number);
            }
            Event::Disk(node, life) => self.on_disk(node, life),
            Event::Timer(node, life, at) => self.on_timer(node, life, at),
            Event::Dialled { from, to, index, life, attempt } => {
                self.on_dialled((from, to), index, life, attempt);
            }
            Event::Lost { link_id, end } => self.lose(link_id, end),
            Event::HangUp { link_id, end } => self.hang_up(link_id, end),
            Event::Grown(agent) => self.on_grown(agent),
            Event::Crash(node) => self.crash(node),
            Event::Backup(NodeId::Hub(hub)) => self.hubs[hub].back_up(),
            Event::Backup(NodeId::Agent(agent)) => self.agents[agent].back_up(),
            Event::Exclude { by, former } => self.exclude(by, former),
            Event::Copy(node, how) => self.copy(node, how),
            Event::Swap(node) => self.swap(node),
            Event::Drain { by, region } => self.drain(by, region),
            Event::Seal(region) => self.seal(region),
            Event::Renew(region) => self.renew(region),
            Event::Rename(hub, called) => self.rename(hub, called),
            Event::Read(hub) => self.read(hub),
            Event::DiskLost(node) => self.lose_disk(node),
            Event::Restored(node) => self.restore(node),
            Event::Start(NodeId::Hub(hub)) => self.start_hub(hub),
            Event::Start(NodeId::Agent(agent)) => self.start_agent(agent),
            Event::Cut(region, cut) => {
                self.meet(match cut {
                    Cut::Both => "cuts",
                    Cut::Outgoing => "cuts_of_what_goes_out",
                    Cut::Incoming => "cuts_of_what_comes_in",
                });
                self.network.cut(region, cut);
                self.tampering.on_cut(region, self.agenda.now());
            }
            Event::Heal(region) => {
                self.tampering.on_heal(region);
                self.feed_hub(region, |_, _| {});
                for (link_id, from, lane) in self.network.heal(region) {
                    self.agenda.after(Duration::ZERO, Event::Deliver { link_id, from, lane });
                }
            }
            Event::Loss(node) => {
                for link_id in self.network.of(node).into_iter().take(1) {
                    self.meet("lost_connections");
                    let end = self.network.connections[&link_id].end_of(node);
                    self.hang_up(link_id, end);
                }
            }
        }
    }

    /// Counts a fault that happens.
    pub(super) fn meet(&mut self, kind: &'static str) {
        *self.faults.entry(kind).or_default() += 1;
    }

    /// Both clocks as a node reads them.
    pub(super) fn now_of(&self, node: NodeId) -> Now {
        let (stopped, skew) = match node {
            NodeId::Hub(hub) => (self.tampering.stopped_at(hub), self.hubs[hub].skew),
            NodeId::Agent(agent) => (None, self.agents[agent].skew),
        };
        let monotonic = stopped.unwrap_or_else(|| self.agenda.now());
        let passed = i64::try_from(monotonic.nanos() / 1_000_000).unwrap();
        Now { monotonic, wall: EventTime::from_millis(WALL_START + skew + passed) }
    }

    fn is_settled(&self) -> bool {
        let is_quiet = self.committed_at.after(QUIET) <= self.agenda.now();
        is_quiet && self.unsettled().is_empty()
    }

    /// Whose work is left, empty when nobody's is.
    fn unsettled(&self) -> String {
        let mut left = Vec::new();
        if !self.draining.is_empty() || self.to_exclude > 0 {
            left.push(format!("{:?} drain, {} to exclude", self.draining, self.to_exclude));
        }
        // Of two that write as one life the hub may have to refuse both for good.
        let copied = self.settings.copied.filter(|(_, how)| *how == CopyOf::Image);
        let copied = copied.map(|(agent, _)| agent);
        let agents = self.agents.iter().enumerate();
        for (agent, machine) in agents.filter(|(agent, _)| Some(*agent) != copied) {
            let Some(running) = &machine.running else {
                left.push(format!("agent {agent} is down"));
                continue;
            };
            let status = running.node.status();
            let is_read = (0..2).all(|index| {
                let position = running.node.source_position(index).unwrap_or_default();
                self.inputs[agent][index].is_read(position)
            });
            if self.is_audited && !running.node.is_stated() {
                left.push(format!("agent {agent} has not stated what it wrote"));
            }
            if !is_read || !status.connected || status.unacknowledged_records > 0 {
                left.push(format!("agent {agent}: read {is_read}, {status:?}"));
            }
        }
        for (hub, machine) in self.hubs.iter().enumerate() {
            let Some(running) = machine.running.as_ref().filter(|of| of.queue.is_empty()) else {
                left.push(format!("hub {hub} is down or its disk busy"));
                continue;
            };
            if self.is_audited && !running.node.is_stated() {
                left.push(format!("hub {hub} has not stated what it wrote"));
            }
            let (_, peers) = running.node.connected();
            if peers + 1 < REGIONS.len() {
                left.push(format!("hub {hub} has {peers} links to other hubs"));
            }
        }
        if left.is_empty() && !self.tampering.is_on_the_way() {
            left.extend(self.behind());
        }
        left.join("; ")
    }

    /// Mirrors that are behind their source.
    fn behind(&self) -> Vec<String> {
        let mut behind = Vec::new();
        for (source, machine) in self.hubs.iter().enumerate() {
            let Some(running) = &machine.running else { continue };
            let reader = running.store.reader();
            for partition in reader.partitions() {
                let topic = running.node.topics().get(&partition.topic);
                let is_offered = topic.is_some_and(|topic| {
                    topic.is_local()
                        && topic.replication == region_hub::topics::Replication::Offered
                });
                let end = reader.end(&partition);
                for (hub, other) in self.hubs.iter().enumerate() {
                    let Some(other) = other.running.as_ref().filter(|_| hub != source) else {
                        continue;
                    };
                    let mirror = check::mirror_at(other.node.topics(), source, &partition)
                        .unwrap_or_else(|| check::mirror_of(source, &partition));
                    let found = other.store.reader().end(&mirror);
                    let is_behind = match self.settings.disks {
                        Disks::Stay => found != end,
                        // Of another life of the source the copy has more.
                        Disks::Refilled | Disks::Renewed | Disks::Held => {
                            let last = self.hubs[hub].ledger.last(&mirror);
                            last != machine.ledger.last(&partition)
                        }
                    };
                    if is_offered && is_behind {
                        behind.push(format!("hub {hub} has {mirror} to {found} of {end}"));
                    }
                }
            }
        }
        behind
    }

    /// Whether a hub may say what it acknowledges.
    pub(super) fn on_acknowledged(&mut self, said: super::witness::Acknowledged) {
        let key = (said.hub, said.sender, said.partition.clone());
        let before = self.witness.acknowledged.get(&key).copied().unwrap_or_default();
        self.check_acknowledged(&said, before);
        if said.next > before {
            self.check_holder(&said);
        }
        self.witness.acknowledged.insert(key, before.max(said.next));
    }

    /// Checks that no hub acknowledges records of agents while its region is left for another one.
    fn check_holder(&mut self, said: &super::witness::Acknowledged) {
        let NodeId::Agent(_) = said.sender else { return };
        let regions = regions();
        for (hub, machine) in self.hubs.iter().enumerate().filter(|(hub, _)| *hub != said.hub) {
            let Some(running) = &machine.running else { continue };
            // The region that it was left for is the one that returns it.
            if running.node.left_for(&regions[said.hub]) == Some(&regions[hub]) {
                let text = format!("{said:?}, and hub {hub} goes on for that region");
                self.witness.fail(Check::OneHolder, text);
                return;
            }
        }
    }

    /// Checks that what was acknowledged after an offset is durable at the hub.
    pub(super) fn check_acknowledged(
        &mut self,
        said: &super::witness::Acknowledged,
        after: Offset,
    ) {
        // What two say that write as one is judged by what comes of it; so is what hubs hand on of
        // either, who have given out the same offsets.
        let Settings { copied, cloned, .. } = self.settings;
        let is_one_of_two = match said.sender {
            NodeId::Agent(agent) => copied.is_some_and(|(copied, _)| copied == agent),
            NodeId::Hub(hub) => {
                let topic = said.partition.topic.as_str();
                let region = mirror_prefix(topic.strip_prefix("handed-on.").unwrap_or(topic));
                let of_region = region.map(|(region, _)| region);
                let is_it =
                    |(cloned, _)| [Some(hub), Some(said.hub), of_region].contains(&Some(cloned));
                cloned.is_some_and(is_it)
            }
        };
        if self.tampering.is_on_the_way() || is_one_of_two {
            return;
        }
        let sender = match said.sender {
            NodeId::Hub(hub) => &self.hubs[hub].ledger,
            NodeId::Agent(agent) => &self.agents[agent].ledger,
        };
        let mut entries = sender.between(&said.partition, after, said.next);
        let missing = entries.find(|(_, dot)| {
            let mut hubs = self.hubs.iter().enumerate();
            // A hole of what another hub has counts as what it stands for.
            !hubs.any(|(hub, machine)| {
                let may_have_it = hub == said.hub || self.settings.homes == Homes::All;
                may_have_it && machine.ledger.dots.contains(dot)
            })
        });
        if let Some((end, dot)) = missing {
            let text = format!("{said:?}: the entry before {end} ({dot}) is not durable there");
            self.witness.fail(Check::AcknowledgedSurvives, text);
        }
    }
}

/// Plans when a fault begins, and when what it broke works again.
fn plan(agenda: &mut Agenda, random: &mut SeededRandom, planned: PlannedFault) {
    let (begins, ends) = match planned.fault {
        Fault::Crash(node) => (Event::Crash(node), Some(Event::Start(node))),
        Fault::Cut(region, cut) => (Event::Cut(region, cut), Some(Event::Heal(region))),
        Fault::Loss(node) => (Event::Loss(node), None),
        Fault::Excluded { by, former } => (Event::Exclude { by, former }, None),
        Fault::Swapped(node) => (Event::Swap(node), None),
        Fault::Renewed(hub) => (Event::Renew(hub), None),
        Fault::Drained { by, region } => (Event::Drain { by, region }, None),
        Fault::Renamed { hub, called } => {
            (Event::Rename(hub, called), Some(Event::Start(NodeId::Hub(hub))))
        }
        Fault::DiskLost(node) => (Event::DiskLost(node), Some(Event::Start(node))),
        Fault::Restored(node) => {
            // Made at any time before: what was written since is gone.
            let most = u64::try_from(planned.at.as_millis()).unwrap();
            let made = Duration::from_millis(random.below(most));
            agenda.after(made, Event::Backup(node));
            (Event::Restored(node), Some(Event::Start(node)))
        }
    };
    agenda.after(planned.at, begins);
    if let Some(ends) = ends {
        agenda.after(planned.until, ends);
    }
}

/// Every node.
fn nodes(homes: Homes) -> impl Iterator<Item = NodeId> {
    (0..REGIONS.len()).map(NodeId::Hub).chain((0..homes.agents()).map(NodeId::Agent))
}
