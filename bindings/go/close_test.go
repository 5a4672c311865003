package vaekl_test

import (
	"errors"
	"io"
	"os"
	"sync"
	"testing"

	vaekl "libvaekl/bindings/go"
)

func isClosed(t testing.TB, err error) {
	t.Helper()
	if !errors.Is(err, vaekl.ErrState) || !errors.Is(err, os.ErrClosed) {
		t.Errorf("%v: closed expected", err)
	}
}

func TestUseAfterClose(t *testing.T) {
	model := open(t)
	session := newSession(t, model, nil)
	for range 2 {
		for _, closer := range []io.Closer{session, model} {
			if err := closer.Close(); err != nil {
				t.Error(err)
			}
		}
	}
	isClosed(t, session.Decode(background, fixture(t), planes()))
	_, err := session.DecodeImage(background, fixture(t))
	isClosed(t, err)
	_, err = session.Stream(background, fixture(t), vaekl.U8)
	isClosed(t, err)
	_, err = session.EncodeImage(background, gradient(), vaekl.Mode(), vaekl.Raw)
	isClosed(t, err)
	_, err = model.NewSession(nil)
	isClosed(t, err)
	_, err = model.PlanDecode(nil, 8, 8)
	isClosed(t, err)
	_, err = model.PlanEncode(nil, 64, 64)
	isClosed(t, err)
	if session.Memory() != 0 {
		t.Error("a closed session holds memory")
	}
	if model.Info().Downscale != 8 {
		t.Error(model.Info())
	}
}

func TestZeroValuesAreErrors(t *testing.T) {
	_, err := new(vaekl.Model).NewSession(nil)
	_, err2 := new(vaekl.Session).DecodeImage(background, fixture(t))
	_, err3 := new(vaekl.Stream).Read(make([]byte, 9))
	for _, err := range []error{err, err2, err3} {
		if !errors.Is(err, vaekl.ErrState) {
			t.Error(err)
		}
	}
	new(vaekl.Model).Close()
	new(vaekl.Session).Close()
	new(vaekl.Stream).Close()
}

func TestOneCallAtATime(t *testing.T) {
	w := newWaiting()
	session := newSession(t, open(t), &vaekl.SessionOptions{Progress: w.progress})
	ended := make(chan error)
	go func() {
		_, err := session.DecodeImage(background, fixture(t))
		ended <- err
	}()
	<-w.started
	_, err := session.DecodeImage(background, fixture(t))
	if !errors.Is(err, vaekl.ErrState) || errors.Is(err, os.ErrClosed) {
		t.Error("a second call:", err)
	}
	session.Memory()
	close(w.goOn)
	if err := <-ended; err != nil {
		t.Error("the first call:", err)
	}
	decodesRight(t, session)
}

func TestCloseDuringACall(t *testing.T) {
	w := newWaiting()
	session := newSession(t, open(t), &vaekl.SessionOptions{Progress: w.progress})
	ended := make(chan error)
	out := planes()
	go func() {
		ended <- session.Decode(background, fixture(t), out)
	}()
	<-w.started
	session.Close()
	isClosed(t, session.Decode(background, fixture(t), planes()))
	close(w.goOn)
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	sameBits(t, "decoded", out.Data.(vaekl.Float32s), floats(t, "decoded.f32"))
	isClosed(t, session.Decode(background, fixture(t), planes()))
}

func TestUseWithinProgress(t *testing.T) {
	var session *vaekl.Session
	var inner error
	session = newSession(t, open(t), &vaekl.SessionOptions{Progress: func(done, total uint64) error {
		_, inner = session.DecodeImage(background, fixture(t))
		return session.Close()
	}})
	if _, err := session.DecodeImage(background, fixture(t)); err != nil {
		t.Fatal(err)
	}
	// At first it is in use, then it is closed too.
	isClosed(t, inner)
}

func TestCloseAtAnyTime(t *testing.T) {
	latents := fixture(t)
	for range 20 {
		model, err := vaekl.Open("model", nil)
		if err != nil {
			t.Fatal(err)
		}
		session, err := model.NewSession(&vaekl.SessionOptions{Threads: 1})
		if err != nil {
			t.Fatal(err)
		}
		var workers sync.WaitGroup
		begin := make(chan struct{})
		for _, work := range []func() error{
			func() error { _, err := session.DecodeImage(background, latents); return err },
			func() error {
				stream, err := session.Stream(background, latents, vaekl.U8)
				if err != nil {
					return err
				}
				defer stream.Close()
				_, err = io.Copy(io.Discard, stream)
				return err
			},
			func() error { session.Memory(); return session.Close() },
			func() error { return session.Close() },
			func() error { return model.Close() },
			func() error { _, err := model.PlanDecode(nil, 8, 8); return err },
			func() error { _, err := model.NewSession(nil); return err },
		} {
			workers.Add(1)
			go func() {
				defer workers.Done()
				<-begin
				if err := work(); err != nil && !errors.Is(err, vaekl.ErrState) {
					t.Error(err)
				}
			}()
		}
		close(begin)
		workers.Wait()
	}
}
