//! What a pipeline consists of, drawn without starting anything.

mod dot;
mod json;
mod mermaid;
mod text;

/// What stands at a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Records come in.
    Input,
    /// Something is computed.
    Step,
    /// Rows or lines go out.
    Output {
        /// What goes out.
        class: Class,
        /// Where to; none where the settings name no sink.
        places: Vec<Place>,
    },
}

/// What an output consists of, which says to which sinks it goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Rows of a table.
    Table,
    /// Rows of a lake.
    Lake,
    /// Lines of a topic.
    Topic,
}

/// Where an output goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// A file below the output directory, or a server.
    pub name: String,
    /// What is promised of it, such as "exactly once".
    pub guarantee: &'static str,
}

/// What is promised of most sinks.
pub const EXACTLY_ONCE: &str = "exactly once";

/// The sinks of each class; `None` is the embedded one, whose place the pipeline knows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sinks {
    /// Of tables.
    pub tables: Vec<Option<Place>>,
    /// Of the lake.
    pub lake: Vec<Option<Place>>,
    /// Of topics.
    pub topics: Vec<Option<Place>>,
}

/// A node of a topology.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Its name, unique in the topology.
    pub name: String,
    /// What it does, with its settings; may be empty.
    pub detail: String,
    /// What it is.
    pub kind: Kind,
}

/// What is said of an output that goes to no sink.
const NOWHERE: &str = "nowhere";

/// The nodes of a pipeline, and who sends to whom.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Topology {
    /// The pipeline.
    pub pipeline: String,
    /// The nodes, each after those that send to it.
    pub nodes: Vec<Node>,
    /// Pairs of indices into `nodes`: sender, receiver.
    pub edges: Vec<(usize, usize)>,
}

/// How a topology is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// A tree of lines, for a terminal.
    Text,
    /// A flowchart for Mermaid, which Markdown renders.
    Mermaid,
    /// A digraph for Graphviz.
    Dot,
}

impl Topology {
    /// Nothing of `pipeline` yet.
    pub fn new(pipeline: &str) -> Topology {
        Topology { pipeline: pipeline.to_owned(), ..Topology::default() }
    }

    /// Adds where records come in.
    pub fn input(&mut self, name: impl Into<String>, detail: impl Into<String>) -> usize {
        self.push(Node { name: name.into(), detail: detail.into(), kind: Kind::Input })
    }

    /// Adds a step that `from` sends to.
    pub fn step(&mut self, from: usize, name: impl Into<String>, detail: impl Into<String>) -> usize {
        let to = self.push(Node { name: name.into(), detail: detail.into(), kind: Kind::Step });
        self.edges.push((from, to));
        to
    }

    /// Adds an output that `from` sends to; `place` is that of its embedded sink.
    pub fn output(
        &mut self,
        from: usize,
        name: impl Into<String>,
        detail: impl Into<String>,
        class: Class,
        place: impl Into<String>,
    ) {
        let kind =
            Kind::Output { class, places: vec![Place { name: place.into(), guarantee: EXACTLY_ONCE }] };
        let to = self.push(Node { name: name.into(), detail: detail.into(), kind });
        self.edges.push((from, to));
    }

    /// The same with outputs that go to `sinks`.
    pub fn sent_to(mut self, sinks: &Sinks) -> Topology {
        for Node { kind, .. } in &mut self.nodes {
            let Kind::Output { class, places } = kind else { continue };
            let sinks = match class {
                Class::Table => &sinks.tables,
                Class::Lake => &sinks.lake,
                Class::Topic => &sinks.topics,
            };
            let embedded = std::mem::take(places);
            *places =
                sinks.iter().flat_map(|sink| sink.clone().or_else(|| embedded.first().cloned())).collect();
        }
        self
    }

    /// Draws the topology; ends with a newline.
    ///
    /// # Examples
    /// ```
    /// use tidegate_dataflows::graph::{Class, Format, Topology};
    ///
    /// let mut topology = Topology::new("example");
    /// let input = topology.input("topic clicks", "");
    /// topology.output(input, "clicks", "", Class::Table, "tables.sqlite");
    /// let drawn = "example\n└─ topic clicks\n   └─ clicks → tables.sqlite (exactly once)\n";
    /// assert_eq!(topology.draw(Format::Text), drawn);
    /// ```
    pub fn draw(&self, format: Format) -> String {
        match format {
            Format::Text => text::draw(self),
            Format::Mermaid => mermaid::draw(self),
            Format::Dot => dot::draw(self),
        }
    }

    /// The topology for programs: `nodes` with `name`, `detail`, `kind` and, of outputs, `place` and `guarantee`; `edges` as pairs of
    /// their places among the nodes.
    pub fn to_json(&self) -> serde_json::Value {
        json::of(self)
    }

    fn push(&mut self, node: Node) -> usize {
        self.nodes.push(node);
        self.nodes.len() - 1
    }

    fn receivers(&self, from: usize) -> impl Iterator<Item = usize> + '_ {
        self.edges.iter().filter(move |(sender, _)| *sender == from).map(|(_, receiver)| *receiver)
    }

    /// The lines of a node's label: its name, then what is known of it.
    fn label(&self, node: usize) -> Vec<String> {
        let Node { name, detail, kind } = &self.nodes[node];
        let mut lines = vec![name.clone()];
        if !detail.is_empty() {
            lines.push(detail.clone());
        }
        if let Kind::Output { places, .. } = kind {
            lines.extend(places.iter().map(|place| format!("{}, {}", place.name, place.guarantee)));
            lines.extend(places.is_empty().then(|| NOWHERE.to_owned()));
        }
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> Topology {
        let mut topology = Topology::new("example");
        let input = topology.input("clicks", "topic");
        let step = topology.step(input, "count \"all\"", "");
        topology.output(step, "counts", "", Class::Table, "tables.sqlite");
        let again = topology.step(step, "again", "x < y");
        topology.edges.push((again, 2));
        topology
    }

    #[test]
    fn text_is_a_tree_that_draws_a_shared_node_once() {
        let expected = "\
example
└─ clicks · topic
   └─ count \"all\"
      ├─ counts → tables.sqlite (exactly once)
      └─ again · x < y
         └─ counts (above)
";
        assert_eq!(example().draw(Format::Text), expected);
    }

    #[test]
    fn outputs_go_to_the_sinks_of_their_class() {
        let at = |name: &str, guarantee| Some(Place { name: name.to_owned(), guarantee });
        let sinks = Sinks { tables: vec![at("server", EXACTLY_ONCE), None], ..Sinks::default() };
        let drawn = example().sent_to(&sinks).draw(Format::Text);
        assert!(drawn.contains("counts → server (exactly once), tables.sqlite (exactly once)\n"), "{drawn}");
        let drawn = example().sent_to(&Sinks::default());
        assert!(drawn.draw(Format::Text).contains("counts → nowhere\n"));
        assert!(drawn.draw(Format::Dot).contains("nowhere"));
    }

    #[test]
    fn mermaid_escapes_what_it_would_misread() {
        let drawn = example().draw(Format::Mermaid);
        assert!(drawn.starts_with("flowchart LR\n"), "{drawn}");
        assert!(drawn.contains("n1[\"count #quot;all#quot;\"]"), "{drawn}");
        assert!(drawn.contains("n3[\"again<br/>x #lt; y\"]"), "{drawn}");
        assert!(drawn.contains("n3 --> n2\n"), "{drawn}");
    }

    #[test]
    fn dot_escapes_what_it_would_misread() {
        let drawn = example().draw(Format::Dot);
        assert!(drawn.starts_with("digraph \"example\" {\n") && drawn.ends_with("}\n"), "{drawn}");
        assert!(drawn.contains("n1 [label=\"count \\\"all\\\"\", shape=box];"), "{drawn}");
        assert!(drawn.contains("n3 -> n2;"), "{drawn}");
    }
}
