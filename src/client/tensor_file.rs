//! Files as input tensors: images, NumPy arrays and raw bytes.
//!
//! | file | becomes |
//! |---|---|
//! | `.jpg` `.jpeg` `.png` | RGB (or grey for one channel), resized to the input's height and width without keeping the aspect ratio, NCHW or NHWC as the input's shape has it; values divided by 255 for FP32 and FP16, as they are for UINT8 |
//! | `.npy` | its own shape and type, which must fit the input |
//! | any other | the bytes as they are: little-endian, row-major, whole items |

use crate::engine::DataType;
use crate::server::proto::model_metadata_response::TensorMetadata;
use half::f16;
use image::imageops::FilterType;
use image::{DynamicImage, ImageReader};
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

/// Largest file that is read.
const MAX_FILE_BYTES: u64 = 1 << 30;
/// Largest height and width an image is resized to.
const MAX_SIDE: i64 = 16_384;

/// The contents of a file, ready to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileTensor {
    /// With the batch dimension, for an input that has one.
    pub shape: Vec<i64>,
    /// Little-endian, row-major.
    pub data: Vec<u8>,
}

/// Reads `path` as the input that `tensor` describes.
///
/// # Errors
/// A text that names the file, what the input needs and what the file has.
pub fn read(path: &Path, tensor: &TensorMetadata) -> Result<FileTensor, String> {
    let data_type = DataType::from_name(&tensor.datatype).ok_or_else(|| {
        format!("input '{}' is {}, which can't be read from a file", tensor.name, tensor.datatype)
    })?;
    let extension = path.extension().and_then(|e| e.to_str()).unwrap_or("").to_lowercase();
    let result = match extension.as_str() {
        "jpg" | "jpeg" | "png" => read_image(path, data_type, &tensor.shape),
        "npy" => read_npy(&read_bytes(path)?, data_type, &tensor.shape),
        _ => read_raw(read_bytes(path)?, data_type, &tensor.shape),
    };
    result.map_err(|text| format!("{}: {text}", path.display()))
}

fn read_bytes(path: &Path) -> Result<Vec<u8>, String> {
    let failed = |e| format!("can't read {}: {e}", path.display());
    let file = File::open(path).map_err(failed)?;
    let mut data = Vec::new();
    file.take(MAX_FILE_BYTES + 1).read_to_end(&mut data).map_err(failed)?;
    if data.len() as u64 > MAX_FILE_BYTES {
        return Err(format!("{} is larger than {MAX_FILE_BYTES} bytes", path.display()));
    }
    Ok(data)
}

/// Where height, width and channels stand in an image input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct ImageLayout {
    channels_first: bool,
    channels: usize,
    height: u32,
    width: u32,
}

impl ImageLayout {
    /// From a shape with or without a batch dimension.
    fn of(shape: &[i64]) -> Result<ImageLayout, String> {
        let error = || {
            format!(
                "an image does not fit the input's shape {shape:?}; 3 × height × width or height \
                 × width × 3 is expected, or 1 in place of 3"
            )
        };
        let item = match shape {
            [-1 | 1, item @ ..] if item.len() == 3 => item,
            item => item,
        };
        let (channels_first, [channels, height, width]) = match *item {
            [c @ 3, h, w] => (true, [c, h, w]),
            [h, w, c @ 3] => (false, [c, h, w]),
            [c @ 1, h, w] => (true, [c, h, w]),
            [h, w, c @ 1] => (false, [c, h, w]),
            _ => return Err(error()),
        };
        let side = |side| match side {
            1..=MAX_SIDE => u32::try_from(side).map_err(|_| error()),
            _ => Err(error()),
        };
        let (height, width) = (side(height)?, side(width)?);
        Ok(ImageLayout { channels_first, channels: channels as usize, height, width })
    }
}

fn read_image(path: &Path, data_type: DataType, shape: &[i64]) -> Result<FileTensor, String> {
    let layout = ImageLayout::of(shape)?;
    let reader = ImageReader::open(path).map_err(|e| format!("can't be read: {e}"))?;
    let reader = reader.with_guessed_format().map_err(|e| format!("can't be read: {e}"))?;
    let image = reader.decode().map_err(|e| format!("not an image that can be read: {e}"))?;
    let data = image_data(&image, data_type, layout)?;
    Ok(FileTensor { shape: with_batch(shape, 1), data })
}

fn image_data(
    image: &DynamicImage,
    data_type: DataType,
    layout: ImageLayout,
) -> Result<Vec<u8>, String> {
    let image = image.resize_exact(layout.width, layout.height, FilterType::Triangle);
    let interleaved = match layout.channels {
        1 => image.into_luma8().into_raw(),
        _ => image.into_rgb8().into_raw(),
    };
    let values = if layout.channels_first {
        let plane = |channel| interleaved.iter().skip(channel).step_by(layout.channels).copied();
        (0..layout.channels).flat_map(plane).collect()
    } else {
        interleaved
    };
    let unit = |value: u8| f32::from(value) / 255.0;
    match data_type {
        DataType::U8 => Ok(values),
        DataType::F32 => Ok(values.into_iter().flat_map(|v| unit(v).to_le_bytes()).collect()),
        DataType::F16 => {
            let half = |v| f16::from_f32(unit(v)).to_le_bytes();
            Ok(values.into_iter().flat_map(half).collect())
        }
        other => Err(format!("an image can't be sent as {}", other.name())),
    }
}

fn read_npy(file: &[u8], data_type: DataType, shape: &[i64]) -> Result<FileTensor, String> {
    let mut reader = BufReader::new(file);
    let header = npyz::NpyHeader::from_reader(&mut reader)
        .map_err(|e| format!("not a .npy file that can be read: {e}"))?;
    let found = header.dtype().descr();
    let expected = npy_type(data_type);
    if found.trim_matches('\'') != expected {
        return Err(format!(
            "the array is of type {found}; the input is {}, which is '{expected}' in NumPy",
            data_type.name()
        ));
    }
    if header.order() != npyz::Order::C {
        return Err("the array is in Fortran order; save np.ascontiguousarray(array)".into());
    }
    let own: Vec<i64> =
        header.shape().iter().map(|&d| i64::try_from(d).unwrap_or(i64::MAX)).collect();
    let fitted = fit_shape(&own, shape).ok_or_else(|| {
        format!("the array has the shape {own:?}; the input's is {shape:?} (-1: any)")
    })?;
    let mut data = Vec::new();
    reader.read_to_end(&mut data).map_err(|e| e.to_string())?;
    let bytes = own.iter().try_fold(data_type.size() as i64, |n, &d| n.checked_mul(d));
    if bytes != i64::try_from(data.len()).ok() {
        return Err(format!("the array has {} bytes, not as many as {own:?} needs", data.len()));
    }
    Ok(FileTensor { shape: fitted, data })
}

/// NumPy's name of a type, as little-endian files have it.
fn npy_type(data_type: DataType) -> &'static str {
    match data_type {
        DataType::F32 => "<f4",
        DataType::F16 => "<f2",
        DataType::I64 => "<i8",
        DataType::I32 => "<i4",
        DataType::I8 => "|i1",
        DataType::U8 => "|u1",
        DataType::Bool => "|b1",
    }
}

/// `own` as a shape for the input: itself, or with the batch dimension before it that it lacks.
fn fit_shape(own: &[i64], shape: &[i64]) -> Option<Vec<i64>> {
    let fits = |candidate: &[i64]| {
        candidate.len() == shape.len()
            && candidate.iter().zip(shape).all(|(own, wanted)| *wanted == -1 || own == wanted)
    };
    let with_batch: Vec<i64> = [1].iter().chain(own).copied().collect();
    [own.to_vec(), with_batch].into_iter().find(|candidate| fits(candidate))
}

fn read_raw(data: Vec<u8>, data_type: DataType, shape: &[i64]) -> Result<FileTensor, String> {
    let (batched, item) = match shape {
        [-1, item @ ..] => (true, item),
        item => (false, item),
    };
    let item_bytes = item
        .iter()
        .try_fold(data_type.size(), |n, &d| n.checked_mul(usize::try_from(d).ok()?))
        .filter(|&bytes| bytes > 0)
        .ok_or_else(|| {
            format!("the input's shape {shape:?} is variable; only a .npy file can tell it")
        })?;
    let items = data.len() / item_bytes;
    let whole = items > 0 && data.len().is_multiple_of(item_bytes);
    if !whole || (items > 1 && !batched) {
        let several = if batched { " or a multiple of it" } else { "" };
        return Err(format!(
            "{} bytes; {} of the shape {item:?} take {item_bytes}{several}",
            data.len(),
            data_type.name()
        ));
    }
    Ok(FileTensor { shape: with_batch(shape, items as i64), data })
}

/// The shape with the number of items in the place of a variable batch.
fn with_batch(shape: &[i64], items: i64) -> Vec<i64> {
    let mut shape = shape.to_vec();
    if let Some(batch) = shape.first_mut().filter(|batch| **batch == -1) {
        *batch = items;
    }
    shape
}

#[cfg(test)]
mod tests;
