//! The settings of `iot`.

use std::time::Duration;

use tidegate::ingest::Range;
use tidegate::window::WindowSpec;

use super::iot_rules;
use super::kinds::{BOUND, BYTES, Bound, DURATION, OPTIONAL_DURATION, POSITIVE_DURATION, TOPIC};
use super::section::{Findings, Section};
use crate::iot::Config;

/// Reads the section `iot`.
pub(super) fn read(section: &mut Section<'_>, config: &mut Config, findings: &mut Findings) {
    section.read("topic", &TOPIC, &mut config.topic, findings);
    let made = section.read("validated_topic", &TOPIC, &mut config.validated_topic, findings);
    if config.topic == config.validated_topic {
        section.misfit(
            made,
            "topic and validated_topic are the same".to_owned(),
            "name two topics: what passes validation must not be validated again",
            findings,
        );
    }
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
    let mut ranges = section.section("ranges", findings);
    range(&mut ranges, "temperature", &mut config.ranges.temperature, findings);
    range(&mut ranges, "humidity", &mut config.ranges.humidity, findings);
    range(&mut ranges, "energy_consumption", &mut config.ranges.energy, findings);
    ranges.finish(findings);
    let mut rules = section.section("rules", findings);
    iot_rules::read(&mut rules, &mut config.rules, findings);
    rules.finish(findings);
}

/// Reads `min` and `max`, either of which may be `none`.
fn range(section: &mut Section<'_>, name: &'static str, range: &mut Range, findings: &mut Findings) {
    let mut section = section.section(name, findings);
    let (mut min, mut max): (Bound, Bound) = (range.min(), range.max());
    let min_made = section.read("min", &BOUND, &mut min, findings);
    let max_made = section.read("max", &BOUND, &mut max, findings);
    match Range::new(min, max) {
        Ok(valid) => *range = valid,
        Err(bad) => section.misfit(
            max_made.or(min_made),
            bad.to_string(),
            "make min at most max, or write none for no bound",
            findings,
        ),
    }
    section.finish(findings);
}
