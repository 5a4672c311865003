package vaekl

// #include <vaekl.h>
import "C"

import (
	"context"
	"runtime/cgo"
)

// watch is the state of a session's progress callback for the current call. The callback checks the
// context itself, where the library would check for a cancel: a context that ended just before the
// call began is not missed, and one that ends late cannot stop the next call. Between calls it is
// zero, so the C handle keeps no object of the user alive.
type watch struct {
	ctx      context.Context
	progress func(done, total uint64) error
	stopped  error // why the callback stopped the call
	panicked any   // with what Progress did
}

// run makes a call to C that ctx and progress can stop.
func (w *watch) run(ctx context.Context, progress func(done, total uint64) error,
	f func(*C.vaekl_error) C.vaekl_status) error {
	if ctx == nil {
		return invalid("ctx: nil")
	}
	if err := ctx.Err(); err != nil {
		return cancelled(err)
	}
	*w = watch{ctx: ctx, progress: progress}
	defer func() { *w = watch{} }()
	var e C.vaekl_error
	status := f(&e)
	if w.panicked != nil {
		panic(w.panicked)
	}
	// A read of a stream that was stopped after some rows is a success in C, which returns them.
	if w.stopped != nil && (status == C.VAEKL_ERR_CANCELLED || status == C.VAEKL_OK) {
		return cancelled(w.stopped)
	}
	return failure(status, &e)
}

// report answers the library: 0 to go on. A panic must not unwind its frames: run re-raises it.
func (w *watch) report(done, total uint64) (answer C.int32_t) {
	defer func() {
		if value := recover(); value != nil {
			w.panicked = value
			answer = 1
		}
	}()
	if w.progress != nil {
		w.stopped = w.progress(done, total)
	}
	if w.stopped == nil {
		w.stopped = w.ctx.Err()
	}
	if w.stopped != nil {
		return 1
	}
	return 0
}

//export vaeklGoProgress
func vaeklGoProgress(handle C.uintptr_t, done, total C.uint64_t) C.int32_t {
	return cgo.Handle(handle).Value().(*watch).report(uint64(done), uint64(total))
}
