//! `sac`: the planner's dispatch under limits that a trained actor chooses each slot, for every
//! model the largest batch and the number of instances.
//!
//! The actor's choice is shielded ([`super::actions`]): what is predicted to break the SLO, or does
//! not fit, is masked. So the worst it can do is to keep the planner from using what it has.
//!
//! What it learns from is the utility that is lost ([`super::planner`]'s weights): the reward of a
//! slot is minus what the requests answered in it lost, counted for all models together, since they
//! share the device. To it the change of a potential is added, minus what the waiting requests are
//! expected to lose (Ng, Harada and Russell 1999): it changes no policy's rank, and tells at once
//! what would show only when the queue is served. A decision stays for several slots, so that it has
//! an effect that can be told from chance. In the simulator the reward is counted against that of
//! the planner by itself under the same arrivals ([`Baseline`]), which takes most of the chance out
//! of it; a baseline that no action changes leaves what is best as it is. What chance is left still
//! misleads, so the planner's own limits are imitated besides ([`IMITATION`]), and a model that starves
//! is left to them.

mod experience;

pub use experience::{Baseline, Experience, Learning, Sink};

use super::actions::{ACTIONS, BATCHES, Shield, action_for, limits};
use super::observation::{FEATURES, Summary};
use super::planner::{Planner, efficient_caps};
use super::sac::{Actor, Scratch, entropy, greedy, sample};
use super::{Caps, DeviceView, Dispatch, Insight, ModelView, Policy, Reason};
use crate::units::{BatchSize, InstanceCount, ModelId};
use arc_swap::ArcSwap;
use experience::{Decision, Ledger};
use rand::{RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

pub(super) const NAME: &str = "sac";
pub(super) const BATCH_ONLY_NAME: &str = "tac";

/// Share of the decisions that explore while the appliance serves.
const EXPLORED_SHARE: f32 = 0.05;
/// How strongly the planner's own limits are imitated, see [`super::sac::SacConfig::imitation`].
/// Without it, the actor leaves them for differences that are chance, for 1 % less utility.
pub const IMITATION: f32 = 1.0;
/// Slots that a decision stays.
const HOLD_SLOTS: usize = 6;
/// A model whose weight has grown by more than this, in the logarithm, because it starves is left to
/// the planner, whose floor control needs a free hand then.
const STARVES: f64 = 0.3;

/// How an action is picked from its probabilities.
#[derive(Debug)]
pub enum Choice {
    /// The most probable.
    Greedy,
    /// By its probability: to explore.
    Sampled(Xoshiro256PlusPlus),
    /// The most probable, and now and then, as long as the switch is on, one by its probability: to
    /// go on learning.
    Exploring(Arc<AtomicBool>, Xoshiro256PlusPlus),
    /// Not by the actor: what the planner allows itself.
    Rule,
}

impl Choice {
    /// By probability, from a seed.
    pub fn sampled(seed: u64) -> Choice {
        Choice::Sampled(Xoshiro256PlusPlus::seed_from_u64(seed))
    }

    /// The most probable but for a few while `enabled`, from a seed.
    pub fn exploring(enabled: Arc<AtomicBool>, seed: u64) -> Choice {
        Choice::Exploring(enabled, Xoshiro256PlusPlus::seed_from_u64(seed))
    }
}

/// What becomes of the actor's choices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Steering {
    /// Limits for the planner, which dispatches: the policy `sac`.
    Planner,
    /// A batch size only, for so many instances of every model that take what is there: the policy
    /// `tac`, after the actor-critic on batch sizes that BCEdge (arXiv 2305.01519) compares with. It
    /// has the same observations, training and number of updates as `sac`.
    BatchOnly(InstanceCount),
}

/// The policy. Its actor can be exchanged while it decides.
pub struct Sac {
    planner: Planner,
    actor: Arc<ArcSwap<Actor>>,
    choice: Choice,
    ledger: Ledger,
    /// How its choices are carried out.
    steering: Steering,
    summary: Summary,
    /// Rows of the models it governs, in their order.
    models: Vec<ModelId>,
    /// Of the model that is decided for.
    observation: [f32; FEATURES],
    /// By row, in this slot.
    allowed: Vec<bool>,
    /// By row, of the last decision.
    probabilities: Vec<f32>,
    shield: Shield,
    scratch: Scratch,
    /// By row.
    last: Vec<Decision>,
    /// Slots so far.
    slot: usize,
}

impl std::fmt::Debug for Sac {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sac").field("models", &self.models).finish_non_exhaustive()
    }
}

impl Sac {
    /// # Panics
    /// When `actor` was made for other observations or actions; loading weights checks that.
    pub fn new(
        steering: Steering,
        actor: Arc<ArcSwap<Actor>>,
        choice: Choice,
        learning: Learning,
    ) -> Sac {
        {
            let actor = actor.load();
            assert_eq!((actor.observation(), actor.actions()), (FEATURES, ACTIONS));
        }
        Sac {
            planner: Planner::default(),
            actor,
            choice,
            ledger: Ledger::new(learning),
            steering,
            summary: Summary::default(),
            models: Vec::new(),
            observation: [0.0; FEATURES],
            allowed: Vec::new(),
            probabilities: Vec::new(),
            shield: Shield::default(),
            scratch: Scratch::default(),
            last: Vec::new(),
            slot: 0,
        }
    }

    /// Fills the row of what is allowed a model.
    fn mask(&mut self, model: &ModelView<'_>, row: usize) {
        self.shield.update(model);
        if let Steering::BatchOnly(instances) = self.steering {
            self.shield.only(instances.min(model.max_instances));
        }
        self.allowed[row * ACTIONS..][..ACTIONS].copy_from_slice(&self.shield.allowed);
    }

    /// Looks at a model, and fills its row of what the actor makes of it.
    fn consider(&mut self, device: &DeviceView<'_>, id: ModelId, row: usize) {
        let extra_weight = self.planner.extra_weight(id);
        self.summary.observe(device, id, extra_weight, &mut self.observation);
        self.actor.load().probabilities(
            &self.observation,
            &self.allowed[row * ACTIONS..][..ACTIONS],
            &mut self.scratch,
            &mut self.probabilities[row * ACTIONS..][..ACTIONS],
        );
    }

    /// Decides for one model, and tells what came of the decision before.
    fn renew(&mut self, device: &DeviceView<'_>, id: ModelId, row: usize) {
        self.consider(device, id, row);
        let rule = self.by_rule(device, id, row);
        let action = self.pick(id, row, rule);
        let allowed = &self.allowed[row * ACTIONS..][..ACTIONS];
        let entropy = entropy(&self.probabilities[row * ACTIONS..][..ACTIONS]);
        let decision = Decision::new(&self.observation, allowed, action, rule, entropy);
        match self.last.get_mut(row) {
            Some(last) => {
                self.ledger.tell(last, &self.observation, allowed);
                *last = decision;
            }
            None => self.last.push(decision),
        }
    }

    /// Whether a decision is due: each lasts some slots, and the models take turns.
    fn is_due(&self, row: usize) -> bool {
        let Some(last) = self.last.get(row) else { return true };
        (self.slot + row).is_multiple_of(HOLD_SLOTS) || !self.allowed[row * ACTIONS + last.action]
    }

    /// What the planner would allow itself.
    fn by_rule(&self, device: &DeviceView<'_>, id: ModelId, row: usize) -> usize {
        let caps = efficient_caps(&device.of(id));
        let allowed = &self.allowed[row * ACTIONS..][..ACTIONS];
        nearest_allowed(action_for(caps.batch, caps.instances), allowed)
    }

    fn pick(&mut self, id: ModelId, row: usize, rule: usize) -> usize {
        let probabilities = &self.probabilities[row * ACTIONS..][..ACTIONS];
        if self.steering == Steering::Planner && self.planner.extra_weight(id) > STARVES {
            return rule;
        }
        let picked = match &mut self.choice {
            Choice::Greedy => greedy(probabilities),
            Choice::Sampled(random) => sample(probabilities, random),
            Choice::Exploring(enabled, random) => {
                let explores =
                    enabled.load(Ordering::Relaxed) && random.random::<f32>() < EXPLORED_SHARE;
                if explores { sample(probabilities, random) } else { greedy(probabilities) }
            }
            Choice::Rule => Some(rule),
        };
        // The shield leaves at least one action.
        picked.unwrap_or(0)
    }
}

/// The action itself where it is allowed, else with fewer instances, else with smaller batches.
fn nearest_allowed(wanted: usize, allowed: &[bool]) -> usize {
    let (sizes, instances) = (BATCHES.len(), wanted / BATCHES.len());
    let columns = (0..=wanted % sizes).rev();
    let mut all = columns.flat_map(|size| (0..=instances).rev().map(move |row| row * sizes + size));
    // One item on one instance is always allowed.
    all.find(|&action| allowed[action]).unwrap_or(0)
}

impl Policy for Sac {
    fn name(&self) -> &'static str {
        match self.steering {
            Steering::Planner => NAME,
            Steering::BatchOnly(_) => BATCH_ONLY_NAME,
        }
    }

    fn decide(&mut self, device: &DeviceView<'_>, models: &[ModelId], caps: &mut [Caps]) {
        self.planner.prepare(device);
        self.summary.update(device);
        if self.models != models {
            self.models.clear();
            self.models.extend_from_slice(models);
            self.last.clear();
            self.allowed.resize(models.len() * ACTIONS, false);
            self.probabilities.resize(models.len() * ACTIONS, 0.0);
        }
        self.ledger.earn(device, &mut self.planner, self.slot, &mut self.last);
        for (row, (&id, caps)) in models.iter().zip(caps).enumerate() {
            let model = device.of(id);
            self.mask(&model, row);
            if self.is_due(row) {
                self.renew(device, id, row);
            }
            let (batch, instances) = limits(self.last[row].action);
            *caps = Caps { batch, instances, reason: Reason::Learned };
            if model.predictor.alone(BatchSize::ONE).is_none() {
                // Nothing to decide by: everything is allowed until something is measured.
                let (batch, instances) = (model.max_batch, model.max_instances);
                *caps = Caps { batch, instances, reason: Reason::NothingMeasured };
            }
        }
        self.slot += 1;
    }

    fn dispatch(&mut self, device: &DeviceView<'_>, ready: &[ModelId]) -> Dispatch {
        match self.steering {
            Steering::Planner => self.planner.dispatch(device, ready),
            Steering::BatchOnly(_) => Dispatch::Start(ready[0], device.of(ready[0]).caps.batch),
        }
    }

    fn insight(&self, model: ModelId) -> Option<Insight<'_>> {
        let row = self.models.iter().position(|&id| id == model)?;
        Some(Insight {
            probabilities: self.probabilities.get(row * ACTIONS..)?.get(..ACTIONS)?,
            allowed: self.allowed.get(row * ACTIONS..)?.get(..ACTIONS)?,
            action: self.last.get(row)?.action,
            entropy: self.last.get(row)?.entropy,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::sac::{Learner, SacConfig};
    use super::super::testing::{TestModel, with_view};
    use super::super::trained::shipped_sac;
    use super::super::{Predictor, Running};
    use super::*;
    use crate::units::Nanos;
    use std::sync::Mutex;

    fn ms(millis: u64) -> Nanos {
        Nanos::from_millis(millis)
    }

    fn model(items: usize) -> TestModel {
        let times = [(BatchSize(1), ms(10)), (BatchSize(8), ms(24))];
        let mut model = TestModel::new(100, Predictor::new(&times)).waiting(0, &vec![900; items]);
        model.demand.slow_per_s = 10.0;
        model
    }

    fn sac(choice: Choice, learning: Learning) -> Sac {
        let actor = Arc::new(ArcSwap::from_pointee(shipped_sac().0.clone()));
        Sac::new(Steering::Planner, actor, choice, learning)
    }

    fn decide(sac: &mut Sac, models: &[TestModel], now: Nanos) -> Vec<Caps> {
        let ids: Vec<_> = (0..models.len() as u16).map(ModelId).collect();
        let mut caps: Vec<_> = models.iter().map(|model| model.caps).collect();
        with_view(models, &Running::default(), now, |device| {
            sac.decide(device, &ids, &mut caps);
        });
        caps
    }

    #[test]
    fn the_rule_allows_what_the_planner_allows_itself() {
        let mut rule = sac(Choice::Rule, Learning::default());
        let caps = decide(&mut rule, &[model(1)], ms(0));
        let expected =
            Caps { batch: BatchSize(8), instances: InstanceCount(3), reason: Reason::Learned };
        assert_eq!(caps, [expected]);
    }

    #[test]
    fn tac_chooses_batch_sizes_for_the_instances_it_is_given_and_never_waits() {
        // Untrained and sampled, so that all that it may choose comes up.
        let config = SacConfig::new(FEATURES, ACTIONS);
        let actor = Arc::new(ArcSwap::from_pointee(Learner::new(config, 3).unwrap().actor()));
        let steering = Steering::BatchOnly(InstanceCount(2));
        let mut tac = Sac::new(steering, actor, Choice::sampled(1), Learning::default());
        let mut sizes = std::collections::BTreeSet::new();
        for slot in 0..600u64 {
            // One request, which has all the time in the world.
            let model = model(1);
            let now = ms(50 * slot);
            let caps = decide(&mut tac, std::slice::from_ref(&model), now)[0];
            assert_eq!(caps.instances, InstanceCount(2));
            sizes.insert(caps.batch);
            let dispatch = with_view(&[model], &Running::default(), now, |device| {
                tac.dispatch(device, &[ModelId(0)])
            });
            assert!(matches!(dispatch, Dispatch::Start(ModelId(0), _)), "{dispatch:?}");
        }
        assert!(sizes.len() >= 3, "{sizes:?}");
    }

    #[test]
    fn what_is_not_allowed_gives_way_to_fewer_instances_before_smaller_batches() {
        let mut allowed = [true; ACTIONS];
        let at = |batch, instances| action_for(BatchSize(batch), InstanceCount(instances));
        assert_eq!(nearest_allowed(at(8, 3), &allowed), at(8, 3));
        allowed[at(8, 3)] = false;
        assert_eq!(nearest_allowed(at(8, 3), &allowed), at(8, 2));
        allowed[at(8, 2)] = false;
        allowed[at(8, 1)] = false;
        assert_eq!(nearest_allowed(at(8, 3), &allowed), at(4, 3));
    }

    #[test]
    fn a_model_that_starves_is_left_to_the_planner() {
        let mut model = model(3);
        model.tally.recent_hit_rate = 0.2;
        // An untrained actor, which takes anything.
        let config = SacConfig::new(FEATURES, ACTIONS);
        let actor = Arc::new(ArcSwap::from_pointee(Learner::new(config, 3).unwrap().actor()));
        let decides = |model: &TestModel, choice| {
            let actor = actor.clone();
            let mut sac = Sac::new(Steering::Planner, actor, choice, Learning::default());
            decide(&mut sac, std::slice::from_ref(model), ms(0))
        };
        let mut differ = |hit_rate| {
            model.tally.recent_hit_rate = hit_rate;
            let by_rule = decides(&model, Choice::Rule);
            (0..20).filter(|&seed| decides(&model, Choice::sampled(seed)) != by_rule).count()
        };
        assert_eq!(differ(0.2), 0);
        assert!(differ(0.9) > 0);
    }

    #[test]
    fn a_decision_stays_for_some_slots_unless_it_is_masked() {
        // Untrained, since a trained actor may be too sure of itself to show anything.
        let config = SacConfig::new(FEATURES, ACTIONS);
        let actor = Learner::new(config, 3).unwrap().actor();
        let actor = Arc::new(ArcSwap::from_pointee(actor));
        let choice = Choice::sampled(5);
        let mut sac = Sac::new(Steering::Planner, actor, choice, Learning::default());
        let mut changes = Vec::new();
        let mut last = None;
        for slot in 0..120 {
            decide(&mut sac, &[model(slot % 7)], ms(50 * slot as u64));
            let action = sac.insight(ModelId(0)).unwrap().action;
            if last.replace(action).is_some_and(|last| last != action) {
                changes.push(slot);
            }
        }
        assert!(!changes.is_empty(), "it never changed its mind, so this shows nothing");
        assert!(changes.iter().all(|slot| slot % HOLD_SLOTS == 0), "{changes:?}");
    }

    #[test]
    fn nothing_is_explored_while_learning_is_off() {
        // Untrained, so that what is sampled is hardly ever the most probable.
        let config = SacConfig::new(FEATURES, ACTIONS);
        let actor = Learner::new(config, 3).unwrap().actor();
        let actor = Arc::new(ArcSwap::from_pointee(actor));
        let decisions = |choice| {
            let actor = actor.clone();
            let mut sac = Sac::new(Steering::Planner, actor, choice, Learning::default());
            let slots = (0..HOLD_SLOTS as u64 * 200).map(|slot| ms(50 * slot));
            slots.map(|now| decide(&mut sac, &[model(3)], now)[0]).collect::<Vec<_>>()
        };
        let greedy = decisions(Choice::Greedy);
        let exploring = |on| decisions(Choice::exploring(Arc::new(AtomicBool::new(on)), 7));
        assert_eq!(exploring(false), greedy);
        let others =
            exploring(true).iter().zip(&greedy).filter(|(one, other)| one != other).count();
        let share = others as f64 / greedy.len() as f64;
        assert!(share > 0.01 && share < 0.1, "{share}");
    }

    /// Experiences of 5 s of one model, whose requests each cost `cost(second)`.
    fn experiences(baseline: Option<Arc<Baseline>>, cost: f64) -> (Vec<Experience>, Arc<Baseline>) {
        let kept = Arc::new(Mutex::new(Vec::new()));
        let into = kept.clone();
        let record = Arc::new(Mutex::new(Baseline::default()));
        let sink: Sink = Box::new(move |e| into.lock().unwrap().push(e.clone()));
        let learning = Learning { sink: Some(sink), baseline, record: Some(record.clone()) };
        let mut sac = sac(Choice::Rule, learning);
        let mut model = model(0);
        for slot in 0..100u64 {
            model.tally.answered = slot;
            model.tally.slo_met = slot;
            model.tally.cost = slot as f64 * cost;
            decide(&mut sac, std::slice::from_ref(&model), ms(50 * slot));
        }
        let kept = std::mem::take(&mut *kept.lock().unwrap());
        let record = std::mem::take(&mut *record.lock().unwrap());
        (kept, Arc::new(record))
    }

    #[test]
    fn rewards_are_what_was_lost_less_than_the_planner_lost() {
        let (dear, baseline) = experiences(None, 0.8);
        assert!(dear.iter().all(|e| e.reward < 0.0), "requests always cost something");
        let (same, _) = experiences(Some(baseline.clone()), 0.8);
        assert!(same.iter().all(|e| e.reward.abs() < 1e-5), "{:?}", same[0].reward);
        let (better, _) = experiences(Some(baseline.clone()), 0.4);
        assert!(better.iter().all(|e| e.reward > 0.0));
        let (worse, _) = experiences(Some(baseline), 1.2);
        assert!(worse.iter().all(|e| e.reward < 0.0));
        // A decision stays 6 slots of 50 ms: the next one counts e^-0.3.
        let hold_s = 0.05 * HOLD_SLOTS as f64;
        assert!(
            (f64::from(same[1].discount) - (-hold_s / experience::HORIZON_S).exp()).abs() < 1e-6
        );
    }

    #[test]
    fn a_model_nothing_is_known_of_may_use_all_it_has() {
        let mut sac = sac(Choice::Greedy, Learning::default());
        let unknown = TestModel::new(100, Predictor::default()).waiting(0, &[100; 3]);
        let caps = decide(&mut sac, &[unknown], ms(0));
        assert_eq!((caps[0].batch, caps[0].reason), (BatchSize(8), Reason::NothingMeasured));
    }
}
