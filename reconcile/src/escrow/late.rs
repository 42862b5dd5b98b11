//! Records of a holder that come behind what followed them in its log.
//!
//! Compaction leaves of each key the last record. Who gets a log that was compacted, and loses its
//! sender before it has what holds instead, is brought what was left out by somebody else. So of
//! each key it is known which record was the last, from the first that may come so on, and what
//! lies before that one changes nothing.

use std::collections::BTreeMap;

use headland_event::Offset;

use super::{Act, EscrowRecord};
use crate::name::{RequestId, Sku};

/// Promises of one holder's log of which the last record is known. Of more, one that ended may
/// count as open when it comes late: that is fewer units free than there are, never more. Of books
/// each last one is known, as a stale one would undo what came of later ones; they are as many as
/// the skus that the holder has rights of.
const PROMISES_LIMIT: usize = 100_000;

/// What is known of a log of which a part may come late.
#[derive(Debug, Clone)]
pub(super) struct Late {
    /// Nothing before it comes late.
    from: Offset,
    /// By promise, the last records from there on.
    promises: BTreeMap<(Sku, RequestId), Offset>,
    /// By sku, the last records from there on that have its books.
    books: BTreeMap<Sku, Offset>,
}

/// What of a record that comes late nothing that followed it has replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct News {
    /// That a promise was made, or is over.
    pub(super) promise: bool,
    /// What its writer's records come to.
    pub(super) books: bool,
}

impl Late {
    pub(super) const fn new(from: Offset) -> Self {
        Self { from, promises: BTreeMap::new(), books: BTreeMap::new() }
    }

    /// What lies behind this offset may come late, too.
    pub(super) fn begin(&mut self, from: Offset) {
        self.from = self.from.min(from);
    }

    /// Takes note of a record that came in its order.
    pub(super) fn note(&mut self, at: Offset, record: &EscrowRecord) {
        let _news = self.raise(at, record);
    }

    /// Whether what stands at an offset may come late.
    pub(super) fn may_come(&self, at: Offset) -> bool {
        at >= self.from
    }

    /// Takes note of one that comes late; `None` when it says nothing that is news.
    pub(super) fn take(&mut self, at: Offset, record: &EscrowRecord) -> Option<News> {
        let News { promise, books } = self.raise(at, record);
        let news = News { promise, books: books && record.books.is_some() };
        (news.promise || news.books).then_some(news)
    }

    /// Whether a record is the last one so far of what it is about.
    fn raise(&mut self, at: Offset, record: &EscrowRecord) -> News {
        let (promise, has_books) = subject(record);
        let promise = promise.is_some_and(|request| {
            let has_room = self.promises.len() < PROMISES_LIMIT;
            raise(&mut self.promises, (record.sku.clone(), request.clone()), at, has_room)
        });
        let books = has_books && raise(&mut self.books, record.sku.clone(), at, true);
        News { promise, books }
    }
}

/// Whether an offset is the last one of a key so far; keeps it where there is room.
fn raise<K: Ord>(last: &mut BTreeMap<K, Offset>, key: K, at: Offset, has_room: bool) -> bool {
    match last.get_mut(&key) {
        Some(known) if *known >= at => return false,
        Some(known) => *known = at,
        None if has_room => {
            last.insert(key, at);
        }
        None => {}
    }
    true
}

/// The promise that a record is about, and whether it has the books of its sku.
const fn subject(record: &EscrowRecord) -> (Option<&RequestId>, bool) {
    match &record.act {
        Act::Spend { request, .. } | Act::Gone { request } => (Some(request), false),
        Act::Close { request, .. } => (Some(request), true),
        Act::Create { .. }
        | Act::Ask { .. }
        | Act::Give { .. }
        | Act::Recall { .. }
        | Act::Destroy { .. } => (None, true),
    }
}

#[cfg(test)]
mod tests {
    use super::super::{AskNumber, Units};
    use super::*;

    fn ask(sku: usize) -> EscrowRecord {
        let act = Act::Ask { number: AskNumber::default(), units: Units::new(1).unwrap() };
        EscrowRecord { sku: Sku::new(&format!("s{sku}")).unwrap(), act, books: None }
    }

    fn gone(request: usize) -> EscrowRecord {
        let act = Act::Gone { request: RequestId::new(&format!("r{request}")).unwrap() };
        EscrowRecord { sku: Sku::new("s").unwrap(), act, books: None }
    }

    #[test]
    fn however_many_promises_there_are_no_stale_books_pass_for_news() {
        let mut late = Late::new(Offset::new(0));
        let at = |offset: usize| Offset::new(u64::try_from(offset).unwrap());
        for request in 0..PROMISES_LIMIT {
            late.note(at(request), &gone(request));
        }

        late.note(at(PROMISES_LIMIT + 9), &ask(1));

        assert!(!late.raise(at(PROMISES_LIMIT + 8), &ask(1)).books);
        assert!(late.raise(at(PROMISES_LIMIT + 10), &ask(1)).books);
        assert!(!late.raise(at(5), &gone(7)).promise);
    }
}
