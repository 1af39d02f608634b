//! Rows as documents, and the commands that write them.

use mongodb::bson::{Bson, DateTime, Document, doc};

use crate::rows::{Cell, ColumnType, RowBatch, Schema, Values};

/// The members that every document carries beside the columns.
pub(super) const STAMP: [&str; 2] = ["epoch", "revision"];

/// Which write a document is from. Of two the larger one stays.
///
/// The sink writes whole epochs, provisional rows of update mode among them, so what it writes is revision 0. The
/// member is part of what documents promise: who compares them goes by (epoch, revision), as the sink's own guard does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Stamp {
    /// The epoch that it is part of.
    pub epoch: i64,
    /// The number of the write within the epoch, from 0.
    pub revision: i64,
}

/// The document of a row, without its stamp.
fn document<'a>(schema: &Schema, row: impl Iterator<Item = Cell<'a>>) -> Document {
    let member = |(column, cell): (&crate::rows::ColumnDef, Cell<'a>)| (column.name.to_string(), value(cell));
    schema.columns.iter().zip(row).map(member).collect()
}

fn value(cell: Cell<'_>) -> Bson {
    match cell {
        Cell::Null => Bson::Null,
        Cell::Int(value) => Bson::Int64(value),
        // -0.0 is read as 0.0 everywhere.
        Cell::Float(value) => Bson::Double(value + 0.0),
        Cell::Bool(value) => Bson::Boolean(value),
        Cell::Time(us) => Bson::DateTime(DateTime::from_millis(us.div_euclid(1000))),
        // `refuses` has seen to its being UTF-8.
        Cell::Text(text) => Bson::String(String::from_utf8_lossy(text).into_owned()),
    }
}

/// One row as it is upserted.
pub(super) struct Upsert {
    /// The key's members.
    pub(super) query: Document,
    /// All members, with the stamp.
    pub(super) document: Document,
    stamp: Stamp,
}

impl Upsert {
    pub(super) fn new<'a>(schema: &Schema, row: impl Iterator<Item = Cell<'a>>, stamp: Stamp) -> Upsert {
        let mut document = document(schema, row);
        let mut query = Document::new();
        for &column in &schema.key {
            let name = &*schema.columns[column].name;
            query.insert(name, document.get(name).cloned().unwrap_or(Bson::Null));
        }
        document.insert(STAMP[0], stamp.epoch);
        document.insert(STAMP[1], stamp.revision);
        Upsert { query, document, stamp }
    }

    /// The update: by the key, made where it is missing, and only over what an older write left.
    ///
    /// The condition is part of the update and not of the query, so that the query is the unique key alone: the
    /// server then tries by itself again what two writers insert at the same time.
    pub(super) fn update(&self) -> Document {
        let Stamp { epoch, revision } = self.stamp;
        let same_epoch_earlier =
            doc! { "$and": [{ "$eq": ["$epoch", epoch] }, { "$lt": ["$revision", revision] }] };
        let is_newer = doc! { "$or": [{ "$lt": ["$epoch", epoch] }, same_epoch_earlier] };
        // A literal, since a text that begins with '$' would be a path otherwise; merged, so that _id and what
        // others have added stay.
        let newer = doc! { "$mergeObjects": ["$$ROOT", { "$literal": &self.document }] };
        let stage = doc! { "$replaceWith": { "$cond": [is_newer, newer, "$$ROOT"] } };
        doc! { "q": &self.query, "u": [stage], "upsert": true }
    }
}

/// The command that makes the indexes of a collection: unique over the key, the first time of the key descending,
/// and `epoch`, which readers of changes go by.
pub(super) fn create_indexes(collection: &str, schema: &Schema) -> Document {
    let mut indexes = Vec::new();
    let names: Vec<&str> = schema.key.iter().map(|&column| &*schema.columns[column].name).collect();
    if !names.is_empty() {
        let key: Document = names.iter().map(|name| ((*name).to_owned(), Bson::Int32(1))).collect();
        let name = names.iter().map(|name| format!("{name}_1")).collect::<Vec<_>>().join("_");
        indexes.push(doc! { "key": key, "name": name, "unique": true });
    }
    let time = schema.key.iter().find(|&&column| schema.columns[column].kind == ColumnType::Time);
    if let Some(&time) = time {
        let time = &*schema.columns[time].name;
        indexes.push(doc! { "key": { time: -1 }, "name": format!("{time}_-1") });
    }
    indexes.push(doc! { "key": { STAMP[0]: 1 }, "name": "epoch_1" });
    doc! { "createIndexes": collection, "indexes": indexes }
}

/// What MongoDB cannot hold: bytes that are not UTF-8, and in a key times finer than its milliseconds, which would
/// make two rows one.
pub(super) fn refuses(schema: &Schema, rows: &RowBatch) -> Result<(), String> {
    for (number, (column, def)) in rows.columns().iter().zip(&schema.columns).enumerate() {
        let bad = match &column.values {
            Values::Text(texts)
                if (0..texts.len()).any(|row| std::str::from_utf8(texts.get(row)).is_err()) =>
            {
                "a text that is not UTF-8"
            }
            Values::Time(times) if schema.key.contains(&number) && times.iter().any(|us| us % 1000 != 0) => {
                "a time that is no whole millisecond, in a key: MongoDB keeps milliseconds; choose other windows"
            }
            _ => continue,
        };
        return Err(format!("column {:?} of table {:?} holds {bad}", def.name, schema.name));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rows::ColumnType::{Float, Int, Text, Time};

    fn schema() -> Schema {
        Schema::new("t", &[("s", Text), ("t", Time), ("v", Float), ("n", Int)], &["s", "t"]).nullable(&["v"])
    }

    fn row(sensor: &str, us: i64) -> RowBatch {
        let mut rows = schema().batch();
        rows.push(&[Cell::Text(sensor.as_bytes()), Cell::Time(us), Cell::Null, Cell::Int(7)]);
        rows
    }

    #[test]
    fn update_is_by_key_and_takes_values_literally() {
        let rows = row("$$ROOT", 1_705_312_800_000_000);
        let update = Upsert::new(&schema(), rows.row(0), Stamp { epoch: 3, revision: 0 }).update();
        let time = DateTime::from_millis(1_705_312_800_000);
        assert_eq!(update.get_document("q").unwrap(), &doc! { "s": "$$ROOT", "t": time });
        let text = update.to_string();
        assert!(text.contains(r#""$literal": { "s": "$$ROOT""#), "{text}");
        assert!(update.get_bool("upsert").unwrap());
    }

    #[test]
    fn indexes_are_those_of_the_key_the_time_and_the_epoch() {
        let command = create_indexes("c", &schema());
        let indexes = command.get_array("indexes").unwrap();
        let keys: Vec<_> =
            indexes.iter().map(|i| i.as_document().unwrap().get_document("key").unwrap().clone()).collect();
        assert_eq!(keys, [doc! { "s": 1, "t": 1 }, doc! { "t": -1 }, doc! { "epoch": 1 }]);
        assert!(indexes[0].as_document().unwrap().get_bool("unique").unwrap());
    }

    #[test]
    fn what_the_server_cannot_hold_is_refused() {
        assert_eq!(refuses(&schema(), &row("a", 5000)), Ok(()));
        assert!(
            refuses(&schema(), &row("a", 5001)).is_err_and(|cause| cause.contains("no whole millisecond"))
        );
        let mut bad = schema().batch();
        bad.push(&[Cell::Text(b"\xff"), Cell::Time(0), Cell::Null, Cell::Int(0)]);
        assert!(refuses(&schema(), &bad).is_err_and(|cause| cause.contains("UTF-8")));
    }

    #[test]
    fn later_epoch_counts_more_than_revisions() {
        assert!(Stamp { epoch: 2, revision: 0 } > Stamp { epoch: 1, revision: 9 });
    }
}
