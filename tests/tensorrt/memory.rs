//! Device memory: the budget with its figures, and scratch memory that instances share.

use crate::serving::{burst, model, serve, stop};
use crate::support::{Caller, Count, Kind, Mock, MockPlan, Version};
use bcedge::client::Client;
use bcedge::telemetry::snapshot::{ModelSnapshot, ModelState};
use bcedge::telemetry::{Command, Snapshot};
use std::path::Path;

const MIB: i64 = 1 << 20;

/// A plan with so many MiB of scratch memory and weights.
fn heavy(version: Version, scratch_mib: i64, weights_mib: i64) -> MockPlan {
    let elements = crate::support::ELEMENTS as i64;
    let plan = MockPlan::new(version)
        .input("INPUT0", 0, &[-1, elements])
        .output("OUTPUT0", 0, &[-1, elements])
        .line(&format!("scratch {}", scratch_mib * MIB))
        .line(&format!("weights {}", weights_mib * MIB));
    (0..4).fold(plan, |plan, _| plan.line("profile 1 4 4"))
}

async fn failure(caller: &Caller, name: &str) -> String {
    let failed = |m: &ModelSnapshot| matches!(m.state, ModelState::Failed(_));
    match caller.model_when(name, failed).await.state {
        ModelState::Failed(reason) => reason,
        other => panic!("{name}: {other:?}"),
    }
}

#[tokio::test]
async fn a_plan_that_does_not_fit_is_refused_with_the_figures() {
    for version in Version::ALL {
        let folder = tempfile::tempdir().unwrap();
        let weights = heavy(version, 1, 60).write(folder.path(), "weights");
        let scratch = heavy(version, 60, 1).write(folder.path(), "scratch");
        let fits = heavy(version, 1, 1).write(folder.path(), "fits");
        let models = model("weights", &weights, "load: false")
            + &model("scratch", &scratch, "load: false")
            + &model("fits", &fits, "max_instances: 1");
        // By the configuration, and by what the machine has.
        for (mock, fields, source) in [
            (Mock::new(version), "gpu: (memory_mib: 40),", "`gpu: (memory_mib: …)` in config.ron"),
            (Mock::new(version).with("MOCK_MEMORY_MIB", 40), "", "what was free at the start"),
        ] {
            let appliance = serve(&mock, fields, &models);
            let caller = Caller::new(&appliance).await;
            for name in ["weights", "scratch"] {
                let load = bcedge::telemetry::Command::Load { model: name.into() };
                caller.client.command(&load).await.expect_err("it does not fit");
            }
            let text = failure(&caller, "scratch").await;
            for part in ["scratch memory needs 60 MiB", "of the 40 MiB", source, "max_instances"] {
                assert!(text.contains(part), "{version:?}: {part:?} is not in: {text}");
            }
            let text = failure(&caller, "weights").await;
            // TensorRT itself says so where the plan's file does not show it.
            let either = text.contains("needs 60 MiB") || text.contains("could not be allocated");
            assert!(either && text.contains("weights/model.plan"), "{version:?}: {text}");
            burst(&caller, "fits", 50).await;
            assert!(mock.count(Count::DeviceBytes) < 10 * MIB, "{version:?}: it was given back");
            stop(&mock, appliance).await;
        }
    }
}

#[tokio::test]
async fn an_instance_that_does_not_fit_is_refused_and_the_others_serve() {
    for version in Version::ALL {
        let folder = tempfile::tempdir().unwrap();
        // 4 MiB of input and output an item, twice, make the second instance too much.
        let plan = MockPlan::new(version)
            .input("INPUT0", 0, &[-1, 16])
            .output("OUTPUT0", 0, &[-1, 16])
            .input("ballast", 5, &[-1, 1 << 20])
            .line("profile 1 4 4")
            .line("profile 1 4 4")
            .write(folder.path(), "large");
        let mock = Mock::new(version);
        let fields = "gpu: (memory_mib: 16),";
        let policy = "max_batch: 4, max_instances: 2, policy: Fixed(batch: 4, instances: 2)";
        let appliance = serve(&mock, fields, &model("large", &plan, policy));
        let caller = Caller::new(&appliance).await;
        let one_is_refused = |m: &ModelSnapshot| m.counters.replaced > 0 && m.instances_alive == 1;
        let shown = caller.model_when("large", one_is_refused).await;
        assert_eq!(shown.state, ModelState::Ready);
        let log = appliance.log();
        for part in ["tensor 'ballast' at batch 4 needs 4 MiB", "of the 16 MiB"] {
            assert!(log.contains(part), "{part:?} is not in: {log}");
        }
        stop(&mock, appliance).await;
    }
}

async fn scratch(client: &Client) -> (i64, i64) {
    let snapshot: Snapshot = client.snapshot().await.expect("a snapshot");
    (snapshot.device.scratch_bytes as i64, snapshot.device.scratch_separate_bytes as i64)
}

/// Three models, of one instance each, to be loaded.
fn three(version: Version, folder: &Path) -> String {
    [("small", 2), ("middle", 8), ("large", 32)]
        .map(|(name, scratch_mib)| {
            let plan = heavy(version, scratch_mib, 1).write(folder, name);
            model(name, &plan, "max_instances: 1, load: false")
        })
        .concat()
}

#[tokio::test]
async fn contexts_that_do_not_run_together_share_scratch_memory() {
    for version in Version::ALL {
        let folder = tempfile::tempdir().unwrap();
        let mock = Mock::new(version);
        let appliance = serve(&mock, "", &three(version, folder.path()));
        let caller = Caller::new(&appliance).await;
        // One after the other: each is measured while it is loaded, and takes scratch memory for it.
        for name in ["small", "middle", "large"] {
            let load = Command::Load { model: name.into() };
            caller.client.command(&load).await.expect("it loads");
        }
        for name in ["small", "middle", "large"].iter().cycle().take(30) {
            caller.infer(name, 2.0).await.expect("served");
        }
        let (bytes, separate) = scratch(&caller.client).await;
        assert_eq!((bytes / MIB, separate / MIB), (32, 42), "{version:?}");
        assert!(appliance.log().contains("MiB less than one for each"));
        // Together they get what they need, and never more than each its own. Two runs in one block
        // end the mock.
        mock.set_run_us(2_000);
        for _ in 0..3 {
            tokio::join!(
                burst(&caller, "small", 60),
                burst(&caller, "middle", 60),
                burst(&caller, "large", 60)
            );
        }
        let (bytes, separate) = scratch(&caller.client).await;
        assert!(bytes <= separate, "{version:?}: {bytes} of {separate}");
        assert!(mock.count(Count::MostRunsAtOnce) > 1, "{version:?}");
        stop(&mock, appliance).await;
    }
}

#[tokio::test]
async fn where_memory_is_short_runs_wait_for_each_others_scratch_memory() {
    for version in Version::ALL {
        let folder = tempfile::tempdir().unwrap();
        // The weights, the buffers, and one block of the largest size: no room for a second one.
        let mock = Mock::new(version).with("MOCK_MEMORY_MIB", 56);
        let policy = "max_instances: 3, policy: Fixed(batch: 4, instances: 3)";
        let plan = heavy(version, 30, 1).write(folder.path(), "large");
        let appliance = serve(&mock, "", &model("large", &plan, policy));
        let caller = Caller::new(&appliance).await;
        caller.model_when("large", |m| m.instances_alive == 3).await;
        mock.set_run_us(1_000);
        for _ in 0..3 {
            burst(&caller, "large", 60).await;
        }
        assert_eq!(mock.count(Count::MostRunsAtOnce), 1, "{version:?}");
        let (bytes, separate) = scratch(&caller.client).await;
        assert_eq!((bytes / MIB, separate / MIB), (30, 90), "{version:?}");
        assert_eq!(mock.live(Kind::Engine), 1);
        stop(&mock, appliance).await;
    }
}
