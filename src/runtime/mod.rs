//! The live driver: threads, clocks and signals around the pure pipeline.
//!
//! ```text
//! ingress (tokio, all sockets) ══ring══► reactor (Pipeline::step) ══ring══► instance threads
//!                              ◄══ring══                          ◄══ring══
//! ```

mod batch;
mod brain;
mod commands;
mod failures;
mod fleet;
mod instance;
mod learner;
mod loader;
mod monitor;
mod reactor;
mod seat;
mod status;
mod watch;

use crate::config::{Admission, Config};
use crate::pipeline::{ModelSettings, Pipeline, Settings};
use crate::scheduler;
use crate::scheduler::trained::Trained;
use crate::server::{self, gateway::Gateway};
use crate::telemetry::device::{DeviceEvent, Sources};
use crate::telemetry::log::LogBuffer;
use crate::telemetry::snapshot::{ApplianceState, DeviceSnapshot};
use crate::units::{ModelId, Nanos};
use arc_swap::ArcSwap;
use brain::Brain;
use fleet::Fleet;
use loader::LoadReport;
pub use loader::{predictor, slo};
use reactor::Reactor;
use seat::Seat;
use status::Status;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock, mpsc};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio::runtime::Runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Requests that may be in the appliance at once, over all connections and models.
const MAX_OUTSTANDING: usize = 8192;
/// A process whose device is lost ends within this time, one way or the other.
const LAST_RESORT: Duration = Duration::from_secs(30);
/// Of the time to drain, the share after which requests are answered with an error, so that the
/// answers still reach their clients.
const ABORT_SHARE: f64 = 0.8;

/// To the reactor, from the appliance's owner and from the thread that watches the device.
#[derive(Debug)]
enum Notice {
    Device(DeviceEvent),
    Drain,
    Abort,
    Stop,
}

/// What reaches the reactor besides requests: wishes of the appliance, news of the device, and
/// engines as they load.
struct Channels {
    stop: Arc<Stop>,
    notices: mpsc::Receiver<Notice>,
    /// For the loaders that the reactor starts.
    load_sender: mpsc::Sender<LoadReport>,
    load_reports: mpsc::Receiver<LoadReport>,
}

/// A running appliance.
pub struct Appliance {
    gateway: Arc<Gateway>,
    notices: mpsc::Sender<Notice>,
    ingress: JoinHandle<Result<(), String>>,
    reactor: JoinHandle<Result<(), String>>,
    stop: Arc<Stop>,
    drain_timeout: Duration,
}

/// The wish to stop: by a signal, by the owner, or because the ingress failed.
#[derive(Debug, Default)]
struct Stop {
    wanted: AtomicBool,
    notify: tokio::sync::Notify,
    /// The device failed in a way that only a new process recovers from, and how.
    device_lost: OnceLock<String>,
}

impl Stop {
    fn request(&self) {
        self.wanted.store(true, Ordering::Release);
        self.notify.notify_one();
    }

    /// Asks for a stop because the device is lost. True for the first to say so.
    fn fail(&self, text: &str) -> bool {
        let first = self.device_lost.set(text.to_owned()).is_ok();
        self.request();
        if first {
            // A thread that hangs in the driver must not keep the process from being started anew.
            let last_resort = || {
                thread::sleep(LAST_RESORT);
                eprintln!("bcedge: the device is lost and the process does not end by itself");
                std::process::abort();
            };
            // Without a thread for it, whoever supervises the process has to look after that.
            let _ = thread::Builder::new().name("last resort".into()).spawn(last_resort);
        }
        first
    }

    fn is_requested(&self) -> bool {
        self.wanted.load(Ordering::Acquire)
    }
}

impl Appliance {
    /// Binds the socket, starts all threads and begins to load the models; returns at once.
    /// Models become ready one by one, a model that can't be loaded is shown as failed.
    ///
    /// # Errors
    /// When the socket can't be bound or the system gives no more threads or file descriptors.
    pub fn start(config: Config, log: LogBuffer) -> Result<Appliance, String> {
        Appliance::start_on(&Sources::default(), config, log)
    }

    /// As [`Appliance::start`], on the machine that these sources tell of.
    ///
    /// # Errors
    /// As [`Appliance::start`].
    pub fn start_on(
        machine: &Sources,
        config: Config,
        log: LogBuffer,
    ) -> Result<Appliance, String> {
        let config = Arc::new(config);
        let os = |e: std::io::Error| format!("cannot start: {e}");
        let (gateway, port) = server::gateway::pair(MAX_OUTSTANDING).map_err(os)?;
        let stop = Arc::new(Stop::default());
        let runtime = gateway.runtime().map_err(os)?;
        // Caught before there is a file that a signal could leave behind.
        let signals = catch_signals(&runtime);
        // Bound before anything is loaded; served last, since on an early return only a listener
        // that is still here takes its file with it.
        let listener = server::Listener::bind(config.socket.clone()).map_err(|e| e.to_string())?;

        let device = Arc::new(ArcSwap::from_pointee(DeviceSnapshot::default()));
        let (notices, notices_end) = mpsc::channel();
        let (load_sender, load_reports) = mpsc::channel();
        let wanted = (0..config.models.len() as u16).map(ModelId);
        let wanted = wanted.filter(|model| config.models[model.index()].load).collect();
        loader::load(&config, wanted, &load_sender, &port.reactor_bell).map_err(os)?;
        let brain = Brain::start(&config).map_err(os)?;
        let status = Status::new(&config, &port, log.clone(), device.clone());
        let fleet = Fleet::new(config.models.iter().map(|m| m.name.clone()));
        let attend = port.attend.clone();
        let reactor = Reactor::new(
            port,
            pipeline(&config, &brain.trained),
            fleet,
            status,
            config.clone(),
            Channels { stop: stop.clone(), notices: notices_end, load_sender, load_reports },
            brain,
        );
        let seat = Seat::new(reactor);
        // Nobody else sets it.
        let _ = attend.set(Box::new({
            let seat = seat.clone();
            move || seat.attend()
        }));
        let reactor =
            thread::Builder::new().name("reactor".into()).spawn(move || seat.run()).map_err(os)?;
        monitor::spawn(machine.clone(), device, (notices.clone(), gateway.clone()), stop.clone())
            .map_err(os)?;
        let stopped = wait_for_stop(signals, stop.clone());
        let ingress = spawn_ingress(runtime, listener, &gateway, stopped, &log).map_err(os)?;
        let drain_timeout = Duration::from_millis(config.socket.drain_timeout_ms);
        Ok(Appliance { gateway, notices, ingress, reactor, stop, drain_timeout })
    }

    /// For snapshots and commands.
    pub fn gateway(&self) -> &Arc<Gateway> {
        &self.gateway
    }

    /// Waits until every model is ready or has failed, or a stop is requested.
    pub fn wait_until_settled(&self) {
        while self.gateway.snapshot().state == ApplianceState::Starting && !self.stop_requested() {
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// True after SIGTERM, SIGINT, [`Appliance::request_stop`], or when the socket failed.
    pub fn stop_requested(&self) -> bool {
        self.stop.is_requested() || self.ingress.is_finished() || self.reactor.is_finished()
    }

    /// Asks for a shutdown, as SIGTERM does.
    pub fn request_stop(&self) {
        self.stop.request();
    }

    /// Why the process can't use its device any longer, if so. A new process may be able to.
    pub fn device_lost(&self) -> Option<String> {
        self.stop.device_lost.get().cloned()
    }

    /// Shuts down: nothing new is accepted, what was accepted gets the drain time to finish, the
    /// rest is answered with UNAVAILABLE.
    ///
    /// # Errors
    /// What the socket failed with, or that the reactor panicked.
    pub fn shut_down(self) -> Result<(), String> {
        self.stop.request();
        // Sending fails only when the reactor is gone, which `join` below reports.
        let _ = self.notices.send(Notice::Drain);
        self.gateway.wake_reactor();
        let abort_at = Instant::now() + self.drain_timeout.mul_f64(ABORT_SHARE);
        while !self.ingress.is_finished() && Instant::now() < abort_at {
            thread::sleep(Duration::from_millis(5));
        }
        let _ = self.notices.send(Notice::Abort);
        self.gateway.wake_reactor();
        let served = join(self.ingress, "ingress");
        let _ = self.notices.send(Notice::Stop);
        self.gateway.wake_reactor();
        join(self.reactor, "reactor")??;
        served?
    }
}

/// Milliseconds since 1970, for showing the time of day.
pub fn unix_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64
}

fn join<T>(thread: JoinHandle<T>, name: &str) -> Result<T, String> {
    thread.join().map_err(|_| format!("the {name} thread panicked; the log says where"))
}

fn pipeline(config: &Config, trained: &Trained) -> Pipeline {
    let scheduler = &config.scheduler;
    let settings = Settings {
        slot: Nanos::from_millis(scheduler.slot_ms),
        feasible_only: scheduler.admission == Admission::Feasible,
        hang_factor: scheduler.hang_factor,
        hang_floor: Nanos::from_millis(scheduler.hang_floor_ms),
    };
    let models: Vec<ModelSettings> = config
        .models
        .iter()
        .map(|m| ModelSettings { slo: Nanos::from_millis(1_000), queue_bound: m.queue_bound })
        .collect();
    let policies = config.models.iter();
    let policies = policies
        .map(|m| scheduler::make_with(m.policy.as_ref().unwrap_or(&config.policy), trained))
        .collect();
    Pipeline::new(settings, &models, policies)
}

/// The thread that owns all sockets, and the signals.
fn spawn_ingress(
    runtime: Runtime,
    listener: server::Listener,
    gateway: &Arc<Gateway>,
    stopped: impl Future<Output = ()> + Send + 'static,
    log: &LogBuffer,
) -> std::io::Result<JoinHandle<Result<(), String>>> {
    let mut listener = listener;
    if let Some(level) = log.level() {
        let log = log.clone();
        listener = listener.on_log_level(level, Box::new(move |level| log.set_level(level)));
    }
    let gateway = gateway.clone();
    let serve = move || {
        runtime.block_on(async move {
            let delivery = tokio::spawn(gateway.clone().run());
            let served = listener.serve(gateway, stopped).await;
            delivery.abort();
            served.map_err(|e| e.to_string())
        })
    };
    thread::Builder::new().name("ingress".into()).spawn(serve)
}

/// SIGTERM, SIGINT and SIGHUP (the terminal is gone); `None` when they can't be caught.
fn catch_signals(runtime: &Runtime) -> Option<[Signal; 3]> {
    let _inside = runtime.enter();
    let kinds = [SignalKind::terminate(), SignalKind::interrupt(), SignalKind::hangup()];
    let [Ok(terminate), Ok(interrupt), Ok(hang_up)] = kinds.map(signal) else {
        tracing::warn!("signals can't be caught: SIGTERM will end the process without draining");
        return None;
    };
    Some([terminate, interrupt, hang_up])
}

/// One of those signals, or a request from inside the process.
async fn wait_for_stop(signals: Option<[Signal; 3]>, stop: Arc<Stop>) {
    let Some([mut terminate, mut interrupt, mut hang_up]) = signals else {
        return stop.notify.notified().await;
    };
    tokio::select! {
        _ = terminate.recv() => tracing::info!("SIGTERM: shutting down"),
        _ = interrupt.recv() => tracing::info!("SIGINT: shutting down"),
        _ = hang_up.recv() => tracing::info!("SIGHUP: shutting down"),
        () = stop.notify.notified() => {}
    }
    stop.request();
}
