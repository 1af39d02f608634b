//! Reading rows back from a file that tidegate wrote.

use bytes::Bytes;
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::Field;

use crate::rows::{Cell, ColumnType, RowBatch, Schema};

/// Appends the rows of a file's `bytes` to `rows`; a column of `schema` that the file lacks is null.
pub(super) fn append(bytes: Vec<u8>, schema: &Schema, rows: &mut RowBatch) -> Result<(), String> {
    let reader = SerializedFileReader::new(Bytes::from(bytes)).map_err(|error| error.to_string())?;
    for row in reader.get_row_iter(None).map_err(|error| error.to_string())? {
        let row = row.map_err(|error| error.to_string())?;
        let mut cells = Vec::with_capacity(schema.columns.len());
        for column in &schema.columns {
            let field =
                row.get_column_iter().find(|(name, _)| **name == *column.name).map(|(_, field)| field);
            let cell = match (field, column.kind) {
                (None | Some(Field::Null), _) => Some(Cell::Null),
                (Some(Field::Long(value)), ColumnType::Int) => Some(Cell::Int(*value)),
                (Some(Field::TimestampMicros(value)), ColumnType::Time) => Some(Cell::Time(*value)),
                (Some(Field::Double(value)), ColumnType::Float) => Some(Cell::Float(*value)),
                (Some(Field::Bool(value)), ColumnType::Bool) => Some(Cell::Bool(*value)),
                (Some(Field::Str(value)), ColumnType::Text) => Some(Cell::Text(value.as_bytes())),
                _ => None,
            };
            cells.push(cell.ok_or_else(|| format!("column {:?} is not {:?}", column.name, column.kind))?);
        }
        rows.push(&cells);
    }
    Ok(())
}
