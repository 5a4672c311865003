package vaekl

import "unsafe"

// Values is a slice of numbers of a type known to the library: [Float32s], [Float16s], [BFloat16s]
// or [Bytes]. Converting a slice to one of these copies nothing.
type Values interface {
	// Len is the number of values.
	Len() int
	// DType is their type.
	DType() DType

	start() unsafe.Pointer
}

// Float32s are values of type [F32].
type Float32s []float32

// Float16s are values of type [F16], as bits.
type Float16s []uint16

// BFloat16s are values of type [BF16], as bits.
type BFloat16s []uint16

// Bytes are values of type [U8].
type Bytes []uint8

// Len is the number of values.
func (v Float32s) Len() int { return len(v) }

// DType is [F32].
func (v Float32s) DType() DType { return F32 }

func (v Float32s) start() unsafe.Pointer { return unsafe.Pointer(unsafe.SliceData(v)) }

// Len is the number of values.
func (v Float16s) Len() int { return len(v) }

// DType is [F16].
func (v Float16s) DType() DType { return F16 }

func (v Float16s) start() unsafe.Pointer { return unsafe.Pointer(unsafe.SliceData(v)) }

// Len is the number of values.
func (v BFloat16s) Len() int { return len(v) }

// DType is [BF16].
func (v BFloat16s) DType() DType { return BF16 }

func (v BFloat16s) start() unsafe.Pointer { return unsafe.Pointer(unsafe.SliceData(v)) }

// Len is the number of values.
func (v Bytes) Len() int { return len(v) }

// DType is [U8].
func (v Bytes) DType() DType { return U8 }

func (v Bytes) start() unsafe.Pointer { return unsafe.Pointer(unsafe.SliceData(v)) }

// Latents is a batch of latents, contiguous NCHW. It is a view: the values are the caller's.
type Latents struct {
	// Data has Batch x Channels x Height x Width values: Float32s, Float16s or BFloat16s.
	Data Values
	// Batch is the number of latents; 0 is 1. They are worked on one by one, so that
	// memory does not grow with it.
	Batch int
	// Channels is LatentChannels of the model; twice that for moments. Scaled latents of a model with
	// a PatchSize p may be folded: p * p times as many, Height and Width divided by p.
	Channels int
	// Height and Width are those of the picture divided by the model's Downscale.
	Height, Width int
	// Scale is Raw, the default, or Scaled.
	Scale Scale
}

func (l Latents) batch() int {
	if l.Batch == 0 {
		return 1
	}
	return l.Batch
}

// factor is the number of pixels of a picture's side per Height or Width.
func (l Latents) factor(info ModelInfo) int {
	patch := info.PatchSize
	if patch > 1 && l.Scale == Scaled && l.Channels == info.LatentChannels*patch*patch {
		return info.Downscale * patch
	}
	return info.Downscale
}

// check refuses what is not a view.
func (l Latents) check() error {
	var a args
	defer a.free()
	a.latents("latents", l)
	return a.err
}

// Pixels is a picture, of as many channels as the model's. It is a view: the values are the
// caller's. They are about [-1, 1], and decoded ones are not clamped, except as [Bytes].
type Pixels struct {
	// Data begins with the first pixel.
	Data Values
	// Width and Height are in pixels.
	Width, Height int
	// Layout is HWC, the default, or CHW.
	Layout Layout
	// RowStride is the number of values from a row to the next; 0 is packed. What is
	// between rows is left alone.
	RowStride int
	// PlaneStride is the number of values from a plane to the next, 0 is packed. Of CHW only.
	PlaneStride int
}

// span is the number of values from the first to the end of the last, the largest int where it is
// more. Sizes and strides are not negative.
func (p Pixels) span(channels int) int {
	if p.Width == 0 || p.Height == 0 {
		return 0
	}
	planes, row := 1, mulAdd(p.Width, channels, 0)
	if p.Layout == CHW {
		planes, row = channels, p.Width
	}
	rowStride := p.RowStride
	if rowStride == 0 {
		rowStride = row
	}
	planeStride := p.PlaneStride
	if planeStride == 0 {
		planeStride = mulAdd(p.Height, rowStride, 0)
	}
	return mulAdd(planes-1, planeStride, mulAdd(p.Height-1, rowStride, row))
}
