//! The quickstart's checker shares nothing with what it checks, and stays small enough to be read
//! by whoever wants to believe it.

use super::Finding;
use super::source::Source;

const PATH: &str = "region-hub/src/quickstart/checker.rs";

/// The checker has fewer lines of code than this; comments and tests do not count, as everywhere.
const LINES_BOUND: usize = 200;

/// Checks one file, when it is the checker.
pub(super) fn check(source: &Source) -> Vec<Finding> {
    if source.path != PATH {
        return Vec::new();
    }
    let production: Vec<_> = source.lines.iter().filter(|line| !line.is_test).collect();
    let mut findings: Vec<Finding> = production
        .iter()
        .filter(|line| {
            ["headland_", "crate::", "super::"].iter().any(|ours| line.code.contains(ours))
        })
        .map(|line| {
            let what = "the checker uses our code; what it checks must not vouch for itself";
            Finding::new(PATH, line.number, what)
        })
        .collect();
    let found = production.iter().filter(|line| !line.code.trim().is_empty()).count();
    if found >= LINES_BOUND {
        let what = format!("{found} lines of code; the checker has fewer than {LINES_BOUND}");
        findings.push(Finding::new(PATH, 0, what));
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_code_in_the_checker_is_found_but_not_in_its_tests() {
        let content = "\
use std::fs;
use headland_event::Record;
use crate::node;
#[cfg(test)]
mod tests {
    use super::*;
}";

        let lines: Vec<usize> =
            check(&Source::parse(PATH, content)).iter().map(|finding| finding.line).collect();

        assert_eq!(lines, [2, 3]);
    }

    #[test]
    fn the_checker_has_fewer_than_200_lines_of_code() {
        assert_eq!(check(&Source::parse(PATH, &"use x;\n// y\n".repeat(199))), []);
        assert_eq!(check(&Source::parse(PATH, &"use x;\n".repeat(200))).len(), 1);
    }
}
