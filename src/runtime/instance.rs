//! One thread per model instance, and the two rings between it and the reactor.

use super::batch::{Job, UnderWay, WorkItem};
use super::seat::Seat;
use crate::engine::{Engine, EngineError, ExecutionContext};
use arc_swap::ArcSwapOption;
use ringbuf::traits::{Consumer, Observer, Producer, Split};
use ringbuf::{HeapCons, HeapProd, HeapRb};
use std::any::Any;
use std::collections::VecDeque;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{Ordering, fence};
use std::sync::{Arc, Weak};
use std::thread::{self, Thread};
use std::time::Duration;

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
    /// The device can't be used any more, by anybody in this process; the thread has ended.
    DeviceLost(String),
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

/// Jobs that an instance may have at once: one that runs and one that is made ready.
const JOBS: usize = 2;
/// Ready, one report per job, and how the thread ended.
const REPORTS: usize = JOBS + 4;
/// While a run is under way on a device, the thread looks at it this often even if nobody wakes it:
/// a device that has failed may not.
const LOOK_PERIOD: Duration = Duration::from_millis(50);

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
        let (jobs, job_end) = HeapRb::new(JOBS).split();
        let (report_end, reports) = HeapRb::new(REPORTS).split();
        let worker = Arc::new(WorkerThread::empty());
        let mut side = Worker { jobs: job_end, reports: report_end, seat, thread: worker.clone() };
        // Linux shows 15 characters of a thread's name.
        let name: String = name.chars().take(15).collect();
        let run = move || {
            side.run(&*engine);
            // Who sees this side gone may end the process: the engine goes first.
            drop(engine);
            drop(side);
        };
        thread::Builder::new().name(name).spawn(run)?;
        Ok(Instance { jobs: Some(jobs), reports, worker })
    }

    /// Hands over a batch; returns the thread that is to be woken for it, `None` when it looks by
    /// itself. The pipeline gives an instance no more than it can have, so there is room.
    pub(super) fn start(&mut self, job: Job) -> Option<Thread> {
        if let Some(jobs) = &mut self.jobs {
            let room = jobs.try_push(job);
            debug_assert!(room.is_ok(), "no more jobs than there is room for");
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
    /// The device can't be used any more.
    DeviceLost(String),
}

impl Worker {
    fn run(&mut self, engine: &dyn Engine) {
        loop {
            let made = catch_unwind(AssertUnwindSafe(|| engine.create_context()));
            let mut context = match made {
                Ok(Ok(context)) => context,
                Ok(Err(EngineError::DeviceLost(text))) => {
                    return self.tell(Report::DeviceLost(text));
                }
                Ok(Err(e)) => return self.tell(Report::NotMade(e.to_string())),
                Err(panic) => return self.tell(Report::NotMade(panic_text(&*panic))),
            };
            let mut end = End::Dismissed;
            let served = catch_unwind(AssertUnwindSafe(|| {
                context.enter(Box::new(|context| end = self.serve(engine, context)));
            }));
            match (served, end) {
                (Ok(()), End::Failed) => {}
                (Ok(()), End::Dismissed) => return,
                (Ok(()), End::DeviceLost(text)) => return self.tell(Report::DeviceLost(text)),
                (Err(panic), _) => return self.tell(Report::Panicked(panic_text(&*panic))),
            }
        }
    }

    /// Runs jobs until the reactor drops its end or the engine returns an error.
    fn serve(&mut self, engine: &dyn Engine, context: &mut dyn ExecutionContext) -> End {
        let spec = engine.spec();
        let limit = engine.batches_per_instance().min(JOBS);
        let mut under_way: VecDeque<UnderWay> = VecDeque::with_capacity(JOBS);
        self.introduce();
        loop {
            // Behind one that could not be started nothing is: its end comes first.
            while under_way.len() < limit
                && under_way.iter().all(UnderWay::is_sound)
                && let Some(job) = self.jobs.try_pop()
            {
                under_way.push_back(UnderWay::begin(spec, context, job));
            }
            match under_way.front() {
                Some(oldest) if oldest.has_ended(context) => {
                    if let Some(end) = self.end_oldest(engine, context, &mut under_way) {
                        return end;
                    }
                }
                // Woken by the next job or the end of this one.
                Some(_) => thread::park_timeout(LOOK_PERIOD),
                None if !self.jobs.write_is_held() => return End::Dismissed,
                None => thread::park(),
            }
        }
    }

    /// Ends the oldest job and reports it; after a failure also those behind it.
    fn end_oldest(
        &mut self,
        engine: &dyn Engine,
        context: &mut dyn ExecutionContext,
        under_way: &mut VecDeque<UnderWay>,
    ) -> Option<End> {
        let spec = engine.spec();
        let mut ended = VecDeque::with_capacity(1);
        while let Some(mut oldest) = under_way.pop_front() {
            oldest.end(spec, context);
            let sound = oldest.is_sound();
            ended.push_back(oldest);
            if sound && ended.len() == 1 {
                break;
            }
        }
        let mut end = None;
        for job in ended {
            let (work, result) = job.settle(spec, context);
            let result = match result {
                Ok(()) => Ok(()),
                Err(EngineError::DeviceLost(text)) => return Some(End::DeviceLost(text)),
                Err(error) => {
                    end = Some(End::Failed);
                    Err(error.to_string())
                }
            };
            self.tell(Report::Done { work, result });
        }
        end
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

fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    format!("the engine panicked: {}", text.unwrap_or("without a message"))
}
