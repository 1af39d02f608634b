//! What runs a pipeline needs to know of it, and no more.
//!
//! A pipeline is a configuration that can say what it reads and writes, and build itself on a worker. A replay,
//! a picture or a proof goes through [`Pipeline`] and names none of them.

use std::sync::Arc;

use tidegate::ingest::{Counts, Ledger};
use tidegate::rows::Schema;
use tidegate::runtime::{ClusterError, Epochs, Run, gather};
use tidegate::sink::lake::ParquetLake;
use tidegate::sink::sqlite::SqliteTables;
use tidegate::sink::topic::TopicFiles;
use tidegate::tick::Tick;
use timely::dataflow::Scope;

use crate::activity::{self, Outputs, Plan};
use crate::graph::Topology;
use crate::{hydraulic, iot};

/// The names of the pipelines, in the order of the contract.
pub const PIPELINES: [&str; 3] = ["activity", "iot", "hydraulic"];

/// Outputs into the embedded sinks.
pub type Embedded = Outputs<SqliteTables, ParquetLake, TopicFiles>;

/// What a run gives back: the counts of all workers on the process with worker 0, or what went wrong elsewhere.
pub type Outcome = Result<Option<Result<Counts, String>>, ClusterError>;

/// A pipeline under its settings.
pub trait Pipeline: Send + Sync {
    /// Its name, one of [`PIPELINES`].
    fn name(&self) -> &'static str;
    /// The topics that it reads.
    fn inputs(&self) -> Vec<String>;
    /// Every output, in the order of the summary; those that records meet come first.
    fn outputs(&self) -> Vec<String>;
    /// The tables, by their number.
    fn tables(&self) -> Vec<Arc<Schema>>;
    /// The lake's directory below the output directory, for a pipeline that has one.
    fn lake(&self) -> Option<&'static str>;
    /// The embedded topics, by their number.
    fn topics(&self) -> Vec<Arc<str>>;
    /// What it consists of.
    fn topology(&self) -> Topology;
    /// Runs it on this process's workers to the end of its input.
    ///
    /// # Errors
    /// When the workers cannot be started or one ends early; what went wrong in reading or writing here is in
    /// [`Run::outcome`].
    fn execute(&self, plan: &Plan, run: &Arc<Run>, outputs: Embedded) -> Outcome;
}

impl Pipeline for activity::Config {
    fn name(&self) -> &'static str {
        PIPELINES[0]
    }
    fn inputs(&self) -> Vec<String> {
        vec![self.topic.clone()]
    }
    fn outputs(&self) -> Vec<String> {
        activity::OUTPUTS.map(str::to_owned).to_vec()
    }
    fn tables(&self) -> Vec<Arc<Schema>> {
        activity::table_schemas().to_vec()
    }
    fn lake(&self) -> Option<&'static str> {
        Some(activity::LAKE)
    }
    fn topics(&self) -> Vec<Arc<str>> {
        activity::topics(&self.topic).map(|(_, name)| name).to_vec()
    }
    fn topology(&self) -> Topology {
        activity::topology(self)
    }
    fn execute(&self, plan: &Plan, run: &Arc<Run>, outputs: Embedded) -> Outcome {
        activity::execute(self, plan, run, outputs)
    }
}

/// `iot`, from the stage on at which its input enters.
#[derive(Clone, Debug)]
pub struct Iot {
    /// The settings.
    pub config: iot::Config,
    /// Where the input enters.
    pub stage: iot::Stage,
}

impl Pipeline for Iot {
    fn name(&self) -> &'static str {
        PIPELINES[1]
    }
    fn inputs(&self) -> Vec<String> {
        vec![self.config.input(self.stage).to_owned()]
    }
    fn outputs(&self) -> Vec<String> {
        iot::outputs(&self.config, self.stage).to_vec()
    }
    fn tables(&self) -> Vec<Arc<Schema>> {
        iot::table_schemas().to_vec()
    }
    fn lake(&self) -> Option<&'static str> {
        None
    }
    fn topics(&self) -> Vec<Arc<str>> {
        iot::topics(&self.config, self.stage).into_iter().map(|(_, name)| name).collect()
    }
    fn topology(&self) -> Topology {
        iot::topology(&self.config, self.stage)
    }
    fn execute(&self, plan: &Plan, run: &Arc<Run>, outputs: Embedded) -> Outcome {
        let (Iot { config, stage }, plan, run) = (self.clone(), plan.clone(), Arc::clone(run));
        let cluster = plan.cluster.clone();
        on_workers(&cluster, Arc::clone(&run), iot::JUDGED, move |scope, ledger, epochs| {
            iot::build(scope, &config, stage, &plan, &run, ledger, epochs, &outputs);
        })
    }
}

impl Pipeline for hydraulic::Config {
    fn name(&self) -> &'static str {
        PIPELINES[2]
    }
    fn inputs(&self) -> Vec<String> {
        hydraulic::Config::topics(self)
    }
    fn outputs(&self) -> Vec<String> {
        hydraulic::outputs(self)
    }
    fn tables(&self) -> Vec<Arc<Schema>> {
        hydraulic::table_schemas().to_vec()
    }
    fn lake(&self) -> Option<&'static str> {
        Some(hydraulic::LAKE)
    }
    fn topics(&self) -> Vec<Arc<str>> {
        hydraulic::topics(self)
    }
    fn topology(&self) -> Topology {
        hydraulic::topology(self)
    }
    fn execute(&self, plan: &Plan, run: &Arc<Run>, outputs: Embedded) -> Outcome {
        let (config, plan, run) = (self.clone(), plan.clone(), Arc::clone(run));
        let cluster = plan.cluster.clone();
        on_workers(&cluster, Arc::clone(&run), hydraulic::JUDGED, move |scope, ledger, epochs| {
            hydraulic::build(scope, &config, &plan, &run, ledger, epochs, &outputs);
        })
    }
}

/// Builds a dataflow on each of this process's workers, runs it to its end, and adds the workers' counts.
///
/// `judged` is the number of outputs that records meet.
///
/// # Errors
/// When the workers cannot be started or one ends early.
pub fn on_workers<B>(cluster: &tidegate::runtime::Cluster, run: Arc<Run>, judged: usize, build: B) -> Outcome
where
    B: Fn(Scope<'_, Tick>, &Ledger, &Epochs) + Send + Sync + 'static,
{
    let process = cluster.process;
    let results = tidegate::runtime::execute(cluster, move |worker| {
        let ledger = Ledger::new(judged);
        worker.dataflow(|scope| build(scope, &ledger, &Epochs::single()));
        while worker.has_dataflows() {
            worker.step_or_park(Some(std::time::Duration::from_millis(5)));
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
