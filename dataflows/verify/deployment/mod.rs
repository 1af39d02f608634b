//! Looks at a deployment as it stands, end to end, while its run goes on or rests: topics, checkpoint, and every sink that the
//! settings name.
//!
//! ```text
//! input topics ─► checkpoint: whole? of these settings? how old? how far behind the topics? does its ledger balance?
//!                 └─► each sink: does it stand where the checkpoint says? are its rows all there, and once?
//! ```
//!
//! Nothing is changed, and only what can be known exactly is judged. What a run does meanwhile is no fault: what does not hold is
//! looked at again for a while before it is said.

mod checkpoint;
mod inputs;
mod lake;
mod sinks;

use std::cell::Cell;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::Serialize;
use tidegate::checkpoint::{CheckpointError, Manifest, Store, manifests};
use tidegate::runtime::Clock;
use tidegate::source::kafka::Settings;
use tidegate::storage::Location;

use crate::pipeline::Pipeline;
use crate::targets::Targets;

/// So long what does not hold is looked at again: an epoch is decided a moment before its sinks have it.
const PATIENCE: Duration = Duration::from_secs(10);
/// Between two looks.
const PAUSE: Duration = Duration::from_millis(500);

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    /// What was looked at.
    pub what: String,
    /// Whether it is as it must be.
    pub ok: bool,
    /// What was found.
    pub says: String,
    /// What to do, where it is not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mend: Option<String>,
}

impl Check {
    /// It is as it must be, or cannot be known.
    pub fn good(what: impl Into<String>, says: impl Into<String>) -> Check {
        Check { what: what.into(), ok: true, says: says.into(), mend: None }
    }

    /// It is not.
    pub fn wrong(what: impl Into<String>, says: impl Into<String>, mend: impl Into<String>) -> Check {
        Check { what: what.into(), ok: false, says: says.into(), mend: Some(mend.into()) }
    }
}

/// What is looked at, and what is expected of it.
pub struct Deployment {
    /// The pipeline, as a live run has it.
    pub pipeline: Arc<dyn Pipeline>,
    /// Its sinks.
    pub targets: Targets,
    /// The directory in which embedded sinks are.
    pub data: PathBuf,
    /// Where the checkpoints of this pipeline lie.
    pub checkpoint: Location,
    /// What it reads; `None` for one that reads no Kafka.
    pub input: Option<Settings>,
    /// The newest epoch may be this old.
    pub fresh: Duration,
    /// A partition may be this many offsets behind; any number, where nothing is said.
    pub max_lag: Option<u64>,
    /// Whether the rows of the lake are read, and not only what is listed.
    pub deep: bool,
    /// Whether rows of open windows or sessions stand in tables, which nobody has counted yet.
    pub updates: bool,
    /// The time.
    pub clock: Arc<dyn Clock>,
}

/// The manifests that a checkpoint keeps, by epoch.
type Kept = BTreeMap<u64, Manifest>;

/// Looks at all of it.
pub fn look(of: &Deployment) -> Vec<Check> {
    let (mut checks, store) = checkpoint::look(of);
    let kept = store.as_ref().map(|store| manifests(&**store));
    let kept = match kept {
        Some(Ok(kept)) => kept,
        Some(Err(error)) => {
            checks.push(unreadable(&error));
            Kept::new()
        }
        None => Kept::new(),
    };
    checks.extend(inputs::look(of, kept.values().next_back()));
    if let Some(store) = store.filter(|_| !kept.is_empty()) {
        checks.extend(sinks::look(of, &*store));
    }
    checks
}

fn unreadable(error: &CheckpointError) -> Check {
    Check::wrong(
        "checkpoint",
        error.to_string(),
        "see to the place, its rights, and the setting checkpoint or --checkpoint",
    )
}

/// The epoch that a sink must have, as it was found when it was looked at first: later ones may be on their way.
type Required = Cell<Option<u64>>;

/// Looks, and again for a while as long as something does not hold.
fn settled(look: impl Fn(&Required) -> Vec<Check>) -> Vec<Check> {
    let (began, first) = (Instant::now(), Required::default());
    loop {
        let checks = look(&first);
        if checks.iter().all(|check| check.ok) || began.elapsed() >= PATIENCE {
            return checks;
        }
        std::thread::sleep(PAUSE);
    }
}

/// The manifests before and after something was read: what was read is of the newest of the first, or of a later one.
struct Around {
    before: Kept,
    after: Kept,
}

impl Around {
    /// Does `read` between two looks at `store`.
    fn read<T>(store: &dyn Store, read: impl FnOnce() -> T) -> Result<(Around, T), CheckpointError> {
        let before = manifests(store)?;
        let done = read();
        let mut after = before.clone();
        after.extend(manifests(store)?);
        Ok((Around { before, after }, done))
    }

    /// The newest epoch that was decided.
    fn decided(&self) -> u64 {
        self.after.keys().next_back().copied().unwrap_or(0)
    }

    /// The manifest that says what a sink has, whose newest epoch with output is `epoch`: that of the epoch, or else one that was
    /// decided before the look and adds nothing, as all between them. `None` where it is kept no more, or the sink lacks something.
    fn of(&self, sink: &str, epoch: u64) -> Option<&Manifest> {
        let (_, manifest) = self.after.range(epoch..).next()?;
        let adds = manifest.staged.iter().any(|(name, staged)| name == sink && staged.has_output());
        let adds_nothing = self.before.contains_key(&manifest.epoch) && !adds;
        (manifest.epoch == epoch || adds_nothing).then_some(manifest)
    }
}

#[cfg(test)]
mod tests {
    use tidegate::ingest::Counts;
    use tidegate::sink::Staged;

    use super::*;

    pub(super) fn manifest(epoch: u64, staged: &[(&str, bool)]) -> Manifest {
        let staged = staged.iter().map(|(sink, has_output)| {
            let files = if *has_output { "[1]" } else { "[]" };
            let text =
                format!("{{\"format\":1,\"kind\":\"k\",\"epoch\":{epoch},\"dir\":\"\",\"files\":{files}}}");
            ((*sink).to_owned(), Staged(text.into_bytes()))
        });
        Manifest {
            pipeline: "p".to_owned(),
            schema: String::new(),
            epoch,
            generation: 1,
            decided_us: 0,
            watermark_us: 0,
            partitions: Vec::new(),
            counts: Counts::default(),
            tallies: Vec::new(),
            staged: staged.collect(),
            state: Vec::new(),
            finished: false,
            input: Default::default(),
            idle: Vec::new(),
            idle_from: 0,
            wall_us: None,
            open: Vec::new(),
        }
    }

    pub(super) fn around(before: &[Manifest], after: &[Manifest]) -> Around {
        let kept = |all: &[Manifest]| all.iter().map(|manifest| (manifest.epoch, manifest.clone())).collect();
        Around { before: kept(before), after: kept(after) }
    }

    #[test]
    fn manifest_of_what_a_sink_has_is_that_of_its_epoch_or_of_one_that_adds_nothing() {
        let all = [manifest(5, &[("s", false)]), manifest(6, &[("s", true)]), manifest(7, &[("s", false)])];
        let around = around(&all, &all);
        let of = |epoch| around.of("s", epoch).map(|manifest| manifest.epoch);
        // Epoch 3 is kept no more, and 5 has added nothing since.
        assert_eq!([of(3), of(5), of(6), of(7), of(8)], [Some(5), Some(5), Some(6), Some(7), None]);
        // What lacks epoch 6 is not judged by it.
        assert_eq!(super::tests::around(&all[1..], &all[1..]).of("s", 3).map(|m| m.epoch), None);
        // What was decided since may stand behind epochs that are kept no more.
        assert_eq!(super::tests::around(&[], &all).of("s", 3).map(|m| m.epoch), None);
    }
}
