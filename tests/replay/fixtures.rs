//! Recordings on disk: the golden one, all codecs, hostile texts, and files that are damaged.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rusqlite::Connection;
use tempfile::TempDir;
use tidegate::ingest::Interleave;
use tidegate::record::Partition;
use tidegate::source::fixture::{Codec, FixtureSource, KcatWriter, SegmentWriter};
use tidegate::source::memory::{MemorySource, OwnedRecord};
use tidegate::summary::{FILE, Summary};
use tidegate_dataflows::activity::{OUTPUTS, TABLES};
use tidegate_dataflows::replay::ReplayError;

use crate::harness::{SECOND, answer_of, event, plan, record, replay_into};

/// A directory with a fixture in `in`, and results in `out`.
struct Place(TempDir);

impl Place {
    fn new() -> Place {
        let dir = tempfile::tempdir().expect("a directory");
        fs::create_dir(dir.path().join("in")).expect("made");
        Place(dir)
    }

    fn fixture(&self) -> PathBuf {
        self.0.path().join("in")
    }

    fn out(&self) -> PathBuf {
        self.0.path().join("out")
    }

    fn replay(&self) -> Result<Summary, ReplayError> {
        replay_into("activity", &self.fixture(), &self.out())
    }

    /// Asserts that the replay fails with an error that names `file` and `position`, and that no result is
    /// to be seen.
    #[track_caller]
    fn assert_refused(&self, file: &str, position: &str) {
        let error = self.replay().expect_err("the fixture is damaged").to_string();
        assert!(error.contains(file), "{file} is not named by: {error}");
        assert!(error.contains(&format!("damaged at {position}:")), "{position} is not named by: {error}");
        assert_eq!(visible(&self.out()), [""; 0]);
    }
}

/// Every result that can be seen in an output directory: the summary, table rows, lake files, topic lines.
fn visible(out: &Path) -> Vec<String> {
    let mut seen = Vec::new();
    if out.join(FILE).exists() {
        seen.push(FILE.to_owned());
    }
    if out.join("tables.sqlite").exists() {
        let tables = Connection::open(out.join("tables.sqlite")).expect("a database");
        for table in &OUTPUTS[..TABLES] {
            let rows = tables.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0));
            if rows.unwrap_or(0i64) > 0 {
                seen.push((*table).to_owned());
            }
        }
    }
    for folder in ["lake", "topics"] {
        files(&out.join(folder), &mut seen);
    }
    seen
}

/// Adds the files below `dir` that are neither hidden nor empty nor in a hidden or bookkeeping folder.
fn files(dir: &Path, found: &mut Vec<String>) {
    let Ok(entries) = fs::read_dir(dir) else { return };
    for entry in entries.map(|entry| entry.expect("an entry")) {
        let name = entry.file_name().to_string_lossy().into_owned();
        let kind = entry.metadata().expect("a file");
        if name.starts_with(['.', '_']) {
            continue;
        } else if kind.is_dir() {
            files(&entry.path(), found);
        } else if kind.len() > 0 {
            found.push(name);
        }
    }
}

fn partition(number: i32) -> Partition {
    Partition::new("user_activity", number)
}

/// `len` page views, one a second, at offsets with a hole after every third.
fn some_log(len: i64) -> Vec<OwnedRecord> {
    let one =
        |n: i64| record(n + n / 3, n * SECOND, event(n * SECOND, &format!("u{}", n % 7), "/p", "page_view"));
    (0..len).map(one).collect()
}

fn write_segment(dir: &Path, number: i32, records: &[OwnedRecord], codec: Codec) {
    let base = records[0].offset;
    let mut out = SegmentWriter::create(dir, &partition(number), base, codec, 10).expect("made");
    records.iter().for_each(|record| record.with(|record| out.write(record)).expect("written"));
    out.finish().expect("finished");
}

fn write_lines(path: &Path, number: i32, records: &[OwnedRecord]) {
    let mut out = KcatWriter::create(path).expect("made");
    records
        .iter()
        .for_each(|record| record.with(|record| out.write(&partition(number), record)).expect("written"));
    out.finish().expect("finished");
}

/// A fixture of one segment; its path, and where its batches begin.
fn one_segment(place: &Place) -> (PathBuf, Vec<usize>) {
    write_segment(&place.fixture(), 0, &some_log(100), Codec::None);
    let path = place.fixture().join("user_activity-0/00000000000000000000.log");
    let bytes = fs::read(&path).expect("readable");
    let (mut starts, mut at) = (Vec::new(), 0);
    while at < bytes.len() {
        starts.push(at);
        // A batch: 8 bytes base offset, 4 bytes length of what follows.
        let len = bytes[at + 8..at + 12].try_into().map(u32::from_be_bytes).expect("four bytes");
        at += 12 + len as usize;
    }
    assert_eq!(starts.len(), 10);
    (path, starts)
}

#[test]
fn truncated_segment_is_refused_where_its_batch_begins() {
    let place = Place::new();
    let (path, starts) = one_segment(&place);
    let bytes = fs::read(&path).expect("readable");
    fs::write(&path, &bytes[..starts[6] + 80]).expect("written");
    place.assert_refused("00000000000000000000.log", &format!("byte {}", starts[6]));
}

#[test]
fn segment_cut_in_the_head_of_a_batch_is_refused() {
    let place = Place::new();
    let (path, starts) = one_segment(&place);
    let bytes = fs::read(&path).expect("readable");
    fs::write(&path, &bytes[..starts[6] + 5]).expect("written");
    place.assert_refused("00000000000000000000.log", &format!("byte {}", starts[6]));
}

#[test]
fn flipped_bit_is_refused_where_its_batch_begins() {
    let place = Place::new();
    let (path, starts) = one_segment(&place);
    let mut bytes = fs::read(&path).expect("readable");
    bytes[starts[4] + 100] ^= 1;
    fs::write(&path, bytes).expect("written");
    place.assert_refused("00000000000000000000.log", &format!("byte {}", starts[4]));
}

#[test]
fn cut_line_is_refused_with_its_number() {
    let place = Place::new();
    let path = place.fixture().join("part.jsonl");
    write_lines(&path, 0, &some_log(50));
    let text = fs::read_to_string(&path).expect("readable");
    let lines: Vec<&str> = text.lines().collect();
    // Cut in the middle of the file, and at its end.
    let inner = lines.iter().enumerate().map(|(n, line)| if n == 29 { &line[..60] } else { line });
    fs::write(&path, inner.collect::<Vec<_>>().join("\n")).expect("written");
    place.assert_refused("part.jsonl", "line 30");
    fs::write(&path, &text[..text.len() - 10]).expect("written");
    place.assert_refused("part.jsonl", "line 50");
}

#[test]
fn a_damaged_fixture_leaves_no_part_of_the_replay_before_it() {
    let place = Place::new();
    let path = place.fixture().join("part.jsonl");
    write_lines(&path, 0, &some_log(50));
    place.replay().expect("the fixture is good");
    assert!(visible(&place.out()).len() > 4);
    let text = fs::read(&path).expect("readable");
    fs::write(&path, &text[..text.len() - 10]).expect("written");
    place.assert_refused("part.jsonl", "line 50");
}

#[test]
fn all_forms_and_codecs_with_holes_in_the_offsets_give_the_answer_of_memory() {
    let place = Place::new();
    let log = some_log(300);
    let mut logs = BTreeMap::new();
    // One partition whose segments were written with one codec after the other.
    let codecs = [Codec::None, Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd];
    for (part, codec) in log.chunks(60).zip(codecs) {
        write_segment(&place.fixture(), 0, part, codec);
    }
    logs.insert(partition(0), log.clone());
    for (number, name) in (1..).zip(["a.jsonl", "b.jsonl.gz", "c.jsonl.zst"]) {
        write_lines(&place.fixture().join(name), number, &log);
        logs.insert(partition(number), log.clone());
    }
    let plan = plan(2, Interleave::Aligned, 64);
    let expected = answer_of(Arc::new(MemorySource::new(logs)), &plan);
    let source = FixtureSource::open(&place.fixture(), &|topic| topic == "user_activity").expect("a fixture");
    let found = answer_of(Arc::new(source), &plan);
    assert_eq!(found.counts.read, 1200);
    assert_eq!(found.counts, expected.counts);
    assert_eq!(found.tallies, expected.tallies);
}

#[test]
fn hostile_texts_reach_the_tables_as_they_are_and_no_path_is_made_of_them() {
    let users = [
        "'; DROP TABLE user_sessions; --",
        "../../../escaped",
        "a/b",
        "$where.x",
        "%00",
        "\u{feff}",
        "Robert'); DELETE FROM page_view_counts;",
    ];
    let place = Place::new();
    let value = |user: &&str| event(0, user, user, "page_view").replace('}', r#","../../x":1,"'; --":2}"#);
    let log: Vec<_> = (0..).zip(&users).map(|(offset, user)| record(offset, 0, value(user))).collect();
    write_lines(&place.fixture().join("part.jsonl"), 0, &log);
    place.replay().expect("a replay");

    let tables = Connection::open(place.out().join("tables.sqlite")).expect("a database");
    for (table, column) in [("user_sessions", "user_id"), ("page_view_counts", "page_url")] {
        let mut query = tables.prepare(&format!("SELECT {column} FROM {table}")).expect("a table");
        let rows = query.query_map([], |row| row.get::<_, String>(0)).expect("rows");
        let mut found: Vec<String> = rows.map(|row| row.expect("a text")).collect();
        let mut expected = users.map(str::to_owned).to_vec();
        found.sort();
        expected.sort();
        assert_eq!(found, expected, "{table}");
    }
    let beside: Vec<_> =
        fs::read_dir(place.0.path()).expect("readable").flatten().map(|e| e.file_name()).collect();
    assert_eq!(beside.len(), 2, "{beside:?} is more than in and out");
}

#[test]
fn empty_fixture_is_refused_and_says_so() {
    let place = Place::new();
    let error = place.replay().expect_err("there is nothing").to_string();
    assert!(error.contains("no record at all"), "{error}");
    assert!(!place.out().exists());
}

/// The counts of a summary as `tests/expected` keeps them: `read 3`, `rejected time 1`, `active_users rows 2`.
fn counts(summary: &Summary) -> BTreeMap<String, u64> {
    let activity = summary.pipelines.get("activity").expect("the pipeline ran");
    let mut found = BTreeMap::from([
        ("read".to_owned(), activity.read),
        ("duplicate_offsets".to_owned(), activity.duplicate_offsets),
        ("accepted".to_owned(), activity.accepted),
    ]);
    found.extend(activity.rejected.iter().map(|(reason, n)| (format!("rejected {reason}"), *n)));
    for (output, is) in activity.outputs.iter() {
        let counts =
            [("counted", is.counted), ("filtered", is.filtered), ("late", is.late), ("idle", is.idle)];
        let all = counts.into_iter().chain([("rows", Some(is.rows))]);
        found.extend(all.filter_map(|(name, n)| Some((format!("{output} {name}"), n?))));
    }
    found
}

#[test]
fn golden_replay_of_the_recording_gives_the_expected_counts() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let expected = fs::read_to_string(root.join("tests/expected/activity/summary.txt")).expect("readable");
    let place = Place::new();
    let found =
        counts(&replay_into("activity", &root.join("fixtures/activity"), &place.out()).expect("a replay"));
    for line in expected.lines() {
        let (name, count) = line.rsplit_once(' ').expect("a name and a number");
        assert_eq!(found.get(name).copied(), count.parse().ok(), "{name}");
    }
    let rejected = |name: &str| name.starts_with("rejected ");
    let expected_rejected = expected.lines().filter(|line| rejected(line)).count();
    assert_eq!(found.keys().filter(|name| rejected(name)).count(), expected_rejected);
    // What the file leaves out follows from it: a line for each rejected record, a row for each accepted one.
    assert_eq!(found["user_activity.dlq rows"], found["read"] - found["accepted"]);
    assert_eq!(found["lake/activity rows"], found["accepted"]);
    let summary = Summary::read(&place.out()).expect("a summary");
    assert_eq!(counts(&summary), found);
}
