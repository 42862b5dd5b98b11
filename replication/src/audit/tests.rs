//! An audit against logs that lost, doubled or changed something.

use headland_event::{
    Batch, DropPolicy, EventTime, Hole, Offset, PartitionIndex, Record, TopicName,
};
use proptest::prelude::*;

use super::*;

const START: Monotonic = Monotonic::from_millis(0);
const WRITER: Incarnation = Incarnation::new(1, 7);
const READER: Incarnation = Incarnation::new(1, 8);
const STREAM: StreamId = StreamId::new([3; 16]);

fn partition() -> TopicPartition {
    TopicPartition::new(TopicName::new("air").unwrap(), PartitionIndex::new(0))
}

fn entry_of(sequence: u64, values: &[String]) -> Entry {
    let records: Vec<Record> = values
        .iter()
        .map(|value| Record::new(EventTime::from_millis(1), "k", value.clone()))
        .collect();
    let dot = Dot { stream: STREAM, incarnation: WRITER, sequence: Sequence::new(sequence) };
    let base = Offset::new(sequence - 1);
    Entry { base, dot, stamp: None, batch: Batch::encode(&records).unwrap() }
}

/// Batches of so many records each, the first at sequence 1.
fn entries(sizes: &[usize]) -> Vec<Entry> {
    let mut next = 1;
    let mut batch = |size: &usize| {
        let values: Vec<String> = (0..*size).map(|at| format!("{next}+{at}")).collect();
        let entry = entry_of(next, &values);
        next += entry.batch.span();
        entry
    };
    sizes.iter().map(&mut batch).collect()
}

/// The writer and a node that holds its stream.
struct Pair {
    writer: Audit,
    reader: Audit,
    /// What the log of that node holds.
    log: Vec<Entry>,
    /// Where it begins, and where it ends.
    start: Offset,
    end: Offset,
    now: Monotonic,
}

impl Pair {
    fn new() -> Self {
        let [start, end] = [Offset::new(0); 2];
        let (writer, reader) = (Audit::new(WRITER, START), Audit::new(READER, START));
        Self { writer, reader, log: Vec::new(), start, end, now: START }
    }

    fn write(&mut self, entries: &[Entry]) {
        for entry in entries {
            self.writer.on_entry(&partition(), entry);
        }
    }

    fn read(&mut self, entries: &[Entry]) {
        for entry in entries {
            let entry = Entry { base: self.end, ..entry.clone() };
            self.end = entry.end();
            self.reader.on_entry(&partition(), &entry);
            self.log.push(entry);
        }
    }

    /// Damage takes an entry of the log, which was read before.
    fn lose(&mut self, lost: &Entry) {
        self.log.retain(|entry| entry.dot != lost.dot);
    }

    /// Offsets of the log are gone that were never read.
    fn skip(&mut self, offsets: u64) {
        self.end = self.end.after(offsets);
    }

    /// Both go on from their snapshots.
    fn restart(&mut self) {
        for audit in [&mut self.writer, &mut self.reader] {
            let mut writer = Writer::new();
            audit.write(&mut writer);
            *audit = Audit::read(audit.born, self.now, &mut Reader::new(writer.finish())).unwrap();
        }
    }

    /// Reads the log where the reader asks for it, two entries at once.
    fn look_up(&mut self) {
        while let Some((_, from)) = self.reader.poll_read() {
            let found = self.log.iter().filter(|entry| from <= entry.base).take(2);
            let found: Vec<Entry> = found.cloned().collect();
            self.reader.on_read(&found, self.start);
        }
    }

    /// What the writer states after an interval.
    fn stated(&mut self) -> Vec<Statement> {
        self.now = self.now.after(INTERVAL);
        let stated = self.writer.on_timeout(self.now);
        stated.into_iter().map(|(_, statement)| statement).collect()
    }

    fn state(&mut self) {
        for statement in self.stated() {
            self.reader.on_statement(WRITER, statement);
        }
    }

    fn faults(&mut self) -> Vec<Fault> {
        self.look_up();
        std::iter::from_fn(|| self.reader.poll_fault()).collect()
    }
}

#[test]
fn equal_logs_agree() {
    let mut pair = Pair::new();
    let entries = entries(&[3, 1, 900, 200, 5]);

    pair.write(&entries);
    pair.read(&entries);
    pair.state();
    pair.state();

    // The block of 1,104 records first, then the five behind it.
    assert_eq!(pair.faults(), []);
    assert_eq!(pair.reader.counts(), Counts { agreed: 2, ..Counts::default() });
    assert_eq!(pair.writer.poll_timeout(), None);
}

#[test]
fn a_batch_that_is_not_there_is_named_with_its_range_once() {
    let mut pair = Pair::new();
    let entries = entries(&[2, 3, 4, 5, 6]);
    pair.write(&entries[..2]);
    pair.read(&entries[..2]);
    pair.state();

    pair.write(&entries[2..4]);
    pair.read(&entries[3..4]);
    pair.state();
    pair.write(&entries[4..]);
    pair.read(&entries[4..]);
    pair.state();

    let faults = pair.faults();
    let range = (faults[0].from, faults[0].to);
    assert_eq!(faults.len(), 1);
    assert_eq!(range, (Sequence::new(6), Sequence::new(15)));
    assert_eq!(faults[0].kind(), FaultKind::Missing(4));
    assert_eq!(pair.reader.counts().agreed, 2);
}

#[test]
fn a_batch_that_is_there_twice_is_named() {
    let mut pair = Pair::new();
    let entries = entries(&[2, 3]);

    pair.write(&entries);
    pair.read(&[entries[0].clone(), entries[1].clone(), entries[1].clone()]);
    pair.state();

    assert_eq!(pair.faults()[0].kind(), FaultKind::Doubled(3));
}

#[test]
fn another_record_in_the_place_of_one_is_named() {
    let mut pair = Pair::new();
    let entries = entries(&[1, 1]);

    pair.write(&entries);
    pair.read(&[entries[0].clone(), entry_of(2, &["other".to_owned()])]);
    pair.state();

    let faults = pair.faults();
    assert_eq!(faults[0].kind(), FaultKind::Different);
    let text = faults[0].to_string();
    assert!(
        text.starts_with("records are not those that were written in air/0: of 0303"),
        "{text}"
    );
    assert!(text.ends_with("from 1 to before 3"), "{text}");
}

#[test]
fn a_statement_waits_for_the_records_it_is_about() {
    let mut pair = Pair::new();
    let entries = entries(&[2, 3, 4]);
    pair.write(&entries);
    let stated = pair.stated();
    pair.read(&entries[..1]);

    pair.reader.on_statement(WRITER, stated[0]);
    let before = pair.reader.counts();
    pair.read(&entries[1..]);

    assert_eq!(before.agreed, 0);
    assert_eq!(pair.reader.counts().agreed, 1);
}

#[test]
fn a_statement_about_a_fast_stream_is_compared_although_it_comes_late() {
    let mut pair = Pair::new();
    let sizes = [100; 300];
    let entries = entries(&sizes);
    pair.write(&entries[..150]);
    let stated = pair.stated();
    pair.read(&entries);

    pair.reader.on_statement(WRITER, stated[0]);

    assert_eq!(pair.reader.counts(), Counts { agreed: 1, ..Counts::default() });
}

#[test]
fn what_a_log_says_itself_is_gone_is_no_fault_whenever_statements_come() {
    for dot_is_known in [true, false] {
        let mut pair = Pair::new();
        let entries = entries(&[2, 3, 4, 5]);
        let mut stated = Vec::new();
        for entry in &entries {
            pair.write(std::slice::from_ref(entry));
            stated.extend(pair.stated());
        }
        let hole = Hole { count: 3, policy: DropPolicy::Bytes };
        let hole = hole.to_batch(3, EventTime::from_millis(1)).unwrap();
        let mut gone = Entry { batch: hole, ..entries[1].clone() };
        if !dot_is_known {
            gone.dot.sequence = Sequence::new(0);
        }
        pair.read(&[entries[0].clone(), gone, entries[2].clone(), entries[3].clone()]);

        for statement in stated {
            pair.reader.on_statement(WRITER, statement);
        }

        // Only the last range lies behind the hole with both its ends.
        assert_eq!(pair.faults(), []);
        assert!(pair.reader.counts().agreed >= 1, "{:?}", pair.reader.counts());
    }
}

#[test]
fn a_writer_that_begins_to_count_anew_is_no_fault() {
    let mut pair = Pair::new();
    let entries = entries(&[2, 3, 4, 5]);
    pair.write(&entries[..2]);
    pair.read(&entries);
    pair.state();

    pair.writer = Audit::new(WRITER, pair.now);
    pair.write(&entries[2..3]);
    pair.state();
    pair.write(&entries[3..]);
    pair.state();

    assert_eq!(pair.faults(), []);
    assert_eq!(pair.reader.counts().agreed, 3);
}

#[test]
fn two_routes_of_one_stream_are_compared_each_for_itself() {
    let mut pair = Pair::new();
    let entries = entries(&[2, 3]);
    let other = TopicPartition { topic: TopicName::new("us.air").unwrap(), ..partition() };
    pair.write(&entries);
    pair.read(&entries);
    pair.reader.on_entry(&other, &entries[0]);

    pair.state();
    pair.reader.on_entry(&other, &entries[1]);

    assert_eq!(pair.faults(), []);
    assert_eq!(pair.reader.counts(), Counts { agreed: 2, ..Counts::default() });
}

#[test]
fn what_is_sent_again_as_a_whole_is_named_once() {
    let mut pair = Pair::new();
    let entries = entries(&[2, 3, 4, 5]);
    pair.write(&entries[..2]);
    pair.read(&entries[..2]);
    pair.state();

    pair.write(&entries[2..3]);
    pair.read(&entries[..3]);
    pair.state();
    pair.write(&entries[3..]);
    pair.read(&entries[3..]);
    pair.state();

    let kinds: Vec<FaultKind> = pair.faults().iter().map(Fault::kind).collect();
    assert_eq!(kinds, [FaultKind::Doubled(2)]);
    assert_eq!(pair.reader.counts().agreed, 3);
}

#[test]
fn what_damage_took_and_comes_again_behind_all_else_is_no_fault_and_a_double_of_it_is() {
    // Whether the sums have what was lost, or a start read over the damage.
    for is_summed in [true, false] {
        for is_stated_before in [true, false] {
            let mut pair = Pair::new();
            let entries = entries(&[2, 3, 4, 5, 6]);
            pair.write(&entries[..4]);
            pair.read(&entries[..1]);
            if is_summed {
                pair.read(&entries[1..3]);
                entries[1..3].iter().for_each(|lost| pair.lose(lost));
            } else {
                pair.skip(7);
            }
            pair.read(&entries[3..4]);
            if is_stated_before {
                pair.state();
            }
            pair.restart();
            pair.read(&entries[1..3]);
            pair.restart();
            pair.state();
            pair.write(&entries[4..]);
            pair.read(&entries[4..]);
            pair.state();
            assert_eq!(pair.faults(), [], "{is_summed} {is_stated_before}");
            assert!(pair.reader.counts().agreed >= 1, "{is_summed} {is_stated_before}");

            pair.read(&entries[1..2]);
            pair.restart();

            let faults = pair.faults();
            let range = (faults[0].from, faults[0].to);
            assert_eq!(range, (Sequence::new(3), Sequence::new(6)));
            assert_eq!(faults.iter().map(Fault::kind).collect::<Vec<_>>(), [FaultKind::Doubled(3)]);
        }
    }
}

#[test]
fn what_is_missing_where_the_log_lost_nothing_is_named_although_it_lost_some_before() {
    let mut pair = Pair::new();
    let entries = entries(&[2, 3, 4, 5, 6]);
    pair.write(&entries[..3]);
    pair.read(&entries[..1]);
    pair.skip(3);
    pair.read(&entries[2..3]);
    pair.state();

    pair.write(&entries[3..]);
    pair.read(&entries[4..]);
    pair.state();

    let kinds: Vec<FaultKind> = pair.faults().iter().map(Fault::kind).collect();
    assert_eq!(kinds, [FaultKind::Missing(5)]);
}

#[test]
fn a_stream_that_goes_on_behind_offsets_that_are_gone_is_compared_as_before() {
    let mut pair = Pair::new();
    let entries = entries(&[2, 3]);
    pair.write(&entries);
    pair.read(&entries[..1]);

    pair.skip(10_000);
    pair.read(&entries[1..]);
    pair.state();

    assert_eq!(pair.faults(), []);
    assert_eq!(pair.reader.counts(), Counts { agreed: 1, ..Counts::default() });
}

#[test]
fn what_the_log_let_go_and_comes_again_is_named() {
    for (start, expected) in [(0, 0), (2, 1)] {
        let mut pair = Pair::new();
        let entries = entries(&[2, 3]);
        pair.read(&entries);
        pair.lose(&entries[0]);
        pair.start = Offset::new(start);

        pair.read(&entries[..1]);

        assert_eq!(pair.faults().len(), expected);
    }
}

#[test]
fn where_a_log_cannot_be_read_nothing_is_said_of_what_came_again() {
    let mut pair = Pair::new();
    let entries = entries(&[2, 3]);
    pair.read(&entries);
    pair.read(&entries[..1]);

    let place = pair.reader.poll_read();
    assert!(pair.reader.pass_over(Offset::new(1)));
    assert!(!pair.reader.pass_over(Offset::new(1)));
    pair.reader.give_up();

    assert_eq!(place, Some((partition(), Offset::new(0))));
    assert_eq!(pair.reader.poll_read(), None);
    assert_eq!(pair.reader.counts(), Counts { unchecked: 1, ..Counts::default() });
}

#[test]
fn nobody_states_anything_about_what_somebody_else_writes() {
    let mut pair = Pair::new();
    let entries = entries(&[2]);
    pair.write(&entries);
    let mut stated = pair.stated();
    pair.read(&entries);
    stated[0].digest.sum ^= 1;

    pair.reader.on_statement(Incarnation::new(1, 9), stated[0]);

    assert_eq!((pair.reader.counts(), pair.faults()), (Counts::default(), Vec::new()));
}

#[test]
fn both_go_on_from_their_snapshots() {
    let mut pair = Pair::new();
    let entries = entries(&[2, 3, 4, 5]);
    pair.write(&entries[..2]);
    pair.read(&entries[..2]);
    pair.state();
    pair.write(&entries[2..3]);
    pair.read(&entries[2..3]);

    pair.restart();
    pair.write(&entries[3..]);
    pair.state();

    assert_eq!(pair.reader.counts(), Counts::default());
    pair.read(&entries[3..]);
    assert_eq!(pair.reader.counts(), Counts { agreed: 1, ..Counts::default() });
}

#[test]
fn a_statement_survives_its_bytes() {
    let mut pair = Pair::new();
    pair.write(&entries(&[2]));

    let stated = pair.stated()[0];

    assert_eq!(Statement::decode(stated.encode()), Ok(stated));
    assert!(Statement::decode(stated.encode().slice(1..)).is_err());
}

#[test]
fn beyond_the_limit_the_streams_go_that_were_idle_longest() {
    let mut audit = Audit::new(READER, START);
    let [entry] = &entries(&[1])[..] else { panic!("one batch") };
    for raw in 0..=u128::try_from(STREAMS_LIMIT).unwrap() {
        let dot = Dot { stream: StreamId::new(raw.to_be_bytes()), ..entry.dot };
        audit.on_entry(&partition(), &Entry { dot, ..entry.clone() });
    }

    let gone = STREAMS_LIMIT / 16 + 1;
    assert_eq!(audit.streams(), STREAMS_LIMIT - gone + 1);
    assert_eq!(audit.counts().left_out, u64::try_from(gone).unwrap());
}

/// What is done to one batch on its way.
#[derive(Debug, Clone, Copy)]
enum Planted {
    Nothing,
    Dropped,
    Doubled,
    Changed,
}

proptest! {
    #[test]
    fn a_planted_fault_is_named_and_nothing_else_whenever_statements_come(
        sizes in prop::collection::vec(1_usize..300, 3..30),
        pauses in prop::collection::vec((any::<bool>(), any::<bool>()), 30),
        at in any::<prop::sample::Index>(),
        planted in prop::sample::select(vec![
            Planted::Nothing, Planted::Dropped, Planted::Doubled, Planted::Changed,
        ]),
    ) {
        let mut pair = Pair::new();
        let entries = entries(&sizes);
        // The first batch and the last are whole: without the first the log begins in the middle
        // of a life, and what ends a log is only late until something follows.
        let at = 1 + at.index(sizes.len() - 2);
        let mut statements = Vec::new();
        for (index, (entry, (states, hears))) in entries.iter().zip(&pauses).enumerate() {
            pair.write(std::slice::from_ref(entry));
            if *states {
                statements.extend(pair.stated());
            }
            let copies = match planted {
                Planted::Dropped if index == at => Vec::new(),
                Planted::Doubled if index == at => vec![entry.clone(), entry.clone()],
                Planted::Changed if index == at => {
                    let values: Vec<String> =
                        (0..entry.batch.len()).map(|at| format!("x{at}")).collect();
                    vec![entry_of(entry.dot.sequence.get(), &values)]
                }
                _ => vec![entry.clone()],
            };
            pair.read(&copies);
            if *hears {
                for statement in statements.drain(..) {
                    pair.reader.on_statement(WRITER, statement);
                }
            }
        }
        // A block first, then what lies behind it.
        statements.extend(pair.stated());
        statements.extend(pair.stated());
        prop_assert_eq!(pair.writer.poll_timeout(), None);
        for statement in statements {
            pair.reader.on_statement(WRITER, statement);
        }
        let faults = pair.faults();

        let bad = entries[at].dot.sequence;
        let is_named = |fault: &Fault| fault.from <= bad && bad < fault.to;
        match planted {
            Planted::Nothing => prop_assert_eq!(faults, []),
            _ => {
                prop_assert!(faults.len() <= 1, "{:?}", faults);
                // Where ends are forgotten before a statement comes, its range is not compared.
                let is_checked = pair.reader.counts().unchecked == 0;
                prop_assert!(!is_checked || faults.iter().any(is_named), "{:?}", faults);
            }
        }
    }
}
