//! Reading the lake's files back, as rows in columns.
//!
//! Only what tidegate writes is read: flat columns of the five types. What a reader of the tree takes from the path,
//! the values of partition columns, it takes from [`partition_values`].

use bytes::Bytes;
use parquet::basic::{ConvertedType, LogicalType, Type as Physical};
use parquet::column::reader::{ColumnReaderImpl, get_typed_column_reader};
use parquet::data_type::{BoolType, ByteArrayType, DataType, DoubleType, Int64Type};
use parquet::errors::ParquetError;
use parquet::file::reader::{FileReader, RowGroupReader, SerializedFileReader};
use parquet::schema::types::ColumnDescriptor;

use super::directory::EMPTY;
use crate::rows::{Cell, Column, ColumnDef, ColumnType, RowBatch, Schema};

/// Rows of a file: its columns, and a batch a row group.
#[derive(Debug)]
pub struct FileRows {
    /// The columns, in the order of the file.
    pub schema: Schema,
    /// The rows.
    pub batches: Vec<RowBatch>,
}

/// Reads the columns of a Parquet file whose names are `wanted`.
///
/// # Errors
/// Says what is wrong with the file, or which column tidegate does not write.
pub fn read_file(bytes: Vec<u8>, wanted: &dyn Fn(&str) -> bool) -> Result<FileRows, String> {
    let reader = SerializedFileReader::new(Bytes::from(bytes)).map_err(reason)?;
    let columns = reader.metadata().file_metadata().schema_descr().columns().to_vec();
    let chosen: Vec<usize> = (0..columns.len()).filter(|&at| wanted(columns[at].name())).collect();
    let mut defs = Vec::with_capacity(chosen.len());
    for column in chosen.iter().map(|&at| &columns[at]) {
        let name = column.name().to_owned();
        let kind = kind_of(column).ok_or_else(|| format!("column {name:?} is of a type that is not read"))?;
        defs.push(ColumnDef { name: name.into(), kind, nullable: column.max_def_level() > 0 });
    }
    let schema = Schema { name: "lake".into(), columns: defs, key: Vec::new() };
    let mut batches = Vec::new();
    for group in 0..reader.num_row_groups() {
        let group = reader.get_row_group(group).map_err(reason)?;
        let rows = group.metadata().num_rows() as usize;
        let columns = chosen.iter().zip(&schema.columns);
        let columns = columns.map(|(&at, def)| column(&*group, at, def, rows)).collect::<Result<_, _>>();
        batches.push(RowBatch::of_columns(columns.map_err(reason)?, rows));
    }
    Ok(FileRows { schema, batches })
}

fn kind_of(column: &ColumnDescriptor) -> Option<ColumnType> {
    if column.max_rep_level() > 0 || column.max_def_level() > 1 {
        return None;
    }
    match (column.physical_type(), column.logical_type_ref(), column.converted_type()) {
        (Physical::INT64, Some(LogicalType::Timestamp(_)), _) => Some(ColumnType::Time),
        (Physical::INT64, None, ConvertedType::NONE) => Some(ColumnType::Int),
        (Physical::DOUBLE, ..) => Some(ColumnType::Float),
        (Physical::BOOLEAN, ..) => Some(ColumnType::Bool),
        (Physical::BYTE_ARRAY, ..) => Some(ColumnType::Text),
        _ => None,
    }
}

fn column(
    group: &dyn RowGroupReader,
    at: usize,
    def: &ColumnDef,
    rows: usize,
) -> Result<Column, ParquetError> {
    let reader = group.get_column_reader(at)?;
    let mut column = Column::new(def.kind);
    let nullable = def.nullable;
    match def.kind {
        ColumnType::Int => fill::<Int64Type>(get_typed_column_reader(reader), nullable, rows, |value| {
            column.push(value.map_or(Cell::Null, |value| Cell::Int(*value)));
        }),
        ColumnType::Time => fill::<Int64Type>(get_typed_column_reader(reader), nullable, rows, |value| {
            column.push(value.map_or(Cell::Null, |value| Cell::Time(*value)));
        }),
        ColumnType::Float => fill::<DoubleType>(get_typed_column_reader(reader), nullable, rows, |value| {
            column.push(value.map_or(Cell::Null, |value| Cell::Float(*value)));
        }),
        ColumnType::Bool => fill::<BoolType>(get_typed_column_reader(reader), nullable, rows, |value| {
            column.push(value.map_or(Cell::Null, |value| Cell::Bool(*value)));
        }),
        ColumnType::Text => fill::<ByteArrayType>(get_typed_column_reader(reader), nullable, rows, |value| {
            column.push(value.map_or(Cell::Null, |value| Cell::Text(value.data())));
        }),
    }?;
    Ok(column)
}

fn fill<T: DataType>(
    mut reader: ColumnReaderImpl<T>,
    nullable: bool,
    rows: usize,
    mut push: impl FnMut(Option<&T::T>),
) -> Result<(), ParquetError> {
    let (mut levels, mut values) = (Vec::new(), Vec::new());
    let mut read = 0;
    while read < rows {
        let (more, _, _) =
            reader.read_records(rows - read, nullable.then_some(&mut levels), None, &mut values)?;
        if more == 0 {
            return Err(ParquetError::General(format!("{read} rows in place of {rows}")));
        }
        read += more;
    }
    if !nullable {
        values.iter().for_each(|value| push(Some(value)));
        return Ok(());
    }
    let mut values = values.iter();
    levels.iter().for_each(|level| push(if *level == 0 { None } else { values.next() }));
    Ok(())
}

fn reason(error: ParquetError) -> String {
    format!("cannot read the Parquet file: {error}")
}

/// The partition columns of a file, from its path below the lake: names and values, as they were before they were escaped.
///
/// # Examples
/// ```
/// use tidegate::sink::lake::partition_values;
/// let values = partition_values("year=2024/name=..%2Fa b/part-1.parquet");
/// assert_eq!(values, [("year".to_owned(), "2024".to_owned()), ("name".to_owned(), "../a b".to_owned())]);
/// ```
pub fn partition_values(path: &str) -> Vec<(String, String)> {
    let levels = path.rsplit_once('/').map_or("", |(dir, _)| dir).split('/');
    let value = |value: &str| if value == EMPTY { String::new() } else { unescape(value) };
    levels.filter_map(|level| level.split_once('=')).map(|(name, of)| (unescape(name), value(of))).collect()
}

fn unescape(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let digits = tail.get(..2).and_then(|digits| std::str::from_utf8(digits).ok());
        let escaped =
            digits.filter(|_| *first == b'%').and_then(|digits| u8::from_str_radix(digits, 16).ok());
        bytes.push(escaped.unwrap_or(*first));
        rest = if escaped.is_some() { &tail[2..] } else { tail };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::sink::lake::partition_dir;

    proptest! {
        #[test]
        fn partition_values_come_back(name in "[a-z=%/]{1,8}", value in any::<String>()) {
            let path = format!("{}/part.parquet", partition_dir([(&*name, &*value)]));
            prop_assert_eq!(partition_values(&path), [(name, value)]);
        }
    }
}
