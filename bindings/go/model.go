package vaekl

// #include <vaekl.h>
import "C"

import (
	"runtime"
	"sync/atomic"
	"unsafe"
)

// ModelOptions are options for opening a model. Zero values are the defaults.
type ModelOptions struct {
	// Device is where the model runs. DeviceIndex is its index: 0, the only one for a CPU.
	Device      Device
	DeviceIndex int
	// Parts are the parts to open; 0 is both. An error if the checkpoint lacks one.
	Parts Parts
	// WeightDType is the type of packed weights: F32, the only one in this version of the library.
	WeightDType DType
	// ConfigPath is the path of a config.json to use. Empty: the checkpoint's own, or inferred from
	// shapes.
	ConfigPath string
	// Preset is the name of a published model: "sd", "sdxl", "sdxl-fp16-fix", "sd3", "flux",
	// "playground-v2.5", "sd-x4-upscaler", "cogview4", "flux2", "asymmetric", "taesd", "taesdxl",
	// "taesd3", "taef1", "taef2" or "taesana". Sets scaling, shift and latent statistics, which
	// shapes do not tell, and overrides the configuration. Empty: guessed if the checkpoint has no
	// configuration.
	Preset string
	// Variant is the variant of a diffusers folder: "fp16" opens
	// diffusion_pytorch_model.fp16.safetensors. Empty: none.
	Variant string
	// NormNumGroups is the number of groups of each GroupNorm, for a checkpoint without a
	// configuration; shapes do not tell it. 0: from the configuration, or 32 without one.
	NormNumGroups int
	// DisableMmap is whether files are read, a layer at a time, instead of mapped. Files that the
	// system cannot map are read in any case.
	DisableMmap bool
}

// c converts the options to C; a owns the strings.
func (o *ModelOptions) c(a *args) (c C.vaekl_model_options) {
	C.vaekl_model_options_init(&c, C.sizeof_vaekl_model_options)
	if o == nil {
		return c
	}
	c.device = C.vaekl_device(o.Device)
	c.device_index = a.number("DeviceIndex", o.DeviceIndex)
	if o.Parts != 0 {
		c.parts = C.uint32_t(o.Parts)
	}
	c.weight_dtype = C.vaekl_dtype(o.WeightDType)
	c.config_path = a.optional("ConfigPath", o.ConfigPath)
	c.preset = a.optional("Preset", o.Preset)
	c.variant = a.optional("Variant", o.Variant)
	c.norm_num_groups = a.number("NormNumGroups", o.NormNumGroups)
	if o.DisableMmap {
		c.disable_mmap = 1
	}
	return c
}

// ModelInfo are the properties of an open model.
type ModelInfo struct {
	ImageChannels  int     // channels of decoded pictures
	InputChannels  int     // channels of pictures to encode
	LatentChannels int     // channels of latents
	Downscale      int     // pixels of a picture's side per latent
	Parts          Parts   // halves the model has
	ScalingFactor  float32 // what Scaled multiplies by
	ShiftFactor    float32 // what Scaled subtracts first; 0 without one
	WeightBytes    uint64  // of the weights in the checkpoint's types
	Parameters     uint64  // number of weights
	Guessed        int     // fields of the configuration that were guessed; 0 when it was read
	Mapped         bool    // whether the weights are mapped or in memory, not read layer by layer
	UnusedTensors  int     // tensors of the autoencoder that the configuration leaves out
	Posterior      bool    // whether Encode gives a posterior's value; if not, latents
	Masks          bool    // whether DecodeMasked works (AsymmetricAutoencoderKL)
	PatchSize      int     // side of the patches Scaled latents may be folded into; 1: none
}

// encodedLength is the side of the latent of a picture's side: what is left over is dropped, or
// kept by a family without posterior.
func (i ModelInfo) encodedLength(length int) int {
	if !i.Posterior && length%i.Downscale != 0 {
		return length/i.Downscale + 1
	}
	return length / i.Downscale
}

// Model is an open autoencoder: immutable, for any number of sessions and goroutines.
type Model struct {
	object  *object
	model   *C.vaekl_model
	info    ModelInfo
	family  string
	source  string
	notices []string
	weights *weights
}

// Open opens a checkpoint of any format: a file, a diffusers folder, or what the local cache of the
// Hugging Face hub has of "org/name". Nil options mean the defaults. Files are mapped: do not
// change them while the model or one of its sessions is open.
func Open(path string, options *ModelOptions) (*Model, error) {
	var a args
	defer a.free()
	text := a.text("path", path)
	return open(&a, options, nil, func(c *C.vaekl_model_options, model **C.vaekl_model,
		e *C.vaekl_error) C.vaekl_status {
		return C.vaekl_model_open(text, c, model, e)
	})
}

// OpenBytes opens a file of any format in memory; nil options mean the defaults. The bytes are not
// copied: do not change them while the model or one of its sessions is open.
func OpenBytes(data []byte, options *ModelOptions) (*Model, error) {
	if len(data) == 0 {
		return nil, invalid("data: empty")
	}
	var a args
	defer a.free()
	return open(&a, options, pin(data), func(c *C.vaekl_model_options, model **C.vaekl_model,
		e *C.vaekl_error) C.vaekl_status {
		return C.vaekl_model_open_bytes(unsafe.Pointer(&data[0]), C.size_t(len(data)), c, model, e)
	})
}

// open is the body of Open and OpenBytes; it takes the caller's share of weights.
func open(a *args, options *ModelOptions, weights *weights,
	f func(*C.vaekl_model_options, **C.vaekl_model, *C.vaekl_error) C.vaekl_status) (*Model, error) {
	c := options.c(a)
	err := a.err
	var model *C.vaekl_model
	if err == nil {
		var e C.vaekl_error
		err = failure(f(&c, &model, &e), &e)
	}
	if err != nil {
		weights.release()
		return nil, err
	}
	object := newObject("model", func() {
		C.vaekl_model_free(model)
		weights.release()
	})
	return &Model{object: object, model: model, info: info(model),
		family: C.GoString(C.vaekl_model_family(model)),
		source: C.GoString(C.vaekl_model_family_source(model)), notices: notices(model),
		weights: weights}, nil
}

func info(model *C.vaekl_model) ModelInfo {
	c := C.vaekl_model_info{struct_size: C.sizeof_vaekl_model_info}
	// It fails only for NULL and a wrong size.
	C.vaekl_model_get_info(model, &c)
	return ModelInfo{
		ImageChannels:  int(c.image_channels),
		InputChannels:  int(c.input_channels),
		LatentChannels: int(c.latent_channels),
		Downscale:      int(c.downscale),
		Parts:          Parts(c.parts),
		ScalingFactor:  float32(c.scaling_factor),
		ShiftFactor:    float32(c.shift_factor),
		WeightBytes:    uint64(c.weight_bytes),
		Parameters:     uint64(c.parameters),
		Guessed:        int(c.guessed),
		Mapped:         c.mapped != 0,
		UnusedTensors:  int(c.unused_tensors),
		Posterior:      c.posterior != 0,
		Masks:          c.masks != 0,
		PatchSize:      int(c.patch_size),
	}
}

// Info returns the properties of the model, even after Close.
func (m *Model) Info() ModelInfo {
	return m.info
}

// Family returns the name of diffusers' class, such as "AutoencoderTiny". It works even after
// Close.
func (m *Model) Family() string {
	return m.family
}

// FamilySource returns what tells the family, for a person: the class in a configuration, or a
// tensor. It works even after Close.
func (m *Model) FamilySource() string {
	return m.source
}

// Notices returns what to tell the user of the model, a line each: guessed parts of the
// configuration, and weights that the configuration leaves out. It works even after Close.
func (m *Model) Notices() []string {
	return m.notices
}

func notices(model *C.vaekl_model) (lines []string) {
	for i := C.uint32_t(0); ; i++ {
		line := C.vaekl_model_notice(model, i)
		if line == nil {
			return lines
		}
		lines = append(lines, C.GoString(line))
	}
}

// Close frees the model. Its sessions keep what they need and stay valid. It always returns nil.
func (m *Model) Close() error {
	m.object.close()
	return nil
}

// weights are the bytes of OpenBytes, pinned until the model and all its sessions are freed; nil
// for a file.
type weights struct {
	pinner runtime.Pinner
	users  atomic.Int64
}

func pin(data []byte) *weights {
	w := new(weights)
	w.pinner.Pin(&data[0])
	w.share()
	return w
}

func (w *weights) share() {
	if w != nil {
		w.users.Add(1)
	}
}

func (w *weights) release() {
	if w != nil && w.users.Add(-1) == 0 {
		w.pinner.Unpin()
	}
}
