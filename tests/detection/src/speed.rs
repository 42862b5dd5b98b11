//! Processor time per event of one rule: lines of 44 bytes in, rows out, on one core.

use std::time::Duration;

use anyhow::{Context, Result};
use headland_detection::{Decoder, Engine, Output, Program, TableId};
use headland_event::{EventTime, Offset};
use serde_json::{Value, json};

use crate::lines::Lines;
use headland_gauge::{self as gauge, Resident};

/// Lines made at a time: few enough to stay small, enough for the clock to cost nothing.
const CHUNK: usize = 10_000;
const ROUNDS: usize = 5;
const DEVICES: u64 = 100;

/// A rule and what is promised of it.
#[derive(Debug)]
pub(crate) struct Case {
    rule: &'static str,
    /// Processor seconds per million events.
    seconds_bar: f64,
    /// Resident memory, in MB; none is promised for some.
    megabytes_bar: Option<f64>,
}

pub(crate) const FILTER: Case = Case {
    rule: "CREATE TABLE r (d STRING, v DOUBLE) WITH ('topic' = 'r');
        INSERT INTO r SELECT d, v FROM readings WHERE v > 7;",
    seconds_bar: 0.8,
    megabytes_bar: None,
};

/// The average per 10 s and device.
pub(crate) const TUMBLE_RULE: &str =
    "CREATE TABLE r (d STRING, e TIMESTAMP(3), a DOUBLE) WITH ('topic' = 'r');
        INSERT INTO r SELECT d, window_end, AVG(v)
        FROM TABLE(TUMBLE(TABLE readings, DESCRIPTOR(t), INTERVAL '10' SECOND))
        GROUP BY d, window_start, window_end HAVING AVG(v) > 5;";

pub(crate) const TUMBLE: Case = Case { rule: TUMBLE_RULE, seconds_bar: 1.4, megabytes_bar: None };

pub(crate) const HOP: Case = Case {
    rule: "CREATE TABLE r (d STRING, e TIMESTAMP(3), a DOUBLE) WITH ('topic' = 'r');
        INSERT INTO r SELECT d, window_end, AVG(v)
        FROM TABLE(HOP(TABLE readings, DESCRIPTOR(t), INTERVAL '1' MINUTE, INTERVAL '5' MINUTE))
        GROUP BY d, window_start, window_end;",
    seconds_bar: 1.7,
    megabytes_bar: Some(15.0),
};

const TABLE: &str = "CREATE TABLE readings (d STRING, v DOUBLE, t TIMESTAMP(3),
    WATERMARK FOR t AS t - INTERVAL '1' SECOND) WITH ('topic' = 'readings', 'format' = 'json');";

/// A decoder and an engine with one rule over the readings.
#[derive(Debug)]
pub(crate) struct Bench {
    table: TableId,
    decoder: Decoder,
    pub(crate) engine: Engine,
    offset: u64,
    pub(crate) results: u64,
}

impl Bench {
    pub(crate) fn new(rule: &str) -> Result<Self> {
        let program = Program::compile("speed.sql", &format!("{TABLE}{rule}"))?;
        let table = program.table_id("readings").context("the table is declared")?;
        let decoder = Decoder::new(program.table(table), None)?;
        Ok(Self { table, decoder, engine: Engine::new(program, 1), offset: 0, results: 0 })
    }

    /// Decodes lines, runs the rule over them and takes its rows.
    pub(crate) fn feed<'a>(&mut self, lines: impl Iterator<Item = &'a [u8]>) -> Result<()> {
        for line in lines {
            let row = self.decoder.decode(line)?;
            self.engine.on_row(self.table, &row, Offset::new(self.offset), EventTime::MIN);
            self.offset += 1;
            while let Some(output) = self.engine.poll_output() {
                self.results += u64::from(matches!(output, Output::Result(_)));
            }
        }
        Ok(())
    }
}

/// Runs a case for five rounds of `events` events, in one go; the median of the rounds counts.
pub(crate) fn measure(case: &Case, events: usize) -> Result<Value> {
    let mut bench = Bench::new(case.rule)?;
    let mut lines = Lines::new(DEVICES, 3);
    let mut rounds = Vec::new();
    for _ in 0..ROUNDS {
        let mut taken = Duration::ZERO;
        let mut left = events;
        while left > 0 {
            let chunk = left.min(CHUNK);
            left -= chunk;
            lines.make(chunk)?;
            let start = gauge::cpu();
            bench.feed(lines.iter())?;
            taken += gauge::cpu() - start;
        }
        rounds.push(per_million(taken, events));
    }
    rounds.sort_by(f64::total_cmp);
    let median = rounds.get(ROUNDS / 2).copied().context("there are rounds")?;
    let megabytes = megabytes(Resident::of_this()?.peak);
    let is_small = case.megabytes_bar.is_none_or(|bar| megabytes <= bar);
    Ok(json!({
        "is_green": median <= case.seconds_bar && is_small,
        "cpu_seconds_per_million_median": rounded(median),
        "cpu_seconds_per_million_rounds": rounds.iter().map(|r| rounded(*r)).collect::<Vec<_>>(),
        "cpu_seconds_per_million_at_most": case.seconds_bar,
        "resident_megabytes_peak": rounded(megabytes),
        "resident_megabytes_at_most": case.megabytes_bar,
        "events_per_round": events,
        "bytes_per_event": 44,
        "results": bench.results,
    }))
}

/// Makes the lines of a measurement and does nothing with them.
pub(crate) fn make_lines(events: usize) -> Result<Value> {
    let mut lines = Lines::new(DEVICES, 3);
    for _ in 0..ROUNDS {
        let mut left = events;
        while left > 0 {
            let chunk = left.min(CHUNK);
            left -= chunk;
            lines.make(chunk)?;
        }
    }
    Ok(json!({ "is_green": true, "events_per_round": events }))
}

/// Processor seconds per million events.
pub(crate) fn per_million(taken: Duration, events: usize) -> f64 {
    let events = u32::try_from(events.max(1)).map_or_else(|_| f64::from(u32::MAX), f64::from);
    taken.as_secs_f64() * 1e6 / events
}

/// Bytes as MB.
pub(crate) fn megabytes(bytes: u64) -> f64 {
    u32::try_from(bytes / 1_000).map_or_else(|_| f64::from(u32::MAX), f64::from) / 1e3
}

/// Three digits behind the point.
pub(crate) fn rounded(value: f64) -> f64 {
    (value * 1e3).round() / 1e3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_case_runs_and_gives_results() {
        for case in [&FILTER, &TUMBLE, &HOP] {
            let report = measure(case, 10_000).unwrap();

            assert!(report["results"].as_u64().unwrap() > 0, "{report}");
        }
    }
}
