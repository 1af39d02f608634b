//! What every place promises: tried on a local directory always, and on servers where the environment names them
//! (`TIDEGATE_TEST_PLACES`, URLs separated by spaces; `tests/hydraulic.sh` starts them).

use std::fs;

use super::*;

fn places() -> (tempfile::TempDir, Vec<std::sync::Arc<dyn Storage>>) {
    let dir = tempfile::tempdir().unwrap();
    let mut urls = vec![dir.path().join("place").to_str().unwrap().to_owned()];
    let named = std::env::var("TIDEGATE_TEST_PLACES").unwrap_or_default();
    urls.extend(named.split_whitespace().map(str::to_owned));
    let unique = nonce();
    let open_one = |url: String| {
        let location = Location::parse(&url).unwrap().join(&unique);
        open(&location, &Credentials::of_process()).unwrap()
    };
    let places = urls.into_iter().map(open_one).collect();
    (dir, places)
}

use crate::sink::nonce;

#[test]
fn file_is_read_as_it_was_written_and_replaced() {
    for place in places().1 {
        assert_eq!(place.read("a/b").unwrap(), None, "{place:?}");
        assert_eq!(place.len("a/b").unwrap(), None);
        place.replace("a/b", b"1").unwrap();
        place.replace("a/b", b"22").unwrap();
        assert_eq!(place.read("a/b").unwrap().as_deref(), Some(&b"22"[..]));
        assert_eq!(place.len("a/b").unwrap(), Some(2));
        let all = place.read_all(&["a/c".to_owned(), "a/b".to_owned()]).unwrap();
        assert_eq!(all, [None, Some(b"22".to_vec())]);
        place.replace("a/empty", b"").unwrap();
        assert_eq!(place.read("a/empty").unwrap().as_deref(), Some(&b""[..]));
    }
}

#[test]
fn create_gives_way_to_what_is_there() {
    for place in places().1 {
        assert!(place.create("d/g", b"1").unwrap(), "{place:?}");
        assert!(!place.create("d/g", b"2").unwrap());
        assert_eq!(place.read("d/g").unwrap().as_deref(), Some(&b"1"[..]));
        assert_eq!(place.names("d").unwrap(), ["g"], "nothing is left beside it");
    }
}

#[test]
fn listing_is_of_all_below_and_names_are_of_one_level() {
    for place in places().1 {
        for path in ["x/b=2/part", "x/a=%2F 1/part", "x/c", "y"] {
            place.replace(path, b"1").unwrap();
        }
        let listed: Vec<_> = place.list("x").unwrap().into_iter().map(|file| file.path).collect();
        assert_eq!(listed, ["x/a=%2F 1/part", "x/b=2/part", "x/c"], "{place:?}");
        assert_eq!(place.list("").unwrap().len(), 4);
        assert_eq!(place.names("x").unwrap(), ["a=%2F 1", "b=2", "c"]);
        assert!(place.list("nowhere").unwrap().is_empty());
        assert!(place.names("nowhere").unwrap().is_empty());
        place.remove(&["x/c".to_owned(), "x/b=2/part".to_owned(), "x/none".to_owned()]).unwrap();
        // SeaweedFS shows a directory for a while that has become empty, so files alone are looked at.
        assert_eq!(place.list("x").unwrap().len(), 1);
        place.remove_dir("x").unwrap();
        place.remove_dir("x").unwrap();
        assert_eq!(place.list("").unwrap().len(), 1);
    }
}

#[test]
fn publishing_can_be_repeated_and_never_puts_in_other_content() {
    let (dir, places) = places();
    for place in places {
        let from = dir.path().join("local");
        fs::write(&from, b"rows").unwrap();
        let upload = [Upload { from, to: "s/1".to_owned(), bytes: 4 }];
        let mut file = Publish {
            from: "s/1".to_owned(),
            to: "d=1/part".to_owned(),
            bytes: 4,
            crc32: Some(crc32fast::hash(b"rows")),
        };
        assert!(place.publish(&[file.clone()]).is_err(), "{place:?}: nothing is staged");
        place.upload(&upload).unwrap();
        place.publish(&[file.clone()]).unwrap();
        place.publish(&[file.clone()]).unwrap();
        assert_eq!(place.read("d=1/part").unwrap().as_deref(), Some(&b"rows"[..]));
        // Staged again by whoever recovers.
        place.upload(&upload).unwrap();
        place.publish(&[file.clone()]).unwrap();
        place.remove_dir("s").unwrap();
        place.publish(&[file.clone()]).unwrap();
        let other = Publish { bytes: 5, ..file.clone() };
        assert!(!place.publish(&[other]).unwrap_err().is_away);
        place.replace("s/1", b"rows").unwrap();
        (file.to, file.crc32) = ("d=2/part".to_owned(), Some(0));
        assert!(!place.publish(&[file]).unwrap_err().is_away);
        assert_eq!(place.read("d=2/part").unwrap(), None);
    }
}

#[test]
fn path_that_leads_elsewhere_is_refused() {
    for place in places().1 {
        for path in ["../a", "a/../../b", "/a", "a//b", "a/"] {
            assert!(place.replace(path, b"").is_err(), "{place:?}: {path:?}");
        }
    }
}
