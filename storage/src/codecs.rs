//! How the batches of each topic are compressed when they are built.
//!
//! A batch is compressed once, by the node that its records are born at: nothing on the way writes
//! it anew, and compaction keeps the codec that it finds.

use headland_event::{Batch, BatchError, Codec, Record, TopicName};

use crate::cleaning::TopicPattern;

/// The codec of each topic: the first rule whose pattern fits counts, and none is
/// [`Codec::None`].
///
/// ```
/// use headland_event::{Codec, TopicName};
/// use headland_storage::{TopicCodecs, TopicPattern};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let readings = TopicPattern::StartsWith("air.".to_owned());
/// let codecs = TopicCodecs::new(vec![(readings, Codec::Lz4)])?;
///
/// assert_eq!(codecs.of(&TopicName::new("air.readings")?), Codec::Lz4);
/// assert_eq!(codecs.of(&TopicName::new("alerts")?), Codec::None);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TopicCodecs {
    rules: Vec<(TopicPattern, Codec)>,
}

/// A rule that this build cannot follow.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("topics cannot be compressed with {codec}, which is not in this build: none or lz4 is")]
pub struct CodecNotBuilt {
    /// The codec.
    pub codec: Codec,
}

impl TopicCodecs {
    /// Takes rules, the first of which that fits a topic counts.
    ///
    /// # Errors
    /// [`CodecNotBuilt`] for the first codec that this build has not: better here than at the
    /// first batch.
    pub fn new(rules: Vec<(TopicPattern, Codec)>) -> Result<Self, CodecNotBuilt> {
        match rules.iter().find(|(_, codec)| !codec.is_built()) {
            Some((_, codec)) => Err(CodecNotBuilt { codec: *codec }),
            None => Ok(Self { rules }),
        }
    }

    /// The codec of a topic.
    #[must_use]
    pub fn of(&self, topic: &TopicName) -> Codec {
        let rule = self.rules.iter().find(|(pattern, _)| pattern.fits(topic));
        rule.map_or(Codec::None, |(_, codec)| *codec)
    }

    /// Encodes records of a topic into batches within their limits; see [`Batch::encode_all_with`].
    #[must_use]
    pub fn encode_all(
        &self,
        topic: &TopicName,
        records: &[Record],
    ) -> Vec<Result<Batch, BatchError>> {
        Batch::encode_all_with(self.of(topic), records)
    }
}

#[cfg(test)]
mod tests {
    use headland_event::EventTime;

    use super::*;

    fn topic(name: &str) -> TopicName {
        TopicName::new(name).unwrap()
    }

    #[test]
    fn the_first_rule_that_fits_a_topic_says_how_its_batches_are_compressed() {
        let codecs = TopicCodecs::new(vec![
            (TopicPattern::Exactly(topic("air.alerts")), Codec::None),
            (TopicPattern::StartsWith("air.".to_owned()), Codec::Lz4),
        ]);
        let codecs = codecs.unwrap();
        let records = vec![Record::new(EventTime::from_millis(0), "k", vec![7; 500]); 10];

        let encoded = ["air.alerts", "air.readings", "water"].map(|name| {
            let batches = codecs.encode_all(&topic(name), &records);
            batches.into_iter().map(|batch| batch.unwrap().codec()).collect::<Vec<_>>()
        });

        assert_eq!(encoded, [[Codec::None], [Codec::Lz4], [Codec::None]]);
    }

    #[test]
    fn a_codec_that_is_not_in_the_build_is_refused_by_name() {
        let rules = vec![(TopicPattern::StartsWith(String::new()), Codec::Zstd)];

        let taken = TopicCodecs::new(rules);

        assert_eq!(taken.is_ok(), Codec::Zstd.is_built());
    }
}
