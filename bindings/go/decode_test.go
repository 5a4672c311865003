package vaekl_test

import (
	"bytes"
	"context"
	"image"
	"image/png"
	"math"
	"os"
	"path/filepath"
	"sync"
	"testing"

	vaekl "libvaekl/bindings/go"
)

var background = context.Background()

func TestDecodeIsWhatTheCommandDecodes(t *testing.T) {
	session := newSession(t, open(t), nil)
	want := floats(t, "decoded.f32")
	decode := func(t *testing.T, out vaekl.Pixels) {
		t.Helper()
		out.Width, out.Height = width, height
		if err := session.Decode(background, fixture(t), out); err != nil {
			t.Fatal(err)
		}
	}
	t.Run("bytes", func(t *testing.T) {
		out := make(vaekl.Bytes, height*width*3)
		decode(t, vaekl.Pixels{Data: out})
		if !bytes.Equal(out, bytesOf(t, "picture.rgb")) {
			t.Error("other bytes than picture.rgb")
		}
	})
	t.Run("planes", func(t *testing.T) {
		out := make(vaekl.Float32s, 3*height*width)
		decode(t, vaekl.Pixels{Data: out, Layout: vaekl.CHW})
		sameBits(t, "planes", out, want)
	})
	t.Run("interleaved", func(t *testing.T) {
		out := make(vaekl.Float32s, height*width*3)
		decode(t, vaekl.Pixels{Data: out})
		sameBits(t, "interleaved", out, interleaved(want))
	})
	t.Run("bfloat16", func(t *testing.T) {
		out := make(vaekl.BFloat16s, 3*height*width)
		decode(t, vaekl.Pixels{Data: out, Layout: vaekl.CHW})
		for i, bits := range out {
			// Round half to even: of what is cut off, and the last bit that is kept.
			exact := math.Float32bits(want[i])
			if rounded := uint16((exact + 0x7fff + exact>>16&1) >> 16); bits != rounded {
				t.Fatalf("value %d is %#x, want %#x", i, bits, rounded)
			}
		}
	})
	t.Run("float16", func(t *testing.T) {
		out := make(vaekl.Float16s, 3*height*width)
		decode(t, vaekl.Pixels{Data: out, Layout: vaekl.CHW})
		for i, bits := range out {
			got, want := fromFloat16(bits), float64(want[i])
			if math.Abs(got-want) > math.Abs(want)/2048+1e-7 {
				t.Fatalf("value %d is %v, want %v", i, got, want)
			}
		}
	})
}

// interleaved is HWC of CHW.
func interleaved(planes []float32) []float32 {
	out := make([]float32, 0, len(planes))
	for i := range planes[:height*width] {
		out = append(out, planes[i], planes[height*width+i], planes[2*height*width+i])
	}
	return out
}

func fromFloat16(bits uint16) float64 {
	sign, exponent, fraction := 1-2*float64(bits>>15), int(bits>>10&31), float64(bits&1023)
	if exponent == 0 {
		return sign * math.Ldexp(fraction, -24)
	}
	return sign * math.Ldexp(1024+fraction, exponent-25)
}

func TestDecodeIntoPartOfAPicture(t *testing.T) {
	const stride, plane, margin = width + 3, (width+3)*height + 5, 7
	// An array within an object with pointers: what is not pixels is none of C's business.
	canvas := new(struct {
		other  *int
		values [2*margin + 3*plane]float32
	})
	canvas.other = new(int)
	for i := range canvas.values {
		canvas.values[i] = 9
	}
	out := vaekl.Pixels{
		Data: vaekl.Float32s(canvas.values[margin : margin+3*plane]), Width: width, Height: height,
		Layout: vaekl.CHW, RowStride: stride, PlaneStride: plane,
	}
	if err := newSession(t, open(t), nil).Decode(background, fixture(t), out); err != nil {
		t.Fatal(err)
	}
	want := make([]float32, len(canvas.values))
	for i := range want {
		want[i] = 9
	}
	decoded := floats(t, "decoded.f32")
	for row := 0; row < 3*height; row++ {
		at := margin + row/height*plane + row%height*stride
		copy(want[at:at+width], decoded[row*width:])
	}
	sameBits(t, "canvas", canvas.values[:], want)
}

func TestDecodeImage(t *testing.T) {
	session := newSession(t, open(t), nil)
	picture, err := session.DecodeImage(background, fixture(t))
	if err != nil {
		t.Fatal(err)
	}
	if picture.Bounds() != image.Rect(0, 0, width, height) {
		t.Error(picture.Bounds())
	}
	if !bytes.Equal(rgb(t, picture), bytesOf(t, "picture.rgb")) {
		t.Error("other bytes than picture.rgb")
	}
	var file bytes.Buffer
	if err := png.Encode(&file, picture); err != nil {
		t.Fatal(err)
	}
}

func TestDecodeABatch(t *testing.T) {
	session := newSession(t, open(t), nil)
	one := fixture(t)
	values := one.Data.(vaekl.Float32s)
	batch := one
	batch.Batch = 2
	batch.Data = append(append(vaekl.Float32s{}, values...), make(vaekl.Float32s, len(values))...)
	first, second, zeros := planes(), planes(), planes()
	if err := session.Decode(background, batch, first, second); err != nil {
		t.Fatal(err)
	}
	sameBits(t, "first", first.Data.(vaekl.Float32s), floats(t, "decoded.f32"))
	one.Data = make(vaekl.Float32s, len(values))
	if err := session.Decode(background, one, zeros); err != nil {
		t.Fatal(err)
	}
	sameBits(t, "second", second.Data.(vaekl.Float32s), zeros.Data.(vaekl.Float32s))
}

func TestScaledLatents(t *testing.T) {
	model := open(t)
	scaled, factor := fixture(t), model.Info().ScalingFactor
	scaled.Scale = vaekl.Scaled
	for i, values := 0, scaled.Data.(vaekl.Float32s); i < len(values); i++ {
		values[i] *= factor
	}
	picture, err := newSession(t, model, nil).DecodeImage(background, scaled)
	if err != nil {
		t.Fatal(err)
	}
	// Multiplied and divided by the factor, a value may differ in its last bit.
	got, want := rgb(t, picture), bytesOf(t, "picture.rgb")
	for i := range want {
		if difference := int(got[i]) - int(want[i]); difference < -1 || difference > 1 {
			t.Fatalf("byte %d is %d, want %d", i, got[i], want[i])
		}
	}
}

func TestHalfPrecisionLatents(t *testing.T) {
	session := newSession(t, open(t), nil)
	// These are the same numbers in any type.
	one := vaekl.Latents{Channels: 4, Height: 2, Width: 3}
	exact, half, brain := make(vaekl.Float32s, 24), make(vaekl.Float16s, 24), make(vaekl.BFloat16s, 24)
	for i := range exact {
		exact[i], half[i], brain[i] = 1.5, 0x3e00, 0x3fc0
	}
	var pictures [][]byte
	for _, data := range []vaekl.Values{exact, half, brain} {
		one.Data = data
		picture, err := session.DecodeImage(background, one)
		if err != nil {
			t.Fatal(err)
		}
		pictures = append(pictures, rgb(t, picture))
	}
	if !bytes.Equal(pictures[0], pictures[1]) || !bytes.Equal(pictures[0], pictures[2]) {
		t.Error("the types of latents differ")
	}
}

func TestSessionsOfOneModelAtTheSameTime(t *testing.T) {
	model := open(t)
	sessions := []*vaekl.Session{
		newSession(t, model, nil), newSession(t, model, &vaekl.SessionOptions{Threads: 2}),
	}
	var workers sync.WaitGroup
	for _, session := range sessions {
		workers.Add(1)
		go func() {
			defer workers.Done()
			for range 8 {
				out := planes()
				if err := session.Decode(background, fixture(t), out); err != nil {
					t.Error(err)
					return
				}
				sameBitsOrError(t, out)
			}
		}()
	}
	// Sessions hold what they need of it.
	model.Close()
	workers.Wait()
}

// sameBitsOrError is for goroutines, which must not end a test.
func sameBitsOrError(t *testing.T, out vaekl.Pixels) {
	want := toFloats(must(os.ReadFile("decoded.f32")))
	for i, value := range out.Data.(vaekl.Float32s) {
		if math.Float32bits(value) != math.Float32bits(want[i]) {
			t.Errorf("value %d is %v, want %v", i, value, want[i])
			return
		}
	}
}

func must[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}

func TestSessionOptions(t *testing.T) {
	model := open(t)
	scratch := t.TempDir()
	// The first bytes are exact; the others are those of another way to work.
	for name, test := range map[string]struct {
		options vaekl.SessionOptions
		exact   bool
	}{
		"threads": {vaekl.SessionOptions{Threads: 1}, true},
		"budget":  {vaekl.SessionOptions{MemoryBudget: 64 << 20, ScratchDir: scratch}, true},
		"diffusers": {
			vaekl.SessionOptions{Tiling: vaekl.TilingDiffusers, TileSize: 4, TileOverlap: 1}, false,
		},
		"seamless":   {vaekl.SessionOptions{Tiling: vaekl.TilingSeamless, TileSize: 4}, false},
		"bf16":       {vaekl.SessionOptions{ActivationDType: vaekl.BF16}, false},
		"row by row": {vaekl.SessionOptions{Attention: vaekl.AttentionRowByRow}, false},
		"fused":      {vaekl.SessionOptions{FuseQKV: true}, false},
	} {
		t.Run(name, func(t *testing.T) {
			session := newSession(t, model, &test.options)
			if test.exact {
				decodesRight(t, session)
			} else if _, err := session.DecodeImage(background, fixture(t)); err != nil {
				t.Fatal(err)
			}
			if session.Memory() == 0 {
				t.Error("no workspace after a call")
			}
			plan, err := model.PlanDecode(&test.options, latentWidth, latentHeight)
			if err != nil {
				t.Fatal(err)
			}
			tiled := test.options.TileSize > 0
			if (plan.TilesX > 1) != tiled || plan.TileSize != test.options.TileSize || plan.Exact == tiled {
				t.Errorf("%+v", plan)
			}
		})
	}
	if left, err := filepath.Glob(filepath.Join(scratch, "*")); err != nil || len(left) > 0 {
		t.Error("left in the scratch folder:", left, err)
	}
}

func TestPlan(t *testing.T) {
	model := open(t)
	decode, err := model.PlanDecode(nil, latentWidth, latentHeight)
	if err != nil {
		t.Fatal(err)
	}
	encode, err := model.PlanEncode(nil, width, height)
	if err != nil {
		t.Fatal(err)
	}
	for name, plan := range map[string]vaekl.Plan{"decode": decode, "encode": encode} {
		if plan.WorkspaceBytes == 0 || plan.PeakBytes <= plan.WorkspaceBytes || plan.ScratchBytes != 0 ||
			plan.TilesX != 1 || plan.TilesY != 1 || plan.TileSize != 0 || !plan.Exact {
			t.Errorf("%s: %+v", name, plan)
		}
	}
	session := newSession(t, model, nil)
	decodesRight(t, session)
	if session.Memory() != decode.WorkspaceBytes {
		t.Errorf("planned %d bytes, held %d", decode.WorkspaceBytes, session.Memory())
	}
}
