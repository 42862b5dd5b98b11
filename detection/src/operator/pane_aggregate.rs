//! Aggregates per window and key: TUMBLE, HOP and CUMULATE by panes, and windows that the rows
//! bring along.
//!
//! A row goes into one pane however many windows hold it; a window that closes merges its panes.
//! With an allowed lateness panes outlive their windows for that long, and a row for a window that
//! has fired takes its result back and gives the new one.
//!
//! Rows of several logs go into panes of their own, which merge by time, then by log. Rows that
//! their log calls late have panes beside those, which final results leave out and corrections
//! take in: so a final result is the same wherever those logs are, however they came. Of the
//! windows that hold such a row, those had ended too long ago by its log which say so by that log
//! alone: hence the first window that it counts in names its pane, and whoever is further on, or
//! behind, decides no other.
//!
//! A window of which rows are missing here says what it has, and never that it is final. Of late
//! rows that are missing it says what it has behind what is final, and never that this corrects it.

use headland_event::codec::{CodecError, Reader, Writer};
use headland_event::{EventTime, Finality};

use crate::expression::Expression;
use crate::operator::accumulator::Call;
use crate::operator::arriving::{
    Arriving, Changed, Emitted, Fate, Kept, Limits, Operate, time_of, timestamp,
};
use crate::operator::early::EarlyResults;
use crate::operator::gaps::Gaps;
use crate::operator::group_key::{self, GroupKey};
use crate::operator::group_state::{Accumulators, may_grow};
use crate::operator::keyed::{Keyed, Progress};
use crate::operator::paned::{Paned, Place};
use crate::operator::window::Windows;
use crate::output::{Change, Refusal};
use crate::part::{Origin, Standing};
use crate::relation::WindowColumns;
use crate::settings::Times;
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
    panes: Paned<Accumulators>,
    early: Option<EarlyResults>,
    /// Times of which rows are missing here.
    gaps: Gaps,
    /// Times of which late rows are missing here, or count elsewhere otherwise.
    doubts: Gaps,
    /// Every window whose last millisecond is at or before this has fired.
    progress: i64,
    /// The last millisecond of the next window to fire; the end of time when there is none.
    due: i64,
    /// What stands before the panes of a snapshot under way.
    header: Option<Writer>,
    key: Vec<u8>,
    contributions: Vec<Value>,
}

type Pane = Keyed<Accumulators>;

/// Which rows a result is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rows {
    OnTime,
    /// Also those that their log calls late.
    All,
}

impl Rows {
    /// Whether the rows of a slice are among them for the window that ends at `end`.
    fn hold(self, place: Place, end: i64) -> bool {
        match (self, place.late_from) {
            (Self::OnTime | Self::All, None) => true,
            (Self::OnTime, Some(_)) => false,
            (Self::All, Some(first)) => first <= end,
        }
    }
}

impl PaneAggregate {
    pub(crate) fn new(
        assignment: Assignment,
        keys: Vec<Expression>,
        calls: Vec<Call>,
        times: Times,
        seed: u64,
    ) -> Self {
        let Times { lateness, early, retention: _ } = times;
        debug_assert!(lateness >= 0, "lateness is a length of time");
        Self {
            assignment,
            keys,
            may_grow: may_grow(&calls),
            calls,
            lateness,
            panes: Paned::new(seed),
            early: early.map(|interval| EarlyResults::new(interval, seed)),
            gaps: Gaps::default(),
            doubts: Gaps::default(),
            progress: i64::MIN,
            due: i64::MAX,
            header: None,
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

    /// The ends of all windows with a pane.
    fn ends(&self, pane: i64) -> Vec<i64> {
        match self.assignment {
            Assignment::Attached(_) => vec![pane],
            Assignment::Time { windows, .. } => windows.ends(pane.saturating_sub(1)).collect(),
        }
    }

    /// The first window end with the pane that has not fired.
    fn next_end(&self, pane: i64) -> Option<i64> {
        self.end_from(pane, self.progress.saturating_add(2))
    }

    /// The first window end with the pane that is `least` or later.
    fn end_from(&self, pane: i64, least: i64) -> Option<i64> {
        match self.assignment {
            Assignment::Time { windows, .. } => windows.end_from(pane, least),
            Assignment::Attached(_) => (pane >= least).then_some(pane),
        }
    }

    /// Whether no window with the pane takes rows any more once the watermark is `progress`.
    fn is_gone(&self, pane: i64, progress: i64) -> bool {
        self.last_end(pane).saturating_sub(1).saturating_add(self.lateness) <= progress
    }

    /// The slice that takes a row of a pane; none when it comes too late to count.
    fn place_of(&self, pane: i64, Origin { part, standing }: Origin) -> Option<Place> {
        match standing {
            Standing::OnTime => {
                (!self.is_gone(pane, self.progress)).then_some(Place::of(pane, part, None))
            }
            Standing::Late { .. } if self.lateness == 0 => None,
            Standing::Late { behind } => {
                // By its own log alone: the watermark of all logs is not ahead of that.
                let behind = behind.millis().max(self.progress);
                let least = behind.saturating_sub(self.lateness).saturating_add(2);
                let first = self.end_from(pane, least)?;
                Some(Place::of(pane, part, Some(first)))
            }
        }
    }

    fn find_due(&mut self) {
        let ends = self.panes.places().filter_map(|place| self.next_end(place.end));
        self.due = ends.min().map_or(i64::MAX, |end| end.saturating_sub(1));
    }

    /// Whether the limits let the row in the buffers into a pane.
    fn admit(&self, place: Place, limits: &Limits) -> Result<(), Refusal> {
        match (self.panes.get(place, &self.key).is_some(), self.may_grow) {
            (true, false) => Ok(()),
            (true, true) => limits.admit_bytes(self.kept().bytes),
            (false, _) => limits.admit_key(self.panes.keys(), self.kept().bytes),
        }
    }

    /// Adds the row in the buffers to its pane.
    fn add(&mut self, place: Place, arriving: &Arriving<'_>) -> Result<(), Refusal> {
        if self.may_grow {
            self.admit(place, arriving.limits)?;
        }
        let (calls, contributions) = (&self.calls, &self.contributions);
        let change = |state: &mut Accumulators| {
            if arriving.is_added() {
                state.add(calls, contributions);
            } else {
                state.retract(calls, contributions);
            }
        };
        if self.panes.update(place, &self.key, change).is_some() {
            return Ok(());
        }
        arriving.limits.admit_key(self.panes.keys(), self.kept().bytes)?;
        let mut state = Accumulators::start(&self.calls);
        change(&mut state);
        let is_first = self.panes.insert(place, GroupKey::new(&self.key), state);
        if is_first && let Some(end) = self.next_end(place.end) {
            self.due = self.due.min(end.saturating_sub(1));
        }
        Ok(())
    }

    /// Between which ends the panes lie of the window that ends at `end`.
    const fn pane_ends(&self, end: i64) -> (i64, i64) {
        match self.assignment {
            Assignment::Time { windows, .. } => (windows.start(end).saturating_add(1), end),
            Assignment::Attached(_) => (end, end),
        }
    }

    /// The panes of the window that ends at `end`.
    fn panes_of(&self, end: i64, rows: Rows) -> impl Iterator<Item = &Pane> {
        let panes = self.panes.ending_in(self.pane_ends(end));
        panes.filter(move |(place, _)| rows.hold(*place, end)).map(|(_, pane)| pane)
    }

    /// Every group of a window with its row, in the order of keys.
    fn rows(&self, end: i64, rows: Rows, mut take: impl FnMut(&GroupKey, Vec<Value>)) {
        let mut panes = self.panes_of(end, rows);
        let (Some(first), second) = (panes.next(), panes.next()) else { return };
        let Some(second) = second else {
            for (key, state) in first.sorted() {
                take(key, self.row(key, end, state));
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
            take(key, self.row(key, end, state));
        }
    }

    /// The first and the last millisecond of a row's window.
    fn span(&self, row: &[Value]) -> (i64, i64) {
        let [start, end] = [0, 1].map(|place| time_of(row, self.keys.len() + place));
        (start.unwrap_or(i64::MIN), end.unwrap_or(i64::MAX).saturating_sub(1))
    }

    /// What a closed window says of a row that it gives: `said`, unless rows of it are missing.
    fn finality_of(&self, row: &[Value], said: Finality) -> Finality {
        let (first, last) = self.span(row);
        if self.gaps.touch(first, last) { Finality::Provisional } else { said }
    }

    /// Whether late rows of a row's window are missing, and no others.
    fn is_doubted(&self, row: &[Value]) -> bool {
        let (first, last) = self.span(row);
        self.doubts.touch(first, last) && !self.gaps.touch(first, last)
    }

    /// The ends of windows that have fired and still take late rows, ascending.
    fn fired_ends(&self) -> Vec<i64> {
        let mut ends: Vec<i64> = self.panes.places().flat_map(|at| self.ends(at.end)).collect();
        ends.retain(|end| self.takes_late(*end));
        ends.sort_unstable();
        ends.dedup();
        ends
    }

    /// Whether the window that ends at `end` has fired and still takes late rows.
    const fn takes_late(&self, end: i64) -> bool {
        let last = end.saturating_sub(1);
        last <= self.progress && last.saturating_add(self.lateness) > self.progress
    }

    /// Gives out every group of a window that closes, then what late rows make of it.
    fn fire(&mut self, end: i64, out: &mut Emitted) {
        let early = self.early.as_ref();
        self.rows(end, Rows::OnTime, |key, row| {
            let finality = self.finality_of(&row, Finality::Final);
            match early {
                Some(early) => early.conclude(end, key, (row, finality), &mut out.rows),
                None => out.rows.push(Changed::insert(row).with(finality)),
            }
        });
        if let Some(early) = &mut self.early {
            early.close(end);
        }
        let late = self.panes.ending_in(self.pane_ends(end));
        let late = late.filter(|(place, _)| place.late_from.is_some_and(|first| first <= end));
        let mut keys: Vec<&GroupKey> = late.flat_map(|(_, pane)| pane.keys()).collect();
        keys.sort_unstable();
        keys.dedup();
        for key in keys {
            let [before, after] =
                [Rows::OnTime, Rows::All].map(|rows| self.group_of(end, key, rows));
            out.rows.extend(self.corrected(changed(before, after)));
        }
        if !self.doubts.is_empty() && self.lateness > 0 {
            self.rows(end, Rows::All, |key, row| {
                let late = self.panes.ending_in(self.pane_ends(end));
                let mut late = late.filter(|(at, _)| at.late_from.is_some_and(|from| from <= end));
                // What has late rows was said already.
                if self.is_doubted(&row)
                    && !late.any(|(_, pane)| pane.get(key.as_bytes()).is_some())
                {
                    out.rows.extend(again(row));
                }
            });
        }
    }

    /// The row of one group over a window; none when no row of it came.
    fn group_of(&self, end: i64, key: &GroupKey, rows: Rows) -> Option<Vec<Value>> {
        let mut states = self.panes_of(end, rows).filter_map(|pane| pane.get(key.as_bytes()));
        let mut merged = states.next()?.clone();
        states.for_each(|state| merged.merge(&self.calls, state));
        Some(self.row(key, end, &merged))
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
        place: Place,
        arriving: &Arriving<'_>,
        out: &mut Emitted,
    ) -> Result<(), Refusal> {
        let mut ends = self.ends(place.end);
        ends.retain(|end| self.takes_late(*end) && Rows::All.hold(place, *end));
        let key = GroupKey::new(&self.key);
        let before: Vec<_> = ends.iter().map(|end| self.group_of(*end, &key, Rows::All)).collect();
        self.add(place, arriving)?;
        for (end, before) in ends.into_iter().zip(before) {
            let after = self.group_of(end, &key, Rows::All);
            match arriving.origin.standing {
                Standing::OnTime => out.rows.extend(self.corrected(replaced(before, after))),
                // Said even when nothing changed: a node where the window fires only now takes all
                // late rows together, and says it of the same windows.
                Standing::Late { .. } => out.rows.extend(self.corrected(changed(before, after))),
            }
        }
        Ok(())
    }

    /// What replaces the result of a window that has fired.
    fn corrected(&self, changes: impl Iterator<Item = Changed>) -> impl Iterator<Item = Changed> {
        changes.map(|changed| {
            let (first, last) = self.span(&changed.row);
            let is_short = self.gaps.touch(first, last) || self.doubts.touch(first, last);
            changed.with(if is_short { Finality::Provisional } else { Finality::Correction })
        })
    }

    /// Forgets gaps behind every window that may still say something. How long windows are that
    /// rows bring along is not known: gaps of those stay, and their number is bounded.
    fn forget_gaps(&mut self) {
        if let Assignment::Time { windows, .. } = self.assignment {
            let behind = self.lateness.saturating_add(windows.size());
            let before = self.progress.saturating_sub(behind);
            self.gaps.forget_before(before);
            self.doubts.forget_before(before);
        }
    }

    /// Drops panes that no window, fired or not, will read again.
    fn drop_panes(&mut self) {
        while let Some(place) = self.panes.first() {
            if !self.is_gone(place.end, self.progress) {
                return;
            }
            self.panes.remove(place);
        }
    }
}

/// What replaces an old result by a new one, unless they are equal.
pub(crate) fn replaced(
    before: Option<Vec<Value>>,
    after: Option<Vec<Value>>,
) -> impl Iterator<Item = Changed> {
    let is_same = before.is_some() && before == after;
    changed(before, after).filter(move |_| !is_same)
}

/// A result said once more, which may change elsewhere.
fn again(row: Vec<Value>) -> impl Iterator<Item = Changed> {
    let said = changed(Some(row.clone()), Some(row));
    said.map(|changed| changed.with(Finality::Provisional))
}

/// What takes an old result back and gives a new one.
fn changed(before: Option<Vec<Value>>, after: Option<Vec<Value>>) -> impl Iterator<Item = Changed> {
    let (old, new) = if before.is_some() && after.is_some() {
        (Change::UpdateBefore, Change::UpdateAfter)
    } else {
        (Change::Delete, Change::Insert)
    };
    let before = before.map(|row| Changed::of(old, row));
    let after = after.map(|row| Changed::of(new, row));
    before.into_iter().chain(after)
}

impl Operate for PaneAggregate {
    fn on_gap(&mut self, first: i64, last: i64) {
        // What has fired was whole when it did.
        let first = first.max(self.progress.saturating_add(1));
        if first <= last {
            self.gaps.add(first, last, self.progress);
        }
    }

    fn on_doubt(&mut self, first: i64, last: i64, out: &mut Emitted) {
        // Without lateness late rows count nowhere.
        if self.lateness == 0 {
            return;
        }
        let is_in = |(from, to): (i64, i64)| from <= last && to >= first;
        for end in self.fired_ends() {
            self.rows(end, Rows::All, |_, row| {
                let (from, to) = self.span(&row);
                let is_said = self.gaps.touch(from, to) || self.doubts.touch(from, to);
                if is_in((from, to)) && !is_said {
                    out.rows.extend(again(row));
                }
            });
        }
        self.doubts.add(first, last, self.progress);
        self.forget_gaps();
    }

    fn on_row(&mut self, arriving: &Arriving<'_>, out: &mut Emitted) -> Result<Fate, Refusal> {
        if let Assignment::Time { windows, .. } = self.assignment {
            arriving.limits.admit_panes(windows.panes_per_window())?;
        }
        let pane = self.pane_of(arriving)?;
        let Some(place) = self.place_of(pane, arriving.origin) else {
            return Ok(Fate::Late(Some(EventTime::from_millis(self.last_end(pane)))));
        };
        encode_keys(&self.keys, arriving.row, &mut self.key)?;
        contributions(&self.calls, arriving.row, &mut self.contributions)?;
        if arriving.is_trial() {
            return self.admit(place, arriving.limits).map(|()| Fate::Taken);
        }
        if self.lateness > 0 && pane.saturating_sub(1) <= self.progress {
            self.correct(place, arriving, out)?;
        } else {
            self.add(place, arriving)?;
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
        self.forget_gaps();
        debug_assert!(self.due > watermark || self.due == i64::MAX, "all that is due has fired");
        debug_assert_eq!(
            self.panes.bytes(),
            self.panes.summed_bytes(),
            "the total covers every pane"
        );
    }

    fn on_early(&mut self, time: i64, limits: &Limits, out: &mut Emitted) {
        let Some(mut early) = self.early.take_if(|early| early.begins(time)) else { return };
        let mut ends: Vec<i64> = self.panes.places().flat_map(|at| self.ends(at.end)).collect();
        ends.sort_unstable();
        ends.dedup();
        // The window that ends next is asked first; a later one has its turn when that has closed.
        let mut groups = 0;
        for end in ends.into_iter().filter(|end| end.saturating_sub(1) > self.progress) {
            groups += self.panes_of(end, Rows::OnTime).map(Keyed::len).sum::<usize>();
            let bytes = self.panes.bytes() + early.bytes();
            if limits.admit_work(groups).is_err() || limits.admit_bytes(bytes).is_err() {
                out.early_left_out += 1;
                continue;
            }
            self.rows(end, Rows::OnTime, |key, row| early.say(end, key, row, &mut out.rows));
        }
        self.early = Some(early);
    }

    fn kept(&self) -> Kept {
        let early = self.early.as_ref().map_or(0, EarlyResults::bytes);
        Kept { keys: self.panes.keys(), bytes: self.panes.bytes() + early }
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
        // What was said early has to be taken back by whoever goes on.
        let early = self
            .early
            .as_ref()
            .map_or_else(String::new, |early| format!(", early every {} ms", early.interval()));
        format!("panes {windows}, {} keys, {}{late}{early}", self.keys.len(), calls.join(", "))
    }

    fn begin_cut(&mut self) {
        let mut header = Writer::new();
        header.i64(self.progress);
        Gaps::write(&self.gaps, &self.doubts, &mut header);
        if let Some(early) = &mut self.early {
            early.begin_cut(&mut header);
        }
        self.panes.begin_cut();
        self.header = Some(header);
    }

    fn poll_cut(&mut self, budget: usize, writer: &mut Writer) -> Progress {
        if let Some(header) = self.header.take() {
            writer.raw(header.as_slice());
        }
        match (self.panes.poll_cut(budget, writer), &mut self.early) {
            (Progress::Done, Some(early)) => early.poll_cut(budget, writer),
            (progress, _) => progress,
        }
    }

    fn read(&mut self, reader: &mut Reader) -> Result<(), CodecError> {
        self.progress = reader.i64("progress")?;
        (self.gaps, self.doubts) = Gaps::read(reader)?;
        let begun = self.early.is_some().then(|| reader.i64("early interval")).transpose()?;
        self.panes.read(&self.calls, reader)?;
        if let (Some(early), Some(begun)) = (&mut self.early, begun) {
            early.read(begun, reader)?;
        }
        self.find_due();
        Ok(())
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
