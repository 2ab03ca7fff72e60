//! The server's side of the two rings between the ingress thread and the reactor.
//!
//! A request goes in as a [`Submission`] and comes back as an [`Answer`], exactly one for each,
//! however it ends. Dropping the [`Ticket`] before that cancels the request.

pub use super::catalog::{Catalog, CatalogEntry};
pub use super::ingress_bell::IngressBell;
pub use super::ticket::{ConnectionGuard, Ticket};

use crate::doorbell::Doorbell;
use crate::pipeline::Outcome;
use crate::server::shared_memory::RegionSlice;
use crate::telemetry::{Command, CommandError, Snapshot};
use crate::units::{BatchSize, ModelId, Nanos, RequestId};
use arc_swap::ArcSwap;
use bytes::Bytes;
use ringbuf::traits::{Consumer, Producer, Split};
use ringbuf::{HeapCons, HeapProd, HeapRb};
use std::io;
use std::sync::atomic::AtomicU32;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, mpsc};
use std::task::{Context, Poll, Waker};
use std::time::Instant;
use tokio::sync::oneshot;

/// What a client asks for, checked against the model's [`crate::engine::ModelSpec`].
#[derive(Debug)]
pub struct Submission {
    pub model: ModelId,
    pub items: BatchSize,
    /// This request's own SLO; the model's when absent.
    pub slo: Option<Nanos>,
    /// Longest time in the queue.
    pub timeout: Option<Nanos>,
    /// 1 is highest; 0 means the default level, which comes after every explicit one.
    pub priority: u64,
    pub payload: Payload,
}

/// The tensors of one request.
#[derive(Debug, Default)]
pub struct Payload {
    /// In the order of [`crate::engine::ModelSpec::inputs`], each exactly `items × item_bytes` long.
    pub inputs: Vec<InputData>,
    /// The outputs wanted, in the order the client wants them.
    pub outputs: Vec<WantedOutput>,
}

#[derive(Debug)]
pub enum InputData {
    Inline(Bytes),
    Shared(RegionSlice),
}

#[derive(Debug)]
pub struct WantedOutput {
    /// Indexes [`crate::engine::ModelSpec::outputs`].
    pub index: usize,
    /// Where it is written to; in the answer itself when absent.
    pub place: Option<RegionSlice>,
}

/// The end of one request.
#[derive(Debug)]
pub struct Answer {
    pub outcome: Outcome,
    /// For a failure: what the engine or the device said.
    pub detail: Option<String>,
    /// In the order of [`Payload::outputs`]; empty unless completed.
    pub outputs: Vec<AnswerOutput>,
}

#[derive(Debug)]
pub struct AnswerOutput {
    /// Indexes [`crate::engine::ModelSpec::outputs`].
    pub index: usize,
    /// With the request's own item count as the first dimension, for a batched model.
    pub shape: Vec<i64>,
    /// Empty when the output went to shared memory.
    pub data: Bytes,
    /// Bytes written to shared memory, when it went there.
    pub shared_bytes: Option<u64>,
}

/// From the ingress thread to the reactor.
#[derive(Debug)]
pub enum ToReactor {
    Submit { id: RequestId, arrival: Nanos, submission: Submission },
    Cancel(RequestId),
}

/// From the reactor to the ingress thread.
#[derive(Debug)]
pub struct ToIngress {
    pub id: RequestId,
    pub answer: Answer,
}

/// A command and where its result goes.
#[derive(Debug)]
pub struct CommandCall {
    pub command: Command,
    pub reply: oneshot::Sender<Result<(), CommandError>>,
}

/// Does at once, on the ingress thread, what the reactor has to do for the requests just pushed, or
/// sees to it that it is done soon.
pub type Attend = Box<dyn Fn() + Send + Sync>;

/// The reactor's ends of everything the gateway holds the other ends of.
pub struct ReactorPort {
    pub submissions: HeapCons<ToReactor>,
    /// Has room for every request that can be outstanding: a push never fails.
    pub answers: HeapProd<ToIngress>,
    pub commands: mpsc::Receiver<CommandCall>,
    /// To be told once a newer snapshot is stored.
    pub refreshes: mpsc::Receiver<oneshot::Sender<()>>,
    /// Rung by commands and by the ingress; the reactor sleeps on it.
    pub reactor_bell: Arc<Doorbell>,
    /// When it is set, the ingress calls this instead of ringing the bell.
    pub attend: Arc<OnceLock<Attend>>,
    /// To be rung after pushing answers.
    pub ingress_bell: Arc<IngressBell>,
    pub catalog: Arc<ArcSwap<Catalog>>,
    pub snapshot: Arc<ArcSwap<Snapshot>>,
    pub connections: Arc<AtomicU32>,
    pub epoch: Instant,
}

/// The ingress side. Shared by all connections.
pub struct Gateway {
    state: Mutex<State>,
    commands: mpsc::Sender<CommandCall>,
    refreshes: mpsc::Sender<oneshot::Sender<()>>,
    reactor_bell: Arc<Doorbell>,
    attend: Arc<OnceLock<Attend>>,
    ingress_bell: Arc<IngressBell>,
    catalog: Arc<ArcSwap<Catalog>>,
    snapshot: Arc<ArcSwap<Snapshot>>,
    connections: Arc<AtomicU32>,
    epoch: Instant,
}

struct State {
    submissions: HeapProd<ToReactor>,
    answers: HeapCons<ToIngress>,
    slots: Vec<Slot>,
    free: Vec<u32>,
    /// Something was pushed since the reactor's bell was last rung.
    unflushed: bool,
}

struct Slot {
    /// Counts uses, so that an old id never meets a new request.
    generation: u32,
    phase: Phase,
}

enum Phase {
    Free,
    Waiting(Option<Waker>),
    Answered(Box<Answer>),
    /// The ticket was dropped; the slot is free again once the reactor has answered.
    Abandoned,
}

/// Makes both sides for at most `capacity` requests outstanding at once.
///
/// # Errors
/// When the process has no file descriptors left.
pub fn pair(capacity: usize) -> io::Result<(Arc<Gateway>, ReactorPort)> {
    // A slot is reused only after the reactor answered, so each has at most three messages under
    // way: a cancellation that came after the answer, then the next request and its cancellation.
    let (submit_in, submit_out) = HeapRb::new(3 * capacity).split();
    let (answer_in, answer_out) = HeapRb::new(capacity).split();
    let (command_in, command_out) = mpsc::channel();
    let (refresh_in, refresh_out) = mpsc::channel();
    let reactor_bell = Arc::new(Doorbell::new()?);
    let attend = Arc::new(OnceLock::new());
    let ingress_bell = Arc::new(IngressBell::default());
    let catalog = Arc::new(ArcSwap::from_pointee(Catalog::default()));
    let snapshot = Arc::new(ArcSwap::from_pointee(Snapshot::default()));
    let connections = Arc::new(AtomicU32::new(0));
    let epoch = Instant::now();
    let gateway = Gateway {
        state: Mutex::new(State {
            submissions: submit_in,
            answers: answer_out,
            slots: (0..capacity).map(|_| Slot { generation: 0, phase: Phase::Free }).collect(),
            free: (0..capacity as u32).rev().collect(),
            unflushed: false,
        }),
        commands: command_in,
        refreshes: refresh_in,
        reactor_bell: reactor_bell.clone(),
        attend: attend.clone(),
        ingress_bell: ingress_bell.clone(),
        catalog: catalog.clone(),
        snapshot: snapshot.clone(),
        connections: connections.clone(),
        epoch,
    };
    let port = ReactorPort {
        submissions: submit_out,
        answers: answer_in,
        commands: command_out,
        refreshes: refresh_out,
        reactor_bell,
        attend,
        ingress_bell,
        catalog,
        snapshot,
        connections,
        epoch,
    };
    Ok((Arc::new(gateway), port))
}

impl Gateway {
    /// Time since the appliance's epoch, the pipeline's clock.
    pub fn now(&self) -> Nanos {
        self.epoch.elapsed().into()
    }

    /// The models at this moment.
    pub fn catalog(&self) -> Arc<Catalog> {
        self.catalog.load_full()
    }

    /// The latest snapshot.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.snapshot.load_full()
    }

    /// A snapshot made after this call, so that it counts every request answered before. The last
    /// one there is when the appliance is shutting down.
    pub async fn fresh_snapshot(&self) -> Arc<Snapshot> {
        let (made, done) = oneshot::channel();
        // When the reactor is gone, both the sending and the waiting fail at once.
        let _ = self.refreshes.send(made);
        self.reactor_bell.ring();
        let _ = done.await;
        self.snapshot()
    }

    /// Open connections, counted by the listener.
    pub fn connections(&self) -> &AtomicU32 {
        &self.connections
    }

    /// Hands a request to the reactor; its arrival time is now. `None` when as many requests as
    /// the gateway was made for are outstanding.
    pub fn submit(self: &Arc<Self>, submission: Submission) -> Option<Ticket> {
        let arrival = self.now();
        let mut state = self.lock();
        let index = state.free.pop()?;
        let slot = &mut state.slots[index as usize];
        slot.generation = slot.generation.wrapping_add(1);
        slot.phase = Phase::Waiting(None);
        let id = RequestId(u64::from(slot.generation) << 32 | u64::from(index));
        state.push(ToReactor::Submit { id, arrival, submission }, &self.ingress_bell);
        Some(Ticket::new(id, self.clone()))
    }

    /// Sends a command and waits for its result.
    ///
    /// # Errors
    /// What the appliance answers, or that it is shutting down.
    pub async fn command(&self, command: Command) -> Result<(), CommandError> {
        let answer = self.send_command(command);
        answer.await.unwrap_or(Err(CommandError::ShuttingDown))
    }

    /// Sends a command from any thread; the result can be awaited or ignored.
    pub fn send_command(&self, command: Command) -> oneshot::Receiver<Result<(), CommandError>> {
        let (reply, result) = oneshot::channel();
        // When the reactor is gone the call is dropped, and `result` says so.
        let _ = self.commands.send(CommandCall { command, reply });
        self.reactor_bell.ring();
        result
    }

    /// Makes the reactor look at its inputs.
    pub fn wake_reactor(&self) {
        self.reactor_bell.ring();
    }

    /// Runs on the ingress thread for the life of the server: calls for the reactor once for all
    /// requests that became ready in the same turn, and hands its answers to the waiting tickets.
    pub async fn run(self: Arc<Self>) {
        loop {
            self.ingress_bell.called().await;
            self.flush_and_deliver();
        }
    }

    fn flush_and_deliver(&self) {
        let unflushed = std::mem::take(&mut self.lock().unflushed);
        if unflushed {
            match self.attend.get() {
                Some(attend) => attend(),
                None => self.reactor_bell.ring(),
            }
        }
        self.deliver();
    }

    /// Hands answers that have come to the waiting tickets. Costs nothing when there are none.
    pub(super) fn deliver(&self) {
        if !self.ingress_bell.begin_look() {
            return;
        }
        let mut state = self.lock();
        while let Some(ToIngress { id, answer }) = state.answers.try_pop() {
            let index = id.0 as u32;
            let slot = &mut state.slots[index as usize];
            debug_assert_eq!(slot.generation, (id.0 >> 32) as u32, "answered twice");
            match std::mem::replace(&mut slot.phase, Phase::Free) {
                Phase::Waiting(waker) => {
                    slot.phase = Phase::Answered(Box::new(answer));
                    if let Some(waker) = waker {
                        waker.wake();
                    }
                }
                Phase::Abandoned | Phase::Free | Phase::Answered(_) => state.free.push(index),
            }
        }
    }

    /// The answer, if it is there; else `cx` is woken when it is.
    pub(super) fn poll_answer(&self, id: RequestId, cx: &mut Context<'_>) -> Poll<Answer> {
        let mut state = self.lock();
        let index = id.0 as u32;
        let slot = &mut state.slots[index as usize];
        match std::mem::replace(&mut slot.phase, Phase::Free) {
            Phase::Answered(answer) => {
                state.free.push(index);
                Poll::Ready(*answer)
            }
            _ => {
                slot.phase = Phase::Waiting(Some(cx.waker().clone()));
                Poll::Pending
            }
        }
    }

    /// Nobody waits for the answer any more.
    pub(super) fn abandon(&self, id: RequestId) {
        let mut state = self.lock();
        let index = id.0 as u32;
        let slot = &mut state.slots[index as usize];
        if matches!(slot.phase, Phase::Answered(_)) {
            slot.phase = Phase::Free;
            state.free.push(index);
        } else {
            slot.phase = Phase::Abandoned;
            state.push(ToReactor::Cancel(id), &self.ingress_bell);
        }
    }

    pub(super) fn ingress_bell(&self) -> &IngressBell {
        &self.ingress_bell
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing inside panics half-way through a change, so a poisoned state is still whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// The reactor is not woken here but by the task in [`Gateway::run`], whose turn comes after
    /// all tasks that are ready now: requests read together wake it once.
    fn push(&mut self, message: ToReactor, ingress_bell: &IngressBell) {
        let pushed = self.submissions.try_push(message);
        debug_assert!(pushed.is_ok(), "the ring holds three messages for each slot");
        if !std::mem::replace(&mut self.unflushed, true) {
            ingress_bell.call();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn submission() -> Submission {
        Submission {
            model: ModelId(0),
            items: BatchSize::ONE,
            slo: None,
            timeout: None,
            priority: 0,
            payload: Payload::default(),
        }
    }

    #[test]
    fn a_slot_used_again_before_the_reactor_looked_loses_no_message() {
        let (gateway, mut port) = pair(1).unwrap();
        let first = gateway.submit(submission()).unwrap();
        let Some(ToReactor::Submit { id, .. }) = port.submissions.try_pop() else { panic!() };
        let answer = Answer { outcome: Outcome::DeadlinePassed, detail: None, outputs: Vec::new() };
        port.answers.try_push(ToIngress { id, answer }).unwrap();
        // The reactor is busy from here on.
        port.ingress_bell.ring();
        drop(first);
        gateway.flush_and_deliver();
        drop(gateway.submit(submission()).unwrap());
        let seen: Vec<_> = std::iter::from_fn(|| port.submissions.try_pop()).collect();
        let [ToReactor::Cancel(old), ToReactor::Submit { id: new, .. }, ToReactor::Cancel(last)] =
            seen[..]
        else {
            panic!("{seen:?}")
        };
        assert_eq!((old, last), (id, new));
    }
}
