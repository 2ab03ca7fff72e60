//! A plan in a loop with nothing around it: what serving is compared with.

use super::context::set_up;
use super::lane::Lane;
use super::profiles::Profile;
use super::scratch::{Lease, Scratch};
use super::{Context, Share, Shared, TensorRtEngine, context_error, execute_error};
use crate::config::{Config, ModelConfig};
use crate::engine::cuda::{Stream, is_lost};
use crate::engine::{EngineError, ModelSpec};
use crate::units::BatchSize;
use std::path::Path;
use std::sync::{Arc, PoisonError};

/// One execution context on one stream, whose inputs are on the device before the first run: no
/// copies, no requests, no waiting between runs. Nothing that serves the plan on one stream can run
/// it more often.
pub struct PlanLoop {
    // Dropped in this order, after `drop` has waited for the stream.
    context: Context,
    lane: Lane,
    stream: Stream,
    _lease: Option<Lease>,
    _scratch: Scratch,
    _profile: Profile,
    _share: Share,
    batch: BatchSize,
    shared: Arc<Shared>,
}

impl PlanLoop {
    /// Loads the plan at `path` as `model`, for runs of `batch` items.
    ///
    /// # Errors
    /// As when the plan is served; or that it does not take such a batch.
    pub fn open(
        path: &Path,
        model: &ModelConfig,
        config: &Config,
        batch: BatchSize,
    ) -> Result<PlanLoop, EngineError> {
        let engine = TensorRtEngine::load(path, model, config)?;
        let first = engine.first.into_inner().unwrap_or_else(PoisonError::into_inner);
        let shared = engine.shared;
        let (mut context, profile, share) =
            first.ok_or_else(|| EngineError::Context(shared.too_few_profiles()))?;
        let most = shared.spec.model.max_batch;
        if batch > most || batch != shared.spec.padded(batch) {
            return Err(EngineError::Context(format!(
                "{}: takes batches from {} to {most}, not {batch}",
                shared.file(),
                shared.spec.least
            )));
        }
        let (device, budget) = (&shared.gpu.device, &shared.gpu.budget);
        let stream = Stream::new(device).map_err(context_error)?;
        if let Some(number) = profile.number {
            context.set_profile(number, &stream).map_err(EngineError::Context)?;
            stream.synchronize().map_err(context_error)?;
        }
        let lane = Lane::new(device, budget, &shared.spec)?;
        let mut scratch = shared.gpu.scratch.register(shared.scratch_bytes)?;
        let lease = scratch.take();
        set_up(&shared, &mut context, &lane, batch, lease.as_ref())
            .map_err(EngineError::Context)?;
        Ok(PlanLoop {
            context,
            lane,
            stream,
            _lease: lease,
            _scratch: scratch,
            _profile: profile,
            _share: share,
            batch,
            shared,
        })
    }

    /// Inputs, outputs and batch limit.
    pub fn spec(&self) -> &ModelSpec {
        &self.shared.spec.model
    }

    /// Memory for the values of an input, little-endian, row-major; [`PlanLoop::upload`] takes them
    /// to the device.
    pub fn stage(&mut self, input: usize) -> &mut [u8] {
        self.lane.stage(input, self.batch)
    }

    /// Copies what was staged to the device, and waits for it.
    ///
    /// # Errors
    /// The driver's.
    pub fn upload(&mut self) -> Result<(), EngineError> {
        self.shared.gpu.device.bind().map_err(execute_error)?;
        // SAFETY: nothing is under way: every function here waits for what it has enqueued.
        unsafe { self.lane.upload(&self.stream, self.batch) }.map_err(execute_error)?;
        self.stream.synchronize().map_err(execute_error)
    }

    /// Enqueues so many runs one behind the other, and waits for the last one.
    ///
    /// # Errors
    /// TensorRT's or the driver's.
    pub fn run(&mut self, runs: u32) -> Result<(), EngineError> {
        self.shared.gpu.device.bind().map_err(execute_error)?;
        for _ in 0..runs {
            // SAFETY: `open` has set everything. Lane, scratch block and context live until `drop`
            // has waited for the stream, and runs are enqueued on this stream only.
            unsafe { self.context.enqueue(&self.stream) }.map_err(EngineError::Execute)?;
        }
        self.stream.synchronize().map_err(execute_error)
    }
}

impl Drop for PlanLoop {
    fn drop(&mut self) {
        if is_lost() {
            return;
        }
        self.shared.gpu.device.bind_for_end();
        // An error was told by the function that enqueued the work.
        let _ = self.stream.synchronize();
    }
}
