//! Plots of lines as SVG, readable in any browser. It knows nothing of what the lines show.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};

const WIDTH: f64 = 920.0;
const HEIGHT: f64 = 480.0;
/// Room beside the field: for the numbers of the axis on the left, and for the legend on the right.
const LEFT: f64 = 80.0;
const RIGHT: f64 = 210.0;
const TOP: f64 = 50.0;
const BOTTOM: f64 = 60.0;

/// Lines from the top of one entry of the legend to the next.
const LEGEND_STEP: f64 = 22.0;

/// Parts that a linear axis is divided into, about.
const PARTS: f64 = 6.0;

/// Told apart by those, too, who see few colours.
const COLOURS: [&str; 6] = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9"];

/// One line.
#[derive(Clone, Debug)]
pub struct Series {
    /// What it is called in the legend.
    pub name: String,
    /// Its points, by x.
    pub points: Vec<(f64, f64)>,
}

/// An axis: it reaches from its first tick to its last.
#[derive(Clone, Debug)]
pub struct Axis {
    label: String,
    is_logarithmic: bool,
    ticks: Vec<(f64, String)>,
}

impl Axis {
    /// From zero to `max` or a little more, in equal steps.
    pub fn linear(label: &str, max: f64) -> Axis {
        let rough = if max > 0.0 { max / PARTS } else { 1.0 };
        let magnitude = 10_f64.powf(rough.log10().floor());
        let round = [1.0, 2.0, 5.0, 10.0].into_iter().map(|step| step * magnitude).find(|step| *step >= rough);
        let step = round.unwrap_or(rough);
        let count = (max / step).ceil().max(1.0) as u32;
        let values = (0..=count).map(|number| f64::from(number) * step);
        Axis {
            label: label.to_owned(),
            is_logarithmic: false,
            ticks: values.map(|value| (value, plain(value))).collect(),
        }
    }

    /// Powers of ten around all that is between `min` and `max`, which are positive.
    pub fn decades(label: &str, min: f64, max: f64) -> Axis {
        let (first, last) = (min.log10().floor() as i32, max.log10().ceil() as i32);
        let values = (first..=last.max(first + 1)).map(|power| 10_f64.powi(power));
        Axis {
            label: label.to_owned(),
            is_logarithmic: true,
            ticks: values.map(|value| (value, plain(value))).collect(),
        }
    }

    /// A logarithmic axis with ticks of one's own, in rising order.
    pub fn logarithmic(label: &str, ticks: Vec<(f64, String)>) -> Axis {
        Axis { label: label.to_owned(), is_logarithmic: true, ticks }
    }

    /// Where a value stands: 0 at the first tick, 1 at the last.
    fn place(&self, value: f64) -> f64 {
        let scale = |value: f64| if self.is_logarithmic { value.max(f64::MIN_POSITIVE).ln() } else { value };
        let end = |tick: Option<&(f64, String)>| tick.map_or(0.0, |(value, _)| scale(*value));
        let (first, last) = (end(self.ticks.first()), end(self.ticks.last()));
        ((scale(value) - first) / (last - first)).clamp(0.0, 1.0)
    }
}

/// Writes a plot.
pub fn write(path: &Path, title: &str, x: &Axis, y: &Axis, series: &[Series]) -> Result<()> {
    fs::write(path, draw(title, x, y, series)).with_context(|| format!("cannot write {}", path.display()))
}

fn draw(title: &str, x: &Axis, y: &Axis, series: &[Series]) -> String {
    let (right, bottom) = (WIDTH - RIGHT, HEIGHT - BOTTOM);
    let at_x = |value: f64| LEFT + x.place(value) * (right - LEFT);
    let at_y = |value: f64| bottom - y.place(value) * (bottom - TOP);
    let mut svg = format!(
        "<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {WIDTH} {HEIGHT}' font-family='sans-serif' font-size='13'>\n\
         <rect width='100%' height='100%' fill='white'/>\n"
    );
    svg += &text(LEFT, TOP / 2.0, "start", &format!("<tspan font-size='16'>{}</tspan>", escape(title)));
    for (value, label) in &x.ticks {
        svg += &line((at_x(*value), TOP), (at_x(*value), bottom));
        svg += &text(at_x(*value), bottom + 20.0, "middle", &escape(label));
    }
    for (value, label) in &y.ticks {
        svg += &line((LEFT, at_y(*value)), (right, at_y(*value)));
        svg += &text(LEFT - 8.0, at_y(*value) + 4.0, "end", &escape(label));
    }
    svg += &text((LEFT + right) / 2.0, HEIGHT - 15.0, "middle", &escape(&x.label));
    let middle = (TOP + bottom) / 2.0;
    let _ =
        writeln!(svg, "<g transform='rotate(-90 18 {middle})'>{}</g>", text(18.0, middle, "middle", &escape(&y.label)));
    for (number, (series, colour)) in series.iter().zip(COLOURS.iter().cycle()).enumerate() {
        let points: Vec<(f64, f64)> = series.points.iter().map(|(x, y)| (at_x(*x), at_y(*y))).collect();
        let path: String = points.iter().map(|(x, y)| format!("{x:.1},{y:.1} ")).collect();
        let _ = writeln!(svg, "<polyline points='{path}' fill='none' stroke='{colour}' stroke-width='2'/>");
        let top = TOP + LEGEND_STEP * number as f64 + 8.0;
        let _ = writeln!(svg, "<rect x='{}' y='{}' width='18' height='4' fill='{colour}'/>", right + 16.0, top);
        svg += &text(right + 40.0, top + 7.0, "start", &escape(&series.name));
    }
    svg + "</svg>\n"
}

fn line((x1, y1): (f64, f64), (x2, y2): (f64, f64)) -> String {
    format!("<line x1='{x1:.1}' y1='{y1:.1}' x2='{x2:.1}' y2='{y2:.1}' stroke='#ddd'/>\n")
}

/// A text whose content is SVG already.
fn text(x: f64, y: f64, anchor: &str, content: &str) -> String {
    format!("<text x='{x:.1}' y='{y:.1}' text-anchor='{anchor}'>{content}</text>\n")
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// A round number without needless zeros, and with marks at the thousands.
fn plain(value: f64) -> String {
    if value.abs() < 1000.0 {
        let text = format!("{value:.6}");
        return text.trim_end_matches('0').trim_end_matches('.').to_owned();
    }
    let digits = format!("{value:.0}");
    let groups: Vec<&str> = digits.as_bytes().rchunks(3).rev().flat_map(std::str::from_utf8).collect();
    groups.join(" ")
}
