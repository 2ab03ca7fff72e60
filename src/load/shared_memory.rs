//! System shared memory of the client's side.

use crate::client::Client;
use crate::server::proto::{
    SystemSharedMemoryRegisterRequest, SystemSharedMemoryRegisterResponse,
    SystemSharedMemoryUnregisterRequest, SystemSharedMemoryUnregisterResponse,
};
use rustix::fs::Mode;
use rustix::shm;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU64, Ordering};

/// Tells apart the regions of one process.
static NEXT_REGION: AtomicU64 = AtomicU64::new(0);

/// A region that is registered with the server. Its name is gone from the system as soon as the
/// server has opened it, so nothing is left behind however this process ends.
#[derive(Debug)]
pub(super) struct Region {
    pub(super) name: String,
    /// Keeps the memory until the run is over, whatever the server does with its own handle.
    _file: OwnedFd,
}

/// Removes the name of a region when it goes out of scope.
struct Unlink<'a>(&'a str);

impl Drop for Unlink<'_> {
    fn drop(&mut self) {
        // Nothing is to be done about a name that can't be removed: it may be gone already.
        let _ = shm::unlink(self.0);
    }
}

impl Region {
    /// Makes a region that begins with `data` and has `bytes` in all, and registers it.
    ///
    /// # Errors
    /// When there is no memory for it, or the server refuses it.
    pub(super) async fn register(
        client: &Client,
        data: &[&[u8]],
        bytes: u64,
    ) -> Result<Region, String> {
        let number = NEXT_REGION.fetch_add(1, Ordering::Relaxed);
        let name = format!("bcedge-load-{}-{number}", std::process::id());
        let key = format!("/{name}");
        let failed = |e: rustix::io::Errno| {
            format!("can't make a shared memory region of {bytes} bytes: {e}")
        };
        let flags = shm::OFlags::CREATE | shm::OFlags::EXCL | shm::OFlags::RDWR;
        let file = shm::open(key.as_str(), flags, Mode::RUSR | Mode::WUSR).map_err(failed)?;
        let _unlink = Unlink(&key);
        rustix::fs::ftruncate(&file, bytes).map_err(failed)?;
        let mut offset = 0;
        for part in data {
            write_all(&file, part, offset).map_err(failed)?;
            offset += part.len() as u64;
        }
        let request = SystemSharedMemoryRegisterRequest {
            name: name.clone(),
            key: key.clone(),
            offset: 0,
            byte_size: bytes,
        };
        let _: SystemSharedMemoryRegisterResponse = client
            .unary("SystemSharedMemoryRegister", &request)
            .await
            .map_err(|e| format!("the server does not take shared memory: {e}"))?;
        Ok(Region { name, _file: file })
    }

    /// Takes the registration back. A server that is gone has forgotten it already.
    pub(super) async fn unregister(&self, client: &Client) {
        let request = SystemSharedMemoryUnregisterRequest { name: self.name.clone() };
        let _: Result<SystemSharedMemoryUnregisterResponse, _> =
            client.unary("SystemSharedMemoryUnregister", &request).await;
    }
}

fn write_all(file: &OwnedFd, mut data: &[u8], mut offset: u64) -> rustix::io::Result<()> {
    while !data.is_empty() {
        match rustix::io::pwrite(file, data, offset) {
            Ok(0) => return Err(rustix::io::Errno::NOSPC),
            Ok(n) => {
                data = &data[n..];
                offset += n as u64;
            }
            Err(rustix::io::Errno::INTR) => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}
