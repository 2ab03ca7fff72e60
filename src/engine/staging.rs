//! The memory a batch is gathered in, and the way results leave without a copy.

use super::EngineError;
use super::tensor::TensorSpec;
use crate::units::BatchSize;
use bytemuck::{AnyBitPattern, NoUninit};
use bytes::Bytes;

/// Most bytes one input may stage. Above it the batch limit is a mistake, and an allocation that
/// fails would end the process.
const MAX_STAGING_BYTES: usize = 1 << 30;

/// Room for one input at the largest batch: allocated once, reused by every run, aligned for every
/// element type. Pages are only touched by the batches that need them.
pub(super) struct Staging {
    words: Vec<u64>,
    item_bytes: usize,
}

impl Staging {
    /// # Errors
    /// When `spec` at `max_batch` needs more than a gibibyte.
    pub fn new(spec: &TensorSpec, max_batch: BatchSize) -> Result<Staging, EngineError> {
        let bytes = spec.item_bytes().and_then(|item| item.checked_mul(max_batch.get()));
        match (spec.item_bytes(), bytes) {
            (Some(item_bytes), Some(bytes)) if bytes <= MAX_STAGING_BYTES => {
                Ok(Staging { words: vec![0; bytes.div_ceil(8)], item_bytes })
            }
            _ => Err(EngineError::Context(format!(
                "input '{}' of shape {:?} does not fit the staging memory at batch {max_batch} (at \
                 most {} MiB per input); set a smaller max_batch for this model",
                spec.name,
                spec.shape,
                MAX_STAGING_BYTES >> 20,
            ))),
        }
    }

    /// The first `batch` items.
    pub fn bytes_mut(&mut self, batch: BatchSize) -> &mut [u8] {
        &mut bytemuck::cast_slice_mut(&mut self.words)[..self.item_bytes * batch.get()]
    }

    /// The first `batch` items as elements. `T` is as wide as the input's element type.
    pub fn elements<T: AnyBitPattern>(&self, batch: BatchSize) -> &[T] {
        let bytes: &[u8] = bytemuck::cast_slice(&self.words);
        bytemuck::cast_slice(&bytes[..self.item_bytes * batch.get()])
    }
}

/// Hands a vector to the reply without copying it.
pub(super) fn bytes_of<T: NoUninit + Send + 'static>(elements: Vec<T>) -> Bytes {
    struct Owner<T>(Vec<T>);
    impl<T: NoUninit> AsRef<[u8]> for Owner<T> {
        fn as_ref(&self) -> &[u8] {
            bytemuck::cast_slice(&self.0)
        }
    }
    Bytes::from_owner(Owner(elements))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::DataType;

    fn spec(data_type: DataType, shape: &[i64]) -> TensorSpec {
        TensorSpec { name: "x".into(), data_type, shape: shape.to_vec() }
    }

    #[test]
    fn a_batch_is_a_prefix_and_keeps_its_place() {
        let mut staging = Staging::new(&spec(DataType::I64, &[3]), BatchSize(4)).unwrap();
        assert_eq!(staging.bytes_mut(BatchSize(4)).len(), 96);
        staging.bytes_mut(BatchSize(2))[40..].copy_from_slice(&7i64.to_le_bytes());
        assert_eq!(staging.elements::<i64>(BatchSize(2)), [0, 0, 0, 0, 0, 7]);
    }

    #[test]
    fn odd_sizes_are_not_rounded() {
        let mut staging = Staging::new(&spec(DataType::U8, &[3]), BatchSize(3)).unwrap();
        assert_eq!(staging.bytes_mut(BatchSize(3)).len(), 9);
        assert_eq!(staging.elements::<u8>(BatchSize(1)).len(), 3);
    }

    #[test]
    fn absurd_sizes_are_an_error_that_names_the_input() {
        for shape in [vec![1 << 40], vec![i64::MAX, i64::MAX], vec![-1]] {
            let error = Staging::new(&spec(DataType::F32, &shape), BatchSize(8)).err().unwrap();
            assert!(error.to_string().contains("input 'x'"), "{error}");
        }
    }

    #[test]
    fn bytes_are_not_copied() {
        let values = vec![1.0f32, 2.0];
        let address = values.as_ptr() as usize;
        let bytes = bytes_of(values);
        assert_eq!(bytes.as_ptr() as usize, address);
        assert_eq!(&bytes[4..], 2.0f32.to_le_bytes());
    }
}
