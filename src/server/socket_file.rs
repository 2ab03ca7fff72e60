//! The socket's file: who may open it, and whose it is.

use crate::config::{self, MAX_SOCKET_PATH_BYTES, SocketConfig};
use rustix::fs::{FlockOperation, Mode, OFlags, Stat};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use std::fs;
use std::io::{self, ErrorKind};
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

/// Clients that have connected and wait to be accepted.
const BACKLOG: i32 = 1024;

/// A bound socket's file; removed when dropped, if it is still ours.
#[derive(Debug)]
pub struct SocketFile {
    path: PathBuf,
    device: u64,
    inode: u64,
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        // Somebody may have put another file there meanwhile, and that one stays.
        let is_ours = rustix::fs::lstat(&self.path)
            .is_ok_and(|found| (found.st_dev, found.st_ino) == (self.device, self.inode));
        if is_ours {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Binds the socket with its mode and group and listens on it. A file left over from a process that
/// is gone is replaced; one that somebody listens on is not.
///
/// # Errors
/// A text that names the path, what is wrong with it and what to do.
pub fn bind(config: &SocketConfig) -> io::Result<(UnixListener, SocketFile)> {
    let path = &config.path;
    let len = path.as_os_str().len();
    if len > MAX_SOCKET_PATH_BYTES {
        return Err(refuse(
            path,
            ErrorKind::InvalidInput,
            &format!("the path has {len} bytes, a Unix socket's may have {MAX_SOCKET_PATH_BYTES}"),
        ));
    }
    let group = config.group.as_deref().map(|name| find_group(path, name)).transpose()?;
    // Until this is dropped nobody else who follows the same rule replaces the file.
    let _turn = lock_directory(path);
    remove_if_stale(path)?;

    let socket = rustix::net::socket_with(
        AddressFamily::UNIX,
        SocketType::STREAM,
        SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
        None,
    )?;
    let mode = Mode::from_raw_mode(config.mode & 0o777);
    // The file is made with the socket's own mode (less the umask), so it is never more open than
    // it should be; the umask's part is given back below.
    rustix::fs::fchmod(&socket, mode)?;
    let describe = |e: rustix::io::Errno| {
        let error = io::Error::from(e);
        let what = match error.kind() {
            ErrorKind::AddrInUse => "address in use: something is there already".to_owned(),
            ErrorKind::NotFound => "its directory does not exist".to_owned(),
            _ => error.to_string(),
        };
        refuse(path, error.kind(), &what)
    };
    rustix::net::bind(&socket, &SocketAddrUnix::new(path).map_err(describe)?).map_err(describe)?;
    let Stat { st_dev, st_ino, .. } = rustix::fs::lstat(path)?;
    let file = SocketFile { path: path.clone(), device: st_dev, inode: st_ino };
    if let Some(group) = group {
        std::os::unix::fs::chown(path, None, Some(group)).map_err(|e| {
            let name = config.group.as_deref().unwrap_or_default();
            refuse(path, e.kind(), &format!("cannot give it to the group '{name}': {e}"))
        })?;
    }
    rustix::fs::chmod(path, mode)?;
    // Clients are let in only now that all is as it should be.
    rustix::net::listen(&socket, BACKLOG)?;
    Ok((UnixListener::from(socket), file))
}

fn refuse(path: &Path, kind: ErrorKind, what: &str) -> io::Error {
    io::Error::new(kind, format!("socket '{}': {what}", path.display()))
}

/// Best effort: a directory that can't be read can't be locked.
fn lock_directory(path: &Path) -> Option<OwnedFd> {
    let directory = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let directory = rustix::fs::open(directory, flags, Mode::empty()).ok()?;
    rustix::fs::flock(&directory, FlockOperation::LockExclusive).ok()?;
    Some(directory)
}

fn remove_if_stale(path: &Path) -> io::Result<()> {
    let found = match fs::symlink_metadata(path) {
        Ok(found) => found,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(refuse(path, error.kind(), &error.to_string())),
    };
    if !found.file_type().is_socket() {
        let what = "a file that is not a socket is there; remove it or choose another path";
        return Err(refuse(path, ErrorKind::AlreadyExists, what));
    }
    match UnixStream::connect(path) {
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => fs::remove_file(path)
            .map_err(|e| refuse(path, e.kind(), &format!("cannot replace the old file: {e}"))),
        // Gone in this moment.
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Ok(_) | Err(_) => {
            let what = "address in use: another process listens on it; stop that one or choose \
                        another path";
            Err(refuse(path, ErrorKind::AddrInUse, what))
        }
    }
}

fn find_group(path: &Path, name: &str) -> io::Result<u32> {
    config::group_id(name).ok_or_else(|| {
        let what =
            format!("there is no group '{name}' in /etc/group; create it or give its number");
        refuse(path, ErrorKind::InvalidInput, &what)
    })
}
