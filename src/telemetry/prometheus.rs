//! The metrics page: a [`Snapshot`] in Prometheus' text format, version 0.0.4.
//!
//! Metrics that Triton has too carry its names, labels and meaning, so that dashboards people own
//! work unchanged; the others begin with `bcedge_`. Units stand last, as everywhere.

mod machine;

use super::WINDOW;
use super::snapshot::{ApplianceState, Counters, ModelSnapshot, ModelState, Snapshot};
use std::fmt::{Display, Write};

/// Content-Type of the page.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";
/// Every model has one version.
const VERSION: &str = "1";

/// The whole page. It ends with a line feed, as the format wants.
pub fn render(snapshot: &Snapshot) -> String {
    let mut page = Page::default();
    appliance(&mut page, snapshot);
    triton(&mut page, &snapshot.models);
    outcomes(&mut page, &snapshot.models);
    service_level(&mut page, snapshot);
    decisions(&mut page, &snapshot.models);
    latency(&mut page, &snapshot.models);
    machine::render(&mut page, &snapshot.device);
    page.text
}

fn appliance(page: &mut Page, snapshot: &Snapshot) {
    page.family("bcedge_build_info", Kind::Gauge, "Version of the appliance; the value is 1");
    page.sample(&[("version", &snapshot.version)], 1);
    page.family("bcedge_state", Kind::Gauge, "State of the appliance: 1 for the one it is in");
    for (name, state) in [
        ("starting", ApplianceState::Starting),
        ("serving", ApplianceState::Serving),
        ("draining", ApplianceState::Draining),
    ] {
        page.sample(&[("state", name)], u8::from(snapshot.state == state));
    }
    page.family("bcedge_uptime_seconds", Kind::Gauge, "Time since the start of the appliance");
    page.sample(&[], snapshot.uptime_us as f64 / 1e6);
    page.family("bcedge_connections", Kind::Gauge, "Open client connections");
    page.sample(&[], snapshot.connections);
}

/// Triton's own metrics. Copying in and out is part of an execution here and not timed on its own,
/// so those two durations stay zero.
fn triton(page: &mut Page, models: &[ModelSnapshot]) {
    let mut counter = |name, help, value: fn(&Counters) -> u64| {
        page.family(name, Kind::Counter, help);
        page.per_model(models, |m| Some(value(&m.counters)));
    };
    counter(
        "nv_inference_request_success",
        "Number of successful inference requests, all batch sizes",
        |c| c.ok,
    );
    counter("nv_inference_count", "Number of inferences performed (items)", |c| c.items);
    counter("nv_inference_exec_count", "Number of model executions performed (batches)", |c| {
        c.executions
    });
    counter(
        "nv_inference_request_duration_us",
        "Cumulative inference request duration in microseconds",
        |c| c.queue_us_total.saturating_add(c.compute_us_total),
    );
    counter(
        "nv_inference_queue_duration_us",
        "Cumulative inference queuing duration in microseconds",
        |c| c.queue_us_total,
    );
    counter(
        "nv_inference_compute_input_duration_us",
        "Cumulative compute input duration in microseconds (part of compute infer here)",
        |_| 0,
    );
    counter(
        "nv_inference_compute_infer_duration_us",
        "Cumulative compute inference duration in microseconds",
        |c| c.compute_us_total,
    );
    counter(
        "nv_inference_compute_output_duration_us",
        "Cumulative compute output duration in microseconds (part of compute infer here)",
        |_| 0,
    );
    let name = "nv_inference_request_failure";
    page.family(name, Kind::Counter, "Number of failed inference requests, all batch sizes");
    for model in models {
        let c = &model.counters;
        // The scheduler turned both away: at the door, or because the deadline was out of reach.
        let rejected = c.rejected.saturating_add(c.expired);
        for (reason, value) in
            [("REJECTED", rejected), ("CANCELED", c.cancelled), ("BACKEND", c.failed), ("OTHER", 0)]
        {
            page.model_sample(model, &[("reason", reason)], value);
        }
    }
    let name = "nv_inference_pending_request_count";
    page.family(name, Kind::Gauge, "Instantaneous number of pending requests awaiting execution");
    page.per_model(models, |m| Some(m.queue_depth));
}

fn outcomes(page: &mut Page, models: &[ModelSnapshot]) {
    let name = "bcedge_requests_received_total";
    page.family(name, Kind::Counter, "Requests that came in");
    page.per_model(models, |m| Some(m.counters.received));
    let name = "bcedge_requests_total";
    page.family(name, Kind::Counter, "Requests answered, by what became of them");
    for model in models {
        let c = &model.counters;
        for (outcome, value) in [
            ("in_time", c.slo_met),
            ("late", c.ok.saturating_sub(c.slo_met)),
            ("rejected", c.rejected),
            ("expired", c.expired),
            ("failed", c.failed),
            ("cancelled", c.cancelled),
        ] {
            page.model_sample(model, &[("outcome", outcome)], value);
        }
    }
    let name = "bcedge_instances_replaced_total";
    page.family(name, Kind::Counter, "Instances replaced after an error, a panic or a hang");
    page.per_model(models, |m| Some(m.counters.replaced));
    page.family("bcedge_model_state", Kind::Gauge, "State of the model: 1 for the one it is in");
    for model in models {
        for (name, is) in [
            ("loading", model.state == ModelState::Loading),
            ("ready", model.state == ModelState::Ready),
            ("failed", matches!(model.state, ModelState::Failed(_))),
            ("unloaded", model.state == ModelState::Unloaded),
        ] {
            page.model_sample(model, &[("state", name)], u8::from(is));
        }
    }
    page.family("bcedge_queue_bound", Kind::Gauge, "Requests that may wait");
    page.per_model(models, |m| Some(m.queue_bound));
    page.family("bcedge_queue_oldest_us", Kind::Gauge, "How long the oldest request has waited");
    page.per_model(models, |m| Some(m.queue_oldest_us));
}

fn service_level(page: &mut Page, snapshot: &Snapshot) {
    let models = &snapshot.models;
    let name = "bcedge_slo_hits_total";
    page.family(name, Kind::Counter, "Requests answered within their SLO");
    page.per_model(models, |m| Some(m.counters.slo_met));
    let name = "bcedge_slo_misses_total";
    page.family(name, Kind::Counter, "Requests answered late, or not with outputs (not cancelled)");
    page.per_model(models, |m| {
        let c = &m.counters;
        let refused = c.rejected.saturating_add(c.expired).saturating_add(c.failed);
        Some(c.ok.saturating_sub(c.slo_met).saturating_add(refused))
    });
    page.family("bcedge_slo_us", Kind::Gauge, "SLO of requests that don't bring their own");
    page.per_model(models, |m| Some(m.slo_us));
    let name = "bcedge_slo_hit_ratio";
    page.windowed(name, "Share of the answered requests within their SLO, 0 to 1");
    page.per_model(models, |m| m.slo_hit_rate);
    page.windowed("bcedge_utility", "Utility ln(1 + goodput / mean normalised latency)");
    page.per_model(models, |m| m.utility);
    page.windowed("bcedge_goodput_per_second", "Requests per second within their SLO");
    page.per_model(models, |m| Some(m.goodput_per_s));
    page.windowed("bcedge_arrivals_per_second", "Requests per second that came in");
    page.per_model(models, |m| Some(m.arrivals_per_s));
    let totals = &snapshot.totals;
    page.windowed("bcedge_total_slo_hit_ratio", "Share within the SLO over all models, 0 to 1");
    page.optional(&[], totals.slo_hit_rate);
    page.windowed("bcedge_total_utility", "Mean of the models' utilities");
    page.optional(&[], totals.utility);
}

fn decisions(page: &mut Page, models: &[ModelSnapshot]) {
    page.family("bcedge_policy", Kind::Gauge, "Policy in force; the value is 1");
    for model in models {
        page.model_sample(model, &[("policy", &model.policy)], 1);
    }
    let name = "bcedge_overridden";
    page.family(name, Kind::Gauge, "1 while an operator's setting overrides the policy");
    page.per_model(models, |m| Some(u8::from(m.overridden)));
    page.family("bcedge_batch_limit", Kind::Gauge, "Most items in a batch, as decided");
    page.per_model(models, |m| Some(m.batch));
    page.family("bcedge_batch_limit_max", Kind::Gauge, "Most items in a batch the engine takes");
    page.per_model(models, |m| Some(m.max_batch));
    page.family("bcedge_instances", Kind::Gauge, "Instances that may run at once, as decided");
    page.per_model(models, |m| Some(m.instances));
    page.family("bcedge_instances_alive", Kind::Gauge, "Instances that exist");
    page.per_model(models, |m| Some(m.instances_alive));
    page.family("bcedge_instances_running", Kind::Gauge, "Instances that run a batch");
    page.per_model(models, |m| Some(m.instances_running));
    let name = "bcedge_decisions_total";
    page.family(name, Kind::Counter, "Changes of a model's batch limit or instances");
    page.per_model(models, |m| Some(m.decisions_total));
}

/// Percentiles and buckets of the window. They go down again, so they are gauges and not the
/// format's own summary and histogram, which only grow.
fn latency(page: &mut Page, models: &[ModelSnapshot]) {
    page.windowed("bcedge_latency_us", "Latency of answered requests by quantile");
    for model in models.iter().filter(|model| model.latency_us.count > 0) {
        let l = &model.latency_us;
        for (quantile, value) in
            [("0.5", l.p50), ("0.9", l.p90), ("0.99", l.p99), ("0.999", l.p999), ("1", l.max)]
        {
            page.model_sample(model, &[("quantile", quantile)], value);
        }
    }
    page.windowed("bcedge_latency_requests", "Requests with a latency of at most `le_us`");
    for model in models {
        let mut requests = 0;
        for (bound_us, count) in &model.latency_histogram {
            requests = count.saturating_add(requests);
            page.model_sample(model, &[("le_us", &bound_us.to_string())], requests);
        }
    }
    page.windowed("bcedge_batches", "Batches by items in them");
    for model in models {
        for (items, batches) in &model.batch_distribution {
            page.model_sample(model, &[("items", &items.to_string())], *batches);
        }
    }
    let name = "bcedge_predicted_us";
    page.family(name, Kind::Gauge, "Predicted execution time by items in the batch");
    for model in models {
        for (items, us) in &model.predicted_us {
            page.model_sample(model, &[("items", &items.to_string())], *us);
        }
    }
}

#[derive(Clone, Copy)]
enum Kind {
    Counter,
    Gauge,
}

/// The page as it grows, family by family.
#[derive(Default)]
struct Page {
    text: String,
    /// Name of the family that samples belong to.
    family: &'static str,
}

/// Writing into a `String` can't fail, so the results are dropped.
impl Page {
    fn family(&mut self, name: &'static str, kind: Kind, help: &str) {
        let kind = match kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
        };
        self.family = name;
        let _ = write!(self.text, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
    }

    /// A gauge over the last [`WINDOW`].
    fn windowed(&mut self, name: &'static str, help: &str) {
        let seconds = WINDOW.as_secs_f64();
        self.family(name, Kind::Gauge, &format!("{help} (last {seconds} s)"));
    }

    /// One sample for each model that has a value.
    fn per_model<V: Display>(
        &mut self,
        models: &[ModelSnapshot],
        value: impl Fn(&ModelSnapshot) -> Option<V>,
    ) {
        for model in models {
            if let Some(value) = value(model) {
                self.model_sample(model, &[], value);
            }
        }
    }

    fn model_sample(
        &mut self,
        model: &ModelSnapshot,
        labels: &[(&str, &str)],
        value: impl Display,
    ) {
        let mut all = vec![("model", model.name.as_str()), ("version", VERSION)];
        all.extend(labels);
        self.sample(&all, value);
    }

    fn optional(&mut self, labels: &[(&str, &str)], value: Option<f64>) {
        if let Some(value) = value {
            self.sample(labels, value);
        }
    }

    fn sample(&mut self, labels: &[(&str, &str)], value: impl Display) {
        self.text.push_str(self.family);
        for (i, (label, value)) in labels.iter().enumerate() {
            let before = if i == 0 { '{' } else { ',' };
            let _ = write!(self.text, "{before}{label}=\"{}\"", escaped(value));
        }
        let end = if labels.is_empty() { "" } else { "}" };
        let _ = writeln!(self.text, "{end} {value}");
    }
}

/// A label's value between its quotes.
fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests;
