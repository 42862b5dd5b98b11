//! A thousand schedules, each of which its seed repeats: crashes, cuts, cuts in one direction,
//! lanes that overtake each other, datagrams that are lost or doubled or late, late disks.

use std::time::Duration;

use headland_event::{Lane, Random, SeededRandom};

use super::pair::{Fate, Log, Pair};

const SCHEDULES: u64 = 1_000;
const STEPS: u64 = 250;

const TOPICS: [(&str, Lane); 3] =
    [("alerts", Lane::Alerts), ("inventory.events", Lane::State), ("air", Lane::Telemetry)];

/// Directions in which nothing passes until the connection is given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Silence {
    None,
    Up,
    Down,
}

/// What the network does wrong on purpose, to prove that the checks find it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Planted {
    Nothing,
    /// A copy of an alert counts as another one.
    Doubled,
}

struct World {
    planted: Planted,
    pair: Pair,
    random: SeededRandom,
    silence: Silence,
}

impl World {
    fn new(seed: u64, planted: Planted) -> Self {
        let mut pair = Pair::new();
        for (topic, lane) in TOPICS {
            pair.agent.offer(Log::new(topic, lane, 2, 100));
        }
        Self { planted, pair, random: SeededRandom::new(seed), silence: Silence::None }
    }

    fn below(&mut self, bound: u64) -> usize {
        usize::try_from(self.random.below(bound)).unwrap()
    }

    fn step(&mut self) {
        match self.below(46) {
            0..=11 => {
                let lane = Lane::ALL[self.below(4)];
                if self.silence != Silence::Up {
                    Pair::carry(self.pair.now, &mut self.pair.agent, &mut self.pair.hub, lane);
                }
            }
            12..=17 => {
                if self.silence != Silence::Down {
                    let Pair { now, agent, hub } = &mut self.pair;
                    Pair::carry(*now, hub, agent, Lane::Control);
                }
            }
            18..=24 => {
                let (log, bytes) = (self.below(3), 1 + self.below(900));
                self.pair.agent.append(log, bytes);
            }
            25..=29 => self.pair.agent.answer_read(),
            30..=34 => self.pair.hub.store_one(),
            35..=36 => {
                let wait = Duration::from_millis(1 + self.random.below(700));
                self.wait(wait);
            }
            37 => self.silence = [Silence::Up, Silence::Down][self.below(2)],
            38..=42 => {
                let (at, fate) = (self.below(4), Fate::ALL[self.below(3)]);
                match self.planted {
                    Planted::Nothing if self.silence == Silence::Up => {}
                    Planted::Nothing => self.pair.carry_datagram(at, fate),
                    Planted::Doubled => self.pair.carry_doubled(at),
                }
            }
            43 => {
                let wait = Duration::from_millis(1 + self.random.below(50));
                self.wait(wait);
            }
            // A crash of either process and a cut look alike: what was not stored is gone, on both
            // sides, and a new connection starts from what is stored.
            _ => self.reconnect(),
        }
        self.pair.agent.drain();
        self.pair.hub.drain();
    }

    fn wait(&mut self, wait: Duration) {
        let Pair { now, agent, hub } = &mut self.pair;
        // Nodes wake up when their link wants them to, if only to be asked when again.
        agent.link.on_timeout(*now);
        *now = now.after(wait);
        agent.link.on_timeout(*now);
        hub.link.on_timeout(*now);
        if agent.link.poll_timeout().is_none() || hub.link.poll_timeout().is_none() {
            self.reconnect();
        }
    }

    fn reconnect(&mut self) {
        self.silence = Silence::None;
        self.pair.cut();
    }

    /// What holds at every moment: the mirror is a prefix, and every bound is kept.
    fn check(&self) -> Result<(), String> {
        let Pair { agent, hub, .. } = &self.pair;
        for log in &agent.logs {
            if !log.entries.starts_with(hub.mirrored(log.topic)) {
                return Err(format!("the mirror of {} is no prefix", log.topic));
            }
        }
        let in_flight = |lane| agent.link.in_flight(lane).get();
        let bulk = in_flight(Lane::State) + in_flight(Lane::Telemetry);
        if bulk > 4_096 || in_flight(Lane::Alerts) > 2_048 {
            return Err(format!("{bulk} bytes of bulk are in flight"));
        }
        Ok(())
    }

    /// What holds once everything has settled: the mirror is a copy.
    fn finish(mut self) -> Result<(), String> {
        self.reconnect();
        self.pair.run();
        for log in &self.pair.agent.logs {
            let (expected, found) = (log.entries.len(), self.pair.hub.mirrored(log.topic).len());
            if expected != found {
                return Err(format!("{found} of {expected} entries of {} arrived", log.topic));
            }
        }
        self.check()
    }
}

fn run(seed: u64, planted: Planted) -> Result<(), String> {
    let mut world = World::new(seed, planted);
    for step in 0..STEPS {
        world.step();
        world.check().map_err(|fault| format!("step {step}: {fault}"))?;
    }
    world.finish()
}

#[test]
fn a_thousand_schedules_end_with_exact_copies() {
    let only = option_env!("HEADLAND_LINK_SEED").map(|seed| seed.parse().unwrap());
    let seeds = only.map_or(0..SCHEDULES, |seed: u64| seed..seed + 1);

    for seed in seeds {
        if let Err(fault) = run(seed, Planted::Nothing) {
            panic!(
                "{fault}; replay with HEADLAND_LINK_SEED={seed} cargo test \
                 --package=headland-replication a_thousand_schedules"
            );
        }
    }
}

#[test]
fn a_copy_that_counts_as_another_alert_is_found() {
    let found = (0..100).filter(|seed| run(*seed, Planted::Doubled).is_err()).count();

    assert!(found > 0, "a fault that is always there is never found");
}
