//! What requests are worth to the planner: the utility that they lose, more of it for a model that
//! starves, and what the device's time is worth while there is too little of it.

use super::efficiency::time_per_item_s;
use super::plan::{Plan, Weights};
use crate::scheduler::{DeviceView, ModelView, utility};
use crate::units::{ModelId, Nanos};

/// With the whole device shared out in proportion, all models would have the same hit rate h: 1 over
/// how many times the device is asked for. Each should keep this share of it, to the power of
/// [`FLOOR_EXPONENT`] …
const FLOOR_SHARE: f64 = 0.88;
/// … above 1, since the harder the overload, the more a device gains by what is cheap to serve: the
/// best fixed choices are ever further from an equal share, too. A floor at an equal share wastes
/// what all others could have.
const FLOOR_EXPONENT: f64 = 1.3;
/// A device that could keep every deadline should keep this share of each model's.
const MOST_FLOOR: f64 = 0.985;
/// The logarithm of a model's weight grows with what it lacks of that, relative to it: by this much
/// at once, …
const WEIGHT_GAIN: f64 = 2.0;
/// … and by this much more each second. Faster, the weights would swing: a hit rate tells only after
/// seconds what a weight has done.
const WEIGHT_GAIN_PER_S: f64 = 0.2;
/// They fall this many times faster, so that what they grew by before the rates were known does not
/// cost the others the next half minute.
const WEIGHT_FALL: f64 = 2.0;
/// The most it grows to: four hundred times the model's own weight.
const MOST_EXTRA_WEIGHT: f64 = 6.0;
/// A rate below this counts as this, in requests per second: one request is not worth everything.
const LEAST_RATE_PER_S: f64 = 0.2;
/// A hit rate below this counts as this, for the same reason.
const LEAST_HIT_RATE: f64 = 0.05;
/// A second of the device costs this share of what the requests are worth that it could serve last.
/// At the whole of it nothing would be gained by serving them, and the device might idle.
const SCARCITY_SHARE: f64 = 0.7;

/// The logarithm of the factor by which a model weighs more because it starves.
#[derive(Clone, Copy, Debug)]
struct Extra {
    /// What has grown slowly.
    grown: f64,
    total: f64,
    /// When it was brought up to date.
    at: Nanos,
}

/// What models weigh, brought up to date each slot.
#[derive(Debug, Default)]
pub(super) struct Worth {
    /// By model.
    extra: Vec<Extra>,
    /// Scratch: what a second of the device is worth to a model, and the seconds of it that its
    /// requests ask for in a second; most worth first.
    asked: Vec<(f64, f64)>,
}

impl Worth {
    /// Sets the plan's weights, and its price of the device's time.
    pub(super) fn update(&mut self, device: &DeviceView<'_>, plan: &mut Plan) {
        self.extra.resize(device.models, Extra { grown: 0.0, total: 0.0, at: device.now });
        let floor = hit_floor(device);
        plan.resize(device.models);
        self.asked.clear();
        for (id, model) in device.all() {
            let extra = &mut self.extra[id.index()];
            let elapsed_s = (device.now - extra.at).as_secs_f64();
            let lack = (floor - model.tally.recent_hit_rate) / floor;
            let gain_per_s = WEIGHT_GAIN_PER_S * if lack < 0.0 { WEIGHT_FALL } else { 1.0 };
            extra.grown += gain_per_s * elapsed_s * lack;
            extra.grown = extra.grown.clamp(0.0, MOST_EXTRA_WEIGHT);
            extra.total = (extra.grown + WEIGHT_GAIN * lack.max(0.0)).min(MOST_EXTRA_WEIGHT);
            extra.at = device.now;
            let weights = weights(&model, extra.total.exp());
            plan.set_model(id, &model, weights);
            let time_s = time_per_item_s(model.predictor, model.caps.batch);
            let rate_per_s = model.demand.slow_per_s.max(model.demand.fast_per_s);
            self.asked.push((weights.miss / time_s.max(f64::MIN_POSITIVE), rate_per_s * time_s));
        }
        plan.set_scarcity(SCARCITY_SHARE * last_served(&mut self.asked));
    }

    /// Logarithm of the factor by which a model weighs more because it starved.
    pub(super) fn extra(&self, id: ModelId) -> f64 {
        self.extra.get(id.index()).map_or(0.0, |extra| extra.total)
    }
}

/// Of what asks for the device, the worth of a second to whatever gets the last of it when the most
/// worthy is served first (a continuous knapsack's dual price, Dantzig 1957); nothing while there is
/// enough for all.
fn last_served(asked: &mut [(f64, f64)]) -> f64 {
    asked.sort_unstable_by(|a, b| b.0.total_cmp(&a.0));
    let mut total = 0.0;
    let last = asked.iter().find(|(_, seconds)| {
        total += seconds;
        total > 1.0
    });
    last.map_or(0.0, |&(worth, _)| worth)
}

/// What one request of this model counts.
fn weights(model: &ModelView<'_>, factor: f64) -> Weights {
    let rate_per_s = model.demand.slow_per_s.max(model.demand.fast_per_s / 2.0);
    let rate_per_s = rate_per_s.max(LEAST_RATE_PER_S);
    let cost = model.tally.recent_cost.max(utility::LEAST_COST);
    let hit_rate = model.tally.recent_hit_rate.max(LEAST_HIT_RATE);
    let ratio = rate_per_s * hit_rate / cost;
    // d ln(1 + r) = r / (1 + r) d ln r.
    let request = factor * ratio / (1.0 + ratio) / rate_per_s;
    Weights { cost: request / cost, miss: request * (utility::MISS_COST / cost + 1.0 / hit_rate) }
}

/// The hit rate that every model should have.
fn hit_floor(device: &DeviceView<'_>) -> f64 {
    let asked = |(_, model): (ModelId, ModelView<'_>)| {
        model.demand.slow_per_s * time_per_item_s(model.predictor, model.caps.batch)
    };
    let asked: f64 = device.all().map(asked).sum();
    (FLOOR_SHARE * asked.powf(-FLOOR_EXPONENT)).min(MOST_FLOOR)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scheduler::testing::{TestModel, with_view};
    use crate::scheduler::{Predictor, Running};
    use crate::units::BatchSize;

    #[test]
    fn the_floor_is_high_while_all_can_be_served_and_falls_faster_than_an_equal_share() {
        let floor_at = |rate_per_s: f64| {
            // Each of two models takes the whole device for 10 ms.
            let mut model =
                TestModel::new(100, Predictor::new(&[(BatchSize(1), Nanos(10_000_000))]));
            model.caps.batch = BatchSize(1);
            model.demand.slow_per_s = rate_per_s / 2.0;
            let models = [model.clone(), model];
            with_view(&models, &Running::default(), Nanos::ZERO, hit_floor)
        };
        assert_eq!([0.0, 50.0, 90.0].map(floor_at), [MOST_FLOOR; 3]);
        assert!((floor_at(100.0) - FLOOR_SHARE).abs() < 1e-9);
        for (over, equal) in [(200.0, 0.5), (400.0, 0.25)] {
            let floor = floor_at(over);
            assert!(floor < 0.88 * equal && floor > 0.5 * equal, "{floor} of {equal}");
        }
    }

    #[test]
    fn a_weight_grows_while_a_model_starves_and_falls_faster() {
        let mut model = TestModel::new(100, Predictor::new(&[(BatchSize(1), Nanos(10_000_000))]));
        (model.caps.batch, model.demand.slow_per_s) = (BatchSize(1), 200.0);
        let (mut worth, mut plan) = (Worth::default(), Plan::default());
        let mut seconds = 0..;
        let mut after = |count: usize, hit_rate: f64| {
            model.tally.recent_hit_rate = hit_rate;
            for now in seconds.by_ref().take(count) {
                let models = std::slice::from_ref(&model);
                let now = Nanos::from_millis(1_000 * now);
                with_view(models, &Running::default(), now, |device| {
                    worth.update(device, &mut plan)
                });
            }
            worth.extra[0].grown
        };
        // The device is asked for twice what it has.
        let floor = FLOOR_SHARE * 0.5f64.powf(FLOOR_EXPONENT);
        let starved = after(11, floor / 2.0);
        assert!((starved - 10.0 * WEIGHT_GAIN_PER_S / 2.0).abs() < 1e-6, "{starved}");
        let grown = after(1, floor * 0.9);
        assert!((grown - starved - 0.1 * WEIGHT_GAIN_PER_S).abs() < 1e-6);
        let fallen = after(1, floor * 1.1);
        assert!((grown - fallen - 0.1 * WEIGHT_FALL * WEIGHT_GAIN_PER_S).abs() < 1e-6);
        assert_eq!(after(100, 1.0), 0.0);
    }

    #[test]
    fn time_has_the_worth_of_what_is_served_last_and_none_while_there_is_enough() {
        let price = |asked: &[(f64, f64)]| last_served(&mut asked.to_vec());
        assert_eq!(price(&[(3.0, 0.4), (9.0, 0.5)]), 0.0);
        assert_eq!(price(&[(3.0, 0.6), (9.0, 0.5)]), 3.0, "9 is served, 3 gets the rest");
        assert_eq!(price(&[(3.0, 0.6), (9.0, 1.5), (1.0, 1.0)]), 9.0, "it asks for more than all");
    }
}
