//! The simulator and the suite: nothing is lost or answered twice, the same seed gives the same
//! result, and the definition of utility can't be played with.

use bcedge::config::PolicyConfig;
use bcedge::models::REFERENCE;
use bcedge::scheduler::trained::Trained;
use bcedge::scheduler::{self, Caps, DeviceView, Dispatch, Policy, Reason};
use bcedge::sim::platform::Platform;
use bcedge::sim::{Arrivals, Load, LoadPlan, SloMix, Surfaces, network, published};
use bcedge::suite::bench::{Bench, WARM_UP, end};
use bcedge::suite::capacity::capacity;
use bcedge::suite::cell::{NamedLoad, NoMeter, Plan};
use bcedge::suite::grid::{self, Grid, Rules, SloSet};
use bcedge::suite::scenario::Scenario;
use bcedge::suite::tune::{Effort, FLOOR, oracles};
use bcedge::units::{BatchSize, InstanceCount, ModelId, Nanos};
use std::path::Path;

const SECONDS: u64 = 40;

fn surfaces(platform: &str) -> Surfaces {
    Platform::built_in(platform).unwrap().surfaces(&network::reference(), 32, 8).unwrap()
}

fn bench(platform: &str) -> Bench {
    Bench::new(surfaces(platform), SloMix::Same(1.0), 1)
}

fn plan(bench: &Bench, load: &Load, capacity_per_s: f64) -> LoadPlan {
    load.plan(&bench.surfaces, capacity_per_s, WARM_UP, end(SECONDS))
}

fn named(name: &str, bench: &Bench) -> Vec<Box<dyn Policy>> {
    let config = PolicyConfig::default();
    let models = bench.surfaces.models.iter();
    let trained = Trained::shipped();
    let make = |batch, instances| {
        scheduler::make_named(name, &config, batch, instances, &trained).unwrap()
    };
    models.map(|m| make(m.max_batch, InstanceCount(m.max_instances))).collect()
}

fn all_loads() -> Vec<NamedLoad> {
    grid::loads()
}

#[test]
fn every_arrival_is_answered_exactly_once() {
    let bench = Bench { slo: SloMix::Mixed(vec![0.3, 1.0, 2.0]), ..bench("orin_nano") };
    for NamedLoad { name, load } in all_loads() {
        let plan = plan(&bench, &load, 90.0);
        let arrivals =
            Arrivals::new(&plan.shape, &plan.rates_per_s, bench.slo.clone(), 11).unwrap();
        let mut expected = vec![0u64; bench.surfaces.models.len()];
        for arrival in arrivals.take_while(|arrival| arrival.at < end(SECONDS)) {
            expected[arrival.model.index()] += u64::from(arrival.at >= WARM_UP);
        }
        for policy in scheduler::POLICIES {
            let run = bench.run(&plan, named(policy, &bench), SECONDS, 11).unwrap();
            let counted: Vec<u64> = run.models.iter().map(|model| model.requests).collect();
            assert_eq!(counted, expected, "{policy} under {name}");
            assert_eq!(run.requests, expected.iter().sum::<u64>());
            assert!(run.utilisation > 0.0 && run.utilisation <= 1.0, "{policy} under {name}");
            assert!(run.pooled_bytes < bench.surfaces.memory_bytes, "{policy} under {name}");
            assert!(run.pooled_bytes <= run.copies_bytes, "{policy} under {name}");
        }
    }
}

#[test]
fn the_same_seed_gives_the_same_result_and_another_one_another() {
    let bench = bench("tx2");
    let plan = plan(&bench, &Load::SlowDown { level: 0.6, speed: 0.5 }, 11.0);
    for policy in scheduler::POLICIES {
        let run = |seed| bench.run(&plan, named(policy, &bench), SECONDS, seed).unwrap();
        assert_eq!(run(5), run(5), "{policy}");
        assert_ne!(run(5), run(6), "{policy}");
    }
}

fn small_grid(seed: u64) -> Grid {
    let mut loads = grid::loads();
    loads.retain(|load| ["steady 0.9", "mix shift"].contains(&load.name.as_str()));
    let platform =
        |name: &str| grid::Platform { name: name.into(), modelled: true, surfaces: surfaces(name) };
    Grid {
        platforms: vec![platform("nano"), platform("tx2")],
        slo_sets: vec![SloSet {
            name: "mixed".into(),
            scale: 0.9,
            mix: SloMix::Mixed(vec![0.7, 1.4]),
        }],
        loads,
        plan: Plan {
            trained: Trained::shipped(),
            policies: vec!["fixed", "triton", "deadline"],
            runs: 2,
            shortened: 0.1,
            effort: Effort { fair: 10, utility: 10, counts: 4 },
            seed,
        },
        rules: Rules::default(),
    }
}

#[test]
fn a_grid_does_not_depend_on_the_number_of_threads() {
    let run = |grid: Grid, threads| {
        let cells = grid.run(threads, &NoMeter, &|_| {}).unwrap();
        serde_json::to_string(&cells).unwrap()
    };
    let one = run(small_grid(3), 1);
    assert_eq!(one, run(small_grid(3), 4));
    assert_ne!(one, run(small_grid(4), 4));
    // A cell is the same whatever else is run.
    let mut part = small_grid(3);
    part.platforms.remove(0);
    part.loads.remove(0);
    let part = run(part, 1);
    assert!(one.contains(part.trim_start_matches('[').trim_end_matches(']')));
}

#[test]
fn capacity_grows_with_the_device_and_with_the_slo() {
    let of = |speed: f64, slo: f64| {
        let mut platform = Platform::built_in("xavier_nx").unwrap();
        platform.peak_gflops *= speed;
        platform.bandwidth_gb_per_s *= speed;
        let mut surfaces = platform.surfaces(&network::reference(), 32, 8).unwrap();
        // Of the slower device's SLOs.
        for (model, network) in surfaces.models.iter_mut().zip(network::reference()) {
            model.slo = Nanos::from_secs_f64(network.slo_ms / 1e3 * slo);
        }
        capacity(&Bench::new(surfaces, SloMix::Same(1.0), 1), 1).unwrap().0
    };
    let (base, faster, looser) = (of(1.0, 1.0), of(1.5, 1.0), of(1.0, 1.5));
    assert!(faster > 1.2 * base, "{base} {faster}");
    assert!(looser > base, "{base} {looser}");
}

#[test]
fn an_slo_nobody_can_meet_is_told() {
    let mut surfaces = surfaces("nano");
    surfaces.models[0].slo = Nanos::from_millis(1);
    let error = capacity(&Bench::new(surfaces, SloMix::Same(1.0), 1), 1).unwrap_err();
    assert!(error.contains("an SLO is too short"), "{error}");
}

/// What somebody might do who wants a high utility and not good service.
#[derive(Clone, Copy, Debug)]
enum Trick {
    /// Serves all but the model whose items take the device longest.
    Starve,
    /// Serves in every second half second only: half of the requests get an idle device.
    Shed,
    /// Starts each batch when its first item's slack is gone.
    Wait,
    /// One item at a time.
    Tiny,
}

#[derive(Debug)]
struct Gamer {
    trick: Trick,
    /// Of the model with the most work.
    heaviest: ModelId,
}

impl Policy for Gamer {
    fn name(&self) -> &'static str {
        "fixed"
    }

    fn decide(&mut self, device: &DeviceView<'_>, models: &[ModelId], caps: &mut [Caps]) {
        for (&id, caps) in models.iter().zip(caps) {
            let model = device.of(id);
            // Batches that leave room in the SLO.
            let fits = |&batch: &u32| {
                let time = model.predictor.alone(BatchSize(batch)).unwrap_or(Nanos::ZERO);
                time.scale(4.0) <= model.slo
            };
            let powers = (0..6).map(|power| 1 << power);
            let batch = match self.trick {
                Trick::Tiny => 1,
                _ => powers.take_while(fits).last().unwrap_or(1),
            };
            let instances = InstanceCount::ONE;
            *caps = Caps { batch: BatchSize(batch), instances, reason: Reason::Configured };
        }
    }

    fn dispatch(&mut self, device: &DeviceView<'_>, ready: &[ModelId]) -> Dispatch {
        let id = ready[0];
        let model = device.of(id);
        let start = Dispatch::Start(id, model.caps.batch);
        let half_second = device.now.0 / 500_000_000;
        match self.trick {
            Trick::Starve if id == self.heaviest => Dispatch::WaitUntil(Nanos::MAX),
            Trick::Shed if half_second % 2 == 1 => {
                Dispatch::WaitUntil(Nanos((half_second + 1) * 500_000_000))
            }
            Trick::Wait if model.queued_items < model.caps.batch.0 => {
                let head = model.head().expect("a model that is ready has a queue, always");
                let items = BatchSize(model.queued_items.min(model.caps.batch.0));
                let needed = device.execution(&model, items).unwrap_or(Nanos::ZERO);
                let latest = head.deadline - needed.scale(1.2);
                if device.now >= latest { start } else { Dispatch::WaitUntil(latest) }
            }
            _ => start,
        }
    }
}

#[test]
fn utility_is_not_to_be_had_by_bad_service() {
    for platform in ["tx2", "orin_nano"] {
        let bench = bench(platform);
        let (capacity_per_s, serves) = capacity(&bench, 1).unwrap();
        let work = |m: &&ModelId| bcedge::sim::device_time_ns(&bench.surfaces.models[m.index()]);
        let ids: Vec<ModelId> = (0..bench.surfaces.models.len() as u16).map(ModelId).collect();
        let heaviest = *ids.iter().max_by(|a, b| work(a).total_cmp(&work(b))).unwrap();
        for load in [Load::Steady { level: 0.9 }, Load::Steady { level: 1.3 }] {
            let plan = plan(&bench, &load, capacity_per_s);
            let effort = Effort { fair: 60, utility: 60, counts: 4 };
            let hints = [serves.clone()];
            let found = oracles(&bench, &plan, SECONDS, &hints, effort, 2).unwrap();
            let run = |policies| bench.run(&plan, policies, SECONDS, 3).unwrap();
            let floor = FLOOR * run(found.fair.policies(&plan)).worst_hit_rate();
            let planner = run(named("planner", &bench));
            assert!(planner.worst_hit_rate() >= floor, "the planner itself is below the floor");
            let honest = planner.utility.max(run(found.best.policies(&plan)).utility);
            for trick in [Trick::Starve, Trick::Shed, Trick::Wait, Trick::Tiny] {
                let gamer = |_| Box::new(Gamer { trick, heaviest }) as Box<dyn Policy>;
                let gamed = run(ids.iter().map(gamer).collect());
                let ratio = (gamed.utility - honest).exp();
                println!(
                    "{platform} {load:?} {trick:?}: {ratio:.3}, worst {:.3}, floor {floor:.3}",
                    gamed.worst_hit_rate()
                );
                let caught = gamed.worst_hit_rate() < floor;
                assert!(caught || ratio < 1.0, "{platform} {load:?} {trick:?}: {ratio:.3}");
            }
        }
    }
}

#[test]
fn the_modelled_networks_are_the_reference_networks() {
    let networks = network::reference();
    assert_eq!(networks.len(), REFERENCE.len());
    for (network, reference) in networks.iter().zip(&REFERENCE) {
        assert_eq!(network.name, reference.name);
        assert_eq!(network.slo_ms, reference.slo_ms as f64);
        let off = network.parameters / reference.parameters as f64 - 1.0;
        assert!(off.abs() < 0.01, "{}: {off}", network.name);
    }
}

#[test]
fn the_model_is_near_what_was_published() {
    for published in published::published().unwrap() {
        let platform = Platform::built_in(&published.platform).unwrap();
        let ms = published.modelled_ms(&platform).unwrap_or_else(|| panic!("{published:?}"));
        let over = ms / published.ms;
        // A time that holds more than the execution is a bound.
        let least = if published.whole_way { 0.0 } else { 0.75 };
        assert!((least..1.3).contains(&over), "{ms:.1} ms, {published:?}");
    }
}

fn problems(text: &str) -> String {
    Scenario::parse("mine.ron", text).map(|_| ()).unwrap_err().to_string()
}

#[test]
fn the_scenarios_that_come_along_are_valid() {
    for entry in std::fs::read_dir("assets/scenarios").unwrap() {
        let path = entry.unwrap().path();
        let ready = Scenario::load(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        assert!(!ready.platforms.is_empty() && !ready.loads.is_empty());
    }
}

#[test]
fn a_scenario_with_platforms_of_its_own_runs() {
    let mut ready = Scenario::load(Path::new("assets/scenarios/everything.ron")).unwrap();
    ready.slo_sets.truncate(1);
    ready.loads.truncate(1);
    let grid = Grid {
        platforms: ready.platforms,
        slo_sets: ready.slo_sets,
        loads: ready.loads,
        plan: Plan { policies: ready.policies.unwrap(), ..small_grid(1).plan },
        rules: Rules::default(),
    };
    let cells = grid.run(2, &NoMeter, &|_| {}).unwrap();
    assert_eq!(cells.len(), 3);
    assert_eq!(cells[2].models, ["detector", "classifier"]);
    assert!(cells.iter().all(|cell| cell.rows.len() == 5), "three policies and two oracles");
}

#[test]
fn every_mistake_in_a_scenario_is_told_at_its_place() {
    let cases = [
        ("(platforms: [Named(\"nano\")", "mine.ron:1:13", "its `]` is missing"),
        ("(platfroms: [])", "mine.ron:1:2", "did you mean `platforms`"),
        ("(platforms: [])", "mine.ron:1:13", "at least one platform"),
        ("(platforms: [Named(\"nanno\")])", "mine.ron:1:", "nano, tx2, xavier_nx, orin_nano"),
        ("(platforms: [Named(\"nano\")], largest_batch: 500)", ":1:45", "from 1 to 128"),
        (
            "(platforms: [Named(\"nano\")],\n loads: [(name: \"a\", shape: Steady(level: -1.0))])",
            "mine.ron:2:",
            "a number from 0",
        ),
        (
            "(platforms: [Named(\"nano\")],\n loads: [(name: \"a\", shape: Steady(level: 0.0))])",
            "mine.ron:2:",
            "a level from 0.01 to 100",
        ),
        (
            "(platforms: [Named(\"nano\")], loads: [(name: \"a\", \
             shape: Bursty(level: 1.0, share: 0.5, factor: 3.0, mean_s: 1.0))])",
            "mine.ron:1:",
            "up to 2.000",
        ),
        (
            "(platforms: [Named(\"nano\")], loads: [(name: \"a\", shape: Rates(per_s: [1.0]))])",
            "mine.ron:1:",
            "1 rates for 6 networks",
        ),
        ("(platforms: [Named(\"nano\")], policies: [\"magic\"])", ":1:", "no policy 'magic'"),
        ("(platforms: [Named(\"nano\")], networks: [Reference(\"x\")])", ":1:", "yolov5s"),
        (
            "(platforms: [Timed((name: \"t\", memory_mib: 1,\n timings: [(name: \"m\", slo_ms: 5.0,\n \
             executions: [(2, 1.0, 0.5)])]))])",
            "mine.ron:3:",
            "the first of 1 item",
        ),
        (
            "(platforms: [Named(\"nano\")],\n slo_sets: [(name: \"a\", scale: 1.0),\n \
             (name: \"b\", scale: 0.0)])",
            "mine.ron:3:21",
            "above 0",
        ),
        (
            "(platforms: [Named(\"nano\")], loads: [\n (name: \"a\", shape: Rates(per_s: [1.0, 1.0, \
             1.0, 1.0, 1.0, 1.0])),\n (name: \"b\", shape: Rates(per_s: [1.0]))])",
            "mine.ron:3:",
            "1 rates for 6 networks",
        ),
        ("(platforms: [Named(\"nano\"),\n Named(\"nanno\")])", "mine.ron:2:2", "orin_nano"),
    ];
    for (text, place, what) in cases {
        let problems = problems(text);
        assert!(problems.contains(place) && problems.contains(what), "{text}\n{problems}");
    }
    let modelled = include_str!("../assets/platforms/nano.ron");
    let lines = modelled.lines().filter(|line| !line.starts_with("//"));
    let modelled = lines.collect::<Vec<_>>().join("\n");
    for (from, to, what) in [
        ("dense_efficiency: 0.64", "dense_efficiency: 1.64", "a number from 0 to 1"),
        ("dense_efficiency: 0.64", "dense_efficiency: 0.0", "above 0, up to 1"),
        ("memory_mib: 3956", "memory_mib: 1000", "1400 MiB are reserved of 1000 MiB"),
        ("reserved_mib: 1400", "reserved_mib: 3800", "one instance of each model takes"),
        ("threads: 2048.0,", "", "`threads` is missing"),
        ("noise: 0.06", "noise: \"much\"", "a number from 0 to 1"),
    ] {
        let broken = modelled.replace(from, to);
        assert_ne!(broken, modelled);
        let problems = problems(&format!("(platforms: [Modelled({broken})])"));
        assert!(problems.contains(what), "{to}\n{problems}");
    }
    let missing = Scenario::load(Path::new("nowhere.ron")).unwrap_err().to_string();
    assert!(missing.contains("nowhere.ron") && missing.contains("can't be read"), "{missing}");
}
