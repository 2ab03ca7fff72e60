//! Which combinations of models are measured together.
//!
//! All of them are far too many, so a seeded design spreads over them. It is made of blocks. In a
//! block every model comes [`STRATA`] times as the one that the combination is about; its batch
//! sizes, its numbers of instances and the load that its neighbours make each go through as many
//! strata, in orders of their own (a Latin hypercube). Which neighbours make that load is drawn at
//! random, and of those that do, the ones that the model has met least.
//!
//! The light and the heavy end come first, so that the first two rounds of a block already have
//! every model beside both; and a longer design begins with the shorter one, so that asking for
//! more later measures only what is new.

use crate::units::{BatchSize, InstanceCount};
use rand::seq::SliceRandom;
use rand::{Rng, RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use std::collections::{HashMap, HashSet};

/// Levels that a block goes through in each dimension.
const STRATA: usize = 6;
/// Strata of the neighbours' load, in the order they are measured in.
const LOAD_ORDER: [usize; STRATA] = [0, 5, 2, 4, 1, 3];
/// Neighbourhoods drawn for one combination; it gets one of those in its stratum of load.
const DRAWN: usize = 16 * STRATA;
/// Blocks without anything new before the combinations count as used up.
const MAX_IDLE_BLOCKS: usize = 20;

/// A model as the design sees it.
#[derive(Clone, Debug, PartialEq)]
pub struct Kind {
    /// At least one, ascending.
    pub batches: Vec<BatchSize>,
    pub max_instances: InstanceCount,
    /// Orders the models from light to heavy: multiply-adds of an item, or what else is known of
    /// all of them.
    pub work: f64,
    /// Whether combinations may be about it. Others are only neighbours.
    pub is_target: bool,
}

/// A model in a combination, by its place in the list of kinds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Member {
    pub model: usize,
    pub batch: BatchSize,
    pub instances: InstanceCount,
}

/// How much the members ask of the device, compared with other members: instances, each with the
/// logarithm of its batch's work in units of the lightest model's item.
pub fn load(members: &[Member], kinds: &[Kind]) -> f64 {
    let least = kinds.iter().map(|kind| kind.work.max(1.0)).fold(f64::INFINITY, f64::min);
    let one = |member: &Member| {
        let items = kinds[member.model].work.max(1.0) / least * f64::from(member.batch.0);
        f64::from(member.instances.0) * (1.0 + items).log2()
    };
    members.iter().map(one).sum()
}

/// The first `count` combinations of at least two models, each sorted by model, none twice; fewer
/// where there are no more.
pub fn combinations(kinds: &[Kind], count: usize, seed: u64) -> Vec<Vec<Member>> {
    let mut design = Design {
        kinds,
        rng: Xoshiro256PlusPlus::seed_from_u64(seed),
        met: HashMap::new(),
        seen: HashSet::new(),
        list: Vec::new(),
    };
    let mut idle = 0;
    while kinds.len() >= 2 && design.list.len() < count && idle < MAX_IDLE_BLOCKS {
        let before = design.list.len();
        design.block();
        idle = if design.list.len() == before { idle + 1 } else { 0 };
    }
    design.list.truncate(count);
    design.list
}

struct Design<'a> {
    kinds: &'a [Kind],
    rng: Xoshiro256PlusPlus,
    /// How often two models are in one combination, the lower first.
    met: HashMap<(usize, usize), u32>,
    seen: HashSet<Vec<Member>>,
    list: Vec<Vec<Member>>,
}

impl Design<'_> {
    fn block(&mut self) {
        let mut targets: Vec<usize> =
            (0..self.kinds.len()).filter(|&model| self.kinds[model].is_target).collect();
        let orders: Vec<[[usize; STRATA]; 2]> =
            self.kinds.iter().map(|_| [order(&mut self.rng), order(&mut self.rng)]).collect();
        for (round, &load_stratum) in LOAD_ORDER.iter().enumerate() {
            targets.shuffle(&mut self.rng);
            for &model in &targets {
                let [batches, instances] = &orders[model];
                let kind = &self.kinds[model];
                let batch = self.level(batches[round], kind.batches.len());
                let instances = self.level(instances[round], kind.max_instances.get());
                let about = Member {
                    model,
                    batch: kind.batches[batch],
                    instances: InstanceCount(instances as u16 + 1),
                };
                if let Some(combination) = self.around(about, load_stratum) {
                    self.add(combination);
                }
            }
        }
    }

    /// One of `levels` for a stratum.
    fn level(&mut self, stratum: usize, levels: usize) -> usize {
        let at = stratum as f64 + self.rng.random_range(0.0..1.0);
        ((at * levels as f64) as usize / STRATA).min(levels.saturating_sub(1))
    }

    /// `about` among neighbours whose load is in the stratum.
    fn around(&mut self, about: Member, stratum: usize) -> Option<Vec<Member>> {
        let mut drawn: Vec<Vec<Member>> =
            (0..DRAWN).map(|_| self.neighbourhood(about.model)).collect();
        let load = |members: &Vec<Member>| load(members, self.kinds);
        drawn.sort_by(|a, b| load(a).total_cmp(&load(b)));
        let band = &drawn[stratum * DRAWN / STRATA..(stratum + 1) * DRAWN / STRATA];
        let with_about = band.iter().map(|neighbours| {
            let mut members = [&[about], &neighbours[..]].concat();
            members.sort_unstable();
            members
        });
        let fresh = with_about.filter(|members| !self.seen.contains(members));
        fresh.min_by(|a, b| self.familiarity(about, a).total_cmp(&self.familiarity(about, b)))
    }

    /// One neighbour in nine of twenty cases, two in eight, more in three.
    fn neighbourhood(&mut self, about: usize) -> Vec<Member> {
        let mut others: Vec<usize> = (0..self.kinds.len()).filter(|&m| m != about).collect();
        others.shuffle(&mut self.rng);
        let most = others.len();
        let count = match self.rng.random_range(0..20) {
            0..9 => 1,
            9..17 => 2,
            _ => self.rng.random_range(3..=most.max(3)),
        };
        others.truncate(count.min(most));
        let rng = &mut self.rng;
        let member = |model: usize| {
            let kind = &self.kinds[model];
            Member {
                model,
                batch: kind.batches[rng.random_range(0..kind.batches.len())],
                instances: InstanceCount(rng.random_range(1..=kind.max_instances.0.max(1))),
            }
        };
        others.into_iter().map(member).collect()
    }

    /// How often the model has met these neighbours, on average.
    fn familiarity(&self, about: Member, members: &[Member]) -> f64 {
        let others = members.iter().filter(|member| member.model != about.model);
        let met: u32 = others.map(|other| self.met_count(about.model, other.model)).sum();
        f64::from(met) / (members.len().max(2) - 1) as f64
    }

    fn met_count(&self, a: usize, b: usize) -> u32 {
        self.met.get(&(a.min(b), a.max(b))).copied().unwrap_or(0)
    }

    fn add(&mut self, members: Vec<Member>) {
        for (at, a) in members.iter().enumerate() {
            for b in &members[at + 1..] {
                *self.met.entry((a.model, b.model)).or_default() += 1;
            }
        }
        self.seen.insert(members.clone());
        self.list.push(members);
    }
}

fn order(rng: &mut impl Rng) -> [usize; STRATA] {
    let mut order = std::array::from_fn(|i| i);
    order.shuffle(rng);
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Six models like the reference networks: four batch sizes, two instances.
    fn six() -> Vec<Kind> {
        [8.2e9, 0.06e9, 1.8e9, 0.4e9, 5.7e9, 0.6e9]
            .map(|work| Kind {
                batches: [1, 2, 4, 8].map(BatchSize).to_vec(),
                max_instances: InstanceCount(2),
                work,
                is_target: true,
            })
            .to_vec()
    }

    /// Loads of all pairs and single ones that `model` can have as neighbours, ascending.
    fn possible_loads(model: usize, kinds: &[Kind]) -> Vec<f64> {
        let member = |m: usize, k: &Kind| -> Vec<Member> {
            let all = k.batches.iter().flat_map(|&batch| {
                (1..=k.max_instances.0).map(move |n| Member {
                    model: m,
                    batch,
                    instances: InstanceCount(n),
                })
            });
            all.collect()
        };
        let others = kinds.iter().enumerate().filter(|(m, _)| *m != model);
        let each: Vec<Vec<Member>> = others.map(|(m, k)| member(m, k)).collect();
        let mut loads: Vec<f64> = Vec::new();
        for (at, a) in each.iter().enumerate() {
            loads.extend(a.iter().map(|a| load(&[*a], kinds)));
            for b in &each[at + 1..] {
                for pair in a.iter().flat_map(|a| b.iter().map(move |b| [*a, *b])) {
                    loads.push(load(&pair, kinds));
                }
            }
        }
        loads.sort_by(f64::total_cmp);
        loads
    }

    #[test]
    fn every_model_is_measured_beside_light_and_heavy_neighbours() {
        let kinds = six();
        for seed in 0..300 {
            // Two for each model are enough for that.
            let design = combinations(&kinds, 2 * kinds.len(), seed);
            assert_eq!(design.len(), 12);
            for model in 0..kinds.len() {
                let possible = possible_loads(model, &kinds);
                let (light, heavy) =
                    (possible[possible.len() / 3], possible[2 * possible.len() / 3]);
                let met: Vec<f64> = design
                    .iter()
                    .filter(|members| members.iter().any(|member| member.model == model))
                    .map(|members| {
                        let others = members.iter().filter(|m| m.model != model).copied();
                        load(&others.collect::<Vec<_>>(), &kinds)
                    })
                    .collect();
                assert!(met.iter().any(|&l| l <= light), "seed {seed}: model {model}: {met:?}");
                assert!(met.iter().any(|&l| l >= heavy), "seed {seed}: model {model}: {met:?}");
            }
        }
    }

    #[test]
    fn a_block_has_every_batch_size_instance_count_and_pair() {
        let kinds = six();
        for seed in 0..100 {
            let design = combinations(&kinds, STRATA * kinds.len(), seed);
            for model in 0..kinds.len() {
                let mine: Vec<Member> =
                    design.iter().flatten().filter(|m| m.model == model).copied().collect();
                for batch in [1, 2, 4, 8] {
                    assert!(
                        mine.iter().any(|m| m.batch.0 == batch),
                        "seed {seed}: {model} {batch}"
                    );
                }
                for instances in [1, 2] {
                    assert!(
                        mine.iter().any(|m| m.instances.0 == instances),
                        "seed {seed}: {model}"
                    );
                }
                for other in 0..model {
                    let together = |members: &&Vec<Member>| {
                        [model, other].iter().all(|m| members.iter().any(|x| x.model == *m))
                    };
                    let count = design.iter().filter(together).count();
                    assert!(count >= 2, "seed {seed}: {model} and {other} meet {count} times");
                }
            }
        }
    }

    #[test]
    fn combinations_are_new_sorted_within_bounds_and_the_same_each_time() {
        let mut kinds = six();
        kinds[4].batches = vec![BatchSize(1)];
        kinds[5].max_instances = InstanceCount(1);
        for seed in 0..20 {
            let design = combinations(&kinds, 200, seed);
            assert_eq!(design, combinations(&kinds, 200, seed));
            assert_eq!(design[..40], combinations(&kinds, 40, seed), "the shorter one begins it");
            assert_ne!(design, combinations(&kinds, 200, seed + 1));
            assert_eq!(design.len(), 200);
            assert_eq!(design.iter().collect::<HashSet<_>>().len(), 200, "none twice");
            for members in &design {
                assert!(members.len() >= 2);
                assert!(members.windows(2).all(|w| w[0].model < w[1].model), "{members:?}");
                for member in members {
                    let kind = &kinds[member.model];
                    assert!(kind.batches.contains(&member.batch), "{member:?}");
                    assert!((1..=kind.max_instances.0).contains(&member.instances.0), "{member:?}");
                }
            }
            let sizes = |n| design.iter().filter(|members| members.len() == n).count();
            assert!(sizes(2) > 50 && sizes(3) > 50, "{} pairs, {} triples", sizes(2), sizes(3));
            assert!(design.iter().any(|members| members.len() > 3));
        }
    }

    #[test]
    fn only_targets_are_what_a_combination_is_about() {
        let mut kinds = six();
        kinds.iter_mut().for_each(|kind| kind.is_target = false);
        assert_eq!(combinations(&kinds, 10, 1), Vec::<Vec<Member>>::new());
        kinds[2].is_target = true;
        let design = combinations(&kinds, 30, 1);
        assert_eq!(design.len(), 30);
        assert!(design.iter().all(|members| members.iter().any(|m| m.model == 2)));
    }

    #[test]
    fn where_there_is_little_to_combine_it_ends() {
        let mut kinds = six();
        kinds.truncate(2);
        kinds.iter_mut().for_each(|kind| {
            kind.batches.truncate(1);
            kind.max_instances = InstanceCount(1);
        });
        assert_eq!(combinations(&kinds, 50, 3).len(), 1);
        kinds.truncate(1);
        assert_eq!(combinations(&kinds, 50, 3).len(), 0);
        assert_eq!(combinations(&[], 50, 3).len(), 0);
    }
}
