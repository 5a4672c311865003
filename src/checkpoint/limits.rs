#![forbid(unsafe_code)]
//! How much of a file is read, apart from the elements of its tensors: all limits of this folder
//! but those of pickles, which `pickle/limits.rs` has. A file at any of them opens, or is refused,
//! in less than 64 MB beside what is mapped, and within a second.

/// Bytes of a `config.json`, or of a configuration in a file's metadata: those of diffusers have
/// one or two thousand.
pub(crate) const MOST_CONFIG: u64 = 1 << 20;
/// Bytes of an index of shards: 100 for each of the most tensors, and some for its metadata.
pub(super) const MOST_INDEX: u64 = 4 << 20;
/// Shards of a model: each is an open file.
pub(super) const MOST_SHARDS: usize = 1 << 8;
/// Bytes of the reference of the hub's cache to a snapshot, which is a hash of 40 letters.
pub(super) const MOST_REFERENCE: u64 = 1 << 12;
/// Weight files of one kind in a folder, whose names are told.
pub(super) const MOST_LISTED: usize = 64;

/// Bytes of the header of a safetensors file. That of a whole pipeline has some 400 000, and
/// trainers put a few million of statistics and a small picture beside it. The format itself allows
/// 100 MB, which no file of weights needs.
pub(super) const MOST_HEADER: u64 = 16 << 20;

/// Tensors of a model, in all of its files: three times those of a whole training checkpoint.
pub(super) const MOST_TENSORS: usize = 1 << 15;
/// Bytes of the name of a tensor, of any format that has no lower limit.
pub(super) const MOST_NAME: usize = 1 << 10;
/// Parts of a name that is made one of diffusers': theirs have ten.
pub(super) const MOST_PARTS: usize = 64;
/// Bytes of all names of tensors: 128 for each of the most tensors.
pub(super) const MOST_NAMES: usize = 4 << 20;
/// Axes of a tensor: formats have 4, 8 or 64 at most, networks 5.
pub(super) const MOST_AXES: usize = 64;
/// What a file says of itself: keys. Some trainers have one for each tensor.
pub(super) const MOST_FACTS: usize = MOST_TENSORS;
/// Bytes of these keys and texts.
pub(super) const MOST_FACTS_BYTES: usize = MOST_HEADER as usize;
/// Bytes between the elements of a strided tensor that are read without further thought.
pub(super) const MOST_SPARSE: u64 = 64 << 20;
/// Elements that a tensor whose elements share memory is expanded to.
pub(super) const MOST_EXPANDED: usize = 1 << 24;

/// Entries of the metadata of a GGUF file; language models have some dozens.
pub(super) const MOST_GGUF_ENTRIES: u64 = 1 << 16;
/// Bytes of a text of GGUF that is read. Longer ones, such as licences, are skipped.
pub(super) const MOST_GGUF_TEXT: u64 = 1 << 10;
/// Texts and arrays in arrays, which are skipped one by one. Vocabularies of language models have
/// some hundred thousand; a sparse file of gigabytes costs nothing to make.
pub(super) const MOST_GGUF_SKIPPED: u64 = 1 << 22;
/// Dimensions of a tensor, as in ggml.
pub(super) const MOST_GGUF_DIMENSIONS: u32 = 4;
/// Axes of a true shape.
pub(super) const MOST_GGUF_AXES: u64 = 8;
/// Arrays in each other. No writer nests them more than once.
pub(super) const MOST_GGUF_DEPTH: usize = 4;

/// Nested lists and maps of msgpack. A network of blocks in blocks has about ten.
pub(super) const MOST_MSGPACK_DEPTH: usize = 32;
/// Values of a msgpack file, keys of maps among them. A pipeline has some thousands of tensors,
/// each with a name.
pub(super) const MOST_MSGPACK_VALUES: u64 = 1 << 17;
/// Bytes of a text of msgpack: these are names of layers and types.
pub(super) const MOST_MSGPACK_TEXT: u64 = 1 << 10;
/// Bytes of all texts of a msgpack file.
pub(super) const MOST_MSGPACK_TEXTS: u64 = 4 << 20;
/// Bytes of a name of Flax with those of all maps around it. A small file could have many names in
/// one map with a long one.
pub(super) const MOST_FLAX_NAME: usize = 256;
/// Pieces of an array of Flax, each of which has 2^30 bytes.
pub(super) const MOST_FLAX_CHUNKS: usize = 64;

/// Bytes of the directory of a zip archive: a whole training checkpoint has some ten thousand
/// entries of a hundred bytes.
pub(super) const MOST_ZIP_DIRECTORY: u64 = 8 << 20;
/// Entries of a zip archive: a whole training checkpoint of Stable Diffusion has some ten thousand.
pub(super) const MOST_ZIP_ENTRIES: u64 = 1 << 16;
/// Bytes of the name of an entry: PyTorch's are `NAME/data/NUMBER`, where NAME is that of the file.
pub(super) const MOST_ZIP_NAME: u16 = 1024;
/// Bytes that one byte inflates to: deflate has 258 bytes in 2 bits at best.
pub(super) const MOST_RATIO: u64 = 1032;
/// Bytes of an entry that is inflated: far above any layer's weight.
pub(super) const MOST_INFLATED: u64 = 1 << 30;
