//! What is sent how fast over which network: a TOML file.

use std::path::Path;

use anyhow::{Context, Result};
use serde::Deserialize;

/// One measurement.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Scenario {
    /// Records in all.
    pub(crate) records: u64,
    /// Bytes of a record's value; 16 at least, for the moment it was made and its number.
    pub(crate) record_bytes: usize,
    /// Records per second, from when the link carries what is offered; 0 means that all are in the
    /// sender's journal before it is dialled.
    pub(crate) records_per_second: u64,
    /// Milliseconds within which half of a steady load has to be on the receiver's disk.
    pub(crate) p50_ms_most: Option<f64>,
    /// Milliseconds within which 99 of 100 have to be there.
    pub(crate) p99_ms_most: Option<f64>,
    /// Links between two processes each, from side a of the network to side b; default 1.
    #[serde(default = "one")]
    pub(crate) links: u32,
    /// Alerts beside the records of each link, from its start on.
    pub(crate) alerts: Option<Alerts>,
    /// What happens to the network while records are sent, in order.
    #[serde(default)]
    pub(crate) changes: Vec<Change>,
    /// Kernel TCP flows beside them, each with this congestion control.
    #[serde(default)]
    pub(crate) flows: Vec<String>,
    /// How long each flow sends, in seconds.
    #[serde(default)]
    pub(crate) flow_seconds: u64,
    /// Least share in percent of each when several share the network; default 0.
    #[serde(default)]
    pub(crate) least_share_percent: f64,
    /// A profile of `headland-wan`; none is loopback.
    pub(crate) network: Option<toml::Table>,
    /// Seed of the network's chances.
    #[serde(default)]
    pub(crate) seed: u64,
}

const fn one() -> u32 {
    1
}

/// Alerts on a lane of their own.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Alerts {
    /// Alerts in all.
    pub(crate) count: u64,
    /// Alerts per second.
    pub(crate) per_second: u64,
    /// Milliseconds within which 99 of 100 have to be on the receiver's disk.
    pub(crate) p99_ms_most: f64,
}

/// A change of the network.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Change {
    /// Milliseconds since the ends were started.
    pub(crate) at_ms: u64,
    /// What the network is told: what `headland-wan tell` takes, as a table.
    pub(crate) tell: toml::Table,
    /// Milliseconds after it within which the first record has to be on the receiver's disk.
    pub(crate) first_ms_most: Option<f64>,
    /// The longest time without a record that it may cause.
    pub(crate) silence_ms_most: Option<f64>,
}

impl Scenario {
    /// Reads a file.
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("cannot read {}", path.display()))?;
        toml::from_str(&text).with_context(|| format!("cannot understand {}", path.display()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_scenario_in_the_repository_can_be_read() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios");
        let files: Vec<_> =
            std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().path()).collect();

        assert!(files.len() >= 7, "{files:?}");
        for file in files {
            let scenario = Scenario::read(&file).unwrap();
            assert!(scenario.record_bytes >= 16, "{}", file.display());
        }
    }
}
