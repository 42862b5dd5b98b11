//! When which row arrives at which hub.

use std::collections::BTreeSet;

use anyhow::Result;
use bytes::Bytes;
use headland_event::{Random, SeededRandom};
use serde_json::json;

use super::source::{Row, Source};
use super::{Dirt, Split};

const MINUTE_MS: i64 = 60_000;
const DAY_MS: i64 = 86_400_000;

/// Everything that happens, by rising time.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) deliveries: Vec<Delivery>,
    pub(super) cuts: Vec<Cut>,
}

/// One copy of one row at one hub.
#[derive(Debug)]
pub(super) struct Delivery {
    pub(super) at_ms: i64,
    pub(super) hub: usize,
    pub(super) time_ms: i64,
    pub(super) value: Bytes,
}

/// Two hubs that do not hear each other for a while.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cut {
    pub(super) from_ms: i64,
    pub(super) until_ms: i64,
    pub(super) hubs: (usize, usize),
}

impl Plan {
    pub(super) fn new(source: &Source, split: Split, dirt: Dirt, seed: u64) -> Result<Self> {
        let mut random = SeededRandom::new(seed);
        let hubs = source.regions.len();
        let mut deliveries = Vec::with_capacity(source.arrivals.len());
        let mut seen = BTreeSet::new();
        for arrival in &source.arrivals {
            let Some(row) = source.rows.get(arrival.row) else { continue };
            let hub = match split {
                Split::Country => arrival.region,
                Split::Hash => hash(&row.sku, hubs),
            };
            let location = match split {
                Split::Country => source.regions.get(hub).cloned().unwrap_or_default(),
                Split::Hash => format!("hub-{hub}"),
            };
            let value = event(arrival.row, row, &location);
            let mut at_ms = arrival.at_ms;
            if dirt == Dirt::Added {
                if random.below(100) < 5 {
                    at_ms += below(&mut random, MINUTE_MS);
                }
                // A copy that came in time may stand for a late one, so only rows with one arrival.
                if random.below(100) == 0 && seen.insert(arrival.row) {
                    at_ms += DAY_MS;
                } else if random.below(100) < 5 {
                    let at_ms = at_ms + below(&mut random, 10 * MINUTE_MS);
                    let hub = if random.below(5) == 0 { (hub + 1) % hubs.max(1) } else { hub };
                    let value = value.clone();
                    deliveries.push(Delivery { at_ms, hub, time_ms: row.time_ms, value });
                }
            }
            deliveries.push(Delivery { at_ms, hub, time_ms: row.time_ms, value });
        }
        deliveries.sort_by_key(|delivery| delivery.at_ms);
        let cuts = match dirt {
            Dirt::Recorded => Vec::new(),
            Dirt::Added => cuts(&deliveries, hubs, &mut random),
        };
        Ok(Self { deliveries, cuts })
    }
}

/// About one cut a day, of up to twelve hours.
fn cuts(deliveries: &[Delivery], hubs: usize, random: &mut SeededRandom) -> Vec<Cut> {
    let (Some(first), Some(last)) = (deliveries.first(), deliveries.last()) else {
        return Vec::new();
    };
    let mut cuts = Vec::new();
    let mut from_ms = first.at_ms;
    while from_ms < last.at_ms {
        from_ms += below(random, 2 * DAY_MS);
        let until_ms = from_ms + below(random, DAY_MS / 2);
        let pick = |random: &mut SeededRandom| {
            let count = u64::try_from(hubs).unwrap_or(1);
            usize::try_from(random.below(count)).unwrap_or(0)
        };
        cuts.push(Cut { from_ms, until_ms, hubs: (pick(random), pick(random)) });
    }
    cuts
}

/// What was sold is a sale, what was cancelled a return, what was written off an adjustment.
fn event(number: usize, row: &Row, location: &str) -> Bytes {
    let (kind, quantity) = match row.quantity {
        units if units > 0 => ("sale", units),
        units if row.invoice.starts_with('C') => ("return", -units),
        units => ("adjustment", units),
    };
    let event = json!({
        "id": format!("row/{number}"),
        "kind": kind,
        "device": "till",
        "sku": row.sku,
        "location": location,
        "quantity": quantity,
        "time": row.time,
    });
    Bytes::from(event.to_string())
}

/// FNV-1a, which is the same everywhere.
fn hash(sku: &str, hubs: usize) -> usize {
    let hash = sku.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let count = u64::try_from(hubs).unwrap_or(1).max(1);
    usize::try_from(hash % count).unwrap_or(0)
}

fn below(random: &mut SeededRandom, bound: i64) -> i64 {
    i64::try_from(random.below(bound.unsigned_abs())).unwrap_or(0)
}
