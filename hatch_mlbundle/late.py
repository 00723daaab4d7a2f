"""Modules that are imported when they are needed: starting is most of what a small command does."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any


class late:  # noqa: N801 - stands where a module does
    """A module of that name whose attributes are functions; each is looked up when it is called."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, attribute: str) -> Callable[..., Any]:
        """Return a function that calls the module's."""
        return lambda *arguments: getattr(import_module(self._name), attribute)(*arguments)
