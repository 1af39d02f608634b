//! How a database's tables stand, asked in one query, so that all of the answer is of one moment: which epoch is in, how many rows
//! there are, and how many keys have more than one.

use crate::rows::Schema;

/// How the tables of one sink stand.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// The last epoch that is in; `None` before the first.
    pub epoch: Option<u64>,
    /// Each table, in the order of its schema.
    pub tables: Vec<TableCount>,
}

/// How many rows a table has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TableCount {
    /// How many rows.
    pub rows: u64,
    /// How many keys have more than one.
    pub repeated: u64,
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// The query; `at` stands before the names of tables.
pub(crate) fn query<'s>(at: &str, sink: &str, schemas: impl Iterator<Item = &'s Schema>) -> String {
    let sink = sink.replace('\'', "''");
    let mut columns = vec![format!("(SELECT epoch FROM {at}tidegate_epochs WHERE sink = '{sink}')")];
    for schema in schemas {
        let table = format!("{at}{}", quoted(&schema.name));
        let key: Vec<String> =
            schema.key.iter().map(|&column| quoted(&schema.columns[column].name)).collect();
        columns.push(format!("(SELECT count(*) FROM {table})"));
        columns.push(if key.is_empty() {
            "0".to_owned()
        } else {
            let key = key.join(", ");
            format!(
                "(SELECT count(*) FROM (SELECT 1 AS one FROM {table} GROUP BY {key} HAVING count(*) > 1) AS repeated)"
            )
        });
    }
    format!("SELECT {}", columns.join(", "))
}

/// What its one row says, null being `None`.
pub(crate) fn answer(row: &[Option<u64>]) -> Standing {
    let (epoch, counts) = row.split_first().map_or((None, row), |(epoch, counts)| (*epoch, counts));
    let table = |pair: &[Option<u64>]| {
        let count = |at: usize| pair.get(at).copied().flatten().unwrap_or(0);
        TableCount { rows: count(0), repeated: count(1) }
    };
    Standing { epoch, tables: counts.chunks(2).map(table).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rows::ColumnType::{Int, Text};

    #[test]
    fn one_query_asks_for_all() {
        let keyed = Schema::new("t", &[("k", Text), ("v", Int)], &["k"]);
        let other = Schema::new("u", &[("v", Int)], &[]);
        assert_eq!(
            query("s.", "it's", [&keyed, &other].into_iter()),
            "SELECT (SELECT epoch FROM s.tidegate_epochs WHERE sink = 'it''s'), (SELECT count(*) FROM s.\"t\"), \
             (SELECT count(*) FROM (SELECT 1 AS one FROM s.\"t\" GROUP BY \"k\" HAVING count(*) > 1) AS repeated), \
             (SELECT count(*) FROM s.\"u\"), 0"
        );
    }

    #[test]
    fn answer_is_the_epoch_and_a_pair_a_table() {
        let found = answer(&[Some(7), Some(3), Some(1), Some(2), Some(0)]);
        let count = |rows, repeated| TableCount { rows, repeated };
        assert_eq!(found, Standing { epoch: Some(7), tables: vec![count(3, 1), count(2, 0)] });
        assert_eq!(answer(&[None]), Standing::default());
    }
}
