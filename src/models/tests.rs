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
