//! A file system that fails: refuses every change from the nth on, and can lose what was not forced.
//!
//! [`Faults`] remembers each change that a loss of power may undo, with what is needed to undo it, until the
//! file or directory is forced. [`Faults::lose_power`] undoes them all, last first: the worst that a disk may do.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use super::{Disk, Durability};

/// A change that is not yet forced to the device.
#[derive(Debug)]
enum Unforced {
    /// The file held these bytes when it was last forced, or nothing.
    Content { path: PathBuf, before: Vec<u8> },
    /// The name appeared in its directory.
    Created { path: PathBuf },
    /// The name `to` was `from` before, and `replaced` lay there.
    Renamed { from: PathBuf, to: PathBuf, replaced: Option<Vec<u8>> },
    /// The name was removed.
    Removed { path: PathBuf, content: Vec<u8> },
}

/// How many changes are still allowed, and which of them a loss of power would undo.
#[derive(Debug)]
pub(crate) struct Faults {
    allowed: AtomicU64,
    unforced: Mutex<Vec<Unforced>>,
}

impl Faults {
    /// A durable disk that allows `changes` and refuses all later ones, as if the process had died.
    pub(crate) fn after(changes: u64) -> (Disk, Arc<Faults>) {
        let faults = Arc::new(Faults { allowed: AtomicU64::new(changes), unforced: Mutex::default() });
        (Disk { durability: Durability::Power, faults: Some(Arc::clone(&faults)) }, faults)
    }

    /// Whether the disk has refused a change.
    pub(crate) fn exhausted(&self) -> bool {
        self.allowed.load(Ordering::SeqCst) == 0
    }

    /// Undoes every change that was not forced.
    pub(crate) fn lose_power(&self) {
        for change in self.unforced.lock().unwrap().drain(..).rev() {
            match change {
                Unforced::Content { path, before } => {
                    if path.exists() {
                        // In place: a second name of the file sees the same bytes.
                        fs::write(path, before).unwrap();
                    }
                }
                Unforced::Created { path } => drop(fs::remove_file(path)),
                Unforced::Renamed { from, to, replaced } => {
                    fs::rename(&to, from).expect("a name is forced before the directory it came from goes");
                    if let Some(content) = replaced {
                        fs::write(to, content).unwrap();
                    }
                }
                Unforced::Removed { path, content } => drop(fs::write(path, content)),
            }
        }
    }
}

impl Disk {
    fn note(&self, change: impl FnOnce() -> Option<Unforced>) {
        if let Some(faults) = &self.faults
            && !faults.exhausted()
        {
            faults.unforced.lock().unwrap().extend(change());
        }
    }

    /// One change is about to happen: refused when none is left.
    pub(crate) fn allow(&self) -> io::Result<()> {
        let Some(faults) = &self.faults else { return Ok(()) };
        let take = |left: u64| left.checked_sub(1);
        match faults.allowed.fetch_update(Ordering::SeqCst, Ordering::SeqCst, take) {
            Ok(_) => Ok(()),
            Err(_) => Err(io::Error::other("the test stops here")),
        }
    }

    /// Forces a file, but for trials: what they lose is what [`Faults`] undoes, and a device would take minutes.
    pub(super) fn sync(&self, file: &File) -> io::Result<()> {
        if self.faults.is_some() { Ok(()) } else { file.sync_all() }
    }

    /// Writes all, or half when this is where the test stops.
    pub(super) fn write_through(&self, file: &mut File, bytes: &[u8]) -> io::Result<()> {
        let verdict = self.allow();
        let torn = if verdict.is_ok() { bytes.len() } else { bytes.len() / 2 };
        file.write_all(&bytes[..torn])?;
        verdict
    }

    pub(super) fn about_to_write(&self, path: &Path, _from: u64) {
        self.note(|| {
            let before = fs::read(path);
            Some(match before {
                Ok(before) => Unforced::Content { path: path.to_owned(), before },
                Err(_) => Unforced::Created { path: path.to_owned() },
            })
        });
        // A new file's content is as unforced as its name.
        self.note(|| {
            (!path.exists()).then(|| Unforced::Content { path: path.to_owned(), before: Vec::new() })
        });
    }

    pub(super) fn about_to_rename(&self, from: &Path, to: &Path) {
        let replaced = || fs::read(to).ok();
        self.note(|| {
            Some(Unforced::Renamed { from: from.to_owned(), to: to.to_owned(), replaced: replaced() })
        });
    }

    pub(super) fn about_to_remove(&self, path: &Path) {
        self.note(|| fs::read(path).ok().map(|content| Unforced::Removed { path: path.to_owned(), content }));
    }

    pub(super) fn linked(&self, _from: &Path, to: &Path) {
        self.note(|| Some(Unforced::Created { path: to.to_owned() }));
    }

    pub(super) fn forced(&self, path: &Path) {
        self.settle(|change| matches!(change, Unforced::Content { path: changed, .. } if changed == path));
    }

    pub(super) fn forced_dir(&self, dir: &Path) {
        self.follow_forced_renames(dir);
        self.settle(|change| match change {
            Unforced::Content { .. } => false,
            Unforced::Created { path }
            | Unforced::Renamed { to: path, .. }
            | Unforced::Removed { path, .. } => path.parent() == Some(dir),
        });
    }

    /// Content that was not forced before its file was renamed is still at risk under the new name.
    fn follow_forced_renames(&self, dir: &Path) {
        let Some(faults) = &self.faults else { return };
        let mut unforced = faults.unforced.lock().unwrap();
        for i in 0..unforced.len() {
            let (earlier, rest) = unforced.split_at_mut(i);
            let Unforced::Renamed { from, to, .. } = &rest[0] else { continue };
            for change in earlier.iter_mut().filter(|_| to.parent() == Some(dir)) {
                if let Unforced::Content { path, .. } = change
                    && path == from
                {
                    path.clone_from(to);
                }
            }
        }
    }

    fn settle(&self, safe: impl Fn(&Unforced) -> bool) {
        if let Some(faults) = &self.faults {
            faults.unforced.lock().unwrap().retain(|change| !safe(change));
        }
    }
}
