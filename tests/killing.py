"""Kill processes that fetch a model, at random moments, and read every byte of the store after each: `python -m tests.killing ...`."""

from __future__ import annotations

import os
import random
import shutil
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path

from hatch_mlbundle.runtime import model_commands
from hatch_mlbundle.runtime.models import fetching  # so that no child spends its life importing
from hatch_mlbundle.runtime.models.descriptor import parse
from tests.modelsmith import wrong_files

assert fetching


STEPS = ("open", "os.", "shutil.", "fcntl.")
"""Audit events of what changes a file system, or is near it."""


def at_random(descriptor: str, store: str, kills: str, seconds: str) -> None:
    """Kill that many processes within their first seconds; print how many, how many files were wrong, and how often the model was ready."""
    models = parse(Path(descriptor).read_bytes(), descriptor)
    chance = random.Random(4)
    killed = wrong = finished = 0
    while killed < int(kills):
        child = _warming(descriptor)
        time.sleep(chance.random() * float(seconds))
        os.kill(child, signal.SIGKILL)
        is_killed = os.WIFSIGNALED(os.waitpid(child, 0)[1])
        killed += is_killed
        wrong += len(wrong_files(Path(store), *models))
        if not is_killed or list(Path(store, "ready").glob("*/*")):
            finished += 1
            shutil.rmtree(store)
    print(killed, wrong, finished)  # noqa: T201 - its result


def at_each_step(descriptor: str, store: str) -> None:
    """Let processes die before their first step, their second, and so on, and let another finish after each.

    Print how many died, how many files were wrong after either, and how often the other failed.
    """
    models = parse(Path(descriptor).read_bytes(), descriptor)
    died = wrong = failed = 0
    while True:
        shutil.rmtree(store, ignore_errors=True)
        if not os.WIFSIGNALED(os.waitpid(_warming(descriptor, dies_at=died + 1), 0)[1]):
            break
        died += 1
        wrong += len(wrong_files(Path(store), *models))
        failed += os.waitpid(_warming(descriptor), 0)[1] != 0
        wrong += len(wrong_files(Path(store), *models)) + (not list(Path(store, "ready").glob("*/*")))
    print(died, wrong, failed)  # noqa: T201


def _warming(descriptor: str, dies_at: int = 0) -> int:
    """Start a process that fetches the models, and return its id."""
    child = os.fork()
    if child:
        return child
    code = 1
    with suppress(BaseException):
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        if dies_at:
            sys.addaudithook(_Death(dies_at))
        code = model_commands.main(["warm", descriptor])
    os._exit(code)


class _Death:
    def __init__(self, step: int) -> None:
        self._left = step

    def __call__(self, event: str, _: object) -> None:
        self._left -= event.startswith(STEPS)
        if not self._left:
            os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    {"random": at_random, "steps": at_each_step}[sys.argv[1]](*sys.argv[2:])
