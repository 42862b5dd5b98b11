//! Sizes and names of files, functions and lines.

use super::Finding;
use super::source::Source;
use crate::workspace::Package;

/// Lines of code of a file, without comments and tests.
const FILE_LINES_LIMIT: usize = 500;
/// Lines of code of a function's body.
const FUNCTION_LINES_LIMIT: usize = 70;
/// Columns of a line; rustfmt leaves long texts and comments alone.
const COLUMNS_LIMIT: usize = 100;
/// Lines of a `pipeline.rs`, which wires stages and decides nothing.
const PIPELINE_LINES_LIMIT: usize = 150;
/// Names that say nothing of what is inside.
const EMPTY_NAMES: [&str; 5] = ["utils", "helpers", "common", "manager", "misc"];

/// Checks one file.
pub(super) fn check(source: &Source) -> Vec<Finding> {
    let mut findings = sizes(source);
    findings.extend(names(source));
    for line in &source.lines {
        let columns = line.raw.chars().count();
        if columns > COLUMNS_LIMIT {
            let what = format!("{columns} columns; at most {COLUMNS_LIMIT} fit");
            findings.push(Finding::new(&source.path, line.number, what));
        }
    }
    for function in source.functions() {
        if function.code_lines > FUNCTION_LINES_LIMIT {
            let what = format!(
                "`{}` has {} lines of code; split it by what its parts are for, each at most \
                 {FUNCTION_LINES_LIMIT}",
                function.name, function.code_lines
            );
            findings.push(Finding::new(&source.path, function.line, what));
        }
    }
    findings
}

fn sizes(source: &Source) -> Vec<Finding> {
    let mut findings = Vec::new();
    let code = source.production().count();
    if code > FILE_LINES_LIMIT {
        let what = format!(
            "{code} lines of code; split the file by idea, each at most {FILE_LINES_LIMIT}"
        );
        findings.push(Finding::new(&source.path, 0, what));
    }
    let lines = source.lines.len();
    if source.path.ends_with("/pipeline.rs") && lines > PIPELINE_LINES_LIMIT {
        let what = format!(
            "{lines} lines; a pipeline wires stages in at most {PIPELINE_LINES_LIMIT} and leaves \
             decisions to the node"
        );
        findings.push(Finding::new(&source.path, 0, what));
    }
    findings
}

fn names(source: &Source) -> Vec<Finding> {
    let parts = source.path.trim_end_matches(".rs").split('/');
    let mut findings: Vec<Finding> = parts
        .filter(|part| EMPTY_NAMES.contains(part))
        .map(|part| Finding::new(&source.path, 0, unnamed(part)))
        .collect();
    for line in &source.lines {
        let name =
            line.code.split("mod ").nth(1).map(|rest| rest.trim_end_matches([';', ' ', '{']));
        if let Some(name) = name.filter(|name| line.has_word("mod") && EMPTY_NAMES.contains(name)) {
            findings.push(Finding::new(&source.path, line.number, unnamed(name)));
        }
    }
    findings
}

fn unnamed(name: &str) -> String {
    format!("`{name}` says nothing of what is inside; name it by a noun of docs/glossary.md")
}

/// A package without code has no reason to be there yet.
pub(super) fn check_not_empty(package: &Package, sources: &[Source]) -> Option<Finding> {
    let folder = format!("{}/", package.folder);
    let has_code = sources
        .iter()
        .filter(|source| source.path.starts_with(&folder))
        .any(|source| source.lines.iter().any(super::source::Line::is_code));
    let what = "the crate holds no code; add it with its first working part";
    (!has_code).then(|| Finding::new(&format!("{folder}Cargo.toml"), 0, what))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(path: &str, content: &str) -> Vec<String> {
        check(&Source::parse(path, content)).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_file_over_its_lines_of_code_is_found_and_comments_do_not_count() {
        let full = "const A: u8 = 0; // why\n// why\n".repeat(FILE_LINES_LIMIT);

        assert_eq!(found("a/src/b.rs", &full), Vec::<String>::new());
        assert_eq!(
            found("a/src/b.rs", &format!("{full}const B: u8 = 0;")),
            ["a/src/b.rs:1: 501 lines of code; split the file by idea, each at most 500"]
        );
    }

    #[test]
    fn a_long_function_is_found_by_its_name() {
        let body = "    f();\n".repeat(FUNCTION_LINES_LIMIT);

        assert_eq!(found("a/src/b.rs", &format!("fn a() {{\n{body}}}")), Vec::<String>::new());
        let found = found("a/src/b.rs", &format!("\nfn a() {{\n{body}    f();\n}}"));
        assert!(found[0].starts_with("a/src/b.rs:2: `a` has 71 lines of code"), "{found:?}");
    }

    #[test]
    fn a_line_over_its_columns_is_found() {
        let full = format!("// {}", "x".repeat(97));

        assert_eq!(found("a/src/b.rs", &full), Vec::<String>::new());
        assert_eq!(
            found("a/src/b.rs", &format!("{full}x")),
            ["a/src/b.rs:1: 101 columns; at most 100 fit"]
        );
    }

    #[test]
    fn a_long_pipeline_is_found() {
        let lines = "//\n".repeat(PIPELINE_LINES_LIMIT + 1);

        assert_eq!(found("region-hub/src/pipeline.rs", &lines).len(), 1);
        assert_eq!(found("region-hub/src/other.rs", &lines).len(), 0);
    }

    #[test]
    fn names_that_say_nothing_are_found_as_file_folder_and_module() {
        assert_eq!(found("a/src/utils.rs", "").len(), 1);
        assert_eq!(found("a/src/helpers/b.rs", "").len(), 1);
        assert_eq!(found("a/src/b.rs", "pub mod common;\nmod misc {}").len(), 1);
        assert_eq!(found("a/src/window_manager.rs", "mod commonly;").len(), 0);
    }

    #[test]
    fn a_package_with_only_comments_is_empty() {
        let package =
            Package { folder: "a".into(), name: "headland-a".into(), manifest: String::new() };
        let comment = Source::parse("a/src/lib.rs", "//! Nothing yet.");
        let code = Source::parse("a/src/lib.rs", "pub mod b;");

        assert!(check_not_empty(&package, &[comment]).is_some());
        assert!(check_not_empty(&package, &[code]).is_none());
    }
}
