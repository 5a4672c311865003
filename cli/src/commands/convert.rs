//! `vaekl convert [SRC] -o DST`.

use std::path::Path;

use serde_json::{Map, Value};
use vaekl::{Guess, KeyLayout, Parts, SaveOptions};

use super::context::Context;
use crate::args::{Convert, LayoutKind};
use crate::engine;
use crate::failure::{Failure, Result};
use crate::report::{self, Report, mib};

/// Extensions of checkpoints that are read but not written, and of other files: a folder of such a
/// name would be a mistake.
const FILES: [&str; 10] =
    ["bin", "ckpt", "gguf", "json", "msgpack", "npy", "onnx", "pt", "pth", "sft"];

pub(super) fn run(context: &Context<'_>, arguments: &Convert) -> Result<()> {
    let output = &arguments.output;
    let to_file = is_file(output)?;
    check_output(output, to_file)?;
    let mut options = SaveOptions::default();
    options.dtype = context.options.dtype.map(engine::storage);
    options.max_shard_size = arguments.max_shard_size;
    options.layout = match arguments.layout {
        LayoutKind::Diffusers => KeyLayout::Diffusers,
        LayoutKind::Ldm => KeyLayout::Original,
    };
    let wrong = |rule| Err(Failure::Usage(format!("{rule}, {} found", output.display())));
    if to_file && options.max_shard_size.is_some() {
        return wrong("--max-shard-size: a folder expected as --output");
    }
    if !to_file && arguments.layout == LayoutKind::Ldm {
        return wrong("--layout ldm: a .safetensors file expected as --output");
    }

    let path = arguments.path.as_deref().or(context.options.model.as_deref());
    let model = engine::open_model(context.options, path, Parts::Present)?;
    let parts = model.parts();
    let info = model.info();
    if let (Some(path), false) = (path, context.options.quiet) {
        engine::remark_on(path, &model);
    }
    let variant = model.config().family.tiny().and_then(|tiny| tiny.variant.name());
    if let (Some(variant), LayoutKind::Diffusers) = (variant, arguments.layout) {
        context.remark(&format!(
            "{}: diffusers' AutoencoderTiny has no variant {variant} (arch_variant in the \
             configuration): what is written opens here; diffusers leaves a part of it out, \
             and draws another picture",
            output.display()
        ));
    }
    let saved = context.interrupt.at_once(|| match to_file {
        true => model.save_file(output, &options),
        false => model.save_pretrained(output, &options),
    })??;

    let mut report = Report::default();
    report.set("output", output.to_string_lossy());
    let files: Vec<_> = saved.files.iter().map(|file| file.to_string_lossy()).collect();
    report.set("files", files);
    report.set("family", info.family.as_str());
    report.set("family_variant", variant);
    report.set("layout", layout(arguments.layout));
    report.set("parts", report::parts(parts));
    report.set("parameters", info.parameters);
    report.set("tensors", info.tensors);
    report.set("foreign_tensors", info.foreign_tensors);
    report.set("weight_bytes", saved.weight_bytes);
    let dtypes = saved.dtypes.iter().map(|(dtype, &count)| (dtype.to_string(), count.into()));
    report.set("dtypes", dtypes.collect::<Map<String, Value>>());
    report.set("config_source", info.config_source.as_str());
    report.set("guessed", info.guessed.iter().map(Guess::to_string).collect::<Vec<_>>());

    let dtypes: Vec<_> = saved.dtypes.keys().map(ToString::to_string).collect();
    let half = match parts {
        Parts::Both => String::new(),
        half => format!(" of the {} alone", report::parts(half)),
    };
    let foreign = match info.foreign_tensors {
        0 => String::new(),
        count => format!(", without {count} other tensors"),
    };
    let text = format!(
        "{}: {} tensors{half}, {} of {}, {} layout{foreign}",
        output.display(),
        info.tensors,
        mib(saved.weight_bytes),
        dtypes.join(" and "),
        layout(arguments.layout),
    );
    context.finish(report, path, &text)
}

/// Whether the output is a file, by its name.
fn is_file(output: &Path) -> Result<bool> {
    let extension = output.extension().unwrap_or_default().to_string_lossy().to_lowercase();
    if FILES.contains(&extension.as_str()) {
        let message = "a folder or a .safetensors file expected";
        return Err(Failure::Usage(format!("--output: {message}, {} found", output.display())));
    }
    Ok(extension == "safetensors")
}

/// Finds before the work what cannot be written.
fn check_output(output: &Path, to_file: bool) -> Result<()> {
    if to_file && output.is_dir() {
        return Err(Failure::at(output, "a .safetensors file expected, a folder found"));
    }
    if !to_file && output.exists() && !output.is_dir() {
        return Err(Failure::at(output, "a folder expected, a file found"));
    }
    Ok(())
}

fn layout(kind: LayoutKind) -> &'static str {
    match kind {
        LayoutKind::Diffusers => "diffusers",
        LayoutKind::Ldm => "original",
    }
}
