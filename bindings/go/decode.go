package vaekl

// #include <vaekl.h>
import "C"

import (
	"context"
	"fmt"
	"image"
)

// Decode decodes a batch. out has one picture per latent, each Downscale times its width and
// height. If a latent fails or is cancelled, the pictures before it are complete.
func (s *Session) Decode(ctx context.Context, latents Latents, out ...Pixels) error {
	var a args
	defer a.free()
	view := a.latents("latents", latents)
	pictures := a.pictures("out", out, latents.batch(), s.info.ImageChannels)
	return s.call(ctx, &a, func(e *C.vaekl_error) C.vaekl_status {
		return C.vaekl_decode(s.session, view, pictures, e)
	})
}

// DecodeMasked decodes one latent, and keeps picture where mask is 0; only for a model whose Masks
// is true, without tiles. picture, mask and out have the size of the result. A mask has one
// channel: 1 where the model draws, 0 where it keeps, or any value between; of Bytes, 255 is 1. out
// may be picture.
func (s *Session) DecodeMasked(
	ctx context.Context, latents Latents, picture, mask, out Pixels,
) error {
	var a args
	defer a.free()
	view := a.latents("latents", latents)
	kept := a.picture("picture", picture, s.info.ImageChannels)
	drawn := a.picture("mask", mask, 1)
	result := a.picture("out", out, s.info.ImageChannels)
	return s.call(ctx, &a, func(e *C.vaekl_error) C.vaekl_status {
		return C.vaekl_decode_masked(s.session, view, &kept, &drawn, &result, e)
	})
}

// DecodeImage decodes one latent to an opaque [*image.RGBA], or to an [*image.Gray] if the model's
// pictures have one channel. Other numbers of channels are ErrUnsupported here; use Decode.
func (s *Session) DecodeImage(ctx context.Context, latents Latents) (image.Image, error) {
	if err := s.usable(); err != nil {
		return nil, err
	}
	// Before making a picture, whose size could otherwise be anything.
	if err := latents.check(); err != nil {
		return nil, err
	}
	factor := latents.factor(s.info)
	bounds := image.Rect(0, 0, latents.Width*factor, latents.Height*factor)
	out := Pixels{Width: bounds.Dx(), Height: bounds.Dy()}
	switch channels := s.info.ImageChannels; channels {
	case 1:
		picture := image.NewGray(bounds)
		out.Data = Bytes(picture.Pix)
		if err := s.Decode(ctx, latents, out); err != nil {
			return nil, err
		}
		return picture, nil
	case 3:
		picture := image.NewRGBA(bounds)
		out.Data = Bytes(picture.Pix[out.Width*out.Height:])
		if err := s.Decode(ctx, latents, out); err != nil {
			return nil, err
		}
		spread(picture.Pix)
		return picture, nil
	default:
		return nil, notAnImage(channels)
	}
}

// spread turns the three-byte pixels at the end of pix into opaque four-byte pixels, front to back:
// no write reaches unread pixels.
func spread(pix []byte) {
	rgb := pix[len(pix)/4:]
	for len(rgb) > 0 {
		r, g, b := rgb[0], rgb[1], rgb[2]
		pix[0], pix[1], pix[2], pix[3] = r, g, b, 0xff
		pix, rgb = pix[4:], rgb[3:]
	}
}

func notAnImage(channels int) error {
	message := fmt.Sprintf(
		"image.Image: pictures of 1 or 3 channels expected, the model's have %d", channels,
	)
	return &Error{Status: ErrUnsupported, Message: message}
}
