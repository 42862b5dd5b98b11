//! Hubs in any layout of links, whose power fails, whose disks are lost and which go on from old
//! backups, end the same.

use std::collections::BTreeSet;

use headland_event::{Incarnation, Random, SeededRandom};
use headland_storage::{MemoryDisk, Survival};

use super::damage::damage;
use super::handing::{Net, end_on, hub_on};
use super::hub::Hub;
use super::remote::{Remote, record};

const EVENTS: &str = "inventory.events";
const REGIONS: [&str; 5] = ["ap", "eu", "sa", "us", "za"];

/// Schedules drawn.
const SCHEDULES: u64 = 60;

/// Hubs that pass on what they get, with the links that lie between them.
struct World {
    net: Net,
    between: Vec<(usize, usize)>,
    backups: Vec<Option<MemoryDisk>>,
    /// Lives begun, of hubs and of agents.
    lives: u64,
    /// Whether hubs pass on what they get.
    forwards: bool,
}

impl World {
    fn new(hubs: usize, between: &[(usize, usize)]) -> Self {
        Self::of(hubs, between, true)
    }

    fn of(hubs: usize, between: &[(usize, usize)], forwards: bool) -> Self {
        let (net, backups) = (Net::new([]), vec![None; hubs]);
        let mut world = Self { net, between: between.to_vec(), backups, lives: 10, forwards };
        for at in 0..hubs {
            let disk = MemoryDisk::new(u64::try_from(at).unwrap());
            let hub = world.start(at, &disk);
            world.net.hubs.push(hub);
        }
        world
    }

    fn start(&mut self, at: usize, disk: &MemoryDisk) -> Hub {
        self.lives += 1;
        let near = |(one, other): &(usize, usize)| {
            if at == *one { Some(REGIONS[*other]) } else { (at == *other).then_some(REGIONS[*one]) }
        };
        let peers: Vec<&str> = self.between.iter().filter_map(near).collect();
        let begin = if self.forwards { hub_on } else { end_on };
        begin(disk, self.lives, REGIONS[at], &peers)
    }

    /// An agent of a hub says that four units came.
    fn write(&mut self, at: usize) {
        self.say(at, r#""kind":"restock","quantity":4,"location":"eu-1""#);
    }

    /// An agent of a hub says that 50 units are there.
    fn count(&mut self, at: usize) {
        self.say(at, r#""kind":"stocktake","count":50,"location":"eu-1""#);
    }

    fn say(&mut self, at: usize, said: &str) {
        self.lives += 1;
        let (hub, number) = (&mut self.net.hubs[at], self.lives);
        let mut agent = Remote::agent_in(hub, 10_000 + number, Incarnation::new(1, number));
        let channel = agent.offer(hub, EVENTS);
        let text = format!(r#"{{"id":"{number}",{said},"device":"eu-1-till","sku":"A","#)
            + r#""time":"2010-12-01T08:06:00Z"}"#;
        agent.publish(hub, channel, &[record("eu-1-till", &text)]);
        hub.node.on_disconnected(hub.now, agent.link_id);
    }

    fn is_linked(&self, (one, other): (usize, usize)) -> bool {
        self.net.links.iter().any(|link| (link.0, link.1) == (one, other))
    }

    fn link(&mut self, (one, other): (usize, usize)) {
        if !self.is_linked((one, other)) {
            self.net.meet(one, other);
        }
    }

    fn cut(&mut self, (one, other): (usize, usize)) {
        if self.is_linked((one, other)) {
            self.net.part(one, other);
        }
    }

    /// The disk of a hub is lost; it begins anew on an empty one, or on its last backup.
    fn lose(&mut self, at: usize, goes_on: bool) {
        self.lives += 1;
        let backup = self.backups[at].as_ref().filter(|_| goes_on).map(MemoryDisk::fork);
        let disk = backup.unwrap_or_else(|| MemoryDisk::new(self.lives));
        disk.remove("identity");
        let mut hub = self.start(at, &disk);
        hub.now = self.net.hubs[at].now;
        self.net.replace(at, hub);
    }

    /// The power of a hub fails; it goes on with what is durable, and forgets all else.
    fn restart(&mut self, at: usize) {
        let disk = self.net.hubs[at].disk().clone();
        disk.crash(Survival::Nothing);
        let mut hub = self.start(at, &disk);
        hub.now = self.net.hubs[at].now;
        self.net.replace(at, hub);
    }

    /// Ids of events that can be read at a hub, each once.
    fn ids(&self, at: usize) -> BTreeSet<String> {
        let hub = &self.net.hubs[at];
        let topics = hub.node.topics().iter().filter(|topic| topic.origin_name.as_str() == EVENTS);
        let texts = topics.flat_map(|topic| hub.values(topic.name.as_str()));
        texts.filter_map(|text| Some(text.split('"').nth(3)?.to_owned())).collect()
    }

    /// The disk of a hub damages the commit of an event that another hub has too, amid a log or at
    /// its end; then it starts again, or goes on as it is. Says whether there is such an event.
    fn damage(&mut self, random: &mut SeededRandom, at: usize) -> bool {
        self.write(at);
        self.net.talk(1);
        let others = (0..self.net.hubs.len()).filter(|other| *other != at);
        let held: BTreeSet<String> = others.flat_map(|other| self.ids(other)).collect();
        let both: Vec<String> = self.ids(at).intersection(&held).cloned().collect();
        if both.is_empty() {
            return false;
        }
        let id = &both[one_of(random, both.len())];
        damage(&self.net.hubs[at], &format!(r#"{{"id":"{id}","kind""#));
        let draw = one_of(random, 4);
        if draw != 0 {
            self.write(at);
        }
        if draw != 1 {
            self.restart(at);
        }
        true
    }

    fn back_up(&mut self, at: usize) {
        self.backups[at] = Some(self.net.hubs[at].disk().fork());
    }

    /// Links all and lets them talk until nobody has anything new.
    fn heal(&mut self) {
        for link in self.between.clone() {
            self.link(link);
        }
        for _ in 0..40 {
            self.net.talk(5);
            if self.states().windows(2).all(|pair| pair[0] == pair[1]) {
                return;
            }
        }
    }

    /// What each hub lacks of what lies before the ends that it has.
    fn gaps(&self) -> String {
        let of = |hub: &Hub| {
            let extent = hub.node.inventory().extent();
            let gap = |(actor, gap): (&headland_event::Actor, headland_event::Gap)| {
                format!("{actor} {}..{}", gap.from, gap.until)
            };
            extent.gaps().iter().map(gap).collect::<Vec<_>>()
        };
        format!("{:?}", self.net.hubs.iter().map(of).collect::<Vec<_>>())
    }

    /// No hub lacks what somebody has to hand on, and none sends a log a second time.
    fn assert_whole(&self, told: &str) {
        for (at, hub) in self.net.hubs.iter().enumerate() {
            let lacking = hub.node.regions().lacking.into_iter();
            let waits = |way_out: &str| way_out.contains("hands them on once it is linked");
            let waited: Vec<_> = lacking.filter(|of| waits(&of.way_out)).collect();
            assert!(waited.is_empty(), "hub {at}: {waited:?}, {told}");
        }
        for (one, other, link_id) in &self.net.links {
            for at in [*one, *other] {
                let again = self.net.hubs[at].node.handed_on(*link_id).again;
                assert!(again.is_empty(), "hub {at}: {again:?}, {told}");
            }
        }
    }

    fn states(&self) -> Vec<(String, String)> {
        let state = |hub: &Hub| {
            let inventory = hub.node.inventory();
            (format!("{:?}", inventory.applied()), format!("{:?}", inventory.fingerprint()))
        };
        self.net.hubs.iter().map(state).collect()
    }

    /// How often each record of inventory lies in topics that hubs keep apart, at most.
    fn most_copies_apart(&self) -> usize {
        let apart = |hub: &Hub| -> usize {
            let topics = hub.node.topics().iter().filter(|topic| topic.is_apart());
            let topics = topics.filter(|topic| topic.origin_name.as_str() == EVENTS);
            let mut ids: Vec<String> =
                topics.flat_map(|topic| hub.texts(topic.name.as_str())).collect();
            ids.sort();
            let of = ids.chunk_by(|one, other| one == other).map(<[String]>::len);
            of.max().unwrap_or_default()
        };
        self.net.hubs.iter().map(apart).max().unwrap_or_default()
    }

    fn units(&self) -> Vec<Option<i64>> {
        let sku = headland_reconcile::Sku::new("A").unwrap();
        let at = headland_reconcile::Location::new("eu-1").unwrap();
        self.net.hubs.iter().map(|hub| hub.node.inventory().stock(&sku, &at)).collect()
    }
}

const CHAIN: [(usize, usize); 3] = [(0, 1), (1, 2), (2, 3)];
const STAR: [(usize, usize); 3] = [(0, 1), (0, 2), (0, 3)];

#[test]
fn behind_the_centre_of_a_star_a_hub_gets_what_that_lost_and_got_back() {
    let mut world = World::new(3, &[(0, 1), (0, 2)]);
    world.link((0, 1));
    world.write(0);
    world.write(0);
    world.net.talk(15);

    world.lose(0, false);
    world.link((0, 1));
    world.net.talk(15);
    world.cut((0, 1));
    world.link((0, 2));
    world.net.talk(30);

    assert_eq!(world.units(), [Some(8); 3]);
    assert_eq!(world.states()[2], world.states()[0]);
    assert_eq!(world.most_copies_apart(), 1);
}

#[test]
fn along_a_chain_what_two_hubs_lost_comes_back_from_the_third() {
    let mut world = World::new(4, &CHAIN);
    for link in [(0, 1), (1, 2)] {
        world.link(link);
    }
    world.write(0);
    world.net.talk(20);
    assert_eq!(world.units(), [Some(4), Some(4), Some(4), None]);

    world.lose(0, false);
    world.lose(1, false);
    world.heal();

    assert_eq!(world.units(), [Some(4); 4]);
    assert_eq!(world.states().windows(2).filter(|pair| pair[0] != pair[1]).count(), 0);
    assert_eq!(world.most_copies_apart(), 1);
}

#[test]
fn a_region_that_joins_while_another_is_cut_off_takes_none_of_its_counts_back() {
    let mut world = World::of(3, &[(0, 1), (0, 2), (1, 2)], false);
    world.link((0, 1));
    for _ in 0..3 {
        world.write(0);
        world.count(1);
        world.net.talk(3);
    }

    world.cut((0, 1));
    world.link((0, 2));
    world.write(0);
    world.net.talk(30);
    world.count(2);
    world.net.talk(5);
    let of_two = world.net.hubs[2].node.inventory().compacted();
    world.heal();
    world.net.talk(10);

    assert!(of_two.ends().is_empty(), "nobody has told it who takes part besides: {of_two:?}");
    for hub in &world.net.hubs {
        assert_eq!(hub.keys("inventory.rejected"), [""; 0]);
        assert!(!hub.node.inventory().compacted().ends().is_empty());
    }
    assert_eq!(world.units(), [Some(50); 3]);
}

#[test]
fn a_count_that_a_new_region_makes_of_its_own_shelf_counts_although_it_has_seen_nothing_else() {
    let mut world = World::new(2, &[(0, 1)]);
    world.net.talk(15);
    world.write(0);
    world.link((0, 1));
    world.net.talk(15);
    world.cut((0, 1));
    world.lose(1, false);
    world.net.talk(15);

    world.say(1, r#""kind":"stocktake","count":9,"location":"us-9""#);
    world.say(1, r#""kind":"stocktake","count":7,"location":"eu-1""#);
    world.heal();
    world.net.talk(10);

    for hub in &world.net.hubs {
        let rejected = hub.values("inventory.rejected");
        assert_eq!(rejected.len(), 1, "only that of the shelf of eu: {rejected:?}");
        assert!(rejected[0].contains("count again"), "{rejected:?}");
    }
    assert_eq!(world.units(), [Some(4); 2]);
}

/// Draws which of `count` it is.
fn one_of(random: &mut SeededRandom, count: usize) -> usize {
    usize::try_from(random.next_u64() % u64::try_from(count).unwrap()).unwrap()
}

/// Hubs in a drawn layout of which some were cut off, lost their disks or restarted, with what was
/// drawn.
fn after_some_time(random: &mut SeededRandom, says: &[fn(&mut World, usize)]) -> (World, String) {
    let mut world = drawn(random);
    let mut told = format!("{:?}", world.between);
    for _ in 0..12 {
        let hub = one_of(random, world.net.hubs.len());
        let link = world.between[one_of(random, world.between.len())];
        let step = one_of(random, 14);
        told.push_str(&format!(" {step}:{hub}{link:?}"));
        match step {
            0..=4 => says[step % says.len()](&mut world, hub),
            5..=8 => world.link(link),
            9 => world.cut(link),
            10 => world.lose(hub, false),
            11 => world.restart(hub),
            _ => world.net.talk(11),
        }
    }
    (world, told)
}

#[test]
fn what_is_damaged_amid_logs_comes_back_in_whatever_layout() {
    let mut lost = 0;
    for seed in 1..=SCHEDULES {
        let mut random = SeededRandom::new(1_000 + seed);
        let (mut world, told) = after_some_time(&mut random, &[World::write]);
        let places = 1 + one_of(&mut random, 3);
        let hubs: Vec<usize> =
            (0..places).map(|_| one_of(&mut random, world.net.hubs.len())).collect();
        for hub in &hubs {
            lost += usize::from(world.damage(&mut random, *hub));
        }
        let all = 0..world.net.hubs.len();
        if one_of(&mut random, 2) == 0 {
            // Whatever was damaged at the end of a copy lies amid it once something follows.
            all.clone().for_each(|hub| world.write(hub));
        }
        let left: BTreeSet<String> = all.flat_map(|hub| world.ids(hub)).collect();
        let units = Some(4 * i64::try_from(left.len()).unwrap());

        world.heal();

        let states = world.states();
        let are_equal = states.windows(2).all(|pair| pair[0] == pair[1]);
        let told = format!("seed {seed}, damaged {hubs:?}: {:?}\n{told}", world.units());
        assert!(are_equal, "{told}\n{}", world.gaps());
        assert!(world.units().iter().all(|of| *of == units), "{units:?}, {told}");
        assert_eq!(world.most_copies_apart().max(1), 1, "{told}");
        world.net.talk(5);
        world.assert_whole(&told);
    }
    assert!(lost > 60, "disks damaged {lost} places");
}

#[test]
fn whatever_is_counted_while_disks_damage_logs_all_hubs_end_the_same() {
    for seed in 1..=SCHEDULES / 2 {
        let mut random = SeededRandom::new(2_000 + seed);
        let says: [fn(&mut World, usize); 2] = [World::write, World::count];
        let (mut world, told) = after_some_time(&mut random, &says);
        let hub = one_of(&mut random, world.net.hubs.len());
        world.damage(&mut random, hub);
        for hub in 0..world.net.hubs.len() {
            world.write(hub);
            world.count(hub);
        }

        world.heal();

        let states = world.states();
        let are_equal = states.windows(2).all(|pair| pair[0] == pair[1]);
        assert!(are_equal, "seed {seed}: {:?} {told}\n{}", world.units(), world.gaps());
    }
}

fn drawn(random: &mut SeededRandom) -> World {
    let layouts: [(usize, &[(usize, usize)]); 6] = [
        (2, &[(0, 1)]),
        (4, &STAR),
        (4, &CHAIN),
        (4, &[(0, 1), (1, 2), (2, 3), (0, 3)]),
        (3, &[(0, 1), (1, 2), (0, 2)]),
        (5, &[(0, 1), (1, 2), (2, 3), (3, 4), (0, 4)]),
    ];
    let (hubs, between) = layouts[one_of(random, layouts.len())];
    World::new(hubs, between)
}

#[test]
fn whatever_is_cut_and_lost_in_whatever_layout_all_hubs_end_the_same() {
    let (mut void, mut compacted) = (0, 0);
    for seed in 1..=SCHEDULES {
        let mut random = SeededRandom::new(seed);
        let mut world = drawn(&mut random);
        let mut told = Vec::new();
        for _ in 0..24 {
            let hub = one_of(&mut random, world.net.hubs.len());
            let link = world.between[one_of(&mut random, world.between.len())];
            let step = one_of(&mut random, 18);
            told.push((step, hub, link));
            match step {
                0..=2 => world.write(hub),
                3 => world.count(hub),
                4..=6 => world.link(link),
                7..=8 => world.cut(link),
                9 => world.lose(hub, false),
                10 => world.lose(hub, true),
                11 => world.back_up(hub),
                12..=13 => world.net.talk(2),
                16..=17 => world.restart(hub),
                _ => world.net.talk(11),
            }
        }

        world.heal();

        let states = world.states();
        let are_equal = states.windows(2).all(|pair| pair[0] == pair[1]);
        assert!(are_equal, "seed {seed}: {:?}\n{told:?}\n{states:#?}", world.units());
        assert_eq!(world.most_copies_apart().max(1), 1, "seed {seed}: {told:?}");
        void += world.net.hubs[0].keys("inventory.rejected").len();
        let hubs = world.net.hubs.iter();
        compacted += hubs.filter(|hub| !hub.node.inventory().compacted().ends().is_empty()).count();
    }
    assert!(void > 0, "no count was one that nobody can judge");
    assert!(compacted > 0, "no hub forgot what nobody can ask for");
}
