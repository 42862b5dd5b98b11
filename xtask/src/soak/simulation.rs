//! Whole regions in one thread, for many seeds: `tests/tests/simulation.rs` built for release.

use anyhow::{Context, Result};
use serde_json::{Map, Value, json};

use super::{Measured, options};
use crate::step;
use crate::workspace::Workspace;

/// What a line begins with that says what one of the tests met.
const SAID: &str = "simulation: ";

/// Every kind of schedule so many times, and how often each kind of fault was met.
pub(super) fn run(workspace: &Workspace, arguments: &[String]) -> Result<Measured> {
    let given = options(arguments, &["--schedules", "--first"])?;
    let number = |name, of| {
        let text = given.get(name).copied().unwrap_or(of);
        text.parse::<u64>().with_context(|| format!("{name} cannot be {text}"))
    };
    let (count, first) = (number("--schedules", "1000")?, number("--first", "1")?);
    let mut cargo = workspace.cargo();
    cargo.args(["test", "--release", "--locked", "--package", "headland-tests"]);
    cargo.args(["--test", "simulation", "--", "--nocapture"]);
    cargo.env("HEADLAND_SIM_SCHEDULES", count.to_string());
    cargo.env("HEADLAND_SIM_FIRST", first.to_string());
    let outcome = step::run_kept(&format!("{count} schedules of each kind"), &mut cargo)?;
    Ok(Measured {
        is_green: outcome.is_success,
        conditions: Value::Null,
        result: json!({
            "schedules_of_each_kind": count,
            "first_seed": first,
            "is_green": outcome.is_success,
            "took_seconds": outcome.took.as_secs(),
            "tests": said(&outcome.output),
        }),
    })
}

/// What the tests said, by test.
fn said(output: &str) -> Value {
    let mut tests = Map::new();
    for line in output.lines() {
        let Some((_, said)) = line.split_once(SAID) else { continue };
        let Ok(Value::Object(mut said)) = serde_json::from_str(said) else { continue };
        if let Some(Value::String(test)) = said.remove("test") {
            tests.insert(test, said.into());
        }
    }
    tests.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_tests_say_is_found_among_other_lines() {
        let output = "running 2 tests\n\
                      test a ... simulation: {\"test\":\"a\",\"faults\":{\"cuts\":3}}\n\
                      simulation: {\"test\":\"b\"\n\
                      simulation: of a world\n";

        assert_eq!(said(output), json!({"a": {"faults": {"cuts": 3}}}));
    }
}
