//! Says in words what is wrong, worst first: what the person who is woken at three needs to read.

use crate::telemetry::SLOW_DRIFT;
use crate::telemetry::format::{age_us, bytes, count, duration_us, rate, share, times};
use crate::telemetry::snapshot::{
    ApplianceState, DeviceSnapshot, Level, ModelSnapshot, ModelState, Snapshot,
};
use crate::tui::history::{History, ModelHistory, RecentRates};

/// A hit rate below this is a violation (the design's goal: within 5 %) …
const HIT_RATE_BAD: f64 = 0.95;
/// … and below this worth a look.
const HIT_RATE_WARNING: f64 = 0.99;
/// Nothing has started although requests wait: after this long, or after two SLOs if that is more.
const STUCK_US: u64 = 1_000_000;
const HOT_C: f64 = 90.0;
const MEMORY_FULL: f64 = 0.95;

/// How urgent a finding is. Later is worse.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    Info,
    Warning,
    Critical,
}

/// One thing an operator should know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    pub severity: Severity,
    /// The model it is about.
    pub model: Option<String>,
    /// A sentence that stands on its own, the model's name first.
    pub text: String,
}

/// Everything worth saying about this moment, worst first; empty when all is well.
pub fn diagnose(snapshot: &Snapshot, history: &History) -> Vec<Finding> {
    let mut findings = Vec::new();
    appliance(snapshot, &mut findings);
    for model in &snapshot.models {
        let about = About { model, snapshot, history: history.model(&model.name) };
        about.find(&mut findings);
    }
    device(&snapshot.device, &mut findings);
    if snapshot.learning.is_dead() {
        let text = "the learner has died: serving goes on with the last weights; restart to learn";
        findings.push(Finding { severity: Severity::Warning, model: None, text: text.into() });
    }
    // Stable: findings of one severity stay in the order of config.ron.
    findings.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
    findings
}

/// What to say when there is nothing to complain about.
pub fn all_well(snapshot: &Snapshot) -> String {
    let ready = snapshot.models.iter().filter(|m| m.state == ModelState::Ready).count();
    let models = if ready == 1 { "1 model".into() } else { format!("{ready} models") };
    if snapshot.totals.arrivals_per_s < 0.05 {
        return format!("{models} ready, no requests are arriving");
    }
    let hit = share(snapshot.totals.slo_hit_rate);
    format!("{models} serving within their SLO — {hit} of requests in time")
}

fn appliance(snapshot: &Snapshot, findings: &mut Vec<Finding>) {
    let mut say = |severity, text| findings.push(Finding { severity, model: None, text });
    let loading = snapshot.models.iter().filter(|m| m.state == ModelState::Loading);
    let names: Vec<&str> = loading.map(|m| m.name.as_str()).collect();
    match snapshot.state {
        ApplianceState::Draining => {
            let left = in_the_appliance(snapshot);
            let text = format!("draining: no new requests, {} left to finish", count(left));
            say(Severity::Warning, text);
        }
        ApplianceState::Starting | ApplianceState::Serving if !names.is_empty() => {
            let done = snapshot.models.len() - names.len();
            let text = format!(
                "loading models: {done} of {} done, waiting for {}",
                snapshot.models.len(),
                some_of(&names)
            );
            say(Severity::Info, text);
        }
        ApplianceState::Starting => say(Severity::Info, "the appliance is starting".into()),
        ApplianceState::Serving if snapshot.models.is_empty() => {
            say(Severity::Warning, "no models: config.ron names none".into());
        }
        ApplianceState::Serving => {}
    }
}

fn in_the_appliance(snapshot: &Snapshot) -> u64 {
    let c = &snapshot.totals.counters;
    let ended = [c.ok, c.rejected, c.expired, c.failed, c.cancelled];
    ended.into_iter().fold(c.received, u64::saturating_sub)
}

fn some_of(names: &[&str]) -> String {
    match names.len() {
        0..=3 => names.join(", "),
        n => format!("{} and {} more", names[..2].join(", "), n - 2),
    }
}

fn device(device: &DeviceSnapshot, findings: &mut Vec<Finding>) {
    let mut say = |severity, text| findings.push(Finding { severity, model: None, text });
    let full = |used: Option<u64>, total: Option<u64>| {
        let (used, total) = (used?, total.filter(|t| *t > 0)?);
        (used as f64 >= total as f64 * MEMORY_FULL).then(|| {
            let left = total.saturating_sub(used);
            format!("memory is nearly full: {} of {} left", bytes(left), bytes(total))
        })
    };
    if let Some(text) = full(device.memory_used_bytes, device.memory_total_bytes) {
        say(Severity::Critical, text);
    }
    let mut hot = |name: &str, temperature: Option<f64>| {
        if let Some(c) = temperature.filter(|c| *c >= HOT_C) {
            say(Severity::Warning, format!("{name} is at {c:.0} °C: it may be slowing down"));
        }
    };
    hot("the CPU", device.temperature_c);
    for gpu in &device.gpus {
        hot(&gpu.name, gpu.temperature_c);
    }
    if let Some(by) = device.throttled_by.as_ref().filter(|by| !by.is_empty()) {
        say(Severity::Warning, format!("the device is throttled by {}", by.join(", ")));
    }
    for gpu in &device.gpus {
        if let Some(by) = gpu.throttled_by.as_ref().filter(|by| !by.is_empty()) {
            say(Severity::Warning, format!("{} is throttled by {}", gpu.name, by.join(", ")));
        }
    }
    for gpu in &device.gpus {
        if let Some(text) = full(gpu.memory_used_bytes, gpu.memory_total_bytes) {
            say(Severity::Critical, format!("{}: {text}", gpu.name));
        }
    }
}

/// One model, and where to look for reasons.
struct About<'a> {
    model: &'a ModelSnapshot,
    snapshot: &'a Snapshot,
    history: Option<&'a ModelHistory>,
}

impl About<'_> {
    fn find(&self, findings: &mut Vec<Finding>) {
        let mut say = |severity, text: String| {
            let text = format!("{}{text}", self.model.name);
            findings.push(Finding { severity, model: Some(self.model.name.clone()), text });
        };
        match &self.model.state {
            ModelState::Failed(reason) => {
                say(Severity::Critical, format!(" FAILED: {}", one_line(reason)));
                return;
            }
            ModelState::Unloaded if self.model.arrivals_per_s >= 0.05 => {
                let arrivals = rate(self.model.arrivals_per_s);
                say(Severity::Warning, format!(" is unloaded but gets {arrivals} requests/s"));
                return;
            }
            ModelState::Loading | ModelState::Unloaded => return,
            ModelState::Ready => {}
        }
        let all = [self.engine(), self.stuck(), self.slo(), self.lost_instances(), self.drifted()];
        for (severity, text) in all.into_iter().flatten() {
            say(severity, text);
        }
    }

    fn rates(&self) -> RecentRates {
        self.history.map(ModelHistory::recent_rates).unwrap_or_default()
    }

    fn engine(&self) -> Option<(Severity, String)> {
        let rates = self.rates();
        if rates.failed > 0.0 {
            let told = match self.last_error() {
                Some(text) => format!(" — {text}"),
                None => String::new(),
            };
            let failed = rate(rates.failed.max(0.1));
            return Some((Severity::Critical, format!(": the engine fails {failed}/s{told}")));
        }
        (rates.replaced > 0).then(|| {
            let (n, span) = (rates.replaced, age_us(rates.span_us));
            (Severity::Warning, format!(": {n} instance(s) replaced in the last {span}"))
        })
    }

    fn last_error(&self) -> Option<String> {
        let about = |event: &&crate::telemetry::snapshot::Event| {
            event.level == Level::Error && event.model.as_deref() == Some(&self.model.name)
        };
        self.snapshot.events.iter().rev().find(about).map(|event| one_line(&event.text))
    }

    fn stuck(&self) -> Option<(Severity, String)> {
        let model = self.model;
        let patience_us = STUCK_US.max(model.slo_us.saturating_mul(2));
        let idle = model.queue_depth > 0 && model.instances_running == 0;
        (idle && model.queue_oldest_us > patience_us).then(|| {
            let (waits, depth) =
                (duration_us(model.queue_oldest_us), count(model.queue_depth.into()));
            let text = format!(": STUCK, nothing runs, {depth} queued, the oldest for {waits}");
            (Severity::Critical, text)
        })
    }

    /// The SLO is broken: how badly, since when, and why.
    fn slo(&self) -> Option<(Severity, String)> {
        let model = self.model;
        let hit = model.slo_hit_rate?;
        let over = model.latency_us.count > 0 && model.latency_us.p99 > model.slo_us;
        if hit >= HIT_RATE_WARNING {
            return None;
        }
        let severity = if hit < HIT_RATE_BAD { Severity::Critical } else { Severity::Warning };
        let slo = duration_us(model.slo_us);
        let mut text = if over {
            format!(": p99 {} over SLO {slo}", duration_us(model.latency_us.p99))
        } else {
            format!(": SLO {slo} missed")
        };
        text += &format!(" ({} in time)", share(Some(hit)));
        let out_us =
            self.history.map_or(0, |h| h.out_of_slo_us(model.slo_us, self.snapshot.uptime_us));
        if out_us >= 2_000_000 {
            text += &format!(" for {}", age_us(out_us));
        }
        let reasons = self.reasons();
        if !reasons.is_empty() {
            text += " — ";
            text += &reasons.join(", ");
        }
        Some((severity, text))
    }

    fn reasons(&self) -> Vec<String> {
        let model = self.model;
        let rates = self.rates();
        let mut reasons = Vec::new();
        let alone_us = model.predicted_us.first().map_or(0, |(_, us)| *us);
        if alone_us > model.slo_us {
            reasons.push(format!("one run alone takes {}", duration_us(alone_us)));
        }
        let bound = model.queue_bound;
        if bound > 0 && model.queue_depth >= bound {
            reasons.push(format!("queue full ({})", count(bound.into())));
        } else if let Some((before, now)) =
            self.history.and_then(|h| h.queue_growth(self.snapshot.uptime_us))
        {
            reasons.push(format!("queue grows from {before} to {now}"));
        }
        if rates.ok > 0.0 && model.arrivals_per_s > rates.ok * 1.1 {
            let (arrivals, served) = (rate(model.arrivals_per_s), rate(rates.ok));
            reasons.push(format!("arrivals {arrivals}/s > capacity {served}/s"));
        }
        let refused = rates.rejected + rates.expired;
        if refused >= 0.1 {
            reasons.push(format!("{}/s refused or expired", rate(refused)));
        }
        if reasons.is_empty() && model.latency_us.count > 0 {
            let (queue_us, compute_us) = (model.queue_us_mean, model.compute_us_mean);
            let part = |us: f64| duration_us(us.max(0.0) as u64);
            reasons.push(if queue_us > compute_us {
                format!("mostly waiting: {} of {}", part(queue_us), part(queue_us + compute_us))
            } else {
                format!("mostly computing: {} in batches up to {}", part(compute_us), model.batch)
            });
        }
        if model.overridden {
            let (batch, instances) = (model.batch, model.instances);
            reasons.push(format!("held by hand at batch {batch} × {instances}"));
        }
        reasons
    }

    fn lost_instances(&self) -> Option<(Severity, String)> {
        let (alive, wanted) = (self.model.instances_alive, self.model.instances);
        (alive < wanted).then(|| {
            let severity = if alive == 0 { Severity::Critical } else { Severity::Warning };
            (severity, format!(": {alive} of {wanted} instances alive"))
        })
    }

    /// Executions take longer than the profile says. Predictions follow; the operator should know.
    fn drifted(&self) -> Option<(Severity, String)> {
        let model = self.model;
        (model.drift >= SLOW_DRIFT && !model.run_times.is_empty()).then(|| {
            let text = format!(
                ": batches take {} as long as profiled — predictions follow; look at power mode, \
                 heat and what else runs, or profile again",
                times(model.drift)
            );
            (Severity::Warning, text)
        })
    }
}

/// Reasons may span lines; a banner is one.
fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tui::fixtures;

    fn found(name: &str) -> Vec<Finding> {
        let (snapshot, history) = fixtures::settled(name);
        diagnose(&snapshot, &history)
    }

    fn text_about<'a>(findings: &'a [Finding], model: &str) -> &'a Finding {
        findings.iter().find(|f| f.model.as_deref() == Some(model)).expect(model)
    }

    #[test]
    fn a_healthy_appliance_has_nothing_to_complain_about() {
        assert_eq!(found("healthy"), []);
        let (snapshot, _) = fixtures::settled("healthy");
        assert_eq!(
            all_well(&snapshot),
            "6 models serving within their SLO — 99.7% of requests in time"
        );
    }

    #[test]
    fn overload_is_told_with_its_cause_and_since_when() {
        let findings = found("overload");
        let worst = text_about(&findings, "yolov5s");
        assert_eq!(worst.severity, Severity::Critical);
        for part in [
            "p99 312ms over SLO 138ms",
            "61.0% in time",
            "for 40 s",
            "queue grows",
            "arrivals 14/s",
        ] {
            assert!(worst.text.contains(part), "'{part}' is missing in: {}", worst.text);
        }
        assert!(worst.text.contains("> capacity 9.0/s"), "{}", worst.text);
    }

    #[test]
    fn a_failed_model_comes_first_with_its_reason_on_one_line() {
        let findings = found("failed");
        assert_eq!(findings[0].model.as_deref(), Some("resnet18"));
        assert!(findings[0].text.starts_with("resnet18 FAILED: "), "{}", findings[0].text);
        assert!(!findings[0].text.contains('\n'));
        assert!(findings.is_sorted_by(|a, b| a.severity >= b.severity));
    }

    #[test]
    fn an_engine_that_fails_is_quoted() {
        let findings = found("failed");
        let text = &text_about(&findings, "tinybert").text;
        assert!(text.contains("the engine fails") && text.contains("token id"), "{text}");
    }

    #[test]
    fn starting_and_draining_are_said() {
        assert!(found("starting")[0].text.contains("loading models: 1 of 6 done"));
        let (mut snapshot, history) = fixtures::settled("healthy");
        snapshot.state = ApplianceState::Draining;
        snapshot.totals.counters.received += 12;
        let text = &diagnose(&snapshot, &history)[0].text;
        assert!(text.starts_with("draining: no new requests"), "{text}");
    }

    #[test]
    fn a_queue_with_nothing_running_is_stuck() {
        let (mut snapshot, history) = fixtures::settled("healthy");
        let model = &mut snapshot.models[2];
        (model.queue_depth, model.instances_running, model.queue_oldest_us) = (5, 0, 3_200_000);
        let findings = diagnose(&snapshot, &history);
        assert!(findings[0].text.contains("STUCK, nothing runs, 5 queued"), "{}", findings[0].text);
    }

    #[test]
    fn a_device_in_trouble_is_said() {
        let (mut snapshot, history) = fixtures::settled("healthy");
        snapshot.device.temperature_c = Some(97.4);
        snapshot.device.memory_used_bytes = snapshot.device.memory_total_bytes;
        let findings = diagnose(&snapshot, &history);
        assert!(findings[0].text.contains("memory is nearly full"), "{findings:?}");
        assert!(findings[1].text.contains("97 °C"), "{findings:?}");
        snapshot.device.throttled_by = Some(vec!["cpu-throttle-alert".into()]);
        let findings = diagnose(&snapshot, &history);
        assert!(findings[2].text.contains("throttled by cpu-throttle-alert"), "{findings:?}");
    }

    #[test]
    fn a_slower_device_and_a_dead_learner_are_said() {
        let findings = found("overload");
        let drift = findings.iter().find(|f| f.text.contains("1.72× as long as profiled"));
        let drift = drift.expect("told");
        assert_eq!((drift.model.as_deref(), drift.severity), (Some("yolov5s"), Severity::Warning));
        let (mut snapshot, history) = fixtures::settled("overload");
        snapshot.models[0].run_times.clear();
        let text = |findings: Vec<Finding>, part: &str| {
            findings.iter().any(|finding| finding.text.contains(part))
        };
        assert!(!text(diagnose(&snapshot, &history), "as profiled"), "nothing has run lately");
        assert!(text(found("failed"), "the learner has died"));
        assert!(!text(found("healthy"), "the learner"));
    }

    #[test]
    fn without_history_a_miss_is_still_told() {
        let (snapshot, _) = fixtures::settled("overload");
        let findings = diagnose(&snapshot, &History::default());
        assert!(text_about(&findings, "yolov5s").text.contains("p99 312ms over SLO 138ms"));
    }
}
