//! One measurement: instances of one or several models run at the same time, each on its own
//! thread and without a pause, as they do in the appliance under load.

use super::Point;
use crate::engine::{Engine, EngineError, ExecutionContext};
use crate::units::{BatchSize, InstanceCount};
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Barrier, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

/// Runs that one instance writes down; it goes on running after that.
const MAX_RUNS: usize = 100_000;
/// A first run of at least this long is warm-up enough; a shorter one is followed by a second.
const LONG_RUN: Duration = Duration::from_millis(200);

/// One model's part in a measurement: so many instances that run batches of one size.
#[derive(Clone, Copy)]
pub struct Part<'a> {
    pub engine: &'a dyn Engine,
    pub batch: BatchSize,
    pub instances: InstanceCount,
}

/// How long to measure, after the warm-up: until `time` is over and every instance has done
/// `min_runs`, but no longer than `max_time` once every instance has done one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Effort {
    pub time: Duration,
    pub min_runs: u32,
    pub max_time: Duration,
}

impl Effort {
    fn is_enough(&self, runs: usize, elapsed: Duration) -> bool {
        (runs >= self.min_runs as usize && elapsed >= self.time)
            || (runs >= 1 && elapsed >= self.max_time)
    }
}

/// Why a measurement gave nothing.
#[derive(Debug)]
pub enum Failure {
    /// It was asked to stop.
    Stopped,
    /// An instance of that part could not be made.
    NotMade { part: usize, error: EngineError },
    /// An instance of that part failed while it ran.
    Failed { part: usize, error: EngineError },
}

impl fmt::Display for Failure {
    /// The engine's own words.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Stopped => f.write_str("stopped"),
            Failure::NotMade { error, .. } | Failure::Failed { error, .. } => error.fmt(f),
        }
    }
}

/// Runs all parts at once and gives one point for each: the execution times of all its instances,
/// while every instance of every part was running.
///
/// # Errors
/// The first part that could not be made or run; [`Failure::Stopped`] soon after `stop` is set,
/// when the runs that have begun are over.
pub fn together(
    parts: &[Part<'_>],
    effort: Effort,
    stop: &AtomicBool,
) -> Result<Vec<Point>, Failure> {
    let threads = parts.iter().map(|part| part.instances.get()).sum();
    let floor = Floor::new(threads, effort, stop);
    let results: Vec<(usize, Result<Vec<Duration>, Failure>)> = thread::scope(|scope| {
        let floor = &floor;
        let each = parts
            .iter()
            .enumerate()
            .flat_map(|(part, what)| (0..what.instances.get()).map(move |_| (part, *what)));
        let running: Vec<_> = each
            .map(|(part, what)| (part, scope.spawn(move || floor.instance(part, &what))))
            .collect();
        let panicked = |part| {
            let error = EngineError::Execute("the engine panicked".into());
            Err(Failure::Failed { part, error })
        };
        let ended = running.into_iter();
        ended.map(|(part, run)| (part, run.join().unwrap_or_else(|_| panicked(part)))).collect()
    });
    let mut runs: Vec<Vec<Duration>> = vec![Vec::new(); parts.len()];
    let mut stopped = false;
    for (part, result) in results {
        match result {
            Ok(more) => runs[part].extend(more),
            // What another instance's failure broke off says nothing by itself.
            Err(Failure::Stopped) => stopped = true,
            Err(failure) => return Err(failure),
        }
    }
    if stopped {
        return Err(Failure::Stopped);
    }
    let points = parts.iter().zip(runs);
    Ok(points.map(|(part, runs)| Point::of_runs(part.batch, part.instances, runs)).collect())
}

/// What the threads of one measurement share.
struct Floor<'a> {
    threads: usize,
    effort: Effort,
    stop: &'a AtomicBool,
    /// All contexts have been tried to be made.
    made: Barrier,
    broken: AtomicBool,
    warm: AtomicUsize,
    satisfied: AtomicUsize,
    /// Every instance is warm.
    begin: OnceLock<Instant>,
    /// Every instance has done enough.
    end: OnceLock<Instant>,
}

impl<'a> Floor<'a> {
    fn new(threads: usize, effort: Effort, stop: &'a AtomicBool) -> Floor<'a> {
        Floor {
            threads,
            effort,
            stop,
            made: Barrier::new(threads),
            broken: AtomicBool::new(false),
            warm: AtomicUsize::new(0),
            satisfied: AtomicUsize::new(0),
            begin: OnceLock::new(),
            end: OnceLock::new(),
        }
    }

    /// The life of one instance; gives the durations of its counted runs.
    fn instance(&self, part: usize, what: &Part<'_>) -> Result<Vec<Duration>, Failure> {
        let made = catch_unwind(AssertUnwindSafe(|| what.engine.create_context()));
        let made = made.unwrap_or_else(|_| Err(EngineError::Context("the engine panicked".into())));
        if made.is_err() {
            self.broken.store(true, Ordering::Relaxed);
        }
        self.made.wait();
        let mut context = made.map_err(|error| Failure::NotMade { part, error })?;
        let mut result = Ok(None);
        context.enter(Box::new(|context| {
            let _guard = BreaksOnPanic(&self.broken);
            stage_zeros(context, what.engine, what.batch);
            result = self.run(context, what.batch);
            if result.is_err() {
                self.broken.store(true, Ordering::Relaxed);
            }
        }));
        match result {
            Ok(Some(runs)) => Ok(runs),
            Ok(None) => Err(Failure::Stopped),
            Err(error) => Err(Failure::Failed { part, error }),
        }
    }

    /// `None` when the measurement was broken off.
    fn run(
        &self,
        context: &mut dyn ExecutionContext,
        batch: BatchSize,
    ) -> Result<Option<Vec<Duration>>, EngineError> {
        let mut runs = Vec::new();
        let (mut warm_runs, mut is_warm, mut is_satisfied) = (0, false, false);
        loop {
            if self.broken.load(Ordering::Relaxed) || self.stop.load(Ordering::Relaxed) {
                return Ok(None);
            }
            let begun = Instant::now();
            context.execute(batch)?;
            let ended = Instant::now();
            let took = ended - begun;
            warm_runs += 1;
            if !is_warm && (warm_runs >= 2 || took >= LONG_RUN) {
                is_warm = true;
                self.when_all(&self.warm, || self.begin.set(ended));
            }
            // When another instance has ended meanwhile, this run was not in full company.
            if self.end.get().is_some_and(|&end| ended > end) {
                return Ok(Some(runs));
            }
            let Some(&begin) = self.begin.get() else { continue };
            if begun >= begin && runs.len() < MAX_RUNS {
                runs.push(took);
            }
            let elapsed = ended.saturating_duration_since(begin);
            if !is_satisfied && self.effort.is_enough(runs.len(), elapsed) {
                is_satisfied = true;
                self.when_all(&self.satisfied, || self.end.set(ended));
                if self.end.get().is_some() {
                    return Ok(Some(runs));
                }
            }
        }
    }

    /// Counts this instance; the last one does `then`. The cell is empty, as there is one last.
    fn when_all(&self, count: &AtomicUsize, then: impl FnOnce() -> Result<(), Instant>) {
        if count.fetch_add(1, Ordering::AcqRel) + 1 == self.threads {
            let _ = then();
        }
    }
}

/// The others must not wait for an instance whose engine has panicked.
struct BreaksOnPanic<'a>(&'a AtomicBool);

impl Drop for BreaksOnPanic<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.store(true, Ordering::Relaxed);
        }
    }
}

/// Zeros are valid for every model: pixels, masks and token ids alike.
pub(super) fn stage_zeros(
    context: &mut dyn ExecutionContext,
    engine: &dyn Engine,
    batch: BatchSize,
) {
    for input in 0..engine.spec().inputs.len() {
        context.stage(input, batch).fill(0);
    }
}
