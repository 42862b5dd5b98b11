//! Which regions take part: what operators ask for, and `headland region`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use headland_event::{PartitionIndex, RegionId, TopicName, TopicPartition};
use headland_reconcile::{MemberStanding, ReasonText, Reviewer, TextError};
use serde::{Deserialize, Serialize};

use crate::client::{self, AskError};
use crate::review::lines;

/// The topic of who takes part.
///
/// # Panics
/// Never: the name is a literal that fits.
#[must_use]
pub fn members_topic() -> TopicName {
    #[expect(clippy::expect_used, reason = "a literal that fits the rule for topics")]
    TopicName::new("_members").expect("a literal topic name fits")
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
    /// It goes on as a new life, and what its former ones wrote beyond their end counts.
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
    /// Who asks.
    pub by: Reviewer,
    /// Why.
    pub reason: ReasonText,
}

/// One life of a region's hub, as this hub knows of it.
#[derive(Debug, Clone, Serialize)]
pub struct LifeView {
    /// The region.
    pub region: RegionId,
    /// The life, `<counter>-<nonce>`.
    pub life: String,
    /// What it is; absent of one that is not listed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub standing: Option<MemberStanding>,
    /// Where its logs of inventory end, by partition, once it is sealed or excluded.
    pub ends: std::collections::BTreeMap<String, headland_event::Offset>,
}

/// Who takes part.
#[derive(Debug, Clone, Serialize)]
pub struct RegionsView {
    /// Every life that is listed, or whose inventory is here.
    pub lives: Vec<LifeView>,
    /// Records that are held back since their life's log ends before them.
    pub held_records: u64,
    /// What no record that is still to come can be concurrent with: ends by log; empty while a
    /// region has not been heard.
    pub stable: std::collections::BTreeMap<String, headland_event::Offset>,
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
    /// At the hub of a region that was excluded, started as a new life: count what it holds.
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
    let RegionOptions { socket, region, by, reason } = options.clone();
    let request = RegionRequest { action, region, by, reason };
    let exchange =
        async { client::post(&socket, "/v1/regions", serde_json::to_vec(&request)?).await };
    client::ask(&socket, exchange, lines)
}
