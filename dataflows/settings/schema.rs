//! The JSON Schema of the configuration, for editors.
//!
//! It is made by asking: the settings are those that are read, the default is the one that is in effect when nobody
//! says anything, and what a setting may be is what its reader takes. So the schema cannot be out of step with the
//! program. It says less than the program knows (`tidegate validate` is the judge): where a reader takes texts of a
//! form of its own, such as durations, any text passes. Descriptions are the comments of `config/dev.yaml`.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::fault::Origin;
use super::kinds::Kind;
use super::section::{Effective, Findings};
use super::tree::{Content, Node};
use super::{interpret, nothing};

/// The defaults with their comments.
const DEFAULTS: &str = include_str!("../../config/dev.yaml");

/// A key that no section has and any might let the user choose.
const STRANGE: &str = "zz_a_name_of_ones_own";

/// What a setting's reader takes.
#[derive(Debug, Default)]
pub(super) struct Shape {
    /// What it says of how to write one.
    mend: String,
    /// The words that it takes.
    words: Vec<String>,
    /// Whether it takes a number as it stands.
    number: bool,
    /// Whether there is more than numbers and the words.
    text: bool,
}

impl Shape {
    /// Asks `kind`, whose default is written `default`.
    pub(super) fn of<T>(kind: &Kind<T>, default: &str) -> Shape {
        let takes = |text: &str| (kind.read)(text).is_ok();
        // No value holds a control character.
        let mend = (kind.read)("\u{1}").err().map_or(String::new(), |(_, mend)| mend);
        let tokens: Vec<&str> = mend
            .split(|c: char| !(c.is_alphanumeric() || matches!(c, '_' | '-')))
            .filter(|t| !t.is_empty())
            .collect();
        let mut words: Vec<String> = Vec::new();
        for word in tokens.iter().copied().chain(["true", "false", "on", "off", "none"]) {
            let is_word = word.starts_with(|c: char| c.is_alphabetic()) && takes(word);
            if is_word && !words.iter().any(|known| known == word) {
                words.push(word.to_owned());
            }
        }
        let number = ["0", "1", "100"].iter().any(|text| takes(text));
        let phrases = tokens.windows(2).map(|pair| pair.join(" "));
        let lists = words.windows(2).map(|pair| pair.join(", "));
        let mut more = phrases.chain(lists).chain(["zz", "30s", "2KiB"].map(str::to_owned));
        let is_default_plain = words.iter().any(|word| word == default) || default.parse::<f64>().is_ok();
        let text = !is_default_plain || more.any(|text| takes(&text));
        Shape { mend, words, number, text }
    }

    fn schema(&self, default: &str) -> Map<String, Value> {
        let typed = |text: &str| match text {
            "true" | "false" if !self.text => json!(text == "true"),
            text => match serde_json::from_str::<serde_json::Number>(text) {
                Ok(number) if self.number => Value::Number(number),
                _ => json!(text),
            },
        };
        let words: Vec<Value> = self.words.iter().map(|word| typed(word)).collect();
        let mut schema = Map::new();
        match (self.number, self.text) {
            (true, true) => schema.insert("type".to_owned(), json!(["string", "number"])),
            (false, true) => schema.insert("type".to_owned(), json!("string")),
            (true, false) if words.is_empty() => schema.insert("type".to_owned(), json!("number")),
            (true, false) => schema.insert("anyOf".to_owned(), json!([{"type": "number"}, {"enum": words}])),
            (false, false) => schema.insert("enum".to_owned(), Value::Array(words)),
        };
        schema.insert("default".to_owned(), typed(default));
        schema
    }
}

/// The JSON Schema (2020-12) of a configuration file.
///
/// # Examples
/// ```
/// let schema = tidegate_dataflows::settings::json_schema();
/// let distinct = &schema["properties"]["activity"]["properties"]["distinct"];
/// assert_eq!(distinct["enum"], serde_json::json!(["exact", "hll"]));
/// assert_eq!(distinct["default"], "exact");
/// ```
pub fn json_schema() -> Value {
    let mut findings = Findings { shapes: Some(Vec::new()), ..Findings::default() };
    interpret(&nothing(), &mut findings);
    let comments = comments(DEFAULTS);
    let shapes = findings.shapes.unwrap_or_default();
    let mut root = section("", &comments);
    root.insert("$schema".to_owned(), json!("https://json-schema.org/draft/2020-12/schema"));
    root.insert("title".to_owned(), json!("tidegate's configuration"));
    for (Effective { setting, value, .. }, shape) in findings.effective.iter().zip(&shapes) {
        let mut leaf = shape.schema(value);
        // A setting whose section says it all has no comment of its own.
        let outer = setting.rsplit_once('.').and_then(|(outer, _)| comments.get(outer));
        let told = comments.get(setting).or(outer).cloned().unwrap_or_default();
        let hint = if shape.mend.is_empty() { String::new() } else { format!("To set it, {}.", shape.mend) };
        let described: Vec<String> = [told, hint].into_iter().filter(|text| !text.is_empty()).collect();
        leaf.insert("description".to_owned(), json!(described.join("\n\n")));
        place(&mut root, "", setting, leaf, &comments);
    }
    // Sections that are there for names of one's own, and have none by default.
    let is_setting = |path: &str| findings.effective.iter().any(|effective| effective.setting == path);
    for path in comments.keys().filter(|path| !is_setting(path) && is_open(path)) {
        place(&mut root, "", path, section(path, &comments), &comments);
    }
    Value::Object(root)
}

/// Puts `leaf` at the dotted `path` below `object`, whose own path is `at`; sections on the way are made.
fn place(
    object: &mut Map<String, Value>,
    at: &str,
    path: &str,
    leaf: Map<String, Value>,
    comments: &BTreeMap<String, String>,
) {
    let properties = object.entry("properties").or_insert_with(|| json!({}));
    let Value::Object(properties) = properties else { return };
    let Some((key, rest)) = path.split_once('.') else {
        properties.entry(path).or_insert(Value::Object(leaf));
        return;
    };
    let below = if at.is_empty() { key.to_owned() } else { format!("{at}.{key}") };
    let next = properties.entry(key).or_insert_with(|| Value::Object(section(&below, comments)));
    if let Value::Object(next) = next {
        place(next, &below, rest, leaf, comments);
    }
}

/// A section without its settings.
fn section(path: &str, comments: &BTreeMap<String, String>) -> Map<String, Value> {
    let mut section = Map::new();
    section.insert("type".to_owned(), json!(["object", "null"]));
    section.insert("additionalProperties".to_owned(), json!(is_open(path)));
    if let Some(comment) = comments.get(path) {
        section.insert("description".to_owned(), json!(comment));
    }
    section
}

/// Whether the user chooses names in the section at `path`: whether a strange one is more than unknown there.
fn is_open(path: &str) -> bool {
    let strange = if path.is_empty() { STRANGE.to_owned() } else { format!("{path}.{STRANGE}") };
    let mut tree = Node::at_path(&strange, "", &Origin::Environment(String::new()));
    blank(&mut tree);
    let mut findings = Findings::default();
    interpret(&tree, &mut findings);
    let is_unknown = |cause: &str| cause.starts_with("there is no setting");
    !findings.faults.iter().any(|fault| fault.setting == strange && is_unknown(&fault.cause))
}

/// Makes the innermost value of a tree nothing.
fn blank(node: &mut Node) {
    match &mut node.content {
        Content::Map(entries) => entries.iter_mut().for_each(|entry| blank(&mut entry.node)),
        content => *content = Content::Null,
    }
}

/// The comment above each key of a YAML file of nested mappings, by the key's dotted path.
fn comments(yaml: &str) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut path: Vec<(usize, &str)> = Vec::new();
    let mut pending: Vec<&str> = Vec::new();
    for line in yaml.lines() {
        let text = line.trim_start();
        let indent = line.len() - text.len();
        if let Some(comment) = text.strip_prefix('#') {
            pending.push(comment.trim());
            continue;
        }
        if let Some((key, _)) = text.split_once(':').filter(|(key, _)| !key.contains([' ', '{', ','])) {
            path.retain(|(outer, _)| *outer < indent);
            path.push((indent, key));
            if !pending.is_empty() {
                let dotted = path.iter().map(|(_, key)| *key).collect::<Vec<_>>().join(".");
                found.insert(dotted, pending.join(" "));
            }
        }
        pending.clear();
    }
    found
}

#[cfg(test)]
mod tests {
    use super::super::names;
    use super::*;

    fn at<'v>(schema: &'v Value, path: &str) -> &'v Value {
        path.split('.').fold(schema, |value, key| &value["properties"][key])
    }

    #[test]
    fn every_setting_is_in_the_schema_with_default_and_description() {
        let schema = json_schema();
        for name in names() {
            let setting = at(&schema, &name);
            assert!(!setting["default"].is_null(), "{name}: {setting}");
            assert!(setting["description"].as_str().is_some_and(|text| text.len() > 5), "{name}: {setting}");
        }
    }

    #[test]
    fn kinds_are_told_apart() {
        let schema = json_schema();
        assert_eq!(at(&schema, "activity.outputs.lake")["enum"], json!([true, false, "on", "off"]));
        assert_eq!(at(&schema, "activity.outputs.lake")["default"], json!(true));
        assert_eq!(at(&schema, "hydraulic.rules.zscore.limit")["type"], json!("number"));
        assert_eq!(at(&schema, "hydraulic.rules.zscore.limit")["default"], json!(3));
        assert_eq!(at(&schema, "activity.max_record_bytes")["type"], json!(["string", "number"]));
        assert_eq!(
            at(&schema, "iot.ranges.temperature.min")["anyOf"],
            json!([{"type": "number"}, {"enum": ["none"]}])
        );
        for text in ["activity.topic", "activity.delay"] {
            assert!(at(&schema, text)["type"].to_string().contains("string"), "{text}");
        }
    }

    #[test]
    fn only_sections_of_names_of_ones_own_are_open() {
        let schema = json_schema();
        assert_eq!(schema["additionalProperties"], json!(false));
        assert_eq!(at(&schema, "activity.windows")["additionalProperties"], json!(false));
        assert_eq!(at(&schema, "hydraulic.rules")["additionalProperties"], json!(true));
    }

    #[test]
    fn comments_are_found_by_path() {
        let found =
            comments("# not this\n\na:\n  # one\n  # two\n  b: 1\n  c:\n    # three\n    b: {d: 1}\n");
        let expected = [("a.b", "one two"), ("a.c.b", "three")];
        assert_eq!(found, expected.map(|(path, text)| (path.to_owned(), text.to_owned())).into());
    }
}
