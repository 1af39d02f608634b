//! The SQL of a table: its definition, its verification, and the upsert from a temporary table.

use std::ops::Range;

use crate::rows::{ColumnDef, ColumnType, Schema};

/// The statement that creates the marks of all sinks; `at` is the quoted schema with its dot, or nothing.
pub(super) fn create_marks(at: &str) -> String {
    format!(
        "CREATE TABLE IF NOT EXISTS {at}tidegate_epochs (\n    sink text PRIMARY KEY,\n    epoch bigint,\n    \
         generation bigint NOT NULL\n);\n"
    )
}

/// The columns of the table that keeps the rows which the server refuses, as the server names them.
pub(super) const REFUSED: [&str; 7] = [
    "sink text NOT NULL",
    "epoch bigint NOT NULL",
    "table_name text NOT NULL",
    "row jsonb NOT NULL",
    "sqlstate text NOT NULL",
    "reason text NOT NULL",
    "refused_at timestamp with time zone NOT NULL",
];

/// The statement that creates it where it is missing.
pub(super) fn create_refused(at: &str) -> String {
    format!("CREATE TABLE IF NOT EXISTS {at}tidegate_refused (\n    {}\n);\n", REFUSED.join(",\n    "))
}

/// The columns of the table that notes what is shown of epochs that go on.
pub(super) const EARLY: [&str; 4] =
    ["sink text NOT NULL", "epoch bigint NOT NULL", "table_name text NOT NULL", "rows bytea NOT NULL"];

/// The statement that creates it where it is missing.
pub(super) fn create_early(at: &str) -> String {
    format!("CREATE TABLE IF NOT EXISTS {at}tidegate_early (\n    {}\n);\n", EARLY.join(",\n    "))
}

/// The statement that creates the table of `schema` where it is missing.
pub(super) fn create_table(at: &str, schema: &Schema) -> String {
    let mut lines: Vec<String> = schema
        .columns
        .iter()
        .map(|column| {
            let null = if column.nullable { "" } else { " NOT NULL" };
            format!("    {} {}{null}", quoted(&column.name), sql_type(column.kind))
        })
        .collect();
    if !schema.key.is_empty() {
        // A primary key holds no null; where the key may, null is one key.
        let kind = if nullable_key(schema) { "UNIQUE NULLS NOT DISTINCT" } else { "PRIMARY KEY" };
        lines.push(format!("    {kind} ({})", key(schema)));
    }
    let (table, lines) = (quoted(&schema.name), lines.join(",\n"));
    format!("CREATE TABLE IF NOT EXISTS {at}{table} (\n{lines}\n);\n")
}

/// Whether the server can look a row up by its key, which it does only by one without nulls.
pub(super) fn is_looked_up(schema: &Schema) -> bool {
    !schema.key.is_empty() && !nullable_key(schema)
}

fn nullable_key(schema: &Schema) -> bool {
    schema.key.iter().any(|&column| schema.columns[column].nullable)
}

fn key(schema: &Schema) -> String {
    let names: Vec<_> = schema.key.iter().map(|&column| quoted(&schema.columns[column].name)).collect();
    names.join(", ")
}

/// Column names, types and whether they must be there, in order, as one text a row.
pub(super) fn columns_of(namespace: &str, table: &str) -> String {
    format!(
        "SELECT a.attname || ' ' || format_type(a.atttypid, a.atttypmod) || \
         CASE WHEN a.attnotnull THEN ' NOT NULL' ELSE '' END \
         FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace \
         WHERE n.nspname = {} AND c.relname = {} AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum",
        literal(namespace),
        literal(table)
    )
}

/// The columns of each unique index over plain columns and all rows, as one text a row.
pub(super) fn keys_of(namespace: &str, table: &str) -> String {
    format!(
        "SELECT (SELECT string_agg(a.attname, ', ' ORDER BY a.attname) FROM pg_attribute a \
         WHERE a.attrelid = i.indrelid AND a.attnum = ANY (i.indkey)) \
         FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid JOIN pg_namespace n ON n.oid = c.relnamespace \
         WHERE n.nspname = {} AND c.relname = {} AND i.indisunique AND i.indpred IS NULL AND i.indexprs IS NULL",
        literal(namespace),
        literal(table)
    )
}

/// What [`columns_of`] finds in a table that fits.
pub(super) fn wanted_columns(schema: &Schema) -> Vec<String> {
    let column = |column: &ColumnDef| {
        let null = if column.nullable { "" } else { " NOT NULL" };
        format!("{} {}{null}", column.name, long_type(column.kind))
    };
    schema.columns.iter().map(column).collect()
}

/// What [`keys_of`] finds, among others, in a table that fits.
pub(super) fn wanted_key(schema: &Schema) -> String {
    let mut names: Vec<_> = schema.key.iter().map(|&column| &*schema.columns[column].name).collect();
    names.sort_unstable();
    names.join(", ")
}

/// The temporary table number `stage`, which takes rows.
pub(super) fn stage_name(stage: usize) -> String {
    format!("tidegate_stage_{stage}")
}

/// Creates it.
pub(super) fn create_stage(stage: usize, schema: &Schema) -> String {
    let columns = schema.columns.iter().enumerate();
    let columns: Vec<_> =
        columns.map(|(number, column)| format!("c{number} {}", sql_type(column.kind))).collect();
    format!("CREATE TEMPORARY TABLE {} ({}, n bigint) ON COMMIT DROP", stage_name(stage), columns.join(", "))
}

/// Which rows of a table make way for those of the same key that are sent.
#[derive(Clone, Copy, Debug)]
pub(super) enum Replace<'a> {
    /// All.
    Any,
    /// Those that differ: many have been shown as they are to stay, and are looked at and not written. Texts are the same byte by byte.
    Different,
    /// Those that [differed](create_differing) a moment ago.
    Differed,
    /// Those whose values of these columns, compared in their order, are less. The statement gives how many rows it has changed.
    Older(&'a [&'static str]),
}

impl Replace<'_> {
    /// The rows among `rows` that are to go in.
    fn among(self, at: &str, schema: &Schema, rows: String) -> String {
        if !matches!(self, Replace::Different) || !is_looked_up(schema) {
            return rows;
        }
        let of_key = |&column: &usize| {
            let name = quoted(&schema.columns[column].name);
            format!("there.{name} = sent.c{column}")
        };
        let same = |number: usize| {
            let ColumnDef { name, kind, .. } = &schema.columns[number];
            let (there, sent) = (format!("there.{}", quoted(name)), format!("sent.c{number}"));
            match kind {
                ColumnType::Text => {
                    format!("{there} COLLATE \"C\" IS NOT DISTINCT FROM {sent} COLLATE \"C\"")
                }
                _ => format!("{there} IS NOT DISTINCT FROM {sent}"),
            }
        };
        let joined = |parts: Vec<String>| parts.join(" AND ");
        let (key, same) = (
            joined(schema.key.iter().map(of_key).collect()),
            joined((0..schema.columns.len()).map(same).collect()),
        );
        let (staged, target) = (staged(schema), quoted(&schema.name));
        // A query of its own a row, which the server does not turn into a look at the whole table.
        format!(
            "SELECT {staged} FROM ({rows}) AS sent \
             WHERE (SELECT {same} FROM {at}{target} AS there WHERE {key}) IS NOT TRUE"
        )
    }

    fn only(self, schema: &Schema, upsert: String) -> String {
        let Replace::Older(stamp) = self else { return upsert };
        let of = |row: &str| {
            stamp.iter().map(|name| format!("{row}.{}", quoted(name))).collect::<Vec<_>>().join(", ")
        };
        let is_newer = format!("({}) < ({})", of(&quoted(&schema.name)), of("excluded"));
        format!("WITH changed AS ({upsert} WHERE {is_newer} RETURNING 1) SELECT count(*) FROM changed")
    }
}

/// Upserts from it, in the order of keys, so that two writers lock rows in the same order; of several rows of a
/// key the last one.
pub(super) fn upsert(at: &str, stage: usize, schema: &Schema, replace: Replace<'_>) -> String {
    let rows = match replace {
        Replace::Differed => {
            let by = staged_key(schema).map(|by| format!(" ORDER BY {by}")).unwrap_or_default();
            format!("SELECT {} FROM {}{by}", staged(schema), differing_name(stage))
        }
        _ => replace.among(at, schema, last_rows(stage, schema)),
    };
    replace.only(schema, upsert_of(at, schema, &rows))
}

/// Finds the rows of it that [differ](Replace::Different) from those of the table, before anything is locked; the table must be one in
/// which rows [are looked up](is_looked_up).
pub(super) fn create_differing(at: &str, stage: usize, schema: &Schema) -> String {
    let rows = Replace::Different.among(at, schema, last_rows(stage, schema));
    format!("CREATE TEMPORARY TABLE {} ON COMMIT DROP AS {rows}", differing_name(stage))
}

/// Takes the rows out of it whose keys are in arrays, one a column of the key.
pub(super) fn delete_differing(stage: usize, schema: &Schema) -> String {
    let of_key = || schema.key.iter().zip(1..);
    let array =
        |(&column, number): (&usize, i32)| format!("${number}::{}[]", sql_type(schema.columns[column].kind));
    let name = |(_, number): (&usize, i32)| format!("k{number}");
    let same = |(column, number): (&usize, i32)| format!("differing.c{column} = known.k{number}");
    format!(
        "DELETE FROM {} AS differing USING unnest({}) AS known({}) WHERE {}",
        differing_name(stage),
        of_key().map(array).collect::<Vec<_>>().join(", "),
        of_key().map(name).collect::<Vec<_>>().join(", "),
        of_key().map(same).collect::<Vec<_>>().join(" AND "),
    )
}

fn differing_name(stage: usize) -> String {
    format!("tidegate_differing_{stage}")
}

/// Upserts likewise from arrays, one a column: what few rows cost is mostly the making of a temporary table.
pub(super) fn upsert_arrays(at: &str, schema: &Schema, replace: Replace<'_>) -> String {
    let arrays = schema
        .columns
        .iter()
        .zip(1..)
        .map(|(column, number)| format!("${number}::{}[]", sql_type(column.kind)));
    let (arrays, names) = (arrays.collect::<Vec<_>>().join(", "), staged(schema));
    let from = format!("unnest({arrays}) WITH ORDINALITY AS sent({names}, n)");
    let rows = replace.among(at, schema, last_rows_of(schema, &from));
    replace.only(schema, upsert_of(at, schema, &rows))
}

/// Deletes the rows whose keys are in it. Where there is no key, rows are only added, and nothing is deleted.
pub(super) fn delete_sent(at: &str, stage: usize, schema: &Schema) -> String {
    if schema.key.is_empty() {
        return String::new();
    }
    let same = |&column: &usize| {
        let ColumnDef { name, nullable, .. } = &schema.columns[column];
        // The server looks nothing up by the second, so only where it must be.
        let equals = if *nullable { "IS NOT DISTINCT FROM" } else { "=" };
        format!("target.{} {equals} sent.c{column}", quoted(name))
    };
    let same: Vec<_> = schema.key.iter().map(same).collect();
    let (target, sent) = (quoted(&schema.name), stage_name(stage));
    let key: Vec<_> = schema.key.iter().map(|column| format!("c{column}")).collect();
    let sent = format!("(SELECT DISTINCT {} FROM {sent}) AS sent", key.join(", "));
    format!("DELETE FROM {at}{target} AS target USING {sent} WHERE {}", same.join(" AND "))
}

/// The rows of [`upsert`] in another temporary table, from which some can be upserted: numbered from 0 in the order of their keys, so that
/// which of two rows in conflict goes in does not depend on who came first.
pub(super) fn create_last(stage: usize, schema: &Schema, replace: Replace<'_>) -> String {
    let (staged, last) = (staged(schema), last_name(stage));
    let rows = match staged_key(schema) {
        Some(by) if matches!(replace, Replace::Differed) => {
            let differing = differing_name(stage);
            format!("SELECT {staged}, row_number() OVER (ORDER BY {by}) - 1 AS n FROM {differing}")
        }
        None => format!("SELECT {staged}, n FROM {}", stage_name(stage)),
        Some(by) => {
            let rows = last_rows(stage, schema);
            format!("SELECT {staged}, row_number() OVER (ORDER BY {by}) - 1 AS n FROM ({rows}) AS of_keys")
        }
    };
    format!("CREATE TEMPORARY TABLE {last} ON COMMIT DROP AS {rows}; CREATE UNIQUE INDEX ON {last} (n)")
}

/// Upserts the rows with these numbers from it.
pub(super) fn upsert_some(
    at: &str,
    stage: usize,
    schema: &Schema,
    replace: Replace<'_>,
    numbers: &Range<i64>,
) -> String {
    let (staged, last, Range { start, end }) = (staged(schema), last_name(stage), numbers);
    let rows = format!("SELECT {staged} FROM {last} WHERE n >= {start} AND n < {end} ORDER BY n");
    replace.only(schema, upsert_of(at, schema, &rows))
}

/// Whose epoch a row that is set aside is of.
#[derive(Clone, Copy, Debug)]
pub(super) enum EpochOf<'a> {
    /// This one.
    All(u64),
    /// The one that it has in this column. Rows come again and again from where they are, and each is kept once.
    Column(&'a str),
}

/// Keeps the row with this number, and what the server said of it.
pub(super) fn set_aside(
    at: &str,
    stage: usize,
    schema: &Schema,
    number: i64,
    (sink, epoch): (&str, EpochOf<'_>),
    [sqlstate, reason]: [&str; 2],
) -> String {
    let named = |(number, column): (usize, &ColumnDef)| format!("c{number} AS {}", quoted(&column.name));
    let columns: Vec<_> = schema.columns.iter().enumerate().map(named).collect();
    let (last, columns, name) = (last_name(stage), columns.join(", "), literal(&schema.name));
    let (sink, sqlstate, reason) = (literal(sink), literal(sqlstate), literal(reason));
    let (epoch, once) = match epoch {
        // The server's integers are signed; the bits are kept.
        EpochOf::All(epoch) => ((epoch as i64).to_string(), String::new()),
        EpochOf::Column(column) => {
            let is_it =
                format!("kept.sink = {sink} AND kept.table_name = {name} AND kept.row = to_jsonb(refused.*)");
            let once = format!(" WHERE NOT EXISTS (SELECT FROM {at}tidegate_refused AS kept WHERE {is_it})");
            (format!("refused.{}", quoted(column)), once)
        }
    };
    format!(
        "INSERT INTO {at}tidegate_refused (sink, epoch, table_name, row, sqlstate, reason, refused_at) \
         SELECT {sink}, {epoch}, {name}, to_jsonb(refused.*), {sqlstate}, {reason}, now() \
         FROM (SELECT {columns} FROM {last} WHERE n = {number}) AS refused{once}"
    )
}

fn last_name(stage: usize) -> String {
    format!("tidegate_last_{stage}")
}

/// The columns of a temporary table.
fn staged(schema: &Schema) -> String {
    let names: Vec<_> = (0..schema.columns.len()).map(|number| format!("c{number}")).collect();
    names.join(", ")
}

/// Those of the key. Texts compare bytewise, which is fast and the same for every writer.
fn staged_key(schema: &Schema) -> Option<String> {
    let name = |&column: &usize| {
        let collate = if schema.columns[column].kind == ColumnType::Text { " COLLATE \"C\"" } else { "" };
        format!("c{column}{collate}")
    };
    let names: Vec<_> = schema.key.iter().map(name).collect();
    (!names.is_empty()).then(|| names.join(", "))
}

fn last_rows(stage: usize, schema: &Schema) -> String {
    last_rows_of(schema, &stage_name(stage))
}

/// Of several rows of a key the last one.
fn last_rows_of(schema: &Schema, from: &str) -> String {
    let staged = staged(schema);
    match staged_key(schema) {
        None => format!("SELECT {staged} FROM {from} ORDER BY n"),
        Some(by) => format!("SELECT DISTINCT ON ({by}) {staged} FROM {from} ORDER BY {by}, n DESC"),
    }
}

fn upsert_of(at: &str, schema: &Schema, rows: &str) -> String {
    let all: Vec<_> = schema.columns.iter().map(|column| quoted(&column.name)).collect();
    let (target, columns) = (quoted(&schema.name), all.join(", "));
    let insert = format!("INSERT INTO {at}{target} ({columns}) {rows}");
    if schema.key.is_empty() {
        return insert;
    }
    let sets: Vec<_> = (0..all.len())
        .filter(|column| !schema.key.contains(column))
        .map(|column| format!("{0} = excluded.{0}", all[column]))
        .collect();
    let action =
        if sets.is_empty() { "NOTHING".to_owned() } else { format!("UPDATE SET {}", sets.join(", ")) };
    format!("{insert} ON CONFLICT ({}) DO {action}", key(schema))
}

/// The statement that creates the positions of all readers of changes.
pub(super) fn create_positions(at: &str) -> String {
    format!(
        "CREATE TABLE IF NOT EXISTS {at}tidegate_sync (\n    name text PRIMARY KEY,\n    position bigint\n);\n"
    )
}

/// The query that says whether there is the index over one column.
pub(super) fn has_index(at: &str, schema: &Schema, column: &str) -> String {
    format!("SELECT to_regclass({})", literal(&format!("{at}{}", index(schema, column))))
}

fn index(schema: &Schema, column: &str) -> String {
    quoted(&format!("{}_{column}_idx", schema.name))
}

/// The statement that creates an index over one column where it is missing. It waits for who writes to the table, also where the index is there.
pub(super) fn create_index(at: &str, schema: &Schema, column: &str) -> String {
    let name = index(schema, column);
    format!("CREATE INDEX IF NOT EXISTS {name} ON {at}{} ({})", quoted(&schema.name), quoted(column))
}

/// The type in definitions.
fn sql_type(kind: ColumnType) -> &'static str {
    match kind {
        ColumnType::Int => "bigint",
        ColumnType::Float => "double precision",
        ColumnType::Bool => "boolean",
        ColumnType::Time => "timestamptz",
        ColumnType::Text => "text",
    }
}

/// The type as the server names it.
fn long_type(kind: ColumnType) -> &'static str {
    if kind == ColumnType::Time { "timestamp with time zone" } else { sql_type(kind) }
}

/// An identifier.
pub(super) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A text literal that means the same whatever `standard_conforming_strings` is.
pub(super) fn literal(text: &str) -> String {
    format!("E'{}'", text.replace('\\', "\\\\").replace('\'', "''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_literals_cannot_break_out() {
        assert_eq!(quoted("a\"; DROP"), "\"a\"\"; DROP\"");
        assert_eq!(literal("it's \\"), "E'it''s \\\\'");
    }

    #[test]
    fn newer_rows_only_replace_what_is_there() {
        let schema = Schema::new("t", &[("a", ColumnType::Int), ("e", ColumnType::Int)], &["a"]);
        let statement = upsert("s.", 0, &schema, Replace::Older(&["e"]));
        assert!(
            statement.contains("DO UPDATE SET \"e\" = excluded.\"e\" WHERE (\"t\".\"e\") < (excluded.\"e\")"),
            "{statement}"
        );
        assert_eq!(
            create_index("s.", &schema, "e"),
            "CREATE INDEX IF NOT EXISTS \"t_e_idx\" ON s.\"t\" (\"e\")"
        );
        assert_eq!(has_index("s.", &schema, "e"), "SELECT to_regclass(E's.\"t_e_idx\"')");
    }

    #[test]
    fn rows_that_are_there_already_are_only_looked_at() {
        let columns = [("k", ColumnType::Text), ("v", ColumnType::Float)];
        let keyed = Schema::new("t", &columns, &["k"]);
        let statement = upsert("s.", 0, &keyed, Replace::Different);
        assert!(
            statement.contains(
                "AS sent WHERE (SELECT there.\"k\" COLLATE \"C\" IS NOT DISTINCT FROM sent.c0 COLLATE \"C\" AND \
                 there.\"v\" IS NOT DISTINCT FROM sent.c1 \
                 FROM s.\"t\" AS there WHERE there.\"k\" = sent.c0) IS NOT TRUE ON CONFLICT"
            ),
            "{statement}"
        );
        let other = Schema::new("t", &columns, &[]);
        assert_eq!(upsert("s.", 0, &other, Replace::Different), upsert("s.", 0, &other, Replace::Any));
    }

    #[test]
    fn table_without_other_columns_keeps_what_is_there() {
        let schema = Schema::new("t", &[("a", ColumnType::Int)], &["a"]);
        assert!(upsert("", 0, &schema, Replace::Any).ends_with("ON CONFLICT (\"a\") DO NOTHING"));
    }
}
