//! Where copies stand in the logs of their origins, told again by the copies themselves.
//!
//! A checkpoint that is lost cannot begin with what follows: nothing that stands before would be
//! known to be of its origin, and who reads on behind it would have read all of that. The stamps of
//! the entries say all that it said ([`headland_event::Stamp`]).

use headland_event::{ByteCount, Entry, Offset, TopicPartition};
use headland_replication::Checkpoint;
use headland_storage::{
    AppendError, Commit, LogReader, LogStore, ReadError, StateChange, StateError, StateStore,
};

/// Bytes of a partition that are read at once.
const READ_BYTES: ByteCount = ByteCount::mebibytes(1);

/// Checkpoints set in one commit: some hundred bytes each.
const CHANGES_MAX: usize = 1_000;

/// Why a checkpoint could not be told again; those before it may be set.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RebuildError {
    /// The log cannot be read.
    #[error("cannot read what copies stand for")]
    Read(#[from] ReadError),
    /// What was told could not be made durable.
    #[error("cannot record what copies stand for")]
    Append(#[from] AppendError),
}

/// Sets each checkpoint anew that may be outdated because damage took changes of state, while
/// nobody has accepted that. Cost: reads all of these partitions once.
///
/// # Errors
/// [`RebuildError`]; what was set by then is right, and nothing is accepted.
pub(crate) fn rebuild_checkpoints(
    store: &mut (impl LogStore + StateStore),
) -> Result<(), RebuildError> {
    let (owner, reader) = (crate::node::owner("checkpoints"), store.reader());
    let mut state = Vec::new();
    for at in reader.partitions() {
        let key = at.to_string();
        if !matches!(store.get(&owner, key.as_bytes()), Err(StateError::Lost { .. })) {
            continue;
        }
        if let Some(checkpoint) = checkpoint_of(&reader, &at)? {
            let (owner, value) = (owner.clone(), Some(checkpoint.encode()));
            state.push(StateChange { owner, key: key.into(), value });
        }
        if state.len() >= CHANGES_MAX {
            set(store, &mut state)?;
        }
    }
    Ok(set(store, &mut state)?)
}

fn set(store: &mut impl LogStore, state: &mut Vec<StateChange>) -> Result<(), AppendError> {
    if state.is_empty() {
        return Ok(());
    }
    store.append(&[Commit { entries: Vec::new(), state: std::mem::take(state) }])?;
    Ok(())
}

/// What the entries of a partition say of where they stood; `None` when none says anything.
fn checkpoint_of(
    reader: &impl LogReader,
    at: &TopicPartition,
) -> Result<Option<Checkpoint>, ReadError> {
    let start = reader.start(at);
    let (mut next, mut told) = (start, Told { start, end: start, checkpoint: None });
    loop {
        match reader.read(at, next, READ_BYTES) {
            Ok(entries) => {
                let Some(end) = entries.last().map(Entry::end) else { return Ok(told.checkpoint) };
                entries.iter().for_each(|entry| told.on_entry(entry));
                next = end;
            }
            Err(ReadError::Quarantined { until, .. }) => next = until,
            Err(error) => return Err(error),
        }
    }
}

/// What the entries of a partition said so far.
struct Told {
    start: Offset,
    /// Where the last one ended.
    end: Offset,
    checkpoint: Option<Checkpoint>,
}

impl Told {
    fn on_entry(&mut self, entry: &Entry) {
        let Some(stamp) = &entry.stamp else { return };
        let end = std::mem::replace(&mut self.end, entry.end());
        let Some(checkpoint) = &mut self.checkpoint else {
            // What is lost before it may come back, and stood there at its origin too.
            let begins = stamp.offset.get().checked_sub(entry.base.since(self.start));
            let whole = begins.map(|origin| {
                Checkpoint::of_life(self.start, Offset::new(origin), stamp.actor.incarnation)
            });
            self.checkpoint = Some(whole.unwrap_or_else(|| Checkpoint::new(entry.base, stamp)));
            return;
        };
        if checkpoint.is_next(entry.base, stamp) {
            return;
        }
        if end < entry.base {
            // Offsets that were given up behind a lost end were none of its origin.
            checkpoint.lose_end(end);
        }
        checkpoint.follow(entry.base, stamp);
    }
}
