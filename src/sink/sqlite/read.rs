//! Reads a table back, to be compared with another one.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rusqlite::types::ValueRef;
use rusqlite::{Connection, OpenFlags};

use super::{FILE, lift};
use crate::rows::{ColumnType, Schema};
use crate::sink::SinkError;
use crate::sink::tables::{Standing, answer, query};

/// How long a question waits for a commit.
const BUSY: Duration = Duration::from_secs(30);

/// Gives every row of the table of `schema` in `out_dir`, as texts; null is `None`.
///
/// Times are RFC 3339 with six fraction digits, integers decimal, doubles in the shortest form that reads back
/// as the same number, truth values `true` and `false`: the same as `sink::postgres::read_rows` gives. The order
/// is the table's own.
///
/// # Errors
/// [`SinkError::Failed`] when the file or the table is not there or lacks a column; nothing is created.
pub fn read_rows(
    out_dir: &Path,
    schema: &Schema,
    row: &mut dyn FnMut(Vec<Option<String>>),
) -> Result<(), SinkError> {
    first_rows(out_dir, schema, None, row)
}

/// As [`read_rows`], and no more than `most` of them.
///
/// # Errors
/// As there.
pub fn first_rows(
    out_dir: &Path,
    schema: &Schema,
    most: Option<u64>,
    row: &mut dyn FnMut(Vec<Option<String>>),
) -> Result<(), SinkError> {
    let lift = |error| lift("tables", error);
    let connection = Connection::open_with_flags(out_dir.join(FILE), OpenFlags::SQLITE_OPEN_READ_ONLY);
    let connection = connection.map_err(lift)?;
    let quoted = |name: &str| format!("\"{}\"", name.replace('"', "\"\""));
    let columns: Vec<_> = schema.columns.iter().map(|column| quoted(&column.name)).collect();
    let limit = most.map_or(String::new(), |most| format!(" LIMIT {most}"));
    let query = format!("SELECT {} FROM {}{limit}", columns.join(", "), quoted(&schema.name));
    let mut query = connection.prepare(&query).map_err(lift)?;
    let mut rows = query.query([]).map_err(lift)?;
    while let Some(found) = rows.next().map_err(lift)? {
        let mut texts = Vec::with_capacity(schema.columns.len());
        for (index, column) in schema.columns.iter().enumerate() {
            texts.push(text(found.get_ref(index).map_err(lift)?, column.kind));
        }
        row(texts);
    }
    Ok(())
}

/// How the tables of `schemas` stand, which the sink called `sink` has written in `out_dir`.
///
/// # Errors
/// [`SinkError::Failed`] when the file or a table is not there; nothing is created.
pub fn standing(out_dir: &Path, sink: &str, schemas: &[Arc<Schema>]) -> Result<Standing, SinkError> {
    let lift = |error| lift("tables", error);
    let connection = Connection::open_with_flags(out_dir.join(FILE), OpenFlags::SQLITE_OPEN_READ_ONLY);
    let connection = connection.map_err(lift)?;
    connection.busy_timeout(BUSY).map_err(lift)?;
    let query = query("", sink, schemas.iter().map(|schema| &**schema));
    let columns = 1 + 2 * schemas.len();
    let row = connection.query_row(&query, [], |row| {
        let number = |at| row.get::<_, Option<i64>>(at).map(|n| n.and_then(|n| u64::try_from(n).ok()));
        (0..columns).map(number).collect::<Result<Vec<_>, _>>()
    });
    Ok(answer(&row.map_err(lift)?))
}

fn text(value: ValueRef<'_>, kind: ColumnType) -> Option<String> {
    match value {
        ValueRef::Null => None,
        ValueRef::Integer(value) if kind == ColumnType::Bool => Some((value != 0).to_string()),
        ValueRef::Integer(value) => Some(value.to_string()),
        ValueRef::Real(value) => Some(format!("{value:?}")),
        ValueRef::Text(text) | ValueRef::Blob(text) => Some(String::from_utf8_lossy(text).into_owned()),
    }
}
