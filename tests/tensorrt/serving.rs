//! Plans are served: values, batches, types, several instances, and nothing is left behind.

use crate::support::{Appliance, Caller, Count, Kind, Mock, MockPlan, Version};
use bcedge::telemetry::snapshot::ModelState;

/// Serves `models` on the pretended machine, with more fields of config.ron.
pub fn serve(mock: &Mock, fields: &str, models: &str) -> Appliance {
    let fields = format!("{fields} models: [{models}]");
    Appliance::start_in("", &fields, |command| mock.set_environment(command))
}

/// An entry of config.ron's `models` for a plan.
pub fn model(name: &str, plan: &std::path::Path, fields: &str) -> String {
    format!("(name: \"{name}\", slo: Ms(60000), engine: Plan({plan:?}), {fields}),")
}

#[tokio::test]
async fn a_plan_is_served_by_every_version() {
    for version in Version::ALL {
        let mock = Mock::new(version);
        let folder = tempfile::tempdir().unwrap();
        let plan = MockPlan::double(version, 8, 2).write(folder.path(), "double");
        let appliance = serve(&mock, "", &model("double", &plan, ""));
        let caller = Caller::new(&appliance).await;
        let shown = caller.model("double").await;
        assert_eq!(shown.state, ModelState::Ready, "{version:?}\n{}", appliance.log());
        assert_eq!((shown.platform.as_str(), shown.max_batch), ("tensorrt_plan", 8));
        // One after the other, and many at once.
        for value in 0..20 {
            caller.infer("double", value as f32).await.expect("served");
        }
        let many: Vec<_> = (0..200).map(|value| caller.send("double", value as f32)).collect();
        let mut largest = 0;
        for called in many {
            largest = largest.max(called.answer().await.expect("served").batch);
        }
        assert!(largest > 1, "{version:?}: no batches");
        assert_eq!(mock.live(Kind::Engine), 1, "the weights are there once");
        assert!(mock.live(Kind::Context) >= 1 && mock.count(Count::Runs) > 20);
        drop(caller);
        let log = appliance.log();
        assert_eq!(appliance.stop().code(), Some(0), "{log}");
        mock.wait_until_empty();
    }
}
