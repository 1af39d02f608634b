//! Panes on local disk: those of windows that are far from their close, when memory is short.
//!
//! A pane lies in a file of its own, so that its space is free when its window has closed, and in it by shares of its keys,
//! so that it comes back share by share. A pane that goes on growing in memory leaves again, as a further **part**; a key
//! is then in several, and they are merged when they come back.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use hashbrown::HashMap;

use super::panes::Slots;
use super::spec::Eligible;
use crate::aggregate::Aggregate;
use crate::keys::{KeyTable, key_group};
use crate::spill::{Block, Codec, SpillError, SpillFile};

/// Into how many shares the keys of a pane are divided.
const SHARES: usize = 16;

/// A block is written when it has so many bytes.
const BLOCK_BYTES: usize = 128 << 10;

/// Some keys of a pane, in one block.
struct Piece {
    block: Block,
    share: usize,
    part: u32,
    /// Whether a checkpoint does not hold it yet.
    is_unsaved: bool,
}

struct Pane {
    file: SpillFile<u8>,
    pieces: Vec<Piece>,
    /// In how many parts it has come here.
    parts: u32,
    /// The share that comes back next.
    next: usize,
}

/// Keys with their hashes and what is known of them.
pub(super) type Share<A> = HashMap<Vec<u8>, (u64, A)>;

/// The panes of one operator that are on disk.
pub(super) struct ColdPanes {
    directory: PathBuf,
    panes: BTreeMap<Eligible, Pane>,
}

impl ColdPanes {
    /// None yet; files are made in `directory`.
    pub(super) fn new(directory: &Path) -> Self {
        ColdPanes { directory: directory.to_owned(), panes: BTreeMap::new() }
    }

    /// The lowest (class, pane) of which there is something.
    pub(super) fn first(&self) -> Option<Eligible> {
        self.panes.first_key_value().map(|(at, _)| *at)
    }

    /// In how many parts a pane has come here.
    pub(super) fn parts(&self, at: Eligible) -> u32 {
        self.panes.get(&at).map_or(0, |pane| pane.parts)
    }

    /// Takes a pane's `table`; `is_unsaved` says of a key's number whether a checkpoint does not hold its partial.
    ///
    /// # Errors
    /// When it cannot be written; it is then as if nothing had been.
    pub(super) fn put<A: Aggregate>(
        &mut self,
        at: Eligible,
        table: &Slots<A>,
        keys: &KeyTable,
        is_unsaved: impl Fn(u32) -> bool,
    ) -> Result<(), SpillError> {
        let mut new = None;
        let pane = match self.panes.get_mut(&at) {
            Some(pane) => pane,
            None => new.insert(Pane {
                file: SpillFile::create(&self.directory, Codec::default())?,
                pieces: Vec::new(),
                parts: 0,
                next: 0,
            }),
        };
        let before = pane.pieces.len();
        let written = pane.write(table, keys, is_unsaved);
        match &written {
            Ok(()) => pane.parts += 1,
            Err(_) => pane.pieces.truncate(before),
        }
        if let Some(new) = new.filter(|_| written.is_ok()) {
            self.panes.insert(at, new);
        }
        written
    }

    /// The next share of a pane that there is, all its parts merged; `None` when it has come back whole.
    ///
    /// # Errors
    /// When it cannot be read.
    pub(super) fn next_share<A: Aggregate>(&mut self, at: Eligible) -> Result<Option<Share<A>>, SpillError> {
        let Some(pane) = self.panes.get_mut(&at) else { return Ok(None) };
        while pane.next < SHARES {
            let share = pane.next;
            pane.next += 1;
            let mut found = Share::new();
            for piece in pane.pieces.iter().filter(|piece| piece.share == share) {
                pane.read(piece, |hash, key, partial: A| {
                    found.entry(key).or_insert_with(|| (hash, A::default())).1.merge(&partial);
                })?;
            }
            if !found.is_empty() {
                return Ok(Some(found));
            }
        }
        self.panes.remove(&at);
        Ok(None)
    }

    /// Calls `each` with all that no checkpoint holds yet: its place, hash, part, key and partial.
    ///
    /// # Errors
    /// When it cannot be read.
    pub(super) fn save<A: Aggregate>(
        &mut self,
        each: &mut impl FnMut(Eligible, u32, u64, &[u8], &A),
    ) -> Result<(), SpillError> {
        for (at, pane) in &mut self.panes {
            for piece in pane.pieces.iter().filter(|piece| piece.is_unsaved && piece.share >= pane.next) {
                pane.read(piece, |hash, key, partial| each(*at, piece.part, hash, &key, &partial))?;
            }
            pane.pieces.iter_mut().for_each(|piece| piece.is_unsaved = false);
        }
        Ok(())
    }
}

impl Pane {
    fn write<A: Aggregate>(
        &mut self,
        table: &Slots<A>,
        keys: &KeyTable,
        is_unsaved: impl Fn(u32) -> bool,
    ) -> Result<(), SpillError> {
        let mut open: Vec<[Vec<u8>; 2]> = Vec::new();
        open.resize_with(SHARES, Default::default);
        let mut outcome = Ok(());
        table.for_each(|id, partial| {
            let hash = keys.hash(id);
            let (share, unsaved) = (key_group(hash) as usize % SHARES, usize::from(is_unsaved(id)));
            let bytes = &mut open[share][unsaved];
            // Writing to memory does not fail.
            bincode::serialize_into(&mut *bytes, &(hash, keys.key(id), partial)).unwrap_or_default();
            if bytes.len() >= BLOCK_BYTES && outcome.is_ok() {
                outcome = self.append(bytes, share, unsaved == 1);
                bytes.clear();
            }
        });
        outcome?;
        for (share, bytes) in open.iter().enumerate() {
            for (unsaved, bytes) in bytes.iter().enumerate().filter(|(_, bytes)| !bytes.is_empty()) {
                self.append(bytes, share, unsaved == 1)?;
            }
        }
        Ok(())
    }

    fn append(&mut self, bytes: &[u8], share: usize, is_unsaved: bool) -> Result<(), SpillError> {
        let block = self.file.append(bytes)?;
        self.pieces.push(Piece { block, share, part: self.parts, is_unsaved });
        Ok(())
    }

    fn read<A: Aggregate>(
        &self,
        piece: &Piece,
        mut each: impl FnMut(u64, Vec<u8>, A),
    ) -> Result<(), SpillError> {
        let mut bytes = Vec::new();
        self.file.read(piece.block, &mut bytes)?;
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            // Of a block whose checksum is right, it is what was written.
            let Ok((hash, key, partial)) = bincode::deserialize_from(&mut rest) else { break };
            each(hash, key, partial);
        }
        Ok(())
    }
}
