//! `bcedge evaluate` as a user runs it.

use serde_json::Value;
use std::path::Path;
use std::process::{Command, Output};

fn evaluate(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bcedge"));
    command.arg("evaluate").args(arguments).output().unwrap()
}

/// One small cell on each of two platforms.
const SMALL: [&str; 8] = [
    "--quick",
    "--platforms=nano,orin_nano",
    "--loads=steady 0.6",
    "--policies=fixed,triton,deadline",
    "--subject=deadline",
    "--slos=tight",
    "--runs=2",
    "--seed=9",
];

fn json_of(more: &[&str], folder: &Path) -> Value {
    let path = folder.join("suite.json");
    let argument = format!("--json={}", path.display());
    let output = evaluate(&[&SMALL[..], &[argument.as_str()], more].concat());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

/// Decision times are measured, so no two runs agree on them.
fn without_times(mut json: Value) -> Value {
    let cells = json["cells"].as_array_mut().unwrap();
    for row in cells.iter_mut().flat_map(|cell| cell["rows"].as_array_mut().unwrap()) {
        assert!(row["decision"]["us_mean"].as_f64().unwrap() > 0.0);
        row.as_object_mut().unwrap().remove("decision");
    }
    json
}

#[test]
fn the_json_has_every_cell_and_the_summary_and_repeats_bit_for_bit() {
    let folder = tempfile::tempdir().unwrap();
    let one = without_times(json_of(&["--threads=1"], folder.path()));
    let two = without_times(json_of(&["--threads=2"], folder.path()));
    assert_eq!(one, two);
    let cells = one["cells"].as_array().unwrap();
    assert_eq!(cells.len(), 2);
    let row = &cells[1]["rows"][2];
    assert_eq!(row["policy"], "deadline");
    for figure in [
        "utility",
        "goodput_per_s",
        "slo_hit_rate",
        "worst_hit_rate",
        "latency_ms_p50",
        "latency_ms_p99",
        "memory_mib",
        "memory_copies_mib",
    ] {
        assert!(row[figure].as_f64().unwrap() > 0.0, "{figure}: {row}");
    }
    assert_eq!(cells[0]["modelled"], true);
    assert!(one["summary"]["deadline_over_rival"]["fixed"]["value"].is_number());
    assert_eq!(one["summary"]["deadline_starved_cells"]["target"]["at_most"], 0.0);
    let published = one["published"].as_array().unwrap();
    assert!(published.iter().all(|p| p["error"].is_number() && p["source"].is_string()));
}

#[test]
fn another_seed_gives_other_figures_and_the_page_shows_the_ablations() {
    let folder = tempfile::tempdir().unwrap();
    let report = format!("--report={}", folder.path().join("page").display());
    let arguments = [&SMALL[..7], &["--seed=10", "--ablation", &report]].concat();
    let output = evaluate(&arguments);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{text}");
    for wanted in [
        "modelled platforms against published TensorRT figures",
        "nano (modelled) · tight SLOs · steady 0.6",
        "utility with admission over utility without it",
        "utility with deadline order over utility without it",
        "deadline_starved_cells",
    ] {
        assert!(text.contains(wanted), "{wanted}\n{text}");
    }
    let page = std::fs::read_to_string(folder.path().join("page/index.html")).unwrap();
    assert!(page.contains("What deadline order is worth") && page.contains("</html>"));
    let left: Vec<_> = std::fs::read_dir(folder.path().join("page")).unwrap().collect();
    assert_eq!(left.len(), 1, "no temporary file is left: {left:?}");
}

#[test]
fn what_is_wrong_is_told_before_anything_runs() {
    let folder = tempfile::tempdir().unwrap();
    let scenario = folder.path().join("mine.ron");
    std::fs::write(&scenario, "(\n    platforms: [Named(\"nano\")],\n    largest_batch: 0,\n)")
        .unwrap();
    let scenario = format!("--scenario={}", scenario.display());
    let cases: [(&[&str], &str); 7] = [
        (&["--platforms=jetson"], "there is no platform 'jetson'; there are nano, tx2"),
        (&["--policies=magic"], "there is no policy 'magic'"),
        (&[&scenario], "mine.ron:3:20"),
        (&[&scenario], "expected an integer from 1 to 128"),
        (&["--scenario=nowhere.ron"], "nowhere.ron"),
        (&["--json=/proc/none/suite.json"], "/proc/none"),
        (&["--report=/proc/none"], "/proc/none"),
    ];
    for (arguments, expected) in cases {
        let output = evaluate(arguments);
        let error = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {error}");
        assert!(error.contains(expected), "{arguments:?}: {error}");
        assert!(output.stdout.is_empty(), "{arguments:?}");
    }
}

/// Two engines that only sleep, so that everything but them is real.
fn live_config(folder: &Path) -> String {
    let model = |name: &str, ms: u32| {
        format!(
            "(name: \"{name}\", engine: Synthetic((latency_us: [(1, {ms}000), (4, {}000)])), \
             slo: Ms(400), max_batch: 4, max_instances: 2)",
            2 * ms
        )
    };
    let path = folder.join("config.ron");
    let text = format!("(models: [{}, {}])", model("a", 60), model("b", 90));
    std::fs::write(&path, text).unwrap();
    format!("--config={}", path.display())
}

#[test]
fn live_and_simulated_get_the_same_requests_and_stand_side_by_side() {
    let folder = tempfile::tempdir().unwrap();
    let json = folder.path().join("live.json");
    let output = evaluate(&[
        "--live",
        "--quick",
        "--seconds=5",
        "--runs=1",
        "--policies=fixed,triton,sac",
        "--loads=steady 0.6",
        &live_config(folder.path()),
        &format!("--json={}", json.display()),
    ]);
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    for wanted in ["this machine · steady 0.6", "live_sac_over_best_rule", "simulator_p99_off"] {
        assert!(text.contains(wanted), "{wanted}\n{text}");
    }
    let json: Value = serde_json::from_str(&std::fs::read_to_string(json).unwrap()).unwrap();
    let cell = &json["live"][0];
    let requests = cell["requests"].as_f64().unwrap();
    assert!(requests > 0.0);
    let rows = cell["rows"].as_array().unwrap();
    assert_eq!(rows.len(), 3);
    for row in rows {
        for side in ["measured", "simulated"] {
            assert_eq!(row[side]["requests"], requests, "{side}: {row}");
            // A machine that is busy with other tests is late with some, not with most.
            assert!(row[side]["slo_hit_rate"].as_f64().unwrap() > 0.5, "{side}: {row}");
            // The engines sleep for 60 ms and more.
            assert!(row[side]["latency_ms_p50"].as_f64().unwrap() >= 60.0, "{side}: {row}");
        }
    }
    assert!(rows[0]["settings"].is_string() && rows[2]["settings"].is_null(), "{rows:?}");
    let figure = &json["summary"]["simulator_hit_rate_off_points"];
    assert_eq!(figure["target"]["at_most"], 3.0, "{figure}");
}

#[test]
fn what_is_wrong_with_a_live_evaluation_is_told_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let config = live_config(folder.path());
    let unprofiled = folder.path().join("unprofiled.ron");
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/double.onnx");
    let text = format!("(models: [(name: \"double\", engine: Onnx(\"{}\"))])", model.display());
    std::fs::write(&unprofiled, text).unwrap();
    let unprofiled = format!("--config={}", unprofiled.display());
    let cases: [(&[&str], &str, i32); 5] = [
        (&["--live", &config, "--loads=slow-down"], "changes the speed of the device", 1),
        (&["--live", &config, "--policies=magic"], "there is no policy 'magic'", 1),
        (&["--live", &unprofiled], "double: there is no profile at", 1),
        (&["--live", "--platforms=nano"], "cannot be used with", 2),
        (&["--seconds=5"], "--live", 2),
    ];
    for (arguments, expected, status) in cases {
        let output = evaluate(arguments);
        let error = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(status), "{arguments:?}: {error}");
        assert!(error.contains(expected), "{arguments:?}: {error}");
    }
}

#[test]
fn the_help_has_examples() {
    let help = String::from_utf8(evaluate(&["--help"]).stdout).unwrap();
    assert!(help.contains("bcedge evaluate --quick") && help.contains("--scenario"), "{help}");
}
