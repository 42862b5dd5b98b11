//! Which topics and groups a link is for, by patterns.
//!
//! A filter chooses whole topics. Records of a topic are never chosen among: a mirror is an exact
//! copy, and its offsets are those of its source.

use std::fmt;

use headland_event::TopicName;
use serde::Deserialize;

/// Most characters of a pattern: more than the longest name of a topic.
const PATTERN_LIMIT: usize = 256;

/// A name with `*` for any characters, also none: `orders`, `eu.*`, `*.dead`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct NamePattern(String);

/// A text that is no pattern of names.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{found:?} is no pattern of names: 1 to 256 characters of A-Z a-z 0-9 . _ - and *")]
pub struct PatternError {
    /// The text as found.
    pub found: String,
}

impl NamePattern {
    /// Checks and keeps a pattern.
    ///
    /// # Errors
    /// [`PatternError`] when it is empty, too long, or has a character that no name has.
    pub fn new(text: &str) -> Result<Self, PatternError> {
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"._-*".contains(&byte);
        let is_pattern = !text.is_empty() && text.len() <= PATTERN_LIMIT && text.bytes().all(fits);
        if is_pattern {
            Ok(Self(text.to_owned()))
        } else {
            Err(PatternError { found: text.to_owned() })
        }
    }

    /// The only name that fits, when there is no `*`.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        (!self.0.contains('*')).then_some(self.0.as_str())
    }

    /// Whether a name fits. Cost: O(length of both) for each part between two `*`.
    #[must_use]
    pub fn covers(&self, name: &str) -> bool {
        let Some((first, rest)) = self.0.split_once('*') else { return self.0 == name };
        let Some(mut name) = name.strip_prefix(first) else { return false };
        let (parts, last) = rest.rsplit_once('*').unwrap_or(("", rest));
        // The leftmost place of each part leaves the most to those that follow.
        for part in parts.split('*') {
            let Some(at) = name.find(part) else { return false };
            name = name.get(at + part.len()..).unwrap_or_default();
        }
        name.ends_with(last)
    }
}

impl fmt::Display for NamePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<TopicName> for NamePattern {
    /// The topic alone.
    fn from(name: TopicName) -> Self {
        Self(name.as_str().to_owned())
    }
}

impl TryFrom<String> for NamePattern {
    type Error = PatternError;

    fn try_from(text: String) -> Result<Self, PatternError> {
        Self::new(&text)
    }
}

/// Names that some pattern includes and none excludes; all of them by default.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    include: Option<Vec<NamePattern>>,
    exclude: Vec<NamePattern>,
}

impl Filter {
    /// Names that `include` covers (`None`: any) and `exclude` does not.
    #[must_use]
    pub const fn new(include: Option<Vec<NamePattern>>, exclude: Vec<NamePattern>) -> Self {
        Self { include, exclude }
    }

    /// Whether a name is chosen.
    #[must_use]
    pub fn takes(&self, name: &str) -> bool {
        self.takes_one_of(&[name])
    }

    /// Whether something with several names is chosen: by one that is included, and none that is
    /// excluded.
    #[must_use]
    pub fn takes_one_of(&self, names: &[&str]) -> bool {
        let covers = |patterns: &[NamePattern]| {
            patterns.iter().any(|one| names.iter().any(|name| one.covers(name)))
        };
        self.include.as_ref().is_none_or(|include| covers(include)) && !covers(&self.exclude)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pattern(text: &str) -> NamePattern {
        NamePattern::new(text).unwrap()
    }

    #[test]
    fn a_star_stands_for_any_characters_and_everything_else_for_itself() {
        for (text, fits, not) in [
            ("orders", "orders", "orders2"),
            ("eu.*", "eu.", "euorders"),
            ("*.dead", "a.b.dead", "a.dead.b"),
            ("a*b*c", "a-b-b-c", "a-c-b"),
            ("*", "x", "\0"),
            ("a*a", "aa", "a"),
        ] {
            assert!(pattern(text).covers(fits), "{text} covers {fits}");
            assert!(text == "*" || !pattern(text).covers(not), "{text} does not cover {not}");
        }
    }

    #[test]
    fn what_no_name_can_be_is_refused() {
        for found in ["", "a b", "eu/orders", &"a".repeat(257)] {
            let error = NamePattern::new(found).unwrap_err();
            assert_eq!(error, PatternError { found: found.to_owned() });
        }
    }

    #[test]
    fn what_is_excluded_is_not_taken_though_it_is_included() {
        let filter = Filter::new(Some(vec![pattern("eu.*")]), vec![pattern("*.dead")]);

        assert!(filter.takes("eu.orders"));
        assert!(!filter.takes("orders"));
        assert!(!filter.takes("eu.orders.dead"));
        assert!(Filter::default().takes("anything"));
    }

    /// By the definition alone.
    fn matches(pattern: &[u8], name: &[u8]) -> bool {
        match (pattern, name) {
            ([], []) => true,
            ([b'*', rest @ ..], _) => {
                (0..=name.len()).any(|skipped| matches(rest, &name[skipped..]))
            }
            ([one, rest @ ..], [found, left @ ..]) => one == found && matches(rest, left),
            ([], _) | (_, []) => false,
        }
    }

    proptest! {
        #[test]
        fn a_pattern_covers_what_the_definition_says(
            text in "[ab*]{1,8}", name in "[ab]{0,10}",
        ) {
            let expected = matches(text.as_bytes(), name.as_bytes());

            prop_assert_eq!(pattern(&text).covers(&name), expected);
        }
    }
}
