//! Trained networks as bytes: safetensors, with a description of what they were trained for.
//!
//! A file that would not mean here what it meant where it was made is refused, and the reason says
//! what was found and what was expected. Reading trusts nothing: any bytes give an answer.

use super::actor::{Actor, Inference};
use super::config::{InvalidConfig, SacConfig};
use super::learner::Learner;
use super::networks::Networks;
use super::normaliser::Normaliser;
use crate::scheduler::nn::{Adam, Mlp};
use safetensors::tensor::{Dtype, TensorView};
use safetensors::{SafeTensors, serialize};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::fmt::Display;
use std::sync::Arc;

/// Of the files written here; another one is refused.
const FORMAT: u32 = 1;
/// Key of the description in the file's metadata.
const KEY: &str = "bcedge";
const POLICY: &str = "policy";
const LEARNER: &str = "learner";

/// What the numbers of an observation and of an action mean. Weights only fit the one they were
/// trained for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Layout {
    /// To be raised when a feature's meaning changes and its name does not.
    pub version: u32,
    /// Numbers in an observation.
    pub features: usize,
    /// CRC-32 of their names.
    pub names: u32,
    pub actions: usize,
    /// What the actions are, such as `batch 1,2,4 × instances 1,2`.
    pub grid: String,
}

impl Layout {
    pub fn new(version: u32, names: &[&str], actions: usize, grid: &str) -> Layout {
        let mut hasher = crc32fast::Hasher::new();
        for name in names {
            hasher.update(name.as_bytes());
            hasher.update(b"\n");
        }
        let (features, names) = (names.len(), hasher.finalize());
        Layout { version, features, names, actions, grid: grid.to_string() }
    }
}

/// Why bytes are not the weights that are wanted.
#[derive(Debug, thiserror::Error)]
pub enum WeightsError {
    #[error("not a whole safetensors file: {0}")]
    Format(#[from] safetensors::SafeTensorError),
    #[error("the file's description is missing or can't be read ({0}): it is not one of bcedge's")]
    Description(String),
    #[error("the file's {what} is {found}; expected {expected}")]
    Foreign { what: String, found: String, expected: String },
    #[error("the file's {0} holds a number that is not finite")]
    NotFinite(String),
    #[error(transparent)]
    Config(#[from] InvalidConfig),
}

fn expect<T: PartialEq + Display>(what: &str, found: T, expected: T) -> Result<(), WeightsError> {
    if found == expected {
        return Ok(());
    }
    Err(foreign(what, found, expected))
}

fn foreign(what: impl Display, found: impl Display, expected: impl Display) -> WeightsError {
    let [what, found, expected] = [what.to_string(), found.to_string(), expected.to_string()];
    WeightsError::Foreign { what, found, expected }
}

#[derive(Clone, Serialize, Deserialize)]
struct Description {
    kind: String,
    format: u32,
    layout: Layout,
    sizes: [usize; 4],
    made_by: String,
    /// Observations the normaliser has seen, and whether it takes no more.
    seen: u64,
    frozen: bool,
    learner: Option<Progress>,
    /// CRC-32 of this description with a checksum of 0, and of all tensors.
    checksum: u32,
}

/// A learner's counters.
#[derive(Clone, Serialize, Deserialize)]
struct Progress {
    seed: u64,
    updates: u64,
    /// Steps of Adam: for the actor, both critics and the temperature.
    steps: [u64; 4],
}

impl Actor {
    /// As a file's content. `made_by` says how the weights came about: the command and its seed.
    ///
    /// # Errors
    /// When it is too large for the file format's header.
    pub fn to_bytes(&self, layout: &Layout, made_by: &str) -> Result<Vec<u8>, WeightsError> {
        let Inference { normaliser, actor, critics } = &*self.networks;
        let mut writer = Writer::default();
        writer.policy(normaliser, actor, critics);
        writer.finish(describe(POLICY, layout, actor, normaliser, made_by))
    }

    /// From a file's content, with what it says it was made by.
    ///
    /// # Errors
    /// When it is damaged, or not a policy for this `layout`.
    pub fn from_bytes(bytes: &[u8], layout: &Layout) -> Result<(Actor, String), WeightsError> {
        let mut reader = Reader::open(bytes, POLICY, layout)?;
        let networks = reader.policy()?;
        reader.finish()?;
        Ok((Actor { networks: Arc::new(networks) }, reader.description.made_by))
    }
}

impl Learner {
    /// All that is needed to go on as if nothing had happened, but for what is remembered in the
    /// replay memory.
    ///
    /// # Errors
    /// As [`Actor::to_bytes`].
    pub fn to_bytes(&self, layout: &Layout, made_by: &str) -> Result<Vec<u8>, WeightsError> {
        let networks = &self.networks;
        let mut writer = Writer::default();
        writer.policy(&self.normaliser, &networks.actor, &networks.critics);
        for (name, target) in TARGETS.iter().zip(&networks.targets) {
            writer.network(name, target);
        }
        for (name, adam) in ADAMS.iter().zip(networks.adams()) {
            writer.tensor(format!("{name}.adam.mean"), &[adam.mean.len()], f32s(&adam.mean));
            writer.tensor(format!("{name}.adam.square"), &[adam.square.len()], f32s(&adam.square));
        }
        writer.tensor("ln_alpha".to_string(), &[1], f32s(&[networks.ln_alpha]));
        let mut description = describe(LEARNER, layout, &networks.actor, &self.normaliser, made_by);
        let steps = networks.adams().map(|adam| adam.steps);
        description.learner = Some(Progress { seed: self.seed, updates: self.updates, steps });
        writer.finish(description)
    }

    /// A learner that goes on where the one that was saved stopped, with the settings of `config`,
    /// which may differ from its own in anything but the sizes.
    ///
    /// # Errors
    /// When the content is damaged or not a learner for this `layout` and these sizes, or a setting
    /// is out of its range.
    pub fn from_bytes(
        bytes: &[u8],
        layout: &Layout,
        config: SacConfig,
    ) -> Result<(Learner, String), WeightsError> {
        config.check()?;
        let mut reader = Reader::open(bytes, LEARNER, layout)?;
        let sizes = reader.description.sizes;
        expect("network", format!("{sizes:?}"), format!("{:?}", config.sizes()))?;
        let Inference { normaliser, actor, critics } = reader.policy()?;
        let mut networks = Networks::new(actor, critics, config.initial_alpha);
        for (name, target) in TARGETS.iter().zip(&mut networks.targets) {
            *target = reader.network(name)?;
        }
        let Some(Progress { seed, updates, steps }) = reader.description.learner.clone() else {
            return Err(foreign("learner", "missing", "its progress"));
        };
        for ((name, adam), steps) in ADAMS.iter().zip(networks.adams_mut()).zip(steps) {
            let shape = [adam.mean.len()];
            adam.mean = reader.f32s(&format!("{name}.adam.mean"), &shape)?;
            adam.square = reader.f32s(&format!("{name}.adam.square"), &shape)?;
            adam.steps = steps;
        }
        networks.ln_alpha = reader.f32s("ln_alpha", &[1])?[0];
        reader.finish()?;
        let learner = Learner::with(config, seed, normaliser, networks, updates);
        Ok((learner, reader.description.made_by))
    }
}

const CRITICS: [&str; 2] = ["critic.0", "critic.1"];
const TARGETS: [&str; 2] = ["target.0", "target.1"];
const ADAMS: [&str; 4] = ["actor", "critic.0", "critic.1", "ln_alpha"];

impl Networks {
    /// In the order of [`ADAMS`].
    fn adams(&self) -> [&Adam; 4] {
        let [first, second] = &self.critic_adams;
        [&self.actor_adam, first, second, &self.alpha_adam]
    }

    fn adams_mut(&mut self) -> [&mut Adam; 4] {
        let [first, second] = &mut self.critic_adams;
        [&mut self.actor_adam, first, second, &mut self.alpha_adam]
    }
}

fn describe(
    kind: &str,
    layout: &Layout,
    actor: &Mlp,
    normaliser: &Normaliser,
    made_by: &str,
) -> Description {
    let mut sizes = [0; 4];
    sizes.copy_from_slice(actor.sizes());
    let (seen, frozen) = (normaliser.count, normaliser.frozen);
    let (kind, layout, made_by) = (kind.to_string(), layout.clone(), made_by.to_string());
    let (format, learner, checksum) = (FORMAT, None, 0);
    Description { kind, format, layout, sizes, made_by, seen, frozen, learner, checksum }
}

/// A tensor on its way to a file.
struct Tensor {
    name: String,
    dtype: Dtype,
    shape: Vec<usize>,
    bytes: Vec<u8>,
}

fn f32s(values: &[f32]) -> (Dtype, Vec<u8>) {
    (Dtype::F32, values.iter().flat_map(|x| x.to_le_bytes()).collect())
}

fn f64s(values: &[f64]) -> (Dtype, Vec<u8>) {
    (Dtype::F64, values.iter().flat_map(|x| x.to_le_bytes()).collect())
}

#[derive(Default)]
struct Writer {
    tensors: Vec<Tensor>,
}

impl Writer {
    fn tensor(&mut self, name: String, shape: &[usize], (dtype, bytes): (Dtype, Vec<u8>)) {
        self.tensors.push(Tensor { name, dtype, shape: shape.to_vec(), bytes });
    }

    fn network(&mut self, name: &str, mlp: &Mlp) {
        for layer in 0..mlp.sizes().len() - 1 {
            let [weight, bias] = names(name, layer);
            let values = f32s(&mlp.parameters()[mlp.weights(layer)]);
            self.tensor(weight, &mlp.sizes()[layer..layer + 2], values);
            let values = f32s(&mlp.parameters()[mlp.biases(layer)]);
            self.tensor(bias, &mlp.sizes()[layer + 1..layer + 2], values);
        }
    }

    fn policy(&mut self, normaliser: &Normaliser, actor: &Mlp, critics: &[Mlp; 2]) {
        let shape = [normaliser.width()];
        self.tensor("normaliser.mean".to_string(), &shape, f64s(&normaliser.mean));
        self.tensor("normaliser.spread".to_string(), &shape, f64s(&normaliser.spread));
        self.network("actor", actor);
        for (name, critic) in CRITICS.iter().zip(critics) {
            self.network(name, critic);
        }
    }

    fn finish(self, mut description: Description) -> Result<Vec<u8>, WeightsError> {
        let mut views = Vec::with_capacity(self.tensors.len());
        for tensor in &self.tensors {
            let view = TensorView::new(tensor.dtype, tensor.shape.clone(), &tensor.bytes)?;
            views.push((tensor.name.clone(), view));
        }
        description.checksum = checksum(&description, views.clone());
        let metadata = HashMap::from([(KEY.to_string(), json(&description))]);
        Ok(serialize(views, Some(metadata))?)
    }
}

fn names(network: &str, layer: usize) -> [String; 2] {
    ["weight", "bias"].map(|part| format!("{network}.{layer}.{part}"))
}

fn json(description: &Description) -> String {
    // Fails only for maps with keys that are no texts and for serializers that fail; here is neither.
    serde_json::to_string(description).expect("plain fields")
}

fn checksum(description: &Description, mut tensors: Vec<(String, TensorView<'_>)>) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(json(&Description { checksum: 0, ..description.clone() }).as_bytes());
    tensors.sort_by(|a, b| a.0.cmp(&b.0));
    for (name, tensor) in tensors {
        hasher.update(format!("{name} {:?} {:?}\n", tensor.dtype(), tensor.shape()).as_bytes());
        hasher.update(tensor.data());
    }
    hasher.finalize()
}

struct Reader<'a> {
    description: Description,
    tensors: SafeTensors<'a>,
    taken: usize,
}

impl<'a> Reader<'a> {
    fn open(bytes: &'a [u8], kind: &str, layout: &Layout) -> Result<Reader<'a>, WeightsError> {
        let (_, metadata) = SafeTensors::read_metadata(bytes)?;
        let text = metadata.metadata().as_ref().and_then(|entries| entries.get(KEY));
        let text = text.ok_or_else(|| WeightsError::Description(format!("no entry {KEY:?}")))?;
        let description: Description = serde_json::from_str(text)
            .map_err(|error| WeightsError::Description(error.to_string()))?;
        let tensors = SafeTensors::deserialize(bytes)?;

        expect("kind", description.kind.as_str(), kind)?;
        expect("format", description.format, FORMAT)?;
        let found = &description.layout;
        expect("observation's version", found.version, layout.version)?;
        expect("number of features", found.features, layout.features)?;
        expect("checksum of the features' names", found.names, layout.names)?;
        expect("number of actions", found.actions, layout.actions)?;
        expect("action grid", found.grid.as_str(), layout.grid.as_str())?;
        let [observation, .., actions] = description.sizes;
        expect("number of inputs", observation, layout.features)?;
        expect("number of outputs", actions, layout.actions)?;
        expect("checksum", checksum(&description, tensors.tensors()), description.checksum)?;
        Ok(Reader { description, tensors, taken: 0 })
    }

    fn policy(&mut self) -> Result<Inference, WeightsError> {
        let shape = [self.description.layout.features];
        let mean = self.f64s("normaliser.mean", &shape)?;
        let spread = self.f64s("normaliser.spread", &shape)?;
        let (seen, frozen) = (self.description.seen, self.description.frozen);
        let normaliser = Normaliser::restore(seen, mean, spread, frozen);
        if !normaliser.is_finite() {
            return Err(WeightsError::NotFinite("normaliser".to_string()));
        }
        let actor = self.network("actor")?;
        let critics = [self.network(CRITICS[0])?, self.network(CRITICS[1])?];
        Ok(Inference { normaliser, actor, critics })
    }

    fn network(&mut self, name: &str) -> Result<Mlp, WeightsError> {
        let sizes = self.description.sizes;
        let mut layers = Vec::new();
        // The shapes are compared with the tensors' before memory is taken for them.
        for (layer, pair) in sizes.windows(2).enumerate() {
            let [weight, bias] = names(name, layer);
            layers.push((self.f32s(&weight, pair)?, self.f32s(&bias, &pair[1..])?));
        }
        if sizes.contains(&0) {
            return Err(foreign(
                "network",
                format!("{sizes:?}"),
                "at least one unit in each layer",
            ));
        }
        let mut mlp = Mlp::zeros(&sizes);
        for (layer, (weights, biases)) in layers.into_iter().enumerate() {
            let (weight, bias) = (mlp.weights(layer), mlp.biases(layer));
            mlp.parameters_mut()[weight].copy_from_slice(&weights);
            mlp.parameters_mut()[bias].copy_from_slice(&biases);
        }
        Ok(mlp)
    }

    fn f32s(&mut self, name: &str, shape: &[usize]) -> Result<Vec<f32>, WeightsError> {
        let (chunks, _) = self.tensor(name, Dtype::F32, shape)?.as_chunks::<4>();
        let values: Vec<f32> = chunks.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect();
        let is_finite = values.iter().all(|x| x.is_finite());
        is_finite.then_some(values).ok_or_else(|| WeightsError::NotFinite(name.to_string()))
    }

    fn f64s(&mut self, name: &str, shape: &[usize]) -> Result<Vec<f64>, WeightsError> {
        let (chunks, _) = self.tensor(name, Dtype::F64, shape)?.as_chunks::<8>();
        let values: Vec<f64> = chunks.iter().map(|&bytes| f64::from_le_bytes(bytes)).collect();
        let is_finite = values.iter().all(|x| x.is_finite());
        is_finite.then_some(values).ok_or_else(|| WeightsError::NotFinite(name.to_string()))
    }

    fn tensor(
        &mut self,
        name: &str,
        dtype: Dtype,
        shape: &[usize],
    ) -> Result<&'a [u8], WeightsError> {
        let expected = format!("{dtype:?} {shape:?}");
        let Ok(tensor) = self.tensors.tensor(name) else {
            return Err(foreign(format!("tensor {name:?}"), "missing", expected));
        };
        let found = format!("{:?} {:?}", tensor.dtype(), tensor.shape());
        expect(&format!("tensor {name:?}"), found, expected)?;
        self.taken += 1;
        Ok(tensor.data())
    }

    /// Refuses tensors that nobody asked for.
    fn finish(&self) -> Result<(), WeightsError> {
        expect("number of tensors", self.tensors.len(), self.taken)
    }
}
