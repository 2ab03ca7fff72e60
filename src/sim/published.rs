//! How far the modelled platforms are off what others have measured on the real devices.

use super::network::{self, Network};
use super::platform::Platform;
use serde::{Deserialize, Serialize};

/// A published measurement: one batch alone, TensorRT, FP16; `assets/platforms/published.ron`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Published {
    /// Name of the platform's file, without the ending.
    pub platform: String,
    pub network: String,
    pub batch: u32,
    pub ms: f64,
    pub source: String,
    /// The platform's efficiencies were chosen with this in view.
    #[serde(default)]
    pub fitted: bool,
    /// It holds more than the network's execution, so the model should be below it.
    #[serde(default)]
    pub whole_way: bool,
}

impl Published {
    /// What the model says for the same, in ms; `None` for a network it does not know.
    pub fn modelled_ms(&self, platform: &Platform) -> Option<f64> {
        let known: Vec<Network> =
            network::reference().into_iter().chain(network::others()).collect();
        let network = known.iter().find(|network| network.name == self.network)?;
        Some(platform.execution(network, self.batch).0 * 1e3)
    }
}

/// All that this program was built with.
///
/// # Errors
/// Never in a released program; a test reads them.
pub fn published() -> Result<Vec<Published>, ron::error::SpannedError> {
    ron::from_str(include_str!("../../assets/platforms/published.ron"))
}
