//! What the reactor shows of itself: the catalog for clients, snapshots for operators.

use super::brain::Brain;
use super::fleet::Fleet;
use super::watch::{self, Watch};
use crate::config::{Config, ModelConfig, PolicyConfig};
use crate::engine::Engine;
use crate::pipeline::Pipeline;
use crate::scheduler::utility;
use crate::server::gateway::{Catalog, CatalogEntry, ReactorPort};
use crate::telemetry::MAX_EVENTS;
use crate::telemetry::log::LogBuffer;
use crate::telemetry::recorder::Recorder;
use crate::telemetry::snapshot::{
    ApplianceState, Counters, DeviceSnapshot, Event, LearningSnapshot, Level, ModelSnapshot,
    ModelState, Snapshot, Totals,
};
use crate::units::{BatchSize, ModelId, Nanos};
use arc_swap::ArcSwap;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Between two error events of one model.
const QUIET_MS: u64 = 1_000;

/// Keeps a model's errors from flooding the log.
#[derive(Clone, Copy, Default)]
struct Quiet {
    until_unix_ms: u64,
    unheard: u64,
}

pub(super) struct Status {
    catalog: Catalog,
    published: Arc<ArcSwap<Catalog>>,
    recorders: Vec<Recorder>,
    quiet: Vec<Quiet>,
    watches: Vec<Watch>,
    events: VecDeque<Event>,
    /// The events as the last snapshot showed them.
    shown_events: Arc<Vec<Event>>,
    events_changed: bool,
    log: LogBuffer,
    device: Arc<ArcSwap<DeviceSnapshot>>,
    sequence: u64,
    state: ApplianceState,
}

impl Status {
    pub(super) fn new(
        config: &Config,
        port: &ReactorPort,
        log: LogBuffer,
        device: Arc<ArcSwap<DeviceSnapshot>>,
    ) -> Status {
        let status = Status {
            catalog: Catalog {
                models: config.models.iter().map(|m| entry(m, &config.policy)).collect(),
            },
            published: port.catalog.clone(),
            quiet: vec![Quiet::default(); config.models.len()],
            watches: vec![Watch::default(); config.models.len()],
            recorders: config.models.iter().map(|_| Recorder::default()).collect(),
            events: VecDeque::new(),
            shown_events: Arc::default(),
            events_changed: false,
            log,
            device,
            sequence: 0,
            state: ApplianceState::Starting,
        };
        status.publish_catalog();
        status
    }

    pub(super) fn recorder(&mut self, model: ModelId) -> &mut Recorder {
        &mut self.recorders[model.index()]
    }

    pub(super) fn state(&self, model: ModelId) -> &ModelState {
        &self.catalog.models[model.index()].state
    }

    pub(super) fn name(&self, model: ModelId) -> &str {
        &self.catalog.models[model.index()].name
    }

    pub(super) fn find(&self, name: &str) -> Option<ModelId> {
        self.catalog.find(name).map(|(model, _)| model)
    }

    pub(super) fn names(&self) -> String {
        self.catalog.names()
    }

    pub(super) fn set_state(&mut self, model: ModelId, state: ModelState) {
        let name = self.name(model).to_owned();
        match &state {
            ModelState::Failed(reason) => {
                self.event(Level::Error, Some(&name), format!("failed: {reason}"));
            }
            ModelState::Unloaded => self.event(Level::Info, Some(&name), "unloaded".into()),
            ModelState::Loading | ModelState::Ready => {}
        }
        let entry = &mut self.catalog.models[model.index()];
        if !matches!(state, ModelState::Ready) {
            entry.spec = None;
        }
        entry.state = state;
        self.publish_catalog();
    }

    /// The model is loaded; from now on clients may use it.
    pub(super) fn ready(
        &mut self,
        model: ModelId,
        engine: &dyn Engine,
        max_batch: BatchSize,
        slo: Nanos,
        took: Nanos,
    ) {
        let mut spec = engine.spec().clone();
        spec.max_batch = max_batch;
        let entry = &mut self.catalog.models[model.index()];
        entry.spec = Some(Arc::new(spec));
        entry.platform = engine.platform();
        entry.slo = slo;
        entry.state = ModelState::Ready;
        let name = entry.name.clone();
        let text = format!("ready in {took}: {}, SLO {slo}", engine.platform());
        self.event(Level::Info, Some(&name), text);
        self.publish_catalog();
    }

    pub(super) fn executed(
        &mut self,
        model: ModelId,
        items: BatchSize,
        compute: Nanos,
        now: Nanos,
    ) {
        self.recorders[model.index()].executed(items, compute, now, super::unix_ms());
    }

    /// An error of a model; a model that has many of them is heard once a second.
    pub(super) fn event_error(&mut self, model: ModelId, text: String) {
        let quiet = &mut self.quiet[model.index()];
        let now_ms = super::unix_ms();
        if now_ms < quiet.until_unix_ms {
            quiet.unheard += 1;
            return;
        }
        let unheard = std::mem::take(&mut quiet.unheard);
        quiet.until_unix_ms = now_ms + QUIET_MS;
        let name = self.name(model).to_owned();
        let more = if unheard > 0 { format!(" ({unheard} more since)") } else { String::new() };
        self.event(Level::Error, Some(&name), text + &more);
    }

    pub(super) fn replaced(&mut self, model: ModelId, text: String) {
        self.recorders[model.index()].instance_replaced();
        self.event_error(model, text);
    }

    /// Tells the operator, on the screen and in the log.
    pub(super) fn event(&mut self, level: Level, model: Option<&str>, text: String) {
        let about = model.unwrap_or("appliance");
        match level {
            Level::Error => tracing::error!("{about}: {text}"),
            Level::Warn => tracing::warn!("{about}: {text}"),
            Level::Info => tracing::info!("{about}: {text}"),
            Level::Debug => tracing::debug!("{about}: {text}"),
        }
        if self.events.len() == MAX_EVENTS {
            self.events.pop_front();
        }
        self.events.push_back(Event {
            unix_ms: super::unix_ms(),
            level,
            model: model.map(str::to_owned),
            text,
        });
        self.events_changed = true;
    }

    pub(super) fn draining(&mut self) {
        self.state = ApplianceState::Draining;
        self.event(Level::Info, None, "shutting down: finishing what was accepted".into());
    }

    /// Makes a snapshot and puts it where everybody looks.
    pub(super) fn publish(
        &mut self,
        pipeline: &Pipeline,
        fleet: &Fleet,
        port: &ReactorPort,
        brain: &Brain,
        now: Nanos,
    ) {
        self.sequence += 1;
        let settled = |m: &CatalogEntry| m.state != ModelState::Loading;
        if self.state == ApplianceState::Starting && self.catalog.models.iter().all(settled) {
            self.state = ApplianceState::Serving;
        }
        let models: Vec<ModelSnapshot> = (0..self.recorders.len() as u16)
            .map(|id| self.model(ModelId(id), pipeline, now))
            .collect();
        self.look_at(&models, pipeline, now);
        if std::mem::take(&mut self.events_changed) {
            self.shown_events = Arc::new(self.events.iter().cloned().collect());
        }
        let mut device = DeviceSnapshot::clone(&self.device.load());
        device.weight_bytes = fleet.weight_bytes();
        let scratch = crate::engine::scratch_use();
        device.scratch_bytes = scratch.bytes;
        device.scratch_separate_bytes = scratch.separate_bytes;
        let snapshot = Snapshot {
            sequence: self.sequence,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            uptime_us: now.as_micros(),
            state: self.state,
            connections: port.connections.load(Ordering::Relaxed),
            totals: self.totals(&models, pipeline, now),
            models,
            learning: learning(brain),
            device,
            events: self.shown_events.clone(),
            log: self.log.lines(),
        };
        port.snapshot.store(Arc::new(snapshot));
    }

    /// Tells what has changed by itself.
    fn look_at(&mut self, models: &[ModelSnapshot], pipeline: &Pipeline, now: Nanos) {
        for (index, model) in models.iter().enumerate() {
            let fresh = pipeline.predictor(ModelId(index as u16)).is_fresh(now);
            for (level, text) in self.watches[index].look(model, fresh, now) {
                self.event(level, Some(&model.name), text);
            }
        }
    }

    fn model(&mut self, model: ModelId, pipeline: &Pipeline, now: Nanos) -> ModelSnapshot {
        let entry = &self.catalog.models[model.index()];
        let status = pipeline.status(model);
        let policy = pipeline.policy_name(model);
        let slo = pipeline.slo(model);
        let recorder = &mut self.recorders[model.index()];
        if entry.state == ModelState::Ready {
            recorder.decided(status.caps, policy, now);
        }
        let predictor = pipeline.predictor(model);
        let predicted = |batch| predictor.predict(BatchSize(batch)).map(Nanos::as_micros);
        let sizes = watch::sizes_up_to(status.max_batch);
        let mut snapshot = ModelSnapshot {
            name: entry.name.clone(),
            state: entry.state.clone(),
            platform: entry.platform.to_owned(),
            policy: policy.to_owned(),
            overridden: status.overridden,
            slo_us: slo.as_micros(),
            batch: status.caps.batch.0,
            max_batch: status.max_batch.0,
            instances: u32::from(status.caps.instances.0),
            max_instances: u32::from(status.max_instances.0),
            instances_alive: status.alive,
            instances_running: status.running,
            queue_depth: status.queued,
            queue_bound: status.queue_bound,
            queue_oldest_us: status.oldest_arrival.map_or(0, |oldest| (now - oldest).as_micros()),
            insight: watch::insight(pipeline, model, status.max_batch, now),
            drift: predictor.drift(),
            crowding: predictor.crowding(),
            predicted_us: sizes.filter_map(|batch| Some((batch, predicted(batch)?))).collect(),
            ..ModelSnapshot::default()
        };
        recorder.fill(&mut snapshot, slo, now);
        for run in &mut snapshot.run_times {
            run.predicted_us = predicted(run.items);
        }
        snapshot
    }

    fn totals(&self, models: &[ModelSnapshot], pipeline: &Pipeline, now: Nanos) -> Totals {
        let mut counters = Counters::default();
        let mut cohort = utility::Cohort::default();
        for (index, recorder) in self.recorders.iter().enumerate() {
            counters.add(&recorder.counters());
            cohort.merge(&recorder.cohort(pipeline.slo(ModelId(index as u16)), now).0);
        }
        Totals {
            arrivals_per_s: models.iter().map(|m| m.arrivals_per_s).sum(),
            goodput_per_s: models.iter().map(|m| m.goodput_per_s).sum(),
            slo_hit_rate: cohort.slo_hit_rate(),
            utility: utility::system(models.iter().map(|m| m.utility)),
            counters,
        }
    }

    fn publish_catalog(&self) {
        self.published.store(Arc::new(self.catalog.clone()));
    }
}

fn learning(brain: &Brain) -> LearningSnapshot {
    let link = brain.link.as_ref();
    LearningSnapshot {
        enabled: link.is_some_and(|link| link.enabled.load(Ordering::Relaxed)),
        alive: link.is_some(),
        weights: brain.origin.clone(),
        ..LearningSnapshot::clone(&brain.shown.load())
    }
}

fn entry(model: &ModelConfig, default_policy: &PolicyConfig) -> CatalogEntry {
    let (preferred_batch_sizes, max_queue_delay) =
        match model.policy.as_ref().unwrap_or(default_policy) {
            PolicyConfig::Triton { preferred_batch_sizes, max_queue_delay_us, .. } => {
                (preferred_batch_sizes.clone(), Nanos::from_micros(*max_queue_delay_us))
            }
            _ => (Vec::new(), Nanos::ZERO),
        };
    CatalogEntry {
        name: model.name.clone(),
        state: if model.load { ModelState::Loading } else { ModelState::Unloaded },
        spec: None,
        platform: "",
        slo: Nanos::ZERO,
        max_instances: model.max_instances,
        queue_bound: model.queue_bound,
        preferred_batch_sizes,
        max_queue_delay,
    }
}
