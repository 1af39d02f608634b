//! A directory in memory, and what is left of it after a crash.
//!
//! ```text
//! write ─► force the file ─► rename ─► force the directory
//! ```
//!
//! A process that dies leaves everything that it wrote. A machine that dies leaves what was forced; of a file that was
//! not, the old content, a torn one or the new, and of a name that was not, the old one or the new: each as drawn.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tidegate::checkpoint::{CheckpointError, Manifest, Store};

use super::Plant;
use super::steps::{Cut, Steps};
use crate::generate::random::Random;

#[derive(Debug, Default)]
struct File {
    bytes: Vec<u8>,
    /// What of it is on the device.
    forced: Vec<u8>,
}

type Names = BTreeMap<String, usize>;

/// The files and names of a directory, in memory and on the device.
#[derive(Debug, Default)]
pub(super) struct Disk {
    files: Vec<File>,
    names: Names,
    forced: Names,
}

impl Disk {
    /// The machine stops: what was not forced is kept, torn or lost, as `random` draws.
    pub(super) fn lose_power(&mut self, random: &mut Random) {
        let mut all: Vec<String> = self.names.keys().chain(self.forced.keys()).cloned().collect();
        all.sort();
        all.dedup();
        for name in all {
            let (now, device) = (self.names.get(&name).copied(), self.forced.get(&name).copied());
            if now != device && random.below(2) == 0 {
                match device {
                    Some(file) => self.names.insert(name, file),
                    None => self.names.remove(&name),
                };
            }
        }
        for file in &mut self.files {
            if file.bytes != file.forced {
                match random.below(4) {
                    0 => {}
                    1 => file.bytes.truncate(random.below(file.bytes.len() as u64 + 1) as usize),
                    _ => file.bytes = file.forced.clone(),
                }
            }
            file.forced = file.bytes.clone();
        }
        self.forced = self.names.clone();
    }

    /// Spoils one of the newest epoch's files, where there is one; says what it did.
    pub(super) fn damage(&mut self, random: &mut Random) -> Option<String> {
        let newest = self.names.keys().filter_map(|name| Manifest::epoch_of(name)).max()?;
        let number = format!("-{newest:010}");
        let of_it: Vec<String> = self.names.keys().filter(|name| name.contains(&number)).cloned().collect();
        let name = of_it.get(random.below(of_it.len() as u64) as usize)?.clone();
        let file = self.names[&name];
        let bytes = &mut self.files[file].bytes;
        let how = match random.below(4) {
            0 => {
                bytes.truncate(random.below(bytes.len() as u64 + 1) as usize);
                "cut"
            }
            1 if !bytes.is_empty() => {
                let at = random.below(bytes.len() as u64) as usize;
                bytes[at] ^= 1 << random.below(8);
                "flipped a bit of"
            }
            2 => {
                bytes.clear();
                "emptied"
            }
            _ => {
                self.names.remove(&name);
                "removed"
            }
        };
        self.forced = self.names.clone();
        self.files[file].forced = self.files[file].bytes.clone();
        Some(format!("{how} {name}"))
    }

    fn create(&mut self, name: &str) -> usize {
        if let Some(file) = self.names.get(name) {
            self.files[*file].bytes.clear();
            return *file;
        }
        self.files.push(File::default());
        self.names.insert(name.to_owned(), self.files.len() - 1);
        self.files.len() - 1
    }
}

/// A store of checkpoints on a [`Disk`], which does what [`DirStore`](tidegate::checkpoint::DirStore) does, step by step.
pub(super) struct DiskStore {
    place: &'static str,
    disk: Arc<Mutex<Disk>>,
    steps: Arc<Steps>,
    plant: Plant,
}

impl DiskStore {
    pub(super) fn new(
        place: &'static str,
        disk: &Arc<Mutex<Disk>>,
        steps: &Arc<Steps>,
        plant: Plant,
    ) -> Self {
        DiskStore { place, disk: Arc::clone(disk), steps: Arc::clone(steps), plant }
    }

    fn disk(&self) -> MutexGuard<'_, Disk> {
        self.disk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn step(&self, what: &str, name: &str) -> Result<(), CheckpointError> {
        self.steps.step(what, &format!("{}/{name}", self.place)).map_err(|cut| CheckpointError::Store {
            place: self.place(),
            name: name.to_owned(),
            cause: match cut {
                Cut::Dead => "the process is dead".to_owned(),
                Cut::Refused => "no space left on device".to_owned(),
            },
        })
    }

    /// A new file with these bytes, forced, under the name of a draft.
    fn draft(&self, name: &str, bytes: &[u8]) -> Result<usize, CheckpointError> {
        self.step("create", name)?;
        let file = self.disk().create(name);
        let (first, rest) = bytes.split_at(bytes.len() / 2);
        self.step("write", name)?;
        self.disk().files[file].bytes.extend_from_slice(first);
        self.step("write the rest of", name)?;
        self.disk().files[file].bytes.extend_from_slice(rest);
        self.step("force", name)?;
        if self.plant != Plant::FileNotForced {
            let mut disk = self.disk();
            disk.files[file].forced = disk.files[file].bytes.clone();
        }
        Ok(file)
    }

    fn force_dir(&self) -> Result<(), CheckpointError> {
        self.step("force the directory", "")?;
        if self.plant != Plant::NameNotForced {
            let mut disk = self.disk();
            disk.forced = disk.names.clone();
        }
        Ok(())
    }
}

impl Store for DiskStore {
    fn place(&self) -> String {
        self.place.to_owned()
    }

    fn names(&self) -> Result<Vec<String>, CheckpointError> {
        self.step("list", "")?;
        Ok(self.disk().names.keys().cloned().collect())
    }

    fn read(&self, name: &str) -> Result<Option<Vec<u8>>, CheckpointError> {
        self.step("read", name)?;
        let disk = self.disk();
        Ok(disk.names.get(name).map(|file| disk.files[*file].bytes.clone()))
    }

    fn write(&self, name: &str, bytes: &[u8]) -> Result<(), CheckpointError> {
        let draft = format!("{name}.tmp");
        let file = self.draft(&draft, bytes)?;
        self.step("rename to", name)?;
        {
            let mut disk = self.disk();
            disk.names.remove(&draft);
            disk.names.insert(name.to_owned(), file);
        }
        self.force_dir()
    }

    fn create(&self, name: &str, bytes: &[u8]) -> Result<bool, CheckpointError> {
        let draft = format!("{name}.unfinished");
        let file = self.draft(&draft, bytes)?;
        self.step("link to", name)?;
        let made = {
            let mut disk = self.disk();
            let free = !disk.names.contains_key(name);
            if free {
                disk.names.insert(name.to_owned(), file);
            }
            free
        };
        self.step("remove", &draft)?;
        self.disk().names.remove(&draft);
        self.force_dir()?;
        Ok(made)
    }

    fn remove(&self, name: &str) -> Result<(), CheckpointError> {
        self.step("remove", name)?;
        self.disk().names.remove(name);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after_power_loss(plant: Plant, seed: u64) -> Option<Vec<u8>> {
        let disk = Arc::new(Mutex::new(Disk::default()));
        let store = DiskStore::new("d", &disk, &Arc::new(Steps::new()), plant);
        store.write("a", b"first").unwrap();
        store.write("a", b"second").unwrap();
        disk.lock().unwrap().lose_power(&mut Random::new(seed));
        store.read("a").unwrap()
    }

    #[test]
    fn what_was_forced_outlives_the_machine_and_what_was_not_may_not() {
        for seed in 0..50 {
            assert_eq!(after_power_loss(Plant::None, seed).as_deref(), Some(&b"second"[..]));
        }
        for plant in [Plant::FileNotForced, Plant::NameNotForced] {
            let lost = (0..50).filter(|seed| after_power_loss(plant, *seed).as_deref() != Some(b"second"));
            assert!(lost.count() > 10, "{plant:?}");
        }
    }

    #[test]
    fn death_at_each_step_leaves_the_old_file_or_the_new() {
        for dies_at in 0.. {
            let (disk, steps) = (Arc::new(Mutex::new(Disk::default())), Arc::new(Steps::new()));
            let store = DiskStore::new("d", &disk, &steps, Plant::None);
            store.write("a", b"first").unwrap();
            steps.begin(Some(dies_at), 0, 0);
            let done = store.write("a", b"second").is_ok();
            disk.lock().unwrap().lose_power(&mut Random::new(dies_at));
            steps.begin(None, 0, 0);
            let found = store.read("a").unwrap().unwrap();
            assert!(found == b"second" || (!done && found == b"first"), "died at {dies_at}: {found:?}");
            if done {
                assert!(dies_at > 5);
                break;
            }
        }
    }
}
