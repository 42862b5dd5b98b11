//! What hubs say of their topics, and what copies take over of it.
//!
//! A hub writes into `_settings` what its configuration declares, whenever that is another thing
//! than it said last; other regions mirror it as they do any topic. One that never limited anything
//! says nothing. What a region has said is the last word in the copy of its log here, which is read
//! at the start: there is no state beside. By a word records go only while its hub is linked in the
//! life that said it.

use std::collections::BTreeMap;

use headland_event::{
    Batch, Entry, Incarnation, Now, PartitionIndex, RegionId, SeededRandom, Sequence, TopicName,
    TopicPartition,
};
use headland_storage::LogReader;

use super::escrow::{Found, scan};
use super::recovery::owner;
use super::{Node, RecoveryError};
use crate::config::HubConfig;
use crate::settings::{Said, Settings, settings_topic};
use crate::topics::Topic;

/// What hubs say of their topics.
#[derive(Debug, Default)]
pub(super) struct Statements {
    /// The last word of this life of this hub, as its log has it.
    own: Option<Said>,
    /// Whether the log has a word of any life of it.
    has_spoken: bool,
    /// Whether the configuration may declare another thing than this hub has said.
    is_unsaid: bool,
    /// Those of other regions, by the region and the one it came from last: a copy of a topic and
    /// the word on it that came the same way belong together.
    others: BTreeMap<(RegionId, RegionId), Word>,
    /// The life in which the hub of a region is linked.
    met: BTreeMap<RegionId, Incarnation>,
}

/// What a hub has said of its topics, and when.
#[derive(Debug)]
struct Word {
    life: Incarnation,
    /// Where it stands among all that this life has said.
    sequence: Sequence,
    said: Said,
}

impl Word {
    fn of(entry: &Entry) -> Option<Self> {
        let life = entry.stamp.as_ref()?.actor.incarnation;
        let said = Said::last_of(&entry.batch)?;
        Some(Self { life, sequence: entry.dot.sequence, said })
    }
}

impl Statements {
    /// How the region a copy was born in keeps the topic, as far as its hub says so itself: it is
    /// linked, and that very life has said it. Else nothing is let go by it: a life that is over,
    /// or was restored from a backup, need not mean it any more, and who is away may have changed
    /// its mind.
    pub(super) fn of(&self, topic: &Topic) -> Option<&Settings> {
        let is_direct = topic.path.as_slice() == std::slice::from_ref(&topic.origin);
        let word = self.word(topic).filter(|_| is_direct)?;
        let is_met = self.met.get(&topic.origin) == Some(&word.life);
        word.said.of(&topic.origin_name).filter(|_| is_met)
    }

    /// How many partitions a copy's topic has where it was born, as was heard last over any way.
    pub(super) fn partitions(&self, topic: &Topic) -> Option<u32> {
        self.word(topic)?.said.of(&topic.origin_name).map(Settings::partitions)
    }

    fn word(&self, topic: &Topic) -> Option<&Word> {
        let is_copy = !topic.is_local() && !topic.is_apart() && !topic.is_internal();
        let way = (topic.origin.clone(), topic.path.last().filter(|_| is_copy)?.clone());
        self.others.get(&way)
    }

    /// Whether records of any copy may grow too old.
    pub(super) fn have_ages(&self) -> bool {
        let mut said = self.others.values().flat_map(|word| word.said.topics());
        said.any(|(_, settings)| settings.retention().time.is_some())
    }

    /// A region's hub is linked in this life.
    pub(super) fn on_met(&mut self, region: &RegionId, life: Incarnation) {
        self.met.insert(region.clone(), life);
    }

    /// No hub of a region is linked any more.
    pub(super) fn on_parted(&mut self, region: &RegionId) {
        self.met.remove(region);
    }

    /// Takes a word of another region, unless a later one of the same life is known, or one of the
    /// life that is met. What comes over a third region comes in the order of its log there: which
    /// life is met here says nothing of that.
    fn take(&mut self, topic: &Topic, word: Word) {
        let Some(last) = topic.path.last() else { return };
        let met = self.met.get(&topic.origin).filter(|_| *last == topic.origin).copied();
        let way = (topic.origin.clone(), last.clone());
        let is_older = self.others.get(&way).is_some_and(|known| {
            let is_same = known.life == word.life;
            is_same && known.sequence >= word.sequence || !is_same && met == Some(known.life)
        });
        if !is_older {
            self.others.insert(way, word);
        }
    }
}

fn partition() -> TopicPartition {
    TopicPartition::new(settings_topic(), PartitionIndex::new(0))
}

impl Node {
    /// Takes up what the log has of what hubs say of their topics.
    pub(super) fn recover_settings(&mut self, log: &impl LogReader) -> Result<(), RecoveryError> {
        for at in log.partitions() {
            let Some(topic) = self.topics.get(&at.topic).cloned() else { continue };
            if topic.origin_name != settings_topic() || topic.is_apart() {
                continue;
            }
            let mut last: Option<Word> = None;
            let mut was_said = false;
            scan(log, &at, |found| match found {
                Found::Entry(entry) => {
                    let word = Word::of(entry);
                    was_said |= word.is_some();
                    last = word.or_else(|| last.take());
                }
                // What came last may be lost, and what came before it need not hold.
                Found::Lost(_) => {
                    was_said = true;
                    last = None;
                }
            })?;
            if topic.is_local() {
                self.keeping.said.has_spoken |= was_said;
                // What a former life said behind this backup is not known.
                let last = last.filter(|word| word.life == self.incarnation);
                self.keeping.said.own = last.map(|word| word.said);
            } else if let Some(word) = last {
                self.keeping.said.take(&topic, word);
            }
        }
        Ok(())
    }

    /// Writes down what this hub declares, if the configuration has changed and there is room.
    pub(super) fn say_changed_settings(&mut self, now: Now) {
        if self.keeping.said.is_unsaid && !self.fullness.is_full() {
            self.say_settings(now);
        }
    }

    /// Writes down what this hub declares, if its log does not say so already.
    pub(super) fn say_settings(&mut self, now: Now) {
        self.keeping.said.is_unsaid = false;
        let partitions = |name: &TopicName| self.topics.get(name).map_or(1, |of| of.partitions);
        let said = self.keeping.declared(partitions);
        let Statements { own, has_spoken, .. } = &self.keeping.said;
        if own.as_ref() == Some(&said) || !has_spoken && said.limits_nothing() {
            return;
        }
        match Batch::encode(&[said.record(now)]) {
            Ok(batch) => {
                let (at, mut random) = (partition(), self.settings_random());
                self.born_by(&at, batch, now, &mut random);
                self.keeping.said.own = Some(said);
                self.keeping.said.has_spoken = true;
            }
            // Names are bounded, and so is the number of topics.
            Err(error) => tracing::error!(%error, "what is declared fits no batch"),
        }
    }

    /// Not drawn: the schedule of all else is that of a hub that says nothing of its topics.
    fn settings_random(&self) -> SeededRandom {
        SeededRandom::new(self.incarnation.nonce())
    }

    /// Takes over what a region says of its topics: a batch of its `_settings` arrived.
    pub(super) fn take_settings(&mut self, local: &TopicName, entry: &Entry) {
        let Some(topic) = self.topics.get(local).filter(|topic| !topic.is_apart()).cloned() else {
            return;
        };
        let Some(word) = Word::of(entry) else { return };
        tracing::info!(region = %topic.origin, "a region says how its topics are kept");
        self.keeping.said.take(&topic, word);
        let copies = self.topics.iter().filter(|copy| copy.origin == topic.origin);
        let names: Vec<TopicName> = copies.map(|copy| copy.name.clone()).collect();
        names.iter().for_each(|name| self.grow_copy(name));
    }

    /// Gives a copy the partitions that its origin says it has.
    pub(super) fn grow_copy(&mut self, name: &TopicName) {
        let Some(topic) = self.topics.get(name) else { return };
        let Some(partitions) = self.keeping.partitions(topic) else { return };
        if partitions <= topic.partitions {
            return;
        }
        let grown = Topic { partitions, ..topic.clone() };
        let value = grown.encode();
        match self.topics.add(grown) {
            Ok(()) => {
                let key = name.as_str().to_owned().into();
                self.composer.set(owner("topics"), key, Some(value));
            }
            Err(error) => tracing::error!(%error, "a copy does not grow"),
        }
    }

    /// The configuration has changed: how declared topics are kept holds from now on, here and,
    /// as soon as they hear of it, for the copies of other regions. Whatever else it says takes
    /// effect at the next start.
    pub fn on_configured(&mut self, now: Now, config: &HubConfig) {
        self.keeping.configure(config);
        self.keeping.said.is_unsaid = true;
        self.say_changed_settings(now);
        let copies = self.topics.iter().filter(|topic| !topic.is_local());
        let names: Vec<TopicName> = copies.map(|copy| copy.name.clone()).collect();
        names.iter().for_each(|name| self.grow_copy(name));
    }
}

#[cfg(test)]
mod tests {
    use headland_event::Lane;
    use headland_storage::Retention;

    use super::*;
    use crate::topics::Replication;

    const A: Incarnation = Incarnation::new(1, 1);
    const B: Incarnation = Incarnation::new(1, 2);

    /// A region's topic `air`, as it came directly.
    fn air() -> Topic {
        let (eu, air): (RegionId, TopicName) = ("eu".parse().unwrap(), "air".parse().unwrap());
        Topic {
            name: "eu.air".parse().unwrap(),
            also: Vec::new(),
            lane: Lane::State,
            partitions: 1,
            origin: eu.clone(),
            origin_name: air,
            path: vec![eu],
            replication: Replication::Offered,
        }
    }

    fn word(life: Incarnation, sequence: u64, partitions: u32) -> Word {
        let all = Retention { time: None, bytes: None };
        let said = [("air".parse().unwrap(), Settings::new(partitions, all, None))];
        Word { life, sequence: Sequence::new(sequence), said: Said::new(said.into()) }
    }

    #[test]
    fn a_word_that_comes_again_late_does_not_hold() {
        let (mut statements, eu) = (Statements::default(), "eu".parse().unwrap());
        let take = |statements: &mut Statements, word| {
            statements.take(&air(), word);
            (statements.partitions(&air()), statements.of(&air()).map(Settings::partitions))
        };

        let unmet = take(&mut statements, word(A, 2, 2));
        statements.on_met(&eu, A);
        let older = take(&mut statements, word(A, 1, 1));
        let of_another = take(&mut statements, word(B, 9, 9));
        let newer = take(&mut statements, word(A, 3, 3));
        statements.on_met(&eu, B);
        let before_it_speaks = statements.of(&air()).copied();
        let next = take(&mut statements, word(B, 1, 4));

        statements.on_parted(&eu);
        let parted = statements.of(&air()).copied();

        assert_eq!(unmet, (Some(2), None));
        assert_eq!([older, of_another], [(Some(2), Some(2)); 2]);
        assert_eq!(newer, (Some(3), Some(3)));
        assert_eq!(before_it_speaks, None);
        assert_eq!(next, (Some(4), Some(4)));
        assert_eq!(parted, None);
    }

    #[test]
    fn over_a_third_region_the_word_that_comes_last_holds_whichever_life_is_met() {
        let (mut statements, eu) = (Statements::default(), "eu".parse().unwrap());
        let over_us = Topic {
            name: "us.eu.air".parse().unwrap(),
            path: vec!["eu".parse().unwrap(), "us".parse().unwrap()],
            ..air()
        };
        statements.on_met(&eu, A);

        statements.take(&over_us, word(A, 1, 1));
        statements.take(&over_us, word(B, 1, 4));

        assert_eq!(statements.partitions(&over_us), Some(4));
        assert_eq!(statements.of(&over_us), None);
    }
}
