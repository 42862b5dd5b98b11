//! An agent's files in a folder of their own.

use std::fs;
use std::path::Path;

use headland_platform::tls::Authority;

use super::*;
use crate::config::load;

const RULES: &str = "
CREATE TABLE air (station STRING, `time` TIMESTAMP(3), pm25 DOUBLE)
  WITH ('topic' = 'air.readings', 'format' = 'csv', 'key' = 'station');
CREATE TABLE high (station STRING) WITH ('topic' = 'alerts', 'severity' = 'warning');
INSERT INTO high SELECT station FROM air WHERE pm25 > 100;
";

const CONFIG: &str = r#"region = "eu"
name = "eu-1"
data_dir = "data"
hub = { address = "hub.eu.example:4433", name = "hub-1" }
tls = { ca_file = "ca.pem", certificate_file = "eu-1.pem", key_file = "eu-1.key" }
rules = { file = "rules.sql" }
api = { socket = "eu-1.sock" }
[[source]]
table = "air"
path = "air.csv"
lane = "state"
"#;

fn prepared(folder: &Path) -> Loaded<AgentConfig> {
    let authority = Authority::new("shop").unwrap();
    let issued = authority.issue(&"spiffe://shop/region/eu/agent/eu-1".parse().unwrap()).unwrap();
    for (name, text) in [
        ("ca.pem", authority.certificate_pem()),
        ("eu-1.pem", &issued.certificate_pem),
        ("eu-1.key", &issued.key_pem),
        ("rules.sql", RULES),
        ("agent.toml", CONFIG),
    ] {
        fs::write(folder.join(name), text).unwrap();
    }
    load(&folder.join("agent.toml")).unwrap()
}

fn now() -> EventTime {
    headland_platform::clock::Clock::start().wall()
}

#[test]
fn a_configuration_that_fits_is_said_line_by_line() {
    let folder = tempfile::tempdir().unwrap();
    let config = prepared(folder.path());

    let lines = check(&config, now()).unwrap();

    let at = folder.path().display().to_string();
    let lines: Vec<String> = lines.iter().map(|line| line.replace(&at, "")).collect();
    assert_eq!(
        lines.get(..8).unwrap(),
        [
            "agent eu-1 of region eu",
            "hub hub-1: dialled at hub.eu.example:4433",
            "data_dir /data: will be made",
            "api socket /eu-1.sock",
            "rules /rules.sql: tables to read 1, rules 1",
            "table air: topic air.readings, csv, 3 columns",
            "rule high: reads air, writes to alerts",
            "source /air.csv: table air, lane state, is awaited",
        ]
    );
    let expires = "certificate /eu-1.pem: of spiffe://shop/region/eu/agent/eu-1, expires ";
    assert!(lines[8].starts_with(expires), "{lines:?}");
    assert_eq!(lines[9], "key /eu-1.key: fits the certificate");
    assert!(lines[10].starts_with("authority /ca.pem: of "), "{lines:?}");
    assert_eq!(lines.len(), 11);
}

#[test]
fn rules_that_are_not_there_are_pointed_at() {
    let folder = tempfile::tempdir().unwrap();
    let config = prepared(folder.path());
    fs::remove_file(folder.path().join("rules.sql")).unwrap();

    let error = check(&config, now()).unwrap_err().to_string();

    let at = folder.path().display().to_string();
    assert_eq!(
        error.replace(&at, ""),
        "/agent.toml:6:18: cannot read rules /rules.sql: No such file or directory (os error 2)"
    );
}

#[test]
fn tables_that_differ_on_a_topic_are_pointed_at_in_the_rules() {
    let folder = tempfile::tempdir().unwrap();
    let config = prepared(folder.path());
    let other = "CREATE TABLE other (sku STRING) WITH ('topic' = 'air.readings');";
    fs::write(folder.path().join("rules.sql"), format!("{RULES}{other}")).unwrap();

    let error = check(&config, now()).unwrap_err().to_string();

    let at = folder.path().display().to_string();
    let error = error.replace(&at, "");
    assert!(error.starts_with("/rules.sql:6:14: topic \"air.readings\" is that of "), "{error}");
}

#[test]
fn a_certificate_outside_its_time_is_refused_with_that_time() {
    let folder = tempfile::tempdir().unwrap();
    let config = prepared(folder.path());

    let errors = [EventTime::from_millis(0), EventTime::from_millis(i64::MAX)]
        .map(|at| check(&config, at).unwrap_err().to_string());

    assert!(errors[0].contains(": it holds from "), "{}", errors[0]);
    assert!(errors[1].contains(": it expired at "), "{}", errors[1]);
}
