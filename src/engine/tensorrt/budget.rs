//! How much device memory the models may take, and what they have taken.

use crate::engine::cuda::{CudaError, Device};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The memory of one device.
pub(super) struct Budget {
    device: Arc<Device>,
    limit: u64,
    /// Where the limit comes from, for messages.
    source: &'static str,
    /// One thread at a time allocates, so that what an allocation of TensorRT's takes can be
    /// measured.
    used: Mutex<Used>,
}

/// Bytes taken, now and at most so far.
#[derive(Default)]
struct Used {
    now: u64,
    most: u64,
}

impl Used {
    fn add(&mut self, bytes: u64) {
        self.now += bytes;
        self.most = self.most.max(self.now);
    }
}

/// Bytes that are accounted for until this is dropped.
pub(super) struct Share {
    bytes: u64,
    budget: Arc<Budget>,
}

impl Share {
    pub fn bytes(&self) -> u64 {
        self.bytes
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.budget.used().now -= self.bytes;
    }
}

impl Budget {
    /// `configured` bytes, or what is free now.
    ///
    /// # Errors
    /// The driver's.
    pub fn new(device: Arc<Device>, configured: Option<u64>) -> Result<Arc<Budget>, CudaError> {
        let (free, total) = device.memory()?;
        let (limit, source) = match configured {
            Some(bytes) => (bytes.min(total), "`gpu: (memory_mib: …)` in config.ron"),
            None => (free, "what was free at the start"),
        };
        Ok(Arc::new(Budget { device, limit, source, used: Mutex::default() }))
    }

    /// Runs `allocate`, which takes `bytes` bytes.
    ///
    /// # Errors
    /// That there is not so much, with the figures, or the driver's.
    pub fn allocate<T>(
        self: &Arc<Self>,
        what: &str,
        bytes: u64,
        allocate: impl FnOnce() -> Result<T, CudaError>,
    ) -> Result<(T, Share), Refusal> {
        let mut used = self.used();
        if bytes > self.limit.saturating_sub(used.now) {
            return Err(Refusal::TooLittle(self.too_little(what, bytes, used.now)));
        }
        match allocate() {
            Ok(made) => {
                used.add(bytes);
                Ok((made, Share { bytes, budget: self.clone() }))
            }
            Err(error) if error.is_out_of_memory() => {
                let text = self.too_little(what, bytes, used.now);
                Err(Refusal::TooLittle(format!("{text} ({error})")))
            }
            Err(error) => Err(Refusal::Cuda(error)),
        }
    }

    /// Runs `make`, which takes an amount of device memory that only shows afterwards, at least
    /// about `expected` bytes.
    ///
    /// # Errors
    /// That there is not so much, with the figures, or that of `make`.
    pub fn measure<T>(
        self: &Arc<Self>,
        what: &str,
        expected: u64,
        make: impl FnOnce() -> Result<T, String>,
    ) -> Result<(T, Share), String> {
        let mut used = self.used();
        if expected > self.limit.saturating_sub(used.now) {
            return Err(self.too_little(what, expected, used.now));
        }
        let free = || self.device.memory().map(|(free, _)| free).map_err(|e| e.to_string());
        let before = free()?;
        let made = make()?;
        let bytes = before.saturating_sub(free()?);
        if bytes > self.limit.saturating_sub(used.now) {
            return Err(self.too_little(what, bytes, used.now));
        }
        used.add(bytes);
        Ok((made, Share { bytes, budget: self.clone() }))
    }

    /// Whether something is being loaded or allocated now: what can wait should.
    pub fn is_busy(&self) -> bool {
        self.used.try_lock().is_err()
    }

    /// Most bytes that were taken at one time.
    pub fn most_used(&self) -> u64 {
        self.used().most
    }

    fn used(&self) -> MutexGuard<'_, Used> {
        self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn too_little(&self, what: &str, bytes: u64, used: u64) -> String {
        let mib = |bytes: u64| bytes.div_ceil(1 << 20);
        let free = self.device.memory().map_or(0, |(free, _)| free);
        format!(
            "{what} needs {} MiB of GPU memory, but of the {} MiB that the models may take ({}) {} \
             are taken, and {} MiB are free on {}; give it more, or set a smaller max_batch or \
             max_instances",
            mib(bytes),
            mib(self.limit),
            self.source,
            mib(used),
            free >> 20,
            self.device.name,
        )
    }
}

/// Why memory was not given.
#[derive(Debug)]
pub(super) enum Refusal {
    TooLittle(String),
    Cuda(CudaError),
}
