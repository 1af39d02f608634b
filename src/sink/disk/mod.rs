//! The file system as the embedded sinks use it: every change goes through here, with its path in the error.
//!
//! Two things hang on this. Whether files are forced to the device is decided in one place
//! ([`Durability`]), and a test can stop a sink at each single change and throw away what was not forced,
//! so that recovery is tried at every instant and not only at the likely ones (`disk/faults.rs`).

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use super::SinkError;

#[cfg(test)]
pub(crate) mod faults;

/// What an embedded sink's finished steps outlive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// The end of the process, `kill -9` included. Enough where a lost machine means starting afresh: a replay.
    Process,
    /// Also the loss of power: files and directories are forced to the device before a step counts as done.
    Power,
}

/// A change or a read that the file system refused.
#[derive(Debug)]
pub(crate) struct DiskError {
    verb: &'static str,
    path: PathBuf,
    cause: io::Error,
}

impl DiskError {
    /// The error as a sink's: worth another try when the disk is full or busy.
    pub(crate) fn of(self, sink: &str) -> SinkError {
        let (can_wait, sink, cause) = (self.can_wait(), sink.to_owned(), self.to_string());
        if can_wait { SinkError::Unavailable { sink, cause } } else { SinkError::Failed { sink, cause } }
    }

    /// Whether another try can help: the disk is full or busy.
    pub(crate) fn can_wait(&self) -> bool {
        use io::ErrorKind::{Interrupted, QuotaExceeded, ResourceBusy, StorageFull};
        matches!(self.cause.kind(), StorageFull | QuotaExceeded | ResourceBusy | Interrupted)
    }
}

impl fmt::Display for DiskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot {} {:?}: {}", self.verb, self.path, self.cause)
    }
}

impl std::error::Error for DiskError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.cause)
    }
}

/// Adds the path and the verb to an error of the system.
fn at<T>(verb: &'static str, path: &Path, result: io::Result<T>) -> Result<T, DiskError> {
    result.map_err(|cause| DiskError { verb, path: path.to_owned(), cause })
}

/// The file system, at a chosen durability.
#[derive(Clone, Debug)]
pub(crate) struct Disk {
    durability: Durability,
    #[cfg(test)]
    faults: Option<std::sync::Arc<faults::Faults>>,
}

impl Disk {
    pub(crate) fn new(durability: Durability) -> Self {
        Disk {
            durability,
            #[cfg(test)]
            faults: None,
        }
    }

    /// Whether steps must outlive a loss of power.
    pub(crate) fn forces(&self) -> bool {
        self.durability == Durability::Power
    }

    /// Creates a directory and those above it.
    pub(crate) fn create_dirs(&self, path: &Path) -> Result<(), DiskError> {
        if path.is_dir() {
            return Ok(());
        }
        at("create", path, self.allow().and_then(|()| fs::create_dir_all(path)))
    }

    /// Opens a new file for writing; what is there under the name is emptied.
    pub(crate) fn create(&self, path: &Path) -> Result<DiskFile, DiskError> {
        self.about_to_write(path, 0);
        let file = at("create", path, self.allow().and_then(|()| File::create(path)))?;
        Ok(DiskFile {
            file,
            path: path.to_owned(),
            disk: self.clone(),
            checksum: crc32fast::Hasher::new(),
            len: 0,
        })
    }

    /// Makes a file hold its first `from` bytes and then `bytes`; creates it where there is none.
    pub(crate) fn append(&self, path: &Path, from: u64, bytes: &[u8]) -> Result<(), DiskError> {
        let mut file = self.open_end(path, from)?;
        at("write", path, self.write_through(&mut file, bytes))
    }

    /// Cuts a file to its first `from` bytes and opens it for writing there; creates it where there is none.
    fn open_end(&self, path: &Path, from: u64) -> Result<File, DiskError> {
        self.about_to_write(path, from);
        let open = || {
            self.allow()?;
            let mut file = OpenOptions::new().create(true).write(true).truncate(false).open(path)?;
            if file.metadata()?.len() < from {
                return Err(io::Error::new(
                    io::ErrorKind::UnexpectedEof,
                    format!("shorter than {from} bytes"),
                ));
            }
            file.set_len(from)?;
            file.seek(SeekFrom::Start(from))?;
            Ok(file)
        };
        at("write", path, open())
    }

    /// Makes `to` hold its first `from` bytes and then `len` bytes of `source` from `skip` on.
    pub(crate) fn append_file(
        &self,
        to: &Path,
        from: u64,
        source: &Path,
        skip: u64,
        len: u64,
    ) -> Result<(), DiskError> {
        let mut out = self.open_end(to, from)?;
        let mut copy = || {
            self.allow()?;
            let mut input = File::open(source)?;
            input.seek(SeekFrom::Start(skip))?;
            if io::copy(&mut input.take(len), &mut out)? != len {
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "shorter than it should be"));
            }
            Ok(())
        };
        at("copy", source, copy())
    }

    /// Forces a file's content to the device.
    pub(crate) fn force(&self, path: &Path) -> Result<(), DiskError> {
        if self.forces() {
            at("force", path, self.allow().and_then(|()| self.sync(&File::open(path)?)))?;
            self.forced(path);
        }
        Ok(())
    }

    /// Forces a directory's entries to the device: names made, changed and removed in it.
    pub(crate) fn force_dir(&self, path: &Path) -> Result<(), DiskError> {
        if self.forces() {
            at("force", path, self.allow().and_then(|()| self.sync(&File::open(path)?)))?;
            self.forced_dir(path);
        }
        Ok(())
    }

    /// Forces a directory and those above it, as far as and including `root`.
    pub(crate) fn force_dirs_up_to(&self, path: &Path, root: &Path) -> Result<(), DiskError> {
        let below = path.ancestors().take_while(|dir| dir.starts_with(root));
        below.into_iter().try_for_each(|dir| self.force_dir(dir))
    }

    /// Gives a file another name; what is there under it is replaced.
    pub(crate) fn rename(&self, from: &Path, to: &Path) -> Result<(), DiskError> {
        at("publish", to, self.allow())?;
        self.about_to_rename(from, to);
        at("publish", to, fs::rename(from, to))
    }

    /// Gives a file a second name, which must be free; `false` where the file system cannot.
    pub(crate) fn link(&self, from: &Path, to: &Path) -> Result<bool, DiskError> {
        at("link", to, self.allow())?;
        let linked = fs::hard_link(from, to).is_ok();
        if linked {
            self.linked(from, to);
        }
        Ok(linked)
    }

    /// Removes a file, if it is there.
    pub(crate) fn remove(&self, path: &Path) -> Result<(), DiskError> {
        at("remove", path, self.allow())?;
        self.about_to_remove(path);
        at("remove", path, absent_is_fine(fs::remove_file(path)))
    }

    /// Removes an empty directory, if it is there.
    pub(crate) fn remove_dir(&self, path: &Path) -> Result<(), DiskError> {
        at("remove", path, self.allow().and_then(|()| absent_is_fine(fs::remove_dir(path))))
    }

    /// Removes a file, or a directory with all that is in it, if it is there.
    pub(crate) fn remove_tree(&self, path: &Path) -> Result<(), DiskError> {
        let remove = || if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
        at("remove", path, self.allow().and_then(|()| absent_is_fine(remove())))
    }

    /// Replaces a file in one step: a reader, and a recovery, sees the old content or the new.
    pub(crate) fn replace(&self, path: &Path, bytes: &[u8]) -> Result<(), DiskError> {
        let mut draft = path.as_os_str().to_owned();
        draft.push(".tmp");
        let draft = PathBuf::from(draft);
        let mut file = self.create(&draft)?;
        file.push(bytes)?;
        file.finish()?;
        self.rename(&draft, path)?;
        match path.parent() {
            Some(dir) => self.force_dir(dir),
            None => Ok(()),
        }
    }

    /// The content of a file, `None` where there is none.
    pub(crate) fn read(&self, path: &Path) -> Result<Option<Vec<u8>>, DiskError> {
        match fs::read(path) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(cause) => at("read", path, Err(cause)),
        }
    }

    /// A file opened for reading.
    pub(crate) fn open(&self, path: &Path) -> Result<File, DiskError> {
        at("read", path, File::open(path))
    }

    /// The length of a file, `None` where there is none.
    pub(crate) fn len(&self, path: &Path) -> Result<Option<u64>, DiskError> {
        match fs::metadata(path) {
            Ok(found) => Ok(Some(found.len())),
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(cause) => at("read", path, Err(cause)),
        }
    }

    /// Whether a file has `bytes` bytes and, where it is given, this CRC-32: whether it is the one that was described.
    pub(crate) fn is_intact(&self, path: &Path, bytes: u64, crc32: Option<u32>) -> Result<bool, DiskError> {
        if self.len(path)? != Some(bytes) {
            return Ok(false);
        }
        crc32.map_or(Ok(true), |crc32| Ok(checksum(path, bytes)? == crc32))
    }

    /// The names in a directory, in byte order; none where there is no directory.
    pub(crate) fn names(&self, path: &Path) -> Result<Vec<std::ffi::OsString>, DiskError> {
        let entries = match fs::read_dir(path) {
            Ok(entries) => entries,
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(cause) => return at("read", path, Err(cause)),
        };
        let names = entries.map(|entry| entry.map(|entry| entry.file_name()));
        let mut names = at("read", path, names.collect::<io::Result<Vec<_>>>())?;
        names.sort();
        Ok(names)
    }

    /// Waits for the lock that lies in `path` and holds it until the file is dropped.
    pub(crate) fn lock(&self, path: &Path) -> Result<File, DiskError> {
        let lock = || {
            let file = OpenOptions::new().create(true).write(true).truncate(false).open(path)?;
            file.lock()?;
            Ok(file)
        };
        at("lock", path, lock())
    }

    #[cfg(not(test))]
    fn sync(&self, file: &File) -> io::Result<()> {
        file.sync_all()
    }

    #[cfg(not(test))]
    fn write_through(&self, file: &mut File, bytes: &[u8]) -> io::Result<()> {
        file.write_all(bytes)
    }
}

/// What tests watch and refuse; nothing outside of tests.
#[cfg(not(test))]
impl Disk {
    #[inline(always)]
    fn allow(&self) -> io::Result<()> {
        Ok(())
    }
    #[inline(always)]
    fn about_to_write(&self, _path: &Path, _from: u64) {}
    #[inline(always)]
    fn about_to_rename(&self, _from: &Path, _to: &Path) {}
    #[inline(always)]
    fn about_to_remove(&self, _path: &Path) {}
    #[inline(always)]
    fn linked(&self, _from: &Path, _to: &Path) {}
    #[inline(always)]
    fn forced(&self, _path: &Path) {}
    #[inline(always)]
    fn forced_dir(&self, _path: &Path) {}
}

/// A new file being written, with the checksum of what went in.
#[derive(Debug)]
pub(crate) struct DiskFile {
    file: File,
    path: PathBuf,
    disk: Disk,
    checksum: crc32fast::Hasher,
    len: u64,
}

impl DiskFile {
    /// Adds bytes.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> Result<(), DiskError> {
        at("write", &self.path, self.disk.write_through(&mut self.file, bytes))?;
        self.checksum.update(bytes);
        self.len += bytes.len() as u64;
        Ok(())
    }

    /// Ends the file, forced where durability asks for it: its length and its CRC-32.
    pub(crate) fn finish(self) -> Result<(u64, u32), DiskError> {
        if self.disk.forces() {
            at("force", &self.path, self.disk.allow().and_then(|()| self.disk.sync(&self.file)))?;
            self.disk.forced(&self.path);
        }
        Ok((self.len, self.checksum.finalize()))
    }
}

/// Its errors name the file, whoever writes it.
impl Write for DiskFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.push(bytes).map_err(|error| io::Error::new(error.cause.kind(), error))?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The CRC-32 of the first `len` bytes of a file; an error where it is shorter.
pub(crate) fn checksum(path: &Path, len: u64) -> Result<u32, DiskError> {
    let sum = || {
        let mut input = File::open(path)?.take(len);
        let (mut hasher, mut buffer, mut seen) = (crc32fast::Hasher::new(), vec![0; 1 << 18], 0);
        loop {
            let n = input.read(&mut buffer)?;
            if n == 0 {
                break;
            }
            hasher.update(&buffer[..n]);
            seen += n as u64;
        }
        if seen != len {
            return Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                format!("{seen} bytes in place of {len}"),
            ));
        }
        Ok(hasher.finalize())
    };
    at("read", path, sum())
}

fn absent_is_fine(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}
