//! Where generated records go: files of a fixture, a partition each, complete or not there at all.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use thiserror::Error;
use tidegate::record::{Headers, KafkaTime, Partition, Record, Value};
use tidegate::source::fixture::{Codec, KcatWriter, SegmentWriter};

use super::activity::Generated;

/// The form of a fixture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// kcat lines, `<topic>.<partition>.jsonl` and what `packed` adds.
    Kcat(Packed),
    /// Kafka log segments, `<topic>-<partition>/<base offset>.log`.
    Segments(Codec),
    /// The bare payloads, `p<partition>.ndjson`: for benches; not a fixture.
    Ndjson,
}

/// How a file of lines is packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packed {
    /// Not at all.
    Plain,
    /// By gzip.
    Gzip,
    /// By zstd.
    Zstd,
}

/// Records in a batch of a segment, at most; 16 KiB are reached before.
const BATCH_RECORDS: u32 = 1_000;

/// Why a fixture cannot be written.
#[derive(Debug, Error)]
pub enum TargetError {
    /// There is something else in the directory. Choose another, or empty it.
    #[error("{0:?} is not empty: generated records do not mix with what is there; name a new directory")]
    NotEmpty(PathBuf),
    /// The system refused.
    #[error("cannot write {path:?}: {cause}")]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        #[source]
        cause: io::Error,
    },
}

impl TargetError {
    /// Whether the caller named a wrong directory, rather than the system failing.
    pub fn is_usage(&self) -> bool {
        matches!(self, TargetError::NotEmpty(_))
    }
}

/// Writes a fixture. What is written is hidden until [`Target::finish`], and gone if that is never called.
pub struct Target {
    dir: PathBuf,
    hidden: PathBuf,
    writers: Vec<(Partition, Writer)>,
    finished: bool,
}

enum Writer {
    Kcat(KcatWriter),
    Segment(SegmentWriter),
    Ndjson(BufWriter<File>),
}

impl Target {
    /// A fixture in `dir`, which is empty or not there, of `partitions` partitions of `topic`.
    ///
    /// # Errors
    /// See [`TargetError`].
    pub fn create(dir: &Path, topic: &str, partitions: u32, form: Form) -> Result<Target, TargetError> {
        let partitions = (0..partitions).map(|number| Partition::new(topic, number as i32)).collect();
        Target::create_of(dir, partitions, form)
    }

    /// A fixture in `dir`, which is empty or not there, of these partitions: an event's number of a partition is
    /// then the partition's place among them.
    ///
    /// # Errors
    /// See [`TargetError`].
    pub fn create_of(dir: &Path, partitions: Vec<Partition>, form: Form) -> Result<Target, TargetError> {
        let io = |path: &Path| {
            let path = path.to_owned();
            move |cause| TargetError::Io { path, cause }
        };
        fs::create_dir_all(dir).map_err(io(dir))?;
        if fs::read_dir(dir).map_err(io(dir))?.next().is_some() {
            return Err(TargetError::NotEmpty(dir.to_owned()));
        }
        // Readers of fixtures pass over hidden files.
        let hidden = dir.join(".generating");
        fs::create_dir(&hidden).map_err(io(&hidden))?;
        let mut target = Target { dir: dir.to_owned(), hidden, writers: Vec::new(), finished: false };
        for partition in partitions {
            let writer = Writer::create(&target.hidden, &partition, form).map_err(io(&target.hidden))?;
            target.writers.push((partition, writer));
        }
        Ok(target)
    }

    /// Writes one event.
    ///
    /// # Errors
    /// When the file cannot be written.
    ///
    /// # Panics
    /// When there is no such partition.
    pub fn write(&mut self, event: &Generated<'_>) -> Result<(), TargetError> {
        let mut wire = Vec::new();
        if let Some(fault) = event.fault {
            Headers::append(&mut wire, b"fault", Some(fault.as_bytes()));
        }
        let record = Record {
            offset: event.offset,
            kafka_time: KafkaTime::Create(event.kafka_ms),
            key: Some(event.key),
            value: Some(Value::exact(event.payload)),
            headers: Headers::from_wire(event.fault.is_some().into(), &wire),
        };
        self.write_record(event.partition as usize, &record)
    }

    /// Writes one record of a partition, by its index.
    ///
    /// # Errors
    /// When the file cannot be written.
    ///
    /// # Panics
    /// When there is no such partition.
    pub fn write_record(&mut self, partition: usize, record: &Record<'_>) -> Result<(), TargetError> {
        let (partition, writer) = &mut self.writers[partition];
        let written = match writer {
            Writer::Kcat(writer) => writer.write(partition, record),
            Writer::Segment(writer) => writer.write(record),
            Writer::Ndjson(out) => {
                let payload = record.value.map_or(&[][..], |value| value.bytes());
                out.write_all(payload).and_then(|()| out.write_all(b"\n"))
            }
        };
        written.map_err(|cause| TargetError::Io { path: self.dir.clone(), cause })
    }

    /// Adds a file that is no part of the log, such as what was injected into it. Its name must be one that
    /// readers of fixtures pass over.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write_beside(&self, name: &str, bytes: &[u8]) -> Result<(), TargetError> {
        let path = self.hidden.join(name);
        fs::write(&path, bytes).map_err(|cause| TargetError::Io { path, cause })
    }

    /// Writes what is left, and makes the fixture visible.
    ///
    /// # Errors
    /// When the files cannot be written or moved.
    pub fn finish(mut self) -> Result<(), TargetError> {
        self.finish_files().map_err(|cause| TargetError::Io { path: self.dir.clone(), cause })?;
        self.finished = true;
        Ok(())
    }

    fn finish_files(&mut self) -> io::Result<()> {
        for (_, writer) in std::mem::take(&mut self.writers) {
            match writer {
                Writer::Kcat(writer) => writer.finish()?,
                Writer::Segment(writer) => writer.finish()?,
                Writer::Ndjson(mut out) => out.flush()?,
            }
        }
        for entry in fs::read_dir(&self.hidden)? {
            let entry = entry?;
            fs::rename(entry.path(), self.dir.join(entry.file_name()))?;
        }
        fs::remove_dir(&self.hidden)
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        if !self.finished {
            self.writers.clear();
            // Nobody can be told here, and hidden files are read by nobody.
            fs::remove_dir_all(&self.hidden).ok();
        }
    }
}

impl Writer {
    fn create(dir: &Path, partition: &Partition, form: Form) -> io::Result<Writer> {
        Ok(match form {
            Form::Kcat(packed) => {
                let packed = match packed {
                    Packed::Plain => "",
                    Packed::Gzip => ".gz",
                    Packed::Zstd => ".zst",
                };
                let name = format!("{}.{}.jsonl{packed}", partition.topic, partition.number);
                Writer::Kcat(KcatWriter::create(&dir.join(name))?)
            }
            Form::Segments(codec) => {
                Writer::Segment(SegmentWriter::create(dir, partition, 0, codec, BATCH_RECORDS)?)
            }
            Form::Ndjson => {
                let file = File::create(dir.join(format!("p{}.ndjson", partition.number)))?;
                Writer::Ndjson(BufWriter::with_capacity(1 << 18, file))
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use tidegate::source::fixture::FixtureSource;
    use tidegate::source::{Assignment, Poll, Source, Visit};

    use super::super::activity::{Clickstream, Spec};
    use super::*;

    const SPEC: Spec = Spec {
        seed: 3,
        records: 500,
        partitions: 3,
        pages: 10,
        users: 20,
        start_ms: 0,
        span: std::time::Duration::from_secs(60),
        late_every: 50,
        fault_every: 60,
    };

    fn write(dir: &Path, form: Form) {
        let mut target = Target::create(dir, "clicks", SPEC.partitions, form).unwrap();
        let mut events = Clickstream::new(SPEC).unwrap();
        while let Some(event) = events.next_event() {
            target.write(&event).unwrap();
        }
        target.finish().unwrap();
    }

    #[test]
    fn every_form_of_fixture_holds_the_same_records() {
        let forms = [
            Form::Kcat(Packed::Plain),
            Form::Kcat(Packed::Gzip),
            Form::Kcat(Packed::Zstd),
            Form::Segments(Codec::None),
            Form::Segments(Codec::Lz4),
        ];
        let mut contents = Vec::new();
        for form in forms {
            let dir = tempfile::tempdir().unwrap();
            write(dir.path(), form);
            let source = FixtureSource::open(dir.path(), &|_| true).unwrap();
            let all: Vec<_> = (0..3).map(|partition| Assignment { partition, from_offset: 0 }).collect();
            let mut reader = source.reader(&all).unwrap();
            let mut content = Vec::new();
            for lane in 0..reader.lanes() {
                let mut visit = |partition: usize, record: &Record<'_>| {
                    let value = record.value.map(|value| value.bytes().to_vec());
                    let key = record.key.map(<[u8]>::to_vec);
                    content.push((partition, record.offset, record.kafka_time.ms(), key, value));
                    Visit::Taken
                };
                while reader.poll(lane, 100, &mut visit).unwrap() == Poll::More {}
            }
            content.sort();
            assert_eq!(content.len(), 500);
            contents.push(content);
        }
        assert!(contents.iter().all(|content| *content == contents[0]));
    }

    #[test]
    fn directory_with_something_in_it_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), Form::Ndjson);
        let lines: usize = (0..3)
            .map(|p| fs::read_to_string(dir.path().join(format!("p{p}.ndjson"))).unwrap().lines().count())
            .sum();
        assert_eq!(lines, 500);
        let again = Target::create(dir.path(), "clicks", 1, Form::Ndjson).err().unwrap();
        assert!(again.is_usage(), "{again}");
    }

    #[test]
    fn unfinished_fixture_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let mut target = Target::create(dir.path(), "clicks", 3, Form::Segments(Codec::None)).unwrap();
        let mut events = Clickstream::new(SPEC).unwrap();
        target.write(&events.next_event().unwrap()).unwrap();
        drop(target);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}
