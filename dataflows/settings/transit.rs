//! The settings of `transit`.

use std::time::Duration;

use tidegate::decode::protobuf::described::DescribedType;
use tidegate::window::WindowSpec;

use super::kinds::{BYTES, DURATION, Kind, OPTIONAL_DURATION, POSITIVE_DURATION, SWITCH, TOPIC, wrong};
use super::section::{Findings, Section};
use super::sinks::OPTIONAL_PATH;
use crate::transit::{Config, Format, TimeUnit};

/// Reads the section `transit`.
pub(super) fn read(section: &mut Section<'_>, config: &mut Config, findings: &mut Findings) {
    section.read("topic", &TOPIC, &mut config.topic, findings);
    let format = section.read("format", &FORMAT, &mut config.format, findings);
    let mut of_message = section.section("message", findings);
    config.message = described(&mut of_message, findings);
    if config.message.is_some() && config.format == Format::Json {
        let cause = "with the format json no record is a Protobuf message, and transit.message says of what type they are";
        of_message.misfit(
            format,
            cause.to_owned(),
            "write protobuf or auto, or message.type: none",
            findings,
        );
    }
    of_message.finish(findings);
    section.read("keep_unknown", &SWITCH, &mut config.keep_unknown, findings);
    section.read("delay", &DURATION, &mut config.delay, findings);
    section.read("max_ahead", &DURATION, &mut config.max_ahead, findings);
    section.read("max_record_bytes", &BYTES, &mut config.limits.max_record_bytes, findings);
    section.read("max_string_bytes", &BYTES, &mut config.limits.max_string_bytes, findings);
    let mut size = Duration::from_micros(config.windows.size_us().unsigned_abs());
    let made = section.read("window", &POSITIVE_DURATION, &mut size, findings);
    match WindowSpec::tumbling(i64::try_from(size.as_micros()).unwrap_or(i64::MAX)) {
        Ok(valid) => config.windows = valid,
        Err(bad) => section.misfit(made, bad.to_string(), "write a shorter window", findings),
    }
    section.read("update_every", &OPTIONAL_DURATION, &mut config.update_every, findings);
    section.read("update_sessions", &SWITCH, &mut config.update_sessions, findings);
    section.read("session_gap", &POSITIVE_DURATION, &mut config.session_gap, findings);
    let mut events = section.section("events", findings);
    events.read("time_field", &MEMBER, &mut config.time_field, findings);
    events.read("unit", &UNIT, &mut config.time_unit, findings);
    events.finish(findings);
}

/// The type of messages, from the file that describes it.
fn described(section: &mut Section<'_>, findings: &mut Findings) -> Option<DescribedType> {
    let (mut file, mut name) = (None, None);
    let in_file = section.read("descriptor_set", &OPTIONAL_PATH, &mut file, findings);
    let named = section.read("type", &TYPE, &mut name, findings);
    let wrong = |cause: String, mend: &str, findings: &mut Findings| {
        section.misfit(named.or(in_file), cause, mend, findings);
        None
    };
    match (file, name) {
        (None, None) => None,
        (Some(_), None) => {
            wrong("a descriptor set, and no type of it".to_owned(), "write type, with its package", findings)
        }
        (None, Some(name)) => {
            let mend = "write descriptor_set: the file that protoc --include_imports --descriptor_set_out has written";
            wrong(format!("nothing describes the type {name:?}"), mend, findings)
        }
        (Some(file), Some(name)) => DescribedType::load(&file, &name).map(Some).unwrap_or_else(|error| {
            wrong(error.to_string(), "name the file and the type as they are", findings)
        }),
    }
}

const FORMAT: Kind<Format> = Kind {
    read: |text| match text {
        "json" => Ok(Format::Json),
        "protobuf" => Ok(Format::Protobuf),
        "auto" => Ok(Format::Auto),
        _ => wrong(format!("{text:?} is no format"), "write json, protobuf, or auto (the first byte says)"),
    },
    show: |format| {
        let name = match format {
            Format::Json => "json",
            Format::Protobuf => "protobuf",
            Format::Auto => "auto",
        };
        name.to_owned()
    },
};

const NONE: &str = "none";

/// The name of a message type, or `none`.
const TYPE: Kind<Option<String>> = Kind {
    read: |text| match text {
        "" => wrong("the name is empty", "write a message type with its package, or none for FeedMessages"),
        NONE => Ok(None),
        _ => Ok(Some(text.to_owned())),
    },
    show: |name| name.clone().unwrap_or_else(|| NONE.to_owned()),
};

/// The name of a member, or `none`.
const MEMBER: Kind<Option<String>> = Kind {
    read: |text| match text {
        "" => wrong("the name is empty", "write a member's name, or none for Kafka's timestamp"),
        NONE => Ok(None),
        _ => Ok(Some(text.to_owned())),
    },
    show: |name| name.clone().unwrap_or_else(|| NONE.to_owned()),
};

const UNITS: [TimeUnit; 4] =
    [TimeUnit::Seconds, TimeUnit::Milliseconds, TimeUnit::Microseconds, TimeUnit::Rfc3339];

const UNIT: Kind<TimeUnit> = Kind {
    read: |text| match UNITS.into_iter().find(|unit| unit.as_str() == text) {
        Some(unit) => Ok(unit),
        None => wrong(format!("{text:?} is no unit of time"), "write s, ms, us or rfc3339"),
    },
    show: |unit| unit.as_str().to_owned(),
};
