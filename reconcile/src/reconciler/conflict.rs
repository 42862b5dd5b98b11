//! Pairs of writes of which neither writer had seen the other.

use crate::catalogue::Named;
use crate::event::Decision;
use crate::ledger::Account;
use crate::name::{AttributeName, AttributeValue, ReviewId};
use crate::output::{ConflictRecord, ConflictSubject, ConflictValue};
use crate::register::{Register, Write};
use crate::shelf::Count;

/// A value that concurrent writers may set differently.
pub(super) trait Contested: Clone + Into<ConflictValue> {
    /// Whether two concurrent writers of these values are a conflict.
    fn contests(&self, other: &Self) -> bool;
}

/// Two counts of one shelf are a conflict even where they agree: each left out what the other's
/// hub knew.
impl Contested for Count {
    fn contests(&self, _: &Self) -> bool {
        true
    }
}

/// Whoever wrote did not know of the other, so both are told.
impl Contested for AttributeValue {
    fn contests(&self, _: &Self) -> bool {
        true
    }
}

/// Reviewers who rule alike agree, whatever their reasons.
impl Contested for Decision {
    fn contests(&self, other: &Self) -> bool {
        self.ruling != other.ruling
    }
}

/// The conflicts that a write is in.
pub(super) fn conflicts_of<V: Contested>(
    register: &Register<V>,
    write: &Write<V>,
    subject: &ConflictSubject,
) -> Vec<ConflictRecord> {
    register
        .concurrent(write)
        .filter(|other| write.value.contests(&other.value))
        .map(|other| ConflictRecord::between(subject.clone(), write, other))
        .collect()
}

/// What stocktakes of a shelf are about; `None` of one that cannot be counted.
pub(super) fn of_shelf(shelf: &Named<'_, Account>) -> Option<ConflictSubject> {
    let Account::Location(location) = &shelf.name else { return None };
    Some(ConflictSubject::Stocktake { sku: shelf.sku.clone(), location: location.clone() })
}

/// What writes of an attribute are about.
pub(super) fn of_attribute(named: &Named<'_, &AttributeName>) -> ConflictSubject {
    ConflictSubject::Attribute { sku: named.sku.clone(), attribute: named.name.clone() }
}

/// What decisions about what is reviewed are about.
pub(super) fn of_review(late: &ReviewId) -> ConflictSubject {
    ConflictSubject::Review { late: late.clone() }
}
