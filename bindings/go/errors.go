package vaekl

// #include <vaekl.h>
import "C"

import (
	"fmt"
	"syscall"
)

// Status is the result of a failed call. It is an error, so that errors.Is(err, vaekl.ErrBudget)
// tells whether err is an [*Error] with that status.
type Status int32

const (
	// ErrInvalidArgument: a bad size, an unknown constant, a non-finite input.
	ErrInvalidArgument Status = C.VAEKL_ERR_INVALID_ARGUMENT
	// ErrIO: a file could not be opened, read, written or mapped.
	ErrIO Status = C.VAEKL_ERR_IO
	// ErrFormat: the file is not a checkpoint, or is corrupt.
	ErrFormat Status = C.VAEKL_ERR_FORMAT
	// ErrModel: the tensors or the configuration are not those of an autoencoder that is opened.
	ErrModel Status = C.VAEKL_ERR_MODEL
	// ErrUnsupported: valid, but not supported by this build.
	ErrUnsupported Status = C.VAEKL_ERR_UNSUPPORTED
	// ErrOutOfMemory: out of memory.
	ErrOutOfMemory Status = C.VAEKL_ERR_OUT_OF_MEMORY
	// ErrBudget: no plan fits MemoryBudget.
	ErrBudget Status = C.VAEKL_ERR_BUDGET
	// ErrCancelled: the context or Progress stopped the call.
	ErrCancelled Status = C.VAEKL_ERR_CANCELLED
	// ErrDevice: an accelerator failed.
	ErrDevice Status = C.VAEKL_ERR_DEVICE
	// ErrState: closed, in use by another call, or poisoned by ErrInternal.
	ErrState Status = C.VAEKL_ERR_STATE
	// ErrInternal: a bug in the library.
	ErrInternal Status = C.VAEKL_ERR_INTERNAL
	// ErrNonFinite: the computation gave NaN or infinity.
	ErrNonFinite Status = C.VAEKL_ERR_NON_FINITE
)

// Error returns the name of the status, such as "VAEKL_ERR_IO".
func (s Status) Error() string {
	return C.GoString(C.vaekl_status_name(C.vaekl_status(s)))
}

// Error tells why a call failed. [errors.Is] finds its Status, and its cause: for [ErrCancelled]
// what stopped the call, such as [context.Canceled] or Progress's error; for [ErrIO] a
// [syscall.Errno], which is [fs.ErrNotExist] or [fs.ErrPermission]; after Close [os.ErrClosed].
type Error struct {
	// Status is the result of the call.
	Status Status
	// Message is one line that names the file, tensor or argument.
	Message string
	// cause is the Go error behind this one, or nil.
	cause error
}

// Error returns the message and the name of the status.
func (e *Error) Error() string {
	return fmt.Sprintf("vaekl: %s (%s)", e.Message, e.Status.Error())
}

// Unwrap returns the status, and the cause if there is one.
func (e *Error) Unwrap() []error {
	if e.cause == nil {
		return []error{e.Status}
	}
	return []error{e.Status, e.cause}
}

// failure is the error of a call to C, nil after a success.
func failure(status C.vaekl_status, e *C.vaekl_error) error {
	if status >= C.VAEKL_OK {
		return nil
	}
	err := &Error{Status: Status(status), Message: C.GoString(&e.message[0])}
	if e.os_error != 0 {
		err.cause = syscall.Errno(e.os_error)
	}
	return err
}

// invalid is the error of a wrong argument.
func invalid(format string, values ...any) error {
	return &Error{Status: ErrInvalidArgument, Message: fmt.Sprintf(format, values...)}
}

// cancelled is the error of a call that cause stopped.
func cancelled(cause error) error {
	return &Error{Status: ErrCancelled, Message: "cancelled: " + cause.Error(), cause: cause}
}
