package vaekl

// #include <vaekl.h>
import "C"

import (
	"context"
	"io"
	"unsafe"
)

// Stream reads the rows of a decoded picture, top to bottom, interleaved (HWC). As an [io.Reader]
// it returns their bytes, in the machine's byte order; ReadRows returns values. One call at a time
// may use it. After an error, with which rows may come that are whole, no more come: each later
// call returns the same error.
type Stream struct {
	object   *object
	stream   *C.vaekl_stream
	session  *Session
	ctx      context.Context // that of Stream, which is for all of the stream
	dtype    DType
	width    int
	height   int
	channels int
	row      []byte // for readers with less room than a row, aligned to any value
	unread   []byte // what of row is still to be read
	err      error  // what ended the stream
}

// Stream decodes one latent to rows of values of dtype. The session is in use until the stream is
// closed. The context also covers reading.
func (s *Session) Stream(ctx context.Context, latents Latents, dtype DType) (*Stream, error) {
	if err := s.object.enter(true); err != nil {
		return nil, err
	}
	opened := false
	defer func() {
		if !opened {
			s.object.leave(true)
		}
	}()
	var a args
	defer a.free()
	view := a.latents("latents", latents)
	if a.err != nil {
		return nil, a.err
	}
	var stream *C.vaekl_stream
	err := s.watch.run(ctx, s.progress, func(e *C.vaekl_error) C.vaekl_status {
		return C.vaekl_stream_open(s.session, view, C.vaekl_dtype(dtype), &stream, e)
	})
	if err != nil {
		return nil, err
	}
	opened = true
	of := s.object
	return &Stream{
		object: newObject("stream", func() {
			C.vaekl_stream_free(stream)
			of.leave(true)
		}),
		stream:   stream,
		session:  s,
		ctx:      ctx,
		dtype:    dtype,
		width:    latents.Width * latents.factor(s.info),
		height:   latents.Height * latents.factor(s.info),
		channels: s.info.ImageChannels,
	}, nil
}

// Width is the width of the picture in pixels.
func (st *Stream) Width() int { return st.width }

// Height is the height of the picture in pixels.
func (st *Stream) Height() int { return st.height }

// Channels is the number of values per pixel.
func (st *Stream) Channels() int { return st.channels }

// Read reads bytes of the rows; [io.EOF] comes after the last.
func (st *Stream) Read(p []byte) (int, error) {
	if err := st.object.enter(true); err != nil {
		return 0, err
	}
	defer st.object.leave(true)
	if len(p) == 0 {
		return 0, nil
	}
	if len(st.unread) == 0 {
		aligned := uintptr(unsafe.Pointer(&p[0]))%uintptr(st.dtype.size()) == 0
		if size := st.rowBytes(); aligned && len(p) >= size {
			rows, err := st.pull(p, len(p)/size)
			return rows * size, err
		}
		if st.row == nil {
			words := make([]uint64, (st.rowBytes()+7)/8)
			st.row = unsafe.Slice((*byte)(unsafe.Pointer(&words[0])), st.rowBytes())
		}
		if _, err := st.pull(st.row, 1); err != nil {
			return 0, err
		}
		st.unread = st.row
	}
	n := copy(p, st.unread)
	st.unread = st.unread[n:]
	return n, nil
}

// ReadRows reads as many rows as fit dst, which has the stream's type, and returns their number;
// [io.EOF] comes after the last.
func (st *Stream) ReadRows(dst Values) (int, error) {
	if err := st.object.enter(true); err != nil {
		return 0, err
	}
	defer st.object.leave(true)
	row := st.width * st.channels
	switch {
	case dst == nil || dst.DType() != st.dtype:
		return 0, invalid("dst: values of the type that Stream was given expected, %T found", dst)
	case dst.Len() < row:
		return 0, invalid("dst: a row of %d values expected, %d found", row, dst.Len())
	case len(st.unread) > 0:
		return 0, &Error{Status: ErrState, Message: "stream: Read stopped within a row"}
	}
	bytes := unsafe.Slice((*byte)(dst.start()), dst.Len()*st.dtype.size())
	return st.pull(bytes, dst.Len()/row)
}

// pull makes C write that many rows to dst, or those left.
func (st *Stream) pull(dst []byte, rows int) (int, error) {
	if st.err != nil {
		return 0, st.err
	}
	count, most := C.uint32_t(0), C.uint32_t(min(rows, st.height))
	// Stays if Progress panics.
	st.err = &Error{Status: ErrState, Message: "stream: ended by a panic"}
	st.err = st.session.watch.run(st.ctx, st.session.progress, func(e *C.vaekl_error) C.vaekl_status {
		return C.vaekl_stream_read(st.stream, unsafe.Pointer(&dst[0]), 0, most, &count, e)
	})
	if st.err == nil && count == 0 {
		st.err = io.EOF
	}
	return int(count), st.err
}

func (st *Stream) rowBytes() int {
	return st.width * st.channels * st.dtype.size()
}

// Close ends the stream, at its end or before; its session can then take another call. It always
// returns nil.
func (st *Stream) Close() error {
	st.object.close()
	return nil
}
