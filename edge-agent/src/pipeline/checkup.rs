//! What can be checked of a configuration without starting, said line by line.

use headland_detection::rule_files::{TableFile, read_files};
use headland_detection::{Program, Rule, Table};
use headland_event::{Codec, EventTime};
use headland_platform::config::Loaded;
use headland_platform::files::SettledFile;
use headland_platform::tls::certificate_line;

use super::start::{Prepared, RunError, prepare};
use crate::config::{AgentConfig, HubConfig, SourceConfig};

/// Checks a configuration with its rules and certificate files; returns what was found, a line per
/// thing.
///
/// Nothing is bound, dialled or written.
///
/// # Errors
/// [`RunError`] for the first thing that does not fit.
pub fn check(config: &Loaded<AgentConfig>, now: EventTime) -> Result<Vec<String>, RunError> {
    let Prepared { program, identity, hubs: _ } = prepare(config)?;
    let agent = &config.value;
    let there = if agent.data_dir.is_dir() { "exists" } else { "will be made" };
    let rules = agent.rules.file.get_ref().display();
    let (tables, count) = (program.tables().len(), program.rules().len());
    let mut lines = vec![
        format!("agent {} of region {}", agent.name, agent.region),
        format!("data_dir {}: {there}", agent.data_dir.display()),
        format!("api socket {}", agent.api.socket.display()),
        format!("rules {rules}: tables to read {tables}, rules {count}"),
    ];
    lines.splice(1..1, agent.hubs.iter().map(|hub| hub_line(agent, hub)));
    lines.extend(program.tables().iter().map(table_line));
    for file in read_files(&program, agent.rules.file.get_ref(), SettledFile::open) {
        lines.push(file_line(file)?);
    }
    lines.extend(program.rules().iter().map(|rule| rule_line(&program, rule)));
    lines.extend(agent.sources.iter().map(source_line));
    lines.extend(agent.telemetry.iter().map(|telemetry| {
        format!("traces to {}, {} of all", telemetry.otlp_endpoint, telemetry.trace_ratio)
    }));
    let tls = &agent.tls;
    lines.push(certificate_line("certificate", &tls.certificate_file, Some(identity.id()), now)?);
    lines.push(format!("key {}: fits the certificate", tls.key_file.display()));
    lines.push(certificate_line("authority", &tls.ca_file, None, now)?);
    lines.extend(tls.crl_file.iter().map(|list| format!("revocations {}", list.display())));
    Ok(lines)
}

fn hub_line(agent: &AgentConfig, hub: &HubConfig) -> String {
    let HubConfig { address, name, region } = hub;
    let region = region.as_ref().filter(|region| **region != agent.region);
    let of = region.map(|region| format!(" of region {region}")).unwrap_or_default();
    format!("hub {name}{of}: dialled at {}", address.get_ref())
}

fn table_line(table: &Table) -> String {
    let columns = table.schema().columns().len();
    let format = table.format();
    let place = match (table.topic(), table.file()) {
        (Some(topic), _) => format!("topic {topic}"),
        (None, Some(file)) => format!("file {}", file.path.display()),
        (None, None) => "a store".to_owned(),
    };
    format!("table {}: {place}, {format}, {columns} columns", table.name())
}

fn file_line(file: TableFile<'_>) -> Result<String, RunError> {
    let TableFile { id: _, table: _, path, found } = file;
    let (rows, _) = found?;
    Ok(format!("file {}: {} rows, SHA-256 {}", path.display(), rows.rows().len(), rows.digest()))
}

fn rule_line(program: &Program, rule: &Rule) -> String {
    let sources: Vec<&str> =
        rule.sources().iter().map(|table| &**program.table(*table).name()).collect();
    format!("rule {}: reads {}, writes to {}", rule.name(), sources.join(", "), rule.topic())
}

fn source_line(source: &SourceConfig) -> String {
    let SourceConfig { table, path, lane, codec, schema: _ } = source;
    let path = &path.get_ref().resolved;
    let there = if path.exists() { "exists" } else { "is awaited" };
    let codec = match codec {
        Codec::None => String::new(),
        codec => format!(", by {codec}"),
    };
    format!("source {}: table {}, lane {lane}{codec}, {there}", path.display(), table.get_ref())
}

#[cfg(test)]
mod tests;
