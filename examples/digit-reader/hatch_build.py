"""Compile `digit_reader/_layers.c` with the compiler that made this Python, and put the result into the wheel."""

from __future__ import annotations

import os
import shlex
import subprocess
import sysconfig
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

SOURCE = "digit_reader/_layers.c"
EXTENSION = f"digit_reader/_layers{sysconfig.get_config_var('EXT_SUFFIX')}"


class CompileHook(BuildHookInterface):
    """The wheel gets the extension from a temporary folder; an editable install gets it beside its source."""

    _folder: tempfile.TemporaryDirectory[str] | None = None

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        build_data["pure_python"] = False
        build_data["infer_tag"] = True
        if version == "editable":
            self._compile(Path(self.root, EXTENSION))
            return
        self._folder = tempfile.TemporaryDirectory()
        target = Path(self._folder.name, Path(EXTENSION).name)
        self._compile(target)
        build_data["force_include"][str(target)] = EXTENSION

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        if self._folder:
            self._folder.cleanup()

    def _compile(self, target: Path) -> None:
        """Run the compiler in the project's folder, which the prefix map takes out of the debug data: any folder gives the same bytes."""
        root = str(Path(self.root).resolve())
        includes = dict.fromkeys(sysconfig.get_path(name) for name in ("include", "platinclude"))
        command = [
            *shlex.split(sysconfig.get_config_var("LDSHARED")),
            *("-g", "-O2", "-fPIC", "-Wall", f"-ffile-prefix-map={root}=."),
            *(f"-I{folder}" for folder in includes),
            *(SOURCE, "-o", str(target)),
        ]
        if subprocess.run(command, cwd=root, env={**os.environ, "PWD": root}, check=False).returncode:
            self.app.abort(f"{SOURCE}: {command[0]} failed")
