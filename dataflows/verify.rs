//! Audits tables against the log: what a replay of the fixture gives is what must be there.
//!
//! Wall-clock columns are left out of the comparison, since a live run and a replay may differ in them.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Serialize;
use tidegate::rows::Schema;
use tidegate::sink::postgres;
use tidegate::sink::{SinkError, sqlite};

use crate::replay::{Options, ReplayError, Started, replay};

/// Columns that hold the wall clock's time.
const WALL_CLOCK: [&str; 2] = ["processed_at", "processing_time"];

/// How many rows of each kind are named; all are counted.
const NAMED: usize = 10;

/// Where the tables are that are audited.
#[derive(Clone, Debug)]
pub enum Target {
    /// `tables.sqlite` in this directory.
    Out(PathBuf),
    /// A database.
    Postgres(Box<postgres::Config>),
}

/// Rows that are not as they must be: how many, and the first of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Rows {
    /// How many.
    pub count: u64,
    /// The first ones, as `column=value` texts.
    pub first: Vec<String>,
}

impl Rows {
    fn add(&mut self, row: impl FnOnce() -> String) {
        self.count += 1;
        if self.first.len() < NAMED {
            self.first.push(row());
        }
    }
}

/// What the audit of a table found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct TableAudit {
    /// The table.
    pub table: String,
    /// How many rows the log gives.
    pub expected: u64,
    /// Rows of the log that are not there.
    pub missing: Rows,
    /// Keys that are there more than once.
    pub repeated: Rows,
    /// Rows with the right key and other values.
    pub altered: Rows,
    /// Rows whose key the log does not give.
    pub unexpected: Rows,
}

impl TableAudit {
    /// Whether the table is what the log gives.
    pub fn agrees(&self) -> bool {
        [&self.missing, &self.repeated, &self.altered, &self.unexpected].iter().all(|rows| rows.count == 0)
    }
}

type Row = Vec<Option<String>>;

/// Replays the fixture of `options` into a temporary directory and compares every table of the pipeline `name`.
///
/// # Errors
/// When the replay fails, or the target cannot be read.
pub fn verify(
    options: &Options,
    name: &str,
    target: &Target,
    started: Started<'_>,
) -> Result<Vec<TableAudit>, ReplayError> {
    let scratch = tempfile::tempdir().map_err(|error| SinkError::Failed {
        sink: "verify".to_owned(),
        cause: format!("cannot make a temporary directory: {error}"),
    })?;
    let options = Options { out: scratch.path().join("out"), ..options.clone() };
    replay(&options, &[name], started)?;
    let mut audits = Vec::new();
    for schema in options.pipelines.called(name).tables() {
        let mut audit = Audit::new(&schema);
        sqlite::read_rows(&options.out, &schema, &mut |row| audit.expect(row))?;
        match target {
            Target::Out(out) => sqlite::read_rows(out, &schema, &mut |row| audit.find(row))?,
            Target::Postgres(config) => postgres::read_rows(config, &schema, &mut |row| audit.find(row))?,
        }
        audits.push(audit.finish());
    }
    Ok(audits)
}

/// Compares two sets of rows by key.
struct Audit<'a> {
    schema: &'a Schema,
    result: TableAudit,
    /// By key: the row, and whether it was found.
    expected: BTreeMap<Row, (Row, bool)>,
    unexpected: BTreeMap<Row, ()>,
}

impl<'a> Audit<'a> {
    fn new(schema: &'a Schema) -> Self {
        let result = TableAudit { table: schema.name.to_string(), ..TableAudit::default() };
        Audit { schema, result, expected: BTreeMap::new(), unexpected: BTreeMap::new() }
    }

    fn key(&self, row: &Row) -> Row {
        self.schema.key.iter().map(|&column| row[column].clone()).collect()
    }

    fn expect(&mut self, row: Row) {
        self.result.expected += 1;
        self.expected.insert(self.key(&row), (row, false));
    }

    fn find(&mut self, row: Row) {
        let key = self.key(&row);
        let shown = || show(self.schema, &row);
        match self.expected.get_mut(&key) {
            Some((_, true)) => self.result.repeated.add(shown),
            Some((expected, found)) => {
                *found = true;
                if !same(self.schema, expected, &row) {
                    let wanted = show(self.schema, expected);
                    self.result.altered.add(|| format!("{} in place of {wanted}", shown()));
                }
            }
            None if self.unexpected.insert(key, ()).is_some() => self.result.repeated.add(shown),
            None => self.result.unexpected.add(shown),
        }
    }

    fn finish(mut self) -> TableAudit {
        for (row, _) in self.expected.values().filter(|(_, found)| !found) {
            self.result.missing.add(|| show(self.schema, row));
        }
        self.result
    }
}

fn same(schema: &Schema, a: &Row, b: &Row) -> bool {
    let compared = |column: &&usize| !WALL_CLOCK.contains(&&*schema.columns[**column].name);
    let columns: Vec<usize> = (0..schema.columns.len()).collect();
    columns.iter().filter(compared).all(|&column| a[column] == b[column])
}

fn show(schema: &Schema, row: &Row) -> String {
    let cell = |(column, text): (&tidegate::rows::ColumnDef, &Option<String>)| {
        format!("{}={}", column.name, text.as_deref().unwrap_or("null"))
    };
    schema.columns.iter().zip(row).map(cell).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use tidegate::rows::ColumnType::{Int, Text, Time};

    use super::*;

    fn audit(expected: &[[&str; 3]], found: &[[&str; 3]]) -> TableAudit {
        let schema = Schema::new("t", &[("k", Text), ("v", Int), ("processed_at", Time)], &["k"]);
        let mut audit = Audit::new(&schema);
        let row = |row: &[&str; 3]| row.iter().map(|text| Some((*text).to_owned())).collect();
        expected.iter().for_each(|texts| audit.expect(row(texts)));
        found.iter().for_each(|texts| audit.find(row(texts)));
        audit.finish()
    }

    #[test]
    fn wall_clock_and_order_do_not_matter() {
        let expected = [["a", "1", "x"], ["b", "2", "x"]];
        assert!(audit(&expected, &[["b", "2", "y"], ["a", "1", "z"]]).agrees());
    }

    #[test]
    fn each_kind_of_difference_is_counted_and_named() {
        let expected = [["a", "1", "x"], ["b", "2", "x"], ["c", "3", "x"]];
        let found = [["a", "1", "x"], ["a", "1", "x"], ["b", "9", "x"], ["d", "4", "x"]];
        let audit = audit(&expected, &found);
        let counts =
            [&audit.missing, &audit.repeated, &audit.altered, &audit.unexpected].map(|rows| rows.count);
        assert_eq!(counts, [1, 1, 1, 1]);
        assert_eq!(audit.altered.first, ["k=b v=9 processed_at=x in place of k=b v=2 processed_at=x"]);
        assert!(audit.missing.first[0].starts_with("k=c"));
    }
}
