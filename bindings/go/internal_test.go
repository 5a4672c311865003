package vaekl

import (
	"context"
	"math"
	"runtime"
	"testing"
	"time"
)

// What was not closed is freed when nobody can reach it any more, and not while a
// call or a stream uses it.
func TestUnreachableObjectsAreFreed(t *testing.T) {
	freed := make(chan string, 3)
	notify := func(o *object) {
		name, free := o.name, o.free
		o.free = func() {
			free()
			freed <- name
		}
	}
	func() {
		model, err := Open("model", nil)
		if err != nil {
			t.Fatal(err)
		}
		notify(model.object)
		// As closures do that show progress: it is the session's and must not keep it.
		var session *Session
		session, err = model.NewSession(&SessionOptions{Progress: func(done, total uint64) error {
			session.Memory()
			runtime.GC()
			return nil
		}})
		if err != nil {
			t.Fatal(err)
		}
		notify(session.object)
		latents := Latents{Data: make(Float32s, 4), Channels: 4, Height: 1, Width: 1}
		stream, err := session.Stream(context.Background(), latents, U8)
		if err != nil {
			t.Fatal(err)
		}
		notify(stream.object)
		if len(freed) > 0 {
			t.Error("freed in use:", <-freed)
		}
		runtime.KeepAlive(model)
		runtime.KeepAlive(stream)
	}()
	deadline := time.After(time.Minute)
	for left := 3; left > 0; {
		runtime.GC()
		select {
		case <-freed:
			left--
		case <-time.After(time.Millisecond):
		case <-deadline:
			t.Fatal(left, "objects were not freed")
		}
	}
}

func TestWeightsStayPinnedForTheLastOne(t *testing.T) {
	w := pin(make([]byte, 100))
	w.share()
	w.release()
	if w.users.Load() != 1 {
		t.Error(w.users.Load())
	}
	w.release()
	var none *weights
	none.share()
	none.release()
}

func TestMulAdd(t *testing.T) {
	for _, test := range []struct{ a, b, c, want int }{
		{0, 5, 0, 0},
		{3, 4, 5, 17},
		{1 << 32, 1 << 31, 0, math.MaxInt},
		{1 << 32, 1 << 32, 0, math.MaxInt},
		{math.MaxInt, 1, 0, math.MaxInt},
		{math.MaxInt, 1, 1, math.MaxInt},
		{math.MaxInt, math.MaxInt, math.MaxInt, math.MaxInt},
	} {
		if got := mulAdd(test.a, test.b, test.c); got != test.want {
			t.Errorf("%d * %d + %d: %d, want %d", test.a, test.b, test.c, got, test.want)
		}
	}
}

func TestSpread(t *testing.T) {
	pix := []byte{0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9}
	spread(pix)
	want := [...]byte{1, 2, 3, 255, 4, 5, 6, 255, 7, 8, 9, 255}
	if [12]byte(pix) != want {
		t.Error(pix)
	}
}
