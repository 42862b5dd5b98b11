//! What is to be said, and what has to be on disk before.
//!
//! Of each region one write is on its way at most; what changes meanwhile goes with the next one.
//! A word waits for what was said of its own region only, so that a peer that has one region's
//! votes written over and over holds up no lease of another. Of one kind of word about one region
//! to one hub the last one counts: the former ones are dropped, which bounds what waits.

use std::collections::{BTreeMap, VecDeque};
use std::mem::discriminant;

use headland_event::RegionId;

use super::message::{LeaseMessage, Voted};
use super::{LeaseOutput, VOTERS_LIMIT};

/// Kinds of words.
const KINDS: usize = 9;

/// What was said of one region, and how much of it is durable.
#[derive(Debug)]
struct Page {
    latest: Voted,
    version: u64,
    durable: Voted,
    durable_version: u64,
    /// What is on its way to the disk.
    writing: Option<(u64, Voted)>,
}

#[derive(Debug)]
struct Word {
    to: RegionId,
    about: Option<RegionId>,
    /// The version of the region's page that has to be durable first.
    version: u64,
    message: LeaseMessage,
}

/// What one hub has to say and to write.
#[derive(Debug)]
pub(super) struct Words {
    own: RegionId,
    pages: BTreeMap<RegionId, Page>,
    /// Writes that are on their way, in order; `None` is that the memory is whole.
    writes: VecDeque<Option<RegionId>>,
    waiting: VecDeque<Word>,
}

impl Words {
    /// What a hub's disk says at its start.
    pub(super) fn new(own: RegionId, said: Vec<Voted>) -> Self {
        let page = |voted: Voted| {
            let (latest, durable) = (voted.clone(), voted);
            let (version, durable_version) = (0, 0);
            let region = durable.region.clone();
            (region, Page { latest, version, durable, durable_version, writing: None })
        };
        let pages = said.into_iter().map(page).collect();
        Self { own, pages, writes: VecDeque::new(), waiting: VecDeque::new() }
    }

    /// All that was said and is durable: nobody has heard of more.
    pub(super) fn durable(&self) -> Vec<Voted> {
        self.pages.values().map(|page| page.durable.clone()).collect()
    }

    /// This is said of a region from now on; what to write now, if nothing of it is on its way.
    pub(super) fn write(&mut self, voted: Voted) -> Option<LeaseOutput> {
        let page = self.pages.get_mut(&voted.region)?;
        page.version = page.version.saturating_add(1);
        page.latest = voted;
        page.begin(&mut self.writes)
    }

    pub(super) fn write_memory(&mut self) -> LeaseOutput {
        self.writes.push_back(None);
        LeaseOutput::KeepMemory
    }

    /// The first write is durable; what to write next of the same region.
    pub(super) fn on_kept(&mut self) -> Option<LeaseOutput> {
        let page = self.pages.get_mut(&self.writes.pop_front()??)?;
        let (version, voted) = page.writing.take()?;
        (page.durable_version, page.durable) = (version, voted);
        if page.version == page.durable_version {
            return None;
        }
        page.begin(&mut self.writes)
    }

    /// Says something, in the place of what was not said yet of the same.
    pub(super) fn say(&mut self, to: RegionId, message: LeaseMessage) {
        let about = match &message {
            LeaseMessage::Known { .. } => None,
            LeaseMessage::Ask { .. } => Some(self.own.clone()),
            LeaseMessage::Grant { .. } => Some(to.clone()),
            LeaseMessage::Prepare { region, .. }
            | LeaseMessage::Promise { region, .. }
            | LeaseMessage::Accept { region, .. }
            | LeaseMessage::Accepted { region, .. }
            | LeaseMessage::Refused { region, .. } => Some(region.clone()),
        };
        let kind = discriminant(&message);
        self.waiting.retain(|word| {
            word.to != to || word.about != about || discriminant(&word.message) != kind
        });
        let page = about.as_ref().and_then(|about| self.pages.get(about));
        let version = page.map_or(0, |page| page.version);
        self.waiting.push_back(Word { to, about, version, message });
    }

    /// Drops what was to be said to a region.
    pub(super) fn forget(&mut self, to: &RegionId) {
        self.waiting.retain(|word| word.to != *to);
    }

    /// The next word to others.
    pub(super) fn poll(&mut self) -> Option<(RegionId, LeaseMessage)> {
        self.take(|words, word| word.to != words.own)
    }

    /// The next word of this hub to itself.
    pub(super) fn poll_own(&mut self) -> Option<LeaseMessage> {
        self.take(|words, word| word.to == words.own).map(|(_, message)| message)
    }

    fn take(
        &mut self,
        is_meant: impl Fn(&Self, &Word) -> bool,
    ) -> Option<(RegionId, LeaseMessage)> {
        let is_next = |word: &Word| is_meant(self, word) && self.is_durable(word);
        let at = self.waiting.iter().position(is_next)?;
        self.waiting.remove(at).map(|word| (word.to, word.message))
    }

    fn is_durable(&self, word: &Word) -> bool {
        let page = word.about.as_ref().and_then(|about| self.pages.get(about));
        page.is_none_or(|page| page.durable_version >= word.version)
    }

    pub(super) fn check_invariants(&self) {
        let of_each = VOTERS_LIMIT * KINDS;
        debug_assert!(self.waiting.len() <= VOTERS_LIMIT * of_each, "words are bounded");
        for page in self.pages.values() {
            debug_assert!(page.durable_version <= page.version, "nothing is durable before it is");
        }
    }
}

impl Page {
    fn begin(&mut self, writes: &mut VecDeque<Option<RegionId>>) -> Option<LeaseOutput> {
        if self.writing.is_some() {
            return None;
        }
        self.writing = Some((self.version, self.latest.clone()));
        writes.push_back(Some(self.latest.region.clone()));
        Some(LeaseOutput::Keep(self.latest.clone()))
    }
}
