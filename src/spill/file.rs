//! A temporary file of framed blocks that only the process that wrote them can read.
//!
//! ```text
//! frame = header (56 bytes) + elements, as they lie in memory
//! ```
//!
//! The header names the process, a random number drawn once a process, the file, the position and the
//! element's size. A frame is decoded only if all of that is as expected and the CRC-32 over header and
//! elements holds.

use std::fs::{self, File, OpenOptions};
use std::hash::{BuildHasher, RandomState};
use std::io::{self, Seek, SeekFrom, Write};
use std::marker::PhantomData;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use bytemuck::{Pod, Zeroable};

use super::codec::{Codec, Element};
use super::error::SpillError;

/// Says that the bytes are a frame of the layout below.
const MAGIC: [u8; 8] = *b"tidespil";
const VERSION: u16 = 1;
/// Reads as another number where bytes are in the other order.
const BYTE_ORDER: u16 = 0x0102;

/// What precedes the elements of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
struct Header {
    magic: [u8; 8],
    version: u16,
    byte_order: u16,
    element_bytes: u32,
    process: u32,
    elements: u32,
    nonce: u64,
    file: u64,
    position: u64,
    codec: u32,
    /// CRC-32 (IEEE) of the header with this member zero, and the elements.
    crc: u32,
}

/// A block of elements in a [`SpillFile`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Block {
    position: u64,
    elements: u32,
}

impl Block {
    /// How many elements it holds.
    pub fn elements(self) -> usize {
        self.elements as usize
    }
}

/// A temporary file of blocks of `T`, gone when it is dropped or its process dies.
///
/// # Guarantees
/// * A block is read back as it was written, or the error says that it cannot be. After a failed
///   write the blocks before it are intact.
/// * On Unix the file has no name from the start, so that not even `kill -9` leaves anything behind;
///   elsewhere it is removed when dropped. Its contents are readable by the owner only.
/// # Errors
/// See [`SpillError`].
#[derive(Debug)]
pub struct SpillFile<T> {
    // Closed before it is removed: the order of the members is that of their drops.
    file: File,
    _name: Option<Name>,
    directory: PathBuf,
    codec: Codec,
    serial: u64,
    end: u64,
    scratch: Vec<u8>,
    elements: PhantomData<T>,
}

impl<T: Element> SpillFile<T> {
    /// A new file in `directory`, which must exist.
    ///
    /// # Errors
    /// [`SpillError::NoSpace`], [`SpillError::Io`].
    pub fn create(directory: &Path, codec: Codec) -> Result<Self, SpillError> {
        static SERIAL: AtomicU64 = AtomicU64::new(0);
        let serial = SERIAL.fetch_add(1, Ordering::Relaxed);
        let path = directory.join(format!("tidegate-spill-{}-{:016x}-{serial}", std::process::id(), nonce()));
        let failed = |action| move |source| SpillError::from_io(action, directory, source);
        let file = private().open(&path).map_err(failed("create"))?;
        let name = if cfg!(unix) {
            fs::remove_file(&path).map_err(failed("unlink"))?;
            None
        } else {
            Some(Name(path))
        };
        Ok(SpillFile {
            file,
            _name: name,
            directory: directory.to_owned(),
            codec,
            serial,
            end: 0,
            scratch: Vec::new(),
            elements: PhantomData,
        })
    }

    /// Writes `elements` as one block.
    ///
    /// # Errors
    /// [`SpillError::NoSpace`], [`SpillError::Io`], [`SpillError::TooLong`], [`SpillError::NotPlain`]. The
    /// file is as before.
    pub fn append(&mut self, elements: &[T]) -> Result<Block, SpillError> {
        let count = u32::try_from(elements.len());
        let count = count.map_err(|_| SpillError::TooLong { elements: elements.len() })?;
        let block = Block { position: self.end, elements: count };
        let mut header = self.header(block);
        let payload = self.codec.encode(elements, &mut self.scratch)?;
        header.crc = checksum(&header, payload);
        let written = self
            .file
            .seek(SeekFrom::Start(self.end))
            .and_then(|_| self.file.write_all(bytemuck::bytes_of(&header)))
            .and_then(|()| self.file.write_all(payload));
        match written {
            Ok(()) => {
                self.end += (size_of::<Header>() + payload.len()) as u64;
                Ok(block)
            }
            Err(error) => {
                // Gives back what space the torn frame took. Should it fail, the next block overwrites the
                // frame.
                self.file.set_len(self.end).ok();
                Err(SpillError::from_io("write", &self.directory, error))
            }
        }
    }

    /// Reads `block` into `elements`, replacing what they were; after an error they are empty.
    ///
    /// # Errors
    /// [`SpillError::Torn`], [`SpillError::Foreign`], [`SpillError::Io`], [`SpillError::NotPlain`].
    pub fn read(&self, block: Block, elements: &mut Vec<T>) -> Result<(), SpillError> {
        let read = self.read_verified(block, elements).and_then(|()| self.codec.decode(elements));
        if read.is_err() {
            elements.clear();
        }
        read
    }

    /// How many bytes the file holds.
    pub fn bytes(&self) -> u64 {
        self.end
    }

    /// Reads a block's bytes into the place of elements, and verifies all that can be verified.
    fn read_verified(&self, block: Block, elements: &mut Vec<T>) -> Result<(), SpillError> {
        let position = block.position;
        let failed = |error: io::Error| match error.kind() {
            io::ErrorKind::UnexpectedEof => SpillError::Torn { position },
            _ => SpillError::from_io("read", &self.directory, error),
        };
        let mut header = Header::zeroed();
        self.read_at(bytemuck::bytes_of_mut(&mut header), position).map_err(failed)?;
        // Elements aligned for `T` first, bytes into their place second: that is what makes the buffer
        // aligned.
        elements.clear();
        elements.resize(block.elements(), T::zeroed());
        let payload = bytemuck::cast_slice_mut(elements);
        self.read_at(payload, position + size_of::<Header>() as u64).map_err(failed)?;
        let crc = std::mem::take(&mut header.crc);
        if checksum(&header, payload) != crc {
            return Err(SpillError::Torn { position });
        }
        if header == self.header(block) { Ok(()) } else { Err(SpillError::Foreign { position }) }
    }

    /// The header of `block` without its checksum.
    fn header(&self, block: Block) -> Header {
        Header {
            magic: MAGIC,
            version: VERSION,
            byte_order: BYTE_ORDER,
            // No type is 4 GiB large.
            element_bytes: size_of::<T>() as u32,
            process: std::process::id(),
            elements: block.elements,
            nonce: nonce(),
            file: self.serial,
            position: block.position,
            codec: self.codec as u32,
            crc: 0,
        }
    }

    #[cfg(unix)]
    fn read_at(&self, bytes: &mut [u8], position: u64) -> io::Result<()> {
        std::os::unix::fs::FileExt::read_exact_at(&self.file, bytes, position)
    }

    #[cfg(not(unix))]
    fn read_at(&self, bytes: &mut [u8], position: u64) -> io::Result<()> {
        use std::io::Read;
        let mut file = &self.file;
        file.seek(SeekFrom::Start(position))?;
        file.read_exact(bytes)
    }
}

/// The CRC-32 of a header whose `crc` is zero, and the bytes behind it.
fn checksum(header: &Header, payload: &[u8]) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(bytemuck::bytes_of(header));
    crc.update(payload);
    crc.finalize()
}

/// A random number drawn once a process: tells it from one that had its process id before.
fn nonce() -> u64 {
    static NONCE: OnceLock<u64> = OnceLock::new();
    // The standard library seeds it from the system's random numbers.
    *NONCE.get_or_init(|| RandomState::new().hash_one(std::process::id()))
}

/// How a spill file is opened: new, and for nobody else's eyes.
fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
}

/// A file's name, removed when dropped.
#[derive(Debug)]
struct Name(PathBuf);

impl Drop for Name {
    fn drop(&mut self) {
        // There is nobody to tell; what stays is an unreadable file named after this crate.
        fs::remove_file(&self.0).ok();
    }
}

#[cfg(test)]
mod tests {
    use abomonation::Abomonation;
    use tempfile::tempdir;

    use super::*;

    #[derive(Clone, Copy, Debug, PartialEq, Pod, Zeroable)]
    #[repr(C)]
    struct Partial {
        key: u64,
        sum: f64,
    }

    impl Abomonation for Partial {}

    fn partials(count: u64) -> Vec<Partial> {
        (0..count).map(|key| Partial { key, sum: key as f64 / 8.0 }).collect()
    }

    fn files<T: Element>() -> impl Iterator<Item = (SpillFile<T>, tempfile::TempDir)> {
        [Codec::Abomonation, Codec::Bytemuck].into_iter().map(|codec| {
            let directory = tempdir().unwrap();
            (SpillFile::create(directory.path(), codec).unwrap(), directory)
        })
    }

    /// Overwrites bytes of the file behind its back.
    fn tamper<T>(file: &mut SpillFile<T>, position: u64, bytes: &[u8]) {
        file.file.seek(SeekFrom::Start(position)).unwrap();
        file.file.write_all(bytes).unwrap();
    }

    fn frame<T: Element>(file: &SpillFile<T>) -> Vec<u8> {
        let mut bytes = vec![0; file.bytes() as usize];
        file.read_at(&mut bytes, 0).unwrap();
        bytes
    }

    #[test]
    fn blocks_read_back_as_written_in_any_order() {
        for (mut file, _directory) in files() {
            let (few, many) = (partials(3), partials(100));
            let blocks = [file.append(&few), file.append(&[]), file.append(&many)].map(Result::unwrap);
            let mut read = partials(1);
            for (block, expected) in blocks.into_iter().zip([&few[..], &[], &many]).rev() {
                file.read(block, &mut read).unwrap();
                assert_eq!(read, expected);
            }
        }
    }

    #[test]
    fn every_changed_byte_is_noticed_before_decoding() {
        for (mut file, _directory) in files() {
            let block = file.append(&partials(2)).unwrap();
            let good = frame(&file);
            for at in 0..good.len() {
                tamper(&mut file, at as u64, &[good[at] ^ 0x10]);
                let mut read = partials(1);
                assert!(
                    matches!(file.read(block, &mut read), Err(SpillError::Torn { position: 0 })),
                    "byte {at}"
                );
                assert!(read.is_empty());
                tamper(&mut file, at as u64, &good[at..=at]);
            }
            file.read(block, &mut Vec::new()).unwrap();
        }
    }

    #[test]
    fn every_cut_is_noticed() {
        for (mut file, _directory) in files() {
            let block = file.append(&partials(2)).unwrap();
            for len in (0..file.bytes()).rev() {
                file.file.set_len(len).unwrap();
                assert!(
                    matches!(file.read(block, &mut Vec::new()), Err(SpillError::Torn { .. })),
                    "{len} bytes"
                );
            }
        }
    }

    #[test]
    fn whole_frames_from_elsewhere_are_foreign() {
        for (mut file, directory) in files() {
            let block = file.append(&partials(2)).unwrap();
            let mut other = SpillFile::create(directory.path(), file.codec).unwrap();
            other.append(&partials(2)).unwrap();
            tamper(&mut file, 0, &frame(&other));
            assert!(matches!(file.read(block, &mut Vec::new()), Err(SpillError::Foreign { position: 0 })));

            // This file's own frame, from another place.
            let second = file.append(&partials(2)).unwrap();
            let whole = frame(&file);
            tamper(&mut file, 0, &whole[second.position as usize..]);
            assert!(matches!(file.read(block, &mut Vec::new()), Err(SpillError::Foreign { .. })));
            file.read(second, &mut Vec::new()).unwrap();

            // Another process's: the same but for its nonce or number, with a checksum that holds.
            for (nonce, process) in [(nonce() ^ 1, std::process::id()), (nonce(), std::process::id() ^ 1)] {
                let mut header = Header { nonce, process, ..file.header(block) };
                let elements = partials(2);
                header.crc = checksum(&header, bytemuck::cast_slice(&elements));
                tamper(&mut file, 0, bytemuck::bytes_of(&header));
                assert!(matches!(file.read(block, &mut Vec::new()), Err(SpillError::Foreign { .. })));
            }
        }
    }

    #[test]
    fn file_has_no_name_or_loses_it() {
        let (file, directory) = files::<u64>().next().unwrap();
        if cfg!(unix) {
            assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
        }
        drop(file);
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
    }

    #[test]
    fn missing_directory_is_a_typed_error() {
        let directory = tempdir().unwrap();
        let created = SpillFile::<u64>::create(&directory.path().join("missing"), Codec::Bytemuck);
        assert!(matches!(created, Err(SpillError::Io { action: "create", .. })));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn full_disk_is_a_typed_error_and_can_be_tried_again() {
        for (mut file, _directory) in files() {
            let first = file.append(&partials(2)).unwrap();
            let full = OpenOptions::new().read(true).write(true).open("/dev/full").unwrap();
            let disk = std::mem::replace(&mut file.file, full);
            let error = file.append(&partials(3)).unwrap_err();
            assert!(matches!(error, SpillError::NoSpace { .. }) && error.is_retriable(), "{error}");
            file.file = disk;
            let mut read = Vec::new();
            file.read(first, &mut read).unwrap();
            assert_eq!(read, partials(2));
            let second = file.append(&partials(3)).unwrap();
            file.read(second, &mut read).unwrap();
            assert_eq!(read, partials(3));
        }
    }
}
