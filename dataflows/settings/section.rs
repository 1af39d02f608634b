//! Reading a tree section by section, collecting what is wrong instead of stopping at it.

use super::fault::{Fault, Origin};
use super::kinds::Kind;
use super::schema::Shape;
use super::tree::{Content, Entry, Node};

/// A setting as it is in effect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Effective {
    /// Its dotted name.
    pub setting: String,
    /// Its value, written as in a file.
    pub value: String,
    /// Who said so; `None` for the default.
    pub origin: Option<Origin>,
}

/// What reading brings to light.
#[derive(Debug, Default)]
pub(super) struct Findings {
    pub(super) faults: Vec<Fault>,
    pub(super) effective: Vec<Effective>,
    /// What each setting's reader takes, in the order of `effective`; only when somebody wants to know.
    pub(super) shapes: Option<Vec<Shape>>,
}

/// A mapping of the configuration that is being read.
pub(super) struct Section<'n> {
    path: String,
    origin: Option<&'n Origin>,
    entries: &'n [Entry],
    known: Vec<String>,
}

impl<'n> Section<'n> {
    /// The whole configuration.
    pub(super) fn root(node: &'n Node) -> Section<'n> {
        let entries = match &node.content {
            Content::Map(entries) => &entries[..],
            _ => &[],
        };
        Section { path: String::new(), origin: Some(&node.origin), entries, known: Vec::new() }
    }

    /// The section `key` of this one; empty when it is not there.
    pub(super) fn section(&mut self, key: &str, findings: &mut Findings) -> Section<'n> {
        let path = self.path_of(key);
        let mut section = Section { path, origin: None, entries: &[], known: Vec::new() };
        let Some(entry) = self.take(key) else { return section };
        section.origin = Some(&entry.origin);
        for node in entry.node.replaced.iter().chain([&entry.node]) {
            match &node.content {
                Content::Null => {}
                Content::Map(entries) => section.entries = entries,
                Content::Scalar(_) | Content::List(_) => findings.faults.push(Fault {
                    origin: node.origin.clone(),
                    setting: section.path.clone(),
                    cause: "this is a section and not a value".to_owned(),
                    mend: "write its settings below it, each on a line of its own, indented".to_owned(),
                }),
            }
        }
        section
    }

    /// Reads setting `key` into `value`, which holds the default and keeps it when nobody says otherwise.
    ///
    /// Says where the setting was made.
    pub(super) fn read<T>(
        &mut self,
        key: &str,
        kind: &Kind<T>,
        value: &mut T,
        findings: &mut Findings,
    ) -> Option<&'n Origin> {
        let setting = self.path_of(key);
        let mut made = None;
        if let Some(entry) = self.take(key) {
            // Values that a later layer replaces are checked too: they are wrong for whoever runs without it.
            for node in entry.node.replaced.iter().chain([&entry.node]) {
                match read_scalar(node, kind) {
                    Ok(new) => *value = new,
                    Err((cause, mend)) => {
                        let (origin, setting) = (node.origin.clone(), setting.clone());
                        findings.faults.push(Fault { origin, setting, cause, mend });
                    }
                }
            }
            made = Some(&entry.node.origin);
        }
        if let Some(shapes) = &mut findings.shapes {
            shapes.push(Shape::of(kind, &(kind.show)(value)));
        }
        findings.effective.push(Effective { setting, value: (kind.show)(value), origin: made.cloned() });
        made
    }

    /// The keys that nobody has read yet, in their order: names that the user chooses.
    pub(super) fn unread(&self) -> Vec<&'n str> {
        let unread = |entry: &&Entry| !self.known.contains(&entry.key);
        self.entries.iter().filter(unread).map(|entry| entry.key.as_str()).collect()
    }

    /// A fault of settings that do not fit together, at the place of one of them or of the section.
    pub(super) fn misfit(&self, at: Option<&Origin>, cause: String, mend: &str, findings: &mut Findings) {
        let Some(origin) = at.or(self.origin) else { return };
        let (origin, setting, mend) = (origin.clone(), self.path.clone(), mend.to_owned());
        findings.faults.push(Fault { origin, setting, cause, mend });
    }

    /// Ends the section: every key that nobody has read is a fault.
    pub(super) fn finish(self, findings: &mut Findings) {
        for entry in self.entries.iter().filter(|entry| !self.known.contains(&entry.key)) {
            let place =
                if self.path.is_empty() { "at the top".to_owned() } else { format!("in {}", self.path) };
            let guess = nearest(&entry.key, self.known.iter().map(String::as_str));
            let did_you_mean = guess.map(|guess| format!("did you mean {guess:?}? ")).unwrap_or_default();
            findings.faults.push(Fault {
                origin: entry.origin.clone(),
                setting: self.path_of(&entry.key),
                cause: format!("there is no setting {:?} {place}", entry.key),
                mend: format!("{did_you_mean}there are: {}", self.known.join(", ")),
            });
        }
    }

    fn path_of(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    fn take(&mut self, key: &str) -> Option<&'n Entry> {
        self.known.push(key.to_owned());
        self.entries.iter().find(|entry| entry.key == key)
    }
}

fn read_scalar<T>(node: &Node, kind: &Kind<T>) -> Result<T, (String, String)> {
    let mend = || "write one value, or leave the setting out for its default".to_owned();
    match &node.content {
        Content::Scalar(text) => (kind.read)(text),
        Content::Null => Err(("the value is missing".to_owned(), mend())),
        Content::List(_) | Content::Map(_) => {
            Err(("this is a value and not a list or a section".to_owned(), mend()))
        }
    }
}

/// The name among `names` that `name` is most likely a slip of.
pub(super) fn nearest<'n>(name: &str, names: impl Iterator<Item = &'n str>) -> Option<&'n str> {
    let name = name.to_ascii_lowercase();
    let scored =
        names.map(|candidate| (strsim::jaro_winkler(&name, &candidate.to_ascii_lowercase()), candidate));
    let best = scored.max_by(|a, b| a.0.total_cmp(&b.0))?;
    (best.0 >= 0.75).then_some(best.1)
}
