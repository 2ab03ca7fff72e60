//! Finds `libonnxruntime.so` and loads it once for the process.

use crate::engine::EngineError;
use ort::environment::Environment;
use ort::logging::LogLevel;
use std::ffi::OsString;
use std::fs;
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// What to do about a library that is not there or not usable.
const REMEDY: &str = "install ONNX Runtime 1.17 or newer (`pip install onnxruntime`, or the release \
    archive of github.com/microsoft/onnxruntime) and, if it is in none of these places, name the \
    file in config.ron as `onnxruntime` or in ORT_DYLIB_PATH; or use `device: Rten`";

/// The binding allows one library and one environment a process, and never unloads them.
static LOADED: Mutex<Option<(Environment, PathBuf)>> = Mutex::new(None);

/// The library's environment: loaded by the first caller that finds it, then the same for all.
///
/// # Errors
/// [`EngineError::Unavailable`], with every place that was looked at and what was wrong there.
pub(super) fn environment(configured: Option<&Path>) -> Result<Environment, EngineError> {
    let mut loaded = LOADED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((environment, _)) = &*loaded {
        return Ok(environment.clone());
    }
    let found = Places::of_this_process(configured).load()?;
    Ok(loaded.insert(found).0.clone())
}

/// The version of the library that is loaded; empty while none is.
pub(super) fn version() -> String {
    let loaded = LOADED.lock().unwrap_or_else(PoisonError::into_inner);
    loaded.as_ref().map_or_else(String::new, |(_, library)| version_of(library))
}

/// As its file is named in full, `libonnxruntime.so.1.23.2`; else what its build says of itself.
fn version_of(library: &Path) -> String {
    let file = fs::canonicalize(library).unwrap_or_else(|_| library.to_owned());
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    match name.split_once(".so.") {
        Some((_, version)) => version.to_owned(),
        None => ort::info().to_owned(),
    }
}

/// Where the library may be.
#[derive(Clone, Debug, Default)]
struct Places {
    /// Named by the operator; the first of them is the only place looked at.
    explicit: Vec<(&'static str, PathBuf)>,
    folders: Vec<PathBuf>,
}

impl Places {
    fn of_this_process(configured: Option<&Path>) -> Places {
        let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty());
        let from_config = configured.map(|path| ("`onnxruntime` in config.ron", path.to_owned()));
        let from_variable =
            variable("ORT_DYLIB_PATH").map(|p| ("ORT_DYLIB_PATH", PathBuf::from(p)));
        let mut folders = Vec::new();
        if let Some(own) = std::env::current_exe().ok().as_deref().and_then(Path::parent) {
            folders.push(own.to_owned());
        }
        folders.extend(split_paths(variable("LD_LIBRARY_PATH")));
        let triple = format!("/usr/lib/{}-linux-gnu", std::env::consts::ARCH);
        let system = ["/usr/local/lib", "/usr/lib", "/usr/lib64", &triple, "/opt/onnxruntime/lib"];
        folders.extend(system.map(PathBuf::from));
        let prefixes = python_prefixes(
            variable("VIRTUAL_ENV").map(PathBuf::from),
            split_paths(variable("PATH")),
            variable("HOME").map(PathBuf::from),
        );
        folders.extend(prefixes.iter().flat_map(|prefix| wheel_folders(prefix)));
        Places { explicit: from_config.into_iter().chain(from_variable).collect(), folders }
    }

    fn load(&self) -> Result<(Environment, PathBuf), EngineError> {
        let mut tried = Vec::new();
        for library in self.candidates()? {
            match load_library(&library) {
                Ok(environment) => {
                    tracing::info!(library = %library.display(), "ONNX Runtime loaded");
                    return Ok((environment, library));
                }
                Err(reason) => tried.push(reason),
            }
        }
        let mut text = String::from("ONNX Runtime's library is not there");
        if tried.is_empty() {
            text.push_str("; looked for libonnxruntime.so in: ");
            let folders = self.folders.iter().map(|folder| folder.display().to_string());
            text.push_str(&folders.collect::<Vec<_>>().join(", "));
        } else {
            text = format!("ONNX Runtime's library cannot be used: {}", tried.join("; "));
        }
        Err(EngineError::Unavailable(format!("{text}. To use it, {REMEDY}")))
    }

    /// Library files, best first.
    ///
    /// # Errors
    /// A place the operator named that holds no library: falling back would hide the mistake.
    fn candidates(&self) -> Result<Vec<PathBuf>, EngineError> {
        if let Some((source, path)) = self.explicit.first() {
            let found = if path.is_dir() { libraries_in(path) } else { vec![path.clone()] };
            if found.iter().any(|file| file.is_file()) {
                return Ok(found);
            }
            return Err(EngineError::Unavailable(format!(
                "{source} names {}, where there is no libonnxruntime.so. To use ONNX Runtime, \
                 {REMEDY}",
                path.display()
            )));
        }
        Ok(self.folders.iter().flat_map(|folder| libraries_in(folder)).collect())
    }
}

fn split_paths(variable: Option<OsString>) -> Vec<PathBuf> {
    variable.map(|value| std::env::split_paths(&value).collect()).unwrap_or_default()
}

/// Folders under which a Python may keep its packages: of the active virtual environment, of every
/// interpreter on the PATH (through links, so that a venv's and its base are both seen), of the
/// user and of the system.
fn python_prefixes(
    virtual_env: Option<PathBuf>,
    path: Vec<PathBuf>,
    home: Option<PathBuf>,
) -> Vec<PathBuf> {
    let mut prefixes: Vec<PathBuf> = virtual_env.into_iter().collect();
    for folder in path {
        for name in ["python3", "python"] {
            let interpreter = folder.join(name);
            let resolved = fs::canonicalize(&interpreter).ok();
            for file in [Some(interpreter), resolved].into_iter().flatten() {
                if file.is_file() {
                    prefixes.extend(file.ancestors().nth(2).map(Path::to_owned));
                }
            }
        }
    }
    prefixes.extend(home.map(|home| home.join(".local")));
    prefixes.push(PathBuf::from("/usr/local"));
    let mut seen = std::collections::HashSet::new();
    prefixes.retain(|prefix| seen.insert(prefix.clone()));
    prefixes
}

/// The folders of the PyPI wheel's libraries below a Python prefix.
fn wheel_folders(prefix: &Path) -> Vec<PathBuf> {
    let mut folders = Vec::new();
    for lib in ["lib", "lib64"].map(|name| prefix.join(name)) {
        let Ok(entries) = fs::read_dir(&lib) else { continue };
        for entry in entries.flatten() {
            if entry.file_name().to_string_lossy().starts_with("python3") {
                for packages in ["site-packages", "dist-packages"] {
                    folders.push(entry.path().join(packages).join("onnxruntime/capi"));
                }
            }
        }
    }
    // The directory's order is not one; the newest Python first.
    folders.retain(|folder| folder.is_dir());
    folders.sort_by(|a, b| b.cmp(a));
    folders
}

/// The ONNX Runtime libraries of a folder, highest version first.
fn libraries_in(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut found: Vec<(Vec<u32>, PathBuf)> = entries
        .filter_map(|entry| {
            let name = entry.file_name();
            let version = name.to_str()?.strip_prefix("libonnxruntime.so")?;
            let numbers = version.split('.').skip(1).map(str::parse).collect::<Result<_, _>>();
            Some((numbers.ok()?, entry.path()))
        })
        .collect();
    found.sort_by(|a, b| b.cmp(a));
    found.into_iter().map(|(_, path)| path).collect()
}

fn load_library(path: &Path) -> Result<Environment, String> {
    // The binding resolves a relative path against the executable, people against the working
    // directory.
    let path = std::path::absolute(path).map_err(|e| format!("{}: {e}", path.display()))?;
    let logger = |level, category: &str, _: &str, _: &str, message: &str| match level {
        LogLevel::Error | LogLevel::Fatal => tracing::error!(category, "ONNX Runtime: {message}"),
        LogLevel::Warning => tracing::warn!(category, "ONNX Runtime: {message}"),
        _ => tracing::debug!(category, "ONNX Runtime: {message}"),
    };
    // The binding asserts that the library hands out its interface.
    let loaded = catch_unwind(|| {
        let builder = ort::init_from(&path).map_err(|error| error.to_string())?;
        let builder = builder.with_name("bcedge").with_telemetry(false);
        // Through the log, because its own writes to stderr would tear the screen.
        let environment =
            builder.with_logger(Arc::new(logger)).build().map_err(|error| error.to_string())?;
        environment.set_log_level(LogLevel::Warning);
        Ok(environment)
    });
    loaded.unwrap_or_else(|_| Err(format!("{}: not a usable ONNX Runtime", path.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn touch(path: &Path) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, b"not a library").unwrap();
    }

    #[test]
    fn the_wheel_of_a_virtual_environment_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let capi = folder.path().join("lib/python3.12/site-packages/onnxruntime/capi");
        touch(&capi.join("libonnxruntime.so.1.30.0"));
        touch(&capi.join("libonnxruntime.so.1.9.0"));
        touch(&capi.join("libonnxruntime_providers_shared.so"));
        touch(&folder.path().join("bin/python3"));
        let prefixes = python_prefixes(None, vec![folder.path().join("bin")], None);
        assert_eq!(prefixes[0], folder.path());
        assert_eq!(wheel_folders(&prefixes[0]), std::slice::from_ref(&capi));
        let names = libraries_in(&capi);
        assert_eq!(names, ["1.30.0", "1.9.0"].map(|v| capi.join(format!("libonnxruntime.so.{v}"))));
    }

    #[test]
    fn a_library_that_is_not_one_is_an_error_that_names_it() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("libonnxruntime.so");
        touch(&file);
        let places = Places { explicit: vec![("config.ron", file.clone())], folders: vec![] };
        let text = places.load().unwrap_err().to_string();
        assert!(text.contains(file.to_str().unwrap()) && text.contains("pip install"), "{text}");
    }

    #[test]
    fn a_library_of_something_else_is_refused() {
        let libc = ["/lib64/libc.so.6", "/lib/x86_64-linux-gnu/libc.so.6", "/lib/libc.so.6"];
        let libc =
            libc.map(PathBuf::from).into_iter().chain([aarch64_libc()]).find(|p| p.is_file());
        let libc = libc.expect("a C library");
        let places = Places { explicit: vec![("config.ron", libc)], folders: vec![] };
        let text = places.load().unwrap_err().to_string();
        assert!(text.contains("OrtGetApiBase"), "{text}");
    }

    fn aarch64_libc() -> PathBuf {
        PathBuf::from("/lib/aarch64-linux-gnu/libc.so.6")
    }

    #[test]
    fn a_named_place_without_a_library_does_not_fall_back() {
        let folder = tempfile::tempdir().unwrap();
        let there = folder.path().join("there");
        touch(&there.join("libonnxruntime.so"));
        let explicit = vec![("ORT_DYLIB_PATH", folder.path().join("elsewhere.so"))];
        let text = Places { explicit, folders: vec![there] }.load().unwrap_err().to_string();
        assert!(text.contains("ORT_DYLIB_PATH") && text.contains("elsewhere.so"), "{text}");
    }

    #[test]
    fn nothing_found_lists_where() {
        let folder = tempfile::tempdir().unwrap();
        let places = Places { explicit: vec![], folders: vec![folder.path().to_owned()] };
        let text = places.load().unwrap_err().to_string();
        assert!(text.contains(folder.path().to_str().unwrap()), "{text}");
        assert!(text.contains("device: Rten"), "{text}");
    }
}
