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
    /// The halo of each step in its input; `None` if it or a later one needs the whole picture.
    halos: Vec<Option<usize>>,
}

impl Model {
    /// The network of `direction`.
    ///
    /// # Errors
    /// `Model` if the model was opened without it.
    pub(crate) fn network(&self, direction: Direction) -> Result<Network<'_>> {
        let blocks = self.weights().blocks(direction, false)?;
        let halos = halos(&blocks)?;
        Ok(Network { direction, masked: false, config: self.config(), blocks, halos })
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
        let halos = halos(&blocks)?;
        Ok(Network { direction, masked: true, config, blocks, halos })
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
        let mut x = input.slot;
        for (step, halo) in self.steps(part) {
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
        self.steps(Part::Front).next().is_some()
    }

    /// Whether the rest, in tiles, gives the values of the whole picture, to the bit.
    pub(crate) fn exact_in_tiles(&self) -> bool {
        let mut steps = self.steps(Part::Rest(None)).peekable();
        steps.peek().is_some() && steps.all(|(step, _)| step.local())
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
        match (part, self.steps(part).next()) {
            (Part::Rest(_), Some((step, _))) if self.has_front() => {
                (step.in_channels(), settings.storage)
            }
            _ => (self.in_channels(), Storage::F32),
        }
    }

    /// The halo that the rest needs around a tile of the front's output, in pixels.
    pub(crate) fn halo(&self) -> usize {
        self.steps(Part::Rest(None)).next().and_then(|(_, halo)| halo).unwrap_or(0)
    }

    /// Side of the front's output divided by the side of its input.
    pub(crate) fn front_scale(&self) -> usize {
        let doubles = |(step, _): &(&Step<'_>, _)| step.resample() == Resample::Double;
        1 << self.steps(Part::Front).filter(doubles).count()
    }

    /// The window in the rest's output for a tile of the front's output.
    pub(crate) fn picture_window(&self, window: Window) -> Window {
        self.steps(Part::Rest(Some(window))).fold(window, |window, (step, halo)| {
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
    /// picture. Those of the front, which is never cut, mean nothing.
    fn steps(&self, part: Part) -> impl Iterator<Item = (&Step<'_>, Option<usize>)> {
        let attends = |block: &Block<'_>| block.iter().any(|step| step.reach(0).is_none());
        let local = |block: &Block<'_>| block.iter().all(Step::local);
        let front = match self.blocks.iter().rposition(attends) {
            Some(last) => last + 1,
            None if self.blocks.iter().all(local) => 0,
            None => 1,
        };
        let before = self.blocks[..front].iter().map(Vec::len).sum();
        let (blocks, halos) = match part {
            Part::Whole => (&self.blocks[..], &self.halos[..]),
            Part::Front => (&self.blocks[..front], &self.halos[..before]),
            Part::Rest(_) => (&self.blocks[front..], &self.halos[before..]),
        };
        blocks.iter().flatten().zip(halos.iter().copied())
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
        let halos = &network.halos;
        // A pixel for each 3x3 convolution, half as many before a doubling; the last is the head's.
        let firsts: Vec<Option<usize>> = network
            .steps(Part::Rest(None))
            .filter(|(step, _)| matches!(step, Step::Double(_) | Step::Head(..)))
            .map(|(_, halo)| halo)
            .collect();
        assert_eq!(firsts, [5, 4, 3, 1].map(Some));
        assert_eq!(network.halo(), 9);
        // All that attends is in the front.
        assert_eq!(halos[0], None);

        let side = Span { before: network.halo(), length: 8, after: 0 };
        let window = network.picture_window(Window { rows: side, columns: side });
        let scale = network.downscale() / network.front_scale();
        // Three pixels are left at the last doubling.
        assert_eq!(window.rows, Span { before: 6, length: 8 * scale, after: 0 });
    }
}
