//! What the dataflows of all pipelines are made of: their ends in the sinks, the workers under them, and their units.

use std::sync::Arc;
use std::time::Duration;

use tidegate::delivery::{TableBlock, deliver};
use tidegate::ingest::{Counts, LakeBlock, Ledger};
use tidegate::runtime::{Cluster, ClusterError, Epochs, Run, gather};
use tidegate::sink::lake::LakeBatch;
use tidegate::sink::tables::TableBatch;
use tidegate::sink::topic::TopicBatch;
use tidegate::tick::Tick;
use tidegate::topic_lines::TopicBlock;
use timely::dataflow::{Scope, StreamVec};

use crate::outputs::{Outputs, Plan};

/// What a run gives back: the counts of all workers on the process with worker 0, or what went wrong elsewhere.
pub type Outcome = Result<Option<Result<Counts, String>>, ClusterError>;

/// Table rows go to the tables' sink.
pub(crate) fn deliver_tables(
    rows: StreamVec<'_, Tick, TableBlock>,
    plan: &Plan,
    run: &Arc<Run>,
    epochs: &Epochs,
    outputs: &Outputs,
) {
    deliver(
        rows,
        "Tables",
        plan.cluster.sink_worker(0),
        run,
        epochs,
        &outputs.tallies,
        outputs.tables.clone(),
        |block: &TableBlock| (block.table as usize, block.net_rows, &block.digest),
        |block| TableBatch { table: block.table as usize, rows: block.rows },
    );
}

/// Rows of the lake, which is the pipeline's output number `output`, go to the lake's sink as `batch` makes them.
pub(crate) fn deliver_lake(
    rows: StreamVec<'_, Tick, LakeBlock>,
    output: usize,
    batch: impl Fn(LakeBlock) -> LakeBatch + 'static,
    plan: &Plan,
    run: &Arc<Run>,
    epochs: &Epochs,
    outputs: &Outputs,
) {
    deliver(
        rows,
        "Lake",
        plan.cluster.sink_worker(1),
        run,
        epochs,
        &outputs.tallies,
        outputs.lake.clone(),
        move |block: &LakeBlock| (output, block.rows.len() as i64, &block.digest),
        batch,
    );
}

/// Lines go to the topics' sink, whose first topic is the pipeline's output number `first`.
pub(crate) fn deliver_topics(
    lines: StreamVec<'_, Tick, TopicBlock>,
    first: usize,
    plan: &Plan,
    run: &Arc<Run>,
    epochs: &Epochs,
    outputs: &Outputs,
) {
    deliver(
        lines,
        "Topics",
        plan.cluster.sink_worker(2),
        run,
        epochs,
        &outputs.tallies,
        outputs.topics.clone(),
        |block: &TopicBlock| (block.topic as usize, block.count as i64, &block.digest),
        move |block| TopicBatch {
            topic: block.topic as usize - first,
            partition: block.partition,
            lines: block.lines,
            count: block.count,
        },
    );
}

/// Builds a dataflow on each of this process's workers, runs it to its end, and adds the workers' counts.
///
/// `judged` is the number of outputs that records meet.
///
/// # Errors
/// When the workers cannot be started or one ends early.
pub(crate) fn on_workers<B>(cluster: &Cluster, run: Arc<Run>, judged: usize, build: B) -> Outcome
where
    B: Fn(Scope<'_, Tick>, &Ledger, &Epochs) + Send + Sync + 'static,
{
    let process = cluster.process;
    let results = tidegate::runtime::execute(cluster, move |worker| {
        let ledger = Ledger::new(judged);
        worker.dataflow(|scope| build(scope, &ledger, &Epochs::single()));
        while worker.has_dataflows() {
            worker.step_or_park(Some(Duration::from_millis(5)));
        }
        let trouble = run.stopping().then(|| format!("process {process} stopped early"));
        let mut all = Counts::default();
        let mut failed = None;
        for (counts, trouble) in gather(worker, (ledger.counts(), trouble)) {
            all.merge(&counts);
            failed = failed.or(trouble);
        }
        (worker.index() == 0).then_some(failed.map_or(Ok(all), Err))
    })?;
    Ok(results.into_iter().flatten().next())
}

/// The step of a dataflow's event time: the longest that divides the ends of all windows, whose panes are so wide, up
/// to 10 s.
pub(crate) fn step_us(panes_us: &[i64]) -> i64 {
    let divides = |step: &i64| panes_us.iter().all(|pane_us| pane_us % step == 0);
    (1..=10).rev().map(|s| s * 1_000_000).find(divides).unwrap_or(1)
}

/// A duration in microseconds, as times are counted.
pub(crate) fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}
