//! Times what policies take to decide. The suite reads no clock; this does it for it.

use crate::scheduler::{Caps, DeviceView, Dispatch, Policy};
use crate::suite::cell::Meter;
use crate::suite::results::DecisionTime;
use crate::units::ModelId;
use hdrhistogram::Histogram;
use std::cell::RefCell;
use std::time::Instant;

/// Longest decision told apart, in ns.
const LONGEST_NS: u64 = 1_000_000_000;

thread_local! {
    /// Of this thread's policies, in ns. The bounds are constants that always are accepted.
    static TAKEN: RefCell<Histogram<u64>> = RefCell::new(
        Histogram::new_with_bounds(1, LONGEST_NS, 2).expect("constant bounds, which can't fail"),
    );
}

/// Times every decision.
pub struct Stopwatch;

impl Meter for Stopwatch {
    fn timed(&self, policy: Box<dyn Policy>) -> Box<dyn Policy> {
        Box::new(Timed { policy })
    }

    fn take(&self) -> Option<DecisionTime> {
        TAKEN.with_borrow_mut(|taken| {
            let time = (!taken.is_empty()).then(|| DecisionTime {
                us_mean: taken.mean() / 1e3,
                us_p99: taken.value_at_quantile(0.99) as f64 / 1e3,
                decisions: taken.len(),
            });
            taken.reset();
            time
        })
    }
}

#[derive(Debug)]
struct Timed {
    policy: Box<dyn Policy>,
}

impl Timed {
    fn time<R>(&mut self, decide: impl FnOnce(&mut dyn Policy) -> R) -> R {
        let begun = Instant::now();
        let result = decide(&mut *self.policy);
        let ns = begun.elapsed().as_nanos() as u64;
        TAKEN.with_borrow_mut(|taken| taken.saturating_record(ns.max(1)));
        result
    }
}

impl Policy for Timed {
    fn name(&self) -> &'static str {
        self.policy.name()
    }

    fn decide(&mut self, device: &DeviceView<'_>, models: &[ModelId], caps: &mut [Caps]) {
        self.time(|policy| policy.decide(device, models, caps));
    }

    fn dispatch(&mut self, device: &DeviceView<'_>, ready: &[ModelId]) -> Dispatch {
        self.time(|policy| policy.dispatch(device, ready))
    }
}
