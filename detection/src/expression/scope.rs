//! What names mean where an expression stands.

use sqlparser::ast::{Expr, Ident};

use crate::expression::tree::Expression;
use crate::expression::typed::Typed;
use crate::sql::error::Fault;
use crate::table::unknown_column;
use crate::value::Schema;

/// What names mean where an expression stands.
pub(crate) trait Scope {
    /// The meaning of an expression as a whole, before it is taken apart.
    fn whole(&mut self, expression: &Expr) -> Result<Option<Typed>, Fault>;

    /// The meaning of a column's name.
    fn column(&self, name: &Ident) -> Result<Typed, Fault>;

    /// The name that qualifies columns.
    fn table(&self) -> &Ident;
}

/// The columns of a table, under its name or alias.
#[derive(Debug, Clone)]
pub(crate) struct TableScope<'a> {
    pub(crate) table: Ident,
    pub(crate) schema: &'a Schema,
}

impl Scope for TableScope<'_> {
    fn whole(&mut self, _expression: &Expr) -> Result<Option<Typed>, Fault> {
        Ok(None)
    }

    fn column(&self, name: &Ident) -> Result<Typed, Fault> {
        let found =
            self.schema.columns().iter().enumerate().find(|(_, c)| **c.name() == name.value);
        let (index, column) = found.ok_or_else(|| {
            Fault::new(name.span.start, unknown_column(&name.value, &self.table, self.schema))
        })?;
        Ok(Typed::new(Expression::Column(index), column.data_type()))
    }

    fn table(&self) -> &Ident {
        &self.table
    }
}
