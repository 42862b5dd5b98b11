use std::collections::BTreeSet;

use headland_event::{Incarnation, RegionId};
use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

const LATER: Duration = Duration::from_secs(5);

fn holder(region: &str, life: u32) -> Holder {
    let region = RegionId::new(region).unwrap();
    Holder { region, incarnation: Incarnation::new(life, 9) }
}

fn sku() -> Sku {
    Sku::new("s").unwrap()
}

fn request(name: &str) -> RequestId {
    RequestId::new(name).unwrap()
}

fn units(units: i64) -> Units {
    Units::new(units).unwrap()
}

fn at(millis: u64) -> Monotonic {
    Monotonic::from_millis(millis)
}

/// A hub with its own log, and how much of it each other hub has.
struct Hub {
    escrow: Escrow,
    holder: Holder,
    log: Vec<EscrowRecord>,
    answers: Vec<(RequestId, Answer)>,
    short: i64,
}

impl Hub {
    fn new(region: &str, life: u32, standing: Standing) -> Self {
        let holder = holder(region, life);
        let config = EscrowConfig {
            holder: holder.clone(),
            standing,
            floor: units(2),
            floors: BTreeMap::from([(Sku::new("t").unwrap(), units(4))]),
            ask_again: LATER,
        };
        let escrow = Escrow::new(config, 3);
        Self { escrow, holder, log: Vec::new(), answers: Vec::new(), short: 0 }
    }

    /// Makes durable what is to be, and keeps the answers.
    fn run(&mut self, now: Monotonic) {
        while let Some(output) = self.escrow.poll_output() {
            match output {
                EscrowOutput::Commit(record) => {
                    let gone = record.gone();
                    for record in [record].into_iter().chain(gone) {
                        let offset = Offset::new(self.log.len() as u64);
                        self.log.push(record.clone());
                        self.escrow.on_record(now, &self.holder, offset, &record);
                    }
                }
                EscrowOutput::Answer { sku: _, request, answer } => {
                    self.answers.push((request, answer))
                }
                EscrowOutput::Short { units, .. } => self.short += units.get(),
            }
        }
    }

    fn hear(&mut self, now: Monotonic, other: &Self) {
        for (offset, record) in (0..).zip(&other.log) {
            self.escrow.on_record(now, &other.holder, Offset::new(offset), record);
        }
        self.run(now);
    }

    /// The same hub after a crash, from what is in its journal.
    fn restarted(&self, peers: &[&Self]) -> Self {
        self.restarted_from(peers, (0, 0))
    }

    /// The same, where logs were compacted.
    fn restarted_from(&self, peers: &[&Self], cut: Cut) -> Self {
        let mut again = Self::new(self.holder.region.as_str(), 1, Standing::Settled);
        for hub in peers.iter().copied().chain([self]) {
            for (offset, record) in hub.left(cut) {
                again.escrow.replay(&hub.holder, Offset::new(offset as u64), record);
            }
        }
        again.log.clone_from(&self.log);
        again.escrow.resume();
        again
    }

    /// What compaction by key leaves of the log.
    fn left(&self, (before, kept): Cut) -> impl Iterator<Item = (usize, &EscrowRecord)> {
        let key = |record: &EscrowRecord| record.key(&self.holder);
        let mut last: BTreeMap<String, usize> = BTreeMap::new();
        let mut old: BTreeSet<String> = BTreeSet::new();
        for (at, record) in self.log.iter().enumerate() {
            if let Some(dead) = last.insert(key(record), at)
                && is_kept(dead, (before, kept))
            {
                old.insert(key(record));
            }
        }
        let log = self.log.iter().enumerate();
        log.filter(move |(at, record)| {
            let key = record.key(&self.holder);
            let is_last = last.get(&key) == Some(at);
            // A key without a value goes with what was before it, once that is gone.
            let may_go = !is_last || matches!(record.act, Act::Gone { .. }) && !old.contains(&key);
            is_kept(*at, (before, kept)) || !may_go
        })
    }

    /// All that it knows, to compare.
    fn known(&self) -> String {
        let Self { escrow, .. } = self;
        let rights: Vec<_> = escrow.rights(&sku()).filter(|(_, units)| *units != 0).collect();
        let pool = escrow.pools.get(&sku()).map(Pool::known);
        format!("{rights:?} {} {pool:?} {:?}", self.available(), escrow.owed)
    }

    fn shortfall(&mut self, missing: i64) {
        let name = format!("missing-{}", self.log.len());
        self.escrow.on_shortfall(&request(&name), &sku(), units(missing)).unwrap();
        self.run(at(2));
    }

    fn close(&mut self, name: &str, outcome: Closing) {
        self.escrow.on_close(&request(name), &sku(), outcome).unwrap();
        self.run(at(2));
    }

    fn create(&mut self, created: i64) {
        let name = format!("offer-{}", self.log.len());
        self.escrow.on_create(&request(&name), &sku(), units(created)).unwrap();
        self.run(at(0));
    }

    fn reserve(&mut self, now: Monotonic, name: &str, wanted: i64) -> Option<Answer> {
        self.escrow.on_reserve(now, &request(name), &sku(), units(wanted));
        self.run(now);
        self.answers.pop().map(|(_, answer)| answer)
    }

    fn available(&self) -> i64 {
        self.escrow.available(&sku())
    }
}

#[test]
fn a_reservation_is_granted_only_once_its_record_is_durable() {
    let mut eu = Hub::new("eu", 1, Standing::Settled);
    eu.create(5);

    eu.escrow.on_reserve(at(1), &request("a"), &sku(), units(3));

    assert_eq!(eu.available(), 2);
    let output = eu.escrow.poll_output();
    let Some(EscrowOutput::Commit(record)) = output else { panic!("no commit: {output:?}") };
    assert_eq!(eu.escrow.poll_output(), None, "no answer before the record is durable");
    eu.escrow.on_record(at(1), &eu.holder, Offset::new(1), &record);
    let (sku, request) = (sku(), request("a"));
    let answer = EscrowOutput::Answer { sku, request, answer: Answer::Granted };
    assert_eq!(eu.escrow.poll_output(), Some(answer));
}

#[test]
fn the_last_unit_is_promised_once_and_the_next_customer_is_told_where_units_are() {
    let (mut eu, mut us) =
        (Hub::new("eu", 1, Standing::Settled), Hub::new("us", 1, Standing::Settled));
    us.create(7);
    eu.create(3);
    eu.hear(at(1), &us);

    assert_eq!(eu.reserve(at(1), "a", 3), Some(Answer::Granted));
    assert_eq!(eu.reserve(at(1), "b", 1), Some(Answer::NotHere { here: 0, elsewhere: 7 }));
}

#[test]
fn the_same_request_is_answered_alike_and_spends_once() {
    let mut eu = Hub::new("eu", 1, Standing::Settled);
    eu.create(9);

    assert_eq!(eu.reserve(at(1), "a", 3), Some(Answer::Granted));
    assert_eq!(eu.reserve(at(2), "a", 3), Some(Answer::Granted));

    assert_eq!(eu.available(), 6);
}

#[test]
fn a_request_under_way_is_not_granted_with_other_units() {
    let mut eu = Hub::new("eu", 1, Standing::Settled);
    eu.create(9);
    eu.escrow.on_reserve(at(1), &request("a"), &sku(), units(2));

    eu.escrow.on_reserve(at(1), &request("a"), &sku(), units(5));
    eu.run(at(1));

    let answers = [Answer::OtherUnits { promised: units(2) }, Answer::Granted];
    assert_eq!(eu.answers, answers.map(|answer| (request("a"), answer)));
    assert_eq!(eu.available(), 7);
}

#[test]
fn what_another_holder_promised_is_not_granted_here() {
    let (mut eu, mut us) =
        (Hub::new("eu", 1, Standing::Settled), Hub::new("us", 1, Standing::Settled));
    us.create(5);
    eu.create(5);
    assert_eq!(us.reserve(at(1), "a", 3), Some(Answer::Granted));
    eu.hear(at(1), &us);
    us.close("a", Closing::Released);

    let answer = eu.reserve(at(3), "a", 3);

    let (holder, units) = (us.holder.clone(), units(3));
    assert_eq!(answer, Some(Answer::PromisedElsewhere { holder, units }));
    assert_eq!(eu.available(), 5);
}

#[test]
fn a_restored_hub_grants_nothing_from_its_backup() {
    let mut eu = Hub::new("eu", 1, Standing::Settled);
    eu.create(9);
    let _granted = eu.reserve(at(1), "a", 3);
    let mut restored = Hub::new("eu", 2, Standing::Alone);
    for (offset, record) in (0..).zip(&eu.log) {
        restored.escrow.replay(&eu.holder, Offset::new(offset), record);
    }

    assert_eq!(restored.reserve(at(2), "a", 3), Some(Answer::UnknownYet));
}

#[test]
fn a_reservation_that_is_being_ended_is_neither_granted_nor_ended_otherwise() {
    let mut eu = Hub::new("eu", 1, Standing::Settled);
    eu.create(9);
    let _granted = eu.reserve(at(1), "a", 3);
    eu.escrow.on_close(&request("a"), &sku(), Closing::Released).unwrap();

    let again = eu.escrow.on_close(&request("a"), &sku(), Closing::Released);
    let other = eu.escrow.on_close(&request("a"), &sku(), Closing::Sold);
    let answer = eu.reserve(at(2), "a", 3);

    let outcome = Closing::Released;
    assert_eq!((again, other), (Ok(()), Err(CloseError::Ending { outcome })));
    assert_eq!(answer, Some(Answer::Ending { outcome }));
    assert_eq!(eu.available(), 9);
}

#[test]
fn rights_follow_demand_and_a_request_is_answered_once() {
    let (mut eu, mut us) =
        (Hub::new("eu", 1, Standing::Settled), Hub::new("us", 1, Standing::Settled));
    us.create(22);
    eu.hear(at(1), &us);
    assert_eq!(eu.reserve(at(1), "a", 4), Some(Answer::NotHere { here: 0, elsewhere: 22 }));

    us.hear(at(1), &eu);
    us.hear(at(1), &eu);
    eu.hear(at(1), &us);

    assert_eq!((eu.available(), us.available()), (4, 18));
    assert_eq!(eu.reserve(at(2), "a", 4), Some(Answer::Granted));
}

#[test]
fn a_holder_keeps_its_floor_when_another_one_asks() {
    let (mut eu, mut us) =
        (Hub::new("eu", 1, Standing::Settled), Hub::new("us", 1, Standing::Settled));
    us.create(3);
    eu.hear(at(1), &us);
    let _refused = eu.reserve(at(1), "a", 3);

    us.hear(at(1), &eu);

    assert_eq!(us.available(), 2);
}

#[test]
fn a_sku_may_have_a_floor_of_its_own() {
    let (mut eu, mut us) =
        (Hub::new("eu", 1, Standing::Settled), Hub::new("us", 1, Standing::Settled));
    let other = Sku::new("t").unwrap();
    us.escrow.on_create(&request("o"), &other, units(5)).unwrap();
    us.run(at(0));
    eu.hear(at(1), &us);
    eu.escrow.on_reserve(at(1), &request("a"), &other, units(3));
    eu.run(at(1));

    us.hear(at(1), &eu);

    assert_eq!(us.escrow.available(&other), 4);
}

#[test]
fn what_is_released_can_be_promised_again_and_what_is_sold_cannot() {
    let mut eu = Hub::new("eu", 1, Standing::Settled);
    eu.create(5);
    let _granted = (eu.reserve(at(1), "a", 2), eu.reserve(at(1), "b", 3));

    eu.close("a", Closing::Released);
    eu.close("b", Closing::Sold);
    let again = eu.escrow.on_close(&request("a"), &sku(), Closing::Released);
    eu.run(at(2));

    assert_eq!((again, eu.available()), (Ok(()), 2));
}

#[test]
fn a_restored_hub_holds_nothing_and_says_so_until_it_met_a_peer() {
    let mut eu = Hub::new("eu", 1, Standing::Settled);
    eu.create(9);
    let mut us = Hub::new("us", 1, Standing::Settled);
    us.create(6);
    let mut restored = Hub::new("eu", 2, Standing::Alone);
    for (offset, record) in (0..).zip(&eu.log) {
        restored.escrow.replay(&eu.holder, Offset::new(offset), record);
    }

    assert_eq!(restored.reserve(at(1), "a", 1), Some(Answer::UnknownYet));
    restored.hear(at(2), &us);
    let answer = restored.reserve(at(2), "a", 1);

    assert_eq!(answer, Some(Answer::NotHere { here: 0, elsewhere: 15 }));
}

#[test]
fn a_restart_answers_no_request_of_its_journal_a_second_time() {
    let (mut eu, mut us) =
        (Hub::new("eu", 1, Standing::Settled), Hub::new("us", 1, Standing::Settled));
    us.create(22);
    eu.hear(at(1), &us);
    let _refused = eu.reserve(at(1), "a", 4);
    us.hear(at(1), &eu);

    let mut again = us.restarted(&[&eu]);
    again.hear(at(2), &eu);

    assert_eq!(again.escrow.poll_output(), None);
    assert_eq!(again.available(), 18);
}

#[test]
fn a_shortfall_destroys_rights_in_proportion_and_names_what_was_promised_already() {
    let (mut eu, mut us) =
        (Hub::new("eu", 1, Standing::Settled), Hub::new("us", 1, Standing::Settled));
    us.create(6);
    eu.create(3);
    eu.hear(at(1), &us);
    assert_eq!(us.reserve(at(1), "a", 3), Some(Answer::Granted));

    eu.shortfall(6);
    us.hear(at(2), &eu);

    assert_eq!((eu.available(), us.available()), (1, 0));
    assert_eq!(us.short, 1, "3 of the 4 that us should destroy were there");
}

#[test]
fn a_recall_of_more_than_there_is_says_how_much_is_missing() {
    let mut eu = Hub::new("eu", 1, Standing::Settled);
    eu.create(3);

    eu.shortfall(5);

    assert_eq!((eu.available(), eu.short), (0, 2));
}

#[test]
fn a_name_that_ended_is_not_promised_again_anywhere_and_may_be_ended_alike_again() {
    let (mut eu, mut us) =
        (Hub::new("eu", 1, Standing::Settled), Hub::new("us", 1, Standing::Settled));
    eu.create(20);
    us.create(20);
    let _granted = (eu.reserve(at(1), "a", 4), eu.reserve(at(1), "b", 4));
    eu.close("a", Closing::Sold);
    eu.close("b", Closing::Released);
    us.hear(at(2), &eu);
    let mut again = eu.restarted_from(&[], (usize::MAX, 0));

    for (name, outcome) in [("a", Closing::Sold), ("b", Closing::Released)] {
        let closed = Some(Answer::Closed { outcome });
        let answers = [&mut eu, &mut us, &mut again].map(|hub| hub.reserve(at(3), name, 4));
        assert_eq!(answers, [closed.clone(), closed.clone(), closed], "{name}");
    }
    let written = again.log.len();
    let ends = [Closing::Sold, Closing::Released]
        .map(|outcome| again.escrow.on_close(&request("a"), &sku(), outcome));
    again.run(at(4));

    assert_eq!(ends, [Ok(()), Err(CloseError::Closed { outcome: Closing::Sold })]);
    assert_eq!((again.log.len(), again.available(), eu.available()), (written, 16, 16));
}

#[test]
fn a_name_that_ended_is_forgotten_after_as_many_others_as_are_remembered() {
    let mut eu = Hub::new("eu", 1, Standing::Settled);
    eu.create(5);
    let _granted = eu.reserve(at(1), "a", 1);
    eu.close("a", Closing::Released);
    let mut others = |count: usize| {
        for other in 1..count {
            let name = format!("{count}-{other}");
            let _granted = eu.reserve(at(1), &name, 1);
            eu.close(&name, Closing::Released);
        }
        eu.reserve(at(2), "a", 1)
    };

    let remembered = others(CLOSED_LIMIT);
    let forgotten = others(2);

    assert_eq!(remembered, Some(Answer::Closed { outcome: Closing::Released }));
    assert_eq!(forgotten, Some(Answer::Granted));
}

#[test]
fn a_log_is_cut_to_what_is_open_and_the_last_that_is_not() {
    let mut eu = Hub::new("eu", 1, Standing::Settled);
    eu.create(500);
    for name in 0..400 {
        let name = format!("r{name}");
        assert_eq!(eu.reserve(at(1), &name, 1), Some(Answer::Granted));
        if name != "r7" {
            eu.close(&name, Closing::Sold);
        }
    }

    let left = eu.left((usize::MAX, 0)).map(|(_, record)| record.key(&eu.holder));
    let mut left: Vec<String> = left.collect();
    left.sort_by_key(|key| key.contains("closed"));

    assert_eq!(eu.log.len(), 1 + 400 + 2 * 399);
    let expected = ["eu@1-0000000000000009/s|order/1", "eu@1-0000000000000009/s|open/r7"];
    assert_eq!(left[..2], expected.map(str::to_owned));
    let closed = (1..400).map(|number| format!("eu@1-0000000000000009/s|closed/{number}"));
    assert_eq!(left[2..], closed.collect::<Vec<_>>(), "names that ended are remembered");
}

#[test]
fn a_request_that_was_promised_twice_ends_as_often_wherever_its_log_was_cut() {
    let mut eu = Hub::new("eu", 1, Standing::Settled);
    eu.create(10);
    let _granted = eu.reserve(at(1), "r1", 1);
    eu.close("r1", Closing::Released);
    for other in 0..CLOSED_LIMIT {
        let _granted = eu.reserve(at(1), &format!("o{other}"), 1);
        eu.close(&format!("o{other}"), Closing::Released);
    }
    let _granted = eu.reserve(at(2), "r1", 5);
    let _granted = eu.reserve(at(2), "r2", 1);
    eu.close("r2", Closing::Released);

    // Of all that is superseded the first promise alone is still there.
    let mut again = eu.restarted_from(&[], (usize::MAX, 0b10));
    again.close("r1", Closing::Sold);

    assert_eq!(again.available(), 5);
}

#[test]
fn a_record_without_a_value_is_read_by_its_key() {
    let mut eu = Hub::new("eu", 1, Standing::Settled);
    eu.create(5);
    let _granted = eu.reserve(at(1), "a/open|b", 3);
    eu.close("a/open|b", Closing::Sold);
    let gone = eu.log.last().unwrap();

    assert_eq!(EscrowRecord::parse_gone(gone.key(&eu.holder).as_bytes()).as_ref(), Ok(gone));
    assert!(EscrowRecord::parse_gone(b"eu@1/s|rights").is_err());
    assert!(EscrowRecord::parse_gone(b"\xff").is_err());
}

/// What happens at one of three hubs: which, what, about which request, how many units.
type Step = (usize, u8, u8, i64);

/// Before which offset a log was compacted, and where it keeps what is superseded, as of files that
/// were not copied: one bit for each 64th offset.
type Cut = (usize, u64);

fn is_kept(at: usize, (before, kept): Cut) -> bool {
    at >= before || kept >> (at % 64) & 1 == 1
}

fn happen(hubs: &mut [Hub; 3], now: Monotonic, (hub, what, name, wanted): Step) {
    let other = (hub + 1 + usize::from(name % 2)) % 3;
    let number = hubs.iter().map(|hub| hub.log.len()).sum::<usize>();
    let named = format!("r{name}");
    let (offer, recall) = (request(&format!("o{number}")), request(&format!("m{number}")));
    let heard = hubs[other].log.clone();
    let (from, at) = (hubs[other].holder.clone(), &mut hubs[hub]);
    match what {
        0..4 => _ = at.reserve(now, &named, wanted),
        4 => _ = at.escrow.on_close(&request(&named), &sku(), Closing::Sold),
        5 => _ = at.escrow.on_close(&request(&named), &sku(), Closing::Released),
        6 => at.escrow.on_create(&offer, &sku(), units(3 * wanted)).unwrap(),
        7 => at.escrow.on_shortfall(&recall, &sku(), units(wanted)).unwrap(),
        _ => {
            for (offset, record) in (0..).zip(&heard) {
                at.escrow.on_record(now, &from, Offset::new(offset), record);
            }
        }
    }
    at.run(now);
}

proptest! {
    #[test]
    fn a_log_cut_anywhere_says_what_the_whole_one_does(
        steps in vec((0..3_usize, 0..12_u8, 0..6_u8, 1..6_i64), 1..100), before in 0..200_usize,
        kept in any::<u64>(), later in vec((0..3_usize, 0..12_u8, 0..6_u8, 1..6_i64), 0..30),
    ) {
        let mut hubs = ["ap", "eu", "us"].map(|region| Hub::new(region, 1, Standing::Settled));
        for (now, step) in (0..).zip(&steps) {
            happen(&mut hubs, at(now * 1_000), *step);
        }
        let [ap, eu, us] = &hubs;
        let again = |cut| {
            [(ap, [eu, us]), (eu, [ap, us]), (us, [ap, eu])]
                .map(|(hub, peers)| hub.restarted_from(&peers, cut))
        };

        let (mut whole, mut short) = (again((0, 0)), again((before, kept)));

        for hubs in [&mut whole, &mut short] {
            hubs.iter_mut().for_each(|hub| hub.run(at(1_000_000)));
            for (now, step) in (1_000_001..).zip(&later) {
                happen(hubs, at(now), *step);
            }
        }
        for (whole, short) in whole.iter().zip(&short) {
            prop_assert_eq!(whole.known(), short.known());
            prop_assert_eq!(&whole.log, &short.log);
            prop_assert_eq!(&whole.answers, &short.answers);
        }
    }

    /// The sender of a log that was compacted is lost on the way, and another one brings what it
    /// had left out.
    #[test]
    fn what_was_left_out_of_a_log_and_comes_late_says_what_it_does_in_its_order(
        steps in vec((0..3_usize, 0..12_u8, 0..6_u8, 1..6_i64), 1..100), before in 0..200_usize,
        kept in any::<u64>(), heard in 0..100_usize,
    ) {
        let mut hubs = ["ap", "eu", "us"].map(|region| Hub::new(region, 1, Standing::Settled));
        for (now, step) in (0..).zip(&steps) {
            happen(&mut hubs, at(now * 1_000), *step);
        }
        let [mut whole, mut late] = [(); 2].map(|()| Hub::new("sa", 1, Standing::Settled));

        for hub in &hubs {
            let hear = |of: &mut Hub, (offset, record): (usize, &EscrowRecord)| {
                let offset = Offset::new(offset as u64);
                of.escrow.on_record(at(1_000_000), &hub.holder, offset, record);
            };
            let all = || hub.log.iter().enumerate().take(heard);
            all().for_each(|entry| hear(&mut whole, entry));
            let left: Vec<_> = hub.left((before, kept)).filter(|(at, _)| *at < heard).collect();
            let is_left_out = |at: &usize| left.iter().all(|(left, _)| left != at);
            let first = (0..heard).find(is_left_out).unwrap_or(heard);
            late.escrow.on_cut(&hub.holder, Offset::new(first as u64));
            left.iter().for_each(|entry| hear(&mut late, *entry));
            // What is here already comes once more with it.
            all().for_each(|entry| hear(&mut late, entry));
        }

        prop_assert_eq!(whole.known(), late.known());
    }
}

#[test]
fn what_comes_again_of_a_log_that_is_whole_changes_nothing() {
    let (mut eu, mut us) =
        (Hub::new("eu", 1, Standing::Settled), Hub::new("us", 1, Standing::Settled));
    eu.create(5);
    let _granted = eu.reserve(at(1), "a", 3);
    us.escrow.on_cut(&eu.holder, Offset::new(1));
    us.hear(at(1), &eu);
    eu.close("a", Closing::Sold);
    us.hear(at(1), &eu);
    let before = us.known();

    us.hear(at(2), &eu);
    us.escrow.on_whole(&eu.holder);
    us.hear(at(2), &eu);

    assert_eq!(us.known(), before);
    assert_eq!(us.escrow.rights(&sku()).map(|(_, units)| units).collect::<Vec<_>>(), [2]);
}

#[test]
fn books_that_no_hub_keeps_are_refused_with_what_would_fit() {
    let refused = |books: &str| {
        let json = format!(
            r#"{{"sku":"s","act":"close","request":"r","outcome":"sold","books":{{{books}}}}}"#
        );
        EscrowRecord::parse(json.as_bytes()).unwrap_err().detail
    };
    let given = |units: i64| {
        let to = serde_json::to_string(&holder("eu", 1)).unwrap();
        format!(r#"{{"to":{to},"units":{units},"number":1}}"#)
    };

    let less = refused(&format!(r#""own":1,"given":[{}]"#, given(-5)));
    let twice = refused(&format!(r#""own":1,"given":[{},{}]"#, given(1), given(1)));
    let much = refused(&format!(r#""own":{}"#, i64::MAX));
    let debt = refused(r#""own":1,"debt":-1"#);

    assert_eq!(less, "books: given is -5, expected 0 to 9007199254740992");
    assert_eq!(twice, "books: a holder is named twice, expected once");
    let fits = "expected at most 9007199254740992 either way";
    assert_eq!(much, format!("books: own is {}, {fits}", i64::MAX));
    assert_eq!(debt, "books: debt is -1, expected 0 to 9007199254740992");
}

#[test]
fn a_record_survives_json() {
    let record = EscrowRecord {
        sku: sku(),
        act: Act::Give {
            to: holder("eu", 1),
            number: AskNumber::default().next(),
            units: units(4),
        },
        books: None,
    };

    let json = String::from_utf8(record.to_json()).unwrap();

    assert_eq!(EscrowRecord::parse(json.as_bytes()).unwrap(), record);
    let expected = concat!(
        r#"{"sku":"s","act":"give","to":{"region":"eu","incarnation":"#,
        r#"{"counter":1,"nonce":9}},"number":1,"units":4}"#
    );
    assert_eq!(json, expected);

    let mut eu = Hub::new("eu", 1, Standing::Settled);
    eu.create(5);
    let offer = eu.log.pop().unwrap().to_json();
    let expected = concat!(
        r#"{"sku":"s","act":"create","request":"offer-0","units":5,"#,
        r#""books":{"own":5,"debt":0,"asked":0,"orders":1}}"#
    );
    assert_eq!(String::from_utf8(offer).unwrap(), expected);
}

#[test]
fn a_recall_that_was_not_answered_before_a_crash_is_answered_after_it() {
    let (mut eu, mut us) =
        (Hub::new("eu", 1, Standing::Settled), Hub::new("us", 1, Standing::Settled));
    us.create(6);
    eu.hear(at(1), &us);
    eu.shortfall(4);
    for (offset, record) in (0..).zip(&eu.log) {
        us.escrow.on_record(at(2), &eu.holder, Offset::new(offset), record);
    }
    let lost = us.escrow.poll_output();
    assert!(matches!(lost, Some(EscrowOutput::Commit(_))), "{lost:?}");

    let mut again = us.restarted(&[&eu]);
    again.run(at(3));

    assert_eq!(again.available(), 2);
    let once_more = again.restarted(&[&eu]).escrow.poll_output();
    assert_eq!(once_more, None, "a recall that was answered is not answered again");
}

#[test]
fn a_recall_that_comes_behind_what_followed_it_is_answered_once() {
    let (mut eu, mut us) =
        (Hub::new("eu", 1, Standing::Settled), Hub::new("us", 1, Standing::Settled));
    us.create(6);
    eu.hear(at(1), &us);
    eu.shortfall(4);
    let recalled = eu.log.len();
    eu.create(1);
    us.escrow.on_cut(&eu.holder, Offset::new(0));
    for (offset, record) in (0..).zip(&eu.log).skip(recalled) {
        us.escrow.on_record(at(2), &eu.holder, Offset::new(offset), record);
    }
    us.run(at(2));
    let before = us.available();

    us.hear(at(3), &eu);
    us.hear(at(4), &eu);

    assert_eq!((before, us.available()), (6, 2));
    assert_eq!(us.restarted(&[&eu]).available(), 2);
}

#[test]
fn what_is_owed_is_paid_by_a_promise_that_is_released() {
    let mut eu = Hub::new("eu", 1, Standing::Settled);
    eu.create(5);
    let _granted = (eu.reserve(at(1), "a", 3), eu.reserve(at(1), "b", 1));
    eu.shortfall(3);
    assert_eq!((eu.available(), eu.short), (0, 2));

    eu.close("b", Closing::Released);
    assert_eq!(eu.available(), 0, "one of the two units owed");
    eu.close("a", Closing::Released);

    assert_eq!(eu.available(), 2, "two of five are there, and none is promised");
}

#[test]
fn a_request_names_one_reservation_of_each_sku() {
    let mut eu = Hub::new("eu", 1, Standing::Settled);
    let other = Sku::new("t").unwrap();
    eu.create(5);
    eu.escrow.on_create(&request("o"), &other, units(5)).unwrap();
    eu.run(at(1));

    eu.escrow.on_reserve(at(1), &request("a"), &sku(), units(2));
    eu.escrow.on_reserve(at(1), &request("a"), &other, units(3));
    eu.run(at(1));

    assert_eq!((eu.available(), eu.escrow.available(&other)), (3, 2));
    assert_eq!(eu.answers.len(), 2);
}

#[test]
fn a_reservation_stays_open_when_another_region_granted_one_of_the_same_name() {
    let (mut eu, mut us) =
        (Hub::new("eu", 1, Standing::Settled), Hub::new("us", 1, Standing::Settled));
    eu.create(5);
    us.create(5);
    let _granted = (eu.reserve(at(1), "a", 2), us.reserve(at(1), "a", 3));
    eu.hear(at(1), &us);

    eu.close("a", Closing::Released);

    assert_eq!(eu.available(), 5);
    let (holder, units) = (us.holder.clone(), units(3));
    let elsewhere = Answer::PromisedElsewhere { holder, units };
    assert_eq!(eu.reserve(at(2), "a", 2), Some(elsewhere));
}

#[test]
fn a_request_that_comes_again_with_other_units_is_not_granted() {
    let mut eu = Hub::new("eu", 1, Standing::Settled);
    eu.create(9);
    let _granted = eu.reserve(at(1), "a", 2);

    let answer = eu.reserve(at(1), "a", 3);

    assert_eq!(answer, Some(Answer::OtherUnits { promised: units(2) }));
    assert_eq!(eu.available(), 7);
}

#[test]
fn a_record_with_fewer_units_than_none_or_more_than_the_limit_is_refused() {
    let of = |units: i64| format!(r#"{{"sku":"s","act":"create","units":{units}}}"#);

    for found in [-1, 1_000_000_001] {
        let error = EscrowRecord::parse(of(found).as_bytes()).unwrap_err();
        let expected = format!("{found} units, expected 0 to 1000000000");
        assert!(error.detail.starts_with(&expected), "{error}");
    }
    let act = Act::Create { request: None, units: units(1_000_000_000) };
    assert_eq!(EscrowRecord::parse(of(1_000_000_000).as_bytes()).unwrap().act, act);
}

#[test]
fn an_offer_or_a_recall_asked_for_twice_counts_once_whether_durable_or_under_way() {
    let mut eu = Hub::new("eu", 1, Standing::Settled);

    for _ in 0..2 {
        eu.escrow.on_create(&request("o"), &sku(), units(9)).unwrap();
    }
    eu.run(at(0));
    eu.escrow.on_create(&request("o"), &sku(), units(9)).unwrap();
    for _ in 0..2 {
        eu.escrow.on_shortfall(&request("m"), &sku(), units(4)).unwrap();
    }
    eu.run(at(1));
    eu.escrow.on_shortfall(&request("m"), &sku(), units(4)).unwrap();
    eu.run(at(2));

    assert_eq!(eu.available(), 5);
    assert_eq!(eu.log.len(), 3, "an offer, a recall and its answer");
    let mut again = eu.restarted(&[]);
    again.escrow.on_create(&request("o"), &sku(), units(9)).unwrap();
    again.escrow.on_shortfall(&request("m"), &sku(), units(4)).unwrap();
    assert_eq!(again.escrow.poll_output(), None);
}

#[test]
fn an_offer_under_a_name_that_is_taken_is_refused_with_what_has_it() {
    let mut eu = Hub::new("eu", 1, Standing::Settled);
    eu.escrow.on_create(&request("o"), &sku(), units(9)).unwrap();

    let under_way = eu.escrow.on_create(&request("o"), &sku(), units(8)).unwrap_err();
    eu.run(at(0));
    let other_kind = eu.escrow.on_shortfall(&request("o"), &sku(), units(9)).unwrap_err();

    assert_eq!(under_way, OrderError::Taken { kind: OrderKind::Offer, units: units(9) });
    assert_eq!(under_way, other_kind);
    let text = "the request is an offer of 9 units already; use another name";
    assert_eq!(other_kind.to_string(), text);
    assert_eq!(eu.available(), 9);
}

#[test]
fn a_name_of_an_offer_is_forgotten_after_as_many_others_as_are_remembered() {
    let mut eu = Hub::new("eu", 1, Standing::Settled);
    let mut offer = |name: usize| {
        let before = eu.log.len();
        eu.escrow.on_create(&request(&format!("o{name}")), &sku(), units(1)).unwrap();
        eu.run(at(0));
        eu.log.len() - before
    };
    for name in 0..ORDERS_LIMIT {
        assert_eq!(offer(name), 1);
    }

    assert_eq!(offer(0), 0, "the oldest one is still remembered");
    assert_eq!(offer(ORDERS_LIMIT), 1);
    assert_eq!(offer(0), 1, "and forgotten for one more");
}

#[test]
fn an_offer_of_before_offers_had_names_still_counts() {
    let record = EscrowRecord::parse(br#"{"sku":"s","act":"create","units":5}"#).unwrap();
    let mut eu = Hub::new("eu", 1, Standing::Settled);

    eu.escrow.replay(&holder("eu", 1), Offset::new(0), &record);

    assert_eq!(eu.available(), 5);
}
