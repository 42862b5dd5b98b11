//! What happens when, drawn from a seed.

use std::time::Duration;

use headland_event::{Random, SeededRandom};

use super::input::{self, InputFile, index};
use super::names::{self, Called, PEERS};
use super::topology::{Clocks, CopyOf, Disks, Homes, Leases, Names, NodeId, REGIONS, Settings};

/// When the first fault may happen.
const FAULTS_FROM: u64 = 300;

/// When every fault is over, in milliseconds.
pub(super) const FAULTS_UNTIL: u64 = 14_000;

/// Wall clocks are wrong by at most a day.
const SKEW_HOURS: u64 = 24;

/// In which direction a region is cut off from the other regions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cut {
    /// Nothing gets out or in.
    Both,
    /// Nothing gets out.
    Outgoing,
    /// Nothing gets in.
    Incoming,
}

/// Something that goes wrong, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// A node loses its power.
    Crash(NodeId),
    /// A region is cut off.
    Cut(usize, Cut),
    /// Some connection of a node is lost.
    Loss(NodeId),
    /// A node's disk is lost with all that is on it.
    DiskLost(NodeId),
    /// A node is started from the backup that was made before.
    Restored(NodeId),
    /// A hub is asked to exclude the life that another one had before.
    Excluded { by: usize, former: usize },
    /// A node's data directory was copied before, and from here on both are used in turn.
    Swapped(NodeId),
    /// Of a hub whose data directory was copied one goes on for good, as another life.
    Renewed(usize),
    /// A hub is asked to have a region drained, which is then sealed and goes on as another life.
    Drained { by: usize, region: usize },
    /// A hub is started again, and calls other regions something else from then on.
    Renamed { hub: usize, called: [Called; PEERS] },
}

/// A fault, when it begins and when what it broke works again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct PlannedFault {
    pub(super) at: Duration,
    pub(super) until: Duration,
    pub(super) fault: Fault,
}

/// What agents read and what fails when; a function of the seed.
#[derive(Debug, Clone)]
pub struct Schedule {
    pub(super) seed: u64,
    pub(super) inputs: Vec<[InputFile; 2]>,
    pub(super) faults: Vec<PlannedFault>,
    pub(super) settings: Settings,
    /// A region whose hub is not there before some moment.
    pub(super) joins: Option<(usize, Duration)>,
    /// A node whose data directory is copied, and when.
    pub(super) copied_at: Option<(NodeId, CopyOf, Duration)>,
    /// What the copy reads.
    pub(super) copys_inputs: Option<[InputFile; 2]>,
    /// What each hub calls others at first.
    pub(super) called: [[Called; PEERS]; REGIONS.len()],
    /// Whether it goes on until all writers have stated what their streams come to, which takes
    /// as long as all the rest.
    pub(super) is_audited: bool,
    /// Draws what happens from here on.
    pub(super) random: SeededRandom,
}

impl Schedule {
    /// The schedule of a seed.
    #[must_use]
    pub fn draw(seed: u64) -> Self {
        let mut random = SeededRandom::new(seed);
        let homes = Homes::Own;
        let inputs = input::draw(&mut random, homes.agents());
        let count = random.below(10);
        let faults = (0..count).map(|_| fault(&mut random, homes)).collect();
        // In one schedule of four shorter than outages are.
        let agent_hold = if random.below(4) == 0 { "1s" } else { "10h" };
        let is_audited = seed.is_multiple_of(2);
        let (disks, leases, clocks) = (Disks::Stay, Leases::Off, Clocks::OfHubs);
        let (copied, cloned, names) = (None, None, Names::Stay);
        let settings = Settings { homes, disks, leases, clocks, copied, cloned, names, agent_hold };
        Self {
            seed,
            inputs,
            faults,
            settings,
            joins: None,
            copied_at: None,
            copys_inputs: None,
            called: <_>::default(),
            is_audited,
            random,
        }
    }

    /// More agents, which go to the hubs of other regions while their own is away, and lose more
    /// connections.
    #[must_use]
    pub fn roaming(mut self) -> Self {
        self.settings.homes = Homes::All;
        let agents = self.settings.homes.agents();
        self.inputs = input::draw(&mut self.random, agents);
        for agent in (0..agents).flat_map(|agent| [agent; 4]) {
            let at = FAULTS_FROM + self.random.below(FAULTS_UNTIL - FAULTS_FROM);
            let at = Duration::from_millis(at);
            let fault = Fault::Loss(NodeId::Agent(agent));
            self.faults.push(PlannedFault { at, until: at, fault });
        }
        self
    }

    /// Regions are in use by a lease of a majority, and some are away for long enough to be left.
    #[must_use]
    pub fn with_leases(mut self) -> Self {
        self.settings.leases = Leases::On;
        let region = index(&mut self.random, REGIONS.len());
        let cut = match self.random.below(4) {
            0 => Fault::Crash(NodeId::Hub(region)),
            1 => Fault::Cut(region, Cut::Outgoing),
            2 => Fault::Cut(region, Cut::Incoming),
            _ => Fault::Cut(region, Cut::Both),
        };
        let at = FAULTS_FROM + 2_000 + self.random.below(3_000);
        let (at, until) = (Duration::from_millis(at), Duration::from_millis(FAULTS_UNTIL));
        self.faults.push(PlannedFault { at, until, fault: cut });
        self
    }

    /// One to three nodes also lose their disks, or are started from a backup of their own.
    #[must_use]
    pub fn with_lost_disks(mut self) -> Self {
        let random = &mut self.random;
        self.settings.disks = if random.below(2) == 0 { Disks::Refilled } else { Disks::Held };
        let mut hit = Vec::new();
        for _ in 0..=random.below(3) {
            let mut planned = fault(random, self.settings.homes);
            let node = match random.below(2) {
                0 => NodeId::Hub(index(random, REGIONS.len())),
                _ => NodeId::Agent(index(random, self.settings.homes.agents())),
            };
            let is_restored = random.below(2) == 0;
            planned.fault = if is_restored { Fault::Restored(node) } else { Fault::DiskLost(node) };
            // What two hubs that lose their disks had nobody else may have.
            let is_hub = matches!(node, NodeId::Hub(_));
            let is_second_hub = is_hub && hit.iter().any(|of| matches!(of, NodeId::Hub(_)));
            if !(is_second_hub || hit.contains(&node)) {
                hit.push(node);
                self.faults.push(planned);
                if let NodeId::Hub(former) = node {
                    let by = (former + 1 + index(random, REGIONS.len() - 1)) % REGIONS.len();
                    let later = Duration::from_millis(random.below(6_000));
                    let (at, fault) = (planned.until + later, Fault::Excluded { by, former });
                    self.faults.push(PlannedFault { at, until: at, fault });
                }
            }
        }
        self
    }

    /// Two hubs lose their disks or are started from backups, at any time, also at once. Agents
    /// keep all that they had acknowledged: nobody else may have it.
    #[must_use]
    pub fn with_two_lost_hubs(mut self) -> Self {
        let random = &mut self.random;
        self.settings.disks = Disks::Refilled;
        let left = index(random, REGIONS.len());
        let mut first: Option<PlannedFault> = None;
        for former in (0..REGIONS.len()).filter(|hub| *hub != left) {
            let (mut planned, node) = (fault(random, self.settings.homes), NodeId::Hub(former));
            if let Some(first) = first.filter(|_| random.below(2) == 0) {
                // While the other one is away.
                planned.at = first.at + (first.until - first.at) / 2;
                planned.until = planned.until.max(first.until);
            }
            first = Some(planned);
            let is_restored = random.below(3) == 0;
            planned.fault = if is_restored { Fault::Restored(node) } else { Fault::DiskLost(node) };
            self.faults.push(planned);
            let later = Duration::from_millis(random.below(6_000));
            let (at, fault) = (planned.until + later, Fault::Excluded { by: left, former });
            self.faults.push(PlannedFault { at, until: at, fault });
        }
        self
    }

    /// One region drains, is sealed and goes on as another life, and in one schedule of two another
    /// region joins later than the rest, all while agents write and things go wrong.
    #[must_use]
    pub fn with_members_that_change(mut self) -> Self {
        let random = &mut self.random;
        self.settings.disks = Disks::Renewed;
        let region = index(random, REGIONS.len());
        let other = (region + 1 + index(random, REGIONS.len() - 1)) % REGIONS.len();
        let by = index(random, REGIONS.len());
        let at = Duration::from_millis(1_500 + random.below(7_000));
        self.faults.push(PlannedFault { at, until: at, fault: Fault::Drained { by, region } });
        if random.below(2) == 0 {
            self.joins = Some((other, Duration::from_millis(1_000 + random.below(8_000))));
        }
        self
    }

    /// The data directory of one agent is copied with its identity, and both go on, in turn as a
    /// hub lets one at a time speak for the agent: the original reads its files, the copy others.
    #[must_use]
    pub fn with_a_copied_agent(mut self) -> Self {
        let random = &mut self.random;
        let agents = self.settings.homes.agents();
        let agent = index(random, agents);
        let how = if self.seed.is_multiple_of(2) { CopyOf::Files } else { CopyOf::Image };
        self.settings.copied = Some((agent, how));
        self.copy((NodeId::Agent(agent), how), 3_500);
        self.copys_inputs = input::draw(&mut self.random, agents).swap_remove(agent).into();
        self
    }

    /// The data directory of one hub is copied with its identity, and the copy is used. File by
    /// file it goes on as another life, for good. With its file system nobody can tell it from the
    /// original, and they go on in turn, as they have one address: what either wrote the other one
    /// lacks, and gives out its offsets again; when that is noticed one of them is started as
    /// another life. What they were is excluded and handed in. Agents keep all that they had
    /// acknowledged.
    #[must_use]
    pub fn with_cloned_hubs(mut self) -> Self {
        let how = if self.seed.is_multiple_of(2) { CopyOf::Files } else { CopyOf::Image };
        let random = &mut self.random;
        self.settings.disks = Disks::Refilled;
        let hub = index(random, REGIONS.len());
        self.settings.cloned = Some((hub, how));
        let longest_turn = match how {
            CopyOf::Files => FAULTS_UNTIL,
            CopyOf::Image => 1_000 + random.below(9_000),
        };
        self.copy((NodeId::Hub(hub), how), longest_turn);
        let at = Duration::from_millis(FAULTS_UNTIL);
        match how {
            CopyOf::Files => {
                let mut is_first = true;
                let is_turn = |of: &PlannedFault| matches!(of.fault, Fault::Swapped(_));
                let keeps = |of: &PlannedFault| !is_turn(of) || std::mem::take(&mut is_first);
                self.faults.retain(keeps);
            }
            CopyOf::Image => {
                self.faults.push(PlannedFault { at, until: at, fault: Fault::Renewed(hub) });
            }
        }
        let random = &mut self.random;
        let by = (hub + 1 + index(random, REGIONS.len() - 1)) % REGIONS.len();
        let at = at + Duration::from_millis(random.below(6_000));
        let fault = Fault::Excluded { by, former: hub };
        self.faults.push(PlannedFault { at, until: at, fault });
        self
    }

    /// A node's data directory is copied, and from some time on it and the copy are used in turn.
    fn copy(&mut self, (node, how): (NodeId, CopyOf), longest_turn: u64) {
        let random = &mut self.random;
        let first = FAULTS_FROM + 1_000 + random.below(3_000);
        let mut at = first;
        while at < FAULTS_UNTIL {
            let (planned, fault) = (Duration::from_millis(at), Fault::Swapped(node));
            self.faults.push(PlannedFault { at: planned, until: planned, fault });
            at += 700 + random.below(longest_turn);
        }
        let copied = Duration::from_millis(FAULTS_FROM + random.below(first - FAULTS_FROM));
        self.copied_at = Some((node, how, copied));
        self.is_audited = true;
    }

    /// Hubs call other regions something else from one start to the next, some of them before they
    /// have anything of theirs, while agents write and groups read.
    #[must_use]
    pub fn with_regions_that_are_renamed(mut self) -> Self {
        let random = &mut self.random;
        self.settings.names = Names::Change;
        if random.below(2) == 0 {
            self.called = self.called.map(|called| names::renamed(random, called));
        }
        let (mut called, mut at) = (self.called, FAULTS_FROM);
        while at < FAULTS_UNTIL {
            let hub = index(random, REGIONS.len());
            called[hub] = names::renamed(random, called[hub]);
            let fault = Fault::Renamed { hub, called: called[hub] };
            let until = Duration::from_millis(at + 50 + random.below(1_000));
            self.faults.push(PlannedFault { at: Duration::from_millis(at), until, fault });
            at += 500 + random.below(2_500);
        }
        self
    }

    /// Wall clocks of agents too are wrong by up to a day, by another error after each start.
    #[must_use]
    pub const fn with_wrong_clocks_of_agents(mut self) -> Self {
        self.settings.clocks = Clocks::OfAll;
        self
    }

    /// The same inputs without a fault.
    #[must_use]
    pub fn without_faults(mut self) -> Self {
        self.faults.clear();
        self.settings.agent_hold = "10h";
        self.is_audited = true;
        self
    }
}

fn fault(random: &mut SeededRandom, homes: Homes) -> PlannedFault {
    let at = FAULTS_FROM + random.below(FAULTS_UNTIL - FAULTS_FROM);
    let node = match random.below(2) {
        0 => NodeId::Hub(index(random, REGIONS.len())),
        _ => NodeId::Agent(index(random, homes.agents())),
    };
    let fault = match random.below(8) {
        0..=3 => Fault::Crash(node),
        4 => Fault::Cut(index(random, REGIONS.len()), Cut::Both),
        5 => Fault::Cut(index(random, REGIONS.len()), Cut::Outgoing),
        6 => Fault::Cut(index(random, REGIONS.len()), Cut::Incoming),
        _ => Fault::Loss(node),
    };
    // Short ones end before anybody is sure of them, long ones pass the silence timeout of links.
    let length = if random.below(2) == 0 { random.below(800) } else { random.below(9_000) };
    let until = (at + length).min(FAULTS_UNTIL);
    let (at, until) = (Duration::from_millis(at), Duration::from_millis(until));
    PlannedFault { at, until, fault }
}

/// A wall clock's error in milliseconds: none at half of the starts, else up to a day either way.
pub(super) fn skew(random: &mut SeededRandom) -> i64 {
    if random.below(2) == 0 {
        return 0;
    }
    let limit = SKEW_HOURS * 3_600_000;
    i64::try_from(random.below(2 * limit)).unwrap() - i64::try_from(limit).unwrap()
}
