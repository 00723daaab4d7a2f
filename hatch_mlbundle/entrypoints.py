"""What a distribution's `entry_points.txt` names (PyPA, entry points specification)."""

from __future__ import annotations

import configparser
import re
from collections.abc import Iterator

from .model import File


def entry_points(file: File) -> Iterator[tuple[str, str, str]]:
    """Yield the group, the name and the module of each entry point; raises configparser.Error where the file is damaged."""
    parser = configparser.ConfigParser(delimiters=("=",), interpolation=None, strict=False)
    parser.read_string(file.read().decode("utf-8", "replace"))
    for group in parser.sections():
        for name, value in parser.items(group):
            yield group, name, re.split(r"[:\s\[]", value.strip(), maxsplit=1)[0]
