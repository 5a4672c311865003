#![forbid(unsafe_code)]
//! The window of a tile: its position in an activation that has a halo around it.

use crate::backend::Region;

/// One side of a tile, in pixels of the current activation. At the picture's edge there is no halo
/// but padding, as for the whole picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Span {
    /// Pixels of the halo before the tile.
    pub(crate) before: usize,
    /// Pixels of the tile.
    pub(crate) length: usize,
    /// Pixels of the halo after it.
    pub(crate) after: usize,
}

impl Span {
    /// Pixels of the activation.
    pub(crate) fn total(self) -> usize {
        self.before + self.length + self.after
    }

    fn doubled(self) -> Self {
        Self { before: 2 * self.before, length: 2 * self.length, after: 2 * self.after }
    }

    /// The span after the resolution is halved. Only at the picture's end is anything odd.
    fn halved(self) -> Self {
        let half = |length: usize| length.div_ceil(2);
        Self { before: self.before / 2, length: half(self.length), after: half(self.after) }
    }

    /// This span with the halo trimmed to at most `halo` pixels.
    fn trimmed(self, halo: usize) -> Self {
        Self { before: self.before.min(halo), after: self.after.min(halo), ..self }
    }
}

/// A tile and its halo.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Window {
    pub(crate) rows: Span,
    pub(crate) columns: Span,
}

impl Window {
    /// The region of the tile in the activation.
    pub(crate) fn core(&self) -> Region {
        Region {
            top: self.rows.before,
            left: self.columns.before,
            height: self.rows.length,
            width: self.columns.length,
        }
    }

    /// The window after the resolution is doubled.
    pub(crate) fn doubled(&self) -> Self {
        Self { rows: self.rows.doubled(), columns: self.columns.doubled() }
    }

    /// The window after the resolution is halved.
    pub(crate) fn halved(&self) -> Self {
        Self { rows: self.rows.halved(), columns: self.columns.halved() }
    }

    /// The region left after trimming the halo to at most `halo` pixels, and its window.
    pub(crate) fn trimmed(&self, halo: usize) -> (Region, Self) {
        let window = Self { rows: self.rows.trimmed(halo), columns: self.columns.trimmed(halo) };
        let region = Region {
            top: self.rows.before - window.rows.before,
            left: self.columns.before - window.columns.before,
            height: window.rows.total(),
            width: window.columns.total(),
        };
        (region, window)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_follows_crops_and_doublings() {
        let rows = Span { before: 13, length: 8, after: 0 };
        let columns = Span { before: 3, length: 5, after: 13 };
        let (region, window) = Window { rows, columns }.trimmed(7);
        assert_eq!(region, Region { top: 6, left: 0, height: 15, width: 15 });
        assert_eq!(window.core(), Region { top: 7, left: 3, height: 8, width: 5 });
        let doubled = window.doubled();
        assert_eq!(doubled.core(), Region { top: 14, left: 6, height: 16, width: 10 });
        assert_eq!((doubled.rows.total(), doubled.columns.total()), (30, 30));
    }
}
