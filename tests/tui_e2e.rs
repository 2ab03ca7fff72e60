//! `bcedge top` in a real terminal (tmux) against a small server of the two addresses it uses.
//!
//! Needs `tmux`; without it these tests fail and say so.

use bcedge::telemetry::Snapshot;
use bcedge::telemetry::snapshot::{
    ApplianceState, Counters, ModelSnapshot, ModelState, Percentiles, Totals,
};
use bcedge::tui::app::App;
use bcedge::tui::theme::Theme;
use bcedge::tui::{self, Options};
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use std::convert::Infallible;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle, sleep};
use std::time::Duration;
use tempfile::TempDir;
use tokio::net::UnixListener;
use tokio::sync::oneshot;

const STEP: Duration = Duration::from_millis(50);
/// Steps before a wait is given up: half a minute, for loaded machines.
const PATIENCE: u32 = 600;

#[test]
fn top_shows_the_appliance_takes_keys_and_leaves_the_terminal_as_it_was() {
    let dir = TempDir::new().unwrap();
    let server = Server::start(dir.path());
    let tmux = Tmux::start(dir.path());
    tmux.run_top(&server.socket);
    tmux.wait_for("2 models serving within their SLO");
    tmux.wait_for("resnet18");
    assert!(tmux.alternate_screen());

    tmux.keys(&["j", "B"]);
    tmux.wait_for("done: resnet18: hold batch 8, instances by policy");
    tmux.wait_for("8×1M");
    let sent = server.commands.lock().unwrap().clone();
    assert_eq!(sent, [r#"{"override":{"model":"resnet18","batch":8,"instances":null}}"#]);

    tmux.keys(&["r"]);
    tmux.wait_for("not done: resnet18: back to its policy: the reason");
    tmux.keys(&["2"]);
    tmux.wait_for("Predicted run");
    tmux.keys(&["Space"]);
    tmux.wait_for("FROZEN");
    tmux.keys(&["f", "3"]);
    tmux.wait_for("LAST CHANGE");
    tmux.keys(&["?"]);
    tmux.wait_for("any key closes");
    tmux.keys(&["?"]);

    // The left button on the last tab, then the wheel, as a terminal reports them.
    tmux.keys(&["-l", "\x1b[<0;116;1M\x1b[<0;116;1m"]);
    tmux.wait_for("no lines of this level");
    tmux.keys(&["3"]);
    tmux.wait_for("LAST CHANGE");

    tmux.resize(60, 20);
    tmux.wait_for("this terminal has 60 × 20");
    tmux.resize(120, 40);
    tmux.wait_for("LAST CHANGE");

    drop(server);
    tmux.wait_for("NO DATA");
    let _server = Server::start(dir.path());
    tmux.wait_for("SERVING");

    tmux.keys(&["q"]);
    tmux.wait_for("exit=0");
    tmux.assert_restored();
}

#[test]
fn sigterm_restores_the_terminal() {
    let dir = TempDir::new().unwrap();
    let server = Server::start(dir.path());
    let tmux = Tmux::start(dir.path());
    tmux.run_top(&server.socket);
    tmux.wait_for("2 models serving within their SLO");
    tmux.kill("-TERM");
    tmux.wait_for("exit=0");
    tmux.assert_restored();
}

#[test]
fn it_ends_when_its_terminal_goes_away() {
    let dir = TempDir::new().unwrap();
    let server = Server::start(dir.path());
    let tmux = Tmux::start(dir.path());
    tmux.run_top(&server.socket);
    tmux.wait_for("2 models serving within their SLO");
    let pid = fs::read_to_string(dir.path().join("pid")).unwrap();
    drop(tmux);
    let process = PathBuf::from("/proc").join(pid.trim());
    for _ in 0..PATIENCE {
        if !process.exists() {
            return;
        }
        sleep(STEP);
    }
    panic!("bcedge top (process {pid}) outlives its terminal");
}

/// The real appliance with its screen: serve, a key that changes the policy, quit.
#[test]
fn serve_shows_its_screen_takes_keys_and_quits_cleanly() {
    let dir = TempDir::new().unwrap();
    let socket = dir.path().join("serve.sock");
    let config = format!(
        r#"(socket: (path: "{}"), models: [(name: "pretended", engine: Synthetic(()))])"#,
        socket.display()
    );
    fs::write(dir.path().join("config.ron"), config).unwrap();
    let tmux = Tmux::start(dir.path());
    let (program, dir) = (env!("CARGO_BIN_EXE_bcedge"), dir.path().display());
    tmux.run(&format!("{program} serve --config {dir}/config.ron --log-file {dir}/log"));
    tmux.wait_for("SERVING");
    tmux.wait_for("pretended");
    tmux.keys(&["3"]);
    tmux.wait_for("sac chooses: pretended");
    tmux.wait_for("in force, entropy");
    tmux.keys(&["t"]);
    tmux.wait_for("done: learning: off");
    tmux.wait_for("○ off");
    tmux.keys(&["p"]);
    tmux.wait_for("policy is now planner");
    tmux.wait_for("Last decisions: pretended");
    tmux.keys(&["4"]);
    tmux.wait_for("ready in");
    tmux.keys(&["q"]);
    tmux.wait_for("exit=0");
    tmux.assert_restored();
    assert!(!socket.exists(), "the socket file is removed");
}

#[test]
fn suspending_gives_the_terminal_back_until_it_is_continued() {
    let dir = TempDir::new().unwrap();
    let server = Server::start(dir.path());
    let tmux = Tmux::start(dir.path());
    tmux.run_top(&server.socket);
    tmux.wait_for("2 models serving within their SLO");
    tmux.keys(&["C-z"]);
    // 128 + SIGTSTP, as the shell tells of a stopped job.
    tmux.wait_for("exit=148");
    tmux.assert_restored();
    tmux.keys(&["fg", "Enter"]);
    tmux.wait_for("2 models serving within their SLO");
    assert!(tmux.alternate_screen());
    tmux.keys(&["q"]);
    tmux.wait_until("the shell's screen", || !tmux.alternate_screen());
}

/// Runs twice: as the test, and, started by it in tmux, as a program whose UI panics.
#[test]
fn a_panic_restores_the_terminal() {
    if std::env::var_os("BCEDGE_E2E_PANIC").is_some() {
        return ui_that_panics();
    }
    let dir = TempDir::new().unwrap();
    let tmux = Tmux::start(dir.path());
    let program = std::env::current_exe().unwrap();
    let program = program.to_str().unwrap();
    tmux.run(&format!(
        "BCEDGE_E2E_PANIC=1 {program} --exact a_panic_restores_the_terminal --nocapture"
    ));
    tmux.wait_for("the source is broken");
    tmux.wait_for("exit=101");
    let screen = tmux.screen();
    assert!(!screen.contains("of another thread"), "it belongs in the log:\n{screen}");
    tmux.assert_restored();
}

fn ui_that_panics() {
    let mut asked = 0;
    let source = || {
        asked += 1;
        if asked == 2 {
            thread::spawn(|| panic!("of another thread")).join().unwrap_err();
        }
        assert!(asked < 6, "the source is broken");
        Ok(Arc::new(snapshot(asked, false)))
    };
    let send = |_| oneshot::channel().1;
    tui::run(App::new(Theme::default()), source, send, &AtomicBool::new(false), Options::default())
        .unwrap();
}

#[test]
fn without_an_appliance_top_says_what_to_do() {
    let dir = TempDir::new().unwrap();
    let output = bcedge(&["top", "--socket", dir.path().join("none.sock").to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(text.contains("no appliance at") && text.contains("bcedge serve"), "{text}");
}

#[test]
fn without_a_terminal_top_says_so_and_a_picture_can_be_had() {
    let dir = TempDir::new().unwrap();
    let server = Server::start(dir.path());
    let (socket, file) = (server.socket.to_str().unwrap(), dir.path().join("top.svg"));
    let output = bcedge(&["top", "--socket", socket]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("not a terminal"));

    let svg = file.to_str().unwrap();
    let args = ["top", "--socket", socket, "--svg", svg, "--size", "100x30", "--after", "1"];
    let output = bcedge(&args);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let picture = fs::read_to_string(&file).unwrap();
    assert!(picture.starts_with("<svg ") && picture.contains("resnet18"));

    let output = bcedge(&["top", "--socket", socket, "--svg", svg, "--size", "10x5"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("from 80x24 to 500x500"));
}

fn bcedge(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_bcedge")).args(args).output().unwrap()
}

/// A snapshot of an appliance with two models.
fn snapshot(sequence: u64, overridden: bool) -> Snapshot {
    let model = |name: &str| ModelSnapshot {
        name: name.into(),
        state: ModelState::Ready,
        policy: "deadline".into(),
        slo_us: 58_000,
        batch: 4,
        max_batch: 8,
        instances: 1,
        max_instances: 2,
        instances_alive: 2,
        queue_depth: 3,
        queue_bound: 64,
        arrivals_per_s: 30.0,
        goodput_per_s: 30.0,
        slo_hit_rate: Some(1.0),
        utility: Some(4.2),
        latency_us: Percentiles { count: 150, p50: 9_000, p99: 21_000, ..Percentiles::default() },
        predicted_us: vec![(1, 8_000), (8, 40_000)],
        counters: Counters { received: sequence * 3, ok: sequence * 3, ..Counters::default() },
        ..ModelSnapshot::default()
    };
    let mut models = vec![model("yolov5s"), model("resnet18")];
    if overridden {
        (models[1].overridden, models[1].batch) = (true, 8);
    }
    Snapshot {
        sequence,
        uptime_us: sequence * 100_000,
        state: ApplianceState::Serving,
        totals: Totals { arrivals_per_s: 60.0, slo_hit_rate: Some(1.0), ..Totals::default() },
        models,
        ..Snapshot::default()
    }
}

/// Serves snapshots that change with every request, and takes commands: the first is carried out,
/// every other one is refused.
struct Server {
    socket: PathBuf,
    /// The bodies of the commands, as they came.
    commands: Arc<Mutex<Vec<String>>>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    fn start(dir: &Path) -> Server {
        let socket = dir.join("a.sock");
        let _ = fs::remove_file(&socket);
        let commands = Arc::new(Mutex::new(Vec::new()));
        let (stop, stopped) = oneshot::channel();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let listener = {
            let _guard = runtime.enter();
            UnixListener::bind(&socket).unwrap()
        };
        let received = commands.clone();
        let thread = thread::spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    () = accept(listener, received) => {}
                    _ = stopped => {}
                }
            });
        });
        Server { socket, commands, stop: Some(stop), thread: Some(thread) }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.stop.take());
        self.thread.take().unwrap().join().unwrap();
    }
}

async fn accept(listener: UnixListener, commands: Arc<Mutex<Vec<String>>>) {
    let sequence = Arc::new(Mutex::new(0));
    while let Ok((stream, _)) = listener.accept().await {
        let (commands, sequence) = (commands.clone(), sequence.clone());
        let service =
            service_fn(move |request| answer(request, commands.clone(), sequence.clone()));
        tokio::spawn(async move {
            // HTTP/1.1 and HTTP/2 alike, as the appliance does.
            let server = auto::Builder::new(TokioExecutor::new());
            let _ = server.serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

async fn answer(
    request: Request<Incoming>,
    commands: Arc<Mutex<Vec<String>>>,
    sequence: Arc<Mutex<u64>>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let path = request.uri().path().to_string();
    let body = request.into_body().collect().await.unwrap().to_bytes();
    let (status, body) = match path.as_str() {
        "/v2/bcedge/snapshot" => {
            let mut sequence = sequence.lock().unwrap();
            *sequence += 1;
            let overridden = !commands.lock().unwrap().is_empty();
            let json = serde_json::to_vec(&snapshot(*sequence, overridden)).unwrap();
            (StatusCode::OK, json)
        }
        "/v2/bcedge/command" => {
            let mut commands = commands.lock().unwrap();
            commands.push(String::from_utf8_lossy(&body).into_owned());
            match commands.len() {
                1 => (StatusCode::OK, b"{}".to_vec()),
                _ => (StatusCode::BAD_REQUEST, br#"{"error":"the reason"}"#.to_vec()),
            }
        }
        _ => (StatusCode::NOT_FOUND, Vec::new()),
    };
    Ok(Response::builder().status(status).body(Full::from(body)).unwrap())
}

/// A tmux server of its own with one shell.
struct Tmux {
    dir: PathBuf,
}

impl Tmux {
    fn start(dir: &Path) -> Tmux {
        let tmux = Tmux { dir: dir.into() };
        let shell = "env PS1= LC_ALL=C.UTF-8 TERM=screen-256color bash --norc --noprofile";
        tmux.tmux(&["new-session", "-d", "-x", "120", "-y", "40", shell]);
        // What is typed before the shell reads would be shown twice.
        tmux.keys(&["echo shell is $((40+2))", "Enter"]);
        tmux.wait_for("shell is 42");
        tmux
    }

    fn tmux(&self, args: &[&str]) -> String {
        let socket = self.dir.join("tmux.sock");
        let output = Command::new("tmux")
            .args(["-u", "-f", "/dev/null", "-S", socket.to_str().unwrap()])
            .args(args)
            .env_remove("TMUX")
            .output()
            .expect("this test needs tmux: install the package 'tmux'");
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    fn run_top(&self, socket: &Path) {
        let program = env!("CARGO_BIN_EXE_bcedge");
        self.run(&format!("{program} top --socket {}", socket.display()));
    }

    /// Runs a command line in the shell; its process id, the terminal's settings before and after
    /// it, and its exit status are noted.
    fn run(&self, command: &str) {
        let dir = self.dir.display();
        let script = format!(
            "stty -g > {dir}/before\n\
             bash -c 'echo $$ > {dir}/pid; exec env {command}'\n\
             echo exit=$?; stty -g > {dir}/after; touch {dir}/done\n"
        );
        fs::write(self.dir.join("run.sh"), script).unwrap();
        self.keys(&[&format!("clear; . {dir}/run.sh"), "Enter"]);
    }

    fn keys(&self, keys: &[&str]) {
        self.tmux(&[&["send-keys"], keys].concat());
    }

    fn kill(&self, signal: &str) {
        let pid = fs::read_to_string(self.dir.join("pid")).unwrap();
        assert!(Command::new("kill").args([signal, pid.trim()]).status().unwrap().success());
    }

    fn resize(&self, width: u16, height: u16) {
        let (width, height) = (width.to_string(), height.to_string());
        self.tmux(&["resize-window", "-x", &width, "-y", &height]);
    }

    fn screen(&self) -> String {
        self.tmux(&["capture-pane", "-p"])
    }

    fn alternate_screen(&self) -> bool {
        self.tmux(&["display-message", "-p", "#{alternate_on}"]).trim() == "1"
    }

    fn wait_for(&self, text: &str) {
        self.wait_until(text, || self.screen().contains(text));
    }

    fn wait_until(&self, what: &str, done: impl Fn() -> bool) {
        for _ in 0..PATIENCE {
            if done() {
                return;
            }
            sleep(STEP);
        }
        panic!("waited for '{what}' in vain; the screen is:\n{}", self.screen());
    }

    fn assert_restored(&self) {
        self.wait_until("the end of the command", || self.dir.join("done").exists());
        let settings = |name| fs::read_to_string(self.dir.join(name)).unwrap();
        assert_eq!(settings("before"), settings("after"), "terminal settings");
        assert!(!self.alternate_screen(), "the alternate screen is still on");
        let flags = "#{cursor_flag} #{mouse_standard_flag} #{mouse_any_flag} #{wrap_flag}";
        let flags = self.tmux(&["display-message", "-p", flags]);
        assert_eq!(flags.trim(), "1 0 0 1", "cursor, mouse, mouse, line wrap");
    }
}

impl Drop for Tmux {
    fn drop(&mut self) {
        let socket = self.dir.join("tmux.sock");
        let _ = Command::new("tmux").args(["-S", socket.to_str().unwrap(), "kill-server"]).output();
    }
}
