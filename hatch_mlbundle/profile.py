"""The profile of an application: which of its files real runs used. It is reviewed and committed beside the project's sources.

Nothing in it depends on time, place or machine, and every file has a line of its own, so that two of them compare well.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from .atomic import replace_atomically
from .decode import foreign_version
from .errors import ProfileError
from .json_rows import document_text, line, rows

FORMAT = "mlbundle-profile"
FORMAT_VERSION = "1.0"
"""Major and minor: a new minor adds keys, a new major changes what there is."""

FILE_NAME = "mlbundle-profile.json"
"""What a profile is called unless somebody says otherwise."""

_LISTS = ("used", "asked", "unused")

_ANEW = "make it anew with `mlbundle trace`"


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """What runs used of an application.

    `runs` are their command lines, the program's path relative to the bundle. `used`, `asked` and `unused` are paths as `model.File`
    has them, modules in an executable among them: of files opened and modules imported; of those that a run only asked for, whether
    they are there; of all others. Together they are the inventory: a path in none was not there when it was traced.
    """

    runs: tuple[tuple[str, ...], ...] = ()
    used: frozenset[str] = frozenset()
    asked: frozenset[str] = frozenset()
    unused: frozenset[str] = frozenset()

    @classmethod
    def from_json(cls, text: str | bytes, where: str = "profile") -> Profile:
        """Return the profile of a JSON text; raises ProfileError, also for a major version other than ours.

        A path that a merge of two versions of the file left in several lists counts as used, else as asked for.
        """
        try:
            document = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise ProfileError(f"{where}: is no JSON ({error}); {_ANEW}") from error
        _check_format(document, where)
        runs = tuple(_command(each, f"{where}: runs[{number}]") for number, each in enumerate(_list(document, "runs", where)))
        known = {"asked": [], **document}  # by hand, that list may be left out
        used, asked, unused = (frozenset(_texts(_list(known, name, where), f"{where}: {name}")) for name in _LISTS)
        return cls(runs=runs, used=used, asked=asked - used, unused=unused - used - asked)

    def to_json(self) -> str:
        """Return the profile's JSON text: everything sorted, one run or file a line. Any UTF-8 stream takes it."""
        lists = {
            "runs": rows(line({"command": run}) for run in sorted(set(self.runs))),
            **{name: rows(map(line, sorted(getattr(self, name)))) for name in _LISTS},
        }
        return document_text({"format": line(FORMAT), "format_version": line(FORMAT_VERSION), **lists})

    def save(self, path: Path) -> None:
        """Write the JSON to `path`, whole or not at all; raises StorageError."""
        with replace_atomically(path) as stream:
            stream.write(self.to_json().encode())

    @property
    def inventory(self) -> frozenset[str]:
        """Every path of the application that was traced."""
        return self.used | self.asked | self.unused

    def united(self, other: Profile) -> Profile:
        """Return the profile of both: of each path the most that either did with it."""
        used = self.used | other.used
        asked = (self.asked | other.asked) - used
        runs = tuple(sorted({*self.runs, *other.runs}))
        return Profile(runs=runs, used=used, asked=asked, unused=(self.unused | other.unused) - used - asked)

    def within(self, inventory: Collection[str]) -> Profile:
        """Return the profile without the paths that are not in this inventory: that of another version of the application."""
        used, asked, unused = (each.intersection(inventory) for each in (self.used, self.asked, self.unused))
        return Profile(runs=self.runs, used=used, asked=asked, unused=unused)


def load_profile(path: Path) -> Profile:
    """Return the profile in a file; raises ProfileError, in one line, where it is not there or cannot be read."""
    try:
        return Profile.from_json(path.read_bytes(), str(path))
    except FileNotFoundError as error:
        raise ProfileError(f"{path}: there is no such profile; record it with `mlbundle trace -o {path} -- COMMAND`") from error
    except OSError as error:
        raise ProfileError(f"{path}: cannot be read ({error.strerror})") from error


def _check_format(document: object, where: str) -> None:
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise ProfileError(f'{where}: is no profile (it lacks "format": "{FORMAT}"); {_ANEW}')
    if problem := foreign_version(document, FORMAT_VERSION):
        raise ProfileError(f"{where}: {problem}")


def _command(run: object, where: str) -> tuple[str, ...]:
    if not isinstance(run, dict):
        raise _wrong(where, "an object", run)
    return _texts(_list(run, "command", where), f"{where}.command")


def _list(document: dict[str, object], name: str, where: str) -> list[object]:
    if name not in document:
        raise ProfileError(f"{where}: {name} is missing; {_ANEW}")
    value = document[name]
    if not isinstance(value, list):
        raise _wrong(f"{where}: {name}", "a list", value)
    return value


def _texts(values: list[object], where: str) -> tuple[str, ...]:
    texts = tuple(value for value in values if isinstance(value, str))
    if len(texts) < len(values):
        number = next(number for number, value in enumerate(values) if not isinstance(value, str))
        raise _wrong(f"{where}[{number}]", "a string", values[number])
    return texts


def _wrong(where: str, expected: str, value: object) -> ProfileError:
    return ProfileError(f"{where}: must be {expected}, not {str(value)[:40]!r}; {_ANEW}")
