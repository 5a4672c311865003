#![forbid(unsafe_code)]
//! Builds the parameter tree of `AutoencoderTiny`.
//!
//! The halves are sequences in which every module has a number, also those without weights. The
//! names are diffusers', `encoder.layers.N` and `decoder.layers.N`.

use crate::backend::Resample;
use crate::base::alloc;
use crate::base::error::Result;
use crate::model::builder::Builder;
use crate::model::config::{Config, TinyConfig, TinyVariant};
use crate::model::weights::tiny::{After, Block, Half, Layer, POOL_WIDTH, Pool};

/// Takes the tensors of a network.
pub(crate) struct TinyBuilder<'b, 'a> {
    builder: &'b mut Builder<'a>,
    config: &'b Config,
    tiny: &'b TinyConfig,
}

/// A half while it is built: the layers so far, and the number of the next module.
struct Sequence {
    half: &'static str,
    layers: Vec<Layer>,
    next: usize,
}

impl Sequence {
    fn new(half: &'static str) -> Self {
        Self { half, layers: Vec::new(), next: 0 }
    }

    /// The name of the next module.
    fn name(&mut self) -> String {
        self.next += 1;
        format!("{}.layers.{}", self.half, self.next - 1)
    }

    /// Adds a layer.
    fn add(&mut self, layer: Layer) -> Result<()> {
        alloc::push(&mut self.layers, layer, "layers")
    }

    /// Passes a module without weights.
    fn pass(&mut self) {
        self.next += 1;
    }
}

impl<'b, 'a> TinyBuilder<'b, 'a> {
    pub(crate) fn new(
        builder: &'b mut Builder<'a>,
        config: &'b Config,
        tiny: &'b TinyConfig,
    ) -> Self {
        Self { builder, config, tiny }
    }

    /// # Errors
    /// `Model`, naming the first tensor that is missing or has a wrong shape.
    pub(crate) fn encoder(&mut self) -> Result<Half> {
        let (tiny, mut sequence) = (self.tiny, Sequence::new("encoder"));
        let widths = &tiny.encoder_block_out_channels;
        let (mut from, stages) = (self.config.in_channels, widths.len());
        for (stage, (&width, &blocks)) in widths.iter().zip(&tiny.num_encoder_blocks).enumerate() {
            match (stage, tiny.variant) {
                (0, TinyVariant::F32) => {
                    for to in [width / 2, width] {
                        let conv = self.builder.conv(&sequence.name(), from, to, 3)?;
                        sequence.add(Layer::Conv(
                            conv.into(),
                            Resample::HalvePadded,
                            After::Relu,
                        ))?;
                        sequence.pass();
                        from = to;
                    }
                }
                (0, _) => {
                    let conv = self.builder.conv(&sequence.name(), from, width, 3)?;
                    sequence.add(Layer::Conv(conv.into(), Resample::Keep, After::Nothing))?;
                }
                _ => {
                    let conv = self.builder.plain_conv(&sequence.name(), from, width, 3)?;
                    sequence.add(Layer::Conv(
                        conv.into(),
                        Resample::HalvePadded,
                        After::Nothing,
                    ))?;
                }
            }
            from = width;
            self.blocks(&mut sequence, width, blocks, stage + 1 == stages)?;
        }
        let last = self.builder.conv(&sequence.name(), from, self.config.latent_channels, 3)?;
        Ok(Half { layers: sequence.layers, last })
    }

    /// # Errors
    /// `Model`, naming the first tensor that is missing or has a wrong shape.
    pub(crate) fn decoder(&mut self) -> Result<Half> {
        let (tiny, mut sequence) = (self.tiny, Sequence::new("decoder"));
        let widths = &tiny.decoder_block_out_channels;
        let latents = self.config.latent_channels;
        let conv = self.builder.conv(&sequence.name(), latents, widths[0], 3)?;
        sequence.add(Layer::Conv(conv.into(), Resample::Keep, After::Act))?;
        sequence.pass();
        for (stage, (&width, &blocks)) in widths.iter().zip(&tiny.num_decoder_blocks).enumerate() {
            self.blocks(&mut sequence, width, blocks, stage == 0)?;
            let Some(&next) = widths.get(stage + 1) else { continue };
            sequence.pass();
            let conv = self.builder.plain_conv(&sequence.name(), width, next, 3)?;
            sequence.add(Layer::Conv(conv.into(), Resample::Double, After::Nothing))?;
        }
        let width = widths[widths.len() - 1];
        let last = self.builder.conv(&sequence.name(), width, self.config.out_channels, 3)?;
        Ok(Half { layers: sequence.layers, last })
    }

    /// Adds the blocks of a stage. Those at the resolution of the latents are pooled in FLUX.2's
    /// variant.
    fn blocks(
        &mut self,
        sequence: &mut Sequence,
        width: usize,
        count: usize,
        at_latents: bool,
    ) -> Result<()> {
        for _ in 0..count {
            let name = sequence.name();
            let builder = &mut *self.builder;
            let mut conv = |i| builder.conv(&format!("{name}.conv.{i}"), width, width, 3);
            let convs = [conv(0)?, conv(2)?, conv(4)?];
            let pools = at_latents && self.tiny.variant == TinyVariant::Flux2;
            let pool = pools.then(|| self.pool(&name, width)).transpose()?;
            sequence.add(Layer::Block(Box::new(Block { convs, skip: None, pool })))?;
        }
        Ok(())
    }

    fn pool(&mut self, name: &str, width: usize) -> Result<Pool> {
        let wide = POOL_WIDTH * width;
        Ok(Pool {
            expand: self.builder.plain_conv(&format!("{name}.pool.0"), width, wide, 1)?,
            norm: self.builder.norm(&format!("{name}.pool.1"), wide)?,
            project: self.builder.plain_conv(&format!("{name}.pool.3"), wide, width, 1)?,
        })
    }
}
