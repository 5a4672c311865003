#![forbid(unsafe_code)]
//! The workspace of a call: which bytes of the arena, or of the scratch file, belong to which activation,
//! and when.

use std::ops::Range;

use crate::base::buffer::align_up;

/// A piece of workspace: an activation, or the scratch memory of one operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) bytes: usize,
    /// Operators already run when it is needed first.
    pub(crate) birth: usize,
    /// Operators already run when it is needed no more; `birth` or later.
    pub(crate) death: usize,
    /// Whether it is in the scratch file and not in the arena.
    pub(crate) stored: bool,
}

impl Entry {
    fn meets(&self, other: &Self) -> bool {
        self.birth <= other.death && other.birth <= self.death
    }
}

/// Where each entry stands in the arena or in the scratch file.
#[derive(Clone, Debug, Default)]
pub(crate) struct Layout {
    ranges: Vec<Range<usize>>,
    bytes: usize,
    stored_bytes: usize,
}

impl Layout {
    /// Places `entries` so that no two that live at the same time overlap: the largest first, each at
    /// the lowest free offset. For the few dozen entries of an autoencoder that is optimal or near it.
    pub(crate) fn pack(entries: &[Entry]) -> Self {
        let mut order: Vec<usize> = (0..entries.len()).collect();
        order.sort_by_key(|&i| (std::cmp::Reverse(entries[i].bytes), i));
        let mut ranges = vec![0..0; entries.len()];
        let mut placed: Vec<usize> = Vec::with_capacity(entries.len());
        for i in order {
            let mut taken: Vec<Range<usize>> = placed
                .iter()
                .filter(|&&j| entries[i].stored == entries[j].stored)
                .filter(|&&j| entries[i].meets(&entries[j]))
                .map(|&j| ranges[j].clone())
                .collect();
            taken.sort_by_key(|range| range.start);
            let size = align_up(entries[i].bytes);
            let mut start = 0;
            for range in taken {
                if range.start >= start + size {
                    break;
                }
                start = start.max(range.end);
            }
            ranges[i] = start..start + size;
            placed.push(i);
        }
        let end = |stored: bool| {
            let ends = entries.iter().zip(&ranges).filter(|(entry, _)| entry.stored == stored);
            ends.map(|(_, range)| range.end).max().unwrap_or(0)
        };
        let (bytes, stored_bytes) = (end(false), end(true));
        Self { ranges, bytes, stored_bytes }
    }

    /// Bytes of the arena.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Bytes of the scratch file.
    pub(crate) fn stored_bytes(&self) -> usize {
        self.stored_bytes
    }

    /// The bytes of entry `id`, which is `bytes` long. `None` when the plan has no such entry: the run does
    /// not follow its plan.
    pub(crate) fn range(&self, id: usize, bytes: usize) -> Option<Range<usize>> {
        let range = self.ranges.get(id)?;
        (align_up(bytes) == range.len()).then(|| range.start..range.start + bytes)
    }

    /// The first `bytes` of entry `id`.
    pub(crate) fn part(&self, id: usize, bytes: usize) -> Option<Range<usize>> {
        let range = self.ranges.get(id)?;
        (bytes <= range.len()).then(|| range.start..range.start + bytes)
    }
}

/// Splits `arena` into the given ranges, in their order. Panics when two of them overlap.
pub(crate) fn carve<const N: usize>(arena: &mut [u8], ranges: [Range<usize>; N]) -> [&mut [u8]; N] {
    let mut order: [usize; N] = std::array::from_fn(|i| i);
    order.sort_by_key(|&i| (ranges[i].start, ranges[i].end));
    let mut parts: [&mut [u8]; N] = std::array::from_fn(|_| Default::default());
    let (mut rest, mut at) = (arena, 0);
    for i in order {
        let (_, tail) = rest.split_at_mut(ranges[i].start - at);
        let (part, tail) = tail.split_at_mut(ranges[i].len());
        (parts[i], rest, at) = (part, tail, ranges[i].end);
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(bytes: usize, birth: usize, death: usize) -> Entry {
        Entry { bytes, birth, death, stored: false }
    }

    #[test]
    fn entries_that_meet_never_overlap_and_others_share() {
        let entries = [
            entry(640, 0, 2),
            entry(128, 0, 0),
            entry(640, 1, 3),
            entry(1280, 3, 5),
            entry(64, 2, 4),
            entry(100, 5, 6),
        ];
        let layout = Layout::pack(&entries);
        for (i, a) in entries.iter().enumerate() {
            for (j, b) in entries.iter().enumerate().skip(i + 1) {
                let (ra, rb) =
                    (layout.range(i, a.bytes).unwrap(), layout.range(j, b.bytes).unwrap());
                let disjoint = ra.end <= rb.start || rb.end <= ra.start;
                assert!(disjoint || !a.meets(b), "{i} and {j}");
            }
        }
        // The peak is at time 3: 640 + 1280 + 64.
        assert_eq!(layout.bytes(), 1984);
    }

    #[test]
    fn arena_and_scratch_file_are_packed_apart() {
        let stored = Entry { stored: true, ..entry(640, 0, 2) };
        let layout = Layout::pack(&[entry(128, 0, 2), stored, entry(64, 1, 1), stored]);
        assert_eq!((layout.bytes(), layout.stored_bytes()), (192, 1280));
    }

    #[test]
    fn a_run_that_leaves_its_plan_is_noticed() {
        let layout = Layout::pack(&[entry(640, 0, 1)]);
        assert!(layout.range(0, 640).is_some());
        assert!(layout.range(0, 700).is_none());
        assert!(layout.range(1, 640).is_none());
    }

    #[test]
    fn carving_follows_the_order_asked_for() {
        let mut arena: Vec<u8> = (0..10).collect();
        let [b, a] = carve(&mut arena, [6..9, 1..3]);
        assert_eq!((&*a, &*b), (&[1, 2][..], &[6, 7, 8][..]));
    }

    #[test]
    #[should_panic]
    fn carving_refuses_overlap() {
        carve(&mut [0; 10], [1..4, 3..6]);
    }
}
