//! An inventory event as an agent reads it: one JSON object on one line.

use headland_event::EventTime;
use serde::Serialize;

use super::excerpt::written;

/// What happened to a product.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Happening {
    /// Units left the location; above 0.
    Sale(i64),
    /// Units came back; above 0.
    Return(i64),
    /// Units were delivered; above 0.
    Restock(i64),
    /// Units were written off or found; not 0.
    Adjustment(i64),
    /// Somebody counted this many units.
    Stocktake(i64),
    /// An attribute of the product was set.
    Attribute {
        /// Which.
        name: &'static str,
        /// To what.
        value: String,
    },
}

impl Happening {
    /// What the event adds to the stock; 0 for a stocktake and an attribute.
    pub(super) const fn delta(&self) -> i64 {
        match self {
            Self::Sale(units) => -*units,
            Self::Return(units) | Self::Restock(units) | Self::Adjustment(units) => *units,
            Self::Stocktake(_) | Self::Attribute { .. } => 0,
        }
    }

    const fn kind(&self) -> &'static str {
        match self {
            Self::Sale(_) => "sale",
            Self::Return(_) => "return",
            Self::Restock(_) => "restock",
            Self::Adjustment(_) => "adjustment",
            Self::Stocktake(_) => "stocktake",
            Self::Attribute { .. } => "attribute",
        }
    }
}

/// An event that only lacks its time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Event {
    /// Names the delivery; a redelivery repeats it.
    pub(super) id: String,
    /// The till that reports it.
    pub(super) device: String,
    /// The product.
    pub(super) sku: String,
    /// Where; ignored for an attribute, which belongs to the product.
    pub(super) location: String,
    /// What happened.
    pub(super) happening: Happening,
}

#[derive(Serialize)]
struct Written<'a> {
    id: &'a str,
    kind: &'static str,
    device: &'a str,
    sku: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    location: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    quantity: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    count: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    attribute: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<&'a str>,
    time: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    clock: Option<String>,
}

impl Event {
    /// The event's line, without its end, as happened at `time`.
    pub(super) fn line(&self, time: EventTime) -> String {
        self.written(time, None)
    }

    /// The event's line of a device whose own clock says `time` too, rightly or wrongly.
    pub(super) fn line_with_clock(&self, time: EventTime) -> String {
        self.written(time, Some(written(time)))
    }

    fn written(&self, time: EventTime, clock: Option<String>) -> String {
        let Self { id, device, sku, location, happening } = self;
        let mut line = Written {
            id,
            kind: happening.kind(),
            device,
            sku,
            location: Some(location),
            quantity: None,
            count: None,
            attribute: None,
            value: None,
            time: written(time),
            clock,
        };
        match happening {
            Happening::Sale(units)
            | Happening::Return(units)
            | Happening::Restock(units)
            | Happening::Adjustment(units) => line.quantity = Some(*units),
            Happening::Stocktake(count) => line.count = Some(*count),
            Happening::Attribute { name, value } => {
                line.location = None;
                line.attribute = Some(name);
                line.value = Some(value);
            }
        }
        serde_json::to_string(&line).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIME: EventTime = EventTime::from_millis(1_291_191_960_000);

    fn event(happening: Happening) -> Event {
        Event {
            id: "eu-1/000123".to_owned(),
            device: "eu-1-till".to_owned(),
            sku: "85123A".to_owned(),
            location: "eu-1".to_owned(),
            happening,
        }
    }

    #[test]
    fn a_sale_is_written_as_the_contract_shows_it() {
        let line = event(Happening::Sale(6)).line(TIME);

        assert_eq!(
            line,
            concat!(
                r#"{"id":"eu-1/000123","kind":"sale","device":"eu-1-till","sku":"85123A","#,
                r#""location":"eu-1","quantity":6,"time":"2010-12-01T08:26:00Z"}"#
            )
        );
    }

    #[test]
    fn an_attribute_has_no_location_and_keeps_the_devices_clock() {
        let happening = Happening::Attribute { name: "shelf", value: "A4".to_owned() };
        let line = event(happening).line_with_clock(TIME);

        assert_eq!(
            line,
            concat!(
                r#"{"id":"eu-1/000123","kind":"attribute","device":"eu-1-till","sku":"85123A","#,
                r#""attribute":"shelf","value":"A4","time":"2010-12-01T08:26:00Z","#,
                r#""clock":"2010-12-01T08:26:00Z"}"#
            )
        );
    }

    #[test]
    fn a_stocktake_has_a_count_and_adds_nothing() {
        let stocktake = event(Happening::Stocktake(40));

        assert!(stocktake.line(TIME).contains(r#""location":"eu-1","count":40,"time""#));
        assert_eq!(stocktake.happening.delta(), 0);
        assert_eq!(Happening::Sale(6).delta(), -6);
        assert_eq!(Happening::Adjustment(-3).delta(), -3);
    }
}
