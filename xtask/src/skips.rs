//! Tests that did not run, and the list of those that may.
//!
//! A test is skipped when libtest ignores it, or when it says so itself with a line
//! `skipped: <test>: <reason>` on its standard error (an absent optional data set, say).

use std::collections::BTreeSet;
use std::fs;

use anyhow::{Context, Result, bail};

use crate::workspace::Workspace;

/// The list of tests that may be skipped, one a line, `#` before a comment.
const LIST: &str = "tests/skips.txt";

/// Checks a test log that was written by `cargo test`.
pub(crate) fn run(workspace: &Workspace, arguments: &[String]) -> Result<()> {
    let [path] = arguments else {
        bail!("usage: cargo xtask skips LOG");
    };
    let log = fs::read_to_string(path).with_context(|| format!("cannot read {path}"))?;
    check(workspace, &log)
}

/// Prints the tests that `log` skipped and fails on one that the list does not name.
pub(crate) fn check(workspace: &Workspace, log: &str) -> Result<()> {
    let skipped = skipped(log);
    eprintln!("skipped tests: {}", skipped.len());
    for Skip { test, reason } in &skipped {
        eprintln!("  {test}: {reason}");
    }
    let unlisted = unlisted(&skipped, &workspace.read(LIST)?);
    if unlisted.is_empty() {
        return Ok(());
    }
    bail!("skipped, but not named in {LIST}: {}", unlisted.join(", "))
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Skip {
    test: String,
    reason: String,
}

fn skipped(log: &str) -> BTreeSet<Skip> {
    log.lines().filter_map(|line| ignored_by_libtest(line).or_else(|| said_by_test(line))).collect()
}

/// Reads `test name ... ignored` or `test name ... ignored, reason`.
fn ignored_by_libtest(line: &str) -> Option<Skip> {
    let (test, verdict) = line.strip_prefix("test ")?.split_once(" ... ")?;
    let reason = verdict.strip_prefix("ignored")?;
    // A doc test that is ignored is written `test file - item (line 3) ... ignored`.
    let reason = reason.trim_start_matches(',').trim();
    let reason = if reason.is_empty() { "ignored without a reason" } else { reason };
    Some(Skip { test: test.trim().to_owned(), reason: reason.to_owned() })
}

/// Reads `skipped: name: reason`.
fn said_by_test(line: &str) -> Option<Skip> {
    let (test, reason) = line.strip_prefix("skipped: ")?.split_once(": ")?;
    Some(Skip { test: test.to_owned(), reason: reason.trim().to_owned() })
}

fn unlisted(skipped: &BTreeSet<Skip>, list: &str) -> Vec<String> {
    let listed: BTreeSet<&str> = list
        .lines()
        .map(|line| line.split_once('#').map_or(line, |(test, _)| test).trim())
        .filter(|test| !test.is_empty())
        .collect();
    skipped
        .iter()
        .filter(|skip| !listed.contains(skip.test.as_str()))
        .map(|skip| skip.test.clone())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: &str = "\
running 3 tests
test late_record_goes_to_the_side_output ... ok
test needs_a_broker ... ignored, no broker in reach
test src/lib.rs - (line 12) ... ignored
skipped: parity_with_mirror_maker: no recorded output
test result: ok. 1 passed; 0 failed; 2 ignored; 0 measured; 0 filtered out; finished in 0.43s
";

    fn names(log: &str) -> Vec<String> {
        skipped(log).into_iter().map(|skip| skip.test).collect()
    }

    #[test]
    fn skipped_tests_are_found_however_they_say_it() {
        assert_eq!(
            names(LOG),
            ["needs_a_broker", "parity_with_mirror_maker", "src/lib.rs - (line 12)"]
        );
    }

    #[test]
    fn the_reason_of_a_skip_is_kept() {
        let skip = skipped(LOG).pop_first().unwrap();

        assert_eq!(skip.reason, "no broker in reach");
    }

    #[test]
    fn a_passing_test_is_not_skipped() {
        assert_eq!(names("test an_ignored_frame_is_counted ... ok\n"), Vec::<String>::new());
    }

    #[test]
    fn a_skip_outside_the_list_is_named() {
        let list = "# why\nneeds_a_broker # until a broker is recorded\nsrc/lib.rs - (line 12)\n";

        assert_eq!(unlisted(&skipped(LOG), list), ["parity_with_mirror_maker"]);
    }
}
