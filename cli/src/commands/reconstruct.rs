//! `vaekl reconstruct IMAGE -o OUT`.

use ndarray::{Axis, Slice};
use vaekl::Parts;

use super::context::Context;
use crate::args::{PlannedCall, Reconstruct};
use crate::engine::{self, Engine, Need};
use crate::failure::Result;
use crate::mask;
use crate::output::Target;
use crate::report::{self, Report};
use crate::sample::{self, SampleTarget};

pub(super) fn run(context: &Context<'_>, arguments: &Reconstruct) -> Result<()> {
    let target = Target::create(&arguments.output)?;
    let mut engine = Engine::open(context.options, &context.interrupt, Parts::Both)?;
    if arguments.mask.is_some() {
        mask::check(engine.config(), context.options.tiling)?;
    }
    let (config, format) = (engine.config().clone(), target.format());
    let side = |length| config.encoded_length(length).saturating_mul(config.downscale());
    let fits = |need: &Need| {
        // The pictures that come of it, and their masks.
        let channels = config.out_channels + usize::from(arguments.mask.is_some());
        let (height, width) = (side(need.height), side(need.width));
        let made = engine::bytes(engine::values(&[need.batch, channels, height, width]));
        let writing = format.writing_bytes([config.out_channels, height, width]);
        let arrays = need.arrays.saturating_add(made).saturating_add(writing);
        engine.reserve(&arguments.image, &Need { arrays, ..*need })?;
        let latents = |length| config.encoded_length(length);
        let (height, width) = (latents(need.height), latents(need.width));
        let decode = Need { call: PlannedCall::Decode, height, width, arrays, ..*need };
        engine.reserve(&arguments.image, &decode)
    };
    let (input, remark) = sample::read(&arguments.image, &config, fits)?;
    if let Some(remark) = remark {
        context.remark(&remark);
    }
    let (batch, _, height, width) = input.dim();
    let (height, width) = (side(height), side(width));
    let shape = [batch, config.out_channels, height, width];
    let mut targets = SampleTarget::new(target, shape)?;
    let mask = arguments.mask.as_deref().map(|path| mask::read(path, shape)).transpose()?;
    let (encoded, encode_s) = engine.encode(&arguments.image, input.view())?;
    let (latents, image) = (encoded.mode(), &arguments.image);
    let (output, decode_s) = match &mask {
        Some(mask) => {
            // An array may have rows that the encoder left out.
            let mut picture = input.view();
            picture.slice_axis_inplace(Axis(2), Slice::from(..height));
            picture.slice_axis_inplace(Axis(3), Slice::from(..width));
            engine.decode_masked(image, latents, picture, mask.view())?
        }
        None => engine.decode(image, latents)?,
    };
    let psnr = sample::psnr(input.view(), output.view());

    targets.write(output.view())?;
    context.interrupt.check()?;
    let paths = targets.commit()?;

    let mut report = Report::default();
    engine.report(&mut report);
    report.set_seconds("encode_s", encode_s);
    report.set_seconds("decode_s", decode_s);
    report.set("width", width);
    report.set("height", height);
    report.set("batch", batch);
    // JSON has no infinity: equal pictures give null, as do different channels.
    report.set("psnr_db", psnr.map(|db| (db * 1e4).round() / 1e4));
    report.set_output(&paths);
    let psnr = psnr.map_or(String::new(), |db| format!("PSNR {db:.2} dB, "));
    let text = format!(
        "{}: {width}x{height}, {psnr}encode {encode_s:.2} s, decode {decode_s:.2} s, {}",
        report::names(&paths),
        engine.summary()
    );
    context.finish(report, context.options.model.as_deref(), &text)
}
