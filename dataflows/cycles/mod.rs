//! Cycles of a lake for people who look back: two side by side, or one feature over all of them.
//!
//! Both read what the lake's manifests list, and give a table, for programs an object, and a picture (SVG, which every
//! browser shows).

mod picture;
mod score;

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;

use serde::Serialize;
use serde_json::{Value, json};
use tidegate::aggregate::{Finite, Moments};
use tidegate::storage::Storage;
use tidegate::time;

use crate::dataset::{Feed, FeedError, Second};
use picture::{Band, Line, Panel, picture};
pub use score::{Anomalies, read_anomalies, score_table};

/// A report: a table and a picture.
#[derive(Clone, Debug)]
pub struct Report {
    /// The table, for a terminal.
    pub table: String,
    /// What the table says, for programs, and in all digits.
    pub object: Value,
    /// The picture, an SVG document.
    pub picture: String,
}

/// A feature in one cycle.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
struct Summary {
    count: u64,
    mean: f64,
    min: f64,
    max: f64,
    std: f64,
}

fn summary(values: impl Iterator<Item = Option<f64>>) -> Option<Summary> {
    let mut moments = Moments::default();
    let (mut min, mut max) = (f64::INFINITY, f64::NEG_INFINITY);
    for value in values.flatten().filter_map(Finite::new) {
        moments.add(value);
        (min, max) = (min.min(value.get()), max.max(value.get()));
    }
    Some(Summary { count: moments.count(), mean: moments.mean()?, min, max, std: moments.deviation()? })
}

type Cycle = Vec<Second>;

fn read(feed: &mut Feed) -> Result<BTreeMap<i64, Cycle>, FeedError> {
    let mut cycles: BTreeMap<i64, Cycle> = BTreeMap::new();
    for (cycle, second, _) in feed.poll()? {
        cycles.entry(cycle).or_default().push(second);
    }
    cycles.values_mut().for_each(|seconds| seconds.sort());
    Ok(cycles)
}

fn feature(seconds: &Cycle, at: usize) -> impl Iterator<Item = Option<f64>> {
    seconds.iter().map(move |second| second.features().nth(at).flatten())
}

/// How far two means lie apart, in pooled sample deviations.
fn distance(a: &Summary, b: &Summary) -> f64 {
    let apart = (a.mean - b.mean).abs();
    let pooled = ((a.std * a.std + b.std * b.std) / 2.0).sqrt();
    match (apart == 0.0, pooled == 0.0) {
        (true, _) => 0.0,
        (false, true) => f64::INFINITY,
        (false, false) => apart / pooled,
    }
}

/// Puts two cycles side by side: the `most` features that differ most, by the distance of their means in deviations.
/// `Ok(Err(cycle))` when a cycle is not there.
///
/// # Errors
/// When the lake cannot be read.
pub fn compare(
    place: Arc<dyn Storage>,
    features: &[String],
    [a, b]: [i64; 2],
    most: usize,
) -> Result<Result<Report, i64>, FeedError> {
    let mut feed = Feed::new(place, features.to_vec()).only([a, b]);
    let cycles = read(&mut feed)?;
    let (Some(of_a), Some(of_b)) = (cycles.get(&a), cycles.get(&b)) else {
        return Ok(Err(if cycles.contains_key(&a) { b } else { a }));
    };
    let mut rows = Vec::new();
    for (at, name) in features.iter().enumerate() {
        let both = summary(feature(of_a, at)).zip(summary(feature(of_b, at)));
        if let Some((in_a, in_b)) = both {
            rows.push((distance(&in_a, &in_b), at, name, in_a, in_b));
        }
    }
    rows.sort_by(|x, y| y.0.total_cmp(&x.0).then(x.1.cmp(&y.1)));
    rows.truncate(most);
    let mut table = format!("cycle {a}: {} seconds; cycle {b}: {} seconds\n", of_a.len(), of_b.len());
    let (in_a, in_b) = (format!("mean of {a}"), format!("mean of {b}"));
    let header = ["feature", &in_a, &in_b, "difference", "in deviations"];
    let cells = rows.iter().map(|(distance, _, name, a, b)| {
        [name.to_string(), short(a.mean), short(b.mean), short(b.mean - a.mean), short(*distance)]
    });
    table.push_str(&aligned(&header, cells));
    let differences = rows.iter().map(|(distance, _, name, a, b)| {
        // Two means that differ without any deviation are infinitely far apart, which JSON has no number for.
        json!({"feature": name, "a": a, "b": b, "difference": b.mean - a.mean, "deviations": distance})
    });
    let object = json!({
        "a": {"cycle": a, "seconds": of_a.len()},
        "b": {"cycle": b, "seconds": of_b.len()},
        "features": differences.collect::<Vec<_>>(),
    });
    let panels = rows.iter().take(6).map(|(_, at, name, ..)| {
        let line = |seconds: &Cycle, cycle: i64| {
            let first = seconds.first().map_or(0, |second| second.start_us);
            let points = seconds
                .iter()
                .zip(feature(seconds, *at))
                .filter_map(|(second, value)| Some(((second.start_us - first) as f64 / 1e6, value?)));
            Line { name: format!("cycle {cycle}"), points: points.collect() }
        };
        Panel {
            title: name.to_string(),
            x: "second of the cycle".to_owned(),
            lines: vec![line(of_a, a), line(of_b, b)],
            band: None,
        }
    });
    let picture = picture(&format!("Cycles {a} and {b}"), &panels.collect::<Vec<_>>());
    Ok(Ok(Report { table, object, picture }))
}

/// A feature over all cycles: its mean, extremes and deviation in each. `None` when no cycle has it.
///
/// # Errors
/// When the lake cannot be read.
pub fn trend(place: Arc<dyn Storage>, name: &str) -> Result<Option<Report>, FeedError> {
    let cycles = read(&mut Feed::new(place, vec![name.to_owned()]))?;
    let rows: Vec<(i64, i64, usize, Summary)> = cycles
        .iter()
        .filter_map(|(cycle, seconds)| {
            let start_us = seconds.first()?.start_us;
            Some((*cycle, start_us, seconds.len(), summary(feature(seconds, 0))?))
        })
        .collect();
    if rows.is_empty() {
        return Ok(None);
    }
    let header = ["cycle", "start", "seconds", "mean", "min", "max", "std"];
    let cells = rows.iter().map(|(cycle, start_us, seconds, of)| {
        let start = String::from_utf8_lossy(&time::format(*start_us))[..19].to_owned();
        let numbers = [of.mean, of.min, of.max, of.std].map(short);
        let [mean, min, max, std] = numbers;
        [cycle.to_string(), start, seconds.to_string(), mean, min, max, std]
    });
    let table = aligned(&header, cells);
    let cycles = rows.iter().map(|(cycle, start_us, seconds, of)| {
        let start = String::from_utf8_lossy(&time::format(*start_us)).into_owned();
        json!({"cycle": cycle, "start": start, "seconds": seconds, "values": of})
    });
    let object = json!({"feature": name, "cycles": cycles.collect::<Vec<_>>()});
    let x = |cycle: i64| cycle as f64;
    let panel = Panel {
        title: name.to_owned(),
        x: "cycle".to_owned(),
        lines: vec![Line {
            name: "mean".to_owned(),
            points: rows.iter().map(|(cycle, _, _, of)| (x(*cycle), of.mean)).collect(),
        }],
        band: Some(Band {
            name: "smallest to largest".to_owned(),
            points: rows.iter().map(|(cycle, _, _, of)| (x(*cycle), of.min, of.max)).collect(),
        }),
    };
    Ok(Some(Report { table, object, picture: picture(&format!("{name} by cycle"), &[panel]) }))
}

/// A number in about six digits.
fn short(value: f64) -> String {
    if value.is_infinite() {
        return "∞".to_owned();
    }
    let digits = match value.abs() {
        0.0 => 0,
        size => (5 - size.log10().floor() as i32).clamp(0, 9) as usize,
    };
    format!("{value:.digits$}")
}

/// Columns that line up: the first to the left, the others to the right.
pub(crate) fn aligned<const N: usize>(header: &[&str; N], rows: impl Iterator<Item = [String; N]>) -> String {
    let rows: Vec<[String; N]> = std::iter::once(header.map(str::to_owned)).chain(rows).collect();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..N).map(width).collect();
    let mut text = String::new();
    for row in &rows {
        for (at, (cell, width)) in row.iter().zip(&widths).enumerate() {
            // Writing to a string cannot fail.
            match at {
                0 => write!(text, "{cell:<width$}"),
                _ => write!(text, "  {cell:>width$}"),
            }
            .unwrap_or_default();
        }
        text.truncate(text.trim_end().len());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short_and_columns_line_up() {
        assert_eq!(short(151.191_234_5), "151.191");
        assert_eq!(short(0.000_123_456), "0.000123456");
        assert_eq!(short(0.0), "0");
        let text = aligned(&["feature", "n"], [["a".to_owned(), "10".to_owned()]].into_iter());
        assert_eq!(text, "feature   n\na        10\n");
    }

    #[test]
    fn distance_is_in_pooled_deviations() {
        let of = |mean, std| Summary { count: 60, mean, min: 0.0, max: 0.0, std };
        assert_eq!(distance(&of(1.0, 2.0), &of(5.0, 2.0)), 2.0);
        assert_eq!(distance(&of(1.0, 0.0), &of(1.0, 0.0)), 0.0);
        assert_eq!(distance(&of(1.0, 0.0), &of(2.0, 0.0)), f64::INFINITY);
    }
}
