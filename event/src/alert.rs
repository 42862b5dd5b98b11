//! Alerts and their ids.
//!
//! An alert's id is derived from what it is about, with no region in it, so two nodes that see the
//! same thing name it the same and deduplication is free.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::id::Offset;
use crate::time::EventTime;

/// `SHA-256(rule, key, window)[..16]`, each part behind its length as 32 bits, big-endian.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct AlertId([u8; 16]);

/// Text that is not 32 hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("alert id {found:?} is not 32 hexadecimal digits")]
pub struct AlertIdError {
    /// The text as found.
    pub found: String,
}

impl AlertId {
    /// Wraps the 16 bytes of an id.
    #[must_use]
    pub const fn new(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The 16 bytes of the id.
    #[must_use]
    pub const fn bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// The id of the alert that `rule` raises for `key` in `window`.
    ///
    /// `window` is the window's end in milliseconds, or the number of the episode for a rule
    /// without windows, as decimal text.
    #[must_use]
    pub fn derive(rule: &str, key: &str, window: &str) -> Self {
        let mut hasher = Sha256::new();
        for part in [rule, key, window] {
            let length = u32::try_from(part.len()).unwrap_or(u32::MAX);
            hasher.update(length.to_be_bytes());
            hasher.update(part.as_bytes());
        }
        let mut id = [0_u8; 16];
        for (byte, digest) in id.iter_mut().zip(hasher.finalize()) {
            *byte = digest;
        }
        Self(id)
    }
}

impl fmt::Display for AlertId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for AlertId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for AlertId {
    type Err = AlertIdError;

    fn from_str(text: &str) -> Result<Self, AlertIdError> {
        let broken = || AlertIdError { found: text.to_owned() };
        if text.len() != 32 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(broken());
        }
        u128::from_str_radix(text, 16).map(|id| Self(id.to_be_bytes())).map_err(|_| broken())
    }
}

impl From<AlertId> for String {
    fn from(id: AlertId) -> Self {
        id.to_string()
    }
}

impl TryFrom<String> for AlertId {
    type Error = AlertIdError;

    fn try_from(text: String) -> Result<Self, AlertIdError> {
        text.parse()
    }
}

/// How far an alert has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AlertState {
    /// Raised on partial data by a rule that more data could refute.
    Pending,
    /// Raised.
    Firing,
    /// A pending alert that complete data confirmed.
    Confirmed,
    /// A pending alert that complete data refuted.
    Retracted,
    /// What it warned of is over.
    Resolved,
}

/// How much an alert matters.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Default,
)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// For the record.
    Info,
    /// Somebody should look.
    #[default]
    Warning,
    /// Somebody must act.
    Critical,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Critical => "critical",
        })
    }
}

/// How sure a result of a window is, by what its rule still expects.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Default,
)]
#[serde(rename_all = "lowercase")]
pub enum Finality {
    /// The window is open: rows that are still to come may change it.
    Provisional,
    /// The window has closed; said once per (rule, key, window). What has no window is final too:
    /// it holds of the rows so far.
    #[default]
    Final,
    /// The window had closed, and a late row changed it.
    Correction,
}

impl Finality {
    /// Whether it is [`Self::Final`], which is left out where results are written.
    #[must_use]
    pub const fn is_final(&self) -> bool {
        match self {
            Self::Final => true,
            Self::Provisional | Self::Correction => false,
        }
    }
}

/// Whose rows a result is made of: names of regions, or the agent whose own windows they are.
///
/// A result that covers an agent alone is provisional upstream of it, whatever its [`Finality`]:
/// final for the agent's rows, not for the region's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
pub struct Coverage {
    /// Those whose event time has passed the window: all their rows in time are in it. In order.
    pub complete: Vec<String>,
    /// Those of whom rows may be missing. In order.
    pub missing: Vec<String>,
}

impl Coverage {
    /// Of one source, which is complete.
    #[must_use]
    pub fn of(name: &str) -> Self {
        Self { complete: vec![name.to_owned()], missing: Vec::new() }
    }

    /// Whether nothing is said of it.
    #[must_use]
    pub const fn is_unknown(&self) -> bool {
        self.complete.is_empty() && self.missing.is_empty()
    }
}

/// Text that names no severity.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("severity {found:?} is not info, warning or critical")]
pub struct SeverityError {
    /// The text as found.
    pub found: String,
}

impl FromStr for Severity {
    type Err = SeverityError;

    fn from_str(text: &str) -> Result<Self, SeverityError> {
        match text {
            "info" => Ok(Self::Info),
            "warning" => Ok(Self::Warning),
            "critical" => Ok(Self::Critical),
            other => Err(SeverityError { found: other.to_owned() }),
        }
    }
}

/// An alert as it stands in the topic `alerts`, in JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Alert {
    /// The alert's id: the same on every node that raises it.
    pub id: AlertId,
    /// The rule that raised it.
    pub rule: String,
    /// What it is about, for example a device or `sku|location`.
    pub key: String,
    /// End of the window in milliseconds, or number of the episode, as decimal text.
    pub window: String,
    /// How far it has come.
    pub state: AlertState,
    /// How much it matters.
    pub severity: Severity,
    /// Counts changes of this alert, from 1.
    pub revision: u32,
    /// How sure the result is that raised it; left out of the JSON when it is final.
    #[serde(default, skip_serializing_if = "Finality::is_final")]
    pub finality: Finality,
    /// Whose rows it is made of; left out of the JSON when nothing is said of it.
    #[serde(default, skip_serializing_if = "Coverage::is_unknown")]
    pub coverage: Coverage,
    /// Event time of what it is about.
    pub event_time: EventTime,
    /// The node's wall clock when its last input was captured.
    pub captured_at: EventTime,
    /// The node's wall clock when the rule fired.
    pub detected_at: EventTime,
    /// Offset of the last record that made it fire, in the log of the node that raised it.
    pub evidence: Offset,
    /// Columns of the rule's result by name, each rendered as text.
    pub values: BTreeMap<String, String>,
}

/// What a node raises alerts about by itself, without a rule of anybody's.
///
/// The name stands in an alert's `rule` and is part of its id, so it never changes. Each has its
/// entry in `docs/runbook.md`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NodeRule {
    /// A range of a stream is not in the log as its writer states it.
    Audit,
    /// Damage took something of the log.
    DamagedLog,
    /// Units were promised that are not there.
    EscrowShort,
    /// A region was lost, and left without an operator.
    Failover,
    /// A log ends before where somebody else has it to.
    LogWentBack,
    /// A hub sent something else for what the log lost.
    RefusedRefill,
    /// Groups have read what a former life wrote and is not here.
    UnreadElsewhere,
}

impl NodeRule {
    /// All there are.
    pub const ALL: [Self; 7] = [
        Self::Audit,
        Self::DamagedLog,
        Self::EscrowShort,
        Self::Failover,
        Self::LogWentBack,
        Self::RefusedRefill,
        Self::UnreadElsewhere,
    ];

    /// The name, as it stands in alerts.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Audit => "audit",
            Self::DamagedLog => "damaged_log",
            Self::EscrowShort => "escrow-short",
            Self::Failover => "failover",
            Self::LogWentBack => "log_went_back",
            Self::RefusedRefill => "refused_refill",
            Self::UnreadElsewhere => "unread_elsewhere",
        }
    }
}

impl Alert {
    /// A critical alert of a node about itself, found at `now` by its wall clock: what it found is
    /// neither of a device nor of an event, so every time is that one, and `evidence` is 0 until
    /// the caller knows better.
    #[must_use]
    pub fn of_node<const N: usize>(
        rule: NodeRule,
        (key, window): (String, String),
        now: EventTime,
        values: [(&str, String); N],
    ) -> Self {
        Self {
            id: AlertId::derive(rule.as_str(), &key, &window),
            rule: rule.as_str().to_owned(),
            key,
            window,
            state: AlertState::Firing,
            severity: Severity::Critical,
            revision: 1,
            finality: Finality::Final,
            coverage: Coverage::default(),
            event_time: now,
            captured_at: now,
            detected_at: now,
            evidence: Offset::default(),
            values: values.into_iter().map(|(name, value)| (name.to_owned(), value)).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_severity_is_written_as_it_is_read() {
        for severity in [Severity::Info, Severity::Warning, Severity::Critical] {
            assert_eq!(severity.to_string().parse(), Ok(severity));
        }
    }

    #[test]
    fn parts_that_only_concatenate_alike_have_different_ids() {
        let ids = [
            AlertId::derive("rule", "ab", "1"),
            AlertId::derive("rule", "a", "b1"),
            AlertId::derive("rulea", "b", "1"),
        ];

        assert_ne!(ids[0], ids[1]);
        assert_ne!(ids[0], ids[2]);
    }

    #[test]
    fn an_alert_of_a_node_has_the_id_of_its_own_rule_key_and_window() {
        let place = ("eu|air/0".to_owned(), "7".to_owned());

        let alert = Alert::of_node(
            NodeRule::Audit,
            place,
            EventTime::from_millis(5),
            [("records", "2".to_owned())],
        );

        assert_eq!(alert.rule, "audit");
        assert_eq!(alert.id, AlertId::derive(&alert.rule, &alert.key, &alert.window));
        assert_eq!((alert.state, alert.severity), (AlertState::Firing, Severity::Critical));
        assert_eq!(alert.values["records"], "2");
    }

    #[test]
    fn what_is_final_and_covers_nothing_in_particular_is_not_written() {
        let place = ("a".to_owned(), "7".to_owned());
        let plain = Alert::of_node(NodeRule::Failover, place, EventTime::from_millis(5), []);
        let coverage = Coverage::of("eu-1");
        let told = Alert { finality: Finality::Correction, coverage, ..plain.clone() };

        let [plain_text, told_text] =
            [&plain, &told].map(|alert| serde_json::to_string(alert).unwrap());

        assert!(!plain_text.contains("finality") && !plain_text.contains("coverage"));
        let expected = "\"finality\":\"correction\",\
                        \"coverage\":{\"complete\":[\"eu-1\"],\"missing\":[]}";
        assert!(told_text.contains(expected), "{told_text}");
        for (text, alert) in [(plain_text, plain), (told_text, told)] {
            assert_eq!(serde_json::from_str::<Alert>(&text).unwrap(), alert);
        }
    }

    #[test]
    fn a_severity_is_one_of_three_words() {
        let parsed = ["info", "warning", "critical"].map(str::parse);

        assert_eq!(parsed, [Ok(Severity::Info), Ok(Severity::Warning), Ok(Severity::Critical)]);
        assert_eq!("Info".parse::<Severity>(), Err(SeverityError { found: "Info".to_owned() }));
    }

    #[test]
    fn an_id_survives_its_text() {
        let id = AlertId::derive("pm25_high", "Dongsi", "1362096000000");

        assert_eq!(id.to_string().parse(), Ok(id));
        assert_eq!("xyz".parse::<AlertId>().unwrap_err().found, "xyz");
    }
}
