//! The log of a Delta table: numbered commits, each put where none is yet, and checkpoints of what they add up to.
//!
//! ```text
//! <table>/_delta_log/00000000000000000000.json                 a commit: one action a line
//! <table>/_delta_log/00000000000000000100.checkpoint.parquet   the table as of that version
//! <table>/_delta_log/_last_checkpoint                          where a reader may begin
//! ```

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::action::{Action, Add, MetaData, Protocol, Remove};
use super::checkpoint;
use crate::runtime::{Clock, SystemClock};
use crate::sink::SinkError;
use crate::sink::staged::failed;
use crate::storage::{Storage, StorageError};

/// The directory of the log, below the table.
pub const LOG: &str = "_delta_log";

/// The versions of the protocol that tidegate reads and writes: appends, removals, columns of plain types.
pub const PROTOCOL: Protocol = Protocol { min_reader_version: 1, min_writer_version: 2 };

impl Protocol {
    /// Whether a table asks for more than is read and written here.
    pub(super) fn is_beyond_us(&self) -> bool {
        self.min_reader_version > PROTOCOL.min_reader_version
            || self.min_writer_version > PROTOCOL.min_writer_version
    }
}

/// A table as of one version.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Snapshot {
    /// The version; `None` for a table that is not there.
    pub version: Option<u64>,
    /// What it asks of readers and writers.
    pub protocol: Option<Protocol>,
    /// What it is.
    pub metadata: Option<MetaData>,
    /// How far applications have come.
    pub txns: BTreeMap<String, i64>,
    /// The files that are in, by path.
    pub files: BTreeMap<String, Add>,
    /// Files that are out and may still lie there, by path.
    pub removed: BTreeMap<String, Remove>,
}

impl Snapshot {
    /// Takes an action in.
    pub fn apply(&mut self, action: Action) {
        match action {
            Action::Protocol(protocol) => self.protocol = Some(protocol),
            Action::MetaData(metadata) => self.metadata = Some(*metadata),
            Action::Txn(txn) => drop(self.txns.insert(txn.app_id, txn.version)),
            Action::Add(add) => {
                self.removed.remove(&add.path);
                self.files.insert(add.path.clone(), add);
            }
            Action::Remove(remove) => {
                self.files.remove(&remove.path);
                self.removed.insert(remove.path.clone(), remove);
            }
            Action::CommitInfo(_) => {}
        }
    }

    /// Forgets the files that were taken out before `before_ms`.
    fn forget_before(&mut self, before_ms: i64) {
        self.removed.retain(|_, removed| removed.deletion_timestamp.is_some_and(|at_ms| at_ms >= before_ms));
    }

    /// All of it as actions.
    pub fn actions(&self) -> Vec<Action> {
        let txn = |(app_id, version): (&String, &i64)| {
            Action::Txn(super::action::Txn { app_id: app_id.clone(), version: *version, last_updated: None })
        };
        let head = self.protocol.clone().map(Action::Protocol).into_iter();
        head.chain(self.metadata.clone().map(|metadata| Action::MetaData(Box::new(metadata))))
            .chain(self.txns.iter().map(txn))
            .chain(self.files.values().cloned().map(Action::Add))
            .chain(self.removed.values().cloned().map(Action::Remove))
            .collect()
    }
}

/// Whether a commit is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Put {
    /// It is the one of its version.
    Done,
    /// Another has that version.
    Taken,
}

/// How long checkpoints of such a table remember a file that was taken out: twice as long as a vacuum keeps it by default, so that one a week finds all.
const KEPT: Duration = Duration::from_secs(14 * 86_400);

/// How many commits are read at once.
const READ_AT_ONCE: usize = 100;

/// The log of one table.
#[derive(Clone, Debug)]
pub struct Log {
    place: Arc<dyn Storage>,
    dir: String,
    sink: String,
}

impl Log {
    /// The log of the table in the directory `table` of `place` (empty: `place` itself is the table); `sink` is named in errors.
    pub fn new(place: Arc<dyn Storage>, table: &str, sink: &str) -> Self {
        let dir = if table.is_empty() { LOG.to_owned() } else { format!("{table}/{LOG}") };
        Log { place, dir, sink: sink.to_owned() }
    }

    fn at(&self, name: &str) -> String {
        format!("{}/{name}", self.dir)
    }

    fn lift<T>(&self, result: Result<T, StorageError>) -> Result<T, SinkError> {
        result.map_err(|error| error.of(&self.sink))
    }

    fn damaged(&self, name: &str, cause: impl ToString) -> SinkError {
        failed(&self.sink, format!("{:?} in {}: {}", self.at(name), self.place.place(), cause.to_string()))
    }

    /// The newest table; or that of `version`, which must be there with all that leads to it.
    ///
    /// # Errors
    /// When something of the log cannot be read or is missing.
    pub fn snapshot(&self, version: Option<u64>) -> Result<Snapshot, SinkError> {
        let names = self.lift(self.place.names(&self.dir))?;
        let within = |found: &u64| version.is_none_or(|version| *found <= version);
        let number =
            |name: &str, end: &str| name.strip_suffix(end).filter(|n| n.len() == 20)?.parse::<u64>().ok();
        let checkpoints = names.iter().filter_map(|name| number(name, ".checkpoint.parquet"));
        let mut snapshot = Snapshot::default();
        if let Some(at) = checkpoints.filter(within).max() {
            let name = checkpoint_name(at);
            let bytes = self.lift(self.place.read(&self.at(&name)))?;
            let bytes = bytes.ok_or_else(|| self.damaged(&name, "it has gone"))?;
            let actions = checkpoint::read(bytes).map_err(|cause| self.damaged(&name, cause))?;
            actions.into_iter().for_each(|action| snapshot.apply(action));
            snapshot.version = Some(at);
        }
        let first = snapshot.version.map_or(0, |version| version + 1);
        let mut commits: Vec<u64> = names.iter().filter_map(|name| number(name, ".json")).collect();
        commits.retain(|commit| *commit >= first && within(commit));
        commits.sort_unstable();
        if let Some((_, commit)) = (first..).zip(&commits).find(|(next, commit)| next != *commit) {
            let cause = "a version before it is missing, and there is no checkpoint behind that";
            return Err(self.damaged(&commit_name(*commit), cause));
        }
        for commits in commits.chunks(READ_AT_ONCE) {
            let paths: Vec<_> = commits.iter().map(|commit| self.at(&commit_name(*commit))).collect();
            for (commit, bytes) in commits.iter().zip(self.lift(self.place.read_all(&paths))?) {
                let bytes = bytes.ok_or_else(|| self.damaged(&commit_name(*commit), "it has gone"))?;
                self.parse(*commit, &bytes)?.into_iter().for_each(|action| snapshot.apply(action));
                snapshot.version = Some(*commit);
            }
        }
        if let Some(asked) = version.filter(|asked| snapshot.version != Some(*asked)) {
            return Err(self.damaged(&commit_name(asked), "there is no such version"));
        }
        Ok(snapshot)
    }

    /// The actions of a commit; `None` where there is none of that version.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn commit(&self, version: u64) -> Result<Option<Vec<Action>>, SinkError> {
        let bytes = self.lift(self.place.read(&self.at(&commit_name(version))))?;
        bytes.map(|bytes| self.parse(version, &bytes)).transpose()
    }

    fn parse(&self, version: u64, bytes: &[u8]) -> Result<Vec<Action>, SinkError> {
        let lines = bytes.split(|byte| *byte == b'\n').filter(|line| !line.trim_ascii().is_empty());
        let actions = lines.map(|line| {
            let line: Value = serde_json::from_slice(line).map_err(|error| error.to_string())?;
            Action::read(line)
        });
        let actions: Result<Vec<_>, String> = actions.collect();
        let actions = actions.map_err(|cause| self.damaged(&commit_name(version), cause))?;
        Ok(actions.into_iter().flatten().collect())
    }

    /// Makes `actions` the commit of `version`, unless there is one; where the outcome of an earlier try is not known, that
    /// may be it.
    ///
    /// # Errors
    /// When the place refuses.
    pub fn put(&self, version: u64, actions: &[Action]) -> Result<Put, SinkError> {
        let mut bytes = Vec::new();
        for action in actions {
            serde_json::to_writer(&mut bytes, action).map_err(|error| failed(&self.sink, error))?;
            bytes.push(b'\n');
        }
        let created = self.lift(self.place.create(&self.at(&commit_name(version)), &bytes))?;
        Ok(if created { Put::Done } else { Put::Taken })
    }

    /// Writes a checkpoint of the newest version; where it `forgets`, without what was taken out longer than 14 days ago: a
    /// table whose files are replaced again and again would remember ever more of them.
    ///
    /// # Errors
    /// When the log cannot be read or the checkpoint not written.
    pub fn checkpoint(&self, forgets: bool) -> Result<(), SinkError> {
        let mut snapshot = self.snapshot(None)?;
        let Some(version) = snapshot.version else { return Ok(()) };
        if forgets {
            snapshot.forget_before(SystemClock.now_us() / 1000 - KEPT.as_millis() as i64);
        }
        let (name, actions) = (checkpoint_name(version), snapshot.actions());
        let bytes = checkpoint::write(Vec::new(), &actions).map_err(|cause| self.damaged(&name, cause))?;
        self.lift(self.place.replace(&self.at(&name), &bytes))?;
        let pointer = json!({"version": version, "size": actions.len()}).to_string();
        self.lift(self.place.replace(&self.at("_last_checkpoint"), pointer.as_bytes()))
    }
}

fn commit_name(version: u64) -> String {
    format!("{version:020}.json")
}

fn checkpoint_name(version: u64) -> String {
    format!("{version:020}.checkpoint.parquet")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_taken_out_long_ago_is_forgotten() {
        let mut snapshot = Snapshot::default();
        for (path, at) in [("old", Some(9)), ("new", Some(10)), ("unknown", None)] {
            let removed = Remove { path: path.to_owned(), deletion_timestamp: at, data_change: true };
            snapshot.apply(Action::Remove(removed));
        }
        snapshot.forget_before(10);
        assert_eq!(snapshot.removed.into_keys().collect::<Vec<_>>(), ["new"]);
    }
}
