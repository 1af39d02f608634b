//! The sinks of a deployment: each stands where the checkpoint says, and its tables have the rows that were counted.
//!
//! What was decided is committed a moment later, so a sink may be an epoch behind for a while; it is never ahead. A sink that
//! keeps no trace of epochs without output is held to the last one that has some.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use tidegate::checkpoint::{Manifest, Store};
use tidegate::ingest::idle_topic;
use tidegate::kafka::{Properties, describe_topics};
use tidegate::sink::tables::Standing;
use tidegate::sink::{SinkError, kafka, mongo, postgres, sqlite};

use super::{Around, Check, Deployment, Required, lake, settled, unreadable};
use crate::pipeline::Pipeline;
use crate::targets::{TableTarget, TopicTarget};

/// How long a question to the brokers may take.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Looks at them.
pub(super) fn look(of: &Deployment, store: &dyn Store) -> Vec<Check> {
    let mut checks = Vec::new();
    let (name, schemas) = (of.pipeline.name(), of.pipeline.tables());
    for target in &of.targets.tables {
        checks.extend(match target {
            TableTarget::Sqlite => {
                tables(of, store, "tables", &|| sqlite::standing(&of.data, name, &schemas))
            }
            TableTarget::Postgres(config) => {
                tables(of, store, "postgres", &|| postgres::standing(config, name, &schemas))
            }
            TableTarget::Mongo(target) => marked(store, "mongo", &|| mongo::committed(&target.config, name)),
            TableTarget::Console(_) => continue,
        });
    }
    checks.extend(lake::look(of, store));
    for target in &of.targets.topics {
        checks.extend(match target {
            TopicTarget::Files => marked(store, "topics", &|| mark_of_files(&of.data, name)),
            TopicTarget::Kafka(target) => cluster(of, store, &target.properties),
            TopicTarget::Console(_) => continue,
        });
    }
    checks
}

/// A sink that could not be asked.
pub(super) fn silent(sink: &str, error: &SinkError) -> Check {
    let mend = "see that it runs and can be reached from here, and to user, password and rights";
    Check::wrong(format!("sink {sink}"), error.to_string(), mend)
}

/// Judges how far a sink is.
pub(super) fn standing(sink: &str, mark: Option<u64>, around: &Around, first: &Required) -> Check {
    let what = format!("sink {sink}");
    let staged = |manifest: &Manifest| manifest.staged.iter().find(|(name, _)| name == sink).cloned();
    let decided = around.decided();
    if around.before.values().next_back().is_none_or(|newest| staged(newest).is_none()) {
        let says = "the newest epoch knows of no such sink";
        let mend = "give verify the settings of the run, or start the run with these: a sink gets what comes from then on";
        return Check::wrong(what, says, mend);
    }
    let has_output = |manifest: &&Manifest| staged(manifest).is_some_and(|(_, staged)| staged.has_output());
    let required = around.before.values().rev().find(has_output).map(|manifest| manifest.epoch);
    let required = first.get().or(required);
    first.set(required);
    let stands = mark.map_or_else(|| "at no epoch".to_owned(), |epoch| format!("at epoch {epoch}"));
    if mark > Some(decided) {
        let says = format!("it stands {stands}, and the checkpoint decides only {decided}");
        let mend =
            "checkpoints are lost, or are of another run: bring them back, or begin anew with empty sinks";
        return Check::wrong(what, says, mend);
    }
    if mark < required {
        let required = required.unwrap_or(0);
        let says = format!("it stands {stands}, and epoch {required} was decided, which has output for it");
        let mend = "see in the run's log what it waits for; a run that rests commits it at its next start";
        return Check::wrong(what, says, mend);
    }
    Check::good(what, format!("it stands {stands}, and {decided} is decided"))
}

/// A sink that tells its mark and nothing else.
fn marked(store: &dyn Store, sink: &str, mark: &dyn Fn() -> Result<Option<u64>, SinkError>) -> Vec<Check> {
    settled(|first| match Around::read(store, mark) {
        Err(error) => vec![unreadable(&error)],
        Ok((_, Err(error))) => vec![silent(sink, &error)],
        Ok((around, Ok(mark))) => vec![standing(sink, mark, &around, first)],
    })
}

/// A database, which tells its mark and its rows in one answer.
fn tables(
    of: &Deployment,
    store: &dyn Store,
    sink: &str,
    ask: &dyn Fn() -> Result<Standing, SinkError>,
) -> Vec<Check> {
    settled(|first| match Around::read(store, ask) {
        Err(error) => vec![unreadable(&error)],
        Ok((_, Err(error))) => vec![silent(sink, &error)],
        Ok((around, Ok(found))) => {
            let mut checks = vec![standing(sink, found.epoch, &around, first)];
            checks.extend(rows(&*of.pipeline, sink, &found, &around, of.updates));
            checks
        }
    })
}

/// Judges the rows of a database's tables.
fn rows(pipeline: &dyn Pipeline, sink: &str, found: &Standing, around: &Around, updates: bool) -> Vec<Check> {
    let (outputs, mut checks) = (pipeline.outputs(), Vec::new());
    let manifest = found.epoch.and_then(|epoch| around.after.get(&epoch));
    for (schema, count) in pipeline.tables().iter().zip(&found.tables) {
        let what = format!("table {} in {sink}", schema.name);
        let rows = count.rows;
        if count.repeated > 0 {
            let says = format!("{} keys have more than one row", count.repeated);
            checks.push(Check::wrong(
                &what,
                says,
                "its unique index is gone: remove the rows, and make it again",
            ));
        }
        let output = outputs.iter().position(|output| **output == *schema.name);
        let counted = output.zip(manifest).and_then(|(output, manifest)| manifest.tallies.get(output));
        checks.push(match counted {
            _ if updates => Check::good(what, format!("{rows} rows, those of open windows among them: not counted")),
            None => Check::good(what, format!("{rows} rows; the figures of its epoch are kept no more")),
            Some(counted) if counted.rows == rows => Check::good(what, format!("{rows} rows, as counted")),
            Some(counted) => {
                let says = format!("{rows} rows, and {} were written", counted.rows);
                let mend = "somebody removed or added some, or the server refused them (tidegate_refused); to know which, \
                            tidegate record, then tidegate verify --fixture";
                Check::wrong(what, says, mend)
            }
        });
    }
    checks
}

/// The mark of topics in files.
fn mark_of_files(data: &Path, pipeline: &str) -> Result<Option<u64>, SinkError> {
    #[derive(Deserialize)]
    struct Mark {
        epoch: Option<u64>,
    }
    let path = data.join("topics").join(".tidegate").join(pipeline).join("mark.json");
    let failed =
        |cause: String| SinkError::Failed { sink: "topics".to_owned(), cause: format!("{path:?}: {cause}") };
    match fs::read(&path) {
        Ok(bytes) => {
            let mark: Mark = serde_json::from_slice(&bytes).map_err(|error| failed(error.to_string()))?;
            Ok(mark.epoch)
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failed(error.to_string())),
    }
}

/// Topics of a cluster.
fn cluster(of: &Deployment, store: &dyn Store, properties: &Properties) -> Vec<Check> {
    let mut topics: Vec<Arc<str>> = of.pipeline.topics();
    if of.targets.idle {
        topics.extend(of.pipeline.inputs().iter().map(|input| Arc::from(idle_topic(input))));
    }
    let names: Vec<&str> = topics.iter().map(|topic| &**topic).collect();
    let Some(first) = names.first() else { return Vec::new() };
    let mut checks = marked(store, "kafka", &|| {
        kafka::committed(properties, of.pipeline.name(), "topics", first, TIMEOUT)
    });
    let what = "output topics";
    checks.push(match describe_topics(properties, &names, TIMEOUT) {
        Err(cause) => Check::wrong(what, cause, "see that the brokers run and can be reached from here"),
        Ok(found) => {
            let missing = names.iter().zip(&found).filter(|(_, found)| found.is_none());
            let missing: Vec<&str> = missing.map(|(name, _)| *name).collect();
            if missing.is_empty() {
                Check::good(what, format!("all {} are there", names.len()))
            } else {
                let says = format!("not there: {}", missing.join(", "));
                Check::wrong(what, says, "a run makes them at its start; what was in them is lost")
            }
        }
    });
    checks
}

#[cfg(test)]
mod tests {
    use tidegate::delivery::OutputTally;
    use tidegate::sink::tables::TableCount;

    use super::super::tests::{around, manifest};
    use super::*;
    use crate::pipeline::Pipelines;

    #[test]
    fn sink_is_neither_behind_nor_ahead() {
        let all = [manifest(5, &[("s", true)]), manifest(6, &[("s", true)]), manifest(7, &[("s", false)])];
        let of = |mark| standing("s", mark, &around(&all, &all), &Required::default());
        // Epoch 7 has no output: who keeps no mark of it has it nevertheless.
        assert!(of(Some(6)).ok && of(Some(7)).ok);
        let behind = of(Some(5));
        assert!(!behind.ok && behind.says.contains("epoch 6 was decided"), "{}", behind.says);
        assert!(!of(None).ok);
        let ahead = of(Some(8));
        assert!(!ahead.ok && ahead.says.contains("decides only 7"), "{}", ahead.says);
        // What was decided meanwhile may be in.
        let since = Required::default();
        assert!(standing("s", Some(8), &around(&all, &[manifest(8, &[("s", true)])]), &since).ok);
        let other = standing("other", Some(7), &around(&all, &all), &Required::default());
        assert!(other.says.contains("no such sink"));
        // It has what it had to have when it was looked at first, whatever was decided since.
        let all = [manifest(6, &[("s", true)]), manifest(9, &[("s", true)])];
        assert!(standing("s", Some(6), &around(&all, &all), &since).ok);
    }

    #[test]
    fn rows_are_those_that_were_counted_at_the_epoch() {
        let pipeline = Pipelines::default().called("activity");
        let tally = |rows| OutputTally { rows, ..OutputTally::default() };
        let mut newest = manifest(3, &[]);
        newest.tallies = (0..8).map(tally).collect();
        let around = around(&[newest.clone()], &[newest]);
        let judge = |epoch, counts: [u64; 4], repeated, updates| {
            let tables = counts.map(|rows| TableCount { rows, repeated }).to_vec();
            rows(&*pipeline, "s", &Standing { epoch, tables }, &around, updates)
        };
        let wrong = |checks: Vec<Check>| checks.into_iter().filter(|check| !check.ok).collect::<Vec<_>>();
        assert_eq!(wrong(judge(Some(3), [0, 1, 2, 3], 0, false)), []);
        let found = wrong(judge(Some(3), [0, 1, 1, 3], 0, false));
        assert_eq!((found.len(), &*found[0].what), (1, "table user_sessions in s"));
        assert_eq!(wrong(judge(Some(3), [0, 1, 1, 3], 0, true)), []);
        assert_eq!(wrong(judge(Some(2), [0, 1, 1, 3], 0, false)), []);
        assert_eq!(wrong(judge(Some(3), [0, 1, 2, 3], 1, false)).len(), 4);
    }

    #[test]
    fn mark_of_topics_in_files_is_read() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(mark_of_files(dir.path(), "p").unwrap(), None);
        let books = dir.path().join("topics/.tidegate/p");
        fs::create_dir_all(&books).unwrap();
        fs::write(books.join("mark.json"), r#"{"format":1,"epoch":7,"generation":2,"state":{}}"#).unwrap();
        assert_eq!(mark_of_files(dir.path(), "p").unwrap(), Some(7));
        fs::write(books.join("mark.json"), "{").unwrap();
        assert!(mark_of_files(dir.path(), "p").is_err());
    }
}
