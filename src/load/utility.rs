//! The utility of a cohort of requests, as the project defines it: ln(1 + G / X) with goodput G and
//! the mean normalised latency X.

/// Below this share of the SLO a shorter latency gains nothing.
const BEST: f64 = 0.25;
/// A request that was late or got no answer counts at least like one of this many SLOs.
const MISSED: f64 = 4.0;

/// Normalised latency of one request: latency, or time waited, over its SLO.
pub(super) fn normalised_latency(latency_us: u64, slo_us: u64, slo_met: bool) -> f64 {
    let ratio = latency_us as f64 / slo_us as f64;
    ratio.max(if slo_met { BEST } else { MISSED })
}

/// Utility of requests that arrived in one window, from their goodput in requests per second and
/// the mean of their normalised latencies.
pub(super) fn utility(goodput_per_s: f64, mean_normalised_latency: f64) -> f64 {
    (goodput_per_s / mean_normalised_latency).ln_1p()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_formula_at_known_points() {
        assert_eq!(normalised_latency(10, 100, true), 0.25);
        assert_eq!(normalised_latency(50, 100, true), 0.5);
        assert_eq!(normalised_latency(0, 100, false), 4.0);
        assert_eq!(normalised_latency(900, 100, false), 9.0);
        assert_eq!(utility(0.0, 4.0), 0.0);
        assert!((utility(25.0, 0.25) - 101f64.ln()).abs() < 1e-12);
    }
}
