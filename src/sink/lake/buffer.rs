//! Rows that wait to become a row group, in columns as Parquet takes them.
//!
//! Parquet wants a column's values without the nulls, and beside them a level for each row: 1 where there is
//! a value, 0 where there is none. Levels are kept from the first null on.

use crate::rows::{ColumnType, RowBatch, Schema, Values};

/// The values of a column, nulls left out.
#[derive(Debug)]
pub(super) enum Present {
    Int(Vec<i64>),
    Float(Vec<f64>),
    Bool(Vec<bool>),
    Time(Vec<i64>),
    Text { bytes: Vec<u8>, ends: Vec<usize> },
}

/// A column of waiting rows.
#[derive(Debug)]
pub(super) struct BufferColumn {
    pub(super) name: String,
    pub(super) nullable: bool,
    pub(super) values: Present,
    /// A level for each row; empty as long as no row is null.
    pub(super) levels: Vec<i16>,
}

impl BufferColumn {
    pub(super) fn kind(&self) -> ColumnType {
        match self.values {
            Present::Int(_) => ColumnType::Int,
            Present::Float(_) => ColumnType::Float,
            Present::Bool(_) => ColumnType::Bool,
            Present::Time(_) => ColumnType::Time,
            Present::Text { .. } => ColumnType::Text,
        }
    }

    fn byte_len(&self) -> usize {
        let values = match &self.values {
            Present::Int(values) | Present::Time(values) => 8 * values.len(),
            Present::Float(values) => 8 * values.len(),
            Present::Bool(values) => values.len(),
            Present::Text { bytes, ends } => bytes.len() + 8 * ends.len(),
        };
        values + 2 * self.levels.len()
    }

    /// Adds `more` rows to the `rows` that are there, with the given ones of them null.
    fn extend_levels(&mut self, rows: usize, more: usize, nulls: impl IntoIterator<Item = usize>) {
        let mut nulls = nulls.into_iter().peekable();
        if self.levels.is_empty() {
            if nulls.peek().is_none() {
                return;
            }
            self.levels.resize(rows, 1);
        }
        self.levels.resize(rows + more, 1);
        nulls.for_each(|row| self.levels[rows + row] = 0);
    }
}

/// Waiting rows.
#[derive(Debug, Default)]
pub(super) struct Buffer {
    pub(super) columns: Vec<BufferColumn>,
    rows: usize,
}

impl Buffer {
    pub(super) fn rows(&self) -> usize {
        self.rows
    }

    pub(super) fn byte_len(&self) -> usize {
        self.columns.iter().map(BufferColumn::byte_len).sum()
    }

    /// Adds rows. A column that is new is null in the rows that are there, and one that the rows lack is null
    /// in them. The error names a column that is there with another type.
    pub(super) fn append(&mut self, schema: &Schema, rows: &RowBatch) -> Result<(), String> {
        let more = rows.len();
        // Batches of one lake mostly have the same columns in the same order.
        let mut next = 0;
        let mut met = vec![false; self.columns.len()];
        for (def, column) in schema.columns.iter().zip(rows.columns()) {
            let here = self.columns.get(next).is_some_and(|column| column.name == def.name);
            let found = if here { Some(next) } else { self.columns.iter().position(|c| c.name == def.name) };
            let at = found.unwrap_or_else(|| {
                self.columns.push(self.absent_so_far(&def.name, def.kind));
                met.push(false);
                self.columns.len() - 1
            });
            next = at + 1;
            let target = &mut self.columns[at];
            if std::mem::replace(&mut met[at], true) {
                return Err(format!("column {:?} stands twice in a batch", def.name));
            }
            if target.kind() != def.kind {
                return Err(format!(
                    "column {:?} is {:?} here and {:?} before",
                    def.name,
                    def.kind,
                    target.kind()
                ));
            }
            target.nullable |= def.nullable;
            target.extend_levels(self.rows, more, column.nulls.iter().map(|&row| row as usize));
            extend(&mut target.values, &column.values, &column.nulls);
        }
        for (column, _) in self.columns.iter_mut().zip(met).filter(|(_, met)| !met) {
            column.nullable = true;
            column.extend_levels(self.rows, more, 0..more);
        }
        self.rows += more;
        Ok(())
    }

    fn absent_so_far(&self, name: &str, kind: ColumnType) -> BufferColumn {
        let values = match kind {
            ColumnType::Int => Present::Int(Vec::new()),
            ColumnType::Float => Present::Float(Vec::new()),
            ColumnType::Bool => Present::Bool(Vec::new()),
            ColumnType::Time => Present::Time(Vec::new()),
            ColumnType::Text => Present::Text { bytes: Vec::new(), ends: Vec::new() },
        };
        BufferColumn { name: name.to_owned(), nullable: self.rows > 0, values, levels: vec![0; self.rows] }
    }
}

/// Appends the values that are not null.
fn extend(target: &mut Present, values: &Values, nulls: &[u32]) {
    match (target, values) {
        (Present::Int(to), Values::Int(from)) | (Present::Time(to), Values::Time(from)) => {
            copy(to, from, nulls)
        }
        (Present::Float(to), Values::Float(from)) => copy(to, from, nulls),
        (Present::Bool(to), Values::Bool(from)) => copy(to, from, nulls),
        (Present::Text { bytes, ends }, Values::Text(from)) => {
            let mut nulls = nulls.iter().peekable();
            for row in 0..from.len() {
                if nulls.next_if(|&&null| null as usize == row).is_none() {
                    bytes.extend_from_slice(from.get(row));
                    ends.push(bytes.len());
                }
            }
        }
        // `append` has compared the types.
        _ => (),
    }
}

fn copy<T: Copy>(to: &mut Vec<T>, from: &[T], nulls: &[u32]) {
    let mut start = 0;
    for &null in nulls {
        to.extend_from_slice(&from[start..null as usize]);
        start = null as usize + 1;
    }
    to.extend_from_slice(&from[start..]);
}
