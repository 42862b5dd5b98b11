use bytes::Bytes;
use headland_event::{
    Batch, ByteCount, CommitNumber, Dot, Entry, EventTime, Incarnation, Offset, PartitionIndex,
    Record, Sequence, StreamId, TopicName, TopicPartition,
};
use proptest::prelude::*;

use super::*;
use crate::commit::{StateChange, StateOwner};

const NOW: Monotonic = Monotonic::from_millis(1_000);
const LATER: Monotonic = Monotonic::from_millis(1_200);

fn normal() -> Commit {
    let (owner, key) = (StateOwner::new("x").unwrap(), Bytes::from_static(b"k"));
    let state = vec![StateChange { owner, key, value: Some(Bytes::from_static(b"v")) }];
    Commit { entries: Vec::new(), state }
}

fn large() -> Commit {
    let mut commit = normal();
    commit.state[0].value = Some(Bytes::from(vec![0; 2 << 20]));
    commit
}

fn alerts() -> Commit {
    let topic = TopicName::new("alerts").unwrap();
    let (stream, incarnation) = (StreamId::new([1; 16]), Incarnation::new(1, 1));
    let dot = Dot { stream, incarnation, sequence: Sequence::new(1) };
    let batch = Batch::encode(&[Record::new(EventTime::default(), "k", "v")]).unwrap();
    let entry = Entry { base: Offset::new(0), dot, stamp: None, batch };
    let partition = TopicPartition::new(topic, PartitionIndex::new(0));
    Commit { entries: vec![(partition, entry)], state: Vec::new() }
}

/// A commit as a composer hands it out; only alerts have batches here.
fn composed(ticket: Ticket, commit: &Commit) -> Composed {
    let priority = if commit.entries.is_empty() { Priority::Normal } else { Priority::Alerts };
    Composed { ticket, commit: commit.clone(), priority }
}

/// A queue with commits of tickets 1, 2, 3, …
fn queue(commits: &[Commit]) -> CommitQueue {
    let mut queue = CommitQueue::new();
    for (ticket, commit) in (1..).map(Ticket::of).zip(commits) {
        queue.push(composed(ticket, commit));
    }
    queue
}

fn full() -> AppendError {
    AppendError::Full { needed: ByteCount::new(7) }
}

fn failing() -> AppendError {
    let error = std::io::Error::from(std::io::ErrorKind::Other);
    AppendError::Medium(crate::MediumError::new(crate::Operation::Sync, "a", error))
}

fn appended(first: u64, count: usize) -> Appended {
    let first = CommitNumber::new(first);
    Appended { first, last: first.after(u64::try_from(count).unwrap() - 1) }
}

const fn append(priority: Priority, count: usize) -> Option<Attempt> {
    Some(Attempt::Append { priority, count })
}

/// Refuses what the queue tries, once; returns what it reports in short.
fn refuse(queue: &mut CommitQueue, now: Monotonic, error: AppendError) -> Vec<&'static str> {
    let attempt = queue.poll_attempt(now).unwrap();
    let mut reports = Vec::new();
    queue.on_refused(now, attempt, error, |report| reports.push(name(&report)));
    reports
}

/// Grants what the queue tries, once; returns what it reports in short.
fn grant(queue: &mut CommitQueue, now: Monotonic) -> Vec<&'static str> {
    let mut reports = Vec::new();
    match queue.poll_attempt(now).unwrap() {
        Attempt::Append { priority, count } => {
            queue.on_appended(priority, appended(1, count), |report| reports.push(name(&report)));
        }
        Attempt::Readmit => queue.on_readmitted(|report| reports.push(name(&report))),
    }
    reports
}

const fn name(report: &Report) -> &'static str {
    match report {
        Report::Durable { .. } => "durable",
        Report::Stalled(_) => "stalled",
        Report::Resumed => "resumed",
        Report::Neglected(_) => "neglected",
        Report::Cleaned(_) => "cleaned",
        Report::Failed(_) => "failed",
    }
}

#[test]
fn everything_that_waits_goes_in_one_group_up_to_half_its_limit() {
    let small = queue(&[normal(), normal(), normal()]);
    let large = queue(&[normal(), large(), normal()]);

    assert_eq!(small.poll_attempt(NOW), append(Priority::Normal, 3));
    assert_eq!(large.poll_attempt(NOW), append(Priority::Normal, 2));
}

#[test]
fn on_a_full_disk_alerts_go_with_what_stands_before_them_and_nothing_behind_them_does() {
    let mut queue = queue(&[normal(), alerts(), normal(), alerts(), normal()]);

    let stalled = refuse(&mut queue, NOW, full());
    let tried = queue.poll_attempt(NOW);
    let written = grant(&mut queue, NOW);

    assert_eq!(stalled, ["stalled"]);
    assert_eq!(tried, append(Priority::Alerts, 4));
    assert_eq!(written, ["durable"; 4]);
    assert_eq!(queue.poll_attempt(NOW), None);
    assert_eq!(queue.poll_attempt(LATER), append(Priority::Normal, 1));
}

#[test]
fn an_alert_that_arrives_while_the_disk_is_full_is_tried_at_once() {
    let mut queue = queue(&[normal()]);
    refuse(&mut queue, NOW, full());
    let waits = queue.poll_attempt(NOW);

    queue.push(composed(Ticket::of(2), &alerts()));

    assert_eq!(waits, None);
    assert_eq!(queue.poll_attempt(NOW), append(Priority::Alerts, 2));
}

#[test]
fn without_a_reserve_alerts_wait_too_and_both_are_tried_in_intervals() {
    let mut queue = queue(&[alerts()]);
    let reports = [refuse(&mut queue, NOW, full()), refuse(&mut queue, NOW, full())];

    let waits = queue.poll_attempt(NOW);
    let retries = queue.poll_timeout();
    let silent = [refuse(&mut queue, LATER, full()), refuse(&mut queue, LATER, full())];

    assert_eq!(reports, [["stalled"], ["stalled"]]);
    assert_eq!((waits, retries), (None, Some(LATER)));
    assert_eq!(silent, [Vec::<&str>::new(), Vec::new()]);
}

#[test]
fn an_empty_queue_asks_for_readmission_until_it_is_granted_and_says_so_once() {
    let mut queue = queue(&[alerts()]);
    refuse(&mut queue, NOW, full());
    grant(&mut queue, NOW);

    let asked = queue.poll_attempt(LATER);
    let silent = refuse(&mut queue, LATER, full());
    let resumed = grant(&mut queue, LATER.after(RETRY_AFTER));

    assert_eq!(asked, Some(Attempt::Readmit));
    assert_eq!(silent, [""; 0]);
    assert_eq!(resumed, ["resumed"]);
    assert_eq!((queue.poll_attempt(LATER), queue.poll_timeout()), (None, None));
}

#[test]
fn a_failing_medium_is_tried_five_times_in_intervals_and_then_the_log_has_failed() {
    let mut queue = queue(&[alerts(), normal()]);

    let mut now = NOW;
    let mut reports = Vec::new();
    for _ in 0..5 {
        reports.extend(refuse(&mut queue, now, failing()));
        assert_eq!(queue.poll_attempt(now), None);
        now = now.after(RETRY_AFTER);
    }
    queue.push(composed(Ticket::of(3), &alerts()));

    assert_eq!(reports, ["stalled", "stalled", "stalled", "stalled", "failed"]);
    assert_eq!(queue.poll_attempt(now), None);
    let (first, cause) = (Some(Ticket::of(1)), NotDurableCause::Failed);
    assert_eq!(queue.not_durable(), Some(&NotDurable { first, commits: 3, alerts: 2, cause }));
}

#[test]
fn a_group_above_the_limit_is_halved_and_one_commit_above_it_fails() {
    let mut queue = queue(&[normal(), normal(), normal()]);
    let too_large =
        || AppendError::GroupTooLarge { found: ByteCount::new(2), limit: ByteCount::new(1) };

    let first = refuse(&mut queue, NOW, too_large());
    let halved = queue.poll_attempt(NOW);
    let second = refuse(&mut queue, NOW, too_large());

    assert_eq!((first, halved), (Vec::new(), append(Priority::Normal, 1)));
    assert_eq!(second, ["failed"]);
}

#[test]
fn closing_on_a_full_disk_tries_alerts_once_and_gives_up_what_finds_no_room() {
    let mut queue = queue(&[normal(), alerts(), normal(), normal()]);
    refuse(&mut queue, NOW, full());
    queue.on_close();

    let normal_again = refuse(&mut queue, NOW, full());
    let with_alerts = grant(&mut queue, NOW);
    let last = refuse(&mut queue, LATER, full());

    assert_eq!((normal_again, with_alerts), (Vec::new(), vec!["durable"; 2]));
    assert_eq!(last, ["failed"]);
    let cause = NotDurableCause::Full { needed: ByteCount::new(7) };
    let expected = NotDurable { first: Some(Ticket::of(3)), commits: 2, alerts: 0, cause };
    assert_eq!(queue.not_durable(), Some(&expected));
    assert_eq!(
        expected.to_string(),
        "2 commits, 0 of them with alerts, were not made durable: the disk has no room for 7B"
    );
    assert!(queue.is_empty());
}

proptest! {
    /// Against every pattern of refusals: order is kept, nothing is doubled or left behind, and a
    /// commit of normal priority only ever uses the reserve when an alert stands behind it.
    #[test]
    fn whatever_is_refused_commits_become_durable_once_and_in_order(
        kinds in prop::collection::vec(prop::bool::ANY, 1..20),
        answers in prop::collection::vec(0_u8..3, 0..60),
    ) {
        let commits: Vec<Commit> =
            kinds.iter().map(|is_alert| if *is_alert { alerts() } else { normal() }).collect();
        let mut queue = queue(&commits);
        let mut durable = Vec::new();
        let mut now = NOW;
        let mut answers = answers.into_iter();
        while !queue.is_empty() {
            let Some(attempt) = queue.poll_attempt(now) else {
                let due = queue.poll_timeout();
                prop_assert!(due > Some(now), "it waits for a moment to come");
                now = due.unwrap();
                continue;
            };
            let at = durable.len();
            match (attempt, answers.next()) {
                (attempt, Some(0)) => queue.on_refused(now, attempt, full(), drop),
                (Attempt::Append { priority: Priority::Normal, .. }, Some(1)) => {
                    queue.on_refused(now, attempt, full(), drop);
                }
                (Attempt::Append { priority, count }, _) => {
                    if priority == Priority::Alerts {
                        prop_assert!(kinds[at..].iter().skip(count - 1).any(|is_alert| *is_alert));
                    }
                    queue.on_appended(priority, appended(1, count), |report| {
                        if let Report::Durable { ticket, .. } = report { durable.push(ticket); }
                    });
                }
                (Attempt::Readmit, _) => queue.on_readmitted(drop),
            }
        }
        let expected: Vec<Ticket> = (1..).map(Ticket::of).take(kinds.len()).collect();
        prop_assert_eq!(durable, expected);
    }
}
