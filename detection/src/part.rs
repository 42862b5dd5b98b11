//! Several logs read side by side, so that their results do not depend on which is ahead.
//!
//! Rows of one table may come from several logs, such as a topic of each region in several
//! partitions. A window keeps a partial result per log and merges them in the order of the logs: so
//! every node that has the same logs has the same bytes, however they arrived.

use headland_event::EventTime;

/// Which of the logs of a table; partial results merge by rising numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Part(u32);

impl Part {
    /// The log with a number of the caller's choice: the same number for the same log on each node.
    #[must_use]
    pub const fn new(number: u32) -> Self {
        Self(number)
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> u32 {
        self.0
    }
}

/// What the log of a row has decided about its lateness.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Standing {
    /// The row counts in final results.
    #[default]
    OnTime,
    /// The row came behind this watermark of its own log: it counts in corrections only, of windows
    /// that had not ended longer before that watermark than the allowed lateness.
    Late {
        /// Up to where the log had promised to be complete.
        behind: EventTime,
    },
}

/// Where a row comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Origin {
    /// Its log.
    pub part: Part,
    /// What that has decided about it.
    pub standing: Standing,
}
