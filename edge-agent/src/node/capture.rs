//! Lines of the sources to records, alerts and commits.

use headland_detection::Program;
use headland_event::{ByteCount, EventTime, Lane, Now, Random, Record, TraceParent};
use headland_platform::telemetry::Span;
use headland_storage::{StateStore, StoredCommit};

use super::{InFlight, Node, Output, SourceIndex, StartError};
use crate::config::SourceConfig;
use crate::decode::{
    CLOCK_HEADER, FirstLine, Line, ReplayedRows, SourceDecoder, SourceError, TimeMark,
};
use crate::detect::{Detected, Origin};
use crate::outbox::{FilePosition, Outbox};

/// One source, as far as it was read.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) path: String,
    pub(super) decoder: SourceDecoder,
    pub(super) lane: Lane,
    pub(super) position: FilePosition,
    /// Whether its last record was of the future: the first one of a row is told.
    is_ahead: bool,
}

impl Source {
    /// A source that goes on where the state says.
    pub(super) fn new(
        config: &SourceConfig,
        program: &Program,
        trace_ratio: f64,
        state: &impl StateStore,
    ) -> Result<Self, StartError> {
        let path = config.id();
        let unfit = |source: SourceError| StartError::Source { path: path.clone(), source };
        let mut decoder = SourceDecoder::new(config, program, trace_ratio).map_err(unfit)?;
        let position = Outbox::position(state, &path)?;
        if let Some(columns) = Outbox::columns(state, &path)?
            && decoder.wants_first_line()
        {
            decoder.on_columns(columns);
        }
        Ok(Self { path, decoder, lane: config.lane, position, is_ahead: false })
    }
}

impl Node {
    /// Takes note of a commit found in the log at the start: rules see its records again. What they
    /// raise was written already, but for the last of what the last lines raised.
    pub fn on_replayed(&mut self, commit: &StoredCommit) {
        self.replay_files(&commit.state);
        let (mut results, mut has_rows) = (Vec::new(), false);
        for (partition, entry) in &commit.entries {
            let lane = self.lanes.of(&partition.topic);
            let bytes = u64::try_from(entry.batch.as_bytes().len()).unwrap_or(u64::MAX);
            let (end, uptime) = (entry.end(), self.uptime.last());
            let ledger = self.outbox.ledger_mut();
            ledger.on_batch((partition, lane), end, ByteCount::new(bytes), uptime);
            self.sum_up_replayed(partition, entry);
            let found = self.sources.iter().find(|s| *s.decoder.topic() == partition.topic);
            let Some(source) = found else { continue };
            has_rows = true;
            let topic = source.decoder.topic();
            let rows = self.replayed.entry(topic.clone());
            let rows: &mut ReplayedRows = rows.or_insert_with(|| source.decoder.replayed());
            // Every batch in the log was verified; one of another rules file may not decode.
            let records = entry.batch.numbered_records().unwrap_or_default();
            for (delta, record) in &records {
                let captured_at = captured_at(record).unwrap_or(record.time);
                if let Some((row, time)) = rows.row(record, captured_at) {
                    let evidence = entry.base.at(*delta);
                    let trace = record.trace_parent();
                    let origin = Origin { evidence, captured_at, trace, time };
                    let tables = source.decoder.tables();
                    let detected = self.detect.on_row(tables, &row, origin, captured_at);
                    results.extend(detected.into_iter().filter_map(Detected::into_alert));
                }
            }
            if let Some(watermark) = self.detect.watermark(source.decoder.tables()) {
                self.reached.insert(topic.clone(), watermark);
            }
        }
        if has_rows {
            self.results.on_replayed(results);
        }
    }

    /// Where to go on reading a source.
    #[must_use]
    pub fn source_position(&self, index: SourceIndex) -> Option<FilePosition> {
        self.sources.get(index).map(|source| source.position)
    }

    /// Whether the first line of a source's file is to be given to [`Self::on_first_line`] before
    /// reading goes on behind it.
    #[must_use]
    pub fn wants_first_line(&self, index: SourceIndex) -> bool {
        let source = self.sources.get(index);
        source.is_some_and(|source| source.position.lines > 0 && source.decoder.wants_first_line())
    }

    /// Takes the first line of a source's file again, after a restart that goes on behind it.
    pub fn on_first_line(&mut self, index: SourceIndex, line: &Line) {
        if let Some(source) = self.sources.get_mut(index)
            && source.decoder.wants_first_line()
        {
            // What is wrong with it was said when it was read first.
            drop(source.decoder.on_first_line(line, EventTime::default()));
        }
    }

    /// Takes the beginning of a line whose rest is gone; it goes with the next lines' commit.
    pub fn on_cut_line(&mut self, now: Now, index: SourceIndex, line: &Line) {
        let Some(source) = self.sources.get(index) else { return };
        let why = "the file was truncated before the line had its end";
        let dead = source.decoder.dead(line, why, now.wall);
        self.outbox.push_dead(source.decoder.dead_topic(), dead);
    }

    /// Takes lines of a source, up to `position` of its file.
    pub fn on_lines(
        &mut self,
        now: Now,
        index: SourceIndex,
        lines: &[Line],
        position: FilePosition,
    ) {
        self.results.on_lines();
        let uptime = self.uptime.at(now.monotonic);
        let mut spans = Vec::new();
        for line in lines {
            if !self.is_header(now, index, line) {
                self.on_line(now, index, line, &mut spans);
            }
        }
        let Some(source) = self.sources.get_mut(index) else { return };
        source.position = position;
        let watermark = self.detect.watermark(source.decoder.tables());
        let reached = watermark.map(|watermark| (source.decoder.topic().clone(), watermark));
        self.outbox.set_position(&source.path, position);
        self.results.note(&mut self.outbox);
        let lanes = &self.lanes;
        let composed = self.outbox.finish(|topic| lanes.of(topic), uptime, &mut self.random);
        if let Some(composed) = composed {
            self.sum_up(&composed);
            self.snapshot(now, &composed);
            self.on_composed(now);
            let ends = composed.commit.entries.iter();
            let ends = ends.map(|(at, entry)| (at.clone(), entry.end())).collect();
            self.in_flight.push_back(InFlight { ticket: composed.ticket, ends, reached, spans });
            self.outputs.push_back(Output::Commit(composed));
        }
    }

    /// Whether a line only names columns, or tried to.
    fn is_header(&mut self, now: Now, index: SourceIndex, line: &Line) -> bool {
        let source = self.sources.get_mut(index);
        let Some(source) = source.filter(|source| source.decoder.may_be_header(line)) else {
            return false;
        };
        let before = source.decoder.columns();
        let first = source.decoder.on_first_line(line, now.wall);
        if let Some(columns) = source.decoder.columns().filter(|now| before.as_ref() != Some(now)) {
            self.outbox.set_columns(&source.path, &columns);
        }
        match first {
            Ok(FirstLine::Header) => true,
            Ok(FirstLine::Data) => false,
            Err(dead) => {
                self.outbox.push_dead(source.decoder.dead_topic(), *dead);
                true
            }
        }
    }

    fn on_line(&mut self, now: Now, index: SourceIndex, line: &Line, spans: &mut Vec<Span>) {
        let Some(source) = self.sources.get_mut(index) else { return };
        let decoded = match source.decoder.decode(line, now.wall, &mut self.random) {
            Ok(decoded) => decoded,
            Err(dead) => {
                self.outbox.push_dead(source.decoder.dead_topic(), *dead);
                return;
            }
        };
        let is_ahead = decoded.time == TimeMark::Future;
        self.future_records += u64::from(is_ahead);
        if is_ahead && !source.is_ahead {
            let (path, line, time) = (&source.path, line.number, decoded.record.time);
            tracing::warn!(path, line, %time, "event times too far ahead of this clock: no window");
        }
        source.is_ahead = is_ahead;
        let topic = source.decoder.topic().clone();
        let evidence = self.outbox.next_offset(&topic);
        let trace = decoded.record.trace_parent();
        let origin = Origin { evidence, captured_at: now.wall, trace, time: decoded.time };
        let tables = source.decoder.tables();
        let detected = self.detect.on_row(tables, &decoded.row, origin, now.wall);
        if let Some(trace) = trace.filter(|trace| trace.is_sampled()) {
            let span_id = trace.span_id();
            spans.push(self.span("agent.capture", trace, span_id, now));
        }
        self.outbox.push(&topic, decoded.record);
        for detected in detected {
            self.on_detected(now, detected, spans);
        }
    }

    fn on_detected(&mut self, now: Now, detected: Detected, spans: &mut Vec<Span>) {
        match detected {
            Detected::Alert(topic, record) => {
                self.trace_alert(now, &record, spans);
                self.results.push(&mut self.outbox, topic, record);
            }
            // The record itself is in its topic; the rule's own count says what it left out.
            Detected::Late(table) => tracing::debug!(?table, "a window was over for a row"),
        }
    }

    fn trace_alert(&mut self, now: Now, record: &Record, spans: &mut Vec<Span>) {
        if let Some(trace) = record.trace_parent().filter(|trace| trace.is_sampled()) {
            let span_id = self.random.next_u64();
            spans.push(self.span("agent.detect", trace, span_id, now));
        }
    }

    fn span(&self, name: &'static str, trace: TraceParent, span_id: u64, now: Now) -> Span {
        let attributes = vec![("headland.node", self.identity.to_string())];
        Span { trace, span_id, name, start: now.wall, end: now.wall, attributes }
    }
}

/// When an earlier run captured a record.
fn captured_at(record: &Record) -> Option<EventTime> {
    let millis = std::str::from_utf8(record.header(CLOCK_HEADER)?).ok()?;
    millis.parse().ok().map(EventTime::from_millis)
}
