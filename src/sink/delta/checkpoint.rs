//! A checkpoint of a Delta table: its actions as rows of a Parquet file, one column a member.
//!
//! The columns are nested, so a value comes with two levels (Dremel's): how much of its path is there, and whether it
//! goes on with the list before it. With one optional group around everything and lists of plain values below, the
//! levels follow from what an action has ([`Leaf`]).

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::Arc;

use bytes::Bytes;
use parquet::data_type::{BoolType, ByteArray, ByteArrayType, Int32Type, Int64Type};
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::file::writer::{SerializedColumnWriter, SerializedFileWriter};
use parquet::record::{Field, Row};
use parquet::schema::parser::parse_message_type;
use serde_json::{Map, Value};

use super::action::Action;

const SCHEMA: &str = "
message checkpoint {
  optional group txn {
    required binary appId (STRING); required int64 version; optional int64 lastUpdated;
  }
  optional group add {
    required binary path (STRING);
    required group partitionValues (MAP) {
      repeated group key_value { required binary key (STRING); optional binary value (STRING); }
    }
    required int64 size; required int64 modificationTime; required boolean dataChange;
    optional binary stats (STRING);
  }
  optional group remove {
    required binary path (STRING); optional int64 deletionTimestamp; required boolean dataChange;
  }
  optional group metaData {
    required binary id (STRING); optional binary name (STRING);
    required group format {
      required binary provider (STRING);
      required group options (MAP) {
        repeated group key_value { required binary key (STRING); optional binary value (STRING); }
      }
    }
    required binary schemaString (STRING);
    required group partitionColumns (LIST) { repeated group list { optional binary element (STRING); } }
    required group configuration (MAP) {
      repeated group key_value { required binary key (STRING); optional binary value (STRING); }
    }
    optional int64 createdTime;
  }
  optional group protocol { required int32 minReaderVersion; required int32 minWriterVersion; }
}";

/// What an action has in one column.
enum Leaf {
    /// It is of another kind.
    Absent,
    /// A value, or none where it may be lacking.
    One(Option<Scalar>),
    /// The values of a list or a map.
    Many(Vec<Option<Scalar>>),
}

enum Scalar {
    Text(String),
    Long(i64),
    Int(i32),
    Bool(bool),
}

fn text(value: &str) -> Leaf {
    Leaf::One(Some(Scalar::Text(value.to_owned())))
}

fn maybe_text(value: &Option<String>) -> Leaf {
    Leaf::One(value.clone().map(Scalar::Text))
}

fn long(value: i64) -> Leaf {
    Leaf::One(Some(Scalar::Long(value)))
}

fn flag(value: bool) -> Leaf {
    Leaf::One(Some(Scalar::Bool(value)))
}

fn keys(map: &BTreeMap<String, Option<String>>) -> Leaf {
    Leaf::Many(map.keys().map(|key| Some(Scalar::Text(key.clone()))).collect())
}

fn values(map: &BTreeMap<String, Option<String>>) -> Leaf {
    Leaf::Many(map.values().map(|value| value.clone().map(Scalar::Text)).collect())
}

/// What `action` has in the column called `path`.
fn leaf(action: &Action, path: &str) -> Leaf {
    match (action, path) {
        (Action::Txn(it), "txn.appId") => text(&it.app_id),
        (Action::Txn(it), "txn.version") => long(it.version),
        (Action::Txn(it), "txn.lastUpdated") => Leaf::One(it.last_updated.map(Scalar::Long)),
        (Action::Add(it), "add.path") => text(&it.path),
        (Action::Add(it), "add.partitionValues.key_value.key") => keys(&it.partition_values),
        (Action::Add(it), "add.partitionValues.key_value.value") => values(&it.partition_values),
        (Action::Add(it), "add.size") => long(it.size),
        (Action::Add(it), "add.modificationTime") => long(it.modification_time),
        // In a checkpoint nothing is new.
        (Action::Add(_), "add.dataChange") => flag(false),
        (Action::Add(it), "add.stats") => maybe_text(&it.stats),
        (Action::Remove(it), "remove.path") => text(&it.path),
        (Action::Remove(it), "remove.deletionTimestamp") => {
            Leaf::One(it.deletion_timestamp.map(Scalar::Long))
        }
        (Action::Remove(_), "remove.dataChange") => flag(false),
        (Action::MetaData(it), "metaData.id") => text(&it.id),
        (Action::MetaData(it), "metaData.name") => maybe_text(&it.name),
        (Action::MetaData(it), "metaData.format.provider") => text(&it.format.provider),
        (Action::MetaData(it), "metaData.format.options.key_value.key") => keys(&it.format.options),
        (Action::MetaData(it), "metaData.format.options.key_value.value") => values(&it.format.options),
        (Action::MetaData(it), "metaData.schemaString") => text(&it.schema_string),
        (Action::MetaData(it), "metaData.partitionColumns.list.element") => {
            Leaf::Many(it.partition_columns.iter().map(|name| Some(Scalar::Text(name.clone()))).collect())
        }
        (Action::MetaData(it), "metaData.configuration.key_value.key") => keys(&it.configuration),
        (Action::MetaData(it), "metaData.configuration.key_value.value") => values(&it.configuration),
        (Action::MetaData(it), "metaData.createdTime") => Leaf::One(it.created_time.map(Scalar::Long)),
        (Action::Protocol(it), "protocol.minReaderVersion") => {
            Leaf::One(Some(Scalar::Int(it.min_reader_version)))
        }
        (Action::Protocol(it), "protocol.minWriterVersion") => {
            Leaf::One(Some(Scalar::Int(it.min_writer_version)))
        }
        _ => Leaf::Absent,
    }
}

/// A column's values and levels.
#[derive(Default)]
struct Levelled {
    texts: Vec<ByteArray>,
    longs: Vec<i64>,
    ints: Vec<i32>,
    bools: Vec<bool>,
    definition: Vec<i16>,
    repetition: Vec<i16>,
}

impl Levelled {
    fn push(&mut self, value: Option<Scalar>, deepest: i16, repeats: bool) {
        self.definition.push(if value.is_some() { deepest } else { deepest - 1 });
        self.repetition.push(i16::from(repeats));
        match value {
            Some(Scalar::Text(text)) => self.texts.push(text.into_bytes().into()),
            Some(Scalar::Long(value)) => self.longs.push(value),
            Some(Scalar::Int(value)) => self.ints.push(value),
            Some(Scalar::Bool(value)) => self.bools.push(value),
            None => {}
        }
    }

    fn none(&mut self, definition: i16) {
        self.definition.push(definition);
        self.repetition.push(0);
    }

    fn write(&self, writer: &mut SerializedColumnWriter<'_>, repeated: bool) -> Result<(), ParquetError> {
        let definition = Some(&self.definition[..]);
        let repetition = repeated.then_some(&self.repetition[..]);
        if !self.longs.is_empty() {
            writer.typed::<Int64Type>().write_batch(&self.longs, definition, repetition)?;
        } else if !self.ints.is_empty() {
            writer.typed::<Int32Type>().write_batch(&self.ints, definition, repetition)?;
        } else if !self.bools.is_empty() {
            writer.typed::<BoolType>().write_batch(&self.bools, definition, repetition)?;
        } else if !self.texts.is_empty() {
            writer.typed::<ByteArrayType>().write_batch(&self.texts, definition, repetition)?;
        } else {
            self.write_empty(writer, definition, repetition)?;
        }
        Ok(())
    }

    /// No action has anything in the column, whose type then only the file knows.
    fn write_empty(
        &self,
        writer: &mut SerializedColumnWriter<'_>,
        definition: Option<&[i16]>,
        repetition: Option<&[i16]>,
    ) -> Result<(), ParquetError> {
        use parquet::column::writer::ColumnWriter::{BoolColumnWriter, Int32ColumnWriter, Int64ColumnWriter};
        match writer.untyped() {
            Int64ColumnWriter(writer) => writer.write_batch(&[], definition, repetition).map(drop),
            Int32ColumnWriter(writer) => writer.write_batch(&[], definition, repetition).map(drop),
            BoolColumnWriter(writer) => writer.write_batch(&[], definition, repetition).map(drop),
            parquet::column::writer::ColumnWriter::ByteArrayColumnWriter(writer) => {
                writer.write_batch(&[], definition, repetition).map(drop)
            }
            _ => Err(ParquetError::General("a checkpoint has no column of that type".to_owned())),
        }
    }
}

/// Writes a checkpoint of `actions` to `file` and gives it back.
pub(super) fn write<W: Write + Send>(file: W, actions: &[Action]) -> Result<W, String> {
    write_to(file, actions).map_err(|error| format!("cannot write the checkpoint: {error}"))
}

fn write_to<W: Write + Send>(file: W, actions: &[Action]) -> Result<W, ParquetError> {
    let schema = Arc::new(parse_message_type(SCHEMA)?);
    let properties = WriterProperties::builder()
        .set_created_by(concat!("tidegate ", env!("CARGO_PKG_VERSION")).to_owned())
        .build();
    let mut writer = SerializedFileWriter::new(file, schema, Arc::new(properties))?;
    let columns = writer.schema_descr().columns().to_vec();
    let mut group = writer.next_row_group()?;
    for column in &columns {
        let Some(mut of_column) = group.next_column()? else { break };
        let (path, deepest) = (column.path().string(), column.max_def_level());
        let mut levelled = Levelled::default();
        for action in actions {
            match leaf(action, &path) {
                Leaf::Absent => levelled.none(0),
                Leaf::One(value) => levelled.push(value, deepest, false),
                Leaf::Many(values) if values.is_empty() => levelled.none(1),
                Leaf::Many(values) => {
                    for (i, value) in values.into_iter().enumerate() {
                        levelled.push(value, deepest, i > 0);
                    }
                }
            }
        }
        levelled.write(&mut of_column, column.max_rep_level() > 0)?;
        of_column.close()?;
    }
    group.close()?;
    writer.into_inner()
}

/// The actions of a checkpoint's `bytes`, whoever wrote it; of kinds that tidegate has no use for, none.
pub(super) fn read(bytes: Vec<u8>) -> Result<Vec<Action>, String> {
    let reader = SerializedFileReader::new(Bytes::from(bytes)).map_err(|error| error.to_string())?;
    let mut actions = Vec::new();
    for row in reader.get_row_iter(None).map_err(|error| error.to_string())? {
        let row = row.map_err(|error| error.to_string())?;
        let present: Map<String, Value> =
            object(&row).into_iter().filter(|(_, value)| !value.is_null()).collect();
        actions.extend(Action::read(Value::Object(present))?);
    }
    Ok(actions)
}

fn object(row: &Row) -> Map<String, Value> {
    row.get_column_iter().map(|(name, field)| (name.clone(), json(field))).collect()
}

fn json(field: &Field) -> Value {
    match field {
        Field::Bool(value) => (*value).into(),
        Field::Int(value) => (*value).into(),
        Field::Long(value) => (*value).into(),
        Field::Str(value) => value.clone().into(),
        Field::Group(row) => Value::Object(object(row)),
        Field::ListInternal(list) => list.elements().iter().map(json).collect(),
        Field::MapInternal(map) => {
            let entry = |(key, value): &(Field, Field)| Some((json(key).as_str()?.to_owned(), json(value)));
            Value::Object(map.entries().iter().filter_map(entry).collect())
        }
        _ => Value::Null,
    }
}
