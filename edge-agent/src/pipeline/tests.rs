//! What ends an agent.

use headland_detection::Program;
use headland_event::{HubName, RegionId};
use headland_replication::Identity;
use headland_storage::{DiskStore, LogStore, OpenOptions};

use super::*;
use crate::node::Node;

const CONFIG: &str = r#"
region = "eu"
name = "eu-1"
data_dir = "data"
hub = { address = "127.0.0.1:4433", name = "hub-1" }
tls = { ca_file = "ca.pem", certificate_file = "eu-1.pem", key_file = "eu-1.key" }
rules = { file = "rules.sql" }
api = { socket = "eu-1.sock" }
source = []
"#;

/// Stages on a log of their own; what its thread reports goes nowhere.
fn stages(folder: &std::path::Path) -> Stages {
    let clock = Clock::start();
    let store = DiskStore::open(folder, OpenOptions::new(1)).unwrap();
    let (reader, snapshots) = (store.reader(), store.snapshots());
    let config: Loaded<AgentConfig> =
        headland_platform::config::parse("agent.toml".as_ref(), CONFIG.to_owned()).unwrap();
    let program = Program::compile("rules.sql", "").unwrap();
    let hub =
        Identity::Hub { region: RegionId::new("eu").unwrap(), name: HubName::new("h").unwrap() };
    let log = (&reader, &store);
    let node = Node::new(&config.value, vec![hub], program, store.incarnation(), log, 1).unwrap();
    let writer = CommitWriter::start(store, move || clock.monotonic(), |_| {}).unwrap();
    Stages {
        node,
        clock,
        reader,
        writer,
        uplink: UplinkInUse::default(),
        snapshots,
        traces: None,
        scrubs: mpsc::unbounded_channel().0,
    }
}

#[tokio::test]
async fn an_agent_whose_journal_has_no_thread_any_more_ends() {
    let folder = tempfile::tempdir().unwrap();
    let mut stages = stages(folder.path());
    let (_lines, lines) = mpsc::channel(1);
    let (reports_tx, reports) = mpsc::unbounded_channel();
    let (_links, links) = mpsc::channel(1);
    let (_queries, queries) = mpsc::channel(1);
    let (_scrubbed, scrubbed) = mpsc::unbounded_channel();
    let mut inputs = Inputs { lines, reports, links, queries, scrubbed };

    drop(reports_tx);
    let ended = inputs.next(&mut stages).await;

    assert!(matches!(ended, Err(RunError::JournalGone)));
}
