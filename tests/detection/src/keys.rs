//! What a million keys take: time per event, memory per key, and a snapshot that nobody waits for.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use headland_detection::{Engine, Program};
use serde_json::{Value, json};

use crate::lines::Lines;
use crate::speed::{Bench, TUMBLE_RULE, megabytes, per_million, rounded};
use headland_gauge::{self as gauge, Resident};

const CHUNK: usize = 10_000;
/// Digits of a key: enough for a million.
const DIGITS: usize = 7;
/// What the values of a group take: the key's text, a sum and a count.
const VALUE_BYTES: f64 = 7.0 + 16.0;
const RATIO_BAR: f64 = 2.0;
const OVERHEAD_BAR: f64 = 64.0;
const SNAPSHOT_BAR: Duration = Duration::from_secs(2);
const STOP_BAR: Duration = Duration::from_millis(50);

/// Time per event over 1,000 and over 1,000,000 keys, each key ten times a window.
pub(crate) fn ratio(events: usize) -> Result<Value> {
    let few = run(1_000, events)?;
    let many = run(1_000_000, events)?;
    Ok(json!({
        "is_green": many <= RATIO_BAR * few,
        "cpu_seconds_per_million_1000_keys": rounded(few),
        "cpu_seconds_per_million_1000000_keys": rounded(many),
        "ratio": rounded(many / few),
        "ratio_at_most": RATIO_BAR,
        "events": events,
        "bytes_per_event": 48,
    }))
}

fn run(devices: u64, events: usize) -> Result<f64> {
    let mut bench = Bench::new(TUMBLE_RULE)?;
    let mut lines = Lines::new(devices, DIGITS);
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
    ensure!(bench.results > 0 || events < 100_000, "windows close");
    Ok(per_million(taken, events))
}

/// A snapshot of one window of `keys` keys, in steps between rows that change what it holds.
pub(crate) fn snapshot(keys: usize) -> Result<Value> {
    let before = Resident::of_this()?.now;
    let mut bench = Bench::new(TUMBLE_RULE)?;
    let devices = u64::try_from(keys)?;
    let mut lines = Lines::new(devices, DIGITS);
    let mut left = keys;
    while left > 0 {
        let chunk = left.min(CHUNK);
        left -= chunk;
        lines.make(chunk)?;
        bench.feed(lines.iter())?;
    }
    let state = Resident::of_this()?.now.saturating_sub(before);
    let per_key = megabytes(state) * 1e6 / per_key_count(keys);
    let taken = take(&mut bench, &mut lines, ENGINE)?;
    let by_agent = take(&mut bench, &mut lines, AGENT)?;
    let overhead = per_key - VALUE_BYTES;
    let restored = restore(&taken.bytes)?;
    let is_identical = restored == taken.bytes;
    Ok(json!({
        "is_green": taken.total <= SNAPSHOT_BAR && taken.longest <= STOP_BAR && is_identical
            && by_agent.longest <= STOP_BAR && overhead <= OVERHEAD_BAR,
        "keys": keys,
        "resident_bytes_per_key": rounded(per_key),
        "resident_bytes_per_key_beyond_values": rounded(overhead),
        "resident_bytes_per_key_beyond_values_at_most": OVERHEAD_BAR,
        "snapshot_megabytes": rounded(megabytes(u64::try_from(taken.bytes.len())?)),
        "snapshot_seconds": rounded(taken.total.as_secs_f64()),
        "snapshot_seconds_at_most": SNAPSHOT_BAR.as_secs_f64(),
        "longest_stop_millis": rounded(taken.longest.as_secs_f64() * 1e3),
        "longest_stop_millis_at_most": STOP_BAR.as_secs_f64() * 1e3,
        "longest_turn_of_an_agent_millis": rounded(by_agent.longest.as_secs_f64() * 1e3),
        "rows_fed_meanwhile": taken.rows,
        "restored_is_identical": is_identical,
    }))
}

/// How much of a snapshot is written before other work has its turn.
#[derive(Debug, Clone, Copy)]
struct Turn {
    polls: usize,
    /// Entries asked for at a time.
    entries: usize,
}

/// As an engine that is asked for a whole snapshot writes it.
const ENGINE: Turn = Turn { polls: 1, entries: 4_096 };

/// As an agent does between lines: `PARTS_AT_ONCE` of `node/snapshot.rs` and `ENTRIES_PER_PART` of
/// `detect.rs` there. A poll that sorts counts as one.
const AGENT: Turn = Turn { polls: 3, entries: 1_024 };

struct Taken {
    bytes: Vec<u8>,
    /// All steps together, without the rows between them.
    total: Duration,
    longest: Duration,
    rows: usize,
}

fn take(bench: &mut Bench, lines: &mut Lines, turn: Turn) -> Result<Taken> {
    const ROWS_BETWEEN: usize = 100;
    let mut taken =
        Taken { bytes: Vec::new(), total: Duration::ZERO, longest: Duration::ZERO, rows: 0 };
    let start = gauge::now();
    bench.engine.begin_snapshot();
    taken.longest = gauge::now() - start;
    taken.total = taken.longest;
    loop {
        let start = gauge::now();
        let polls = (0..turn.polls).map_while(|_| bench.engine.poll_snapshot(turn.entries));
        let parts: Vec<_> = polls.collect();
        let step = gauge::now() - start;
        taken.longest = taken.longest.max(step);
        taken.total += step;
        parts.iter().for_each(|part| taken.bytes.extend_from_slice(part));
        if parts.len() < turn.polls {
            return Ok(taken);
        }
        lines.make(ROWS_BETWEEN)?;
        bench.feed(lines.iter())?;
        taken.rows += ROWS_BETWEEN;
    }
}

/// The snapshot of an engine that was restored from one.
fn restore(bytes: &[u8]) -> Result<Vec<u8>> {
    let program: Program = Bench::new(TUMBLE_RULE)?.engine.program().clone();
    let mut engine = Engine::restore(program, 2, bytes.to_vec().into())
        .context("what was written can be read")?;
    Ok(engine.snapshot().to_vec())
}

fn per_key_count(keys: usize) -> f64 {
    u32::try_from(keys.max(1)).map_or_else(|_| f64::from(u32::MAX), f64::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_between_rows_restores_to_the_same_bytes() {
        let report = snapshot(20_000).unwrap();

        assert_eq!(report["restored_is_identical"], true);
        assert!(report["rows_fed_meanwhile"].as_u64().unwrap() > 0);
    }

    #[test]
    fn the_ratio_is_of_the_same_events() {
        let report = ratio(20_000).unwrap();

        assert!(report["ratio"].as_f64().unwrap() > 0.0);
    }
}
