//! What is staged of an epoch by sinks that hand lines on one by one: one local file of kcat lines, sent when the manifest has
//! decided.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::disk::{DiskError, checksum};
use super::staged::{Books, Description};
use super::{SinkError, Staged};

/// Lines go to the file in pieces of at least this size.
const BUFFER: usize = 1 << 20;

/// The staged file of an epoch.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct StagedFile {
    bytes: u64,
    lines: u64,
    crc32: u32,
}

/// An epoch that is not prepared yet.
#[derive(Debug, Default)]
struct Open {
    buffer: Vec<u8>,
    file: Option<PathBuf>,
    bytes: u64,
    lines: u64,
    crc: crc32fast::Hasher,
}

/// The epochs that are staged by this process.
#[derive(Debug)]
pub(super) struct Staging {
    pub(super) books: Books,
    /// The kind of the sink, in its descriptions.
    kind: &'static str,
    open: BTreeMap<u64, Open>,
    prepared: BTreeMap<u64, Staged>,
}

impl Staging {
    pub(super) fn new(books: Books, kind: &'static str) -> Staging {
        Staging { books, kind, open: BTreeMap::new(), prepared: BTreeMap::new() }
    }

    /// Adds whole lines.
    pub(super) fn write(&mut self, epoch: u64, lines: &[u8], count: u64) -> Result<(), SinkError> {
        if self.prepared.contains_key(&epoch) {
            return Err(self.books.failed(format!("epoch {epoch} is prepared and takes no more lines")));
        }
        let open = self.open.entry(epoch).or_default();
        open.buffer.extend_from_slice(lines);
        open.lines += count;
        if open.buffer.len() >= BUFFER { self.flush(epoch) } else { Ok(()) }
    }

    fn flush(&mut self, epoch: u64) -> Result<(), SinkError> {
        let Some(open) = self.open.get_mut(&epoch).filter(|open| !open.buffer.is_empty()) else {
            return Ok(());
        };
        let dir = self.books.dir(&self.books.dir_name(epoch));
        let path = dir.join("lines");
        let append = || {
            self.books.disk.create_dirs(&dir)?;
            self.books.disk.append(&path, open.bytes, &open.buffer)
        };
        append().map_err(|error| self.books.lift(error))?;
        open.crc.update(&open.buffer);
        open.bytes += open.buffer.len() as u64;
        open.file = Some(path);
        open.buffer.clear();
        Ok(())
    }

    /// Makes the epoch durable and describes it.
    pub(super) fn prepare(&mut self, epoch: u64) -> Result<Staged, SinkError> {
        if let Some(staged) = self.prepared.get(&epoch) {
            return Ok(staged.clone());
        }
        self.flush(epoch)?;
        let open = self.open.remove(&epoch).unwrap_or_default();
        let description = match open.file {
            None => Description::new(self.kind, epoch, String::new(), Vec::new()),
            Some(path) => {
                let name = self.books.dir_name(epoch);
                let force = || {
                    self.books.disk.force(&path)?;
                    self.books.force_dir(&name)
                };
                force().map_err(|error| self.books.lift(error))?;
                let file = StagedFile { bytes: open.bytes, lines: open.lines, crc32: open.crc.finalize() };
                Description::new(self.kind, epoch, name, vec![file])
            }
        };
        let staged = description.to_staged(&self.books.sink)?;
        self.prepared.insert(epoch, staged.clone());
        Ok(staged)
    }

    /// What the manifest says of `epoch`.
    pub(super) fn description(
        &self,
        epoch: u64,
        staged: &Staged,
    ) -> Result<Description<StagedFile>, SinkError> {
        Description::of(staged, &self.books.sink, self.kind, epoch)
    }

    /// Calls `each` with every line that the manifest describes, without its newline.
    pub(super) fn read(
        &self,
        description: &Description<StagedFile>,
        mut each: impl FnMut(&[u8]) -> Result<(), SinkError>,
    ) -> Result<(), SinkError> {
        for file in &description.files {
            let path = self.books.dir(&description.dir).join("lines");
            let damaged = |what: &str| {
                self.books.failed(format!(
                    "{path:?} {what}: what was staged there is lost, and only it can be sent"
                ))
            };
            let lift = |error: DiskError| self.books.lift(error);
            if self.books.disk.len(&path).map_err(lift)? != Some(file.bytes) {
                return Err(damaged("is not there, or not as long as the manifest says"));
            }
            if checksum(&path, file.bytes).map_err(lift)? != file.crc32 {
                return Err(damaged("is not the file that the manifest describes"));
            }
            let io = |error: std::io::Error| self.books.failed(format!("cannot read {path:?}: {error}"));
            let mut input = BufReader::with_capacity(1 << 18, File::open(&path).map_err(io)?);
            let mut line = Vec::new();
            while input.read_until(b'\n', &mut line).map_err(io)? > 0 {
                each(line.strip_suffix(b"\n").unwrap_or(&line))?;
                line.clear();
            }
        }
        Ok(())
    }

    /// The epoch is in: forgets what was staged of it and of earlier ones.
    pub(super) fn clear(&mut self, epoch: u64) -> Result<(), SinkError> {
        self.open.retain(|&open, _| open > epoch);
        self.prepared.retain(|&prepared, _| prepared > epoch);
        self.books.clear(epoch).map_err(|error| self.books.lift(error))
    }
}
