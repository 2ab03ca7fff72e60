//! What was measured, as tables, and as a picture next to each profile.

use crate::files;
use crate::profiler::{self, Beside, Point, Profile, profile_path, repeat_error};
use crate::scheduler::interference::judge::{Judgement, cross_validate};
use crate::telemetry::format::{bytes, rate};
use std::fmt::Write;
use std::path::{Path, PathBuf};

/// Combinations are held out in so many parts, one after the other.
const FOLDS: usize = 10;

/// Prints the profiles, draws them, and says how well what a device of so many lanes does with
/// several models is learnt from them. The path is that of the model file.
///
/// # Errors
/// A text for the operator, when a picture can't be written.
pub(super) fn deliver(profiles: &[(PathBuf, Profile)], lanes: u32) -> Result<(), String> {
    for (file, profile) in profiles {
        let picture = draw(file, profile)?;
        let saved = profile_path(file);
        println!("\n{}", text(profile));
        println!("saved as {}, drawn in {}", saved.display(), picture.display());
    }
    let profiles: Vec<Profile> = profiles.iter().map(|(_, profile)| profile.clone()).collect();
    if let Some(error) = repeat_error(&profiles) {
        println!(
            "\n{} latencies beside others were measured twice: half of the pairs differ by less \
             than {:.1} %, nine in ten by less than {:.1} %",
            error.pairs,
            error.median * 100.0,
            error.p90 * 100.0
        );
    }
    let (samples, combinations) = profiler::interference_samples(&profiles, lanes);
    if let Some(judgement) = cross_validate(&samples, &combinations, FOLDS, 1) {
        println!("\n{}", judged(&judgement));
    }
    Ok(())
}

/// How well the scheduler will predict combinations that were not measured.
fn judged(judgement: &Judgement) -> String {
    let Judgement { samples, combinations, folds, network, linear, sharing } = *judgement;
    let percent = |error: f64| error * 100.0;
    format!(
        "How much slower models are beside others, predicted for combinations that were held out \
         ({samples} latencies in {combinations} combinations, in {folds} parts):\n\
         {:>24}  mean error\n{:>24} {:>9.1} %\n{:>24} {:>9.1} %\n{:>24} {:>9.1} %",
        "predicted by",
        "network",
        percent(network),
        "linear regression",
        percent(linear),
        "equal shares",
        percent(sharing),
    )
}

fn draw(file: &Path, profile: &Profile) -> Result<PathBuf, String> {
    let path = profile_path(file).with_extension("svg");
    files::replace(&path, profiler::picture(profile).as_bytes())
        .map_err(|e| format!("can't write {}: {e}", path.display()))?;
    Ok(path)
}

fn text(profile: &Profile) -> String {
    let mut text = format!("{} ({})\n", profile.model, profile.platform);
    if let Some(features) = &profile.features {
        let _ = writeln!(
            text,
            "an item takes {} multiply-adds and moves {} in {} operators; weights {}",
            rate(features.multiply_adds as f64),
            bytes(features.activation_bytes),
            features.kernels,
            bytes(features.weight_bytes)
        );
    }
    if let Some(memory) = &profile.memory {
        let _ = write!(text, "memory: {} loaded", bytes(memory.loaded_bytes));
        if let Some((batch, first)) = memory.instance_bytes.last() {
            let _ = write!(text, ", {} an instance with {batch} items", bytes(*first));
        }
        if let Some(further) = memory.further_instance_bytes {
            let _ = write!(text, ", {} each further one", bytes(further));
        }
        text.push('\n');
    }
    text += &alone(&profile.points);
    for limit in &profile.limits {
        let (instances, batch) = (limit.instances, limit.batch);
        let _ = write!(text, "\n{instances} instances with {batch} do not fit: {}", limit.reason);
    }
    if !profile.beside.is_empty() {
        text += "\n";
        text += &beside(&profile.beside);
    }
    text
}

fn alone(points: &[Point]) -> String {
    let mut text = format!(
        "{:>9} {:>6} {:>10} {:>10} {:>8} {:>9} {:>6}",
        "instances", "batch", "p50 ms", "p95 ms", "spread", "items/s", "runs"
    );
    for point in points {
        let _ = write!(
            text,
            "\n{:>9} {:>6} {:>10.3} {:>10.3} {:>6.1} % {:>9.1} {:>6}{}",
            point.instances,
            point.batch,
            point.latency_us_p50 / 1e3,
            point.latency_us_p95 / 1e3,
            spread(point) * 100.0,
            point.items_per_second(),
            point.runs,
            mark(point),
        );
    }
    text
}

/// Half of the runs are this near to the median, as a share of it.
fn spread(point: &Point) -> f64 {
    point.latency_us_mad / point.latency_us_p50.max(1e-3)
}

/// Says so where the machine was not itself.
fn mark(point: &Point) -> String {
    match point.is_marked() {
        true => format!("  machine at {:.2} × its latency", point.drift),
        false => String::new(),
    }
}

/// How much slower the model is, by how many instances of other models run.
fn beside(all: &[Beside]) -> String {
    let mut text = format!(
        "{:>9} {:>6} {:>10} {:>10} {:>8}   times the latency alone, by other instances",
        "others", "cases", "least", "median", "most"
    );
    let mut counts: Vec<u32> = all.iter().map(Beside::other_instances).collect();
    counts.sort_unstable();
    counts.dedup();
    for count in counts {
        let of = all.iter().filter(|beside| beside.other_instances() == count);
        let mut multipliers: Vec<f64> = of.map(|beside| beside.multiplier).collect();
        multipliers.sort_by(f64::total_cmp);
        let (cases, last) = (multipliers.len(), multipliers.len() - 1);
        let _ = write!(
            text,
            "\n{count:>9} {cases:>6} {:>10.2} {:>10.2} {:>8.2}",
            multipliers[0],
            multipliers[last / 2],
            multipliers[last]
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profiler::Neighbour;
    use crate::units::{BatchSize, InstanceCount};

    fn point() -> Point {
        Point {
            instances: InstanceCount(2),
            latency_us_p95: 5_500.0,
            latency_us_mad: 40.0,
            runs: 250,
            ..Point::configured(BatchSize(8), 4_000.0)
        }
    }

    #[test]
    fn the_table_shows_milliseconds_spread_and_throughput() {
        let text = alone(&[point(), Point { drift: 1.2, ..point() }]);
        let rows: Vec<Vec<_>> =
            text.lines().skip(1).map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(rows[0], ["2", "8", "4.000", "5.500", "1.0", "%", "4000.0", "250"]);
        assert!(rows[1].ends_with(&["machine", "at", "1.20", "×", "its", "latency"]), "{text}");
    }

    #[test]
    fn predictions_are_judged_side_by_side() {
        let judgement = Judgement {
            samples: 71,
            combinations: 42,
            folds: 10,
            network: 0.042,
            linear: 0.0484,
            sharing: 0.0677,
        };
        let text = judged(&judgement);
        let rows: Vec<&str> = text.lines().map(str::trim).collect();
        assert!(rows[0].contains("71 latencies in 42 combinations"), "{text}");
        let shown: Vec<Vec<&str>> =
            rows[2..].iter().map(|row| row.split_whitespace().rev().take(2).collect()).collect();
        assert_eq!(shown, [["%", "4.2"], ["%", "4.8"], ["%", "6.8"]]);
    }

    #[test]
    fn company_is_summed_up_by_how_much_there_was() {
        let one = |instances, multiplier| Beside {
            point: point(),
            neighbours: vec![Neighbour {
                model: "other".into(),
                batch: BatchSize(1),
                instances: InstanceCount(instances),
            }],
            multiplier,
            again_us_mean: None,
        };
        let text = beside(&[one(2, 3.0), one(1, 1.5), one(2, 2.0), one(2, 2.5)]);
        let rows: Vec<Vec<_>> =
            text.lines().skip(1).map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(rows, [["1", "1", "1.50", "1.50", "1.50"], ["2", "3", "2.00", "2.50", "3.00"]]);
    }
}
