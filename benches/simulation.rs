//! How many requests a second one core simulates: arrivals, the shipping pipeline, the device and
//! the counting of answers.
//!
//! `cargo bench --bench simulation`. One iteration is a minute of six models on the modelled Orin
//! Nano at 0.6 and 0.9 of its capacity; the throughput shown is simulated requests. `fixed` is the
//! policy the target is about; the others show what their decisions cost.

use bcedge::config::PolicyConfig;
use bcedge::scheduler::trained::Trained;
use bcedge::scheduler::{self, POLICIES, Policy};
use bcedge::sim::platform::Platform;
use bcedge::sim::{Load, SloMix, network};
use bcedge::suite::bench::{Bench, WARM_UP, end};
use bcedge::units::InstanceCount;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use std::hint::black_box;

const SECONDS: u64 = 60;
/// About what the suite finds for this platform.
const CAPACITY_PER_S: f64 = 75.0;

fn policies(name: &str, bench: &Bench) -> Vec<Box<dyn Policy>> {
    let config = PolicyConfig::Fixed { batch: 8, instances: 2 };
    let trained = Trained::shipped();
    let models = bench.surfaces.models.iter();
    let named = models.filter_map(|model| {
        let instances = InstanceCount(model.max_instances);
        scheduler::make_named(name, &config, model.max_batch, instances, &trained)
    });
    named.collect()
}

fn simulation(criterion: &mut Criterion) {
    let platform = Platform::built_in("orin_nano").expect("a platform that is built in");
    let surfaces = platform.surfaces(&network::reference(), 32, 8).expect("it fits");
    let bench = Bench::new(surfaces, SloMix::Same(1.0), 1);
    for level in [0.6, 0.9] {
        let mut group = criterion.benchmark_group(format!("simulated requests, load {level}"));
        let load = Load::Steady { level };
        let plan = load.plan(&bench.surfaces, CAPACITY_PER_S, WARM_UP, end(SECONDS));
        for name in POLICIES {
            let run = || bench.run(&plan, policies(name, &bench), SECONDS, 1).expect("valid rates");
            // Those before the count begins are simulated, too.
            let length_s = end(SECONDS).as_secs_f64();
            let requests = run().requests as f64 * length_s / SECONDS as f64;
            group.throughput(Throughput::Elements(requests as u64));
            group.bench_function(name, |bencher| bencher.iter(|| black_box(run())));
        }
        group.finish();
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(20);
    targets = simulation
}
criterion_main!(benches);
