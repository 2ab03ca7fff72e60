//! Loads relative to what a device can do: the same words mean as much on a slow device as on a
//! fast one.

use super::arrivals::LoadShape;
use super::surface::{ModelSurface, Surfaces};
use crate::config::bounds;
use crate::units::Nanos;
use crate::workload::Bursts;
use serde::{Deserialize, Deserializer, Serialize};

/// How requests come in a run. `level` is the mean rate of every model as a multiple of the
/// capacity: the highest rate, the same for all models, that a fixed choice of batch sizes and
/// instances serves with 95 % of each model's requests in time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub enum Load {
    /// Poisson arrivals at a constant rate.
    Steady {
        #[serde(deserialize_with = "level")]
        level: f64,
    },
    /// Bursts and calms in turn, each model by itself: this `share` of the time arrivals come at
    /// `factor` times the mean rate, for `mean_s` seconds on average.
    Bursty {
        #[serde(deserialize_with = "level")]
        level: f64,
        #[serde(deserialize_with = "bounds::share")]
        share: f64,
        #[serde(deserialize_with = "bounds::number::<1, 1_000, _>")]
        factor: f64,
        #[serde(deserialize_with = "bounds::number::<0, 3_600, _>")]
        mean_s: f64,
    },
    /// From `low` to `high` times the level and back, once in a run.
    Day {
        #[serde(deserialize_with = "level")]
        level: f64,
        #[serde(deserialize_with = "bounds::number::<0, 100, _>")]
        low: f64,
        #[serde(deserialize_with = "bounds::number::<0, 100, _>")]
        high: f64,
    },
    /// Some models are popular and the others come at `cold` times the level; halfway they swap.
    /// The device has as much to do before as after.
    Shift {
        #[serde(deserialize_with = "level")]
        level: f64,
        #[serde(deserialize_with = "bounds::share")]
        cold: f64,
    },
    /// A constant rate, while the device has `speed` times its speed in the middle third of the run.
    SlowDown {
        #[serde(deserialize_with = "level")]
        level: f64,
        #[serde(deserialize_with = "bounds::share")]
        speed: f64,
    },
    /// Poisson arrivals of every model at so many requests per second, whatever the device can do.
    Even {
        #[serde(deserialize_with = "rate")]
        per_s: f64,
    },
    /// Poisson arrivals at a rate of its own for each model, in the order of the models.
    Rates { per_s: Vec<f64> },
}

/// A level: enough to tell anything, and not so little that nothing happens.
fn level<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    bounded(deserializer, 0.01, 100.0, "a level from 0.01 to 100")
}

/// Requests per second.
fn rate<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    bounded(deserializer, 0.01, 1e6, "a rate from 0.01 to 1000000 per second")
}

fn bounded<'de, D: Deserializer<'de>>(
    deserializer: D,
    least: f64,
    most: f64,
    expected: &str,
) -> Result<f64, D::Error> {
    let value = bounds::number::<0, 1_000_000, _>(deserializer)?;
    if (least..=most).contains(&value) {
        return Ok(value);
    }
    Err(serde::de::Error::custom(format_args!("{value} is out of range; expected {expected}")))
}

/// A load in figures, for one device and one length of a run.
#[derive(Clone, Debug, PartialEq)]
pub struct LoadPlan {
    pub shape: LoadShape,
    /// By model.
    pub rates_per_s: Vec<f64>,
    /// From when on the device has which speed.
    pub speeds: Vec<(Nanos, f64)>,
    /// When which phase begins, ascending, the first at zero: whoever knows the load can choose
    /// anew then. Phases of one number are alike.
    pub phases: Vec<(Nanos, usize)>,
}

impl Load {
    /// What is wrong with it although each field is valid, by field.
    pub fn check(&self, models: usize) -> Option<(&'static str, String)> {
        match self {
            &Load::Bursty { share, factor, .. } if factor <= 1.0 || factor * share > 1.0 => {
                let most = 1.0 / share;
                let what = format!(
                    "with a share of {share} a burst can have a factor above 1 and up to {most:.3}, \
                     not {factor}: there is nothing left for the calms"
                );
                Some(("factor", what))
            }
            Load::Bursty { mean_s, .. } if *mean_s <= 0.0 => {
                Some(("mean_s", "a burst has to last some time; above 0 is expected".into()))
            }
            Load::Day { low, high, .. } if high <= low => {
                Some(("high", format!("a day that goes from {low} to {high} does not rise")))
            }
            Load::Rates { per_s } if per_s.len() != models => {
                let what = format!(
                    "{} rates for {models} networks; one for each is expected",
                    per_s.len()
                );
                Some(("per_s", what))
            }
            Load::Rates { per_s } if !per_s.iter().all(|rate| (0.01..=1e6).contains(rate)) => {
                Some(("per_s", "every rate has to be from 0.01 to 1000000 per second".into()))
            }
            _ => None,
        }
    }

    /// Whether the load stays as it is for the whole run.
    pub fn is_steady(&self) -> bool {
        matches!(self, Load::Steady { .. } | Load::Even { .. } | Load::Rates { .. })
    }

    /// The level, for a load that has one.
    pub fn level(&self) -> Option<f64> {
        match *self {
            Load::Steady { level }
            | Load::Bursty { level, .. }
            | Load::Day { level, .. }
            | Load::Shift { level, .. }
            | Load::SlowDown { level, .. } => Some(level),
            Load::Even { .. } | Load::Rates { .. } => None,
        }
    }

    /// The load for models with these surfaces whose capacity is `capacity_per_s` each, in a run
    /// whose arrivals count from `from` to `to`.
    pub fn plan(
        &self,
        surfaces: &Surfaces,
        capacity_per_s: f64,
        from: Nanos,
        to: Nanos,
    ) -> LoadPlan {
        let models = surfaces.models.len();
        let part = |n: u64, of: u64| from + Nanos((to - from).0 / of * n);
        let mut plan = LoadPlan {
            shape: LoadShape::Steady,
            rates_per_s: vec![self.level().unwrap_or(1.0) * capacity_per_s; models],
            speeds: Vec::new(),
            phases: vec![(Nanos::ZERO, 0)],
        };
        match self {
            Load::Steady { .. } => {}
            &Load::Bursty { share, factor, mean_s, .. } => {
                plan.shape = LoadShape::Bursty(Bursts { share, factor, mean_s });
            }
            &Load::Day { low, high, .. } => {
                plan.shape = LoadShape::Day { low, high, from, period: to - from };
                plan.phases.extend([(part(1, 4), 1), (part(3, 4), 0)]);
            }
            &Load::Shift { cold, .. } => {
                let (before, after) = popularity(&surfaces.models, cold);
                let rates = |factors: Vec<f64>| -> Vec<f64> {
                    plan.rates_per_s
                        .iter()
                        .zip(factors)
                        .map(|(rate, factor)| rate * factor)
                        .collect()
                };
                let at = part(1, 2);
                plan.shape = LoadShape::Shift { at, after_per_s: rates(after) };
                plan.rates_per_s = rates(before);
                plan.phases.push((at, 1));
            }
            &Load::SlowDown { speed, .. } => {
                plan.speeds = vec![(part(1, 3), speed), (part(2, 3), 1.0)];
                plan.phases.extend([(part(1, 3), 1), (part(2, 3), 0)]);
            }
            &Load::Even { per_s } => plan.rates_per_s = vec![per_s; models],
            Load::Rates { per_s } => plan.rates_per_s.clone_from(per_s),
        }
        plan
    }
}

/// Factors of the models' rates before and after a shift. The models are divided so that both
/// halves ask about as much of the device; the cold half gets `cold`, and the hot one what keeps
/// the device as busy as equal rates would.
fn popularity(models: &[ModelSurface], cold: f64) -> (Vec<f64>, Vec<f64>) {
    let work: Vec<f64> = models.iter().map(device_time_ns).collect();
    let mut by_work: Vec<usize> = (0..models.len()).collect();
    by_work.sort_by(|&a, &b| work[b].total_cmp(&work[a]));
    // The heaviest first, each to the half that has less.
    let mut in_first = vec![false; models.len()];
    let mut halves = [0.0, 0.0];
    for model in by_work {
        in_first[model] = halves[0] <= halves[1];
        halves[usize::from(!in_first[model])] += work[model];
    }
    let all = halves[0] + halves[1];
    let hot = |half: usize| match halves[half] {
        0.0 => 1.0,
        mine => (all - cold * (all - mine)) / mine,
    };
    let factors = |half: usize| {
        let factor = |&first: &bool| if first == (half == 0) { hot(half) } else { cold };
        in_first.iter().map(factor).collect()
    };
    (factors(0), factors(1))
}

/// Time of the whole device that an item takes at least, among the batches that leave room in the
/// SLO for another.
pub fn device_time_ns(model: &ModelSurface) -> f64 {
    let fits = |&&(batch, ns): &&(u32, f64)| batch == 1 || 2.0 * ns <= model.slo.0 as f64;
    let each = |&(batch, ns): &(u32, f64)| ns * model.occupancy(batch) / f64::from(batch);
    model.alone_ns.iter().filter(fits).map(each).fold(f64::INFINITY, f64::min)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::BatchSize;

    fn surfaces() -> Surfaces {
        let model = |ms: f64| ModelSurface {
            name: "m".into(),
            slo: Nanos::from_millis(100),
            max_batch: BatchSize(2),
            max_instances: 1,
            alone_ns: vec![(1, ms * 1e6), (2, ms * 1.5e6)],
            occupancy: vec![1.0, 1.0],
            weight_bytes: 0,
            context_bytes: 0,
            scratch_bytes: 0,
        };
        let models = vec![model(8.0), model(1.0), model(60.0), model(4.0)];
        Surfaces { models, contention: 0.0, noise: 0.0, memory_bytes: 0 }
    }

    #[test]
    fn a_shift_changes_every_rate_and_leaves_the_device_as_busy() {
        let surfaces = surfaces();
        let work: Vec<f64> = surfaces.models.iter().map(device_time_ns).collect();
        assert_eq!(work, [6e6, 0.75e6, 60e6, 3e6], "two items of the slow one don't fit twice");
        let (from, to) = (Nanos::from_millis(5_000), Nanos::from_millis(65_000));
        let plan = Load::Shift { level: 0.8, cold: 0.4 }.plan(&surfaces, 10.0, from, to);
        let LoadShape::Shift { at, after_per_s } = &plan.shape else { panic!("{plan:?}") };
        assert_eq!(*at, Nanos::from_millis(35_000));
        assert_eq!(plan.phases, [(Nanos::ZERO, 0), (*at, 1)]);
        let busy = |rates: &[f64]| rates.iter().zip(&work).map(|(r, w)| r * w).sum::<f64>();
        let equal = busy(&[8.0; 4]);
        for rates in [&plan.rates_per_s, after_per_s] {
            assert!((busy(rates) / equal - 1.0).abs() < 1e-9, "{rates:?}");
        }
        for (before, after) in plan.rates_per_s.iter().zip(after_per_s) {
            assert!((before / after).ln().abs() > 0.5, "{before} {after}");
        }
    }

    #[test]
    fn a_slow_down_ends_again() {
        let (from, to) = (Nanos::from_millis(1_000), Nanos::from_millis(10_000));
        let plan = Load::SlowDown { level: 0.5, speed: 0.5 }.plan(&surfaces(), 10.0, from, to);
        let ms = Nanos::from_millis;
        assert_eq!(plan.speeds, [(ms(4_000), 0.5), (ms(7_000), 1.0)]);
        assert_eq!(plan.phases, [(ms(0), 0), (ms(4_000), 1), (ms(7_000), 0)]);
        assert_eq!(plan.rates_per_s, [5.0; 4]);
    }
}
