//! Transitions to learn from: a bounded memory that forgets the oldest.

use crate::scheduler::nn::all_finite;
use rand::RngExt;
use rand_xoshiro::Xoshiro256PlusPlus;

/// One decision and what came of it.
#[derive(Clone, Copy, Debug)]
pub struct Transition<'a> {
    /// As the pipeline gives it, not normalised.
    pub observation: &'a [f32],
    /// Which actions were allowed.
    pub mask: &'a [bool],
    pub action: usize,
    /// For n steps: the sum of their rewards, each discounted to the first.
    pub reward: f32,
    /// What the next observation's value counts for: γ after one step, γⁿ after n, a power by length
    /// where slots differ; 0 only where nothing follows. A trace that was merely cut off goes on.
    pub discount: f32,
    /// May be anything of the right length when the discount is 0, and likewise the mask.
    pub next_observation: &'a [f32],
    pub next_mask: &'a [bool],
    /// Entropy of the policy that chose the action, in nats, for the entropy penalty; `None` when
    /// another than the actor chose it.
    pub entropy: Option<f32>,
    /// What the rule would have done, if it is to be imitated; an action that was not allowed counts
    /// as none.
    pub teacher: Option<usize>,
}

/// A transition that can't be learnt from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    #[error("a transition's {0} holds a number that is not finite")]
    NotFinite(&'static str),
    #[error("a transition's action {action} was not allowed by its mask")]
    Masked { action: usize },
    #[error("a transition goes on, but its next mask allows no action")]
    NowhereToGo,
}

/// A ring of transitions, all memory taken at the start.
#[derive(Clone, Debug)]
pub struct Replay {
    observation: usize,
    actions: usize,
    capacity: usize,
    len: usize,
    /// Where the next one goes.
    next: usize,
    /// For each transition both observations, then [`SCALARS`].
    rows: Vec<f32>,
    /// For each transition both masks, a bit for each action.
    masks: Vec<u64>,
    taken: Vec<u32>,
    taught: Vec<u32>,
}

/// Reward, discount, entropy (NaN when unknown).
const SCALARS: usize = 3;
/// Stands for no action.
pub const NO_TEACHER: u32 = u32::MAX;

/// Transitions drawn for one update, column by column. Masks hold 1 for allowed and 0 for not.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Batch {
    pub observations: Vec<f32>,
    pub masks: Vec<f32>,
    pub actions: Vec<u32>,
    pub rewards: Vec<f32>,
    pub discounts: Vec<f32>,
    pub next_observations: Vec<f32>,
    pub next_masks: Vec<f32>,
    /// NaN where it is unknown.
    pub entropies: Vec<f32>,
    /// The rule's actions; [`NO_TEACHER`] where there is none.
    pub teachers: Vec<u32>,
}

impl Replay {
    /// Room for `capacity` transitions, at least one.
    pub fn new(capacity: usize, observation: usize, actions: usize) -> Replay {
        let capacity = capacity.max(1);
        Replay {
            observation,
            actions,
            capacity,
            len: 0,
            next: 0,
            rows: vec![0.0; capacity * (2 * observation + SCALARS)],
            masks: vec![0; capacity * 2 * actions.div_ceil(64)],
            taken: vec![0; capacity],
            taught: vec![NO_TEACHER; capacity],
        }
    }

    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// Forgets everything, and keeps the memory.
    pub fn clear(&mut self) {
        (self.len, self.next) = (0, 0);
    }

    /// Remembers a transition, in place of the oldest one when it is full.
    ///
    /// # Errors
    /// When it can't be learnt from. Nothing is remembered then.
    ///
    /// # Panics
    /// If an observation or mask has another length than this memory is made for.
    pub fn push(&mut self, transition: &Transition<'_>) -> Result<(), Refused> {
        let t = transition;
        assert_eq!([t.observation.len(), t.next_observation.len()], [self.observation; 2]);
        assert_eq!([t.mask.len(), t.next_mask.len()], [self.actions; 2]);
        check(t)?;
        let width = self.rows.len() / self.capacity;
        let row = &mut self.rows[self.next * width..][..width];
        let (observations, scalars) = row.split_at_mut(2 * self.observation);
        observations[..self.observation].copy_from_slice(t.observation);
        observations[self.observation..].copy_from_slice(t.next_observation);
        scalars.copy_from_slice(&[t.reward, t.discount, t.entropy.unwrap_or(f32::NAN)]);
        let words = self.actions.div_ceil(64);
        let masks = &mut self.masks[self.next * 2 * words..][..2 * words];
        pack(t.mask, &mut masks[..words]);
        pack(t.next_mask, &mut masks[words..]);
        self.taken[self.next] = t.action as u32;
        let teacher = t.teacher.filter(|&action| t.mask.get(action).copied().unwrap_or(false));
        self.taught[self.next] = teacher.map_or(NO_TEACHER, |action| action as u32);
        self.next = (self.next + 1) % self.capacity;
        self.len = (self.len + 1).min(self.capacity);
        Ok(())
    }

    /// Draws `count` transitions into `batch`, each of those remembered with the same chance, some
    /// perhaps more than once. An empty memory gives an empty batch. Once `batch` has been used with
    /// such a count, nothing is allocated.
    pub fn sample(&self, count: usize, random: &mut Xoshiro256PlusPlus, batch: &mut Batch) {
        batch.clear();
        if self.is_empty() {
            return;
        }
        let width = self.rows.len() / self.capacity;
        let words = self.actions.div_ceil(64);
        for _ in 0..count {
            let at = random.random_range(0..self.len);
            let row = &self.rows[at * width..][..width];
            batch.observations.extend_from_slice(&row[..self.observation]);
            batch.next_observations.extend_from_slice(&row[self.observation..][..self.observation]);
            let [reward, discount, entropy] = [0, 1, 2].map(|i| row[2 * self.observation + i]);
            batch.rewards.push(reward);
            batch.discounts.push(discount);
            batch.entropies.push(entropy);
            let masks = &self.masks[at * 2 * words..][..2 * words];
            unpack(&masks[..words], self.actions, &mut batch.masks);
            unpack(&masks[words..], self.actions, &mut batch.next_masks);
            batch.actions.push(self.taken[at]);
            batch.teachers.push(self.taught[at]);
        }
    }
}

impl Batch {
    /// Transitions in it.
    pub fn len(&self) -> usize {
        self.actions.len()
    }

    pub fn is_empty(&self) -> bool {
        self.actions.is_empty()
    }

    /// Whether there is a number in it that spoils whatever is computed from it.
    pub fn is_finite(&self) -> bool {
        [&self.observations, &self.next_observations, &self.rewards, &self.discounts]
            .into_iter()
            .all(|values| all_finite(values))
    }

    fn clear(&mut self) {
        let Batch { observations, next_observations, masks, next_masks, .. } = self;
        let Batch { rewards, discounts, entropies, .. } = self;
        for column in [observations, next_observations, masks, next_masks] {
            column.clear();
        }
        for column in [rewards, discounts, entropies] {
            column.clear();
        }
        self.actions.clear();
        self.teachers.clear();
    }
}

fn check(t: &Transition<'_>) -> Result<(), Refused> {
    let numbers = [
        ("observation", t.observation),
        ("next observation", t.next_observation),
        ("reward", &[t.reward]),
        ("discount", &[t.discount]),
        ("entropy", &[t.entropy.unwrap_or(0.0)]),
    ];
    if let Some((name, _)) = numbers.into_iter().find(|(_, values)| !all_finite(values)) {
        return Err(Refused::NotFinite(name));
    }
    if !t.mask.get(t.action).copied().unwrap_or(false) {
        return Err(Refused::Masked { action: t.action });
    }
    if t.discount != 0.0 && !t.next_mask.contains(&true) {
        return Err(Refused::NowhereToGo);
    }
    Ok(())
}

fn pack(mask: &[bool], words: &mut [u64]) {
    for (word, allowed) in words.iter_mut().zip(mask.chunks(64)) {
        *word = allowed.iter().rev().fold(0, |bits, &allowed| bits << 1 | u64::from(allowed));
    }
}

fn unpack(words: &[u64], actions: usize, mask: &mut Vec<f32>) {
    mask.extend((0..actions).map(|i| (words[i / 64] >> (i % 64) & 1) as f32));
}
