//! Finds TensorRT's libraries, opens them once for the process and chooses the table of their
//! version. Nothing of TensorRT is called here but its version: without a GPU more would crash it.

use super::raw::{Slots, V8, V10, V11};
use libloading::os::unix::{Library as Opened, RTLD_LOCAL, RTLD_NOW};
use std::ffi::{CStr, c_char, c_void};
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// What the loader is asked for when config.ron names nothing, best first.
const NAMES: [&str; 4] =
    ["libnvinfer.so.10", "libnvinfer.so.11", "libnvinfer.so.8", "libnvinfer.so"];

/// What to do about a library that is not there or not usable.
const REMEDY: &str = "install TensorRT 8.5, 8.6, 10 or 11 (a Jetson: `apt install nvidia-tensorrt`; \
    elsewhere: `apt install libnvinfer10` from NVIDIA's repository, or `pip install tensorrt`) and, \
    if it is on none of these places, name its file or folder in config.ron as `tensorrt` or add the \
    folder to LD_LIBRARY_PATH";

pub(super) type CreateFunction = unsafe extern "C" fn(*mut c_void, i32) -> *mut c_void;
type CreateParser = unsafe extern "C" fn(*mut c_void, *mut c_void, i32) -> *mut c_void;
type InitPlugins = unsafe extern "C" fn(*mut c_void, *const c_char) -> bool;

/// A version as `getInferLibVersion` puts it: 8503 is 8.5.3, 101303 is 10.13.3.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Version(i32);

impl Version {
    fn parts(self) -> (i32, i32, i32) {
        let unit = if self.0 >= 100_000 { 10_000 } else { 1_000 };
        (self.0 / unit, self.0 % unit / 100, self.0 % 100)
    }

    /// As TensorRT puts it, and wants it back.
    pub fn number(self) -> i32 {
        self.0
    }

    pub fn major(self) -> u32 {
        self.parts().0.unsigned_abs()
    }

    /// At least this version, of whatever major.
    pub fn is_at_least(self, major: i32, minor: i32) -> bool {
        let (own_major, own_minor, _) = self.parts();
        (own_major, own_minor) >= (major, minor)
    }

    fn slots(self) -> Option<&'static Slots> {
        match self.parts() {
            (8, minor, _) if minor >= 5 => Some(&V8),
            (10, ..) => Some(&V10),
            (11, ..) => Some(&V11),
            _ => None,
        }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (major, minor, patch) = self.parts();
        write!(f, "{major}.{minor}.{patch}")
    }
}

/// TensorRT's library, open.
pub(super) struct Library {
    pub version: Version,
    pub slots: &'static Slots,
    /// As it was opened: a file name for the loader, or a path.
    pub name: PathBuf,
    pub create_runtime: CreateFunction,
    /// Not in the lean and dispatch runtimes.
    pub create_builder: Option<CreateFunction>,
}

impl Library {
    /// The library that `configured` (a file or a folder) names; without it, one the loader finds.
    /// It is never closed: TensorRT and CUDA keep threads and exit handlers in it.
    ///
    /// # Errors
    /// What was looked for, where, what was wrong there, and what to do.
    pub fn open(configured: Option<&Path>) -> Result<Arc<Library>, String> {
        static OPEN: Mutex<Vec<(Option<PathBuf>, Arc<Library>)>> = Mutex::new(Vec::new());
        let mut open = OPEN.lock().unwrap_or_else(PoisonError::into_inner);
        let key = configured.map(Path::to_owned);
        if let Some((_, library)) = open.iter().find(|(name, _)| *name == key) {
            return Ok(library.clone());
        }
        let library = Arc::new(Library::find(configured)?);
        tracing::info!(library = %library.name.display(), "TensorRT {} loaded", library.version);
        open.push((key, library.clone()));
        Ok(library)
    }

    fn find(configured: Option<&Path>) -> Result<Library, String> {
        let candidates = match configured {
            None => NAMES.map(PathBuf::from).to_vec(),
            Some(folder) if folder.is_dir() => {
                let found = libraries_in(folder);
                if found.is_empty() {
                    return Err(format!(
                        "`tensorrt` in config.ron names the folder {}, where there is no \
                         libnvinfer.so. To use TensorRT, {REMEDY}",
                        folder.display()
                    ));
                }
                found
            }
            Some(file) if !file.exists() => {
                return Err(format!(
                    "`tensorrt` in config.ron names {}, which is not there. To use TensorRT, \
                     {REMEDY}",
                    file.display()
                ));
            }
            // A path without a slash would be looked for elsewhere.
            Some(file) => vec![std::path::absolute(file).unwrap_or_else(|_| file.to_owned())],
        };
        let mut tried = Vec::new();
        for candidate in candidates {
            match Library::load(&candidate) {
                Ok(library) => return Ok(library),
                Err(reason) => tried.push(reason),
            }
        }
        Err(format!("TensorRT's library cannot be used: {}. To use it, {REMEDY}", tried.join("; ")))
    }

    fn load(name: &Path) -> Result<Library, String> {
        let shown = name.display();
        let opened = dlopen(name)?;
        // SAFETY: `getInferLibVersion` has this type in every version since 5.
        let version: unsafe extern "C" fn() -> i32 =
            unsafe { symbol(&opened, "getInferLibVersion") }
                .ok_or_else(|| format!("{shown}: not TensorRT (no getInferLibVersion in it)"))?;
        // SAFETY: it takes nothing and only returns a number.
        let version = Version(unsafe { version() });
        let slots = version.slots().ok_or_else(|| {
            format!("{shown}: TensorRT {version}, where 8.5, 8.6, 10 and 11 can be used")
        })?;
        // SAFETY: the two have this type in every version since 8.
        let create_runtime = unsafe { symbol(&opened, "createInferRuntime_INTERNAL") }
            .ok_or_else(|| format!("{shown}: no createInferRuntime_INTERNAL in it"))?;
        // SAFETY: as above.
        let create_builder = unsafe { symbol(&opened, "createInferBuilder_INTERNAL") };
        keep_open(opened);
        Ok(Library { version, slots, name: name.to_owned(), create_runtime, create_builder })
    }

    /// Another library of the same version: `nvonnxparser`, `nvinfer_plugin`.
    fn sibling(&self, name: &str) -> Result<Opened, String> {
        let file = format!("lib{name}.so.{}", self.version.major());
        let beside = self.name.parent().filter(|folder| !folder.as_os_str().is_empty());
        match beside.map(|folder| folder.join(&file)).filter(|path| path.exists()) {
            Some(path) => dlopen(&path),
            None => dlopen(Path::new(&file)),
        }
    }

    /// The function that makes a parser of ONNX files.
    ///
    /// # Errors
    /// That the parser's library is not there, and what to do.
    pub fn parser(&self) -> Result<CreateParser, String> {
        let major = self.version.major();
        let opened = self.sibling("nvonnxparser").map_err(|reason| {
            format!(
                "TensorRT {} has no ONNX parser here: {reason}; install it (`apt install \
                 libnvonnxparsers{major}`, part of `nvidia-tensorrt`) beside {}, and add its folder \
                 to LD_LIBRARY_PATH if it does not find its own libraries",
                self.version,
                self.name.display()
            )
        })?;
        // SAFETY: this function has this type in every version since 7.
        let create =
            unsafe { symbol(&opened, "createNvOnnxParser_INTERNAL") }.ok_or_else(|| {
                format!("libnvonnxparser.so.{major}: no createNvOnnxParser_INTERNAL in it")
            })?;
        keep_open(opened);
        Ok(create)
    }

    /// Makes NVIDIA's plugins known to TensorRT. False when their library is not there.
    pub fn init_plugins(&self, logger: *mut c_void) -> bool {
        let opened = match self.sibling("nvinfer_plugin") {
            Ok(opened) => opened,
            Err(reason) => {
                tracing::debug!("no plugins: {reason}");
                return false;
            }
        };
        // SAFETY: this function has this type in every version since 4.
        let Some(init) = (unsafe { symbol::<InitPlugins>(&opened, "initLibNvInferPlugins") })
        else {
            return false;
        };
        keep_open(opened);
        // SAFETY: the logger is the process's own, which lives as long as it does; the namespace is
        // the empty one that plugins are registered in.
        unsafe { init(logger, c"".as_ptr()) }
    }
}

fn dlopen(name: &Path) -> Result<Opened, String> {
    // SAFETY: runs the library's initialisers. Those of TensorRT are made to be run in any process;
    // a file that is something else was named by the operator.
    unsafe { Opened::open(Some(name), RTLD_NOW | RTLD_LOCAL) }.map_err(|error| {
        // The loader's own words name the file.
        let error = error.to_string();
        match error.contains(&*name.to_string_lossy()) {
            true => error,
            false => format!("{}: {error}", name.display()),
        }
    })
}

/// The function of that name as a function of type `F`.
///
/// # Safety
/// `F` is the type of that function.
unsafe fn symbol<F: Copy>(library: &Opened, name: &str) -> Option<F> {
    // SAFETY: the caller vouches for the type.
    unsafe { library.get::<F>(name) }.ok().map(|function| *function)
}

/// Libraries are not closed before the process ends.
fn keep_open(library: Opened) {
    std::mem::forget(library);
}

/// The TensorRT libraries of a folder, best first.
fn libraries_in(folder: &Path) -> Vec<PathBuf> {
    let exact = NAMES.map(|name| folder.join(name));
    let mut found: Vec<PathBuf> = exact.into_iter().filter(|path| path.exists()).collect();
    if found.is_empty() {
        // A wheel's folder has full versions in the names, and the lean runtime other ones.
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        let named = |path: &PathBuf| {
            let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
            name.is_some_and(|name| {
                name.starts_with("libnvinfer.so.") || name.starts_with("libnvinfer_lean.so.")
            })
        };
        found.extend(entries.map(|entry| entry.path()).filter(named));
        found.sort();
    }
    found
}

/// A text of TensorRT's, which may be missing.
///
/// # Safety
/// `text` is null or a zero-terminated text that lives during this call.
pub(super) unsafe fn text(text: *const c_char) -> Option<String> {
    if text.is_null() {
        return None;
    }
    // SAFETY: the caller vouches for it.
    Some(unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_in_both_notations() {
        let shown = |number| Version(number).to_string();
        assert_eq!(
            [8503, 8601, 101303, 110400].map(shown),
            ["8.5.3", "8.6.1", "10.13.3", "11.4.0"]
        );
        for (number, served) in [
            (7203, false),
            (8403, false),
            (8500, true),
            (8601, true),
            (9001, false),
            (90100, false),
            (100000, true),
            (101601, true),
            (110106, true),
            (120000, false),
            (0, false),
            (-5, false),
        ] {
            assert_eq!(Version(number).slots().is_some(), served, "{number}");
        }
        assert!(Version(8601).is_at_least(8, 6) && !Version(8503).is_at_least(8, 6));
        assert!(Version(110000).is_at_least(10, 1) && !Version(100002).is_at_least(10, 1));
    }

    #[test]
    fn what_is_named_and_not_there_is_an_error_that_names_it() {
        let folder = tempfile::tempdir().unwrap();
        for (path, expected) in [
            (folder.path().to_owned(), "no libnvinfer.so"),
            (folder.path().join("libnvinfer.so.10"), "not there"),
        ] {
            let text = Library::open(Some(&path)).err().unwrap();
            assert!(text.contains(expected) && text.contains("`tensorrt` in config.ron"), "{text}");
            assert!(text.contains(path.to_str().unwrap()) && text.contains("install"), "{text}");
        }
        let file = folder.path().join("libnvinfer.so.8");
        std::fs::write(&file, "not a library").unwrap();
        let text = Library::open(Some(folder.path())).err().unwrap();
        assert!(text.contains(file.to_str().unwrap()), "{text}");
    }
}
