//! Plots of lines as SVG, readable in any browser. It knows nothing of what the lines show.

use std::ops::Range;
use std::path::Path;

use anyhow::{Result, anyhow};
use plotters::coord::ranged1d::{KeyPointHint, NoDefaultFormatting, Ranged, ValueFormatter};
use plotters::prelude::*;

/// The size of a plot, in pixels.
const SIZE: (u32, u32) = (920, 480);

/// Room around the field and for what is written at its axes, in pixels.
const MARGIN: u32 = 16;
const BELOW: u32 = 48;
const BESIDE: u32 = 80;

/// How long a line is in the legend, in pixels.
const LEGEND_LINE: i32 = 18;

/// Parts that a linear axis is divided into, about.
const PARTS: f64 = 6.0;

/// Told apart by those, too, who see few colours.
const COLOURS: [RGBColor; 6] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(230, 159, 0),
    RGBColor(86, 180, 233),
];

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

impl Ranged for Axis {
    type FormatOption = NoDefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, (first, last): (i32, i32)) -> i32 {
        first + (self.place(*value) * f64::from(last - first)).round() as i32
    }

    fn key_points<Hint: KeyPointHint>(&self, _hint: Hint) -> Vec<f64> {
        self.ticks.iter().map(|(value, _)| *value).collect()
    }

    fn range(&self) -> Range<f64> {
        let end = |tick: Option<&(f64, String)>| tick.map_or(0.0, |(value, _)| *value);
        end(self.ticks.first())..end(self.ticks.last())
    }
}

impl ValueFormatter<f64> for Axis {
    fn format_ext(&self, value: &f64) -> String {
        let tick = self.ticks.iter().find(|(tick, _)| tick == value);
        tick.map_or_else(|| plain(*value), |(_, label)| label.clone())
    }
}

/// Writes a plot.
pub fn write(path: &Path, title: &str, x: &Axis, y: &Axis, series: &[Series]) -> Result<()> {
    let failed = |error: &dyn std::fmt::Display| anyhow!("cannot draw {}: {error}", path.display());
    let area = SVGBackend::new(path, SIZE).into_drawing_area();
    area.fill(&WHITE).map_err(|error| failed(&error))?;
    let mut chart = ChartBuilder::on(&area)
        .caption(title, ("sans-serif", 18))
        .margin(MARGIN)
        .x_label_area_size(BELOW)
        .y_label_area_size(BESIDE)
        .build_cartesian_2d(x.clone(), y.clone())
        .map_err(|error| failed(&error))?;
    chart
        .configure_mesh()
        .x_desc(&x.label)
        .y_desc(&y.label)
        .light_line_style(TRANSPARENT)
        .draw()
        .map_err(|error| failed(&error))?;
    for (Series { name, points }, colour) in series.iter().zip(COLOURS.iter().cycle()) {
        let style = colour.stroke_width(2);
        chart
            .draw_series(LineSeries::new(points.iter().copied(), style))
            .map_err(|error| failed(&error))?
            .label(name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + LEGEND_LINE, y)], style));
    }
    chart
        .configure_series_labels()
        .background_style(WHITE.mix(0.8))
        .border_style(BLACK.mix(0.2))
        .draw()
        .map_err(|error| failed(&error))?;
    area.present().map_err(|error| failed(&error))
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
