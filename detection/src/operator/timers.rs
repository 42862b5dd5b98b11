//! Times at which keys want to be looked at.

use std::collections::BTreeSet;

use crate::operator::group_key::GroupKey;

/// Keys by time. A key may be named earlier than it is due: whoever is called looks, and asks
/// again. So a session that grows row by row moves no timer.
#[derive(Debug, Default)]
pub(crate) struct Timers {
    times: BTreeSet<(i64, GroupKey)>,
}

impl Timers {
    /// Asks for `key` to be named once the watermark reaches `time`.
    pub(crate) fn set(&mut self, time: i64, key: GroupKey) {
        self.times.insert((time, key));
    }

    /// Asks no more for `key` to be named at `time`.
    pub(crate) fn unset(&mut self, time: i64, key: GroupKey) {
        self.times.remove(&(time, key));
    }

    /// The next key whose time the watermark has reached: by time, then key.
    pub(crate) fn pop_due(&mut self, watermark: i64) -> Option<(i64, GroupKey)> {
        let (time, _) = self.times.first()?;
        if *time <= watermark { self.times.pop_first() } else { None }
    }

    /// About how many bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.times.len() * 40
    }
}
