//! Rows in the server's binary formats: that of COPY, and arrays of a column's values.

use bytes::{BufMut, BytesMut};
use tokio_postgres::types::{IsNull, ToSql, Type, to_sql_checked};

use crate::rows::{Cell, ColumnType, RowBatch, Schema, Values};

/// Begins a stream: signature, flags, no extension.
pub(super) const HEADER: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
/// Ends it.
pub(super) const TRAILER: &[u8] = &(-1_i16).to_be_bytes();

/// 2000-01-01, from which PostgreSQL counts its microseconds.
const EPOCH_2000_US: i64 = 946_684_800_000_000;
/// What its `timestamptz` can hold, counted from there.
const TIMES: std::ops::Range<i64> = -211_813_488_000_000_000..9_223_371_331_200_000_000;

/// Appends the rows, each with its number behind its columns, counted on from `first`.
pub(super) fn encode(rows: &RowBatch, first: i64, out: &mut Vec<u8>) {
    let fields = (rows.columns().len() + 1) as i16;
    for row in 0..rows.len() {
        out.extend_from_slice(&fields.to_be_bytes());
        for cell in rows.row(row) {
            binary(cell, |bytes| match bytes {
                None => out.extend_from_slice(&(-1_i32).to_be_bytes()),
                Some(bytes) => field(bytes, out),
            });
        }
        field(&(first + row as i64).to_be_bytes(), out);
    }
}

/// What a cell is in binary; nothing where it is absent.
fn binary<T>(cell: Cell<'_>, take: impl FnOnce(Option<&[u8]>) -> T) -> T {
    match cell {
        Cell::Null => take(None),
        Cell::Int(value) => take(Some(&value.to_be_bytes())),
        // -0.0 is read as 0.0 everywhere.
        Cell::Float(value) => take(Some(&(value + 0.0).to_be_bytes())),
        Cell::Bool(value) => take(Some(&[u8::from(value)])),
        Cell::Time(us) => take(Some(&us.saturating_sub(EPOCH_2000_US).to_be_bytes())),
        Cell::Text(text) => take(Some(text)),
    }
}

/// An element of an array.
#[derive(Clone, Copy, Debug)]
pub(super) struct Element<'a>(pub(super) Cell<'a>);

impl ToSql for Element<'_> {
    fn to_sql(
        &self,
        _: &Type,
        out: &mut BytesMut,
    ) -> Result<IsNull, Box<dyn std::error::Error + Sync + Send>> {
        Ok(binary(self.0, |bytes| match bytes {
            None => IsNull::Yes,
            Some(bytes) => {
                out.put_slice(bytes);
                IsNull::No
            }
        }))
    }

    fn accepts(kind: &Type) -> bool {
        [Type::INT8, Type::FLOAT8, Type::BOOL, Type::TIMESTAMPTZ, Type::TEXT].contains(kind)
    }

    to_sql_checked!();
}

/// The type of an array of a column's values.
pub(super) fn array_type(kind: ColumnType) -> Type {
    match kind {
        ColumnType::Int => Type::INT8_ARRAY,
        ColumnType::Float => Type::FLOAT8_ARRAY,
        ColumnType::Bool => Type::BOOL_ARRAY,
        ColumnType::Time => Type::TIMESTAMPTZ_ARRAY,
        ColumnType::Text => Type::TEXT_ARRAY,
    }
}

fn field(bytes: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(&(bytes.len() as i32).to_be_bytes());
    out.extend_from_slice(bytes);
}

/// What PostgreSQL cannot hold: U+0000, bytes that are not UTF-8, times out of its calendar.
pub(super) fn refuses(schema: &Schema, rows: &RowBatch) -> Result<(), String> {
    for (column, def) in rows.columns().iter().zip(&schema.columns) {
        let bad = match &column.values {
            Values::Text(texts) => (0..texts.len()).map(|row| texts.get(row)).find_map(|text| {
                if memchr::memchr(0, text).is_some() {
                    Some("a text with U+0000, which PostgreSQL cannot store")
                } else {
                    std::str::from_utf8(text).is_err().then_some("a text that is not UTF-8")
                }
            }),
            Values::Time(times) => {
                let fits = |us: &i64| us.checked_sub(EPOCH_2000_US).is_some_and(|us| TIMES.contains(&us));
                (!times.iter().all(fits)).then_some("a time that PostgreSQL cannot store")
            }
            _ => None,
        };
        if let Some(bad) = bad {
            return Err(format!("column {:?} of table {:?} holds {bad}", def.name, schema.name));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rows::ColumnType::{Text, Time};

    #[test]
    fn what_the_server_cannot_hold_is_refused() {
        let schema = Schema::new("t", &[("s", Text), ("t", Time)], &["s"]);
        let refused = |text: &[u8], us: i64| {
            let mut rows = schema.batch();
            rows.push(&[Cell::Text(text), Cell::Time(us)]);
            refuses(&schema, &rows).err()
        };
        assert_eq!(refused("ö".as_bytes(), 0), None);
        assert!(refused(b"a\0b", 0).is_some_and(|cause| cause.contains("U+0000")));
        assert!(refused(b"\xff", 0).is_some());
        // The server's calendar begins in 4714 BC and goes on for longer than ours.
        assert!(refused(b"", i64::MIN).is_some());
        assert_eq!(refused(b"", i64::MAX), None);
    }

    #[test]
    fn row_is_fields_with_lengths() {
        let schema = Schema::new("t", &[("s", Text), ("t", Time)], &["s"]).nullable(&["t"]);
        let mut rows = schema.batch();
        rows.push(&[Cell::Text(b"ab"), Cell::Null]);
        let mut out = Vec::new();
        encode(&rows, 7, &mut out);
        assert_eq!(out, b"\0\x03\0\0\0\x02ab\xff\xff\xff\xff\0\0\0\x08\0\0\0\0\0\0\0\x07");
    }
}
