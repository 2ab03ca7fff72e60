//! Wakes the ingress thread, which sleeps inside its tokio runtime.
//!
//! Tokio can wake its thread only by a system call, whether it sleeps or not. The thread tells here
//! when it is about to sleep, and looks once more after having told: while it is awake, a ring costs
//! next to nothing, and the answers of several batches are found together.

use super::gateway::Gateway;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering, fence};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::Notify;

/// The ingress thread's bell. Any number of threads may ring it.
#[derive(Debug)]
pub struct IngressBell {
    notify: Notify,
    /// Rung since the ingress last began to look.
    rung: AtomicBool,
    /// The ingress sleeps. Always true on a runtime that is not [`Gateway::runtime`]'s.
    asleep: AtomicBool,
}

impl Default for IngressBell {
    fn default() -> IngressBell {
        let (notify, rung) = (Notify::new(), AtomicBool::new(false));
        IngressBell { notify, rung, asleep: AtomicBool::new(true) }
    }
}

impl IngressBell {
    /// Tells the ingress thread that answers were pushed.
    pub fn ring(&self) {
        // Not a store: the ingress, which reads the last ring, is to see what came before all.
        self.rung.swap(true, Ordering::Release);
        // Pairs with the fence in `announce_sleep`: either the ingress sees the ring before it
        // sleeps, or this load sees that it sleeps.
        fence(Ordering::SeqCst);
        if self.asleep.load(Ordering::Relaxed) {
            self.call();
        }
    }

    /// Has the task that waits in [`IngressBell::called`] run, after those that are ready now.
    pub(super) fn call(&self) {
        self.notify.notify_one();
    }

    pub(super) async fn called(&self) {
        self.notify.notified().await;
    }

    /// The ingress begins to look at the answers; true when there may be any.
    pub(super) fn begin_look(&self) -> bool {
        self.rung.load(Ordering::Relaxed) && self.rung.swap(false, Ordering::AcqRel)
    }

    fn announce_sleep(&self) {
        self.asleep.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
    }

    fn awake(&self) {
        self.asleep.store(false, Ordering::Relaxed);
    }
}

impl Gateway {
    /// The runtime of the ingress thread, where [`Gateway::run`] is to run.
    ///
    /// # Errors
    /// When the process has no file descriptors left.
    pub fn runtime(self: &Arc<Gateway>) -> io::Result<Runtime> {
        let (before, after) = (self.clone(), self.clone());
        Builder::new_current_thread()
            .enable_all()
            .on_thread_park(move || {
                before.ingress_bell().announce_sleep();
                // When this makes a task ready, the runtime does not sleep.
                before.deliver();
            })
            .on_thread_unpark(move || after.ingress_bell().awake())
            .build()
    }
}
