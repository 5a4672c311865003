//! A plan against the call that follows it: the session's plan is that of `plan_decode`, the
//! workspace is the planned one to the byte, the peak is within the budget, and the bits are those
//! of the call without a limit, or of the whole picture where the plan is exact. Where there is no
//! plan, the call fails for the same reason.

use ndarray::{Array4, ArrayView4};
use vaekl::{
    Attention, ErrorKind, Model, Plan, Result, Session, SessionOptions, Storage, Tiling,
    plan_decode, plan_encode,
};

use super::choices::Choices;
use super::models;
use super::scratch::Scratch;

/// The most multiply-adds of a call that is made; larger ones are only planned.
const MOST_WORK: u64 = 1 << 26;

/// What a call gives: a picture or an encoder's values.
type Output = (Array4<f32>, Plan);

pub fn planner(bytes: &[u8]) {
    let mut choices = Choices::new(bytes);
    let model = &models::all()[choices.below(models::all().len())];
    let decodes = choices.flag();
    let scratch = Scratch::new();
    let unlimited = options(&mut choices, model);
    let (most, least) = if decodes { (14, 1) } else { (14 * model.config().downscale(), 1) };
    let (height, width) = (least + choices.below(most), least + choices.below(most));
    let plan = |options: &SessionOptions| match decodes {
        true => plan_decode(model, options, height, width),
        false => plan_encode(model, options, height, width),
    };
    let free = match plan(&unlimited) {
        Ok(plan) => plan,
        Err(error) => return is_refusal(&error, &[ErrorKind::InvalidArgument]),
    };
    let mut limited = unlimited.clone();
    if choices.flag() {
        limited = limited.with_scratch_dir(scratch.path());
    }
    // Most often less than the fastest plan takes.
    let budget = match choices.below(4) {
        0 => 0,
        1 => choices.long() >> choices.below(64),
        _ => free.peak_bytes.saturating_sub(choices.long() % (free.workspace_bytes + 2)),
    };
    limited = limited.with_memory_budget(budget);
    let planned = plan(&limited);
    if let Ok(planned) = &planned {
        assert!(budget == 0 || planned.peak_bytes <= budget, "{planned:?} for {budget}");
        assert!(planned.workspace_bytes <= planned.peak_bytes, "{planned:?}");
        assert!(planned.scratch_bytes == 0 || limited.scratch_dir.is_some(), "{planned:?}");
    }
    if free.multiply_adds > MOST_WORK {
        return;
    }
    let channels =
        if decodes { model.config().latent_channels } else { model.config().in_channels };
    let input = Array4::from_shape_fn((1, channels, height, width), |_| {
        let value = choices.number();
        if value.abs() < 4.0 { value } else { 0.25 }
    });
    let (found, memory) = call(model, &limited, decodes, input.view());
    let planned = match planned {
        Ok(planned) => planned,
        Err(error) => {
            is_refusal(&error, &[ErrorKind::Budget, ErrorKind::InvalidArgument]);
            let found = found.expect_err("a call without a plan");
            return assert_eq!((found.kind(), memory), (error.kind(), 0), "{found}");
        }
    };
    let (values, followed) = found.unwrap_or_else(|error| panic!("{error}: {planned:?}"));
    assert_eq!(followed, planned);
    assert_eq!(memory as u64, planned.workspace_bytes);
    assert!(scratch.names().is_empty(), "a scratch file was left");
    assert!(values.iter().all(|value| value.is_finite()));
    let mut reference = unlimited.clone();
    if planned.exact {
        reference = reference.with_tiling(Tiling::Exact).with_tile_size(0).with_tile_overlap(0);
    } else if limited.tiling == Tiling::Seamless && limited.tile_size == 0 {
        // The one exception: seamless tiles whose size is left to the budget.
        return;
    }
    let (expected, _) = call(model, &reference, decodes, input.view()).0.expect("no limit");
    assert!(values == expected, "other bits: {limited:?} {planned:?}");
}

/// Options without a budget and a folder.
fn options(choices: &mut Choices<'_>, model: &Model) -> SessionOptions {
    let storages = [Storage::F32, Storage::Bf16, Storage::F16];
    let tilings = [Tiling::Exact, Tiling::Diffusers, Tiling::Seamless];
    let mut options = SessionOptions::default()
        .with_threads(1 + choices.below(3))
        .with_activation_dtype(choices.pick(&storages))
        .with_fuse_qkv(choices.flag())
        .with_attention(choices.pick(&[Attention::Streamed, Attention::RowByRow]))
        .with_tiling(choices.pick(&tilings));
    if options.tiling != Tiling::Exact {
        let step = if model.config().family.tiny().is_some() { 4 } else { 1 };
        let size = choices.below(16);
        options = options.with_tile_size(if choices.flag() { size * step } else { size });
    }
    if options.tiling == Tiling::Diffusers {
        options = options.with_tile_overlap(choices.below(8));
    }
    options
}

/// The result of a call by a session of its own, and what the session has then.
fn call(
    model: &Model,
    options: &SessionOptions,
    decodes: bool,
    input: ArrayView4<'_, f32>,
) -> (Result<Output>, usize) {
    let mut session = match Session::new(model, options) {
        Ok(session) => session,
        Err(error) => return (Err(error), 0),
    };
    let output = match decodes {
        true => session.decode(input).map(|output| (output.sample, output.plan)),
        false => session.encode(input).map(|output| {
            let values = match output.encoded.posterior() {
                Some(posterior) => posterior.moments().to_owned(),
                None => output.encoded.mode().to_owned(),
            };
            (values, output.plan)
        }),
    };
    (output, session.memory())
}

fn is_refusal(error: &vaekl::Error, kinds: &[ErrorKind]) {
    assert!(kinds.contains(&error.kind()), "{:?}: {error}", error.kind());
}
