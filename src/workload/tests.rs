use super::*;

/// Arrival times in seconds of one stream, up to `seconds`.
fn times(process: Process, rate: f64, seconds: f64, seed: u64) -> Vec<f64> {
    let end = Nanos::from_secs_f64(seconds);
    let schedule = Schedule::new(process, &[rate], seed).unwrap();
    schedule.map(|a| a.at).take_while(|&at| at < end).map(Nanos::as_secs_f64).collect()
}

fn gaps(times: &[f64]) -> Vec<f64> {
    times.windows(2).map(|pair| pair[1] - pair[0]).collect()
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

fn variance(values: &[f64]) -> f64 {
    let m = mean(values);
    mean(&values.iter().map(|v| (v - m) * (v - m)).collect::<Vec<_>>())
}

/// Variance over mean of the counts in windows of `window_s`: 1 for Poisson, more for bursts.
fn dispersion(times: &[f64], seconds: f64, window_s: f64) -> f64 {
    let mut counts = vec![0.0; (seconds / window_s) as usize];
    for t in times {
        if let Some(count) = counts.get_mut((t / window_s) as usize) {
            *count += 1.0;
        }
    }
    variance(&counts) / mean(&counts)
}

const BURSTY: Process = Process::Bursty(Bursts { share: 0.1, factor: 5.0, mean_s: 0.5 });

#[test]
fn every_process_keeps_its_mean_rate() {
    // Bursts come and go every 5 s, so their count varies more: hence the longer time.
    for (process, seconds, tolerance) in [
        (Process::Poisson, 1_000.0, 0.02),
        (Process::Uniform, 100.0, 0.001),
        (BURSTY, 10_000.0, 0.05),
    ] {
        let count = times(process, 100.0, seconds, 7).len() as f64;
        let rate = count / seconds;
        assert!((rate / 100.0 - 1.0).abs() < tolerance, "{process:?}: {rate} per second");
    }
}

#[test]
fn poisson_gaps_are_exponential() {
    let rate = 50.0;
    let mut gaps = gaps(&times(Process::Poisson, rate, 400.0, 3));
    gaps.sort_by(f64::total_cmp);
    // Kolmogorov–Smirnov distance to 1 − exp(−rate × gap); 1.63 / √n is the bound at 1 %.
    let n = gaps.len() as f64;
    let distance = gaps.iter().enumerate().fold(0.0f64, |d, (i, gap)| {
        let expected = 1.0 - (-rate * gap).exp();
        d.max((expected - i as f64 / n).abs()).max((expected - (i + 1) as f64 / n).abs())
    });
    assert!(distance < 1.63 / n.sqrt(), "distance {distance} over {n} gaps");
}

#[test]
fn uniform_gaps_are_equal_and_the_phase_is_random() {
    let a = times(Process::Uniform, 1_000.0, 1.0, 1);
    assert!(gaps(&a).iter().all(|gap| (gap - 0.001).abs() < 2e-9));
    assert!((0.0..=0.001).contains(&a[0]));
    assert_ne!(a[0], times(Process::Uniform, 1_000.0, 1.0, 2)[0]);
}

#[test]
fn bursts_are_bursts() {
    let seconds = 5_000.0;
    let poisson = dispersion(&times(Process::Poisson, 100.0, seconds, 5), seconds, 1.0);
    let bursty = dispersion(&times(BURSTY, 100.0, seconds, 5), seconds, 1.0);
    assert!((0.9..1.1).contains(&poisson), "Poisson: {poisson}");
    assert!(bursty > 10.0, "bursty: {bursty}");
    // Half of the arrivals come at five times the mean rate, half at 0.56 times.
    let gaps = gaps(&times(BURSTY, 100.0, seconds, 5));
    let short = gaps.iter().filter(|&&gap| gap < 0.002).count() as f64 / gaps.len() as f64;
    let expected = 0.5 * (1.0 - (-1.0f64).exp()) + 0.5 * (1.0 - (-0.111f64).exp());
    assert!((short - expected).abs() < 0.03, "{short} of the gaps are short, not {expected}");
}

#[test]
fn the_seed_decides_the_schedule() {
    for process in [Process::Poisson, Process::Uniform, BURSTY] {
        let take = |seed| -> Vec<Arrival> {
            Schedule::new(process, &[10.0, 200.0], seed).unwrap().take(1_000).collect()
        };
        assert_eq!(take(1), take(1));
        assert_ne!(take(1), take(2), "{process:?}");
    }
}

#[test]
fn streams_are_merged_in_order_and_independent_of_those_after_them() {
    let two: Vec<Arrival> =
        Schedule::new(Process::Poisson, &[20.0, 80.0], 9).unwrap().take(5_000).collect();
    assert!(two.windows(2).all(|pair| pair[0].at <= pair[1].at));
    let first: Vec<Nanos> = two.iter().filter(|a| a.stream == 0).map(|a| a.at).collect();
    let share = first.len() as f64 / two.len() as f64;
    assert!((share - 0.2).abs() < 0.02, "{share}");
    let alone: Vec<Nanos> = Schedule::new(Process::Poisson, &[20.0], 9)
        .unwrap()
        .take(first.len())
        .map(|a| a.at)
        .collect();
    assert_eq!(first, alone);
}

#[test]
fn impossible_parameters_are_refused() {
    for rate in [0.0, -1.0, f64::NAN, f64::INFINITY, 1e9] {
        assert!(Schedule::new(Process::Poisson, &[rate], 0).is_err(), "{rate}");
    }
    for bursts in [
        Bursts { share: 0.0, ..Bursts::default() },
        Bursts { share: 1.0, ..Bursts::default() },
        Bursts { factor: 1.0, ..Bursts::default() },
        Bursts { factor: 11.0, ..Bursts::default() },
        Bursts { mean_s: f64::NAN, ..Bursts::default() },
    ] {
        assert!(Schedule::new(Process::Bursty(bursts), &[1.0], 0).is_err(), "{bursts:?}");
    }
    // All arrivals in bursts: the calm has none at all.
    let all = Process::Bursty(Bursts { share: 0.1, factor: 10.0, mean_s: 0.5 });
    assert!(!times(all, 100.0, 100.0, 1).is_empty());
}
