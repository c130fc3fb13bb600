//! Plots as SVG: lines over two axes, readable on a light ground and on a dark one.
//!
//! Colours and the ground's contrast are the style sheet's; everything else says `currentColor`.

use std::fmt::Write;

use crate::ticks;

/// How values lie along an axis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scale {
    /// From zero.
    Linear,
    /// Equal ratios are equally long.
    Log,
    /// The same, with a tick at each power of two.
    Doubling,
}

/// One of the two axes.
#[derive(Debug, Clone)]
pub(crate) struct Axis {
    /// What is counted, with its unit.
    pub(crate) label: String,
    pub(crate) scale: Scale,
}

/// Points in the order of their first coordinates.
#[derive(Debug, Clone)]
pub(crate) struct Line {
    pub(crate) name: String,
    /// Which colour it has.
    pub(crate) hue: usize,
    /// How it is drawn: as a whole, dashed, dotted.
    pub(crate) stroke: usize,
    pub(crate) points: Vec<(f64, f64)>,
}

/// A plot and the name of its file.
#[derive(Debug, Clone)]
pub(crate) struct Plot {
    pub(crate) file: &'static str,
    pub(crate) title: String,
    pub(crate) x: Axis,
    pub(crate) y: Axis,
    pub(crate) lines: Vec<Line>,
}

const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 400.0;
/// The area of the lines: left, top, right, bottom.
const AREA: (f64, f64, f64, f64) = (64.0, 44.0, 540.0, 344.0);
const HUES: usize = 6;
const STROKES: [&str; 3] = ["", "7 4", "2 3"];

const STYLE: &str = "\
svg{color:#1f2328;font:12px system-ui,sans-serif}
text{fill:currentColor}
.title{font-size:14px;font-weight:600}
.grid{stroke:currentColor;stroke-opacity:.15}
.hue0{color:#0969da}.hue1{color:#bc4c00}.hue2{color:#1a7f37}.hue3{color:#8250df}.hue4{color:#bf3989}.hue5{color:#6e7781}
@media(prefers-color-scheme:dark){
svg{color:#e6edf3}
.hue0{color:#58a6ff}.hue1{color:#f0883e}.hue2{color:#3fb950}.hue3{color:#bc8cff}.hue4{color:#f778ba}.hue5{color:#9198a1}
}
";

/// An axis with the range that it shows, laid along a stretch of the picture.
struct Laid {
    scale: Scale,
    range: (f64, f64),
    ticks: Vec<f64>,
    stretch: (f64, f64),
}

impl Laid {
    fn new(scale: Scale, values: impl Iterator<Item = f64>, stretch: (f64, f64)) -> Self {
        let (low, high) = values.fold((f64::INFINITY, 0.0), |(low, high), x| (x.min(low), x.max(high)));
        let ticks = match scale {
            Scale::Linear => ticks::linear(high),
            Scale::Log => ticks::decades(low, high),
            Scale::Doubling => ticks::doublings(low, high),
        };
        let range = (ticks[0], ticks[ticks.len() - 1]);
        Self { scale, range, ticks, stretch }
    }

    fn at(&self, x: f64) -> f64 {
        let place = |x: f64| if self.scale == Scale::Linear { x } else { x.ln() };
        let (low, high) = (place(self.range.0), place(self.range.1));
        let part = if high > low { (place(x) - low) / (high - low) } else { 0.5 };
        self.stretch.0 + part * (self.stretch.1 - self.stretch.0)
    }
}

impl Plot {
    /// The plot as a file of SVG.
    pub(crate) fn svg(&self) -> String {
        let (left, top, right, bottom) = AREA;
        let points = || self.lines.iter().flat_map(|line| &line.points);
        let x = Laid::new(self.x.scale, points().map(|point| point.0), (left, right));
        let y = Laid::new(self.y.scale, points().map(|point| point.1), (bottom, top));
        let mut out = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\">\n<title>{title}</title>\n<style>\n{STYLE}</style>\n<text class=\"title\" x=\"{left}\" y=\"24\">{title}</text>\n",
            title = escaped(&self.title)
        );
        self.draw_axes(&mut out, &x, &y);
        for (row, line) in self.lines.iter().enumerate() {
            draw_line(&mut out, line, &x, &y);
            draw_key(&mut out, line, top + 8.0 + 20.0 * row as f64);
        }
        out + "</svg>\n"
    }

    fn draw_axes(&self, out: &mut String, x: &Laid, y: &Laid) {
        let (left, top, right, bottom) = AREA;
        for &tick in &x.ticks {
            let at = x.at(tick);
            let _ = writeln!(out, "<path class=\"grid\" d=\"M{at:.1} {top}V{bottom}\"/>");
            let below = bottom + 18.0;
            let _ = writeln!(out, "<text x=\"{at:.1}\" y=\"{below}\" text-anchor=\"middle\">{tick}</text>");
        }
        for &tick in &y.ticks {
            let at = y.at(tick);
            let _ = writeln!(out, "<path class=\"grid\" d=\"M{left} {at:.1}H{right}\"/>");
            let (beside, at) = (left - 8.0, at + 4.0);
            let _ = writeln!(out, "<text x=\"{beside}\" y=\"{at:.1}\" text-anchor=\"end\">{tick}</text>");
        }
        let (middle, below) = ((left + right) / 2.0, bottom + 42.0);
        let label = escaped(&self.x.label);
        let _ = writeln!(out, "<text x=\"{middle}\" y=\"{below}\" text-anchor=\"middle\">{label}</text>");
        let middle = (top + bottom) / 2.0;
        let label = escaped(&self.y.label);
        let _ = writeln!(
            out,
            "<text transform=\"translate(16 {middle}) rotate(-90)\" text-anchor=\"middle\">{label}</text>"
        );
    }
}

fn draw_line(out: &mut String, line: &Line, x: &Laid, y: &Laid) {
    let _ = write!(out, "<g class=\"hue{}\">\n<polyline {} points=\"", line.hue % HUES, stroke(line));
    for (number, point) in line.points.iter().enumerate() {
        let gap = if number > 0 { " " } else { "" };
        let _ = write!(out, "{gap}{:.1},{:.1}", x.at(point.0), y.at(point.1));
    }
    out.push_str("\"/>\n");
    for point in &line.points {
        let (x, y) = (x.at(point.0), y.at(point.1));
        let _ = writeln!(out, "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3\" fill=\"currentColor\"/>");
    }
    out.push_str("</g>\n");
}

/// The line's entry in the list beside the area.
fn draw_key(out: &mut String, line: &Line, y: f64) {
    let (start, end) = (AREA.2 + 16.0, AREA.2 + 44.0);
    let (hue, stroke) = (line.hue % HUES, stroke(line));
    let _ = writeln!(out, "<g class=\"hue{hue}\"><path {stroke} d=\"M{start} {y}H{end}\"/></g>");
    let _ = writeln!(out, "<text x=\"{}\" y=\"{}\">{}</text>", end + 8.0, y + 4.0, escaped(&line.name));
}

fn stroke(line: &Line) -> String {
    let dashes = STROKES[line.stroke % STROKES.len()];
    let dashes = if dashes.is_empty() { String::new() } else { format!(" stroke-dasharray=\"{dashes}\"") };
    format!("fill=\"none\" stroke=\"currentColor\" stroke-width=\"2\"{dashes}")
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(name: &str, points: &[(f64, f64)]) -> Line {
        Line { name: name.to_owned(), hue: 7, stroke: 1, points: points.to_vec() }
    }

    fn plot(scale: Scale, lines: Vec<Line>) -> Plot {
        let axis = |label: &str, scale| Axis { label: label.to_owned(), scale };
        Plot { file: "p.svg", title: "A < B".to_owned(), x: axis("n", scale), y: axis("ms", Scale::Linear), lines }
    }

    #[test]
    fn points_lie_where_the_ticks_say() {
        let svg = plot(Scale::Doubling, vec![line("a & b", &[(1.0, 0.0), (2.0, 5.0), (4.0, 10.0)])]).svg();
        assert!(svg.contains("points=\"64.0,344.0 302.0,194.0 540.0,44.0\""), "{svg}");
        assert!(svg.contains("stroke-dasharray=\"7 4\"") && svg.contains("class=\"hue1\""));
        assert!(svg.contains("A &lt; B") && svg.contains("a &amp; b") && svg.contains(">ms</text>"));
    }

    #[test]
    fn every_element_is_closed_and_every_number_finite() {
        for lines in [vec![], vec![line("one", &[(3.0, 3.0)])], vec![line("zero", &[(1.0, 0.0)])]] {
            for scale in [Scale::Linear, Scale::Log, Scale::Doubling] {
                let svg = plot(scale, lines.clone()).svg();
                assert_eq!(svg.matches("<g ").count(), svg.matches("</g>").count());
                assert_eq!(svg.matches("<text").count(), svg.matches("</text>").count());
                assert!(!svg.contains("NaN") && !svg.contains("inf\""), "{svg}");
            }
        }
    }
}
