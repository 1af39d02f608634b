//! A proof by trial that the same log gives the same answer: the same fixture, replayed with other numbers of
//! workers and processes, interleavings and batch sizes, and run with checkpoints, killed and started again.
//!
//! ```text
//! plan ─► one child process (or several) a run ─► summary.json ─► facts ─┬─ all equal: one digest
//!                                                                        └─ else the first difference
//! ```
//!
//! Runs are processes of their own, so that they share nothing, and so that several processes are real.

mod children;
mod compare;
mod plan;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use thiserror::Error;

use self::children::{Common, RunFailure};
pub use compare::{Difference, Fact, difference, digest, facts};
pub use plan::{Run, runs};

/// What is proven.
#[derive(Clone, Debug)]
pub struct Proof {
    /// The program `tidegate`.
    pub program: PathBuf,
    /// The pipeline.
    pub pipeline: String,
    /// The fixture.
    pub fixture: PathBuf,
    /// A configuration file, if there is one.
    pub config: Option<PathBuf>,
    /// The runs; the first is what the others are compared with.
    pub runs: Vec<Run>,
    /// How long each may take.
    pub timeout: Duration,
    /// An existing directory for the runs' outputs; each is removed when it has been compared.
    pub scratch: PathBuf,
}

/// What came out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proven {
    /// One digest over everything the runs agree in.
    pub digest: String,
    /// How many facts that are.
    pub facts: usize,
}

/// Why nothing is proven.
#[derive(Debug, Error)]
pub enum ProveError {
    /// The promise is broken: this is what `prove` looks for.
    #[error("same log, another answer: {difference}\n  in the run:  {run}\n  compared to: {reference}")]
    Differs {
        /// The first difference.
        difference: Box<Difference>,
        /// The run that differs.
        run: Run,
        /// The run it was compared with.
        reference: Run,
    },
    /// A run failed.
    #[error("the run {run} failed: {said}")]
    Failed {
        /// The run.
        run: Run,
        /// How it ended and what it said last.
        said: String,
    },
    /// A run did not end in time, and was killed.
    #[error("the run {run} was not done after {} and was killed; it said:\n{said}", humantime::format_duration(*timeout))]
    TimedOut {
        /// The run.
        run: Run,
        /// How long it had.
        timeout: Duration,
        /// What its processes said last.
        said: String,
    },
    /// A summary does not say what it should.
    #[error("the summary of the run {run} is not one: {what}")]
    NoSummary {
        /// The run.
        run: Run,
        /// What is wrong with it.
        what: String,
    },
    /// The system refused something.
    #[error("the run {run} could not be made: {cause}")]
    Io {
        /// The run.
        run: Run,
        /// What the system said.
        #[source]
        cause: std::io::Error,
    },
    /// The caller gave up.
    #[error("stopped before the end; nothing is proven")]
    Cancelled,
}

/// A run that agrees with those before it.
#[derive(Clone, Copy, Debug)]
pub struct Done {
    /// The run.
    pub run: Run,
    /// Its number, from 1.
    pub number: usize,
    /// How often it was killed: less often than it was to be where it came to its end before.
    pub kills: u32,
    /// How long it took, as a process.
    pub elapsed: Duration,
}

impl Proof {
    /// Makes all runs, calling `done` after each that agrees; `cancelled` says whether to give up.
    ///
    /// # Errors
    /// See [`ProveError`]; the first ends the proof.
    pub fn prove(
        &self,
        done: &mut dyn FnMut(Done),
        cancelled: &dyn Fn() -> bool,
    ) -> Result<Proven, ProveError> {
        let mut reference: Option<(Run, BTreeMap<Fact, String>)> = None;
        for (index, &run) in self.runs.iter().enumerate() {
            let began = Instant::now();
            let (found, kills) = self.facts_of(run, &self.scratch.join(format!("run-{index}")), cancelled)?;
            match &reference {
                None => reference = Some((run, found)),
                Some((reference, expected)) => {
                    if let Some(difference) = difference(expected, &found) {
                        let (difference, reference) = (Box::new(difference), *reference);
                        return Err(ProveError::Differs { difference, run, reference });
                    }
                }
            }
            done(Done { run, number: index + 1, kills, elapsed: began.elapsed() });
        }
        let facts = reference.map(|(_, facts)| facts).unwrap_or_default();
        Ok(Proven { digest: digest(&facts), facts: facts.len() })
    }

    fn facts_of(
        &self,
        run: Run,
        dir: &Path,
        cancelled: &dyn Fn() -> bool,
    ) -> Result<(BTreeMap<Fact, String>, u32), ProveError> {
        let common = Common {
            program: &self.program,
            pipeline: &self.pipeline,
            fixture: &self.fixture,
            config: self.config.as_deref(),
            timeout: self.timeout,
            cancelled,
        };
        let io = |cause| ProveError::Io { run, cause };
        fs::create_dir(dir).map_err(io)?;
        let (summary, kills) = children::run(&common, &run, dir).map_err(|failure| match failure {
            RunFailure::Io(cause) => ProveError::Io { run, cause },
            RunFailure::Failed(said) => ProveError::Failed { run, said },
            RunFailure::TimedOut(said) => ProveError::TimedOut { run, timeout: self.timeout, said },
            RunFailure::Cancelled => ProveError::Cancelled,
        })?;
        let no_summary = |what: &str| ProveError::NoSummary { run, what: what.to_owned() };
        let summary: serde_json::Value =
            serde_json::from_str(&summary).map_err(|error| no_summary(&error.to_string()))?;
        let facts = facts(&summary);
        // Without this, runs that say nothing would agree.
        if !facts.keys().any(|fact| fact.is_digest_of(&self.pipeline)) {
            return Err(no_summary("it has no digest of the pipeline"));
        }
        fs::remove_dir_all(dir).map_err(io)?;
        Ok((facts, kills))
    }
}
