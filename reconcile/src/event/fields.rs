//! The fields of an event's JSON object, and which of them each kind needs.

use std::borrow::Cow;

use headland_event::EventTime;
use serde::Deserialize;

use super::{
    Decision, EVENT_BYTES_LIMIT, Effective, EventBody, InventoryEvent, RejectReason, Ruling,
    TIME_END, TIME_FIRST, UNITS_LIMIT,
};
use crate::ledger::{Movement, MovementKind};
use crate::name::{
    AttributeName, AttributeValue, DeliveryId, DeviceName, Location, ReasonText, ReviewId,
    Reviewer, Sku, TextError, UnitName,
};

#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

#[derive(Deserialize)]
struct Fields<'a> {
    #[serde(borrow)]
    id: Option<Text<'a>>,
    #[serde(borrow)]
    kind: Option<Text<'a>>,
    #[serde(borrow)]
    device: Option<Text<'a>>,
    #[serde(borrow)]
    sku: Option<Text<'a>>,
    #[serde(borrow)]
    location: Option<Text<'a>>,
    quantity: Option<i64>,
    #[serde(borrow)]
    unit: Option<Text<'a>>,
    count: Option<i64>,
    #[serde(borrow)]
    attribute: Option<Text<'a>>,
    #[serde(borrow)]
    value: Option<Text<'a>>,
    #[serde(borrow)]
    late: Option<Text<'a>>,
    #[serde(borrow)]
    reviewer: Option<Text<'a>>,
    #[serde(borrow)]
    reason: Option<Text<'a>>,
    #[serde(borrow)]
    effective: Option<Text<'a>>,
    #[serde(borrow)]
    time: Option<Text<'a>>,
    #[serde(borrow)]
    clock: Option<Text<'a>>,
}

/// Where names come from that most events repeat.
pub(crate) trait Names {
    /// The sku of a text, checked.
    fn sku(&self, text: &str) -> Result<Sku, TextError>;

    /// The location of a text, checked.
    fn location(&self, text: &str) -> Result<Location, TextError>;
}

/// Names made anew.
pub(crate) struct Fresh;

impl Names for Fresh {
    fn sku(&self, text: &str) -> Result<Sku, TextError> {
        Sku::new(text)
    }

    fn location(&self, text: &str) -> Result<Location, TextError> {
        Location::new(text)
    }
}

pub(super) fn parse(value: &[u8], names: &impl Names) -> Result<InventoryEvent, RejectReason> {
    let limit = EVENT_BYTES_LIMIT.as_len();
    if value.len() > limit {
        return Err(RejectReason::TooLarge { found: value.len(), limit });
    }
    let text = std::str::from_utf8(value)
        .map_err(|error| RejectReason::NotUtf8 { valid_up_to: error.valid_up_to() })?;
    // Serde also builds a struct from an array, by place; only names can be checked here.
    if !text.trim_start().starts_with('{') {
        return Err(RejectReason::Json { detail: "no object".to_owned() });
    }
    let fields: Fields<'_> = serde_json::from_str(text)
        .map_err(|error| RejectReason::Json { detail: error.to_string() })?;
    let time_of_event = event_time(required(fields.time.as_ref(), "time")?)?;
    Ok(InventoryEvent {
        id: DeliveryId::new(required(fields.id.as_ref(), "id")?)?,
        device: DeviceName::new(required(fields.device.as_ref(), "device")?)?,
        time: time_of_event,
        clock: fields.clock.as_ref().map(|Text(text)| time("clock", text)).transpose()?,
        sku: names.sku(required(fields.sku.as_ref(), "sku")?)?,
        unit: fields.unit.as_ref().map(|Text(text)| UnitName::new(text)).transpose()?,
        body: fields.body(time_of_event, names)?,
    })
}

impl Fields<'_> {
    fn body(&self, time: EventTime, names: &impl Names) -> Result<EventBody, RejectReason> {
        let kind = required(self.kind.as_ref(), "kind")?;
        if let Some(kind) = MovementKind::named(kind) {
            return self.movement(kind, names).map(EventBody::Movement);
        }
        match kind {
            "stocktake" => {
                let count = self.count.ok_or(RejectReason::Missing { field: "count" })?;
                if !(0..=UNITS_LIMIT).contains(&count) {
                    let expected = "0 to 1000000000";
                    return Err(RejectReason::Units { field: "count", found: count, expected });
                }
                Ok(EventBody::Stocktake { location: self.location(names)?, count })
            }
            "attribute" => Ok(EventBody::Attribute {
                name: AttributeName::new(required(self.attribute.as_ref(), "attribute")?)?,
                value: AttributeValue::new(required(self.value.as_ref(), "value")?)?,
            }),
            "approve" => self.decision(Ruling::Approve(self.effective()?), time),
            "reject" => self.decision(Ruling::Reject, time),
            "amend" => {
                let units = self.units_above_zero()?;
                self.decision(Ruling::Amend { units, effective: self.effective()? }, time)
            }
            other => Err(RejectReason::UnknownKind { found: beginning(other) }),
        }
    }

    fn movement(&self, kind: MovementKind, names: &impl Names) -> Result<Movement, RejectReason> {
        let quantity = match kind {
            MovementKind::Adjustment => {
                let quantity = self.quantity()?;
                if quantity == 0 || !(-UNITS_LIMIT..=UNITS_LIMIT).contains(&quantity) {
                    let expected = "-1000000000 to 1000000000 without 0";
                    let field = "quantity";
                    return Err(RejectReason::Units { field, found: quantity, expected });
                }
                quantity
            }
            MovementKind::Sale
            | MovementKind::Return
            | MovementKind::Restock
            | MovementKind::TransferOut
            | MovementKind::TransferIn
            | MovementKind::Reserve
            | MovementKind::Commit
            | MovementKind::Release => self.units_above_zero()?,
        };
        // What is committed was taken from its location when it was reserved.
        let location = (kind != MovementKind::Commit).then(|| self.location(names)).transpose()?;
        Ok(Movement::new(kind, location, quantity))
    }

    fn decision(&self, ruling: Ruling, time: EventTime) -> Result<EventBody, RejectReason> {
        let reviewer = Reviewer::new(required(self.reviewer.as_ref(), "reviewer")?)?;
        let reason = ReasonText::new(required(self.reason.as_ref(), "reason")?)?;
        let late = ReviewId::new(required(self.late.as_ref(), "late")?)?;
        let ruling = if late.is_of_overlap() { ruling.of_overlap() } else { ruling };
        Ok(EventBody::Decision { late, decision: Decision { ruling, time, reviewer, reason } })
    }

    fn effective(&self) -> Result<Effective, RejectReason> {
        match self.effective.as_ref().map(|Text(text)| &**text) {
            None | Some("restate") => Ok(Effective::Restate),
            Some("carry") => Ok(Effective::Carry),
            Some(other) => Err(RejectReason::Word {
                field: "effective",
                found: beginning(other),
                expected: "restate or carry",
            }),
        }
    }

    fn quantity(&self) -> Result<i64, RejectReason> {
        self.quantity.ok_or(RejectReason::Missing { field: "quantity" })
    }

    fn units_above_zero(&self) -> Result<i64, RejectReason> {
        let found = self.quantity()?;
        if (1..=UNITS_LIMIT).contains(&found) {
            Ok(found)
        } else {
            Err(RejectReason::Units { field: "quantity", found, expected: "1 to 1000000000" })
        }
    }

    fn location(&self, names: &impl Names) -> Result<Location, RejectReason> {
        Ok(names.location(required(self.location.as_ref(), "location")?)?)
    }
}

fn required<'a>(text: Option<&'a Text<'_>>, field: &'static str) -> Result<&'a str, RejectReason> {
    text.map(|Text(text)| &**text).ok_or(RejectReason::Missing { field })
}

fn event_time(text: &str) -> Result<EventTime, RejectReason> {
    let found = time("time", text)?;
    if TIME_FIRST <= found && found < TIME_END {
        Ok(found)
    } else {
        Err(RejectReason::TimeRange { found })
    }
}

fn time(field: &'static str, text: &str) -> Result<EventTime, RejectReason> {
    if let Some(time) = plain_utc(text) {
        return Ok(time);
    }
    text.parse::<jiff::Timestamp>()
        .map(|time| EventTime::from_millis(time.as_millisecond()))
        .map_err(|_| RejectReason::Time { field, found: beginning(text) })
}

/// The one shape of RFC 3339 that nearly every device writes, `YYYY-MM-DDTHH:MM:SSZ`, read in a
/// tenth of the time; `None` of any other, and of what is no time.
pub(super) fn plain_utc(text: &str) -> Option<EventTime> {
    let bytes: &[u8; 20] = text.as_bytes().try_into().ok()?;
    let [
        y0,
        y1,
        y2,
        y3,
        b'-',
        o0,
        o1,
        b'-',
        d0,
        d1,
        b'T',
        h0,
        h1,
        b':',
        m0,
        m1,
        b':',
        s0,
        s1,
        b'Z',
    ] = *bytes
    else {
        return None;
    };
    let number = |digits: &[u8]| {
        digits.iter().try_fold(0_i16, |number, digit| {
            let digit = digit.is_ascii_digit().then(|| i16::from(digit - b'0'))?;
            Some(number * 10 + digit)
        })
    };
    let small = |digits: &[u8]| number(digits).and_then(|number| i8::try_from(number).ok());
    let date =
        jiff::civil::Date::new(number(&[y0, y1, y2, y3])?, small(&[o0, o1])?, small(&[d0, d1])?);
    let (hour, minute, second) = (small(&[h0, h1])?, small(&[m0, m1])?, small(&[s0, s1])?);
    if hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let days = jiff::civil::date(1970, 1, 1).duration_until(date.ok()?).as_secs() / 86_400;
    let seconds = i64::from(hour) * 3_600 + i64::from(minute) * 60 + i64::from(second);
    Some(EventTime::from_millis((days * 86_400 + seconds) * 1_000))
}

fn beginning(text: &str) -> String {
    text.chars().take(64).collect()
}
