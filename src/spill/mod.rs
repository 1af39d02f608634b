//! Spilling plain-old-data elements to local disk, and reading them back.
//!
//! State that outgrows its memory limit leaves in blocks of elements, and comes back block by block:
//!
//! ```text
//! window::cold: keys and partials of a pane, as words ──append──► SpillFile ──read──► a share of the pane
//!                          frames in an unlinked file, read by nobody but this process
//! ```
//!
//! A [`Word`] is what tidegate itself spills: a key's hash, two lengths, and the bytes of the key and of its partial aggregate
//! in a serialised form. Any other plain-old-data can be.
//!
//! A spill file is no checkpoint: it dies with its process, and a restart begins without it. So nothing in it
//! has to be portable, versioned or trusted, and that is what makes it the one place where tidegate uses
//! **abomonation**.
//!
//! # Why abomonation here, and nowhere else
//! The crate writes values as they lie in memory, and is unmaintained with known unsoundness
//! (RUSTSEC-2021-0120): it decodes into references that may be misaligned, writes out padding, and believes
//! any bytes it is given, lengths and enum discriminants included. Timely no longer uses it; users of this
//! crate have asked for it by name. Each of its faults is excluded here, by types and checks, not by care:
//!
//! | fault | why it cannot happen here |
//! | --- | --- |
//! | misaligned references | bytes are read into a `Vec<T>`, aligned for `T`; asserted before decoding |
//! | padding written out | [`bytemuck::Pod`] types have none |
//! | invalid values | every bit pattern of a [`bytemuck::Pod`] is valid; it has no pointers |
//! | an `Abomonation` that owns more | its extra length must be 0, both ways ([`SpillError::NotPlain`]) |
//! | bytes from elsewhere | a frame names process, nonce and place; a CRC-32; verified before decoding |
//!
//! One thing more: `abomonation::decode` makes a `&mut T` out of a `&mut u8` to its first byte. Miri accepts
//! that under Tree Borrows and rejects it under Stacked Borrows, at any alignment. So it is not called.
//! Elements are written by `abomonation::encode` and completed in place by `Abomonation::exhume`, the half of
//! `decode` that does the work; both are clean under both models.
//!
//! Checkpoints, the network and fixtures hold bytes that another build, machine or person wrote, or types
//! that own memory. None of the rows above holds there, so abomonation has no business there.
//!
//! What it costs beside [`bytemuck`], the safe alternative that stands next to it, is measured at [`Codec`].
//! The module's tests are clean under Miri with either model (`MIRIFLAGS=-Zmiri-disable-isolation cargo
//! +nightly miri test --lib spill`).
//!
//! # Examples
//! ```
//! use tidegate::spill::{Codec, SpillFile};
//!
//! let mut file = SpillFile::create(&std::env::temp_dir(), Codec::default())?;
//! let squares = file.append(&[1u64, 4, 9])?;
//! let mut read = Vec::new();
//! file.read(squares, &mut read)?;
//! assert_eq!(read, [1, 4, 9]);
//! # Ok::<(), tidegate::spill::SpillError>(())
//! ```

mod budget;
mod codec;
mod error;
mod file;
mod word;

pub use budget::Budget;
pub use codec::{Codec, Element};
pub use error::SpillError;
pub use file::{Block, SpillFile};
pub use word::Word;
