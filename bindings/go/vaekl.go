// Package vaekl turns latents of Stable Diffusion into pictures and pictures into latents
// on ordinary processors, with libvaekl, the AutoencoderKL as a shared library.
// pkg-config finds the library.
//
// A [Model] is immutable and used from any number of goroutines. A [Session] is one user of it at a
// time, with threads and a workspace of its own: one for each goroutine that works at the same
// time. Results are the same bits for any number of sessions, threads and any memory budget.
//
// Calls that compute take a context and end soon after it does, with an error that is both
// [ErrCancelled] and the context's own. All errors of the library are an [*Error], and its [Status]
// for [errors.Is].
//
// Close frees what a model, a session or a stream has of C's memory. It may be called at any time
// and more than once: a call in progress goes on, and the memory is freed as it ends. What is not
// closed is freed some time after it became unreachable.
package vaekl

// #cgo pkg-config: vaekl
// #include <vaekl.h>
import "C"

// Version is the version of the library in use, as "0.1.0".
func Version() string {
	return C.GoString(C.vaekl_version_string())
}

// CPULevel is the instruction set that sessions will use: "avx512", "avx2" or "portable". The
// environment variable VAEKL_CPU lowers it; "invalid" when that is no level of this architecture.
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

// size is that of a value in bytes.
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

// Scale says what latents are those of.
type Scale uint32

const (
	// Raw is what AutoencoderKL.decode of diffusers takes and its encode gives.
	Raw Scale = C.VAEKL_LATENT_RAW
	// Scaled is what the diffusion model works on: scaling factor, shift and latent statistics are
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

// Tiling is how a picture larger than a tile is worked on.
type Tiling uint32

const (
	// TilingExact gives the result of the whole picture in one piece.
	TilingExact Tiling = C.VAEKL_TILING_EXACT
	// TilingDiffusers has the tiles and blends of diffusers.
	TilingDiffusers Tiling = C.VAEKL_TILING_DIFFUSERS
	// TilingSeamless decodes in tiles that share the statistics of the whole picture: no seams, an
	// error far below a step of 8 bits, twice the time or more. Encoding is exact.
	TilingSeamless Tiling = C.VAEKL_TILING_SEAMLESS
)

// Attention is how attention is computed. The two agree up to rounding.
type Attention uint32

const (
	// AttentionStreamed makes one pass over the keys with a running softmax.
	AttentionStreamed Attention = C.VAEKL_ATTENTION_STREAMED
	// AttentionRowByRow has all scores of a few queries at a time, then their softmax.
	AttentionRowByRow Attention = C.VAEKL_ATTENTION_ROW_BY_ROW
)
