//! Whether the machine is as fast as it was. Machines change: others use them too, they get hot, a
//! power mode is switched. So between the points one and the same is measured again and again, the
//! *anchor*: a batch of one item of the lightest model, on all cores.

use super::super::measure::{Effort, Failure, Part, together};
use super::super::point::DRIFT_TOLERANCE;
use super::super::store::{Anchor, Profile};
use super::plan::works;
use super::{Request, Subject};
use crate::units::{BatchSize, InstanceCount};
use std::sync::atomic::AtomicBool;

/// The reference of the anchor is the median of so many measurements.
const REFERENCE_ROUNDS: usize = 5;
/// One measurement takes this share of a point's time …
const SHARE: u32 = 24;
/// … and at least so many runs of each instance.
const MIN_RUNS: u32 = 5;
/// After so many measurements in a row it is no passing disturbance: nothing is repeated for it.
const LASTING: u32 = 6;

pub(super) struct Gauge<'a> {
    subjects: &'a [Subject],
    /// For one measurement.
    effort: Effort,
    lanes: u32,
    /// By how much work they are.
    lightest: Option<usize>,
    anchor: Option<(usize, Anchor)>,
    /// Nobody wants to know, or the anchor could not be run: it says "as fast as ever" then.
    is_off: bool,
    /// The latest measurement over the reference; the larger, the slower.
    latest: Option<f64>,
    /// Measurements in a row during which the machine was not itself.
    drifting: u32,
}

impl<'a> Gauge<'a> {
    /// With the anchor of a target's profile, if its model is still here.
    pub(super) fn new(
        subjects: &'a [Subject],
        profiles: &[Profile],
        request: &Request,
        lanes: u32,
    ) -> Gauge<'a> {
        let targets = profiles.iter().zip(subjects).filter(|(_, subject)| subject.is_target);
        let anchors = targets.filter_map(|(profile, _)| profile.anchor.clone());
        let anchor = anchors.into_iter().find_map(|anchor| {
            let at = subjects.iter().position(|subject| subject.name == anchor.model)?;
            Some((at, anchor))
        });
        let time = request.point_time / SHARE;
        let effort = Effort { time, min_runs: MIN_RUNS, max_time: time * super::MAX_TIMES };
        let works = works(subjects, profiles);
        let lightest = (0..works.len()).min_by(|&a, &b| works[a].total_cmp(&works[b]));
        let (is_off, latest, drifting) = (!request.guarded, None, 0);
        Gauge { subjects, effort, lanes, lightest, anchor, is_off, latest, drifting }
    }

    /// What the profiles are to say of it.
    pub(super) fn anchor(&self) -> Option<Anchor> {
        self.anchor.as_ref().map(|(_, anchor)| anchor.clone())
    }

    /// The latest measurement, over the reference.
    pub(super) fn latest(&mut self, stop: &AtomicBool) -> Result<f64, Failure> {
        match self.latest {
            Some(latest) => Ok(latest),
            None => self.measure(stop),
        }
    }

    /// The anchor's latency now, over the reference, which the first measurement sets.
    pub(super) fn measure(&mut self, stop: &AtomicBool) -> Result<f64, Failure> {
        match self.try_measure(stop) {
            Err(Failure::Stopped) => return Err(Failure::Stopped),
            // Its own points will say what is wrong with it.
            Err(_) => self.is_off = true,
            Ok(()) => {}
        }
        let latest = if self.is_off { 1.0 } else { self.latest.unwrap_or(1.0) };
        self.latest = Some(latest);
        Ok(latest)
    }

    fn try_measure(&mut self, stop: &AtomicBool) -> Result<(), Failure> {
        if self.is_off {
            return Ok(());
        }
        if self.anchor.is_none() {
            self.anchor = self.reference(stop)?;
        }
        let Some((at, anchor)) = &self.anchor else { return Ok(()) };
        let now = self.latency_us(*at, anchor.instances, stop)?;
        self.latest = Some(now / anchor.latency_us_p50);
        Ok(())
    }

    /// Chooses the anchor and measures its reference.
    fn reference(&self, stop: &AtomicBool) -> Result<Option<(usize, Anchor)>, Failure> {
        let Some(at) = self.lightest else { return Ok(None) };
        let lanes = u16::try_from(self.lanes).unwrap_or(u16::MAX).max(1);
        let instances = self.subjects[at].max_instances.min(InstanceCount(lanes));
        let latency_us_p50 = self.reference_us(at, instances, stop)?;
        let model = self.subjects[at].name.clone();
        Ok(Some((at, Anchor { model, instances, latency_us_p50 })))
    }

    /// Sets the reference anew on a machine that has been faster than it for long: it was measured
    /// on a disturbed one, or the machine has got faster. Gives how much faster.
    pub(super) fn follow_speed_up(&mut self, stop: &AtomicBool) -> Option<f64> {
        let is_faster = self.latest.is_some_and(|latest| latest < 1.0 - DRIFT_TOLERANCE);
        let (at, anchor) = self.anchor.clone().filter(|_| is_faster && self.is_lasting())?;
        // What keeps it from being measured will be met again.
        let now_us = self.reference_us(at, anchor.instances, stop).ok()?;
        self.anchor = Some((at, Anchor { latency_us_p50: now_us, ..anchor.clone() }));
        (self.latest, self.drifting) = (Some(1.0), 0);
        Some(anchor.latency_us_p50 / now_us)
    }

    /// Gives the profile this anchor; what it knows of the machine's speed is told by it then.
    pub(super) fn adopt(&self, profile: &mut Profile) {
        let Some(new) = self.anchor() else { return };
        let same = |old: &&Anchor| old.model == new.model && old.instances == new.instances;
        if let Some(old) = profile.anchor.as_ref().filter(same)
            && old.latency_us_p50 != new.latency_us_p50
        {
            profile.scale_drift(old.latency_us_p50 / new.latency_us_p50);
        }
        profile.anchor = Some(new);
    }

    fn reference_us(
        &self,
        at: usize,
        instances: InstanceCount,
        stop: &AtomicBool,
    ) -> Result<f64, Failure> {
        let mut rounds = Vec::with_capacity(REFERENCE_ROUNDS);
        for _ in 0..REFERENCE_ROUNDS {
            rounds.push(self.latency_us(at, instances, stop)?);
        }
        rounds.sort_by(f64::total_cmp);
        Ok(rounds[REFERENCE_ROUNDS / 2].max(1e-3))
    }

    fn latency_us(
        &self,
        at: usize,
        instances: InstanceCount,
        stop: &AtomicBool,
    ) -> Result<f64, Failure> {
        let engine = &*self.subjects[at].engine;
        let parts = [Part { engine, batch: BatchSize::ONE, instances }];
        let points = together(&parts, self.effort, stop)?;
        Ok(points.first().map_or(0.0, |point| point.latency_us_p50))
    }

    /// Whether a point between these two measurements is worth keeping as it is. Counts those that
    /// are not.
    pub(super) fn judge(&mut self, before: f64, after: f64) -> bool {
        let is_itself = |speed: f64| (speed - 1.0).abs() <= DRIFT_TOLERANCE;
        let is_steady = is_itself(before) && is_itself(after);
        self.drifting = if is_steady { 0 } else { self.drifting.saturating_add(1) };
        is_steady
    }

    /// Whether the machine was itself at the latest measurement.
    pub(super) fn is_steady(&self) -> bool {
        self.drifting == 0
    }

    /// Whether the machine has become another one.
    pub(super) fn is_lasting(&self) -> bool {
        self.drifting >= LASTING
    }
}
