//! Checks of our own habits, which neither the compiler nor clippy knows.
//!
//! Each check is a function from text to findings, so that a test shows what it catches and
//! what it lets pass.

/// Rust source as lines of code, comment and test.
mod source;
/// Sizes and names of files, functions and lines.
mod shape;
/// Words in code and comments: unnamed promises, ignored tests, silenced lints, naps.
mod habit;
/// tokio only where the shells are.
mod shell;
/// Configuration fields carry their documentation.
mod config_field;
/// The quickstart's checker shares nothing with what it checks.
mod checker;
/// Manifests: the table of who depends on whom, and where versions live.
mod manifest;
/// Banned packages and minimum versions in `Cargo.lock`.
mod lockfile;
/// What the cores and the default build draw in.
mod tree;
/// Texts that name a machine.
mod text;
/// What `ARCHITECTURE.md` names exists.
mod map;

use std::fmt;

use anyhow::{Result, bail};

use crate::reference::{self, Page};
use crate::workspace::Workspace;
use source::Source;

/// One habit broken at one place.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Finding {
    path: String,
    /// From 1; 0 for the file as a whole.
    line: usize,
    /// What it is, and what would fit.
    what: String,
}

impl Finding {
    fn new(path: &str, line: usize, what: impl Into<String>) -> Self {
        Self { path: path.to_owned(), line, what: what.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.path, self.line.max(1), self.what)
    }
}

/// Prints what was found and fails when something was.
pub(crate) fn run(workspace: &Workspace) -> Result<()> {
    let findings = findings(workspace)?;
    print(&findings);
    if findings.is_empty() { Ok(()) } else { bail!("tidy found {}", findings.len()) }
}

/// Prints one line for each finding.
pub(crate) fn print(findings: &[Finding]) {
    for finding in findings {
        eprintln!("{finding}");
    }
}

/// All findings in the workspace, by path and line.
pub(crate) fn findings(workspace: &Workspace) -> Result<Vec<Finding>> {
    let packages = workspace.packages()?;
    let mut findings = Vec::new();
    let mut sources = Vec::new();
    let files = workspace.files()?;
    for path in &files {
        // What is not text cannot be read as a line, and holds no habit.
        let Ok(content) = workspace.read(path) else { continue };
        findings.extend(text::check(path, &content));
        findings.extend(manifest::check_place(path));
        if path.ends_with(".rs") {
            sources.push(Source::parse(path, &content));
        }
    }
    for source in &sources {
        findings.extend(shape::check(source));
        findings.extend(habit::check(source));
        findings.extend(shell::check(source));
        findings.extend(config_field::check(source));
        findings.extend(checker::check(source));
    }
    for package in &packages {
        findings.extend(manifest::check(package)?);
        findings.extend(shape::check_not_empty(package, &sources));
    }
    for Page { path, text } in reference::pages(workspace)? {
        findings.extend(first_difference(path, &workspace.read(path).unwrap_or_default(), &text));
    }
    let metrics = workspace.read("docs/reference/metrics.md")?;
    for path in map::PATHS {
        findings.extend(map::check((path, &workspace.read(path)?), &metrics, &files, &sources));
    }
    findings.extend(lockfile::check(&workspace.read("Cargo.lock")?)?);
    findings.extend(tree::check(workspace, &packages)?);
    findings.sort();
    Ok(findings)
}

/// Where a page made from the sources is not what they say.
fn first_difference(path: &str, found: &str, expected: &str) -> Option<Finding> {
    if found == expected {
        return None;
    }
    let same = found.lines().zip(expected.lines()).take_while(|(one, other)| one == other);
    let what = "it is not what the sources say; run `cargo xtask reference`";
    Some(Finding::new(path, same.count() + 1, what))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_that_is_older_than_its_sources_is_named_with_its_line() {
        let finding = first_difference("docs/a.md", "one\ntwo\n", "one\n2\n").unwrap();

        assert_eq!((finding.path.as_str(), finding.line), ("docs/a.md", 2));
        assert_eq!(first_difference("docs/a.md", "one\n", "one\n"), None);
    }
}
