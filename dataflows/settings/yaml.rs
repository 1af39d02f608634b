//! YAML text to a tree whose nodes know their line and column.
//!
//! Settings are judged by us and not by a deserialiser, because that one stops at the first fault. All of
//! YAML's syntax is understood; of its semantics, what a configuration needs: one document, string keys, no
//! tags, and an alias stands for a copy of what it names.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, Span, StrInput};

use super::fault::{Fault, Origin};
use super::tree::{Content, Entry, Node};

/// Deeper nesting is a mistake, or an attack on the stack.
const DEPTH_MAX: usize = 32;
/// So many nodes are a mistake, or aliases that multiply each other.
const NODES_MAX: usize = 100_000;

/// Reads `text`, the content of `path`. What is wrong is added to `faults`; an empty document is an empty map.
pub(super) fn parse(path: &Arc<Path>, text: &str, faults: &mut Vec<Fault>) -> Option<Node> {
    let parser = Parser::new_from_str(text);
    let mut builder = Builder { path, parser, anchors: BTreeMap::new(), nodes: 0, faults };
    match builder.document() {
        Ok(node) => node,
        Err(fault) => {
            faults.push(fault);
            None
        }
    }
}

struct Builder<'a> {
    path: &'a Arc<Path>,
    parser: Parser<'a, StrInput<'a>>,
    anchors: BTreeMap<usize, Node>,
    nodes: usize,
    faults: &'a mut Vec<Fault>,
}

impl<'a> Builder<'a> {
    fn origin(&self, at: Marker) -> Origin {
        Origin::File { path: Arc::clone(self.path), line: at.line(), column: at.col() + 1 }
    }

    fn fault(&self, at: Marker, cause: impl Into<String>, mend: impl Into<String>) -> Fault {
        Fault { origin: self.origin(at), setting: String::new(), cause: cause.into(), mend: mend.into() }
    }

    fn next(&mut self) -> Result<(Event<'a>, Span), Fault> {
        match self.parser.next_event() {
            Some(Ok(event)) => Ok(event),
            Some(Err(error)) => Err(self.fault(
                *error.marker(),
                format!("this is not YAML: {}", error.info()),
                "mend the syntax here or on the line before: indentation by spaces, `key: value`, quotes in pairs",
            )),
            None => Ok((Event::StreamEnd, Span::default())),
        }
    }

    fn document(&mut self) -> Result<Option<Node>, Fault> {
        let mut root = None;
        loop {
            let (event, span) = self.next()?;
            match event {
                Event::StreamEnd => break,
                Event::StreamStart | Event::Nothing | Event::DocumentStart(_) | Event::DocumentEnd => {}
                _ if root.is_some() => {
                    return Err(self.fault(
                        span.start,
                        "a second document begins",
                        "keep one document a file",
                    ));
                }
                event => root = Some(self.node(event, span, 0)?),
            }
        }
        let start = Marker::new(0, 1, 0);
        let mut root = root.unwrap_or_else(|| Node::new(self.origin(start), Content::Null));
        if root.content == Content::Null {
            root.content = Content::Map(Vec::new());
        }
        if !matches!(root.content, Content::Map(_)) {
            return Err(Fault {
                origin: root.origin,
                setting: String::new(),
                cause: "the document is not a mapping".to_owned(),
                mend: "write sections with settings, such as `activity:` and below it `  delay: 2m`"
                    .to_owned(),
            });
        }
        Ok(Some(root))
    }

    fn node(&mut self, event: Event<'a>, span: Span, depth: usize) -> Result<Node, Fault> {
        self.nodes += 1;
        if depth > DEPTH_MAX || self.nodes > NODES_MAX {
            let mend =
                "no setting needs this: look for a mistake in the indentation, or for aliases in aliases";
            return Err(self.fault(span.start, "the document is too deep or too large", mend));
        }
        let origin = self.origin(span.start);
        let (content, anchor, tag) = match event {
            Event::Scalar(text, style, anchor, tag) => {
                let is_null = style == ScalarStyle::Plain && matches!(&*text, "" | "~" | "null");
                (if is_null { Content::Null } else { Content::Scalar(text.into_owned()) }, anchor, tag)
            }
            Event::SequenceStart(anchor, tag) => (self.list(depth)?, anchor, tag),
            Event::MappingStart(anchor, tag) => (self.map(depth)?, anchor, tag),
            Event::Alias(anchor) => {
                let Some(mut node) = self.anchors.get(&anchor).cloned() else {
                    let mend = "write the value itself";
                    return Err(self.fault(span.start, "an alias to what is not complete yet", mend));
                };
                self.nodes += size(&node);
                node.origin = origin;
                return Ok(node);
            }
            _ => return Err(self.fault(span.start, "a value is missing", "write one, or leave the key out")),
        };
        if let Some(tag) = tag {
            self.faults.push(self.fault(
                span.start,
                format!("tag {tag} has no meaning here"),
                "leave it out",
            ));
        }
        let node = Node::new(origin, content);
        if anchor > 0 {
            self.anchors.insert(anchor, node.clone());
        }
        Ok(node)
    }

    fn list(&mut self, depth: usize) -> Result<Content, Fault> {
        let mut items = Vec::new();
        loop {
            let (event, span) = self.next()?;
            if event == Event::SequenceEnd {
                return Ok(Content::List(items));
            }
            items.push(self.node(event, span, depth + 1)?);
        }
    }

    fn map(&mut self, depth: usize) -> Result<Content, Fault> {
        let mut entries: Vec<Entry> = Vec::new();
        loop {
            let (event, span) = self.next()?;
            if event == Event::MappingEnd {
                return Ok(Content::Map(entries));
            }
            let key = self.node(event, span, depth + 1)?;
            let (event, span) = self.next()?;
            let node = self.node(event, span, depth + 1)?;
            let Content::Scalar(name) = key.content else {
                let (cause, mend) = ("a key is not a name".to_owned(), "write `name: value`".to_owned());
                self.faults.push(Fault { origin: key.origin, setting: String::new(), cause, mend });
                continue;
            };
            if let Some(first) = entries.iter().find(|entry| entry.key == name) {
                let cause = format!("key {name:?} is there twice; the first is at {}", first.origin);
                let mend = "keep one of them".to_owned();
                self.faults.push(Fault { origin: key.origin, setting: String::new(), cause, mend });
                continue;
            }
            entries.push(Entry { key: name, origin: key.origin, node });
        }
    }
}

fn size(node: &Node) -> usize {
    1 + match &node.content {
        Content::Null | Content::Scalar(_) => 0,
        Content::List(items) => items.iter().map(size).sum(),
        Content::Map(entries) => entries.iter().map(|entry| size(&entry.node)).sum(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(text: &str) -> (Option<Node>, Vec<String>) {
        let mut faults = Vec::new();
        let node = parse(&Arc::from(Path::new("c.yaml")), text, &mut faults);
        (node, faults.iter().map(ToString::to_string).collect())
    }

    fn entry<'n>(node: &'n Node, key: &str) -> &'n Entry {
        let Content::Map(entries) = &node.content else { panic!("not a map: {node:?}") };
        entries.iter().find(|entry| entry.key == key).expect("the key is there")
    }

    #[test]
    fn nodes_know_their_line_and_column() {
        let (node, faults) = read("# settings\nactivity:\n  delay: 2m # two\n  list: [a, 'b']\n");
        assert_eq!(faults, [""; 0]);
        let node = node.expect("parsed");
        let delay = entry(&entry(&node, "activity").node, "delay");
        assert_eq!(delay.origin.to_string(), "c.yaml:3:3");
        assert_eq!(delay.node.origin.to_string(), "c.yaml:3:10");
        assert_eq!(delay.node.content, Content::Scalar("2m".to_owned()));
        let list = entry(&entry(&node, "activity").node, "list");
        assert!(matches!(&list.node.content, Content::List(items) if items.len() == 2));
    }

    #[test]
    fn empty_document_is_an_empty_map() {
        for text in ["", "# nothing\n", "---\n", "~"] {
            let (node, faults) = read(text);
            assert_eq!(faults, [""; 0], "{text:?}");
            assert_eq!(node.expect("parsed").content, Content::Map(Vec::new()));
        }
    }

    #[test]
    fn aliases_are_copies() {
        let (node, faults) = read("a: &w {size: 1m}\nb: *w\n");
        assert_eq!(faults, [""; 0]);
        let node = node.expect("parsed");
        assert_eq!(entry(&node, "a").node.content, entry(&node, "b").node.content);
    }

    #[test]
    fn a_key_that_is_there_twice_is_a_fault() {
        let (_, faults) = read("a: 1\nb: 2\na: 3\n");
        assert_eq!(faults.len(), 1);
        assert!(faults[0].starts_with("c.yaml:3:1: key \"a\" is there twice; the first is at c.yaml:1:1"));
    }

    #[test]
    fn bad_syntax_is_a_fault_with_its_place() {
        for text in
            ["a: [1\n", "a: 'x\n", "a: 1\n b: 2\n", "a:\n\tb: 1\n", "- a\n", "just text", "a: 1\n---\nb: 2\n"]
        {
            let (_, faults) = read(text);
            assert_eq!(faults.len(), 1, "{text:?}: {faults:?}");
            assert!(faults[0].starts_with("c.yaml:"), "{faults:?}");
            assert!(faults[0].contains("mend:"), "{faults:?}");
        }
    }

    #[test]
    fn bombs_are_refused() {
        let deep = "[".repeat(100_000);
        let mut wide = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for i in 1..12 {
            let alias = format!("*a{}, ", i - 1).repeat(10);
            wide.push_str(&format!("a{i}: &a{i} [{}]\n", alias.trim_end_matches(", ")));
        }
        for text in [format!("a: {deep}"), wide] {
            let (node, faults) = read(&text);
            assert!(node.is_none());
            assert_eq!(faults.len(), 1, "{faults:?}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "[a-c:\\-\\[\\]{}&*!|>'\"#%@, \\n\\t~?0-9]{0,60}") {
            let (node, faults) = read(&text);
            prop_assert!(node.is_some() || !faults.is_empty());
        }
    }
}
