//! Rows that the server refuses for what they hold: a constraint, a trigger or an index that somebody has put on the table.
//!
//! They must not hold up the others. The rows of a table go in by one statement; where it is refused it is taken back, and
//! halves of the rows are tried, and halves of those, until what is refused is single rows. Each goes to `tidegate_refused`,
//! with the server's reason, in the transaction of the others: exactly once, as they.

use tracing::warn;

use super::error::Fault;
use super::session::Session;
use super::sql;
use crate::rows::Schema;

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
        let Some(first) = session.attempt(&sql::upsert(at, table, schema)).await? else { return Ok(0) };
        session.run(&sql::create_last(table, schema)).await?;
        let mut refused = 0;
        let mut left = vec![0..rows];
        while let Some(numbers) = left.pop() {
            let statement = sql::upsert_some(at, table, schema, &numbers);
            let Some(refusal) = session.attempt(&statement).await? else { continue };
            let middle = numbers.start + (numbers.end - numbers.start) / 2;
            if middle == numbers.start {
                let about = [sink, &epoch.to_string(), &refusal.sqlstate, &refusal.reason];
                session.run(&sql::set_aside(at, table, schema, middle, about)).await?;
                refused += 1;
            } else {
                left.extend([middle..numbers.end, numbers.start..middle]);
            }
        }
        let (table, reason) = (&*schema.name, &first.reason);
        warn!(
            sink,
            epoch,
            table,
            rows = refused,
            reason,
            "PostgreSQL refused rows; they are in tidegate_refused"
        );
        Ok(refused)
    }
}
