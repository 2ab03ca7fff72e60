//! Settings of Triton's dynamic batcher, and the moves from one to its neighbours: it is tuned over
//! preferred sizes, queue delay and instances, so that it is no straw man. With `max_batch_size`
//! tuned too and no delay it would be `fixed`, which stands beside it.

use super::choice::{Choice, largest_useful};
use super::search::Setting;
use crate::config::PolicyConfig;
use crate::scheduler::{self, Policy};
use crate::sim::ModelSurface;
use std::fmt;

/// How long the oldest request may wait for company, in µs; at most a quarter of the SLO.
const DELAYS_US: [u64; 7] = [0, 500, 1_000, 2_000, 5_000, 10_000, 20_000];

/// One model's settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Batcher {
    /// Triton's `preferred_batch_size`; `None`: a full batch is what it waits for.
    pub preferred: Option<u32>,
    /// `max_queue_delay_microseconds`.
    pub delay_us: u64,
    /// `instance_group.count`.
    pub instances: u16,
}

/// By model.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Batchers(pub Vec<Batcher>);

impl Batchers {
    /// What is closest to a fixed choice: nobody waits.
    pub fn like(choice: &Choice) -> Batchers {
        let limits = choice.0.first().into_iter().flatten();
        let batcher = |limit: &super::choice::Limit| Batcher {
            preferred: Some(limit.batch),
            delay_us: 0,
            instances: limit.instances,
        };
        Batchers(limits.map(batcher).collect())
    }

    pub fn policies(&self) -> Vec<Box<dyn Policy>> {
        self.0.iter().map(Batcher::policy).collect()
    }
}

impl Batcher {
    /// As in config.ron.
    pub fn config(&self) -> PolicyConfig {
        PolicyConfig::Triton {
            preferred_batch_sizes: self.preferred.into_iter().collect(),
            max_queue_delay_us: self.delay_us,
            instances: u32::from(self.instances),
        }
    }

    fn policy(&self) -> Box<dyn Policy> {
        scheduler::make(&self.config())
    }

    fn neighbours(self, model: &ModelSurface) -> Vec<Batcher> {
        let delay = DELAYS_US.iter().position(|&us| us == self.delay_us).unwrap_or(0);
        let delays = [delay.checked_sub(1), Some(delay + 1)].into_iter().flatten();
        let delays = delays.filter_map(|at| DELAYS_US.get(at));
        let patience = model.slo.as_micros() / 4;
        let delays = delays.filter(|&&us| us <= patience);
        let mut next: Vec<Batcher> = delays.map(|&us| Batcher { delay_us: us, ..self }).collect();
        let most = largest_useful(model);
        let preferred = match self.preferred {
            Some(size) => [None, Some(size / 2), Some(size * 2)],
            None => [Some(most), Some(most / 2), Some(most / 4)],
        };
        for preferred in preferred.into_iter().filter(|p| p.is_none_or(|n| (1..=most).contains(&n)))
        {
            next.push(Batcher { preferred, ..self });
        }
        for instances in [self.instances - 1, self.instances + 1] {
            if (1..=model.max_instances).contains(&instances) {
                next.push(Batcher { instances, ..self });
            }
        }
        next.retain(|batcher| *batcher != self);
        next
    }
}

impl Setting for Batchers {
    fn groups(&self, models: &[ModelSurface]) -> usize {
        models.len()
    }

    fn neighbours(&self, group: usize, models: &[ModelSurface]) -> Vec<Batchers> {
        let moved = |batcher| {
            let mut all = self.clone();
            all.0[group] = batcher;
            all
        };
        self.0[group].neighbours(&models[group]).into_iter().map(moved).collect()
    }
}

impl fmt::Display for Batchers {
    /// Such as `8×1 full×2+5ms`: preferably 8 on one instance; full batches on two, or what has come
    /// after 5 ms.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, batcher) in self.0.iter().enumerate() {
            let space = if index > 0 { " " } else { "" };
            match batcher.preferred {
                Some(size) => write!(f, "{space}{size}×{}", batcher.instances)?,
                None => write!(f, "{space}full×{}", batcher.instances)?,
            }
            if batcher.delay_us > 0 {
                write!(f, "+{}ms", batcher.delay_us as f64 / 1e3)?;
            }
        }
        Ok(())
    }
}
