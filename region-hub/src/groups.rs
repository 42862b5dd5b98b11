//! Consumer groups: what consumers and operators ask for, and `headland group`.
//!
//! Offsets are those of the hub that is asked, in its own topics; the hub translates them.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use headland_event::{
    GroupEpoch, GroupName, Offset, PartitionIndex, RegionId, TopicName, TopicPartition,
};
use headland_replication::groups::Change;
use serde::{Deserialize, Serialize};

use crate::client::{self, AskError};
use crate::members::LifeName;
use crate::review::{lines, percent_encoded};

/// Most partitions of one request: one batch holds them all, so that they hold together.
pub const POSITIONS_AT_ONCE: usize = 1_024;

/// A place in a partition of the hub that is asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Place {
    /// The topic's name at this hub.
    pub topic: TopicName,
    /// The partition.
    pub partition: PartitionIndex,
    /// The offset of the next record to read, at this hub.
    pub offset: Offset,
}

/// Committed offsets to change: all of them or none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OffsetsRequest {
    /// Whether a consumer has read on, or an operator sets them.
    pub change: Change,
    /// Where to, at most [`POSITIONS_AT_ONCE`] partitions.
    pub positions: Vec<Place>,
}

/// How far a group has read a partition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PositionView {
    /// The region the partition was born in.
    pub origin: RegionId,
    /// The topic's name there.
    pub origin_topic: TopicName,
    /// The partition.
    pub partition: PartitionIndex,
    /// How often the position was set on purpose.
    pub epoch: GroupEpoch,
    /// The life of the origin that wrote what is to be read next here; absent while nothing of the
    /// partition is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub life: Option<LifeName>,
    /// The offset in the log of the origin of what is to be read next.
    pub origin_offset: Offset,
    /// The topic's name at this hub; absent while it is not here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub topic: Option<TopicName>,
    /// The committed offset at this hub: the next record to read has it, once it is here.
    pub committed: Offset,
    /// Where the partition ends at this hub.
    pub end: Offset,
    /// Records here that the group has not read, of all lives of the origin.
    pub lag_records: u64,
    /// Records that the group has read elsewhere and that have not arrived here.
    pub ahead_records: u64,
    /// Records that the group has not read and that retention let go here.
    #[serde(skip_serializing_if = "is_zero")]
    pub lost_records: u64,
    /// Lives of the origin of which the group has read and nothing is here.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub elsewhere: Vec<FormerRead>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
const fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// How far a group has read what a life of the origin wrote.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FormerRead {
    /// The life.
    pub life: LifeName,
    /// The offset of the next record, in its log.
    pub origin_offset: Offset,
}

/// What a group reads next of a partition of the hub that is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reading {
    /// The partition.
    pub at: TopicPartition,
    /// The first record.
    pub from: Offset,
    /// Where it ends at the latest: what stands there is to be skipped, for it was read.
    pub until: Offset,
}

/// A consumer group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct GroupView {
    /// Its name.
    pub group: GroupName,
    /// Records here that it has not read, of the partitions it has committed in.
    pub lag_records: u64,
    /// How far it has read, by partition.
    pub positions: Vec<PositionView>,
}

/// What to do about consumer groups.
#[derive(Debug, Clone, Subcommand)]
pub enum GroupCommand {
    /// List every group with its lag at this hub, and what it has committed.
    List {
        /// The hub's socket, as `api.socket` in its configuration says.
        #[arg(long)]
        socket: PathBuf,
    },
    /// Show how far a group has read.
    Show(GroupOptions),
    /// Read on where a group is, of a topic or, as `<topic>@*`, of all regions' topics of a name.
    ///
    /// Nothing is committed: `positions` of the answer is what to commit once it is dealt with.
    Read {
        /// Which group.
        #[command(flatten)]
        group: GroupOptions,
        /// The topic at this hub, or `<topic>@*`.
        #[arg(long)]
        topic: String,
        /// Most records.
        #[arg(long, default_value_t = 500, value_parser = count::<usize>)]
        #[arg(allow_negative_numbers = true)]
        max: usize,
        /// How long to wait for the first one, in milliseconds.
        #[arg(long, default_value_t = 0, value_parser = count::<u64>)]
        #[arg(allow_negative_numbers = true)]
        wait_ms: u64,
    },
    /// Commit that a group has read up to an offset of this hub.
    Commit(PlaceOptions),
    /// Set a group to an offset of this hub, back or ahead; it holds in every region.
    Reset(PlaceOptions),
    /// Delete a group in every region; who uses its name again begins anew.
    Delete(GroupOptions),
}

/// Which group at which hub.
#[derive(Debug, Clone, Args)]
pub struct GroupOptions {
    /// The hub's socket, as `api.socket` in its configuration says.
    #[arg(long)]
    socket: PathBuf,
    /// The group.
    group: GroupName,
}

/// Which group, where to.
#[derive(Debug, Clone, Args)]
pub struct PlaceOptions {
    #[command(flatten)]
    group: GroupOptions,
    /// The topic at this hub.
    #[arg(long)]
    topic: TopicName,
    /// The partition.
    #[arg(long, default_value_t = 0, value_parser = count::<u32>, allow_negative_numbers = true)]
    partition: u32,
    /// The offset of the next record to read.
    #[arg(long, value_parser = count::<u64>, allow_negative_numbers = true)]
    offset: u64,
}

/// Asks the hub and returns what to print: JSON, one object a line.
///
/// # Errors
/// [`AskError`] when the hub does not answer, or refuses.
pub fn run(command: &GroupCommand) -> Result<String, AskError> {
    match command {
        GroupCommand::List { socket } => {
            client::ask(socket, client::get(socket, "/v1/groups"), lines)
        }
        GroupCommand::Show(GroupOptions { socket, group }) => {
            let path = format!("/v1/groups/{group}");
            client::ask(socket, client::get(socket, &path), lines)
        }
        GroupCommand::Read { group: GroupOptions { socket, group }, topic, max, wait_ms } => {
            let topic = percent_encoded(topic);
            let query = format!("topic={topic}&max={max}&wait_ms={wait_ms}");
            let path = format!("/v1/groups/{group}/records?{query}");
            client::ask(socket, client::get(socket, &path), lines)
        }
        GroupCommand::Commit(options) => change(options, Change::Commit),
        GroupCommand::Reset(options) => change(options, Change::Reset),
        GroupCommand::Delete(GroupOptions { socket, group }) => {
            client::ask(socket, client::delete(socket, &format!("/v1/groups/{group}")), lines)
        }
    }
}

fn change(options: &PlaceOptions, change: Change) -> Result<String, AskError> {
    let PlaceOptions { group: GroupOptions { socket, group }, topic, partition, offset } = options;
    let (partition, offset) = (PartitionIndex::new(*partition), Offset::new(*offset));
    let positions = vec![Place { topic: topic.clone(), partition, offset }];
    let request = OffsetsRequest { change, positions };
    let path = format!("/v1/groups/{group}/offsets");
    let exchange = async { client::post(socket, &path, serde_json::to_vec(&request)?).await };
    client::ask(socket, exchange, lines)
}

/// A whole number of the command line, also where it is none: clap would take `-1` for an option.
fn count<T: TryFrom<u64>>(text: &str) -> Result<T, String> {
    let number = text.parse::<u64>().ok().and_then(|number| T::try_from(number).ok());
    number.ok_or_else(|| "expected a whole number from 0 on".to_owned())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Arguments {
        #[command(subcommand)]
        _command: GroupCommand,
    }

    #[test]
    fn a_number_below_zero_is_refused_as_a_number_and_not_as_an_option() {
        let parse = |offset: &str| {
            let place = ["--socket", "s", "billing", "--topic", "air", "--offset", offset];
            Arguments::try_parse_from(["headland", "reset"].into_iter().chain(place))
        };

        let told = parse("-1").unwrap_err().to_string();

        assert!(parse("0").is_ok());
        assert!(told.contains("invalid value '-1' for '--offset <OFFSET>'"), "{told}");
        assert!(told.contains("expected a whole number from 0 on"), "{told}");
    }
}
