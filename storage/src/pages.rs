//! Points paged in from the directories of closed files, in a bounded cache.

use std::collections::BTreeMap;
use std::sync::Arc;

/// Points of one partition, or of the commits, in one file.
#[derive(Debug)]
pub(crate) struct Page<P> {
    pub(crate) points: Arc<[P]>,
    /// Whether some of the file could not be read when they were made from it, so that there may
    /// have been more.
    pub(crate) is_damaged: bool,
}

impl<P> Clone for Page<P> {
    fn clone(&self) -> Self {
        Self { points: Arc::clone(&self.points), is_damaged: self.is_damaged }
    }
}

/// A cache of points by file and key; what was used longest ago makes room.
#[derive(Debug)]
pub(crate) struct Pages<K, P> {
    limit: usize,
    held: usize,
    /// Counts uses, so that the oldest one is known without a clock.
    uses: u64,
    pages: BTreeMap<K, (Page<P>, u64)>,
    by_use: BTreeMap<u64, K>,
}

impl<K: Ord + Copy, P> Pages<K, P> {
    /// A cache of at most `limit` bytes.
    pub(crate) const fn new(limit: usize) -> Self {
        Self { limit, held: 0, uses: 0, pages: BTreeMap::new(), by_use: BTreeMap::new() }
    }

    pub(crate) fn get(&mut self, key: K) -> Option<Page<P>> {
        let (page, used) = self.pages.get_mut(&key)?;
        self.by_use.remove(used);
        self.uses += 1;
        *used = self.uses;
        self.by_use.insert(self.uses, key);
        Some(page.clone())
    }

    /// Keeps a page, unless it alone is above the limit.
    pub(crate) fn insert(&mut self, key: K, page: Page<P>) {
        let size = size_of_val(&*page.points);
        if size > self.limit || self.pages.contains_key(&key) {
            return;
        }
        while self.held + size > self.limit && self.evict() {}
        self.uses += 1;
        self.held += size;
        self.pages.insert(key, (page, self.uses));
        self.by_use.insert(self.uses, key);
        debug_assert!(self.held <= self.limit, "the cache is bounded");
        debug_assert!(self.pages.len() == self.by_use.len(), "every page has one last use");
    }

    fn evict(&mut self) -> bool {
        let oldest = self.by_use.pop_first().and_then(|(_, key)| self.pages.remove(&key));
        let Some((page, _)) = oldest else { return false };
        self.held -= size_of_val(&*page.points);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(points: usize) -> Page<u64> {
        Page { points: Arc::from(vec![0; points]), is_damaged: false }
    }

    #[test]
    fn the_page_unused_for_longest_makes_room() {
        let mut pages: Pages<u32, u64> = Pages::new(32);
        pages.insert(1, page(2));
        pages.insert(2, page(2));
        pages.get(1);

        pages.insert(3, page(2));

        assert_eq!([1, 2, 3].map(|key| pages.get(key).is_some()), [true, false, true]);
        assert_eq!(pages.held, 32);
    }

    #[test]
    fn a_page_above_the_limit_is_not_kept_and_takes_no_other_with_it() {
        let mut pages: Pages<u32, u64> = Pages::new(32);
        pages.insert(1, page(2));

        pages.insert(2, page(5));

        assert_eq!([1, 2].map(|key| pages.get(key).is_some()), [true, false]);
    }
}
