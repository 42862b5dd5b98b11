//! Every sku with its shelves and attributes.
//!
//! Shelves and attributes stand in two flat maps under small keys, and each names the next one of
//! its sku: a million of them cost little beside what they hold, and finding one is one look-up
//! for the sku, one for the location, one for the shelf.

use std::num::NonZeroU32;

use headland_event::roster::Found;
use headland_event::{KeyMap, Roster, keymap};
use serde::{Deserialize, Serialize};

use crate::event::Names;
use crate::ledger::Account;
use crate::name::{AttributeName, AttributeValue, Location, Sku, TextError};
use crate::register::Register;
use crate::shelf::Shelf;

/// What is known of one sku.
mod view;

pub use view::{AttributeView, ProductView};

/// Where a shelf is. Nothing is ever removed, so it stays true.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct ShelfIndex(NonZeroU32);

/// Where an attribute is. Nothing is ever removed, so it stays true.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct AttributeIndex(NonZeroU32);

/// A sku by order of first mention.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
struct SkuIndex(u32);

/// An account that is stock, by number: a location by order of first mention, or one of two.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
struct AccountIndex(u32);

impl AccountIndex {
    const IN_TRANSIT: Self = Self(u32::MAX);
    const RESERVED: Self = Self(u32::MAX - 1);
}

/// Which sku a shelf holds in which account.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct ShelfKey {
    sku: SkuIndex,
    account: AccountIndex,
}

/// Which attribute of which sku.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct AttributeKey {
    sku: SkuIndex,
    name: AttributeName,
}

/// A shelf, and the next one of its sku.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Stored<T> {
    pub(crate) held: T,
    next: Option<NonZeroU32>,
}

/// One attribute of one sku.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct Attribute {
    pub(crate) writes: Register<AttributeValue>,
    /// The values last reported, none when there is nothing to report.
    pub(crate) shown: Vec<AttributeValue>,
}

/// Where the shelves and attributes of one sku begin.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub(crate) struct Product {
    first_shelf: Option<NonZeroU32>,
    first_attribute: Option<NonZeroU32>,
}

/// A shelf with its name.
#[derive(Debug)]
pub(crate) struct Named<'a, T> {
    pub(crate) sku: &'a Sku,
    pub(crate) name: T,
}

/// Every product by sku, in order of first mention.
#[derive(Debug, Clone)]
pub(crate) struct Catalogue {
    pub(crate) products: Roster<Sku, Product>,
    pub(crate) locations: Roster<Location, ()>,
    pub(crate) shelves: Roster<ShelfKey, Stored<Shelf>>,
    pub(crate) attributes: KeyMap<AttributeKey, Stored<Attribute>>,
}

impl Catalogue {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            products: Roster::new(seed),
            locations: Roster::new(seed),
            shelves: Roster::new(seed),
            attributes: keymap::key_map(seed),
        }
    }

    /// The shelf of an account, made when it is new; `None` for an account that is no stock. O(1).
    pub(crate) fn shelf_index(&mut self, sku: &Sku, account: &Account) -> Option<ShelfIndex> {
        let account = match account {
            Account::Location(location) => {
                let made = || (location.clone(), ());
                AccountIndex(number(self.locations.find_or_insert(location, made).0))
            }
            Account::InTransit => AccountIndex::IN_TRANSIT,
            Account::Reserved => AccountIndex::RESERVED,
            Account::Customer | Account::Supplier | Account::Adjustment => return None,
        };
        let (sku, product) = product(&mut self.products, sku);
        let key = ShelfKey { sku, account };
        let next = product.first_shelf;
        let made = || (key, Stored { held: Shelf::default(), next });
        let (index, found) = self.shelves.find_or_insert(&key, made);
        let index = link(index);
        match found {
            Found::Before => {}
            Found::Now => product.first_shelf = Some(index),
        }
        Some(ShelfIndex(index))
    }

    /// The attribute of a sku, made when it is new. O(1).
    pub(crate) fn attribute_index(&mut self, sku: &Sku, name: &AttributeName) -> AttributeIndex {
        let (sku, product) = product(&mut self.products, sku);
        let key = AttributeKey { sku, name: name.clone() };
        AttributeIndex(match self.attributes.get_index_of(&key) {
            Some(index) => link(index),
            None => {
                let stored = Stored { held: Attribute::default(), next: product.first_attribute };
                let index = link(self.attributes.insert_full(key, stored).0);
                product.first_attribute = Some(index);
                index
            }
        })
    }

    /// The shelf at an index, with its name.
    ///
    /// # Panics
    /// When another catalogue made the index; [`Self::has_shelf`] tells.
    pub(crate) fn shelf_at(&mut self, at: ShelfIndex) -> (Named<'_, Account>, &mut Shelf) {
        let Self { products, locations, shelves, attributes: _ } = self;
        let found = shelves.get_index_mut(position(at.0)).and_then(|(key, stored)| {
            let name = Named { sku: sku_of(products, key.sku)?, name: account(locations, *key)? };
            Some((name, &mut stored.held))
        });
        #[expect(clippy::expect_used, reason = "an index stays true: nothing is ever removed")]
        found.expect("an index of this catalogue leads to a shelf")
    }

    /// The shelf at an index to look at, with its name; `None` when another catalogue made it.
    pub(crate) fn shelf_named(&self, at: ShelfIndex) -> Option<(Named<'_, Account>, &Shelf)> {
        let (key, stored) = self.shelves.get_index(position(at.0))?;
        let sku = sku_of(&self.products, key.sku)?;
        Some((Named { sku, name: account(&self.locations, *key)? }, &stored.held))
    }

    /// Every index, in order of first mention.
    pub(crate) fn shelf_indices(&self) -> impl Iterator<Item = ShelfIndex> + use<> {
        (0..self.shelves.len()).map(|index| ShelfIndex(link(index)))
    }

    /// The shelf at an index, without its name.
    ///
    /// # Panics
    /// When another catalogue made the index; [`Self::has_shelf`] tells.
    pub(crate) fn shelf_mut(&mut self, at: ShelfIndex) -> &mut Shelf {
        let found = self.shelves.get_index_mut(position(at.0));
        #[expect(clippy::expect_used, reason = "an index stays true: nothing is ever removed")]
        let (_, stored) = found.expect("an index of this catalogue leads to a shelf");
        &mut stored.held
    }

    /// The attribute at an index, with its name.
    ///
    /// # Panics
    /// When another catalogue made the index; [`Self::has_attribute`] tells.
    pub(crate) fn attribute_at(
        &mut self,
        at: AttributeIndex,
    ) -> (Named<'_, &AttributeName>, &mut Attribute) {
        let Self { products, attributes, .. } = self;
        let found = attributes.get_index_mut(position(at.0)).and_then(|(key, stored)| {
            let name = Named { sku: sku_of(products, key.sku)?, name: &key.name };
            Some((name, &mut stored.held))
        });
        #[expect(clippy::expect_used, reason = "an index stays true: nothing is ever removed")]
        found.expect("an index of this catalogue leads to an attribute")
    }

    /// Whether an index leads to a shelf.
    pub(crate) fn has_shelf(&self, at: ShelfIndex) -> bool {
        position(at.0) < self.shelves.len()
    }

    /// Whether an index leads to an attribute.
    pub(crate) fn has_attribute(&self, at: AttributeIndex) -> bool {
        position(at.0) < self.attributes.len()
    }

    /// The shelf of a location.
    pub(crate) fn find(&self, sku: &Sku, location: &Location) -> Option<&Shelf> {
        let at = self.find_index(self.find_key(sku, location)?)?;
        self.shelves.get_index(position(at.0)).map(|(_, stored)| &stored.held)
    }

    /// The key of a location's shelf, if both names were mentioned before. O(1).
    pub(crate) fn find_key(&self, sku: &Sku, location: &Location) -> Option<ShelfKey> {
        let sku = SkuIndex(number(self.products.get_index_of(sku)?));
        let account = AccountIndex(number(self.locations.get_index_of(location)?));
        Some(ShelfKey { sku, account })
    }

    /// Where the shelf of a key is, if there is one. O(1).
    pub(crate) fn find_index(&self, key: ShelfKey) -> Option<ShelfIndex> {
        self.shelves.get_index_of(&key).map(|index| ShelfIndex(link(index)))
    }

    /// Reads a shelf for nothing but having it in the processor's caches.
    pub(crate) fn touch(&self, at: ShelfIndex) {
        let stored = self.shelves.get_index(position(at.0));
        std::hint::black_box(stored.map(|(_, stored)| (stored.held.shown, stored.next)));
    }

    /// An attribute of a sku.
    pub(crate) fn find_attribute(&self, sku: &Sku, name: &AttributeName) -> Option<&Attribute> {
        let sku = SkuIndex(number(self.products.get_index_of(sku)?));
        let key = AttributeKey { sku, name: name.clone() };
        self.attributes.get(&key).map(|stored| &stored.held)
    }

    /// Every sku, in order of first mention.
    pub(crate) fn skus(&self) -> impl ExactSizeIterator<Item = &Sku> {
        self.products.keys()
    }

    /// Every shelf with its name.
    pub(crate) fn shelves(&self) -> impl Iterator<Item = (Named<'_, Account>, &Shelf)> {
        self.shelves.iter().filter_map(|(key, stored)| {
            let sku = sku_of(&self.products, key.sku)?;
            Some((Named { sku, name: account(&self.locations, *key)? }, &stored.held))
        })
    }

    /// Every attribute with its name.
    pub(crate) fn attributes(
        &self,
    ) -> impl Iterator<Item = (Named<'_, &AttributeName>, &Attribute)> {
        self.attributes.iter().filter_map(|(key, stored)| {
            let sku = sku_of(&self.products, key.sku)?;
            Some((Named { sku, name: &key.name }, &stored.held))
        })
    }

    /// What holds of one sku; `None` when nothing does. O(its shelves and attributes).
    pub(crate) fn view(&self, sku: &Sku) -> Option<ProductView> {
        let product = self.products.get(sku)?;
        let mut view = ProductView::of(sku.clone());
        let mut next = product.first_shelf;
        while let Some((key, stored)) = next.and_then(|at| self.shelves.get_index(position(at))) {
            if let (Some(account), Some(units)) =
                (account(&self.locations, *key), stored.held.shown)
            {
                view.add_units(account, units);
            }
            next = stored.next;
        }
        let mut next = product.first_attribute;
        while let Some((key, stored)) = next.and_then(|at| self.attributes.get_index(position(at)))
        {
            view.add_attribute(&key.name, &stored.held.shown);
            next = stored.next;
        }
        view.is_known().then_some(view)
    }
}

/// Skus and locations that were mentioned before share the text that is kept here.
impl Names for Catalogue {
    fn sku(&self, text: &str) -> Result<Sku, TextError> {
        let known = self.products.get_index_of(text).and_then(|at| self.products.get_index(at));
        known.map_or_else(|| Sku::new(text), |(sku, _)| Ok(sku.clone()))
    }

    fn location(&self, text: &str) -> Result<Location, TextError> {
        let known = self.locations.get_index_of(text).and_then(|at| self.locations.get_index(at));
        known.map_or_else(|| Location::new(text), |(location, ())| Ok(location.clone()))
    }
}

fn product<'a>(products: &'a mut Roster<Sku, Product>, sku: &Sku) -> (SkuIndex, &'a mut Product) {
    let (index, _) = products.find_or_insert(sku, || (sku.clone(), Product::default()));
    #[expect(clippy::expect_used, reason = "the line above found or made it")]
    let (_, product) = products.get_index_mut(index).expect("an index that was just found");
    (SkuIndex(number(index)), product)
}

fn sku_of(products: &Roster<Sku, Product>, at: SkuIndex) -> Option<&Sku> {
    products.get_index(usize::try_from(at.0).ok()?).map(|(sku, _)| sku)
}

fn account(locations: &Roster<Location, ()>, key: ShelfKey) -> Option<Account> {
    match key.account {
        AccountIndex::IN_TRANSIT => Some(Account::InTransit),
        AccountIndex::RESERVED => Some(Account::Reserved),
        AccountIndex(at) => {
            let (location, ()) = locations.get_index(usize::try_from(at).ok()?)?;
            Some(Account::Location(location.clone()))
        }
    }
}

/// An index as 32 bits: a hub runs out of memory long before.
#[expect(clippy::expect_used, reason = "four thousand million keys do not fit in memory")]
fn number(index: usize) -> u32 {
    u32::try_from(index).expect("fewer than 2^32 keys are kept")
}

/// An index as a link, which is one more so that none is 0.
fn link(index: usize) -> NonZeroU32 {
    NonZeroU32::MIN.saturating_add(number(index))
}

fn position(link: NonZeroU32) -> usize {
    usize::try_from(link.get() - 1).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn at(location: &str) -> Account {
        Account::Location(Location::new(location).unwrap())
    }

    #[test]
    fn a_place_stays_true_when_other_skus_and_locations_come() {
        let mut catalogue = Catalogue::new(3);
        let sku = Sku::new("b").unwrap();

        let index = catalogue.shelf_index(&sku, &at("y")).unwrap();
        catalogue.shelf_index(&sku, &at("x"));
        catalogue.attribute_index(&Sku::new("a").unwrap(), &AttributeName::new("p").unwrap());

        assert_eq!(catalogue.shelf_index(&sku, &at("y")), Some(index));
        let (named, _) = catalogue.shelf_at(index);
        assert_eq!((named.sku, named.name), (&sku, at("y")));
    }

    #[test]
    fn a_name_mentioned_before_shares_its_text_and_a_new_one_is_checked() {
        let mut catalogue = Catalogue::new(3);
        let sku = Sku::new("b").unwrap();
        catalogue.shelf_index(&sku, &at("y"));

        assert_eq!(catalogue.sku("b").unwrap().as_str().as_ptr(), sku.as_str().as_ptr());
        assert_eq!(catalogue.sku("a"), Sku::new("a"));
        assert!(catalogue.sku("a|b").is_err());
        assert_eq!(catalogue.location("y"), Location::new("y"));
    }

    #[test]
    fn customers_have_no_shelf_and_a_location_called_reserved_is_not_the_reserved_stock() {
        let mut catalogue = Catalogue::new(3);
        let sku = Sku::new("b").unwrap();

        let reserved = catalogue.shelf_index(&sku, &Account::Reserved).unwrap();

        assert_ne!(catalogue.shelf_index(&sku, &at("reserved")), Some(reserved));
        assert_eq!(catalogue.shelf_index(&sku, &Account::Customer), None);
        assert_eq!(catalogue.shelf_at(reserved).0.name, Account::Reserved);
    }

    #[test]
    fn a_sku_of_which_nothing_holds_has_no_view() {
        let mut catalogue = Catalogue::new(3);
        let sku = Sku::new("a").unwrap();
        catalogue.shelf_index(&sku, &at("x"));

        assert_eq!(catalogue.view(&sku), None);
    }

    #[test]
    fn a_view_has_every_shelf_and_attribute_of_its_sku_alone() {
        let mut catalogue = Catalogue::new(3);
        let (a, b) = (Sku::new("a").unwrap(), Sku::new("b").unwrap());
        for (sku, account, units) in
            [(&a, at("x"), 1), (&b, at("x"), 2), (&a, at("y"), 3), (&a, Account::InTransit, 4)]
        {
            let index = catalogue.shelf_index(sku, &account).unwrap();
            catalogue.shelf_mut(index).shown = Some(units);
        }

        let view = catalogue.view(&a).unwrap();

        let locations = ["x", "y"].map(|name| Location::new(name).unwrap());
        assert_eq!(view.units, BTreeMap::from_iter(locations.into_iter().zip([1, 3])));
        assert_eq!((view.in_transit, view.reserved), (Some(4), None));
    }
}
