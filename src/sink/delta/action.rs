//! What a commit of a Delta table says, as its protocol has it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::rows::{ColumnType, Schema};

/// A line of a commit.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Action {
    /// What a reader and a writer must be able to do.
    Protocol(Protocol),
    /// What the table is.
    MetaData(Box<MetaData>),
    /// How far an application has come.
    Txn(Txn),
    /// A file is in.
    Add(Add),
    /// A file is out.
    Remove(Remove),
    /// Who made the commit, for people.
    CommitInfo(Value),
}

/// What a reader and a writer must be able to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Protocol {
    /// The reader's version.
    pub min_reader_version: i32,
    /// The writer's version.
    pub min_writer_version: i32,
}

/// What the table is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MetaData {
    /// A UUID.
    pub id: String,
    /// Its name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The files' format.
    pub format: Format,
    /// The columns, as JSON.
    pub schema_string: String,
    /// The columns that are directories.
    pub partition_columns: Vec<String>,
    /// Settings of the table.
    #[serde(default)]
    pub configuration: BTreeMap<String, Option<String>>,
    /// When it was made, ms.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created_time: Option<i64>,
}

/// The format of a table's files.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Format {
    /// `parquet`.
    pub provider: String,
    /// None.
    #[serde(default)]
    pub options: BTreeMap<String, Option<String>>,
}

/// How far an application has come.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Txn {
    /// The application.
    pub app_id: String,
    /// How far.
    pub version: i64,
    /// When, ms.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_updated: Option<i64>,
}

/// A file is in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Add {
    /// Its path below the table, percent-encoded.
    pub path: String,
    /// The values of the partition columns.
    pub partition_values: BTreeMap<String, Option<String>>,
    /// Bytes.
    pub size: i64,
    /// When it was written, ms.
    pub modification_time: i64,
    /// Whether its rows are new, and not only in a new place.
    pub data_change: bool,
    /// Statistics, as JSON.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stats: Option<String>,
}

/// A file is out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Remove {
    /// Its path below the table.
    pub path: String,
    /// When, ms.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deletion_timestamp: Option<i64>,
    /// Whether its rows are gone, and not only in a new place.
    pub data_change: bool,
}

impl Action {
    /// The action in a line; `None` for one of a kind that tidegate has no use for.
    ///
    /// # Errors
    /// When it is not JSON, or an action that lacks something.
    pub fn read(line: Value) -> Result<Option<Action>, String> {
        let Value::Object(object) = &line else { return Err("an action is not an object".to_owned()) };
        let known = ["protocol", "metaData", "txn", "add", "remove", "commitInfo"];
        if !object.keys().any(|kind| known.contains(&&**kind)) {
            return Ok(None);
        }
        serde_json::from_value(line).map(Some).map_err(|error| error.to_string())
    }
}

/// The columns of a table as Delta writes them, with its partition columns, which are dates, at the end.
pub(super) fn schema_json(schema: &Schema, partition_columns: &[String]) -> Value {
    let field = |name: &str, kind: &str, nullable: bool| json!({"name": name, "type": kind, "nullable": nullable, "metadata": {}});
    let columns = schema.columns.iter().map(|column| {
        let kind = match column.kind {
            ColumnType::Int => "long",
            ColumnType::Float => "double",
            ColumnType::Bool => "boolean",
            ColumnType::Time => "timestamp",
            ColumnType::Text => "string",
        };
        field(&column.name, kind, column.nullable)
    });
    let levels = partition_columns.iter().map(|name| field(name, "date", true));
    json!({"type": "struct", "fields": columns.chain(levels).collect::<Vec<_>>()})
}

/// The columns that `ours` has and `theirs` lacks, put behind theirs as nullable; `None` where nothing is lacking.
///
/// # Errors
/// A column that both have with different types.
pub(super) fn merged(theirs: &Value, ours: &Value) -> Result<Option<Value>, String> {
    let fields = |schema: &Value| schema["fields"].as_array().cloned().unwrap_or_default();
    let mut all = fields(theirs);
    let known = all.len();
    for field in fields(ours) {
        match all.iter().find(|other| other["name"] == field["name"]) {
            None => {
                let mut new = field;
                new["nullable"] = true.into();
                all.push(new);
            }
            Some(other) if other["type"] != field["type"] => {
                return Err(format!(
                    "column {} is {} there and {} here",
                    field["name"], other["type"], field["type"]
                ));
            }
            Some(_) => {}
        }
    }
    Ok((all.len() > known).then(|| json!({"type": "struct", "fields": all})))
}
