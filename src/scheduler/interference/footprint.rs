//! What a batch asks of the device.

/// What running a model costs, whatever runs it: read off the model file. 0 where it is not known.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Work {
    /// Multiply-adds of one item.
    pub multiply_adds: f64,
    /// Bytes that every batch reads once: the weights.
    pub weight_bytes: f64,
    /// Bytes that each item reads and writes.
    pub activation_bytes: f64,
    /// Kernels of a batch.
    pub kernels: f64,
}

/// What one batch asks of the device while it runs at full speed.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Footprint {
    /// Share of the device that it takes, above 0 and at most 1.
    pub share: f64,
    /// Natural logarithm of its execution time alone in ns.
    pub ln_time: f64,
    /// Bytes it moves in a ns: how much it depends on memory.
    pub bytes: f64,
    /// Multiply-adds in a ns: how much it depends on arithmetic.
    pub multiply_adds: f64,
    /// Kernels in a µs: how finely its time can be dealt out.
    pub kernels: f64,
}

impl Footprint {
    /// Of a batch of `items` that takes `share` of the device for `time_ns` alone.
    pub fn new(share: f64, time_ns: f64, items: u32, work: &Work) -> Footprint {
        let time_ns = time_ns.max(1.0);
        let items = f64::from(items);
        Footprint {
            share,
            ln_time: time_ns.ln(),
            bytes: (work.weight_bytes + items * work.activation_bytes) / time_ns,
            multiply_adds: items * work.multiply_adds / time_ns,
            kernels: work.kernels / (time_ns / 1e3),
        }
    }
}

/// Demands that are tried out: hundredths.
const DEMAND_STEPS: u32 = 100;

/// The share of the device that explains best how much slower so many instances were than one:
/// `max(1, instances × share)` times. All of it when nothing was measured.
pub fn demand(slower: &[(u16, f64)]) -> f64 {
    let error = |share: f64| {
        let squares = slower.iter().map(|&(instances, times)| {
            ((f64::from(instances) * share).max(1.0) / times.max(1.0)).ln().powi(2)
        });
        squares.sum::<f64>()
    };
    let mut best = (1.0, error(1.0));
    for hundredths in (1..DEMAND_STEPS).rev() {
        let share = f64::from(hundredths) / f64::from(DEMAND_STEPS);
        let candidate = (share, error(share));
        if candidate.1 < best.1 - 1e-12 {
            best = candidate;
        }
    }
    best.0
}

/// A batch takes as much of the device as its threads do, unless several instances of the model
/// were this much slower or faster than that explains.
const LANE_TOLERANCE: f64 = 1.2;

/// Whether a batch that takes the share `lane` of the device explains that so many instances of its
/// model, side by side, took so many times longer than one.
pub fn is_lane(lane: f64, instances: f64, times: f64) -> bool {
    let expected = (instances * lane).max(1.0);
    (1.0 / LANE_TOLERANCE..=LANE_TOLERANCE).contains(&(times / expected))
}
