"""Exceptions for the statuses of vaekl.h; each is also one of Python's own exceptions."""

from __future__ import annotations


class ModelWarning(UserWarning):
    """Something that a model's user should know: a guess, or weights that are left out."""


class Error(Exception):
    """A call failed: `status` is named as in vaekl.h.

    `message` is a line that names the file, tensor or argument.
    """

    status = "VAEKL_ERR_UNKNOWN"

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message

    def __str__(self) -> str:
        return f"{self.status}: {self.message}" if self.message else self.status


class InvalidArgumentError(Error, ValueError):
    """An argument that no call accepts: a bad shape, dtype, size or name, or a value not finite."""

    status = "VAEKL_ERR_INVALID_ARGUMENT"


class FileError(Error, OSError):
    """A file could not be opened, read, written or mapped; `errno` is the system's, if any."""

    status = "VAEKL_ERR_IO"

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.message,), {**self.__dict__, "errno": self.errno}


class MissingFileError(FileError, FileNotFoundError):
    """There is no such file or folder."""


class FilePermissionError(FileError, PermissionError):
    """The file may not be read, or the folder not be written to."""


class IsAFolderError(FileError, IsADirectoryError):
    """A file was expected, and is a folder."""


class NotAFolderError(FileError, NotADirectoryError):
    """A folder was expected, and is a file."""


class FormatError(Error, ValueError):
    """The file is not a checkpoint, or corrupt."""

    status = "VAEKL_ERR_FORMAT"


class ModelError(Error, ValueError):
    """Tensors or configuration are not those of the class, or the needed half is not open."""

    status = "VAEKL_ERR_MODEL"


class UnsupportedError(Error, NotImplementedError):
    """Valid, but not supported by this build of the library."""

    status = "VAEKL_ERR_UNSUPPORTED"


class OutOfMemoryError(Error, MemoryError):
    """Out of memory."""

    status = "VAEKL_ERR_OUT_OF_MEMORY"


class BudgetError(Error, MemoryError):
    """No plan fits memory_budget; the message names the least that would do."""

    status = "VAEKL_ERR_BUDGET"


class CancelledError(Error):
    """`cancel()` stopped the call."""

    status = "VAEKL_ERR_CANCELLED"


class DeviceError(Error):
    """An accelerator failed."""

    status = "VAEKL_ERR_DEVICE"


class StateError(Error, RuntimeError):
    """The autoencoder takes no call.

    It is closed, in use by a stream or the caller of this callback, or poisoned by a bug.
    """

    status = "VAEKL_ERR_STATE"


class InternalError(Error, RuntimeError):
    """A bug in the library."""

    status = "VAEKL_ERR_INTERNAL"


class NonFiniteError(Error, ArithmeticError):
    """The computation gave NaN or infinity."""

    status = "VAEKL_ERR_NON_FINITE"


_OF_STATUS = {kind.status: kind for kind in Error.__subclasses__()}


# What Python itself would raise, to what this package does.
_OF_OS_ERROR = {kind.__bases__[1]: kind for kind in FileError.__subclasses__()}


def error_of(status: str, message: str, errno: int = 0) -> Error:
    """The exception of a status; one that this package does not know is an `Error` by itself."""
    kind = _OF_STATUS.get(status, Error)
    if errno and kind is FileError:
        error: Error = _OF_OS_ERROR.get(type(OSError(errno, "")), FileError)(message)
        error.errno = errno  # type: ignore[attr-defined]
    else:
        error = kind(message)
    error.status = status
    return error
