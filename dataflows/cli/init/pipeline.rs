//! `tidegate init --pipeline`: the documented example, as a project of its own.

use std::path::{Path, PathBuf};

use super::super::failure::Failure;
use super::super::places;

/// What tests compile, run and compare with its rows.
const EXAMPLE: &str = include_str!("../../../examples/own_pipeline.rs");
const FIXTURE: &str = include_str!("../../../examples/fixture/meters.jsonl");
const README: &str = include_str!("readme.md");
/// A program that links the engine is linked as the engine's own.
const BUILD: &str = include_str!("../../../build.rs");

/// How the example is run where it is an example, and where it is a project.
const AS_EXAMPLE: &str = "cargo run --example own_pipeline -- ";
const AS_PROJECT: &str = "cargo run --release -- ";

/// A pipeline's name: that of its table, and of what late records name.
#[derive(Clone, Debug)]
pub(crate) struct Name(String);

impl Name {
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn parse(text: &str) -> Result<Name, String> {
        let is_plain = text.starts_with(|first: char| first.is_ascii_lowercase())
            && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
            && text.len() <= 40;
        if !is_plain {
            return Err(
                "write up to 40 of a-z, 0-9 and _, a letter first, as it is a table's name too".to_owned()
            );
        }
        if text.starts_with("tidegate") {
            return Err("tables whose names begin with tidegate are the engine's own".to_owned());
        }
        Ok(Name(text.to_owned()))
    }

    /// `page_views` as `PageViews`, as operators are named.
    fn as_operator(&self) -> String {
        let capital = |word: &str| {
            let mut letters = word.chars();
            let first = letters.next().map(|first| first.to_ascii_uppercase());
            first.into_iter().chain(letters).collect::<String>()
        };
        self.0.split('_').map(capital).collect()
    }
}

/// The project's files, by their places in it.
///
/// # Errors
/// When `engine` is no checkout of the engine.
pub(super) fn files(name: &Name, engine: Option<&Path>) -> Result<[(&'static str, String); 6], Failure> {
    let engine = places::engine(engine)?;
    Ok([
        ("Cargo.toml", manifest(name, engine.as_deref())?),
        ("build.rs", BUILD.to_owned()),
        ("src/main.rs", source(name)),
        ("fixture/meters.jsonl", FIXTURE.to_owned()),
        ("README.md", README.replace("NAME", &name.0)),
        (".gitignore", "/target\n/out\n".to_owned()),
    ])
}

fn source(name: &Name) -> String {
    let quoted = |name: &str| format!("{name:?}");
    EXAMPLE
        .replace(AS_EXAMPLE, AS_PROJECT)
        .replace("`examples/fixture`", "`fixture`")
        .replace(&quoted("water"), &quoted(&name.0))
        .replace(&quoted("Water"), &quoted(&name.as_operator()))
}

fn manifest(Name(name): &Name, engine: Option<&Path>) -> Result<String, Failure> {
    let version = env!("CARGO_PKG_VERSION");
    let engine = match engine {
        // What JSON writes of a string, TOML reads as one.
        Some(path) => format!(
            "{{ path = {} }}",
            serde_json::to_string(&path.to_string_lossy()).map_err(Failure::running)?
        ),
        None => format!("{version:?}"),
    };
    let rust = env!("CARGO_PKG_RUST_VERSION");
    Ok(format!(
        "\
[package]
name = \"{name}-pipeline\"
version = \"0.1.0\"
edition = \"2024\"
rust-version = {rust:?}
publish = false

[dependencies]
tidegate = {engine}

# A workspace of its own, wherever it lies.
[workspace]
"
    ))
}

/// What to say when the files are there.
pub(super) fn next(dir: &Path) -> String {
    let manifest: PathBuf = dir.join("Cargo.toml");
    let (fixture, out) = (dir.join("fixture"), dir.join("out"));
    format!(
        "next: cargo run --release --manifest-path {} -- {} {} 2",
        manifest.display(),
        fixture.display(),
        out.display()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn source_is_the_tested_example_with_another_name() {
        let water = source(&Name::parse("water").unwrap());
        assert_eq!(water.replace(AS_PROJECT, AS_EXAMPLE).replace("`fixture`", "`examples/fixture`"), EXAMPLE);
        let clicks = source(&Name::parse("my_clicks2").unwrap());
        assert_eq!(clicks.matches("\"my_clicks2\"").count(), EXAMPLE.matches("\"water\"").count());
        assert!(clicks.contains("(\"MyClicks2\", ") && !clicks.contains("own_pipeline"), "{clicks}");
        assert_eq!(clicks.replace("my_clicks2", "water").replace("MyClicks2", "Water"), water);
    }

    #[test]
    fn names_are_those_of_tables() {
        for bad in ["", "Clicks", "2clicks", "my-clicks", "my clicks", "clicks\"", "tidegate_x", "ü"] {
            assert!(Name::parse(bad).is_err(), "{bad:?}");
        }
    }
}
