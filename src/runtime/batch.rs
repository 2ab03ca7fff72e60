//! A batch on its way through an instance: gathered into the context's staging memory, run,
//! scattered to its requests.

use crate::engine::{EngineError, ExecutionContext, ModelSpec};
use crate::pipeline::Outcome;
use crate::server::gateway::{AnswerOutput, InputData, Payload};
use crate::units::{BatchSize, RequestId};
use std::slice;

/// One request on its way through an instance.
#[derive(Debug)]
pub(super) struct WorkItem {
    pub(super) id: RequestId,
    pub(super) items: BatchSize,
    pub(super) payload: Payload,
    /// Filled by the instance.
    pub(super) outputs: Vec<AnswerOutput>,
    /// Why this request alone failed.
    pub(super) error: Option<WorkError>,
}

/// What went wrong with one request of a batch, and what that makes of it.
#[derive(Debug)]
pub(super) struct WorkError {
    pub(super) outcome: Outcome,
    pub(super) text: String,
}

impl WorkError {
    fn payload(text: String) -> WorkError {
        WorkError { outcome: Outcome::PayloadLost, text }
    }
}

/// A batch to run. The vector travels back in the report, so that it is allocated once.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) work: Vec<WorkItem>,
    pub(super) batch: BatchSize,
}

/// A job that an instance has begun.
pub(super) struct UnderWay {
    job: Job,
    state: State,
}

enum State {
    /// All of its requests failed before it could run.
    NothingToRun,
    Submitted,
    /// It could not be started.
    Failed(EngineError),
    /// It ran, and its outputs are with its requests.
    Done,
}

impl UnderWay {
    /// Gathers a job's inputs and starts its run.
    pub(super) fn begin(
        spec: &ModelSpec,
        context: &mut dyn ExecutionContext,
        mut job: Job,
    ) -> UnderWay {
        gather(spec, context, &mut job.work, job.batch);
        let state = if job.work.iter().all(|item| item.error.is_some()) {
            State::NothingToRun
        } else {
            match context.submit(job.batch) {
                Ok(()) => State::Submitted,
                Err(error) => State::Failed(error),
            }
        };
        UnderWay { job, state }
    }

    /// Whether the next job may be started behind this one.
    pub(super) fn is_sound(&self) -> bool {
        !matches!(self.state, State::Failed(_))
    }

    /// Whether [`UnderWay::end`] has nothing to wait for, if this is the oldest.
    pub(super) fn has_ended(&self, context: &mut dyn ExecutionContext) -> bool {
        !matches!(self.state, State::Submitted) || context.has_ended()
    }

    /// Waits for the run and gives the requests their outputs. Jobs end in the order in which they
    /// were begun.
    pub(super) fn end(&mut self, spec: &ModelSpec, context: &mut dyn ExecutionContext) {
        if matches!(self.state, State::Submitted) {
            let Job { work, batch } = &mut self.job;
            let ended = context.finish().and_then(|()| scatter(spec, context, work, *batch));
            self.state = match ended {
                Ok(()) => State::Done,
                Err(error) => State::Failed(error),
            };
        }
    }

    /// The job after its end, and what became of it. When the batch failed, the context must have
    /// nothing else under way: its requests are tried one by one.
    ///
    /// # Errors
    /// When it is the engine that failed.
    pub(super) fn settle(
        self,
        spec: &ModelSpec,
        context: &mut dyn ExecutionContext,
    ) -> (Vec<WorkItem>, Result<(), EngineError>) {
        let Job { mut work, .. } = self.job;
        let result = match self.state {
            State::Failed(error) => recover(spec, context, &mut work, error),
            State::NothingToRun | State::Submitted | State::Done => Ok(()),
        };
        (work, result)
    }
}

/// Runs one batch to its end; what went wrong with single requests stands in them.
///
/// # Errors
/// When it is the engine that failed.
fn run_batch(
    spec: &ModelSpec,
    context: &mut dyn ExecutionContext,
    work: &mut [WorkItem],
    batch: BatchSize,
) -> Result<(), EngineError> {
    gather(spec, context, work, batch);
    if work.iter().all(|item| item.error.is_some()) {
        return Ok(());
    }
    match context.execute(batch) {
        Ok(()) => scatter(spec, context, work, batch),
        Err(error) => recover(spec, context, work, error),
    }
}

/// What to make of a batch that failed.
fn recover(
    spec: &ModelSpec,
    context: &mut dyn ExecutionContext,
    work: &mut [WorkItem],
    error: EngineError,
) -> Result<(), EngineError> {
    match (error, work) {
        (EngineError::Input(text), [item]) => {
            item.error = Some(WorkError { outcome: Outcome::BadInput, text });
            Ok(())
        }
        (lost @ EngineError::DeviceLost(_), _) => Err(lost),
        (error, [_]) => Err(error),
        (_, work) => run_one_by_one(spec, context, work),
    }
}

/// After a batch failed: one client's impossible input, such as a token id outside the vocabulary,
/// must not fail the requests it happened to share a batch with.
///
/// # Errors
/// When none of them runs: then it is the engine, not an input.
fn run_one_by_one(
    spec: &ModelSpec,
    context: &mut dyn ExecutionContext,
    work: &mut [WorkItem],
) -> Result<(), EngineError> {
    let mut last_error = None;
    let mut succeeded = false;
    for item in work.iter_mut().filter(|item| item.error.is_none()) {
        let items = item.items;
        match run_batch(spec, context, slice::from_mut(item), items) {
            Ok(()) => succeeded |= item.error.is_none(),
            Err(lost @ EngineError::DeviceLost(_)) => return Err(lost),
            Err(error) => {
                let text = error.to_string();
                item.error = Some(WorkError { outcome: Outcome::EngineFailed, text });
                last_error = Some(error);
            }
        }
    }
    match last_error {
        Some(error) if !succeeded => Err(error),
        _ => Ok(()),
    }
}

/// Copies every request's tensors to its place in the staging memory: the only copy of a payload
/// between the socket buffer or shared memory and the engine.
fn gather(
    spec: &ModelSpec,
    context: &mut dyn ExecutionContext,
    work: &mut [WorkItem],
    batch: BatchSize,
) {
    for (index, input) in spec.inputs.iter().enumerate() {
        let item_bytes = input.item_bytes().unwrap_or(0);
        let mut staging = context.stage(index, batch);
        for item in work.iter_mut() {
            let bytes = (item_bytes * item.items.get()).min(staging.len());
            let (place, rest) = staging.split_at_mut(bytes);
            staging = rest;
            if let Err(text) = fill(place, item.payload.inputs.get(index)) {
                // Its rows still run, as zeros, and are thrown away.
                place.fill(0);
                item.error.get_or_insert(WorkError::payload(text));
            }
        }
    }
}

fn fill(place: &mut [u8], input: Option<&InputData>) -> Result<(), String> {
    match input {
        Some(InputData::Inline(data)) if data.len() == place.len() => {
            place.copy_from_slice(data);
            Ok(())
        }
        Some(InputData::Shared(slice)) if slice.len() == place.len() as u64 => {
            slice.read_into(place)
        }
        _ => Err(format!("an input does not have the {} bytes it was checked for", place.len())),
    }
}

/// Gives every request its rows of the outputs it wants.
fn scatter(
    spec: &ModelSpec,
    context: &mut dyn ExecutionContext,
    work: &mut [WorkItem],
    batch: BatchSize,
) -> Result<(), EngineError> {
    for (index, output) in spec.outputs.iter().enumerate() {
        if !work.iter().any(|item| item.payload.outputs.iter().any(|want| want.index == index)) {
            continue;
        }
        let tensor = context.take_output(index);
        if spec.batched && tensor.shape.first() != Some(&i64::from(batch.0)) {
            return Err(EngineError::Execute(format!(
                "output '{}' has shape {:?} for a batch of {batch}: its first dimension must be \
                 the batch",
                output.name, tensor.shape
            )));
        }
        let row = tensor.data.len() / batch.get().max(1);
        let mut first = 0;
        for item in work.iter_mut() {
            let rows = row * first..row * (first + item.items.get());
            first += item.items.get();
            let mut shape = tensor.shape.clone();
            if spec.batched {
                shape[0] = i64::from(item.items.0);
            }
            hand_over(item, index, shape, tensor.data.slice(rows));
        }
    }
    for item in work.iter_mut() {
        item.outputs.sort_by_key(|out| {
            item.payload.outputs.iter().position(|want| want.index == out.index)
        });
    }
    Ok(())
}

fn hand_over(item: &mut WorkItem, index: usize, shape: Vec<i64>, data: bytes::Bytes) {
    let Some(want) = item.payload.outputs.iter().find(|want| want.index == index) else { return };
    let output = match &want.place {
        None => AnswerOutput { index, shape, data, shared_bytes: None },
        Some(place) => {
            if let Err(text) = place.write(&data) {
                item.error.get_or_insert(WorkError::payload(text));
                return;
            }
            let shared_bytes = Some(data.len() as u64);
            AnswerOutput { index, shape, data: bytes::Bytes::new(), shared_bytes }
        }
    };
    item.outputs.push(output);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{DataType, EngineError, InstanceLoop, OutputTensor, TensorSpec};
    use crate::server::gateway::WantedOutput;
    use bytes::Bytes;

    /// Doubles bytes; a batch with a zero in it fails, one with a 99 says that this is its input.
    struct Picky {
        staging: Vec<u8>,
        output: Vec<u8>,
    }

    impl ExecutionContext for Picky {
        fn stage(&mut self, _: usize, batch: BatchSize) -> &mut [u8] {
            &mut self.staging[..2 * batch.get()]
        }

        fn execute(&mut self, batch: BatchSize) -> Result<(), EngineError> {
            let input = &self.staging[..2 * batch.get()];
            if input.contains(&0) {
                return Err(EngineError::Execute("there is a zero".into()));
            }
            if input.contains(&99) {
                return Err(EngineError::Input("99 is not in the table".into()));
            }
            self.output = input.iter().map(|x| 2 * x).collect();
            Ok(())
        }

        fn take_output(&mut self, _: usize) -> OutputTensor {
            let data = Bytes::from(std::mem::take(&mut self.output));
            OutputTensor { shape: vec![data.len() as i64 / 2, 2], data }
        }

        fn enter(&mut self, body: InstanceLoop<'_>) {
            body(self);
        }
    }

    fn spec() -> ModelSpec {
        let tensor =
            |name: &str| TensorSpec { name: name.into(), data_type: DataType::U8, shape: vec![2] };
        ModelSpec {
            inputs: vec![tensor("in")],
            outputs: vec![tensor("out")],
            batched: true,
            max_batch: BatchSize(8),
        }
    }

    fn item(id: u64, data: &'static [u8]) -> WorkItem {
        WorkItem {
            id: RequestId(id),
            items: BatchSize(data.len() as u32 / 2),
            payload: Payload {
                inputs: vec![InputData::Inline(Bytes::from_static(data))],
                outputs: vec![WantedOutput { index: 0, place: None }],
            },
            outputs: Vec::new(),
            error: None,
        }
    }

    fn run(work: &mut [WorkItem]) -> Result<(), String> {
        let mut context = Picky { staging: vec![0; 16], output: Vec::new() };
        let batch = BatchSize(work.iter().map(|item| item.items.0).sum());
        run_batch(&spec(), &mut context, work, batch).map_err(|error| error.to_string())
    }

    #[test]
    fn every_request_gets_its_own_rows() {
        let mut work = [item(1, &[1, 2]), item(2, &[3, 4, 5, 6]), item(3, &[7, 8])];
        run(&mut work).unwrap();
        let rows: Vec<(&[i64], &[u8])> =
            work.iter().map(|w| (&*w.outputs[0].shape, &*w.outputs[0].data)).collect();
        assert_eq!(rows[0], (&[1, 2][..], &[2, 4][..]));
        assert_eq!(rows[1], (&[2, 2][..], &[6, 8, 10, 12][..]));
        assert_eq!(rows[2], (&[1, 2][..], &[14, 16][..]));
    }

    #[test]
    fn an_impossible_input_fails_its_own_request_only() {
        let mut work = [item(1, &[1, 2]), item(2, &[0, 4]), item(3, &[7, 8])];
        run(&mut work).unwrap();
        assert_eq!(&*work[0].outputs[0].data, [2, 4]);
        assert_eq!(&*work[2].outputs[0].data, [14, 16]);
        let error = work[1].error.as_ref().unwrap();
        assert_eq!((error.outcome, &*error.text), (Outcome::EngineFailed, "there is a zero"));
    }

    #[test]
    fn an_input_that_cannot_be_computed_is_the_requests_own_fault() {
        let outcomes = |work: &[WorkItem]| {
            let outcome = |item: &WorkItem| item.error.as_ref().map(|error| error.outcome);
            work.iter().map(outcome).collect::<Vec<_>>()
        };
        let mut alone = [item(1, &[99, 2])];
        run(&mut alone).unwrap();
        assert_eq!(outcomes(&alone), [Some(Outcome::BadInput)]);
        let mut shared = [item(1, &[1, 2]), item(2, &[99, 4]), item(3, &[0, 8])];
        run(&mut shared).unwrap();
        let expected = [None, Some(Outcome::BadInput), Some(Outcome::EngineFailed)];
        assert_eq!(outcomes(&shared), expected);
        let mut none_runs = [item(2, &[99, 4]), item(3, &[0, 8])];
        assert_eq!(run(&mut none_runs), Err("there is a zero".into()));
        assert_eq!(outcomes(&none_runs)[0], Some(Outcome::BadInput));
    }

    #[test]
    fn when_none_runs_it_is_the_engine() {
        assert_eq!(run(&mut [item(1, &[0, 2]), item(2, &[0, 4])]), Err("there is a zero".into()));
        assert_eq!(run(&mut [item(1, &[0, 2])]), Err("there is a zero".into()));
    }
}
