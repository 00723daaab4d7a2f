"""Two lines for a spec file: the pipeline runs on what PyInstaller is about to collect.

from hatch_mlbundle.adapters.pyinstaller import optimize
optimize(a)  # a = Analysis(...); before PYZ, EXE and COLLECT
"""

from __future__ import annotations

import marshal
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PyInstaller.building.utils import get_code_object, replace_filename_in_code_object
from PyInstaller.config import CONF
from PyInstaller.depend.analysis import get_bootstrap_modules

from hatch_mlbundle import crash
from hatch_mlbundle.adapters.project import FROZEN, find_project, project_config
from hatch_mlbundle.application import optimize_tables
from hatch_mlbundle.beside import saved_manifest_path
from hatch_mlbundle.bundles.tables import Entry, Tables
from hatch_mlbundle.errors import MlbundleError
from hatch_mlbundle.job import prepare
from hatch_mlbundle.plugins import load_registry
from hatch_mlbundle.reports.terminal import as_text, summary

_LEVELS = {"PYMODULE-1": 1, "PYMODULE-2": 2, "PYSOURCE-1": 1, "PYSOURCE-2": 2}


def optimize(*analyses: Any, name: str | None = None) -> None:
    """Run the pipeline on the tables of these Analysis objects, which it changes in place; what they share is shared.

    The configuration is that of the nearest pyproject.toml above the spec file. The manifest goes beside the bundle, under
    `name`, or else the spec file's. Ends PyInstaller with one line where anything goes wrong.
    """
    try:
        _optimize(analyses, name or CONF["specnm"])
    except MlbundleError as error:
        _end(error.told(), error.exit_code)
    except Exception as error:
        _end(crash.report(error), crash.EXIT_CODE)


def _optimize(analyses: Sequence[Any], name: str) -> None:
    root = find_project(Path(CONF["specpath"]))
    registry = load_registry()
    job = prepare(project_config(root, registry, places=FROZEN), registry, project=root)
    target = Path(CONF["distpath"]) / name
    result = optimize_tables(job, [_tables(each) for each in analyses], Path(CONF["workpath"]) / "mlbundle" / name, target)
    print(as_text(summary(result.manifest, saved_manifest_path(job, target))), file=sys.stderr)  # noqa: T201 - beside PyInstaller's own log


def _tables(analysis: Any) -> Tables:
    executable = analysis.scripts[-1][0].removesuffix(".py")
    cache = CONF["code_cache"].get(id(analysis.pure)) or {}
    fixed = frozenset(name for name, _, _ in get_bootstrap_modules())  # PYZ adds them, as they are on this machine
    return Tables(
        name=executable,
        files=(analysis.binaries, analysis.datas),
        pure=analysis.pure,
        code=lambda entry: None if entry[0] in fixed else _code(entry, cache),
        fixed=fixed,
        scripts=[_script(*row) for row in analysis.scripts],
        run=analysis.scripts,
    )


def _script(name: str, source: str, kind: str) -> tuple[str, bytes]:
    """Return a script's name and its code as PyInstaller's `CArchiveWriter` is going to write it: without the path of its folder."""
    code = get_code_object(name, source, optimize=_LEVELS.get(kind, 0))
    bare = name.removesuffix(".py")
    return bare, marshal.dumps(replace_filename_in_code_object(code, bare + Path(code.co_filename).suffix))


def _code(entry: Entry, cache: dict[str, Any]) -> bytes | None:
    """Return a module's code as PyInstaller's `ZlibArchiveWriter` is going to write it, None where its `PYZ` leaves it out."""
    name, source, kind = entry
    try:
        code = cache.get(name) or get_code_object(name, source, optimize=_LEVELS.get(kind, 0))
    except SyntaxError:
        return None
    parts = name.split(".")
    place = os.path.join(*parts, "__init__.py") if Path(source).stem == "__init__" else os.path.join(*parts) + ".py"  # noqa: PTH118
    return marshal.dumps(replace_filename_in_code_object(code, place))


def _end(message: str, exit_code: int) -> None:
    print(message, file=sys.stderr)  # noqa: T201
    raise SystemExit(exit_code)
