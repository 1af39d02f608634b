//! Sinks in memory that keep the contract of a sink, step by step: what is staged is the process's until it is
//! prepared, what is committed is visible with its mark in one transaction.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tidegate::rows::{Cell, RowBatch, Schema};
use tidegate::sink::lake::LakeBatch;
use tidegate::sink::tables::TableBatch;
use tidegate::sink::topic::TopicBatch;
use tidegate::sink::{Sink, SinkError, Staged};

use super::Plant;
use super::steps::{Cut, Steps};

/// What a reader sees in one place of a sink: a table, a lake, a partition of a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Content {
    /// Rows by key.
    Keyed(BTreeMap<String, String>),
    /// Rows, and how often each is there.
    Bag(BTreeMap<String, u64>),
    /// Lines in order.
    Lines(String),
}

/// A row or some lines on their way to a place.
#[derive(Clone, Debug)]
pub(super) enum Entry {
    Row { key: String, row: String },
    Added(String),
    Lines(String),
}

/// What outlives a process.
#[derive(Debug, Default)]
pub(super) struct Held {
    /// By a number that the manifest names.
    prepared: BTreeMap<u64, Vec<(String, Entry)>>,
    pub(super) visible: BTreeMap<String, Content>,
    mark: Option<u64>,
    generation: u64,
    /// Rows by place and key that were shown before their epochs ended, by epoch.
    shown: BTreeMap<u64, Vec<(String, String)>>,
}

impl Held {
    /// Fences off `generation`, if a newer one was here.
    fn fence(&self, sink: &str, generation: u64) -> Result<(), SinkError> {
        let newer = self.generation;
        if generation < newer {
            return Err(SinkError::Fenced { sink: sink.to_owned(), ours: generation, newer });
        }
        Ok(())
    }

    /// What is visible of an epoch that nobody has committed: a place and a key.
    pub(super) fn shown(&self) -> Option<&(String, String)> {
        let epochs = self.shown.range(self.mark.map_or(0, |mark| mark + 1)..);
        epochs.flat_map(|(_, shown)| shown).find(|(place, key)| {
            matches!(self.visible.get(place), Some(Content::Keyed(rows)) if rows.contains_key(key))
        })
    }

    fn apply(&mut self, entries: &[(String, Entry)]) {
        for (place, entry) in entries {
            let content = self.visible.entry(place.clone());
            match entry {
                Entry::Row { key, row } => {
                    if let Content::Keyed(rows) = content.or_insert_with(|| Content::Keyed(BTreeMap::new())) {
                        rows.insert(key.clone(), row.clone());
                    }
                }
                Entry::Added(row) => {
                    if let Content::Bag(rows) = content.or_insert_with(|| Content::Bag(BTreeMap::new())) {
                        *rows.entry(row.clone()).or_default() += 1;
                    }
                }
                Entry::Lines(lines) => {
                    if let Content::Lines(all) = content.or_insert_with(|| Content::Lines(String::new())) {
                        all.push_str(lines);
                    }
                }
            }
        }
    }
}

/// How a sink reads what it is given.
type Render<B> = Box<dyn Fn(B) -> Vec<(String, Entry)> + Send>;

/// A sink of one process; what it holds outlives it.
pub(super) struct MemorySink<B> {
    name: &'static str,
    held: Arc<Mutex<Held>>,
    steps: Arc<Steps>,
    plant: Plant,
    render: Render<B>,
    open: BTreeMap<u64, Vec<(String, Entry)>>,
    prepared: BTreeMap<u64, Staged>,
}

impl<B> MemorySink<B> {
    pub(super) fn new(
        name: &'static str,
        held: &Arc<Mutex<Held>>,
        steps: &Arc<Steps>,
        plant: Plant,
        render: Render<B>,
    ) -> Self {
        let (open, prepared) = Default::default();
        MemorySink { name, held: Arc::clone(held), steps: Arc::clone(steps), plant, render, open, prepared }
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn step(&self, what: &str) -> Result<(), SinkError> {
        let sink = self.name.to_owned();
        self.steps.step(what, self.name).map_err(|cut| match cut {
            Cut::Dead => SinkError::Failed { sink, cause: "the process is dead".to_owned() },
            Cut::Refused => SinkError::Unavailable { sink, cause: "the server is starting up".to_owned() },
        })
    }

    fn failed(&self, cause: String) -> SinkError {
        SinkError::Failed { sink: self.name.to_owned(), cause }
    }
}

impl<B: Clone> Sink for MemorySink<B> {
    type Batch = B;

    fn write(&mut self, epoch: u64, batch: B) -> Result<(), SinkError> {
        self.step("stage in")?;
        let entries = (self.render)(batch);
        self.open.entry(epoch).or_default().extend(entries);
        Ok(())
    }

    fn prepare(&mut self, epoch: u64) -> Result<Staged, SinkError> {
        if let Some(staged) = self.prepared.get(&epoch) {
            return Ok(staged.clone());
        }
        self.step("prepare in")?;
        let entries = self.open.get(&epoch).cloned().unwrap_or_default();
        let number = {
            let mut held = self.held();
            let number = held.prepared.last_key_value().map_or(0, |(last, _)| last + 1);
            if self.plant == Plant::CommitBeforeManifest && held.mark < Some(epoch) {
                held.apply(&entries);
                held.mark = Some(epoch);
            }
            held.prepared.insert(number, entries);
            number
        };
        // The answer may get lost on its way.
        self.step("answer of prepare in")?;
        self.open.remove(&epoch);
        let staged = Staged(number.to_le_bytes().to_vec());
        self.prepared.insert(epoch, staged.clone());
        Ok(staged)
    }

    fn commit(&mut self, epoch: u64, generation: u64, staged: &Staged) -> Result<(), SinkError> {
        self.step("commit in")?;
        {
            let mut held = self.held();
            held.fence(self.name, generation)?;
            held.generation = generation;
            if held.mark < Some(epoch) {
                if held.mark.unwrap_or(0) + 1 != epoch {
                    let mark = held.mark;
                    return Err(self.failed(format!("asked to commit epoch {epoch} after {mark:?}")));
                }
                let number = staged.0.as_slice().try_into().map(u64::from_le_bytes).unwrap_or(u64::MAX);
                let entries = held.prepared.get(&number).cloned();
                let entries = entries
                    .ok_or_else(|| self.failed(format!("what was staged for epoch {epoch} is not there")))?;
                held.apply(&entries);
                if self.plant != Plant::MarkApart {
                    held.mark = Some(epoch);
                }
                held.shown.retain(|shown, _| *shown > epoch);
            }
        }
        if self.plant == Plant::MarkApart {
            self.step("set the mark in")?;
            let mut held = self.held();
            held.mark = held.mark.max(Some(epoch));
        }
        self.open.retain(|open, _| *open > epoch);
        self.prepared.retain(|prepared, _| *prepared > epoch);
        self.step("answer of commit in")
    }

    fn shows(&self) -> bool {
        true
    }

    fn show(&mut self, epoch: u64, generation: u64, batches: &[B]) -> Result<(), SinkError> {
        self.step("show in")?;
        let entries: Vec<_> = batches.iter().flat_map(|batch| (self.render)(batch.clone())).collect();
        let mut held = self.held();
        held.fence(self.name, generation)?;
        if held.mark.is_none_or(|mark| mark < epoch) {
            let key = |(place, entry): &(String, Entry)| match entry {
                Entry::Row { key, .. } => Some((place.clone(), key.clone())),
                _ => None,
            };
            held.shown.entry(epoch).or_default().extend(entries.iter().filter_map(key));
            held.apply(&entries);
        }
        drop(held);
        self.step("answer of show in")
    }

    fn take_back(&mut self, generation: u64) -> Result<(), SinkError> {
        self.step("take back in")?;
        let mut held = self.held();
        held.fence(self.name, generation)?;
        if self.plant == Plant::ShownStays {
            return Ok(());
        }
        let mark = held.mark.unwrap_or(0);
        for (place, key) in held.shown.split_off(&(mark + 1)).into_values().flatten() {
            if let Some(Content::Keyed(rows)) = held.visible.get_mut(&place) {
                rows.remove(&key);
            }
        }
        drop(held);
        self.step("answer of take back in")
    }

    fn committed(&mut self) -> Result<Option<u64>, SinkError> {
        self.step("ask for the mark of")?;
        Ok(self.held().mark)
    }
}

fn texts<'a>(cells: impl Iterator<Item = Cell<'a>>) -> String {
    cells.fold(String::new(), |mut text, cell| {
        match cell {
            Cell::Text(bytes) => text.push_str(&String::from_utf8_lossy(bytes)),
            // Writing to a string does not fail.
            other => drop(write!(text, "{other:?}")),
        }
        text.push('\t');
        text
    })
}

fn row(rows: &RowBatch, at: usize) -> String {
    texts(rows.row(at))
}

/// Rows of tables, by the keys of `schemas`.
pub(super) fn tables(schemas: Vec<Arc<Schema>>) -> Render<TableBatch> {
    Box::new(move |TableBatch { table, rows, .. }| {
        let schema = &schemas[table];
        let entry = |at: usize| {
            let cells: Vec<Cell<'_>> = rows.row(at).collect();
            let key = texts(schema.key.iter().map(|column| cells[*column]));
            (format!("table {}", schema.name), Entry::Row { key, row: row(&rows, at) })
        };
        (0..rows.len()).map(entry).collect()
    })
}

/// Rows of a lake, with the names of their columns: those may come and go.
pub(super) fn lake() -> Render<LakeBatch> {
    Box::new(|batch| {
        let names: Vec<&str> = batch.schema.columns.iter().map(|column| &*column.name).collect();
        let names = names.join(" ");
        let entry = |at| {
            let row = format!("{} {names} {}", batch.partition_dir, row(&batch.rows, at));
            ("lake".to_owned(), Entry::Added(row))
        };
        (0..batch.rows.len()).map(entry).collect()
    })
}

/// Lines of `topics`.
pub(super) fn topics(topics: Vec<Arc<str>>) -> Render<TopicBatch> {
    Box::new(move |batch| {
        let place = format!("topic {}, partition {}", topics[batch.topic], batch.partition);
        vec![(place, Entry::Lines(String::from_utf8_lossy(&batch.lines).into_owned()))]
    })
}
