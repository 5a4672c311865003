//! `vaekl encode IMAGE -o LATENTS`.

use ndarray::Array4;
use serde_json::json;
use vaekl::{Config, Generator, Parts};

use super::context::Context;
use crate::args::{Encode, Posterior};
use crate::engine::{Engine, Need};
use crate::failure::{Failure, Result};
use crate::latents::{self, Kind, LatentsFormat, Written};
use crate::output::Target;
use crate::report::Report;
use crate::sample::{self, Input, Wanted};

pub(super) fn run(context: &Context<'_>, arguments: &Encode) -> Result<()> {
    let format = LatentsFormat::of(&arguments.output)?;
    let kind = kind(arguments, format)?;
    let mut target = Target::create_as(&arguments.output, format)?;
    let mut engine = Engine::open(context.options, &context.interrupt, Parts::Encoder)?;
    let patch = check_model(arguments, engine.config())?;
    let config = engine.config().clone();
    let fits = |need: &Need| engine.reserve(&arguments.image, need);
    let wanted = Wanted { rows: true, patch };
    let (input, remark) = sample::open(&arguments.image, &config, wanted, fits)?;
    if let Some(remark) = remark {
        context.remark(&remark);
    }

    let (height, width, (encoded, encode_s)) = match input {
        Input::Array(input) => {
            let (_, _, height, width) = input.dim();
            (height, width, engine.encode(&arguments.image, input.view())?)
        }
        Input::Rows(rows, height, width) => {
            (height, width, engine.encode_rows(&arguments.image, *rows, height, width)?)
        }
    };
    let seed = arguments.seed.unwrap_or(0);
    let (name, mut latents): (_, Array4<f32>) = match arguments.posterior {
        Posterior::Mode => ("latents", encoded.mode().to_owned()),
        Posterior::Sample => ("latents", encoded.sample(&mut Generator::new(seed))),
        Posterior::Moments => {
            let posterior = encoded.posterior().ok_or_else(|| no_posterior(engine.config()))?;
            ("moments", posterior.moments().to_owned())
        }
    };
    if arguments.scaled {
        engine.scale(latents.view_mut())?;
    }
    if patch > 1 {
        latents = engine.config().patchify_latents(latents.view())?;
    }

    let label = engine.label(kind);
    latents::write(&mut target, &Written { latents: latents.view(), name, label: &label })?;
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
    report.set("latents", kind.name());
    report.set("patch_size", patch);
    report.set("format", format.name());
    report.set_output(std::slice::from_ref(&arguments.output));
    let text = format!(
        "{}: {name} {:?}, {} in {}, encode {encode_s:.2} s, {}",
        arguments.output.display(),
        latents.shape(),
        kind.name(),
        format.name(),
        engine.summary()
    );
    context.finish(report, context.options.model.as_deref(), &text)
}

/// Fails if the model does not have what the options ask for; the side of the patches to write.
fn check_model(arguments: &Encode, config: &Config) -> Result<usize> {
    if arguments.posterior == Posterior::Moments && config.family.tiny().is_some() {
        return Err(no_posterior(config));
    }
    match (arguments.patches, config.patch_size()) {
        (false, _) => Ok(1),
        (true, 1) => {
            let found = config.family.name();
            let message = format!("--patches: an AutoencoderKLFlux2 expected, {found} found");
            Err(Failure::Usage(message))
        }
        (true, patch) => Ok(patch),
    }
}

fn no_posterior(config: &Config) -> Failure {
    let family = config.family.name();
    Failure::Usage(format!("--posterior moments: an {family} has no posterior"))
}

/// What is to be written, if the options make sense.
fn kind(arguments: &Encode, format: LatentsFormat) -> Result<Kind> {
    let kind = match (arguments.posterior, arguments.scaled) {
        (Posterior::Moments, true) => {
            return Err(Failure::Usage("--scaled is for latents, not for moments".into()));
        }
        (Posterior::Moments, false) => Kind::Moments,
        (_, true) => Kind::Scaled,
        (_, false) => Kind::Raw,
    };
    if arguments.seed.is_some() && arguments.posterior != Posterior::Sample {
        return Err(Failure::Usage("--seed needs --posterior sample".into()));
    }
    if format == LatentsFormat::Latent && kind != Kind::Raw {
        return Err(Failure::Usage(format!(
            "ComfyUI's .latent is for raw latents, not for {} ones: write .safetensors or .npz",
            kind.name()
        )));
    }
    Ok(kind)
}
