#![forbid(unsafe_code)]
//! How much of a pickle is read. A whole training checkpoint of 2400 tensors, each with an average,
//! two moments and a count, is a pickle of 1.4 MB with 380 000 opcodes, 80 000 containers and as
//! many numbers of the memo. A pickle at all limits takes less than 64 MB and a tenth of a second.

/// Bytes of a pickle.
pub(super) const MOST_BYTES: u64 = 16 << 20;
/// Opcodes, which bound the time.
pub(super) const MOST_OPCODES: usize = 1 << 21;
/// Lists, tuples and dictionaries: some seven for each tensor.
pub(super) const MOST_CONTAINERS: usize = 1 << 18;
/// Items of all of them together.
pub(super) const MOST_ITEMS: usize = 1 << 20;
/// Storages, and tensors, in all: two for each tensor of an optimiser.
pub(super) const MOST_OBJECTS: usize = 1 << 16;
/// Arguments of a call that are looked at: those of a tensor are eight.
pub(super) const MOST_ARGUMENTS: usize = 8;
/// Values on the stack. Picklers put at most a thousand items of a list or dictionary there at
/// once, but all of a tuple.
pub(super) const MOST_STACK: usize = 1 << 16;
/// Marks on the stack, one for each container that is being filled: Python's own picklers stop at
/// a depth of 1000.
pub(super) const MOST_MARKS: usize = 1000;
/// The memo's numbers, which picklers give one after the other: some seven for each tensor.
pub(super) const MOST_MEMO: usize = 1 << 18;
/// Mentions of globals: picklers mention each once, those of protocol 1 once for each tensor.
pub(super) const MOST_GLOBALS: usize = 1 << 14;
/// Bytes of the name of a global.
pub(super) const MOST_GLOBAL_NAME: usize = 256;

/// Containers in one another, on the way to a tensor: an optimiser's state has five.
pub(super) const MOST_DEPTH: usize = 64;
/// Items that are looked at on the way to the tensors, an item in two places twice.
pub(super) const MOST_VISITS: usize = 1 << 20;
/// Bytes of the dotted name of a tensor.
pub(super) const MOST_NAME: usize = 512;

/// Elements of a tensor that has more of them than its storage, because some axes repeat it. Those
/// of an autoencoder are weights of normalisations; its largest weight has 2^23 elements.
pub(super) const MOST_REPEATED: usize = 1 << 24;

/// The largest compressed storage of which a tensor may be a part: each part inflates what is
/// before it anew.
pub(super) const MOST_SHARED: u64 = 1 << 20;
