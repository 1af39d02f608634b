//! `tidegate compact`.

use serde_json::json;
use tidegate::sink::lake::{Compaction, LakeIndex, partition_values};
use tidegate::storage::{self, Storage};

use super::args::{CompactArgs, Global};
use super::dataset::reading;
use super::failure::Failure;
use super::settings;
use super::ui::{Ui, grouped};

/// Merges the small files of a lake.
pub(crate) fn run(ui: &Ui, global: &Global, args: &CompactArgs) -> Result<(), Failure> {
    let place =
        storage::open(&args.lake, &settings(global)?.credentials()).map_err(|error| reading(error.into()))?;
    let index = LakeIndex::read(&*place).map_err(|error| reading(error.into()))?;
    if index.epoch.is_none() {
        return Err(Failure::usage(format!("there is no lake in {}, or nothing is in it yet", args.lake))
            .mend("name the directory that holds _tidegate/"));
    }
    let _guard = Guard::take(&*place, args.force)?;
    let compaction = Compaction {
        target_bytes: args.target_mib.saturating_mul(1 << 20),
        group_rows: args.group_rows,
        level: args.by.clone().or_else(|| usual_level(&index)),
    };
    let done = compaction.run(&*place).map_err(|error| {
        reading(error.into()).mend("nothing is lost: what readers see is whole; run it again to go on")
    })?;
    if args.json {
        let text = serde_json::to_string(&done).map_err(Failure::running)?;
        return ui.result(format!("{text}\n"));
    }
    ui.result(format!(
        "{} files became {}: {} rows, {} bytes became {}; {} files in the lake\n",
        grouped(done.merged as u64),
        grouped(done.into as u64),
        grouped(done.rows),
        grouped(done.bytes_before),
        grouped(done.bytes_after),
        grouped(done.files_after as u64),
    ))
}

/// A lake with a directory a second gains nothing from files merged within one: its hours are merged.
fn usual_level(index: &LakeIndex) -> Option<String> {
    let levels = index.files.iter().map(|file| partition_values(&file.path)).max_by_key(Vec::len)?;
    let names: Vec<&str> = levels.iter().map(|(name, _)| name.as_str()).collect();
    let is_fine = names.iter().any(|name| matches!(*name, "minute" | "second" | "cycle"));
    (is_fine && names.contains(&"hour")).then(|| "hour".to_owned())
}

/// Keeps a second compaction of the lake away.
struct Guard<'p> {
    place: &'p dyn Storage,
}

const LOCK: &str = "_tidegate/compacting.json";

impl<'p> Guard<'p> {
    fn take(place: &'p dyn Storage, force: bool) -> Result<Self, Failure> {
        let fail = |error: storage::StorageError| reading(error.into());
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        let ours = json!({"host": host.trim(), "pid": std::process::id()});
        if place.create(LOCK, ours.to_string().as_bytes()).map_err(fail)? {
            return Ok(Guard { place });
        }
        let held = place.read(LOCK).map_err(fail)?.unwrap_or_default();
        let held: serde_json::Value = serde_json::from_slice(&held).unwrap_or_default();
        let pid = held["pid"].as_u64().unwrap_or(0);
        // One that died on this machine holds nothing any more.
        let is_dead = held["host"] == ours["host"] && !std::path::Path::new(&format!("/proc/{pid}")).exists();
        if !is_dead && !force {
            return Err(Failure::usage(format!(
                "a compaction of this lake runs already, or died: process {pid} on {}",
                held["host"]
            ))
            .mend("wait for its end, or, when it is gone, give --force"));
        }
        place.replace(LOCK, ours.to_string().as_bytes()).map_err(fail)?;
        Ok(Guard { place })
    }
}

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        // Where it cannot be removed, the next compaction finds a process that is gone.
        drop(self.place.remove(&[LOCK.to_owned()]));
    }
}
