package vaekl

// #include <vaekl.h>
import "C"

import (
	"context"
	"image"
	"image/color"
	"math"
)

// Posterior is the value of the posterior to return: [Mode] (the zero value), [Sample] or
// [Moments].
type Posterior struct {
	kind C.vaekl_posterior
	seed C.uint64_t
}

// Mode is the mean.
func Mode() Posterior {
	return Posterior{kind: C.VAEKL_POSTERIOR_MODE}
}

// Sample is mean + std * N(0,1), drawn from the seed for the whole batch as torch.randn does on a
// CPU.
func Sample(seed uint64) Posterior {
	return Posterior{kind: C.VAEKL_POSTERIOR_SAMPLE, seed: C.uint64_t(seed)}
}

// Moments are mean and log-variance: twice the channels of latents, Raw only.
func Moments() Posterior {
	return Posterior{kind: C.VAEKL_POSTERIOR_MOMENTS}
}

// channels is the number of channels of the requested latents.
func (p Posterior) channels(info ModelInfo) int {
	if p.kind == C.VAEKL_POSTERIOR_MOMENTS {
		return 2 * info.LatentChannels
	}
	return info.LatentChannels
}

// Encode encodes a batch, one picture per latent of out. A latent has the picture's width and
// height divided by Downscale; each halving drops an odd last row or column, or keeps it if the
// model's Posterior is false. Such a model gives its latents for Mode and Sample, and has no
// Moments. Scaled latents are folded into patches if out has the channels of that.
func (s *Session) Encode(
	ctx context.Context, out Latents, posterior Posterior, pictures ...Pixels,
) error {
	var a args
	defer a.free()
	latents := a.latents("out", out)
	views := a.pictures("pictures", pictures, out.batch(), s.info.InputChannels)
	return s.call(ctx, &a, func(e *C.vaekl_error) C.vaekl_status {
		return C.vaekl_encode(s.session, views, posterior.kind, posterior.seed, latents, e)
	})
}

// EncodeImage encodes one picture to latents of [Float32s], not folded. Colours are read as 8 bits,
// and alpha is dropped. A model with one channel gets the picture in grey; numbers other than 1 and
// 3 are ErrUnsupported here: use Encode.
func (s *Session) EncodeImage(ctx context.Context, picture image.Image, posterior Posterior,
	scale Scale) (Latents, error) {
	if err := s.usable(); err != nil {
		return Latents{}, err
	}
	if picture == nil {
		return Latents{}, invalid("picture: nil")
	}
	size := picture.Bounds().Size()
	width, height := s.info.encodedLength(size.X), s.info.encodedLength(size.Y)
	if width < 1 || height < 1 {
		return Latents{}, invalid(
			"picture: %dx%d (width x height) is less than the %d of a latent", size.X, size.Y,
			s.info.Downscale,
		)
	}
	data, err := pixels(picture, s.info.InputChannels)
	if err != nil {
		return Latents{}, err
	}
	out := Latents{
		Channels: posterior.channels(s.info), Height: height, Width: width, Scale: scale,
	}
	out.Data = make(Float32s, out.Channels*out.Height*out.Width)
	if err := s.Encode(
		ctx, out, posterior, Pixels{Data: data, Width: size.X, Height: size.Y},
	); err != nil {
		return Latents{}, err
	}
	return out, nil
}

// pixels are the interleaved pixels of picture.
func pixels(picture image.Image, channels int) (Bytes, error) {
	if channels != 1 && channels != 3 {
		return nil, notAnImage(channels)
	}
	bounds := picture.Bounds()
	// An image.Uniform is larger than any memory.
	size := mulAdd(mulAdd(bounds.Dx(), bounds.Dy(), 0), channels, 0)
	if uint64(size) > 1<<40 || size == math.MaxInt {
		return nil, invalid(
			"picture: %dx%d pixels are more than there can be memory for", bounds.Dx(), bounds.Dy(),
		)
	}
	data := make(Bytes, 0, size)
	for y := bounds.Min.Y; y < bounds.Max.Y; y++ {
		for x := bounds.Min.X; x < bounds.Max.X; x++ {
			if channels == 1 {
				data = append(data, color.GrayModel.Convert(picture.At(x, y)).(color.Gray).Y)
				continue
			}
			pixel := color.NRGBAModel.Convert(picture.At(x, y)).(color.NRGBA)
			data = append(data, pixel.R, pixel.G, pixel.B)
		}
	}
	return data, nil
}
