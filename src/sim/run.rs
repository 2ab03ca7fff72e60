//! One run: the shipping pipeline, driven by arrivals and the simulated device.

use super::arrivals::{Arrival, Arrivals};
use super::device::Device;
use super::learn::Knowledge;
use super::memory::Memory;
use super::surface::Surfaces;
use super::tally::{RunResult, Tally};
use crate::pipeline::{Action, Event, ModelSettings, Order, Pipeline, Request, Settings};
use crate::scheduler::Policy;
use crate::units::{BatchSize, InstanceCount, ModelId, Nanos, RequestId};

/// What stays the same for all policies of a comparison.
#[derive(Clone, Debug)]
pub struct SimulationSettings {
    pub pipeline: Settings,
    pub queue_bound: u32,
    /// Arrivals before this don't count.
    pub warm_up: Nanos,
    pub length: Nanos,
    /// From when on the device has which speed, ascending; 1 before the first.
    pub speeds: Vec<(Nanos, f64)>,
}

/// A run under way.
pub struct Simulation<'a> {
    settings: &'a SimulationSettings,
    surfaces: &'a Surfaces,
    pipeline: Pipeline,
    device: Device<'a>,
    arrivals: Arrivals,
    next_arrival: Option<Arrival>,
    speeds: std::slice::Iter<'a, (Nanos, f64)>,
    next_speed: Option<(Nanos, f64)>,
    next_id: u64,
    now: Nanos,
    tally: Tally,
    memory: Memory,
    actions: Vec<Action>,
    /// Events that actions brought about.
    deferred: Vec<Event>,
}

impl<'a> Simulation<'a> {
    /// `knowledge` is what policies know of the models, one for each surface.
    pub fn new(
        settings: &'a SimulationSettings,
        surfaces: &'a Surfaces,
        knowledge: &Knowledge,
        policies: Vec<Box<dyn Policy>>,
        mut arrivals: Arrivals,
        seed: u64,
    ) -> Simulation<'a> {
        let models: Vec<ModelSettings> = surfaces
            .models
            .iter()
            .map(|model| ModelSettings { slo: model.slo, queue_bound: settings.queue_bound })
            .collect();
        let mut speeds = settings.speeds.iter();
        let mut simulation = Simulation {
            settings,
            surfaces,
            pipeline: Pipeline::new(settings.pipeline, &models, policies),
            device: Device::new(surfaces, seed),
            next_arrival: arrivals.next(),
            arrivals,
            next_speed: speeds.next().copied(),
            speeds,
            next_id: 0,
            now: Nanos::ZERO,
            tally: Tally::new(models.len(), settings.warm_up, settings.length),
            memory: Memory::new(models.len()),
            actions: Vec::with_capacity(64),
            deferred: Vec::new(),
        };
        simulation.step(Event::Learnt(knowledge.interference.clone()));
        let models = surfaces.models.iter().zip(&knowledge.predictors);
        for (index, (surface, predictor)) in models.enumerate() {
            simulation.step(Event::ModelReady {
                model: ModelId(index as u16),
                max_batch: surface.max_batch,
                max_instances: InstanceCount(surface.max_instances),
                predictor: predictor.clone(),
            });
        }
        simulation
    }

    /// Lets waiting requests run in this order.
    #[must_use]
    pub fn with_order(mut self, order: Order) -> Simulation<'a> {
        self.pipeline.set_order(order);
        self
    }

    /// Runs to the end, and until everything that arrived is answered.
    pub fn run(mut self) -> RunResult {
        while self.advance(Nanos::MAX) {}
        RunResult {
            utilisation: self.device.utilisation(),
            pooled_bytes: self.memory.pooled_bytes(self.surfaces),
            copies_bytes: self.memory.copies_bytes(self.surfaces),
            ..self.tally.result()
        }
    }

    /// Goes on up to `until`; false when the run is over.
    pub fn advance(&mut self, until: Nanos) -> bool {
        loop {
            let arrival = self.next_arrival.map_or(Nanos::MAX, |next| next.at);
            let speed = self.next_speed.map_or(Nanos::MAX, |(at, _)| at);
            let end = self.device.next_end();
            let wake = self.pipeline.next_wake(self.now).max(self.now);
            let next = arrival.min(end).min(wake).min(speed);
            if arrival >= self.settings.length && self.pipeline.is_idle() {
                return false;
            }
            if next > until {
                return true;
            }
            self.now = next;
            if next == end {
                if let Some((model, instance)) = self.device.finish(next) {
                    let items = self.items(model, instance);
                    self.memory.give_back(self.surfaces.models[model.index()].scratch(items));
                    self.step(Event::BatchDone { model, instance, ok: true });
                }
            } else if next == arrival {
                self.arrive();
            } else if next == speed {
                if let Some((_, speed)) = self.next_speed {
                    self.device.set_speed(speed, next);
                }
                self.next_speed = self.speeds.next().copied();
            } else {
                self.step(Event::Tick);
            }
        }
    }

    pub fn pipeline(&self) -> &Pipeline {
        &self.pipeline
    }

    pub fn now(&self) -> Nanos {
        self.now
    }

    fn arrive(&mut self) {
        let Some(arrival) = self.next_arrival else { return };
        self.next_arrival = self.arrivals.next().filter(|next| next.at < self.settings.length);
        let slo = self.surfaces.models[arrival.model.index()].slo.scale(arrival.slo_factor);
        self.next_id += 1;
        self.step(Event::Arrive(Request {
            id: RequestId(self.next_id),
            model: arrival.model,
            items: BatchSize::ONE,
            priority: u32::MAX,
            arrival: arrival.at,
            deadline: arrival.at + slo,
            queue_until: Nanos::MAX,
        }));
    }

    /// Of the batch that this instance runs.
    fn items(&self, model: ModelId, instance: u16) -> u32 {
        self.pipeline.batch(model, instance).iter().map(|request| request.items.0).sum()
    }

    fn step(&mut self, event: Event) {
        let mut next = Some(event);
        while let Some(event) = next {
            let mut actions = std::mem::take(&mut self.actions);
            self.pipeline.step(event, self.now, &mut actions);
            for action in actions.drain(..) {
                self.carry_out(action);
            }
            self.actions = actions;
            next = self.deferred.pop();
        }
    }

    fn carry_out(&mut self, action: Action) {
        match action {
            Action::Answer { request, outcome } => {
                self.tally.answered(&request, &outcome, self.now);
            }
            Action::Run { model, instance } => {
                let items = self.items(model, instance);
                self.memory.take(self.surfaces.models[model.index()].scratch(items));
                self.tally.batch(model, items);
                self.device.start(model, instance, BatchSize(items), self.now);
            }
            Action::StartInstance { model, instance } => {
                self.memory.add_instance(model);
                self.deferred.push(Event::InstanceReady { model, instance });
            }
            // The simulated device copies nothing, so no model takes batches ahead …
            Action::RunAhead { .. } => {}
            // … and its batches always end.
            Action::AbandonInstance { .. } => {}
        }
    }
}
