//! `vaekl plan decode|encode --size WxH`.

use vaekl::Parts;

use super::context::Context;
use crate::args::{Plan, PlannedCall};
use crate::engine;
use crate::failure::{Failure, Result};
use crate::report::{Report, mib};

pub(super) fn run(context: &Context<'_>, arguments: &Plan) -> Result<()> {
    let mut options = engine::session_options(context.options);
    let (name, parts) = match arguments.call {
        PlannedCall::Decode => ("decode", Parts::Decoder),
        PlannedCall::Encode => ("encode", Parts::Encoder),
    };
    let path = context.options.model.as_deref();
    let model = engine::open_model(context.options, path, parts)?;
    let ((width, height), factor) = (arguments.size, model.config().downscale());
    options.memory_reserved = engine::process();
    let plan = match arguments.call {
        PlannedCall::Decode => {
            if !width.is_multiple_of(factor) || !height.is_multiple_of(factor) {
                let what = "multiples of the model's factor";
                return Err(Failure::Usage(format!(
                    "--size: {what}, which is {factor}, expected, {width}x{height} found"
                )));
            }
            let (height, width) = (height / factor, width / factor);
            let latents = engine::values(&[height, width, model.config().latent_channels]);
            let latents = engine::bytes(latents);
            options.memory_reserved = options.memory_reserved.saturating_add(latents);
            vaekl::plan_decode(&model, &options, height, width)?
        }
        PlannedCall::Encode => vaekl::plan_encode(&model, &options, height, width)?,
    };
    let mut report = Report::default();
    report.set("call", name);
    report.set("width", width);
    report.set("height", height);
    report.set("memory_budget", options.memory_budget);
    report.set("peak_bytes", plan.peak_bytes);
    report.set("workspace_bytes", plan.workspace_bytes);
    report.set("scratch_bytes", plan.scratch_bytes);
    report.set("multiply_adds", plan.multiply_adds);
    report.set("exact", plan.exact);
    let scratch = match plan.scratch_bytes {
        0 => "none".into(),
        bytes => mib(bytes),
    };
    report.set("tiles_x", plan.tiles_x);
    report.set("tiles_y", plan.tiles_y);
    report.set("tile_size", plan.tile_size);
    let tiles = match (plan.tiles_x, plan.tiles_y) {
        (1, 1) => "none".into(),
        (x, y) => format!("{x} x {y} of {} latents", plan.tile_size),
    };
    let lines = [
        (name, format!("{width}x{height}")),
        ("process", format!("at most {}", mib(plan.peak_bytes))),
        ("workspace", mib(plan.workspace_bytes)),
        ("scratch file", scratch),
        ("work", format!("{:.1} G multiply-adds", plan.multiply_adds as f64 / 1e9)),
        ("tiles", tiles),
        ("exact", if plan.exact { "yes" } else { "no" }.into()),
    ];
    let lines = lines.map(|(name, value)| format!("{name:<14}{value}"));
    context.finish_lines(report, path, &lines)
}
