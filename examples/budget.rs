//! budget: what a decode needs, known before any work, and kept.
//!
//!     cargo run --release --example budget -- [MODEL WIDTH HEIGHT [SCRATCH]]
//!
//! Prints what a decode of WIDTH x HEIGHT latents needs without a limit and under ever smaller
//! budgets, until one is refused. SCRATCH is a folder for the activations that a budget has no room
//! for. The defaults are the model in `cli/model` and 64 x 64. Nothing is decoded: plans take
//! milliseconds.

use std::error::Error;
use std::process::ExitCode;

use vaekl::{ErrorKind, Model, SessionOptions, plan_decode};

const DEFAULT_MODEL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/cli/model");

fn mebibytes(bytes: u64) -> String {
    format!("{:8.1} MiB", bytes as f64 / f64::from(1 << 20))
}

fn number(text: &str) -> Result<usize, String> {
    text.parse().map_err(|_| format!("{text}: a number expected"))
}

fn budget() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (path, width, height, scratch) = match &arguments[..] {
        [] => (DEFAULT_MODEL, 64, 64, None),
        [path, width, height] => (&path[..], number(width)?, number(height)?, None),
        [path, width, height, scratch] => {
            (&path[..], number(width)?, number(height)?, Some(scratch))
        }
        _ => return Err("usage: budget [MODEL WIDTH HEIGHT [SCRATCH]]".into()),
    };
    let model = Model::open(path)?;
    let mut options = SessionOptions::default();
    if let Some(folder) = scratch {
        options = options.with_scratch_dir(folder);
    }
    println!("{:>12} {:>12} {:>12} {:>12}", "budget", "peak", "workspace", "scratch file");
    loop {
        let budget = options.memory_budget; // 0 is no limit
        match plan_decode(&model, &options, height, width) {
            Ok(plan) => {
                let bytes = [budget, plan.peak_bytes, plan.workspace_bytes, plan.scratch_bytes];
                println!("{}", bytes.map(mebibytes).join(" "));
                options = options.with_memory_budget(plan.peak_bytes / 10 * 9);
            }
            // The message has the least budget that a decode can keep.
            Err(error) if error.kind() == ErrorKind::Budget => {
                println!("{} refused: {error}", mebibytes(budget));
                return Ok(());
            }
            Err(error) => return Err(error.into()),
        }
    }
}

fn main() -> ExitCode {
    match budget() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
