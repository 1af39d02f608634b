//! The SQL of a table: its definition, and the upsert of a row.

use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{Connection, Statement, ToSql};

use crate::rows::{Cell, ColumnType, RowBatch, Schema};
use crate::time::{TEXT_LEN, TimeFormatter};

/// Creates the table of `schema` where it is missing; the inner error says how an existing one differs.
pub(super) fn create_table(connection: &Connection, schema: &Schema) -> rusqlite::Result<Result<(), String>> {
    let columns: Vec<_> = schema
        .columns
        .iter()
        .map(|column| {
            let null = if column.nullable { "" } else { " NOT NULL" };
            format!("{} {}{null}", quoted(&column.name), sql_type(column.kind))
        })
        .collect();
    let table = quoted(&schema.name);
    let columns = columns.join(", ");
    match Key::of(schema) {
        Key::None => {
            connection.execute_batch(&format!("CREATE TABLE IF NOT EXISTS {table} ({columns})"))?;
        }
        Key::Primary(key) => {
            connection.execute_batch(&format!(
                "CREATE TABLE IF NOT EXISTS {table} ({columns}, PRIMARY KEY ({key})) WITHOUT ROWID"
            ))?;
        }
        Key::Unique(key) => {
            let index = quoted(&format!("tidegate_{}_key", schema.name));
            connection.execute_batch(&format!(
                "CREATE TABLE IF NOT EXISTS {table} ({columns});
                 CREATE UNIQUE INDEX IF NOT EXISTS {index} ON {table} ({key})"
            ))?;
        }
    }
    let found: Vec<(String, String)> = connection
        .prepare("SELECT name, type FROM pragma_table_info(?1) ORDER BY cid")?
        .query_map([&schema.name], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<Result<_, _>>()?;
    let wanted: Vec<_> =
        schema.columns.iter().map(|c| (c.name.to_string(), sql_type(c.kind).to_owned())).collect();
    let differs = || format!("table {:?} has the columns {found:?} in place of {wanted:?}", schema.name);
    Ok(if found == wanted { Ok(()) } else { Err(differs()) })
}

/// How a table finds the row that a new one replaces.
enum Key {
    /// Never: rows are only added.
    None,
    /// By its primary key, in which the rows are stored.
    Primary(String),
    /// By a unique index, because a key column may be null: SQLite holds null unlike null, so the index is over
    /// an expression in which null is the empty blob, which no column holds.
    Unique(String),
}

impl Key {
    fn of(schema: &Schema) -> Key {
        let columns = || schema.key.iter().filter_map(|&column| schema.columns.get(column));
        let joined = |parts: Vec<String>| parts.join(", ");
        if schema.key.is_empty() {
            Key::None
        } else if columns().any(|column| column.nullable) {
            let part = |column: &crate::rows::ColumnDef| {
                let name = quoted(&column.name);
                if column.nullable { format!("ifnull({name}, x'')") } else { name }
            };
            Key::Unique(joined(columns().map(part).collect()))
        } else {
            Key::Primary(joined(columns().map(|column| quoted(&column.name)).collect()))
        }
    }
}

/// Storage classes: times are text so that they can be read, and text order is time order.
fn sql_type(kind: ColumnType) -> &'static str {
    match kind {
        ColumnType::Int | ColumnType::Bool => "INTEGER",
        ColumnType::Float => "REAL",
        ColumnType::Time | ColumnType::Text => "TEXT",
    }
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// Rows are put in the order of their keys in groups of this many.
const GROUP: usize = 1 << 17;

/// A prepared upsert of one row, and the rows that wait for it.
pub(super) struct Upsert<'c> {
    statement: Statement<'c>,
    key: Vec<usize>,
    waiting: Vec<RowBatch>,
    waiting_rows: usize,
    formatters: Vec<TimeFormatter>,
}

impl<'c> Upsert<'c> {
    pub(super) fn prepare(connection: &'c Connection, schema: &Schema) -> rusqlite::Result<Self> {
        let names: Vec<_> = schema.columns.iter().map(|column| quoted(&column.name)).collect();
        let holes = vec!["?"; names.len()].join(", ");
        let mut sql = format!("INSERT INTO {} ({}) VALUES ({holes})", quoted(&schema.name), names.join(", "));
        if let Key::Primary(key) | Key::Unique(key) = Key::of(schema) {
            let rest: Vec<_> = (0..names.len())
                .filter(|column| !schema.key.contains(column))
                .map(|column| format!("{0} = excluded.{0}", names[column]))
                .collect();
            let action = if rest.is_empty() {
                "NOTHING".to_owned()
            } else {
                format!("UPDATE SET {}", rest.join(", "))
            };
            sql.push_str(&format!(" ON CONFLICT ({key}) DO {action}"));
        }
        Ok(Upsert {
            statement: connection.prepare(&sql)?,
            key: schema.key.clone(),
            waiting: Vec::new(),
            waiting_rows: 0,
            // One a column: each column's times are mostly of one day.
            formatters: vec![TimeFormatter::default(); names.len()],
        })
    }

    /// Takes rows; of two with the same key the later one stays.
    pub(super) fn take(&mut self, rows: RowBatch) -> rusqlite::Result<()> {
        self.waiting_rows += rows.len();
        self.waiting.push(rows);
        if self.waiting_rows >= GROUP { self.run() } else { Ok(()) }
    }

    /// Upserts the rows that wait, roughly in the order of their keys: neighbours share the pages that SQLite
    /// walks to find them. Rows of the same key keep their order.
    pub(super) fn run(&mut self) -> rusqlite::Result<()> {
        let batches = std::mem::take(&mut self.waiting);
        self.waiting_rows = 0;
        let places =
            batches.iter().enumerate().flat_map(|(i, rows)| (0..rows.len()).map(move |row| (i, row)));
        let mut order: Vec<_> =
            places.map(|(i, row)| (rough_key(&batches[i], row, &self.key), i, row)).collect();
        if !order.is_sorted() {
            order.sort_unstable();
        }
        order.into_iter().try_for_each(|(_, i, row)| self.upsert(&batches[i], row))
    }

    fn upsert(&mut self, rows: &RowBatch, row: usize) -> rusqlite::Result<()> {
        for (column, (cell, formatter)) in rows.row(row).zip(&mut self.formatters).enumerate() {
            let time = if let Cell::Time(us) = cell { formatter.format(us) } else { [0; TEXT_LEN] };
            self.statement.raw_bind_parameter(column + 1, sql_value(cell, &time))?;
        }
        self.statement.raw_execute().map(drop)
    }
}

/// A prepared removal of the row with a key. Where there is no key, rows are only added, and none is removed.
pub(super) struct Delete<'c> {
    statement: Option<Statement<'c>>,
    key: Vec<usize>,
}

impl<'c> Delete<'c> {
    pub(super) fn prepare(connection: &'c Connection, schema: &Schema) -> rusqlite::Result<Self> {
        let same = |&column: &usize| format!("{} IS ?", quoted(&schema.columns[column].name));
        let same: Vec<_> = schema.key.iter().map(same).collect();
        let sql = format!("DELETE FROM {} WHERE {}", quoted(&schema.name), same.join(" AND "));
        let statement = (!same.is_empty()).then(|| connection.prepare(&sql)).transpose()?;
        Ok(Delete { statement, key: schema.key.clone() })
    }

    /// Removes the rows that have the keys of `rows`.
    pub(super) fn run(&mut self, rows: &RowBatch) -> rusqlite::Result<()> {
        let Some(statement) = &mut self.statement else { return Ok(()) };
        let mut formatter = TimeFormatter::default();
        for row in 0..rows.len() {
            for (place, &column) in (1..).zip(&self.key) {
                let cell = rows.columns()[column].get(row);
                let time = if let Cell::Time(us) = cell { formatter.format(us) } else { [0; TEXT_LEN] };
                statement.raw_bind_parameter(place, sql_value(cell, &time))?;
            }
            statement.raw_execute()?;
        }
        Ok(())
    }
}

/// A number that grows with the row's key and is equal for equal keys: the beginnings of its first columns.
fn rough_key(rows: &RowBatch, row: usize, key: &[usize]) -> u128 {
    let beginning = |column: &usize| match rows.columns()[*column].get(row) {
        Cell::Null => 0,
        Cell::Bool(value) => u128::from(value) << 64,
        Cell::Int(value) | Cell::Time(value) => u128::from(value as u64 ^ (1 << 63)) << 64,
        Cell::Float(value) => u128::from((value + 0.0).to_bits()) << 64,
        Cell::Text(text) => {
            let mut bytes = [0; 16];
            let len = text.len().min(16);
            bytes[..len].copy_from_slice(&text[..len]);
            u128::from_be_bytes(bytes)
        }
    };
    match key {
        [] => 0,
        [only] => beginning(only),
        [first, second, ..] => beginning(first) >> 64 << 64 | beginning(second) >> 64,
    }
}

/// A cell as SQLite takes it; borrowed, so that a text is copied once, by SQLite.
struct SqlValue<'a>(ValueRef<'a>);

impl ToSql for SqlValue<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(self.0))
    }
}

/// The value of a cell; `time` is the text of one that is a time.
fn sql_value<'a>(cell: Cell<'a>, time: &'a [u8]) -> SqlValue<'a> {
    SqlValue(match cell {
        Cell::Null => ValueRef::Null,
        Cell::Int(value) => ValueRef::Integer(value),
        Cell::Float(value) => ValueRef::Real(value + 0.0),
        Cell::Bool(value) => ValueRef::Integer(i64::from(value)),
        Cell::Time(_) => ValueRef::Text(time),
        Cell::Text(value) => ValueRef::Text(value),
    })
}
