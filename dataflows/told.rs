//! A line an epoch in the log: what was read, what was set aside, how many rows each output has gained, and how many each sink
//! was given.

use std::sync::Arc;
use std::time::Instant;

use tidegate::checkpoint::{CheckpointError, Committer, Decided, Decision, Pen, Threaded};
use tidegate::ingest::Counts;
use tidegate::telemetry::Board;
use tracing::info;

use crate::pipeline::Pipeline;

/// A committer that tells what it has decided.
pub(crate) struct Told {
    inner: Threaded,
    pipeline: &'static str,
    outputs: Vec<String>,
    board: Arc<Board>,
    /// What was told up to now.
    last: Totals,
    asked: Option<(Totals, Instant)>,
}

/// Sums since the first start of a run; those of sinks since this start.
#[derive(Clone, Debug, Default)]
struct Totals {
    epoch: u64,
    read: u64,
    rejected: u64,
    late: u64,
    rows: Vec<u64>,
    sinks: Vec<(String, u64)>,
}

impl Totals {
    fn of(epoch: u64, counts: &Counts, rows: impl Iterator<Item = u64>) -> Self {
        // A record that is late for two outputs counts once for each: the largest count is that of a record.
        let late = counts.outputs.iter().map(|output| output.late + output.idle).max().unwrap_or(0);
        Totals {
            epoch,
            read: counts.read,
            rejected: counts.rejected.iter().sum(),
            late,
            rows: rows.collect(),
            sinks: Vec::new(),
        }
    }
}

impl Told {
    /// Starts `pen`, and tells what it decides of `pipeline`.
    pub(crate) fn start(pen: Pen, pipeline: &dyn Pipeline) -> Self {
        let last = pen.decided.as_ref().map(|manifest| {
            Totals::of(manifest.epoch, &manifest.counts, manifest.tallies.iter().map(|tally| tally.rows))
        });
        Told {
            board: Arc::clone(&pen.board),
            inner: Threaded::start(pen),
            pipeline: pipeline.name(),
            outputs: pipeline.outputs(),
            last: last.unwrap_or_default(),
            asked: None,
        }
    }

    fn tell(&mut self) {
        let Some((now, began)) = self.asked.take() else { return };
        // An epoch that was decided before is only repeated.
        if now.epoch <= self.last.epoch {
            return;
        }
        let before = std::mem::replace(&mut self.last, now.clone());
        let records = now.read.saturating_sub(before.read);
        let rows = gained(&self.outputs, &before.rows, &now.rows);
        let sinks = given(&before.sinks, &now.sinks);
        if records == 0 && rows.is_empty() {
            return;
        }
        let (pipeline, epoch) = (self.pipeline, now.epoch);
        let late = now.late.saturating_sub(before.late);
        let rejected = now.rejected.saturating_sub(before.rejected);
        let commit_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        info!(pipeline, epoch, records, late, rejected, commit_ms, rows, sinks, "epoch");
    }
}

/// `page_view_counts 12, active_users 3`: the outputs whose tables and topics have grown.
fn gained(outputs: &[String], before: &[u64], now: &[u64]) -> String {
    let of = |(index, name): (usize, &String)| {
        let rows = now.get(index)?.saturating_sub(before.get(index).copied().unwrap_or(0));
        (rows > 0).then(|| format!("{name} {rows}"))
    };
    outputs.iter().enumerate().filter_map(of).collect::<Vec<_>>().join(", ")
}

/// `postgres 12, kafka 3`: the sinks that were given rows.
fn given(before: &[(String, u64)], now: &[(String, u64)]) -> String {
    let (names, now): (Vec<String>, Vec<u64>) = now.iter().cloned().unzip();
    gained(&names, &before.iter().map(|(_, rows)| *rows).collect::<Vec<_>>(), &now)
}

impl Committer for Told {
    fn submit(&mut self, decision: Decision) {
        let rows = decision.tallies.iter().map(|tally| tally.rows);
        let mut totals = Totals::of(decision.epoch, &decision.counts, rows);
        // The tallies have been read just now, and the next epoch has not begun: nothing of it is in these sums either.
        totals.sinks = self.board.sink_rows();
        self.asked = Some((totals, Instant::now()));
        self.inner.submit(decision);
    }

    fn poll(&mut self) -> Option<Result<Decided, CheckpointError>> {
        let answer = self.inner.poll();
        match &answer {
            Some(Ok(_)) => self.tell(),
            Some(Err(_)) => self.asked = None,
            None => {}
        }
        answer
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_outputs_that_grew_are_named() {
        let outputs = ["a", "b", "c"].map(str::to_owned);
        assert_eq!(gained(&outputs, &[1, 5, 2], &[4, 5, 3]), "a 3, c 1");
        // A relation may shrink; a run without a past has nothing before.
        assert_eq!(gained(&outputs, &[], &[0, 2]), "b 2");
        assert_eq!(gained(&outputs, &[9], &[3]), "");
    }

    #[test]
    fn sinks_are_told_with_what_they_were_given_since() {
        let board = Board::default();
        board.feeds("Tables", ["postgres", "console"].into_iter());
        board.feeds("Topics", ["kafka"].into_iter());
        board.fed_by("Tables").rows(12);
        let first = board.sink_rows();
        assert_eq!(given(&[], &first), "postgres 12, console 12");
        board.fed_by("Topics").rows(3);
        assert_eq!(given(&first, &board.sink_rows()), "kafka 3");
        assert_eq!(given(&first, &first), "");
    }
}
