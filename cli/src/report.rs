//! The output at the end of a command: one line for a person, or one JSON object for a program.

use std::borrow::Cow;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};
use vaekl::{Parts, visible};

use crate::failure::{Failure, Result};

/// The JSON object of `--json`.
#[derive(Default)]
pub(crate) struct Report(Map<String, Value>);

impl Report {
    /// Sets a field.
    pub(crate) fn set(&mut self, name: &str, value: impl Into<Value>) {
        self.0.insert(name.to_owned(), value.into());
    }

    /// Sets seconds, to the microsecond.
    pub(crate) fn set_seconds(&mut self, name: &str, seconds: f64) {
        self.set(name, (seconds * 1e6).round() / 1e6);
    }

    /// Sets `output`: a string, or a list of them for a batch of pictures.
    pub(crate) fn set_output(&mut self, paths: &[PathBuf]) {
        let names: Vec<_> = paths.iter().map(|path| path.to_string_lossy()).collect();
        match &names[..] {
            [name] => self.set("output", name.as_ref()),
            _ => self.set("output", json!(names)),
        }
    }

    /// Prints the object on one line.
    pub(crate) fn print(self) -> Result<()> {
        write(&format!("{}\n", escaped(&Value::Object(self.0).to_string())))
    }
}

/// JSON whose strings steer no terminal. It has such characters nowhere else, and those below 0x20
/// are escaped already.
fn escaped(json: &str) -> String {
    let mut text = String::with_capacity(json.len());
    for c in json.chars() {
        let mut bytes = [0; 4];
        match visible(c.encode_utf8(&mut bytes)) {
            Cow::Borrowed(shown) => text.push_str(shown),
            Cow::Owned(_) => {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    text.push_str(&format!("\\u{unit:04x}"));
                }
            }
        }
    }
    text
}

/// Prints lines to stdout. What they have of files is made visible here.
pub(crate) fn print(lines: &[String]) -> Result<()> {
    write(&lines.iter().map(|line| format!("{}\n", visible(line))).collect::<String>())
}

fn write(text: &str) -> Result<()> {
    let mut stdout = io::stdout().lock();
    told(stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()))
}

/// What a write to stdout means. A reader that went away, as `head` does, is no error.
pub(crate) fn told(written: io::Result<()>) -> Result<()> {
    match written {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::Failed(format!("stdout: {error}")))
        }
        _ => Ok(()),
    }
}

/// Prints a remark to stderr, made visible.
pub(crate) fn remark(line: &str) {
    let _ = writeln!(io::stderr(), "vaekl: {}", visible(line));
}

/// `out.png`, or `out_0.png ... out_7.png`.
pub(crate) fn names(paths: &[PathBuf]) -> String {
    let name = |path: &Path| path.display().to_string();
    match paths {
        [first, .., last] => format!("{} ... {}", name(first), name(last)),
        [path] => name(path),
        [] => String::new(),
    }
}

/// Most memory this process has held at once, in MiB; `None` where the system does not say.
pub(crate) fn peak_rss_mb() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: f64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some((kib / 1024.0 * 10.0).round() / 10.0)
}

/// The halves of a model, for a person.
pub(crate) fn parts(parts: Parts) -> &'static str {
    match parts {
        Parts::Both | Parts::Present => "encoder and decoder",
        Parts::Encoder => "encoder",
        Parts::Decoder => "decoder",
    }
}

/// Bytes for a person.
pub(crate) fn mib(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_steers_no_terminal_and_says_the_same() {
        let value = json!({ "a\u{9b}b": ["\u{202e}\u{1b}\u{7f}\n", "\u{e0041}", "\\ \" ä"] });
        let text = escaped(&value.to_string());
        assert!(text.contains("a\\u009bb") && text.contains("\\udb40\\udc41"), "{text}");
        assert!(matches!(visible(&text), Cow::Borrowed(_)), "{text:?}");
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), value);
    }
}
