//! Late rows that are missing at one node: what it says of their windows is not silently another.

use super::*;

/// What stands of each rule, key and window, and how sure it is said to be.
type Stands = BTreeMap<(String, String, String), (Finality, Option<Vec<String>>)>;

fn stands(outputs: &[Output]) -> (Stands, Stands) {
    let (mut last, mut finals) = (Stands::new(), Stands::new());
    for output in outputs {
        let Output::Result(result) = output else { continue };
        let id = (result.rule.to_string(), result.key.clone(), result.window.clone());
        let values = result.columns.iter().map(|(_, value)| value.to_string()).collect();
        let values = match result.change {
            Change::Insert | Change::UpdateAfter => Some(values),
            Change::UpdateBefore | Change::Delete => None,
        };
        let said = (result.finality, values);
        if said.0 == Finality::Final && said.1.is_some() {
            assert_eq!(finals.insert(id.clone(), said.clone()), None, "final once");
        }
        last.insert(id, said);
    }
    (last, finals)
}

fn read_all(sql: &str, logs: &[Vec<InLog>], turns: &[u32]) -> (Vec<Output>, u64) {
    let mut reader = Reader { engine: engine(sql), promised: [-1; 3] };
    let mut heads: Vec<_> = logs.iter().map(|log| log.iter()).collect();
    for turn in turns {
        if let Some(next) = heads[usize::try_from(*turn).unwrap()].next() {
            reader.read(*turn, next);
        }
    }
    for (log, head) in (0..).zip(heads) {
        head.for_each(|next| reader.read(log, next));
    }
    (0..3).for_each(|log| reader.read(log, &InLog::Promise(i64::MAX)));
    let limited = WINDOWS.map(|(rule, _)| reader.engine.load(rule).unwrap().limited);
    (drain(&mut reader.engine), limited.iter().sum())
}

proptest! {
    #[test]
    fn a_node_that_refuses_rows_at_a_limit_never_says_otherwise_than_one_that_has_room(
        logs in prop::collection::vec(prop::collection::vec(in_log(), 0..30), 3),
        [here, there] in prop::array::uniform2(prop::collection::vec(0_u32..3, 90)),
        keys in 1_usize..40,
    ) {
        let with = format!("'limit.keys' = '{keys}', 'emit.early'");
        let few = windows().replace("'emit.early'", &with);

        let (roomy, refused) = read_all(&windows(), &logs, &there);
        let (full, _) = read_all(&few, &logs, &here);

        prop_assert_eq!(refused, 0);
        let (others, other_finals) = stands(&roomy);
        let (own, own_finals) = stands(&full);
        for (id, said) in &own_finals {
            prop_assert_eq!(Some(said), other_finals.get(id), "final {:?}", id);
        }
        for (id, (finality, values)) in &own {
            if *finality != Finality::Provisional {
                let other = others.get(id).map(|(_, values)| values);
                prop_assert_eq!(Some(values), other, "{:?} {:?}", finality, id);
            }
        }
    }
}

/// Room for one key and window; rows may be a minute late.
const ONE: &str = "
    CREATE TABLE c (k STRING, c BIGINT)
      WITH ('topic' = 'c', 'limit.keys' = '1', 'allowed-lateness' = '1 min');
    INSERT INTO c SELECT k, COUNT(*) FROM TABLE(
      TUMBLE(TABLE t, DESCRIPTOR(ts), INTERVAL '10' SECOND))
    GROUP BY k, window_start, window_end;";

fn pass(engine: &mut Engine, millis: i64) -> Vec<String> {
    let time = EventTime::from_millis(millis);
    engine.on_watermark(T, time, Offset::new(0), EventTime::MIN);
    revisions(&drain(engine))
}

#[test]
fn a_late_row_that_is_refused_makes_its_window_say_again_once_that_it_is_not_certain() {
    let mut engine = engine(ONE);
    feed_logged(&mut engine, 0, &("a".to_owned(), 7, 1_000, false));
    let closed = pass(&mut engine, 10_000);

    let told = ["b", "c", "a"].map(|key| {
        feed_logged(&mut engine, 0, &(key.to_owned(), 7, 2_000, true));
        revisions(&drain(&mut engine))
    });

    assert_eq!(closed, ["Final +I a 10000: 1"]);
    assert_eq!(told[0], ["Provisional -U a 10000: 1", "Provisional +U a 10000: 1"]);
    assert_eq!(told[1], Vec::<String>::new(), "that is said already");
    // There is no room for the pane of late rows either.
    assert_eq!(told[2], Vec::<String>::new());
}

#[test]
fn a_window_is_final_all_the_same_when_late_rows_of_it_are_missing_and_then_says_so() {
    let mut engine = engine(MEANS);
    feed_logged(&mut engine, 0, &("a".to_owned(), 7, 1_000, false));
    feed_logged(&mut engine, 0, &("b".to_owned(), 7, 1_000, false));
    feed_logged(&mut engine, 0, &("b".to_owned(), 7, 1_000, true));
    let at = EventTime::from_millis;
    engine.on_doubt(T, (EventTime::MIN, at(3_000)), Offset::new(0), EventTime::MIN);
    assert_eq!(revisions(&drain(&mut engine)), Vec::<String>::new());
    let snapshot = engine.snapshot();
    let mut restored = Engine::restore(engine.program().clone(), 3, snapshot.clone()).unwrap();
    assert_eq!(restored.snapshot(), snapshot);

    for engine in [&mut engine, &mut restored] {
        let told = pass(engine, 5_000);

        let expected = [
            "Final +I a 5000: 1",
            "Final +I b 5000: 1",
            "Provisional -U b 5000: 1",
            "Provisional +U b 5000: 2",
            "Provisional -U a 5000: 1",
            "Provisional +U a 5000: 1",
        ];
        assert_eq!(told, expected);
    }
}

#[test]
fn a_snapshot_of_before_there_were_doubts_is_read() {
    let mut engine = engine(MEANS);
    feed_logged(&mut engine, 0, &("a".to_owned(), 7, 1_000, false));
    engine.on_gap(T, EventTime::from_millis(6_000), EventTime::from_millis(8_000));
    let snapshot = engine.snapshot();
    let mut before = snapshot.to_vec();
    before[0] = 6;

    let mut restored = Engine::restore(engine.program().clone(), 3, before.into()).unwrap();

    assert_eq!(restored.snapshot(), snapshot);
}
