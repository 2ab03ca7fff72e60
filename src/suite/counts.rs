//! How many instances of each model the rivals have that choose batch sizes only: tuned like the
//! settings of the others, so that they are no straw men.

use super::roster;
use super::search::Setting;
use crate::config::PolicyConfig;
use crate::scheduler::trained::Trained;
use crate::scheduler::{self, Policy};
use crate::sim::ModelSurface;
use std::fmt;

/// Instances by model.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Counts(pub Vec<u16>);

impl Counts {
    /// Sets up one of [`roster::COUNTED`] with so many.
    pub fn policies(&self, name: &str, trained: &Trained) -> Vec<Box<dyn Policy>> {
        let configs = self.0.iter().map(|&instances| config(name, instances));
        configs.map(|config| scheduler::make_with(&config, trained)).collect()
    }
}

/// As in config.ron: one of [`roster::COUNTED`] with so many instances, with its default settings
/// otherwise.
pub fn config(name: &str, instances: u16) -> PolicyConfig {
    debug_assert!(roster::COUNTED.contains(&name));
    let mut config = scheduler::default_config(name).unwrap_or_default();
    if let PolicyConfig::Aimd { instances: count, .. } | PolicyConfig::Tac { instances: count } =
        &mut config
    {
        *count = u32::from(instances);
    }
    config
}

impl Setting for Counts {
    fn groups(&self, models: &[ModelSurface]) -> usize {
        models.len()
    }

    fn neighbours(&self, group: usize, models: &[ModelSurface]) -> Vec<Counts> {
        let here = self.0[group];
        let near = [here.saturating_sub(1), here + 1].into_iter();
        let valid = near.filter(|count| (1..=models[group].max_instances).contains(count));
        let moved = |count| {
            let mut all = self.clone();
            all.0[group] = count;
            all
        };
        valid.map(moved).collect()
    }
}

impl fmt::Display for Counts {
    /// Such as `×1 ×2`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, count) in self.0.iter().enumerate() {
            let space = if index > 0 { " " } else { "" };
            write!(f, "{space}×{count}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::network;
    use crate::sim::platform::Platform;

    #[test]
    fn neighbours_differ_in_one_instance_of_one_model_within_what_there_is() {
        let networks = &network::reference()[1..3];
        let surfaces = Platform::built_in("nano").unwrap().surfaces(networks, 4, 3).unwrap();
        let counts = Counts(vec![1, 2]);
        assert_eq!(counts.neighbours(0, &surfaces.models), [Counts(vec![2, 2])]);
        let both = [Counts(vec![1, 1]), Counts(vec![1, 3])];
        assert_eq!(counts.neighbours(1, &surfaces.models), both);
        assert_eq!(counts.to_string(), "×1 ×2");
    }

    #[test]
    fn the_settings_are_those_of_the_policy_with_other_instances() {
        assert_eq!(config("tac", 3), PolicyConfig::Tac { instances: 3 });
        let PolicyConfig::Aimd { step, instances, .. } = config("aimd", 2) else { panic!("aimd") };
        let PolicyConfig::Aimd { step: default, .. } = PolicyConfig::aimd() else { panic!("aimd") };
        assert_eq!((step, instances), (default, 2));
    }
}
