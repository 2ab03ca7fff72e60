//! Writes a [`Network`] as an ONNX file. Nodes are a few kilobytes and encoded at once; weights are
//! drawn in small pieces and streamed, so that memory stays flat whatever the network's size.

use super::graph::{Data, Initializer, Network};
use super::onnx::{ModelProto, OperatorSetIdProto, StringStringEntryProto};
use bytes::BufMut;
use prost::Message;
use prost::encoding::{WireType, encode_key, encode_varint, encoded_len_varint, key_len};
use rand::{Rng, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

const IR_VERSION: i64 = 8;
const OPSET: i64 = 17;
/// Field numbers of the three messages around a tensor's data.
const MODEL_GRAPH: u32 = 7;
const GRAPH_INITIALIZER: u32 = 5;
const TENSOR_RAW_DATA: u32 = 9;

/// Writes `network` to `path`: either the whole file is there afterwards or what was there before.
/// `progress` hears the bytes written so far, some hundred times.
///
/// # Errors
/// When the folder can't be made or the file can't be written.
pub fn write(network: &Network, path: &Path, progress: &mut dyn FnMut(u64)) -> io::Result<u64> {
    let folder = path.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder)?;
    // Temporary files are private to their maker; a model is for everyone whom the umask lets.
    let mode = std::fs::Permissions::from_mode(0o666);
    let file = tempfile::Builder::new().prefix(".model.").permissions(mode).tempfile_in(folder)?;
    let mut out = Counter { inner: BufWriter::new(file), written: 0, progress };
    encode(network, &mut out)?;
    let written = out.written;
    let file = out.inner.into_inner().map_err(io::IntoInnerError::into_error)?;
    file.persist(path).map_err(|error| error.error)?;
    Ok(written)
}

/// The bytes of the file in memory; for small networks.
pub fn to_bytes(network: &Network) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut out = Counter { inner: &mut bytes, written: 0, progress: &mut |_| {} };
    // A vector takes whatever is written to it.
    let _ = encode(network, &mut out);
    bytes
}

fn encode(network: &Network, out: &mut impl Write) -> io::Result<()> {
    let tensors: Vec<(Vec<u8>, &Initializer)> =
        network.initializers.iter().map(|tensor| (tensor_head(tensor), tensor)).collect();
    let framed = |len: usize| key_len(GRAPH_INITIALIZER) + encoded_len_varint(len as u64) + len;
    let tensors_len: usize =
        tensors.iter().map(|(head, tensor)| framed(head.len() + tensor.data_bytes())).sum();

    let mut head = model_head(network).encode_to_vec();
    put_frame(&mut head, MODEL_GRAPH, network.graph.encoded_len() + tensors_len);
    network.graph.encode_raw(&mut head);
    out.write_all(&head)?;
    for (tensor_head, tensor) in &tensors {
        let mut frame = Vec::with_capacity(16);
        put_frame(&mut frame, GRAPH_INITIALIZER, tensor_head.len() + tensor.data_bytes());
        out.write_all(&frame)?;
        out.write_all(tensor_head)?;
        write_data(&tensor.data, out)?;
    }
    Ok(())
}

/// All of the model but its graph.
fn model_head(network: &Network) -> ModelProto {
    let note = format!("random weights, seed {}", network.seed);
    let property = |key: &str, value: String| StringStringEntryProto {
        key: Some(key.into()),
        value: Some(value),
    };
    let trained = network.parameters > 0;
    ModelProto {
        ir_version: Some(IR_VERSION),
        opset_import: vec![OperatorSetIdProto { domain: Some("".into()), version: Some(OPSET) }],
        producer_name: Some("bcedge".into()),
        doc_string: trained.then(|| note.clone()),
        metadata_props: if trained {
            vec![property("weights", note), property("parameters", network.parameters.to_string())]
        } else {
            Vec::new()
        },
        ..ModelProto::default()
    }
}

/// All of the tensor but its data, up to the length in front of that.
fn tensor_head(tensor: &Initializer) -> Vec<u8> {
    let mut head = tensor.header.encode_to_vec();
    put_frame(&mut head, TENSOR_RAW_DATA, tensor.data_bytes());
    head
}

fn put_frame(buffer: &mut impl BufMut, field: u32, len: usize) {
    encode_key(field, WireType::LengthDelimited, buffer);
    encode_varint(len as u64, buffer);
}

fn write_data(data: &Data, out: &mut impl Write) -> io::Result<()> {
    const PIECE: usize = 64 * 1024;
    let (elements, bound, seed) = match data {
        Data::Given(bytes) => return out.write_all(bytes),
        &Data::Random { elements, bound, seed } => (elements, bound, seed),
    };
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
    // 24 random bits are all that a float in [−1, 1) can hold.
    let step = bound / (1 << 23) as f32;
    let uniform = |bits: u32| ((bits >> 8) as i32 - (1 << 23)) as f32 * step;
    let mut left = elements * 4;
    let mut piece = vec![0u8; PIECE.min(left.next_multiple_of(8))];
    while left > 0 {
        for pair in piece.chunks_exact_mut(8) {
            let bits = rng.next_u64();
            pair[..4].copy_from_slice(&uniform(bits as u32).to_le_bytes());
            pair[4..].copy_from_slice(&uniform((bits >> 32) as u32).to_le_bytes());
        }
        let len = left.min(piece.len());
        out.write_all(&piece[..len])?;
        left -= len;
    }
    Ok(())
}

struct Counter<'a, W> {
    inner: W,
    written: u64,
    progress: &'a mut dyn FnMut(u64),
}

impl<W: Write> Write for Counter<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let len = self.inner.write(bytes)?;
        self.written += len as u64;
        (self.progress)(self.written);
        Ok(len)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}
