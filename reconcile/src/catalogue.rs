//! Every sku with its shelves and attributes.

use std::collections::BTreeMap;

use headland_event::{KeyMap, keymap};
use serde::{Deserialize, Serialize};

use crate::name::{AttributeName, AttributeValue, Location, Sku};
use crate::register::Register;
use crate::shelf::Shelf;

/// What is known of one sku, as JSON for the API: maps ordered by name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ProductView {
    /// The sku.
    pub sku: Sku,
    /// Units in stock by location.
    pub units: BTreeMap<Location, i64>,
    /// What is written about it, by attribute.
    pub attributes: BTreeMap<AttributeName, AttributeValue>,
}

/// One attribute of one sku.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct Attribute {
    pub(crate) writes: Register<AttributeValue>,
    /// The value last reported, `None` when there is nothing to report.
    pub(crate) shown: Option<AttributeValue>,
}

impl Attribute {
    /// Whether it shows what holds.
    pub(crate) fn is_consistent(&self) -> bool {
        self.shown.as_ref() == self.writes.winner().map(|write| &write.value)
    }
}

/// Where a shelf or an attribute is. Nothing is ever removed, so it stays true.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Place {
    product: usize,
    entry: usize,
}

/// What is kept of one sku, in order of first mention.
#[derive(Debug, Clone)]
pub(crate) struct Product {
    pub(crate) shelves: KeyMap<Location, Shelf>,
    pub(crate) attributes: KeyMap<AttributeName, Attribute>,
}

/// Every product by sku, in order of first mention.
#[derive(Debug, Clone)]
pub(crate) struct Catalogue {
    products: KeyMap<Sku, Product>,
    seed: u64,
}

impl Catalogue {
    pub(crate) fn new(seed: u64) -> Self {
        Self { products: keymap::key_map(seed), seed }
    }

    /// The place of a shelf, made when it is new.
    pub(crate) fn shelf_place(&mut self, sku: &Sku, location: &Location) -> Place {
        let (product, at) = self.product(sku);
        let entry = match at.shelves.get_index_of(location) {
            Some(entry) => entry,
            None => at.shelves.insert_full(location.clone(), Shelf::default()).0,
        };
        Place { product, entry }
    }

    /// The place of an attribute, made when it is new.
    pub(crate) fn attribute_place(&mut self, sku: &Sku, name: &AttributeName) -> Place {
        let (product, at) = self.product(sku);
        let entry = match at.attributes.get_index_of(name) {
            Some(entry) => entry,
            None => at.attributes.insert_full(name.clone(), Attribute::default()).0,
        };
        Place { product, entry }
    }

    /// The product of a sku with its index, made when it is new.
    pub(crate) fn product(&mut self, sku: &Sku) -> (usize, &mut Product) {
        let seed = self.seed;
        let entry = self.products.entry(sku.clone());
        let index = entry.index();
        let product = entry.or_insert_with(|| Product {
            shelves: keymap::key_map(seed),
            attributes: keymap::key_map(seed),
        });
        (index, product)
    }

    /// The shelf at a place, with its name.
    ///
    /// # Panics
    /// When the place was made by another catalogue; [`Self::has_shelf`] tells.
    pub(crate) fn shelf_at(&mut self, at: Place) -> (&Sku, &Location, &mut Shelf) {
        let found = self.products.get_index_mut(at.product).and_then(|(sku, product)| {
            let (location, shelf) = product.shelves.get_index_mut(at.entry)?;
            Some((sku, location, shelf))
        });
        #[expect(clippy::expect_used, reason = "a place stays true: nothing is ever removed")]
        found.expect("a place of this catalogue leads to a shelf")
    }

    /// The attribute at a place, with its name.
    ///
    /// # Panics
    /// When the place was made by another catalogue; [`Self::has_attribute`] tells.
    pub(crate) fn attribute_at(&mut self, at: Place) -> (&Sku, &AttributeName, &mut Attribute) {
        let found = self.products.get_index_mut(at.product).and_then(|(sku, product)| {
            let (name, attribute) = product.attributes.get_index_mut(at.entry)?;
            Some((sku, name, attribute))
        });
        #[expect(clippy::expect_used, reason = "a place stays true: nothing is ever removed")]
        found.expect("a place of this catalogue leads to an attribute")
    }

    /// Whether a place leads to a shelf.
    pub(crate) fn has_shelf(&self, at: Place) -> bool {
        self.products.get_index(at.product).is_some_and(|(_, of)| at.entry < of.shelves.len())
    }

    /// Whether a place leads to an attribute.
    pub(crate) fn has_attribute(&self, at: Place) -> bool {
        self.products.get_index(at.product).is_some_and(|(_, of)| at.entry < of.attributes.len())
    }

    pub(crate) fn get(&self, sku: &Sku) -> Option<&Product> {
        self.products.get(sku)
    }

    pub(crate) fn iter(&self) -> impl ExactSizeIterator<Item = (&Sku, &Product)> {
        self.products.iter()
    }

    /// What holds of one sku; `None` when nothing does.
    pub(crate) fn view(&self, sku: &Sku) -> Option<ProductView> {
        let product = self.products.get(sku)?;
        let units: BTreeMap<Location, i64> = product
            .shelves
            .iter()
            .filter_map(|(location, shelf)| Some((location.clone(), shelf.shown?)))
            .collect();
        let attributes: BTreeMap<AttributeName, AttributeValue> = product
            .attributes
            .iter()
            .filter_map(|(name, attribute)| Some((name.clone(), attribute.shown.clone()?)))
            .collect();
        let is_known = !units.is_empty() || !attributes.is_empty();
        is_known.then(|| ProductView { sku: sku.clone(), units, attributes })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_stays_true_when_other_skus_and_locations_come() {
        let mut catalogue = Catalogue::new(3);
        let (sku, location) = (Sku::new("b").unwrap(), Location::new("y").unwrap());

        let place = catalogue.shelf_place(&sku, &location);
        catalogue.shelf_place(&sku, &Location::new("x").unwrap());
        catalogue.attribute_place(&Sku::new("a").unwrap(), &AttributeName::new("p").unwrap());

        assert_eq!(catalogue.shelf_place(&sku, &location), place);
        let (found, at, _) = catalogue.shelf_at(place);
        assert_eq!((found, at), (&sku, &location));
    }

    #[test]
    fn a_sku_of_which_nothing_holds_has_no_view() {
        let mut catalogue = Catalogue::new(3);
        let sku = Sku::new("a").unwrap();
        catalogue.shelf_place(&sku, &Location::new("x").unwrap());

        assert_eq!(catalogue.view(&sku), None);
    }
}
