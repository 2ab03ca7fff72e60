//! Utility: what all scheduling is for, in one number.
//!
//! For a model and a window W of arrivals: G = requests per second that met their SLO; every
//! request r has a cost x_r, its latency over its SLO; X = mean of x_r. **U = ln(1 + G / X)**,
//! undefined without requests. The system's utility is the mean over the models that had
//! requests. Two policies are compared by the utility ratio exp(U_a − U_b).

use crate::units::Nanos;

/// Below a quarter of the SLO nothing more is to be gained.
pub const LEAST_COST: f64 = 0.25;
/// What a request costs at least that was late, rejected, expired or failed.
pub const MISS_COST: f64 = 4.0;

/// The requests that arrived in one window, and how they ended.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Cohort {
    /// Answered so far, in whatever way.
    pub requests: u64,
    /// Of those: with outputs, within their SLO.
    pub slo_met: u64,
    /// Sum of x_r.
    cost: f64,
}

impl Cohort {
    /// Counts a request that was answered within its SLO after `latency`.
    pub fn add_met(&mut self, latency: Nanos, slo: Nanos) {
        self.requests += 1;
        self.slo_met += 1;
        self.cost += cost(true, latency, slo);
    }

    /// Counts a request that was late, rejected, expired or failed after it had `waited`.
    pub fn add_missed(&mut self, waited: Nanos, slo: Nanos) {
        self.requests += 1;
        self.cost += cost(false, waited, slo);
    }

    /// Adds another window's requests.
    pub fn merge(&mut self, other: &Cohort) {
        self.requests += other.requests;
        self.slo_met += other.slo_met;
        self.cost += other.cost;
    }

    /// U of this model over a window of `window`; `None` without requests.
    pub fn utility(&self, window: Nanos) -> Option<f64> {
        if self.requests == 0 {
            return None;
        }
        let goodput = self.slo_met as f64 / window.as_secs_f64();
        Some((goodput / self.mean_cost()).ln_1p())
    }

    /// X: mean cost of a request; 0 without requests.
    pub fn mean_cost(&self) -> f64 {
        self.cost / self.requests.max(1) as f64
    }

    /// Share of the requests that met their SLO; `None` without requests.
    pub fn slo_hit_rate(&self) -> Option<f64> {
        (self.requests > 0).then(|| self.slo_met as f64 / self.requests as f64)
    }
}

/// The system's utility: the mean over the models that had requests.
pub fn system(models: impl Iterator<Item = Option<f64>>) -> Option<f64> {
    let (sum, count) = models.flatten().fold((0.0, 0u32), |(sum, n), u| (sum + u, n + 1));
    (count > 0).then(|| sum / f64::from(count))
}

/// x_r: what a request costs that `met` its SLO or not after it was in the appliance for `time`.
pub fn cost(met: bool, time: Nanos, slo: Nanos) -> f64 {
    let ratio = time.0 as f64 / slo.0.max(1) as f64;
    ratio.max(if met { LEAST_COST } else { MISS_COST })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SLO: Nanos = Nanos::from_millis(100);
    const WINDOW: Nanos = Nanos::from_millis(5_000);

    #[test]
    fn matches_the_definition_by_hand() {
        let mut cohort = Cohort::default();
        cohort.add_met(Nanos::from_millis(50), SLO); // 0.5
        cohort.add_met(Nanos::from_millis(1), SLO); // 0.25: nothing more to gain
        cohort.add_missed(Nanos::from_millis(120), SLO); // 4
        cohort.add_missed(Nanos::from_millis(900), SLO); // 9
        let expected = (1.0f64 + (2.0 / 5.0) / (13.75 / 4.0)).ln();
        assert!((cohort.utility(WINDOW).unwrap() - expected).abs() < 1e-12);
        assert_eq!(cohort.slo_hit_rate(), Some(0.5));
    }

    #[test]
    fn is_undefined_without_requests_and_zero_when_all_miss() {
        assert_eq!(Cohort::default().utility(WINDOW), None);
        let mut cohort = Cohort::default();
        cohort.add_missed(Nanos::ZERO, SLO);
        assert_eq!(cohort.utility(WINDOW), Some(0.0));
        assert_eq!(system([None, Some(1.0), Some(3.0)].into_iter()), Some(2.0));
        assert_eq!(system([None].into_iter()), None);
    }
}
