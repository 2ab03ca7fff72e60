//! The thread that sends and receives.

use super::pacer::{Clock, Pacer};
use super::prepare::Target;
use super::recorder::Recorder;
use super::{Load, LoadPlan, MAX_OUTSTANDING, stopped};
use crate::client::infer::ReplyHead;
use crate::client::{Call, Client, ClientError};
use crate::units::Nanos;
use crate::workload::{Arrival, Schedule};
use std::iter::Peekable;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// After the last request, outstanding ones are waited for this long …
const DRAIN: Duration = Duration::from_secs(10);
/// … and this long when somebody has stopped the run.
const DRAIN_STOPPED: Duration = Duration::from_secs(1);
/// Requests sent in a row before replies are looked at again.
const MAX_SENT_IN_A_ROW: usize = 64;

/// How and when a run ended.
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) at: Nanos,
    pub(super) how: String,
}

/// Everything that the requests under way share.
#[derive(Debug)]
struct Shared {
    clock: Clock,
    clients: Vec<Client>,
    targets: Vec<Target>,
    recorder: Arc<Recorder>,
    /// No new requests in a closed loop.
    closing: AtomicBool,
    /// Outstanding requests are not waited for any longer.
    abandoned: AtomicBool,
}

#[derive(Debug)]
pub(super) struct Engine {
    shared: Arc<Shared>,
    /// One permit for each request outstanding.
    outstanding: Arc<Semaphore>,
}

type Arrivals = Peekable<Box<dyn Iterator<Item = Arrival> + Send>>;

impl Engine {
    pub(super) fn new(
        clock: Clock,
        clients: Vec<Client>,
        targets: Vec<Target>,
        recorder: Arc<Recorder>,
    ) -> Engine {
        let shared = Shared {
            clock,
            clients,
            targets,
            recorder,
            closing: AtomicBool::new(false),
            abandoned: AtomicBool::new(false),
        };
        let shared = Arc::new(shared);
        Engine { shared, outstanding: Arc::new(Semaphore::new(MAX_OUTSTANDING)) }
    }

    /// Sends until the measured time is over, somebody stops it, or the server goes away; then
    /// waits for what is outstanding, within bounds. Afterwards every request is accounted for.
    pub(super) async fn run(&self, plan: &LoadPlan, stop: &AtomicBool) -> Ended {
        let (how, mut drain) = match self.arrivals(plan) {
            Ok(Some(mut arrivals)) => {
                let ending = self.until_ended(self.send_due(&mut arrivals), stop).await;
                self.account_unsent(&mut arrivals);
                ending
            }
            Ok(None) => self.until_ended(self.closed_loop(plan), stop).await,
            Err(text) => (text, Duration::ZERO),
        };
        self.shared.closing.store(true, Ordering::Relaxed);
        let at = self.shared.clock.now().min(self.shared.recorder.end());
        let all = self.outstanding.acquire_many(MAX_OUTSTANDING as u32);
        tokio::pin!(all);
        let mut drained = false;
        while !drained && drain > Duration::ZERO {
            tokio::select! {
                _ = &mut all => drained = true,
                () = tokio::time::sleep(drain) => drain = Duration::ZERO,
                // Impatience during the long wait.
                () = stopped(stop), if drain > DRAIN_STOPPED => drain = DRAIN_STOPPED,
            }
        }
        if !drained {
            // Their replies fail now, and are recorded as that.
            self.shared.abandoned.store(true, Ordering::Relaxed);
            self.shared.clients.iter().for_each(Client::close);
            all.await.ok();
        }
        Ended { at, how }
    }

    /// Runs `sending` to its end, unless something else ends it. Gives the reason in words and how
    /// long outstanding requests are to be waited for.
    async fn until_ended(
        &self,
        sending: impl Future<Output = Result<(), String>>,
        stop: &AtomicBool,
    ) -> (String, Duration) {
        tokio::select! {
            biased;
            () = stopped(stop) => ("stopped".into(), DRAIN_STOPPED),
            reason = self.connection_lost() => {
                (format!("the server went away: {reason}"), DRAIN_STOPPED)
            }
            () = self.overdue() => {
                let text = "the server stopped answering; requests that were due could not be sent";
                (text.into(), Duration::ZERO)
            }
            sent = sending => match sent {
                Ok(()) => ("finished".into(), DRAIN),
                Err(text) => (text, Duration::ZERO),
            },
        }
    }

    /// Waits until one of the connections is gone.
    async fn connection_lost(&self) -> String {
        let mut lost: Vec<_> =
            self.shared.clients.iter().map(|client| Box::pin(client.closed())).collect();
        std::future::poll_fn(|context| {
            for closed in &mut lost {
                if let std::task::Poll::Ready(reason) = closed.as_mut().poll(context) {
                    return std::task::Poll::Ready(reason);
                }
            }
            std::task::Poll::Pending
        })
        .await
    }

    /// Waits until sending should have been over for as long as a drain takes.
    async fn overdue(&self) {
        let end = self.shared.recorder.end() - self.shared.clock.now();
        tokio::time::sleep(Duration::from(end) + DRAIN).await;
    }

    /// `None` for a closed loop, which has no schedule.
    fn arrivals(&self, plan: &LoadPlan) -> Result<Option<Arrivals>, String> {
        let arrivals: Box<dyn Iterator<Item = Arrival> + Send> = match &plan.load {
            Load::Closed { .. } => return Ok(None),
            Load::Open { models, process } => {
                let rates: Vec<f64> = models.iter().map(|model| model.rate).collect();
                Box::new(Schedule::new(*process, &rates, plan.seed)?)
            }
            Load::Trace(trace) => {
                let trace = Arc::clone(trace);
                Box::new((0..trace.arrivals.len()).map(move |index| trace.arrivals[index]))
            }
        };
        Ok(Some(arrivals.peekable()))
    }

    /// Open loop: sends every arrival when it is due.
    async fn send_due(&self, arrivals: &mut Arrivals) -> Result<(), String> {
        let shared = &self.shared;
        let failed = |e| format!("can't keep time: {e}");
        let pacer = Pacer::new(shared.clock).map_err(failed)?;
        let mut sent_in_a_row = 0;
        let mut number = 0;
        while let Some(&arrival) = arrivals.peek() {
            if arrival.at >= shared.recorder.end() {
                pacer.sleep_until(shared.recorder.end()).await.map_err(failed)?;
                return Ok(());
            }
            if arrival.at > shared.clock.now() {
                pacer.sleep_until(arrival.at).await.map_err(failed)?;
                sent_in_a_row = 0;
            } else if sent_in_a_row == MAX_SENT_IN_A_ROW {
                tokio::task::yield_now().await;
                sent_in_a_row = 0;
            }
            let Ok(permit) = Arc::clone(&self.outstanding).acquire_owned().await else {
                return Ok(());
            };
            arrivals.next();
            self.launch(arrival, number, permit);
            sent_in_a_row += 1;
            number += 1;
        }
        Ok(())
    }

    /// Sends one request; a task of its own waits for the reply.
    fn launch(&self, arrival: Arrival, number: usize, permit: OwnedSemaphorePermit) {
        let shared = Arc::clone(&self.shared);
        let Arrival { at, stream } = arrival;
        shared.recorder.sent(stream, at);
        match shared.client(number).send(shared.targets[stream].call(number)) {
            Ok(pending) => {
                tokio::spawn(async move {
                    shared.ended(stream, at, &pending.reply().await);
                    drop(permit);
                });
            }
            Err(e) => shared.ended(stream, at, &Err(e)),
        }
    }

    /// Arrivals that were due but found no place among the outstanding requests.
    fn account_unsent(&self, arrivals: &mut Arrivals) {
        let recorder = &self.shared.recorder;
        let now = self.shared.clock.now();
        let until = now.min(recorder.end());
        let text = format!("not sent: {MAX_OUTSTANDING} requests were without an answer");
        let unsent = Err(ClientError::Protocol(text));
        while let Some(arrival) = arrivals.next_if(|arrival| arrival.at < until) {
            recorder.sent(arrival.stream, arrival.at);
            recorder.ended(arrival.stream, arrival.at, now, &unsent);
        }
    }

    /// Closed loop: every reply brings the next request.
    async fn closed_loop(&self, plan: &LoadPlan) -> Result<(), String> {
        let Load::Closed { concurrency, .. } = plan.load else { return Ok(()) };
        let mut number = 0;
        for _ in 0..concurrency {
            for target in 0..self.shared.targets.len() {
                let Ok(permit) = Arc::clone(&self.outstanding).try_acquire_owned() else {
                    return Err(format!(
                        "{concurrency} requests for each of {} models are more than {MAX_OUTSTANDING}",
                        self.shared.targets.len()
                    ));
                };
                let worker = Worker { shared: Arc::clone(&self.shared), target, number };
                tokio::spawn(worker.run(permit));
                number += 1;
            }
        }
        let end = self.shared.recorder.end() - self.shared.clock.now();
        tokio::time::sleep(end.into()).await;
        Ok(())
    }
}

impl Shared {
    /// Requests go over the connections in turn.
    fn client(&self, number: usize) -> &Client {
        &self.clients[number % self.clients.len()]
    }

    fn ended(&self, target: usize, intended: Nanos, reply: &Result<ReplyHead, ClientError>) {
        let now = self.clock.now();
        if self.abandoned.load(Ordering::Relaxed) && matches!(reply, Err(ClientError::Closed(_))) {
            let text = "no answer when the run was over";
            let unanswered = Err(ClientError::Protocol(text.into()));
            return self.recorder.ended(target, intended, now, &unanswered);
        }
        self.recorder.ended(target, intended, now, reply);
    }
}

impl Target {
    fn call(&self, number: usize) -> &Call {
        &self.calls[number % self.calls.len()]
    }
}

/// One of the outstanding requests of a closed loop.
#[derive(Debug)]
struct Worker {
    shared: Arc<Shared>,
    target: usize,
    number: usize,
}

impl Worker {
    async fn run(self, _permit: OwnedSemaphorePermit) {
        let Worker { shared, target, mut number } = self;
        let client = shared.client(number);
        loop {
            let begun = shared.clock.now();
            if begun >= shared.recorder.end() || shared.closing.load(Ordering::Relaxed) {
                return;
            }
            shared.recorder.sent(target, begun);
            let reply = match client.send(shared.targets[target].call(number)) {
                Ok(pending) => pending.reply().await,
                Err(e) => Err(e),
            };
            shared.ended(target, begun, &reply);
            if matches!(reply, Err(ClientError::Closed(_))) {
                return;
            }
            number += 1;
        }
    }
}
