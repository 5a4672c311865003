//! The variants of Winograd convolution: the inputs and outputs of a tile, and the pairing of
//! transformed filters and points.

use std::ops::Range;

/// Where the transforms have the point 1.
pub(super) const ONE: usize = 1;

/// A variant for 3x3 filters, by the outputs and inputs of a tile in each direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Winograd {
    /// F(4x4, 3x3): 36 multiplications for 16 outputs.
    F4,
    /// F(6x6, 3x3): 64 multiplications for 36 outputs.
    F6,
    /// F(8x8, 3x3): 100 multiplications for 64 outputs.
    F8,
    /// A picture doubled by repetition. Even and odd output rows each see two input rows, through
    /// filters whose rows are sums of the 3x3 filter's, and likewise columns: four phases F(5x5,
    /// 2x2) on the picture as it was, which share the inputs of a tile. At the point 1 a filter is
    /// the sum of its taps, which even and odd phases have in common, and so their products: 126
    /// multiplications for 100 outputs instead of 144.
    Doubled,
    /// A picture halved by stride 2. In each direction, even inputs meet a filter's first and last
    /// tap, which is F(5, 2), and odd ones its middle tap, which is a product for each output: 121
    /// multiplications for 25 outputs instead of 225.
    Halved,
}

impl Winograd {
    /// Outputs of a tile, which is also the distance between tiles in the output.
    pub(crate) const fn outputs(self) -> usize {
        match self {
            Self::F4 => 4,
            Self::F6 => 6,
            Self::F8 => 8,
            Self::Doubled => 10,
            Self::Halved => 5,
        }
    }

    /// Inputs of a tile.
    pub(crate) const fn inputs(self) -> usize {
        match self {
            Self::F4 | Self::Doubled => 6,
            Self::F6 => 8,
            Self::F8 => 10,
            Self::Halved => 11,
        }
    }

    /// The distance between tiles in the input.
    pub(crate) const fn step(self) -> usize {
        match self {
            Self::F4 => 4,
            Self::F6 => 6,
            Self::F8 => 8,
            Self::Doubled => 5,
            Self::Halved => 10,
        }
    }

    /// Outputs of the first tile that lie before the picture: those of the odd phase begin one row
    /// earlier, as that makes both phases of a tile see the same inputs.
    pub(crate) const fn origin(self) -> usize {
        match self {
            Self::F4 | Self::F6 | Self::F8 | Self::Halved => 0,
            Self::Doubled => 1,
        }
    }

    /// Points, each with a matrix product of its own in each phase.
    pub(crate) const fn points(self) -> usize {
        self.inputs() * self.inputs()
    }

    /// Sets of filters, each with outputs of its own.
    pub(crate) const fn phases(self) -> usize {
        match self {
            Self::F4 | Self::F6 | Self::F8 | Self::Halved => 1,
            Self::Doubled => 4,
        }
    }

    /// Whether a phase is that of the odd rows and that of the odd columns. From a phase to the
    /// next only one of the two changes.
    pub(super) const fn odd(self, phase: usize) -> (bool, bool) {
        (phase >= 2, phase == 1 || phase == 2)
    }

    /// In the output, rows and columns between the outputs of a phase, and those before its first
    /// one.
    pub(crate) const fn phase(self, index: usize) -> (usize, (usize, usize)) {
        match self {
            Self::F4 | Self::F6 | Self::F8 | Self::Halved => (1, (0, 0)),
            Self::Doubled => {
                let (odd_row, odd_column) = self.odd(index);
                (2, (1 - odd_row as usize, 1 - odd_column as usize))
            }
        }
    }

    /// Values of a transformed filter in each direction: one for each input of a tile, but where
    /// the picture is halved all odd inputs meet the same.
    pub(crate) const fn values(self) -> usize {
        match self {
            Self::Halved => 7,
            _ => self.inputs(),
        }
    }

    /// Transformed filters of all phases.
    pub(crate) const fn filters(self) -> usize {
        let (phases, values) = (self.phases(), self.values());
        phases * values * values - (phases - 1) * values
    }

    /// Which transformed filter meets a point in a phase. None where the product is the same as in
    /// the phase before: at the point 1 of the direction in which the two differ.
    pub(crate) const fn filter(self, phase: usize, point: usize) -> Option<usize> {
        let (y, x) = (point / self.inputs(), point % self.inputs());
        let values = self.values();
        if let Self::Halved = self {
            let y = if y < values { y } else { values - 1 };
            let x = if x < values { x } else { values - 1 };
            return Some(y * values + x);
        }
        let (shared, before) = match phase {
            0 => return Some(point),
            2 => (y == ONE, if y > ONE { values } else { 0 }),
            _ => (x == ONE, y + (x > ONE) as usize),
        };
        let first = phase * self.points() - (phase - 1) * values;
        if shared { None } else { Some(first + point - before) }
    }

    /// The transformed filters that a row of points meets in a phase, one after the other.
    pub(crate) fn row(self, phase: usize, y: usize) -> Option<Range<usize>> {
        let first = self.filter(phase, y * self.inputs())?;
        let last = self.filter(phase, (y + 1) * self.inputs() - 1)?;
        Some(first..last + 1)
    }

    /// All rows of transformed filters: the phase, the row and what [`Winograd::row`] says.
    pub(crate) fn rows(self) -> impl Iterator<Item = (usize, usize, Range<usize>)> {
        (0..self.phases()).flat_map(move |phase| {
            let row = move |y| self.row(phase, y).map(|filters| (phase, y, filters));
            (0..self.values()).filter_map(row)
        })
    }

    /// Which of the [`Winograd::columns`] a row of transformed filters is made of.
    pub(crate) const fn column(self, phase: usize, y: usize) -> usize {
        let first =
            if self.odd(phase).0 && self.columns() > self.values() { self.values() } else { 0 };
        first + if y < self.values() { y } else { self.values() - 1 }
    }

    /// Rows of filters whose columns are transformed: those of even phases, then those of odd ones.
    pub(crate) const fn columns(self) -> usize {
        match self {
            Self::Doubled => 2 * self.values(),
            _ => self.values(),
        }
    }

    /// Products of all phases that are not shared.
    pub(crate) const fn products(self) -> usize {
        self.phases() * self.points() - (self.phases() - 1) * self.inputs()
    }
}
