//! The six reference networks, of the kinds that edge devices serve, built as ONNX files.
//!
//! Architectures are the published ones, weights are random: latency does not depend on them, and
//! nothing has to be downloaded. Every file says so.

mod double;
mod efficientnet_b0;
mod file;
mod graph;
mod inception_v3;
mod layers;
mod mobilenet_v3_small;
pub mod onnx;
mod resnet18;
mod tinybert;
mod yolov5s;

use graph::Network;
use std::fmt;
use std::path::{Path, PathBuf};

/// What a network takes, and so what a load generator should send it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InputKind {
    /// One FP32 tensor [3, side, side].
    Image { side: usize },
    /// INT64 token ids, mask and token types, each [sequence].
    Tokens { sequence: usize, vocabulary: usize },
}

/// One of the reference networks.
#[derive(Clone, Copy)]
pub struct Reference {
    /// Name of its folder and of the model in config.ron.
    pub name: &'static str,
    /// For people.
    pub title: &'static str,
    /// As published, batch normalisation as trained (YOLOv5s: as fused, which is how it is quoted).
    pub parameters: u64,
    pub input: InputKind,
    /// Our choice for a Jetson-class GPU; a CPU-only machine derives its own from its profile.
    pub slo_ms: u64,
    /// Of the weights in the file that [`write`] makes.
    pub seed: u64,
    build: fn(u64) -> Network,
}

impl fmt::Debug for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reference").field("name", &self.name).finish_non_exhaustive()
    }
}

const PHOTO: InputKind = InputKind::Image { side: 224 };

/// In the order in which they are shown.
pub const REFERENCE: [Reference; 6] = [
    Reference {
        name: "yolov5s",
        title: "YOLOv5s 640",
        parameters: 7_225_885,
        input: InputKind::Image { side: 640 },
        slo_ms: 138,
        seed: 1,
        build: yolov5s::build,
    },
    Reference {
        name: "mobilenet_v3_small",
        title: "MobileNetV3-small",
        parameters: 2_542_856,
        input: PHOTO,
        slo_ms: 86,
        seed: 2,
        build: mobilenet_v3_small::build,
    },
    Reference {
        name: "resnet18",
        title: "ResNet-18",
        parameters: 11_689_512,
        input: PHOTO,
        slo_ms: 58,
        seed: 3,
        build: resnet18::build,
    },
    Reference {
        name: "efficientnet_b0",
        title: "EfficientNet-B0",
        parameters: 5_288_548,
        input: PHOTO,
        slo_ms: 93,
        seed: 4,
        build: efficientnet_b0::build,
    },
    Reference {
        name: "inception_v3",
        title: "Inception-v3",
        parameters: 23_834_568,
        input: InputKind::Image { side: 299 },
        slo_ms: 66,
        seed: 5,
        build: inception_v3::build,
    },
    Reference {
        name: "tinybert",
        title: "TinyBERT-4L-312",
        parameters: 14_350_248,
        input: InputKind::Tokens { sequence: 128, vocabulary: 30_522 },
        slo_ms: 114,
        seed: 6,
        build: tinybert::build,
    },
];

/// The file inside a model's folder.
const FILE_NAME: &str = "model.onnx";

/// Why a model file could not be written.
#[derive(Debug, thiserror::Error)]
#[error("cannot write {}: {source}", path.display())]
pub struct WriteError {
    path: PathBuf,
    source: std::io::Error,
}

impl Reference {
    /// The reference network of that name.
    pub fn named(name: &str) -> Option<&'static Reference> {
        REFERENCE.iter().find(|reference| reference.name == name)
    }

    /// Where its file is under `dir`: `<dir>/<name>/model.onnx`.
    pub fn path(&self, dir: &Path) -> PathBuf {
        dir.join(self.name).join(FILE_NAME)
    }
}

/// Writes the network to [`Reference::path`], whole or not at all, and gives the file's bytes.
/// `progress` hears now and then how many bytes have been written, of about `4 × parameters`.
///
/// # Errors
/// When the folder or file can't be written.
pub fn write(
    reference: &Reference,
    dir: &Path,
    progress: &mut dyn FnMut(u64),
) -> Result<u64, WriteError> {
    let path = reference.path(dir);
    let network = (reference.build)(reference.seed);
    file::write(&network, &path, progress).map_err(|source| WriteError { path, source })
}

/// The ONNX file of a network that doubles: `INPUT0` FP32 [batch, 16] to `OUTPUT0` = 2 × `INPUT0`.
pub fn double() -> Vec<u8> {
    file::to_bytes(&double::build())
}

#[cfg(test)]
mod tests;
