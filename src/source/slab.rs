//! Bytes that stay where they are while records are borrowed from them: a mapped file, or a buffer.
//!
//! Files are mapped rather than read: a value can then be handed on as it lies in the page cache, what
//! lies behind it is readable too (see [`Value`](crate::record::Value)), and all workers share one copy.

use std::fs::File;
use std::ops::Deref;
use std::path::Path;

use memmap2::Mmap;

use super::SourceError;

/// Immutable bytes with a fixed address.
pub(crate) struct Slab(Bytes);

enum Bytes {
    Mapped(Mmap),
    Owned(Vec<u8>),
}

impl Slab {
    /// Maps the file at `path`.
    ///
    /// # Errors
    /// [`SourceError::Io`] when it cannot be opened or mapped.
    pub(crate) fn map(path: &Path) -> Result<Slab, SourceError> {
        let io = |cause| SourceError::Io { path: path.to_owned(), cause };
        let file = File::open(path).map_err(io)?;
        // The system refuses to map nothing.
        if file.metadata().map_err(io)?.len() == 0 {
            return Ok(Slab::from(Vec::new()));
        }
        // SAFETY: the bytes behind a mapping must not change while they are borrowed. The files that are
        // mapped are finished recordings, and the sources that open them demand in their docs that nobody
        // writes to them meanwhile. (Should somebody cut one, the system ends the process with SIGBUS.)
        let map = unsafe { Mmap::map(&file) }.map_err(io)?;
        Ok(Slab(Bytes::Mapped(map)))
    }

    /// Asks the system to have the pages at hand soon; it may ignore that.
    pub(crate) fn will_need(&self) {
        #[cfg(unix)]
        if let Bytes::Mapped(map) = &self.0 {
            // Only advice: when it is refused, the pages come one fault at a time.
            drop(map.advise(memmap2::Advice::WillNeed));
        }
    }
}

impl From<Vec<u8>> for Slab {
    fn from(bytes: Vec<u8>) -> Slab {
        Slab(Bytes::Owned(bytes))
    }
}

impl Deref for Slab {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &self.0 {
            Bytes::Mapped(map) => map,
            Bytes::Owned(bytes) => bytes,
        }
    }
}
