//! `tidegate init`: something to begin with.

mod pipeline;

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use clap::Args;
use tidegate_dataflows::settings::{DEFAULT_FILE, json_schema};

use self::pipeline::Name;
use super::failure::Failure;
use super::ui::Ui;

const SETTINGS: &str = include_str!("../../../config/dev.yaml");
const VARIABLES: &str = include_str!("../../../.env.example");
/// Where the schema lies, beside the settings that name it.
const SCHEMA: &str = "config/tidegate.schema.json";

#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  tidegate init my-streams && cd my-streams && tidegate validate
  tidegate init --pipeline clicks clicks && cd clicks && cargo run --release -- fixture out 2
  tidegate init --pipeline clicks clicks --engine ../tidegate")]
pub(crate) struct InitArgs {
    /// Where; files that are there are left as they are.
    #[arg(value_name = "DIR", default_value = ".")]
    dir: PathBuf,
    /// A pipeline of your own, called NAME: a cargo project with the documented example, a recording that it runs over, and how to
    /// go on from there, in place of a configuration.
    #[arg(long, value_name = "NAME", value_parser = Name::parse)]
    pipeline: Option<Name>,
    /// The checkout of the engine that the project is built with [default: that of this program, or else its version in a
    /// registry].
    #[arg(long, value_name = "DIR", requires = "pipeline")]
    engine: Option<PathBuf>,
}

/// Writes a starting configuration or a pipeline of one's own.
pub(crate) fn run(ui: &Ui, args: &InitArgs) -> Result<(), Failure> {
    if let Some(name) = &args.pipeline {
        write_all(ui, &args.dir, &pipeline::files(name, args.engine.as_deref())?)?;
        ui.note(pipeline::next(&args.dir));
        return Ok(());
    }
    write_all(ui, &args.dir, &configuration()?)?;
    ui.note("next: tidegate validate; then tidegate generate activity --fixture demo and tidegate replay --fixture demo");
    ui.note("a pipeline of your own: tidegate init --pipeline NAME DIR");
    Ok(())
}

/// A starting configuration, its schema for editors, and the list of variables.
fn configuration() -> Result<[(&'static str, String); 4], Failure> {
    // What editors' YAML support looks for.
    let settings = format!("# yaml-language-server: $schema=tidegate.schema.json\n{SETTINGS}");
    let schema = serde_json::to_string_pretty(&json_schema()).map_err(Failure::running)?;
    Ok([
        (DEFAULT_FILE, settings),
        (SCHEMA, format!("{schema}\n")),
        (".env.example", VARIABLES.to_owned()),
        (".gitignore", ".env\nout/\n*.checkpoint/\n".to_owned()),
    ])
}

/// Writes the files that are not there, and says which.
fn write_all(ui: &Ui, dir: &Path, files: &[(&str, String)]) -> Result<(), Failure> {
    for (name, text) in files {
        let path = dir.join(name);
        let made = write_new(&path, text).map_err(|error| {
            Failure::running(format!("cannot write {}: {error}", path.display()))
                .mend("name a directory that this user may write")
        })?;
        let what = if made { "made" } else { "is there and stays as it is" };
        ui.result(format!("{}  {what}\n", path.display()))?;
    }
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
