//! What names mean where an expression stands.

use std::sync::Arc;

use sqlparser::ast::{Expr, Ident};

use crate::expression::tree::Expression;
use crate::expression::typed::Typed;
use crate::sql::error::{Fault, Hint, SqlErrorReason};
use crate::value::DataType;
#[cfg(test)]
use crate::value::Schema;

/// What names mean where an expression stands.
pub(crate) trait Scope {
    /// The meaning of an expression as a whole, before it is taken apart.
    fn whole(&mut self, expression: &Expr) -> Result<Option<Typed>, Fault>;

    /// The meaning of a column's name, alone or behind the name of its table.
    fn column(&mut self, qualifier: Option<&Ident>, name: &Ident) -> Result<Typed, Fault>;
}

/// A column that names can mean.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Named {
    /// The table's name or alias; none for a column that only stands alone.
    pub(crate) qualifier: Option<Arc<str>>,
    pub(crate) name: Arc<str>,
    pub(crate) data_type: DataType,
}

/// The columns of one or more relations side by side.
#[derive(Debug, Clone, Default)]
pub(crate) struct Columns(pub(crate) Vec<Named>);

impl Columns {
    /// The columns of a table under its name or alias.
    #[cfg(test)]
    pub(crate) fn of_schema(table: &str, schema: &Schema) -> Self {
        let table: Arc<str> = Arc::from(table);
        let columns = schema.columns().iter().map(|column| Named {
            qualifier: Some(Arc::clone(&table)),
            name: Arc::clone(column.name()),
            data_type: column.data_type().clone(),
        });
        Self(columns.collect())
    }

    /// Where the column stands that a name means.
    pub(crate) fn find(&self, qualifier: Option<&Ident>, name: &Ident) -> Result<usize, Fault> {
        let mut found = self.0.iter().enumerate().filter(|(_, column)| {
            *column.name == *name.value
                && qualifier.is_none_or(|q| column.qualifier.as_deref() == Some(&*q.value))
        });
        match (found.next(), found.next()) {
            (Some((index, _)), None) => Ok(index),
            (Some(_), Some(_)) => {
                let reason = SqlErrorReason::Ambiguous {
                    name: name.value.clone(),
                    tables: self.tables().join(", "),
                };
                Err(Fault::new(name.span.start, reason))
            }
            (None, _) => Err(self.unknown(qualifier, name)),
        }
    }

    /// The names and aliases of the tables, each once.
    pub(crate) fn tables(&self) -> Vec<&str> {
        let mut tables: Vec<&str> = Vec::new();
        for table in self.0.iter().filter_map(|column| column.qualifier.as_deref()) {
            if !tables.contains(&table) {
                tables.push(table);
            }
        }
        tables
    }

    fn unknown(&self, qualifier: Option<&Ident>, name: &Ident) -> Fault {
        let tables = self.tables();
        if let Some(qualifier) = qualifier
            && !tables.contains(&qualifier.value.as_str())
        {
            let name = qualifier.value.clone();
            let hint = Hint::new(&name, tables.into_iter());
            return Fault::new(qualifier.span.start, SqlErrorReason::UnknownTable { name, hint });
        }
        let known = self.0.iter().filter(|column| {
            qualifier.is_none_or(|q| column.qualifier.as_deref() == Some(&*q.value))
        });
        let hint = Hint::new(&name.value, known.map(|column| &*column.name));
        let table = qualifier.map_or_else(|| tables.join(", "), |q| q.value.clone());
        let reason = SqlErrorReason::UnknownColumn { name: name.value.clone(), table, hint };
        Fault::new(name.span.start, reason)
    }
}

impl Scope for Columns {
    fn whole(&mut self, _expression: &Expr) -> Result<Option<Typed>, Fault> {
        Ok(None)
    }

    fn column(&mut self, qualifier: Option<&Ident>, name: &Ident) -> Result<Typed, Fault> {
        let index = self.find(qualifier, name)?;
        let data_type = self.0.get(index).map(|column| column.data_type.clone());
        Ok(Typed { expression: Expression::Column(index), data_type })
    }
}
