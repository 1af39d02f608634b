//! Result rows in columns: what operators hand to sinks, and what crosses between workers.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use crate::time;

/// The type of a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ColumnType {
    /// 64-bit signed integer.
    Int,
    /// Double.
    Float,
    /// Truth value.
    Bool,
    /// Microseconds since the epoch, UTC.
    Time,
    /// UTF-8 text.
    Text,
}

/// One column of a [`Schema`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ColumnDef {
    /// Its name, in tables and files alike.
    pub name: Cow<'static, str>,
    /// Its type.
    pub kind: ColumnType,
    /// Whether a row may lack it.
    pub nullable: bool,
}

/// The columns of an output, and which of them are its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schema {
    /// The output's name: the table's, the lake's.
    pub name: Cow<'static, str>,
    /// The columns, in order.
    pub columns: Vec<ColumnDef>,
    /// Indices of the key columns; empty for an output that only appends.
    pub key: Vec<usize>,
}

impl Schema {
    /// A schema of non-null columns; the first `keys` named in `key` are the primary key.
    pub fn new(name: &'static str, columns: &[(&'static str, ColumnType)], key: &[&str]) -> Self {
        let columns: Vec<_> = columns
            .iter()
            .map(|&(name, kind)| ColumnDef { name: name.into(), kind, nullable: false })
            .collect();
        let key = key
            .iter()
            .map(|k| columns.iter().position(|c| c.name == *k).expect("a key column must be a column"))
            .collect();
        Schema { name: name.into(), columns, key }
    }

    /// The same schema with the named columns nullable.
    pub fn nullable(mut self, names: &[&str]) -> Self {
        for column in &mut self.columns {
            column.nullable |= names.contains(&&*column.name);
        }
        self
    }

    /// Whether `rows` have these columns, of these types, with nulls only where they may be.
    ///
    /// # Errors
    /// What is wrong with which column.
    pub fn check(&self, rows: &RowBatch) -> Result<(), String> {
        let name = &self.name;
        if rows.columns().len() != self.columns.len() {
            let (got, want) = (rows.columns().len(), self.columns.len());
            return Err(format!("table {name:?} has {want} columns, the batch has {got}"));
        }
        for (column, def) in rows.columns().iter().zip(&self.columns) {
            let kind = column.values.kind();
            if kind != def.kind {
                return Err(format!(
                    "column {:?} of table {name:?} is {:?}, the batch has {kind:?}",
                    def.name, def.kind
                ));
            }
            if !def.nullable && !column.nulls.is_empty() {
                return Err(format!("column {:?} of table {name:?} must not be null", def.name));
            }
        }
        Ok(())
    }

    /// An empty batch of this schema.
    pub fn batch(&self) -> RowBatch {
        RowBatch { columns: self.columns.iter().map(|c| Column::new(c.kind)).collect(), len: 0 }
    }
}

/// Text values end to end.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TextColumn {
    ends: Vec<u32>,
    bytes: Vec<u8>,
}

impl TextColumn {
    /// Appends a value.
    ///
    /// # Panics
    /// When the column would exceed 4 GiB; batches are cut long before.
    #[inline]
    pub fn push(&mut self, text: &[u8]) {
        self.bytes.extend_from_slice(text);
        self.ends.push(u32::try_from(self.bytes.len()).expect("a batch stays below 4 GiB of text"));
    }

    /// The value at `row`.
    #[inline]
    pub fn get(&self, row: usize) -> &[u8] {
        let start = if row == 0 { 0 } else { self.ends[row - 1] as usize };
        &self.bytes[start..self.ends[row] as usize]
    }

    /// How many bytes the values take.
    pub fn byte_len(&self) -> usize {
        self.bytes.len()
    }

    /// How many values there are, nulls included.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }
}

/// The values of a column; a null row holds the type's default.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Values {
    /// Integers.
    Int(Vec<i64>),
    /// Doubles.
    Float(Vec<f64>),
    /// Truth values.
    Bool(Vec<bool>),
    /// Microseconds since the epoch.
    Time(Vec<i64>),
    /// Texts.
    Text(TextColumn),
}

impl Values {
    /// The type of the values.
    pub fn kind(&self) -> ColumnType {
        match self {
            Self::Int(_) => ColumnType::Int,
            Self::Float(_) => ColumnType::Float,
            Self::Bool(_) => ColumnType::Bool,
            Self::Time(_) => ColumnType::Time,
            Self::Text(_) => ColumnType::Text,
        }
    }
}

/// A column of a batch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Column {
    /// The values.
    pub values: Values,
    /// The rows that are null, ascending; empty when none is.
    pub nulls: Vec<u32>,
    len: u32,
}

/// One value, borrowed from a batch.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Cell<'a> {
    /// Absent.
    Null,
    /// Integer.
    Int(i64),
    /// Double.
    Float(f64),
    /// Truth value.
    Bool(bool),
    /// Microseconds since the epoch.
    Time(i64),
    /// UTF-8 text.
    Text(&'a [u8]),
}

impl Cell<'_> {
    /// As a text that is compared or shown; `None` where it is absent.
    pub fn to_text(self) -> Option<String> {
        Some(match self {
            Cell::Null => return None,
            Cell::Int(value) => value.to_string(),
            Cell::Float(value) => format!("{value:?}"),
            Cell::Bool(value) => value.to_string(),
            Cell::Time(us) => String::from_utf8_lossy(&time::format(us)).into_owned(),
            Cell::Text(text) => String::from_utf8_lossy(text).into_owned(),
        })
    }
}

impl Column {
    /// An empty column.
    pub fn new(kind: ColumnType) -> Self {
        let values = match kind {
            ColumnType::Int => Values::Int(Vec::new()),
            ColumnType::Float => Values::Float(Vec::new()),
            ColumnType::Bool => Values::Bool(Vec::new()),
            ColumnType::Time => Values::Time(Vec::new()),
            ColumnType::Text => Values::Text(TextColumn::default()),
        };
        Column { values, nulls: Vec::new(), len: 0 }
    }

    /// Appends a value.
    ///
    /// # Panics
    /// When the value is not of the column's type.
    #[inline]
    pub fn push(&mut self, cell: Cell<'_>) {
        match (&mut self.values, cell) {
            (Values::Int(v), Cell::Int(x)) => v.push(x),
            (Values::Float(v), Cell::Float(x)) => v.push(x),
            (Values::Bool(v), Cell::Bool(x)) => v.push(x),
            (Values::Time(v), Cell::Time(x)) => v.push(x),
            (Values::Text(v), Cell::Text(x)) => v.push(x),
            (values, Cell::Null) => {
                self.nulls.push(self.len);
                match values {
                    Values::Int(v) | Values::Time(v) => v.push(0),
                    Values::Float(v) => v.push(0.0),
                    Values::Bool(v) => v.push(false),
                    Values::Text(v) => v.push(b""),
                }
            }
            (values, cell) => panic!("{cell:?} does not fit a column of {values:?}"),
        }
        self.len += 1;
    }

    /// The value at `row`.
    #[inline]
    pub fn get(&self, row: usize) -> Cell<'_> {
        if !self.nulls.is_empty() && self.nulls.binary_search(&(row as u32)).is_ok() {
            return Cell::Null;
        }
        match &self.values {
            Values::Int(v) => Cell::Int(v[row]),
            Values::Float(v) => Cell::Float(v[row]),
            Values::Bool(v) => Cell::Bool(v[row]),
            Values::Time(v) => Cell::Time(v[row]),
            Values::Text(v) => Cell::Text(v.get(row)),
        }
    }
}

/// Rows in columns.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RowBatch {
    columns: Vec<Column>,
    len: usize,
}

impl RowBatch {
    /// How many rows there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The columns, in the schema's order.
    pub fn columns(&self) -> &[Column] {
        &self.columns
    }

    /// Appends a row.
    ///
    /// # Panics
    /// When the row does not fit the schema.
    #[inline]
    pub fn push(&mut self, row: &[Cell<'_>]) {
        assert_eq!(row.len(), self.columns.len(), "a row has a value for every column");
        for (column, cell) in self.columns.iter_mut().zip(row) {
            column.push(*cell);
        }
        self.len += 1;
    }

    /// Appends a row that is computed cell by cell.
    ///
    /// # Panics
    /// When the row does not fit the schema.
    pub fn push_cells<'a>(&mut self, row: impl IntoIterator<Item = Cell<'a>>) {
        let mut cells = row.into_iter();
        for column in &mut self.columns {
            column.push(cells.next().expect("a row has a value for every column"));
        }
        self.len += 1;
    }

    /// Appends a column that is null in all rows so far.
    pub fn add_column(&mut self, kind: ColumnType) {
        let mut column = Column::new(kind);
        (0..self.len).for_each(|_| column.push(Cell::Null));
        self.columns.push(column);
    }

    /// Appends a column that has the same value in all rows so far.
    ///
    /// # Panics
    /// When the value is not of the column's type.
    pub fn add_constant(&mut self, kind: ColumnType, cell: Cell<'_>) {
        let mut column = Column::new(kind);
        (0..self.len).for_each(|_| column.push(cell));
        self.columns.push(column);
    }

    /// A batch of whole columns.
    ///
    /// # Panics
    /// When a column has not `len` rows.
    pub fn of_columns(columns: Vec<Column>, len: usize) -> Self {
        assert!(columns.iter().all(|column| column.len as usize == len), "columns are equally long");
        RowBatch { columns, len }
    }

    /// The values of one row.
    pub fn row(&self, row: usize) -> impl Iterator<Item = Cell<'_>> {
        self.columns.iter().map(move |column| column.get(row))
    }

    /// Appends all rows of `other`, which has the same schema.
    pub fn append(&mut self, other: &RowBatch) {
        for row in 0..other.len {
            for (column, from) in self.columns.iter_mut().zip(&other.columns) {
                column.push(from.get(row));
            }
        }
        self.len += other.len;
    }

    /// Roughly how many bytes the rows take in memory.
    pub fn byte_len(&self) -> usize {
        self.columns
            .iter()
            .map(|c| match &c.values {
                Values::Text(t) => t.byte_len() + 4 * self.len,
                Values::Bool(_) => self.len,
                _ => 8 * self.len,
            })
            .sum()
    }
}
