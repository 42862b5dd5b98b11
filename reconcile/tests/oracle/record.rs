//! Records as hubs stamp them.

use std::collections::BTreeMap;

/// Region, incarnation and partition.
pub(crate) type Actor = (String, (u32, u64), u32);

/// One record as its ingest hub stamped it.
#[derive(Debug, Clone)]
pub(crate) struct Record {
    pub(crate) actor: Actor,
    pub(crate) offset: u64,
    pub(crate) hlc: (i64, u32),
    pub(crate) context: BTreeMap<Actor, u64>,
    /// `on-time`, `late`, `future` or `forbidden`.
    pub(crate) verdict: &'static str,
    pub(crate) value: String,
}
