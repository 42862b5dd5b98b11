//! Names that occur in inventory events, as checked types.
//!
//! Lengths are bounded because every name is kept, and a character that separates the parts of a
//! derived record's key may not occur in a part before it: `a|b` at `c` and `a` at `b|c` must not
//! share a key.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::position::Position;

/// A text that does not fit the rule of its field.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TextError {
    /// Too short or too long.
    #[error("{field} has {found} bytes, expected {min} to {max}")]
    Length {
        /// The field's name.
        field: &'static str,
        /// Bytes found.
        found: usize,
        /// Fewest bytes allowed.
        min: usize,
        /// Most bytes allowed.
        max: usize,
    },
    /// A character that separates the parts of a key.
    #[error("{field} contains {found:?}, which separates the parts of a key")]
    Separator {
        /// The field's name.
        field: &'static str,
        /// The first such character.
        found: char,
    },
}

macro_rules! text {
    (
        $(#[$doc:meta])*
        $type:ident, $field:literal, $min:literal..=$max:literal, $separators:expr
    ) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String")]
        pub struct $type(Arc<str>);

        impl $type {
            /// Checks and keeps a text.
            ///
            /// # Errors
            /// [`TextError`] when it does not fit the rule in the type's documentation.
            pub fn new(text: &str) -> Result<Self, TextError> {
                if !($min..=$max).contains(&text.len()) {
                    let found = text.len();
                    return Err(TextError::Length { field: $field, found, min: $min, max: $max });
                }
                let separators: &[char] = &$separators;
                match text.chars().find(|char| separators.contains(char)) {
                    Some(found) => Err(TextError::Separator { field: $field, found }),
                    None => Ok(Self(Arc::from(text))),
                }
            }

            /// The text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        /// For look-ups by text: it hashes and compares as its text does.
        impl Borrow<str> for $type {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $type {
            type Error = TextError;

            fn try_from(text: String) -> Result<Self, TextError> {
                Self::new(&text)
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:?}", &*self.0)
            }
        }
    };
}

text!(
    /// What a device calls one event: a redelivery repeats it. 1 to 256 bytes without `~`.
    DeliveryId,
    "id",
    1..=256,
    ['~']
);
text!(
    /// What is reviewed: the delivery id of a late event, or `<stocktake's delivery id>~<place>` of
    /// a posting that overlaps with the stocktake. 1 to 1,024 bytes.
    ReviewId,
    "late",
    1..=1_024,
    []
);
text!(
    /// The device that saw the event. 1 to 256 bytes.
    DeviceName,
    "device",
    1..=256,
    []
);
text!(
    /// A stock-keeping unit. 1 to 128 bytes without `|` and `#`.
    Sku,
    "sku",
    1..=128,
    ['|', '#']
);
text!(
    /// Where a sku is kept. 1 to 128 bytes.
    Location,
    "location",
    1..=128,
    []
);
text!(
    /// What is written about a sku, for example `price`. 1 to 128 bytes.
    AttributeName,
    "attribute",
    1..=128,
    []
);
text!(
    /// What an attribute is set to. 0 to 4,096 bytes.
    AttributeValue,
    "value",
    0..=4_096,
    []
);
text!(
    /// Who decides about late events. 1 to 256 bytes.
    Reviewer,
    "reviewer",
    1..=256,
    []
);
text!(
    /// Why a reviewer decided so. 1 to 1,024 bytes.
    ReasonText,
    "reason",
    1..=1_024,
    []
);
text!(
    /// What a customer calls a reservation: asking again repeats it. 1 to 128 bytes.
    RequestId,
    "request",
    1..=128,
    []
);
text!(
    /// What a quantity counts, for example `each` or `case`. 1 to 32 bytes.
    UnitName,
    "unit",
    1..=32,
    []
);

/// A late event's review is called what its delivery is called.
impl From<&DeliveryId> for ReviewId {
    fn from(DeliveryId(text): &DeliveryId) -> Self {
        Self(Arc::clone(text))
    }
}

impl ReviewId {
    /// The review of the posting at a place that overlaps with a stocktake. Both fit: a delivery
    /// id has at most 256 bytes, and a place the length of a region's name and some numbers.
    #[must_use]
    pub(crate) fn of_overlap(stocktake: &DeliveryId, place: &Position) -> Self {
        Self(Arc::from(format!("{stocktake}~{place}")))
    }

    /// Whether it is of an overlap, which no late event's can be.
    #[must_use]
    pub fn is_of_overlap(&self) -> bool {
        self.0.contains('~')
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sku_of_128_bytes_fits_and_one_of_129_or_none_does_not() {
        assert_eq!(Sku::new(&"a".repeat(128)).unwrap().as_str().len(), 128);
        for found in [0, 129] {
            assert_eq!(
                Sku::new(&"a".repeat(found)).unwrap_err(),
                TextError::Length { field: "sku", found, min: 1, max: 128 }
            );
        }
    }

    #[test]
    fn a_separator_is_refused_only_before_its_place_in_the_key() {
        assert_eq!(Sku::new("a|b").unwrap_err(), TextError::Separator { field: "sku", found: '|' });
        assert_eq!(Location::new("a|b").unwrap().as_str(), "a|b");
        assert_eq!(DeliveryId::new("a@b#c").unwrap().as_str(), "a@b#c");
    }

    #[test]
    fn a_name_read_from_json_is_checked_too() {
        assert_eq!(serde_json::from_str::<Sku>("\"x\"").unwrap(), Sku::new("x").unwrap());
        assert!(serde_json::from_str::<DeliveryId>("\"a~b\"").is_err());
    }
}
