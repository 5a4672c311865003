//! Compiling C programs against the library that cargo built, and running them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use ndarray::ArrayD;

use super::Fixture;

/// What a C99 compiler needs to be told beside the standard, and a C++ compiler likewise.
pub const WARNINGS: [&str; 4] = ["-Wall", "-Wextra", "-pedantic", "-Werror"];

pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A folder of this test's own.
pub fn scratch(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    fs::create_dir_all(&folder).unwrap();
    folder
}

/// The libraries that cargo built for this test, which lie beside it.
pub fn library(file: &str) -> PathBuf {
    let exe = std::env::current_exe().unwrap();
    let path = exe.parent().unwrap().join(file);
    assert!(path.exists(), "{} was not built", path.display());
    path
}

pub fn run(command: &mut Command) -> Output {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(
        output.status.success(),
        "{command:?}: {}\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    output
}

#[derive(Clone, Copy, Debug)]
pub enum Language {
    C99,
    Cpp17,
}

#[derive(Clone, Copy, Debug)]
pub enum Linking {
    Shared,
    Static,
}

pub const ALL: [(Language, Linking); 4] = [
    (Language::C99, Linking::Shared),
    (Language::C99, Linking::Static),
    (Language::Cpp17, Linking::Shared),
    (Language::Cpp17, Linking::Static),
];

/// The flags that docs/c_api.md gives for the static library.
fn static_flags() -> Vec<String> {
    let guide = fs::read_to_string(root().join("docs/c_api.md")).unwrap();
    let line =
        guide.lines().find(|line| line.contains("libvaekl.a -l")).expect("a line to link with");
    line.split_whitespace().filter(|word| word.starts_with("-l")).map(String::from).collect()
}

/// Compiles a program with the header of today and gives its path.
pub fn compile(source: &str, language: Language, linking: Linking) -> PathBuf {
    compile_with(source, &root().join("include"), &[], language, linking)
}

/// Compiles a program with the header in the folder `headers`, and more flags for the compiler.
pub fn compile_with(
    source: &str,
    headers: &Path,
    flags: &[&str],
    language: Language,
    linking: Linking,
) -> PathBuf {
    let name = Path::new(source).file_stem().unwrap().to_str().unwrap();
    // A folder for each, and for each thread: tests run at the same time.
    let thread = std::thread::current();
    let test = thread.name().unwrap_or_default();
    let variant = format!("{}{}", headers.file_name().unwrap().display(), flags.concat());
    let folder = scratch(&format!("c-{test}-{name}-{language:?}-{linking:?}-{variant}"));
    let program = folder.join(name);
    let mut command = match language {
        Language::C99 => Command::new("cc"),
        Language::Cpp17 => Command::new("c++"),
    };
    match language {
        Language::C99 => command.arg("-std=c99"),
        Language::Cpp17 => command.args(["-std=c++17", "-x", "c++"]),
    };
    command.args(WARNINGS).arg("-g").args(flags).arg("-I").arg(headers);
    command.arg(root().join(source)).args(["-x", "none", "-o"]).arg(&program);
    match linking {
        Linking::Shared => {
            // The name the loader will ask for, which is the soname.
            let versioned = folder.join("libvaekl.so.0");
            let _ = fs::remove_file(&versioned);
            std::os::unix::fs::symlink(library("libvaekl.so"), &versioned).unwrap();
            // -Wl would cut the path at a comma.
            command.arg(&versioned).args(["-Xlinker", "-rpath", "-Xlinker"]).arg(&folder);
            command.args(["-lpthread", "-lm"]);
        }
        Linking::Static => {
            command.arg(library("libvaekl.a")).args(static_flags());
        }
    }
    run(&mut command);
    program
}

pub fn fixture() -> Fixture {
    Fixture::open("sd_like")
}

/// Writes values as the programs read them, f32.
fn write(path: &Path, values: &ArrayD<f64>) {
    let bytes: Vec<u8> = values.iter().flat_map(|&v| (v as f32).to_le_bytes()).collect();
    fs::write(path, bytes).unwrap();
}

/// The tensors of the other families' fixtures, as NAME.TENSOR.f32 in `folder`.
pub fn families(folder: &Path) {
    for fixture in Fixture::families() {
        let name = &fixture.name;
        for tensor in [
            "latents",
            "decoded_f64",
            "image",
            "moments",
            "encoded",
            "patches",
            "condition_image",
            "mask",
            "decoded_masked_f64",
        ] {
            if fixture.has(tensor) {
                let file = folder.join(format!("{name}.{tensor}.f32"));
                write(&file, &fixture.tensor(tensor));
            }
        }
    }
}

/// The fixture in the plain files that the programs read.
pub fn data(test: &str) -> PathBuf {
    let (fixture, folder) = (fixture(), scratch(test));
    let write = |name: &str, values: ArrayD<f64>| write(&folder.join(name), &values);
    write("latents.f32", fixture.tensor("latents"));
    write("decoded.f32", fixture.tensor("decoded_f64"));
    for name in ["image", "moments", "mode", "sample"] {
        write(&format!("{name}.f32"), fixture.tensor(name));
    }
    fs::copy(fixture.folder.join("config.json"), folder.join("config.json")).unwrap();
    let weights = fixture.folder.join("diffusion_pytorch_model.safetensors");
    fs::copy(weights, folder.join("model.safetensors")).unwrap();
    folder
}
