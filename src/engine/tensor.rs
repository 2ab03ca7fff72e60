//! Tensor types and shapes as the engines and the protocol both name them.

use super::EngineError;
use crate::units::BatchSize;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// Element types that travel, under the Open Inference Protocol's names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum DataType {
    #[serde(rename = "FP32")]
    F32,
    #[serde(rename = "FP16")]
    F16,
    #[serde(rename = "INT64")]
    I64,
    #[serde(rename = "INT32")]
    I32,
    #[serde(rename = "INT8")]
    I8,
    #[serde(rename = "UINT8")]
    U8,
    #[serde(rename = "BOOL")]
    Bool,
}

impl DataType {
    pub const ALL: [DataType; 7] = [
        DataType::F32,
        DataType::F16,
        DataType::I64,
        DataType::I32,
        DataType::I8,
        DataType::U8,
        DataType::Bool,
    ];

    /// Bytes of one element.
    pub const fn size(self) -> usize {
        match self {
            DataType::I64 => 8,
            DataType::F32 | DataType::I32 => 4,
            DataType::F16 => 2,
            DataType::I8 | DataType::U8 | DataType::Bool => 1,
        }
    }

    /// The protocol's name, such as `FP32`.
    pub const fn name(self) -> &'static str {
        match self {
            DataType::F32 => "FP32",
            DataType::F16 => "FP16",
            DataType::I64 => "INT64",
            DataType::I32 => "INT32",
            DataType::I8 => "INT8",
            DataType::U8 => "UINT8",
            DataType::Bool => "BOOL",
        }
    }

    /// The type of that protocol name, if it is one of [`DataType::ALL`].
    pub fn from_name(name: &str) -> Option<DataType> {
        DataType::ALL.into_iter().find(|t| t.name() == name)
    }
}

/// One input or output of a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorSpec {
    pub name: String,
    pub data_type: DataType,
    /// Dimensions of one item, without the batch dimension. -1 in an output: known after a run.
    pub shape: Vec<i64>,
}

impl TensorSpec {
    /// Elements of one item; `None` where a dimension is only known after a run.
    pub fn item_elements(&self) -> Option<usize> {
        self.shape.iter().try_fold(1usize, |n, &d| n.checked_mul(usize::try_from(d).ok()?))
    }

    /// Bytes of one item; `None` where a dimension is only known after a run.
    pub fn item_bytes(&self) -> Option<usize> {
        self.item_elements()?.checked_mul(self.data_type.size())
    }
}

/// What a model takes and gives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelSpec {
    /// Every dimension known; [`TensorSpec::item_bytes`] is `Some`.
    pub inputs: Vec<TensorSpec>,
    pub outputs: Vec<TensorSpec>,
    /// Whether tensors carry a leading batch dimension on the wire. A model without one takes one
    /// item a run (Triton's `max_batch_size: 0`).
    pub batched: bool,
    /// Most items in one run; 1 for a model that is not batched.
    pub max_batch: BatchSize,
}

impl ModelSpec {
    /// Whether a run can fail for what is in its inputs: integers may be used as indices, such as
    /// token ids, and point outside the table.
    pub(super) fn takes_indices(&self) -> bool {
        let is_index = |t: &TensorSpec| matches!(t.data_type, DataType::I64 | DataType::I32);
        self.inputs.iter().any(is_index)
    }
}

/// One output of one run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OutputTensor {
    /// Full shape; the first dimension is the batch for a batched model.
    pub shape: Vec<i64>,
    /// Little-endian, row-major.
    pub data: Bytes,
}

impl OutputTensor {
    /// Refuses a result that cannot be cut into the items of its batch.
    pub(super) fn check_batch(
        &self,
        name: &str,
        batched: bool,
        batch: BatchSize,
    ) -> Result<(), EngineError> {
        if !batched || self.shape.first() == Some(&i64::from(batch.0)) {
            return Ok(());
        }
        Err(EngineError::Execute(format!(
            "output '{name}' has shape {:?} after a batch of {batch}: its first dimension is not \
             the batch, so it cannot be handed out item by item",
            self.shape
        )))
    }
}
