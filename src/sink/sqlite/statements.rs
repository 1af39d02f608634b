//! The SQL of a table: its definition, and the upsert of a row.

use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{Connection, Statement, ToSql};

use crate::rows::{Cell, ColumnType, RowBatch, Schema};

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

/// A prepared upsert of one row.
pub(super) struct Upsert<'c> {
    statement: Statement<'c>,
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
        Ok(Upsert { statement: connection.prepare(&sql)? })
    }

    /// Upserts all rows, in their order.
    pub(super) fn run(&mut self, rows: &RowBatch) -> rusqlite::Result<()> {
        let mut text = Vec::with_capacity(32);
        for row in 0..rows.len() {
            for (column, cell) in rows.row(row).enumerate() {
                text.clear();
                self.statement.raw_bind_parameter(column + 1, sql_value(cell, &mut text))?;
            }
            self.statement.raw_execute()?;
        }
        Ok(())
    }
}

/// A cell as SQLite takes it; borrowed, so that a text is copied once, by SQLite.
struct SqlValue<'a>(ValueRef<'a>);

impl ToSql for SqlValue<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(self.0))
    }
}

fn sql_value<'a>(cell: Cell<'a>, text: &'a mut Vec<u8>) -> SqlValue<'a> {
    SqlValue(match cell {
        Cell::Null => ValueRef::Null,
        Cell::Int(value) => ValueRef::Integer(value),
        Cell::Float(value) => ValueRef::Real(value + 0.0),
        Cell::Bool(value) => ValueRef::Integer(i64::from(value)),
        Cell::Time(us) => {
            format_rfc3339(us, text);
            ValueRef::Text(text)
        }
        Cell::Text(value) => ValueRef::Text(value),
    })
}

/// Appends a time as `2024-01-28T12:00:00.000000Z`.
///
/// To be replaced by `crate::time::format_rfc3339` once it is there. A year outside of 0000–9999 gets a sign
/// and as many digits as it needs (ISO 8601's expanded form), which no input time can reach.
pub(super) fn format_rfc3339(us: i64, out: &mut Vec<u8>) {
    const DAY_US: i64 = 86_400_000_000;
    let (days, us) = (us.div_euclid(DAY_US), us.rem_euclid(DAY_US));
    let (year, month, day) = civil_from_days(days);
    if !(0..=9999).contains(&year) {
        out.push(if year < 0 { b'-' } else { b'+' });
    }
    digits(out, year.unsigned_abs(), 4);
    let seconds = (us / 1_000_000).unsigned_abs();
    for (mark, value, width) in [
        (b'-', month, 2),
        (b'-', day, 2),
        (b'T', seconds / 3600, 2),
        (b':', seconds / 60 % 60, 2),
        (b':', seconds % 60, 2),
        (b'.', (us % 1_000_000).unsigned_abs(), 6),
    ] {
        out.push(mark);
        digits(out, value, width);
    }
    out.push(b'Z');
}

fn digits(out: &mut Vec<u8>, mut value: u64, width: usize) {
    let start = out.len();
    while value > 0 || out.len() - start < width {
        out.push(b'0' + (value % 10) as u8);
        value /= 10;
    }
    out[start..].reverse();
}

/// Howard Hinnant, *chrono-Compatible Low-Level Date Algorithms*: years of 400-year eras that begin in March.
fn civil_from_days(days: i64) -> (i64, u64, u64) {
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month.unsigned_abs(), day.unsigned_abs())
}
