//! One hub, word by word: what it answers, keeps and refuses.

use headland_event::EventTime;

use super::*;

const AFTER: Duration = Duration::from_secs(5);

fn region(name: &str) -> RegionId {
    RegionId::new(name).unwrap()
}

fn list() -> Vec<RegionId> {
    ["eu", "us", "ap"].map(region).to_vec()
}

fn at(millis: u64) -> Monotonic {
    Monotonic::from_millis(millis)
}

fn ballot(round: u64, by: &str) -> Ballot {
    Ballot { round, by: region(by) }
}

fn vote(round: u64, by: &str, to: &str) -> Vote {
    Vote { ballot: ballot(round, by), to: region(to) }
}

/// What a hub has on its disk of a region that it granted a lease without a fence.
fn leased(of: &str) -> Voted {
    Voted { leased: Some(0), ..Voted::nothing(region(of)) }
}

fn fenced(of: &str, number: u64, to: Option<&str>) -> Fence {
    Fence { fenced: region(of), number, to: to.map(region) }
}

/// A hub that is linked to both others, which agree with it.
struct Hub {
    leases: Leases,
    is_disk_slow: bool,
}

impl Hub {
    fn start(own: &str, asking: Asking, kept: Vec<Voted>) -> Self {
        let config = LeaseConfig { own: region(own), regions: list(), asking, after: AFTER };
        let fences = Fences::default();
        let leases = Leases::new(config, fences, (kept, Memory::Whole), 1, at(0));
        let mut hub = Self { leases, is_disk_slow: false };
        for other in ["eu", "us", "ap"].into_iter().filter(|other| *other != own) {
            hub.leases.on_up(at(0), &region(other));
            let known = LeaseMessage::Known { regions: list(), voted: Vec::new() };
            hub.hear(0, other, known);
        }
        hub
    }

    /// All that it says and does now; what is to be kept is durable at once, unless the disk is
    /// slow.
    fn drain(&mut self, now: u64) -> Vec<LeaseOutput> {
        let mut outputs = Vec::new();
        while let Some(output) = self.leases.poll_output() {
            let is_write = matches!(output, LeaseOutput::Keep(_) | LeaseOutput::KeepMemory);
            outputs.push(output);
            if is_write && !self.is_disk_slow {
                self.leases.on_kept(at(now));
            }
        }
        outputs
    }

    fn hear(&mut self, now: u64, from: &str, message: LeaseMessage) -> Vec<LeaseOutput> {
        self.leases.on_message(at(now), &region(from), message);
        self.drain(now)
    }

    fn wake(&mut self, now: u64) -> Vec<LeaseOutput> {
        self.leases.on_timeout(at(now));
        self.drain(now)
    }

    fn prepare(&mut self, now: u64, about: (&str, u64), by: Ballot) -> Vec<LeaseOutput> {
        let from = by.by.to_string();
        let (of, number) = about;
        self.hear(now, &from, LeaseMessage::Prepare { region: region(of), number, ballot: by })
    }

    fn accept(&mut self, now: u64, (of, number): (&str, u64), vote: Vote) -> Vec<LeaseOutput> {
        let from = vote.ballot.by.to_string();
        self.hear(now, &from, LeaseMessage::Accept { region: region(of), number, vote })
    }

    fn ask(&mut self, now: u64, from: &str, number: u64) -> Vec<LeaseOutput> {
        let ask = LeaseMessage::Ask { number, sent_at: at(now), lasts: LEASE };
        self.hear(now, from, ask)
    }
}

/// What was said to a region.
fn said(outputs: &[LeaseOutput], to: &str) -> Vec<LeaseMessage> {
    let words = outputs.iter().filter_map(|output| match output {
        LeaseOutput::Send(region, message) if region.as_str() == to => Some(message.clone()),
        _ => None,
    });
    words.collect()
}

fn is_promise(message: &LeaseMessage) -> bool {
    matches!(message, LeaseMessage::Promise { .. })
}

fn is_grant(message: &LeaseMessage) -> bool {
    matches!(message, LeaseMessage::Grant { .. })
}

#[test]
fn a_region_that_asks_no_more_is_in_use_once_a_majority_has_said_that_it_knows() {
    let mut eu = Hub::start("eu", Asking::Never, vec![leased("eu")]);
    let before = eu.leases.is_held(at(1));

    let words = said(&eu.wake(1_000), "us");
    let ends = LeaseMessage::Ask { number: 0, sent_at: at(1_000), lasts: Duration::ZERO };
    assert!(words.contains(&ends), "{words:?}");
    let outputs = eu.hear(1_100, "us", LeaseMessage::Grant { number: 0, sent_at: at(1_000) });

    assert!(!before && eu.leases.is_held(at(1_100)));
    assert!(outputs.contains(&LeaseOutput::Keep(Voted::nothing(region("eu")))));
    let again = Hub::start("eu", Asking::Never, vec![Voted::nothing(region("eu"))]);
    assert!(again.leases.is_held(at(0)), "and at once in its next run");
}

#[test]
fn what_a_region_asked_for_is_on_its_own_disk_before_it_is_asked_for() {
    let mut eu = Hub::start("eu", Asking::Automatic, Vec::new());

    let outputs = eu.wake(1_000);

    let kept = outputs.iter().position(|output| *output == LeaseOutput::Keep(leased("eu")));
    let asked = outputs
        .iter()
        .position(|output| matches!(output, LeaseOutput::Send(_, LeaseMessage::Ask { .. })));
    assert!(kept.is_some() && kept < asked, "{outputs:?}");
}

#[test]
fn nobody_agrees_to_leave_a_region_that_asks_no_more_or_never_asked() {
    let mut us = Hub::start("us", Asking::Automatic, vec![leased("eu")]);
    let ends = LeaseMessage::Ask { number: 0, sent_at: at(9), lasts: Duration::ZERO };

    let confirmed = us.hear(100, "eu", ends);
    let about_eu = us.prepare(10_000, ("eu", 1), ballot(1, "ap"));
    let about_ap = us.prepare(10_000, ("eu", 1), ballot(2, "ap"));

    let grant = LeaseMessage::Grant { number: 0, sent_at: at(9) };
    assert_eq!(said(&confirmed, "eu"), [grant]);
    assert!(confirmed.contains(&LeaseOutput::Keep(Voted::nothing(region("eu")))));
    assert_eq!((about_eu, about_ap), (Vec::new(), Vec::new()));
}

#[test]
fn who_has_agreed_to_leave_a_region_does_not_confirm_that_it_asks_no_more() {
    let mut us = Hub::start("us", Asking::Automatic, vec![leased("eu")]);
    let agreed = us.accept(10_000, ("eu", 1), vote(1, "ap", "ap"));

    let ends = LeaseMessage::Ask { number: 0, sent_at: at(9), lasts: Duration::ZERO };
    let confirmed = us.hear(11_000, "eu", ends);

    assert_eq!(said(&agreed, "ap").len(), 1);
    assert_eq!(confirmed, []);
}

#[test]
fn a_hub_that_was_restarted_agrees_to_nothing_until_what_it_granted_is_over() {
    let mut us = Hub::start("us", Asking::Automatic, vec![leased("eu")]);
    let hold = u64::try_from(HOLD.as_millis()).unwrap();

    let early = us.prepare(hold - 1, ("eu", 1), ballot(1, "ap"));
    let then = us.prepare(hold, ("eu", 1), ballot(1, "ap"));

    assert_eq!(early, []);
    assert!(said(&then, "ap").iter().any(is_promise));
}

#[test]
fn nothing_is_said_of_a_region_before_what_was_said_of_it_is_on_disk() {
    let mut us = Hub::start("us", Asking::Automatic, vec![leased("eu"), leased("us")]);
    us.is_disk_slow = true;

    let promised = us.prepare(10_000, ("eu", 1), ballot(1, "ap"));
    us.leases.on_kept(at(10_001));
    let durable = us.drain(10_001);

    assert!(said(&promised, "ap").is_empty() && !said(&durable, "ap").is_empty());
}

#[test]
fn what_waits_for_the_disk_of_one_region_holds_up_no_lease_of_another_and_is_written_once() {
    let mut us = Hub::start("us", Asking::Automatic, vec![leased("eu"), leased("us")]);
    us.ask(9_000, "ap", 0);
    us.is_disk_slow = true;

    let writes: usize = (1..50)
        .map(|round| {
            let outputs = us.prepare(10_000, ("eu", 1), ballot(round, "ap"));
            outputs.iter().filter(|output| matches!(output, LeaseOutput::Keep(_))).count()
        })
        .sum();
    let granted = us.ask(10_100, "ap", 0);
    us.leases.on_kept(at(10_200));
    let last = us.drain(10_200);
    us.leases.on_kept(at(10_300));
    let words = said(&us.drain(10_300), "ap");

    assert_eq!(writes, 1);
    assert!(said(&granted, "ap").iter().any(is_grant), "{granted:?}");
    let promised = Some(ballot(49, "ap"));
    assert!(last.contains(&LeaseOutput::Keep(Voted { number: 1, promised, ..leased("eu") })));
    assert!(words.iter().any(is_promise));
}

#[test]
fn a_word_about_a_fence_that_is_not_the_next_one_changes_nothing() {
    let mut us = Hub::start("us", Asking::Automatic, vec![leased("eu")]);
    us.accept(10_000, ("eu", 1), vote(1, "ap", "ap"));

    let strange: Vec<Vec<LeaseOutput>> = [0, 2, (1 << 53) - 1, 1 << 53, u64::MAX]
        .map(|number| us.prepare(10_000, ("eu", number), ballot(1, "ap")))
        .to_vec();
    let known = us.prepare(10_000, ("eu", 1), ballot(2, "ap"));

    assert!(strange.iter().all(Vec::is_empty), "{strange:?}");
    let accepted = Some(vote(1, "ap", "ap"));
    let (number, ballot) = (1, ballot(2, "ap"));
    let promise = LeaseMessage::Promise { region: region("eu"), number, ballot, accepted };
    assert_eq!(said(&known, "ap"), [promise]);
}

#[test]
fn an_attempt_far_ahead_of_all_others_is_not_taken_up() {
    let mut us = Hub::start("us", Asking::Automatic, vec![leased("eu")]);

    let far = us.prepare(10_000, ("eu", 1), ballot(u64::MAX, "ap"));
    let agreed = us.accept(10_000, ("eu", 1), vote(u64::MAX, "ap", "ap"));
    let next = us.prepare(10_000, ("eu", 1), ballot(1, "ap"));

    assert_eq!((far, agreed), (Vec::new(), Vec::new()));
    assert!(said(&next, "ap").iter().any(is_promise));
}

#[test]
fn nothing_is_agreed_to_that_names_no_region_to_go_on_in_or_the_attempt_of_another() {
    let mut us = Hub::start("us", Asking::Automatic, vec![leased("eu")]);

    let outside = us.accept(10_000, ("eu", 1), vote(1, "ap", "sa"));
    let itself = us.accept(10_000, ("eu", 1), vote(1, "ap", "eu"));
    let (number, of_eu) = (1, vote(1, "eu", "ap"));
    let word = LeaseMessage::Accept { region: region("eu"), number, vote: of_eu };
    let of_another = us.hear(10_000, "ap", word);

    assert_eq!((outside, itself, of_another), (Vec::new(), Vec::new(), Vec::new()));
}

#[test]
fn what_was_agreed_to_and_never_promised_is_not_learned() {
    let config =
        LeaseConfig { own: region("us"), regions: list(), asking: Asking::Automatic, after: AFTER };
    let memory = (Vec::new(), Memory::Doubtful);
    let mut leases = Leases::new(config, Fences::default(), memory, 1, at(0));
    leases.on_up(at(0), &region("eu"));
    let broken = Voted {
        number: 1,
        promised: Some(ballot(1, "ap")),
        accepted: Some(vote(2, "ap", "ap")),
        ..leased("eu")
    };

    let known = LeaseMessage::Known { regions: list(), voted: vec![broken] };
    leases.on_message(at(1), &region("eu"), known);

    let outputs: Vec<LeaseOutput> = std::iter::from_fn(|| leases.poll_output()).collect();
    let learned = outputs.iter().find(|output| matches!(output, LeaseOutput::Keep(_)));
    assert_eq!(learned, Some(&LeaseOutput::Keep(leased("eu"))), "but whether it asks is");
}

#[test]
fn a_lease_is_granted_only_under_the_fence_that_is_known_here() {
    let mut ap = Hub::start("ap", Asking::Automatic, Vec::new());
    ap.leases.on_fence(at(1), &fenced("eu", 1, Some("us")));

    let ahead = ap.ask(100, "eu", 2);
    ap.leases.on_fence(at(101), &fenced("eu", 2, None));
    let known = ap.ask(102, "eu", 2);

    assert!(!said(&ahead, "eu").iter().any(is_grant), "somebody may go on for it");
    assert!(said(&known, "eu").iter().any(is_grant));
}

#[test]
fn a_region_in_use_does_not_vote_about_itself() {
    let mut eu = Hub::start("eu", Asking::Automatic, vec![leased("eu")]);
    eu.wake(9_000);
    for other in ["us", "ap"] {
        eu.hear(9_100, other, LeaseMessage::Grant { number: 0, sent_at: at(9_000) });
    }
    eu.ask(6_000, "us", 0);

    let held = eu.prepare(11_999, ("eu", 1), ballot(1, "us"));
    let over = eu.prepare(12_000, ("eu", 1), ballot(1, "us"));

    assert!(!said(&held, "us").iter().any(is_promise));
    assert!(said(&over, "us").iter().any(is_promise), "{over:?}");
    let mut eu = Hub::start("eu", Asking::Never, Vec::new());
    assert_eq!(eu.prepare(12_000, ("eu", 1), ballot(1, "us")), [], "it is always in use");
}

#[test]
fn a_hub_hears_nothing_from_itself_over_a_link() {
    let mut eu = Hub::start("eu", Asking::Automatic, vec![leased("eu")]);
    eu.wake(1_000);

    eu.hear(1_001, "eu", LeaseMessage::Grant { number: 0, sent_at: at(1_000) });

    assert_eq!(eu.leases.held_until(), None);
}

#[test]
fn what_a_peer_has_not_heard_of_a_link_it_asks_for_again() {
    let config =
        LeaseConfig { own: region("us"), regions: list(), asking: Asking::Never, after: AFTER };
    let fences = Fences::default();
    let mut us = Leases::new(config, fences, (Vec::new(), Memory::Whole), 1, at(0));
    us.on_up(at(0), &region("eu"));
    let drain =
        |us: &mut Leases| -> Vec<LeaseOutput> { std::iter::from_fn(|| us.poll_output()).collect() };
    let first = drain(&mut us);

    let due = us.poll_timeout();
    us.on_timeout(at(600));
    let asked = said(&drain(&mut us), "eu");
    let empty = LeaseMessage::Known { regions: Vec::new(), voted: Vec::new() };
    us.on_message(at(700), &region("eu"), empty.clone());
    let again = said(&drain(&mut us), "eu");

    assert!(due.is_some_and(|due| due <= at(600)));
    assert_eq!(asked, [empty]);
    assert_eq!(again, said(&first, "eu"), "all that was said on the link at first");
    assert_eq!(us.voters().count(), 0, "which says nothing of who asks");
}

#[test]
fn what_was_meant_for_a_former_link_is_not_said_on_the_next_one() {
    let mut us = Hub::start("us", Asking::Automatic, vec![leased("us")]);
    us.is_disk_slow = true;
    let waits = us.ask(1_000, "eu", 0);

    us.leases.on_up(at(1_100), &region("eu"));
    us.leases.on_kept(at(1_200));
    let words = said(&us.drain(1_200), "eu");

    assert!(!said(&waits, "eu").iter().any(is_grant));
    assert!(!words.iter().any(is_grant), "its next run would count it as fresh: {words:?}");
}

#[test]
fn who_has_agreed_brings_it_to_its_end_without_a_lease_and_left_itself() {
    let begun = Voted {
        number: 1,
        promised: Some(ballot(1, "us")),
        accepted: Some(vote(1, "us", "us")),
        ..leased("eu")
    };
    let mut us = Hub::start("us", Asking::Automatic, vec![begun]);
    us.leases.on_fence(at(1), &fenced("us", 1, Some("ap")));

    us.wake(6_000);
    let words = us.wake(60_000);
    let prepared = said(&words, "ap").into_iter().find_map(|message| match message {
        LeaseMessage::Prepare { ballot, number: 1, .. } => Some(ballot),
        _ => None,
    });
    let ballot = prepared.unwrap();
    let (of, number, accepted) = (region("eu"), 1, None);
    let promise =
        LeaseMessage::Promise { region: of.clone(), number, ballot: ballot.clone(), accepted };
    us.hear(60_100, "ap", promise);
    let decided = us.hear(60_200, "ap", LeaseMessage::Accepted { region: of, number, ballot });

    assert!(decided.contains(&LeaseOutput::Decided(fenced("eu", 1, Some("us")))), "{decided:?}");
}

#[test]
fn a_lease_ends_when_the_clocks_of_the_machine_go_apart_by_more_than_a_second() {
    let is_held_after = |wall: i64| {
        let mut eu = Hub::start("eu", Asking::Automatic, vec![leased("eu")]);
        eu.wake(1_000);
        for other in ["us", "ap"] {
            eu.hear(1_100, other, LeaseMessage::Grant { number: 0, sent_at: at(1_000) });
        }
        let clocks = |monotonic, wall| Now { monotonic, wall: EventTime::from_millis(wall) };
        eu.leases.on_clocks(clocks(at(1_100), 1_000_000));
        eu.leases.on_clocks(clocks(at(1_200), 1_000_000 + wall));
        let ended = eu.drain(1_200).contains(&LeaseOutput::Ended);
        assert_ne!(ended, eu.leases.is_held(at(1_200)));
        eu.leases.is_held(at(1_200))
    };

    let held = [-901, -900, 100, 1_100, 1_101, 60_000].map(is_held_after);

    assert_eq!(held, [false, true, true, true, false, false]);
}

#[test]
fn a_promise_that_comes_twice_counts_once() {
    let of = region("eu");
    let mut attempt = Attempt::new(of, 1, ballot(1, "us"), at(0));

    let twice = [1, 2].map(|_| attempt.on_promise(&region("us"), None, 2));
    let second = attempt.on_promise(&region("ap"), None, 2);

    assert_eq!((twice, second), ([false, false], true));
}
