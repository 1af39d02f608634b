//! Settings from `.env` and from the environment.
//!
//! A setting's variable is its dotted name in capitals, with `_` for the dots, behind `TIDEGATE_`:
//! `activity.delay` is `TIDEGATE_ACTIVITY_DELAY`. The names that the pipelines' documents use stand for settings too
//! ([`ALIASES`]); where both are set, ours wins. Other variables are not looked at.

use std::ffi::OsString;
use std::path::Path;
use std::sync::Arc;

use super::fault::{Fault, Origin};
use super::secrets::{SECRETS, Secrets};
use super::section::nearest;
use super::tree::Node;

/// What every variable of ours begins with.
pub(super) const PREFIX: &str = "TIDEGATE_";

/// Names of the documents, and the settings that they stand for. One that is empty says nothing.
const ALIASES: [(&str, &str); 16] = [
    ("KAFKA_BOOTSTRAP_SERVERS", "kafka.bootstrap_servers"),
    ("KAFKA_BROKER", "kafka.bootstrap_servers"),
    ("KAFKA_INPUT_TOPIC", "iot.validated_topic"),
    ("KAFKA_TOPIC", "transit.topic"),
    ("DELTA_LAKE_PATH", "transit.sinks.lake"),
    ("CHECKPOINT_LOCATION", "checkpoint"),
    ("DB_HOST", "activity.sinks.postgres.host"),
    ("DB_PORT", "activity.sinks.postgres.port"),
    ("DB_USER", "activity.sinks.postgres.user"),
    ("DB_NAME", "activity.sinks.postgres.database"),
    ("MONGO_DATABASE", "iot.sinks.mongo.database"),
    ("MONGO_COLLECTION", "iot.sinks.mongo.collection"),
    ("POSTGRES_HOST", "iot.sinks.postgres.host"),
    ("POSTGRES_PORT", "iot.sinks.postgres.port"),
    ("POSTGRES_USER", "iot.sinks.postgres.user"),
    ("POSTGRES_DB", "iot.sinks.postgres.database"),
];

/// Whether a variable means something here.
fn is_ours(name: &str) -> bool {
    name.starts_with(PREFIX) || ALIASES.iter().any(|(alias, _)| *alias == name) || SECRETS.contains(&name)
}

/// Ours as well, and not settings: the log filter, and the password of whoever asks a run's page.
const OTHERS: [&str; 2] = ["TIDEGATE_LOG", "TIDEGATE_WEB_PASSWORD"];

/// A variable, and where it is set.
pub(super) struct Variable {
    pub(super) name: String,
    pub(super) value: String,
    pub(super) origin: Origin,
}

/// The variable of the setting `setting`.
///
/// # Examples
/// ```
/// assert_eq!(tidegate_dataflows::settings::variable_of("activity.delay"), "TIDEGATE_ACTIVITY_DELAY");
/// ```
pub fn variable_of(setting: &str) -> String {
    format!("{PREFIX}{}", setting.replace('.', "_").to_ascii_uppercase())
}

/// Our variables in the environment, by name.
pub(super) fn of_process(
    variables: impl Iterator<Item = (OsString, OsString)>,
    faults: &mut Vec<Fault>,
) -> Vec<Variable> {
    let mut ours = Vec::new();
    for (name, value) in variables {
        let Some(name) = name.to_str().filter(|name| is_ours(name)) else { continue };
        let origin = Origin::Environment(name.to_owned());
        match value.into_string() {
            Ok(value) => ours.push(Variable { name: name.to_owned(), value, origin }),
            Err(_) => faults.push(Fault {
                origin,
                setting: String::new(),
                cause: "the value is not UTF-8".to_owned(),
                mend: "set it again in UTF-8, or unset it".to_owned(),
            }),
        }
    }
    ours.sort_by(|a, b| a.name.cmp(&b.name));
    ours
}

/// Our variables in the text of a `.env` file: `NAME=value` lines, with `export`, quotes and `#` as in a shell.
pub(super) fn of_file(path: &Arc<Path>, text: &str, faults: &mut Vec<Fault>) -> Vec<Variable> {
    let mut ours = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        let line = line.strip_prefix("export ").unwrap_or(line).trim_start();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let origin = Origin::File { path: Arc::clone(path), line: index + 1, column: 1 };
        let assignment = line.split_once('=').filter(|(name, _)| is_name(name.trim_end()));
        // The line may hold a secret: it is not shown.
        let value = assignment.and_then(|(name, value)| Some((name.trim_end(), unquote(value.trim())?)));
        match value {
            Some((name, value)) if is_ours(name) => {
                ours.push(Variable { name: name.to_owned(), value, origin })
            }
            Some(_) => {}
            None => faults.push(Fault {
                origin,
                setting: String::new(),
                cause: "this line is not NAME=value".to_owned(),
                mend: "write NAME=value or NAME=\"value\", or put a # before it".to_owned(),
            }),
        }
    }
    ours
}

/// Lays `variables` over `tree`; `settings` are the names of all settings. Secrets are kept apart.
pub(super) fn overlay(
    tree: &mut Node,
    variables: Vec<Variable>,
    settings: &[String],
    secrets: &mut Secrets,
    faults: &mut Vec<Fault>,
) {
    let names: Vec<String> = settings.iter().map(|setting| variable_of(setting)).collect();
    let (ours, others): (Vec<_>, Vec<_>) =
        variables.into_iter().partition(|variable| variable.name.starts_with(PREFIX));
    for Variable { name, value, origin } in others {
        if SECRETS.contains(&&*name) {
            secrets.set(&name, value);
        } else if let Some((_, setting)) =
            ALIASES.iter().find(|(alias, _)| *alias == name).filter(|_| !value.is_empty())
        {
            tree.overlay(Node::at_path(setting, &value, &origin));
        }
    }
    for Variable { name, value, origin } in ours {
        if let Some(at) = names.iter().position(|known| *known == name) {
            tree.overlay(Node::at_path(&settings[at], &value, &origin));
        } else if !OTHERS.contains(&name.as_str()) {
            let guess = nearest(&name, names.iter().map(String::as_str));
            let did_you_mean = guess.map(|guess| format!("did you mean {guess}? ")).unwrap_or_default();
            faults.push(Fault {
                origin,
                setting: String::new(),
                cause: format!("{name} is no setting"),
                mend: format!(
                    "{did_you_mean}`tidegate validate` lists all settings; unset it if it is not for tidegate"
                ),
            });
        }
    }
}

fn is_name(text: &str) -> bool {
    let legal = |c: char| c.is_ascii_alphanumeric() || c == '_';
    !text.is_empty() && text.chars().all(legal) && !text.starts_with(|c: char| c.is_ascii_digit())
}

/// The value that a shell would see, without expansions; `None` when a quote is not closed.
fn unquote(text: &str) -> Option<String> {
    match text.chars().next() {
        Some(quote @ ('"' | '\'')) => {
            let (inside, behind) = text[1..].split_once(quote)?;
            let behind = behind.trim_start();
            (behind.is_empty() || behind.starts_with('#')).then(|| inside.to_owned())
        }
        _ => {
            let comment = text.find(" #").unwrap_or(text.len());
            Some(text[..comment].trim_end().to_owned())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(text: &str) -> (Vec<(String, String)>, Vec<String>) {
        let mut faults = Vec::new();
        let found = of_file(&Arc::from(Path::new(".env")), text, &mut faults);
        let pairs = found.into_iter().map(|variable| (variable.name, variable.value)).collect();
        (pairs, faults.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn env_file_is_read_as_a_shell_would() {
        let (found, faults) = file(
            "# comment\n\nDB_PASSWORD=\"x # y\"\nexport TIDEGATE_A=1 # one\nTIDEGATE_B = 'two words'\nTIDEGATE_C=\n",
        );
        assert_eq!(faults, [""; 0]);
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(
            found,
            [
                pair("DB_PASSWORD", "x # y"),
                pair("TIDEGATE_A", "1"),
                pair("TIDEGATE_B", "two words"),
                pair("TIDEGATE_C", "")
            ]
        );
    }

    #[test]
    fn broken_env_line_is_a_fault_that_does_not_show_the_line() {
        let (_, faults) = file("A=1\nhunter2\nPASSWORD=\"hunter2\n9=hunter2\n");
        assert_eq!(faults.len(), 3);
        assert!(faults[0].starts_with(".env:2:1: this line is not NAME=value"));
        assert!(faults.iter().all(|fault| !fault.contains("hunter2")));
    }

    #[test]
    fn names_of_the_documents_are_settings_and_their_secrets_are_hidden() {
        let environment = [("DB_HOST", "db"), ("DB_PORT", ""), ("DB_PASSWORD", "geheim7"), ("DB_X", "y")];
        let mut faults = Vec::new();
        let pairs = environment.iter().map(|(name, value)| (OsString::from(name), OsString::from(value)));
        let found = of_process(pairs, &mut faults);
        let mut tree =
            Node::at_path("activity.sinks.postgres.port", "5433", &Origin::Environment(String::new()));
        let mut secrets = Secrets::default();
        overlay(&mut tree, found, &[], &mut secrets, &mut faults);
        assert!(faults.is_empty());
        assert_eq!(secrets.get("DB_PASSWORD"), Some("geheim7"));
        let text = format!("{tree:?} {secrets:?}");
        assert!(text.contains("\"db\"") && text.contains("5433") && !text.contains("geheim7"), "{text}");
    }

    #[test]
    fn variables_of_others_are_passed_over() {
        let environment = [
            ("HOME", "/"),
            ("TIDEGATE_LOG", "debug"),
            ("TIDEGATE_WEB_PASSWORD", "geheim7"),
            ("TIDEGATE_ACTIVITY_DELAI", "1m"),
        ];
        let mut faults = Vec::new();
        let pairs = environment.iter().map(|(name, value)| (OsString::from(name), OsString::from(value)));
        let found = of_process(pairs, &mut faults);
        let mut tree = Node::at_path("activity.delay", "2m", &Origin::Environment(String::new()));
        let mut secrets = Secrets::default();
        overlay(&mut tree, found, &["activity.delay".to_owned()], &mut secrets, &mut faults);
        assert_eq!(faults.len(), 1);
        assert!(faults[0].mend.starts_with("did you mean TIDEGATE_ACTIVITY_DELAY?"), "{}", faults[0]);
    }
}
