//! The settings of a live run: brokers, sinks, and where a run keeps what is its own.

use std::path::PathBuf;

use tidegate::sink::delta::SchemaMode;
use tidegate::sink::postgres::{self, TlsMode};
use tidegate::source::kafka::OutOfRange;
use tidegate::storage::Location;

use super::kinds::{BYTES, Kind, POSITIVE_DURATION, wrong};
use super::section::{Findings, Section};
use crate::services::{Brokers, SinkSettings, TableKind, TopicKind};

/// Reads the section `kafka`.
pub(super) fn brokers(section: &mut Section<'_>, brokers: &mut Brokers, findings: &mut Findings) {
    section.read("bootstrap_servers", &SERVERS, &mut brokers.bootstrap_servers, findings);
    section.read("client_properties", &OPTIONAL_PATH, &mut brokers.client_properties, findings);
    section.read("lost_records", &LOST, &mut brokers.lost_records, findings);
    section.read("refresh", &POSITIVE_DURATION, &mut brokers.refresh, findings);
}

/// Reads the section `sinks` of a pipeline; `has_lake` says whether it has rows for a lake, `is_delta` whether that has Delta tables.
pub(super) fn read(
    section: &mut Section<'_>,
    sinks: &mut SinkSettings,
    has_lake: bool,
    is_delta: bool,
    findings: &mut Findings,
) {
    section.read("tables", &TABLES, &mut sinks.tables, findings);
    if has_lake {
        section.read("lake", &PLACES, &mut sinks.lake, findings);
        let mut files = section.section("files", findings);
        files.read("row_group", &ROWS, &mut sinks.files.row_group, findings);
        files.read("size", &BYTES, &mut sinks.files.size, findings);
        if is_delta {
            files.read("merge_after", &FILES, &mut sinks.files.merge_after, findings);
        }
        files.finish(findings);
    }
    section.read("topics", &TOPICS, &mut sinks.topics, findings);
    let mut database = section.section("postgres", findings);
    postgres(&mut database, &mut sinks.postgres, findings);
    database.finish(findings);
    let mut database = section.section("mongo", findings);
    database.read("database", &WORD, &mut sinks.mongo.database, findings);
    database.read("collection", &WORD, &mut sinks.mongo.collection, findings);
    database.finish(findings);
}

fn postgres(section: &mut Section<'_>, config: &mut postgres::Config, findings: &mut Findings) {
    section.read("host", &WORD, &mut config.host, findings);
    section.read("port", &PORT, &mut config.port, findings);
    section.read("user", &WORD, &mut config.user, findings);
    section.read("database", &WORD, &mut config.database, findings);
    section.read("schema", &WORD, &mut config.schema, findings);
    section.read("tls", &TLS, &mut config.tls, findings);
    section.read("ca_file", &OPTIONAL_PATH, &mut config.ca_file, findings);
}

/// What becomes of Delta tables with other columns.
pub(super) const SCHEMA: Kind<SchemaMode> = Kind {
    read: |text| match text {
        "enforce" => Ok(SchemaMode::Enforce),
        "evolve" => Ok(SchemaMode::Evolve),
        _ => wrong(
            format!("{text:?} is nothing that can become of a table"),
            "write enforce, to refuse one with other columns, or evolve, to add those that it lacks",
        ),
    },
    show: |mode| match mode {
        SchemaMode::Enforce => "enforce".to_owned(),
        SchemaMode::Evolve => "evolve".to_owned(),
    },
};

const NONE: &str = "none";

/// A path.
pub(super) const PATH: Kind<PathBuf> = Kind {
    read: |text| match text {
        "" => wrong("the path is empty", "write a path"),
        _ => Ok(text.into()),
    },
    show: |path| path.display().to_string(),
};

/// A path or `none`.
pub(super) const OPTIONAL_PATH: Kind<Option<PathBuf>> = Kind {
    read: |text| if text == NONE { Ok(None) } else { (PATH.read)(text).map(Some) },
    show: |path| path.as_ref().map_or(NONE.to_owned(), |path| path.display().to_string()),
};

/// A policy for records that are gone.
const LOST: Kind<OutOfRange> = Kind {
    read: |text| match text {
        "fail" => Ok(OutOfRange::Fail),
        "skip" => Ok(OutOfRange::Skip),
        _ => wrong(
            format!("{text:?} is not a policy for lost records"),
            "write fail, to stop, or skip, to go on without them",
        ),
    },
    show: |policy| match policy {
        OutOfRange::Fail => "fail".to_owned(),
        OutOfRange::Skip => "skip".to_owned(),
    },
};

/// Brokers or `none`.
const SERVERS: Kind<Option<String>> = Kind {
    read: |text| {
        let port =
            |server: &str| server.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
        match text {
            NONE => Ok(None),
            _ if text.split(',').all(|server| port(server.trim())) => Ok(Some(text.to_owned())),
            _ => wrong(
                format!("{text:?} is not a list of brokers"),
                "write host:port, several with commas between, such as localhost:9092",
            ),
        }
    },
    show: |servers| servers.clone().unwrap_or_else(|| NONE.to_owned()),
};

const WORD: Kind<String> = Kind {
    read: |text| match text {
        "" => wrong("the value is empty", "write a name, or leave the setting out for its default"),
        _ if text.contains('\0') => wrong("the value has a zero byte", "write a name"),
        _ => Ok(text.to_owned()),
    },
    show: String::clone,
};

const PORT: Kind<u16> = Kind {
    read: |text| match text.parse() {
        Ok(port) if port > 0 => Ok(port),
        _ => wrong(format!("{text:?} is not a port"), "write a number from 1 to 65535"),
    },
    show: u16::to_string,
};

/// A number of rows.
const ROWS: Kind<usize> = Kind {
    read: |text| match text.parse() {
        Ok(rows) if (1..=1 << 30).contains(&rows) => Ok(rows),
        _ => wrong(format!("{text:?} is not a number of rows"), "write a number from 1 to 1073741824"),
    },
    show: usize::to_string,
};

/// A number of files, or `none`.
const FILES: Kind<Option<usize>> = Kind {
    read: |text| match (text, text.parse()) {
        (NONE, _) => Ok(None),
        (_, Ok(files)) if files >= 2 => Ok(Some(files)),
        _ => {
            wrong(format!("{text:?} is not a number of files"), "write a number from 2, such as 100, or none")
        }
    },
    show: |files| files.map_or(NONE.to_owned(), |files| files.to_string()),
};

const TLS: Kind<TlsMode> = Kind {
    read: |text| {
        text.parse().map_err(|mend| (format!("{text:?} is no way of protecting a connection"), mend))
    },
    show: |mode| {
        let name = match mode {
            TlsMode::Disable => "disable",
            TlsMode::Prefer => "prefer",
            TlsMode::Require => "require",
            TlsMode::VerifyCa => "verify-ca",
            TlsMode::VerifyFull => "verify-full",
        };
        name.to_owned()
    },
};

const TABLE_NAMES: [(&str, TableKind); 5] = [
    ("postgres", TableKind::Postgres),
    ("mongo", TableKind::Mongo),
    ("sqlite", TableKind::Sqlite),
    ("console", TableKind::Console),
    ("console-json", TableKind::ConsoleJson),
];
const TOPIC_NAMES: [(&str, TopicKind); 4] = [
    ("kafka", TopicKind::Kafka),
    ("files", TopicKind::Files),
    ("console", TopicKind::Console),
    ("console-json", TopicKind::ConsoleJson),
];

/// Sinks of tables, with commas between, or `none`.
const TABLES: Kind<Vec<TableKind>> =
    Kind { read: |text| several(text, &TABLE_NAMES), show: |kinds| shown(kinds, &TABLE_NAMES) };

/// Sinks of topics, with commas between, or `none`.
const TOPICS: Kind<Vec<TopicKind>> =
    Kind { read: |text| several(text, &TOPIC_NAMES), show: |kinds| shown(kinds, &TOPIC_NAMES) };

const PLACE: &str =
    "write embedded, a path, hdfs://HOST:PORT/PATH or s3://BUCKET/PREFIX, several with commas between";

/// Where checkpoints lie: a directory or S3.
pub(super) const CHECKPOINT: Kind<Location> = Kind {
    read: |text| match Location::parse(text) {
        Ok(Location::Hdfs { .. }) => wrong(
            "checkpoints cannot lie in HDFS, which has no conditional write",
            "write a path or s3://BUCKET/PREFIX",
        ),
        Ok(place) => Ok(place),
        Err(what) => wrong(what, "write a path or s3://BUCKET/PREFIX"),
    },
    show: Location::to_string,
};

/// Places of a lake, with commas between, or `none`.
const PLACES: Kind<Vec<Option<Location>>> = Kind {
    read: |text| match text {
        NONE => Ok(Vec::new()),
        _ => {
            let place = |text: &str| match text.trim() {
                "embedded" => Ok(None),
                text => Location::parse(text).map(Some),
            };
            text.split(',').map(place).collect::<Result<_, _>>().map_err(|what| (what, PLACE.to_owned()))
        }
    },
    show: |places| {
        let shown = |place: &Option<Location>| {
            place.as_ref().map_or_else(|| "embedded".to_owned(), ToString::to_string)
        };
        if places.is_empty() {
            NONE.to_owned()
        } else {
            places.iter().map(shown).collect::<Vec<_>>().join(", ")
        }
    },
};

fn several<K: Copy + PartialEq>(text: &str, names: &[(&str, K)]) -> Result<Vec<K>, (String, String)> {
    let mut kinds = Vec::new();
    if text == NONE {
        return Ok(kinds);
    }
    for name in text.split(',').map(str::trim) {
        let Some((_, kind)) = names.iter().find(|(known, _)| *known == name) else {
            let known: Vec<&str> = names.iter().map(|(known, _)| *known).collect();
            let mend = format!("write none, or some of {} with commas between", known.join(", "));
            return wrong(format!("{name:?} is no such sink"), mend);
        };
        if !kinds.contains(kind) {
            kinds.push(*kind);
        }
    }
    Ok(kinds)
}

fn shown<K: PartialEq>(kinds: &[K], names: &[(&str, K)]) -> String {
    if kinds.is_empty() {
        return NONE.to_owned();
    }
    let name = |kind: &K| names.iter().find(|(_, known)| known == kind).map_or("", |(name, _)| *name);
    kinds.iter().map(name).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sinks_are_listed_by_name() {
        let both = vec![TableKind::Postgres, TableKind::Console];
        assert_eq!((TABLES.read)("postgres, console,postgres"), Ok(both.clone()));
        assert_eq!((TABLES.show)(&both), "postgres, console");
        assert_eq!((TABLES.read)("none"), Ok(Vec::new()));
        assert!((TABLES.read)("postgers").unwrap_err().1.contains("postgres"));
        assert_eq!((FILES.read)("none"), Ok(None));
        assert_eq!(((FILES.read)("100"), (FILES.show)(&Some(100))), (Ok(Some(100)), "100".to_owned()));
        for bad in ["0", "-3", "many", ""] {
            assert!((FILES.read)(bad).is_err() && (ROWS.read)(bad).is_err(), "{bad}");
        }
        assert!((FILES.read)("1").is_err() && (ROWS.read)("1").is_ok());
        assert!((SERVERS.read)("localhost").is_err());
        assert_eq!((SERVERS.read)("a:1, b:2"), Ok(Some("a:1, b:2".to_owned())));
    }
}
