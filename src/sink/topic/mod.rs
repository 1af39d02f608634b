//! Kafka topics as files of kcat lines, `topics/<topic>.jsonl`, written exactly once.
//!
//! Every epoch adds lines to every partition, yet a topic's file is sorted by (partition, offset). What is
//! committed therefore lies in two places until the run ends, and the mark says how much of each counts:
//!
//! ```text
//! topics/<topic>.jsonl                            base: partition 0's lines, partition 1's lines, …
//! topics/.tidegate/<sink>/tails/<topic>/<number>  tail: the partition's lines since the base was made
//! ```
//!
//! * A commit appends the staged lines to the tails and then sets the mark. Bytes beyond the mark are what is
//!   left of a commit that died: the next one cuts them off first.
//! * [`TopicFiles::finish`] merges base and tails into a new base, puts it in place by rename, and only then
//!   sets the mark. If it dies in between, the base's length tells: it is the old sum or the new one.
//!
//! Readers of `topics/<topic>.jsonl` see it change only by that rename. Every declared topic has its file when
//! the run ends, also where it is empty: that nothing was late is an answer too.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::disk::{Disk, DiskError, Durability, checksum};
use super::staged::{Books, Description, Mark, Turn, turn};
use super::{Sink, SinkError, Staged};

const KIND: &str = "topics";

/// A partition's lines go to its staged file in pieces of at least this size; a batch of it is not copied.
const PART_BUFFER: usize = 1 << 17;

/// All partitions together hold no more than this in memory.
const BUFFERS: usize = 1 << 26;

/// Lines of one partition of a topic.
#[derive(Clone, Debug)]
pub struct TopicBatch {
    /// Index into the topics that the sink was opened with.
    pub topic: usize,
    /// The partition's number, not negative.
    pub partition: i32,
    /// Whole lines as [`kcat_line`](super::kcat::kcat_line) makes them, offsets included, in offset order.
    pub lines: Vec<u8>,
    /// How many lines there are.
    pub count: u64,
}

/// How much of a file counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Extent {
    bytes: u64,
    lines: u64,
}

impl Extent {
    fn grow(&mut self, more: Extent) {
        self.bytes += more.bytes;
        self.lines += more.lines;
    }
}

/// What is committed of a topic, by partition.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Committed {
    base: BTreeMap<i32, Extent>,
    tails: BTreeMap<i32, Extent>,
}

impl Committed {
    fn base_bytes(&self) -> u64 {
        self.base.values().map(|extent| extent.bytes).sum()
    }

    fn tail_bytes(&self) -> u64 {
        self.tails.values().map(|extent| extent.bytes).sum()
    }

    /// The tails are in the base now.
    fn merge(&mut self) {
        for (partition, tail) in std::mem::take(&mut self.tails) {
            self.base.entry(partition).or_default().grow(tail);
        }
    }
}

type Topics = BTreeMap<String, Committed>;

/// A staged file: the lines of one partition in one epoch.
#[derive(Debug, Serialize, Deserialize)]
struct StagedLines {
    topic: String,
    partition: i32,
    extent: Extent,
    crc32: u32,
}

/// A partition's lines of an epoch that is not prepared.
#[derive(Debug, Default)]
struct OpenPart {
    buffer: Vec<u8>,
    written: Extent,
    crc: crc32fast::Hasher,
}

type OpenEpoch = BTreeMap<(usize, i32), OpenPart>;

/// The sink of one pipeline's topics.
#[derive(Debug)]
pub struct TopicFiles {
    dir: PathBuf,
    topics: Vec<String>,
    books: Books,
    open: BTreeMap<u64, OpenEpoch>,
    buffered: usize,
    prepared: BTreeMap<u64, Staged>,
    /// The generation of the last commit made through this instance.
    generation: Option<u64>,
}

impl TopicFiles {
    /// Opens the topics called `topics` in `dir`, usually `topics` below `--out`.
    ///
    /// `sink` names this sink among those that share the directory, in its bookkeeping and in errors: the
    /// pipeline's name. No two sinks may declare the same topic.
    ///
    /// # Errors
    /// [`SinkError::Failed`] when the directory cannot be written, or a name is not one that Kafka allows
    /// (1 to 249 of `A-Z a-z 0-9 . _ -`, and not `.` or `..`).
    pub fn open(dir: &Path, sink: &str, topics: &[&str], durability: Durability) -> Result<Self, SinkError> {
        Self::open_on(Disk::new(durability), dir, sink, topics)
    }

    fn open_on(disk: Disk, dir: &Path, sink: &str, topics: &[&str]) -> Result<Self, SinkError> {
        let books = Books::open(disk, dir.join(".tidegate").join(sink), sink)?;
        if let Some(name) = topics.iter().find(|name| !is_topic_name(name)) {
            return Err(books.failed(format!("{name:?} is not a topic's name")));
        }
        Ok(TopicFiles {
            dir: dir.to_owned(),
            topics: topics.iter().map(|&name| name.to_owned()).collect(),
            books,
            open: BTreeMap::new(),
            buffered: 0,
            prepared: BTreeMap::new(),
            generation: None,
        })
    }

    /// The last epoch that this sink has committed, by whatever process; `None` before the first.
    ///
    /// # Errors
    /// When the mark cannot be read.
    pub fn committed(&self) -> Result<Option<u64>, SinkError> {
        Ok(self.books.mark::<Topics>()?.epoch)
    }

    /// Puts everything that is committed into the topics' files. Called when the run ends or stops; may be
    /// called again, and before further epochs, at the cost of copying the topics that have grown.
    ///
    /// # Errors
    /// [`SinkError::Failed`] when a topic's file is not as it was left; [`SinkError::Unavailable`] when the disk
    /// is full; [`SinkError::Fenced`] when a newer generation has committed.
    pub fn finish(&mut self) -> Result<(), SinkError> {
        let _lock = self.books.lock().map_err(|error| self.books.lift(error))?;
        let mut mark = self.books.mark::<Topics>()?;
        if let Some(ours) = self.generation {
            turn(&self.books.sink, mark.epoch, mark.generation, 0, ours)?;
        }
        self.reconcile(&mut mark)?;
        let known = mark.state.len();
        for topic in &self.topics {
            mark.state.entry(topic.clone()).or_default();
        }
        if mark.state.len() > known {
            // A file whose topic the mark names is tidegate's, so the mark comes first.
            self.books.set_mark(&mark)?;
        }
        for (topic, committed) in &mut mark.state {
            if committed.tails.is_empty() {
                self.create_empty(topic, committed).map_err(|error| self.books.lift(error))?;
            } else {
                self.rebuild(topic, committed).map_err(|error| self.books.lift(error))?;
                committed.merge();
            }
        }
        self.books.disk.force_dir(&self.dir).map_err(|error| self.books.lift(error))?;
        self.books.set_mark(&mark)?;
        self.remove_tails(&mark).map_err(|error| self.books.lift(error))
    }

    fn base(&self, topic: &str) -> PathBuf {
        self.dir.join(format!("{topic}.jsonl"))
    }

    fn tails(&self, topic: &str) -> PathBuf {
        self.books.root.join("tails").join(topic)
    }

    fn tail(&self, topic: &str, partition: i32) -> PathBuf {
        self.tails(topic).join(partition.to_string())
    }

    /// Brings the mark up to a `finish` that died before it could set it, and checks the topics' files.
    fn reconcile(&self, mark: &mut Mark<Topics>) -> Result<(), SinkError> {
        let mut merged = false;
        for (topic, committed) in &mut mark.state {
            let path = self.base(topic);
            let found = self.books.disk.len(&path).map_err(|error| self.books.lift(error))?.unwrap_or(0);
            let (base, tails) = (committed.base_bytes(), committed.tail_bytes());
            if tails > 0 && found == base + tails {
                committed.merge();
                merged = true;
            } else if found != base {
                return Err(self.books.failed(format!(
                    "{path:?} has {found} bytes where tidegate left {base}: it was changed by somebody else. \
                     Put it back, or start with another directory"
                )));
            }
        }
        if merged {
            self.books.disk.force_dir(&self.dir).map_err(|error| self.books.lift(error))?;
            self.books.set_mark(mark)?;
            self.remove_tails(mark).map_err(|error| self.books.lift(error))?;
        }
        Ok(())
    }

    /// Removes the tails of topics that have none by the mark.
    fn remove_tails(&self, mark: &Mark<Topics>) -> Result<(), DiskError> {
        for (topic, _) in mark.state.iter().filter(|(_, committed)| committed.tails.is_empty()) {
            self.books.disk.remove_tree(&self.tails(topic))?;
        }
        Ok(())
    }

    fn create_empty(&self, topic: &str, committed: &Committed) -> Result<(), DiskError> {
        let path = self.base(topic);
        if committed.base_bytes() == 0 && self.books.disk.len(&path)?.is_none() {
            self.books.disk.create(&path)?.finish()?;
        }
        Ok(())
    }

    /// Puts base and tails together, partition by partition, in place of the base.
    fn rebuild(&self, topic: &str, committed: &Committed) -> Result<(), DiskError> {
        let disk = &self.books.disk;
        let (base, draft) = (self.base(topic), self.books.root.join(format!("{topic}.tmp")));
        disk.remove(&draft)?;
        let (mut len, mut base_at) = (0, 0);
        let partitions: BTreeSet<_> = committed.base.keys().chain(committed.tails.keys()).copied().collect();
        for partition in partitions {
            if let Some(extent) = committed.base.get(&partition) {
                disk.append_file(&draft, len, &base, base_at, extent.bytes)?;
                base_at += extent.bytes;
                len += extent.bytes;
            }
            if let Some(extent) = committed.tails.get(&partition) {
                let tail = self.tail(topic, partition);
                // The first piece need not be copied: the draft begins as its second name. The draft then grows
                // beyond what counts of the tail, as after a commit that died; nothing relies on the tail's length.
                if len == 0 && disk.link(&tail, &draft)? {
                    disk.append(&draft, extent.bytes, b"")?;
                } else {
                    disk.append_file(&draft, len, &tail, 0, extent.bytes)?;
                }
                len += extent.bytes;
            }
        }
        disk.force(&draft)?;
        disk.rename(&draft, &base)
    }

    /// Writes out a partition's buffer.
    fn flush(&mut self, epoch: u64, topic: usize, partition: i32) -> Result<(), DiskError> {
        let Some(part) = self.open.get_mut(&epoch).and_then(|parts| parts.get_mut(&(topic, partition)))
        else {
            return Ok(());
        };
        if part.buffer.is_empty() {
            return Ok(());
        }
        let path = staged_path(&self.books.dir(&self.books.dir_name(epoch)), &self.topics[topic], partition);
        if let Some(dir) = path.parent() {
            self.books.disk.create_dirs(dir)?;
        }
        self.books.disk.append(&path, part.written.bytes, &part.buffer)?;
        part.crc.update(&part.buffer);
        part.written.bytes += part.buffer.len() as u64;
        self.buffered -= part.buffer.len();
        part.buffer.clear();
        Ok(())
    }

    fn flush_all(&mut self, epoch: u64) -> Result<(), DiskError> {
        let parts: Vec<_> = self.open.get(&epoch).into_iter().flatten().map(|(&part, _)| part).collect();
        parts.into_iter().try_for_each(|(topic, partition)| self.flush(epoch, topic, partition))
    }

    /// Writes out, forces and describes what is staged for `epoch`.
    fn seal(&mut self, epoch: u64) -> Result<Description<StagedLines>, DiskError> {
        self.flush_all(epoch)?;
        let parts = self.open.remove(&epoch).unwrap_or_default();
        let name = if parts.is_empty() { String::new() } else { self.books.dir_name(epoch) };
        let mut files = Vec::with_capacity(parts.len());
        for ((topic, partition), part) in parts {
            let path = staged_path(&self.books.dir(&name), &self.topics[topic], partition);
            self.books.disk.force(&path)?;
            if let Some(dir) = path.parent() {
                self.books.disk.force_dir(dir)?;
            }
            let (topic, crc32) = (self.topics[topic].clone(), part.crc.finalize());
            files.push(StagedLines { topic, partition, extent: part.written, crc32 });
        }
        if !files.is_empty() {
            self.books.force_dir(&name)?;
        }
        Ok(Description::new(KIND, epoch, name, files))
    }

    /// Appends a staged file to its partition's tail, whatever an earlier try has done of it.
    fn publish(&self, staged: &Path, file: &StagedLines, tail_bytes: u64) -> Result<(), SinkError> {
        let disk = &self.books.disk;
        let lift = |error| self.books.lift(error);
        let tail = self.tail(&file.topic, file.partition);
        let staged_is_there = disk.len(staged).map_err(lift)?.is_some();
        if tail_bytes > 0 {
            disk.append_file(&tail, tail_bytes, staged, 0, file.extent.bytes).map_err(lift)?;
            return disk.force(&tail).map_err(lift);
        }
        if staged_is_there {
            if let Some(dir) = tail.parent() {
                disk.create_dirs(dir).map_err(lift)?;
            }
            // Nothing of a tail that is there counts; its bytes may belong to the base by now, so it is
            // replaced and never written to.
            return disk.rename(staged, &tail).map_err(lift);
        }
        self.verify(&tail, file)
    }

    fn verify(&self, path: &Path, file: &StagedLines) -> Result<(), SinkError> {
        let found = checksum(path, file.extent.bytes).map_err(|error| self.books.lift(error))?;
        if found == file.crc32 {
            return Ok(());
        }
        Err(self.books.failed(format!("{path:?} is not the file that the manifest describes")))
    }

    /// Publishes an epoch and sets the mark.
    fn publish_all(
        &self,
        mut mark: Mark<Topics>,
        epoch: u64,
        generation: u64,
        staged: &Description<StagedLines>,
    ) -> Result<(), SinkError> {
        self.reconcile(&mut mark)?;
        let dir = self.books.dir(&staged.dir);
        let mut touched = BTreeSet::new();
        for file in &staged.files {
            if !is_topic_name(&file.topic) {
                return Err(self.books.failed(format!("{:?} is not a topic's name", file.topic)));
            }
            let path = staged_path(&dir, &file.topic, file.partition);
            let known = self.prepared.contains_key(&epoch);
            if !known && self.books.disk.len(&path).map_err(|error| self.books.lift(error))?.is_some() {
                self.verify(&path, file)?;
            }
            let tail =
                mark.state.entry(file.topic.clone()).or_default().tails.entry(file.partition).or_default();
            self.publish(&path, file, tail.bytes)?;
            tail.grow(file.extent);
            touched.insert(self.tails(&file.topic));
        }
        for dir in touched {
            self.books
                .disk
                .force_dirs_up_to(&dir, &self.books.root)
                .map_err(|error| self.books.lift(error))?;
        }
        mark.epoch = Some(epoch);
        mark.generation = generation;
        self.books.set_mark(&mark)
    }
}

impl Sink for TopicFiles {
    type Batch = TopicBatch;

    /// Stages lines. An error is final: the run starts again from its last manifest.
    fn write(&mut self, epoch: u64, batch: TopicBatch) -> Result<(), SinkError> {
        let TopicBatch { topic, partition, lines, count } = batch;
        if topic >= self.topics.len() || partition < 0 {
            return Err(self
                .books
                .failed(format!("there is no topic number {topic}, partition {partition}")));
        }
        if self.prepared.contains_key(&epoch) {
            return Err(self.books.failed(format!("epoch {epoch} is prepared and takes no more lines")));
        }
        if lines.is_empty() {
            return Ok(());
        }
        if lines.last() != Some(&b'\n') {
            return Err(self
                .books
                .failed(format!("lines for topic {:?} end without a newline", self.topics[topic])));
        }
        let part = self.open.entry(epoch).or_default().entry((topic, partition)).or_default();
        self.buffered += lines.len();
        if part.buffer.is_empty() {
            part.buffer = lines;
        } else {
            part.buffer.extend_from_slice(&lines);
        }
        part.written.lines += count;
        let flushed = if self.buffered > BUFFERS {
            let epochs: Vec<_> = self.open.keys().copied().collect();
            epochs.into_iter().try_for_each(|epoch| self.flush_all(epoch))
        } else if part.buffer.len() >= PART_BUFFER {
            self.flush(epoch, topic, partition)
        } else {
            Ok(())
        };
        flushed.map_err(|error| self.books.failed(error))
    }

    fn prepare(&mut self, epoch: u64) -> Result<Staged, SinkError> {
        if let Some(staged) = self.prepared.get(&epoch) {
            return Ok(staged.clone());
        }
        let description = self.seal(epoch).map_err(|error| self.books.failed(error))?;
        let staged = description.to_staged(&self.books.sink)?;
        self.prepared.insert(epoch, staged.clone());
        Ok(staged)
    }

    fn committed(&mut self) -> Result<Option<u64>, SinkError> {
        Self::committed(self)
    }

    fn finish(&mut self) -> Result<(), SinkError> {
        Self::finish(self)
    }

    fn commit(&mut self, epoch: u64, generation: u64, staged: &Staged) -> Result<(), SinkError> {
        let description = Description::of(staged, &self.books.sink, KIND, epoch)?;
        let _lock = self.books.lock().map_err(|error| self.books.lift(error))?;
        let mark = self.books.mark::<Topics>()?;
        match turn(&self.books.sink, mark.epoch, mark.generation, epoch, generation)? {
            Turn::Done => self.books.note_generation(mark, generation)?,
            Turn::Publish => self.publish_all(mark, epoch, generation, &description)?,
        }
        self.generation = Some(generation);
        self.open.retain(|&open, _| open > epoch);
        self.buffered = self.open.values().flat_map(BTreeMap::values).map(|part| part.buffer.len()).sum();
        self.prepared.retain(|&prepared, _| prepared > epoch);
        self.books.clear(epoch).map_err(|error| self.books.lift(error))
    }
}

fn staged_path(dir: &Path, topic: &str, partition: i32) -> PathBuf {
    dir.join(topic).join(partition.to_string())
}

/// Kafka's own rule, which also makes the name safe in a path.
fn is_topic_name(name: &str) -> bool {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    matches!(name.len(), 1..=249) && name.bytes().all(legal) && name != "." && name != ".."
}

#[cfg(test)]
mod tests;
