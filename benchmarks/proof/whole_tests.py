"""A pytest plugin for real_wheels.py: modules that were dropped come from the unoptimized copy in MLBUNDLE_WHOLE, nothing else does."""

from __future__ import annotations

import importlib.util
import json
import os
import sys
import sysconfig
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType


class _Dropped(MetaPathFinder):
    def __init__(self, whole: Path, dropped: frozenset[str]) -> None:
        self._whole = whole
        self._dropped = dropped

    def find_spec(self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        base = fullname.replace(".", "/")
        if f"{base}/__init__.py" in self._dropped:
            place = self._whole / base
            return importlib.util.spec_from_file_location(fullname, place / "__init__.py", submodule_search_locations=[str(place)])
        for suffix in (".py", str(sysconfig.get_config_var("EXT_SUFFIX"))):
            if base + suffix in self._dropped:
                return importlib.util.spec_from_file_location(fullname, self._whole / (base + suffix))
        return None


if "MLBUNDLE_WHOLE" in os.environ:
    listing = Path(os.environ["MLBUNDLE_DROPPED"])
    sys.meta_path.append(_Dropped(Path(os.environ["MLBUNDLE_WHOLE"]), frozenset(json.loads(listing.read_text()))))
