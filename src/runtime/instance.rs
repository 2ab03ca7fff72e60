//! One thread per model instance: gathers a batch into the context's staging memory, runs it,
//! scatters the outputs.

use super::seat::Seat;
use crate::engine::{Engine, EngineError, ExecutionContext, ModelSpec};
use crate::pipeline::Outcome;
use crate::server::gateway::{AnswerOutput, InputData, Payload};
use crate::units::{BatchSize, RequestId};
use arc_swap::ArcSwapOption;
use ringbuf::traits::{Consumer, Observer, Producer, Split};
use ringbuf::{HeapCons, HeapProd, HeapRb};
use std::any::Any;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::slice;
use std::sync::atomic::{Ordering, fence};
use std::sync::{Arc, Weak};
use std::thread::{self, Thread};

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

/// What an instance tells the reactor.
#[derive(Debug)]
pub(super) enum Report {
    /// The context is made; jobs can come. Said again, and of no matter then, when a context has
    /// taken the place of one that failed.
    Ready,
    /// The context could not be made; the thread has ended.
    NotMade(String),
    /// A job ended; `Err` is the engine's own words, and the context is made anew for the next job.
    Done { work: Vec<WorkItem>, result: Result<(), String> },
    /// The engine panicked; the thread has ended.
    Panicked(String),
}

/// The reactor's end of an instance. Dropping it lets the thread end after its current job.
pub(super) struct Instance {
    jobs: Option<HeapProd<Job>>,
    reports: HeapCons<Report>,
    worker: Arc<WorkerThread>,
}

/// The thread that takes the jobs, known before it reports ready. An engine may run the loop on a
/// thread of the context's own, so another context brings another thread.
type WorkerThread = ArcSwapOption<Thread>;

/// Sees whether an instance's thread still lives.
pub(super) struct Lifeline(Weak<WorkerThread>);

impl Lifeline {
    pub(super) fn is_alive(&self) -> bool {
        self.0.strong_count() > 0
    }
}

/// Ready or NotMade, and one report per job: there is never more than one job.
const REPORTS: usize = 4;

impl Instance {
    /// Starts the thread, which makes its context and reports.
    ///
    /// # Errors
    /// When the system gives no more threads.
    pub(super) fn spawn(
        name: &str,
        engine: Arc<dyn Engine>,
        seat: Arc<Seat>,
    ) -> io::Result<Instance> {
        let (jobs, job_end) = HeapRb::new(1).split();
        let (report_end, reports) = HeapRb::new(REPORTS).split();
        let worker = Arc::new(WorkerThread::empty());
        let mut side = Worker { jobs: job_end, reports: report_end, seat, thread: worker.clone() };
        // Linux shows 15 characters of a thread's name.
        let name: String = name.chars().take(15).collect();
        thread::Builder::new().name(name).spawn(move || side.run(&*engine))?;
        Ok(Instance { jobs: Some(jobs), reports, worker })
    }

    /// Hands over a batch; returns the thread that is to be woken for it, `None` when it looks by
    /// itself. The pipeline starts one only on an idle instance, so there is room.
    pub(super) fn start(&mut self, job: Job) -> Option<Thread> {
        if let Some(jobs) = &mut self.jobs {
            let room = jobs.try_push(job);
            debug_assert!(room.is_ok(), "one job at a time");
        }
        self.thread()
    }

    /// Tells, after the instance itself is dropped, whether its thread has ended.
    pub(super) fn lifeline(&self) -> Lifeline {
        Lifeline(Arc::downgrade(&self.worker))
    }

    fn thread(&self) -> Option<Thread> {
        // Pairs with the fence in `introduce`: either this load sees the new thread, or that one
        // sees the job, or that there will be no more.
        fence(Ordering::SeqCst);
        self.worker.load().as_ref().map(|thread| Thread::clone(thread))
    }

    pub(super) fn report(&mut self) -> Option<Report> {
        self.reports.try_pop()
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread() {
            thread.unpark();
        }
    }
}

/// The thread's own side.
struct Worker {
    jobs: HeapCons<Job>,
    reports: HeapProd<Report>,
    seat: Arc<Seat>,
    thread: Arc<WorkerThread>,
}

/// Why a context is not used any longer.
enum End {
    /// The reactor has dropped its end.
    Dismissed,
    /// The engine returned an error. Whatever state that left the context in goes with it.
    Failed,
}

impl Worker {
    fn run(&mut self, engine: &dyn Engine) {
        loop {
            let made = catch_unwind(AssertUnwindSafe(|| engine.create_context()));
            let mut context = match made {
                Ok(Ok(context)) => context,
                Ok(Err(e)) => return self.tell(Report::NotMade(e.to_string())),
                Err(panic) => return self.tell(Report::NotMade(panic_text(&*panic))),
            };
            let mut end = End::Dismissed;
            let served = catch_unwind(AssertUnwindSafe(|| {
                context.enter(Box::new(|context| end = self.serve(engine.spec(), context)));
            }));
            match (served, end) {
                (Ok(()), End::Failed) => {}
                (Ok(()), End::Dismissed) => return,
                (Err(panic), _) => return self.tell(Report::Panicked(panic_text(&*panic))),
            }
        }
    }

    /// Runs jobs until the reactor drops its end or the engine returns an error.
    fn serve(&mut self, spec: &ModelSpec, context: &mut dyn ExecutionContext) -> End {
        self.introduce();
        loop {
            match self.jobs.try_pop() {
                Some(Job { mut work, batch }) => {
                    let result = run_batch(spec, context, &mut work, batch);
                    let failed = result.is_err();
                    self.tell(Report::Done { work, result });
                    if failed {
                        return End::Failed;
                    }
                }
                None if !self.jobs.write_is_held() => return End::Dismissed,
                None => thread::park(),
            }
        }
    }

    /// Makes this thread the one that is woken for jobs. It must look for them after this.
    fn introduce(&mut self) {
        self.thread.store(Some(Arc::new(thread::current())));
        fence(Ordering::SeqCst);
        self.tell(Report::Ready);
    }

    fn tell(&mut self, report: Report) {
        // Full only when the reactor has given this instance up and reads no more.
        let _ = self.reports.try_push(report);
        self.seat.attend();
    }
}

/// Runs one batch; what went wrong with single requests stands in them.
///
/// # Errors
/// The engine's own words when it is the engine that failed.
fn run_batch(
    spec: &ModelSpec,
    context: &mut dyn ExecutionContext,
    work: &mut [WorkItem],
    batch: BatchSize,
) -> Result<(), String> {
    gather(spec, context, work, batch);
    if work.iter().all(|item| item.error.is_some()) {
        return Ok(());
    }
    match context.execute(batch) {
        Ok(()) => scatter(spec, context, work, batch),
        Err(e) => match (e, work) {
            (EngineError::Input(text), [item]) => {
                item.error = Some(WorkError { outcome: Outcome::BadInput, text });
                Ok(())
            }
            (e, [_]) => Err(e.to_string()),
            (_, work) => run_one_by_one(spec, context, work),
        },
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
) -> Result<(), String> {
    let mut last_error = None;
    let mut succeeded = false;
    for item in work.iter_mut().filter(|item| item.error.is_none()) {
        let items = item.items;
        match run_batch(spec, context, slice::from_mut(item), items) {
            Ok(()) => succeeded |= item.error.is_none(),
            Err(text) => {
                last_error = Some(text.clone());
                item.error = Some(WorkError { outcome: Outcome::EngineFailed, text });
            }
        }
    }
    match last_error {
        Some(text) if !succeeded => Err(text),
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
) -> Result<(), String> {
    for (index, output) in spec.outputs.iter().enumerate() {
        if !work.iter().any(|item| item.payload.outputs.iter().any(|want| want.index == index)) {
            continue;
        }
        let tensor = context.take_output(index);
        if spec.batched && tensor.shape.first() != Some(&i64::from(batch.0)) {
            return Err(format!(
                "output '{}' has shape {:?} for a batch of {batch}: its first dimension must be \
                 the batch",
                output.name, tensor.shape
            ));
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

fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    format!("the engine panicked: {}", text.unwrap_or("without a message"))
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
        run_batch(&spec(), &mut context, work, batch)
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
