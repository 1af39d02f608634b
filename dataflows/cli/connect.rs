//! Whether the services that the settings and the environment name are there, and fit.
//!
//! Nothing is made and nothing is changed. What is asked of a topic is what the promises rest on: that it is there,
//! that its timestamps cannot run ahead unseen, and that nothing of it is compacted away.

use std::collections::BTreeMap;
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

use serde::Serialize;
use tidegate::kafka::{Properties, describe_topics, topic_settings};
use tidegate::sink::postgres::server_version;
use tidegate_dataflows::pipeline::PIPELINES;
use tidegate_dataflows::services::TableKind;
use tidegate_dataflows::settings::Settings;

use super::kafka::TIMEOUT;
use super::ui::{Style, Ui};

/// How long a service that is only knocked at may take.
const KNOCK: Duration = Duration::from_secs(3);

/// How something was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Grade {
    /// As it should be.
    Good,
    /// It works, with a risk that `says` names.
    Warning,
    /// It does not work.
    Bad,
}

/// What was found out about one thing.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Finding {
    /// What was looked at.
    pub(crate) what: String,
    /// How it was found.
    pub(crate) grade: Grade,
    /// What was found.
    pub(crate) says: String,
    /// What to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) mend: Option<String>,
}

impl Finding {
    pub(crate) fn good(what: impl Into<String>, says: impl Into<String>) -> Finding {
        Finding { what: what.into(), grade: Grade::Good, says: says.into(), mend: None }
    }

    pub(crate) fn warning(
        what: impl Into<String>,
        says: impl Into<String>,
        mend: impl Into<String>,
    ) -> Finding {
        Finding { what: what.into(), grade: Grade::Warning, says: says.into(), mend: Some(mend.into()) }
    }

    pub(crate) fn bad(what: impl Into<String>, says: impl Into<String>, mend: impl Into<String>) -> Finding {
        Finding { what: what.into(), grade: Grade::Bad, says: says.into(), mend: Some(mend.into()) }
    }

    /// For people: a line, and one below it that says what to do.
    pub(crate) fn text(&self, ui: &Ui) -> String {
        let (style, word) = match self.grade {
            Grade::Good => (Style::GOOD, "good"),
            Grade::Warning => (Style::TITLE, "warning"),
            Grade::Bad => (Style::ERROR, "BAD"),
        };
        let mend = self.mend.as_ref().map_or(String::new(), |mend| format!("\n         mend: {mend}"));
        let padding = " ".repeat(8_usize.saturating_sub(word.len()));
        format!("{}{padding} {}: {}{mend}\n", ui.styled(style, word), self.what, self.says)
    }
}

/// The topics of each pipeline that must be there.
pub(crate) fn inputs(settings: &Settings) -> Vec<(&'static str, Vec<String>)> {
    let of = |name: &'static str| {
        let mut topics = settings.pipelines.called(name).inputs();
        if name == "iot" {
            // Validated records keep their partition, so that topic has to be there with as many.
            topics.push(settings.pipelines.iot.validated_topic.clone());
        }
        (name, topics)
    };
    PIPELINES.into_iter().map(of).collect()
}

/// Looks at the brokers and the input topics of `pipelines` (all, where it is empty).
pub(crate) fn kafka(properties: &Properties, settings: &Settings, pipelines: &[String]) -> Vec<Finding> {
    let servers = format!("Kafka at {}", properties.servers());
    let mut findings = Vec::new();
    for (pipeline, topics) in inputs(settings) {
        if !pipelines.is_empty() && !pipelines.iter().any(|wanted| wanted == pipeline) {
            continue;
        }
        let names: Vec<&str> = topics.iter().map(String::as_str).collect();
        let described = match describe_topics(properties, &names, TIMEOUT) {
            Ok(described) => described,
            Err(cause) => {
                let mend =
                    "see that the brokers run and can be reached from here, and to user, password and rights";
                findings.push(Finding::bad(&servers, cause, mend));
                return findings;
            }
        };
        if pipelines.is_empty() && described.iter().all(Option::is_none) {
            let says = "none is there, so nobody means to run it here";
            findings.push(Finding::good(format!("topics of {pipeline}"), says));
            continue;
        }
        let mut counts = Vec::new();
        for (name, found) in names.iter().zip(described) {
            let what = format!("topic {name} ({pipeline})");
            let Some(found) = found else {
                let mend = "make it, mend its name in the settings, or leave the pipeline out";
                findings.push(Finding::bad(what, "is not there", mend));
                continue;
            };
            counts.push(found.partitions);
            match topic_settings(properties, name, TIMEOUT) {
                Ok(settings) => findings.push(judge(what, found.partitions, &settings)),
                Err(cause) => {
                    let says = format!("{} partitions; {cause}", found.partitions);
                    findings.push(Finding::warning(
                        what,
                        says,
                        "give the right DescribeConfigs on the topic",
                    ));
                }
            }
        }
        if pipeline == "iot" && counts.len() == 2 && counts[0] != counts[1] {
            let says = format!("have {} and {} partitions", counts[0], counts[1]);
            findings.push(Finding::bad(
                format!("topics {}", topics.join(" and ")),
                says,
                "make them with the same number: validated records keep their partition",
            ));
        }
    }
    findings.insert(0, Finding::good(servers, "answers"));
    findings
}

/// What a topic's settings mean for event time.
fn judge(what: String, partitions: usize, settings: &BTreeMap<String, String>) -> Finding {
    let get = |name: &str| settings.get(name).map_or("", String::as_str);
    let partitions =
        if partitions == 1 { "1 partition".to_owned() } else { format!("{partitions} partitions") };
    let is_stamped = get("message.timestamp.type") == "LogAppendTime";
    // Brokers before 3.6 know one limit for both directions.
    let limit = ["message.timestamp.after.max.ms", "message.timestamp.difference.max.ms"];
    let is_limited = limit.iter().any(|name| get(name).parse::<i64>().is_ok_and(|ms| ms < i64::MAX));
    if get("cleanup.policy").contains("compact") {
        let says = format!(
            "{partitions}; it is compacted, so what a second reading finds depends on when it is read"
        );
        return Finding::warning(what, says, "set cleanup.policy=delete on an input topic");
    }
    if !is_stamped && !is_limited {
        let says = format!(
            "{partitions}; timestamps are the producers' own and nothing bounds them: a clock that runs ahead \
             raises the watermark, and makes everybody else late"
        );
        let mend = "set message.timestamp.type=LogAppendTime, or message.timestamp.after.max.ms=3600000";
        return Finding::warning(what, says, mend);
    }
    let stamped = if is_stamped { "stamped by the broker" } else { "stamped by producers, within a bound" };
    Finding::good(what, format!("{partitions}, {stamped}"))
}

/// The services beside Kafka that `pipelines` write to; of all pipelines where none is named, those services that
/// somebody has set.
pub(crate) fn others(settings: &Settings, pipelines: &[String]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (name, sinks) in &settings.sinks {
        let host = format!("{name}.sinks.postgres.host");
        let is_set = settings.effective.iter().any(|one| one.setting == host && one.origin.is_some());
        let is_wanted = pipelines.iter().any(|wanted| wanted == name) || (pipelines.is_empty() && is_set);
        if is_wanted && sinks.tables.contains(&TableKind::Postgres) {
            findings.push(postgres(settings, name));
        }
    }
    let knocked = [("MONGO_URI", "MongoDB", "27017"), ("MINIO_ENDPOINT", "S3 storage", "9000")];
    for (variable, what, port) in knocked {
        let from_environment = || std::env::var(variable).ok();
        let uri = settings.secrets.get(variable).map(str::to_owned).or_else(from_environment);
        let Some(address) = uri.and_then(|uri| authority(&uri, port)) else { continue };
        let what = format!("{what} at {address}");
        findings.push(match knock(&address) {
            Ok(()) => Finding::good(what, "takes connections"),
            Err(cause) => Finding::bad(what, cause, format!("see that it runs, and to {variable}")),
        });
    }
    findings
}

fn postgres(settings: &Settings, pipeline: &str) -> Finding {
    let config = settings.database_of(pipeline);
    let what = format!("PostgreSQL at {}:{}/{} ({pipeline})", config.host, config.port, config.database);
    match server_version(&config) {
        Ok(version) => Finding::good(what, format!("version {version}")),
        Err(error) => Finding::bad(
            what,
            error.to_string(),
            format!("see that it runs, and to {pipeline}.sinks.postgres and the password in the environment"),
        ),
    }
}

fn with_port(host: &str, port: &str) -> String {
    if host.contains(':') { host.to_owned() } else { format!("{host}:{port}") }
}

/// `host:port` of a URI, without scheme, user, password and path; the first one where it names several.
fn authority(uri: &str, port: &str) -> Option<String> {
    let behind = uri.split_once("://").map_or(uri, |(_, rest)| rest);
    let authority = behind.split(['/', '?']).next()?;
    let hosts = authority.rsplit_once('@').map_or(authority, |(_, hosts)| hosts);
    let host = hosts.split(',').next().filter(|host| !host.is_empty())?;
    Some(with_port(host, port))
}

fn knock(address: &str) -> Result<(), String> {
    let addresses = address.to_socket_addrs().map_err(|error| error.to_string())?;
    let mut last = "the name has no address".to_owned();
    for address in addresses {
        match TcpStream::connect_timeout(&address, KNOCK) {
            Ok(_) => return Ok(()),
            Err(error) => last = error.to_string(),
        }
    }
    Err(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn topic_whose_clocks_nothing_bounds_is_warned_of() {
        let grade = |pairs: &[(&str, &str)]| judge("t".to_owned(), 1, &settings(pairs)).grade;
        let unbounded = ("message.timestamp.after.max.ms", "9223372036854775807");
        assert_eq!(grade(&[("message.timestamp.type", "CreateTime"), unbounded]), Grade::Warning);
        assert_eq!(grade(&[("message.timestamp.type", "LogAppendTime"), unbounded]), Grade::Good);
        assert_eq!(grade(&[("message.timestamp.after.max.ms", "3600000")]), Grade::Good);
        assert_eq!(grade(&[("message.timestamp.difference.max.ms", "3600000")]), Grade::Good);
        let compacted = [("message.timestamp.type", "LogAppendTime"), ("cleanup.policy", "compact,delete")];
        assert_eq!(grade(&compacted), Grade::Warning);
    }

    #[test]
    fn address_of_a_uri_holds_no_password() {
        let cases = [
            ("mongodb://admin:secret@db:27018/?x=1", "db:27018"),
            ("mongodb://a:p%40@one,two:1/x", "one:27017"),
            ("http://minio:9000", "minio:9000"),
            ("host", "host:27017"),
        ];
        for (uri, expected) in cases {
            assert_eq!(authority(uri, "27017").as_deref(), Some(expected), "{uri}");
        }
        assert_eq!(authority("mongodb://", "27017"), None);
    }
}
