//! Audits lakes: the rows of the files that their own manifests list, or, of a Delta table, its newest version.
//!
//! Files and their directories do not matter: the rows of a lake that was compacted are those of one that was not. A
//! column that is null is one that is not there, since a file has the columns that its rows have.

use std::sync::Arc;

use tidegate::sink::SinkError;
use tidegate::sink::delta::Log;
use tidegate::sink::lake::{LakeIndex, partition_values, read_file};
use tidegate::storage::{Storage, StorageError};

use super::compare::{Audit, Comparison, Row, is_compared, push_cell};
use crate::pipeline::Pipeline;

/// The columns that say which record a row is from.
pub(super) const ORIGIN: [&str; 3] = ["kafka_topic", "kafka_partition", "kafka_offset"];

/// What tells rows apart that are not from one record: those of `hydraulic`.
const SECOND: [&str; 2] = ["window_start", "cycle"];

/// Levels of directories that repeat `window_start`, and become columns when a compaction merges across them.
const REPEATED: [&str; 6] = ["year", "month", "day", "hour", "minute", "second"];

/// How many files are read at once.
const AT_ONCE: usize = 64;

/// A table in a place of files.
struct Sheet {
    /// What it is called; a Delta table's directory.
    name: String,
    is_delta: bool,
    /// What tells its rows apart; the first of these whose columns a file has.
    keys: Vec<Vec<String>>,
    /// Whether a key has one row.
    is_unique: bool,
}

fn sheets(pipeline: &dyn Pipeline, dir: &str) -> Vec<Sheet> {
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    let delta = pipeline.delta();
    if delta.is_empty() {
        let keys = vec![names(&ORIGIN), names(&SECOND)];
        return vec![Sheet { name: dir.to_owned(), is_delta: false, keys, is_unique: true }];
    }
    // A record may give many rows of one table.
    let of_records = delta.iter().map(|table| (table, vec![names(&ORIGIN)], false));
    let rows = pipeline.delta_rows();
    let of_rows = rows.iter().map(|table| {
        let schema = &table.schema;
        let key = schema.key.iter().map(|column| schema.columns[*column].name.to_string()).collect();
        (table, vec![key], true)
    });
    let sheet = |(table, keys, is_unique): (&tidegate::sink::delta::DeltaTable, _, _)| Sheet {
        name: table.schema.name.to_string(),
        is_delta: true,
        keys,
        is_unique,
    };
    of_records.chain(of_rows).map(sheet).collect()
}

/// Compares the lake of `pipeline` in `there` with that in `expected`, both the places themselves.
pub(super) fn audit(
    expected: &Arc<dyn Storage>,
    pipeline: &dyn Pipeline,
    there: &Arc<dyn Storage>,
) -> Result<Vec<Audit>, SinkError> {
    let Some(dir) = pipeline.lake() else { return Ok(Vec::new()) };
    let target = format!("lake in {}", there.place());
    let one = |sheet: Sheet| {
        let mut comparison = Comparison::new(&target, &sheet.name, sheet.is_unique);
        sheet.read(expected, &mut |row| comparison.expect(row))?;
        sheet.read(there, &mut |row| comparison.find(row))?;
        Ok(comparison.finish())
    };
    sheets(pipeline, dir).into_iter().map(one).collect()
}

impl Sheet {
    fn read(&self, place: &Arc<dyn Storage>, row: &mut dyn FnMut(Row)) -> Result<(), SinkError> {
        let files: Vec<String> = if self.is_delta {
            let newest = Log::new(Arc::clone(place), &self.name, "lake").snapshot(None)?;
            newest.files.into_keys().map(|path| format!("{}/{path}", self.name)).collect()
        } else {
            let index = LakeIndex::read(&**place).map_err(|error| error.of("lake"))?;
            index.files.into_iter().map(|file| file.path).collect()
        };
        each_file(&**place, &files, &mut |path, bytes| rows(path, bytes, &self.keys, row))
    }
}

/// Takes a file by its path, and says what is wrong with it.
type EachFile<'a> = dyn FnMut(&str, Vec<u8>) -> Result<(), String> + 'a;

/// Gives each file with its bytes.
pub(super) fn each_file(
    place: &dyn Storage,
    paths: &[String],
    each: &mut EachFile<'_>,
) -> Result<(), SinkError> {
    let wrong = |path: &str, cause: String| {
        let (place, path) = (place.place(), path.to_owned());
        StorageError { place, verb: "read", path, cause, is_away: false }.of("lake")
    };
    for paths in paths.chunks(AT_ONCE) {
        let all = place.read_all(paths).map_err(|error| error.of("lake"))?;
        for (path, bytes) in paths.iter().zip(all) {
            let gone = "it is listed, and is not there; where a compaction has just removed it, try again";
            let bytes = bytes.ok_or_else(|| wrong(path, gone.to_owned()))?;
            each(path, bytes).map_err(|cause| wrong(path, cause))?;
        }
    }
    Ok(())
}

/// Gives the rows of a file.
fn rows(path: &str, bytes: Vec<u8>, keys: &[Vec<String>], row: &mut dyn FnMut(Row)) -> Result<(), String> {
    let file = read_file(bytes, &|name| is_compared(name) && !REPEATED.contains(&name))?;
    let mut columns: Vec<(String, Option<usize>, String)> = file
        .schema
        .columns
        .iter()
        .enumerate()
        .map(|(at, c)| (c.name.to_string(), Some(at), String::new()))
        .collect();
    for (name, value) in partition_values(path) {
        if !REPEATED.contains(&&*name) && !columns.iter().any(|(known, ..)| *known == name) {
            columns.push((name, None, value));
        }
    }
    let has = |name: &String| columns.iter().any(|(known, ..)| known == name);
    let key: &[String] = keys.iter().find(|key| key.iter().all(has)).map_or(&[], Vec::as_slice);
    // The key first, for who reads it; the others by name, since files differ in their order.
    let place_of = |name: &str| key.iter().position(|of_key| of_key == name).unwrap_or(key.len());
    columns.sort_by(|(a, ..), (b, ..)| place_of(a).cmp(&place_of(b)).then_with(|| a.cmp(b)));
    for batch in &file.batches {
        for at in 0..batch.len() {
            let (mut of_key, mut text) = (String::new(), String::new());
            for (number, (name, column, value)) in columns.iter().enumerate() {
                let cell = match column {
                    Some(column) => batch.columns()[*column].get(at).to_text(),
                    None => Some(value.clone()),
                };
                let Some(cell) = cell else { continue };
                push_cell(&mut text, name, Some(&cell));
                if number < key.len() {
                    push_cell(&mut of_key, name, Some(&cell));
                }
            }
            let key = if key.is_empty() { text.clone() } else { of_key };
            row(Row { key: key.into(), text: text.into() });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use tidegate::rows::ColumnType::{Float, Int, Text, Time};
    use tidegate::rows::{Cell, Schema};
    use tidegate::sink::lake::write_rows;

    use super::*;

    fn of_file(path: &str, dir: &Path) -> Vec<Row> {
        let keys = [ORIGIN.map(str::to_owned).to_vec(), SECOND.map(str::to_owned).to_vec()];
        let mut all = Vec::new();
        let bytes = std::fs::read(dir.join("f.parquet")).unwrap();
        rows(path, bytes, &keys, &mut |row| all.push(row)).unwrap();
        all
    }

    #[test]
    fn row_is_the_same_wherever_its_partition_columns_stand() {
        let dir = tempfile::tempdir().unwrap();
        let write = |schema: &Schema, cells: &[Cell<'_>]| {
            let mut rows = schema.batch();
            rows.push(cells);
            write_rows(&dir.path().join("f.parquet"), schema, &rows).unwrap();
        };
        let schema = Schema::new("lake", &[("window_start", Time), ("mean", Float)], &[]);
        write(&schema, &[Cell::Time(0), Cell::Float(0.5)]);
        let apart = of_file("year=1970/month=01/second=00/cycle=7/part.parquet", dir.path());
        // As a compaction leaves it, with a column that is null.
        let schema = Schema::new(
            "lake",
            &[("more", Int), ("mean", Float), ("second", Text), ("cycle", Text), ("window_start", Time)],
            &[],
        )
        .nullable(&["more"]);
        write(&schema, &[Cell::Null, Cell::Float(0.5), Cell::Text(b"00"), Cell::Text(b"7"), Cell::Time(0)]);
        let merged = of_file("year=1970/month=01/part.parquet", dir.path());
        assert_eq!(apart, merged);
        assert_eq!(&*apart[0].key, "window_start=1970-01-01T00:00:00.000000Z cycle=7");
        assert!(apart[0].text.ends_with("cycle=7 mean=0.5"), "{}", apart[0].text);
    }

    #[test]
    fn rows_of_records_are_told_apart_by_their_offsets() {
        let dir = tempfile::tempdir().unwrap();
        let schema = Schema::new(
            "lake",
            &[("v", Text), ("kafka_topic", Text), ("kafka_partition", Int), ("kafka_offset", Int)],
            &[],
        );
        let mut batch = schema.batch();
        batch.push(&[Cell::Text(b"x y"), Cell::Text(b"t"), Cell::Int(1), Cell::Int(42)]);
        write_rows(&dir.path().join("f.parquet"), &schema, &batch).unwrap();
        let found = of_file("event_date=2024-01-28/f.parquet", dir.path());
        assert_eq!(&*found[0].key, "kafka_topic=t kafka_partition=1 kafka_offset=42");
        assert_eq!(
            &*found[0].text,
            "kafka_topic=t kafka_partition=1 kafka_offset=42 event_date=2024-01-28 v=\"x y\""
        );
    }
}
