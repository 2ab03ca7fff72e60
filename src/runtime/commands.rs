//! What operators and clients ask of the running appliance, and how loading ends.

use super::Notice;
use super::loader::{self, LoadReport, Loaded};
use super::reactor::Reactor;
use crate::engine::EngineError;
use crate::pipeline::{Event, Override};
use crate::scheduler::{self, POLICIES};
use crate::server::gateway::CommandCall;
use crate::telemetry::snapshot::{Level, ModelState};
use crate::telemetry::{Command, CommandError};
use crate::units::{BatchSize, InstanceCount, ModelId, Nanos};
use std::sync::atomic::Ordering;
use tokio::sync::oneshot;

/// Somebody who waits for a model to be loaded.
pub(super) type LoadWaiter = (ModelId, oneshot::Sender<Result<(), CommandError>>);

impl Reactor {
    pub(super) fn notice(&mut self, notice: Notice) {
        match notice {
            Notice::Device(event) => {
                self.status.event(event.level, None, event.text);
                self.step(Event::DeviceChanged);
            }
            Notice::Drain => {
                self.draining = true;
                self.status.draining();
                self.refuse_load_waiters();
                self.show_now();
                self.step(Event::Drain);
            }
            Notice::Abort => self.step(Event::Abort),
            Notice::Stop => self.stopping = true,
        }
    }

    pub(super) fn command(&mut self, call: CommandCall) {
        let result = match &call.command {
            Command::Load { model } => match self.find(model).and_then(|m| self.load(m)) {
                Ok(model) => {
                    // A load may take long, and its waiters go away and ask again.
                    self.load_waiters.retain(|(_, waiter)| !waiter.is_closed());
                    self.load_waiters.push((model, call.reply));
                    return;
                }
                Err(e) => Err(e),
            },
            Command::Unload { model } => self.find(model).and_then(|m| self.unload(m)),
            Command::Learning { on } => self.set_learning(*on),
            Command::NextPolicy { model } => self.next_policy(model.as_deref()),
            Command::SetPolicy { model, policy } => self.set_policy(model.as_deref(), policy),
            Command::Override { model, batch, instances } => {
                self.find(model).and_then(|m| self.set_override(m, *batch, *instances))
            }
            Command::ClearOverride { model } => {
                self.find(model).map(|m| self.put_override(m, Override::default()))
            }
        };
        // A caller that has gone away doesn't need the result.
        let _ = call.reply.send(result);
    }

    fn find(&self, name: &str) -> Result<ModelId, CommandError> {
        self.status.find(name).ok_or_else(|| CommandError::UnknownModel {
            name: name.to_owned(),
            known: self.status.names(),
        })
    }

    /// The models a command is about: one, or all.
    fn scope(&self, model: Option<&str>) -> Result<Vec<ModelId>, CommandError> {
        match model {
            Some(name) => Ok(vec![self.find(name)?]),
            None => Ok((0..self.config.models.len() as u16).map(ModelId).collect()),
        }
    }

    fn next_policy(&mut self, model: Option<&str>) -> Result<(), CommandError> {
        let models = self.scope(model)?;
        let Some(&first) = models.first() else { return Ok(()) };
        let current = self.pipeline.policy_name(first);
        let at = POLICIES.iter().position(|&name| name == current).unwrap_or(0);
        self.set_policy(model, POLICIES[(at + 1) % POLICIES.len()])
    }

    fn set_policy(&mut self, model: Option<&str>, name: &str) -> Result<(), CommandError> {
        for model in self.scope(model)? {
            let settings = &self.config.models[model.index()];
            let configured = settings.policy.as_ref().unwrap_or(&self.config.policy);
            let policy = scheduler::make_named(
                name,
                configured,
                BatchSize(settings.max_batch),
                InstanceCount(settings.max_instances as u16),
                &self.brain.trained,
            );
            let Some(policy) = policy else {
                return Err(CommandError::Invalid(format!(
                    "unknown policy '{name}'; the policies are: {}",
                    POLICIES.join(", ")
                )));
            };
            self.pipeline.set_policy(model, policy);
            let about = self.status.name(model).to_owned();
            self.status.event(Level::Info, Some(&about), format!("policy is now {name}"));
        }
        self.step(Event::Tick);
        Ok(())
    }

    fn set_learning(&mut self, on: Option<bool>) -> Result<(), CommandError> {
        let Some(link) = &self.brain.link else {
            return Err(CommandError::Failed("the learner has died; restart the appliance".into()));
        };
        let on = on.unwrap_or(!link.enabled.load(Ordering::Relaxed));
        link.enabled.store(on, Ordering::Relaxed);
        let text = if on { "learning is on" } else { "learning is off" };
        self.status.event(Level::Info, None, text.into());
        Ok(())
    }

    fn set_override(
        &mut self,
        model: ModelId,
        batch: Option<u32>,
        instances: Option<u32>,
    ) -> Result<(), CommandError> {
        let settings = &self.config.models[model.index()];
        let check = |what: &str, value: Option<u32>, max: u32| match value {
            Some(value) if value == 0 || value > max => Err(CommandError::Invalid(format!(
                "{what} {value} for '{}' is not within 1..={max}",
                settings.name
            ))),
            _ => Ok(()),
        };
        check("batch", batch, settings.max_batch)?;
        check("instances", instances, settings.max_instances)?;
        let manual = Override {
            batch: batch.map(BatchSize),
            instances: instances.map(|count| InstanceCount(count as u16)),
        };
        self.put_override(model, manual);
        Ok(())
    }

    fn put_override(&mut self, model: ModelId, manual: Override) {
        if self.pipeline.override_of(model) == manual {
            return;
        }
        self.pipeline.set_override(model, manual);
        let show = |value: Option<u32>| value.map_or("policy".to_owned(), |v| v.to_string());
        let text = if manual.is_set() {
            format!(
                "set by hand: batch {}, instances {}",
                show(manual.batch.map(|b| b.0)),
                show(manual.instances.map(|m| u32::from(m.0)))
            )
        } else {
            "given back to its policy".to_owned()
        };
        let about = self.status.name(model).to_owned();
        self.status.event(Level::Info, Some(&about), text);
        self.step(Event::Tick);
    }

    /// Starts loading, unless it is under way.
    fn load(&mut self, model: ModelId) -> Result<ModelId, CommandError> {
        if self.is_draining() {
            return Err(CommandError::ShuttingDown);
        }
        match self.status.state(model) {
            ModelState::Loading => return Ok(model),
            // Triton loads a ready model again from its file.
            ModelState::Ready => self.take_down(model, ModelState::Loading),
            ModelState::Failed(_) | ModelState::Unloaded => {
                self.status.set_state(model, ModelState::Loading);
            }
        }
        let started =
            loader::load(&self.config, vec![model], &self.load_sender, &self.port.reactor_bell);
        started.map(|()| model).map_err(|e| {
            let reason = format!("no thread to load it: {e}");
            self.status.set_state(model, ModelState::Failed(reason.clone()));
            CommandError::Failed(reason)
        })
    }

    fn unload(&mut self, model: ModelId) -> Result<(), CommandError> {
        match self.status.state(model) {
            ModelState::Loading => {
                Err(CommandError::Invalid("it is being loaded; try again when it is done".into()))
            }
            _ => {
                self.take_down(model, ModelState::Unloaded);
                Ok(())
            }
        }
    }

    /// Answers what waits for the model; [`Reactor::finish_retiring`] frees its memory.
    fn take_down(&mut self, model: ModelId, state: ModelState) {
        self.status.set_state(model, state);
        self.step(Event::ModelGone(model));
        self.retire(model);
    }

    /// Frees a model's engine and instances as soon as its batches under way are done.
    pub(super) fn retire(&mut self, model: ModelId) {
        if !self.retiring.contains(&model) {
            self.retiring.push(model);
        }
    }

    /// Looks after the models that are on their way out.
    pub(super) fn finish_retiring(&mut self) {
        let mut index = 0;
        while index < self.retiring.len() {
            let model = self.retiring[index];
            if self.pipeline.status(model).running > 0 {
                index += 1;
                continue;
            }
            self.retiring.swap_remove(index);
            self.fleet.uninstall(model);
            if let Some(at) = self.loaded_early.iter().position(|report| report.model == model) {
                let report = self.loaded_early.swap_remove(at);
                self.loaded(report);
            }
        }
    }

    /// A loader thread is done with a model.
    pub(super) fn loaded(&mut self, report: LoadReport) {
        if self.retiring.contains(&report.model) {
            self.loaded_early.push(report);
            return;
        }
        let LoadReport { model, result } = report;
        match result {
            Ok(loaded) => self.install(model, loaded),
            Err(EngineError::DeviceLost(text)) => self.device_lost(text),
            Err(reason) => self.load_failed(model, reason.to_string()),
        }
    }

    fn load_failed(&mut self, model: ModelId, reason: String) {
        self.status.set_state(model, ModelState::Failed(reason.clone()));
        self.tell_waiters(model, &Err(CommandError::Failed(reason)));
        self.show_now();
    }

    fn tell_waiters(&mut self, model: ModelId, result: &Result<(), CommandError>) {
        for (_, waiter) in self.load_waiters.extract_if(.., |(waits_for, _)| *waits_for == model) {
            // A caller that has gone away doesn't need the result.
            let _ = waiter.send(result.clone());
        }
    }

    /// A model that is loaded now gets no instances any more, so nobody would hear of its end.
    pub(super) fn refuse_load_waiters(&mut self) {
        for (_, waiter) in self.load_waiters.drain(..) {
            // A caller that has gone away doesn't need the result.
            let _ = waiter.send(Err(CommandError::ShuttingDown));
        }
    }

    /// Puts a loaded engine in place. Clients hear of it when its first instance is up.
    fn install(&mut self, model: ModelId, loaded: Loaded) {
        let settings = &self.config.models[model.index()];
        let max_batch = BatchSize(settings.max_batch.min(loaded.engine.spec().max_batch.0));
        let most = loaded.engine.max_instances().unwrap_or(u32::MAX);
        let max_instances = InstanceCount(settings.max_instances.min(most) as u16);
        let Loaded { engine, predictor, slo, took } = loaded;
        self.coming_up.push(ComingUp { model, max_batch, slo, took });
        self.pipeline.set_slo(model, slo);
        self.pipeline.set_takes_ahead(model, engine.batches_per_instance() > 1);
        self.fleet.install(model, engine);
        self.step(Event::ModelReady { model, max_batch, max_instances, predictor });
    }

    /// An instance is ready; with a model's first one the model is.
    pub(super) fn came_up(&mut self, model: ModelId) {
        let Some(at) = self.coming_up.iter().position(|up| up.model == model) else { return };
        let up = self.coming_up.swap_remove(at);
        if let Some(engine) = self.fleet.engine(model) {
            self.status.ready(model, &**engine, up.max_batch, up.slo, up.took);
        }
        self.tell_waiters(model, &Ok(()));
        self.show_now();
    }

    /// An instance could not be made. True when it was to be a model's first, and no other one is
    /// being made that could be: the model has failed.
    pub(super) fn did_not_come_up(&mut self, model: ModelId, reason: &str) -> bool {
        let Some(at) = self.coming_up.iter().position(|up| up.model == model) else { return false };
        if self.pipeline.status(model).starting > 1 {
            return false;
        }
        self.coming_up.swap_remove(at);
        self.load_failed(model, format!("no instance of it can be made: {reason}"));
        self.step(Event::ModelGone(model));
        self.retire(model);
        true
    }
}

/// A loaded model whose first instance is being made.
pub(super) struct ComingUp {
    model: ModelId,
    max_batch: BatchSize,
    slo: Nanos,
    took: Nanos,
}
