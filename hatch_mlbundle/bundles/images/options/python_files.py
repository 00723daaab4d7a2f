"""Files of Python packages that no running application needs: what `mlbundle optimize` drops by their names, and bytecode."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Iterator, Sequence
from posixpath import commonpath

from hatch_mlbundle.filegroups import GROUPS, always_stays
from hatch_mlbundle.importpaths import ImportPaths
from hatch_mlbundle.manifest import EditRow
from hatch_mlbundle.model import Bundle, File, Kind
from hatch_mlbundle.testfiles import COMPILED, FILES, FOLDERS, PROGRAMS, find_suspects

from .caches import PIP_INSTALL
from .evidence import Evidence, Option

_IN_PACKAGES = re.compile(r"(?:.*/)?site-packages/(?!pip/)[^/]+/.+")
"""Where pip installs; `dist-packages` are the distribution's own, which nothing of ours changes."""
_CACHED = re.compile(r"(.*/|)__pycache__/([^/.]+)\.[^/]*\.pyc")
_GROUPS = ("headers", "static-libs", "type-stubs")


def python_options(evidence: Evidence) -> Iterator[Option]:
    """Yield what can go from Python packages: developers' files, and bytecode whose source is there."""
    packages = Bundle(file for path, file in evidence.bundle.items() if path in evidence.seen and _IN_PACKAGES.fullmatch(path))
    yield from _developers(evidence, packages)
    yield from _bytecode(evidence)


def _developers(evidence: Evidence, packages: Bundle) -> Iterator[Option]:
    tests = _tests(packages)
    grouped = [file.path for file in packages.values() if not always_stays(file) and any(GROUPS[name].belongs(file) for name in _GROUPS)]
    freed = evidence.freed({*tests, *grouped})
    if freed:
        groups = ", ".join(f'"{name}"' for name in _GROUPS)
        yield Option(
            name="optimize",
            title="Run mlbundle: tests, headers, static libraries, type stubs",
            freed=freed,
            pros=("It needs no other build, and keeps a test that other modules import, name or open.", "`strip` saves more: by how much, only doing it tells."),
            cons=("Code that compiles C++ while it runs (torch.compile, cpp_extension) needs headers: leave `headers` out of the groups then.",),
            edits=(
                EditRow(where="pyproject.toml", text=f"[tool.mlbundle.exclude]\ngroups = [{groups}]"),
                EditRow(where="sh", text="mlbundle optimize image.tar -o small.tar"),
            ),
        )


def _tests(packages: Bundle) -> set[str]:
    """Return what lies in test folders: `test_data` goes by the same names. What only reading a module tells is not among it."""
    suspects = find_suspects(packages, ImportPaths(packages), FOLDERS, FILES, COMPILED, PROGRAMS)
    return suspects.candidates.keys() - set(suspects.unsure)


def _bytecode(evidence: Evidence) -> Iterator[Option]:
    paths = [file.path for file in evidence.bundle.of_kind(Kind.BYTECODE) if _has_source(evidence, file)]
    if freed := evidence.freed(paths):
        yield Option(
            name="bytecode",
            title="Leave bytecode out whose source is there",
            freed=freed,
            pros=("Python compiles what it imports when it is not there.",),
            cons=("Each new container compiles all that it imports at its first start, which takes seconds for large packages.",),
            edits=tuple(_bytecode_edits(evidence, paths)),
        )


def _has_source(evidence: Evidence, file: File) -> bool:
    match = _CACHED.fullmatch(file.path)
    return match is not None and f"{match[1]}{match[2]}.py" in evidence.bundle


def _bytecode_edits(evidence: Evidence, paths: Iterable[str]) -> Iterator[EditRow]:
    lines = ["ENV PYTHONDONTWRITEBYTECODE=1"]
    for number, names in evidence.by_layer(paths).items():
        made = evidence.made_by(number)
        find = f"find {' '.join(map(shlex.quote, _roots(names)))} -name __pycache__ -prune -exec rm -r {{}} +"
        lines.append(evidence.changed(number, made.with_flag(PIP_INSTALL, "--no-compile") or made.followed_by(find), find))
    yield EditRow(where="Dockerfile", text="\n".join(lines))


def _roots(paths: Sequence[str]) -> list[str]:
    """Return the folders, one for each at the top, that all these files lie in."""
    tops: dict[str, list[str]] = {}
    for path in paths:
        tops.setdefault(path.partition("/")[0], []).append(path.rpartition("/")[0])
    return sorted("/" + (commonpath(folders) if folders[0] else "") for folders in tops.values())
