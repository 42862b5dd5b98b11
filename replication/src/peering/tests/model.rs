//! Two nodes that dial each other over a network with any delay and any faults.
//!
//! A connection is made in three steps, as QUIC's: the peer's transport answers a dial, the dialler
//! confirms and says hello, the peer says hello. What is on its way on one connection in one
//! direction stays in order; all else may overtake.

use std::collections::BTreeSet;

use headland_event::{Random, SeededRandom};
use proptest::prelude::*;

use super::*;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Dial,
    Answer,
    Failed,
    Confirm,
    Hello(Incarnation),
    Superseded,
    Lost,
}

#[derive(Debug, Clone, Copy)]
struct Message {
    at: Monotonic,
    connection: u32,
    to: usize,
    kind: Kind,
}

#[derive(Debug, Clone)]
struct Side {
    peering: Peering<u32>,
    life: Incarnation,
    /// Which run of the process this is.
    run: u64,
}

#[derive(Debug, Clone)]
struct Connection {
    dialler: usize,
    /// The run of each side's process that has or expects the connection, until it is over there.
    held: [Option<u64>; 2],
}

/// What breaks, and after how many steps.
#[derive(Debug, Clone, Copy)]
enum Fault {
    /// A process is killed and starts again, with the same data directory or without it.
    Restart { side: usize, keeps_life: bool },
    /// Every connection breaks at once, and each side learns of it in its own time.
    Break,
    /// One dial fails.
    FailDial,
    /// Nothing happens for a while.
    Wait(u64),
}

#[derive(Debug, Clone)]
struct World {
    now: Monotonic,
    sides: [Side; 2],
    connections: Vec<Connection>,
    messages: Vec<Message>,
    delay_ms: u64,
    random: SeededRandom,
    fails_next: bool,
    dials: usize,
}

fn start(side: usize, seed: u64) -> Peering<u32> {
    let (local, peer) = if side == 0 { (SMALL, LARGE) } else { (LARGE, SMALL) };
    let config = PeeringConfig::new(hub(local), hub(peer), Some(DialerConfig::default()));
    Peering::new(config, seed)
}

impl World {
    fn new(delay_ms: u64, seed: u64) -> Self {
        let side = |index: usize| Side {
            peering: start(index, seed.wrapping_add(index as u64)),
            life: life(index as u64),
            run: 0,
        };
        let mut world = Self {
            now: Monotonic::from_millis(0),
            sides: [side(0), side(1)],
            connections: Vec::new(),
            messages: Vec::new(),
            delay_ms,
            random: SeededRandom::new(seed),
            fails_next: false,
            dials: 0,
        };
        world.drain();
        world
    }

    fn send(&mut self, connection: u32, to: usize, kind: Kind) {
        let drawn = self.delay_ms * 1_000_000 / 2 + self.random.below(self.delay_ms * 1_000_000);
        let earliest = self.now.after(Duration::from_nanos(drawn));
        let same = self.messages.iter().filter(|m| m.connection == connection && m.to == to);
        let at = same.map(|message| message.at).fold(earliest, Ord::max);
        self.messages.push(Message { at, connection, to, kind });
    }

    fn drain(&mut self) {
        for side in [0, 1] {
            while let Some(output) = self.sides[side].peering.poll_output() {
                match output {
                    PeeringOutput::Dial => self.dial(side),
                    PeeringOutput::Close(id) => {
                        self.of(id).held[side] = None;
                        self.send(id, 1 - side, Kind::Superseded);
                    }
                    PeeringOutput::Probe(id) => {
                        if self.of(id).held[1 - side].is_none() {
                            self.send(id, side, Kind::Lost);
                        }
                    }
                }
            }
        }
    }

    fn dial(&mut self, side: usize) {
        self.dials += 1;
        let id = u32::try_from(self.connections.len()).unwrap();
        let mut held = [None, None];
        held[side] = Some(self.sides[side].run);
        self.connections.push(Connection { dialler: side, held });
        if std::mem::take(&mut self.fails_next) {
            self.send(id, side, Kind::Failed);
        } else {
            self.send(id, 1 - side, Kind::Dial);
        }
    }

    fn of(&mut self, id: u32) -> &mut Connection {
        &mut self.connections[id as usize]
    }

    fn deliver(&mut self, message: Message) {
        let Message { connection: id, to, kind, at } = message;
        self.now = self.now.max(at);
        let (run, now) = (self.sides[to].run, self.now);
        if kind == Kind::Dial {
            self.of(id).held[to] = Some(run);
            return self.send(id, 1 - to, Kind::Answer);
        }
        if self.of(id).held[to] != Some(run) {
            // The transport of a process that does not know a connection says so.
            if self.of(id).held[1 - to].is_some() && kind != Kind::Lost {
                self.send(id, 1 - to, Kind::Lost);
            }
            return;
        }
        self.hear(to);
        let own = self.sides[to].life;
        let peering = &mut self.sides[to].peering;
        match kind {
            Kind::Dial => {}
            Kind::Failed => peering.on_dial_failed(now),
            Kind::Answer => {
                peering.on_connected(now, id, Dialled::Here);
                self.send(id, 1 - to, Kind::Confirm);
                self.send(id, 1 - to, Kind::Hello(own));
            }
            Kind::Confirm => {
                peering.on_connected(now, id, Dialled::There);
                self.send(id, 1 - to, Kind::Hello(own));
            }
            Kind::Hello(life) => peering.on_hello(now, id, life),
            Kind::Superseded | Kind::Lost => {
                let is_dial = self.connections[id as usize].dialler == to;
                self.of(id).held[to] = None;
                self.end(id, to, kind, is_dial);
            }
        }
        self.drain();
    }

    fn end(&mut self, id: u32, side: usize, kind: Kind, is_dial: bool) {
        let now = self.now;
        let peering = &mut self.sides[side].peering;
        let was_made = peering.connections.iter().any(|known| known.id == id);
        let ended = if kind == Kind::Superseded { Ended::Superseded } else { Ended::Lost };
        if was_made {
            peering.on_closed(now, id, ended);
        } else if is_dial {
            peering.on_dial_failed(now);
        }
    }

    /// Signs of life arrive on kept connections that the other side still has.
    fn hear(&mut self, side: usize) {
        let Some(kept) = self.sides[side].peering.kept() else { return };
        if self.of(kept).held[1 - side].is_some() {
            let now = self.now;
            self.sides[side].peering.on_heard(now, kept);
        }
    }

    fn fire(&mut self, side: usize) {
        let due = self.sides[side].peering.poll_timeout().unwrap();
        self.now = self.now.max(due);
        let now = self.now;
        self.sides[side].peering.on_timeout(now);
        self.drain();
    }

    /// Does what comes next in time; false when nothing ever will.
    fn step(&mut self) -> bool {
        let message = self.messages.iter().enumerate().min_by_key(|(_, message)| message.at);
        let message = message.map(|(index, message)| (message.at, index));
        let timer = [0, 1]
            .into_iter()
            .filter_map(|side| Some((self.sides[side].peering.poll_timeout()?, side)));
        match (message, timer.min()) {
            (Some((at, _)), Some((due, side))) if due < at => self.fire(side),
            (Some((_, index)), _) => {
                let message = self.messages.remove(index);
                self.deliver(message);
            }
            (None, Some((_, side))) => self.fire(side),
            (None, None) => return false,
        }
        true
    }

    fn strike(&mut self, fault: Fault) {
        match fault {
            Fault::Restart { side, keeps_life } => {
                let run = self.sides[side].run + 1;
                self.sides[side].peering = start(side, self.random.next_u64());
                self.sides[side].run = run;
                if !keeps_life {
                    self.sides[side].life = life(100 + run * 2 + side as u64);
                }
                self.break_all(&[1 - side]);
            }
            Fault::Break => self.break_all(&[0, 1]),
            Fault::FailDial => self.fails_next = true,
            Fault::Wait(ms) => {
                let until = self.now.after(Duration::from_millis(ms));
                while self.messages.iter().any(|message| message.at <= until) {
                    self.step();
                }
                self.now = self.now.max(until);
            }
        }
        self.drain();
    }

    /// Tells sides that each connection they hold and the other may not is over.
    fn break_all(&mut self, sides: &[usize]) {
        for id in 0..u32::try_from(self.connections.len()).unwrap() {
            for side in sides {
                let run = self.sides[*side].run;
                let is_gone = self.connections[id as usize].held[1 - side]
                    .is_some_and(|held| held != self.sides[1 - side].run);
                let is_held = self.connections[id as usize].held[*side] == Some(run);
                if is_held && (sides.len() == 2 || is_gone) {
                    self.send(id, *side, Kind::Lost);
                }
            }
        }
    }

    /// Runs until nothing is left to happen, and checks what is left.
    fn settle(&mut self) {
        let mut steps = 0;
        while self.step() {
            steps += 1;
            assert!(steps < 2_000, "still churning at {:?} after {} dials", self.now, self.dials);
        }
        let kept = self.sides.each_ref().map(|side| side.peering.kept());
        assert!(kept[0].is_some() && kept[0] == kept[1], "the sides keep {kept:?}");
        for side in &self.sides {
            assert_eq!(side.peering.connections.len(), 1, "{side:?}");
        }
    }

    /// What can happen next in any order: the oldest message of each connection and direction.
    fn deliverable(&self) -> Vec<usize> {
        let mut seen = BTreeSet::new();
        let heads = self.messages.iter().enumerate();
        heads.filter(|(_, m)| seen.insert((m.connection, m.to))).map(|(index, _)| index).collect()
    }
}

/// Follows every order in which two simultaneous dials can go, with up to `timers` waits that end
/// before anything else happens; counts the ends.
fn explore(world: &World, timers: usize, ends: &mut usize) {
    let deliverable = world.deliverable();
    if deliverable.is_empty() {
        world.clone().settle();
        *ends += 1;
    }
    for index in deliverable {
        let mut next = world.clone();
        let message = next.messages.remove(index);
        next.deliver(message);
        explore(&next, timers, ends);
    }
    for side in [0, 1] {
        if timers > 0 && world.sides[side].peering.poll_timeout().is_some() {
            let mut next = world.clone();
            next.fire(side);
            explore(&next, timers - 1, ends);
        }
    }
}

#[test]
fn every_order_of_two_simultaneous_dials_ends_with_one_connection_on_both_sides() {
    let mut ends = 0;

    explore(&World::new(1, 1), 1, &mut ends);

    assert!(ends > 1_000, "only {ends} orders were tried");
}

#[test]
fn two_dials_that_meet_are_all_that_is_ever_dialled_at_any_round_trip() {
    for delay_ms in [1, 18, 35, 100, 400, 2_000] {
        let mut world = World::new(delay_ms, 3);

        world.settle();

        assert_eq!(world.dials, 2, "one way takes {delay_ms} ms");
    }
}

fn faults() -> impl Strategy<Value = Vec<Fault>> {
    let fault = prop_oneof![
        3 => (0..2_usize, any::<bool>())
            .prop_map(|(side, keeps_life)| Fault::Restart { side, keeps_life }),
        2 => Just(Fault::Break),
        2 => Just(Fault::FailDial),
        6 => (1..3_000_u64).prop_map(Fault::Wait),
    ];
    prop::collection::vec(fault, 0..12)
}

proptest! {
    #[test]
    fn any_delays_and_faults_end_with_one_connection_on_both_sides_and_no_churn(
        delay_ms in 1..600_u64,
        seed in any::<u64>(),
        faults in faults(),
    ) {
        let mut world = World::new(delay_ms, seed);

        for fault in faults {
            world.strike(fault);
        }

        world.settle();
    }
}
