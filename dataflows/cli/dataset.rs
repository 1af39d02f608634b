//! `tidegate dataset`.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tidegate::ingest::Interleave;
use tidegate::runtime::{Pace, Run};
use tidegate::storage;
use tidegate_dataflows::dataset::{
    BadLine, Changes, Feed, FeedError, Form, Label, Step, Touched, TrainingSet, features, label_changes,
    maintain, read_labels, write,
};
use tidegate_dataflows::hydraulic::LAKE;
use tidegate_dataflows::replay::{BATCH, Options, Pipeline, replay};

use super::args::{DatasetArgs, FormOfSet, Global};
use super::failure::Failure;
use super::signals::Signals;
use super::ui::{Ui, grouped};
use super::{places, replay as replaying, settings};

/// How often a wait looks whether it is to stop.
const LOOK: Duration = Duration::from_millis(100);

/// Makes the training set, and with `--every` keeps it up to date.
pub(crate) fn run(ui: &Ui, global: &Global, args: &DatasetArgs) -> Result<(), Failure> {
    let signals = Signals::listen(ui, 1)?;
    // Removed when it goes out of scope.
    let mut replayed = None;
    let location = match (&args.lake, &args.fixture) {
        (Some(lake), _) => lake.clone(),
        (None, None) => storage::Location::Dir(PathBuf::from("out").join(LAKE)),
        (None, Some(fixture)) => {
            let dir = tempfile::tempdir().map_err(Failure::running)?;
            through_the_pipeline(global, fixture, dir.path(), &signals)?;
            let lake = storage::Location::Dir(dir.path().join(LAKE));
            replayed = Some(dir);
            lake
        }
    };
    let place =
        storage::open(&location, &settings(global)?.credentials()).map_err(|error| reading(error.into()))?;
    let features = features();
    let mut maker = Maker {
        ui: ui.clone(),
        args: args.clone(),
        signals,
        feed: Feed::new(place, features.clone()),
        features,
        labels: Vec::new(),
        set: TrainingSet::default(),
        begun: false,
    };
    let outcome: Arc<std::sync::Mutex<Option<Failure>>> = Arc::default();
    let told = Arc::clone(&outcome);
    let done = maintain(global.workers, move |changes| match maker.step(changes) {
        Ok(step) => step,
        Err(failure) => {
            *told.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(failure);
            None
        }
    });
    drop(replayed);
    done.map_err(Failure::running)?;
    let failure = outcome.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
    failure.map_or(Ok(()), Err)
}

/// Replays a fixture through the hydraulic pipeline into `out`.
fn through_the_pipeline(
    global: &Global,
    fixture: &Path,
    out: &Path,
    signals: &Signals,
) -> Result<(), Failure> {
    let options = Options {
        fixture: places::fixture(Some(fixture))?,
        out: out.to_owned(),
        cluster: replaying::cluster(global)?,
        pace: Pace::Max,
        batch: BATCH,
        interleave: Interleave::Aligned,
        idle: Vec::new(),
        pipelines: settings(global)?.pipelines,
    };
    let started = |_: &dyn Pipeline, run: &Arc<Run>, _: u64| signals.stops(run);
    replay(&options, &["hydraulic"], &started).map_err(replaying::failure).map(drop)
}

struct Maker {
    ui: Ui,
    args: DatasetArgs,
    signals: Signals,
    feed: Feed,
    features: Vec<String>,
    labels: Vec<(i64, Label)>,
    set: TrainingSet,
    begun: bool,
}

impl Maker {
    /// Writes what the last step changed, and gives the next.
    fn step(&mut self, changes: Changes) -> Result<Option<Step>, Failure> {
        let touched = self.set.apply(changes);
        let first = !std::mem::replace(&mut self.begun, true);
        if !first {
            // A run without any cycle yet leaves the files with their names of columns.
            if !touched.is_nothing() || self.set.rows().len() == 0 {
                self.write(touched)?;
            }
            let Some(every) = self.args.every else { return Ok(None) };
            if !self.wait(every) {
                return Ok(None);
            }
        }
        self.look().map(Some)
    }

    /// What has come and gone in the lake and among the labels.
    fn look(&mut self) -> Result<Step, Failure> {
        let seconds = self.feed.poll().map_err(reading)?;
        let mut step = Step { seconds, labels: Vec::new() };
        if let Some(path) = &self.args.labels {
            let (labels, bad) = read_labels(path).map_err(reading)?;
            step.labels = label_changes(&self.labels, &labels);
            if self.labels.is_empty() || !step.labels.is_empty() {
                self.tell_bad(path, &bad);
            }
            self.labels = labels;
        }
        Ok(step)
    }

    fn tell_bad(&self, path: &Path, bad: &[BadLine]) {
        for line in bad.iter().take(3) {
            self.ui.note(format_args!(
                "{}:{}: {}; its cycle has no label",
                path.display(),
                line.line,
                line.what
            ));
        }
        if bad.len() > 3 {
            self.ui.note(format_args!("{} lines of {} cannot be read", bad.len(), path.display()));
        }
    }

    fn write(&self, touched: Touched) -> Result<(), Failure> {
        let forms: Vec<Form> = self
            .args
            .form
            .iter()
            .map(|form| match form {
                FormOfSet::Parquet => Form::Parquet,
                FormOfSet::Csv => Form::Csv,
            })
            .collect();
        let whole = self.args.seconds;
        let paths = write(&self.set, &self.features, whole, &forms, &self.args.out)
            .map_err(|error| Failure::running(error).mend("see to space and permissions of --out"))?;
        let Touched { added, changed, removed } = touched;
        self.ui.note(format_args!(
            "{} cycles ({} incomplete, {} without a label): {added} added, {changed} changed, {removed} removed",
            grouped(self.set.rows().len() as u64),
            self.set.incomplete(whole),
            self.set.unlabelled(),
        ));
        let paths: Vec<_> = paths.iter().map(|path| path.display().to_string()).collect();
        self.ui.result(format!("{}\n", paths.join("\n")))
    }

    /// Waits; `false` when it is to stop.
    fn wait(&self, every: Duration) -> bool {
        let mut left = every;
        while !left.is_zero() && !self.signals.asked() {
            let nap = left.min(LOOK);
            std::thread::sleep(nap);
            left -= nap;
        }
        !self.signals.asked()
    }
}

/// What failed in reading a lake or its labels.
pub(super) fn reading(error: FeedError) -> Failure {
    match &error {
        FeedError::Empty { .. } | FeedError::Labels { .. } => Failure::usage(error),
        FeedError::Storage(cause) if cause.is_away => {
            Failure::running(error).mend("see whether the server runs and can be reached, and try again")
        }
        FeedError::Storage(_) | FeedError::File { .. } => Failure::running(error),
    }
}
