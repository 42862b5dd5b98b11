//! One hub: an escrow over a log that survives crashes.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use headland_event::{Incarnation, Monotonic, Offset, RegionId};
use headland_reconcile::escrow::{
    Act, Answer, Escrow, EscrowConfig, EscrowOutput, EscrowRecord, Holder, Standing, Units,
};
use headland_reconcile::name::RequestId;

/// Every holder's log as one journal has it.
pub(super) type Logs = BTreeMap<Holder, Vec<EscrowRecord>>;

/// One hub of one life.
#[derive(Debug)]
pub(super) struct Node {
    /// Which region's customers it serves.
    pub(super) region: usize,
    pub(super) holder: Holder,
    pub(super) escrow: Escrow,
    /// What is durable here, the own log included.
    pub(super) logs: Logs,
    /// Handed out by the escrow and not durable: what a crash loses.
    waiting: VecDeque<EscrowRecord>,
    /// What a restore brings back.
    pub(super) backup: Option<Logs>,
}

/// A number of units as the world draws it.
pub(super) fn units(drawn: i64) -> Units {
    Units::new(drawn).unwrap_or_default()
}

/// An answer that a customer got.
#[derive(Debug)]
pub(super) struct Told {
    pub(super) request: RequestId,
    pub(super) answer: Answer,
}

fn config(holder: Holder, standing: Standing) -> EscrowConfig {
    EscrowConfig {
        holder,
        standing,
        floor: units(3),
        floors: BTreeMap::new(),
        ask_again: Duration::from_millis(50),
    }
}

impl Node {
    pub(super) fn new(region: usize, life: u32, standing: Standing, logs: Logs) -> Self {
        let name = format!("r{region}");
        #[expect(clippy::expect_used, reason = "a letter and a digit are a region's name")]
        let of = RegionId::new(&name).expect("a letter and a digit");
        let holder = Holder { region: of, incarnation: Incarnation::new(life, u64::from(life)) };
        let mut node = Self {
            region,
            escrow: Escrow::new(config(holder.clone(), standing), 1),
            holder,
            logs,
            waiting: VecDeque::new(),
            backup: None,
        };
        node.replay();
        node
    }

    /// Loses what is not durable and starts again from what is.
    pub(super) fn crash(&mut self) {
        self.waiting.clear();
        self.escrow = Escrow::new(config(self.holder.clone(), Standing::Settled), 1);
        self.replay();
    }

    /// Reads its logs: of those of some lengths what compaction by key left, but for their end.
    /// Some of what is superseded stays, as in files that were not copied.
    fn replay(&mut self) {
        for (holder, log) in &self.logs {
            let cut = if log.len() % 8 == 3 { log.len() - log.len() % 7 } else { 0 };
            let stays = |at: usize| at >= cut || (at * 7 + log.len()).is_multiple_of(5);
            let (mut last, mut old) = (BTreeMap::new(), BTreeSet::new());
            for (at, record) in log.iter().enumerate().filter(|_| cut > 0) {
                let key = record.key(holder);
                if last.insert(key.clone(), at).is_some_and(stays) {
                    old.insert(key);
                }
            }
            for (at, record) in log.iter().enumerate() {
                // A key without a value goes with what was before it, once that is gone.
                let must_stay = |record: &EscrowRecord| {
                    let key = record.key(holder);
                    let is_last = last.get(&key) == Some(&at);
                    is_last && (!matches!(record.act, Act::Gone { .. }) || old.contains(&key))
                };
                if stays(at) || must_stay(record) {
                    let offset = u64::try_from(at).unwrap_or(u64::MAX);
                    self.escrow.replay(holder, Offset::new(offset), record);
                }
            }
        }
        self.escrow.resume();
    }

    /// Takes the answers that need nothing more; records wait for [`Self::commit`].
    pub(super) fn drain(&mut self) -> Vec<Told> {
        let mut told = Vec::new();
        while let Some(output) = self.escrow.poll_output() {
            match output {
                EscrowOutput::Commit(record) => self.waiting.push_back(record),
                EscrowOutput::Answer { sku: _, request, answer } => {
                    told.push(Told { request, answer })
                }
                EscrowOutput::Short { .. } => {}
            }
        }
        told
    }

    /// Makes everything that waits durable; answers come with it.
    pub(super) fn commit(&mut self, now: Monotonic) -> Vec<Told> {
        let mut told = self.drain();
        while let Some(record) = self.waiting.pop_front() {
            let gone = record.gone();
            for record in [record].into_iter().chain(gone) {
                let log = self.logs.entry(self.holder.clone()).or_default();
                let offset = Offset::default().after(u64::try_from(log.len()).unwrap_or(u64::MAX));
                log.push(record.clone());
                self.escrow.on_record(now, &self.holder, offset, &record);
                told.extend(self.drain());
            }
        }
        told
    }

    /// Mirrors up to `count` more records of each log that another hub has.
    pub(super) fn mirror(&mut self, now: Monotonic, from: &Logs, count: usize) {
        for (holder, log) in from {
            if *holder == self.holder {
                continue;
            }
            let ours = self.logs.entry(holder.clone()).or_default();
            let start = ours.len();
            let fresh: Vec<EscrowRecord> = log.iter().skip(start).take(count).cloned().collect();
            ours.extend(fresh.iter().cloned());
            for (index, record) in fresh.iter().enumerate() {
                let offset = u64::try_from(start + index).unwrap_or(u64::MAX);
                self.escrow.on_record(now, holder, Offset::new(offset), record);
            }
        }
        self.escrow.on_peer_met();
    }
}
