//! What a rule may keep and do, and what happens at its limits.

use std::time::Duration;

use headland_event::ByteCount;

use crate::operator::arriving::Limits;

/// Settings in WITH.
pub(crate) mod options;

/// Most keys a rule keeps: groups, sessions and partitions over all its windows.
pub const WINDOW_LIMIT: usize = 1_000_000;

/// How a rule runs besides what its SQL says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RuleSettings {
    /// For how long behind the watermark a row still goes into a window that has fired, which then
    /// gives its result again: `-U` with the old values, `+U` with the new ones. Default 0. Longer
    /// keeps that many more panes.
    pub allowed_lateness: Duration,
    /// How often, in event time, a window that is open gives the results it would have if it ended
    /// now, where they have changed: `+I`, then `-U` and `+U`, the last of them when it closes.
    /// Default none: a result comes once, when its window closes. Shorter costs a look at every
    /// open group that often, and every open group remembers what was said of it.
    pub early_results: Option<Duration>,
    /// How long behind the watermark a key of OVER ROWS, of an unbounded OVER, of a temporal join
    /// or of MATCH_RECOGNIZE is kept without a row; default none: for ever, as Flink keeps it
    /// without `table.exec.state.ttl`. Too short forgets what a quiet key has counted.
    pub state_retention: Option<Duration>,
    /// Most keys; default [`WINDOW_LIMIT`]. Too few refuses rows, too many exhausts memory.
    pub keys_limit: usize,
    /// Most memory of the rule's largest operator, about; default 256 MiB.
    pub memory_limit: ByteCount,
    /// Most rows looked at or made for one row, which bounds the time it takes whatever the
    /// machine; default 100,000, about 20 ms.
    pub work_limit: usize,
    /// What happens at a limit; default [`OnLimit::RefuseRow`].
    pub on_limit: OnLimit,
}

/// What a rule may keep and do: the part of its [`RuleSettings`] that may change while it runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RuleLimits {
    /// Most keys.
    pub keys: usize,
    /// Most memory of the rule's largest operator, about.
    pub memory: ByteCount,
    /// Most rows looked at or made for one row.
    pub work: usize,
    /// What happens at a limit.
    pub on_limit: OnLimit,
}

/// For how long a rule keeps what event time has passed, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Times {
    /// How far behind the watermark a row still goes into a window that has fired.
    pub(crate) lateness: i64,
    /// How far event time goes from one early result to the next.
    pub(crate) early: Option<i64>,
    /// How far behind the watermark a key is kept that no window bounds.
    pub(crate) retention: i64,
}

/// What happens when a rule meets a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnLimit {
    /// The row that met it is refused and counted; the rule goes on with what it keeps.
    RefuseRow,
    /// The rule stops and lets go of its state; its rows are refused and counted from then on.
    StopRule,
}

impl Default for RuleSettings {
    fn default() -> Self {
        Self {
            allowed_lateness: Duration::ZERO,
            early_results: None,
            state_retention: None,
            keys_limit: WINDOW_LIMIT,
            memory_limit: ByteCount::mebibytes(256),
            work_limit: 100_000,
            on_limit: OnLimit::RefuseRow,
        }
    }
}

impl RuleSettings {
    /// What the rule may keep and do.
    #[must_use]
    pub const fn limits(&self) -> RuleLimits {
        let Self { keys_limit: keys, memory_limit: memory, work_limit: work, on_limit, .. } = *self;
        RuleLimits { keys, memory, work, on_limit }
    }

    /// The same with other limits.
    #[must_use]
    pub const fn with_limits(self, limits: RuleLimits) -> Self {
        let RuleLimits { keys: keys_limit, memory: memory_limit, work: work_limit, on_limit } =
            limits;
        Self { keys_limit, memory_limit, work_limit, on_limit, ..self }
    }

    pub(crate) fn operator_limits(&self) -> Limits {
        Limits {
            keys: self.keys_limit,
            reserved: 0,
            bytes: self.memory_limit.as_len(),
            work: self.work_limit,
        }
    }

    pub(crate) fn times(&self) -> Times {
        let millis = |time: Duration| i64::try_from(time.as_millis()).unwrap_or(i64::MAX);
        let retention = self.state_retention.map_or(i64::MAX, millis);
        let early = self.early_results.map(millis);
        debug_assert!(early.is_none_or(|early| early > 0), "an interval has a length");
        Times { lateness: millis(self.allowed_lateness), early, retention }
    }
}
