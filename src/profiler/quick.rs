//! Short profiles: something to plan with at a first start.

use super::campaign::Subject;
use super::design::{Kind, Member, combinations};
use super::measure::{Effort, Failure, Part, stage_zeros, together};
use super::point::{Point, batch_ladder};
use super::{Neighbour, Profile, ProfileError};
use crate::config::Config;
use crate::engine::{Engine, EngineError, ExecutionContext};
use crate::units::{BatchSize, InstanceCount};
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

/// Of a model's time at a glance: for one instance alone, and for several. Combinations get the
/// rest.
const ALONE_SHARE: f64 = 0.5;
const SEVERAL_SHARE: f64 = 0.2;
/// Combinations looked at, for each model.
const COMBINATIONS_PER_MODEL: usize = 2;

/// Measures one instance within about `budget`: batch 1 always, then the largest batch that fits
/// into the time, then those between. Nothing is extrapolated; a heavy model gets fewer points.
///
/// # Errors
/// The engine's first.
pub fn quick(engine: &dyn Engine, budget: Duration) -> Result<Vec<Point>, EngineError> {
    let mut context = engine.create_context()?;
    let mut result = Ok(Vec::new());
    let body = |context: &mut dyn ExecutionContext| result = quick_points(context, engine, budget);
    context.enter(Box::new(body));
    result
}

fn quick_points(
    context: &mut dyn ExecutionContext,
    engine: &dyn Engine,
    budget: Duration,
) -> Result<Vec<Point>, EngineError> {
    let start = Instant::now();
    let mut measure = |batch: BatchSize, time: Duration| -> Result<Point, EngineError> {
        stage_zeros(context, engine, batch);
        context.execute(batch)?;
        let runs = timed_runs(context, batch, time)?;
        Ok(Point::of_runs(batch, InstanceCount::ONE, runs))
    };
    let first = measure(BatchSize::ONE, budget / 4)?;
    let item = Duration::from_secs_f64(first.latency_us_p50 / 1e6);
    let mut points = vec![first];

    let mut open = batch_ladder(engine.spec().max_batch).split_off(1);
    let fits = |batch: BatchSize, left: Duration| item * 2 * batch.0 <= left;
    let left = budget.saturating_sub(start.elapsed());
    while open.last().is_some_and(|&batch| !fits(batch, left)) {
        open.pop();
    }
    // The largest bounds what the others are interpolated between, so it comes first.
    let count = open.len();
    open.rotate_right(count.min(1));
    for (done, batch) in open.into_iter().enumerate() {
        let left = budget.saturating_sub(start.elapsed());
        if fits(batch, left) {
            points.push(measure(
                batch,
                (left / (count - done) as u32).saturating_sub(item * batch.0),
            )?);
        }
    }
    points.sort_by_key(|point| point.batch);
    Ok(points)
}

/// At least one run, and more until `time` is over, but no more than are of use.
fn timed_runs(
    context: &mut dyn ExecutionContext,
    batch: BatchSize,
    time: Duration,
) -> Result<Vec<Duration>, EngineError> {
    const MAX_RUNS: usize = 50;
    let mut runs = Vec::new();
    let start = Instant::now();
    while runs.is_empty() || (runs.len() < MAX_RUNS && start.elapsed() < time) {
        let begun = Instant::now();
        context.execute(batch)?;
        runs.push(begun.elapsed());
    }
    Ok(runs)
}

/// Short profiles of all subjects within about `budget` for each: one instance alone, as many as
/// there may be at once, and some combinations of models. `progress` hears how many subjects are
/// done. Of a subject whose engine fails there is no profile.
///
/// # Errors
/// A model file that is gone.
pub fn glance(
    subjects: &[Subject],
    config: &Config,
    budget: Duration,
    progress: &mut dyn FnMut(usize),
) -> Result<Vec<Option<Profile>>, ProfileError> {
    let mut profiles = Vec::with_capacity(subjects.len());
    for subject in subjects {
        let points = quick(&*subject.engine, budget.mul_f64(ALONE_SHARE)).and_then(|alone| {
            let several = several(subject, &alone, config, budget.mul_f64(SEVERAL_SHARE))?;
            Ok([alone, several].concat())
        });
        profiles.push(match points {
            Ok(points) => {
                let Subject { name, file, engine, .. } = subject;
                Some(Profile::new(name, file, &**engine, config, points)?)
            }
            Err(reason) => {
                tracing::warn!(model = subject.name, "no profile: {reason}");
                None
            }
        });
        progress(profiles.len());
    }
    let left = budget.mul_f64(1.0 - ALONE_SHARE - SEVERAL_SHARE) * subjects.len() as u32;
    look_at_combinations(subjects, &mut profiles, config, left);
    Ok(profiles)
}

/// The largest number of instances: with batches of one, and with the largest batch that was
/// measured alone and fits into the time.
fn several(
    subject: &Subject,
    alone: &[Point],
    config: &Config,
    budget: Duration,
) -> Result<Vec<Point>, EngineError> {
    let instances = subject.max_instances;
    if instances <= InstanceCount::ONE {
        return Ok(Vec::new());
    }
    let crowding = f64::from(instances.0) / f64::from(config.lanes().max(1));
    // The warm-up and a run, as long as the lanes make them.
    let cost = |point: &Point| point.latency_us_p50 / 1e6 * 2.0 * crowding.max(1.0);
    let mut larger = alone.iter().filter(|point| point.batch > BatchSize::ONE);
    let largest = larger.rfind(|point| cost(point) <= budget.as_secs_f64());
    let batches = [Some(BatchSize::ONE), largest.map(|point| point.batch)];
    let mut points = Vec::new();
    for batch in batches.into_iter().flatten() {
        let part = Part { engine: &*subject.engine, batch, instances };
        match together(&[part], brief(budget / 4), &AtomicBool::new(false)) {
            Ok(measured) => points.extend(measured),
            // One instance is what the model has then.
            Err(Failure::NotMade { .. } | Failure::Stopped) => break,
            Err(Failure::Failed { error, .. }) => return Err(error),
        }
    }
    Ok(points)
}

fn brief(time: Duration) -> Effort {
    Effort { time, min_runs: 2, max_time: time }
}

/// Adds to the profiles what a few combinations give, of batches that are known alone.
fn look_at_combinations(
    subjects: &[Subject],
    profiles: &mut [Option<Profile>],
    config: &Config,
    budget: Duration,
) {
    const SEED: u64 = 1;
    let (known, kinds): (Vec<usize>, Vec<Kind>) = subjects
        .iter()
        .zip(&*profiles)
        .enumerate()
        .filter_map(|(at, (subject, profile))| Some((at, kind(subject, profile.as_ref()?))))
        .unzip();
    let wanted = COMBINATIONS_PER_MODEL * kinds.len();
    let share = budget / wanted.max(1) as u32;
    let start = Instant::now();
    let mut measured = 0;
    // Of more than are wanted those that fit into the time.
    for members in combinations(&kinds, 4 * wanted, SEED) {
        let members: Vec<Member> =
            members.iter().map(|m| Member { model: known[m.model], ..*m }).collect();
        let left = budget.saturating_sub(start.elapsed());
        if left.is_zero() || measured == wanted {
            return;
        }
        if expected_time(&members, profiles, config) > left.min(share * 4) {
            continue;
        }
        let part = |member: &Member| Part {
            engine: &*subjects[member.model].engine,
            batch: member.batch,
            instances: member.instances,
        };
        let parts: Vec<Part> = members.iter().map(part).collect();
        // What can't be measured beside others is not known then; alone it is.
        if let Ok(points) = together(&parts, brief(share / 4), &AtomicBool::new(false)) {
            note(subjects, profiles, &members, points);
            measured += 1;
        }
    }
}

fn kind(subject: &Subject, profile: &Profile) -> Kind {
    let alone = profile.points.iter().filter(|point| point.instances == InstanceCount::ONE);
    let most = profile.points.iter().map(|point| point.instances).max();
    Kind {
        batches: alone.map(|point| point.batch).collect(),
        max_instances: most.unwrap_or(InstanceCount::ONE),
        work: profile.features.map_or(subject.engine.weight_bytes(), |f| f.multiply_adds) as f64,
        is_target: true,
    }
}

/// Warm-up and two runs of the slowest, as long as the lanes make them.
fn expected_time(members: &[Member], profiles: &[Option<Profile>], config: &Config) -> Duration {
    let instances: u32 = members.iter().map(|member| u32::from(member.instances.0)).sum();
    let crowding = (f64::from(instances) / f64::from(config.lanes().max(1))).max(1.0);
    let alone = |member: &Member| {
        let profile = profiles[member.model].as_ref()?;
        Some(profile.alone(member.batch, InstanceCount::ONE)?.latency_us_p50)
    };
    let slowest_us = members.iter().filter_map(alone).fold(0.0, f64::max);
    Duration::from_secs_f64(3.0 * crowding * slowest_us / 1e6)
}

fn note(
    subjects: &[Subject],
    profiles: &mut [Option<Profile>],
    members: &[Member],
    points: Vec<Point>,
) {
    let stamps: Vec<_> = profiles.iter().map(|p| p.as_ref().map(|p| p.model_stamp)).collect();
    for (member, point) in members.iter().zip(points) {
        let Some(profile) = &mut profiles[member.model] else { continue };
        for other in members.iter().filter(|other| other.model != member.model) {
            if let Some(stamp) = stamps[other.model] {
                profile.neighbour_stamps.insert(subjects[other.model].name.clone(), stamp);
            }
        }
        profile.add_beside(point, neighbours(subjects, members, member.model));
    }
}

/// The members but that of subject `at`, as its profile names them.
pub(super) fn neighbours(subjects: &[Subject], members: &[Member], at: usize) -> Vec<Neighbour> {
    let others = members.iter().filter(|member| member.model != at);
    let mut neighbours: Vec<Neighbour> = others
        .map(|member| Neighbour {
            model: subjects[member.model].name.clone(),
            batch: member.batch,
            instances: member.instances,
        })
        .collect();
    neighbours.sort_unstable();
    neighbours
}
