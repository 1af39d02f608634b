//! The training set as files.

use std::borrow::Cow;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tidegate::rows::{Cell, ColumnDef, ColumnType, Schema};
use tidegate::sink::SinkError;
use tidegate::sink::lake::{replace_file, write_rows};
use tidegate::time;

use super::{LABELS, STATISTICS, TrainingSet};

/// A form of the training set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// `training_set.parquet`.
    Parquet,
    /// `training_set.csv`, with a line of names; null is an empty field.
    Csv,
}

/// The columns of the training set over `features`.
pub fn schema(features: &[String]) -> Schema {
    let column = |name: String, kind, nullable| ColumnDef { name: Cow::Owned(name), kind, nullable };
    let mut columns = vec![
        column("cycle".to_owned(), ColumnType::Int, false),
        column("start_time".to_owned(), ColumnType::Time, false),
        column("seconds".to_owned(), ColumnType::Int, false),
        column("complete".to_owned(), ColumnType::Bool, false),
    ];
    let statistics = features.iter().flat_map(|feature| STATISTICS.map(|of| format!("{feature}_{of}")));
    columns.extend(statistics.map(|name| column(name, ColumnType::Float, true)));
    columns.extend(LABELS.map(|name| column(name.to_owned(), ColumnType::Int, true)));
    Schema { name: "training_set".into(), columns, key: vec![0] }
}

/// Writes the training set into the directory `out`, in place of what is there; a cycle of `whole` seconds is complete.
/// The files' paths.
///
/// # Errors
/// When it cannot be written.
pub fn write(
    set: &TrainingSet,
    features: &[String],
    whole: u32,
    forms: &[Form],
    out: &Path,
) -> Result<Vec<PathBuf>, SinkError> {
    let schema = Arc::new(schema(features));
    let mut rows = schema.batch();
    for row in set.rows() {
        let statistics = row.statistics().map(|value| value.map_or(Cell::Null, Cell::Float));
        let label = row.label.map(|label| label.values().map(Cell::Int)).unwrap_or([Cell::Null; 5]);
        let head = [
            Cell::Int(row.cycle),
            Cell::Time(row.start_us),
            Cell::Int(row.seconds.into()),
            Cell::Bool(row.seconds >= whole),
        ];
        rows.push_cells(head.into_iter().chain(statistics).chain(label));
    }
    let mut written = Vec::new();
    for form in forms {
        let path = out.join(match form {
            Form::Parquet => "training_set.parquet",
            Form::Csv => "training_set.csv",
        });
        match form {
            Form::Parquet => write_rows(&path, &schema, &rows)?,
            Form::Csv => {
                let names: Vec<&str> = schema.columns.iter().map(|column| &*column.name).collect();
                let mut text = names.join(",");
                text.push('\n');
                for row in 0..rows.len() {
                    for (at, cell) in rows.row(row).enumerate() {
                        if at > 0 {
                            text.push(',');
                        }
                        csv_cell(cell, &mut text);
                    }
                    text.push('\n');
                }
                replace_file(&path, text.as_bytes())?;
            }
        }
        written.push(path);
    }
    Ok(written)
}

/// Numbers in the shortest form that reads back the same; no value here needs quotes.
fn csv_cell(cell: Cell<'_>, text: &mut String) {
    // Writing to a string cannot fail.
    match cell {
        Cell::Null => Ok(()),
        Cell::Int(value) => write!(text, "{value}"),
        Cell::Float(value) => write!(text, "{value}"),
        Cell::Bool(value) => write!(text, "{value}"),
        Cell::Time(value) => write!(text, "{}", String::from_utf8_lossy(&time::format(value))),
        Cell::Text(value) => write!(text, "{}", String::from_utf8_lossy(value)),
    }
    .unwrap_or_default();
}
