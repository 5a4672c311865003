package vaekl_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"image"
	"math"
	"os"
	"path/filepath"
	"testing"

	vaekl "libvaekl/bindings/go"
)

// The fixture: latents of 4x5x7, pictures of 3x40x56.
const (
	latentHeight, latentWidth = 5, 7
	height, width             = 40, 56
)

// source is the folder of this package. Tests run among their data.
var source string

func TestMain(m *testing.M) {
	var err error
	if source, err = os.Getwd(); err == nil {
		data := os.Getenv("VAEKL_TEST_DATA")
		if data == "" {
			data = filepath.FromSlash("../../target/hosts/ä b/libvaekl/data")
		}
		err = os.Chdir(data)
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "%v\nscripts/hosts/go makes the data and runs the tests\n", err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

func bytesOf(t testing.TB, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func floats(t testing.TB, name string) []float32 {
	t.Helper()
	return toFloats(bytesOf(t, name))
}

// toFloats reads little-endian values.
func toFloats(data []byte) []float32 {
	values := make([]float32, len(data)/4)
	for i := range values {
		values[i] = math.Float32frombits(binary.LittleEndian.Uint32(data[4*i:]))
	}
	return values
}

// fixture is what diffusers decodes.
func fixture(t testing.TB) vaekl.Latents {
	t.Helper()
	return vaekl.Latents{
		Data: vaekl.Float32s(floats(t, "latents.f32")), Channels: 4,
		Height: latentHeight, Width: latentWidth,
	}
}

// large are latents that take long enough to decode for something to come between.
func large() vaekl.Latents {
	return vaekl.Latents{Data: make(vaekl.Float32s, 4*96*96), Channels: 4, Height: 96, Width: 96}
}

func largeOut() vaekl.Pixels {
	return vaekl.Pixels{Data: make(vaekl.Bytes, 768*768*3), Width: 768, Height: 768}
}

// planes is room for a picture of the fixture.
func planes() vaekl.Pixels {
	return vaekl.Pixels{
		Data: make(vaekl.Float32s, 3*height*width), Width: width, Height: height, Layout: vaekl.CHW,
	}
}

func open(t testing.TB) *vaekl.Model {
	t.Helper()
	model, err := vaekl.Open("model", nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { model.Close() })
	return model
}

func newSession(t testing.TB, model *vaekl.Model, options *vaekl.SessionOptions) *vaekl.Session {
	t.Helper()
	session, err := model.NewSession(options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { session.Close() })
	return session
}

// sameBits compares values and not just numbers: a NaN or -0 is what it is.
func sameBits(t testing.TB, what string, got, want []float32) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%s: %d values, want %d", what, len(got), len(want))
	}
	for i := range got {
		if math.Float32bits(got[i]) != math.Float32bits(want[i]) {
			t.Fatalf("%s: value %d is %v, want %v", what, i, got[i], want[i])
		}
	}
}

// decodesRight fails the test unless the session decodes the fixture to what the command decodes it
// to.
func decodesRight(t testing.TB, session *vaekl.Session) {
	t.Helper()
	out := planes()
	if err := session.Decode(context.Background(), fixture(t), out); err != nil {
		t.Fatal(err)
	}
	sameBits(t, "decoded", out.Data.(vaekl.Float32s), floats(t, "decoded.f32"))
}

// rgb are the bytes of a picture without alpha.
func rgb(t testing.TB, picture image.Image) []byte {
	t.Helper()
	rgba, ok := picture.(*image.RGBA)
	if !ok || rgba.Stride != 4*rgba.Rect.Dx() || !rgba.Opaque() {
		t.Fatalf("%T: a packed, opaque image.RGBA expected", picture)
	}
	var bytes []byte
	for pix := rgba.Pix; len(pix) > 0; pix = pix[4:] {
		bytes = append(bytes, pix[:3]...)
	}
	return bytes
}
