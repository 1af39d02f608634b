//! Prints the records of topics when their epoch is committed, for people and for pipes. At least once.
//!
//! What waits for its manifest is staged as for Kafka, so that a run that dies between the manifest and the commit prints it
//! when it comes back; as with [tables](super::console), what was printed cannot be taken back.

use std::borrow::Cow;
use std::io::Write;
use std::path::Path;

use serde::Deserialize;

use super::console::{ConsoleFormat, printable};
use super::disk::{Disk, Durability};
use super::staged::Books;
use super::staged_lines::Staging;
use super::topic::TopicBatch;
use super::{Sink, SinkError, Staged};

/// The sink that prints.
#[derive(Debug)]
pub struct ConsoleTopics<W> {
    staging: Staging,
    /// Which topics are printed, by number.
    printed: Vec<bool>,
    format: ConsoleFormat,
    writer: W,
}

/// What is printed of a line.
#[derive(Deserialize)]
struct Line<'a> {
    #[serde(borrow)]
    topic: Cow<'a, str>,
    #[serde(borrow, default)]
    payload: Option<Cow<'a, str>>,
    #[serde(default)]
    payload_base64: Option<Cow<'a, str>>,
}

impl<W: Write> ConsoleTopics<W> {
    /// Prints those of the pipeline's `topics` that hold results to `writer`: what is late, unusable or a decision about idle
    /// partitions is for other sinks. As text, a line is the topic and the payload; else it is the whole line of kcat. What is
    /// not decided waits in `state_dir`.
    ///
    /// # Errors
    /// [`SinkError::Failed`] when `state_dir` cannot be made.
    pub fn open(
        state_dir: &Path,
        sink: &str,
        topics: &[&str],
        durability: Durability,
        format: ConsoleFormat,
        writer: W,
    ) -> Result<Self, SinkError> {
        let root = state_dir.join(".tidegate").join("console-topics").join(sink);
        let staging = Staging::new(Books::open(Disk::new(durability), root, sink)?, "console topics");
        let is_result = |topic: &&str| ![".late", ".dlq", ".idle"].iter().any(|end| topic.ends_with(end));
        let printed = topics.iter().map(is_result).collect();
        Ok(ConsoleTopics { staging, printed, format, writer })
    }
}

impl<W: Write> Sink for ConsoleTopics<W> {
    type Batch = TopicBatch;

    fn write(&mut self, epoch: u64, batch: TopicBatch) -> Result<(), SinkError> {
        match self.printed.get(batch.topic) {
            Some(true) => self.staging.write(epoch, &batch.lines, batch.count),
            Some(false) => Ok(()),
            None => Err(self.staging.books.failed(format!("there is no topic number {}", batch.topic))),
        }
    }

    fn prepare(&mut self, epoch: u64) -> Result<Staged, SinkError> {
        self.staging.prepare(epoch)
    }

    fn commit(&mut self, epoch: u64, _generation: u64, staged: &Staged) -> Result<(), SinkError> {
        let ConsoleTopics { staging, format, writer, .. } = self;
        let description = staging.description(epoch, staged)?;
        // What an earlier commit has printed is cleared away; nothing else removes a staged directory.
        if !description.dir.is_empty() && staging.books.dir(&description.dir).exists() {
            let failed = |error: std::io::Error| staging.books.failed(format!("cannot print: {error}"));
            let mut whole = Vec::new();
            staging.read(&description, |line| {
                whole.clear();
                match format {
                    ConsoleFormat::JsonLines => whole.extend_from_slice(line),
                    ConsoleFormat::Text => whole.extend_from_slice(text(line).as_bytes()),
                }
                whole.push(b'\n');
                // A line at once: other sinks write there too.
                writer.write_all(&whole).map_err(failed)
            })?;
            writer.flush().map_err(failed)?;
        }
        staging.clear(epoch)
    }
}

/// A line for people.
fn text(line: &[u8]) -> String {
    match serde_json::from_slice(line) {
        Ok(Line { topic, payload, payload_base64 }) => {
            let payload = payload.or(payload_base64).unwrap_or(Cow::Borrowed("null"));
            format!("{topic}: {}", printable(&payload))
        }
        Err(_) => printable(&String::from_utf8_lossy(line)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(topic: usize, name: &str, payload: &str) -> TopicBatch {
        let payload = serde_json::Value::from(payload);
        let line = format!("{{\"topic\":\"{name}\",\"partition\":0,\"offset\":3,\"payload\":{payload}}}\n");
        TopicBatch { topic, partition: 0, lines: line.into_bytes(), count: 1 }
    }

    fn open(dir: &Path, format: ConsoleFormat) -> ConsoleTopics<Vec<u8>> {
        let topics = ["alerts", "in.late", "in.dlq"];
        ConsoleTopics::open(dir, "p", &topics, Durability::Process, format, Vec::new()).unwrap()
    }

    #[test]
    fn results_are_printed_when_they_are_decided_and_once() {
        let dir = tempfile::tempdir().unwrap();
        let mut sink = open(dir.path(), ConsoleFormat::Text);
        sink.write(1, batch(0, "alerts", "{\"rule\":\"hot\"}\u{1b}[2J")).unwrap();
        sink.write(1, batch(1, "in.late", "late")).unwrap();
        sink.write(1, batch(2, "in.dlq", "dead")).unwrap();
        let staged = sink.prepare(1).unwrap();
        assert_eq!(sink.writer, b"");
        // It dies, and another process prints.
        let mut sink = open(dir.path(), ConsoleFormat::Text);
        sink.commit(1, 2, &staged).unwrap();
        sink.commit(1, 2, &staged).unwrap();
        assert_eq!(String::from_utf8_lossy(&sink.writer), "alerts: {\"rule\":\"hot\"}\\u{1b}[2J\n");
        let nothing = sink.prepare(2).unwrap();
        sink.commit(2, 2, &nothing).unwrap();
        assert!(sink.write(3, batch(3, "none", "")).is_err());
    }

    #[test]
    fn as_json_lines_are_kcats() {
        let dir = tempfile::tempdir().unwrap();
        let mut sink = open(dir.path(), ConsoleFormat::JsonLines);
        let line = batch(0, "alerts", "a");
        sink.write(1, line.clone()).unwrap();
        let staged = sink.prepare(1).unwrap();
        sink.commit(1, 1, &staged).unwrap();
        assert_eq!(sink.writer, line.lines);
    }
}
