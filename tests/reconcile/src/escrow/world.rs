//! The regions, their logs and the network between them.

use std::collections::{BTreeMap, BTreeSet};

use headland_event::{Monotonic, Offset, Random, SeededRandom};
use headland_reconcile::Sku;
use headland_reconcile::escrow::{Act, Answer, Closing, EscrowRecord, Holder, RecallId, Standing};
use headland_reconcile::name::RequestId;

use super::node::{Logs, Node, Told, units as units_of};
use super::rivals::{CentralLock, Hope};
use super::{Outcome, Tally};

const REGIONS: usize = 3;
/// Most hubs at one time, clones included.
const NODES_LIMIT: usize = 5;

/// Everything there is in one run.
#[derive(Debug)]
pub(super) struct World {
    nodes: Vec<Node>,
    /// Pairs of regions that cannot hear each other, the smaller one first.
    cuts: BTreeSet<(usize, usize)>,
    now: Monotonic,
    sku: Sku,
    /// Lives so far: each new one gets the next number.
    lives: u32,
    /// What customers asked for so far, each by its name.
    requests: Vec<(RequestId, i64)>,
    /// Offers and recalls that operators asked for.
    orders: u64,
    open: Vec<(Holder, RequestId)>,
    /// Records of all holders, each counted once, however many hubs have it.
    counted: BTreeMap<Holder, usize>,
    /// Units that operators offered.
    offered: i64,
    created: i64,
    spent: i64,
    central: CentralLock,
    hope: Hope,
    escrow: Tally,
    faults: [u64; 4],
}

impl World {
    pub(super) fn new(seed: u64) -> Self {
        let nodes = (0..REGIONS).zip(1..);
        #[expect(clippy::expect_used, reason = "one letter is a sku")]
        let sku = Sku::new("s").expect("one letter");
        let mut world = Self {
            nodes: nodes
                .map(|(region, life)| Node::new(region, life, Standing::Settled, Logs::new()))
                .collect(),
            cuts: BTreeSet::new(),
            now: Monotonic::from_millis(1),
            sku,
            lives: 3,
            requests: Vec::new(),
            orders: 0,
            open: Vec::new(),
            counted: BTreeMap::new(),
            offered: 0,
            created: 0,
            spent: 0,
            central: CentralLock::default(),
            hope: Hope::new(REGIONS),
            escrow: Tally::default(),
            faults: [0; 4],
        };
        let mut random = SeededRandom::new(!seed);
        for _ in 0..3 {
            world.restock(&mut random);
        }
        world
    }

    /// A customer asks some hub for one to three units; sometimes the hub crashes before it could
    /// answer, and the customer asks again.
    pub(super) fn customer(&mut self, random: &mut SeededRandom) {
        let (at, units) = (self.any_node(random), 1 + small(random.below(3)));
        let Ok(request) = RequestId::new(&format!("c{}", self.requests.len() + 1)) else { return };
        self.requests.push((request.clone(), units));
        let region = self.ask(random, at, (request, units));
        if let Some(region) = region {
            self.central.customer(units, !self.is_cut(0, region));
            self.hope.customer(region, units);
        }
    }

    /// A customer asks once more under the name of before, at whatever hub: what it was promised
    /// there may be open, over, in a life that is gone, or elsewhere. Rivals know no names.
    pub(super) fn customer_again(&mut self, random: &mut SeededRandom) {
        let count = u64::try_from(self.requests.len()).unwrap_or(0);
        let asked = random.below(count.max(1));
        let asked = usize::try_from(asked).ok().and_then(|asked| self.requests.get(asked)).cloned();
        if let Some(asked) = asked {
            let at = self.any_node(random);
            let _region = self.ask(random, at, asked);
        }
    }

    /// Asks a hub, and returns its region.
    fn ask(
        &mut self,
        random: &mut SeededRandom,
        at: usize,
        (request, units): (RequestId, i64),
    ) -> Option<usize> {
        let existing = self.created - self.spent;
        let (now, sku) = (self.now, self.sku.clone());
        let node = self.nodes.get_mut(at)?;
        let region = node.region;
        node.escrow.on_reserve(now, &request, &sku, units_of(units));
        let mut told = node.drain();
        if random.below(30) == 0 {
            node.crash();
            self.faults[1] += 1;
            node.escrow.on_reserve(now, &request, &sku, units_of(units));
        }
        told.extend(node.commit(now));
        let holder = node.holder.clone();
        self.escrow.asked += 1;
        let answers = told.into_iter().filter(|of| of.request == request);
        match answers.map(|Told { answer, .. }| answer).last() {
            Some(Answer::Granted) => {
                self.escrow.granted += 1;
                let open = (holder, request);
                if !self.open.contains(&open) {
                    self.open.push(open);
                }
            }
            Some(Answer::NotHere { .. } | Answer::UnknownYet) if units <= existing => {
                self.escrow.refused_in_vain += 1;
            }
            Some(
                Answer::NotHere { .. }
                | Answer::UnknownYet
                | Answer::OtherUnits { .. }
                | Answer::Ending { .. }
                | Answer::Closed { .. }
                | Answer::PromisedElsewhere { .. },
            )
            | None => {}
        }
        Some(region)
    }

    /// One hub hears another one, if it can.
    pub(super) fn exchange(&mut self, random: &mut SeededRandom) {
        let (to, from) = (self.any_node(random), self.any_node(random));
        self.now = self.now.after(std::time::Duration::from_millis(random.below(20)));
        let (Some(reader), Some(writer)) = (self.nodes.get(to), self.nodes.get(from)) else {
            return;
        };
        let (reader, writer) = (reader.region, writer.region);
        if to == from || self.is_cut(reader, writer) {
            return;
        }
        let count = usize::try_from(1 + random.below(20)).unwrap_or(1);
        let logs = self.nodes.get(from).map(|node| node.logs.clone()).unwrap_or_default();
        if let Some(node) = self.nodes.get_mut(to) {
            node.mirror(self.now, &logs, count);
            let _told = node.commit(self.now);
        }
        self.hope.exchange(reader, writer);
    }

    /// A reservation is sold or released, where it was made.
    pub(super) fn close(&mut self, random: &mut SeededRandom) {
        if self.open.is_empty() {
            return;
        }
        let at = random.below(u64::try_from(self.open.len()).unwrap_or(1));
        let (holder, request) = self.open.swap_remove(usize::try_from(at).unwrap_or(0));
        // Rivals never take units back, so that what they refuse is not the customer's doing.
        let outcome = if random.below(4) == 0 { Closing::Released } else { Closing::Sold };
        let (now, sku) = (self.now, self.sku.clone());
        if let Some(node) = self.nodes.iter_mut().find(|node| node.holder == holder) {
            let ended = node.escrow.on_close(&request, &sku, outcome);
            debug_assert_eq!(ended, Ok(()), "what was granted is open until it is ended, once");
            let _told = node.commit(now);
        }
    }

    /// Units are put up for sale at some hub. The operator never hears the answer and asks again;
    /// of every other offer the first one was lost in a crash.
    pub(super) fn restock(&mut self, random: &mut SeededRandom) {
        let (at, units) = (self.any_node(random), 5 + small(random.below(20)));
        let order = self.next_order();
        let is_lost = self.orders.is_multiple_of(2);
        let (now, sku) = (self.now, self.sku.clone());
        let Some(node) = self.nodes.get_mut(at) else { return };
        let region = node.region;
        for is_first in [true, false] {
            let offered = node.escrow.on_create(&order, &sku, units_of(units));
            debug_assert_eq!(offered, Ok(()), "no other order has the name");
            if is_first && is_lost {
                node.crash();
            }
            let _told = node.commit(now);
        }
        self.offered += units;
        self.central.restock(units);
        self.hope.restock(region, units);
    }

    /// Some hub finds units missing; half the time it crashes before that is durable.
    pub(super) fn shortfall(&mut self, random: &mut SeededRandom) {
        let (at, units) = (self.any_node(random), units_of(1 + small(random.below(9))));
        let order = self.next_order();
        let (now, sku) = (self.now, self.sku.clone());
        let Some(node) = self.nodes.get_mut(at) else { return };
        let recalled = node.escrow.on_shortfall(&order, &sku, units);
        debug_assert_eq!(recalled, Ok(()), "no other order has the name");
        let _told = node.drain();
        if random.below(2) == 0 {
            node.crash();
        }
        let _told = node.commit(now);
    }

    /// Everybody hears everybody, until nobody has anything to say.
    ///
    /// # Panics
    /// When a recall was answered twice, by less or more than it asked for, or not at all by a hub
    /// that is there.
    pub(super) fn settle(&mut self) {
        let count = self.nodes.len();
        for pair in 0..3 * count * count {
            let (to, from) = (pair % count, pair / count % count);
            let logs = self.nodes.get(from).map(|node| node.logs.clone()).unwrap_or_default();
            if let Some(node) = self.nodes.get_mut(to).filter(|_| to != from) {
                node.mirror(self.now, &logs, usize::MAX);
                let _told = node.commit(self.now);
            }
        }
        let Some(node) = self.nodes.first() else { return };
        let (asked, answered) = recalls(&node.logs);
        for (key, units) in &answered {
            assert_eq!(asked.get(key), Some(units), "{key:?} was answered otherwise than asked");
        }
        let is_here = |holder: &Holder| self.nodes.iter().any(|node| node.holder == *holder);
        let open = asked.keys().find(|key| is_here(&key.1) && !answered.contains_key(*key));
        assert_eq!(open, None, "a recall is lost");
    }

    pub(super) fn cut_or_heal(&mut self, random: &mut SeededRandom) {
        let pairs = [(0, 1), (0, 2), (1, 2)];
        let Some(pair) = pairs.get(usize::try_from(random.below(3)).unwrap_or(0)) else { return };
        if self.cuts.insert(*pair) {
            self.faults[0] += 1;
        } else {
            self.cuts.remove(pair);
        }
    }

    pub(super) fn crash(&mut self, random: &mut SeededRandom) {
        let at = self.any_node(random);
        if let Some(node) = self.nodes.get_mut(at) {
            node.crash();
            self.faults[1] += 1;
        }
    }

    pub(super) fn back_up(&mut self, random: &mut SeededRandom) {
        let at = self.any_node(random);
        if let Some(node) = self.nodes.get_mut(at) {
            node.backup = Some(node.logs.clone());
        }
    }

    /// A hub loses its disk and comes up from its backup, as another life.
    pub(super) fn restore(&mut self, random: &mut SeededRandom) {
        let at = self.any_node(random);
        let life = self.next_life();
        if let Some(node) = self.nodes.get_mut(at)
            && let Some(backup) = node.backup.take()
        {
            *node = Node::new(node.region, life, Standing::Alone, backup);
            self.faults[2] += 1;
        }
    }

    /// A copy of a hub's directory starts beside it, as another life.
    pub(super) fn clone_one(&mut self, random: &mut SeededRandom) {
        let at = self.any_node(random);
        let life = self.next_life();
        if self.nodes.len() < NODES_LIMIT
            && let Some(node) = self.nodes.get(at)
        {
            let clone = Node::new(node.region, life, Standing::Alone, node.logs.clone());
            self.nodes.push(clone);
            self.faults[3] += 1;
        }
    }

    /// Counts what became durable, and what was promised beyond it.
    ///
    /// # Panics
    /// When a holder has fewer rights than none, or an offer counts twice or not at all.
    pub(super) fn check(&mut self) {
        for node in &self.nodes {
            assert!(node.escrow.available(&self.sku) >= 0, "{} owes rights", node.holder);
        }
        for node in &self.nodes {
            for (holder, log) in &node.logs {
                let counted = self.counted.entry(holder.clone()).or_default();
                for record in log.iter().skip(*counted) {
                    self.created += units_created(record);
                    self.spent += units_spent(record, log);
                }
                *counted = log.len().max(*counted);
            }
        }
        assert_eq!(self.created, self.offered, "an offer counts twice, or not at all");
        let beyond = (self.spent - self.created).max(0).unsigned_abs();
        self.escrow.oversold = self.escrow.oversold.max(beyond);
    }

    pub(super) const fn outcome(&self) -> Outcome {
        Outcome {
            escrow: self.escrow,
            central: self.central.tally,
            nothing: self.hope.tally,
            faults: self.faults,
        }
    }

    fn any_node(&self, random: &mut SeededRandom) -> usize {
        let count = u64::try_from(self.nodes.len()).unwrap_or(1);
        usize::try_from(random.below(count)).unwrap_or(0)
    }

    fn next_order(&mut self) -> RequestId {
        self.orders += 1;
        #[expect(clippy::expect_used, reason = "a letter and a number are a name")]
        RequestId::new(&format!("o{}", self.orders)).expect("a short name")
    }

    const fn next_life(&mut self) -> u32 {
        self.lives += 1;
        self.lives
    }

    fn is_cut(&self, one: usize, other: usize) -> bool {
        self.cuts.contains(&(one.min(other), one.max(other)))
    }
}

/// Units by recall and holder.
type Recalled = BTreeMap<(RecallId, Holder), i64>;

/// What recalls asked of each holder, and what each said that it did.
fn recalls(logs: &Logs) -> (Recalled, Recalled) {
    let (mut asked, mut answered) = (Recalled::new(), Recalled::new());
    for (holder, log) in logs {
        for (at, record) in (0..).map(Offset::new).zip(log) {
            match &record.act {
                Act::Recall { shares, .. } => asked.extend(shares.iter().map(|share| {
                    let recall = RecallId { by: holder.clone(), at };
                    ((recall, share.holder.clone()), share.units.get())
                })),
                Act::Destroy { recall, units, missing } => {
                    let key = (recall.clone(), holder.clone());
                    *answered.entry(key).or_insert(0) += units.get() + missing.get();
                }
                Act::Create { .. }
                | Act::Spend { .. }
                | Act::Close { .. }
                | Act::Ask { .. }
                | Act::Give { .. }
                | Act::Gone { .. } => {}
            }
        }
    }
    (asked, answered)
}

const fn units_created(record: &EscrowRecord) -> i64 {
    match &record.act {
        Act::Create { units, .. } => units.get(),
        Act::Spend { .. }
        | Act::Close { .. }
        | Act::Ask { .. }
        | Act::Give { .. }
        | Act::Recall { .. }
        | Act::Destroy { .. }
        | Act::Gone { .. } => 0,
    }
}

/// Units promised; a release takes its promise back.
fn units_spent(record: &EscrowRecord, log: &[EscrowRecord]) -> i64 {
    match &record.act {
        Act::Spend { units, .. } => units.get(),
        Act::Close { request, outcome: Closing::Released } => {
            let promised = log.iter().find_map(|record| match &record.act {
                Act::Spend { request: of, units } if of == request => Some(units.get()),
                _ => None,
            });
            -promised.unwrap_or(0)
        }
        Act::Close { outcome: Closing::Sold, .. }
        | Act::Create { .. }
        | Act::Ask { .. }
        | Act::Give { .. }
        | Act::Recall { .. }
        | Act::Destroy { .. }
        | Act::Gone { .. } => 0,
    }
}

fn small(units: u64) -> i64 {
    i64::try_from(units).unwrap_or(0)
}
