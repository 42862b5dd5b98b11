//! What can be checked of a configuration without starting, said line by line.

use headland_detection::Program;
use headland_event::{Codec, EventTime};
use headland_platform::config::Loaded;
use headland_platform::tls::certificate_line;

use super::start::{RunError, identity, rules};
use crate::config::{Ack, AgentConfig, HubConfig, PeerConfig, RetentionConfig, TopicConfig};

/// Checks a configuration with its certificate files; returns what was found, a line per thing.
///
/// Nothing is bound, dialled or written.
///
/// # Errors
/// [`RunError`] for the first thing that does not fit.
pub fn check(config: &Loaded<HubConfig>, now: EventTime) -> Result<Vec<String>, RunError> {
    let hub = &config.value;
    let identity = identity(hub)?;
    let there = if hub.data_dir.is_dir() { "exists" } else { "will be made" };
    let mut lines = vec![
        format!("hub {} of region {}", hub.name, hub.region),
        format!("listen {} (QUIC over UDP)", hub.listen.address),
        format!("data_dir {}: {there}", hub.data_dir.display()),
        format!("api socket {}", hub.api.socket.display()),
    ];
    lines.extend(hub.topics.iter().map(topic_line));
    lines.extend(hub.peers.iter().map(peer_line));
    lines.extend(hub.agents.iter().map(agent_line));
    let rules = rules(config)?;
    lines.extend(rules.iter().map(rules_line));
    lines.extend(rules.iter().flat_map(file_lines));
    lines.extend(hub.telemetry.iter().map(|telemetry| {
        format!("traces to {}, {} of the sampled", telemetry.otlp_endpoint, telemetry.trace_ratio)
    }));
    let tls = &hub.tls;
    lines.push(certificate_line("certificate", &tls.certificate_file, Some(identity.id()), now)?);
    lines.push(format!("key {}: fits the certificate", tls.key_file.display()));
    lines.push(certificate_line("authority", &tls.ca_file, None, now)?);
    lines.extend(tls.crl_file.iter().map(|list| format!("revocations {}", list.display())));
    Ok(lines)
}

fn rules_line(program: &Program) -> String {
    let names: Vec<&str> = program.rules().iter().map(|rule| &**rule.name()).collect();
    format!("rules over regions: {}", names.join(", "))
}

/// What hubs have to have alike, to be compared.
fn file_lines(program: &Program) -> impl Iterator<Item = String> {
    program.file_tables().filter_map(|(id, _, file)| {
        let (path, rows) = (file.path.display(), program.file_rows(id)?);
        Some(format!("file {path}: {} rows, SHA-256 {}", rows.rows().len(), rows.digest()))
    })
}

fn topic_line(topic: &TopicConfig) -> String {
    let TopicConfig { name, lane, partitions, retention, codec, ack, .. } = topic;
    let RetentionConfig { time, bytes } = retention;
    let time = time.map(|time| format!(", kept for {time}")).unwrap_or_default();
    let bytes = bytes.map(|bytes| format!(", {} of each kept", bytes.get())).unwrap_or_default();
    let compacted = if topic.compaction().is_some() { ", compacted by key" } else { "" };
    let codec = match codec {
        Codec::None => String::new(),
        codec => format!(", dead letters by {codec}"),
    };
    let ack = match ack {
        Ack::Local => String::new(),
        Ack::Regions(regions) => format!(", acknowledged in {regions} regions"),
    };
    let kept = format!("{time}{bytes}{compacted}{codec}{ack}");
    format!("topic {name}: lane {lane}, {partitions} partitions{kept}")
}

fn peer_line(peer: &PeerConfig) -> String {
    let PeerConfig { region, name, address, .. } = peer;
    match address {
        Some(address) => {
            format!("peer {name} of region {region}: dialled at {}", address.get_ref())
        }
        None => format!("peer {name} of region {region}: awaited"),
    }
}

fn agent_line(agent: &AgentConfig) -> String {
    let AgentConfig { name, region, topics, exclude, devices } = agent;
    let of = region.as_ref().map(|region| format!(" of region {region}")).unwrap_or_default();
    let list = |of: Vec<String>| of.join(", ");
    let topics = list(topics.iter().map(ToString::to_string).collect());
    let exclude = list(exclude.iter().map(ToString::to_string).collect());
    let but = if exclude.is_empty() { exclude } else { format!(" without {exclude}") };
    let devices = list(devices.iter().map(ToString::to_string).collect());
    format!("agent {name}{of}: topics {topics}{but}; devices {devices}")
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;
    use crate::config::load;
    use crate::pki::{self, Made, Node, Place};

    /// A hub's configuration with certificates of their own, in `folder`.
    fn prepare(folder: &Path) -> Loaded<HubConfig> {
        let place = || Place { fleet: "shop".to_owned(), dir: folder.to_owned() };
        let region = headland_event::RegionId::new("eu").unwrap();
        pki::init(&place()).unwrap();
        let files = pki::hub(&Node { place: place(), region, name: "hub-1".to_owned() });
        let Made { certificate, key, facts: _ } = files.unwrap();
        let text = format!(
            r#"region = "eu"
name = "hub-1"
data_dir = "data"
listen = {{ address = "127.0.0.1:4433" }}
tls = {{ ca_file = "ca.pem", certificate_file = {certificate:?}, key_file = {key:?} }}
api = {{ socket = "hub.sock" }}
[[topic]]
name = "inventory.events"
lane = "state"
[[peer]]
region = "us"
name = "hub-1"
address = "us.example:4433"
[[agent]]
name = "till-1"
topics = ["inventory.events"]
devices = ["till-1", "scale-"]
"#
        );
        let path = folder.join("hub.toml");
        fs::write(&path, text).unwrap();
        load(&path).unwrap()
    }

    fn now() -> EventTime {
        headland_platform::clock::Clock::start().wall()
    }

    #[test]
    fn a_configuration_that_fits_is_said_line_by_line() {
        let folder = tempfile::tempdir().unwrap();
        let config = prepare(folder.path());

        let lines = check(&config, now()).unwrap();

        let at = folder.path().display().to_string();
        let lines: Vec<String> = lines.iter().map(|line| line.replace(&at, "")).collect();
        assert_eq!(
            lines.get(..7).unwrap(),
            [
                "hub hub-1 of region eu",
                "listen 127.0.0.1:4433 (QUIC over UDP)",
                "data_dir /data: will be made",
                "api socket /hub.sock",
                "topic inventory.events: lane state, 8 partitions",
                "peer hub-1 of region us: dialled at us.example:4433",
                "agent till-1: topics inventory.events; devices till-1, scale-*",
            ]
        );
        assert!(lines[7].contains(": of spiffe://shop/region/eu/hub/hub-1, expires "), "{lines:?}");
        assert!(lines[8].ends_with(": fits the certificate"), "{lines:?}");
        assert!(lines[9].starts_with("authority /ca.pem: of "), "{lines:?}");
        assert_eq!(lines.len(), 10);
    }

    #[test]
    fn a_certificate_outside_its_time_is_refused_with_that_time() {
        let folder = tempfile::tempdir().unwrap();
        let config = prepare(folder.path());

        let errors = [EventTime::from_millis(0), EventTime::from_millis(i64::MAX)]
            .map(|at| check(&config, at).unwrap_err().to_string());

        assert!(errors[0].contains(": it holds from "), "{}", errors[0]);
        assert!(errors[1].contains(": it expired at "), "{}", errors[1]);
    }
}
