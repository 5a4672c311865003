package vaekl

// #include <stdlib.h>
// #include <vaekl.h>
import "C"

import (
	"math"
	"math/bits"
	"runtime"
	"strings"
	"unsafe"
)

// args converts the arguments of one call to C. It keeps the first error, and the cleanup for free
// after the call.
type args struct {
	err    error
	memory []unsafe.Pointer
	pinner runtime.Pinner
}

func (a *args) free() {
	for _, memory := range a.memory {
		C.free(memory)
	}
	a.pinner.Unpin()
}

func (a *args) refuse(format string, values ...any) {
	if a.err == nil {
		a.err = invalid(format, values...)
	}
}

// text is a C string.
func (a *args) text(name, value string) *C.char {
	if strings.IndexByte(value, 0) >= 0 {
		a.refuse("%s: a NUL in %q", name, value)
		return nil
	}
	text := C.CString(value)
	a.memory = append(a.memory, unsafe.Pointer(text))
	return text
}

// optional is a C string, NULL if empty.
func (a *args) optional(name, value string) *C.char {
	if value == "" {
		return nil
	}
	return a.text(name, value)
}

func (a *args) number(name string, value int) C.uint32_t {
	if value < 0 || uint64(value) > math.MaxUint32 {
		a.refuse("%s: 0 to %d expected, %d found", name, uint32(math.MaxUint32), value)
		return 0
	}
	return C.uint32_t(value)
}

// latents is a view of l, useless after an error. It and the values it points to are in Go's
// memory, which must therefore be pinned.
func (a *args) latents(name string, l Latents) *C.vaekl_latent {
	batch := l.batch()
	view := C.vaekl_latent{
		batch:    a.number(name+".Batch", batch),
		channels: a.number(name+".Channels", l.Channels),
		height:   a.number(name+".Height", l.Height),
		width:    a.number(name+".Width", l.Width),
		scale:    C.uint32_t(l.Scale),
	}
	expected := mulAdd(mulAdd(mulAdd(batch, l.Channels, 0), l.Height, 0), l.Width, 0)
	view.data, view.dtype = a.data(name, l.Data, expected, true)
	return &view
}

// pictures are views of p, one per latent of a batch, useless after an error.
func (a *args) pictures(name string, p []Pixels, batch, channels int) *C.vaekl_image {
	if len(p) != batch {
		a.refuse("%s: one picture for each latent expected, %d found for %d", name, len(p), batch)
	}
	if a.err != nil {
		return nil
	}
	views := make([]C.vaekl_image, len(p))
	for i := range views {
		views[i] = a.picture(name, p[i], channels)
	}
	return &views[0]
}

func (a *args) picture(name string, p Pixels, channels int) C.vaekl_image {
	view := C.vaekl_image{
		width:  a.number(name+".Width", p.Width),
		height: a.number(name+".Height", p.Height),
		layout: C.vaekl_layout(p.Layout),
	}
	if p.RowStride < 0 || p.PlaneStride < 0 {
		a.refuse("%s: strides of 0 or more expected, %d and %d found", name, p.RowStride, p.PlaneStride)
	}
	packed := p.RowStride == 0 && p.PlaneStride == 0
	view.data, view.dtype = a.data(name, p.Data, p.span(channels), packed)
	size := DType(view.dtype).size()
	view.row_stride = C.size_t(mulAdd(p.RowStride, size, 0))
	view.plane_stride = C.size_t(mulAdd(p.PlaneStride, size, 0))
	return view
}

// data pins values after checking their number, exactly or at least.
func (a *args) data(
	name string, values Values, expected int, exactly bool,
) (unsafe.Pointer, C.vaekl_dtype) {
	switch {
	case a.err != nil:
	case values == nil:
		a.refuse("%s.Data: nil", name)
	case expected == 0:
		a.refuse("%s: a size without values", name)
	case values.Len() < expected || exactly && values.Len() > expected:
		a.refuse("%s.Data: %d values expected for its size, %d found", name, expected, values.Len())
	default:
		a.pinner.Pin(values.start())
		return values.start(), C.vaekl_dtype(values.DType())
	}
	return nil, 0
}

// mulAdd is a * b + c, or the largest int on overflow. None may be negative.
func mulAdd(a, b, c int) int {
	high, low := bits.Mul64(uint64(a), uint64(b))
	low, carry := bits.Add64(low, uint64(c), 0)
	if high+carry > 0 || low > math.MaxInt {
		return math.MaxInt
	}
	return int(low)
}
