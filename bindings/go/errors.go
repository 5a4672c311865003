package vaekl

// #include <vaekl.h>
import "C"

import (
	"fmt"
	"syscall"
)

// Status is what a failed call came to. It is an error, so that errors.Is(err, vaekl.ErrBudget)
// tells whether err is an [*Error] of that status.
type Status int32

const (
	// ErrInvalidArgument: a bad size, an unknown constant, a non-finite input.
	ErrInvalidArgument Status = C.VAEKL_ERR_INVALID_ARGUMENT
	// ErrIO: opening, reading or mapping a file failed.
	ErrIO Status = C.VAEKL_ERR_IO
	// ErrFormat: not a checkpoint, or corrupt.
	ErrFormat Status = C.VAEKL_ERR_FORMAT
	// ErrModel: tensors or configuration do not make an AutoencoderKL.
	ErrModel Status = C.VAEKL_ERR_MODEL
	// ErrUnsupported: valid, but not in this build.
	ErrUnsupported Status = C.VAEKL_ERR_UNSUPPORTED
	// ErrOutOfMemory: memory could not be had.
	ErrOutOfMemory Status = C.VAEKL_ERR_OUT_OF_MEMORY
	// ErrBudget: no plan fits MemoryBudget.
	ErrBudget Status = C.VAEKL_ERR_BUDGET
	// ErrCancelled: the context or Progress stopped the call.
	ErrCancelled Status = C.VAEKL_ERR_CANCELLED
	// ErrDevice: an accelerator failed.
	ErrDevice Status = C.VAEKL_ERR_DEVICE
	// ErrState: closed, in use by another call, or poisoned by ErrInternal.
	ErrState Status = C.VAEKL_ERR_STATE
	// ErrInternal: a bug of the library.
	ErrInternal Status = C.VAEKL_ERR_INTERNAL
	// ErrNonFinite: the arithmetic gave NaN or infinity.
	ErrNonFinite Status = C.VAEKL_ERR_NON_FINITE
)

// Error is the status's name, as "VAEKL_ERR_IO".
func (s Status) Error() string {
	return C.GoString(C.vaekl_status_name(C.vaekl_status(s)))
}

// Error is why a call failed. [errors.Is] finds its Status; what stopped a call that is
// [ErrCancelled], as [context.Canceled] or what Progress returned; of an [ErrIO] what the system
// said, a [syscall.Errno] that is [fs.ErrNotExist] or [fs.ErrPermission]; and [os.ErrClosed] where
// something was used after Close.
type Error struct {
	// Status is what the call came to.
	Status Status
	// Message is one line that names the file, tensor or argument.
	Message string
	// cause is an error of Go's that this one stands for, or nil.
	cause error
}

// Error is the message and the name of the status.
func (e *Error) Error() string {
	return fmt.Sprintf("vaekl: %s (%s)", e.Message, e.Status.Error())
}

// Unwrap gives the status and the cause, if there is one.
func (e *Error) Unwrap() []error {
	if e.cause == nil {
		return []error{e.Status}
	}
	return []error{e.Status, e.cause}
}

// failure is the error of a call to C, nil where it did not fail.
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

// invalid is an argument's error.
func invalid(format string, values ...any) error {
	return &Error{Status: ErrInvalidArgument, Message: fmt.Sprintf(format, values...)}
}

// cancelled is the error of a call that cause stopped.
func cancelled(cause error) error {
	return &Error{Status: ErrCancelled, Message: "cancelled: " + cause.Error(), cause: cause}
}
