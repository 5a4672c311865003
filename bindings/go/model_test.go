package vaekl_test

import (
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"testing"

	vaekl "libvaekl/bindings/go"
)

func TestVersionAndLevel(t *testing.T) {
	if version := vaekl.Version(); !regexp.MustCompile(`^\d+\.\d+\.\d+$`).MatchString(version) {
		t.Error(version)
	}
	switch level := vaekl.CPULevel(); level {
	case "avx512", "avx2", "portable":
	default:
		t.Error(level)
	}
}

func TestInfo(t *testing.T) {
	info := open(t).Info()
	want := vaekl.ModelInfo{
		ImageChannels: 3, InputChannels: 3, LatentChannels: 4, Downscale: 8,
		Parts: vaekl.PartDecoder | vaekl.PartEncoder, ScalingFactor: 0.18215,
		WeightBytes: info.WeightBytes, Parameters: info.Parameters, Mapped: true,
		Posterior: true, PatchSize: 1,
	}
	if info != want || info.Parameters == 0 || info.WeightBytes < info.Parameters {
		t.Errorf("%+v", info)
	}
}

func TestModelOptions(t *testing.T) {
	// Without a config.json beside it.
	bare := filepath.Join(t.TempDir(), "weights.safetensors")
	if err := os.WriteFile(bare, bytesOf(t, weights), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		path    string
		options vaekl.ModelOptions
		factor  float32
		guessed bool
	}{
		"decoder":    {"model", vaekl.ModelOptions{Parts: vaekl.PartDecoder}, 0.18215, false},
		"preset":     {"model", vaekl.ModelOptions{Preset: "sdxl"}, 0.13025, false},
		"config":     {weights, vaekl.ModelOptions{ConfigPath: "model/config.json"}, 0.18215, false},
		"not mapped": {"model", vaekl.ModelOptions{DisableMmap: true}, 0.18215, false},
		"bare file":  {bare, vaekl.ModelOptions{NormNumGroups: 4}, 0.18215, true},
	} {
		t.Run(name, func(t *testing.T) {
			model, err := vaekl.Open(test.path, &test.options)
			if err != nil {
				t.Fatal(err)
			}
			defer model.Close()
			if info := model.Info(); info.ScalingFactor != test.factor ||
				(info.Guessed > 0) != test.guessed || len(model.Notices()) != info.Guessed ||
				info.Mapped == test.options.DisableMmap {
				t.Errorf("%+v", info)
			}
			decodesRight(t, newSession(t, model, nil))
		})
	}
}

func TestModelFromBytes(t *testing.T) {
	model, err := vaekl.OpenBytes(bytesOf(t, weights), &vaekl.ModelOptions{NormNumGroups: 4})
	if err != nil {
		t.Fatal(err)
	}
	session := newSession(t, model, nil)
	// The session alone keeps the bytes, which are nobody else's by now.
	model.Close()
	runtime.GC()
	decodesRight(t, session)
	runtime.GC()
	decodesRight(t, session)
}
