"""Which manifest of a former run an artifact is compared with: its name has the release in it, so the same file has another one."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from pathlib import Path

from packaging.utils import InvalidWheelFilename, parse_wheel_filename

from hatch_mlbundle.manifest import SUFFIX, load_artifact

_NUMBERS = re.compile(r"\d+(?:\.\d+)*")


def find_baseline(name: str, kept: str, manifests: Iterable[Path]) -> Path | None:
    """Return the manifest of the artifact that was called so, or whose name differs in its numbers alone; None where there is not just one.

    Of several artifacts of one name it is that which a run before would have `kept` as this one. Raises ManifestError.
    """
    former = {path: load_artifact(path).name for path in manifests}
    likenesses: tuple[Callable[[str], str], ...] = (str, _without_release, _without_numbers)
    for likeness in likenesses:
        alike = [path for path, artifact in former.items() if likeness(artifact) == likeness(name)]
        if alike:
            same = [path for path in alike if path.name == f"{kept}{SUFFIX}"]
            return next(iter(same or alike)) if same or len(alike) == 1 else None
    return None


def _without_release(name: str) -> str:
    """Return a wheel's distribution and tags, any other name as it is."""
    try:
        distribution, _, _, tags = parse_wheel_filename(name)
    except InvalidWheelFilename:
        return name
    return " ".join([distribution, *sorted(map(str, tags))])


def _without_numbers(name: str) -> str:
    return _NUMBERS.sub("#", name)
