//! What becomes of alerts that are raised while their windows are open.

use std::collections::BTreeMap;

use headland_event::{AlertId, AlertState};

use super::*;
use crate::output::Change;
use crate::revisions::Revisions;

/// Windows whose early results no further row refutes, and windows whose early results may fall.
const RAISED: &str = "
    CREATE TABLE many (k STRING, c BIGINT)
      WITH ('topic' = 'alerts', 'emit.early' = '2 s', 'allowed-lateness' = '8 s');
    INSERT INTO many SELECT k, COUNT(*)
    FROM TABLE(TUMBLE(TABLE t, DESCRIPTOR(ts), INTERVAL '10' SECOND))
    GROUP BY k, window_start, window_end HAVING COUNT(*) > 1 OR MIN(v) < 0;
    CREATE TABLE low (k STRING, c BIGINT)
      WITH ('topic' = 'alerts', 'emit.early' = '2 s', 'allowed-lateness' = '8 s');
    INSERT INTO low SELECT k, COUNT(*)
    FROM TABLE(HOP(TABLE t, DESCRIPTOR(ts), INTERVAL '5' SECOND, INTERVAL '10' SECOND))
    GROUP BY k, window_start, window_end HAVING MAX(v) < 20;";

/// The states that each alert went through, by rule, key and window, as nodes write them.
fn states(
    engine: &Engine,
    outputs: &[Output],
) -> BTreeMap<(String, String, String), Vec<AlertState>> {
    let results: Vec<&RuleResult> = outputs
        .iter()
        .filter_map(|output| match output {
            Output::Result(result) => Some(result),
            _ => None,
        })
        .collect();
    let (mut revisions, mut states) = (Revisions::default(), BTreeMap::new());
    for (index, result) in results.iter().enumerate() {
        let name = (result.rule.to_string(), result.key.clone(), result.window.clone());
        // The row that takes its place says all.
        let next = results.get(index + 1).filter(|next| {
            (&*next.rule, &next.key, &next.window) == (&*result.rule, &result.key, &result.window)
        });
        let is_replaced = result.change == Change::UpdateBefore
            && next.is_some_and(|next| next.change == Change::UpdateAfter);
        if is_replaced {
            continue;
        }
        let rule = engine.program().rules().iter().find(|rule| *rule.name() == result.rule);
        let id = AlertId::derive(&name.0, &name.1, &name.2);
        let said = revisions.on_result(id, rule.unwrap(), result);
        states.entry(name).or_insert_with(Vec::new).extend(said.map(|(state, _)| state));
    }
    states
}

proptest! {
    #[test]
    fn a_monotone_alert_is_never_retracted_and_every_pending_one_ends(inputs in inputs()) {
        let mut engine = engine(RAISED);
        for (offset, input) in inputs.iter().enumerate() {
            feed(&mut engine, offset, input);
        }
        finish(&mut engine);
        let outputs = drain(&mut engine);

        for ((rule, key, window), states) in states(&engine, &outputs) {
            if rule == "many" {
                prop_assert!(states.iter().all(|of| *of == AlertState::Firing), "{:?}", states);
            }
            let is_open = states.last() == Some(&AlertState::Pending);
            prop_assert!(!is_open, "{} {} {} ends pending: {:?}", rule, key, window, states);
        }
    }
}

#[test]
fn what_may_fall_is_pending_until_its_window_is_final() {
    let mut engine = engine(RAISED);
    let rows = [
        ("a", Some(5), 1_000),
        ("a", Some(6), 3_000),
        ("a", Some(30), 5_500),
        ("b", Some(1), 40_000),
    ];

    let outputs = run(&mut engine, &rows);
    finish(&mut engine);
    let outputs = [outputs, drain(&mut engine)].concat();

    let states = states(&engine, &outputs);
    let of = |rule: &str, window: &str| {
        states[&(rule.to_owned(), "a".to_owned(), window.to_owned())].clone()
    };
    assert_eq!(of("many", "10000")[0], AlertState::Firing);
    assert_eq!(of("low", "5000"), [AlertState::Pending, AlertState::Confirmed]);
    assert_eq!(of("low", "10000"), [AlertState::Pending, AlertState::Retracted]);
}
