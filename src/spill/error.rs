//! What can go wrong with a spill file.

use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

/// Why spilling or reading back failed.
#[derive(Debug, Error)]
pub enum SpillError {
    /// The disk or a quota is full. What was spilt before is intact; free some space and try again.
    #[error("no space to spill in {}", directory.display())]
    NoSpace {
        /// Where the file lies.
        directory: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The system failed to do something: stop.
    #[error("cannot {action} the spill file in {}", directory.display())]
    Io {
        /// What was attempted.
        action: &'static str,
        /// Where the file lies.
        directory: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A frame is cut short or changed: the disk lost or altered what was written. Stop; nothing of the frame
    /// was decoded.
    #[error("the frame at byte {position} of a spill file is damaged")]
    Torn {
        /// Where the frame begins.
        position: u64,
    },
    /// A frame is whole, but was not written there by this very process. Stop; nothing of it was decoded.
    #[error("the frame at byte {position} of a spill file is not this file's own")]
    Foreign {
        /// Where the frame begins.
        position: u64,
    },
    /// A partial aggregate has no serialised form, or cannot be made of the one that was written: a fault of its type. Stop.
    #[error("a partial aggregate cannot be spilt: {cause}")]
    Partial {
        /// What the serialiser said.
        cause: String,
    },
    /// A block was to hold more than 2^32 − 1 elements: a fault of the caller; nothing was written.
    #[error("a block of {elements} elements is too long to spill")]
    TooLong {
        /// How many it was to hold.
        elements: usize,
    },
    /// The element's `Abomonation` owns memory beyond the element, which plain-old-data cannot: a fault in
    /// its implementation.
    #[error("elements of type {element} are not plain data to abomonation")]
    NotPlain {
        /// The type's name.
        element: &'static str,
    },
}

impl SpillError {
    /// Whether the same call can succeed later.
    pub fn is_retriable(&self) -> bool {
        matches!(self, SpillError::NoSpace { .. })
    }

    /// Sorts the system's errors into those above.
    pub(super) fn from_io(action: &'static str, directory: &Path, source: io::Error) -> Self {
        let directory = directory.to_owned();
        match source.kind() {
            // A write that makes no progress is how some file systems say that they are full.
            io::ErrorKind::StorageFull
            | io::ErrorKind::QuotaExceeded
            | io::ErrorKind::FileTooLarge
            | io::ErrorKind::WriteZero => SpillError::NoSpace { directory, source },
            _ => SpillError::Io { action, directory, source },
        }
    }
}
