"""Code that runs inside users' applications: the standard library only, and little of it.

An application whose weights were packed calls `install()` before it loads them; one that mlbundle wrote as a frozen bundle
does so by itself (docs/runtime.md).
"""

from __future__ import annotations

import os


def install() -> None:
    """Let safetensors, and whatever loads models by it, load packed weights; costs nothing until some are loaded."""
    from .patching import install

    install()


def uninstall() -> None:
    """Put back what `install` changed: for tests."""
    from .patching import uninstall

    uninstall()


def hook_path() -> str:
    """Return the path of a script that calls `install()`: for `runtime_hooks` in a PyInstaller spec file."""
    return os.path.join(os.path.dirname(os.path.abspath(__file__)), "pyinstaller_hook.py")
