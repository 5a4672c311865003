//! `vaekl encode IMAGE -o LATENTS`.

use ndarray::Array4;
use serde_json::json;
use vaekl::{Generator, Parts};

use super::context::Context;
use crate::args::{Encode, Posterior};
use crate::array_file;
use crate::engine::Engine;
use crate::failure::{Failure, Result};
use crate::output::{Format, Target};
use crate::report::Report;
use crate::sample::{self, Input};

pub(super) fn run(context: &Context<'_>, arguments: &Encode) -> Result<()> {
    check_usage(arguments)?;
    let mut target = Target::create(&arguments.output)?;
    let mut engine = Engine::open(context.options, &context.interrupt, Parts::Encoder)?;
    let fits = |height, width| engine.fits_encode(height, width);
    let (input, remark) = sample::open(&arguments.image, engine.config(), true, fits)?;
    if let Some(remark) = remark {
        context.remark(&remark);
    }

    let (height, width, (posterior, encode_s)) = match input {
        Input::Array(input) => {
            let (_, _, height, width) = input.dim();
            engine.reserve(&arguments.image, input.len())?;
            (height, width, engine.encode(&arguments.image, input.view())?)
        }
        Input::Rows(rows, height, width) => {
            (height, width, engine.encode_rows(&arguments.image, *rows, height, width)?)
        }
    };
    let seed = arguments.seed.unwrap_or(0);
    let (name, mut latents): (_, Array4<f32>) = match arguments.posterior {
        Posterior::Mode => ("latents", posterior.mode().to_owned()),
        Posterior::Sample => ("latents", posterior.sample(&mut Generator::new(seed))),
        Posterior::Moments => ("moments", posterior.moments().to_owned()),
    };
    if arguments.scaled {
        engine.scale(latents.view_mut())?;
    }

    array_file::write(&mut target, name, latents.view())?;
    context.interrupt.check()?;
    target.commit()?;

    let batch = latents.dim().0;
    let mut report = Report::default();
    engine.report(&mut report);
    report.set_seconds("encode_s", encode_s);
    report.set("width", width);
    report.set("height", height);
    report.set("batch", batch);
    report.set("shape", json!(latents.shape()));
    report.set("tensor", name);
    report.set_output(std::slice::from_ref(&arguments.output));
    let text = format!(
        "{}: {name} {:?}, encode {encode_s:.2} s, {}",
        arguments.output.display(),
        latents.shape(),
        engine.summary()
    );
    context.finish(report, context.options.model.as_deref(), &text)
}

fn check_usage(arguments: &Encode) -> Result<()> {
    if !Format::of(&arguments.output)?.is_array() {
        return Err(Failure::at(&arguments.output, "latents are written as .npy or .safetensors"));
    }
    if arguments.seed.is_some() && arguments.posterior != Posterior::Sample {
        return Err(Failure::Usage("--seed needs --posterior sample".into()));
    }
    if arguments.scaled && arguments.posterior == Posterior::Moments {
        return Err(Failure::Usage("--scaled is for latents, not for moments".into()));
    }
    Ok(())
}
