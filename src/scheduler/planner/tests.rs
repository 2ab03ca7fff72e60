use super::super::testing::{TestModel, with_view};
use super::super::{Interference, Predictor, Running, Start};
use super::*;

fn ms(millis: u64) -> Nanos {
    Nanos::from_millis(millis)
}

/// Takes the whole device for `first` ms with one item, `each` ms more for every other.
fn whole_device(first: u64, each: u64) -> Predictor {
    Predictor::new(&[(BatchSize(1), ms(first)), (BatchSize(8), ms(first + 7 * each))])
}

fn plan(models: &[TestModel], running: &Running, now: Nanos) -> Dispatch {
    let ids: Vec<ModelId> = (0..models.len() as u16).map(ModelId).collect();
    let ready: Vec<_> =
        ids.iter().copied().filter(|id| !models[id.index()].queue.is_empty()).collect();
    let mut caps: Vec<Caps> = models.iter().map(|model| model.caps).collect();
    let mut planner = Planner::default();
    with_view(models, running, now, |device| {
        planner.decide(device, &ids, &mut caps);
        planner.dispatch(device, &ready)
    })
}

fn start(model: u16, batch: u32) -> Dispatch {
    Dispatch::Start(ModelId(model), BatchSize(batch))
}

#[test]
fn the_queue_that_loses_more_for_each_second_of_the_device_goes_first() {
    // Both have waited a while; the short one frees the device sooner.
    let models = [
        TestModel::new(100, whole_device(40, 40)).waiting(0, &[100]),
        TestModel::new(100, whole_device(5, 5)).waiting(0, &[100]),
    ];
    assert_eq!(plan(&models, &Running::default(), ms(30)), start(1, 1));
}

#[test]
fn a_deadline_that_can_still_be_kept_goes_before_latency() {
    // The long one must start now; the short one can afford to wait for it.
    let models = [
        TestModel::new(100, whole_device(20, 20)).waiting(0, &[100]),
        TestModel::new(400, whole_device(5, 5)).waiting(0, &[400]),
    ];
    assert_eq!(plan(&models, &Running::default(), ms(65)), start(0, 1));
}

#[test]
fn batches_where_that_is_cheap_and_not_where_it_only_delays() {
    let cheap = [TestModel::new(100, whole_device(20, 1)).waiting(0, &[100; 6])];
    assert_eq!(plan(&cheap, &Running::default(), ms(0)), start(0, 6));
    let dear = [TestModel::new(100, whole_device(12, 12)).waiting(0, &[100; 2])];
    assert_eq!(plan(&dear, &Running::default(), ms(0)), start(0, 1));
}

fn running(items: u32, deadline: Nanos) -> Running {
    let mut running = Running::default();
    let start = Start {
        model: ModelId(0),
        instance: 0,
        items: BatchSize(items),
        requests: items,
        deadline,
    };
    running.start(start, &whole_device(10, 1), &Interference::default(), Nanos::ZERO);
    running
}

#[test]
fn does_not_make_a_running_batch_late_for_one_that_can_wait() {
    let models = [
        TestModel::new(100, whole_device(10, 1)),
        TestModel::new(400, whole_device(10, 1)).waiting(0, &[400]),
    ];
    let waits = plan(&models, &running(1, ms(12)), ms(2));
    assert_eq!(waits, Dispatch::WaitUntil(ms(2) + ms(8).scale(WAIT_MARGIN) + WAIT_LEAST));
}

#[test]
fn a_model_that_starves_is_given_more_weight() {
    let starving = |hit_rate: f64| {
        let mut heavy = TestModel::new(100, whole_device(30, 30)).waiting(0, &[100]);
        heavy.tally.recent_hit_rate = hit_rate;
        heavy.demand.slow_per_s = 10.0;
        let mut light = TestModel::new(100, whole_device(25, 25)).waiting(0, &[100]);
        light.demand.slow_per_s = 10.0;
        [heavy, light]
    };
    assert_eq!(plan(&starving(0.9), &Running::default(), ms(40)), start(1, 1));
    let mut planner = Planner::default();
    let ids = [ModelId(0), ModelId(1)];
    let models = starving(0.4);
    let mut caps = [models[0].caps; 2];
    for second in 0..20 {
        with_view(&models, &Running::default(), ms(1_000 * second), |device| {
            planner.decide(device, &ids, &mut caps);
        });
    }
    let next = with_view(&models, &Running::default(), ms(40), |d| planner.dispatch(d, &ids));
    assert_eq!(next, start(0, 1));
}

#[test]
fn a_model_nothing_is_known_of_is_started_to_learn() {
    let models = [TestModel::new(100, Predictor::default()).waiting(0, &[100; 3])];
    assert_eq!(plan(&models, &Running::default(), ms(0)), start(0, 8));
}
