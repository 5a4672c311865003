//! Files that are as large as their reader lets them be, or larger: each is opened or refused soon,
//! in memory that is a small multiple of its limit. A child process opens it, whose peak the kernel
//! knows.
#![cfg(target_os = "linux")]

mod support;

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use vaekl::{Model, ModelOptions};

/// Where a child finds the path that it opens.
const TO_OPEN: &str = "VAEKL_TEST_TO_OPEN";
/// Memory beside that of a process that opens a file of a kilobyte.
const MOST: usize = 64 << 20;
/// Both openings, which take some tenths of a second; tests run beside others, not all optimised.
const SOON: Duration = Duration::from_secs(10);

/// No test, but what a child does: it says its peak, and what the error says.
#[test]
fn opens_what_it_is_told_to() {
    let Some(path) = std::env::var_os(TO_OPEN) else { return };
    let options = ModelOptions::default().with_disable_mmap(true);
    for result in [Model::open(&path), Model::open_with(&path, &options)] {
        let message = result.map_or_else(|error| error.message().to_owned(), |_| "opened".into());
        println!("\nsaid {message}");
    }
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    println!("peak {}", peak.trim().trim_end_matches(" kB"));
}

/// Peak bytes of a child that opens `path`, and what both openings say.
fn opened(path: &Path) -> (usize, Vec<String>) {
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.args(["--exact", "opens_what_it_is_told_to", "--nocapture", "--test-threads", "1"]);
    let output = child.env(TO_OPEN, path).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{}: {text}", path.display());
    let said = text.lines().filter_map(|line| line.strip_prefix("said "));
    let said: Vec<String> = said.map(str::to_owned).collect();
    let peak = text.lines().find_map(|line| line.strip_prefix("peak ")).unwrap();
    (peak.parse::<usize>().unwrap() << 10, said)
}

/// A folder that is removed at the end, with what a good model needs.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("vaekl_limits_{}_{name}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn file(&self, name: &str, bytes: &[u8]) -> PathBuf {
        fs::write(self.0.join(name), bytes).unwrap();
        self.0.join(name)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn peak_of_nothing(folder: &Folder) -> usize {
    opened(&folder.file("nothing.safetensors", b"\x02\0\0\0\0\0\0\0{}")).0
}

/// Opens `path`, which both openings must answer in words with `part`, in little memory and soon.
fn check(path: &Path, part: &str, baseline: usize) {
    let start = Instant::now();
    let (peak, said) = opened(path);
    let (more, time) = (peak.saturating_sub(baseline), start.elapsed());
    println!("{}: {:.1} MB, {time:.1?}, {}", path.display(), more as f64 / 1e6, said[0]);
    assert!(said.len() == 2 && said.iter().all(|said| said.contains(part)), "{part}: {said:?}");
    assert!(said.iter().all(|said| said.len() < 500), "{said:?}");
    assert!(more < MOST, "{}: {more} bytes", path.display());
    assert!(time < SOON, "{}: {time:?}", path.display());
}

/// `before`, as many of `unit` as fit in `most` bytes, each with its number for `#`, and `after`.
fn filled(most: usize, before: &str, unit: &str, after: &str) -> Vec<u8> {
    let mut text = String::with_capacity(most);
    text.push_str(before);
    let (first, rest) = unit.split_once('#').unwrap_or((unit, ""));
    let mut number = 0;
    while text.len() + unit.len() + 8 + after.len() < most {
        text.push_str(first);
        if unit.contains('#') {
            let _ = write!(text, "{number}");
        }
        text.push_str(rest);
        number += 1;
    }
    // The last comma.
    text.pop();
    text.push_str(after);
    text.into_bytes()
}

fn safetensors(folder: &Folder, name: &str, header: &[u8]) -> PathBuf {
    let bytes = [&(header.len() as u64).to_le_bytes()[..], header].concat();
    folder.file(&format!("{name}.safetensors"), &bytes)
}

#[test]
fn headers_of_safetensors_have_limits() {
    const SIZE: usize = 16 << 20;
    let folder = Folder::new("safetensors");
    let baseline = peak_of_nothing(&folder);
    // A sparse file, whose header is not even read.
    let path = folder.file("long.safetensors", &(SIZE as u64 + 1).to_le_bytes());
    File::options().write(true).open(&path).unwrap().set_len(80 << 20).unwrap();
    check(&path, "the header's length is over 16 MiB", baseline);
    let tensor = r#""dtype":"F32","shape":[0],"data_offsets":[0,0]"#;
    let long = "a".repeat(1000);
    for (name, before, unit, after, part) in [
        ("tensors", "{", &*format!("\"#\":{{{tensor}}},"), "}", "more than 32768 tensors"),
        ("names", "{", &*format!("\"{long}#\":{{{tensor}}},"), "}", "names of over 4194304 bytes"),
        ("axes", r#"{"a":{"shape":[0,"#, "1,", "]}}", "tensor a: at most 64 axes expected"),
        ("lists", &*format!("{{\"a\":{{{tensor},\"x\":["), "[0],", "]}}", "no autoencoder among 1"),
        ("objects", &*format!("{{\"a\":{{{tensor},\"x\":["), r#"{"":0},"#, "]}}", "among 1"),
        ("entries", r#"{"__metadata__":{"#, "\"#\":\"\",", "}}", "metadata of at most 32768"),
        ("text", r#"{"__metadata__":{"a":""#, "aaaa", "\"}}", "no autoencoder among 0 tensors"),
        ("texts", r#"{"__metadata__":{"#, &*format!("\"#\":\"{long}\","), "}}", "among 0 tensors"),
        ("escapes", r#"{"__metadata__":{"a":""#, r"\u0041a", "\"}}", "no autoencoder among 0"),
        ("name", "{\"", "aaaa", &*format!("\":{{{tensor}}}}}"), "a name of at most 1024 bytes"),
        ("dtype", r#"{"a":{"dtype":""#, "aaaa", "\"}}", "tensor a: the dtype aaa"),
    ] {
        // The comma that is dropped at the end may be a letter of a text.
        let header = filled(SIZE, before, unit, after);
        check(&safetensors(&folder, name, &header), part, baseline);
    }
    // As many tensors as there may be, with names as long as they may be together.
    let mut header = String::from("{");
    for at in 0..32_768 {
        let name = format!("{at:0>124}");
        let _ = write!(header, "{}\"{name}\":{{{tensor}}}", if at > 0 { "," } else { "" });
    }
    header.push('}');
    let path = safetensors(&folder, "all", header.as_bytes());
    check(&path, "no autoencoder among 32768 tensors", baseline);
}

#[test]
fn configurations_and_indexes_have_limits() {
    let folder = Folder::new("json");
    let baseline = peak_of_nothing(&folder);
    let good = fs::read(support::data().join("sd_like/diffusion_pytorch_model.safetensors"));
    let weights = folder.file("diffusion_pytorch_model.safetensors", &good.unwrap());
    let config = |bytes: &[u8]| folder.file("config.json", bytes);
    for unit in ["[0],", r#"{"":0},"#, "0,"] {
        config(&filled(60 << 20, r#"{"x": ["#, unit, "]}"));
        check(&folder.0, "config.json: at most 1048576 bytes expected", baseline);
        config(&filled(1 << 20, r#"{"layers_per_block": 0, "x": ["#, unit, "]}"));
        check(&folder.0, "layers_per_block: 1 to 64 expected, 0 found", baseline);
        config(&filled(1 << 20, r#"{"block_out_channels": ["#, unit, "]}"));
        check(&folder.0, "block_out_channels: ", baseline);
    }
    config(&filled(1 << 20, "{", "\"#\": 0,", "}"));
    check(&folder.0, "more than 4096 fields", baseline);

    config(b"{}");
    fs::remove_file(weights).unwrap();
    let name = "diffusion_pytorch_model.safetensors.index.json";
    let index = |bytes: &[u8]| folder.file(name, bytes);
    index(&filled(60 << 20, r#"{"weight_map": {}, "x": ["#, r#"{"":0},"#, "]}"));
    check(&folder.0, "index.json: at most 4194304 bytes expected, more found", baseline);
    index(&filled(4 << 20, r#"{"weight_map": {}, "x": ["#, r#"{"":0},"#, "]}"));
    check(&folder.0, "an index without a shard", baseline);
    index(&filled(4 << 20, r#"{"weight_map": {"#, "\"#\": \"a\",", "}}"));
    check(&folder.0, "No such file or directory", baseline);
    index(&filled(4 << 20, r#"{"weight_map": {"#, "\"\": \"#\",", "}}"));
    check(&folder.0, "more than 256 shards", baseline);
}

/// The configuration in a file's metadata is one as any other.
#[test]
fn a_configuration_in_metadata_has_a_limit() {
    let folder = Folder::new("metadata");
    let baseline = peak_of_nothing(&folder);
    let names = ["decoder.conv_in.weight", "encoder.conv_in.weight"];
    let tensors = names.map(|name| {
        format!(r#""{name}":{{"dtype":"F32","shape":[0,0,3,3],"data_offsets":[0,0]}}"#)
    });
    let after = format!("]}}\"}},{}}}", tensors.join(","));
    let before = r#"{"__metadata__":{"vaekl.config":"{\"x\":["#;
    let path = safetensors(&folder, "config", &filled(16 << 20, before, "[0],", &after));
    check(&path, "at most 1048576 bytes expected", baseline);
}

/// The bytes of a number in the order of GGUF.
fn number(value: u64) -> [u8; 8] {
    value.to_le_bytes()
}

#[test]
fn headers_of_gguf_have_limits() {
    let folder = Folder::new("gguf");
    let baseline = peak_of_nothing(&folder);
    let text = |name: &str| [&number(name.len() as u64)[..], name.as_bytes()].concat();
    let head = |tensors: u64, pairs: u64| {
        [b"GGUF\x03\0\0\0".to_vec(), number(tensors).to_vec(), number(pairs).to_vec()].concat()
    };
    let long = |prefix: &str, at: u64| format!("{prefix}{at:0>1000}");
    let tensor = |name: &str| [text(name), vec![0; 16]].concat();
    let count = 1 << 15;
    let mut names = head(count, 0);
    (0..count).for_each(|at| names.extend(tensor(&long("", at))));
    check(&folder.file("names.gguf", &names), "names of over 4194304 bytes", baseline);
    let pairs = 1 << 16;
    let mut texts = head(0, pairs);
    for at in 0..pairs {
        texts.extend(text(&format!("general.{at:0>900}")));
        texts.extend(8_u32.to_le_bytes());
        texts.extend(text(&"a".repeat(1000)));
    }
    check(&folder.file("texts.gguf", &texts), "metadata of at most", baseline);
    let mut shapes = head(0, pairs);
    for at in 0..pairs {
        shapes.extend(text(&long("comfy.gguf.orig_shape.", at)));
        shapes.extend([9_u32, 10].map(u32::to_le_bytes).concat());
        shapes.extend([&number(8)[..], &[0; 64]].concat());
    }
    check(&folder.file("shapes.gguf", &shapes), "names of over 4194304 bytes", baseline);
}

#[test]
fn trees_of_msgpack_have_limits() {
    let folder = Folder::new("msgpack");
    let baseline = peak_of_nothing(&folder);
    // Maps of 16-bit lengths in a map of two names.
    let text = |length: u16, at: u32| {
        let mut text = vec![0xda];
        text.extend(length.to_be_bytes());
        text.extend(format!("{at:0>width$}", width = usize::from(length)).bytes());
        text
    };
    let map = |count: u16| [&[0xde][..], &count.to_be_bytes()].concat();
    let array = [&[0xc7, 13, 1, 0x93, 0x91, 0, 0xa7][..], b"float32", &[0xc4, 0]].concat();
    for (name, length, count, value, part) in [
        ("texts", 1000, 30_000, vec![0xc0], "texts of over 4194304 bytes"),
        ("tensors", 8, 40_000, array.clone(), "more than 32768 tensors"),
        ("long", 100, 32_000, array.clone(), "no autoencoder among 32000 tensors"),
        ("numbers", 20, 60_000, vec![0], "no autoencoder among 0 tensors"),
    ] {
        let mut bytes = [&[0x81, 0xa1, b'a'][..], &map(count)].concat();
        for at in 0..u32::from(count) {
            bytes.extend(text(length, at));
            bytes.extend(&value);
        }
        check(&folder.file(&format!("{name}.msgpack"), &bytes), part, baseline);
    }
}

/// Every file of tests/data/hostile takes little.
#[test]
fn hostile_files_take_little_memory() {
    let folder = Folder::new("hostile");
    let baseline = peak_of_nothing(&folder);
    for entry in fs::read_dir(support::data().join("hostile")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "json") {
            check(&path, "", baseline);
        }
    }
}

/// A text without end, and one that is a few bytes too long, are no configurations.
#[test]
fn texts_without_end_are_refused() {
    let folder = Folder::new("endless");
    let model = support::data().join("sd_like/diffusion_pytorch_model.safetensors");
    let options = ModelOptions::default().with_config_path("/dev/zero");
    let error = Model::open_with(&model, &options).unwrap_err();
    assert!(error.message().contains("/dev/zero: at most 1048576 bytes expected"), "{error}");
    let mut text = fs::read(support::data().join("sd_like/config.json")).unwrap();
    text.resize(1 << 20, b' ');
    let path = folder.file("config.json", &text);
    let options = ModelOptions::default().with_config_path(&path);
    Model::open_with(&model, &options).unwrap();
    File::options().append(true).open(&path).unwrap().write_all(b" ").unwrap();
    assert!(Model::open_with(&model, &options).is_err());
}
