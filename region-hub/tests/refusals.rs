//! What a hub tells those whose certificate it does not admit.
#![expect(clippy::unwrap_used, reason = "a test's helpers are a test")]

use std::path::Path;

use headland_event::{Incarnation, Now};
use headland_platform::config;
use headland_replication::{CloseReason, Dialled, RefusalCode};
use headland_storage::{LogStore, MemoryDisk, MemoryStore, OpenOptions};
use region_hub::config::HubConfig;
use region_hub::peer_link::LinkId;
use region_hub::{Node, Output};

const CONFIG: &str = r#"
region = "eu"
name = "hub-1"
data_dir = "none"
listen = { address = "127.0.0.1:1" }
tls = { ca_file = "none", certificate_file = "none", key_file = "none" }
api = { socket = "none" }
"#;

/// The reason with which a hub of region `eu` in fleet `shop` closes a connection of `id`.
fn told(id: &str) -> String {
    let config = config::parse::<HubConfig>(Path::new("hub.toml"), CONFIG.to_owned());
    let store = MemoryStore::open(&MemoryDisk::new(1), OpenOptions::new(1)).unwrap();
    let (log, own) = ((&store.reader(), &store), "spiffe://shop/region/eu/hub/hub-1");
    let (life, now) = (Incarnation::new(1, 1), Now::default());
    let mut node =
        Node::new(&config.unwrap().value, &own.parse().unwrap(), life, log, 1, now).unwrap();
    node.on_connected(now, LinkId::new(1), &id.parse().unwrap(), Dialled::There);
    let refused = std::iter::from_fn(|| node.poll_output()).find_map(|output| match output {
        Output::Close { reason: CloseReason::RefusedHere(refusal), .. } => Some(refusal),
        _ => None,
    });
    let refused = refused.unwrap();
    assert_eq!(refused.code(), RefusalCode::NotAuthorised);
    refused.text().to_owned()
}

#[test]
fn an_agent_without_a_grant_is_told_the_line_to_add() {
    assert_eq!(
        told("spiffe://shop/region/eu/agent/till-3"),
        "spiffe://shop/region/eu/agent/till-3 is not configured at this hub of region eu; \
         add [[agent]] name = \"till-3\""
    );
}

#[test]
fn a_hub_that_is_no_peer_is_told_the_lines_to_add() {
    assert_eq!(
        told("spiffe://shop/region/us/hub/hub-9"),
        "spiffe://shop/region/us/hub/hub-9 is not configured at this hub of region eu; \
         add [[peer]] region = \"us\" name = \"hub-9\""
    );
}

#[test]
fn an_agent_of_another_region_is_told_of_its_own_hub_and_of_the_grant_that_admits_it_here() {
    let told = told("spiffe://shop/region/us/agent/till-3");

    assert!(told.contains("add [[agent]] name = \"till-3\" region = \"us\""), "{told}");
    assert!(told.contains("set [hub] of the agent to a hub of region us"), "{told}");
}

#[test]
fn a_certificate_of_another_fleet_is_named_with_both_fleets() {
    let told = told("spiffe://other/region/eu/agent/till-3");

    assert!(told.contains("spiffe://other/region/eu/agent/till-3"), "{told}");
    assert!(told.contains("this hub is of fleet shop"), "{told}");
}
