package vaekl_test

import (
	"context"
	"errors"
	"image"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	vaekl "libvaekl/bindings/go"
)

const weights = "model/diffusion_pytorch_model.safetensors"

// fails tests an error's status, and that its line names what it is about.
func fails(t *testing.T, err error, status vaekl.Status, names string) {
	t.Helper()
	var e *vaekl.Error
	if !errors.As(err, &e) || e.Status != status || !errors.Is(err, status) ||
		!strings.Contains(e.Message, names) {
		t.Fatalf("%v: %v with %q expected", err, status, names)
	}
	if text := err.Error(); text != "vaekl: "+e.Message+" ("+status.Error()+")" ||
		strings.Contains(text, "\n") {
		t.Errorf("%q is not readable", text)
	}
}

func TestErrorsOfOpen(t *testing.T) {
	for name, test := range map[string]struct {
		path    string
		options vaekl.ModelOptions
		status  vaekl.Status
		names   string
	}{
		"missing": {"no/such/model", vaekl.ModelOptions{}, vaekl.ErrIO, "no/such/model"},
		"corrupt": {
			"corrupt", vaekl.ModelOptions{}, vaekl.ErrFormat, "corrupt/diffusion_pytorch_model.safetensors",
		},
		"empty path":  {"", vaekl.ModelOptions{}, vaekl.ErrIO, ""},
		"NUL in path": {"mod\x00el", vaekl.ModelOptions{}, vaekl.ErrInvalidArgument, "path"},
		"variant":     {"model", vaekl.ModelOptions{Variant: "fp16"}, vaekl.ErrIO, "fp16"},
		"preset":      {"model", vaekl.ModelOptions{Preset: "sd9"}, vaekl.ErrInvalidArgument, "sd9"},
		"NUL in preset": {
			"model", vaekl.ModelOptions{Preset: "\x00"}, vaekl.ErrInvalidArgument, "Preset",
		},
		"config": {
			weights, vaekl.ModelOptions{ConfigPath: "none.json"}, vaekl.ErrIO, "none.json",
		},
		"device": {
			"model", vaekl.ModelOptions{Device: vaekl.DeviceCUDA}, vaekl.ErrUnsupported, "",
		},
		"no such device": {"model", vaekl.ModelOptions{Device: 9}, vaekl.ErrInvalidArgument, "device"},
		"device index": {
			"model", vaekl.ModelOptions{DeviceIndex: -1}, vaekl.ErrInvalidArgument, "DeviceIndex",
		},
		"parts": {"model", vaekl.ModelOptions{Parts: 8}, vaekl.ErrInvalidArgument, "parts"},
		"weight type": {
			"model", vaekl.ModelOptions{WeightDType: vaekl.U8}, vaekl.ErrInvalidArgument, "weight_dtype",
		},
		"groups": {
			"model", vaekl.ModelOptions{NormNumGroups: -4}, vaekl.ErrInvalidArgument, "NormNumGroups",
		},
	} {
		t.Run(name, func(t *testing.T) {
			model, err := vaekl.Open(test.path, &test.options)
			if model != nil {
				t.Error("a model in spite of the error")
			}
			fails(t, err, test.status, test.names)
		})
	}
	_, err := vaekl.OpenBytes(nil, nil)
	fails(t, err, vaekl.ErrInvalidArgument, "data")
	_, err = vaekl.OpenBytes(make([]byte, 100), nil)
	fails(t, err, vaekl.ErrFormat, "")
}

func TestSystemErrors(t *testing.T) {
	_, err := vaekl.Open("no/such/model", nil)
	if !errors.Is(err, fs.ErrNotExist) || !errors.Is(err, syscall.ENOENT) {
		t.Errorf("%v is not fs.ErrNotExist", err)
	}
	fails(t, err, vaekl.ErrIO, "no/such/model")
	_, err = vaekl.Open(weights+"/below", nil)
	if !errors.Is(err, syscall.ENOTDIR) {
		t.Errorf("%v is not ENOTDIR", err)
	}
	if os.Geteuid() != 0 {
		secret := filepath.Join(t.TempDir(), "secret.safetensors")
		if err := os.WriteFile(secret, nil, 0); err != nil {
			t.Fatal(err)
		}
		if _, err = vaekl.Open(secret, nil); !errors.Is(err, fs.ErrPermission) {
			t.Errorf("%v is not fs.ErrPermission", err)
		}
	}
	_, err = vaekl.Open("corrupt", nil)
	var number syscall.Errno
	if errors.As(err, &number) {
		t.Errorf("%v has number %d", err, number)
	}
}

func TestErrorsOfOptions(t *testing.T) {
	model := open(t)
	for name, test := range map[string]struct {
		options vaekl.SessionOptions
		names   string
	}{
		"threads":     {vaekl.SessionOptions{Threads: -1}, "Threads"},
		"activations": {vaekl.SessionOptions{ActivationDType: vaekl.U8}, "activation_dtype"},
		"tiling":      {vaekl.SessionOptions{Tiling: 99}, "tiling"},
		"tile size":   {vaekl.SessionOptions{TileSize: -1}, "TileSize"},
		"overlap":     {vaekl.SessionOptions{TileOverlap: math.MinInt}, "TileOverlap"},
		"scratch":     {vaekl.SessionOptions{ScratchDir: "a\x00b"}, "ScratchDir"},
		"attention":   {vaekl.SessionOptions{Attention: 99}, "attention"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := model.NewSession(&test.options)
			fails(t, err, vaekl.ErrInvalidArgument, test.names)
			_, err = model.PlanDecode(&test.options, 8, 8)
			fails(t, err, vaekl.ErrInvalidArgument, test.names)
		})
	}
	_, err := model.PlanDecode(nil, 8, -8)
	fails(t, err, vaekl.ErrInvalidArgument, "height")
	_, err = model.PlanEncode(nil, 0, 64)
	fails(t, err, vaekl.ErrInvalidArgument, "")
}

func TestBudgetIsTooSmall(t *testing.T) {
	model := open(t)
	options := &vaekl.SessionOptions{MemoryBudget: 1 << 20}
	_, err := newSession(t, model, options).DecodeImage(background, fixture(t))
	fails(t, err, vaekl.ErrBudget, "budget")
	_, err = model.PlanDecode(options, latentWidth, latentHeight)
	fails(t, err, vaekl.ErrBudget, "budget")
}

func TestErrorsOfDecode(t *testing.T) {
	type (
		latents = vaekl.Latents
		pixels  = vaekl.Pixels
	)
	nan := float32(math.NaN())
	session := newSession(t, open(t), nil)
	for name, test := range map[string]struct {
		change func(*latents, *pixels)
		names  string
	}{
		"no latents": {func(l *latents, _ *pixels) { l.Data = nil }, "latents.Data"},
		"nil latents": {
			func(l *latents, _ *pixels) { l.Data = vaekl.Float32s(nil) }, "latents.Data",
		},
		"short latents": {
			func(l *latents, _ *pixels) { l.Data = make(vaekl.Float32s, 139) }, "140 values expected",
		},
		"long latents": {
			func(l *latents, _ *pixels) { l.Data = make(vaekl.Float32s, 141) }, "141 found",
		},
		"bytes as latents": {func(l *latents, _ *pixels) { l.Data = make(vaekl.Bytes, 140) }, "dtype"},
		"no height":        {func(l *latents, _ *pixels) { l.Height = 0 }, "latents"},
		"negative width":   {func(l *latents, _ *pixels) { l.Width = -7 }, "latents.Width"},
		"negative batch":   {func(l *latents, _ *pixels) { l.Batch = -1 }, "latents.Batch"},
		"sizes overflow": {
			func(l *latents, _ *pixels) { l.Height, l.Width = 1<<31, 1<<31 }, "latents.Data",
		},
		"too wide":       {func(l *latents, _ *pixels) { l.Width = math.MaxInt }, "latents.Width"},
		"wrong channels": {func(l *latents, _ *pixels) { l.Channels, l.Height = 5, 4 }, "channels"},
		"wrong scale":    {func(l *latents, _ *pixels) { l.Scale = 7 }, "scale"},
		"batch of two":   {func(l *latents, _ *pixels) { l.Batch, l.Channels = 2, 2 }, "out"},
		"not finite": {
			func(l *latents, _ *pixels) { l.Data.(vaekl.Float32s)[8] = nan }, "row 1, column 1",
		},
		"no picture": {func(_ *latents, p *pixels) { p.Data = nil }, "out.Data"},
		"short picture": {
			func(_ *latents, p *pixels) { p.Data = make(vaekl.Bytes, 3*height*width-1) }, "out.Data",
		},
		"wrong size":      {func(_ *latents, p *pixels) { p.Width, p.Height = height, width }, "40x56"},
		"no size":         {func(_ *latents, p *pixels) { p.Width = 0 }, "out"},
		"wrong layout":    {func(_ *latents, p *pixels) { p.Layout = 5 }, "layout"},
		"negative stride": {func(_ *latents, p *pixels) { p.RowStride = -1 }, "stride"},
		"stride too small": {
			func(_ *latents, p *pixels) { p.Layout, p.RowStride = vaekl.CHW, 9 }, "stride",
		},
		"stride too large": {func(_ *latents, p *pixels) { p.RowStride = 3*width + 1 }, "out.Data"},
		"stride overflows": {func(_ *latents, p *pixels) { p.RowStride = math.MaxInt }, "out.Data"},
		"planes too far": {
			func(_ *latents, p *pixels) { p.Layout, p.PlaneStride = vaekl.CHW, 99999 }, "out.Data",
		},
		"interleaved plane": {
			func(_ *latents, p *pixels) { p.Layout, p.PlaneStride = vaekl.CHW, 1 }, "plane_stride",
		},
	} {
		t.Run(name, func(t *testing.T) {
			latents, out := fixture(t), planes()
			test.change(&latents, &out)
			fails(t, session.Decode(background, latents, out), vaekl.ErrInvalidArgument, test.names)
		})
	}
	fails(t, session.Decode(background, fixture(t)), vaekl.ErrInvalidArgument, "0 found for 1")
	//lint:ignore SA1012 what is tested
	fails(
		t, session.Decode(context.Context(nil), fixture(t), planes()), vaekl.ErrInvalidArgument, "ctx",
	)
	huge := fixture(t)
	huge.Height = math.MaxInt
	_, err := session.DecodeImage(background, huge)
	fails(t, err, vaekl.ErrInvalidArgument, "latents.Height")
	decodesRight(t, session)
}

func TestErrorsOfEncode(t *testing.T) {
	session := newSession(t, open(t), nil)
	fails(
		t, session.Encode(background, room(8), vaekl.Mode(), input(t)), vaekl.ErrInvalidArgument,
		"channels",
	)
	fails(t, session.Encode(background, room(4), vaekl.Mode()), vaekl.ErrInvalidArgument, "pictures")
	short := input(t)
	short.Data = short.Data.(vaekl.Float32s)[1:]
	fails(
		t, session.Encode(background, room(4), vaekl.Mode(), short), vaekl.ErrInvalidArgument,
		"pictures.Data",
	)
	scaled := room(8)
	scaled.Scale = vaekl.Scaled
	fails(
		t, session.Encode(background, scaled, vaekl.Moments(), input(t)), vaekl.ErrInvalidArgument,
		"scale",
	)
	for _, picture := range []image.Image{
		nil, image.NewGray(image.Rect(0, 0, 64, 7)), image.NewGray(image.Rectangle{}), image.White,
	} {
		_, err := session.EncodeImage(background, picture, vaekl.Mode(), vaekl.Raw)
		fails(t, err, vaekl.ErrInvalidArgument, "picture")
	}
}

func TestStatusNames(t *testing.T) {
	for status, name := range map[vaekl.Status]string{
		vaekl.ErrIO: "VAEKL_ERR_IO", vaekl.ErrNonFinite: "VAEKL_ERR_NON_FINITE",
		-99: "unknown vaekl_status",
	} {
		if status.Error() != name {
			t.Errorf("%d is %q", int32(status), status.Error())
		}
	}
}
