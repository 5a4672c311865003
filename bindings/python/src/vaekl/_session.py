"""Models and sessions: the C interface with Python's ownership, threads and exceptions."""

from __future__ import annotations

import contextlib
import os
import threading
from collections import namedtuple
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Callable, Generic, Iterator, Union

from ._arrays import A, dtype_constant, empty, view
from ._errors import InvalidArgumentError, StateError
from ._native import check, constant, ffi, fields, filled, lib, options, owned, path_bytes, values

StrPath = Union[str, "os.PathLike[str]"]
Progress = Callable[[int, int], object]


class ModelInfo(namedtuple("ModelInfo", fields("vaekl_model_info"))):  # type: ignore[misc]
    """Properties of a model: the fields of `vaekl_model_info`."""

    __slots__ = ()
    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any: ...


class Plan(namedtuple("Plan", fields("vaekl_plan"))):  # type: ignore[misc]
    """What a call will need: the fields of `vaekl_plan`."""

    __slots__ = ()
    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any: ...


class Model:
    """An open autoencoder: immutable, shared by any number of sessions and threads."""

    def __init__(self, handle: Any) -> None:
        self.handle = handle

    @classmethod
    def open(cls, path: StrPath, **settings: Any) -> Model:
        """A checkpoint of any format, whose files are mapped and must not change."""
        struct, keep = _model_options(**settings)
        name = path_bytes(path, "path")
        out, error = ffi.new("vaekl_model **"), ffi.new("vaekl_error *")
        check(lib.vaekl_model_open(name, struct, out, error), error)
        del keep
        return cls(owned(out[0], lib.vaekl_model_free))

    @classmethod
    def open_bytes(cls, data: Any, **settings: Any) -> Model:
        """The bytes of a file of any format: any buffer.

        The buffer is used where it is, kept, and must not change.
        """
        struct, keep = _model_options(**settings)
        try:
            buffer = ffi.from_buffer(data)
        except TypeError as failed:
            message = f"data: a buffer of bytes expected, {type(data).__name__} found"
            raise InvalidArgumentError(message) from failed
        out, error = ffi.new("vaekl_model **"), ffi.new("vaekl_error *")
        check(lib.vaekl_model_open_bytes(buffer, len(buffer), struct, out, error), error)
        del keep
        return cls(owned(out[0], lib.vaekl_model_free, buffer))

    @property
    def info(self) -> ModelInfo:
        struct = filled("vaekl_model_info")
        check(lib.vaekl_model_get_info(self.handle, struct))
        return ModelInfo(*values(struct, "vaekl_model_info"))

    @property
    def notices(self) -> list[str]:
        """What to tell the user: guessed configuration, and weights that it leaves out."""
        lines = []
        while (line := lib.vaekl_model_notice(self.handle, len(lines))) != ffi.NULL:
            lines.append(str(ffi.string(line).decode()))
        return lines

    @property
    def family(self) -> str:
        """The name of diffusers' class."""
        return str(ffi.string(lib.vaekl_model_family(self.handle)).decode())

    @property
    def family_source(self) -> str:
        """What tells the family: the class in a configuration, or a tensor."""
        return str(ffi.string(lib.vaekl_model_family_source(self.handle)).decode())

    @property
    def latent_statistics(self) -> tuple[list[float], list[float]]:
        """Mean and standard deviation of scaled latents' channels; empty if the model has none."""
        function, nothing = lib.vaekl_model_latent_statistics, ffi.NULL
        count = function(self.handle, nothing, nothing, 0)
        mean, std = ffi.new("double[]", count), ffi.new("double[]", count)
        function(self.handle, mean, std, count)
        return list(mean), list(std)

    @property
    def config(self) -> str:
        """The configuration, read, inferred or guessed, in the form of a config.json."""
        return str(ffi.string(lib.vaekl_model_config(self.handle)).decode())

    def save(
        self,
        path: StrPath,
        *,
        dtype: Any = None,
        layout: str = "diffusers",
        max_shard_size: int = 0,
        variant: str | None = None,
    ) -> None:
        """Saves to a file, if `path` ends in .safetensors, or to a diffusers folder."""
        struct = options("vaekl_save_options")
        if dtype is not None:
            struct.dtype = dtype_constant(dtype, "dtype")
        struct.layout = constant("KEYS", layout, "layout")
        struct.max_shard_size = max_shard_size
        name, keep = path_bytes(path, "path"), None
        if variant is not None:
            keep = struct.variant = path_bytes(variant, "variant")
        error = ffi.new("vaekl_error *")
        check(lib.vaekl_model_save(self.handle, name, struct, error), error)
        del keep


def _model_options(
    *,
    parts: str = "both",
    config_path: StrPath | None = None,
    preset: str | None = None,
    variant: str | None = None,
    norm_num_groups: int = 0,
    disable_mmap: bool = False,
    device: str = "cpu",
) -> tuple[Any, list[Any]]:
    """A vaekl_model_options, and the strings that it points to."""
    struct = options("vaekl_model_options")
    kind, _, index = str(device).partition(":")
    struct.device = constant("DEVICE", kind, "device")
    struct.device_index = int(index or 0)
    if parts != "both":
        struct.parts = constant("PART", parts, "parts")
    struct.norm_num_groups = norm_num_groups
    struct.disable_mmap = bool(disable_mmap)
    keep = []
    for field, value in (("config_path", config_path), ("preset", preset), ("variant", variant)):
        if value is not None:
            keep.append(path_bytes(value, field))
            setattr(struct, field, keep[-1])
    return struct, keep


@dataclass(frozen=True)
class SessionOptions:
    """Options of an autoencoder; its `set_options` takes the same names.

    Attributes:
        threads: Number of threads; 0 for one per physical core.
        memory_budget: Limit in bytes of what a call adds to the process's memory, weights
            included; 0 for none. A call that does not fit raises `BudgetError` before any work.
            Neither it nor `threads` ever changes a bit of the result.
        scratch_dir: Folder for a scratch file, to which activations are spilled that do not fit
            the budget.
        dtype: Type of the activations between layers: "float32", "float16" or "bfloat16".
            "float16" becomes "float32" if the model sets `force_upcast`.
        tiling: "exact", "diffusers" or "seamless".
        tile_size: Side of a tile in latent pixels; 0 for the model's `sample_size`, or for
            seamless tiles with a budget the largest that fits it.
        tile_overlap: Overlap of neighbouring diffusers' tiles in latent pixels; 0 for a quarter of
            a tile.
        attention: "streamed" or "row_by_row": the same result up to rounding.
        fuse_qkv: Whether to project query, key and value at once.
        progress: Called from time to time with the work done and the total, on the thread of the
            call. Its exception stops the call, which then raises it.
    """

    threads: int = 0
    memory_budget: int = 0
    scratch_dir: StrPath | None = None
    dtype: str = "float32"
    tiling: str = "exact"
    tile_size: int = 0
    tile_overlap: int = 0
    attention: str = "streamed"
    fuse_qkv: bool = False
    progress: Progress | None = None

    def to_c(self, progress: Any = ffi.NULL) -> tuple[Any, Any]:
        """A vaekl_session_options, and the string that it points to."""
        struct = options("vaekl_session_options")
        struct.threads = self.threads
        struct.memory_budget = self.memory_budget
        struct.activation_dtype = dtype_constant(self.dtype, "dtype")
        struct.tiling = constant("TILING", self.tiling, "tiling")
        struct.tile_size = self.tile_size
        struct.tile_overlap = self.tile_overlap
        struct.attention = constant("ATTENTION", self.attention, "attention")
        struct.fuse_qkv = bool(self.fuse_qkv)
        struct.progress = progress
        folder = ffi.NULL
        if self.scratch_dir is not None:
            folder = path_bytes(self.scratch_dir, "scratch_dir")
        struct.scratch_dir = folder
        return struct, folder


def plan(model: Model, settings: SessionOptions, direction: str, height: int, width: int) -> Plan:
    """What a call would need.

    `direction` is "decode", of so many latents, or "encode", of so many pixels.
    """
    struct, keep = settings.to_c()
    out, error = filled("vaekl_plan"), ffi.new("vaekl_error *")
    function = getattr(lib, f"vaekl_plan_{direction}")
    check(function(model.handle, struct, width, height, out, error), error)
    del keep
    return Plan(*values(out, "vaekl_plan"))


class Session:
    """Runs a model, one call at a time, with its own threads and workspace.

    `lock` is held during a call. The same thread may take it again, from a callback: the library
    then says that the session is in use.
    """

    def __init__(self, model: Model, settings: SessionOptions) -> None:
        self.model, self.options = model, settings
        self.lock = threading.RLock()
        self.process = os.getpid()
        # What a callback raised. Not of the session, which the callback must not keep alive.
        self._raised: list[BaseException] = []
        callback = _progress(settings.progress, self._raised)
        struct, folder = settings.to_c(callback)
        out, error = ffi.new("vaekl_session **"), ffi.new("vaekl_error *")
        check(lib.vaekl_session_new(model.handle, struct, out, error), error)
        del folder
        self.handle = owned(out[0], lib.vaekl_session_free, model, callback)

    def call(self, function: Any, *arguments: Any, keep: Any) -> int:
        """Calls into the library; `arguments` without the error, which comes last.

        Signals, as of Ctrl-C, come between Python's own instructions on the main thread only: in
        the callback where there is one, and otherwise while the main thread waits for one that
        makes the call. `keep` owns the memory that the library works on.
        """
        error = ffi.new("vaekl_error *")
        here = self.options.progress or threading.current_thread() is not threading.main_thread()
        with self.lock:
            if here:
                status = function(*arguments, error)
            else:
                status = self._call_elsewhere(function, (*arguments, error), keep)
            if self._raised:
                raise self._raised.pop()
        return check(status, error)

    def _call_elsewhere(self, function: Any, arguments: tuple[Any, ...], keep: Any) -> int:
        outcome: list[Any] = []
        # Taken by the worker when it begins, or by this thread if a signal comes before.
        turn, ended = threading.Lock(), threading.Event()

        def work(keep: Any = keep) -> None:
            if not turn.acquire(blocking=False):
                return
            try:
                outcome.append(function(*arguments))
            except BaseException as failed:
                outcome.append(failed)
            ended.set()

        try:
            threading.Thread(target=work, name="vaekl").start()
            # Not join, which a signal leaves in doubt of whether the thread has ended.
            ended.wait()
        except BaseException:
            if not turn.acquire(blocking=False):
                # Again and again: the library may not have been called yet.
                while not ended.is_set():
                    with contextlib.suppress(BaseException):
                        self.cancel()
                        ended.wait(0.001)
            raise
        if isinstance(outcome[0], BaseException):
            raise outcome[0]
        return int(outcome[0])

    def decode(self, latent: Any, image: Any, keep: Any) -> None:
        self.call(lib.vaekl_decode, self.handle, latent, image, keep=keep)

    def decode_masked(self, latent: Any, picture: Any, mask: Any, image: Any, keep: Any) -> None:
        self.call(lib.vaekl_decode_masked, self.handle, latent, picture, mask, image, keep=keep)

    def encode(self, image: Any, posterior: int, seed: int, latent: Any, keep: Any) -> None:
        self.call(lib.vaekl_encode, self.handle, image, posterior, seed, latent, keep=keep)

    def cancel(self) -> None:
        lib.vaekl_session_cancel(self.handle)

    @property
    def memory(self) -> int:
        return int(lib.vaekl_session_memory(self.handle))


def _progress(user: Progress | None, raised: list[BaseException]) -> Any:
    """The C callback. What `user` raises goes to `raised` and cancels the call."""
    if user is None:
        return ffi.NULL

    def progress(_: Any, done: int, total: int) -> int:
        user(done, total)
        return 0

    def keep_raised(_: Any, exception: BaseException, __: Any) -> None:
        raised.append(exception)

    return ffi.callback("vaekl_progress_fn", progress, error=1, onerror=keep_raised)


class Stream(Generic[A]):
    """The rows of one decoded picture, top to bottom.

    Iterate for arrays of [rows, width, channels]. The autoencoder is in use until the stream is at
    its end or closed; other calls raise `StateError`. After an error every next array raises again.

    Attributes:
        height, width, channels: Of the picture.
        rows: Rows of an array; the last, also before an error, may have fewer.
    """

    def __init__(
        self,
        session: Session,
        latent: Any,
        owner: Any,
        shape: tuple[int, int, int],
        dtype: str,
        rows: int,
    ) -> None:
        if rows < 1:
            raise InvalidArgumentError(f"rows: 1 or more expected, {rows} found")
        self.height, self.width, self.channels = shape
        self.rows, self.dtype = rows, dtype
        self._session, self._like, self._next_row = session, owner, 0
        kind, out = dtype_constant(dtype, "dtype"), ffi.new("vaekl_stream **")
        try:
            session.call(lib.vaekl_stream_open, session.handle, latent, kind, out, keep=owner)
        except BaseException:
            # A signal may have come when it was open already.
            lib.vaekl_stream_free(out[0])
            raise
        # The session outlives the stream, which leaves it when it is freed.
        self._handle = owned(out[0], lib.vaekl_stream_free, session, session.handle)

    def __iter__(self) -> Iterator[A]:
        return self

    def __next__(self) -> A:
        with self._session.lock:
            # Not there during the read, for a callback that closes the stream.
            handle, self._handle = self._handle, None
            if handle is None:
                raise StopIteration
            if self._session.process != os.getpid():
                raise StateError("the stream was opened in another process")
            try:
                rows = self._read(handle)
            finally:
                self._handle = handle
            if rows is None:
                self.close()
                raise StopIteration
        return rows

    def _read(self, handle: Any) -> Any:
        # One row at the end too, where there is nothing to write but the library is yet to say so.
        count = max(1, min(self.rows, self.height - self._next_row))
        rows = empty(self._like, (count, self.width, self.channels), self.dtype)
        address = ffi.cast("void *", view(rows, "rows", "HWC").address)
        written = ffi.new("uint32_t *")
        arguments = (handle, address, 0, count, written)
        try:
            status = self._session.call(lib.vaekl_stream_read, *arguments, keep=rows)
        except BaseException:
            # An exception of Python's, as by Ctrl-C, may have come after rows were read: none may
            # follow them.
            self._session.cancel()
            raise
        if status == lib.VAEKL_END:
            return None
        self._next_row += written[0]
        return rows[: written[0]]

    def close(self) -> None:
        """Ends the stream, at its end or before, and leaves the autoencoder to other calls."""
        with self._session.lock:
            if self._handle is not None:
                ffi.release(self._handle)
                self._handle = None

    def __enter__(self) -> Stream[A]:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
