//! Fixed choices of batch size and instances, and the moves from one to its neighbours.

use crate::config::PolicyConfig;
use crate::scheduler::{self, Caps, DeviceView, Dispatch, Policy};
use crate::sim::{LoadPlan, ModelSurface};
use crate::units::{ModelId, Nanos};
use std::fmt;

/// One model's limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Limit {
    pub batch: u32,
    pub instances: u16,
}

/// Limits by phase of the load, then by model.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Choice(pub Vec<Vec<Limit>>);

impl Choice {
    /// The same limits in all of so many phases.
    pub fn steady(limits: Vec<Limit>, phases: usize) -> Choice {
        Choice(vec![limits; phases])
    }

    /// Instances by model, in the first phase.
    pub fn instances(&self) -> Vec<u16> {
        self.0.first().into_iter().flatten().map(|limit| limit.instances).collect()
    }

    /// `fixed` for every model; with the load's phases where there are several.
    pub fn policies(&self, load: &LoadPlan) -> Vec<Box<dyn Policy>> {
        let models = self.0.first().map_or(0, Vec::len);
        (0..models).map(|model| self.policy(model, load)).collect()
    }

    fn policy(&self, model: usize, load: &LoadPlan) -> Box<dyn Policy> {
        let fixed = |phase: usize| {
            let Limit { batch, instances } = self.0[phase.min(self.0.len() - 1)][model];
            scheduler::make(&PolicyConfig::Fixed { batch, instances: u32::from(instances) })
        };
        if self.0.len() == 1 {
            return fixed(0);
        }
        let phases = load.phases.iter().map(|&(from, phase)| (from, fixed(phase))).collect();
        Box::new(Phased { phases })
    }

    /// Neighbours that differ in one model's limits in one phase, or in all models' limits in the
    /// same way; in groups, from the best of which the next group may go on.
    pub fn groups(&self, models: &[ModelSurface]) -> usize {
        self.0.len() * (models.len() + 1)
    }

    /// The neighbours of one group.
    pub fn neighbours(&self, group: usize, models: &[ModelSurface]) -> Vec<Choice> {
        let (phase, which) = (group / (models.len() + 1), group % (models.len() + 1));
        let moved = |step: Step| {
            let mut choice = self.clone();
            for (index, (limit, model)) in choice.0[phase].iter_mut().zip(models).enumerate() {
                if which == index || which == models.len() {
                    *limit = step.applied(*limit, model);
                }
            }
            (choice != *self).then_some(choice)
        };
        STEPS.into_iter().filter_map(moved).collect()
    }
}

impl fmt::Display for Choice {
    /// Such as `8×1 4×2` for batches of 8 on one instance and of 4 on two; phases after a slash.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (phase, limits) in self.0.iter().enumerate() {
            f.write_str(if phase > 0 { " / " } else { "" })?;
            for (index, limit) in limits.iter().enumerate() {
                let space = if index > 0 { " " } else { "" };
                write!(f, "{space}{}×{}", limit.batch, limit.instances)?;
            }
        }
        Ok(())
    }
}

/// A change of the batch size by powers of two, and of the instances.
#[derive(Clone, Copy)]
struct Step {
    batch: i32,
    instances: i32,
}

const STEPS: [Step; 6] = [
    Step { batch: 1, instances: 0 },
    Step { batch: -1, instances: 0 },
    Step { batch: 0, instances: 1 },
    Step { batch: 0, instances: -1 },
    Step { batch: 1, instances: -1 },
    Step { batch: -1, instances: 1 },
];

impl Step {
    /// As far as the model goes.
    fn applied(self, limit: Limit, model: &ModelSurface) -> Limit {
        let batch = match self.batch {
            1 => limit.batch * 2,
            -1 => limit.batch / 2,
            _ => limit.batch,
        };
        let instances = i32::from(limit.instances) + self.instances;
        let possible = (1..=largest_useful(model)).contains(&batch)
            && (1..=i32::from(model.max_instances)).contains(&instances);
        if possible { Limit { batch, instances: instances as u16 } } else { limit }
    }
}

/// The largest power of two of items that is in time when it runs alone at once; at least one.
pub fn largest_useful(model: &ModelSurface) -> u32 {
    largest_within(model, model.slo.0 as f64)
}

/// The largest power of two of items that run within `ns` alone; at least one.
pub fn largest_within(model: &ModelSurface, ns: f64) -> u32 {
    let powers = (0..32).map(|power| 1u32 << power).take_while(|&b| b <= model.max_batch.0);
    powers.take_while(|&batch| model.alone(batch) <= ns).last().unwrap_or(1)
}

/// Plausible choices to begin a search with: batches that take a share of the SLO, on one instance
/// or several.
pub fn beginnings(models: &[ModelSurface], phases: usize) -> Vec<Choice> {
    let mut choices = Vec::new();
    for share in [0.12, 0.25, 0.5] {
        for instances in [1, 2, 4] {
            let limit = |model: &ModelSurface| Limit {
                batch: largest_within(model, share * model.slo.0 as f64),
                instances: instances.min(model.max_instances),
            };
            let choice = Choice::steady(models.iter().map(limit).collect(), phases);
            if !choices.contains(&choice) {
                choices.push(choice);
            }
        }
    }
    choices
}

/// One policy after the other.
#[derive(Debug)]
struct Phased {
    /// From when on which; the first from zero.
    phases: Vec<(Nanos, Box<dyn Policy>)>,
}

impl Phased {
    fn present(&mut self, now: Nanos) -> &mut Box<dyn Policy> {
        let begun = self.phases.iter().take_while(|(from, _)| *from <= now).count();
        &mut self.phases[begun.max(1) - 1].1
    }
}

impl Policy for Phased {
    fn name(&self) -> &'static str {
        self.phases.first().map_or("", |(_, policy)| policy.name())
    }

    fn decide(&mut self, device: &DeviceView<'_>, models: &[ModelId], caps: &mut [Caps]) {
        self.present(device.now).decide(device, models, caps);
    }

    fn dispatch(&mut self, device: &DeviceView<'_>, ready: &[ModelId]) -> Dispatch {
        self.present(device.now).dispatch(device, ready)
    }
}
