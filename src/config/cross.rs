//! What only several values together, or the machine, can tell to be wrong.

use super::explain::{missing, nearest};
use super::outline::Entry;
use super::reader::Reader;
use super::report::Problem;
use super::{Config, Device, EngineConfig, ModelConfig, PolicyConfig, Slo};

/// Group names and numbers of this machine.
const GROUP_FILE: &str = "/etc/group";

/// Problems of a configuration whose values are each valid. Values that `reader` had to take out
/// are not compared with anything.
pub(super) fn check(config: &Config, reader: &Reader<'_>) -> Vec<Problem> {
    let mut problems = Vec::new();
    group(config, reader, &mut problems);
    onnxruntime(config, reader, &mut problems);
    if let Some(list) = reader.root.field("models").filter(|list| list.children.is_empty()) {
        let problem = Problem::error(list.value_span.clone(), "the list of models is empty");
        problems.push(problem.label("expected at least one model"));
    }
    missing_fields(reader, &mut problems);
    let models: Vec<(&ModelConfig, &Entry)> = config.models.iter().zip(reader.models()).collect();
    duplicate_names(&models, reader, &mut problems);
    for (model, entry) in &models {
        policy_limits(config, model, entry, reader, &mut problems);
        engine_file(model, entry, &mut problems);
    }
    problems
}

/// `serde` names the first missing field of a model only, and none after a wrong one.
fn missing_fields(reader: &Reader<'_>, problems: &mut Vec<Problem>) {
    let models = reader.root.field("models").map_or(&[][..], |models| &models.children);
    for model in models.iter().filter(|model| model.children.iter().any(|c| !c.key.is_empty())) {
        let fields = ["name", "engine"].into_iter().filter(|field| model.field(field).is_none());
        problems.extend(fields.map(|field| missing(reader.source, field, model)));
    }
}

/// The number of a group, by its name in `/etc/group` or as a number itself.
pub fn group_id(name: &str) -> Option<u32> {
    name.parse().ok().or_else(|| {
        let groups = std::fs::read_to_string(GROUP_FILE).ok()?;
        groups.lines().find_map(|line| {
            let mut parts = line.split(':');
            (parts.next() == Some(name)).then(|| parts.nth(1)?.parse().ok())?
        })
    })
}

fn group(config: &Config, reader: &Reader<'_>, problems: &mut Vec<Problem>) {
    let entry = reader.root.field("socket").and_then(|socket| socket.field("group"));
    let (Some(name), Some(entry)) = (&config.socket.group, entry) else { return };
    if group_id(name).is_some() {
        return;
    }
    let problem = Problem::error(entry.value_span.clone(), format!("unknown group `{name}`"))
        .help(format!("expected a name from {GROUP_FILE} or a group number"));
    let groups = std::fs::read_to_string(GROUP_FILE).unwrap_or_default();
    let names = groups.lines().filter_map(|line| line.split(':').next());
    problems.push(match nearest(name, names) {
        Some(near) => problem.label(format!("did you mean `{near}`?")),
        None => problem,
    });
}

fn onnxruntime(config: &Config, reader: &Reader<'_>, problems: &mut Vec<Problem>) {
    let (Some(path), Some(entry)) = (&config.onnxruntime, reader.root.field("onnxruntime")) else {
        return;
    };
    if !path.exists() && config.device != Device::Rten {
        let what = format!("the library {} is not there", path.display());
        problems.push(Problem::warning(entry.value_span.clone(), what).help(
            "without it `device: Auto` uses the embedded engine and `device: OnnxRuntime` fails",
        ));
    }
}

fn duplicate_names(
    models: &[(&ModelConfig, &Entry)],
    reader: &Reader<'_>,
    problems: &mut Vec<Problem>,
) {
    for (i, (model, entry)) in models.iter().enumerate() {
        let first = models[..i].iter().find(|(other, _)| other.name == model.name);
        if let (Some((_, first)), Some(name)) = (first, entry.field("name")) {
            let line = 1 + reader.source[..first.span().start].matches('\n').count();
            let what = format!("a second model is named `{}`", model.name);
            problems.push(
                Problem::error(name.value_span.clone(), what)
                    .label(format!("the first one begins in line {line}; every name once")),
            );
        }
    }
}

/// The policy in force for a model asks for no more than the model allows.
fn policy_limits(
    config: &Config,
    model: &ModelConfig,
    entry: &Entry,
    reader: &Reader<'_>,
    problems: &mut Vec<Problem>,
) {
    let policy = model.policy.as_ref().unwrap_or(&config.policy);
    let at = entry.field("policy").or_else(|| reader.root.field("policy"));
    let Some(at) = at.filter(|at| reader.is_intact(at)) else { return };
    let mut limit = |field: &str, values: &[u32], bound: &str, most: u32| {
        let bound_is_known = entry.field(bound).is_none_or(|entry| reader.is_intact(entry));
        let too_large = values.iter().find(|&&value| value > most);
        let (Some(value), true, Some(place)) = (too_large, bound_is_known, at.find(field)) else {
            return;
        };
        let span = place.value_span.clone();
        // One is enough where the policy of all models is too large for several of them.
        if problems.iter().any(|problem| problem.at.as_ref() == Some(&span)) {
            return;
        }
        let what =
            format!("{field} {value} is more than `{bound}: {most}` of model `{}`", model.name);
        problems.push(
            Problem::error(span, what)
                .label(format!("expected at most {most}, or a larger `{bound}` in the model")),
        );
    };
    match policy {
        PolicyConfig::Fixed { batch, instances } => {
            limit("batch", &[*batch], "max_batch", model.max_batch);
            limit("instances", &[*instances], "max_instances", model.max_instances);
        }
        PolicyConfig::Triton { preferred_batch_sizes, instances, .. } => {
            limit("preferred_batch_sizes", preferred_batch_sizes, "max_batch", model.max_batch);
            limit("instances", &[*instances], "max_instances", model.max_instances);
        }
        PolicyConfig::Aimd { instances, .. } => {
            limit("instances", &[*instances], "max_instances", model.max_instances);
        }
        PolicyConfig::Tac { instances } => {
            limit("instances", &[*instances], "max_instances", model.max_instances);
        }
        PolicyConfig::Sac
        | PolicyConfig::Deadline
        | PolicyConfig::Planner
        | PolicyConfig::DeepRt { .. }
        | PolicyConfig::Lookahead { .. } => {}
    }
    queue_delay(policy, model, at, problems);
}

/// The oldest request may not wait for company as long as its whole SLO.
fn queue_delay(
    policy: &PolicyConfig,
    model: &ModelConfig,
    at: &Entry,
    problems: &mut Vec<Problem>,
) {
    let (PolicyConfig::Triton { max_queue_delay_us, .. }
    | PolicyConfig::Aimd { max_queue_delay_us, .. }) = policy
    else {
        return;
    };
    let slo_us = match model.slo {
        Slo::Ms(ms) => 1_000 * ms,
        Slo::Us(us) => us,
        Slo::Auto => return,
    };
    if let (true, Some(delay)) = (*max_queue_delay_us >= slo_us, at.find("max_queue_delay_us")) {
        let what = format!(
            "waiting {max_queue_delay_us} µs for company leaves nothing of the SLO of {slo_us} µs \
             of model `{}`",
            model.name
        );
        problems.push(Problem::warning(delay.value_span.clone(), what));
    }
}

fn engine_file(model: &ModelConfig, entry: &Entry, problems: &mut Vec<Problem>) {
    let (EngineConfig::Onnx(path), Some(entry)) = (&model.engine, entry.field("engine")) else {
        return;
    };
    if !path.is_file() {
        let what = format!("the engine file {} is not there", path.display());
        problems.push(Problem::warning(entry.value_span.clone(), what).help(format!(
            "model `{}` will be shown as failed and the others serve; `bcedge models` builds the \
             six reference networks",
            model.name
        )));
    }
}
