//! Where the default fixtures are, and the engine's source.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use super::failure::Failure;

/// The directory of recorded fixtures, by its name in the repository.
const FIXTURES: &str = "fixtures";

/// The fixture that was named, or `fixtures/` under the current directory, or that of the workspace that this
/// program was built from.
pub(crate) fn fixture(named: Option<&Path>) -> Result<PathBuf, Failure> {
    if let Some(named) = named {
        return Ok(named.to_owned());
    }
    let here = PathBuf::from(FIXTURES);
    if here.is_dir() {
        return Ok(here);
    }
    let found = workspaces().map(|workspace| workspace.join(FIXTURES)).find(|fixtures| fixtures.is_dir());
    found.ok_or_else(|| {
        Failure::usage("there is no directory fixtures/ here, and no --fixture DIR was given")
            .mend("run it where fixtures/ is, name one with --fixture DIR, or make one: tidegate generate activity --fixture DIR")
    })
}

/// The checkout of the engine that was named, or that of this program, where it lies in one; absolute.
pub(crate) fn engine(named: Option<&Path>) -> Result<Option<PathBuf>, Failure> {
    let is_engine = |dir: &Path| {
        let manifest = fs::read_to_string(dir.join("Cargo.toml")).unwrap_or_default();
        manifest.lines().any(|line| line == "name = \"tidegate\"") && dir.join("src/prelude.rs").is_file()
    };
    match named {
        Some(dir) if is_engine(dir) => std::path::absolute(dir).map(Some).map_err(Failure::usage),
        Some(dir) => Err(Failure::usage(format!("{} is no checkout of tidegate", dir.display()))
            .mend("name the directory that holds its Cargo.toml")),
        None => Ok(workspaces().find(|dir| is_engine(dir))),
    }
}

/// The workspaces that this program may have been built from.
fn workspaces() -> impl Iterator<Item = PathBuf> {
    // `cargo run` says where the package is; a program in target/ lies below the workspace.
    let package = env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from);
    let program = env::current_exe().ok();
    [package, program].into_iter().flatten().filter_map(|place| workspace_of(&place))
}

/// The workspace that `place` lies in.
fn workspace_of(place: &Path) -> Option<PathBuf> {
    place.ancestors().find(|dir| dir.join("Cargo.lock").is_file()).map(Path::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workspace_is_where_the_lock_file_is() {
        let dir = tempfile::tempdir().unwrap();
        let program = dir.path().join("target/release/tidegate");
        assert_eq!(workspace_of(&program), None);
        fs::write(dir.path().join("Cargo.lock"), "").unwrap();
        assert_eq!(workspace_of(&program).as_deref(), Some(dir.path()));
    }

    #[test]
    fn engine_is_a_checkout_of_it_and_nothing_else() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        assert_eq!(engine(Some(root)).unwrap().as_deref(), Some(root));
        for other in [root.join("dataflows"), root.join("docs")] {
            assert!(engine(Some(&other)).is_err(), "{other:?}");
        }
    }

    #[test]
    fn named_fixture_is_taken_as_it_is() {
        let path = fixture(Some(Path::new("not/there"))).unwrap();
        assert_eq!(path, Path::new("not/there"));
    }
}
