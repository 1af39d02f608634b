//! What is wrong with a configuration: where, what, and how to mend it.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

/// Where a setting, or something wrong with one, stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A place in a file; line and column count from 1.
    File {
        /// The file, as it was named.
        path: Arc<Path>,
        /// The line.
        line: usize,
        /// The column, in characters.
        column: usize,
    },
    /// A file as a whole.
    Whole(Arc<Path>),
    /// An environment variable.
    Environment(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::File { path, line, column } => write!(f, "{}:{line}:{column}", path.display()),
            Origin::Whole(path) => write!(f, "{}", path.display()),
            Origin::Environment(name) => write!(f, "environment variable {name}"),
        }
    }
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Where.
    pub origin: Origin,
    /// Which setting, dotted (`activity.delay`); empty when the file as a whole is meant.
    pub setting: String,
    /// What is wrong.
    pub cause: String,
    /// What to do.
    pub mend: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.origin)?;
        if !self.setting.is_empty() {
            write!(f, "{}: ", self.setting)?;
        }
        write!(f, "{}\n    mend: {}", self.cause, self.mend)
    }
}

/// Everything that is wrong with a configuration, in the order of the layers and of the places in them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Faults(pub Vec<Fault>);

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let faults = if self.0.len() == 1 { "fault" } else { "faults" };
        write!(f, "the configuration has {} {faults}:", self.0.len())?;
        self.0.iter().try_for_each(|fault| write!(f, "\n  {fault}"))
    }
}

impl std::error::Error for Faults {}
