//! The reactor: feeds the pipeline from the rings and carries its actions out, on the thread that
//! sits in its [`Seat`].
//!
//! It waits for nobody and, after warm-up, allocates nothing for a request: payloads move from the
//! ingress ring into a table, from there into a batch, and their answers into the ring back.

use super::batch::{WorkError, WorkItem};
use super::brain::Brain;
use super::commands::{ComingUp, LoadWaiter};
use super::fleet::Fleet;
use super::instance::Report;
use super::loader::{LoadReport, LoadSender};
use super::seat::{Calls, Seat, Turn};
use super::status::Status;
use super::{Channels, Notice, Stop};
use crate::config::Config;
use crate::pipeline::{Action, Event, Outcome, Pipeline, Request};
use crate::server::gateway::{
    Answer, AnswerOutput, Payload, ReactorPort, Submission, ToIngress, ToReactor,
};
use crate::units::{BatchSize, ModelId, Nanos, RequestId};
use ringbuf::traits::{Consumer, Observer, Producer};
use std::sync::{Arc, Weak, mpsc};

/// Snapshots are made this often.
const SNAPSHOT_PERIOD: Nanos = Nanos::from_millis(100);
/// A turn takes at most so many reports: with engines that take no time, each brings the next one
/// about, and the thread that sits there has other things to do.
const MOST_REPORTS: usize = 64;
/// A client that gives no priority comes after all that give one.
const DEFAULT_PRIORITY: u32 = u32::MAX;

pub(super) struct Reactor {
    /// Where this reactor is kept.
    pub(super) seat: Weak<Seat>,
    pub(super) port: ReactorPort,
    pub(super) pipeline: Pipeline,
    pub(super) fleet: Fleet,
    pub(super) status: Status,
    pub(super) config: Arc<Config>,
    pub(super) load_waiters: Vec<LoadWaiter>,
    pub(super) brain: Brain,
    pub(super) coming_up: Vec<ComingUp>,
    pub(super) load_sender: LoadSender,
    /// Models that were taken down and have batches under way.
    pub(super) retiring: Vec<ModelId>,
    /// Loaded again before the last batch of the engine they replace was done.
    pub(super) loaded_early: Vec<LoadReport>,
    pub(super) stop: Arc<Stop>,
    notices: mpsc::Receiver<Notice>,
    load_reports: mpsc::Receiver<LoadReport>,
    /// Indexed by the low half of a request's id.
    pub(super) held: Vec<Held>,
    actions: Vec<Action>,
    /// Events that carrying out actions brought about; they go in after those.
    pub(super) deferred: Vec<Event>,
    next_snapshot: Nanos,
    /// Whom the turn has made work for.
    calls: Calls,
    pub(super) draining: bool,
    pub(super) stopping: bool,
}

/// What the reactor keeps of a request, by its id.
#[derive(Default)]
pub(super) struct Held {
    model: Option<(RequestId, ModelId)>,
    payload: Payload,
    outputs: Vec<AnswerOutput>,
    pub(super) error: Option<WorkError>,
}

impl Reactor {
    pub(super) fn new(
        port: ReactorPort,
        pipeline: Pipeline,
        fleet: Fleet,
        status: Status,
        config: Arc<Config>,
        channels: Channels,
        brain: Brain,
    ) -> Reactor {
        let Channels { stop, notices, load_sender, load_reports } = channels;
        let capacity = port.answers.capacity().get();
        let mut reactor = Reactor {
            seat: Weak::new(),
            port,
            pipeline,
            fleet,
            status,
            config,
            load_waiters: Vec::new(),
            coming_up: Vec::new(),
            load_sender,
            retiring: Vec::new(),
            loaded_early: Vec::new(),
            stop,
            notices,
            load_reports,
            brain,
            held: (0..capacity).map(|_| Held::default()).collect(),
            actions: Vec::with_capacity(256),
            deferred: Vec::new(),
            next_snapshot: Nanos::ZERO,
            calls: Calls::default(),
            draining: false,
            stopping: false,
        };
        reactor.publish(reactor.now());
        reactor
    }

    /// True after [`Notice::Stop`].
    pub(super) fn is_stopping(&self) -> bool {
        self.stopping
    }

    /// Lets the learner save what it has learnt, and what instances hold of a device be given back.
    pub(super) fn stop(mut self) {
        if let Some(link) = self.brain.link.take() {
            link.stop();
        }
        // Perhaps that the last weights could not be saved.
        while let Some((level, text)) = self.brain.next_notice() {
            self.status.event(level, None, text);
        }
        self.fleet.end();
    }

    /// Requests and what instances report, which is all that is urgent, then what time demands.
    pub(super) fn quick_turn(&mut self) -> Turn {
        let is_unfinished = self.take_requests_and_reports();
        let now = self.keep_time();
        let is_retiring = !self.retiring.is_empty();
        let wake = if is_retiring { now } else { self.next_turn(now) };
        Turn { wake, is_unfinished, calls: std::mem::take(&mut self.calls) }
    }

    /// Everything that has come in since the last turn, then what time demands.
    pub(super) fn full_turn(&mut self) -> Turn {
        let is_unfinished = self.take_requests_and_reports();
        while let Ok(report) = self.load_reports.try_recv() {
            self.loaded(report);
        }
        self.finish_retiring();
        while let Ok(call) = self.port.commands.try_recv() {
            self.command(call);
        }
        while let Ok(notice) = self.notices.try_recv() {
            self.notice(notice);
        }
        let now = self.keep_time();
        self.show(now);
        let wake = self.next_turn(now);
        Turn { wake, is_unfinished, calls: std::mem::take(&mut self.calls) }
    }

    fn next_turn(&self, now: Nanos) -> Nanos {
        self.pipeline.next_wake(now).min(self.next_snapshot)
    }

    /// True when there may be more reports.
    fn take_requests_and_reports(&mut self) -> bool {
        while let Some(message) = self.port.submissions.try_pop() {
            match message {
                ToReactor::Submit { id, arrival, submission } => {
                    self.submit(id, arrival, submission);
                }
                ToReactor::Cancel(id) => self.cancel(id),
            }
        }
        for _ in 0..MOST_REPORTS {
            let Some((model, instance, report)) = self.fleet.next_report() else { return false };
            self.report(model, instance, report);
        }
        true
    }

    /// Steps if it is time to.
    fn keep_time(&mut self) -> Nanos {
        let now = self.now();
        if now >= self.pipeline.next_wake(now) {
            self.step(Event::Tick);
        }
        now
    }

    /// Makes a snapshot when it is time for one, or one for all who have asked since the last.
    fn show(&mut self, now: Nanos) {
        let first = self.port.refreshes.try_recv();
        if now < self.next_snapshot && first.is_err() {
            return;
        }
        self.next_snapshot = now + SNAPSHOT_PERIOD;
        if !self.draining {
            while let Some((level, text)) = self.brain.next_notice() {
                self.status.event(level, None, text);
            }
        }
        // Before the snapshot is made: whoever asks from here on gets the next one.
        let waiting: Vec<_> = first.into_iter().chain(self.port.refreshes.try_iter()).collect();
        self.publish(now);
        for made in waiting {
            // Who has gone away doesn't need it.
            let _ = made.send(());
        }
    }

    /// Something changed that others wait for: the next snapshot is made in this turn.
    pub(super) fn show_now(&mut self) {
        self.next_snapshot = Nanos::ZERO;
    }

    pub(super) fn is_draining(&self) -> bool {
        self.draining
    }

    pub(super) fn now(&self) -> Nanos {
        self.port.epoch.elapsed().into()
    }

    fn submit(&mut self, id: RequestId, arrival: Nanos, submission: Submission) {
        let model = submission.model;
        let slo = submission.slo.unwrap_or_else(|| self.pipeline.slo(model));
        let request = Request {
            id,
            model,
            items: submission.items,
            priority: match submission.priority {
                0 => DEFAULT_PRIORITY,
                level => u32::try_from(level).unwrap_or(DEFAULT_PRIORITY).min(DEFAULT_PRIORITY - 1),
            },
            arrival,
            deadline: arrival + slo,
            queue_until: submission.timeout.map_or(Nanos::MAX, |timeout| arrival + timeout),
        };
        let held = &mut self.held[index(id)];
        held.model = Some((id, model));
        held.payload = submission.payload;
        self.status.recorder(model).arrived(&request);
        self.step(Event::Arrive(request));
    }

    fn cancel(&mut self, id: RequestId) {
        // Answered meanwhile: the place is empty, or another request's.
        if let Some((held, model)) = self.held[index(id)].model
            && held == id
        {
            self.step(Event::Cancel { model, id });
        }
    }

    /// Feeds one event to the pipeline and carries out what follows.
    pub(super) fn step(&mut self, event: Event) {
        let mut next = Some(event);
        while let Some(event) = next {
            let now = self.now();
            let mut actions = std::mem::take(&mut self.actions);
            self.pipeline.step(event, now, &mut actions);
            for action in actions.drain(..) {
                self.carry_out(action, now);
            }
            self.actions = actions;
            next = self.deferred.pop();
        }
    }

    fn carry_out(&mut self, action: Action, now: Nanos) {
        match action {
            Action::Answer { request, outcome } => self.answer(&request, outcome, now),
            Action::Run { model, instance } => self.run_batch(model, instance, false),
            Action::RunAhead { model, instance } => self.run_batch(model, instance, true),
            Action::StartInstance { model, instance } => self.start_instance(model, instance),
            Action::AbandonInstance { model, instance } => self.abandon(model, instance),
        }
    }

    fn start_instance(&mut self, model: ModelId, instance: u16) {
        // It is there as long as this is called: the turn is made from it.
        let Some(seat) = self.seat.upgrade() else { return };
        if let Err(e) = self.fleet.start(model, instance, &seat) {
            self.status.replaced(model, format!("instance {instance}: no thread to be had: {e}"));
            self.deferred.push(Event::InstanceLost { model, instance });
        }
    }

    fn run_batch(&mut self, model: ModelId, instance: u16, ahead: bool) {
        let mut work = self.fleet.spare_work();
        let requests = match ahead {
            true => self.pipeline.batch_ahead(model, instance),
            false => self.pipeline.batch(model, instance),
        };
        for request in requests {
            work.push(WorkItem {
                id: request.id,
                items: request.items,
                payload: std::mem::take(&mut self.held[index(request.id)].payload),
                outputs: Vec::new(),
                error: None,
            });
        }
        self.calls.instances.extend(self.fleet.run(model, instance, work));
    }

    fn report(&mut self, model: ModelId, instance: u16, report: Report) {
        match report {
            Report::Ready => {
                self.came_up(model);
                self.step(Event::InstanceReady { model, instance });
            }
            Report::Done { work, result } => self.batch_done(model, instance, work, result),
            Report::NotMade(text) if self.did_not_come_up(model, &text) => {
                self.fleet.remove(model, instance);
            }
            Report::Panicked(text) | Report::NotMade(text) => self.lost(model, instance, text),
            Report::DeviceLost(text) => self.device_lost(text),
        }
    }

    fn batch_done(
        &mut self,
        model: ModelId,
        instance: u16,
        mut work: Vec<WorkItem>,
        result: Result<(), String>,
    ) {
        // A batch in which no request succeeded says nothing about how long a batch takes.
        let ok = result.is_ok() && work.iter().any(|item| item.error.is_none());
        let items = work.iter().map(|item| item.items.0).sum();
        for item in work.drain(..) {
            if let Some(WorkError { outcome: Outcome::EngineFailed, text }) = &item.error {
                self.status.event_error(model, format!("a request failed: {text}"));
            }
            let held = &mut self.held[index(item.id)];
            // Answered meanwhile, by an abort: the place is empty, or another request's.
            if held.model != Some((item.id, model)) {
                continue;
            }
            held.outputs = item.outputs;
            held.error = item.error;
        }
        self.fleet.recycle(work);
        if ok {
            let now = self.now();
            let since = self.pipeline.batch_since(model, instance).unwrap_or(now);
            self.status.executed(model, BatchSize(items), now - since, now);
        }
        if let Err(text) = result {
            self.engine_failed(model, instance, text);
        }
        self.step(Event::BatchDone { model, instance, ok });
    }

    fn answer(&mut self, request: &Request, mut outcome: Outcome, now: Nanos) {
        let held = &mut self.held[index(request.id)];
        held.model = None;
        held.payload = Payload::default();
        let outputs = std::mem::take(&mut held.outputs);
        let error = held.error.take();
        // The pipeline knows how the batch ended; one request of it can have ended otherwise.
        if let (Some(error), Outcome::Completed(_) | Outcome::EngineFailed) = (&error, outcome) {
            outcome = error.outcome;
        }
        let detail = error.map(|error| error.text);
        self.status.recorder(request.model).answered(request, &outcome, now);
        let pushed = self
            .port
            .answers
            .try_push(ToIngress { id: request.id, answer: Answer { outcome, detail, outputs } });
        debug_assert!(pushed.is_ok(), "the ring holds every outstanding request");
        self.calls.ingress = true;
    }

    fn publish(&mut self, now: Nanos) {
        self.status.publish(&self.pipeline, &self.fleet, &self.port, &self.brain, now);
    }
}

pub(super) fn index(id: RequestId) -> usize {
    id.0 as u32 as usize
}
