//! A running appliance hears of its device.

use super::{NO_LIBRARY, trees};
use bcedge::config::Config;
use bcedge::runtime::Appliance;
use bcedge::telemetry::device::Sources;
use bcedge::telemetry::log::LogBuffer;
use bcedge::telemetry::snapshot::Level;
use std::fs;
use std::thread::sleep;
use std::time::{Duration, Instant};

#[test]
fn the_event_line_tells_of_another_power_mode() {
    let tree = trees::orin();
    let folder = tempfile::Builder::new().prefix("bce").tempdir_in("/tmp").unwrap();
    let file = folder.path().join("config.ron");
    let socket = folder.path().join("a.sock");
    let text =
        format!("(socket: (path: {socket:?}), models: [(name: \"a\", engine: Synthetic(()))])",);
    fs::write(&file, text).unwrap();
    let machine = Sources { root: tree.root().to_path_buf(), nvml: NO_LIBRARY.into() };
    let config = Config::load(&file).unwrap();
    let appliance = Appliance::start_on(&machine, config, LogBuffer::default()).unwrap();
    let wait_for = |what: &str, done: &dyn Fn() -> bool| {
        let until = Instant::now() + Duration::from_secs(30);
        while !done() {
            let snapshot = appliance.gateway().snapshot();
            assert!(Instant::now() < until, "{what}: {:?} {:?}", snapshot.device, snapshot.events);
            sleep(Duration::from_millis(20));
        }
    };
    let snapshot = || appliance.gateway().snapshot();
    let mode = || snapshot().device.jetson.as_ref().and_then(|jetson| jetson.power_mode.clone());
    wait_for("a first sample", &|| mode().as_deref() == Some("25W"));
    tree.set("var/lib/nvpmodel/status", "pmode:0000");
    wait_for("the event", &|| {
        snapshot()
            .events
            .iter()
            .any(|event| event.level == Level::Info && event.text == "power mode 25W → 15W")
    });
    assert_eq!(mode().as_deref(), Some("15W"));
    appliance.shut_down().unwrap();
}
