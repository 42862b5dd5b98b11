//! The quickstart for many seeds in a row: one red seed makes the whole red.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::{Measured, option};
use crate::quickstart;
use crate::step;
use crate::workspace::Workspace;

/// Seeds when `--seeds` does not say otherwise.
const SEEDS: u64 = 20;

/// Builds once, then runs seeds 1 to N.
pub(super) fn run(workspace: &Workspace, arguments: &[String]) -> Result<Measured> {
    let seeds = match option(arguments, "--seeds")? {
        Some(text) => text.parse().context("--seeds takes a whole number")?,
        None => SEEDS,
    };
    let headland = quickstart::build(workspace)?;
    let (mut red, mut took) = (Vec::new(), Vec::new());
    for seed in 1..=seeds {
        let mut command = Command::new(&headland);
        command.args(["quickstart", "--check", "--seed", &seed.to_string()]);
        let outcome = step::run_kept(&format!("seed {seed} of {seeds}"), &mut command)?;
        if !outcome.is_success {
            red.push(seed);
        }
        took.push(outcome.took);
    }
    Ok(summary(seeds, &red, &took))
}

fn summary(seeds: u64, red: &[u64], took: &[Duration]) -> Measured {
    let longest = took.iter().max().copied().unwrap_or_default();
    Measured {
        is_green: red.is_empty() && seeds > 0,
        conditions: Value::Null,
        result: json!({
            "seeds": seeds,
            "red_seeds": red,
            "seconds_max": longest.as_secs_f64(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_red_seed_makes_the_soak_red() {
        let took = [Duration::from_secs(61), Duration::from_secs(64)];

        assert!(summary(2, &[], &took).is_green);
        let red = summary(2, &[2], &took);
        assert!(!red.is_green);
        assert_eq!(red.result, json!({"seeds": 2, "red_seeds": [2], "seconds_max": 64.0}));
    }

    #[test]
    fn no_seed_proves_nothing() {
        assert!(!summary(0, &[], &[]).is_green);
    }
}
