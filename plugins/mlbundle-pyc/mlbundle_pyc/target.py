"""Which Python runs what is in a bundle, and why its bytecode cannot be made or changed here: bytecode is for one release of CPython."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from email.parser import HeaderParser

from packaging.tags import parse_tag

from hatch_mlbundle.model import Bundle
from hatch_mlbundle.optimizer import ArtifactKind

OURS = f"{sys.version_info[0]}.{sys.version_info[1]}"
"""The release of Python that runs this."""

_WHEEL = re.compile(r"[^/]+\.dist-info/WHEEL")
_LIBRARY = re.compile(r"(?:^|/)lib/python(3\.\d+)t?/")


def why_not(bundle: Bundle, artifact: ArtifactKind, python: str) -> str | None:
    """Return why bytecode of the running Python does not fit the bundle, None where it does; `python` is what a person says of a folder."""
    if sys.implementation.name != "cpython":
        return f"this Python is {sys.implementation.name}; bytecode is made for CPython alone"
    return _wheel_problem(bundle) if artifact == "wheel" else _folder_problem(bundle, python)


def _wheel_problem(bundle: Bundle) -> str | None:
    try:
        tags = sorted(set(_tags(bundle)))
    except ValueError:
        tags = []
    if not tags:
        return "the wheel's tags cannot be read"
    wanted = f"cp{OURS.replace('.', '')}"
    for tag in tags:
        python, abi, _ = tag.split("-", 2)
        if python.startswith("cp") and python != wanted and abi != "abi3" and python[2:].isdecimal():
            return f"the wheel is tagged {tag}, and this Python is {OURS}; run mlbundle with the Python that the wheel is for"
        if python != wanted or not (abi == "none" or abi.startswith(wanted)):
            return f"the wheel is tagged {tag}, and bytecode is for one release of Python; build it with the tag {wanted}-{wanted}"
    return None


def _tags(bundle: Bundle) -> Iterator[str]:
    """Yield the tags of a wheel, as its WHEEL has them (PyPA, binary distribution format); none where one cannot be read."""
    for path, file in bundle.items():
        if _WHEEL.fullmatch(path) and file.size < 1 << 20:
            headers = HeaderParser().parsestr(file.read().decode("utf-8", "replace"))
            for value in headers.get_all("Tag", []):
                yield from map(str, parse_tag(str(value).strip()))


def _folder_problem(bundle: Bundle, python: str) -> str | None:
    releases = {match[1] for path in bundle if (match := _LIBRARY.search(path))} | ({python} if python else set())
    if not releases:
        return f'nothing says which Python runs the folder; set `python = "{OURS}"` if it is this one'
    if releases != {OURS}:
        return f"the folder is for Python {' and '.join(sorted(releases))}, and this is {OURS}; run mlbundle with that"
    return None
