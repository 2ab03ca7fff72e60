//! Draws charts side by side.

use super::scale::{Range, label};
use super::{Chart, Place, Series, Style};
use std::fmt::Write;

/// Of one chart, in pixels.
const WIDTH: f64 = 460.0;
const PLOT_HEIGHT: f64 = 250.0;
const LEFT: f64 = 64.0;
const RIGHT: f64 = 16.0;
const TOP: f64 = 58.0;
/// Below the plot: tick labels and the axis's name.
const BELOW: f64 = 46.0;
const LEGEND_LINE: f64 = 20.0;
/// Of a character at the font's size, about.
const CHARACTER: f64 = 6.6;
const COLUMNS: usize = 2;

/// By series; one for light ground, one for dark.
pub(super) const COLORS: [(&str, &str); 8] = [
    ("#0b62a8", "#6cb6f5"),
    ("#c2410c", "#ff9d6b"),
    ("#15803d", "#5fd38a"),
    ("#9333a8", "#d99bf0"),
    ("#8a6d00", "#e6c34a"),
    ("#0e7c86", "#56cbd6"),
    ("#be185d", "#f78fb8"),
    ("#4b5563", "#b6bfcc"),
];

/// A figure of charts, two in a row, as one SVG element.
pub fn figure(title: &str, charts: &[Chart]) -> String {
    let columns = charts.len().clamp(1, COLUMNS);
    let rows: Vec<&[Chart]> = charts.chunks(columns).collect();
    let heights: Vec<f64> =
        rows.iter().map(|row| row.iter().map(height).fold(0.0, f64::max)).collect();
    let (width, height) = (WIDTH * columns as f64, heights.iter().sum::<f64>() + 30.0);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" class=\"bc-figure\" width=\"{width:.0}\" \
         height=\"{height:.0}\" viewBox=\"0 0 {width:.0} {height:.0}\" role=\"img\" \
         aria-label=\"{}\">\n<title>{}</title>\n{}\
         <rect class=\"bc-ground\" width=\"{width:.0}\" height=\"{height:.0}\"/>\n",
        escaped(title),
        escaped(title),
        style()
    );
    text(&mut svg, width / 2.0, 22.0, "bc-title", "middle", title);
    let mut y = 30.0;
    for (row, height) in rows.iter().zip(&heights) {
        for (column, chart) in row.iter().enumerate() {
            let _ =
                writeln!(svg, "<g transform=\"translate({:.0} {y:.0})\">", WIDTH * column as f64);
            draw(&mut svg, chart);
            svg += "</g>\n";
        }
        y += height;
    }
    svg + "</svg>\n"
}

pub(super) fn style() -> String {
    let scheme = |dark: bool| {
        let (ground, ink, faint) = if dark {
            ("#10141b", "#d5dae3", "#2f3846")
        } else {
            ("#ffffff", "#1c2430", "#dde2ea")
        };
        let mut css = format!(
            ".bc-ground{{fill:{ground}}}.bc-text,.bc-title{{fill:{ink}}}\
             .bc-axis{{stroke:{ink}}}.bc-grid{{stroke:{faint}}}"
        );
        for (index, (light, dark_color)) in COLORS.iter().enumerate() {
            let color = if dark { dark_color } else { light };
            let _ = write!(css, ".bc-l{index}{{stroke:{color}}}.bc-m{index}{{fill:{color}}}");
        }
        css
    };
    format!(
        "<style>.bc-figure{{font-family:system-ui,sans-serif;font-size:12px}}\
         .bc-title{{font-size:14px;font-weight:600}}.bc-axis,.bc-grid{{stroke-width:1}}\
         .bc-line{{fill:none;stroke-width:2;stroke-linejoin:round}}.bc-dashed{{stroke-dasharray:6 4}}\
         .bc-whisker{{stroke-width:1.2;opacity:0.7}}{}\
         @media(prefers-color-scheme:dark){{{}}}</style>\n",
        scheme(false),
        scheme(true)
    )
}

fn height(chart: &Chart) -> f64 {
    TOP + PLOT_HEIGHT + BELOW + legend_lines(chart).len() as f64 * LEGEND_LINE + 8.0
}

/// Where values are on the paper.
struct Frame {
    x: Range,
    y: Range,
}

impl Frame {
    fn of(chart: &Chart) -> Frame {
        let places = || chart.series.iter().flat_map(|series| shown(chart, series));
        let with_intervals = places().flat_map(|place| {
            let (low, high) = place.interval.unwrap_or((place.y, place.y));
            [low, place.y, high].into_iter().filter(|&value| chart.y.scale.shows(value))
        });
        Frame {
            x: Range::of(chart.x.scale, chart.x.from_zero, places().map(|place| place.x)),
            y: Range::of(chart.y.scale, chart.y.from_zero, with_intervals),
        }
    }

    fn x(&self, value: f64) -> f64 {
        LEFT + self.x.place(value) * (WIDTH - LEFT - RIGHT)
    }

    fn y(&self, value: f64) -> f64 {
        TOP + (1.0 - self.y.place(value)) * PLOT_HEIGHT
    }
}

/// The points that have a place on both axes.
fn shown<'a>(chart: &'a Chart, series: &'a Series) -> impl Iterator<Item = &'a Place> {
    let has_place = |p: &&Place| chart.x.scale.shows(p.x) && chart.y.scale.shows(p.y);
    series.points.iter().filter(has_place)
}

fn draw(svg: &mut String, chart: &Chart) {
    let frame = Frame::of(chart);
    let (right, bottom) = (WIDTH - RIGHT, TOP + PLOT_HEIGHT);
    text(svg, (LEFT + right) / 2.0, 24.0, "bc-text", "middle", &chart.title);
    for &tick in &frame.y.ticks {
        let y = frame.y(tick);
        let _ = writeln!(
            svg,
            "<line class=\"bc-grid\" x1=\"{LEFT}\" y1=\"{y:.1}\" x2=\"{right}\" y2=\"{y:.1}\"/>"
        );
        text(svg, LEFT - 8.0, y + 4.0, "bc-text", "end", &label(tick));
    }
    for &tick in &frame.x.ticks {
        let x = frame.x(tick);
        let below = bottom + 5.0;
        let _ = writeln!(
            svg,
            "<line class=\"bc-axis\" x1=\"{x:.1}\" y1=\"{bottom}\" x2=\"{x:.1}\" y2=\"{below}\"/>"
        );
        text(svg, x, bottom + 19.0, "bc-text", "middle", &label(tick));
    }
    let _ = writeln!(svg, "<path class=\"bc-line bc-axis\" d=\"M{LEFT} {TOP}V{bottom}H{right}\"/>");
    // The unit of the upright axis stands above it, where it can be read.
    text(svg, LEFT - 8.0, TOP - 12.0, "bc-text", "start", &chart.y.label);
    text(svg, (LEFT + right) / 2.0, bottom + 38.0, "bc-text", "middle", &chart.x.label);
    let is_empty = chart.series.iter().all(|series| shown(chart, series).next().is_none());
    if is_empty {
        text(svg, (LEFT + right) / 2.0, TOP + PLOT_HEIGHT / 2.0, "bc-text", "middle", "no data");
    }
    for (index, series) in chart.series.iter().enumerate() {
        draw_series(svg, chart, series, index, &frame);
    }
    draw_legend(svg, chart);
}

fn draw_series(svg: &mut String, chart: &Chart, series: &Series, index: usize, frame: &Frame) {
    let color = index % COLORS.len();
    let places: Vec<(f64, f64)> =
        shown(chart, series).map(|place| (frame.x(place.x), frame.y(place.y))).collect();
    for place in shown(chart, series) {
        let Some((low, high)) = place.interval else { continue };
        if !chart.y.scale.shows(low) || !chart.y.scale.shows(high) {
            continue;
        }
        let (x, low, high) = (frame.x(place.x), frame.y(low), frame.y(high));
        let _ = writeln!(
            svg,
            "<path class=\"bc-line bc-whisker bc-l{color}\" d=\"M{:.1} {low:.1}h8M{x:.1} \
             {low:.1}V{high:.1}m-4 0h8\"/>",
            x - 4.0
        );
    }
    if places.len() > 1 && series.style != Style::Marks {
        let path: Vec<String> = places.iter().map(|(x, y)| format!("{x:.1} {y:.1}")).collect();
        let dashed = if series.style == Style::Dashed { " bc-dashed" } else { "" };
        let _ = writeln!(
            svg,
            "<path class=\"bc-line bc-l{color}{dashed}\" d=\"M{}\"/>",
            path.join("L")
        );
    }
    for (x, y) in places {
        mark(svg, index, x, y);
    }
}

/// A circle, square, triangle or diamond.
pub(super) fn mark(svg: &mut String, index: usize, x: f64, y: f64) {
    let color = index % COLORS.len();
    // With as many marks as divide the colours, the same pair would come again after these.
    let path = match (index + index / COLORS.len()) % 4 {
        0 => "m-4 0a4 4 0 1 0 8 0a4 4 0 1 0 -8 0z",
        1 => "m-3.6 -3.6h7.2v7.2h-7.2z",
        2 => "m0 -4.6l4.6 8h-9.2z",
        _ => "m0 -5l4.6 5l-4.6 5l-4.6 -5z",
    };
    let _ = writeln!(svg, "<path class=\"bc-m{color}\" d=\"M{x:.1} {y:.1}{path}\"/>");
}

fn legend_lines(chart: &Chart) -> Vec<Vec<(usize, f64)>> {
    legend(chart.series.iter().map(|series| series.name.as_str()), WIDTH - RIGHT)
}

/// Entries of a legend by line, each with its place from the left; lines end at `right`.
pub(super) fn legend<'a>(
    names: impl Iterator<Item = &'a str>,
    right: f64,
) -> Vec<Vec<(usize, f64)>> {
    let mut lines = vec![Vec::new()];
    let mut x = LEFT;
    for (index, name) in names.enumerate() {
        let width = 34.0 + name.chars().count() as f64 * CHARACTER;
        if x > LEFT && x + width > right {
            lines.push(Vec::new());
            x = LEFT;
        }
        if let Some(line) = lines.last_mut() {
            line.push((index, x));
        }
        x += width;
    }
    lines.retain(|line| !line.is_empty());
    lines
}

fn draw_legend(svg: &mut String, chart: &Chart) {
    for (row, line) in legend_lines(chart).iter().enumerate() {
        let y = TOP + PLOT_HEIGHT + BELOW + LEGEND_LINE * (row as f64 + 0.5);
        for &(index, x) in line {
            mark(svg, index, x + 8.0, y - 4.0);
            text(svg, x + 18.0, y, "bc-text", "start", &chart.series[index].name);
        }
    }
}

pub(super) fn text(svg: &mut String, x: f64, y: f64, class: &str, anchor: &str, words: &str) {
    let _ = writeln!(
        svg,
        "<text class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{}</text>",
        escaped(words)
    );
}

/// A text for XML and HTML; characters that they can't hold are left out.
pub fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out += "&amp;",
            '<' => out += "&lt;",
            '>' => out += "&gt;",
            '"' => out += "&quot;",
            '\u{fffe}' | '\u{ffff}' => {}
            c if c < ' ' && !matches!(c, '\t' | '\n' | '\r') => {}
            c => out.push(c),
        }
    }
    out
}
