//! Rows of open windows within an epoch.

use std::time::Duration;

use crate::harness::{Place, same, wait};

/// An epoch that does not end by itself in a test.
const LONG: Duration = Duration::from_secs(3_600);
const OFTEN: Duration = Duration::from_millis(10);

fn views(pages: &[(&str, i64)]) -> Vec<(String, i64)> {
    pages.iter().map(|(page, views)| ((*page).to_owned(), *views)).collect()
}

fn shown(place: &Place, pages: &[(&str, i64)]) {
    wait("rows", || {
        place.clock.pass(1);
        (place.page_views() == views(pages)).then_some(())
    });
}

#[test]
fn rows_of_open_windows_are_there_before_their_epoch_ends() {
    let place = Place::new(2);
    let live = place.start_updating(2, OFTEN, LONG);
    place.views(0, &[0, 1]);
    place.views(1, &[0]);
    shown(&place, &[("/0", 2), ("/1", 1)]);
    place.views(1, &[3, 5]);
    shown(&place, &[("/0", 3), ("/1", 1), ("/2", 1)]);
    assert!(place.manifest().is_none(), "no epoch has ended");

    live.crash();
    place.leave_behind(1, 1, "/gone");
    let left = views(&[("/0", 3), ("/1", 1), ("/2", 1), ("/gone", 1)]);
    assert_eq!(place.page_views(), left, "what was shown is still there");
    place.views(1, &[8]);
    let live = place.start_updating(1, OFTEN, LONG);
    shown(&place, &[("/0", 3), ("/1", 1), ("/2", 2)]);
    live.stop();
    let decided = place.manifest().expect("it was stopped at a checkpoint");
    assert_eq!(decided.tallies[0].rows, 0, "rows of open windows are in no count");

    // What was given at the end of the epoch stays, and goes on.
    assert_eq!(place.page_views(), views(&[("/0", 3), ("/1", 1), ("/2", 2)]));
    let live = place.start_updating(3, OFTEN, LONG);
    place.views(0, &[6, 700]);
    shown(&place, &[("/0", 4), ("/1", 1), ("/1", 1), ("/2", 2)]);
    place.logs.iter().for_each(|log| log.close());
    let summary = live.finished();
    assert_eq!(same(summary), same(place.replayed(1)), "in the end both modes leave the same");
    assert_eq!(place.page_views(), views(&[("/0", 4), ("/1", 1), ("/1", 1), ("/2", 2)]));
}
