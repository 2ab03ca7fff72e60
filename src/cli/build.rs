//! `bcedge build`: a TensorRT plan from an ONNX file, with the profile that the appliance wants.

use super::screen::LogOptions;
use crate::engine::{self, BuildOptions};
use crate::telemetry::format::count;
use indicatif::{ProgressBar, ProgressStyle};
use std::path::PathBuf;
use std::time::Duration;

const EXAMPLES: &str = "\
Examples:
  bcedge build resnet18.onnx --out engines/resnet18 --max-batch 16 --fp16
  bcedge build yolo.onnx --out engines/yolo --instances 4     TensorRT 8: for 4 instances at once
  bcedge build big.onnx --out engines/big --workspace 1024    no layer may use more than 1 GiB
  BCEDGE_LOG=debug bcedge build …                             with all that TensorRT says

Writes OUT/model.plan, whole or not at all, and keeps what was measured in OUT/timing.cache.
Build on the device that will run it: a plan belongs to the kind of GPU and the version of TensorRT.
It takes from seconds to half an hour.

The same with NVIDIA's tool, for one instance:
  trtexec --onnx=MODEL.onnx --saveEngine=OUT/model.plan --fp16 --timingCacheFile=OUT/timing.cache \\
      --minShapes=NAME:1x3x224x224 --optShapes=NAME:16x3x224x224 --maxShapes=NAME:16x3x224x224";

#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The ONNX file: fixed sizes, or a leading batch dimension that is open
    #[arg(value_name = "MODEL.onnx")]
    model: PathBuf,
    /// Folder that gets `model.plan`, such as engines/NAME
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Most items in a batch; for a model whose batch is open
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=1024))]
    max_batch: u32,
    /// Instances that will run at once; matters for TensorRT 8 only
    #[arg(long, value_name = "M", default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=16))]
    instances: u32,
    /// Compute in 16 bits where that is faster (TensorRT 8 and 10)
    #[arg(long)]
    fp16: bool,
    /// Compute FP32 layers in full instead of in TF32
    #[arg(long)]
    no_tf32: bool,
    /// Most scratch memory of one layer [default: what there is]
    #[arg(long, value_name = "MIB", value_parser = clap::value_parser!(u64).range(1..=16_777_216))]
    workspace: Option<u64>,
    /// Where measurements are kept from build to build [default: OUT/timing.cache]
    #[arg(long, value_name = "FILE")]
    timing_cache: Option<PathBuf>,
    /// Make a plan that later versions of TensorRT run too (config.ron: `gpu: (host_code: true)`)
    #[arg(long)]
    version_compatible: bool,
    /// Where libnvinfer.so is, file or folder [default: searched for]
    #[arg(long, value_name = "PATH")]
    tensorrt: Option<PathBuf>,
    /// Number of the GPU, as CUDA counts them
    #[arg(long, value_name = "N", default_value_t = 0)]
    gpu: u32,
    #[command(flatten)]
    log: LogOptions,
}

/// # Errors
/// A text for the operator.
pub fn run(args: Args) -> Result<(), String> {
    args.log.init()?;
    let timing_cache = args.timing_cache.unwrap_or_else(|| args.out.join("timing.cache"));
    let options = BuildOptions {
        model: args.model,
        out: args.out,
        max_batch: args.max_batch,
        instances: args.instances,
        fp16: args.fp16,
        no_tf32: args.no_tf32,
        workspace_mib: args.workspace,
        timing_cache,
        version_compatible: args.version_compatible,
        tensorrt: args.tensorrt,
        ordinal: args.gpu,
    };
    // Hidden by itself where stderr is not a terminal.
    let bar = ProgressBar::new_spinner().with_style(style());
    bar.set_message(format!("building {}", options.model.display()));
    bar.enable_steady_tick(Duration::from_millis(100));
    let built = engine::build(&options, &mut |phase, done, all| {
        bar.set_message(if all > 1 { format!("{phase} {done}/{all}") } else { phase.to_owned() });
    });
    bar.finish_and_clear();
    let built = built?;
    println!(
        "{}: {} bytes, batches up to {}, {} optimisation profile{}, built by TensorRT {} on {}",
        built.file.display(),
        count(built.bytes),
        built.spec.max_batch,
        built.profiles,
        if built.profiles == 1 { "" } else { "s" },
        built.tensorrt,
        built.gpu,
    );
    println!("config.ron: engine: Plan({:?})", built.file.display().to_string());
    Ok(())
}

fn style() -> ProgressStyle {
    ProgressStyle::with_template("{spinner} {elapsed} {msg}")
        .unwrap_or_else(|_| ProgressStyle::default_spinner())
}
