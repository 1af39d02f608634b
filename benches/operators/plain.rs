//! The same answers by loops over hash maps: what a program would do that knows its input whole.

use hashbrown::{HashMap, HashSet};
use tidegate::operators::session::Mark;
use tidegate::window::WindowSpec;

use crate::data::{DATA, Event};
use crate::differential::{Event as SessionEvent, Session, nearest};
use crate::{Answer, add};

fn windows(spec: WindowSpec, event: &Event) -> std::ops::RangeInclusive<i64> {
    let reach = spec.eligible(event.time_us, event.watermark_us).expect("nothing is late");
    reach.class..=spec.last_window(reach.pane)
}

/// Counts by (window, page).
pub(crate) fn counts(spec: WindowSpec) -> Answer {
    let mut counts = HashMap::<(i64, u32), u64>::new();
    for event in &DATA.events {
        for window in windows(spec, event) {
            *counts.entry((window, event.page)).or_default() += 1;
        }
    }
    (counts.len() as u64, counts.values().sum())
}

/// A number made of a row: an integer, and what else is in it.
pub(crate) fn fold<const N: usize>(first: u64, more: [f64; N]) -> u64 {
    more.into_iter().fold(first, |hash, value| hash.wrapping_mul(31).wrapping_add(value.to_bits()))
}

/// Count, sum, least and largest by (window, page).
pub(crate) fn statistics(spec: WindowSpec) -> Answer {
    let mut rows = HashMap::<(i64, u32), (u64, f64, f64, f64)>::new();
    for event in &DATA.events {
        for window in windows(spec, event) {
            let row = rows.entry((window, event.page)).or_insert((0, 0.0, f64::MAX, f64::MIN));
            let value = event.value as f64;
            *row = (row.0 + 1, row.1 + value, row.2.min(value), row.3.max(value));
        }
    }
    let folded = rows.values().map(|row| fold(row.0, [row.1, row.2, row.3]));
    (rows.len() as u64, folded.fold(0, u64::wrapping_add))
}

/// Mean, sample deviation and the value that stands first by (window, page).
pub(crate) fn features(spec: WindowSpec) -> Answer {
    let mut rows = HashMap::<(i64, u32), (i64, i64, i64, (i64, i64), i64)>::new();
    for event in &DATA.events {
        for window in windows(spec, event) {
            let (value, at) = (event.value, (event.time_us, event.offset));
            let row = rows.entry((window, event.page)).or_insert((0, 0, 0, at, value));
            let (at, first) = if at < row.3 { (at, value) } else { (row.3, row.4) };
            *row = (row.0 + 1, row.1 + value, row.2 + value * value, at, first);
        }
    }
    // The values are small integers: their sums, and what is made of them here, are exact in `f64`.
    let folded = rows.values().map(|&(count, sum, squares, _, first)| {
        let variance = nearest((count * squares - sum * sum, count * (count - 1)));
        fold(first as u64, [nearest((sum, count)), variance.sqrt()])
    });
    (rows.len() as u64, folded.fold(0, u64::wrapping_add))
}

/// Distinct users by window.
pub(crate) fn distinct(spec: WindowSpec) -> Answer {
    let mut seen = HashMap::<i64, HashSet<u32>>::new();
    for event in &DATA.events {
        for window in windows(spec, event) {
            seen.entry(window).or_default().insert(event.user);
        }
    }
    (seen.len() as u64, seen.values().map(|users| users.len() as u64).sum())
}

/// An event as the rivals' sessions see it.
pub(crate) fn session_event(event: &Event) -> SessionEvent {
    let (starts, ends) = (event.mark == Mark::Start, event.mark == Mark::End);
    (event.time_us, 0, event.offset, starts, ends, event.is_view())
}

/// What a session adds to the answer: a number in which all of it has a part.
pub(crate) fn of_session(&(start_us, seq, end_us, why, events, views): &Session) -> Answer {
    let parts = [start_us as u64, seq.into(), end_us as u64, u64::from(why), events, views];
    (1, parts.into_iter().fold(0, |sum: u64, part| sum.wrapping_mul(31).wrapping_add(part)))
}

/// Sessions: all events sorted by user and time, then one pass.
pub(crate) fn sessions(gap_us: i64, final_watermark_us: i64) -> Answer {
    let mut events: Vec<(u32, SessionEvent)> =
        DATA.events.iter().map(|event| (event.user, session_event(event))).collect();
    events.sort_unstable();
    let mut answer = (0, 0);
    for user in events.chunk_by(|a, b| a.0 == b.0) {
        let (mut open, mut last_start) = (None::<Session>, (i64::MIN, 0));
        let mut close = |open: &mut Option<Session>, end_us: i64, why| {
            if let Some((start_us, seq, _, _, count, views)) = open.take() {
                answer = add(answer, of_session(&(start_us, seq, end_us, why, count, views)));
            }
        };
        for &(_, (time_us, _, _, starts, ends, view)) in user {
            if let Some(session) = open {
                let silent = time_us - session.2 >= gap_us;
                if silent || starts {
                    close(&mut open, session.2, if silent { 't' } else { 'r' });
                }
            }
            let view = u64::from(view);
            match &mut open {
                Some((_, _, last_us, _, count, views)) => {
                    (*last_us, *count, *views) = (time_us, *count + 1, *views + view);
                }
                None if ends => {}
                None => {
                    let seq = if last_start.0 == time_us { last_start.1 + 1 } else { 0 };
                    last_start = (time_us, seq);
                    open = Some((time_us, seq, time_us, ' ', 1, view));
                }
            }
            if ends {
                close(&mut open, time_us, 'e');
            }
        }
        if let Some(session) = open {
            close(&mut open, session.2, if final_watermark_us >= session.2 + gap_us { 't' } else { 'o' });
        }
    }
    answer
}

/// Each user's latest event.
pub(crate) fn latest() -> Answer {
    let mut latest = HashMap::<u32, (i64, i64)>::new();
    for event in &DATA.events {
        let entry = latest.entry(event.user).or_insert((i64::MIN, 0));
        *entry = (*entry).max((event.time_us, event.offset));
    }
    let of = |&(time_us, offset): &(i64, i64)| (1, (time_us as u64).wrapping_mul(offset as u64));
    latest.values().map(of).fold((0, 0), add)
}
