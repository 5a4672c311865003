package vaekl_test

import (
	"context"
	"errors"
	"io"
	"testing"
	"time"

	vaekl "libvaekl/bindings/go"
)

// waiting has the first report of each call wait for a signal: the call is in progress then for as
// long as it takes.
type waiting struct {
	started, goOn chan struct{}
	waited        bool
}

func newWaiting() *waiting {
	return &waiting{started: make(chan struct{}), goOn: make(chan struct{})}
}

func (w *waiting) progress(done, total uint64) error {
	if !w.waited {
		w.waited = true
		close(w.started)
		<-w.goOn
	}
	return nil
}

func isCancelled(t testing.TB, err, cause error) {
	t.Helper()
	var e *vaekl.Error
	if !errors.Is(err, vaekl.ErrCancelled) || !errors.Is(err, cause) || !errors.As(err, &e) {
		t.Fatalf("%v: cancelled by %q expected", err, cause)
	}
}

func TestCancelFromAnotherGoroutine(t *testing.T) {
	w := newWaiting()
	session := newSession(t, open(t), &vaekl.SessionOptions{Progress: w.progress})
	ctx, cancel := context.WithCancel(background)
	go func() {
		<-w.started
		cancel()
		close(w.goOn)
	}()
	out := largeOut()
	isCancelled(t, session.Decode(ctx, large(), out), context.Canceled)
	for _, value := range out.Data.(vaekl.Bytes) {
		if value != 0 {
			t.Fatal("written in spite of the cancel")
		}
	}
	decodesRight(t, session)
}

func TestDeadline(t *testing.T) {
	ctx, cancel := context.WithTimeout(background, time.Millisecond)
	defer cancel()
	progress := func(done, total uint64) error {
		<-ctx.Done()
		return nil
	}
	session := newSession(t, open(t), &vaekl.SessionOptions{Progress: progress})
	_, err := session.EncodeImage(ctx, gradient(), vaekl.Mode(), vaekl.Raw)
	isCancelled(t, err, context.DeadlineExceeded)
	decodesRight(t, session)
}

// A cancel may come before the call began in C, or after; with and without a cancel, the call after
// it is not affected.
func TestCancelIsNeitherLostNorLate(t *testing.T) {
	session := newSession(t, open(t), nil)
	latents, out := large(), largeOut()
	for i := range 30 {
		ctx, cancel := context.WithCancel(background)
		go func() {
			time.Sleep(time.Duration(i%10*50) * time.Microsecond)
			cancel()
		}()
		isCancelled(t, session.Decode(ctx, latents, out), context.Canceled)
		decodesRight(t, session)
	}
	for range 30 {
		ctx, cancel := context.WithCancel(background)
		if _, err := session.DecodeImage(ctx, fixture(t)); err != nil {
			t.Fatal(err)
		}
		go cancel()
		decodesRight(t, session)
	}
}

func TestCancelledBeforeTheCall(t *testing.T) {
	session := newSession(t, open(t), nil)
	ctx, cancel := context.WithCancel(background)
	cancel()
	_, err := session.DecodeImage(ctx, fixture(t))
	isCancelled(t, err, context.Canceled)
	_, err = session.Stream(ctx, fixture(t), vaekl.U8)
	isCancelled(t, err, context.Canceled)
	decodesRight(t, session)
}

func TestCancelOfAStream(t *testing.T) {
	for name, options := range map[string]*vaekl.SessionOptions{
		"whole": nil,
		"tiled": {Tiling: vaekl.TilingDiffusers, TileSize: 4},
	} {
		t.Run(name, func(t *testing.T) {
			session := newSession(t, open(t), options)
			ctx, cancel := context.WithCancel(background)
			stream, err := session.Stream(ctx, fixture(t), vaekl.U8)
			if err != nil {
				t.Fatal(err)
			}
			defer stream.Close()
			row := make([]byte, width*3)
			if _, err := io.ReadFull(stream, row); err != nil {
				t.Fatal(err)
			}
			cancel()
			for range 2 {
				_, err = stream.Read(row)
				isCancelled(t, err, context.Canceled)
			}
			stream.Close()
			if name == "whole" {
				decodesRight(t, session)
			}
		})
	}
}

func TestProgress(t *testing.T) {
	enough := errors.New("enough")
	var calls int
	var last, stopAt uint64
	session := newSession(t, open(t), &vaekl.SessionOptions{Progress: func(done, total uint64) error {
		if calls++; done < last || done > total {
			t.Errorf("%d of %d after %d", done, total, last)
		}
		last = done
		if stopAt > 0 && done >= stopAt {
			return enough
		}
		return nil
	}})
	decodesRight(t, session)
	if calls < 2 || last == 0 {
		t.Fatal(calls, "calls, the last of them with", last)
	}
	stopAt, last = last/2, 0
	_, err := session.DecodeImage(background, fixture(t))
	isCancelled(t, err, enough)
	stopAt, last = 0, 0
	decodesRight(t, session)
}

func TestProgressThatPanics(t *testing.T) {
	panics := true
	session := newSession(t, open(t), &vaekl.SessionOptions{Progress: func(done, total uint64) error {
		if panics {
			panic("a defect of the program")
		}
		return nil
	}})
	for name, call := range map[string]func() error{
		"decode": func() error { _, err := session.DecodeImage(background, fixture(t)); return err },
		"stream": func() error { _, err := session.Stream(background, fixture(t), vaekl.U8); return err },
	} {
		func() {
			defer func() {
				if value := recover(); value != "a defect of the program" {
					t.Errorf("%s: the panic became %v", name, value)
				}
			}()
			t.Errorf("%s: no panic, but %v", name, call())
		}()
	}
	panics = false
	decodesRight(t, session)
}
