package vaekl_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"math"
	"os"
	"testing"
	"testing/iotest"

	vaekl "libvaekl/bindings/go"
)

func stream(t testing.TB, session *vaekl.Session, dtype vaekl.DType) *vaekl.Stream {
	t.Helper()
	stream, err := session.Stream(background, fixture(t), dtype)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stream.Close() })
	if stream.Width() != width || stream.Height() != height || stream.Channels() != 3 {
		t.Fatal(stream.Width(), stream.Height(), stream.Channels())
	}
	return stream
}

func TestStreamReads(t *testing.T) {
	session := newSession(t, open(t), nil)
	want := bytesOf(t, "picture.rgb")
	t.Run("as a reader", func(t *testing.T) {
		stream := stream(t, session, vaekl.U8)
		defer stream.Close()
		if err := iotest.TestReader(stream, want); err != nil {
			t.Error(err)
		}
	})
	for name, reader := range map[string]func(io.Reader) io.Reader{
		"whole":        func(r io.Reader) io.Reader { return r },
		"in halves":    iotest.HalfReader,
		"byte by byte": iotest.OneByteReader,
	} {
		t.Run(name, func(t *testing.T) {
			stream := stream(t, session, vaekl.U8)
			defer stream.Close()
			got, err := io.ReadAll(reader(stream))
			if err != nil || !bytes.Equal(got, want) {
				t.Error("other bytes than picture.rgb", err)
			}
			if n, err := stream.Read(make([]byte, 9999)); n != 0 || err != io.EOF {
				t.Error("after the end:", n, err)
			}
		})
	}
	t.Run("floats at any address", func(t *testing.T) {
		stream := stream(t, session, vaekl.F32)
		defer stream.Close()
		want := interleaved(floats(t, "decoded.f32"))
		got := make([]byte, 4*len(want)+1)[1:]
		if _, err := io.ReadFull(stream, got); err != nil {
			t.Fatal(err)
		}
		for i := range want {
			if bits := binary.NativeEndian.Uint32(got[4*i:]); bits != math.Float32bits(want[i]) {
				t.Fatalf("value %d is %v, want %v", i, math.Float32frombits(bits), want[i])
			}
		}
	})
}

func TestStreamReadsRows(t *testing.T) {
	session := newSession(t, open(t), nil)
	want := interleaved(floats(t, "decoded.f32"))
	// Within an object with pointers: what is not the buffer is none of C's business.
	object := new(struct {
		other  *int
		buffer [(height+3)*width*3 + 2]float32
	})
	object.other = new(int)
	for _, rows := range []int{1, 7, height, height + 3} {
		stream := stream(t, session, vaekl.F32)
		var got []float32
		buffer := vaekl.Float32s(object.buffer[:rows*width*3+2])
		for {
			n, err := stream.ReadRows(buffer)
			got = append(got, buffer[:n*width*3]...)
			if err == io.EOF {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		sameBits(t, "rows", got, want)
		stream.Close()
	}
}

func TestStreamOfTiles(t *testing.T) {
	options := &vaekl.SessionOptions{Tiling: vaekl.TilingDiffusers, TileSize: 4}
	session := newSession(t, open(t), options)
	picture, err := session.DecodeImage(background, fixture(t))
	if err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(stream(t, session, vaekl.U8))
	if err != nil || !bytes.Equal(got, rgb(t, picture)) {
		t.Error("other bytes than those of DecodeImage", err)
	}
}

func TestStreamHasItsSession(t *testing.T) {
	session := newSession(t, open(t), nil)
	stream := stream(t, session, vaekl.U8)
	if _, err := session.DecodeImage(background, fixture(t)); !errors.Is(err, vaekl.ErrState) {
		t.Error("a call beside the stream:", err)
	}
	row := make(vaekl.Bytes, width*3)
	if n, err := stream.ReadRows(row); n != 1 || err != nil {
		t.Fatal(n, err)
	}
	stream.Close()
	stream.Close()
	if _, err := stream.Read(row); !errors.Is(err, vaekl.ErrState) || !errors.Is(err, os.ErrClosed) {
		t.Error("read after Close:", err)
	}
	if _, err := stream.ReadRows(row); !errors.Is(err, os.ErrClosed) {
		t.Error("rows after Close:", err)
	}
	decodesRight(t, session)
}

func TestStreamOutlivesItsClosedSession(t *testing.T) {
	session := newSession(t, open(t), nil)
	stream := stream(t, session, vaekl.U8)
	session.Close()
	got, err := io.ReadAll(stream)
	if err != nil || !bytes.Equal(got, bytesOf(t, "picture.rgb")) {
		t.Error("other bytes than picture.rgb", err)
	}
	stream.Close()
	if _, err := session.DecodeImage(background, fixture(t)); !errors.Is(err, os.ErrClosed) {
		t.Error(err)
	}
}

func TestStreamRefuses(t *testing.T) {
	session := newSession(t, open(t), nil)
	_, err := session.Stream(background, fixture(t), 77)
	if !errors.Is(err, vaekl.ErrInvalidArgument) {
		t.Error("a type that is none:", err)
	}
	batch := fixture(t)
	batch.Batch, batch.Height = 5, 1
	_, err = session.Stream(background, batch, vaekl.U8)
	if !errors.Is(err, vaekl.ErrInvalidArgument) {
		t.Error("a batch:", err)
	}
	stream := stream(t, session, vaekl.U8)
	for name, dst := range map[string]vaekl.Values{
		"nothing":       nil,
		"another type":  make(vaekl.Float32s, width*3),
		"less than one": make(vaekl.Bytes, width*3-1),
	} {
		if _, err := stream.ReadRows(dst); !errors.Is(err, vaekl.ErrInvalidArgument) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if n, err := stream.Read(nil); n != 0 || err != nil {
		t.Error("no room:", n, err)
	}
	if _, err := stream.Read(make([]byte, 5)); err != nil {
		t.Fatal(err)
	}
	if _, err := stream.ReadRows(make(vaekl.Bytes, width*3)); !errors.Is(err, vaekl.ErrState) {
		t.Error("rows from within a row:", err)
	}
}
