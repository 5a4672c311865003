// Package vaekl decodes latents of Stable Diffusion to pictures and encodes pictures to latents on
// CPUs, with libvaekl, the AutoencoderKL as a shared library. pkg-config finds the library.
//
// A [Model] is immutable and shared by any number of goroutines. A [Session] runs it, one call at a
// time, with its own threads and workspace: make one per concurrent goroutine. Results are the same
// bits for any number of sessions and threads and any memory budget.
//
// Calls that compute take a context and end soon after it does, with an error that is both
// [ErrCancelled] and the context's own. Every error of the library is an [*Error] with a [Status]
// for [errors.Is].
//
// Close frees the C memory of a model, a session or a stream. It may be called at any time and more
// than once: a call in progress goes on, and the memory is freed when it ends. An unclosed object
// is freed some time after it becomes unreachable.
package vaekl

// #cgo pkg-config: vaekl
// #include <vaekl.h>
import "C"

// Version is the version of the loaded library, such as "0.1.0".
func Version() string {
	return C.GoString(C.vaekl_version_string())
}

// CPULevel is the instruction set of new sessions: "avx512", "avx2" or "portable". The environment
// variable VAEKL_CPU can lower it; "invalid" if it names no level of this architecture.
func CPULevel() string {
	return C.GoString(C.vaekl_cpu_level())
}

// DType is the type of a value.
type DType uint32

const (
	F32  DType = C.VAEKL_DTYPE_F32  // IEEE 754 binary32
	F16  DType = C.VAEKL_DTYPE_F16  // IEEE 754 binary16
	BF16 DType = C.VAEKL_DTYPE_BF16 // bfloat16
	U8   DType = C.VAEKL_DTYPE_U8   // pixels only: [-1, 1] is [0, 255], clamped, rounded half to even
)

// size is the size of a value in bytes.
func (t DType) size() int {
	switch t {
	case F32:
		return 4
	case F16, BF16:
		return 2
	default:
		return 1
	}
}

// Layout is the order of a picture's values.
type Layout uint32

const (
	HWC Layout = C.VAEKL_LAYOUT_HWC // interleaved
	CHW Layout = C.VAEKL_LAYOUT_CHW // a plane for each channel
)

// Scale tells raw latents from those of the diffusion model.
type Scale uint32

const (
	// Raw latents are those that diffusers' AutoencoderKL.decode takes and its encode returns.
	Raw Scale = C.VAEKL_LATENT_RAW
	// Scaled latents are those of the diffusion model: scaling factor, shift and latent statistics are
	// undone before decoding and applied after encoding.
	Scaled Scale = C.VAEKL_LATENT_SCALED
)

// Device is where a model runs.
type Device uint32

const (
	DeviceCPU  Device = C.VAEKL_DEVICE_CPU
	DeviceCUDA Device = C.VAEKL_DEVICE_CUDA // ErrUnsupported in this version of the library
)

// Parts is a sum of the halves of a model.
type Parts uint32

const (
	PartDecoder Parts = C.VAEKL_PART_DECODER // latents to pictures
	PartEncoder Parts = C.VAEKL_PART_ENCODER // pictures to latents
)

// Tiling tells whether to split a picture that is larger than a tile.
type Tiling uint32

const (
	// TilingExact uses no tiles: the result of the whole picture.
	TilingExact Tiling = C.VAEKL_TILING_EXACT
	// TilingDiffusers uses the overlapping, blended tiles of diffusers, with their seams.
	TilingDiffusers Tiling = C.VAEKL_TILING_DIFFUSERS
	// TilingSeamless decodes in tiles that share the statistics of the whole picture: no seams, an
	// error far below one 8-bit step, at least twice the time. Encoding is exact.
	TilingSeamless Tiling = C.VAEKL_TILING_SEAMLESS
)

// Attention is the attention algorithm. Both give the same result up to rounding.
type Attention uint32

const (
	// AttentionStreamed makes one pass over the keys, with a running softmax.
	AttentionStreamed Attention = C.VAEKL_ATTENTION_STREAMED
	// AttentionRowByRow computes all scores of a few queries, then their softmax.
	AttentionRowByRow Attention = C.VAEKL_ATTENTION_ROW_BY_ROW
)
