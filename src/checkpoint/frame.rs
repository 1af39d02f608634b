//! The envelope of every file of a checkpoint: a magic, the format's version, the length and a checksum.
//!
//! ```text
//! "TIDEGATE" │ version u32 │ CRC-32C of all the rest u32 │ length of the body u64 │ body (bincode)
//! ```

use serde::Serialize;
use serde::de::DeserializeOwned;
use thiserror::Error;

/// The version that this program writes; it reads every one up to it.
pub const VERSION: u32 = 6;

const MAGIC: &[u8; 8] = b"TIDEGATE";
const HEADER: usize = 24;

/// What is wrong with a file.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Damage {
    /// It is not whole, or not what was written.
    #[error("it is damaged: {0}")]
    Damaged(String),
    /// It was written by a later version.
    #[error("it has format {0}")]
    TooNew(u32),
}

/// `content` in its envelope.
pub fn pack<T: Serialize>(content: &T) -> Result<Vec<u8>, Damage> {
    pack_as(VERSION, content)
}

/// The same as format `version`.
pub(super) fn pack_as<T: Serialize>(version: u32, content: &T) -> Result<Vec<u8>, Damage> {
    let mut bytes = vec![0; HEADER];
    bincode::serialize_into(&mut bytes, content).map_err(|error| Damage::Damaged(error.to_string()))?;
    let len = (bytes.len() - HEADER) as u64;
    bytes[..8].copy_from_slice(MAGIC);
    bytes[8..12].copy_from_slice(&version.to_le_bytes());
    bytes[16..24].copy_from_slice(&len.to_le_bytes());
    let crc = checksum(&bytes);
    bytes[12..16].copy_from_slice(&crc.to_le_bytes());
    Ok(bytes)
}

/// The CRC-32C of the version and of all that stands behind the checksum.
fn checksum(bytes: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&bytes[8..12]), &bytes[16..])
}

/// The content of an envelope, where all versions have written it alike.
///
/// # Errors
/// [`Damage`]: nothing of a file that is not exactly as it was written is used.
pub fn unpack<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Damage> {
    let (_, body) = open(bytes)?;
    bincode::deserialize(body).map_err(|error| Damage::Damaged(error.to_string()))
}

/// The format's version and the body of a whole file.
pub(super) fn open(bytes: &[u8]) -> Result<(u32, &[u8]), Damage> {
    let damaged = |what: &str| Damage::Damaged(what.to_owned());
    let (header, body) = bytes.split_at_checked(HEADER).ok_or_else(|| damaged("it is cut in its header"))?;
    let word = |at: usize| u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
    if &header[..8] != MAGIC {
        return Err(damaged("it does not begin as a checkpoint's file does"));
    }
    let len = u64::from(word(16)) | u64::from(word(20)) << 32;
    if len != body.len() as u64 {
        return Err(damaged(&format!("it holds {} bytes of {len}", body.len())));
    }
    if checksum(bytes) != word(12) {
        return Err(damaged("its checksum is wrong"));
    }
    if word(8) > VERSION {
        return Err(Damage::TooNew(word(8)));
    }
    Ok((word(8), body))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_packed_comes_back() {
        let bytes = pack(&vec!["a".to_owned(), "b".to_owned()]).unwrap();
        assert_eq!(unpack::<Vec<String>>(&bytes).unwrap(), ["a", "b"]);
    }

    #[test]
    fn every_cut_and_every_flipped_bit_is_found() {
        let bytes = pack(&(7u64, "state".to_owned())).unwrap();
        for len in 0..bytes.len() {
            assert!(unpack::<(u64, String)>(&bytes[..len]).is_err(), "cut at {len}");
        }
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(unpack::<(u64, String)>(&flipped).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn later_version_is_told_apart_from_damage() {
        let mut bytes = pack(&1u8).unwrap();
        bytes[8] = VERSION as u8 + 1;
        let crc = checksum(&bytes);
        bytes[12..16].copy_from_slice(&crc.to_le_bytes());
        assert_eq!(unpack::<u8>(&bytes), Err(Damage::TooNew(VERSION + 1)));
    }
}
