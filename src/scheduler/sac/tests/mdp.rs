//! Decision problems small enough to be solved exactly, and a training run on them.

use super::*;

/// One way an action can turn out.
#[derive(Clone, Copy)]
pub struct Outcome {
    pub probability: f64,
    pub reward: f64,
    /// Of what follows; 0 where the episode ends.
    pub discount: f64,
    pub next: usize,
}

/// A problem with finitely many states, all of whose probabilities are known.
pub struct Mdp {
    /// What the policy sees of each state.
    pub observations: Vec<Vec<f32>>,
    /// By state and action; an action without outcomes is not allowed.
    pub outcomes: Vec<Vec<Vec<Outcome>>>,
    /// Where episodes may start, all with the same chance.
    pub starts: Vec<usize>,
}

impl Mdp {
    pub fn states(&self) -> usize {
        self.outcomes.len()
    }

    pub fn actions(&self) -> usize {
        self.outcomes[0].len()
    }

    pub fn mask(&self, state: usize) -> Vec<bool> {
        self.outcomes[state].iter().map(|outcomes| !outcomes.is_empty()).collect()
    }

    /// Expected value of an action when states are worth `values`.
    fn action_value(&self, state: usize, action: usize, values: &[f64]) -> f64 {
        let worth = |o: &Outcome| o.probability * (o.reward + o.discount * values[o.next]);
        self.outcomes[state][action].iter().map(worth).sum()
    }

    /// The mean value of the starts under a policy: by state, the probability of each action.
    pub fn value_of(&self, policy: &[Vec<f64>]) -> f64 {
        self.settle(|state, values| {
            let weighted = |(action, p): (usize, &f64)| match *p > 0.0 {
                true => p * self.action_value(state, action, values),
                false => 0.0,
            };
            policy[state].iter().enumerate().map(weighted).sum()
        })
    }

    /// The mean value of the starts under the best policy there is.
    pub fn optimum(&self) -> f64 {
        self.settle(|state, values| {
            let allowed = (0..self.actions()).filter(|&a| !self.outcomes[state][a].is_empty());
            allowed.map(|a| self.action_value(state, a, values)).fold(f64::MIN, f64::max)
        })
    }

    /// The mean value of the starts when every allowed action is as likely as another.
    pub fn value_of_chance(&self) -> f64 {
        let policy = |state| {
            let mask = self.mask(state);
            let share = 1.0 / mask.iter().filter(|&&allowed| allowed).count() as f64;
            mask.iter().map(|&allowed| if allowed { share } else { 0.0 }).collect()
        };
        self.value_of(&(0..self.states()).map(policy).collect::<Vec<_>>())
    }

    fn settle(&self, better: impl Fn(usize, &[f64]) -> f64) -> f64 {
        let mut values = vec![0.0; self.states()];
        loop {
            let next: Vec<f64> = (0..self.states()).map(|s| better(s, &values)).collect();
            let moved = next.iter().zip(&values).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
            values = next;
            if moved < 1e-9 {
                break;
            }
        }
        self.starts.iter().map(|&s| values[s]).sum::<f64>() / self.starts.len() as f64
    }

    fn draw(&self, state: usize, action: usize, random: &mut Xoshiro256PlusPlus) -> Outcome {
        let outcomes = &self.outcomes[state][action];
        let mut left = random.random_range(0.0..1.0);
        for outcome in outcomes {
            left -= outcome.probability;
            if left < 0.0 {
                return *outcome;
            }
        }
        outcomes[outcomes.len() - 1]
    }

    /// The value of the policy that always takes `actor`'s likeliest action.
    pub fn value_of_greedy(&self, actor: &Actor) -> f64 {
        let mut scratch = Scratch::default();
        let mut policy = Vec::new();
        for state in 0..self.states() {
            let mut p = vec![0.0; self.actions()];
            actor.probabilities(&self.observations[state], &self.mask(state), &mut scratch, &mut p);
            let best = greedy(&p).expect("each state has an action");
            policy.push((0..p.len()).map(|a| if a == best { 1.0 } else { 0.0 }).collect());
        }
        self.value_of(&policy)
    }
}

/// How long to learn.
#[derive(Clone, Copy)]
pub struct Training {
    pub updates: u64,
    /// Transitions lived through for each update.
    pub steps_per_update: usize,
    /// An episode is cut off after so many steps; its last transition goes on all the same.
    pub cut_off: usize,
}

/// Lives and learns, both from `seed`.
pub fn train(problem: &Mdp, config: &SacConfig, training: Training, seed: u64) -> Learner {
    let mut learner = Learner::new(config.clone(), seed).expect("valid settings");
    let mut random = random(seed ^ 0x5eed);
    let mut replay = Replay::new(10_000, config.observation, config.actions);
    let mut scratch = Scratch::default();
    let mut probabilities = vec![0.0; config.actions];
    let mut actor = learner.actor();
    let (mut state, mut age) = (problem.starts[0], usize::MAX);
    for step in 0..training.updates as usize * training.steps_per_update {
        if age >= training.cut_off {
            state = problem.starts[random.random_range(0..problem.starts.len())];
            age = 0;
        }
        let (observation, mask) = (&problem.observations[state], problem.mask(state));
        learner.normaliser_mut().observe(observation);
        actor.probabilities(observation, &mask, &mut scratch, &mut probabilities);
        let action = sample(&probabilities, &mut random).expect("each state has an action");
        let outcome = problem.draw(state, action, &mut random);
        replay
            .push(&Transition {
                observation,
                mask: &mask,
                action,
                reward: outcome.reward as f32,
                discount: outcome.discount as f32,
                next_observation: &problem.observations[outcome.next],
                next_mask: &problem.mask(outcome.next),
                entropy: Some(entropy(&probabilities)),
                teacher: None,
            })
            .expect("a valid transition");
        (state, age) = (outcome.next, age + 1);
        if outcome.discount == 0.0 {
            age = usize::MAX;
        }
        if replay.len() >= config.batch && step % training.steps_per_update == 0 {
            learner.update(&replay).expect("finite numbers");
            if learner.updates().is_multiple_of(20) {
                actor = learner.actor();
            }
        }
    }
    learner
}
