//! The thread's work on a disk in memory, with a clock that steps at every look.

use std::cell::Cell;
use std::sync::mpsc;

use headland_event::{
    Batch, EventTime, Incarnation, PartitionIndex, Record, SeededRandom, TopicName, TopicPartition,
};

use super::*;
use crate::cleaning::Retention;
use crate::composer::Composer;
use crate::log::LogReader;
use crate::memory::{MemoryDisk, MemoryStore};
use crate::state::MemoryState;
use crate::store::OpenOptions;

/// A clock that is 50 ms later at every look.
fn stepping() -> impl Fn() -> Monotonic {
    let millis = Cell::new(0);
    move || Monotonic::from_millis(millis.replace(millis.get() + 50))
}

fn partition(topic: &str) -> TopicPartition {
    TopicPartition::new(TopicName::new(topic).unwrap(), PartitionIndex::new(0))
}

fn open(disk: &MemoryDisk) -> MemoryStore {
    let (file_bytes, reserve_bytes) = (ByteCount::new(4_000), ByteCount::new(8_000));
    let options = OpenOptions { file_bytes, reserve_bytes, ..OpenOptions::new(1) };
    MemoryStore::open(disk, options).unwrap()
}

/// One commit for each topic, with a record of `bytes` bytes.
fn composed(store: &MemoryStore, topics: &[&str], bytes: usize) -> Vec<Composed> {
    let log = store.reader();
    let incarnation = Incarnation::new(1, 1);
    let mut composer = Composer::new(incarnation, &log, &MemoryState::default()).unwrap();
    composer.add_alerts(partition("eu.alerts").topic);
    let compose = |topic: &&str| {
        let record = Record::new(EventTime::default(), "k", vec![7; bytes]);
        let batch = Batch::encode(&[record]).unwrap();
        composer.born(&partition(topic), None, batch, &mut SeededRandom::new(1));
        composer.take().unwrap()
    };
    topics.iter().map(compose).collect()
}

/// Runs the thread's work here over commits that all wait already.
fn run(store: MemoryStore, commits: Vec<Composed>) -> (Vec<Report>, Option<NotDurable>) {
    let (sender, queue) = mpsc::channel();
    commits.into_iter().for_each(|composed| sender.send(Order::Commit(composed)).unwrap());
    drop(sender);
    let mut reports = Vec::new();
    let (_, lost) = Committer::new(store, |report| reports.push(report)).run(&queue, stepping());
    (reports, lost)
}

fn durable(reports: &[Report]) -> Vec<u64> {
    let number = |report: &Report| match report {
        Report::Durable { number, .. } => Some(number.get()),
        Report::Stalled(_)
        | Report::Resumed
        | Report::Neglected(_)
        | Report::Cleaned(_)
        | Report::Failed(_) => None,
    };
    reports.iter().filter_map(number).collect()
}

#[test]
fn every_commit_is_reported_once_in_order_and_is_in_the_log() {
    let store = open(&MemoryDisk::new(1));
    let reader = store.reader();
    let commits = composed(&store, &["air"; 5], 1);

    let (reports, lost) = run(store, commits);

    assert_eq!((durable(&reports), reports.len(), lost), (vec![1, 2, 3, 4, 5], 5, None));
    assert_eq!(reader.end(&partition("air")).get(), 5);
}

#[test]
fn closing_on_a_full_disk_writes_alerts_and_names_what_it_gave_up() {
    let disk = MemoryDisk::new(1);
    let store = open(&disk);
    let reader = store.reader();
    let commits = composed(&store, &["air", "eu.alerts", "air", "air"], 1_000);
    disk.set_capacity(Some(disk.used()));
    let third = commits[2].ticket;

    let (reports, lost) = run(store, commits);

    assert_eq!(durable(&reports), [1, 2]);
    let lost = lost.unwrap();
    assert_eq!((lost.first, lost.commits, lost.alerts), (Some(third), 2, 0));
    assert!(matches!(lost.cause, NotDurableCause::Full { .. }), "{lost}");
    assert_eq!(reader.end(&partition("eu.alerts")).get(), 1);
    assert_eq!(reader.end(&partition("air")).get(), 1);
}

#[test]
fn an_alert_gets_through_a_full_disk_and_telemetry_goes_on_when_there_is_room() {
    let disk = MemoryDisk::new(1);
    let store = open(&disk);
    let commits = composed(&store, &["air", "eu.alerts", "air"], 1_000);
    disk.set_capacity(Some(disk.used()));
    let (sender, queue) = mpsc::channel();
    commits.into_iter().for_each(|composed| sender.send(Order::Commit(composed)).unwrap());
    let mut sender = Some(sender);
    let mut reports = Vec::new();

    let (_, lost) = Committer::new(store, |report| {
        if matches!(report, Report::Durable { number, .. } if number.get() == 2) {
            disk.set_capacity(None);
        }
        if matches!(report, Report::Resumed) {
            sender = None;
        }
        reports.push(report);
    })
    .run(&queue, stepping());

    assert_eq!(lost, None);
    let [stalled, first, alert, third, resumed] = &*reports else { panic!("{reports:?}") };
    assert!(matches!(stalled, Report::Stalled(AppendError::Full { .. })), "{stalled:?}");
    assert_eq!(durable(&reports), [1, 2, 3], "{first:?} {alert:?} {third:?}");
    assert!(matches!(resumed, Report::Resumed), "{resumed:?}");
}

#[test]
fn an_idle_writer_seals_once_and_writes_nothing_more() {
    let disk = MemoryDisk::new(1);
    let store = open(&disk);
    let commits = composed(&store, &["air"], 1);
    let (sender, queue) = mpsc::channel();
    commits.into_iter().for_each(|composed| sender.send(Order::Commit(composed)).unwrap());
    let mut committer = Committer::new(store, drop);
    let clock = stepping();

    committer.take_in(&queue, &clock);
    let mut barriers = Vec::new();
    for _ in 0..2_000 {
        committer.work(&clock);
        barriers.push(disk.sync_count());
    }

    assert_eq!((barriers.first(), barriers.last()), (Some(&1), Some(&2)));
    assert_eq!(committer.upkeep.poll_timeout(), None);
    drop(sender);
}

#[test]
fn a_closed_writer_hands_the_store_back() {
    let store = open(&MemoryDisk::new(1));
    let commits = composed(&store, &["air"; 3], 1);
    let writer = CommitWriter::start(store, Monotonic::default, drop).unwrap();

    commits.into_iter().for_each(|composed| writer.commit(composed));
    let (store, lost) = writer.close();

    assert_eq!((store.last_commit().get(), lost), (3, Ok(())));
}

#[test]
fn what_a_policy_lets_go_is_taken_away_between_groups_once() {
    let disk = MemoryDisk::new(1);
    let mut store = open(&disk);
    let air = partition("air");
    for composed in composed(&store, &["air"; 30], 400) {
        store.append(&[composed.commit]).unwrap();
    }
    store.mark_state().unwrap();
    let reader = store.reader();
    let (sender, orders) = mpsc::channel();
    let mut policy = CleanPolicy::default();
    policy.trim(air.clone(), reader.end(&air), Retention::NOTHING);
    let mut reports = Vec::new();
    let mut committer = Committer::new(store, |report| reports.push(report));
    let clock = stepping();

    sender.send(Order::Clean(policy, EventTime::default())).unwrap();
    assert!(committer.take_in(&orders, &clock));
    while committer.work(&clock) {}

    assert_eq!(reader.start(&air), reader.end(&air));
    let removed = |report: &Report| match report {
        Report::Cleaned(report) => report.files_removed,
        other => panic!("{other:?}"),
    };
    assert!(reports.iter().map(removed).sum::<usize>() > 2, "{reports:?}");
    let idle = reader.last_commit();
    assert_eq!(idle.get(), 31);
}
