//! What a trained policy chooses between, for the snapshot; and what of that an operator should
//! hear when it changes: that the shield took the action in force away, that a model has become
//! slower than its profile.

use crate::pipeline::Pipeline;
use crate::scheduler::actions::{ACTIONS, BATCHES, Masked};
use crate::telemetry::format::{duration_us, times};
use crate::telemetry::snapshot::{InsightSnapshot, Level, Mask, ModelSnapshot};
use crate::telemetry::{SLOW_DRIFT, USUAL_DRIFT};
use crate::units::{BatchSize, ModelId, Nanos};

/// Least time between two events about one model's shield, and the most: a prediction that swings
/// around the SLO takes actions away and gives them back for as long as it does.
const QUIET: Nanos = Nanos::from_millis(1_000);
const LONGEST_QUIET: Nanos = Nanos::from_millis(60_000);
/// A size is told to be allowed again when its prediction is this share of the SLO: one that hovers
/// about the SLO is no news.
const CLEAR: f64 = 0.95;

/// What a trained policy thought of its last decision for a model; `None` under a rule.
pub(super) fn insight(
    pipeline: &Pipeline,
    model: ModelId,
    max_batch: BatchSize,
    now: Nanos,
) -> Option<InsightSnapshot> {
    let insight = pipeline.insight(model)?;
    let masked = pipeline.masked(model, now);
    let sizes = column_sizes(max_batch);
    let predictor = pipeline.predictor(model);
    let alone = |&size: &u32| predictor.alone(BatchSize(size)).map(Nanos::as_micros);
    let why = |action: usize| match (insight.allowed[action], masked[action]) {
        (true, _) => None,
        (false, Some(why)) => Some(mask(why)),
        (false, None) => Some(Mask::Policy),
    };
    Some(InsightSnapshot {
        batches: sizes.to_vec(),
        alone_us: sizes.iter().map(alone).collect::<Option<_>>().unwrap_or_default(),
        probabilities: insight.probabilities.to_vec(),
        masked: (0..ACTIONS).map(why).collect(),
        action: insight.action,
        entropy: insight.entropy,
    })
}

/// The batch sizes there are predictions for, up to what the model takes.
pub(super) fn sizes_up_to(max_batch: BatchSize) -> impl Iterator<Item = u32> {
    let most = max_batch.0.next_power_of_two();
    column_sizes(max_batch)
        .into_iter()
        .zip(BATCHES)
        .filter(move |(_, b)| *b <= most)
        .map(|(s, _)| s)
}

/// What the columns of the actions come to for a model that takes at most so many items.
fn column_sizes(max_batch: BatchSize) -> [u32; BATCHES.len()] {
    let most = max_batch.0.next_power_of_two();
    BATCHES.map(|size| if size == most { max_batch.0 } else { size })
}

/// The smallest batch that the SLO masks, as a column.
fn first_slow(insight: &InsightSnapshot) -> Option<usize> {
    let one_instance = insight.masked.iter().take(insight.batches.len());
    one_instance.into_iter().position(|why| *why == Some(Mask::Slo))
}

fn mask(why: Masked) -> Mask {
    match why {
        Masked::BatchLimit => Mask::BatchLimit,
        Masked::InstanceLimit => Mask::InstanceLimit,
        Masked::Slo => Mask::Slo,
    }
}

/// Keeps an eye on one model.
#[derive(Clone, Debug, Default)]
pub(super) struct Watch {
    /// The policy and its action when it was last looked at.
    in_force: Option<(String, usize)>,
    /// The smallest batch that was last told to break the SLO, as a column of the actions.
    first_slow: Option<usize>,
    quiet_until: Nanos,
    quiet: Nanos,
    unheard: u64,
    slow: bool,
}

impl Watch {
    /// What has changed since the last snapshot that an operator should hear. `fresh` says whether
    /// executions have confirmed the drift lately.
    pub(super) fn look(
        &mut self,
        model: &ModelSnapshot,
        fresh: bool,
        now: Nanos,
    ) -> Vec<(Level, String)> {
        let mut heard = Vec::new();
        if let Some(text) = self.shielded(model) {
            if let Some(text) = self.unless_quiet(text, now) {
                // That says which sizes, too.
                self.first_slow = model.insight.as_ref().and_then(first_slow);
                heard.push((Level::Info, text));
            }
        } else if now >= self.quiet_until
            && let Some(text) = self.slow_sizes(model)
        {
            heard.extend(self.unless_quiet(text, now).map(|text| (Level::Info, text)));
        }
        if fresh {
            heard.extend(self.drifted(model.drift));
        }
        heard
    }

    /// In words, which batch sizes the SLO masks, when that has changed since it was told.
    fn slow_sizes(&mut self, model: &ModelSnapshot) -> Option<String> {
        let insight = model.insight.as_ref()?;
        let first = first_slow(insight);
        let before = self.first_slow;
        let worse = match (before, first) {
            (before, first) if before == first => return None,
            (None, _) => true,
            (_, None) => false,
            (Some(before), Some(first)) => first < before,
        };
        let column = if worse { first? } else { before? };
        let (size, alone_us) = (insight.batches.get(column)?, *insight.alone_us.get(column)?);
        if !worse && alone_us as f64 > CLEAR * model.slo_us as f64 {
            return None;
        }
        self.first_slow = first;
        let (alone, slo) = (duration_us(alone_us), duration_us(model.slo_us));
        Some(if worse {
            format!(
                "batches from {size} items on are masked: {size} take {alone} alone, over the SLO \
                 of {slo}"
            )
        } else {
            format!("batches of {size} items are allowed again: {alone} alone, the SLO is {slo}")
        })
    }

    /// In words, why the action in force was taken away, when it was.
    fn shielded(&mut self, model: &ModelSnapshot) -> Option<String> {
        let Some(insight) = &model.insight else {
            self.in_force = None;
            return None;
        };
        let before = self.in_force.replace((model.policy.clone(), insight.action));
        let (_, before) = before.filter(|(policy, _)| *policy == model.policy)?;
        let why = (*insight.masked.get(before)?)?;
        let ((batch, instances), now) = (insight.limits(before)?, insight.limits(insight.action)?);
        if before == insight.action {
            return None;
        }
        let column = before % insight.batches.len();
        let reason = match why {
            Mask::Slo => {
                let alone_us = insight.alone_us.get(column).copied().unwrap_or_default();
                let slo = duration_us(model.slo_us);
                format!("{batch} items take {} alone, over the SLO of {slo}", duration_us(alone_us))
            }
            Mask::BatchLimit => format!("the engine takes at most {} items", model.max_batch),
            Mask::InstanceLimit => {
                let most = model.max_instances;
                format!("config.ron or the memory has room for {most} instances")
            }
            Mask::Policy => return None,
        };
        let now = format!("now {} × {}", now.0, now.1);
        Some(format!("batch {batch} × {instances} is not allowed any more: {reason}; {now}"))
    }

    fn unless_quiet(&mut self, text: String, now: Nanos) -> Option<String> {
        if now < self.quiet_until {
            self.unheard += 1;
            return None;
        }
        // One that comes again right after the silence is likely to go on.
        let goes_on = now - self.quiet_until < self.quiet;
        let longer = (self.quiet + self.quiet).min(LONGEST_QUIET);
        self.quiet = if goes_on { longer } else { QUIET };
        self.quiet_until = now + self.quiet;
        Some(match std::mem::take(&mut self.unheard) {
            0 => text,
            n => format!("{text} ({n} more of this kind before it)"),
        })
    }

    fn drifted(&mut self, drift: f64) -> Option<(Level, String)> {
        if !self.slow && drift >= SLOW_DRIFT {
            self.slow = true;
            let text = format!("batches take {} as long as profiled", times(drift));
            return Some((Level::Warn, text));
        }
        if self.slow && drift <= USUAL_DRIFT {
            self.slow = false;
            return Some((Level::Info, "batches take as long as profiled again".into()));
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scheduler::actions::action_for;
    use crate::units::InstanceCount;

    fn ms(millis: u64) -> Nanos {
        Nanos::from_millis(millis)
    }

    fn at(batch: u32, instances: u16) -> usize {
        action_for(BatchSize(batch), InstanceCount(instances))
    }

    /// One whose batches take `alone_ms` an item; the SLO masks what it must.
    fn model(action: usize, alone_ms: u64) -> ModelSnapshot {
        let batches = column_sizes(BatchSize(24)).to_vec();
        let alone_us: Vec<u64> = batches.iter().map(|b| u64::from(*b) * alone_ms * 1_000).collect();
        let slo_us = 100_000;
        let masked = (0..ACTIONS).map(|a| match a % 8 {
            6.. => Some(Mask::BatchLimit),
            column => (alone_us[column] > slo_us && a > 0).then_some(Mask::Slo),
        });
        let insight = InsightSnapshot {
            masked: masked.collect(),
            batches,
            alone_us,
            probabilities: vec![0.0; ACTIONS],
            action,
            entropy: 0.0,
        };
        let (policy, drift) = ("sac".into(), 1.0);
        ModelSnapshot { insight: Some(insight), policy, slo_us, drift, ..ModelSnapshot::default() }
    }

    #[test]
    fn a_limit_between_two_sizes_stands_in_the_larger_ones_column() {
        assert_eq!(column_sizes(BatchSize(24)), [1, 2, 4, 8, 16, 24, 64, 128]);
        assert!(sizes_up_to(BatchSize(24)).eq([1, 2, 4, 8, 16, 24]));
        assert!(sizes_up_to(BatchSize(1)).eq([1]));
        assert!(sizes_up_to(BatchSize(128)).eq(BATCHES));
    }

    fn told(text: &str) -> Vec<(Level, String)> {
        vec![(Level::Info, text.into())]
    }

    #[test]
    fn an_action_that_the_shield_takes_away_is_told_with_its_reason() {
        let mut watch = Watch::default();
        let text =
            "batches from 24 items on are masked: 24 take 120ms alone, over the SLO of 100ms";
        assert_eq!(watch.look(&model(at(16, 2), 5), true, ms(0)), told(text));
        assert_eq!(watch.look(&model(at(16, 2), 5), true, ms(5_000)), []);
        let heard = watch.look(&model(at(8, 2), 9), true, ms(5_100));
        let text = "batch 16 × 2 is not allowed any more: 16 items take 144ms alone, over the SLO \
                    of 100ms; now 8 × 2";
        assert_eq!(heard, told(text));
        assert_eq!(watch.look(&model(at(8, 2), 9), true, ms(9_000)), [], "one event says it all");
    }

    #[test]
    fn sizes_that_the_shield_takes_away_unused_are_told_and_when_they_come_back() {
        let mut watch = Watch::default();
        assert_eq!(watch.look(&model(at(1, 1), 2), true, ms(0)), []);
        let text =
            "batches from 16 items on are masked: 16 take 144ms alone, over the SLO of 100ms";
        assert_eq!(watch.look(&model(at(1, 1), 9), true, ms(9_000)), told(text));
        assert_eq!(watch.look(&model(at(1, 1), 2), true, ms(9_100)), [], "not at once again");
        let text = "batches of 16 items are allowed again: 32.0ms alone, the SLO is 100ms";
        assert_eq!(watch.look(&model(at(1, 1), 2), true, ms(11_000)), told(text));
    }

    #[test]
    fn a_size_that_hovers_about_the_slo_is_told_once() {
        let mut watch = Watch::default();
        // 16 items take 96 or 112 ms, then 80.
        let takes = |ms_an_item: u64| model(at(1, 1), ms_an_item);
        let mut looked = 0;
        let mut texts = |ms_an_item: u64| {
            looked += 1;
            watch.look(&takes(ms_an_item), true, ms(100_000 * looked)).len()
        };
        assert_eq!([7, 6, 7, 6, 7, 6].map(&mut texts), [1, 0, 0, 0, 0, 0]);
        assert_eq!([5, 7].map(&mut texts), [1, 1]);
    }

    #[test]
    fn a_choice_that_changes_by_itself_or_with_the_policy_is_not_told() {
        let mut watch = Watch::default();
        watch.look(&model(at(16, 2), 5), true, ms(0));
        assert_eq!(watch.look(&model(at(8, 2), 5), true, ms(100)), []);
        let other = ModelSnapshot { policy: "tac".into(), ..model(at(1, 1), 50) };
        assert_eq!(watch.look(&other, true, ms(200)), []);
        let rule = ModelSnapshot { insight: None, policy: "planner".into(), ..other };
        assert_eq!(watch.look(&rule, true, ms(300)), []);
        assert_eq!(watch.look(&model(at(1, 1), 50), true, ms(400)), []);
    }

    #[test]
    fn a_shield_that_swings_is_heard_less_and_less() {
        let mut watch = Watch::default();
        let mut heard = Vec::new();
        for step in 0..6_000 {
            let model = if step % 2 == 0 { model(at(16, 2), 5) } else { model(at(8, 2), 9) };
            for (_, text) in watch.look(&model, true, ms(100 * step)) {
                heard.push((step, text));
            }
        }
        let steps: Vec<u64> = heard.iter().map(|(step, _)| *step).collect();
        assert!(steps.windows(2).all(|pair| pair[1] - pair[0] >= 10), "{steps:?}");
        assert!((8..20).contains(&steps.len()), "once a second, then once a minute: {steps:?}");
        assert!(heard[1].1.contains("more of this kind"), "{}", heard[1].1);
        assert_eq!(watch.look(&model(at(16, 2), 5), true, ms(900_000)).len(), 1, "long over");
        assert_eq!(watch.quiet, QUIET);
    }

    #[test]
    fn drift_is_told_when_it_comes_and_when_it_goes() {
        let mut watch = Watch::default();
        let mut told = |drift, fresh| {
            let model = ModelSnapshot { drift, ..ModelSnapshot::default() };
            watch.look(&model, fresh, ms(0)).pop().map(|(_, text)| text)
        };
        assert_eq!(told(1.29, true), None);
        assert_eq!(told(2.1, false), None, "nothing has run lately");
        assert_eq!(told(2.1, true).unwrap(), "batches take 2.1× as long as profiled");
        assert_eq!(told(2.4, true), None);
        assert_eq!(told(1.2, true), None);
        assert_eq!(told(1.1, true).unwrap(), "batches take as long as profiled again");
    }
}
