//! Batches of rows in a file, each in a frame with its own checksum.
//!
//! | bytes | field |
//! | --- | --- |
//! | 4 | the table's number, little-endian |
//! | 4 | length of the content in bytes |
//! | 4 | CRC-32 of the two fields above and of the content |
//! | … | the [`RowBatch`], by bincode |

use std::fs::File;
use std::io::{BufReader, Read};

use crate::rows::RowBatch;
use crate::sink::disk::DiskFile;

/// Bytes are handed to the system in pieces of about this size.
const BUFFER: usize = 1 << 18;

/// Writes frames to a new file.
#[derive(Debug)]
pub(super) struct FrameWriter {
    file: DiskFile,
    buffer: Vec<u8>,
    rows: u64,
}

impl FrameWriter {
    pub(super) fn new(file: DiskFile) -> Self {
        FrameWriter { file, buffer: Vec::new(), rows: 0 }
    }

    /// How many rows went in.
    pub(super) fn rows(&self) -> u64 {
        self.rows
    }

    /// Adds a frame.
    pub(super) fn push(&mut self, table: usize, rows: &RowBatch) -> Result<(), String> {
        let start = self.buffer.len();
        let table = u32::try_from(table).map_err(|_| "more tables than a frame can number".to_owned())?;
        self.buffer.extend_from_slice(&table.to_le_bytes());
        self.buffer.extend_from_slice(&[0; 8]);
        bincode::serialize_into(&mut self.buffer, rows).map_err(|error| error.to_string())?;
        let len =
            u32::try_from(self.buffer.len() - start - 12).map_err(|_| "a batch of over 4 GiB".to_owned())?;
        self.buffer[start + 4..start + 8].copy_from_slice(&len.to_le_bytes());
        let crc = frame_crc(&self.buffer[start..start + 8], &self.buffer[start + 12..]);
        self.buffer[start + 8..start + 12].copy_from_slice(&crc.to_le_bytes());
        self.rows += rows.len() as u64;
        if self.buffer.len() >= BUFFER { self.flush() } else { Ok(()) }
    }

    /// Hands all frames to the system.
    fn flush(&mut self) -> Result<(), String> {
        self.file.push(&self.buffer).map_err(|error| error.to_string())?;
        self.buffer.clear();
        Ok(())
    }

    /// Ends the file: its length and its CRC-32.
    pub(super) fn finish(mut self) -> Result<(u64, u32), String> {
        self.flush()?;
        self.file.finish().map_err(|error| error.to_string())
    }
}

/// Reads frames back.
#[derive(Debug)]
pub(super) struct FrameReader {
    input: BufReader<std::io::Take<File>>,
    left: u64,
    crc: crc32fast::Hasher,
    content: Vec<u8>,
}

impl FrameReader {
    /// Reads the first `len` bytes of `input`.
    pub(super) fn new(input: File, len: u64) -> Self {
        FrameReader {
            input: BufReader::with_capacity(BUFFER, input.take(len)),
            left: len,
            crc: crc32fast::Hasher::new(),
            content: Vec::new(),
        }
    }

    /// The next frame, `None` at the end; an error names what is damaged.
    pub(super) fn next(&mut self) -> Result<Option<(usize, RowBatch)>, String> {
        if self.left == 0 {
            return Ok(None);
        }
        let cut = |_| "the file is cut short".to_owned();
        let mut head = [0; 12];
        self.input.read_exact(&mut head).map_err(cut)?;
        let field = |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
        let (table, len, crc) = (field(0), field(4), field(8));
        // Checked before the content is given room, so that a damaged length asks for no memory.
        let left = self.left.checked_sub(12 + u64::from(len)).ok_or("a frame is longer than the file")?;
        self.content.resize(len as usize, 0);
        self.input.read_exact(&mut self.content).map_err(cut)?;
        if frame_crc(&head[..8], &self.content) != crc {
            return Err("a frame's checksum is wrong".to_owned());
        }
        self.crc.update(&head);
        self.crc.update(&self.content);
        self.left = left;
        let rows = bincode::deserialize(&self.content).map_err(|error| error.to_string())?;
        Ok(Some((table as usize, rows)))
    }

    /// The CRC-32 of what was read.
    pub(super) fn crc32(&self) -> u32 {
        self.crc.clone().finalize()
    }
}

fn frame_crc(head: &[u8], content: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(head);
    hasher.update(content);
    hasher.finalize()
}
