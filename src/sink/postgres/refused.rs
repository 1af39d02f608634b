//! Rows that the server refuses for what they hold: a constraint, a trigger or an index that somebody has put on the table.
//!
//! They must not hold up the others. The rows of a table go in by one statement; where it is refused it is taken back, and
//! halves of the rows are tried, and halves of those, until what is refused is single rows. Each goes to `tidegate_refused`,
//! with the server's reason, in the transaction of the others: exactly once, as they. Where very many are refused it is the
//! table that is wrong, and the sink fails. A constraint that is deferred to COMMIT names no row, and fails the sink as well.

use std::iter;

use super::error::{Fault, mend};
use super::session::Session;
use super::sql::{self, EpochOf, Replace};
use crate::rows::{RowBatch, Schema};
use crate::sink::staged::failed;

/// So many rows of an epoch, or of a batch that is merged, may be refused, by table.
const MOST: u64 = 1_000;

/// The rows of one table, and what they are of.
#[derive(Debug)]
pub(super) struct Sent<'a> {
    pub(super) sink: &'a str,
    pub(super) epoch: EpochOf<'a>,
    /// The number of the temporary table that they are in.
    pub(super) stage: usize,
    /// The rows, where they are so few that they go with the statement and are in no temporary table yet.
    pub(super) here: &'a [RowBatch],
    pub(super) schema: &'a Schema,
    pub(super) rows: i64,
    pub(super) replace: Replace<'a>,
}

/// What became of them.
#[derive(Debug, Default)]
pub(super) struct Upserted {
    /// How many the server has refused.
    pub(super) refused: u64,
    /// What it said of the first of them.
    pub(super) first: Option<String>,
    /// How many rows have changed, where the statement says it.
    pub(super) changed: u64,
}

impl Sent<'_> {
    /// Upserts them, and sets aside what is refused.
    pub(super) async fn upsert(&self, session: &Session, at: &str) -> Result<Upserted, Fault> {
        let &Sent { sink, epoch, stage, here, schema, rows, replace } = self;
        let mut done = Upserted::default();
        if here.is_empty() {
            if let Ok(changed) = session.guarded(&sql::upsert(at, stage, schema, replace)).await? {
                done.changed = changed;
                return Ok(done);
            }
        } else {
            if session.upsert_at_once_guarded(at, schema, here, replace).await?.is_ok() {
                return Ok(done);
            }
            let mut left = here.iter();
            session.send(stage, schema, &mut || Ok(left.next().cloned())).await?;
        }
        session.run(&sql::create_last(stage, schema, replace)).await?;
        let mut left: Vec<_> = iter::once(0..rows).collect();
        while let Some(numbers) = left.pop() {
            let statement = sql::upsert_some(at, stage, schema, replace, &numbers);
            let refusal = match session.guarded(&statement).await? {
                Ok(changed) => {
                    done.changed += changed;
                    continue;
                }
                Err(refusal) => refusal,
            };
            let middle = numbers.start + (numbers.end - numbers.start) / 2;
            if middle > numbers.start {
                left.extend([middle..numbers.end, numbers.start..middle]);
                continue;
            }
            done.refused += 1;
            let (code, reason, name) = (&*refusal.sqlstate, &*refusal.reason, &schema.name);
            if done.refused > MOST {
                let (of, mend) = (self.of(), mend(code));
                let cause = format!(
                    "table {name:?} refuses more than {MOST} rows{of}, which is no matter of single rows: {reason} \
                     (SQLSTATE {code}); {mend}"
                );
                return Err(failed(sink, cause).into());
            }
            done.first.get_or_insert_with(|| format!("table {name:?}: {reason} (SQLSTATE {code})"));
            session.run(&sql::set_aside(at, stage, schema, middle, (sink, epoch), [code, reason])).await?;
        }
        Ok(done)
    }

    fn of(&self) -> String {
        match self.epoch {
            EpochOf::All(epoch) => format!(" of epoch {epoch}"),
            EpochOf::Column(_) => String::new(),
        }
    }
}
