/* libvaekl - Stable Diffusion VAE (AutoencoderKL) for C, C++, Go, Swift, Python.
 *
 * Errors     Every fallible function returns a vaekl_status. Most also take an
 *            optional vaekl_error, owned by the caller, as their last argument.
 *            An error before the work (arguments, state, memory, budget) leaves
 *            outputs untouched, and so does any error of a call without tiles,
 *            but for one that vaekl_decode names. In tiles rows are written as
 *            they are made: vaekl_decode leaves an unspecified number of them
 *            in the image that failed. If a picture of a batch fails, the
 *            images before it are complete. No error is kept in thread-local
 *            or global state.
 * Ownership  Free each vaekl_x* obtained through `out` once, with vaekl_x_free;
 *            NULL is accepted. A model may be freed before its sessions: they
 *            hold their own reference. Input pointers are borrowed for the call
 *            only, unless stated otherwise.
 * Threads    Any thread may call. Calls that take `const vaekl_x *` may run
 *            concurrently; one that takes `vaekl_x *` needs exclusive access to
 *            that object. Of two calls on one session the second returns
 *            VAEKL_ERR_STATE. vaekl_session_cancel and vaekl_session_memory may
 *            run while another call uses the session.
 * Processes  A session belongs to the process that made it. In a child of fork()
 *            every call on it, and on its stream, returns VAEKL_ERR_STATE at
 *            once; freeing it there is allowed and waits for nothing. Models
 *            work in both: make a new session in the child. A child that is
 *            forked in a callback must not return from it.
 * Files      Weights are mapped from their files unless disable_mmap is set. A
 *            file that is truncated while it is mapped ends the process with
 *            SIGBUS when a call reads it; nothing can be promised then. One
 *            that was written in place makes the calls that come then, or that
 *            it changed under, fail with VAEKL_ERR_IO. Replacing a file by
 *            rename, and removing it, is harmless.
 * Unloading  Once all sessions are freed, none of the library's threads is left:
 *            dlclose is safe.
 * Callbacks  Run on the thread that made the call, never after it returns. They
 *            must not throw, longjmp, or call back into the same session, except
 *            for vaekl_session_cancel and vaekl_session_memory.
 * Panics     A bug in the library is returned as VAEKL_ERR_INTERNAL and poisons
 *            the session, which can then only be freed.
 *
 * Generated from src/ffi/ by `VAEKL_BLESS=1 cargo test --test header`.
 */
#ifndef VAEKL_H
#define VAEKL_H

#include <stddef.h>
#include <stdint.h>

// Major version of this header.
#define VAEKL_VERSION_MAJOR 0
// Minor version of this header.
#define VAEKL_VERSION_MINOR 1
// Patch version of this header.
#define VAEKL_VERSION_PATCH 0

#ifdef __cplusplus
extern "C" {
#endif

/* ---- status ---------------------------------------------------------------- */

// Result of a call: 0 or VAEKL_END is success, negative is an error. Values are frozen; new ones
// are appended.
typedef int32_t vaekl_status;
// Success.
#define VAEKL_OK 0
// The end of a stream: no rows are left. Not an error.
#define VAEKL_END 1
// An argument is wrong: NULL, a bad size, an unknown constant, a non-finite input.
#define VAEKL_ERR_INVALID_ARGUMENT (-1)
// A file could not be opened, read, written or mapped.
#define VAEKL_ERR_IO (-2)
// The file is not a checkpoint, or is corrupt.
#define VAEKL_ERR_FORMAT (-3)
// The tensors or the configuration are not those of an autoencoder that is opened.
#define VAEKL_ERR_MODEL (-4)
// Valid, but not supported by this build.
#define VAEKL_ERR_UNSUPPORTED (-5)
// Out of memory.
#define VAEKL_ERR_OUT_OF_MEMORY (-6)
// No plan fits memory_budget.
#define VAEKL_ERR_BUDGET (-7)
// Cancelled by a callback or by vaekl_session_cancel.
#define VAEKL_ERR_CANCELLED (-8)
// An accelerator failed.
#define VAEKL_ERR_DEVICE (-9)
// The session is in use by another call, poisoned, or of the process that this one was forked
// from.
#define VAEKL_ERR_STATE (-10)
// A bug in the library: a panic was caught.
#define VAEKL_ERR_INTERNAL (-11)
// The computation gave NaN or infinity.
#define VAEKL_ERR_NON_FINITE (-12)

// Why a call failed: 512 bytes, owned by the caller, written only when the call fails. The layout
// is frozen.
typedef struct vaekl_error {
  // The status that the call returned.
  vaekl_status status;
  // One line of UTF-8, NUL-terminated, that names the file, tensor or argument.
  char message[504];
  // The system's errno (ENOENT, EACCES, ...) for VAEKL_ERR_IO, if it gave one; otherwise 0.
  int32_t os_error;
} vaekl_error;

// Version of the loaded library: MAJOR<<16 | MINOR<<8 | PATCH.
uint32_t vaekl_version(void);

// Version of the loaded library as text, such as "0.1.0". Static.
const char *vaekl_version_string(void);

// Name of a status, such as "VAEKL_ERR_IO". Static; never NULL, even for an unknown value.
const char *vaekl_status_name(vaekl_status status);

// Instruction set of new sessions: "avx512", "avx2" or "portable". The environment variable
// VAEKL_CPU can lower it; "invalid" if VAEKL_CPU names no level of this architecture. Static.
const char *vaekl_cpu_level(void);

/* ---- value types ----------------------------------------------------------- */

// Type of an element. All such types are integers with constants, not C enums: an unknown value is
// an error, not undefined behaviour.
typedef uint32_t vaekl_dtype;
// 32-bit float (IEEE 754 binary32).
#define VAEKL_DTYPE_F32 0u
// 16-bit float (IEEE 754 binary16).
#define VAEKL_DTYPE_F16 1u
// bfloat16.
#define VAEKL_DTYPE_BF16 2u
// 8-bit unsigned integer, images only: [-1, 1] maps to [0, 255], clamped, rounded half to even.
#define VAEKL_DTYPE_U8 3u

// Order of the values of an image.
typedef uint32_t vaekl_layout;
// Interleaved: all channels of a pixel together.
#define VAEKL_LAYOUT_HWC 0u
// Planar: one plane per channel.
#define VAEKL_LAYOUT_CHW 1u

// Where a model runs.
typedef uint32_t vaekl_device;
// The CPU.
#define VAEKL_DEVICE_CPU 0u
// An NVIDIA GPU: VAEKL_ERR_UNSUPPORTED in this version.
#define VAEKL_DEVICE_CUDA 1u

// Whether to split a picture that is larger than a tile. EXACT never changes a bit of the result;
// the library never chooses the other two by itself.
typedef uint32_t vaekl_tiling;
// The result of the whole picture. Default. An AutoencoderTiny is cut into tiles where the budget
// demands it, which changes no bit.
#define VAEKL_TILING_EXACT 0u
// The overlapping, blended tiles of diffusers, with their seams.
#define VAEKL_TILING_DIFFUSERS 1u
// Decodes in tiles that share the statistics of the whole picture: no seams, an error far below
// one 8-bit step, at least twice the time. Encoding is exact, and an AutoencoderTiny in both
// directions.
#define VAEKL_TILING_SEAMLESS 2u

// Algorithm for attention. Both give the same result up to rounding.
typedef uint32_t vaekl_attention;
// One pass over the keys, with a running softmax. Default.
#define VAEKL_ATTENTION_STREAMED 0u
// All scores of a few queries, then their softmax.
#define VAEKL_ATTENTION_ROW_BY_ROW 1u

// A picture in the caller's memory. It has the model's number of channels (vaekl_model_info:
// image_channels, or input_channels to encode). Values are nominally in [-1, 1]; decoded ones are
// not clamped, except as U8. Strides are in bytes and multiples of the element's size; 0 means
// packed. An output need not be initialised; bytes between its rows are not written.
typedef struct vaekl_image {
  // The first pixel, aligned to the element's size. Only read if the image is an input.
  void *data;
  // Width in pixels.
  uint32_t width;
  // Height in pixels.
  uint32_t height;
  // Type of the values: any VAEKL_DTYPE.
  vaekl_dtype dtype;
  // Order of the values: any VAEKL_LAYOUT.
  vaekl_layout layout;
  // Bytes from one row to the next; 0 = packed. A row has all channels in HWC, one in CHW.
  size_t row_stride;
  // Bytes from one plane to the next; 0 = packed. Read for CHW only.
  size_t plane_stride;
} vaekl_image;

// Latents as AutoencoderKL.decode takes and .encode returns them.
#define VAEKL_LATENT_RAW 0u
// Latents as the diffusion model uses them: scaling_factor, shift_factor and latents_mean/std, or
// the statistics that an AutoencoderKLFlux2 has in its weights, are undone before decoding and
// applied after encoding.
#define VAEKL_LATENT_SCALED 1u

// A batch of latents in the caller's memory, contiguous NCHW. Latents are processed one at a time
// (diffusers' slicing), so memory does not grow with `batch`.
typedef struct vaekl_latent {
  // The first value, aligned to the element's size. Only read if the latents are an input.
  void *data;
  // Number of latents, at least 1.
  uint32_t batch;
  // The model's latent_channels; twice that for moments. Scaled latents of a model with a
  // patch_size p may be folded: p * p times as many channels, sides divided by p.
  uint32_t channels;
  // Height: the picture's height divided by the model's downscale.
  uint32_t height;
  // Width: the picture's width divided by the model's downscale.
  uint32_t width;
  // Type of the values: F32, F16 or BF16.
  vaekl_dtype dtype;
  // VAEKL_LATENT_RAW or VAEKL_LATENT_SCALED.
  uint32_t scale;
} vaekl_latent;

/* ---- model: immutable, shareable ------------------------------------------- */

// An open autoencoder: immutable, shared by any number of sessions and threads.
typedef struct vaekl_model vaekl_model;

// The decoder: latents to pictures.
#define VAEKL_PART_DECODER 1u
// The encoder: pictures to latents.
#define VAEKL_PART_ENCODER 2u

// Options for opening a model. Structs that begin with struct_size grow only at the end: the _init
// function, called with sizeof(the struct), fills in defaults and records the size. So a program
// compiled against an older header keeps working.
typedef struct vaekl_model_options {
  // sizeof(vaekl_model_options), set by _init.
  size_t struct_size;
  // Where the model runs; default VAEKL_DEVICE_CPU.
  vaekl_device device;
  // Index of the device; default 0, the only one for a CPU.
  uint32_t device_index;
  // Parts to open, a sum of VAEKL_PART; default both. An error if the checkpoint lacks one.
  uint32_t parts;
  // Type of packed weights; default F32, the only one in this version.
  vaekl_dtype weight_dtype;
  // Path of a config.json to use. Default NULL: the checkpoint's own, or inferred from shapes.
  const char *config_path;
  // Name of a published model: "sd", "sdxl", "sdxl-fp16-fix", "sd3", "flux", "playground-v2.5",
  // "sd-x4-upscaler", "cogview4", "flux2", "asymmetric", "taesd", "taesdxl", "taesd3", "taef1",
  // "taef2" or "taesana". Sets scaling, shift and latent statistics, which shapes do
  // not tell, and overrides the configuration. Default NULL: guessed if the checkpoint has no
  // configuration.
  const char *preset;
  // Variant of a diffusers folder: "fp16" opens diffusion_pytorch_model.fp16.safetensors.
  // Default NULL: none.
  const char *variant;
  // Groups of each GroupNorm, for a checkpoint without a configuration; shapes do not tell it.
  // Default 0: from the configuration, or 32 without one.
  uint32_t norm_num_groups;
  // Nonzero: files are read, a layer at a time, instead of mapped; default 0. A file that
  // changes is then an error, whatever happens to it. Files that the system cannot map are read
  // in any case.
  uint32_t disable_mmap;
} vaekl_model_options;

// Properties of an open model.
typedef struct vaekl_model_info {
  // In: sizeof(vaekl_model_info). Out: bytes written.
  size_t struct_size;
  // Channels of decoded pictures.
  uint32_t image_channels;
  // Channels of latents.
  uint32_t latent_channels;
  // Side of a picture in pixels divided by the side of its latent.
  uint32_t downscale;
  // Parts of the model, a sum of VAEKL_PART.
  uint32_t parts;
  // The factor by which VAEKL_LATENT_SCALED multiplies.
  float scaling_factor;
  // The offset that VAEKL_LATENT_SCALED subtracts before that; 0 if the model has none.
  float shift_factor;
  // Size of the weights in bytes, in the checkpoint's types.
  uint64_t weight_bytes;
  // Number of weights.
  uint64_t parameters;
  // Channels of pictures to encode.
  uint32_t input_channels;
  // Number of configuration fields that were guessed; 0 if the configuration was read.
  uint32_t guessed;
  // 1 if the weights are mapped or in memory, 0 if they are read from their file, a layer at a
  // time.
  uint32_t mapped;
  // Number of tensors of the autoencoder that the configuration leaves out.
  uint32_t unused_tensors;
  // 1 if vaekl_encode gives a posterior, 0 if it gives latents (AutoencoderTiny).
  uint32_t posterior;
  // 1 if vaekl_decode_masked works (AsymmetricAutoencoderKL).
  uint32_t masks;
  // Side of the patches that scaled latents may be folded into: 2 for AutoencoderKLFlux2,
  // otherwise 1.
  uint32_t patch_size;
  // Must be ignored.
  uint32_t reserved;
} vaekl_model_info;

// Fills in the defaults. `struct_size` is sizeof(vaekl_model_options).
vaekl_status vaekl_model_options_init(vaekl_model_options *options, size_t struct_size);

// Opens a checkpoint of any format: a file, a diffusers folder, or what the local cache of the
// Hugging Face hub has of "org/name". NULL `options` mean the defaults. Files are mapped: do not
// change them while the model exists (Files, at the head).
vaekl_status vaekl_model_open(const char *path,
                              const vaekl_model_options *options,
                              vaekl_model **out,
                              vaekl_error *error);

// Opens a file of any format in memory, `len` bytes. They are not copied: they must stay valid and
// unchanged until the model and all its sessions are freed.
vaekl_status vaekl_model_open_bytes(const void *bytes,
                                    size_t len,
                                    const vaekl_model_options *options,
                                    vaekl_model **out,
                                    vaekl_error *error);

// Fills in `out`. Set out->struct_size first.
vaekl_status vaekl_model_get_info(const vaekl_model *model, vaekl_model_info *out);

// The family of a model: the name of diffusers' class, such as "AutoencoderTiny". Valid until the
// model is freed; NULL for NULL.
const char *vaekl_model_family(const vaekl_model *model);

// What tells the family, for a person: the class in a configuration, or a tensor. Valid until the
// model is freed; NULL for NULL.
const char *vaekl_model_family_source(const vaekl_model *model);

// The configuration as JSON in the form of config.json, with every field of the family's class,
// whether read, inferred or guessed. Valid until the model is freed; NULL for NULL.
const char *vaekl_model_config(const vaekl_model *model);

// The statistics that VAEKL_LATENT_SCALED uses, `(latent - mean) / std`: of each latent channel,
// or of an AutoencoderKLFlux2, whose weights have them, of each channel of a folded latent.
// Returns their number, 0 if the model has none, and writes the first `count` of them to `mean`
// and `std`, each of which may be NULL.
uint32_t vaekl_model_latent_statistics(const vaekl_model *model,
                                       double *mean,
                                       double *std,
                                       uint32_t count);

// What to tell the user of a model: guessed parts of the configuration, and weights that the
// configuration leaves out. A line of UTF-8 for each `index` from 0 on, NULL after the last. Valid
// until the model is freed; NULL for NULL.
const char *vaekl_model_notice(const vaekl_model *model, uint32_t index);

// Frees a model. Its sessions keep their own reference and stay valid.
void vaekl_model_free(vaekl_model *model);

/* ---- model, saved ---------------------------------------------------------- */

// For vaekl_save_options.dtype only: each tensor keeps its type; one that is quantised or has 8
// bits becomes F32.
#define VAEKL_DTYPE_KEEP 255u

// How a saved file names its tensors.
typedef uint32_t vaekl_key_layout;
// The names of diffusers: decoder.mid_block.attentions.0.to_q.weight. Default.
#define VAEKL_KEYS_DIFFUSERS 0u
// The names of the original ("LDM"): decoder.mid.attn_1.q.weight. Single files only.
#define VAEKL_KEYS_ORIGINAL 1u

// Options for saving a model. Like vaekl_model_options, the struct grows only at its end.
typedef struct vaekl_save_options {
  // sizeof(vaekl_save_options), set by _init.
  size_t struct_size;
  // Type of all tensors, rounded to nearest even: F32, F16 or BF16; default VAEKL_DTYPE_KEEP. A
  // value that overflows is an error that names its tensor.
  vaekl_dtype dtype;
  // Names of the tensors; default VAEKL_KEYS_DIFFUSERS, the only one for a folder.
  vaekl_key_layout layout;
  // Most bytes of tensors in a file of a folder; a larger tensor has a file of its own. Default
  // 0: one file.
  uint64_t max_shard_size;
  // Variant of the weights in a folder: "fp16" makes diffusion_pytorch_model.fp16.safetensors.
  // Default NULL: none.
  const char *variant;
} vaekl_save_options;

// Fills in the defaults. `struct_size` is sizeof(vaekl_save_options).
vaekl_status vaekl_save_options_init(vaekl_save_options *options, size_t struct_size);

// Saves a model: to one file if `path` ends in .safetensors, with the configuration in its
// metadata, else to a diffusers folder, which is made if it is not there. NULL `options` mean the
// defaults. Files appear whole or not at all, and replace those of an earlier save; they may be
// the ones that the model was opened from.
vaekl_status vaekl_model_save(const vaekl_model *model,
                              const char *path,
                              const vaekl_save_options *options,
                              vaekl_error *error);

/* ---- session: one call at a time, owns threads and workspace --------------- */

// Runs a model, one call at a time; owns threads and workspace. A child that is forked has none of
// its threads: there every call on it returns VAEKL_ERR_STATE at once. A new session on the same
// model works.
typedef struct vaekl_session vaekl_session;

// Called from time to time with the progress of a call, on its thread. `done` and `total` count
// units of work. Return 0 to go on, non-zero to cancel.
typedef int32_t (*vaekl_progress_fn)(void *user, uint64_t done, uint64_t total);

// Options of a session.
typedef struct vaekl_session_options {
  // sizeof(vaekl_session_options), set by _init.
  size_t struct_size;
  // Limit in bytes of what a call adds to the process's memory: workspace, weights, threads, the
  // library's own lists and code; 0 = no limit. What the process holds already and the caller's
  // buffers do not count. A call that does not fit fails with VAEKL_ERR_BUDGET before any work.
  // The limit never changes a bit of the result, except in seamless tiles whose size is left to
  // it. Without one too, a call takes the fastest plan for which the system has memory.
  uint64_t memory_budget;
  // Number of threads; 0 = one per physical core. It never changes a bit of the result.
  uint32_t threads;
  // Type of the activations between layers; default F32. F16 becomes F32 if the model sets
  // force_upcast.
  vaekl_dtype activation_dtype;
  // Any VAEKL_TILING; default VAEKL_TILING_EXACT.
  vaekl_tiling tiling;
  // Side of a tile in latent pixels; VAEKL_TILING_EXACT does not read it. Default 0: the model's
  // sample_size, or for seamless tiles with a budget or a workspace the largest that fits. A
  // multiple of 4 for seamless tiles with an AutoencoderTiny.
  uint32_t tile_size;
  // Overlap of neighbouring diffusers' tiles in latent pixels. Default 0: a quarter of a tile,
  // or an eighth with an AutoencoderTiny. Must be 0 for seamless tiles.
  uint32_t tile_overlap;
  // Folder for a nameless scratch file, to which activations are spilled that do not fit the
  // budget. Copied. Default NULL: none.
  const char *scratch_dir;
  // Optional memory for calls to work in, 64-byte aligned, borrowed until the session is freed.
  // Its contents do not matter. Default NULL: the session allocates its own.
  void *workspace;
  // Size of `workspace` in bytes; 0 without one. If it is smaller than
  // vaekl_plan.workspace_bytes, a leaner plan is used where one exists.
  size_t workspace_size;
  // Callback for progress. Default NULL: none.
  vaekl_progress_fn progress;
  // First argument of `progress`; not used after the session is freed.
  void *progress_user;
  // Any VAEKL_ATTENTION; default VAEKL_ATTENTION_STREAMED.
  vaekl_attention attention;
  // 1 = project query, key and value at once, 0 = one by one; default 0.
  uint32_t fuse_qkv;
} vaekl_session_options;

// Fills in the defaults. `struct_size` is sizeof(vaekl_session_options).
vaekl_status vaekl_session_options_init(vaekl_session_options *options, size_t struct_size);

// Makes a session. NULL `options` mean the defaults.
vaekl_status vaekl_session_new(const vaekl_model *model,
                               const vaekl_session_options *options,
                               vaekl_session **out,
                               vaekl_error *error);

// Cancels the session's current call, if any: it returns VAEKL_ERR_CANCELLED within a fraction of
// a second. For an open stream, the next and all later reads return it. A later call is not
// affected. Callable from any thread, but not from a signal handler. Without effect in a forked
// child, and once a result without tiles is being copied.
void vaekl_session_cancel(const vaekl_session *session);

// Workspace in bytes that the session holds since its last call ended. Callable from any thread; 0
// for NULL.
uint64_t vaekl_session_memory(const vaekl_session *session);

// Frees a session, and returns when its threads have ended. No call may be using it: a session in
// use, as in a callback, is leaked instead. In a forked child it waits for nothing; a session that
// was in use at the fork is leaked there.
void vaekl_session_free(vaekl_session *session);

/* ---- plan: what a call will need ------------------------------------------- */

// What a call will need.
typedef struct vaekl_plan {
  // In: sizeof(vaekl_plan). Out: bytes written.
  size_t struct_size;
  // Workspace in bytes. Exact: the call itself follows this plan.
  uint64_t workspace_bytes;
  // Scratch file in bytes; 0 without a scratch_dir.
  uint64_t scratch_bytes;
  // Upper bound in bytes of what the call adds to the process's memory: workspace, the weights
  // resident at a time, threads, and the library's own lists and code. Memory of the caller is
  // not included.
  uint64_t peak_bytes;
  // Number of tiles in a row; 1 without tiles.
  uint32_t tiles_x;
  // Number of tiles in a column; 1 without tiles.
  uint32_t tiles_y;
  // Side of a tile in latent pixels; 0 without tiles.
  uint32_t tile_size;
  // 1 if the result equals the untiled one.
  uint32_t exact;
} vaekl_plan;

// Plans a decode of one latent of `latent_width` x `latent_height` by a session with `options`.
// Set out->struct_size first. Allocates nothing that outlives the call.
vaekl_status vaekl_plan_decode(const vaekl_model *model,
                               const vaekl_session_options *options,
                               uint32_t latent_width,
                               uint32_t latent_height,
                               vaekl_plan *out,
                               vaekl_error *error);

// Plans an encode of one picture of `width` x `height` pixels by a session with `options`. Set
// out->struct_size first. Allocates nothing that outlives the call.
vaekl_status vaekl_plan_encode(const vaekl_model *model,
                               const vaekl_session_options *options,
                               uint32_t width,
                               uint32_t height,
                               vaekl_plan *out,
                               vaekl_error *error);

/* ---- decode ---------------------------------------------------------------- */

// Decodes a batch. `out` points to one image per latent, each `downscale` times the latent's width
// and height. If a latent fails or is cancelled, the images before it are complete and those after
// it untouched. Its own is untouched if the error comes before the work (arguments, state, memory,
// budget), and without tiles after any error but one: VAEKL_ERR_IO, if the result does not fit the
// budget and the scratch file cannot be read back. In tiles rows are written as they are made: an
// error in the work leaves an unspecified number of them in its image.
vaekl_status vaekl_decode(vaekl_session *session,
                          const vaekl_latent *latent,
                          const vaekl_image *out,
                          vaekl_error *error);

// Decodes one latent like vaekl_decode, and keeps `picture` where `mask` is 0. Both have the size
// of the result. A mask has one channel: 1 where the model draws, 0 where it keeps, or any value
// between; of a mask in U8, 255 is 1. `out` may be `picture`. Only for a model whose
// vaekl_model_info has `masks`, without tiles. Takes more memory than vaekl_plan_decode tells, and
// keeps within memory_budget too.
vaekl_status vaekl_decode_masked(vaekl_session *session,
                                 const vaekl_latent *latent,
                                 const vaekl_image *picture,
                                 const vaekl_image *mask,
                                 const vaekl_image *out,
                                 vaekl_error *error);

// Receives `count` rows of HWC pixels from row `y` on, `row_stride` bytes apart; top to bottom,
// each row once. `rows` is valid during the call only. Return 0 to go on, non-zero to cancel.
typedef int32_t (*vaekl_rows_fn)(void *user,
                                 uint32_t y,
                                 uint32_t count,
                                 const void *rows,
                                 size_t row_stride);

// Decodes one latent and passes the picture to `on_rows`, as `dtype`, on the calling thread.
vaekl_status vaekl_decode_rows(vaekl_session *session,
                               const vaekl_latent *latent,
                               vaekl_dtype dtype,
                               vaekl_rows_fn on_rows,
                               void *user,
                               vaekl_error *error);

/* ---- decode, row by row ---------------------------------------------------- */

// The rows of a decode, read by the caller instead of passed to a callback.
typedef struct vaekl_stream vaekl_stream;

// Starts decoding one latent. The session is in use until the stream is freed. Without tiles all
// rows are decoded here; in tiles they are as they are read.
vaekl_status vaekl_stream_open(vaekl_session *session,
                               const vaekl_latent *latent,
                               vaekl_dtype dtype,
                               vaekl_stream **out,
                               vaekl_error *error);

// Writes up to `max_rows` HWC rows to `dst`, `row_stride` bytes apart (0 = packed), and their
// number to `rows_out`. After the last row it writes 0 and returns VAEKL_END. If decoding fails
// after some rows of a read, the read returns these rows and VAEKL_OK, and the next one the error:
// no row is lost. Once a read has returned an error of the decoding, all later reads return the
// same status and message. After an error of an argument the stream goes on where it was. A read
// that fails writes nothing.
vaekl_status vaekl_stream_read(vaekl_stream *stream,
                               void *dst,
                               size_t row_stride,
                               uint32_t max_rows,
                               uint32_t *rows_out,
                               vaekl_error *error);

// Frees a stream, at its end or before; its session can then take another call. In a forked child
// it waits for nothing; a stream that was being read at the fork is leaked there.
void vaekl_stream_free(vaekl_stream *stream);

/* ---- encode ---------------------------------------------------------------- */

// Which value of the posterior to return.
typedef uint32_t vaekl_posterior;
// The mean.
#define VAEKL_POSTERIOR_MODE 0u
// A sample: mean + std * N(0,1), drawn from `seed` for the whole batch as torch.randn does on a
// CPU.
#define VAEKL_POSTERIOR_SAMPLE 1u
// Mean and log-variance: 2 * latent_channels channels, VAEKL_LATENT_RAW only.
#define VAEKL_POSTERIOR_MOMENTS 2u

// Encodes a batch. `image` points to one image per latent of `out`. A latent has the image's width
// and height divided by `downscale`; each halving drops an odd last row or column, or keeps it if
// the model has no posterior (vaekl_model_info: posterior). Such a model gives its latents for
// VAEKL_POSTERIOR_MODE and _SAMPLE. Only VAEKL_POSTERIOR_SAMPLE reads `seed`.
vaekl_status vaekl_encode(vaekl_session *session,
                          const vaekl_image *image,
                          vaekl_posterior posterior,
                          uint64_t seed,
                          const vaekl_latent *out,
                          vaekl_error *error);

#ifdef __cplusplus
}
#endif

#endif /* VAEKL_H */
