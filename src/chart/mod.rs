//! Line charts as SVG, for files next to a profile and for report pages.
//!
//! A figure is a text that stands alone (a file for the browser) or goes into an HTML page as it
//! is. It follows the reader's light or dark colour scheme, and tells its series apart by marks as
//! well as by colours.

mod draw;
mod groups;
mod scale;

pub use draw::{escaped, figure};
pub use groups::{Dot, Groups, groups};
pub use scale::Scale;

/// One pair of axes with some lines.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Chart {
    pub title: String,
    pub x: Axis,
    pub y: Axis,
    /// In the order of the legend.
    pub series: Vec<Series>,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Axis {
    /// What is shown, with its unit.
    pub label: String,
    pub scale: Scale,
    /// A linear axis begins at zero even when the values do not.
    pub from_zero: bool,
}

impl Axis {
    pub fn new(label: impl Into<String>, scale: Scale) -> Axis {
        Axis { label: label.into(), scale, from_zero: false }
    }

    #[must_use]
    pub fn from_zero(self) -> Axis {
        Axis { from_zero: true, ..self }
    }
}

/// One line, and its entry in the legend.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Series {
    pub name: String,
    /// In the order in which they are connected. What is not finite, or not above 0 on a
    /// logarithmic axis, is left out.
    pub points: Vec<Place>,
    pub style: Style,
}

impl Series {
    pub fn new(name: impl Into<String>, points: Vec<Place>) -> Series {
        Series { name: name.into(), points, style: Style::Solid }
    }
}

/// A point of a series.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Place {
    pub x: f64,
    pub y: f64,
    /// From where to where the value may as well be.
    pub interval: Option<(f64, f64)>,
}

impl Place {
    pub fn new(x: f64, y: f64) -> Place {
        Place { x, y, interval: None }
    }
}

/// How the points of a series are connected.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Style {
    #[default]
    Solid,
    /// For what is a bound or a prediction.
    Dashed,
    /// Not at all.
    Marks,
}

#[cfg(test)]
mod tests;
