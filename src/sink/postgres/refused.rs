//! Rows that the server refuses for what they hold: a constraint, a trigger or an index that somebody has put on the table.
//!
//! They must not hold up the others. The rows of a table go in by one statement; where it is refused it is taken back, and
//! halves of the rows are tried, and halves of those, until what is refused is single rows. Each goes to `tidegate_refused`,
//! with the server's reason, in the transaction of the others: exactly once, as they. Where very many are refused it is the
//! table that is wrong, and the sink fails. A constraint that is deferred to COMMIT names no row, and fails the sink as well.

use std::iter;

use super::error::{Fault, mend};
use super::session::Session;
use super::sql;
use crate::rows::Schema;
use crate::sink::staged::failed;

/// So many rows of an epoch may be refused, by table.
const MOST: u64 = 1_000;

/// The rows of one table that were sent, and what they are of.
#[derive(Debug)]
pub(super) struct Sent<'a> {
    pub(super) sink: &'a str,
    pub(super) epoch: u64,
    pub(super) table: usize,
    pub(super) schema: &'a Schema,
    pub(super) rows: i64,
}

impl Sent<'_> {
    /// Upserts them, and sets aside what is refused; gives how many that are.
    pub(super) async fn upsert(&self, session: &Session, at: &str) -> Result<u64, Fault> {
        let &Sent { sink, epoch, table, schema, rows } = self;
        if session.guarded(&sql::upsert(at, table, schema)).await?.is_none() {
            return Ok(0);
        }
        session.run(&sql::create_last(table, schema)).await?;
        let mut refused = 0;
        let mut left: Vec<_> = iter::once(0..rows).collect();
        while let Some(numbers) = left.pop() {
            let statement = sql::upsert_some(at, table, schema, &numbers);
            let Some(refusal) = session.guarded(&statement).await? else { continue };
            let middle = numbers.start + (numbers.end - numbers.start) / 2;
            if middle > numbers.start {
                left.extend([middle..numbers.end, numbers.start..middle]);
                continue;
            }
            refused += 1;
            let (code, reason) = (&*refusal.sqlstate, &*refusal.reason);
            if refused > MOST {
                let (name, mend) = (&schema.name, mend(code));
                let cause = format!(
                    "table {name:?} refuses more than {MOST} rows of epoch {epoch}, which is no matter of single \
                     rows: {reason} (SQLSTATE {code}); {mend}"
                );
                return Err(failed(sink, cause).into());
            }
            session.run(&sql::set_aside(at, table, schema, middle, (sink, epoch), [code, reason])).await?;
        }
        Ok(refused)
    }
}
