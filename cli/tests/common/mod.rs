//! Running the built command, and reading and writing what it reads and writes.
#![allow(dead_code)] // Each test file uses its own part.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

/// A fixture of `tests/data`.
pub(crate) fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name)
}

/// A file of the repository outside of the package, or `None` in a published package.
pub(crate) fn repository(name: &str) -> Option<PathBuf> {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    // Cargo keeps the manifest as it was written in a published package, under this name.
    let published = package.join("Cargo.toml.orig").exists();
    (!published).then(|| package.join("..").join(name))
}

/// The command, with nothing from this process's terminal.
pub(crate) fn vaekl() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vaekl"));
    command.stdin(Stdio::null());
    command
}

/// A folder for outputs, and the command run with its name as working folder.
pub(crate) struct Folder(TempDir);

impl Folder {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(crate) fn read(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    pub(crate) fn write(&self, name: &str, bytes: &[u8]) -> PathBuf {
        std::fs::write(self.path(name), bytes).unwrap();
        self.path(name)
    }

    /// Names of all files, hidden ones too.
    pub(crate) fn files(&self) -> Vec<String> {
        let mut names: Vec<_> = std::fs::read_dir(self.0.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    pub(crate) fn command<A: AsRef<OsStr>>(
        &self,
        arguments: impl IntoIterator<Item = A>,
    ) -> Command {
        let mut command = vaekl();
        command.current_dir(self.0.path()).args(arguments);
        command
    }

    pub(crate) fn run<A: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = A>) -> Output {
        self.command(arguments).output().unwrap()
    }

    /// Runs what must succeed without a word on stderr, and gives stdout.
    pub(crate) fn succeed<A: AsRef<OsStr>>(
        &self,
        arguments: impl IntoIterator<Item = A>,
    ) -> String {
        let output = self.run(arguments);
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success() && stderr.is_empty(), "{}: {stderr}", output.status);
        String::from_utf8(output.stdout).unwrap()
    }

    /// Runs what must succeed with `--json`, and gives the object.
    pub(crate) fn json<A: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = A>) -> Value {
        let mut command = self.command(arguments);
        let output = command.args(["--json", "--quiet"]).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let stdout = String::from_utf8(output.stdout).unwrap();
        assert_eq!(stdout.lines().count(), 1, "{stdout}");
        serde_json::from_str(&stdout).unwrap()
    }

    /// Runs what must fail with `code`, one line on stderr and no new file, and gives the line.
    pub(crate) fn fail<A: AsRef<OsStr>>(
        &self,
        code: i32,
        arguments: impl IntoIterator<Item = A>,
    ) -> String {
        let before = self.files();
        let output = self.run(arguments);
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(code), "{stderr}");
        assert_eq!(stderr.lines().count(), 1, "{stderr}");
        assert!(stderr.starts_with("vaekl: "), "{stderr}");
        assert!(output.stdout.is_empty(), "{}", String::from_utf8_lossy(&output.stdout));
        assert_eq!(self.files(), before);
        stderr
    }

    /// The raw latents of a picture.
    pub(crate) fn latents(&self, picture: &Path, options: &[&str]) -> Vec<u8> {
        let mut command = self.command(["encode", "-o", "encoded.npy", "--quiet"]);
        let output = command.arg(picture).args(options).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        self.read("encoded.npy")
    }
}

/// A `.npy` file of `<f4`.
pub(crate) fn npy(shape: &[usize], values: impl IntoIterator<Item = f32>) -> Vec<u8> {
    let mut bytes = npy_header("<f4", shape);
    bytes.extend(values.into_iter().flat_map(f32::to_le_bytes));
    bytes
}

/// A `.npy` file of `<f8`.
pub(crate) fn npy_f64(shape: &[usize], values: impl IntoIterator<Item = f64>) -> Vec<u8> {
    let mut bytes = npy_header("<f8", shape);
    bytes.extend(values.into_iter().flat_map(f64::to_le_bytes));
    bytes
}

fn npy_header(descr: &str, shape: &[usize]) -> Vec<u8> {
    let dims: String = shape.iter().map(|dim| format!("{dim}, ")).collect();
    let header = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': ({dims}), }}\n");
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend((header.len() as u16).to_le_bytes());
    bytes.extend(header.as_bytes());
    bytes
}

/// The values of a `.npy` file that the command wrote, whose header says `shape`.
pub(crate) fn npy_values(bytes: &[u8], shape: &[usize]) -> Vec<f32> {
    let length = usize::from(u16::from_le_bytes([bytes[8], bytes[9]]));
    let (header, values) = bytes[10..].split_at(length);
    let dims: Vec<String> = shape.iter().map(usize::to_string).collect();
    let header = String::from_utf8_lossy(header);
    assert!(header.contains(&format!("({},)", dims.join(", "))), "{header}");
    values.as_chunks().0.iter().map(|&value| f32::from_le_bytes(value)).collect()
}

/// Numbers as a latent may have them, without a random number generator.
pub(crate) fn noise(count: usize) -> impl Iterator<Item = f32> {
    let mut state = 1u32;
    (0..count).map(move |_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1u32 << 23) as f32 - 1.0
    })
}

/// A little-endian `.safetensors` file: name, dtype, shape and bytes of each tensor.
pub(crate) fn safetensors(tensors: &[(&str, &str, &[usize], Vec<u8>)]) -> Vec<u8> {
    let mut header = serde_json::Map::new();
    let mut data: Vec<u8> = Vec::new();
    for (name, dtype, shape, bytes) in tensors {
        let offsets = [data.len(), data.len() + bytes.len()];
        data.extend(bytes);
        let tensor = serde_json::json!({ "dtype": dtype, "shape": shape, "data_offsets": offsets });
        header.insert((*name).into(), tensor);
    }
    let header = Value::Object(header).to_string();
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend(header.as_bytes());
    file.extend(data);
    file
}

/// Waits until `child` has taken SIGHUP, SIGINT and SIGTERM over, one after another.
pub(crate) fn wait_for_handler(child: &Child) {
    let Ok(_) = std::fs::read_dir("/proc/self") else {
        return std::thread::sleep(Duration::from_secs(2));
    };
    let start = Instant::now();
    let path = format!("/proc/{}/status", child.id());
    loop {
        let status = std::fs::read_to_string(&path).unwrap();
        let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).unwrap();
        let all = [1, 2, 15].iter().fold(0, |all, signal| all | 1 << (signal - 1));
        if u64::from_str_radix(caught.trim(), 16).unwrap() & all == all {
            return;
        }
        assert!(start.elapsed() < Duration::from_secs(30), "no handler");
        std::thread::sleep(Duration::from_millis(2));
    }
}

pub(crate) fn kill(child: &Child, signal: &str) {
    let killed = Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap();
    assert!(killed.success());
}
