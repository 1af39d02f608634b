//! `tidegate init`: something to begin with.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use clap::Args;
use tidegate_dataflows::settings::{DEFAULT_FILE, json_schema};

use super::failure::Failure;
use super::ui::Ui;

const SETTINGS: &str = include_str!("../../config/dev.yaml");
const VARIABLES: &str = include_str!("../../.env.example");
/// Where the schema lies, beside the settings that name it.
const SCHEMA: &str = "config/tidegate.schema.json";

#[derive(Args, Debug)]
#[command(after_help = "\
Example:
  tidegate init my-streams && cd my-streams && tidegate validate")]
pub(crate) struct InitArgs {
    /// Where; files that are there are left as they are.
    #[arg(value_name = "DIR", default_value = ".")]
    dir: PathBuf,
}

/// Writes a starting configuration, its schema for editors, and the list of variables.
pub(crate) fn run(ui: &Ui, args: &InitArgs) -> Result<(), Failure> {
    // What editors' YAML support looks for.
    let settings = format!("# yaml-language-server: $schema=tidegate.schema.json\n{SETTINGS}");
    let schema = serde_json::to_string_pretty(&json_schema()).map_err(Failure::running)?;
    let files = [
        (DEFAULT_FILE, settings),
        (SCHEMA, format!("{schema}\n")),
        (".env.example", VARIABLES.to_owned()),
        (".gitignore", ".env\nout/\n*.checkpoint/\n".to_owned()),
    ];
    for (name, text) in &files {
        let path = args.dir.join(name);
        let made = write_new(&path, text).map_err(|error| {
            Failure::running(format!("cannot write {}: {error}", path.display()))
                .mend("name a directory that this user may write")
        })?;
        let what = if made { "made" } else { "is there and stays as it is" };
        ui.result(format!("{}  {what}\n", path.display()))?;
    }
    ui.note("next: tidegate validate; then tidegate generate activity --fixture demo and tidegate replay --fixture demo");
    Ok(())
}

/// Writes a file that is not there; whether it was not.
fn write_new(path: &Path, text: &str) -> std::io::Result<bool> {
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent)?;
    }
    match OpenOptions::new().write(true).create_new(true).open(path) {
        Ok(mut file) => file.write_all(text.as_bytes()).map(|()| true),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(error),
    }
}
