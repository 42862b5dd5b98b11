//! Projection, and the operators that only pass rows on.

use crate::expression::Expression;
use crate::operator::arriving::{Arriving, Emitted, Fate, Operate};
use crate::output::Refusal;

/// One expression per column; keeps nothing.
#[derive(Debug)]
pub(crate) struct Project {
    expressions: Vec<Expression>,
}

impl Project {
    pub(crate) const fn new(expressions: Vec<Expression>) -> Self {
        Self { expressions }
    }
}

impl Operate for Project {
    fn on_row(&mut self, arriving: &Arriving<'_>, out: &mut Emitted) -> Result<Fate, Refusal> {
        let mut row = Vec::with_capacity(self.expressions.len());
        for expression in &self.expressions {
            let value = expression.evaluate(arriving.row).map_err(Refusal::Evaluation)?;
            row.push(value.into_owned());
        }
        out.rows.push(arriving.becomes(row));
        Ok(Fate::Passed)
    }
}

/// Rows as they are: a union, or a filter that nothing stands behind.
#[derive(Debug)]
pub(crate) struct Pass;

impl Operate for Pass {
    fn on_row(&mut self, arriving: &Arriving<'_>, out: &mut Emitted) -> Result<Fate, Refusal> {
        out.rows.push(arriving.becomes(arriving.row.to_vec()));
        Ok(Fate::Passed)
    }
}
