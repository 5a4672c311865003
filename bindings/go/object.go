package vaekl

import (
	"os"
	"runtime"
	"sync"
)

// object is the common part of Model, Session and Stream: a C object that is freed once, after it
// is closed and the last call that uses it has ended. The zero Model has none: nil is closed.
//
// It is a separate struct for the finalizer: it refers to nothing that could refer back to it, as
// Progress may to its session.
type object struct {
	name string // for messages
	free func()

	mu    sync.Mutex
	open  bool
	busy  bool // a call has it for itself
	calls int  // calls that use it, that one included
}

func newObject(name string, free func()) *object {
	o := &object{name: name, free: free, open: true}
	runtime.SetFinalizer(o, (*object).close)
	return o
}

// enter begins a call that uses the object, exclusively or along with others; leave ends it.
func (o *object) enter(alone bool) error {
	if o == nil {
		return &Error{Status: ErrState, Message: "not opened: a zero value", cause: os.ErrClosed}
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	switch {
	case !o.open:
		return &Error{Status: ErrState, Message: o.name + ": closed", cause: os.ErrClosed}
	case alone && o.busy:
		return &Error{Status: ErrState, Message: o.name + ": in use by another call"}
	}
	o.busy = o.busy || alone
	o.calls++
	return nil
}

func (o *object) leave(alone bool) {
	o.mu.Lock()
	if alone {
		o.busy = false
	}
	o.calls--
	o.unlock()
}

// close makes later calls fail.
func (o *object) close() {
	if o == nil {
		return
	}
	o.mu.Lock()
	o.open = false
	o.unlock()
}

// unlock releases the lock, then frees the object if it is time to.
func (o *object) unlock() {
	var free func()
	if !o.open && o.calls == 0 {
		free, o.free = o.free, nil
	}
	o.mu.Unlock()
	if free != nil {
		free()
	}
}
