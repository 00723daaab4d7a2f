"""What stays in an application although no traced run used it: rules that need but a file's path and kind, each with its reason.

A run shows what happens when all goes well, on one machine, in one place; these files are for the other times.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from posixpath import basename

from .filegroups import is_metadata
from .frozenmodules import FrozenModules
from .importpaths import SCRIPTS, installed
from .model import File, Kind
from .modulesets.model import is_below
from .testfiles import is_licence

_CERTIFICATE = re.compile(r".*\.(?:pem|crt|cer)", re.IGNORECASE)
_TIME_ZONES = re.compile(r"(?:.*/)?(?:tzdata|zoneinfo)/.*|(?:.*/)?[^/]*zoneinfo[^/]*\.tar\.gz|(?:.*/)?tzdata\.zi")
_INTERPRETER = re.compile(r"base_library\.zip|(?:lib)?python\d.*\.(?:so|dll|dylib|zip)(?:\.[\d.]+)?|Python|.*\.manifest", re.IGNORECASE)
_TOOLCHAIN = re.compile(
    r"(?:ld-|ld\d*\.|libc\.so|libm\.so|libstdc\+\+|libgcc_s|libc\+\+|libcrypto|libssl|vcruntime|msvcp|concrt|ucrtbase|api-ms-win-).*",
    re.IGNORECASE,
)
_PROCESSOR = re.compile(
    r".*[-_.](?:sse\d?\w*|ssse3|avx\d*\w*|amx\w*|neon|sve\d?|mc\d?|def|haswell|skylake\w*|icelake|alderlake|sapphirerapids|sandybridge|zen\d)"
    r"[-_.].*",
    re.IGNORECASE,
)
_LIBRARY = re.compile(r".*\.(?:so|dll|dylib|pyd)(?:\..*)?", re.IGNORECASE)
_COMPILED_STANDARD = re.compile(r"(?:.*/)?lib-dynload/([A-Za-z_]\w*)\.[^/]+")
_ALWAYS_LOOKED_UP = frozenset({"METADATA", "PKG-INFO", "entry_points.txt", "top_level.txt", "namespace_packages.txt"})
_ERRORS = frozenset(
    """
    encodings codecs _codecs _multibytecodec traceback linecache tokenize token keyword ast locale _locale warnings logging unicodedata
    textwrap io os contextlib importlib zipimport _colorize _pyrepl atexit faulthandler signal threading struct zlib errno stringprep
    """.split()  # noqa: SIM905 - one name a line would be 30 lines
)
"""What Python and PyInstaller's bootstrap need to start, to decode text in whatever encoding, and to tell of an error."""

_WRAPPERS = frozenset({"_curses", "_curses_panel", "_dbm", "_gdbm", "_sqlite3", "_tkinter", "readline"})
"""Compiled modules of the standard library that are there for a library of others, which they bring along."""

_CATALOGUES = frozenset({"locale", "locales", "locale-data", "translations", "i18n", "lang", "langs", "languages"})
_GONE_FROM_STANDARD = frozenset({"distutils", "imp", "asyncore", "asynchat", "smtpd", "lib2to3"})
"""Modules of the standard library that the release of Python which works here may no longer have."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A file as the rules see it: `path` below the folder of packages, the dotted name of its `module`, if it is one."""

    file: File
    path: str
    module: str | None
    frozen: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class KeepRule:
    """One rule: `why` is told of each file for which it `holds`."""

    why: str
    holds: Callable[[Place], bool]


def place_of(file: File, modules: FrozenModules) -> Place:
    """Return how the rules see a file of a bundle with these modules."""
    path = installed(file.path).removeprefix(modules.contents)
    compiled = _COMPILED_STANDARD.fullmatch(path)
    module = compiled[1] if compiled else modules.name(file.path)
    return Place(file=file, path=path, module=module, frozen=bool(modules.archives))


def is_standard(place: Place) -> bool:
    """Say whether a file is a module of Python's standard library that an error path may need; a wheel has none."""
    top = (place.module or "").partition(".")[0]
    if top in _WRAPPERS:
        return False
    settings = basename(place.path).startswith("_sysconfigdata_")  # with the platform's name, which may be no identifier
    return place.frozen and (top in sys.stdlib_module_names or top in _GONE_FROM_STANDARD or settings)


def catalogue_folder(path: str) -> str | None:
    """Return the folder of translations that a file belongs to, which holds those for all languages; None for any other file.

    Layouts: gettext's `LANGUAGE/LC_MESSAGES/NAME.mo`, and folders called `locale`, `translations` and the like.
    """
    parts = path.split("/")[:-1]
    if parts[-1:] == ["LC_MESSAGES"]:
        return "/".join(parts[:-2])
    place = next((place for place, part in enumerate(parts) if part.lower() in _CATALOGUES), None)
    return None if place is None or path.endswith((".py", ".pyc")) else "/".join(parts[: place + 1])


def _is_metadata(place: Place) -> bool:
    """Frozen, RECORD and its like serve nobody but those who ask for them, and the runs would have shown that; installers need all."""
    return is_metadata(place.path) and (not place.frozen or basename(place.path) in _ALWAYS_LOOKED_UP)


def _is_interpreter(place: Place) -> bool:
    is_script = f"{SCRIPTS}/" in place.file.path
    return place.file.kind is Kind.FROZEN or is_script or (place.frozen and _named(_INTERPRETER)(place))


def _is_for_errors(place: Place) -> bool:
    return is_standard(place) and is_below(place.module or "", _ERRORS)


def _named(pattern: re.Pattern[str]) -> Callable[[Place], bool]:
    return lambda place: pattern.fullmatch(basename(place.path)) is not None


def _is_for_a_processor(place: Place) -> bool:
    return _named(_LIBRARY)(place) and _named(_PROCESSOR)(place)


RULES: Mapping[str, KeepRule] = {
    "interpreter": KeepRule(why="Python itself, or what starts it", holds=_is_interpreter),
    "certificates": KeepRule(why="certificates: needed once a connection is made", holds=_named(_CERTIFICATE)),
    "time-zones": KeepRule(why="time zones: which are needed depends on place and data", holds=lambda place: _is_time_zone(place.path)),
    "licences": KeepRule(why="a licence or notice, which must go along", holds=lambda place: _is_licence(place.path)),
    "metadata": KeepRule(why="metadata of a distribution, which importlib.metadata looks up", holds=_is_metadata),
    "markers": KeepRule(why="tells type checkers that the package has types", holds=lambda place: basename(place.path) == "py.typed"),
    "toolchain": KeepRule(why="another system may lack this library, or have an older one", holds=_named(_TOOLCHAIN)),
    "processors": KeepRule(why="written for a kind of processor that another machine may have", holds=_is_for_a_processor),
    "errors": KeepRule(why="needed to start, to decode text or to tell of an error", holds=_is_for_errors),
}
"""The rules by name, in the order in which they are asked; the standard library as a whole is an option's matter (`is_standard`)."""


def rule_for(place: Place) -> KeepRule | None:
    """Return the first rule by which a file stays, or None."""
    return next((rule for rule in RULES.values() if rule.holds(place)), None)


def _is_licence(path: str) -> bool:
    return is_licence(path) or any(part.lower() in ("licenses", "licences") for part in path.split("/")[:-1])


def _is_time_zone(path: str) -> bool:
    return _TIME_ZONES.fullmatch(path) is not None
