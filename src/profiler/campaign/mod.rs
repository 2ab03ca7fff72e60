//! The thorough profile of several models: every point alone, then combinations of models, each
//! saved as soon as it is measured, so that an interrupted campaign goes on where it stopped.

mod gauge;
mod news;
mod plan;
mod record;

pub use news::News;

use super::measure::{Effort, Failure, Part, in_windows};
use super::store::{Limit, Memory};
use super::{Member, Point, Profile, ProfileError, memory};
use crate::config::Config;
use crate::engine::{Engine, EngineError};
use crate::units::{BatchSize, InstanceCount};
use gauge::Gauge;
use plan::{Plan, Step};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// A point is measured in at most so many windows, with new threads in each.
const WINDOWS: u32 = 12;
/// Runs of each instance in one window at least …
const MIN_RUNS: u32 = 2;
/// … unless they would take so many times the window's usual time. Where that is longer than all
/// windows, one is enough.
const MAX_TIMES: u32 = 10;
/// How often a point is measured anew because the machine was not itself.
const MAX_RETRIES: u32 = 2;

/// A model that is measured, or is only a neighbour of those that are.
#[derive(Clone)]
pub struct Subject {
    /// Its name in config.ron.
    pub name: String,
    /// The model file; the profile stands next to it.
    pub file: PathBuf,
    pub engine: Arc<dyn Engine>,
    pub max_instances: InstanceCount,
    /// Whether its profile is wanted.
    pub is_target: bool,
}

/// What is wanted of a campaign.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    /// Time for one point at most, where single runs are not longer.
    pub point_time: Duration,
    /// Combinations of models.
    pub combinations: usize,
    pub seed: u64,
    /// What was measured before is put aside.
    pub fresh: bool,
    /// Whether the machine's speed is watched; without it nothing is measured anew or marked.
    pub guarded: bool,
}

/// How a campaign ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    Complete,
    /// It was asked to; what was measured is saved.
    Stopped,
}

/// The state of the measuring, which is that of the files.
pub struct Campaign<'a> {
    subjects: &'a [Subject],
    request: Request,
    /// One for each subject. Of those that are no targets only the limits are used.
    profiles: Vec<Profile>,
    /// Why the subject can't be measured at all.
    failed: Vec<Option<String>>,
    /// Combinations that did not fit or failed.
    unfit: Vec<Vec<Member>>,
    /// Steps measured in this campaign on a machine that was not itself.
    marked: Vec<Step>,
    gauge: Gauge<'a>,
}

impl<'a> Campaign<'a> {
    /// Takes up what is there of the targets' profiles, and tells what it does with it.
    ///
    /// # Errors
    /// A model file that is gone.
    pub fn begin(
        subjects: &'a [Subject],
        config: &Config,
        request: &Request,
        tell: &mut dyn FnMut(News),
    ) -> Result<Campaign<'a>, ProfileError> {
        let mut profiles = record::taken_up(subjects, config, request, tell)?;
        let gauge = Gauge::new(subjects, &profiles, request, config.lanes());
        profiles.iter_mut().for_each(|profile| gauge.adopt(profile));
        let campaign = Campaign {
            subjects,
            request: request.clone(),
            failed: vec![None; subjects.len()],
            unfit: Vec::new(),
            marked: Vec::new(),
            gauge,
            profiles,
        };
        let (done, total) = Plan::of(&campaign).progress(&campaign);
        if done > 0 {
            tell(News::Resumed { done, total });
        }
        Ok(campaign)
    }

    /// The profiles of the targets that are measured or in part, with the place of each in the
    /// subjects.
    pub fn profiles(&self) -> impl Iterator<Item = (usize, &Profile)> {
        let all = self.profiles.iter().enumerate();
        all.filter(|(at, profile)| self.subjects[*at].is_target && !profile.points.is_empty())
    }

    /// The targets that could not be measured, with the reason.
    pub fn failures(&self) -> impl Iterator<Item = (&str, &str)> {
        let all = self.subjects.iter().zip(&self.failed).filter(|(subject, _)| subject.is_target);
        all.filter_map(|(subject, why)| Some((subject.name.as_str(), why.as_deref()?)))
    }

    /// The targets whose memory is not known yet.
    pub fn without_memory(&self) -> Vec<usize> {
        let all = self.profiles.iter().enumerate();
        let wanted = all.filter(|(at, p)| self.subjects[*at].is_target && p.memory.is_none());
        wanted.map(|(at, _)| at).collect()
    }

    /// Notes what memory a target takes, and what does not fit into it.
    ///
    /// # Errors
    /// When its profile can't be written.
    pub fn set_memory(
        &mut self,
        subject: usize,
        memory: Option<Memory>,
        limit: Option<Limit>,
    ) -> Result<(), ProfileError> {
        let profile = &mut self.profiles[subject];
        profile.memory = memory;
        profile.limits.extend(limit);
        self.save(subject)
    }

    /// Measures all that is missing, and saves each point.
    ///
    /// # Errors
    /// When a profile can't be written. An engine's errors end what they are about and are told.
    pub fn run(
        &mut self,
        stop: &AtomicBool,
        tell: &mut dyn FnMut(News),
    ) -> Result<End, ProfileError> {
        let mut plan = Plan::of(self);
        let mut is_repaired = false;
        loop {
            let (done, total) = plan.progress(self);
            let Some(step) = plan.next(self).cloned() else {
                // What was measured on a machine that was not itself gets another chance.
                if !self.marked.is_empty() && !is_repaired && self.gauge.is_steady() {
                    is_repaired = true;
                    tell(News::Repair { points: self.marked.len() });
                    self.marked.clear();
                    continue;
                }
                tell(News::Progress { done, total, what: String::new() });
                return Ok(End::Complete);
            };
            if stop.load(Ordering::Relaxed) {
                return Ok(End::Stopped);
            }
            tell(News::Progress { done, total, what: self.describe(&step) });
            self.follow_speed_up(stop, tell)?;
            match self.steady(&step, stop, tell) {
                Ok(points) => self.record(&step, points)?,
                Err(Failure::Stopped) => return Ok(End::Stopped),
                Err(failure) => {
                    self.give_up(&step, failure, tell)?;
                    plan = Plan::of(self);
                }
            }
        }
    }

    /// Measures the step while the machine is itself, if it can be had.
    fn steady(
        &mut self,
        step: &Step,
        stop: &AtomicBool,
        tell: &mut dyn FnMut(News),
    ) -> Result<Vec<Point>, Failure> {
        let window = self.request.point_time / WINDOWS;
        let max_time = window * MAX_TIMES;
        let effort = Effort { time: window, min_runs: MIN_RUNS, max_time };
        self.check_memory(step.members())?;
        let parts = self.parts(step.members());
        for retries in 0.. {
            let before = self.gauge.latest(stop)?;
            let mut points = in_windows(&parts, effort, self.request.point_time, stop)?;
            let after = self.gauge.measure(stop)?;
            let away = |speed: f64| (speed - 1.0).abs();
            let drift = if away(before) > away(after) { before } else { after };
            points.iter_mut().for_each(|point| point.drift = (drift * 1e4).round() / 1e4);
            let is_steady = self.gauge.judge(before, after);
            if is_steady || retries == MAX_RETRIES || self.gauge.is_lasting() {
                if !is_steady {
                    let lasting = self.gauge.is_lasting();
                    tell(News::Drift { what: self.describe(step), factor: drift, lasting });
                }
                return Ok(points);
            }
            // A passing disturbance may be over by then.
            self.gauge.measure(stop)?;
        }
        Ok(Vec::new())
    }

    /// Takes the machine for what it is when it has got faster.
    fn follow_speed_up(
        &mut self,
        stop: &AtomicBool,
        tell: &mut dyn FnMut(News),
    ) -> Result<(), ProfileError> {
        let Some(factor) = self.gauge.follow_speed_up(stop) else { return Ok(()) };
        tell(News::Faster { factor });
        // What was off may have been right, and the other way round.
        self.marked.clear();
        for at in 0..self.profiles.len() {
            self.gauge.adopt(&mut self.profiles[at]);
            if self.subjects[at].is_target {
                self.save(at)?;
            }
        }
        Ok(())
    }

    fn parts(&self, members: &[Member]) -> Vec<Part<'a>> {
        let part = |member: &Member| Part {
            engine: &*self.subjects[member.model].engine,
            batch: member.batch,
            instances: member.instances,
        };
        members.iter().map(part).collect()
    }

    /// Refuses what would use up the memory: the system would end the whole process then.
    fn check_memory(&self, members: &[Member]) -> Result<(), Failure> {
        let needed = |member: &Member| {
            let memory = self.profiles[member.model].memory.as_ref();
            memory.map_or(0, |memory| memory.instances_bytes(member.batch, member.instances))
        };
        let needed: u64 = members.iter().map(needed).fold(0, u64::saturating_add);
        let available = memory::available_bytes().unwrap_or(u64::MAX);
        if needed <= available / 10 * 9 {
            return Ok(());
        }
        let reason = format!("it takes {needed} bytes of memory, and {available} are there");
        Err(Failure::NotMade { part: 0, error: EngineError::Context(reason) })
    }

    /// What failed is not tried again, and neither is what is larger.
    fn give_up(
        &mut self,
        step: &Step,
        failure: Failure,
        tell: &mut dyn FnMut(News),
    ) -> Result<(), ProfileError> {
        let reason = failure.to_string();
        let Step::Alone(member) = step else {
            tell(News::Unfit { what: self.describe(step), reason });
            self.unfit.push(step.members().to_vec());
            return Ok(());
        };
        let (at, name) = (member.model, self.subjects[member.model].name.clone());
        if member.batch == BatchSize::ONE && member.instances == InstanceCount::ONE {
            tell(News::Failed { model: name, reason: reason.clone() });
            self.failed[at] = Some(reason);
            return Ok(());
        }
        // An instance that can't be made can't be made for any batch size.
        let batch = match failure {
            Failure::NotMade { .. } => BatchSize::ONE,
            _ => member.batch,
        };
        let limit = Limit { batch, instances: member.instances, reason };
        tell(News::Limit { model: name, limit: limit.clone() });
        self.profiles[at].limits.push(limit);
        self.save(at)
    }

    /// In words, for the progress bar.
    fn describe(&self, step: &Step) -> String {
        let one = |member: &Member| {
            let Member { model, batch, instances } = member;
            format!("{} {instances} × {batch}", self.subjects[*model].name)
        };
        let members: Vec<String> = step.members().iter().map(one).collect();
        members.join(" + ")
    }
}

#[cfg(test)]
mod tests;
