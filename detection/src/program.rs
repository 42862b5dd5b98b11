//! A compiled rule file: its source tables and its rules.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use headland_event::TopicName;

use crate::expectation;
use crate::explain::Explanation;
use crate::file_rows::FileRows;
use crate::plan::Rule;
use crate::query;
use crate::settings::options;
use crate::sql::error::{Fault, Hint, SqlError, SqlErrorReason};
use crate::sql::statement::{self, CreateTable, CreateView, Insert, Statement};
use crate::table::place::StorePlace;
use crate::table::{FilePlace, Table, TableId, metadata};

/// What a rule computes, as text.
mod definition;

/// A compiled rule file. A clone shares everything.
#[derive(Debug, Clone)]
pub struct Program {
    file: Arc<str>,
    tables: Arc<[Table]>,
    rules: Arc<[Rule]>,
    /// What each rule computes, in the same order.
    definitions: Arc<[String]>,
    /// Rules that the file only asks about.
    explained: Arc<[Rule]>,
    /// What is in the files that rules look in, as far as it is known.
    files: Arc<[(TableId, Arc<FileRows>)]>,
}

impl Program {
    /// Compiles a rule file; `file` is how errors name it, nothing is read.
    ///
    /// The order of statements does not matter. A table that an INSERT writes is a target; every
    /// other table is a source.
    ///
    /// # Errors
    /// [`SqlError`] for the first mistake, with its line and column.
    pub fn compile(file: &str, sql: &str) -> Result<Self, SqlError> {
        Self::compile_all(file, sql).map_err(|mut mistakes| mistakes.swap_remove(0))
    }

    /// As [`compile`](Self::compile); looks at every rule although one before has a mistake.
    ///
    /// # Errors
    /// A [`SqlError`] per mistake that was found, at least one, in the order of the file. What does
    /// not follow the grammar hides what stands behind it; tables with a mistake hide the rules.
    pub fn compile_all(file: &str, sql: &str) -> Result<Self, Vec<SqlError>> {
        match compile(sql) {
            Ok(Compiled { tables, rules, definitions, explained }) => Ok(Self {
                file: Arc::from(file),
                tables: Arc::from(tables),
                rules: Arc::from(rules),
                definitions: Arc::from(definitions),
                explained: Arc::from(explained),
                files: Arc::from([]),
            }),
            Err(faults) => {
                debug_assert!(!faults.is_empty(), "what does not compile has a mistake");
                let mut mistakes: Vec<SqlError> =
                    faults.into_iter().map(|fault| fault.within(file)).collect();
                mistakes.sort_by_key(SqlError::position);
                Err(mistakes)
            }
        }
    }

    /// The source tables in the order of their declaration.
    #[must_use]
    pub fn tables(&self) -> &[Table] {
        &self.tables
    }

    /// The source table of an id of this program.
    ///
    /// # Panics
    /// When the id is another program's and this one has fewer tables.
    #[must_use]
    pub fn table(&self, id: TableId) -> &Table {
        let table = self.tables.get(id.index());
        #[expect(clippy::expect_used, reason = "ids are made by the program that owns the tables")]
        table.expect("an id names a table of its own program")
    }

    /// The id of the source table called `name`; O(tables).
    #[must_use]
    pub fn table_id(&self, name: &str) -> Option<TableId> {
        self.tables.iter().position(|table| &**table.name() == name).map(TableId::new)
    }

    /// The source tables whose rows are the records of `topic`; each sees all of them. O(tables).
    pub fn tables_of<'a>(&'a self, topic: &'a TopicName) -> impl Iterator<Item = TableId> + 'a {
        let tables = self.tables.iter().enumerate();
        let tables = tables.filter(move |(_, table)| table.topic() == Some(topic));
        tables.map(|(index, _)| TableId::new(index))
    }

    /// The source tables whose rows are in a file; `rules` says where the rule file is.
    pub fn file_tables(&self) -> impl Iterator<Item = (TableId, &Table, &FilePlace)> {
        let tables = self.tables.iter().enumerate();
        tables.filter_map(|(index, table)| Some((TableId::new(index), table, table.file()?)))
    }

    /// The program over what is in the file of a table: it is part of the
    /// [definition](Self::definition) of each rule that looks there. Without it a rule refuses its
    /// rows.
    #[must_use]
    pub fn with_file(mut self, table: TableId, rows: Arc<FileRows>) -> Self {
        debug_assert!(self.table(table).file().is_some(), "rows of a file are of its table");
        let others = self.files.iter().filter(|(known, _)| *known != table).cloned();
        let mut files: Vec<_> = others.chain([(table, rows)]).collect();
        files.sort_unstable_by_key(|(table, _)| *table);
        self.files = Arc::from(files);
        self
    }

    /// The program without what is in the file of a table.
    pub(crate) fn without_file(mut self, table: TableId) -> Self {
        self.files = self.files.iter().filter(|(known, _)| *known != table).cloned().collect();
        self
    }

    /// What is in the file of a table, as far as it is known.
    #[must_use]
    pub fn file_rows(&self, table: TableId) -> Option<&Arc<FileRows>> {
        self.files().find(|(known, _)| *known == table).map(|(_, rows)| rows)
    }

    /// What is in the files that rules look in.
    pub(crate) fn files(&self) -> impl Iterator<Item = (TableId, &Arc<FileRows>)> {
        self.files.iter().map(|(table, rows)| (*table, rows))
    }

    /// Checks that no rule looks in a store: for a node that knows topics and files only.
    ///
    /// # Errors
    /// [`SqlError`] at the connector of the first table that is in a store.
    pub fn check_stores(&self) -> Result<(), SqlError> {
        match self.tables.iter().find_map(Table::store) {
            None => Ok(()),
            Some(StorePlace { connector, at }) => {
                let expected = "'filesystem' with 'path', or no connector and a 'topic'";
                let found = format!("{connector:?}");
                let reason = SqlErrorReason::mismatch("option 'connector'", found, expected);
                Err(Fault::new(*at, reason).within(&self.file))
            }
        }
    }

    /// Checks that no rule looks for the last row of a topic: of several logs nobody knows which
    /// row is the last.
    ///
    /// # Errors
    /// [`SqlError`] at the declaration of the first table of which one does.
    pub fn check_side_by_side(&self) -> Result<(), SqlError> {
        let mut tables = self.rules.iter().filter_map(|rule| rule.sink().relation.last_rows_of());
        let Some(table) = tables.next().map(|table| self.table(table)) else { return Ok(()) };
        let subject = format!("table {}", table.name());
        let found = "looked up in the order of arrival, which is another one at each hub";
        let expected = "a file that is the same everywhere: 'connector' = 'filesystem'";
        let reason = SqlErrorReason::mismatch(subject, found, expected);
        Err(Fault::new(table.declared_at(), reason).within(&self.file))
    }

    /// Checks that the records of a topic that is read mean one thing: a log that keeps them does
    /// not say which table they were written for.
    ///
    /// # Errors
    /// [`SqlError`] at the declaration of the second table when its records would be others, or of
    /// the first one when a rule writes to the topic.
    pub fn check_topic(&self, topic: &TopicName) -> Result<(), SqlError> {
        let mut tables = self.tables.iter().filter(|table| table.topic() == Some(topic));
        let Some(first) = tables.next() else { return Ok(()) };
        let refused =
            |table: &Table, reason| Err(Fault::new(table.declared_at(), reason).within(&self.file));
        if let Some(rule) = self.rules.iter().find(|rule| rule.topic() == topic) {
            let (table, rule) = (first.name().to_string(), rule.name().to_string());
            let topic = topic.to_string();
            return refused(first, SqlErrorReason::WrittenTopic { topic, table, rule });
        }
        for table in tables {
            if let Some(difference) = table.difference_from(first) {
                let reason = SqlErrorReason::SharedTopic {
                    topic: topic.to_string(),
                    table: table.name().to_string(),
                    other: first.name().to_string(),
                    other_line: first.declared_at().line,
                    difference,
                };
                return refused(table, reason);
            }
        }
        Ok(())
    }

    /// What the rule called `name` will do, as text of several lines: its plan, whether its
    /// results can be taken back (and why), what it keeps per key, and its limits. None when there
    /// is no such rule.
    #[must_use]
    pub fn explain(&self, name: &str) -> Option<String> {
        let rule = self.rules.iter().find(|rule| &**rule.name() == name)?;
        Some(Explanation { program: self, rule }.to_string())
    }

    /// What the rule called `name` computes, as text: its query, the views it may name, and the
    /// tables it reads and writes. Equal texts compute the same; limits, severity, comments and the
    /// delay of a watermark are no part of it; the digest of a file that it looks in is. None when
    /// there is no such rule.
    #[must_use]
    pub fn definition(&self, name: &str) -> Option<Cow<'_, str>> {
        let index = self.rules.iter().position(|rule| &**rule.name() == name)?;
        let (rule, definition) = (self.rules.get(index)?, self.definitions.get(index)?);
        let mut text = Cow::Borrowed(definition.as_str());
        for (table, rows) in self.files() {
            if rule.sources().contains(&table) {
                let name = self.table(table).name();
                text.to_mut().push_str(&format!("FILE {name:?} {:?};", rows.digest()));
            }
        }
        Some(text)
    }

    /// The rules that EXPLAIN asks about, which do not run, in the order of their statements.
    pub(crate) fn explained(&self) -> &[Rule] {
        &self.explained
    }

    /// The rules in the order of their INSERT statements.
    #[must_use]
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }
}

/// What a rule file comes to.
struct Compiled {
    tables: Vec<Table>,
    rules: Vec<Rule>,
    definitions: Vec<String>,
    explained: Vec<Rule>,
}

fn compile(sql: &str) -> Result<Compiled, Vec<Fault>> {
    let alone = |fault: Fault| vec![fault];
    let (mut declared, mut views, mut inserts) = (Vec::new(), Vec::new(), Vec::new());
    let mut asked = Vec::new();
    let mut derived: Vec<(String, usize)> = Vec::new();
    for statement in statement::parse(sql).map_err(alone)? {
        match statement {
            Statement::CreateTable(table) => {
                // Expectations that do not fit are told of their table.
                let expected = expectation::of(&table).ok().flatten();
                let expected = expected.map(|expected| expected.rules()).transpose();
                let expected = expected.map_err(alone)?.unwrap_or_default();
                for mut table in std::iter::once(table).chain(expected) {
                    // CREATE TABLE … AS is a declaration and a rule.
                    if let Some(query) = table.query.take() {
                        let target = table.name.clone();
                        derived.push((target.value.clone(), inserts.len()));
                        inserts.push(Insert { target, columns: Vec::new(), query });
                    }
                    declared.push(table);
                }
            }
            Statement::CreateView(view) => views.push(view),
            Statement::Insert(insert) => inserts.push(insert),
            Statement::Explain(insert) => asked.push(insert),
        }
    }
    let is_derived =
        |table: &CreateTable| derived.iter().any(|(name, _)| *name == table.name.value);
    let mut catalog = Catalog::new(&declared, views, (&inserts, &asked), is_derived)?;
    let mut faults = Vec::new();
    for (name, insert) in &derived {
        let table = declared.iter_mut().find(|table| table.name.value == *name);
        if let (Some(table), Some(insert)) = (table, inserts.get(*insert)) {
            let target = query::columns(insert, &catalog).and_then(|columns| {
                table.columns = columns;
                Table::compile(table)
            });
            match target {
                Ok(target) => {
                    catalog.targets.insert(name.clone(), target);
                }
                Err(fault) => faults.push(fault),
            }
        }
    }
    let mut compiled = |inserts: &[Insert]| {
        let mut rules = Vec::with_capacity(inserts.len());
        for insert in inserts {
            let target = catalog.target(insert);
            // What is wrong with a derived table was told.
            if target.is_err() && derived.iter().any(|(name, _)| *name == insert.target.value) {
                continue;
            }
            match target.and_then(|target| query::compile(insert, target, &catalog)) {
                Ok(rule) => rules.push(rule),
                Err(fault) => faults.push(fault),
            }
        }
        rules
    };
    let (rules, explained) = (compiled(&inserts), compiled(&asked));
    if !faults.is_empty() {
        return Err(faults);
    }
    let Catalog { sources: tables, targets: _, views } = catalog;
    // Without a fault every INSERT is a rule.
    let pairs = inserts.iter().zip(&rules);
    let definitions = pairs.map(|pair| definition::of(pair, &tables, &declared, &views)).collect();
    Ok(Compiled { tables, rules, definitions, explained })
}

/// The tables and views of a file while its queries are compiled.
#[derive(Debug)]
pub(crate) struct Catalog {
    sources: Vec<Table>,
    targets: BTreeMap<String, Table>,
    views: Vec<CreateView>,
}

impl Catalog {
    fn new(
        declared: &[CreateTable],
        views: Vec<CreateView>,
        (inserts, asked): (&[Insert], &[Insert]),
        is_derived: impl Fn(&CreateTable) -> bool,
    ) -> Result<Self, Vec<Fault>> {
        let mut target_names = target_lines(inserts).map_err(|fault| vec![fault])?;
        let asked = asked.iter().map(|one| &one.target);
        target_names.extend(asked.map(|name| (name.value.as_str(), name.span.start.line)));
        let tables = declared.iter().map(|table| ("table", &table.name));
        let named = tables.chain(views.iter().map(|view| ("view", &view.name)));
        let mut lines: BTreeMap<&str, u64> = BTreeMap::new();
        for (what, name) in named {
            let start = name.span.start;
            if let Some(first_line) = lines.insert(name.value.as_str(), start.line) {
                let name = name.value.clone();
                let reason = SqlErrorReason::Duplicate { what, name, first_line };
                return Err(vec![Fault::new(start, reason)]);
            }
        }
        let mut faults = Vec::new();
        let mut catalog = Self { sources: Vec::new(), targets: BTreeMap::new(), views };
        for table in declared.iter().filter(|table| !is_derived(table)) {
            let name = table.name.value.as_str();
            let is_target = target_names.contains_key(name);
            let compiled = Table::compile(table).and_then(|compiled| {
                let fits = if is_target {
                    metadata::refuse(table).and_then(|()| expectation::refuse(&table.options))
                } else {
                    options::refuse(&table.options)
                };
                fits.map(|()| compiled)
            });
            match compiled {
                Ok(compiled) if is_target => {
                    catalog.targets.insert(name.to_owned(), compiled);
                }
                Ok(compiled) => catalog.sources.push(compiled),
                Err(fault) => faults.push(fault),
            }
        }
        if faults.is_empty() { Ok(catalog) } else { Err(faults) }
    }

    /// The source table called `name`.
    pub(crate) fn source(&self, name: &str) -> Option<(TableId, &Table)> {
        let mut tables = self.sources.iter().enumerate();
        let (index, table) = tables.find(|(_, table)| &**table.name() == name)?;
        Some((TableId::new(index), table))
    }

    /// The source table of an id.
    pub(crate) fn table(&self, id: TableId) -> Option<&Table> {
        self.sources.get(id.index())
    }

    /// The view called `name`.
    pub(crate) fn view(&self, name: &str) -> Option<&CreateView> {
        self.views.iter().find(|view| view.name.value == name)
    }

    /// The names of all source tables.
    pub(crate) fn source_names(&self) -> impl Iterator<Item = &str> {
        self.sources.iter().map(|table| &**table.name())
    }

    /// The names of all source tables and views.
    pub(crate) fn readable_names(&self) -> impl Iterator<Item = &str> {
        self.source_names().chain(self.views.iter().map(|view| view.name.value.as_str()))
    }

    /// Whether a rule inserts into the table called `name`.
    pub(crate) fn is_target(&self, name: &str) -> bool {
        self.targets.contains_key(name)
    }

    fn target(&self, insert: &Insert) -> Result<&Table, Fault> {
        let name = &insert.target.value;
        self.targets.get(name).ok_or_else(|| {
            let known = self.source_names().chain(self.targets.keys().map(String::as_str));
            let hint = Hint::new(name, known);
            let reason = SqlErrorReason::UnknownTable { name: name.clone(), hint };
            Fault::new(insert.target.span.start, reason)
        })
    }
}

/// The names rules insert into: a rule is named by its target, so that no two may share one.
fn target_lines(inserts: &[Insert]) -> Result<BTreeMap<&str, u64>, Fault> {
    let mut lines = BTreeMap::new();
    for Insert { target, columns: _, query: _ } in inserts {
        let start = target.span.start;
        if let Some(first_line) = lines.insert(target.value.as_str(), start.line) {
            let (what, name) = ("the target of a rule,", target.value.clone());
            return Err(Fault::new(start, SqlErrorReason::Duplicate { what, name, first_line }));
        }
    }
    Ok(lines)
}

#[cfg(test)]
mod tests;
