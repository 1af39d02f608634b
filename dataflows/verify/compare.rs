//! Two multisets of rows, told apart by key: what is missing, repeated, altered, and more than there should be.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::Serialize;

/// Columns that hold the wall clock's time, in which a live run and a replay may differ.
const WALL_CLOCK: [&str; 2] = ["processed_at", "processing_time"];

/// How many rows of each kind are named; all are counted.
const NAMED: usize = 10;

/// Rows that are not as they must be: how many, and the first of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Rows {
    /// How many.
    pub count: u64,
    /// The first ones, as `column=value` texts.
    pub first: Vec<String>,
}

impl Rows {
    pub(super) fn add(&mut self, row: impl FnOnce() -> String) {
        self.count += 1;
        if self.first.len() < NAMED {
            self.first.push(row());
        }
    }
}

/// What the audit of a table, a lake or a topic found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Audit {
    /// Where it lies.
    pub target: String,
    /// The table, the lake or the topic.
    pub name: String,
    /// How many rows the log gives.
    pub expected: u64,
    /// Rows of the log that are not there.
    pub missing: Rows,
    /// Rows, or keys of a table, that are there more often than they should be.
    pub repeated: Rows,
    /// Rows with the right key and other values.
    pub altered: Rows,
    /// Rows that the log does not give.
    pub unexpected: Rows,
    /// Records of a topic that stand in another place of their partition, where all of them are there.
    pub misplaced: Rows,
}

impl Audit {
    /// Of nothing yet.
    pub(super) fn of(target: &str, name: &str) -> Audit {
        Audit { target: target.to_owned(), name: name.to_owned(), ..Audit::default() }
    }

    /// What can be wrong, in words, and what of it is.
    pub fn kinds(&self) -> [(&'static str, &Rows); 5] {
        [
            ("missing", &self.missing),
            ("repeated", &self.repeated),
            ("altered", &self.altered),
            ("unexpected", &self.unexpected),
            ("out of order", &self.misplaced),
        ]
    }

    /// Whether all is what the log gives.
    pub fn agrees(&self) -> bool {
        self.kinds().iter().all(|(_, rows)| rows.count == 0)
    }
}

/// A row as it is compared and shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Row {
    /// What tells it from others: rows of one key with different texts are altered ones.
    pub(super) key: Box<str>,
    /// All that is compared.
    pub(super) text: Box<str>,
}

/// Whether a column is compared.
pub(super) fn is_compared(column: &str) -> bool {
    !WALL_CLOCK.contains(&column)
}

/// Appends `name=value`, so that no other cells make the same text.
pub(super) fn push_cell(text: &mut String, name: &str, value: Option<&str>) {
    if !text.is_empty() {
        text.push(' ');
    }
    text.push_str(&plain(name));
    text.push('=');
    text.push_str(&value.map_or(Cow::Borrowed("null"), plain));
}

/// A text as it stands where nobody can misread it, or else in quotes.
fn plain(text: &str) -> Cow<'_, str> {
    let is_odd = |c: char| c.is_whitespace() || c.is_control() || matches!(c, '"' | '\\' | '=');
    if text.is_empty() || text == "null" || text.contains(is_odd) {
        return Cow::Owned(format!("{text:?}"));
    }
    Cow::Borrowed(text)
}

/// The rows of one key.
#[derive(Default)]
struct Group {
    /// What the log gives.
    wanted: Vec<Box<str>>,
    /// What has been found.
    found: Vec<Box<str>>,
}

impl Group {
    /// Takes out what is on both sides, as often as it is: what was, once each, and what of either side was not.
    fn parted(mut self) -> [Vec<Box<str>>; 3] {
        self.wanted.sort_unstable();
        self.found.sort_unstable();
        let (mut met, mut missing, mut surplus) = (Vec::new(), Vec::new(), Vec::new());
        let mut found = self.found.into_iter().peekable();
        for wanted in self.wanted {
            surplus.extend(std::iter::from_fn(|| found.next_if(|found| *found < wanted)));
            match found.next_if(|found| *found == wanted) {
                Some(_) if met.last() == Some(&wanted) => {}
                Some(_) => met.push(wanted),
                None => missing.push(wanted),
            }
        }
        surplus.extend(found);
        [met, missing, surplus]
    }
}

/// Compares the rows of one table, lake or topic. Expect all of them first.
pub(super) struct Comparison {
    audit: Audit,
    /// Whether a key may have one row only.
    is_unique: bool,
    groups: BTreeMap<Box<str>, Group>,
}

impl Comparison {
    /// Of `name` in `target`.
    pub(super) fn new(target: &str, name: &str, is_unique: bool) -> Self {
        Comparison { audit: Audit::of(target, name), is_unique, groups: BTreeMap::new() }
    }

    /// A row that the log gives.
    pub(super) fn expect(&mut self, row: Row) {
        self.audit.expected += 1;
        self.groups.entry(row.key).or_default().wanted.push(row.text);
    }

    /// A row that is there.
    pub(super) fn find(&mut self, row: Row) {
        self.groups.entry(row.key).or_default().found.push(row.text);
    }

    /// What differs.
    pub(super) fn finish(self) -> Audit {
        let Comparison { mut audit, is_unique, groups } = self;
        for group in groups.into_values() {
            let [met, missing, surplus] = group.parted();
            let (mut missing, mut last) = (missing.into_iter(), None);
            let mut is_seen = !met.is_empty();
            for text in surplus {
                let is_again = last.as_ref() == Some(&text) || met.binary_search(&text).is_ok();
                if is_again {
                    audit.repeated.add(|| text.to_string());
                } else if let Some(expected) = missing.next() {
                    audit.altered.add(|| format!("{text} in place of {expected}"));
                } else if is_unique && is_seen {
                    audit.repeated.add(|| text.to_string());
                } else {
                    audit.unexpected.add(|| text.to_string());
                }
                is_seen = true;
                last = Some(text);
            }
            missing.for_each(|text| audit.missing.add(|| text.to_string()));
        }
        audit
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn audit(is_unique: bool, expected: &[(&str, &str)], found: &[(&str, &str)]) -> Audit {
        let mut comparison = Comparison::new("here", "t", is_unique);
        let row = |(key, value): &(&str, &str)| {
            let mut text = String::new();
            push_cell(&mut text, "k", Some(key));
            push_cell(&mut text, "v", Some(value));
            Row { key: (*key).into(), text: text.into() }
        };
        expected.iter().for_each(|cells| comparison.expect(row(cells)));
        found.iter().for_each(|cells| comparison.find(row(cells)));
        comparison.finish()
    }

    fn counts(audit: &Audit) -> [u64; 5] {
        audit.kinds().map(|(_, rows)| rows.count)
    }

    #[test]
    fn order_does_not_matter() {
        let found = audit(true, &[("a", "1"), ("b", "2")], &[("b", "2"), ("a", "1")]);
        assert!(found.agrees());
        assert_eq!((found.expected, &*found.target, &*found.name), (2, "here", "t"));
    }

    #[test]
    fn each_kind_of_difference_is_counted_and_named() {
        let expected = [("a", "1"), ("b", "2"), ("c", "3")];
        let found = audit(true, &expected, &[("a", "1"), ("a", "1"), ("b", "9"), ("d", "4")]);
        assert_eq!(counts(&found), [1, 1, 1, 1, 0]);
        assert_eq!(found.altered.first, ["k=b v=9 in place of k=b v=2"]);
        assert_eq!(found.missing.first, ["k=c v=3"]);
        assert_eq!(found.repeated.first, ["k=a v=1"]);
        assert_eq!(found.unexpected.first, ["k=d v=4"]);
    }

    #[test]
    fn second_row_of_a_unique_key_is_a_repetition_whatever_it_holds() {
        let (expected, found) = ([("a", "1")], [("a", "7"), ("a", "1"), ("x", "1"), ("x", "2")]);
        assert_eq!(counts(&audit(true, &expected, &found)), [0, 2, 0, 1, 0]);
        assert_eq!(counts(&audit(false, &expected, &found)), [0, 0, 0, 3, 0]);
    }

    #[test]
    fn rows_of_one_key_are_a_multiset() {
        let expected = [("a", "1"), ("a", "1"), ("a", "2"), ("a", "3")];
        assert!(audit(false, &expected, &[("a", "3"), ("a", "1"), ("a", "2"), ("a", "1")]).agrees());
        let found = audit(false, &expected, &[("a", "1"), ("a", "2"), ("a", "2"), ("a", "4")]);
        // One 1 and the 3 are not there: the 4 stands for the 1.
        assert_eq!(counts(&found), [1, 1, 1, 0, 0]);
        assert_eq!(found.repeated.first, ["k=a v=2"]);
    }

    #[test]
    fn texts_that_could_be_misread_stand_in_quotes() {
        let text = |value| {
            let mut text = String::new();
            push_cell(&mut text, "k", value);
            text
        };
        assert_eq!(text(Some("/a?b")), "k=/a?b");
        assert_eq!(text(None), "k=null");
        assert_eq!(text(Some("null")), "k=\"null\"");
        assert_eq!(text(Some("")), "k=\"\"");
        assert_eq!(text(Some("1 v=2")), "k=\"1 v=2\"");
        assert_eq!(text(Some("a\"b")), "k=\"a\\\"b\"");
    }
}
