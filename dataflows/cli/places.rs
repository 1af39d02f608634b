//! Where the default fixtures are.

use std::env;
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
    // `cargo run` says where the package is; a program in target/ lies below the workspace.
    let package = env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from);
    let program = env::current_exe().ok();
    let roots = [package, program].into_iter().flatten();
    let found = roots.filter_map(|place| in_workspace_of(&place)).next();
    found.ok_or_else(|| {
        Failure::usage("there is no directory fixtures/ here, and no --fixture DIR was given")
            .mend("run it where fixtures/ is, name one with --fixture DIR, or make one: tidegate generate activity --fixture DIR")
    })
}

/// `fixtures/` of the workspace that `place` lies in.
fn in_workspace_of(place: &Path) -> Option<PathBuf> {
    let workspace = place.ancestors().find(|dir| dir.join("Cargo.lock").is_file())?;
    Some(workspace.join(FIXTURES)).filter(|fixtures| fixtures.is_dir())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn workspace_is_where_the_lock_file_is() {
        let dir = tempfile::tempdir().unwrap();
        let program = dir.path().join("target/release/tidegate");
        assert_eq!(in_workspace_of(&program), None);
        fs::write(dir.path().join("Cargo.lock"), "").unwrap();
        assert_eq!(in_workspace_of(&program), None);
        fs::create_dir(dir.path().join(FIXTURES)).unwrap();
        assert_eq!(in_workspace_of(&program), Some(dir.path().join(FIXTURES)));
    }

    #[test]
    fn named_fixture_is_taken_as_it_is() {
        let path = fixture(Some(Path::new("not/there"))).unwrap();
        assert_eq!(path, Path::new("not/there"));
    }
}
