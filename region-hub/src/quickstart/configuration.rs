//! Configuration files and certificates of all nodes of a run.

use std::net::SocketAddr;

use headland_event::RegionId;
use headland_platform::tls::{Authority, Role, SpiffeId};

use super::directory::RunDirectory;
use super::error::QuickstartError;
use super::excerpt::{RULES, air_header};
use super::fleet::{Fleet, Site};
use super::network::Network;
use super::opening::RESTOCK_BELOW;
use super::plan::Stream;

/// The trust domain of a run's certificates.
const FLEET: &str = "quickstart";

/// The name of the one hub of each region.
const HUB: &str = "hub-1";

/// Topics of each hub, with lane; all have eight partitions.
const TOPICS: [(&str, &str); 3] =
    [("inventory.events", "state"), ("air.readings", "telemetry"), ("alerts", "alerts")];

/// The table of an agent's inventory events.
const INVENTORY_TABLE: &str = "inventory_events";

/// The table of an agent's air readings.
const AIR_TABLE: &str = "air_readings";

/// Partitions of each topic of a hub.
pub(super) const PARTITIONS: u32 = 8;

/// Writes rules, certificates of a fresh authority, and one configuration file for each node.
///
/// # Errors
/// [`QuickstartError`] when a certificate cannot be made or a file not be written.
pub(super) fn write(
    fleet: &Fleet,
    network: &Network,
    directory: &RunDirectory,
) -> Result<(), QuickstartError> {
    let authority = Authority::new(FLEET)?;
    directory.write("pki/ca.pem", authority.certificate_pem())?;
    directory.write("rules.sql", RULES)?;
    for region in fleet.regions() {
        let name = format!("hub-{region}");
        issue(&authority, directory, region, Role::Hub(HUB.to_owned()), &name)?;
        let listen = network.hub(region).ok_or(QuickstartError::NoRegion)?;
        let config = hub_config(&fleet.sites_of(region), region, listen, &network.peers(region));
        directory.write(&format!("{name}.toml"), &config)?;
    }
    for site in fleet.sites() {
        let role = Role::Agent(site.name.to_string());
        issue(&authority, directory, &site.region, role, site.name.as_str())?;
        let hub = network.hub(&site.region).ok_or(QuickstartError::NoRegion)?;
        directory.write(&format!("{}.toml", site.name), &agent_config(site, hub))?;
        let header = format!("{}\n", air_header());
        directory.write(&RunDirectory::input_name(&site.name, Stream::Inventory), "")?;
        directory.write(&RunDirectory::input_name(&site.name, Stream::Air), &header)?;
    }
    Ok(())
}

fn issue(
    authority: &Authority,
    directory: &RunDirectory,
    region: &RegionId,
    role: Role,
    file: &str,
) -> Result<(), QuickstartError> {
    let id = SpiffeId { fleet: FLEET.to_owned(), region: region.clone(), role };
    let issued = authority.issue(&id)?;
    directory.write(&format!("pki/{file}.pem"), &issued.certificate_pem)?;
    directory.write(&format!("pki/{file}.key"), &issued.key_pem)
}

fn hub_config(
    sites: &[&Site],
    region: &RegionId,
    listen: SocketAddr,
    peers: &[(&RegionId, Option<SocketAddr>)],
) -> String {
    debug_assert!(peers.iter().all(|(peer, _)| *peer != region), "no hub is its own peer");
    let tls = tls_config(&format!("hub-{region}"));
    let mut config = format!(
        r#"region = "{region}"
name = "{HUB}"
data_dir = "hubs/{region}"

[listen]
address = "{listen}"

{tls}
[api]
socket = "hubs/{region}.sock"

[reconcile]
restock_below = {RESTOCK_BELOW}
"#
    );
    for (topic, lane) in TOPICS {
        config += &format!(
            "\n[[topic]]\nname = \"{topic}\"\nlane = \"{lane}\"\npartitions = {PARTITIONS}\n"
        );
    }
    for (peer, address) in peers {
        config += &format!("\n[[peer]]\nregion = \"{peer}\"\nname = \"{HUB}\"\n");
        if let Some(address) = address {
            config += &format!("address = \"{address}\"\n");
        }
    }
    for site in sites {
        let stations = site.stations.iter().map(|station| format!(", \"{station}\""));
        let devices: String =
            std::iter::once(format!("\"{}-\"", site.name)).chain(stations).collect();
        let topics = TOPICS.map(|(topic, _)| format!("\"{topic}\"")).join(", ");
        config += &format!(
            "\n[[agent]]\nname = \"{}\"\ntopics = [{topics}]\ndevices = [{devices}]\n",
            site.name
        );
    }
    config
}

fn agent_config(site: &Site, hub: SocketAddr) -> String {
    let Site { region, name, stations: _ } = site;
    let tls = tls_config(name.as_str());
    let source = |table, lane, stream| {
        let path = RunDirectory::input_name(name, stream);
        format!("[[source]]\ntable = \"{table}\"\npath = \"{path}\"\nlane = \"{lane}\"\n")
    };
    let inventory = source(INVENTORY_TABLE, "state", Stream::Inventory);
    let air = source(AIR_TABLE, "telemetry", Stream::Air);
    format!(
        r#"region = "{region}"
name = "{name}"
data_dir = "agents/{name}"

[hub]
address = "{hub}"
name = "{HUB}"

{tls}
[rules]
file = "rules.sql"

{inventory}
{air}
[api]
socket = "agents/{name}.sock"
"#
    )
}

fn tls_config(file: &str) -> String {
    format!(
        "[tls]\nca_file = \"pki/ca.pem\"\ncertificate_file = \"pki/{file}.pem\"\n\
         key_file = \"pki/{file}.key\"\n"
    )
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::config::DevicePattern;

    fn fleet() -> Fleet {
        Fleet::new("3".parse().unwrap(), &["Dongsi", "Tiantan", "Wanliu", "Gucheng"]).unwrap()
    }

    #[test]
    fn a_hub_reads_its_configuration_as_it_was_meant() {
        let folder = tempfile::tempdir().unwrap();
        let (path, fleet) = (folder.path().join("hub-eu.toml"), fleet());
        let [eu, us, ap] = fleet.regions() else { panic!("three regions") };
        let listen: SocketAddr = "127.0.0.1:4433".parse().unwrap();
        let peers = [(ap, None), (us, Some("127.0.0.1:4444".parse().unwrap()))];
        fs::write(&path, hub_config(&fleet.sites_of(eu), eu, listen, &peers)).unwrap();

        let config = crate::config::load(&path).unwrap().value;

        assert_eq!((config.region.as_str(), config.listen.address), ("eu", listen));
        assert_eq!(config.reconcile.restock_below, RESTOCK_BELOW);
        let topics: Vec<&str> = config.topics.iter().map(|topic| topic.name.as_str()).collect();
        assert_eq!(topics, ["inventory.events", "air.readings", "alerts"]);
        let dialled: Vec<bool> = config.peers.iter().map(|peer| peer.address.is_some()).collect();
        assert_eq!(dialled, [false, true]);
        let devices: Vec<&[DevicePattern]> =
            config.agents.iter().map(|agent| agent.devices.as_slice()).collect();
        let pattern = |text: &str| DevicePattern::new(text).unwrap();
        assert_eq!(devices, [["eu-1-", "Dongsi"].map(pattern), ["eu-2-", "Gucheng"].map(pattern)]);
    }

    #[test]
    fn an_agent_reads_inventory_as_state_and_air_as_telemetry() {
        let fleet = fleet();
        let config = agent_config(&fleet.sites()[2], "127.0.0.1:4433".parse().unwrap());

        let sources: Vec<&str> = config.split("[[source]]").skip(1).collect();
        assert!(sources[0].contains("inputs/eu-1.inventory.jsonl\"\nlane = \"state\""));
        assert!(sources[1].contains("inputs/eu-1.air.csv\"\nlane = \"telemetry\""));
        assert!(config.contains("[hub]\naddress = \"127.0.0.1:4433\"\nname = \"hub-1\""));
    }
}
