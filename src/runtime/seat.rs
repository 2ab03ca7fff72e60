//! The reactor's seat: whoever sits there is the reactor for the moment.
//!
//! The reactor has a thread of its own. But a thread that has just handed something over, the
//! ingress a request or an instance the end of a batch, takes the seat itself when it is free, and
//! does what follows: that takes a microsecond or two, less than waking another thread would, and an
//! instance finds its next batch without having slept. Only the reactor's own thread ever waits for
//! the seat, and only there is done what may take long: commands, loading, snapshots.

use super::reactor::Reactor;
use crate::doorbell::Doorbell;
use crate::server::gateway::IngressBell;
use crate::units::Nanos;
use smallvec::SmallVec;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering, fence};
use std::sync::{Arc, Mutex, TryLockError};
use std::thread::Thread;
use std::time::Instant;

/// So often in a row a thread with other things to do takes a turn for what others hand over
/// meanwhile; then the reactor's own thread goes on.
const MOST_TURNS: u32 = 4;

/// What comes of a turn.
pub(super) struct Turn {
    /// When the next full turn is due if nothing is handed over before.
    pub(super) wake: Nanos,
    /// More is there than one turn takes.
    pub(super) is_unfinished: bool,
    pub(super) calls: Calls,
}

/// Who has work to do.
#[derive(Default)]
pub(super) struct Calls {
    /// There are answers.
    pub(super) ingress: bool,
    /// They have a job.
    pub(super) instances: SmallVec<[Thread; 4]>,
}

pub(super) struct Seat {
    /// `None` once the reactor has stopped.
    reactor: Mutex<Option<Reactor>>,
    /// What the reactor's own thread sleeps on.
    bell: Arc<Doorbell>,
    ingress_bell: Arc<IngressBell>,
    /// Something was handed over since the last turn began.
    pending: AtomicBool,
    /// When the reactor's own thread looks after it without being rung for. Changed by who sits.
    looks_at: AtomicU64,
    epoch: Instant,
}

impl Seat {
    pub(super) fn new(mut reactor: Reactor) -> Arc<Seat> {
        Arc::new_cyclic(|seat| {
            reactor.seat = seat.clone();
            Seat {
                bell: reactor.port.reactor_bell.clone(),
                ingress_bell: reactor.port.ingress_bell.clone(),
                pending: AtomicBool::new(false),
                looks_at: AtomicU64::new(0),
                epoch: reactor.port.epoch,
                reactor: Mutex::new(Some(reactor)),
            }
        })
    }

    /// The caller has handed something over: it is seen to at once by the caller, or soon by
    /// whoever sits there now.
    pub(super) fn attend(&self) {
        // Not a store: whoever clears it is to see what all have handed over who set it before.
        self.pending.swap(true, Ordering::Release);
        fence(Ordering::SeqCst);
        for _ in 0..MOST_TURNS {
            match self.reactor.try_lock() {
                Ok(mut seat) => {
                    let Some(reactor) = &mut *seat else { return };
                    self.begin_turn();
                    let turn = reactor.quick_turn();
                    self.note_unfinished(&turn);
                    let is_early = turn.wake.0 < self.looks_at.load(Ordering::Relaxed);
                    if is_early {
                        self.looks_at.store(turn.wake.0, Ordering::Relaxed);
                    }
                    drop(seat);
                    self.tell(turn.calls);
                    if is_early {
                        self.bell.ring();
                    }
                }
                Err(TryLockError::WouldBlock) => return,
                // A turn has panicked: the reactor's own thread is to see that.
                Err(TryLockError::Poisoned(_)) => break,
            }
            // As before the first `try_lock`: either that finds the seat free, or who gets up from
            // it sees `pending`, since a fence like this one comes before his look, too.
            fence(Ordering::SeqCst);
            if !self.pending.load(Ordering::Relaxed) {
                return;
            }
        }
        self.bell.ring();
    }

    /// Only for who sits: what is handed over from here on is `pending` anew, and what was before
    /// is seen in the turn.
    fn begin_turn(&self) {
        self.pending.swap(false, Ordering::Acquire);
    }

    /// Only for who sits.
    fn note_unfinished(&self, turn: &Turn) {
        if turn.is_unfinished {
            self.pending.store(true, Ordering::Relaxed);
        }
    }

    /// Wakes whom a turn has made work for. Not before the seat is free: who is woken on the same
    /// core often runs at once, and would find it taken when it has something to tell.
    fn tell(&self, calls: Calls) {
        if calls.ingress {
            self.ingress_bell.ring();
        }
        for instance in calls.instances {
            instance.unpark();
        }
    }

    /// The life of the reactor's own thread.
    ///
    /// # Errors
    /// When a turn has panicked, on whatever thread.
    pub(super) fn run(&self) -> Result<(), String> {
        loop {
            let Turn { wake, calls, .. } = {
                let panicked = |_| "a turn of the reactor panicked; the log says where".to_owned();
                let mut seat = self.reactor.lock().map_err(panicked)?;
                let Some(reactor) = &mut *seat else { return Ok(()) };
                self.bell.begin_look();
                self.begin_turn();
                let turn = reactor.full_turn();
                self.note_unfinished(&turn);
                self.looks_at.store(turn.wake.0, Ordering::Relaxed);
                if reactor.is_stopping() {
                    // Instances and the gateway keep the seat; what it holds ends here.
                    let reactor = seat.take();
                    drop(seat);
                    if let Some(reactor) = reactor {
                        reactor.stop();
                    }
                    return Ok(());
                }
                turn
            };
            self.tell(calls);
            self.bell.announce_sleep();
            // After the fence in there; see `attend`.
            if !self.bell.has_rung() && !self.pending.load(Ordering::Relaxed) {
                let now: Nanos = self.epoch.elapsed().into();
                if wake > now {
                    self.bell.wait(wake - now);
                }
            }
            self.bell.awake();
        }
    }
}
