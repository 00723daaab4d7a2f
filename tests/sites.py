"""Little distributions with plugins, laid into a folder on the import path as an installer would."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hatch_mlbundle.plugins import Registry, load_registry

HEAD = """
import os, sys, threading, time
from dataclasses import dataclass
from pathlib import Path
from hatch_mlbundle.api import *

class Demo(Optimizer):
    "Does nothing."
    name = "demo"
    version = "1"
    def plan(self, bundle, context):
        return []
"""

REGISTER = """
@hookimpl
def mlbundle_register_{what}():
    return [{classes}]
"""


def registering(classes: str, what: str = "optimizers") -> str:
    """Return the source of a hook that registers these classes."""
    return REGISTER.format(classes=classes, what=what)


class Site:
    """A folder on the import path."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def add(self, distribution: str, source: str, *, names: tuple[str, ...] = ("main",)) -> None:
        """Install a distribution of one module, with entry points of these names."""
        module = distribution.replace("-", "_")
        (self.folder / f"{module}.py").write_text(source)
        info = self.folder / f"{module}-2.5.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 2.5\n")
        (info / "entry_points.txt").write_text("[mlbundle]\n" + "".join(f"{name} = {module}\n" for name in names))

    @contextmanager
    def installed(self) -> Iterator[None]:
        """Let these distributions be installed in this process."""
        modules = set(sys.modules)
        sys.path.insert(0, str(self.folder))
        try:
            yield
        finally:
            sys.path.remove(str(self.folder))
            for name in set(sys.modules) - modules:
                if str(getattr(sys.modules[name], "__file__", None) or "").startswith(str(self.folder)):
                    del sys.modules[name]

    def registry(self, seconds: float = 60.0) -> Registry:
        """Return what there is with these distributions installed; each may take so many seconds."""
        with self.installed():
            return load_registry(seconds)
