//! What is known of one sku.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::ledger::Account;
use crate::name::{AttributeName, AttributeValue, Location, Sku};

/// What is known of one sku, as JSON for the API: maps ordered by name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ProductView {
    /// The sku.
    pub sku: Sku,
    /// Units in stock by location.
    pub units: BTreeMap<Location, i64>,
    /// Units on their way between locations; absent when none ever were.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub in_transit: Option<i64>,
    /// Units set aside; absent when none ever were.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reserved: Option<i64>,
    /// What is written about it, by attribute.
    pub attributes: BTreeMap<AttributeName, AttributeView>,
}

/// What one attribute holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum AttributeView {
    /// One value.
    One(AttributeValue),
    /// Of an attribute that keeps concurrent values: each of them, in order.
    Several(Vec<AttributeValue>),
}

impl AttributeView {
    /// The view of the values an attribute shows; `None` of none.
    pub(crate) fn of(values: &[AttributeValue]) -> Option<Self> {
        match values {
            [] => None,
            [value] => Some(Self::One(value.clone())),
            several => Some(Self::Several(several.to_vec())),
        }
    }
}

impl ProductView {
    pub(super) fn of(sku: Sku) -> Self {
        let attributes = BTreeMap::new();
        Self { sku, units: BTreeMap::new(), in_transit: None, reserved: None, attributes }
    }

    pub(super) fn add_units(&mut self, account: Account, units: i64) {
        match account {
            Account::Location(location) => {
                self.units.insert(location, units);
            }
            Account::InTransit => self.in_transit = Some(units),
            Account::Reserved => self.reserved = Some(units),
            Account::Customer | Account::Supplier | Account::Adjustment => {
                debug_assert!(false, "{account:?} is no stock");
            }
        }
    }

    pub(super) fn add_attribute(&mut self, name: &AttributeName, values: &[AttributeValue]) {
        if let Some(view) = AttributeView::of(values) {
            self.attributes.insert(name.clone(), view);
        }
    }

    pub(super) fn is_known(&self) -> bool {
        let has_units = !self.units.is_empty() || !self.attributes.is_empty();
        has_units || self.in_transit.is_some() || self.reserved.is_some()
    }
}
