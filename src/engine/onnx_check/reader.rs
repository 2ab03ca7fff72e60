//! Reads an ONNX file without its weights.
//!
//! The file is walked message by message; everything of interest is copied, except the data of
//! tensors, of which only the length is kept. What comes out is bounded in bytes, messages and
//! nesting before anything is decoded from it.

use super::Refusal;
use crate::models::onnx::ModelProto;
use prost::Message;
use prost::encoding::{WireType, encode_key, encode_varint};
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

/// Everything but tensors' data. Decoded, two bytes of it can take some thirty.
const MAX_STRUCTURE_BYTES: u64 = 32 << 20;
/// Tensors' data that is typed, which has to be read to be counted, or small.
const MAX_DATA_BYTES: u64 = 256 << 20;
/// Nodes, attributes, tensors and declared values together.
const MAX_MESSAGES: usize = 1_000_000;
/// Graphs inside nodes inside graphs.
const MAX_NESTING: usize = 8;
/// Tensors up to here may be shapes and other operands that size results: their data is kept.
const MAX_KEPT_DATA_BYTES: u64 = 4 << 10;

/// Field number of `TensorProto.raw_data_bytes`.
const RAW_DATA_BYTES: u32 = 536_870_911;

/// Messages that lead to tensors, or that are many.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Model,
    Graph,
    Node,
    Attribute,
    Tensor,
}

/// What to do with a field.
enum Step {
    Copy,
    /// Copy, and count it.
    Message,
    Enter(Kind),
    /// A tensor's data.
    Data,
    /// A tensor's data as typed values.
    Values,
    /// Nothing that an engine reads.
    Skip,
    Refuse(&'static str),
}

impl Kind {
    /// By the field numbers of `onnx.proto`.
    fn step(self, field: u64) -> Step {
        match (self, field) {
            (Kind::Model, 1..=6) => Step::Copy,
            (Kind::Model, 8 | 14) => Step::Message,
            (Kind::Model, 7) => Step::Enter(Kind::Graph),
            (Kind::Model, 25) => Step::Refuse("model-local functions; inline them first"),
            (Kind::Graph, 1) => Step::Enter(Kind::Node),
            (Kind::Graph, 2) => Step::Copy,
            (Kind::Graph, 5) => Step::Enter(Kind::Tensor),
            (Kind::Graph, 11..=13) => Step::Message,
            (Kind::Graph, 15) => Step::Refuse("sparse tensors"),
            (Kind::Node, 1..=4 | 7) => Step::Copy,
            (Kind::Node, 5) => Step::Enter(Kind::Attribute),
            (Kind::Attribute, 5 | 10) => Step::Enter(Kind::Tensor),
            (Kind::Attribute, 6 | 11) => Step::Enter(Kind::Graph),
            (Kind::Attribute, 22 | 23) => Step::Refuse("sparse tensors"),
            (Kind::Attribute, 1..=4 | 7..=9 | 20) => Step::Copy,
            (Kind::Tensor, 9) => Step::Data,
            (Kind::Tensor, 4 | 5 | 7 | 10 | 11) => Step::Values,
            (Kind::Tensor, 1..=3 | 6 | 8 | 13 | 14) => Step::Copy,
            _ => Step::Skip,
        }
    }
}

/// The model at `path`; large `raw_data` is replaced by `raw_data_bytes`.
pub fn read(path: &Path) -> Result<ModelProto, Refusal> {
    // Before it is opened: opening a pipe would wait for whoever writes to it.
    let about = std::fs::metadata(path).map_err(|error| error.to_string())?;
    if !about.is_file() {
        return Err("this is not a file".into());
    }
    let file = File::open(path).map_err(|error| error.to_string())?;
    let mut walker = Walker {
        input: BufReader::new(file),
        at: 0,
        messages: 0,
        kept: 0,
        data: 0,
        nesting: 0,
        out: Vec::new(),
    };
    walker.message(Kind::Model, about.len())?;
    // Small data stays a slice of this buffer.
    ModelProto::decode(bytes::Bytes::from(walker.out))
        .map_err(|error| format!("this is no ONNX model, or a damaged one: {error}"))
}

struct Walker<R> {
    input: R,
    /// Bytes read or skipped so far.
    at: u64,
    messages: usize,
    /// Bytes of structure copied so far.
    kept: u64,
    /// Bytes of tensors' data copied so far.
    data: u64,
    nesting: usize,
    /// The content of the innermost message, so far.
    out: Vec<u8>,
}

impl Walker<BufReader<File>> {
    /// Walks a message that ends at `end`, its content goes to `self.out`.
    fn message(&mut self, kind: Kind, end: u64) -> Result<(), Refusal> {
        self.count_message()?;
        let (mut graphs, mut data) = (0, 0);
        while self.at < end {
            let key = self.varint(end)?;
            let (field, wire) = (key >> 3, key & 7);
            if field == 0 || field > u64::from(u32::MAX >> 3) {
                return Err(self.damaged("a field number out of range"));
            }
            let step = kind.step(field);
            if matches!(step, Step::Enter(Kind::Graph)) {
                graphs += 1;
            }
            if matches!(step, Step::Data) {
                data += 1;
            }
            if data > 1 || (kind == Kind::Model && graphs > 1) {
                return Err(self.damaged("a graph, or the data of a tensor, comes twice"));
            }
            match wire {
                2 => self.delimited(step, field as u32, end)?,
                _ => self.scalar(step, key, end)?,
            }
        }
        Ok(())
    }

    /// A field with a length: a message, a text, packed numbers or data.
    fn delimited(&mut self, step: Step, field: u32, end: u64) -> Result<(), Refusal> {
        let len = self.varint(end)?;
        let field_end = self.at.checked_add(len).filter(|&field_end| field_end <= end);
        let Some(field_end) = field_end else {
            return Err(self.damaged(&format!("{len} bytes announced, {} left", end - self.at)));
        };
        match step {
            Step::Skip => self.skip(len),
            Step::Refuse(what) => Err(format!("the model uses {what}; this is not supported")),
            Step::Data if len > MAX_KEPT_DATA_BYTES => {
                self.skip(len)?;
                encode_key(RAW_DATA_BYTES, WireType::Varint, &mut self.out);
                encode_varint(len, &mut self.out);
                Ok(())
            }
            Step::Data | Step::Values => {
                self.count_data(len)?;
                self.copy(field, len)
            }
            Step::Copy => {
                self.count_kept(len.saturating_add(2))?;
                self.copy(field, len)
            }
            Step::Message => {
                self.count_message()?;
                self.count_kept(len.saturating_add(2))?;
                self.copy(field, len)
            }
            Step::Enter(kind) => self.enter(kind, field, field_end),
        }
    }

    fn enter(&mut self, kind: Kind, field: u32, end: u64) -> Result<(), Refusal> {
        if kind == Kind::Graph {
            self.nesting += 1;
            if self.nesting > MAX_NESTING {
                return Err(format!("graphs are nested deeper than {MAX_NESTING}"));
            }
        }
        // What is inside gets shorter, so its length is known only afterwards.
        let outer = std::mem::take(&mut self.out);
        self.message(kind, end)?;
        let inner = std::mem::replace(&mut self.out, outer);
        encode_key(field, WireType::LengthDelimited, &mut self.out);
        encode_varint(inner.len() as u64, &mut self.out);
        self.out.extend_from_slice(&inner);
        if kind == Kind::Graph {
            self.nesting -= 1;
        }
        Ok(())
    }

    fn scalar(&mut self, step: Step, key: u64, end: u64) -> Result<(), Refusal> {
        if matches!(step, Step::Enter(_) | Step::Message | Step::Data) {
            return Err(self.damaged("a number where a message belongs"));
        }
        if let Step::Refuse(what) = step {
            return Err(format!("the model uses {what}; this is not supported"));
        }
        let keep = matches!(step, Step::Copy | Step::Values);
        if keep {
            self.count_kept(2)?;
            encode_varint(key, &mut self.out);
        }
        match key & 7 {
            0 => {
                let value = self.varint(end)?;
                if keep {
                    encode_varint(value, &mut self.out);
                }
            }
            wire @ (1 | 5) => {
                let len = if wire == 1 { 8 } else { 4 };
                if end - self.at < len {
                    return Err(self.damaged("a number is cut off"));
                }
                if keep { self.copy_bytes(len)? } else { self.skip(len)? }
            }
            wire => return Err(self.damaged(&format!("wire type {wire}, which ONNX does not use"))),
        }
        Ok(())
    }

    fn copy(&mut self, field: u32, len: u64) -> Result<(), Refusal> {
        encode_key(field, WireType::LengthDelimited, &mut self.out);
        encode_varint(len, &mut self.out);
        self.copy_bytes(len)
    }

    fn copy_bytes(&mut self, len: u64) -> Result<(), Refusal> {
        let start = self.out.len();
        self.out.resize(start + len as usize, 0);
        self.input.read_exact(&mut self.out[start..]).map_err(|error| error.to_string())?;
        self.at += len;
        Ok(())
    }

    fn skip(&mut self, len: u64) -> Result<(), Refusal> {
        let offset = i64::try_from(len).map_err(|_| self.damaged("a length out of range"))?;
        self.input.seek_relative(offset).map_err(|error| error.to_string())?;
        self.at += len;
        Ok(())
    }

    fn varint(&mut self, end: u64) -> Result<u64, Refusal> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            if self.at >= end {
                return Err(self.damaged("a number is cut off"));
            }
            let mut byte = [0];
            self.input.read_exact(&mut byte).map_err(|error| error.to_string())?;
            self.at += 1;
            value |= u64::from(byte[0] & 0x7f) << shift;
            if byte[0] < 0x80 {
                return Ok(value);
            }
        }
        Err(self.damaged("a number longer than 64 bits"))
    }

    fn count_message(&mut self) -> Result<(), Refusal> {
        self.messages += 1;
        if self.messages > MAX_MESSAGES {
            return Err(format!("more than {MAX_MESSAGES} nodes, attributes, tensors and values"));
        }
        Ok(())
    }

    fn count_data(&mut self, len: u64) -> Result<(), Refusal> {
        self.data = self.data.saturating_add(len);
        if self.data > MAX_DATA_BYTES {
            return Err(format!(
                "more than {MAX_DATA_BYTES} bytes of typed tensor values; \
                 store weights as raw_data or external data"
            ));
        }
        Ok(())
    }

    fn count_kept(&mut self, len: u64) -> Result<(), Refusal> {
        self.kept = self.kept.saturating_add(len);
        if self.kept > MAX_STRUCTURE_BYTES {
            return Err(format!("more than {MAX_STRUCTURE_BYTES} bytes besides tensors' data"));
        }
        Ok(())
    }

    fn damaged(&self, what: &str) -> Refusal {
        format!("this is no ONNX model, or a damaged one: {what}, at byte {}", self.at)
    }
}
