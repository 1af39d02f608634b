//! Reads a collection back: whole, to be compared, or what has changed since an epoch.

use mongodb::bson::{Bson, Document, doc};

use super::config::Config;
use super::connection::Connection;
use super::document::{STAMP, Stamp};
use super::error::Fault;
use crate::rows::{Cell, ColumnType, Schema};
use crate::sink::SinkError;

/// The cells of a document, or what is wrong with it.
pub type Found<'a> = Result<&'a [Cell<'a>], String>;

/// Reads what was written to a collection since an epoch, over and over.
#[derive(Debug)]
pub struct Changes {
    connection: Connection,
    collection: String,
}

impl Changes {
    /// Opens `collection`; the server is reached by the first read.
    ///
    /// # Errors
    /// When the connection string is wrong.
    pub fn open(config: &Config, collection: &str) -> Result<Changes, SinkError> {
        Ok(Changes { connection: Connection::open(config, "mongo")?, collection: collection.to_owned() })
    }

    /// The newest epoch that a document is from; `None` where no document is from an epoch.
    ///
    /// Epochs are committed one after the other, so whatever is written after this look is of that epoch or a later
    /// one.
    ///
    /// # Errors
    /// When the server cannot be reached or refuses.
    pub fn newest(&self) -> Result<Option<i64>, SinkError> {
        // In the order of all values a text would be more than any number.
        let numbers = doc! { STAMP[0]: { "$type": "number" } };
        let found = self.connection.first(&self.collection, numbers, doc! { STAMP[0]: -1 });
        let found = found.map_err(|fault| self.lift(fault))?;
        Ok(found.map(|document| super::number(&document, STAMP[0])))
    }

    /// Gives the rows of `schema` from epoch `from` to epoch `to`, both included, in the order of epochs; with `None`
    /// from the first on.
    ///
    /// A document that does not fit the schema is given as what is wrong with it, with its `_id`. One without a stamp,
    /// which another program has written, counts as of epoch 0, and is among those that `None` gives.
    ///
    /// A document that is written while this reads moves to another place in the order, and may be missed. With what
    /// [`newest`](Changes::newest) has said before as `to`, it is then from `to` or a later epoch: without that bound
    /// it may be from any epoch that was committed since the reading began, however far the reading has come.
    ///
    /// # Errors
    /// When the server cannot be reached or refuses, and those of `each`.
    pub fn since(
        &self,
        schema: &Schema,
        from: Option<i64>,
        to: i64,
        each: &mut dyn FnMut(Stamp, Found<'_>) -> Result<(), SinkError>,
    ) -> Result<(), SinkError> {
        self.read(schema, between(from, to), doc! { STAMP[0]: 1 }, each)
    }

    fn lift(&self, fault: Fault) -> SinkError {
        fault.of("mongo", self.connection.config(), &format!("reading {:?}", self.collection))
    }

    fn read(
        &self,
        schema: &Schema,
        filter: Document,
        sort: Document,
        each: &mut dyn FnMut(Stamp, Found<'_>) -> Result<(), SinkError>,
    ) -> Result<(), SinkError> {
        let found = self.connection.find(&self.collection, filter, sort, &mut |document| {
            let stamp = Stamp {
                epoch: super::number(&document, STAMP[0]),
                revision: super::number(&document, STAMP[1]),
            };
            let cells: Result<Vec<Cell<'_>>, String> = schema
                .columns
                .iter()
                .map(|column| cell(column.kind, column.nullable, &column.name, document.get(&*column.name)))
                .collect();
            match cells {
                Ok(cells) => each(stamp, Ok(&cells)),
                Err(what) => {
                    let id = document.get("_id").map(ToString::to_string).unwrap_or_default();
                    each(stamp, Err(format!("document {id}: {what}")))
                }
            }
        });
        found.map_err(|fault| self.lift(fault))
    }
}

/// The documents from epoch `from` to epoch `to`.
fn between(from: Option<i64>, to: i64) -> Document {
    match from {
        Some(from) => doc! { STAMP[0]: { "$gte": from, "$lte": to } },
        // Not `$lte`, which passes over documents whose epoch is missing or no number.
        None => doc! { STAMP[0]: { "$not": { "$gt": to } } },
    }
}

/// The value of a member as a cell of a column.
fn cell<'d>(
    kind: ColumnType,
    nullable: bool,
    name: &str,
    value: Option<&'d Bson>,
) -> Result<Cell<'d>, String> {
    let value = value.unwrap_or(&Bson::Null);
    Ok(match (kind, value) {
        (_, Bson::Null) if nullable => Cell::Null,
        (ColumnType::Int, Bson::Int32(number)) => Cell::Int(i64::from(*number)),
        (ColumnType::Int, Bson::Int64(number)) => Cell::Int(*number),
        (ColumnType::Int, Bson::Double(number)) if number.fract() == 0.0 && number.abs() < 9e15 => {
            Cell::Int(*number as i64)
        }
        (ColumnType::Float, Bson::Double(number)) => Cell::Float(*number),
        (ColumnType::Float, Bson::Int32(number)) => Cell::Float(f64::from(*number)),
        (ColumnType::Float, Bson::Int64(number)) => Cell::Float(*number as f64),
        (ColumnType::Bool, Bson::Boolean(value)) => Cell::Bool(*value),
        (ColumnType::Time, Bson::DateTime(time)) => Cell::Time(time.timestamp_millis().saturating_mul(1000)),
        (ColumnType::Text, Bson::String(text)) => Cell::Text(text.as_bytes()),
        (_, Bson::Null) => return Err(format!("{name:?} is missing")),
        _ => return Err(format!("{name:?} is not of type {kind:?}")),
    })
}

/// The last epoch that the sink called `sink` has committed, by whatever process; `None` before the first.
///
/// # Errors
/// When the server cannot be reached or refuses.
pub fn committed(config: &Config, sink: &str) -> Result<Option<u64>, SinkError> {
    let connection = Connection::open(config, sink)?;
    let mark = connection.first(super::MARKS, doc! { "_id": sink }, doc! {});
    let mark = mark.map_err(|fault| fault.of(sink, config, "reading the mark"))?;
    Ok(mark.and_then(|mark| mark.get_i64("epoch").ok()).and_then(|epoch| u64::try_from(epoch).ok()))
}

/// Gives every row of `collection`, as texts; null is `None`. The texts are those of `sink::sqlite::read_rows`; the
/// order is the server's.
///
/// # Errors
/// When the server cannot be reached or refuses, or a document does not fit the schema.
pub fn read_rows(
    config: &Config,
    collection: &str,
    schema: &Schema,
    row: &mut dyn FnMut(Vec<Option<String>>),
) -> Result<(), SinkError> {
    let all = Changes::open(config, collection)?;
    all.read(schema, Document::new(), Document::new(), &mut |_, cells| {
        let cells = cells.map_err(|cause| SinkError::Failed { sink: "mongo".to_owned(), cause })?;
        row(cells.iter().map(|cell| cell.to_text()).collect());
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use mongodb::bson::DateTime;

    use super::*;
    use ColumnType::{Float, Int, Text, Time};

    #[test]
    fn documents_without_an_epoch_are_among_those_from_the_first_on() {
        assert_eq!(between(Some(3), 5), doc! { "epoch": { "$gte": 3_i64, "$lte": 5_i64 } });
        assert_eq!(between(None, 5), doc! { "epoch": { "$not": { "$gt": 5_i64 } } });
    }

    #[test]
    fn members_are_read_by_the_type_of_the_column() {
        let read = |kind, value: Bson| cell(kind, false, "m", Some(&value)).map(Cell::to_text);
        assert_eq!(read(Int, Bson::Double(3.0)), Ok(Some("3".into())));
        assert_eq!(read(Float, Bson::Int32(3)), Ok(Some("3.0".into())));
        assert_eq!(
            read(Time, DateTime::from_millis(1).into()),
            Ok(Some("1970-01-01T00:00:00.001000Z".into()))
        );
        assert_eq!(cell(Text, true, "m", None), Ok(Cell::Null));
        assert_eq!(cell(Text, false, "m", None), Err("\"m\" is missing".into()));
        assert!(read(Int, Bson::Double(0.5)).is_err());
        assert!(read(Int, "3".into()).is_err());
    }
}
