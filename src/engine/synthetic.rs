//! A pretended engine: sleeps by a latency table, returns twice its input, and misbehaves on
//! demand. For trying schedulers and for tests.

use super::staging::{Staging, bytes_of};
use super::{
    DataType, Engine, EngineError, ExecutionContext, InstanceLoop, ModelSpec, OutputTensor,
    TensorSpec,
};
use crate::config::{Fault, SyntheticConfig};
use crate::units::BatchSize;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

pub(super) struct SyntheticEngine {
    shared: Arc<Shared>,
}

struct Shared {
    config: SyntheticConfig,
    spec: ModelSpec,
    /// Runs started, over all contexts.
    runs: AtomicU64,
}

impl SyntheticEngine {
    /// # Errors
    /// [`EngineError::Load`] when the table is empty or not ascending, or there are no elements.
    pub fn new(
        config: &SyntheticConfig,
        max_batch: BatchSize,
    ) -> Result<SyntheticEngine, EngineError> {
        let table = &config.latency_us;
        if table.is_empty() || table[0].0 == 0 || table.windows(2).any(|w| w[0].0 >= w[1].0) {
            return Err(EngineError::Load(format!(
                "latency_us must list batch sizes from 1 up in ascending order, as in [(1, 1000), \
                 (8, 4000)]; it is {table:?}"
            )));
        }
        if config.elements == 0 {
            return Err(EngineError::Load("elements must be at least 1".into()));
        }
        let tensor = |name: &str| TensorSpec {
            name: name.into(),
            data_type: DataType::F32,
            shape: vec![i64::from(config.elements)],
        };
        let spec = ModelSpec {
            inputs: vec![tensor("INPUT0")],
            outputs: vec![tensor("OUTPUT0")],
            batched: true,
            max_batch: max_batch.max(BatchSize::ONE),
        };
        let shared = Shared { config: config.clone(), spec, runs: AtomicU64::new(0) };
        Ok(SyntheticEngine { shared: Arc::new(shared) })
    }
}

impl Engine for SyntheticEngine {
    fn platform(&self) -> &'static str {
        "synthetic"
    }

    fn spec(&self) -> &ModelSpec {
        &self.shared.spec
    }

    fn weight_bytes(&self) -> u64 {
        0
    }

    fn create_context(&self) -> Result<Box<dyn ExecutionContext>, EngineError> {
        let spec = &self.shared.spec;
        let staging = Staging::new(&spec.inputs[0], spec.max_batch)?;
        Ok(Box::new(SyntheticContext { shared: self.shared.clone(), staging, result: Vec::new() }))
    }
}

struct SyntheticContext {
    shared: Arc<Shared>,
    staging: Staging,
    result: Vec<f32>,
}

impl ExecutionContext for SyntheticContext {
    fn stage(&mut self, _input: usize, batch: BatchSize) -> &mut [u8] {
        self.staging.bytes_mut(batch)
    }

    fn execute(&mut self, batch: BatchSize) -> Result<(), EngineError> {
        let config = &self.shared.config;
        let run = self.shared.runs.fetch_add(1, Ordering::Relaxed) + 1;
        for (_, fault) in config.faults.iter().filter(|(nth, _)| *nth == run) {
            match fault {
                Fault::Fail => {
                    return Err(EngineError::Execute(format!("run {run} fails as configured")));
                }
                // On purpose: config.ron scripts it, to show that the instance is replaced.
                Fault::Panic => panic!("run {run} panics as configured"),
                // The thread is given up, as one that hangs in a driver would be.
                Fault::Hang => loop {
                    std::thread::park();
                },
                Fault::Slow(_) => {}
            }
        }
        let duration = latency(&config.latency_us, batch).mul_f64(slowdown(&config.faults, run));
        if !duration.is_zero() {
            std::thread::sleep(duration);
        }
        self.result = self.staging.elements::<f32>(batch).iter().map(|x| 2.0 * x).collect();
        Ok(())
    }

    fn take_output(&mut self, _output: usize) -> OutputTensor {
        let result = std::mem::take(&mut self.result);
        let elements = i64::from(self.shared.config.elements);
        let batch = result.len() as i64 / elements;
        OutputTensor { shape: vec![batch, elements], data: bytes_of(result) }
    }

    fn enter(&mut self, body: InstanceLoop<'_>) {
        body(self);
    }
}

/// The table's value at `batch`: interpolated inside, the slope of the last two entries continued
/// above (one entry: flat), the first entry below.
pub(crate) fn latency(table: &[(u32, u64)], batch: BatchSize) -> Duration {
    let at = f64::from(batch.0);
    let upper = table.iter().position(|&(b, _)| b >= batch.0).unwrap_or(table.len());
    let (low, high) = match (upper, table.len()) {
        (_, 0) => return Duration::ZERO,
        (0, _) | (_, 1) => return Duration::from_micros(table[0].1),
        (end, len) if end == len => (table[len - 2], table[len - 1]),
        (upper, _) => (table[upper - 1], table[upper]),
    };
    let (b0, l0, b1, l1) = (f64::from(low.0), low.1 as f64, f64::from(high.0), high.1 as f64);
    let latency_us = l0 + (l1 - l0) * (at - b0) / (b1 - b0);
    Duration::from_nanos((latency_us.max(0.0) * 1e3) as u64)
}

/// The factor of the latest `Slow` that has come into force by `run`.
fn slowdown(faults: &[(u64, Fault)], run: u64) -> f64 {
    let slow = faults.iter().filter_map(|&(nth, fault)| match fault {
        Fault::Slow(factor) if nth <= run => Some((nth, factor)),
        _ => None,
    });
    let factor = slow.max_by_key(|&(nth, _)| nth).map_or(1.0, |(_, factor)| factor);
    // A factor that is negative, not a number or absurd must not panic in Duration arithmetic.
    if factor.is_finite() { factor.clamp(0.0, 1e6) } else { 1.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn engine(config: SyntheticConfig) -> SyntheticEngine {
        SyntheticEngine::new(&config, BatchSize(8)).unwrap()
    }

    fn zero_cost(elements: u32, faults: &[(u64, Fault)]) -> SyntheticConfig {
        SyntheticConfig { latency_us: vec![(1, 0)], elements, faults: faults.to_vec() }
    }

    #[test]
    fn the_output_is_twice_the_input() {
        let mut context = engine(zero_cost(2, &[])).create_context().unwrap();
        let input: Vec<u8> =
            [1.0f32, -2.0, 0.5, 3.0].iter().flat_map(|x| x.to_le_bytes()).collect();
        context.stage(0, BatchSize(2)).copy_from_slice(&input);
        context.execute(BatchSize(2)).unwrap();
        let output = context.take_output(0);
        assert_eq!(output.shape, [2, 2]);
        let expected: Vec<u8> =
            [2.0f32, -4.0, 1.0, 6.0].iter().flat_map(|x| x.to_le_bytes()).collect();
        assert_eq!(output.data, expected);
    }

    #[test]
    fn latency_is_interpolated_and_continued() {
        let table = [(1, 1_000), (4, 2_500), (8, 3_000)];
        let at = |b| latency(&table, BatchSize(b)).as_micros();
        assert_eq!(
            [at(1), at(2), at(4), at(6), at(8), at(16)],
            [1000, 1500, 2500, 2750, 3000, 4000]
        );
        assert_eq!(latency(&[(4, 700)], BatchSize(1)).as_micros(), 700);
        assert_eq!(latency(&[(4, 700)], BatchSize(64)).as_micros(), 700);
        assert_eq!(latency(&[(1, 900), (2, 100)], BatchSize(64)), Duration::ZERO);
    }

    #[test]
    fn faults_are_counted_over_all_contexts() {
        let engine = engine(zero_cost(1, &[(2, Fault::Fail), (3, Fault::Panic)]));
        let mut first = engine.create_context().unwrap();
        let mut second = engine.create_context().unwrap();
        first.execute(BatchSize::ONE).unwrap();
        let error = second.execute(BatchSize::ONE).unwrap_err();
        assert!(error.to_string().contains("run 2"), "{error}");
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let _ = first.execute(BatchSize::ONE);
        }));
        assert!(panicked.is_err());
        second.execute(BatchSize::ONE).unwrap();
    }

    #[test]
    fn a_hung_run_does_not_come_back() {
        let mut context = engine(zero_cost(1, &[(1, Fault::Hang)])).create_context().unwrap();
        let (done, ended) = std::sync::mpsc::channel();
        let thread = std::thread::spawn(move || {
            let _ = context.execute(BatchSize::ONE);
            let _ = done.send(());
        });
        // Waking the thread must not end the hang either.
        thread.thread().unpark();
        assert!(ended.recv_timeout(Duration::from_millis(50)).is_err());
    }

    #[test]
    fn the_latest_slowdown_holds() {
        let faults = [(3, Fault::Slow(2.0)), (5, Fault::Slow(1.0)), (7, Fault::Slow(f64::NAN))];
        let factors = [1, 3, 4, 5, 7].map(|run| slowdown(&faults, run));
        assert_eq!(factors, [1.0, 2.0, 2.0, 1.0, 1.0]);
        assert_eq!(slowdown(&[(1, Fault::Slow(-3.0))], 1), 0.0);
    }

    #[test]
    fn an_impossible_table_is_refused() {
        for table in [vec![], vec![(0, 5)], vec![(2, 5), (1, 5)], vec![(1, 5), (1, 6)]] {
            let config = SyntheticConfig { latency_us: table, ..SyntheticConfig::default() };
            assert!(SyntheticEngine::new(&config, BatchSize(8)).is_err());
        }
        assert!(SyntheticEngine::new(&zero_cost(0, &[]), BatchSize(8)).is_err());
    }
}
