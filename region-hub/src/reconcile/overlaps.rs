//! Overlaps with stocktakes that an older version derived and did not write.
//!
//! A hub that goes on from a value of before overlaps were written has to write those of all that
//! it had reconciled, though steps that are written are not written a second time. So until it has
//! read as far as is written, it leaves overlaps out and does not count them, as the older version
//! did not. Then it writes every row there is, and from the last step of that on overlaps are
//! outputs like others. A restart in between begins this again: of a row the last record holds.

use bytes::Bytes;
use headland_event::codec::CodecError;
use headland_event::{Now, Record};
use headland_reconcile::{DerivedTopic, Output};

use super::{Counted, Derived, Inventory, Progress, STEP_BYTES_TARGET, Step};
use crate::topics::Topics;

/// Whether the rows of `inventory.overlaps` are those of what is reconciled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rows {
    /// They are.
    Current,
    /// Those of reviews from an index on are not written.
    Behind(usize),
}

impl Rows {
    /// How far derived records were written before a restart, and whether overlaps were.
    pub(super) fn restore(value: Bytes) -> Result<(Progress, Self), CodecError> {
        let (written, counted) = Progress::decode(value)?;
        let rows = match counted {
            Counted::All => Self::Current,
            Counted::ButOverlaps => Self::Behind(0),
        };
        Ok((written, rows))
    }

    /// What is counted in a value that is written now.
    pub(super) const fn counted(self) -> Counted {
        match self {
            Self::Current => Counted::All,
            Self::Behind(_) => Counted::ButOverlaps,
        }
    }

    /// Whether an output is one of those that are written later, all at once.
    pub(super) fn are_left_out(self, output: &Output) -> bool {
        self != Self::Current && output.topic() == DerivedTopic::Overlaps
    }
}

impl Inventory {
    /// The next rows of those that were left out, once all that is written is read again; called
    /// between commits.
    pub(super) fn catch_up(&mut self, topics: &Topics, now: Now) -> Option<Step> {
        let Rows::Behind(from) = self.overlaps else { return None };
        let through = Progress::at_start_of(self.next.commit.after(1));
        if through < self.written {
            return None;
        }
        let mut derived = Derived::default();
        self.overlaps = Rows::Current;
        for (at, record) in self.reconciler.overlaps_from(from) {
            if derived.bytes() >= STEP_BYTES_TARGET {
                self.overlaps = Rows::Behind(at);
                break;
            }
            let cause = Record { time: record.stocktake.time, ..Record::default() };
            derived.push(&Output::Overlap(Box::new(record)), &cause, now.wall);
        }
        self.written = through;
        (!derived.is_empty()).then(|| Step {
            bytes: derived.bytes(),
            batches: derived.batches(topics, self.codec),
            progress: through.encode(self.overlaps.counted()),
        })
    }
}
