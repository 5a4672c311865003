//! A plan's peak bounds what a call adds to the process: measured as the system counts it, in a
//! process of its own for each case. `scripts/peak_sweep.py` does so at random and at large sizes.
#![cfg(target_os = "linux")]

mod support;

use std::fs;
use std::ops::ControlFlow;
use std::process::Command;

use ndarray::{Array4, Axis};
use support::Fixture;
use vaekl::{Model, Session, SessionOptions, Storage, Tiling, plan_decode, plan_encode};

/// The case of a child process, `MODEL DIRECTION SIDE THREADS STORAGE TILING BUDGET`.
const CASE: &str = "VAEKL_PEAK_CASE";

/// A number of `/proc/self/status`, in bytes.
fn status(name: &str) -> u64 {
    let text = fs::read_to_string("/proc/self/status").unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    line.split_whitespace().next().unwrap().parse::<u64>().unwrap() << 10
}

fn fixture(name: &str) -> Fixture {
    match name.strip_prefix("families/") {
        Some(name) => Fixture::family(name),
        None => Fixture::open(name),
    }
}

/// What the call of a case adds to this process, and its plan's peak.
fn measured(case: &str) -> (u64, u64) {
    let words: Vec<&str> = case.split(' ').collect();
    let [name, direction, side, threads, storage, tiling, budget] = words[..] else {
        panic!("{case}")
    };
    let side: usize = side.parse().unwrap();
    let storage = match storage {
        "f32" => Storage::F32,
        "bf16" => Storage::Bf16,
        _ => Storage::F16,
    };
    let tiling = match tiling {
        "exact" => Tiling::Exact,
        "diffusers" => Tiling::Diffusers,
        _ => Tiling::Seamless,
    };
    let model = Model::open(fixture(name).path()).unwrap();
    let mut options = SessionOptions::default()
        .with_threads(threads.parse().unwrap())
        .with_activation_dtype(storage)
        .with_tiling(tiling);
    if tiling == Tiling::Diffusers {
        options = options.with_tile_size(16);
    }
    let scratch = std::env::temp_dir();
    if budget == "least" {
        options = options.with_scratch_dir(scratch).with_memory_budget(1);
        let planned = plan(&model, &options, direction, side).unwrap_err();
        let least = planned.message().split("at least ").nth(1).unwrap();
        let least: u64 = least.split(' ').next().unwrap().parse().unwrap();
        options = options.with_memory_budget(least << 20);
    }
    let peak = plan(&model, &options, direction, side).unwrap().peak_bytes;
    let config = model.config();
    let latents = Array4::from_shape_fn((1, config.latent_channels, side, side), |(_, c, y, x)| {
        ((c * 31 + y * 7 + x * 3) as f32 * 0.7).sin()
    });
    // The page tables of what was there go first: 5 resets the peak.
    let before = status("VmRSS:");
    fs::write("/proc/self/clear_refs", "5").unwrap();
    let mut session = Session::new(&model, &options).unwrap();
    if direction == "decode" {
        let mut on_row = |_: usize, _: &[f32]| ControlFlow::Continue(());
        session.decode_rows(latents.index_axis(Axis(0), 0), &mut on_row).unwrap();
    } else {
        let length = side * config.downscale();
        let mut fill = |y: usize, row: &mut [f32]| {
            row.iter_mut().enumerate().for_each(|(x, value)| *value = ((x + y) as f32).sin());
            Ok(())
        };
        session.encode_rows(length, length, &mut fill).unwrap();
    }
    // What an encode returns is the caller's; it is small beside the rest.
    (status("VmHWM:").saturating_sub(before), peak)
}

fn plan(
    model: &Model,
    options: &SessionOptions,
    direction: &str,
    side: usize,
) -> vaekl::Result<vaekl::Plan> {
    if direction == "decode" {
        plan_decode(model, options, side, side)
    } else {
        let length = side * model.config().downscale();
        plan_encode(model, options, length, length)
    }
}

#[test]
fn a_plans_peak_bounds_what_a_call_adds_to_the_process() {
    if let Ok(case) = std::env::var(CASE) {
        let (used, peak) = measured(&case);
        println!("used {used} peak {peak} end");
        return;
    }
    let mut cases = Vec::new();
    for name in ["sd_like", "families/taesd", "families/flux2", "relu_no_mid_attention"] {
        for tiling in ["exact", "diffusers", "seamless"] {
            cases.push(format!("{name} decode 64 2 f32 {tiling} none"));
        }
        cases.push(format!("{name} decode 64 3 bf16 exact least"));
        cases.push(format!("{name} decode 128 8 f16 exact none"));
        cases.push(format!("{name} encode 64 2 f32 exact none"));
        cases.push(format!("{name} encode 64 1 bf16 exact least"));
        cases.push(format!("{name} decode 2 16 f32 exact none"));
    }
    let mut exceeded = Vec::new();
    for case in cases {
        let name = "a_plans_peak_bounds_what_a_call_adds_to_the_process";
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", name, "--nocapture"])
            .env(CASE, &case)
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&child.stdout);
        let number = |name: &str| -> u64 {
            let rest = text.split(&format!("{name} ")).nth(1);
            let rest = rest.unwrap_or_else(|| panic!("{case}: {child:?}"));
            rest.split(' ').next().unwrap().parse().unwrap()
        };
        let (used, peak) = (number("used"), number("peak"));
        println!("{case}: {} of {} KiB", used >> 10, peak >> 10);
        assert!(used > 0, "{case}: nothing was measured");
        if used > peak {
            exceeded.push(format!("{case}: {used} of {peak} bytes"));
        }
    }
    assert!(exceeded.is_empty(), "{exceeded:#?}");
}
