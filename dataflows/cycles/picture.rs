//! Line charts as SVG: panels one below the other, axes with round numbers.

use std::fmt::Write;

/// A curve.
#[derive(Clone, Debug)]
pub(super) struct Line {
    pub(super) name: String,
    pub(super) points: Vec<(f64, f64)>,
}

/// An area between two curves.
#[derive(Clone, Debug)]
pub(super) struct Band {
    pub(super) name: String,
    /// x, lower, upper.
    pub(super) points: Vec<(f64, f64, f64)>,
}

/// A chart.
#[derive(Clone, Debug)]
pub(super) struct Panel {
    pub(super) title: String,
    pub(super) x: String,
    pub(super) lines: Vec<Line>,
    pub(super) band: Option<Band>,
}

const WIDTH: f64 = 820.0;
const HEIGHT: f64 = 240.0;
const LEFT: f64 = 80.0;
const RIGHT: f64 = 20.0;
const TOP: f64 = 34.0;
const BOTTOM: f64 = 44.0;
const HEAD: f64 = 44.0;

/// Colours that people with any colour vision tell apart.
const COLORS: [&str; 2] = ["#0072b2", "#d55e00"];

/// Draws panels under a title.
pub(super) fn picture(title: &str, panels: &[Panel]) -> String {
    let height = HEAD + HEIGHT * panels.len() as f64;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{height}\" viewBox=\"0 0 {WIDTH} {height}\" \
         font-family=\"sans-serif\" font-size=\"12\">\n<title>{0}</title>\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n\
         <text x=\"{LEFT}\" y=\"28\" font-size=\"18\">{0}</text>\n",
        escaped(title)
    );
    for (at, panel) in panels.iter().enumerate() {
        draw(panel, HEAD + HEIGHT * at as f64, &mut svg);
    }
    svg.push_str("</svg>\n");
    svg
}

/// A value range, a little wider than its values.
#[derive(Clone, Copy)]
struct Range {
    from: f64,
    to: f64,
}

impl Range {
    fn of(values: impl Iterator<Item = f64>) -> Range {
        let (from, to) = values.fold((f64::INFINITY, f64::NEG_INFINITY), |(a, b), v| (a.min(v), b.max(v)));
        match (from <= to, from == to) {
            (false, _) => Range { from: 0.0, to: 1.0 },
            (true, true) => {
                Range { from: from - from.abs().max(1.0) * 0.05, to: to + to.abs().max(1.0) * 0.05 }
            }
            (true, false) => Range { from, to },
        }
    }

    fn share(self, value: f64) -> f64 {
        (value - self.from) / (self.to - self.from)
    }

    /// Round numbers inside it, about `count` of them.
    fn ticks(self, count: f64) -> Vec<f64> {
        let rough = (self.to - self.from) / count;
        let power = 10f64.powf(rough.log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0].into_iter().map(|by| by * power).find(|step| *step >= rough);
        let Some(step) = step.filter(|step| step.is_finite() && *step > 0.0) else { return Vec::new() };
        let first = (self.from / step).ceil();
        (0..=(2.0 * count) as i32)
            .map(|at| (first + f64::from(at)) * step)
            .take_while(|value| *value <= self.to)
            .collect()
    }
}

fn draw(panel: &Panel, top: f64, svg: &mut String) {
    let points = || panel.lines.iter().flat_map(|line| line.points.iter());
    let band = || panel.band.iter().flat_map(|band| band.points.iter());
    let xs = Range::of(points().map(|point| point.0).chain(band().map(|point| point.0)));
    let ys = Range::of(points().map(|point| point.1).chain(band().flat_map(|point| [point.1, point.2])));
    let (width, height) = (WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM);
    let x = |value: f64| LEFT + width * xs.share(value);
    let y = |value: f64| top + TOP + height * (1.0 - ys.share(value));
    // Writing to a string cannot fail.
    let mut put = |text: std::fmt::Arguments<'_>| svg.write_fmt(text).unwrap_or_default();
    let (left, base) = (LEFT, top + TOP + height);
    put(format_args!(
        "<text x=\"{left}\" y=\"{}\" font-size=\"14\">{}</text>\n",
        top + 20.0,
        escaped(&panel.title)
    ));
    for value in ys.ticks(4.0) {
        let (at, label) = (y(value), number(value));
        put(format_args!("<path d=\"M{left} {at:.1}h{width}\" stroke=\"#ddd\"/>\n"));
        put(format_args!(
            "<text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\" fill=\"#444\">{label}</text>\n",
            left - 6.0,
            at + 4.0
        ));
    }
    for value in xs.ticks(8.0) {
        let at = x(value);
        put(format_args!("<path d=\"M{at:.1} {base}v4\" stroke=\"#888\"/>\n"));
        put(format_args!(
            "<text x=\"{at:.1}\" y=\"{}\" text-anchor=\"middle\" fill=\"#444\">{}</text>\n",
            base + 17.0,
            number(value)
        ));
    }
    put(format_args!(
        "<path d=\"M{left} {}V{base}H{}\" fill=\"none\" stroke=\"#888\"/>\n",
        top + TOP,
        left + width
    ));
    put(format_args!(
        "<text x=\"{}\" y=\"{}\" text-anchor=\"middle\" fill=\"#444\">{}</text>\n",
        left + width / 2.0,
        base + 34.0,
        escaped(&panel.x)
    ));
    let mut legend = Vec::new();
    if let Some(band) = &panel.band {
        let upper = band.points.iter().map(|(at, _, upper)| (x(*at), y(*upper)));
        let lower = band.points.iter().rev().map(|(at, lower, _)| (x(*at), y(*lower)));
        let path = path(upper.chain(lower));
        put(format_args!("<path d=\"{path}Z\" fill=\"{}\" fill-opacity=\"0.18\"/>\n", COLORS[0]));
        legend.push((band.name.as_str(), COLORS[0], 0.3));
    }
    for (line, color) in panel.lines.iter().zip(COLORS.iter().cycle()) {
        let path = path(line.points.iter().map(|(at, value)| (x(*at), y(*value))));
        put(format_args!("<path d=\"{path}\" fill=\"none\" stroke=\"{color}\" stroke-width=\"1.5\"/>\n"));
        if let [(at, value)] = line.points[..] {
            put(format_args!(
                "<circle cx=\"{:.1}\" cy=\"{:.1}\" r=\"3\" fill=\"{color}\"/>\n",
                x(at),
                y(value)
            ));
        }
        legend.push((line.name.as_str(), color, 1.0));
    }
    for (at, (name, color, opacity)) in legend.iter().rev().enumerate() {
        let at = left + width - 170.0 * at as f64;
        put(format_args!(
            "<rect x=\"{:.1}\" y=\"{}\" width=\"14\" height=\"4\" fill=\"{color}\" fill-opacity=\"{opacity}\"/>\n",
            at - 150.0,
            top + 14.0
        ));
        put(format_args!("<text x=\"{:.1}\" y=\"{}\">{}</text>\n", at - 130.0, top + 20.0, escaped(name)));
    }
}

fn path(points: impl Iterator<Item = (f64, f64)>) -> String {
    let mut path = String::new();
    for (at, (x, y)) in points.enumerate() {
        write!(path, "{}{x:.1} {y:.1}", if at == 0 { 'M' } else { 'L' }).unwrap_or_default();
    }
    path
}

/// A tick's number without the noise of binary fractions.
fn number(value: f64) -> String {
    let text = format!("{value:.6}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    if text == "-0" { "0".to_owned() } else { text.to_owned() }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_inside() {
        assert_eq!(Range { from: 0.0, to: 59.0 }.ticks(8.0), [0.0, 10.0, 20.0, 30.0, 40.0, 50.0]);
        assert_eq!(Range { from: -1.0, to: 1.0 }.ticks(4.0), [-1.0, -0.5, 0.0, 0.5, 1.0]);
        assert_eq!(number(0.1 + 0.2), "0.3");
    }

    #[test]
    fn picture_of_nothing_and_of_one_point_is_a_picture() {
        let panel = |points: Vec<(f64, f64)>| Panel {
            title: "a < b".to_owned(),
            x: "x".to_owned(),
            lines: vec![Line { name: "l".to_owned(), points }],
            band: None,
        };
        for points in [vec![], vec![(1.0, 1.0)], vec![(0.0, 1.0), (1.0, 3.0)]] {
            let svg = picture("t", &[panel(points)]);
            assert!(svg.contains("a &lt; b") && svg.ends_with("</svg>\n"));
            assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
        }
    }
}
