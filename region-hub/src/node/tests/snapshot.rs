//! A hub that restarts from a snapshot is the hub that replays everything.

use super::derivation::{assert_each_pair_once, write_concurrently};
use super::hub::{CONFIG, Hub};

/// Writes of each region: few steps, each of them a commit.
const COUNT: usize = 24;

/// A hub whose next commit makes a snapshot due.
fn due() -> Hub {
    let mut hub = Hub::new();
    hub.settle();
    hub.advance(11_000);
    hub
}

#[test]
fn a_restart_replays_what_follows_the_snapshot_and_ends_at_the_same_state() {
    let mut hub = due();
    write_concurrently(&mut hub, COUNT);
    let (fingerprint, commits) = (hub.node.inventory.reconciler().fingerprint(), hub.commits());

    hub.restart(CONFIG);
    hub.settle();

    assert!(hub.replayed < commits, "{} of {commits} were replayed", hub.replayed);
    assert_eq!(hub.node.inventory.reconciler().fingerprint(), fingerprint);
    assert_eq!(hub.commits(), commits);
    assert_each_pair_once(&hub, COUNT);
}

#[test]
fn clocks_go_on_from_a_snapshot_as_they_do_from_a_replay() {
    let mut hub = due();
    write_concurrently(&mut hub, COUNT);
    let disk = hub.disk().clone();
    hub.restart(CONFIG);
    let restored =
        (hub.node.ingest.hlc(), hub.node.ingest.heads().clone(), hub.node.durable.clone());

    for name in disk.names().iter().filter(|name| name.ends_with(".snapshot")) {
        disk.remove(name);
    }
    hub.restart(CONFIG);

    let replayed =
        (hub.node.ingest.hlc(), hub.node.ingest.heads().clone(), hub.node.durable.clone());
    assert_eq!(hub.replayed, hub.commits());
    assert_eq!((restored.1, restored.2), (replayed.1, replayed.2));
    assert!(restored.0 >= replayed.0, "the clock of the snapshot saw what was not durable yet");
}

#[test]
fn a_crash_after_any_commit_leaves_each_conflict_once_whatever_was_saved() {
    let mut whole = due();
    write_concurrently(&mut whole, COUNT);
    let commits = usize::try_from(whole.commits()).unwrap();

    let mut restored = 0;
    for crash in 1..commits {
        let mut hub = due();
        hub.cut_power_after(crash);
        write_concurrently(&mut hub, COUNT);
        let before = hub.keys("inventory.conflicts");
        hub.restart(CONFIG);
        restored += u64::from(hub.replayed < hub.commits());
        hub.settle();
        if hub.records("us.inventory.events").is_empty() {
            continue;
        }

        assert_each_pair_once(&hub, COUNT);
        let after = hub.keys("inventory.conflicts");
        assert_eq!(after.get(..before.len()), Some(&*before), "crash after commit {crash}");
    }
    assert!(restored > 0, "some of the crashes come after a snapshot");
}

#[test]
fn a_snapshot_of_another_topic_is_not_taken_up() {
    let mut hub = due();
    write_concurrently(&mut hub, 2);

    hub.restart(&format!("{CONFIG}\n[reconcile]\ntopic = \"other.events\"\n"));

    assert_eq!(hub.replayed, hub.commits());
}

#[test]
fn a_snapshot_with_another_threshold_for_restock_alerts_is_taken_up() {
    let mut hub = due();
    write_concurrently(&mut hub, COUNT);
    let (fingerprint, commits) = (hub.node.inventory.reconciler().fingerprint(), hub.commits());

    hub.restart(&format!("{CONFIG}\n[reconcile]\nrestock_below = 7\n"));

    assert!(hub.replayed < commits, "{} of {commits} were replayed", hub.replayed);
    assert_eq!(hub.node.inventory.reconciler().fingerprint(), fingerprint);
}
