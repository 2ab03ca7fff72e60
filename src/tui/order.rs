//! The order of the model rows.

use crate::telemetry::snapshot::ModelSnapshot;
use std::cmp::Ordering;

/// What the rows are sorted by; whatever needs attention comes first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sort {
    /// As in config.ron.
    #[default]
    Config,
    Name,
    /// Deepest first.
    Queue,
    /// Busiest first.
    Arrivals,
    /// Worst p99 against its SLO first.
    Latency,
    /// Lowest first.
    HitRate,
    /// Lowest first.
    Utility,
}

impl Sort {
    const ALL: [Sort; 7] = [
        Sort::Config,
        Sort::Name,
        Sort::Queue,
        Sort::Arrivals,
        Sort::Latency,
        Sort::HitRate,
        Sort::Utility,
    ];

    pub fn next(self) -> Sort {
        Sort::ALL[(self as usize + 1) % Sort::ALL.len()]
    }

    pub fn title(self) -> &'static str {
        match self {
            Sort::Config => "config order",
            Sort::Name => "name",
            Sort::Queue => "queue",
            Sort::Arrivals => "arrivals",
            Sort::Latency => "p99/SLO",
            Sort::HitRate => "SLO hit rate",
            Sort::Utility => "utility",
        }
    }

    fn compare(self, a: &ModelSnapshot, b: &ModelSnapshot) -> Ordering {
        // A model without requests has nothing to show and comes last.
        let known = |value: Option<f64>| value.unwrap_or(f64::INFINITY);
        match self {
            Sort::Config => Ordering::Equal,
            Sort::Name => a.name.cmp(&b.name),
            Sort::Queue => b.queue_depth.cmp(&a.queue_depth),
            Sort::Arrivals => b.arrivals_per_s.total_cmp(&a.arrivals_per_s),
            Sort::Latency => latency_ratio(b).total_cmp(&latency_ratio(a)),
            Sort::HitRate => known(a.slo_hit_rate).total_cmp(&known(b.slo_hit_rate)),
            Sort::Utility => known(a.utility).total_cmp(&known(b.utility)),
        }
    }
}

/// Indices of the models in the order of their rows.
pub fn sorted(models: &[ModelSnapshot], sort: Sort) -> Vec<usize> {
    let mut order: Vec<usize> = (0..models.len()).collect();
    order.sort_by(|a, b| sort.compare(&models[*a], &models[*b]));
    order
}

fn latency_ratio(model: &ModelSnapshot) -> f64 {
    if model.latency_us.count == 0 {
        return 0.0;
    }
    model.latency_us.p99 as f64 / model.slo_us.max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tui::fixtures;

    fn first(sort: Sort) -> String {
        let (snapshot, _) = fixtures::settled("overload");
        snapshot.models[sorted(&snapshot.models, sort)[0]].name.clone()
    }

    #[test]
    fn what_needs_attention_comes_first() {
        for sort in [Sort::Config, Sort::Queue, Sort::Latency, Sort::HitRate, Sort::Utility] {
            assert_eq!(first(sort), "yolov5s", "{sort:?}");
        }
        assert_eq!(first(Sort::Name), "efficientnet-b0");
        assert_eq!(first(Sort::Arrivals), "mobilenetv3-small");
    }

    #[test]
    fn a_model_without_requests_comes_last() {
        let (mut snapshot, _) = fixtures::settled("healthy");
        snapshot.models[0].slo_hit_rate = None;
        assert_eq!(sorted(&snapshot.models, Sort::HitRate).last(), Some(&0));
    }
}
