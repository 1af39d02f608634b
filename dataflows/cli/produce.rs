//! `tidegate produce`: records from feeds.

use std::time::{Duration, Instant};

use reqwest::Url;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use tidegate::kafka::Writer;
use tidegate::keys::key_hash;
use tidegate::runtime::{Clock, SystemClock};
use tidegate::sink::retry::Backoff;
use tidegate_dataflows::produce::feed::{Feed, FeedError, Request};
use tidegate_dataflows::produce::snapshot::entities;

use super::args::{Global, ProduceCommand, ProduceGtfs};
use super::failure::Failure;
use super::signals::Signals;
use super::ui::{Ui, grouped};
use super::{kafka, settings};

/// So often a feed is asked when somebody waits for the end.
const TRIES: u32 = 5;

/// Runs the command.
pub(crate) fn run(ui: &Ui, global: &Global, command: &ProduceCommand) -> Result<(), Failure> {
    match command {
        ProduceCommand::Gtfs(args) => gtfs(ui, global, args),
    }
}

fn gtfs(ui: &Ui, global: &Global, args: &ProduceGtfs) -> Result<(), Failure> {
    let settings = settings(global)?;
    let url = Url::parse(&args.url).ok().filter(|url| matches!(url.scheme(), "http" | "https"));
    let url = url
        .ok_or_else(|| Failure::usage("--url is no address of a feed").mend("write http://… or https://…"))?;
    let headers = headers(&args.header)?;
    let brokers = kafka::brokers(args.bootstrap_servers.as_deref(), &args.client, &settings)?;
    let topic = args.topic.as_ref().unwrap_or(&settings.pipelines.transit.topic);
    let partitions = kafka::topic_of(ui, &brokers, topic, args.partitions, 1)?;
    let mut feed = Feed::open(Request { url, headers, timeout: args.timeout }).map_err(Failure::running)?;
    let writer = Writer::open(&brokers, kafka::TIMEOUT).map_err(Failure::usage)?;
    let signals = Signals::listen(ui, 1)?;
    let longest = args.every.max(Duration::from_secs(1));
    let backoff = Backoff { longest, seed: u64::from(std::process::id()), ..Backoff::default() };
    let mut tries = 0;
    loop {
        let began = Instant::now();
        match round(&mut feed, &writer, topic, partitions) {
            Ok(None) => tries = 0,
            Ok(Some(records)) => {
                ui.note(format_args!("{}: {} entities to {topic}", feed.host(), grouped(records)));
                tries = 0;
            }
            Err(Trouble::Kafka(failure)) => return Err(failure),
            Err(Trouble::Feed { error, again }) => {
                tries += 1;
                if !again || args.once && tries >= TRIES {
                    return Err(Failure::running(error).mend("look at --url, --header and --timeout"));
                }
                // Once, however long it is away.
                if tries == 1 {
                    ui.note(format_args!("{error}; asked again until it gives one"));
                }
                if !signals.pause(backoff.wait(tries)) {
                    return Ok(());
                }
                continue;
            }
        }
        if args.once || !signals.pause(args.every.saturating_sub(began.elapsed())) {
            return Ok(());
        }
    }
}

enum Trouble {
    Feed { error: String, again: bool },
    Kafka(Failure),
}

impl From<FeedError> for Trouble {
    fn from(error: FeedError) -> Self {
        Trouble::Feed { again: error.is_retriable(), error: error.to_string() }
    }
}

/// Asks once, and writes what is new: each entity as a record, delivered before the snapshot counts as taken. Gives how many they
/// were; `None` where nothing is new.
fn round(feed: &mut Feed, writer: &Writer, topic: &str, partitions: u32) -> Result<Option<u64>, Trouble> {
    let Some(snapshot) = feed.poll()? else { return Ok(None) };
    let found = entities(&snapshot.bytes).map_err(|error| Trouble::Feed {
        error: format!("{}: {error}", feed.host()),
        // A page of an error, or a snapshot that was being written: the next one may be whole.
        again: true,
    })?;
    let kafka = |error| Trouble::Kafka(kafka::failure(error));
    let now_ms = SystemClock.now_us().div_euclid(1_000);
    for entity in &found {
        let partition = (key_hash(&entity.id) % u64::from(partitions)) as i32;
        writer.write(topic, partition, now_ms, &entity.id, &entity.message).map_err(kafka)?;
    }
    writer.flush().map_err(kafka)?;
    feed.taken(snapshot);
    Ok(Some(found.len() as u64))
}

/// Headers as they are written: `name: value`, or `name: env:VARIABLE` for what is a secret.
fn headers(lines: &[String]) -> Result<HeaderMap, Failure> {
    let bad = |what: &str| {
        // The line is not repeated: it may hold a key.
        Failure::usage(format!("a --header {what}"))
            .mend("write 'name: value', or 'name: env:VARIABLE' for a key")
    };
    let mut headers = HeaderMap::new();
    for line in lines {
        let (name, value) = line.split_once(':').ok_or_else(|| bad("has no colon"))?;
        let name: HeaderName = name.trim().parse().map_err(|_| bad("has no name"))?;
        let value = match value.trim().strip_prefix("env:") {
            None => value.trim().to_owned(),
            Some(variable) => std::env::var(variable)
                .map_err(|_| bad(&format!("names the variable {variable}, which is not set")))?,
        };
        let mut value: HeaderValue = value.parse().map_err(|_| bad("has a value that cannot be one"))?;
        value.set_sensitive(true);
        headers.append(name, value);
    }
    Ok(headers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_read_and_bad_ones_are_not_repeated() {
        let lines = ["X-Api-Key: env:PATH".to_owned(), "accept:a: b".to_owned()];
        let read = headers(&lines).expect("headers");
        assert_eq!(read["x-api-key"], std::env::var("PATH").expect("it is set"));
        assert_eq!(read["accept"], "a: b");
        for bad in ["secret", ": secret", "a: sec\nret", "a: env:NO_SUCH_VARIABLE_HERE"] {
            let failure = headers(&[bad.to_owned()]).expect_err("a bad header");
            assert!(failure.code == 2 && !failure.to_string().contains("sec"), "{failure}");
        }
    }
}
