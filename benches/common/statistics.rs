//! What several rounds say together: the middle, and how far apart they are.

use std::fmt;
use std::time::Duration;

/// The median of several rounds with the least and the greatest.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    /// The median.
    pub median: f64,
    /// The least.
    pub min: f64,
    /// The greatest.
    pub max: f64,
}

impl Spread {
    /// The spread of these values, of which there is at least one; nothing if there is none.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Option<Spread> {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        let (min, max) = (*values.first()?, *values.last()?);
        let middle = values.len() / 2;
        let median = if values.len() % 2 == 1 { values[middle] } else { (values[middle - 1] + values[middle]) / 2.0 };
        Some(Spread { median, min, max })
    }

    /// The spread of times, in milliseconds.
    pub fn of_ms(times: impl IntoIterator<Item = Duration>) -> Option<Spread> {
        Spread::of(times.into_iter().map(|time| time.as_secs_f64() * 1e3))
    }
}

/// `0.123 (0.120–0.140)`, each with three digits; only the median where they do not differ.
impl fmt::Display for Spread {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [median, min, max] = [self.median, self.min, self.max].map(three_digits);
        if min == max { formatter.write_str(&median) } else { write!(formatter, "{median} ({min}–{max})") }
    }
}

/// A number with three significant digits, and all that it has before the point.
pub fn three_digits(value: f64) -> String {
    let magnitude = if value.abs() < 1e-9 { 0.0 } else { value.abs().log10().floor() };
    let decimals = (2.0 - magnitude).clamp(0.0, 3.0) as usize;
    format!("{value:.decimals$}")
}
