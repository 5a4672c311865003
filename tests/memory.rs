//! A memory budget: planned, kept to the byte, the same bits, and refused before any work.

mod support;

use std::fs;
use std::path::PathBuf;

use ndarray::Array4;
use support::{Fixture, encoder_values};
use vaekl::{
    ErrorKind, Model, Plan, Result, Session, SessionOptions, Storage, Tiling, plan_decode,
    plan_encode,
};

/// A folder that must be empty in the end.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("vaekl-{name}-{}", std::process::id()));
        fs::create_dir(&path).unwrap();
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // Fails the test when something was left behind.
        let removed = fs::remove_dir(&self.0);
        assert!(removed.is_ok() || std::thread::panicking(), "{removed:?}");
    }
}

fn model() -> Model {
    Fixture::open("sd_like").model(|config| config.force_upcast = false)
}

fn options(dtype: Storage, scratch: Option<&Folder>) -> SessionOptions {
    let mut options = SessionOptions::default();
    (options.threads, options.activation_dtype) = (2, dtype);
    options.scratch_dir = scratch.map(|folder| folder.0.clone());
    options
}

fn latents() -> Array4<f32> {
    Array4::from_shape_fn((1, 4, 37, 45), |(_, c, y, x)| {
        ((c * 31 + y * 7 + x * 3) as f32 * 0.7).sin()
    })
}

/// All plans from no budget to the least that can be kept, each a byte below what the one before
/// needs.
fn plans(
    options: &SessionOptions,
    plan: impl Fn(&SessionOptions) -> Result<Plan>,
) -> Vec<(SessionOptions, Plan)> {
    let mut options = options.clone();
    let mut plans = Vec::new();
    loop {
        match plan(&options) {
            Ok(found) => {
                assert!(options.memory_budget == 0 || found.peak_bytes <= options.memory_budget);
                plans.push((options.clone(), found));
                options.memory_budget = found.peak_bytes - 1;
            }
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Budget, "{error}");
                assert!(error.message().contains("at least"), "{error}");
                return plans;
            }
        }
    }
}

#[test]
fn every_budget_gives_the_same_bits_and_is_kept_to_the_byte() {
    let (model, latents) = (model(), latents());
    let folder = Folder::new("budgets");
    for dtype in [Storage::F32, Storage::Bf16] {
        let options = options(dtype, Some(&folder));
        let mut session = Session::new(&model, &options).unwrap();
        let picture = session.decode(latents.view()).unwrap().sample;
        let moments = encoder_values(&session.encode(picture.view()).unwrap().encoded);
        let decodes = plans(&options, |o| plan_decode(&model, o, 37, 45));
        let encodes = plans(&options, |o| plan_encode(&model, o, picture.dim().2, picture.dim().3));
        assert!(decodes.len() > 2 && encodes.len() > 2, "{} {}", decodes.len(), encodes.len());
        for (options, plan) in &decodes {
            let mut session = Session::new(&model, options).unwrap();
            let found = session.decode(latents.view()).unwrap().sample;
            assert!(found == picture, "{dtype} {plan:?}");
            assert_eq!(session.memory() as u64, plan.workspace_bytes);
        }
        for (options, plan) in &encodes {
            let mut session = Session::new(&model, options).unwrap();
            let found = encoder_values(&session.encode(picture.view()).unwrap().encoded);
            assert!(found == moments, "{dtype} {plan:?}");
            assert_eq!(session.memory() as u64, plan.workspace_bytes);
        }
        assert_eq!(decodes[0].1.scratch_bytes, 0);
        assert!(decodes.last().unwrap().1.scratch_bytes > 0);
    }
}

#[test]
fn a_budget_that_cannot_be_kept_is_refused_with_what_could() {
    let model = model();
    let mut options = options(Storage::F32, None);
    options.memory_budget = 1 << 20;
    let mut session = Session::new(&model, &options).unwrap();
    let error = session.decode(latents().view()).unwrap_err();
    assert_eq!((error.kind(), session.memory()), (ErrorKind::Budget, 0), "{error}");
    for part in ["latents of 45x37", "1 MiB", "at least", "scratch folder", "bf16 activations"] {
        assert!(error.message().contains(part), "{part}: {error}");
    }
    // The least that the message names can be kept.
    let number = error.message().split("at least ").nth(1).unwrap();
    let least: u64 = number.split_whitespace().next().unwrap().parse().unwrap();
    options.memory_budget = least << 20;
    Session::new(&model, &options).unwrap().decode(latents().view()).unwrap();
    options.memory_budget = (least - 1) << 20;
    assert!(plan_decode(&model, &options, 37, 45).is_err());
}

/// The least in MiB that a refusal names, and the rest of it without the budget that was asked for.
fn named(error: &vaekl::Error) -> (u64, String) {
    let (_, rest) = error.message().split_once("at least ").unwrap();
    (rest.split_whitespace().next().unwrap().parse().unwrap(), rest.to_owned())
}

#[test]
fn every_refusal_names_the_same_least_and_it_is_enough() {
    let folder = Folder::new("least");
    let mut planned = 0;
    let families = ["tiny", "taef2", "flux2", "asymmetric"].map(Fixture::family);
    for fixture in [Fixture::open("sd_like")].into_iter().chain(families) {
        let model = fixture.model(|config| config.force_upcast = false);
        for (tiling, dtype, scratch, (height, width)) in [
            (Tiling::Exact, Storage::F32, false, (20, 28)),
            (Tiling::Exact, Storage::F16, false, (156, 16)),
            (Tiling::Exact, Storage::F32, true, (28, 12)),
            (Tiling::Seamless, Storage::F32, false, (16, 36)),
            (Tiling::Seamless, Storage::Bf16, true, (20, 28)),
            (Tiling::Diffusers, Storage::F32, false, (24, 40)),
            (Tiling::Diffusers, Storage::F32, true, (20, 28)),
        ] {
            let mut options = options(dtype, scratch.then_some(&folder));
            options.tiling = tiling;
            options.tile_size = if tiling == Tiling::Diffusers { 8 } else { 0 };
            type Planned = fn(&Model, &SessionOptions, usize, usize) -> Result<Plan>;
            for (direction, plan) in [plan_decode as Planned, plan_encode].iter().enumerate() {
                let what = format!("{} {tiling:?} {dtype} {scratch} {direction}", fixture.name);
                let scale = if direction == 0 { 1 } else { model.config().downscale() };
                let plan =
                    |options: &SessionOptions| plan(&model, options, height * scale, width * scale);
                // A half that the fixture lacks, or a tiling that its family lacks.
                if let Err(error) = plan(&options) {
                    let kind = error.kind();
                    assert!(
                        matches!(kind, ErrorKind::Model | ErrorKind::InvalidArgument),
                        "{error}"
                    );
                    continue;
                }
                planned += 1;
                let refusal = |budget| {
                    let options = options.clone().with_memory_budget(budget);
                    named(&plan(&options).unwrap_err())
                };
                let plans = plans(&options, plan);
                let least = plans.last().unwrap().1.peak_bytes;
                let (mebibytes, told) = refusal(1);
                assert_eq!(mebibytes, least.div_ceil(1 << 20), "{what}: {told}");
                for budget in [least / 2, least - 1] {
                    assert_eq!(refusal(budget).1, told, "{what}, {budget} of {least}");
                }
            }
        }
    }
    assert!(planned > 50, "{planned}");
}

#[test]
fn a_scratch_folder_that_fails_is_named_and_the_session_goes_on() {
    let model = model();
    let folder = Folder::new("gone");
    let (least, _) =
        plans(&options(Storage::F32, Some(&folder)), |o| plan_decode(&model, o, 37, 45))
            .pop()
            .unwrap();
    let mut session = Session::new(&model, &least).unwrap();
    fs::remove_dir(&folder.0).unwrap();
    let error = session.decode(latents().view()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Io);
    assert!(error.message().contains(folder.0.to_str().unwrap()), "{error}");
    fs::create_dir(&folder.0).unwrap();
    session.decode(latents().view()).unwrap();
}

#[test]
fn a_cancelled_call_leaves_no_scratch_file_behind() {
    let model = model();
    let folder = Folder::new("cancelled");
    let (least, _) =
        plans(&options(Storage::F32, Some(&folder)), |o| plan_decode(&model, o, 37, 45))
            .pop()
            .unwrap();
    let mut session = Session::new(&model, &least).unwrap();
    let stop = |progress: vaekl::Progress| {
        if progress.done > progress.total / 2 {
            std::ops::ControlFlow::Break(())
        } else {
            std::ops::ControlFlow::Continue(())
        }
    };
    session.on_progress(Some(Box::new(stop)));
    assert_eq!(session.decode(latents().view()).unwrap_err().kind(), ErrorKind::Cancelled);
    session.on_progress(None);
    session.decode(latents().view()).unwrap();
}
