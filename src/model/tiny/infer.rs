#![forbid(unsafe_code)]
//! Infers the configuration of a tiny autoencoder from shapes.

use crate::base::error::{Error, Result};
use crate::checkpoint::KeyLayout;
use crate::model::config::{Config, Family, TinyConfig, TinyVariant};
use crate::model::guess::Guess;
use crate::model::shapes::Shapes;

/// Most modules of a half, against absurd files.
const MOST_MODULES: usize = 256;

/// Latent channels of the tiny autoencoders of FLUX.2 and of Sana.
const LATENTS_32: usize = 32;

/// A module with weights.
struct Module {
    index: usize,
    kind: Kind,
    /// Channels of its input and of its output.
    from: usize,
    to: usize,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Conv,
    Block { pools: bool },
}

/// What a half tells.
struct Half {
    from: usize,
    to: usize,
    widths: Vec<usize>,
    blocks: Vec<usize>,
    pools: bool,
    /// Whether it begins with two convolutions of stride 2.
    stem: bool,
}

/// Infers the configuration from the shapes of a checkpoint's tensors. The rest is guessed and
/// added to `guessed`.
///
/// # Errors
/// `Model`, naming the tensor, if the tensors are not those of an `AutoencoderTiny`, or contradict
/// each other.
pub(in crate::model) fn infer(
    shapes: Shapes<'_>,
    layout: KeyLayout,
    guessed: &mut Vec<Guess>,
) -> Result<Config> {
    let encoder = shapes.has("encoder.layers.0.weight").then(|| encoder(shapes)).transpose()?;
    let decoder = shapes.has("decoder.layers.0.weight").then(|| decoder(shapes)).transpose()?;
    let mut tiny = TinyConfig::default();
    let halves = [&encoder, &decoder];
    let pools = halves.iter().any(|half| half.as_ref().is_some_and(|half| half.pools));
    let doublings = decoder.as_ref().map(|half| half.blocks.len() - 1);
    let stem = encoder.as_ref().map_or(doublings == Some(5), |half| half.stem);
    tiny.variant = match (pools, stem) {
        (true, _) => TinyVariant::Flux2,
        (_, true) => TinyVariant::F32,
        _ => TinyVariant::Plain,
    };
    let stem = tiny.stem_halvings();
    // Half a model says nothing of the other half, which then mirrors it.
    let reversed = |all: &[usize]| all.iter().rev().copied().collect::<Vec<_>>();
    let (latents, pictures) = match (&encoder, &decoder) {
        (Some(encoder), Some(decoder)) => {
            if encoder.to != decoder.from {
                return Err(Error::model(format!(
                    "encoder and decoder differ: {} latent channels, and {}",
                    encoder.to, decoder.from
                )));
            }
            tiny.encoder_block_out_channels.clone_from(&encoder.widths);
            tiny.num_encoder_blocks.clone_from(&encoder.blocks);
            tiny.decoder_block_out_channels.clone_from(&decoder.widths);
            tiny.num_decoder_blocks.clone_from(&decoder.blocks);
            (encoder.to, (encoder.from, decoder.to))
        }
        (None, Some(decoder)) => {
            tiny.encoder_block_out_channels = reversed(&decoder.widths).split_off(stem);
            tiny.num_encoder_blocks = reversed(&decoder.blocks).split_off(stem);
            tiny.decoder_block_out_channels.clone_from(&decoder.widths);
            tiny.num_decoder_blocks.clone_from(&decoder.blocks);
            (decoder.from, (decoder.to, decoder.to))
        }
        (Some(encoder), None) => {
            tiny.encoder_block_out_channels.clone_from(&encoder.widths);
            tiny.num_encoder_blocks.clone_from(&encoder.blocks);
            let stages = encoder.blocks.len() + stem;
            tiny.decoder_block_out_channels = reversed(&encoder.widths);
            tiny.decoder_block_out_channels.resize(stages, encoder.widths[0]);
            tiny.num_decoder_blocks = reversed(&encoder.blocks);
            tiny.num_decoder_blocks.resize(stages, encoder.blocks[0]);
            (encoder.to, (encoder.from, encoder.from))
        }
        (None, None) => return Err(none("encoder.layers.0.weight")),
    };
    let mut config = Config::of(Family::Tiny(TinyConfig::default()));
    config.latent_channels = latents;
    (config.in_channels, config.out_channels) = pictures;
    if config.latent_channels == LATENTS_32 && tiny.variant == TinyVariant::Plain {
        return Err(Error::model(format!(
            "tensor {}.pool.0.weight is missing: the tiny autoencoder of FLUX.2, with 32 latent \
             channels, has it; a model that has none needs a configuration",
            if decoder.is_some() { "decoder.layers.2" } else { "encoder.layers.11" }
        )));
    }
    // TAESD's own files have it by definition.
    if layout == KeyLayout::Diffusers {
        guessed.push(Guess::new(
            "act_fn",
            tiny.act_fn.name(),
            "shapes do not tell, all published models of the family have it",
        ));
    }
    config.family = Family::Tiny(tiny);
    config.validate()?;
    Ok(config)
}

/// The error for a tensor that no `AutoencoderTiny` has, or that is missing.
fn none(tensor: &str) -> Error {
    Error::model(format!("tensor {tensor} does not fit the layers of an AutoencoderTiny (TAESD)"))
}

/// The modules with weights of a half, in order.
fn modules(shapes: Shapes<'_>, half: &str) -> Result<Vec<Module>> {
    let mut modules = Vec::new();
    for index in 0..MOST_MODULES {
        let name = format!("{half}.layers.{index}");
        let (conv, first) = (format!("{name}.weight"), format!("{name}.conv.0.weight"));
        let (tensor, kind) = if shapes.has(&conv) {
            (conv, Kind::Conv)
        } else if shapes.has(&first) {
            let pools = shapes.first(&format!("{name}.pool.")).is_some();
            (first, Kind::Block { pools })
        } else {
            continue;
        };
        let (from, to) = (shapes.axis(&tensor, 1)?, shapes.axis(&tensor, 0)?);
        modules.push(Module { index, kind, from, to });
    }
    Ok(modules)
}

/// Reads the stages behind the first modules: blocks, and convolutions that begin the next stage,
/// each behind `gap` modules without weights. The last convolution is the end.
fn stages(half: &str, modules: &[Module], first: usize, gap: usize) -> Result<Half> {
    let misfit = |module: &Module| none(&format!("{half}.layers.{}.weight", module.index));
    let (Some(start), Some(before)) = (modules.first(), modules.get(first - 1)) else {
        return Err(none(&format!("{half}.layers.0.weight")));
    };
    let (mut widths, mut blocks, mut pools) = (vec![before.to], vec![0], false);
    for (i, module) in modules.iter().enumerate().skip(first) {
        let stage = blocks.len() - 1;
        if module.from != widths[stage] {
            return Err(misfit(module));
        }
        match module.kind {
            Kind::Block { pools: pooled } => {
                blocks[stage] += 1;
                pools |= pooled;
            }
            Kind::Conv if i + 1 == modules.len() => {
                let (from, to, stem) = (start.from, module.to, false);
                return Ok(Half { from, to, widths, blocks, pools, stem });
            }
            Kind::Conv => {
                if module.index != modules[i - 1].index + 1 + gap {
                    return Err(misfit(module));
                }
                widths.push(module.to);
                blocks.push(0);
            }
        }
    }
    Err(none(&format!("{half}.layers.{}.weight", start.index)))
}

fn encoder(shapes: Shapes<'_>) -> Result<Half> {
    let modules = modules(shapes, "encoder")?;
    // Two convolutions with activations between them begin the variant of 32 pixels a latent.
    let stem = matches!(&modules[..], [a, b, ..] if a.kind == Kind::Conv && b.kind == Kind::Conv
        && (a.index, b.index) == (0, 2));
    let first = if stem { 2 } else { 1 };
    Ok(Half { stem, ..stages("encoder", &modules, first, 0)? })
}

fn decoder(shapes: Shapes<'_>) -> Result<Half> {
    stages("decoder", &modules(shapes, "decoder")?, 1, 1)
}
