//! Audits tables: row by row, by their keys.

use std::path::Path;

use tidegate::rows::{ColumnType, Schema};
use tidegate::sink::{SinkError, mongo, postgres, sqlite};

use super::compare::{Audit, Comparison, Row, is_compared, push_cell};
use crate::pipeline::Pipeline;
use crate::targets::MongoTarget;

/// Where tables are.
#[derive(Clone, Copy, Debug)]
pub(super) enum Tables<'a> {
    /// `tables.sqlite` in this directory.
    Sqlite(&'a Path),
    /// A database.
    Postgres(&'a postgres::Config),
    /// Collections.
    Mongo(&'a MongoTarget),
}

impl Tables<'_> {
    fn name(self) -> &'static str {
        match self {
            Tables::Sqlite(_) => "tables.sqlite",
            Tables::Postgres(_) => "postgres",
            Tables::Mongo(_) => "mongo",
        }
    }

    fn read(
        self,
        number: usize,
        schema: &Schema,
        row: &mut dyn FnMut(Vec<Option<String>>),
    ) -> Result<(), SinkError> {
        match self {
            Tables::Sqlite(out) => sqlite::read_rows(out, schema, row),
            Tables::Postgres(config) => postgres::read_rows(config, schema, row),
            Tables::Mongo(MongoTarget { config, collection }) => {
                // As the sink has it: the first table is the collection, others have their own names.
                let name = if number == 0 { collection } else { &*schema.name };
                mongo::read_rows(config, name, schema, row)
            }
        }
    }
}

/// Compares every table of `pipeline` with that in `expected`, a directory with `tables.sqlite`.
pub(super) fn audit(
    expected: &Path,
    pipeline: &dyn Pipeline,
    there: Tables<'_>,
) -> Result<Vec<Audit>, SinkError> {
    let mut audits = Vec::new();
    for (number, schema) in pipeline.tables().iter().enumerate() {
        let mut comparison = Comparison::new(there.name(), &schema.name, true);
        let is_mongo = matches!(there, Tables::Mongo(_));
        sqlite::read_rows(expected, schema, &mut |mut cells| {
            if is_mongo {
                to_milliseconds(schema, &mut cells);
            }
            comparison.expect(row(schema, &cells));
        })?;
        there.read(number, schema, &mut |cells| comparison.find(row(schema, &cells)))?;
        audits.push(comparison.finish());
    }
    Ok(audits)
}

fn row(schema: &Schema, cells: &[Option<String>]) -> Row {
    let (mut key, mut text) = (String::new(), String::new());
    for (number, (column, cell)) in schema.columns.iter().zip(cells).enumerate() {
        if !is_compared(&column.name) {
            continue;
        }
        push_cell(&mut text, &column.name, cell.as_deref());
        if schema.key.contains(&number) {
            push_cell(&mut key, &column.name, cell.as_deref());
        }
    }
    Row { key: key.into(), text: text.into() }
}

/// Cuts times as MongoDB does, which keeps milliseconds.
fn to_milliseconds(schema: &Schema, cells: &mut [Option<String>]) {
    for (column, cell) in schema.columns.iter().zip(cells) {
        if let (ColumnType::Time, Some(text)) = (column.kind, cell) {
            // 2026-01-01T00:00:00.123456Z
            let digits = text.len().saturating_sub(4)..text.len().saturating_sub(1);
            if text.get(digits.clone()).is_some() {
                text.replace_range(digits, "000");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tidegate::rows::ColumnType::{Int, Text, Time};

    use super::*;

    fn cells(texts: &[&str]) -> Vec<Option<String>> {
        texts.iter().map(|text| Some((*text).to_owned())).collect()
    }

    #[test]
    fn wall_clock_is_no_part_of_a_row() {
        let schema = Schema::new("t", &[("k", Text), ("v", Int), ("processed_at", Time)], &["k"]);
        let found = row(&schema, &cells(&["a", "1", "x"]));
        assert_eq!(found, row(&schema, &cells(&["a", "1", "y"])));
        assert_eq!((&*found.key, &*found.text), ("k=a", "k=a v=1"));
    }

    #[test]
    fn times_are_cut_to_what_mongo_keeps() {
        let schema = Schema::new("t", &[("k", Text), ("at", Time)], &["k"]);
        let mut row = cells(&["2026-01-01T00:00:00.123456Z", "2026-01-01T00:00:00.123456Z"]);
        to_milliseconds(&schema, &mut row);
        assert_eq!(row, cells(&["2026-01-01T00:00:00.123456Z", "2026-01-01T00:00:00.123000Z"]));
    }
}
