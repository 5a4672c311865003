#![forbid(unsafe_code)]
//! The network of a call: the blocks of a model for a direction, and the parts they are cut into.
//!
//! Floors above know directions, parts and shapes, but not the weights of a family, which
//! `family.rs` chooses.
//!
//! ```text
//! whole:  all blocks
//! front:  the blocks that need the whole picture: up to the last that attends, the first at least;
//!         none where all steps are local
//! rest:   the others, of all of what the front gives or of a tile with its halo
//! ```

use super::blocks::{Blocks, Masked, Settings};
use super::config::{Config, Family};
pub(crate) use super::family::Direction;
use super::halo::halos;
use super::open::Model;
use super::steps::{Block, Step};
use super::window::Window;
use crate::backend::{Backend, Resample, Slot};
use crate::base::error::{Error, Result};
use crate::base::storage::Storage;

/// The part of a network that a run executes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    Whole,
    /// The first part, which needs the whole picture.
    Front,
    /// The rest, on the whole picture or on a tile with a halo.
    Rest(Option<Window>),
}

/// The input of a run.
pub(crate) struct Input {
    pub(crate) slot: Slot,
    /// The masked picture of a decode with a mask.
    pub(crate) masked: Option<Masked>,
}

/// A network of a model: blocks of steps.
pub(crate) struct Network<'m> {
    direction: Direction,
    masked: bool,
    config: &'m Config,
    blocks: Vec<Block<'m>>,
}

impl Model {
    /// The network of `direction`.
    ///
    /// # Errors
    /// `Model` if the model was opened without it.
    pub(crate) fn network(&self, direction: Direction) -> Result<Network<'_>> {
        let blocks = self.weights().blocks(direction, false)?;
        Ok(Network { direction, masked: false, config: self.config(), blocks })
    }

    /// The decoder with a mask.
    ///
    /// # Errors
    /// `Model` if the model was opened without its decoder, `InvalidArgument` if its family takes
    /// no mask.
    pub(crate) fn masked_decoder(&self) -> Result<Network<'_>> {
        let (direction, config) = (Direction::Decode, self.config());
        let blocks = self.weights().blocks(direction, true)?;
        if !matches!(config.family, Family::Asymmetric(_)) {
            return Err(Error::invalid(format!(
                "mask: an AsymmetricAutoencoderKL expected, {} found",
                config.family.name()
            )));
        }
        Ok(Network { direction, masked: true, config, blocks })
    }
}

impl Network<'_> {
    /// Runs `part` of the network on `input`, and frees it.
    pub(crate) fn run<B: Backend>(
        &self,
        backend: &mut B,
        part: Part,
        settings: Settings,
        input: Input,
    ) -> Result<Slot> {
        let window = if let Part::Rest(window) = part { window } else { None };
        let mut blocks = Blocks::new(backend, settings, window, input.masked);
        let (steps, halos) = self.steps(part);
        let mut x = input.slot;
        for (step, halo) in steps.into_iter().zip(halos) {
            if let (true, Some(halo)) = (step.trims(), halo) {
                x = blocks.trim(x, halo)?;
            }
            x = step.run(&mut blocks, x)?;
        }
        Ok(x)
    }

    /// Whether the decode has a mask.
    pub(crate) fn masked(&self) -> bool {
        self.masked
    }

    /// Whether blocks need the whole picture.
    pub(crate) fn has_front(&self) -> bool {
        !self.steps(Part::Front).0.is_empty()
    }

    /// Whether the rest, in tiles, gives the values of the whole picture, to the bit.
    pub(crate) fn exact_in_tiles(&self) -> bool {
        let (steps, _) = self.steps(Part::Rest(None));
        !steps.is_empty() && steps.iter().all(|step| step.local())
    }

    /// The direction.
    pub(crate) fn direction(&self) -> Direction {
        self.direction
    }

    /// The family.
    pub(crate) fn family(&self) -> &Family {
        &self.config.family
    }

    /// Channels of a call's input.
    pub(crate) fn in_channels(&self) -> usize {
        match self.direction {
            Direction::Decode => self.config.latent_channels,
            Direction::Encode => self.config.in_channels,
        }
    }

    /// Channels of a call's output.
    pub(crate) fn out_channels(&self) -> usize {
        match self.direction {
            Direction::Decode => self.config.out_channels,
            Direction::Encode => self.config.encoded_channels(),
        }
    }

    /// Height, or width, of the output for an input of height, or width, `length`.
    pub(crate) fn output_length(&self, length: usize) -> usize {
        let factor = self.config.downscale();
        match self.direction {
            Direction::Decode => length.saturating_mul(factor),
            Direction::Encode => self.config.encoded_length(length),
        }
    }

    /// Side of a picture in pixels divided by the side of its latent.
    pub(crate) fn downscale(&self) -> usize {
        self.config.downscale()
    }

    /// Side, in latents, of the pictures that the model was trained on.
    pub(crate) fn sample_latents(&self) -> usize {
        self.config.sample_size.0 / self.config.downscale()
    }

    /// Channels and storage of the input of `part`.
    pub(crate) fn input(&self, part: Part, settings: Settings) -> (usize, Storage) {
        match (part, self.steps(part).0.first()) {
            (Part::Rest(_), Some(step)) if self.has_front() => {
                (step.in_channels(), settings.storage)
            }
            _ => (self.in_channels(), Storage::F32),
        }
    }

    /// The halo that the rest needs around a tile of the front's output, in pixels.
    pub(crate) fn halo(&self) -> usize {
        self.steps(Part::Rest(None)).1.first().copied().flatten().unwrap_or(0)
    }

    /// Side of the front's output divided by the side of its input.
    pub(crate) fn front_scale(&self) -> usize {
        let front = self.steps(Part::Front).0;
        1 << front.iter().filter(|step| step.resample() == Resample::Double).count()
    }

    /// The window in the rest's output for a tile of the front's output.
    pub(crate) fn picture_window(&self, window: Window) -> Window {
        let (steps, halos) = self.steps(Part::Rest(Some(window)));
        steps.iter().zip(halos).fold(window, |window, (step, halo)| {
            let window = match halo {
                Some(halo) if step.trims() => window.trimmed(halo).1,
                _ => window,
            };
            match step.resample() {
                Resample::Keep => window,
                Resample::Double => window.doubled(),
                Resample::Halve | Resample::HalvePadded => window.halved(),
            }
        })
    }

    /// The steps of `part`, and the halo of each in its input; `None` if it needs the whole
    /// picture.
    fn steps(&self, part: Part) -> (Vec<&Step<'_>>, Vec<Option<usize>>) {
        let attends = |block: &Block<'_>| block.iter().any(|step| step.reach(0).is_none());
        let local = |block: &Block<'_>| block.iter().all(Step::local);
        let front = match self.blocks.iter().rposition(attends) {
            Some(last) => last + 1,
            None if self.blocks.iter().all(local) => 0,
            None => 1,
        };
        let blocks = match part {
            Part::Whole => &self.blocks[..],
            Part::Front => &self.blocks[..front],
            Part::Rest(_) => &self.blocks[front..],
        };
        let steps: Vec<&Step<'_>> = blocks.iter().flatten().collect();
        let halos = halos(&steps);
        (steps, halos)
    }
}

#[cfg(test)]
mod tests {
    use super::super::window::Span;
    use super::*;

    #[test]
    fn halos_follow_from_the_blocks() {
        let model = Model::open("cli/model").unwrap();
        let network = model.network(Direction::Decode).unwrap();
        let (steps, halos) = network.steps(Part::Rest(None));
        // A pixel for each 3x3 convolution, half as many before a doubling; the last is the head's.
        let firsts: Vec<Option<usize>> = steps
            .iter()
            .zip(&halos)
            .filter(|(step, _)| matches!(step, Step::Double(_) | Step::Head(..)))
            .map(|(_, halo)| *halo)
            .collect();
        assert_eq!(firsts, [5, 4, 3, 1].map(Some));
        assert_eq!((halos[0], network.halo()), (Some(9), 9));
        // All that attends is in the front.
        let (_, halos) = network.steps(Part::Whole);
        assert_eq!(halos[0], None);

        let side = Span { before: network.halo(), length: 8, after: 0 };
        let window = network.picture_window(Window { rows: side, columns: side });
        let scale = network.downscale() / network.front_scale();
        // Three pixels are left at the last doubling.
        assert_eq!(window.rows, Span { before: 6, length: 8 * scale, after: 0 });
    }
}
