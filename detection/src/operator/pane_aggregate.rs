//! Aggregates per window and key: TUMBLE, HOP and CUMULATE by panes, and windows that the rows
//! bring along.
//!
//! A row goes into one pane however many windows hold it; a window that closes merges its panes.
//! With an allowed lateness panes outlive their windows for that long, and a row for a window that
//! has fired takes its result back and gives the new one.

use std::collections::{BTreeMap, VecDeque};

use headland_event::EventTime;
use headland_event::codec::{CodecError, Reader, Writer};

use crate::expression::Expression;
use crate::operator::accumulator::Call;
use crate::operator::arriving::{
    Arriving, Changed, Emitted, Fate, Kept, Limits, Operate, timestamp,
};
use crate::operator::group_key::{self, GroupKey};
use crate::operator::group_state::{Accumulators, may_grow};
use crate::operator::keyed::{Keyed, Progress};
use crate::operator::window::Windows;
use crate::output::{Change, Refusal};
use crate::relation::WindowColumns;
use crate::value::Value;

/// Where a row's windows come from.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Assignment {
    /// From its event time.
    Time { column: usize, windows: Windows },
    /// From the columns of a window; several windows may end together.
    Attached(WindowColumns),
}

/// Aggregates per window and key.
#[derive(Debug)]
pub(crate) struct PaneAggregate {
    assignment: Assignment,
    keys: Vec<Expression>,
    calls: Vec<Call>,
    /// Whether a group that is there may take more memory.
    may_grow: bool,
    lateness: i64,
    seed: u64,
    /// Per pane that has rows, by its end.
    panes: BTreeMap<i64, Pane>,
    /// Groups over all panes.
    groups: usize,
    /// Memory of all panes, about: every row asks for it, and there may be very many panes.
    bytes: usize,
    /// Every window whose last millisecond is at or before this has fired.
    progress: i64,
    /// The last millisecond of the next window to fire; the end of time when there is none.
    due: i64,
    cut: Option<Cut>,
    key: Vec<u8>,
    contributions: Vec<Value>,
}

type Pane = Keyed<Accumulators>;

/// A snapshot under way: panes that are not written yet, by their ends, with what stands before
/// their groups; and those among them that have been dropped meanwhile.
#[derive(Debug)]
struct Cut {
    panes: VecDeque<(i64, Writer)>,
    dropped: BTreeMap<i64, Pane>,
    header: Option<Writer>,
}

impl PaneAggregate {
    pub(crate) fn new(
        assignment: Assignment,
        keys: Vec<Expression>,
        calls: Vec<Call>,
        lateness: i64,
        seed: u64,
    ) -> Self {
        debug_assert!(lateness >= 0, "lateness is a length of time");
        Self {
            assignment,
            keys,
            may_grow: may_grow(&calls),
            calls,
            lateness,
            seed,
            panes: BTreeMap::new(),
            groups: 0,
            bytes: 0,
            progress: i64::MIN,
            due: i64::MAX,
            cut: None,
            key: Vec::new(),
            contributions: Vec::new(),
        }
    }

    /// The pane of a row; the start of an attached window becomes the first part of its key.
    fn pane_of(&mut self, arriving: &Arriving<'_>) -> Result<i64, Refusal> {
        self.key.clear();
        match self.assignment {
            Assignment::Time { column, windows } => Ok(windows.pane_of(arriving.time(column)?)),
            Assignment::Attached(columns) => {
                let start = arriving.time(columns.start)?;
                group_key::encode(&timestamp(start), &mut self.key);
                arriving.time(columns.end)
            }
        }
    }

    fn last_end(&self, pane: i64) -> i64 {
        match self.assignment {
            Assignment::Time { windows, .. } => windows.last_end(pane),
            Assignment::Attached(_) => pane,
        }
    }

    /// The first window end with the pane that has not fired.
    fn next_end(&self, pane: i64) -> Option<i64> {
        let unfired = self.progress.saturating_add(2);
        match self.assignment {
            Assignment::Time { windows, .. } => windows.end_from(pane, unfired),
            Assignment::Attached(_) => (pane >= unfired).then_some(pane),
        }
    }

    fn is_gone(&self, pane: i64) -> bool {
        let last = self.last_end(pane).saturating_sub(1).saturating_add(self.lateness);
        last <= self.progress
    }

    fn find_due(&mut self) {
        let ends = self.panes.keys().filter_map(|pane| self.next_end(*pane));
        self.due = ends.min().map_or(i64::MAX, |end| end.saturating_sub(1));
    }

    /// Whether the limits let the row in the buffers into a pane.
    fn admit(&self, pane: i64, limits: &Limits) -> Result<(), Refusal> {
        let is_known = self.panes.get(&pane).is_some_and(|groups| groups.get(&self.key).is_some());
        match (is_known, self.may_grow) {
            (true, false) => Ok(()),
            (true, true) => limits.admit_bytes(self.kept().bytes),
            (false, _) => limits.admit_key(self.groups, self.kept().bytes),
        }
    }

    /// Adds the row in the buffers to its pane.
    fn add(&mut self, pane: i64, arriving: &Arriving<'_>) -> Result<(), Refusal> {
        let (calls, contributions) = (&self.calls, &self.contributions);
        let change = |state: &mut Accumulators| {
            if arriving.is_added() {
                state.add(calls, contributions);
            } else {
                state.retract(calls, contributions);
            }
        };
        if self.may_grow {
            self.admit(pane, arriving.limits)?;
        }
        if let Some(groups) = self.panes.get_mut(&pane) {
            let before = groups.bytes();
            if groups.update(&self.key, change).is_some() {
                self.bytes = (self.bytes + groups.bytes()).saturating_sub(before);
                return Ok(());
            }
        }
        arriving.limits.admit_key(self.groups, self.kept().bytes)?;
        let mut state = Accumulators::start(&self.calls);
        change(&mut state);
        let is_first = !self.panes.contains_key(&pane);
        let groups = self.panes.entry(pane).or_insert_with(|| Keyed::new(self.seed));
        let before = groups.bytes();
        groups.insert(GroupKey::new(&self.key), state);
        self.bytes = (self.bytes + groups.bytes()).saturating_sub(before);
        self.groups += 1;
        if is_first && let Some(end) = self.next_end(pane) {
            self.due = self.due.min(end.saturating_sub(1));
        }
        Ok(())
    }

    /// The panes of the window that ends at `end`.
    fn panes_of(&self, end: i64) -> impl Iterator<Item = &Pane> {
        let first = match self.assignment {
            Assignment::Time { windows, .. } => windows.start(end).saturating_add(1),
            Assignment::Attached(_) => end,
        };
        self.panes.range(first..=end).map(|(_, pane)| pane)
    }

    /// Gives out every group of a window in the order of keys.
    fn fire(&self, end: i64, out: &mut Emitted) {
        let mut panes = self.panes_of(end);
        let (Some(first), second) = (panes.next(), panes.next()) else { return };
        let Some(second) = second else {
            out.rows.reserve(first.len());
            for (key, state) in first.sorted() {
                out.rows.push(Changed::insert(self.row(key, end, state)));
            }
            return;
        };
        let mut merged: Pane = first.copy();
        for pane in std::iter::once(second).chain(panes) {
            for (key, state) in pane.iter() {
                let found = merged.update(key.as_bytes(), |mine| mine.merge(&self.calls, state));
                if found.is_none() {
                    merged.insert(key.clone(), state.clone());
                }
            }
        }
        for (key, state) in merged.sorted() {
            out.rows.push(Changed::insert(self.row(key, end, state)));
        }
    }

    /// The result of one group over a window; none when no row of it came.
    fn group_of(&self, end: i64) -> Option<Accumulators> {
        let mut states = self.panes_of(end).filter_map(|pane| pane.get(&self.key));
        let mut merged = states.next()?.clone();
        states.for_each(|state| merged.merge(&self.calls, state));
        Some(merged)
    }

    /// A row of keys, window_start, window_end, window_time and aggregates.
    fn row(&self, key: &GroupKey, end: i64, state: &Accumulators) -> Vec<Value> {
        let mut values = key.values();
        let start = match self.assignment {
            Assignment::Time { windows, .. } => timestamp(windows.start(end)),
            Assignment::Attached(_) => values.next().unwrap_or(Value::Null),
        };
        let mut row = Vec::with_capacity(self.keys.len() + 3 + self.calls.len());
        row.extend(values);
        debug_assert_eq!(row.len(), self.keys.len(), "a group has every key");
        row.extend([start, timestamp(end), timestamp(end.saturating_sub(1))]);
        row.extend(state.results(&self.calls));
        row
    }

    /// Adds a row to windows of which some have fired: those give their new result.
    fn correct(
        &mut self,
        pane: i64,
        arriving: &Arriving<'_>,
        out: &mut Emitted,
    ) -> Result<(), Refusal> {
        let ends: Vec<i64> = match self.assignment {
            Assignment::Attached(_) => vec![pane],
            Assignment::Time { windows, .. } => {
                let ends = windows.ends(pane.saturating_sub(1));
                ends.filter(|end| {
                    let last = end.saturating_sub(1);
                    last <= self.progress && last.saturating_add(self.lateness) > self.progress
                })
                .collect()
            }
        };
        let before: Vec<_> = ends.iter().map(|end| self.group_of(*end)).collect();
        self.add(pane, arriving)?;
        let key = GroupKey::new(&self.key);
        for (end, before) in ends.into_iter().zip(before) {
            let after = self.group_of(end).map(|state| self.row(&key, end, &state));
            let before = before.map(|state| self.row(&key, end, &state));
            out.rows.extend(replaced(before, after));
        }
        Ok(())
    }

    /// Drops panes that no window, fired or not, will read again.
    fn drop_panes(&mut self) {
        while let Some((pane, _)) = self.panes.first_key_value() {
            let pane = *pane;
            if !self.is_gone(pane) {
                return;
            }
            let Some(groups) = self.panes.remove(&pane) else { return };
            debug_assert!(self.groups >= groups.len(), "the count covers every pane");
            self.groups -= groups.len();
            self.bytes = self.bytes.saturating_sub(groups.bytes());
            if let Some(cut) = &mut self.cut
                && cut.panes.iter().any(|(waiting, _)| *waiting == pane)
            {
                cut.dropped.insert(pane, groups);
            }
        }
    }
}

/// What replaces an old result by a new one.
pub(crate) fn replaced(
    before: Option<Vec<Value>>,
    after: Option<Vec<Value>>,
) -> impl Iterator<Item = Changed> {
    let is_update = before.is_some() && after.is_some();
    let (old, new) = if is_update {
        (Change::UpdateBefore, Change::UpdateAfter)
    } else {
        (Change::Delete, Change::Insert)
    };
    let is_same = is_update && before == after;
    let before = before.map(|row| Changed { change: old, row });
    let after = after.map(|row| Changed { change: new, row });
    before.into_iter().chain(after).filter(move |_| !is_same)
}

impl Operate for PaneAggregate {
    fn on_row(&mut self, arriving: &Arriving<'_>, out: &mut Emitted) -> Result<Fate, Refusal> {
        if let Assignment::Time { windows, .. } = self.assignment {
            arriving.limits.admit_panes(windows.panes_per_window())?;
        }
        let pane = self.pane_of(arriving)?;
        if self.is_gone(pane) {
            return Ok(Fate::Late(Some(EventTime::from_millis(self.last_end(pane)))));
        }
        encode_keys(&self.keys, arriving.row, &mut self.key)?;
        contributions(&self.calls, arriving.row, &mut self.contributions)?;
        if arriving.is_trial() {
            return self.admit(pane, arriving.limits).map(|()| Fate::Taken);
        }
        if self.lateness > 0 && pane.saturating_sub(1) <= self.progress {
            self.correct(pane, arriving, out)?;
        } else {
            self.add(pane, arriving)?;
        }
        Ok(Fate::Taken)
    }

    fn on_watermark(&mut self, watermark: i64, _limits: &Limits, out: &mut Emitted) {
        debug_assert!(watermark >= self.progress, "a watermark only grows");
        if watermark < self.due && self.lateness == 0 {
            self.progress = watermark;
            return;
        }
        while self.due <= watermark && self.due < i64::MAX {
            let end = self.due.saturating_add(1);
            self.fire(end, out);
            self.progress = self.due;
            self.drop_panes();
            self.find_due();
        }
        self.progress = watermark;
        self.drop_panes();
        debug_assert!(self.due > watermark || self.due == i64::MAX, "all that is due has fired");
        debug_assert_eq!(
            self.bytes,
            self.panes.values().map(Keyed::bytes).sum::<usize>(),
            "the total covers every pane"
        );
    }

    fn kept(&self) -> Kept {
        Kept { keys: self.groups, bytes: self.bytes }
    }

    fn shape(&self) -> String {
        let calls = self.calls.iter().map(Call::shape).collect::<Vec<_>>();
        let windows = match self.assignment {
            Assignment::Time { windows, .. } => windows.to_string(),
            Assignment::Attached(_) => "of the input".to_owned(),
        };
        // Panes that have fired are there for rows in this time only: with more of it, the results
        // they gave could not be taken back.
        let late = match self.lateness {
            0 => String::new(),
            lateness => format!(", rows up to {lateness} ms late"),
        };
        format!("panes {windows}, {} keys, {}{late}", self.keys.len(), calls.join(", "))
    }

    fn begin_cut(&mut self) {
        let mut header = Writer::new();
        header.i64(self.progress);
        header.length(self.panes.len());
        let mut panes = VecDeque::with_capacity(self.panes.len());
        for (end, pane) in &mut self.panes {
            let mut header = Writer::new();
            header.i64(*end);
            pane.begin_cut(&mut header);
            panes.push_back((*end, header));
        }
        self.cut = Some(Cut { panes, dropped: BTreeMap::new(), header: Some(header) });
    }

    fn poll_cut(&mut self, budget: usize, writer: &mut Writer) -> Progress {
        let Some(cut) = &mut self.cut else { return Progress::Done };
        if let Some(header) = cut.header.take() {
            writer.raw(header.as_slice());
        }
        let Some((end, header)) = cut.panes.front_mut() else {
            self.cut = None;
            return Progress::Done;
        };
        writer.raw(header.as_slice());
        header.clear();
        let pane = cut.dropped.get_mut(end).or_else(|| self.panes.get_mut(end));
        if pane.is_none_or(|pane| pane.poll_cut(budget, writer) == Progress::Done) {
            cut.dropped.remove(end);
            cut.panes.pop_front();
        }
        Progress::More
    }

    fn read(&mut self, reader: &mut Reader) -> Result<(), CodecError> {
        self.progress = reader.i64("progress")?;
        for _ in 0..reader.length("panes", reader.remaining() / 12)? {
            let end = reader.i64("pane")?;
            let pane = Keyed::read(self.seed, &self.calls, reader)?;
            self.groups += pane.len();
            self.bytes += pane.bytes();
            self.panes.insert(end, pane);
        }
        self.find_due();
        Ok(())
    }
}

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
            out.rows.push(Changed { change: arriving.change, row });
        }
        Ok(Fate::Passed)
    }
}

/// Appends the keys of a row as bytes.
pub(crate) fn encode_keys(
    keys: &[Expression],
    row: &[Value],
    encoded: &mut Vec<u8>,
) -> Result<(), Refusal> {
    for key in keys {
        let value = key.evaluate(row).map_err(Refusal::Evaluation)?;
        group_key::encode(&value, encoded);
    }
    Ok(())
}

/// Evaluates what a row contributes to each call.
pub(crate) fn contributions(
    calls: &[Call],
    row: &[Value],
    contributions: &mut Vec<Value>,
) -> Result<(), Refusal> {
    contributions.clear();
    for call in calls {
        contributions.push(call.contribution(row).map_err(Refusal::Evaluation)?);
    }
    Ok(())
}
