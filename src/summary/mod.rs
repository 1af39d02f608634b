//! What a run did, in figures: `summary.json`, and the table on the terminal.
//!
//! The figures obey a law of conservation, which [`Summary::check`] asserts before the file is written: of the
//! records that were read, none is unaccounted for.
//!
//! ```text
//! read     = duplicate_offsets + Σ rejected + accepted                    for each pipeline
//! accepted = counted + filtered + late + idle                             for each output that records meet
//! ```

mod ordered;
mod table;

use std::path::Path;

use serde::{Deserialize, Serialize};
use thiserror::Error;

pub use self::ordered::Ordered;
use crate::sink::out_dir::OutDirError;
use crate::sink::{Disk, Durability};

/// The file's name in the output directory.
pub const FILE: &str = "summary.json";

/// The version of the contract that the figures follow.
pub const CONTRACT: u32 = 1;

/// What a run did.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// The version of the contract, [`CONTRACT`].
    pub contract: u32,
    /// Each pipeline by its name, in the order they ran.
    pub pipelines: Ordered<PipelineSummary>,
}

impl Default for Summary {
    fn default() -> Self {
        Summary { contract: CONTRACT, pipelines: Ordered::default() }
    }
}

/// What one pipeline did.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PipelineSummary {
    /// Records read, duplicates included.
    pub read: u64,
    /// Records passed over because their partition had come to their offset before.
    pub duplicate_offsets: u64,
    /// Records set aside, by the reason's word in the dead letters; reasons that did not occur may be missing.
    pub rejected: Ordered<u64>,
    /// Records that were used.
    pub accepted: u64,
    /// How long it took, in seconds of the wall clock.
    pub seconds: f64,
    /// Each output by its name.
    pub outputs: Ordered<OutputSummary>,
}

/// What one output holds.
///
/// The first four are there for an output that records meet, and missing for one that is made from rows.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct OutputSummary {
    /// Accepted records that are in a result.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub counted: Option<u64>,
    /// Accepted records that are not of this output's kind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filtered: Option<u64>,
    /// Accepted records that came too late by the watermark of their partition.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub late: Option<u64>,
    /// Accepted records that are too late by the floor of their idle partition only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idle: Option<u64>,
    /// Rows or lines in the output.
    pub rows: u64,
    /// The digest of those rows, as [`Digest::hex`](crate::digest::Digest::hex) writes it.
    pub digest: String,
}

/// Figures that do not add up: a defect of tidegate.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Unbalanced {
    /// Records of a pipeline are unaccounted for, or accounted for twice.
    #[error(
        "pipeline {pipeline:?} read {read} records, but {duplicate_offsets} duplicates, {rejected} rejected \
         and {accepted} accepted make {}",
        total([*duplicate_offsets, *rejected, *accepted])
    )]
    Pipeline {
        /// The pipeline.
        pipeline: String,
        /// Its records.
        read: u64,
        /// Its repeated offsets.
        duplicate_offsets: u64,
        /// Those set aside, for whatever reason.
        rejected: u64,
        /// Those used.
        accepted: u64,
    },
    /// Accepted records are unaccounted for at an output, or accounted for twice.
    #[error(
        "pipeline {pipeline:?} accepted {accepted} records, but output {output:?} counted {counted}, filtered \
         {filtered}, and found {late} late and {idle} idle, which makes {}",
        total([*counted, *filtered, *late, *idle])
    )]
    Output {
        /// The pipeline.
        pipeline: String,
        /// The output.
        output: String,
        /// The pipeline's accepted records.
        accepted: u64,
        /// Those in results of the output.
        counted: u64,
        /// Those not of its kind.
        filtered: u64,
        /// Those too late.
        late: u64,
        /// Those too late by an idle floor only.
        idle: u64,
    },
    /// An output has some of the four counts and lacks others.
    #[error("output {output:?} of pipeline {pipeline:?} lacks one of counted, filtered, late and idle")]
    Partial {
        /// The pipeline.
        pipeline: String,
        /// The output.
        output: String,
    },
}

/// The sum of counts, wide enough for any.
fn total(counts: impl IntoIterator<Item = u64>) -> u128 {
    counts.into_iter().map(u128::from).sum()
}

impl Summary {
    /// Checks that every record is accounted for exactly once.
    ///
    /// # Errors
    /// The first equation that does not hold.
    pub fn check(&self) -> Result<(), Unbalanced> {
        self.pipelines.iter().try_for_each(|(name, pipeline)| pipeline.check(name))
    }

    /// Writes `summary.json` into `dir`, in one step.
    ///
    /// # Errors
    /// [`OutDirError::Io`] when the file cannot be written.
    pub fn write(&self, dir: &Path) -> Result<(), OutDirError> {
        let mut bytes =
            serde_json::to_vec_pretty(self).map_err(|error| OutDirError::Io(error.to_string()))?;
        bytes.push(b'\n');
        Ok(Disk::new(Durability::Power).replace(&dir.join(FILE), &bytes)?)
    }

    /// Reads the `summary.json` of `dir`.
    ///
    /// # Errors
    /// [`OutDirError::Io`] when there is none, or it is not a summary of this contract.
    pub fn read(dir: &Path) -> Result<Self, OutDirError> {
        let path = dir.join(FILE);
        let unreadable = |cause: String| OutDirError::Io(format!("cannot read {path:?}: {cause}"));
        let bytes = std::fs::read(&path).map_err(|error| unreadable(error.to_string()))?;
        let summary: Summary =
            serde_json::from_slice(&bytes).map_err(|error| unreadable(error.to_string()))?;
        if summary.contract != CONTRACT {
            return Err(unreadable(format!("it follows contract {}, not {CONTRACT}", summary.contract)));
        }
        Ok(summary)
    }

    /// The figures as text for a terminal, and below `dir` where the results are.
    pub fn table(&self, dir: &Path) -> String {
        table::render(self, dir)
    }
}

impl PipelineSummary {
    /// Records set aside, for whatever reason.
    pub fn rejected_total(&self) -> u64 {
        self.rejected.iter().map(|(_, count)| *count).fold(0, u64::saturating_add)
    }

    fn check(&self, name: &str) -> Result<(), Unbalanced> {
        let pipeline = || name.to_owned();
        let &PipelineSummary { read, duplicate_offsets, accepted, .. } = self;
        let rejected = self.rejected_total();
        if u128::from(read) != total([duplicate_offsets, rejected, accepted]) {
            return Err(Unbalanced::Pipeline {
                pipeline: pipeline(),
                read,
                duplicate_offsets,
                rejected,
                accepted,
            });
        }
        for (output, found) in self.outputs.iter() {
            let output = || output.to_owned();
            let (counted, filtered, late, idle) =
                match (found.counted, found.filtered, found.late, found.idle) {
                    (Some(counted), Some(filtered), Some(late), Some(idle)) => {
                        (counted, filtered, late, idle)
                    }
                    (None, None, None, None) => continue,
                    _ => return Err(Unbalanced::Partial { pipeline: pipeline(), output: output() }),
                };
            if u128::from(accepted) != total([counted, filtered, late, idle]) {
                let (pipeline, output) = (pipeline(), output());
                return Err(Unbalanced::Output { pipeline, output, accepted, counted, filtered, late, idle });
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
