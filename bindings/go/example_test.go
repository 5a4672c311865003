package vaekl_test

import (
	"context"
	"errors"
	"fmt"
	"image"
	"io"
	"log"
	"time"

	vaekl "libvaekl/bindings/go"
)

// Latents to a picture. The README shows this.
func Example() {
	model, err := vaekl.Open("model", nil) // a folder or file of any format
	if err != nil {
		log.Fatal(err)
	}
	defer model.Close()
	session, err := model.NewSession(nil)
	if err != nil {
		log.Fatal(err)
	}
	defer session.Close()

	values := make([]float32, 4*8*8) // of a diffusion model, channel by channel
	latents := vaekl.Latents{
		Data: vaekl.Float32s(values), Channels: 4, Height: 8, Width: 8, Scale: vaekl.Scaled,
	}
	picture, err := session.DecodeImage(context.Background(), latents)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(picture.Bounds())
	// Output: (0,0)-(64,64)
}

// exampleSession is one of the tests' model.
func exampleSession() *vaekl.Session {
	model, err := vaekl.Open("model", nil)
	if err != nil {
		log.Fatal(err)
	}
	defer model.Close() // The session holds what it needs of it.
	session, err := model.NewSession(nil)
	if err != nil {
		log.Fatal(err)
	}
	return session
}

// A picture to latents, which a diffusion model takes.
func ExampleSession_EncodeImage() {
	session := exampleSession()
	defer session.Close()

	picture := image.NewGray(image.Rect(0, 0, 64, 48)) // png.Decode and others make one
	latents, err := session.EncodeImage(context.Background(), picture, vaekl.Sample(42), vaekl.Scaled)
	if err != nil {
		log.Fatal(err)
	}
	values := latents.Data.(vaekl.Float32s)
	fmt.Println(latents.Channels, latents.Height, latents.Width, len(values))
	// Output: 4 6 8 192
}

// Values that are not rounded to bytes, channel by channel.
func ExampleSession_Decode() {
	session := exampleSession()
	defer session.Close()

	latents := vaekl.Latents{Data: make(vaekl.Float32s, 4*6*8), Channels: 4, Height: 6, Width: 8}
	values := make([]float32, 3*48*64)
	out := vaekl.Pixels{Data: vaekl.Float32s(values), Height: 48, Width: 64, Layout: vaekl.CHW}
	if err := session.Decode(context.Background(), latents, out); err != nil {
		log.Fatal(err)
	}
	red, green, blue := values[:48*64], values[48*64:2*48*64], values[2*48*64:]
	fmt.Println(len(red), len(green), len(blue))
	// Output: 3072 3072 3072
}

// The rows of a picture that need not be in memory as a whole.
func ExampleSession_Stream() {
	session := exampleSession()
	defer session.Close()

	latents := vaekl.Latents{Data: make(vaekl.Float32s, 4*6*8), Channels: 4, Height: 6, Width: 8}
	stream, err := session.Stream(context.Background(), latents, vaekl.U8)
	if err != nil {
		log.Fatal(err)
	}
	defer stream.Close()
	written, err := io.Copy(io.Discard, stream) // or to a file
	fmt.Println(written, err)
	// Output: 9216 <nil>
}

// Calls end soon after their context.
func ExampleStatus() {
	session := exampleSession()
	defer session.Close()

	ctx, cancel := context.WithTimeout(context.Background(), time.Nanosecond)
	defer cancel()
	latents := vaekl.Latents{Data: make(vaekl.Float32s, 4*96*96), Channels: 4, Height: 96, Width: 96}
	_, err := session.DecodeImage(ctx, latents)
	fmt.Println(errors.Is(err, vaekl.ErrCancelled), errors.Is(err, context.DeadlineExceeded))
	fmt.Println(err)
	// Output:
	// true true
	// vaekl: cancelled: context deadline exceeded (VAEKL_ERR_CANCELLED)
}
