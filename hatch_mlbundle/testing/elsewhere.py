"""The same run in other processes, each with surroundings of its own: hash seed, folder, umask, time, locale."""

from __future__ import annotations

import importlib
import importlib.util
import os
import pickle
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from hatch_mlbundle.model import Bundle
from hatch_mlbundle.optimizer import ArtifactKind, Optimizer
from hatch_mlbundle.testing.law import Case, broken
from hatch_mlbundle.testing.records import Record, record_of
from hatch_mlbundle.testing.running import Run, Table, run

_MODULE = "hatch_mlbundle.testing.elsewhere"


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What must not matter: the seed of Python's hashes, the umask, seconds that the clock is ahead, variables of the environment."""

    hash_seed: int
    umask: int
    ahead: int
    variables: Mapping[str, str]

    @property
    def told(self) -> str:
        """The surroundings in words."""
        return f"another folder, PYTHONHASHSEED={self.hash_seed}, umask {self.umask:03o}, clock {self.ahead} s ahead"


SURROUNDINGS = (
    Surroundings(hash_seed=1, umask=0o077, ahead=0, variables={"TZ": "UTC", "LC_ALL": "C.UTF-8", "USER": "one"}),
    Surroundings(hash_seed=4, umask=0o002, ahead=40_000_000, variables={"TZ": "Asia/Tokyo", "LC_ALL": "C", "USER": "two"}),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Request:
    """A case, its optimizer by name: `file` is where its module lies, for one that only a test's runner could import."""

    bundle: Bundle
    options: Table
    artifact: ArtifactKind
    project: Path
    module: str
    file: str | None
    name: str


def records_elsewhere(cases: Sequence[Case]) -> list[tuple[Record, ...]]:
    """Run the cases in a process for each of the `SURROUNDINGS`, all at once; return what was recorded of each case, in that order.

    Raises BrokenLawError where that fails: the optimizer has to be at the top level of a module, where another process can find it.
    """
    requests = [_request(case) for case in cases]
    with tempfile.TemporaryDirectory(prefix="mlbundle-testing-") as folder:
        started = [_start(requests, each, Path(folder) / str(number)) for number, each in enumerate(SURROUNDINGS)]
        ended = [(process.communicate()[0], process.returncode, place) for process, place in started]
        return list(zip(*[_records(cases[0], *each) for each in ended], strict=True))


def _request(case: Case) -> _Request:
    optimizer = case.optimizer
    if "<locals>" in optimizer.__qualname__ or optimizer.__module__ == "__main__":
        where = f"{optimizer.__module__}.{optimizer.__qualname__}"
        raise broken("deterministic", case, f"another process cannot import {where}; define it at the top level of a module")
    return _Request(
        bundle=case.bundle,
        options=case.options,
        artifact=case.artifact,
        project=(case.project or Path()).absolute(),
        module=optimizer.__module__,
        file=getattr(sys.modules[optimizer.__module__], "__file__", None),
        name=optimizer.__qualname__,
    )


def _start(requests: Sequence[_Request], surroundings: Surroundings, folder: Path) -> tuple[subprocess.Popen[str], Path]:
    folder.mkdir()
    (folder / "requests").write_bytes(pickle.dumps([surroundings, requests]))
    environment = {**os.environ, **surroundings.variables, "PYTHONHASHSEED": str(surroundings.hash_seed), "TMPDIR": str(folder)}
    environment["PYTHONPATH"] = os.pathsep.join(str(Path(each).absolute()) for each in sys.path)
    command = [sys.executable, "-m", _MODULE, str(folder / "requests"), str(folder / "records")]
    process = subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    return process, folder / "records"


def _records(case: Case, output: str, exit_code: int, place: Path) -> list[Record]:
    if exit_code:
        last = output.strip().rpartition("\n")[2]
        raise broken("deterministic", case, f"the same run failed in another process (exit code {exit_code}: {last})")
    records: list[Record] = pickle.loads(place.read_bytes())  # noqa: S301 - written by the process that we started
    return records


def _load(request: _Request) -> type[Optimizer[Any]]:
    found: Any = _module(request)
    for name in request.name.split("."):
        found = getattr(found, name)
    optimizer: type[Optimizer[Any]] = found
    return optimizer


def _module(request: _Request) -> ModuleType:
    try:
        return importlib.import_module(request.module)
    except ModuleNotFoundError:
        spec = importlib.util.spec_from_file_location(request.module, request.file) if request.file else None
        if spec is None or spec.loader is None:
            raise
        module = importlib.util.module_from_spec(spec)
        sys.modules[request.module] = module
        spec.loader.exec_module(module)
        return module


def _main(requests_file: str, records_file: str) -> None:
    surroundings, requests = pickle.loads(Path(requests_file).read_bytes())  # noqa: S301 - written by the process that started us
    os.umask(surroundings.umask)
    now = time.time
    time.time = lambda: now() + surroundings.ahead
    records = [record_of(_run(request)) for request in requests]
    Path(records_file).write_bytes(pickle.dumps(records))


def _run(request: _Request) -> Run:
    return run(_load(request), request.bundle, request.options, artifact=request.artifact, project=request.project, workers=1)


if __name__ == "__main__":
    from hatch_mlbundle.testing import elsewhere  # under its own name, by which the requests know it

    elsewhere._main(*sys.argv[1:])  # noqa: SLF001 - it is this module
