"""Take out of an SVG what nobody sees, by scour, and prove that its elements are the same.

Groups, attributes, titles and descriptions stay: scripts and style sheets of the page reach them. Numbers keep all their digits.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any
from xml.dom import minidom
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

_ALIVE = re.compile(
    rb"<!ENTITY|<\?xml-stylesheet|<(?:\w+:)?(?:script|foreignObject|animate\w*|set|handler)\b|\son\w+\s*=|xml:space|white-space",
    re.IGNORECASE,
)
_SHAPES = frozenset({"d", "points", "transform"})
_NUMBERS = _SHAPES | {"gradientTransform", "height", "patternTransform", "version", "viewBox", "width"}
_SEEN = _NUMBERS | {"class", "href", "id", "xmlns"}
"""The attributes whose numbers are written otherwise, and all that scour sees. It would move others up to groups, and leave those out that
have their default value: both changes what is shown where a style sheet has a rule for them, or where `use` shows the element elsewhere."""
_HIDDEN = "data-mlbundle-"
_CAPS = ("round", "square")
"""One of these line caps is put on every path, in turn, for scour moves up what all in a group have: segments without length are seen
then, or by markers on them, and scour lets them be."""

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
    if _HIDDEN.encode() in text:
        raise KeptError(f"it has attributes called {_HIDDEN}...")
    before = _elements(text, KeptError)
    licensed = any(_LICENCE.search(comment) for comment in _COMMENT.findall(text))
    options = scour.parse_args([*_OPTIONS, *(() if licensed else ("--enable-comment-stripping",))])
    try:
        made = _shown(scour.scourString(_hidden(text), options)).encode()
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


def _hidden(text: bytes) -> bytes:
    """Return the drawing with other names for the attributes that scour is not to see."""
    document = minidom.parseString(text)  # noqa: S318 -- no entities: _ALIVE
    for number, element in enumerate(document.getElementsByTagName("*")):
        for name, value in element.attributes.items():
            if ":" not in name and name not in _SEEN:
                element.removeAttribute(name)
                element.setAttribute(_HIDDEN + name, value)
        if element.localName == "path":
            element.setAttribute("stroke-linecap", _CAPS[number % 2])
    return document.toxml().encode()


def _shown(text: str) -> str:
    """Return a drawing of `_hidden` with its own attributes again."""
    for cap in _CAPS:
        text = text.replace(f' stroke-linecap="{cap}"', "")
    return text.replace(f" {_HIDDEN}", " ")


def _elements(text: bytes, fault: type[KeptError | UnsoundResultError]) -> list[Any]:
    """Return each element in order, but for those of drawing programs: its depth, name, attributes and text."""
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
    said = {key: value for key, value in element.items() if key not in _NUMBERS and not _is_editors(key)}
    sizes = tuple(element.get(key, "100%") for key in ("width", "height"))
    text = "".join(element.itertext()) if name.endswith("}text") else element.text or ""
    yield depth, name, said, _SHAPES.intersection(element.keys()), sizes, _numbers(element.get("viewBox", "")), " ".join(text.split())
    for child in element:
        yield from _walk(child, depth + 1)


def _numbers(text: str) -> tuple[float, ...]:
    return tuple(map(float, text.replace(",", " ").split()))


def _is_editors(name: str) -> bool:
    return name[1:].startswith(_EDITORS)
