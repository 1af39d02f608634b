//! What commands that speak to Kafka share.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tidegate::kafka::{NewTopicSpec, Properties, create_topic, describe_topics};
use tidegate_dataflows::settings::Settings;

use super::args::KafkaClient;
use super::failure::Failure;
use super::ui::Ui;

/// How long brokers may take to answer.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(30);
/// How often a topic that was made is asked for.
const LOOK: Duration = Duration::from_millis(100);

/// How the brokers are reached: as the command line says, or else the settings.
pub(crate) fn brokers(
    named: Option<&str>,
    client: &KafkaClient,
    settings: &Settings,
) -> Result<Properties, Failure> {
    let servers = named.or(settings.kafka.bootstrap_servers.as_deref());
    let Some(servers) = servers else {
        return Err(Failure::usage("nobody says where the Kafka brokers are").mend(
            "name them with --bootstrap-servers, KAFKA_BOOTSTRAP_SERVERS or kafka.bootstrap_servers; or read a \
             recording with --fixture",
        ));
    };
    let client = client.client_properties.as_ref().or(settings.kafka.client_properties.as_ref());
    properties(servers, client.map(PathBuf::as_path))
}

/// The client's properties: the file's, and these servers.
pub(crate) fn properties(servers: &str, client_properties: Option<&Path>) -> Result<Properties, Failure> {
    let lines = match client_properties {
        None => Vec::new(),
        Some(path) => read(path)?,
    };
    Ok(lines.into_iter().collect::<Properties>().with("bootstrap.servers", servers))
}

/// Reads `name=value` lines; empty ones and those that begin with `#` are passed over.
fn read(path: &Path) -> Result<Vec<(String, String)>, Failure> {
    let text = fs::read_to_string(path)
        .map_err(|error| Failure::usage(format!("cannot read {}: {error}", path.display())))?;
    let lines = text.lines().map(str::trim).enumerate();
    let properties = lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
    properties
        .map(|(at, line)| match line.split_once('=') {
            Some((name, value)) => Ok((name.trim().to_owned(), value.trim().to_owned())),
            // The line is not repeated: it may be half of a password.
            None => Err(Failure::usage(format!("{} line {}: there is no =", path.display(), at + 1))
                .mend("write a property of librdkafka, name=value")),
        })
        .collect()
}

/// How many partitions the topic has; it is made where it is not there.
pub(crate) fn topic_of(
    ui: &Ui,
    properties: &Properties,
    topic: &str,
    wanted: Option<u32>,
    default: u32,
) -> Result<u32, Failure> {
    let found = describe_topics(properties, &[topic], TIMEOUT).map_err(failure)?;
    if let Some(found) = found.into_iter().flatten().next() {
        let partitions = found.partitions as u32;
        return match wanted {
            Some(wanted) if wanted != partitions => {
                Err(Failure::usage(format!("topic {topic:?} has {partitions} partitions, not {wanted}"))
                    .mend("leave --partitions out, or name another --topic"))
            }
            _ => Ok(partitions),
        };
    }
    let partitions = wanted.unwrap_or(default);
    let spec = NewTopicSpec { name: topic, partitions: partitions as i32, replication: None, settings: &[] };
    if create_topic(properties, &spec, TIMEOUT).map_err(failure)? {
        ui.note(format_args!("made topic {topic} with {partitions} partitions"));
    }
    // The brokers agree on it before each of them knows.
    let until = Instant::now() + TIMEOUT;
    while Instant::now() < until
        && describe_topics(properties, &[topic], TIMEOUT).map_err(failure)?.iter().all(Option::is_none)
    {
        std::thread::sleep(LOOK);
    }
    Ok(partitions)
}

/// Kafka did not do what it was asked.
pub(crate) fn failure(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Failure {
    Failure::running(error).mend("see that the brokers run, and to addresses, passwords and rights")
}
