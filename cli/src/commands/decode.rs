//! `vaekl decode LATENTS -o IMAGE`.

use std::io::ErrorKind;
use std::ops::ControlFlow;
use std::path::Path;

use ndarray::{Array4, ArrayView3, ArrayView4, Axis, Slice};
use vaekl::Parts;

use super::context::Context;
use crate::args::{Decode, PlannedCall};
use crate::engine::{self, Engine, Need};
use crate::failure::{Failure, Result};
use crate::latents::{self, Kind, LatentsFile, Request};
use crate::mask;
use crate::output::Target;
use crate::png_rows::{self, PngRows};
use crate::report::{self, Report};
use crate::sample::SampleTarget;

pub(super) fn run(context: &Context<'_>, arguments: &Decode) -> Result<()> {
    let target = Target::create(&arguments.output)?;
    let mut engine = Engine::open(context.options, &context.interrupt, Parts::Decoder)?;
    if arguments.mask.is_some() {
        mask::check(engine.config(), context.options.tiling)?;
    }
    let label = engine.label(Kind::Raw);
    let request = Request {
        path: &arguments.latents,
        tensor: arguments.tensor.as_deref(),
        scaled: arguments.scaled,
        size: arguments.size,
        model: &label,
        config: &engine.config().clone(),
    };
    let file = latents::open(&request)?;
    let factor = engine.config().downscale();
    let [batch, found, latent_h, latent_w] = file.dims();
    let sides = latent_h.checked_mul(factor).zip(latent_w.checked_mul(factor));
    let (height, width) = sides.ok_or_else(|| {
        Failure::at(&arguments.latents, format!("latents of {latent_w}x{latent_h} are too many"))
    })?;
    let shape = [batch, engine.config().out_channels, height, width];
    let writing = target.format().writing_bytes([shape[1], height, width]);
    let mut targets = SampleTarget::new(target, shape)?;
    let by_rows = arguments.mask.is_none() && targets.as_png().is_some();
    let output = if by_rows { 0 } else { engine::values(&shape) };
    // The picture and its mask.
    let given = match arguments.mask {
        Some(_) => engine::values(&shape).saturating_add(engine::values(&[batch, height, width])),
        None => 0,
    };
    let channels = engine.config().latent_channels;
    let latents = engine::values(&[batch, channels, latent_h, latent_w]);
    // Moments are there until their mean is copied.
    let copied = if found > channels { engine::bytes(latents) } else { 0 };
    let need = Need {
        call: PlannedCall::Decode,
        batch,
        height: latent_h,
        width: latent_w,
        reading: file.reading_bytes()?.saturating_add(copied),
        arrays: engine::bytes(latents.saturating_add(output).saturating_add(given))
            .saturating_add(writing),
    };
    engine.reserve(&arguments.latents, &need)?;
    let (latents, kind) = read_latents(context, file, &engine)?;
    let masked = match (&arguments.picture, &arguments.mask) {
        (Some(picture), Some(mask)) => {
            Some((mask::read_picture(picture, shape)?, mask::read(mask, shape)?))
        }
        _ => None,
    };

    let (input, view) = (&arguments.latents, latents.view());
    let decode_s = match (targets.as_png(), masked) {
        (Some(targets), None) => {
            decode_png(&mut engine, input, view, targets, [shape[1], height, width])?
        }
        (_, masked) => {
            let (output, decode_s) = match &masked {
                Some((picture, mask)) => {
                    engine.decode_masked(input, view, picture.view(), mask.view())?
                }
                None => engine.decode(input, view)?,
            };
            targets.write(output.view())?;
            decode_s
        }
    };
    context.interrupt.check()?;
    let paths = targets.commit()?;

    let mut report = Report::default();
    engine.report(&mut report);
    report.set_seconds("decode_s", decode_s);
    report.set("width", width);
    report.set("height", height);
    report.set("batch", batch);
    report.set("latents", kind.name());
    report.set("masked", arguments.mask.is_some());
    report.set_output(&paths);
    let text = format!(
        "{}: {width}x{height}, decode {decode_s:.2} s, {}",
        report::names(&paths),
        engine.summary()
    );
    context.finish(report, context.options.model.as_deref(), &text)
}

/// Decodes picture by picture and row by row; gives the seconds of all.
fn decode_png(
    engine: &mut Engine<'_>,
    input: &Path,
    latents: ArrayView4<'_, f32>,
    targets: &mut [Target],
    shape: [usize; 3],
) -> Result<f64> {
    let mut total = 0.0;
    for (target, latents) in targets.iter_mut().zip(latents.outer_iter()) {
        let storage = engine.storage();
        let mut decoded = decode_rows(engine, input, latents, target, shape)?;
        if decoded.is_err() && engine.storage() != storage {
            // In tiles, rows may be there when another overflows: all are made anew in a storage
            // that has the range.
            *target = Target::create(target.path())?;
            decoded = decode_rows(engine, input, latents, target, shape)?;
        }
        total += decoded?;
    }
    Ok(total)
}

/// Decodes one picture row by row to `target`; gives the seconds, or why it was not decoded.
fn decode_rows(
    engine: &mut Engine<'_>,
    input: &Path,
    latents: ArrayView3<'_, f32>,
    target: &mut Target,
    shape: [usize; 3],
) -> Result<Result<f64>> {
    let mut decoded = Ok(0.0);
    let written = target.write(|file| {
        let mut png = png_rows::begin(file, shape)?;
        let mut rows = PngRows::new(&mut png)?;
        let mut failed = None;
        let result = engine.decode_rows(input, latents, &mut |_, row| match rows.row(row) {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => {
                failed = Some(error);
                ControlFlow::Break(())
            }
        });
        if let Some(error) = failed {
            return Err(error);
        }
        decoded = result;
        if decoded.is_err() {
            // The unfinished file is not flushed to the disk.
            return Err(ErrorKind::Other.into());
        }
        rows.finish()?;
        Ok(png.finish()?)
    });
    if decoded.is_ok() {
        written?;
    }
    Ok(decoded)
}

/// Raw latents of the file, of moments the mean, and what the file has.
fn read_latents(
    context: &Context<'_>,
    file: LatentsFile<'_>,
    engine: &Engine<'_>,
) -> Result<(Array4<f32>, Kind)> {
    let (mut latents, kind, remark) = file.read()?;
    if let Some(remark) = remark {
        context.remark(&remark);
    }
    match kind {
        Kind::Raw => {}
        Kind::Scaled => engine.unscale(latents.view_mut())?,
        Kind::Moments => {
            let mean = Slice::from(..engine.config().latent_channels);
            latents = latents.slice_axis(Axis(1), mean).to_owned();
        }
    }
    Ok((latents, kind))
}
