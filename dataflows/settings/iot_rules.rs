//! The validation rules that a user declares, in the section `iot.rules`.

use regex::bytes::Regex;
use tidegate::ingest::Range;

use super::kinds::{BOUND, Bound, Kind, wrong};
use super::section::{Findings, Section};
use crate::iot::{Check, MemberType, Order, Rule};

/// Names that the rules have which are always there, and the reasons of dead letters.
const TAKEN: [&str; 12] = [
    "temperature_range",
    "humidity_range",
    "energy_range",
    "duplicate",
    "tombstone",
    "too_large",
    "not_utf8",
    "not_json",
    "schema",
    "time",
    "ahead",
    "range",
];

/// Reads the rules, each a section of its name.
pub(super) fn read(section: &mut Section<'_>, rules: &mut Vec<Rule>, findings: &mut Findings) {
    for name in section.unread() {
        let mut of_rule = section.section(name, findings);
        let legal = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        if !(1..=100).contains(&name.len()) || !name.bytes().all(legal) || TAKEN.contains(&name) {
            let cause = format!("{name:?} cannot be the name of a rule");
            let mend = "write a name of at most 100 letters, digits and _ that no other rule has";
            of_rule.misfit(None, cause, mend, findings);
        }
        if let Some(rule) = read_rule(name, &mut of_rule, findings) {
            let is_duplicate = |rule: &Rule| matches!(rule.check, Check::Duplicate);
            if is_duplicate(&rule) && rules.iter().any(is_duplicate) {
                let cause = format!("rule {name:?} is the second of kind duplicate");
                of_rule.misfit(None, cause, "leave one: it names what refuses repeats", findings);
            }
            rules.push(rule);
        }
        of_rule.finish(findings);
    }
}

fn read_rule(name: &str, section: &mut Section<'_>, findings: &mut Findings) -> Option<Rule> {
    let (mut member, mut kind) = (String::new(), KindName::Required);
    let has_kind = section.read("kind", &KIND, &mut kind, findings).is_some();
    if matches!(kind, KindName::Duplicate) {
        return Some(Rule { name: name.to_owned(), member, check: Check::Duplicate });
    }
    let has_member = section.read("member", &MEMBER, &mut member, findings).is_some();
    if !has_member || !has_kind {
        let mend =
            "write member: NAME and kind: required, type, range, enum, regex or compare; or kind: duplicate";
        section.misfit(None, format!("rule {name:?} must say its member and its kind"), mend, findings);
        return None;
    }
    let missing = |setting: &str, section: &Section<'_>, findings: &mut Findings| {
        let cause = format!("rule {name:?} must say its {setting}");
        section.misfit(None, cause, &format!("write {setting}: and what it is to be"), findings);
        None
    };
    let check = match kind {
        KindName::Required => Check::Required,
        KindName::Duplicate => Check::Duplicate,
        KindName::Type => {
            let mut of = MemberType::Text;
            if section.read("type", &TYPE, &mut of, findings).is_none() {
                return missing("type", section, findings);
            }
            Check::Type(of)
        }
        KindName::Range => {
            let (mut min, mut max): (Bound, Bound) = (None, None);
            let made = section.read("min", &BOUND, &mut min, findings);
            let made = section.read("max", &BOUND, &mut max, findings).or(made);
            match Range::new(min, max) {
                Ok(range) => Check::Range(range),
                Err(bad) => {
                    section.misfit(made, bad.to_string(), "make min at most max", findings);
                    return None;
                }
            }
        }
        KindName::Enum => {
            let mut values = Vec::new();
            if section.read("values", &VALUES, &mut values, findings).is_none() {
                return missing("values", section, findings);
            }
            Check::Enum(values)
        }
        KindName::Regex => {
            let mut pattern = None;
            section.read("pattern", &PATTERN, &mut pattern, findings);
            let Some(pattern) = pattern else { return missing("pattern", section, findings) };
            Check::Regex(pattern)
        }
        KindName::Compare => {
            let (mut order, mut with) = (Order::Less, String::new());
            if section.read("order", &ORDER, &mut order, findings).is_none() {
                return missing("order", section, findings);
            }
            if section.read("with", &MEMBER, &mut with, findings).is_none() {
                return missing("with", section, findings);
            }
            Check::Compare(order, with)
        }
    };
    Some(Rule { name: name.to_owned(), member, check })
}

#[derive(Clone, Copy)]
enum KindName {
    Required,
    Type,
    Range,
    Enum,
    Regex,
    Compare,
    Duplicate,
}

const KIND_NAMES: [(&str, KindName); 7] = [
    ("required", KindName::Required),
    ("type", KindName::Type),
    ("range", KindName::Range),
    ("enum", KindName::Enum),
    ("regex", KindName::Regex),
    ("compare", KindName::Compare),
    ("duplicate", KindName::Duplicate),
];

const KIND: Kind<KindName> = Kind {
    read: |text| match KIND_NAMES.iter().find(|(name, _)| *name == text) {
        Some((_, kind)) => Ok(*kind),
        None => wrong(
            format!("{text:?} is no kind of rule"),
            "write required, type, range, enum, regex, compare or duplicate",
        ),
    },
    show: |kind| KIND_NAMES[*kind as usize].0.to_owned(),
};

const MEMBER: Kind<String> = Kind {
    read: |text| match text {
        "" => wrong("the name is empty", "write the name of a member of the reading"),
        // It was made a time when it was decoded, and has lost how it was written.
        "timestamp" => {
            wrong("rules cannot ask about the timestamp", "name another member; delay and max_ahead judge it")
        }
        _ => Ok(text.to_owned()),
    },
    show: String::clone,
};

const TYPE_NAMES: [(&str, MemberType); 4] = [
    ("text", MemberType::Text),
    ("number", MemberType::Number),
    ("integer", MemberType::Integer),
    ("bool", MemberType::Bool),
];

const TYPE: Kind<MemberType> = Kind {
    read: |text| match TYPE_NAMES.iter().find(|(name, _)| *name == text) {
        Some((_, of)) => Ok(*of),
        None => wrong(format!("{text:?} is no type"), "write text, number, integer or bool"),
    },
    show: |of| TYPE_NAMES[*of as usize].0.to_owned(),
};

/// Values with commas between.
const VALUES: Kind<Vec<String>> = Kind {
    read: |text| Ok(text.split(',').map(|value| value.trim().to_owned()).collect()),
    show: |values| values.join(", "),
};

const PATTERN: Kind<Option<Regex>> = Kind {
    read: |text| match Regex::new(text) {
        Ok(pattern) => Ok(Some(pattern)),
        Err(error) => wrong(
            format!("{text:?} is no regular expression: {error}"),
            "write one in the syntax of Rust's regex, with ^ and $ for the whole text",
        ),
    },
    show: |pattern| pattern.as_ref().map(ToString::to_string).unwrap_or_default(),
};

const ORDER: Kind<Order> = Kind {
    read: |text| match Order::ALL.iter().find(|order| order.sign() == text) {
        Some(order) => Ok(*order),
        None => wrong(
            format!("{text:?} is no comparison"),
            "write \"<\", \"<=\", \">\", \">=\", \"==\" or \"!=\"",
        ),
    },
    show: |order| order.sign().to_owned(),
};
