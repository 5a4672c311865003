#![forbid(unsafe_code)]
//! The blocks of `AutoencoderTiny`: convolutions and activations, of pictures in [0, 1].

use super::Blocks;
use crate::backend::{self, Act, Backend, Epilogue, Map, Norm, Prologue, Resample, Slot};
use crate::base::error::Result;
use crate::base::storage::Storage;
use crate::model::weights::Conv;
use crate::model::weights::tiny::{Block, POOL_EPSILON, POOL_GROUPS, Pool};
use crate::model::window::Window;

/// Where a half of the network begins and ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::model) enum Edge {
    None,
    /// The first layer, on latents, which are clamped softly to [-3, 3].
    Latents,
    /// The first layer, on a picture, which is mapped from [-1, 1] to [0, 1].
    Picture,
    /// The last layer, to latents.
    ToLatents,
    /// The last layer, to a picture, which is mapped from [0, 1] to [-1, 1].
    ToPicture,
}

impl Edge {
    fn prologue(self) -> Option<Prologue<'static>> {
        match self {
            Self::Latents => {
                Some(Prologue::Map(Map { factor: 1.0, offset: 0.0, act: Some(Act::SoftClamp) }))
            }
            Self::Picture => Some(Prologue::Map(Map { factor: 0.5, offset: 0.5, act: None })),
            Self::None | Self::ToLatents | Self::ToPicture => None,
        }
    }
}

impl<B: Backend> Blocks<'_, B> {
    /// A convolution at `edge`, then the activation function if `act`.
    pub(in crate::model) fn tiny_conv(
        &mut self,
        conv: &Conv,
        act: Option<Act>,
        resample: Resample,
        edge: Edge,
        input: Slot,
    ) -> Result<Slot> {
        let filters = [conv.filter()];
        let (epilogue, storage) = match (edge, act) {
            (Edge::ToPicture, _) => (Epilogue::Signed, Storage::F32),
            (Edge::ToLatents, _) => (Epilogue::None, Storage::F32),
            (_, Some(act)) => (Epilogue::Act(act), self.settings.storage),
            (_, None) => (Epilogue::None, self.settings.storage),
        };
        let op = self.op(&filters, edge.prologue(), resample);
        let out = self.consume(backend::Conv { epilogue, ..op }, input, storage)?;
        self.window = match resample {
            Resample::Double => self.window.as_ref().map(Window::doubled),
            Resample::Halve | Resample::HalvePadded => self.window.as_ref().map(Window::halved),
            Resample::Keep => self.window,
        };
        Ok(out)
    }

    /// The activation function of the configuration.
    pub(in crate::model) fn act(&self) -> Act {
        self.settings.act
    }

    /// `relu(conv3(act(conv2(act(conv1(x))))) + skip(x))`. The residual is added in place: three
    /// activations are alive.
    pub(in crate::model) fn tiny_block(&mut self, block: &Block, input: Slot) -> Result<Slot> {
        let input = match &block.pool {
            Some(pool) => self.pool(pool, input)?,
            None => input,
        };
        let (storage, act) = (self.settings.storage, Epilogue::Act(self.settings.act));
        let [first, second, third] = [0, 1, 2].map(|i| [block.convs[i].filter()]);
        let op = self.op(&first, None, Resample::Keep);
        let hidden = self.produce(backend::Conv { epilogue: act, ..op }, &input, storage)?;
        let out = match &block.skip {
            None => input,
            Some(skip) => {
                let filters = [skip.filter()];
                let op = self.op(&filters, None, Resample::Keep);
                self.consume(op, input, storage)?
            }
        };
        let op = self.op(&second, None, Resample::Keep);
        let hidden = self.consume(backend::Conv { epilogue: act, ..op }, hidden, storage)?;
        let op = self.op(&third, None, Resample::Keep);
        let op = backend::Conv { residual: true, epilogue: Epilogue::Act(Act::Relu), ..op };
        self.backend.conv(&op, &hidden, &out)?;
        self.backend.free(hidden);
        Ok(out)
    }

    /// `x + project(relu(norm(expand(x))))`, in place.
    fn pool(&mut self, pool: &Pool, input: Slot) -> Result<Slot> {
        let filters = [pool.expand.filter()];
        let op = self.op(&filters, None, Resample::Keep);
        let op = backend::Conv { groups: POOL_GROUPS, ..op };
        let wide = self.produce(op, &input, self.settings.storage)?;
        let norm = Norm {
            gamma: &pool.norm.gamma,
            beta: &pool.norm.beta,
            groups: POOL_GROUPS,
            epsilon: POOL_EPSILON,
            act: Some(Act::Relu),
            core: self.window.as_ref().map(Window::core),
        };
        let filters = [pool.project.filter()];
        let op = self.op(&filters, Some(Prologue::Norm(norm)), Resample::Keep);
        self.backend.conv(&backend::Conv { residual: true, ..op }, &wide, &input)?;
        self.backend.free(wide);
        Ok(input)
    }
}
