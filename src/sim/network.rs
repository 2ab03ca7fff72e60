//! What the modelled platforms have to know of a network.

use crate::config::bounds;
use serde::{Deserialize, Serialize};

/// A network by its size.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Network {
    #[serde(deserialize_with = "bounds::name")]
    pub name: String,
    pub kind: Kind,
    /// Multiply-adds of one item.
    #[serde(deserialize_with = "bounds::number::<1, 1_000_000_000_000_000, _>")]
    pub macs: f64,
    #[serde(deserialize_with = "bounds::number::<1, 1_000_000_000_000, _>")]
    pub parameters: f64,
    /// Elements of all activations of one item, as far as kernels write them to memory.
    #[serde(deserialize_with = "bounds::number::<1, 1_000_000_000_000, _>")]
    pub activation_elements: f64,
    /// Most elements of one item that have to be in memory at once.
    #[serde(deserialize_with = "bounds::number::<1, 1_000_000_000_000, _>")]
    pub peak_activation_elements: f64,
    /// Kernels that an optimised engine launches.
    #[serde(deserialize_with = "bounds::number::<1, 1_000_000, _>")]
    pub kernels: f64,
    /// Default SLO on a Jetson-class device.
    #[serde(deserialize_with = "bounds::number::<1, 600_000, _>")]
    pub slo_ms: f64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Kind {
    /// Mostly dense convolutions.
    Dense,
    /// Mostly depthwise and pointwise convolutions.
    Depthwise,
    /// A transformer.
    Attention,
}

fn network(
    name: &str,
    kind: Kind,
    [macs, parameters, activations, peak]: [f64; 4],
    kernels: f64,
    slo_ms: f64,
) -> Network {
    Network {
        name: name.into(),
        kind,
        macs,
        parameters,
        activation_elements: activations,
        peak_activation_elements: peak,
        kernels,
        slo_ms,
    }
}

/// The six reference networks; the sizes are those of the published architectures.
pub fn reference() -> Vec<Network> {
    use Kind::{Attention, Dense, Depthwise};
    vec![
        network("yolov5s", Dense, [8.25e9, 7.23e6, 26e6, 6.6e6], 75.0, 138.0),
        network("mobilenet_v3_small", Depthwise, [57e6, 2.54e6, 2.2e6, 0.6e6], 75.0, 86.0),
        network("resnet18", Dense, [1.82e9, 11.69e6, 2.5e6, 1.6e6], 24.0, 58.0),
        network("efficientnet_b0", Depthwise, [390e6, 5.29e6, 6.7e6, 2.4e6], 115.0, 93.0),
        network("inception_v3", Dense, [5.7e9, 23.83e6, 9.0e6, 2.8e6], 100.0, 66.0),
        network("tinybert", Attention, [0.62e9, 14.35e6, 3.1e6, 0.5e6], 45.0, 114.0),
    ]
}

/// Networks that others have published measurements of, beside some of the six.
pub fn others() -> Vec<Network> {
    use Kind::{Dense, Depthwise};
    // They are never served, so they have no SLO.
    let none = f64::MAX;
    vec![
        network("resnet50", Dense, [4.09e9, 25.56e6, 11.1e6, 1.6e6], 54.0, none),
        network("inception_v4", Dense, [12.27e9, 42.68e6, 15.1e6, 2.8e6], 150.0, none),
        network("mobilenet_v1", Depthwise, [569e6, 4.23e6, 5.0e6, 1.6e6], 29.0, none),
        network("yolov8s", Dense, [14.3e9, 11.17e6, 33e6, 6.6e6], 72.0, none),
        network("yolov8m", Dense, [39.45e9, 25.9e6, 60e6, 9.8e6], 92.0, none),
        network("yolox_s", Dense, [13.4e9, 8.97e6, 33e6, 6.6e6], 90.0, none),
    ]
}
