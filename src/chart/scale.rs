//! From values to places on an axis, and where its ticks are.

/// Ticks that an axis has about.
const TICKS: f64 = 5.0;
/// A logarithmic axis over more doublings shows every second one, and so on.
const MAX_DOUBLINGS: i32 = 9;

/// How an axis divides its length.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Scale {
    #[default]
    Linear,
    /// Doubling takes the same length everywhere; ticks are powers of two.
    Log2,
    /// For values over several powers of ten.
    Log10,
}

/// An axis with its ends and ticks.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Range {
    scale: Scale,
    low: f64,
    high: f64,
    pub(super) ticks: Vec<f64>,
}

impl Scale {
    /// Whether the value has a place.
    pub(super) fn shows(self, value: f64) -> bool {
        value.is_finite() && (self == Scale::Linear || value > 0.0)
    }
}

impl Range {
    /// Ends and ticks for these values, all of which the scale shows.
    pub(super) fn of(scale: Scale, from_zero: bool, values: impl Iterator<Item = f64>) -> Range {
        let ends = values.fold(None, |ends: Option<(f64, f64)>, value| {
            Some(ends.map_or((value, value), |(low, high)| (low.min(value), high.max(value))))
        });
        let (low, high) =
            ends.unwrap_or(if scale == Scale::Linear { (0.0, 1.0) } else { (1.0, 8.0) });
        match scale {
            Scale::Linear => linear(low, high, from_zero),
            Scale::Log2 => log2(low, high),
            Scale::Log10 => log10(low, high),
        }
    }

    /// 0 at the low end, 1 at the high one.
    pub(super) fn place(&self, value: f64) -> f64 {
        let along = |value: f64| match self.scale {
            Scale::Linear => value,
            Scale::Log2 | Scale::Log10 => value.ln(),
        };
        (along(value) - along(self.low)) / (along(self.high) - along(self.low))
    }
}

fn linear(low: f64, high: f64, from_zero: bool) -> Range {
    let low = if from_zero { low.min(0.0) } else { low };
    let high = if from_zero { high.max(0.0) } else { high };
    let wide = if high > low { high - low } else { high.abs().max(1.0) };
    let step = nice_step(wide / TICKS);
    let first = (low / step).floor();
    let last = (high / step).ceil().max(first + 1.0);
    let count = (last - first) as usize;
    let ticks = (0..=count).map(|i| (first + i as f64) * step).collect();
    Range { scale: Scale::Linear, low: first * step, high: last * step, ticks }
}

/// The least of 1, 2, 5, 10, … times a power of ten that is at least `wide`.
fn nice_step(wide: f64) -> f64 {
    let power = 10f64.powf(wide.log10().floor());
    let factors = [1.0, 2.0, 5.0, 10.0];
    // Rounding may leave the quotient a little above 10.
    factors.iter().find(|&&factor| wide <= factor * power * (1.0 + 1e-9)).unwrap_or(&10.0) * power
}

fn log2(low: f64, high: f64) -> Range {
    let first = low.log2().floor() as i32;
    let last = (high.log2().ceil() as i32).max(first + 1);
    let step = (last - first + MAX_DOUBLINGS - 1) / MAX_DOUBLINGS;
    let ticks = (first..=last).step_by(step as usize).map(|power| f64::from(power).exp2());
    Range {
        scale: Scale::Log2,
        low: f64::from(first).exp2(),
        high: f64::from(last).exp2(),
        ticks: ticks.collect(),
    }
}

/// From and to 1, 2 or 5 times a power of ten.
fn log10(low: f64, high: f64) -> Range {
    let powers = (low.log10().floor() as i32 - 1)..=(high.log10().ceil() as i32 + 1);
    let all: Vec<f64> =
        powers.flat_map(|power| [1.0, 2.0, 5.0].map(|factor| factor * 10f64.powi(power))).collect();
    let slack = 1.0 + 1e-9;
    let first = all.iter().rposition(|&tick| tick <= low * slack).unwrap_or(0);
    let last = all.iter().position(|&tick| tick * slack >= high).unwrap_or(all.len() - 1);
    let last = last.max(first + 1).min(all.len() - 1);
    let mut ticks = all[first..=last].to_vec();
    if ticks.len() > 2 * TICKS as usize {
        ticks.retain(|tick| (tick.log10() - tick.log10().round()).abs() < 1e-9);
    }
    Range { scale: Scale::Log10, low: all[first], high: all[last], ticks }
}

/// A tick's number: short, and the same for all that are alike.
pub(super) fn label(value: f64) -> String {
    let size = value.abs();
    let (scaled, suffix) = match size {
        s if s >= 1e9 => (value / 1e9, "G"),
        s if s >= 1e6 => (value / 1e6, "M"),
        s if s >= 1e4 => (value / 1e3, "k"),
        _ => (value, ""),
    };
    if size != 0.0 && size < 1e-3 {
        return format!("{scaled:e}");
    }
    let text = format!("{scaled:.4}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    format!("{}{suffix}", if text == "-0" { "0" } else { text })
}
