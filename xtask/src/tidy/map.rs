//! What pages name exists: files, the tests that hold invariants and show features, and metrics.

use std::collections::BTreeSet;

use super::Finding;
use super::source::Source;

/// The documents whose files, tests and metrics are checked.
pub(super) const PATHS: [&str; 6] = [
    "ARCHITECTURE.md",
    "README.md",
    "docs/mirrormaker.md",
    "docs/runbook.md",
    "docs/specs/records.md",
    "docs/specs/store.md",
];

/// What all names of metrics begin with.
const METRIC: &str = "headland_";

/// A name with this many underscores is a test's sentence; shorter ones are fields and functions.
const UNDERSCORES_OF_A_SENTENCE: usize = 3;

/// Checks every word that the document at `path` sets as code; `metrics` is the reference of them.
pub(super) fn check(
    (path, document): (&str, &str),
    metrics: &str,
    files: &[String],
    sources: &[Source],
) -> Vec<Finding> {
    let functions: BTreeSet<String> =
        sources.iter().flat_map(Source::functions).map(|function| function.name).collect();
    let mut findings = Vec::new();
    for (index, line) in document.lines().enumerate() {
        // Every second part of a line lies between two backticks.
        for word in line.split('`').skip(1).step_by(2) {
            if is_file(word) && !files.iter().any(|file| file == word) {
                let what = format!("{word} is not there; name the file that took its place");
                findings.push(Finding::new(path, index + 1, what));
            }
            if is_metric(word) && !metrics.contains(&format!("| `{word}` |")) {
                let what = format!("no metric is called {word}; docs/reference/metrics.md has all");
                findings.push(Finding::new(path, index + 1, what));
            }
            if is_sentence(word) && !functions.contains(word) {
                let what = format!("no test is called {word}; name the one that holds this now");
                findings.push(Finding::new(path, index + 1, what));
            }
        }
    }
    findings
}

fn is_file(word: &str) -> bool {
    let has_ending = [".rs", ".md", ".toml", ".sql"].iter().any(|ending| word.ends_with(ending));
    word.contains('/') && has_ending && !word.contains(['<', '*', ' '])
}

fn is_metric(word: &str) -> bool {
    word.starts_with(METRIC) && !word.ends_with('_') && is_name(word)
}

fn is_sentence(word: &str) -> bool {
    is_name(word)
        && !word.starts_with(METRIC)
        && word.matches('_').count() >= UNDERSCORES_OF_A_SENTENCE
}

fn is_name(word: &str) -> bool {
    word.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(document: &str) -> Vec<String> {
        let source = Source::parse("a/src/b.rs", "fn a_write_is_never_lost() {}");
        let metrics = "| `headland_link_up` | gauge |";
        check(("a.md", document), metrics, &["a/src/b.rs".to_owned()], &[source])
            .iter()
            .map(ToString::to_string)
            .collect()
    }

    #[test]
    fn a_file_that_is_gone_is_found() {
        assert_eq!(
            found("See `a/src/b.rs` and\n`a/src/c.rs`."),
            ["a.md:2: a/src/c.rs is not there; name the file that took its place"]
        );
    }

    #[test]
    fn a_test_that_is_gone_is_found() {
        assert_eq!(
            found("`a_write_is_never_lost`, `a_write_is_never_torn`"),
            ["a.md:1: no test is called a_write_is_never_torn; \
             name the one that holds this now"]
        );
    }

    #[test]
    fn a_metric_that_is_gone_is_found() {
        assert_eq!(
            found("`headland_link_up`, `headland_link_is_up_now`, `headland_ack_*`"),
            ["a.md:1: no metric is called headland_link_is_up_now; \
                 docs/reference/metrics.md has all"]
        );
    }

    #[test]
    fn other_words_in_code_style_are_left_alone() {
        assert_eq!(found("`poll_output`, `cargo xtask check`, `<region>/<name>.md`"), [""; 0]);
    }
}
