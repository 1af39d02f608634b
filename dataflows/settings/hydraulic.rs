//! The settings of `hydraulic`.

use super::hydraulic_kinds::{
    COUNT, EXPRESSION, LIMIT, NUMBER, PAIRS, PARTITION_COLUMNS, SENSOR_SET, SEVERITY, SIDE, SILENT,
};
use super::kinds::{BYTES, DURATION, Kind, OPTIONAL_DURATION, SWITCH, TOPIC, wrong};
use super::section::{Findings, Section};
use crate::hydraulic::{Config, Rule, RuleKind, SENSORS, default_rules};

/// Reads the section `hydraulic`.
pub(super) fn read(section: &mut Section<'_>, config: &mut Config, findings: &mut Findings) {
    section.read("topic_prefix", &TOPIC, &mut config.topic_prefix, findings);
    section.read("sensors", &SENSOR_SET, &mut config.sensors, findings);
    section.read("alert_topic", &TOPIC, &mut config.alert_topic, findings);
    section.read("delay", &DURATION, &mut config.delay, findings);
    section.read("max_ahead", &DURATION, &mut config.max_ahead, findings);
    section.read("max_record_bytes", &BYTES, &mut config.limits.max_record_bytes, findings);
    section.read("max_string_bytes", &BYTES, &mut config.limits.max_string_bytes, findings);
    section.read("update_every", &OPTIONAL_DURATION, &mut config.update_every, findings);
    section.read("silent_sensors", &SILENT, &mut config.silent, findings);
    section.read("partition_by", &PARTITION_COLUMNS, &mut config.partition_by, findings);
    let mut rules = section.section("rules", findings);
    for rule in &mut config.rules {
        let mut section = rules.section(&rule.name, findings);
        read_rule(&mut section, rule, findings);
        section.finish(findings);
    }
    // Names that nobody knows are rules of the user's own.
    for name in rules.unread() {
        let mut section = rules.section(name, findings);
        if !is_name(name) {
            let cause = format!("{name:?} cannot be the name of a rule");
            section.misfit(None, cause, "write a name of at most 100 letters, digits and _", findings);
        }
        let mut kind = default_kind("threshold");
        if section.read("kind", &RULE_KIND, &mut kind, findings).is_none() {
            let cause = "a rule of your own must say its kind".to_owned();
            section.misfit(
                None,
                cause,
                "write kind: threshold, zscore, sudden_change, pattern or correlation",
                findings,
            );
        }
        let mut rule = Rule { name: name.to_owned(), kind, ..default_rules().remove(2) };
        read_rule(&mut section, &mut rule, findings);
        section.finish(findings);
        config.rules.push(rule);
    }
    rules.finish(findings);
}

fn read_rule(section: &mut Section<'_>, rule: &mut Rule, findings: &mut Findings) {
    section.read("on", &SWITCH, &mut rule.on, findings);
    section.read("severity", &SEVERITY, &mut rule.severity, findings);
    section.read("cooldown", &DURATION, &mut rule.cooldown, findings);
    match &mut rule.kind {
        RuleKind::Threshold { value, side, limit } => {
            section.read("value", &EXPRESSION, value, findings);
            section.read("side", &SIDE, side, findings);
            section.read("limit", &NUMBER, limit, findings);
        }
        RuleKind::ZScore { rows, at_least, limit } => {
            section.read("rows", &COUNT, rows, findings);
            section.read("at_least", &COUNT, at_least, findings);
            section.read("limit", &NUMBER, limit, findings);
        }
        RuleKind::SuddenChange { limits } => {
            let mut by_sensor = section.section("limits", findings);
            for (sensor, limit) in SENSORS.iter().zip(limits.iter_mut()) {
                by_sensor.read(sensor, &LIMIT, limit, findings);
            }
            by_sensor.finish(findings);
        }
        RuleKind::Pattern { cycles, at_least, limit } => {
            section.read("cycles", &COUNT, cycles, findings);
            section.read("at_least", &COUNT, at_least, findings);
            section.read("limit", &NUMBER, limit, findings);
        }
        RuleKind::Correlation { rows, pairs } => {
            section.read("rows", &COUNT, rows, findings);
            section.read("pairs", &PAIRS, pairs, findings);
        }
    }
}

/// The kind of a rule, with the settings of the contract's rule of that kind.
const RULE_KIND: Kind<RuleKind> = Kind {
    read: |text| match text {
        "threshold" | "zscore" | "sudden_change" | "pattern" | "correlation" => Ok(default_kind(text)),
        _ => wrong(
            format!("{text:?} is no kind of rule"),
            "write threshold, zscore, sudden_change, pattern or correlation",
        ),
    },
    show: |kind| {
        let name = match kind {
            RuleKind::Threshold { .. } => "threshold",
            RuleKind::ZScore { .. } => "zscore",
            RuleKind::SuddenChange { .. } => "sudden_change",
            RuleKind::Pattern { .. } => "pattern",
            RuleKind::Correlation { .. } => "correlation",
        };
        name.to_owned()
    },
};

fn default_kind(name: &str) -> RuleKind {
    let of_contract = default_rules().into_iter().find(|rule| (RULE_KIND.show)(&rule.kind) == name);
    of_contract.expect("the contract has a rule of every kind").kind
}

fn is_name(name: &str) -> bool {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    (1..=100).contains(&name.len()) && name.bytes().all(legal)
}
