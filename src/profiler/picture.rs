//! A profile as a picture.

use super::{Point, Profile};
use crate::chart::{Axis, Chart, Place, Scale, Series, figure};
use crate::units::InstanceCount;

/// Latency and throughput over the batch size, a line for each number of instances, as SVG. The
/// whiskers of the latency reach to the 95th percentile.
pub fn picture(profile: &Profile) -> String {
    let mut counts: Vec<InstanceCount> =
        profile.points.iter().map(|point| point.instances).collect();
    counts.sort_unstable();
    counts.dedup();
    let lines = |place: fn(&Point) -> Place| {
        let line = |&count: &InstanceCount| {
            let mut points: Vec<&Point> =
                profile.points.iter().filter(|point| point.instances == count).collect();
            points.sort_by_key(|point| point.batch);
            let name = if count == InstanceCount::ONE { "instance" } else { "instances" };
            Series::new(format!("{count} {name}"), points.into_iter().map(place).collect())
        };
        counts.iter().map(line).collect()
    };
    let chart = |title: &str, unit: &str, series| Chart {
        title: title.into(),
        x: Axis::new("batch size", Scale::Log2),
        y: Axis::new(unit, Scale::Linear).from_zero(),
        series,
    };
    let latency = lines(|point| Place {
        interval: Some((point.latency_us_p50 / 1e3, point.latency_us_p95 / 1e3)),
        ..Place::new(f64::from(point.batch.0), point.latency_us_p50 / 1e3)
    });
    let throughput = lines(|point| Place::new(f64::from(point.batch.0), point.items_per_second()));
    let title = format!("{} on {} ({})", profile.model, profile.device, profile.platform);
    figure(
        &title,
        &[
            chart("latency, median to 95 %", "ms", latency),
            chart("throughput", "items/s", throughput),
        ],
    )
}
