use super::*;
use crate::client::Status;

const SLO_US: u64 = 100_000;

fn recorder(seconds: f64, warmup_seconds: f64, slo_us: Option<u64>) -> Recorder {
    let load = Load::Closed { models: vec![], concurrency: 1 };
    let plan = LoadPlan { seconds, warmup_seconds, ..LoadPlan::new("s", load) };
    let target = |name: &str| Target {
        name: name.into(),
        rate_per_s: None,
        slo_us,
        request_bytes: 0,
        calls: vec![],
    };
    Recorder::new(&plan, &[target("a"), target("b")])
}

fn at_ms(ms: u64) -> Nanos {
    Nanos::from_millis(ms)
}

/// A request of `model` due at `due_ms` and answered `took_ms` later.
fn answered(recorder: &Recorder, model: usize, due_ms: u64, took_ms: u64) {
    recorder.sent(model, at_ms(due_ms));
    recorder.ended(model, at_ms(due_ms), at_ms(due_ms + took_ms), &Ok(ReplyHead::default()));
}

fn refused(recorder: &Recorder, due_ms: u64, code: Code, message: &str) {
    let status = Status { code, message: message.into() };
    recorder.sent(0, at_ms(due_ms));
    recorder.ended(0, at_ms(due_ms), at_ms(due_ms + 1), &Err(ClientError::Status(status)));
}

#[test]
fn utility_is_the_mean_over_windows_and_models() {
    let recorder = recorder(10.0, 0.0, Some(SLO_US));
    // Model a, first window: 10 answers in half their SLO. Second window: nothing in time.
    (0..10).for_each(|i| answered(&recorder, 0, i * 100, 50));
    answered(&recorder, 0, 6_000, 600);
    // Model b: 5 requests in the second window, in less than a quarter.
    (0..5).for_each(|i| answered(&recorder, 1, 7_000 + i, 1));
    let report = recorder.report(at_ms(20_000), None);
    let a = ((1.0f64 + 10.0 / 5.0 / 0.5).ln() + 0.0) / 2.0;
    let b = (1.0f64 + 5.0 / 5.0 / 0.25).ln();
    let close = |x: Option<f64>, y: f64| (x.unwrap() - y).abs() < 1e-9;
    assert!(close(report.models[0].figures.utility, a), "{report:?}");
    assert!(close(report.models[1].figures.utility, b), "{report:?}");
    assert!(close(report.total.utility, (a + b) / 2.0), "{report:?}");
    assert_eq!(report.total.goodput_per_s, Some(1.5));
}

#[test]
fn a_short_last_window_joins_the_one_before_it() {
    let recorder = recorder(6.0, 0.0, Some(SLO_US));
    answered(&recorder, 0, 0, 50);
    answered(&recorder, 0, 5_500, 50);
    let report = recorder.report(at_ms(6_000), None);
    let expected = (1.0f64 + 2.0 / 6.0 / 0.5).ln();
    assert!((report.models[0].figures.utility.unwrap() - expected).abs() < 1e-9);
    // A model without requests has no utility, and none to the mean.
    assert_eq!(report.models[1].figures.utility, None);
    assert_eq!(report.total.utility, report.models[0].figures.utility);
}

#[test]
fn only_the_measured_time_counts() {
    let recorder = recorder(2.0, 1.0, Some(SLO_US));
    answered(&recorder, 0, 999, 1);
    answered(&recorder, 0, 1_000, 1);
    answered(&recorder, 0, 2_950, 100);
    let report = recorder.report(at_ms(9_000), Some("finished".into()));
    assert_eq!((report.total.sent, report.total.ok, report.total.slo_met), (2, 2, Some(2)));
    // The last answer came after the measured time of 2 s.
    assert_eq!(report.total.throughput_per_s, 0.5);
    assert_eq!(report.elapsed_s, 2.0);
}

#[test]
fn rates_are_per_second_that_has_passed() {
    let recorder = recorder(100.0, 0.0, None);
    answered(&recorder, 0, 0, 1);
    answered(&recorder, 0, 400, 1);
    let report = recorder.report(at_ms(500), None);
    assert_eq!(report.total.throughput_per_s, 4.0);
    assert_eq!((report.total.goodput_per_s, report.total.utility), (None, None));
    assert_eq!(recorder.report(Nanos::ZERO, None).total.throughput_per_s, 0.0);
}

#[test]
fn errors_that_differ_in_digits_only_are_one_line_and_their_kinds_are_bounded() {
    let recorder = recorder(1.0, 0.0, Some(SLO_US));
    (0..50).for_each(|i| {
        refused(&recorder, i, Code::DeadlineExceeded, &format!("{i} us late"));
    });
    (0..100u8).for_each(|i| {
        let name: String = (0..=i).map(|_| 'x').collect();
        refused(&recorder, 60, Code::Internal, &name);
    });
    let report = recorder.report(at_ms(1_000), None);
    assert_eq!(report.errors.len(), MAX_ERROR_TEXTS + 1);
    assert_eq!(report.errors[0].text, OTHER_ERRORS);
    assert_eq!(report.errors[1].text, "0 us late (DEADLINE_EXCEEDED)");
    assert_eq!(report.errors[1].count, 50);
    assert_eq!(report.errors.iter().map(|e| e.count).sum::<u64>(), 150);
    assert_eq!((report.total.expired, report.total.failed), (50, 100));
    assert_eq!(report.total.slo_met, Some(0));
}

#[test]
fn a_latency_beyond_the_histogram_is_its_largest() {
    let recorder = recorder(1.0, 0.0, None);
    answered(&recorder, 0, 0, 3_600_000);
    let p99 = recorder.report(at_ms(1_000), None).total.latency_us.p99;
    assert!(p99 >= MAX_LATENCY_US, "{p99}");
}
