//! The Python side of the tests: a virtual environment under `target/`, made once from PyPI.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::time::{Duration, Instant};

const REQUIREMENTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/requirements.txt");
const PREREQUISITE: &str = "the tests need CPython 3.11 to 3.13 with its venv module \
    (`apt install python3 python3-venv`) and PyPI within reach: see Prerequisites in README.md";

/// The interpreter of the tests' virtual environment, which has everything that
/// `tests/requirements.txt` names.
///
/// The first caller of a clean clone makes the environment (half a minute); test binaries that run
/// at the same time wait for it. It is made anew when the requirements change.
///
/// # Panics
/// When it can't be made. There is no silent way around a missing tool.
pub fn python_env() -> PathBuf {
    let requirements = fs::read_to_string(REQUIREMENTS).expect(REQUIREMENTS);
    let venv = build_once("venv", &requirements, |folder| {
        let log = folder.with_extension("log");
        // Copies would hold on to a system Python that is upgraded under them.
        let mut make = Command::new("python3");
        make.args(["-m", "venv", "--symlinks"]).arg(folder);
        run_to_log(make, &log)?;
        let mut install = Command::new(folder.join("bin/python"));
        install.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]);
        install.args(["--requirement", REQUIREMENTS]);
        run_to_log(install, &log)
    });
    match venv {
        Ok(folder) => folder.join("bin/python"),
        Err(reason) => panic!("{reason}\n{PREREQUISITE}"),
    }
}

/// Where the onnxruntime wheel of [`python_env`] keeps its library.
///
/// # Panics
/// When the environment has no such wheel.
pub fn onnxruntime_folder() -> PathBuf {
    let python = python_env();
    let lib = python.ancestors().nth(2).expect("bin/python is in a venv").join("lib");
    let versions = fs::read_dir(&lib).expect("a venv has lib").flatten();
    versions
        .map(|entry| entry.path().join("site-packages/onnxruntime/capi"))
        .find(|folder| folder.is_dir())
        .expect("tests/requirements.txt names onnxruntime")
}

/// `python tests/python/<name>`, with the interpreter of [`python_env`].
pub fn python_script(name: &str) -> Command {
    let mut command = Command::new(python_env());
    command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python").join(name));
    command.env("PYTHONDONTWRITEBYTECODE", "1");
    command
}

/// The folder `target/pytools/<name>`, filled by `build` unless it was filled before for the same
/// `recipe` (any text that says what is in it). Test binaries that come at the same time wait; a
/// build that was cut off is started anew. Keep `build` bounded in time: the others wait for it.
///
/// # Errors
/// That of `build`, or why the folder can't be written.
pub fn build_once(
    name: &str,
    recipe: &str,
    build: impl FnOnce(&Path) -> Result<(), String>,
) -> Result<PathBuf, String> {
    // Cargo's folder for test data is target/tmp.
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().expect("target/tmp has a parent");
    let tools = target.join("pytools");
    let folder = tools.join(name);
    let stamp = folder.join(".complete");
    let io = |error: std::io::Error| format!("{}: {error}", folder.display());

    fs::create_dir_all(&tools).map_err(io)?;
    let lock = File::create(tools.join(format!("{name}.lock"))).map_err(io)?;
    lock.lock().map_err(io)?;
    if fs::read_to_string(&stamp).is_ok_and(|done| done == recipe) {
        return Ok(folder);
    }
    if folder.exists() {
        fs::remove_dir_all(&folder).map_err(io)?;
    }
    build(&folder)?;
    // The stamp comes last and at once, so a folder that has it is complete.
    let unfinished = folder.join(".stamp");
    fs::write(&unfinished, recipe).map_err(io)?;
    fs::rename(&unfinished, &stamp).map_err(io)?;
    Ok(folder)
}

/// Runs `command` to its end, or ends it after `limit`.
///
/// # Errors
/// When it can't be started or did not end in time.
pub fn run_with_deadline(mut command: Command, limit: Duration) -> Result<ExitStatus, String> {
    let mut child = command.spawn().map_err(|error| format!("{command:?}: {error}"))?;
    let start = Instant::now();
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return Ok(status),
            Ok(None) if start.elapsed() < limit => std::thread::sleep(Duration::from_millis(20)),
            Ok(None) => {
                let _ = child.kill();
                let _ = child.wait();
                return Err(format!("{command:?} had not ended after {} s", limit.as_secs()));
            }
            Err(error) => return Err(format!("{command:?}: {error}")),
        }
    }
}

fn run_to_log(mut command: Command, log: &Path) -> Result<(), String> {
    let shown = format!("{command:?}");
    let file = File::create(log).map_err(|error| format!("{}: {error}", log.display()))?;
    let errors = file.try_clone().map_err(|error| format!("{}: {error}", log.display()))?;
    command.stdin(std::process::Stdio::null()).stdout(file).stderr(errors);
    let status = run_with_deadline(command, Duration::from_secs(900))?;
    if status.success() {
        return Ok(());
    }
    let said = fs::read_to_string(log).unwrap_or_default();
    Err(format!("{shown} failed ({status}):\n{said}"))
}
