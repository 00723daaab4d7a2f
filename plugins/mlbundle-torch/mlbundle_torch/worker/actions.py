"""The requests that the worker knows, by name. Each imports what it needs only when it is asked for."""

from __future__ import annotations

import platform
from collections.abc import Callable, Mapping
from importlib import metadata
from typing import Any


def versions(request: Mapping[str, Any]) -> dict[str, Any]:
    """Return the versions of the distributions named, None for one that is not installed, and of the interpreter; imports none."""
    found = {name: _version(name) for name in request["distributions"]}
    return {"python": platform.python_version(), "distributions": found}


def export(request: Mapping[str, Any]) -> dict[str, Any]:
    """Export a model to ONNX and compare it with the original (exporting.py)."""
    from .exporting import export_model

    return export_model(request)


ACTIONS: Mapping[str, Callable[[Mapping[str, Any]], dict[str, Any]]] = {
    "versions": versions,
    "export": export,
}
"""What can be asked for."""


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
