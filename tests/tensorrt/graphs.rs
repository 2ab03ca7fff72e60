//! CUDA graphs, and copies beside runs. The mock ends the process when a graph is launched whose
//! context, memory or shapes are not what they were.

use crate::serving::{burst, model, serve, stop};
use crate::support::{Caller, Count, Kind, Mock, MockPlan, Version};
use std::path::Path;

fn plan(version: Version, folder: &Path, profiles: u32) -> std::path::PathBuf {
    MockPlan::double(version, 8, profiles).write(folder, "double")
}

#[tokio::test]
async fn a_batch_size_that_comes_often_is_recorded_and_launched() {
    for version in Version::ALL {
        let folder = tempfile::tempdir().unwrap();
        let mock = Mock::new(version);
        // For TensorRT 8: one for the instance, and two for graphs.
        let plan = plan(version, folder.path(), 3);
        let appliance = serve(&mock, "", &model("double", &plan, "max_instances: 1"));
        let caller = Caller::new(&appliance).await;
        for round in 0..60 {
            burst(&caller, "double", 1 + round % 20).await;
        }
        let (captures, launches) = (mock.count(Count::Captures), mock.count(Count::GraphLaunches));
        assert!(captures > 1 && launches > 20, "{version:?}: {captures} {launches}");
        assert!(launches < mock.count(Count::Runs));
        stop(&mock, appliance).await;
    }
}

#[tokio::test]
async fn a_plan_that_can_not_be_recorded_runs_without() {
    for version in Version::ALL {
        let folder = tempfile::tempdir().unwrap();
        let mock = Mock::new(version);
        let plan = MockPlan::double(version, 8, 3).line("option nograph");
        let plan = plan.write(folder.path(), "double");
        let appliance = serve(&mock, "", &model("double", &plan, "max_instances: 1"));
        let caller = Caller::new(&appliance).await;
        for _ in 0..30 {
            burst(&caller, "double", 9).await;
        }
        assert_eq!((mock.count(Count::Captures), mock.count(Count::GraphLaunches)), (0, 0));
        let log = appliance.log();
        assert!(log.contains("not recorded as CUDA graphs: the plan can't be recorded"), "{log}");
        stop(&mock, appliance).await;
    }
}

#[tokio::test]
async fn graphs_can_be_switched_off() {
    let folder = tempfile::tempdir().unwrap();
    let mock = Mock::new(Version::V10);
    let plan = plan(Version::V10, folder.path(), 1);
    let appliance = serve(&mock, "gpu: (graphs: false),", &model("double", &plan, ""));
    let caller = Caller::new(&appliance).await;
    for _ in 0..30 {
        burst(&caller, "double", 9).await;
    }
    assert_eq!((mock.count(Count::Captures), mock.count(Count::GraphLaunches)), (0, 0));
    stop(&mock, appliance).await;
}

#[tokio::test]
async fn a_graph_is_used_only_with_the_scratch_memory_it_was_recorded_with() {
    for version in Version::ALL {
        let folder = tempfile::tempdir().unwrap();
        let mock = Mock::new(version);
        // Two models of different needs take each other's blocks.
        let models = [("one", 65_536), ("two", 1 << 20)].map(|(name, scratch)| {
            let elements = crate::support::ELEMENTS as i64;
            let plan = MockPlan::new(version)
                .input("INPUT0", 0, &[-1, elements])
                .output("OUTPUT0", 0, &[-1, elements])
                .line(&format!("scratch {scratch}"));
            let plan = (0..6).fold(plan, |plan, _| plan.line("profile 1 8 8"));
            model(name, &plan.write(folder.path(), name), "max_instances: 2")
        });
        let appliance = serve(&mock, "", &models.concat());
        let caller = Caller::new(&appliance).await;
        mock.set_run_us(200);
        for round in 0..25 {
            tokio::join!(burst(&caller, "one", 30 + round), burst(&caller, "two", 30));
            burst(&caller, "one", 8).await;
        }
        assert!(mock.count(Count::GraphLaunches) > 0, "{version:?}");
        stop(&mock, appliance).await;
    }
}

/// One instance alone: the copies of its next batch go beside the run of this one.
#[tokio::test]
async fn the_next_batch_is_copied_while_this_one_runs() {
    for version in Version::ALL {
        let folder = tempfile::tempdir().unwrap();
        let mock = Mock::new(version);
        let plan = plan(version, folder.path(), 3);
        let policy = "max_instances: 1, max_batch: 4, policy: Fixed(batch: 4, instances: 1)";
        let appliance = serve(&mock, "", &model("double", &plan, policy));
        let caller = Caller::new(&appliance).await;
        // Long enough for the rest of the way, on however loaded a machine.
        mock.set_run_us(50_000);
        burst(&caller, "double", 40).await;
        let beside = mock.count(Count::CopiesBesideARun);
        assert!(beside >= 7, "{version:?}: {beside} of about 10 copies");
        assert_eq!(mock.count(Count::MostRunsAtOnce), 1, "runs of one instance never overlap");
        stop(&mock, appliance).await;
    }
}

/// A model that hangs takes the batch that it was given ahead with it, and comes back.
#[tokio::test]
async fn a_hung_instance_loses_the_batch_that_was_made_ready_too() {
    let folder = tempfile::tempdir().unwrap();
    let mock = Mock::new(Version::V10);
    let plan = plan(Version::V10, folder.path(), 1);
    let policy = "max_instances: 1, max_batch: 4, policy: Fixed(batch: 4, instances: 1)";
    let fields = "scheduler: (hang_floor_ms: 300),";
    let appliance = serve(&mock, fields, &model("double", &plan, policy));
    let caller = Caller::new(&appliance).await;
    burst(&caller, "double", 20).await;
    mock.set_run_us(2_000_000);
    let many: Vec<_> = (0..8).map(|value| caller.send("double", value as f32)).collect();
    let mut lost = 0;
    for called in many {
        lost += u32::from(called.answer().await.is_err());
    }
    assert_eq!(lost, 8, "all of both batches are answered");
    mock.set_run_us(0);
    caller.model_when("double", |m| m.instances_alive == 1).await;
    burst(&caller, "double", 40).await;
    // The one that was given up ends when its runs do.
    mock.wait_until("one instance is left", || mock.live(Kind::Stream) == 3);
    stop(&mock, appliance).await;
}
