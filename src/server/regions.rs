//! The shared memory regions clients have registered, each client's own by its user id.

use crate::server::proto::system_shared_memory_status_response::RegionStatus;
use crate::server::shared_memory::{Region, RegionSlice};
use crate::server::status::{Code, Refusal};
use rustix::fs::{FileType, Mode, OFlags, fstat};
use std::collections::{BTreeMap, HashMap};
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Each region holds a file descriptor.
const MAX_REGIONS_PER_USER: usize = 256;
/// Longest name of a region, and of a file under /dev/shm.
const MAX_NAME_BYTES: usize = 255;

/// Who is at the other end of a connection, as the kernel says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Peer {
    pub uid: u32,
    pub gid: u32,
}

/// A region as its client knows it.
#[derive(Debug)]
struct Registration {
    key: String,
    region: Arc<Region>,
}

/// All clients' regions.
#[derive(Debug)]
pub struct Regions {
    users: Mutex<HashMap<u32, BTreeMap<String, Registration>>>,
    /// Most bytes one user may have registered.
    max_bytes: u64,
}

/// Part of a region, as a request names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    pub region: String,
    pub offset: u64,
    pub byte_size: u64,
}

impl Regions {
    pub fn new(max_bytes: u64) -> Regions {
        Regions { users: Mutex::default(), max_bytes }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u32, BTreeMap<String, Registration>>> {
        // Only whole entries are added and removed under the lock.
        self.users.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens the shared memory object `key` and makes `byte_size` bytes of it from `offset` on
    /// known as `name`.
    ///
    /// # Errors
    /// A name in use or not plain, an object that is absent, too small or not the client's, or too
    /// much registered already.
    pub fn register(
        &self,
        peer: Peer,
        name: &str,
        key: &str,
        offset: u64,
        byte_size: u64,
    ) -> Result<(), Refusal> {
        if name.is_empty() {
            return Err(Refusal::invalid("a shared memory region needs a name"));
        }
        if name.len() > MAX_NAME_BYTES {
            return Err(Refusal::invalid(format!(
                "the shared memory region's name has {} bytes, at most {MAX_NAME_BYTES} are allowed",
                name.len()
            )));
        }
        if byte_size == 0 {
            return Err(Refusal::invalid(format!(
                "shared memory region '{name}': byte_size is 0, expected at least 1"
            )));
        }
        let file = open(peer, name, key)?;
        check_size(name, key, &file, offset, byte_size)?;

        let mut users = self.lock();
        let own = users.entry(peer.uid).or_default();
        if own.contains_key(name) {
            return Err(Refusal::invalid(format!(
                "shared memory region '{name}' is registered already; unregister it first"
            )));
        }
        if own.len() >= MAX_REGIONS_PER_USER {
            return Err(Refusal::new(
                Code::ResourceExhausted,
                format!("{MAX_REGIONS_PER_USER} shared memory regions are registered, no more fit"),
            ));
        }
        let registered: u64 = own.values().map(|r| r.region.byte_size).sum();
        if registered.saturating_add(byte_size) > self.max_bytes {
            return Err(Refusal::new(
                Code::ResourceExhausted,
                format!(
                    "shared memory region '{name}': {byte_size} bytes and the {registered} already \
                     registered are more than max_shared_memory_bytes allows ({})",
                    self.max_bytes
                ),
            ));
        }
        let region = Arc::new(Region { name: name.to_owned(), file, offset, byte_size });
        own.insert(name.to_owned(), Registration { key: key.to_owned(), region });
        Ok(())
    }

    /// Forgets the region `name`, or all of the peer's when it is empty. A region that is not
    /// known is no error, as with Triton. Requests under way keep theirs.
    pub fn unregister(&self, peer: Peer, name: &str) {
        let mut users = self.lock();
        let Some(own) = users.get_mut(&peer.uid) else { return };
        if !name.is_empty() {
            own.remove(name);
        }
        if name.is_empty() || own.is_empty() {
            users.remove(&peer.uid);
        }
    }

    /// The region `name`, or all of the peer's when it is empty.
    ///
    /// # Errors
    /// When there is no region of that name.
    pub fn status(&self, peer: Peer, name: &str) -> Result<Vec<RegionStatus>, Refusal> {
        let users = self.lock();
        let own = users.get(&peer.uid).into_iter().flatten();
        let found: Vec<RegionStatus> = own
            .filter(|(known, _)| name.is_empty() || *known == name)
            .map(|(known, registration)| RegionStatus {
                name: known.clone(),
                key: registration.key.clone(),
                offset: registration.region.offset,
                byte_size: registration.region.byte_size,
            })
            .collect();
        if found.is_empty() && !name.is_empty() {
            return Err(unknown(name));
        }
        Ok(found)
    }

    /// The part of a region that a tensor is in or goes to. `tensor` is for the error's text.
    ///
    /// # Errors
    /// When the region is not known, or smaller than that.
    pub fn slice(&self, peer: Peer, tensor: &str, place: &Place) -> Result<RegionSlice, Refusal> {
        let users = self.lock();
        let registration = users.get(&peer.uid).and_then(|own| own.get(&place.region));
        let region = registration.ok_or_else(|| unknown(&place.region))?.region.clone();
        let size = region.byte_size;
        RegionSlice::new(region, place.offset, place.byte_size).ok_or_else(|| {
            Refusal::invalid(format!(
                "tensor '{tensor}': {} bytes at offset {} are outside the shared memory region \
                 '{}', which has {size} bytes",
                place.byte_size, place.offset, place.region
            ))
        })
    }
}

fn unknown(name: &str) -> Refusal {
    Refusal::new(Code::NotFound, format!("no shared memory region '{name}' is registered"))
}

/// `shm_open`, without following links, for the peer and not only for the appliance: what its own
/// permissions would refuse it, it does not get through ours.
fn open(peer: Peer, name: &str, key: &str) -> Result<OwnedFd, Refusal> {
    let plain = key.strip_prefix('/').unwrap_or(key);
    let is_plain = !plain.is_empty()
        && plain.len() <= MAX_NAME_BYTES
        && !plain.contains(['/', '\0'])
        && plain != "."
        && !plain.contains("..");
    if !is_plain {
        return Err(Refusal::invalid(format!(
            "shared memory region '{name}': '{key}' is not a plain name; expected what shm_open \
             takes, such as '/input0'"
        )));
    }
    let refuse = |why: &str| {
        Refusal::invalid(format!("shared memory region '{name}': cannot open '{key}': {why}"))
    };
    // Not rustix's `shm::open`: that one follows symbolic links.
    let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let file = rustix::fs::open(format!("/dev/shm/{plain}"), flags, Mode::empty())
        .map_err(|e| refuse(&e.to_string()))?;
    let status = fstat(&file).map_err(|e| refuse(&e.to_string()))?;
    if FileType::from_raw_mode(status.st_mode) != FileType::RegularFile {
        return Err(refuse("it is not a shared memory object"));
    }
    let mode = Mode::from_raw_mode(status.st_mode);
    let needed = if status.st_uid == peer.uid {
        Mode::RUSR | Mode::WUSR
    } else if status.st_gid == peer.gid {
        Mode::RGRP | Mode::WGRP
    } else {
        Mode::ROTH | Mode::WOTH
    };
    if peer.uid != 0 && !mode.contains(needed) {
        return Err(refuse("it belongs to another user"));
    }
    Ok(file)
}

fn check_size(
    name: &str,
    key: &str,
    file: &OwnedFd,
    offset: u64,
    byte_size: u64,
) -> Result<(), Refusal> {
    let size = match fstat(file) {
        Ok(status) => u64::try_from(status.st_size).unwrap_or(0),
        Err(error) => return Err(Refusal::invalid(format!("'{key}': {error}"))),
    };
    match offset.checked_add(byte_size) {
        Some(end) if end <= size => Ok(()),
        _ => Err(Refusal::invalid(format!(
            "shared memory region '{name}': {byte_size} bytes at offset {offset} were asked for, \
             '{key}' has {size}"
        ))),
    }
}

#[cfg(test)]
mod tests;
