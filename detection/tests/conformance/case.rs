//! What a case is, and how its results are compared.

use std::collections::BTreeMap;

use headland_detection::{Decoder, Engine, Output, Program, RuleResult, TableId};
use headland_event::{EventTime, Offset};

/// What became of a case.
#[derive(Debug)]
pub(crate) struct Verdict {
    pub(crate) name: String,
    /// Why it failed; none when it passed.
    pub(crate) reason: Option<String>,
}

impl Verdict {
    pub(crate) fn new(name: &str, outcome: Result<(), String>) -> Self {
        Self { name: name.to_owned(), reason: outcome.err() }
    }
}

/// Runs a program over lines, each with the tables that see it, and then to the end of time, as a
/// bounded source of Flink does.
pub(crate) fn run(sql: &str, lines: &[(Vec<String>, String)]) -> Result<Vec<RuleResult>, String> {
    let program = Program::compile("case.sql", sql).map_err(|error| error.to_string())?;
    let mut decoders: BTreeMap<String, (TableId, Decoder)> = BTreeMap::new();
    for table in program.tables() {
        let id = program.table_id(table.name()).ok_or("a table without an id")?;
        let decoder = Decoder::new(table, None).map_err(|error| error.to_string())?;
        decoders.insert(table.name().to_string(), (id, decoder));
    }
    let mut engine = Engine::new(program, 1);
    let mut results = Vec::new();
    for (offset, (tables, line)) in (0_u64..).zip(lines) {
        for (table, decoder) in tables.iter().filter_map(|name| decoders.get(name)) {
            let row = decoder.decode(line.as_bytes()).map_err(|e| format!("{line}: {e}"))?;
            engine.on_row(*table, &row, Offset::new(offset), EventTime::from_millis(0));
            drain(&mut engine, &mut results)?;
        }
    }
    for (table, _) in decoders.values() {
        let end = EventTime::from_millis(i64::MAX);
        engine.on_watermark(*table, end, Offset::new(0), EventTime::from_millis(0));
    }
    drain(&mut engine, &mut results)?;
    Ok(results)
}

fn drain(engine: &mut Engine, results: &mut Vec<RuleResult>) -> Result<(), String> {
    while let Some(output) = engine.poll_output() {
        match output {
            Output::Result(result) => results.push(result),
            Output::Late(_) => {}
            other => return Err(format!("{other:?}").chars().take(200).collect()),
        }
    }
    Ok(())
}

/// Compares two collections of rows, whatever their order, and tells the first differences.
pub(crate) fn compare(expected: Vec<String>, found: Vec<String>) -> Result<(), String> {
    let mut counts: BTreeMap<String, i64> = BTreeMap::new();
    let sizes = (expected.len(), found.len());
    for row in expected {
        *counts.entry(row).or_insert(0) += 1;
    }
    for row in found {
        *counts.entry(row).or_insert(0) -= 1;
    }
    let show = |wanted: fn(i64) -> bool| {
        let rows = counts.iter().filter(|(_, count)| wanted(**count)).map(|(row, _)| row.as_str());
        rows.take(3).collect::<Vec<_>>().join(" ; ")
    };
    if counts.values().all(|count| *count == 0) {
        return Ok(());
    }
    let (missing, surplus) = (show(|count| count > 0), show(|count| count < 0));
    Err(format!("{} rows, expected {}; lacks {missing}; has instead {surplus}", sizes.1, sizes.0))
}
