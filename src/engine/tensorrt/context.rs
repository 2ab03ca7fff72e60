//! One instance of a plan: an execution context, its streams, and two batches on their way.
//!
//! ```text
//! lane 0   stage ─► copy in ─► run ─► copy out ─► take
//! lane 1              stage ─► copy in ──► run ─► copy out ─► take
//! ```
//!
//! Copies in, runs and copies out have a stream each, ordered by events, so that the copy of the
//! next batch goes beside the run of this one. Runs of one instance never overlap.

use super::budget::Share;
use super::graphs::Graphs;
use super::lane::Lane;
use super::objects::Context;
use super::profiles::Profile;
use super::scratch::{Lease, Scratch};
use super::{Shared, context_error, execute_error};
use crate::engine::cuda::{CudaError, Stream, Waker, is_lost};
use crate::engine::{EngineError, ExecutionContext, InstanceLoop, OutputTensor};
use crate::units::BatchSize;
use bytes::Bytes;
use std::collections::VecDeque;
use std::sync::Arc;

/// Batches that may be on their way at once.
pub(super) const LANES: usize = 2;

pub(super) struct TensorRtContext {
    // Dropped in this order, after `drop` has waited for the streams.
    graphs: Graphs,
    context: Context,
    /// What `context` is set up for.
    bound: Option<Setup>,
    lanes: [Lane; LANES],
    upload: Stream,
    run: Stream,
    download: Stream,
    /// Held while a batch is on its way.
    lease: Option<Lease>,
    scratch: Scratch,
    _profile: Profile,
    /// What the context takes of the device.
    _share: Share,
    /// Lanes and items of the batches on their way, oldest first.
    under_way: VecDeque<(usize, BatchSize)>,
    /// The lane that is staged next.
    next: usize,
    /// Whose outputs can be taken.
    finished: Option<(usize, BatchSize)>,
    waker: Waker,
    shared: Arc<Shared>,
}

/// All that a run depends on besides the data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Setup {
    pub batch: BatchSize,
    pub lane: usize,
    /// Number of the scratch block.
    pub scratch: Option<u64>,
}

impl TensorRtContext {
    /// # Errors
    /// That there is too little memory, with the figures, or TensorRT's or the driver's words.
    pub fn new(
        shared: Arc<Shared>,
        mut context: Context,
        profile: Profile,
        share: Share,
    ) -> Result<TensorRtContext, EngineError> {
        let (device, budget) = (&shared.gpu.device, &shared.gpu.budget);
        let stream = || Stream::new(device).map_err(context_error);
        let (upload, run, download) = (stream()?, stream()?, stream()?);
        if let Some(number) = profile.number {
            context.set_profile(number, &run).map_err(EngineError::Context)?;
            run.synchronize().map_err(context_error)?;
        }
        let lane = || Lane::new(device, budget, &shared.spec);
        let lanes = [lane()?, lane()?];
        let scratch = shared.gpu.scratch.register(shared.scratch_bytes)?;
        Ok(TensorRtContext {
            graphs: Graphs::new(shared.gpu.graphs),
            context,
            bound: None,
            lanes,
            upload,
            run,
            download,
            lease: None,
            scratch,
            _profile: profile,
            _share: share,
            under_way: VecDeque::with_capacity(LANES),
            next: 0,
            finished: None,
            waker: Waker::of_this_thread(),
            shared,
        })
    }

    fn bind(&self) -> Result<(), EngineError> {
        self.shared.gpu.device.bind().map_err(execute_error)
    }

    /// Enqueues all of a batch's stations.
    fn start(&mut self, lane_index: usize, batch: BatchSize) -> Result<(), EngineError> {
        let padded = self.shared.spec.padded(batch);
        let copies = !self.shared.gpu.device.integrated;
        self.lanes[lane_index].pad(batch, padded);
        if copies {
            let lane = &self.lanes[lane_index];
            // SAFETY: `submit` takes a lane only when its last batch is done, and none of its
            // memory is lent before this one is: `stage` lends the other lane's.
            unsafe { lane.upload(&self.upload, padded) }.map_err(execute_error)?;
            self.upload.record(&lane.uploaded).map_err(execute_error)?;
            self.run.wait_for(&lane.uploaded).map_err(execute_error)?;
        }
        if self.lease.is_none() {
            self.lease = self.scratch.take();
        }
        self.enqueue(lane_index, padded)?;
        let lane = &mut self.lanes[lane_index];
        let last = if copies { &self.download } else { &self.run };
        let finish = |lane: &mut Lane| -> Result<(), CudaError> {
            if copies {
                self.run.record(&lane.ran)?;
                self.download.wait_for(&lane.ran)?;
                // SAFETY: the stream waits for the run; outputs are read after `done`.
                unsafe { lane.download(&self.download, batch) }?;
            }
            last.record(&lane.done)?;
            last.wake_when_done(&self.waker)
        };
        finish(lane).map_err(execute_error)
    }

    /// Enqueues the run: as a graph where there is one for it.
    fn enqueue(&mut self, lane: usize, batch: BatchSize) -> Result<(), EngineError> {
        let setup = Setup { batch, lane, scratch: self.lease.as_ref().map(|lease| lease.id) };
        if let Some(graph) = self.graphs.get(&setup) {
            // SAFETY: the graph was recorded with this lane's memory, this scratch block, which is
            // leased now, and a context that nothing has touched since.
            return unsafe { self.run.launch(graph) }.map_err(execute_error);
        }
        // A batch does not wait for a model that is being loaded; its graph does.
        if self.graphs.wants(&setup) && !self.shared.gpu.budget.is_busy() {
            match self.record(setup) {
                Ok(()) => return Ok(()),
                Err(reason) => self.graphs.give_up(&reason),
            }
        }
        if self.bound != Some(setup) {
            self.bound = None;
            let lane = &self.lanes[lane];
            set_up(&self.shared, &mut self.context, lane, batch, self.lease.as_ref())
                .map_err(EngineError::Execute)?;
            self.bound = Some(setup);
        }
        // SAFETY: `set_up` has set everything. Lanes, scratch block and context live until `drop`
        // has waited for the streams, and runs are enqueued on this stream only.
        unsafe { self.context.enqueue(&self.run) }.map_err(EngineError::Execute)
    }

    /// Runs the batch in a context of its own, and records it there for the next time. By NVIDIA's
    /// rules a context must not change while a graph recorded from it is in use.
    fn record(&mut self, setup: Setup) -> Result<(), String> {
        let (mut context, profile, share) = self.shared.context_for_graph()?;
        if let Some(number) = profile.number {
            context.set_profile(number, &self.run)?;
        }
        let lane = &self.lanes[setup.lane];
        set_up(&self.shared, &mut context, lane, setup.batch, self.lease.as_ref())?;
        // The first run after a change of shapes may do what can't be recorded.
        // SAFETY: as in `enqueue`; the context goes into `graphs` or ends below, after the run.
        let run = &self.run;
        if let Err(reason) = unsafe { context.enqueue(run) } {
            // What it may have enqueued is over before it ends.
            let _ = run.synchronize();
            return Err(reason);
        }
        // SAFETY: as above; nothing runs while it is recorded.
        let captured = run.capture(|| unsafe { context.enqueue(run) }.is_ok());
        match captured {
            Ok(Some(graph)) => self.graphs.add(setup, graph, context, profile, share),
            refused => {
                // The run itself was started: its context must outlive it.
                run.synchronize().map_err(|error| error.to_string())?;
                let reason = refused.err().map_or_else(String::new, |error| format!(": {error}"));
                self.graphs.give_up(&format!("the plan can't be recorded{reason}"));
            }
        }
        Ok(())
    }

    /// After something went wrong half-way: nothing is under way any more when this returns, but
    /// for the batches that were before.
    fn settle(&mut self, error: EngineError) -> EngineError {
        self.bound = None;
        let streams = [&self.upload, &self.run, &self.download];
        let lost = streams.map(|stream| stream.synchronize().err());
        match lost.into_iter().flatten().find(CudaError::is_sticky) {
            Some(sticky) if !matches!(error, EngineError::DeviceLost(_)) => {
                EngineError::DeviceLost(format!("{sticky} (after: {error})"))
            }
            _ => error,
        }
    }

    /// Ends the oldest batch on its way.
    fn end_oldest(&mut self) -> Result<(), EngineError> {
        let Some((lane, batch)) = self.under_way.pop_front() else { return Ok(()) };
        let ended = self.lanes[lane].done.wait().map_err(execute_error);
        if self.under_way.is_empty() {
            self.lease = None;
        }
        match ended {
            Ok(()) => {
                self.finished = Some((lane, batch));
                Ok(())
            }
            Err(error) => Err(self.settle(error)),
        }
    }
}

/// Sets shapes, addresses and scratch memory of a context that runs nothing.
pub(super) fn set_up(
    shared: &Shared,
    context: &mut Context,
    lane: &Lane,
    batch: BatchSize,
    lease: Option<&Lease>,
) -> Result<(), String> {
    let spec = &shared.spec;
    spec.set_shapes(context, batch)?;
    let inputs = spec.inputs.iter().zip(lane.input_addresses());
    let outputs = spec.outputs.iter().zip(lane.output_addresses());
    for (binding, address) in inputs.chain(outputs) {
        // SAFETY: the lane has room for the largest batch and lives until `drop` has waited for
        // the last run.
        unsafe { context.set_address(&binding.name, address) }?;
    }
    if let Some(lease) = lease {
        // SAFETY: the block is leased while a batch is under way, and `bound` and the graphs know
        // which one it was.
        unsafe { context.set_scratch(&lease.memory) }?;
    }
    Ok(())
}

impl ExecutionContext for TensorRtContext {
    fn stage(&mut self, input: usize, batch: BatchSize) -> &mut [u8] {
        self.lanes[self.next].stage(input, batch)
    }

    /// In the same lane each time, so that what was staged stays.
    fn execute(&mut self, batch: BatchSize) -> Result<(), EngineError> {
        let lane = self.next;
        self.submit(batch)?;
        while self.under_way.len() > 1 {
            // Nobody takes its outputs: callers end what they have submitted first.
            self.end_oldest()?;
        }
        self.end_oldest()?;
        self.next = lane;
        Ok(())
    }

    fn submit(&mut self, batch: BatchSize) -> Result<(), EngineError> {
        self.bind()?;
        while self.under_way.len() >= LANES {
            self.end_oldest()?;
        }
        if !self.waker.is_this_thread() {
            self.waker = Waker::of_this_thread();
        }
        let lane = self.next;
        if let Err(error) = self.start(lane, batch) {
            let error = self.settle(error);
            if self.under_way.is_empty() {
                self.lease = None;
            }
            return Err(error);
        }
        self.under_way.push_back((lane, batch));
        self.next = (lane + 1) % LANES;
        Ok(())
    }

    fn has_ended(&mut self) -> bool {
        let Some(&(lane, _)) = self.under_way.front() else { return true };
        // An error is told by `finish`.
        self.bind().is_err() || self.lanes[lane].done.is_done().unwrap_or(true)
    }

    /// Whatever fails, the oldest run is no longer among those under way afterwards: the next call is
    /// about the next one.
    fn finish(&mut self) -> Result<(), EngineError> {
        let bound = self.bind();
        let ended = self.end_oldest();
        bound.and(ended)
    }

    fn take_output(&mut self, output: usize) -> OutputTensor {
        let Some((lane, batch)) = self.finished else { return OutputTensor::default() };
        let data = Bytes::copy_from_slice(self.lanes[lane].output(output, batch));
        OutputTensor { shape: self.shared.spec.outputs[output].shape(batch), data }
    }

    fn enter(&mut self, body: InstanceLoop<'_>) {
        body(self);
    }
}

impl Drop for TensorRtContext {
    fn drop(&mut self) {
        if is_lost() {
            return;
        }
        self.shared.gpu.device.bind_for_end();
        // Nothing may be under way when the memory goes. An error here was told before, or ends the
        // work as well.
        for stream in [&self.upload, &self.run, &self.download] {
            let _ = stream.synchronize();
        }
    }
}
