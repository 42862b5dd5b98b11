//! Golden cases of Arroyo: queries over files, in its dialect.
//!
//! What stands in WITH names Arroyo's connectors, so it is replaced by ours: a source is the file
//! of its `path`, a sink a topic. `event_time_field` and a WATERMARK without an expression mean
//! Arroyo's default, a second behind the latest event.

use std::collections::BTreeMap;

use headland_detection::{Change, RuleResult, Value};
use serde_json::Value as Json;

use crate::case::{self, Verdict};

const ARCHIVE: &[u8] =
    include_bytes!("../../../tests/fixtures/conformance/arroyo_sql/arroyo_sql.tar.zst");

/// Cases that do not answer as Arroyo does, and why.
pub(crate) const DEVIATIONS: &str =
    include_str!("../../../tests/fixtures/conformance/DEVIATIONS.md");

/// Runs every query of the archive.
pub(crate) fn run() -> Vec<Verdict> {
    let files = unpacked(&zstd::stream::decode_all(ARCHIVE).unwrap());
    let queries = files.iter().filter_map(|(path, sql)| {
        let name = path.strip_prefix("queries/")?.strip_suffix(".sql")?;
        Some((name, sql))
    });
    queries
        .map(|(name, sql)| {
            let golden = files.get(&format!("golden/{name}.json")).cloned().unwrap_or_default();
            Verdict::new(name, outcome(sql, &golden, &files))
        })
        .collect()
}

/// The files of a tar archive in the POSIX format: a header of 512 bytes with name and octal size,
/// then the contents in blocks of 512 bytes.
fn unpacked(archive: &[u8]) -> BTreeMap<String, String> {
    let mut files = BTreeMap::new();
    let mut rest = archive;
    while rest.len() >= 512 && rest[0] != 0 {
        let (header, behind) = rest.split_at(512);
        let text = |bytes: &[u8]| {
            let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
            String::from_utf8_lossy(&bytes[..end]).trim().to_owned()
        };
        let size = usize::from_str_radix(&text(&header[124..136]), 8).unwrap();
        let name = text(&header[..100]);
        let name = name.trim_start_matches("./").to_owned();
        let contents = String::from_utf8_lossy(&behind[..size]).into_owned();
        files.insert(name, contents);
        rest = &behind[size.div_ceil(512) * 512..];
    }
    files
}

fn outcome(sql: &str, golden: &str, files: &BTreeMap<String, String>) -> Result<(), String> {
    let Translated { sql, sources, is_changelog } = translated(sql);
    let mut lines = Vec::new();
    let mut by_file: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for (table, file) in &sources {
        by_file.entry(file).or_default().push(table.clone());
    }
    for (file, tables) in by_file {
        let contents =
            files.get(&format!("inputs/{file}")).ok_or_else(|| format!("no file {file}"))?;
        lines.extend(contents.lines().map(|line| (tables.clone(), line.to_owned())));
    }
    let results = case::run(&sql, &lines)?;
    if is_changelog {
        return case::compare(settled(golden_changes(golden)?), settled(our_changes(&results)));
    }
    let parsed = golden.lines().map(|line| serde_json::from_str(line).map_err(|e| e.to_string()));
    let expected: Vec<Json> = parsed.collect::<Result<_, _>>()?;
    let expected = expected.iter().map(Json::to_string).collect();
    case::compare(expected, results.iter().map(|result| json(result).to_string()).collect())
}

struct Translated {
    sql: String,
    /// Source tables and the files they read.
    sources: Vec<(String, String)>,
    /// Whether the sink takes changes, as Debezium writes them.
    is_changelog: bool,
}

/// The query with our WITH.
fn translated(sql: &str) -> Translated {
    let mut translated =
        Translated { sql: String::new(), sources: Vec::new(), is_changelog: false };
    let lower = sql.to_lowercase();
    let mut at = 0;
    while let Some(found) = lower[at..].find("create table") {
        let start = at + found;
        let columns = start + lower[start..].find('(').unwrap();
        let with = columns + lower[columns..].find("with (").unwrap_or(0);
        let end = with + lower[with..].find(')').unwrap() + 1;
        let name = sql[start + "create table".len()..columns].trim().to_owned();
        let options = &sql[with..end];
        let option = |key: &str| {
            let value = options.split(key).nth(1)?.split('\'').nth(1)?;
            Some(value.to_owned())
        };
        translated.sql.push_str(&sql[at..columns]);
        let mut declared = sql[columns..with].to_owned();
        let lag = "INTERVAL '1' SECOND";
        if let Some(field) = option("event_time_field") {
            let close = declared.rfind(')').unwrap();
            declared.insert_str(close, &format!(", WATERMARK FOR {field} AS {field} - {lag}"));
        }
        let word = declared.to_lowercase().find("watermark for ");
        if let Some(word) = word
            && option("event_time_field").is_none()
        {
            let field = declared[word + "watermark for ".len()..].trim_start();
            let field = field.split([' ', ')', '\n', ',']).next().unwrap().to_owned();
            let rest = declared[word..].find(&field).unwrap() + word + field.len();
            declared.insert_str(rest, &format!(" AS {field} - {lag}"));
        }
        translated.sql.push_str(&declared);
        translated.sql.push_str(&format!("WITH ('topic' = '{name}', 'format' = 'json')"));
        if let Some(path) =
            option("path").and_then(|path| path.split("$input_dir/").nth(1).map(str::to_owned))
        {
            translated.sources.push((name, path));
        } else if option("format").is_some_and(|format| format == "debezium_json") {
            translated.is_changelog = true;
        }
        at = end;
    }
    translated.sql.push_str(&sql[at..]);
    translated
}

fn json(result: &RuleResult) -> Json {
    let fields = result.columns.iter().map(|(name, value)| {
        let value = match value {
            Value::Null => Json::Null,
            Value::Boolean(truth) => Json::from(*truth),
            Value::Integer(number) => Json::from(*number),
            Value::Double(number) => Json::from(*number),
            Value::Timestamp(_) => Json::from(value.to_string().trim_end_matches('Z')),
            other => Json::from(other.to_string()),
        };
        (name.to_string(), value)
    });
    Json::Object(fields.collect())
}

/// Rows with 1 for what is added and -1 for what is taken back.
type Changes = Vec<(String, i64)>;

fn golden_changes(golden: &str) -> Result<Changes, String> {
    let mut changes = Vec::new();
    for line in golden.lines().filter(|line| !line.is_empty()) {
        let change: Json = serde_json::from_str(line).map_err(|error| error.to_string())?;
        for (side, sign) in [("before", -1), ("after", 1)] {
            if !change[side].is_null() {
                changes.push((change[side].to_string(), sign));
            }
        }
    }
    Ok(changes)
}

fn our_changes(results: &[RuleResult]) -> Changes {
    let sign = |change: Change| match change {
        Change::Insert | Change::UpdateAfter => 1,
        Change::UpdateBefore | Change::Delete => -1,
    };
    results.iter().map(|result| (json(result).to_string(), sign(result.change))).collect()
}

/// The rows that stand at the end.
fn settled(changes: Changes) -> Vec<String> {
    let mut counts: BTreeMap<String, i64> = BTreeMap::new();
    for (row, sign) in changes {
        *counts.entry(row).or_insert(0) += sign;
    }
    let repeated = counts.into_iter().flat_map(|(row, count)| {
        std::iter::repeat_n(row, usize::try_from(count).unwrap_or_default())
    });
    repeated.collect()
}
