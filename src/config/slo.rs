//! What `slo: Auto` means.

/// A shorter SLO would be decided by the operating system's scheduling, not by ours.
const SHORTEST_US: u64 = 10_000;
/// The bound of a configured SLO.
const LONGEST_US: u64 = 600_000_000;
/// A batch size is useful when it reaches this share of the best throughput in the profile.
const USEFUL_THROUGHPUT: f64 = 0.8;
/// Share of the time that each other model is taken to be running beside this one.
const NEIGHBOUR_SHARE: f64 = 0.5;

/// The SLO of a model with `slo: Auto`, in µs, from its profile on this device: execution time by
/// batch size, `(items, µs)`, with nothing else running. `models` is how many share the device.
/// `None` for an empty profile.
///
/// An answer must have time to wait for the batch that is running and then for its own, at the
/// smallest batch size that is useful (larger ones cost latency and win little throughput), while
/// the neighbours take their share of the device:
///
/// ```text
/// slo = 2 × t(b*) × (1 + (models − 1) / 2)      b* = least b with b / t(b) ≥ 0.8 × the best
/// ```
///
/// rounded up to two digits and kept between 10 ms and 10 minutes. It follows from the profile
/// alone, so it stays the same from start to start until the profile is measured again.
pub fn auto_slo_us(profile_us: &[(u32, u64)], models: usize) -> Option<u64> {
    let throughput = |&(items, us): &(u32, u64)| f64::from(items) / us.max(1) as f64;
    let best = profile_us.iter().map(throughput).reduce(f64::max)?;
    let useful = profile_us.iter().find(|row| throughput(row) >= USEFUL_THROUGHPUT * best)?;
    let sharing = 1.0 + NEIGHBOUR_SHARE * models.saturating_sub(1) as f64;
    let slo_us = (2.0 * useful.1 as f64 * sharing) as u64;
    Some(round_up(slo_us.clamp(SHORTEST_US, LONGEST_US)))
}

/// Up to two significant digits.
fn round_up(value: u64) -> u64 {
    let unit = 10u64.pow(value.max(1).ilog10().saturating_sub(1));
    value.div_ceil(unit) * unit
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_automatic_slo_leaves_room_for_two_useful_batches_and_the_neighbours() {
        // Batching wins nothing here: a batch of one is useful.
        assert_eq!(auto_slo_us(&[(1, 53_000), (2, 106_000)], 1), Some(110_000));
        assert_eq!(auto_slo_us(&[(1, 53_000), (2, 106_000)], 6), Some(380_000));
        // Here four items cost little more than one, and eight twice as much as four.
        assert_eq!(auto_slo_us(&[(1, 20_000), (4, 25_000), (8, 50_000)], 1), Some(50_000));
        assert_eq!(auto_slo_us(&[(1, 0)], 1), Some(10_000));
        assert_eq!(auto_slo_us(&[(1, u64::MAX)], 9), Some(600_000_000));
        assert_eq!(auto_slo_us(&[], 1), None);
    }
}
