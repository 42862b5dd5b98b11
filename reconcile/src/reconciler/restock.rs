//! Warnings that a shelf runs low: below a threshold, or soon empty at the demand there is.
//!
//! A warning is about a moment at one hub, so unlike everything else here it depends on the order
//! of inputs. An episode begins when an event of this hub's own devices takes units and leaves
//! too few, and ends when, by whatever event, there are enough again or the shelf is unknown
//! again. A shelf that never held enough warns as well, on its first sale. Both rules have episodes
//! of their own; demand is taken from this hub's own devices, a delivery's first copy each.

use std::collections::BTreeMap;

use headland_event::{Alert, AlertId, AlertState, Coverage, Finality, Severity};

use super::{Input, Locality, Reconciler};
use crate::catalogue::Named;
use crate::delivery::Effect;
use crate::demand::{Cover, Demand};
use crate::event::{EventBody, InventoryEvent};
use crate::ledger::Account;
use crate::output::{Output, stock_key};
use crate::shelf::{Shortage, ShortageState};

/// The rule that alerts about few units are of.
const RESTOCK_RULE: &str = "restock";

/// The rule that alerts about few days of cover are of.
const COVER_RULE: &str = "restock-cover";

impl Shortage {
    /// Ends the episode when units are back at the threshold.
    pub(super) fn recover(&mut self, units: Option<i64>, restock_below: i64) {
        if units.is_none_or(|units| units >= restock_below) {
            self.state = ShortageState::Over;
        }
    }

    /// Begins an episode; `false` while one goes on.
    fn begin(&mut self) -> bool {
        let begins = self.state == ShortageState::Over;
        if begins {
            self.state = ShortageState::Reported;
            self.episodes += 1;
        }
        begins
    }
}

impl Demand {
    /// Ends the episode when units last long enough.
    pub(super) fn recover(&mut self, units: Option<i64>, cover: Cover) {
        if units.is_none_or(|units| !self.exhausts(units, cover)) {
            self.shortage.state = ShortageState::Over;
        }
    }
}

impl Reconciler {
    /// Takes note of what a customer of this region wanted.
    pub(super) fn note_demand(&mut self, input: &Input<'_>, event: &InventoryEvent, made: Effect) {
        let (Some(cover), Locality::Local) = (self.config.cover, input.locality) else { return };
        let (Effect::Movement(shift), EventBody::Movement(movement)) = (made, &event.body) else {
            return;
        };
        if let Some(units) = Demand::shown_by(movement.kind(), movement.quantity()) {
            let demand = self.demand.entry(shift.shelf).or_default();
            demand.note(event.time, units, cover.window_days);
        }
    }

    /// Warns when a posting that counts began an episode. Called after its shelf was settled.
    pub(super) fn warn(&mut self, input: &Input<'_>, event: &InventoryEvent, effect: Effect) {
        let Effect::Movement(shift) = effect else { return };
        if shift.delta() >= 0 || input.locality == Locality::Remote {
            return;
        }
        let Self { config, catalogue, demand, outputs, .. } = self;
        let shelf = catalogue.shelf_mut(shift.shelf);
        debug_assert_eq!(shelf.shown, shelf.units(), "warned before the shelf was settled");
        let Some(units) = shelf.shown else { return };
        let is_low = units < config.restock_below;
        let demand = demand.get_mut(&shift.shelf).zip(config.cover);
        let demand = demand.filter(|(demand, cover)| demand.exhausts(units, *cover));
        if !is_low && demand.is_none() {
            return;
        }
        let (named, shelf) = catalogue.shelf_at(shift.shelf);
        if !matches!(named.name, Account::Location(_)) {
            return;
        }
        if is_low && shelf.shortage.begin() {
            let values = [("threshold", config.restock_below), ("units", units)];
            let alert = alert(RESTOCK_RULE, &named, shelf.shortage, (input, event), &values);
            outputs.push_back(Output::Restock(Box::new(alert)));
        }
        if let Some((demand, cover)) = demand
            && demand.shortage.begin()
        {
            let values = [
                ("cover_days", cover.days.get().into()),
                ("demand", demand.units()),
                ("units", units),
                ("window_days", cover.window_days.get().into()),
            ];
            let alert = alert(COVER_RULE, &named, demand.shortage, (input, event), &values);
            outputs.push_back(Output::Restock(Box::new(alert)));
        }
    }
}

/// The alert of an episode, which its number names.
fn alert(
    rule: &str,
    shelf: &Named<'_, Account>,
    shortage: Shortage,
    (input, event): (&Input<'_>, &InventoryEvent),
    values: &[(&str, i64)],
) -> Alert {
    let (key, window) = (stock_key(shelf.sku, &shelf.name), shortage.episodes.to_string());
    let numbers = values.iter().map(|(name, value)| ((*name).to_owned(), value.to_string()));
    let names = [("location", shelf.name.name()), ("sku", shelf.sku.as_str())]
        .map(|(name, value)| (name.to_owned(), value.to_owned()));
    let values: BTreeMap<_, _> = numbers.chain(names).collect();
    Alert {
        id: AlertId::derive(rule, &key, &window),
        rule: rule.to_owned(),
        key,
        window,
        state: AlertState::Firing,
        severity: Severity::Warning,
        revision: 1,
        finality: Finality::Final,
        coverage: Coverage::default(),
        event_time: event.time,
        captured_at: input.captured_at,
        detected_at: input.detected_at,
        evidence: input.offset,
        values,
    }
}
