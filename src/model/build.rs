#![forbid(unsafe_code)]
//! Builds the parameter tree: takes each tensor that the configuration requires and checks its
//! shape.

use std::collections::{BTreeMap, BTreeSet};

use super::config::Config;
use super::weights::{Attention, Conv, Decoder, Encoder, Level, Mid, Norm, Resnet};
use crate::base::encoding::Encoding;
use crate::base::error::{Error, Result};
use crate::checkpoint::{Checkpoint, Tensor};

/// Takes tensors by name and counts them.
pub(super) struct Builder<'a> {
    checkpoint: &'a Checkpoint,
    config: &'a Config,
    used: BTreeSet<String>,
}

/// Totals of the tree.
#[derive(Default)]
pub(super) struct Totals {
    pub(super) tensors: usize,
    pub(super) parameters: u64,
    pub(super) bytes: u64,
    pub(super) dtypes: BTreeMap<Encoding, usize>,
}

impl<'a> Builder<'a> {
    pub(super) fn new(checkpoint: &'a Checkpoint, config: &'a Config) -> Self {
        Self { checkpoint, config, used: BTreeSet::new() }
    }

    /// Whether the tensor `name` was taken.
    pub(super) fn used(&self, name: &str) -> bool {
        self.used.contains(name)
    }

    /// Totals of the tensors taken.
    pub(super) fn totals(&self) -> Totals {
        let mut totals = Totals::default();
        for tensor in self.used.iter().filter_map(|name| self.checkpoint.tensors.get(name)) {
            totals.tensors += 1;
            totals.parameters += tensor.len() as u64;
            totals.bytes += tensor.contents.len();
            *totals.dtypes.entry(tensor.dtype).or_default() += 1;
        }
        totals
    }

    /// The tensors taken, under diffusers' names.
    pub(super) fn tensors(&self) -> BTreeMap<String, Tensor> {
        let tensors = self.checkpoint.tensors.iter();
        let taken = tensors.filter(|(name, _)| self.used.contains(*name));
        taken.map(|(name, tensor)| (name.clone(), tensor.clone())).collect()
    }

    /// # Errors
    /// `Model`, naming the first tensor that is missing or has a wrong shape.
    pub(super) fn encoder(&mut self) -> Result<Encoder> {
        let config = self.config;
        let channels = &config.block_out_channels;
        let (first, last) = (channels[0], channels[channels.len() - 1]);
        let moments = 2 * config.latent_channels;
        let mut levels = Vec::with_capacity(channels.len());
        for (i, &out) in channels.iter().enumerate() {
            let name = format!("encoder.down_blocks.{i}");
            let from = channels[i.saturating_sub(1)];
            let resample = (i + 1 < channels.len()).then_some("downsamplers");
            levels.push(self.level(
                &name,
                from,
                out,
                config.layers_per_block,
                config.down_attention[i],
                resample,
            )?);
        }
        Ok(Encoder {
            conv_in: self.conv("encoder.conv_in", config.in_channels, first, 3)?,
            levels,
            mid: self.mid("encoder.mid_block", last)?,
            norm_out: self.norm("encoder.conv_norm_out", last)?,
            conv_out: self.conv("encoder.conv_out", last, moments, 3)?,
            quant_conv: config
                .use_quant_conv
                .then(|| self.conv("quant_conv", moments, moments, 1))
                .transpose()?,
        })
    }

    /// # Errors
    /// `Model`, naming the first tensor that is missing or has a wrong shape.
    pub(super) fn decoder(&mut self) -> Result<Decoder> {
        let config = self.config;
        let channels: Vec<usize> = config.block_out_channels.iter().rev().copied().collect();
        let (first, last) = (channels[0], channels[channels.len() - 1]);
        let latent = config.latent_channels;
        let post_quant_conv = config
            .use_post_quant_conv
            .then(|| self.conv("post_quant_conv", latent, latent, 1))
            .transpose()?;
        let conv_in = self.conv("decoder.conv_in", latent, first, 3)?;
        let mid = self.mid("decoder.mid_block", first)?;
        let mut levels = Vec::with_capacity(channels.len());
        for (i, &out) in channels.iter().enumerate() {
            let name = format!("decoder.up_blocks.{i}");
            let from = channels[i.saturating_sub(1)];
            let resample = (i + 1 < channels.len()).then_some("upsamplers");
            levels.push(self.level(
                &name,
                from,
                out,
                config.layers_per_block + 1,
                config.up_attention[i],
                resample,
            )?);
        }
        Ok(Decoder {
            post_quant_conv,
            conv_in,
            mid,
            levels,
            norm_out: self.norm("decoder.conv_norm_out", last)?,
            conv_out: self.conv("decoder.conv_out", last, config.out_channels, 3)?,
        })
    }

    fn level(
        &mut self,
        name: &str,
        from: usize,
        to: usize,
        layers: usize,
        attention: bool,
        resample: Option<&str>,
    ) -> Result<Level> {
        let mut level = Level { resnets: Vec::new(), attentions: Vec::new(), resample: None };
        for i in 0..layers {
            let from = if i == 0 { from } else { to };
            level.resnets.push(self.resnet(&format!("{name}.resnets.{i}"), from, to)?);
            if attention {
                level.attentions.push(self.attention(&format!("{name}.attentions.{i}"), to)?);
            }
        }
        if let Some(kind) = resample {
            level.resample = Some(self.conv(&format!("{name}.{kind}.0.conv"), to, to, 3)?);
        }
        Ok(level)
    }

    fn mid(&mut self, name: &str, channels: usize) -> Result<Mid> {
        let first = self.resnet(&format!("{name}.resnets.0"), channels, channels)?;
        let attention = self
            .config
            .mid_block_add_attention
            .then(|| self.attention(&format!("{name}.attentions.0"), channels))
            .transpose()?;
        let second = self.resnet(&format!("{name}.resnets.1"), channels, channels)?;
        Ok(Mid { resnets: [first, second], attention })
    }

    fn resnet(&mut self, name: &str, from: usize, to: usize) -> Result<Resnet> {
        Ok(Resnet {
            norm1: self.norm(&format!("{name}.norm1"), from)?,
            conv1: self.conv(&format!("{name}.conv1"), from, to, 3)?,
            norm2: self.norm(&format!("{name}.norm2"), to)?,
            conv2: self.conv(&format!("{name}.conv2"), to, to, 3)?,
            shortcut: (from != to)
                .then(|| self.conv(&format!("{name}.conv_shortcut"), from, to, 1))
                .transpose()?,
        })
    }

    fn attention(&mut self, name: &str, channels: usize) -> Result<Attention> {
        let mut linear = |part: &str| self.conv(&format!("{name}.{part}"), channels, channels, 1);
        let (query, key) = (linear("to_q")?, linear("to_k")?);
        let (value, out) = (linear("to_v")?, linear("to_out.0")?);
        let norm = self.norm(&format!("{name}.group_norm"), channels)?;
        Ok(Attention { norm, query, key, value, out })
    }

    fn norm(&mut self, name: &str, channels: usize) -> Result<Norm> {
        let gamma = self.vector(&format!("{name}.weight"), channels)?;
        let beta = self.vector(&format!("{name}.bias"), channels)?;
        Ok(Norm { name: name.to_owned(), gamma, beta })
    }

    fn conv(&mut self, name: &str, from: usize, to: usize, kernel: usize) -> Result<Conv> {
        let tensor = format!("{name}.weight");
        // A 1x1 convolution and a linear layer are the same, and files of all ages hold either
        // form.
        let weight = if kernel == 1 {
            self.take(&tensor, &[&[to, from, 1, 1], &[to, from, 1], &[to, from]])?
        } else {
            self.take(&tensor, &[&[to, from, kernel, kernel]])?
        };
        let bias = self.vector(&format!("{name}.bias"), to)?;
        let name = name.to_owned();
        Ok(Conv { name, weight, bias, in_channels: from, out_channels: to, kernel })
    }

    fn vector(&mut self, name: &str, length: usize) -> Result<Vec<f32>> {
        let tensor = self.take(name, &[&[length]])?;
        tensor.to_f32().map_err(|error| error.within(&self.checkpoint.source))
    }

    /// The tensor `name`, in one of `shapes`.
    fn take(&mut self, name: &str, shapes: &[&[usize]]) -> Result<Tensor> {
        let source = &self.checkpoint.source;
        let Some(tensor) = self.checkpoint.tensors.get(name) else {
            return Err(Error::model(format!(
                "{source}: tensor {name} {:?} is missing",
                shapes[0]
            )));
        };
        if !shapes.contains(&&tensor.shape[..]) {
            return Err(Error::model(format!(
                "{source}: tensor {}: {:?} expected, {:?} found",
                tensor.name, shapes[0], tensor.shape
            )));
        }
        self.used.insert(name.to_owned());
        Ok(tensor.clone())
    }
}
