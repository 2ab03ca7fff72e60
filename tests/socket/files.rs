//! The socket's file.

use crate::support::Appliance;
use bcedge::config::SocketConfig;
use bcedge::server::Listener;
use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

fn config(path: &Path) -> SocketConfig {
    SocketConfig { path: path.to_owned(), ..SocketConfig::default() }
}

fn refused(config: SocketConfig) -> String {
    match Listener::bind(config) {
        Ok(_) => panic!("bound"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn the_file_has_the_mode_asked_for_and_is_removed() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.sock");
    for mode in [0o660, 0o600, 0o666] {
        let listener = Listener::bind(SocketConfig { mode, ..config(&path) }).unwrap();
        let file = fs::symlink_metadata(&path).unwrap();
        assert!(file.file_type().is_socket());
        assert_eq!(file.permissions().mode() & 0o7777, mode);
        drop(listener);
        assert!(!path.exists());
    }
}

#[test]
fn the_group_can_be_a_number_and_must_exist_as_a_name() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.sock");
    // The group this process has already is one it may always give.
    let own = rustix::process::getgid().as_raw();
    let listener =
        Listener::bind(SocketConfig { group: Some(own.to_string()), ..config(&path) }).unwrap();
    assert_eq!(fs::symlink_metadata(&path).unwrap().gid(), own);
    drop(listener);
    let group = Some("no-such-group".to_owned());
    let error = refused(SocketConfig { group, ..config(&path) });
    assert!(error.contains("no group 'no-such-group'"), "{error}");
    assert!(!path.exists());
}

#[test]
fn a_stale_file_is_replaced() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.sock");
    drop(UnixListener::bind(&path).unwrap());
    assert!(path.exists());
    let listener = Listener::bind(config(&path)).unwrap();
    UnixStream::connect(&path).unwrap();
    drop(listener);
}

#[test]
fn a_socket_in_use_stays_with_its_owner() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.sock");
    let owner = UnixListener::bind(&path).unwrap();
    let error = refused(config(&path));
    assert!(error.contains("address in use"), "{error}");
    assert!(error.contains(path.to_str().unwrap()), "{error}");
    UnixStream::connect(&path).unwrap();
    drop(owner);

    let appliance = Appliance::start();
    assert!(refused(config(&appliance.path)).contains("address in use"));
    UnixStream::connect(&appliance.path).unwrap();
}

#[test]
fn other_files_are_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.sock");
    fs::write(&path, "precious").unwrap();
    assert!(refused(config(&path)).contains("not a socket"));
    assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
    fs::remove_file(&path).unwrap();

    // Whoever replaced our file keeps theirs.
    let listener = Listener::bind(config(&path)).unwrap();
    fs::remove_file(&path).unwrap();
    fs::write(&path, "precious").unwrap();
    drop(listener);
    assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
}

#[test]
fn impossible_paths_are_explained() {
    let directory = tempfile::tempdir().unwrap();
    let long = directory.path().join("x".repeat(120));
    let error = refused(config(&long));
    assert!(error.contains("a Unix socket's may have 107"), "{error}");
    let error = refused(config(&directory.path().join("absent/a.sock")));
    assert!(error.contains("its directory does not exist"), "{error}");
}
