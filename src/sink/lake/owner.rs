//! Whose a lake is: `_tidegate/owner.json`.
//!
//! Manifests, the mark and generations of a lake are told apart by number alone: with two pipelines in one place the
//! second's epoch 1 would be taken for the first's, and its rows be lost. So who opens a lake first writes its name
//! there, where there is none, and everybody else is refused. A lake of before has no such file, and is taken over by
//! who opens it first.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::BOOKS;
use crate::sink::SinkError;
use crate::sink::staged::{Books, failed};
use crate::storage::Storage;

/// The version of the file that this program writes; it reads every version up to it.
const FORMAT: u32 = 1;

const NAME: &str = "owner.json";

#[derive(Debug, Serialize, Deserialize)]
struct Owner {
    format: u32,
    sink: String,
}

/// Makes the lake in the local directory `dir` that of the sink of `books`, or refuses.
pub(super) fn claim_dir(books: &Books, dir: &Path) -> Result<(), SinkError> {
    let path = books.root.join(NAME);
    let read = || books.disk.read(&path).map_err(|error| books.lift(error));
    let mut found = read()?;
    if found.is_none() {
        // One process at a time; not a hard link, since not every file system has them.
        let _lock = books.lock().map_err(|error| books.lift(error))?;
        found = read()?;
        if found.is_none() {
            return books.disk.replace(&path, &ours(&books.sink)?).map_err(|error| books.lift(error));
        }
    }
    check(&books.sink, &format!("{dir:?}"), found)
}

/// Makes the lake in `place` that of `sink`, or refuses.
pub(super) fn claim(place: &dyn Storage, sink: &str) -> Result<(), SinkError> {
    let path = format!("{BOOKS}/{NAME}");
    let read = || place.read(&path).map_err(|error| error.of(sink));
    let mut found = read()?;
    if found.is_none() {
        place.create(&path, &ours(sink)?).map_err(|error| error.of(sink))?;
        // Another may have come first, and a try of unknown outcome may have been ours.
        found = read()?;
    }
    check(sink, &place.place(), found)
}

fn ours(sink: &str) -> Result<Vec<u8>, SinkError> {
    let owner = Owner { format: FORMAT, sink: sink.to_owned() };
    serde_json::to_vec(&owner).map_err(|error| failed(sink, error))
}

fn check(sink: &str, place: &str, found: Option<Vec<u8>>) -> Result<(), SinkError> {
    let wrong = |what: String| failed(sink, format!("{BOOKS}/{NAME} in {place} {what}"));
    let found = found.ok_or_else(|| wrong("was written and is not there: look who removes it".to_owned()))?;
    let owner: Owner = serde_json::from_slice(&found)
        .map_err(|error| wrong(format!("is damaged: {error}; remove it if the lake is {sink:?}'s")))?;
    if owner.format > FORMAT {
        return Err(wrong(format!("is of format {}; this program knows {FORMAT}", owner.format)));
    }
    if owner.sink != sink {
        let (sink, owner, place) = (sink.to_owned(), owner.sink, place.to_owned());
        return Err(SinkError::NotOurs { sink, owner, place });
    }
    Ok(())
}
