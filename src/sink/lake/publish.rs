//! From staged files to published ones: what all sinks of files do when an epoch is committed.

use std::collections::BTreeSet;
use std::path::Path;

use super::epoch::StagedFile;
use crate::sink::SinkError;
use crate::sink::staged::{Books, is_plain};

/// Puts the files staged in `staged` under their names below `root`, whatever an earlier try has done of it, and forces the
/// directories that they lie in. With `verify` their content is read again: another process staged them.
pub(in crate::sink) fn files(
    books: &Books,
    staged: &Path,
    root: &Path,
    files: &[StagedFile],
    verify: bool,
) -> Result<(), SinkError> {
    let mut touched = BTreeSet::new();
    for file in files {
        publish(books, staged, root, file, verify)?;
        touched.extend(Path::new(&file.path).ancestors().skip(1).map(|parent| root.join(parent)));
    }
    // Deepest first, so that what a name leads to is there before the name.
    touched.iter().rev().try_for_each(|dir| books.disk.force_dir(dir).map_err(|error| books.lift(error)))
}

fn publish(
    books: &Books,
    staged: &Path,
    root: &Path,
    file: &StagedFile,
    verify: bool,
) -> Result<(), SinkError> {
    let lift = |error| books.lift(error);
    if !is_plain(&file.path) || !is_plain(&file.name) {
        return Err(books.failed(format!("{:?} is not a path below {root:?}", file.path)));
    }
    let (staged, published) = (staged.join(&file.name), root.join(&file.path));
    let disk = &books.disk;
    let is_staged = disk.len(&staged).map_err(lift)?.is_some();
    let lies_in = if is_staged { &staged } else { &published };
    // What was staged by a process that died is read again before it is let in.
    if !disk.is_intact(lies_in, file.bytes, verify.then_some(file.crc32)).map_err(lift)? {
        return Err(books.failed(format!("{lies_in:?} is not the file that the manifest describes")));
    }
    if !is_staged {
        return Ok(());
    }
    if let Some(parent) = published.parent() {
        disk.create_dirs(parent).map_err(lift)?;
    }
    disk.rename(&staged, &published).map_err(lift)
}
