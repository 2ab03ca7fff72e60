use super::*;

#[test]
fn parameter_counts_are_the_published_ones() {
    for reference in &REFERENCE {
        let network = (reference.build)(reference.seed);
        let mut counted = network.parameters;
        if reference.name == "yolov5s" {
            // Its published count is that of the fused network, without the γ merged into weights.
            assert_eq!(counted, 7_235_389, "as trained");
            counted -= 9_504;
        }
        assert_eq!(counted, reference.parameters, "{}", reference.title);
    }
}

/// Clients' tests and benchmarks use the committed file; what the builder makes must be that file.
#[test]
fn the_committed_double_is_what_the_builder_makes() {
    let committed = include_bytes!("../../tests/data/double.onnx");
    assert_eq!(double(), committed);
}

#[test]
fn the_same_seed_gives_the_same_file_and_another_seed_another() {
    let small = Reference::named("mobilenet_v3_small").unwrap();
    let first = file::to_bytes(&(small.build)(small.seed));
    assert_eq!(first, file::to_bytes(&(small.build)(small.seed)));
    let other = file::to_bytes(&(small.build)(small.seed + 1));
    assert_eq!(first.len(), other.len());
    let same = first.iter().zip(&other).filter(|(a, b)| a == b).count();
    assert!(same < first.len() / 4, "{same} of {} bytes are the same", first.len());
}

/// Guards the files that people have against a change of the generator by accident.
#[test]
fn weights_stay_what_they_were() {
    let mut g = graph::GraphBuilder::new("one tensor", 7);
    g.weight("w", &[3], 1.0);
    let bytes = file::to_bytes(&g.finish());
    let values: Vec<f32> = bytes[bytes.len() - 12..]
        .as_chunks()
        .0
        .iter()
        .map(|&value| f32::from_le_bytes(value))
        .collect();
    assert_eq!(values, [-0.746_079_9, 0.761_525_15, -0.258_437_63]);
}

#[test]
fn progress_ends_at_the_size_of_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let small = Reference::named("mobilenet_v3_small").unwrap();
    let (mut heard, mut calls) = (0, 0);
    let written = write(small, dir.path(), &mut |bytes| {
        assert!(bytes >= heard);
        (heard, calls) = (bytes, calls + 1);
    })
    .unwrap();
    assert_eq!(heard, written);
    assert_eq!(std::fs::metadata(small.path(dir.path())).unwrap().len(), written);
    assert!((10..5_000).contains(&calls), "{calls} calls");
}

#[test]
fn a_failed_write_leaves_what_was_there() {
    let dir = tempfile::tempdir().unwrap();
    let small = Reference::named("mobilenet_v3_small").unwrap();
    // A folder where the file should go: the last step, the rename, fails.
    std::fs::create_dir_all(small.path(dir.path())).unwrap();
    let error = write(small, dir.path(), &mut |_| {}).unwrap_err().to_string();
    assert!(error.contains("model.onnx"), "{error}");
    let beside = std::fs::read_dir(dir.path().join(small.name)).unwrap().count();
    assert_eq!(beside, 1, "the unfinished file is gone");
}
