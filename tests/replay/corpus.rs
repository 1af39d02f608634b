//! The seeds of the fuzz targets, each through its target's function.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use tidegate::decode::json::fuzz_decode;
use tidegate::decode::protobuf::fuzz_protobuf;
use tidegate::source::fixture::{fuzz_kcat, fuzz_packed_kcat, fuzz_segment};
use tidegate::time::fuzz_time;

/// The paths in a folder, in order.
fn paths_in(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).expect("a folder");
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    paths.sort();
    paths
}

fn stem(path: &Path) -> String {
    path.file_stem().expect("a name").to_string_lossy().into_owned()
}

/// A fuzz target's function: it panics where what holds for any bytes does not.
type Survives = fn(&[u8]);

#[test]
fn every_seed_of_every_fuzz_target_is_survived() {
    let fuzz = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz");
    let functions: [(&str, Survives); 6] = [
        ("decode", fuzz_decode),
        ("kcat", fuzz_kcat),
        ("packed_kcat", fuzz_packed_kcat),
        ("protobuf", fuzz_protobuf),
        ("segment", fuzz_segment),
        ("time", fuzz_time),
    ];
    let functions: BTreeMap<String, fn(&[u8])> =
        functions.into_iter().map(|(name, function)| (name.to_owned(), function)).collect();
    // Whoever adds a target adds it here.
    let targets: Vec<String> = paths_in(&fuzz.join("fuzz_targets")).iter().map(|path| stem(path)).collect();
    assert!(functions.keys().eq(&targets), "{targets:?}");
    for (name, function) in functions {
        let seeds = paths_in(&fuzz.join("corpus").join(&name));
        assert!(!seeds.is_empty(), "{name} has no seeds");
        for seed in seeds {
            // Shown where the function panics.
            println!("{}", seed.display());
            function(&fs::read(&seed).expect("readable"));
        }
    }
}
