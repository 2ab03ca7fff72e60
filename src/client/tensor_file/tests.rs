use super::*;
use image::{GrayImage, RgbImage};
use npyz::WriterBuilder;
use std::path::PathBuf;

fn tensor(datatype: &str, shape: &[i64]) -> TensorMetadata {
    TensorMetadata { name: "x".into(), datatype: datatype.into(), shape: shape.into() }
}

/// A 2 × 1 image: one red pixel (255, 0, 51), one of (0, 102, 255).
fn two_pixels(folder: &Path) -> PathBuf {
    let mut image = RgbImage::new(2, 1);
    image.put_pixel(0, 0, image::Rgb([255, 0, 51]));
    image.put_pixel(1, 0, image::Rgb([0, 102, 255]));
    let path = folder.join("two.png");
    image.save(&path).unwrap();
    path
}

fn floats(data: &[u8]) -> Vec<f32> {
    data.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect()
}

fn npy<T: npyz::AutoSerialize>(folder: &Path, shape: &[u64], values: &[T]) -> PathBuf {
    let path = folder.join("x.npy");
    let file = File::create(&path).unwrap();
    let mut writer =
        npyz::WriteOptions::new().default_dtype().shape(shape).writer(file).begin_nd().unwrap();
    writer.extend(values.iter()).unwrap();
    writer.finish().unwrap();
    path
}

#[test]
fn an_image_becomes_planes_or_pixels() {
    let folder = tempfile::tempdir().unwrap();
    let path = two_pixels(folder.path());
    let planes = read(&path, &tensor("FP32", &[-1, 3, 1, 2])).unwrap();
    assert_eq!(planes.shape, [1, 3, 1, 2]);
    assert_eq!(floats(&planes.data), [1.0, 0.0, 0.0, 0.4, 0.2, 1.0]);
    let pixels = read(&path, &tensor("UINT8", &[1, 2, 3])).unwrap();
    assert_eq!(pixels.shape, [1, 2, 3]);
    assert_eq!(pixels.data, [255, 0, 51, 0, 102, 255]);
    let half = read(&path, &tensor("FP16", &[-1, 1, 2, 3])).unwrap();
    assert_eq!(half.data[..2], f16::ONE.to_le_bytes());
}

#[test]
fn an_image_is_resized_to_the_input() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("grey.jpg");
    GrayImage::from_pixel(40, 30, image::Luma([128])).save(&path).unwrap();
    let resized = read(&path, &tensor("FP32", &[-1, 3, 8, 5])).unwrap();
    assert_eq!(resized.shape, [1, 3, 8, 5]);
    assert_eq!(resized.data.len(), 3 * 8 * 5 * 4);
    assert!(floats(&resized.data).iter().all(|v| (v - 128.0 / 255.0).abs() < 0.01));
    let grey = read(&path, &tensor("UINT8", &[-1, 1, 8, 5])).unwrap();
    assert_eq!(grey.data.len(), 40);
}

#[test]
fn an_image_for_another_kind_of_input_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let path = two_pixels(folder.path());
    let text = read(&path, &tensor("FP32", &[-1, 16])).unwrap_err();
    assert!(text.contains("does not fit the input's shape [-1, 16]"), "{text}");
    let text = read(&path, &tensor("INT64", &[-1, 3, 2, 2])).unwrap_err();
    assert!(text.contains("can't be sent as INT64"), "{text}");
    let text = read(&path, &tensor("FP32", &[-1, 3, 1 << 40, 1 << 40])).unwrap_err();
    assert!(text.contains("does not fit"), "{text}");
    let broken = folder.path().join("broken.png");
    std::fs::write(&broken, b"\x89PNG\r\n\x1a\nno").unwrap();
    let text = read(&broken, &tensor("FP32", &[-1, 3, 2, 2])).unwrap_err();
    assert!(text.contains("broken.png: not an image"), "{text}");
}

#[test]
fn an_array_keeps_its_values_and_gets_the_batch_it_lacks() {
    let folder = tempfile::tempdir().unwrap();
    let path = npy(folder.path(), &[2, 2], &[1.0f32, 2.0, 3.0, 4.0]);
    let with_batch = read(&path, &tensor("FP32", &[-1, 2, 2])).unwrap();
    assert_eq!(with_batch.shape, [1, 2, 2]);
    assert_eq!(floats(&with_batch.data), [1.0, 2.0, 3.0, 4.0]);
    let two_items = read(&path, &tensor("FP32", &[-1, 2])).unwrap();
    assert_eq!(two_items.shape, [2, 2]);
    let ids = npy(folder.path(), &[1, 3], &[7i64, 8, 9]);
    assert_eq!(read(&ids, &tensor("INT64", &[-1, -1])).unwrap().shape, [1, 3]);
}

#[test]
fn an_array_of_another_type_or_shape_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let path = npy(folder.path(), &[2], &[1.0f64, 2.0]);
    let text = read(&path, &tensor("FP32", &[2])).unwrap_err();
    assert!(text.contains("type '<f8'") && text.contains("'<f4'"), "{text}");
    let path = npy(folder.path(), &[3], &[1.0f32, 2.0, 3.0]);
    let text = read(&path, &tensor("FP32", &[-1, 2])).unwrap_err();
    assert!(text.contains("shape [3]") && text.contains("[-1, 2]"), "{text}");
    let whole = std::fs::read(&path).unwrap();
    for broken in [&whole[..whole.len() - 1], &whole[..20], b"", b"\x93NUMPY\x01\x00\xff\xff"] {
        std::fs::write(&path, broken).unwrap();
        assert!(read(&path, &tensor("FP32", &[3])).is_err());
    }
}

#[test]
fn raw_bytes_are_whole_items() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.bin");
    std::fs::write(&path, [0; 24]).unwrap();
    assert_eq!(read(&path, &tensor("FP32", &[-1, 3])).unwrap().shape, [2, 3]);
    assert_eq!(read(&path, &tensor("INT64", &[3])).unwrap().shape, [3]);
    let text = read(&path, &tensor("FP32", &[3])).unwrap_err();
    assert!(text.contains("24 bytes; FP32 of the shape [3] take 12"), "{text}");
    let text = read(&path, &tensor("FP32", &[-1, 5])).unwrap_err();
    assert!(text.contains("take 20 or a multiple of it"), "{text}");
    let text = read(&path, &tensor("FP32", &[-1, -1])).unwrap_err();
    assert!(text.contains("only a .npy file can tell"), "{text}");
    std::fs::write(&path, []).unwrap();
    assert!(read(&path, &tensor("FP32", &[-1, 3])).is_err());
    let text = read(&folder.path().join("none"), &tensor("FP32", &[3])).unwrap_err();
    assert!(text.contains("can't read"), "{text}");
}
