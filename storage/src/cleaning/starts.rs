//! Moves the starts of partitions, in one commit, and knows them again.

use headland_event::{EventTime, Offset, TopicPartition};

use crate::cleaning::CleanError;
use crate::cleaning::policy::CleanPolicy;
use crate::cleaning::record::{self, Dropped};
use crate::cleaning::retention;
use crate::cleaning::shed::{self, Loss};
use crate::commit::Commit;
use crate::log::LogReader;
use crate::medium::MediumFile;
use crate::reader::JournalReader;
use crate::state::{StateError, StateStore};

/// Bytes of shed records read for one commit, which names each of their streams: more streams than
/// fit a commit do not fit so few bytes.
const SHED_BYTES: u64 = 1 << 20;

/// Starts that are to move, and the commit that moves them.
#[derive(Debug, Default)]
pub(crate) struct Moves {
    pub(crate) starts: Vec<(TopicPartition, Offset)>,
    pub(crate) dropped: Vec<Dropped>,
    pub(crate) commit: Commit,
    /// Bytes read to name what is shed.
    pub(crate) read: u64,
    /// Whether starts stop short of where they may be, for the next time.
    pub(crate) is_partial: bool,
}

/// Finds the partitions whose starts may move. What is shed is named as far as `budget` bytes
/// allow; the rest stays until the next time.
pub(crate) fn moves<F: MediumFile>(
    reader: &JournalReader<F>,
    state: &impl StateStore,
    (policy, now): (&CleanPolicy, EventTime),
    budget: u64,
) -> Result<Moves, CleanError> {
    let mut moves = Moves::default();
    for partition in reader.partitions() {
        let cut = retention::cut(reader.shared(), &partition, policy, now);
        let Some(cut) = cut.map_err(CleanError::Read)? else { continue };
        let mut start = cut.start;
        if let Some((from, by)) = cut.shed {
            let left = budget.min(SHED_BYTES).saturating_sub(moves.read);
            let loss = Loss { from, until: start, by };
            let shed = shed::name(reader, &partition, loss, left).map_err(CleanError::Read)?;
            moves.read += shed.read;
            moves
                .commit
                .state
                .extend(shed::changes(state, &shed.ranges).map_err(CleanError::State)?);
            moves.dropped.extend(shed.ranges);
            moves.is_partial |= shed.until < start;
            start = shed.until;
        }
        if start > reader.start(&partition) {
            moves.commit.state.push(record::start_change(&partition, start));
            moves.starts.push((partition, start));
        }
    }
    debug_assert!(
        moves.dropped.is_empty() || !moves.starts.is_empty(),
        "what is shed lies before a new start"
    );
    Ok(moves)
}

/// The starts that earlier commits left.
pub(crate) fn known(state: &impl StateStore) -> Result<Vec<(TopicPartition, Offset)>, StateError> {
    let owner = record::owner();
    let rows = state.scan(&owner, &record::starts_prefix())?;
    let corrupt = || StateError::Corrupt { owner: owner.clone() };
    rows.into_iter()
        .map(|(key, value)| record::read_start(key, value).map_err(|_| corrupt()))
        .collect()
}

/// What was shed of a partition, by the state of its log: see [`crate::Store::dropped`].
///
/// # Errors
/// [`StateError`] when the state cannot be read.
pub fn dropped(
    state: &impl StateStore,
    partition: &TopicPartition,
) -> Result<Vec<Dropped>, StateError> {
    let owner = record::owner();
    let rows = state.scan(&owner, &record::shed_prefix(partition))?;
    let mut all = Vec::new();
    for (key, value) in rows {
        let ranges = record::read_shed(key, value);
        all.extend(ranges.map_err(|_| StateError::Corrupt { owner: owner.clone() })?);
    }
    Ok(all)
}
