//! All instances of all models, and the engines they are made from.

use super::batch::{Job, WorkItem};
use super::instance::{Instance, Lifeline, Report};
use super::seat::Seat;
use crate::engine::Engine;
use crate::units::{BatchSize, ModelId};
use std::io;
use std::sync::Arc;
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

/// Instances of one model that may hang before the model is taken down: the threads and memory of
/// those that never come back can't be had back.
const MAX_ABANDONED: usize = 8;
/// At the end of the process, instances have this long to end.
const END_LIMIT: Duration = Duration::from_secs(2);

pub(super) struct Fleet {
    /// Indexed by [`ModelId`].
    models: Vec<Member>,
    /// Empty vectors for batches, used again and again.
    spare: Vec<Vec<WorkItem>>,
}

#[derive(Default)]
struct Member {
    name: String,
    engine: Option<Arc<dyn Engine>>,
    instances: Vec<Option<Instance>>,
    /// Given up, and not come back since: a slow one may.
    abandoned: Vec<Lifeline>,
}

impl Fleet {
    pub(super) fn new(names: impl Iterator<Item = String>) -> Fleet {
        let models = names.map(|name| Member { name, ..Member::default() }).collect();
        Fleet { models, spare: Vec::new() }
    }

    pub(super) fn engine(&self, model: ModelId) -> Option<&Arc<dyn Engine>> {
        self.models[model.index()].engine.as_ref()
    }

    /// A freshly loaded engine; there are no instances of an older one.
    pub(super) fn install(&mut self, model: ModelId, engine: Arc<dyn Engine>) {
        let member = &mut self.models[model.index()];
        member.instances.clear();
        member.abandoned.clear();
        member.engine = Some(engine);
    }

    /// Lets all instances of a model end, and the engine with them.
    pub(super) fn uninstall(&mut self, model: ModelId) {
        let member = &mut self.models[model.index()];
        member.instances.clear();
        member.engine = None;
    }

    pub(super) fn start(
        &mut self,
        model: ModelId,
        instance: u16,
        seat: &Arc<Seat>,
    ) -> io::Result<()> {
        let member = &mut self.models[model.index()];
        let Some(engine) = member.engine.clone() else { return Ok(()) };
        let name = format!("{}#{instance}", member.name);
        let spawned = Instance::spawn(&name, engine, seat.clone())?;
        let place = usize::from(instance);
        if member.instances.len() <= place {
            member.instances.resize_with(place + 1, || None);
        }
        member.instances[place] = Some(spawned);
        Ok(())
    }

    /// Hands a batch over; returns the thread to be woken for it.
    pub(super) fn run(
        &mut self,
        model: ModelId,
        instance: u16,
        work: Vec<WorkItem>,
    ) -> Option<Thread> {
        let batch = BatchSize(work.iter().map(|item| item.items.0).sum());
        let place = self.models[model.index()].instances.get_mut(usize::from(instance));
        place?.as_mut()?.start(Job { work, batch })
    }

    /// Forgets an instance whose thread has ended.
    pub(super) fn remove(&mut self, model: ModelId, instance: u16) {
        if let Some(place) = self.models[model.index()].instances.get_mut(usize::from(instance)) {
            *place = None;
        }
    }

    /// Gives up an instance that hangs. False when the model has had too many of them.
    pub(super) fn abandon(&mut self, model: ModelId, instance: u16) -> bool {
        let member = &mut self.models[model.index()];
        let hung = member.instances.get_mut(usize::from(instance)).and_then(Option::take);
        member.abandoned.retain(Lifeline::is_alive);
        member.abandoned.extend(hung.as_ref().map(Instance::lifeline));
        member.abandoned.len() < MAX_ABANDONED
    }

    /// The next thing any instance has to say.
    pub(super) fn next_report(&mut self) -> Option<(ModelId, u16, Report)> {
        for (model, member) in self.models.iter_mut().enumerate() {
            for (place, instance) in member.instances.iter_mut().enumerate() {
                if let Some(report) = instance.as_mut().and_then(Instance::report) {
                    return Some((ModelId(model as u16), place as u16, report));
                }
            }
        }
        None
    }

    /// Lets all instances end, and waits a while for those that have something to run yet: what
    /// they hold of a device must be given back before the process ends.
    pub(super) fn end(&mut self) {
        let mut ending: Vec<Lifeline> = Vec::new();
        for member in &mut self.models {
            let instances = member.instances.drain(..).flatten();
            ending.extend(instances.map(|instance| instance.lifeline()));
            member.engine = None;
        }
        let start = Instant::now();
        while start.elapsed() < END_LIMIT && ending.iter().any(Lifeline::is_alive) {
            thread::sleep(Duration::from_millis(1));
        }
    }

    pub(super) fn spare_work(&mut self) -> Vec<WorkItem> {
        self.spare.pop().unwrap_or_default()
    }

    pub(super) fn recycle(&mut self, work: Vec<WorkItem>) {
        debug_assert!(work.is_empty());
        self.spare.push(work);
    }

    pub(super) fn weight_bytes(&self) -> u64 {
        self.models.iter().filter_map(|m| m.engine.as_ref()).map(|e| e.weight_bytes()).sum()
    }
}
