/* libvaekl - Stable Diffusion VAE (AutoencoderKL) for C, C++, Go, Swift.
 *
 * Errors     Every fallible function returns a vaekl_status. Those that can say
 *            more take, last, an optional vaekl_error the caller owns. Outputs
 *            are written only on VAEKL_OK, but for the images of a batch that
 *            were done before a later one failed. Nothing is kept in
 *            thread-local or global state.
 * Ownership  A vaekl_x* obtained through an `out` parameter is freed once with
 *            vaekl_x_free; NULL is accepted. Freeing a model while sessions use
 *            it is allowed: sessions hold their own reference. Input pointers
 *            are borrowed for the call only, except where said otherwise.
 * Threads    A function taking `const vaekl_x *` may run concurrently with
 *            others of its kind. One taking `vaekl_x *` needs exclusive access
 *            to that object, from any thread; of two calls on one session the
 *            second gets VAEKL_ERR_STATE. vaekl_session_cancel and
 *            vaekl_session_memory may run while another call uses the session.
 * Callbacks  Run on the thread that called into the library, never after the
 *            call returns. They must not throw, longjmp, or call back into the
 *            same session.
 * Panics     A bug in the library is returned as VAEKL_ERR_INTERNAL and poisons
 *            the session: afterwards only vaekl_session_free is useful.
 *
 * Generated from src/ffi/ by `VAEKL_BLESS=1 cargo test --test header`.
 */
#ifndef VAEKL_H
#define VAEKL_H

#include <stddef.h>
#include <stdint.h>

#define VAEKL_VERSION_MAJOR 0
#define VAEKL_VERSION_MINOR 1
#define VAEKL_VERSION_PATCH 0

#ifdef __cplusplus
extern "C" {
#endif

/* ---- status ---------------------------------------------------------------- */

// What a call came to: 0 is success, negative is an error. Values are frozen, new ones are appended.
typedef int32_t vaekl_status;
// The call did what it was asked.
#define VAEKL_OK 0
// A stream has no rows left.
#define VAEKL_END 1
// NULL, a bad size, an unknown constant, a non-finite input.
#define VAEKL_ERR_INVALID_ARGUMENT (-1)
// Opening, reading or mapping a file failed.
#define VAEKL_ERR_IO (-2)
// Not a checkpoint, or corrupt.
#define VAEKL_ERR_FORMAT (-3)
// Tensors or configuration do not make an AutoencoderKL.
#define VAEKL_ERR_MODEL (-4)
// Valid, but not in this build.
#define VAEKL_ERR_UNSUPPORTED (-5)
// Memory could not be had.
#define VAEKL_ERR_OUT_OF_MEMORY (-6)
// No plan fits memory_budget.
#define VAEKL_ERR_BUDGET (-7)
// A callback or vaekl_session_cancel stopped the call.
#define VAEKL_ERR_CANCELLED (-8)
// An accelerator failed.
#define VAEKL_ERR_DEVICE (-9)
// The session is in use by another call, or poisoned.
#define VAEKL_ERR_STATE (-10)
// A bug of the library: a panic was caught.
#define VAEKL_ERR_INTERNAL (-11)
// The arithmetic gave NaN or infinity.
#define VAEKL_ERR_NON_FINITE (-12)

// Why a call failed. Owned by the caller, written when the call fails, 512 bytes, layout frozen.
typedef struct vaekl_error {
  // What the call returned.
  vaekl_status status;
  // One line of NUL-terminated UTF-8 naming the file, tensor or argument.
  char message[504];
  // Of VAEKL_ERR_IO, why the system refused, as an errno: ENOENT, EACCES. 0 where there is none.
  int32_t os_error;
} vaekl_error;

// The version of the library in use: MAJOR<<16 | MINOR<<8 | PATCH.
uint32_t vaekl_version(void);

// The same as text, as "0.1.0". Static.
const char *vaekl_version_string(void);

// The name of a status, as "VAEKL_ERR_IO". Static, never NULL, for any value.
const char *vaekl_status_name(vaekl_status status);

// The instruction set that sessions will use: "avx512", "avx2" or "portable". The environment
// variable VAEKL_CPU lowers it; "invalid" when that is not a level. Static.
const char *vaekl_cpu_level(void);

/* ---- value types ----------------------------------------------------------- */

// The type of an element. Integers and constants, not C enums: a value the library does not know is
// an error, not undefined behaviour.
typedef uint32_t vaekl_dtype;
// IEEE 754 binary32.
#define VAEKL_DTYPE_F32 0u
// IEEE 754 binary16.
#define VAEKL_DTYPE_F16 1u
// bfloat16.
#define VAEKL_DTYPE_BF16 2u
// Images only: [-1, 1] is [0, 255], clamped and rounded half to even.
#define VAEKL_DTYPE_U8 3u

// The order of an image's values.
typedef uint32_t vaekl_layout;
// Interleaved; row_stride covers one row of all channels.
#define VAEKL_LAYOUT_HWC 0u
// Planar: a plane per channel.
#define VAEKL_LAYOUT_CHW 1u

// Where a model runs.
typedef uint32_t vaekl_device;
// The processor.
#define VAEKL_DEVICE_CPU 0u
// An NVIDIA GPU. VAEKL_ERR_UNSUPPORTED in this version.
#define VAEKL_DEVICE_CUDA 1u

// How a picture larger than memory is worked on. EXACT never changes a bit of the result; the other
// two are asked for, never chosen, and are VAEKL_ERR_UNSUPPORTED in this version.
typedef uint32_t vaekl_tiling;
// The result of the whole picture in one piece. Default.
#define VAEKL_TILING_EXACT 0u
// The tiles and blends of diffusers.
#define VAEKL_TILING_DIFFUSERS 1u
// Tiles sharing one set of statistics.
#define VAEKL_TILING_SEAMLESS 2u

// How attention is computed. The two agree up to rounding.
typedef uint32_t vaekl_attention;
// One pass over the keys with a running softmax. Default.
#define VAEKL_ATTENTION_STREAMED 0u
// All scores of a few queries at a time, then their softmax.
#define VAEKL_ATTENTION_ROW_BY_ROW 1u

// A view of pixels, of as many channels as the model's pictures have (vaekl_model_info); nothing is
// owned. Values are about [-1, 1], and decoded ones are not clamped, except as U8. Strides are in
// bytes, multiples of the element's size; 0 is packed. Memory behind an output view need not be
// initialised, and the bytes between its rows are left alone.
typedef struct vaekl_image {
  // The first pixel, aligned to its element's size. Only read when the view is an input.
  void *data;
  // Pixels of a row.
  uint32_t width;
  // Rows.
  uint32_t height;
  // Any VAEKL_DTYPE.
  vaekl_dtype dtype;
  // Any VAEKL_LAYOUT.
  vaekl_layout layout;
  // Bytes from a row to the next.
  size_t row_stride;
  // Bytes from a plane to the next; CHW only.
  size_t plane_stride;
} vaekl_image;

// What AutoencoderKL.decode takes and .encode gives.
#define VAEKL_LATENT_RAW 0u
// What the diffusion model works on: scaling_factor, shift_factor and latents_mean/std are undone
// before decoding and applied after encoding.
#define VAEKL_LATENT_SCALED 1u

// A view of latents, contiguous NCHW. Batches are worked on one by one, so that memory does not
// grow with `batch` (what diffusers calls slicing).
typedef struct vaekl_latent {
  // The first value, aligned to its size. Only read when the view is an input.
  void *data;
  // Latents, 1 or more.
  uint32_t batch;
  // latent_channels of the model; twice that for moments.
  uint32_t channels;
  // Rows: those of the picture divided by the model's downscale.
  uint32_t height;
  // Columns, likewise.
  uint32_t width;
  // F32, F16 or BF16.
  vaekl_dtype dtype;
  // VAEKL_LATENT_RAW or VAEKL_LATENT_SCALED.
  uint32_t scale;
} vaekl_latent;

/* ---- model: immutable, shareable ------------------------------------------- */

// An open autoencoder: immutable, shared by any number of sessions and threads.
typedef struct vaekl_model vaekl_model;

// Latents to pictures.
#define VAEKL_PART_DECODER 1u
// Pictures to latents.
#define VAEKL_PART_ENCODER 2u

// How to open a model. Structs that begin with struct_size grow only at the end: call the _init
// function with sizeof(the struct), which fills in defaults and records the size, and a program
// compiled against an older header keeps working.
typedef struct vaekl_model_options {
  // sizeof(vaekl_model_options).
  size_t struct_size;
  // Default VAEKL_DEVICE_CPU.
  vaekl_device device;
  // Default 0, which is all a CPU has.
  uint32_t device_index;
  // Halves that must be there, a sum of VAEKL_PART; default both.
  uint32_t parts;
  // Storage of packed weights; default F32, the only one in this version.
  vaekl_dtype weight_dtype;
  // A config.json to use; default NULL: the checkpoint's own, or inferred from shapes.
  const char *config_path;
  // Name of a family of models ("sd", "sdxl", "flux"...) that tells what shapes cannot: scaling,
  // shift, latent statistics. Default NULL: guessed where the checkpoint has no configuration.
  const char *preset;
  // Variant of a diffusers folder: "fp16" opens diffusion_pytorch_model.fp16.safetensors. Default
  // NULL: none.
  const char *variant;
} vaekl_model_options;

// What is known of an open model.
typedef struct vaekl_model_info {
  // In: sizeof(vaekl_model_info). Out: bytes filled.
  size_t struct_size;
  // Channels of decoded pictures.
  uint32_t image_channels;
  // Channels of latents.
  uint32_t latent_channels;
  // Pixels of a picture's side per latent.
  uint32_t downscale;
  // Halves the model has, a sum of VAEKL_PART.
  uint32_t parts;
  // What VAEKL_LATENT_SCALED multiplies by.
  float scaling_factor;
  // What VAEKL_LATENT_SCALED subtracts first; 0 without one.
  float shift_factor;
  // Bytes of the weights in the checkpoint's dtypes; mapped where the model came from a file.
  uint64_t weight_bytes;
  // Number of weights.
  uint64_t parameters;
  // Channels of pictures to encode.
  uint32_t input_channels;
  // Fields of the configuration that were guessed; 0 when it was read.
  uint32_t guessed;
} vaekl_model_info;

// Fills in defaults: `options` of `struct_size` bytes, which is sizeof(vaekl_model_options).
vaekl_status vaekl_model_options_init(vaekl_model_options *options, size_t struct_size);

// Opens a diffusers folder or a .safetensors file. NULL `options` are the defaults. The file is
// mapped: it must not be changed while the model lives.
vaekl_status vaekl_model_open(const char *path,
                              const vaekl_model_options *options,
                              vaekl_model **out,
                              vaekl_error *error);

// Opens the `len` bytes of a .safetensors file in memory. They are borrowed, not copied: they must
// stay valid and unchanged until the model and all of its sessions are freed.
vaekl_status vaekl_model_open_bytes(const void *bytes,
                                    size_t len,
                                    const vaekl_model_options *options,
                                    vaekl_model **out,
                                    vaekl_error *error);

// Fills in `out`, whose struct_size the caller has set.
vaekl_status vaekl_model_get_info(const vaekl_model *model, vaekl_model_info *out);

// Frees a model. Its sessions hold their own reference and go on.
void vaekl_model_free(vaekl_model *model);

/* ---- session: one user at a time, owns threads and workspace --------------- */

// One user of a model at a time; owns threads and workspace.
typedef struct vaekl_session vaekl_session;

// Called on the calling thread from time to time. `done` and `total` count units of work. Return 0 to
// go on, non-zero to cancel.
typedef int32_t (*vaekl_progress_fn)(void *user, uint64_t done, uint64_t total);

// How a session works.
typedef struct vaekl_session_options {
  // sizeof(vaekl_session_options).
  size_t struct_size;
  // Bytes, weights included; 0 = no limit, the only one in this version.
  uint64_t memory_budget;
  // 0 = physical cores.
  uint32_t threads;
  // Storage between layers; default F32. F16 becomes F32 for a model whose force_upcast is set.
  vaekl_dtype activation_dtype;
  // Default VAEKL_TILING_EXACT, the only one in this version.
  vaekl_tiling tiling;
  // Latent pixels, 0 = planned; read by the other tilings only.
  uint32_t tile_size;
  // Latent pixels, 0 = default; read by the other tilings only.
  uint32_t tile_overlap;
  // Where activations may spill; default NULL, the only one in this version.
  const char *scratch_dir;
  // Optional, 64-byte aligned, borrowed; default NULL, the only one in this version.
  void *workspace;
  // At least vaekl_plan.workspace_bytes; 0 without a workspace.
  size_t workspace_size;
  // Optional.
  vaekl_progress_fn progress;
  // First argument of `progress`.
  void *progress_user;
  // Default VAEKL_ATTENTION_STREAMED.
  vaekl_attention attention;
  // 1 for one projection of query, key and value instead of three; default 0.
  uint32_t fuse_qkv;
} vaekl_session_options;

// What a call will need.
typedef struct vaekl_plan {
  // In: sizeof(vaekl_plan). Out: bytes filled.
  size_t struct_size;
  // Exact: found by planning the real graph.
  uint64_t workspace_bytes;
  // On disk, 0 without a scratch_dir.
  uint64_t scratch_bytes;
  // An upper bound: workspace and weights.
  uint64_t peak_bytes;
  // Tiles in a row, 1 when the picture is worked on whole.
  uint32_t tiles_x;
  // Tiles in a column, likewise.
  uint32_t tiles_y;
  // Latent pixels of a tile's side, 0 without tiles.
  uint32_t tile_size;
  // 1 when the result equals the untiled one.
  uint32_t exact;
} vaekl_plan;

// Fills in defaults: `options` of `struct_size` bytes, which is sizeof(vaekl_session_options).
vaekl_status vaekl_session_options_init(vaekl_session_options *options, size_t struct_size);

// What a session with `options` would do for a decode of this size. Allocates nothing that outlives
// the call. The caller has set out->struct_size.
vaekl_status vaekl_plan_decode(const vaekl_model *model,
                               const vaekl_session_options *options,
                               uint32_t latent_width,
                               uint32_t latent_height,
                               vaekl_plan *out,
                               vaekl_error *error);

// The same for an encode.
vaekl_status vaekl_plan_encode(const vaekl_model *model,
                               const vaekl_session_options *options,
                               uint32_t width,
                               uint32_t height,
                               vaekl_plan *out,
                               vaekl_error *error);

// Makes a session. NULL `options` are the defaults.
vaekl_status vaekl_session_new(const vaekl_model *model,
                               const vaekl_session_options *options,
                               vaekl_session **out,
                               vaekl_error *error);

// Makes the call that uses the session, if there is one, return VAEKL_ERR_CANCELLED within a fraction
// of a second. From any thread; a later call is not affected.
void vaekl_session_cancel(const vaekl_session *session);

// Bytes of workspace held since the last call ended. From any thread; 0 for NULL.
uint64_t vaekl_session_memory(const vaekl_session *session);

// Frees a session. Not while a call uses it; one that is in use (a callback frees it) is leaked.
void vaekl_session_free(vaekl_session *session);

/* ---- decode ---------------------------------------------------------------- */

// Decodes a batch: `out` is an image per latent, one after the other, each of `downscale` times the
// latent's width and height. When a later latent of the batch fails, or is cancelled, the images
// before it are complete.
vaekl_status vaekl_decode(vaekl_session *session,
                          const vaekl_latent *latent,
                          const vaekl_image *out,
                          vaekl_error *error);

// Takes rows of HWC pixels, top to bottom, each exactly once: `count` of them from row `y` on, each
// `row_stride` bytes after the one before. `rows` is valid during the call only. Return 0 to go on,
// non-zero to cancel.
typedef int32_t (*vaekl_rows_fn)(void *user,
                                 uint32_t y,
                                 uint32_t count,
                                 const void *rows,
                                 size_t row_stride);

// Decodes one latent and gives the picture to `on_rows`, on the calling thread.
vaekl_status vaekl_decode_rows(vaekl_session *session,
                               const vaekl_latent *latent,
                               vaekl_dtype dtype,
                               vaekl_rows_fn on_rows,
                               void *user,
                               vaekl_error *error);

/* ---- decode, pulled -------------------------------------------------------- */

// The rows of a decode, pulled: no callback crosses the boundary. VAEKL_ERR_UNSUPPORTED in this
// version; vaekl_decode_rows gives the same rows.
typedef struct vaekl_stream vaekl_stream;

// Opens the rows of one latent. The session is in use until the stream is freed.
vaekl_status vaekl_stream_open(vaekl_session *session,
                               const vaekl_latent *latent,
                               vaekl_dtype dtype,
                               vaekl_stream **out,
                               vaekl_error *error);

// Writes up to `max_rows` HWC rows to `dst` and their number to `rows_out`; returns VAEKL_END, with 0
// rows, after the last.
vaekl_status vaekl_stream_read(vaekl_stream *stream,
                               void *dst,
                               size_t row_stride,
                               uint32_t max_rows,
                               uint32_t *rows_out,
                               vaekl_error *error);

// Ends a stream, read to the end or not.
void vaekl_stream_free(vaekl_stream *stream);

/* ---- encode ---------------------------------------------------------------- */

// What of the posterior to give.
typedef uint32_t vaekl_posterior;
// The mean.
#define VAEKL_POSTERIOR_MODE 0u
// mean + std * N(0,1), drawn from the seed for the whole batch as torch.randn does on a CPU.
#define VAEKL_POSTERIOR_SAMPLE 1u
// Mean and logvar: 2 * latent_channels channels, VAEKL_LATENT_RAW only.
#define VAEKL_POSTERIOR_MOMENTS 2u

// Encodes a batch: `image` is an image per latent of `out`, one after the other. A latent has the
// image's width and height divided by `downscale`; each halving drops an odd last row or column.
// `seed` is read by VAEKL_POSTERIOR_SAMPLE only.
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
