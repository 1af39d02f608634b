//! Keys of rows as bytes.

use crate::rows::{Cell, RowBatch, Schema};

/// What tells rows of the same key: equal for equal keys only.
pub(crate) fn key_of(schema: &Schema, rows: &RowBatch, row: usize) -> Vec<u8> {
    let mut key = Vec::new();
    for &column in &schema.key {
        match rows.columns()[column].get(row) {
            Cell::Null => key.push(0),
            Cell::Int(value) | Cell::Time(value) => fixed(&mut key, &value.to_le_bytes()),
            Cell::Float(value) => fixed(&mut key, &(value + 0.0).to_le_bytes()),
            Cell::Bool(value) => fixed(&mut key, &[u8::from(value)]),
            Cell::Text(text) => {
                fixed(&mut key, &(text.len() as u64).to_le_bytes());
                key.extend_from_slice(text);
            }
        }
    }
    key
}

fn fixed(key: &mut Vec<u8>, bytes: &[u8]) {
    key.push(1);
    key.extend_from_slice(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rows::ColumnType::{Int, Text, Time};

    #[test]
    fn keys_are_equal_for_equal_keys_only() {
        let schema = Schema::new("t", &[("s", Text), ("at", Time), ("n", Int)], &["s", "at"]);
        let key = |sensor: &str, us: i64, n: i64| {
            let mut rows = schema.batch();
            rows.push(&[Cell::Text(sensor.as_bytes()), Cell::Time(us), Cell::Int(n)]);
            key_of(&schema, &rows, 0)
        };
        assert_eq!(key("a", 1, 7), key("a", 1, 8));
        assert_ne!(key("a", 1, 7), key("a", 2, 7));
        assert_ne!(key("a", 1, 7), key("b", 1, 7));
    }
}
