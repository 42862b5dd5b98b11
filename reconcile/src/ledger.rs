//! The ledger: accounts of a sku, and movements as postings that sum to 0.
//!
//! Units never come from nowhere: what leaves one account enters another, as in double-entry
//! bookkeeping. A stocktake is no movement: it says what is on a shelf, not where it came from, and
//! what it changes is seen in `inventory.stock`.
//!
//! | Kind | From | To |
//! | --- | --- | --- |
//! | `sale` | location | customer |
//! | `return` | customer | location |
//! | `restock` | supplier | location |
//! | `adjustment` | adjustment | location, or back when below 0 |
//! | `transfer-out` | location | in transit |
//! | `transfer-in` | in transit | location |
//! | `reserve` | location | reserved |
//! | `commit` | reserved | customer |
//! | `release` | reserved | location |

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::name::Location;

/// Where units of a sku are, or where they come from and go to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Account {
    /// On a shelf.
    Location(Location),
    /// On their way between two locations.
    InTransit,
    /// Taken from a shelf for somebody who has not got them yet.
    Reserved,
    /// With customers.
    Customer,
    /// With suppliers.
    Supplier,
    /// Found or lost.
    Adjustment,
}

impl Account {
    /// The name of the account: its location's, or the account's own.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Location(location) => location.as_str(),
            Self::InTransit => "in-transit",
            Self::Reserved => "reserved",
            Self::Customer => "customer",
            Self::Supplier => "supplier",
            Self::Adjustment => "adjustment",
        }
    }

    /// Whether units there are stock of ours, and counted.
    #[must_use]
    pub const fn is_stock(&self) -> bool {
        match self {
            Self::Location(_) | Self::InTransit | Self::Reserved => true,
            Self::Customer | Self::Supplier | Self::Adjustment => false,
        }
    }
}

/// One change of units in one account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Posting {
    /// The account.
    pub account: Account,
    /// By how many units; never 0.
    pub units: i64,
}

/// Why stock moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MovementKind {
    /// To a customer.
    Sale,
    /// From a customer.
    Return,
    /// From a supplier.
    Restock,
    /// Found, lost or corrected: either way.
    Adjustment,
    /// On its way to another location.
    TransferOut,
    /// Arrived from another location.
    TransferIn,
    /// Set aside for a customer.
    Reserve,
    /// What was set aside is handed over.
    Commit,
    /// What was set aside goes back to its shelf.
    Release,
}

impl MovementKind {
    /// Every kind.
    pub const ALL: [Self; 9] = [
        Self::Sale,
        Self::Return,
        Self::Restock,
        Self::Adjustment,
        Self::TransferOut,
        Self::TransferIn,
        Self::Reserve,
        Self::Commit,
        Self::Release,
    ];

    /// The name of the kind in events.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sale => "sale",
            Self::Return => "return",
            Self::Restock => "restock",
            Self::Adjustment => "adjustment",
            Self::TransferOut => "transfer-out",
            Self::TransferIn => "transfer-in",
            Self::Reserve => "reserve",
            Self::Commit => "commit",
            Self::Release => "release",
        }
    }

    /// The kind of that name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

impl fmt::Display for MovementKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Units of a sku on their way from one account to another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Movement {
    kind: MovementKind,
    location: Option<Location>,
    quantity: i64,
}

impl Movement {
    /// A movement whose fields were checked: only a commit has no location, only an adjustment
    /// less than one unit, none 0.
    pub(crate) fn new(kind: MovementKind, location: Option<Location>, quantity: i64) -> Self {
        debug_assert_eq!(location.is_none(), kind == MovementKind::Commit, "{kind} at a place");
        debug_assert!(quantity != 0 && (quantity > 0 || kind == MovementKind::Adjustment));
        Self { kind, location, quantity }
    }

    /// Why.
    #[must_use]
    pub const fn kind(&self) -> MovementKind {
        self.kind
    }

    /// Where; `None` of a commit, whose units were taken from their location when reserved.
    #[must_use]
    pub const fn location(&self) -> Option<&Location> {
        self.location.as_ref()
    }

    /// How many units; below 0 only for an adjustment that takes some away.
    #[must_use]
    pub const fn quantity(&self) -> i64 {
        self.quantity
    }

    /// The same movement of another number of units, in the same direction.
    #[must_use]
    pub fn amended(&self, units: i64) -> Self {
        debug_assert!(units > 0, "an amendment names how many units, not the direction");
        Self { quantity: units * self.quantity.signum(), ..self.clone() }
    }

    /// Its two postings, which sum to 0; the first is of an account that is stock.
    #[must_use]
    pub fn postings(&self) -> [Posting; 2] {
        use MovementKind::{
            Adjustment, Commit, Release, Reserve, Restock, Return, Sale, TransferIn, TransferOut,
        };
        let shelf = self.location.clone().map_or(Account::Reserved, Account::Location);
        let (direction, other) = match self.kind {
            Sale | Commit => (-1, Account::Customer),
            Return => (1, Account::Customer),
            Restock => (1, Account::Supplier),
            Adjustment => (1, Account::Adjustment),
            TransferOut => (-1, Account::InTransit),
            TransferIn => (1, Account::InTransit),
            Reserve => (-1, Account::Reserved),
            Release => (1, Account::Reserved),
        };
        let units = direction * self.quantity;
        debug_assert!(shelf.is_stock(), "no shelf for a {}", self.kind);
        [Posting { account: shelf, units }, Posting { account: other, units: -units }]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn movement(kind: MovementKind, quantity: i64) -> Movement {
        let location = (kind != MovementKind::Commit).then(|| Location::new("l").unwrap());
        Movement::new(kind, location, quantity)
    }

    #[test]
    fn the_postings_of_every_kind_sum_to_zero_and_begin_with_stock() {
        for kind in MovementKind::ALL {
            let [first, second] = movement(kind, 6).postings();

            assert_eq!(first.units + second.units, 0, "{kind}");
            assert_eq!(first.units.abs(), 6, "{kind}");
            assert!(first.account.is_stock(), "{kind}");
        }
    }

    #[test]
    fn what_is_reserved_and_committed_ends_with_the_customer() {
        let postings = [MovementKind::Reserve, MovementKind::Commit]
            .map(|kind| movement(kind, 4).postings())
            .concat();
        let units = |account: &Account| -> i64 {
            postings.iter().filter(|of| of.account == *account).map(|of| of.units).sum()
        };

        assert_eq!(units(&Account::Location(Location::new("l").unwrap())), -4);
        assert_eq!(units(&Account::Reserved), 0);
        assert_eq!(units(&Account::Customer), 4);
    }

    #[test]
    fn an_amendment_keeps_the_direction() {
        let lost = movement(MovementKind::Adjustment, -6);

        assert_eq!(lost.amended(2).postings()[0].units, -2);
        assert_eq!(movement(MovementKind::Sale, 6).amended(2).postings()[0].units, -2);
    }

    #[test]
    fn a_kind_is_found_by_its_name_only() {
        for kind in MovementKind::ALL {
            assert_eq!(MovementKind::named(kind.name()), Some(kind));
        }
        assert_eq!(MovementKind::named("transfer"), None);
    }
}
