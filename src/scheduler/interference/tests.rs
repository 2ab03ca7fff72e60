use super::*;

fn footprint(share: f64) -> Footprint {
    Footprint::new(share, 5e6, 1, &Work::default())
}

#[test]
fn without_samples_a_device_that_is_not_full_slows_nobody() {
    let unfitted = Interference::default();
    let multiplier = |own: f64, others: &[f64]| {
        let imprint = |share: &f64| unfitted.imprint(&footprint(*share));
        let others = others.iter().fold(Neighbours::default(), |all, s| all.with(&imprint(s)));
        unfitted.multiplier(&imprint(&own), &others)
    };
    assert_eq!(multiplier(0.5, &[]), 1.0);
    assert_eq!(multiplier(0.5, &[0.25, 0.25]), 1.0);
    assert_eq!(multiplier(0.5, &[1.0]), 1.5);
    assert_eq!(multiplier(1.0, &[1.0, 1.0, 1.0]), 4.0);
}
