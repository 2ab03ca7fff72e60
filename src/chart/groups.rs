//! Dots with intervals, side by side in groups: values of the same series in several situations.

use super::Axis;
use super::draw::{COLORS, escaped, legend, mark, style, text};
use super::scale::{Range, label};
use std::fmt::Write;

/// In pixels.
const WIDTH: f64 = 960.0;
const PLOT_HEIGHT: f64 = 240.0;
const LEFT: f64 = 64.0;
const RIGHT: f64 = 16.0;
const TOP: f64 = 60.0;
const BELOW: f64 = 34.0;
const LEGEND_LINE: f64 = 20.0;
/// Share of a group's width that its dots take.
const FILLED: f64 = 0.8;

/// One plot.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Groups {
    pub title: String,
    pub y: Axis,
    /// What the groups are called, from left to right.
    pub names: Vec<String>,
    /// Name of each series, and its dot in each group, if it has one.
    pub series: Vec<(String, Vec<Option<Dot>>)>,
    /// A line at this value.
    pub line: Option<f64>,
}

/// A value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Dot {
    pub value: f64,
    /// From where to where it may as well be.
    pub interval: Option<(f64, f64)>,
    /// Crossed out: the value does not count.
    pub crossed: bool,
}

/// The plot as one SVG element.
pub fn groups(plot: &Groups) -> String {
    let lines = legend(plot.series.iter().map(|(name, _)| name.as_str()), WIDTH - RIGHT);
    let height = TOP + PLOT_HEIGHT + BELOW + lines.len() as f64 * LEGEND_LINE + 8.0;
    let title = escaped(&plot.title);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" class=\"bc-figure\" width=\"{WIDTH:.0}\" \
         height=\"{height:.0}\" viewBox=\"0 0 {WIDTH:.0} {height:.0}\" role=\"img\" \
         aria-label=\"{title}\">\n<title>{title}</title>\n{}\
         <rect class=\"bc-ground\" width=\"{WIDTH:.0}\" height=\"{height:.0}\"/>\n",
        style()
    );
    text(&mut svg, WIDTH / 2.0, 22.0, "bc-title", "middle", &plot.title);
    text(&mut svg, LEFT - 8.0, TOP - 14.0, "bc-text", "start", &plot.y.label);
    let range = range(plot);
    draw_axes(&mut svg, plot, &range);
    for (index, (_, dots)) in plot.series.iter().enumerate() {
        for (group, dot) in dots.iter().enumerate().take(plot.names.len()) {
            if let Some(dot) = dot.as_ref().filter(|dot| shows(plot, dot.value)) {
                draw_dot(&mut svg, plot, &range, (index, group), dot);
            }
        }
    }
    for (row, line) in lines.iter().enumerate() {
        let y = TOP + PLOT_HEIGHT + BELOW + LEGEND_LINE * (row as f64 + 0.5);
        for &(index, x) in line {
            mark(&mut svg, index, x + 8.0, y - 4.0);
            text(&mut svg, x + 18.0, y, "bc-text", "start", &plot.series[index].0);
        }
    }
    svg + "</svg>\n"
}

fn shows(plot: &Groups, value: f64) -> bool {
    plot.y.scale.shows(value)
}

fn range(plot: &Groups) -> Range {
    let dots = plot.series.iter().flat_map(|(_, dots)| dots.iter().flatten());
    let values = dots.flat_map(|dot| {
        let (low, high) = dot.interval.unwrap_or((dot.value, dot.value));
        [low, dot.value, high]
    });
    let values = values.chain(plot.line).filter(|&value| shows(plot, value));
    Range::of(plot.y.scale, plot.y.from_zero, values)
}

fn y_of(range: &Range, value: f64) -> f64 {
    TOP + (1.0 - range.place(value)) * PLOT_HEIGHT
}

fn group_width(plot: &Groups) -> f64 {
    (WIDTH - LEFT - RIGHT) / plot.names.len().max(1) as f64
}

fn draw_axes(svg: &mut String, plot: &Groups, range: &Range) {
    let (right, bottom, width) = (WIDTH - RIGHT, TOP + PLOT_HEIGHT, group_width(plot));
    for &tick in &range.ticks {
        let y = y_of(range, tick);
        let _ = writeln!(
            svg,
            "<line class=\"bc-grid\" x1=\"{LEFT}\" y1=\"{y:.1}\" x2=\"{right}\" y2=\"{y:.1}\"/>"
        );
        text(svg, LEFT - 8.0, y + 4.0, "bc-text", "end", &label(tick));
    }
    for (group, name) in plot.names.iter().enumerate() {
        let left = LEFT + width * group as f64;
        if group > 0 {
            let _ = writeln!(
                svg,
                "<line class=\"bc-grid\" x1=\"{left:.1}\" y1=\"{TOP}\" x2=\"{left:.1}\" \
                 y2=\"{bottom}\"/>"
            );
        }
        text(svg, left + width / 2.0, bottom + 20.0, "bc-text", "middle", name);
    }
    let _ = writeln!(svg, "<path class=\"bc-line bc-axis\" d=\"M{LEFT} {TOP}V{bottom}H{right}\"/>");
    if let Some(line) = plot.line.filter(|&line| shows(plot, line)) {
        let y = y_of(range, line);
        let _ = writeln!(
            svg,
            "<path class=\"bc-line bc-axis bc-dashed\" d=\"M{LEFT} {y:.1}H{right}\"/>"
        );
    }
}

fn draw_dot(
    svg: &mut String,
    plot: &Groups,
    range: &Range,
    (index, group): (usize, usize),
    dot: &Dot,
) {
    let width = group_width(plot);
    let step = width * FILLED / plot.series.len().max(1) as f64;
    let first = LEFT + width * (group as f64 + (1.0 - FILLED) / 2.0) + step / 2.0;
    let (x, y, color) = (first + step * index as f64, y_of(range, dot.value), index % COLORS.len());
    if let Some((low, high)) = dot.interval
        && shows(plot, low)
        && shows(plot, high)
    {
        let (low, high) = (y_of(range, low), y_of(range, high));
        let _ = writeln!(
            svg,
            "<path class=\"bc-line bc-whisker bc-l{color}\" d=\"M{x:.1} {low:.1}V{high:.1}\"/>"
        );
    }
    mark(svg, index, x, y);
    if dot.crossed {
        let _ = writeln!(
            svg,
            "<path class=\"bc-line bc-axis\" d=\"M{:.1} {:.1}l12 12m0 -12l-12 12\"/>",
            x - 6.0,
            y - 6.0
        );
    }
}

#[cfg(test)]
mod tests {
    use super::super::Scale;
    use super::*;

    #[test]
    fn dots_are_drawn_where_they_have_a_place() {
        let dot = |value, crossed| Some(Dot { value, interval: Some((value - 0.1, 1.2)), crossed });
        let mut plot = Groups {
            title: "a < b".into(),
            y: Axis::new("ratio", Scale::Linear),
            names: vec!["light".into(), "full & more".into()],
            series: (0..9)
                .map(|n| (format!("policy {n}"), vec![dot(0.9, n == 3), dot(1.1, false)]))
                .collect(),
            line: Some(1.0),
        };
        plot.series[0].1[1] = None;
        plot.series[1].1[1] = dot(f64::NAN, false);
        let drawn = groups(&plot);
        let document =
            roxmltree::Document::parse(&drawn).unwrap_or_else(|e| panic!("{e}: {drawn}"));
        let texts: Vec<_> = document.descendants().filter_map(|node| node.text()).collect();
        for wanted in ["a < b", "ratio", "full & more", "policy 8"] {
            assert!(texts.contains(&wanted), "{wanted}");
        }
        // 18 dots without the two, and nine in the legend.
        assert_eq!(drawn.matches("<path class=\"bc-m").count(), 16 + 9);
        assert_eq!(drawn.matches("bc-whisker bc-l").count(), 16);
        assert_eq!(drawn.matches("l12 12").count(), 1);
        assert!(!drawn.contains("NaN"));
        assert!(roxmltree::Document::parse(&groups(&Groups::default())).is_ok());
    }
}
