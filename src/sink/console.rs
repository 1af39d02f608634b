//! Prints the rows of tables when their epoch is committed, for people and for pipes. At least once.
//!
//! Rows are staged in a local file as for a database, so that a run that dies between the manifest and the
//! commit prints them when it comes back. There is no mark: what was printed cannot be taken back, so a process
//! that dies while it prints makes the next one print the epoch again.

use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use super::disk::{Disk, Durability};
use super::tables::{Stage, StagedReader, TableBatch};
use super::{Sink, SinkError, Staged};
use crate::rows::{Cell, RowBatch, Schema};
use crate::time::{TEXT_LEN, format};

/// How rows are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConsoleFormat {
    /// A title a table and aligned columns.
    Text,
    /// One object a line: `{"epoch":1,"row":{…},"table":"t"}`.
    JsonLines,
}

/// The sink that prints.
#[derive(Debug)]
pub struct Console<W> {
    stage: Stage,
    format: ConsoleFormat,
    writer: W,
}

impl<W: Write> Console<W> {
    /// Prints rows of `schemas` to `writer`; rows that are not decided wait in `state_dir`.
    ///
    /// # Errors
    /// [`SinkError::Failed`] when `state_dir` cannot be made.
    pub fn open(
        state_dir: &Path,
        sink: &str,
        schemas: Vec<Arc<Schema>>,
        durability: Durability,
        format: ConsoleFormat,
        writer: W,
    ) -> Result<Self, SinkError> {
        let root = state_dir.join(".tidegate").join("console").join(sink);
        let stage = Stage::open(Disk::new(durability), root, sink, schemas, |_, _| Ok(()))?;
        Ok(Console { stage, format, writer })
    }

    fn print(&mut self, epoch: u64, table: usize, rows: &RowBatch) -> Result<(), SinkError> {
        let schema = &self.stage.schemas[table];
        let text = match self.format {
            ConsoleFormat::Text => aligned(schema, epoch, rows),
            ConsoleFormat::JsonLines => json_lines(schema, epoch, rows),
        };
        self.writer
            .write_all(text.as_bytes())
            .map_err(|error| self.stage.books.failed(format!("cannot print: {error}")))
    }
}

impl<W: Write> Sink for Console<W> {
    type Batch = TableBatch;

    fn write(&mut self, epoch: u64, batch: TableBatch) -> Result<(), SinkError> {
        self.stage.write(epoch, &batch)
    }

    fn prepare(&mut self, epoch: u64) -> Result<Staged, SinkError> {
        self.stage.prepare(epoch)
    }

    fn commit(&mut self, epoch: u64, _generation: u64, staged: &Staged) -> Result<(), SinkError> {
        let description = self.stage.description(epoch, staged)?;
        // What an earlier commit has printed is cleared away; nothing else removes a staged directory.
        if description.dir.is_empty() || !self.stage.books.dir(&description.dir).exists() {
            return self.stage.clear(epoch);
        }
        let mut tables: Vec<_> = self.stage.schemas.iter().map(|schema| schema.batch()).collect();
        for file in &description.files {
            let mut reader = StagedReader::open(&self.stage, &description.dir, file)?;
            while let Some(batch) = reader.next()? {
                tables[batch.table].append(&batch.rows);
            }
        }
        for (table, rows) in tables.iter().enumerate().filter(|(_, rows)| !rows.is_empty()) {
            self.print(epoch, table, rows)?;
        }
        self.writer.flush().map_err(|error| self.stage.books.failed(format!("cannot print: {error}")))?;
        self.stage.clear(epoch)
    }
}

/// A text for people: control characters are shown, not sent to the terminal.
pub(super) fn printable(text: &str) -> String {
    let shown = |c: char| if c.is_control() { c.escape_default().to_string() } else { c.to_string() };
    text.chars().map(shown).collect()
}

/// A cell for people.
fn shown(cell: Cell<'_>) -> String {
    match cell {
        Cell::Null => "null".to_owned(),
        Cell::Int(value) => value.to_string(),
        Cell::Float(value) => value.to_string(),
        Cell::Bool(value) => value.to_string(),
        Cell::Time(us) => time(us),
        Cell::Text(text) => printable(&String::from_utf8_lossy(text)),
    }
}

fn time(us: i64) -> String {
    let text: [u8; TEXT_LEN] = format(us);
    String::from_utf8_lossy(&text).into_owned()
}

fn aligned(schema: &Schema, epoch: u64, rows: &RowBatch) -> String {
    let names = schema.columns.iter().map(|column| column.name.to_string()).collect();
    let mut lines: Vec<Vec<String>> = vec![names];
    lines.extend((0..rows.len()).map(|row| rows.row(row).map(shown).collect()));
    let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..schema.columns.len()).map(width).collect();
    let mut text = format!("{} (epoch {epoch})\n", schema.name);
    for line in &lines {
        let cells: Vec<_> = line.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        text.push_str(cells.join("  ").trim_end());
        text.push('\n');
    }
    text
}

fn json_lines(schema: &Schema, epoch: u64, rows: &RowBatch) -> String {
    let mut text = String::new();
    for row in 0..rows.len() {
        let value = |cell: Cell<'_>| match cell {
            Cell::Null => serde_json::Value::Null,
            Cell::Int(value) => value.into(),
            Cell::Float(value) => value.into(),
            Cell::Bool(value) => value.into(),
            Cell::Time(us) => time(us).into(),
            Cell::Text(text) => String::from_utf8_lossy(text).into(),
        };
        let cells = schema.columns.iter().zip(rows.row(row));
        let object: serde_json::Map<_, _> =
            cells.map(|(column, cell)| (column.name.to_string(), value(cell))).collect();
        let line = serde_json::json!({"table": schema.name, "epoch": epoch, "row": object});
        text.push_str(&line.to_string());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rows::ColumnType::{Int, Text};

    fn printed(format: ConsoleFormat, again: bool) -> String {
        let dir = tempfile::tempdir().unwrap();
        let schema = Arc::new(Schema::new("pages", &[("page", Text), ("views", Int)], &["page"]));
        let mut out = Vec::new();
        let open = |out| {
            let schemas = vec![Arc::clone(&schema)];
            Console::open(dir.path(), "p", schemas, Durability::Process, format, out).unwrap()
        };
        let mut first = open(Vec::new());
        let mut rows = schema.batch();
        rows.push(&[Cell::Text(b"/long\x1b"), Cell::Int(1)]);
        rows.push(&[Cell::Text(b"/"), Cell::Int(12)]);
        first.write(3, TableBatch { table: 0, rows, provisional: false }).unwrap();
        let staged = first.prepare(3).unwrap();
        assert!(first.writer.is_empty(), "printed before the commit");
        drop(first);
        // Another process commits.
        let mut second = open(Vec::new());
        second.commit(3, 1, &staged).unwrap();
        if again {
            second.commit(3, 1, &staged).unwrap();
        }
        out.append(&mut second.writer);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn text_is_aligned_and_cannot_steer_the_terminal() {
        let expected = "pages (epoch 3)\npage           views\n/long\\u{1b}    1\n/              12\n";
        let expected = expected.replace("    1\n", "  1\n");
        let found = printed(ConsoleFormat::Text, true);
        let columns = |text: &str| -> Vec<Vec<String>> {
            text.lines().map(|line| line.split_whitespace().map(str::to_owned).collect()).collect()
        };
        assert_eq!(columns(&found), columns(&expected));
        let starts: Vec<_> = found.lines().skip(1).map(|line| line.rfind("  ")).collect();
        assert!(starts.windows(2).all(|pair| pair[0] == pair[1]), "{found}");
    }

    #[test]
    fn json_is_one_object_a_line() {
        let expected = "{\"epoch\":3,\"row\":{\"page\":\"/long\\u001b\",\"views\":1},\"table\":\"pages\"}\n\
                        {\"epoch\":3,\"row\":{\"page\":\"/\",\"views\":12},\"table\":\"pages\"}\n";
        assert_eq!(printed(ConsoleFormat::JsonLines, false), expected);
    }
}
