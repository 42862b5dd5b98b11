//! What copies of other regions' topics take over of how those are kept where they were born.

use std::collections::BTreeSet;
use std::time::Duration;

use headland_event::ByteCount;
use headland_platform::config::{DurationText, SizeText};
use serde::Deserialize;

/// `[sync]`: what copies of other regions' topics take over of how those are kept there.
///
/// A hub says of each topic that it declares how it is kept and how many partitions it has. Copies
/// take over the partitions; what lets records go, only where `retention` here or `copies` of a
/// `[[topic]]` says so, while the origin's hub is linked here itself. Never of the
/// topic of `[reconcile]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SyncConfig {
    /// Who says how long and how copies are kept of topics that are not declared here: `"here"`
    /// (default), which keeps all, or `"origin"`, the hub of the region each was born in. A
    /// mistake made there is then made here as well, within a second.
    pub retention: Copies,
    /// What copies do not take over (default nothing): `"retention.time"`, `"retention.bytes"`,
    /// `"partitions"`.
    pub exclude: BTreeSet<SyncedSetting>,
    /// Whether copies that are left to their origins are compacted by key where those say so
    /// (default no: every record of them stays as long as `retention` says). No floor holds of it:
    /// a `cleanup` mistyped in one region leaves the last record of each key here as well.
    pub compact: bool,
    /// Least time that records of copies are kept, however short their origin keeps them, and of
    /// keys that were deleted where copies are compacted (default `"1h"`). What is older goes here
    /// within seconds of a limit mistyped in one region: a longer time leaves more.
    pub time_least: DurationText,
    /// Least bytes of a partition of a copy that are kept, however few its origin keeps (default
    /// `"64MiB"`). What is more than that goes as soon.
    pub bytes_least: SizeText,
}

impl Default for SyncConfig {
    fn default() -> Self {
        Self {
            retention: Copies::Here,
            exclude: BTreeSet::new(),
            compact: false,
            time_least: DurationText::new(Duration::from_hours(1)),
            bytes_least: SizeText::new(ByteCount::mebibytes(64)),
        }
    }
}

/// What a copy takes over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
pub enum SyncedSetting {
    /// How long records are kept.
    #[serde(rename = "retention.time")]
    RetentionTime,
    /// How many bytes of a partition are kept.
    #[serde(rename = "retention.bytes")]
    RetentionBytes,
    /// How many partitions it has: never fewer than before.
    #[serde(rename = "partitions")]
    Partitions,
}

/// Who says how copies of a topic are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Copies {
    /// This hub, as it keeps its own.
    #[default]
    Here,
    /// The hub of the region that each was born in.
    Origin,
}
