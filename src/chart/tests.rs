use super::scale::{Range, label};
use super::*;

fn ticks(scale: Scale, values: &[f64]) -> Vec<f64> {
    Range::of(scale, false, values.iter().copied()).ticks
}

#[test]
fn ticks_are_round_and_enclose_the_values() {
    assert_eq!(ticks(Scale::Linear, &[0.0, 9.3]), [0.0, 2.0, 4.0, 6.0, 8.0, 10.0]);
    assert_eq!(ticks(Scale::Linear, &[103.0, 112.0]), [102.0, 104.0, 106.0, 108.0, 110.0, 112.0]);
    assert_eq!(ticks(Scale::Linear, &[-0.3, 0.4]).len(), 5);
    assert_eq!(ticks(Scale::Log2, &[1.0, 8.0]), [1.0, 2.0, 4.0, 8.0]);
    assert_eq!(ticks(Scale::Log2, &[3.0, 3.0]), [2.0, 4.0]);
    assert_eq!(ticks(Scale::Log10, &[3.0, 70.0]), [2.0, 5.0, 10.0, 20.0, 50.0, 100.0]);
    assert_eq!(ticks(Scale::Log10, &[1e-3, 1e6]).len(), 10);
    // One value, and none.
    for scale in [Scale::Linear, Scale::Log2, Scale::Log10] {
        assert!(ticks(scale, &[5.0]).len() >= 2, "{scale:?}");
        assert!(ticks(scale, &[]).len() >= 2, "{scale:?}");
    }
    let from_zero = Range::of(Scale::Linear, true, [90.0, 100.0].into_iter());
    assert_eq!((from_zero.ticks[0], from_zero.place(50.0)), (0.0, 0.5));
}

#[test]
fn every_range_of_values_gets_some_ticks_around_it() {
    let sizes = [1e-9, 0.037, 1.0, 7.7, 512.0, 1e5, 3.3e9];
    for scale in [Scale::Linear, Scale::Log2, Scale::Log10] {
        for low in sizes {
            for factor in [1.0, 1.001, 1.9, 10.0, 12_345.0] {
                let range = Range::of(scale, false, [low, low * factor].into_iter());
                let case = format!("{scale:?} {low} {factor}: {:?}", range.ticks);
                assert!((2..=13).contains(&range.ticks.len()), "{case}");
                let (a, b) = (range.place(low), range.place(low * factor));
                assert!((-1e-6..=1.0 + 1e-6).contains(&a) && b <= 1.0 + 1e-6 && b >= a, "{case}");
                assert!(range.ticks.windows(2).all(|w| w[0] < w[1]), "{case}");
            }
        }
    }
}

#[test]
fn numbers_at_ticks_are_short() {
    let cases = [
        (0.0, "0"),
        (-0.0, "0"),
        (0.25, "0.25"),
        (8.0, "8"),
        (1_500.0, "1500"),
        (20_000.0, "20k"),
        (2.5e6, "2.5M"),
        (3e9, "3G"),
        (1e-6, "1e-6"),
        (0.1 + 0.2, "0.3"),
    ];
    for (value, text) in cases {
        assert_eq!(label(value), text);
    }
}

fn chart(series: Vec<Series>) -> Chart {
    Chart {
        title: "latency <of> \"a&b\"".into(),
        x: Axis::new("items", Scale::Log2),
        y: Axis::new("ms", Scale::Linear).from_zero(),
        series,
    }
}

fn texts(document: &roxmltree::Document) -> Vec<String> {
    let texts = document
        .descendants()
        .filter(|node| node.has_tag_name(("http://www.w3.org/2000/svg", "text")));
    texts.filter_map(|node| node.text()).map(str::to_owned).collect()
}

#[test]
fn a_figure_is_well_formed_and_says_what_it_shows() {
    let with_interval =
        |x: f64, y: f64| Place { interval: Some((y * 0.9, y * 1.2)), ..Place::new(x, y) };
    let mut series: Vec<Series> = (0..11)
        .map(|n| {
            let points = [1.0, 2.0, 4.0, 8.0].map(|x| with_interval(x, x * f64::from(n + 1)));
            Series::new(format!("{n} instances"), points.to_vec())
        })
        .collect();
    series[1].style = Style::Dashed;
    series[2].style = Style::Marks;
    let drawn = figure("\u{1}a title", &[chart(series.clone()), chart(series), chart(vec![])]);
    let document = roxmltree::Document::parse(&drawn).unwrap_or_else(|e| panic!("{e}: {drawn}"));
    let texts = texts(&document);
    for wanted in ["a title", "latency <of> \"a&b\"", "items", "ms", "10 instances", "8", "no data"]
    {
        assert!(texts.iter().any(|text| text == wanted), "{wanted}: {texts:?}");
    }
    assert!(drawn.contains("prefers-color-scheme:dark"));
    // A mark for each point and legend entry: 2 × 11 × (4 + 1).
    assert_eq!(drawn.matches("class=\"bc-m").count(), 110);
    // Lines of all but the one of marks alone, in both charts.
    assert_eq!(drawn.matches("class=\"bc-line bc-l").count(), 20);
    assert_eq!(drawn.matches("bc-whisker bc-l").count(), 2 * 11 * 4);
    assert_eq!(drawn.matches("bc-l1 bc-dashed").count(), 2);
}

#[test]
fn nothing_is_drawn_outside_or_of_what_has_no_place() {
    let points = [
        Place::new(0.0, 5.0),
        Place::new(f64::NAN, 5.0),
        Place::new(2.0, f64::INFINITY),
        Place { interval: Some((f64::NAN, 7.0)), ..Place::new(2.0, 6.0) },
        Place::new(4.0, 1e12),
    ];
    let drawn = figure("t", &[chart(vec![Series::new("s", points.to_vec())])]);
    let document = roxmltree::Document::parse(&drawn).unwrap();
    assert!(!drawn.contains("NaN") && !drawn.contains("inf"), "{drawn}");
    // Two points are left, and the legend's.
    assert_eq!(drawn.matches("class=\"bc-m0\"").count(), 3);
    let root = document.root_element();
    let size = |name| root.attribute(name).unwrap().parse::<f64>().unwrap();
    for node in document.descendants() {
        for (axis, most) in [("x", size("width")), ("y", size("height"))] {
            if let Some(place) = node.attribute(axis) {
                let place: f64 = place.parse().unwrap();
                assert!((0.0..=most).contains(&place), "{node:?}");
            }
        }
    }
    // Nothing at all is a figure, too.
    assert!(roxmltree::Document::parse(&figure("", &[])).is_ok());
}
