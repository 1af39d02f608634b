//! The lake of a deployment: its files are there, its rows are as many as were counted, and, where it is asked for, each accepted
//! record is in it once.

use std::collections::BTreeMap;
use std::sync::Arc;

use tidegate::checkpoint::{Manifest, Store};
use tidegate::rows::Cell;
use tidegate::sink::SinkError;
use tidegate::sink::delta::{DeltaTable, Log, Snapshot};
use tidegate::sink::lake::{LakeFile, LakeIndex, read_file};
use tidegate::storage::{self, Dir, Storage};

use super::super::lake::{ORIGIN, each_file};
use super::sinks::{silent, standing};
use super::{Around, Check, Deployment, Required, settled, unreadable};
use crate::targets::LakeTarget;

/// How many holes between offsets are named.
const NAMED: usize = 5;

const MEND: &str =
    "somebody removed or added some; to know which rows, tidegate record, then tidegate verify --fixture";

/// Looks at all of its places.
pub(super) fn look(of: &Deployment, store: &dyn Store) -> Vec<Check> {
    let Some(dir) = of.pipeline.lake() else { return Vec::new() };
    let mut checks = Vec::new();
    for target in &of.targets.lake {
        let sink = target.sink();
        let place: Arc<dyn Storage> = match target {
            LakeTarget::Embedded => Arc::new(Dir::new(&of.data.join(dir))),
            LakeTarget::At(location) => match storage::open(location, &of.targets.credentials) {
                Ok(place) => place,
                Err(error) => {
                    checks.push(silent(&sink, &error.of(of.pipeline.name())));
                    continue;
                }
            },
        };
        let tables = of.pipeline.delta();
        if tables.is_empty() {
            checks.extend(settled(|first| parquet(of, store, &sink, dir, &*place, first)));
            if of.deep {
                checks.extend(offsets(of, store, &sink, dir, &*place));
            }
        } else {
            checks.extend(settled(|first| delta(of, store, &sink, &place, &tables, true, first)));
            let tables = of.pipeline.delta_rows();
            let sink = format!("tables in {sink}");
            checks.extend(settled(|first| delta(of, store, &sink, &place, &tables, false, first)));
        }
    }
    checks
}

fn parquet(
    of: &Deployment,
    store: &dyn Store,
    sink: &str,
    dir: &str,
    place: &dyn Storage,
    first: &Required,
) -> Vec<Check> {
    let read = || -> Result<_, SinkError> {
        let index = LakeIndex::read(place).map_err(|error| error.of(sink))?;
        let lost = lost(place, &index.files)?;
        Ok((index, lost))
    };
    let (around, index, lost) = match Around::read(store, read) {
        Err(error) => return vec![unreadable(&error)],
        Ok((_, Err(error))) => return vec![silent(sink, &error)],
        Ok((around, Ok((index, lost)))) => (around, index, lost),
    };
    let mut checks = vec![standing(sink, index.epoch, &around, first)];
    let what = format!("files of {sink}");
    checks.push(if lost.is_empty() {
        Check::good(what, format!("all {} are there, with their lengths", index.files.len()))
    } else {
        let says = format!("{} of {} are gone or cut, such as {:?}", lost.len(), index.files.len(), lost[0]);
        Check::wrong(what, says, "bring them back from a backup, or replay into an empty lake")
    });
    let manifest = around.of(sink, index.epoch.unwrap_or(0));
    checks.push(counted(of, sink, dir, index.rows(), manifest));
    checks
}

/// The files that are not there with their lengths.
fn lost(place: &dyn Storage, files: &[LakeFile]) -> Result<Vec<String>, SinkError> {
    let there = place.list("").map_err(|error| error.of("lake"))?;
    let there: BTreeMap<String, u64> = there.into_iter().map(|file| (file.path, file.bytes)).collect();
    let lost = files.iter().filter(|file| there.get(&file.path) != Some(&file.bytes));
    Ok(lost.map(|file| file.path.clone()).collect())
}

/// Judges how many rows an output has in a lake.
fn counted(of: &Deployment, sink: &str, output: &str, rows: u64, manifest: Option<&Manifest>) -> Check {
    let what = format!("rows of {output} in {sink}");
    let number = of.pipeline.outputs().iter().position(|name| name == output);
    match number.zip(manifest).and_then(|(number, manifest)| manifest.tallies.get(number)) {
        None => Check::good(what, format!("{rows}; the figures of its epoch are kept no more")),
        Some(tally) if tally.rows == rows => Check::good(what, format!("{rows}, as counted")),
        Some(tally) => Check::wrong(what, format!("{rows}, and {} were written", tally.rows), MEND),
    }
}

/// Each accepted record is in the lake once: read from the offsets of its rows.
fn offsets(of: &Deployment, store: &dyn Store, sink: &str, dir: &str, place: &dyn Storage) -> Vec<Check> {
    let number = of.pipeline.outputs().iter().position(|name| name == dir);
    if !number.is_some_and(|number| of.pipeline.is_on(number)) {
        return Vec::new();
    }
    let read = || -> Result<_, SinkError> {
        let index = LakeIndex::read(place).map_err(|error| error.of(sink))?;
        let paths: Vec<String> = index.files.into_iter().map(|file| file.path).collect();
        let mut found = Offsets::default();
        each_file(place, &paths, &mut |_, bytes| found.add(bytes))?;
        Ok((index.epoch, found))
    };
    let what = format!("offsets in {sink}");
    match Around::read(store, read) {
        Err(error) => vec![unreadable(&error)],
        Ok((_, Err(error))) => vec![silent(sink, &error)],
        Ok((_, Ok((_, found)))) if !found.has_origin => {
            vec![Check::good(what, "its rows are not from single records: not looked at")]
        }
        Ok((around, Ok((epoch, found)))) => match around.of(sink, epoch.unwrap_or(0)) {
            Some(manifest) => found.judge(&what, manifest),
            None => found.repeated(&what),
        },
    }
}

/// The offsets of a lake's rows, by topic and partition.
#[derive(Default)]
struct Offsets {
    has_origin: bool,
    of: BTreeMap<(String, i64), Vec<i64>>,
}

impl Offsets {
    fn add(&mut self, bytes: Vec<u8>) -> Result<(), String> {
        let file = read_file(bytes, &|name| ORIGIN.contains(&name))?;
        let at = |name: &str| file.schema.columns.iter().position(|column| column.name == name);
        let (Some(topic), Some(partition), Some(offset)) = (at(ORIGIN[0]), at(ORIGIN[1]), at(ORIGIN[2]))
        else {
            return Ok(());
        };
        self.has_origin = true;
        for batch in &file.batches {
            let columns = batch.columns();
            for row in 0..batch.len() {
                let cells = (columns[topic].get(row), columns[partition].get(row), columns[offset].get(row));
                let (Cell::Text(topic), Cell::Int(partition), Cell::Int(offset)) = cells else {
                    return Err(format!("row {row} does not say which record it is from"));
                };
                let id = (String::from_utf8_lossy(topic).into_owned(), partition);
                self.of.entry(id).or_default().push(offset);
            }
        }
        Ok(())
    }

    /// Judges them by what the manifest says was accepted.
    fn judge(mut self, what: &str, manifest: &Manifest) -> Vec<Check> {
        let mut checks = Vec::new();
        for cut in &manifest.partitions {
            let id = (cut.id.topic.to_string(), i64::from(cut.id.number));
            let offsets = self.of.remove(&id).unwrap_or_default();
            let accepted = u64::try_from(cut.accepted).unwrap_or(0);
            checks.push(judge(&format!("{what}, {}", cut.id), offsets, Some(accepted)));
        }
        checks.extend(self.of.into_keys().map(|(topic, partition)| {
            Check::wrong(format!("{what}, {topic}-{partition}"), "the run has read no such partition", MEND)
        }));
        checks
    }

    /// Judges whether any is there twice, where nobody knows how many there should be.
    fn repeated(self, what: &str) -> Vec<Check> {
        let of = self.of.into_iter();
        of.map(|((topic, partition), offsets)| judge(&format!("{what}, {topic}-{partition}"), offsets, None))
            .collect()
    }
}

fn judge(what: &str, mut offsets: Vec<i64>, accepted: Option<u64>) -> Check {
    let rows = offsets.len();
    offsets.sort_unstable();
    let repeated = offsets.windows(2).find(|pair| pair[0] == pair[1]).map(|pair| pair[0]);
    offsets.dedup();
    if let Some(first) = repeated {
        let says = format!("{} are there more than once, the first {first}", rows - offsets.len());
        return Check::wrong(what, says, MEND);
    }
    match accepted {
        None => Check::good(what, format!("{rows}, each once; how many there should be is kept no more")),
        Some(accepted) if accepted == rows as u64 => {
            Check::good(what, format!("all {rows} accepted ones, each once"))
        }
        Some(accepted) => {
            let says = format!("{rows}, and {accepted} were accepted{}", holes(&offsets));
            Check::wrong(what, says, MEND)
        }
    }
}

/// Where offsets are missing; those of rejected records are, too.
fn holes(offsets: &[i64]) -> String {
    let holes = offsets.windows(2).filter(|pair| pair[1] - pair[0] > 1);
    let named: Vec<String> = holes
        .take(NAMED)
        .map(|pair| match (pair[0] + 1, pair[1] - 1) {
            (from, to) if from == to => from.to_string(),
            (from, to) => format!("{from} to {to}"),
        })
        .collect();
    if named.is_empty() {
        return String::new();
    }
    format!(
        "; there are none of {}, where rejected ones and marks of transactions may lie too",
        named.join(", ")
    )
}

fn delta(
    of: &Deployment,
    store: &dyn Store,
    sink: &str,
    place: &Arc<dyn Storage>,
    tables: &[DeltaTable],
    is_counted: bool,
    first: &Required,
) -> Vec<Check> {
    let read = || -> Result<_, SinkError> {
        let mut found = Vec::new();
        for table in tables {
            let name = table.schema.name.to_string();
            let newest = Log::new(Arc::clone(place), &name, sink).snapshot(None)?;
            let there = place.list(&name).map_err(|error| error.of(sink))?;
            let there: BTreeMap<String, u64> =
                there.into_iter().map(|file| (file.path, file.bytes)).collect();
            let lost = newest.files.values().find(|add| {
                there.get(&format!("{name}/{}", add.path)).copied() != u64::try_from(add.size).ok()
            });
            let lost = lost.map(|add| add.path.clone());
            found.push((name, newest, lost));
        }
        Ok(found)
    };
    let (around, found) = match Around::read(store, read) {
        Err(error) => return vec![unreadable(&error)],
        Ok((_, Err(error))) => return vec![silent(sink, &error)],
        Ok((around, Ok(found))) => (around, found),
    };
    let app = format!("tidegate/{}", of.pipeline.name());
    let marks = found.iter().filter_map(|(_, newest, _)| newest.txns.get(&app).copied());
    let mark = marks.max().and_then(|epoch| u64::try_from(epoch).ok());
    let mut checks = vec![standing(sink, mark, &around, first)];
    let manifest = around.of(sink, mark.unwrap_or(0));
    for (name, newest, lost) in &found {
        if let Some(path) = lost {
            let says = format!("its newest version names {path:?}, which is gone or cut");
            let mend = "bring it back from a backup, or replay into an empty table";
            checks.push(Check::wrong(format!("files of {name} in {sink}"), says, mend));
        }
        if let Some(rows) = rows_of(newest).filter(|_| is_counted) {
            checks.push(counted(of, sink, name, rows, manifest));
        }
    }
    checks
}

/// How many rows a table has, where the statistics of all of its files say so.
fn rows_of(newest: &Snapshot) -> Option<u64> {
    let mut rows = 0;
    for add in newest.files.values() {
        let stats: serde_json::Value = serde_json::from_str(add.stats.as_deref()?).ok()?;
        rows += stats.get("numRecords")?.as_u64()?;
    }
    Some(rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_are_there_once_and_all_of_them() {
        assert!(judge("o", vec![3, 1, 2], Some(3)).ok);
        let twice = judge("o", vec![3, 1, 3], Some(3));
        assert!(
            !twice.ok && twice.says.contains("1 are there more than once, the first 3"),
            "{}",
            twice.says
        );
        let holes = judge("o", vec![1, 3, 9], Some(4));
        assert!(!holes.ok && holes.says.contains("none of 2, 4 to 8"), "{}", holes.says);
        assert!(judge("o", vec![1, 9], None).ok && !judge("o", vec![9, 9], None).ok);
        assert!(!judge("o", vec![1, 2], Some(1)).ok);
    }

    #[test]
    fn rows_of_a_delta_table_are_those_of_its_statistics() {
        let add = |path: &str, stats: Option<&str>| tidegate::sink::delta::Add {
            path: path.to_owned(),
            partition_values: Default::default(),
            size: 1,
            modification_time: 0,
            data_change: true,
            stats: stats.map(str::to_owned),
        };
        let mut newest = Snapshot::default();
        assert_eq!(rows_of(&newest), Some(0));
        newest.files.insert("a".to_owned(), add("a", Some("{\"numRecords\":3}")));
        newest.files.insert("b".to_owned(), add("b", Some("{\"numRecords\":4,\"x\":1}")));
        assert_eq!(rows_of(&newest), Some(7));
        newest.files.insert("c".to_owned(), add("c", None));
        assert_eq!(rows_of(&newest), None);
    }

    #[test]
    fn files_that_are_gone_or_cut_are_found() {
        let dir = tempfile::tempdir().unwrap();
        let place = Dir::new(dir.path());
        place.replace("event_date=2024-01-28/a.parquet", b"four").unwrap();
        let file = |path: &str, bytes| LakeFile { path: path.to_owned(), rows: 1, bytes, crc32: 0 };
        let whole = file("event_date=2024-01-28/a.parquet", 4);
        let (cut, gone) = (LakeFile { bytes: 5, ..whole.clone() }, file("b.parquet", 1));
        assert_eq!(lost(&place, &[whole]).unwrap(), Vec::<String>::new());
        assert_eq!(lost(&place, &[cut, gone]).unwrap(), ["event_date=2024-01-28/a.parquet", "b.parquet"]);
    }
}
