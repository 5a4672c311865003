"""Threads, cancelling, signals, forks, and that everything is freed."""

from __future__ import annotations

import contextlib
import gc
import multiprocessing
import os
import signal
import threading
import time

import numpy as np
import pytest

import vaekl

# Enough work to be interrupted in the middle of.
LARGE = np.zeros((1, 4, 96, 96), np.float32)


def in_thread(function):
    """Starts `function` on a thread; gives it, and a list for what was returned or raised."""
    outcome = []

    def run():
        try:
            outcome.append(function())
        except BaseException as error:
            outcome.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    return thread, outcome


def test_cancel_from_another_thread(vae, expected):
    before = vae.decode(LARGE).sample
    thread, outcome = in_thread(lambda: vae.decode(LARGE))
    # Until the call is there to be cancelled. If decode kept the GIL, nothing here
    # would run before its end.
    while thread.is_alive():
        vae.cancel()
        time.sleep(0.001)
    assert (
        isinstance(outcome[0], vaekl.CancelledError) and outcome[0].status == "VAEKL_ERR_CANCELLED"
    )
    assert vae.decode(LARGE).sample.tobytes() == before.tobytes()
    assert vae.decode(expected.latents).sample.tobytes() == expected.decoded.tobytes()


def test_cancel_of_an_idle_autoencoder_is_nothing(vae, expected):
    vae.cancel()
    assert vae.decode(expected.latents).sample.tobytes() == expected.decoded.tobytes()


def test_cancel_of_a_stream(vae, expected):
    thread, outcome = in_thread(lambda: list(vae.stream(LARGE)))
    while thread.is_alive():
        vae.cancel()
        time.sleep(0.001)
    assert isinstance(outcome[0], vaekl.CancelledError)
    with vae.stream(expected.latents, rows=8) as stream:
        next(stream)
        vae.cancel()
        with pytest.raises(vaekl.CancelledError):
            next(stream)
    assert vae.decode(expected.latents).sample.tobytes() == expected.decoded.tobytes()


def test_what_a_callback_raises_comes_out(vae, expected):
    def fail(done, total):
        raise ZeroDivisionError(total)

    def reenter(done, total):
        vae.decode(expected.latents)

    def cancel(done, total):
        vae.cancel()

    for progress, error in (
        (fail, ZeroDivisionError),
        (reenter, vaekl.StateError),
        (cancel, vaekl.CancelledError),
    ):
        vae.set_options(progress=progress)
        with pytest.raises(error):
            vae.decode(expected.latents)
    vae.set_options(progress=None)
    assert vae.decode(expected.latents).sample.tobytes() == expected.decoded.tobytes()


@pytest.mark.parametrize("progress", [None, lambda done, total: None])
def test_a_signal_ends_a_call(vae, expected, progress):
    class Stop(BaseException):
        pass

    def stop(*_):
        raise Stop

    vae.set_options(progress=progress)
    old = signal.signal(signal.SIGALRM, stop)
    try:
        for call in (lambda: vae.decode(LARGE), lambda: list(vae.stream(LARGE))):
            signal.setitimer(signal.ITIMER_REAL, 0.01)
            with pytest.raises(Stop):
                call()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, old)
    assert vae.decode(expected.latents).sample.tobytes() == expected.decoded.tobytes()


def test_a_callback_cannot_close_the_stream_that_is_read(vae, expected):
    streams = []
    vae.set_options(progress=lambda done, total: [stream.close() for stream in streams])
    streams.append(vae.stream(expected.latents, rows=8))
    assert np.concatenate(list(streams[0])).tobytes() == expected.picture.tobytes()


def test_what_python_refuses_comes_out_of_any_thread(vae, expected):
    with pytest.raises(OverflowError):
        vae.encode_latents(expected.image, "sample", seed=-1)
    thread, outcome = in_thread(lambda: vae.encode_latents(expected.image, "sample", seed=-1))
    thread.join()
    assert isinstance(outcome[0], OverflowError)


def test_two_autoencoders_of_one_model_on_two_threads(vae):
    rng = np.random.default_rng(1)
    latents = [rng.standard_normal((1, 4, 20, 24), dtype=np.float32) for _ in range(2)]
    alone = [vae.decode(one).sample for one in latents]
    vaes = [vae.clone(threads=1), vae.clone(threads=2)]
    start = threading.Barrier(2)

    def work(i):
        start.wait()
        return [vaes[i].decode(latents[i]).sample for _ in range(3)]

    running = [in_thread(lambda i=i: work(i)) for i in range(2)]
    for i, (thread, outcome) in enumerate(running):
        thread.join()
        assert all(sample.tobytes() == alone[i].tobytes() for sample in outcome[0])


def test_threads_on_one_autoencoder_take_turns(vae, expected):
    running = [in_thread(lambda: vae.decode(expected.latents).sample) for _ in range(4)]
    vae.set_options(threads=1)  # in between
    for thread, outcome in running:
        thread.join()
        assert outcome[0].tobytes() == expected.decoded.tobytes()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_forked_process_has_threads_of_its_own(vae, expected):
    vae.set_options(threads=2)
    assert vae.decode(expected.latents).sample.tobytes() == expected.decoded.tobytes()

    def work():
        same = vae.decode(expected.latents).sample.tobytes() == expected.decoded.tobytes()
        os._exit(0 if same else 1)

    child = multiprocessing.get_context("fork").Process(target=work)
    child.start()
    child.join(60)
    if child.is_alive():
        child.kill()
    assert child.exitcode == 0
    assert vae.decode(expected.latents).sample.tobytes() == expected.decoded.tobytes()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_forked_process_leaves_the_stream_of_its_parent_alone(vae, expected):
    vae.set_options(threads=2)
    stream = vae.stream(expected.latents, rows=1)
    rows = [next(stream)]
    child = os.fork()
    if child == 0:
        signal.alarm(60)
        code = 1
        with contextlib.suppress(BaseException):
            with pytest.raises(vaekl.StateError, match="another process"):
                next(stream)
            # Neither waits for threads that this process does not have.
            stream.close()
            vae.close()
            code = 0
        os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    rows.extend(stream)
    assert len(rows) == 40
    assert vae.decode(expected.latents).sample.tobytes() == expected.decoded.tobytes()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_the_library_refuses_the_session_of_another_process(vae, expected):
    vae.set_options(threads=2)
    session = vae._session
    child = os.fork()
    if child == 0:
        signal.alarm(60)
        session.process = os.getpid()  # what the autoencoder looks at
        code = 1
        with contextlib.suppress(BaseException):
            with pytest.raises(vaekl.StateError, match="make a session here"):
                vae.decode(expected.latents)
            code = 0
        os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@pytest.mark.parametrize("rows", [1, 7])
def test_a_stream_that_failed_fails_again(data, expected, rows):
    calls = []

    def progress(done, total):
        calls.append(done)
        if len(calls) == stop:
            raise KeyError("planted")

    tiled = {"tiling": "diffusers", "tile_size": 4, "tile_overlap": 1}
    stop = 0
    vae = vaekl.AutoencoderKL.from_pretrained(
        data / "model", threads=1, progress=progress, **tiled
    )
    whole = b"".join(array.tobytes() for array in vae.stream(expected.latents, rows=rows))
    stop, found = len(calls) * 3 // 4, b""
    calls.clear()
    stream = vae.stream(expected.latents, rows=rows)
    with pytest.raises(KeyError):
        for array in stream:
            found += array.tobytes()
    assert 0 < len(found) < len(whole) and whole.startswith(found)
    for _ in range(3):
        with pytest.raises(vaekl.CancelledError):
            next(stream)
    stream.close()
    assert b"".join(a.tobytes() for a in vae.stream(expected.latents, rows=rows)) == whole


def test_everything_is_freed(data, expected, recorder):
    vae = vaekl.AutoencoderKL.from_pretrained(data / "model", threads=2)
    other = vae.clone(progress=lambda done, total: other.memory)  # a cycle
    stream = other.stream(expected.latents)
    next(stream)
    del other, stream
    gc.collect()
    assert recorder.freed == ["vaekl_stream_free", "vaekl_session_free"]
    vae.set_options(threads=1)
    stream = vae.stream(expected.latents)
    del vae
    assert recorder.freed[2:] == ["vaekl_session_free"]
    del stream
    assert recorder.freed[3:] == ["vaekl_stream_free", "vaekl_session_free", "vaekl_model_free"]
