package vaekl_test

import (
	"bytes"
	"image"
	"io"
	"math"
	"strings"
	"testing"

	vaekl "libvaekl/bindings/go"
)

// family opens one of the models beside AutoencoderKL.
func family(t testing.TB, name string) *vaekl.Model {
	t.Helper()
	model, err := vaekl.Open(name, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { model.Close() })
	return model
}

// of are latents of the values in a file, or room for them if name is empty.
func of(t testing.TB, name string, channels, height, width int, scale vaekl.Scale) vaekl.Latents {
	t.Helper()
	data := make(vaekl.Float32s, channels*height*width)
	if name != "" {
		data = floats(t, name)
	}
	return vaekl.Latents{
		Data: data, Channels: channels, Height: height, Width: width, Scale: scale,
	}
}

func planar(data []float32, height, width int) vaekl.Pixels {
	return vaekl.Pixels{Data: vaekl.Float32s(data), Width: width, Height: height, Layout: vaekl.CHW}
}

func TestFamilies(t *testing.T) {
	for name, test := range map[string]struct {
		family           string
		posterior, masks bool
		patchSize        int
	}{
		"model":      {"AutoencoderKL", true, false, 1},
		"tiny":       {"AutoencoderTiny", false, false, 1},
		"flux2":      {"AutoencoderKLFlux2", true, false, 2},
		"asymmetric": {"AsymmetricAutoencoderKL", true, true, 1},
	} {
		model := family(t, name)
		info := model.Info()
		if model.Family() != test.family || info.Posterior != test.posterior ||
			info.Masks != test.masks || info.PatchSize != test.patchSize ||
			!strings.Contains(model.FamilySource(), "config.json") {
			t.Errorf("%s: %s by %s, %+v", name, model.Family(), model.FamilySource(), info)
		}
	}
}

func TestFamiliesAreWhatTheCommandMakes(t *testing.T) {
	for name, test := range map[string]struct{ channels, height, width, high, wide, down, across int }{
		"tiny":       {4, 7, 5, 37, 51, 10, 13}, // odd sides are rounded up
		"flux2":      {6, 6, 8, 32, 48, 4, 6},
		"asymmetric": {4, 5, 7, 40, 56, 5, 7},
	} {
		t.Run(name, func(t *testing.T) {
			model := family(t, name)
			session, down := newSession(t, model, nil), model.Info().Downscale
			latents := of(t, name+"/latents.f32", test.channels, test.height, test.width, vaekl.Raw)
			want := floats(t, name+"/decoded.f32")
			got := make([]float32, len(want))
			out := planar(got, test.height*down, test.width*down)
			if err := session.Decode(background, latents, out); err != nil {
				t.Fatal(err)
			}
			sameBits(t, "decoded", got, want)

			encoded := of(t, "", test.channels, test.down, test.across, vaekl.Raw)
			picture := planar(floats(t, name+"/image.f32"), test.high, test.wide)
			if err := session.Encode(background, encoded, vaekl.Mode(), picture); err != nil {
				t.Fatal(err)
			}
			sameBits(t, "encoded", encoded.Data.(vaekl.Float32s), floats(t, name+"/encoded.f32"))

			size := image.Rect(0, 0, test.wide, test.high)
			from, err := session.EncodeImage(background, image.NewRGBA(size), vaekl.Mode(), vaekl.Raw)
			if err != nil || from.Height != test.down || from.Width != test.across {
				t.Error(from.Height, from.Width, err)
			}
		})
	}
}

func TestLatentsWithoutAPosterior(t *testing.T) {
	session := newSession(t, family(t, "tiny"), nil)
	picture := planar(floats(t, "tiny/image.f32"), 37, 51)
	sample := of(t, "", 4, 10, 13, vaekl.Raw)
	if err := session.Encode(background, sample, vaekl.Sample(7), picture); err != nil {
		t.Fatal(err)
	}
	sameBits(t, "sample", sample.Data.(vaekl.Float32s), floats(t, "tiny/encoded.f32"))
	err := session.Encode(background, of(t, "", 8, 10, 13, vaekl.Raw), vaekl.Moments(), picture)
	fails(t, err, vaekl.ErrInvalidArgument, "no posterior")
	pixel := image.NewRGBA(image.Rect(0, 0, 1, 1))
	if one, err := session.EncodeImage(background, pixel, vaekl.Mode(), vaekl.Raw); err != nil ||
		one.Data.Len() != 4 {
		t.Error(one, err)
	}
}

func TestPatchesAreFoldedLatents(t *testing.T) {
	session := newSession(t, family(t, "flux2"), nil)
	picture := planar(floats(t, "flux2/image.f32"), 32, 48)
	plain, folded := of(t, "", 6, 4, 6, vaekl.Scaled), of(t, "", 24, 2, 3, vaekl.Scaled)
	for _, out := range []vaekl.Latents{plain, folded} {
		if err := session.Encode(background, out, vaekl.Mode(), picture); err != nil {
			t.Fatal(err)
		}
	}
	values, patches := plain.Data.(vaekl.Float32s), folded.Data.(vaekl.Float32s)
	for i, value := range values {
		c, y, x := i/24, i/6%4, i%6
		if patch := patches[((4*c+2*(y%2)+x%2)*2+y/2)*3+x/2]; patch != value {
			t.Fatalf("value %d is %v, %v in its patch", i, value, patch)
		}
	}

	want, err := session.DecodeImage(background, plain)
	if err != nil {
		t.Fatal(err)
	}
	got, err := session.DecodeImage(background, folded)
	if err != nil {
		t.Fatal(err)
	}
	if got.Bounds() != image.Rect(0, 0, 48, 32) || !bytes.Equal(rgb(t, got), rgb(t, want)) {
		t.Error("another picture from patches", got.Bounds())
	}
	stream, err := session.Stream(background, folded, vaekl.U8)
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Close()
	if rows := must(io.ReadAll(stream)); stream.Width() != 48 || stream.Height() != 32 ||
		!bytes.Equal(rows, rgb(t, want)) {
		t.Error("other rows from patches")
	}
	stream.Close()
	folded.Scale = vaekl.Raw
	_, err = session.DecodeImage(background, folded)
	fails(t, err, vaekl.ErrInvalidArgument, "6 expected, 24 found")
}

func TestDecodeMasked(t *testing.T) {
	session := newSession(t, family(t, "asymmetric"), nil)
	latents := of(t, "asymmetric/latents.f32", 4, 5, 7, vaekl.Raw)
	picture := planar(floats(t, "asymmetric/condition.f32"), height, width)
	masks := floats(t, "asymmetric/mask.f32")
	mask := vaekl.Pixels{Data: vaekl.Float32s(masks), Width: width, Height: height}
	out := planes()
	decode := func(mask, out vaekl.Pixels) {
		t.Helper()
		if err := session.DecodeMasked(background, latents, picture, mask, out); err != nil {
			t.Fatal(err)
		}
	}
	decode(mask, out)
	want := floats(t, "asymmetric/masked.f32")
	for i, value := range out.Data.(vaekl.Float32s) {
		if math.Abs(float64(value-want[i])) > 1e-4 {
			t.Fatalf("value %d is %v, want %v", i, value, want[i])
		}
	}

	// Bytes are parts of 255, and the result may take the picture's place.
	parts := make(vaekl.Bytes, len(masks))
	for i := range masks {
		parts[i] = uint8(masks[i] * 255)
		masks[i] = float32(parts[i]) / 255
	}
	decode(mask, out)
	mask.Data = parts
	decode(mask, picture)
	sameBits(t, "bytes", picture.Data.(vaekl.Float32s), out.Data.(vaekl.Float32s))

	refused := func(session *vaekl.Session, mask vaekl.Pixels, names string) {
		t.Helper()
		err := session.DecodeMasked(background, latents, picture, mask, out)
		fails(t, err, vaekl.ErrInvalidArgument, names)
	}
	refused(session, vaekl.Pixels{Data: parts[1:], Width: width, Height: height}, "mask.Data: 2240")
	refused(session, vaekl.Pixels{Width: width, Height: height}, "mask.Data: nil")
	refused(session, vaekl.Pixels{Data: parts, Width: height, Height: width}, "mask: 56x40")
	refused(newSession(t, open(t), nil), mask, "AsymmetricAutoencoderKL expected")
	err := new(vaekl.Session).DecodeMasked(background, latents, picture, mask, out)
	fails(t, err, vaekl.ErrState, "not opened")
}
