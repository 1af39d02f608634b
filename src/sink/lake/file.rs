//! A Parquet file of the lake while it is written: row groups of one schema.

use std::sync::Arc;

use parquet::basic::{Compression, Encoding, LogicalType, Repetition, TimeUnit, Type as Physical, ZstdLevel};
use parquet::data_type::{BoolType, ByteArray, ByteArrayType, DoubleType, Int64Type};
use parquet::errors::ParquetError;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::file::writer::{SerializedColumnWriter, SerializedFileWriter};
use parquet::schema::types::{ColumnPath, Type};

use super::buffer::{Buffer, BufferColumn, Present};
use crate::rows::ColumnType;
use crate::sink::disk::DiskFile;

/// Texts are handed to the encoder in pieces of this many rows, which stay in the cache.
const PIECE: usize = 8192;

/// A file that begins with less than this is written plainly: setting up compression and dictionaries would
/// cost more than they save, milliseconds where there are a hundred columns.
const PLAIN_BELOW: usize = 64 << 10;

/// A column as a file declares it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct FileColumn {
    name: String,
    kind: ColumnType,
    nullable: bool,
}

/// A file being written.
pub(super) struct OpenFile {
    columns: Vec<FileColumn>,
    writer: SerializedFileWriter<DiskFile>,
    pub(super) rows: u64,
    /// Which of the epoch's files it is.
    pub(super) seq: u64,
}

impl OpenFile {
    /// Begins a file with the columns of `buffer`: the fixed ones in their order, then those called `x_…` by
    /// name, and `x_rest` last.
    pub(super) fn create(file: DiskFile, seq: u64, buffer: &Buffer) -> Result<Self, ParquetError> {
        let declare = |column: &BufferColumn| FileColumn {
            name: column.name.clone(),
            kind: column.kind(),
            nullable: column.nullable,
        };
        let mut columns: Vec<_> = buffer.columns.iter().map(declare).collect();
        columns.sort_by(|a, b| rank(&a.name).cmp(&rank(&b.name)));
        let fields = columns.iter().map(field).collect::<Result<_, _>>()?;
        let plain = buffer.byte_len() < PLAIN_BELOW;
        let root = Type::group_type_builder("schema").with_fields(fields).build()?;
        let writer = SerializedFileWriter::new(file, Arc::new(root), Arc::new(properties(&columns, plain)?))?;
        Ok(OpenFile { columns, writer, rows: 0, seq })
    }

    /// Whether the rows of `buffer` can be a row group of this file.
    pub(super) fn takes(&self, buffer: &Buffer) -> bool {
        let declared = |column: &BufferColumn| {
            let same = |c: &&FileColumn| c.name == column.name && c.kind == column.kind();
            self.columns.iter().find(same).is_some_and(|c| c.nullable || !column.nullable)
        };
        let present = |column: &FileColumn| buffer.columns.iter().any(|c| c.name == column.name);
        buffer.columns.iter().all(declared) && self.columns.iter().all(|c| c.nullable || present(c))
    }

    /// About how many bytes were written.
    pub(super) fn byte_len(&self) -> usize {
        self.writer.bytes_written()
    }

    /// Writes the rows of `buffer`, which the file [`takes`](Self::takes), as a row group.
    pub(super) fn write(&mut self, buffer: Buffer) -> Result<(), ParquetError> {
        let rows = buffer.rows();
        let mut waiting: Vec<_> = buffer.columns.into_iter().map(Some).collect();
        let mut group = self.writer.next_row_group()?;
        for (at, declared) in self.columns.iter().enumerate() {
            let Some(mut writer) = group.next_column()? else { break };
            // Mostly in the same order.
            let is_it = |c: &Option<BufferColumn>| c.as_ref().is_some_and(|c| c.name == declared.name);
            let found =
                if waiting.get(at).is_some_and(is_it) { Some(at) } else { waiting.iter().position(is_it) };
            match found.and_then(|found| waiting[found].take()) {
                Some(column) => write_column(&mut writer, column, declared.nullable, rows)?,
                None => write_nulls(&mut writer, declared.kind, rows)?,
            }
            writer.close()?;
        }
        group.close()?;
        self.rows += rows as u64;
        Ok(())
    }

    /// Writes the footer and gives the file back.
    pub(super) fn close(self) -> Result<DiskFile, ParquetError> {
        self.writer.into_inner()
    }
}

/// Where a column stands: fixed ones keep their order, as the sort is stable.
fn rank(name: &str) -> (u8, &str) {
    match name {
        "x_rest" => (2, ""),
        name if name.starts_with("x_") => (1, name),
        _ => (0, ""),
    }
}

fn field(column: &FileColumn) -> Result<Arc<Type>, ParquetError> {
    let (physical, logical) = match column.kind {
        ColumnType::Int => (Physical::INT64, None),
        ColumnType::Float => (Physical::DOUBLE, None),
        ColumnType::Bool => (Physical::BOOLEAN, None),
        ColumnType::Time => (Physical::INT64, Some(LogicalType::timestamp(true, TimeUnit::MICROS))),
        ColumnType::Text => (Physical::BYTE_ARRAY, Some(LogicalType::String)),
    };
    let repetition = if column.nullable { Repetition::OPTIONAL } else { Repetition::REQUIRED };
    let field = Type::primitive_type_builder(&column.name, physical)
        .with_repetition(repetition)
        .with_logical_type(logical)
        .build()?;
    Ok(Arc::new(field))
}

/// Offsets and times grow in small steps, which delta encoding makes a few bits each; a dictionary of them
/// would only cost. Text and measurements repeat, so they keep theirs.
fn properties(columns: &[FileColumn], plain: bool) -> Result<WriterProperties, ParquetError> {
    let mut builder = WriterProperties::builder()
        .set_created_by(concat!("tidegate ", env!("CARGO_PKG_VERSION")).to_owned())
        .set_statistics_enabled(EnabledStatistics::Chunk);
    if plain {
        return Ok(builder.set_dictionary_enabled(false).set_compression(Compression::UNCOMPRESSED).build());
    }
    builder = builder.set_compression(Compression::ZSTD(ZstdLevel::try_new(1)?));
    for column in columns {
        let path = ColumnPath::new(vec![column.name.clone()]);
        builder = match column.kind {
            ColumnType::Int | ColumnType::Time => builder
                .set_column_dictionary_enabled(path.clone(), false)
                .set_column_encoding(path, Encoding::DELTA_BINARY_PACKED),
            // The least and the greatest text of a file exclude next to nothing, and every value is compared.
            ColumnType::Text => builder.set_column_statistics_enabled(path, EnabledStatistics::None),
            ColumnType::Float | ColumnType::Bool => builder,
        };
    }
    Ok(builder.build())
}

fn write_column(
    writer: &mut SerializedColumnWriter<'_>,
    column: BufferColumn,
    nullable: bool,
    rows: usize,
) -> Result<(), ParquetError> {
    let mut levels = column.levels;
    if levels.is_empty() {
        levels.resize(if nullable { rows } else { 0 }, 1);
    }
    let levels = nullable.then_some(&levels[..]);
    match column.values {
        Present::Int(values) | Present::Time(values) => {
            writer.typed::<Int64Type>().write_batch(&values, levels, None)?;
        }
        Present::Float(values) => {
            writer.typed::<DoubleType>().write_batch(&values, levels, None)?;
        }
        Present::Bool(values) => {
            writer.typed::<BoolType>().write_batch(&values, levels, None)?;
        }
        Present::Text { bytes, ends } => write_text(writer, bytes, &ends, levels, rows)?,
    }
    Ok(())
}

fn write_text(
    writer: &mut SerializedColumnWriter<'_>,
    bytes: Vec<u8>,
    ends: &[usize],
    levels: Option<&[i16]>,
    rows: usize,
) -> Result<(), ParquetError> {
    // One allocation that all values share.
    let all = ByteArray::from(bytes);
    let mut values = Vec::with_capacity(PIECE);
    let (mut start, mut taken) = (0, 0);
    for first in (0..rows).step_by(PIECE) {
        let piece = first..rows.min(first + PIECE);
        let levels = levels.map(|levels| &levels[piece.clone()]);
        let present = levels.map_or(piece.len(), |levels| levels.iter().filter(|&&level| level == 1).count());
        values.clear();
        for &end in &ends[taken..taken + present] {
            values.push(all.slice(start, end - start));
            start = end;
        }
        taken += present;
        writer.typed::<ByteArrayType>().write_batch(&values, levels, None)?;
    }
    Ok(())
}

/// A column that none of the row group's rows has.
fn write_nulls(
    writer: &mut SerializedColumnWriter<'_>,
    kind: ColumnType,
    rows: usize,
) -> Result<(), ParquetError> {
    let levels = vec![0; rows];
    let levels = Some(&levels[..]);
    match kind {
        ColumnType::Int | ColumnType::Time => writer.typed::<Int64Type>().write_batch(&[], levels, None)?,
        ColumnType::Float => writer.typed::<DoubleType>().write_batch(&[], levels, None)?,
        ColumnType::Bool => writer.typed::<BoolType>().write_batch(&[], levels, None)?,
        ColumnType::Text => writer.typed::<ByteArrayType>().write_batch(&[], levels, None)?,
    };
    Ok(())
}

impl std::fmt::Debug for OpenFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OpenFile").field("seq", &self.seq).field("rows", &self.rows).finish_non_exhaustive()
    }
}
