//! The thread that reads the device's sensors, and tells the reactor when its speed has changed.

use super::{Notice, Stop};
use crate::server::gateway::Gateway;
use crate::telemetry::device::{DeviceMonitor, Sources, SpeedWatch};
use crate::telemetry::snapshot::DeviceSnapshot;
use arc_swap::ArcSwap;
use std::sync::{Arc, mpsc};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// How often the sensors are read.
const PERIOD: Duration = Duration::from_secs(1);

/// Samples go to `device`, changes of the device's speed to the reactor.
///
/// # Errors
/// When the system gives no more threads.
pub(super) fn spawn(
    machine: Sources,
    device: Arc<ArcSwap<DeviceSnapshot>>,
    (notices, gateway): (mpsc::Sender<Notice>, Arc<Gateway>),
    stop: Arc<Stop>,
) -> std::io::Result<JoinHandle<()>> {
    thread::Builder::new().name("monitor".into()).spawn(move || {
        let mut monitor = DeviceMonitor::of(&machine);
        let mut speed = SpeedWatch::default();
        let start = Instant::now();
        while !stop.is_requested() {
            let now = start.elapsed().into();
            let sample = monitor.sample(now);
            let events = speed.observe(&sample, now);
            device.store(Arc::new(sample));
            for event in events {
                // Fails only when the reactor has ended, and all else ends with it.
                let _ = notices.send(Notice::Device(event));
                gateway.wake_reactor();
            }
            thread::sleep(PERIOD);
        }
    })
}
