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


def main(descriptor: str, store: str, kills: str, seconds: str) -> None:
    """Kill that many processes within their first seconds; print how many, and how many files were wrong. A finished store is emptied."""
    models = parse(Path(descriptor).read_bytes(), descriptor)
    chance = random.Random(4)
    killed = wrong = finished = 0
    while killed < int(kills):
        child = os.fork()
        if not child:
            with suppress(BaseException):
                os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
                model_commands.main(["warm", descriptor])
            os._exit(0)
        time.sleep(chance.random() * float(seconds))
        os.kill(child, signal.SIGKILL)
        is_killed = os.WIFSIGNALED(os.waitpid(child, 0)[1])
        killed += is_killed
        wrong += len(wrong_files(Path(store), *models))
        if not is_killed or list(Path(store, "ready").glob("*/*")):
            finished += 1
            shutil.rmtree(store)
    print(killed, wrong, finished)  # noqa: T201 - its result


if __name__ == "__main__":
    main(*sys.argv[1:])
