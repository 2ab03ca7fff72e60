//! `bcedge profile` as an operator uses it: real engines, ended in the middle, and taken up again.

#[path = "engines/graphs.rs"]
mod graphs;

use bcedge::profiler::{Profile, repeat_error, samples};
use rustix::process::{Pid, Signal, kill_process};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

const MODELS: [&str; 3] = ["small", "middle", "large"];
/// Alone, together, and together once more.
const POINTS: usize = 3 * 4 + 9 + 2;

/// Three networks of different size, each in a folder of its own, and their config.ron.
fn networks() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let entries = MODELS.iter().zip([64, 256, 512]).map(|(name, width)| {
        fs::create_dir(folder.path().join(name)).unwrap();
        let file = graphs::dense(width, width).write(&folder.path().join(name), "model");
        format!("(name: \"{name}\", engine: Onnx({file:?}), max_batch: 2, max_instances: 2)")
    });
    let models = entries.collect::<Vec<_>>().join(", ");
    let config = format!("(device: Rten, threads_per_instance: 1, models: [{models}])");
    fs::write(folder.path().join("config.ron"), config).unwrap();
    folder
}

fn command(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bcedge"));
    command.arg("profile").args(arguments).current_dir(folder);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn profile_file(folder: &Path, model: &str) -> PathBuf {
    folder.join(model).join("profile.ron")
}

/// Every profile that is there; one that can't be read fails the test.
fn profiles(folder: &Path) -> Vec<Profile> {
    let files = MODELS.iter().map(|model| profile_file(folder, model));
    files.filter(|file| file.exists()).map(|file| Profile::read(&file).unwrap()).collect()
}

fn points(profiles: &[Profile]) -> usize {
    profiles.iter().map(|profile| profile.points.len() + profile.beside.len()).sum()
}

/// Waits until at least so many points are saved.
fn wait_for_points(folder: &Path, child: &mut Child, wanted: usize) {
    let start = Instant::now();
    while points(&profiles(folder)) < wanted {
        assert!(start.elapsed() < Duration::from_secs(60), "nothing comes");
        assert!(child.try_wait().unwrap().is_none(), "it ended by itself");
        thread::sleep(Duration::from_millis(2));
    }
}

fn said(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    text(&output.stdout) + &text(&output.stderr)
}

/// Everything in `before` is in `after`, figures and all.
fn assert_kept(before: &[Profile], after: &[Profile]) {
    for old in before {
        let new = after.iter().find(|profile| profile.model == old.model).unwrap();
        assert_eq!(new.points[..old.points.len()], old.points);
        for beside in &old.beside {
            let there = new.beside.iter().find(|there| there.key() == beside.key());
            assert_eq!(there.unwrap().point, beside.point);
        }
    }
}

/// Other tests run at the same time, so the machine is never itself.
const THOROUGH: [&str; 5] = ["--unguarded", "--point-ms", "20", "--samples", "9"];

#[test]
fn an_interrupted_profile_keeps_what_it_measured_and_is_taken_up() {
    let folder = networks();
    let mut kept = Vec::new();
    // Early, while models are measured alone, and late, while several run; by a signal that it can
    // answer, and by one that it can't.
    for (signal, wanted) in [(Signal::KILL, 2), (Signal::INT, 5), (Signal::KILL, 16)] {
        let mut child = command(folder.path(), &THOROUGH).spawn().unwrap();
        wait_for_points(folder.path(), &mut child, wanted);
        kill_process(Pid::from_child(&child), signal).unwrap();
        let output = child.wait_with_output().unwrap();
        let profiles = profiles(folder.path());
        assert_kept(&kept, &profiles);
        assert!(points(&profiles) >= wanted);
        if signal == Signal::INT {
            assert_eq!(output.status.code(), Some(1), "{}", said(&output));
            assert!(said(&output).contains("goes on from there"), "{}", said(&output));
            assert!(said(&output).contains("saved as"), "{}", said(&output));
        }
        if !kept.is_empty() {
            assert!(said(&output).contains("points are there already; going on after them"));
        }
        kept = profiles;
    }
    let output = command(folder.path(), &THOROUGH).output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
    assert!(said(&output).contains(&format!("of {POINTS} points are there already")));
    let whole = profiles(folder.path());
    assert_kept(&kept, &whole);
    assert!(whole.iter().all(|profile| profile.points.len() == 4));

    // And once more: there is nothing to do.
    let again = command(folder.path(), &THOROUGH).output().unwrap();
    assert!(again.status.success(), "{}", said(&again));
    assert!(said(&again).contains(&format!("all {POINTS} points are there already")));
    assert_eq!(profiles(folder.path()), whole);
}

#[test]
fn a_profile_says_all_that_a_scheduler_wants_to_know() {
    let folder = networks();
    let output = command(folder.path(), &THOROUGH).output().unwrap();
    let text = said(&output);
    assert!(output.status.success(), "{text}");
    for word in ["multiply-adds", "memory:", "items/s", "times the latency alone", "twice"] {
        assert!(text.contains(word), "'{word}' is not in: {text}");
    }
    let profiles = profiles(folder.path());
    assert_eq!(profiles.len(), 3);
    for (profile, width) in profiles.iter().zip([64u64, 256, 512]) {
        let features = profile.features.unwrap();
        assert_eq!(features.multiply_adds, width * width);
        // Product, bias and what comes after it are at least the input read and a result written.
        assert!(features.kernels >= 1 && features.activation_bytes >= 8 * width, "{features:?}");
        assert!(features.weight_bytes >= 4 * width * width);
        let memory = profile.memory.clone().unwrap();
        assert_eq!(memory.instance_bytes.len(), 2, "{memory:?}");
        assert!(memory.loaded_bytes > 0 && memory.further_instance_bytes.is_some(), "{memory:?}");
        assert_eq!((profile.threads_per_instance, profile.platform.as_str()), (1, "rten_onnx"));
        let picture = profile_file(folder.path(), &profile.model).with_extension("svg");
        let picture = fs::read_to_string(picture).unwrap();
        let document = roxmltree::Document::parse(&picture).unwrap();
        assert_eq!(document.root_element().tag_name().name(), "svg");
        assert!(picture.contains("2 instances") && picture.contains(&profile.model));
    }
    // Two instances, at two batch sizes, of three models; and each member of each combination.
    let beside: usize = profiles.iter().map(|profile| profile.beside.len()).sum();
    let all = samples(&profiles);
    assert_eq!(all.len(), 3 * 2 + beside);
    assert!(all.iter().all(|sample| sample.model < 3 && sample.multiplier > 0.0));
    assert!(repeat_error(&profiles).unwrap().pairs >= 4);
}

#[test]
fn one_model_is_measured_beside_the_others_and_theirs_stay_as_they_are() {
    let folder = networks();
    let quick = ["--quick", "--point-ms", "5", "--samples", "4", "middle"];
    let output = command(folder.path(), &quick).output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
    let profiles = profiles(folder.path());
    let [middle] = &profiles[..] else { panic!("{}", said(&output)) };
    assert_eq!((middle.model.as_str(), middle.beside.len()), ("middle", 4));
    assert_eq!(middle.memory, None, "a quick one does without");
    assert!(middle.neighbour_stamps.len() == 2, "{:?}", middle.neighbour_stamps);
}

#[test]
fn what_can_not_be_profiled_is_named_and_the_rest_is() {
    let folder = networks();
    let models = [
        ("a", "small/model.onnx"),
        ("same_file", "small/model.onnx"),
        ("same_folder", "small/other.onnx"),
        ("nowhere", "no/b.onnx"),
    ];
    fs::copy(folder.path().join("large/model.onnx"), folder.path().join("small/other.onnx"))
        .unwrap();
    let entries = models.map(|(name, file)| {
        format!("(name: {name:?}, engine: Onnx({file:?}), max_batch: 1, max_instances: 1)")
    });
    let pretended = "(name: \"pretended\", engine: Synthetic(()))";
    let config = format!("(device: Rten, models: [{}, {pretended}])", entries.join(", "));
    fs::write(folder.path().join("config.ron"), config).unwrap();
    let output = command(folder.path(), &["--quick", "--point-ms", "1"]).output().unwrap();
    let text = said(&output);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("not profiled: same_folder, nowhere"), "{text}");
    assert!(text.contains("same_file: has the model file of a"), "{text}");
    assert!(text.contains("give each model a folder of its own"), "{text}");
    assert!(text.contains("pretended: a pretended engine"), "{text}");
    assert_eq!(Profile::read(&profile_file(folder.path(), "small")).unwrap().model, "a");

    let output = command(folder.path(), &["unknown"]).output().unwrap();
    assert!(said(&output).contains("no model 'unknown'"), "{}", said(&output));
}

#[test]
fn a_full_disk_leaves_the_profile_that_was_there() {
    let folder = networks();
    let quick = ["--unguarded", "--quick", "--point-ms", "1", "--samples", "2"];
    assert!(command(folder.path(), &quick).output().unwrap().status.success());
    let before = profiles(folder.path());
    // No file may be longer than nothing; the write fails then as it does on a full disk.
    let full = format!(
        "trap '' XFSZ; ulimit -f 0; exec {:?} profile --fresh {}",
        env!("CARGO_BIN_EXE_bcedge"),
        quick.join(" ")
    );
    let output =
        Command::new("sh").args(["-c", &full]).current_dir(folder.path()).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    assert!(said(&output).contains("small/profile.ron"), "{}", said(&output));
    assert_eq!(profiles(folder.path()), before);
    let names: Vec<_> = fs::read_dir(folder.path().join("small")).unwrap().collect();
    assert_eq!(names.len(), 3, "model, profile, picture, and nothing half-written: {names:?}");
}
