//! Reads a table back, to be compared with another one.

use std::sync::Arc;

use super::config::Config;
use super::error::Fault;
use super::session::{Session, runtime};
use super::sql::quoted;
use crate::rows::{ColumnType, Schema};
use crate::sink::SinkError;
use crate::sink::staged::failed;
use crate::sink::tables::{Standing, answer, query};

/// Gives every row of the table of `schema`, as texts; null is `None`. The texts are those of
/// `sink::sqlite::read_rows`; the order is the server's.
///
/// # Errors
/// As for [`super::PostgresTables::open`]; nothing is created.
pub fn read_rows(
    config: &Config,
    schema: &Schema,
    row: &mut dyn FnMut(Vec<Option<String>>),
) -> Result<(), SinkError> {
    first_rows(config, schema, None, row)
}

/// As [`read_rows`], and no more than `most` of them.
///
/// # Errors
/// As there.
pub fn first_rows(
    config: &Config,
    schema: &Schema,
    most: Option<u64>,
    row: &mut dyn FnMut(Vec<Option<String>>),
) -> Result<(), SinkError> {
    let columns: Vec<_> = schema
        .columns
        .iter()
        .map(|column| {
            let name = quoted(&column.name);
            match column.kind {
                ColumnType::Time => {
                    format!("to_char({name} AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')")
                }
                ColumnType::Bool => format!("CASE WHEN {name} THEN 'true' WHEN NOT {name} THEN 'false' END"),
                _ => name,
            }
        })
        .collect();
    let (at, table) = (quoted(&config.schema), quoted(&schema.name));
    let limit = most.map_or(String::new(), |most| format!(" LIMIT {most}"));
    let query = format!("SELECT {} FROM {at}.{table}{limit}", columns.join(", "));
    let kinds: Vec<_> = schema.columns.iter().map(|column| column.kind).collect();
    let mut given = |mut texts: Vec<Option<String>>| {
        for (text, kind) in texts.iter_mut().zip(&kinds) {
            if let (Some(text), ColumnType::Float) = (text, kind)
                && let Ok(value) = text.parse::<f64>()
            {
                *text = format!("{value:?}");
            }
        }
        row(texts);
    };
    let runtime = runtime().map_err(|error| failed("postgres", error))?;
    let read = runtime.block_on(async {
        let session = Session::connect(config).await?;
        session.each_row(&query, &mut given).await?;
        Ok::<_, Fault>(())
    });
    read.map_err(|fault| fault.of("postgres", &config.place(), &format!("reading {:?}", schema.name)))
}

/// How the tables of `schemas` stand, which the sink called `sink` has written.
///
/// # Errors
/// As for [`super::PostgresTables::open`], and when a table is not there; nothing is created.
pub fn standing(config: &Config, sink: &str, schemas: &[Arc<Schema>]) -> Result<Standing, SinkError> {
    let at = format!("{}.", quoted(&config.schema));
    let query = query(&at, sink, schemas.iter().map(|schema| &**schema));
    let runtime = runtime().map_err(|error| failed("postgres", error))?;
    let asked = runtime.block_on(async {
        let session = Session::connect(config).await?;
        session.rows(&query).await
    });
    let rows = asked.map_err(|fault| fault.of("postgres", &config.place(), "counting rows"))?;
    let number = |cell: &Option<String>| cell.as_deref().and_then(|text| text.parse().ok());
    let row: Vec<Option<u64>> = rows.first().map(|row| row.iter().map(number).collect()).unwrap_or_default();
    Ok(answer(&row))
}

/// Asks the server for its version, as its role and in its database.
///
/// # Errors
/// As for [`super::PostgresTables::open`]; nothing is created.
pub fn server_version(config: &Config) -> Result<String, SinkError> {
    let runtime = runtime().map_err(|error| failed("postgres", error))?;
    let asked = runtime.block_on(async {
        let session = Session::connect(config).await?;
        session.rows("SHOW server_version").await
    });
    let rows = asked.map_err(|fault| fault.of("postgres", &config.place(), "asking for its version"))?;
    Ok(rows.into_iter().flatten().flatten().next().unwrap_or_default())
}
