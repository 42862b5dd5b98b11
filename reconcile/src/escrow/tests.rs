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
        let config = EscrowConfig { holder: holder.clone(), standing, floor: 2, ask_again: LATER };
        let escrow = Escrow::new(config, 3);
        Self { escrow, holder, log: Vec::new(), answers: Vec::new(), short: 0 }
    }

    /// Makes durable what is to be, and keeps the answers.
    fn run(&mut self, now: Monotonic) {
        while let Some(output) = self.escrow.poll_output() {
            match output {
                EscrowOutput::Commit(record) => {
                    let offset = Offset::new(self.log.len() as u64);
                    self.log.push(record.clone());
                    self.escrow.on_record(now, &self.holder, offset, &record);
                }
                EscrowOutput::Answer { request, answer } => self.answers.push((request, answer)),
                EscrowOutput::Short { units, .. } => self.short += units,
            }
        }
    }

    fn hear(&mut self, now: Monotonic, other: &Self) {
        for (offset, record) in (0..).zip(&other.log) {
            self.escrow.on_record(now, &other.holder, Offset::new(offset), record);
        }
        self.run(now);
    }

    fn create(&mut self, units: i64) {
        self.escrow.on_create(&sku(), units);
        self.run(at(0));
    }

    fn reserve(&mut self, now: Monotonic, name: &str, units: i64) -> Option<Answer> {
        self.escrow.on_reserve(now, &request(name), &sku(), units);
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

    eu.escrow.on_reserve(at(1), &request("a"), &sku(), 3);

    assert_eq!(eu.available(), 2);
    let output = eu.escrow.poll_output();
    let Some(EscrowOutput::Commit(record)) = output else { panic!("no commit: {output:?}") };
    assert_eq!(eu.escrow.poll_output(), None, "no answer before the record is durable");
    eu.escrow.on_record(at(1), &eu.holder, Offset::new(1), &record);
    let answer = EscrowOutput::Answer { request: request("a"), answer: Answer::Granted };
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
fn what_is_released_can_be_promised_again_and_what_is_sold_cannot() {
    let mut eu = Hub::new("eu", 1, Standing::Settled);
    eu.create(5);
    let _granted = (eu.reserve(at(1), "a", 2), eu.reserve(at(1), "b", 3));

    eu.escrow.on_close(&request("a"), &sku(), Closing::Released);
    eu.escrow.on_close(&request("b"), &sku(), Closing::Sold);
    eu.run(at(2));
    eu.escrow.on_close(&request("a"), &sku(), Closing::Released);
    eu.run(at(2));

    assert_eq!(eu.available(), 2);
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

    let mut again = Hub::new("us", 1, Standing::Settled);
    for (offset, record) in (0..).zip(&eu.log) {
        again.escrow.replay(&eu.holder, Offset::new(offset), record);
    }
    for (offset, record) in (0..).zip(&us.log) {
        again.escrow.replay(&us.holder, Offset::new(offset), record);
    }
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

    eu.escrow.on_shortfall(&sku(), 6);
    eu.run(at(2));
    us.hear(at(2), &eu);

    assert_eq!((eu.available(), us.available()), (1, 0));
    assert_eq!(us.short, 1, "3 of the 4 that us should destroy were there");
}

#[test]
fn a_recall_of_more_than_there_is_says_how_much_is_missing() {
    let mut eu = Hub::new("eu", 1, Standing::Settled);
    eu.create(3);

    eu.escrow.on_shortfall(&sku(), 5);
    eu.run(at(1));

    assert_eq!((eu.available(), eu.short), (0, 2));
}

#[test]
fn a_record_survives_json() {
    let record = EscrowRecord {
        sku: sku(),
        act: Act::Give { to: holder("eu", 1), number: AskNumber(3), units: 4 },
    };

    let json = serde_json::to_string(&record).unwrap();

    assert_eq!(serde_json::from_str::<EscrowRecord>(&json).unwrap(), record);
    let expected = concat!(
        r#"{"sku":"s","act":"give","to":{"region":"eu","incarnation":"#,
        r#"{"counter":1,"nonce":9}},"number":3,"units":4}"#
    );
    assert_eq!(json, expected);
}
