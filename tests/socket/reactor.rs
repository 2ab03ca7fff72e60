//! The pretended reactor, and the models it pretends to have.

use crate::support::{BIG_ELEMENTS, Behaviour, Seen};
use bcedge::engine::{DataType, ModelSpec, TensorSpec};
use bcedge::pipeline::{Completion, Outcome};
use bcedge::server::gateway::{
    Answer, AnswerOutput, Catalog, CatalogEntry, InputData, ReactorPort, Submission, ToIngress,
    ToReactor,
};
use bcedge::telemetry::snapshot::{
    ApplianceState, BatchTotal, Counters, ModelSnapshot, ModelState, Snapshot,
};
use bcedge::telemetry::{Command, CommandError};
use bcedge::units::{BatchSize, Nanos, RequestId};
use ringbuf::traits::{Consumer, Producer};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex};

fn tensor(name: &str, data_type: DataType, shape: &[i64]) -> TensorSpec {
    TensorSpec { name: name.to_owned(), data_type, shape: shape.to_vec() }
}

pub fn catalog() -> Catalog {
    let doubling = |elements: i64| ModelSpec {
        inputs: vec![tensor("x", DataType::F32, &[elements])],
        outputs: vec![tensor("y", DataType::F32, &[elements])],
        batched: true,
        max_batch: BatchSize(8),
    };
    let all_types = |prefix: &str| {
        let named = |t: DataType| tensor(&format!("{prefix}_{}", t.name()), t, &[2, 1]);
        DataType::ALL.into_iter().map(named).collect()
    };
    let echo = ModelSpec {
        inputs: all_types("in"),
        outputs: all_types("out"),
        batched: false,
        max_batch: BatchSize(1),
    };
    let entry = |name: &str, state: ModelState, spec: Option<ModelSpec>| CatalogEntry {
        name: name.to_owned(),
        state,
        spec: spec.map(Arc::new),
        platform: "synthetic_table",
        slo: Nanos::from_millis(100),
        max_instances: 2,
        queue_bound: 16,
        preferred_batch_sizes: vec![4, 8],
        max_queue_delay: Nanos::from_micros(500),
    };
    Catalog {
        models: vec![
            entry("double", ModelState::Ready, Some(doubling(4))),
            entry("echo", ModelState::Ready, Some(echo)),
            entry("big", ModelState::Ready, Some(doubling(BIG_ELEMENTS as i64))),
            entry("broken", ModelState::Failed("broken.onnx is missing".to_owned()), None),
            entry("idle", ModelState::Unloaded, None),
        ],
    }
}

pub fn snapshot() -> Snapshot {
    let counters = Counters {
        received: 7,
        ok: 5,
        rejected: 2,
        executions: 3,
        items: 6,
        queue_us_total: 40,
        compute_us_total: 50,
        unserved_us_total: 60,
        ..Counters::default()
    };
    let double = ModelSnapshot {
        name: "double".to_owned(),
        counters,
        batch_totals: vec![
            BatchTotal { items: 1, executions: 2, compute_us: 30 },
            BatchTotal { items: 4, executions: 1, compute_us: 20 },
        ],
        last_inference_unix_ms: 1_700_000_000_123,
        ..ModelSnapshot::default()
    };
    Snapshot { state: ApplianceState::Serving, models: vec![double], ..Snapshot::default() }
}

pub struct Reactor {
    pub port: ReactorPort,
    pub behaviour: Arc<Mutex<Behaviour>>,
    pub tell: Sender<Seen>,
    pub held: Vec<(RequestId, Submission)>,
}

impl Reactor {
    pub fn run(mut self, stop: &AtomicBool) {
        while !stop.load(Ordering::Relaxed) {
            self.turn();
            self.port.reactor_bell.announce_sleep();
            // A changed behaviour does not ring the bell, so this looks by itself now and then.
            self.port.reactor_bell.wait(Nanos::from_millis(2));
            self.port.reactor_bell.awake();
        }
    }

    fn turn(&mut self) {
        while let Ok(made) = self.port.refreshes.try_recv() {
            // Who has gone away doesn't need it.
            let _ = made.send(());
        }
        while let Ok(call) = self.port.commands.try_recv() {
            let result = match &call.command {
                Command::Load { model } if model == "broken" => {
                    Err(CommandError::Failed("broken.onnx is missing".to_owned()))
                }
                Command::Load { model } | Command::Unload { model } if model == "nothing" => {
                    let name = model.clone();
                    Err(CommandError::UnknownModel { name, known: "double".to_owned() })
                }
                _ => Ok(()),
            };
            let _ = self.tell.send(Seen::Command(call.command));
            let _ = call.reply.send(result);
        }
        while let Some(message) = self.port.submissions.try_pop() {
            match message {
                ToReactor::Submit { id, submission, .. } => {
                    let _ = self.tell.send(Seen::Request {
                        model: submission.model,
                        items: submission.items.0,
                        slo: submission.slo,
                        timeout: submission.timeout,
                        priority: submission.priority,
                    });
                    self.held.push((id, submission));
                }
                ToReactor::Cancel(id) => {
                    if let Some(at) = self.held.iter().position(|(held, _)| *held == id) {
                        let _ = self.tell.send(Seen::Cancelled);
                        let (id, _) = self.held.remove(at);
                        self.answer(id, failed(Outcome::Cancelled, None));
                    }
                }
            }
        }
        let behaviour = self.behaviour.lock().unwrap().clone();
        if matches!(behaviour, Behaviour::Hold) {
            return;
        }
        for (id, submission) in std::mem::take(&mut self.held) {
            let answer = match &behaviour {
                Behaviour::Answer(outcome, detail) => failed(*outcome, detail.clone()),
                _ => compute(&self.port.catalog.load(), submission),
            };
            self.answer(id, answer);
        }
    }

    fn answer(&mut self, id: RequestId, answer: Answer) {
        self.port.answers.try_push(ToIngress { id, answer }).expect("room for every answer");
        self.port.ingress_bell.ring();
    }
}

fn failed(outcome: Outcome, detail: Option<String>) -> Answer {
    Answer { outcome, detail, outputs: Vec::new() }
}

fn compute(catalog: &Catalog, submission: Submission) -> Answer {
    let entry = &catalog.models[submission.model.index()];
    let spec = entry.spec.as_ref().expect("only ready models get requests");
    let mut inputs = Vec::new();
    for input in &submission.payload.inputs {
        inputs.push(match input {
            InputData::Inline(data) => data.to_vec(),
            InputData::Shared(slice) => {
                let mut data = vec![0; slice.len() as usize];
                if let Err(text) = slice.read_into(&mut data) {
                    return failed(Outcome::EngineFailed, Some(text));
                }
                data
            }
        });
    }
    let mut outputs = Vec::new();
    for wanted in &submission.payload.outputs {
        let mut data = inputs[wanted.index].clone();
        if entry.name != "echo" {
            for value in data.chunks_exact_mut(4) {
                let doubled = 2.0 * f32::from_le_bytes(value.try_into().unwrap());
                value.copy_from_slice(&doubled.to_le_bytes());
            }
        }
        let mut shape = spec.outputs[wanted.index].shape.clone();
        if spec.batched {
            shape.insert(0, submission.items.0.into());
        }
        let shared_bytes = match &wanted.place {
            Some(place) => {
                if let Err(text) = place.write(&data) {
                    return failed(Outcome::EngineFailed, Some(text));
                }
                Some(std::mem::take(&mut data).len() as u64)
            }
            None => None,
        };
        outputs.push(AnswerOutput { index: wanted.index, shape, data: data.into(), shared_bytes });
    }
    let completion = Completion {
        queue: Nanos::from_micros(11),
        compute: Nanos::from_micros(22),
        batch: submission.items,
        instance: 1,
        slo_met: true,
    };
    Answer { outcome: Outcome::Completed(completion), detail: None, outputs }
}
