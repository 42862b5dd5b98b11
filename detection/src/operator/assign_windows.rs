//! Windowing table functions: which windows hold a row.

use crate::operator::arriving::{Arriving, Emitted, Fate, Operate, timestamp};
use crate::operator::window::Windows;
use crate::output::Refusal;

/// Rows of a windowing table function: each once per window that holds it.
#[derive(Debug)]
pub(crate) struct AssignWindows {
    column: usize,
    windows: Windows,
}

impl AssignWindows {
    pub(crate) const fn new(column: usize, windows: Windows) -> Self {
        Self { column, windows }
    }
}

impl Operate for AssignWindows {
    fn on_row(&mut self, arriving: &Arriving<'_>, out: &mut Emitted) -> Result<Fate, Refusal> {
        let time = arriving.time(self.column)?;
        arriving.limits.admit_panes(self.windows.panes_per_window())?;
        for end in self.windows.ends(time) {
            let mut row = Vec::with_capacity(arriving.row.len() + 3);
            row.extend_from_slice(arriving.row);
            let start = timestamp(self.windows.start(end));
            row.extend([start, timestamp(end), timestamp(end.saturating_sub(1))]);
            out.rows.push(arriving.becomes(row));
        }
        Ok(Fate::Passed)
    }
}
