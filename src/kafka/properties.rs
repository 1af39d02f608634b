//! The properties of a client: librdkafka's own names, passed on as they are.

use std::collections::BTreeMap;
use std::fmt;

use rdkafka::ClientConfig;
use rdkafka::error::KafkaError;

/// Properties of a Kafka client by librdkafka's names (`bootstrap.servers`, `security.protocol`, …).
///
/// Values may be secrets: no representation for people shows one, except for the servers.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Properties(BTreeMap<String, String>);

impl Properties {
    /// The properties of a client of these servers, `host:port,…`.
    pub fn new(bootstrap_servers: &str) -> Properties {
        Properties::default().with("bootstrap.servers", bootstrap_servers)
    }

    /// These properties, with one more or another value.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl ToString) -> Properties {
        self.0.insert(name.to_owned(), value.to_string());
        self
    }

    /// These properties, with one where nothing was said.
    #[must_use]
    pub fn or(mut self, name: &str, value: impl ToString) -> Properties {
        self.0.entry(name.to_owned()).or_insert_with(|| value.to_string());
        self
    }

    /// The value of one.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// The servers, for messages.
    pub fn servers(&self) -> &str {
        self.get("bootstrap.servers").unwrap_or("(no bootstrap.servers)")
    }

    /// Leaves out a property.
    #[must_use]
    pub(crate) fn without(mut self, name: &str) -> Properties {
        self.0.remove(name);
        self
    }

    /// The first of `fixed` that is set to something else: the name, and what it has to be.
    pub(crate) fn contradiction<'a>(&self, fixed: &[(&'a str, &'a str)]) -> Option<(&'a str, &'a str)> {
        fixed.iter().copied().find(|(name, value)| self.get(name).is_some_and(|found| found != *value))
    }

    pub(crate) fn client(&self) -> ClientConfig {
        self.0.iter().map(|(name, value)| (name.clone(), value.clone())).collect()
    }
}

impl FromIterator<(String, String)> for Properties {
    fn from_iter<I: IntoIterator<Item = (String, String)>>(properties: I) -> Properties {
        Properties(properties.into_iter().collect())
    }
}

impl fmt::Debug for Properties {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |name: &str| name == "bootstrap.servers";
        let value = |name: &str, value| if shown(name) { value } else { "…" };
        f.debug_map().entries(self.0.iter().map(|(name, text)| (name, value(name, text.as_str())))).finish()
    }
}

/// What went wrong, without the value of any property: librdkafka repeats those that it refuses.
pub(crate) fn explain(error: &KafkaError) -> String {
    match error {
        KafkaError::ClientConfig(_, _, name, _) => {
            format!("librdkafka does not take the property {name:?}, or not with this value")
        }
        // What it says of a combination of properties names them, but a path or a key could stand beside them.
        KafkaError::ClientCreation(text) => format!("librdkafka cannot make the client: {text}"),
        other => match other.rdkafka_error_code() {
            Some(code) => code.to_string(),
            None => other.to_string(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_value_is_shown_but_the_servers() {
        let properties = Properties::new("broker:9092").with("sasl.password", "hunter2");
        let shown = format!("{properties:?}");
        assert!(shown.contains("broker:9092") && shown.contains("sasl.password"), "{shown}");
        assert!(!shown.contains("hunter2"), "{shown}");
    }

    #[test]
    fn refused_property_is_named_without_its_value() {
        let client = Properties::new("b:1").with("security.protocol", "hunter2").client();
        let error = client.create_native_config().err().expect("an impossible value");
        let text = explain(&error);
        assert!(text.contains("security.protocol") && !text.contains("hunter2"), "{text}");
    }

    #[test]
    fn contradiction_is_found_by_name() {
        let fixed = [("isolation.level", "read_committed")];
        let properties = Properties::new("b:1");
        assert_eq!(properties.contradiction(&fixed), None);
        assert_eq!(properties.clone().with("isolation.level", "read_committed").contradiction(&fixed), None);
        let other = properties.with("isolation.level", "read_uncommitted");
        assert_eq!(other.contradiction(&fixed), Some(("isolation.level", "read_committed")));
    }
}
