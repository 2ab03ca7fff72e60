//! The real program as a child process, ended with the test that started it.

use super::python::run_with_deadline;
use rustix::process::{Pid, Signal, kill_process};
use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Long enough for an unoptimised build on a machine that compiles something else meanwhile.
const START_LIMIT: Duration = Duration::from_secs(60);
const STOP_LIMIT: Duration = Duration::from_secs(20);
const ANSWER_LIMIT: Duration = Duration::from_secs(5);

/// A running `bcedge serve` in a folder of its own, with its socket there.
///
/// Dropping it sends SIGTERM and, should that not be enough, SIGKILL. A test that panics while it
/// holds one gets the appliance's log printed.
pub struct Appliance {
    child: Child,
    folder: TempDir,
}

impl Appliance {
    /// Serves `models`, the value of config.ron's `models`, and returns once it is ready.
    ///
    /// # Panics
    /// When it is not ready in time; with what it said.
    pub fn start(models: &str) -> Appliance {
        Appliance::start_with("", &format!("models: {models}"))
    }

    /// As [`Appliance::start`], with more fields of config.ron's `socket` and, beside it, `fields`.
    ///
    /// # Panics
    /// As [`Appliance::start`].
    pub fn start_with(socket: &str, fields: &str) -> Appliance {
        Appliance::start_in(socket, fields, |_| {})
    }

    /// As [`Appliance::start_with`], in an environment that `set` changes.
    ///
    /// # Panics
    /// As [`Appliance::start`].
    pub fn start_in(socket: &str, fields: &str, set: impl FnOnce(&mut Command)) -> Appliance {
        // A socket's path has 108 bytes; the folder for temporary files may have used many.
        let folder = tempfile::Builder::new().prefix("bce").tempdir_in("/tmp").expect("/tmp");
        let config = format!("(socket: (path: \"{SOCKET_NAME}\", {socket}), {fields})");
        fs::write(folder.path().join("config.ron"), config).expect("the folder takes a file");
        let log = File::create(folder.path().join(LOG_NAME)).expect("the folder takes a file");
        let mut command = program();
        command.args(["serve", "--config", "config.ron", "--headless"]);
        command.current_dir(folder.path()).stdin(Stdio::null());
        command.stdout(log.try_clone().expect("a second handle")).stderr(log);
        set(&mut command);
        let child = command.spawn().expect("the program starts");
        let mut appliance = Appliance { child, folder };
        appliance.wait_until_ready();
        appliance
    }

    /// Absolute.
    pub fn socket(&self) -> PathBuf {
        self.folder.path().join(SOCKET_NAME)
    }

    /// The socket as gRPC clients name it: `unix:///…`.
    pub fn grpc_address(&self) -> String {
        format!("unix://{}", self.socket().display())
    }

    /// Its working directory: `config.ron`, the socket `a.sock`, and place for a test's own files.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// What it has written so far.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join(LOG_NAME)).unwrap_or_default()
    }

    /// Sends SIGTERM, once, and does not wait.
    ///
    /// # Panics
    /// When it has ended before.
    pub fn terminate(&self) {
        kill_process(Pid::from_child(&self.child), Signal::TERM).expect("it runs");
    }

    /// Waits for it to end by itself.
    ///
    /// # Panics
    /// When it has not ended within 20 s.
    pub fn wait(&mut self) -> ExitStatus {
        let start = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().expect("our own child") {
                return status;
            }
            assert!(start.elapsed() < STOP_LIMIT, "it does not end");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Sends SIGTERM and waits for the end.
    ///
    /// # Panics
    /// When it has not ended within 20 s.
    pub fn stop(mut self) -> ExitStatus {
        self.signal_and_wait().expect("it ends on SIGTERM")
    }

    /// Runs `client` in the appliance's folder to its end; what it printed is both streams in one.
    ///
    /// # Panics
    /// When it can't be started or takes longer than `limit`; with what it printed.
    pub fn run_client(&self, mut client: Command, limit: Duration) -> (ExitStatus, String) {
        let path = self.folder.path().join("client.log");
        let log = File::create(&path).expect("the folder takes a file");
        client.stdin(Stdio::null()).stderr(log.try_clone().expect("a second handle")).stdout(log);
        client.current_dir(self.folder.path());
        let end = run_with_deadline(client, limit);
        let said = String::from_utf8_lossy(&fs::read(&path).unwrap_or_default()).into_owned();
        (end.unwrap_or_else(|reason| panic!("{reason}\n{said}")), said)
    }

    /// As [`Appliance::run_client`], for a client that must succeed.
    ///
    /// # Panics
    /// Also when it fails; with what it printed.
    pub fn expect_client(&self, client: Command, limit: Duration) -> String {
        let shown = format!("{client:?}");
        let (status, said) = self.run_client(client, limit);
        assert!(status.success(), "{shown}: {status}\n{said}");
        said
    }

    fn wait_until_ready(&mut self) {
        let start = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().expect("our own child") {
                panic!("the appliance ended before it was ready: {status}");
            }
            if is_ready(&self.socket()) {
                return;
            }
            assert!(start.elapsed() < START_LIMIT, "not ready after {} s", START_LIMIT.as_secs());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn signal_and_wait(&mut self) -> Result<ExitStatus, String> {
        if let Ok(Some(status)) = self.child.try_wait() {
            return Ok(status);
        }
        let pid = Pid::from_child(&self.child);
        kill_process(pid, Signal::TERM).map_err(|error| error.to_string())?;
        let start = Instant::now();
        while start.elapsed() < STOP_LIMIT {
            if let Ok(Some(status)) = self.child.try_wait() {
                return Ok(status);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Err(format!("still running {} s after SIGTERM", STOP_LIMIT.as_secs()))
    }
}

impl Drop for Appliance {
    fn drop(&mut self) {
        if let Err(reason) = self.signal_and_wait() {
            eprintln!("the appliance had to be killed: {reason}");
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
        if std::thread::panicking() {
            eprintln!("--- the appliance's log ---\n{}", self.log());
        }
    }
}

/// The program under test: ours, or the one that `BCEDGE_PROGRAM` names, with words before it such
/// as `qemu-aarch64 -L /usr/aarch64-linux-gnu target/aarch64-unknown-linux-gnu/release/bcedge`.
pub fn program() -> Command {
    let named = std::env::var("BCEDGE_PROGRAM").unwrap_or_default();
    let mut words = named.split_whitespace();
    let mut command = Command::new(words.next().unwrap_or(env!("CARGO_BIN_EXE_bcedge")));
    command.args(words);
    command
}

const SOCKET_NAME: &str = "a.sock";
const LOG_NAME: &str = "appliance.log";

fn is_ready(socket: &Path) -> bool {
    let Ok(mut stream) = UnixStream::connect(socket) else { return false };
    let request = b"GET /v2/health/ready HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    let mut answer = Vec::new();
    stream.set_read_timeout(Some(ANSWER_LIMIT)).is_ok()
        && stream.write_all(request).is_ok()
        && stream.read_to_end(&mut answer).is_ok()
        && answer.starts_with(b"HTTP/1.1 200")
}
