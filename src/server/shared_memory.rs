//! System shared memory: regions a client has registered by name.
//!
//! Regions are read and written with `pread`/`pwrite`, never mapped: a client that truncates its
//! file after registration gets an error for its request, and can't bring the process down with
//! SIGBUS.

use std::os::fd::OwnedFd;
use std::sync::Arc;

/// An open region.
#[derive(Debug)]
pub struct Region {
    pub name: String,
    pub(crate) file: OwnedFd,
    /// Where the registration begins inside the file.
    pub(crate) offset: u64,
    pub(crate) byte_size: u64,
}

/// Part of a region, bounds-checked against the registration.
#[derive(Clone, Debug)]
pub struct RegionSlice {
    region: Arc<Region>,
    offset: u64,
    len: u64,
}

impl RegionSlice {
    /// `None` when `offset + len` is outside the registration.
    pub fn new(region: Arc<Region>, offset: u64, len: u64) -> Option<RegionSlice> {
        let end = offset.checked_add(len)?;
        (end <= region.byte_size).then_some(RegionSlice { region, offset, len })
    }

    pub fn len(&self) -> u64 {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Reads the whole slice into `out`, which is as long as the slice.
    ///
    /// # Errors
    /// A text for the client, when the file has become shorter than it was at registration.
    pub fn read_into(&self, out: &mut [u8]) -> Result<(), String> {
        let start = self.region.offset + self.offset;
        let mut done = 0;
        while done < out.len() {
            match rustix::io::pread(&self.region.file, &mut out[done..], start + done as u64) {
                Ok(0) => return Err(self.truncated(done)),
                Ok(n) => done += n,
                Err(rustix::io::Errno::INTR) => {}
                Err(e) => return Err(self.io_error("read", e)),
            }
        }
        Ok(())
    }

    /// Writes `data` at the start of the slice.
    ///
    /// # Errors
    /// A text for the client, when `data` is longer than the slice or the file can't take it.
    pub fn write(&self, data: &[u8]) -> Result<(), String> {
        if data.len() as u64 > self.len {
            return Err(format!(
                "shared memory region '{}': the output has {} bytes, the place given for it {}",
                self.region.name,
                data.len(),
                self.len
            ));
        }
        let start = self.region.offset + self.offset;
        // A write past the end would grow the client's file instead of failing.
        let size = rustix::fs::fstat(&self.region.file).map_err(|e| self.io_error("stat", e))?;
        if (size.st_size as u64) < start + data.len() as u64 {
            return Err(self.truncated(0));
        }
        let mut done = 0;
        while done < data.len() {
            match rustix::io::pwrite(&self.region.file, &data[done..], start + done as u64) {
                Ok(n) => done += n,
                Err(rustix::io::Errno::INTR) => {}
                Err(e) => return Err(self.io_error("write", e)),
            }
        }
        Ok(())
    }

    fn truncated(&self, done: usize) -> String {
        format!(
            "shared memory region '{}' has become shorter than it was when registered: {} bytes at \
             offset {} were expected, {done} are there; register it again",
            self.region.name, self.len, self.offset
        )
    }

    fn io_error(&self, verb: &str, error: rustix::io::Errno) -> String {
        format!("shared memory region '{}': cannot {verb}: {error}", self.region.name)
    }
}
