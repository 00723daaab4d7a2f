"""setuptools: `bdist_wheel` packs a tree that is small already, and the wheel, its manifest and its summary are those of the hatch hook."""

from __future__ import annotations

import logging
import re
import shutil
import sys
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from setuptools import Distribution

from hatch_mlbundle.adapters.ending import ended_by_termination, one_line, summary_lines
from hatch_mlbundle.atomic import make_folder
from hatch_mlbundle.cache import link_or_copy
from hatch_mlbundle.epoch import source_date_epoch

if TYPE_CHECKING:
    from setuptools.command.bdist_wheel import bdist_wheel

    from hatch_mlbundle.adapters.tree_build import TreeBuild
    from hatch_mlbundle.job import Job
else:
    bdist_wheel = object  # the distribution's own class, whatever that is, comes in when there is one

_LOG = logging.getLogger(__name__)
_BUILD_METAS_OWN = re.compile(r"(\.tmp-|tmp)\w{8}")
"""The folder that `setuptools.build_meta` builds in, within the one that it was asked for, and carries only the wheel out of.

Its name begins with a dot since setuptools 65.6.
"""


def install(dist: Distribution) -> None:
    """Let the distribution's `bdist_wheel`, whatever other plugins and setup.py made of it, optimize; a second time changes nothing."""
    from distutils.errors import DistutilsModuleError  # setuptools.errors has it since 59.1; once setuptools is there, this is its own

    try:
        command = dist.get_command_class("bdist_wheel")
    except (ImportError, DistutilsModuleError):  # a setuptools before 70.1 builds wheels only where `wheel` is installed
        return
    if not issubclass(command, OptimizingWheel):
        dist.cmdclass["bdist_wheel"] = type("bdist_wheel", (OptimizingWheel, command), {})


class OptimizingWheel(bdist_wheel):
    """What stands before a class `bdist_wheel`. Editable installs call `write_wheelfile` alone, and so stay as they are."""

    _tree_build: TreeBuild | None = None

    def run(self) -> None:
        """Check configuration and tools, then build; what `bdist_wheel` puts into `dist_dir` is exchanged for our wheel."""
        from hatch_mlbundle.adapters.tree_build import TreeBuild, work_folder  # most commands are others: editable installs, egg_info

        with one_line(_abort):
            job = _prepared()
        given, compression = Path(cast("str", self.dist_dir)), self.compression
        bdist: Any = self.get_finalized_command("bdist")
        with work_folder(Path(bdist.bdist_base, "mlbundle-work.tmp")) as folder:
            build = TreeBuild(job, folder, _asked_for(given))
            self._tree_build, self.dist_dir = build, str(build.zipped)
            try:
                super().run()
                self._finish(job, build, given)
            except BaseException:
                build.discard()
                raise
            finally:
                self._tree_build, self.dist_dir, self.compression = None, str(given), compression

    def write_wheelfile(self, wheelfile_base: str, *arguments: Any, **options: Any) -> None:
        """Write WHEEL, the last file of the tree, then make the tree small."""
        super().write_wheelfile(wheelfile_base, *arguments, **options)
        if self._tree_build is None or self.bdist_dir is None:
            return
        name = f"{'-'.join((self.wheel_dist_name, *self.get_tag()))}.whl"
        try:
            with one_line(_abort, "no wheel was built"), ended_by_termination():
                self._tree_build.optimize(Path(self.bdist_dir), Path(wheelfile_base).name, name)
        except BaseException:
            if not self.keep_temp:  # the next build would pack what is left of this one
                shutil.rmtree(self.bdist_dir, ignore_errors=True)
            raise
        self.compression = zipfile.ZIP_STORED  # only what it lists is looked at

    def _finish(self, job: Job, build: TreeBuild, given: Path) -> None:
        """Put everything where it was asked for, and tell what was saved."""
        with one_line(_abort, "no wheel was built"), ended_by_termination():
            finished = build.finish()
            for each in finished:
                if each.wheel.parent != given.absolute():
                    link_or_copy(each.wheel, given / each.wheel.name)
            self._move_files(build.zipped, given)
        if not finished:
            _LOG.warning("mlbundle: bdist_wheel made no wheel in %s; optimize what it made with `mlbundle optimize WHEEL`", given)
        for each in finished:
            for line in summary_lines(job, each.result, each.wheel):
                _LOG.info("%s", line)

    def _move_files(self, zipped: Path, given: Path) -> None:
        """Bring what other plugins put beside the wheel to where it was meant to be, and tell later commands of our wheels."""
        for path in zipped.glob("*"):
            if path.suffix != ".whl":
                make_folder(given)
                shutil.move(path, given / path.name)
        files = self.distribution.dist_files
        files[:] = [(*row[:2], str(given / Path(row[2]).name) if Path(row[2]).parent == zipped else row[2]) for row in files]


def _asked_for(dist_dir: Path) -> Path:
    """Return the folder that whoever asked for the build named, which is not always that which `bdist_wheel` is given."""
    folder = dist_dir.absolute()
    own = "setuptools.build_meta" in sys.modules and _BUILD_METAS_OWN.fullmatch(folder.name)
    return folder.parent if own else folder


def _prepared() -> Job:
    from hatch_mlbundle.adapters.project import project_config
    from hatch_mlbundle.job import prepare
    from hatch_mlbundle.plugins import load_registry

    source_date_epoch()
    registry = load_registry()
    root = Path.cwd()
    return prepare(project_config(root, registry, places=()), registry, project=root)


def _abort(message: str, code: int) -> None:
    print(message, file=sys.stderr)  # noqa: T201 - setuptools' log may be switched off
    raise SystemExit(code)
