use super::*;
use std::fs::{File, OpenOptions, Permissions};
use std::os::unix::fs::PermissionsExt;

struct Object(String);

impl Object {
    fn new(test: &str, mode: u32) -> Object {
        let name = format!("bcedge-unit-{}-{test}", std::process::id());
        let path = format!("/dev/shm/{name}");
        let file: File = OpenOptions::new().write(true).create_new(true).open(&path).unwrap();
        file.set_len(100).unwrap();
        file.set_permissions(Permissions::from_mode(mode)).unwrap();
        Object(name)
    }
}

impl Drop for Object {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(format!("/dev/shm/{}", self.0));
    }
}

fn me() -> Peer {
    let (uid, gid) = (rustix::process::getuid(), rustix::process::getgid());
    Peer { uid: uid.as_raw(), gid: gid.as_raw() }
}

/// Neither root nor this process's user or group.
fn stranger() -> Peer {
    Peer { uid: me().uid + 4_000_000, gid: me().gid + 4_000_000 }
}

#[test]
fn a_client_gets_only_what_its_own_permissions_allow() {
    let private = Object::new("private", 0o600);
    let regions = Regions::new(1000);
    regions.register(me(), "r", &private.0, 0, 10).unwrap();
    let refused = regions.register(stranger(), "r", &private.0, 0, 10).unwrap_err();
    assert!(refused.message.contains("belongs to another user"), "{}", refused.message);
    let colleague = Peer { gid: me().gid, ..stranger() };
    assert!(regions.register(colleague, "r", &private.0, 0, 10).is_err());

    let for_group = Object::new("group", 0o660);
    assert!(regions.register(stranger(), "g", &for_group.0, 0, 10).is_err());
    regions.register(colleague, "g", &for_group.0, 0, 10).unwrap();
    let for_all = Object::new("all", 0o666);
    regions.register(Peer { uid: 7_000_000, gid: 7_000_000 }, "a", &for_all.0, 0, 10).unwrap();
}

#[test]
fn regions_belong_to_their_user() {
    let object = Object::new("own", 0o666);
    let regions = Regions::new(1000);
    regions.register(me(), "r", &object.0, 0, 10).unwrap();
    let place = Place { region: "r".to_owned(), offset: 0, byte_size: 10 };
    assert!(regions.slice(me(), "x", &place).is_ok());
    assert_eq!(regions.slice(stranger(), "x", &place).unwrap_err().code, Code::NotFound);
    assert!(regions.status(stranger(), "").unwrap().is_empty());

    // Forgetting all of one's own leaves the others' alone; the same name is no conflict.
    regions.register(stranger(), "r", &object.0, 0, 10).unwrap();
    regions.unregister(stranger(), "");
    assert!(regions.slice(me(), "x", &place).is_ok());
    assert!(regions.slice(stranger(), "x", &place).is_err());
}

#[test]
fn the_number_of_regions_is_bounded() {
    let object = Object::new("many", 0o600);
    let regions = Regions::new(u64::MAX);
    for n in 0..MAX_REGIONS_PER_USER {
        regions.register(me(), &n.to_string(), &object.0, 0, 1).unwrap();
    }
    let refused = regions.register(me(), "one more", &object.0, 0, 1).unwrap_err();
    assert_eq!(refused.code, Code::ResourceExhausted);
}
