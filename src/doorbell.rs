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
        // Not a store: the consumer, which reads the last ring, is to see what came before all.
        self.rung.swap(true, Ordering::Release);
        // Pairs with the fence in `announce_sleep`: either the consumer's last look sees what was
        // pushed, or this load sees that it sleeps.
        fence(Ordering::SeqCst);
        if self.asleep.load(Ordering::Relaxed) && self.asleep.swap(false, Ordering::AcqRel) {
            self.wake();
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

    fn wake(&self) {
        // Fails only when the counter is full, and then the consumer is woken already.
        let _ = rustix::io::write(&self.fd, &1u64.to_ne_bytes());
    }

    /// The consumer is about to sleep; it must look at its rings once more after this.
    pub fn announce_sleep(&self) {
        self.asleep.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
    }

    /// The consumer is awake again (or never slept).
    pub fn awake(&self) {
        self.asleep.store(false, Ordering::Relaxed);
    }

    /// Sleeps until the bell rings or `timeout` has passed; [`Nanos::MAX`] is no timeout. Call
    /// between [`Doorbell::announce_sleep`] and [`Doorbell::awake`].
    pub fn wait(&self, timeout: Nanos) {
        let timespec = (timeout != Nanos::MAX).then_some(Timespec {
            tv_sec: (timeout.0 / 1_000_000_000) as i64,
            tv_nsec: (timeout.0 % 1_000_000_000) as _,
        });
        // An interrupted wait is a wake-up like any other: the consumer looks and sleeps again.
        let rung = poll(&mut [PollFd::new(&self.fd, PollFlags::IN)], timespec.as_ref());
        if rung.is_ok_and(|ready| ready > 0) {
            // Whatever ended this sleep must not end the next one as well, nor, with nobody to
            // ring again, all that follow: a ring may be late, written after `awake`.
            let mut count = [0u8; 8];
            let _ = rustix::io::read(&self.fd, &mut count);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, Instant};

    const NAP: Nanos = Nanos::from_millis(50);

    fn sleep(bell: &Doorbell) -> Duration {
        let start = Instant::now();
        bell.announce_sleep();
        bell.wait(NAP);
        bell.awake();
        start.elapsed()
    }

    #[test]
    fn a_ring_ends_one_sleep() {
        let bell = Doorbell::new().unwrap();
        bell.announce_sleep();
        bell.ring();
        bell.ring();
        bell.wait(Nanos::MAX);
        bell.awake();
        assert!(sleep(&bell) >= NAP.into(), "the second sleep is a whole one");
    }

    #[test]
    fn a_ring_whose_write_comes_late_does_not_keep_the_consumer_awake_for_ever() {
        let bell = Doorbell::new().unwrap();
        bell.announce_sleep();
        // The producer gets as far as this, then another thread is run …
        assert!(bell.asleep.swap(false, Ordering::AcqRel));
        bell.awake();
        // … and only now it writes.
        bell.wake();
        sleep(&bell);
        assert!(sleep(&bell) >= NAP.into(), "nobody rang again");
    }

    #[test]
    fn a_ring_while_awake_is_seen_before_the_next_sleep() {
        let bell = Doorbell::new().unwrap();
        bell.begin_look();
        assert!(!bell.has_rung());
        bell.ring();
        bell.announce_sleep();
        assert!(bell.has_rung(), "so the consumer looks again instead of sleeping");
        bell.awake();
        bell.begin_look();
        assert!(!bell.has_rung());
        assert!(sleep(&bell) >= NAP.into(), "it cost no wake-up");
    }
}
