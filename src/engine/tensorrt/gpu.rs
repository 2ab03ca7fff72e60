//! What all plans of the process share: the device, TensorRT's runtime, the memory.

use super::budget::Budget;
use super::library::Library;
use super::objects::Runtime;
use super::scratch::{ScratchPool, ScratchUse};
use crate::config::Config;
use crate::engine::cuda::{self, Device};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

/// The GPU in use. It is let go of with the last plan.
pub(super) struct Gpu {
    // Dropped in this order: what lives on the device before the device.
    pub runtime: Arc<Runtime>,
    pub scratch: Arc<ScratchPool>,
    pub budget: Arc<Budget>,
    pub device: Arc<Device>,
    /// Whether runs are captured as graphs.
    pub graphs: bool,
    settings: Settings,
}

/// What of config.ron it depends on.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Settings {
    ordinal: u32,
    library: Option<PathBuf>,
    memory_mib: Option<u64>,
    graphs: bool,
    host_code: bool,
}

static IN_USE: Mutex<Weak<Gpu>> = Mutex::new(Weak::new());

fn in_use() -> MutexGuard<'static, Weak<Gpu>> {
    IN_USE.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Gpu {
    /// The one that is in use, or else the one that `config` names, found in the order in which
    /// nothing can crash: driver, device, TensorRT's library, its version, its runtime.
    ///
    /// # Errors
    /// The step that failed: what was looked for, where, what was found, what to do.
    pub fn shared(config: &Config) -> Result<Arc<Gpu>, String> {
        let settings = Settings {
            ordinal: config.gpu.ordinal,
            library: config.tensorrt.clone(),
            memory_mib: config.gpu.memory_mib,
            graphs: config.gpu.graphs,
            host_code: config.gpu.host_code,
        };
        let mut in_use = in_use();
        if let Some(gpu) = in_use.upgrade().filter(|gpu| gpu.settings == settings) {
            return Ok(gpu);
        }
        let gpu = Arc::new(Gpu::open(settings)?);
        *in_use = Arc::downgrade(&gpu);
        Ok(gpu)
    }

    fn open(settings: Settings) -> Result<Gpu, String> {
        cuda::presence()?;
        let library = Library::open(settings.library.as_deref())?;
        let device = Device::open(settings.ordinal)?;
        let words = |error: cuda::CudaError| error.to_string();
        // Before TensorRT takes any: what it needs for itself comes out of what is free.
        let configured = settings.memory_mib.map(|mib| mib << 20);
        let budget = Budget::new(device.clone(), configured).map_err(words)?;
        let runtime = Runtime::new(library, device.clone())?;
        if settings.host_code {
            runtime.allow_host_code()?;
        }
        let scratch = ScratchPool::new(device.clone(), budget.clone());
        let (major, minor) = device.capability;
        tracing::info!(
            "GPU {}: {}, compute capability {major}.{minor}{}",
            settings.ordinal,
            device.name,
            if device.integrated { ", shares the host's memory" } else { "" },
        );
        Ok(Gpu { runtime, scratch, budget, device, graphs: settings.graphs, settings })
    }
}

/// Scratch memory of the GPU in use; nothing without one.
pub fn scratch_use() -> ScratchUse {
    in_use().upgrade().map_or_else(ScratchUse::default, |gpu| gpu.scratch.usage())
}
