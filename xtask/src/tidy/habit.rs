//! Words in code and comments: unnamed promises, ignored tests, silenced lints, naps.

use super::Finding;
use super::source::{Line, Source};

/// Checks one file.
pub(super) fn check(source: &Source) -> Vec<Finding> {
    source
        .lines
        .iter()
        .filter_map(|line| broken(line).map(|what| Finding::new(&source.path, line.number, what)))
        .collect()
}

/// What a line breaks, and what would fit.
fn broken(line: &Line) -> Option<&'static str> {
    if has_unnamed_promise(&line.comment) {
        return Some("a promise without an issue; name it as `TODO(#12)`, or do it now");
    }
    let code = line.code.trim_start();
    if code.starts_with("#[ignore") {
        return Some("an ignored test proves nothing; mend it, or delete it with its reason");
    }
    if !line.is_test && (code.starts_with("#[allow(") || code.starts_with("#![allow(")) {
        return Some("`allow` outlives its reason; use `#[expect(lint, reason = \"…\")]`");
    }
    if line.is_test && line.has_word("sleep") {
        return Some("a test that sleeps is slow or flaky; bring the time, or wait for the event");
    }
    None
}

/// Whether a comment holds one of the words for work left over, not followed by `(#number)`.
fn has_unnamed_promise(comment: &str) -> bool {
    ["TODO", "FIXME", "XXX"].iter().any(|word| {
        comment.split(word).skip(1).any(|after| {
            let issue = after.strip_prefix("(#").and_then(|rest| rest.split_once(')'));
            let is_named = issue.is_some_and(|(number, _)| {
                !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())
            });
            !is_named
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(path: &str, content: &str) -> Vec<usize> {
        check(&Source::parse(path, content)).into_iter().map(|finding| finding.line).collect()
    }

    #[test]
    fn a_promise_needs_the_number_of_an_issue() {
        let content = "// TODO(#12): shrink\n// TODO: grow\nlet a = \"TODO\";\n// FIXME(me)";

        assert_eq!(lines("a/src/b.rs", content), [2, 4]);
    }

    #[test]
    fn an_ignored_test_is_found_everywhere() {
        let content = "#[ignore]\nfn a() {}\n#[ignore = \"slow\"]\nfn b() {}";

        assert_eq!(lines("a/tests/b.rs", content), [1, 3]);
    }

    #[test]
    fn a_silenced_lint_is_found_outside_tests() {
        let content = "#[allow(dead_code)]\nfn a() {}\n#[expect(dead_code)]\nfn b() {}";

        assert_eq!(lines("a/src/b.rs", content), [1]);
        assert_eq!(lines("a/tests/b.rs", content), Vec::<usize>::new());
    }

    #[test]
    fn a_nap_is_found_in_tests_only() {
        let content = "\
async fn a() { sleep(wait).await }
#[cfg(test)]
mod tests {
    fn b() { thread::sleep(x) }
}";

        assert_eq!(lines("a/src/b.rs", content), [4]);
    }
}
