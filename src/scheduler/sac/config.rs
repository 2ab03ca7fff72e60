//! The settings of the algorithm, where their values come from, and what they may be.

/// All settings of the learner. The discount is not among them: every transition carries its own.
#[derive(Clone, Debug, PartialEq)]
pub struct SacConfig {
    /// Numbers in an observation.
    pub observation: usize,
    /// Actions, allowed or not.
    pub actions: usize,
    /// Units of the two hidden layers, in the actor and in both critics.
    pub hidden: [usize; 2],
    /// Transitions in an update.
    pub batch: usize,
    /// Learning rates of Adam. 3e-4 each is Haarnoja's (arXiv 1812.05905, table 1).
    pub actor_rate: f32,
    pub critic_rate: f32,
    /// Its parameter is the logarithm of the temperature; 0 keeps that as it is.
    pub temperature_rate: f32,
    /// Share of the way that the target critics move in an update; 0.005 is Haarnoja's.
    pub tau: f32,
    /// The temperature it starts with, in units of the value.
    pub initial_alpha: f32,
    /// The entropy the temperature is steered to, as a fraction of that of a uniform choice among
    /// the allowed actions, over the updates. Christodoulou (arXiv 1910.07207) holds it at 0.98,
    /// which is hardly a policy; falling, it explores first and decides later.
    pub target_entropy: Schedule,
    /// How much of the temperature's entropy bonus the critics' goals contain: 1 is SAC's, 0 makes
    /// the critics judge by reward alone, which arXiv 2509.09838 finds decisive with discrete
    /// actions.
    pub critic_entropy: f32,
    /// A critic's estimate counts as at most this far from its target network's, in units of the
    /// value (Zhou, arXiv 2209.10081, there 0.5). Infinity switches it off.
    pub q_clip: f32,
    /// Weight β of ½ (entropy when the transition was recorded − entropy now)² in the actor's loss
    /// (Zhou, arXiv 2209.10081, there 0.5, with entropies far below those of a hundred actions).
    pub entropy_penalty: f32,
    /// Weight of −ln π(what the rule would have done) in the actor's loss, in units of the value: where
    /// another action is not worth about twice as much more, the actor stays with the rule. After
    /// Fujimoto and Gu's TD3+BC (arXiv 2106.06860); 0 is plain SAC.
    pub imitation: f32,
    /// Longest gradient, for each network.
    pub max_gradient_norm: f32,
    /// In so many updates at the beginning only the critics learn. For an actor that is good
    /// already, beside critics that have yet to get used to other rewards.
    pub critics_first: u64,
}

impl SacConfig {
    /// The defaults for these sizes.
    pub fn new(observation: usize, actions: usize) -> SacConfig {
        SacConfig {
            observation,
            actions,
            hidden: [64, 64],
            batch: 128,
            actor_rate: 3e-4,
            critic_rate: 3e-4,
            temperature_rate: 3e-4,
            tau: 0.005,
            initial_alpha: 0.1,
            target_entropy: Schedule { start: 0.5, end: 0.1, updates: 50_000 },
            critic_entropy: 0.0,
            q_clip: 0.5,
            entropy_penalty: 0.01,
            imitation: 0.0,
            max_gradient_norm: 10.0,
            critics_first: 0,
        }
    }

    /// Inputs, hidden units and outputs of the actor and of both critics.
    pub fn sizes(&self) -> [usize; 4] {
        [self.observation, self.hidden[0], self.hidden[1], self.actions]
    }

    /// # Errors
    /// The first setting that is out of its range.
    pub fn check(&self) -> Result<(), InvalidConfig> {
        let sizes = [
            ("observation", self.observation),
            ("actions", self.actions),
            ("hidden", self.hidden[0].min(self.hidden[1])),
            ("batch", self.batch),
        ];
        for (setting, value) in sizes {
            if value == 0 {
                return Err(InvalidConfig { setting, value: 0.0, expected: "at least 1" });
            }
        }
        let (positive, share) = ("finite and above 0", "from 0 to 1");
        let is_rate = |x: f32| x > 0.0 && x.is_finite();
        let is_share = |x: f32| (0.0..=1.0).contains(&x);
        let numbers = [
            ("actor_rate", self.actor_rate, is_rate(self.actor_rate), positive),
            ("critic_rate", self.critic_rate, is_rate(self.critic_rate), positive),
            (
                "temperature_rate",
                self.temperature_rate,
                self.temperature_rate == 0.0 || is_rate(self.temperature_rate),
                "finite and not below 0",
            ),
            ("initial_alpha", self.initial_alpha, is_rate(self.initial_alpha), positive),
            (
                "max_gradient_norm",
                self.max_gradient_norm,
                is_rate(self.max_gradient_norm),
                positive,
            ),
            ("tau", self.tau, self.tau > 0.0 && self.tau <= 1.0, "above 0, at most 1"),
            ("q_clip", self.q_clip, self.q_clip > 0.0, "above 0, or infinity"),
            (
                "entropy_penalty",
                self.entropy_penalty,
                self.entropy_penalty >= 0.0 && self.entropy_penalty.is_finite(),
                "finite and not below 0",
            ),
            (
                "imitation",
                self.imitation,
                self.imitation >= 0.0 && self.imitation.is_finite(),
                "finite and not below 0",
            ),
            ("critic_entropy", self.critic_entropy, is_share(self.critic_entropy), share),
            (
                "target_entropy.start",
                self.target_entropy.start,
                is_share(self.target_entropy.start),
                share,
            ),
            (
                "target_entropy.end",
                self.target_entropy.end,
                is_share(self.target_entropy.end),
                share,
            ),
        ];
        let wrong = numbers.into_iter().find(|&(_, _, fits, _)| !fits);
        wrong.map_or(Ok(()), |(setting, value, _, expected)| {
            Err(InvalidConfig { setting, value, expected })
        })
    }
}

/// A setting out of its range.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("the learner's {setting} is {value}; expected {expected}")]
pub struct InvalidConfig {
    pub setting: &'static str,
    pub value: f32,
    pub expected: &'static str,
}

/// A number that goes from `start` to `end` in a straight line over so many `updates`, and stays.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Schedule {
    pub start: f32,
    pub end: f32,
    pub updates: u64,
}

impl Schedule {
    pub fn constant(value: f32) -> Schedule {
        Schedule { start: value, end: value, updates: 0 }
    }

    /// The value after `updates`.
    pub fn at(&self, updates: u64) -> f32 {
        if updates >= self.updates {
            return self.end;
        }
        let share = updates as f32 / self.updates as f32;
        self.start + share * (self.end - self.start)
    }
}
