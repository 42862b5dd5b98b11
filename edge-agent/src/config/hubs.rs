use std::fmt;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Error, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::HubConfig;

/// Reads `[hub]`, the only one, or `[[hub]]`, at least one.
pub(super) fn one_or_more<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Vec<HubConfig>, D::Error> {
    deserializer.deserialize_any(OneOrMore)
}

struct OneOrMore;

impl<'de> Visitor<'de> for OneOrMore {
    type Value = Vec<HubConfig>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a table [hub], or several [[hub]]")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
        HubConfig::deserialize(MapAccessDeserializer::new(map)).map(|hub| vec![hub])
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut hubs: A) -> Result<Self::Value, A::Error> {
        let mut found = Vec::new();
        while let Some(hub) = hubs.next_element()? {
            found.push(hub);
        }
        if found.is_empty() {
            Err(A::Error::custom("expected at least one hub"))
        } else {
            Ok(found)
        }
    }
}
