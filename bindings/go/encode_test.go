package vaekl_test

import (
	"image"
	"image/color"
	"math"
	"testing"

	vaekl "libvaekl/bindings/go"
)

// input is what diffusers encodes.
func input(t testing.TB) vaekl.Pixels {
	t.Helper()
	return vaekl.Pixels{
		Data: vaekl.Float32s(floats(t, "image.f32")), Width: width, Height: height, Layout: vaekl.CHW,
	}
}

// gradient is a picture of the fixture's size whose colours are all different.
func gradient() *image.NRGBA {
	picture := image.NewNRGBA(image.Rect(3, 4, 3+width, 4+height))
	for i := range picture.Pix {
		picture.Pix[i] = uint8(i * 7)
	}
	return picture
}

func room(channels int) vaekl.Latents {
	return vaekl.Latents{
		Data:     make(vaekl.Float32s, channels*latentHeight*latentWidth),
		Channels: channels, Height: latentHeight, Width: latentWidth,
	}
}

func TestEncodeIsWhatTheCommandEncodes(t *testing.T) {
	model := open(t)
	session := newSession(t, model, nil)
	encode := func(posterior vaekl.Posterior, out vaekl.Latents) []float32 {
		t.Helper()
		if err := session.Encode(background, out, posterior, input(t)); err != nil {
			t.Fatal(err)
		}
		return out.Data.(vaekl.Float32s)
	}
	mode := encode(vaekl.Mode(), room(4))
	sameBits(t, "mode", mode, floats(t, "mode.f32"))
	sameBits(t, "sample", encode(vaekl.Sample(7), room(4)), floats(t, "sample.f32"))
	sameBits(t, "the mean of moments", encode(vaekl.Moments(), room(8))[:len(mode)], mode)

	scaled := room(4)
	scaled.Scale = vaekl.Scaled
	factor := model.Info().ScalingFactor
	for i, value := range encode(vaekl.Mode(), scaled) {
		// The library has more digits of the factor.
		if want := mode[i] * factor; math.Abs(float64(value-want)) > 1e-6*math.Abs(float64(want)) {
			t.Fatalf("scaled: value %d is %v, want %v", i, value, want)
		}
	}
}

func TestEncodeABatch(t *testing.T) {
	session := newSession(t, open(t), nil)
	out := room(4)
	out.Batch = 2
	out.Data = make(vaekl.Float32s, 2*4*latentHeight*latentWidth)
	if err := session.Encode(background, out, vaekl.Mode(), input(t), input(t)); err != nil {
		t.Fatal(err)
	}
	mode := floats(t, "mode.f32")
	sameBits(t, "batch", out.Data.(vaekl.Float32s), append(mode, mode...))
}

func TestEncodeImage(t *testing.T) {
	session := newSession(t, open(t), nil)
	picture := gradient()
	var bytes vaekl.Bytes
	for pix := picture.Pix; len(pix) > 0; pix = pix[4:] {
		bytes = append(bytes, pix[:3]...)
	}
	want := room(4)
	pixels := vaekl.Pixels{Data: bytes, Width: width, Height: height}
	if err := session.Encode(background, want, vaekl.Sample(3), pixels); err != nil {
		t.Fatal(err)
	}
	opaque := image.NewRGBA(picture.Rect)
	for i := range opaque.Pix {
		opaque.Pix[i] = picture.Pix[i] | uint8(0xff*(i%4/3))
	}
	// As much as Go has of it: any image, at any place.
	for name, picture := range map[string]image.Image{
		"NRGBA": picture, "RGBA": opaque, "another": wrapped{opaque},
	} {
		got, err := session.EncodeImage(background, picture, vaekl.Sample(3), vaekl.Raw)
		if err != nil {
			t.Fatal(err)
		}
		if got.Channels != 4 || got.Height != latentHeight || got.Width != latentWidth ||
			got.Scale != vaekl.Raw {
			t.Errorf("%s: %dx%dx%d", name, got.Channels, got.Height, got.Width)
		}
		sameBits(t, name, got.Data.(vaekl.Float32s), want.Data.(vaekl.Float32s))
	}
	moments, err := session.EncodeImage(background, picture, vaekl.Moments(), vaekl.Raw)
	if err != nil || moments.Channels != 8 || moments.Data.Len() != 2*want.Data.Len() {
		t.Error(moments.Channels, err)
	}
}

// wrapped is an image of no type that anybody knows.
type wrapped struct{ image.Image }

func (w wrapped) At(x, y int) color.Color { return color.RGBA64Model.Convert(w.Image.At(x, y)) }
