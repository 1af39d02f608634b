//! Rows of a data lake made from a pipeline's records, with columns that appear as the data does.
//!
//! Members that the pipeline does not know become nullable text columns `x_<name>` that hold their compact
//! JSON, for the first [`MOST_EXTRAS`] names of a partition in log order; further ones share `x_rest`. The
//! choice is made by partition, so that it is a function of the log alone.

use std::collections::BTreeMap;

use hashbrown::HashSet;
use serde::{Deserialize, Serialize};

use super::Decode;
use super::front::{Edge, Front, Position, Verdicts, unreadable};
use crate::decode::text::{compact, write_string};
use crate::digest::Digest;
use crate::record::Partition as Origin;
use crate::rows::{Cell, ColumnType, RowBatch, Schema};
use crate::state::StateError;

/// How many names of a partition get a column of their own.
pub const MOST_EXTRAS: usize = 100;

/// The column for the members beyond.
pub const REST: &str = "rest";

const BLOCK_BYTES: usize = 4 << 20;
const MOST_OPEN: usize = 256;

/// What a lake takes from an event: `N` columns that every row has, and the event's other members.
pub trait LakeRow<D: Decode, const N: usize>: 'static {
    /// The partition directory of the rows with this key, as `name=value`.
    fn directory(&self, key: i64) -> String;
    /// The key of the row's directory, and the values of the fixed columns.
    fn row<'e>(&self, at: &'e Position<'_>, event: &'e D::Event<'_>) -> (i64, [Cell<'e>; N]);
    /// Calls `extra` for every other member with its name and its JSON text, in document order.
    fn extras(&self, event: &D::Event<'_>, extra: &mut dyn FnMut(&str, &[u8]));
}

/// Rows for one directory, from one partition.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct LakeBlock {
    /// The partition directory.
    pub directory: String,
    /// The rank of the Kafka partition that the rows come from.
    pub rank: u32,
    /// The names of the `x_` columns behind the fixed ones, without the prefix.
    pub extras: Vec<String>,
    /// The rows.
    pub rows: RowBatch,
    /// Their digest: of each row its fixed cells, then name and value of each of its extras by name.
    pub digest: Digest,
}

#[derive(Default)]
struct Partition {
    /// Names with a column of their own.
    names: HashSet<String>,
    open: BTreeMap<i64, LakeBlock>,
}

/// The near end of a data lake: one row for each accepted record, late ones too.
pub struct LakeFront<R, const N: usize> {
    row: R,
    schema: Schema,
    partitions: Vec<Partition>,
    extras: Extras,
    open: usize,
    full: Vec<LakeBlock>,
}

/// The undeclared members of the record at hand.
#[derive(Default)]
struct Extras {
    /// Those with a column of their own, and [`REST`].
    columns: BTreeMap<String, Vec<u8>>,
    rest: Vec<u8>,
}

impl Extras {
    fn take(&mut self, names: &mut HashSet<String>, name: &str, value: &[u8]) {
        if name != REST && (names.contains(name) || names.len() < MOST_EXTRAS) {
            if !names.contains(name) {
                names.insert(name.to_owned());
            }
            compact(value, self.columns.entry(name.to_owned()).or_default());
        } else {
            self.rest.push(if self.rest.is_empty() { b'{' } else { b',' });
            write_string(name.as_bytes(), &mut self.rest);
            self.rest.push(b':');
            compact(value, &mut self.rest);
        }
    }

    fn finish(&mut self) {
        if !self.rest.is_empty() {
            self.rest.push(b'}');
            self.columns.insert(REST.to_owned(), std::mem::take(&mut self.rest));
        }
    }
}

impl<R, const N: usize> LakeFront<R, N> {
    /// Rows as `row` makes them; the first `N` columns are those of `schema`.
    ///
    /// # Panics
    /// When `schema` has not `N` columns.
    pub fn new(row: R, schema: Schema) -> Self {
        assert_eq!(schema.columns.len(), N, "a lake's schema has the row's columns");
        let (partitions, extras) = (Vec::new(), Extras::default());
        LakeFront { row, schema, partitions, extras, open: 0, full: Vec::new() }
    }

    fn flush(&mut self) {
        for partition in &mut self.partitions {
            self.full.extend(std::mem::take(&mut partition.open).into_values());
        }
        self.open = 0;
    }
}

impl<D: Decode, R: LakeRow<D, N>, const N: usize> Front<D> for LakeFront<R, N> {
    type Item = LakeBlock;

    fn observe(&mut self, at: &Position<'_>, event: &D::Event<'_>, _verdicts: &mut Verdicts<'_>) {
        let rank = at.place.rank as usize;
        if rank >= self.partitions.len() {
            self.partitions.resize_with(rank + 1, Partition::default);
        }
        let partition = &mut self.partitions[rank];
        let extras = &mut self.extras;
        self.row.extras(event, &mut |name, value| extras.take(&mut partition.names, name, value));
        extras.finish();

        let (key, fixed) = self.row.row(at, event);
        let block = partition.open.entry(key).or_insert_with(|| {
            self.open += 1;
            LakeBlock {
                directory: self.row.directory(key),
                rank: at.place.rank,
                extras: Vec::new(),
                rows: self.schema.batch(),
                digest: Digest::default(),
            }
        });
        for name in extras.columns.keys() {
            if !block.extras.contains(name) {
                block.extras.push(name.clone());
                block.rows.add_column(ColumnType::Text);
            }
        }
        let named =
            extras.columns.iter().flat_map(|(name, value)| [Cell::Text(name.as_bytes()), Cell::Text(value)]);
        block.digest.add_row(fixed.iter().copied().chain(named));
        let others =
            block.extras.iter().map(|name| extras.columns.get(name).map_or(Cell::Null, |v| Cell::Text(v)));
        block.rows.push_cells(fixed.into_iter().chain(others));
        extras.columns.clear();

        if block.rows.len().is_multiple_of(64) && block.rows.byte_len() >= BLOCK_BYTES {
            self.full.extend(partition.open.remove(&key));
            self.open -= 1;
        }
        if self.open > MOST_OPEN {
            self.flush();
        }
    }

    fn drain(&mut self, edge: Edge, send: &mut dyn FnMut(LakeBlock)) {
        if edge.is_end() {
            self.flush();
        }
        self.full.drain(..).for_each(send);
    }

    /// The names that have a column of their own: which those are is a function of the whole log.
    fn save(&self, rank: u32) -> Vec<u8> {
        let Some(partition) = self.partitions.get(rank as usize).filter(|it| !it.names.is_empty()) else {
            return Vec::new();
        };
        let mut names: Vec<&String> = partition.names.iter().collect();
        names.sort_unstable();
        bincode::serialize(&names).unwrap_or_default()
    }

    fn restore(&mut self, rank: u32, partition: &Origin, saved: &[u8]) -> Result<(), StateError> {
        if saved.is_empty() {
            return Ok(());
        }
        let names: Vec<String> = bincode::deserialize(saved).map_err(|error| unreadable(partition, error))?;
        let rank = rank as usize;
        if rank >= self.partitions.len() {
            self.partitions.resize_with(rank + 1, Partition::default);
        }
        self.partitions[rank].names = names.into_iter().collect();
        Ok(())
    }
}
