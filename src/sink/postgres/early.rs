//! Rows of open windows, shown over a connection of their own, so that they do not wait for the staging of an epoch or the sending of its
//! rows. They wait only while those rows replace the ones in the tables.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::time::Duration;

use tokio::runtime::Runtime;
use tokio::sync::Mutex;

use super::config::Config;
use super::error::Fault;
use super::session::{Session, on_session};
use super::sql::Replace;
use super::target::Target;
use crate::sink::staged::{Turn, turn};
use crate::sink::tables::{Shown, TableBatch};
use crate::sink::{ShowBeside, SinkError};

/// How long the server may take. What it does not take in that time is left out: the end of the epoch gives it.
const PATIENCE: Duration = Duration::from_secs(5);

/// Who shows them.
#[derive(Debug)]
pub(super) struct Early {
    target: Target,
    runtime: Runtime,
    state: Mutex<State>,
}

/// What is shown and noted. A commit holds it while it is about to replace what was shown.
#[derive(Debug)]
pub(super) struct State {
    pub(super) shown: Shown,
    session: Option<Session>,
    /// The number of the connection by which early rows were noted; 0 before the first.
    noted_by: u64,
    /// The oldest epoch of which rows were shown since a commit has begun to compare; `None` where none were.
    since: Option<u64>,
    /// Whether a transaction of them may still be under way on the server: its connection was lost.
    in_doubt: bool,
    /// The tables of which rows were shown, or may have been.
    tables: BTreeSet<usize>,
    /// Those that a commit is writing, before it has locked the mark.
    written: BTreeSet<usize>,
}

impl State {
    fn of(shown: Shown) -> Self {
        State {
            shown,
            session: None,
            noted_by: 0,
            since: None,
            in_doubt: false,
            tables: BTreeSet::new(),
            written: BTreeSet::new(),
        }
    }

    /// Whether rows have been shown.
    pub(super) fn is_used(&self) -> bool {
        self.noted_by > 0
    }

    /// A commit begins to compare its rows with those that are there. `false` where it cannot, since more may come from a connection that
    /// was lost.
    pub(super) fn begin_comparing(&mut self) -> bool {
        self.since = None;
        !self.in_doubt
    }

    /// The mark was locked: whatever was in doubt is over.
    pub(super) fn locked(&mut self) {
        self.in_doubt = false;
    }

    /// A commit begins to write, before it locks the mark: gives those of `tables` of which nothing was shown. Nothing of them will be,
    /// until it has [written](State::has_written): who shows a row has the mark, and would wait for the commit, which waits for the mark.
    pub(super) fn begin_writing(&mut self, tables: impl Iterator<Item = usize>) -> BTreeSet<usize> {
        self.written = tables.filter(|table| !self.tables.contains(table)).collect();
        self.written.clone()
    }

    /// The transaction of the commit is over.
    pub(super) fn has_written(&mut self) {
        self.written.clear();
    }

    /// Rows of `epoch` are about to be shown in these tables.
    fn shows(&mut self, epoch: u64, tables: impl Iterator<Item = usize>) {
        self.tables.extend(tables);
        self.since = Some(self.since.map_or(epoch, |since| since.min(epoch)));
    }

    /// The batches that can be shown now. Those of tables that a commit is writing are left out: the end of the epoch gives them.
    fn showable<'b>(&self, batches: &'b [TableBatch]) -> Cow<'b, [TableBatch]> {
        let is_free = |batch: &&TableBatch| !self.written.contains(&batch.table);
        if batches.iter().all(|batch| is_free(&batch)) {
            return Cow::Borrowed(batches);
        }
        Cow::Owned(batches.iter().filter(is_free).cloned().collect())
    }

    /// Whether what a commit of `epoch` has found by comparing still holds: rows shown meanwhile are of later epochs only, which it
    /// writes once more by itself.
    pub(super) fn holds(&self, epoch: u64) -> bool {
        self.since.is_none_or(|shown| shown > epoch)
    }

    /// Runs `work` over the connection; after an error it is given up, and its transaction with it.
    async fn work<T>(
        &mut self,
        target: &Target,
        work: impl AsyncFnOnce(&Shown, &Session, u64) -> Result<T, Fault>,
    ) -> Result<T, Fault> {
        let State { shown, session, noted_by, .. } = self;
        let (shown, noted_by) = (&*shown, *noted_by);
        let held = session.take();
        let (given, done) =
            on_session(&target.config, held, async |session| work(shown, session, noted_by).await).await?;
        *session = Some(given);
        Ok(done)
    }
}

impl Early {
    pub(super) fn new(target: &Target, shown: Shown, runtime: Runtime) -> Self {
        let mut target = target.clone();
        // A commit waits for them inside its transaction.
        let Config { connect_timeout, statement_timeout, lock_timeout, .. } = &mut target.config;
        for limit in [connect_timeout, statement_timeout, lock_timeout] {
            *limit = if limit.is_zero() { PATIENCE } else { PATIENCE.min(*limit) };
        }
        Early { target, runtime, state: Mutex::new(State::of(shown)) }
    }

    pub(super) async fn state(&self) -> tokio::sync::MutexGuard<'_, State> {
        self.state.lock().await
    }
}

impl ShowBeside<TableBatch> for Early {
    /// One transaction, for whose way to the server's disk nobody waits: what a crash of the server loses comes again. A row that
    /// the server refuses is told by the commit of the epoch, which sets it aside.
    fn show(&self, epoch: u64, generation: u64, batches: &[TableBatch]) -> Result<(), SinkError> {
        let target = &self.target;
        self.runtime.block_on(async {
            let mut state = self.state().await;
            state.shown.check_all(batches)?;
            // Also where it fails: it may have happened.
            let before = state.since;
            let batches = &*state.showable(batches);
            if batches.is_empty() {
                return Ok(());
            }
            state.shows(epoch, batches.iter().map(|batch| batch.table));
            let showing = state.work(target, async |shown, session, noted_by| {
                let (last, newest) = target.begin(session, " FOR SHARE").await?;
                if turn(&target.sink, last, newest, epoch, generation)? == Turn::Done {
                    session.run("ROLLBACK").await?;
                    return Ok(None);
                }
                target.upsert_early(session, batches.iter(), Replace::Any).await?;
                // A server that was away may have lost what it was told last, for whose way to the disk nobody waited.
                let notes = shown.notes_of(epoch, batches, session.serial() == noted_by);
                for (table, rows) in shown.encoded(&notes)? {
                    session.note_early(&target.at, &target.sink, epoch, (table, &rows)).await?;
                }
                session.run("SET LOCAL synchronous_commit = off; COMMIT").await?;
                Ok(Some((last, notes, session.serial())))
            });
            let showing = showing.await;
            state.in_doubt |= showing.as_ref().is_err_and(Fault::lost);
            let shown = showing.map_err(|fault| target.error(fault, "showing rows of open windows"))?;
            if shown.is_none() {
                state.since = before;
            }
            if let Some((last, notes, serial)) = shown {
                if serial != state.noted_by {
                    state.shown.doubt_notes();
                    state.noted_by = serial;
                }
                state.shown.note_shown(epoch, last, batches, notes);
            }
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rows::{ColumnType, Schema};

    #[test]
    fn what_was_found_by_comparing_holds_until_rows_of_the_epoch_are_shown() {
        let shown = Shown::new("p", &[], |_, _| Ok(()));
        let mut state = State::of(shown);
        let none = || std::iter::empty();
        state.shows(3, none());
        assert!(state.begin_comparing() && state.holds(3));
        state.shows(4, none());
        assert!(state.holds(3) && !state.holds(4));
        state.shows(3, none());
        state.shows(5, none());
        assert!(!state.holds(3) && state.holds(2));
        assert!(state.begin_comparing() && state.holds(3));
        // A connection is lost, and rows are shown over the next one: what was in doubt still is.
        state.in_doubt = true;
        state.shows(3, none());
        assert!(!state.begin_comparing() && !state.begin_comparing());
        state.locked();
        assert!(state.begin_comparing());
    }

    #[test]
    fn nothing_is_shown_of_a_table_that_a_commit_writes_before_its_lock() {
        let mut state = State::of(Shown::new("p", &[], |_, _| Ok(())));
        let rows = Schema::new("t", &[("k", ColumnType::Int)], &["k"]).batch();
        let batches = [0, 1, 2].map(|table| TableBatch { table, rows: rows.clone(), provisional: true });
        let showable =
            |state: &State| state.showable(&batches).iter().map(|batch| batch.table).collect::<Vec<_>>();
        state.shows(1, [0, 2].into_iter());
        assert_eq!(state.begin_writing([0, 1, 2, 3].into_iter()), BTreeSet::from([1, 3]));
        assert_eq!(showable(&state), [0, 2]);
        state.has_written();
        assert_eq!(showable(&state), [0, 1, 2]);
        state.shows(2, [1].into_iter());
        assert_eq!(state.begin_writing([1, 3].into_iter()), BTreeSet::from([3]));
    }
}
