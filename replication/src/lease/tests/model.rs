//! Hubs with clocks that go at different speeds, links that lose and delay, disks that keep what
//! was durable; and an onlooker who sees all of them at once.

use std::collections::{BTreeMap, VecDeque};

use super::*;

/// How often the world moves, in milliseconds.
const TICK: u64 = 20;

/// By how much clocks are fast or slow at most, in parts of a thousand.
const DRIFT: u64 = 15;

/// What becomes of a hub or its links.
#[derive(Debug, Clone, Copy)]
pub(super) enum Fate {
    /// No link to anybody.
    Cut,
    /// Nothing that it says arrives, and it does not notice.
    Mute,
    /// Nothing arrives that is said to it, and nobody notices.
    Deaf,
    /// One link is cut, to the next region.
    CutNext,
    /// Everything is linked again.
    Heal,
    /// It loses what is not durable, and is back at once.
    Restarts,
    /// It is not back before the next heal.
    Stops,
    /// It begins with an empty disk.
    LosesDisk,
    /// Its region is returned to by whom it was left for.
    ReturnedTo,
}

impl Fate {
    pub(super) fn any() -> impl Strategy<Value = Self> {
        prop_oneof![
            3 => Just(Self::Cut),
            2 => Just(Self::Mute),
            2 => Just(Self::Deaf),
            3 => Just(Self::CutNext),
            4 => Just(Self::Heal),
            3 => Just(Self::Restarts),
            2 => Just(Self::Stops),
            1 => Just(Self::LosesDisk),
            3 => Just(Self::ReturnedTo),
        ]
    }
}

/// What is on a hub's disk.
#[derive(Debug, Clone, Default)]
struct Disk {
    voted: BTreeMap<RegionId, Voted>,
    is_whole: bool,
    fences: BTreeMap<RegionId, Fence>,
}

#[derive(Debug)]
enum Write {
    Voted(Voted),
    Memory,
}

#[derive(Debug)]
struct Hub {
    region: RegionId,
    asking: Asking,
    list: Vec<RegionId>,
    leases: Leases,
    disk: Disk,
    /// On the way to the disk, with when they are there.
    writes: VecDeque<(u64, Write)>,
    is_running: bool,
    /// Parts of a thousand by which its clock is faster than the onlooker's, and where it began.
    speed: u64,
    began: u64,
    disagreeing: BTreeSet<RegionId>,
}

#[derive(Debug)]
enum Word {
    Lease(LeaseMessage),
    /// As `_groups` brings it.
    Fence(Fence),
}

/// One way of a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Up,
    /// What goes over it is lost, and nobody notices.
    Silent,
    Down,
}

#[derive(Debug)]
pub(super) struct World {
    hubs: Vec<Hub>,
    ways: BTreeMap<(usize, usize), Way>,
    frames: BTreeMap<(usize, usize), VecDeque<(u64, Word)>>,
    now: u64,
    random: SeededRandom,
    /// Every fence that was decided, and what by.
    decided: BTreeMap<(RegionId, u64), RegionId>,
    isolated_at: BTreeMap<RegionId, u64>,
    took: BTreeMap<RegionId, u64>,
    /// Whether votes can have been lost with more than one disk.
    disks_lost: usize,
}

fn name(of: usize) -> RegionId {
    RegionId::new(&format!("r{of}")).unwrap()
}

impl World {
    pub(super) fn new(regions: usize, seed: u64) -> Self {
        let list: Vec<usize> = (0..regions).collect();
        Self::with_list_of(regions, seed, 0, &list)
    }

    /// As [`Self::new`], and one is not there from the beginning.
    pub(super) fn without(regions: usize, seed: u64, missing: usize) -> Self {
        let mut world = Self::new(regions, seed);
        world.stop(missing);
        world
    }

    /// As [`Self::new`]; the list of one of them is another one.
    pub(super) fn with_list_of(regions: usize, seed: u64, of: usize, list: &[usize]) -> Self {
        let mut random = SeededRandom::new(seed);
        let all: Vec<RegionId> = (0..regions).map(name).collect();
        let hubs = (0..regions).map(|index| {
            let list =
                if index == of { list.iter().map(|at| name(*at)).collect() } else { all.clone() };
            let speed = 1_000 - DRIFT + random.below(2 * DRIFT + 1);
            let (who, seed) = ((name(index), Asking::Automatic), random.next_u64());
            Hub::start(who, list, Disk::default(), (speed, 0), seed)
        });
        let hubs = hubs.collect();
        let (ways, frames) = (BTreeMap::new(), BTreeMap::new());
        let (decided, isolated_at, took) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        let (now, disks_lost) = (0, 0);
        let mut world =
            Self { hubs, ways, frames, now, random, decided, isolated_at, took, disks_lost };
        world.heal();
        world
    }

    fn pairs(&self) -> Vec<(usize, usize)> {
        let count = self.hubs.len();
        let pairs = (0..count).flat_map(|from| (0..count).map(move |to| (from, to)));
        pairs.filter(|(from, to)| from != to).collect()
    }

    fn way(&self, pair: (usize, usize)) -> Way {
        self.ways.get(&pair).copied().unwrap_or(Way::Down)
    }

    /// Links everybody again that is not yet, and starts who stopped.
    pub(super) fn heal(&mut self) {
        for of in 0..self.hubs.len() {
            if !self.hubs[of].is_running {
                self.start(of);
            }
        }
        for (from, to) in self.pairs() {
            if self.way((from, to)) != Way::Up || self.way((to, from)) != Way::Up {
                self.cut(from, to);
                self.link(from, to);
            }
        }
    }

    fn link(&mut self, one: usize, other: usize) {
        for (at, peer) in [(one, other), (other, one)] {
            self.ways.insert((at, peer), Way::Up);
            let now = self.hubs[at].clock(self.now);
            let region = self.hubs[peer].region.clone();
            self.hubs[at].leases.on_up(now, &region);
            let fences: Vec<Fence> = self.hubs[at].disk.fences.values().cloned().collect();
            fences.into_iter().for_each(|fence| self.send(at, peer, Word::Fence(fence)));
        }
    }

    fn cut(&mut self, one: usize, other: usize) {
        for (at, peer) in [(one, other), (other, one)] {
            if self.ways.insert((at, peer), Way::Down).is_some_and(|way| way != Way::Down) {
                let now = self.hubs[at].clock(self.now);
                let region = self.hubs[peer].region.clone();
                self.hubs[at].leases.on_down(now, &region);
            }
            self.frames.remove(&(at, peer));
        }
    }

    /// Cuts one off from all others.
    pub(super) fn isolate(&mut self, of: usize) {
        self.isolated_at.insert(name(of), self.now);
        (0..self.hubs.len()).filter(|other| *other != of).for_each(|other| self.cut(of, other));
    }

    fn stop(&mut self, of: usize) {
        self.isolate(of);
        self.hubs[of].is_running = false;
        self.hubs[of].writes.clear();
    }

    fn start(&mut self, of: usize) {
        let hub = &self.hubs[of];
        let (region, list, disk) = (hub.region.clone(), hub.list.clone(), hub.disk.clone());
        let (clock, asking) = ((hub.speed, self.now), hub.asking);
        let seed = self.random.next_u64();
        self.hubs[of] = Hub::start((region, asking), list, disk, clock, seed);
    }

    /// A hub is started anew without asking for leases.
    pub(super) fn ask_no_more(&mut self, of: usize) {
        self.hubs[of].asking = Asking::Never;
        self.fate(of, Fate::Restarts);
    }

    pub(super) fn fate(&mut self, of: usize, fate: Fate) {
        let others: Vec<usize> = (0..self.hubs.len()).filter(|other| *other != of).collect();
        match fate {
            Fate::Cut => self.isolate(of),
            Fate::Mute => others.iter().for_each(|to| self.silence(of, *to)),
            Fate::Deaf => others.iter().for_each(|from| self.silence(*from, of)),
            Fate::CutNext => self.cut(of, (of + 1) % self.hubs.len()),
            Fate::Heal => self.heal(),
            Fate::Stops => self.stop(of),
            Fate::Restarts | Fate::LosesDisk => {
                let ways: Vec<usize> = others
                    .into_iter()
                    .filter(|other| {
                        self.hubs[*other].is_running && self.way((of, *other)) == Way::Up
                    })
                    .collect();
                self.stop(of);
                if matches!(fate, Fate::LosesDisk) && self.disks_lost == 0 {
                    // Two disks that are lost are beyond what is held, as with any majority.
                    self.disks_lost += 1;
                    self.hubs[of].disk = Disk::default();
                }
                self.start(of);
                ways.into_iter().for_each(|other| self.link(of, other));
            }
            Fate::ReturnedTo => self.return_to(of),
        }
    }

    fn silence(&mut self, from: usize, to: usize) {
        if self.way((from, to)) == Way::Up {
            self.ways.insert((from, to), Way::Silent);
        }
    }

    /// The hub for which a region was left returns to it.
    pub(super) fn return_to(&mut self, of: usize) {
        let region = name(of);
        let by = (0..self.hubs.len()).find(|by| {
            let held = self.hubs[*by].disk.fences.get(&region);
            self.hubs[*by].is_running && held.is_some_and(|fence| fence.to == Some(name(*by)))
        });
        let Some(by) = by else { return };
        let number = self.hubs[by].disk.fences.get(&region).map_or(0, |fence| fence.number);
        self.take(by, &Fence { fenced: region, number: number + 1, to: None });
    }

    /// A hub takes over a fence, durably, and passes it on.
    fn take(&mut self, at: usize, fence: &Fence) {
        let now = self.hubs[at].clock(self.now);
        let fences = &mut self.hubs[at].disk.fences;
        if fences.get(&fence.fenced).is_some_and(|known| known >= fence) {
            return;
        }
        fences.insert(fence.fenced.clone(), fence.clone());
        self.hubs[at].leases.on_fence(now, fence);
        for to in (0..self.hubs.len()).filter(|to| *to != at) {
            self.send(at, to, Word::Fence(fence.clone()));
        }
    }

    fn send(&mut self, from: usize, to: usize, word: Word) {
        if self.way((from, to)) != Way::Up {
            return;
        }
        let delay = 5 + self.random.below(200);
        let way = self.frames.entry((from, to)).or_default();
        let after = way.back().map_or(0, |(at, _)| *at);
        way.push_back((after.max(self.now + delay), word));
    }

    pub(super) fn run(&mut self, millis: u64) {
        let end = self.now + millis;
        while self.now < end {
            self.now += TICK;
            self.step();
        }
    }

    fn step(&mut self) {
        for (from, to) in self.pairs() {
            let now = self.now;
            while let Some((_, word)) = self
                .frames
                .get_mut(&(from, to))
                .and_then(|way| way.pop_front_if(|(at, _)| *at <= now))
            {
                self.deliver(from, to, word);
            }
        }
        for at in 0..self.hubs.len() {
            self.work(at);
        }
        self.look();
    }

    fn deliver(&mut self, from: usize, to: usize, word: Word) {
        if !self.hubs[to].is_running {
            return;
        }
        match word {
            Word::Fence(fence) => self.take(to, &fence),
            Word::Lease(message) => {
                let now = self.hubs[to].clock(self.now);
                let region = self.hubs[from].region.clone();
                self.hubs[to].leases.on_message(now, &region, message);
            }
        }
    }

    fn work(&mut self, at: usize) {
        let now = self.now;
        let hub = &mut self.hubs[at];
        if !hub.is_running {
            return;
        }
        let clock = hub.clock(now);
        while let Some((_, write)) = hub.writes.pop_front_if(|(at, _)| *at <= now) {
            match write {
                Write::Voted(voted) => drop(hub.disk.voted.insert(voted.region.clone(), voted)),
                Write::Memory => hub.disk.is_whole = true,
            }
            hub.leases.on_kept(clock);
        }
        if hub.leases.poll_timeout().is_some_and(|due| due <= clock) {
            hub.leases.on_timeout(clock);
        }
        while let Some(output) = self.hubs[at].leases.poll_output() {
            self.perform(at, output);
        }
    }

    fn perform(&mut self, at: usize, output: LeaseOutput) {
        let durable = self.now + self.random.below(60);
        let after = self.hubs[at].writes.back().map_or(0, |(at, _)| *at);
        let durable = durable.max(after);
        match output {
            LeaseOutput::Keep(voted) => {
                self.hubs[at].writes.push_back((durable, Write::Voted(voted)));
            }
            LeaseOutput::KeepMemory => self.hubs[at].writes.push_back((durable, Write::Memory)),
            LeaseOutput::Send(to, message) => {
                let to = self.hubs.iter().position(|hub| hub.region == to).unwrap();
                self.send(at, to, Word::Lease(message));
            }
            LeaseOutput::Decided(fence) => {
                let key = (fence.fenced.clone(), fence.number);
                let to = fence.to.clone().unwrap();
                let first = self.decided.entry(key).or_insert_with(|| to.clone()).clone();
                assert_eq!(first, to, "a fence is decided once: {fence:?}");
                let now = self.now;
                self.took.entry(fence.fenced.clone()).or_insert(now);
                self.take(at, &fence);
            }
            LeaseOutput::Began | LeaseOutput::Ended => {}
            LeaseOutput::Disagrees(region) => {
                self.hubs[at].disagreeing.insert(region);
            }
        }
    }

    /// What nobody but an onlooker sees: of a region that was left under a number, no hub holds a
    /// lease under a former one.
    fn look(&self) {
        for hub in self.hubs.iter().filter(|hub| hub.is_running) {
            let number = hub.disk.fences.get(&hub.region).map_or(0, |fence| fence.number);
            let is_held = hub.leases.is_held(hub.clock(self.now));
            let later = self.decided.keys().filter(|(of, _)| *of == hub.region);
            let later = later.map(|(_, number)| *number).max().unwrap_or(0);
            assert!(
                !is_held || number >= later,
                "{} is in use under {number}, and {later} was decided",
                hub.region
            );
        }
    }

    pub(super) fn is_held(&self, of: usize) -> bool {
        let hub = &self.hubs[of];
        hub.is_running && hub.leases.is_held(hub.clock(self.now))
    }

    /// Where a hub knows a region to be left for.
    pub(super) fn left_for(&self, at: usize, of: usize) -> Option<usize> {
        let to = self.hubs[at].leases.fences.left_for(&name(of))?;
        self.hubs.iter().position(|hub| hub.region == *to)
    }

    /// How long after it was cut off a region was left, in milliseconds.
    pub(super) fn took_over_after(&self, of: usize) -> Option<u64> {
        Some(self.took.get(&name(of))?.saturating_sub(*self.isolated_at.get(&name(of))?))
    }

    pub(super) fn disagreed(&self, at: usize, with: usize) -> bool {
        self.hubs[at].disagreeing.contains(&name(with))
    }
}

impl Hub {
    fn start(
        (region, asking): (RegionId, Asking),
        list: Vec<RegionId>,
        disk: Disk,
        (speed, began): (u64, u64),
        seed: u64,
    ) -> Self {
        let mut fences = Fences::default();
        for fence in disk.fences.values() {
            assert!(fences.take(fence));
        }
        let config = LeaseConfig {
            own: region.clone(),
            regions: list.clone(),
            asking,
            after: Duration::from_secs(5),
        };
        let memory = if disk.is_whole { Memory::Whole } else { Memory::Doubtful };
        let kept = disk.voted.values().cloned().collect();
        // Each run has a clock of its own, as of a machine that was switched on then.
        let leases = Leases::new(config, fences, (kept, memory), seed, Monotonic::default());
        let (writes, disagreeing) = (VecDeque::new(), BTreeSet::new());
        let is_running = true;
        Self { region, asking, list, leases, disk, writes, is_running, speed, began, disagreeing }
    }

    fn clock(&self, now: u64) -> Monotonic {
        Monotonic::from_nanos((now - self.began) * self.speed * 1_000)
    }
}
