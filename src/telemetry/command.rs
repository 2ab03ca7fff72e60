//! What an operator can ask of a running appliance, from the terminal UI or over the socket.

use serde::{Deserialize, Serialize};

/// Models are named, not numbered: a command may come from another process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Command {
    /// Switches learning while serving on or off; `None`: the other way.
    Learning { on: Option<bool> },
    /// Every model (or one) changes to the next policy of [`crate::scheduler::POLICIES`].
    NextPolicy { model: Option<String> },
    /// Every model (or one) changes to this policy.
    SetPolicy { model: Option<String>, policy: String },
    /// Holds batch limit and instance count whatever the policy says; a `None` leaves that one to
    /// the policy.
    Override { model: String, batch: Option<u32>, instances: Option<u32> },
    /// Gives the model back to its policy.
    ClearOverride { model: String },
    /// Loads an unloaded or failed model again, from its file.
    Load { model: String },
    /// Finishes the model's running batches, answers its queue with an error, frees its memory.
    Unload { model: String },
}

/// Why a command was not carried out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum CommandError {
    #[error("unknown model '{name}'; the models are: {known}")]
    UnknownModel { name: String, known: String },
    #[error("{0}")]
    Invalid(String),
    /// The model did not come up; the text says why.
    #[error("{0}")]
    Failed(String),
    #[error("the appliance is shutting down")]
    ShuttingDown,
}
