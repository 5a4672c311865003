#![forbid(unsafe_code)]
//! The masked picture of a decode by an `AsymmetricAutoencoderKL`.
//!
//! A small encoder gives an activation of the picture outside of the mask for each resolution of
//! the decoder. Before each level, and before the end, the decoder's activation takes its place
//! where the mask is 0. After diffusers' `MaskConditionDecoder`.

use super::Blocks;
use crate::backend::{self, Act, Backend, Blend, Map, Prologue, Resample, Slot};
use crate::base::error::Result;
use crate::model::weights::Conv;

impl<B: Backend> Blocks<'_, B> {
    /// Encodes the masked picture, if the run has one.
    pub(in crate::model) fn encode_condition(&mut self, layers: &[Conv]) -> Result<()> {
        let Some(mut condition) = self.condition.take() else { return Ok(()) };
        let Some(picture) = condition.picture.take() else {
            self.condition = Some(condition);
            return Ok(());
        };
        let mut unread = Some(picture);
        for (i, conv) in layers.iter().enumerate() {
            let filters = [conv.filter()];
            let resample = if conv.kernel == 4 { Resample::HalvePadded } else { Resample::Keep };
            // What is stored is before the activation function.
            let relu = Prologue::Map(Map { factor: 1.0, offset: 0.0, act: Some(Act::Relu) });
            let op = self.op(&filters, (i > 0).then_some(relu), resample);
            let op = backend::Conv { groups: 1, ..op };
            let storage = self.settings.storage;
            let out = match (unread.take(), condition.activations.last()) {
                (Some(picture), _) => self.consume(op, picture, storage)?,
                (None, Some(before)) => self.produce(op, before, storage)?,
                (None, None) => break,
            };
            condition.activations.push(out);
        }
        self.condition = Some(condition);
        Ok(())
    }

    /// Puts the condition in place of `input` where the mask is 0, if the run has a mask.
    pub(in crate::model) fn blend(&mut self, input: Slot) -> Result<Slot> {
        let Some(condition) = &mut self.condition else { return Ok(input) };
        let (Some(mask), Some(other)) = (&condition.mask, condition.activations.pop()) else {
            return Ok(input);
        };
        let groups = self.settings.groups;
        self.backend.blend(&Blend { other: &other, mask, groups }, &input)?;
        self.backend.free(other);
        if condition.activations.is_empty()
            && let Some(mask) = condition.mask.take()
        {
            self.backend.free(mask);
        }
        Ok(input)
    }
}
