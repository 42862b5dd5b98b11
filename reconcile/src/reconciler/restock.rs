//! Warnings that a shelf runs low.
//!
//! A warning is about a moment at one hub, so unlike everything else here it depends on the order
//! of inputs. An episode begins when an event of this hub's own devices takes units and leaves
//! fewer than the threshold, and ends when, by whatever event, units are back at it or the shelf
//! is unknown again. A shelf that never held the threshold warns as well, on its first sale.

use std::collections::BTreeMap;

use headland_event::{Alert, AlertId, AlertState, Severity};

use super::{Input, Locality, Reconciler};
use crate::delivery::Effect;
use crate::event::InventoryEvent;
use crate::ledger::Account;
use crate::output::{Output, stock_key};
use crate::shelf::{Shortage, ShortageState};

/// The rule that restock alerts are of.
const RESTOCK_RULE: &str = "restock";

impl Shortage {
    /// Ends the episode when units are back at the threshold.
    pub(super) fn recover(&mut self, units: Option<i64>, restock_below: i64) {
        if units.is_none_or(|units| units >= restock_below) {
            self.state = ShortageState::Over;
        }
    }
}

impl Reconciler {
    /// Warns when a posting that counts began an episode. Called after its shelf was settled.
    pub(super) fn warn(&mut self, input: &Input<'_>, event: &InventoryEvent, effect: Effect) {
        let Effect::Movement(shift) = effect else { return };
        if shift.delta() >= 0 || input.locality == Locality::Remote {
            return;
        }
        let threshold = self.config.restock_below;
        let shelf = self.catalogue.shelf_mut(shift.shelf);
        debug_assert_eq!(shelf.shown, shelf.units(), "warned before the shelf was settled");
        let Some(units) = shelf.shown.filter(|units| *units < threshold) else { return };
        let (named, shelf) = self.catalogue.shelf_at(shift.shelf);
        let Account::Location(location) = &named.name else { return };
        if shelf.shortage.state == ShortageState::Reported {
            return;
        }
        shelf.shortage.state = ShortageState::Reported;
        shelf.shortage.episodes += 1;
        let (key, window) =
            (stock_key(named.sku, &named.name), shelf.shortage.episodes.to_string());
        let values = BTreeMap::from([
            ("location".to_owned(), location.to_string()),
            ("sku".to_owned(), named.sku.to_string()),
            ("threshold".to_owned(), threshold.to_string()),
            ("units".to_owned(), units.to_string()),
        ]);
        self.outputs.push_back(Output::Restock(Box::new(Alert {
            id: AlertId::derive(RESTOCK_RULE, &key, &window),
            rule: RESTOCK_RULE.to_owned(),
            key,
            window,
            state: AlertState::Firing,
            severity: Severity::Warning,
            revision: 1,
            event_time: event.time,
            captured_at: input.captured_at,
            detected_at: input.detected_at,
            evidence: input.offset,
            values,
        })));
    }
}
