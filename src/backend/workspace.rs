#![forbid(unsafe_code)]
//! The workspace of a call: the bytes of the arena or the scratch file that each activation uses,
//! and when.

use std::cmp::Reverse;
use std::ops::Range;
use std::sync::Arc;

use super::Slot;
use crate::base::alloc;
use crate::base::buffer::align_up;
use crate::base::error::{Error, Result};

/// A piece of the workspace: an activation, or the scratch memory of one operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) bytes: usize,
    /// Number of operators run before its first use.
    pub(crate) birth: usize,
    /// Number of operators run after its last use; at least `birth`.
    pub(crate) death: usize,
    /// Whether it is spilled: in the scratch file, not in the arena.
    pub(crate) spilled: bool,
    /// A tail with a shorter life, if any.
    pub(crate) tail: Option<Tail>,
}

/// The bytes of an entry from `first` on, not needed after `death`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tail {
    pub(crate) first: usize,
    pub(crate) death: usize,
}

impl Entry {
    /// The parts with one lifetime each: their bytes and their lifetimes.
    fn parts(&self) -> [(Range<usize>, Range<usize>); 2] {
        let size = align_up(self.bytes);
        match self.tail {
            None => [(0..size, self.birth..self.death + 1), (size..size, 0..0)],
            Some(Tail { first, death }) => {
                let first = align_up(first);
                [(0..first, self.birth..self.death + 1), (first..size, self.birth..death + 1)]
            }
        }
    }

    /// Adds to `barred` the offsets where this entry must not begin because `other` begins at `at`:
    /// four at most.
    fn bar(&self, other: &Self, at: usize, barred: &mut Vec<Range<usize>>) {
        // Most entries live at other times. A tail ends no later than its entry.
        let meet = self.birth <= other.death && other.birth <= self.death;
        if !meet || self.spilled != other.spilled {
            return;
        }
        for (own, when) in self.parts() {
            for (bytes, since) in other.parts() {
                let meet = when.start < since.end && since.start < when.end;
                if meet && !own.is_empty() && !bytes.is_empty() {
                    // They overlap if `start + own.start < at + bytes.end` and vice versa.
                    let first = (at + bytes.start + 1).saturating_sub(own.end);
                    barred.push(first..(at + bytes.end).saturating_sub(own.start));
                }
            }
        }
    }
}

/// Name of a plan's lists, for messages.
const PLAN: &str = "a plan";

/// The place of each entry in the arena or in the scratch file.
#[derive(Clone, Debug, Default)]
pub(crate) struct WorkspaceLayout {
    /// Shared with the outputs of runs.
    ranges: Arc<Vec<Range<usize>>>,
    bytes: usize,
    spilled_bytes: usize,
}

impl WorkspaceLayout {
    /// Places `entries` so that no two that live at the same time overlap. Tries two orders, the
    /// largest first and those with a tail first, and takes the smaller result. For the few dozen
    /// entries of an autoencoder that is optimal or nearly so.
    ///
    /// # Errors
    /// `OutOfMemory`.
    pub(crate) fn pack(entries: &[Entry]) -> Result<Self> {
        let mut order = alloc::collected(0..entries.len(), PLAN)?;
        // Keys are unique, and a sort that keeps the order of equals would allocate.
        order.sort_unstable_by_key(|&i| (Reverse(entries[i].bytes), i));
        let by_size = Self::place(entries, &order)?;
        order.sort_unstable_by_key(|&i| {
            let of_tail = match entries[i].tail {
                Some(_) => (0, entries[i].birth),
                None => (1, 0),
            };
            (of_tail, Reverse(entries[i].bytes), i)
        });
        let by_tail = Self::place(entries, &order)?;
        Ok(if by_tail.bytes < by_size.bytes { by_tail } else { by_size })
    }

    /// Places `entries` in the given order, each at the lowest free offset.
    fn place(entries: &[Entry], order: &[usize]) -> Result<Self> {
        let mut ranges = alloc::filled(0..0, entries.len(), PLAN)?;
        let mut placed: Vec<usize> = alloc::with_capacity(entries.len(), PLAN)?;
        let mut barred: Vec<Range<usize>> = Vec::new();
        for &i in order {
            barred.clear();
            for &j in &placed {
                alloc::reserve(&mut barred, 4, PLAN)?;
                entries[i].bar(&entries[j], ranges[j].start, &mut barred);
            }
            barred.sort_unstable_by_key(|range| range.start);
            let size = align_up(entries[i].bytes);
            let mut start = 0;
            for range in &barred {
                if range.start > start {
                    break;
                }
                start = start.max(range.end);
            }
            ranges[i] = start..start + size;
            placed.push(i);
        }
        let end = |spilled: bool| {
            let ends = entries.iter().zip(&ranges).filter(|(entry, _)| entry.spilled == spilled);
            ends.map(|(_, range)| range.end).max().unwrap_or(0)
        };
        let (bytes, spilled_bytes) = (end(false), end(true));
        Ok(Self { ranges: Arc::new(ranges), bytes, spilled_bytes })
    }

    /// Bytes that it takes itself.
    pub(crate) fn own_bytes(&self) -> usize {
        self.ranges.capacity() * size_of::<Range<usize>>()
    }

    /// Size of the arena in bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Size of the scratch file in bytes.
    pub(crate) fn spilled_bytes(&self) -> usize {
        self.spilled_bytes
    }

    /// The range of entry `id`, which is `bytes` long. `None` if the plan has no such entry: the
    /// run does not follow its plan.
    pub(crate) fn range(&self, id: usize, bytes: usize) -> Option<Range<usize>> {
        let range = self.ranges.get(id)?;
        (align_up(bytes) == range.len()).then(|| range.start..range.start + bytes)
    }

    /// The range of an activation in the arena or in the scratch file.
    ///
    /// # Errors
    /// `Internal` if the plan has no such activation.
    pub(crate) fn locate(&self, slot: &Slot) -> Result<Range<usize>> {
        let ((home, first), bytes) = (slot.home, slot.bytes()?);
        let range = self.ranges.get(home).filter(|range| first + bytes <= range.len());
        let range = range
            .ok_or_else(|| Error::internal(format!("activation {} is not in the plan", slot.id)))?;
        Ok(range.start + first..range.start + first + bytes)
    }

    /// `slot` with a layout of its own, at the start of an arena.
    pub(crate) fn alone(slot: Slot) -> Result<(Slot, Self)> {
        let bytes = align_up(slot.bytes()?);
        let ranges = Arc::new(std::iter::once(0..bytes).collect());
        let layout = Self { ranges, bytes, spilled_bytes: 0 };
        Ok((Slot { id: 0, spilled: false, home: (0, 0), ..slot }, layout))
    }
}

/// Splits `arena` into the given ranges, in their order. Panics if two overlap.
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
        Entry { bytes, birth, death, spilled: false, tail: None }
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
        let layout = WorkspaceLayout::pack(&entries).unwrap();
        for (i, a) in entries.iter().enumerate() {
            for (j, b) in entries.iter().enumerate().skip(i + 1) {
                let (ra, rb) =
                    (layout.range(i, a.bytes).unwrap(), layout.range(j, b.bytes).unwrap());
                let disjoint = ra.end <= rb.start || rb.end <= ra.start;
                let meet = a.birth <= b.death && b.birth <= a.death;
                assert!(disjoint || !meet, "{i} and {j}");
            }
        }
        // The peak is at time 3: 640 + 1280 + 64.
        assert_eq!(layout.bytes(), 1984);
    }

    #[test]
    fn the_tail_of_an_entry_makes_room_for_later_ones() {
        let split = Entry { tail: Some(Tail { first: 640, death: 3 }), ..entry(1280, 0, 9) };
        // While it is whole, after its tail, and after all of it.
        let entries = [split, entry(128, 2, 4), entry(640, 4, 8), entry(1216, 10, 11)];
        let layout = WorkspaceLayout::pack(&entries).unwrap();
        let start = |id: usize| layout.range(id, entries[id].bytes).unwrap().start;
        assert_eq!((start(0), start(1), start(2), start(3)), (0, 1280, 640, 0));
        assert_eq!(layout.bytes(), 1408);
        // The largest first would put the smaller, of which a part stays, beyond it.
        let small = Entry { tail: Some(Tail { first: 64, death: 3 }), ..entry(640, 0, 9) };
        let entries = [small, entry(1280, 4, 8)];
        let layout = WorkspaceLayout::pack(&entries).unwrap();
        assert_eq!(layout.bytes(), 64 + 1280);
        assert_eq!(WorkspaceLayout::place(&entries, &[1, 0]).unwrap().bytes(), 1280 + 640);
    }

    #[test]
    fn arena_and_scratch_file_are_packed_apart() {
        let spilled = Entry { spilled: true, ..entry(640, 0, 2) };
        let layout =
            WorkspaceLayout::pack(&[entry(128, 0, 2), spilled, entry(64, 1, 1), spilled]).unwrap();
        assert_eq!((layout.bytes(), layout.spilled_bytes()), (192, 1280));
    }

    #[test]
    fn a_run_that_leaves_its_plan_is_noticed() {
        let layout = WorkspaceLayout::pack(&[entry(640, 0, 1)]).unwrap();
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
