//! The pipeline of `examples/own_pipeline.rs` does what its header says.

use std::fs;
use std::path::Path;

#[allow(dead_code)] // Its main is for people.
#[path = "../examples/own_pipeline.rs"]
mod own_pipeline;

/// Where a topic lies that holds two meters in two partitions, a reading that is late by the default delay of two minutes, and one
/// without litres.
const FIXTURE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/fixture");

#[test]
fn rows_are_those_of_the_log_for_every_number_of_workers() {
    let mut digests = Vec::new();
    for workers in [1, 2, 3] {
        let out = tempfile::tempdir().expect("a directory");
        let done = own_pipeline::run(Path::new(FIXTURE), out.path(), workers).expect("it runs");
        assert_eq!((done.counts.read, done.counts.accepted, done.outputs[0].rows), (7, 6, 4));
        assert_eq!(done.counts.outputs[0].late, 1);
        digests.push(done.outputs[0].digest.hex());

        let tables = rusqlite_rows(out.path());
        let expected = [
            "2026-01-01T00:00:00.000000Z|m1|2|1.6|1.5",
            "2026-01-01T00:00:00.000000Z|m2|1|4.0|4.0",
            "2026-01-01T00:01:00.000000Z|m1|1|2.0|2.0",
            "2026-01-01T00:09:00.000000Z|m1|1|3.0|3.0",
        ];
        assert_eq!(tables, expected);
        let side = |name: &str| fs::read_to_string(out.path().join("topics").join(name)).expect("is there");
        assert!(side("meters.late.jsonl").contains("\"outputs\",\"water\""), "the late reading is kept");
        assert!(side("meters.dlq.jsonl").contains("litres"), "the unusable one, with its reason");
    }
    assert!(digests.iter().all(|digest| *digest == digests[0]), "{digests:?}");
}

fn rusqlite_rows(out: &Path) -> Vec<String> {
    use tidegate::sink::sqlite::read_rows;
    let schema = own_pipeline::schema();
    let mut rows = Vec::new();
    read_rows(out, &schema, &mut |row| {
        rows.push(row.into_iter().map(Option::unwrap_or_default).collect::<Vec<_>>().join("|"));
    })
    .expect("readable");
    rows.sort();
    rows
}
