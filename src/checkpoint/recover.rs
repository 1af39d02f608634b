//! Finding out where a run goes on.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::frame::{Damage, unpack};
use super::{CheckpointError, Manifest, Store};
use crate::state::{Blocks, StateBlock};

/// Where a run goes on.
#[derive(Debug)]
pub struct Recovered {
    /// The newest decided epoch: its staged output is to be committed again.
    pub decided: Manifest,
    /// The epoch whose state is used, at most the decided one; `None` when no state is whole and the log is to be
    /// read from its beginning.
    pub base: Option<Manifest>,
    /// The state of `base`.
    pub blocks: Blocks,
    /// What was found damaged and passed over, for the log.
    pub warnings: Vec<String>,
}

/// A manifest that lies in a store.
#[derive(Debug)]
pub struct Found {
    /// Its epoch.
    pub epoch: u64,
    /// Its file.
    pub name: String,
    /// What it says, or what is wrong with it.
    pub manifest: Result<Manifest, Damage>,
    /// What is wrong with any of its copies: what is decided must not hang on one of them.
    pub copies: Vec<(String, Damage)>,
    /// Each of its state files, and what is wrong with it.
    pub state: Vec<(String, Result<u64, Damage>)>,
}

impl Found {
    /// Whether the manifest and all its state are whole.
    pub fn is_whole(&self) -> bool {
        self.manifest.is_ok() && self.state.iter().all(|(_, state)| state.is_ok())
    }
}

/// Looks at every manifest of `store`, in each copy, and at all its state, newest first.
///
/// # Errors
/// When the store cannot be read.
pub fn survey(store: &dyn Store) -> Result<Vec<Found>, CheckpointError> {
    let mut found = Vec::new();
    // Most files are of several checkpoints.
    let mut read = BTreeMap::<String, Result<(), Damage>>::new();
    let listed = epochs(store)?;
    for &epoch in listed.iter().rev() {
        let (name, manifest) = read_manifest(store, epoch)?;
        let mut state = Vec::new();
        for file in manifest.iter().flat_map(|manifest| &manifest.state) {
            let whole = match read.get(&file.name) {
                Some(whole) => whole.clone(),
                None => {
                    let whole = read_state(store, &file.name)?.map(drop);
                    read.insert(file.name.clone(), whole.clone());
                    whole
                }
            };
            state.push((file.name.clone(), whole.map(|()| file.bytes)));
        }
        let mut copies = Vec::new();
        let is_newest = listed.last() == Some(&epoch);
        for (number, name) in Manifest::names(epoch).into_iter().enumerate() {
            match read_copy(store, &name, epoch)? {
                Ok(_) => {}
                // The second is written a moment after the first, and by the next start where there was no such moment.
                Err(Damage::Damaged(what))
                    if what == MISSING && number > 0 && is_newest && manifest.is_ok() => {}
                Err(damage) => copies.push((name, damage)),
            }
        }
        found.push(Found { epoch, name, manifest, copies, state });
    }
    // A run that goes on has removed some meanwhile, with the files that only they named.
    let still = epochs(store)?;
    found.retain(|found| still.contains(&found.epoch));
    Ok(found)
}

/// Of a file that is not there.
const MISSING: &str = "it is missing";

/// The manifests of `store` that are whole, by epoch, whatever has become of the state that they name. Quick, also where the
/// state is large.
///
/// # Errors
/// When the store cannot be read.
pub fn manifests(store: &dyn Store) -> Result<BTreeMap<u64, Manifest>, CheckpointError> {
    let mut whole = BTreeMap::new();
    for epoch in epochs(store)? {
        if let (_, Ok(manifest)) = read_manifest(store, epoch)? {
            whole.insert(epoch, manifest);
        }
    }
    Ok(whole)
}

fn epochs(store: &dyn Store) -> Result<BTreeSet<u64>, CheckpointError> {
    Ok(store.names()?.iter().filter_map(|name| Manifest::epoch_of(name)).collect())
}

/// The manifest of an epoch from whichever copy is whole.
pub(super) fn read_manifest(
    store: &dyn Store,
    epoch: u64,
) -> Result<(String, Result<Manifest, Damage>), CheckpointError> {
    let mut first = None;
    for name in Manifest::names(epoch) {
        match read_copy(store, &name, epoch)? {
            Ok(manifest) => return Ok((name, Ok(manifest))),
            Err(damage) => drop(first.get_or_insert((name, Err(damage)))),
        }
    }
    Ok(first.unwrap_or_else(|| (String::new(), Err(Damage::Damaged(MISSING.to_owned())))))
}

fn read_copy(store: &dyn Store, name: &str, epoch: u64) -> Result<Result<Manifest, Damage>, CheckpointError> {
    let manifest = match store.read(name)? {
        None => Err(Damage::Damaged(MISSING.to_owned())),
        Some(bytes) => Manifest::unpack(&bytes),
    };
    Ok(manifest.and_then(|manifest| match manifest.epoch {
        of if of == epoch => Ok(manifest),
        of => Err(Damage::Damaged(format!("it is named {epoch} and holds {of}"))),
    }))
}

pub(super) fn read_state(
    store: &dyn Store,
    name: &str,
) -> Result<Result<Vec<StateBlock>, Damage>, CheckpointError> {
    Ok(match store.read(name)? {
        None => Err(Damage::Damaged(MISSING.to_owned())),
        Some(bytes) => unpack(&bytes),
    })
}

/// Where the run of `pipeline` goes on; `None` for a first start. `mirror` holds further copies of manifests. With `spill`, a
/// directory on local disk, memory is limited, and the state waits there until operators take it.
///
/// # Errors
/// When the stores cannot be read, hold the checkpoint of another pipeline or schema, or are of a later version.
pub fn recover(
    store: &dyn Store,
    mirror: Option<&dyn Store>,
    pipeline: &str,
    schema: &str,
    spill: Option<&Path>,
) -> Result<Option<Recovered>, CheckpointError> {
    let (whole, mut warnings) = whole_manifests(store, mirror)?;
    let Some((_, decided)) = whole.last_key_value() else {
        return Ok(None);
    };
    let decided = decided.clone();
    check(store, &decided, pipeline, schema)?;
    for (epoch, manifest) in whole.into_iter().rev() {
        let mut blocks = spill.map_or_else(Blocks::default, Blocks::on_disk);
        let mut is_whole = true;
        for file in &manifest.state {
            match read_state(store, &file.name)? {
                Ok(more) => more.into_iter().for_each(|block| blocks.push(block)),
                Err(Damage::TooNew(found)) => {
                    let (place, name) = (store.place(), file.name.clone());
                    return Err(CheckpointError::TooNew { place, name, found });
                }
                Err(damage) => {
                    is_whole = false;
                    warnings.push(format!("state of epoch {epoch}, {:?}: {damage}", file.name));
                }
            }
        }
        if is_whole {
            return Ok(Some(Recovered { decided, base: Some(manifest), blocks, warnings }));
        }
    }
    Ok(Some(Recovered { decided, base: None, blocks: Blocks::default(), warnings }))
}

/// The newest decided epoch, without a look at the state.
///
/// # Errors
/// When the stores cannot be read, or are of a later version.
pub fn newest(store: &dyn Store, mirror: Option<&dyn Store>) -> Result<Option<Manifest>, CheckpointError> {
    Ok(whole_manifests(store, mirror)?.0.pop_last().map(|(_, manifest)| manifest))
}

/// The manifests that are whole in one of their copies, by epoch, and what is wrong with others.
fn whole_manifests(
    store: &dyn Store,
    mirror: Option<&dyn Store>,
) -> Result<(BTreeMap<u64, Manifest>, Vec<String>), CheckpointError> {
    let mut warnings = Vec::new();
    let mut whole = BTreeMap::new();
    for place in [Some(store), mirror].into_iter().flatten() {
        for epoch in epochs(place)? {
            match read_manifest(place, epoch)? {
                (_, Ok(manifest)) => drop(whole.entry(epoch).or_insert(manifest)),
                (name, Err(Damage::TooNew(found))) => {
                    return Err(CheckpointError::TooNew { place: place.place(), name, found });
                }
                (name, Err(damage)) => warnings.push(format!("{name:?} in {}: {damage}", place.place())),
            }
        }
    }
    Ok((whole, warnings))
}

fn check(
    store: &dyn Store,
    manifest: &Manifest,
    pipeline: &str,
    schema: &str,
) -> Result<(), CheckpointError> {
    let other = |found: &str, wanted: &str, hint: &str| CheckpointError::OtherRun {
        place: store.place(),
        found: found.to_owned(),
        wanted: wanted.to_owned(),
        hint: hint.to_owned(),
    };
    if manifest.pipeline != pipeline {
        let (found, wanted) = (format!("pipeline {:?}", manifest.pipeline), format!("pipeline {pipeline:?}"));
        return Err(other(&found, &wanted, "name another checkpoint directory"));
    }
    if manifest.schema != schema {
        return Err(other(
            &format!("{pipeline:?} with the settings [{}]", manifest.schema),
            &format!("{pipeline:?} with [{schema}]"),
            "these settings are part of the state; set them back, or start anew with an empty checkpoint and output",
        ));
    }
    Ok(())
}

/// Whether `generation` is still the newest that was claimed. A lock can end without its holder hearing of it, as on storage
/// that machines share: whoever stood still meanwhile finds out here, and not by the sinks alone.
///
/// # Errors
/// [`CheckpointError::TakenOver`] when a newer one was claimed; otherwise when the store cannot be read.
pub fn still_ours(store: &dyn Store, generation: u64) -> Result<(), CheckpointError> {
    let newest = newest_generation(&store.names()?);
    if newest > generation {
        return Err(CheckpointError::TakenOver { place: store.place(), ours: generation, newer: newest });
    }
    Ok(())
}

fn newest_generation(names: &[String]) -> u64 {
    names.iter().filter_map(|name| name.strip_prefix("generation-")?.parse().ok()).max().unwrap_or(0)
}

/// Claims the next generation: a number that no other start of this run has or will have.
///
/// # Errors
/// When the store refuses.
pub fn claim_generation(store: &dyn Store, newest_known: u64) -> Result<u64, CheckpointError> {
    let names = store.names()?;
    let mut next = newest_generation(&names).max(newest_known) + 1;
    while !store.create(&format!("generation-{next:010}"), b"")? {
        next += 1;
    }
    for old in names.iter().filter(|name| name.starts_with("generation-")) {
        store.remove(old)?;
    }
    Ok(next)
}
