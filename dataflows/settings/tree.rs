//! The tree that all layers of a configuration are merged into; every node knows where it came from.

use super::fault::Origin;

/// A node of a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Node {
    /// Where it stands.
    pub(super) origin: Origin,
    /// What it holds.
    pub(super) content: Content,
    /// What earlier layers said here: without effect, and still to be valid.
    pub(super) replaced: Vec<Node>,
}

/// What a node holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Content {
    /// Nothing: an empty value, `~` or `null`.
    Null,
    /// A value, not interpreted yet.
    Scalar(String),
    /// Values in order.
    List(Vec<Node>),
    /// Values by key, in the order of the document; no key is there twice.
    Map(Vec<Entry>),
}

/// A key and its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) key: String,
    /// Where the key stands.
    pub(super) origin: Origin,
    pub(super) node: Node,
}

impl Node {
    pub(super) fn new(origin: Origin, content: Content) -> Node {
        Node { origin, content, replaced: Vec::new() }
    }

    /// A tree with nothing but `text` at the dotted `path`.
    pub(super) fn at_path(path: &str, text: &str, origin: &Origin) -> Node {
        let leaf = Node::new(origin.clone(), Content::Scalar(text.to_owned()));
        path.rsplit('.').fold(leaf, |node, key| {
            let entry = Entry { key: key.to_owned(), origin: origin.clone(), node };
            Node::new(origin.clone(), Content::Map(vec![entry]))
        })
    }

    /// Lays a later layer over this one: maps are merged key by key, anything else is replaced.
    pub(super) fn overlay(&mut self, later: Node) {
        match (&mut self.content, later.content) {
            // An empty section says nothing.
            (Content::Map(_), Content::Null) => {}
            (Content::Map(entries), Content::Map(new)) => {
                for entry in new {
                    match entries.iter_mut().find(|old| old.key == entry.key) {
                        Some(old) => old.node.overlay(entry.node),
                        None => entries.push(entry),
                    }
                }
            }
            (_, content) => {
                let mut old = std::mem::replace(self, Node::new(later.origin, content));
                let before = std::mem::take(&mut old.replaced);
                self.replaced.extend(before.into_iter().chain([old]).chain(later.replaced));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leaf(path: &str, text: &str, layer: &str) -> Node {
        Node::at_path(path, text, &Origin::Environment(layer.to_owned()))
    }

    fn get<'n>(node: &'n Node, path: &str) -> Option<&'n Node> {
        path.split('.').try_fold(node, |node, key| match &node.content {
            Content::Map(entries) => entries.iter().find(|entry| entry.key == key).map(|entry| &entry.node),
            _ => None,
        })
    }

    #[test]
    fn later_layer_wins_and_earlier_values_are_kept_to_be_checked() {
        let mut tree = leaf("a.b", "1", "first");
        tree.overlay(leaf("a.c", "2", "second"));
        tree.overlay(leaf("a.b", "3", "third"));
        tree.overlay(leaf("a.b", "4", "fourth"));
        let b = get(&tree, "a.b").expect("is there");
        assert_eq!(b.content, Content::Scalar("4".to_owned()));
        assert_eq!(b.origin, Origin::Environment("fourth".to_owned()));
        let before: Vec<_> = b.replaced.iter().map(|node| &node.content).collect();
        assert_eq!(before, [&Content::Scalar("1".to_owned()), &Content::Scalar("3".to_owned())]);
        assert_eq!(get(&tree, "a.c").expect("is there").content, Content::Scalar("2".to_owned()));
    }

    #[test]
    fn empty_section_leaves_what_was_there() {
        let mut tree = leaf("a.b", "1", "first");
        let origin = Origin::Environment("second".to_owned());
        let empty = Entry {
            key: "a".to_owned(),
            origin: origin.clone(),
            node: Node::new(origin.clone(), Content::Null),
        };
        tree.overlay(Node::new(origin, Content::Map(vec![empty])));
        assert!(get(&tree, "a.b").is_some());
    }
}
