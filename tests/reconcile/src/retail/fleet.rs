//! Hubs that take rows in and mirror each other's logs.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Result;
use bytes::Bytes;
use headland_event::{
    Actor, EventClock, EventTime, Extent, Hlc, HlcClock, Incarnation, Offset, PartitionIndex,
    RegionId, Verdict,
};
use headland_reconcile::{
    Account, Config, DeliveryId, Input, Locality, Output, PostingRecord, Reconciler,
};
use serde_json::json;

use super::plan::{Cut, Delivery, Plan};
use super::{Net, Split};

/// How far a hub's promise stays behind the latest event it has seen: what was recorded comes
/// within it, what dirt delays by a day does not.
const HELD_BACK: Duration = Duration::from_secs(4 * 3_600);

/// Between two looks at each other's logs.
const MEETING_MS: i64 = 60_000;

/// Several hubs.
#[derive(Debug)]
pub(super) struct Fleet {
    pub(super) hubs: Vec<Hub>,
    pub(super) reviewed: usize,
}

/// One hub with its log and what it made of all logs.
#[derive(Debug)]
pub(super) struct Hub {
    actor: Actor,
    pub(super) log: Vec<Stamped>,
    clock: EventClock,
    hlc: HlcClock,
    pub(super) reconciler: Reconciler,
    /// The postings table, as what each delivery adds to net units.
    postings: BTreeMap<DeliveryId, PostingRecord>,
    late: Vec<DeliveryId>,
    pub(super) duplicates: u64,
}

/// A record as its ingest hub stamped it.
#[derive(Debug, Clone)]
pub(super) struct Stamped {
    pub(super) hlc: Hlc,
    pub(super) context: Extent,
    pub(super) verdict: Verdict,
    pub(super) value: Bytes,
}

impl Fleet {
    pub(super) fn new(hubs: usize) -> Result<Self> {
        let hubs = (0..hubs)
            .map(|index| {
                let region = RegionId::new(&format!("r{index}"))?;
                let incarnation = Incarnation::new(1, 1);
                let partition = PartitionIndex::new(0);
                let actor = Actor { region: region.clone(), incarnation, partition };
                Ok(Hub {
                    actor,
                    log: Vec::new(),
                    clock: EventClock::new(),
                    hlc: HlcClock::new(),
                    reconciler: Reconciler::new(Config::new(region, i64::MIN), 7),
                    postings: BTreeMap::new(),
                    late: Vec::new(),
                    duplicates: 0,
                })
            })
            .collect::<Result<Vec<_>>>()?;
        Ok(Self { hubs, reviewed: 0 })
    }

    /// Plays everything that happens in its order.
    pub(super) fn play(&mut self, plan: Plan) {
        let mut meeting = i64::MIN;
        for delivery in plan.deliveries {
            let now = delivery.at_ms;
            if now >= meeting {
                self.exchange(&plan.cuts, now);
                meeting = now + MEETING_MS;
            }
            if let Some(hub) = self.hubs.get_mut(delivery.hub) {
                hub.take_in(&delivery);
            }
        }
    }

    /// Every hub hears every other one.
    pub(super) fn meet(&mut self) {
        self.exchange(&[], i64::MAX);
    }

    /// Two hubs that have heard everything approve what was late, each every event of an even or an
    /// odd number, and both every fifth.
    pub(super) fn review(&mut self) {
        self.meet();
        let mut late: Vec<DeliveryId> =
            self.hubs.iter().flat_map(|hub| hub.late.iter().cloned()).collect();
        late.sort_unstable();
        late.dedup();
        // A late copy of a delivery whose other copy was on time and counts is no late event.
        let counts = |id: &&DeliveryId| {
            self.hubs.first().is_some_and(|hub| hub.reconciler.late_event(id).is_some())
        };
        let late: Vec<DeliveryId> = late.iter().filter(counts).cloned().collect();
        self.reviewed = late.len();
        for (number, id) in late.iter().enumerate() {
            for (reviewer, hub) in self.hubs.iter_mut().take(2).enumerate() {
                if number % 2 == reviewer || number % 5 == 0 {
                    hub.approve(id);
                }
            }
        }
    }

    /// Records of all logs.
    pub(super) fn events(&self) -> usize {
        self.hubs.iter().map(|hub| hub.log.len()).sum()
    }

    fn exchange(&mut self, cuts: &[Cut], now: i64) {
        for to in 0..self.hubs.len() {
            for from in (0..self.hubs.len()).filter(|from| *from != to) {
                let is_cut = cuts.iter().any(|cut| {
                    (cut.from_ms..cut.until_ms).contains(&now)
                        && (cut.hubs == (to, from) || cut.hubs == (from, to))
                });
                if is_cut {
                    continue;
                }
                let Some(sender) = self.hubs.get(from) else { continue };
                let actor = sender.actor.clone();
                let Some(receiver) = self.hubs.get(to) else { continue };
                let end = receiver.reconciler.applied().end(&actor);
                let start = usize::try_from(end.get()).unwrap_or(usize::MAX);
                let fresh: Vec<Stamped> = sender.log.iter().skip(start).cloned().collect();
                let Some(receiver) = self.hubs.get_mut(to) else { continue };
                for (offset, stamped) in (end.get()..).zip(&fresh) {
                    receiver.apply(&actor, Offset::new(offset), stamped, Locality::Remote);
                }
            }
        }
    }
}

impl Hub {
    fn take_in(&mut self, delivery: &Delivery) {
        let (now, time) =
            (EventTime::from_millis(delivery.at_ms), EventTime::from_millis(delivery.time_ms));
        let verdict = self.clock.verdict(time, now);
        let _rose = self.clock.advance(time.minus(HELD_BACK));
        self.write(now, verdict, delivery.value.clone());
    }

    fn approve(&mut self, late: &DeliveryId) {
        let Some(event) = self.reconciler.late_event(late) else { return };
        let region = &self.actor.region;
        let value = json!({
            "id": format!("review/{late}/{region}"),
            "kind": "approve",
            "device": format!("desk-{region}"),
            "sku": event.sku,
            "late": late,
            "reviewer": format!("reviewer-{region}"),
            "reason": "the till was offline",
            "time": "2011-12-31T00:00:00Z",
        });
        let now = self.hlc.last().wall();
        self.write(now, Verdict::OnTime, Bytes::from(value.to_string()));
    }

    fn write(&mut self, now: EventTime, verdict: Verdict, value: Bytes) {
        let context = self.reconciler.applied().into();
        let stamped = Stamped { hlc: self.hlc.tick(now), context, verdict, value };
        let offset = Offset::new(u64::try_from(self.log.len()).unwrap_or(u64::MAX));
        let actor = self.actor.clone();
        self.apply(&actor, offset, &stamped, Locality::Local);
        self.log.push(stamped);
    }

    fn apply(&mut self, actor: &Actor, offset: Offset, stamped: &Stamped, locality: Locality) {
        let Stamped { hlc, context, verdict, value } = stamped;
        self.hlc.observe(*hlc);
        self.reconciler.on_event(Input {
            actor,
            offset,
            hlc: *hlc,
            context,
            verdict: *verdict,
            locality,
            captured_at: hlc.wall(),
            detected_at: hlc.wall(),
            value,
        });
        while let Some(output) = self.reconciler.poll_output() {
            match output {
                Output::Posting(record) => {
                    self.postings.insert(record.id.clone(), record);
                }
                Output::Retracted(gone) if gone.topic.name() == "inventory.postings" => {
                    let id = DeliveryId::new(&gone.key);
                    id.ok().and_then(|id| self.postings.remove(&id));
                }
                Output::Late(record) => self.late.push(record.id),
                Output::Duplicate(_) => self.duplicates += 1,
                Output::Stock(_)
                | Output::Oversold(_)
                | Output::Attribute(_)
                | Output::Conflict(_)
                | Output::Rejected(_)
                | Output::Restock(_)
                | Output::Overlap(_)
                | Output::Retracted(_) => {}
            }
        }
    }

    /// Units with customers, less those written off, as the postings table tells.
    pub(super) fn net(&self, split: Split) -> Net {
        let mut net = Net::new();
        for PostingRecord { sku, time, postings, .. } in self.postings.values() {
            let day = jiff::Timestamp::from_millisecond(time.millis()).unwrap_or_default();
            let day = day.to_string().chars().take(10).collect();
            let [shelf, other] = postings;
            let region = match (split, &shelf.account) {
                (Split::Country, Account::Location(location)) => location.to_string(),
                (Split::Country | Split::Hash, _) => String::new(),
            };
            let units =
                if other.account == Account::Adjustment { -other.units } else { other.units };
            *net.entry((region, day, sku.to_string())).or_default() += units;
        }
        net
    }

    /// Which log is its own.
    #[cfg(test)]
    pub(super) const fn actor(&self) -> &Actor {
        &self.actor
    }
}
