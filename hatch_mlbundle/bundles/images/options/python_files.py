"""Files of Python packages that no running application needs: what `mlbundle optimize` drops by their names, and bytecode."""

from __future__ import annotations

import fnmatch
import json
import re
import shlex
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from posixpath import commonpath

from hatch_mlbundle.filegroups import GROUPS, always_stays
from hatch_mlbundle.manifest import EditRow
from hatch_mlbundle.model import File, Kind
from hatch_mlbundle.testfiles import FILES, FOLDERS, PROGRAMS

from .caches import PIP_INSTALL
from .evidence import Evidence, Option

_IN_PACKAGES = re.compile(r"(?:.*/)?site-packages/(?!pip/)[^/]+/.+")
"""Where pip installs; `dist-packages` are the distribution's own, which nothing of ours changes."""
_CACHED = re.compile(r"(.*/|)__pycache__/([^/.]+)\.[^/]*\.pyc")
_TORCH_HEADERS = re.compile(r"(?:.*/)?site-packages/torch/include/")
_VENV = re.compile(r"-m venv\b|\bvirtualenv\b")
"""What installs and compiles pip itself."""
_NOT_TESTS = r"(?!_?(?:py|unit|doc)?test[^/]*/)"
_TEST_FOLDER = re.compile(
    rf"(?:.*/)?site-packages/{_NOT_TESTS}(?:(?!testing/|_testing/|include/)[^/]+/)+?(?:{'|'.join(map(re.escape, FOLDERS))})/"
)
"""The outermost one; a package that is for testing by its name stays whole."""
_TEST_MODULE = re.compile("|".join(map(fnmatch.translate, FILES)))
_TEST_PROGRAM = re.compile(r"(?!.*\.so)(?:" + "|".join(map(fnmatch.translate, PROGRAMS)) + ")")
_MOST_ROOTS = 8
"""Folders that are named; where there are more, all are searched."""
_GROUPS = ("headers", "static-libs", "type-stubs")


def python_options(evidence: Evidence) -> Iterator[Option]:
    """Yield what can go from Python packages: developers' files, and bytecode whose source is there."""
    yield from _developers(evidence, [evidence.bundle[path] for path in evidence.paths if _IN_PACKAGES.fullmatch(path)])
    yield from _bytecode(evidence)


def _developers(evidence: Evidence, packages: Sequence[File]) -> Iterator[Option]:
    tests = _tests(packages)
    grouped = [file.path for file in packages if not always_stays(file) and any(GROUPS[name].belongs(file) for name in _GROUPS)]
    if freed := evidence.freed({*tests, *grouped}):
        yield Option(
            name="optimize",
            title="Run mlbundle on the Python packages",
            freed=freed,
            pros=(
                "Tests, headers, static libraries and type stubs go, without another build.",
                "Its step `strip` saves more: how much, only doing it tells.",
            ),
            cons=(
                "Of the tests it keeps what other modules import, name or open: about 5 % where torch, scipy and onnx are.",
                "Code that compiles C++ while it runs needs headers: leave them out of what is excluded then.",
            ),
            edits=(
                EditRow(where="pyproject.toml", text="\n".join(_excluding(grouped))),
                EditRow(where="sh", text="mlbundle optimize image.tar -o small.tar"),
            ),
        )


def _excluding(grouped: Iterable[str]) -> Iterator[str]:
    """Yield the lines that let `exclude` drop files of these groups, by name where it would keep them: torch can compile code."""
    yield "[tool.mlbundle.exclude]"
    yield f"groups = [{', '.join(json.dumps(name) for name in _GROUPS)}]"
    if any(_TORCH_HEADERS.match(path) for path in grouped):
        yield 'paths = ["**/site-packages/torch/include/"]'


def _tests(files: Iterable[File]) -> set[str]:
    """Return what lies in folders of tests, and native test programs: by names alone, as `test_data` begins, and less than it finds."""
    folders: defaultdict[str, list[str]] = defaultdict(list)
    tested, programs = set[str](), set[str]()
    for file in files:
        name = file.path.rpartition("/")[2]
        is_program = file.kind is Kind.ELF and _TEST_PROGRAM.fullmatch(name)
        if is_program:
            programs.add(file.path)
        if "test" in file.path and (match := _TEST_FOLDER.match(file.path)):
            folders[match[0]].append(file.path)
            if is_program or _TEST_MODULE.fullmatch(name):
                tested.add(match[0])
    return programs | {path for folder in tested for path in folders[folder]}


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
        flagged = None if _VENV.search(made.text) else made.with_flag(PIP_INSTALL, "--no-compile")
        lines.append(evidence.changed(number, flagged or made.followed_by(find), find))
    yield EditRow(where="Dockerfile", text="\n".join(lines))


def _roots(paths: Sequence[str]) -> list[str]:
    """Return the folders, one for each at the top, that all these files lie in."""
    tops: dict[str, list[str]] = {}
    for path in paths:
        tops.setdefault(path.partition("/")[0], []).append(path.rpartition("/")[0])
    if len(tops) > _MOST_ROOTS or not all(folders[0].isprintable() for folders in tops.values()):
        return ["/", "-xdev"]
    return sorted("/" + (commonpath(folders) if folders[0] else "") for folders in tops.values())
