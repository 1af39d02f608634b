//! The log of a Delta table: numbered commits, each put where none is yet, and checkpoints of what they add up to.
//!
//! ```text
//! <table>/_delta_log/00000000000000000000.json                 a commit: one action a line
//! <table>/_delta_log/00000000000000000100.checkpoint.parquet   the table as of that version
//! <table>/_delta_log/_last_checkpoint                          where a reader may begin
//! ```

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::action::{Action, Add, MetaData, Protocol, Remove};
use super::checkpoint;
use crate::sink::SinkError;
use crate::sink::disk::{Disk, DiskError};
use crate::sink::staged::{failed, nonce};

/// The directory of the log, below the table.
pub const LOG: &str = "_delta_log";

/// The versions of the protocol that tidegate reads and writes: appends, removals, columns of plain types.
pub const PROTOCOL: Protocol = Protocol { min_reader_version: 1, min_writer_version: 2 };

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

/// The log of one table.
#[derive(Clone, Debug)]
pub struct Log {
    disk: Disk,
    dir: PathBuf,
    sink: String,
}

impl Log {
    pub(crate) fn new(disk: Disk, table: &Path, sink: &str) -> Self {
        Log { disk, dir: table.join(LOG), sink: sink.to_owned() }
    }

    fn lift(&self, error: DiskError) -> SinkError {
        error.of(&self.sink)
    }

    fn damaged(&self, name: &str, cause: impl ToString) -> SinkError {
        failed(&self.sink, format!("{:?}: {}", self.dir.join(name), cause.to_string()))
    }

    /// The newest table; or that of `version`, which must be there with all that leads to it.
    ///
    /// # Errors
    /// When something of the log cannot be read or is missing.
    pub fn snapshot(&self, version: Option<u64>) -> Result<Snapshot, SinkError> {
        let names = self.disk.names(&self.dir).map_err(|error| self.lift(error))?;
        let names: Vec<&str> = names.iter().filter_map(|name| name.to_str()).collect();
        let within = |found: &u64| version.is_none_or(|version| *found <= version);
        let number =
            |name: &str, end: &str| name.strip_suffix(end).filter(|n| n.len() == 20)?.parse::<u64>().ok();
        let checkpoints = names.iter().filter_map(|name| number(name, ".checkpoint.parquet"));
        let mut snapshot = Snapshot::default();
        if let Some(at) = checkpoints.filter(within).max() {
            let name = checkpoint_name(at);
            let actions =
                checkpoint::read(&self.dir.join(&name)).map_err(|cause| self.damaged(&name, cause))?;
            actions.into_iter().for_each(|action| snapshot.apply(action));
            snapshot.version = Some(at);
        }
        let mut commits: Vec<u64> = names.iter().filter_map(|name| number(name, ".json")).collect();
        commits.sort_unstable();
        for commit in commits.into_iter().filter(within) {
            let next = snapshot.version.map_or(0, |version| version + 1);
            if commit < next {
                continue;
            }
            if commit > next {
                let cause = format!("version {next} is missing, and there is no checkpoint behind it");
                return Err(self.damaged(&commit_name(commit), cause));
            }
            let actions = self.commit(commit)?.unwrap_or_default();
            actions.into_iter().for_each(|action| snapshot.apply(action));
            snapshot.version = Some(commit);
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
        let name = commit_name(version);
        let Some(bytes) = self.disk.read(&self.dir.join(&name)).map_err(|error| self.lift(error))? else {
            return Ok(None);
        };
        let lines = bytes.split(|byte| *byte == b'\n').filter(|line| !line.trim_ascii().is_empty());
        let actions = lines.map(|line| {
            let line: Value = serde_json::from_slice(line).map_err(|error| error.to_string())?;
            Action::read(line)
        });
        let actions: Result<Vec<_>, String> = actions.collect();
        Ok(Some(actions.map_err(|cause| self.damaged(&name, cause))?.into_iter().flatten().collect()))
    }

    /// Makes `actions` the commit of `version`, unless there is one.
    ///
    /// # Errors
    /// When the file system refuses.
    pub fn put(&self, version: u64, actions: &[Action]) -> Result<Put, SinkError> {
        let mut bytes = Vec::new();
        for action in actions {
            serde_json::to_writer(&mut bytes, action).map_err(|error| failed(&self.sink, error))?;
            bytes.push(b'\n');
        }
        let (name, draft) = (commit_name(version), self.dir.join(format!(".{}.tmp", nonce())));
        let put = || {
            self.disk.create_dirs(&self.dir)?;
            let mut file = self.disk.create(&draft)?;
            file.write_all(&bytes).map_err(|cause| DiskError::of_write(&draft, cause))?;
            file.finish()?;
            // A second name is given or refused in one step; renaming would replace what another has put.
            let linked = self.disk.link(&draft, &self.dir.join(&name))?;
            self.disk.remove(&draft)?;
            self.disk.force_dir(&self.dir)?;
            Ok(linked)
        };
        if put().map_err(|error| self.lift(error))? {
            return Ok(Put::Done);
        }
        let there = self.disk.len(&self.dir.join(&name)).map_err(|error| self.lift(error))?;
        match there {
            Some(_) => Ok(Put::Taken),
            None => {
                Err(self
                    .damaged(&name, "the file system gives no second name to a file, which a commit needs"))
            }
        }
    }

    /// Writes a checkpoint of the newest version.
    ///
    /// # Errors
    /// When the log cannot be read or the checkpoint not written.
    pub fn checkpoint(&self) -> Result<(), SinkError> {
        let snapshot = self.snapshot(None)?;
        let Some(version) = snapshot.version else { return Ok(()) };
        let actions = snapshot.actions();
        let (name, draft) = (checkpoint_name(version), self.dir.join(format!(".{}.tmp", nonce())));
        let file = self.disk.create(&draft).map_err(|error| self.lift(error))?;
        let file = checkpoint::write(file, &actions).map_err(|cause| self.damaged(&name, cause))?;
        let pointer = json!({"version": version, "size": actions.len()}).to_string();
        let done = file
            .finish()
            .and_then(|_| self.disk.rename(&draft, &self.dir.join(&name)))
            .and_then(|()| self.disk.replace(&self.dir.join("_last_checkpoint"), pointer.as_bytes()));
        done.map_err(|error| self.lift(error))
    }
}

fn commit_name(version: u64) -> String {
    format!("{version:020}.json")
}

fn checkpoint_name(version: u64) -> String {
    format!("{version:020}.checkpoint.parquet")
}
