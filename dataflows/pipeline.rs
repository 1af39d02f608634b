//! What runs a pipeline needs to know of it, and no more.
//!
//! A pipeline is a configuration that can say what it reads and writes, and build itself on a worker. A replay,
//! a picture or a proof goes through [`Pipeline`] and names none of them.

use std::path::Path;
use std::sync::Arc;

use tidegate::rows::Schema;
pub use tidegate::runtime::Counted;
use tidegate::runtime::{Cluster, Run, run_to_end};
use tidegate::sink::delta::DeltaTable;
use tidegate::source::fixture::FixtureSource;
use tidegate::telemetry::{Family, Identity};

use crate::graph::Topology;
use crate::outputs::{Outputs, Plan};
pub use crate::parts::Site;
use crate::replay::ReplayError;
use crate::{activity, hydraulic, iot, transit};

/// The names of the pipelines, in the order of the contract.
pub const PIPELINES: [&str; 4] = ["activity", "iot", "hydraulic", "transit"];

/// The pipelines' own metrics, beside those of the engine.
pub const METRICS: &[Family] = &own_metrics();

const OF_PIPELINES: [&[Family]; 3] = [hydraulic::METRICS, iot::METRICS, transit::METRICS];

const OWN: usize = hydraulic::METRICS.len() + iot::METRICS.len() + transit::METRICS.len();

const fn own_metrics() -> [Family; OWN] {
    let mut all = [OF_PIPELINES[0][0]; OWN];
    let (mut at, mut pipeline) = (0, 0);
    while pipeline < OF_PIPELINES.len() {
        let mut own = 0;
        while own < OF_PIPELINES[pipeline].len() {
            all[at] = OF_PIPELINES[pipeline][own];
            (at, own) = (at + 1, own + 1);
        }
        pipeline += 1;
    }
    all
}

/// Whose board the facts of `pipeline` are stated on, in a process of `cluster`.
pub(crate) fn identity(pipeline: &dyn Pipeline, cluster: &Cluster) -> Identity {
    Identity {
        pipeline: pipeline.name().to_owned(),
        process: cluster.process,
        workers: cluster.threads,
        outputs: pipeline.outputs(),
    }
}

/// The first stage of `iot`, which a live run has apart: it validates, and `iot` reads what passed.
pub const IOT_VALIDATE: &str = "iot-validate";

/// The pipelines that a live run can have.
pub const LIVE: [&str; 5] = ["activity", IOT_VALIDATE, "iot", "hydraulic", "transit"];

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
    /// The Delta tables that take the lake's rows, for a pipeline whose lake they are.
    fn delta(&self) -> Vec<DeltaTable> {
        Vec::new()
    }
    /// The Delta tables beside those, by the tables' numbers.
    fn delta_rows(&self) -> Vec<DeltaTable> {
        Vec::new()
    }
    /// The embedded topics, by their number.
    fn topics(&self) -> Vec<Arc<str>>;
    /// What it consists of.
    fn topology(&self) -> Topology;
    /// How many of the outputs records meet.
    fn judged(&self) -> usize;
    /// Whether an output that records may meet is computed: one that is off meets none, and counts none.
    fn is_on(&self, output: usize) -> bool {
        let _ = output;
        true
    }
    /// The settings that state depends on, as a text: a checkpoint of another text is not this pipeline's.
    fn state_schema(&self) -> String;
    /// Builds its dataflow on one worker.
    fn build(&self, at: Site<'_, '_>);
}

/// The settings of all pipelines.
#[derive(Clone, Debug, Default)]
pub struct Pipelines {
    /// Those of `activity`.
    pub activity: activity::Config,
    /// Those of `iot`.
    pub iot: iot::Config,
    /// Those of `hydraulic`.
    pub hydraulic: hydraulic::Config,
    /// Those of `transit`.
    pub transit: transit::Config,
}

impl Pipelines {
    /// The pipeline called `name`, one of [`PIPELINES`], from its first stage on.
    pub fn called(&self, name: &str) -> Arc<dyn Pipeline> {
        match name {
            "iot" => Arc::new(Iot { config: self.iot.clone(), stage: iot::Stage::Both }),
            "hydraulic" => Arc::new(self.hydraulic.clone()),
            "transit" => Arc::new(self.transit.clone()),
            _ => Arc::new(self.activity.clone()),
        }
    }

    /// The pipeline called `name` as a live run has it: one of [`PIPELINES`], `iot` being its second stage, or
    /// [`IOT_VALIDATE`].
    pub fn live(&self, name: &str) -> Arc<dyn Pipeline> {
        let stage = match name {
            IOT_VALIDATE => iot::Stage::Validate,
            "iot" => iot::Stage::Aggregates,
            _ => return self.called(name),
        };
        Arc::new(Iot { config: self.iot.clone(), stage })
    }

    /// Whether a live run of the pipeline called `name` writes rows of windows or sessions that are still open.
    pub fn updates(&self, name: &str) -> bool {
        let Pipelines { activity, iot, hydraulic, transit } = self;
        match name {
            "iot" => iot.update_every.is_some(),
            "hydraulic" => hydraulic.update_every.is_some(),
            "transit" => transit.update_every.is_some() || transit.update_sessions,
            "activity" => activity.update_every.is_some() || activity.update_sessions,
            _ => false,
        }
    }

    /// The same, from the stage on at which the fixture in `dir` enters.
    ///
    /// # Errors
    /// When the fixture cannot be read, or holds the topics of two stages.
    pub fn of_fixture(&self, name: &str, dir: &Path) -> Result<Arc<dyn Pipeline>, ReplayError> {
        if name != "iot" {
            return Ok(self.live(name));
        }
        let config = self.iot.clone();
        let (raw, validated) = (&config.topic, &config.validated_topic);
        let there = FixtureSource::open(dir, &|name| name == raw || name == validated)?.topics();
        let holds = |topic: &str| there.iter().any(|name| **name == *topic);
        let stage = match (holds(raw), holds(validated)) {
            (true, true) => {
                let (raw, validated) = (raw.clone(), validated.clone());
                return Err(ReplayError::BothStages { fixture: dir.to_owned(), raw, validated });
            }
            (false, true) => iot::Stage::Aggregates,
            _ => iot::Stage::Both,
        };
        Ok(Arc::new(Iot { config, stage }))
    }
}

/// Runs `pipeline` on this process's workers to the end of its input, without checkpoints.
///
/// Returns the counts of all workers of all processes on the process with worker 0; or, in their place, what went
/// wrong on another process.
///
/// # Errors
/// When the workers cannot be started or one ends early; what went wrong in reading or writing here is in
/// [`Run::outcome`].
pub fn execute(pipeline: &Arc<dyn Pipeline>, plan: &Plan, run: &Arc<Run>, outputs: Outputs) -> Counted {
    let (pipeline, plan, of_run) = (Arc::clone(pipeline), plan.clone(), Arc::clone(run));
    let (cluster, judged) = (plan.cluster.clone(), pipeline.judged());
    run_to_end(&cluster, run, judged, move |scope, ledger, epochs| {
        pipeline.build(Site { scope, plan: &plan, run: &of_run, ledger, epochs, outputs: &outputs });
    })
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
    fn is_on(&self, output: usize) -> bool {
        self.outputs.computes(output)
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
    fn judged(&self) -> usize {
        activity::JUDGED_OUTPUTS
    }
    fn state_schema(&self) -> String {
        activity::Config::state_schema(self)
    }
    fn build(&self, at: Site<'_, '_>) {
        activity::build(at, self);
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
        if self.stage == iot::Stage::Validate { IOT_VALIDATE } else { PIPELINES[1] }
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
    fn judged(&self) -> usize {
        if self.stage == iot::Stage::Validate { 0 } else { iot::JUDGED }
    }
    fn state_schema(&self) -> String {
        // Rows of open windows are no part of the state.
        let config = iot::Config { update_every: None, ..self.config.clone() };
        format!("{:?}", Iot { config, stage: self.stage })
    }
    fn build(&self, at: Site<'_, '_>) {
        iot::build(at, &self.config, self.stage);
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
    fn judged(&self) -> usize {
        hydraulic::JUDGED
    }
    fn state_schema(&self) -> String {
        hydraulic::Config::state_schema(self)
    }
    fn build(&self, at: Site<'_, '_>) {
        hydraulic::build(at, self);
    }
}

impl Pipeline for transit::Config {
    fn name(&self) -> &'static str {
        PIPELINES[3]
    }
    fn inputs(&self) -> Vec<String> {
        vec![self.topic.clone()]
    }
    fn outputs(&self) -> Vec<String> {
        transit::outputs(&self.topic).to_vec()
    }
    fn tables(&self) -> Vec<Arc<Schema>> {
        transit::table_schemas().to_vec()
    }
    fn lake(&self) -> Option<&'static str> {
        Some(transit::DELTA)
    }
    fn delta(&self) -> Vec<DeltaTable> {
        let partition_columns = vec![transit::DATE.to_owned()];
        let dated =
            |schema| DeltaTable { schema, partition_columns: partition_columns.clone(), replaces: false };
        transit::feed_schemas(self.keep_unknown).map(dated).to_vec()
    }
    fn delta_rows(&self) -> Vec<DeltaTable> {
        let plain = |schema: Arc<Schema>| {
            let replaces = schema.name == "route_totals";
            DeltaTable { schema, partition_columns: Vec::new(), replaces }
        };
        transit::table_schemas().map(plain).to_vec()
    }
    fn topics(&self) -> Vec<Arc<str>> {
        transit::topics(&self.topic).map(|(_, name)| name).to_vec()
    }
    fn topology(&self) -> Topology {
        transit::topology(self)
    }
    fn judged(&self) -> usize {
        transit::JUDGED
    }
    fn state_schema(&self) -> String {
        transit::Config::state_schema(self)
    }
    fn build(&self, at: Site<'_, '_>) {
        transit::build(at, self);
    }
}
