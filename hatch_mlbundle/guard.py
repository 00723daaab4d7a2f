"""Run code of another distribution: within a time limit, its writes watched, and whatever it raises an ordinary error.

It guards against mistakes, not against malice: the code runs in this process, and what it does in C or in a process of its own cannot
be seen. A call that hangs keeps its thread, which is a daemon: the process can end without it.
"""

from __future__ import annotations

import ctypes
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Generic, Protocol, TypeVar

from .errors import HangError, MlbundleError, StrangeError, TrespassError
from .printable import printable
from .writewatch import Places, Watched, release_threads, watched

OURS = "hatch-mlbundle"
"""The distribution whose code is trusted: it is released and tested as one."""

T = TypeVar("T")
R = TypeVar("R")

_GLANCE = 0.2
"""Seconds between two looks at the clocks, at most."""

_LONGEST = 1000
"""Characters of a stranger's message that are told."""


class Guard(Protocol):
    """How a step's code is run: ours as it is, others' with caution."""

    @property
    def foreign(self) -> bool:
        """Whether the code is of another distribution than ours."""

    def named(self, message: str) -> str:
        """Return a message about the step, with the distribution in front where it is not ours."""

    def map(self, function: Callable[[T], R], items: Iterable[T], /) -> Iterator[R]:
        """Return `function(item)` for each item, in order, on all cores; where `function` calls the step's code, it does so `inside`.

        Raises HangError where one stays inside for too long.
        """

    def call(self, function: Callable[[], R], /) -> R:
        """Return what a function of the step's code does; raises as `map` does, and as `inside`."""

    def inside(self) -> AbstractContextManager[None]:
        """Let the body run the step's code."""

    def outside(self) -> AbstractContextManager[None]:
        """Let the body, which the step's code calls, be ours again: its time does not count, and it may write."""


class Trust:
    """The Guard of our own code, on the threads of `pool`."""

    foreign = False

    def __init__(self, pool: Executor) -> None:
        self._pool = pool

    def named(self, message: str) -> str:
        """Return the message."""
        return message

    def map(self, function: Callable[[T], R], items: Iterable[T], /) -> Iterator[R]:
        """Return `function(item)` for each item, in order."""
        return self._pool.map(function, items)

    def call(self, function: Callable[[], R], /) -> R:
        """Return what the function does."""
        return function()

    def inside(self) -> AbstractContextManager[None]:
        """Change nothing."""
        return nullcontext()

    def outside(self) -> AbstractContextManager[None]:
        """Change nothing."""
        return nullcontext()


class Caution:
    """The Guard of the code of `distribution`: `seconds` for each call, writing only as `places` say; at most `workers` at once.

    `hung` says whether a call was given up; `refused` are the paths that it could not write, in all calls and since.
    """

    foreign = True

    def __init__(self, distribution: str, *, seconds: float, places: Places | None = None, workers: int = 1) -> None:
        self.distribution = distribution
        self.hung = False
        self.refused: list[str] = []
        self._told = 0
        self._seconds, self._places, self._workers = seconds, places, workers

    def named(self, message: str) -> str:
        """Return the message, behind the distribution's name."""
        return f"plugin {self.distribution}: {message}"

    def map(self, function: Callable[[T], R], items: Iterable[T], /) -> Iterator[R]:
        """Return `function(item)` for each item, in order; of errors, the first item's is raised."""
        work: _Work[T, R] = _Work(function, list(items))
        try:
            return iter(work.done_by(self._workers))
        except HangError as error:
            self.hung = True
            release_threads()
            raise HangError(self._hang()) from error

    def call(self, function: Callable[[], R], /) -> R:
        """Return what a function of the distribution does; raises as `map` and `inside` do."""

        def run(_: None) -> R:
            with self.inside():
                return function()

        return next(self.map(run, [None]))

    @contextmanager
    def inside(self) -> Iterator[None]:
        """Let the body run the distribution's code, in a thread of `map`. Raises StrangeError for what is no Exception, TrespassError."""
        clock: _Clock = _THREAD.clock
        watch = Watched(places=self._places, everything=self.refused) if self._places else None
        clock.start(self._seconds)
        try:
            with watched(watch) if watch else nullcontext():
                yield
        except _GivenUpError:
            raise
        except Exception:
            self._settle(watch)
            raise
        except BaseException as error:
            self._settle(watch)
            raise StrangeError(f"raised {error_line(error)}") from error
        finally:
            clock.stop()
        self._settle(watch)

    @contextmanager
    def outside(self) -> Iterator[None]:
        """Let the body be ours again."""
        clock: _Clock | None = getattr(_THREAD, "clock", None)
        if clock is None:  # a thread that the step started itself
            with watched(None):
                yield
            return
        left = clock.stop()
        try:
            with watched(None):
                yield
        finally:
            clock.start(left)

    def _settle(self, watch: Watched | None) -> None:
        """Raise TrespassError where a write was refused in the call, whether or not the code minded."""
        if watch and watch.refused:
            self._told += len(watch.refused)
            raise TrespassError(_trespass(watch.refused))

    def check(self) -> None:
        """Raise DistrustError for what was not raised when it happened: in calls of calls, and in threads that outlived theirs."""
        if self.hung:
            raise HangError(self._hang())
        if len(self.refused) > self._told:
            raise TrespassError(_trespass(self.refused))

    def _hang(self) -> str:
        return f"took longer than {self._seconds:g} seconds in one call and was given up"


def error_line(error: BaseException) -> str:
    """Return an error as one line of bounded length, in front its class, unless it is of our own kind: that says it all."""
    try:
        text = " ".join(str(error).split())
    except Exception:
        text = ""
    name = "" if isinstance(error, MlbundleError) else type(error).__name__
    line = ": ".join(each for each in (name, text) if each)
    return printable(line if len(line) <= _LONGEST else f"{line[:_LONGEST]}...")


def _trespass(paths: Sequence[str]) -> str:
    return f"tried to write {printable(min(paths))}, which is none of its folders, and was refused"


class _GivenUpError(BaseException):
    """Ends a thread that nobody waits for any more, where it comes back to our code."""


class _Clock:
    """How long a thread may still stay inside; it runs only while the thread is there."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._end: float | None = None
        self._given_up = False

    def start(self, seconds: float) -> None:
        """Let the time run; raises _GivenUpError where nobody waits any more."""
        with self._lock:
            self._check()
            self._end = time.monotonic() + seconds

    def stop(self) -> float:
        """Stop the time, and return what is left of it; raises _GivenUpError."""
        with self._lock:
            self._check()
            left, self._end = (self._end or 0.0) - time.monotonic(), None
            return left

    def is_over(self, now: float) -> bool:
        """Say whether the time is up."""
        with self._lock:
            return self._end is not None and now > self._end

    def give_up(self) -> None:
        """Let the thread end as soon as it comes back, whatever it does."""
        with self._lock:
            self._given_up = True

    def _check(self) -> None:
        if self._given_up:
            raise _GivenUpError


class _Thread(threading.local):
    clock: _Clock


_THREAD = _Thread()


class _Work(Generic[T, R]):
    """A function applied to items by daemon threads: unlike those of an executor, the process does not wait for them at its end."""

    def __init__(self, function: Callable[[T], R], items: Sequence[T]) -> None:
        self._function = function
        self._numbered = iter(enumerate(items))
        self._count = len(items)
        self._results: dict[int, R] = {}
        self._errors: dict[int, BaseException] = {}
        self._lock = threading.Lock()
        self._stopped = False
        self._threads: list[tuple[threading.Thread, _Clock]] = []
        self._running = 0
        self._ended = threading.Event()

    def done_by(self, workers: int) -> list[R]:
        """Return the results of at most so many threads; raises HangError where one is inside for too long, and the first item's error."""
        self._running = min(workers, self._count)
        for _ in range(self._running):
            clock = _Clock()
            thread = threading.Thread(target=self._run, args=(clock,), daemon=True, name="mlbundle-guard")
            self._threads.append((thread, clock))
            thread.start()
        try:
            while self._count and not self._ended.wait(_GLANCE):
                now = time.monotonic()
                if any(clock.is_over(now) for _, clock in self._threads):
                    raise HangError("takes too long")
        except BaseException:
            self._give_up()
            raise
        if self._errors:
            raise self._errors[min(self._errors)]
        return [self._results[number] for number in range(self._count)]

    def _run(self, clock: _Clock) -> None:
        _THREAD.clock = clock
        try:
            while (taken := self._taken()) is not None:
                number, item = taken
                try:
                    self._results[number] = self._function(item)
                except Exception as error:
                    self._errors[number] = error
                    self._stopped = True
        except _GivenUpError:
            pass
        finally:
            with self._lock:
                self._running -= 1
                if not self._running:
                    self._ended.set()

    def _taken(self) -> tuple[int, T] | None:
        with self._lock:
            return None if self._stopped else next(self._numbered, None)

    def _give_up(self) -> None:
        self._stopped = True
        for thread, clock in self._threads:
            clock.give_up()
            _interrupt(thread)


def _interrupt(thread: threading.Thread) -> None:
    """Raise an error in a thread at its next step in Python: one that computes for ever ends, one that waits in C does when that ends."""
    if thread.ident is not None and thread.is_alive() and hasattr(ctypes, "pythonapi"):  # another may have the number of one that ended
        ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread.ident), ctypes.py_object(_GivenUpError))
