//! A dataflow over a bounded log, run to its end without checkpoints.

use std::sync::Arc;
use std::time::Duration;

use timely::dataflow::Scope;

use super::{Cluster, ClusterError, Epochs, Run, execute, gather};
use crate::ingest::{Counts, Ledger};
use crate::tick::Tick;

/// What such a run gives back: the counts of all workers on the process with worker 0, or what went wrong elsewhere.
pub type Counted = Result<Option<Result<Counts, String>>, ClusterError>;

/// Builds a dataflow on each of this process's workers, runs it to its end, and adds the workers' counts.
///
/// `judged` is the number of outputs that records meet.
///
/// # Errors
/// When the workers cannot be started or one ends early; what went wrong in reading or writing here is in
/// [`Run::outcome`].
pub fn run_to_end<B>(cluster: &Cluster, run: &Arc<Run>, judged: usize, build: B) -> Counted
where
    B: Fn(Scope<'_, Tick>, &Ledger, &Epochs) + Send + Sync + 'static,
{
    let (process, run) = (cluster.process, Arc::clone(run));
    let results = execute(cluster, move |worker| {
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
