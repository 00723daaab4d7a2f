"""Take out of an SVG what nobody sees, by scour, and prove that its elements are the same.

Groups, identifiers, classes, styles, titles and descriptions stay: scripts and style sheets of the page reach them. Numbers keep all
their digits.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any
from xml.etree import ElementTree as ET

from hatch_mlbundle.errors import KeptError, UnsoundResultError

_OPTIONS = (
    "--quiet",
    "--set-precision=28",
    "--set-c-precision=28",
    "--disable-simplify-colors",
    "--disable-style-to-xml",
    "--disable-group-collapsing",
    "--keep-unreferenced-defs",
    "--disable-embed-rasters",
    "--no-renderer-workaround",
    "--indent=none",
    "--no-line-breaks",
)

_EDITORS = (
    "http://www.inkscape.org/",
    "http://inkscape.sourceforge.net/",
    "http://sodipodi.sourceforge.net/",
    "http://ns.adobe.com/",
    "http://www.bohemiancoding.com/sketch/",
)
"""How the namespaces of drawing programs begin, whose elements and attributes only these read."""

_SAID = ("id", "class", "href", "{http://www.w3.org/1999/xlink}href")
_ALIVE = re.compile(
    rb"<!ENTITY|<\?xml-stylesheet|<(?:\w+:)?(?:script|foreignObject|animate\w*|set|handler)\b|\son\w+\s*=|xml:space", re.IGNORECASE
)
_LICENCE = re.compile(rb"copyright|licen[cs]e|SPDX|\(c\)|\xc2\xa9|all rights reserved", re.IGNORECASE)
_DECLARED = re.compile(rb"(?:\xef\xbb\xbf)?\s*<\?xml[^>]*?encoding\s*=\s*[\"']([\w.-]+)")
_COMMENT = re.compile(rb"<!--(.*?)-->", re.DOTALL)


def minified(text: bytes) -> bytes:
    """Return the drawing without white space, comments and what drawing programs note; raises KeptError, UnsoundResultError."""
    from scour import scour

    if alive := _ALIVE.search(text):
        raise KeptError(f"it holds more than a drawing: {alive[0].decode('ascii', 'replace').strip()}")
    if _encoding_of(text) != "utf-8":
        raise KeptError("it is not in UTF-8")
    before = _elements(text, KeptError)
    licensed = any(_LICENCE.search(comment) for comment in _COMMENT.findall(text))
    options = scour.parse_args([*_OPTIONS, *(() if licensed else ("--enable-comment-stripping",))])
    try:
        made: bytes = scour.scourString(text, options).encode()
    except Exception as error:  # scour raises whatever comes up
        raise KeptError(f"scour cannot read it ({type(error).__name__}: {' '.join(str(error).split())})") from error
    if len(made) >= len(text):
        raise KeptError("scour makes it no smaller")
    if _elements(made, UnsoundResultError) != before:
        raise KeptError("scour would change its elements")
    return made


def _encoding_of(text: bytes) -> str:
    """Return `utf-8` where a drawing is in that and says nothing else: only then was all of it seen that it holds."""
    declared = _DECLARED.match(text)
    try:
        text.decode()
    except UnicodeDecodeError:
        return "unknown"
    return declared[1].decode().lower() if declared else "utf-8"


def _elements(text: bytes, fault: type[KeptError | UnsoundResultError]) -> list[Any]:
    """Return each element in order: its depth, name, identifier, class, size and text, but for those of drawing programs."""
    try:
        return list(_walk(ET.fromstring(text), 0))  # noqa: S314 -- no entities: _ALIVE
    except (ET.ParseError, ValueError, LookupError) as error:
        raise fault(f"it is no XML: {error}") from error
    except RecursionError as error:
        raise fault("it is nested too deeply") from error


def _walk(element: ET.Element, depth: int) -> Iterator[tuple[Any, ...]]:
    name = str(element.tag)
    if _is_editors(name):
        return
    said = tuple(element.get(key) for key in _SAID)
    sizes = tuple(element.get(key, "100%") for key in ("width", "height"))
    yield depth, name, said, sizes, _numbers(element.get("viewBox", "")), " ".join((element.text or "").split())
    for child in element:
        yield from _walk(child, depth + 1)


def _numbers(text: str) -> tuple[float, ...]:
    return tuple(map(float, text.replace(",", " ").split()))


def _is_editors(name: str) -> bool:
    return name[1:].startswith(_EDITORS)
