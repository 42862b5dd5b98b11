//! Rust source as lines of code, comment and test.
//!
//! A small scanner is enough: it knows comments, strings and characters, so that a word inside a
//! text is not taken for code, and it follows braces, so that tests and functions have an end. It
//! does not expand macros.

/// One file.
pub(super) struct Source {
    pub(super) path: String,
    pub(super) lines: Vec<Line>,
}

/// One line of a file.
#[derive(Debug, Default)]
pub(super) struct Line {
    /// From 1.
    pub(super) number: usize,
    /// As it stands in the file.
    pub(super) raw: String,
    /// Without comments; the content of strings and characters is replaced by `_`.
    pub(super) code: String,
    /// What comments say on this line.
    pub(super) comment: String,
    /// Whether it belongs to a test.
    pub(super) is_test: bool,
}

impl Line {
    /// Whether it holds code.
    pub(super) fn is_code(&self) -> bool {
        !self.code.trim().is_empty()
    }

    /// Whether the code holds `word` as a whole identifier.
    pub(super) fn has_word(&self, word: &str) -> bool {
        self.code
            .split(|letter: char| !letter.is_alphanumeric() && letter != '_')
            .any(|found| found == word)
    }
}

/// A function with a body.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Function {
    pub(super) name: String,
    /// The line of its `fn`.
    pub(super) line: usize,
    /// Lines of code between its braces.
    pub(super) code_lines: usize,
}

/// Where the scanner is.
#[derive(Clone, Copy)]
enum State {
    Code,
    LineComment,
    BlockComment { depth: usize },
    Text { end: char, hashes: Option<usize> },
}

impl Source {
    /// Splits a file into lines.
    pub(super) fn parse(path: &str, content: &str) -> Self {
        let mut lines = scan(content);
        if is_test_path(path) {
            lines.iter_mut().for_each(|line| line.is_test = true);
        } else {
            mark_tests(&mut lines);
        }
        Self { path: path.to_owned(), lines }
    }

    /// Lines of code that are no test.
    pub(super) fn production(&self) -> impl Iterator<Item = &Line> {
        self.lines.iter().filter(|line| !line.is_test && line.is_code())
    }

    /// Functions with a body, tests included.
    pub(super) fn functions(&self) -> Vec<Function> {
        let starts = self.lines.iter().enumerate().filter_map(|(index, line)| {
            let after = line.code.split("fn ").nth(1)?;
            let is_word = line.has_word("fn");
            let name: String =
                after.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
            (is_word && !name.is_empty()).then_some((index, name))
        });
        starts
            .filter_map(|(index, name)| {
                let rest = self.lines.get(index..)?;
                let (open, close) = body(rest)?;
                let inner = rest.get(open + 1..close).unwrap_or_default();
                let code_lines = inner.iter().filter(|line| line.is_code()).count();
                Some(Function { name, line: index + 1, code_lines })
            })
            .collect()
    }
}

/// Whether all of a file is test code by where it lies.
fn is_test_path(path: &str) -> bool {
    // A proof in `tests/<area>/src` is a program: it measures, so it may wait.
    let inner = match path.split('/').collect::<Vec<_>>()[..] {
        ["tests", area, "src", ref rest @ ..] if area != "src" => rest.join("/"),
        _ => path.to_owned(),
    };
    let in_folder = ["tests", "benches", "fuzz"]
        .iter()
        .any(|folder| inner.split('/').rev().skip(1).any(|part| part == *folder));
    in_folder || path.ends_with("/tests.rs") || path.ends_with("_tests.rs")
}

/// The lines, counted from the first, where an item's braces open and close; `None` when it ends
/// in a semicolon instead.
fn body(lines: &[Line]) -> Option<(usize, usize)> {
    let (mut depth, mut round, mut open) = (0_usize, 0_usize, None);
    for (index, line) in lines.iter().enumerate() {
        for letter in line.code.chars() {
            match letter {
                '(' | '[' => round += 1,
                ')' | ']' => round = round.saturating_sub(1),
                '{' => {
                    open.get_or_insert(index);
                    depth += 1;
                }
                '}' => {
                    depth = depth.saturating_sub(1);
                    if let (0, Some(open)) = (depth, open) {
                        return Some((open, index));
                    }
                }
                ';' if open.is_none() && round == 0 => return None,
                _ => {}
            }
        }
    }
    None
}

/// Marks every item under `#[cfg(test)]`.
fn mark_tests(lines: &mut [Line]) {
    let mut index = 0;
    while let Some(line) = lines.get_mut(index) {
        let code = line.code.trim();
        if !(code.starts_with("#[cfg(test)]") || code.starts_with("#[cfg(all(test")) {
            index += 1;
            continue;
        }
        let rest = lines.get_mut(index..).unwrap_or_default();
        let length = body(rest).map_or_else(
            || 1 + rest.iter().take_while(|line| !line.code.contains(';')).count(),
            |(_, close)| close + 1,
        );
        rest.iter_mut().take(length).for_each(|line| line.is_test = true);
        index += length;
    }
}

fn scan(content: &str) -> Vec<Line> {
    let mut scanner = Scanner { state: State::Code, lines: Vec::new() };
    for (index, raw) in content.lines().enumerate() {
        scanner.line(index + 1, raw);
    }
    scanner.lines
}

struct Scanner {
    state: State,
    lines: Vec<Line>,
}

impl Scanner {
    fn line(&mut self, number: usize, raw: &str) {
        let mut line = Line { number, raw: raw.to_owned(), ..Line::default() };
        if matches!(self.state, State::LineComment) {
            self.state = State::Code;
        }
        let mut rest = raw;
        while let Some(letter) = rest.chars().next() {
            let taken = match self.state {
                State::Code => self.code(rest, letter, &mut line),
                State::LineComment => {
                    line.comment.push_str(rest);
                    rest.len()
                }
                State::BlockComment { depth } => self.comment(rest, letter, depth, &mut line),
                State::Text { end, hashes } => self.text(rest, letter, end, hashes, &mut line),
            };
            rest = rest.get(taken..).unwrap_or_default();
        }
        self.lines.push(line);
    }

    /// Takes one token's start in code; returns the bytes taken.
    fn code(&mut self, rest: &str, letter: char, line: &mut Line) -> usize {
        if rest.starts_with("//") {
            self.state = State::LineComment;
            return 2;
        }
        if rest.starts_with("/*") {
            self.state = State::BlockComment { depth: 1 };
            return 2;
        }
        let after_word = line.code.ends_with(|c: char| c.is_alphanumeric() || c == '_')
            && !line.code.ends_with(['b', 'c']);
        if let Some(hashes) = raw_text(rest).filter(|_| !after_word) {
            self.state = State::Text { end: '"', hashes: Some(hashes) };
            line.code.push('"');
            return hashes + 2;
        }
        if letter == '"' || (letter == '\'' && is_character(rest)) {
            self.state = State::Text { end: letter, hashes: None };
        }
        line.code.push(letter);
        letter.len_utf8()
    }

    fn comment(&mut self, rest: &str, letter: char, depth: usize, line: &mut Line) -> usize {
        if rest.starts_with("/*") {
            self.state = State::BlockComment { depth: depth + 1 };
            return 2;
        }
        if rest.starts_with("*/") {
            self.state =
                if depth > 1 { State::BlockComment { depth: depth - 1 } } else { State::Code };
            return 2;
        }
        line.comment.push(letter);
        letter.len_utf8()
    }

    fn text(
        &mut self,
        rest: &str,
        letter: char,
        end: char,
        hashes: Option<usize>,
        line: &mut Line,
    ) -> usize {
        let closing = format!("{end}{}", "#".repeat(hashes.unwrap_or(0)));
        if rest.starts_with(&closing) {
            self.state = State::Code;
            line.code.push(end);
            return closing.len();
        }
        line.code.push('_');
        match (letter, hashes) {
            // An escape takes the next letter with it, so that an escaped quote ends nothing.
            ('\\', None) => 1 + rest.chars().nth(1).map_or(0, char::len_utf8),
            _ => letter.len_utf8(),
        }
    }
}

/// The number of `#` when a raw text starts here.
fn raw_text(rest: &str) -> Option<usize> {
    let after = rest.strip_prefix('r')?;
    let hashes = after.len() - after.trim_start_matches('#').len();
    after.get(hashes..)?.starts_with('"').then_some(hashes)
}

/// Whether a `'` starts a character and not a lifetime.
fn is_character(rest: &str) -> bool {
    let mut letters = rest.chars().skip(1);
    match (letters.next(), letters.next()) {
        (Some('\\'), _) => true,
        (Some(_), second) => second == Some('\''),
        (None, _) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn codes(content: &str) -> Vec<String> {
        Source::parse("a/src/b.rs", content).lines.into_iter().map(|line| line.code).collect()
    }

    #[test]
    fn comments_and_the_content_of_texts_are_no_code() {
        assert_eq!(codes("let a = \"tokio\"; // tokio"), ["let a = \"_____\"; "]);
        assert_eq!(codes("/* a /* b */ c */ x"), [" x"]);
        assert_eq!(codes(r##"let r = r#"a "quoted" b"#;"##), ["let r = \"____________\";"]);
        assert_eq!(codes(r#"let e = "a\"b";"#), ["let e = \"___\";"]);
    }

    #[test]
    fn a_lifetime_is_no_character() {
        assert_eq!(
            codes("fn f<'a>(x: &'a str, c: char) { c == '{' }"),
            ["fn f<'a>(x: &'a str, c: char) { c == '_' }"]
        );
    }

    #[test]
    fn a_text_over_lines_stays_one_text() {
        assert_eq!(codes("let a = \"one {\ntwo\";"), ["let a = \"_____", "___\";"]);
    }

    #[test]
    fn items_under_cfg_test_are_tests_and_what_follows_is_not() {
        let source = Source::parse(
            "a/src/b.rs",
            "\
fn a() {}
#[cfg(test)]
mod tests {
    fn b() {}
}
#[cfg(test)]
mod c;
fn d() {}",
        );

        let marks: Vec<bool> = source.lines.iter().map(|line| line.is_test).collect();

        assert_eq!(marks, [false, true, true, true, true, true, true, false]);
    }

    #[test]
    fn files_of_tests_are_tests_as_a_whole_and_proofs_are_programs() {
        for path in ["tests/src/sim.rs", "wan/tests/relay.rs", "wan/src/path/tests.rs"] {
            assert!(Source::parse(path, "fn a() {}").lines[0].is_test, "{path}");
        }
        for path in ["wan/src/path.rs", "tests/links/src/sink.rs"] {
            assert!(!Source::parse(path, "fn a() {}").lines[0].is_test, "{path}");
        }
    }

    #[test]
    fn a_function_counts_the_lines_of_code_between_its_braces() {
        let content = "\
trait T {
    fn a(&self);
}
fn b(
    x: [u8; 2],
) {
    // why

    x;
    if y {
    }
}";

        let functions = Source::parse("a/src/b.rs", content).functions();

        assert_eq!(functions, [Function { name: "b".into(), line: 4, code_lines: 3 }]);
    }

    #[test]
    fn a_word_is_found_whole() {
        let line = Line { code: "use tokio::time; my_tokio()".into(), ..Line::default() };

        assert!(line.has_word("tokio"));
        assert!(!line.has_word("my"));
    }
}
