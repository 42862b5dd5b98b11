//! Names of copies: a view of what they are, which may change while their logs do not.
//!
//! A copy is known by where it was born, by its name there, and by the regions it came through. The
//! name it gets when it is taken up is that of its log, for good: offsets, positions, checkpoints
//! and the hubs it is offered to have it by that one. When its prefix is called something else
//! later, it is found by that name as well, and still by all it had.

use headland_event::{NameError, RegionId, TopicName};
use headland_replication::route::Naming;

use super::{Replication, Topic, TopicError, Topics, base_topic};

/// Most topics that would have the same name here: as many as there are regions in a large fleet.
const NAMESAKES_LIMIT: u32 = 9;

/// Most names that a copy is found by beside that of its log: a fleet renames regions a few times.
/// Of more the oldest is given up.
pub(super) const ALSO_LIMIT: usize = 8;

impl Topic {
    /// Every name that it is found by here, that of its log first.
    #[must_use]
    pub fn names(&self) -> Vec<&str> {
        [&self.name].into_iter().chain(&self.also).map(TopicName::as_str).collect()
    }
}

impl Topics {
    /// A topic by any name that it is found by.
    #[must_use]
    pub fn resolve(&self, name: &TopicName) -> Option<&Topic> {
        let is_called = |known: &&Topic| known.also.contains(name);
        self.get(name).or_else(|| self.topics.values().find(is_called))
    }

    /// What is to be called so is never a copy: the hub makes a topic of that name, or will.
    pub(crate) fn reserve(&mut self, name: TopicName) {
        self.reserved.insert(name);
    }

    /// Lets a copy be found by the name it has at the peer, where its names are to be kept and no
    /// other topic has this one; says whether it was not before. Its log never has it: a topic of
    /// that name may be declared here later, as when agents come over.
    pub(crate) fn call_plain(
        &mut self,
        naming: &Naming,
        name: &TopicName,
        source: &TopicName,
    ) -> bool {
        let origin_topic = self.get(name).map_or(source, |copy| &copy.origin_name);
        let plain = naming.plain(source, origin_topic).filter(|plain| {
            let base = base_topic(plain);
            let mut names = [Some(plain), base.as_ref()].into_iter().flatten();
            !names.any(|name| self.reserved.contains(name)) && self.resolve(plain).is_none()
        });
        plain.is_some_and(|plain| self.add_other(name, plain))
    }

    /// Lets a copy that came from its origin itself be found by what it is to be called here; says
    /// whether it was not before.
    pub(crate) fn call_copy(&mut self, naming: &Naming, copy: &Topic) -> bool {
        let prefixed = naming.prefixed(&copy.origin_name);
        let is_prefixed = prefixed.is_ok_and(|prefixed| self.call(&copy.name, &prefixed));
        self.call_plain(naming, &copy.name, &copy.origin_name) || is_prefixed
    }

    /// The copy of a region's topic that came over these regions.
    pub(super) fn copy(
        &self,
        origin: &RegionId,
        origin_name: &TopicName,
        path: &[RegionId],
    ) -> Option<&Topic> {
        let mut topics = self.topics.values().filter(|known| !known.is_local());
        topics.find(|known| {
            (&known.origin, &known.origin_name) == (origin, origin_name) && known.path == path
        })
    }

    /// The first name that nobody has.
    pub(super) fn free_name(&self, wanted: &TopicName) -> Result<TopicName, TopicError> {
        for number in 1..=NAMESAKES_LIMIT {
            let name = numbered(wanted, number)?;
            if self.resolve(&name).is_none() {
                return Ok(name);
            }
        }
        let (name, limit) = (wanted.clone(), NAMESAKES_LIMIT);
        Err(TopicError::Namesakes { name, limit })
    }

    /// Lets a copy be found by a name as well, or, where that is another topic's, by the first one
    /// with a number that nobody has; says whether it was not before.
    pub(crate) fn call(&mut self, name: &TopicName, wanted: &TopicName) -> bool {
        for number in 1..=NAMESAKES_LIMIT {
            let Ok(other) = numbered(wanted, number) else { return false };
            match self.resolve(&other) {
                Some(known) if known.name == *name => return false,
                Some(_) => {}
                None => return self.add_other(name, other),
            }
        }
        tracing::warn!(topic = %name, %wanted, "not found by that name: too many topics have it");
        false
    }

    fn add_other(&mut self, name: &TopicName, other: TopicName) -> bool {
        let copy = self.topics.get_mut(name);
        let Some(copy) = copy.filter(|known| known.replication == Replication::Offered) else {
            return false;
        };
        if copy.also.len() >= ALSO_LIMIT {
            let oldest = copy.also.remove(0);
            tracing::warn!(topic = %name, %oldest, "not found by its oldest other name any more");
        }
        tracing::info!(topic = %name, %other, "a copy is found by another name as well");
        copy.also.push(other);
        true
    }

    /// A topic is to have this name: no other one is found by it.
    pub(super) fn drop_other(&mut self, name: &TopicName) {
        for known in self.topics.values_mut() {
            known.also.retain(|other| other != name);
        }
    }
}

fn numbered(wanted: &TopicName, number: u32) -> Result<TopicName, NameError> {
    match number {
        1 => Ok(wanted.clone()),
        _ => TopicName::new(&format!("{wanted}-{number}")),
    }
}
