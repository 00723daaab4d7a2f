"""Import modules that a script of a frozen application holds as code (bundles/loader.py): those of ours, and what they need besides."""

from __future__ import annotations

import _frozen_importlib
import marshal
import os
import sys
import zlib

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import ModuleType
    from typing import Any


def start(modules: Mapping[str, tuple[bool, bytes]], first: str) -> None:
    """Make modules importable, and call `install` of one of them.

    `modules` has, by name, whether each is a package, and its code as marshal writes it, compressed by zlib.
    """
    provide(modules)
    __import__(first)
    sys.modules[first].install()


def provide(modules: Mapping[str, tuple[bool, bytes]]) -> None:
    """Make modules importable, which `start` describes."""
    if modules:
        sys.meta_path.append(Embedded(modules))


def heed(module: str) -> None:
    """Let a module do what MLBUNDLE_COMMAND says, if it says something (models/__init__.py, `heed_command`)."""
    if os.environ.get("MLBUNDLE_COMMAND"):
        __import__(module)
        sys.modules[module].heed_command()


class Embedded:
    """The last of all finders, and its loader: what the application has itself comes first."""

    def __init__(self, modules: Mapping[str, tuple[bool, bytes]]) -> None:
        self._modules = modules

    def find_spec(self, name: str, path: object = None, target: object = None) -> Any:
        """Return the spec of a module that is here, None for any other."""
        if name not in self._modules:
            return None
        return _frozen_importlib.ModuleSpec(name, self, origin="mlbundle", is_package=self._modules[name][0])  # type: ignore[arg-type]

    def create_module(self, spec: object) -> None:
        """Let the import system make the module."""

    def exec_module(self, module: ModuleType) -> None:
        """Run the module's code."""
        exec(marshal.loads(zlib.decompress(self._modules[module.__name__][1])), module.__dict__)  # noqa: S102, S302 - as importing does
