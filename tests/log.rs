//! Logging is set up once for a process, so this file holds one test.

use bcedge::telemetry::log::{LogError, LogTarget, init};
use bcedge::telemetry::snapshot::Level;
use tracing::level_filters::LevelFilter;

#[test]
fn a_line_goes_to_the_file_and_to_the_memory_of_lines() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bcedge.log");
    let target = LogTarget::File { path: path.clone(), json: true };
    let lines = init(&target, || 1_700_000_000_000).unwrap();
    tracing::error!(model = "resnet18", "engine {}", "lost");

    let written = std::fs::read_to_string(&path).unwrap();
    let line: serde_json::Value = serde_json::from_str(written.trim_end()).unwrap();
    assert_eq!(line["level"], "ERROR");
    assert_eq!(line["fields"]["message"], "engine lost");
    let kept = lines.lines();
    let kept = kept.last().unwrap();
    assert_eq!((kept.level, kept.text.as_str()), (Level::Error, "engine lost"));
    assert_eq!((kept.model.as_deref(), kept.unix_ms), (Some("resnet18"), 1_700_000_000_000));

    let said = |text: &str| lines.lines().iter().any(|line| line.text == text);
    tracing::debug!("before");
    lines.set_level(LevelFilter::DEBUG);
    tracing::debug!("while");
    lines.set_level(LevelFilter::WARN);
    tracing::info!("after");
    assert_eq!((said("before"), said("while"), said("after")), (false, true, false));
    assert_eq!(lines.level(), Some(LevelFilter::WARN));

    assert!(matches!(init(&target, || 0), Err(LogError::Twice)));
    let nowhere = LogTarget::File { path: folder.path().join("no/such.log"), json: false };
    let error = init(&nowhere, || 0).unwrap_err().to_string();
    assert!(error.contains("no/such.log") && error.contains("--log-file"), "{error}");
}
