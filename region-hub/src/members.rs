//! Which regions take part: what operators ask for, and `headland region`.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use clap::{Args, Subcommand, ValueEnum};
use headland_event::{Incarnation, Offset, PartitionIndex, RegionId, TopicName, TopicPartition};
use headland_reconcile::{MemberStanding, ReasonText, Reviewer, TextError};
use serde::{Deserialize, Serialize};

use crate::client::{self, AskError};
use crate::review::lines;

/// The name of the topic of who takes part.
const MEMBERS: &str = "_members";

/// The topic of who takes part.
///
/// # Panics
/// Never: the name is a literal that fits.
#[must_use]
pub fn members_topic() -> TopicName {
    #[expect(clippy::expect_used, reason = "a literal that fits the rule for topics")]
    TopicName::new(MEMBERS).expect("a literal topic name fits")
}

/// Whether a topic, by its name where it was born, is of who takes part.
#[must_use]
pub fn is_of_members(origin_topic: &TopicName) -> bool {
    origin_topic.as_str() == MEMBERS
}

/// Topics of which reports say how far a hub has their logs, beside inventory: rights to sell, and
/// how far groups have read. What is said of who takes part goes to all anyway, and what a life
/// that is over promised of event time its region's next one says anew.
pub(crate) fn reported_topics() -> [TopicName; 2] {
    [crate::escrow::escrow_topic(), crate::records::groups_topic()]
}

/// Whether of a log of a topic, by its name where it was born, a part that was passed over is taken
/// when it comes, behind what followed it. What holds of a key is then told by what its records say
/// and by where they stood in their log, not by which came last.
pub(crate) fn is_taken_late(origin_topic: &TopicName) -> bool {
    is_of_members(origin_topic) || reported_topics().contains(origin_topic)
}

/// The partition that a hub's own records of members go to.
#[must_use]
pub fn members_partition() -> TopicPartition {
    TopicPartition::new(members_topic(), PartitionIndex::new(0))
}

/// What an operator asks of a region's part.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum RegionAction {
    /// Its lives that are not listed take part from now on.
    Add,
    /// It takes in nothing new and hands over what it has.
    Drain,
    /// It has drained; its hub says where its logs end.
    Seal,
    /// Others decide where its logs end; what is beyond does not count.
    Exclude,
    /// What it wrote beyond its end, and this hub holds, counts after all.
    Return,
}

/// What an operator asks for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RegionRequest {
    /// What becomes of the region.
    pub action: RegionAction,
    /// The region.
    pub region: RegionId,
    /// The life that is meant, as the list shows it; needed where several go on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub life: Option<LifeName>,
    /// Who asks.
    pub by: Reviewer,
    /// Why.
    pub reason: ReasonText,
}

/// A life of a region's hub, written `<counter>-<nonce>` with the nonce in hexadecimal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct LifeName(Incarnation);

/// Why a text names no life.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{found:?} is no life; expected one such as 1-00000000000000a7 of `headland region list`")]
pub struct LifeNameError {
    /// The text.
    pub found: String,
}

impl LifeName {
    /// The name of a life.
    #[must_use]
    pub const fn of(incarnation: Incarnation) -> Self {
        Self(incarnation)
    }

    /// The life.
    #[must_use]
    pub const fn incarnation(self) -> Incarnation {
        self.0
    }
}

impl fmt::Display for LifeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl FromStr for LifeName {
    type Err = LifeNameError;

    fn from_str(text: &str) -> Result<Self, LifeNameError> {
        let read = || {
            let (counter, nonce) = text.split_once('-')?;
            let nonce = u64::from_str_radix(nonce, 16).ok()?;
            Some(Self(Incarnation::new(counter.parse().ok()?, nonce)))
        };
        // Only what is written so is read, so that a life has one name.
        read()
            .filter(|name| name.to_string() == text)
            .ok_or_else(|| LifeNameError { found: text.to_owned() })
    }
}

impl TryFrom<String> for LifeName {
    type Error = LifeNameError;

    fn try_from(text: String) -> Result<Self, LifeNameError> {
        text.parse()
    }
}

impl From<LifeName> for String {
    fn from(name: LifeName) -> Self {
        name.to_string()
    }
}

/// One life of a region's hub, as this hub knows of it.
#[derive(Debug, Clone, Serialize)]
pub struct LifeView {
    /// The region.
    pub region: RegionId,
    /// The life.
    pub life: LifeName,
    /// What it is; absent of one that is not listed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub standing: Option<MemberStanding>,
    /// Where its logs of inventory end, by partition, once it is sealed or excluded.
    pub ends: BTreeMap<String, Offset>,
}

/// Records of a log that are not here although somebody said that it has them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LackView {
    /// The log, as `<region>@<life>/<partition>`, and ` of <topic>` where it is not of inventory.
    pub log: String,
    /// The first offset that is not here.
    pub from: Offset,
    /// The offset behind the last one.
    pub until: Offset,
    /// What becomes of it.
    pub way_out: String,
}

/// Who takes part.
#[derive(Debug, Clone, Serialize)]
pub struct RegionsView {
    /// Every life that is listed, or whose inventory is here.
    pub lives: Vec<LifeView>,
    /// Records that are held back since their life's log ends before them.
    pub held_records: u64,
    /// What no record that is still to come can be concurrent with: ends by log; empty while
    /// `unheard` names anybody.
    pub stable: BTreeMap<String, Offset>,
    /// What every cut that can still be asked for includes: ends by log. What only an older one
    /// could ask for is forgotten here.
    pub compacted: BTreeMap<String, Offset>,
    /// Logs of which somebody has said that it has records that are not here.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub lacking: Vec<LackView>,
    /// Lives that hold `stable` back, as `<region>@<life>`: those that go on and were not heard,
    /// those that ended and lack records here, and those that are not listed; and regions of peers
    /// of which no life is. One that is gone for good has to be excluded.
    pub unheard: Vec<String>,
}

/// What to do about regions.
#[derive(Debug, Clone, Subcommand)]
pub enum RegionCommand {
    /// List every life of every region's hub with what it is.
    List {
        /// The hub's socket, as `api.socket` in its configuration says.
        #[arg(long)]
        socket: PathBuf,
    },
    /// Let a region take part that is not listed.
    Add(RegionOptions),
    /// Let a region take in nothing new; its agents keep what they have.
    Drain(RegionOptions),
    /// Say, at its own hub, that a drained region writes no more.
    Seal(RegionOptions),
    /// Go on without a region that is lost: what is not here of it does not count.
    Exclude(RegionOptions),
    /// Count what an excluded region wrote beyond its end: at its own hub, started as a new life,
    /// or, when no life of it goes on, at any hub that holds it.
    Return(RegionOptions),
}

/// Which region at which hub, by whom and why.
#[derive(Debug, Clone, Args)]
pub struct RegionOptions {
    /// The hub's socket, as `api.socket` in its configuration says.
    #[arg(long)]
    socket: PathBuf,
    /// The region.
    region: RegionId,
    /// The life that is meant, as `headland region list` shows it; needed where several go on.
    #[arg(long)]
    life: Option<LifeName>,
    /// Who asks.
    #[arg(long, value_parser = by)]
    by: Reviewer,
    /// Why.
    #[arg(long, value_parser = reason)]
    reason: ReasonText,
}

fn by(text: &str) -> Result<Reviewer, TextError> {
    Reviewer::new(text)
}

fn reason(text: &str) -> Result<ReasonText, TextError> {
    ReasonText::new(text)
}

/// Asks the hub and returns what to print: JSON, one object a line.
///
/// # Errors
/// [`AskError`] when the hub does not answer, or refuses.
pub fn run(command: &RegionCommand) -> Result<String, AskError> {
    let (action, options) = match command {
        RegionCommand::List { socket } => {
            return client::ask(socket, client::get(socket, "/v1/regions"), lines);
        }
        RegionCommand::Add(options) => (RegionAction::Add, options),
        RegionCommand::Drain(options) => (RegionAction::Drain, options),
        RegionCommand::Seal(options) => (RegionAction::Seal, options),
        RegionCommand::Exclude(options) => (RegionAction::Exclude, options),
        RegionCommand::Return(options) => (RegionAction::Return, options),
    };
    let RegionOptions { socket, region, life, by, reason } = options.clone();
    let request = RegionRequest { action, region, life, by, reason };
    let exchange =
        async { client::post(&socket, "/v1/regions", serde_json::to_vec(&request)?).await };
    client::ask(&socket, exchange, lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_life_has_one_name_and_other_texts_are_refused_with_one_that_would_fit() {
        let name = LifeName::of(Incarnation::new(3, 0xa7));

        assert_eq!(name.to_string(), "3-00000000000000a7");
        assert_eq!(name.to_string().parse(), Ok(name));
        for text in ["", "3", "3-a7", "x-00000000000000a7", "3-00000000000000A7"] {
            let error = text.parse::<LifeName>().unwrap_err().to_string();
            assert!(error.contains("expected one such as 1-"), "{error}");
        }
    }
}
