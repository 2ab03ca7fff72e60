//! A campaign's profiles: taken up from their files, extended and saved.

use super::plan::Step;
use super::{Campaign, News, Request, Subject};
use crate::config::Config;
use crate::engine::FileStamp;
use crate::profiler::quick::neighbours;
use crate::profiler::{Member, Neighbour, Point, Profile, ProfileError};
use crate::units::{BatchSize, InstanceCount};

/// The profile of each subject as it is there, else a blank one.
pub(super) fn taken_up(
    subjects: &[Subject],
    config: &Config,
    request: &Request,
    tell: &mut dyn FnMut(News),
) -> Result<Vec<Profile>, ProfileError> {
    let mut profiles = Vec::with_capacity(subjects.len());
    for Subject { name, file, engine, is_target, .. } in subjects {
        let point_ms = request.point_time.as_millis() as u64;
        let mut blank = Profile::new(name, file, &**engine, config, Vec::new())?;
        blank.point_ms = point_ms;
        if request.fresh && *is_target {
            profiles.push(blank);
            continue;
        }
        let reason = match Profile::load(file, &**engine, config) {
            Ok(profile) if profile.point_ms >= point_ms || !is_target => {
                profiles.push(Profile { model: name.clone(), ..profile });
                continue;
            }
            Ok(profile) if profile.point_ms == 0 => {
                Some("what is there was measured at a glance".to_owned())
            }
            Ok(profile) => {
                Some(format!("what is there was measured for {} ms a point", profile.point_ms))
            }
            Err(ProfileError::Missing(_)) => None,
            Err(error) => Some(error.to_string()),
        };
        if let Some(reason) = reason.filter(|_| *is_target) {
            let advice = "; measure again with `bcedge profile`";
            let reason = reason.trim_end_matches(advice).to_owned();
            tell(News::Anew { model: name.clone(), reason });
        }
        profiles.push(blank);
    }
    forget_changed_neighbours(&mut profiles);
    Ok(profiles)
}

/// What was measured beside a model whose file is another one now says nothing any more.
fn forget_changed_neighbours(profiles: &mut [Profile]) {
    let stamps: Vec<_> = profiles.iter().map(|p| (p.model.clone(), p.model_stamp)).collect();
    for profile in profiles {
        let has_changed =
            |name: &str, stamp: &FileStamp| stamps.iter().any(|(n, s)| n == name && s != stamp);
        profile.neighbour_stamps.retain(|name, stamp| !has_changed(name, stamp));
        let known = &profile.neighbour_stamps;
        profile.beside.retain(|beside| {
            beside.neighbours.iter().all(|neighbour| known.contains_key(&neighbour.model))
        });
    }
}

impl Campaign<'_> {
    /// Puts the points of a step into the targets' profiles and saves those.
    pub(super) fn record(&mut self, step: &Step, points: Vec<Point>) -> Result<(), ProfileError> {
        for (member, point) in step.members().iter().zip(points) {
            let at = member.model;
            if point.is_marked() && !self.marked.contains(step) {
                self.marked.push(step.clone());
            }
            if !self.subjects[at].is_target {
                continue;
            }
            match step {
                Step::Alone(_) => self.profiles[at].set_alone(point),
                Step::Together(members) => self.record_beside(members, at, point),
                Step::Again(members) => {
                    let neighbours = self.neighbours(members, at);
                    let key = (member.batch, member.instances, &neighbours[..]);
                    let records = &mut self.profiles[at].beside;
                    let record = records.iter_mut().find(|record| record.key() == key);
                    // Two measurements on different machines do not say how far they repeat.
                    if let Some(record) = record.filter(|_| !point.is_marked()) {
                        record.again_us_mean = Some(point.latency_us_mean);
                    }
                }
            }
            self.gauge.adopt(&mut self.profiles[at]);
            self.profiles[at].touch();
            self.save(at)?;
        }
        Ok(())
    }

    fn record_beside(&mut self, members: &[Member], at: usize, point: Point) {
        let neighbours = self.neighbours(members, at);
        for member in members.iter().filter(|member| member.model != at) {
            let name = self.subjects[member.model].name.clone();
            let stamp = self.profiles[member.model].model_stamp;
            self.profiles[at].neighbour_stamps.insert(name, stamp);
        }
        self.profiles[at].add_beside(point, neighbours);
    }

    /// The other members as the profile of subject `at` names them.
    pub(super) fn neighbours(&self, members: &[Member], at: usize) -> Vec<Neighbour> {
        neighbours(self.subjects, members, at)
    }

    pub(super) fn save(&self, at: usize) -> Result<(), ProfileError> {
        let profile = &self.profiles[at];
        // Without its first point it is no profile yet.
        if profile.alone(BatchSize::ONE, InstanceCount::ONE).is_some() {
            profile.save(&self.subjects[at].file)?;
        }
        Ok(())
    }
}
