//! The rows of an epoch that is not decided: waiting in memory, in files being written, in files that are done.

use std::collections::BTreeMap;
use std::path::PathBuf;

use parquet::errors::ParquetError;
use serde::{Deserialize, Serialize};

use super::buffer::Buffer;
use super::file::OpenFile;
use super::{LakeBatch, LakeFile};
use crate::sink::disk::Disk;

/// When waiting rows become a row group, and row groups a file; what may be held at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// A row group has at most about this many rows: 256 Ki.
    pub group_rows: usize,
    /// The rows of a row group take at most about this many bytes in memory: 64 MiB.
    pub group_bytes: usize,
    /// A file is ended once it has this many bytes: 128 MiB.
    pub file_bytes: usize,
    /// Waiting rows take at most about this many bytes in memory, all partitions together: 256 MiB. Beyond, the
    /// largest become row groups early.
    pub memory_bytes: usize,
    /// At most this many files are open: 64. Beyond, the one not written to for longest is ended.
    pub open_files: usize,
    /// At most this many partitions have rows waiting: 1,024. Beyond, a quarter of them is ended, those not
    /// written to for longest.
    pub partitions: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            group_rows: 256 << 10,
            group_bytes: 64 << 20,
            file_bytes: 128 << 20,
            memory_bytes: 256 << 20,
            open_files: 64,
            partitions: 1024,
        }
    }
}

/// A staged file, and the name it will be published under.
#[derive(Debug, Serialize, Deserialize)]
pub(in crate::sink) struct StagedFile {
    /// Its name in the staging directory.
    pub(in crate::sink) name: String,
    /// Its path below the lake.
    pub(in crate::sink) path: String,
    pub(in crate::sink) rows: u64,
    pub(in crate::sink) bytes: u64,
    pub(in crate::sink) crc32: u32,
}

impl StagedFile {
    pub(super) fn into_published(self) -> LakeFile {
        LakeFile { path: self.path, rows: self.rows, bytes: self.bytes, crc32: self.crc32 }
    }
}

/// A partition directory, and the writer's partition within it.
type Place = (String, u32);

#[derive(Debug, Default)]
struct Partition {
    waiting: Buffer,
    waiting_bytes: usize,
    file: Option<OpenFile>,
    /// When it was written to last, in batches of the epoch.
    touched: u64,
}

/// An epoch being staged.
#[derive(Debug)]
pub(in crate::sink) struct OpenEpoch {
    disk: Disk,
    dir: PathBuf,
    epoch: u64,
    /// What the names of its files begin with.
    prefix: &'static str,
    limits: Limits,
    partitions: BTreeMap<Place, Partition>,
    waiting_bytes: usize,
    open_files: usize,
    batches: u64,
    next_seq: u64,
    done: Vec<StagedFile>,
}

impl OpenEpoch {
    pub(in crate::sink) fn new(disk: Disk, dir: PathBuf, epoch: u64, limits: Limits) -> Self {
        OpenEpoch {
            disk,
            dir,
            epoch,
            prefix: "part",
            limits,
            partitions: BTreeMap::new(),
            waiting_bytes: 0,
            open_files: 0,
            batches: 0,
            next_seq: 0,
            done: Vec::new(),
        }
    }

    /// The same with files whose names begin with `prefix` in place of `part`.
    pub(in crate::sink) fn named(self, prefix: &'static str) -> Self {
        OpenEpoch { prefix, ..self }
    }

    /// How many bytes the waiting rows take.
    pub(super) fn waiting_bytes(&self) -> usize {
        self.waiting_bytes
    }

    pub(in crate::sink) fn write(&mut self, batch: LakeBatch) -> Result<(), String> {
        self.batches += 1;
        let place = (batch.partition_dir, batch.writer_partition);
        let partition = self.partitions.entry(place.clone()).or_default();
        partition.touched = self.batches;
        partition.waiting.append(&batch.schema, &batch.rows)?;
        let bytes = partition.waiting.byte_len();
        self.waiting_bytes += bytes - partition.waiting_bytes;
        partition.waiting_bytes = bytes;
        if partition.waiting.rows() >= self.limits.group_rows || bytes >= self.limits.group_bytes {
            self.flush(&place)?;
        }
        if self.partitions.len() > self.limits.partitions {
            self.end_oldest(self.limits.partitions.div_ceil(4))?;
        }
        Ok(())
    }

    /// Makes a row group of the rows that take most.
    pub(super) fn flush_largest(&mut self) -> Result<(), String> {
        let largest = self.partitions.iter().max_by_key(|(_, partition)| partition.waiting_bytes);
        let Some(place) = largest.map(|(place, _)| place.clone()) else { return Ok(()) };
        self.flush(&place)
    }

    /// Ends all files: what is staged for the epoch.
    pub(in crate::sink) fn finish(mut self) -> Result<Vec<StagedFile>, String> {
        self.end_all()?;
        Ok(self.done)
    }

    /// Ends the files of all partitions.
    pub(in crate::sink) fn end_all(&mut self) -> Result<(), String> {
        let places: Vec<_> = self.partitions.keys().cloned().collect();
        places.iter().try_for_each(|place| self.end(place))
    }

    /// Makes a row group of a partition's waiting rows, in its file or, where that has other columns, a new one.
    fn flush(&mut self, place: &Place) -> Result<(), String> {
        let Some(partition) = self.partitions.get_mut(place) else { return Ok(()) };
        if partition.waiting.rows() == 0 {
            return Ok(());
        }
        let waiting = std::mem::take(&mut partition.waiting);
        self.waiting_bytes -= std::mem::take(&mut partition.waiting_bytes);
        let (mut file, ended) = match partition.file.take() {
            Some(file) if file.takes(&waiting) => (file, None),
            other => (create(&self.disk, &self.dir, &mut self.next_seq, &waiting)?, other),
        };
        self.open_files += usize::from(file.rows == 0);
        file.write(waiting).map_err(reason)?;
        partition.file = Some(file);
        if let Some(ended) = ended {
            self.close(place, ended)?;
        }
        let full = self
            .partitions
            .get_mut(place)
            .and_then(|partition| partition.file.take_if(|file| file.byte_len() >= self.limits.file_bytes));
        if let Some(full) = full {
            self.close(place, full)?;
        }
        while self.open_files > self.limits.open_files {
            let open = self.partitions.iter().filter(|(_, partition)| partition.file.is_some());
            let oldest = open.min_by_key(|(_, partition)| partition.touched).map(|(place, _)| place.clone());
            let Some(oldest) = oldest else { break };
            let file = self.partitions.get_mut(&oldest).and_then(|partition| partition.file.take());
            file.map_or(Ok(()), |file| self.close(&oldest, file))?;
        }
        Ok(())
    }

    /// Ends the partitions that were not written to for longest.
    fn end_oldest(&mut self, count: usize) -> Result<(), String> {
        let mut places: Vec<_> =
            self.partitions.iter().map(|(place, partition)| (partition.touched, place.clone())).collect();
        places.sort();
        places.into_iter().take(count).try_for_each(|(_, place)| self.end(&place))
    }

    /// Ends a partition: its rows are in files that are done.
    fn end(&mut self, place: &Place) -> Result<(), String> {
        self.flush(place)?;
        match self.partitions.remove(place).and_then(|partition| partition.file) {
            Some(file) => self.close(place, file),
            None => Ok(()),
        }
    }

    fn close(&mut self, (dir, _): &Place, file: OpenFile) -> Result<(), String> {
        self.open_files -= 1;
        let (seq, rows) = (file.seq, file.rows);
        let (bytes, crc32) = file.close().map_err(reason)?.finish().map_err(|error| error.to_string())?;
        let slash = if dir.is_empty() { "" } else { "/" };
        let path = format!("{dir}{slash}{}-{:010}-{seq:05}-{crc32:08x}.parquet", self.prefix, self.epoch);
        self.done.push(StagedFile { name: staged_name(seq), path, rows, bytes, crc32 });
        Ok(())
    }
}

fn create(
    disk: &Disk,
    dir: &std::path::Path,
    next_seq: &mut u64,
    waiting: &Buffer,
) -> Result<OpenFile, String> {
    let seq = *next_seq;
    *next_seq += 1;
    let file = disk.create(&dir.join(staged_name(seq))).map_err(|error| error.to_string())?;
    OpenFile::create(file, seq, waiting).map_err(reason)
}

fn staged_name(seq: u64) -> String {
    format!("{seq:05}.staged")
}

fn reason(error: ParquetError) -> String {
    format!("cannot write a Parquet file: {error}")
}
