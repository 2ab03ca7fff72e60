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
    window(parts, effort, stop).map(|runs| points(parts, runs))
}

/// A measurement in windows is over early when the standard error of the windows' means is at most
/// this much of every part's mean …
const ENOUGH_ERROR: f64 = 0.01;
/// … of at least so many windows.
const MIN_WINDOWS: usize = 4;

/// As [`together`], in several windows of `effort` with threads of their own, until their means
/// agree or they have taken `time`. Where instances outnumber the cores, the system may leave two
/// of them on one core for seconds and a third alone on another; new threads are placed anew.
///
/// # Errors
/// As [`together`].
pub fn in_windows(
    parts: &[Part<'_>],
    effort: Effort,
    time: Duration,
    stop: &AtomicBool,
) -> Result<Vec<Point>, Failure> {
    let start = Instant::now();
    let mut runs: Vec<Vec<Duration>> = vec![Vec::new(); parts.len()];
    let mut means: Vec<Vec<f64>> = vec![Vec::new(); parts.len()];
    loop {
        for (at, more) in window(parts, effort, stop)?.into_iter().enumerate() {
            let sum_us: f64 = more.iter().map(|run| run.as_secs_f64() * 1e6).sum();
            means[at].push(sum_us / more.len().max(1) as f64);
            runs[at].extend(more);
        }
        if start.elapsed() >= time || means.iter().all(|means| agree(means)) {
            return Ok(points(parts, runs));
        }
    }
}

/// Whether the mean of these is known well enough.
fn agree(means: &[f64]) -> bool {
    if means.len() < MIN_WINDOWS {
        return false;
    }
    let count = means.len() as f64;
    let mean = means.iter().sum::<f64>() / count;
    let squares: f64 = means.iter().map(|one| (one - mean).powi(2)).sum();
    (squares / (count - 1.0) / count).sqrt() <= ENOUGH_ERROR * mean
}

fn points(parts: &[Part<'_>], runs: Vec<Vec<Duration>>) -> Vec<Point> {
    let each = parts.iter().zip(runs);
    each.map(|(part, runs)| Point::of_runs(part.batch, part.instances, runs)).collect()
}

/// The durations of each part's runs.
fn window(
    parts: &[Part<'_>],
    effort: Effort,
    stop: &AtomicBool,
) -> Result<Vec<Vec<Duration>>, Failure> {
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
    if stopped { Err(Failure::Stopped) } else { Ok(runs) }
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

#[cfg(test)]
mod tests {
    use super::agree;

    #[test]
    fn windows_agree_when_their_mean_is_known_to_a_hundredth() {
        assert!(!agree(&[100.0; 3]), "three are too few");
        assert!(agree(&[100.0; 4]));
        // Two modes 30 % apart, as instances have that share cores unevenly: the standard error is
        // 15 % over the root of the number of windows.
        let mut modes = [100.0, 130.0].repeat(6);
        assert!(!agree(&modes));
        modes = modes.repeat(20);
        assert!(agree(&modes));
        assert!(agree(&[100.0, 102.0, 98.0, 100.0, 101.0]));
        assert!(!agree(&[100.0, 110.0, 90.0, 100.0, 105.0]));
    }
}
