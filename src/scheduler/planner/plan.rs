//! The queues as they are, and what becomes of them when this or that batch starts.

use crate::scheduler::{DeviceView, Imprint, ModelView, utility};
use crate::units::{BatchSize, ModelId, Nanos};

/// Requests of one queue that are looked at: those behind them do not change what is best now.
const LOOK: usize = 48;
/// Latency counts a little even where it costs nothing, so that of two equal plans the sooner wins.
const TILT: f64 = 0.05;
/// A batch about to start is judged late if it would be with this much of its time on top: others
/// start beside it while it runs.
const RISK: f64 = 0.25;
/// What the requests to come lose by waiting for those that are here counts this much of what it
/// would be if they came evenly and all were served after them.
const FUTURE: f64 = 0.3;
/// The least time, in seconds, by which one queue is put behind another.
const LEAST_BACKLOG_S: f64 = 0.004;

/// What a unit of cost x and a missed SLO lose, in utility.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Weights {
    pub(super) cost: f64,
    pub(super) miss: f64,
}

/// One waiting request, in seconds.
#[derive(Clone, Copy, Debug)]
struct Waiting {
    age_s: f64,
    slo_s: f64,
    items: u32,
}

/// One model: what the slot fixed, then its queue now.
#[derive(Clone, Debug, Default)]
struct Queue {
    weights: Weights,
    /// Execution time alone in s and share of the device, by items; index 0 is not used.
    table: Vec<(f64, f64)>,
    /// What its requests to come lose if the device is free for them one second later, for each
    /// second that it is not: 1/s².
    price: f64,
    /// Most items in a batch.
    batch: u32,
    waiting: Vec<Waiting>,
    /// Requests before the last of those that can't be in time any more.
    hopeless: usize,
    /// Scratch: what putting it off costs for each second of the device.
    urgency: f64,
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Plan {
    queues: Vec<Queue>,
    /// Seconds of the device that all queues need.
    backlog_s: f64,
    /// Sum of the queues' prices.
    price: f64,
    /// What a second of the device is worth while there is too little of it, in utility.
    scarcity: f64,
    /// Scratch: queues in the order in which they are served.
    order: Vec<usize>,
}

impl Weights {
    /// What requests lost whose costs sum up to `cost`, and of which so many missed their SLO.
    pub(in crate::scheduler) fn lost(&self, cost: f64, missed: f64) -> f64 {
        // A miss is at least MISS_COST in `cost` already.
        self.cost * cost + missed * (self.miss - self.cost * utility::MISS_COST)
    }

    /// What a request loses that is answered `finish_s` from now, or `late_s` if that is judged
    /// against its deadline.
    fn loss(&self, request: &Waiting, finish_s: f64, late_s: f64) -> f64 {
        if request.age_s + late_s > request.slo_s {
            return self.miss + self.cost * TILT;
        }
        let x = (request.age_s + finish_s) / request.slo_s;
        self.cost * (x.max(utility::LEAST_COST) + TILT * x)
    }
}

impl Queue {
    fn execution(&self, items: u32) -> (f64, f64) {
        let last = self.table.len().saturating_sub(1);
        self.table.get((items as usize).min(last)).copied().unwrap_or_default()
    }

    /// The next batch from request `at` on: how many requests, and their items.
    fn batch_from(&self, at: usize, most: usize) -> (usize, u32) {
        let mut items = 0;
        let mut requests = 0;
        for request in self.waiting[at..].iter().take(most) {
            if requests > 0 && items + request.items > self.batch {
                break;
            }
            items += request.items;
            requests += 1;
        }
        (requests, items)
    }
}

impl Plan {
    pub(super) fn resize(&mut self, models: usize) {
        self.queues.resize(models, Queue::default());
    }

    /// Sets what holds for a slot.
    pub(super) fn set_model(&mut self, id: ModelId, model: &ModelView<'_>, weights: Weights) {
        let queue = &mut self.queues[id.index()];
        queue.weights = weights;
        // Requests that will be lost anyway have nothing more to lose.
        let served_per_s = model.demand.slow_per_s * model.tally.recent_hit_rate;
        let slo_s = model.slo.as_secs_f64();
        queue.price = if slo_s > 0.0 { weights.cost * served_per_s / slo_s } else { 0.0 };
        model.predictor.table(model.max_batch, &mut queue.table);
    }

    /// Sets what a second of the device is worth while there is too little of it.
    pub(super) fn set_scarcity(&mut self, scarcity: f64) {
        self.scarcity = scarcity;
    }

    /// Takes the queues in as they are, without what can't be in time any more.
    pub(super) fn observe(&mut self, device: &DeviceView<'_>) {
        self.backlog_s = 0.0;
        self.price = self.queues.iter().map(|queue| queue.price).sum();
        for (queue, (_, model)) in self.queues.iter_mut().zip(device.all()) {
            queue.batch = model.caps.batch.0.max(1);
            let soonest = device.execution(&model, BatchSize::ONE).unwrap_or(Nanos::ZERO);
            queue.waiting.clear();
            queue.hopeless = 0;
            for request in model.queue {
                if request.deadline < device.now + soonest {
                    queue.hopeless += 1;
                    continue;
                }
                if queue.waiting.len() == LOOK {
                    break;
                }
                queue.waiting.push(Waiting {
                    age_s: (device.now - request.arrival).as_secs_f64(),
                    slo_s: (request.deadline - request.arrival).as_secs_f64(),
                    items: request.items.0,
                });
            }
            let (requests, items) = queue.batch_from(0, usize::MAX);
            let (time_s, share) = queue.execution(items);
            self.backlog_s += time_s * share * queue.waiting.len() as f64 / requests.max(1) as f64;
        }
        self.backlog_s = self.backlog_s.max(LEAST_BACKLOG_S);
    }

    pub(super) fn weights(&self, id: ModelId) -> Weights {
        self.queues[id.index()].weights
    }

    /// Requests of a model that were passed over because they can't be in time any more.
    pub(super) fn hopeless(&self, id: ModelId) -> usize {
        self.queues[id.index()].hopeless
    }

    pub(super) fn is_empty(&self, id: ModelId) -> bool {
        self.queues[id.index()].waiting.is_empty()
    }

    /// Requests in the largest next batch of a model.
    pub(super) fn most(&self, id: ModelId) -> usize {
        self.queues[id.index()].batch_from(0, usize::MAX).0
    }

    /// Items of a model's first so many requests.
    pub(super) fn items(&self, id: ModelId, requests: usize) -> BatchSize {
        BatchSize(self.queues[id.index()].batch_from(0, requests).1.max(1))
    }

    /// What is lost in all if a batch of up to `most` requests of this model starts now.
    pub(super) fn start_now(&mut self, device: &DeviceView<'_>, id: ModelId, most: usize) -> f64 {
        let queue = &self.queues[id.index()];
        let (requests, items) = queue.batch_from(0, most);
        let (alone_s, share) = queue.execution(items);
        let model = device.of(id);
        let batch = device.imprint(&model, BatchSize(items));
        let multiplier = device.multiplier(&batch);
        let (ahead_s, delays) = self.slow_others(device, alone_s, &batch);
        // It ends when its share of the device is enough, at the latest after all work there is.
        let finish_s = if device.load + share > 1.0 {
            (alone_s * multiplier).min(ahead_s + alone_s)
        } else {
            alone_s * multiplier
        };
        let crowding = model.predictor.crowding();
        let late_s = (finish_s * (1.0 + RISK)).max(alone_s * crowding);
        let first = queue.waiting[..requests].iter();
        let own: f64 = first.map(|request| queue.weights.loss(request, finish_s, late_s)).sum();
        own + delays + self.rest(Some((id.index(), requests)), ahead_s + alone_s * share)
    }

    /// What is lost if nothing starts before the next batch ends.
    pub(super) fn wait(&mut self, device: &DeviceView<'_>, next_end: Nanos) -> f64 {
        let idle_s = next_end.as_secs_f64() * (1.0 - device.load).max(0.0);
        self.rest(None, ahead_s(device) + idle_s)
    }

    /// Device time that running batches still need, and what they lose if a batch of that time
    /// alone starts beside them.
    fn slow_others(&self, device: &DeviceView<'_>, alone_s: f64, batch: &Imprint) -> (f64, f64) {
        let all = device.running.with(batch);
        let mut loss = 0.0;
        for run in device.runs {
            let left_s = run.left(device.now).as_secs_f64();
            let slack_s = (run.deadline - device.now).as_secs_f64();
            if slack_s > left_s {
                let beside = all.without(&run.imprint);
                let multiplier = device.interference.multiplier(&run.imprint, &beside);
                let slower = (multiplier / run.multiplier() - 1.0).max(0.0);
                let delay_s = (left_s * slower).min(alone_s * batch.share());
                let weights = self.queues[run.model.index()].weights;
                let missed = if slack_s <= left_s + delay_s { weights.miss } else { 0.0 };
                let slo_s = device.of(run.model).slo.as_secs_f64();
                loss += f64::from(run.requests) * (weights.cost * delay_s / slo_s + missed);
            }
        }
        (ahead_s(device), loss)
    }

    /// What everything that waits loses if the device is free for it after `free_s` seconds, without
    /// the first requests of one queue: one queue after the other is served in full batches, the
    /// one first that loses most by waiting, but for neighbours that are better the other way round.
    /// Requests that come meanwhile wait for half of it on average, so that small batches, which
    /// take the device longer in all, cost them something.
    fn rest(&mut self, taken: Option<(usize, usize)>, free_s: f64) -> f64 {
        let skip = |index: usize| match taken {
            Some((model, requests)) if model == index => requests,
            _ => 0,
        };
        let mut order = std::mem::take(&mut self.order);
        order.clear();
        for (index, queue) in self.queues.iter_mut().enumerate() {
            let (requests, items) = queue.batch_from(skip(index), usize::MAX);
            if requests == 0 {
                continue;
            }
            let (time_s, share) = queue.execution(items);
            let (now_s, later_s) = (free_s + time_s, free_s + time_s + self.backlog_s);
            let batch = &queue.waiting[skip(index)..][..requests];
            let put_off = |request: &Waiting| {
                let weights = queue.weights;
                weights.loss(request, later_s, later_s) - weights.loss(request, now_s, now_s)
            };
            let lost: f64 = batch.iter().map(put_off).sum();
            queue.urgency = lost / (time_s * share).max(f64::MIN_POSITIVE);
            order.push(index);
        }
        let urgency = |index: usize| self.queues[index].urgency;
        order.sort_unstable_by(|&a, &b| urgency(b).total_cmp(&urgency(a)));
        let mut least = self.serve(&order, skip, free_s);
        for at in 1..order.len() {
            order.swap(at - 1, at);
            let swapped = self.serve(&order, skip, free_s);
            if swapped < least {
                least = swapped;
            } else {
                order.swap(at - 1, at);
            }
        }
        self.order = order;
        least
    }

    /// What is lost when the queues are served in this order from `start_s` on, without the first
    /// requests that `skip` tells, and what the time is worth that this takes: under overload a
    /// batch that keeps its deadlines may cost more of others' than it keeps.
    fn serve(&self, order: &[usize], skip: impl Fn(usize) -> usize, mut start_s: f64) -> f64 {
        let mut loss = 0.0;
        for &index in order {
            let queue = &self.queues[index];
            let mut at = skip(index);
            while at < queue.waiting.len() {
                let (requests, items) = queue.batch_from(at, usize::MAX);
                let (time_s, share) = queue.execution(items);
                let finish_s = start_s + time_s;
                let batch = &queue.waiting[at..at + requests];
                loss +=
                    batch.iter().map(|r| queue.weights.loss(r, finish_s, finish_s)).sum::<f64>();
                // What is late altogether is not run.
                if batch.iter().any(|request| request.age_s + finish_s <= request.slo_s) {
                    start_s += time_s * share;
                }
                at += requests;
            }
        }
        loss + self.scarcity * start_s + FUTURE * self.price * start_s * start_s / 2.0
    }
}

/// Device time that running batches still need.
fn ahead_s(device: &DeviceView<'_>) -> f64 {
    device.runs.iter().map(|run| run.device_time_left(device.now).as_secs_f64()).sum()
}
