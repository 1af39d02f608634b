//! What two runs of the same log must agree in, and the first thing in which they do not.

use std::collections::BTreeMap;
use std::fmt;

use serde_json::Value;
use tidegate::digest::Digest;
use tidegate::rows::Cell;

/// Something a run's `summary.json` states, in the order in which differences are told: a pipeline's own
/// counts before its outputs, and an output's counts before its digest, which says less.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fact {
    pipeline: String,
    output: Option<String>,
    is_digest: bool,
    name: String,
}

impl Fact {
    /// Whether this is the digest of an output of `pipeline`.
    pub(super) fn is_digest_of(&self, pipeline: &str) -> bool {
        self.is_digest && self.pipeline == pipeline
    }
}

impl fmt::Display for Fact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.output {
            None => write!(f, "pipeline {:?}: {}", self.pipeline, self.name),
            Some(output) => write!(f, "pipeline {:?}, output {output:?}: {}", self.pipeline, self.name),
        }
    }
}

/// All facts of a summary that the log decides: everything but `seconds`.
pub fn facts(summary: &Value) -> BTreeMap<Fact, String> {
    let mut facts = BTreeMap::new();
    let Value::Object(pipelines) = &summary["pipelines"] else { return facts };
    for (pipeline, content) in pipelines {
        let mut add = |output: Option<&str>, name: &str, value: String| {
            let (pipeline, output, name) = (pipeline.clone(), output.map(str::to_owned), name.to_owned());
            facts.insert(Fact { pipeline, output, is_digest: name == "digest", name }, value);
        };
        for (name, value) in content.as_object().into_iter().flatten() {
            match (name.as_str(), value) {
                ("seconds", _) => {}
                ("outputs", Value::Object(outputs)) => {
                    for (output, value) in outputs {
                        flatten("", value, &mut |name, value| add(Some(output), name, value));
                    }
                }
                (name, value) => flatten(name, value, &mut |name, value| add(None, name, value)),
            }
        }
    }
    facts
}

fn flatten(name: &str, value: &Value, add: &mut dyn FnMut(&str, String)) {
    match value {
        Value::Object(members) => {
            for (member, value) in members {
                let name = if name.is_empty() { member.clone() } else { format!("{name} {member}") };
                flatten(&name, value, add);
            }
        }
        Value::String(text) => add(name, text.clone()),
        other => add(name, other.to_string()),
    }
}

/// The first fact in which two runs differ.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// Which.
    pub fact: Fact,
    /// Its value in the reference; `None` where it is not stated.
    pub expected: Option<String>,
    /// Its value in the other run.
    pub found: Option<String>,
    /// In how many facts they differ.
    pub count: usize,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let show = |value: &Option<String>| value.clone().unwrap_or_else(|| "nothing".to_owned());
        write!(f, "{} is {} and not {}", self.fact, show(&self.found), show(&self.expected))?;
        if self.count > 1 {
            write!(f, " ({} differences in all)", self.count)?;
        }
        Ok(())
    }
}

/// Compares a run with the reference.
///
/// # Examples
/// ```
/// use serde_json::json;
/// use tidegate_dataflows::prove::{difference, facts};
///
/// let summary = |read: u64, seconds: f64| {
///     facts(&json!({"pipelines": {"activity": {"read": read, "seconds": seconds, "outputs": {}}}}))
/// };
/// assert_eq!(difference(&summary(3, 0.1), &summary(3, 9.9)), None);
/// let found = difference(&summary(3, 0.1), &summary(4, 0.1)).unwrap();
/// assert_eq!(found.to_string(), "pipeline \"activity\": read is 4 and not 3");
/// ```
pub fn difference(expected: &BTreeMap<Fact, String>, found: &BTreeMap<Fact, String>) -> Option<Difference> {
    let mut facts: Vec<&Fact> = expected.keys().chain(found.keys()).collect();
    facts.sort();
    facts.dedup();
    facts.retain(|fact| expected.get(fact) != found.get(fact));
    let fact = *facts.first()?;
    Some(Difference {
        fact: fact.clone(),
        expected: expected.get(fact).cloned(),
        found: found.get(fact).cloned(),
        count: facts.len(),
    })
}

/// One digest over all facts: a [`Digest`] of rows of a fact's text and its value.
pub fn digest(facts: &BTreeMap<Fact, String>) -> String {
    let mut digest = Digest::new();
    for (fact, value) in facts {
        digest.add_row([Cell::Text(fact.to_string().as_bytes()), Cell::Text(value.as_bytes())]);
    }
    digest.hex()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn summary() -> Value {
        json!({"contract": 1, "pipelines": {"activity": {
            "read": 10, "duplicate_offsets": 1, "rejected": {"time": 2}, "accepted": 7, "seconds": 0.25,
            "outputs": {
                "page_view_counts": {"counted": 5, "filtered": 1, "late": 1, "idle": 0, "rows": 3, "digest": "aa"},
                "session_history": {"rows": 2, "digest": "bb"},
            },
        }}})
    }

    fn compare(doctor: impl Fn(&mut Value)) -> Option<String> {
        let mut other = summary();
        doctor(&mut other["pipelines"]["activity"]);
        let (a, b) = (facts(&summary()), facts(&other));
        assert_eq!(digest(&a) == digest(&b), a == b);
        difference(&a, &b).map(|difference| difference.to_string())
    }

    #[test]
    fn equal_summaries_have_no_difference_whatever_time_they_took() {
        assert_eq!(compare(|_| {}), None);
        assert_eq!(compare(|activity| activity["seconds"] = json!(99.5)), None);
    }

    #[test]
    fn doctored_count_is_found_before_the_digest_that_follows_from_it() {
        let found = compare(|activity| {
            activity["outputs"]["page_view_counts"]["digest"] = json!("ab");
            activity["outputs"]["page_view_counts"]["rows"] = json!(4);
        });
        let expected =
            "pipeline \"activity\", output \"page_view_counts\": rows is 4 and not 3 (2 differences in all)";
        assert_eq!(found.as_deref(), Some(expected));
    }

    #[test]
    fn doctored_digest_is_found() {
        let found = compare(|activity| activity["outputs"]["session_history"]["digest"] = json!("ba"));
        let expected = "pipeline \"activity\", output \"session_history\": digest is ba and not bb";
        assert_eq!(found.as_deref(), Some(expected));
    }

    #[test]
    fn every_number_counts() {
        for path in ["/read", "/duplicate_offsets", "/rejected/time", "/accepted"] {
            let found = compare(|activity| *activity.pointer_mut(path).expect("is there") = json!(99));
            assert!(found.expect("found").contains("is 99 and not"), "{path}");
        }
        for name in ["counted", "filtered", "late", "idle", "rows"] {
            let found = compare(|activity| activity["outputs"]["page_view_counts"][name] = json!(99));
            assert!(found.expect("found").contains(&format!("{name} is 99 and not")));
        }
    }

    #[test]
    fn missing_and_added_facts_are_differences() {
        let found = compare(|activity| {
            activity["outputs"].as_object_mut().expect("object").remove("session_history");
        });
        assert_eq!(
            found.expect("found"),
            "pipeline \"activity\", output \"session_history\": rows is nothing and not 2 (2 differences in all)"
        );
        let found = compare(|activity| activity["rejected"]["range"] = json!(1));
        assert_eq!(found.expect("found"), "pipeline \"activity\": rejected range is 1 and not nothing");
    }
}
