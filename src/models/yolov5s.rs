//! YOLOv5s (Ultralytics, release 6), 640 × 640, 80 classes, boxes decoded.

use super::graph::{Attribute, GraphBuilder, Network, Value};
use super::layers::{Activation::*, Conv, Pool};
use super::onnx::tensor_proto::DataType;

/// Box centre and size (4), objectness (1), classes (80).
const FIELDS: usize = 85;
/// Boxes per cell.
const ANCHORS: usize = 3;
/// Pixels per cell, then width and height of each anchor in pixels.
const HEADS: [(usize, [[f32; 2]; ANCHORS]); 3] = [
    (8, [[10., 13.], [16., 30.], [33., 23.]]),
    (16, [[30., 61.], [62., 45.], [59., 119.]]),
    (32, [[116., 90.], [156., 198.], [373., 326.]]),
];

/// `images` FP32 [3, 640, 640] to `output0` FP32 [25200, 85]: x, y, w, h in pixels, objectness, and
/// a score for each class.
pub fn build(seed: u64) -> Network {
    let mut g = GraphBuilder::new("yolov5s", seed);
    let images = g.input("images", DataType::Float, &[3, 640, 640]);
    let (p3, p4, p5) = backbone(&mut g, &images);
    let maps = neck(&mut g, &p3, &p4, &p5);
    let mut boxes = Vec::new();
    for (index, (map, (stride, anchors))) in maps.iter().zip(HEADS).enumerate() {
        boxes.push(g.scoped(&format!("model.24.{index}"), |g| detect(g, map, stride, &anchors)));
    }
    let output = g.concat(&[&boxes[0], &boxes[1], &boxes[2]]);
    g.output("output0", &output);
    g.finish()
}

/// Feature maps at 1/8, 1/16 and 1/32 of the image's size.
fn backbone(g: &mut GraphBuilder, images: &Value) -> (Value, Value, Value) {
    let x = g.conv("model.0", images, Conv::new(32, 6, Silu).stride(2).pad(2));
    let x = g.conv("model.1", &x, Conv::new(64, 3, Silu).stride(2));
    let x = c3(g, "model.2", &x, 64, 1, true);
    let x = g.conv("model.3", &x, Conv::new(128, 3, Silu).stride(2));
    let p3 = c3(g, "model.4", &x, 128, 2, true);
    let x = g.conv("model.5", &p3, Conv::new(256, 3, Silu).stride(2));
    let p4 = c3(g, "model.6", &x, 256, 3, true);
    let x = g.conv("model.7", &p4, Conv::new(512, 3, Silu).stride(2));
    let x = c3(g, "model.8", &x, 512, 1, true);
    let p5 = g.scoped("model.9", |g| spatial_pyramid(g, &x));
    (p3, p4, p5)
}

/// Passes what the coarse maps know down to the fine ones, and back up.
fn neck(g: &mut GraphBuilder, p3: &Value, p4: &Value, p5: &Value) -> [Value; 3] {
    let top = g.conv("model.10", p5, Conv::new(256, 1, Silu));
    let x = upsample(g, "model.11", &top);
    let x = g.concat(&[&x, p4]);
    let x = c3(g, "model.13", &x, 256, 1, false);
    let middle = g.conv("model.14", &x, Conv::new(128, 1, Silu));
    let x = upsample(g, "model.15", &middle);
    let x = g.concat(&[&x, p3]);
    let fine = c3(g, "model.17", &x, 128, 1, false);
    let x = g.conv("model.18", &fine, Conv::new(128, 3, Silu).stride(2));
    let x = g.concat(&[&x, &middle]);
    let medium = c3(g, "model.20", &x, 256, 1, false);
    let x = g.conv("model.21", &medium, Conv::new(256, 3, Silu).stride(2));
    let x = g.concat(&[&x, &top]);
    let coarse = c3(g, "model.23", &x, 512, 1, false);
    [fine, medium, coarse]
}

/// Half of the channels through bottlenecks, half past them.
fn c3(g: &mut GraphBuilder, name: &str, x: &Value, out: usize, n: usize, shortcut: bool) -> Value {
    g.scoped(name, |g| {
        let half = out / 2;
        let mut y = g.conv("cv1", x, Conv::new(half, 1, Silu));
        for index in 0..n {
            let inner = g.conv(&format!("m.{index}.cv1"), &y, Conv::new(half, 1, Silu));
            let inner = g.conv(&format!("m.{index}.cv2"), &inner, Conv::new(half, 3, Silu));
            y = if shortcut { g.binary("Add", &y, &inner) } else { inner };
        }
        let past = g.conv("cv2", x, Conv::new(half, 1, Silu));
        let both = g.concat(&[&y, &past]);
        g.conv("cv3", &both, Conv::new(out, 1, Silu))
    })
}

fn spatial_pyramid(g: &mut GraphBuilder, x: &Value) -> Value {
    let x0 = g.conv("cv1", x, Conv::new(x.channels() / 2, 1, Silu));
    let x1 = g.pool(&x0, Pool::Max, 5, 1, 2);
    let x2 = g.pool(&x1, Pool::Max, 5, 1, 2);
    let x3 = g.pool(&x2, Pool::Max, 5, 1, 2);
    let all = g.concat(&[&x0, &x1, &x2, &x3]);
    g.conv("cv2", &all, Conv::new(x.channels(), 1, Silu))
}

/// Twice the height and width, nearest neighbour.
fn upsample(g: &mut GraphBuilder, name: &str, x: &Value) -> Value {
    let scales = g.constant(&format!("{name}.scales"), &[4], &[1.0, 1.0, 2.0, 2.0]);
    let shape = [x.channels(), 2 * x.shape()[1], 2 * x.shape()[2]];
    let attributes = [
        ("mode", Attribute::Text("nearest")),
        ("coordinate_transformation_mode", Attribute::Text("asymmetric")),
        ("nearest_mode", Attribute::Text("floor")),
    ];
    g.node("Resize", &[x.name(), "", &scales], &attributes, &shape)
}

/// One head: a feature map to boxes [3 · cells, 85].
fn detect(g: &mut GraphBuilder, x: &Value, stride: usize, anchors: &[[f32; 2]; ANCHORS]) -> Value {
    let (height, width) = (x.shape()[1], x.shape()[2]);
    let cells = height * width;
    let conv = Conv::new(ANCHORS * FIELDS, 1, Identity).without_batch_norm();
    let x = g.conv("m", x, conv);
    let apart = g.integers("apart", &[-1, ANCHORS as i64, FIELDS as i64, cells as i64]);
    let x = g.node("Reshape", &[x.name(), &apart], &[], &[ANCHORS, FIELDS, cells]);
    let order = [("perm", Attribute::sizes(&[0, 1, 3, 2]))];
    let x = g.node("Transpose", &[x.name()], &order, &[ANCHORS, cells, FIELDS]);
    let x = g.activate(&x, Sigmoid);
    let parts = g.integers("parts", &[2, 2, FIELDS as i64 - 4]);
    let pair = [ANCHORS, cells, 2];
    let axis = [("axis", Attribute::Int(3))];
    let scores = [ANCHORS, cells, FIELDS - 4];
    let [xy, wh, scores] = g.node_n("Split", &[x.name(), &parts], &axis, [&pair, &pair, &scores]);

    // Centre: (2σ − 0.5 + cell) · stride.
    let scale = g.constant("xy_scale", &[], &[2.0 * stride as f32]);
    let cell =
        |cell: usize| [cell % width, cell / width].map(|at| (at as f32 - 0.5) * stride as f32);
    let offsets: Vec<f32> = (0..cells).flat_map(cell).collect();
    let offsets = g.constant("xy_offset", &[1, 1, cells, 2], &offsets);
    let xy = g.node("Mul", &[xy.name(), &scale], &[], &pair);
    let xy = g.node("Add", &[xy.name(), &offsets], &[], &pair);
    // Size: (2σ)² · anchor.
    let sizes: Vec<f32> = anchors.iter().flatten().map(|side| 4.0 * side).collect();
    let sizes = g.constant("wh_scale", &[1, ANCHORS, 1, 2], &sizes);
    let wh = g.binary("Mul", &wh, &wh);
    let wh = g.node("Mul", &[wh.name(), &sizes], &[], &pair);

    let together = [("axis", Attribute::Int(3))];
    let names = [xy.name(), wh.name(), scores.name()];
    let x = g.node("Concat", &names, &together, &[ANCHORS, cells, FIELDS]);
    let boxes = ANCHORS * cells;
    let flat = g.integers("flat", &[-1, boxes as i64, FIELDS as i64]);
    g.node("Reshape", &[x.name(), &flat], &[], &[boxes, FIELDS])
}
