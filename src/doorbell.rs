//! Wakes a thread that waits for its rings to fill.
//!
//! The rings themselves (`ringbuf`) never block; a doorbell is the other half: the producer rings
//! after pushing, the consumer sleeps only after it has announced so and looked once more. A ring
//! of the bell costs a system call only while the consumer sleeps.

use crate::units::Nanos;
use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd, poll};
use rustix::fs::Timespec;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering, fence};

/// One consumer's bell. Any number of producers may ring it.
#[derive(Debug)]
pub struct Doorbell {
    fd: OwnedFd,
    asleep: AtomicBool,
    /// Rung since the consumer last began to look.
    rung: AtomicBool,
}

impl Doorbell {
    /// # Errors
    /// When the process has no file descriptor left.
    pub fn new() -> io::Result<Doorbell> {
        let fd = eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)?;
        Ok(Doorbell { fd, asleep: AtomicBool::new(false), rung: AtomicBool::new(false) })
    }

    /// Tells the consumer that something was pushed.
    pub fn ring(&self) {
        self.rung.store(true, Ordering::Release);
        // Pairs with the fence in `announce_sleep`: either the consumer's last look sees what was
        // pushed, or this load sees that it sleeps.
        fence(Ordering::SeqCst);
        if self.asleep.load(Ordering::Relaxed) && self.asleep.swap(false, Ordering::AcqRel) {
            // Fails only when the counter is full, and then the consumer is woken already.
            let _ = rustix::io::write(&self.fd, &1u64.to_ne_bytes());
        }
    }

    /// The consumer begins to look at everything its producers may have pushed.
    pub fn begin_look(&self) {
        self.rung.swap(false, Ordering::AcqRel);
    }

    /// Whether a producer has rung since [`Doorbell::begin_look`].
    pub fn has_rung(&self) -> bool {
        self.rung.load(Ordering::Acquire)
    }

    /// The consumer is about to sleep; it must look at its rings once more after this.
    pub fn announce_sleep(&self) {
        self.asleep.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
    }

    /// The consumer is awake again (or never slept).
    pub fn awake(&self) {
        if !self.asleep.swap(false, Ordering::AcqRel) {
            // Somebody rang: take the count down so that the next sleep sleeps.
            let mut count = [0u8; 8];
            let _ = rustix::io::read(&self.fd, &mut count);
        }
    }

    /// Sleeps until the bell rings or `timeout` has passed; [`Nanos::MAX`] is no timeout. Call
    /// between [`Doorbell::announce_sleep`] and [`Doorbell::awake`].
    pub fn wait(&self, timeout: Nanos) {
        let timespec = (timeout != Nanos::MAX).then_some(Timespec {
            tv_sec: (timeout.0 / 1_000_000_000) as i64,
            tv_nsec: (timeout.0 % 1_000_000_000) as _,
        });
        // An interrupted wait is a wake-up like any other: the consumer looks and sleeps again.
        let _ = poll(&mut [PollFd::new(&self.fd, PollFlags::IN)], timespec.as_ref());
    }
}
