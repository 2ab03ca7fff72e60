//! Manual batch and instance settings: what this operator holds, and the next step up or down.

use crate::telemetry::Command;
use crate::telemetry::snapshot::{ModelSnapshot, Snapshot};

/// Snapshots after which a setting that never showed is given up.
const PATIENCE: u32 = 50;

/// Which of the two settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Knob {
    Batch,
    Instances,
}

/// The settings sent from here. A snapshot tells that a model is overridden, not which of the two
/// was set by whom, so what was asked for is remembered; it also lets quick key presses add up
/// before the first of them shows.
#[derive(Clone, Debug, Default)]
pub struct Manual {
    held: Vec<Held>,
}

#[derive(Clone, Debug)]
struct Held {
    model: String,
    batch: Option<u32>,
    instances: Option<u32>,
    /// The appliance has shown the override.
    seen: bool,
    waited: u32,
}

impl Manual {
    /// One step of a knob: batches by powers of two, instances by one.
    ///
    /// # Errors
    /// Why there is no such step.
    pub fn step(
        &mut self,
        model: &ModelSnapshot,
        knob: Knob,
        up: bool,
    ) -> Result<Command, &'static str> {
        if model.max_batch == 0 || model.max_instances == 0 {
            return Err("is not loaded: there is nothing to hold");
        }
        let held = self.held.iter_mut().find(|h| h.model == model.name);
        let (mut batch, mut instances) = match held.as_ref() {
            Some(held) => (held.batch, held.instances),
            // Somebody else's override: keep both as they stand.
            None if model.overridden => (Some(model.batch), Some(model.instances)),
            None => (None, None),
        };
        match knob {
            Knob::Batch => {
                let now = batch.unwrap_or(model.batch);
                batch = Some(step_batch(now, up, model.max_batch)?);
            }
            Knob::Instances => {
                let now = instances.unwrap_or(model.instances);
                instances = Some(step_instances(now, up, model.max_instances)?);
            }
        }
        match held {
            Some(held) => (held.batch, held.instances) = (batch, instances),
            None => self.held.push(Held {
                model: model.name.clone(),
                batch,
                instances,
                seen: model.overridden,
                waited: 0,
            }),
        }
        Ok(Command::Override { model: model.name.clone(), batch, instances })
    }

    /// The override was given up or refused.
    pub fn forget(&mut self, model: &str) {
        self.held.retain(|held| held.model != model);
    }

    /// Forgets what the appliance no longer holds.
    pub fn observe(&mut self, snapshot: &Snapshot) {
        self.held.retain_mut(|held| {
            let Some(model) = snapshot.models.iter().find(|m| m.name == held.model) else {
                return false;
            };
            if model.overridden {
                held.seen = true;
                return true;
            }
            held.waited += 1;
            !held.seen && held.waited < PATIENCE
        });
    }
}

fn step_batch(now: u32, up: bool, max: u32) -> Result<u32, &'static str> {
    match up {
        true if now >= max => Err("takes no larger batch"),
        true => Ok(now.saturating_add(1).checked_next_power_of_two().unwrap_or(max).min(max)),
        false if now <= 1 => Err("has the smallest batch"),
        // The largest power of two below `now`.
        false => Ok(1 << (now - 1).ilog2()),
    }
}

fn step_instances(now: u32, up: bool, max: u32) -> Result<u32, &'static str> {
    match up {
        true if now >= max => Err("has all its instances; config.ron allows no more"),
        true => Ok(now.saturating_add(1)),
        false if now <= 1 => Err("keeps at least one instance"),
        false => Ok(now - 1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn model() -> ModelSnapshot {
        ModelSnapshot {
            name: "m".into(),
            batch: 3,
            max_batch: 12,
            instances: 1,
            max_instances: 2,
            ..ModelSnapshot::default()
        }
    }

    fn command(batch: Option<u32>, instances: Option<u32>) -> Result<Command, &'static str> {
        Ok(Command::Override { model: "m".into(), batch, instances })
    }

    #[test]
    fn batches_go_by_powers_of_two_within_the_engine() {
        let (mut manual, model) = (Manual::default(), model());
        assert_eq!(manual.step(&model, Knob::Batch, true), command(Some(4), None));
        assert_eq!(manual.step(&model, Knob::Batch, true), command(Some(8), None));
        assert_eq!(manual.step(&model, Knob::Batch, true), command(Some(12), None));
        assert!(manual.step(&model, Knob::Batch, true).is_err());
        assert_eq!(manual.step(&model, Knob::Batch, false), command(Some(8), None));
    }

    #[test]
    fn the_other_setting_stays_held() {
        let (mut manual, model) = (Manual::default(), model());
        manual.step(&model, Knob::Batch, false).unwrap();
        assert_eq!(manual.step(&model, Knob::Instances, true), command(Some(2), Some(2)));
        assert!(manual.step(&model, Knob::Instances, true).is_err());
    }

    #[test]
    fn somebody_elses_override_is_kept_as_it_stands() {
        let mut manual = Manual::default();
        let model = ModelSnapshot { overridden: true, ..model() };
        assert_eq!(manual.step(&model, Knob::Instances, true), command(Some(3), Some(2)));
    }

    #[test]
    fn a_released_override_is_forgotten() {
        let mut manual = Manual::default();
        manual.step(&model(), Knob::Batch, true).unwrap();
        let with = |overridden| Snapshot {
            models: vec![ModelSnapshot { overridden, ..model() }],
            ..Snapshot::default()
        };
        // Not shown yet: still held, the next step builds on it.
        manual.observe(&with(false));
        assert_eq!(manual.step(&model(), Knob::Batch, true), command(Some(8), None));
        manual.observe(&with(true));
        manual.observe(&with(false));
        assert_eq!(manual.step(&model(), Knob::Batch, true), command(Some(4), None));
    }

    #[test]
    fn a_model_that_is_not_loaded_has_nothing_to_hold() {
        let unloaded = ModelSnapshot { name: "m".into(), ..ModelSnapshot::default() };
        assert!(Manual::default().step(&unloaded, Knob::Batch, true).is_err());
    }
}
