//! Time for the load generator: its clock, and sleeping with a precision of microseconds.

use crate::units::Nanos;
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};
use std::io;
use std::os::fd::OwnedFd;
use std::time::Instant;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Nanoseconds since the run began.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock {
    start: Instant,
}

impl Clock {
    pub(super) fn start() -> Clock {
        Clock { start: Instant::now() }
    }

    pub(super) fn now(&self) -> Nanos {
        Nanos::from(self.start.elapsed())
    }
}

/// Sleeps by a kernel timer. The runtime's own timers count in milliseconds, which at 20,000
/// requests per second would send them in lumps of twenty.
#[derive(Debug)]
pub(super) struct Pacer {
    timer: AsyncFd<OwnedFd>,
    clock: Clock,
}

impl Pacer {
    /// # Errors
    /// When the process has no file descriptor left.
    pub(super) fn new(clock: Clock) -> io::Result<Pacer> {
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let timer = timerfd_create(TimerfdClockId::Monotonic, flags)?;
        #[expect(
            deprecated,
            reason = "its successor is unsafe, for types that may change their descriptor; an \
                      `OwnedFd` can't"
        )]
        let timer = AsyncFd::with_interest(timer, Interest::READABLE)?;
        Ok(Pacer { timer, clock })
    }

    /// Returns at `at`, never before it.
    pub(super) async fn sleep_until(&self, at: Nanos) -> io::Result<()> {
        loop {
            let left = at - self.clock.now();
            if left == Nanos::ZERO {
                return Ok(());
            }
            let spec = Itimerspec {
                it_interval: Timespec { tv_sec: 0, tv_nsec: 0 },
                it_value: Timespec {
                    tv_sec: (left.0 / 1_000_000_000) as i64,
                    tv_nsec: (left.0 % 1_000_000_000) as _,
                },
            };
            timerfd_settime(self.timer.get_ref(), TimerfdTimerFlags::empty(), &spec)?;
            // The count of expirations needs no reading: setting the timer clears it, and a wake-up
            // left over from before only takes one more round.
            self.timer.readable().await?.clear_ready();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sleeping_never_ends_early() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().unwrap();
        runtime.block_on(async {
            let clock = Clock::start();
            let pacer = Pacer::new(clock).unwrap();
            for step in 1..=50u64 {
                let at = Nanos::from_micros(step * 130);
                pacer.sleep_until(at).await.unwrap();
                assert!(clock.now() >= at);
            }
            // One in the past returns at once, also after a timer that has run out.
            pacer.sleep_until(Nanos::ZERO).await.unwrap();
        });
    }
}
