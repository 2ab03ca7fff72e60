//! The models as clients may see them.

use crate::engine::ModelSpec;
use crate::telemetry::snapshot::ModelState;
use crate::units::{ModelId, Nanos};
use std::sync::Arc;

/// The models as clients may see them. Replaced as a whole when a model's state changes.
#[derive(Clone, Debug, Default)]
pub struct Catalog {
    /// Indexed by [`ModelId`].
    pub models: Vec<CatalogEntry>,
}

impl Catalog {
    pub fn find(&self, name: &str) -> Option<(ModelId, &CatalogEntry)> {
        let index = self.models.iter().position(|m| m.name == name)?;
        Some((ModelId(index as u16), &self.models[index]))
    }

    /// The names, for an error message.
    pub fn names(&self) -> String {
        self.models.iter().map(|m| m.name.as_str()).collect::<Vec<_>>().join(", ")
    }
}

#[derive(Clone, Debug)]
pub struct CatalogEntry {
    pub name: String,
    pub state: ModelState,
    /// Present when the model is ready.
    pub spec: Option<Arc<ModelSpec>>,
    /// Such as `rten_onnx`; empty until it is loaded.
    pub platform: &'static str,
    pub slo: Nanos,
    pub max_instances: u32,
    pub queue_bound: u32,
    /// The batch sizes the policy prefers (Triton's dynamic batching), for ModelConfig.
    pub preferred_batch_sizes: Vec<u32>,
    pub max_queue_delay: Nanos,
}
