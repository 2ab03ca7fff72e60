//! config.ron: what is accepted, and what people are told when it is not.

use bcedge::config::{Config, EngineConfig, ModelConfig, PolicyConfig, Slo, check_text};
use rand::{RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use std::fmt::Write;
use std::path::{Path, PathBuf};

const SHIPPED: &str = include_str!("../config.ron");
const SMALL: &str = "(models: [(name: \"a\", engine: Synthetic(()))])";

/// What is told about `source`, as `bcedge check` prints it.
fn told(source: &str) -> String {
    let (config, report) = check_text("config.ron", source.to_string());
    assert_eq!(config.is_none(), report.to_string().contains("error:"), "{report}");
    report.to_string()
}

/// A configuration with these fields before its one model, and these inside it.
fn with(fields: &str, model_fields: &str) -> String {
    format!(
        "(\n    {fields}\n    models: [\n        (\n            name: \"a\",\n            \
         engine: Synthetic(()),\n            {model_fields}\n        ),\n    ],\n)\n"
    )
}

#[test]
fn the_shipped_file_says_the_documented_defaults() {
    let config = Config::load(Path::new(env!("CARGO_MANIFEST_DIR")).join("config.ron").as_path())
        .unwrap_or_else(|errors| panic!("{errors}"));
    let names = [
        "yolov5s",
        "mobilenet_v3_small",
        "resnet18",
        "efficientnet_b0",
        "inception_v3",
        "tinybert",
    ];
    let model = |name: &str| ModelConfig {
        name: name.into(),
        engine: EngineConfig::Onnx(PathBuf::from(format!("engines/{name}/model.onnx"))),
        slo: Slo::Auto,
        max_batch: 8,
        max_instances: 2,
        queue_bound: 256,
        policy: None,
        load: true,
    };
    let defaults = Config {
        socket: Default::default(),
        device: Default::default(),
        threads_per_instance: 0,
        onnxruntime: None,
        policy: PolicyConfig::Sac,
        scheduler: Default::default(),
        models: names.map(model).to_vec(),
    };
    assert_eq!(config, defaults);
}

#[test]
fn every_option_of_the_schema_stands_in_the_shipped_file() {
    // An unknown field is answered with the list of the known ones.
    let lists = [
        with("x: 1,", ""),
        with("socket: (x: 1),", ""),
        with("scheduler: (x: 1),", ""),
        with("policy: Fixed(x: 1),", ""),
        with("policy: Triton(x: 1),", ""),
        with("policy: Aimd(x: 1),", ""),
        with("policy: DeepRt(x: 1),", ""),
        with("policy: Lookahead(x: 1),", ""),
        with("", "x: 1"),
        SMALL.replace("()", "(x: 1)"),
    ];
    for source in lists {
        let told = told(&source);
        let allowed =
            told.lines().find_map(|line| line.strip_prefix("  = allowed here: ")).unwrap();
        for field in allowed.split(", ") {
            assert!(SHIPPED.contains(&format!("{field}:")), "config.ron doesn't show `{field}`");
        }
    }
}

#[test]
fn what_is_left_out_takes_its_default_and_some_need_not_be_written() {
    let (config, report) = check_text(
        "f",
        with(
            "threads_per_instance: 3, policy: Fixed(batch: 2, instances: 1),",
            "max_batch: 4, policy: Deadline",
        ),
    );
    let config = config.unwrap_or_else(|| panic!("{report}"));
    assert_eq!(config.threads_per_instance, 3);
    assert_eq!(config.models[0].policy, Some(PolicyConfig::Deadline));
    assert_eq!(config.models[0].max_instances, 2);
    let written = with("", "policy: Some(Deadline)");
    assert_eq!(check_text("f", written).0.unwrap().models[0].policy, Some(PolicyConfig::Deadline));
}

#[test]
fn a_rival_policy_needs_no_settings_and_the_shipped_file_shows_its_defaults() {
    let read = |policy: &str| {
        let (config, report) = check_text("f", with(&format!("policy: {policy},"), ""));
        config.unwrap_or_else(|| panic!("{policy}: {report}")).policy
    };
    let comments: String =
        SHIPPED.lines().filter_map(|line| line.trim().strip_prefix("//")).collect();
    for (name, default) in [
        ("Aimd", PolicyConfig::aimd()),
        ("DeepRt", PolicyConfig::deeprt()),
        ("Lookahead", PolicyConfig::lookahead()),
    ] {
        assert_eq!(read(&format!("{name}()")), default);
        let shown = format!("{default:?}");
        for field in shown.trim_end_matches(" }").split(" { ").last().unwrap().split(", ") {
            assert!(comments.contains(field), "config.ron doesn't show `{field}` of {name}");
        }
    }
}

/// Broken configurations, one problem each. The snapshot is the text people get.
#[test]
fn one_problem_is_told_with_its_place_and_what_is_allowed() {
    let long_path = format!("socket: (path: \"/run/{}.sock\"),", "x".repeat(120));
    let many_models: String =
        (0..257).map(|i| format!("(name: \"m{i}\", engine: Synthetic(())),")).collect();
    let cases = [
        // Unknown names.
        ("unknown field", with("soket: (path: \"x\"),", "")),
        ("unknown field, nothing like it", with("frobnicate: 1,", "")),
        ("unknown field in socket", with("socket: (\n        pth: \"x\",\n    ),", "")),
        ("unknown field in a model", with("", "max_bach: 8,")),
        (
            "unknown field in a policy",
            with("policy: Fixed(batch: 1, instance: 1, instances: 1),", ""),
        ),
        ("unknown field in a synthetic engine", SMALL.replace("()", "(latency: [(1, 1)])")),
        ("unknown device", with("device: Cuda,", "")),
        ("unknown policy", with("policy: Fixd(batch: 1, instances: 1),", "")),
        ("unknown slo", with("", "slo: Sec(1),")),
        ("unknown engine", SMALL.replace("Synthetic(())", "onnx(\"a.onnx\")")),
        ("unknown fault", SMALL.replace("()", "(faults: [(1, Crash)])")),
        // Wrong types.
        ("text for an integer", with("", "max_batch: \"8\",")),
        ("list for an integer", with("", "max_batch: [8],")),
        ("struct for an integer", with("", "max_batch: (a: 8),")),
        ("name for an integer", with("", "max_batch: Auto")),
        ("fraction for an integer", with("", "max_batch: 8.5,")),
        ("integer for a text", with("socket: (path: 5),", "")),
        ("integer for a bool", with("", "load: 1,")),
        ("integer for a list", "(\n    models: 5,\n)".into()),
        ("integer for a struct", with("socket: 5,", "")),
        ("text for a number", with("scheduler: (hang_factor: \"x\"),", "")),
        ("integer for an SLO", with("", "slo: 50,")),
        ("text for a device", with("device: \"Rten\",", "")),
        ("text for an engine", SMALL.replace("Synthetic(())", "\"a.onnx\"")),
        ("value for a plain name", with("", "slo: Auto(5),")),
        // Impossible values.
        ("batch 0", with("", "max_batch: 0,")),
        ("negative batch", with("", "max_batch: -4,")),
        ("batch too large", with("", "max_batch: 5_000_000_000,")),
        ("SLO of nothing", with("", "slo: Ms(0),")),
        ("SLO of an hour", with("", "slo: Ms(3_600_000),")),
        ("SLO of a microsecond", with("", "slo: Us(1),")),
        ("hang factor below 1", with("scheduler: (hang_factor: 0.5),", "")),
        ("hang factor not a number", with("scheduler: (hang_factor: NaN),", "")),
        ("slot of 0", with("scheduler: (slot_ms: 0),", "")),
        ("message size", with("socket: (max_message_bytes: 1024),", "")),
        ("mode above 0o777", with("socket: (mode: 660),", "")),
        ("mode that shuts us out", with("socket: (mode: 0o066),", "")),
        ("socket path too long", with(&long_path, "")),
        ("empty socket path", with("socket: (path: \"\"),", "")),
        ("unknown group", with("socket: (group: \"rooot\"),", "")),
        ("no models", "(\n    models: [],\n)".into()),
        ("too many models", format!("(models: [{many_models}])")),
        ("name with a slash", SMALL.replace("\"a\"", "\"yolo/v5\"")),
        ("empty name", SMALL.replace("\"a\"", "\"\"")),
        ("name that is a path", SMALL.replace("\"a\"", "\"..\"")),
        (
            "latency table not ascending",
            SMALL.replace("()", "(latency_us: [(1, 100), (8, 400), (4, 200)])"),
        ),
        ("empty latency table", SMALL.replace("()", "(latency_us: [])")),
        ("latency row of one", SMALL.replace("()", "(latency_us: [(1)])")),
        ("latency row of three", SMALL.replace("()", "(latency_us: [(1, 2, 3)])")),
        (
            "preferred size 0",
            with("policy: Triton(preferred_batch_sizes: [4, 0], instances: 1),", ""),
        ),
        ("target of a whole SLO and more", with("policy: Aimd(latency_percent: 101),", "")),
        ("no window", with("policy: DeepRt(window_percent: 0),", "")),
        ("policy without its brackets", with("policy: Lookahead,", "")),
        // Missing and twice.
        ("missing models", "(\n    device: Rten,\n)".into()),
        ("missing engine", "(\n    models: [\n        (name: \"a\"),\n    ],\n)".into()),
        ("missing instances", with("policy: Fixed(batch: 1),", "")),
        ("field twice", with("device: Rten,\n    device: Auto,", "")),
        // Values that don't go together.
        (
            "duplicate name",
            "(models: [\n    (name: \"a\", engine: Synthetic(())),\n    (name: \"a\", engine: \
             Synthetic(())),\n])"
                .into(),
        ),
        (
            "policy batch above the model's",
            with("", "max_batch: 4, policy: Fixed(batch: 8, instances: 1),"),
        ),
        ("policy instances above the model's", with("", "policy: Fixed(batch: 8, instances: 3),")),
        (
            "preferred size above the model's",
            with("", "policy: Triton(preferred_batch_sizes: [4, 16], instances: 1),"),
        ),
        ("everybody's policy above a model's", with("policy: Fixed(batch: 16, instances: 1),", "")),
        (
            "queue delay as long as the SLO",
            with("", "slo: Ms(2), policy: Triton(max_queue_delay_us: 2_000, instances: 1),"),
        ),
        ("replicas above the model's", with("", "policy: Aimd(instances: 3),")),
        ("missing engine file", SMALL.replace("Synthetic(())", "Onnx(\"nowhere/model.onnx\")")),
        ("missing library", with("onnxruntime: \"/nowhere/libonnxruntime.so\",", "")),
        // Not well-formed.
        ("empty file", " // nothing\n".into()),
        ("bracket never closed", with("socket: (path: \"x\",", "")),
        (
            "bracket closed wrongly",
            with("policy: Triton(preferred_batch_sizes: [1, 2), instances: 1),", ""),
        ),
        ("bracket too many", format!("{SMALL})")),
        ("missing comma", with("device: Rten\n    threads_per_instance: 1,", "")),
        ("missing colon", with("device Rten,", "")),
        ("text never closed", "(models: [(name: \"a, engine: Synthetic(()))])".into()),
        ("comment never closed", format!("{SMALL} /* and")),
        ("two values", format!("{SMALL}\n{SMALL}")),
        ("equals sign", with("device = Rten,", "")),
        ("json", "{\"models\": []}".into()),
        ("not RON", "models = 5".into()),
    ];
    let mut page = String::new();
    for (title, source) in &cases {
        let _ = writeln!(page, "──── {title}\n{}\n", told(source));
    }
    insta::assert_snapshot!(page);
}

#[test]
fn all_problems_are_told_at_once() {
    let source = r#"(
    sockt: (path: "x"),
    socket: (mode: 8, max_connections: 0, path: "ok.sock"),
    device: Gpu,
    threads_per_instance: "two", // a comment, with a comma
    policy: Fixed(batch: 0, instances: 1),
    models: [
        (name: "a b", engine: Synthetic((latency_us: [(2, 10), (1, "x")], elements: 0)), slo: Ms(0)),
        (name: "größe", engine: Onnx(7)),
        (name: "b", engine: Synthetic(()), max_batch: 4, policy: Fixed(batch: 8, instances: 99)),
        (name: "c", engine: Synthetic(()), max_batch: 4, policy: Fixed(batch: 8, instances: 9)),
        (name: "c", engine: Synthetic(()), max_bach: 1 /* , */ , queue_bound: 0),
        (name: "e"),
        (nam: "f", load: 3),
        (name: "g h"),
    ],
)"#;
    insta::assert_snapshot!(told(source));
}

#[test]
fn a_file_that_cannot_be_read_says_so() {
    let missing = Config::load(Path::new("no/such/config.ron")).unwrap_err().to_string();
    assert!(
        missing.contains("No such file") && missing.contains("no/such/config.ron"),
        "{missing}"
    );
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("c.ron");
    for (content, expected) in
        [(vec![b' '; (1 << 20) + 1], "larger than 1048576 bytes"), (vec![0xff, 0xfe], "not UTF-8")]
    {
        std::fs::write(&file, content).unwrap();
        let told = Config::load(&file).unwrap_err().to_string();
        assert!(told.contains(expected), "{told}");
    }
}

/// Whatever is done to the shipped file, the answer is a configuration or errors with places in
/// the file; never a panic, never silence.
#[test]
fn any_mutation_of_the_shipped_file_is_accepted_or_explained() {
    let pieces = [
        "(",
        ")",
        "[",
        "]",
        "{",
        "}",
        ",",
        ":",
        "\"",
        "'",
        "r#\"",
        "/*",
        "*/",
        "//",
        "\n",
        "0",
        "-1",
        "1e99",
        "99999999999999999999",
        "Some(",
        "None",
        "Auto",
        "x",
        "é",
        "\u{200e}",
        "\0",
        "()",
        "(())",
        "\\",
        "0x",
        "..",
        "#![enable(unwrap_newtypes)]",
        "_",
        "true",
    ];
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(2);
    let (mut accepted, mut refused) = (0, 0);
    for _ in 0..3_000 {
        let mut text: Vec<char> = SHIPPED.chars().collect();
        for _ in 0..rng.random_range(1..6) {
            let at = rng.random_range(0..text.len());
            let end = (at + rng.random_range(0..12)).min(text.len());
            let piece = pieces[rng.random_range(0..pieces.len())];
            match rng.random_range(0..3) {
                0 => drop(text.splice(at..end, [])),
                1 => drop(text.splice(at..at, piece.chars())),
                _ => drop(text.splice(at..end, piece.chars())),
            }
        }
        let (config, report) = check_text("config.ron", text.into_iter().collect());
        let told = report.to_string();
        match config {
            Some(_) => accepted += 1,
            None => {
                refused += 1;
                assert!(told.contains("error: "), "refused without a word:\n{}", report.source);
            }
        }
    }
    assert!(accepted > 100 && refused > 1_000, "{accepted} accepted, {refused} refused");
}

/// Runs `bcedge check` on a file with this content: (exit status, stdout, stderr).
fn run_check(content: &str) -> (Option<i32>, String, String) {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("config.ron"), content).unwrap();
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_bcedge"))
        .arg("check")
        .current_dir(folder.path())
        .output()
        .unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

#[test]
fn check_prints_what_would_be_served() {
    let source = "(models: [
    (name: \"a\", engine: Synthetic(()), slo: Ms(50)),
    (name: \"longer\", engine: Onnx(\"gone.onnx\"), slo: Us(700), load: false,
     max_batch: 16, policy: Triton(max_queue_delay_us: 100, instances: 2)),
])";
    let (status, stdout, stderr) = run_check(source);
    assert_eq!((status, stderr.as_str()), (Some(0), ""));
    insta::assert_snapshot!(stdout);
}

#[test]
fn check_of_a_broken_file_exits_with_1_and_tells_all() {
    let (status, stdout, stderr) = run_check(&with("device: Gpu,", "max_batch: 0,"));
    assert_eq!((status, stdout.as_str()), (Some(1), ""));
    assert!(stderr.contains("config.ron:2:13") && stderr.contains("config.ron:7:24"), "{stderr}");
    assert!(stderr.trim_end().ends_with("config.ron: 2 errors"), "{stderr}");
}

/// Values that would leave a server nobody can use.
#[test]
fn limits_that_shut_everybody_out_are_refused() {
    for field in [
        "header_timeout_ms: 0",
        "max_message_bytes: 0",
        "max_connections: 0",
        "max_in_flight_per_connection: 0",
        "mode: 0o060",
    ] {
        let text = told(&with(&format!("socket: ({field}),"), ""));
        assert!(text.contains("error:") && text.contains("config.ron:2:"), "{field}: {text}");
    }
    for field in ["queue_bound: 0", "max_batch: 0", "max_instances: 0"] {
        let text = told(&with("", &format!("{field},")));
        assert!(text.contains("error:"), "{field}: {text}");
    }
    let never = told(&with("socket: (idle_timeout_ms: 0, drain_timeout_ms: 0),", ""));
    assert!(!never.contains("error:"), "{never}");
}
