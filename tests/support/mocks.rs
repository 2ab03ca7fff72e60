//! Mock libraries of NVIDIA's: built from tests/mocks by the C compiler, watched and made to fail
//! through a file that the process under test maps.

use super::build_once;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};
use tempfile::TempDir;

const SOURCES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/mocks");
/// No wait for the process under test takes this long.
const LIMIT: Duration = Duration::from_secs(30);

/// A version of TensorRT that there is a mock of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    V8,
    V10,
    V11,
}

impl Version {
    pub const ALL: [Version; 3] = [Version::V8, Version::V10, Version::V11];

    pub fn major(self) -> u32 {
        match self {
            Version::V8 => 8,
            Version::V10 => 10,
            Version::V11 => 11,
        }
    }

    /// As `getInferLibVersion` puts it, and as people do.
    fn numbers(self) -> (u32, &'static str) {
        match self {
            Version::V8 => (8601, "8.6.1"),
            Version::V10 => (100300, "10.3.0"),
            Version::V11 => (110000, "11.0.0"),
        }
    }

    pub fn shown(self) -> &'static str {
        self.numbers().1
    }

    /// The folder with its libraries: the driver, TensorRT, the ONNX parser and the plugins.
    ///
    /// # Panics
    /// When the C compiler can't make them. `BCEDGE_MOCK_CC` names another one, for tests of a
    /// program of another architecture.
    pub fn libraries(self) -> PathBuf {
        let compiler = std::env::var("BCEDGE_MOCK_CC").unwrap_or_else(|_| "cc".into());
        let mut recipe = format!("{compiler}\n{}\n", include_str!("mocks.rs"));
        for name in ["cuda.c", "mock.h", "nvinfer.c", "nvonnxparser.c", "old_cuda.c", "slots.h"] {
            recipe += &fs::read_to_string(Path::new(SOURCES).join(name)).expect(name);
        }
        let name = format!("mocks-{}-{}", compiler.replace(['/', ' '], "_"), self.major());
        let built = build_once(&name, &recipe, |folder| self.build(&compiler, folder));
        built.unwrap_or_else(|reason| panic!("the mocks: {reason}"))
    }

    fn build(self, compiler: &str, folder: &Path) -> Result<(), String> {
        fs::create_dir_all(folder).map_err(|error| error.to_string())?;
        let major = self.major();
        let (cuda, nvinfer) = ("libcuda.so.1".to_owned(), format!("libnvinfer.so.{major}"));
        let parser = format!("libnvonnxparser.so.{major}");
        let plugin = format!("libnvinfer_plugin.so.{major}");
        let lean = format!("libnvinfer_lean.so.{major}");
        let compile = |source: &str, name: &str, libraries: &[&String]| {
            let mut words = compiler.split_whitespace();
            let mut command = Command::new(words.next().unwrap_or("cc"));
            command.args(words).current_dir(folder);
            command.args(["-Wall", "-Wextra", "-Werror", "-O1", "-g", "-fPIC", "-shared"]);
            command.args(["-pthread", "-L.", "-o", name]);
            command.arg(format!("-Wl,-soname,{}", name.trim_start_matches("old/")));
            command.arg(format!("-DMAJOR={major}")).arg(format!("-DVERSION={}", self.numbers().0));
            if name.contains("lean") {
                command.arg("-DLEAN");
            }
            command.arg(Path::new(SOURCES).join(source));
            command.args(libraries.iter().map(|library| format!("-l:{library}")));
            let output = command.output().map_err(|error| format!("{command:?}: {error}"))?;
            match output.status.success() {
                true => Ok(()),
                false => Err(format!("{command:?}\n{}", String::from_utf8_lossy(&output.stderr))),
            }
        };
        compile("cuda.c", &cuda, &[])?;
        compile("nvinfer.c", &nvinfer, &[&cuda])?;
        compile("nvinfer.c", &lean, &[&cuda])?;
        compile("nvonnxparser.c", &parser, &[&nvinfer, &cuda])?;
        // A program without most of a driver's functions.
        fs::create_dir_all(folder.join("old")).map_err(|error| error.to_string())?;
        compile("old_cuda.c", "old/libcuda.so.1", &[])?;
        fs::copy(folder.join(&parser), folder.join(&plugin)).map_err(|e| e.to_string())?;
        Ok(())
    }
}

/// What the mocks count as alive, in the order of `enum kind` of mock.h.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    DeviceMemory,
    PinnedMemory,
    Stream,
    Event,
    Graph,
    GraphExec,
    PrimaryContext,
    Runtime,
    Engine,
    Context,
    Builder,
    Network,
    BuilderConfig,
    TimingCache,
    HostMemory,
    Parser,
}

/// What has happened, in the order of `enum count` of mock.h.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Count {
    CopiesIn,
    CopiesOut,
    Runs,
    GraphLaunches,
    Captures,
    CopiesBesideARun,
    Wakes,
    MostRunsAtOnce,
    DeviceBytes,
    MostDeviceBytes,
    WriteCombined,
    PluginInits,
    FailedCalls,
}

const KINDS: u64 = 24;
const COUNTS: u64 = 24;
const RUN_US_AT: u64 = 8 * (KINDS + COUNTS);
const FAILURES_AT: u64 = RUN_US_AT + 8 * 16;
const FAILURE_BYTES: u64 = 64;

/// A pretended machine: its libraries, and the file through which it is watched.
pub struct Mock {
    libraries: PathBuf,
    /// Where the loader looks first.
    first: Option<PathBuf>,
    control: File,
    folder: TempDir,
    settings: Vec<(String, String)>,
}

impl Mock {
    /// # Panics
    /// When its libraries can't be built.
    pub fn new(version: Version) -> Mock {
        let folder = tempfile::tempdir().expect("a folder");
        let control = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .open(folder.path().join("control"))
            .expect("a file");
        control.set_len(FAILURES_AT + 4 * FAILURE_BYTES).expect("a file");
        let libraries = version.libraries();
        Mock { libraries, first: None, control, folder, settings: Vec::new() }
    }

    /// With an environment variable of the mocks, such as `MOCK_DEVICES`.
    pub fn with(mut self, name: &str, value: impl ToString) -> Mock {
        self.settings.push((name.into(), value.to_string()));
        self
    }

    /// With these libraries instead of its own.
    pub fn with_libraries(mut self, folder: &Path) -> Mock {
        self.first = Some(folder.to_owned());
        self
    }

    /// The folder of its libraries.
    pub fn libraries(&self) -> &Path {
        &self.libraries
    }

    /// Makes a process see this machine.
    pub fn set_environment(&self, command: &mut Command) {
        command.env("LD_LIBRARY_PATH", self.first.as_ref().unwrap_or(&self.libraries));
        command.env("MOCK_CONTROL", self.folder.path().join("control"));
        command.envs(self.settings.iter().map(|(name, value)| (name, value)));
    }

    /// Runs the program to its end in `folder` on this machine: exit status and what it said on
    /// both streams.
    ///
    /// # Panics
    /// When it does not end within half a minute.
    pub fn run(&self, folder: &Path, arguments: &[&str]) -> (Option<i32>, String) {
        let said = folder.join(".said");
        let file = File::create(&said).expect("a file");
        let mut command = super::program();
        command.args(arguments).current_dir(folder).stdin(std::process::Stdio::null());
        command.stdout(file.try_clone().expect("a second handle")).stderr(file);
        self.set_environment(&mut command);
        let status = super::run_with_deadline(command, LIMIT);
        let text = String::from_utf8_lossy(&fs::read(&said).expect("our own file")).into_owned();
        (status.unwrap_or_else(|reason| panic!("{reason}\n{text}")).code(), text)
    }

    fn number(&self, at: u64) -> i64 {
        let mut bytes = [0; 8];
        self.control.read_exact_at(&mut bytes, at).expect("the file is as long");
        i64::from_le_bytes(bytes)
    }

    fn set_number(&self, at: u64, value: i64) {
        self.control.write_all_at(&value.to_le_bytes(), at).expect("our own file");
    }

    /// How many objects of a kind are alive.
    pub fn live(&self, kind: Kind) -> i64 {
        self.number(8 * kind as u64)
    }

    /// How often something has happened.
    pub fn count(&self, count: Count) -> i64 {
        self.number(8 * (KINDS + count as u64))
    }

    /// How long a run takes from now on.
    pub fn set_run_us(&self, run_us: i64) {
        self.set_number(RUN_US_AT, run_us);
    }

    /// Makes calls of that name fail: `times` of them, after `after` that work.
    pub fn fail(&self, name: &str, after: i64, code: i64, times: i64) {
        let at = FAILURES_AT;
        // Armed last, so that no call sees half of it.
        self.set_number(at + 48, 0);
        let mut bytes = [0; 40];
        bytes[..name.len()].copy_from_slice(name.as_bytes());
        self.control.write_all_at(&bytes, at).expect("our own file");
        self.set_number(at + 40, after);
        self.set_number(at + 56, code);
        self.set_number(at + 48, times);
    }

    /// Everything that is alive.
    pub fn all_live(&self) -> Vec<i64> {
        (0..KINDS).map(|kind| self.number(8 * kind)).collect()
    }

    /// Waits until nothing is alive any more.
    ///
    /// # Panics
    /// When that does not come; with what is left.
    pub fn wait_until_empty(&self) {
        self.wait_until("nothing is left", || self.all_live().iter().all(|&live| live == 0));
    }

    /// # Panics
    /// When it does not come true.
    pub fn wait_until(&self, what: &str, wanted: impl Fn() -> bool) {
        let start = Instant::now();
        while !wanted() {
            assert!(start.elapsed() < LIMIT, "{what} does not come: alive {:?}", self.all_live());
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// A plan in the mocks' words.
#[derive(Clone, Debug)]
pub struct MockPlan {
    lines: Vec<String>,
}

impl MockPlan {
    pub fn new(version: Version) -> MockPlan {
        MockPlan { lines: vec![format!("mockplan {}", version.major())] }
    }

    /// One input and output of the protocol's test tensors, batches from 1 to `max_batch`.
    pub fn double(version: Version, max_batch: u32, profiles: u32) -> MockPlan {
        let plan = MockPlan::new(version)
            .input("INPUT0", 0, &[-1, super::ELEMENTS as i64])
            .output("OUTPUT0", 0, &[-1, super::ELEMENTS as i64])
            .line("scratch 65536")
            .line("weights 1048576");
        (0..profiles).fold(plan, |plan, _| plan.line(&format!("profile 1 {max_batch} {max_batch}")))
    }

    pub fn line(mut self, line: &str) -> MockPlan {
        self.lines.push(line.into());
        self
    }

    /// `data_type` is TensorRT's number.
    pub fn input(self, name: &str, data_type: i32, shape: &[i64]) -> MockPlan {
        self.tensor("in", name, data_type, shape)
    }

    pub fn output(self, name: &str, data_type: i32, shape: &[i64]) -> MockPlan {
        self.tensor("out", name, data_type, shape)
    }

    fn tensor(self, way: &str, name: &str, data_type: i32, shape: &[i64]) -> MockPlan {
        let sizes: String = shape.iter().map(|size| format!(" {size}")).collect();
        self.line(&format!("tensor {way} {name} {data_type} {}{sizes}", shape.len()))
    }

    /// Writes `NAME/model.plan` in `folder`.
    ///
    /// # Panics
    /// When the folder takes no file.
    pub fn write(&self, folder: &Path, name: &str) -> PathBuf {
        let file = folder.join(name).join("model.plan");
        fs::create_dir_all(file.parent().expect("it has one")).expect("a folder");
        fs::write(&file, self.lines.join("\n") + "\n").expect("a file");
        file
    }
}
