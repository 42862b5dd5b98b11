//! UNNEST: a row per element of a collection.

use crate::expression::Expression;
use crate::operator::arriving::{Arriving, Emitted, Fate, Operate};
use crate::output::Refusal;
use crate::relation::{self, Elements, Ordinal, WhenEmpty};
use crate::value::Value;

/// Appends the elements of a collection to its row, one row each; keeps nothing.
#[derive(Debug)]
pub(crate) struct Unnest {
    collection: Expression,
    elements: Elements,
    ordinal: Ordinal,
    when_empty: WhenEmpty,
}

impl Unnest {
    pub(crate) fn new(plan: &relation::Unnest) -> Self {
        let relation::Unnest { input: _, collection, elements, ordinal, when_empty } = plan;
        let (elements, ordinal, when_empty) = (*elements, *ordinal, *when_empty);
        Self { collection: collection.clone(), elements, ordinal, when_empty }
    }

    fn append(&self, row: &mut Vec<Value>, element: Element<'_>, number: i64) {
        match (self.elements, element) {
            (Elements::Values, Element::Value(value)) => row.push(value.clone()),
            (Elements::Fields(width), Element::Value(Value::Array(fields))) => {
                debug_assert_eq!(fields.len(), width, "the compiler counted the fields");
                row.extend(fields.iter().cloned());
            }
            (Elements::Entries, Element::Entry(key, value)) => {
                row.extend([key.clone(), value.clone()]);
            }
            // A ROW that is NULL has fields that are.
            (elements, _) => row.extend(std::iter::repeat_n(Value::Null, elements.width())),
        }
        match self.ordinal {
            Ordinal::Appended => row.push(Value::Integer(number)),
            Ordinal::Left => {}
        }
    }
}

impl Elements {
    /// How many columns an element becomes.
    pub(crate) const fn width(self) -> usize {
        match self {
            Self::Values => 1,
            Self::Fields(width) => width,
            Self::Entries => 2,
        }
    }
}

/// An element of a collection.
#[derive(Clone, Copy)]
enum Element<'a> {
    Value(&'a Value),
    Entry(&'a Value, &'a Value),
}

impl Operate for Unnest {
    fn on_row(&mut self, arriving: &Arriving<'_>, out: &mut Emitted) -> Result<Fate, Refusal> {
        let collection = self.collection.evaluate(arriving.row).map_err(Refusal::Evaluation)?;
        let elements: Vec<Element<'_>> = match &*collection {
            Value::Array(values) => values.iter().map(Element::Value).collect(),
            Value::Map(entries) => {
                entries.iter().map(|(key, value)| Element::Entry(key, value)).collect()
            }
            _ => Vec::new(),
        };
        arriving.limits.admit_work(elements.len())?;
        let width = arriving.row.len() + self.elements.width() + 1;
        for (number, element) in (1..).zip(&elements) {
            let mut row = Vec::with_capacity(width);
            row.extend_from_slice(arriving.row);
            self.append(&mut row, *element, number);
            out.rows.push(arriving.becomes(row));
        }
        if elements.is_empty() && self.when_empty == WhenEmpty::Kept {
            let ordinal = usize::from(self.ordinal == Ordinal::Appended);
            let nulls = std::iter::repeat_n(Value::Null, self.elements.width() + ordinal);
            let row = arriving.row.iter().cloned().chain(nulls).collect();
            out.rows.push(arriving.becomes(row));
        }
        Ok(Fate::Passed)
    }
}
