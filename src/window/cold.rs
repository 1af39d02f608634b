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
use crate::spill::{Block, Codec, SpillError, SpillFile, Word};

/// Into how many shares the keys of a pane are divided.
const SHARES: usize = 16;

/// A block is written when it has so many words: 128 KiB.
const BLOCK_WORDS: usize = 16 << 10;

/// Some keys of a pane, in one block.
struct Piece {
    block: Block,
    share: usize,
    part: u32,
    /// Whether a checkpoint does not hold it yet.
    is_unsaved: bool,
}

struct Pane {
    file: SpillFile<Word>,
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
        let mut open: Vec<[Vec<Word>; 2]> = Vec::new();
        open.resize_with(SHARES, Default::default);
        let (mut outcome, mut bytes) = (Ok(()), Vec::new());
        table.for_each(|id, partial| {
            if outcome.is_err() {
                return;
            }
            let hash = keys.hash(id);
            let (share, unsaved) = (key_group(hash) as usize % SHARES, usize::from(is_unsaved(id)));
            let words = &mut open[share][unsaved];
            outcome = push_entry(words, hash, keys.key(id), partial, &mut bytes);
            if words.len() >= BLOCK_WORDS && outcome.is_ok() {
                outcome = self.append(words, share, unsaved == 1);
                words.clear();
            }
        });
        outcome?;
        for (share, words) in open.iter().enumerate() {
            for (unsaved, words) in words.iter().enumerate().filter(|(_, words)| !words.is_empty()) {
                self.append(words, share, unsaved == 1)?;
            }
        }
        Ok(())
    }

    fn append(&mut self, words: &[Word], share: usize, is_unsaved: bool) -> Result<(), SpillError> {
        let block = self.file.append(words)?;
        self.pieces.push(Piece { block, share, part: self.parts, is_unsaved });
        Ok(())
    }

    fn read<A: Aggregate>(
        &self,
        piece: &Piece,
        mut each: impl FnMut(u64, Vec<u8>, A),
    ) -> Result<(), SpillError> {
        let mut words = Vec::new();
        self.file.read(piece.block, &mut words)?;
        let mut rest = &words[..];
        while !rest.is_empty() {
            let (hash, key, partial) = take_entry(&mut rest)?;
            each(hash, key.to_vec(), partial);
        }
        Ok(())
    }
}

/// Appends a key: its hash, the lengths of what follows, its bytes, and its partial's serialised form, for which `bytes` is room.
fn push_entry<A: Aggregate>(
    words: &mut Vec<Word>,
    hash: u64,
    key: &[u8],
    partial: &A,
    bytes: &mut Vec<u8>,
) -> Result<(), SpillError> {
    bytes.clear();
    bincode::serialize_into(&mut *bytes, partial).map_err(|error| broken(&error))?;
    words.extend([Word(hash), Word(key.len() as u64), Word(bytes.len() as u64)]);
    Word::push_bytes(words, key);
    Word::push_bytes(words, bytes);
    Ok(())
}

/// Takes a key that [`push_entry`] appended off the front.
fn take_entry<'a, A: Aggregate>(words: &mut &'a [Word]) -> Result<(u64, &'a [u8], A), SpillError> {
    let short = || broken(&"it ends too early");
    let ([Word(hash), Word(key_len), Word(len)], rest) = words.split_first_chunk().ok_or_else(short)?;
    *words = rest;
    let key = Word::take_bytes(words, *key_len as usize).ok_or_else(short)?;
    let bytes = Word::take_bytes(words, *len as usize).ok_or_else(short)?;
    Ok((*hash, key, bincode::deserialize(bytes).map_err(|error| broken(&error))?))
}

fn broken(cause: &dyn std::fmt::Display) -> SpillError {
    SpillError::Partial { cause: cause.to_string() }
}
