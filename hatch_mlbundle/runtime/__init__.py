"""Code that runs inside users' applications: the standard library only, and little of it.

An application whose weights were packed calls `install()` before it loads them; one that mlbundle wrote as a frozen bundle
does so by itself (docs/runtime.md).
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .models import model_path as model_path


def __getattr__(name: str) -> Any:
    """Import `model_path` when it is asked for (models/__init__.py): what loads packed weights needs none of it."""
    if name != "model_path":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from .models import model_path

    return model_path


def install() -> None:
    """Let safetensors, and whatever loads models by it, load packed weights; costs nothing until some are loaded."""
    from .patching import install

    install()


def uninstall() -> None:
    """Put back what `install` changed: for tests."""
    from .patching import uninstall

    uninstall()


def hook_path() -> str:
    """Return the path of a script that calls `install()` and heeds MLBUNDLE_COMMAND: for `runtime_hooks` in a PyInstaller spec file."""
    return os.path.join(os.path.dirname(os.path.abspath(__file__)), "pyinstaller_hook.py")
