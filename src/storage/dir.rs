//! A local directory.

use std::fmt::Display;
use std::path::{Path, PathBuf};

use super::{Publish, Storage, StorageError, StoredFile, Upload, check};
use crate::sink::{Disk, DiskError, Durability, nonce};

/// A local directory as a place for files; it is made with the first file.
#[derive(Clone, Debug)]
pub struct Dir {
    root: PathBuf,
    disk: Disk,
}

impl Dir {
    /// The directory `root`; what is written to it outlives the loss of power.
    pub fn new(root: &Path) -> Self {
        Dir { root: root.to_owned(), disk: Disk::new(Durability::Power) }
    }

    /// The directory `root`, written by `disk`.
    pub(crate) fn on(disk: Disk, root: &Path) -> Self {
        Dir { root: root.to_owned(), disk }
    }

    fn at(&self, path: &str) -> Result<PathBuf, StorageError> {
        check(&self.place(), path)?;
        Ok(if path.is_empty() { self.root.clone() } else { self.root.join(path) })
    }

    fn lift(&self, verb: &'static str, path: &str) -> impl Fn(DiskError) -> StorageError + use<'_> {
        let path = path.to_owned();
        move |error| {
            let is_away = error.can_wait();
            StorageError { place: self.place(), verb, path: path.clone(), cause: error.to_string(), is_away }
        }
    }

    fn fail(&self, verb: &'static str, path: &str, cause: &dyn Display) -> StorageError {
        let (place, path, cause) = (self.place(), path.to_owned(), cause.to_string());
        StorageError { place, verb, path, cause, is_away: false }
    }

    /// Makes the directory of a file, durably.
    fn make_parent(&self, path: &Path) -> Result<(), DiskError> {
        let Some(parent) = path.parent() else { return Ok(()) };
        if parent.is_dir() {
            return Ok(());
        }
        self.disk.create_dirs(parent)?;
        self.disk.force_dirs_up_to(parent, &self.root)
    }

    fn walk(&self, dir: &str, found: &mut Vec<StoredFile>) -> Result<(), DiskError> {
        let full = if dir.is_empty() { self.root.clone() } else { self.root.join(dir) };
        for name in self.disk.names(&full)? {
            let Some(name) = name.to_str() else { continue };
            let path = if dir.is_empty() { name.to_owned() } else { format!("{dir}/{name}") };
            let full = full.join(name);
            if full.is_dir() {
                self.walk(&path, found)?;
            } else if let Some(bytes) = self.disk.len(&full)? {
                found.push(StoredFile { path, bytes });
            }
        }
        Ok(())
    }

    fn publish_one(&self, file: &Publish) -> Result<(), StorageError> {
        let (from, to) = (self.at(&file.from)?, self.at(&file.to)?);
        let lift = self.lift("publish", &file.to);
        let is_staged = self.disk.len(&from).map_err(&lift)?.is_some();
        let lies_in = if is_staged { &from } else { &to };
        if !self.disk.is_intact(lies_in, file.bytes, file.crc32).map_err(&lift)? {
            let what = format!("{lies_in:?} is not the file that the manifest describes");
            return Err(self.fail("publish", &file.to, &what));
        }
        if !is_staged {
            return Ok(());
        }
        self.make_parent(&to).map_err(&lift)?;
        self.disk.rename(&from, &to).map_err(&lift)?;
        to.parent().map_or(Ok(()), |parent| self.disk.force_dir(parent)).map_err(&lift)
    }
}

impl Storage for Dir {
    fn place(&self) -> String {
        format!("{:?}", self.root)
    }

    fn names(&self, dir: &str) -> Result<Vec<String>, StorageError> {
        let names = self.disk.names(&self.at(dir)?).map_err(self.lift("list", dir))?;
        Ok(names.into_iter().filter_map(|name| name.into_string().ok()).collect())
    }

    fn list(&self, dir: &str) -> Result<Vec<StoredFile>, StorageError> {
        self.at(dir)?;
        let mut found = Vec::new();
        self.walk(dir, &mut found).map_err(self.lift("list", dir))?;
        found.sort();
        Ok(found)
    }

    fn read(&self, path: &str) -> Result<Option<Vec<u8>>, StorageError> {
        self.disk.read(&self.at(path)?).map_err(self.lift("read", path))
    }

    fn len(&self, path: &str) -> Result<Option<u64>, StorageError> {
        self.disk.len(&self.at(path)?).map_err(self.lift("read", path))
    }

    fn replace(&self, path: &str, bytes: &[u8]) -> Result<(), StorageError> {
        let full = self.at(path)?;
        let done = self.make_parent(&full).and_then(|()| self.disk.replace(&full, bytes));
        done.map_err(self.lift("write", path))
    }

    fn create(&self, path: &str, bytes: &[u8]) -> Result<bool, StorageError> {
        let full = self.at(path)?;
        let mut draft = full.as_os_str().to_owned();
        draft.push(format!(".{}.unfinished", nonce()));
        let draft = PathBuf::from(draft);
        // A link to a finished file: whole or not there, and only where the path is free.
        let made = self.make_parent(&full).and_then(|()| {
            self.disk.replace(&draft, bytes)?;
            let made = self.disk.link(&draft, &full)?;
            self.disk.remove(&draft)?;
            full.parent().map_or(Ok(()), |parent| self.disk.force_dir(parent))?;
            Ok(made)
        });
        made.map_err(self.lift("create", path))
    }

    fn upload(&self, files: &[Upload]) -> Result<(), StorageError> {
        for file in files {
            let bytes = std::fs::read(&file.from).map_err(|error| self.fail("upload", &file.to, &error))?;
            self.replace(&file.to, &bytes)?;
        }
        Ok(())
    }

    fn publish(&self, files: &[Publish]) -> Result<(), StorageError> {
        files.iter().try_for_each(|file| self.publish_one(file))
    }

    fn remove(&self, paths: &[String]) -> Result<(), StorageError> {
        for path in paths {
            let full = self.at(path)?;
            self.disk.remove(&full).map_err(self.lift("remove", path))?;
            // Directories that became empty go too, as they do where directories are just parts of names.
            let parents = full.ancestors().skip(1).take_while(|dir| *dir != self.root);
            for parent in parents {
                if std::fs::remove_dir(parent).is_err() {
                    break;
                }
            }
        }
        Ok(())
    }

    fn remove_dir(&self, dir: &str) -> Result<(), StorageError> {
        self.disk.remove_tree(&self.at(dir)?).map_err(self.lift("remove", dir))
    }
}
