//! LIKE patterns.

/// A piece of a pattern.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Piece {
    /// `%`: any text, also none.
    Any,
    /// `_`: one character.
    One,
    /// A character that stands for itself.
    Literal(char),
}

/// A LIKE pattern, compiled. Case matters, as in Flink.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LikePattern(Box<[Piece]>);

impl LikePattern {
    /// Compiles a pattern; nothing in it can be wrong. What follows the escape character stands
    /// for itself.
    pub(crate) fn with_escape(pattern: &str, escape: Option<char>) -> Self {
        let mut pieces = Vec::new();
        let mut letters = pattern.chars();
        while let Some(letter) = letters.next() {
            pieces.push(match letter {
                letter if Some(letter) == escape => {
                    Piece::Literal(letters.next().unwrap_or(letter))
                }
                '%' => Piece::Any,
                '_' => Piece::One,
                letter => Piece::Literal(letter),
            });
        }
        Self(pieces.into_boxed_slice())
    }

    /// Whether the whole of `text` fits; O(text × pattern) at worst, no allocation.
    ///
    /// Greedy with one point of return: when a piece fails, only the last `%` can give way,
    /// because an earlier one could only have taken what the last one may take as well.
    pub(crate) fn matches(&self, text: &str) -> bool {
        let (mut pieces, mut rest) = (&*self.0, text.chars());
        let mut last_any: Option<(&[Piece], std::str::Chars<'_>)> = None;
        loop {
            if let [Piece::Any, after @ ..] = pieces {
                last_any = Some((after, rest.clone()));
                pieces = after;
                continue;
            }
            let letter = rest.clone().next();
            let fits = match (pieces.first(), letter) {
                (None, None) => return true,
                (Some(Piece::One), Some(_)) => true,
                (Some(Piece::Literal(literal)), Some(letter)) => *literal == letter,
                _ => false,
            };
            if fits {
                pieces = pieces.get(1..).unwrap_or_default();
                rest.next();
            } else if let Some((after, from)) = &mut last_any {
                if from.next().is_none() {
                    return false;
                }
                pieces = after;
                rest = from.clone();
            } else {
                return false;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn like(pattern: &str) -> LikePattern {
        LikePattern::with_escape(pattern, None)
    }

    /// The definition, exponential and plain.
    fn fits(pattern: &[char], text: &[char]) -> bool {
        match (pattern, text) {
            ([], []) => true,
            (['%', after @ ..], _) => (0..=text.len()).any(|taken| fits(after, &text[taken..])),
            (['_', after @ ..], [_, rest @ ..]) => fits(after, rest),
            ([letter, after @ ..], [other, rest @ ..]) => letter == other && fits(after, rest),
            _ => false,
        }
    }

    #[test]
    fn percent_takes_any_text_and_underscore_one_character() {
        let pattern = like("eu-_%-till");

        assert!(pattern.matches("eu-1-till"));
        assert!(pattern.matches("eu-12-till"));
        assert!(!pattern.matches("eu--till"));
        assert!(!pattern.matches("eu-1-till-2"));
        assert!(!pattern.matches("EU-1-till"));
    }

    proptest! {
        #[test]
        fn matching_agrees_with_the_definition(pattern in "[ab_%]{0,6}", text in "[abä]{0,8}") {
            let pieces: Vec<char> = pattern.chars().collect();
            let letters: Vec<char> = text.chars().collect();

            let matched = like(&pattern).matches(&text);

            prop_assert_eq!(matched, fits(&pieces, &letters));
        }
    }
}
