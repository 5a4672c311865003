//! `vaekl info [MODEL]`.

use std::time::Instant;

use serde_json::{Map, Value, json};
use vaekl::{Config, Guess, Level, ModelInfo, Parts, Plan};

use super::context::Context;
use crate::args::Info;
use crate::engine;
use crate::failure::Result;
use crate::mask;
use crate::report::{self, Report, mib};

/// Side of the picture that the memory is told for, unless the model's factor is larger.
const SIDE: usize = 512;

/// A model as the checkpoint has it, and what there is to say.
struct Facts {
    name: String,
    parts: &'static str,
    info: ModelInfo,
    family: FamilyFacts,
    config: Map<String, Value>,
    side: usize,
    encode: Option<Plan>,
    decode: Option<Plan>,
}

/// What a family's models can do.
struct FamilyFacts {
    /// The variant of a tiny one, by the name that TAESD gives it.
    variant: Option<&'static str>,
    latent_channels: usize,
    /// Side of a latent in pixels.
    downscale: usize,
    /// Whether the encoder gives a posterior; otherwise it gives latents.
    posterior: bool,
    /// Whether the decoder takes a mask.
    masks: bool,
    /// Side of the patches that scaled latents may be in.
    patch_size: usize,
}

impl FamilyFacts {
    fn of(config: &Config) -> Self {
        Self {
            variant: config.family.tiny().and_then(|tiny| tiny.variant.name()),
            latent_channels: config.latent_channels,
            downscale: config.downscale(),
            posterior: config.family.tiny().is_none(),
            masks: mask::takes(config),
            patch_size: config.patch_size(),
        }
    }

    /// What there is to say of the latents, for a person.
    fn latents(&self) -> String {
        let Self { latent_channels: channels, downscale, patch_size, .. } = *self;
        let posterior = if self.posterior { "a posterior" } else { "no posterior" };
        let patches = match patch_size {
            1 => String::new(),
            side => format!(", scaled ones in patches of {side}x{side} too"),
        };
        format!("{channels} channels, one for {downscale}x{downscale} pixels, {posterior}{patches}")
    }
}

pub(super) fn run(context: &Context<'_>, arguments: &Info) -> Result<()> {
    let path = arguments.path.as_deref().or(context.options.model.as_deref());
    let load = Instant::now();
    let model = engine::open_model(context.options, path, Parts::Present)?;
    let parts = model.parts();
    let load_s = load.elapsed().as_secs_f64();
    let options = engine::session_options(context.options);
    let side = SIDE.max(model.config().downscale());
    let latent_side = side / model.config().downscale();
    let encode = || vaekl::plan_encode(&model, &options, side, side);
    let decode = || vaekl::plan_decode(&model, &options, latent_side, latent_side);
    let facts = Facts {
        name: path.map_or("embedded".into(), |path| path.display().to_string()),
        parts: report::parts(parts),
        info: model.info().clone(),
        family: FamilyFacts::of(model.config()),
        config: serde_json::from_str(&model.config().to_json()).expect("to_json gives an object"),
        side,
        encode: (parts != Parts::Decoder).then(encode).transpose()?,
        decode: (parts != Parts::Encoder).then(decode).transpose()?,
    };
    let mut report = facts.report();
    report.set_seconds("load_s", load_s);
    report.set("cpu_level", Level::detect()?.name());
    context.finish_lines(report, path, &facts.lines())
}

impl Facts {
    fn report(&self) -> Report {
        let info = &self.info;
        let mut report = Report::default();
        report.set("family", info.family.as_str());
        report.set("family_source", info.family_source.as_str());
        report.set("family_variant", self.family.variant);
        report.set("latent_channels", self.family.latent_channels);
        report.set("downscale", self.family.downscale);
        report.set("posterior", self.family.posterior);
        report.set("masks", self.family.masks);
        report.set("patch_size", self.family.patch_size);
        report.set("parts", self.parts);
        report.set("parameters", info.parameters);
        report.set("weight_bytes", info.weight_bytes);
        report.set("tensors", info.tensors);
        report.set("foreign_tensors", info.foreign_tensors);
        report.set("fingerprint", info.fingerprint.as_str());
        report.set("format", info.format.as_str());
        report.set("mapped", info.mapped);
        report.set("layout", info.layout.as_str());
        report.set("variant", info.variant.clone());
        report.set("config_source", info.config_source.as_str());
        report.set("guessed", info.guessed.iter().map(Guess::to_string).collect::<Vec<_>>());
        report.set("unused_tensors", info.unused_tensors.clone());
        let dtypes = info.dtypes.iter().map(|(dtype, &count)| (dtype.to_string(), count.into()));
        report.set("dtypes", dtypes.collect::<Map<String, Value>>());
        report.set("config", self.config.clone());
        report.set("width", self.side);
        report.set("height", self.side);
        for (name, plan) in [("encode", &self.encode), ("decode", &self.decode)] {
            let plan = plan.as_ref().map(|plan| {
                json!({
                    "workspace_bytes": plan.workspace_bytes,
                    "peak_bytes": plan.peak_bytes,
                    "multiply_adds": plan.multiply_adds,
                    "exact": plan.exact,
                })
            });
            report.set(name, plan);
        }
        report
    }

    fn lines(&self) -> Vec<String> {
        let info = &self.info;
        let dtypes: Vec<_> =
            info.dtypes.iter().map(|(dtype, count)| format!("{count} {dtype}")).collect();
        let access = if info.mapped { "mapped" } else { "read a layer at a time" };
        let variant = self.family.variant.map_or(String::new(), |name| format!(" {name}"));
        let masks = if self.family.masks { "taken" } else { "not taken" };
        let mut lines = vec![
            ("model", self.name.clone()),
            ("family", format!("{}{variant} ({})", info.family, info.family_source)),
            ("latents", self.family.latents()),
            ("masks", masks.into()),
            ("parts", self.parts.into()),
            ("parameters", format!("{} in {} tensors", info.parameters, info.tensors)),
            ("dtypes", dtypes.join(", ")),
            ("fingerprint", info.fingerprint.clone()),
            ("format", format!("{}, {access}", info.format)),
            ("layout", info.layout.clone()),
            ("foreign", format!("{} tensors, left alone", info.foreign_tensors)),
            ("weights", mib(info.weight_bytes)),
        ];
        for (name, plan) in [("encode", &self.encode), ("decode", &self.decode)] {
            if let Some(plan) = plan {
                let workspace = mib(plan.workspace_bytes);
                let work = plan.multiply_adds as f64 / 1e9;
                let size = format!("{0}x{0}", self.side);
                let text = format!("{size}: {workspace} workspace, {work:.1} G multiply-adds");
                lines.push((name, text));
            }
        }
        lines.push(("config", info.config_source.clone()));
        lines.extend(info.guessed.iter().map(|guess| ("guessed", guess.to_string())));
        lines.extend(info.unused_tensors.iter().map(|name| ("unused", name.clone())));
        let mut text: Vec<_> =
            lines.iter().map(|(name, value)| format!("{name:<12}{value}")).collect();
        text.extend(self.config.iter().map(|(name, value)| format!("  {name:<28}{value}")));
        text
    }
}
