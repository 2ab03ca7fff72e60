//! What the reactor does when an instance, or the device itself, fails.

use super::batch::WorkError;
use super::reactor::{Reactor, index};
use crate::pipeline::{Event, Outcome};
use crate::telemetry::snapshot::{Level, ModelState};
use crate::units::ModelId;

impl Reactor {
    /// The engine returned an error; its batch is answered with it. The instance makes itself a new
    /// context, before it takes its next job.
    pub(super) fn engine_failed(&mut self, model: ModelId, instance: u16, text: String) {
        self.note_error(model, instance, Outcome::EngineFailed, &text);
        self.status.replaced(
            model,
            format!("instance {instance}: a batch failed: {text}; its context is replaced"),
        );
    }

    /// The instance's thread ended: by a panic, or before it began.
    pub(super) fn lost(&mut self, model: ModelId, instance: u16, text: String) {
        self.note_error(model, instance, Outcome::InstanceLost, &text);
        self.status.replaced(model, format!("instance {instance}: {text}; it is replaced"));
        self.fleet.remove(model, instance);
        self.step(Event::InstanceLost { model, instance });
    }

    /// Only a new process can use the device again: this one answers what it has and ends.
    pub(super) fn device_lost(&mut self, text: String) {
        if self.stop.fail(&text) {
            let what = format!("the device is lost, the appliance ends: {text}");
            self.status.event(Level::Error, None, what);
        }
        self.draining = true;
        self.refuse_load_waiters();
        self.show_now();
        // A batch's failure may be reported in the middle of a step.
        self.deferred.push(Event::Abort);
        self.step(Event::Tick);
    }

    /// Keeps the reason for the answers that the next step gives, where a request has no reason of
    /// its own.
    pub(super) fn note_error(
        &mut self,
        model: ModelId,
        instance: u16,
        outcome: Outcome,
        text: &str,
    ) {
        let requests = self.pipeline.batch(model, instance);
        // An instance that is lost takes what it had been given ahead with it.
        let ahead: &[_] = match outcome {
            Outcome::InstanceLost => self.pipeline.batch_ahead(model, instance),
            _ => &[],
        };
        for request in requests.iter().chain(ahead) {
            let error = &mut self.held[index(request.id)].error;
            error.get_or_insert_with(|| WorkError { outcome, text: text.into() });
        }
    }

    pub(super) fn abandon(&mut self, model: ModelId, instance: u16) {
        self.status.replaced(
            model,
            format!(
                "instance {instance} does not come back from its batch; it is given up and replaced"
            ),
        );
        if self.fleet.abandon(model, instance) {
            return;
        }
        let reason = "too many of its instances hang; restart the appliance, or load it again";
        self.status.set_state(model, ModelState::Failed(reason.into()));
        self.deferred.push(Event::ModelGone(model));
        self.retire(model);
    }
}
