//! What a campaign has to measure, in order, and what of it is done.

use super::super::design::{Kind, Member, combinations};
use super::super::point::{batch_ladder, instance_ladder};
use super::{Campaign, Subject};
use crate::profiler::{Point, Profile};
use crate::units::{BatchSize, InstanceCount};
use std::slice;

/// One in so many combinations is measured a second time, at the very end.
const AGAIN: usize = 5;

/// One measurement.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Step {
    Alone(Member),
    Together(Vec<Member>),
    /// The same once more, to know how far measurements repeat.
    Again(Vec<Member>),
}

impl Step {
    pub(super) fn members(&self) -> &[Member] {
        match self {
            Step::Alone(member) => slice::from_ref(member),
            Step::Together(members) | Step::Again(members) => members,
        }
    }
}

/// All steps, the done ones included. It follows from the subjects, the request and the limits
/// alone, so a campaign that goes on has the plan it had.
pub(super) struct Plan(Vec<Step>);

impl Plan {
    pub(super) fn of(campaign: &Campaign<'_>) -> Plan {
        let usable = |&at: &usize| campaign.failed[at].is_none();
        let usable: Vec<usize> = (0..campaign.subjects.len()).filter(usable).collect();
        let targets = usable.iter().filter(|&&at| campaign.subjects[at].is_target);
        let mut steps: Vec<Step> = targets.flat_map(|&at| alone(campaign, at)).collect();

        let works = works(campaign.subjects, &campaign.profiles);
        let kinds: Vec<Kind> = usable.iter().map(|&at| kind(campaign, at, works[at])).collect();
        let request = &campaign.request;
        let designed = combinations(&kinds, request.combinations, request.seed);
        let here = |member: Member| Member { model: usable[member.model], ..member };
        let designed = designed.into_iter().map(|c| c.into_iter().map(here).collect());
        let fitting: Vec<Vec<Member>> =
            designed.filter(|members: &Vec<Member>| campaign.may_fit(members)).collect();
        let twice = fitting[..fitting.len().div_ceil(AGAIN)].to_vec();
        steps.extend(fitting.into_iter().map(Step::Together));
        steps.extend(twice.into_iter().map(Step::Again));
        Plan(steps)
    }

    /// How many steps are done, of how many.
    pub(super) fn progress(&self, campaign: &Campaign<'_>) -> (usize, usize) {
        (self.0.iter().filter(|step| campaign.is_done(step)).count(), self.0.len())
    }

    pub(super) fn next(&self, campaign: &Campaign<'_>) -> Option<&Step> {
        self.0.iter().find(|step| !campaign.is_done(step))
    }
}

/// Every batch size at every number of instances that may fit.
fn alone(campaign: &Campaign<'_>, model: usize) -> Vec<Step> {
    let subject = &campaign.subjects[model];
    let mut steps = Vec::new();
    for instances in instance_ladder(subject.max_instances) {
        for batch in batch_ladder(subject.engine.spec().max_batch) {
            if !campaign.profiles[model].is_beyond_limits(batch, instances) {
                steps.push(Step::Alone(Member { model, batch, instances }));
            }
        }
    }
    steps
}

fn kind(campaign: &Campaign<'_>, model: usize, work: f64) -> Kind {
    let (subject, profile) = (&campaign.subjects[model], &campaign.profiles[model]);
    let mut batches = batch_ladder(subject.engine.spec().max_batch);
    batches.retain(|&batch| !profile.is_beyond_limits(batch, InstanceCount::ONE));
    let fits = |&n: &u16| !profile.is_beyond_limits(BatchSize::ONE, InstanceCount(n));
    let max_instances = (1..=subject.max_instances.0).rev().find(fits).unwrap_or(1);
    Kind {
        batches,
        max_instances: InstanceCount(max_instances),
        work,
        is_target: subject.is_target,
    }
}

/// What orders the subjects from light to heavy: the multiply-adds of an item where they are known
/// of all, else the bytes of the weights.
pub(super) fn works(subjects: &[Subject], profiles: &[Profile]) -> Vec<f64> {
    let known = |profile: &Profile| {
        profile.features.map(|features| features.multiply_adds).filter(|&count| count > 0)
    };
    let known: Option<Vec<u64>> = profiles.iter().map(known).collect();
    let bytes = || subjects.iter().map(|subject| subject.engine.weight_bytes()).collect();
    known.unwrap_or_else(bytes).into_iter().map(|work| work as f64).collect()
}

impl Campaign<'_> {
    fn may_fit(&self, members: &[Member]) -> bool {
        let beyond = |member: &Member| {
            self.profiles[member.model].is_beyond_limits(member.batch, member.instances)
        };
        !members.iter().any(beyond) && !self.unfit.iter().any(|unfit| unfit == members)
    }

    /// Whether all that it gives is in the profiles, measured on a machine that was itself or given
    /// up on.
    fn is_done(&self, step: &Step) -> bool {
        let is_good = |point: &Point| !point.is_marked() || self.marked.contains(step);
        let targets = step.members().iter().filter(|m| self.subjects[m.model].is_target);
        targets.into_iter().all(|member| {
            let profile = &self.profiles[member.model];
            let (Step::Together(members) | Step::Again(members)) = step else {
                return profile.alone(member.batch, member.instances).is_some_and(is_good);
            };
            let neighbours = self.neighbours(members, member.model);
            let key = (member.batch, member.instances, &neighbours[..]);
            let record = profile.beside.iter().find(|beside| beside.key() == key);
            record.is_some_and(|record| match step {
                Step::Again(_) => record.again_us_mean.is_some() || self.marked.contains(step),
                _ => is_good(&record.point),
            })
        })
    }
}
