//! Rights to sell, as this hub's journal and those of its peers tell of them.
//!
//! Every hub with `[escrow]` has the topic `inventory.escrow` with one partition, a log of what it
//! does with rights, and mirrors those of other regions like any other topic. A hub's life is a
//! holder. A reservation is granted by its record: once that is durable here the customer may be
//! told, whoever else can be reached.

use std::collections::BTreeMap;

use headland_event::{
    Entry, Hole, Incarnation, Monotonic, Offset, PartitionIndex, RegionId, TopicName,
    TopicPartition, Verdict,
};
use headland_reconcile::escrow::{Act, Answer, CloseError, Closing, OrderError, Standing};
use headland_reconcile::{
    Escrow, EscrowConfig, EscrowOutput, EscrowRecord, Holder, RequestId, Sku, Units,
};
use serde::{Deserialize, Serialize};

use crate::config::RightsConfig;

/// A customer asks for units.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReserveRequest {
    /// What the customer calls the reservation; the same again is the same reservation.
    pub request: RequestId,
    /// Of which sku.
    pub sku: Sku,
    /// How many.
    pub units: Units,
}

/// A reservation ends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CloseRequest {
    /// The reservation.
    pub request: RequestId,
    /// Of which sku.
    pub sku: Sku,
    /// Sold or released.
    pub outcome: Closing,
}

/// Units are put up for sale, or found missing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UnitsRequest {
    /// What the operator calls the offer or the recall; the same again is the same one.
    pub request: RequestId,
    /// Of which sku.
    pub sku: Sku,
    /// How many.
    pub units: Units,
}

/// What a hub knows of the rights of one sku.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RightsView {
    /// The sku.
    pub sku: Sku,
    /// Units that can be promised here now.
    pub here: i64,
    /// Rights by holder, as far as is known here.
    pub holders: BTreeMap<String, i64>,
}

/// The rights that this hub knows of.
#[derive(Debug)]
pub struct Rights {
    escrow: Escrow,
    holder: Holder,
    /// Where the reservations that are not durable yet will stand, and of how many units.
    under_way: BTreeMap<(Sku, RequestId), (Offset, Units)>,
    /// Whether a log has records of before their keys said what they are about: of those of one key
    /// the last one does not stand for the others.
    has_old_keys: bool,
}

/// The topic of a hub's own records about rights.
///
/// # Panics
/// Never: the name is a literal that fits.
#[must_use]
pub fn escrow_topic() -> TopicName {
    #[expect(clippy::expect_used, reason = "a literal that fits the rule for topics")]
    TopicName::new("inventory.escrow").expect("a literal topic name fits")
}

/// The partition that a hub's own records about rights go to.
#[must_use]
pub fn escrow_partition() -> TopicPartition {
    TopicPartition::new(escrow_topic(), PartitionIndex::new(0))
}

impl Rights {
    /// A hub that knows of none.
    #[must_use]
    pub fn new(
        config: &RightsConfig,
        region: RegionId,
        incarnation: Incarnation,
        standing: Standing,
        seed: u64,
    ) -> Self {
        let holder = Holder { region, incarnation };
        let RightsConfig { floor, floors, ask_again } = config.clone();
        let ask_again = ask_again.get();
        let config = EscrowConfig { holder: holder.clone(), standing, floor, floors, ask_again };
        let (escrow, under_way) = (Escrow::new(config, seed), BTreeMap::new());
        Self { escrow, holder, under_way, has_old_keys: false }
    }

    /// Takes note of an entry that was in the log at the start.
    pub fn replay(&mut self, entry: &Entry) {
        for (from, at, record) in records(entry, &mut self.has_old_keys) {
            self.escrow.replay(&from, at, &record);
        }
    }

    /// Takes note that a part of another holder's log is lost.
    pub fn on_lost(&mut self) {
        self.escrow.on_lost();
    }

    /// What lies in another life's log from an offset on may come behind what followed it there.
    pub fn on_cut(&mut self, life: &Holder, from: Offset) {
        self.escrow.on_cut(life, from);
    }

    /// Nothing of a life's log comes so any more.
    pub fn on_whole(&mut self, life: &Holder) {
        self.escrow.on_whole(life);
    }

    /// Goes on after the last entry that was in the log at the start.
    pub fn resume(&mut self) {
        self.escrow.resume();
    }

    /// Takes note of a durable entry, this hub's own included.
    pub fn on_entry(&mut self, now: Monotonic, entry: &Entry) {
        for (from, at, record) in records(entry, &mut self.has_old_keys) {
            if let (true, Act::Spend { request, .. }) = (from == self.holder, &record.act) {
                self.under_way.remove(&(record.sku.clone(), request.clone()));
            }
            self.escrow.on_record(now, &from, at, &record);
        }
    }

    /// The same of a life that is over, or of what was handed on: what it asked for is not given.
    /// Nobody could spend it there, nor give it back.
    pub fn on_entry_of_former(&mut self, now: Monotonic, entry: &Entry) {
        for (from, at, record) in records(entry, &mut self.has_old_keys) {
            match record.act {
                Act::Ask { .. } => self.escrow.replay(&from, at, &record),
                Act::Create { .. }
                | Act::Spend { .. }
                | Act::Close { .. }
                | Act::Give { .. }
                | Act::Recall { .. }
                | Act::Destroy { .. }
                | Act::Gone { .. } => self.escrow.on_record(now, &from, at, &record),
            }
        }
    }

    /// Takes note of a peer.
    pub fn on_peer_met(&mut self) {
        self.escrow.on_peer_met();
    }

    /// A customer asks for units; an answer at once, if there is one.
    pub fn on_reserve(&mut self, now: Monotonic, asked: &ReserveRequest) {
        self.escrow.on_reserve(now, &asked.request, &asked.sku, asked.units);
    }

    /// A reservation made here ended.
    ///
    /// # Errors
    /// [`CloseError`] when it is not open here, or is being ended otherwise.
    pub fn on_close(&mut self, asked: &CloseRequest) -> Result<(), CloseError> {
        self.escrow.on_close(&asked.request, &asked.sku, asked.outcome)
    }

    /// Puts units up for sale.
    ///
    /// # Errors
    /// [`OrderError`] when the request is a recall, or an offer of other units.
    pub fn on_create(&mut self, asked: &UnitsRequest) -> Result<(), OrderError> {
        self.escrow.on_create(&asked.request, &asked.sku, asked.units)
    }

    /// Units are missing.
    ///
    /// # Errors
    /// [`OrderError`] when the request is an offer, or a recall of other units.
    pub fn on_shortfall(&mut self, asked: &UnitsRequest) -> Result<(), OrderError> {
        self.escrow.on_shortfall(&asked.request, &asked.sku, asked.units)
    }

    /// The next piece of work, if there is any.
    pub fn poll_output(&mut self) -> Option<EscrowOutput> {
        self.escrow.poll_output()
    }

    /// Takes note of where a record will stand.
    pub fn on_composed(&mut self, at: Offset, record: &EscrowRecord) {
        if let Act::Spend { request, units } = &record.act {
            self.under_way.insert((record.sku.clone(), request.clone()), (at, *units));
        }
    }

    /// Where the reservation will stand that is being made durable, of as many units as asked for.
    #[must_use]
    pub fn under_way(&self, asked: &ReserveRequest) -> Option<Offset> {
        let (at, units) = self.under_way.get(&(asked.sku.clone(), asked.request.clone()))?;
        (*units == asked.units).then_some(*at)
    }

    /// Whether of each key the last record in a log stands for those before it.
    #[must_use]
    pub const fn may_be_cut(&self) -> bool {
        !self.has_old_keys
    }

    /// What is known of a sku.
    #[must_use]
    pub fn view(&self, sku: &Sku) -> RightsView {
        let holders = self.escrow.rights(sku);
        RightsView {
            sku: sku.clone(),
            here: self.escrow.available(sku),
            holders: holders.map(|(holder, units)| (holder.to_string(), units)).collect(),
        }
    }
}

/// What a reservation came to.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use = "a reservation that is under way is granted once its record is durable"]
pub enum Reserved {
    /// It is answered.
    Answered(Answer),
    /// It is granted once this hub's log of rights reaches beyond the offset.
    UnderWay(Offset),
}

/// The records of an entry that count, with who wrote each and where it stands in that holder's
/// log; and whether one is under a key of before. A hub's own records are on time; any other
/// verdict is that on an agent's.
fn records(entry: &Entry, has_old_keys: &mut bool) -> Vec<(Holder, Offset, EscrowRecord)> {
    let Some(stamp) = entry.stamp.as_ref().filter(|_| Hole::of(&entry.batch).is_none()) else {
        return Vec::new();
    };
    let actor = &stamp.actor;
    let holder = Holder::of(actor);
    let decoded = entry.batch.numbered_records().unwrap_or_default();
    let read = decoded.into_iter().filter_map(|(delta, record)| {
        let at = stamp.offset.at(delta);
        match stamp.verdict(delta) {
            Verdict::OnTime | Verdict::Late => {}
            Verdict::Future | Verdict::Forbidden | Verdict::Unlisted => {
                tracing::error!(%holder, %at, "a record about rights of no hub does not count");
                return None;
            }
        }
        let key = record.key.as_deref().unwrap_or_default();
        let parsed = match &record.value {
            Some(value) => EscrowRecord::parse(value),
            None => EscrowRecord::parse_gone(key),
        };
        match parsed {
            Ok(record) => {
                *has_old_keys |= record.key(&holder).as_bytes() != key;
                Some((holder.clone(), at, record))
            }
            Err(error) => {
                tracing::error!(%holder, %at, %error, "a record about rights does not count");
                None
            }
        }
    });
    read.collect()
}

#[cfg(test)]
mod tests {
    use headland_event::{
        Actor, Batch, Dot, EventTime, Extent, Hlc, OffsetDelta, Record, Sequence, Stamp, StreamId,
        VerdictAt,
    };

    use super::*;

    fn entry(verdicts: Vec<VerdictAt>) -> Entry {
        let sku = Sku::new("s").unwrap();
        let (request, units) = (None, Units::new(5).unwrap());
        let record = EscrowRecord { sku, act: Act::Create { request, units }, books: None };
        let record = Record::new(EventTime::default(), "s", record.to_json());
        let (region, incarnation) = (RegionId::new("eu").unwrap(), Incarnation::new(1, 9));
        let partition = escrow_partition();
        let actor = Actor { region, incarnation, partition: partition.partition };
        let hlc = Hlc::new(EventTime::default(), 0);
        let (offset, context) = (Offset::new(4), Extent::default());
        let stamp = Some(Stamp { actor, offset, hlc, context, verdicts });
        let dot = Dot { stream: StreamId::new([1; 16]), incarnation, sequence: Sequence::new(4) };
        Entry { base: offset, dot, stamp, batch: Batch::encode(&[record]).unwrap() }
    }

    #[test]
    fn a_record_that_its_writer_may_not_write_does_not_count() {
        let of = |verdict| {
            let delta = OffsetDelta::new(0);
            records(&entry(vec![VerdictAt { delta, verdict }]), &mut false).len()
        };

        assert_eq!(records(&entry(Vec::new()), &mut false).len(), 1);
        assert_eq!(of(Verdict::Late), 1);
        assert_eq!((of(Verdict::Future), of(Verdict::Forbidden)), (0, 0));
    }

    #[test]
    fn a_log_with_keys_of_before_is_kept_whole() {
        let mut has_old_keys = false;

        let _read = records(&entry(Vec::new()), &mut has_old_keys);

        assert!(has_old_keys, "its key is the sku");
    }
}
