//! Looking after what lies in a checkpoint: what was written is read back, and what no kept checkpoint needs is removed.
//!
//! It goes on beside the next decision, which must not wait for it. So nothing is touched that belongs to a later epoch than the one that
//! it was told of: that one may be half written.

use std::collections::BTreeSet;
use std::sync::Arc;

use tracing::warn;

use super::recover::{read_manifest, read_state, still_ours};
use super::{CheckpointError, Manifest, StateFile, Store};

/// What has been written up to an epoch that is decided and visible.
#[derive(Debug)]
pub(super) struct Written {
    /// The epoch.
    pub(super) epoch: u64,
    /// State files that were written and have not been read back.
    pub(super) files: Vec<StateFile>,
}

/// Looks after a checkpoint.
pub(super) struct Janitor {
    pub(super) store: Arc<dyn Store>,
    /// See [`Pen::mirror`](super::commit::Pen::mirror).
    pub(super) mirror: Option<Arc<dyn Store>>,
    /// How many checkpoints stay, at least 1.
    pub(super) keep: usize,
    pub(super) generation: u64,
    /// State files that were written and have not been read back.
    pub(super) unread: Vec<StateFile>,
}

impl Janitor {
    /// Reads back what was written, and removes what no kept checkpoint needs.
    pub(super) fn tidy(&mut self, written: Written) {
        self.unread.extend(written.files);
        if let Err(error) = self.clean(written.epoch) {
            // What is decided stays so, and the next time cleans up as well.
            warn!(%error, "older checkpoints could not be looked through or removed; they stay for now");
        }
    }

    /// Whether the manifest of `epoch` and all its state are whole. Files do not change: each is read back once.
    fn is_read_back(&mut self, epoch: u64) -> Result<bool, CheckpointError> {
        let mut unread = Vec::new();
        for file in &self.unread {
            if read_state(&*self.store, &file.name)?.is_err() {
                unread.push(file.clone());
            }
        }
        self.unread = unread;
        let (_, manifest) = read_manifest(&*self.store, epoch)?;
        let needed = |file: &StateFile| manifest.iter().any(|manifest| manifest.state.contains(file));
        Ok(manifest.is_ok() && !self.unread.iter().any(needed))
    }

    /// Removes what no kept checkpoint needs, once that of `epoch` has been read back.
    fn clean(&mut self, epoch: u64) -> Result<(), CheckpointError> {
        if !self.is_read_back(epoch)? {
            warn!(epoch, "the newest checkpoint could not be read back; older ones stay");
            return Ok(());
        }
        let names = self.store.names()?;
        // State that a newer run has written and not named yet would be taken for old: whoever writes has claimed a generation before, so
        // that none of its files is among these names.
        still_ours(&*self.store, self.generation)?;
        let epochs = names.iter().filter_map(|name| Manifest::epoch_of(name));
        let epochs: BTreeSet<u64> = epochs.filter(|of| *of <= epoch).collect();
        let kept: BTreeSet<u64> = epochs.into_iter().rev().take(self.keep).collect();
        let mut needed = BTreeSet::new();
        for epoch in &kept {
            for name in Manifest::names(*epoch) {
                if let Some(Ok(manifest)) = self.store.read(&name)?.map(|bytes| Manifest::unpack(&bytes)) {
                    needed.extend(manifest.state.into_iter().map(|file| file.name));
                }
            }
        }
        for name in names {
            let old = match (Manifest::epoch_of(&name), epoch_of_state(&name)) {
                (Some(of), _) => of <= epoch && !kept.contains(&of),
                (None, Some(of)) => of <= epoch && !needed.contains(&name),
                (None, None) => false,
            };
            if old {
                self.store.remove(&name)?;
                if let Some(mirror) = &self.mirror {
                    mirror.remove(&name)?;
                }
                self.unread.retain(|file| file.name != name);
            }
        }
        Ok(())
    }
}

/// The epoch in which a state file was written; `None` for other files.
fn epoch_of_state(name: &str) -> Option<u64> {
    let behind = name.strip_prefix("state-").or_else(|| name.strip_prefix("delta-"))?;
    // What nobody has written under such a name is nobody's.
    Some(behind.split('-').next().and_then(|epoch| epoch.parse().ok()).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::DirStore;

    #[test]
    fn what_a_later_epoch_is_about_to_write_stays() {
        let dir = tempfile::tempdir().expect("a directory");
        let store = Arc::new(DirStore::open(dir.path()).expect("a store"));
        let file = |name: &str| {
            let bytes = super::super::frame::pack(&Vec::<u8>::new()).expect("packed");
            store.write(name, &bytes).expect("written");
            StateFile { name: name.to_owned(), bytes: bytes.len() as u64 }
        };
        let decided = |epoch: u64, state: Vec<StateFile>| {
            let manifest = Manifest { epoch, state, ..Manifest::default() };
            for name in Manifest::names(epoch) {
                store.write(&name, &manifest.pack().expect("packed")).expect("written");
            }
        };
        let (first, second) = (file("delta-0000000001-1.tg"), file("delta-0000000002-1.tg"));
        decided(1, vec![first.clone()]);
        decided(2, vec![second.clone()]);
        file("delta-0000000003-1.tg");
        let [name, _] = Manifest::names(3);
        store.write(&name, b"half of it").expect("written");
        let mut janitor = Janitor {
            store: Arc::clone(&store) as Arc<dyn Store>,
            mirror: None,
            keep: 1,
            generation: 1,
            unread: Vec::new(),
        };
        janitor.tidy(Written { epoch: 2, files: vec![first, second] });
        let left = store.names().expect("listed");
        let expected = [
            &Manifest::names(2)[..],
            &[name],
            &["delta-0000000002-1.tg".to_owned(), "delta-0000000003-1.tg".to_owned()],
        ];
        for name in expected.concat() {
            assert!(left.contains(&name), "{name} is gone: {left:?}");
        }
        assert!(!left.iter().any(|name| name.contains("0000000001")), "{left:?}");
    }
}
