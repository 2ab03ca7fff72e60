//! What goes into the state machine and what comes out.

use super::{Outcome, Request};
use crate::scheduler::{Interference, Predictor};
use crate::units::{BatchSize, InstanceCount, ModelId, RequestId};

/// Something that happened outside.
#[derive(Debug)]
pub enum Event {
    Arrive(Request),
    /// The client withdrew a request, or went away.
    Cancel {
        model: ModelId,
        id: RequestId,
    },
    /// An instance asked for by [`Action::StartInstance`] is ready.
    InstanceReady {
        model: ModelId,
        instance: u16,
    },
    /// An instance died, with or without a batch.
    InstanceLost {
        model: ModelId,
        instance: u16,
    },
    /// The batch started by [`Action::Run`] ended; `ok` is false when the engine returned an error.
    BatchDone {
        model: ModelId,
        instance: u16,
        ok: bool,
    },
    /// The model's engine is loaded. None of its batches may be running.
    ModelReady {
        model: ModelId,
        max_batch: BatchSize,
        max_instances: InstanceCount,
        predictor: Predictor,
    },
    /// The model is to stop: its queue is answered, nothing more is started. Batches under way
    /// finish, or are found to hang, as ever.
    ModelGone(ModelId),
    /// The device became faster or slower: what was measured before says less about what comes.
    DeviceChanged,
    /// How batches slow each other on this device is known better now.
    Learnt(Interference),
    /// Nothing happened, but [`super::Pipeline::next_wake`] has come.
    Tick,
    /// Accept nothing more.
    Drain,
    /// Answer everything that is still here.
    Abort,
}

/// Something for the driver to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Tell the client.
    Answer { request: Request, outcome: Outcome },
    /// Run the batch that [`super::Pipeline::batch`] shows for this instance.
    Run { model: ModelId, instance: u16 },
    /// Give this instance, which runs a batch, the one of [`super::Pipeline::batch_ahead`] to make
    /// ready; it runs when that is done. Only for models that
    /// [take batches ahead](super::Pipeline::set_takes_ahead).
    RunAhead { model: ModelId, instance: u16 },
    /// Make an instance (an execution context and its thread) for this slot.
    StartInstance { model: ModelId, instance: u16 },
    /// The slot's instance hangs: give it up, ignore whatever it still says.
    AbandonInstance { model: ModelId, instance: u16 },
}
