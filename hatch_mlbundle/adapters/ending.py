"""How a build ends where a build tool carries us: in one line, tidied up, with nothing beside the wheel that tells of another."""

from __future__ import annotations

import shutil
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from hatch_mlbundle import crash
from hatch_mlbundle.errors import MlbundleError

if TYPE_CHECKING:
    from hatch_mlbundle.application import Result
    from hatch_mlbundle.job import Job


@contextmanager
def one_line(abort: Callable[[str, int], object], consequence: str = "nothing was built") -> Iterator[None]:
    """End the build with `abort`, given a message and an exit code, where anything goes wrong; the message ends with `consequence`."""
    try:
        yield
    except MlbundleError as error:
        abort(f"{error.told()} ({consequence})", error.exit_code)
    except KeyboardInterrupt:
        abort(f"mlbundle: interrupted ({consequence})", crash.INTERRUPTED)
    except Exception as error:
        abort(f"{crash.report(error)} ({consequence})", crash.EXIT_CODE)


@contextmanager
def ended_by_termination() -> Iterator[None]:
    """Let SIGTERM, which continuous integration sends, end the work as Ctrl-C does: with everything tidied up."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    former = signal.signal(signal.SIGTERM, lambda *_: sys.exit(crash.TERMINATED))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, former)


def remove_what_tells(job: Job, wheel: Path) -> None:
    """Remove the manifest, reports and companions of a wheel that is no more, or is another by now."""
    from hatch_mlbundle.beside import COMPANIONS, TELLING, beside

    for suffix in TELLING:
        beside(job, wheel, suffix).unlink(missing_ok=True)
    shutil.rmtree(beside(job, wheel, COMPANIONS), ignore_errors=True)


def summary_lines(job: Job, result: Result, artifact: Path) -> list[str]:
    """Return what was saved, as a terminal of 80 columns shows it; the manifest's path is relative where it lies in the project."""
    from hatch_mlbundle.beside import saved_manifest_path
    from hatch_mlbundle.reports.terminal import as_text, summary  # not before there is something to show

    place = saved_manifest_path(job, artifact)
    if place and place.is_relative_to(job.project):
        place = place.relative_to(job.project)
    return as_text(summary(result.manifest, place, result.verification)).splitlines()
